"""DLS-Clustering, its ablation and other methods on one set of vectors, over seeds: results/benchmarks/dls.json.

    python benchmarks/dls.py --dataset pendigits --seeds 5 --steps 4000

The seeds of a model are trained side by side (independent weights, batches and noise). Each finished method is written
at once, and the same command goes on from there; a training under way resumes from its own state. The chapter reads the
file. Purity, accuracy, NMI and ARI are by labels that no method has seen; both parts are scored, training and test.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from inc_lib import adversarial, deep_clusters, dls_images
from inc_lib.files import ROOT, atomic_write
from inc_lib.models import checkpoints, dls
from inc_lib.models.dls import DLS, OBJECTIVES
from inc_lib.training import command
from inc_lib.worlds import vectors

POINTS = 12  # of a learning curve
MOST_LOOKED_AT = 20_000  # observations by which a model is judged without labels
# What is left out of the objective, and how it is called in the table.
VARIANTS = {
    "dls": OBJECTIVES["dls"],
    "dls-bent": OBJECTIVES["dls-bent"],
    "clustergan": OBJECTIVES["clustergan"],
    "no disentangling": OBJECTIVES["dls"] | {"swapped category": 0.0, "swapped noise": 0.0},
    "no reconstruction": OBJECTIVES["dls"] | {"reconstruction": 0.0},
    "no mmd": OBJECTIVES["dls"] | {"mmd": 0.0},
}


class Ledger:
    """results/benchmarks/dls.json: dataset -> method -> seed -> what was measured."""

    def __init__(self, path: Path, dataset: str) -> None:
        self.path, self.dataset = path, dataset

    def read(self) -> dict:
        return json.loads(self.path.read_text()) if self.path.is_file() else {}

    def missing(self, method: str, seed: int) -> bool:
        return str(seed) not in self.read().get(self.dataset, {}).get(method, {})

    def write(self, method: str, seed: int, found: dict) -> None:
        held = self.read()
        held.setdefault(self.dataset, {}).setdefault(method, {})[str(seed)] = found
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps(held, indent=1) + "\n")
        print(f"{self.dataset}, {method}, seed {seed}: {found['test']}", flush=True)


def rounded(scores: dict) -> dict:
    return {part: {name: round(value, 4) for name, value in held.items()} for part, held in scores.items()}


def measure_rival(world: vectors.VectorWorld, name: str, seed: int, most: int | None) -> dict:
    began = time.process_time()
    found = deep_clusters.rival_clusters(name, world, seed=seed, most=most)
    spent = {"observations": len(found[0]), "cpu_seconds": round(time.process_time() - began, 1)}
    return rounded(deep_clusters.score_parts(world, *found)) | spent


def measure_models(
    world: vectors.VectorWorld, variant: str, given: argparse.Namespace, called: str
) -> list[tuple[dict, DLS]]:
    """Train all seeds side by side, follow their scores on the way, and score what came out."""
    folder = (
        given.folder or ROOT / "runs" / "models" / f"{world.name}_{called.replace(' ', '-')}_m{given.seeds}"
    )
    curve_path = folder / "curve.json"
    curves = json.loads(curve_path.read_text()) if curve_path.is_file() else [{} for _ in range(given.seeds)]

    def note(step: int, model: DLS) -> None:
        for k, curve in enumerate(curves):
            found = deep_clusters.score(world.test.labels, model.member(k).clusters(world.test.vectors))
            curve[str(step)] = {name: round(value, 4) for name, value in found.items()}
        with atomic_write(curve_path) as temporary:
            temporary.write_text(json.dumps(curves))
        means = {name: sum(curve[str(step)][name] for curve in curves) / len(curves) for name in found}
        print(
            f"{variant}, step {step:,}:",
            ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()),
            flush=True,
        )

    trained = adversarial.train(
        world,
        steps=given.steps,
        objective=variant if variant in OBJECTIVES else VARIANTS[variant],
        learning_rate=given.learning_rate,
        decay=given.decay,
        opening=given.opening,
        folder=folder,
        options={"width": given.width, "convolutions": given.convolutions, "members": given.seeds},
        on_step=note,
        every=max(given.steps // POINTS, 1),
    )
    result, models = [], adversarial.members_of(trained)
    for model in models:
        model.half().float()  # as the released file holds it: the scores are those of the rounded weights
    assigned = [model.clusters(world.train.vectors) for model in models]
    alike = deep_clusters.agreement(assigned) if len(models) > 1 else [1.0]
    for model, curve, agrees in zip(models, curves, alike, strict=True):
        unlabelled = deep_clusters.unlabelled_scores(model, world.train.first(MOST_LOOKED_AT))
        unlabelled["agreement"] = float(agrees)
        found = rounded(deep_clusters.score_model(model, world)) | {
            "unlabelled": {name: round(value, 5) for name, value in unlabelled.items()},
            "curve": curve,
            "seconds": round(model.provenance["seconds"] / given.seeds),
            "steps": given.steps,
            "learning_rate": given.learning_rate,
            "decay": given.decay,
            "opening": model.provenance.get("opening", 0),
        }
        result.append((found, model))
    return result


def measure_pairs(world: vectors.VectorWorld, ledger: Ledger, given: argparse.Namespace) -> None:
    """The released models of the world as h and G, added to what is held of each."""
    judge = None
    for objective in ("dls", "dls-bent"):
        for seed in range(given.seeds):
            path = adversarial.release_path(world.name, seed, objective)
            found = ledger.read().get(world.name, {}).get(objective, {}).get(str(seed), {})
            if not path.is_file() or not found or "pair" in found:
                continue
            judge = judge or deep_clusters.judge(world.train)
            found["pair"] = dls_images.pair_scores(dls.load(path), world, judge, seed=seed)
            ledger.write(objective, seed, found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="pendigits")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--methods",
        default="rivals,dls,clustergan",
        help="comma-separated: rivals, or some of them by name; pairs (released models as h and G); and of "
        + ", ".join(VARIANTS),
    )
    parser.add_argument("--steps", type=int, default=4_000, help="of the generator")
    parser.add_argument("--learning-rate", type=float, default=adversarial.SHORT["learning_rate"])
    parser.add_argument("--decay", type=float, default=adversarial.SHORT["decay"])
    parser.add_argument("--opening", type=int, help="steps of the encoder alone, where pictures are bent")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--convolutions", action="store_true")
    parser.add_argument("--most", type=int, help="observations that the rivals see (default: all)")
    parser.add_argument("--folder", type=Path, help="where a training is kept (default: runs/models/NAME)")
    parser.add_argument("--results", type=Path, default=deep_clusters.LEDGER)
    parser.add_argument("--call", help="what the record calls the one method (default: its name)")
    parser.add_argument("--release", action="store_true", help="keep the models in checkpoints/ (fp16)")
    given = parser.parse_args()

    if given.call and (given.methods.count(",") or given.methods == "rivals" or given.release):
        parser.error("--call names the record of one trained method that is not released: give --methods one model.")

    def work() -> None:
        world = vectors.load(given.dataset)
        ledger = Ledger(given.results, world.name)
        for method in given.methods.split(","):
            rivals = list(deep_clusters.rivals(len(world.classes)))
            if method in ("rivals", *rivals):
                for name in rivals if method == "rivals" else [method]:
                    for seed in range(given.seeds):
                        if ledger.missing(name, seed):
                            ledger.write(name, seed, measure_rival(world, name, seed, given.most))
            elif method == "pairs":
                measure_pairs(world, ledger, given)
            elif any(ledger.missing(called := given.call or method, seed) for seed in range(given.seeds)):
                for seed, (found, model) in enumerate(measure_models(world, method, given, called)):
                    ledger.write(called, seed, found)
                    if given.release:
                        path = adversarial.release_path(world.name, seed, method)
                        checkpoints.save(model, path, model.provenance, half=True, scores=found["test"])

    return command(work)


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
