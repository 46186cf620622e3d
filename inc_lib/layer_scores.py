"""How good is a clustering of pixels, and what would others have made of them? Labels judge here and nowhere else.

One Hungarian matching of clusters and classes for *all* pictures together: a method that calls the floor 0 in one
picture and 1 in the next has not found the floor. Matching picture by picture would forgive that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.nn import functional as F

from . import layering, score_tables
from .errors import InputError
from .files import ROOT
from .layering import Settings
from .worlds.label_maps import Labelled, PixelWorld

LEDGER = ROOT / "results" / "benchmarks" / "pixels.json"  # of benchmarks/pixels.py
MOST_PIXELS = 20_000  # that other methods learn from
PATCH = 5  # pixels on a side


@dataclass(frozen=True)
class PixelScore:
    """Attributes:
    accuracy: share of pixels whose matched label is right.
    iou: intersection over union of each class, in the order of the classes.
    matching: the class of each cluster.
    """

    accuracy: float
    iou: tuple[float, ...]
    matching: tuple[int, ...]

    @property
    def mean_iou(self) -> float:
        """Mean over the classes: a small class counts as much as a large one."""
        return float(np.mean(self.iou))

    def classes(self, found: Tensor) -> Tensor:
        """Clusters as the classes that they are matched to."""
        return torch.tensor(self.matching)[found]

    def row(self) -> dict[str, Any]:
        """For JSON."""
        return {"accuracy": round(self.accuracy, 4), "iou": [round(value, 4) for value in self.iou]}


def score(found: Tensor, maps: Tensor, n_classes: int) -> PixelScore:
    """Score found clusters (n, H, W) against label maps (n, H, W); pixels with label -1 are not judged.

    A class without a pixel has an IoU of 0 where a cluster is matched to it, as any cluster then is wrong.

    Raises:
        InputError: shapes differ, or no pixel is labelled.

    >>> score(torch.tensor([[[1, 1, 0, 0]]]), torch.tensor([[[0, 0, 1, 0]]]), 2).accuracy
    0.75
    """
    if found.shape != maps.shape:
        raise InputError(f"clusters {tuple(found.shape)} and maps {tuple(maps.shape)} differ in shape.")
    judged = maps >= 0
    if not judged.any():
        raise InputError("no pixel has a label: there is nothing to score against.")
    k = max(n_classes, int(found.max()) + 1)
    counts = torch.bincount(maps[judged] * k + found[judged], minlength=k * k).view(k, k).numpy()
    classes, clusters = linear_sum_assignment(-counts)
    counts = counts[:, clusters]
    right = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - right
    iou = right / np.maximum(union, 1)
    matching = np.empty(k, dtype=int)
    matching[clusters] = classes
    return PixelScore(float(right.sum() / counts.sum()), tuple(map(float, iou[:n_classes])), tuple(map(int, matching)))


def rivals(world: PixelWorld, *, seed: int = 0) -> dict[str, Tensor]:
    """Maps int64 (n, H, W) of the test pictures by what a user would otherwise run, name -> clusters.

    All learn from the training part's pixels, and none from a label, but for the last, which is there to say how far
    one gets by place alone.
    """
    k, (n, _, height, width) = len(world.classes), world.test.pictures.shape
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(world.train) * height * width, generator=generator)[:MOST_PIXELS]
    colour = [_pixels(part.pictures) for part in (world.train, world.test)]
    place = [_places(part.pictures) for part in (world.train, world.test)]
    scale = float(colour[0].std()) / float(place[0].std())  # a place counts as much as a colour
    both = [torch.cat([c, scale * p], dim=1) for c, p in zip(colour, place, strict=True)]
    patch = [_patches(part.pictures) for part in (world.train, world.test)]

    def k_means(parts: Sequence[Tensor]) -> Tensor:
        fitted = KMeans(k, n_init=3, random_state=seed).fit(parts[0][rows].numpy())
        return torch.from_numpy(fitted.predict(parts[1].numpy())).long().view(n, height, width)

    mixture = GaussianMixture(k, reg_covar=1e-4, random_state=seed).fit(both[0][rows].numpy())
    by_mixture = torch.from_numpy(mixture.predict(both[1].numpy())).long().view(n, height, width)
    together = layering.first_map(world.train.pictures, Settings(n_layers=k, seed=seed)).argmax(0)
    return {
        "k-means, colour": k_means(colour),
        "k-means, colour and place": k_means(both),
        f"k-means, patches of {PATCH}x{PATCH}": k_means(patch),
        "Gaussian mixture, colour and place": by_mixture,
        "places that change together": together.expand(n, -1, -1),
        "mean label map (told the labels)": mean_map(world.train, k).expand(n, -1, -1),
    }


def mean_map(part: Labelled, n_classes: int) -> Tensor:
    """The commonest label of each place: int64 (H, W). It is told the labels."""
    counts = torch.stack([(part.maps == k).sum(0) for k in range(n_classes)])
    return counts.argmax(0)


def ledger(world: str) -> Mapping[str, Mapping[str, Any]]:
    """What `benchmarks/pixels.py` measured on a world: row -> seed -> scores. Empty where it did not."""
    if not LEDGER.is_file():
        return {}
    return json.loads(LEDGER.read_text(encoding="utf-8"))["worlds"].get(world, {})


def score_table(runs: Mapping[str, Sequence[Mapping[str, Any]]], classes: Sequence[str]) -> pd.DataFrame:
    """A row a method: mean and standard deviation over runs of accuracy, mean IoU, and the IoU of each class."""
    values = {}
    for name, scores in runs.items():
        iou = np.array([run["iou"] for run in scores])
        values[name] = {"accuracy": [run["accuracy"] for run in scores], "mean IoU": iou.mean(1)}
        values[name] |= {f"IoU {label}": iou[:, k] for k, label in enumerate(classes)}
    return score_tables.score_table(values)


def _pixels(pictures: Tensor) -> Tensor:
    return pictures.permute(0, 2, 3, 1).flatten(0, 2)


def _places(pictures: Tensor) -> Tensor:
    n, _, height, width = pictures.shape
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([rows, columns], dim=-1).expand(n, -1, -1, -1).flatten(0, 2)


def _patches(pictures: Tensor) -> Tensor:
    padded = F.pad(pictures, (PATCH // 2,) * 4, mode="replicate")
    return F.unfold(padded, PATCH).transpose(1, 2).flatten(0, 1)
