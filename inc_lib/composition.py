"""Combinatorial generalisation: train on some combinations of attributes, ask for the others.

    python -m inc_lib.composition --world simple-shapes --seen "000 001 010 100" --steps 3000 --seed 0 --release

trains the generator of chapter 10. Factors are given (h* reads them), so what is learned is G alone: a diffusion
model that is told the factors' values. A class is one combination, written as its attributes' numbers, 011.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from . import denoising, training, worlds
from .actions import ActionSet, Partitioning, find_actions
from .errors import InputError, suggest
from .files import ROOT, atomic_write
from .models.diffusion import Diffusion
from .models.diffusion import load as load_diffusion
from .worlds import Factor, World
from .worlds.arrays import ArrayWorld

if TYPE_CHECKING:
    from .chapter import Chapter
    from .oracle import Oracle

TELLINGS = ("values", "indicators")
SAMPLER_STEPS = 10  # of DDIM, wherever classes are scored
MAIN = "000 001 010 100"  # Okawa et al. (2023): one change at a time from 000
STEPS, BATCH_SIZE = 3_000, 32  # of a released training
RECORDED = ROOT / "results" / "benchmarks" / "combinations.json"
MARKS = 14  # moments of a training at which every class is scored


# --- which combinations are trained on ---


@dataclass(frozen=True, eq=False)
class Split:
    """A world whose combinations of attributes are divided into those trained on and those held out.

    Attributes:
        world: what is drawn.
        seen: bool, one axis for each factor that is asked about: the combinations trained on.
        told: what the generator is told of a state, see `conditions`.
    """

    world: World
    seen: Tensor
    told: str = "values"

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The factors that are asked about: all but nuisances."""
        return self.world.asked

    @property
    def classes(self) -> Tensor:
        """Every combination: int64 (n, M), the last factor fastest."""
        return torch.cartesian_prod(*(torch.arange(size) for size in self.seen.shape))

    @property
    def is_seen(self) -> Tensor:
        """Which of `classes` are trained on: bool (n,)."""
        return self.seen.flatten()

    @property
    def names(self) -> tuple[str, ...]:
        """Every class as printed."""
        return tuple(class_name(row, self.seen.shape) for row in self.classes.tolist())

    @property
    def changes(self) -> Tensor:
        """How many attributes of each class differ from the *nearest* class that is trained on: int64 (n,)."""
        classes = self.classes
        return (classes[:, None] != classes[self.is_seen][None]).sum(2).amin(1)

    def conditions(self, states: Tensor, *, exact: bool = True) -> Tensor:
        """What the generator is told of states (n, M or more): float32 (n, C). The encoder h* of the given factors.

        `told="values"`: what the world's own `conditions` gives, where it has such (numbers for colour and size), else
        indicators; "indicators": one number for each attribute of each factor, 1 where the state has it.

        Args:
            exact: with "values", also what is particular to this image (its tint); False: the class's own values.
        """
        if self.told == "values" and hasattr(self.world, "conditions"):
            return self.world.conditions(states, exact=exact)
        return torch.cat(
            [F.one_hot(states[:, i], size).float() for i, size in enumerate(self.seen.shape)], dim=1
        )

    @property
    def groups(self) -> tuple[int, ...]:
        """How many of the numbers of a condition tell each factor."""
        if self.told == "values" and hasattr(self.world, "conditions"):
            return self.world.condition_sizes
        return tuple(self.seen.shape)

    def prototypes(self) -> Tensor:
        """What is told to ask for each class: float32 (n, C)."""
        classes = self.classes
        rest = torch.zeros(len(classes), len(self.world.factors) - classes.shape[1], dtype=torch.int64)
        return self.conditions(torch.cat([classes, rest], dim=1), exact=False)

    def states(self, n: int, generator: torch.Generator, *, seen: bool = True) -> Tensor:
        """n states of classes that are trained on, or of all classes, each class equally often; of a grid."""
        pool = self.classes[self.is_seen] if seen else self.classes
        states = self.world.states(n, generator)
        states[:, : pool.shape[1]] = pool[torch.randint(len(pool), (n,), generator=generator)]
        return states

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A training batch: images (n, channels, H, W) in [0, 1], and what is told of them (n, C)."""
        if isinstance(self.world, ArrayWorld):
            rows = self._rows()
            rows = rows[torch.randint(len(rows), (n,), generator=generator)]
            return self.world.observation(rows), self.conditions(
                torch.from_numpy(self.world.labels[rows.numpy()])
            )
        states = self.states(n, generator)
        return self.world.render(states), self.conditions(states)

    def examples(self, k: int, n: int, generator: torch.Generator) -> Tensor | None:
        """n true images of class k, trained on or not: (n, channels, H, W); None where a dataset has none."""
        if isinstance(self.world, ArrayWorld):
            rows = (torch.from_numpy(self.world.labels) == self.classes[k]).all(1).nonzero()[:, 0]
            chosen = torch.randint(max(len(rows), 1), (n,), generator=generator)
            return self.world.observation(rows[chosen]) if len(rows) else None
        states = self.world.states(n, generator)
        states[:, : self.seen.ndim] = self.classes[k]
        return self.world.render(states)

    def _rows(self) -> Tensor:
        """Rows of a dataset whose class is trained on."""
        return self.seen[tuple(torch.from_numpy(self.world.labels).unbind(1))].nonzero()[:, 0]

    def partitioning(self) -> Partitioning:
        """Each told dimension cut halfway between the values that classes have in it.

        Chapters on learned codes cut at minima of their density. Here the values are given with the factors; a density
        would have to find again what is known, and in a training set where one attribute is rare it does not always.
        """
        values = [column.unique().numpy() for column in self.prototypes().unbind(1)]
        edges = tuple(((v[1:] + v[:-1]) / 2).astype(np.float32) for v in values)
        nothing = np.array([])
        return Partitioning(
            edges, ((nothing, nothing),) * len(edges), (float("nan"),) * len(edges), (False,) * len(edges)
        )

    def actions(self, n: int, generator: torch.Generator) -> tuple[ActionSet, Tensor]:
        """Atomic actions found on the given codes of n training images; and these codes (n, C).

        Which dimensions are a factor's is given with the factors, see `groups`, and so are the partitions.
        """
        if isinstance(self.world, ArrayWorld):
            rows = self._rows()
            rows = rows[torch.randint(len(rows), (n,), generator=generator)]
            states = torch.from_numpy(self.world.labels[rows.numpy()])
        else:
            states = self.states(n, generator)
        m = len(self.factors)
        codes = self.conditions(states)
        ends = list(itertools.accumulate(self.groups))
        parts = [range(end - size, end) for end, size in zip(ends, self.groups, strict=True)]
        found = find_actions(
            states[:, :m],
            codes,
            self.partitioning(),
            self.factors,
            distribution="empirical",
            dimensions=[list(part) for part in parts],
        )
        return found, codes


def class_name(attributes: Sequence[int], sizes: Sequence[int]) -> str:
    """011; or 10-3-1 where a factor has more than ten attributes."""
    return ("" if max(sizes) <= 10 else "-").join(map(str, attributes))


def split(world: World, seen: str | Path | Tensor = "one change", *, told: str = "values") -> Split:
    """Divide a world's combinations.

    Args:
        seen: the combinations trained on: "one change" (the first attribute of every factor, and what differs from it
            in one factor: the published four of eight), "all", classes by name ("000 001 010 100"), the path of a .npy
            file that holds a mask, or a mask: bool, one axis a factor.
        told: "values" or "indicators", see `Split.conditions`.

    Raises:
        InputError: fewer than two factors, a mask of another shape or type, a class that does not exist, an attribute
            that no class trained on has, or a dataset that holds no image of a class to be trained on.
    """
    factors = world.asked
    sizes = tuple(factor.size for factor in factors)
    if sum(size > 1 for size in sizes) < 2:
        raise InputError(
            f"{world.name} has {len(sizes)} factor(s), of {', '.join(map(str, sizes)) or 'no'} values: nothing can be "
            "combined; expected at least two factors with at least two values each."
        )
    if told not in TELLINGS:
        raise suggest("telling", told, TELLINGS)
    mask = _mask(seen, sizes) if isinstance(seen, str | Path) else torch.as_tensor(seen)
    if mask.dtype != torch.bool or tuple(mask.shape) != sizes:
        raise InputError(
            f"a mask of shape {tuple(mask.shape)} and type {str(mask.dtype).split('.')[-1]} does not fit the factors "
            f"of {world.name}: expected booleans of shape {sizes}, one axis for each of "
            f"{', '.join(factor.name for factor in factors)}; True is trained on."
        )
    for axis, factor in enumerate(factors):
        held = mask.movedim(axis, 0).flatten(1).any(1)
        if not held.all():
            raise InputError(
                f"no combination that is trained on has {factor.name} = {factor.values[int((~held).nonzero()[0])]}: "
                "a value that is never seen cannot be learned; train on at least one combination that has it."
            )
    found = Split(world, mask, told)
    if isinstance(world, ArrayWorld):
        counts = torch.zeros(sizes, dtype=torch.int64)
        counts.index_put_(tuple(torch.from_numpy(world.labels).unbind(1)), torch.tensor(1), accumulate=True)
        if (empty := (mask & (counts == 0)).flatten()).any():
            raise InputError(
                f"{world.name} holds no image of class {found.names[int(empty.nonzero()[0])]}, which is to be trained "
                "on: bring images of it, or leave the class out."
            )
    return found


def _mask(text: str | Path, sizes: tuple[int, ...]) -> Tensor:
    """A mask from what a reader may write."""
    classes = torch.cartesian_prod(*(torch.arange(size) for size in sizes))
    if str(text) == "all":
        return torch.ones(sizes, dtype=torch.bool)
    if str(text) == "one change":
        return ((classes != 0).sum(1) <= 1).reshape(sizes)
    if Path(text).suffix == ".npy":
        try:
            return torch.from_numpy(np.load(text, allow_pickle=False))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{text} cannot be read as a mask ({error}): expected a .npy file of booleans."
            ) from error
    names = [class_name(row, sizes) for row in classes.tolist()]
    wanted = str(text).replace(",", " ").split()
    for name in wanted:
        if name not in names:
            raise InputError(
                f"class {name!r} does not exist: expected 'one change', 'all', a .npy file, or classes from {names[0]} "
                f"to {names[-1]}, one number a factor."
            )
    return torch.tensor([name in wanted for name in names]).reshape(sizes)


# --- training ---


def train(
    task: Split,
    *,
    steps: int,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str = "auto",
    on_step: Callable[[int, Diffusion], None] | None = None,
    every: int = 0,
    **settings,
) -> Diffusion:
    """Train the generator of a split: see `denoising.train`, which takes the other settings."""
    world = task.world
    options = {
        "channels": world.channels,
        "image_size": world.image_size,
        "n_conditions": task.prototypes().shape[1],
        "patch": 2 if world.image_size <= 32 else 4,
        "groups": task.groups,
        "scale_shift": True,
    } | settings.pop("options", {})
    seen = [name for name, kept in zip(task.names, task.is_seen.tolist(), strict=True) if kept]
    return denoising.train(
        task.draw,
        world=world.name,
        options=options,
        steps=steps,
        seed=seed,
        folder=folder,
        device=device,
        about={"source": world.source, "told": task.told, "seen": seen},
        on_step=on_step,
        every=every,
        **{"batch_size": BATCH_SIZE} | settings,
    )


def release_path(world: World, seed: int) -> Path:
    """Where the released generator of a world lies (whether or not it exists): trained on "one change"."""
    return training.release_path(world.name, world.image_size, Diffusion.name, seed)


def load_or_train(c: Chapter, task: Split, *, seed: int | None = None, steps: int | None = None) -> Diffusion:
    """The released generator of a chapter's split, or one trained for `steps` (default `train_steps`) and kept.

    Raises:
        InputError: the checkpoint that the parameters name was trained on other data or combinations.
    """
    seed = c.seed if seed is None else seed
    own, named = seed == c.seed, c.checkpoint not in ("auto", "train")
    path = Path(c.checkpoint).expanduser() if named and own else release_path(task.world, seed)
    model = None
    if (named and own) or (c.checkpoint == "auto" and path.is_file()):
        model = load_diffusion(path)
        seen = [name for name, kept in zip(task.names, task.is_seen.tolist(), strict=True) if kept]
        expected = {"world": task.world.name, "source": task.world.source, "told": task.told, "seen": seen}
        differing = [key for key, value in expected.items() if model.provenance.get(key) != value]
        if differing and named:
            raise InputError(
                f"checkpoint {path.name} was trained with {differing[0]} = {model.provenance.get(differing[0])!r}, but "
                f"the chapter runs with {expected[differing[0]]!r}: give checkpoint='auto'."
            )
        model = None if differing else model
    if model is None:
        steps, path = steps or c.train_steps, None
        stem = f"{task.world.name}_{task.world.image_size}_{Diffusion.name}_s{seed}_{steps}"
        settings = {"seen": task.seen.int().flatten().tolist(), "told": task.told}
        n_seen = int(task.is_seen.sum())
        told = f"a generator learns {n_seen} classes of {task.world.name}: {steps:,} steps, seed {seed}"
        with c.progress(told), c._folder(stem, settings) as folder:
            model = train(task, steps=steps, seed=seed, folder=folder, device=c.device)
    if own:
        c.adopt(model, path, released=path is not None and not named)
    return model.to(c.device)


# --- scores ---


@dataclass(frozen=True, eq=False)
class Scores:
    """What an oracle reads of images that were asked for.

    Attributes:
        right: bool (classes, n, M): whether factor m of image i of a class is read as asked.
        names: of the classes.
    """

    right: Tensor
    names: tuple[str, ...]

    @property
    def accuracy(self) -> Tensor:
        """Share of images with every factor right: (classes,)."""
        return self.right.all(2).float().mean(1)

    @property
    def by_factor(self) -> Tensor:
        """Share of images with this factor right: (classes, M)."""
        return self.right.float().mean(1)

    @property
    def product(self) -> Tensor:
        """What `accuracy` would be if factors failed independently of one another: (classes,)."""
        return self.by_factor.prod(1)


def score(images: Tensor, classes: Tensor, names: Sequence[str], oracle: Oracle) -> Scores:
    """Read images, n in a row for each class.

    Args:
        images: (classes * n, channels, H, W).
        classes: int64 (classes, M), what was asked for.
    """
    read = oracle.predict(images)[:, : classes.shape[1]].view(len(classes), -1, classes.shape[1])
    return Scores(read == classes[:, None], tuple(names))


def ask(
    model: Diffusion,
    task: Split,
    n: int,
    generator: torch.Generator,
    *,
    steps: int = SAMPLER_STEPS,
    weights: float = 1.0,
    contrast: float = 0.0,
) -> Tensor:
    """n images of every class, in the order of `task.classes`: (classes * n, channels, H, W).

    Args:
        weights: above 1, guidance: what is told is exaggerated against being told nothing.
        contrast: above 0, what is told is exaggerated factor by factor, against the same class with another attribute:
            p(c) + contrast * sum over factors of (p(c) - mean of p(c with another attribute)). Ours; `weights` are
            then not used.
    """
    told = task.prototypes()
    if contrast:
        place = {tuple(row): k for k, row in enumerate(task.classes.tolist())}
        others = torch.tensor(
            [
                [
                    place[(*row[:m], other, *row[m + 1 :])]
                    for m, size in enumerate(task.seen.shape)
                    for other in range(size)
                    if other != row[m]
                ]
                for row in task.classes.tolist()
            ]
        )
        shares = torch.tensor([-contrast / (size - 1) for size in task.seen.shape for _ in range(size - 1)])
        own = torch.tensor([1 - float(shares.sum())])
        told = torch.cat([told[:, None], told[others]], dim=1)
        weights = torch.cat([own, shares]).expand(len(told) * n, -1)
    return model.sample(told.repeat_interleave(n, 0), steps=steps, generator=generator, weights=weights)


def ceiling(task: Split, n: int, generator: torch.Generator, oracle: Oracle) -> Scores:
    """The oracle on n true images of every class that has any: no generator can be expected to score higher."""
    has = [k for k in range(len(task.names)) if task.examples(k, 1, generator) is not None]
    images = torch.cat([task.examples(k, n, generator) for k in has])
    return score(images, task.classes[has], [task.names[k] for k in has], oracle)


def asked_attributes(actions: ActionSet, codes: Tensor) -> Tensor:
    """Which attribute of each factor is present in codes (n, d): int64 (n, M), -1 where none is."""
    found = torch.full((len(codes), len(actions.factors)), -1)
    for action in actions.actions:
        found[action.present(codes), action.factor] = action.attribute
    return found


def marks(steps: int, n: int = MARKS, first: int = 50, every: int = 25) -> list[int]:
    """Moments of a training, evenly spaced in their logarithm, rounded to multiples of `every`; the last is `steps`."""
    if steps <= first:
        return [steps]
    spaced = np.geomspace(first, steps, n)
    return sorted({*(int(round(mark / every)) * every for mark in spaced[:-1]), steps})


def emergence(steps: Sequence[int], accuracy: Sequence[float], level: float = 0.5) -> float:
    """The moment from which a curve stays at or above `level`: steps, NaN if it ends below.

    A class that is above the level early and falls again (the blobs of an untrained network are read as something)
    has not emerged by that. Interpolated in the logarithm of the steps; a running mean of three smooths what few
    images make uncertain.
    """
    values = np.asarray(accuracy, dtype=float)
    padded = np.pad(values, 1, mode="edge")
    smooth = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    below = np.flatnonzero(smooth < level)
    if not len(below):
        return float(steps[0])
    k = int(below[-1]) + 1
    if k == len(smooth):
        return float("nan")
    share = (level - smooth[k - 1]) / (smooth[k] - smooth[k - 1])
    return float(np.exp(np.log(steps[k - 1]) + share * (np.log(steps[k]) - np.log(steps[k - 1]))))


# --- what benchmarks/combinations.py has recorded ---


@dataclass(frozen=True, eq=False)
class Curve:
    """One training of the sweep.

    Attributes:
        run, seed: which.
        steps: (T,), where the classes were scored.
        names, seen, changes: of the classes; `changes` as in `Split`.
        n: images of each class at each moment.
        accuracy: (T, classes). by_factor: (T, classes, M).
        seconds: of the training, scoring included.
    """

    run: str
    seed: int
    steps: np.ndarray
    names: tuple[str, ...]
    seen: np.ndarray
    changes: np.ndarray
    n: int
    accuracy: np.ndarray
    by_factor: np.ndarray
    seconds: float = float("nan")

    @property
    def product(self) -> np.ndarray:
        """What the accuracy would be if factors failed independently: (T, classes)."""
        return self.by_factor.prod(2)


def _sharing(names: Sequence[str], seen: np.ndarray) -> list[list[np.ndarray]]:
    """For each class and each factor the classes trained on that have the same attribute: indices."""
    attributes = np.array(
        [[int(part) for part in (name.split("-") if "-" in name else name)] for name in names]
    )
    return [
        [np.flatnonzero(seen & (attributes[:, m] == own[m])) for m in range(len(own))] for own in attributes
    ]


def parents_product(curve: Curve) -> np.ndarray:
    """What each class would reach if its factors were worth what they are in the classes trained on: (T, classes).

    For each factor the accuracy of *that factor* in the trained-on classes that share the class's attribute, averaged;
    and the product of these over factors. The accuracy of a class whose parts are known as well as in its parents,
    and combine at no cost.
    """
    result = np.ones_like(curve.accuracy)
    for c, parents in enumerate(_sharing(curve.names, curve.seen)):
        for m, sharing in enumerate(parents):
            result[:, c] *= curve.by_factor[:, sharing, m].mean(1)
    return result


def parents_moment(curve: Curve, level: float = 0.5) -> np.ndarray:
    """When everything is there that each class is made of: (classes,) steps, see `emergence`.

    For each factor the first trained-on class with the class's attribute to emerge; of these the last. NaN where one
    has not emerged.
    """
    own = np.array([emergence(curve.steps, column, level) for column in curve.accuracy.T])
    late = np.where(np.isnan(own), np.inf, own)
    found = np.array(
        [max(late[sharing].min() for sharing in parents) for parents in _sharing(curve.names, curve.seen)]
    )
    return np.where(np.isinf(found), np.nan, found)


def recorded(path: str | Path | None = None) -> dict[str, list[Curve]]:
    """The trainings that `benchmarks/combinations.py` recorded, by the run's name; only those that are finished."""
    path = Path(path or RECORDED)
    if not path.is_file():
        raise InputError(f"{path} does not exist: make it with python benchmarks/combinations.py.")
    found: dict[str, list[Curve]] = {}
    for run in json.loads(path.read_text())["runs"]:
        if not run["finished"]:
            continue
        right = np.array([moment["right"] for moment in run["moments"]]) / run["n"]
        by_factor = np.array([moment["by_factor"] for moment in run["moments"]]) / run["n"]
        found.setdefault(run["run"], []).append(
            Curve(
                run["run"],
                run["seed"],
                np.array([moment["step"] for moment in run["moments"]]),
                tuple(run["names"]),
                np.array(run["seen"]),
                np.array(run["changes"]),
                run["n"],
                right,
                by_factor,
                run["seconds"],
            )
        )
    return found


