"""Train a DLS-Clustering model, or ClusterGAN, on vectors, by the parts of the one training loop.

    python -m inc_lib.adversarial --dataset pendigits --steps 4000 --members 5 --release

Resumable like every training here: the same command goes on from where it was. A step here is one of the generator
and encoder, with the five of the critic before it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import training
from .errors import InputError
from .files import ROOT, checkpoints_folder
from .models import dls
from .models.dls import CRITIC_STEPS, DLS, Game
from .worlds import vectors
from .worlds.vectors import VectorWorld

if TYPE_CHECKING:
    from .chapter import Chapter

CYCLE = CRITIC_STEPS + 1  # steps of the optimiser for one of the generator
BETAS = (0.5, 0.9)
N_CODES = {
    "pendigits": 5,
    "mnist": 25,
    "fashion-mnist": 40,
    "digits": 10,
    "pbmc68k-reduced": 30,  # the paper's for 10x_73k
}  # of z_n; the paper's, except for digits
SHORT = {"learning_rate": 1e-3, "decay": 0.4}  # with which minutes of training go furthest; the paper's: 1e-4 and 0
OPENING = 1_000  # steps of the encoder alone, where pictures are bent; of so many a batch:
OPENING_BATCH = 256
TRIES = 3  # encoders that open, of which the one with the lowest loss of its own goes on
OTHERWISE = 5  # of z_n, for data that the paper does not have


def n_codes_for(world: str) -> int:
    """Dimensions of z_n for a world."""
    return N_CODES.get(world, OTHERWISE)


def train(
    world: VectorWorld,
    *,
    steps: int,
    n_clusters: int | None = None,
    objective: str | Mapping[str, float] = "dls",
    seed: int = 0,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    decay: float = 0.0,
    opening: int | None = None,
    folder: str | Path | None = None,
    device: str = "auto",
    options: dict | None = None,
    on_step: Callable[[int, DLS], None] | None = None,
    every: int = 0,
) -> DLS:
    """Play the game between critic and generator on a world's training part. Its labels are not looked at.

    Args:
        world: vectors in [0, 1].
        steps: of the generator and encoder in all, those of an interrupted run included.
        n_clusters: K; default: as many as the world has classes, which is the only thing that is taken from them.
        objective: "dls", "clustergan", "dls-bent" (pictures and strokes), or weights of terms: `models.dls.OBJECTIVES`.
        seed: of weights, batches and noise.
        batch_size, learning_rate: the paper's, 64 and 1e-4.
        decay: share of the steps, at the end, over which the rate falls linearly to zero (the paper's: 0).
        opening: steps of the encoder alone before the game, in batches of 256; default: 1,000 where pictures are bent.
        folder: where the state is kept; None keeps nothing. A folder that holds a state is resumed.
        device: "auto", "cpu" or "cuda".
        options: of the model (n_codes, width, convolutions, members). Members start from weights of their own, draw
            their own batches and noise, and learn as if each were alone.
        on_step: called as on_step(step, model) every `every` steps and at the last; with step 0 after an opening.

    Returns:
        The model in eval mode, with `.provenance`.

    Raises:
        InputError: settings out of range, more clusters than observations, or the folder of another run.
    """
    n_clusters = len(world.classes) if n_clusters is None else n_clusters
    if steps < 1 or batch_size < 2 or not learning_rate > 0 or not 0 <= decay <= 1:
        raise InputError(
            f"steps = {steps}, batch_size = {batch_size}, learning_rate = {learning_rate}, decay = {decay} cannot be "
            "used: expected positive numbers, batches of at least 2, and a decay between 0 and 1."
        )
    if not 2 <= n_clusters <= len(world.train):
        raise InputError(
            f"n_clusters = {n_clusters} cannot be used for {len(world.train):,} observations of {world.name}: expected "
            "a whole number from 2 to as many as there are observations"
            f"{'' if world.classes else ', which data without labels do not tell'}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {"n_codes": n_codes_for(world.name)} | (options or {})
        model = DLS(n_features=world.n_features, n_clusters=n_clusters, **options)
        bends = objective == "dls-bent"
        opening = (OPENING if bends else 0) if opening is None else opening
        convolutions = model.config["convolutions"]
        tries = TRIES if opening and not convolutions else 1
        game = Game(model, objective, opening=opening, tries=tries, strokes=world.kind == "strokes")
    settings = {
        "world": world.name,
        "source": world.source,
        "model": DLS.name,
        "config": model.config,
        "objective": objective if isinstance(objective, str) else "by weights",
        "weights": game.weights,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "betas": list(BETAS),
        "decay": decay,
        "seed": seed,
        "steps": opening + steps * CYCLE,
    } | ({"opening": opening, "tries": len(game.paid)} if opening else {})
    # bf16 is worth it where layers are large: 784 features, not 16
    precision = None if world.n_features >= 256 else "32-true"
    run = training.Run(game, settings, folder, device=device, precision=precision)
    run.resume()
    observations = world.train.vectors

    def draw(generator: torch.Generator) -> Tensor:
        n = OPENING_BATCH if run.done < opening else batch_size
        rows = torch.randint(len(observations), (model.members, n), generator=generator)
        return observations[rows].to(run.device)

    def told(step: int, _: Game) -> None:
        if step > opening:
            on_step((step - opening) // CYCLE, model.eval())

    def opened(_: Tensor) -> None:
        if on_step and run.done == opening:
            on_step(0, model.eval())
            model.train()

    run.until_done(draw, after=opened, on_step=told if on_step else None, every=every * CYCLE)
    model.provenance = run.provenance() | {"generator_steps": max(run.done - opening, 0) // CYCLE}
    return model.requires_grad_(True).eval()


def members_of(model: DLS) -> list[DLS]:
    """The networks that were trained side by side, each for itself, with a provenance that says which it is."""
    found = [model.member(k) for k in range(model.members)]
    for k, one in enumerate(found):
        one.provenance = model.provenance | {"config": one.config, "member": k, "of_members": model.members}
    return found


def release_path(world: str, seed: int, kind: str = DLS.name) -> Path:
    """Where the released model of a world lies (whether or not it exists)."""
    return checkpoints_folder() / f"{world}_{kind}_s{seed}.safetensors"


def load_or_train(
    c: Chapter,
    *,
    seed: int | None = None,
    objective: str = "dls",
    n_clusters: int | None = None,
    steps: int | None = None,
) -> DLS:
    """The released model of a chapter's world, or one trained for `steps` (default `train_steps`) and kept.

    The model of the chapter's own seed and the whole objective is what the chapter's record calls its model.

    Raises:
        InputError: the checkpoint that the parameters name was made for other vectors.
    """
    seed = c.seed if seed is None else seed
    n_clusters = len(c.world.classes) if n_clusters is None else n_clusters
    own = seed == c.seed and objective == c.model_name and "model" not in c.__dict__
    named = c.checkpoint not in ("auto", "train")
    path = Path(c.checkpoint).expanduser() if named and own else release_path(c.world.name, seed, objective)
    model = None
    if (named and own) or (c.checkpoint == "auto" and path.is_file()):
        model = dls.load(path)
        found = model.provenance.get("world"), model.config["n_features"], model.n_clusters
        expected = c.world.name, c.world.n_features, n_clusters
        if found != expected:
            if named:
                told = [f"{name} ({size} features, {k} clusters)" for name, size, k in (found, expected)]
                raise InputError(
                    f"checkpoint {path.name} was trained on {told[0]}, but the chapter runs on {told[1]}: give "
                    "checkpoint='auto'."
                )
            model = None  # another number of clusters, or your file happens to have a released name
    if model is None:
        steps, path = steps or c.train_steps, None
        stem = f"{c.world.name}_{objective}_k{n_clusters}_s{seed}_{steps}"
        told = f"{objective} learns {c.world.name}: {steps:,} steps, seed {seed}"
        key = {"features": c.world.n_features, "rows": len(c.world.train)}
        with c.progress(told), c._folder(stem, key) as folder:
            model = train(
                c.world,
                steps=steps,
                n_clusters=n_clusters,
                objective=objective,
                seed=seed,
                folder=folder,
                device=c.device,
                **SHORT,
            )
    if own:
        c.adopt(model, path, released=path is not None and not named)
    return model.to(c.device)


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m inc_lib.adversarial", description="Train DLS-Clustering or ClusterGAN on vectors."
    )
    parser.add_argument("--dataset", default="auto", help="vectors by name, or a path to your own")
    parser.add_argument("--scale", default="none", help="of your own: none or range")
    parser.add_argument("--steps", type=int, default=4_000, help="of the generator")
    parser.add_argument("--n-clusters", type=int, help="K (default: the number of classes)")
    parser.add_argument("--objective", default="dls", help=" or ".join(dls.OBJECTIVES))
    parser.add_argument("--learning-rate", type=float, default=SHORT["learning_rate"])
    parser.add_argument("--decay", type=float, default=SHORT["decay"])
    parser.add_argument("--opening", type=int, help="steps of the encoder alone, where pictures are bent")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--convolutions", action="store_true", help="for images of 28x28")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--members", type=int, default=1, help="networks side by side, named seed, seed + 1, ..."
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="where the run is kept (default: runs/models/NAME)")
    parser.add_argument("--release", action="store_true", help="write the result to checkpoints/ (fp16)")
    given = parser.parse_args(arguments)

    def work() -> None:
        world = vectors.load(given.dataset, scale=given.scale)
        target = release_path(world.name, given.seed, given.objective)
        folder = given.folder or ROOT / "runs" / "models" / target.stem
        model = train(
            world,
            steps=given.steps,
            n_clusters=given.n_clusters,
            objective=given.objective,
            seed=given.seed,
            learning_rate=given.learning_rate,
            decay=given.decay,
            opening=given.opening,
            folder=folder,
            device=given.device,
            options={"width": given.width, "convolutions": given.convolutions, "members": given.members},
        )
        for k, member in enumerate(members_of(model)):
            own = release_path(world.name, given.seed + k, given.objective)
            training.keep(member, own, folder / own.stem, released=given.release)

    return training.command(work)


if __name__ == "__main__":
    sys.exit(main())
