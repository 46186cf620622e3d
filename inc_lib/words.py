"""Way (i) of identification without labels: ask a classifier, in words.

    vocabulary = Vocabulary({"floor": ["a red floor", "a blue floor"], "object": ["a cube", "a ball"]})
    answer = consistency_test(acted, control, classifier, vocabulary)    # pictures by identification.draw_pairs

A classifier is any callable images -> (n, words) probabilities: CLIP (`pretrained.clip_classifier`), a network of your
own, a person with patience. A partition is *named* by a word if the word is the answer for nearly all acted pictures
and is more probable there than in the controls. Partitions of one code with the same word are a union that shows it.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import InputError
from .identification import discoveries, p_value
from .oracle import Oracle
from .worlds import Factor

__all__ = ["Answer", "Classifier", "StandIn", "Vocabulary", "consistency", "consistency_test", "named", "parse"]

LEAST_SHARE = 0.8       # of the acted pictures that must get one word

HUES = ("a red", "an orange", "a yellow-green", "a green", "a sea-green", "a cyan", "a sky-blue", "a blue", "a purple",
        "a pink")
# What a reader would say about the rooms of the twin: coarser than its factors where language is.
ROOMS: dict[str, dict[str, tuple[int, ...]]] = {
    "floor hue": {f"{hue} floor": (k,) for k, hue in enumerate(HUES)},
    "wall hue": {f"{hue} wall": (k,) for k, hue in enumerate(HUES)},
    "object hue": {f"{hue} object": (k,) for k, hue in enumerate(HUES)},
    "scale": {"a small object": (0, 1, 2), "a middling object": (3, 4), "a large object": (5, 6, 7)},
    "shape": {"a cube": (0,), "a cylinder": (1,), "a ball": (2,), "a capsule": (3,)},
    "orientation": {"seen from one side": tuple(range(5)), "seen from the front": tuple(range(5, 10)),
                    "seen from the other side": tuple(range(10, 15))},
}


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
        raise InputError(f"the classifier gives shape {tuple(given.shape)} for {len(images)} images and {words} words: "
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


def named(answers: Sequence[Answer], *, rate: float = 0.05, least: float = LEAST_SHARE) -> NDArray[np.int64]:
    """The word of each candidate, by number; -1 where it has none: int64 (candidates,).

    The false discovery rate is controlled over all candidates and words together; of several words the one with the
    largest share is taken.
    """
    if not answers:
        return np.zeros(0, dtype=np.int64)
    shares = np.stack([answer.shares for answer in answers])
    found = discoveries(np.stack([answer.p_values for answer in answers]), rate) & (shares >= least)
    return np.where(found.any(1), np.where(found, shares, -1.0).argmax(1), -1)


def parse(text: str) -> Vocabulary:
    """A vocabulary from one line: "floor: a red floor, a blue floor; object: a cube, a ball".

    Raises:
        InputError: a question without a colon, or one that has fewer than two words.
    """
    groups = {}
    for part in filter(str.strip, text.split(";")):
        question, colon, words = part.partition(":")
        if not colon:
            raise InputError(f"words {part.strip()!r} belong to no question: expected 'question: word, word; "
                             "question: word, word'.")
        groups[question.strip()] = [word.strip() for word in words.split(",") if word.strip()]
    return Vocabulary(groups)


class StandIn:
    """An oracle in the place of a zero-shot classifier: it shows the procedure, and *has seen labels*.

    Args:
        oracle: of the world.
        meaning: question (a factor's name) -> word -> the attributes that it stands for.
    """

    def __init__(self, oracle: Oracle, meaning: Mapping[str, Mapping[str, Sequence[int]]]) -> None:
        self.oracle, self.meaning = oracle, meaning
        self.vocabulary = Vocabulary({question: tuple(words) for question, words in meaning.items()})
        self._columns = [oracle.factor_index(question) for question in meaning]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Probabilities (n, words): the oracle's, added up over the attributes of a word."""
        device = next(self.oracle.parameters()).device
        logits = self.oracle(images.to(device, torch.float32))
        parts = []
        for column, words in zip(self._columns, self.meaning.values(), strict=True):
            shares = logits[column].softmax(1)
            parts += [shares[:, list(attributes)].sum(1) for attributes in words.values()]
        return torch.stack(parts, dim=1).cpu()

    def of_states(self, states: Tensor) -> Tensor:
        """Which words are true of states (n, M): bool (n, words). What the labels say, no picture involved."""
        columns = [torch.isin(states[:, column], torch.tensor(list(attributes)))
                   for column, words in zip(self._columns, self.meaning.values(), strict=True)
                   for attributes in words.values()]
        return torch.stack(columns, dim=1)


def meaning_of(factors: Sequence[Factor]) -> dict[str, dict[str, tuple[int, ...]]]:
    """Words for labelled factors of any world: each attribute is one."""
    return {factor.name: {f"{factor.name} {value}": (k,) for k, value in enumerate(factor.values)}
            for factor in factors if factor.size > 1}
