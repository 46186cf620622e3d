"""A checkpoint: NAME.safetensors holds weights, NAME.json beside it what they are and how they came to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import InputError
from ..files import atomic_write

Model = TypeVar("Model", bound=nn.Module)


def save(model: nn.Module, path: str | Path, provenance: dict, *, half: bool = False, **more: Any) -> None:
    """Write `path` (.safetensors) and, beside it, .json: model name, configuration and how it was made.

    Args:
        half: floating numbers as float16, half of the size.
        more: what else the JSON is to hold, e.g. held-out scores.
    """
    path = Path(path)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors |= {name: tensor.half() for name, tensor in tensors.items() if tensor.is_floating_point()}
    with atomic_write(path) as temporary:
        safetensors.torch.save_file(tensors, temporary)
    about = {"model": model.name, "config": model.config, "provenance": provenance, **more}
    with atomic_write(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")


def as_float32(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are computed with; whole numbers (steps counted, indices) stay what they are."""
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def load(path: str | Path, kind: Callable[..., Model], *, made_by: str) -> tuple[Model, dict]:
    """Read a checkpoint of one kind of model, with a `name` and arguments as its `config` says.

    Returns:
        The model in eval mode, with `.provenance`, and all that the JSON holds.

    Raises:
        InputError: a file is missing, damaged, or of another kind of model.
    """
    path = Path(path)
    try:
        about = json.loads(path.with_suffix(".json").read_text())
        if about["model"] != kind.name:
            raise InputError(f"checkpoint {path} holds a {about['model']}, expected a {kind.name} model.")
        model = kind(**about["config"])
        model.load_state_dict(as_float32(safetensors.torch.load_file(path)))
        model.provenance = about["provenance"]
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"checkpoint {path} cannot be read ({str(error).splitlines()[0]}): expected NAME.safetensors with "
            f"NAME.json beside it, as {made_by} writes them."
        ) from error
    return model.eval(), about
