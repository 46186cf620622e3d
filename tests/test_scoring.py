"""Scores of implicit clusters with the answer known on paper: a generator that draws codes as they are."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from inc_lib import scoring
from inc_lib.actions import ActionSet, find_actions, find_partitions, unlabelled_actions
from inc_lib.errors import InputError
from inc_lib.oracle import f1_from_confusion
from inc_lib.worlds import Factor

SIZES = (4, 3, 2)
FACTORS = tuple(Factor(name, tuple(range(size))) for name, size in zip(("hue", "shape", "scale"), SIZES,
                                                                       strict=True))


class Transparent:
    """An image is its code, laid out as three pixels; `leak` lets the first factor spill into the second."""

    def __init__(self, leak: bool = False) -> None:
        self.leak = leak

    def encode(self, observations: Tensor) -> Tensor:
        return observations[:, 0, 0]

    def decode(self, codes: Tensor) -> Tensor:
        codes = codes.clone()
        if self.leak:  # where the first factor is 0, so is the second
            codes[codes[:, 0] < 0.5, 1] = 0.0
        return codes[:, None, None, :]


class Rounding:
    """A judge that reads the nearest whole number, and takes `blind`'s attribute 1 for 0."""

    factors, sizes = tuple(factor.name for factor in FACTORS), SIZES

    def __init__(self, blind: int | None = None) -> None:
        self.blind = blind

    def predict(self, observations: Tensor) -> Tensor:
        read = observations[:, 0, 0].round().long()
        if self.blind is not None:
            read[read[:, self.blind] == 1, self.blind] = 0
        return read

    def factor_index(self, factor: int | str) -> int:
        return self.factors.index(factor) if isinstance(factor, str) else factor


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def found(merge: bool = False) -> tuple[Tensor, ActionSet]:
    """Codes of 2,400 observations and their actions; `merge`: hues 2 and 3 share a place, neither owns it."""
    states = torch.cartesian_prod(*(torch.arange(size) for size in SIZES)).repeat(100, 1)
    places = torch.stack([states[:, 0].clamp(max=2 if merge else 3), *states.T[1:]], dim=1)
    codes = places + 0.03 * torch.randn(states.shape, generator=seeded())
    return codes, find_actions(states, codes, find_partitions(codes), FACTORS)


@pytest.mark.parametrize("sampling", ["encoded", "partitions"])
@pytest.mark.parametrize("factor", range(3))
def test_a_perfect_generator_scores_one(factor, sampling):
    codes, actions = found()
    score = scoring.score_clusters(Transparent(), actions, Rounding(), 50, factor=FACTORS[factor].name,
                                   codes=codes, sampling=sampling, generator=seeded())
    assert score.macro_f1 == 1 and scoring.with_action(score) == 1
    assert score.confusion.tolist() == (50 * np.eye(SIZES[factor], dtype=int)).tolist()


def test_attributes_without_an_action_count_as_zero():
    codes, actions = found(merge=True)
    assert actions.missing(0) == [2, 3]
    score = scoring.score_clusters(Transparent(), actions, Rounding(), 50, factor=0, codes=codes,
                                   generator=seeded())
    assert score.macro_f1 == 0.5 and scoring.with_action(score) == 1 and score.absent.tolist() == [2, 3]


def test_a_factor_without_any_action_has_no_images_and_no_exception():
    states = torch.stack([torch.arange(2).repeat(200), torch.zeros(400, dtype=torch.int64)], dim=1)
    codes = states + 0.03 * torch.randn(states.shape, generator=seeded())
    factors = (Factor("a", (0, 1)), Factor("b", (0, 1)))
    actions = find_actions(states, codes, find_partitions(codes), factors)
    assert not actions.of("b")
    judge = scoring.PartitionReader(Transparent(), unlabelled_actions(codes, actions.partitioning))
    assert judge.sizes == (2,)
    judge.sizes, judge.factors = (2, 2), ("a", "b")
    judge.factor_index = lambda factor: factor
    score = scoring.score_clusters(Transparent(), actions, judge, 5, factor="b", codes=codes)
    assert score.macro_f1 == 0 and score.n == 0 and scoring.with_action(score) is None
    assert scoring.resample(score, 4, seeded()).tolist() == [0.0] * 4


def test_what_the_judge_cannot_read_is_lost():
    """It reads hue 1 as hue 0: F1 of hue 0 is 2/3 (precision 1/2, recall 1), of hue 1 it is 0."""
    codes, actions = found()
    score = scoring.score_clusters(Transparent(), actions, Rounding(blind=0), 50, factor=0, codes=codes,
                                   generator=seeded())
    assert score.per_class.tolist() == pytest.approx([2 / 3, 0, 1, 1])
    assert scoring.neighbours(score) == pytest.approx((1, 2 / 3))  # hue 1 has two neighbours of three others
    assert scoring.neighbours(score, cyclic=True) == pytest.approx((1, 2 / 3))


