"""Per-pixel clustering: what does it hinge on? Writes results/benchmarks/pixels.json, which chapter 13 reads.

    python benchmarks/pixels.py [--only ROW] [--seeds 3]

Each row is the default but for one thing, on the same pictures; seeds differ in the start, the batches and all noise.
The test part is inferred by MAP with the generator fixed. Rows that are there already are not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time

import torch

from inc_lib import layer_scores, layering
from inc_lib.files import atomic_write
from inc_lib.layering import Settings
from inc_lib.worlds import label_maps

N, SIZE = 400, 32
ROWS = {
    "textured-shapes3d": {
        "default": {},
        "uniform pi": {"prior": "uniform"},
        "pi begins at random": {"start": "random"},
        "pi begins as bands": {"start": "bands"},
        "flat light (order 1)": {"order": 1},
        "a lamp for each layer": {"light": "each"},
        "any smooth layer": {"light": "free"},
        "sigma 0.3, as the paper": {"sigma": 0.3},
        "sigma 0.15": {"sigma": 0.15},
        "sigma estimated": {"sigma": 0.0},
        "any smooth layer, sigma estimated": {"light": "free", "sigma": 0.0},
        "any layer of 28 waves": {"light": "free", "order": 7},
        "sigma not annealed": {"anneal": 0.0},
        "soft y": {"sampled": False},
        "MAP z": {"langevin": False},
        "MAP z, flat light": {"langevin": False, "order": 1},
        "MAP z and soft y": {"langevin": False, "sampled": False},
    },
    "moving-shapes3d": {
        "default": {},
        "map that is shifted": {"reach": 8},
    },
    "textured-mpi3d": {
        "default": {},
        "sigma estimated": {"sigma": 0.0},
        "flat light (order 1)": {"order": 1},
        "pi begins at random": {"start": "random"},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="measure only rows that contain this text")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = layer_scores.LEDGER
    held = {"pictures": N, "size": SIZE, "worlds": {}}
    if path.is_file():
        held = json.loads(path.read_text(encoding="utf-8"))
    worlds = {name: label_maps.load(name, n=N, image_size=SIZE) for name in ROWS}
    for seed, (name, world) in itertools.product(range(arguments.seeds), worlds.items()):
        k = len(world.classes)
        found = held["worlds"].setdefault(name, {})
        if str(seed) not in found.get("k-means, colour", {}):
            for method, maps in layer_scores.rivals(world, seed=seed).items():
                found.setdefault(method, {})[str(seed)] = layer_scores.score(maps, world.test.maps, k).row()
        for row, options in ROWS[name].items():
            if str(seed) in found.get(row, {}) or (arguments.only and arguments.only not in row):
                continue
            began = time.perf_counter()
            fitted = layering.fit(world.train.pictures, Settings(n_layers=k, seed=seed, **options))
            inferred = fitted.infer(world.test.pictures)
            scored = layer_scores.score(inferred.maps(), world.test.maps, k).row()
            scored |= {
                "score": round(fitted.score, 1),
                "sigma": round(fitted.curve[-1], 4),
                "z_squared": round(float(inferred.z.square().mean()), 4),
                "seconds": round(time.perf_counter() - began, 1),
            }
            found.setdefault(row, {})[str(seed)] = scored
            print(name, seed, row, scored, flush=True)
            with atomic_write(path) as temporary:
                temporary.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
