"""A general-purpose embedding that needs no download: a small encoder taught by the world's pictures alone.

    python -m inc_lib.embedding --world shapes3d-twin --steps 2000 --release

VICReg (Bardes, Ponce and LeCun 2022): two altered copies of a picture shall get the same features (invariance), every
feature shall vary over pictures (variance), and no two features shall tell the same (covariance). No labels, no pairs,
no generator. What the features are *about* is decided by the alterations and by nothing else: what an alteration
changes, the features learn to ignore. The published recipes crop, flip, and shift hues, and here size, orientation and
hue are what we want to find. So ours leave every factor of our worlds as it is (`alter`).

That alone is not enough. Where colours tell all pictures apart, a network need not look at anything else, and ours did
not (`benchmarks/identification.py` has the numbers): *feature suppression* (Chen, Luo and Li 2021). So there are two
halves, as in Xiao et al. (2021): one is taught with colours as they are, the other with colours drawn anew for each copy
(`recolour`), where outlines are all that two copies share. Departures from VICReg, all of them ours: two small
networks for one large, 256 expanded numbers for 8,192, Adam.
"""
from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import training
from .errors import InputError
from .files import ROOT, checkpoints_folder
from .models import checkpoints
from .models.networks import check_shape
from .oracle import BATCH, WIDTHS, soften
from .worlds import World

if TYPE_CHECKING:
    from .chapter import Chapter

N_FEATURES = 64         # of a picture, in each half
EXPANDED = 256          # numbers that the loss looks at, behind the features (the paper: 8,192)
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0  # weights of the three terms, as published
SHIFT = 1 / 32          # farthest a picture is moved, in widths of the image: a pixel of 32
HIDE = 0.25             # side of the square that is hidden, in widths of the image
GAIN = 0.1              # the brightness is changed by at most this share


