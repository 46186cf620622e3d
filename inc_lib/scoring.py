"""Does a generated image show what was asked for? Implicit clusters, read by a judge that did not make them.

    judge = oracle.load(path)                            # or PartitionReader(model, actions) without labels
    score = score_clusters(model, actions, judge, 1000, factor="shape", codes=codes)
    score.macro_f1, with_action(score), interval(resample(score, 1000, generator))

`score_clusters` asks about the factor that was acted on, `footprint` about all the others.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .actions import ActionSet, AtomicAction, act_each, factor_index
from .clustering import Model, implicit_clusters
from .errors import InputError
from .oracle import F1, confusion_table, f1, f1_from_confusion

__all__ = ["Footprint", "Judge", "PartitionReader", "footprint", "interval", "neighbours", "resample",
           "score_clusters", "score_observations", "with_action"]


class Judge(Protocol):
    """Whoever reads attributes from images: `oracle.Oracle`, or `PartitionReader`."""

    factors: tuple[str, ...]
    sizes: tuple[int, ...]

    def predict(self, observations: Tensor) -> Tensor:
        """The attribute of each factor: int64 (n, M), on the CPU."""

    def factor_index(self, factor: int | str) -> int:
        """The column of a factor."""


class PartitionReader:
    """The encoder as a judge, for data without labels: the partition that each code lies in.

    It reads the factors of `actions.unlabelled_actions`, that is, one for each code that is cut. The network
    marks its own homework: that an image is read as ordered says that G and h agree, and not that a person
    would see it.

    Args:
        model: the model whose images are read.
        actions: as `unlabelled_actions` gives.

    Raises:
        InputError: actions found with labels; their attributes are not partitions.
    """

    def __init__(self, model: Model, actions: ActionSet) -> None:
        sizes = actions.partitioning.sizes
        self.model, self.partitioning = model, actions.partitioning
        self.cut = [dimension for dimension, size in enumerate(sizes) if size > 1]
        self.factors = tuple(factor.name for factor in actions.factors)
        self.sizes = tuple(sizes[dimension] for dimension in self.cut)
        if self.factors != tuple(f"code {dimension}" for dimension in self.cut):
            raise InputError(f"actions of the factors {', '.join(self.factors) or '(none)'} cannot be read "
                             "by their partitions alone: use an oracle, or actions.unlabelled_actions.")
        self._actions = actions

    def predict(self, observations: Tensor) -> Tensor:
        """The partition of each cut code: int64 (n, codes that are cut)."""
        return self.partitioning.assign(self.model.encode(observations))[:, self.cut]

    def factor_index(self, factor: int | str) -> int:
        """The column of a factor given by name or number."""
        return factor_index(self._actions.factors, factor)


def score_clusters(model: Model, actions: ActionSet, judge: Judge, n: int, *, factor: int | str,
                   codes: Tensor | None = None, sampling: str = "encoded", multi_dimensional: bool = True,
                   generator: torch.Generator | None = None, batch_size: int = 1024) -> F1:
    """E1 of the paper: n images of each attribute by Algorithm 1, read by the judge.

    Arguments are those of `clustering.implicit_clusters`; constant memory. A factor without any action has
    no images, and a macro-F1 of 0, so that scores of all factors can stand in one table.

    Returns:
        F1 whose confusion matrix has the attributes asked for as rows. `macro_f1` is the mean over *all*
        attributes, those without an action count as 0; `with_action` leaves them out.
    """
    index = factor_index(actions.factors, factor)
    batches = () if not actions.of(index) else implicit_clusters(
        model, actions, n, factor=index, codes=codes, sampling=sampling, multi_dimensional=multi_dimensional,
        generator=generator, batch_size=batch_size)
    return f1(judge, batches, index)


def score_observations(judge: Judge, observations: Tensor, states: Tensor) -> list[F1]:
    """Observations (n, C, H, W), or what became of them, read against their states (n, M): an F1 a factor.

    For real observations this is the judge's own ceiling; for their reconstructions what h and G lose.
    """
    read = judge.predict(observations).numpy()
    labels = states.detach().cpu().numpy()
    return [f1_from_confusion(confusion_table(labels[:, i], read[:, i], size), name)
            for i, (size, name) in enumerate(zip(judge.sizes, judge.factors, strict=True))]


def with_action(score: F1) -> float | None:
    """Mean F1 over the attributes that were asked for; None where there is none."""
    asked = score.confusion.sum(1) > 0
    return float(score.per_class[asked].mean()) if asked.any() else None


def resample(score: F1, n: int, generator: torch.Generator) -> NDArray[np.float64]:
    """Macro-F1 of n bootstrap resamples of the images: float64 (n,).

    Images are independent draws given the model and its actions, and as many were ordered of each attribute
    as were ordered; so the rows of the confusion matrix are drawn anew, each by itself. The spread is that of
    the draws alone. What another training run of the model would give is not in it.
    """
    if n < 1:
        raise InputError(f"n = {n} resamples cannot be drawn: expected at least 1.")
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    totals = score.confusion.sum(1)
    shares = score.confusion / np.maximum(totals, 1)[:, None]
    shares[totals == 0] = 1 / len(shares)  # none is drawn
    drawn = np.stack([rng.multinomial(total, share, size=n) for total, share in zip(totals, shares,
                                                                                   strict=True)], axis=1)
    right, both = np.einsum("nkk->nk", drawn), drawn.sum(1) + drawn.sum(2)
    return np.divide(2 * right, both, out=np.zeros(both.shape), where=both > 0).mean(1)


def interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of values (n,): a bootstrap's percentile interval."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not 0 < level < 1:
        raise InputError(f"values of shape {values.shape} have no interval of level {level}: expected (n,) "
                         "with n >= 1, and a level between 0 and 1.")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def neighbours(score: F1, *, cyclic: bool = False) -> tuple[float, float] | None:
    """Of the misread images, the share read as a neighbour of what was asked for; and that share by chance.

    Args:
        score: of a factor whose attributes have an order.
        cyclic: the last attribute is a neighbour of the first.

    Returns:
        (observed, by chance): chance spreads the same mistakes evenly over the other attributes. None where
        nothing was misread.
    """
    size = len(score.confusion)
    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    near = (np.minimum(apart, size - apart) if cyclic else apart) == 1
    wrong = np.where(np.eye(size, dtype=bool), 0, score.confusion)
    if not wrong.any():
        return None
    chance = wrong.sum(1) @ near.sum(1) / (max(size - 1, 1) * wrong.sum())
    return float(wrong[near].sum() / wrong.sum()), float(chance)


@dataclass(frozen=True, eq=False)
class Footprint:
    """What acting on a factor does to what the judge reads, factor by factor.

    Attributes:
        kept: (M, M): row i acts on factor i; column j is the share of images in which factor j is read as
            before. Rows of factors without an action are NaN, and so is the diagonal.
        shown: (M,): the share in which the acted-on factor is read as ordered; NaN without an action.
        n: images behind each row; 0 without an action.
    """

    kept: NDArray[np.float64]
    shown: NDArray[np.float64]
    n: NDArray[np.int64]


def footprint(model: Model, actions: ActionSet, judge: Judge, codes: Tensor, *, change: bool = True,
              generator: torch.Generator | None = None, batch_size: int = 1024) -> Footprint:
    """Act on each factor in turn and read *all* factors: does everything else stay (A.G2, A.G3)?

    An image is compared with the same code's image before the action, both read by the judge, so that what
    encoder and generator lose is not held against the action.

    Args:
        model: G.
        actions, judge: of the same factors.
        codes: (n, d), the codes acted on: one action each, drawn at random.
        change: True: an action of an attribute that is *not* present. False: the action of the one that is,
            which should change nothing at all: a control, which shows how much a mere redrawing of the code
            and the judge's own hesitation take away. Codes in which no attribute is present are left out
            then.
    """
    m = len(actions.factors)
    kept, shown, count = np.full((m, m), np.nan), np.full(m, np.nan), np.zeros(m, dtype=np.int64)
    before = torch.cat([judge.predict(model.decode(part)) for part in codes.split(batch_size)])
    for i in range(m):
        group = actions.of(i)
        rows, chosen = _choose(group, codes, change, generator)
        if not len(rows):
            continue
        acted = act_each(group, chosen, codes[rows], generator)
        after = torch.cat([judge.predict(model.decode(part)) for part in acted.split(batch_size)])
        kept[i] = (after == before[rows]).double().mean(0).numpy()
        kept[i, i] = np.nan
        wanted = torch.tensor([action.attribute for action in group])[chosen]
        shown[i], count[i] = float((after[:, i] == wanted).double().mean()), len(rows)
    return Footprint(kept, shown, count)


def _choose(group: Sequence[AtomicAction], codes: Tensor, change: bool,
            generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Which codes are acted on, and by which action of the group: int64 (n,), int64 (n,)."""
    if not group:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    present = torch.stack([action.present(codes) for action in group], dim=1).cpu()
    allowed = ~present if change else present
    rows = allowed.any(1).nonzero()[:, 0]
    if not len(rows):
        return rows, rows
    return rows, torch.multinomial(allowed[rows].double(), 1, generator=generator)[:, 0]
