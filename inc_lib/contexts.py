"""Past the paper: a factor that means something only together with another one, its context.

A square looks the same after a quarter turn, a heart after a whole one. So "this angle" is one place of the code space
for hearts, another for squares, where three further angles lie as well: no partition belongs to an angle alone, and
the factor owns nothing (`actions.find_actions`, `subspaces.find_subspace_actions`). Within *one* shape it does:

    found = find_subspace_actions(states, codes, factors)
    found = in_context(world, states, codes, found)    # the same, with the actions of such pairs of factors anew

A world says which attributes cannot be told apart (`World.alike`); what that depends on is found by asking it.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .actions import LEAST_SUPPORT, ActionSet, Ownership
from .errors import InputError
from .joint_partitions import AWAKE, REFERENCES, JointPartition, partition_jointly, spread_rows
from .subspaces import LEAST_CELL, READABLE, Reader, SubspaceAction, _clear, _forward, _matched, _neighbours
from .worlds import World

FINER = 8     # cells for each attribute that can be told apart: those of a ring need not begin where an attribute does
LOOKED_AT = 6000  # observations by which the codes of a context are chosen, as in `find_dimensions`


def context_of(world: World, factor: int) -> int | None:
    """The factor on which it depends what attributes of `factor` look alike; None if it depends on none."""
    return next((j for j in range(len(world.factors)) if j != factor and world.sizes[j] > 1
                 and len({looks_alike(world, factor, j, k).tobytes() for k in range(world.sizes[j])}) > 1), None)


def looks_alike(world: World, factor: int, context: int, attribute: int) -> NDArray[np.bool_]:
    """Which attributes of `factor` look alike where `context` has this attribute: bool (size, size), symmetric."""
    size = world.sizes[factor]
    a, b = torch.arange(size).repeat_interleave(size), torch.arange(size).repeat(size)
    states = torch.zeros(size * size, len(world.factors), dtype=torch.int64)
    states[:, context] = attribute
    return world.alike(factor, a, b, states).reshape(size, size).numpy()


@dataclass(frozen=True, eq=False)
class Cells:
    """What a factor looks like in one context.

    Attributes:
        dimensions: the codes that tell its attributes apart there; () if none does.
        partition: the cells of these codes; None if there is none.
        owners: bool (attributes, cells): which attributes own a cell. Several do where they look alike.
        alike: bool (attributes, attributes): which look alike there.
    """

    dimensions: tuple[int, ...]
    partition: JointPartition | None
    owners: NDArray[np.bool_]
    alike: NDArray[np.bool_]

    @property
    def first(self) -> NDArray[np.int64]:
        """The first of the attributes that look like each: int64 (attributes,)."""
        return self.alike.argmax(axis=1)

    def assign(self, codes: Tensor) -> NDArray[np.int64]:
        """The cell of each of codes (n, d): int64 (n,)."""
        if self.partition is None:
            return np.zeros(len(codes), dtype=np.int64)
        return self.partition.assign(codes[:, list(self.dimensions)])


@dataclass(frozen=True, eq=False)
class ContextReader:
    """Reads a factor off codes within the context that they are read to be in.

    Attributes:
        factor: its index.
        context: reader of the context.
        within: its cells for each attribute of the context.
        target: tell what is read as an attribute of *this* context; None: of the one that it is read in.
    """

    factor: int
    context: Reader
    within: tuple[Cells, ...]
    target: int | None = None

    @property
    def dimensions(self) -> tuple[int, ...]:
        """The codes of the factor in any context."""
        return tuple(sorted({d for cells in self.within for d in cells.dimensions}))

    def owners(self, codes: Tensor) -> NDArray[np.bool_]:
        """Which attributes own the cells in which codes (n, d) lie: bool (n, attributes)."""
        read = self.context.read(codes)
        own = np.zeros((len(codes), len(self.within[0].alike)), dtype=bool)
        for k, cells in enumerate(self.within):
            if (who := np.flatnonzero(read == k)).size:
                own[who] = cells.owners[:, cells.assign(codes[torch.from_numpy(who)])].T
        return own

    def read(self, codes: Tensor) -> NDArray[np.int64]:
        """The first attribute that owns the cell of each of codes (n, d): int64 (n,); -1 where none does."""
        own = self.owners(codes)
        names = np.where(own.any(axis=1), own.argmax(axis=1), -1)
        return names if self.target is None else np.where(names >= 0, self.within[self.target].first[names], -1)


@dataclass(frozen=True, eq=False)
class ContextAction(SubspaceAction):
    """An action on the subspace of a factor and its context; `reader` is a `ContextReader`."""

    def present(self, codes: Tensor) -> Tensor:
        """Which codes (n, d) lie in a cell that the attribute, or one that looks like it there, owns: bool (n,)."""
        self._check(codes)
        return torch.from_numpy(self.reader.owners(codes)[:, self.attribute]).to(codes.device)


def in_context(world: World, states: ArrayLike | Tensor, codes: ArrayLike | Tensor, found: ActionSet, *,
               draws: Tensor | None = None, sure: float = 0.1, typical: float = 0.5, method: str = "modes",
               majority: float = 0.6, threshold: float = 0.5) -> ActionSet:
    """Actions on subspaces, with those of each factor that has a context, and those of the context, found anew.

    Within each attribute of the context the factor's codes are chosen, divided into `FINER` cells for each attribute
    that can be told apart there, and named: a cell belongs to every attribute that makes up at least `majority` of it
    *together with those that look like it there*. The codes of all contexts, those of the context itself, and those
    that vary and serve no other factor are one subspace. An action on the factor draws observed rows that look like
    its attribute and show the shape (or whatever the context is) that the code shows; an action on the context those
    that show the angle that it shows. A factor that shares codes with the two acts on the same subspace and keeps both.

    Where no cell of a context belongs to the attribute, all of its rows there may be drawn: only the labels say then
    where it lies, and its ownership counts them as missed.

    Args:
        world: says what looks alike.
        states: int (n, M). codes: (n, d), of the same observations.
        found: of `find_subspace_actions` on them. Returned as it is if no factor has a context, or if nobody can read
            the context off its codes (in `READABLE` of the observations).
        draws, sure, typical, majority, threshold: as there. method: of `joint_partitions.partition_jointly`.

    Raises:
        InputError: shapes that do not fit together, or `found` of another world.
    """
    labels, values = _matched(states, codes, world.factors)
    if found.factors != tuple(world.factors):
        raise InputError(f"the actions are of the factors {', '.join(f.name for f in found.factors)}, the world has "
                         f"{', '.join(f.name for f in world.factors)}: find them on the same world.")
    values = torch.from_numpy(np.ascontiguousarray(values))
    for factor in range(len(world.factors)):
        context = context_of(world, factor)
        group = [] if context is None else found.of(context)
        if not group or not isinstance(group[0], SubspaceAction):
            continue
        if (group[0].reader.read(values) == labels[:, context]).mean() < READABLE:
            continue
        within = tuple(_cells(looks_alike(world, factor, context, k), values[labels[:, context] == k].numpy(),
                              labels[labels[:, context] == k, factor], method, majority)
                       for k in range(world.sizes[context]))
        reader = ContextReader(factor, group[0].reader, within)
        if reader.dimensions:
            found = _replaced(found, labels, values, reader, values if draws is None else draws, sure, typical,
                              threshold)
    return found


def _cells(alike: NDArray[np.bool_], values: NDArray[np.float32], names: NDArray[np.int64], method: str,
           majority: float) -> Cells:
    """Codes (n, d) of one context, divided and named by the attributes `names` (n,) of the factor."""
    first = alike.argmax(axis=1)
    few = spread_rows(len(values), LOOKED_AT)
    dimensions = _forward(values[few], first[names[few]], gain=0.03, most=3, alone=0.5)
    if not dimensions:
        return Cells((), None, np.zeros((len(alike), 1), dtype=bool), alike)
    finest = max(min(len(values), REFERENCES) // LEAST_CELL, 1)
    partition = partition_jointly(values[:, dimensions], method=method,
                                  resolution=min(FINER * len(set(first.tolist())), finest))
    cells = partition.assign(values[:, dimensions])
    counts = np.stack([np.bincount(cells[names == a], minlength=partition.size) for a in range(len(alike))])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    part = alike @ shares / np.maximum(shares.sum(axis=0), 1e-300)
    return Cells(dimensions, partition, (part >= majority) & (shares.sum(axis=0) > 0), alike)


def _replaced(found: ActionSet, labels: NDArray[np.int64], values: Tensor, reader: ContextReader, draws: Tensor,
              sure: float, typical: float, threshold: float) -> ActionSet:
    """The actions of the reader's factor and of its context, both on one subspace."""
    factor, context, m = reader.factor, reader.context.factor, len(draws)
    others = [found.of(i)[0].reader for i in range(len(found.factors)) if i not in (factor, context) and found.of(i)]
    own = {*reader.dimensions, *reader.context.dimensions}
    others = [other for other in others if set(other.dimensions) & own
              and (other.read(values) == labels[:, other.factor]).mean() >= READABLE]
    own = sorted(own.union(_of_others_none(found, (factor, context), values), *(other.dimensions for other in others)))
    owners, shape = reader.owners(values), labels[:, context]
    like = np.stack([cells.alike for cells in reader.within])[shape, labels[:, factor]]  # (n, attributes)
    right = reader.context.read(values[:m]) == shape[:m]
    shown = {other: other.read(values[:m]) for other in others}
    near = _neighbours(values[:, own].numpy(), m) if sure < 1 else None

    def action(kind: type, i: int, k: int, of: Reader | ContextReader, partners: Sequence[Reader | ContextReader],
               rows: NDArray[np.int64], shows: NDArray[np.bool_], scores: Ownership) -> SubspaceAction:
        companions = (*partners, *(other for other in others if other is not of))
        seen = np.stack([shown[other] if other in shown else other.read(values[:m]) for other in companions], axis=1)
        agree = np.ones(len(rows))
        if near is not None:
            agree = (shows[near[rows]] & (shape[near[rows]] == shape[rows][:, None])).mean(axis=1)
        rows = _clear(values[:m, own].numpy(), rows, agree, seen[rows], sure, typical)
        return kind(i, k, tuple(own), of, draws[rows][:, own].float(), companions, seen[rows],
                    scores.precision, scores.recall)

    kept = [entry for entry in found.ownership if entry.factor != factor]
    new = [_owned(labels[:, factor] == k, like[:, k], owners[:, k], Ownership(
        factor, k, tuple(own), ((),) * len(own), 0.0, 0.0, 0, None, False), threshold)
        for k in range(found.factors[factor].size)]
    shared = [other.factor for other in others]
    actions = [one for one in found.actions if one.factor not in (factor, context, *shared)]
    for entry in new:
        rows = _where_owned(like[:m, entry.attribute] & right, owners[:m, entry.attribute], shape[:m])
        if entry.owned and len(rows):
            actions.append(action(ContextAction, factor, entry.attribute, reader, (reader.context,), rows,
                                  like[:, entry.attribute], entry))
    for entry in kept:
        rows = np.flatnonzero(right & (shape[:m] == entry.attribute))
        if entry.factor == context and entry.owned and len(rows):
            partner = dataclasses.replace(reader, target=entry.attribute)
            actions.append(action(SubspaceAction, context, entry.attribute, reader.context, (partner,), rows,
                                  shape == entry.attribute, entry))
        for other in [other for other in others if other.factor == entry.factor]:  # it shares codes with the pair
            rows = np.flatnonzero(right & (labels[:m, entry.factor] == entry.attribute)
                                  & (shown[other] == entry.attribute))
            if entry.owned and len(rows):
                actions.append(action(SubspaceAction, entry.factor, entry.attribute, other, (reader.context, reader),
                                      rows, labels[:, entry.factor] == entry.attribute, entry))
    place = attrgetter("factor", "attribute")
    return dataclasses.replace(found, actions=tuple(sorted(actions, key=place)),
                               ownership=tuple(sorted([*kept, *new], key=place)))


