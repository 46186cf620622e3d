"""What comes back when the pictures of codes are encoded again, h(G(z)): what to draw, and how finely.

    draws = drawn_where_read(model, codes[:6000])     # codes whose pictures are read as these codes
    finest_resolution(model, codes, 7, [2, 4, 8])     # parts of equal mass that G and h keep apart
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from .clustering import Model
from .errors import InputError
from .subspaces import AWAKE

BATCH = 1024
CONVINCING = 0.95     # share of pictures that come back to their own part


def drawn_where_read(model: Model, codes: Tensor, subspaces: Sequence[Sequence[int]] | None = None, *,
                     n_steps: int = 2, neighbours: int = 100) -> Tensor:
    """Codes z* whose pictures are read as the codes z: h(G(z*)) = z, by n_steps of z* += mean of z - h(G(z*)).

    An encoder stops short: the mean of a posterior is drawn towards the prior, most at the ends of a code, so that
    G(h(o)) shows a little less of everything than o did. The correction needs no labels. It is a fixed-point
    iteration, which converges where h(G(.)) is near the identity. Each subspace is corrected by the *mean* of what
    its nearest codes want: what a single picture wants has to do with everything else in it too, and would do harm
    in another picture. Codes that do not vary are left alone.

    Args:
        model: h and G.
        codes: (n, d), on the CPU.
        subspaces: the codes of each, disjoint; codes in none are left alone (default: each code by itself).
        n_steps: few: later steps fit what h misreads.
        neighbours: codes of the mean; 1: every picture for itself.

    Returns:
        float32 (n, d).
    """
    if n_steps < 0 or neighbours < 1:
        raise InputError(f"n_steps {n_steps!r} and neighbours {neighbours!r} cannot be used: expected whole numbers "
                         "of at least 0 and 1.")
    deviation = codes.std(dim=0)
    groups = [[d] for d in range(codes.shape[1])] if subspaces is None else [list(own) for own in subspaces]
    awake = (deviation > AWAKE * deviation.max()).tolist()
    near = [(own, _nearest(codes[:, own], min(neighbours, len(codes))))
            for own in ([d for d in group if awake[d]] for group in groups) if own]
    found = codes.float().clone()
    for _ in range(n_steps):
        wanted = codes - _read(model, found)
        for own, rows in near:
            found[:, own] += wanted[:, own][rows].mean(dim=1)
    return found


def _nearest(codes: Tensor, k: int) -> Tensor:
    """The k nearest of each of codes (n, d), itself among them: int64 (n, k)."""
    return torch.from_numpy(NearestNeighbors(n_neighbors=k).fit(codes.numpy()).kneighbors(
        codes.numpy(), return_distance=False))


def _read(model: Model, codes: Tensor) -> Tensor:
    """h(G(z)) of codes (n, d), on the CPU."""
    with torch.no_grad():
        return torch.cat([model.encode(model.decode(part)).cpu().float() for part in codes.split(BATCH)])


def came_back(model: Model, codes: Tensor, dimension: int, cells: Sequence[int]) -> list[float]:
    """How finely can a code be read back? Cut it in K parts of equal mass, draw, encode: the share of pictures that
    come back to their own part, for each K of `cells`. Needs no labels.

    Args:
        model: h and G.
        codes: (n, d), of observations.
        dimension: the code.
        cells: numbers of parts K, each at least 1.
    """
    before, after = codes[:, dimension].numpy(), _read(model, codes)[:, dimension].numpy()
    shares = []
    for k in cells:
        edges = np.quantile(before, np.arange(1, k) / k)
        shares.append(float((np.searchsorted(edges, before, side="right")
                             == np.searchsorted(edges, after, side="right")).mean()))
    return shares


def finest_resolution(model: Model, codes: Tensor, dimension: int, cells: Sequence[int], *,
                      least: float = CONVINCING) -> int:
    """The largest of `cells` at which at least `least` of the pictures come back to their own part; else 1.

    A resolution that needs no labels. It is a lower bound of what the code holds: two places of the *same* attribute
    are two parts as well, and need not be kept apart.
    """
    if not 0 < least <= 1:
        raise InputError(f"least {least!r} is out of range: expected a share in (0, 1].")
    shares = came_back(model, codes, dimension, cells)
    return max((k for k, share in zip(cells, shares, strict=True) if share >= least), default=1)
