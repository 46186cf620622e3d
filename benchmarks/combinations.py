"""Which combinations must be seen for the others to follow? Trainings of chapter 10's generator, scored as they go.

    python benchmarks/combinations.py [--only "four of eight"] [--release]

Each run trains one seed and scores every class at moments that are evenly spaced in the logarithm of the steps. The
record is written after every moment; a run that was stopped goes on from its last state, one that is finished is not
repeated. `--release` puts the networks of the main run into `checkpoints/`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from pathlib import Path

import torch

from inc_lib import composition, oracle, training, worlds
from inc_lib.files import ROOT, atomic_write
from inc_lib.worlds.simple_shapes import SimpleShapes

RECORD = composition.RECORDED
N, SHOWN = (
    50,
    4,
)  # images of each class at each moment: scored, and kept to look at (of the main run's first seed)
MAIN = "four of eight"
LONGER = "four of eight, twice as long"
SWEEP = 1_200  # steps of the others, which are scored at few moments
# name: world, classes trained on, what is told, steps, seeds
RUNS = {
    MAIN: ("simple-shapes", composition.MAIN, "values", composition.STEPS, (0, 1, 2)),
    LONGER: ("simple-shapes", composition.MAIN, "values", 2 * composition.STEPS, (1,)),  # the seed that did worst
    "4 of 8, one change at a time": ("simple-shapes", composition.MAIN, "values", SWEEP, (0, 1)),
    "4 of 8, every pair balanced": ("simple-shapes", "000 011 101 110", "values", SWEEP, (0, 1)),
    "2 of 8, opposite corners": ("simple-shapes", "000 111", "values", SWEEP, (0, 1)),
    "7 of 8, all but 111": ("simple-shapes", "000 001 010 011 100 101 110", "values", SWEEP, (0,)),
    "7 of 27, one change at a time": ("simple-shapes-3", "one change", "values", SWEEP, (0,)),
    "4 of 8, narrow tints and sizes": ("narrow", composition.MAIN, "values", SWEEP, (0,)),
}


def load(name: str) -> SimpleShapes:
    """A run's world: tints and sizes that spread a sixth as far are no world by name."""
    return SimpleShapes(spread=1 / 6) if name == "narrow" else worlds.load(name, image_size=28)


def train(name: str, seed: int, record: list[dict], *, release: bool) -> None:
    """One run: train it, score it at its moments, keep the scores."""
    world_name, seen, told, steps, _ = RUNS[name]
    world = load(world_name)
    task = composition.split(world, seen, told=told)
    judge = oracle.load(oracle.release_path(world.name.removesuffix("-narrow"), 28))
    moments = composition.marks(steps) if name in (MAIN, LONGER) else [steps // 4, steps // 2, steps]
    n = N if len(task.names) <= 8 else N // 2
    entry = next((run for run in record if (run["run"], run["seed"]) == (name, seed)), None)
    if entry is None:
        entry = {
            "run": name,
            "seed": seed,
            "world": world.name,
            "told": told,
            "train_steps": steps,
            "names": task.names,
            "seen": task.is_seen.tolist(),
            "changes": task.changes.tolist(),
            "n": n,
            "sampler_steps": composition.SAMPLER_STEPS,
            "oracle": judge.held_out,
            "finished": False,
            "moments": [],
        }
        record.append(entry)

    pictures: dict[int, torch.Tensor] = composition.read_pictures(
        RECORD.with_suffix(".png"), moments, task, SHOWN
    )

    def look(step: int, model) -> None:
        if step not in moments:
            return
        images = composition.ask(model, task, n, torch.Generator().manual_seed(1000 + seed))
        scores = composition.score(images, task.classes, task.names, judge)
        if (name, seed) == (MAIN, 0):
            pictures[step] = images.unflatten(0, (-1, N))[:, :SHOWN]
            composition.write_pictures(RECORD.with_suffix(".png"), pictures)
        kept = [moment for moment in entry["moments"] if moment["step"] < step]
        entry["moments"] = [
            *kept,
            {
                "step": step,
                "right": scores.right.all(2).sum(1).tolist(),
                "by_factor": scores.right.sum(1).tolist(),
            },
        ]
        keep(record)
        held = scores.accuracy[~task.is_seen]
        print(
            f"{name}, seed {seed}, step {step}: seen {scores.accuracy[task.is_seen].mean():.2f}, held out "
            + (", ".join(f"{x:.2f}" for x in held.tolist()) or "none"),
            flush=True,
        )

    folder = ROOT / "runs" / "combinations" / f"{name.replace(' ', '-').replace(',', '')}_s{seed}"
    model = composition.train(task, steps=steps, seed=seed, folder=folder, on_step=look, every=25)
    entry |= {"finished": True, "seconds": model.provenance["seconds"], "device": model.provenance["device"]}
    keep(record)
    if release and name == MAIN:
        model.provenance["command"] = (
            f'python -m inc_lib.composition --world {world_name} --seen "{seen}" --steps {steps} '
            f"--seed {seed} --release"
        )
        training.keep(model, composition.release_path(world, seed), folder, released=True)


def keep(record: list[dict]) -> None:
    """Write the record, whole or not at all."""
    about = {
        "benchmark": "combinations",
        "note": f"Diffusion models of simple-shapes (drawn by us) at 28x28, {composition.BATCH_SIZE} images a step; "
        "so many (n) images a class and moment, read by the released oracle; counts of images with every factor right, "
        "and with each right.",
        "runs": record,
        "machine": {
            "processor": f"{os.cpu_count()}-core {platform.machine()}",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
            "date": datetime.date.today().isoformat(),
        },
    }
    with atomic_write(RECORD) as path:
        path.write_text(json.dumps(about) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), help="these runs")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds of them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--release", action="store_true", help="keep the main run's networks in checkpoints/")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    record = json.loads(Path(RECORD).read_text())["runs"] if RECORD.is_file() else []
    for name in given.only:
        for seed in given.seeds or RUNS[name][-1]:
            done = any((run["run"], run["seed"], run["finished"]) == (name, seed, True) for run in record)
            if not done:
                train(name, seed, record, release=given.release)


if __name__ == "__main__":
    main()
