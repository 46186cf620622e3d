"""Which trainings and measurements a sweep over worlds, models and seeds consists of: read by workflow/sweep.smk.

Needs neither torch nor a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import pages
from .errors import InputError, suggest
from .files import ROOT, atomic_write

CHAPTER = "18_three_worlds"  # measures E0 to E4 of one network


@dataclass(frozen=True)
class Job:
    """One network of a sweep: what is trained, and for how long."""

    world: str
    model: str
    seed: int
    image_size: int
    steps: int

    @property
    def name(self) -> str:
        """As its checkpoint is called: world, image size, model, seed."""
        return f"{self.world}_{self.image_size}_{self.model}_s{self.seed}"

    @property
    def given(self) -> dict[str, Any]:
        """The parameters of the chapter that measures it."""
        return {"dataset": self.world, "model": self.model, "seed": self.seed, "image_size": self.image_size}


def jobs(profile: str, chosen: Mapping[str, Any], *, path: Path = ROOT / "workflow" / "sweep.yaml") -> list[Job]:
    """Every network of a sweep, in the order of worlds, models, seeds.

    Args:
        profile: "smoke", "cpu" or "gpu".
        chosen: of `worlds`, `models` and `seeds` only these; lists, or text with commas.
        path: the sweep's table.

    Raises:
        InputError: an unknown profile, world or model, or a seed that is no number.
    """
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    scales = [name for name, value in table.items() if isinstance(value, dict)]
    if profile not in scales:
        raise suggest("profile", profile, scales)
    scale = table[profile]
    picked = {}
    for kind in ("worlds", "models", "seeds"):
        known = [str(value) for value in scale.get(kind, table.get(kind))]
        wanted = _listed(chosen[kind]) if kind in chosen else known
        if kind == "seeds":
            for value in wanted:
                if not value.isdigit():
                    raise InputError(f"seed {value!r} cannot be used: expected whole numbers, such as seeds=0,1,2.")
        else:
            for value in wanted:
                if value not in known:
                    raise suggest(kind.removesuffix("s"), value, known)
        picked[kind] = wanted
    return [
        Job(world, model, int(seed), scale["image_size"], scale["steps"][model])
        for world in picked["worlds"]
        for model in picked["models"]
        for seed in picked["seeds"]
    ]


def _listed(value: Any) -> list[str]:
    """A list from the command line: one value, several with commas, or a list already."""
    values: Sequence[Any] = value if isinstance(value, list | tuple) else str(value).split(",")
    return [str(part).strip() for part in values if str(part).strip()]


def oracle_steps(profile: str, *, path: Path = ROOT / "workflow" / "sweep.yaml") -> int:
    """For how long the judges of a sweep are trained."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))[profile]["oracle_steps"]


def write_keys(profile: str, todo: Sequence[Job], *, root: Path = ROOT) -> None:
    """Write what each measurement depends on to `runs/sweep/PROFILE/keys/NAME.key`, touching only what changed.

    As `book.write_keys`, but without the checkpoints: the sweep makes those itself, and they are inputs of their own.
    """
    notebook = root / "notebooks" / f"{CHAPTER}.ipynb"
    source = pages.load(notebook)
    for job in todo:
        values = pages.expected(source, profile, job.given, root=root)
        digests = pages.depends_on(source, values, root=root)
        key = pages.key({name: digest for name, digest in digests.items() if name != "checkpoints"}) + "\n"
        file = root / "runs" / "sweep" / profile / "keys" / f"{job.name}.key"
        if not file.exists() or file.read_text() != key:
            with atomic_write(file) as temporary:
                temporary.write_text(key)
