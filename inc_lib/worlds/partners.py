"""Pairs for weak supervision from a grid with holes: partners are drawn only among states that exist.

The setting of Locatello et al. (2020) asks for two observations that differ in exactly k factors. On a full
grid any change of k factors gives a state that exists. On real data most do not, so for a state a and a
number k:

1. if no state differs from a in exactly k factors, k becomes the nearest number for which one does (of two as
   near, the smaller);
2. a set of k factors is drawn uniformly among the sets for which a has a partner;
3. the partner is drawn uniformly among the states that differ from a in exactly these factors.

With no holes this is the full grid's rule; each hole changes the law no further than it must.
"""
from __future__ import annotations

import itertools

import numpy as np
import torch

INDEX_LIMIT = 2 ** 23     # sets of factors x states up to which every set is indexed: 150 MB at most
ROUNDS = 8                # members of a group looked at together before the rest is searched one by one
TRIES = 32                # without the index: changes tried per pair before the pool is asked
POOL = 4096               # ... and states that the pool holds


class StateTable:
    """Distinct states and the way from a state to its row.

    Args:
        labels: int64 (n, M), one state per observation, in the order of the observations.
        sizes: number of attributes per factor; their product must be below 2 ** 62.
    """

    def __init__(self, labels: np.ndarray, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        self._strides = np.cumprod([1, *sizes[::-1]], dtype=np.int64)[:-1][::-1]
        self._ids, self.first, self.of_observation, self.counts = np.unique(
            labels @ self._strides, return_index=True, return_inverse=True, return_counts=True)
        self.states = labels[self.first]
        self._sorted = np.argsort(self.of_observation, kind="stable")   # observations, grouped by state
        self._starts = np.cumsum(self.counts) - self.counts

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, states: np.ndarray) -> np.ndarray:
        """Rows of states (..., M); -1 where the state does not exist."""
        ids = states @ self._strides
        rows = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[rows] == ids, rows, -1)

    def observation(self, rows: np.ndarray, generator: torch.Generator | None) -> np.ndarray:
        """One random observation of each state."""
        offset = (_uniform(generator, len(rows)) * self.counts[rows]).astype(np.int64)
        return self._sorted[self._starts[rows] + offset]


