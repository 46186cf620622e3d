"""Scenes: one to five objects on a table, at chosen places; rendered by us, or read from a file of images and places.

- `clevr-twin`: in the manner of CLEVR (Johnson et al. 2017): shape 3, colour 8, size 2, material 2, on a grey table
  that fills the picture, seen from above at a slant, with shadows. Rendered by the shared ray caster.
- a file in the layout of CLEVR-positions (Liu et al. 2022), or in ours: see `read`.

**Where an object is** is told as in CLEVR-positions: (x, y) of its centre in the picture, as shares of the picture's
width and height, x to the right, y downwards, from (0, 0) to (1, 1). The camera is fixed, so picture and table tell
the same once an object's size is known: its centre is at the height of its half.

Departures from CLEVR: a fixed camera and light, and no turned cubes; objects keep a margin on the table but are not
required to show a least number of pixels (from this slant a neighbour hides a small part at most).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, suggest
from . import raytrace
from .base import Factor
from .storage import Images, NpzMember, fit, npz_keys, settle

SHAPES = ("cube", "cylinder", "sphere")
COLOURS = {
    "grey": (0.36, 0.36, 0.38),
    "red": (0.78, 0.16, 0.16),
    "blue": (0.17, 0.30, 0.84),
    "green": (0.13, 0.52, 0.16),
    "brown": (0.50, 0.29, 0.11),
    "purple": (0.52, 0.16, 0.75),
    "cyan": (0.16, 0.78, 0.80),
    "yellow": (0.98, 0.86, 0.20),
}
SIZES = {"small": 0.55, "large": 0.8}  # half of an object's height, units of the table
MATERIALS = ("rubber", "metal")
LOOKS = (len(SHAPES), len(COLOURS), len(SIZES), len(MATERIALS))

MOST = 5  # objects
RANGE = (0.15, 0.85)  # of x and y in the scenes that `states` draws; a picture shows more, from 0 to 1
MARGIN = 0.3  # between the footprints of two objects, units of the table
FOOTPRINT = (
    1.25,
    1.0,
    1.0,
)  # radius of the circle around an object's footprint over its half height, by shape

FACTORS = (
    Factor("x", RANGE, "ordered"),
    Factor("y", RANGE, "ordered"),
    Factor("number", tuple(range(1, MOST + 1)), "ordered"),
)

EYE, TARGET, FIELD_OF_VIEW = (0.0, -9.0, 11.0), (0.0, 0.0, 0.0), 32.0
LIGHT = (-4.0, -5.0, 12.0)
TABLE = (0.74, 0.73, 0.72)
GLOSS = {"rubber": 0.0, "metal": 0.9}
SUPERSAMPLING = 2


@dataclass(frozen=True, eq=False)
class Scenes:
    """What stands where.

    Attributes:
        positions: float32 (n, K, 2), x and y as shares of the picture; NaN where there are fewer than K objects.
        looks: int64 (n, K, 4), the attributes of shape, colour, size and material; None where nobody told.
    """

    positions: Tensor
    looks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: Tensor | slice) -> Scenes:
        """Some of the scenes: an index, mask or slice."""
        return Scenes(self.positions[rows], None if self.looks is None else self.looks[rows])

    @property
    def counts(self) -> Tensor:
        """Number of objects of each: int64 (n,)."""
        return (~self.positions[..., 0].isnan()).sum(1)


def pad(places: Tensor) -> Tensor:
    """Places (n, K, 2) of up to `MOST` objects, with NaN for those that are not there: (n, MOST, 2)."""
    return torch.nn.functional.pad(places, (0, 0, 0, MOST - places.shape[1]), value=math.nan)


# --- between picture and table ---


@functools.lru_cache(maxsize=1)
def _camera() -> tuple[Tensor, Tensor, float]:
    """The eye (3,), the rows right, above, forward (3, 3), and the picture's half width at distance 1."""
    eye, forward = (
        torch.tensor(EYE),
        torch.nn.functional.normalize(torch.tensor(TARGET) - torch.tensor(EYE), dim=0),
    )
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    axes = torch.stack([right, torch.linalg.cross(right, forward), forward])
    return eye, axes, math.tan(math.radians(FIELD_OF_VIEW / 2))


