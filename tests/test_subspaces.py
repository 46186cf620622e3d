"""Actions on subspaces: stars, rotated grids and merged steps whose answers are known on paper."""
from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from inc_lib import (
    actions,
    clustering,
    joint_partitions,
    reading_back,
    scoring,
    subspace_tables,
    subspaces,
    unlabelled_subspaces,
)
from inc_lib.errors import InputError
from inc_lib.worlds import Factor

HUE = Factor("hue", tuple(np.arange(6) / 6), "cyclic")
SIZE = Factor("size", (1.0, 2.0, 3.0), "ordered")


def rotated_grid(n=4000, degrees=25.0, size=5, seed=0):
    """Two factors of `size` attributes on a grid that is turned against both axes; a third code tells nothing."""
    rng = np.random.default_rng(seed)
    states = rng.integers(0, size, (n, 2))
    turn = np.array([[math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))],
                     [math.sin(math.radians(degrees)), math.cos(math.radians(degrees))]])
    plane = (states - (size - 1) / 2) @ turn.T + 0.05 * rng.standard_normal((n, 2))
    codes = np.column_stack([plane, rng.standard_normal(n)]).astype(np.float32)
    factors = (Factor("row", tuple(map(str, range(size))), "categorical"),
               Factor("column", tuple(map(str, range(size))), "categorical"))
    return torch.from_numpy(states), torch.from_numpy(codes), factors


def star(n=5000, seed=0):
    """Six arms; the angle is the hue, three heaps along an arm the size."""
    rng = np.random.default_rng(seed)
    states = np.column_stack([rng.integers(0, 6, n), rng.integers(0, 3, n)])
    angle, radius = states[:, 0] / 6 * 2 * math.pi, 0.7 * (states[:, 1] + 1) + 0.06 * rng.standard_normal(n)
    codes = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]) + 0.03 * rng.standard_normal((n, 2))
    return torch.from_numpy(states), torch.from_numpy(codes.astype(np.float32)), (HUE, SIZE)


class Identity:
    """h and G that are each other's inverse."""

    def encode(self, observations):
        return observations[:, :, 0, 0]

    def decode(self, codes):
        return codes[:, :, None, None]


class Timid(Identity):
    """An encoder that stops short: h(G(z)) = 0.8 z."""

    def encode(self, observations):
        return 0.8 * observations[:, :, 0, 0]


# --- which dimensions ---------------------------------------------------------------------------------------

def test_factors_of_a_rotated_grid_need_both_codes_and_no_third():
    states, codes, factors = rotated_grid()
    assert [sorted(own) for own in subspaces.find_dimensions(states, codes, factors)] == [[0, 1], [0, 1]]


def test_a_code_of_its_own_is_found_alone_and_noise_never():
    rng = np.random.default_rng(0)
    states = rng.integers(0, 3, (2000, 2))
    codes = np.column_stack([rng.standard_normal(2000), states[:, 0] + 0.1 * rng.standard_normal(2000)])
    factors = (Factor("a", ("0", "1", "2"), "categorical"), Factor("b", ("0", "1", "2"), "categorical"))
    assert subspaces.find_dimensions(states, codes, factors) == [(1,), ()]


def test_a_copy_of_a_telling_code_is_chosen_too():
    rng = np.random.default_rng(0)
    states = rng.integers(0, 4, (3000, 1))
    codes = np.column_stack([states[:, 0] + 0.1 * rng.standard_normal(3000), rng.standard_normal(3000),
                             states[:, 0] + 0.2 * rng.standard_normal(3000)])
    factor = (Factor("a", ("0", "1", "2", "3"), "categorical"),)
    assert subspaces.find_dimensions(states, codes, factor) == [(0, 2)]
    assert subspaces.find_dimensions(states, codes, factor, alone=1.0) == [(0,)]
    with pytest.raises(InputError, match="gain 0"):
        subspaces.find_dimensions(states, codes, factor, gain=0)


