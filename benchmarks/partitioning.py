"""Partitions and co-occurrence of 480,000 x 10 codes against scipy, and which bandwidth rule finds the modes.

    python benchmarks/partitioning.py [--seeds 10]

Speed: `find_partitions` (16 bandwidths for each of ten dimensions, and the cuts) against one density of one
dimension by `scipy.stats.gaussian_kde` on the same grid of 4,096 points with the same bandwidth. One thread;
processor seconds of the quickest run, since waiting for a busy machine is no part of the work.

Rules (`--seeds 0` leaves them out): densities whose number of modes is known on paper, 50 to 480,000 codes; the
share of draws in which a rule finds exactly that number.
"""
from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import KDEpy
import numpy as np
import scipy
import torch
from report import keep
from scipy.stats import gaussian_kde

from inc_lib.actions import cooccurrence, find_actions, find_partitions
from inc_lib.errors import InputError
from inc_lib.worlds import Factor

N = 480_000
SIZES = (10, 10, 10, 8, 4, 15)  # of 3DShapes; one dimension each, four more are collapsed

Density = Callable[[np.random.Generator, int], np.ndarray]


def mixture(means, stds, weights=None) -> Density:
    """Normal modes."""
    means = np.asarray(means, float)
    stds = np.broadcast_to(stds, means.shape)
    shares = None if weights is None else np.asarray(weights, float) / np.sum(weights)

    def draw(random: np.random.Generator, n: int) -> np.ndarray:
        mode = random.choice(len(means), n, p=shares)
        return random.normal(means[mode], stds[mode])

    return draw


MULTIMODAL: dict[str, tuple[Density, int]] = {
    "ten equal modes": (mixture(range(10), 0.1), 10),
    "ten modes, wider": (mixture(range(10), 0.2), 10),
    "ten modes, weights 1 to 10": (mixture(range(10), 0.15, range(1, 11)), 10),
    "ten modes, widths 0.03 to 0.25": (mixture(range(10), np.linspace(0.03, 0.25, 10)), 10),
    "five modes, widths 0.05 to 0.5": (mixture([0, 0.5, 1.2, 3, 5], [0.05, 0.1, 0.2, 0.5, 0.5]), 5),
    "two modes, 97 % and 3 %": (mixture([0, 5], 1, [0.97, 0.03]), 2),
    "two pairs": (mixture([0, 1, 5, 6], 0.2), 4),
    "fifteen modes that overlap": (mixture(range(15), 0.28), 15),
    "forty modes": (mixture(range(40), 0.15), 40),
    "four blocks": (lambda random, n: 1.5 * random.integers(0, 4, n) + random.random(n), 4),
    "ten exact values": (lambda random, n: random.integers(0, 10, n).astype(float), 10),
}
UNIMODAL: dict[str, tuple[Density, int]] = {
    "normal": (lambda random, n: random.normal(size=n), 1),
    "uniform": (lambda random, n: random.uniform(size=n), 1),
    "Laplace": (lambda random, n: random.laplace(size=n), 1),
    "Student, 2 degrees": (lambda random, n: random.standard_t(2, size=n), 1),
    "Cauchy": (lambda random, n: random.standard_cauchy(size=n), 1),
    "lognormal": (lambda random, n: random.lognormal(size=n), 1),
    "exponential": (lambda random, n: random.exponential(size=n), 1),
    "normal, rounded": (lambda random, n: np.round(random.normal(size=n), 2), 1),
    "a shoulder": (mixture([0, 2], 1), 1),
}
RULES = {
    "supported": {},
    "silverman, every minimum": {"bandwidth": "silverman", "prominence": 0, "significance": 0},
    "isj, every minimum": {"bandwidth": "isj", "prominence": 0, "significance": 0},
    "silverman, tested": {"bandwidth": "silverman"},
    "isj, tested": {"bandwidth": "isj"},
}


def count(codes: np.ndarray, options: dict) -> int:
    """Partitions that a rule finds; 0 where it finds no bandwidth."""
    try:
        return find_partitions(codes[:, None], **options).sizes[0]
    except InputError:
        return 0


