"""Does the uniqueness of co-occurrences track DCI, as the paper says by eye? Both, along many short trainings.

    python benchmarks/uniqueness.py [--steps 3000] [--seeds 0]
    python benchmarks/uniqueness.py --released        # some seconds for each network

Every world, model and seed is trained for a while and looked at now and then: DCI (by the forest, fitted to 6,000
codes, tested on 2,000), MIG, and the uniqueness of `inc_lib.suite` on 20,000 codes. Released networks are looked at
too. What is measured is kept after each training, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from inc_lib import actions, metrics, models, suite, training, worlds
from inc_lib.files import ROOT, atomic_write, checkpoints_folder

WORLDS = ("shapes3d-twin", "mpi3d-twin", "dsprites-twin")
MARKS = (250, 500, 1_000, 2_000, 3_000, 6_000, 12_000)
N = 20_000
TARGET = ROOT / "results" / "benchmarks" / "uniqueness.json"


def look(model: models.VAE, observations: torch.Tensor, states: torch.Tensor, world: worlds.World) -> dict[str, float]:
    """The three scores of one network, and the share of attributes that own a region."""
    codes = model.encode(observations)
    found = actions.find_actions(states, codes, actions.find_partitions(codes), world.factors)
    score = metrics.dci(codes, states, estimator="forest", n_train=6_000, n_test=2_000)
    return {
        "disentanglement": round(score.disentanglement, 4),
        "completeness": round(score.completeness, 4),
        "informativeness": round(score.informativeness, 4),
        "mig": round(metrics.mig(codes, states), 4),
        "uniqueness": round(suite.uniqueness(found), 4),
        "owning": round(len(found.actions) / len(found.ownership), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--released", action="store_true", help="look at the released networks, and train none")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = json.loads(TARGET.read_text())["rows"] if TARGET.is_file() else []

    def keep() -> None:
        with atomic_write(TARGET) as path:
            path.write_text(json.dumps({"benchmark": "uniqueness", "image_size": 32, "n": N, "rows": rows}, indent=1))

    for name in given.worlds:
        world = worlds.load(name, image_size=32)
        observations, states = world.sample(N, torch.Generator().manual_seed(1))
        for path in sorted(checkpoints_folder().glob(f"{name}_32_*_s*.safetensors")):
            model = models.load(path)
            about = {"world": name, "released": path.stem, "step": model.provenance["steps"]}  # a longer one is new
            if any(about.items() <= row.items() for row in rows):
                continue
            about |= {"model": model.name, "seed": model.provenance["seed"]}
            about |= {key: model.config[key] for key in ("output",) if key in model.config}
            rows.append(about | look(model, observations, states, world))
            keep()
        for kind in models.MODELS if not given.released else ():
            for seed in given.seeds:
                about = {"world": name, "model": kind, "seed": seed, "of": given.steps}
                if kind == "comp-wae":
                    about["output"] = "linear"  # earlier rows drew through a sigmoid
                if any(about.items() <= row.items() for row in rows):
                    continue
                seen, began = [], time.monotonic()

                def on_step(step, network, about=about, seen=seen, shown=(observations, states, world)) -> None:
                    if step in MARKS or step == given.steps:
                        seen.append(about | {"step": step} | look(network, *shown))

                schedule = training.short_schedule(world, kind)
                training.train(world, kind, steps=given.steps, seed=seed, on_step=on_step, every=250, **schedule)
                rows.extend(seen)
                keep()
                print(f"{name}, {kind}, seed {seed}: {time.monotonic() - began:.0f} s, {seen[-1]}", flush=True)


if __name__ == "__main__":
    main()
