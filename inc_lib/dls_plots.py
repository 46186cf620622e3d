"""Figures of the chapter on DLS-Clustering, by the conventions of `plots`: vectors drawn as what they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from .plots import (
    ACCENT,
    FAINT,
    HEAT,
    INK,
    MARKERS,
    MUTED,
    SECOND,
    SERIES,
    WIDTH,
    Figure,
    _and,
    _array,
    _figure,
    _finish,
    _name_rows,
    _no_axes,
    _number,
    _plain,
    _styled,
    _text_width,
)

GAP = 0.06  # inches between drawings


def _draw(
    axes: Axes, vectors: np.ndarray, shape: Sequence[int], places: np.ndarray, side: float, colours
) -> None:
    """Vectors (n, d) as pen strokes, images or curves into squares with the lower left corners `places` (n, 2)."""
    inset, inner = 0.08 * side, 0.84 * side
    if len(shape) == 2 and shape[-1] == 2:  # eight points of a pen, y upwards
        lines = vectors.reshape(len(vectors), -1, 2) * inner + places[:, None] + inset
    elif len(shape) == 2:
        grey = vectors.reshape(-1, *shape).clip(0, 1)
        for picture, (x, y) in zip(grey, places, strict=True):
            axes.imshow(
                picture,
                extent=(x + inset, x + inset + inner, y + inset, y + inset + inner),
                cmap=HEAT,
                vmin=0,
                vmax=1,
            )
        return
    else:
        x = np.broadcast_to(np.linspace(0, 1, vectors.shape[1]), vectors.shape)
        lines = np.stack([x, vectors], axis=2) * inner + places[:, None] + inset
    axes.add_collection(
        LineCollection(lines, colors=colours, linewidths=1.5, capstyle="round", joinstyle="round")
    )
    if len(shape) == 2:
        axes.scatter(*lines[:, 0].T, s=7, c=colours, linewidths=0, zorder=3)  # where the pen comes down


@_styled
def sheet(
    rows: Any,
    shape: Sequence[int],
    *,
    row_labels: Sequence[str] | None = None,
    col_labels: Sequence[str] | None = None,
    wrong: Any = None,
    alt: str = "",
    most: float = 0.62,
) -> Figure:
    """Vectors (R, K, d) in rows, each drawn as what it stands for.

    Args:
        shape: of an observation, `VectorWorld.shape`.
        wrong: (R, K) bool, drawn in the colour of mistakes.
        alt: what the rows are.
        most: widest drawing, inches.
    """
    rows = _array(rows)
    n_rows, n_columns = rows.shape[:2]
    left = _text_width(row_labels, 11) + 0.14 if row_labels is not None else 0.0
    top = 0.24 if col_labels is not None else 0.0
    side = min(most, (WIDTH - left) / n_columns - GAP)
    width, height = left + n_columns * (side + GAP), top + n_rows * (side + GAP)
    figure = _figure(height, width, layout=None)
    axes = _no_axes(figure.add_axes((0, 0, 1, 1)))
    row, column = (part.ravel() for part in np.indices((n_rows, n_columns)))
    places = np.stack([left + column * (side + GAP), height - top - (row + 1) * (side + GAP)], axis=1)
    colours = (
        [INK] * len(row) if wrong is None else [SERIES[3] if bad else INK for bad in _array(wrong).ravel()]
    )
    _draw(axes, rows.reshape(len(row), -1), shape, places, side, colours)
    for k, text in enumerate(row_labels or ()):
        axes.text(
            left - 0.1, height - top - (k + 0.5) * (side + GAP), text, ha="right", va="center", color=INK
        )
    for k, text in enumerate(col_labels or ()):
        axes.text(
            left + k * (side + GAP) + side / 2,
            height - 0.06,
            text,
            ha="center",
            va="top",
            fontsize=10,
            color=MUTED,
        )
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_aspect("auto")
    kind = {1: "curves", 2: "pen strokes" if shape[-1] == 2 else "images"}[len(shape)]
    return _finish(figure, f"{n_rows} rows of {n_columns} {kind}. {alt}")


@_styled
def maps(
    panels: Mapping[str, Any], labels: Any, classes: Sequence[str], *, note: Mapping[str, str] | None = None
) -> Figure:
    """Points in the plane, a panel a name, coloured and written as their class.

    Args:
        panels: title -> (n, 2).
        labels: (n,) int.
        note: title -> a short sentence for the alt text.
    """
    labels = _array(labels)
    figure = _figure(3.5)
    for at, (title, points) in enumerate(panels.items()):
        axes = _no_axes(figure.add_subplot(1, len(panels), at + 1))
        points = _array(points)
        for k in range(len(classes)):
            own = points[labels == k]
            axes.plot(
                *own.T, "o", markersize=2.2, markeredgewidth=0, alpha=0.75, color=SERIES[k % len(SERIES)]
            )
            if len(own) and len(classes[k]) <= 3:
                axes.text(
                    *np.median(own, axis=0),
                    classes[k],
                    fontsize=13,
                    weight="bold",
                    ha="center",
                    va="center",
                    color=INK,
                )
        axes.set_title(title)
        axes.set_aspect("equal", "datalim")
    told = " ".join(f"{title}: {text}" for title, text in (note or {}).items())
    return _finish(
        figure,
        f"t-SNE of {len(labels):,} observations in {len(panels)} panels, {len(classes)} classes. {told}",
    )


@_styled
def table_of_classes(counts: Any, classes: Sequence[str], *, names: Sequence[str] | None = None) -> Figure:
    """Clusters against classes: shares of each cluster, as a heat map with numbers. `counts` is (clusters, classes)."""
    counts = _array(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = _figure(0.34 * len(counts) + 0.8)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap=HEAT, vmin=0, vmax=1, aspect="auto")
    for i, j in zip(*np.nonzero(shares >= 0.01), strict=True):
        axes.text(
            j,
            i,
            f"{100 * shares[i, j]:.0f}",
            ha="center",
            va="center",
            fontsize=9.5,
            color="white" if shares[i, j] > 0.6 else INK,
        )
    axes.set_xticks(range(len(classes)), classes)
    _name_rows(axes, names or [f"cluster {k}" for k in range(len(counts))])
    axes.set_xlabel("class, of which the model was told nothing")
    _plain(axes, frame=FAINT)
    best = shares.argmax(1)
    told = ", ".join(f"{k}: {classes[best[k]]} {shares[k, best[k]]:.0%}" for k in range(len(counts)))
    return _finish(figure, f"Share of each class in each cluster. Commonest class by cluster: {told}.")


@_styled
def curves(
    panels: Mapping[str, Mapping[str, tuple[Any, Any]]],
    *,
    xlabel: str,
    levels: Mapping[str, Mapping[str, float]],
) -> Figure:
    """Scores while training: a panel a score, a thick line the mean of a method's seeds, thin ones the seeds.

    Args:
        panels: score -> method -> (steps (t,), values (seeds, t)).
        levels: score -> name -> a level to compare with, dashed.
    """
    figure = _figure(2.9)
    told = []
    for at, (score, methods) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), at + 1)
        for k, (name, (steps, values)) in enumerate(methods.items()):
            steps, values = _array(steps), _array(values)
            for line in values:
                axes.plot(steps, line, color=SERIES[k], linewidth=0.7, alpha=0.5)
            axes.plot(
                steps,
                values.mean(0),
                color=SERIES[k],
                linewidth=2.2,
                marker=MARKERS[k],
                markersize=4,
                label=name,
            )
            told.append(f"{score} of {name} ends at {_number(float(values[:, -1].mean()))}")
        for name, level in levels.get(score, {}).items():
            axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                name,
                (0.01, level),
                xycoords=("axes fraction", "data"),
                xytext=(0, -3),
                textcoords="offset points",
                va="top",
                fontsize=9.5,
                color=MUTED,
            )
            told.append(f"{name} is at {_number(level)} of {score}")
        axes.set_title(score.upper() if len(score) == 3 else score)
        axes.set_xlabel(xlabel)
        if at == 0:
            axes.legend(loc="lower right")
    return _finish(figure, f"Scores on the test part while training. {'; '.join(told)}.")


@_styled
def choices(criteria: Mapping[str, Any], score: Any, *, name: str = "purity") -> Figure:
    """Scatter of runs: each criterion that needs no label (x) against a score that does (y)."""
    score = _array(score)
    columns = 4
    n_rows = -(-len(criteria) // columns)
    figure = _figure(1.9 * n_rows + 0.2)
    told = []
    for at, (criterion, values) in enumerate(criteria.items()):
        values = _array(values)
        axes = figure.add_subplot(n_rows, columns, at + 1)
        axes.plot(values, score, "o", color=ACCENT, markersize=6)
        chosen = int(values.argmax())
        axes.plot(
            values[chosen],
            score[chosen],
            "o",
            color=SECOND,
            markersize=10,
            fillstyle="none",
            markeredgewidth=2,
        )
        axes.set_title(criterion)
        axes.set_xticks([])
        axes.margins(0.15)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if at % columns:
            axes.tick_params(axis="y", labelleft=False)
        if at % columns == 0:
            axes.set_ylabel(name)
        told.append(f"{criterion} chooses a run with {_number(float(score[chosen]), 3)}")
    best = _number(float(score.max()), 3)
    return _finish(
        figure,
        f"{name.capitalize()} of {len(score)} runs against criteria without labels: {_and(told)}; the best run "
        f"has {best}.",
    )


@_styled
def bars(
    values: Mapping[str, tuple[float, float]],
    *,
    xlabel: str,
    marked: float | None = None,
    marked_as: str = "",
) -> Figure:
    """Means with spread as horizontal bars; a dashed line at `marked`."""
    figure = _figure(0.33 * len(values) + 0.75)
    axes = figure.add_subplot()
    for k, (mean, spread) in enumerate(values.values()):
        axes.add_patch(Rectangle((0, k - 0.32), mean, 0.64, facecolor=to_rgba(ACCENT), linewidth=0))
        axes.plot([mean - spread, mean + spread], [k, k], color=INK, linewidth=1.6)
        axes.annotate(
            _number(mean),
            (mean + spread, k),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color=INK,
        )
    _name_rows(axes, list(values))
    axes.set_xlim(0, max(1.0, 1.12 * max(mean + spread for mean, spread in values.values())))
    axes.set_xlabel(xlabel)
    if marked is not None:
        axes.axvline(marked, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            marked_as,
            (marked, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            va="bottom",
            ha="center",
            fontsize=9.5,
            color=MUTED,
        )
    told = ", ".join(
        f"{name} {_number(mean)}" + (f" ± {_number(spread)}" if spread else "")
        for name, (mean, spread) in values.items()
    )
    return _finish(
        figure, f"{xlabel}: {told}." + (f" {marked_as} is {_number(marked)}." if marked is not None else "")
    )
