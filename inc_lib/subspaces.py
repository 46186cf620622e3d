"""Past the paper: atomic actions on learned subspaces, and on ordered factors.

The paper cuts each code dimension by itself, and no two factors share one (`actions.find_actions`). Here a factor
may live in several codes, and a code may serve several factors:

    places = find_dimensions(states, codes, factors)        # the codes of each factor
    found = find_subspace_actions(states, codes, factors)   # an `ActionSet`, as `find_actions` gives
    found.of("hue")[3].act(codes, generator)                # sets the hue, keeps what else lives in its codes

Cells are cut without labels (`joint_partitions`). Labels name them afterwards, as the paper's co-occurrence does.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import Tensor

from .actions import LEAST_SUPPORT, ActionSet, Ownership, find_actions
from .errors import InputError
from .joint_partitions import AWAKE, REFERENCES, JointPartition, evened, partition_jointly, spread_rows
from .partitions import codes_array, find_partitions
from .worlds import Factor

VOTERS = 10           # neighbours that vote on an attribute in `find_dimensions`
READABLE = 0.8        # share of observations whose attribute a reader must get right to be listened to
LEAST_CELL = 30       # references in a cell of a stated resolution, at least
FAITHFUL = 0.25       # share of an attribute's rows in a context whose pictures show best what was seen
LEAST_ROWS = 10       # of an attribute in a context, below which all are drawn
NEIGHBOURS = 30       # whose attributes say how sure a row is
COPY = 0.15           # share of a factor's entropy that a code it did not choose must tell to go along with it


def find_dimensions(states: ArrayLike | Tensor, codes: ArrayLike | Tensor, factors: Sequence[Factor], *,
                    gain: float = 0.03, most: int = 3, alone: float = 0.5, n: int = 6000) -> list[tuple[int, ...]]:
    """The codes in which each factor lives, by forward selection.

    How well do an observation's ten nearest neighbours in a set of codes name its attribute? The share of right
    votes, less what the most frequent attribute gives (0: no better, 1: always right), is co-occurrence at the
    finest scale: it asks for no cuts, no straight axis and no independence. The code that raises it most is added
    until the gain is below `gain`. A code that tells nothing *alone*, as each of a circle's hardly does, is found as
    soon as its partner is in; a code may be chosen by several factors. A code that alone reaches `alone` is added as
    well, however little the others leave to it: a generator that looks at two copies must be told by both.

    Quiet codes, with less than `AWAKE` of the largest deviation, are taken only if they reach `alone`: most are what a
    prior has closed, and hold noise; but a generator can amplify one that is small and sharp.

    Args:
        states: int (n, M).
        codes: (n, d), of the same observations.
        factors: M factors.
        gain: least rise of that share, in (0, 1].
        most: codes of a factor that are chosen by their gain, at most: neighbours are far apart in many dimensions.
        alone: that share, in (0, 1].
        n: observations used, two thirds as voters.

    Returns:
        The codes of each factor, the best first; () where none helps.
    """
    labels, values = _matched(states, codes, factors)
    if not (0 < gain <= 1 and 0 < alone <= 1) or most < 1:
        raise InputError(f"gain {gain!r}, alone {alone!r} and most {most!r} cannot be used: expected shares in "
                         "(0, 1] and a whole number of at least 1.")
    rows = spread_rows(len(values), n)
    values, labels = values[rows], labels[rows]
    return [_forward(values, labels[:, i], gain, most, alone) for i in range(len(factors))]


def _forward(values: NDArray, labels: NDArray, gain: float, most: int, alone: float) -> tuple[int, ...]:
    """Add the code that helps the neighbours' vote most, while it does; then those that need no help."""
    deviation = values.std(axis=0) if len(values) else np.zeros(values.shape[1])
    quiet, values = deviation <= AWAKE * deviation.max(), values * evened(values) if len(values) else values
    cut = 2 * len(values) // 3
    floor = np.bincount(labels[cut:]).max() / (len(labels) - cut) if len(labels) > cut else 1.0
    if floor == 1 or cut <= VOTERS:
        return ()

    def vote(columns: list[int]) -> float:
        inside = values[:, columns]
        voters = KNeighborsClassifier(VOTERS, algorithm="kd_tree").fit(inside[:cut], labels[:cut])
        return (float((voters.predict(inside[cut:]) == labels[cut:]).mean()) - floor) / (1 - floor)

    single = {d: vote([d]) for d in np.flatnonzero(deviation > 0).tolist()}
    single = tried = {d: share for d, share in single.items() if not quiet[d] or share >= alone}
    chosen: list[int] = []
    reached = 0.0
    while tried and tried[best := max(tried, key=tried.get)] - reached >= gain:
        chosen, reached = [*chosen, best], tried[best]
        left = [d for d in single if d not in chosen] if len(chosen) < most else []
        tried = {d: vote([*chosen, d]) for d in left}
    return (*chosen, *(d for d, share in single.items() if share >= alone and d not in chosen))


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


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads one factor off its codes: cells, named by co-occurrence.

    Attributes:
        factor: its index.
        dimensions: its codes.
        partition: the cells of these codes.
        names: int64 (cells,): the attribute that owns each cell, -1 where none does.
    """

    factor: int
    dimensions: tuple[int, ...]
    partition: JointPartition
    names: NDArray[np.int64]

    def cell(self, codes: ArrayLike | Tensor) -> NDArray[np.int64]:
        """The cell of each of codes (n, d): int64 (n,)."""
        return self.partition.assign(codes[:, list(self.dimensions)])

    @cached_property
    def _filled(self) -> NDArray[np.int64]:
        """The name of each reference; an unnamed one takes that of the nearest that has one."""
        names = self.names[self.partition.labels]
        named = names >= 0
        if named.any() and not named.all():
            near = NearestNeighbors(n_neighbors=1).fit(self.partition.reference[named])
            at = near.kneighbors(self.partition.reference[~named], return_distance=False)[:, 0]
            names[~named] = names[named][at]
        return names

    def read(self, codes: ArrayLike | Tensor) -> NDArray[np.int64]:
        """The attribute that each of codes (n, d) shows: int64 (n,); -1 if no cell has a name."""
        return self._filled[self.partition.nearest(codes[:, list(self.dimensions)])]


@dataclass(frozen=True, eq=False)
class SubspaceAction:
    """An atomic action on a subspace. It stands wherever an `actions.AtomicAction` does.

    f . z replaces the codes of the subspace by an observed row of the attribute, and leaves the rest as they are.
    Where other factors live in the subspace too, its *companions*, the row is drawn among those that show of them
    what z shows (a conditional draw); if there are none, among those that agree with z on as many as any do.

    Attributes:
        factor, attribute: what it sets.
        dimensions: the codes that it replaces.
        reader: of the factor.
        rows: float32 (m, len(dimensions)), what it draws from.
        companions: readers of the factors to keep; () if there is none, or if any row will do.
        shown: int64 (m, len(companions)), what each row shows of them.
        precision, recall: of the attribute's cells.
    """

    factor: int
    attribute: int
    dimensions: tuple[int, ...]
    reader: Reader
    rows: Tensor = field(repr=False)
    companions: tuple[Reader, ...]
    shown: NDArray[np.int64] = field(repr=False)
    precision: float = math.nan
    recall: float = math.nan

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
        """Draw n rows, whatever they show of other factors: float32 (n, len(dimensions))."""
        return self.rows[torch.randint(len(self.rows), (n,), generator=generator)]

    def act(self, codes: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """f . z: a copy of codes (n, d) with the subspace drawn anew."""
        self._check(codes)
        acted = codes.clone()
        if self.companions and len(codes):
            wanted = np.stack([reader.read(codes) for reader in self.companions], axis=1)
            uniform = torch.rand(len(codes), generator=generator, dtype=torch.float64).numpy()
            drawn = self.rows[torch.from_numpy(self._conditional(wanted, uniform))]
        else:
            drawn = self.sample(len(codes), generator)
        acted[:, list(self.dimensions)] = drawn.to(codes)
        return acted

    @cached_property
    def _by_context(self) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
        """What rows show of the companions, each combination once, and the rows of each."""
        contexts, at = np.unique(self.shown, axis=0, return_inverse=True)
        return contexts, [np.flatnonzero(at.ravel() == k) for k in range(len(contexts))]

    def _conditional(self, wanted: NDArray[np.int64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """A row for each wanted context (n, companions), by a uniform number each: int64 (n,)."""
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
        return torch.from_numpy(self.reader.names[self.reader.cell(codes)] == self.attribute).to(codes.device)

    def _check(self, codes: Tensor) -> None:
        if codes.ndim != 2 or codes.shape[1] <= max(self.dimensions):
            raise InputError(f"codes of shape {tuple(codes.shape)} cannot be acted on: expected (n, d) with "
                             f"d > {max(self.dimensions)}, as this action replaces dimensions "
                             f"{', '.join(map(str, self.dimensions))}.")


def find_subspace_actions(states: ArrayLike | Tensor, codes: ArrayLike | Tensor, factors: Sequence[Factor], *,
                          dimensions: Sequence[Sequence[int]] | None = None, method: str = "modes",
                          resolution: str | int | None = "stated", keep: bool = True, draws: Tensor | None = None,
                          faults: ArrayLike | Tensor | None = None, sure: float = 0.1,
                          typical: float = 0.5, copies: bool = True, majority: float = 0.6,
                          threshold: float = 0.5) -> ActionSet:
    """Atomic actions on subspaces, in the form that `actions.find_actions` gives them.

    Departures from the paper, each of which an argument takes back: a factor's codes are chosen together and may be
    shared (`dimensions`), cells are those of a joint partition (`method`), divided to a stated resolution
    (`resolution`), and an action keeps the other factors of its codes (`keep`) and replaces copies of its own
    (`copies`). As there, an attribute gets an
    action if what it owns names it: a cell belongs to the attribute that makes up at least `majority` of it, all
    attributes equally frequent; together they must reach an F1 of `threshold` and hold five codes.

    Which factors to keep: those that share codes, directly or through others, and that their own cells read right in
    `READABLE` of the observations. Their codes are then replaced together, by rows that show of all the others what
    the code showed. A factor that nobody can read cannot be kept, and whoever tried would draw by noise.

    Args:
        states: int (n, M).
        codes: (n, d), of the same observations.
        factors: M factors.
        dimensions: the codes of each factor (default: `find_dimensions`).
        method: see `joint_partitions.partition_jointly`.
        resolution: "stated": a factor's codes are divided into as many parts of equal mass as there are combinations
            of the attributes of all factors that share them. A number: into so many. None: the cut alone.
        keep: as above. False: an action replaces the codes of its factor by any row of the attribute.
        draws: (m, d), m <= n: what to draw in place of the first m codes, as `reading_back.drawn_where_read` gives.
            Only these are drawn then.
        faults: (m, d), as `reading_back.faults` gives: how wrong the picture of each of the first m codes is, told of
            the codes that cannot be corrected. Of these subspaces only the most faithful `FAITHFUL` of an attribute's
            rows (of each combination) are drawn: a row that its own picture does not show says something else.
        sure: share of an attribute's rows (of each combination with the factors to keep) that are drawn, those whose
            neighbours in the subspace agree most with them on the attribute, in (0, 1]: where attributes run into one
            another, the others say their neighbour's name half of the time. 1: all. Rows as sure as the last one
            are drawn too, so that nothing is left out where heaps lie apart. A factor that its own cells do not read
            right in `READABLE` of the observations has no sure rows, only corners; there all rows are as good.
        typical: share of an attribute's rows, likewise, that are drawn at most, those nearest to its median, in
            (0, 1]. Both 1: all rows, as the paper's empirical draws.
        copies: replace also codes that have no part in a factor's cells, but tell `COPY` of its entropy: those of
            other factors, by rows that keep these, and those that no factor needs, if they tell twice as much of this
            one as of any other. The generator may look at such a code, and if it stays as it was it says another
            attribute than was ordered.

    Raises:
        InputError: shapes that do not fit together, or options out of range.
    """
    factors = tuple(factors)
    labels, values = _matched(states, codes, factors)
    for name, value in (("majority", majority), ("threshold", threshold), ("sure", sure), ("typical", typical)):
        if not 0 <= value <= 1 or (name in ("sure", "typical") and value == 0):
            raise InputError(f"{name} {value!r} is out of range: expected a number in [0, 1]"
                             f"{', but not 0' if name in ('sure', 'typical') else ''}.")
    if draws is not None and (draws.ndim != 2 or draws.shape[1] != values.shape[1] or len(draws) > len(values)):
        raise InputError(f"draws of shape {tuple(draws.shape)} do not fit codes of shape {values.shape}: expected "
                         "corrected codes of the first m of them.")
    drawn = torch.from_numpy(np.ascontiguousarray(values)) if draws is None else draws.detach().cpu().float()
    m = len(drawn)
    wrong = np.zeros((m, values.shape[1]), dtype=np.float32) if faults is None else np.asarray(faults)
    if wrong.shape != (m, values.shape[1]):
        raise InputError(f"faults of shape {wrong.shape} do not fit {m:,} codes of {values.shape[1]} dimensions "
                         "to draw from: expected one for each code.")
    dimensions = find_dimensions(labels, values, factors) if dimensions is None else dimensions
    if len(dimensions) != len(factors):
        raise InputError(f"dimensions of {len(dimensions)} factors were given, but there are {len(factors)}.")
    dimensions = [tuple(int(d) for d in own) for own in dimensions]
    base = find_actions(labels, values, find_partitions(values), factors, distribution="empirical")
    faint = _copies(dimensions, values, base.information) if copies else [set()] * len(factors)
    replaced = _with_echoes(dimensions, base.information) if copies else dimensions
    readers, counts = _readers(labels, values, factors, dimensions, method, resolution, majority)
    shown = {i: reader.read(values[:m]) for i, reader in readers.items()}
    vouched = {i for i in readers if sure < 1 and (shown[i] == labels[:m, i]).mean() >= READABLE}
    readable = {i for i in readers if keep and (shown[i] == labels[:m, i]).mean() >= READABLE}
    ownership, actions, near = [], [], {}
    for i, factor in enumerate(factors):
        others, own = _together(i, replaced, readable)
        own = sorted({*own, *faint[i], *(d for j in others for d in faint[j])})
        context = np.stack([shown[j] for j in others], axis=1) if others else np.zeros((m, 0), dtype=np.int64)
        if i in vouched and tuple(own) not in near:
            near[tuple(own)] = _neighbours(values[:, own], m)
        for k in range(factor.size):
            entry, rows = Ownership(i, k, (), (), 0.0, 0.0, 0, None, False), np.empty(0, dtype=np.int64)
            if i in readers:
                entry = _own(readers[i], k, counts[i], threshold, majority)
                rows = np.flatnonzero((labels[:m, i] == k) & (shown[i] == k))
            ownership.append(entry)
            if entry.owned and len(rows):
                if wrong[:, own].any():
                    rows = _faithful(wrong[rows][:, own].max(axis=1), rows, context[rows])
                agree = np.ones(len(rows))
                if i in vouched:
                    agree = (labels[near[tuple(own)][rows], i] == k).mean(axis=1)
                rows = _clear(values[:m, own], rows, agree, context[rows], sure, typical)
                actions.append(SubspaceAction(i, k, tuple(own), readers[i], drawn[rows][:, own],
                                              tuple(readers[j] for j in others), context[rows], entry.precision,
                                              entry.recall))
    return ActionSet(factors, tuple(actions), tuple(ownership), base.information, base.partitioning, "empirical",
                     base.marginals, base.reservoir)


def _readers(labels: NDArray[np.int64], values: NDArray[np.float32], factors: Sequence[Factor],
             dimensions: Sequence[tuple[int, ...]], method: str, resolution: str | int | None, majority: float,
             ) -> tuple[dict[int, Reader], dict[int, NDArray[np.int64]]]:
    """A reader of each factor that has codes, and the co-occurrence (attributes, cells) that named its cells."""
    readers, counts = {}, {}
    for i, own in enumerate(dimensions):
        if not own:
            continue
        parts = resolution
        if resolution == "stated":
            sharing = [factor.size for factor, codes in zip(factors, dimensions, strict=True) if set(codes) & set(own)]
            parts = min(math.prod(sharing), max(min(len(values), REFERENCES) // LEAST_CELL, 1))
        partition = partition_jointly(values[:, own], method=method, resolution=parts)
        cells = partition.assign(values[:, own])
        counts[i] = np.stack([np.bincount(cells[labels[:, i] == k], minlength=partition.size)
                              for k in range(factors[i].size)])
        readers[i] = Reader(i, own, partition, _names(counts[i], majority))
    return readers, counts


def _together(i: int, dimensions: Sequence[tuple[int, ...]], readable: set[int]) -> tuple[list[int], list[int]]:
    """The factors that an action on factor i has to keep, and the codes that it replaces."""
    group, own = {i}, set(dimensions[i])
    while more := {j for j in readable - group if set(dimensions[j]) & own}:
        group |= more
        if i in readable:  # else its own codes are all that can be said of it
            own = own.union(*(dimensions[j] for j in more))
    return sorted(group - {i}), sorted(own)


def _with_echoes(dimensions: Sequence[tuple[int, ...]], information: NDArray[np.float64]) -> list[tuple[int, ...]]:
    """For each factor its codes, and those of other factors that tell `COPY` of it as well; information (d, M)."""
    chosen = sorted({d for own in dimensions for d in own})
    told = np.nan_to_num(information)
    return [(*own, *(d for d in chosen if own and d not in own and told[d, i] >= COPY))
            for i, own in enumerate(dimensions)]


def _copies(dimensions: Sequence[tuple[int, ...]], values: NDArray[np.float32],
            information: NDArray[np.float64]) -> list[set[int]]:
    """For each factor the codes that vary, that none has chosen, and that tell mostly of it; information (d, M)."""
    found: list[set[int]] = [set() for _ in dimensions]
    chosen, deviation = {d for own in dimensions for d in own}, values.std(axis=0)
    for d in np.flatnonzero(deviation > AWAKE * deviation.max()).tolist() if dimensions else ():
        told = np.nan_to_num(information[d])
        best = int(told.argmax())
        others = np.delete(told, best).max(initial=0.0)
        if d not in chosen and dimensions[best] and told[best] >= max(COPY, 2 * others):
            found[best].add(d)
    return found


def _names(counts: NDArray[np.int64], majority: float) -> NDArray[np.int64]:
    """The attribute that owns each cell, of counts (attributes, cells): int64 (cells,), -1 for none."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    best = shares.argmax(axis=0)
    part = shares.max(axis=0) / np.maximum(shares.sum(axis=0), 1e-300)
    return np.where((part >= majority) & (shares.sum(axis=0) > 0), best, -1)


