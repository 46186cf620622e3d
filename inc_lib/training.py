"""One training loop for every model: fast where the processor can be, resumable after a kill, never silent.

    python -m inc_lib.training --world shapes3d-twin --image-size 32 --model ada-gvae --steps 300000 --release

trains one model and puts it into `checkpoints/`. A run writes `state.safetensors` + `state.json` into its folder every
few minutes; the same command started again goes on from there, to the same weights as without the break (bit for
bit on one CPU thread). Nothing is pickled.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from . import models
from .errors import InputError
from .files import ROOT, atomic_write, checkpoints_folder
from .models.networks import multiplies_bf16
from .worlds import World

HEARTBEAT = 20.0  # seconds between lines in a log
CHECKPOINT_EVERY = 120.0  # seconds between resumable states
PEEKS = (100, 1_000, 10_000, 50_000, 100_000, 200_000, 300_000)  # steps after which a picture is drawn


def train(
    world: World,
    model: str,
    *,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    decay: float = 0.0,
    pairs: int | str = "uniform",
    seed: int = 0,
    folder: str | Path | None = None,
    start_from: str | Path | None = None,
    close: Sequence[int] = (),
    device: str = "auto",
    compile: bool = False,
    options: dict | None = None,
    on_step: Callable[[int, models.VAE], None] | None = None,
    every: int = 0,
) -> models.VAE:
    """Train a model on a world.

    Args:
        world: what to learn; images are rendered or read as they are needed.
        model: "ada-gvae", "beta-tcvae" or "comp-wae".
        steps: optimiser steps in all, those of an interrupted run included.
        batch_size: pairs a step for a model that needs pairs, images a step for one that does not.
        learning_rate: of Adam. The papers use 1e-4 for 300,000 steps; short schedules want 5e-4.
        decay: share of the steps, at the end, over which the rate falls linearly to zero (0: constant, as published).
        pairs: how many factors a pair differs in, see `World.pairs`.
        seed: of weights, batches and noise.
        folder: where state, pictures and log go; None keeps nothing. A folder that holds a state is resumed.
        start_from: folder of an earlier run whose weights, optimiser and step count this one takes over, with other
            settings (a schedule in phases). The provenance lists every phase.
        close: codes of that run to empty before going on, see `VAE.close`.
        device: "auto", "cpu" or "cuda".
        compile: fuse the step with torch.compile (needs a C++ compiler on the CPU).
        options: of the model (beta, n_codes, ...).
        on_step: called as on_step(step, model) every `every` steps and at the last.

    Returns:
        The model in eval mode with `.provenance`.

    Raises:
        InputError: the world cannot feed this model, or the folder holds the state of another run.
        KeyboardInterrupt: on Ctrl-C, after the state has been saved.
    """
    if steps < 1 or batch_size < 1 or not learning_rate > 0 or not 0 <= decay <= 1:
        raise InputError(
            f"steps = {steps}, batch_size = {batch_size}, learning_rate = {learning_rate}, decay = {decay} cannot "
            "be used: expected positive numbers and a decay between 0 and 1."
        )
    keep_freed_memory()
    network = models.build(
        model, channels=world.channels, image_size=world.image_size, seed=seed, **(options or {})
    )
    if network.needs_pairs and not world.supports_pairs:
        raise InputError(
            f"{model} learns from pairs that share some factors and differ in others, which {world.name!r} cannot "
            "give (that takes two labelled factors and states that share an attribute): use model='beta-tcvae', "
            "which needs no labels."
        )
    if network.needs_compositions:
        _check_compositions(world, network.n_codes)
    settings = {
        "world": world.name,
        "source": world.source,
        "image_size": world.image_size,
        "model": model,
        "config": network.config,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "decay": decay,
        "pairs": pairs if network.needs_pairs else None,
        "closed": list(close),
        "seed": seed,
        "steps": steps,
    }
    run = Run(network, settings, folder, device=device)
    run.resume(start_from)
    if compile:
        network.encoder, network.decoder = torch.compile(network.encoder), torch.compile(network.decoder)

    def draw(generator: torch.Generator) -> Tensor | tuple[Tensor, Tensor]:
        if network.needs_compositions:
            return ready(_compositions(world, batch_size, generator), run.device)
        return ready(_draw(world, network.needs_pairs, batch_size, generator, pairs), run.device)

    def after(batch: Tensor | tuple[Tensor, Tensor]) -> None:
        if run.done in PEEKS or run.done == steps:
            run.peek(batch)

    run.until_done(draw, after=after, on_step=on_step, every=every)
    network.provenance = run.provenance()
    return network.eval()


class Run:
    """What one training carries along: model, optimiser, generators, and where it is kept. Every model here is
    trained by one.

    Args:
        network: with `loss(batch, noise generator)` that gives the loss and its parts by name. One with
            `after_step()` has it called after each step of the optimiser. Weights that get no gradient in a step are
            left alone by it, as is what Adam remembers of them: so two players can take turns (`models.dls.Game`).
        settings: how it is trained, with "steps", "seed", "learning_rate" and "decay", and "betas" where Adam's are
            not the usual ones; goes into the provenance, and a folder is resumed only by a run with the same ones
            (`steps` may differ).
        folder: where state and pictures go; None keeps nothing.
        device: "auto", "cpu" or "cuda".
        precision: as Lightning Fabric names it; None takes bf16 where the processor multiplies it natively.
        memory_format: of weights that are convolutions.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: dict,
        folder: str | Path | None,
        *,
        device: str = "auto",
        precision: str | None = None,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        self.fabric, self.network, self.settings = _fabric(device, precision), network, settings
        fabric = self.fabric
        self.folder = Path(folder) if folder else None
        network.to(memory_format=memory_format)
        self.optimizer = torch.optim.Adam(
            network.parameters(),
            lr=settings["learning_rate"],
            betas=tuple(settings.get("betas", (0.9, 0.999))),
            fused=True,
        )
        self.wrapped, self.wrapped_optimizer = fabric.setup(network, self.optimizer)
        self.wrapped.mark_forward_method("loss")
        self._after_step = getattr(network, "after_step", None)
        self.generator = torch.Generator().manual_seed(settings["seed"])  # states, on the CPU
        self.noise = torch.Generator(fabric.device).manual_seed(settings["seed"])  # posterior samples
        self.done, self.seconds, self._since, self._saved = 0, 0.0, time.monotonic(), time.monotonic()
        self.phases: list[dict] = []  # settings of earlier runs that this one started from

    @property
    def device(self) -> torch.device:
        """Where batches must lie."""
        return self.fabric.device

    def until_done(
        self,
        draw: Callable[[torch.Generator], Any],
        *,
        after: Callable[[Any], None] | None = None,
        on_step: Callable[[int, Any], None] | None = None,
        every: int = 0,
    ) -> None:
        """Step until `settings["steps"]` are done: progress is shown, the state kept now and then and at the end.

        Args:
            draw: gives a batch on `device`, drawn by the generator that it is handed.
            after: called with the batch after each step, as it is (in training mode).
            on_step: called as on_step(step, network), in eval mode, every `every` steps and at the last.

        Raises:
            KeyboardInterrupt: on Ctrl-C, after the state has been saved.
        """
        steps = self.settings["steps"]
        progress = Progress(steps, self.done)
        try:
            while self.done < steps:
                batch = draw(self.generator)
                parts = self.step(batch)
                self.done += 1
                progress.update(self.done, parts)
                if after:
                    after(batch)
                if on_step and every and (self.done % every == 0 or self.done == steps):
                    self.network.eval()
                    on_step(self.done, self.network)
                    self.network.train()
                self.save_if_due()
        finally:  # also on Ctrl-C: what was learnt is kept
            progress.close()
            self.save()

    def step(self, batch: Tensor | tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """One optimiser step; returns the parts of the loss."""
        self.optimizer.param_groups[0]["lr"] = self.rate()
        with (
            self.fabric.autocast()
        ):  # Fabric casts in `forward` only, and without DDP `loss` does not pass through it
            loss, parts = self.wrapped.loss(batch, self.noise)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.wrapped_optimizer.step()
        if self._after_step:
            self._after_step()
        return parts

    def rate(self) -> float:
        """The learning rate: constant, then linear to zero over the last `decay` of the steps."""
        remaining = 1 - self.done / self.settings["steps"]
        decay = self.settings["decay"]
        return self.settings["learning_rate"] * (min(1.0, remaining / decay) if decay else 1.0)

    def save_if_due(self) -> None:
        if time.monotonic() - self._saved > CHECKPOINT_EVERY:
            self.save()

    def save(self) -> None:
        """Everything needed to go on, as tensors and JSON."""
        if self.folder is None or self.done == 0:
            return
        now = time.monotonic()
        self.seconds, self._since, self._saved = self.seconds + now - self._since, now, now
        tensors = {f"model.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{slot}": value for slot, value in slots.items()}
        tensors |= {"generator": self.generator.get_state(), "noise": self.noise.get_state()}
        metadata = {
            "about": json.dumps(
                {"done": self.done, "seconds": self.seconds, "settings": self.settings, "phases": self.phases}
            )
        }
        with atomic_write(self.folder / "state.safetensors") as path:
            safetensors.torch.save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                path,
                metadata=metadata,
            )

    def resume(self, start_from: str | Path | None = None) -> None:
        """Go on from the folder's state, if it is of this run (only `steps` may differ), else from another run's."""
        path = self.folder / "state.safetensors" if self.folder else None
        interrupted = path is not None and path.exists()
        if interrupted:
            about, tensors = _read_state(path)
            self.phases = about["phases"]
            ours, theirs = (
                {key: value for key, value in settings.items() if key != "steps"}
                for settings in (json.loads(json.dumps(self.settings)), about["settings"])
            )
            if ours != theirs:
                differing = ", ".join(sorted(key for key in ours if ours[key] != theirs.get(key)))
                raise InputError(
                    f"{self.folder} holds a training with other settings ({differing} differ): choose another "
                    "folder, or delete it to start anew."
                )
        elif start_from is not None:
            if not (Path(start_from) / "state.safetensors").exists():
                raise InputError(
                    f"{start_from} holds no training to start from: expected state.safetensors in it."
                )
            about, tensors = _read_state(Path(start_from) / "state.safetensors")
            free = {"beta": None, "changed": None}  # of the objective, not of the network
            if about["settings"]["model"] != self.settings["model"] or {
                **about["settings"]["config"],
                **free,
            } != {**self.network.config, **free}:
                raise InputError(
                    f"{start_from} holds a {about['settings']['model']} of another shape: start from a training of "
                    "the same model, image size and number of codes."
                )
            changing = (*free, "pairs", "closed", "learning_rate", "decay", "batch_size")
            flat = about["settings"] | {key: about["settings"]["config"].get(key) for key in free}
            self.phases = [
                *about["phases"],
                {"until_step": about["done"]} | {key: flat.get(key) for key in changing},
            ]
        else:
            return
        self.network.load_state_dict(
            {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
        )
        if not interrupted and self.settings.get("closed"):
            self.network.close(self.settings["closed"])
        state = self.optimizer.state_dict()
        state["state"] = {}
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, index, slot = name.split(".")
                parameter = self.optimizer.param_groups[0]["params"][int(index)]
                if tensor.ndim:  # in its weight's memory format: fused Adam walks both side by side
                    tensor = torch.empty_like(parameter).copy_(tensor)
                state["state"].setdefault(int(index), {})[slot] = tensor
        self.optimizer.load_state_dict(state)
        self.generator.set_state(tensors["generator"])
        self.noise.set_state(tensors["noise"])
        self.done, self.seconds = about["done"], about["seconds"]

    def peek(self, batch: Tensor | tuple[Tensor, Tensor]) -> None:
        """A picture of eight images and what the model makes of them: what a person looks at first."""
        if self.folder is None:
            return
        images = (batch[0] if isinstance(batch, tuple) else batch)[:8].cpu()
        rows = torch.cat([images, self.network.decode(self.network.encode(images.contiguous()))])
        size = images.shape[-1]
        sheet = (
            rows.view(2, -1, images.shape[1], size, size)
            .permute(0, 3, 1, 4, 2)
            .reshape(2 * size, -1, images.shape[1])
        )
        from PIL import Image

        with atomic_write(self.folder / f"peek_{self.done:06d}.png") as path:
            Image.fromarray((sheet.clamp(0, 1) * 255).byte().expand(-1, -1, 3).numpy()).save(path)

    def provenance(self) -> dict:
        """How these weights came to be."""
        phases = {"earlier_phases": self.phases} if self.phases else {}
        return {
            **self.settings,
            "steps": self.done,
            **phases,
            "seconds": round(self.seconds + time.monotonic() - self._since),
            "device": _device_name(self.fabric.device),
            "precision": str(self.fabric._precision.precision),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__.split("+")[0],
        }


def _read_state(path: Path) -> tuple[dict, dict[str, Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {"phases": [], **json.loads(file.metadata()["about"])}, {
                name: file.get_tensor(name) for name in file.keys()  # noqa: SIM118 (not a dict)
            }
    except (safetensors.SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as a training state: delete it to start anew.") from error


def _draw(world: World, paired: bool, n: int, generator: torch.Generator, pairs: int | str):
    if paired:
        return world.paired_observations(n, generator, k=pairs)[:2]
    return world.sample(n, generator)[0]


def _compositions(world: World, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """References, commands and targets (n, C, H, W), and the queried factors (n,)."""
    *states, query = world.compositions(n, generator)
    return (*world.render(torch.cat(states)).split(n), query)


def _check_compositions(world: World, n_codes: int) -> None:
    world.compositions(1, torch.Generator())  # refuses what cannot give them
    if len(world.factors) > n_codes:
        raise InputError(
            f"world {world.name!r} has {len(world.factors)} factors, and comp-wae keeps each in a code of its own: "
            f"{n_codes} codes are too few."
        )


def ready(batch, device: torch.device):
    """On the device, images channels last: the layout in which convolutions are fastest."""
    if isinstance(batch, tuple):
        return tuple(ready(part, device) for part in batch)
    if batch.ndim < 4:
        return batch.to(device)
    return batch.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)


def _fabric(device: str, precision: str | None) -> Fabric:
    """bf16 where the processor multiplies it natively, float32 elsewhere, unless a precision is asked for."""
    device = pick_device(device)
    fastest = "bf16-mixed" if multiplies_bf16(device) else "32-true"
    return Fabric(accelerator=device, devices=1, precision=precision or fastest)


def pick_device(device: str) -> str:
    """ "auto" to "cuda" or "cpu"; anything else is checked."""
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {device!r} is unknown: expected 'auto', 'cpu' or 'cuda'.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' was asked for, but torch sees no CUDA device: use 'auto' or 'cpu'.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks: a step's activations otherwise go back to the kernel and are faulted in anew.

    Worth a fifth of a step at 64x64 on the CPU; elsewhere (macOS, Windows, musl) nothing happens.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    mallopt(mmap_threshold, 32 << 20)
    mallopt(trim_threshold, (1 << 31) - 1)


class Progress:
    """A bar on a terminal, a line now and then in a log."""

    def __init__(self, steps: int, done: int) -> None:
        self.steps, self.start, self.first, self.spoken = steps, time.monotonic(), done, time.monotonic()
        self.bar = tqdm(total=steps, initial=done, unit="step") if sys.stderr.isatty() else None

    def update(self, done: int, parts: dict[str, Tensor]) -> None:
        if self.bar is not None:
            self.bar.update(1)
            if done % 50 == 0:
                self.bar.set_postfix({name: f"{value.item():.3g}" for name, value in parts.items()})
            return
        now = time.monotonic()
        if now - self.spoken > HEARTBEAT or done == self.steps:
            self.spoken = now
            speed = (done - self.first) / max(now - self.start, 1e-9)
            values = ", ".join(f"{name} {value.item():.3g}" for name, value in parts.items())
            print(
                f"step {done:,} of {self.steps:,} ({speed:.1f} a second, "
                f"{(self.steps - done) / speed / 60:.1f} min left): "
                f"{values}",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def short_schedule(world: World, model: str, pairs: int | str | None = None) -> dict:
    """Settings with which minutes of training go furthest, as keyword arguments of `train`.

    A rate of 5e-4 that falls to zero at the end (the papers: 1e-4, constant, for 300,000 steps). Ada-GVAE gets pairs
    that differ in one factor, and shares all codes but one (`benchmarks/supervision.py` says what that is worth); where
    the data hold no such pairs, half of them in one factor and the paper's threshold. Both is more supervision
    than the paper's. Pairs of your own choice replace the whole supervision: they come with the threshold.
    """
    schedule = {"learning_rate": 5e-4, "decay": 0.2, "pairs": pairs or "half-one", "options": {}}
    if pairs is None and model == "ada-gvae" and world.gives_single_changes:
        schedule |= {"pairs": 1, "options": {"changed": 1}}
    return schedule


def _chosen(**values) -> dict:
    return {key: value for key, value in values.items() if value is not None}


def release_path(world: str, image_size: int, model: str, seed: int) -> Path:
    """Where the released checkpoint of this world, size, model and seed lies (whether or not it exists)."""
    return checkpoints_folder() / f"{world}_{image_size}_{model}_s{seed}.safetensors"


def keep(model: Any, target: Path, folder: Path, *, released: bool) -> None:
    """The end of a training: write its checkpoint, to `target` in fp16 where it is released, else to its folder."""
    path = target if released else folder / "model.safetensors"
    models.save(model, path, model.provenance, half=released)
    print(f"wrote {path}")


def command(work: Callable[[], None]) -> int:
    """Do what a command line asks for; its exit status: 2 and a sentence for bad input, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's farewell is a Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf to it
    try:
        work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the state is kept; the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m inc_lib.training", description="Train one model on one world."
    )
    parser.add_argument(
        "--world", default="shapes3d-twin", help="a world by name, or a path to your own data"
    )
    parser.add_argument("--image-size", type=int, default=32, choices=(32, 64))
    parser.add_argument("--model", default="ada-gvae", help="ada-gvae, beta-tcvae or comp-wae")
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--batch-size", type=int, default=64, help="pairs (ada-gvae) or images a step")
    parser.add_argument("--learning-rate", type=float, help="of Adam (default: 5e-4)")
    parser.add_argument(
        "--decay", type=float, help="share of the steps over which the rate falls to 0 (default: 0.2)"
    )
    parser.add_argument(
        "--pairs", help="uniform, half-one, or a number (default: 1, with --changed 1, where the data hold such pairs)"
    )
    parser.add_argument("--beta", type=float, help="weight of the regulariser (default: the model's)")
    parser.add_argument(
        "--changed", type=int, help="ada-gvae: codes in which a pair may differ (default: the threshold)"
    )
    parser.add_argument("--output", help="comp-wae: linear or sigmoid (default: linear)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--folder", type=Path, help="where the run is kept (default: runs/models/NAME)")
    parser.add_argument(
        "--start-from", type=Path, help="folder of an earlier run to go on from, with other settings"
    )
    parser.add_argument(
        "--close", type=int, nargs="+", default=[], metavar="CODE", help="with --start-from: codes to empty first"
    )
    parser.add_argument(
        "--release", nargs="?", const="", metavar="KIND",
        help="write the result to checkpoints/ (fp16), under another name than the model's if one is given",
    )
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    from . import worlds

    def work() -> None:
        world = worlds.load(given.world, image_size=given.image_size, device=pick_device(given.device))
        pairs = int(given.pairs) if given.pairs and given.pairs.isdigit() else given.pairs
        schedule = short_schedule(world, given.model, pairs)
        schedule |= _chosen(learning_rate=given.learning_rate, decay=given.decay)
        schedule["options"] |= _chosen(beta=given.beta, changed=given.changed, output=given.output)
        target = release_path(world.name, given.image_size, given.release or given.model, given.seed)
        folder = given.folder or ROOT / "runs" / "models" / target.stem
        model = train(
            world,
            given.model,
            steps=given.steps,
            batch_size=given.batch_size,
            seed=given.seed,
            folder=folder,
            start_from=given.start_from,
            close=given.close,
            device=given.device,
            compile=given.compile,
            **schedule,
        )
        keep(model, target, folder, released=given.release is not None)

    return command(work)


if __name__ == "__main__":
    sys.exit(main())
