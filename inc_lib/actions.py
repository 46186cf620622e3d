"""Atomic actions: which attribute owns which partitions of the code space, and how to act on codes.

The way from codes to actions is three calls:

    partitioning = find_partitions(codes)                         # each dimension cut at its density's minima
    matrix = cooccurrence(states, codes, partitioning, factors)   # which partition holds which attribute
    actions = find_actions(states, codes, partitioning, factors)  # G_i = {G_i1, G_i2, ...} for each factor i

What the paper's "unique co-occurrence" means is made precise in `find_actions`.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .errors import InputError, suggest
from .partitions import Partition, Partitioning, codes_array, find_partitions, sensitivity
from .worlds import Factor

__all__ = ["ActionSet", "AtomicAction", "CooccurrenceMatrix", "Ownership", "Partition", "Partitioning",
           "Piece", "Region", "act_each", "cooccurrence", "factor_index", "find_actions", "find_partitions",
           "sensitivity", "unlabelled_actions"]

DISTRIBUTIONS = ("normal", "uniform", "empirical")

LEAST_SHARE = 0.05      # a partition that holds less of an attribute's codes is a stray, not its place
LEAST_SUPPORT = 5       # observations an action is fitted on, at least
CELLS = 2**22           # cells of a product of dimensions that are counted in one array
BINS = 32               # quantile bins in which a dimension's information is measured
RESERVOIR = 10_000      # codes kept to draw the dimensions that no action touches


@dataclass(frozen=True, eq=False)
class CooccurrenceMatrix:
    """How often each partition holds each attribute.

    Attributes:
        counts: int64 (attributes of all factors, partitions of all dimensions).
        values: float64, `counts` with each row divided by its sum. Since an observation lies in one partition
            of every dimension, a row sums to 1 over all dimensions, and to 1/d over the partitions of one.
            The row of an attribute that the data do not hold is 0.
        rows: (factor, attribute) of each row.
        columns: the partition of each column.
        factors: the factors.
    """

    counts: NDArray[np.int64]
    values: NDArray[np.float64]
    rows: tuple[tuple[int, int], ...]
    columns: tuple[Partition, ...]
    factors: tuple[Factor, ...]

    def conditional(self, factor: int | str, dimension: int) -> NDArray[np.float64]:
        """P(partition given attribute) of a factor in one dimension: (attributes, partitions)."""
        factor = factor_index(self.factors, factor)
        chosen = self.counts[[row[0] == factor for row in self.rows]]
        chosen = chosen[:, [column.dimension == dimension for column in self.columns]]
        return chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1)

    def table(self) -> pd.DataFrame:
        """`values` with names: rows (factor, attribute), columns (dimension, partition)."""
        rows = [(self.factors[i].name, self.factors[i].values[j]) for i, j in self.rows]
        columns = [(column.dimension, column.index) for column in self.columns]
        return pd.DataFrame(self.values, pd.MultiIndex.from_tuples(rows, names=["factor", "attribute"]),
                            pd.MultiIndex.from_tuples(columns, names=["dimension", "partition"]))


def cooccurrence(states: ArrayLike | Tensor, codes: ArrayLike | Tensor, partitioning: Partitioning,
                 factors: Sequence[Factor]) -> CooccurrenceMatrix:
    """Count how often partition a holds attribute (i, j), divide each row by its sum (paper: co-occurrence).

    Args:
        states: int (n, M): attribute index of each factor.
        codes: (n, d), of the same observations.
        partitioning: of that code space.
        factors: M factors.

    Raises:
        InputError: shapes that do not fit together, or an attribute index that a factor does not have.
    """
    factors = tuple(factors)
    labels, places = _labelled_places(states, codes, partitioning, factors)
    blocks = [[_count(labels[:, i], factor.size, places[:, j], size)
               for j, size in enumerate(partitioning.sizes)] for i, factor in enumerate(factors)]
    counts = np.block(blocks) if blocks else np.zeros((0, sum(partitioning.sizes)), dtype=np.int64)
    values = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = tuple((i, j) for i, factor in enumerate(factors) for j in range(factor.size))
    return CooccurrenceMatrix(counts, values, rows, tuple(partitioning.partitions), factors)


def _count(first: NDArray[np.int64], first_size: int, second: NDArray[np.int64],
           second_size: int) -> NDArray[np.int64]:
    """Contingency table of two columns of indices: int64 (first_size, second_size)."""
    pairs = np.bincount(first * second_size + second, minlength=first_size * second_size)
    return pairs.reshape(first_size, second_size)


def _information(values: NDArray[np.float32], labels: NDArray[np.int64], partitioning: Partitioning,
                 factors: Sequence[Factor]) -> NDArray[np.float64]:
    """I(code; factor) / H(factor) of each dimension and factor: (d, M) in [0, 1].

    Codes are binned at the partitions' edges and at 31 quantiles (fewer where there are few codes). What
    chance gives, about (bins - 1)(attributes - 1) / 2n, is taken off both terms, as adjusted mutual information
    does: a dimension that knows nothing gets 0, one that knows all gets 1. (`metrics.mutual_information` keeps
    the published estimator, 20 equal bins and no correction, because MIG is compared across papers; this one
    decides who owns a code, where chance must not vote.)
    """
    result = np.zeros((partitioning.n_dimensions, len(factors)))
    quantiles = np.linspace(0, 1, min(BINS, max(len(values) // 10, 1)) + 1)[1:-1]
    for d, edges in enumerate(partitioning.edges):
        cuts = np.unique(np.concatenate([edges, np.quantile(values[:, d], quantiles)]).astype(np.float32))
        bins = np.searchsorted(cuts, values[:, d], side="right")
        for i, factor in enumerate(factors):
            joint = _count(labels[:, i], factor.size, bins, len(cuts) + 1)
            of_factor, of_bins = joint.sum(axis=1), joint.sum(axis=0)
            chance = ((of_factor > 0).sum() - 1) * ((of_bins > 0).sum() - 1) / (2 * len(values))
            whole = _entropy(of_factor) - chance
            if whole > 0:
                shared = _entropy(of_factor) + _entropy(of_bins) - _entropy(joint) - chance
                result[d, i] = min(max(shared / whole, 0.0), 1.0)
    return result


def _entropy(counts: NDArray[np.int64]) -> float:
    """Entropy in nats of counts of any shape."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


