"""Train G for scenes: a diffusion model told the place of one object; several places come by composition.

    python -m inc_lib.composing --steps 10000 --seed 0 --release

trains the generator of chapter 9 (resumable: the same command goes on from where it was).
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import denoising, detector, training
from .detector import Detector
from .errors import InputError
from .files import ROOT
from .models import diffusion
from .models.diffusion import Diffusion
from .scenes import TOLD, ask
from .worlds.scenes import ClevrTwin, Recorded, Scenes

if TYPE_CHECKING:
    from .chapter import Chapter

TRAINED = (1, 2, 3)  # objects in a training scene
N_SCENES = 12_000  # rendered before training; every batch colours them anew
SHARES = (0.45, 0.45, 0.10)  # of training images that are told a place, a place and the number, the number
BATCH = 32  # images a step: with so small a network, more steps do more than larger ones
OPTIONS = {"patch": 4, "widths": (48, 96), "layers": 1, "frequencies": 4, "placed": True, "predicts": "image"}


# --- training ---


def told_one(scenes: Scenes, generator: torch.Generator, *, count: bool = True) -> Tensor:
    """What a training image is told: the place of one of its objects, the number of them, or both; (n, TOLD).

    As Liu et al. (2022) train, with the number as an addition of ours, see `SHARES`.

    Args:
        count: whether the number is known; else the place alone is told.
    """
    n, counts = len(scenes), scenes.counts
    lot = torch.rand(n, scenes.positions.shape[1], generator=generator)
    there = ~scenes.positions[..., 0].isnan()
    chosen = lot.masked_fill(~there, -1).argmax(1)
    places = scenes.positions[torch.arange(n), chosen]
    kind = torch.rand(n, generator=generator)
    if not count:
        return ask(places)
    without_place, with_number = kind >= SHARES[0] + SHARES[1], kind >= SHARES[0]
    places = places.masked_fill(without_place[:, None], math.nan)
    return ask(places, torch.where(with_number, counts.float(), math.nan))


def train(
    world: ClevrTwin | Recorded,
    *,
    steps: int,
    n_scenes: int = N_SCENES,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str = "auto",
    options: dict | None = None,
    counts: tuple[int, ...] = TRAINED,
    **more,
) -> Diffusion:
    """The generator of scenes, trained on rendered ones; see `denoising.train`.

    Args:
        n_scenes: cast before training, see `worlds.scenes.Pool`.
        counts: numbers of objects in the training scenes.
    """
    pool = world.pool(n_scenes, seed=seed, counts=counts)

    def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, scenes = pool.draw(n, generator)
        return images, told_one(scenes, generator, count=world.knows_all)

    more = {"batch_size": BATCH, **more}
    about = {
        "source": world.source,
        "image_size": world.image_size,
        "n_scenes": n_scenes,
        "counts": list(counts),
    }
    return denoising.train(
        draw,
        world=world.name,
        options={
            "channels": 3,
            "image_size": world.image_size,
            "n_conditions": TOLD,
            **OPTIONS,
            **(options or {}),
        },
        steps=steps,
        seed=seed,
        folder=folder,
        device=device,
        about=about,
        **more,
    )


def release_path(world: str, image_size: int, seed: int) -> Path:
    """Where the released generator of a world of scenes lies (whether or not it exists)."""
    return training.release_path(world, image_size, Diffusion.name, seed)


def load_or_train(c: Chapter) -> Diffusion:
    """The released generator of a chapter's world and seed, or one trained for `train_steps` and kept; `c.model`.

    Raises:
        InputError: the checkpoint that the parameters name is of another world, size, or kind of condition.
    """
    named = c.checkpoint not in ("auto", "train")
    path = (
        Path(c.checkpoint).expanduser() if named else release_path(c.world.name, c.world.image_size, c.seed)
    )
    if named or (c.checkpoint == "auto" and c.world.source != "yours" and path.is_file()):
        model = diffusion.load(path)
        found = (model.provenance.get("world"), model.config["image_size"], model.config["n_conditions"])
        if found != (c.world.name, c.world.image_size, TOLD):
            raise InputError(
                f"checkpoint {path.name} draws {found[0]} at {found[1]} pixels, told {found[2]} numbers, but the "
                f"chapter runs on {c.world.name} at {c.world.image_size}, told {TOLD}: give checkpoint='auto'."
            )
    else:
        steps, path = c.train_steps, None
        stem = f"{c.world.name}_{c.world.image_size}_diffusion_s{c.seed}_{steps}"
        told = f"a diffusion model learns {c.world.name}: {steps:,} steps, seed {c.seed}"
        with c.progress(told), c._folder(stem, {"options": OPTIONS}) as folder:
            model = train(
                c.world,
                steps=steps,
                n_scenes=min(N_SCENES, 20 * steps),
                seed=c.seed,
                folder=folder,
                device=c.device,
            )
    c.adopt(model, path, released=path is not None and not named)
    return model.to(c.device)


def load_or_train_detector(c: Chapter) -> Detector:
    """The released detector of a chapter's world, or one trained for `oracle_steps` and kept."""
    path = detector.release_path(c.world.name, c.world.image_size)
    if c.checkpoint != "train" and c.world.source != "yours" and path.is_file():
        return detector.load(path).to(c.device)
    steps = c.oracle_steps
    stem = f"{c.world.name}_{c.world.image_size}_detector_{steps}"
    told = f"a detector learns {c.world.name}: {steps:,} steps"
    with c.progress(told), c._folder(stem, {}) as folder:
        found = detector.train(
            c.world, steps=steps, n_scenes=min(8_000, 20 * steps), n_test=256, folder=folder, device=c.device
        )
    return found.to(c.device)


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m inc_lib.composing", description="Train a diffusion model of scenes."
    )
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--n-scenes", type=int, default=N_SCENES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="where the run is kept (default: runs/models/NAME)")
    parser.add_argument("--release", action="store_true", help="write the result to checkpoints/ (fp16)")
    given = parser.parse_args(arguments)

    def work() -> None:
        world = ClevrTwin(image_size=given.image_size)
        target = release_path(world.name, given.image_size, given.seed)
        folder = given.folder or ROOT / "runs" / "models" / target.stem
        model = train(
            world,
            steps=given.steps,
            n_scenes=given.n_scenes,
            seed=given.seed,
            folder=folder,
            device=given.device,
        )
        training.keep(model, target, folder, released=given.release)

    return training.command(work)


if __name__ == "__main__":
    sys.exit(main())
