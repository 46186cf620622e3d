"""One trunk with a head per factor against one network per factor (the paper's oracle); what blur and noise buy.

    python benchmarks/oracle_trunk.py --image-size 32 --steps 600

trains oracles on shapes3d-twin with the same seed, and measures each on states that none has seen: crisp, blurred,
noisy, and (with --model) as a variational autoencoder reconstructs them. Prints the trunk's time against that of
the separate networks, and writes everything to results/benchmarks/oracle_trunk.json.
"""
from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from inc_lib import models, oracle, worlds
from inc_lib.errors import InputError
from inc_lib.files import ROOT, atomic_write

VARIANTS = {"one trunk": {}, "one network per factor": {"per_factor": True},
            "one trunk, five times the steps": {"longer": 5},  # about the time of the separate networks
            "one trunk, crisp images only": {"augment": False}}
BLURS = (0.5, 1.0, 1.5)  # pixels at 32x32, twice as many at 64x64
NOISES = (0.05, 0.1)


def conditions(observations: torch.Tensor, generator: torch.Generator, model: models.VAE | None,
               ) -> dict[str, torch.Tensor]:
    """The same observations, crisp and degraded."""
    pixels = observations.shape[-1] / 32
    found = {"crisp": observations}
    for width in BLURS:
        found[f"blur {width * pixels:g} pixels"] = oracle.blur(observations, width * pixels)
    for strength in NOISES:
        noise = torch.randn(observations.shape, generator=generator)
        found[f"noise {strength}"] = observations + strength * noise
    if model is not None:
        found["reconstructed"] = model.decode(model.encode(observations))
    return {name: images.clamp(0, 1) for name, images in found.items()}


def macro_f1(judge: oracle.Oracle, images: torch.Tensor, states: torch.Tensor) -> dict[str, float]:
    """Macro-F1 of each factor."""
    read = judge.predict(images)
    return {name: round(oracle.f1_from_confusion(
        oracle.confusion_table(states[:, i].numpy(), read[:, i].numpy(), size)).macro_f1, 4)
        for i, (name, size) in enumerate(zip(judge.factors, judge.sizes, strict=True))}


def timed(function: Callable) -> tuple[object, float]:
    """The result, and the processor's seconds: they do not count what else runs on the machine."""
    start = time.process_time()
    return function(), time.process_time() - start


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="One trunk against one network per factor.")
    parser.add_argument("--image-size", type=int, default=32, choices=sorted(oracle.WIDTHS))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-test", type=int, default=5_000)
    parser.add_argument("--model", type=Path, help="a checkpoint: judge its reconstructions, too")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "benchmarks" / "oracle_trunk.json")
    given = parser.parse_args(arguments)
    try:
        world = worlds.load("shapes3d-twin", image_size=given.image_size)
        model = models.load(given.model) if given.model else None
        generator = torch.Generator().manual_seed(given.seed + 1)
        observations, states = oracle.draw(world, given.n_test, generator, held_out=True)
        sheets = conditions(observations, generator, model)
        results = {}
        for name, options in VARIANTS.items():
            options = dict(options)
            steps = given.steps * options.pop("longer", 1)
            judge, seconds = timed(lambda steps=steps, options=options: oracle.train(
                world, steps=steps, seed=given.seed, n_test=1, device="cpu", **options))
            scores = {sheet: macro_f1(judge, images, states) for sheet, images in sheets.items()}
            parameters = sum(parameter.numel() for parameter in judge.parameters())
            results[name] = {"steps": steps, "seconds": round(seconds, 1), "parameters": parameters,
                             "macro_f1": scores}
            print(f"{name}: {steps:,} steps, {seconds:.0f} s, {parameters:,} parameters")
            for sheet, values in scores.items():
                print(f"  {sheet:18}", "  ".join(f"{factor} {value:.3f}" for factor, value in values.items()),
                      flush=True)
        ratio = results["one network per factor"]["seconds"] / results["one trunk"]["seconds"]
        gap = np.mean(list(results["one trunk"]["macro_f1"]["crisp"].values())) - np.mean(
            list(results["one network per factor"]["macro_f1"]["crisp"].values()))
        print(f"one trunk takes {1 / ratio:.2f} of the time of separate networks; mean macro-F1 {gap:+.4f}")
        about = {"benchmark": "oracle_trunk", "world": world.name, "source": world.source,
                 "image_size": given.image_size, "steps": given.steps, "seed": given.seed,
                 "n_test": given.n_test,
                 "model": given.model.name if given.model else None, "results": results,
                 "seconds_ratio": round(ratio, 2), "threads": torch.get_num_threads(),
                 "machine": platform.machine(), "torch": torch.__version__.split("+")[0],
                 "seconds_are": "processor time", "date": datetime.date.today().isoformat()}
        with atomic_write(given.output) as path:
            path.write_text(json.dumps(about, indent=2) + "\n")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
