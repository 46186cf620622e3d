"""Codes, conditions and atomic actions of scenes, and scores of the pictures that are made by them.

Factors are the number of objects and where they are. They are known (the relaxed setting of the paper's appendix: h* is
given), so a code needs no encoder: (number, x_1, y_1, ..., x_5, y_5), of whose places the first `number` count.
`Composer` is G: it turns a code into conditions of a diffusion model, composes them and draws.
`clustering.implicit_clusters` is Algorithm 1 as for images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .actions import ActionSet, AtomicAction, Ownership, Piece, Region
from .detector import Detector, Found, compare, interval
from .errors import InputError, suggest
from .models.diffusion import Diffusion
from .partitions import Partitioning
from .worlds import Factor
from .worlds.scenes import MARGIN, MOST, RANGE, SIZES, Scenes, on_table

TOLD = 5  # numbers of a condition: x, y, place told, number of objects, number told
WAYS = ("places", "places and number", "number beside")
N_CODES = 1 + 2 * MOST


# --- what the generator is told ---


def ask(places: Tensor, number: Tensor | None = None) -> Tensor:
    """Conditions (..., TOLD) for places (..., 2) in the picture, and the number (...) of objects, if it is told.

    A place that is NaN is not told; where neither is told the condition is NaN throughout, none.
    """
    number = torch.full(places.shape[:-1], math.nan) if number is None else number.float()
    with_place, with_number = ~places[..., :1].isnan(), ~number.isnan()[..., None]
    told = torch.cat(
        [(2 * places - 1).nan_to_num(), with_place, number[..., None].nan_to_num() / MOST, with_number],
        dim=-1,
    )
    return torch.where(with_place | with_number, told, math.nan)


def conditions(places: Tensor, way: str = "places") -> Tensor:
    """Conditions (n, K, TOLD) or (n, K + 1, TOLD) for objects at places (n, K, 2), NaN where there are fewer.

    Args:
        way: "places": each condition is the place of one object, as Liu et al. (2022) compose, and nothing says that
            there are no others; "places and number": each condition tells a place and how many objects there are in
            all; "number beside": a condition for each place, and one more that tells the number alone.

    Raises:
        InputError: another way, or places that are no shares of the picture.
    """
    if way not in WAYS:
        raise suggest("way of asking", way, WAYS)
    if places.ndim != 3 or places.shape[2] != 2:
        raise InputError(
            f"places of shape {tuple(places.shape)} cannot be asked for: expected (n, K, 2), K places for "
            "each picture."
        )
    gone = places.isnan()
    if (gone[..., 0] != gone[..., 1]).any() or ((places < 0) | (places > 1)).any():
        bad = (gone[..., 0] != gone[..., 1]) | ((places < 0) | (places > 1)).any(-1)
        row, slot = bad.nonzero()[0].tolist()
        raise InputError(
            f"picture {row}, place {slot} is ({places[row, slot, 0]:.4g}, {places[row, slot, 1]:.4g}): "
            "expected x and y as shares of the picture, from 0 to 1, or NaN for both."
        )
    number = (~gone[..., 0]).sum(1).float()
    if way == "places and number":
        told = number[:, None].expand(places.shape[:2])
        return ask(places, told.masked_fill(gone[..., 0], math.nan))
    if way == "number beside":
        alone = ask(torch.full((len(places), 1, 2), math.nan), number[:, None])
        return torch.cat([ask(places), alone], dim=1)
    return ask(places)


# --- codes ---


def codes_of(scenes: Scenes, number: Tensor | None = None) -> Tensor:
    """h*: codes (n, N_CODES) of scenes with five places each, of which the first `number` (n,) count; default all.

    A scene with fewer places has no code that an action could act on: its further objects are nowhere.
    """
    places = scenes.positions
    if places.shape[1] != MOST or places.isnan().any():
        raise InputError(
            f"scenes with places of shape {tuple(places.shape)}, some of them missing, have no codes: expected "
            f"{MOST} places each, say `world.states(n, generator, counts=({MOST},))`."
        )
    number = torch.full((len(places),), float(MOST)) if number is None else number.float()
    return torch.cat([number[:, None], places.flatten(1)], dim=1)


def places_of(codes: Tensor) -> Tensor:
    """The places (n, MOST, 2) that codes (n, N_CODES) ask for; NaN beyond their number."""
    number = codes[:, 0].round().clamp(1, MOST)
    places = codes[:, 1:].unflatten(1, (MOST, 2))
    return places.masked_fill((torch.arange(MOST) >= number[:, None])[..., None], math.nan)


def room(places: Tensor, size: str = "small") -> Tensor:
    """Which scenes (n, K, 2) leave room for objects of that size at every place: bool (n,). "small": a world that holds
    two objects nearer than that does not exist; "large": there is room whatever is put there."""
    half = SIZES[size]
    spots = on_table(places, half)
    apart = (spots[:, :, None] - spots[:, None]).norm(dim=-1)
    same = torch.eye(places.shape[1], dtype=torch.bool)
    least = (
        2 * half if size == "small" else 2 * 1.25 * half + MARGIN
    )  # two spheres that touch; two cubes with a margin
    return apart.masked_fill(apart.isnan() | same, math.inf).amin(dim=(1, 2)) >= least


class Composer:
    """The pair (h*, G) of scenes: codes are a number and places, the generator draws what they say.

    Args:
        model: trained, told conditions as `ask` makes them.
        generator: of the noise: the same code gives another picture each time.
        way: of asking, see `conditions`.
        weight: of each condition.
        steps: of the sampler.
    """

    n_codes = N_CODES

    def __init__(
        self,
        model: Diffusion,
        generator: torch.Generator,
        *,
        way: str = "places",
        weight: float = 1.0,
        steps: int = 25,
    ) -> None:
        self.model, self.generator, self.way, self.weight, self.steps = model, generator, way, weight, steps

    def draw(self, places: Tensor, *, keep: int = 0) -> Tensor | tuple[Tensor, Tensor]:
        """Pictures (n, C, H, W) with objects at places (n, K, 2); `keep` as `Diffusion.sample` takes it."""
        return self.model.sample(
            conditions(places, self.way),
            weights=self.weight,
            steps=self.steps,
            generator=self.generator,
            keep=keep,
        )

    def decode(self, codes: Tensor) -> Tensor:
        """G: pictures (n, C, H, W) in [0, 1] of codes (n, N_CODES)."""
        return self.draw(places_of(codes))


# --- atomic actions ---


def cut(low: float = RANGE[0], high: float = RANGE[1], parts: int = 5, beyond: float = 0.0) -> list[float]:
    """Edges of equal parts of a range, and `beyond` it one more on either side where that is positive."""
    inner = np.linspace(low, high, parts + 1).tolist()
    return [low - beyond, *inner, high + beyond] if beyond else inner


def scene_actions(edges: Sequence[float], numbers: Sequence[int] = (1, 2, 3, 4, 5)) -> ActionSet:
    """The atomic actions of the factors x, y and number.

    As in the paper's Figures 8 and 9 the partitions are given: places have no gaps at which a density could be cut. An
    action on x draws, uniformly in its partition, the x of every object (five dimensions, the action's MDA form; its
    `best` one moves the first object alone); one on y likewise; one on the number replaces the code's first entry.

    Args:
        edges: of the partitions of x and y, increasing, shares of the picture.
        numbers: of objects.
    """
    edges = list(map(float, edges))
    if (
        len(edges) < 2
        or any(a >= b for a, b in zip(edges, edges[1:], strict=False))
        or edges[0] < 0
        or edges[-1] > 1
    ):
        raise InputError(
            f"edges {edges} cannot cut the picture: expected at least two increasing numbers from 0 to 1."
        )
    spans = list(zip(edges[:-1], edges[1:], strict=True))
    names = tuple(f"{low:.2f} to {high:.2f}" for low, high in spans)
    factors = (
        Factor("x", names, "ordered"),
        Factor("y", names, "ordered"),
        Factor("number", tuple(map(str, numbers)), "ordered"),
    )
    whole = [(number - 0.5, number + 0.5) for number in numbers]
    dimensions = (range(1, N_CODES, 2), range(2, N_CODES, 2), range(1))
    actions, ownership = [], []
    for i, owned in enumerate(dimensions):
        for k, span in enumerate(whole if i == 2 else spans):
            regions = tuple(_region(dimension, k, *span) for dimension in owned)
            actions.append(AtomicAction(i, k, regions, "uniform", 1.0, 1.0))
            ownership.append(Ownership(i, k, tuple(owned), ((k,),) * len(regions), 1.0, 1.0, 0, None, True))
    cuts = [[span[0] for span in whole[1:]], *[edges[1:-1]] * (N_CODES - 1)]
    nothing = (np.array([]), np.array([]))
    partitioning = Partitioning(
        tuple(np.array(cut, dtype=np.float32) for cut in cuts),
        (nothing,) * N_CODES,
        (math.nan,) * N_CODES,
        (False,) * N_CODES,
    )
    marginals = tuple(
        Region(d, (), tuple(_piece(*span) for span in (spans if d else whole))) for d in range(N_CODES)
    )
    return ActionSet(
        factors, tuple(actions), tuple(ownership), np.zeros((N_CODES, 3)), partitioning, "uniform", marginals
    )


def _piece(low: float, high: float) -> Piece:
    return Piece(low, high, 1.0, (low + high) / 2, (high - low) / math.sqrt(12), low, high)


def _region(dimension: int, partition: int, low: float, high: float) -> Region:
    return Region(dimension, (partition,), (_piece(low, high),), 1.0, 1.0)


# --- scores ---

TOLERANCE = 1 / 16  # of the picture's width: 4 pixels of 64, half of a small object


def judge(detector: Detector, observations: Tensor, places: Tensor) -> Found:
    """What the detector finds in observations (n, C, H, W) of which places (n, K, 2) were asked for."""
    return compare(detector.find(observations), places)


def score(found: Found, image_size: int, tolerance: float = TOLERANCE) -> dict[str, float]:
    """The columns of this chapter's tables.

    Returns:
        conditions met: share of the asked places with an object of its own within `tolerance`; low, high: its 95 %
        bootstrap interval over pictures; count right: pictures with as many objects as were asked for; all right:
        pictures with every condition met and no object too many; error, px: median distance of the met ones.
    """
    met = found.met(tolerance)
    mean, low, high = interval(met)
    errors = found.errors(tolerance) * image_size
    return {
        "conditions met": mean,
        "low": low,
        "high": high,
        "count right": float(found.count_right.mean()),
        "all right": float((found.count_right & (met == 1)).mean()),
        "error, px": float(np.median(errors)) if len(errors) else math.nan,
    }


def pull(found: Found, places: Tensor, span: tuple[float, float]) -> float:
    """How far objects that were asked for outside of the square `span` stand nearer to it than they were asked to: the
    mean over those that were found, as a share of the picture; NaN where none was asked for outside and found."""
    asked, seen = places.numpy(), found.places

    def beyond(spots: np.ndarray) -> np.ndarray:
        return np.linalg.norm(np.maximum(span[0] - spots, 0) + np.maximum(spots - span[1], 0), axis=-1)

    rows = (beyond(asked) > 0) & np.isfinite(seen[..., 0])
    return float((beyond(asked[rows]) - beyond(seen[rows])).mean()) if rows.any() else math.nan


def surface(observations: Tensor) -> dict[str, float]:
    """Two numbers that tell generated pictures from rendered ones, whatever they show; (n, C, H, W) in [0, 1].

    Returns:
        clipped: share of the values that are black or full, as they become where a weight overdoes it; sharpness: the
        99th percentile of the difference between neighbouring pixels, which blur makes small.
    """
    clipped = ((observations < 1 / 255) | (observations > 254 / 255)).float().mean()
    across, down = (observations.diff(dim=dim).abs().flatten() for dim in (2, 3))
    return {
        "clipped": float(clipped),
        "sharpness": float(np.quantile(torch.cat([across, down]).numpy(), 0.99)),
    }


def by_cell(
    found: Found, places: Tensor, edges: Sequence[float], tolerance: float = TOLERANCE
) -> pd.DataFrame:
    """Share of conditions met for each cell of the plane: rows y, columns x, by where the object was asked for."""
    asked = found.asked
    where = places.numpy()[asked]
    met = (found.distances[asked] <= tolerance).astype(float)
    n = len(edges) - 1
    column, row = (np.clip(np.searchsorted(edges, where[:, k], side="right") - 1, 0, n - 1) for k in (0, 1))
    total, number = np.zeros((n, n)), np.zeros((n, n))
    np.add.at(total, (row, column), met)
    np.add.at(number, (row, column), 1)
    middles = [f"{(a + b) / 2:.2f}" for a, b in zip(edges[:-1], edges[1:], strict=True)]
    share = np.divide(total, number, out=np.full((n, n), np.nan), where=number > 0)
    return pd.DataFrame(share, index=pd.Index(middles, name="y"), columns=pd.Index(middles, name="x"))