def test_a_quiet_code_is_heard_if_it_says_something():
    states, codes, factors = rotated_grid()
    quiet = codes.clone()
    quiet[:, 2] = 0.001 * (states[:, 1] + 0.02 * codes[:, 2])
    assert [sorted(own) for own in subspaces.find_dimensions(states, quiet, factors)] == [[0, 1], [0, 1, 2]]
    quiet[:, 2] = 0.001 * codes[:, 2]  # and noise is not
    assert [sorted(own) for own in subspaces.find_dimensions(states, quiet, factors)] == [[0, 1], [0, 1]]


def test_a_quiet_code_parts_cells_as_a_loud_one_does():
    rng = np.random.default_rng(0)
    loud, small = rng.integers(0, 3, 3000), rng.integers(0, 2, 3000)
    values = np.column_stack([loud, 0.001 * small]) + rng.standard_normal((3000, 2)) * [0.05, 0.00005]
    partition = joint_partitions.partition_jointly(values.astype(np.float32))
    assert partition.size == 6 and pure(partition, values.astype(np.float32), 2 * loud + small)
    assert joint_partitions.evened(values[:, :1].astype(np.float32)).tolist() == [1]


def test_a_constant_factor_and_few_observations_have_no_codes():
    factor = (Factor("a", ("0", "1"), "categorical"),)
    assert subspaces.find_dimensions(np.zeros((500, 1), dtype=int), np.random.default_rng(0).random((500, 2)),
                                     factor) == [()]
    assert subspaces.find_dimensions(np.array([[0], [1]]), np.eye(2), factor) == [()]


@pytest.mark.parametrize(("dimensions", "expected"), [
    ([(1,), (2,)], [((0,), (1,)), ((1,), (2,))]),
    ([(1, 2), (2, 3), (3,)], [((0, 1, 2), (1, 2, 3))]),          # the first and the last meet in the middle
    ([(1,), (2,), (1, 2)], [((0, 1, 2), (1, 2))]),
    ([(), (4,)], [((1,), (4,))]),
    ([], [])])
def test_factors_that_share_codes_share_a_subspace(dimensions, expected):
    assert subspaces.subspaces(dimensions) == expected


# --- the joint partition ------------------------------------------------------------------------------------

def pure(partition, values, labels):
    """Whether cells and labels are the same up to their numbers."""
    cells = partition.assign(values)
    pairs = {(int(a), int(b)) for a, b in zip(cells, labels, strict=True)}
    return len(pairs) == partition.size == len(set(labels.tolist()))


@pytest.mark.parametrize("method", ["modes", "hdbscan"])
def test_every_heap_of_a_rotated_grid_is_a_cell(method):
    states, codes, _ = rotated_grid()
    partition = joint_partitions.partition_jointly(codes[:, :2], method=method)
    assert pure(partition, codes[:, :2], states[:, 0] * 5 + states[:, 1])


def test_angle_parts_the_arms_of_a_star():
    states, codes, _ = star()
    assert pure(joint_partitions.partition_jointly(codes, method="angle"), codes, states[:, 0])


def test_one_heap_is_one_cell_by_every_method():
    values = np.random.default_rng(0).standard_normal((1500, 2)).astype(np.float32)
    assert joint_partitions.partition_jointly(values).size == 1
    assert joint_partitions.partition_jointly(values, method="whole").size == 1
    assert joint_partitions.partition_jointly(values, method="mixture").size == 1


def test_in_one_dimension_valleys_are_the_papers():
    states, codes, _ = rotated_grid(degrees=0)
    own = joint_partitions.partition_jointly(codes[:, :1])
    assert own.size == actions.find_partitions(codes[:, :1]).sizes[0] == 5


def test_without_valleys_equal_masses_are_quantiles():
    values = np.random.default_rng(0).random((3000, 1)).astype(np.float32)
    partition = joint_partitions.partition_jointly(values, method="whole", resolution=10)
    assert np.bincount(partition.labels).tolist() == [300] * 10
    edges = np.quantile(values, np.arange(1, 10) / 10)
    assert np.mean(partition.assign(values) == np.searchsorted(edges, values[:, 0])) > 0.998


def test_a_cell_gets_as_many_parts_as_its_mass_asks_for():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 0.1, 3000), rng.normal(5, 0.1, 1000)])[:, None].astype(np.float32)
    partition = joint_partitions.partition_jointly(values, resolution=8)
    assert np.bincount(partition.labels).tolist() == [500] * 8


