"""A world small enough to check a theorem on: every picture can be listed, so sets can be compared as sets.

`FiniteWorld` is a small grid cut out of a larger world. `FiniteModel` is a pair (h, G) of it: two tables,
perfect by construction, that can be made worse by stated degrees. Neither is trained and neither approximates
anything, so what Eqs. 1 to 3 give on them is exact, while the code that computes these equations is the one
that trained models go through. Chapter 1 executes the proof of the lower bound here.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from scipy.stats import chi2
from torch import Tensor

from . import clustering
from .actions import ActionSet, find_actions, find_partitions
from .errors import InputError, suggest
from .worlds.base import Factor, World

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        self._row = {picture.tobytes(): row for row, picture in enumerate(self.observations.numpy())}
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
        found = [self._row.get(picture.tobytes(), -1) for picture in observations.float().cpu().numpy()]
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

    def mask(self, clusters: Sequence[frozenset[int]]) -> Tensor:
        """Which pictures any of the clusters holds: bool (n_states,), in the order of `grid()`."""
        held = torch.zeros(self.n_states, dtype=torch.bool)
        held[sorted(frozenset().union(*clusters))] = True
        return held


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


@dataclass(frozen=True)
class Bound:
    """The clusters of Eqs. 1 to 3 of one factor as sets of rows of a finite world; a set per attribute.

    Attributes:
        whole: all pictures that show the attribute, in the data or not.
        explicit, reconstructed, implicit: Eqs. 1, 2 and 3.
        redrawn: share of the dataset's pictures that come back as themselves, G(h(o)) = o.
        returned: share that do so and are sorted into their own cluster.
    """

    whole: list[frozenset[int]]
    explicit: list[frozenset[int]]
    reconstructed: list[frozenset[int]]
    implicit: list[frozenset[int]]
    redrawn: float
    returned: float

    def shares(self) -> dict[str, float]:
        """The numbers that chapter 1 draws: see the text there for each."""
        return {
            "redrawn": self.redrawn, "returned": self.returned,
            "reconstructed_kept": share_kept(self.reconstructed, self.explicit),
            "implicit_kept": share_kept(self.implicit, self.explicit),
            "reconstructed_right": share_right(self.reconstructed, self.whole),
            "implicit_right": share_right(self.implicit, self.whole),
            "explicit_covers": share_kept(self.explicit, self.whole),
            "implicit_covers": share_kept(self.implicit, self.whole),
        }


def measure_bound(model: FiniteModel, states: Tensor, actions: ActionSet, *, factor: int = 0, draws: int,
                  sampling: str = "encoded", generator: torch.Generator | None = None) -> Bound:
    """Run Eqs. 1 to 3 on a dataset of a finite world, through the functions that trained models go through.

    Args:
        model: perfect or degraded.
        states: int64 (n, M), the dataset.
        actions: the atomic actions; a factor's attribute without one has empty clusters in Eqs. 2 and 3.
        factor: index of the factor that is clustered by.
        draws: pictures drawn per attribute in Eq. 3; 0 leaves Eq. 3 out. With N codes to act on, a given
            member is missed with chance (1 - 1/N)^draws.
        sampling: "encoded" or "partitions", as in `clustering.implicit_clusters`.
        generator: source of the draws.
    """
    world, n = model.world, model.world.sizes[factor]
    pictures = world.render(states)
    codes = model.encode(pictures)
    explicit = clustering.explicit_clusters(pictures, states, factor)
    reconstructed = clustering.reconstructed_clusters(model, pictures, actions, factor)
    implicit: list[frozenset[int]] = [frozenset()] * n
    if actions.of(factor) and len(states) and draws:
        stream = clustering.implicit_clusters(model, actions, draws, factor=factor, codes=codes,
                                              sampling=sampling, generator=generator, batch_size=512)
        for images, labels, _ in stream:
            batch = world.as_sets(images, labels, n)
            implicit = [held | new for held, new in zip(implicit, batch, strict=True)]
    redrawn = world.identify(model.decode(codes)) == world.rows(states)
    own = torch.zeros(len(states), dtype=torch.bool)
    for action in actions.of(factor):
        own |= torch.as_tensor(action.present(codes)) & (states[:, factor] == action.attribute)
    return Bound(
        whole=world.as_sets(world.observations, world.grid()[:, factor], n),
        explicit=world.as_sets(explicit.observations, explicit.labels, n),
        reconstructed=world.as_sets(reconstructed.observations, reconstructed.labels, n),
        implicit=implicit,
        redrawn=redrawn.float().mean().item(),
        returned=(redrawn & own).float().mean().item(),
    )


DEGREES = ("kept", "h_error", "g_error", "blur", "rotation")


def sweep(world: FiniteWorld, degree: str, values: Sequence[float], *, actions: ActionSet | None,
          factor: int = 0, repeats: int, draws: int, seed: int, sampling: str = "encoded",
          blur: float = 0.05) -> pd.DataFrame:
    """`measure_bound` at every value of one degree, several times.

    Args:
        degree: "kept", the chance that a combination is in the data; or "h_error", "g_error", "blur" or
            "rotation" of `FiniteModel`, with every combination in the data.
        values: of the degree.
        actions: known actions; None finds them anew from each model's own codes.
        repeats: fresh draws of errors and holes per value, independent from value to value.
        blur: displacement of codes where the degree is another one.

    Returns:
        A row per (value, repeat), the columns of `Bound.shares`, and `owned`, the share of attributes that
        own an action.
    """
    if degree not in DEGREES:
        raise suggest("degree", degree, DEGREES)
    rows = {}
    for place, value in enumerate(values):
        for repeat in range(repeats):
            generator = torch.Generator().manual_seed((seed * 1000 + place) * 100_003 + repeat)
            kept = torch.rand(world.n_states, generator=generator) < (value if degree == "kept" else 1.0)
            options = {"blur": blur} | ({} if degree == "kept" else {degree: value})
            model = FiniteModel(world, factor=factor, generator=generator, **options)
            states = world.grid()[kept]
            found = actions
            if found is None:
                codes = model.encode(world.render(states))
                found = find_actions(states, codes, find_partitions(codes), world.factors)
            bound = measure_bound(model, states, found, factor=factor, draws=draws, sampling=sampling,
                                  generator=generator)
            rows[value, repeat] = bound.shares() | {"owned": len(found.of(factor)) / world.sizes[factor]}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=[degree, "repeat"])
    return frame


def spread(frame: pd.DataFrame, columns: Mapping[str, str], *, share: float = 0.8) -> dict:
    """Mean curves and bands that hold the middle `share` of the repeats, as `plots.bound_curve` takes them.

    Args:
        frame: from `sweep`.
        columns: name in the figure -> column of the frame.
    """
    by_value = frame.groupby(level=0)
    mean, low, high = by_value.mean(), by_value.quantile((1 - share) / 2), by_value.quantile((1 + share) / 2)
    return {"x": mean.index.to_numpy(), "curves": {name: mean[column] for name, column in columns.items()},
            "bands": {name: (low[column], high[column]) for name, column in columns.items()}}


def agrees(frame: pd.DataFrame, column: str, law: Callable[[float], float], *, units: int,
           tolerance: float = 0.005, level: float = 1e-4) -> bool:
    """Whether measured shares are what a law derived on paper says: one chi-square test over all values.

    The standard error is the law's own, sqrt(P (1 - P) / (units * repeats)), not the sample's: where a miss is
    rare, no repeat may show one, and a sample's spread of 0 would reject a law that is exactly right.

    Args:
        frame: from `sweep`.
        column: a share, the mean of independent units.
        law: from a value of the degree to the chance P.
        units: independent units in one repeat (pictures; columns where pictures of a column depend on each
            other, which is on the safe side).
        tolerance: of each share, for what finitely many draws miss; gaps are counted beyond it.
        level: chance of rejecting a law that is right, at most about this.
    """
    by_value = frame[column].groupby(level=0)
    mean, repeats = by_value.mean(), by_value.count()
    chance = pd.Series([float(law(value)) for value in mean.index], mean.index)
    gap = ((mean - chance).abs() - tolerance).clip(lower=0)
    variance = chance * (1 - chance) / (units * repeats)
    if (gap[variance <= 0] > 0).any():
        return False
    score = (gap ** 2 / variance)[variance > 0].sum()
    return bool(score <= chi2.isf(level, max((variance > 0).sum(), 1)))


def overlay(figure: Figure, laws: Mapping[str, Callable[[Tensor], Tensor]], *, colour: str) -> Figure:
    """Draw laws derived on paper, dashed, over the measured curves of a figure; its alt text names them."""
    axes = figure.axes[0]
    x = torch.linspace(*axes.dataLim.intervalx.tolist(), 200)
    for law in laws.values():
        axes.plot(x, law(x) + 0 * x, color=colour, linewidth=1.1, linestyle=(0, (4, 3)), zorder=4)
    figure.alt += f" Dashed, derived beforehand: {', '.join(laws)}."
    return figure


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


LONGEST_NAME = 12  # characters at the head of a column


@dataclass(frozen=True)
class Held:
    """Which combinations of a factor's attributes with contexts a dataset and its implicit clusters hold.

    Attributes:
        contexts: int64 (columns, M - 1), the attributes of the other factors, in their order.
        names: what to write at the columns: the attributes' values if that is short, else numbers from 1.
        explicit: bool (attributes, columns), the combination is in the data.
        implicit: bool (attributes, columns), acting on the factor reaches it from the data.
        occurring, total: contexts that occur in the data, and contexts of the whole grid.
    """

    contexts: Tensor
    names: list[str]
    explicit: Tensor
    implicit: Tensor
    occurring: int
    total: int


def contexts_held(states: Tensor, factors: Sequence[Factor], factor: int, *, most: int = 20) -> Held:
    """The paper's Figure 2 of a dataset: a row per attribute of the factor, a column per context.

    Args:
        states: int64 (n, M), n >= 1.
        factors: the M factors.
        factor: index of the factor that is clustered by.
        most: columns at most. A grid with more contexts is shown by that many of those that occur in the
            data, evenly spaced.
    """
    others = [j for j in range(len(factors)) if j != factor]
    total = math.prod(factors[j].size for j in others)
    seen = torch.unique(states[:, others], dim=0) if others else torch.zeros(1, 0, dtype=torch.int64)
    if total <= most:
        contexts = torch.cartesian_prod(*(torch.arange(factors[j].size) for j in others)) if others else seen
        contexts = contexts.reshape(total, len(others))
    else:
        contexts = seen[torch.linspace(0, len(seen) - 1, min(most, len(seen))).round().long()]
    column_of = {tuple(context): column for column, context in enumerate(contexts.tolist())}
    explicit = torch.zeros(factors[factor].size, len(contexts), dtype=torch.bool)
    for state in torch.unique(states, dim=0).tolist():
        column = column_of.get(tuple(state[j] for j in others))
        if column is not None:
            explicit[state[factor], column] = True
    attributes = torch.zeros(factors[factor].size, 1, dtype=torch.bool)
    attributes[states[:, factor]] = True
    shown = [[factors[j].values[a] for j, a in zip(others, context, strict=True)] for context in column_of]
    names = [" ".join(value if isinstance(value, str) else f"{value:.3g}" for value in values) or "any"
             for values in shown]
    if max(map(len, names)) > LONGEST_NAME:
        names = [str(number + 1) for number in range(len(names))]
    return Held(contexts, names, explicit, explicit.any(0) & attributes, len(seen), total)