def on_table(positions: Tensor, height: Tensor | float) -> Tensor:
    """Where on the table (..., 2) a point is that is seen at positions (..., 2) and lies `height` (...) above it."""
    eye, axes, extent = _camera()
    slopes = (2 * positions - 1) * torch.tensor([extent, -extent])
    rays = axes[2] + slopes[..., :1] * axes[0] + slopes[..., 1:] * axes[1]
    far = (torch.as_tensor(height) - eye[2]) / rays[..., 2]
    return eye[:2] + far[..., None] * rays[..., :2]


def in_picture(places: Tensor, height: Tensor | float) -> Tensor:
    """Where in the picture (..., 2) a point at places (..., 2) of the table, `height` (...) above it, is seen."""
    eye, axes, extent = _camera()
    point = torch.cat([places, torch.as_tensor(height).expand(places.shape[:-1])[..., None]], dim=-1)
    right, above, forward = ((point - eye) @ axes.T).unbind(-1)
    return 0.5 + 0.5 * torch.stack([right, -above], dim=-1) / forward[..., None] / extent


def half_heights(looks: Tensor) -> Tensor:
    """Half of the height of objects with looks (..., 4), in units of the table: (...)."""
    return torch.tensor(list(SIZES.values()))[looks[..., 2]]


def footprints(looks: Tensor) -> Tensor:
    """Radius of the circle around the footprint of objects with looks (..., 4): (...)."""
    return half_heights(looks) * torch.tensor(FOOTPRINT)[looks[..., 0]]


def clearances(scenes: Scenes) -> Tensor:
    """The least distance between the footprints of two objects of each scene, in units of the table; inf if there are
    no two: (n,)."""
    places = on_table(scenes.positions, half_heights(scenes.looks))
    apart = (places[:, :, None] - places[:, None]).norm(dim=-1)
    radius = footprints(scenes.looks)
    gaps = apart - radius[:, :, None] - radius[:, None]
    same = torch.eye(gaps.shape[1], dtype=torch.bool)
    return gaps.masked_fill(gaps.isnan() | same, math.inf).amin(dim=(1, 2))


# --- the twin ---


