"""E0 to E4 in one pass: numbers known on paper."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from inc_lib import actions, oracle, suite, tables, worlds
from inc_lib.errors import InputError
from inc_lib.worlds import Factor


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def heaps(levels: torch.Tensor, spread: float = 0.02) -> torch.Tensor:
    """Codes in narrow heaps at whole numbers."""
    return (levels + spread * torch.randn(levels.shape, generator=seeded(1))).float()


def found_in(states: torch.Tensor, codes: torch.Tensor, sizes: tuple[int, ...]) -> actions.ActionSet:
    factors = [Factor(f"factor {i}", tuple(range(size))) for i, size in enumerate(sizes)]
    return actions.find_actions(states, codes, actions.find_partitions(codes), factors)


def test_uniqueness_is_one_for_heaps_and_zero_for_noise():
    states = torch.randint(4, (4000, 2), generator=seeded())
    assert suite.uniqueness(found_in(states, heaps(states), (4, 4))) == pytest.approx(1, abs=1e-6)
    noise = torch.randn(4000, 2, generator=seeded(2))
    assert suite.uniqueness(found_in(states, noise, (4, 4))) == 0


def test_a_factor_without_a_code_of_its_own_halves_the_uniqueness():
    states = torch.randint(2, (4000, 2), generator=seeded())
    both = (2 * states[:, :1] + states[:, 1:]).float()  # four heaps on one code
    codes = heaps(torch.cat([both, torch.zeros_like(both)], dim=1))
    assert suite.uniqueness(found_in(states, codes, (2, 2))) == pytest.approx(0.5, abs=0.01)


def test_constant_factors_do_not_count():
    states = torch.randint(3, (3000, 2), generator=seeded())
    states[:, 1] = 0
    assert suite.uniqueness(found_in(states, heaps(states), (3, 1))) == pytest.approx(1, abs=1e-6)


def test_rank_correlation_and_its_interval():
    rho, low, high = suite.spearman(np.arange(30), np.arange(30) ** 3)
    assert rho == pytest.approx(1) and low == pytest.approx(1) and high == pytest.approx(1)
    values = np.random.default_rng(0).normal(size=(2, 200))
    rho, low, high = suite.spearman(*values)
    assert rho == pytest.approx(stats.spearmanr(*values).statistic) and low < rho < high and low < 0 < high
    with pytest.raises(InputError, match="expected four pairs"):
        suite.spearman([1, 2, 3], [1, 2, 3])


def test_factors_with_many_attributes_get_fewer_images_of_each():
    assert [suite.images_of(Factor("f", tuple(range(k))), 1000) for k in (2, 10, 40)] == [1000, 1000, 250]
    assert suite.images_of(Factor("f", tuple(range(40))), 1) == 1


def test_orientations_that_symmetry_hides():
    world = worlds.load("dsprites-twin", image_size=32)
    orientation, shape = 3, 1
    assert not world.tells_apart(orientation) and world.tells_apart(shape)
    a = torch.zeros(6, dtype=torch.int64)
    b = torch.tensor([39, 10, 20, 20, 5, 10])
    states = torch.zeros(6, 6, dtype=torch.int64)
    states[:, 1] = torch.tensor([2, 0, 1, 0, 0, 1])  # heart, square, ellipse, square, square, ellipse
    # a full turn for all; 10 of 39 steps is a quarter turn to a quarter of a step; 20 is half a turn, and two quarters;
    # 5 is nothing of a square's, 10 nothing of an ellipse's
    assert world.alike(orientation, a, b, states).tolist() == [True, True, True, True, False, False]
    same = torch.tensor([1, 2, 3])
    assert worlds.load("mpi3d-twin", image_size=32).alike(0, same, same.flip(0), states[:3]).tolist() == [
        False, True, False]


def test_a_square_turned_by_a_hidden_angle_is_the_same_picture():
    world = worlds.load("dsprites-twin", image_size=64)
    states = torch.tensor([[0, 0, 5, 0, 16, 16], [0, 0, 5, 39, 16, 16], [0, 0, 5, 5, 16, 16]])
    square, turned, tilted = world.render(states)
    assert (square != turned).float().mean() < 0.001 < (square != tilted).float().mean()


def test_data_without_labels_end_in_a_sentence():
    bare = SimpleNamespace(name="photos", factors=())
    still = SimpleNamespace(name="one room", factors=(Factor("hue", ("red",)),))
    for world in (bare, still):
        with pytest.raises(InputError, match=f"{world.name} has no labelled factor that varies"):
            suite.varying(world)
    two = SimpleNamespace(name="two", factors=(Factor("hue", ("red",)), Factor("size", (1, 2))))
    assert suite.varying(two) == (1,)


def test_ceilings_forgive_only_what_cannot_be_seen():
    world = worlds.load("dsprites-twin", image_size=32)

    def generator(name):
        return torch.Generator().manual_seed(0)

    _, states = oracle.draw(world, 400, generator(""), held_out=True)
    read = states.clone()
    turned = (states[:, 1] == 0) & (states[:, 3] < 30)
    read[turned, 3] += 10  # squares a quarter turn on: nobody could know
    read[0, 5] = (read[0, 5] + 1) % 32
    c = SimpleNamespace(world=world, generator_for=generator, oracle=SimpleNamespace(predict=lambda images: read))
    varying = tuple(i for i, factor in enumerate(world.factors) if factor.size > 1)
    x = SimpleNamespace(columns=varying, factors=[world.factors[i] for i in varying])
    found = suite.ceilings(c, x, 400)
    assert found.loc["shape", "strictly"] == 1 and np.isnan(found.loc["shape", "modulo symmetry"])
    assert found.loc["orientation", "strictly"] < 0.9 and found.loc["orientation", "modulo symmetry"] == 1
    assert 0.9 < found["strictly"].iloc[-1] < 1


def test_student_intervals_are_those_of_scipy():
    for degrees, quantile in enumerate(tables.STUDENT, start=1):
        assert quantile == pytest.approx(stats.t.ppf(0.975, degrees), abs=5e-4)
    values = [0.70, 0.74, 0.78]
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    assert tables._interval(values) == f"0.74 [{0.74 - half:.2f}, {0.74 + half:.2f}]"
    assert tables._interval([0.9, 0.94, 0.98]) == f"0.94 [{0.94 - half:.2f}, 1.00]"  # no score is above 1
    assert tables._interval([0.0, 0.1]) == "0.05 [0.00, 0.69]"
    assert tables._interval([0.5]) == "0.50"
