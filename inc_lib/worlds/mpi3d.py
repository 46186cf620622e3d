"""mpi3d-twin: the factors and the grid of MPI3D (Gondal et al. 2019), rendered by us.

A robot arm on a post holds an object. The arm turns around the post (horizontal axis) and rises (vertical axis); a
camera looks at it from one of three heights, before a background of one of three colours.

There are 57,600 geometries, too many to cast before one is asked for and too slow to cast anew for every image. But
the object lies in a small window, and outside of it an image depends on camera and axes alone: 4,800 frames. Frames
and windows are weight maps (see `raytrace`), cast when they are first needed and kept as bytes. An image is a frame,
and in its window another sum of colours x weight maps.

Departures from the published set (its "toy" and "realistic" renderings as well as the photographs): our own arm,
camera, light and sizes, and an object large enough to be told apart at 64x64. Numbers measured here are the twin's.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from ..errors import InputError
from . import raytrace
from .base import Factor, World

COLOURS = {
    "white": (0.95, 0.95, 0.95),
    "green": (0.10, 0.75, 0.20),
    "red": (0.90, 0.10, 0.10),
    "blue": (0.10, 0.25, 0.95),
    "brown": (0.48, 0.27, 0.10),
    "olive": (0.62, 0.62, 0.05),
}
BACKGROUNDS = {"purple": (0.50, 0.25, 0.60), "sea green": (0.25, 0.68, 0.55), "salmon": (0.98, 0.60, 0.52)}
SHAPES = ("cone", "cube", "cylinder", "hexagonal", "pyramid", "sphere")
SIZES = {"small": 0.30, "large": 0.43}
HEIGHTS = {"top": 48.0, "centre": 26.0, "bottom": 6.0}  # degrees above the horizon
STEPS = 40
FACTORS = (
    Factor("object colour", tuple(COLOURS)),
    Factor("object shape", SHAPES),
    Factor("object size", tuple(SIZES), "ordered"),
    Factor("camera height", tuple(HEIGHTS), "ordered"),
    Factor("background colour", tuple(BACKGROUNDS)),
    Factor("horizontal axis", tuple(range(STEPS)), "ordered"),
    Factor("vertical axis", tuple(range(STEPS)), "ordered"),
)

TURN = (-62.0, 62.0)  # degrees, of the horizontal axis' first and last attribute
RISE = (-12.0, 58.0)
ARM_LENGTH, ARM_RADIUS = 1.2, 0.10
POST_RADIUS, POST_HEIGHT = 0.22, 0.62
ARM_COLOUR = (0.16, 0.17, 0.20)
OBJECT_TURN = 25.0  # degrees: no face of the cube looks straight along the arm
CAMERA_DISTANCE, LOOK_AT, FIELD_OF_VIEW = 5.2, (0.0, -0.25, 0.98), 34.0
LIGHT = (-2.5, -3.5, 5.0)
SUPERSAMPLING = 3
BACKGROUND, ARM, OBJECT = 0, 1, 2
WINDOW = 0.42  # side of the window that holds the object, in widths of the image
AT_ONCE = 2**19  # rays cast at a time, which bounds memory


class MPI3DTwin(World):
    """1,036,800 states: object colour 6, shape 6, size 2; camera height 3, background 3; horizontal 40, vertical 40.

    Args:
        image_size: pixels on a side, at least 16.
        device: where images are cast and composed.

    Raises:
        InputError: images smaller than 16 pixels.
    """

    name = "mpi3d-twin"
    source = "procedural twin"
    factors = FACTORS
    channels = 3

    def __init__(self, *, image_size: int = 64, device: str | torch.device = "cpu") -> None:
        if image_size < 16:
            raise InputError(f"mpi3d-twin cannot be drawn at {image_size} pixels: expected at least 16.")
        self.image_size = image_size
        self.device = torch.device(device)
        self._geometry = geometry(image_size, self.device)
        tensor = functools.partial(torch.tensor, device=self.device)
        self._objects = tensor(list(COLOURS.values()))
        self._behind = tensor(list(BACKGROUNDS.values()))
        self._arm = tensor(ARM_COLOUR)

    def render(self, states: Tensor) -> Tensor:
        """Observations (n, 3, image_size, image_size) in [0, 1] of states (n, 7)."""
        states = states.to(self.device)
        colour, shape, size, camera, background, turn, rise = states.unbind(1)
        frames, windows, corners = self._geometry.get(shape, size, camera, turn, rise)
        n, side = len(states), self._geometry.side
        ground = self._behind[background][..., None, None] * frames[:, None, 0]
        images = ground + self._arm[:, None, None] * frames[:, None, 1]
        ticks = torch.arange(side, device=self.device)
        row = torch.arange(n, device=self.device)[:, None, None]
        down, right = corners[:, 0, None, None] + ticks[:, None], corners[:, 1, None, None] + ticks
        colours = torch.stack(
            [self._behind[background], self._arm.expand(n, 3), self._objects[colour]], dim=1
        )
        pixels = torch.einsum("nlc,nlhw->nhwc", colours, windows)
        images.permute(0, 2, 3, 1)[row, down, right] = pixels  # a view: written there, they stand in the images
        return images


class Geometry:
    """What 57,600 geometries look like, each cast when it is first asked for and kept as bytes.

    Attributes:
        side: pixels on a side of the window that holds the object.
    """

    def __init__(self, image_size: int, device: torch.device) -> None:
        self.size, self.device = image_size, device
        self.side = math.ceil(WINDOW * image_size)
        self.light = torch.tensor(LIGHT, device=device)
        grid = (len(HEIGHTS), STEPS, STEPS)
        new = functools.partial(torch.zeros, dtype=torch.uint8, device=device)
        self.frames = new(*grid, 2, image_size, image_size)  # weights of background and arm
        self.windows = new(len(SHAPES), len(SIZES), *grid, 3, self.side, self.side)  # and of the object
        self.has_frame = torch.zeros(grid, dtype=torch.bool, device=device)
        self.has_window = torch.zeros(self.windows.shape[:5], dtype=torch.bool, device=device)
        degrees = [math.radians(height) for height in HEIGHTS.values()]
        at = torch.tensor(LOOK_AT, device=device)
        eyes = at + CAMERA_DISTANCE * torch.tensor(
            [[0.0, -math.cos(angle), math.sin(angle)] for angle in degrees], device=device
        )
        self.origins, self.directions = raytrace.camera_rays(
            eyes, at.expand_as(eyes), size=image_size, field_of_view=FIELD_OF_VIEW, supersampling=SUPERSAMPLING
        )

    def get(
        self, shape: Tensor, size: Tensor, camera: Tensor, turn: Tensor, rise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Frames (n, 2, size, size) and windows (n, 3, side, side) in [0, 1], and the windows' corners (n, 2)."""
        place = (camera, turn, rise)
        self._cast_frames(*_distinct(place, ~self.has_frame[place]))
        self._cast_windows(*_distinct((shape, size, *place), ~self.has_window[shape, size, camera, turn, rise]))
        frames, windows = self.frames[place], self.windows[shape, size, camera, turn, rise]
        return frames / 255, windows / 255, self.corners(camera, turn, rise)

    def corners(self, camera: Tensor, turn: Tensor, rise: Tensor) -> Tensor:
        """Row and column of the upper left pixel of each window (n, 2): centred on the object, inside the image."""
        middle = (self.directions.shape[1] - 1) // 2
        ray = self.directions[camera]
        forward, right = ray[:, middle, middle], ray[:, middle, -1] - ray[:, middle, 0]
        right = torch.nn.functional.normalize(right, dim=1)
        forward = torch.nn.functional.normalize(forward - (forward * right).sum(1, keepdim=True) * right, dim=1)
        above = torch.linalg.cross(right, forward)
        off = tip(turn, rise) - self.origins[camera][:, 0, 0]
        depth = (off * forward).sum(1) * math.tan(math.radians(FIELD_OF_VIEW / 2))
        across, up = (off * right).sum(1) / depth, (off * above).sum(1) / depth
        centre = torch.stack([(1 - up) / 2, (1 + across) / 2], dim=1) * self.size
        return (centre - self.side / 2).round().long().clamp(0, self.size - self.side)

    def _cast_frames(self, camera: Tensor, turn: Tensor, rise: Tensor) -> None:
        count = self.directions.shape[1]
        for part in torch.arange(len(camera), device=self.device).split(max(1, AT_ONCE // count**2)):
            place = camera[part], turn[part], rise[part]
            rays = self.origins[place[0]], self.directions[place[0]]
            surfaces = [*room(), *arm(*place[1:])]
            maps = raytrace.cast(*rays, surfaces, light=self.light, n_labels=2, supersampling=SUPERSAMPLING)
            self.frames[place] = _bytes(maps)
            self.has_frame[place] = True

    def _cast_windows(self, shape: Tensor, size: Tensor, camera: Tensor, turn: Tensor, rise: Tensor) -> None:
        count = self.side * SUPERSAMPLING
        ticks = torch.arange(count, device=self.device)
        for k in range(len(SHAPES)):
            for s in range(len(SIZES)):
                chosen = ((shape == k) & (size == s)).nonzero()[:, 0]
                for part in chosen.split(max(1, AT_ONCE // count**2)):
                    place = camera[part], turn[part], rise[part]
                    corner = self.corners(*place) * SUPERSAMPLING
                    down, right = corner[:, 0, None, None] + ticks[:, None], corner[:, 1, None, None] + ticks
                    rays = self.origins[place[0]], self.directions[place[0][:, None, None], down, right]
                    thing = solid(SHAPES[k], list(SIZES.values())[s], *place[1:])
                    surfaces = [*room(), *arm(*place[1:]), raytrace.Surface(thing, OBJECT)]
                    maps = raytrace.cast(
                        *rays, surfaces, light=self.light, n_labels=3, supersampling=SUPERSAMPLING
                    )
                    self.windows[k, s][place] = _bytes(maps)
                    self.has_window[k, s][place] = True


@functools.lru_cache(maxsize=4)
def geometry(image_size: int, device: torch.device) -> Geometry:
    """One for all worlds of this size."""
    return Geometry(image_size, device)


def angles(turn: Tensor, rise: Tensor) -> tuple[Tensor, Tensor]:
    """Radians of the two axes, of attributes (n,)."""
    scaled = (first + (last - first) * index / (STEPS - 1) for (first, last), index in ((TURN, turn), (RISE, rise)))
    return tuple(torch.deg2rad(part) for part in scaled)


def tip(turn: Tensor, rise: Tensor) -> Tensor:
    """Where the arm ends, and the object's centre is: (n, 3). At turn 0 it points at the camera."""
    around, up = angles(turn, rise)
    reach = torch.stack([up.cos() * around.sin(), -up.cos() * around.cos(), up.sin()], dim=1)
    return torch.tensor([0.0, 0.0, POST_HEIGHT], device=turn.device) + ARM_LENGTH * reach


def room() -> list[raytrace.Surface]:
    """A floor and a wall in the distance."""
    floor = functools.partial(raytrace.plane, normal=(0.0, 0.0, 1.0), offset=0.0)
    wall = functools.partial(raytrace.plane, normal=(0.0, -1.0, 0.0), offset=-3.0)
    return [raytrace.Surface(floor, BACKGROUND), raytrace.Surface(wall, BACKGROUND)]


def arm(turn: Tensor, rise: Tensor) -> list[raytrace.Surface]:
    """The post and the arm."""
    end = tip(turn, rise)[:, None, None]
    top = torch.tensor([0.0, 0.0, POST_HEIGHT], device=turn.device)
    post = functools.partial(
        raytrace.cylinder, centre=top / 2, radius=POST_RADIUS, half_height=POST_HEIGHT / 2
    )
    link = functools.partial(raytrace.rod, start=top, end=end, radius=ARM_RADIUS)
    return [raytrace.Surface(post, ARM), raytrace.Surface(link, ARM)]


def solid(shape: str, size: float, turn: Tensor, rise: Tensor) -> functools.partial:
    """The object at the arm's end, upright, turned with the arm; all shapes about equally large."""
    around, _ = angles(turn, rise)
    around = around + math.radians(OBJECT_TURN)
    centre = tip(turn, rise)[:, None, None]
    match shape:
        case "sphere":
            return functools.partial(raytrace.sphere, centre=centre, radius=size)
        case "cylinder":
            return functools.partial(raytrace.cylinder, centre=centre, radius=0.82 * size, half_height=0.88 * size)
        case "cone":
            return functools.partial(raytrace.cone, centre=centre, radius=1.05 * size, half_height=1.1 * size)
        case "cube":
            planes = raytrace.prism(4, radius=1.13 * size, half_height=0.8 * size)
        case "hexagonal":
            planes = raytrace.prism(6, radius=1.15 * size, half_height=0.5 * size)
        case _:
            planes = raytrace.pyramid(4, radius=1.3 * size, half_height=0.9 * size)
    normals, offsets = (part.to(centre.device) for part in planes)
    return functools.partial(_turned, around=around, centre=centre, normals=normals, offsets=offsets)


def _turned(
    origin: Tensor, direction: Tensor, *, around: Tensor, centre: Tensor, normals: Tensor, offsets: Tensor
) -> raytrace.Hit:
    """A convex solid turned around the vertical by angles (n,): its rays are turned back, its normals forth."""
    turn = _about_z(around)
    t, normal = raytrace.convex(
        (origin - centre) @ turn, direction @ turn, centre=torch.zeros_like(centre[:1]), normals=normals,
        offsets=offsets,
    )
    return t, normal @ turn.transpose(-1, -2)


def _about_z(angle: Tensor) -> Tensor:
    """Matrices (n, 1, 3, 3) that turn column vectors by angles (n,) around the vertical."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, one]
    return torch.stack(rows, dim=1).view(-1, 1, 3, 3)


def _bytes(weights: Tensor) -> Tensor:
    return (weights * 255).round().to(torch.uint8)


def _distinct(columns: tuple[Tensor, ...], wanted: Tensor) -> tuple[Tensor, ...]:
    """The distinct rows among those wanted, as columns."""
    return torch.stack(columns, dim=1)[wanted].unique(dim=0).unbind(1)