def test_few_codes_and_equal_codes_are_one_cell():
    assert joint_partitions.partition_jointly(np.zeros((50, 2), dtype=np.float32)).size == 1
    assert joint_partitions.partition_jointly(np.random.default_rng(0).random((3, 2))).size == 1


@pytest.mark.parametrize(("options", "told"), [
    ({"method": "kmeans"}, "unknown method 'kmeans'"), ({"resolution": 0}, "resolution 0"),
    ({"resolution": 1000}, "from 1 to 20"), ({"resolution": "stated"}, "resolution 'stated'")])
def test_what_cannot_be_cut_is_said(options, told):
    with pytest.raises(InputError, match=told):
        joint_partitions.partition_jointly(np.random.default_rng(0).random((100, 2)), **options)


def test_an_angle_is_taken_in_the_plane_of_most_variance_and_needs_one():
    states, codes, _ = star()
    thin = np.column_stack([codes, 0.2 * np.random.default_rng(0).standard_normal(len(codes))]).astype(np.float32)
    assert pure(joint_partitions.partition_jointly(thin, method="angle"), thin, states[:, 0])
    one = thin[:, :1]
    assert np.array_equal(joint_partitions.partition_jointly(one, method="angle").labels,
                          joint_partitions.partition_jointly(one).labels)


# --- actions ------------------------------------------------------------------------------------------------

def test_the_paper_names_little_of_a_rotated_grid_and_subspaces_name_all():
    states, codes, factors = rotated_grid()
    theirs = actions.find_actions(states, codes, actions.find_partitions(codes), factors)
    ours = subspaces.find_subspace_actions(states, codes, factors)
    assert len(theirs.actions) < 10 == len(ours.actions)
    assert min(ours.uniqueness(0)) > 0.99 and ours.missing(1) == [] and ours.dimensions(0) == (0, 1)
    assert ours.table()["owned"].all()


@pytest.mark.parametrize("make", [rotated_grid, star])
def test_an_action_sets_its_attribute_and_keeps_the_other_factor(make):
    states, codes, factors = make()
    found = subspaces.find_subspace_actions(states, codes, factors)
    for action in found.actions:
        acted = action.act(codes[:300], torch.Generator().manual_seed(0))
        assert action.present(acted).all()
        other = 1 - action.factor
        kept = [f.present(acted)[f.present(codes[:300])] for f in found.of(other)]
        assert torch.cat(kept).double().mean() > 0.99
        assert (acted[:, 2:] == codes[:300, 2:]).all()


def test_factors_that_can_be_read_are_replaced_together_and_others_are_left_alone():
    dimensions = [(0, 1), (1, 2), (2, 3), (5,), ()]
    assert subspaces._together(0, dimensions, {0, 1, 2, 3}) == ([1, 2], [0, 1, 2, 3])
    assert subspaces._together(0, dimensions, {0, 2, 3}) == ([], [0, 1])      # who cannot be read cannot be kept
    assert subspaces._together(1, dimensions, {0, 2}) == ([0, 2], [1, 2])     # its own codes, by rows that keep others
    assert subspaces._together(3, dimensions, {0, 1, 2, 3}) == ([], [5])
    assert subspaces._together(4, dimensions, {0, 1, 2, 3}) == ([], [])


def test_a_faint_copy_goes_along_with_its_factor():
    rng = np.random.default_rng(0)
    states, noise = rng.integers(0, 4, (3000, 2)), rng.standard_normal((3000, 4))
    codes = np.column_stack([states[:, 0] + 0.05 * noise[:, 0], states[:, 1] + 0.05 * noise[:, 1],
                             states[:, 0] + 1.2 * noise[:, 2], noise[:, 3]]).astype(np.float32)
    factors = tuple(Factor(name, ("0", "1", "2", "3"), "categorical") for name in "ab")
    assert subspaces.find_dimensions(states, codes, factors) == [(0,), (1,)]  # it helps nobody to read
    found = subspaces.find_subspace_actions(states, codes, factors)
    assert {one.dimensions for one in found.of(0)} == {(0, 2)} and {one.dimensions for one in found.of(1)} == {(1,)}
    assert found.of(0)[0].reader.dimensions == (0,)                           # and has no part in the cells
    acted = found.of(0)[3].act(torch.from_numpy(codes), torch.Generator().manual_seed(0))
    assert abs(float(acted[:, 2].mean()) - 3) < 0.3 and np.array_equal(acted[:, [1, 3]], codes[:, [1, 3]])
    alone = subspaces.find_subspace_actions(states, codes, factors, copies=False)
    assert {one.dimensions for one in alone.of(0)} == {(0,)}


