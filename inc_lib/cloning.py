"""Behaviour cloning: train a policy on the steps of real paths, by the parts of the one training loop.

    python -m inc_lib.cloning --dataset grand-central --steps 12000 --seed 0 --release

Resumable like every training here: the same command goes on from where it was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import training
from .crowds import Station, find_station
from .errors import InputError
from .files import ROOT, checkpoints_folder
from .models.policy import MixturePolicy
from .models.policy import load as load_policy
from .worlds import crowds

if TYPE_CHECKING:
    from .chapter import Chapter

SPLIT_SEED = 0  # which people are held out: the same for every policy
N_ROUTES = 10  # of which routes are hidden
HIDDEN = (
    1,
    4,
    7,
)  # the second, fifth and eighth of them: whoever walks these is kept from the policy "holes"


class _Steps:
    """Every step of every path, by number; what a policy sees of some of them is worked out when it is asked for."""

    def __init__(self, paths: crowds.Paths, history: int) -> None:
        self.ends, self.window = paths.ends, torch.arange(history + 1)
        self.padded = torch.cat([torch.full((len(paths), history, 2), torch.nan), paths.positions], dim=1)
        self.person, self.k = (~paths.positions[:, 1:, 0].isnan()).nonzero(as_tuple=True)

    def __len__(self) -> int:
        return len(self.person)

    def seen(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What `MixturePolicy.features` takes, and the steps (n, 2) that followed, metres."""
        person, k = self.person[rows], self.k[rows]
        recent = self.padded[person[:, None], k[:, None] + self.window]
        step = self.padded[person, k + len(self.window)] - recent[:, -1]
        return recent, self.ends[person, :2], self.ends[person, 2:], k.float(), step


def steps_of(paths: crowds.Paths, policy: MixturePolicy) -> tuple[Tensor, Tensor]:
    """Every step of every path, as the policy sees it: features (n, F) and steps (n, 2), metres."""
    every, features, steps = _Steps(paths, policy.config["history"]), [], []
    for rows in torch.arange(len(every)).split(2**16):
        *seen, step = every.seen(rows)
        features.append(policy.features(*seen))
        steps.append(step)
    return torch.cat(features), torch.cat(steps)


def with_sub_walks(
    paths: crowds.Paths, generator: torch.Generator, *, times: int = 1, least: int = 6
) -> crowds.Paths:
    """The paths, and for each of them `times` stretches of it: from somewhere on the way to somewhere on the way.

    Who walks from A to B also shows how to get from any place on that walk to any later one (hindsight relabelling of
    goals: Andrychowicz et al. 2017). Without them a policy learns the few goals of the data by heart, overfits, and
    gets lost on the way to a goal that it knows from other starts only.

    Args:
        generator: of the stretches.
        least: positions of a stretch, at least (or all that a shorter path has).
    """
    length, n_steps = paths.lengths, paths.positions.shape[1]
    found, step = [paths.positions], torch.arange(n_steps)
    for _ in range(times):
        uniform = torch.rand(len(paths), 2, generator=generator)
        span = torch.minimum(length, (least + uniform[:, 0] * (length - least + 1).clamp(min=1)).long())
        begin = (uniform[:, 1] * (length - span + 1)).long()
        at = (begin[:, None] + step).clamp(max=n_steps - 1)
        stretch = paths.positions[torch.arange(len(paths))[:, None], at]
        found.append(torch.where((step < span[:, None])[..., None], stretch, torch.nan))
    return crowds.Paths(torch.cat(found), paths.begins.repeat(times + 1))


def clone(
    paths: crowds.Paths,
    *,
    steps: int,
    seed: int = 0,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    decay: float = 0.6,
    sub_walks: int = 3,
    folder: str | Path | None = None,
    device: str = "auto",
    world: str = "",
    options: dict | None = None,
) -> MixturePolicy:
    """Train a policy by maximum likelihood.

    Args:
        paths: of the training pedestrians.
        steps: optimiser steps in all, those of an interrupted run included.
        seed: of weights and batches.
        batch_size: steps of paths in a batch.
        learning_rate: of Adam.
        decay: share of the steps, at the end, over which the rate falls linearly to zero.
        sub_walks: stretches of each path that are learned from beside the path, see `with_sub_walks`.
        folder: where the state is kept; None keeps nothing. A folder that holds a state is resumed.
        world: name of the data, kept in the provenance.
        options: of the policy.

    Returns:
        The policy in eval mode, with `.provenance`.

    Raises:
        InputError: no paths, settings out of range, or a folder that holds the state of another run.
    """
    if not len(paths) or steps < 1 or batch_size < 1 or not learning_rate > 0 or not 0 <= decay <= 1:
        raise InputError(
            f"{len(paths)} paths, steps = {steps}, batch_size = {batch_size}, learning_rate = {learning_rate}, "
            f"decay = {decay} cannot be used: expected paths, positive numbers and a decay between 0 and 1."
        )
    places = paths.positions.flatten(0, 1)
    low, high = places.nan_to_num(torch.inf).amin(0).tolist(), places.nan_to_num(-torch.inf).amax(0).tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = MixturePolicy(low=low, high=high, **(options or {}))
    everything = with_sub_walks(paths, torch.Generator().manual_seed(seed), times=sub_walks)
    every = _Steps(everything, policy.config["history"])
    settings = {
        "world": world,
        "model": policy.name,
        "config": policy.config,
        "paths": len(paths),
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "decay": decay,
        "sub_walks": sub_walks,
        "seed": seed,
        "steps": steps,
    }
    run = training.Run(policy, settings, folder, device=device, precision="32-true")
    run.resume()

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(every), (batch_size,), generator=generator)
        *seen, step = (part.to(run.device) for part in every.seen(rows))
        return policy.features(*seen), step

    run.until_done(draw)
    policy.provenance = run.provenance()
    return policy.eval()


