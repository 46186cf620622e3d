"""Figures of the chapter on the clustered generator, by the conventions of `plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from .plots import (
    ACCENT,
    INK,
    MARKERS,
    MUTED,
    SERIES,
    Figure,
    _array,
    _figure,
    _finish,
    _name_rows,
    _number,
    _styled,
)


@_styled
def sweeps(
    paths: Mapping[str, Mapping[str, Any]],
    panels: Mapping[str, str],
    *,
    levels: Mapping[str, float],
    xlabel: str = "sweep",
) -> Figure:
    """What each sweep found, or each look at a training: a panel a quantity, a line a method.

    Args:
        paths: method -> quantity -> (t,) values, one a sweep.
        panels: quantity -> how its axis is called.
        levels: name -> a level drawn dashed in the first panel.
    """
    figure = _figure(2.9)
    told = []
    for at, (quantity, label) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), at + 1)
        for k, (name, found) in enumerate(paths.items()):
            values = _array(found[quantity])
            axes.plot(
                np.arange(1, len(values) + 1), values, color=SERIES[k], marker=MARKERS[k], markersize=3.5, label=name
            )
            told.append(f"{label} of {name} goes from {_number(float(values[0]))} to {_number(float(values[-1]))}")
        if at == 0:
            for name, level in levels.items():
                axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
                axes.annotate(
                    name, (0.98, level), xycoords=("axes fraction", "data"), xytext=(0, 3),
                    textcoords="offset points", ha="right", fontsize=9.5, color=MUTED,
                )
                told.append(f"{name} is at {_number(level)}")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(label)
        axes.set_ylim(0, 1.02)
        if at == len(panels) - 1:
            axes.legend(loc="best")
    return _finish(figure, f"By {xlabel}. {'; '.join(told)}.")


@_styled
def growth(history: Sequence[Mapping[str, Any]], accuracy: Any, *, alt: str = "") -> Figure:
    """One training: accuracy and the share of changed labels by sweep, above it what was free and how many pictures.

    Args:
        history: of `alternation.train`.
        accuracy: (t,) by the labels that it did not see.
    """
    accuracy = _array(accuracy)
    figure = _figure(3.3)
    axes = figure.add_subplot()
    place = np.arange(1, len(accuracy) + 1)
    changed = np.array([sweep["changed"] for sweep in history])
    axes.plot(place, accuracy, color=ACCENT, linewidth=2.2, marker=MARKERS[0], markersize=4, label="accuracy")
    axes.plot(place[1:], changed[1:], color=SERIES[1], marker=MARKERS[1], markersize=3.5, label="labels changed")
    begins = [at for at, sweep in enumerate(history) if at == 0 or _stage(sweep) != _stage(history[at - 1])]
    for at in begins:
        if at:
            axes.axvline(at + 0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        moves, sigma = _stage(history[at])
        axes.annotate(
            f"{moves}\nσ {sigma:g}", (at + 0.6, 1.0), xycoords=("data", "axes fraction"), xytext=(2, 4),
            textcoords="offset points", fontsize=9.5, color=INK, va="bottom",
        )
    for at, sweep in enumerate(history):
        if at == 0 or sweep["pictures"] != history[at - 1]["pictures"]:
            axes.annotate(
                str(sweep["pictures"]), (at + 1, accuracy[at]), xytext=(0, 6), textcoords="offset points",
                ha="center", fontsize=9, color=MUTED,
            )
    axes.set_xlabel("sweep; small numbers: pictures that are left")
    axes.set_ylim(0, 1.06)
    axes.set_xlim(0.4, len(accuracy) + 0.6)
    axes.legend(loc="best")
    told = "; ".join(
        f"sweep {at + 1}, {history[at]['moves']} free, sigma {history[at]['sigma']:g}: accuracy "
        f"{_number(float(accuracy[at]))}" for at in begins
    )
    return _finish(
        figure, f"A line over {len(accuracy)} sweeps. {told}; at the end {_number(float(accuracy[-1]), 3)}. {alt}"
    )


def _stage(sweep: Mapping[str, Any]) -> tuple[str, float]:
    return sweep["moves"], sweep["sigma"]


@_styled
def contributions(rows: Mapping[str, Sequence[float]], *, reference: str, xlabel: str) -> Figure:
    """Dots, a row a variant and a dot a seed, with a bar at their mean; a dashed line at the mean of `reference`."""
    figure = _figure(0.29 * len(rows) + 0.8)
    axes = figure.add_subplot()
    told = []
    for k, values in enumerate(rows.values()):
        values = _array(values)
        axes.plot(values, np.full(len(values), k), "o", color=ACCENT, markersize=5, alpha=0.7, markeredgewidth=0)
        axes.add_patch(Rectangle((values.mean() - 0.002, k - 0.33), 0.004, 0.66, facecolor=INK, linewidth=0))
    level = float(np.mean(rows[reference]))
    axes.axvline(level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    _name_rows(axes, list(rows))
    axes.set_xlim(0, 1)
    axes.set_xlabel(xlabel)
    told = ", ".join(f"{name} {_number(float(np.mean(values)))}" for name, values in rows.items())
    return _finish(figure, f"{xlabel}, dots for seeds, bars for means: {told}.")


@_styled
def steps_taken(steps: Sequence[int], curves: Mapping[str, Any], *, ylabel: str, xlabel: str) -> Figure:
    """Lines over the number of steps of a chain, on a scale by powers of two."""
    figure = _figure(2.7)
    axes = figure.add_subplot()
    place = np.arange(len(steps))
    told = []
    for k, (name, values) in enumerate(curves.items()):
        values = _array(values)
        axes.plot(place, values, color=SERIES[k], marker=MARKERS[k], markersize=5, label=name)
        listed = ", ".join(f"{step}: {_number(float(value))}" for step, value in zip(steps, values, strict=True))
        told.append(f"{name}: {listed}")
    axes.set_xticks(place, [str(step) for step in steps])
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.legend(loc="best")
    return _finish(figure, f"{ylabel} by {xlabel}. {'; '.join(told)}.")
