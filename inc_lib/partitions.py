"""Partitions: each code dimension, cut where few codes lie.

Where the paper cuts "at the local minima of the density", a rule is needed for the bandwidth of the density
and for which minima count. Ours is in `find_partitions`; `sensitivity` shows what another choice would have
given.
"""
from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from KDEpy import FFTKDE
from KDEpy.binning import linear_binning
from KDEpy.bw_selection import improved_sheather_jones
from numpy.typing import ArrayLike, NDArray
from scipy.signal import find_peaks, peak_prominences
from torch import Tensor

from .errors import InputError, suggest

BANDWIDTHS = ("supported", "silverman", "isj")

GRID_POINTS = 4096      # of each density: a mode may be as narrow as a thousandth of the range
LADDER = 16             # bandwidths that the rule "supported" tries, from Silverman's down
FINEST = 0.01           # the smallest of them, in robust standard deviations: room for a hundred modes
INACTIVE = 0.01         # a dimension is inactive below this share of the largest variance of all dimensions
CONSTANT = 1e-6         # a deviation below this share of the values is rounding
ROUGHNESS = 1 / (2 * math.sqrt(math.pi))  # integral of the squared Gaussian kernel


@dataclass(frozen=True)
class Partition:
    """The half-open interval [low, high) of one code dimension; the outermost reach to infinity."""

    dimension: int
    index: int
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Partitioning:
    """Every dimension of a code space, cut into partitions.

    Attributes:
        edges: per dimension the sorted inner boundaries, float32; empty where there is one partition.
        densities: per dimension (grid, density), for figures.
        bandwidths: per dimension the bandwidth (standard deviation of the kernel) that was used.
        inactive: per dimension, whether it was left whole because it (almost) does not vary.
    """

    edges: tuple[NDArray[np.float32], ...]
    densities: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
    bandwidths: tuple[float, ...]
    inactive: tuple[bool, ...]

    @property
    def n_dimensions(self) -> int:
        """Number of code dimensions d."""
        return len(self.edges)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of partitions of each dimension."""
        return tuple(len(edges) + 1 for edges in self.edges)

    @cached_property
    def partitions(self) -> list[Partition]:
        """All partitions, dimension by dimension, from low to high."""
        return [Partition(dimension, index, low, high) for dimension in range(self.n_dimensions)
                for index, (low, high) in enumerate(self.bounds(dimension))]

    def bounds(self, dimension: int) -> list[tuple[float, float]]:
        """(low, high) of each partition of a dimension."""
        inner = [float(edge) for edge in self.edges[dimension]]
        return list(zip([-math.inf, *inner], [*inner, math.inf], strict=True))

    def assign(self, codes: ArrayLike | Tensor) -> Tensor:
        """Index of each code's partition within each dimension: int64 (n, d), on the CPU.

        Raises:
            InputError: the codes have another number of dimensions, or hold NaN.
        """
        values = codes_array(codes, dimensions=self.n_dimensions)
        columns = [np.searchsorted(edges, values[:, j], side="right") for j, edges in enumerate(self.edges)]
        return torch.from_numpy(np.stack(columns).astype(np.int64, copy=False).T)


def find_partitions(codes: ArrayLike | Tensor, *, bandwidth: str | float = "supported",
                    prominence: float = 0.2, significance: float = 1.0,
                    inactive: float = INACTIVE) -> Partitioning:
    """Cut each code dimension at the minima of its density (the paper's atomic partitions).

    The density is a Gaussian kernel estimate by KDEpy's `FFTKDE` on 4,096 points. Its minima are judged by
    the peaks that they part: a minimum counts if the *lower* of its two peaks stands out, twofold.

    *Prominence*, what we call a cut: the density falls from that peak by at least this share of the peak's
    own height before it rises to a higher one. Own height, not that of the highest peak: a rare attribute
    beside a frequent one is kept.

    *Significance*, what the data support: the square root of a kernel density has the same standard error,
    sqrt(roughness / 4nh), everywhere. So a peak's fall in that scale, divided by it, is a z-score whatever
    n, h and the height. It must reach 2 sqrt(2 log(extent / 2hk)), about what the highest and the lowest of
    that many independent places differ by chance, and 3. Here k is the number of peaks that stand out at
    least as much: a step-up rule like Benjamini and Hochberg's, by which ten equal peaks support one
    another.

    `bandwidth="supported"` takes the largest bandwidth, from Silverman's downwards, at which the most minima
    count. Silverman's rule knows only the overall spread, so it blurs ten modes of 3,000 codes into four;
    ISJ follows every wiggle of a flat or heavy-tailed density. `benchmarks/partitioning.py` compares the
    rules on densities whose number of modes is known, from 50 to 480,000 codes, and records the outcome.

    A dimension whose variance is below `inactive` times the largest variance of all dimensions stays whole.
    For a VAE, whose active dimensions have a variance near 1, that is the usual criterion of an active unit
    (Burda et al. 2016, variance above 0.01), freed from its unit. A collapsed dimension may well have modes,
    but on a scale that the generator ignores.

    Args:
        codes: (n, d), n >= 1.
        bandwidth: "supported", "silverman", "isj" (Botev et al. 2010), or the kernel's standard deviation as
            a number, in units of the codes. With prominence = significance = 0 every local minimum cuts:
            the paper's wording to the letter.
        prominence: in [0, 1).
        significance: factor on the z-score that is asked for; 0 switches the test off.
        inactive: in [0, 1]; 0 cuts all dimensions that are not constant.

    Raises:
        InputError: codes that are not finite numbers of shape (n, d), or options out of range.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> modes = torch.randint(0, 3, (2000, 1), generator=generator)
        >>> find_partitions(modes + 0.1 * torch.randn(2000, 1, generator=generator)).sizes
        (3,)
    """
    values = codes_array(codes)
    _check_cut_options(bandwidth, prominence, significance, inactive)
    edges, densities, bandwidths = [], [], []
    asleep = _inactive_dimensions(values, inactive)
    for dimension in range(values.shape[1]):
        curve = _Curve.of(values[:, dimension])
        cuts, density, width = np.array([]), None, curve.silverman
        if not asleep[dimension]:
            width = _choose_bandwidth(values, dimension, curve, bandwidth, prominence, significance)
            cuts, density = curve.minima(width, prominence, significance)
        edges.append(np.unique(cuts.astype(np.float32)))
        densities.append((curve.grid, curve.density(width) if density is None else density))
        bandwidths.append(float(width))
    return Partitioning(tuple(edges), tuple(densities), tuple(bandwidths), tuple(bool(a) for a in asleep))


def sensitivity(codes: ArrayLike | Tensor, *,
                bandwidths: Sequence[float] = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0),
                prominences: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9),
                significance: float = 1.0, inactive: float = INACTIVE) -> pd.DataFrame:
    """Number of partitions of each dimension over bandwidth and prominence: how much the choice matters.

    Args:
        codes: (n, d).
        bandwidths: as multiples of Silverman's bandwidth of the dimension.
        prominences: each in [0, 1).
        significance: as in `find_partitions`; 0 shows what it guards against.
        inactive: as in `find_partitions`: inactive dimensions count one partition throughout.

    Returns:
        One row for each dimension, bandwidth and prominence, with columns `dimension`, `relative_bandwidth`
        (multiple of Silverman's), `bandwidth` (units of the codes), `prominence`, `partitions`.
    """
    values = codes_array(codes)
    for prominence in prominences:
        _check_cut_options("silverman", prominence, significance, inactive)
    if not all(multiple > 0 and math.isfinite(multiple) for multiple in bandwidths):
        raise InputError(f"bandwidths {tuple(bandwidths)} cannot be used: "
                         "expected positive multiples of Silverman's bandwidth.")
    asleep = _inactive_dimensions(values, inactive)
    rows = []
    for dimension in range(values.shape[1]):
        curve = _Curve.of(values[:, dimension])
        for multiple in bandwidths:
            width = max(curve.silverman * multiple, curve.finest)
            density = None if asleep[dimension] else curve.density(width)
            for prominence in prominences:
                cuts = [] if density is None else curve.cut(density, width, prominence, significance)
                rows.append((dimension, multiple, width, prominence, 1 + len(cuts)))
    columns = ["dimension", "relative_bandwidth", "bandwidth", "prominence", "partitions"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True, eq=False)
class _Curve:
    """One code dimension, binned once (KDEpy's linear binning) so that any bandwidth costs a millisecond."""

    grid: NDArray[np.float64]
    weights: NDArray[np.float64]
    n: int
    extent: float      # range of the middle 99.8 %
    silverman: float

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> _Curve:
        """Bin values (n,). Far outliers, at most 0.1 % a side, are left out here, not of the partitions."""
        ordered = np.sort(values).astype(np.float64)
        n = len(ordered)
        low, first, third, high = np.quantile(ordered, [0.001, 0.25, 0.75, 0.999])
        deviation, extent = ordered.std(), high - low
        if deviation <= CONSTANT * abs(ordered[n // 2]) or deviation == 0:  # drawn as a bump, never cut
            centre = ordered[n // 2]
            grid = np.linspace(centre - 1, centre + 1, GRID_POINTS)
            return cls(grid, linear_binning(np.array([[centre]]), grid[:, None]), n, 0.0, 0.1)
        robust = (third - first) / 1.349
        spread = min(deviation, robust) if robust > 1e-4 * extent else deviation  # half may be one value
        width = spread * (0.75 * n) ** -0.2  # Silverman's rule with the constant that KDEpy uses
        start, stop = max(ordered[0], low - extent), min(ordered[-1], high + extent)
        inside = ordered[np.searchsorted(ordered, start):np.searchsorted(ordered, stop, side="right")]
        grid = np.linspace(start - 4 * width, stop + 4 * width, GRID_POINTS)
        return cls(grid, linear_binning(inside[:, None], grid[:, None]), n, extent, width)

    @property
    def finest(self) -> float:
        """The smallest bandwidth that the grid can show."""
        return 1.5 * (self.grid[1] - self.grid[0])

    def density(self, bandwidth: float) -> NDArray[np.float64]:
        """The density on the grid. A floor far below it hides rounding, so that an empty gap is flat."""
        kde = FFTKDE(kernel="gaussian", bw=bandwidth).fit(self.grid[1:-1], self.weights[1:-1])
        density = kde.evaluate(self.grid)
        return np.maximum(density, density.max() * 1e-9)

    def cut(self, density: NDArray[np.float64], bandwidth: float, prominence: float,
            significance: float) -> NDArray[np.float64]:
        """Where the density has minima between peaks that stand out; the middle of the gap if it is empty."""
        peaks, _ = find_peaks(density)
        if len(peaks) < 2:
            return np.array([])
        heights = density[peaks]
        bases = np.maximum(heights - peak_prominences(density, peaks)[0], 0)
        scores = 2 * (np.sqrt(heights) - np.sqrt(bases)) * math.sqrt(self.n * bandwidth / ROUGHNESS)
        scores[bases > (1 - prominence) * heights] = -1.0
        scores[np.argmax(heights)] = math.inf
        peaks = peaks[scores >= self._least_score(scores, bandwidth, significance)]
        valleys = [density[a:b] for a, b in zip(peaks[:-1], peaks[1:], strict=True)]
        lowest = [np.flatnonzero(valley == valley.min()) for valley in valleys]
        return self.grid[[a + (at[0] + at[-1]) // 2 for a, at in zip(peaks[:-1], lowest, strict=True)]]

    def _least_score(self, scores: NDArray[np.float64], bandwidth: float, significance: float) -> float:
        """The score that a peak must reach: a step-up rule over the peaks, the most prominent first."""
        others = np.sort(scores)[::-1][1:]
        rank = np.arange(1, len(others) + 1)
        places = np.maximum(self.extent / (2 * bandwidth * rank), 1)
        asked = significance * np.maximum(3.0, 2 * np.sqrt(2 * np.log(places)))
        passed = np.flatnonzero((others >= asked) & (others >= 0))
        return others[passed[-1]] if len(passed) else math.inf

    def minima(self, bandwidth: float, prominence: float,
               significance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cuts and density at a bandwidth."""
        density = self.density(bandwidth)
        return self.cut(density, bandwidth, prominence, significance), density

    def supported(self, prominence: float, significance: float) -> float:
        """The largest bandwidth of the ladder at which the most minima count."""
        widest = max(self.silverman, self.finest)
        robust = self.silverman * (0.75 * self.n) ** 0.2
        ladder = np.geomspace(widest, min(widest, max(FINEST * robust, self.finest)), LADDER)
        counts = [len(self.minima(width, prominence, significance)[0]) for width in ladder]
        return ladder[int(np.argmax(counts))]  # argmax takes the first, that is the largest bandwidth


def _choose_bandwidth(values: NDArray[np.float32], dimension: int, curve: _Curve, bandwidth: str | float,
                      prominence: float, significance: float) -> float:
    """The bandwidth of one dimension by the named rule, never finer than the grid."""
    if bandwidth == "supported":
        return curve.supported(prominence, significance)
    if bandwidth == "silverman":
        return max(curve.silverman, curve.finest)
    if bandwidth == "isj":
        return max(_isj(values[:, dimension].astype(np.float64), dimension), curve.finest)
    return max(float(bandwidth), curve.finest)


def _isj(values: NDArray[np.float64], dimension: int) -> float:
    """Improved Sheather-Jones by KDEpy, which may fail to converge for few or repeated values."""
    try:
        with warnings.catch_warnings():  # its powers may overflow on the way to a good answer
            warnings.simplefilter("ignore", RuntimeWarning)
            return float(improved_sheather_jones(values[:, None]))
    except (ValueError, AssertionError) as error:
        raise InputError(f"the ISJ bandwidth of code dimension {dimension} did not converge on "
                         f"{len(values):,} codes: it needs more, and different, values; "
                         "use bandwidth='supported'.") from error


def _inactive_dimensions(values: NDArray[np.float32], inactive: float) -> NDArray[np.bool_]:
    """Which dimensions (almost) do not vary: far less than the others, or by rounding only."""
    deviation = values.std(axis=0, dtype=np.float64)
    constant = deviation <= CONSTANT * np.abs(np.median(values[:1001], axis=0))
    return constant | (deviation == 0) | (deviation**2 < inactive * (deviation**2).max())


def _check_cut_options(bandwidth: str | float, prominence: float, significance: float,
                       inactive: float) -> None:
    """Reject options that are out of range."""
    if isinstance(bandwidth, str):
        if bandwidth not in BANDWIDTHS:
            raise suggest("bandwidth rule", bandwidth, BANDWIDTHS)
    elif not (math.isfinite(bandwidth) and bandwidth > 0):
        raise InputError(f"bandwidth {bandwidth!r} cannot be used: expected one of {', '.join(BANDWIDTHS)} "
                         "or a positive number in units of the codes.")
    if not 0 <= prominence < 1:
        raise InputError(f"prominence {prominence!r} is out of range: "
                         "expected a share of a peak's height in [0, 1).")
    if not (math.isfinite(significance) and significance >= 0):
        raise InputError(f"significance {significance!r} is out of range: "
                         "expected 0 (no test) or more, usually 1.")
    if not 0 <= inactive <= 1:
        raise InputError(f"inactive {inactive!r} is out of range: "
                         "expected a share of the largest variance in [0, 1].")


def codes_array(codes: ArrayLike | Tensor, *, dimensions: int | None = None) -> NDArray[np.float32]:
    """Codes as a float32 array (n, d), columns contiguous."""
    if isinstance(codes, Tensor):
        codes = codes.detach().to("cpu", torch.float32).numpy()
    try:
        values = np.asarray(codes, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"codes of type {type(codes).__name__} cannot be read as numbers: "
                         "expected an array (n, d) of floats.") from error
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"codes of shape {values.shape} cannot be used: "
                         "expected (n, d) with n >= 1 and d >= 1.")
    if dimensions is not None and values.shape[1] != dimensions:
        raise InputError(f"codes have {values.shape[1]} dimensions but the partitions were found in "
                         f"{dimensions}: use codes of the same encoder.")
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(f"codes hold {int(bad.sum()):,} values that are not finite, the first "
                         f"({values[row, column]}) in row {row}, dimension {column}: "
                         "check the encoder and its input.")
    return np.asfortranarray(values)
