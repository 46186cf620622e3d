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

(i) `consistency_test`: a classifier with a reader's list of words is asked what it sees. Does one word come up in (nearly)
all acted pictures, and more often than in the controls?

(ii) `similarity_test`: pictures as points of an embedding. Do acted pictures lie closer together than controls?
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control
from torch import Tensor

from .actions import ActionSet, AtomicAction, Region
from .clustering import Model
from .errors import InputError, suggest

__all__ = ["Answer", "Atomicity", "Response", "Score", "SimilarityTest", "Vocabulary", "consistency",
           "consistency_test", "discoveries", "draw_pairs", "false_discovery_proportion", "p_value",
           "precision_recall", "sham", "similarity_test", "truth"]

STATISTICS = ("whole", "component", "response")
COMPONENTS = 16         # principal components that "component" looks at, at most
LEAST_VARIANCE = 1e-12  # below this share of the largest, a direction is rounding


# --- acted pictures and their controls ---

def sham(actions: ActionSet, dimension: int) -> AtomicAction:
    """A candidate that must not be found: it draws from *all* partitions of a code dimension, each as often as it holds.

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
    from .actions import _pieces

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
class Response:
    """The directions of an embedding in which pictures move if one code changes.

    Attributes:
        centre: (k,).
        directions: (k, m), orthonormal.
    """

    centre: Tensor
    directions: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Features (n, k) -> their coordinates in these directions (n, m)."""
        return (features - self.centre) @ self.directions

    @classmethod
    def of(cls, features: Tensor, moved: Tensor, *, share: float = 0.9, most: int = COMPONENTS) -> Response:
        """The principal directions of moved - features, both (n, k), that hold `share` of the movement.

        They must be of other pictures than are tested later: a test on the data that chose it is none.
        """
        change = (moved - features).double()
        _, scales, directions = torch.linalg.svd(change, full_matrices=False)
        held = scales.pow(2).cumsum(0) / scales.pow(2).sum().clamp(min=1e-300)
        m = min(int((held < share).sum()) + 1, most, len(directions))
        return cls(features.double().mean(0).to(features), directions[:m].T.to(features))


def similarity_test(acted: Tensor, control: Tensor, *, statistic: str = "whole", n_permutations: int = 1999,
                    generator: torch.Generator | None = None) -> SimilarityTest:
    """Are acted pictures more alike than their controls? A paired permutation test.

    The statistic is the log ratio of the spread of the controls to that of the acted pictures. Spread is the sum
    of variances, that is, half of the mean squared distance of two pictures; for features of unit length one minus
    their mean cosine similarity. Three ways to look:

    - "whole": all features together.
    - "component": the principal component of the pooled pictures in which the ratio is largest. The maximum is taken
      anew in each permutation, so looking at many components costs power and no error.
    - "response" is "whole" for features that a `Response` has projected beforehand: it is here as a name only.

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
    if statistic == "component":
        _, scales, directions = torch.linalg.svd(torch.cat([first, second]), full_matrices=False)
        kept = directions[:COMPONENTS][scales[:COMPONENTS] > math.sqrt(LEAST_VARIANCE) * scales[0]].T
        first, second = first @ kept, second @ kept
    n = len(first)
    swaps = torch.randint(0, 2, (n_permutations, n), generator=generator).double() * 2 - 1
    signs = torch.cat([torch.ones(1, n, dtype=torch.float64), swaps])  # row 0: as observed
    # Sums over the acted side are linear in the signs, so all permutations are two matrix products.
    sums = ((first + second).sum(0) / 2, signs @ (first - second) / 2)
    squares = ((first**2 + second**2).sum(0) / 2, signs @ (first**2 - second**2) / 2)
    of_acted, of_control = (((squares[0] + way * squares[1]) / n - ((sums[0] + way * sums[1]) / n) ** 2)
                            for way in (1, -1))
    if statistic != "component":
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


# --- (i) words ---

@dataclass(frozen=True)
class Vocabulary:
    """What a reader asks for: groups of words, each group the possible answers to one question.

    Attributes:
        groups: question -> its words. Words are told apart within their group only: a floor is red or blue, whatever
            the wall.
    """

    groups: Mapping[str, Sequence[str]]

    def __post_init__(self) -> None:
        words = self.words
        if not words or any(len(group) < 2 for group in self.groups.values()) or len(set(words)) < len(words):
            raise InputError("a vocabulary wants at least two words for each question, and no word twice: a single "
                             "answer is always right.")

    @property
    def words(self) -> list[str]:
        """All words, in the order in which a classifier gives their probabilities."""
        return [word for group in self.groups.values() for word in group]

    def group_of(self, word: int) -> str:
        """The question that a word (by number) answers."""
        return [name for name, group in self.groups.items() for _ in group][word]


Classifier = Callable[[Tensor], Tensor]  # observations (n, C, H, W) -> probabilities (n, words)


def consistency(images: Tensor, classifier: Classifier, vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """Ask a classifier which word of each question fits each picture.

    Returns:
        probabilities (n, words), summing to 1 within each question, and shares (words,): in how many of the pictures a
        word is its question's answer.

    Raises:
        InputError: the classifier gives another number of columns, or numbers that are no probabilities.
    """
    given = torch.as_tensor(classifier(images)).detach().double().cpu()
    words = len(vocabulary.words)
    if given.shape != (len(images), words):
        raise InputError(f"the classifier gives shape {tuple(given.shape)} for {len(images)} pictures and {words} words: "
                         "expected a probability for each picture and word.")
    if not (given.isfinite().all() and (given >= 0).all()):
        raise InputError("the classifier gives numbers that are no probabilities: expected values of at least 0.")
    parts = []
    for part in given.split([len(group) for group in vocabulary.groups.values()], dim=1):
        parts.append(part / part.sum(1, keepdim=True).clamp(min=1e-12))
    answers = torch.cat([torch.nn.functional.one_hot(part.argmax(1), part.shape[1]) for part in parts], dim=1)
    return torch.cat(parts, dim=1), answers.double().mean(0)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a classifier says about one candidate.

    Attributes:
        shares: (words,), in how many of the acted pictures a word is the answer.
        p_values: (words,), that the word is no more probable than in the controls.
    """

    shares: NDArray[np.float64]
    p_values: NDArray[np.float64]


def consistency_test(acted: Tensor, control: Tensor, classifier: Classifier, vocabulary: Vocabulary, *,
                     n_permutations: int = 1999, generator: torch.Generator | None = None) -> Answer:
    """Does a word come up more in acted pictures than in their controls? A paired permutation test for each word.

    The statistic is the difference of the mean probabilities. Being more frequent is necessary for an action, not
    sufficient: ask for a large share beside a small p-value.

    Args:
        acted, control: (n, C, H, W), in pairs.
    """
    if acted.shape != control.shape or len(acted) < 2:
        raise InputError(f"pictures of shapes {tuple(acted.shape)} and {tuple(control.shape)} are no pairs: expected "
                         "(n, C, H, W) twice, with n >= 2.")
    said, shares = consistency(acted, classifier, vocabulary)
    said_of_control, _ = consistency(control, classifier, vocabulary)
    gain = said - said_of_control
    swaps = torch.randint(0, 2, (n_permutations, len(gain)), generator=generator).double() * 2 - 1
    permuted, observed = swaps @ gain / len(gain), gain.mean(0)
    values = [p_value(float(observed[k]), permuted[:, k]) for k in range(len(observed))]
    return Answer(shares.numpy(), np.array(values))


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
