"""Past the paper: atomic actions on learned subspaces, and on ordered factors.

The paper cuts each code dimension by itself, and no two factors share one (`actions.find_actions`). Here a factor
may live in several codes, and a code may serve several factors. Five steps, each of which can be left out:

    places = find_dimensions(states, codes, factors)              # the codes of each factor
    partition = partition_jointly(codes[:, [1, 8]])               # cells of a subspace, without labels
    draws = drawn_where_read(model, codes)                        # codes whose *pictures* are read as these codes
    found = find_subspace_actions(states, codes, factors, ...)    # an `ActionSet`, as `find_actions` gives
    resolution(model, codes, 7)                                   # how fine may an ordered code be cut?

Labels name the cells afterwards, as the paper's co-occurrence does; they take no part in cutting.
"""
from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import HDBSCAN, MeanShift, estimate_bandwidth
from sklearn.metrics import adjusted_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import Tensor

from .actions import LEAST_SUPPORT, ActionSet, Ownership, _f1, _spread_rows, factor_index, find_actions
from .clustering import Model
from .errors import InputError, suggest
from .files import ROOT
from .partitions import codes_array, find_partitions
from .worlds import Factor

REFERENCES = 10_000   # codes that a joint partition is made of; the others belong where their nearest one does
NEIGHBOURS = (12, 18, 27, 40)  # of the density along the graph, from sharp to smooth
DEPTH = 3.0           # standard errors by which a peak must stand above the pass to a higher one
VOTERS = 10           # neighbours that vote on an attribute in `find_dimensions`
BATCH = 1024
RECORDED = ROOT / "results" / "benchmarks" / "subspaces.json"


# --- which dimensions ---------------------------------------------------------------------------------------

def find_dimensions(states: ArrayLike | Tensor, codes: ArrayLike | Tensor, factors: Sequence[Factor], *,
                    gain: float = 0.05, most: int = 3, n: int = 6000) -> list[tuple[int, ...]]:
    """The codes in which each factor lives, by forward selection.

    How well do an observation's ten nearest neighbours in a set of codes name its attribute? The share of right
    votes, less what the most frequent attribute gives (0: no better, 1: always right), is co-occurrence at the
    finest scale: it asks for no cuts, no straight axis and no independence. The code that raises it most is added
    until the gain is below `gain`. A code that tells nothing *alone*, as each of a circle's hardly does, is found as
    soon as its partner is in; a code may be chosen by several factors.

    Args:
        states: int (n, M).
        codes: (n, d), of the same observations.
        factors: M factors.
        gain: least rise of that share, in (0, 1].
        most: codes of a factor, at most: neighbours are far apart in many dimensions.
        n: observations used, two thirds as voters.

    Returns:
        The codes of each factor, the best first; () where none helps.
    """
    labels, values = _matched(states, codes, factors)
    if not 0 < gain <= 1 or most < 1:
        raise InputError(f"gain {gain!r} and most {most!r} cannot be used: expected a share in (0, 1] and a whole "
                         "number of at least 1.")
    rows = _spread_rows(len(values), n)
    values, labels = values[rows], labels[rows]
    deviation = values.std(axis=0)
    alive = np.flatnonzero(deviation > 0.1 * deviation.max())
    return [_forward(values, labels[:, i], alive, gain, most) for i in range(len(factors))]


def _forward(values: NDArray, labels: NDArray, candidates: NDArray, gain: float, most: int) -> tuple[int, ...]:
    """Add the code that helps the neighbours' vote most, while it does."""
    cut = 2 * len(values) // 3
    floor = np.bincount(labels[cut:]).max() / max(len(labels) - cut, 1) if len(labels) > cut else 1.0
    chosen: list[int] = []
    reached = 0.0
    while len(chosen) < min(most, len(candidates)) and floor < 1 and cut > VOTERS:
        tried = {}
        for d in set(candidates.tolist()) - set(chosen):
            columns = values[:, [*chosen, d]]
            vote = KNeighborsClassifier(VOTERS, algorithm="kd_tree").fit(columns[:cut], labels[:cut])
            tried[d] = (float((vote.predict(columns[cut:]) == labels[cut:]).mean()) - floor) / (1 - floor)
        best = max(sorted(tried), key=tried.get)
        if tried[best] - reached < gain:
            break
        chosen.append(best)
        reached = tried[best]
    return tuple(chosen)


