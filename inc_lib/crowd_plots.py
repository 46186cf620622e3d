"""Figures of the crowd chapter, by the conventions of `plots`: paths in metres over the floor that people walk on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from .crowds import ENDS, Station
from .plots import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    PAPER,
    SECOND,
    SERIES,
    WIDTH,
    Figure,
    _array,
    _figure,
    _finish,
    _styled,
)

CELL = 2.0  # metres, of the floor's squares
START, GOAL = SERIES[2], SERIES[3]


def _floor(axes: Axes, positions: Any) -> None:
    """Squares where people of all paths (n, T, 2) walk, the darker the more; then the axes' limits."""
    places = _array(positions).reshape(-1, 2)
    places = places[~np.isnan(places[:, 0])]
    low, high = places.min(0), places.max(0)
    shape = np.maximum(np.ceil((high - low) / CELL).astype(int), 1)
    cells = np.minimum(((places - low) / CELL).astype(int), shape - 1)
    counts = np.zeros(shape, dtype=int)
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1)
    filled = np.argwhere(counts > 0)
    corners = low + CELL * (filled[:, None] + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]))
    share = np.log1p(counts[counts > 0]) / np.log1p(counts.max())
    axes.add_collection(
        PolyCollection(
            corners,
            facecolors=[to_rgba(FAINT, 0.25 + 0.75 * s**2) for s in share],
            edgecolors="none",
            linewidths=0,
            zorder=0,
            rasterized=True,
        )
    )
    axes.set_xlim(low[0] - 1, high[0] + 1)
    axes.set_ylim(high[1] + 1, low[1] - 1)  # downwards, as in the camera's picture
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _scale_bar(axes: Axes, metres: float = 20.0) -> None:
    """How long so many metres are, in the lower left corner."""
    left, bottom = axes.get_xlim()[0] + 1, axes.get_ylim()[0]
    axes.annotate(
        f"{metres:g} m",
        (left + metres / 2, bottom),
        xytext=(0, -2),
        textcoords="offset points",
        ha="center",
        va="top",
        fontsize=9.5,
        color=MUTED,
        annotation_clip=False,
    )
    axes.plot([left, left + metres], [bottom, bottom], color=MUTED, linewidth=2, clip_on=False, zorder=4)


def _walks(
    axes: Axes, paths: Any, colour: str, *, ends: bool = True, width: float = 0.9, alpha: float = 0.7
) -> None:
    """Paths (n, T, 2) as lines; where they start an open dot, where they end a filled one."""
    lines = [path[~np.isnan(path[:, 0])] for path in _array(paths)]
    axes.add_collection(LineCollection(lines, colors=[to_rgba(colour, alpha)], linewidths=width, zorder=2))
    if ends and lines:
        first, last = np.array([line[0] for line in lines]), np.array([line[-1] for line in lines])
        axes.plot(
            first[:, 0],
            first[:, 1],
            "o",
            markersize=2.6,
            color=PAPER,
            markeredgecolor=colour,
            markeredgewidth=0.7,
            zorder=3,
        )
        axes.plot(last[:, 0], last[:, 1], "o", markersize=2.6, color=colour, markeredgewidth=0, zorder=3)


