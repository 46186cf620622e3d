"""Figures of the chapter on labels for each pixel, by the conventions of `plots`: label maps painted, and ablations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.colors import to_rgb
from torch import Tensor

from .plots import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    SERIES,
    Figure,
    _figure,
    _finish,
    _name_rows,
    _styled,
    image_grid,
)

ENLARGED = 6  # times, so that pixels stay square when the page resamples a picture
UNLABELLED = (0.5, 0.5, 0.5)


def enlarge(pictures: Tensor) -> Tensor:
    """Pictures (..., C, H, W) with every pixel a square of `ENLARGED` pixels; grey ones in three channels."""
    large = pictures.repeat_interleave(ENLARGED, -2).repeat_interleave(ENLARGED, -1).clamp(0, 1)
    return large.expand(*large.shape[:-3], 3, *large.shape[-2:])


def paint(maps: Tensor) -> Tensor:
    """Label maps int64 (..., H, W) in the colours of `plots.SERIES`, grey where there is no label: (..., 3, H, W)."""
    colours = torch.tensor([to_rgb(colour) for colour in SERIES] + [UNLABELLED])
    chosen = torch.where(maps < 0, len(SERIES), maps % len(SERIES))
    return colours[chosen].movedim(-1, -3)


def blend(shares: Tensor) -> Tensor:
    """Shares (..., K, H, W) that sum to 1 as mixtures of the same colours: (..., 3, H, W)."""
    colours = torch.tensor([to_rgb(SERIES[k % len(SERIES)]) for k in range(shares.shape[-3])])
    return torch.einsum("...khw,kc->...chw", shares, colours)


def sheet(rows: Mapping[str, Tensor], *, note: str, col_labels: Sequence[str] | None = None) -> Figure:
    """Rows of pictures (n, C, H, W) by name, pixels kept square. `note` gives the data, for the alt text."""
    stacked = torch.stack([enlarge(pictures) for pictures in rows.values()])
    figure = image_grid(stacked, row_labels=list(rows), col_labels=col_labels)
    figure.alt += f" {note}"
    return figure


@_styled
def dots(rows: Mapping[str, Sequence[float]], *, levels: Mapping[str, float], xlabel: str) -> Figure:
    """A row a method: a dot for each run, a bar at their mean; upright lines for what to compare with.

    Args:
        rows: name -> values of the runs.
        levels: name -> value of a line.
    """
    figure = _figure(0.36 * len(rows) + 1.2)
    axes = figure.add_subplot()
    for at, values in enumerate(rows.values()):
        axes.plot([0, 1], [at, at], color=FAINT, linewidth=0.8, zorder=0)
        axes.plot(values, [at] * len(values), "o", color=ACCENT, markersize=6, alpha=0.75)
        axes.plot(np.mean(values), at, "|", color=INK, markersize=16, markeredgewidth=2)
    for k, (name, value) in enumerate(levels.items()):
        axes.axvline(value, color=MUTED, linewidth=1.1, linestyle=(0, (4, 2 + 2 * k)))
        axes.text(value, -0.75, f"{name} ", ha="right", va="bottom", fontsize=10, color=MUTED)
    _name_rows(axes, list(rows), above=0.7)
    axes.set_xlim(0, 1)
    axes.set_xlabel(xlabel)
    told = ", ".join(f"{name} {np.mean(values):.2f}" for name, values in rows.items())
    lines = ", ".join(f"{name} {value:.2f}" for name, value in levels.items())
    return _finish(figure, f"{xlabel}, mean over runs: {told}. Lines: {lines}.")


def behind(index_map: Tensor, labels: Tensor, hidden: int) -> Tensor:
    """Label maps (n, H, W) in which pixels of label `hidden` get the next likeliest label of their place.

    Args:
        index_map: pi, (K, H, W).
    """
    others = index_map.clone()
    others[hidden] = -1
    return torch.where(labels == hidden, others.argmax(0), labels)