@pytest.mark.parametrize(("information", "expected"), [
    ([[0.9, 0.0], [0.0, 0.9], [0.3, 0.1]], [{2}, set()]),
    ([[0.9, 0.0], [0.0, 0.9], [0.3, 0.2]], [set(), set()]),   # of both factors: whose it is cannot be said
    ([[0.9, 0.0], [0.0, 0.9], [0.1, 0.0]], [set(), set()]),   # of none
    ([[0.9, 0.0], [0.0, np.nan], [np.nan, 0.3]], [set(), {2}])])
def test_whose_copy_a_code_is(information, expected):
    values = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    assert subspaces._copies([(0,), (1,)], values, np.array(information)) == expected
    assert subspaces._copies([(0,), (1, 2)], values, np.array(information)) == [set(), set()]
    assert subspaces._copies([], values, np.zeros((3, 0))) == []
    values[:, 2] *= 1e-4  # asleep
    assert subspaces._copies([(0,), (1,)], values, np.array(information)) == [set(), set()]


def test_any_row_keeps_the_other_factor_by_luck_only():
    states, codes, factors = rotated_grid()
    found = subspaces.find_subspace_actions(states, codes, factors, keep=False)
    acted = found.of(0)[0].act(codes[:1000], torch.Generator().manual_seed(0))
    same = torch.cat([f.present(acted)[f.present(codes[:1000])] for f in found.of(1)]).double().mean()
    assert abs(float(same) - 0.2) < 0.06


def test_a_combination_that_nobody_saw_is_drawn_from_what_agrees_most():
    states, codes, factors = rotated_grid()
    seen = ~((states[:, 0] == 2) & (states[:, 1] == 3))
    found = subspaces.find_subspace_actions(states[seen], codes[seen], factors)
    hole = found.of(0)[2].act(codes[(states[:, 1] == 3) & (states[:, 0] == 0)], torch.Generator().manual_seed(0))
    assert found.of(0)[2].present(hole).all()


def test_algorithm_1_and_the_scores_take_them_as_they_are():
    states, codes, factors = star()
    found = subspaces.find_subspace_actions(states, codes, factors)

    class Judge:
        factors, sizes = ("hue", "size"), (6, 3)

        def predict(self, observations):
            x, y = observations[:, 0, 0, 0], observations[:, 1, 0, 0]
            angle = torch.remainder(torch.round(torch.atan2(y, x) / (2 * math.pi) * 6), 6)
            return torch.stack([angle, torch.round(torch.hypot(x, y) / 0.7 - 1).clamp(0, 2)], 1).long()

        def factor_index(self, factor):
            return factor

    for i in range(2):
        assert scoring.score_clusters(Identity(), found, Judge(), 50, factor=i, codes=codes,
                                      generator=torch.Generator().manual_seed(0)).macro_f1 > 0.98
    kept = scoring.footprint(Identity(), found, Judge(), codes[:500], generator=torch.Generator().manual_seed(0)).kept
    assert np.nanmin(kept) > 0.98
    drawn = clustering.collect(clustering.implicit_clusters(
        Identity(), found, 5, factor="hue", sampling="partitions", generator=torch.Generator().manual_seed(0)))
    assert len(drawn) == 30
    with pytest.raises(InputError, match="multi_dimensional=True"):
        clustering.implicit_clusters(Identity(), found, 5, factor="hue", codes=codes, multi_dimensional=False)