@dataclass(frozen=True)
class Piece:
    """One interval of a region and what is known about the codes inside: enough to sample from."""

    low: float
    high: float
    weight: float
    mean: float
    std: float
    smallest: float
    largest: float


@dataclass(frozen=True)
class Region:
    """The part of one dimension that an action acts on: a union of partitions.

    Attributes:
        dimension: the code dimension.
        partitions: indices of the owned partitions.
        pieces: their intervals, with the distribution of codes in each.
        precision, recall: of this dimension alone, see `find_actions`.
    """

    dimension: int
    partitions: tuple[int, ...]
    pieces: tuple[Piece, ...]
    precision: float = math.nan
    recall: float = math.nan

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """(low, high) of each piece, half-open."""
        return tuple((piece.low, piece.high) for piece in self.pieces)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _f1(self.precision, self.recall)

    @property
    def is_whole(self) -> bool:
        """Whether this is the whole dimension, one that was not cut."""
        return self.intervals == ((-math.inf, math.inf),)

    def contains(self, values: Tensor) -> Tensor:
        """Which values (n,) lie inside: bool (n,)."""
        inside = torch.zeros(values.shape, dtype=torch.bool, device=values.device)
        for low, high in self.intervals:
            inside |= (values >= low) & (values < high)
        return inside

    def draw(self, uniform: Tensor, distribution: str) -> Tensor:
        """Turn uniform numbers (n, 2) in [0, 1) into values (n,) inside: first the piece, then the place."""
        table = torch.tensor([astuple(piece) for piece in self.pieces], dtype=torch.float64)
        cumulative = table[:, 2].cumsum(0) / table[:, 2].sum()
        chosen = torch.bucketize(uniform[:, 0].contiguous(), cumulative[:-1], right=True)
        low, high, _, mean, std, smallest, largest = table[chosen].unbind(1)
        if distribution == "uniform":
            start = torch.where(low.isinf(), smallest, low)
            values = start + uniform[:, 1] * (torch.where(high.isinf(), largest, high) - start)
        else:
            values = _truncated_normal(uniform[:, 1], low, high, mean, std)
        values = values.float()  # and inside also after rounding: edges are float32, the upper one excluded
        return torch.minimum(torch.maximum(values, low.float()),
                             torch.nextafter(high.float(), torch.tensor(-math.inf)))


