"""What DCI costs, and how much it depends on its estimator: one near-perfect code, one entangled, many
answers.

    python benchmarks/dci.py                      # made-up codes
    python benchmarks/dci.py --model checkpoints/shapes3d-twin_32_ada-gvae_s0.safetensors

Prints disentanglement, completeness, informativeness and the processor's seconds of every estimator, and of
boosting with fewer training observations; writes results/benchmarks/dci.json.
"""
from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
import sklearn
import torch
from sklearn.ensemble import RandomForestClassifier

from inc_lib import metrics, models, worlds
from inc_lib.errors import InputError
from inc_lib.files import ROOT, atomic_write

SIZES = (10, 10, 10, 8, 4, 15)  # of 3DShapes
N_CODES = 10
RUNS = (("lasso", "lasso", 10_000), ("forest", "forest", 10_000),
        ("random forest, scikit-learn's defaults", RandomForestClassifier(random_state=0), 10_000),
        ("boosting", "boosting", 1_000), ("boosting", "boosting", 3_000), ("boosting", "boosting", 5_000),
        ("boosting", "boosting", 10_000))


def near_perfect(n: int, *, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Codes 0 to 5 are the six factors, standardised, with noise; four more hold nothing but noise."""
    generator = np.random.default_rng(seed)
    states = np.stack([generator.integers(size, size=n) for size in SIZES], axis=1)
    scale = np.array([np.std(np.arange(size)) for size in SIZES])
    codes = (states - (np.array(SIZES) - 1) / 2) / scale + noise * generator.standard_normal(states.shape)
    return np.hstack([codes, generator.standard_normal((n, N_CODES - len(SIZES)))]), states


def rotated(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The same, but codes 0 and 1, 2 and 3, 4 and 5 turned by 30 degrees: every factor in two codes."""
    codes, states = near_perfect(n, seed=seed)
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    for i in (0, 2, 4):
        codes[:, i:i + 2] = codes[:, i:i + 2] @ np.array([[cosine, -sine], [sine, cosine]])
    return codes, states


def encoded(path: Path, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes that a trained model gives to observations of shapes3d-twin."""
    model = models.load(path)
    world = worlds.load("shapes3d-twin", image_size=model.config["image_size"])
    observations, states = world.sample(n, torch.Generator().manual_seed(0))
    return model.encode(observations).numpy(), states.numpy()


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="DCI of the same codes by several estimators, with the time "
                                                 "it takes.")
    parser.add_argument("--model", type=Path, help="a checkpoint: its codes, beside the made-up ones")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "benchmarks" / "dci.json")
    given = parser.parse_args(arguments)
    try:
        systems = {"near-perfect": near_perfect(15_000), "rotated in pairs": rotated(15_000)}
        if given.model:
            systems[given.model.stem] = encoded(given.model, 15_000)
        results = {}
        for system, (codes, states) in systems.items():
            rows = results[system] = []
            for name, estimator, n_train in RUNS:
                start = time.process_time()
                score = metrics.dci(codes, states, estimator=estimator, n_train=n_train)
                seconds = round(time.process_time() - start, 1)
                numbers = {key: round(getattr(score, key), 4)
                           for key in ("disentanglement", "completeness", "informativeness")}
                rows.append({"estimator": name, "n_train": n_train, **numbers, "seconds": seconds})
                told = ", ".join(f"{key} {value:.3f}" for key, value in numbers.items())
                print(f"{system}: {name}, {n_train:,} to train on: {told}, {seconds} s", flush=True)
            forest, boosting = (next(row["seconds"] for row in rows if row["n_train"] == 10_000
                                     and row["estimator"] == name) for name in ("forest", "boosting"))
            print(f"{system}: the forest takes 1/{boosting / max(forest, 0.1):.0f} of boosting's time")
        about = {"benchmark": "dci", "sizes": SIZES, "n_codes": N_CODES, "n_test": 5_000, "results": results,
                 "seconds_are": "processor time, all threads", "machine": platform.machine(),
                 "scikit_learn": sklearn.__version__, "date": datetime.date.today().isoformat()}
        with atomic_write(given.output) as path:
            path.write_text(json.dumps(about, indent=2) + "\n")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