class Partners:
    """Draws partners among the states of a table. Build once, draw many times.

    Where the number of sets of factors times the number of states is at most `INDEX_LIMIT`, every set is
    indexed and the law above holds exactly. Above it (millions of states, or dozens of factors) `TRIES`
    changes are drawn and looked up for each pair; where none exists, the partner is the state nearest to k
    differences among `POOL` random ones: a close approximation on dense grids, a coarse one on sparse ones.
    """

    def __init__(self, table: StateTable) -> None:
        self.table = table
        self.varying = np.flatnonzero(np.array(table.sizes) > 1)
        self.exact = 2.0 ** len(self.varying) * len(table) <= INDEX_LIMIT
        self._states = np.ascontiguousarray(table.states[:, self.varying])
        self._sizes = np.array(table.sizes)[self.varying]
        if self.exact:
            self._index()

    def has_partner(self) -> np.ndarray:
        """Which states have a partner; all of them, where that is not known beforehand."""
        return self._possible.any(1) if self.exact else np.ones(len(self.table), bool)

    def always_singly(self) -> bool:
        """Whether each state with a partner has one that differs in a single factor; False where that is not known."""
        return self.exact and bool(self._possible[self.has_partner(), 0].all())

    def draw(self, rows: np.ndarray, k: np.ndarray, generator: torch.Generator | None) -> np.ndarray:
        """A partner for each state.

        Args:
            rows: states, as rows of the table: (n,).
            k: wanted number of differing factors, 1 .. number of varying factors - 1: (n,).

        Returns:
            Rows of the partners (n,); -1 where a state has none (or none was found, without the index).
        """
        return self._draw_exact(rows, k, generator) if self.exact else self._draw_tried(rows, k, generator)

    # --- with the index ---

    def _index(self) -> None:
        """Group the states by the factors they keep, for every set of changing factors."""
        m, n = len(self.varying), len(self._states)
        every = range(1, m)
        self._sets = np.array([[i in chosen for i in range(m)] for k in every
                               for chosen in itertools.combinations(range(m), k)], bool).reshape(-1, m)
        self._order = np.empty((len(self._sets), n), np.int32)
        self._start = np.empty((len(self._sets), n), np.int32)
        self._count = np.empty((len(self._sets), n), np.int32)
        powers = 1 << np.arange(m)
        kept_code = (~self._sets) @ powers
        exact = np.zeros((2 ** m, n), np.int32)     # by the set of *kept* factors, as a bit mask
        exact[-1] = 1                               # all kept: only the state itself
        for row, changed in enumerate(self._sets):
            key = self._states[:, ~changed] @ np.cumprod([1, *self._sizes[~changed][:-1]], dtype=np.int64)
            self._order[row] = order = np.argsort(key, kind="stable")
            starts = np.flatnonzero(np.diff(key[order], prepend=-1))
            counts = np.diff(starts, append=n)
            self._start[row, order] = np.repeat(starts, counts)
            self._count[row, order] = np.repeat(counts, counts)
            exact[kept_code[row]] = self._count[row]
        for bit in powers:                                # Moebius: from "keeps at least" to "keeps exactly"
            without = np.flatnonzero((np.arange(2 ** m) & bit) == 0)
            exact[without] -= exact[without | bit]
        self._feasible = exact[kept_code] > 0                       # (sets, states)
        self._changes = self._sets.sum(1)
        self._possible = np.stack([self._feasible[self._changes == k].any(0) for k in every], 1)

    def _draw_exact(self, rows: np.ndarray, k: np.ndarray, generator: torch.Generator | None) -> np.ndarray:
        numbers = np.arange(1, len(self.varying))
        distance = np.abs(numbers - k[:, None]) * 2 + (numbers > k[:, None])     # the smaller of two as near
        nearest = numbers[np.where(self._possible[rows], distance, np.iinfo(np.int64).max).argmin(1)]
        usable = self._feasible[:, rows] & (self._changes[:, None] == nearest)
        chosen = np.where(usable, _uniform(generator, *usable.shape), -1.0).argmax(0)
        has_any = usable.any(0)

        start, count = self._start[chosen, rows], self._count[chosen, rows]
        offsets = (_uniform(generator, len(rows), ROUNDS) * count[:, None]).astype(np.int64)
        members = self._order[chosen[:, None], start[:, None] + offsets]
        differs = self._states[members] != self._states[rows][:, None]
        right = (differs == self._sets[chosen][:, None]).all(2)
        partner = members[np.arange(len(rows)), right.argmax(1)].astype(np.int64)
        for i in np.flatnonzero(has_any & ~right.any(1)):       # rare: look at the whole group
            group = self._order[chosen[i], start[i]:start[i] + count[i]]
            same = ((self._states[group] != self._states[rows[i]]) == self._sets[chosen[i]]).all(1)
            candidates = group[same]
            partner[i] = candidates[int(_uniform(generator, 1)[0] * len(candidates))]
        return np.where(has_any, partner, -1)

    # --- without it ---

    def _draw_tried(self, rows: np.ndarray, k: np.ndarray, generator: torch.Generator | None) -> np.ndarray:
        n, m = len(rows), len(self.varying)
        own = self._states[rows][:, None]
        ranks = _uniform(generator, n, TRIES, m).argsort(2).argsort(2)
        shift = 1 + (_uniform(generator, n, TRIES, m) * (self._sizes - 1)).astype(np.int64)
        tried = np.where(ranks < k[:, None, None], (own + shift) % self._sizes, own)
        full = np.repeat(self.table.states[rows][:, None], TRIES, 1)
        full[:, :, self.varying] = tried
        found = self.table.find(full)
        partner = found[np.arange(n), (found >= 0).argmax(1)]
        left = np.flatnonzero(partner < 0)
        if len(left):
            size = len(self.table)
            pool = np.arange(size) if size <= POOL else (_uniform(generator, POOL) * size).astype(np.int64)
            differences = np.stack([(self._states[pool] != self._states[row]).sum(1) for row in rows[left]])
            wanted = k[left][:, None]
            distance = np.abs(differences - wanted) * 2.0 + (differences > wanted)
            distance += _uniform(generator, *distance.shape) * 0.5      # a random one among the nearest
            distance[(differences == 0) | (differences == m)] = np.inf
            best = distance.argmin(1)
            partner[left] = np.where(np.isfinite(distance[np.arange(len(left)), best]), pool[best], -1)
        return partner


def _uniform(generator: torch.Generator | None, *shape: int) -> np.ndarray:
    """Uniform numbers in [0, 1), double precision, from torch's generator."""
    return torch.rand(shape, generator=generator, dtype=torch.float64).numpy()
