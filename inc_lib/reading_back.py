"""What comes back when the pictures of codes are encoded again, h(G(z)): what to draw, and how finely.

    draws = drawn_whereread_back(model, codes[:6000])     # codes whose pictures are read as these codes
    natural_resolution(codes, read_back(model, codes[:4000]), 7)  # how many parts of equal mass a code falls into
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from .clustering import Model
from .errors import InputError
from .joint_partitions import AWAKE

BATCH = 1024
ASTRAY = 0.2  # share of a code's deviation; what is read back further away than that, on average, is misread by h


def drawn_where_read(model: Model, codes: Tensor, subspaces: Sequence[Sequence[int]] | None = None, *,
                     n_steps: int = 2, neighbours: int = 100) -> Tensor:
    """Codes z* whose pictures are read as the codes z: h(G(z*)) = z, by n_steps of z* += mean of z - h(G(z*)).

    An encoder stops short: the mean of a posterior is drawn towards the prior, most at the ends of a code, so that
    G(h(o)) shows a little less of everything than o did. The correction needs no labels. It is a fixed-point
    iteration, which converges where h(G(.)) is near the identity. Each subspace is corrected by the *mean* of what
    its nearest codes want: what a single picture wants has to do with everything else in it too, and would do harm
    in another picture. Codes that do not vary are left alone, and so are subspaces with a code that is read back
    further than `ASTRAY` from what was drawn: there h(G(.)) is nowhere near the identity.

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
    if n_steps:
        off = _off(codes, read_back(model, codes))
        near = [(own, rows) for own, rows in near if not _is_astray(off, own)]
    for _ in range(n_steps):
        wanted = codes - read_back(model, found)
        for own, rows in near:
            found[:, own] += wanted[:, own][rows].mean(dim=1)
    return found


def _nearest(codes: Tensor, k: int) -> Tensor:
    """The k nearest of each of codes (n, d), itself among them: int64 (n, k)."""
    return torch.from_numpy(NearestNeighbors(n_neighbors=k).fit(codes.numpy()).kneighbors(
        codes.numpy(), return_distance=False))


def read_back(model: Model, codes: Tensor) -> Tensor:
    """h(G(z)) of codes (n, d): float32 (n, d), on the CPU."""
    with torch.no_grad():
        return torch.cat([model.encode(model.decode(part)).cpu().float() for part in codes.split(BATCH)])


def faults(model: Model, codes: Tensor, observations: Tensor, subspaces: Sequence[Sequence[int]]) -> Tensor:
    """How wrong pictures are where `drawn_where_read` leaves codes as they are because h misreads them.

    Args:
        model, codes, subspaces: as there.
        observations: (n, C, H, W), whose codes (n, d) they are.

    Returns:
        float32 (n, d): in the columns of such subspaces the squared error of each picture; 0 in all others.
    """
    found = torch.zeros(codes.shape)
    off = _off(codes, read_back(model, codes))
    if astray := sorted({d for own in subspaces if _is_astray(off, own) for d in own}):
        with torch.no_grad():
            found[:, astray] = torch.cat([(model.decode(part).cpu() - seen).square().sum(dim=(1, 2, 3)) for part, seen
                                          in zip(codes.split(BATCH), observations.split(BATCH), strict=True)])[:, None]
    return found


def _off(codes: Tensor, back: Tensor) -> Tensor:
    """How far each code (n, d) is read back from what was drawn, on average, as a share of its deviation; 0 for a quiet
    one: (d,)."""
    deviation = codes.std(dim=0)
    share = (codes - back).abs().mean(dim=0) / deviation.clamp_min(1e-12)
    return torch.where(deviation > AWAKE * deviation.max(), share, 0.0)


def _is_astray(off: Tensor, own: Sequence[int]) -> bool:
    """Whether a subspace holds a code of which h(G(.)) is nowhere near the identity."""
    return float(off[list(own)].max()) > ASTRAY


def came_back(codes: Tensor, back: Tensor, dimension: int, cells: Sequence[int]) -> list[float]:
    """How finely can a code be read back? Cut it in K parts of equal mass, draw, encode: the share of pictures that
    come back to their own part, for each K of `cells`. Needs no labels.

    Args:
        codes: (m, d), of observations; they say where the parts end.
        back: (n, d), n <= m: what the first n of them are read as, `read_back`.
        dimension: the code.
        cells: numbers of parts K, each at least 1.
    """
    values, after = codes[:, dimension].numpy(), back[:, dimension].numpy()
    shares = []
    for k in cells:
        edges = np.quantile(values, np.arange(1, k) / k)
        shares.append(float((np.searchsorted(edges, values[:len(after)], side="right")
                             == np.searchsorted(edges, after, side="right")).mean()))
    return shares


def natural_resolution(codes: Tensor, back: Tensor, dimension: int, *, finest: int = 60) -> int:
    """The number of parts of equal mass whose borders do the least harm: a resolution chosen without labels.

    Where a border lies between two heaps, hardly a picture crosses it on its way back; where it cuts a heap, many do.
    So the share that comes back falls with the number of parts K, and stands out where all borders lie between heaps:
    at the number of attributes, if these are equally frequent and their codes are in heaps at all. What is returned
    is the K in 2 to `finest` that stands out most above the mean of K - 1 and K + 1 parts; 1 for a code of one value.

    Args:
        codes, back, dimension: see `came_back`.
        finest: at least 3.
    """
    if isinstance(finest, bool) or finest < 3:
        raise InputError(f"finest {finest!r} cannot be used: expected a whole number of at least 3.")
    if float(codes[:, dimension].std()) == 0:
        return 1
    shares = np.array(came_back(codes, back, dimension, range(1, finest + 2)))
    return 2 + int((shares[1:-1] - (shares[:-2] + shares[2:]) / 2).argmax())
