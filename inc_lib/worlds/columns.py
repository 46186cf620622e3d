"""From columns of values, as people keep them in tables, to factors and attribute indices."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InputError
from .base import Factor

MANY = 50             # a measured number with more distinct values is taken as continuous

Columns = Mapping[str, Sequence | np.ndarray]


def tabulate(columns: Columns, n: int, where: str) -> tuple[np.ndarray, list[Factor], list[str]]:
    """Columns of values to attribute indices: a column's distinct values, sorted, are the attributes.

    Three kinds of column are no factors; they are left out and the returned notes say so:
    one value only; a measured (not whole) number with more than 50 distinct values, which is continuous; and
    a value of its own for most rows (more than 50 distinct ones, on average for fewer than two rows), which
    is a name or number of the row. Leaving them out rather than failing keeps a dataset usable whose file
    also holds, say, a time stamp; guessing bins would invent attributes that nobody chose.

    Args:
        columns: name -> n values, numbers or strings.
        n: number of observations.
        where: opens every sentence, e.g. "photos/factors.csv".

    Returns:
        labels int64 (n, M), the M factors, and notes.

    Raises:
        InputError: a column of another length, with gaps, or of another kind.
    """
    labels, factors, notes = [], [], []
    for name, values in columns.items():
        values = _plain(np.asarray(values), n, f"{where}, column {name!r}")
        distinct, index = np.unique(values, return_inverse=True)
        if values.dtype.kind == "f":
            digits = 12 if values.dtype.itemsize == 8 else 6         # 0.1 + 0.2 and 0.3 are one attribute
            distinct, merged = np.unique([float(f"{v:.{digits}g}") for v in distinct], return_inverse=True)
            index = merged[index]
        whole = values.dtype.kind != "f" or bool((distinct == np.round(distinct)).all())
        if len(distinct) == 1:
            notes.append(f"column {name!r} is left out: it has one value only ({distinct[0]}).")
        elif not whole and len(distinct) > MANY:
            notes.append(f"column {name!r} is left out: its {len(distinct):,} distinct values are "
                         "continuous; cut it into bins to use it as a factor, e.g. with pandas.cut.")
        elif len(distinct) > MANY and len(distinct) * 2 > n:
            notes.append(f"column {name!r} is left out: {len(distinct):,} distinct values in {n:,} rows name "
                         "the rows rather than vary among them.")
        else:
            factors.append(_factor(name, distinct, whole))
            labels.append(index)
    return np.stack(labels, 1) if labels else np.empty((n, 0), np.int64), factors, notes


def _factor(name: str, distinct: np.ndarray, whole: bool) -> Factor:
    """Strings and the codes 0, 1, 2, ... are categories; other numbers have an order."""
    if distinct.dtype.kind == "U":
        return Factor(name, tuple(map(str, distinct)))
    values = tuple(int(v) for v in distinct) if whole else tuple(float(v) for v in distinct)
    return Factor(name, values, "categorical" if values == tuple(range(len(values))) else "ordered")


def _plain(values: np.ndarray, n: int, where: str) -> np.ndarray:
    """A column as float, int or string array without gaps."""
    if values.shape != (n,):
        raise InputError(f"{where} has the shape {values.shape}: expected one value for each of {n:,} "
                         "images.")
    kind = values.dtype.kind
    if kind == "b":
        return np.where(values, "true", "false")
    if kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    elif kind == "O":
        empty = np.array([value is None or value != value for value in values])
        if empty.any():
            raise gap(where, empty)
        if not all(isinstance(value, str) for value in values):
            odd = next(value for value in values if not isinstance(value, str))
            raise InputError(f"{where} holds a {type(odd).__name__}: expected numbers or strings.")
        values = values.astype(str)
    elif kind not in "uifU":
        raise InputError(f"{where} holds {values.dtype} values: expected numbers or strings.")
    if values.dtype.kind == "U":
        values = np.char.strip(values)
        empty = np.isin(np.char.lower(values), ["", "nan"])
        if empty.any():
            raise gap(where, empty)
        try:
            values = values.astype(np.float64)
        except ValueError:
            return values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise gap(where, ~np.isfinite(values))
    return values


def gap(where: str, empty: np.ndarray) -> InputError:
    """The error for missing values, from the rows (n,) that lack one."""
    count, first = int(empty.sum()), int(np.flatnonzero(empty)[0]) + 1
    return InputError(f"{where} has {count:,} gap{'s' * (count > 1)} (empty or NaN), first in row {first}: "
                      "fill them or leave these images out.")
