"""A world small enough to check a theorem on: every picture can be listed, so sets can be compared as sets.

`FiniteWorld` is a small grid cut out of a larger world. `FiniteModel` is a pair (h, G) of it: two tables,
perfect by construction, that can be made worse by stated degrees. Neither is trained and neither approximates
anything, so what Eqs. 1 to 3 give on them is exact, while the code that computes these equations is the one
that trained models go through. Chapter 1 executes the proof of the lower bound here.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from .errors import InputError, suggest
from .worlds.base import Factor, World


class FiniteWorld(World):
    """A grid cut out of a world: some attributes of some factors, the others held at one attribute.

    Its pictures are rendered once and kept, so equal states give equal bytes and a picture can be recognised.

    Args:
        parent: a world that can render any of its states.
        attributes: per factor name the attribute indices to keep, in the order the new world shall have.
        held: per factor name the attribute index of a factor that does not vary; 0 where none is given.
        name: as printed.

    Raises:
        InputError: a factor or an attribute that `parent` does not have, or two states that look the same.
    """

    def __init__(self, parent: World, attributes: Mapping[str, Sequence[int]], *,
                 held: Mapping[str, int] | None = None, name: str = "finite") -> None:
        held = dict(held or {})
        if both := set(attributes) & set(held):
            raise InputError(f"factor {min(both)!r} is both varied and held: name it in one of the two.")
        column_of = {factor.name: i for i, factor in enumerate(parent.factors)}
        kept = {factor: _checked(parent, factor, indices) for factor, indices in attributes.items()}
        self.name, self.source = name, parent.source
        self.channels, self.image_size = parent.channels, parent.image_size
        originals = [parent.factors[column_of[factor]] for factor in kept]
        self.factors = tuple(Factor(original.name, tuple(original.values[i] for i in indices), original.kind)
                             for original, indices in zip(originals, kept.values(), strict=True))
        grid = self.grid()
        whole = torch.zeros(len(grid), len(parent.factors), dtype=torch.int64)
        for factor, index in held.items():
            whole[:, column_of[factor]] = _checked(parent, factor, (index,))[0]
        for column, (factor, indices) in zip(grid.T, kept.items(), strict=True):
            whole[:, column_of[factor]] = torch.tensor(indices)[column]
        self.observations = parent.render(whole).float().cpu()
        self._row = {picture.numpy().tobytes(): row for row, picture in enumerate(self.observations)}
        if len(self._row) < len(grid):
            raise InputError(f"the grid cut out of {parent.name!r} has {len(grid)} states but only "
                             f"{len(self._row)} different pictures: b must be injective here, so keep "
                             "attributes that can be told apart.")

    def rows(self, states: Tensor) -> Tensor:
        """Position of states (n, M) in `grid()`: int64 (n,)."""
        row = torch.zeros(len(states), dtype=torch.int64)
        for column, size in enumerate(self.sizes):
            row = row * size + states[:, column].cpu()
        return row

    def render(self, states: Tensor) -> Tensor:
        """The stored pictures of states (n, M): float32 (n, C, H, W) in [0, 1]."""
        return self.observations[self.rows(states)]

    def identify(self, observations: Tensor) -> Tensor:
        """b^-1: the row in `grid()` of each picture (n, C, H, W), by its bytes: int64 (n,).

        Raises:
            InputError: a picture that is not one of this world's, to the last bit.
        """
        pictures = observations.float().cpu().contiguous()
        found = [self._row.get(picture.numpy().tobytes(), -1) for picture in pictures]
        if -1 in found:
            raise InputError(f"picture {found.index(-1)} is none of the {self.n_states} of world "
                             f"{self.name!r}: a finite world recognises exact copies only; "
                             "pass pictures that it rendered.")
        return torch.tensor(found, dtype=torch.int64)

    def as_sets(self, observations: Tensor, labels: Tensor, n_clusters: int) -> list[frozenset[int]]:
        """Labelled pictures as sets: cluster k holds the rows of its pictures, doubles counted once."""
        rows = self.identify(observations).tolist()
        members: list[set[int]] = [set() for _ in range(n_clusters)]
        for row, label in zip(rows, torch.as_tensor(labels).tolist(), strict=True):
            members[label].add(row)
        return [frozenset(cluster) for cluster in members]


def _checked(parent: World, factor: str, indices: Sequence[int]) -> tuple[int, ...]:
    """Attribute indices that the parent's factor of that name has, each once."""
    sizes = {known.name: known.size for known in parent.factors}
    if factor not in sizes:
        raise suggest("factor", factor, sizes)
    indices = tuple(indices)
    if not indices or len(set(indices)) < len(indices) or not set(indices) <= set(range(sizes[factor])):
        raise InputError(f"factor {factor!r} of {parent.name!r} cannot be cut to attributes {indices}: "
                         f"expected different numbers from 0 to {sizes[factor] - 1}.")
    return indices