def subspaces(dimensions: Sequence[Sequence[int]]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Factors that share codes, directly or through others, share a subspace.

    Args:
        dimensions: the codes of each factor, as `find_dimensions` gives.

    Returns:
        (factors, codes) of each subspace, sorted; a factor without codes is in none.
    """
    found: list[tuple[set[int], set[int]]] = []
    for i, own in enumerate(dimensions):
        factors, codes = {i}, set(own)
        if codes:
            for other in [other for other in found if other[1] & codes]:
                factors, codes = factors | other[0], codes | other[1]
                found.remove(other)
            found.append((factors, codes))
    return sorted((tuple(sorted(factors)), tuple(sorted(codes))) for factors, codes in found)


# --- the joint partition ------------------------------------------------------------------------------------

@dataclass(frozen=True, eq=False)
class JointPartition:
    """A subspace, divided into cells.

    Attributes:
        reference: float32 (m, k), codes of the subspace.
        labels: int64 (m,), their cells 0, 1, ...
        method: what made it.
    """

    reference: NDArray[np.float32]
    labels: NDArray[np.int64]
    method: str

    @property
    def size(self) -> int:
        """Number of cells."""
        return int(self.labels.max()) + 1

    @cached_property
    def _tree(self) -> NearestNeighbors:
        return NearestNeighbors(n_neighbors=1, algorithm="kd_tree").fit(self.reference)

    def nearest(self, values: ArrayLike | Tensor) -> NDArray[np.int64]:
        """The nearest reference of each of values (n, k): int64 (n,)."""
        values = codes_array(values, dimensions=self.reference.shape[1])
        return self._tree.kneighbors(values, return_distance=False)[:, 0]

    def assign(self, values: ArrayLike | Tensor) -> NDArray[np.int64]:
        """The cell of each of values (n, k), that of the nearest reference: int64 (n,)."""
        return self.labels[self.nearest(values)]


def partition_jointly(values: ArrayLike | Tensor, *, method: str = "modes", resolution: int | None = None,
                      ) -> JointPartition:
    """Divide a subspace into cells, without labels.

    - "modes" (default): the paper's cut at the minima of the density, in several dimensions. The density is taken
      at the codes alone, from the distance to their k-th neighbour, along the graph of nearest neighbours; a peak is
      a cell of its own if it stands `DEPTH` standard errors (sqrt(2 / k) of its logarithm) above the highest pass to
      a higher peak, else it joins that one (Chazal et al. 2013). k is taken as `find_partitions` takes its
      bandwidth: the one at which most peaks count, the largest of such. One code: `find_partitions` itself.
    - "angle": two codes only: the angle around their mean, opened where fewest codes lie, cut by `find_partitions`.
    - "whole": one cell, so that `resolution` alone divides.
    - "hdbscan" (Campello et al. 2013) and "mean shift" (Comaniciu & Meer 2002) by scikit-learn, "mixture": a
      Gaussian mixture, its number of components by BIC. For comparison.

    Args:
        values: (n, k), the codes of the subspace.
        resolution: the number of equal-mass parts that the subspace is to have in the end, or None. A cell that
            holds r parts' worth of codes is divided into round(r) of equal mass, across the direction in which it
            is longest, again and again: for one code these are quantiles.

    Raises:
        InputError: an unknown method, values that are no codes, a resolution below 1 or finer than the codes.
    """
    values = codes_array(values)
    if method not in METHODS:
        raise suggest("method", method, METHODS)
    reference = values[_spread_rows(len(values), REFERENCES)]
    finest = max(len(reference) // LEAST_SUPPORT, 1)
    if resolution is not None and (isinstance(resolution, str) or not 1 <= resolution <= finest):
        raise InputError(f"resolution {resolution!r} cannot be used on {len(reference):,} codes: expected a number "
                         f"from 1 to {finest:,}, so that a cell holds {LEAST_SUPPORT} of them.")
    labels = METHODS[method](reference)
    labels = _absorb(reference, np.unique(labels, return_inverse=True)[1] if labels.min() >= 0 else labels)
    if resolution is not None:
        labels = _divide(reference, labels, resolution)
    return JointPartition(reference, labels, method)


def _modes(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Cells of the density's peaks."""
    if values.shape[1] == 1:
        return find_partitions(values, inactive=0).assign(values).numpy()[:, 0]
    scaled = values / np.maximum(values.std(axis=0), 1e-9)
    most = min(NEIGHBOURS[-1], len(values) - 1)
    if most < NEIGHBOURS[0]:
        return np.zeros(len(values), dtype=np.int64)
    distances, neighbours = NearestNeighbors(n_neighbors=most).fit(scaled).kneighbors()
    best = np.zeros(len(values), dtype=np.int64)
    for k in [k for k in NEIGHBOURS if k <= most]:
        height = -values.shape[1] * np.log(np.maximum(distances[:, k - 1], 1e-12))
        found = _peaks(height, neighbours[:, :k], DEPTH * math.sqrt(2 / k))
        if found.max() >= best.max():
            best = found
    return best


def _peaks(height: NDArray[np.float64], neighbours: NDArray[np.int64], depth: float) -> NDArray[np.int64]:
    """Climb the graph from each point; join peaks that the pass between them hardly parts: labels (n,)."""
    rank = np.empty(len(height), dtype=np.int64)
    order = np.argsort(-height, kind="stable")
    rank[order] = np.arange(len(height))
    root = np.arange(len(height))

    def top(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i in order:
        above = neighbours[i][rank[neighbours[i]] < rank[i]]
        if not len(above):
            continue
        root[i] = top(above[np.argmin(rank[above])])
        joined = sorted({top(j) for j in above}, key=lambda peak: rank[peak])
        for lower in joined[1:]:
            if height[lower] - height[i] < depth:
                root[lower] = joined[0]
    return np.unique([top(i) for i in range(len(height))], return_inverse=True)[1]


def _angle(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Parts of a ring or a star, by the angle around its centre."""
    if values.shape[1] != 2:
        raise InputError(f"method 'angle' needs two codes, found {values.shape[1]}: use 'modes'.")
    x, y = (values - values.mean(axis=0)).T
    angle = np.arctan2(y, x)
    counts, edges = np.histogram(angle, bins=180, range=(-math.pi, math.pi))
    smooth = sum(np.roll(counts, shift) for shift in range(-2, 3))
    opened = (angle - edges[int(smooth.argmin())]) % (2 * math.pi)
    return find_partitions(opened[:, None]).assign(opened[:, None]).numpy()[:, 0]


def _hdbscan(values: NDArray[np.float32]) -> NDArray[np.int64]:
    return HDBSCAN(min_cluster_size=max(len(values) // 1000, LEAST_SUPPORT), copy=True).fit(values).labels_


def _mean_shift(values: NDArray[np.float32]) -> NDArray[np.int64]:
    width = estimate_bandwidth(values, quantile=0.02, n_samples=2000, random_state=0)
    return MeanShift(bandwidth=width, bin_seeding=True).fit(values).labels_ if width > 0 else np.zeros(
        len(values), dtype=np.int64)


def _mixture(values: NDArray[np.float32]) -> NDArray[np.int64]:
    fits = [GaussianMixture(k, random_state=0, reg_covar=1e-4, max_iter=60).fit(values[:5000])
            for k in (1, 2, 4, 8, 10, 15, 20, 30, 50, 100) if k * 20 <= len(values)]
    return min(fits, key=lambda fit: fit.bic(values[:5000])).predict(values)


METHODS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.int64]]] = {
    "modes": _modes, "whole": lambda values: np.zeros(len(values), dtype=np.int64), "angle": _angle,
    "hdbscan": _hdbscan, "mean shift": _mean_shift, "mixture": _mixture}


def _absorb(values: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Noise (-1) and cells of fewer than five codes go to the nearest cell; cells are numbered anew."""
    counts = np.bincount(labels[labels >= 0], minlength=1)
    kept = (labels >= 0) & (counts[np.maximum(labels, 0)] >= LEAST_SUPPORT)
    if not kept.any():
        return np.zeros(len(values), dtype=np.int64)
    labels = labels.copy()
    if not kept.all():
        nearest = NearestNeighbors(n_neighbors=1).fit(values[kept]).kneighbors(values[~kept], return_distance=False)
        labels[~kept] = labels[kept][nearest[:, 0]]
    return np.unique(labels, return_inverse=True)[1]


def _divide(values: NDArray[np.float32], labels: NDArray[np.int64], resolution: int) -> NDArray[np.int64]:
    """Cells into parts of equal mass."""
    divided, count = np.empty_like(labels), 0
    for cell in range(int(labels.max()) + 1):
        rows = np.flatnonzero(labels == cell)
        parts = max(round(len(rows) / len(values) * resolution), 1)
        for part in _halve(values, rows, parts):
            divided[part] = count
            count += 1
    return divided


def _halve(values: NDArray[np.float32], rows: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
    """Rows in `parts` of equal mass: cut across the longest direction, both sides again."""
    if parts == 1 or len(rows) < 2:
        return [rows]
    centred = values[rows] - values[rows].mean(axis=0)
    along = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
    order = rows[np.argsort(along * (1 if along[np.abs(along).argmax()] > 0 else -1), kind="stable")]
    first = parts // 2
    cut = round(len(rows) * first / parts)
    return _halve(values, order[:cut], first) + _halve(values, order[cut:], parts - first)


# --- the actions --------------------------------------------------------------------------------------------

@dataclass(frozen=True, eq=False)
class NamedCells:
    """The cells of a subspace, named by co-occurrence; what all actions on it share.

    Attributes:
        dimensions: the subspace's codes.
        factors: the factors that live in it.
        partition: its cells.
        names: int64 (cells, factors of the subspace): the attribute that owns the cell, -1 where none does.
        draws: float32 (m, len(dimensions)), rows that actions may draw.
        cells: int64 (m,), the cell of each.
    """

    dimensions: tuple[int, ...]
    factors: tuple[int, ...]
    partition: JointPartition
    names: NDArray[np.int64]
    draws: Tensor = field(repr=False)
    cells: NDArray[np.int64] = field(repr=False)

    def cell(self, codes: Tensor) -> NDArray[np.int64]:
        """The cell of each of codes (n, d)."""
        return self.partition.assign(codes[:, list(self.dimensions)])

    @cached_property
    def _filled(self) -> NDArray[np.int64]:
        """Names of the references; an unnamed one takes the name of the nearest that has one."""
        names = self.names[self.partition.labels]
        for column in names.T:
            named = column >= 0
            if named.any() and not named.all():
                near = NearestNeighbors(n_neighbors=1).fit(self.partition.reference[named])
                at = near.kneighbors(self.partition.reference[~named], return_distance=False)[:, 0]
                column[~named] = column[named][at]
        return names

    def context(self, codes: Tensor, factor: int) -> NDArray[np.int64]:
        """What the subspace says of its *other* factors: int64 (n, others)."""
        others = [j for j, other in enumerate(self.factors) if other != factor]
        return self._filled[self.partition.nearest(codes[:, list(self.dimensions)])][:, others]


@dataclass(frozen=True, eq=False)
class SubspaceAction:
    """An atomic action on a subspace. It stands wherever an `actions.AtomicAction` does.

    f . z replaces *all* codes of the subspace by an observed row of the attribute, and leaves the rest as they are.
    Where other factors live in the subspace too, the row is drawn among those that show of them what z shows (a
    conditional draw); if there are none, among those that agree with z on as many of them as any do.

    Attributes:
        factor, attribute: what it sets.
        space: the subspace's named cells.
        rows: indices of `space.draws`.
        precision, recall: of the attribute's cells.
        keep: whether draws are conditional.
    """

    factor: int
    attribute: int
    space: NamedCells
    rows: NDArray[np.int64] = field(repr=False)
    precision: float = math.nan
    recall: float = math.nan
    keep: bool = True

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The codes that the action replaces."""
        return self.space.dimensions

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _f1(self.precision, self.recall)

    def best(self) -> SubspaceAction:
        """A subspace has no best dimension.

        Raises:
            InputError: always, but for a subspace of one code.
        """
        if len(self.dimensions) > 1:
            raise InputError(f"an action on the joint partition of codes {', '.join(map(str, self.dimensions))} "
                             "cannot act on one of them alone: use multi_dimensional=True.")
        return self

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n rows of the subspace, whatever they show of its other factors: float32 (n, len(dimensions))."""
        return self.space.draws[self.rows[torch.randint(len(self.rows), (n,), generator=generator).numpy()]]

    def act(self, codes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """f . z: a copy of codes (n, d) with the subspace drawn anew."""
        self._check(codes)
        acted = codes.clone()
        if self.keep and len(self.space.factors) > 1 and len(codes):
            uniform = torch.rand(len(codes), generator=generator, dtype=torch.float64).numpy()
            drawn = self.space.draws[self._conditional(self.space.context(codes, self.factor), uniform)]
        else:
            drawn = self.sample(len(codes), generator)
        acted[:, list(self.dimensions)] = drawn.to(codes)
        return acted

    @cached_property
    def _by_context(self) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """The contexts in which the attribute was seen, and the rows of each."""
        others = [j for j, other in enumerate(self.space.factors) if other != self.factor]
        shown = self.space.names[self.space.cells[self.rows]][:, others]
        contexts, at = np.unique(shown, axis=0, return_inverse=True)
        return contexts, [self.rows[at.ravel() == k] for k in range(len(contexts))]

    def _conditional(self, wanted: NDArray[np.int64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """A row for each wanted context (n, others), by a uniform number each: int64 (n,)."""
        contexts, rows = self._by_context
        asked, at = np.unique(wanted, axis=0, return_inverse=True)
        drawn = np.empty(len(wanted), dtype=np.int64)
        for k, context in enumerate(asked):
            agree = (contexts == context).sum(axis=1)
            pool = np.concatenate([rows[j] for j in np.flatnonzero(agree == agree.max())])
            who = at.ravel() == k
            drawn[who] = pool[(uniform[who] * len(pool)).astype(np.int64)]
        return drawn

    def present(self, codes: Tensor) -> Tensor:
        """Which codes (n, d) lie in a cell that the attribute owns: bool (n,)."""
        self._check(codes)
        own = self.space.names[:, self.space.factors.index(self.factor)] == self.attribute
        return torch.from_numpy(own[self.space.cell(codes)]).to(codes.device)

    def _check(self, codes: Tensor) -> None:
        if codes.ndim != 2 or codes.shape[1] <= max(self.dimensions):
            raise InputError(f"codes of shape {tuple(codes.shape)} cannot be acted on: expected (n, d) with "
                             f"d > {max(self.dimensions)}, as this action replaces dimensions "
                             f"{', '.join(map(str, self.dimensions))}.")


def find_subspace_actions(states: ArrayLike | Tensor, codes: ArrayLike | Tensor, factors: Sequence[Factor], *,
                          dimensions: Sequence[Sequence[int]] | None = None, method: str = "modes",
                          resolution: str | int | None = "stated", keep: bool = True, draws: Tensor | None = None,
                          typical: float = 0.5, majority: float = 0.6, threshold: float = 0.5) -> ActionSet:
    """Atomic actions on subspaces, in the form that `actions.find_actions` gives them.

    Departures from the paper, each of which an argument takes back: a factor's codes are chosen together and may be
    shared (`dimensions`), cells are those of a joint partition (`method`), divided to a stated resolution
    (`resolution`), and what an action draws keeps the other factors of the subspace (`keep`). As there, an attribute
    gets an action if what it owns names it: a cell belongs to the attribute that makes up at least `majority` of
    it, all attributes equally frequent; together they must reach an F1 of `threshold` and hold five codes.

    Args:
        states: int (n, M).
        codes: (n, d), of the same observations.
        factors: M factors.
        dimensions: the codes of each factor (default: `find_dimensions`).
        method: see `partition_jointly`.
        resolution: "stated": each subspace is divided into as many parts of equal mass as its factors have
            combinations of attributes. A number: into so many. None: modes only.
        keep: draw conditionally, see `SubspaceAction`.
        draws: (m, d), m <= n: what to draw in place of the first m codes, as `drawn_where_read` gives. Only these
            are drawn then.
        typical: share of an attribute's rows that are drawn, those nearest to the attribute's median (of each
            combination with the subspace's other factors), in (0, 1]. 1: all, as the paper's empirical draws.

    Raises:
        InputError: shapes that do not fit together, or options out of range.
    """
    factors = tuple(factors)
    labels, values = _matched(states, codes, factors)
    for name, value in (("majority", majority), ("threshold", threshold), ("typical", typical)):
        if not 0 <= value <= 1 or (name == "typical" and value == 0):
            raise InputError(f"{name} {value!r} is out of range: expected a number in [0, 1]"
                             f"{', but not 0' if name == 'typical' else ''}.")
    if draws is not None and (draws.ndim != 2 or draws.shape[1] != values.shape[1] or len(draws) > len(values)):
        raise InputError(f"draws of shape {tuple(draws.shape)} do not fit codes of shape {values.shape}: expected "
                         "corrected codes of the first m of them.")
    dimensions = find_dimensions(labels, values, factors) if dimensions is None else dimensions
    if len(dimensions) != len(factors):
        raise InputError(f"dimensions of {len(dimensions)} factors were given, but there are {len(factors)}.")
    drawn = torch.from_numpy(np.ascontiguousarray(values)) if draws is None else draws.detach().cpu().float()
    base = find_actions(labels, values, find_partitions(values), factors, distribution="empirical")
    ownership = {(i, k): Ownership(i, k, (), (), 0.0, 0.0, 0, None, False)
                 for i, factor in enumerate(factors) for k in range(factor.size)}
    actions: dict[tuple[int, int], SubspaceAction] = {}
    for living, own in subspaces(dimensions):
        inside = values[:, list(own)]
        wanted = math.prod(factors[i].size for i in living) if resolution == "stated" else resolution
        if resolution == "stated":  # many combinations of few codes: cells must hold five
            wanted = min(wanted, max(min(len(values), REFERENCES) // LEAST_SUPPORT, 1))
        partition = partition_jointly(inside, method=method, resolution=wanted)
        cells = partition.assign(inside)
        counts = [np.stack([np.bincount(cells[labels[:, i] == k], minlength=partition.size)
                            for k in range(factors[i].size)]) for i in living]
        names = np.stack([_names(table, majority) for table in counts], axis=1)
        space = NamedCells(own, living, partition, names, drawn[:, list(own)], cells[:len(drawn)])
        for i, table, column in zip(living, counts, names.T, strict=True):
            for k in range(factors[i].size):
                entry, rows = _own(space, i, k, table, column, labels[:len(drawn)], threshold, majority)
                ownership[i, k] = entry
                if entry.owned and len(rows):
                    rows = _typical(inside, rows, names[cells[rows]], typical)
                    actions[i, k] = SubspaceAction(i, k, space, rows, entry.precision, entry.recall, keep)
    return ActionSet(factors, tuple(actions[at] for at in sorted(actions)), tuple(ownership.values()),
                     base.information, base.partitioning, "empirical", base.marginals, base.reservoir)


def _names(counts: NDArray[np.int64], majority: float) -> NDArray[np.int64]:
    """The attribute that owns each cell, of counts (attributes, cells): int64 (cells,), -1 for none."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    best = shares.argmax(axis=0)
    part = shares.max(axis=0) / np.maximum(shares.sum(axis=0), 1e-300)
    return np.where((part >= majority) & (shares.sum(axis=0) > 0), best, -1)


def _own(space: NamedCells, factor: int, attribute: int, counts: NDArray[np.int64], names: NDArray[np.int64],
         labels: NDArray[np.int64], threshold: float, majority: float) -> tuple[Ownership, NDArray[np.int64]]:
    """What an attribute owns in a subspace, and the rows that its action may draw."""
    own = np.flatnonzero(names == attribute)
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[:, own].sum(axis=1)
    precision, recall = float(shares[attribute] / max(shares.sum(), 1e-300)), float(shares[attribute])
    support = int(counts[attribute, own].sum())
    others = np.where(np.arange(len(shares)) == attribute, 0, shares)
    owned = support >= LEAST_SUPPORT and precision >= majority and _f1(precision, recall) >= threshold
    told = space.names[space.cells]  # rows that are what their cell is named for, in all factors of the subspace
    other = [j for j, i in enumerate(space.factors) if i != factor]
    honest = ((told == labels[:, list(space.factors)]) | (told < 0))[:, other].all(axis=1)
    rows = np.flatnonzero((labels[:, factor] == attribute) & np.isin(space.cells, own) & honest)
    cells = tuple(own.tolist())
    return Ownership(factor, attribute, space.dimensions, (cells,) * len(space.dimensions), precision, recall,
                     support, int(others.argmax()) if others.any() else None, owned), rows


def find_unlabelled(codes: ArrayLike | Tensor, *, method: str = "modes", knows: float = 0.1,
                    draws: Tensor | None = None) -> ActionSet:
    """Actions without labels: codes that tell of one another are a factor together, their cells its attributes.

    Two codes tell of one another if their mutual information, over quantiles and less what chance gives, is at least
    `knows` of the entropy. A circle's two codes do; those of independent factors do not. A code of its own is a
    factor if it has more than one cell.

    Args:
        codes: (n, d).
        method: see `partition_jointly`.
        knows: that share, in (0, 1].
        draws: see `find_subspace_actions`.
    """
    values = codes_array(codes)
    if not 0 < knows <= 1:
        raise InputError(f"knows {knows!r} is out of range: expected a share in (0, 1].")
    deviation = values.std(axis=0)
    alive = np.flatnonzero(deviation > 0.1 * deviation.max()).tolist()
    bins = min(16, max(len(values) // 50, 2))
    binned = {d: np.searchsorted(np.quantile(values[:, d], np.arange(1, bins) / bins), values[:, d]) for d in alive}
    linked = [[d, e] for d in alive for e in alive
              if d == e or adjusted_mutual_info_score(binned[d], binned[e]) >= knows]
    groups = [own for _, own in subspaces(linked)]
    cells = [partition_jointly(values[:, list(own)], method=method) for own in groups]
    groups = [(own, cut) for own, cut in zip(groups, cells, strict=True) if cut.size > 1]
    factors = [Factor(f"code{'s' if len(own) > 1 else ''} {', '.join(map(str, own))}",
                      tuple(f"cell {k}" for k in range(cut.size)), "categorical") for own, cut in groups]
    states = np.stack([cut.assign(values[:, list(own)]) for own, cut in groups], axis=1) if groups else np.zeros(
        (len(values), 0), dtype=np.int64)
    return find_subspace_actions(states, values, factors, dimensions=[own for own, _ in groups], method=method,
                                 resolution=None, draws=draws)


class CellReader:
    """The encoder as a judge, for data without labels: the cell in which each code lies (see `scoring.Judge`).

    It reads the factors of `find_unlabelled`. The network marks its own homework.

    Args:
        model: whose pictures are read.
        actions: as `find_unlabelled` gives.
    """

    def __init__(self, model: Model, actions: ActionSet) -> None:
        self.model, self._factors = model, actions.factors
        self._spaces = [actions.of(i)[0].space for i in range(len(actions.factors))]
        self.factors = tuple(factor.name for factor in actions.factors)
        self.sizes = tuple(factor.size for factor in actions.factors)

    def predict(self, observations: Tensor) -> Tensor:
        """The cell in each subspace: int64 (n, subspaces)."""
        return self.cells(self.model.encode(observations).cpu())

    def cells(self, codes: Tensor) -> Tensor:
        """The same of codes (n, d)."""
        cells = [torch.from_numpy(space.cell(codes)) for space in self._spaces]
        return torch.stack(cells, dim=1) if cells else torch.zeros(len(codes), 0, dtype=torch.int64)

    def factor_index(self, factor: int | str) -> int:
        """The column of a factor given by name or number."""
        return factor_index(self._factors, factor)


def _typical(values: NDArray[np.float32], rows: NDArray[np.int64], context: NDArray[np.int64],
             share: float) -> NDArray[np.int64]:
    """Of the rows of each context (rows, factors), the share nearest to their median; of ten or fewer all."""
    if share == 1:
        return rows
    kept = []
    at = np.unique(context, axis=0, return_inverse=True)[1].ravel()
    for k in range(at.max() + 1):
        own = rows[at == k]
        if len(own) > 10:
            off = np.abs(values[own] - np.median(values[own], axis=0)) / np.maximum(values[own].std(axis=0), 1e-9)
            own = own[np.argsort(off.max(axis=1), kind="stable")[:max(round(share * len(own)), 10)]]
        kept.append(own)
    return np.sort(np.concatenate(kept))


# --- what to draw, and how finely ---------------------------------------------------------------------------

def drawn_where_read(model: Model, codes: Tensor, *, n_steps: int = 2) -> Tensor:
    """Codes z* whose pictures are read as the codes z: h(G(z*)) = z, by n_steps of z* += z - h(G(z*)).

    An encoder stops short: the mean of a posterior is drawn towards the prior, most at the ends of a code, so that
    G(h(o)) shows a little less of everything than o did. The correction needs no labels. It is a fixed-point
    iteration, which converges where h(G(.)) is near the identity; codes that do not vary are left alone, and so are
    codes that it takes farther away.

    Args:
        model: h and G.
        codes: (n, d), on the CPU.
        n_steps: few: later steps fit what h misreads.

    Returns:
        float32 (n, d).
    """
    deviation = codes.std(dim=0)
    active = deviation > 0.1 * deviation.max()
    found = codes.float().clone()
    for _ in range(n_steps):
        for rows in torch.arange(len(codes)).split(BATCH):
            with torch.no_grad():
                read = model.encode(model.decode(found[rows])).cpu().float()
            found[rows] += torch.where(active, codes[rows] - read, torch.zeros(()))
    return found


def readable(model: Model, codes: Tensor, dimension: int, cells: Sequence[int]) -> list[float]:
    """How finely can a code be read back? Cut it in K parts of equal mass, draw, encode: the share of pictures that
    come back to their own part, for each K of `cells`. Needs no labels.

    Args:
        model: h and G.
        codes: (n, d), of observations.
        dimension: the code.
        cells: numbers of parts K, each at least 1.
    """
    with torch.no_grad():
        back = torch.cat([model.encode(model.decode(part)).cpu() for part in codes.split(BATCH)])
    before, after = codes[:, dimension].numpy(), back[:, dimension].numpy()
    shares = []
    for k in cells:
        edges = np.quantile(before, np.arange(1, k) / k)
        shares.append(float((np.searchsorted(edges, before, side="right")
                             == np.searchsorted(edges, after, side="right")).mean()))
    return shares


def _matched(states: ArrayLike | Tensor, codes: ArrayLike | Tensor,
             factors: Sequence[Factor]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """States and codes as arrays that belong together."""
    labels = states.detach().cpu().numpy() if isinstance(states, Tensor) else np.asarray(states)
    values = codes_array(codes)
    if labels.ndim != 2 or labels.shape != (len(values), len(factors)) or labels.dtype.kind not in "iu":
        raise InputError(f"states of shape {labels.shape} and type {labels.dtype} do not fit codes of shape "
                         f"{values.shape} and {len(factors)} factors: expected whole numbers "
                         f"({len(values)}, {len(factors)}).")
    for i, factor in enumerate(factors):
        if labels[:, i].min() < 0 or labels[:, i].max() >= factor.size:
            raise InputError(f"factor {factor.name!r} has attribute indices {labels[:, i].min()} to "
                             f"{labels[:, i].max()} in the states: expected 0 to {factor.size - 1}.")
    return labels.astype(np.int64), values


# --- what benchmarks/subspaces.py has recorded --------------------------------------------------------------

def ablation(network: str, path: str | Path | None = None) -> tuple[pd.DataFrame, dict]:
    """Each variant that `benchmarks/subspaces.py` measured on a network: mean and spread over its repeats.

    Args:
        network: e.g. "ada-gvae_s0".
        path: of the record (default: ours).

    Returns:
        A table (variants; columns: factors, "kept" and "repeats"), macro-F1 as "0.98 \u00b1 0.01", "kept" the share of
        pictures in which another factor reads as before, averaged over the factors acted on; and the record itself.
    """
    path = Path(path or RECORDED)
    if not path.is_file():
        raise InputError(f"{path} does not exist: make it with python benchmarks/subspaces.py.")
    networks = json.loads(path.read_text())["networks"]
    if network not in networks:
        raise suggest("network", network, networks)
    record, rows = networks[network], {}
    for name, repeats in record["variants"].items():
        scores = np.array([repeat["macro_f1"] for repeat in repeats])
        kept = [np.mean([share for share in repeat["kept"] if share is not None] or [math.nan]) for repeat in repeats]
        rows[name] = [_spread(column) for column in scores.T] + [_spread(kept), len(repeats)]
    return pd.DataFrame(rows, index=[*record["factors"], "kept", "repeats"]).T, record


def _spread(values: ArrayLike) -> str:
    """Mean, and standard deviation where there are several."""
    values = np.asarray(values, dtype=np.float64)
    told = f"{values.mean():.2f}"
    return told if len(values) < 2 else f"{told} ± {values.std(ddof=1):.2f}"