@_styled
def walks(
    panels: Mapping[str, Any],
    floor: Any,
    *,
    columns: int = 3,
    most: int = 40,
    colours: Sequence[str] | None = None,
    scale: bool = True,
) -> Figure:
    """A panel for each name: some of its paths over the floor.

    Args:
        panels: title -> paths (n, T, 2), metres.
        floor: paths (m, T, 2) that the grey squares count.
        most: paths drawn in a panel, the first ones.
        colours: of the panels (default: all alike).
    """
    places = _array(floor).reshape(-1, 2)
    extent = np.nanmax(places, 0) - np.nanmin(places, 0) + 2
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    side = (WIDTH - 0.1 * (columns - 1)) / columns
    figure = _figure(rows * (side * extent[1] / extent[0] + 0.3) + 0.25)
    grid = figure.subplots(rows, columns, squeeze=False)
    parts = []
    for k, (title, paths) in enumerate(panels.items()):
        axes, paths = grid.flat[k], _array(paths)
        _floor(axes, floor)
        _walks(axes, paths[:most], colours[k] if colours else ACCENT)
        axes.set_title(title)
        if scale and k == columns * (rows - 1):
            _scale_bar(axes)
        length = _length(paths[:most])
        parts.append(
            f"{title}: {min(len(paths), most)} paths of {np.mean(length):.0f} m on average"
            if len(length)
            else f"{title}: no path"
        )
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    return _finish(figure, f"Paths over the floor plan. {'; '.join(parts)}.")


def _length(paths: np.ndarray) -> np.ndarray:
    """Metres walked on each path (n, T, 2)."""
    return np.nansum(np.linalg.norm(np.diff(paths, axis=1), axis=-1), axis=1)


