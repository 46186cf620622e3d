"""Which embedding and which statistic find atomic partitions without labels? Every released network of images.

    python benchmarks/identification.py [--repeats 3] [--only shapes3d-twin_32_ada-gvae_s0 ...]

For each network all partitions are tested on fresh pictures, `repeats` times, and compared with what an oracle reads
from the acted pictures (atomic: at least 80 % show one attribute, and 20 points more than in the controls). Chapter 17
shows `results/benchmarks/identification.json`: means and standard deviations over the repeats. Started again, it goes
on with the networks that the record does not hold.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import dataclass

import numpy as np
import torch
from report import keep
from torch import Tensor

from inc_lib import actions, embedding, identification, models, oracle, training, worlds
from inc_lib.errors import InputError
from inc_lib.files import ROOT, checkpoints_folder
from inc_lib.scoring import Judge

NETWORKS = (
    "shapes3d-twin_32_ada-gvae_s0",
    "shapes3d-twin_32_ada-gvae_s3",
    "shapes3d-twin_32_ada-gvae-threshold_s0",
    "shapes3d-twin_32_beta-tcvae_s0",
    "rooms-with-holes_32_ada-gvae_s0",
    "mnist_32_beta-tcvae_s0",
)
RATE, N_MIXED, N_SHAM, N_REAL = 0.05, 40, 30, 10
HUES = (0, 2, 4, 6, 8)


@dataclass
class Case:
    """A network, pictures to encode, and who knows the truth."""

    name: str
    model: models.VAE
    observations: Tensor
    states: Tensor
    factors: tuple[worlds.Factor, ...]
    judge: Judge
    embedding: embedding.Embedding
    untrained: embedding.Embedding


def rooms(twin: worlds.World) -> tuple[Tensor, Tensor]:
    """The 512 observations of chapter 14's example: five hues of floor and wall, some combinations missing."""
    grid = itertools.product(HUES, HUES, range(4), range(0, 15, 2))
    states = torch.tensor([[f, w, 0, 7, s, v] for f, w, s, v in grid if (f - w) % 6])
    return twin.render(states), states


def load(name: str, n: int) -> Case:
    """A released network and what belongs to it."""
    world = worlds.load("mnist" if name.startswith("mnist") else "shapes3d-twin", image_size=32)
    sample = rooms(world) if name.startswith("rooms") else world.sample(n, torch.Generator().manual_seed(1))
    path = oracle.release_path(world.name, 32)
    judge = oracle.load(path, world) if path.is_file() else oracle.train(world, steps=600, n_test=2_000)
    plain = embedding.untrained(world, seed=7)
    with torch.no_grad():  # the statistics of its normalisation, and nothing else
        for part in sample[0][:2048].split(256):
            plain(part)
    return Case(
        name,
        models.load(checkpoints_folder() / f"{name}.safetensors"),
        *sample,
        world.factors,
        judge,
        embedding.load(embedding.release_path(world.name, 32)),
        plain.eval(),
    )


def embeddings(case: Case) -> dict[str, identification.Embed]:
    """What pictures are compared in: 32 principal components; the codes and the oracle's answers as they are."""

    @torch.no_grad()
    def read(images: Tensor) -> Tensor:
        return torch.cat([logits.softmax(1) for logits in case.judge(images)], dim=1)

    ways = {
        "pixels": lambda images: images.flatten(1),
        "untrained CNN": case.untrained.embed,
        "self-supervised": case.embedding.embed,
    }
    asis = {"own encoder": case.model.encode, "oracle": read}
    return {name: identification.Components.of(way, case.observations[:2000]) for name, way in ways.items()} | asis


