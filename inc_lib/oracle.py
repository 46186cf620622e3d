"""The oracle: a small CNN that reads a world's factors from an image, and the macro-F1 of what it reads.

    python -m inc_lib.oracle train --world shapes3d-twin --image-size 64 --steps 2000 --release
    python -m inc_lib.oracle test --world shapes3d-twin --image-size 64

trains one (minutes on one core), and measures one on observations that it has not seen. The oracle judges
*generated* images: "act so that the wall is red" succeeded where the oracle reads a red wall. It learns from
observations of the world alone, never from what a model generated.

Held out: a tenth of the grid (by a hash of the state), or of the observations where the world is a dataset.
The oracle never sees them in training; what `test` and the checkpoint's JSON report is measured on them only.

Blur and noise: a VAE's images are softer than the world's. An oracle that has seen only crisp edges would
call a blurred cube a capsule, and one could not tell whether the generator or the judge had failed. So three
quarters of the training images are blurred a little (up to a Gaussian of 2 pixels at 64x64, 1 at 32x32) and
all carry a little noise (up to 0.05); both leave every factor as it is. `benchmarks/oracle_trunk.py` measures
what this changes.
"""
from __future__ import annotations

import argparse
import functools
import itertools
import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from . import models, worlds
from .errors import InputError, suggest
from .files import ROOT, checkpoints_folder
from .models.checkpoints import as_float32
from .models.networks import check_shape
from .training import Run, command, keep_freed_memory, pick_device
from .worlds import World
from .worlds.arrays import ArrayWorld

# of the 4x4, stride-2 convolutions, by the size of the images; all end at maps of 3x3 or 4x4
WIDTHS = {64: (16, 32, 64, 128), 32: (32, 64, 128), 28: (32, 64, 128)}
HIDDEN = 256
BATCH = 1024            # observations read at a time, which bounds memory
HELD_OUT = 0.1          # share of the grid, or of the observations
BLUR = 2.0 / 64         # widest Gaussian of the augmentation, in widths of the image
NOISE = 0.05            # strongest noise of the augmentation
LEARNING_RATE = 1e-3


