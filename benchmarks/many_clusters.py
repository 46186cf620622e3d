"""Does DLS-Clustering scale to a hundred clusters? Rooms of `shapes3d-twin`, ten and a hundred of them.

    python benchmarks/many_clusters.py   # each method that is finished is kept, a training resumes from its state

A room is a floor and a wall of given hues (the published COIL-100 has 100 objects instead, which `-p dataset coil-100`
reads); everything else in it varies: the object's hue, size and shape, the angle of view. 100 pictures of each room to
learn from and 30 to test on, at 16x16 pixels (the means of 2x2) in three colours. K is told to every method, labels to
none. Writes results/benchmarks/many_clusters.json: purity, accuracy, NMI and ARI by method and seed, and what a
training step costs at K = 100 against K = 10, the two measured in turns.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import report
import torch
from torch.nn import functional as F

from inc_lib import adversarial, deep_clusters, worlds
from inc_lib.files import ROOT, atomic_write
from inc_lib.training import command
from inc_lib.worlds.vectors import Part, VectorWorld

TARGET = ROOT / "results" / "benchmarks" / "many_clusters.json"
ROOMS = (10, 100)
VIEWS = {"train": 100, "test": 30}  # pictures of each room
METHODS = ("k-means", "GMM", "dls")


def rooms(count: int) -> VectorWorld:
    """So many rooms, at most 100: floors by walls."""
    world = worlds.load("shapes3d-twin", image_size=32)
    walls = min(count, 10)
    parts = {}
    for seed, (part, views) in enumerate(VIEWS.items()):
        states = world.states(count * views, torch.Generator().manual_seed(seed))
        label = torch.arange(count).repeat_interleave(views)
        states[:, 0], states[:, 1] = label // walls, label % walls
        pictures = torch.cat([F.avg_pool2d(world.render(some).cpu(), 2) for some in states.split(1000)])
        order = torch.randperm(len(label), generator=torch.Generator().manual_seed(seed))
        parts[part] = Part(pictures.flatten(1)[order], label[order])
    names = tuple(f"floor {k // walls}, wall {k % walls}" for k in range(count))
    return VectorWorld(f"rooms-{count}", "procedural twin", parts["train"], parts["test"], names, (768,))


def step_costs(held: dict[int, VectorWorld], members: int) -> dict[str, float]:
    """Seconds of a step of the generator with its five of the critic, by number of clusters; and their ratio."""

    def steps(world: VectorWorld):
        options = {"members": members}
        return lambda: adversarial.train(world, steps=5, options=options, **adversarial.SHORT)

    seconds = report.alternate({str(k): steps(world) for k, world in held.items()}, rounds=5)
    few, many = (seconds[str(k)] for k in ROOMS)
    return {f"seconds_5_steps_{k}": round(float(np.median(seconds[str(k)])), 3) for k in ROOMS} | {
        "many_over_few": round(report.ratio(many, few), 3)
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3_000, help="of the generator")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated")
    given = parser.parse_args()
    torch.set_num_threads(1)

    def work() -> None:
        found = json.loads(TARGET.read_text()) if TARGET.is_file() else {"benchmark": "many_clusters", "scores": {}}
        held = {count: rooms(count) for count in ROOMS}

        def keep(count: int, method: str, scores: list[dict]) -> None:
            rounded = [
                {part: {k: round(v, 4) for k, v in of.items()} for part, of in score.items()} for score in scores
            ]
            found["scores"].setdefault(str(count), {})[method] = rounded
            write()
            purity = [score["test"]["purity"] for score in scores]
            print(f"{count} rooms, {method}: purity {np.mean(purity):.3f} ± {np.std(purity):.3f}", flush=True)

        def write() -> None:
            with atomic_write(TARGET) as path:
                path.write_text(json.dumps(found, indent=1) + "\n")

        for count, world in held.items():
            for method in given.methods.split(","):
                if method in found["scores"].get(str(count), {}):
                    continue
                if method in ("dls", "clustergan"):
                    folder = ROOT / "runs" / "models" / f"{world.name}_{method}_m{given.seeds}"
                    trained = adversarial.train(
                        world,
                        steps=given.steps,
                        objective=method,
                        folder=folder,
                        options={"members": given.seeds},
                        **adversarial.SHORT,
                    )
                    models = adversarial.members_of(trained)
                    keep(count, method, [deep_clusters.score_model(model, world) for model in models])
                    found.setdefault("steps", {})[f"{count} {method}"] = given.steps
                else:
                    clusters = [deep_clusters.rival_clusters(method, world, seed=seed) for seed in range(given.seeds)]
                    keep(count, method, [deep_clusters.score_parts(world, *pair) for pair in clusters])
        if "cost" not in found:
            found["cost"] = step_costs(held, given.seeds)
        write()

    return command(work)


if __name__ == "__main__":
    raise SystemExit(main())
