"""What every benchmark does at its end: print, and keep the numbers with how they came to be."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch

from inc_lib.files import ROOT, atomic_write


def alternate(
    variants: dict[str, Callable[[], object]], *, rounds: int, calls: int = 1
) -> dict[str, list[float]]:
    """Seconds a call of each variant, measured in turns so that a machine whose speed drifts is fair to all."""
    for variant in variants.values():
        variant(), variant()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            start = time.perf_counter()
            for _ in range(calls):
                variant()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append((time.perf_counter() - start) / calls)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median over the rounds of slow / fast, round by round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def keep(name: str, numbers: dict[str, float | str], note: str) -> None:
    """Print the numbers and write results/benchmarks/NAME.json."""
    record = {
        "benchmark": name,
        "note": note,
        "numbers": numbers,
        "machine": {
            "processor": f"{os.cpu_count()}-core {platform.machine()}",
            "load_at_end": round(os.getloadavg()[0], 1),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
            "date": datetime.date.today().isoformat(),
        },
    }
    with atomic_write(ROOT / "results" / "benchmarks" / f"{name}.json") as path:
        path.write_text(json.dumps(record, indent=2) + "\n")
    for key, value in numbers.items():
        print(f"{key:50s} {value:,.4g}" if isinstance(value, float) else f"{key:50s} {value}")
    print(note)
