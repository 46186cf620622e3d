"""Pictures with a label for every pixel: worlds that the ray caster draws, and your own folders.

A surface's weight map (see `raytrace`) says how much of its colour a pixel has; the label of a pixel is the surface
with the largest weight. Labels judge a clustering of pixels, nothing learns from them.

Plain pictures of the twins have one hue a surface, and two accidents that would solve the task: flat colour, and
(in shapes3d-twin) surfaces that are always in the same places. So there are variants:

- `textured-*`: every surface of every picture has stripes of its own, of a direction, width and phase drawn anew, that
  darken it by up to `STRIPES`; a lamp of each picture falls off around a place drawn anew; and a little noise.
- `moving-shapes3d`: textured, and the camera looks elsewhere in each picture: a window, drawn anew, of a larger one.

Hues are those of the twin: drawn independently for floor, wall and object, so no hue means a label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError, suggest
from . import mpi3d
from .base import Factor
from .map_folders import read
from .shapes3d import ANGLES, SHAPES, Shapes3DTwin

STRIPES = 0.4  # a stripe's darkest line takes away this share of the light
WAVELENGTHS = (0.12, 0.27)  # of the stripes, in widths of a picture
LAMP = 0.6  # standard deviation of the lamp's light, in widths of a picture
DIMMEST = 0.35  # light far away from the lamp
NOISE = 0.03  # of the camera, standard deviation
REACH = 0.25  # how far a moving camera looks to either side, in widths of a picture
TEST_SHARE = 0.2  # of your own pictures; a world of ours draws a quarter as many as it draws to learn from


@dataclass(frozen=True)
class Labelled:
    """Pictures and their maps.

    Attributes:
        pictures: float32 (n, C, H, W) in [0, 1].
        maps: int64 (n, H, W), the label of each pixel; -1 is not judged.
    """

    pictures: Tensor
    maps: Tensor

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class PixelWorld:
    """A training and a test part of pictures with label maps.

    Attributes:
        name, source: as of a `World`.
        classes: what the labels are called.
    """

    name: str
    source: str
    train: Labelled
    test: Labelled
    classes: tuple[str, ...]

    @property
    def factors(self) -> tuple[Factor, ...]:
        """One, that pixels have: the label."""
        return (Factor("label", self.classes),)

    @property
    def image_size(self) -> int:
        return self.train.pictures.shape[-1]

    def describe(self) -> str:
        height, width = self.train.pictures.shape[-2:]
        return (
            f"World {self.name} ({self.source}): {len(self.train):,} pictures to learn from and {len(self.test):,} to "
            f"test on, {height}x{width} pixels, each pixel one of {len(self.classes)}: {', '.join(self.classes)}."
        )


def names() -> tuple[str, ...]:
    """The worlds that can be asked for by name."""
    return ("textured-shapes3d", "moving-shapes3d", "shapes3d-twin", "textured-mpi3d")


def load(dataset: str | Path, *, n: int = 800, image_size: int = 32, seed: int = 0) -> PixelWorld:
    """A world by name, or a folder of your own (see `map_folders`).

    Args:
        n: pictures to learn from; of yours at most.
        image_size: pixels on a side.
        seed: of the draw.

    Raises:
        InputError: no such world, or a folder that cannot be read.
    """
    if n < 2 or image_size < 8:
        raise InputError(
            f"{n} pictures of {image_size} pixels cannot be used: expected at least 2 pictures and 8 pixels."
        )
    if str(dataset) in names():
        drawn = draw(str(dataset), n + max(n // 4, 1), image_size=image_size, seed=seed)
        parts = Labelled(drawn[0][:n], drawn[1][:n]), Labelled(drawn[0][n:], drawn[1][n:])
        classes = ("background", "arm", "object") if "mpi3d" in str(dataset) else ("floor", "wall", "object")
        return PixelWorld(str(dataset), "procedural", *parts, classes)
    if not Path(dataset).expanduser().exists():
        raise suggest("dataset", str(dataset), names())
    pictures, maps, classes = read(dataset, image_size=image_size, most=n + max(n // 4, 1))
    held = max(1, round(TEST_SHARE * len(pictures)))
    if len(pictures) - held < 2:
        raise InputError(f"{dataset} holds {len(pictures)} pictures with maps: expected at least 3.")
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    parts = [Labelled(pictures[rows], maps[rows]) for rows in (order[held:], order[:held])]
    return PixelWorld(Path(dataset).expanduser().resolve().name, "yours", *parts, classes)


def draw(name: str, n: int, *, image_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """n pictures of a world by name and their label maps, float32 (n, 3, H, W) and int64 (n, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    margin = round(REACH * image_size) if name == "moving-shapes3d" else 0
    size = image_size + 2 * margin
    colours, weights = (mpi3d_layers if "mpi3d" in name else shapes3d_layers)(n, size, generator)
    labels = weights.argmax(1)
    if name == "shapes3d-twin":
        return torch.einsum("nkc,nkhw->nchw", colours, weights), labels
    weights = weights * stripes(n, weights.shape[1], size, generator)
    pictures = torch.einsum("nkc,nkhw->nchw", colours, weights) * lamps(n, size, generator)[:, None]
    pictures = (pictures + NOISE * torch.randn(pictures.shape, generator=generator)).clamp(0, 1)
    if not margin:
        return pictures, labels
    corners = torch.randint(0, 2 * margin + 1, (n, 2), generator=generator)
    cut = [(slice(r, r + image_size), slice(c, c + image_size)) for r, c in corners.tolist()]
    return (
        torch.stack(
            [picture[:, rows, columns] for picture, (rows, columns) in zip(pictures, cut, strict=True)]
        ),
        torch.stack([label[rows, columns] for label, (rows, columns) in zip(labels, cut, strict=True)]),
    )


def shapes3d_layers(n: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Colours (n, 3, 3) and weight maps (n, 3, size, size) of floor, wall and object, states drawn uniformly."""
    world = Shapes3DTwin(image_size=size)
    states = world.states(n, generator)
    scale, shape, angle = states[:, 3:].unbind(1)
    geometry = (scale * len(SHAPES) + shape) * len(ANGLES) + angle  # the order in which the caster keeps them
    return world.palette[states[:, :3]], world.weights[geometry].view(n, 3, size, size)


def mpi3d_layers(n: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same of mpi3d-twin: background, arm and object."""
    worlds = [_Lit(surface, image_size=size) for surface in (mpi3d.BACKGROUND, mpi3d.ARM, mpi3d.OBJECT)]
    states = worlds[0].states(n, generator)
    objects, behind, arm = (
        torch.tensor(part)
        for part in (list(mpi3d.COLOURS.values()), list(mpi3d.BACKGROUNDS.values()), mpi3d.ARM_COLOUR)
    )
    colours = torch.stack([behind[states[:, 4]], arm.expand(n, 3), objects[states[:, 0]]], dim=1)
    return colours, torch.stack([world.render(states)[:, 0] for world in worlds], dim=1)


class _Lit(mpi3d.MPI3DTwin):
    """mpi3d-twin with one surface white and the others black: its pictures are that surface's weights."""

    def __init__(self, surface: int, *, image_size: int) -> None:
        super().__init__(image_size=image_size)
        lit = [
            torch.full_like(part, float(k == surface))
            for k, part in enumerate((self._behind, self._arm, self._objects))
        ]  # in the order of BACKGROUND, ARM, OBJECT
        self._behind, self._arm, self._objects = lit


def stripes(n: int, k: int, size: int, generator: torch.Generator) -> Tensor:
    """What the texture leaves of the light on each of k surfaces: (n, k, size, size) in [1 - STRIPES, 1]."""
    direction, wavelength, phase = torch.rand(3, n, k, 1, 1, generator=generator)
    angle, (least, most) = math.pi * direction, WAVELENGTHS
    rows, columns = _places(size)
    along = (angle.cos() * columns + angle.sin() * rows) / (least + (most - least) * wavelength)
    return 1 - STRIPES * (0.5 + 0.5 * (2 * math.pi * (along + phase)).sin())


def lamps(n: int, size: int, generator: torch.Generator) -> Tensor:
    """The light of each picture's lamp: (n, size, size) in [DIMMEST, 1]."""
    down, right = torch.rand(2, n, 1, 1, generator=generator)
    rows, columns = _places(size)
    far = (rows - down) ** 2 + (columns - right) ** 2
    return DIMMEST + (1 - DIMMEST) * (-far / (2 * LAMP**2)).exp()


def _places(size: int) -> tuple[Tensor, Tensor]:
    """Rows (size, 1) and columns (1, size) of the pixels' centres, in widths of a picture."""
    ticks = (torch.arange(size) + 0.5) / size
    return ticks[:, None], ticks[None]
