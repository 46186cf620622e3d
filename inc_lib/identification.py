"""Which partitions act atomically? Found without factor labels, by asking a classifier or by similarity.

    actions = unlabelled_actions(codes, find_partitions(codes))       # a candidate is a partition of one code
    pairs = [draw_pairs(model, actions, action, codes, 64) for action in actions.actions]
    tests = [similarity_test(embed(acted), embed(control)) for acted, control in pairs]
    found = discoveries([test.p_value for test in tests], rate=0.05)  # Benjamini and Hochberg

The paper names two ways to find the atomic actions where nobody has labelled the factors; this file makes both a
test with a known error. Both compare *acted* pictures, in which one partition was put into many codes, with *controls*:
the same codes, with a value of the same code dimension drawn from all of its partitions. If the partition does nothing
in particular, acted picture and control may be swapped, pair by pair, and nobody could tell; swapping them at random
gives the null distribution, exactly, whatever the embedding (a paired permutation test).

(i) `words.consistency_test`: a classifier with a reader's list of words is asked what it sees. Does one word come up in
(nearly) all acted pictures, and more often than in the controls?

(ii) `similarity_test`: pictures as points of an embedding. Do acted pictures lie closer together than controls?
"""
from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control
from torch import Tensor

from .actions import ActionSet, AtomicAction, Region, _pieces
from .clustering import Model
from .errors import InputError, suggest
from .files import ROOT
from .scoring import Judge

__all__ = ["Atomicity", "Components", "Recorded", "Score", "SimilarityTest", "discoveries", "draw_pairs",
           "false_discovery_proportion", "identified", "interval", "mixed_family", "owned", "p_value",
           "precision_recall", "recognition", "recorded", "scores", "sham", "similarity_test", "survey", "truth"]

STATISTICS = ("whole", "feature")
COMPONENTS = 32         # principal components that an embedding is reduced to
LEAST_VARIANCE = 1e-12  # below this share of the largest, a direction is rounding
SHRINKAGE = 1e-3        # of the covariance that `recognition` uses
LEAST_RECOGNITION = 0.6  # F1: below, pictures do not tell which partition acted

Embed = Callable[[Tensor], Tensor]  # observations (n, C, H, W) -> features (n, k)


# --- acted pictures and their controls ---

def sham(actions: ActionSet, dimension: int) -> AtomicAction:
    """A candidate that must not be found: it draws from *all* partitions of a dimension, each as often as it holds.

    It is also what every control is drawn by, so for it acted pictures and controls have one distribution.
    """
    return AtomicAction(-1, -1, (actions.marginals[dimension],), actions.distribution)


def interval(actions: ActionSet, codes: Tensor, dimension: int, low: float, high: float) -> AtomicAction:
    """A candidate of one's own: the codes of a dimension between two of their quantiles, drawn as partitions are.

    Raises:
        InputError: quantiles that are no rising pair within [0, 1].
    """
    if not 0 <= low < high <= 1:
        raise InputError(f"quantiles {low} and {high} bound no interval: expected 0 <= low < high <= 1.")
    values = codes[:, dimension].double()
    ends = torch.quantile(values[:100_000], torch.tensor([low, high], dtype=torch.float64)).tolist()
    bounds = (-math.inf if low == 0 else ends[0], math.inf if high == 1 else ends[1])
    pieces = _pieces([bounds], codes[:, dimension].float().numpy())
    return AtomicAction(-1, -1, (Region(dimension, (), pieces),), actions.distribution)


