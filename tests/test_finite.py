"""A finite world: what can be counted on paper is counted here."""
import math

import pandas as pd
import pytest
import torch

from inc_lib.actions import find_actions, find_partitions
from inc_lib.errors import InputError
from inc_lib.finite import (
    FiniteModel,
    FiniteWorld,
    agrees,
    contexts_held,
    dataset_states,
    measure_bound,
    overlay,
    reach,
    share_kept,
    share_right,
    spread,
    sweep,
)
from inc_lib.worlds.base import Factor, World


class Dots(World):
    """2 x 3 x 4 states; the picture of a state is one lit pixel."""

    name, source, channels, image_size = "dots", "procedural twin", 1, 5
    factors = (Factor("a", (0, 1)), Factor("b", (0, 1, 2)), Factor("c", (0, 1, 2, 3)))

    def render(self, states):
        index = (states * torch.tensor([12, 4, 1])).sum(1)
        return torch.nn.functional.one_hot(index, 25).float().view(-1, 1, 5, 5)


@pytest.fixture
def world():
    return FiniteWorld(Dots(), {"b": (0, 1, 2), "c": (0, 1, 2, 3)}, held={"a": 1})


@pytest.fixture
def whole():
    """All 24 states, 3 attributes of the factor that is clustered by first."""
    return FiniteWorld(Dots(), {"b": (0, 1, 2), "c": (0, 1, 2, 3), "a": (0, 1)})


@pytest.fixture
def known(whole):
    """The actions of a perfect encoder."""
    codes = FiniteModel(whole, blur=0.05, generator=generator()).encode(whole.observations)
    return find_actions(whole.grid(), codes, find_partitions(codes), whole.factors)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_cut_renders_the_parents_pictures(world):
    assert world.sizes == (3, 4) and world.n_states == 12
    states = torch.tensor([[2, 3], [0, 1]])
    assert torch.equal(world.render(states), Dots().render(torch.tensor([[1, 2, 3], [1, 0, 1]])))
    assert torch.equal(world.identify(world.observations), torch.arange(12))
    assert torch.equal(world.rows(world.grid()), torch.arange(12))


def test_cut_keeps_the_order_asked_for():
    world = FiniteWorld(Dots(), {"c": (3, 0), "a": (1,)})
    assert [factor.values for factor in world.factors] == [(3, 0), (1,)]
    assert torch.equal(world.render(torch.tensor([[0, 0]])), Dots().render(torch.tensor([[1, 0, 3]])))


@pytest.mark.parametrize("attributes, held, sentence", [
    ({"hue": (0,)}, {}, "unknown factor 'hue'"),
    ({"b": (0, 3)}, {}, "expected different numbers from 0 to 2"),
    ({"b": (1, 1)}, {}, "expected different numbers"),
    ({"b": ()}, {}, "expected different numbers"),
    ({"b": (0, 1)}, {"a": 2}, "factor 'a'"),
    ({"b": (0, 1)}, {"b": 0}, "both varied and held"),
])
def test_cuts_that_cannot_be(attributes, held, sentence):
    with pytest.raises(InputError, match=sentence):
        FiniteWorld(Dots(), attributes, held=held)


def test_states_that_look_the_same_are_refused():
    class Blind(Dots):
        def render(self, states):
            return torch.zeros(len(states), 1, 5, 5)

    with pytest.raises(InputError, match="injective"):
        FiniteWorld(Blind(), {"b": (0, 1)})


def test_a_strange_picture_is_refused(world):
    with pytest.raises(InputError, match="picture 1 is none of the 12"):
        world.identify(torch.stack([world.observations[0], world.observations[0] + 0.5]))
    assert world.identify(world.observations[:0]).shape == (0,)


def test_as_sets_counts_doubles_once(world):
    sets = world.as_sets(world.observations[[3, 3, 5, 0]], torch.tensor([0, 0, 0, 2]), 3)
    assert sets == [frozenset({3, 5}), frozenset(), frozenset({0})]