def test_observations_are_read_factor_by_factor():
    states = torch.cartesian_prod(*(torch.arange(size) for size in SIZES))
    scores = scoring.score_observations(Rounding(blind=2), states.float()[:, None, None], states)
    assert [score.factor for score in scores] == ["hue", "shape", "scale"]
    assert [score.macro_f1 for score in scores] == pytest.approx([1, 1, 1 / 3])
    assert all(score.n == len(states) for score in scores)


def test_neighbours_of_the_ends():
    score = f1_from_confusion([[0, 0, 0, 5], [0, 5, 0, 0], [0, 0, 5, 0], [0, 0, 0, 5]])
    assert scoring.neighbours(score) == pytest.approx((0, 1 / 3))
    assert scoring.neighbours(score, cyclic=True) == pytest.approx((1, 2 / 3))
    assert scoring.neighbours(f1_from_confusion(np.eye(3, dtype=int))) is None


def test_resampling_agrees_with_drawing_the_images_again():
    """A binomial by hand: of two attributes one is read right in 80 of 100, the other always."""
    score = f1_from_confusion([[80, 20], [0, 100]])
    spread = scoring.resample(score, 4000, seeded())
    right = np.random.default_rng(0).binomial(100, 0.8, 4000)
    by_hand = (2 * right / (right + 100) + 200 / (300 - right)) / 2
    assert spread.mean() == pytest.approx(by_hand.mean(), abs=0.003)
    assert spread.std() == pytest.approx(by_hand.std(), rel=0.06)
    low, high = scoring.interval(spread)
    assert low < score.macro_f1 < high and high - low == pytest.approx(4 * spread.std(), rel=0.15)
    assert np.ptp(scoring.resample(f1_from_confusion(np.eye(3, dtype=int) * 9), 10, seeded())) == 0


def test_bad_input_is_a_sentence():
    score = f1_from_confusion([[1, 0], [0, 1]])
    with pytest.raises(InputError, match="at least 1"):
        scoring.resample(score, 0, seeded())
    for values, level in (([], 0.9), ([[1.0]], 0.9), ([1.0], 1.5)):
        with pytest.raises(InputError, match="no interval"):
            scoring.interval(values, level)
    with pytest.raises(InputError, match="use an oracle"):
        scoring.PartitionReader(Transparent(), found()[1])


def test_a_footleftof_independent_codes_is_clean():
    codes, actions = found()
    for change in (True, False):
        clean = scoring.footprint(Transparent(), actions, Rounding(), codes, change=change,
                                  generator=seeded())
        off = ~np.eye(3, dtype=bool)
        assert (clean.kept[off] == 1).all() and np.isnan(clean.kept[~off]).all()
        assert (clean.shown == 1).all() and clean.n.tolist() == [2400] * 3


def test_a_footleftshows_a_leak():
    """Hue 0 forces shape 0. Of 12 changes between 4 hues 3 leave hue 0, 3 enter it, 2 of 3 shapes notice."""
    codes, actions = found()
    leaky = scoring.footprint(Transparent(leak=True), actions, Rounding(), codes, generator=seeded())
    assert leaky.kept[0, 1] == pytest.approx(1 - 6 / 12 * 2 / 3, abs=0.03)
    assert leaky.kept[0, 2] == leaky.kept[1, 0] == leaky.kept[2, 1] == 1
    assert leaky.shown[1] == pytest.approx(1 - 1 / 4, abs=0.15) and leaky.shown[0] == 1
    control = scoring.footprint(Transparent(leak=True), actions, Rounding(), codes, change=False,
                                generator=seeded())
    assert control.kept[0, 1] == 1  # nothing was changed, so nothing leaks


def test_a_factor_without_actions_leaves_no_footprint():
    codes, actions = found()
    silent = ActionSet(actions.factors, tuple(a for a in actions.actions if a.factor != 1), actions.ownership,
                       actions.information, actions.partitioning, actions.distribution, actions.marginals)
    left = scoring.footprint(Transparent(), silent, Rounding(), codes, generator=seeded())
    assert np.isnan(left.kept[1]).all() and math.isnan(left.shown[1]) and left.n[1] == 0
    assert left.kept[0, 1] == 1
    outside = torch.full((4, 3), 99.0)  # the last partitions reach to infinity, so these are in one
    assert scoring.footprint(Transparent(), silent, Rounding(), outside, change=False).n[0] == 4


def test_without_labels_the_encoder_reads_its_partitions():
    codes, labelled = found()
    actions = unlabelled_actions(codes, labelled.partitioning)
    judge = scoring.PartitionReader(Transparent(), actions)
    assert judge.sizes == SIZES and judge.factor_index("code 1") == 1
    score = scoring.score_clusters(Transparent(), actions, judge, 20, factor="code 0", codes=codes,
                                   generator=seeded())
    assert score.macro_f1 == 1