def _of_others_none(found: ActionSet, pair: tuple[int, int], values: Tensor) -> set[int]:
    """Codes that vary and that no factor but the pair has. Such a code may tell too little to be chosen by any; but if
    the generator looks at it for a shape or an angle, and it stays as it was, it says another one than was ordered."""
    taken = {d for entry in found.ownership if entry.factor not in pair for d in entry.dimensions}
    spread = values.std(dim=0)
    return {d for d in range(values.shape[1]) if spread[d] > AWAKE * spread.max() and d not in taken}


def _where_owned(rows: NDArray[np.bool_], owned: NDArray[np.bool_], context: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the rows (n,) of an attribute those in cells that it owns; in a context where hardly any is, all."""
    kept = rows & owned
    for k in np.unique(context):
        if kept[context == k].sum() < LEAST_SUPPORT:
            kept |= rows & (context == k)
    return np.flatnonzero(kept)


def _owned(shows: NDArray[np.bool_], like: NDArray[np.bool_], inside: NDArray[np.bool_], entry: Ownership,
           threshold: float) -> Ownership:
    """What an attribute owns in all contexts: of what lies inside, the share that looks like it; of what shows it,
    the share that lies inside."""
    precision = float(like[inside].mean()) if inside.any() else 0.0
    recall = float(inside[shows].mean()) if shows.any() else 0.0
    entry = dataclasses.replace(entry, precision=precision, recall=recall, support=int((inside & shows).sum()))
    return dataclasses.replace(entry, owned=entry.support >= LEAST_SUPPORT and entry.f1 >= threshold)