def draw_pairs(model: Model, actions: ActionSet, action: AtomicAction, codes: Tensor, n: int,
               generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """n acted pictures and their n controls, each pair from one code.

    Args:
        model: G.
        actions: without labels, of the code space.
        action: a candidate that acts on one dimension.
        codes: (m, d), of observations; rows are drawn with replacement.
        n: pairs, at least 2.

    Returns:
        Two tensors (n, C, H, W), on the CPU: row r of both was made from the same code.
    """
    if n < 2 or len(action.dimensions) != 1:
        raise InputError(f"n = {n} pairs for an action on dimensions {action.dimensions} cannot be drawn: expected at "
                         "least 2, and an action on one dimension.")
    drawn = codes[torch.randint(len(codes), (n,), generator=generator)]
    control = sham(actions, action.dimensions[0])
    both = torch.cat([action.act(drawn, generator), control.act(drawn, generator)])
    return tuple(model.decode(both).cpu().split(n))


# --- (ii) similarity ---

@dataclass(frozen=True)
class SimilarityTest:
    """What came out for one candidate.

    Attributes:
        statistic: log of (spread of the controls / spread of the acted pictures): 0 where acting changes
            nothing, log 2 where it halves the spread.
        p_value: from the permutations.
    """

    statistic: float
    p_value: float


@dataclass(frozen=True, eq=False)
class Components:
    """An embedding in its principal components, found on other pictures than are tested later.

    Attributes:
        embed: observations (n, C, H, W) -> features (n, k).
        centre: (k,).
        directions: (k, m), orthonormal, by falling variance.
    """

    embed: Embed
    centre: Tensor
    directions: Tensor

    def __call__(self, observations: Tensor) -> Tensor:
        """Coordinates (n, m) of observations."""
        return (self.embed(observations).float().flatten(1) - self.centre) @ self.directions

    @classmethod
    def of(cls, embed: Embed, observations: Tensor, m: int = COMPONENTS) -> Components:
        """The first m principal components of an embedding of observations (n, C, H, W), n >= 2."""
        features = embed(observations).float().flatten(1)
        if len(features) < 2 or not features.isfinite().all():
            raise InputError(f"{len(features)} observations have no principal components, or their features are not "
                             "finite: expected two at least, and finite numbers.")
        centre = features.mean(0)
        values = (features - centre).double()
        if len(values) < values.shape[1]:  # the smaller of the two products has the same eigenvalues
            squares, sides = torch.linalg.eigh(values @ values.T)
            directions = (values.T @ sides[:, -m:]) / squares[-m:].clamp(min=1e-300).sqrt()
        else:
            squares, directions = torch.linalg.eigh(values.T @ values)
        squares, directions = squares.flip(0)[:m], directions.flip(1)[:, :m].float()
        kept = max(int((squares > LEAST_VARIANCE * squares[0]).sum()), 1)
        return cls(embed, centre, directions[:, :kept].contiguous())


def similarity_test(acted: Tensor, control: Tensor, *, statistic: str = "whole", n_permutations: int = 999,
                    generator: torch.Generator | None = None) -> SimilarityTest:
    """Are acted pictures more alike than their controls? A paired permutation test.

    The statistic is the log ratio of the spread of the controls to that of the acted pictures. Spread is the sum
    of variances, that is, half of the mean squared distance of two pictures; for features of unit length one minus
    their mean cosine similarity. Two ways to look:

    - "whole": all features together, the paper's wording.
    - "feature": the feature in which the ratio is largest. The maximum is taken anew in each permutation, so looking
      at many features costs power and no error. Meant for principal components, see `Components`: a small factor
      may rule one of them and hardly matter to the sum.

    Args:
        acted, control: (n, k), rows in pairs.
        statistic: one of the above.
        n_permutations: swaps that are drawn; the smallest p-value is 1 / (n_permutations + 1).
        generator: of the swaps.

    Returns:
        The statistic and P(a random swap gives as much), with the +1 of Phipson and Smyth (2010): never 0, and exact.

    Raises:
        InputError: shapes that are not pairs, features that are not finite, or an unknown statistic.
    """
    if acted.shape != control.shape or acted.ndim != 2 or len(acted) < 2:
        raise InputError(f"features of shapes {tuple(acted.shape)} and {tuple(control.shape)} are no pairs: expected "
                         "(n, k) twice, with n >= 2.")
    if not (acted.isfinite().all() and control.isfinite().all()):
        raise InputError("the features hold values that are not finite: check the embedding and the pictures.")
    if statistic not in STATISTICS:
        raise suggest("statistic", statistic, STATISTICS)
    if n_permutations < 1:
        raise InputError(f"n_permutations = {n_permutations} cannot be used: expected at least 1.")
    first, second = acted.double(), control.double()
    centre = (first.mean(0) + second.mean(0)) / 2
    first, second = first - centre, second - centre
    n = len(first)
    swaps = torch.randint(0, 2, (n_permutations, n), generator=generator).double() * 2 - 1
    signs = torch.cat([torch.ones(1, n, dtype=torch.float64), swaps])  # row 0: as observed
    # Sums over the acted side are linear in the signs, so all permutations are two matrix products.
    sums = ((first + second).sum(0) / 2, signs @ (first - second) / 2)
    squares = ((first**2 + second**2).sum(0) / 2, signs @ (first**2 - second**2) / 2)
    of_acted, of_control = (((squares[0] + way * squares[1]) / n - ((sums[0] + way * sums[1]) / n) ** 2)
                            for way in (1, -1))
    if statistic == "whole":
        of_acted, of_control = of_acted.sum(1, keepdim=True), of_control.sum(1, keepdim=True)
    floor = LEAST_VARIANCE * max(float((of_acted + of_control)[0].max()), 1e-300)
    ratio = (of_control.clamp(min=floor) / of_acted.clamp(min=floor)).log()
    values = ratio.amax(1) if ratio.shape[1] else torch.zeros(len(signs), dtype=torch.float64)
    return SimilarityTest(float(values[0]), p_value(float(values[0]), values[1:]))


def p_value(observed: float, permuted: Tensor | ArrayLike) -> float:
    """(1 + how many permuted values reach the observed one) / (1 + how many there are).

    Without the +1 a p-value could be 0, and the test would reject more often than it says (Phipson and Smyth 2010).

    >>> p_value(3.0, [1.0, 2.0, 3.0, 4.0])
    0.6
    """
    permuted = np.asarray(permuted, dtype=np.float64)
    tie = 1e-9 * max(abs(observed), 1e-9)  # equal up to rounding counts as reached
    return float((1 + (permuted >= observed - tie).sum()) / (1 + permuted.size))


def discoveries(p_values: ArrayLike, rate: float = 0.05) -> NDArray[np.bool_]:
    """Benjamini and Hochberg (1995): which tests to call discoveries, so that a share of at most `rate` is false.

    The share is an expectation over repetitions. It is kept for independent tests and for positively dependent ones.

    Raises:
        InputError: p-values outside of (0, 1], or a rate outside of (0, 1).
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    if not 0 < rate < 1:
        raise InputError(f"rate = {rate} cannot be used: expected a false discovery rate between 0 and 1.")
    if p_values.size == 0:
        return np.zeros(p_values.shape, dtype=bool)
    if not ((p_values > 0) & (p_values <= 1)).all():
        raise InputError("p-values must be above 0 and at most 1: a permutation test never gives 0, see p_value.")
    return false_discovery_control(p_values, axis=None).reshape(p_values.shape) <= rate


# --- beyond the paper: does one partition look like no other? ---

def recognition(acted: Tensor) -> NDArray[np.float64]:
    """Can it be seen in a picture which partition of a code acted? F1 of reading each partition back: float64 (P,).

    That acted pictures are more alike shows that the partition does *something*. If it shows an attribute, then its
    pictures also differ from those of the other partitions of its code, whatever else varies. So a linear discriminant
    (covariance shrunk by a thousandth) learns to name the partition from the first half of the pictures and is asked
    about the second half. Two partitions that show one attribute are taken for each other and both fail, as do
    partitions that fix half of an attribute which another code completes.

    Not in the paper. No factor labels either: what is read back is what we did.

    Args:
        acted: (P, n, k), features of n acted pictures of each of the P partitions of *one* code, P >= 2, n >= 4.
    """
    if acted.ndim != 3 or acted.shape[0] < 2 or acted.shape[1] < 4:
        raise InputError(f"features of shape {tuple(acted.shape)} cannot be recognised: expected (partitions, n, "
                         "features) with two partitions and four pictures at least.")
    values = acted.double()
    partitions, n, k = values.shape
    seen, asked = values[:, :n // 2], values[:, n // 2:]
    means = seen.mean(1)
    within = (seen - means[:, None]).flatten(0, 1)
    covariance = within.T @ within / len(within)
    covariance += SHRINKAGE * covariance.diagonal().mean().clamp(min=1e-12) * torch.eye(k, dtype=torch.float64)
    weights = torch.linalg.solve(covariance, means.T)  # (k, partitions)
    scores = asked @ weights - (means.T * weights).sum(0) / 2
    read = scores.argmax(2)
    named = torch.stack([torch.bincount(row, minlength=partitions) for row in read]).double()
    right = named.diagonal()
    return (2 * right / (named.sum(0) + named.sum(1)).clamp(min=1)).numpy()


# --- the truth, where somebody knows it ---

@dataclass(frozen=True)
class Atomicity:
    """How atomic a candidate really is, read by a judge of the factors.

    Attributes:
        factor: the factor in which acted pictures agree most, compared with controls.
        attribute: what most acted pictures show of it.
        share: how many of them do.
        control: how many of the controls show *their* most frequent attribute.
    """

    factor: int
    attribute: int
    share: float
    control: float

    def holds(self, least: float = 0.8, gain: float = 0.2) -> bool:
        """Whether nearly all acted pictures show one attribute, and controls do not."""
        return self.share >= least and self.share - self.control >= gain


def truth(read: Tensor, read_control: Tensor) -> Atomicity:
    """What a judge reads, (n, M) attributes of acted pictures and of controls, as one verdict."""
    def top(column: Tensor) -> tuple[int, float]:
        counts = torch.bincount(column)
        return int(counts.argmax()), float(counts.max() / len(column))

    tops = [(*top(mine), top(theirs)[1]) for mine, theirs in zip(read.T, read_control.T, strict=True)]
    factor = max(range(len(tops)), key=lambda i: tops[i][1] - tops[i][2])
    return Atomicity(factor, *tops[factor])


@dataclass(frozen=True)
class Score:
    """Found against true: precision is NaN where nothing was found, recall where nothing is true."""

    precision: float
    recall: float
    n_found: int
    n_true: int


def precision_recall(found: ArrayLike, true: ArrayLike) -> Score:
    """Precision and recall of found candidates.

    >>> precision_recall([True, True, False, False], [True, False, True, False])
    Score(precision=0.5, recall=0.5, n_found=2, n_true=2)
    """
    found, true = np.asarray(found, dtype=bool), np.asarray(true, dtype=bool)
    if found.shape != true.shape:
        raise InputError(f"{found.size} candidates were judged and {true.size} are known: expected the same ones.")
    both, n_found, n_true = int((found & true).sum()), int(found.sum()), int(true.sum())
    return Score(both / n_found if n_found else math.nan, both / n_true if n_true else math.nan, n_found, n_true)


def false_discovery_proportion(found: ArrayLike, null: ArrayLike) -> float:
    """The share of discoveries among which the null hypothesis is true; 0 where nothing was found."""
    found, null = np.asarray(found, dtype=bool), np.asarray(null, dtype=bool)
    return float((found & null).sum() / max(found.sum(), 1))


# --- all of it at once ---

def survey(model: Model, actions: ActionSet, codes: Tensor, embeddings: Mapping[str, Embed], *, n: int = 64,
           n_pictures: int = 192, judge: Judge | None = None, n_permutations: int = 999,
           generator: torch.Generator | None = None) -> pd.DataFrame:
    """Every partition of every cut code, tested on fresh pictures.

    Args:
        model: G.
        actions: as `unlabelled_actions` gives.
        codes: (m, d), of observations.
        embeddings: name -> embedding: a `Components`, or codes and answers as they are.
        n: pairs of each test.
        n_pictures: acted pictures of each candidate, at least n: all of them are recognised and judged.
        judge: who knows the truth; None where nobody does.

    Raises:
        InputError: no code is cut.

    Returns:
        One row for each candidate: `code`, `partition`; `p EMBEDDING STATISTIC`, `gain EMBEDDING STATISTIC`,
        `recognised EMBEDDING`; and by the judge `factor`, `attribute`, `share`, `control`, `atomic`.
    """
    if not actions.actions:
        raise InputError("no code has more than one partition, so there is no candidate: train longer, encode more "
                         "observations, or look at the densities in chapter 2.")
    n_pictures = max(n, n_pictures)
    rows: list[dict] = []
    features: dict[str, list[Tensor]] = {name: [] for name in embeddings}
    for action in actions.actions:
        acted, control = draw_pairs(model, actions, action, codes, n_pictures, generator)
        row: dict = {"code": action.dimensions[0], "partition": action.attribute}
        for name, embed in embeddings.items():
            seen = embed(acted)
            features[name].append(seen)
            for statistic in STATISTICS:
                test = similarity_test(seen[:n], embed(control[:n]), statistic=statistic,
                                       n_permutations=n_permutations, generator=generator)
                row |= {f"p {name} {statistic}": test.p_value, f"gain {name} {statistic}": test.statistic}
        if judge is not None:
            verdict = truth(judge.predict(acted), judge.predict(control))
            row |= {"factor": judge.factors[verdict.factor], "attribute": verdict.attribute, "share": verdict.share,
                    "control": verdict.control, "atomic": verdict.holds()}
        rows.append(row)
    found = pd.DataFrame(rows)
    for name, seen in features.items():
        found[f"recognised {name}"] = np.nan
        for code in found["code"].unique() if len(found) else ():
            at = np.flatnonzero(found["code"] == code)
            if len(at) > 1:
                found.loc[at, f"recognised {name}"] = recognition(torch.stack([seen[k] for k in at]))
    return found


def identified(found: pd.DataFrame, embedding: str, statistic: str, *, rate: float = 0.05,
               recognised: float | None = None) -> NDArray[np.bool_]:
    """Which rows of a `survey` are discoveries of one embedding and statistic; optionally recognised as well."""
    passed = discoveries(found[f"p {embedding} {statistic}"], rate)
    return passed if recognised is None else passed & (found[f"recognised {embedding}"] >= recognised).to_numpy()


def owned(labelled: ActionSet, found: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows of a `survey` some attribute owns by its labels, alone or as a part of its region.

    Args:
        labelled: of `find_actions`, on the same partitions.
    """
    regions = {(dimension, partition) for entry in labelled.ownership if entry.owned
               for dimension, partitions in zip(entry.dimensions, entry.partitions, strict=True)
               for partition in partitions}
    return np.array([pair in regions for pair in zip(found["code"], found["partition"], strict=True)], dtype=bool)


def scores(found: pd.DataFrame, embeddings: Iterable[str], *, rate: float = 0.05,
           recognised: float | None = None) -> pd.DataFrame:
    """Found, precision and recall of each embedding and statistic of a `survey`; NaN where nobody knows the truth."""
    rows = []
    for name, statistic in itertools.product(embeddings, STATISTICS):
        passed = identified(found, name, statistic, rate=rate, recognised=recognised)
        known = precision_recall(passed, found["atomic"]) if "atomic" in found else None
        rows.append({"embedding": name, "statistic": statistic, "found": int(passed.sum()),
                     "precision": known.precision if known else math.nan,
                     "recall": known.recall if known else math.nan})
    return pd.DataFrame(rows)


def mixed_family(model: Model, actions: ActionSet, codes: Tensor, embed: Embed, *, n_real: int, n_sham: int,
                 n: int = 64, statistic: str = "feature", n_permutations: int = 999,
                 generator: torch.Generator | None = None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Some partitions, drawn at random, among candidates that must not be found: to see whether a rate is kept.

    Returns:
        p-values of all, and which are shams: (n_real + n_sham,) twice.
    """
    cut = sorted({action.dimensions[0] for action in actions.actions})
    if not cut:
        raise InputError("no code is cut, so there is nothing to be found and nothing to be wrong about.")
    order = torch.randperm(len(actions.actions), generator=generator)[:n_real].tolist()
    candidates = [actions.actions[k] for k in order]
    candidates += [sham(actions, cut[k % len(cut)]) for k in range(n_sham)]
    p_values = []
    for action in candidates:
        acted, control = draw_pairs(model, actions, action, codes, n, generator)
        p_values.append(similarity_test(embed(acted), embed(control), statistic=statistic,
                                        n_permutations=n_permutations, generator=generator).p_value)
    return np.array(p_values), np.arange(len(candidates)) >= len(order)


@dataclass(frozen=True)
class Recorded:
    """What `benchmarks/identification.py` measured.

    Attributes:
        networks: name of a checkpoint -> its numbers by name, means over the repetitions; "...; sd" beside them.
        repeats: repetitions of each.
    """

    networks: dict[str, dict[str, float]]
    repeats: int


def recorded(path: Path = ROOT / "results" / "benchmarks" / "identification.json") -> Recorded:
    """Read what the benchmark wrote.

    Raises:
        InputError: it is not there.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: make it with python benchmarks/identification.py.")
    numbers = json.loads(path.read_text())["numbers"]
    networks: dict[str, dict[str, float]] = {}
    for key, value in numbers.items():
        name, _, rest = key.partition("; ")
        if rest:
            networks.setdefault(name, {})[rest] = value
    return Recorded(networks, int(numbers["repeats"]))
