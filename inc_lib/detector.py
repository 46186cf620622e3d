"""The judge of scenes: a small CNN that says how many objects a picture shows, and where.

    python -m inc_lib.detector train --release
    python -m inc_lib.detector test

It gives a heat map, at half of the picture's resolution, with a bump on each object; an object is a local maximum
(Zhou et al. 2019, "Objects as points", without sizes and classes). Trained on rendered scenes of one to five objects,
also nearer to the border than the generator's training scenes are, never on what a generator made; blurred and noisy
like the oracle of the other chapters, since generated pictures are softer than rendered ones.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from . import models, scoring, training
from .errors import InputError
from .files import ROOT, checkpoints_folder
from .models import checkpoints
from .oracle import BATCH, soften
from .worlds.scenes import ClevrTwin

WIDTHS = (24, 48, 64)  # of the convolutions at a half, a quarter, an eighth of the resolution
STRIDE = 2  # pixels of the picture to a cell of the heat map
BUMP = 1.3  # cells, deviation of the bump on an object
CERTAIN = 0.4  # of a local maximum: less is no object
FARTHEST = 0.25  # of the picture's width: a found object farther than this is not the one that was asked for
POSITIONS = (0.05, 0.95)  # of the scenes that are learned from


class Detector(nn.Module):
    """Observations -> heat maps of where objects are.

    Args:
        channels: 1 or 3.
        image_size: pixels on a side, a multiple of 8.
        world: name of the world it can read.
    """

    name = "detector"

    def __init__(self, *, channels: int, image_size: int, world: str) -> None:
        super().__init__()
        if channels not in (1, 3) or image_size < 16 or image_size % 8:
            raise InputError(
                f"a detector for {channels} channel(s) and {image_size} pixels cannot be built: expected 1 or 3 and a "
                "multiple of 8, at least 16."
            )
        self.config = {"channels": channels, "image_size": image_size, "world": world}
        self.provenance: dict = {}
        self.held_out: dict[str, float] = {}
        a, b, c = WIDTHS
        self.at_half = _block(channels, a, stride=2)
        self.at_quarter = nn.Sequential(_block(a, b, stride=2), _block(b, b))
        self.at_eighth = nn.Sequential(_block(b, c, stride=2), _block(c, c))
        self.up_quarter, self.up_half = _block(c + b, b), _block(b + a, a)
        self.head = nn.Conv2d(a, 1, 1)
        nn.init.constant_(self.head.bias, -4.0)  # nearly all cells are empty

    def forward(self, observations: Tensor) -> Tensor:
        """Logits of the heat maps (n, image_size / 2, image_size / 2)."""
        half = self.at_half(observations)
        quarter = self.at_quarter(half)
        eighth = self.at_eighth(quarter)
        quarter = self.up_quarter(torch.cat([_twice(eighth), quarter], dim=1))
        return self.head(self.up_half(torch.cat([_twice(quarter), half], dim=1)))[:, 0]

    def loss(
        self, batch: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy in nats an object; `batch` is (observations, positions (n, K, 2), NaN where there is none)."""
        observations, positions = batch
        wanted = heat_maps(positions, self.config["image_size"] // STRIDE)
        logits = self(soften(observations, generator)).float()
        there = (~positions[..., 0].isnan()).sum().clamp(min=1)
        loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / there
        return loss, {"nats an object": loss.detach()}

    @torch.no_grad()
    def find(self, observations: Tensor, *, certain: float = CERTAIN) -> list[Tensor]:
        """Where the objects of each observation are: n tensors (m, 2), x and y as shares of the picture.

        Raises:
            InputError: observations of another shape than the detector was trained on.
        """
        c, size = self.config["channels"], self.config["image_size"]
        if tuple(observations.shape[1:]) != (c, size, size):
            raise InputError(
                f"observations have shape {tuple(observations.shape)}: this detector reads (n, {c}, {size}, {size}); "
                "give the world and the detector the same image_size."
            )
        device = self.head.weight.device
        found = [peaks(self(part.to(device)).cpu(), certain) for part in observations.split(BATCH)]
        return [places for part in found for places in part]


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def _twice(maps: Tensor) -> Tensor:
    return F.interpolate(maps, scale_factor=2, mode="nearest")


def heat_maps(positions: Tensor, size: int) -> Tensor:
    """What a perfect detector shows: (n, size, size), a Gaussian bump of height 1 at each of positions (n, K, 2)."""
    cells = (torch.arange(size, device=positions.device) + 0.5) / size
    away = ((positions[..., None] - cells) * size / BUMP).nan_to_num(math.inf)  # (n, K, 2, size)
    x, y = (-0.5 * away**2).exp().unbind(2)
    return (y[..., :, None] * x[..., None, :]).amax(1)


def peaks(logits: Tensor, certain: float) -> list[Tensor]:
    """The local maxima of heat maps (n, h, w) as shares of width and height: n tensors (m, 2), the surest first.

    Within a cell, the top of the parabola through the logarithms of a maximum and its neighbours: exact for a Gaussian.
    """
    logs = F.logsigmoid(logits)
    ranked = logs + 1e-6 * torch.arange(logs[0].numel()).view(logs.shape[1:])  # of equal neighbours, one
    tops = (ranked == F.max_pool2d(ranked[:, None], 3, 1, 1)[:, 0]) & (logs > math.log(certain))
    framed = F.pad(logs[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    found = []
    for k in range(len(logits)):
        row, column = tops[k].nonzero(as_tuple=True)
        here = framed[k]
        middle = here[row + 1, column + 1]
        x = _top(here[row + 1, column], middle, here[row + 1, column + 2])
        y = _top(here[row, column + 1], middle, here[row + 2, column + 1])
        size = torch.tensor([logits.shape[2], logits.shape[1]])
        places = (torch.stack([column + x, row + y], dim=1) + 0.5) / size
        found.append(places[middle.argsort(descending=True)])
    return found


def _top(before: Tensor, middle: Tensor, after: Tensor) -> Tensor:
    """Where the parabola through three neighbours is highest, from the middle one: within half a cell."""
    bend = before - 2 * middle + after
    return torch.where(bend < -1e-6, (before - after) / (2 * bend), 0.0).clamp(-0.5, 0.5)


# --- scores ---


@dataclass(frozen=True, eq=False)
class Found:
    """What was asked for and what was found.

    Attributes:
        distances: (n, K) of each asked place to the found object that was assigned to it, shares of the picture's
            width; inf where there is none, NaN where nothing was asked for.
        counts: int64 (n,), objects found.
        places: (n, K, 2), the assigned objects' places; NaN where there is none.
    """

    distances: NDArray[np.float64]
    counts: NDArray[np.int64]
    places: NDArray[np.float64]

    def of(self, rows: NDArray) -> Found:
        """Some of the images: an index, mask or slice."""
        return Found(self.distances[rows], self.counts[rows], self.places[rows])

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Where a place was asked for: (n, K)."""
        return ~np.isnan(self.distances)

    def met(self, tolerance: float) -> NDArray[np.float64]:
        """For each image the share of its conditions that are met: an object of its own within `tolerance`."""
        return np.where(self.asked, self.distances <= tolerance, 0).sum(1) / self.asked.sum(1)

    @property
    def count_right(self) -> NDArray[np.bool_]:
        """Images with as many objects as places were asked for: (n,)."""
        return self.counts == self.asked.sum(1)

    def errors(self, tolerance: float) -> NDArray[np.float64]:
        """Distances of the conditions that are met, flat."""
        return self.distances[self.asked & (np.nan_to_num(self.distances, nan=np.inf) <= tolerance)]


def compare(found: Sequence[Tensor], asked: Tensor) -> Found:
    """Assign found objects to asked places (n, K, 2), each to one at most, so that as many as can be are near.

    The assignment minimises the sum of distances, of which none counts more than `FARTHEST` (Kuhn 1955).
    """
    n, most = asked.shape[:2]
    distances, places = np.full((n, most), np.nan), np.full((n, most, 2), np.nan)
    wanted = asked.double().numpy()
    for k in range(n):
        slots = np.flatnonzero(~np.isnan(wanted[k, :, 0]))
        distances[k, slots] = np.inf
        apart = np.linalg.norm(wanted[k, slots][:, None] - found[k].double().numpy()[None], axis=2)
        for i, j in zip(*linear_sum_assignment(np.minimum(apart, FARTHEST)), strict=True):
            if apart[i, j] < FARTHEST:
                distances[k, slots[i]], places[k, slots[i]] = apart[i, j], found[k][j].numpy()
    return Found(distances, np.array([len(places) for places in found], dtype=np.int64), places)


def interval(values: NDArray, *, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean of (n,) values in [0, 1] and its 95 % bootstrap interval (percentile; images are drawn with replacement).

    Where all values are 1, or all 0, a bootstrap has nothing to vary and would claim certainty. There the other bound
    is 3 / n away, the rule of three (Hanley and Lippman-Hand 1983).
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if (values == 1).all():
        return 1.0, max(0.0, 1 - 3 / n), 1.0
    if (values == 0).all():
        return 0.0, 0.0, min(1.0, 3 / n)
    rows = np.random.default_rng(seed).integers(0, n, (draws, n))
    return float(values.mean()), *scoring.interval(values[rows].mean(1))


def measure(detector: Detector, observations: Tensor, positions: Tensor) -> dict[str, float | None]:
    """The detector on rendered scenes: the ceiling of every score that it gives.

    Returns:
        count_accuracy; error_px, median distance of found objects in pixels; recall, share of the objects found
        within a sixteenth of the picture.
    """
    seen = compare(detector.find(observations), positions)
    errors = seen.errors(1 / 16) * detector.config["image_size"]
    return {
        "count_accuracy": round(float(seen.count_right.mean()), 4),
        "recall": round(float((seen.distances[seen.asked] <= 1 / 16).mean()), 4),
        "error_px": round(float(np.median(errors)), 3) if len(errors) else None,
        "n": len(observations),
    }


# --- training ---


def train(
    world,
    *,
    steps: int,
    n_scenes: int = 8_000,
    n_test: int = 1_000,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str = "auto",
) -> Detector:
    """Train a detector on scenes of a world.

    Args:
        world: with `pool(n, seed=, held_out=, wide=)`.
        n_scenes, n_test: scenes to learn from, and other ones that it is measured on.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = Detector(channels=world.channels, image_size=world.image_size, world=world.name)
    pool = world.pool(n_scenes, seed=seed + 1, wide=POSITIONS)
    settings = {
        "world": world.name,
        "source": world.source,
        "image_size": world.image_size,
        "n_scenes": n_scenes,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "decay": 0.7,
        "seed": seed,
        "steps": steps,
    }
    run = training.Run(detector, settings, folder, device=device)
    run.resume()

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, scenes = pool.draw(batch_size, generator)
        return training.ready(images, run.device), scenes.positions.to(run.device)

    run.until_done(draw)
    detector.provenance = run.provenance()
    detector.eval()
    detector.held_out = test(detector, world, n=n_test)
    return detector


def test(detector: Detector, world, *, n: int = 1_000, wide: tuple[float, float] | None = POSITIONS) -> dict:
    """`measure` on n scenes that it has not seen."""
    generator = torch.Generator().manual_seed(0)
    images, scenes = world.pool(n, seed=1_000, held_out=True, wide=wide).draw(n, generator)
    return measure(detector, images, scenes.positions)


def release_path(world: str, image_size: int) -> Path:
    """Where the released detector of a world lies (whether or not it exists)."""
    return checkpoints_folder() / f"{world}_{image_size}_detector.safetensors"


def save(detector: Detector, path: str | Path, *, half: bool = False) -> None:
    """Write a checkpoint with its held-out scores, see `models.save`."""
    models.save(detector, path, detector.provenance, half=half, held_out=detector.held_out)


def load(path: str | Path) -> Detector:
    """Read a detector that `save` wrote, in eval mode.

    Raises:
        InputError: a file is missing, damaged, or of another kind of model.
    """
    detector, about = checkpoints.load(path, Detector, made_by="inc_lib.detector")
    detector.held_out = about["held_out"]
    return detector.to(memory_format=torch.channels_last)


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m inc_lib.detector", description="Train or test a detector of objects in scenes."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("train", "train a detector"), ("test", "measure one on held-out scenes")):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--image-size", type=int, default=64)
        command.add_argument("--n-test", type=int, default=1_000, help="held-out scenes to test on")
    command = commands.choices["train"]
    command.add_argument("--steps", type=int, default=2_500)
    command.add_argument("--n-scenes", type=int, default=8_000)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto")
    command.add_argument("--folder", type=Path, help="where the run is kept (default: runs/models/NAME)")
    command.add_argument("--release", action="store_true", help="write the result to checkpoints/ (fp16)")
    commands.choices["test"].add_argument("--checkpoint", type=Path, help="default: the released one")
    given = parser.parse_args(arguments)

    def work() -> None:
        world = ClevrTwin(image_size=given.image_size)
        target = release_path(world.name, given.image_size)
        if given.command == "test":
            detector = load(given.checkpoint or target)
            print(test(detector, world, n=given.n_test))
            return
        folder = given.folder or ROOT / "runs" / "models" / target.stem
        detector = train(
            world,
            steps=given.steps,
            n_scenes=given.n_scenes,
            n_test=given.n_test,
            seed=given.seed,
            folder=folder,
            device=given.device,
        )
        if given.release:
            detector.half().float()  # as the file will hold it: the scores are those of the rounded weights
            detector.held_out = test(detector, world, n=given.n_test)
        path = target if given.release else folder / "detector.safetensors"
        save(detector, path, half=given.release)
        print(f"{detector.held_out}\nwrote {path}")

    return training.command(work)


if __name__ == "__main__":
    sys.exit(main())
