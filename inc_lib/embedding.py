"""A general-purpose embedding that needs no download: a small encoder taught by the world's pictures alone.

    python -m inc_lib.embedding --world shapes3d-twin --release

VICReg (Bardes, Ponce and LeCun 2022): two altered copies of a picture shall get the same features (invariance), every
feature shall vary over pictures (variance), and no two features shall tell the same (covariance). No labels, no pairs,
no generator. Two decisions make such an embedding, and both are about what it may ignore.

*The alterations.* What they change, the features learn to ignore. Published recipes crop, flip, and shift hues; here
size, orientation and hue are what we want to find. So ours leave every factor of our worlds as it is (`alter`).

*Place by place.* A network that sees the whole picture need not look at everything that varies: hues alone tell
nearly all pictures apart, and ours learned hues alone (*feature suppression*, Chen, Luo and Li 2021;
`checkpoints/README.md` has the numbers of both attempts). So the loss is taken at each place of a map of 8x8, as in
VICRegL (Bardes, Ponce and LeCun 2022b): features of one place see 10 of 32 pixels, and where only the object's outline
is to be seen, the outline is what they tell. Departures: two copies share one frame, so that places need no matching;
64 expanded numbers for 8,192; Adam; no loss on the whole picture.
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
from .oracle import BATCH, soften
from .worlds import World

if TYPE_CHECKING:
    from .chapter import Chapter

WIDTHS = {64: (16, 32, 64), 32: (32, 64), 28: (32, 64)}  # of the 4x4, stride-2 convolutions: maps of 8x8 (28: 7x7)
N_FEATURES = 16         # of a place
EXPANDED = 64           # numbers that the loss looks at, behind the features
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0  # weights of the three terms, as published
SHIFT = 1 / 32          # farthest a picture is moved, in widths of the image: a pixel of 32
GAIN = 0.1              # the brightness is changed by at most this share
STEPS = 1_500


class Embedding(nn.Module):
    """Observations -> features of 8x8 places, taught by VICReg.

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
        widths = (channels, *WIDTHS[image_size])
        layers = [layer for before, after in itertools.pairwise(widths)
                  for layer in (nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False),
                                nn.BatchNorm2d(after), nn.ReLU(inplace=True))]
        self.trunk = nn.Sequential(*layers, nn.Conv2d(widths[-1], N_FEATURES, 1))
        self.expander = nn.Sequential(nn.BatchNorm2d(N_FEATURES), nn.ReLU(), nn.Conv2d(N_FEATURES, EXPANDED, 1),
                                      nn.BatchNorm2d(EXPANDED), nn.ReLU(), nn.Conv2d(EXPANDED, EXPANDED, 1))

    def forward(self, observations: Tensor) -> Tensor:
        """Maps (n, N_FEATURES, 8, 8) of observations (n, channels, image_size, image_size) in [0, 1]."""
        return self.trunk(observations)

    def loss(self, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The three terms of VICReg at each place, on two altered copies of each picture, and what to print."""
        copies = torch.cat([alter(batch, generator), alter(batch, generator)])
        places = self.expander(self(copies)).float().flatten(2).permute(2, 0, 1)  # (places, pictures, numbers)
        first, second = places.chunk(2, dim=1)
        invariance = F.mse_loss(first, second)
        variance = (_hinge(first) + _hinge(second)) / 2
        covariance = _off_diagonal(first) + _off_diagonal(second)
        loss = INVARIANCE * invariance + VARIANCE * variance + COVARIANCE * covariance
        return loss, {"loss": loss.detach(), "invariance": invariance.detach(), "variance": variance.detach(),
                      "covariance": covariance.detach()}

    @torch.no_grad()
    def embed(self, observations: Tensor) -> Tensor:
        """Features of all places, side by side: float32 (n, N_FEATURES * places), on the CPU.

        Raises:
            InputError: observations of another shape than it was trained on.
        """
        c, size = self.config["channels"], self.config["image_size"]
        if tuple(observations.shape[1:]) != (c, size, size):
            raise InputError(f"observations have shape {tuple(observations.shape)}: this embedding reads (n, {c}, "
                             f"{size}, {size}); give the world and the embedding the same image_size.")
        device = next(self.parameters()).device
        return torch.cat([self(part.to(device).contiguous(memory_format=torch.channels_last)).flatten(1).cpu()
                          for part in observations.split(BATCH)])


def _hinge(features: Tensor) -> Tensor:
    """How far standard deviations over pictures fall short of 1, on average over places and features."""
    return F.relu(1 - (features.var(1) + 1e-4).sqrt()).mean()


def _off_diagonal(features: Tensor) -> Tensor:
    """Sum of squared covariances of different features, for each feature; the mean over places."""
    _, n, k = features.shape
    centred = features - features.mean(1, keepdim=True)
    covariance = centred.transpose(1, 2) @ centred / (n - 1)
    squares = covariance.pow(2)
    return (squares.sum((1, 2)) - squares.diagonal(dim1=1, dim2=2).sum(1)).mean() / k


def alter(observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A copy that shows the same thing otherwise: (n, C, H, W) in [0, 1] -> the same shape and range.

    Blurred and noisy (`oracle.soften`), a little brighter or darker, and moved by up to a pixel of 32. Deliberately
    without crops (they change size and place), flips (orientation), and shifts of hue or conversion to grey (colour):
    all of these are factors here.
    """
    n, _, height, width = observations.shape
    options = {"generator": generator, "device": observations.device}
    altered = soften(observations, generator)
    altered = altered * (1 + GAIN * (2 * torch.rand(n, 1, 1, 1, **options) - 1))
    far = max(1, round(SHIFT * width))
    down, right = (int(k) for k in torch.randint(-far, far + 1, (2,), **options))  # one move a call
    altered = F.pad(altered, (far, far, far, far), mode="replicate")
    altered = altered[:, :, far + down:far + down + height, far + right:far + right + width]
    return altered.clamp(0, 1).contiguous(memory_format=torch.channels_last)


def train(world: World, *, steps: int = STEPS, batch_size: int = 128, learning_rate: float = 1e-3,
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
    network = untrained(world, seed=seed)
    settings = {"world": world.name, "source": world.source, "model": network.name, "config": network.config,
                "batch_size": batch_size, "learning_rate": learning_rate, "decay": 1.0, "seed": seed, "steps": steps}
    run = training.Run(network, settings, folder, device=device)
    run.resume()
    run.until_done(lambda generator: training.ready(world.sample(batch_size, generator)[0], run.device))
    network.provenance = run.provenance()
    return network.eval()


def untrained(world: World, *, seed: int = 0) -> Embedding:
    """An embedding with the weights it begins with, in training mode: also what a taught one is compared with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's layers draw their weights from the global generator only
        return Embedding(channels=world.channels, image_size=world.image_size, world=world.name)


def release_path(world: str, image_size: int) -> Path:
    """Where the released embedding of this world and size lies (whether or not it exists)."""
    return checkpoints_folder() / f"{world}_{image_size}_{Embedding.name}.safetensors"


def load(path: str | Path) -> Embedding:
    """A checkpoint, in eval mode.

    Raises:
        InputError: a file is missing or damaged, or of another kind of model.
    """
    return checkpoints.load(path, Embedding, made_by="inc_lib.embedding")[0]


def load_or_train(c: Chapter) -> Embedding:
    """The released embedding of a chapter's world, or one taught for `oracle_steps` and kept."""
    path = release_path(c.world.name, c.world.image_size)
    if path.is_file():
        found = load(path)
        if found.provenance.get("source") == c.world.source:
            return found.to(c.device)
    stem = f"{c.world.name}_{c.world.image_size}_{Embedding.name}_s{c.seed}_{c.oracle_steps}"
    told = f"an embedding learns from pictures of {c.world.name}: {c.oracle_steps:,} steps"
    with c.progress(told), c._folder(stem, {}) as folder:
        return train(c.world, steps=c.oracle_steps, seed=c.seed, folder=folder, device=c.device)


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m inc_lib.embedding",
                                     description="Teach an embedding by a world's pictures.")
    parser.add_argument("--world", default="shapes3d-twin", help="a world by name, or a path to your own data")
    parser.add_argument("--image-size", type=int, default=32, choices=sorted(WIDTHS))
    parser.add_argument("--steps", type=int, default=STEPS)
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