def compare_rules(sizes: list[int], seeds: int) -> dict[str, float]:
    """Share of draws with the right number of partitions, for each rule and number of codes."""
    numbers: dict[str, float] = {}
    for n in sizes:
        draws = seeds if n < 100_000 else 1
        for kind, densities in (("with modes", MULTIMODAL), ("with one mode", UNIMODAL)):
            right = {rule: [] for rule in RULES}
            for name, (draw, modes) in densities.items():
                found = {rule: [] for rule in RULES}
                for seed in range(draws):
                    codes = draw(np.random.default_rng(seed), n)
                    for rule, options in RULES.items():
                        found[rule].append(count(codes, options))
                for rule, counts in found.items():
                    right[rule] += [number == modes for number in counts]
                    if name in ("ten equal modes", "normal", "uniform"):
                        numbers[f"{name}, n = {n:,}: partitions by {rule}"] = float(np.mean(counts))
            for rule, hits in right.items():
                numbers[f"densities {kind}, n = {n:,}: right by {rule}"] = float(np.mean(hits))
    return numbers


def quickest(function: Callable[[], object], runs: int = 7) -> tuple[float, object]:
    """Processor seconds of the quickest run, and what it returned."""
    best, result = float("inf"), None
    for _ in range(runs):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return best, result


def compare_speed() -> dict[str, float]:
    """Seconds and ratios on codes as a disentangled model of 3DShapes would give."""
    generator = torch.Generator().manual_seed(0)
    states = torch.stack([torch.randint(0, size, (N,), generator=generator) for size in SIZES], dim=1)
    centred = (states - (torch.tensor(SIZES) - 1) / 2) / (torch.tensor(SIZES) / 3.4)
    codes = 0.02 * torch.randn(N, 10, generator=generator)
    codes[:, :6] = centred + 0.15 * 3.4 / torch.tensor(SIZES) * torch.randn(N, 6, generator=generator)
    factors = [Factor(f"factor {i}", tuple(range(size)), "ordered") for i, size in enumerate(SIZES)]

    find_partitions(codes[:1000])  # imports and plans
    partition, partitioning = quickest(lambda: find_partitions(codes))
    matrix, _ = quickest(lambda: cooccurrence(states, codes, partitioning, factors))
    actions, found = quickest(lambda: find_actions(states, codes, partitioning, factors))
    grid, density = partitioning.densities[0]
    column = codes[:, 0].double().numpy()
    theirs = gaussian_kde(column, bw_method=partitioning.bandwidths[0] / column.std(ddof=1))
    scipy_one, expected = quickest(lambda: theirs(grid), runs=1)
    assert partitioning.sizes == (*SIZES, 1, 1, 1, 1) and len(found.actions) == sum(SIZES)
    return {
        "find_partitions, 480,000 x 10 codes: processor seconds": partition,
        "cooccurrence, 57 attributes x 61 partitions: processor seconds": matrix,
        "find_actions: processor seconds": actions,
        "scipy gaussian_kde, one density of one dimension: processor seconds": scipy_one,
        "scipy, one density of ten dimensions / find_partitions: ratio": 10 * scipy_one / partition,
        "largest difference to scipy, share of the highest peak": float(
            np.abs(density - expected).max() / expected.max()),
    }


def main() -> None:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Partitions and co-occurrence: speed, and bandwidth rules.")
    parser.add_argument("--seeds", type=int, default=10, help="draws of each density (1 of 480,000 codes)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    versions = {"numpy": np.__version__, "scipy": scipy.__version__, "KDEpy": KDEpy.__version__}
    keep("partitioning", compare_speed() | versions, "One thread; scipy was given the bandwidth.")
    if given.seeds:
        keep("bandwidth_rules", compare_rules([50, 300, 1000, 3000, 20_000, N], given.seeds) | versions,
             f"{given.seeds} draws of each of {len(MULTIMODAL) + len(UNIMODAL)} densities, one of 480,000 codes; "
             "'tested': only the bandwidth is another than ours, a minimum has to stand out all the same.")


if __name__ == "__main__":
    main()
