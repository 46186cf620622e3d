"""Figures of the chapter on combinatorial generalisation, by the conventions of `plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from .composition import Curve, Split, parents_product
from .plots import (
    ACCENT,
    FAINT,
    INK,
    MARKERS,
    MUTED,
    PAPER,
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
    _pictures,
    _resample,
    _sheet,
    _styled,
)

BY_CHANGES = (ACCENT, SECOND, SERIES[2], SERIES[3])  # of 0, 1, 2, 3 changes from what was trained on
DISTANCE = ("trained on", "one change away", "two changes away", "three changes away")


@_styled
def lattice(task: Split, pictures: Any, notes: Sequence[str] | None = None) -> Figure:
    """Every class at its place in the graph of changes: a line joins two that differ in one factor.

    Args:
        pictures: (classes, channels, H, W), in the order of `task.classes`.
        notes: a short text under each, beside its name.
    """
    classes, seen = task.classes.numpy(), task.is_seen.numpy()
    level = (classes != 0).sum(1)
    columns = [np.flatnonzero(level == k) for k in range(level.max() + 1)]
    most = max(map(len, columns))
    side = max(min(1.0, 6.0 / most - 0.3), 0.25)
    step, height = (WIDTH - side) / max(len(columns) - 1, 1), most * (side + 0.3)
    figure = _figure(height, layout=None)
    axes = _no_axes(figure.add_axes((0, 0, 1, 1)))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    axes.set_autoscale_on(False)
    place = {}
    for column, members in enumerate(columns):
        for row, k in enumerate(members):
            place[k] = column * step, (row + 0.5) * height / len(members) - (side + 0.26) / 2
    for k, (x, y) in place.items():
        for other, (x2, y2) in place.items():
            if level[other] == level[k] + 1 and (classes[k] != classes[other]).sum() == 1:
                axes.plot([x + side, x2], [y + side / 2, y2 + side / 2], color=FAINT, linewidth=1.2, zorder=1)
    drawn = _pictures(_array(pictures), 4)
    for k, (x, y) in place.items():
        axes.imshow(
            _resample(drawn[k], max(round(side * 200), 8)),
            aspect="auto",
            zorder=2,
            extent=(x + 0.03, x + side - 0.03, y + side - 0.03, y + 0.03),
        )
        axes.add_patch(
            Rectangle(
                (x + 0.015, y + 0.015),
                side - 0.03,
                side - 0.03,
                fill=False,
                zorder=3,
                linewidth=1.8,
                edgecolor=ACCENT if seen[k] else SECOND,
                linestyle="-" if seen[k] else (0, (3, 1.6)),
            )
        )
        text = task.names[k] + (f"  {notes[k]}" if notes is not None else "")
        axes.text(x + side / 2, y + side + 0.03, text, ha="center", va="top", fontsize=10)
    told = ", ".join(map(" ".join, zip(task.names, notes, strict=True))) if notes is not None else ""
    names = np.array(task.names)
    return _finish(
        figure,
        f"A picture of each of {len(names)} classes; lines join classes that differ in one factor. "
        f"Solid frame, trained on: {_and(list(names[seen]))}. Dashed, held out: "
        f"{_and(list(names[~seen])) or 'none'}. {told}",
    )


@_styled
def gaps(
    task: Split, explicit: Mapping[str, Any], implicit: Mapping[str, Any], factor: int, k: int = 2
) -> Figure:
    """Explicit clusters of a factor with their gaps, above implicit ones that fill them (the paper's Figure 10).

    Args:
        explicit, implicit: class name -> images (n, channels, H, W); a class that is not there is a gap.
        factor: whose attributes are the clusters, a row each.
        k: pictures of each combination of the other factors.
    """
    classes, names = task.classes.numpy(), np.array(task.names)
    rest = [i for i in range(classes.shape[1]) if i != factor]
    combinations = np.unique(classes[:, rest], axis=0)
    first = _array(next(iter(implicit.values())))
    blank = np.ones((k, *first.shape[1:]))
    sheet, holes, made, labels = [], [], [], []
    for kind, pictures in (("explicit", explicit), ("implicit", implicit)):
        for attribute, value in enumerate(task.factors[factor].values):
            rows = [
                names[(classes[:, factor] == attribute) & (classes[:, rest] == other).all(1)][0]
                for other in combinations
            ]
            sheet.append(
                np.concatenate([_array(pictures[name])[:k] if name in pictures else blank for name in rows])
            )
            holes.append([name not in pictures for name in rows for _ in range(k)])
            made.append([kind == "implicit" and name not in explicit for name in rows for _ in range(k)])
            labels.append(f"{kind}\n{value}")
    columns = [
        " ".join(str(task.factors[i].values[a]) for i, a in zip(rest, other, strict=True)) if j == 0 else ""
        for other in combinations
        for j in range(k)
    ]
    flat = np.array(sheet)
    figure = _sheet(
        _pictures(flat, 5),
        row_labels=labels,
        col_labels=columns,
        holes=np.array(holes),
        dashed=np.array(made),
        breaks=[len(task.factors[factor].values)],
    )
    told = [name for name in names if name in implicit and name not in explicit]
    return _finish(
        figure,
        f"Clusters by {task.factors[factor].name}, explicit above implicit; columns are "
        f"combinations of the other factors. Classes that the explicit clusters lack and the implicit ones hold "
        f"(dashed): {_and(told) or 'none'}.",
    )


@_styled
def learning(curves: Sequence[Curve], level: float | None = None) -> Figure:
    """Accuracy of every class against training steps, a panel for each distance from what was trained on.

    Lines are means over the trainings, bands reach from the lowest to the highest.
    """
    first = curves[0]
    distances = sorted(set(first.changes.tolist()))
    figure = _figure(3.0)
    panels = figure.subplots(1, len(distances), sharey=True, squeeze=False)[0]
    parts = []
    for axes, distance in zip(panels, distances, strict=True):
        for k, c in enumerate(np.flatnonzero(first.changes == distance)):
            values = np.array([curve.accuracy[:, c] for curve in curves])
            axes.fill_between(
                first.steps, values.min(0), values.max(0), color=SERIES[k], alpha=0.16, linewidth=0
            )
            axes.plot(
                first.steps,
                values.mean(0),
                color=SERIES[k],
                marker=MARKERS[k],
                markersize=4,
                markeredgewidth=0,
                label=first.names[c],
                clip_on=False,
            )
            parts.append(
                f"{first.names[c]} ({DISTANCE[distance]}) from {values[:, 0].mean():.2f} to "
                f"{values[:, -1].mean():.2f} ({values[:, -1].min():.2f} to {values[:, -1].max():.2f})"
            )
        if level is not None:
            axes.axhline(level, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.set_xscale("log")
        axes.set_ylim(0, 1.02)
        axes.set_title(DISTANCE[distance])
        axes.grid(axis="y")
        axes.legend(loc="lower right", handlelength=1.4, labelspacing=0.2, borderaxespad=0.2)
    panels[0].set_ylabel("accuracy")
    figure.supxlabel("training step (logarithmic)", fontsize=11, color=INK)
    return _finish(
        figure,
        f"Accuracy of each class over training steps {first.steps[0]:,} to {first.steps[-1]:,}, "
        f"mean over {len(curves)} trainings and their range at the end: {'; '.join(parts)}.",
    )


@_styled
def products(curves: Sequence[Curve]) -> Figure:
    """Accuracy of held-out classes against two predictions: products over factors of the class's own accuracies, and of
    its parents'. A point is a class at a moment of a training.
    """
    figure = _figure(3.5)
    panels = figure.subplots(1, 2, sharey=True)
    titles = "product of its own factors", "product of what its parents can do"
    parts = []
    for axes, title, predict in zip(
        panels, titles, (lambda curve: curve.product, parents_product), strict=True
    ):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
        errors = []
        for distance in (1, 2, 3):
            points = [
                (predict(curve)[:, k], curve.accuracy[:, k])
                for curve in curves
                for k in np.flatnonzero(curve.changes == distance)
            ]
            if points:
                x, y = (np.concatenate(axis) for axis in zip(*points, strict=True))
                axes.plot(
                    x,
                    y,
                    MARKERS[distance],
                    color=BY_CHANGES[distance],
                    markersize=5,
                    markeredgecolor=PAPER,
                    markeredgewidth=0.5,
                    alpha=0.75,
                    label=DISTANCE[distance],
                    clip_on=False,
                )
                errors.append(y - x)
        errors = np.concatenate(errors)
        axes.set_title(title)
        axes.set_xlabel("predicted accuracy")
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.grid()
        off = np.abs(errors).mean()
        parts.append(f"{title}: measured minus predicted {errors.mean():+.2f} on average, {off:.2f} off")
    panels[0].set_ylabel("accuracy")
    panels[0].legend(loc="upper left", handletextpad=0.1)
    return _finish(
        figure, f"Accuracy of held-out classes against predictions from single factors. {'; '.join(parts)}."
    )


@_styled
def sweep(runs: Mapping[str, Sequence[Curve]]) -> Figure:
    """Accuracy on held-out classes at the end of every training, by distance: a dot a training, a tick their mean."""
    figure = _figure(0.46 * len(runs) + 1.15)
    axes = figure.subplots()
    parts, shown = [], set()
    for row, (name, curves) in enumerate(runs.items()):
        told = []
        for distance in (1, 2, 3):
            values = np.array(
                [
                    curve.accuracy[-1, curve.changes == distance].mean()
                    for curve in curves
                    if (curve.changes == distance).any()
                ]
            )
            if len(values):
                y = row + 0.24 * (distance - 2)
                axes.plot(
                    values,
                    np.full(len(values), y),
                    MARKERS[distance],
                    color=BY_CHANGES[distance],
                    markersize=6,
                    markeredgecolor=PAPER,
                    markeredgewidth=0.7,
                    clip_on=False,
                    label=None if distance in shown else DISTANCE[distance],
                )
                axes.plot([values.mean()] * 2, [y - 0.13, y + 0.13], color=INK, linewidth=1.6)
                shown.add(distance)
                told.append(f"{values.mean():.2f} {DISTANCE[distance]}")
        parts.append(f"{name}: {_and(told)}, {len(curves)} training{'s' * (len(curves) > 1)}")
        axes.axhline(row + 0.5, color=FAINT, linewidth=0.6)
    _name_rows(axes, list(runs), above=0.55, below=0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x")
    axes.set_xlabel("accuracy on held-out classes")
    figure.legend(loc="outside upper right", ncols=3, handletextpad=0.1)
    return _finish(figure, f"Accuracy on held-out classes by what was trained on. {'; '.join(parts)}.")