@dataclass(frozen=True)
class AtomicAction:
    """G_ik: what attribute k of factor i looks like in code space, and how to put it there.

    As a group action in the paper's sense, f . z replaces the dimensions that f owns by a draw from
    P(f given G_ik) and leaves all others as they are; `present` is the indicator "(= with G_ik on top)(z)".

    Attributes:
        factor, attribute: indices i and k.
        regions: one for each dimension acted on, each a union of partitions.
        distribution: "normal", "uniform" or "empirical", see `find_actions`.
        precision, recall: of all regions together.
        rows: for "empirical" the observed codes (n, len(dimensions)) to draw from, else None.
    """

    factor: int
    attribute: int
    regions: tuple[Region, ...]
    distribution: str = "normal"
    precision: float = math.nan
    recall: float = math.nan
    rows: Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The code dimensions that the action replaces."""
        return tuple(region.dimension for region in self.regions)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _f1(self.precision, self.recall)

    def best(self) -> AtomicAction:
        """The same action on its single best dimension, the one with the highest F1 alone (not MDA).

        A dimension that was not cut comes last: alone it would tell nothing.
        """
        at = max(range(len(self.regions)), key=lambda i: (not self.regions[i].is_whole, self.regions[i].f1))
        region = self.regions[at]
        return replace(self, regions=(region,), precision=region.precision, recall=region.recall,
                       rows=None if self.rows is None else self.rows[:, at:at + 1])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n values of the action's dimensions: float32 (n, len(dimensions)), on the CPU.

        "normal" and "uniform" draw each dimension by itself; "empirical" draws whole rows and so keeps what
        the dimensions have to do with one another.
        """
        if self.rows is not None:
            return self.rows[torch.randint(len(self.rows), (n,), generator=generator)]
        uniform = torch.rand(n, len(self.regions), 2, generator=generator, dtype=torch.float64)
        return torch.stack([region.draw(uniform[:, j], self.distribution)
                            for j, region in enumerate(self.regions)], dim=1)

    def act(self, codes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """f . z: a copy of codes (n, d) in which the action's dimensions are drawn anew, the others kept."""
        self._check(codes)
        acted = codes.clone()
        acted[:, list(self.dimensions)] = self.sample(len(codes), generator).to(codes)
        return acted

    def present(self, codes: Tensor) -> Tensor:
        """Which codes (n, d) hold the attribute, that is, lie in all regions: bool (n,)."""
        self._check(codes)
        inside = torch.ones(len(codes), dtype=torch.bool, device=codes.device)
        for region in self.regions:
            inside &= region.contains(codes[:, region.dimension].float())
        return inside

    def _check(self, codes: Tensor) -> None:
        """Codes must be float32 or float64 (a shorter type could round out of a region) and wide enough."""
        if codes.ndim != 2 or codes.shape[1] <= max(self.dimensions):
            raise InputError(f"codes of shape {tuple(codes.shape)} cannot be acted on: expected (n, d) with "
                             f"d > {max(self.dimensions)}, as this action replaces dimensions "
                             f"{', '.join(map(str, self.dimensions))}.")
        if codes.dtype not in (torch.float32, torch.float64):
            raise InputError(f"codes of type {codes.dtype} cannot be acted on: "
                             "convert them with codes.float().")


@dataclass(frozen=True)
class Ownership:
    """What was found for one attribute, whether or not it got an action."""

    factor: int
    attribute: int
    dimensions: tuple[int, ...]
    partitions: tuple[tuple[int, ...], ...]
    precision: float
    recall: float
    support: int           # observations of the attribute inside its region
    rival: int | None      # the other attribute that is most frequent there
    owned: bool

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _f1(self.precision, self.recall)


@dataclass(frozen=True, eq=False)
class ActionSet:
    """The atomic actions G_i of every factor i.

    Attributes:
        factors: the factors, in the order of the states' columns.
        actions: all actions.
        ownership: one entry for each attribute of each factor.
        information: (d, M), share of each factor's entropy that each dimension's codes explain.
        partitioning: the partitions.
        distribution: what the actions draw from.
        marginals: per dimension all of its partitions, with the codes' distribution in each.
        reservoir: for "empirical" some of the codes (at most 10,000, d), else None.
    """

    factors: tuple[Factor, ...]
    actions: tuple[AtomicAction, ...]
    ownership: tuple[Ownership, ...]
    information: NDArray[np.float64]
    partitioning: Partitioning
    distribution: str
    marginals: tuple[Region, ...]
    reservoir: Tensor | None = field(default=None, repr=False, compare=False)

    def of(self, factor: int | str) -> list[AtomicAction]:
        """G_i: the actions of a factor (index or name), one for each attribute that owns a region."""
        factor = factor_index(self.factors, factor)
        return [action for action in self.actions if action.factor == factor]

    def missing(self, factor: int | str) -> list[int]:
        """Attributes of a factor that own nothing: the partitions do not tell them from others."""
        factor = factor_index(self.factors, factor)
        return [entry.attribute for entry in self.ownership if entry.factor == factor and not entry.owned]

    def dimensions(self, factor: int | str) -> tuple[int, ...]:
        """The code dimensions that the actions of a factor replace."""
        return tuple(sorted({dimension for action in self.of(factor) for dimension in action.dimensions}))

    def uniqueness(self, factor: int | str) -> NDArray[np.float64]:
        """F1 of each attribute's region, owned or not: float64 (attributes,)."""
        factor = factor_index(self.factors, factor)
        return np.array([entry.f1 for entry in self.ownership if entry.factor == factor])

    def table(self) -> pd.DataFrame:
        """One row for each attribute: where it lies, how well that identifies it, whether it owns that."""
        rows = []
        for entry in self.ownership:
            factor = self.factors[entry.factor]
            placed = zip(entry.dimensions, entry.partitions, strict=True)
            rows.append({
                "factor": factor.name, "attribute": factor.values[entry.attribute],
                "dimensions": ", ".join(map(str, entry.dimensions)),
                "partitions": "; ".join(f"{d}: {', '.join(map(str, owned))}" for d, owned in placed),
                "precision": entry.precision, "recall": entry.recall, "f1": entry.f1,
                "support": entry.support, "rival": "" if entry.rival is None else factor.values[entry.rival],
                "owned": entry.owned})
        return pd.DataFrame(rows)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n codes from the partitions alone, without an encoded observation: float32 (n, d).

        This is the z of the paper's AS. For every factor that has actions one of them is drawn, each
        attribute equally often, and fills its dimensions. A dimension that no drawn action fills gets a
        partition, as often as codes lie in it, and a place in it by the same kind of distribution as the
        actions'. Factors and left-over dimensions are drawn independently of one another: combinations that
        the data do not hold appear as often as others.
        """
        codes = torch.empty(n, self.partitioning.n_dimensions)
        for dimension, marginal in enumerate(self.marginals):
            if self.reservoir is not None:
                drawn = torch.randint(len(self.reservoir), (n,), generator=generator)
                codes[:, dimension] = self.reservoir[drawn, dimension]
            else:
                uniform = torch.rand(n, 2, generator=generator, dtype=torch.float64)
                codes[:, dimension] = marginal.draw(uniform, self.distribution)
        for factor in range(len(self.factors)):
            actions = self.of(factor)
            if actions:
                chosen = torch.randint(len(actions), (n,), generator=generator)
                codes = act_each(actions, chosen, codes, generator)
        return codes


def act_each(actions: Sequence[AtomicAction], chosen: Tensor, codes: Tensor,
             generator: torch.Generator | None = None) -> Tensor:
    """Act on row r of codes (n, d) with actions[chosen[r]], chosen int64 (n,): new codes (n, d)."""
    acted = codes.clone()
    for index in chosen.unique().tolist():
        rows = (chosen == index).nonzero()[:, 0].to(codes.device)
        acted[rows] = actions[index].act(codes[rows], generator)
    return acted


def find_actions(states: ArrayLike | Tensor, codes: ArrayLike | Tensor, partitioning: Partitioning,
                 factors: Sequence[Factor], *, threshold: float = 0.5, majority: float = 0.6,
                 informs: float = 0.1, distribution: str = "normal",
                 dimensions: Sequence[Sequence[int]] | None = None) -> ActionSet:
    """Which attribute owns which partitions, and the atomic action of each that owns some.

    The paper gives an attribute an action if it co-occurs uniquely with partitions. Made precise:

    1. *Dimensions.* A dimension belongs to the factor whose entropy its codes explain best, I(code; factor) /
       H(factor), if that share is at least `informs` and the dimension is not inactive. So no two factors
       share one, and acting on a factor leaves what is present of every other as it is.
    2. *Partitions.* In each dimension of the factor, a partition belongs to attribute k if k makes up more
       than half of it, and it holds at least 5 % of k. Attributes count as equally frequent here, as in the
       row-normalised co-occurrence matrix. Where a factor has several dimensions, this is judged among the
       codes that lie where k is at home in the other dimensions (partitions that hold at least half as many
       of k as its fullest one): hues on a circle of two codes share every partition, only the intersection names one.
       A dimension that was not cut belongs whole to every attribute.
    3. *Region.* R is the product over the dimensions. Precision is P(k given R), attributes equally frequent;
       recall is P(R given k). Attribute k owns R if precision >= `majority`, F1 >= `threshold` and R holds at
       least five of its observations. Two attributes that share their partitions have a precision near one
       half, so neither owns them: both are `missing`.

    With one dimension, regions of different attributes never overlap. The paper's literal reading, one
    attribute and one dimension, is `.best()`.

    Departure: the paper speaks of dimensions in which the attribute owns partitions. A dimension may carry a
    factor without showing modes, above all among few codes. It cannot tell attributes apart, but the
    generator reads it: acting on it too (at the attribute's own place, with the attribute's own spread) is
    what makes the generated images show the attribute. Chapter 7 compares one dimension with all.

    What an action draws from, fitted on the attribute's codes inside R:

    - "normal" (default): a partition, as often as the attribute's codes lie in it, then a normal distribution
      with the mean and standard deviation of those codes, cut off exactly at the partition's bounds (by the
      inverse distribution function). It follows the modes, which the generator was trained on, and still
      gives codes that no observation has.
    - "uniform": from bound to bound of such a partition, or to the attribute's extreme code where it reaches
      to infinity. Between well-separated modes most of a partition is empty: it draws codes that the
      generator never saw.
    - "empirical": observed codes, whole rows, so that dimensions stay as correlated as they are; nothing new.

    Args:
        states: int (n, M).
        codes: (n, d), of the same observations.
        partitioning: of that code space.
        factors: M factors.
        threshold: least F1, in [0, 1].
        majority: least precision, in [0, 1]; at or below 0.5 attributes that share a partition may own it.
        informs: least share of a factor's entropy that a dimension must explain, in [0, 1].
        distribution: one of the above.
        dimensions: of each factor, where they are known; replaces step 1.

    Raises:
        InputError: shapes that do not fit together, or options out of range.
    """
    factors = tuple(factors)
    if dimensions is not None and len(dimensions) != len(factors):
        raise InputError(f"dimensions of {len(dimensions)} factors were given, but there are {len(factors)}: "
                         "expected a list of dimensions for each factor.")
    for name, value in (("threshold", threshold), ("majority", majority), ("informs", informs)):
        if not 0 <= value <= 1:
            raise InputError(f"{name} {value!r} is out of range: expected a number in [0, 1].")
    if distribution not in DISTRIBUTIONS:
        raise suggest("distribution", distribution, DISTRIBUTIONS)
    labels, places = _labelled_places(states, codes, partitioning, factors)
    values = codes_array(codes)
    information = _information(values, labels, partitioning, factors)
    ownership, actions = [], []
    for i, factor in enumerate(factors):
        own = dimensions[i] if dimensions is not None else [
            d for d, shares in enumerate(information) if shares[i] >= max(informs, 1e-9)
            and shares.argmax() == i and not partitioning.inactive[d]]
        cells = _Cells.of(labels[:, i], factor.size, places, partitioning, own)
        for attribute in range(factor.size):
            entry = cells.ownership(i, attribute, majority, threshold)
            ownership.append(entry)
            if entry.owned:
                regions = cells.regions(attribute, entry.partitions)
                actions.append(_fit(entry, regions, values, labels[:, i], distribution, partitioning))
    everything = [tuple(range(size)) for size in partitioning.sizes]
    marginals = tuple(Region(dimension, everything[dimension],
                             _pieces(partitioning.bounds(dimension), values[:, dimension]))
                      for dimension in range(partitioning.n_dimensions))
    reservoir = None
    if distribution == "empirical":
        reservoir = torch.from_numpy(np.ascontiguousarray(values[_spread_rows(len(values), RESERVOIR)]))
    return ActionSet(factors, tuple(actions), tuple(ownership), information, partitioning, distribution,
                     marginals, reservoir)


def unlabelled_actions(codes: ArrayLike | Tensor, partitioning: Partitioning, *,
                       distribution: str = "normal") -> ActionSet:
    """Actions without labels: each dimension that is cut is a factor, each of its partitions an attribute.

    For data without factors: what the dimensions mean is then for the reader of the pictures to say.
    """
    cut = [d for d, size in enumerate(partitioning.sizes) if size > 1]
    factors = [Factor(f"code {d}", tuple(f"partition {a}" for a in range(partitioning.sizes[d])), "ordered")
               for d in cut]
    return find_actions(partitioning.assign(codes)[:, cut], codes, partitioning, factors,
                        distribution=distribution, dimensions=[[d] for d in cut])


@dataclass(frozen=True, eq=False)
class _Cells:
    """The attributes of one factor counted in the cells of the product of its dimensions."""

    dimensions: tuple[int, ...]
    sizes: tuple[int, ...]            # partitions of each of these dimensions
    counts: NDArray[np.int64]         # (attributes, cells that hold a code)
    coordinates: NDArray[np.int64]    # (dimensions, cells): partition index of each cell

    @classmethod
    def of(cls, labels: NDArray[np.int64], n_attributes: int, places: NDArray[np.int64],
           partitioning: Partitioning, dimensions: Sequence[int]) -> _Cells:
        """Count labels (n,) in the cells of the dimensions' partition indices places (n, d)."""
        sizes = tuple(partitioning.sizes[d] for d in dimensions)
        cell, span = np.zeros(len(labels), dtype=np.int64), 1
        for d, size in zip(dimensions, sizes, strict=True):
            if span * size > CELLS:  # number those that occur anew, so that many dimensions fit into 64 bits
                found, cell = np.unique(cell, return_inverse=True)
                span = len(found)
            cell, span = cell * size + places[:, d], span * size
        occupied = np.flatnonzero(np.bincount(cell, minlength=span))
        dense = np.zeros(span, dtype=np.int64)
        dense[occupied] = np.arange(len(occupied))
        cell = dense[cell]
        first = np.zeros(len(occupied), dtype=np.int64)
        first[cell] = np.arange(len(cell))  # a code of each cell, whichever
        counts = _count(labels, n_attributes, cell, len(first))
        return cls(tuple(dimensions), sizes, counts, places[np.ix_(first, dimensions)].T)

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """P(cell given attribute)."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)

    def inside(self, axis: int, owned: Iterable[int]) -> NDArray[np.bool_]:
        """Which cells lie in the owned partitions of one dimension."""
        return np.isin(self.coordinates[axis], list(owned))

    def by_partition(self, axis: int, cells: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Shares of the chosen cells, summed by a dimension's partitions: (attributes, partitions)."""
        result = np.zeros((len(self.shares), self.sizes[axis]))
        np.add.at(result.T, self.coordinates[axis][cells], self.shares[:, cells].T)
        return result

    def owned_partitions(self, attribute: int) -> tuple[tuple[int, ...], ...]:
        """Step 2 of `find_actions`: the attribute's partitions in each dimension, maybe none."""
        everywhere = np.ones(self.shares.shape[1], dtype=bool)
        home = []
        for axis in range(len(self.sizes)):
            share = self.by_partition(axis, everywhere)[attribute]
            home.append(self.inside(axis, np.flatnonzero((share > 0) & (share >= 0.5 * share.max()))))
        owned = []
        for axis, size in enumerate(self.sizes):
            if size == 1:
                owned.append((0,))
                continue
            others = np.logical_and.reduce([everywhere, *home[:axis], *home[axis + 1:]])
            shares = self.by_partition(axis, others)
            mine = shares[attribute]
            large = (mine > 0) & (mine >= LEAST_SHARE * mine.sum())
            owned.append(tuple(int(a) for a in np.flatnonzero(large & (mine > 0.5 * shares.sum(axis=0)))))
        return tuple(owned)

    def score(self, attribute: int, cells: NDArray[np.bool_]) -> tuple[float, float]:
        """Precision (attributes equally frequent) and recall of a set of cells."""
        inside = self.shares[:, cells].sum(axis=1)
        return float(inside[attribute] / inside.sum()) if inside.sum() > 0 else 0.0, float(inside[attribute])

    def ownership(self, factor: int, attribute: int, majority: float, threshold: float) -> Ownership:
        """Step 3 of `find_actions`."""
        partitions = self.owned_partitions(attribute)
        cells = np.full(self.shares.shape[1], len(partitions) > 0)
        for axis, owned in enumerate(partitions):
            cells &= self.inside(axis, owned)
        precision, recall = self.score(attribute, cells)
        support = int(self.counts[attribute, cells].sum())
        others = np.where(np.arange(len(self.shares)) == attribute, -1.0, self.shares[:, cells].sum(axis=1))
        owned = support >= LEAST_SUPPORT and precision >= majority and _f1(precision, recall) >= threshold
        return Ownership(factor, attribute, self.dimensions, partitions, precision, recall, support,
                         int(others.argmax()) if others.max() > 0 else None, owned)

    def regions(self, attribute: int, partitions: Sequence[tuple[int, ...]]) -> list[Region]:
        """The regions of an attribute, with the scores that each has alone; their pieces come with `_fit`."""
        return [Region(dimension, owned, (), *self.score(attribute, self.inside(axis, owned)))
                for axis, (dimension, owned) in enumerate(zip(self.dimensions, partitions, strict=True))]


