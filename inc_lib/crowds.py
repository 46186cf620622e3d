"""Atomic actions of a crowd, and scores of the paths that are made by them.

Factors are where a walk starts and where it goes. Both are known (the relaxed setting of the paper's appendix:
h* is given), so what is left of the clustering is to find their attributes: DBSCAN partitions the starts and the
goals, a normal distribution on each partition makes it an `AtomicAction`, and `clustering.implicit_clusters` is
Algorithm 1 as for images.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import DBSCAN
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from .actions import ActionSet, AtomicAction, Ownership, Piece, Region
from .clustering import Model, collect, implicit_clusters
from .errors import InputError, suggest
from .partitions import Partitioning
from .worlds import Factor
from .worlds.crowds import LEAST_WAY, Paths, count_positions, path_ends

__all__ = [
    "EndPartitions",
    "Station",
    "arrival_rate",
    "copies",
    "end_actions",
    "energy_distance",
    "find_station",
    "histogram_scores",
    "k_distances",
    "knee",
    "make_routes",
    "min_ade_fde",
    "partition_ends",
    "path_distances",
    "resample",
    "route_scores",
    "speeds",
    "split_partitions",
    "straight_lines",
    "total_variation",
    "turning",
    "walk_scores",
]

ENDS = {"start": (0, 1), "goal": (2, 3)}  # columns of the codes
DRAWS = 10_000  # codes drawn beforehand for an action whose distribution is no product


# --- partitions ---


def k_distances(points: ArrayLike, k: int) -> NDArray[np.float64]:
    """Distance of each point (n, 2) to its k-th nearest other, sorted: (n,)."""
    points = np.asarray(points, dtype=np.float64)
    if not 1 <= k < len(points):
        raise InputError(
            f"the distance to neighbour {k} of {len(points)} points does not exist: expected k from 1 to "
            f"{len(points) - 1}."
        )
    return np.sort(NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, -1])


def knee(curve: ArrayLike) -> float:
    """The value at which a rising curve bends most: farthest below the line from its first to its last value.

    Ester et al. (1996) read DBSCAN's eps off the sorted k-distances by eye; this is the same place by a rule, the
    distance from the chord, as Satopaa et al. (2011) find a curve's knee.
    """
    curve = np.asarray(curve, dtype=np.float64)
    if len(curve) < 3 or curve[-1] <= curve[0]:
        return float(curve[-1])
    below = np.linspace(0, 1, len(curve)) - (curve - curve[0]) / (curve[-1] - curve[0])
    return float(curve[below.argmax()])


@dataclass(frozen=True, eq=False)
class EndPartitions:
    """The starts, or the goals, partitioned.

    Attributes:
        labels: int64 (n,), the partition of each path, numbered from the fullest; -1 is noise.
        eps, k: of DBSCAN.
        curve: the sorted k-distances.
        counts: paths in each partition.
    """

    labels: NDArray[np.int64]
    eps: float
    k: int
    curve: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def names(self) -> tuple[str, ...]:
        """A, B, C, ..., the fullest first."""
        return tuple(chr(65 + i) if i < 26 else f"P{i}" for i in range(len(self.counts)))


def partition_ends(points: ArrayLike, *, k: int | None = None, eps: float | None = None) -> EndPartitions:
    """Partition the starts or goals (n, 2) by DBSCAN (Ester et al. 1996).

    Args:
        k: points that make a place dense; default n / 200, at least 10.
        eps: metres; default the knee of the k-distances.

    Raises:
        InputError: too few points, or not one dense place among them.
    """
    points = np.asarray(points, dtype=np.float64)
    k = max(10, len(points) // 200) if k is None else k
    curve = k_distances(points, k)
    eps = knee(curve) if eps is None else eps
    found = DBSCAN(eps=eps, min_samples=k).fit_predict(points)
    if not (found >= 0).any():
        raise InputError(
            f"DBSCAN finds no place within {eps:.1f} m of which {k} of {len(points):,} paths begin or end: "
            "give another eps or k."
        )
    labels, counts = _by_size(found)
    return EndPartitions(labels, float(eps), k, curve, counts)


def _by_size(labels: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels (n,) numbered anew from the fullest, -1 kept; and how many there are of each."""
    counts = np.bincount(labels[labels >= 0])
    order = np.argsort(-counts, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.where(labels < 0, -1, rank[labels]).astype(np.int64), counts[order]


# --- atomic actions ---


def end_actions(ends: Tensor, partitions: Mapping[str, EndPartitions]) -> ActionSet:
    """The atomic actions of the factors start and goal: on each partition a normal distribution.

    A partition of DBSCAN is a set of places in the plane, so its action owns two dimensions, x and y; the region is
    the box around it, and the distribution a normal one in each dimension, cut off at the box.

    Args:
        ends: (n, 4), the codes.
        partitions: of "start" and "goal", of the same paths.
    """
    codes = ends.double().numpy()
    factors = tuple(Factor(name, partitions[name].names) for name in ENDS)
    ownership, actions = [], []
    for i, name in enumerate(ENDS):
        labels = partitions[name].labels
        for attribute in range(factors[i].size):
            points = codes[labels == attribute][:, ENDS[name]]
            regions = tuple(_region(dimension, points[:, k]) for k, dimension in enumerate(ENDS[name]))
            inside = np.ones(len(codes), dtype=bool)
            for region in regions:
                inside &= region.contains(ends[:, region.dimension]).numpy()
            shares = np.array(
                [(inside & (labels == j)).sum() / (labels == j).sum() for j in range(factors[i].size)]
            )
            precision, recall = shares[attribute] / shares.sum(), shares[attribute]
            others = np.where(np.arange(len(shares)) == attribute, 0, shares)
            rival = int(others.argmax()) if others.any() else None
            ownership.append(
                Ownership(i, attribute, ENDS[name], ((0,), (0,)), precision, recall, len(points), rival, True)
            )
            actions.append(AtomicAction(i, attribute, regions, "normal", precision, recall))
    return _action_set(factors, actions, ownership, codes)


def _region(dimension: int, values: NDArray[np.float64]) -> Region:
    """The interval that holds all values, and their normal distribution."""
    low, high = float(values.min()), float(np.nextafter(np.float32(values.max()), np.float32(np.inf)))
    piece = Piece(low, high, 1.0, float(values.mean()), float(values.std()), low, float(values.max()))
    return Region(dimension, (0,), (piece,))


def _action_set(
    factors: tuple[Factor, ...],
    actions: Sequence[AtomicAction],
    ownership: Sequence[Ownership],
    codes: NDArray[np.float64],
) -> ActionSet:
    n = codes.shape[1]
    nothing = tuple(np.array([], dtype=np.float32) for _ in range(n))
    partitioning = Partitioning(
        nothing, tuple((np.array([]), np.array([])) for _ in range(n)), (math.nan,) * n, (False,) * n
    )
    marginals = tuple(_region(dimension, codes[:, dimension]) for dimension in range(n))
    return ActionSet(
        factors,
        tuple(actions),
        tuple(ownership),
        np.zeros((n, len(factors))),
        partitioning,
        "normal",
        marginals,
    )


@dataclass(frozen=True, eq=False)
class Station:
    """What the training paths of a crowd tell about where people come from and go to; see `find_station`.

    Attributes:
        paths: the training paths.
        partitions: of "start" and "goal".
        places: the atomic actions of the factors start and goal.
        pairs: the most frequent (start, goal) pairs, the most frequent first.
        counts: how many paths each (start, goal) pair has: int64 (starts, goals).
    """

    paths: Paths
    partitions: Mapping[str, EndPartitions]
    places: ActionSet
    pairs: tuple[tuple[int, int], ...]
    counts: NDArray[np.int64]

    def name(self, pair: tuple[int, int]) -> str:
        """A route as printed: "A → c", starts in capitals, goals in small letters."""
        return f"{self.partitions['start'].names[pair[0]]} → {self.partitions['goal'].names[pair[1]].lower()}"

    def members(self, ends: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """Which codes (n, 4) hold one of the pairs, that is, lie in both of its regions: bool (n,)."""
        inside = torch.zeros(len(ends), dtype=torch.bool)
        for pair in pairs:
            start, goal = self._actions(pair)
            inside |= start.present(ends) & goal.present(ends)
        return inside

    def unseen(self, n: int) -> list[tuple[int, int]]:
        """Up to n pairs that no training path walks, those first that independence would make most frequent.

        Pairs of places nearer than `worlds.crowds.LEAST_WAY` are no routes: such paths were left out of the data.
        """
        start, goal = (self.partitions[name].counts for name in ENDS)
        order = np.argsort(-np.outer(start, goal), axis=None, kind="stable")
        found = []
        for pair in zip(*(axis.tolist() for axis in np.unravel_index(order, self.counts.shape)), strict=True):
            middles = [[region.pieces[0].mean for region in action.regions] for action in self._actions(pair)]
            if not self.members(self.paths.ends, [pair]).any() and math.dist(*middles) >= LEAST_WAY:
                found.append(pair)
        return found[:n]

    def routes(
        self, pairs: Sequence[tuple[int, int]], distribution: str = "normal", *, seed: int = 0
    ) -> ActionSet:
        """One factor, the route: an attribute is a pair, its action sets start and goal at once, all four dimensions.

        Args:
            pairs: (start, goal) attributes. For "normal" they need not occur in the data.
            distribution: "normal", the paper's: a normal distribution for each partition, start and goal independent;
                "observed": observed starts and goals of the partitions, independent; "joint": a mixture of normal
                distributions over all four dimensions, fitted to the ends of those who walk this route, as many as the
                BIC asks for.
            seed: of the mixture's fit and draws.

        Raises:
            InputError: another distribution, or "joint" for a pair with fewer than five paths.
        """
        if distribution not in ("normal", "observed", "joint"):
            raise suggest("distribution", distribution, ("normal", "observed", "joint"))
        ends, actions = self.paths.ends, []
        for k, pair in enumerate(pairs):
            start, goal = self._actions(pair)
            rows = None
            if distribution == "observed":
                generator = torch.Generator().manual_seed(seed)
                held = [
                    ends[torch.from_numpy(self.partitions[name].labels == attribute)][:, list(ENDS[name])]
                    for name, attribute in zip(ENDS, pair, strict=True)
                ]
                rows = torch.cat(
                    [part[torch.randint(len(part), (DRAWS,), generator=generator)] for part in held], dim=1
                )
            elif distribution == "joint":
                own = ends[self.members(ends, [pair])]
                if len(own) < 5:
                    raise InputError(
                        f"{len(own)} training paths walk {self.name(pair)}: too few to fit a joint distribution; "
                        "use distribution='normal', which needs each end alone."
                    )
                rows = _draws(own, (*start.regions, *goal.regions), seed)
            actions.append(
                AtomicAction(
                    0, k, start.regions + goal.regions, "normal" if rows is None else "empirical", rows=rows
                )
            )
        factor = Factor("route", tuple(self.name(pair) for pair in pairs))
        return replace(self.places, factors=(factor,), actions=tuple(actions), ownership=())

    def _actions(self, pair: tuple[int, int]) -> list[AtomicAction]:
        return [self.places.of(name)[attribute] for name, attribute in zip(ENDS, pair, strict=True)]


def find_station(paths: Paths, *, n_routes: int = 10, split: bool = False) -> Station:
    """Partition the starts and goals of training paths, make them actions, keep the most frequent pairs.

    Args:
        n_routes: pairs to keep.
        split: whether a partition that one normal distribution does not describe is split further, see
            `split_partitions`.

    Raises:
        InputError: no dense place, or fewer than two pairs that five paths have.
    """
    ends = paths.ends
    partitions = {name: partition_ends(ends[:, list(columns)]) for name, columns in ENDS.items()}
    if split:
        partitions = {name: split_partitions(partitions[name], ends[:, list(ENDS[name])]) for name in ENDS}
    places = end_actions(ends, partitions)
    labels = [partitions[name].labels for name in ENDS]
    counts = np.zeros([len(partitions[name].counts) for name in ENDS], dtype=np.int64)
    both = (labels[0] >= 0) & (labels[1] >= 0)
    np.add.at(counts, (labels[0][both], labels[1][both]), 1)
    order = np.argsort(-counts, axis=None, kind="stable")[:n_routes]
    pairs = [pair for pair in (divmod(int(flat), counts.shape[1]) for flat in order) if counts[pair] >= 5]
    if len(pairs) < 2:
        raise InputError(
            f"only {len(pairs)} pairs of a start and a goal have five paths or more: expected at least two; bring "
            "more paths, or look at the partitions that crowds.partition_ends finds."
        )
    return Station(paths, partitions, places, tuple(pairs), counts)


def make_routes(
    model: Model, routes: ActionSet, n: int, generator: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Algorithm 1 for the factor route.

    Returns:
        Name of the route -> its implicit cluster, n paths (n, T, 2); and -> the codes (n, 4) they were made of.
    """
    stream = implicit_clusters(model, routes, n, factor="route", sampling="partitions", generator=generator)
    clusters, names = collect(stream), [str(name) for name in routes.factors[0].values]
    return (
        {name: clusters.of(k) for k, name in enumerate(names)},
        {name: clusters.codes[clusters.labels == k] for k, name in enumerate(names)},
    )


def split_partitions(partitions: EndPartitions, points: ArrayLike, *, most: int = 10) -> EndPartitions:
    """Split each partition into as many parts as normal distributions (axis-aligned, chosen by the BIC) describe it."""
    points = np.asarray(points, dtype=np.float64)
    labels, count = np.full(len(points), -1, dtype=np.int64), 0
    for attribute in range(len(partitions.counts)):
        rows = np.flatnonzero(partitions.labels == attribute)
        parts = np.unique(_mixture(points[rows], most, "diag").predict(points[rows]), return_inverse=True)[1]
        labels[rows] = count + parts
        count += parts.max() + 1
    return replace(partitions, **dict(zip(("labels", "counts"), _by_size(labels), strict=True)))


def _mixture(points: NDArray[np.float64], most: int, covariance: str, seed: int = 0) -> GaussianMixture:
    """The mixture of 1 to `most` normal distributions that has the smallest BIC; at least ten points each."""
    sizes = range(1, max(min(most, len(points) // 10), 1) + 1)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # a mixture of too many does not settle, and is not chosen
        fits = [
            GaussianMixture(k, covariance_type=covariance, reg_covar=0.01, random_state=seed).fit(points)
            for k in sizes
        ]
    return min(fits, key=lambda fit: fit.bic(points))


def _draws(ends: Tensor, regions: Sequence[Region], seed: int) -> Tensor:
    """Draws from a mixture of normal distributions fitted to ends (n, 4), inside the regions: (at most DRAWS, 4)."""
    points, generator = ends.double().numpy(), np.random.default_rng(seed)
    fit = _mixture(points, 12, "full", seed)
    part = generator.choice(len(fit.weights_), size=2 * DRAWS, p=fit.weights_)
    roots = np.linalg.cholesky(fit.covariances_)
    drawn = fit.means_[part] + np.einsum(
        "nij,nj->ni", roots[part], generator.standard_normal((2 * DRAWS, points.shape[1]))
    )
    rows = torch.from_numpy(drawn).float()
    inside = torch.ones(len(rows), dtype=torch.bool)
    for column, region in enumerate(regions):
        inside &= region.contains(rows[:, column])
    return rows[inside][:DRAWS]


# --- paths to compare with ---


def straight_lines(codes: Tensor, speed: float, *, longest: int = 120) -> Tensor:
    """Baseline: from start to goal of codes (n, 4) in a straight line, `speed` metres a step: paths (n, longest, 2)."""
    start, goal = codes[:, None, :2], codes[:, None, 2:]
    steps = ((goal - start).norm(dim=2) / speed).ceil().clamp(1, longest - 1)
    share = torch.arange(longest) / steps
    return torch.where((share <= 1)[..., None], start + share[..., None] * (goal - start), torch.nan)


def copies(codes: Tensor, known: Tensor, *, rank: int = 0) -> Tensor:
    """Baseline: the known path with the nearest start and goal, moved so that it starts and ends where asked.

    Args:
        codes: (n, 4).
        known: paths (m, T, 2), the training data.
        rank: 0 takes the nearest, 1 the second nearest, ...

    Returns:
        Paths (n, T, 2). What is moved at the start fades linearly into what is moved at the goal.
    """
    ends = path_ends(known)
    nearest = torch.cdist(codes, ends).topk(rank + 1, largest=False).indices[:, rank]
    moved = codes - ends[nearest]
    share = (torch.arange(known.shape[1]) / (count_positions(known[nearest]) - 1).clamp(min=1)[:, None])[
        ..., None
    ]
    return known[nearest] + (1 - share) * moved[:, None, :2] + share * moved[:, None, 2:]


# --- scores ---


def resample(paths: Tensor, n_points: int = 20) -> Tensor:
    """Positions of paths (n, T, 2) at equal shares of their duration: (n, n_points, 2)."""
    last = (count_positions(paths) - 1).clamp(min=0)
    place = torch.linspace(0, 1, n_points, dtype=torch.float64) * last[:, None]
    before = place.floor().long().clamp(max=paths.shape[1] - 1)
    after = torch.minimum(before + 1, last[:, None])
    rows = torch.arange(len(paths))[:, None]
    return torch.lerp(paths[rows, before], paths[rows, after], (place - before)[..., None].to(paths))


def path_distances(first: Tensor, second: Tensor) -> Tensor:
    """Root mean square distance in metres between resampled paths (n, K, 2) and (m, K, 2): (n, m)."""
    return torch.cdist(
        first.flatten(1), second.flatten(1), compute_mode="donot_use_mm_for_euclid_dist"
    ) / math.sqrt(first.shape[1])


def energy_distance(first: Tensor, second: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| between two samples of vectors or resampled paths (Szekely and Rizzo 2013).

    In metres where the samples are. At least 0, and 0 for equal samples. Samples of one distribution are not at 0
    but at about E|X - X'| (1/n + 1/m), so compare only numbers from samples of the same sizes.
    """
    if not len(first) or not len(second):
        raise InputError(
            "the energy distance to an empty sample does not exist: give at least one path on each side."
        )
    first, second = (part if part.ndim == 3 else part[:, None] for part in (first, second))
    return float(
        2 * path_distances(first, second).mean()
        - path_distances(first, first).mean()
        - path_distances(second, second).mean()
    )


def route_scores(
    made: Mapping[str, Tensor],
    real: Mapping[str, Tensor],
    generator: torch.Generator,
    *,
    repeats: int = 20,
    least: int = 5,
    aligned: bool = False,
) -> pd.DataFrame:
    """Energy distance of made to held-out real paths, route by route, beside that of real to real paths.

    The held-out paths of a route are halved at random, `repeats` times (and cut to as many as were made). The *floor*
    is the mean distance between the halves; the *distance* that between one half and equally many made paths. Equal
    sizes make the two comparable.

    Args:
        made: route -> paths (n, T, 2).
        real: route -> held-out paths (m, T, 2).
        generator: of the halves and of which made paths are taken.
        least: routes with fewer paths in a half are left out.
        aligned: made path r was made of the ends of real path r, and takes its place in the second half: then
            nobody's own ends are on both sides.

    Returns:
        A row for each route: `people` in a half, `floor`, `distance` (metres) and `ratio` of the two.

    Raises:
        InputError: no route has enough paths.
    """
    rows = []
    for route, paths in real.items():
        half = len(paths) // 2 if aligned else min(len(paths) // 2, len(made[route]))
        if half < least:
            continue
        both = torch.cat([resample(paths), resample(made[route])])
        distances = path_distances(both, both).double()
        found = []
        for _ in range(repeats):
            order = torch.randperm(len(paths), generator=generator)
            first, second = order[:half], order[half : 2 * half]
            chosen = second if aligned else torch.randperm(len(made[route]), generator=generator)[:half]
            found.append([_energy(distances, first, other) for other in (second, len(paths) + chosen)])
        floor, distance = np.mean(found, axis=0)
        rows.append(
            {"route": route, "people": half, "floor": floor, "distance": distance, "ratio": distance / floor}
        )
    if not rows:
        raise InputError(
            f"none of {len(real)} routes has {2 * least} held-out paths: there is nothing to compare with; bring "
            "more paths, or hold out a larger share."
        )
    return pd.DataFrame(rows, columns=["route", "people", "floor", "distance", "ratio"]).set_index("route")


def _energy(distances: Tensor, first: Tensor, second: Tensor) -> float:
    """The energy distance between two sets of rows of a matrix of distances."""
    between, within = (
        distances[first][:, second].mean(),
        [distances[rows][:, rows].mean() for rows in (first, second)],
    )
    return float(2 * between - sum(within))


def arrival_rate(paths: Tensor, codes: Tensor, *, radius: float = 1.5) -> float:
    """Share of paths (n, T, 2) that end within `radius` metres of the goal that codes (n, 4) ask for."""
    return float(((path_ends(paths)[:, 2:] - codes[:, 2:]).norm(dim=1) <= radius + 1e-3).float().mean())


def min_ade_fde(samples: Tensor, real: Tensor) -> tuple[float, float]:
    """minADE and minFDE, metres: the best of S sampled paths for each real one, averaged.

    Args:
        samples: (S, n, T, 2), S paths from each real one's start to its goal.
        real: (n, T, 2).

    Returns:
        The smallest mean distance and the smallest final distance *on the clock*: at each step of the real path, where
        a sample that has arrived waits at its end.
    """
    length = count_positions(real)
    steps = torch.arange(real.shape[1])
    held = torch.minimum(
        steps.expand(samples.shape[:2] + steps.shape),
        (count_positions(samples.flatten(0, 1)) - 1).reshape(samples.shape[:2])[..., None],
    ).clamp(max=samples.shape[2] - 1)
    waiting = samples.gather(2, held[..., None].expand(*held.shape, 2))
    off = (waiting - real).norm(dim=-1).nan_to_num(0.0)
    average = off.sum(-1) / length
    final = off.gather(2, (length - 1).expand(len(samples), -1)[..., None])[..., 0]
    return float(average.min(0).values.mean()), float(final.min(0).values.mean())


def speeds(paths: Tensor, seconds: float) -> Tensor:
    """Speed at every step of paths (n, T, 2), metres a second: flat, without NaN."""
    found = (paths[:, 1:] - paths[:, :-1]).norm(dim=-1) / seconds
    return found[~found.isnan()]


def turning(paths: Tensor, least: float = 0.3) -> Tensor:
    """Angle between consecutive steps of paths (n, T, 2), degrees in [-180, 180): flat.

    Steps shorter than `least` metres have no direction: they are left out, since a pixel is 0.06 m.
    """
    step = paths[:, 1:] - paths[:, :-1]
    first, second = step[:, :-1], step[:, 1:]
    angle = torch.atan2(
        first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0], (first * second).sum(-1)
    )
    walked = (first.norm(dim=-1) >= least) & (second.norm(dim=-1) >= least)
    return angle[walked].rad2deg()


def total_variation(
    first: Tensor, second: Tensor, bins: int = 40, within: tuple[float, float] | None = None
) -> float:
    """Half the summed difference of two samples' histograms, in [0, 1]: 0 for equal ones, 1 for disjoint ones."""
    both = torch.cat([first, second])
    low, high = within or (float(both.min()), float(both.max()))
    shares = [
        np.histogram(part.clamp(low, high).numpy(), bins=bins, range=(low, high))[0] / max(len(part), 1)
        for part in (first, second)
    ]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def walk_scores(
    walk: Callable[[Tensor, int], Tensor],
    real: Tensor,
    *,
    seconds: float,
    samples: int = 20,
    radius: float = 1.5,
) -> dict[str, float]:
    """How paths from the starts of real ones to their goals compare with them, one by one and all together.

    Args:
        walk: `walk(codes, samples)` gives so many paths for each code (n, 4): (samples, n, T, 2).
        real: held-out paths (n, T, 2).
        seconds: a step.

    Returns:
        "arrival": share that ends within `radius` of the goal; "minADE", "minFDE": metres, over `samples`; "speed",
        "turning": total variation of the histograms (0 to 6 m/s, -90 to 90 degrees); "duration": energy distance,
        seconds.
    """
    codes = path_ends(real)
    made = walk(codes, samples)
    average, final = min_ade_fde(made, real)
    return {
        "arrival": arrival_rate(made.flatten(0, 1), codes.repeat(samples, 1), radius=radius),
        "minADE": average,
        "minFDE": final,
        **histogram_scores(made[0], real, seconds=seconds),
    }


def histogram_scores(made: Tensor, real: Tensor, *, seconds: float) -> dict[str, float]:
    """The last three of `walk_scores`: made paths (n, T, 2) against real ones (m, T, 2), not matched one by one."""
    durations = [seconds * count_positions(paths).float()[:, None] for paths in (made, real)]
    return {
        "speed": total_variation(speeds(made, seconds), speeds(real, seconds), within=(0.0, 6.0)),
        "turning": total_variation(turning(made), turning(real), within=(-90.0, 90.0)),
        "duration": energy_distance(*durations),
    }