def _own(reader: Reader, attribute: int, counts: NDArray[np.int64], threshold: float, majority: float) -> Ownership:
    """What an attribute owns in a subspace; counts (attributes, cells)."""
    own = np.flatnonzero(reader.names == attribute)
    shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[:, own].sum(axis=1)
    precision, recall = float(shares[attribute] / max(shares.sum(), 1e-300)), float(shares[attribute])
    support = int(counts[attribute, own].sum())
    others = np.where(np.arange(len(shares)) == attribute, 0, shares)
    owned = support >= LEAST_SUPPORT and precision >= majority and _f1(precision, recall) >= threshold
    cells = tuple(own.tolist())
    return Ownership(reader.factor, attribute, reader.dimensions, (cells,) * len(reader.dimensions), precision, recall,
                     support, int(others.argmax()) if others.any() else None, owned)


def _neighbours(values: NDArray[np.float32], m: int) -> NDArray[np.int64]:
    """The nearest neighbours of the first m of values (n, k), each code by its own spread: int64 (m, NEIGHBOURS)."""
    scaled = values / np.maximum(values.std(axis=0), 1e-9)
    tree = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(values) - 1) + 1, algorithm="kd_tree").fit(scaled)
    return tree.kneighbors(scaled[:m], return_distance=False)[:, 1:]


