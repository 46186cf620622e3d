"""Figures of the chapter on identification without labels, by the conventions of `plots`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from .errors import InputError
from .plots import ACCENT, FAINT, INK, MUTED, SECOND, WRONG, Figure, _and, _array, _figure, _finish, _styled


@_styled
def null_distribution(permuted: Any, observed: float, *, xlabel: str = "log ratio of spreads") -> Figure:
    """A histogram of what random swaps give, and a line at what was observed."""
    permuted = _array(permuted)
    figure = _figure(2.6)
    axes = figure.subplots()
    axes.hist(permuted, bins=30, color=FAINT, edgecolor=MUTED, linewidth=0.5)
    axes.axvline(observed, color=SECOND, linewidth=2.2)
    axes.annotate("observed", (observed, 0.96), xycoords=("data", "axes fraction"), xytext=(-5, 0), fontsize=10,
                  textcoords="offset points", ha="right", va="top", color=INK)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("random swaps")
    reach = int((permuted >= observed).sum())
    return _finish(figure, f"Histogram of {len(permuted):,} random swaps, from {permuted.min():.2f} to "
                   f"{permuted.max():.2f}; {reach} of them reach the observed value of {observed:.2f}.")


@_styled
def step_up(p_values: Any, rate: float, *, null: Any = None) -> Figure:
    """Sorted p-values and the line of Benjamini and Hochberg: all up to the last one below the line are discoveries.

    Args:
        p_values: (m,), in (0, 1].
        rate: of false discoveries.
        null: (m,) bool, of which it is known that there is nothing to find.
    """
    p_values = _array(p_values)
    null = np.zeros(len(p_values), dtype=bool) if null is None else _array(null)
    if not len(p_values) or len(null) != len(p_values):
        raise InputError(f"{len(p_values)} p-values and {len(null)} verdicts cannot be drawn: expected as many, "
                         "and one at least.")
    order = np.argsort(p_values, kind="stable")
    ranks, sorted_values, is_null = np.arange(1, len(order) + 1), p_values[order], null[order]
    line = rate * ranks / len(order)
    below = np.flatnonzero(sorted_values <= line)
    last = below[-1] + 1 if len(below) else 0
    figure = _figure(3.0)
    axes = figure.subplots()
    axes.plot(ranks, line, color=MUTED, linewidth=1.2, label=f"{rate:g} × rank / {len(order)}")
    for mine, marker, colour, label in ((~is_null, "o", ACCENT, "partition"), (is_null, "X", WRONG, "sham")):
        if mine.any():
            axes.plot(ranks[mine], sorted_values[mine], marker, color=colour, markersize=5, label=label)
    axes.axvline(last + 0.5, color=SECOND, linewidth=1.2, linestyle=(0, (3, 2)))
    axes.set_yscale("log")
    decades = 10.0 ** np.arange(math.floor(math.log10(sorted_values.min())), 1)
    axes.set_yticks(decades, [f"{decade:g}" for decade in decades])
    axes.set_yticks([], minor=True)
    axes.set_xlabel("rank")
    axes.set_ylabel("p-value")
    axes.legend(loc="lower right")
    return _finish(figure, f"{len(order)} p-values in rising order beside the line {rate:g} times rank by "
                   f"{len(order)}. The first {last} are discoveries, {int(is_null[:last].sum())} of them shams; "
                   f"{int(null.sum())} of all are shams.")


@_styled
def verdicts(found: pd.DataFrame, passed: Any) -> Figure:
    """A map of all candidates, a row for each code: which were found, and which a judge calls atomic.

    Args:
        found: of `identification.survey`.
        passed: (candidates,) bool.
    """
    passed = np.asarray(passed, dtype=bool)
    codes = list(found["code"].unique())
    known = "atomic" in found
    atomic = found["atomic"].to_numpy(dtype=bool) if known else passed
    kinds = (("found, atomic" if known else "found", passed & atomic, "o", ACCENT, ACCENT),
             ("found, not atomic", passed & ~atomic, "X", WRONG, WRONG),
             ("missed", ~passed & atomic, "o", "none", ACCENT),
             ("rightly left out" if known else "not found", ~passed & ~atomic, ".", MUTED, MUTED))
    names = []
    for code in codes:
        mine = found[found["code"] == code]
        main = f"  {mine['factor'].mode().iloc[0]}" if known else ""
        names.append(f"code {code}{main}")
    figure = _figure(0.32 * len(codes) + 1.1)
    axes = figure.subplots()
    y = found["code"].map({code: row for row, code in enumerate(codes)}).to_numpy()
    parts, handles = [], []
    for label, mask, marker, face, edge in kinds:
        if mask.any():
            axes.plot(found["partition"].to_numpy()[mask], y[mask], marker, markerfacecolor=face, markeredgecolor=edge,
                      markersize=6, linestyle="none")
            handles.append(Line2D([], [], marker=marker, markerfacecolor=face, markeredgecolor=edge, linestyle="none",
                                  label=label))
            parts.append(f"{int(mask.sum())} {label}")
    axes.set_yticks(range(len(codes)), names)
    axes.set_ylim(len(codes) - 0.5, -0.5)
    axes.set_xlabel("partition, from low to high")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return _finish(figure, f"{len(found)} partitions of {len(codes)} codes: {_and(parts)}.")


@_styled
def calibration(p_values: Any) -> Figure:
    """How many p-values lie below each level, where there is nothing to find: on the diagonal, if the test is exact."""
    p_values = np.sort(_array(p_values))
    figure = _figure(3.0, 3.6)
    axes = figure.subplots()
    shares = np.arange(1, len(p_values) + 1) / len(p_values)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2)
    axes.plot(p_values, shares, color=ACCENT)
    axes.set_xlabel("level")
    axes.set_ylabel("share of p-values below it")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    farthest = float(np.abs(shares - p_values).max())
    return _finish(figure, f"{len(p_values)} p-values of shams: {np.mean(p_values <= 0.05):.1%} are at most 0.05, "
                   f"{np.mean(p_values <= 0.5):.1%} at most 0.5; the farthest from the diagonal is {farthest:.2f}.")


@_styled
def recognised(found: pd.DataFrame, embedding: str, *, least: float) -> Figure:
    """Every candidate: how well its pictures are told from those of its code's other partitions, beside a judge."""
    figure = _figure(3.2)
    axes = figure.subplots()
    x, share = found[f"recognised {embedding}"].to_numpy(), found["share"].to_numpy()
    atomic = found["atomic"].to_numpy(dtype=bool)
    for mask, marker, colour, label in ((atomic, "o", ACCENT, "atomic"), (~atomic, "X", WRONG, "not atomic")):
        if mask.any():
            axes.plot(x[mask], share[mask], marker, color=colour, markersize=5, alpha=0.8, label=label,
                      markeredgewidth=0)
    axes.axvline(least, color=SECOND, linewidth=1.2, linestyle=(0, (3, 2)))
    axes.set_xlabel("recognised: F1 of reading the partition back")
    axes.set_ylabel("share of pictures\nwith one attribute")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(0, 1.05)
    axes.legend(loc="lower right")
    right = x >= least
    return _finish(figure, f"{len(found)} partitions. Recognised with an F1 of {least:g} or more: {int(right.sum())}, "
                   f"{int((right & atomic).sum())} of them atomic. Below: {int((~right).sum())}, "
                   f"{int((~right & atomic).sum())} of them atomic.")
