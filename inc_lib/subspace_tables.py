"""What `benchmarks/subspaces.py` has recorded, as tables."""
from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .errors import InputError, suggest
from .files import ROOT

RECORDED = ROOT / "results" / "benchmarks" / "subspaces.json"


def ablation(network: str, path: str | Path | None = None) -> tuple[pd.DataFrame, dict]:
    """Each variant that `benchmarks/subspaces.py` measured on a network: mean and spread over its repeats.

    Args:
        network: e.g. "ada-gvae_s0".
        path: of the record (default: ours).

    Returns:
        A table (variants; columns: factors, "kept" and "repeats"), macro-F1 as "0.98 \u00b1 0.01", "kept" the share of
        pictures in which another factor reads as before, averaged over the factors acted on; and the record itself.
    """
    path = Path(path or RECORDED)
    if not path.is_file():
        raise InputError(f"{path} does not exist: make it with python benchmarks/subspaces.py.")
    networks = json.loads(path.read_text())["networks"]
    if network not in networks:
        raise suggest("network", network, networks)
    record, rows = networks[network], {}
    for name, repeats in record["variants"].items():
        scores = np.array([repeat["macro_f1"] for repeat in repeats])
        kept = [np.mean([share for share in repeat["kept"] if share is not None] or [math.nan]) for repeat in repeats]
        rows[name] = [_spread(column) for column in scores.T] + [_spread(kept), len(repeats)]
    return pd.DataFrame(rows, index=[*record["factors"], "kept", "repeats"]).T, record


def _spread(values: ArrayLike) -> str:
    """Mean, and standard deviation where there are several."""
    values = np.asarray(values, dtype=np.float64)
    told = f"{values.mean():.2f}"
    return told if len(values) < 2 else f"{told} ± {values.std(ddof=1):.2f}"
