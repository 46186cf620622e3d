"""dsprites-twin: the factors and the grid of dSprites (Matthey et al. 2017), drawn by us.

Binary 64x64 sprites without anti-aliasing: a pixel is white where its centre lies inside the shape. Shapes are analytic
(a square, an ellipse of axes 1 : 2, a heart), so a batch is one evaluation of an implicit function at every pixel.

Departures from the published set: the outlines and sizes are ours, so numbers measured here are the twin's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Factor, World

SHAPES = ("square", "ellipse", "heart")
SCALES = tuple(0.5 + 0.1 * i for i in range(6))
ANGLES = tuple(
    2 * math.pi * i / 39 for i in range(40)
)  # the published grid counts 0 and 2 pi as two attributes
POSITIONS = tuple(i / 31 for i in range(32))
SYMMETRY = (4, 2, 1)  # of square, ellipse, heart: turns by a quarter, a half, a whole change nothing
EXTENT = 0.17  # half of a sprite's side at scale 1, in units of the image
MARGIN = 0.25  # sprites at position 0 or 1 stay inside the image at every angle


class DSpritesTwin(World):
    """737,280 states: colour 1, shape 3, scale 6, orientation 40, x 32, y 32. Grey images in {0, 1}.

    Args:
        image_size: pixels on a side, at least 8.
        device: where images are drawn.
    """

    name = "dsprites-twin"
    source = "procedural twin"
    factors = (
        Factor("colour", ("white",)),
        Factor("shape", SHAPES),
        Factor("scale", SCALES, "ordered"),
        Factor("orientation", ANGLES, "cyclic"),
        Factor("position x", POSITIONS, "ordered"),
        Factor("position y", POSITIONS, "ordered"),
    )
    channels = 1

    def __init__(self, *, image_size: int = 64, device: str | torch.device = "cpu") -> None:
        self.image_size = image_size
        self.device = torch.device(device)
        self._values = [
            torch.tensor(factor.values, device=self.device, dtype=torch.float32)
            for factor in self.factors[2:]
        ]
        centres = (torch.arange(image_size, device=self.device) + 0.5) / image_size
        self._rows, self._columns = torch.meshgrid(centres, centres, indexing="ij")

    def tells_apart(self, factor: int) -> bool:
        """All but orientations: a square looks the same after a quarter turn."""
        return self.factors[factor].name != "orientation"

    def alike(self, factor: int, a: Tensor, b: Tensor, states: Tensor) -> Tensor:
        """Equal, or orientations that the shape's symmetry hides.

        The period in steps of the grid, 39 over the symmetry's order, need not be whole: nearest counts, half a step
        or less. Angles 0 and 39 are the same for every shape.
        """
        if self.tells_apart(factor):
            return a == b
        period = (len(ANGLES) - 1) / torch.tensor(SYMMETRY, device=states.device)[states[:, 1]].double()
        apart = (a - b).double().abs() % period
        return torch.minimum(apart, period - apart) <= 0.5

    def render(self, states: Tensor) -> Tensor:
        """Observations (n, 1, image_size, image_size), each pixel 0 or 1, of states (n, 6)."""
        states = states.to(self.device)
        scale, angle, x, y = (
            values[states[:, i + 2]].view(-1, 1, 1) for i, values in enumerate(self._values)
        )
        place = lambda position: MARGIN + (1 - 2 * MARGIN) * position  # noqa: E731
        right, down = self._columns - place(x), self._rows - place(y)
        u = (right * angle.cos() + down * angle.sin()) / (EXTENT * scale)
        v = (down * angle.cos() - right * angle.sin()) / (EXTENT * scale)
        inside = _inside(u, v, states[:, 1].view(-1, 1, 1))
        return inside.to(torch.float32).unsqueeze(1)


def _inside(u: Tensor, v: Tensor, shape: Tensor) -> Tensor:
    """Whether points (u right, v down) lie in the unit square, ellipse or heart."""
    square = torch.maximum(u.abs(), v.abs()) <= 0.9
    ellipse = (u / 1.2) ** 2 + (v / 0.6) ** 2 <= 1
    a, b = u * 1.15, 0.25 - v * 1.15  # the classic heart curve (a^2 + b^2 - 1)^3 = a^2 b^3
    heart = (a**2 + b**2 - 1) ** 3 - a**2 * b**3 <= 0
    return torch.where(shape == 0, square, torch.where(shape == 1, ellipse, heart))
