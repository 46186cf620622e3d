"""Figures of the scene chapter, by the conventions of `plots`: pictures with the places that were asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from .plots import (
    HEAT,
    INK,
    MUTED,
    PAPER,
    SECOND,
    WIDTH,
    Figure,
    _array,
    _figure,
    _finish,
    _no_axes,
    _pictures,
    _resample,
    _styled,
    bound_curve,
)

ASKED, SEEN = "#fffffe", "#00e5ff"  # on pictures: not the white that dark pages replace


@_styled
def asked_and_found(
    observations: Any,
    places: Any,
    found: Sequence[Any] | None = None,
    *,
    columns: int = 6,
    titles: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
) -> Figure:
    """Pictures with a cross at each place that was asked for, and a ring around each object that was found.

    Args:
        observations: (n, C, H, W) in [0, 1].
        places: (n, K, 2), shares of the picture; NaN where there is none.
        found: n arrays (m, 2), or None to draw no rings.
        columns: pictures in a row.
        titles: a short text above each picture.
        row_labels: a text to the left of each row.
    """
    pictures, asked = _pictures(observations, 4), _array(places).astype(float)
    n, rows = len(pictures), -(-len(pictures) // columns)
    left = 0.0 if row_labels is None else 1.15
    gap, line = 0.06, 0.2 if titles else 0.0
    side = (WIDTH - left - gap * (columns - 1)) / columns
    height = rows * (side + gap + line)
    figure = _figure(height, layout=None)
    axes = _no_axes(figure.add_axes((0, 0, 1, 1)))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    for k in range(n):
        x, y = left + (k % columns) * (side + gap), (k // columns) * (side + gap + line) + line
        axes.imshow(
            _resample(pictures[k], round(side * 200)),
            extent=(x, x + side, y + side, y),
            aspect="auto",
            zorder=1,
        )
        spots = np.array([x, y]) + side * asked[k][~np.isnan(asked[k][:, 0])]
        for width, colour in ((3.0, "#000000"), (1.4, ASKED)):
            axes.plot(*spots.T, "+", color=colour, markersize=7, markeredgewidth=width, zorder=3)
        if found is not None:
            rings = np.array([x, y]) + side * _array(found[k]).reshape(-1, 2)
            for width, colour in ((2.6, "#000000"), (1.3, SEEN)):
                axes.plot(
                    *rings.T,
                    "o",
                    color="none",
                    markersize=15,
                    markeredgecolor=colour,
                    markeredgewidth=width,
                    zorder=2,
                )
        if titles:
            axes.text(x + side / 2, y - 0.035, titles[k], ha="center", va="bottom", fontsize=9.5)
    for row, label in enumerate(row_labels or []):
        y = row * (side + gap + line) + line + side / 2
        axes.text(left - 0.08, y, label, ha="right", va="center", fontsize=10)
    counts = (~np.isnan(asked[..., 0])).sum(1)
    alt = f"{n} pictures in {rows} rows; objects asked for: {', '.join(map(str, counts))}"
    if found is not None:
        alt += f"; found: {', '.join(str(len(places)) for places in found)}"
    if row_labels:
        alt += f". Rows: {'; '.join(row_labels)}"
    return _finish(figure, alt + ".")


@_styled
def plane(share: pd.DataFrame, edges: Sequence[float], span: tuple[float, float], *, title: str) -> Figure:
    """Shares over the picture's plane, rows y downwards and columns x as in the picture; the training range outlined.

    Args:
        share: (y, x), NaN where nothing was asked.
        edges: of the cells, shares of the picture.
        span: least and greatest x and y of the training scenes.
        title: what the shares are of.
    """
    values, edges = share.to_numpy(float), np.asarray(edges, float)
    figure = _figure(4.3, 5.0)
    axes = figure.subplots()
    axes.pcolormesh(edges, edges, np.ma.masked_invalid(values), cmap=HEAT, vmin=-0.15, vmax=1.0, linewidth=0)
    middles = (edges[:-1] + edges[1:]) / 2
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(
                middles[column],
                middles[row],
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=9.5,
                color=PAPER if value > 0.55 else INK,
            )
    low, high = span
    axes.add_patch(
        Rectangle(
            (low, low), high - low, high - low, fill=False, edgecolor=SECOND, linewidth=2.2, clip_on=False
        )
    )
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(edges[-1], edges[0])
    axes.set_aspect("equal")
    axes.set_xticks(edges.round(2))
    axes.set_yticks(edges.round(2))
    axes.tick_params(length=0, labelsize=9, labelcolor=MUTED)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("x, share of the picture")
    axes.set_ylabel("y, share of the picture")
    axes.set_title(title)
    inside = (middles > low) & (middles < high)
    within = values[np.ix_(inside, inside)]
    outside = values[~np.outer(inside, inside)]
    alt = f"{title} over the plane: {np.nanmean(within):.2f} on average inside of the training range"
    if np.isfinite(outside).any():
        alt += f", {np.nanmean(outside):.2f} outside"
    return _finish(figure, alt + ".")


def curves(
    rows: Mapping[str, Mapping[float, Mapping[str, float]]],
    column: str,
    *,
    xlabel: str,
    reference: Mapping[str, float] | None = None,
    bands: bool = True,
) -> Figure:
    """One column of several tables of scores, each a curve over the tables' keys.

    Args:
        rows: name of the curve -> abscissa -> a row as `scenes.score` gives it.
        column: of these rows; "conditions met" has its interval drawn as a band.
        reference: as `plots.bound_curve` takes it.
    """
    x = list(next(iter(rows.values())))

    def values(table: Mapping[float, Mapping[str, float]], name: str) -> np.ndarray:
        return np.array([table[key][name] for key in x], dtype=float)

    shaded = None
    if bands and column == "conditions met":
        shaded = {name: (values(table, "low"), values(table, "high")) for name, table in rows.items()}
    figure = bound_curve(
        x,
        {name: values(table, column) for name, table in rows.items()},
        xlabel=xlabel,
        ylabel=column,
        bands=shaded,
        reference=reference,
        ylim=(0, 1.02),
    )
    figure.axes[0].set_xticks(x, [f"{value:g}" for value in x])
    return figure
