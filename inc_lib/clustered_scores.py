"""What is asked of a clustered generator while it learns and after: sweeps watched, directions, a choice of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import metrics
from .alternation import Literal
from .models.clustered import DeformingGenerator


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


def hold(runs: Mapping[str, Mapping[str, Any]], names: Sequence[str], part: str, score: str) -> dict[str, list[float]]:
    """A score of some rows of the ledger, all seeds: name -> values; rows that were not measured are left out."""
    return {
        name: [run[part][score] for run in runs[name].values() if part in run] for name in names if name in runs
    }