class FiniteModel:
    """h and G of a finite world: perfect, or worse by stated degrees.

    Code dimension j carries factor j, attribute a at position a: the centre of its partition
    [a - 1/2, a + 1/2). With every degree at 0, h is the exact inverse of b followed by these positions, and G
    draws what it is told, so G(h(o)) = o for each picture. The same generator seed gives nested errors:
    whatever is wrong at one degree is still wrong at a higher one.

    Args:
        world: the finite world.
        factor: index of the factor whose attributes are mistaken.
        h_error: chance, per picture, that h reads another attribute of the factor (each equally likely).
        g_error: chance, per state, that G draws another attribute of the factor (each equally likely).
        blur: standard deviation of a fixed displacement of each picture's code; neighbours are 1 apart.
        rotation: degrees by which the code space is turned, about the grid's centre, in the plane of `factor`
            and the next factor. G turns back, so reconstruction stays perfect while dimensions mix factors.
        generator: source of the errors and displacements.

    Raises:
        InputError: a chance outside [0, 1], a negative blur, or a factor that does not exist.
    """

    name = "finite"
    needs_pairs = False

    def __init__(self, world: FiniteWorld, *, factor: int = 0, h_error: float = 0.0, g_error: float = 0.0,
                 blur: float = 0.0, rotation: float = 0.0, generator: torch.Generator | None = None) -> None:
        for what, chance in (("h_error", h_error), ("g_error", g_error)):
            if not 0.0 <= chance <= 1.0:
                raise InputError(f"{what} = {chance} is not a chance: expected a number from 0 to 1.")
        if not blur >= 0.0:
            raise InputError(f"blur = {blur} is not a standard deviation: expected 0 or more.")
        n_factors = len(world.factors)
        if not 0 <= factor < n_factors:
            raise InputError(f"factor = {factor} does not exist in world {world.name!r}: "
                             f"expected a number from 0 to {n_factors - 1}.")
        if (h_error or g_error) and world.sizes[factor] < 2:
            raise InputError(f"factor {world.factors[factor].name!r} has one attribute: "
                             "there is none it could be mistaken for.")
        self.world, self.n_codes = world, n_factors
        self.config = {"factor": factor, "h_error": h_error, "g_error": g_error, "blur": blur,
                       "rotation": rotation}
        self.provenance: dict = {}
        self._sizes = torch.tensor(world.sizes)
        self._turn = _rotation(n_factors, factor, (factor + 1) % n_factors, rotation)
        read = self._mistake(h_error, factor, generator)
        drawn = self._mistake(g_error, factor, generator)
        displacement = torch.randn(world.n_states, n_factors, generator=generator)
        self._codes = self._rotate(read + blur * displacement, self._turn)
        self._drawn = world.rows(drawn)

    def encode(self, observations: Tensor) -> Tensor:
        """h: codes (n, M) float32 of this world's pictures (n, C, H, W)."""
        return self._codes[self.world.identify(observations)]

    def decode(self, codes: Tensor) -> Tensor:
        """G: the picture (n, C, H, W) of the state nearest to each code (n, M)."""
        cells = torch.floor(self._rotate(codes.cpu(), self._turn.T).double() + 0.5).long()
        cells = torch.minimum(cells.clamp(min=0), self._sizes - 1)
        return self.world.observations[self._drawn[self.world.rows(cells)]]

    def _mistake(self, chance: float, factor: int, generator: torch.Generator | None) -> Tensor:
        """All states (n, M), the factor replaced by another of its attributes with the given chance."""
        states, size = self.world.grid(), self.world.sizes[factor]
        wrong = torch.rand(len(states), generator=generator) < chance
        shift = 1 + (torch.rand(len(states), generator=generator) * (size - 1)).long()
        states[:, factor] = torch.where(wrong, (states[:, factor] + shift) % size, states[:, factor])
        return states

    def _rotate(self, codes: Tensor, turn: Tensor) -> Tensor:
        centre = (self._sizes - 1) / 2
        return ((codes.double() - centre) @ turn.T + centre).float()


def _rotation(n: int, i: int, j: int, degrees: float) -> Tensor:
    """The (n, n) matrix that turns the plane of axes i and j; the identity where i == j."""
    turn = torch.eye(n, dtype=torch.float64)
    if i != j:
        turn[i, i] = turn[j, j] = math.cos(math.radians(degrees))
        turn[j, i] = math.sin(math.radians(degrees))
        turn[i, j] = -turn[j, i]
    return turn


def share_kept(clusters: Sequence[frozenset[int]], wanted: Sequence[frozenset[int]]) -> float:
    """Recall: of the members of each wanted cluster, the share that the cluster of the same number holds.

    >>> share_kept([frozenset({1, 2, 9})], [frozenset({1, 2, 3, 4})])
    0.5
    """
    return _share(wanted, clusters)


