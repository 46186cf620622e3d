"""Scores of several runs as text: mean ± standard deviation, and a table of them, a row a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .errors import InputError


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± sample standard deviation (n - 1) as text; the mean alone for one value, or where the deviation is 0 in
    the digits that are shown.

    Raises:
        InputError: no value.

    >>> spread([0.5, 0.7])
    '0.600 ± 0.141'
    """
    if len(values) == 0:
        raise InputError("no run, no mean: expected the score of at least one.")
    mean, deviation = np.mean(values), np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation > 0.5 * 10**-digits else "")


def score_table(
    methods: Mapping[str, Mapping[str, Sequence[float]]], *, sort_by: str | None = None
) -> pd.DataFrame:
    """A row a method, a column a score as `spread` writes it, and how many runs there were.

    Args:
        methods: method -> score -> its value in each run.
        sort_by: score whose largest mean stands first; None keeps the order given.
    """
    order = list(methods)
    if sort_by is not None:
        order.sort(key=lambda name: -np.mean(methods[name][sort_by]))
    rows = {
        name: {score: spread(values) for score, values in methods[name].items()}
        | {"runs": len(next(iter(methods[name].values())))}
        for name in order
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