class ClevrTwin:
    """One to five objects at chosen places, rendered. What is observed is a picture, a state is a row of `Scenes`.

    Args:
        image_size: pixels on a side, at least 16.
        device: where pictures are rendered.

    >>> world = ClevrTwin(image_size=32)
    >>> world.render(world.states(2, torch.Generator().manual_seed(0))).shape
    torch.Size([2, 3, 32, 32])
    """

    name = "clevr-twin"
    source = "procedural twin"
    channels = 3
    factors = FACTORS
    most = MOST
    span = RANGE  # of x and y in its scenes
    knows_all = True  # places of all objects, so that they can be counted

    def __init__(self, *, image_size: int = 64, device: str | torch.device = "cpu") -> None:
        if image_size < 16:
            raise InputError(
                f"image_size = {image_size} cannot be used: objects are a seventh of a picture, expected "
                "at least 16 pixels."
            )
        self.image_size, self.device = image_size, torch.device(device)

    def states(
        self,
        n: int,
        generator: torch.Generator,
        *,
        counts: Sequence[int] = (1, 2, 3, 4, 5),
        positions: tuple[float, float] = RANGE,
    ) -> Scenes:
        """Draw n scenes: the number of objects from `counts`, looks and places at random, no two too near.

        Args:
            generator: on the CPU.
            counts: how many objects there may be, each number equally often.
            positions: least and greatest x and y.

        Raises:
            InputError: counts or positions out of range, or so many objects in so small a part that no place is left.
        """
        low, high = positions
        if not counts or not all(1 <= count <= MOST for count in counts) or not 0 <= low < high <= 1:
            raise InputError(
                f"scenes with counts {tuple(counts)} at positions from {low} to {high} cannot be drawn: "
                f"expected 1 to {MOST} objects and positions in order between 0 and 1."
            )
        wanted = torch.tensor(list(counts))[torch.randint(len(counts), (n,), generator=generator)]
        looks = torch.stack([torch.randint(size, (n, MOST), generator=generator) for size in LOOKS], dim=-1)
        places = torch.full((n, MOST, 2), math.nan)
        missing = torch.arange(n)
        for _ in range(10):
            places[missing] = math.nan
            for k in range(MOST):
                self._place(places, looks, missing[wanted[missing] > k], k, (low, high), generator)
            missing = missing[(~places[missing][..., 0].isnan()).sum(1) < wanted[missing]]
            if not len(missing):
                return Scenes(places, looks)
        raise InputError(
            f"{max(counts)} objects find no room at positions from {low} to {high}: allow a larger part "
            "of the table, or fewer objects."
        )

    def _place(
        self,
        places: Tensor,
        looks: Tensor,
        rows: Tensor,
        k: int,
        span: tuple[float, float],
        generator: torch.Generator,
    ) -> None:
        """Put object k into the scenes `rows` where a random place is free; some tries, then it stays NaN."""
        for _ in range(30):
            if not len(rows):
                return
            places[rows, k] = span[0] + (span[1] - span[0]) * torch.rand(len(rows), 2, generator=generator)
            near = clearances(Scenes(places[rows, : k + 1], looks[rows, : k + 1])) < MARGIN
            places[rows[near], k] = math.nan
            rows = rows[near]

    def render(self, scenes: Scenes) -> Tensor:
        """Observations (n, 3, image_size, image_size) in [0, 1].

        Raises:
            InputError: a position that is NaN beside a number, outside of the picture, or objects that overlap.
        """
        check(scenes)
        parts = [torch.empty(0, 3, self.image_size, self.image_size)]
        order = []
        for rows, maps, slots in self.weight_maps(scenes):
            order.append(rows)
            parts.append(colour(maps, scenes.looks[rows[:, None], slots]))
        if not order:
            return parts[0]
        images = torch.empty(len(scenes), *parts[0].shape[1:])
        images[torch.cat(order)] = torch.cat(parts).cpu()
        return images

    def weight_maps(self, scenes: Scenes, batch_size: int = 64) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """How brightly each surface is seen in each pixel; `colour` makes pictures of it, in any colours.

        Scenes with the same shapes are cast together, so that a ray is tried on no primitive that is not there.

        Yields:
            rows (b,) of the scenes; maps (b, 1 + k + 1, image_size, image_size) of table, objects, highlights;
            slots (b, k): which of the scene's objects they are.
        """
        shapes = torch.where(scenes.positions[..., 0].isnan(), len(SHAPES), scenes.looks[..., 0])
        shapes, slots = shapes.sort(dim=1, stable=True)
        kinds, group = shapes.unique(dim=0, return_inverse=True)
        for index, kind in enumerate(kinds.tolist()):
            there = [shape for shape in kind if shape < len(SHAPES)]
            for rows in (group == index).nonzero()[:, 0].split(batch_size):
                chosen = slots[rows, : len(there)]
                at = rows[:, None]
                yield rows, self._cast(there, scenes.positions[at, chosen], scenes.looks[at, chosen]), chosen

    def places(self, n: int, count: int, generator: torch.Generator) -> Tensor:
        """Places (n, count, 2) for so many objects, as they stand in scenes of this world."""
        return self.states(n, generator, counts=(count,)).positions[:, :count]

    def pool(
        self,
        n: int,
        *,
        seed: int = 0,
        held_out: bool = False,
        counts: Sequence[int] = (1, 2, 3, 4, 5),
        wide: tuple[float, float] | None = None,
    ) -> Pool:
        """n scenes, cast once, to draw pictures from again and again.

        Args:
            seed: of the scenes: another seed gives other ones.
            held_out: without a meaning here, where no two seeds share a scene; it has one for `Recorded`.
            wide: least and greatest x and y; None for those of `states`.
        """
        return Pool(self, n, seed=seed, counts=counts, positions=wide or RANGE)

    def describe(self) -> str:
        """One sentence: what this is."""
        return (
            f"{self.name} (rendered by us, not CLEVR): 1 to {MOST} objects on a table, {self.image_size}x"
            f"{self.image_size} pixels, x and y from {RANGE[0]:g} to {RANGE[1]:g} of the picture."
        )

    def _cast(self, shapes: list[int], positions: Tensor, looks: Tensor) -> Tensor:
        """Weight maps (b, k + 2, H, W) of scenes in which object i has shape shapes[i]."""
        half = half_heights(looks).to(self.device)
        places = on_table(positions, half_heights(looks)).to(self.device)
        origin, direction, table = _empty_table(self.image_size, self.device)
        things = [
            raytrace.Surface(_object(shape, places[:, i], half[:, i]), i + 1, opaque=True)
            for i, shape in enumerate(shapes)
        ]
        gloss = torch.tensor([0.0, *GLOSS.values()])[looks[..., 3] + 1]
        gloss = torch.cat([torch.zeros(len(looks), 1), gloss], dim=1).to(self.device)
        shape = (len(looks), *direction.shape[:-1])
        behind = tuple(part.expand(*shape, *part.shape[2:]) for part in table)
        return raytrace.cast(
            origin,
            direction,
            things,
            behind=behind,
            light=torch.tensor(LIGHT, device=self.device),
            n_labels=len(shapes) + 1,
            ambient=0.45,
            gloss=gloss,
            supersampling=SUPERSAMPLING,
        )


