"""simple-shapes: one coloured shape on white, after the synthetic task of Okawa et al. (2023).

Three factors make a class, written as three digits: shape (0 circle, 1 triangle), colour (0 red, 1 blue), size
(0 large, 1 small); 011 is a small blue circle. Everything else that varies, where the shape sits, its exact tint and
its exact size, is a nuisance: it makes images of a class differ, and nobody is asked for it.

Drawn analytically: a pixel is covered as far as a signed distance to the outline says, so edges are anti-aliased.

Departures from the published set, whose images are files: ours are drawn when needed, from a finite grid of
`N_VARIANTS` tints and sizes and `N_PLACES` squared places (20,736 images a class; published: 5,000). Shapes of
one size have the same *area*. Background, places and the spread of tints and sizes are ours; tints spread until red
and blue nearly meet, sizes likewise (chapter 10 says what this is for, and what happens where they spread a sixth of
it). So numbers measured here are this world's, never the published set's. As published: the classes and their order,
the mean colours (0.9, 0.1, 0.1) and (0.1, 0.1, 0.9), green as the third and the square as the third shape; about as
published, the ratio of the sizes (1.6; published 2.6 to 1.4, 1.9).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from .base import Factor, World

SHAPES = ("circle", "triangle", "square")
COLOURS = {"red": (0.9, 0.1, 0.1), "blue": (0.1, 0.1, 0.9), "green": (0.1, 0.9, 0.1)}
SIZES = ("large", "small", "medium")
RADII = {
    "large": 0.2,
    "medium": 0.158,
    "small": 0.125,
}  # of the circle of the same area, in widths of the image
N_VARIANTS, N_PLACES = 256, 9
TINT = 0.36  # how far each colour channel may be off; short of halfway from red to blue
SPREAD = 0.2  # how far the size may be off, as a share of it (half of it among three sizes); short of halfway
REACH = 0.125  # farthest place from the middle, in widths of the image: every shape stays inside


class SimpleShapes(World):
    """`n_values` attributes each of shape, colour and size, and the nuisances variant, position x and position y.

    Args:
        n_values: attributes of each factor, 2 (published: the main experiment) or 3.
        spread: of tints and sizes, as a share of the widest, in [0, 1].
        image_size: pixels on a side, at least 16; published: 28.
        device: where images are drawn.

    Raises:
        InputError: another number of values, a smaller image, or a spread out of range.
    """

    source = "procedural"  # drawn by us after a published task, no twin of published files
    channels = 3
    nuisances = ("variant", "position x", "position y")

    def __init__(
        self,
        *,
        n_values: int = 2,
        image_size: int = 28,
        spread: float = 1.0,
        device: str | torch.device = "cpu",
    ) -> None:
        if n_values not in (2, 3) or image_size < 16 or not 0 <= spread <= 1:
            raise InputError(
                f"simple-shapes with n_values = {n_values}, image_size = {image_size}, spread = {spread} cannot be "
                "drawn: expected 2 or 3 values of each factor, at least 16 pixels, and a spread from 0 to 1."
            )
        self.name = (
            f"simple-shapes{'' if n_values == 2 else f'-{n_values}'}{'' if spread == 1 else '-narrow'}"
        )
        self.image_size, self.device = image_size, torch.device(device)
        self._spread = SPREAD * (1.0 if n_values == 2 else 0.5)
        places = tuple(2 * i / (N_PLACES - 1) - 1 for i in range(N_PLACES))
        self.factors = (
            Factor("shape", SHAPES[:n_values]),
            Factor("colour", tuple(COLOURS)[:n_values]),
            Factor("size", SIZES[:n_values], "categorical"),
            Factor("variant", tuple(range(N_VARIANTS))),
            Factor("position x", places, "ordered"),
            Factor("position y", places, "ordered"),
        )
        generator = torch.Generator().manual_seed(0)  # the variants are part of the world, not of a run
        self._jitter = (spread * (2 * torch.rand(N_VARIANTS, 4, generator=generator) - 1)).to(self.device)
        self._colours = torch.tensor([COLOURS[name] for name in self.factors[1].values], device=self.device)
        self._radii = torch.tensor([RADII[name] for name in self.factors[2].values], device=self.device)
        self._places = torch.tensor(places, device=self.device)
        centres = (torch.arange(image_size, device=self.device) + 0.5) / image_size - 0.5
        self._rows, self._columns = torch.meshgrid(centres, centres, indexing="ij")

    @property
    def condition_sizes(self) -> tuple[int, ...]:
        """How many numbers of `conditions` tell each factor."""
        return self.factors[0].size, 3, 1

    def conditions(self, states: Tensor, *, exact: bool = True) -> Tensor:
        """What a conditional generator is told of states (n, 6): the given factors h*.

        As in the released code of Okawa et al.: the shape as indicators, the colour as three numbers, the size as one.

        Args:
            exact: tint and size as the variant draws them (what training is told); False: the class's own values.

        Returns:
            float32 (n, n_values + 4): shape indicators; red, green, blue in [0, 1]; and the size, -1 for the small
            radius and 1 for the large one.
        """
        states = states.to(self.device)
        shape = torch.nn.functional.one_hot(states[:, 0], self.factors[0].size).float()
        colour, radius = self._appearance(states, exact)
        size = 2 * (radius - RADII["small"]) / (RADII["large"] - RADII["small"]) - 1
        return torch.cat([shape, colour, size[:, None]], dim=1)

    def render(self, states: Tensor) -> Tensor:
        """Observations (n, 3, image_size, image_size) of states (n, 6)."""
        states = states.to(self.device)
        colour, radius = self._appearance(states, True)
        x, y = (REACH * self._places[states[:, i]].view(-1, 1, 1) for i in (4, 5))
        right, down = self._columns - x, self._rows - y
        distance = _signed_distance(right, down, radius.view(-1, 1, 1), states[:, 0].view(-1, 1, 1))
        covered = (0.5 - distance * self.image_size).clamp(0, 1)[:, None]
        return 1 - covered * (1 - colour[:, :, None, None])

    def _appearance(self, states: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
        """Colour (n, 3) and radius (n,), in widths of the image."""
        colour, radius = self._colours[states[:, 1]], self._radii[states[:, 2]]
        if not exact:
            return colour, radius
        jitter = self._jitter[states[:, 3]]
        return (colour + TINT * jitter[:, :3]).clamp(0, 1), radius * (1 + self._spread * jitter[:, 3])


def _signed_distance(right: Tensor, down: Tensor, radius: Tensor, shape: Tensor) -> Tensor:
    """Distance to the outline of the shape with the area of a circle of that radius; negative inside."""
    circle = (right**2 + down**2).sqrt() - radius
    inner = radius * math.sqrt(math.pi / (3 * math.sqrt(3)))  # of a triangle with two corners below
    sides = [
        right * math.cos(angle) + down * math.sin(angle)
        for angle in (math.pi / 2, -math.pi / 6, math.pi * 7 / 6)
    ]
    triangle = torch.stack(torch.broadcast_tensors(*sides)).amax(0) - inner
    square = torch.maximum(right.abs(), down.abs()) - radius * math.sqrt(math.pi) / 2
    return torch.where(shape == 0, circle, torch.where(shape == 1, triangle, square))
