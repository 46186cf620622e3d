"""What the released code's MMD holds, and what one per pair holds: Comp-WAE trained with both, side by side.

    python benchmarks/prior.py [--steps 600] [--seeds 0 1 2]

Same weights at the start, same batches; `shapes3d-twin` at 32x32. Afterwards 10,000 codes are compared with the prior
(both MMDs, and how far mean and spread are from 0 and 2), scored by DCI (forest), MIG and uniqueness, and their
pictures by squared error. What is measured is kept after each training, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import statistics

import torch
from report import keep

from inc_lib import actions, metrics, suite, training, worlds
from inc_lib.files import ROOT
from inc_lib.models.wae import KERNELS, discrepancy

N = 10_000
TARGET = ROOT / "results" / "benchmarks" / "prior.json"
NOTE = (
    "Comp-WAE on shapes3d-twin (rendered by us), 32x32, short trainings; 10,000 codes; DCI by forest fitted to 6,000, "
    "tested on 2,000. Mean and sd over the seeds."
)


def measure(model: torch.nn.Module, world: worlds.World) -> dict[str, float]:
    """Scores of one network; keys are stable, they are what chapter 18 reads."""
    observations, states = world.sample(N, torch.Generator().manual_seed(1))
    codes = model.encode(observations)
    prior = 2 * torch.randn(1000, codes.shape[1], generator=torch.Generator().manual_seed(2))
    found = actions.find_actions(states, codes, actions.find_partitions(codes), world.factors)
    score = metrics.dci(codes, states, estimator="forest", n_train=6_000, n_test=2_000)
    made = model.decode(codes[:1000])
    return {
        "MMD, per pair": discrepancy(codes[:1000], prior).item(),
        "MMD, released code": discrepancy(codes[:1000], prior, kind="released").item(),
        "largest mean of a code": codes.mean(0).abs().max().item(),
        "least spread of a code": codes.std(0).min().item(),
        "largest spread of a code": codes.std(0).max().item(),
        "squared error of a picture": (made - observations[:1000]).square().flatten(1).sum(1).mean().item(),
        "disentanglement (DCI, forest)": score.disentanglement,
        "MIG": metrics.mig(codes, states),
        "uniqueness": suite.uniqueness(found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(TARGET.read_text())["numbers"] if TARGET.is_file() else {}
    record = record if record.get("steps") == given.steps else {}
    numbers = {key: value for key, value in record.items() if "; seed " in key}
    world = worlds.load("shapes3d-twin", image_size=32)
    for seed in given.seeds:
        for kind in KERNELS:
            if f"{kind}; MIG; seed {seed}" in numbers:
                continue
            schedule = training.short_schedule(world, "comp-wae") | {"options": {"mmd": kind, "output": "sigmoid"}}
            model = training.train(world, "comp-wae", steps=given.steps, seed=seed, **schedule)
            numbers |= {f"{kind}; {name}; seed {seed}": value for name, value in measure(model, world).items()}
            keep("prior", {"steps": given.steps} | summary(numbers) | numbers, NOTE)


def summary(numbers: dict[str, float]) -> dict[str, float]:
    """Mean and sd over the seeds, and how many."""
    groups: dict[str, list[float]] = {}
    for key, value in numbers.items():
        groups.setdefault(key.rsplit(";", 1)[0], []).append(value)
    means = {key: statistics.mean(values) for key, values in groups.items()}
    spreads = {f"{key}; sd": statistics.stdev(values) for key, values in groups.items() if len(values) > 1}
    return {"seeds": max(map(len, groups.values())), **means, **spreads}


if __name__ == "__main__":
    main()
