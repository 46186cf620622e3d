"""DLS-Clustering on images: what `benchmarks/dls.py` measured, as the tables of chapter 12 need it; a model as h and G.

The trainings take half an hour a set and are not repeated in a chapter; what is shown here is their record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from sklearn.svm import SVC
from torch import Tensor
from torch.nn import functional as F

from . import clustering, deep_clusters, score_tables
from .files import ROOT
from .models.dls import DLS
from .worlds.vectors import VectorWorld

IMAGES = ("mnist", "fashion-mnist")
TOLD = (*IMAGES, "pendigits")  # sets on which a model was told of bending
# mean purity that we set ourselves; MNIST: the paper's less 0.03
GOALS = {"mnist": 0.945, "fashion-mnist": 0.70, "pendigits": 0.85}
CALLED = {
    "dls": "DLS-Clustering",
    "dls-bent": "DLS-Clustering, told of bending",
    "dls-bent, short opening": "DLS-Clustering, told of bending, opened for 1,000 steps",
    "clustergan": "ClusterGAN",
    "no disentangling": "DLS without the last line",
    "dls longer": "DLS-Clustering, trained longer",
}
OPENING = "bent pictures alone, before the game"
KNOW_BENDING = (CALLED["dls-bent"], CALLED["dls-bent, short opening"], OPENING)
MOST_ENCODED = 20_000  # codes that partitions are found in, for a record
MOST_READ = 3_000  # test observations that the judge reads, for a record


def methods(held: deep_clusters.Ledger) -> dict[str, list[Mapping[str, Any]]]:
    """Every method of a ledger by its name in the text -> its runs; the opening of a game as a method of its own.

    The opening's scores are those of the learning curve before the first step of the game, of the test part alone.
    """
    found = {CALLED.get(name, name): list(runs.values()) for name, runs in held.items()}
    opened = [run["curve"]["0"] for run in held.get("dls-bent", {}).values() if "0" in run.get("curve", {})]
    return found | ({OPENING: [{"test": scores} for scores in opened]} if opened else {})


def chosen(runs: Sequence[Mapping[str, Any]]) -> int:
    """The run that agrees most with the others: a choice that needs no label."""
    agrees = [run["unlabelled"]["agreement"] for run in runs]
    return agrees.index(max(agrees))


def choices(runs: Sequence[Mapping[str, Any]], paper: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Purity and NMI by the way in which one of several runs is chosen.

    The best by labels is the one with the highest purity on the training part.

    Args:
        runs: a method's, from a ledger.
        paper: {"purity": 0.9, "nmi": 0.8}, what a paper prints for its best of several; None: no such columns.
    """
    scores = [(part, score) for part in ("train", "test") for score in ("purity", "nmi")]
    purities = [run["train"]["purity"] for run in runs]
    rows = {
        "mean of all": [score_tables.spread([run[part][score] for run in runs]) for part, score in scores],
        "chosen by agreement, no labels": _row(runs[chosen(runs)], scores),
        "best by purity, with labels": _row(runs[purities.index(max(purities))], scores),
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[" ".join(score) for score in scores])
    if paper:
        table["paper's purity"], table["paper's NMI"] = "–", "–"
        table.loc["best by purity, with labels", ["paper's purity", "paper's NMI"]] = [
            f"{paper[score]:.3f}" for score in ("purity", "nmi")
        ]
    return table.rename_axis("run")