def _fit(entry: Ownership, regions: Sequence[Region], values: NDArray[np.float32], labels: NDArray[np.int64],
         distribution: str, partitioning: Partitioning) -> AtomicAction:
    """Fit an action on the codes of its attribute that lie in all of its regions."""
    intervals = [[partitioning.bounds(region.dimension)[a] for a in region.partitions] for region in regions]
    rows = np.flatnonzero(labels == entry.attribute)
    for region, bounds in zip(regions, intervals, strict=True):
        column = values[rows, region.dimension]
        rows = rows[np.logical_or.reduce([(column >= low) & (column < high) for low, high in bounds])]
    fitted = tuple(replace(region, pieces=_pieces(bounds, values[rows, region.dimension]))
                   for region, bounds in zip(regions, intervals, strict=True))
    observed = values[np.ix_(rows, entry.dimensions)] if distribution == "empirical" else None
    return AtomicAction(entry.factor, entry.attribute, fitted, distribution, entry.precision, entry.recall,
                        None if observed is None else torch.from_numpy(np.ascontiguousarray(observed)))


def _pieces(intervals: Sequence[tuple[float, float]], values: NDArray[np.float32]) -> tuple[Piece, ...]:
    """What lies in each interval. An interval that is empty has weight 0 and a middle for a mean."""
    ordered = np.sort(values).astype(np.float64)
    pieces = []
    for low, high in intervals:
        inside = ordered[np.searchsorted(ordered, low):np.searchsorted(ordered, high)]
        weight = len(inside) / len(ordered)
        if not len(inside):
            ends = [bound for bound in (low, high) if math.isfinite(bound)] or [0.0]
            inside = np.array([sum(ends) / len(ends)])
        pieces.append(Piece(low, high, weight, float(inside.mean()), float(inside.std()), float(inside[0]),
                            float(inside[-1])))
    return tuple(pieces)


