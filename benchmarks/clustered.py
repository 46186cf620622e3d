"""What makes the clustered generator work, over seeds: results/benchmarks/clustered.json.

    python benchmarks/clustered.py --dataset mnist --observations 1500 --seeds 3

Each row takes one thing away from the whole recipe, or is the published algorithm, or another method. A finished run is
written at once, and the same command goes on with what is missing. Labels score and do nothing else; "score" is the
mean log p(x) of the training part, up to a constant, by which a run may be chosen without them.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch

from inc_lib import alternation, deep_clusters
from inc_lib.alternation import Recipe
from inc_lib.files import atomic_write
from inc_lib.models import clustered
from inc_lib.training import command
from inc_lib.worlds.vectors import VectorWorld

# What is taken away, and how that is called in the table.
VARIANTS: dict[str, dict] = {
    "whole": {},
    "no surplus of pictures": {"initial": "k-means"},
    "random start": {"initial": "random"},
    "z whole at once": {"grows": False},
    "sigma fixed": {"anneals": False},
    "one chain for all labels": {"own_chains": False},
    "labels by the peak": {"marginal": False},
    "no covariances": {"covariances": False},
    "no shades": {"n_shades": 0},
    "eight shades": {"n_shades": 8},
    "shifts and linear maps only": {"modes": 0},
    "labels sampled": {"labels": "sample"},
    "Langevin noise": {"temperature": 1.0},
    "pi learned": {"uniform": False},
    "K = 6": {"n_clusters": 6},
    "K = 12": {"n_clusters": 12},
}
LITERAL: dict[str, dict] = {
    "literal": {},
    "literal, MAP labels": {"labels": "map"},
    "literal, z of 2": {"options": {"n_z": 2}},
    "literal, begun at k-means": {"begin": True},
}
HELD_OUT = 1_000  # of the training part


def head(world: VectorWorld, n: int) -> VectorWorld:
    """The world with the first n of its training part."""
    return replace(world, train=world.train.first(n))


def rounded(scores: dict) -> dict:
    return {part: {name: round(value, 4) for name, value in held.items()} for part, held in scores.items()}


def measure_recipe(world: VectorWorld, options: dict, seed: int, unseen: torch.Tensor) -> dict:
    """A recipe without something; `unseen` are images by whose log-likelihood recipes can be told without a label."""
    began, path = time.process_time(), []

    def note(sweep: int, model: alternation.DeformingGenerator, y: torch.Tensor) -> None:
        path.append(round(deep_clusters.score(world.train.labels[: len(y)], y)["accuracy"], 4))

    options = dict(options)
    n_clusters = options.pop("n_clusters", None)
    recipe, history = Recipe(**options), []
    model = alternation.train(
        world, n_clusters=n_clusters, recipe=recipe, seed=seed, on_sweep=note, history=history
    )
    spent = round(time.process_time() - began, 1)
    found = {"train": deep_clusters.score(world.train.labels, model.labels)}
    changed = [round(sweep["changed"], 4) for sweep in history]
    score = round(model.provenance["score"], 3)
    told = {"score": score, "cpu_seconds": spent, "curve": path, "changed": changed}
    likelihood = alternation.log_likelihood(model, unseen) if len(unseen) else None
    return rounded(found) | told | {"held_out_log_likelihood": likelihood}


def measure_literal(world: VectorWorld, options: dict, seed: int, steps: int) -> dict:
    began, path, options = time.process_time(), {}, dict(options)
    if options.pop("begin", False):
        found, _ = deep_clusters.rival_clusters("k-means", world, seed=seed)
        options["start"] = torch.from_numpy(found)
    last = {}

    def note(step: int, network: alternation.Literal) -> None:
        found = deep_clusters.score(world.train.labels, network.y)["accuracy"]
        changed = (network.y != last["y"]).float().mean().item() if "y" in last else 1.0
        with torch.no_grad():
            error = (world.train.vectors - network.generator.generate(network.z, network.y)).square().sum(1).mean()
        last["y"] = network.y.clone()
        path[step] = [round(found, 4), round(changed, 4), round(error.item(), 3)]

    every = -(-len(world.train) // 100)  # a sweep
    network = alternation.train_literally(
        world, steps=steps, seed=seed, on_step=note, every=every, chain_steps=20, **options
    )
    found = deep_clusters.score(world.train.labels, network.y)
    spent = round(time.process_time() - began, 1)
    return rounded({"train": found}) | {"cpu_seconds": spent, "steps": steps, "path": path}


def measure_released(world: VectorWorld, seed: int) -> dict:
    """The released model of a seed: its clusters of the whole test part; the log-likelihood of training images that it
    did not learn from, by which one of them may be chosen without a label."""
    began = time.process_time()
    model = clustered.load(alternation.release_path(world.name, seed))
    n = model.provenance["observations"]
    found = {"test": deep_clusters.score(world.test.labels, model.clusters(world.test.vectors))}
    unseen = world.train.vectors[n:][-HELD_OUT:]
    likelihood = alternation.log_likelihood(model, unseen) if len(unseen) else None
    spent = {"observations": n, "cpu_seconds": round(time.process_time() - began, 1)}
    spent["learning_seconds"] = model.provenance["seconds"]
    return rounded(found) | spent | {"held_out_log_likelihood": likelihood}


def measure_rival(world: VectorWorld, name: str, seed: int, most: int) -> dict:
    began = time.process_time()
    found = deep_clusters.rival_clusters(name, world, seed=seed, most=most)
    spent = {"observations": len(found[0]), "cpu_seconds": round(time.process_time() - began, 1)}
    return rounded(deep_clusters.score_parts(world, *found)) | spent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--observations", type=int, default=1_500, help="that are learned from")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default="released,rivals,recipes,literal", help="or names of rows")
    parser.add_argument("--most", type=int, default=5_000, help="observations that other methods see")
    parser.add_argument("--steps", type=int, default=150, help="of the published algorithm")
    parser.add_argument("--results", type=Path, default=alternation.LEDGER)
    given = parser.parse_args()

    def work() -> None:
        whole = alternation.images(given.dataset)
        world = head(whole, given.observations)
        asked = given.methods.split(",")
        names = [("released", "released"), *((name, "rivals") for name in deep_clusters.rivals(2))]
        names += [(name, "recipes") for name in VARIANTS] + [(name, "literal") for name in LITERAL]
        for seed in range(given.seeds):
            for name, kind in names:
                if not {name, kind} & {*asked} or not missing(given.results, whole.name, name, seed):
                    continue
                if kind == "released":
                    found = measure_released(whole, seed)
                elif kind == "rivals":
                    found = measure_rival(whole, name, seed, given.most)
                elif kind == "recipes":
                    unseen = whole.train.vectors[given.observations :][-HELD_OUT:]
                    found = measure_recipe(world, VARIANTS[name], seed, unseen)
                else:
                    found = measure_literal(world, LITERAL[name], seed, given.steps)
                found = {"observations": len(world.train)} | found
                write(given.results, whole.name, name, seed, found)

    return command(work)


def read(path: Path) -> dict:
    return json.loads(path.read_text()) if path.is_file() else {}


def missing(path: Path, dataset: str, method: str, seed: int) -> bool:
    return str(seed) not in read(path).get(dataset, {}).get(method, {})


def write(path: Path, dataset: str, method: str, seed: int, found: dict) -> None:
    held = read(path)
    held.setdefault(dataset, {}).setdefault(method, {})[str(seed)] = found
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(held, indent=1) + "\n")
    print(f"{dataset}, {method}, seed {seed}: {found['test' if 'test' in found else 'train']}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
