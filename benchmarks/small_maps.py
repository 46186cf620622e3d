"""A training step of Comp-WAE with its smallest maps by matrix products, against the library's convolutions alone.

    python benchmarks/small_maps.py

A whole step of 64 pairs (forward, backward and Adam) of `dsprites-twin` at 32x32, on one core, taken in turns; the
ratio of the medians' rounds goes to results/benchmarks/small_maps.json.
"""

from __future__ import annotations

import argparse
import statistics
from unittest import mock

import report
import torch

from inc_lib import models, training, worlds
from inc_lib.models import networks

PAIRS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=5, help="steps a round")
    given = parser.parse_args()
    torch.set_num_threads(1)
    training.keep_freed_memory()

    world = worlds.load("dsprites-twin", image_size=32)
    network = models.build("comp-wae", channels=1, image_size=32, seed=0)
    run = training.Run(
        network, {"steps": 1, "seed": 0, "learning_rate": 5e-4, "decay": 0.0}, None, device="cpu"
    )
    batch = training.ready(training._compositions(world, PAIRS, torch.Generator().manual_seed(0)), run.device)

    def by_library() -> None:
        with mock.patch.object(networks, "_by_products", lambda maps, *, side: False):
            run.step(batch)

    seconds = report.alternate(
        {"library": by_library, "products": lambda: run.step(batch)}, rounds=given.rounds, calls=given.calls
    )
    report.keep(
        "small_maps",
        {
            "step_by_library_ms": 1e3 * statistics.median(seconds["library"]),
            "step_by_products_ms": 1e3 * statistics.median(seconds["products"]),
            "products_over_library": report.ratio(seconds["products"], seconds["library"]),
        },
        f"Comp-WAE on dsprites-twin, 32x32, {PAIRS} pairs a step, one core; the ratio is the median over rounds.",
    )


if __name__ == "__main__":
    main()