@pytest.mark.parametrize("rotation", [0.0, 17.0, 45.0, 90.0])
def test_perfect_pair_reconstructs_also_when_turned(world, rotation):
    model = FiniteModel(world, blur=0.05, rotation=rotation, generator=generator())
    codes = model.encode(world.observations)
    assert codes.shape == (12, 2) and codes.dtype == torch.float32
    assert torch.equal(model.decode(codes), world.observations)


def test_perfect_codes_sit_on_the_partitions_centres(world):
    assert torch.equal(FiniteModel(world).encode(world.observations), world.grid().float())


def test_decode_rounds_to_the_nearest_state_and_stays_on_the_grid(world):
    model = FiniteModel(world)
    codes = torch.tensor([[0.49, 1.51], [-7.0, 99.0], [0.5, 0.5]])
    assert torch.equal(model.decode(codes), world.render(torch.tensor([[0, 2], [0, 3], [1, 1]])))
    assert model.decode(codes[:0]).shape == (0, 1, 5, 5)


def test_certain_error_always_mistakes_and_keeps_the_context(world):
    model = FiniteModel(world, factor=1, h_error=1.0, g_error=1.0, generator=generator())
    codes = model.encode(world.observations).long()
    assert (codes[:, 1] != world.grid()[:, 1]).all() and torch.equal(codes[:, 0], world.grid()[:, 0])
    drawn = world.grid()[world.identify(model.decode(world.grid().float()))]
    assert (drawn[:, 1] != world.grid()[:, 1]).all() and torch.equal(drawn[:, 0], world.grid()[:, 0])


def test_errors_come_at_the_stated_rate_and_nest():
    large = FiniteWorld(Dots(), {"a": (0, 1), "b": (0, 1, 2), "c": (0, 1, 2, 3)})
    wrong = {p: torch.stack([(FiniteModel(large, factor=1, h_error=p, generator=generator(s))
                              .encode(large.observations).long() != large.grid()).any(1) for s in range(200)])
             for p in (0.2, 0.6)}
    for p, mistakes in wrong.items():
        assert abs(mistakes.float().mean().item() - p) < 4 * math.sqrt(p * (1 - p) / mistakes.numel())
    assert (wrong[0.2] <= wrong[0.6]).all()


@pytest.mark.parametrize("options, sentence", [
    ({"h_error": 1.5}, "h_error = 1.5"), ({"g_error": -0.1}, "g_error"), ({"blur": math.nan}, "blur"),
    ({"factor": 2}, "expected a number from 0 to 1"),
])
def test_impossible_degrees(world, options, sentence):
    with pytest.raises(InputError, match=sentence):
        FiniteModel(world, **options)


def test_no_attribute_to_be_mistaken_for():
    with pytest.raises(InputError, match="one attribute"):
        FiniteModel(FiniteWorld(Dots(), {"a": (0,), "b": (0, 1)}), h_error=0.1)


def test_shares():
    assert share_kept([frozenset({1, 2, 9}), frozenset()], [frozenset({1, 2, 3, 4}), frozenset()]) == 0.5
    assert share_right([frozenset({1, 2, 9})], [frozenset({1, 2, 3, 4})]) == pytest.approx(2 / 3)
    assert math.isnan(share_right([frozenset()], [frozenset({1})]))


def test_reach_on_paper():
    # a 2 x 3 grid that holds (0,0), (1,1): acting on a gives 2 contexts x 2, on b 2 contexts x 2 seen
    table = reach(torch.tensor([[0, 0], [1, 1], [1, 1]]), [Factor("a", (0, 1)), Factor("b", (0, 1, 2))])
    assert table.loc["a", "explicit"] == pytest.approx(2 / 6)
    assert table.loc["a", "one_factor"] == table.loc["b", "one_factor"] == pytest.approx(4 / 6)
    assert table.loc["b", "partitions"] == pytest.approx(4 / 6) and table.loc["b", "attributes_seen"] == 2
    assert table.loc["a", "recovered"] == pytest.approx(2 / 4)