def said_of_genes(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What the table of a set of genes says, in two sentences; that nothing was measured where nothing was."""
    if CALLED["dls"] not in found:
        return "Nothing was measured yet."
    told = {}
    for part in ("train", "test"):
        means = {name: sum(run[part]["purity"] for run in runs) / len(runs) for name, runs in found.items()}
        ours, ahead = means[CALLED["dls"]], [name for name in means if means[name] > means[CALLED["dls"]]]
        told[part] = f"{ours:.2f}, behind {', '.join(ahead) or 'nobody'}"
    runs = found[CALLED["dls"]]
    return (f"The published terms reach a purity of {told['train']}, on the cells that were clustered, and of "
            f"{told['test']}, on the others. The run that agrees most with the others has "
            f"{runs[chosen(runs)]['test']['purity']:.2f} there, the best by labels "
            f"{max(run['test']['purity'] for run in runs):.2f}.")


def many_clusters(path: str | Path | None = None) -> tuple[pd.DataFrame, dict[str, float]]:
    """What `benchmarks/many_clusters.py` has recorded, on the test part.

    Returns:
        A row for each number of clusters and method, with mean ± standard deviation of purity, accuracy and NMI and
        the numbers of clusters in use, run by run, best purity first; and the cost of a step, see there. Both empty
        where nothing was recorded.
    """
    path = Path(path or ROOT / "results" / "benchmarks" / "many_clusters.json")
    found = json.loads(path.read_text()) if path.is_file() else {"scores": {}}
    rows = {}
    for count, methods_held in found["scores"].items():
        for name, runs in sorted(methods_held.items(), key=lambda held: -purity(held[1])):
            scores = {score: score_tables.spread([run["test"][score] for run in runs])
                      for score in ("purity", "accuracy", "nmi")}
            rows[count, CALLED.get(name, name)] = scores | {
                "clusters in use": ", ".join(f"{run['test']['clusters']:.0f}" for run in runs)}
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis(["K", "method"]) if rows else table, found.get("cost", {})


def _row(run: Mapping[str, Any], scores: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{run[part][score]:.3f}" for part, score in scores]


def purity(runs: Sequence[Mapping[str, Any]]) -> float:
    """Mean purity over runs, of the test part."""
    return sum(run["test"]["purity"] for run in runs) / len(runs)


def best_other(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[str, float]:
    """Of the methods that know nothing of bending, the one with the highest mean purity on the test part, and that.

    ("none", 0.0) where there is none.
    """
    others = {name: purity(runs) for name, runs in found.items() if name not in KNOW_BENDING}
    return max(others.items(), key=lambda other: other[1], default=("none", 0.0))


def sentence(name: str, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What the tables of a set say, in one sentence; that it was not measured, where it was not."""
    told = found.get(CALLED["dls-bent"])
    if not told:
        return f"{name} was not measured"
    values = [run["test"]["purity"] for run in told]
    parts = [f"{name}: purity {score_tables.spread(values)} over {len(told)} runs"]
    parts.append(f"the best by labels {max(values):.3f}")
    parts.append(f"the one chosen by agreement {values[chosen(told)]:.3f}")
    if OPENING in found:
        opened = [run["test"]["purity"] for run in found[OPENING]]
        parts.append(f"before the game {score_tables.spread(opened)}")
    other, value = best_other(found)
    parts.append(f"the best that knows nothing of bending {value:.3f} ({other})")
    if name in GOALS:
        parts.append(f"the goal of {GOALS[name]:.3f} {'reached' if purity(told) >= GOALS[name] else 'not reached'}")
    return "; ".join(parts)


def pair_table(found: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """`pair_scores` of each set's runs (set -> runs), mean ± standard deviation; a row a set. Empty where none is."""
    rows = {}
    for name, runs in found.items():
        held = [run["pair"] for run in runs if "pair" in run]
        if held:
            counts = {key: ", ".join(str(one[key]) for one in held) for key in ("cells", "noise cut", "classes")}
            f1 = {f"F1 {key}": score_tables.spread([one[key] for one in held])
                  for key in ("explicit", "reconstructed", "implicit")}
            rows[name] = counts | f1
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("images")


def drawings(model: DLS, n: int, generator: torch.Generator) -> Tensor:
    """n drawings of each cluster (K, n, n_features); along a column z_n is the same."""
    noise, _ = model.prior(n, generator)
    rows = []
    for category in F.one_hot(torch.arange(model.n_clusters)).float():
        rows.append(model.decode(torch.cat([noise, category.expand(n, -1)], dim=1)).cpu())
    return torch.stack(rows)


def pair_scores(
    model: DLS, world: VectorWorld, judge: SVC, *, n_generated: int = 300, seed: int = 0
) -> dict[str, float]:
    """The model as h and G of Algorithm 1, with actions fitted on the training part and read on the test part.

    Args:
        judge: `deep_clusters.judge` of the training part.
        n_generated: implicit observations of each class.

    Returns:
        "cells": attributes that the density shows in z_c. "noise cut": dimensions of z_n that it cuts. "classes":
        those that own an action. Macro-F1 of "explicit", "reconstructed" and "implicit" clusters, a class without an
        action counting 0.
    """
    train, test = world.train.first(MOST_ENCODED), world.test.first(MOST_READ)
    codes = model.encode(train.vectors).cpu()
    found = deep_clusters.cluster_attributes(model, codes)
    actions = deep_clusters.class_actions(model, codes, train.labels, world.factors[0], found.partitioning)
    explicit = clustering.explicit_clusters(test.vectors, test.labels[:, None], 0)
    kinds = {"explicit": explicit}
    owned = actions.of("class")
    if owned:
        generator = torch.Generator().manual_seed(seed)
        stream = clustering.implicit_clusters(
            model, actions, n_generated, factor="class", codes=codes, sampling="encoded", generator=generator
        )
        kinds["reconstructed"] = clustering.reconstructed_clusters(model, test.vectors, actions, "class")
        kinds["implicit"] = clustering.collect(stream)
    read = {
        name: float(deep_clusters.read_f1(judge, held, len(world.classes)).macro_f1) for name, held in kinds.items()
    }
    cut = sum(size > 1 for size in found.partitioning.sizes[: model.n_noise])
    return {"cells": found.n, "noise cut": cut, "classes": len(owned)} | {
        name: round(read.get(name, 0.0), 4) for name in ("explicit", "reconstructed", "implicit")
    }