def _truncated_normal(uniform: Tensor, low: Tensor, high: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Values of a normal distribution cut off at [low, high), by its inverse distribution function."""
    scale = std.clamp(min=1e-12)
    below, above = torch.special.ndtr((low - mean) / scale), torch.special.ndtr((high - mean) / scale)
    place = (below + uniform * (above - below)).clamp(1e-12, 1 - 1e-12)
    return torch.where(std > 0, mean + scale * torch.special.ndtri(place), mean)


def _spread_rows(n: int, most: int) -> NDArray[np.int64]:
    """Rows 0..n-1, or `most` of them spread evenly in an order that no grid's period resonates with."""
    if n <= most:
        return np.arange(n)
    return (np.arange(most) * (math.sqrt(5) - 1) / 2 % 1 * n).astype(np.int64)


def _f1(precision: float, recall: float) -> float:
    """Harmonic mean; 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _labelled_places(states: ArrayLike | Tensor, codes: ArrayLike | Tensor, partitioning: Partitioning,
                     factors: Sequence[Factor]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """States and partition indices as int64 arrays (n, M) and (n, d), checked against each other."""
    labels = states.detach().cpu().numpy() if isinstance(states, Tensor) else np.asarray(states)
    if labels.ndim != 2 or labels.shape[1] != len(factors) or labels.dtype.kind not in "iub":
        raise InputError(f"states of shape {labels.shape} and type {labels.dtype} do not fit {len(factors)} "
                         "factors: expected whole numbers (n, number of factors), each an attribute's index.")
    places = partitioning.assign(codes).numpy()
    if len(labels) != len(places):
        raise InputError(f"{len(labels):,} states but {len(places):,} codes: "
                         "they must be of the same observations.")
    labels = np.asfortranarray(labels, dtype=np.int64)  # columns are what is counted
    for i, factor in enumerate(factors):
        low, high = labels[:, i].min(), labels[:, i].max()
        if low < 0 or high >= factor.size:
            raise InputError(f"factor {factor.name!r} has attribute indices {low} to {high} in the states: "
                             f"expected 0 to {factor.size - 1}.")
    return labels, places


def factor_index(factors: Sequence[Factor], factor: int | str) -> int:
    """Index of a factor given by index or name."""
    if isinstance(factor, str):
        names = [known.name for known in factors]
        if factor not in names:
            raise suggest("factor", factor, names)
        return names.index(factor)
    if not 0 <= factor < len(factors):
        raise InputError(f"there is no factor {factor}: expected 0 to {len(factors) - 1}, or a name.")
    return int(factor)