def test_reach_of_a_full_grid_and_of_one_factor(world):
    table = reach(world.grid(), world.factors)
    assert (table[["explicit", "one_factor", "partitions"]] == 1).all(axis=None)
    assert table["recovered"].isna().all()
    alone = reach(torch.tensor([[0], [2]]), [Factor("b", (0, 1, 2))])
    assert alone.loc["b", "one_factor"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("shape", [(0, 2), (3, 1)])
def test_reach_of_unfit_states(shape, world):
    with pytest.raises(InputError, match="do not go with 2 factors"):
        reach(torch.zeros(shape, dtype=torch.int64), world.factors)


def test_contexts_held(world):
    held = contexts_held(torch.tensor([[0, 1], [2, 1], [2, 3]]), world.factors, 0)
    assert held.contexts.tolist() == [[0], [1], [2], [3]] and held.names == ["0", "1", "2", "3"]
    assert held.explicit.tolist() == [[False, True, False, False], [False] * 4, [False, True, False, True]]
    assert held.implicit[:, 1].tolist() == [True, False, True]  # attribute 1 was never seen: no action
    assert not held.implicit[:, 0].any()


def test_contexts_held_of_a_huge_grid_shows_what_occurs():
    factors = [Factor(str(i), tuple(range(1000))) for i in range(8)]
    states = torch.zeros(50, 8, dtype=torch.int64)
    states[:, 5] = torch.arange(50)
    held = contexts_held(states, factors, 3, most=5)
    assert held.contexts[:, 4].tolist() == [0, 12, 24, 37, 49] and held.explicit.shape == (1000, 5)
    assert held.names == ["1", "2", "3", "4", "5"]  # seven values would not fit
    assert held.occurring == 50 and held.total == 1000 ** 7
    assert held.explicit[0].all() and held.implicit.sum() == 5


def test_contexts_held_of_a_single_factor():
    held = contexts_held(torch.tensor([[0], [2]]), [Factor("b", (0, 1, 2))], 0)
    assert held.names == ["any"] and held.contexts.shape == (1, 0)
    assert held.explicit.tolist() == [[True], [False], [True]]


def test_dataset_states(world):
    assert dataset_states(world, 7, generator()).shape == (7, 2)
    world.labels = torch.tensor([[0, 1], [2, 2]], dtype=torch.int32)
    assert dataset_states(world, 7).tolist() == [[0, 1], [2, 2]]
    world.factors = ()
    with pytest.raises(InputError, match="no factor labels"):
        dataset_states(world, 7)


@pytest.mark.parametrize("seed", range(5))
def test_lower_bound_theorem(whole, known, seed):
    """Statements 1 to 4 of chapter 1 on datasets with holes."""
    model = FiniteModel(whole, blur=0.05, generator=generator(seed))
    states = whole.grid()[torch.rand(24, generator=generator(seed)) < 0.5]
    bound = measure_bound(model, states, known, draws=200, generator=generator(seed))
    assert bound.redrawn == bound.returned == 1.0
    assert bound.reconstructed == bound.explicit
    assert all(a <= b <= c for a, b, c in zip(bound.explicit, bound.implicit, bound.whole, strict=True))
    reached = contexts_held(states, whole.factors, 0).implicit.sum()
    assert whole.mask(bound.implicit).sum() == reached  # as "reach" says; all attributes occur here
    product = measure_bound(model, states, known, draws=200, sampling="partitions", generator=generator(seed))
    assert product.implicit == product.whole


def test_bound_where_there_is_nothing(whole, known):
    model = FiniteModel(whole)
    empty = measure_bound(model, whole.grid()[:0], known, draws=5, generator=generator())
    assert empty.implicit == empty.explicit == [frozenset()] * 3 and math.isnan(empty.redrawn)
    none = find_actions(whole.grid(), torch.randn(24, 3, generator=generator()),
                        find_partitions(torch.ones(24, 3)), whole.factors)
    bound = measure_bound(model, whole.grid(), none, draws=5, generator=generator())
    assert bound.returned == 0 and bound.redrawn == 1 and bound.implicit == [frozenset()] * 3
    assert math.isnan(bound.shares()["implicit_right"])


def test_sweeps_follow_the_laws_of_chapter_1(whole, known):
    options = {"actions": known, "repeats": 40, "draws": 100, "seed": 1}
    misread = sweep(whole, "h_error", [0.0, 0.3, 1.0], **options)
    assert agrees(misread, "returned", lambda p: 1 - p, units=24)
    assert agrees(misread, "reconstructed_kept", lambda p: 1 - p * (1 - p / 2) ** 2, units=8)
    assert misread["implicit_kept"].min() == misread["reconstructed_right"].min() == 1
    misdrawn = sweep(whole, "g_error", [0.0, 0.3, 1.0], **options)
    for column in ("returned", "reconstructed_kept", "implicit_kept", "implicit_right"):
        assert agrees(misdrawn, column, lambda q: 1 - q, units=24)
    kept = sweep(whole, "kept", [0.2, 0.6], **options)
    assert agrees(kept, "implicit_covers", lambda rho: 1 - (1 - rho) ** 3, units=8)
    assert not agrees(kept, "implicit_covers", lambda rho: rho, units=8)
    turned = sweep(whole, "rotation", [0, 40], **options | {"repeats": 2})
    assert turned["redrawn"].min() == 1 and turned.loc[40, "returned"].max() < 0.7


def test_actions_found_anew_vanish_with_blur(whole):
    blurred = sweep(whole, "blur", [0.05, 0.6], actions=None, repeats=3, draws=0, seed=0)
    assert (blurred.loc[0.05, "owned"] == 1).all() and (blurred.loc[0.6, "owned"] == 0).all()
    assert (blurred["implicit_kept"] == 0).all()  # draws = 0 leaves Eq. 3 out


def test_sweep_of_an_unknown_degree(whole, known):
    with pytest.raises(InputError, match="did you mean 'h_error'"):
        sweep(whole, "h_eror", [0.1], actions=known, repeats=1, draws=1, seed=0)


def test_spread_and_overlay(whole, known):
    from inc_lib import plots

    frame = sweep(whole, "kept", [0.3, 0.6], actions=known, repeats=3, draws=0, seed=0)
    curves = spread(frame, {"explicit": "explicit_covers"})
    assert curves["x"].tolist() == [0.3, 0.6]
    low, high = spread(frame, {"explicit": "explicit_covers"}, share=1.0)["bands"]["explicit"]
    assert low.tolist() == frame["explicit_covers"].groupby(level=0).min().tolist()
    assert (low <= curves["curves"]["explicit"]).all() and (curves["curves"]["explicit"] <= high).all()
    figure = plots.bound_curve(**curves, xlabel="x", ylabel="y")
    before = len(figure.axes[0].lines)
    overlay(figure, {"share": lambda x: x, "all": lambda x: 1.0}, colour=plots.INK)
    assert len(figure.axes[0].lines) == before + 2 and "derived beforehand: share, all" in figure.alt


def shares(values):
    """A frame as `sweep` gives it: value -> the share in each repeat."""
    rows = {(value, repeat): share for value, repeats in values.items() for repeat, share in enumerate(repeats)}
    return pd.DataFrame({"share": pd.Series(rows)})


def test_agrees_where_a_rare_miss_did_not_happen():
    """No miss in 16 repeats of 15 columns at P = 0.992: likely (1 in 7), though the sample's spread is 0."""
    assert agrees(shares({0.7: [1.0] * 16}), "share", lambda rho: 1 - (1 - rho) ** 4, units=15)


def test_agrees_where_nothing_is_left_to_chance():
    certain = shares({0.1: [1.0, 1.0], 0.2: [1.0, 0.998]})
    assert agrees(certain, "share", lambda _: 1.0, units=60)
    assert not agrees(shares({0.1: [1.0, 0.9]}), "share", lambda _: 1.0, units=60)


def test_agrees_rarely_rejects_what_is_right_and_mostly_what_is_wrong():
    def rejected(size):
        """How often datasets of a law with columns of 4 are said not to follow one with `size`."""
        times = 0
        for trial in range(300):
            taken = torch.rand(6, 16, 15, 4, generator=generator(trial)) < rho[:, None, None, None]
            frame = shares(dict(zip(rho.tolist(), taken.any(3).float().mean(2).tolist(), strict=True)))
            times += not agrees(frame, "share", lambda share: 1 - (1 - share) ** size, units=15)
        return times / 300

    rho = torch.tensor([0.1, 0.2, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)
    assert rejected(4) <= 0.01
    assert rejected(3) > 0.7 and rejected(2) == 1