@functools.lru_cache(maxsize=4)
def _empty_table(
    image_size: int, device: torch.device
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """The camera's rays, and what they hit where nothing stands."""
    origin, direction = raytrace.camera_rays(
        torch.tensor(EYE, device=device),
        torch.tensor(TARGET, device=device),
        size=image_size,
        field_of_view=FIELD_OF_VIEW,
        supersampling=SUPERSAMPLING,
    )
    flat = raytrace.Surface(functools.partial(raytrace.plane, normal=(0.0, 0.0, 1.0), offset=0.0), 0)
    return origin, direction, raytrace.nearest(origin, direction, [flat])


def _object(shape: int, places: Tensor, half: Tensor) -> Callable:
    """The primitive (b scenes at once) of objects at places (b, 2) with half heights (b,)."""
    centre = torch.cat([places, half[:, None]], dim=1)[:, None, None]
    half = half[:, None, None]
    if SHAPES[shape] == "cube":
        return functools.partial(raytrace.box, centre=centre, half=half[..., None] * 0.9 * torch.ones(3))
    if SHAPES[shape] == "cylinder":
        return functools.partial(raytrace.cylinder, centre=centre, radius=half * 0.95, half_height=half)
    return functools.partial(raytrace.sphere, centre=centre, radius=half)


def colour(maps: Tensor, looks: Tensor) -> Tensor:
    """Pictures (b, 3, H, W) in [0, 1] of weight maps (b, k + 2, H, W) and looks (b, k, 4)."""
    palette = torch.tensor(list(COLOURS.values()), device=maps.device)
    darker = torch.tensor([1.0, 0.75], device=maps.device)  # a metal mirrors a dim room
    colours = palette[looks[..., 1]] * darker[looks[..., 3]][..., None]
    b = len(maps)
    table, light = torch.tensor(TABLE, device=maps.device), torch.ones(3, device=maps.device)
    colours = torch.cat([table.expand(b, 1, 3), colours, light.expand(b, 1, 3)], dim=1)
    pictures = torch.bmm(colours.transpose(1, 2), maps.flatten(2))
    return pictures.clamp_(0, 1).unflatten(2, maps.shape[2:])


class Pool:
    """Scenes cast once, coloured anew each time they are drawn: casting is 50 times slower than colouring.

    Args:
        world: the twin.
        n: scenes.
        seed: of the scenes.
        limits: as `ClevrTwin.states` takes them: counts and positions.
    """

    def __init__(self, world: ClevrTwin, n: int, *, seed: int = 0, **limits) -> None:
        self.scenes = world.states(n, torch.Generator().manual_seed(seed), **limits)
        most, size = int(self.scenes.counts.max()), world.image_size
        self.maps = torch.zeros(n, most + 2, size, size, dtype=torch.uint8)  # table, objects, highlights
        positions = torch.full((n, most, 2), math.nan)
        looks = torch.zeros(n, most, 4, dtype=torch.int64)
        for rows, maps, slots in world.weight_maps(self.scenes):
            k, at = slots.shape[1], rows[:, None]
            levels = (maps.clamp(0, 1) * 255).round().byte().cpu()
            self.maps[rows, : k + 1], self.maps[rows, -1] = levels[:, :-1], levels[:, -1]
            positions[rows, :k], looks[rows, :k] = (
                self.scenes.positions[at, slots],
                self.scenes.looks[at, slots],
            )
        self.scenes = Scenes(positions, looks)  # the objects in the order of their maps

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Scenes]:
        """n of the scenes in new colours: observations (n, 3, H, W) in [0, 1], and what they show."""
        rows = torch.randint(len(self.scenes), (n,), generator=generator)
        scenes = self.scenes[rows]
        looks = scenes.looks.clone()
        looks[..., 1] = torch.randint(len(COLOURS), looks.shape[:2], generator=generator)
        return colour(self.maps[rows].float() / 255, looks), Scenes(scenes.positions, looks)