def _faithful(faults: NDArray[np.float64], rows: NDArray[np.int64], context: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the rows of each context (rows, factors), the `FAITHFUL` share with the smallest faults; at least ten."""
    kept = []
    at = np.unique(context, axis=0, return_inverse=True)[1].ravel()
    for k in range(at.max() + 1):
        own = np.flatnonzero(at == k)
        kept.append(own[np.argsort(faults[own], kind="stable")[:max(round(FAITHFUL * len(own)), LEAST_ROWS)]])
    return rows[np.sort(np.concatenate(kept))]


def _clear(values: NDArray[np.float32], rows: NDArray[np.int64], agreement: NDArray[np.float64],
           context: NDArray[np.int64], sure: float, typical: float) -> NDArray[np.int64]:
    """Of the rows of each context (rows, factors), the share that neighbours agree with most, and of these, and those
    as sure, the ones nearest to their median; at least ten."""
    kept = []
    at = np.unique(context, axis=0, return_inverse=True)[1].ravel()
    for k in range(at.max() + 1):
        here = at == k
        own, sureness = rows[here], agreement[here]
        if len(own) > LEAST_ROWS:
            rank = max(round(sure * len(own)), LEAST_ROWS) - 1
            most = max(round(typical * len(own)), LEAST_ROWS)
            own = own[sureness >= np.sort(sureness)[::-1][rank]]
            if len(own) > most:
                off = np.abs(values[own] - np.median(values[own], axis=0)) / np.maximum(values[own].std(axis=0), 1e-9)
                own = own[np.argsort(off.max(axis=1), kind="stable")[:most]]
        kept.append(own)
    return np.sort(np.concatenate(kept))


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


def _f1(precision: float, recall: float) -> float:
    """Harmonic mean; 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
