"""What is asked of a model whose code holds the cluster: rivals, a choice without labels, actions, what z_n knows.

The model is a `models.dls.DLS`, the data a `worlds.vectors.VectorWorld`. Labels judge here and nowhere else.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.decomposition import NMF, PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor
from torch.nn import functional as F

from . import metrics, score_tables
from .actions import ActionSet, find_actions, find_partitions
from .clustering import Clusters
from .errors import InputError
from .files import ROOT
from .models.dls import DLS
from .oracle import F1, confusion_table, f1_from_confusion
from .partitions import Partitioning
from .worlds import Factor
from .worlds.vectors import Part, VectorWorld

MOST_JUDGED = 8_000  # observations that a judge, a support vector machine, learns from
MOST_PROBED = 10_000  # training rows of a probe
LEDGER = ROOT / "results" / "benchmarks" / "dls.json"  # of benchmarks/dls.py
MOST_FOR_GMM = 50  # features: a full covariance of 784 has 300,000 numbers
SCORES = ("purity", "accuracy", "nmi", "ari")


# --- rivals ---


def rivals(n_clusters: int, seed: int = 0) -> dict[str, Callable[[NDArray, NDArray], NDArray]]:
    """The table's other methods, by scikit-learn: name -> function of training and test vectors
    that gives the clusters of both.

    Spectral and agglomerative clustering have no rule for new data: a test observation goes where its nearest training
    observation is. NMF clusters by the largest of K components, as the paper's source does. A Gaussian mixture has full
    covariances; vectors of more than `MOST_FOR_GMM` features it sees as so many principal components.
    """

    def predicts(estimator) -> Callable[[NDArray, NDArray], NDArray]:
        return lambda train, test: estimator.fit(train).predict(np.concatenate([train, test]))

    def transfers(estimator) -> Callable[[NDArray, NDArray], NDArray]:
        def clusters(train: NDArray, test: NDArray) -> NDArray:
            with warnings.catch_warnings():  # a graph of several pieces is no error here
                warnings.simplefilter("ignore", UserWarning)
                found = estimator.fit_predict(train)
            nearest = KNeighborsClassifier(1).fit(train, found).predict(test)
            return np.concatenate([found, nearest])

        return clusters

    def largest(train: NDArray, test: NDArray) -> NDArray:
        nmf = NMF(n_clusters, init="nndsvda", max_iter=1000, tol=1e-3, random_state=seed)
        return nmf.fit(train).transform(np.concatenate([train, test])).argmax(1)

    def mixed(train: NDArray, test: NDArray) -> NDArray:
        gaussians = GaussianMixture(n_clusters, n_init=2, reg_covar=1e-4, random_state=seed)
        few = [PCA(MOST_FOR_GMM, random_state=seed)] if train.shape[1] > MOST_FOR_GMM < len(train) else []
        return predicts(make_pipeline(*few, gaussians))(train, test)

    return {
        "k-means": predicts(KMeans(n_clusters, n_init=10, random_state=seed)),
        "NMF": largest,
        "GMM": mixed,
        "agglomerative (Ward)": transfers(AgglomerativeClustering(n_clusters)),
        "spectral": transfers(
            SpectralClustering(n_clusters, affinity="nearest_neighbors", n_neighbors=10, random_state=seed)
        ),
    }


def rival_clusters(
    name: str, world: VectorWorld, *, seed: int = 0, most: int | None = None
) -> tuple[NDArray, NDArray]:
    """The clusters of one of `rivals` for the training and the test part: int64 (n,), (m,).

    Args:
        most: training observations that it may use (the first ones), where all would take too long or too much memory.
    """
    train, test = world.train.vectors[:most].numpy(), world.test.vectors.numpy()
    found = rivals(len(world.classes), seed)[name](train, test)
    return found[: len(train)].astype(np.int64), found[len(train) :].astype(np.int64)


def score(labels: Tensor | ArrayLike, clusters: Tensor | ArrayLike) -> dict[str, float]:
    """Purity, Hungarian accuracy, NMI and ARI of a clustering; and how many clusters there are."""
    return metrics.cluster_scores(np.asarray(labels), np.asarray(clusters))


def labelled(world: VectorWorld) -> VectorWorld:
    """The world itself, if it has labels to judge by.

    Raises:
        InputError: it has none.
    """
    if world.train.labels is None:
        raise InputError(
            f"{world.name} has no labels, and this chapter judges clusters by them: bring some (`labels`, or a column "
            "`label`), or train with `python -m inc_lib.adversarial --n-clusters K` and look at "
            "deep_clusters.unlabelled_scores."
        )
    return world


Ledger = Mapping[str, Mapping[str, Mapping[str, Any]]]  # method -> seed -> what was measured


def ledger(world: str, path: Path = LEDGER) -> Ledger:
    """What `benchmarks/dls.py` measured on a world; empty where it did not."""
    held = json.loads(path.read_text()) if path.is_file() else {}
    return held.get(world, {})


def score_parts(world: VectorWorld, train: ArrayLike, test: ArrayLike) -> dict[str, dict[str, float]]:
    """`score` of the training part (its first rows, where a method saw no more) and of the test part."""
    pairs = {"train": (world.train.labels[: len(train)], train), "test": (world.test.labels, test)}
    return {part: score(*pair) for part, pair in pairs.items()}


def score_model(model: DLS, world: VectorWorld) -> dict[str, dict[str, float]]:
    """`score_parts` of the argmax of E_c; of a ClusterGAN, of k-means on its codes, as its authors do."""
    if model.provenance.get("objective") == "clustergan":
        return score_parts(world, *code_clusters(model, world))
    return score_parts(world, *(model.clusters(part.vectors) for part in (world.train, world.test)))


def score_rivals(world: VectorWorld, held: Ledger, *, most: int, seed: int = 0) -> dict[str, list[dict]]:
    """Scores of each of `rivals`: as the ledger holds them, else measured now with at most so many observations."""
    found = {}
    for name in rivals(len(world.classes)):
        if name in held:
            found[name] = list(held[name].values())
        else:
            found[name] = [score_parts(world, *rival_clusters(name, world, seed=seed, most=most))]
    return found


def score_table(methods: Mapping[str, Sequence[Mapping]], part: str) -> pd.DataFrame:
    """`score_tables.score_table` of purity, accuracy, NMI and ARI of a part, sorted by purity.

    Args:
        methods: method -> runs, each as `score_parts` gives it.
        part: "train" or "test".
    """
    values = {name: {score: [run[part][score] for run in runs] for score in SCORES} for name, runs in methods.items()}
    return score_tables.score_table(values, sort_by="purity")


def code_clusters(model: DLS, world: VectorWorld, *, seed: int = 0) -> tuple[NDArray, NDArray]:
    """k-means on codes, the way in which ClusterGAN clusters: clusters of the training and the test part."""
    codes = [model.encode(part.vectors).cpu().numpy() for part in (world.train, world.test)]
    means = KMeans(model.n_clusters, n_init=10, random_state=seed).fit(codes[0])
    return means.labels_.astype(np.int64), means.predict(codes[1]).astype(np.int64)


# --- which run is best, without labels ---


def unlabelled_scores(model: DLS, part: Part, *, seed: int = 0, most: int = 2_000) -> dict[str, float]:
    """What can be told of a trained model from data without labels. Of each, more is better.

    Returns:
        "reconstruction": minus the mean squared error of G(E(x)). "confidence": mean largest assignment. "cycle": minus
        the mean squared distance of E_n(G(z)) from z_n, in units of its variance. "balance": entropy of the clusters'
        sizes, 1 where all are equal. "silhouette": of the clusters, among `most` of the vectors. "noise": minus the
        squared distance of the mean of E_n(x) from 0, and of its variance from the prior's, in the prior's units.
    """
    x = part.vectors
    codes = model.encode(x).cpu()
    noise, soft = codes.split([model.n_noise, model.n_clusters], dim=1)
    clusters = soft.argmax(1)
    z, category = model.prior(len(x), torch.Generator().manual_seed(seed))
    made = model.decode(torch.cat([z, F.one_hot(category, model.n_clusters).float()], dim=1))
    again = model.encode(made).cpu()[:, : model.n_noise]
    share = torch.bincount(clusters, minlength=model.n_clusters).float() / len(x)
    entropy = -(share * share.clamp(min=1e-12).log()).sum() / np.log(model.n_clusters)
    several = len(clusters[:most].unique()) > 1
    variance = z.var().item()
    return {
        "reconstruction": -F.mse_loss(model.decode(codes).cpu(), x).item(),
        "confidence": soft.max(1).values.mean().item(),
        "cycle": -F.mse_loss(again, z).item() / variance,
        "balance": entropy.item(),
        "silhouette": float(silhouette_score(x[:most].numpy(), clusters[:most].numpy())) if several else -1.0,
        "noise": -(
            noise.mean(0).square().mean() / variance + (noise.var(0) / variance - 1).square().mean()
        ).item(),
    }


def agreement(clusterings: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """How much each of several clusterings (n,) of the same data agrees with the others: its mean NMI with them.

    The run that agrees most with the others is a choice that needs no label: what runs find in common is likely in the
    data, what only one finds is likely its own accident (a medoid, as in consensus clustering).
    """
    if len(clusterings) < 2:
        raise InputError("one clustering agrees with no other: expected at least two.")
    matrix = np.array([[metrics.nmi(a, b) for b in clusterings] for a in clusterings])
    return (matrix.sum(1) - 1) / (len(matrix) - 1)


# --- h and G of Algorithm 1 ---


@dataclass(frozen=True, eq=False)
class Attributes:
    """The discrete code as a factor: what the density of the codes says of it, see `cluster_attributes`.

    Attributes:
        partitioning: of all code dimensions.
        cells: int64 (a, K), those cells of the product of z_c's partitions that hold at least `least` of the codes.
        counts: codes in each, the fullest first.
        left_out: share of the codes in other cells.
    """

    partitioning: Partitioning
    cells: NDArray[np.int64]
    counts: NDArray[np.int64]
    left_out: float

    @property
    def n(self) -> int:
        """How many attributes the partitions show."""
        return len(self.counts)


def cluster_attributes(model: DLS, codes: Tensor, *, least: float = 0.01) -> Attributes:
    """Partition codes at the minima of their densities, and count the cells of z_c in which codes lie.

    z_c has K dimensions, each a soft assignment, so the density has a mode near 0 and one near 1 where a cluster is in
    use. Nothing of `find_partitions` knows K, nor that the assignments sum to 1.

    Args:
        codes: (n, n_noise + K), of `model.encode`.
        least: share of the codes that a cell must hold to be called an attribute rather than a stray.
    """
    partitioning = find_partitions(codes, inactive=0.0)
    places = partitioning.assign(codes)[:, model.n_noise :].numpy()
    cells, counts = np.unique(places, axis=0, return_counts=True)
    kept = counts >= least * len(codes)
    order = np.argsort(-counts[kept], kind="stable")
    return Attributes(
        partitioning, cells[kept][order], counts[kept][order], float(counts[~kept].sum() / len(codes))
    )


def class_actions(
    model: DLS,
    codes: Tensor,
    labels: Tensor,
    factor: Factor,
    partitioning: Partitioning,
    distribution: str = "empirical",
) -> ActionSet:
    """The atomic actions of a class: which of z_c's partitions it owns, by co-occurrence with labels.

    Args:
        codes, labels: (n, n_noise + K) and (n,), of the same observations.
        distribution: "empirical" by default. A class that owns two clusters is in one or in the other, which a product
            of normal distributions, one a dimension, cannot say.
    """
    dimensions = [list(range(model.n_noise, model.n_noise + model.n_clusters))]
    return find_actions(
        labels[:, None], codes, partitioning, (factor,), dimensions=dimensions, distribution=distribution
    )


# --- the judge ---


def judge(part: Part, *, seed: int = 0) -> SVC:
    """A classifier of real vectors, the oracle: a support vector machine on at most `MOST_JUDGED` of them."""
    rows = np.random.default_rng(seed).permutation(len(part))[:MOST_JUDGED]
    return classifier().fit(part.vectors[rows].numpy(), part.labels[rows].numpy())


def classifier() -> SVC:
    """The classifier that is trained throughout this chapter."""
    return SVC(C=10.0, gamma="scale")


def read_f1(oracle: SVC, clusters: Clusters, size: int, factor: str = "class") -> F1:
    """Macro-F1 of labelled vectors: does the oracle read what they are said to be?"""
    labels = clusters.labels.cpu().numpy()
    found = oracle.predict(clusters.observations.cpu().numpy()) if len(labels) else labels
    return f1_from_confusion(confusion_table(labels, found, size), factor)


# --- what is left in z_n ---


def probe(train: ArrayLike, labels: ArrayLike, test: ArrayLike, test_labels: ArrayLike) -> dict[str, float]:
    """How well the class is read from some numbers: test accuracy, by the nearest 15 and by logistic regression.

    "chance" is what guessing the commonest class gives. Of more than `MOST_PROBED` training rows the first are used.
    """
    arrays = [np.asarray(part)[:most] for part, most in
              ((train, MOST_PROBED), (labels, MOST_PROBED), (test, None), (test_labels, None))]
    scaled = {
        "nearest neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(15)),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
    }
    found = {name: float(model.fit(*arrays[:2]).score(*arrays[2:])) for name, model in scaled.items()}
    return found | {"chance": float(np.bincount(arrays[3]).max() / len(arrays[3]))}


def style_table(noise: Tensor, styles: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """Absolute rank correlation of each dimension of z_n (n, d) with each style factor (n,): rows dimensions."""
    ranks = pd.DataFrame(noise.cpu().numpy()).rank()
    return pd.DataFrame(
        {name: ranks.corrwith(pd.Series(np.asarray(values)).rank()).abs() for name, values in styles.items()}
    )


def styles(world: VectorWorld, vectors: Tensor) -> dict[str, NDArray[np.float64]]:
    """Style factors that geometry gives, without a model: name -> (n,).

    Of pen strokes (n, 16): slant, width, height of the middle, length of the way, where the pen comes down. Of images:
    slant and width by moments, and how much ink there is. Of other vectors: mean and standard deviation.
    """
    if world.kind == "strokes":
        points = vectors.reshape(len(vectors), -1, 2).double().cpu().numpy()
        across, up, weight = points[..., 0], points[..., 1], None
        steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
        more = {
            "middle": up.mean(1),
            "way": steps.sum(1),
            "start": across[:, 0],
        }
    elif world.kind == "image":
        weight = vectors.double().cpu().numpy() + 1e-6
        row, column = (axis.ravel() for axis in np.indices(world.shape))
        across, up = (np.broadcast_to(axis, weight.shape) for axis in (column, -row))
        more = {"ink": weight.mean(1)}
    else:
        values = vectors.double().cpu().numpy()
        return {"mean": values.mean(1), "deviation": values.std(1)}
    x, y = (axis - np.average(axis, axis=1, weights=weight)[:, None] for axis in (across, up))
    shared, height = (np.average(part, axis=1, weights=weight) for part in (x * y, y * y))
    width = np.sqrt(np.average(x * x, axis=1, weights=weight))
    return {"slant": shared / np.maximum(height, 1e-9), "width": width} | more