def check(scenes: Scenes) -> None:
    """Whether scenes can be rendered.

    Raises:
        InputError: shapes that do not fit, a position that is NaN beside a number, outside of the picture, or two
            objects of which one stands in the other.
    """
    positions, looks = scenes.positions, scenes.looks
    if (
        positions.ndim != 3
        or positions.shape[2] != 2
        or looks is None
        or looks.shape != (*positions.shape[:2], 4)
    ):
        raise InputError(
            f"scenes with positions of shape {tuple(positions.shape)} and looks of shape "
            f"{None if looks is None else tuple(looks.shape)} cannot be rendered: expected (n, K, 2) and "
            "(n, K, 4)."
        )
    gone = positions.isnan()
    if (gone[..., 0] != gone[..., 1]).any():
        scene, slot = (gone[..., 0] != gone[..., 1]).nonzero()[0].tolist()
        raise InputError(
            f"scene {scene}, object {slot} stands at ({positions[scene, slot, 0]:.2f}, "
            f"{positions[scene, slot, 1]:.2f}): expected two numbers, or NaN for both where there is no "
            "object."
        )
    outside = ((positions < 0) | (positions > 1)).any(-1)
    if outside.any():
        scene, slot = outside.nonzero()[0].tolist()
        raise InputError(
            f"scene {scene}, object {slot} stands at ({positions[scene, slot, 0]:.2f}, "
            f"{positions[scene, slot, 1]:.2f}), outside of the picture: expected x and y from 0 to 1."
        )
    if len(looks) and not ((looks >= 0) & (looks < torch.tensor(LOOKS))).all():
        raise InputError(
            f"looks run from {looks.amin((0, 1)).tolist()} to {looks.amax((0, 1)).tolist()}: expected shape, "
            f"colour, size and material below {list(LOOKS)}."
        )
    close = clearances(scenes) < 0
    if close.any():
        scene = int(close.nonzero()[0])
        raise InputError(
            f"scene {scene} holds two objects of which one stands in the other (their footprints overlap by "
            f"{-clearances(scenes)[scene]:.2f}): move them apart, or draw scenes by `states`."
        )


# --- scenes from a file ---

IMAGES = ("ims", "images")  # names that a file's pictures may have: CLEVR-positions', ours
PLACES = ("coords_labels", "labels", "positions")
HELD_OUT = 10  # every tenth picture
APART = 0.16  # of the picture, between two objects that are asked for together


class Recorded:
    """Pictures of scenes and where their objects are, from a file; see `read`.

    Attributes:
        knows_all: whether a picture's places may be more than one; CLEVR-positions tells one object of each picture,
            so the number of objects is not known, nor told to the generator.
    """

    factors = FACTORS

    def __init__(self, name: str, images: Images, scenes: Scenes, image_size: int, *, source: str) -> None:
        self.name, self.source, self.image_size, self.images, self.scenes = (
            name,
            source,
            image_size,
            images,
            scenes,
        )
        self.channels, self.most = images.shape[3], scenes.positions.shape[1]
        self.knows_all = self.most > 1
        told = scenes.positions[~scenes.positions[..., 0].isnan()]
        self.span = (float(told.quantile(0.02)), float(told.quantile(0.98)))  # of x and y, strays left out

    def places(self, n: int, count: int, generator: torch.Generator) -> Tensor:
        """Places (n, count, 2) for so many objects: those of other pictures, none nearer to another than `APART`."""
        told = self.scenes.positions[~self.scenes.positions[..., 0].isnan()]
        places, missing = torch.empty(n, count, 2), torch.arange(n)
        for _ in range(500):
            drawn = told[torch.randint(len(told), (len(missing), count), generator=generator)]
            apart = (drawn[:, :, None] - drawn[:, None]).norm(dim=-1) + torch.eye(count)
            free = apart.amin(dim=(1, 2)) > APART
            places[missing[free]] = drawn[free]
            missing = missing[~free]
            if not len(missing):
                return places
        raise InputError(
            f"{count} objects find no room in {self.name}: its places lie too near to one another, give a file in "
            f"which they are more than {APART:g} of the picture apart."
        )

    def pool(self, n: int, *, seed: int = 0, held_out: bool = False, **limits) -> Stored:
        """The file's pictures to draw from, every tenth of them if `held_out` and else the others; what a file holds
        has its own number of scenes and its own limits, so that `n` and the rest are without a meaning here."""
        rows = torch.arange(len(self.scenes))
        chosen = rows[(rows % HELD_OUT == 0) == held_out]
        return Stored(self, chosen)

    def describe(self) -> str:
        """One sentence: what this is."""
        told = (
            "the place of one object of each"
            if not self.knows_all
            else f"the places of up to {self.most} objects"
        )
        return f"{self.name} (yours): {len(self.scenes):,} pictures with {told}."


