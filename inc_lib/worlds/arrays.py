"""A world that is data: observations that somebody took, with or without the states they were taken in."""
from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .base import Factor, World
from .partners import Partners, StateTable
from .storage import Images, fit

REDRAWS = 200


class ArrayWorld(World):
    """Stored observations: published files and your own data.

    Only the observations asked for are read. A state may have several observations (every "7" of MNIST) or
    none (a hole in the grid); `sample` and `pairs` draw observations that exist, never states that do not.

    Args:
        name: printed name.
        source: "published" or "yours".
        images: uint8 (n, height, width, channels): an array, or anything else with a `shape`
            that gives rows for an increasing array of indices.
        labels: int64 (n, M), attribute indices; None where there are no labels.
        factors: the M factors.
        image_size: pixels on a side of the observations; stored images are fitted to it batch by batch.
        notes: sentences on what was left out or changed on the way in; `describe` prints them.

    Raises:
        InputError: shapes that do not fit one another, labels outside of their factor.
    """

    def __init__(self, *, name: str, source: str, images: Images,
                 labels: np.ndarray | None = None, factors: Sequence[Factor] = (), image_size: int = 64,
                 notes: Sequence[str] = ()) -> None:
        if not isinstance(image_size, int) or image_size < 8:
            raise InputError(f"image_size = {image_size!r}: expected a whole number of pixels, 32 or 64.")
        self.name, self.source, self.image_size = name, source, image_size
        self.images = images
        self.factors = tuple(factors)
        self.notes = tuple(notes)
        self.n, _, _, self.channels = images.shape
        labels = np.empty((self.n, 0), np.int64) if labels is None else np.asarray(labels, np.int64)
        if labels.shape != (self.n, len(self.factors)):
            raise InputError(f"{name}: {self.n:,} images, {len(self.factors)} factors, but labels of shape "
                             f"{labels.shape}: expected one row per image, one column per factor.")
        for i, factor in enumerate(self.factors):
            if labels[:, i].min() < 0 or labels[:, i].max() >= factor.size:
                raise InputError(f"{name}: labels of factor {factor.name!r} run from {labels[:, i].min()} to "
                                 f"{labels[:, i].max()}: expected 0 to {factor.size - 1}.")
        if math.prod(self.sizes) >= 2 ** 62:
            raise InputError(f"{name}: {len(self.factors)} factors span more than 2^62 combinations: keep "
                             "the columns that describe what varies in the images and leave out the others.")
        self.labels = labels

    # --- what a world gives ---

    @property
    def n_states(self) -> int:
        """Number of observations."""
        return self.n

    @property
    def is_complete(self) -> bool:
        """Whether every combination of attributes was observed."""
        return bool(self.factors) and len(self.table) == math.prod(self.sizes)

    @functools.cached_property
    def supports_pairs(self) -> bool:
        """Whether two states can be drawn that share one attribute and differ in another.

        With at least two varying factors they can if some factor has fewer values than there are distinct
        states.
        """
        varying = [i for i, size in enumerate(self.sizes) if size > 1]
        met_twice = any(len(np.unique(self.table.states[:, i])) < len(self.table) for i in varying)
        return len(varying) >= 2 and met_twice

    @functools.cached_property
    def gives_single_changes(self) -> bool:
        """Whether every state that can be paired has a partner that differs in a single factor."""
        return self.supports_pairs and (self.is_complete or self._partners.always_singly())

    @property
    def gives_compositions(self) -> bool:
        """Whether every combination of attributes was observed, so that every target exists."""
        return self.is_complete and super().gives_compositions

    @functools.cached_property
    def table(self) -> StateTable:
        """The distinct states, found once."""
        return StateTable(self.labels, self.sizes)

    def observation(self, indices: Tensor | np.ndarray | Sequence[int]) -> Tensor:
        """Observations (n, channels, image_size, image_size) in [0, 1] at these places of the dataset.

        Raises:
            InputError: an index outside of the dataset.
        """
        indices = np.asarray(indices, np.int64).reshape(-1)
        if len(indices) == 0:
            return torch.empty(0, self.channels, self.image_size, self.image_size)
        outside = indices[(indices < 0) | (indices >= self.n)]
        if len(outside):
            raise InputError(f"{self.name} has observations 0 to {self.n - 1}: asked for {outside[0]}.")
        if isinstance(self.images, np.ndarray):
            rows = self.images[indices]
        else:                                      # on disk: each once, in increasing order
            unique, inverse = np.unique(indices, return_inverse=True)
            rows = self.images[unique][inverse]
        return fit(torch.from_numpy(rows).permute(0, 3, 1, 2), self.image_size)

    def states(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """States of n observations drawn uniformly: int64 (n, M)."""
        return self._states_at(self._any(n, generator))

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw n (observations, states) uniformly, with replacement; states are (n, 0) without labels."""
        indices = self._any(n, generator)
        return self.observation(indices), self._states_at(indices)

    def render(self, states: Tensor) -> Tensor:
        """The first observation of each state (n, M).

        Raises:
            InputError: no labels, or a combination that the data do not hold.
        """
        if not self.factors:
            raise InputError(f"{self.name} has no factor labels: observations can be drawn by sample(), "
                             "not by state.")
        states = np.asarray(states, np.int64).reshape(-1, len(self.factors))
        outside = (states < 0) | (states >= np.array(self.sizes))
        rows = np.where(outside.any(1), -1, self.table.find(np.where(outside, 0, states)))
        if (rows < 0).any():
            missing = states[np.flatnonzero(rows < 0)[0]]
            what = ", ".join(f"{factor.name} = {factor.values[i] if 0 <= i < factor.size else f'number {i}'}"
                             for factor, i in zip(self.factors, missing, strict=True))
            raise InputError(f"{self.name} holds no observation of {what}: only combinations in the data can "
                             "be rendered.")
        return self.observation(self.table.first[rows])

    def pairs(self, n: int, generator: torch.Generator | None = None, *,
              k: int | str = "uniform") -> tuple[Tensor, Tensor]:
        """n pairs of *observed* states that differ in exactly k factors.

        On a complete grid this is `World.pairs`. On one with holes, the first of a pair is drawn among the
        observations that have a partner, and where it has none for its k, the nearest k for which it has one
        is taken (module `partners` states the law).

        Raises:
            InputError: fewer than two factors vary, k is out of range, or no two states share an attribute.
        """
        first, second = self._pair_indices(n, generator, k)
        return self._states_at(first), self._states_at(second)

    def paired_observations(self, n: int, generator: torch.Generator | None = None, *,
                            k: int | str = "uniform") -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `pairs`, with observations: a, b (n, C, H, W) and their states (n, M)."""
        first, second = self._pair_indices(n, generator, k)
        both = self.observation(np.concatenate([first, second]))
        return both[:n], both[n:], self._states_at(first), self._states_at(second)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All observations in order, streamed as (observations, states)."""
        for start in range(0, self.n, batch_size):
            indices = np.arange(start, min(start + batch_size, self.n))
            yield self.observation(indices), self._states_at(indices)

    def grid(self, start: int = 0, stop: int | None = None) -> Tensor:
        """States of observations start..stop in the order of the dataset."""
        return self._states_at(np.arange(self.n)[start:stop])

    def describe(self) -> str:
        """One paragraph: what this is, its factors, the holes in its grid, what was left out."""
        factors = ", ".join(f"{factor.name} ({factor.size})" for factor in self.factors) or "no factor labels"
        kind = "grey" if self.channels == 1 else "colour"
        text = (f"{self.name} ({self.source}): {self.n:,} observations, {kind} images of "
                f"{self.image_size}x{self.image_size}; {factors}.")
        if self.factors and not self.is_complete:
            text += f" They cover {len(self.table):,} of {math.prod(self.sizes):,} combinations."
        return " ".join([text, *(note[0].upper() + note[1:] for note in self.notes)])

    # --- drawing ---

    @functools.cached_property
    def _partners(self) -> Partners:
        return Partners(self.table)

    @functools.cached_property
    def _firsts(self) -> np.ndarray:
        """Observations that have a partner, or may have one where that is not known beforehand."""
        return np.flatnonzero(self._partners.has_partner()[self.table.of_observation])

    def _any(self, n: int, generator: torch.Generator | None) -> np.ndarray:
        return torch.randint(self.n, (n,), generator=generator).numpy()

    def _states_at(self, indices: np.ndarray) -> Tensor:
        return torch.from_numpy(self.labels[indices])

    def _pair_indices(self, n: int, generator: torch.Generator | None,
                      k: int | str) -> tuple[np.ndarray, np.ndarray]:
        """Observations a and b of n pairs."""
        counts = self._pair_counts(n, generator, k)
        if not self.supports_pairs:
            raise InputError(f"no two of the {len(self.table):,} states of {self.name!r} share an attribute "
                             "of one factor and differ in another: train a model without pairs (beta-tcvae).")
        table = self.table
        if self.is_complete:
            first = self._any(n, generator)
            partner = table.find(self._change(self._states_at(first), counts, generator).numpy())
            return first, table.observation(partner, generator)
        first, partner, counts = np.empty(n, np.int64), np.full(n, -1), counts.numpy()[:, 0]
        open_pairs = np.arange(n)
        for _ in range(REDRAWS):
            choice = torch.randint(len(self._firsts), (len(open_pairs),), generator=generator).numpy()
            first[open_pairs] = choice = self._firsts[choice]
            states = table.of_observation[choice]
            partner[open_pairs] = self._partners.draw(states, counts[open_pairs], generator)
            open_pairs = np.flatnonzero(partner < 0)
            if len(open_pairs) == 0:
                return first, table.observation(partner, generator)
        raise InputError(f"no partners were found for {len(open_pairs)} of {n} pairs in {self.name!r}: too "
                         "few of its states share attributes; train a model without pairs (beta-tcvae).")