@_styled
def truth_beside_implicit(
    real: Mapping[str, Any], made: Mapping[str, Any], floor: Any, *, most: int = 40
) -> Figure:
    """The paper's Figure 7: for each route the real paths, and beside them the implicit cluster.

    Args:
        real, made: route -> paths (n, T, 2), metres; of both at most `most` are drawn, equally many.
        floor: paths that the grey squares count.
    """
    places = _array(floor).reshape(-1, 2)
    extent = np.nanmax(places, 0) - np.nanmin(places, 0) + 2
    rows = -(-len(real) // 2)
    side = (WIDTH - 0.75) / 4
    figure = _figure(rows * (side * extent[1] / extent[0] + 0.3) + 0.3)
    grid = figure.subplots(rows, 4, squeeze=False)
    parts = []
    for k, route in enumerate(real):
        pair = grid[k // 2, 2 * (k % 2) : 2 * (k % 2) + 2]
        n = min(len(real[route]), len(made[route]), most)
        for axes, paths, colour, told in zip(
            pair, (real[route], made[route]), (SECOND, ACCENT), ("real", "implicit"), strict=True
        ):
            _floor(axes, floor)
            _walks(axes, _array(paths)[:n], colour)
            axes.set_title(f"{route}, {told}")
        lengths = [
            np.mean(_length(_array(paths)[:n])) if n else math.nan for paths in (real[route], made[route])
        ]
        parts.append(
            f"{route}: {n} real paths of {lengths[0]:.0f} m, implicit ones of {lengths[1]:.0f} m on average"
        )
    for axes in list(grid.flat)[2 * len(real) :]:
        axes.set_visible(False)
    _scale_bar(grid[rows - 1, 0])
    return _finish(
        figure, f"Real paths and implicit clusters of {len(real)} routes. {'; '.join(parts)}.", wide=True
    )


@_styled
def k_distance_curves(station: Station) -> Figure:
    """Sorted distances to the k-th neighbour of starts and goals, and the eps that was read off."""
    figure = _figure(2.5)
    parts = []
    for axes, name in zip(figure.subplots(1, 2), ENDS, strict=True):
        part = station.partitions[name]
        curve = part.curve
        share = np.arange(1, len(curve) + 1) / len(curve)
        axes.plot(share, curve, color=ACCENT)
        at = share[np.searchsorted(curve, part.eps).clip(max=len(curve) - 1)]
        axes.plot([0, at], [part.eps, part.eps], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(at, part.eps, "o", color=SECOND, markersize=7, markeredgewidth=0, zorder=4)
        axes.annotate(
            f"eps = {part.eps:.2f} m",
            (at, part.eps),
            xytext=(-8, 6),
            textcoords="offset points",
            ha="right",
            color=INK,
        )
        axes.set_ylim(0, min(curve[-1], 4 * part.eps) * 1.02)
        axes.set_xlim(0, 1.02)
        axes.set_title(f"{name}s: metres to neighbour {part.k}")
        axes.set_xlabel(f"share of the {name}s")
        axes.grid(axis="y")
        middle = curve[len(curve) // 2]
        parts.append(
            f"{name}s: half lie within {middle:.2f} m of their neighbour {part.k}, {at:.0%} within "
            f"{part.eps:.2f} m, where the curve bends; the largest distance is {curve[-1]:.1f} m"
        )
    return _finish(figure, f"Sorted k-distances. {'; '.join(parts)}.")


@_styled
def places(station: Station, floor: Any) -> Figure:
    """The partitions of starts and goals over the floor: points by colour, the regions as boxes, noise as crosses."""
    extent = np.nanmax(_array(floor).reshape(-1, 2), 0) - np.nanmin(_array(floor).reshape(-1, 2), 0) + 2
    figure = _figure(WIDTH / 2 * extent[1] / extent[0] + 0.5)
    ends, parts = _array(station.paths.ends), []
    for axes, name in zip(figure.subplots(1, 2), ENDS, strict=True):
        part, columns = station.partitions[name], list(ENDS[name])
        _floor(axes, floor)
        noise = ends[part.labels < 0][:, columns]
        axes.plot(noise[:, 0], noise[:, 1], "x", color=MUTED, markersize=3, markeredgewidth=0.6)
        for attribute, action in enumerate(station.places.of(name)):
            points, colour = ends[part.labels == attribute][:, columns], SERIES[attribute % len(SERIES)]
            axes.plot(points[:, 0], points[:, 1], ".", color=colour, markersize=1.6, markeredgewidth=0)
            (x, right), (y, top) = (region.intervals[0] for region in action.regions)
            axes.add_patch(Rectangle((x, y), right - x, top - y, fill=False, edgecolor=colour, linewidth=1))
            label = part.names[attribute] if name == "start" else part.names[attribute].lower()
            axes.annotate(
                label,
                (x, y),
                xytext=(1, 2),
                textcoords="offset points",
                fontsize=10,
                fontweight="bold",
                color=INK,
            )
        axes.set_title(f"{name}s")
        told = ", ".join(f"{label} {count:,}" for label, count in zip(part.names, part.counts, strict=True))
        parts.append(f"{name}s: {len(part.counts)} partitions ({told}), {len(noise)} noise")
    return _finish(figure, f"Partitions over the floor plan. {'; '.join(parts)}.")


@_styled
def histograms(
    samples: Mapping[str, Mapping[str, Any]], *, within: Mapping[str, tuple[float, float]], bins: int = 40
) -> Figure:
    """A panel for each quantity: the density of it in each sample, the first one filled.

    Args:
        samples: quantity -> name of the sample -> values.
        within: quantity -> range shown; what lies outside counts for the outermost bins.
    """
    figure = _figure(2.9)
    parts = []
    for axes, (quantity, groups) in zip(
        figure.subplots(1, len(samples), squeeze=False).flat, samples.items(), strict=True
    ):
        low, high = within[quantity]
        for k, (name, values) in enumerate(groups.items()):
            values = np.clip(_array(values), low, high)
            density, edges = np.histogram(values, bins=bins, range=(low, high), density=True)
            if k == 0:
                axes.stairs(density, edges, fill=True, color=FAINT, label=name)
            else:
                axes.stairs(density, edges, color=SERIES[k - 1], linewidth=1.6, label=name)
            parts.append(
                f"{quantity}, {name}: median {np.median(values):.2f}, middle half from "
                f"{np.quantile(values, 0.25):.2f} to {np.quantile(values, 0.75):.2f}"
            )
        top = max(
            np.histogram(np.clip(_array(values), low, high), bins=bins, range=(low, high), density=True)[
                0
            ].max()
            for values in list(groups.values())[:2]
        )
        axes.set_ylim(0, 1.25 * top)
        axes.set_xlabel(quantity)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return _finish(figure, f"Densities. {'; '.join(parts)}.")
