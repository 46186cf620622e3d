"""A finite world: what can be counted on paper is counted here."""
import math

import pytest
import torch

from inc_lib.errors import InputError
from inc_lib.finite import (
    FiniteModel,
    FiniteWorld,
    contexts_held,
    dataset_states,
    reach,
    share_kept,
    share_right,
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
    assert held.contexts.tolist() == [[0], [1], [2], [3]]
    assert held.explicit.tolist() == [[False, True, False, False], [False] * 4, [False, True, False, True]]
    assert held.implicit[:, 1].tolist() == [True, False, True]  # attribute 1 was never seen: no action
    assert not held.implicit[:, 0].any()


def test_contexts_held_of_a_huge_grid_are_evenly_spaced():
    factors = [Factor(str(i), tuple(range(1000))) for i in range(8)]
    held = contexts_held(torch.zeros(1, 8, dtype=torch.int64), factors, 3, most=5)
    assert held.contexts.shape == (5, 7) and held.explicit.shape == (1000, 5)
    assert held.contexts[0].tolist() == [0] * 7 and held.contexts[-1].tolist() == [999] * 7
    assert held.explicit.sum() == 1 and held.implicit.sum() == 1


def test_dataset_states(world):
    assert dataset_states(world, 7, generator()).shape == (7, 2)
    world.labels = torch.tensor([[0, 1], [2, 2]], dtype=torch.int32)
    assert dataset_states(world, 7).tolist() == [[0, 1], [2, 2]]
    world.factors = ()
    with pytest.raises(InputError, match="no factor labels"):
        dataset_states(world, 7)