def write_pictures(path: str | Path, pictures: dict[int, Tensor]) -> None:
    """Keep what a training drew, of the same noise each time: step -> (classes, k, channels, H, W); a row a step."""
    from PIL import Image

    rows = torch.stack([pictures[step].flatten(0, 1) for step in sorted(pictures)])
    sheet = (rows.permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2) * 255).round().byte().numpy()
    with atomic_write(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


def read_pictures(path: str | Path, steps: Sequence[int], task: Split, k: int) -> dict[int, Tensor]:
    """What `write_pictures` kept, of the first of these steps; nothing where there is no such file."""
    from PIL import Image

    if not Path(path).is_file():
        return {}
    size = task.world.image_size
    sheet = torch.from_numpy(np.asarray(Image.open(path)).copy()).float() / 255
    rows = sheet.unflatten(0, (-1, size)).unflatten(2, (-1, size)).permute(0, 2, 4, 1, 3)
    return {step: row.unflatten(0, (-1, k)) for step, row in zip(steps, rows, strict=False)}


# --- command line ---


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m inc_lib.composition",
        description="Train a generator on some combinations of attributes.",
    )
    parser.add_argument(
        "--world", default="simple-shapes", help="a world by name, or a path to your own data"
    )
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument(
        "--seen", default="one change", help="classes, 'one change', 'all', or a mask as .npy"
    )
    parser.add_argument("--told", default="values", choices=TELLINGS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="where the run is kept (default: runs/models/NAME)")
    parser.add_argument("--release", action="store_true", help="write the result to checkpoints/ (fp16)")
    given = parser.parse_args(arguments)

    def work() -> None:
        world = worlds.load(given.world, image_size=given.image_size)
        task = split(world, given.seen, told=given.told)
        target = release_path(world, given.seed)
        folder = given.folder or ROOT / "runs" / "models" / target.stem
        model = train(task, steps=given.steps, seed=given.seed, folder=folder, device=given.device)
        training.keep(model, target, folder, released=given.release)

    return training.command(work)


if __name__ == "__main__":
    sys.exit(main())