def test_steps_without_valleys_are_found_at_the_stated_resolution_only():
    rng = np.random.default_rng(0)
    states = rng.integers(0, 10, (5000, 1))
    codes = (states + rng.uniform(-0.5, 0.5, (5000, 1))).astype(np.float32)  # flat: no density tells
    factor = (Factor("step", tuple(map(float, range(10))), "ordered"),)
    assert len(subspaces.find_subspace_actions(states, codes, factor, resolution=None).actions) == 0
    assert len(subspaces.find_subspace_actions(states, codes, factor).actions) == 10
    assert len(subspaces.find_subspace_actions(states, codes, factor, resolution=5).actions) == 0


def test_where_attributes_run_into_one_another_the_surest_rows_are_drawn():
    """Two attributes are spread evenly from 0 to 2 and from 1.5 to 3.5: what lies between 1.5 and 2 may be either."""
    rng = np.random.default_rng(0)
    states = rng.integers(0, 2, (4000, 1))
    codes = (1.5 * states + rng.uniform(0, 2, (4000, 1))).astype(np.float32)
    factor = (Factor("side", ("left", "right"), "ordered"),)
    found = {share: subspaces.find_subspace_actions(states, codes, factor, sure=share, typical=1) for share in (0.1, 1)}
    for action, (low, high) in zip(found[0.1].actions, ((0, 1.55), (1.95, 3.5)), strict=True):
        assert low <= action.rows.min() and action.rows.max() <= high
    assert [len(one.rows) < len(other.rows) for one, other in
            zip(found[0.1].actions, found[1].actions, strict=True)] == [True, True]


def test_a_factor_that_cannot_be_read_has_no_sure_rows():
    """As above, but the two lie over one another for three quarters: corners are no middle."""
    rng = np.random.default_rng(0)
    states = rng.integers(0, 2, (4000, 1))
    codes = (0.5 * states + rng.uniform(0, 2, (4000, 1))).astype(np.float32)
    factor = (Factor("side", ("left", "right"), "ordered"),)
    found = [subspaces.find_subspace_actions(states, codes, factor, sure=share, typical=1, majority=0.5, threshold=0.3)
             for share in (0.1, 1)]
    assert len(found[0].actions) == len(found[1].actions) == 2
    assert all(torch.equal(a.rows, b.rows) for a, b in zip(found[0].actions, found[1].actions, strict=True))


def test_where_heaps_lie_apart_all_rows_are_as_sure():
    states, codes, factors = rotated_grid()
    sure, whole = (subspaces.find_subspace_actions(states, codes, factors, sure=share) for share in (0.1, 1.0))
    for one, other in zip(sure.actions, whole.actions, strict=True):
        assert torch.equal(one.rows, other.rows)


def test_a_code_of_another_factor_that_tells_of_this_one_is_replaced_and_the_other_kept():
    """Code 1 is the size's and leans with the kind: who sets the kind alone leaves it saying the kind before."""
    rng = np.random.default_rng(0)
    states = np.column_stack([rng.integers(0, 4, 6000), rng.integers(0, 2, 6000)])
    codes = np.column_stack([states[:, 0], 3.0 * states[:, 1] + 0.3 * states[:, 0]]) + 0.15 * rng.standard_normal(
        (6000, 2))
    factors = (Factor("kind", tuple("abcd"), "categorical"), Factor("size", (1.0, 2.0), "ordered"))
    found, alone = (subspaces.find_subspace_actions(states, codes.astype(np.float32), factors, copies=copies,
                                                    dimensions=[(0,), (1,)]) for copies in (True, False))
    assert {action.dimensions for action in found.actions} == {(0, 1)}
    assert {action.dimensions for action in alone.actions} == {(0,), (1,)}
    start = torch.from_numpy(codes[:500].astype(np.float32))
    for action in found.of("kind"):
        acted = action.act(start, torch.Generator().manual_seed(0))
        lean = acted[:, 1] - 3.0 * torch.from_numpy(states[:500, 1])
        assert (lean - 0.3 * action.attribute).abs().mean() < 0.2  # the lean of the new kind, on the size as it was


def test_the_typical_half_lies_nearer_to_the_median():
    states, codes, factors = rotated_grid()
    half, whole = (subspaces.find_subspace_actions(states, codes, factors, typical=share) for share in (0.5, 1.0))
    assert sum(len(f.rows) for f in half.actions) == pytest.approx(sum(len(f.rows) for f in whole.actions) / 2, rel=0.1)
    rows = [{tuple(row) for row in found.of(0)[0].rows.tolist()} for found in (half, whole)]
    assert rows[0] < rows[1]


