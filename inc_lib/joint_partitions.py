"""Cells of a subspace, without labels: the paper's cut at minima of the density, in several dimensions.

    partition = partition_jointly(codes[:, [1, 8]])                  # peaks of the joint density
    partition = partition_jointly(codes[:, [3]], method="whole", resolution=15)  # quantiles
    partition.assign(codes[:, [3]])                                  # the cell of each code
"""
from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import HDBSCAN, MeanShift, estimate_bandwidth
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from .actions import LEAST_SUPPORT
from .errors import InputError, suggest
from .partitions import codes_array, find_partitions

REFERENCES = 10_000   # codes that a joint partition is made of; the others belong where their nearest one does
NEIGHBOURS = (12, 18, 27, 40)  # of the density along the graph, from sharp to smooth
DEPTH = 3.0           # standard errors by which a peak must stand above the pass to a higher one
AWAKE = 0.1           # a code with less than this share of the largest deviation is quiet
COMPONENTS = (1, 2, 4, 8, 10, 15, 20, 30, 50, 100)  # of the mixture, its number chosen by BIC


@dataclass(frozen=True, eq=False)
class JointPartition:
    """A subspace, divided into cells.

    Attributes:
        reference: float32 (m, k), codes of the subspace, times `scale`.
        labels: int64 (m,), their cells 0, 1, ...
        method: what made it.
        scale: float32 (k,), of `evened`.
    """

    reference: NDArray[np.float32]
    labels: NDArray[np.int64]
    method: str
    scale: NDArray[np.float32]

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
        return self._tree.kneighbors(values * self.scale, return_distance=False)[:, 0]

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
    - "angle": the density along a ring: the angle around the mean in the plane of the two principal components, opened
      where fewest codes lie, cut by `find_partitions`. One code: as "modes".
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
    reference = values[spread_rows(len(values), REFERENCES)]
    scale = evened(reference)
    reference = reference * scale
    finest = max(len(reference) // LEAST_SUPPORT, 1)
    if resolution is not None and (isinstance(resolution, str) or not 1 <= resolution <= finest):
        raise InputError(f"resolution {resolution!r} cannot be used on {len(reference):,} codes: expected a number "
                         f"from 1 to {finest:,}, so that a cell holds {LEAST_SUPPORT} of them.")
    labels = METHODS[method](reference)
    labels = _absorb(reference, np.unique(labels, return_inverse=True)[1] if labels.min() >= 0 else labels)
    if resolution is not None:
        labels = _divide(reference, labels, resolution)
    return JointPartition(reference, labels, method, scale)


def evened(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What brings the quiet ones of codes (n, k) to the spread of the widest: factors (k,), 1 for all others.

    Distances would not see them. A generator may listen to a code that hardly moves; who does not want to hear one
    leaves it out.
    """
    spread = values.std(axis=0)
    quiet = (spread > 0) & (spread < AWAKE * spread.max())
    return np.where(quiet, spread.max() / np.where(quiet, spread, 1), 1).astype(np.float32)


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
    if values.shape[1] == 1:
        return _modes(values)
    centred = values - values.mean(axis=0)
    if values.shape[1] > 2:
        centred = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -2:]
    angle = np.arctan2(centred[:, 1], centred[:, 0])
    counts, edges = np.histogram(angle, bins=180, range=(-math.pi, math.pi))
    smooth = sum(np.roll(counts, shift) for shift in range(-2, 3))
    opened = ((angle - edges[int(smooth.argmin())]) % (2 * math.pi))[:, None]
    return find_partitions(opened).assign(opened).numpy()[:, 0]


def _hdbscan(values: NDArray[np.float32]) -> NDArray[np.int64]:
    return HDBSCAN(min_cluster_size=max(len(values) // 1000, LEAST_SUPPORT), copy=True).fit(values).labels_


def _mean_shift(values: NDArray[np.float32]) -> NDArray[np.int64]:
    width = estimate_bandwidth(values, quantile=0.02, n_samples=2000, random_state=0)
    return MeanShift(bandwidth=width, bin_seeding=True).fit(values).labels_ if width > 0 else np.zeros(
        len(values), dtype=np.int64)


def _mixture(values: NDArray[np.float32]) -> NDArray[np.int64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 60 steps are enough to compare
        fits = [GaussianMixture(k, random_state=0, reg_covar=1e-4, max_iter=60).fit(values[:5000])
                for k in COMPONENTS if k * 20 <= len(values)]
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
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    along = centred @ (direction * np.sign(direction[np.abs(direction).argmax()]))  # an eigenvector has no sign
    order = rows[np.argsort(along, kind="stable")]
    first = parts // 2
    cut = round(len(rows) * first / parts)
    return _halve(values, order[:cut], first) + _halve(values, order[cut:], parts - first)


def spread_rows(n: int, most: int) -> NDArray[np.int64]:
    """Rows 0 to n - 1, or `most` of them spread evenly in an order that no grid's period resonates with."""
    return np.arange(n) if n <= most else (np.arange(most) * (math.sqrt(5) - 1) / 2 % 1 * n).astype(np.int64)