class Embedding(nn.Module):
    """Observations -> features, taught by VICReg.

    Args:
        channels: 1 or 3.
        image_size: 28, 32 or 64.
        world: name of the world whose pictures it has seen.
    """

    name = "embedding"

    def __init__(self, *, channels: int, image_size: int, world: str) -> None:
        super().__init__()
        if image_size not in WIDTHS or channels not in (1, 3):
            check_shape(channels, image_size)  # says what models of every kind can take
        self.config = {"channels": channels, "image_size": image_size, "world": world}
        self.provenance: dict = {}
        self.coloured, self.outlined = (_Half(channels, image_size) for _ in range(2))

    def forward(self, observations: Tensor) -> Tensor:
        """Features (n, 2 * N_FEATURES) of observations (n, channels, image_size, image_size) in [0, 1]."""
        return torch.cat([half.trunk(observations) for half in (self.coloured, self.outlined)], dim=1)

    def loss(self, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The terms of VICReg for both halves, on two altered copies of each picture, and what to print."""
        copies = torch.cat([alter(batch, generator), alter(batch, generator)])
        coloured = _vicreg(self.coloured(copies))
        outlined = _vicreg(self.outlined(recolour(copies, generator)))
        return coloured + outlined, {"coloured": coloured.detach(), "outlined": outlined.detach()}

    @torch.no_grad()
    def embed(self, observations: Tensor) -> Tensor:
        """Features float32 (n, 2 * N_FEATURES), on the CPU.

        Raises:
            InputError: observations of another shape than it was trained on.
        """
        c, size = self.config["channels"], self.config["image_size"]
        if tuple(observations.shape[1:]) != (c, size, size):
            raise InputError(f"observations have shape {tuple(observations.shape)}: this embedding reads (n, {c}, "
                             f"{size}, {size}); give the world and the embedding the same image_size.")
        device = next(self.parameters()).device
        return torch.cat([self(part.to(device).contiguous(memory_format=torch.channels_last)).cpu()
                          for part in observations.split(BATCH)])


class _Half(nn.Module):
    """A trunk that gives features, and the expander that only the loss looks through."""

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        widths = (channels, *(width // 2 for width in WIDTHS[image_size]))
        side = image_size // 2 ** (len(widths) - 1)
        layers = [layer for before, after in itertools.pairwise(widths)
                  for layer in (nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False),
                                nn.BatchNorm2d(after), nn.ReLU(inplace=True))]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, 2 * N_FEATURES),
                                   nn.ReLU(inplace=True), nn.Linear(2 * N_FEATURES, N_FEATURES))
        self.expander = nn.Sequential(nn.BatchNorm1d(N_FEATURES), nn.ReLU(), nn.Linear(N_FEATURES, EXPANDED),
                                      nn.BatchNorm1d(EXPANDED), nn.ReLU(), nn.Linear(EXPANDED, EXPANDED))

    def forward(self, observations: Tensor) -> Tensor:
        return self.expander(self.trunk(observations))


def _vicreg(expanded: Tensor) -> Tensor:
    """The loss of VICReg; the first half of the rows are copies of the second."""
    first, second = expanded.float().chunk(2)
    return (INVARIANCE * F.mse_loss(first, second) + VARIANCE * (_hinge(first) + _hinge(second)) / 2
            + COVARIANCE * (_off_diagonal(first) + _off_diagonal(second)))


def _hinge(features: Tensor) -> Tensor:
    """How far the features' standard deviations fall short of 1, on average."""
    return F.relu(1 - (features.var(0) + 1e-4).sqrt()).mean()


def _off_diagonal(features: Tensor) -> Tensor:
    """Sum of squared covariances of different features, for each feature."""
    n, k = features.shape
    centred = features - features.mean(0)
    covariance = centred.T @ centred / (n - 1)
    return (covariance.pow(2).sum() - covariance.diagonal().pow(2).sum()) / k


def alter(observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A copy that shows the same thing otherwise: (n, C, H, W) in [0, 1] -> the same shape and range.

    Blurred and noisy (`oracle.soften`), a little brighter or darker, moved by up to a pixel of 32, and a square of a
    quarter of its side hidden behind grey. Deliberately without crops (they change size and place), flips
    (orientation), and shifts of hue or conversion to grey (colour): all of these are factors here.
    """
    n, _, height, width = observations.shape
    options = {"generator": generator, "device": observations.device}
    altered = soften(observations, generator)
    altered = altered * (1 + GAIN * (2 * torch.rand(n, 1, 1, 1, **options) - 1))
    far = max(1, round(SHIFT * width))
    down, right = (int(k) for k in torch.randint(-far, far + 1, (2,), **options))  # one move a call
    altered = F.pad(altered, (far, far, far, far), mode="replicate")
    altered = altered[:, :, far + down:far + down + height, far + right:far + right + width]
    at = torch.rand(n, 2, 1, 1, **options)
    rows, columns = (torch.arange(k, device=observations.device) / k for k in (height, width))
    top, left = (1 - HIDE) * at[:, :1], (1 - HIDE) * at[:, 1:]
    hidden = ((rows[:, None] >= top) & (rows[:, None] < top + HIDE)
              & (columns >= left) & (columns < left + HIDE))
    return altered.masked_fill(hidden, 0.5).clamp(0, 1).contiguous(memory_format=torch.channels_last)


def recolour(observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Grey pictures in which every colour got another brightness: (n, C, H, W) -> the same shape, in [0, 1].

    The channels are added up with weights of either sign, drawn for each picture, and the result is stretched to [0, 1].
    Outlines stay, and which areas have the same colour; what colour that is, is gone.
    """
    n, channels = observations.shape[:2]
    weights = torch.randn(n, channels, 1, 1, generator=generator, device=observations.device)
    grey = (observations * weights).sum(1, keepdim=True)
    low, high = grey.amin((2, 3), keepdim=True), grey.amax((2, 3), keepdim=True)
    grey = (grey - low) / (high - low).clamp(min=1e-6)
    return grey.expand(-1, channels, -1, -1).contiguous(memory_format=torch.channels_last)


def train(world: World, *, steps: int = 2_000, batch_size: int = 128, learning_rate: float = 1e-3,
          seed: int = 0, folder: str | Path | None = None, device: str = "auto") -> Embedding:
    """Teach an embedding by the pictures of a world.

    Args:
        world: labelled or not; its labels are not looked at.
        steps: optimiser steps in all, those of an interrupted run included.
        batch_size: pictures a step, each altered twice.
        learning_rate: of Adam, falling linearly to zero.
        folder: where a resumable state goes; None keeps nothing. A folder that holds a state is resumed.

    Returns:
        The embedding in eval mode, with `.provenance`.

    Raises:
        InputError: settings out of range, images it cannot take, or a folder that holds another run's state.
    """
    if steps < 1 or batch_size < 8 or not learning_rate > 0:
        raise InputError(f"steps = {steps}, batch_size = {batch_size}, learning_rate = {learning_rate} cannot be "
                         "used: expected positive numbers, and at least 8 pictures a batch.")
    training.keep_freed_memory()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's layers draw their weights from the global generator only
        network = Embedding(channels=world.channels, image_size=world.image_size, world=world.name)
    settings = {"world": world.name, "source": world.source, "model": network.name, "config": network.config,
                "batch_size": batch_size, "learning_rate": learning_rate, "decay": 1.0, "seed": seed, "steps": steps}
    run = training.Run(network, settings, folder, device=device)
    run.resume()
    run.until_done(lambda generator: training.ready(world.sample(batch_size, generator)[0], run.device))
    network.provenance = run.provenance()
    return network.eval()


def release_path(world: str, image_size: int) -> Path:
    """Where the released embedding of this world and size lies (whether or not it exists)."""
    return checkpoints_folder() / f"{world}_{image_size}_{Embedding.name}.safetensors"


def load(path: str | Path) -> Embedding:
    """A checkpoint, in eval mode.

    Raises:
        InputError: a file is missing or damaged, or of another kind of model.
    """
    return checkpoints.load(path, Embedding, made_by="inc_lib.embedding")[0]


def load_or_train(c: Chapter, world: World | None = None) -> Embedding:
    """The released embedding of a world (default: the chapter's), or one taught for `oracle_steps` and kept."""
    world = c.world if world is None else world
    path = release_path(world.name, world.image_size)
    if path.is_file():
        found = load(path)
        if found.provenance.get("source") == world.source:
            return found.to(c.device)
    stem = f"{world.name}_{world.image_size}_{Embedding.name}_s{c.seed}_{c.oracle_steps}"
    told = f"an embedding learns from pictures of {world.name}: {c.oracle_steps:,} steps"
    with c.progress(told), c._folder(stem, {}) as folder:
        return train(world, steps=c.oracle_steps, seed=c.seed, folder=folder, device=c.device)


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m inc_lib.embedding",
                                     description="Teach an embedding by a world's pictures.")
    parser.add_argument("--world", default="shapes3d-twin", help="a world by name, or a path to your own data")
    parser.add_argument("--image-size", type=int, default=32, choices=sorted(WIDTHS))
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="where the run is kept (default: runs/models/NAME)")
    parser.add_argument("--release", action="store_true", help="write the result to checkpoints/ (fp16)")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)

    def work() -> None:
        from . import worlds

        world = worlds.load(given.world, image_size=given.image_size, device=training.pick_device(given.device))
        target = release_path(world.name, given.image_size)
        folder = given.folder or ROOT / "runs" / "models" / target.stem
        network = train(world, steps=given.steps, batch_size=given.batch_size, seed=given.seed,
                        learning_rate=given.learning_rate, folder=folder, device=given.device)
        training.keep(network, target, folder, released=given.release)

    return training.command(work)


if __name__ == "__main__":
    sys.exit(main())
