"""Train a conditional diffusion model, by the one training loop: from anything that gives images and conditions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .errors import InputError
from .models.diffusion import Diffusion
from .training import Run, keep_freed_memory


def train(
    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor]],
    *,
    world: str,
    options: dict,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    decay: float = 0.5,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str = "auto",
    about: dict | None = None,
    on_step: Callable[[int, Diffusion], None] | None = None,
    every: int = 0,
) -> Diffusion:
    """Train a diffusion model.

    Args:
        draw: draw(n, generator) gives images (n, channels, H, W) in [0, 1] and conditions (n, n_conditions).
        world: name of the data, kept in the provenance.
        options: of the model: channels, image_size, n_conditions, and what else it takes.
        steps: optimiser steps in all, those of an interrupted run included.
        batch_size: images a step.
        learning_rate: of Adam.
        decay: share of the steps, at the end, over which the rate falls linearly to zero.
        seed: of weights, batches and noise.
        folder: where the state is kept; None keeps nothing. A folder that holds a state is resumed.
        device: "auto", "cpu" or "cuda".
        about: more that makes this training what it is (which images were held out, ...): kept in the provenance,
            and a folder is resumed only by a run with the same.
        on_step: called as on_step(step, model) every `every` steps and at the last; images that it draws are drawn
            with the averaged weights.

    Returns:
        The model in eval mode, its weights the average over the last steps, with `.provenance`.

    Raises:
        InputError: settings out of range, or a folder that holds the state of another run.
        KeyboardInterrupt: on Ctrl-C, after the state has been saved.
    """
    if steps < 1 or batch_size < 1 or not learning_rate > 0 or not 0 <= decay <= 1:
        raise InputError(
            f"steps = {steps}, batch_size = {batch_size}, learning_rate = {learning_rate}, decay = {decay} cannot be "
            "used: expected positive numbers and a decay between 0 and 1."
        )
    keep_freed_memory()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's layers draw their weights from the global generator only
        model = Diffusion(**options)
    model.start_averaging()
    settings = {
        "world": world,
        "model": model.name,
        "config": model.config,
        **(about or {}),
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "decay": decay,
        "seed": seed,
        "steps": steps,
    }
    layout = torch.contiguous_format  # a fifth to a third faster than channels last for U-Nets this small
    run = Run(model, settings, folder, device=device, memory_format=layout)
    run.resume()

    def batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, conditions = draw(batch_size, generator)
        return images.to(run.device), conditions.to(run.device)

    run.until_done(batch, on_step=on_step, every=every)
    model.settle()
    model.provenance = run.provenance()
    return model.eval()
