"""E0 to E4 of one network in one pass: what chapters 3 to 7 take apart, side by side for any world, model and seed.

The procedure is those chapters' (see there for what each number means); keys of records are theirs too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import Tensor

from . import actions, clustering, metrics, oracle, scoring
from .actions import ActionSet
from .clustering import Model
from .errors import InputError
from .partitions import Partitioning
from .worlds import Factor, World

if TYPE_CHECKING:
    from .chapter import Chapter

CONDITIONS = {
    "encoded_mda": ("encoded", True),  # E1 is this one
    "encoded_single": ("encoded", False),
    "AS_mda": ("partitions", True),
    "AS_single": ("partitions", False),
}
METHODS = ("kde", "kmeans", "gmm")
FEW = 20_000  # codes on which partitions are compared, as in chapter 6


@dataclass(frozen=True, eq=False)
class Examined:
    """A network, the codes that it gave observations, and what the paper's procedure found in them.

    Attributes:
        model: h and G.
        factors: those of the world that vary; constant ones (dSprites' colour) have nothing to be asked.
        columns: where these stand among all factors of the world.
        states: int64 (n, M), all factors. codes: float32 (n, d).
        partitioning, found: by density, without labels; and named by them.
    """

    model: Model
    factors: tuple[Factor, ...]
    columns: tuple[int, ...]
    states: Tensor
    codes: Tensor
    partitioning: Partitioning
    found: ActionSet

    @property
    def names(self) -> list[str]:
        return [factor.name for factor in self.factors]


def varying(world: World) -> tuple[int, ...]:
    """The columns of a world's factors that vary.

    Raises:
        InputError: there is none, or no factor has labels.
    """
    columns = tuple(i for i, factor in enumerate(world.factors) if factor.size > 1)
    if not columns:
        raise InputError(
            f"{world.name} has no labelled factor that varies: E0 to E4 compare codes with factors; chapters 2, 14 "
            "and 17 show what can be found without labels."
        )
    return columns


def examine(c: Chapter, model: Model | None = None, *, name: str = "sample") -> Examined:
    """Encode a chapter's sample and find its partitions and actions.

    Raises:
        InputError: the data have no factor labels, or none that varies.
    """
    factors, columns = c.world.factors, varying(c.world)
    model = model or c.model
    _, states, codes = c.encode_sample(keep=1, model=model, name=name)
    partitioning = actions.find_partitions(codes)
    found = actions.find_actions(states, codes, partitioning, factors)
    return Examined(model, tuple(factors[i] for i in columns), columns, states, codes, partitioning, found)


# --- E0 ---


def uniqueness(found: ActionSet) -> float:
    """How far A.H holds, as one number in [0, 1]: does every attribute own partitions that no other attribute has?

    For each attribute the F1 of its region, see `actions.find_actions`: precision says that nothing else of the same
    factor lies there, recall that the attribute lies nowhere else; a factor without a dimension of its own gets 0.
    The mean over the attributes of a factor, then over the factors that vary. 1: all co-occurrences are unique.
    """
    varying = [i for i, factor in enumerate(found.factors) if factor.size > 1]
    return float(np.mean([found.uniqueness(i).mean() for i in varying]))


def spearman(a: np.ndarray, b: np.ndarray, *, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Rank correlation of (n,) and (n,), and its 95 % bootstrap interval (pairs are drawn with replacement)."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if len(a) != len(b) or len(a) < 4:
        raise InputError(f"{len(a)} and {len(b)} values have no rank correlation to speak of: expected four pairs.")
    rows = np.random.default_rng(seed).integers(0, len(a), (draws, len(a)))
    ranks = (stats.rankdata(values[rows], axis=1) for values in (a, b))
    centred = [r - r.mean(1, keepdims=True) for r in ranks]
    spread = np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    drawn = (centred[0] * centred[1]).sum(1)[spread > 0] / spread[spread > 0]
    return float(stats.spearmanr(a, b).statistic), *scoring.interval(drawn)


# --- E1 and E4 ---


def images_of(factor: Factor, n: int) -> int:
    """Images of each attribute so that every factor has about as many: n of ten, fewer of forty."""
    return n if factor.size <= 10 else max(1, 10 * n // factor.size)


def macro_f1(c: Chapter, x: Examined, n: int) -> pd.DataFrame:
    """Macro-F1 of generated clusters, one row for each way of Algorithm 1 in `CONDITIONS`, one column a factor.

    An attribute without an action counts as 0. `images_of` each attribute are read by the chapter's oracle.
    """
    return pd.DataFrame(
        {
            factor.name: {
                key: scoring.score_clusters(
                    x.model,
                    x.found,
                    c.oracle,
                    images_of(factor, n),
                    factor=i,
                    codes=x.codes,
                    sampling=sampling,
                    multi_dimensional=mda,
                    generator=c.generator_for(f"{key} {factor.name}"),
                ).macro_f1
                for key, (sampling, mda) in CONDITIONS.items()
            }
            for i, factor in zip(x.columns, x.factors, strict=True)
        }
    )


def confusion(c: Chapter, x: Examined, factor: int, n: int) -> tuple[oracle.F1, oracle.F1 | None]:
    """Ordered against read, of a column of the world's factors; and the same where a mistake that cannot be seen is
    none (`World.alike`; None where every attribute can be told from every other)."""
    strict = np.zeros((c.world.sizes[factor],) * 2, dtype=np.int64)
    lenient = strict.copy()
    for images, ordered in _generated(c, x, factor, n):
        read = c.oracle.predict(images)
        alike = c.world.alike(factor, ordered, read[:, factor], read)
        size = len(strict)
        strict += oracle.confusion_table(ordered.numpy(), read[:, factor].numpy(), size)
        lenient += oracle.confusion_table(
            ordered.numpy(), torch.where(alike, ordered, read[:, factor]).numpy(), size
        )
    name = c.world.factors[factor].name
    seen = oracle.f1_from_confusion(strict, name)
    return seen, None if c.world.tells_apart(factor) else oracle.f1_from_confusion(lenient, name)


def ceilings(c: Chapter, x: Examined, n: int) -> pd.DataFrame:
    """Macro-F1 of the oracle on n held-out observations, a row for each factor: "strictly", and "modulo symmetry" as
    `confusion` is lenient (NaN where every attribute can be told from every other)."""
    images, states = oracle.draw(c.world, n, c.generator_for("ceiling"), held_out=True)
    read, states = c.oracle.predict(images), states.cpu()
    rows = {}
    for i, factor in zip(x.columns, x.factors, strict=True):
        true, seen = states[:, i], read[:, i]
        forgiven = torch.where(c.world.alike(i, true, seen, read), true, seen)
        tables = [oracle.confusion_table(true.numpy(), kind.numpy(), factor.size) for kind in (seen, forgiven)]
        scores = [oracle.f1_from_confusion(table, factor.name).macro_f1 for table in tables]
        rows[factor.name] = scores[0], np.nan if c.world.tells_apart(i) else scores[1]
    return pd.DataFrame(rows, index=["strictly", "modulo symmetry"]).T


def _generated(c: Chapter, x: Examined, factor: int, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    if not x.found.of(factor):
        return
    for images, ordered, _ in clustering.implicit_clusters(
        x.model,
        x.found,
        images_of(c.world.factors[factor], n),
        factor=factor,
        codes=x.codes,
        generator=c.generator_for(f"encoded_mda {c.world.factors[factor].name}"),
    ):
        yield images, ordered


# --- E2 ---


def traversals(c: Chapter, x: Examined, factor: int, *, rows: int = 3, most: int = 10) -> tuple[Tensor, list[int]]:
    """Some encoded observations with each action of a factor in turn: pictures (rows, actions, C, H, W).

    Args:
        factor: a column of the world's factors.
        most: of more attributes, this many evenly spread ones.

    Returns:
        The pictures, and which attributes the columns are.
    """
    group = x.found.of(factor)
    if len(group) > most:
        group = [group[round(k)] for k in np.linspace(0, len(group) - 1, most)]
    generator = c.generator_for(f"traversal {factor}")
    start = x.codes[:rows]
    pictures = [x.model.decode(action.act(start, generator)).cpu() for action in group]
    return torch.stack(pictures, dim=1), [action.attribute for action in group]


# --- E3 ---


def compare_partitions(x: Examined, seed: int = 0) -> pd.DataFrame:
    """Partitions of each factor's best code by density, k-means and a Gaussian mixture, as chapter 6 compares them.

    Returns:
        One row for each factor and method, with the scores of `metrics.cluster_scores` and `given`: the number of
        clusters that the method was told, None for KDE, which is told nothing.
    """
    codes, states = x.codes[:FEW], x.states[:FEW].numpy()
    best = np.nan_to_num(metrics.mutual_information(codes, states))[:, list(x.columns)].argmax(0)
    places, rows = x.partitioning.assign(codes), []
    for (i, factor), dimension in zip(zip(x.columns, x.factors, strict=True), best.tolist(), strict=True):
        values = codes[:, [dimension]].double().numpy()
        labels = {
            "kde": places[:, dimension].numpy(),
            "kmeans": KMeans(factor.size, n_init=5, random_state=seed).fit_predict(values),
            "gmm": GaussianMixture(factor.size, n_init=2, random_state=seed).fit_predict(values),
        }
        rows += [
            {
                "factor": factor.name,
                "method": method,
                "given": None if method == "kde" else factor.size,
                **metrics.cluster_scores(states[:, i], found),
            }
            for method, found in labels.items()
        ]
    return pd.DataFrame(rows)
