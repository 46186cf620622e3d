"""Scene composition: a diffusion model of scenes, told the place of one object; several places by composition.

    python -m inc_lib.scenes --steps 14000 --seed 0 --release

trains the generator of chapter 9 (resumable: the same command goes on from where it was).
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import Tensor

from . import denoising, training
from .errors import InputError
from .files import ROOT, checkpoints_folder
from .worlds.scenes import COLOURS, MOST, ClevrTwin, Scenes, colour

TOLD = 5  # numbers of a condition: x, y, place told, number of objects, number told
TRAINED = (1, 2, 3)  # objects in a training scene
N_SCENES = 20_000  # rendered before training; every batch colours them anew
SHARES = (0.45, 0.45, 0.10)  # of training images that are told a place, a place and the number, the number
OPTIONS = {"patch": 4, "widths": (48, 96), "layers": 1, "frequencies": 4, "coordinates": True}


# --- what the model is told ---


def ask(places: Tensor, number: Tensor | None = None) -> Tensor:
    """Conditions (..., TOLD) for places (..., 2) in the picture, and the number (...) of objects, if it is told.

    A place that is NaN is not told; where neither is told the condition is NaN throughout, none.
    """
    number = torch.full(places.shape[:-1], math.nan) if number is None else number.float()
    with_place, with_number = ~places[..., :1].isnan(), ~number.isnan()[..., None]
    told = torch.cat(
        [(2 * places - 1).nan_to_num(), with_place, number[..., None].nan_to_num() / MOST, with_number], dim=-1
    )
    return torch.where(with_place | with_number, told, math.nan)


# --- training ---


class Pool:
    """Scenes cast once, coloured anew each time they are drawn: casting is 50 times slower than colouring.

    Args:
        world: the twin.
        n: scenes.
        counts: numbers of objects.
        positions: least and greatest x and y; default the world's range.
    """

    def __init__(self, world: ClevrTwin, n: int, *, seed: int = 0, **limits) -> None:
        self.scenes = world.states(n, torch.Generator().manual_seed(seed), **limits)
        most, size = int(self.scenes.counts.max()), world.image_size
        self.maps = torch.zeros(n, most + 2, size, size, dtype=torch.uint8)  # table, objects, highlights
        positions = torch.full((n, most, 2), math.nan)
        looks = torch.zeros(n, most, 4, dtype=torch.int64)
        for rows, maps, slots in world.weight_maps(self.scenes):
            k, at = slots.shape[1], rows[:, None]
            levels = (maps.clamp(0, 1) * 255).round().byte().cpu()
            self.maps[rows, : k + 1], self.maps[rows, -1] = levels[:, :-1], levels[:, -1]
            positions[rows, :k], looks[rows, :k] = self.scenes.positions[at, slots], self.scenes.looks[at, slots]
        self.scenes = Scenes(positions, looks)  # the objects in the order of their maps

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Scenes]:
        """n of the scenes in new colours: observations (n, 3, H, W) in [0, 1], and what they show."""
        rows = torch.randint(len(self.scenes), (n,), generator=generator)
        scenes = self.scenes[rows]
        looks = scenes.looks.clone()
        looks[..., 1] = torch.randint(len(COLOURS), looks.shape[:2], generator=generator)
        return colour(self.maps[rows].float() / 255, looks), Scenes(scenes.positions, looks)


def told_one(scenes: Scenes, generator: torch.Generator) -> Tensor:
    """What a training image is told: the place of one of its objects, the number of them, or both; (n, TOLD).

    As Liu et al. (2022) train, with the number as an addition of ours, see `SHARES`.
    """
    n, counts = len(scenes), scenes.counts
    lot = torch.rand(n, scenes.positions.shape[1], generator=generator)
    there = ~scenes.positions[..., 0].isnan()
    chosen = lot.masked_fill(~there, -1).argmax(1)
    places = scenes.positions[torch.arange(n), chosen]
    kind = torch.rand(n, generator=generator)
    without_place, with_number = kind >= SHARES[0] + SHARES[1], kind >= SHARES[0]
    places = places.masked_fill(without_place[:, None], math.nan)
    return ask(places, torch.where(with_number, counts.float(), math.nan))


def train(world: ClevrTwin, *, steps: int, n_scenes: int = N_SCENES, seed: int = 0, folder: str | Path | None = None,
          device: str = "auto", options: dict | None = None, counts: tuple[int, ...] = TRAINED, **more):
    """The generator of scenes, trained on rendered ones; see `denoising.train`.

    Args:
        n_scenes: cast before training, see `Pool`.
        counts: numbers of objects in the training scenes.
    """
    pool = Pool(world, n_scenes, seed=seed, counts=counts)

    def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, scenes = pool.draw(n, generator)
        return images, told_one(scenes, generator)

    about = {"source": world.source, "image_size": world.image_size, "n_scenes": n_scenes, "counts": list(counts)}
    return denoising.train(
        draw,
        world=world.name,
        options={"channels": 3, "image_size": world.image_size, "n_conditions": TOLD, **OPTIONS, **(options or {})},
        steps=steps,
        seed=seed,
        folder=folder,
        device=device,
        about=about,
        **more,
    )


def release_path(world: str, image_size: int, seed: int) -> Path:
    """Where the released generator of a world of scenes lies (whether or not it exists)."""
    return checkpoints_folder() / f"{world}_{image_size}_diffusion_s{seed}.safetensors"


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m inc_lib.scenes", description="Train a diffusion model of scenes."
    )
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=14_000)
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
        model = train(world, steps=given.steps, n_scenes=given.n_scenes, seed=given.seed, folder=folder,
                      device=given.device)
        training.keep(model, target if given.release else folder / "model.safetensors", released=given.release)

    return training.command(work)


if __name__ == "__main__":
    sys.exit(main())