def test_the_same_generator_gives_the_same_draws():
    states, codes, factors = rotated_grid()
    first, second = (subspaces.find_subspace_actions(states, codes, factors).of(1)[3].act(
        codes[:50], torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("change", "told"), [
    ({"states": np.zeros((10, 2), dtype=int)}, "states of shape"), ({"majority": 2}, "majority 2"),
    ({"typical": 0}, "but not 0"), ({"sure": 0}, "sure 0"), ({"dimensions": [(0,)]}, "dimensions of 1 factors"),
    ({"draws": torch.zeros(3, 9)}, "draws of shape"), ({"method": "x"}, "unknown method")])
def test_bad_input_is_told(change, told):
    states, codes, factors = rotated_grid(200)
    given = {"states": states, "codes": codes, "factors": factors, "dimensions": [(0, 1), (0, 1)]} | change
    with pytest.raises(InputError, match=told):
        subspaces.find_subspace_actions(**given)


def test_an_attribute_index_that_does_not_exist_is_told():
    with pytest.raises(InputError, match="expected 0 to 1"):
        subspaces.find_dimensions(np.array([[2], [0]]), np.eye(2), (Factor("a", ("0", "1"), "categorical"),))


def test_codes_that_are_too_narrow_are_told():
    states, codes, factors = rotated_grid(1000)
    action = subspaces.find_subspace_actions(states, codes, factors).actions[0]
    with pytest.raises(InputError, match="d > 1"):
        action.act(codes[:, :1])


# --- without labels, drawing, resolution --------------------------------------------------------------------

def test_without_labels_codes_that_tell_of_one_another_are_one_factor():
    states, codes, _ = star()
    rng = np.random.default_rng(1)
    alone = (rng.integers(0, 3, len(codes)) + 0.05 * rng.standard_normal(len(codes))).astype(np.float32)
    flat = rng.standard_normal(len(codes)).astype(np.float32)
    found = unlabelled_subspaces.find_unlabelled(np.column_stack([codes, alone, flat]))
    assert [(f.name, f.size) for f in found.factors] == [("codes 0, 1", 18), ("code 2", 3)]
    reader = unlabelled_subspaces.CellReader(Identity(), found)
    assert reader.sizes == (18, 3) and reader.factor_index("code 2") == 1
    score = scoring.score_clusters(Identity(), found, reader, 20, factor=0,
                                   codes=torch.from_numpy(np.column_stack([codes, alone, flat])),
                                   generator=torch.Generator().manual_seed(0))
    assert score.macro_f1 > 0.99


def test_codes_without_cells_have_no_factors():
    found = unlabelled_subspaces.find_unlabelled(np.random.default_rng(0).standard_normal((2000, 3)))
    assert found.factors == () and found.actions == ()
    assert unlabelled_subspaces.CellReader(Identity(), found).predict(torch.zeros(4, 3, 1, 1)).shape == (4, 0)


def test_what_a_timid_encoder_wants_is_drawn_farther_out():
    codes = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    codes[:, 2] *= 1e-3  # asleep
    found = reading_back.drawn_where_read(Timid(), codes, n_steps=1, neighbours=1)
    assert torch.allclose(found[:, :2], 1.2 * codes[:, :2], atol=1e-5) and torch.equal(found[:, 2], codes[:, 2])
    longer = reading_back.drawn_where_read(Timid(), codes, n_steps=20, neighbours=1)
    assert torch.allclose(longer[:, :2], codes[:, :2] / 0.8, atol=1e-4)
    assert torch.equal(reading_back.drawn_where_read(Identity(), codes), codes)


def test_what_one_picture_wants_is_averaged_away_and_what_all_want_stays():
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(rng.standard_normal((2000, 2)).astype(np.float32))
    noise = torch.from_numpy(0.1 * rng.standard_normal((2000, 2)).astype(np.float32))

    class Noisy(Identity):
        def encode(self, observations):
            return observations[:, :, 0, 0] - 0.1 - noise[:len(observations)]

    found = reading_back.drawn_where_read(Noisy(), codes, [[0]], n_steps=1, neighbours=100)
    assert torch.equal(found[:, 1], codes[:, 1])  # in no subspace
    assert (found[:, 0] - codes[:, 0] - 0.1).abs().max() < 0.04
    with pytest.raises(InputError, match="neighbours 0"):
        reading_back.drawn_where_read(Identity(), codes, neighbours=0)


class Astray(Identity):
    """Reads the second code upside down."""

    def encode(self, observations):
        return observations[:, :, 0, 0] * torch.tensor([0.9, -1.0, 0.9])


def test_a_subspace_that_is_read_far_from_what_was_drawn_is_left_alone():
    codes = torch.randn(800, 3, generator=torch.Generator().manual_seed(0))
    found = reading_back.drawn_where_read(Astray(), codes, [[0, 1], [2]], n_steps=1, neighbours=1)
    assert torch.equal(found[:, :2], codes[:, :2]) and torch.allclose(found[:, 2], 1.1 * codes[:, 2], atol=1e-5)


def test_faults_are_told_of_such_subspaces_alone():
    codes = torch.randn(800, 3, generator=torch.Generator().manual_seed(0))
    seen = codes[:, :, None, None] + torch.linspace(0, 1, 800)[:, None, None, None]  # off by this much in three pixels
    faults = reading_back.faults(Astray(), codes, seen, [[0, 1], [2]])
    expected = 3 * torch.linspace(0, 1, 800) ** 2
    assert torch.allclose(faults[:, :2], expected[:, None].expand(-1, 2), atol=1e-5) and not faults[:, 2].any()
    assert not reading_back.faults(Timid(), codes, seen, [[0, 1], [2]]).any()


def test_of_rows_with_faults_the_quarter_with_the_smallest_is_drawn():
    states, codes, factors = rotated_grid()
    faults = torch.zeros(codes.shape)
    faults[:, 0] = torch.arange(len(codes)) / len(codes)  # the first rows are the faithful ones
    found = subspaces.find_subspace_actions(states, codes, factors, faults=faults, sure=1, typical=1)
    for action in found.actions:
        at = [int((codes[:, list(action.dimensions)] == row).all(dim=1).nonzero()[0]) for row in action.rows]
        assert max(at) < 0.35 * len(codes)
    assert len(found.actions) == 10
    with pytest.raises(InputError, match="faults of shape"):
        subspaces.find_subspace_actions(states, codes, factors, faults=faults[:5])


def test_codes_of_one_subspace_are_corrected_together_where_they_lie():
    """h(G(.)) shortens what is far out by a fifth: the mean of the neighbours in *both* codes finds it."""
    codes = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0))
    found = reading_back.drawn_where_read(Timid(), codes, [[0, 1]], n_steps=3, neighbours=10)
    inner = codes.norm(dim=1) < 1.5
    assert (found - codes / 0.8)[inner].abs().mean() < 0.05 < (codes / 0.8 - codes)[inner].abs().mean()