def hidden_routes(station: Station) -> list[tuple[int, int]]:
    """The frequent routes that the policy "holes" never sees."""
    return [station.pairs[k] for k in HIDDEN if k < len(station.pairs)]


def training_paths(crowd: crowds.Crowd, *, holes: bool = False) -> crowds.Paths:
    """The paths that a policy of this crowd is trained on; with `holes`, without those of the hidden routes."""
    paths = crowd.split(torch.Generator().manual_seed(SPLIT_SEED))["train"]
    if holes:
        station = find_station(paths, n_routes=N_ROUTES)
        paths = paths[~station.members(paths.ends, hidden_routes(station))]
    return paths


def release_path(world: str, seed: int, *, holes: bool = False) -> Path:
    """Where the released policy of a crowd lies (whether or not it exists)."""
    return (
        checkpoints_folder() / f"{world}_{MixturePolicy.name}{'-holes' if holes else ''}_s{seed}.safetensors"
    )


def load_or_clone(
    c: Chapter,
    paths: crowds.Paths,
    *,
    seed: int | None = None,
    holes: bool = False,
    steps: int | None = None,
    options: dict | None = None,
) -> MixturePolicy:
    """The released policy of a chapter's crowd, or one trained for `steps` (default `train_steps`) and kept.

    The policy of the chapter's own seed, without holes and options, is what the chapter's record calls its model.

    Raises:
        InputError: the checkpoint that the parameters name was trained on other paths.
    """
    seed = c.seed if seed is None else seed
    own = seed == c.seed and not holes and not options
    named = c.checkpoint not in ("auto", "train")
    path = Path(c.checkpoint).expanduser() if named and own else release_path(c.world.name, seed, holes=holes)
    policy = None
    if not options and (named and own or (c.checkpoint == "auto" and path.is_file())):
        policy = load_policy(path)
        found, expected = (
            (policy.provenance.get("world"), policy.provenance.get("paths")),
            (c.world.name, len(paths)),
        )
        if found != expected:
            if named:
                raise InputError(
                    f"checkpoint {path.name} was trained on {found[1]} paths of {found[0]}, but the chapter runs "
                    f"on {expected[1]} of {expected[0]}: give checkpoint='auto'."
                )
            policy = None  # your folder happens to have a released name
    if policy is None:
        steps, path = steps or c.train_steps, None
        stem = f"{c.world.name}_{MixturePolicy.name}{'-holes' if holes else ''}_s{seed}_{steps}"
        told = f"a policy learns to walk in {c.world.name}: {steps:,} steps, seed {seed}"
        with c.progress(told), c._folder(stem, {"options": options or {}, "paths": len(paths)}) as folder:
            policy = clone(
                paths,
                steps=steps,
                seed=seed,
                folder=folder,
                device=c.device,
                world=c.world.name,
                options=options,
            )
    if own:
        c.adopt(policy, path, released=path is not None and not named)
    return policy.to(c.device)


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m inc_lib.cloning", description="Train a policy on a crowd's paths."
    )
    parser.add_argument("--dataset", default="auto", help="a crowd by name, or a path to your own tracks")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--folder", type=Path, help="where the run is kept (default: runs/models/NAME)")
    parser.add_argument("--holes", action="store_true", help="leave out the paths of three frequent routes")
    parser.add_argument("--release", action="store_true", help="write the result to checkpoints/ (fp16)")
    given = parser.parse_args(arguments)

    def work() -> None:
        crowd = crowds.load(given.dataset)
        target = release_path(crowd.name, given.seed, holes=given.holes)
        folder = given.folder or ROOT / "runs" / "models" / target.stem
        paths = training_paths(crowd, holes=given.holes)
        policy = clone(
            paths, steps=given.steps, seed=given.seed, folder=folder, device=given.device, world=crowd.name
        )
        training.keep(policy, target, folder, released=given.release)

    return training.command(work)


if __name__ == "__main__":
    sys.exit(main())
