"""Partitions, co-occurrence and atomic actions on codes whose answer is known on paper."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from KDEpy.bw_selection import silvermans_rule

from inc_lib.actions import (
    AtomicAction,
    Piece,
    Region,
    cooccurrence,
    find_actions,
    find_partitions,
    sensitivity,
    unlabelled_actions,
)
from inc_lib.errors import InputError
from inc_lib.worlds import Factor


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture(n: int, means, stds, weights=None, seed: int = 0) -> np.ndarray:
    """n codes (n, 1) of a mixture of normal distributions."""
    random = np.random.default_rng(seed)
    means, stds = np.asarray(means, float), np.broadcast_to(stds, len(means))
    shares = None if weights is None else np.asarray(weights, float) / np.sum(weights)
    mode = random.choice(len(means), n, p=shares)
    return random.normal(means[mode], stds[mode])[:, None]


def n_partitions(codes, **options) -> int:
    return find_partitions(codes, **options).sizes[0]


def factor_of(size: int, name: str = "hue") -> Factor:
    return Factor(name, tuple(range(size)))


def grid_data(sizes=(4, 3), each: int = 200, noise: float = 0.08, seed: int = 0):
    """Every state of a small grid `each` times; dimension i of the codes holds factor i, plus a dead one."""
    generator = seeded(seed)
    states = torch.cartesian_prod(*(torch.arange(size) for size in sizes)).repeat(each, 1)
    codes = torch.cat([states.float(), torch.zeros(len(states), 1)], dim=1)
    codes[:, :-1] += noise * torch.randn(len(states), len(sizes), generator=generator)
    codes[:, -1] += 0.01 * torch.randn(len(states), generator=generator)
    return states, codes, [factor_of(size, f"factor {i}") for i, size in enumerate(sizes)]


def circle_data(n: int = 3000, n_attributes: int = 10, noise: float = 0.06, seed: int = 0):
    """A factor on a circle in two dimensions; a second factor in a third one."""
    generator = seeded(seed)
    states = torch.stack([torch.randint(0, n_attributes, (n,), generator=generator),
                          torch.randint(0, 3, (n,), generator=generator)], dim=1)
    angle = 2 * math.pi * states[:, 0] / n_attributes
    codes = torch.stack([angle.cos(), angle.sin(), states[:, 1] - 1.0], dim=1)
    codes += noise * torch.randn(codes.shape, generator=generator)
    return states, codes, [factor_of(n_attributes), factor_of(3, "shape")]


def actions_of(states, codes, factors, **options):
    return find_actions(states, codes, find_partitions(codes), factors, **options)


# --- partitions ---


@pytest.mark.parametrize("n", [300, 3000, 20_000, 480_000])
def test_ten_equal_modes_are_cut_at_their_nine_minima(n):
    edges = find_partitions(mixture(n, range(10), 0.1)).edges[0]
    assert np.allclose(edges, np.arange(9) + 0.5, atol=0.2)


def test_the_rules_of_the_books_on_ten_equal_modes():
    many, few = mixture(480_000, range(10), 0.1), mixture(3000, range(10), 0.1)
    literal = {"prominence": 0, "significance": 0}
    assert n_partitions(many, bandwidth="silverman", **literal) == 10
    assert n_partitions(many, bandwidth="isj", **literal) > 50    # every wiggle
    assert n_partitions(few, bandwidth="silverman", **literal) < 6  # blurred
    assert n_partitions(many) == n_partitions(few) == 10


@pytest.mark.parametrize(("means", "stds", "weights", "n"), [
    (range(10), 0.15, range(1, 11), 3000),                           # unequal weights
    ([0, 0.5, 1.2, 3, 5], [0.05, 0.1, 0.2, 0.5, 0.5], None, 3000),   # unequal widths
    (range(10), np.linspace(0.03, 0.25, 10), None, 3000),
    ([0, 1, 5, 6], 0.2, None, 300),                                  # two pairs
    ([0, 5], 1, [0.97, 0.03], 20_000),                               # a rare attribute beside a frequent one
    (range(40), 0.15, None, 3000),                                   # as many as dSprites has orientations
    (range(15), 0.28, None, 20_000),                                 # overlapping
    ([1e4, 1e4 + 3], 0.5, None, 1000),                               # far from zero
    ([0, 1e-6], 1e-7, None, 1000),                                   # tiny
])
def test_modes_of_mixtures_are_found(means, stds, weights, n):
    assert [n_partitions(mixture(n, means, stds, weights, seed)) for seed in range(3)] == [len(means)] * 3


UNIMODAL = {
    "normal": lambda random, n: random.normal(size=n),
    "uniform": lambda random, n: random.uniform(size=n),
    "laplace": lambda random, n: random.laplace(size=n),
    "student, 2 degrees": lambda random, n: random.standard_t(2, size=n),
    "cauchy": lambda random, n: random.standard_cauchy(size=n),
    "lognormal": lambda random, n: random.lognormal(size=n),
    "exponential": lambda random, n: random.exponential(size=n),
    "rounded normal": lambda random, n: np.round(random.normal(size=n), 2),
    "shoulder": lambda random, n: random.normal(size=n) + 2 * (random.random(n) < 0.5),
}


@pytest.mark.parametrize("name", UNIMODAL)
@pytest.mark.parametrize("n", [50, 1000, 20_000])
def test_one_mode_is_hardly_ever_split(name, n):
    counts = [n_partitions(UNIMODAL[name](np.random.default_rng(seed), n)[:, None]) for seed in range(10)]
    assert sum(count > 1 for count in counts) <= 2


def test_exact_duplicates_are_modes_and_an_empty_gap_is_cut_in_its_middle():
    spikes = np.repeat(np.arange(10.0), 30)[:, None]
    assert np.allclose(find_partitions(spikes).edges[0], np.arange(9) + 0.5, atol=0.05)
    mostly_one = np.r_[np.zeros(900), np.full(100, 5.0)][:, None]  # the quartiles coincide
    assert np.allclose(find_partitions(mostly_one).edges[0], [2.5], atol=0.1)


def test_dimensions_that_do_not_vary_are_one_partition():
    random = np.random.default_rng(0)
    modes = random.integers(0, 4, 3000)
    codes = np.stack([modes + 0.1 * random.normal(size=3000),
                      np.full(3000, 0.0123456),                               # constant
                      0.0123456 + 1e-9 * random.integers(0, 2, 3000),         # rounding
                      0.02 * modes + 0.001 * random.normal(size=3000)], axis=1)  # collapsed, but modal
    partitioning = find_partitions(codes)
    assert partitioning.sizes == (4, 1, 1, 1)
    assert partitioning.inactive == (False, True, True, True)
    assert find_partitions(codes, inactive=0).sizes == (4, 1, 1, 4)
    for grid, density in partitioning.densities:
        assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("n", [1, 2, 10])
def test_a_few_codes_are_one_partition(n):
    assert find_partitions(np.random.default_rng(0).normal(size=(n, 3))).sizes == (1, 1, 1)


def test_scale_and_order_do_not_matter():
    codes = mixture(2000, range(6), 0.2)
    edges = find_partitions(codes).edges[0]
    assert np.array_equal(find_partitions(codes[::-1]).edges[0], edges)
    assert np.allclose(find_partitions(-codes).edges[0], -edges[::-1], atol=0.01)
    assert np.allclose(find_partitions(3 * codes + 7).edges[0], 3 * edges + 7, atol=0.03)
    assert np.allclose(find_partitions(torch.from_numpy(codes)).edges[0], edges)


def test_silverman_is_the_library_s():
    codes = mixture(2000, [0, 3], 1)
    assert find_partitions(codes, bandwidth="silverman").bandwidths[0] == pytest.approx(
        silvermans_rule(codes.astype(np.float32).astype(float)), rel=1e-3)
    assert find_partitions(codes, bandwidth=0.5).bandwidths == (0.5,)


def test_prominence_is_relative_to_the_lower_peak():
    codes = mixture(50_000, [0, 4], 1, [10, 1])  # the low peak falls by 32 %: 3 % of the high one
    assert n_partitions(codes, bandwidth=0.2, prominence=0.2) == 2
    assert n_partitions(codes, bandwidth=0.2, prominence=0.5) == 1


def test_assign_is_half_open_and_agrees_with_the_partitions():
    partitioning = find_partitions(mixture(3000, range(3), 0.1))
    first, second = (float(edge) for edge in partitioning.edges[0])
    below = np.nextafter(np.float32(first), np.float32(-1))
    codes = np.array([[-9.0], [below], [first], [1.0], [second], [9.0]])
    assert partitioning.assign(codes)[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert [(p.dimension, p.index) for p in partitioning.partitions] == [(0, 0), (0, 1), (0, 2)]
    assert [(p.low, p.high) for p in partitioning.partitions] == [(-math.inf, first), (first, second),
                                                                  (second, math.inf)]


def test_sensitivity_counts_what_find_partitions_finds():
    codes = np.c_[mixture(2000, range(5), 0.15), mixture(2000, [0], 0.001)]
    table = sensitivity(codes, bandwidths=(0.1, 0.3, 1.0), prominences=(0.0, 0.3, 0.8))
    assert len(table) == 2 * 3 * 3
    assert set(table[table.dimension == 1].partitions) == {1}
    for row in table[table.dimension == 0].itertuples():
        found = find_partitions(codes, bandwidth=row.bandwidth, prominence=row.prominence)
        assert found.sizes[0] == row.partitions
    falling = table[table.dimension == 0].pivot(index="prominence", columns="bandwidth", values="partitions")
    assert (falling.diff().dropna() <= 0).all(axis=None)


@pytest.mark.parametrize(("codes", "found"), [
    (np.array([[0.0, 1.0], [math.nan, 2.0]]), "row 1, dimension 0"),
    (np.array([[math.inf]]), "not finite"),
    (np.zeros(3), "shape (3,)"),
    (np.zeros((0, 3)), "shape (0, 3)"),
    (np.zeros((3, 0)), "shape (3, 0)"),
    ([["a", "b"]], "numbers"),
])
def test_bad_codes_are_said_in_a_sentence(codes, found):
    with pytest.raises(InputError, match="codes") as caught:
        find_partitions(codes)
    assert found in str(caught.value)


@pytest.mark.parametrize(("options", "found"), [
    ({"bandwidth": "silvermann"}, "did you mean 'silverman'"), ({"bandwidth": -1.0}, "bandwidth"),
    ({"bandwidth": math.nan}, "bandwidth"), ({"prominence": 1.0}, "prominence"),
    ({"significance": -1}, "significance"), ({"inactive": 2}, "inactive"),
])
def test_bad_options_are_said_in_a_sentence(options, found):
    with pytest.raises(InputError, match=found):
        find_partitions(np.zeros((3, 1)), **options)
    with pytest.raises(InputError, match="positive"):
        sensitivity(np.zeros((3, 1)), bandwidths=(0,))


def test_isj_that_fails_says_what_to_use_instead():
    with pytest.raises(InputError, match="bandwidth='supported'"):
        find_partitions(np.array([[0.0], [1.0], [5.0]]), bandwidth="isj")
    assert n_partitions(mixture(2000, [0, 5], 1), bandwidth="isj") == 2


# --- co-occurrence ---


def test_cooccurrence_of_perfect_codes_is_the_identity_over_the_number_of_dimensions():
    states, codes, factors = grid_data()
    matrix = cooccurrence(states, codes, find_partitions(codes), factors)
    assert matrix.rows == ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2))
    assert [(c.dimension, c.index) for c in matrix.columns] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0),
                                                                (1, 1), (1, 2), (2, 0)]
    expected = np.block([[np.eye(4) / 3, np.full((4, 3), 1 / 9), np.full((4, 1), 1 / 3)],
                         [np.full((3, 4), 1 / 12), np.eye(3) / 3, np.full((3, 1), 1 / 3)]])
    assert np.allclose(matrix.values, expected)
    assert np.allclose(matrix.values.sum(axis=1), 1)
    assert matrix.counts.sum() == len(states) * 2 * 3
    assert np.allclose(matrix.conditional("factor 1", 1), np.eye(3))
    assert matrix.table().loc[("factor 0", 2), (0, 2)] == pytest.approx(1 / 3)


def test_cooccurrence_by_hand_and_an_attribute_that_is_absent():
    partitioning = find_partitions(np.repeat([0.0, 1.0], 50)[:, None])
    matrix = cooccurrence([[0], [0], [0], [1]], [[0.0], [0.0], [1.0], [1.0]], partitioning, [factor_of(3)])
    assert matrix.counts.tolist() == [[2, 1], [0, 1], [0, 0]]
    assert np.allclose(matrix.values, [[2 / 3, 1 / 3], [0, 1], [0, 0]])


@pytest.mark.parametrize(("states", "found"), [
    (torch.zeros(4, 1), "float32"), (torch.zeros(4, 2).long(), "1 factors"),
    (torch.zeros(3, 1).long(), "3 states but 4 codes"), (torch.full((4, 1), 7), "attribute indices 7 to 7"),
    (torch.full((4, 1), -1), "-1"),
])
def test_states_that_do_not_fit_are_said_in_a_sentence(states, found):
    codes = torch.arange(4.0)[:, None]
    with pytest.raises(InputError, match="states") as caught:
        cooccurrence(states, codes, find_partitions(codes), [factor_of(3)])
    assert found in str(caught.value)


def test_codes_of_another_space_are_refused():
    with pytest.raises(InputError, match="2 dimensions"):
        find_partitions(torch.zeros(4, 3)).assign(torch.zeros(4, 2))


# --- ownership ---


def test_perfect_codes_give_every_attribute_its_partition():
    states, codes, factors = grid_data()
    actions = actions_of(states, codes, factors)
    assert actions.dimensions(0) == (0,) and actions.dimensions("factor 1") == (1,)
    assert [a.attribute for a in actions.of(0)] == [0, 1, 2, 3] and actions.missing(0) == []
    assert np.allclose(actions.uniqueness(0), 1)
    assert np.allclose(actions.information, [[1, 0], [0, 1], [0, 0]], atol=0.02)
    assert [a.regions[0].partitions for a in actions.of(1)] == [(0,), (1,), (2,)]
    table = actions.table()
    assert table.owned.all() and table.support.sum() == 2 * len(states)
    assert set(table.columns) >= {"factor", "attribute", "dimensions", "partitions", "precision", "recall"}


def test_codes_that_know_nothing_own_nothing():
    states, codes, factors = grid_data()
    actions = actions_of(states[torch.randperm(len(states), generator=seeded())], codes, factors)
    assert actions.actions == () and actions.missing(0) == [0, 1, 2, 3] and actions.dimensions(0) == ()
    assert not actions.table().owned.any()
    assert actions_of(states, torch.zeros(len(states), 2), factors).actions == ()


def test_attributes_that_share_a_partition_are_missing():
    states = torch.arange(15).repeat(300)[:, None]
    places = torch.tensor([0, 0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9, 10])  # 15 angles in 11 partitions
    codes = places[states] + 0.1 * torch.randn(len(states), 1, generator=seeded())
    actions = actions_of(states, codes, [factor_of(15)])
    assert actions.partitioning.sizes == (11,)
    assert actions.missing(0) == [0, 1, 3, 4, 7, 8, 12, 13]
    assert np.allclose(actions.uniqueness(0)[[2, 5, 14]], 1)


def test_an_attribute_in_two_partitions_owns_both():
    states = torch.arange(3).repeat(400)[:, None]
    codes = states + 0.05 * torch.randn(len(states), 1, generator=seeded())
    codes[(states[:, 0] == 2) & (torch.arange(len(states)) % 4 > 0)] += 5
    action = actions_of(states, codes, [factor_of(3)]).of(0)[2]
    assert action.regions[0].partitions == (2, 3)
    assert [piece.mean for piece in action.regions[0].pieces] == pytest.approx([2, 7], abs=0.02)
    states[states[:, 0] == 2] = 0  # now it lies on both sides of attribute 1
    action = actions_of(states, codes, [factor_of(2)]).of(0)[0]
    assert action.regions[0].partitions == (0, 2, 3) and len(action.regions[0].pieces) == 3
    drawn = action.sample(4000, seeded())[:, 0]
    for centre, share in ((0, 1 / 2), (2, 1 / 8), (7, 3 / 8)):
        assert ((drawn - centre).abs() < 0.5).float().mean() == pytest.approx(share, abs=0.03)


def test_a_rare_attribute_counts_as_much_as_a_frequent_one():
    states = torch.cat([torch.zeros(5000), torch.ones(100)]).long()[:, None]
    codes = 5.0 * states + 0.5 * torch.randn(len(states), 1, generator=seeded())
    codes[:100] += 5  # frequent strays: half of the second partition, but 2 % of their attribute
    actions = actions_of(states, codes, [factor_of(2)])
    assert actions.missing(0) == []
    assert actions.of(0)[1].precision == pytest.approx(1 / 1.02, abs=0.01)


def test_a_circle_is_told_by_the_intersection_of_its_two_dimensions():
    states, codes, factors = circle_data()
    actions = actions_of(states, codes, factors)
    assert actions.dimensions(0) == (0, 1) and actions.dimensions(1) == (2,)
    assert actions.missing(0) == []
    everywhere = torch.stack([action.present(codes) for action in actions.of(0)])
    assert everywhere.sum(0).max() == 1  # no code shows two hues
    assert (everywhere.int().argmax(0) == states[:, 0])[everywhere.any(0)].float().mean() > 0.99
    assert min(action.precision for action in actions.of(0)) > 0.98
    single = [action.best() for action in actions.of(0)]
    assert all(len(action.dimensions) == 1 for action in single)
    ambiguous = [action.present(codes) for action in single]
    assert torch.stack(ambiguous).sum(0).max() > 1 and np.mean([a.precision for a in single]) < 0.8
    for attribute, (action, alone) in enumerate(zip(actions.of(0), single, strict=True)):
        here = (states[:, 0] == attribute)
        assert alone.recall == pytest.approx(alone.present(codes)[here].float().mean().item(), abs=1e-6)
        assert action.recall == pytest.approx(action.present(codes)[here].float().mean().item(), abs=1e-6)


def test_a_dimension_without_modes_that_carries_the_factor_is_acted_on_too():
    states, codes, factors = grid_data()
    smooth = 0.7 * states[:, :1] + torch.randn(len(states), 1, generator=seeded())  # one mode, but it leans
    codes = torch.cat([codes, smooth], dim=1)
    actions = actions_of(states, codes, factors)
    assert actions.partitioning.sizes == (4, 3, 1, 1)
    assert actions.dimensions(0) == (0, 3) and actions.dimensions(1) == (1,)
    assert np.allclose(actions.uniqueness(0), 1)
    for attribute, action in enumerate(actions.of(0)):
        assert action.regions[1].is_whole and action.best().dimensions == (0,)
        drawn = action.sample(4000, seeded())[:, 1]
        assert drawn.mean() == pytest.approx(0.7 * attribute, abs=0.15)
        assert drawn.std() == pytest.approx(1, abs=0.1)
    codes[:, 2] = 0.001 * states[:, 0]  # a collapsed dimension that knows it too is left alone
    assert actions_of(states, codes, factors).dimensions(0) == (0, 3)
    alone = actions_of(states, codes[:, 3:], factors, informs=0.01)
    assert alone.missing(0) == [0, 1, 2, 3]  # it tells nobody


def test_what_is_kept_of_a_grid_in_order_does_not_resonate_with_its_period():
    states = torch.cartesian_prod(torch.arange(8), torch.arange(400), torch.arange(15))
    codes = states[:, [0, 2]].float() + 0.05 * torch.randn(len(states), 2, generator=seeded())
    actions = actions_of(states[:, :1], codes, [factor_of(8)], distribution="empirical")
    assert len(actions.reservoir) == 10_000
    assert torch.bincount(actions.reservoir[:, 1].round().long()).float().std() < 10


def test_no_dimension_serves_two_factors():
    generator = seeded()
    states = torch.randint(0, 4, (3000, 2), generator=generator)
    mixed = states[:, 0] + (states[:, 1] == 0) * 6.0   # tells both, the first factor better
    codes = torch.stack([mixed, states[:, 1].float()], 1) + 0.05 * torch.randn(3000, 2, generator=generator)
    actions = actions_of(states, codes, [factor_of(4, "a"), factor_of(4, "b")])
    assert actions.dimensions("a") == (0,) and actions.dimensions("b") == (1,)


def test_few_observations_explain_nothing_by_chance():
    generator = seeded()
    states = torch.randint(0, 15, (60, 1), generator=generator)
    codes = torch.randint(0, 4, (60, 2), generator=generator) + 0.01 * torch.randn(60, 2, generator=generator)
    partitioning = find_partitions(codes)
    assert partitioning.sizes == (4, 4)
    assert find_actions(states, codes, partitioning, [factor_of(15)]).information.max() < 0.1


@pytest.mark.parametrize("options", [{"threshold": 2}, {"majority": -1}, {"informs": 1.5}])
def test_options_of_find_actions_are_checked(options):
    states, codes, factors = grid_data(each=10)
    with pytest.raises(InputError, match=next(iter(options))):
        actions_of(states, codes, factors, **options)
    with pytest.raises(InputError, match="did you mean 'normal'"):
        actions_of(states, codes, factors, distribution="norml")
    with pytest.raises(InputError, match="unknown factor"):
        actions_of(states, codes, factors).of("factor 9")
    with pytest.raises(InputError, match="no factor 9"):
        actions_of(states, codes, factors).of(9)


# --- acting ---


@pytest.mark.parametrize("distribution", ["normal", "uniform", "empirical"])
@pytest.mark.parametrize("data", [grid_data, circle_data])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_after_acting_the_attribute_is_present_and_all_else_as_before(distribution, data, dtype):
    states, codes, factors = data()
    codes = codes.to(dtype)
    actions = actions_of(states, codes, factors, distribution=distribution)
    for action in [*actions.actions, *(action.best() for action in actions.actions)]:
        before = codes.clone()
        acted = action.act(codes, seeded())
        assert torch.equal(codes, before) and acted.dtype == dtype
        assert action.present(acted).all()
        assert action.present(action.act(acted, seeded(1))).all()
        untouched = [d for d in range(codes.shape[1]) if d not in action.dimensions]
        assert torch.equal(acted[:, untouched], codes[:, untouched])
        for other in actions.actions:
            if other.factor != action.factor:
                assert torch.equal(other.present(acted), other.present(codes))
        assert torch.equal(acted, action.act(codes, seeded()))
        assert not torch.equal(acted, action.act(codes, seeded(1)))


def test_the_last_action_on_a_factor_decides():
    states, codes, factors = grid_data()
    first, second = actions_of(states, codes, factors).of(0)[:2]
    acted = second.act(first.act(codes, seeded()), seeded())
    assert second.present(acted).all() and not first.present(acted).any()


def test_normal_has_the_moments_of_the_attribute_s_codes():
    states, codes, factors = grid_data(noise=0.1)
    action = actions_of(states, codes, factors).of(0)[1]
    inside = codes[states[:, 0] == 1, 0]
    drawn = action.sample(20_000, seeded())[:, 0]
    assert drawn.mean() == pytest.approx(inside.mean().item(), abs=0.005)
    assert drawn.std() == pytest.approx(inside.std().item(), rel=0.05)


def test_uniform_reaches_from_bound_to_bound_or_to_the_extreme_code():
    states, codes, factors = grid_data()
    actions = actions_of(states, codes, factors, distribution="uniform")
    (low, high), = actions.of(0)[1].regions[0].intervals
    drawn = actions.of(0)[1].sample(20_000, seeded())
    assert drawn.min() == pytest.approx(low, abs=0.001) and drawn.max() == pytest.approx(high, abs=0.001)
    assert drawn.std() == pytest.approx((high - low) / math.sqrt(12), rel=0.02)
    outer = actions.of(0)[0].sample(20_000, seeded())
    least = codes[:, 0].min().item()
    assert outer.min() >= least and outer.min() == pytest.approx(least, abs=0.001)


def test_empirical_draws_observed_rows_and_keeps_their_correlation():
    generator = seeded()
    states = torch.randint(0, 2, (2000, 1), generator=generator)
    shared = torch.randn(2000, generator=generator)
    codes = torch.stack([10 * states[:, 0] + shared, 10 * states[:, 0] - shared], dim=1)
    empirical = actions_of(states, codes, [factor_of(2)], distribution="empirical").of(0)[0]
    drawn = empirical.sample(500, seeded())
    assert set(map(tuple, drawn.tolist())) <= set(map(tuple, codes.tolist()))
    assert torch.corrcoef(drawn.T)[0, 1] < -0.99
    normal = actions_of(states, codes, [factor_of(2)]).of(0)[0]
    assert abs(torch.corrcoef(normal.sample(2000, seeded()).T)[0, 1]) < 0.1


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
@pytest.mark.parametrize("piece", [
    Piece(-math.inf, 0.1, 1.0, -1.0, 0.5, -3.0, 0.09), Piece(0.1, 0.3, 1.0, 0.2, 5.0, 0.11, 0.29),
    Piece(0.1, 0.3, 1.0, 0.29999, 1e-9, 0.29, 0.3), Piece(-math.inf, math.inf, 1.0, 0.0, 1.0, -2.0, 2.0),
    Piece(0.1, math.inf, 1.0, 0.5, 0.0, 0.5, 0.5),
])
def test_the_most_extreme_draws_stay_finite_and_inside(distribution, piece):
    low, high = float(np.float32(piece.low)), float(np.float32(piece.high))
    region = Region(0, (0,), (Piece(low, high, *list(vars(piece).values())[2:]),))
    uniform = torch.tensor([[0.0, 0.0], [0.5, 0.5], [1 - 2**-53, 1 - 2**-53]], dtype=torch.float64)
    drawn = region.draw(uniform, distribution)
    assert drawn.dtype == torch.float32 and drawn.isfinite().all() and region.contains(drawn).all()


def test_codes_that_cannot_be_acted_on_are_refused():
    states, codes, factors = grid_data()
    action = actions_of(states, codes, factors).of(1)[0]
    for bad in (codes[:, :1], codes[0], codes.half()):
        with pytest.raises(InputError, match="cannot be acted on"):
            action.act(bad, seeded())
        with pytest.raises(InputError, match="cannot be acted on"):
            action.present(bad)
    assert action.act(codes[:0], seeded()).shape == (0, 3)


def test_best_is_the_dimension_with_the_highest_f1():
    regions = (Region(3, (0,), (), 0.5, 0.9), Region(5, (1,), (), 0.9, 0.8))
    action = AtomicAction(0, 0, regions, precision=1.0, recall=0.7, rows=torch.tensor([[3.0, 5.0]]))
    assert action.best().dimensions == (5,) and action.best().rows.tolist() == [[5.0]]
    assert (action.best().precision, action.best().recall) == (0.9, 0.8)


# --- drawing from the partitions ---


@pytest.mark.parametrize("distribution", ["normal", "uniform", "empirical"])
def test_codes_drawn_from_partitions_show_one_attribute_of_each_factor_equally_often(distribution):
    states, codes, factors = grid_data()
    actions = actions_of(states, codes, factors, distribution=distribution)
    drawn = actions.sample(6000, seeded())
    assert drawn.shape == (6000, 3) and torch.equal(drawn, actions.sample(6000, seeded()))
    for factor, size in ((0, 4), (1, 3)):
        shown = torch.stack([action.present(drawn) for action in actions.of(factor)])
        assert (shown.sum(0) == 1).all()
        assert torch.allclose(shown.float().mean(1), torch.tensor(1 / size), atol=0.03)
    if distribution != "uniform":
        assert drawn[:, 2].std() == pytest.approx(codes[:, 2].std().item(), rel=0.15)
    assert abs(torch.corrcoef(drawn[:, :2].T)[0, 1]) < 0.05


def test_left_over_dimensions_follow_their_partitions():
    generator = seeded()
    states = torch.randint(0, 3, (4000, 1), generator=generator)
    other = (torch.rand(4000, generator=generator) < 0.25).float() * 6
    codes = torch.stack([states[:, 0].float(), other], 1) + 0.1 * torch.randn(4000, 2, generator=generator)
    for distribution in ("normal", "uniform", "empirical"):
        drawn = actions_of(states, codes, [factor_of(3)], distribution=distribution).sample(8000, seeded())
        assert (drawn[:, 1] > 3).float().mean() == pytest.approx(0.25, abs=0.02)


def test_without_labels_each_partition_is_an_attribute():
    _, codes, _ = grid_data()
    actions = unlabelled_actions(codes, find_partitions(codes))
    assert [(factor.name, factor.size) for factor in actions.factors] == [("code 0", 4), ("code 1", 3)]
    assert len(actions.actions) == 7 and actions.of("code 1")[2].regions[0].partitions == (2,)
    twice = codes[:, [0, 0, 1]]  # two codes that say the same: each keeps its own partitions
    tied = unlabelled_actions(twice, find_partitions(twice))
    assert [tied.dimensions(i) for i in range(3)] == [(0,), (1,), (2,)] and len(tied.actions) == 4 + 4 + 3
    nothing = unlabelled_actions(torch.zeros(5, 2), find_partitions(torch.zeros(5, 2)))
    assert nothing.actions == () and nothing.sample(3, seeded()).shape == (3, 2)