def test_a_perfect_reader_reads_any_resolution_and_a_timid_one_few():
    codes = torch.rand(2000, 1, generator=torch.Generator().manual_seed(0))
    assert reading_back.came_back(codes, codes, 0, [1, 5, 50]) == [1.0, 1.0, 1.0]
    one, two, ten = reading_back.came_back(codes, reading_back.read_back(Timid(), codes), 0, [1, 2, 10])
    assert one == 1.0 and two == pytest.approx(0.875, abs=0.02) and ten < 0.3  # 0.8 z < 1/2 up to z = 5/8


@pytest.mark.parametrize("steps", [2, 7, 15])
def test_borders_between_heaps_do_no_harm(steps):
    generator = torch.Generator().manual_seed(0)
    codes = (torch.randint(steps, (6000, 1), generator=generator) + 0.08 * torch.randn(6000, 1, generator=generator))

    class Shaky(Identity):
        """Reads a code as one of the same heap: it knows the attribute and forgets the place."""

        def encode(self, observations):
            read = observations[:, :, 0, 0]
            return read.round() + 0.08 * torch.randn(read.shape, generator=torch.Generator().manual_seed(1))

    back = reading_back.read_back(Shaky(), codes[:4000])
    assert reading_back.natural_resolution(codes, back, 0) == steps
    assert reading_back.natural_resolution(torch.ones(50, 1), torch.ones(20, 1), 0) == 1
    with pytest.raises(InputError, match="finest 2"):
        reading_back.natural_resolution(codes, back, 0, finest=2)


