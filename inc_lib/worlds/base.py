"""b: W -> O. A world is a generative process: factors of variation, states, and what they look like."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError

PAIR_SAMPLERS = ("uniform", "half-one")


@dataclass(frozen=True)
class Factor:
    """A factor of variation F_i and its attributes F_ik.

    Args:
        name: as printed, e.g. "floor hue".
        values: the attributes in order; a state stores the *index* into this tuple.
        kind: "categorical" (shape), "ordered" (scale) or "cyclic" (hue).
    """

    name: str
    values: tuple[float | str, ...]
    kind: str = "categorical"

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError(f"factor {self.name!r} has no attributes: give it at least one value.")
        if self.kind not in ("categorical", "ordered", "cyclic"):
            raise InputError(
                f"factor {self.name!r} is of kind {self.kind!r}: "
                "expected 'categorical', 'ordered' or 'cyclic'."
            )

    @property
    def size(self) -> int:
        """Number of attributes."""
        return len(self.values)


class World:
    """A full grid of states with a renderer; subclasses give `render`.

    States are int64 tensors (n, M): column i holds the attribute's index in `factors[i].values`.
    Observations are float32 tensors (n, channels, image_size, image_size) in [0, 1].
    """

    name: str
    source: str  # "procedural twin" | "procedural" (ours, a twin of nothing) | "published" | "yours"
    factors: tuple[Factor, ...]
    nuisances: tuple[str, ...] = ()  # names of the last factors, that images vary in and nobody asks about
    channels: int
    image_size: int
    device: torch.device = torch.device("cpu")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of attributes of each factor."""
        return tuple(factor.size for factor in self.factors)

    @property
    def asked(self) -> tuple[Factor, ...]:
        """The factors without the nuisances: what an oracle reads."""
        return tuple(factor for factor in self.factors if factor.name not in self.nuisances)

    @property
    def n_states(self) -> int:
        """Number of states of the grid."""
        return math.prod(self.sizes)

    @property
    def supports_pairs(self) -> bool:
        """Whether `pairs` can be drawn: at least two factors that vary."""
        return sum(size > 1 for size in self.sizes) >= 2

    @property
    def gives_single_changes(self) -> bool:
        """Whether every state can be paired with one that differs in a single factor."""
        return self.supports_pairs

    def render(self, states: Tensor) -> Tensor:
        """Observations (n, channels, image_size, image_size) of states (n, M)."""
        raise TypeError(f"{type(self).__name__} must define render(states)")

    def states(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n states uniformly from the grid: int64 (n, M)."""
        return self._scaled_integers(torch.rand(n, len(self.factors), generator=generator))

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw n (observations, states)."""
        states = self.states(n, generator)
        return self.render(states), states

    def pairs(
        self, n: int, generator: torch.Generator | None = None, *, k: int | str = "uniform"
    ) -> tuple[Tensor, Tensor]:
        """Weak supervision: n pairs of states that differ in exactly k factors, drawn at random.

        Args:
            n: number of pairs.
            generator: source of randomness.
            k: "uniform" draws k per pair uniformly from 1..M-1, as Locatello et al. (2020) describe;
               "half-one" draws k = 1 for half of the pairs and uniformly for the others, close to what
               their released code does (stronger supervision, since one change at a time is easier to
               attribute); a number fixes it. Factors with a single attribute never count.

        Returns:
            Two int64 tensors (n, M). Unlike the released sampler, a factor chosen to change does change.

        Raises:
            InputError: fewer than two factors vary, or k is not one of the above.
        """
        counts = self._pair_counts(n, generator, k)
        first = self.states(n, generator)
        return first, self._change(first, counts, generator)

    def paired_observations(
        self,
        n: int,
        generator: torch.Generator | None = None,
        *,
        k: int | str = "uniform",
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `pairs`, rendered: observations a and b, states a and b."""
        first, second = self.pairs(n, generator, k=k)
        both = self.render(torch.cat([first, second]))
        return both[:n], both[n:], first, second

    @property
    def gives_compositions(self) -> bool:
        """Whether every state can be composed with every other: a grid without holes, with a factor that varies."""
        return max(self.sizes, default=1) > 1

    def compositions(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The composition task (Montero et al. 2022): n references, commands, targets, and the queried factors.

        The command differs from the reference in every factor that varies; the target is the reference with the
        queried factor taken from the command. Queries are uniform over the factors that vary.

        Returns:
            Three int64 tensors of states (n, M), and the factors int64 (n,).

        Raises:
            InputError: the grid has holes, or nothing varies.
        """
        if not self.gives_compositions:
            raise InputError(
                f"world {self.name!r} cannot give the composition task: it takes a grid of factors without holes, "
                "so that any factor of one state can be put into another; train ada-gvae or beta-tcvae instead."
            )
        varying = torch.tensor([i for i, size in enumerate(self.sizes) if size > 1])
        reference = self.states(n, generator)
        command = self._change(reference, torch.full((n, 1), len(varying)), generator)
        query = varying[torch.randint(len(varying), (n,), generator=generator)]
        target = reference.scatter(1, query[:, None], command.gather(1, query[:, None]))
        return reference, command, target, query

    def tells_apart(self, factor: int) -> bool:
        """Whether any two attributes of a factor (its column) give different images in every state."""
        return True

    def alike(self, factor: int, a: Tensor, b: Tensor, states: Tensor) -> Tensor:
        """Which attributes a and b (n,) of a factor cannot be told apart where all else is as in states (n, M): bool.

        Equal ones; in some worlds also others, such as the quarter turns of a square.
        """
        return a == b

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole grid in order, streamed as (observations, states)."""
        for start in range(0, self.n_states, batch_size):
            states = self.grid(start, min(start + batch_size, self.n_states))
            yield self.render(states), states

    def grid(self, start: int = 0, stop: int | None = None) -> Tensor:
        """States start..stop of the grid in order (last factor fastest): int64 (stop - start, M)."""
        index = torch.arange(start, self.n_states if stop is None else stop)
        return torch.stack(torch.unravel_index(index, self.sizes), dim=1)

    def describe(self) -> str:
        """One paragraph: what this world is, where it comes from, its factors."""
        factors = ", ".join(f"{factor.name} ({factor.size})" for factor in self.factors) or "no factor labels"
        kind = "grey" if self.channels == 1 else "colour"
        return (
            f"{self.name} ({self.source}): {self.n_states:,} states, {kind} images of "
            f"{self.image_size}x{self.image_size}; {factors}."
        )

    def _pair_counts(self, n: int, generator: torch.Generator | None, k: int | str) -> Tensor:
        """How many factors change, per pair (n, 1)."""
        varying = sum(size > 1 for size in self.sizes)
        if varying < 2:
            raise InputError(
                f"world {self.name!r} has {varying} varying factor(s): pairs need at least two; "
                "train a model without pairs (beta-tcvae) instead."
            )
        if k == "uniform" or k == "half-one":
            counts = torch.randint(1, varying, (n, 1), generator=generator)
            if k == "half-one":
                counts = torch.where(torch.rand(n, 1, generator=generator) < 0.5, 1, counts)
            return counts
        if isinstance(k, int) and not isinstance(k, bool) and 1 <= k < varying:
            return torch.full((n, 1), k)
        raise InputError(
            f"pairs that differ in k = {k!r} factors cannot be drawn from {self.name!r}: expected "
            f"one of {PAIR_SAMPLERS} or a whole number from 1 to {varying - 1}."
        )

    def _change(self, states: Tensor, counts: Tensor, generator: torch.Generator | None) -> Tensor:
        """Change `counts` random varying factors of each state to a different attribute."""
        sizes = torch.tensor(self.sizes)
        ranks = torch.rand(states.shape, generator=generator)
        ranks[:, sizes == 1] = 2.0  # never among the first: a constant factor cannot change
        changed = ranks.argsort(1).argsort(1) < counts
        shift = (torch.rand(states.shape, generator=generator) * (sizes - 1)).long() + 1
        return torch.where(changed, (states + shift) % sizes, states)

    def _scaled_integers(self, uniform: Tensor) -> Tensor:
        """Uniform numbers in [0, 1) to attribute indices, one column per factor."""
        return (uniform * torch.tensor(self.sizes)).long()