class Stored:
    """Some rows of a `Recorded` world; draws as `Pool` does, without new colours."""

    def __init__(self, world: Recorded, rows: Tensor) -> None:
        self.world, self.rows, self.scenes = world, rows, world.scenes[rows]

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Scenes]:
        """n pictures (n, C, H, W) in [0, 1] and what they show."""
        chosen = torch.randint(len(self.rows), (n,), generator=generator)
        rows, order = self.rows[chosen].sort()
        pixels = torch.from_numpy(np.ascontiguousarray(self.world.images[rows.numpy()])).permute(0, 3, 1, 2)
        return fit(pixels, self.world.image_size), self.scenes[chosen[order]]


def read(path: str | Path) -> tuple[NpzMember, Scenes]:
    """The pictures and places in an .npz file.

    In the layout of CLEVR-positions (clevr_pos_data_128_30000.npz of Liu et al. 2022): `ims` uint8 (n, 128, 128, 3) and
    `coords_labels` float (n, 2), x and y of one object as shares of the picture. That file cannot be fetched here; the
    names and shapes are those that its authors' own reader takes. Also taken: `images` for the pictures; `labels` or
    `positions` for the places; and (n, K, 2) for up to K objects, where NaN, or (-1, -1) as its authors write "no
    condition", is no object.

    Raises:
        InputError: no such file, other arrays, other shapes, places that are no shares of the picture.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"{path} does not exist: expected an .npz file of scenes, or clevr-twin.")
    if path.suffix != ".npz":
        raise InputError(
            f"{path} cannot be read as scenes: expected an .npz file with {IMAGES[0]} and {PLACES[0]}."
        )
    keys = npz_keys(path)
    found = [next((name for name in names if name in keys), None) for names in (IMAGES, PLACES)]
    for name, names in zip(found, (IMAGES, PLACES), strict=True):
        if name is None:
            raise InputError(
                f"{path} holds {', '.join(keys) or 'nothing'}: expected an array named "
                f"{' or '.join(names)}, as in CLEVR-positions."
            )
    pictures, told = NpzMember(path, found[0]), NpzMember(path, found[1])
    where = f"{path}, field {found[1]!r}"
    values = told.read()
    if (
        values.dtype.kind not in "fiu"
        or values.ndim not in (2, 3)
        or values.shape[-1] != 2
        or 0 in values.shape
    ):
        raise InputError(
            f"{where} has shape {values.shape} of {values.dtype}: expected numbers (n, 2), a place for each "
            "picture, or (n, K, 2)."
        )
    if len(values) != pictures.shape[0]:
        raise InputError(
            f"{where} has {len(values):,} rows for {pictures.shape[0]:,} pictures: expected one for each."
        )
    positions = torch.from_numpy(values.astype(np.float32))
    positions = positions[:, None] if positions.ndim == 2 else positions
    positions = torch.where((positions == -1).all(-1, keepdim=True), math.nan, positions)
    gone = positions.isnan()
    if (bad := (gone[..., 0] != gone[..., 1]) | ((positions < 0) | (positions > 1)).any(-1)).any():
        row, slot = bad.nonzero()[0].tolist()
        raise InputError(
            f"{where}, row {row} holds ({positions[row, slot, 0]:.4g}, {positions[row, slot, 1]:.4g}): "
            "expected x and y as shares of the picture, from 0 to 1; divide pixels by the picture's size."
        )
    if gone.all(-1).all(-1).any():
        row = int(gone.all(-1).all(-1).nonzero()[0])
        raise InputError(f"{where}, row {row} holds no place: leave pictures without an object out.")
    order = gone[..., 0].long().argsort(dim=1, stable=True)  # those that are there first
    return pictures, Scenes(positions.gather(1, order[..., None].expand_as(positions)))


def load(dataset: str = "clevr-twin", *, image_size: int = 64, device: str = "cpu") -> ClevrTwin | Recorded:
    """A world of scenes by name, or your own by path.

    Raises:
        InputError: no such name and no such path, or a file that cannot be used.
    """
    if dataset == ClevrTwin.name:
        return ClevrTwin(image_size=image_size, device=device)
    if not (Path(dataset).suffix or "/" in dataset or "\\" in dataset or Path(dataset).exists()):
        raise suggest("world of scenes", dataset, (ClevrTwin.name,))
    pictures, scenes = read(dataset)
    return Recorded(Path(dataset).stem, settle(pictures, image_size), scenes, image_size, source="yours")
