"""Worlds by name: procedural twins, published files and your own data, never confused with one another."""

from __future__ import annotations

from pathlib import Path

from ..errors import suggest
from .base import Factor, World
from .dsprites import DSpritesTwin
from .mpi3d import MPI3DTwin
from .shapes3d import Shapes3DTwin

__all__ = ["TWINS", "Factor", "World", "load", "names"]

TWINS = {"shapes3d-twin": Shapes3DTwin, "dsprites-twin": DSpritesTwin, "mpi3d-twin": MPI3DTwin}


def names() -> list[str]:
    """Every world that `load` knows by name."""
    from . import published

    return [*TWINS, *published.NAMES]


def load(name: str | Path, *, image_size: int = 64, device: str = "cpu") -> World:
    """The world of that name, or your own data where `name` is a path.

    Args:
        name: one of `names()`, or the path of a folder, .npz, .h5 or .parquet.
        image_size: pixels on a side, 32 or 64.
        device: where a twin renders ("cpu", "cuda"); data from files are read on the CPU.

    Raises:
        InputError: no such world and no such path, or the data cannot be used.
    """
    text = str(name)
    if text in TWINS:
        return TWINS[text](image_size=image_size, device=device)
    from . import published, yours  # these need file readers that the twins do without

    if text in published.NAMES:
        return published.load(text, image_size=image_size)
    looks_like_path = Path(text).suffix or "/" in text or "\\" in text or Path(text).exists()
    if not looks_like_path:
        raise suggest("world", text, names())
    return yours.load(Path(text), image_size=image_size)