class Oracle(nn.Module):
    """Observations -> logits of every factor's attributes.

    Args:
        channels: 1 or 3.
        image_size: 28, 32 or 64.
        factors: names of the factors that it reads, the world's first ones: its nuisances come last.
        sizes: number of attributes of each.
        world: name of the world it can read.
        per_factor: a network of its own for each factor, as in the paper; otherwise one trunk with a head for
            each.
        augment: blur and noise in training, see the module's text.
    """

    name = "oracle"

    def __init__(self, *, channels: int, image_size: int, factors: Sequence[str], sizes: Sequence[int],
                 world: str, per_factor: bool = False, augment: bool = True) -> None:
        super().__init__()
        if image_size not in WIDTHS or channels not in (1, 3):
            check_shape(channels, image_size)  # says what models of every kind can take
        self.config = {"channels": channels, "image_size": image_size, "factors": list(factors),
                       "sizes": list(sizes), "world": world, "per_factor": per_factor, "augment": augment}
        self.factors, self.sizes, self.world = tuple(factors), tuple(sizes), world
        self.provenance: dict = {}
        self.held_out: dict[str, dict[str, float]] = {}
        self.augment = augment
        self.trunks = nn.ModuleList(_trunk(channels, image_size) for _ in (sizes if per_factor else [0]))
        self.heads = nn.ModuleList(nn.Linear(HIDDEN, size) for size in sizes)

    def forward(self, observations: Tensor) -> list[Tensor]:
        """Logits (n, size) of each factor; observations (n, channels, image_size, image_size) in [0, 1]."""
        features = [trunk(observations) for trunk in self.trunks]
        return [head(features[i if len(features) > 1 else 0]) for i, head in enumerate(self.heads)]

    def loss(self, batch: tuple[Tensor, Tensor],
             generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean cross-entropy over factors in nats, and what to print; `batch` is (observations, states)."""
        observations, states = batch
        if self.augment:
            observations = soften(observations, generator)
        logits = self(observations)
        losses = [F.cross_entropy(found.float(), states[:, i]) for i, found in enumerate(logits)]
        right = [(found.argmax(1) == states[:, i]).float().mean() for i, found in enumerate(logits)]
        loss = torch.stack(losses).mean()
        return loss, {"loss x 100": 100 * loss.detach(), "accuracy in %": 100 * torch.stack(right).mean()}

    @torch.no_grad()
    def predict(self, observations: Tensor) -> Tensor:
        """The attribute read for each factor: int64 (n, M), on the CPU.

        Raises:
            InputError: observations of another shape than the oracle was trained on.
        """
        expected = (self.config["channels"], self.config["image_size"], self.config["image_size"])
        if tuple(observations.shape[1:]) != expected:
            raise InputError(f"observations have shape {tuple(observations.shape)}: this oracle reads (n, "
                             f"{', '.join(map(str, expected))}); give the world and the oracle the same "
                             "image_size.")
        device, training = self.heads[0].weight.device, self.training
        self.eval()
        found = [torch.stack([logits.argmax(1) for logits in self(_on(part, device))], dim=1).cpu()
                 for part in observations.split(BATCH)]
        self.train(training)
        return torch.cat(found) if len(observations) else torch.empty(0, len(self.sizes), dtype=torch.int64)

    def factor_index(self, factor: int | str) -> int:
        """The column of a factor given by name or number."""
        if isinstance(factor, str):
            if factor not in self.factors:
                raise suggest("factor", factor, self.factors)
            return self.factors.index(factor)
        if not 0 <= factor < len(self.factors):
            raise InputError(f"factor {factor} does not exist: this oracle reads {len(self.factors)} "
                             f"factors, {', '.join(self.factors)}, counted from 0.")
        return int(factor)


def _on(observations: Tensor, device: torch.device) -> Tensor:
    """There, and channels last: the layout in which convolutions are fastest."""
    return observations.to(device, torch.float32).contiguous(memory_format=torch.channels_last)


def _trunk(channels: int, image_size: int) -> nn.Sequential:
    """Observations -> (n, HIDDEN). Strides, not pooling: cheap, and the place of an edge survives."""
    widths = (channels, *WIDTHS[image_size])
    side = image_size // 2 ** (len(widths) - 1)
    layers = [layer for before, after in itertools.pairwise(widths)
              for layer in (nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False),
                            nn.BatchNorm2d(after), nn.ReLU(inplace=True))]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, HIDDEN), nn.ReLU(inplace=True))


def soften(observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Blur and noise that leave the factors as they are: (n, C, H, W) in [0, 1] -> the same shape and range.

    One Gaussian is drawn a call, wide up to `BLUR`; each image is mixed with its blurred self by a share of
    its own, nothing for a quarter of them; noise of a strength of its own, up to `NOISE`, is added to each.
    """
    n, size = len(observations), observations.shape[-1]
    options = {"generator": generator, "device": observations.device}
    width = BLUR * size * torch.rand((), **options).clamp(min=0.1).item()
    share = (4 / 3 * torch.rand(n, 1, 1, 1, **options) - 1 / 3).clamp(0, 1)
    mixed = torch.lerp(observations, blur(observations, width), share)
    strength = NOISE * torch.rand(n, 1, 1, 1, **options)
    mixed = mixed + strength * torch.randn(observations.shape, **options)
    return mixed.clamp(0, 1).contiguous(memory_format=torch.channels_last)


def blur(observations: Tensor, width: float) -> Tensor:
    """Gaussian blur of `width` pixels (standard deviation); near an edge, only the pixels that exist count."""
    size = observations.shape[-1]
    radius = max(1, round(3 * width))
    offsets = torch.arange(size, device=observations.device)
    reach = (offsets[:, None] - offsets[None]).abs()
    kernel = torch.exp(-0.5 * (reach / width) ** 2) * (reach <= radius)
    kernel = kernel / kernel.sum(1, keepdim=True)
    with torch.autocast(observations.device.type, enabled=False):  # bf16 would be coarser than the pixels
        return kernel @ observations @ kernel.T  # on a CPU faster than a depthwise convolution


# --- what is held out ---

def draw(world: World, n: int, generator: torch.Generator, *, held_out: bool) -> tuple[Tensor, Tensor]:
    """n observations and their states, from the part of the world held out for testing or from the rest.

    A grid is divided by a hash of the state, a dataset by a hash of an observation's place: the same division
    on every machine, for every seed.

    Raises:
        InputError: no labels, or so few states or observations that a part is empty.
    """
    _check_labelled(world)
    if isinstance(world, ArrayWorld):
        kept = _places(world.n, held_out)
        if len(kept) == 0:
            raise _too_few(world, f"{world.n} observation(s)")
        rows = kept[torch.randint(len(kept), (n,), generator=generator).numpy()]
        return world.observation(rows), torch.from_numpy(np.asarray(world.labels)[rows])
    strides = np.cumprod([1, *world.sizes[::-1]])[-2::-1]
    found, missing = [], n
    for _ in range(100):
        states = world.states(int(missing / (HELD_OUT if held_out else 1 - HELD_OUT) * 1.1) + 8, generator)
        right = _is_held_out(states.cpu().numpy() @ strides) == held_out
        found.append(states[torch.from_numpy(right)][:missing])
        missing -= len(found[-1])
        if missing == 0:
            states = torch.cat(found)
            return world.render(states), states
    raise _too_few(world, f"{world.n_states} state(s)")


@functools.lru_cache(maxsize=4)
def _places(n: int, held_out: bool) -> np.ndarray:
    """Places of a dataset of n observations that are held out, or the others."""
    return np.flatnonzero(_is_held_out(np.arange(n)) == held_out)


def _is_held_out(places: np.ndarray) -> np.ndarray:
    """A fixed tenth of all whole numbers, without a pattern (the finaliser of splitmix64)."""
    bits = places.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (bits ^ (bits >> np.uint64(31))) < np.uint64(HELD_OUT * 2 ** 64)


def _check_labelled(world: World) -> None:
    if not world.factors:
        raise InputError(f"world {world.name!r} has no factor labels, and an oracle learns from labels: give "
                         "a factors.csv or labels with the data, or leave out what the oracle measures.")


def _too_few(world: World, found: str) -> InputError:
    return InputError(f"world {world.name!r} has {found}: too few to train an oracle on some and test it on "
                      "others; expected at least 50.")


# --- training ---

def train(world: World, *, steps: int = 2_000, batch_size: int = 128, learning_rate: float = LEARNING_RATE,
          seed: int = 0, folder: str | Path | None = None, per_factor: bool = False, augment: bool = True,
          device: str = "auto", n_test: int = 5_000) -> Oracle:
    """Train an oracle on a world's own observations, and test it on those held out.

    Adam with a rate that falls linearly to zero; bf16 and channels_last where the processor has them.

    Args:
        world: a labelled world.
        steps: optimiser steps in all, those of an interrupted run included.
        batch_size: observations a step.
        learning_rate: at the first step.
        seed: of weights, batches and augmentation.
        folder: where a resumable state goes; None keeps nothing. A folder that holds a state is resumed.
        per_factor: one network for each factor, as in the paper, instead of one trunk: M times the time.
        augment: blur and noise, see the module's text.
        device: "auto", "cpu" or "cuda".
        n_test: held-out observations to test on.

    Returns:
        The oracle in eval mode, with `.provenance` and `.held_out` (macro-F1 and accuracy of each factor).

    Raises:
        InputError: the world has no labels or too few observations, or the folder holds the state of another
            run.
        KeyboardInterrupt: on Ctrl-C, after the state has been saved.
    """
    if steps < 1 or batch_size < 2 or not learning_rate > 0 or n_test < 1:
        raise InputError(f"steps = {steps}, batch_size = {batch_size}, learning_rate = {learning_rate}, "
                         f"n_test = {n_test} cannot be used: expected positive numbers, and at least 2 "
                         "observations a batch.")
    _check_labelled(world)
    keep_freed_memory()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's layers draw their weights from the global generator only
        oracle = Oracle(channels=world.channels, image_size=world.image_size,
                        factors=[factor.name for factor in world.asked],
                        sizes=[factor.size for factor in world.asked], world=world.name,
                        per_factor=per_factor, augment=augment)
    settings = {"world": world.name, "source": world.source, "model": oracle.name, "config": oracle.config,
                "batch_size": batch_size, "learning_rate": learning_rate, "decay": 1.0, "held_out": HELD_OUT,
                "seed": seed, "steps": steps}
    run = Run(oracle, settings, folder, device=device)
    run.resume()

    def batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        observations, states = draw(world, batch_size, generator, held_out=False)
        return _on(observations, run.device), states.to(run.device)

    run.until_done(batch)
    oracle.provenance = run.provenance()
    del oracle.provenance["model"], oracle.provenance["config"]  # said elsewhere in the checkpoint
    oracle.eval()
    oracle.held_out = measure(oracle, world, n=n_test)
    return oracle


# --- checkpoints ---

def release_path(world: str, image_size: int) -> Path:
    """Where the released oracle of this world and size lies (whether or not it exists)."""
    return checkpoints_folder() / f"{world}_{image_size}_oracle.safetensors"


def save(oracle: Oracle, path: str | Path, *, half: bool = False) -> None:
    """Write a checkpoint with its held-out scores, see `models.save`."""
    models.save(oracle, path, oracle.provenance, half=half, held_out=oracle.held_out)


def load(path: str | Path, world: World | None = None) -> Oracle:
    """Read a checkpoint written by `save`: the oracle in eval mode.

    Args:
        path: NAME.safetensors, with NAME.json beside it.
        world: the world it is to read; refused where the checkpoint is of another.

    Raises:
        InputError: a file is missing or damaged, or the checkpoint is not an oracle of this world.
    """
    path = Path(path)
    for part in (path, path.with_suffix(".json")):
        if not part.is_file():
            raise InputError(f"checkpoint file {part} does not exist: expected NAME.safetensors with "
                             "NAME.json beside it; make one with python -m inc_lib.oracle train.")
    try:
        about = json.loads(path.with_suffix(".json").read_text())
        if about["model"] != Oracle.name:
            raise InputError(f"checkpoint {path} is a {about['model']!r}: expected an oracle; give the file "
                             "whose name ends in _oracle.safetensors.")
        oracle = Oracle(**about["config"])
        if world is not None:
            _check_world(oracle, world, path)
        tensors = safetensors.torch.load_file(path)
        oracle.load_state_dict(as_float32(tensors))
        oracle.provenance, oracle.held_out = about["provenance"], about["held_out"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, RuntimeError,
            safetensors.SafetensorError) as error:
        raise InputError(f"checkpoint {path} cannot be read ({str(error).splitlines()[0]}): it is damaged or "
                         "was not written by inc_lib.oracle; train it again or restore the file.") from error
    return oracle.eval().to(memory_format=torch.channels_last)


def _check_world(oracle: Oracle, world: World, path: Path) -> None:
    """Refuse an oracle of another world, size or set of factors."""
    ours = {"world": oracle.world, "channels": oracle.config["channels"],
            "image_size": oracle.config["image_size"],
            "factors": dict(zip(oracle.factors, oracle.sizes, strict=True))}
    theirs = {"world": world.name, "channels": world.channels, "image_size": world.image_size,
              "factors": {factor.name: factor.size for factor in world.asked}}
    for key, value in ours.items():
        if value != theirs[key]:
            raise InputError(f"checkpoint {path.name} is an oracle for {key} = {value!r}, but the data have "
                             f"{key} = {theirs[key]!r}: choose the oracle of this world, or train one with "
                             "python -m inc_lib.oracle train.")


# --- scores ---

@dataclass(frozen=True)
class F1:
    """How well labels are read back from images, one factor.

    Attributes:
        macro_f1: mean of `per_class` over *all* attributes: one without an action, hence without an image,
            counts as 0.
        per_class: (K,) F1 of each attribute, 2 TP / (2 TP + FP + FN), 0 where this is 0 / 0.
        confusion: (K, K) int64: rows are the labels, columns what the oracle read.
        factor: name of the factor.
    """

    macro_f1: float
    per_class: np.ndarray = field(repr=False)
    confusion: np.ndarray = field(repr=False)
    factor: str

    @property
    def n(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of images read as labelled; NaN where there are none."""
        return float(np.trace(self.confusion) / self.n) if self.n else float("nan")

    @property
    def absent(self) -> np.ndarray:
        """Attributes without an image: they count as 0 in `macro_f1`."""
        return np.flatnonzero(self.confusion.sum(1) == 0)

    def __str__(self) -> str:
        missing = f", {len(self.absent)} without an image and counted as 0" if len(self.absent) else ""
        return (f"{self.factor}: macro-F1 {self.macro_f1:.2f} over {len(self.per_class)} attributes{missing} "
                f"({self.n:,} images)")


def f1_from_confusion(confusion: ArrayLike, factor: str = "") -> F1:
    """F1 of a confusion matrix (K, K): rows labels, columns predictions."""
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or not len(confusion):
        raise InputError(f"a confusion matrix has shape {confusion.shape}: expected (K, K), K at least 1.")
    both = confusion.sum(0) + confusion.sum(1)
    per_class = np.divide(2 * np.diag(confusion), both, out=np.zeros(len(confusion)), where=both > 0)
    return F1(macro_f1=float(per_class.mean()), per_class=per_class, confusion=confusion, factor=factor)


def f1(oracle: Oracle, batches: Iterable[Sequence], factor: int | str, n_attributes: int | None = None) -> F1:
    """Macro-F1 of a factor over labelled images: does the oracle read what was asked for?

    Args:
        oracle: of the same world.
        batches: (observations, labels, ...) with labels (n,), the attributes asked for; as
            `clustering.implicit_clusters` yields them. Streamed: a million images take constant memory.
        factor: its name, or its number.
        n_attributes: number of attributes; default: the oracle's.

    Raises:
        InputError: an unknown factor, or labels that the factor does not have.
    """
    column = oracle.factor_index(factor)
    size = n_attributes or oracle.sizes[column]
    if size < oracle.sizes[column]:
        raise InputError(f"n_attributes is {size}: factor {oracle.factors[column]!r} has "
                         f"{oracle.sizes[column]}.")
    confusion = np.zeros((size, size), dtype=np.int64)
    for observations, labels, *_ in batches:
        found = oracle.predict(observations)[:, column].numpy()
        confusion += confusion_table(torch.as_tensor(labels).cpu().numpy(), found, size)
    return f1_from_confusion(confusion, oracle.factors[column])


def test(oracle: Oracle, world: World, *, n: int = 5_000, seed: int = 0) -> list[F1]:
    """The oracle on n observations held out of its training: the ceiling of every score that it gives.

    Returns:
        One F1 per factor, in the world's order.
    """
    confusions = [np.zeros((size, size), dtype=np.int64) for size in oracle.sizes]
    for observations, states in _held_out_batches(world, n, torch.Generator().manual_seed(seed)):
        found = oracle.predict(observations)
        for i, size in enumerate(oracle.sizes):
            confusions[i] += confusion_table(states[:, i].cpu().numpy(), found[:, i].numpy(), size)
    return [f1_from_confusion(*pair) for pair in zip(confusions, oracle.factors, strict=True)]


def measure(oracle: Oracle, world: World, *, n: int = 5_000) -> dict[str, dict[str, float]]:
    """`test` in numbers that JSON can hold: macro-F1, accuracy and n by the factor's name."""
    return {score.factor: {"macro_f1": round(score.macro_f1, 4), "accuracy": round(score.accuracy, 4),
                           "n": score.n}
            for score in test(oracle, world, n=n)}


def _held_out_batches(world: World, n: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, n, BATCH):
        yield draw(world, min(BATCH, n - start), generator, held_out=True)


def confusion_table(labels: np.ndarray, found: np.ndarray, size: int) -> np.ndarray:
    """How often label i was read as j: (size, size); scikit-learn's would warn where there is one class."""
    if labels.ndim != 1 or len(labels) != len(found):
        raise InputError(f"labels have shape {labels.shape} for {len(found)} observations: expected one "
                         "attribute for each.")
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels are of type {labels.dtype}: expected whole numbers, the attributes' "
                         "indices.")
    if len(labels) and (labels.min() < 0 or labels.max() >= size):
        raise InputError(f"labels run from {labels.min()} to {labels.max()}: expected attributes 0 to "
                         f"{size - 1}.")
    places = labels.astype(np.int64) * size + found
    return np.bincount(places, minlength=size * size).reshape(size, size)


# --- command line ---

def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring. Exit status 2 where the input cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m inc_lib.oracle",
                                     description="Train or test an oracle of a world.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("train", "train an oracle"), ("test", "measure an oracle on held-out observations")):
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--world", default="shapes3d-twin", help="a name, or a path to your own data")
        sub.add_argument("--image-size", type=int, default=64, choices=sorted(WIDTHS))
        sub.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
        sub.add_argument("--n-test", type=int, default=5_000, help="held-out observations to test on")
        sub.set_defaults(run=_main_train if name == "train" else _main_test)
    sub = commands.choices["train"]
    sub.add_argument("--steps", type=int, default=2_000)
    sub.add_argument("--batch-size", type=int, default=128)
    sub.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--per-factor", action="store_true", help="a network for each factor, not one trunk")
    sub.add_argument("--device", default="auto")
    sub.add_argument("--folder", type=Path, help="where the run is kept (default: runs/models/NAME)")
    sub.add_argument("--release", action="store_true", help="write the result to checkpoints/ (fp16)")
    commands.choices["test"].add_argument("--checkpoint", type=Path, help="default: the released one")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    return command(lambda: given.run(given))


def _main_train(given: argparse.Namespace) -> None:
    world = worlds.load(given.world, image_size=given.image_size, device=pick_device(given.device))
    target = release_path(world.name, given.image_size)
    folder = given.folder or ROOT / "runs" / "models" / target.stem
    oracle = train(world, steps=given.steps, batch_size=given.batch_size, learning_rate=given.learning_rate,
                   seed=given.seed, folder=folder, per_factor=given.per_factor, device=given.device,
                   n_test=given.n_test)
    oracle.provenance["command"] = shlex.join(
        ["python", "-m", "inc_lib.oracle", "train", "--world", given.world, "--image-size", str(given.image_size),
         "--steps", str(given.steps), "--batch-size", str(given.batch_size),
         "--learning-rate", str(given.learning_rate), "--seed", str(given.seed),
         *["--per-factor"] * given.per_factor, *["--release"] * given.release])
    path = target if given.release else folder / "oracle.safetensors"
    if given.release:
        oracle.half().float()  # as the file will hold it: the scores are those of the rounded weights
        oracle.held_out = measure(oracle, world, n=given.n_test)
    save(oracle, path, half=given.release)
    for name, scores in oracle.held_out.items():
        print(f"{name}: macro-F1 {scores['macro_f1']:.4f} on {scores['n']:,} held-out observations")
    print(f"wrote {path}")


def _main_test(given: argparse.Namespace) -> None:
    world = worlds.load(given.world, image_size=given.image_size)
    oracle = load(given.checkpoint or release_path(world.name, given.image_size), world)
    for score in test(oracle, world, n=given.n_test):
        print(score)


if __name__ == "__main__":
    sys.exit(main())