def measure(case: Case, repeats: int, n: int) -> dict[str, float]:
    """Mean and standard deviation over repeats of precision and recall, in every way."""
    codes = case.model.encode(case.observations)
    free = actions.unlabelled_actions(codes, actions.find_partitions(codes))
    labelled = actions.find_actions(case.states, codes, free.partitioning, case.factors)
    ways, rows = embeddings(case), {}
    for repeat in range(repeats):
        generator = torch.Generator().manual_seed(100 + repeat)
        found = identification.survey(case.model, free, codes, ways, n=n, judge=case.judge, generator=generator)
        true = found["atomic"].to_numpy()
        add = lambda key, value: rows.setdefault(key, []).append(float(value))  # noqa: E731
        add("candidates", len(found))
        mine = identification.owned(labelled, found)
        add("atomic", true.sum())
        add("owned by labels", mine.sum())
        add("atomic and owned", (mine & true).sum())
        for name, statistic in itertools.product(ways, identification.STATISTICS):
            for least, more in ((None, ""), (identification.LEAST_RECOGNITION, ", recognised")):
                passed = identification.identified(found, name, statistic, rate=RATE, recognised=least)
                score = identification.precision_recall(passed, true)
                key = f"{name}; {statistic}{more}"
                add(f"{key}; precision", score.precision)
                add(f"{key}; recall", score.recall)
                by_labels = identification.precision_recall(passed, mine)
                add(f"{key}; precision by labels", by_labels.precision)
                add(f"{key}; recall by labels", by_labels.recall)
                for factor in case.judge.factors:
                    of = true & (found["factor"] == factor).to_numpy()
                    if of.any():
                        add(f"{key}; recall of {factor}", (passed & of).sum() / of.sum())
        print(f"{case.name}, {repeat + 1} of {repeats}: {len(found)} candidates, {true.sum()} atomic", flush=True)
    numbers = {}
    for key, values in rows.items():
        values = [value for value in values if not np.isnan(value)]
        if values:
            numbers[f"{key}"] = float(np.mean(values))
            if len(values) > 1:
                numbers[f"{key}; sd"] = float(np.std(values, ddof=1))
    return numbers | rates(case, free, codes, ways)


def rates(case: Case, free: actions.ActionSet, codes: Tensor, ways: dict) -> dict[str, float]:
    """Is the false discovery rate kept? Families of 10 partitions and 30 shams, and tenths of sleeping codes."""
    generator, numbers = torch.Generator().manual_seed(7), {}
    for statistic in identification.STATISTICS:
        wrong, under = [], []
        for _ in range(N_MIXED):
            p, null = identification.mixed_family(case.model, free, codes, ways["pixels"], n_real=N_REAL, n_sham=N_SHAM,
                                                  statistic=statistic, generator=generator)
            wrong.append(identification.false_discovery_proportion(identification.discoveries(p, RATE), null))
            under += (p[null] <= 0.05).tolist()
        numbers |= {f"false discovery proportion; {statistic}": float(np.mean(wrong)),
                    f"false discovery proportion; {statistic}; standard error":
                        float(np.std(wrong, ddof=1) / len(wrong) ** 0.5),
                    f"shams with p at most 0.05; {statistic}": float(np.mean(under))}
    asleep = np.flatnonzero(free.partitioning.inactive).tolist()
    p_values = []
    for code, k in itertools.product(asleep, range(10)):
        action = identification.interval(free, codes, code, k / 10, (k + 1) / 10)
        pair = identification.draw_pairs(case.model, free, action, codes, 64, generator)
        p_values.append(identification.similarity_test(*map(ways["pixels"], pair), statistic="feature",
                                                       generator=generator).p_value)
    if p_values:
        numbers |= {"sleeping codes; tenths tested": len(p_values),
                    "sleeping codes; p at most 0.05": float(np.mean(np.array(p_values) <= 0.05)),
                    "sleeping codes; discoveries": int(identification.discoveries(p_values, RATE).sum())}
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--n", type=int, default=64, help="pairs of pictures of each test")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--anew", action="store_true", help="measure also what the record holds already")
    parser.add_argument("--only", nargs="+", default=list(NETWORKS))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    training.keep_freed_memory()
    numbers: dict[str, float] = {"repeats": given.repeats, "pairs": given.n, "rate": RATE, "families": N_MIXED}
    path = ROOT / "results" / "benchmarks" / "identification.json"
    before = json.loads(path.read_text())["numbers"] if path.is_file() else {}
    if not given.anew and all(before.get(key) == value for key, value in numbers.items()):
        numbers = before
    for name in given.only:
        if f"{name}; seconds" in numbers:
            continue
        began = time.monotonic()
        try:
            case = load(name, 20_000)
        except InputError as error:
            print(f"{name}: left out: {error}")
            continue
        numbers |= {f"{name}; {key}": value for key, value in measure(case, given.repeats, given.n).items()}
        numbers[f"{name}; seconds"] = round(time.monotonic() - began)
        keep("identification", numbers, "Partitions found without labels, against an oracle's reading of acted "
             "pictures. Worlds called -twin are rendered by us; 32x32 pixels; mean and sd over repeats.")


if __name__ == "__main__":
    main()
