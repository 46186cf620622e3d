"""One Ada-GVAE step on 64 pairs, ours against a plain float32 loop of the same network, in turns.

    python benchmarks/training_step.py [--threads 2] [--image-size 64]

Both draw and render their pairs. The plain loop is what a first implementation looks like: float32, default memory
layout, Adam without fusion, autograd through binary_cross_entropy_with_logits.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from report import alternate, keep, ratio

from inc_lib import models, training, worlds
from inc_lib.models.vae import average_shared


def plain_step(world: worlds.World, model: models.VAE):
    """The textbook loop around the same encoder and decoder."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=False, foreach=False)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        first, second, _, _ = world.paired_observations(64, generator)
        images = torch.cat([first, second])
        mean, log_variance = average_shared(*model.encoder(images).chunk(2, dim=1))
        codes = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        logits = model.decoder(codes)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, images, reduction="sum") / len(
            images
        )
        loss = loss + 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_run(world: worlds.World) -> training.Run:
    model = models.build("ada-gvae", channels=3, image_size=world.image_size)
    return training.Run(
        model, {"learning_rate": 1e-4, "decay": 0.0, "seed": 0, "steps": 1_000_000}, None, device="cpu"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=64, choices=(32, 64))
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    world = worlds.load("shapes3d-twin", image_size=given.image_size)
    plain = plain_step(world, models.build("ada-gvae", channels=3, image_size=given.image_size))
    seconds = alternate({"plain": plain}, rounds=2)  # before our allocator settings, which would help it too
    run = our_run(world)
    training.keep_freed_memory()

    def draw():
        return training._draw(world, True, 64, run.generator, "uniform")

    def ready():
        return training.ready(draw(), torch.device("cpu"))

    batch = ready()

    def forward():
        with torch.no_grad(), run.fabric.autocast():
            run.network.loss(batch, run.noise)

    seconds = alternate(
        {
            "plain": plain,
            "ours": lambda: run.step(ready()),
            "draw pairs": lambda: world.pairs(64, run.generator),
            "draw and render": draw,
            "forward": forward,
            "step without data": lambda: run.step(batch),
        },
        rounds=given.rounds,
    )
    median = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
    keep(
        f"training_step_{given.image_size}_threads{given.threads}",
        {
            "plain float32 step, ms": median["plain"],
            "our step, pairs included, ms": median["ours"],
            "plain / ours": ratio(seconds["plain"], seconds["ours"]),
            "of which drawing 64 pairs of states, ms": median["draw pairs"],
            "of which drawing and rendering, ms": median["draw and render"],
            "of which forward pass, ms": median["forward"],
            "of which backward pass and Adam, ms": median["step without data"] - median["forward"],
        },
        "Ada-GVAE, 64 pairs, medians over rounds in turns; the rest of a step is layout and bookkeeping.",
    )


if __name__ == "__main__":
    main()
