"""Images a second: composing cached weight maps against casting every image's rays.

python benchmarks/rendering.py [--threads 2] [--device cpu]
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial

import torch
from report import alternate, keep, ratio

from inc_lib import worlds
from inc_lib.worlds import raytrace, shapes3d


def cast_each(states: torch.Tensor, image_size: int) -> torch.Tensor:
    """What a renderer does that knows nothing of linearity: rays for every single image."""
    device = torch.device("cpu")
    room = shapes3d.room_surfaces()
    images = []
    for floor, wall, thing, scale, shape, angle in states.tolist():
        rays = shapes3d._rays(
            torch.deg2rad(torch.tensor(float(shapes3d.ANGLES[angle]))).item(), image_size, device
        )
        surface = raytrace.Surface(
            shapes3d._object(shapes3d.SHAPES[shape], shapes3d.SCALES[scale], device),
            shapes3d.OBJECT,
            opaque=True,
        )
        maps = raytrace.cast(
            *rays,
            [*room, surface],
            light=torch.tensor(shapes3d.LIGHT),
            n_labels=3,
            supersampling=shapes3d.SUPERSAMPLING,
        )
        colours = torch.tensor([shapes3d.RGB[hue] for hue in (floor, wall, thing)])
        images.append(torch.einsum("sc,shw->chw", colours, maps))
    return torch.stack(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    generator = torch.Generator().manual_seed(0)
    numbers: dict[str, float | str] = {}
    for size in (32, 64):
        shapes3d.weight_maps.cache_clear()
        start = time.perf_counter()
        world = worlds.load("shapes3d-twin", image_size=size, device=given.device)
        numbers[f"casting all 480 x 3 weight maps at {size}, s"] = time.perf_counter() - start
        batch = 1024 if given.device == "cpu" else 65_536
        states = world.states(batch, generator)
        difference = (cast_each(states[:4], size) - world.render(states[:4]).cpu()).abs().max().item()
        assert difference < 1e-4, f"composed and cast images differ by {difference}"
        compose, cast = partial(world.render, states), partial(cast_each, states[:8], size)
        seconds = alternate({"composed": compose, "cast": cast}, rounds=15)
        numbers[f"composed images a second at {size}"] = batch / statistics.median(seconds["composed"])
        numbers[f"cast images a second at {size}"] = 8 / statistics.median(seconds["cast"])
        numbers[f"composed / cast at {size}"] = ratio(seconds["cast"], seconds["composed"]) * batch / 8
    sprites = worlds.load("dsprites-twin", image_size=64, device=given.device)
    states = sprites.states(1024, generator)
    numbers["dsprites-twin images a second at 64"] = 1024 / statistics.median(
        alternate({"draw": lambda: sprites.render(states)}, rounds=7)["draw"]
    )
    pairs = alternate({"pairs": lambda: world.pairs(64, generator)}, rounds=30, calls=20)["pairs"]
    numbers["64 pairs of states, ms"] = 1e3 * statistics.median(pairs)
    keep(
        "rendering", numbers, f"shapes3d-twin on {given.device}; composed and cast images agree within 1e-4."
    )


if __name__ == "__main__":
    main()