def test_the_record_is_a_table(tmp_path):
    path = tmp_path / "record.json"
    repeats = [{"macro_f1": [0.5, 1.0], "kept": [None, 0.8], "cells": {"0, 1": 7}},
               {"macro_f1": [0.7, 1.0], "kept": [None, 1.0], "cells": {"0, 1": 8}}]
    path.write_text(json.dumps({"networks": {"n": {
        "factors": ["a", "b"], "dimensions": [[0, 1], [2]], "reconstructed": [0.9, 1.0], "repeats": 2,
        "variants": {"paper": repeats, "subspaces": repeats, "cut alone": repeats[:1]}}}}))
    table, record = subspace_tables.ablation("n", path)
    assert table.loc["paper"].tolist() == ["0.60 ± 0.14", "1.00 ± 0.00", "0.90 ± 0.14", 2]
    assert list(subspace_tables.steps(table).index) == ["the paper's procedure", "all steps", "no equal-mass division"]
    cuts = subspace_tables.cuts(record)
    assert list(cuts.columns) == ["a", "cells"]  # b has a code to itself
    assert cuts.loc[("peaks of the joint density", "then equal masses")].tolist() == ["0.60 ± 0.14", "7 on 0, 1"]
    assert cuts.loc[("peaks of the joint density", "alone"), "a"] == "0.50"
    assert subspace_tables.cell("n", "paper", "kept", path) == "0.90 ± 0.14"
    assert subspace_tables.cell("n", "angle", "a", path) == subspace_tables.cell("m", "paper", "a", path) == "–"
    assert subspace_tables.about("n", "repeats", path) == "2" and subspace_tables.about("m", "repeats", path) == "–"
    assert subspace_tables.rebuilt("n", "a", path) == "0.90" and subspace_tables.rebuilt("m", "a", path) == "–"
    assert subspace_tables.recorded(path) == ["n"] and subspace_tables.recorded(tmp_path / "none.json") == []
    with pytest.raises(InputError, match="unknown network 'm'"):
        subspace_tables.ablation("m", path)
    with pytest.raises(InputError, match="python benchmarks/subspaces.py"):
        subspace_tables.ablation("n", tmp_path / "none.json")


def test_the_record_forgives_what_cannot_be_seen(tmp_path):
    path = tmp_path / "record.json"
    repeats = [{"macro_f1": [f, 1.0], "kept": [None, 0.8], "cells": {}, "modulo_symmetry": {"a": f + 0.3}}
               for f in (0.4, 0.6)]
    path.write_text(json.dumps({"networks": {"n": {
        "factors": ["a", "b"], "dimensions": [[0, 1], [2]], "variants": {"paper": repeats},
        "oracle": {"a": {"strictly": 0.64, "modulo symmetry": 0.89},
                   "b": {"strictly": 1.0, "modulo symmetry": None}}}}}))
    assert subspace_tables.cell("n", "paper", "a", path) == "0.50 ± 0.14"
    assert subspace_tables.cell("n", "paper", "a" + subspace_tables.MODULO, path) == "0.80 ± 0.14"
    assert subspace_tables.cell("n", "paper", "b" + subspace_tables.MODULO, path) == "–"
    assert [subspace_tables.ceiling("n", factor, path) for factor in "abc"] == ["0.89", "1.00", "–"]
    assert subspace_tables.ceiling("m", "a", path) == "–"


def test_every_number_that_the_text_speaks_of_was_measured(tmp_path):
    told = subspace_tables.told()
    assert [name for name, number in told.items() if number == "–"] == []
    assert set(subspace_tables.told(tmp_path / "none.json").values()) == {"–"}
    assert len(set(told.values())) > 20  # numbers of their own, not one for all
