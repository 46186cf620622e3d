"""shapes3d-twin: the factors and the grid of 3DShapes (Burgess & Kim 2018), rendered by us.

A room with a floor and three walls, one object in its middle, and a camera that walks around it. Only 480 of
the 480,000 states differ in geometry (scale, shape, orientation): their weight maps are cast once, and an image is
one small matrix product (colours x weight maps). Nothing is stored and nothing is loaded.

Departures from the published set: our own camera, light and object sizes, so numbers measured here are the twin's.
"""

from __future__ import annotations

import colorsys
import functools
import math

import torch
from torch import Tensor

from . import raytrace
from .base import Factor, World

HUES = tuple(round(i / 10, 1) for i in range(10))
SHAPES = ("cube", "cylinder", "sphere", "capsule")
SCALES = tuple(0.75 + 0.5 * i / 7 for i in range(8))
ANGLES = tuple(-30 + 60 * i / 14 for i in range(15))

FLOOR, WALL, OBJECT = 0, 1, 2
HALF_WIDTH, DEPTH = 2.9, 2.4  # side walls at x = -+2.9, back wall at y = 2.4
CAMERA_DISTANCE, CAMERA_HEIGHT = 4.4, 2.35
LOOK_AT = (0.0, 0.0, 0.85)
FIELD_OF_VIEW = 52.0
LIGHT = (-1.6, -3.4, 4.2)  # left of the camera: no two walls are lit alike
SUPERSAMPLING = 3
RGB = tuple(colorsys.hsv_to_rgb(hue, 1.0, 1.0) for hue in HUES)
FACTORS = (
    Factor("floor hue", HUES, "cyclic"),
    Factor("wall hue", HUES, "cyclic"),
    Factor("object hue", HUES, "cyclic"),
    Factor("scale", SCALES, "ordered"),
    Factor("shape", SHAPES),
    Factor("orientation", ANGLES, "ordered"),
)


class Shapes3DTwin(World):
    """480,000 states: floor hue 10, wall hue 10, object hue 10, scale 8, shape 4, orientation 15.

    Args:
        image_size: pixels on a side, at least 8.
        device: where the weight maps live and images are composed.

    >>> Shapes3DTwin(image_size=32).sample(2, torch.Generator().manual_seed(0))[0].shape
    torch.Size([2, 3, 32, 32])
    """

    name = "shapes3d-twin"
    source = "procedural twin"
    factors = FACTORS
    channels = 3

    def __init__(self, *, image_size: int = 64, device: str | torch.device = "cpu") -> None:
        self.image_size = image_size
        self.device = torch.device(device)
        self.weights = weight_maps(image_size, self.device)
        self.palette = torch.tensor(RGB, device=self.device)

    def render(self, states: Tensor) -> Tensor:
        """Observations (n, 3, image_size, image_size) in [0, 1] of states (n, 6)."""
        states = states.to(self.device)
        scale, shape, angle = states[:, 3], states[:, 4], states[:, 5]
        geometry = (scale * len(SHAPES) + shape) * len(ANGLES) + angle
        colours = self.palette[states[:, :3]].transpose(1, 2)  # (n, rgb, surface)
        images = torch.bmm(colours, self.weights[geometry])  # (n, rgb, pixels)
        return images.view(-1, 3, self.image_size, self.image_size)


@functools.lru_cache(maxsize=4)
def weight_maps(image_size: int, device: torch.device) -> Tensor:
    """Weight maps (480, 3, image_size ** 2) of floor, wall and object for every (scale, shape, angle)."""
    maps = torch.empty(len(SCALES), len(SHAPES), len(ANGLES), 3, image_size, image_size, device=device)
    light = torch.tensor(LIGHT, device=device)
    room = room_surfaces()
    for k, angle in enumerate(ANGLES):  # one camera at a time: its rays fit in the processor's cache
        rays = _rays(math.radians(angle), image_size, device)
        empty_room = raytrace.nearest(*rays, room)
        for i, scale in enumerate(SCALES):
            for j, shape in enumerate(SHAPES):
                thing = raytrace.Surface(_object(shape, scale, device), OBJECT, opaque=True)
                maps[i, j, k] = raytrace.cast(
                    *rays, [thing], behind=empty_room, light=light, n_labels=3, supersampling=SUPERSAMPLING
                )
    return maps.view(-1, 3, image_size**2)


def room_surfaces() -> list[raytrace.Surface]:
    """The floor and the three walls that the camera can see."""
    planes = (
        ((0.0, 0.0, 1.0), 0.0, FLOOR),
        ((0.0, -1.0, 0.0), -DEPTH, WALL),
        ((1.0, 0.0, 0.0), -HALF_WIDTH, WALL),
        ((-1.0, 0.0, 0.0), -HALF_WIDTH, WALL),
    )
    return [
        raytrace.Surface(functools.partial(raytrace.plane, normal=normal, offset=offset), label)
        for normal, offset, label in planes
    ]


def _rays(angle: float, image_size: int, device: torch.device) -> raytrace.Hit:
    """The camera's rays from an angle (in radians) around the object."""
    eye = torch.tensor(
        [CAMERA_DISTANCE * math.sin(angle), -CAMERA_DISTANCE * math.cos(angle), CAMERA_HEIGHT], device=device
    )
    return raytrace.camera_rays(
        eye,
        torch.tensor(LOOK_AT, device=device),
        size=image_size,
        field_of_view=FIELD_OF_VIEW,
        supersampling=SUPERSAMPLING,
    )


def _object(shape: str, scale: float, device: torch.device) -> functools.partial:
    """The object, standing on the floor; sizes chosen so that all four shapes look about equally large."""
    at = lambda height: torch.tensor([0.0, 0.0, height * scale], device=device)  # noqa: E731
    match shape:
        case "cube":
            return functools.partial(
                raytrace.box, centre=at(0.62), half=torch.full((3,), 0.62 * scale, device=device)
            )
        case "cylinder":
            return functools.partial(
                raytrace.cylinder, centre=at(0.75), radius=0.75 * scale, half_height=0.75 * scale
            )
        case "sphere":
            return functools.partial(raytrace.sphere, centre=at(0.88), radius=0.88 * scale)
        case _:
            return functools.partial(
                raytrace.capsule, centre=at(1.05), radius=0.58 * scale, half_length=0.47 * scale
            )


def object_extent(states: Tensor, image_size: int = 64) -> Tensor:
    """Width of the object in units of the image's width, measured on its weight map: (n,)."""
    maps = weight_maps(image_size, torch.device("cpu")).view(-1, 3, image_size, image_size)
    geometry = (states[:, 3] * len(SHAPES) + states[:, 4]) * len(ANGLES) + states[:, 5]
    columns = (maps[geometry, OBJECT] > 0.05).any(1)
    return columns.sum(1) / math.sqrt(maps.shape[-1] * maps.shape[-2])
