"""Pictures and pen strokes slightly turned, stretched, moved and bent: what a person would still call the same thing.

For learning without labels: a picture and its bent self belong together, whatever they show. How far is too far is
knowledge about the data, and the only such knowledge used here: a digit turned by 15 degrees is the same digit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError

TURN = 0.25  # radians, at most, to either side; and how much a row is sheared for each row of height
STRETCH = 0.15  # of either side, at most
SHIFT = 0.15  # of half a picture: two pixels of 28
PULL = 0.05  # of the frame: how far each point of a stroke is pulled in a direction of its own
BEND = 0.12  # of half a picture: how far each node of a grid of 4x4 is pulled in a direction of its own


def bend(pictures: Tensor, side: int, generator: torch.Generator, *, strength: float = 1.0) -> Tensor:
    """Each picture by a deformation of its own: turned, sheared, stretched, moved, and its middle pulled about.

    Args:
        pictures: (..., side * side), as vectors; outside of a picture is 0.
        generator: where it lives, the deformations are drawn.
        strength: factor of all extents; 0 changes nothing but what interpolation does.

    Raises:
        InputError: vectors that are no square pictures of that side.
    """
    if pictures.shape[-1] != side * side:
        raise InputError(
            f"vectors of {pictures.shape[-1]} numbers are no pictures of {side}x{side}, and only pictures can be bent."
        )
    flat = pictures.reshape(-1, 1, side, side)
    n = len(flat)
    if n == 0:
        return pictures

    def uniform(*shape: int) -> Tensor:
        return strength * (2 * torch.rand(n, *shape, generator=generator, device=generator.device) - 1)

    turn, shear, stretch = TURN * uniform(), TURN * uniform(), 1 + STRETCH * uniform(2)
    rows = (
        torch.stack([turn.cos() * stretch[:, 0], shear - turn.sin() * stretch[:, 1]], dim=1),
        torch.stack([turn.sin() * stretch[:, 0], turn.cos() * stretch[:, 1]], dim=1),
    )
    linear = torch.cat([torch.stack(rows, dim=1), SHIFT * uniform(2, 1)], dim=2)
    grid = F.affine_grid(linear, list(flat.shape), align_corners=False)
    pulled = F.interpolate(BEND * uniform(2, 4, 4), size=(side, side), mode="bicubic", align_corners=True)
    bent = F.grid_sample(flat, grid + pulled.permute(0, 2, 3, 1), align_corners=False)
    return bent.view(pictures.shape)


def bend_strokes(strokes: Tensor, generator: torch.Generator, *, strength: float = 1.0) -> Tensor:
    """Each stroke turned, sheared and pulled about at every point, then brought back to the frame that it filled.

    Args:
        strokes: (..., 2 * points), the places x, y of the points in turn, in [0, 1].
        generator: where it lives, the deformations are drawn.
        strength: factor of all extents; 0 changes nothing.

    Raises:
        InputError: vectors of an odd number of features.
    """
    if strokes.shape[-1] % 2:
        raise InputError(f"vectors of {strokes.shape[-1]} numbers are no strokes: expected x and y of each point.")
    points = strokes.reshape(-1, strokes.shape[-1] // 2, 2)
    n = len(points)
    if n == 0:
        return strokes

    def uniform(*shape: int) -> Tensor:
        return strength * (2 * torch.rand(n, *shape, generator=generator, device=generator.device) - 1)

    turn, shear = TURN * uniform(), TURN * uniform()
    rows = (torch.stack([turn.cos(), shear - turn.sin()], dim=1), torch.stack([turn.sin(), turn.cos()], dim=1))
    low, size = _frame(points)
    bent = (points - 0.5) @ torch.stack(rows, dim=1).mT.to(points) + PULL * uniform(*points.shape[1:]).to(points)
    bent_low, bent_size = _frame(bent)
    return (low + size * (bent - bent_low) / bent_size.clamp_min(1e-6)).view(strokes.shape)


def _frame(points: Tensor) -> tuple[Tensor, Tensor]:
    """The lower corner and the sides of the frame around points (n, k, 2): (n, 1, 2) each."""
    low = points.amin(dim=1, keepdim=True)
    return low, points.amax(dim=1, keepdim=True) - low