def share_right(clusters: Sequence[frozenset[int]], right: Sequence[frozenset[int]]) -> float:
    """Precision: of the members of each cluster, the share that the right cluster of that number holds too.

    NaN where the clusters are all empty.
    """
    return _share(clusters, right)


def _share(of: Sequence[frozenset[int]], within: Sequence[frozenset[int]]) -> float:
    total = sum(len(cluster) for cluster in of)
    shared = sum(len(cluster & other) for cluster, other in zip(of, within, strict=True))
    return shared / total if total else math.nan


def dataset_states(world: World, n: int, generator: torch.Generator | None = None) -> Tensor:
    """The states of a dataset: every label of a world read from files, or n states drawn from another one.

    Raises:
        InputError: the world has no factor labels.
    """
    if not world.factors:
        raise InputError(f"world {world.name!r} has no factor labels: "
                         "combinations cannot be counted without them.")
    labels = getattr(world, "labels", None)
    return world.states(n, generator) if labels is None else torch.as_tensor(labels).long()


def reach(states: Tensor, factors: Sequence[Factor]) -> pd.DataFrame:
    """Which combinations a dataset holds, and which its implicit clusters hold with a perfect h and G.

    Acting on one factor gives each seen context (the attributes of all other factors) each seen attribute;
    drawing every code dimension from its partitions gives the product of all seen attributes (chapter 1).

    Args:
        states: int64 (n, M), n >= 1.
        factors: the M factors.

    Returns:
        A row per factor: `attributes` (their number), `attributes_seen`; of all combinations of the grid the
        share in the data (`explicit`), reached by acting on this factor (`one_factor`) and reached from the
        partitions (`partitions`); `recovered`, the share of the missing combinations that acting on it adds
        (NaN where none is missing).
    """
    if len(states) == 0 or states.shape[1] != len(factors):
        raise InputError(f"states of shape {tuple(states.shape)} do not go with {len(factors)} factors: "
                         "expected one row or more and a column per factor.")
    total = math.prod(factor.size for factor in factors)
    present = len(torch.unique(states, dim=0))
    seen = [len(torch.unique(column)) for column in states.T]
    rows = []
    for i, factor in enumerate(factors):
        others = [j for j in range(len(factors)) if j != i]
        contexts = len(torch.unique(states[:, others], dim=0)) if others else 1
        reached = contexts * seen[i]
        recovered = (reached - present) / (total - present) if total > present else math.nan
        rows.append({"factor": factor.name, "attributes": factor.size, "attributes_seen": seen[i],
                     "explicit": present / total, "one_factor": reached / total,
                     "partitions": math.prod(seen) / total, "recovered": recovered})
    return pd.DataFrame(rows).set_index("factor")


@dataclass(frozen=True)
class Held:
    """Which combinations of a factor's attributes with contexts a dataset and its implicit clusters hold.

    Attributes:
        contexts: int64 (columns, M - 1), the attributes of the other factors, in their order.
        explicit: bool (attributes, columns), the combination is in the data.
        implicit: bool (attributes, columns), acting on the factor reaches it from the data.
    """

    contexts: Tensor
    explicit: Tensor
    implicit: Tensor


def contexts_held(states: Tensor, factors: Sequence[Factor], factor: int, *, most: int = 40) -> Held:
    """The paper's Figure 2 of a dataset: a row per attribute of the factor, a column per context.

    Args:
        states: int64 (n, M).
        factors: the M factors.
        factor: index of the factor that is clustered by.
        most: columns at most; of more contexts these many are taken, evenly spaced over the whole grid.
    """
    others = [j for j in range(len(factors)) if j != factor]
    total = math.prod(factors[j].size for j in others)
    columns = min(most, total)
    picked = [i * (total - 1) // max(columns - 1, 1) for i in range(columns)]
    contexts = torch.tensor([_unravel(index, [factors[j].size for j in others]) for index in picked])
    contexts = contexts.reshape(columns, len(others)).long()
    column_of = {tuple(context): column for column, context in enumerate(contexts.tolist())}
    explicit = torch.zeros(factors[factor].size, columns, dtype=torch.bool)
    seen = torch.zeros(factors[factor].size, dtype=torch.bool)
    seen[states[:, factor]] = True
    for state in torch.unique(states, dim=0).tolist():
        column = column_of.get(tuple(state[j] for j in others))
        if column is not None:
            explicit[state[factor], column] = True
    return Held(contexts, explicit, explicit.any(0) & seen[:, None])


def _unravel(index: int, sizes: Sequence[int]) -> list[int]:
    """Attributes of the index-th combination, the last factor fastest (a grid may exceed 64 bits)."""
    digits = []
    for size in reversed(sizes):
        index, digit = divmod(index, size)
        digits.append(digit)
    return digits[::-1]
