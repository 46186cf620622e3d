"""How disentangled is a code (DCI, MIG), and how good is a clustering (purity, accuracy, NMI, ARI).

Two families, kept apart. DCI and MIG compare *codes* with *states*; the clustering scores compare two
labellings of the same observations. What scikit-learn has, scikit-learn computes.

Names: a code matrix is (n, d), a state matrix (n, M), an importance matrix (d, M): rows are codes, columns
factors.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier
from sklearn.linear_model import Lasso
from sklearn.metrics import adjusted_rand_score, mutual_info_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from .errors import InputError, suggest

# The predictors of DCI, and why these settings (numbers: benchmarks/dci.py):
# - boosting: scikit-learn's defaults (100 stages of depth 3), as in disentanglement_lib: the field's number.
# - forest: extremely randomised trees that may look at every code (with the usual square root of them, a tree
#   that does not see the right code splits on noise, and near-perfect codes score 0.6), and stop at 20
#   observations a leaf (below, splits fit noise). Near boosting's answer in a twentieth of its time.
# - lasso: alpha = 0.02 on standardised codes and attribute indices, as in the original paper's code. Linear:
#   blind to attributes whose order the code does not keep, such as hues on a circle.
ESTIMATORS: dict[str, Callable[[int], BaseEstimator]] = {
    "boosting": lambda seed: GradientBoostingClassifier(random_state=seed),
    "forest": lambda seed: ExtraTreesClassifier(max_features=None, min_samples_leaf=20, random_state=seed),
    "lasso": lambda seed: Lasso(alpha=0.02),
}


@dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness, informativeness (Eastwood & Williams 2018), and what measured them.

    Attributes:
        disentanglement: in [0, 1]; NaN with fewer than two factors that vary.
        completeness: in [0, 1]; NaN with fewer than two codes.
        informativeness: in [0, 1]: mean test accuracy over factors; for "lasso" the mean R^2, negative as 0.
        importance: (d, M) float64; a column sums to 1, or is 0 where a factor is constant or no code helps.
        estimator: the name of the predictor: the three scores mean little without it.
        n_train: number of observations that the predictor was fitted to.
        n_test: number of observations that informativeness was measured on.
        scores: (M,) what `informativeness` averages; NaN for a constant factor.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray = field(repr=False)
    estimator: str
    n_train: int
    n_test: int
    scores: np.ndarray = field(repr=False)

    def __str__(self) -> str:
        parts = {"disentanglement": (self.disentanglement, "one factor"),
                 "completeness": (self.completeness, "one code"),
                 "informativeness": (self.informativeness, "")}
        text = ", ".join(f"{name} undefined ({why})" if np.isnan(value) else f"{name} {value:.2f}"
                         for name, (value, why) in parts.items())
        return f"{text} (DCI with {self.estimator}, {self.n_train:,} train / {self.n_test:,} test)"


def dci(codes: ArrayLike, states: ArrayLike, *, estimator: str | BaseEstimator = "boosting",
        n_train: int = 10_000, n_test: int = 5_000, seed: int = 0, n_jobs: int | None = None) -> DCI:
    """DCI scores: how well each factor is predicted from the codes, and which codes the prediction uses.

    Args:
        codes: (n, d) float, finite.
        states: (n, M) integers, attribute indices. Constant factors (dSprites' colour) do not count.
        estimator: "boosting" (default, the field's), "forest" (fast), "lasso" (the original paper's), or a
            scikit-learn estimator with `feature_importances_` or `coef_`, which is cloned for every factor.
            The score depends strongly on it: never compare numbers of different estimators.
        n_train: observations to fit on. Boosting takes time in proportion to `n_train` and to the sum of the
            factors' sizes, and with fewer observations it finds less disentanglement.
        n_test: observations to measure informativeness on. With fewer than `n_train + n_test` rows both
            shrink in proportion, and the result says what was used.
        seed: of the split into train and test, and of the estimator.
        n_jobs: factors that boosting fits at the same time, in threads; default: as many as torch uses. The
            result does not depend on it.

    Raises:
        InputError: shapes, types or values cannot be used, or there are fewer training rows than attributes.

    Departures: disentanglement_lib adds 1e-11 to the importances before the entropy; we take 0 log 0 = 0.
    Lasso predicts the attribute's index as a number, and its informativeness is R^2 (the paper's normalised
    error is sqrt(1 - R^2)).

    >>> rng = np.random.default_rng(0)
    >>> states = rng.integers(4, size=(600, 2))
    >>> print(dci(states + 0.1 * rng.standard_normal((600, 2)), states, estimator="lasso"))
    disentanglement 1.00, completeness 1.00, informativeness 0.99 (DCI with lasso, 400 train / 200 test)
    """
    codes, states = _codes_and_states(codes, states)
    make, name = _estimator(estimator)
    sizes = np.array([len(np.unique(column)) for column in states.T])
    if sizes.max() == 1:
        raise InputError(f"DCI cannot be computed: none of the {len(sizes)} factor(s) varies over the "
                         f"{len(codes)} observations; give observations in which at least one factor takes "
                         "two values.")
    varying = np.flatnonzero(sizes > 1)
    train, test = _split(len(codes), n_train, n_test, seed)
    if len(train) < sizes.max():
        raise InputError(f"DCI cannot be computed: {len(train)} observations to train on for a factor of "
                         f"{sizes.max()} attributes; give more observations (the field uses 15,000).")
    for factor in varying:
        if len(np.unique(states[train, factor])) == 1:
            raise InputError(f"DCI cannot be computed: factor {factor} has one attribute in the {len(train)} "
                             "training observations; give more observations or another seed.")
    mean, spread = codes[train].mean(0), codes[train].std(0)
    codes = (codes - mean) / np.where(spread > 0, spread, 1.0)  # trees do not mind, Lasso needs it
    # boosting only: scikit-learn's forests change the global warning filters, which threads must not share
    slow = isinstance(make(seed), GradientBoostingClassifier)
    fitted = Parallel(n_jobs=(n_jobs or torch.get_num_threads()) if slow else 1, prefer="threads")(
        delayed(_importance)(make(seed), codes[train], states[train, i], codes[test], states[test, i])
        for i in varying)
    importance, scores = np.zeros((codes.shape[1], len(sizes))), np.full(len(sizes), np.nan)
    for i, (column, score) in zip(varying, fitted, strict=True):
        importance[:, i], scores[i] = column, score
    return DCI(disentanglement=disentanglement(importance[:, varying]),
               completeness=completeness(importance[:, varying]), informativeness=float(np.nanmean(scores)),
               importance=importance, estimator=name, n_train=len(train), n_test=len(test), scores=scores)


def disentanglement(importance: ArrayLike) -> float:
    """D of an importance matrix (d, M): does each code serve one factor?

    A code's score is 1 - entropy of its row in base M, and codes count by their share of all importance.
    0 where nothing is important, NaN where M < 2.

    >>> disentanglement([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    1.0
    """
    return _one_minus_entropy(np.asarray(importance, dtype=float))


def completeness(importance: ArrayLike) -> float:
    """C of an importance matrix (d, M): is each factor held by one code?

    As `disentanglement`, of the columns and in base d.
    """
    return _one_minus_entropy(np.asarray(importance, dtype=float).T)


def mig(codes: ArrayLike, states: ArrayLike, *, n_bins: int = 20) -> float:
    """Mutual information gap (Chen et al. 2018): mean over factors of (best - second best) information.

    Args:
        codes: (n, d) float. With a single code the second best is 0.
        states: (n, M) integers. Constant factors are left out.
        n_bins: equal-width bins per code, 20 as in disentanglement_lib.

    Returns:
        A number in [0, 1]: 1 where exactly one code determines each factor.

    Departure: Chen et al. estimate the information from q(z|x); like disentanglement_lib we use a histogram
    of the codes, so that the score is defined for any encoder. A histogram overestimates information, by about
    (bins - 1)(size - 1) / 2n nats.
    """
    information = mutual_information(codes, states, n_bins=n_bins)
    information = information[:, ~np.isnan(information).any(0)]
    if not information.size:
        raise InputError("MIG cannot be computed: no factor varies; give observations in which at least one "
                         "does.")
    ordered = np.sort(np.vstack([information, np.zeros_like(information[0])]), axis=0)
    return float((ordered[-1] - ordered[-2]).mean())


def mutual_information(codes: ArrayLike, states: ArrayLike, *, n_bins: int = 20) -> np.ndarray:
    """I(code; factor) / H(factor): (d, M), each in [0, 1]; NaN for a constant factor.

    Args:
        codes: (n, d) float, cut into `n_bins` bins of equal width.
        states: (n, M) integers.
        n_bins: bins per code.
    """
    codes, states = _codes_and_states(codes, states)
    if n_bins < 2:
        raise InputError(f"n_bins is {n_bins}: expected at least 2 bins, 20 is usual.")
    low, high = codes.min(0), codes.max(0)
    width = np.where(high > low, high - low, 1.0)
    bins = np.minimum(((codes - low) / width * n_bins).astype(int), n_bins - 1)
    entropy = np.array([mutual_info_score(column, column) for column in states.T])
    information = np.array([[mutual_info_score(column, code) for column in states.T] for code in bins.T])
    return np.divide(information, entropy, out=np.full_like(information, np.nan), where=entropy > 0)


def purity(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Share of observations whose cluster is mostly of their own class, in (0, 1].

    Many small clusters are always pure: read it beside NMI or the number of clusters.

    >>> purity([0, 0, 1, 1], [5, 5, 5, 7])
    0.75
    """
    table = _contingency(labels_true, labels_pred)
    return float(table.max(axis=0).sum() / table.sum())


def accuracy(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """ACC in (0, 1]: share of observations in the right cluster, clusters and classes matched one to one.

    The matching is the best there is (Hungarian method). Clusters or classes without a partner count as wrong.
    """
    table = _contingency(labels_true, labels_pred)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum())


def nmi(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Normalised mutual information in [0, 1], arithmetic mean of the entropies. 1 where both are a single
    group."""
    return float(normalized_mutual_info_score(*_labels(labels_true, labels_pred)))


def ari(labels_true: ArrayLike, labels_pred: ArrayLike) -> float:
    """Adjusted Rand index, at most 1; 0 is what chance gives, and below 0 is worse than chance."""
    return float(adjusted_rand_score(*_labels(labels_true, labels_pred)))


def cluster_scores(labels_true: ArrayLike, labels_pred: ArrayLike) -> dict[str, float]:
    """All four: {"purity", "accuracy", "nmi", "ari"}; and "clusters", without which purity says little."""
    table = _contingency(labels_true, labels_pred)
    return {"purity": purity(labels_true, labels_pred), "accuracy": accuracy(labels_true, labels_pred),
            "nmi": nmi(labels_true, labels_pred), "ari": ari(labels_true, labels_pred),
            "clusters": table.shape[1]}


def _importance(estimator: BaseEstimator, codes: np.ndarray, factor: np.ndarray, test_codes: np.ndarray,
                test_factor: np.ndarray) -> tuple[np.ndarray, float]:
    """Importance (d,) that sums to 1 (or 0 where no code helps), and the test score."""
    if not is_classifier(estimator):
        mean, spread = factor.mean(), factor.std()
        factor, test_factor = (factor - mean) / spread, (test_factor - mean) / spread
    estimator.fit(codes, factor)
    found = getattr(estimator, "feature_importances_", None)
    if found is None:
        found = np.abs(np.atleast_2d(estimator.coef_)).sum(0)
    total = found.sum()
    score = max(0.0, estimator.score(test_codes, test_factor))
    return (found / total if total > 0 else np.zeros(len(found))), score


def _one_minus_entropy(rows: np.ndarray) -> float:
    """Mean over rows of 1 - entropy (base: number of columns), weighted by the rows' sums."""
    if rows.ndim != 2 or rows.shape[1] < 2:
        return float("nan")
    total = rows.sum(1)
    if total.sum() == 0:
        return 0.0
    share = np.divide(rows, total[:, None], out=np.ones_like(rows) / rows.shape[1], where=total[:, None] > 0)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    score = 1.0 + (share * logs).sum(1) / np.log(rows.shape[1])
    return float((score * total).sum() / total.sum())


def _estimator(estimator: str | BaseEstimator) -> tuple[Callable[[int], BaseEstimator], str]:
    """A function that makes a fresh predictor from a seed, and the name to print."""
    if isinstance(estimator, str):
        if estimator not in ESTIMATORS:
            raise suggest("estimator", estimator, ESTIMATORS)
        return ESTIMATORS[estimator], estimator
    return (lambda seed: clone(estimator)), type(estimator).__name__


def _split(n: int, n_train: int, n_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint random rows; both shrink in proportion where n is too small."""
    if n_train < 1 or n_test < 1:
        raise InputError(f"n_train is {n_train} and n_test is {n_test}: both must be at least 1.")
    if n < n_train + n_test:
        n_train = round(n * n_train / (n_train + n_test))
        n_test = n - n_train
    if n_train < 1 or n_test < 1:
        raise InputError(f"{n} observation(s) cannot be split into a training and a test part: give more.")
    rows = np.random.default_rng(seed).permutation(n)
    return rows[:n_train], rows[n_train:n_train + n_test]


def _codes_and_states(codes: ArrayLike, states: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Checked: codes (n, d) float64 finite, states (n, M) integers, the same n > 0."""
    codes, states = _array(codes), _array(states)
    if codes.ndim != 2 or states.ndim != 2:
        raise InputError(f"codes have shape {codes.shape} and states {states.shape}: expected (n, d) and (n, "
                         "M).")
    if len(codes) != len(states):
        raise InputError(f"there are {len(codes)} codes and {len(states)} states: expected one state for "
                         "each code.")
    if not codes.size or not states.size:
        raise InputError(f"codes have shape {codes.shape} and states {states.shape}: nothing to score; "
                         "expected at least one observation, one code and one factor.")
    if states.dtype.kind not in "iub":
        raise InputError(f"states are of type {states.dtype}: expected whole numbers, the attributes' "
                         "indices; bin continuous factors first.")
    if not np.isfinite(codes := codes.astype(np.float64)).all():
        raise InputError("codes hold NaN or infinite values: expected finite numbers; was the model trained?")
    return codes, states


def _labels(labels_true: ArrayLike, labels_pred: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Checked: two labellings (n,) of the same n > 0 observations; integers, booleans or texts."""
    both = _array(labels_true), _array(labels_pred)
    for labels, what in zip(both, ("labels_true", "labels_pred"), strict=True):
        if labels.ndim != 1:
            raise InputError(f"{what} has shape {labels.shape}: expected one label for each observation, "
                             "(n,).")
        if not len(labels):
            raise InputError(f"{what} is empty: expected at least one label.")
        if labels.dtype.kind not in "iubUS":
            raise InputError(f"{what} is of type {labels.dtype}: expected whole numbers or texts, one for "
                             "each group.")
    if len(both[0]) != len(both[1]):
        raise InputError(f"labels_true has {len(both[0])} labels and labels_pred {len(both[1])}: expected as "
                         "many.")
    return both


def _contingency(labels_true: ArrayLike, labels_pred: ArrayLike) -> np.ndarray:
    """How often class i fell into cluster j: (classes, clusters)."""
    return contingency_matrix(*_labels(labels_true, labels_pred))


def _array(values: ArrayLike) -> np.ndarray:
    """A numpy view of an array, a list or a tensor on any device."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
