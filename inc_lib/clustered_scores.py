"""What is asked of a clustered generator while it learns and after: sweeps watched, directions, a choice of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from . import deep_clusters, metrics, score_tables
from .alternation import Literal, ledger, release_path
from .models import clustered
from .models.clustered import DeformingGenerator

if TYPE_CHECKING:
    from .chapter import Chapter

HANDWRITTEN = ("mnist", "digits")  # whose images are strokes, which is what the chapter's claims are about
Runs = Mapping[str, Mapping[str, Any]]  # method -> seed -> what was measured, as `alternation.ledger` gives it


class Watch:
    """Follows a training by labels that it does not see: how accurate, how many labels changed, how well drawn.

    Call it as `on_sweep` of `alternation.train` or `on_step` of `alternation.train_literally`.

    Attributes:
        path: quantity ("accuracy", "changed", "error") -> a value a call. "changed" is the share of labels since the
            call before (1 at the first); "error", the mean squared error of an image, is kept for `Literal` only.
    """

    def __init__(self, labels: Tensor, vectors: Tensor | None = None) -> None:
        self.labels, self.vectors = labels.cpu().numpy(), vectors
        self.path: dict[str, list[float]] = {"accuracy": [], "changed": []}
        self._last: np.ndarray | None = None

    def __call__(self, step: int, model: DeformingGenerator | Literal, y: Tensor | None = None) -> None:
        if isinstance(model, Literal):
            y = model.y
            with torch.no_grad():
                made = model.generator.generate(model.z, y)
            error = (self.vectors[: len(y)] - made).square().sum(1).mean().item()
            self.path.setdefault("error", []).append(error)
        y = y.cpu().numpy().copy()
        scores = metrics.cluster_scores(self.labels[: len(y)], y)
        last = self._last
        same = 0.0 if last is None else float(np.mean(y[: len(last)] == last[: len(y)]))
        self.path["accuracy"].append(scores["accuracy"])
        self.path["changed"].append(1 - same)
        self._last = y


def directions(model: DeformingGenerator, k: int, n: int) -> Tensor:
    """The n directions of z (n, n_z), of length 1, in which the members of cluster k bend most, most first."""
    _, _, rows = torch.linalg.svd(model.spreads[k])
    found = torch.zeros(min(n, model.n_bends), model.n_z)
    found[:, : model.n_bends] = rows[: len(found)]
    return found


def hold(runs: Runs, names: Sequence[str], part: str, score: str) -> dict[str, list[float]]:
    """A score of some rows of the ledger, all seeds: name -> values; rows that were not measured are left out."""
    return {
        name: [run[part][score] for run in runs[name].values() if part in run] for name in names if name in runs
    }


def released_on(*worlds: str) -> dict[str, Runs]:
    """What the ledger holds of those of several sets on which a released model was measured."""
    held = {world: ledger(world) for world in worlds}
    return {world: runs for world, runs in held.items() if "released" in runs}


def beside(sets: Mapping[str, Runs], scores: Sequence[str]) -> pd.DataFrame:
    """Test scores of the generator and of the methods that every one of several sets was clustered by: a row a method,
    columns a set and a score; mean ± standard deviation over seeds."""
    names = {"clustered generator": "released"} | {name: name for name in deep_clusters.rivals(2)}
    shared = {told: key for told, key in names.items() if sets and all(key in runs for runs in sets.values())}
    return pd.DataFrame(
        {
            f"{world}: {score}": {
                told: score_tables.spread([run["test"][score] for run in runs[key].values()])
                for told, key in shared.items()
            }
            for world, runs in sets.items()
            for score in scores
        }
    ).rename_axis("method")


def mean_accuracy(runs: Runs, method: str) -> float:
    """Accuracy on the test part, mean over seeds."""
    return float(np.mean([run["test"]["accuracy"] for run in runs[method].values()]))


def by_likelihood(runs: Runs) -> pd.DataFrame:
    """Recipes whose models were asked for the log-likelihood of images that they did not learn from, the likeliest
    first, beside the accuracy that a choice without labels does not see; means over seeds."""
    score = "held_out_log_likelihood"
    rows = {
        name: {"log p of unseen images": np.mean([run[score] for run in every.values()]),
               "accuracy": np.mean([run["train"]["accuracy"] for run in every.values()]), "seeds": len(every)}
        for name, every in runs.items()
        if all("train" in run and run.get(score) is not None for run in every.values())
    }
    columns = ["log p of unseen images", "accuracy", "seeds"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("recipe")
    return table.sort_values(columns[0], ascending=False).astype({"seeds": int})


def pictures(worlds: Sequence[str], seed: int = 0) -> dict[str, Tensor]:
    """The pictures (K, H * W) of the released models of several sets, in [0, 1]; sets without one are left out."""
    paths = {world: release_path(world, seed) for world in worlds}
    models = {world: clustered.load(path) for world, path in paths.items() if path.is_file()}
    return {world: model.templates.flatten(1).clamp(0, 1) for world, model in models.items()}


def note(c: Chapter) -> None:
    """Says of a published set without strokes that the chapter's examples are not its own."""
    if c.world.name not in HANDWRITTEN and c.world.source != "yours":
        c.say(f"This page was written beside handwritten digits, and here its images are of {c.world.name}: where "
              "it speaks of digits and strokes, look at the pictures and numbers instead.")


def claim(c: Chapter, text: str, holds: Any) -> None:
    """A claim about strokes. Of clothes it is said whether it holds, and it is not held against them."""
    if c.world.name in HANDWRITTEN or c.world.source == "yours":
        c.claim(text, holds)
    else:
        told = "so it is here as well" if holds else "here it is not so"
        c.say(f"A claim about handwriting, tried on {c.world.name}: *{text}*. {told.capitalize()}.")
