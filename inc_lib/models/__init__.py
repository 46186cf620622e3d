"""h and G: models by name, and their checkpoints (safetensors + JSON provenance)."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from ..errors import InputError, suggest
from .checkpoints import as_float32, save
from .vae import VAE, AdaGVAE, BetaTCVAE
from .wae import CompWAE

__all__ = ["MODELS", "VAE", "AdaGVAE", "BetaTCVAE", "CompWAE", "build", "load", "save"]

MODELS = {model.name: model for model in (AdaGVAE, BetaTCVAE, CompWAE)}


def build(name: str, *, channels: int, image_size: int, seed: int = 0, **options) -> VAE:
    """A new model with weights drawn from `seed`.

    Args:
        name: "ada-gvae", "beta-tcvae" or "comp-wae".
        channels, image_size: of the observations.
        options: as the model's class takes them (n_codes, beta, ...).

    Raises:
        InputError: no such model, a setting that it does not have, or images it cannot take.
    """
    if name not in MODELS:
        raise suggest("model", name, MODELS)
    known = inspect.signature(MODELS[name]).parameters
    if unknown := sorted(set(options) - set(known)):
        raise InputError(f"{name} has no setting {', '.join(unknown)}: expected some of {', '.join(known)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torch's layers draw their weights from the global generator only
        return MODELS[name](channels=channels, image_size=image_size, **options)


def load(path: str | Path) -> VAE:
    """Read a checkpoint written by `save`: the model in eval mode, with `.provenance`.

    Raises:
        InputError: a file is missing, damaged, or not a checkpoint of a model we know.
    """
    path = Path(path)
    about_path = path.with_suffix(".json")
    for part in (path, about_path):
        if not part.is_file():
            raise InputError(
                f"checkpoint file {part} does not exist: expected NAME.safetensors with NAME.json beside it."
            )
    try:
        about = json.loads(about_path.read_text())
        model = build(about["model"], **about["config"])
        tensors = safetensors.torch.load_file(path)
        model.load_state_dict(as_float32(tensors))
    except (
        json.JSONDecodeError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        SafetensorError,
        RuntimeError,
    ) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({str(error).splitlines()[0]}): it is damaged or was not "
            "written by inc_lib.models.save; train it again or restore the file."
        ) from error
    model.provenance = about["provenance"]
    return model.eval().to(memory_format=torch.channels_last)
