"""Learn a clustered generator: z and y in turn, then G.

    python -m inc_lib.alternation --dataset mnist --observations 10000 --seed 0 --release

Two ways. `train` is what works: more pictures than clusters at first, z that learns to move bit by bit, a chain per
label. Its theta step is in closed form, so it has a loop of its own, of sweeps; each sweep is kept, and the same
command goes on from the last one, to the same weights bit for bit. `train_literally` is the algorithm as published, by
the one training loop of `training`; the chapter shows what becomes of it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F

from . import langevin as _langevin
from . import training
from .errors import InputError, suggest
from .files import ROOT, atomic_write, checkpoints_folder, sha256
from .langevin import infer, infer_cooling, label_posterior, langevin
from .models import clustered
from .models.clustered import DeconvolutionalGenerator, DeformingGenerator
from .worlds import object_files, published, vectors
from .worlds.vectors import Part, VectorWorld

if TYPE_CHECKING:
    from .chapter import Chapter

INITIALS = ("surplus", "k-means", "random")
LABELS = ("map", "sample")
PSEUDO_COUNT = 50  # observations' worth of prior in a cluster's covariance of bends
SLOWEST = 0.02  # a pixel that few observations look up moves as if this share of them did
LEDGER = ROOT / "results" / "benchmarks" / "clustered.json"  # of benchmarks/clustered.py
FINEST = 14  # pixels on a side; larger images are halved until they are no larger
LEAST = 10  # members without which a cluster's picture stays what it is
SHADE_RATE = 0.7  # shades and pictures move at once: a little less than the whole step
SHADE = 0.1  # of the noise that shades start from


@dataclass(frozen=True)
class Stage:
    """Some sweeps with the same freedom.

    Attributes:
        moves: what of z is alive: "nothing", "shifts", "linear", "bends" or "shades", each with all before it.
        sigma: of the noise.
        sweeps: over all observations.
        covariances: whether each cluster learns how its own members bend.
        prunes: whether surplus pictures go, from the second sweep on.
    """

    moves: str
    sigma: float
    sweeps: int
    covariances: bool = False
    prunes: bool = False


# From k-means (nothing moves) to the whole of z, while sigma falls.
SCHEDULE = (
    Stage("shifts", 0.5, 4),
    Stage("linear", 0.4, 5, prunes=True),
    Stage("linear", 0.3, 8, prunes=True),
    Stage("bends", 0.3, 6),
    Stage("shades", 0.3, 12, covariances=True),
)
# The released models': longer, and finer at the end, for a generator with more waves and shades.
LONG = (*SCHEDULE[:-1], Stage("shades", 0.3, 8, covariances=True), Stage("shades", 0.2, 8, covariances=True))
MOVES = ("nothing", "shifts", "linear", "bends", "shades")


@dataclass(frozen=True)
class Recipe:
    """What makes the alternation work; each field can be taken away, see `benchmarks/clustered.py`.

    Attributes:
        initial: pictures to begin with: "surplus", k-means with `surplus` times K centres, of which the ones that are
            missed least go; "k-means", K centres; "random", K observations.
        surplus: how many times K.
        grows: whether z is freed bit by bit; else all of it from the first sweep.
        anneals: whether sigma falls; else the last stage's value from the first sweep.
        own_chains: a chain per label; else the chosen label's chain is every label's start in the next sweep, which
            is the published warm start.
        marginal: labels by the marginal of z (Laplace); else by the peak, see `langevin.infer`.
        covariances: whether a cluster learns how its own members bend.
        labels: "map", or "sample" from the posterior.
        temperature: of the chains' noise; 0 climbs.
        uniform: pi stays 1 / K; else it is learned.
        steps: of the chains in each sweep; twice as many where a stage begins, five times from 0.
        modes, n_shades: of the generator.
    """

    initial: str = "surplus"
    surplus: int = 3
    grows: bool = True
    anneals: bool = True
    own_chains: bool = True
    marginal: bool = True
    covariances: bool = True
    labels: str = "map"
    temperature: float = 0.0
    uniform: bool = True
    steps: int = 2
    modes: int = 2
    n_shades: int = 2

    def __post_init__(self) -> None:
        if self.initial not in INITIALS:
            raise suggest("initial", self.initial, INITIALS)
        if self.labels not in LABELS:
            raise suggest("labels", self.labels, LABELS)
        if min(self.surplus, self.steps) < 1 or not 0 <= self.temperature <= 1:
            raise InputError(
                f"surplus = {self.surplus}, steps = {self.steps}, temperature = {self.temperature} cannot be used: "
                "expected at least 1, and a temperature from 0 to 1."
            )

    def stages(self, schedule: tuple[Stage, ...] = SCHEDULE) -> tuple[Stage, ...]:
        """The schedule without what is taken away, with as many sweeps."""
        last = schedule[-1]
        return tuple(
            replace(
                stage,
                moves=stage.moves if self.grows else last.moves,
                sigma=stage.sigma if self.anneals else last.sigma,
                covariances=stage.covariances and self.covariances,
            )
            for stage in schedule
        )


def train(
    world: VectorWorld,
    *,
    n_clusters: int | None = None,
    observations: int | None = None,
    first: int = 2_000,
    recipe: Recipe | None = None,
    schedule: tuple[Stage, ...] = SCHEDULE,
    seed: int = 0,
    folder: str | Path | None = None,
    on_sweep: Callable[[int, DeformingGenerator, Tensor], None] | None = None,
    history: list[dict] | None = None,
) -> DeformingGenerator:
    """Learn a deforming generator from a world's training part. Its labels are not looked at.

    Args:
        world: images in [0, 1].
        n_clusters: K; default: as many as the world has classes, which is the only thing that is taken from them.
        observations: from the front of the training part; default: all.
        first: of them, until the stage in which z learns to bend.
        recipe, schedule: how.
        seed: of k-means, shades, and noise.
        folder: where the state is kept after each sweep; None keeps nothing. A folder that holds one is resumed.
        on_sweep: called as on_sweep(sweep, model, labels (n,)) after each.
        history: is filled with what each sweep found: "score" (mean log p(x), up to a constant), share of labels
            "changed", number of "pictures", and what was free.

    Returns:
        The model in eval mode, with `.provenance`; `.labels` (n,), of the observations that it learned from.

    Raises:
        InputError: no images, K out of range, or the folder of another run.
        KeyboardInterrupt: on Ctrl-C; what the last sweep found is kept.
    """
    recipe = recipe or Recipe()
    x = world.train.vectors[:observations]
    n_clusters = checked_clusters(world, n_clusters, len(x))
    settings = {
        "world": world.name,
        "source": world.source,
        "observations": len(x),
        "first": first,
        "n_clusters": n_clusters,
        "recipe": asdict(recipe),
        "schedule": [asdict(stage) for stage in schedule],
        "seed": seed,
    }
    state = _State.resumed(folder, settings) or _State.begun(world, x, n_clusters, first, recipe, settings)
    plan = [(stage, at) for stage in recipe.stages(schedule) for at in range(stage.sweeps)]
    pruning = [done for done, (stage, at) in enumerate(plan) if stage.prunes and at]
    early = sum(stage.sweeps for stage in schedule if stage.moves in ("nothing", "shifts", "linear"))
    progress = training.Progress(len(plan), state.done)
    try:
        while state.done < len(plan):
            stage, at = plan[state.done]
            rows = len(x) if state.done >= early else min(first, len(x))
            fewer = None
            if state.done in pruning:  # a third of what is too many, at the end all of it
                many = state.model.n_clusters - n_clusters
                fewer = n_clusters + (0 if state.done == pruning[-1] else many - -(-many // 3))
            _sweep(state, x[:rows], stage, at == 0, recipe, fewer)
            state.done += 1
            told = state.history[-1]
            progress.update(state.done, {name: torch.tensor(told[name]) for name in ("score", "changed")})
            state.save(folder)
            if on_sweep:
                on_sweep(state.done, state.model, state.y)
    finally:
        progress.close()
    model = state.model.eval()
    model.sigma.fill_(plan[-1][0].sigma)
    model.provenance = state.provenance()
    model.labels = state.y
    if history is not None:
        history[:] = state.history
    return model


def images(dataset: str = "auto") -> VectorWorld:
    """Images by name or path, as vectors; those with sides above `FINEST` halved by the mean of 2x2 pixels. The ones
    of `worlds.object_files`, grey and of 32 pixels, which cannot be halved to 14, are brought there by area means.

    Args:
        dataset: as `worlds.vectors.load` takes it, but "auto" is "mnist" where its files are at hand, else "digits";
            your own .npz or .csv holds square images as vectors.

    Raises:
        InputError: as there, or vectors that are no square images.
    """
    if dataset == "auto":
        dataset = "mnist" if all(path is not None for _, path in published.locate("mnist")) else "digits"
    world = vectors.load(dataset, constants=True)
    side = math.isqrt(world.n_features)
    shape = world.shape if len(world.shape) == 2 else (side, side)
    if shape[-1] == 2 or math.prod(shape) != world.n_features or side < 4:
        raise InputError(
            f"{world.name} holds vectors of {world.n_features} numbers, which are no square images of at least 4x4, "
            "and only images can be deformed: bring images, or use chapter 12's models."
        )
    parts = {"train": world.train, "test": world.test}
    while max(shape) > FINEST and not any(side % 2 for side in shape):
        finest = world.name in object_files.NAMES and world.source == "published"
        for name, part in parts.items():
            if finest:
                means = object_files.area_means(part.vectors.view(-1, *shape).numpy(), FINEST)
                smaller = torch.from_numpy(means)
            else:
                smaller = F.avg_pool2d(part.vectors.view(-1, 1, *shape), 2)
            parts[name] = Part(smaller.flatten(1), part.labels)
        shape = (FINEST, FINEST) if finest else tuple(side // 2 for side in shape)
    return replace(world, shape=shape, **parts)


def checked_clusters(world: VectorWorld, n_clusters: int | None, n: int) -> int:
    """K, if it can be learned from n observations.

    Raises:
        InputError: it cannot.
    """
    n_clusters = len(world.classes) if n_clusters is None else n_clusters
    if not 2 <= n_clusters <= n:
        raise InputError(
            f"n_clusters = {n_clusters} cannot be used for {n:,} observations of {world.name}: expected a whole number "
            f"from 2 to {n:,}{'' if world.classes else ', which data without labels do not tell'}."
        )
    return n_clusters


@dataclass
class _State:
    """What a training carries from sweep to sweep."""

    model: DeformingGenerator
    z: Tensor  # chains (n, K, n_z), as many rows as were in use so far
    y: Tensor  # int64 (n,)
    log_shares: Tensor  # log pi (K,)
    generator: torch.Generator
    settings: dict
    done: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._since = time.monotonic()

    @classmethod
    def begun(
        cls, world: VectorWorld, x: Tensor, n_clusters: int, first: int, recipe: Recipe, settings: dict
    ) -> _State:
        generator = torch.Generator().manual_seed(settings["seed"])
        rows = x[:first]
        many = n_clusters * (recipe.surplus if recipe.initial == "surplus" else 1)
        many = max(min(many, len(rows) // 10), n_clusters)
        if recipe.initial == "random":
            centres = rows[torch.randperm(len(rows), generator=generator)[:many]].view(-1, 1, *world.shape)
            centres = F.avg_pool2d(centres, 3, 1, 1)  # a blur: one person's stroke is no mean of many
        else:
            means = KMeans(many, n_init=3, random_state=settings["seed"]).fit(rows.numpy())
            centres = torch.from_numpy(means.cluster_centers_).float()
        model = DeformingGenerator(
            shape=world.shape, n_clusters=many, modes=recipe.modes, n_shades=recipe.n_shades
        )
        model.templates.copy_(centres.view(-1, *world.shape))
        return cls(
            model,
            z=torch.empty(0, many, model.n_z),
            y=torch.empty(0, dtype=torch.int64),
            log_shares=torch.full((many,), -math.log(many)),
            generator=generator,
            settings=settings,
        )

    def save(self, folder: str | Path | None) -> None:
        """Everything needed to go on, as tensors and JSON."""
        if folder is None:
            return
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {"z": self.z, "y": self.y, "log_shares": self.log_shares, "generator": self.generator.get_state()}
        about = {name: getattr(self, name) for name in ("settings", "done", "seconds", "history")}
        about["config"] = self.model.config
        with atomic_write(Path(folder) / "state.safetensors") as path:
            held = {name: tensor.contiguous() for name, tensor in tensors.items()}
            safetensors.torch.save_file(held, path, metadata={"about": json.dumps(about)})

    @classmethod
    def resumed(cls, folder: str | Path | None, settings: dict) -> _State | None:
        """The state in a folder, if there is one and it is of this training."""
        path = Path(folder) / "state.safetensors" if folder else None
        if path is None or not path.is_file():
            return None
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                about = json.loads(file.metadata()["about"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} cannot be read as a training state: delete it to start anew.") from error
        ours = json.loads(json.dumps(settings))
        if ours != about["settings"]:
            differing = ", ".join(sorted(key for key in ours if ours[key] != about["settings"].get(key)))
            raise InputError(
                f"{folder} holds a training with other settings ({differing or 'their names'} differ): choose another "
                "folder, or delete it to start anew."
            )
        model = DeformingGenerator(**about["config"])
        model.load_state_dict({name[6:]: part for name, part in tensors.items() if name.startswith("model.")})
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        rest = {name: about[name] for name in ("done", "seconds", "history")}
        return cls(model, tensors["z"], tensors["y"], tensors["log_shares"], generator, settings, **rest)

    def provenance(self) -> dict:
        """How these weights came to be."""
        return {
            **self.settings,
            "sweeps": self.done,
            "score": self.history[-1]["score"],
            "seconds": round(self.seconds + time.monotonic() - self._since),
            "device": "cpu",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__.split("+")[0],
        }

    def keep_labels(self, labels: list[int]) -> None:
        """Let the other pictures go."""
        self.model, self.z = self.model.kept(labels), self.z[:, labels].contiguous()
        self.log_shares = self.log_shares[labels].log_softmax(0)


def _sweep(state: _State, x: Tensor, stage: Stage, begins: bool, recipe: Recipe, fewer: int | None) -> None:
    """z and y of every observation, then theta; `fewer`: to how many pictures to go down, None: no fewer."""
    model = state.model
    if begins and stage.moves == "shades" and not model.shades.any():
        noise = SHADE * torch.randn(model.shades.shape, generator=state.generator)
        if model.n_shades:
            blurred = F.avg_pool2d(noise.flatten(0, 1)[:, None], 3, 1, 1).view_as(noise)
            model.shades.copy_(blurred * model.templates[:, None].clamp(0, 1).sqrt())
    new = len(x) - len(state.z)
    if new > 0:
        state.z = torch.cat([state.z, torch.zeros(new, model.n_clusters, model.n_z)])
    if not recipe.own_chains and len(state.y) == len(x):  # the published warm start: one chain for all labels
        state.z = state.z[torch.arange(len(x)), state.y][:, None].repeat(1, model.n_clusters, 1)
    state.z, scores = infer(
        model,
        x,
        stage.sigma,
        steps=recipe.steps * (5 if new > 0 else 2 if begins else 1),
        z=state.z,
        active=_active(model, stage.moves),
        temperature=recipe.temperature,
        marginal=recipe.marginal,
        generator=state.generator,
    )
    scores = scores - state.log_shares
    if recipe.labels == "sample":
        y = torch.multinomial((-scores).softmax(1), 1, generator=state.generator)[:, 0]
    else:
        y = scores.argmin(1)
    changed = (y[: len(state.y)] != state.y).float().mean().item() if len(state.y) else 1.0
    improve(model, x, state.z, y, covariances=stage.covariances)
    state.y = y
    if not recipe.uniform:
        counts = torch.bincount(y, minlength=model.n_clusters) + 1.0
        state.log_shares = (counts / counts.sum()).log()
    told = {"score": (-scores).logsumexp(1).mean().item(), "changed": changed, "pictures": model.n_clusters}
    state.history.append(told | {"moves": stage.moves, "sigma": stage.sigma, "observations": len(x)})
    while fewer is not None and state.model.n_clusters > fewer:
        missed = costs(scores)
        kept = [k for k in range(len(missed)) if k != int(missed.argmin())]
        state.keep_labels(kept)
        scores = scores[:, kept]
        state.y = scores.argmin(1)


def costs(scores: Tensor) -> Tensor:
    """What it would cost to do without each label: how much worse its observations' second best is, summed.

    Args:
        scores: (n, K), less is better.

    Returns:
        (K,), 0 for a label that no observation has.
    """
    best = scores.topk(2, dim=1, largest=False)
    return scores.new_zeros(scores.shape[1]).index_add(0, best.indices[:, 0], best.values[:, 1] - best.values[:, 0])


@torch.no_grad()
def improve(model: DeformingGenerator, x: Tensor, z: Tensor, y: Tensor, *, covariances: bool, steps: int = 3) -> None:
    """The theta step at the inferred z (n, K, n_z) and y (n,): pictures and shades by a few scaled gradient steps on
    the squared error, each pixel with the step size of its own curvature; means and spreads of bends by moments.

    The chains of all labels, `z`, are told in the new units, in place: they bend as before.
    """
    for k in range(model.n_clusters):
        rows = y == k
        if int(rows.sum()) < LEAST:
            continue
        own, images = z[rows, k], x[rows]
        bends = model.bends(own, k)
        weights = torch.cat([torch.ones(len(own), 1), own[:, model.n_bends :]], dim=1).T[..., None]
        for _ in range(steps):
            with torch.enable_grad():
                pictures = torch.cat([model.templates[k][None], model.shades[k]]).requires_grad_()
                layers = model.warp(pictures, bends)
            rest = images - (weights * layers).sum(0)
            (slope,) = torch.autograd.grad(layers, pictures, weights * rest, retain_graph=True)
            (curvature,) = torch.autograd.grad(layers, pictures, weights.square().expand_as(layers))
            step = slope / (curvature + SLOWEST * len(own) + 1)
            model.templates[k] += step[0]
            model.shades[k] += SHADE_RATE * step[1:]
        if covariances:
            every = model.bends(z[:, k], k)
            centred = bends - bends.mean(0)
            prior = PSEUDO_COUNT * torch.diag((model.prior_spread / 2) ** 2)
            model.means[k] = bends.mean(0)
            model.spreads[k] = torch.linalg.cholesky((centred.T @ centred + prior) / (len(own) + PSEUDO_COUNT))
            z[:, k, : model.n_bends] = torch.linalg.solve_triangular(
                model.spreads[k], (every - model.means[k]).T, upper=False
            ).T


def _active(model: DeformingGenerator, moves: str) -> list[int]:
    """Which dimensions of z are alive."""
    b = model.n_basis
    each = {"nothing": 0, "shifts": 1, "linear": 3, "bends": b, "shades": b}[moves]
    bends = [*range(each), *range(b, b + each)]
    return bends + (list(range(2 * b, model.n_z)) if moves == "shades" else [])


@torch.no_grad()
def log_likelihood(model: DeformingGenerator, x: Tensor, *, sigma: float | None = None, steps: int = 12) -> float:
    """Mean log p(x) of images (n, H * W) in nats, pi uniform, z integrated out by Laplace's approximation: what runs
    and settings can be compared by without a label."""
    sigma = float(model.sigma) if sigma is None else sigma
    _, scores = infer_cooling(model, x, sigma, steps=steps)
    constant = math.log(model.n_clusters) + x.shape[1] / 2 * math.log(2 * math.pi * sigma**2)
    return ((-scores).logsumexp(1) - constant).mean().item()


# --- for chapters and from the command line ---


def release_path(world: str, seed: int) -> Path:
    """Where the released model of a world lies (whether or not it exists)."""
    return checkpoints_folder() / f"{world}_{DeformingGenerator.name}_s{seed}.safetensors"


def load_or_train(c: Chapter, *, observations: int) -> DeformingGenerator:
    """The released model of a chapter's world, or one learned from so many observations and kept.

    Raises:
        InputError: the checkpoint that the parameters name was made for other images.
    """
    named = c.checkpoint not in ("auto", "train")
    path = Path(c.checkpoint).expanduser() if named else release_path(c.world.name, c.seed)
    model = None
    if named or (c.checkpoint == "auto" and path.is_file()):
        model = clustered.load(path)
        found = model.provenance.get("world"), model.shape, model.n_clusters
        expected = c.world.name, tuple(c.world.shape), len(c.world.classes)
        if found != expected:
            if named:
                told = [f"{name} (images of {h}x{w}, {k} clusters)" for name, (h, w), k in (found, expected)]
                raise InputError(
                    f"checkpoint {path.name} was trained on {told[0]}, but the chapter runs on {told[1]}: give "
                    "checkpoint='auto'."
                )
            model = None  # your file happens to have a released name
    if model is None:
        path = None
        code = [sha256(file) for file in (__file__, _langevin.__file__, clustered.__file__)]  # what else makes a model
        key = {"shape": list(c.world.shape), "rows": len(c.world.train), "code": code}
        stem = f"{c.world.name}_clustered_s{c.seed}_{observations}"
        told = f"a clustered generator learns {c.world.name}: {observations:,} observations, seed {c.seed}"
        with c.progress(told), c._folder(stem, key) as folder:
            model = train(c.world, observations=observations, seed=c.seed, folder=folder)
    c.adopt(model, path, released=path is not None and not named)
    return model


def ledger(world: str, path: Path = LEDGER) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """What `benchmarks/clustered.py` measured on a world, method -> seed -> scores; empty where it did not."""
    return (json.loads(path.read_text()) if path.is_file() else {}).get(world, {})


def main(arguments: list[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m inc_lib.alternation", description="Learn a clustered generator that deforms, from images."
    )
    parser.add_argument("--dataset", default="auto", help="images by name, or a path to your own .npz or .csv")
    parser.add_argument("--observations", type=int, help="of the training part, from its front (default: all)")
    parser.add_argument("--n-clusters", type=int, help="K (default: the number of classes)")
    parser.add_argument("--modes", type=int, default=Recipe.modes)
    parser.add_argument("--shades", type=int, default=Recipe.n_shades)
    parser.add_argument("--long", action="store_true", help="the released models' schedule: finer at the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the run is kept (default: runs/models/NAME)")
    parser.add_argument("--release", action="store_true", help="write the result to checkpoints/ (fp16)")
    given = parser.parse_args(arguments)

    def work() -> None:
        world = images(given.dataset)
        target = release_path(world.name, given.seed)
        folder = given.folder or ROOT / "runs" / "models" / target.stem
        model = train(
            world,
            n_clusters=given.n_clusters,
            observations=given.observations,
            recipe=Recipe(modes=given.modes, n_shades=given.shades),
            schedule=LONG if given.long else SCHEDULE,
            seed=given.seed,
            folder=folder,
        )
        training.keep(model, target, folder, released=given.release)

    return training.command(work)


# --- as published ---


class Literal(nn.Module):
    """The alternation of Zhu et al. as it stands, for `training.Run`: a persistent z and y for each observation,
    Langevin steps for z (Eq. 3), y from its exact posterior (Eqs. 6 and 7), a gradient step for theta (Eq. 8).

    Left open there and chosen here: delta = 0.005 (half of the square of 0.1, as a kindred code has it); minibatches;
    batch normalisation by the statistics of whatever batch is drawn.

    Args:
        generator: G.
        n: observations.
        steps: l, of the chain, each time.
        labels: "sample" or "map".
        start: initial y int64 (n,); default: drawn.
    """

    def __init__(
        self,
        generator: DeconvolutionalGenerator,
        n: int,
        *,
        steps: int = 100,
        step_size: float = 0.005,
        sigma: float = clustered.SIGMA,
        labels: str = "sample",
        start: Tensor | None = None,
    ) -> None:
        super().__init__()
        if labels not in LABELS:
            raise suggest("labels", labels, LABELS)
        self.generator, self.steps, self.step_size, self.sigma, self.labels = generator, steps, step_size, sigma, labels
        self.register_buffer("z", torch.randn(n, generator.n_z))
        self.register_buffer("y", torch.randint(generator.n_clusters, (n,)) if start is None else start.clone())
        self.register_buffer("shares", torch.full((generator.n_clusters,), 1 / generator.n_clusters))

    @property
    def config(self) -> dict:
        return self.generator.config

    def loss(self, batch: tuple[Tensor, Tensor], noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Infers z and y of a batch (rows int64 (b,), images (b, p)), keeps them, and gives theta's loss."""
        rows, x = batch
        y = self.y[rows]
        options = {"steps": self.steps, "step_size": self.step_size, "sigma": self.sigma, "generator": noise}
        z = langevin(self.generator, x, self.z[rows], y, **options)
        posterior = label_posterior(self.generator, x, z, self.sigma, self.shares)
        new = posterior.argmax(1) if self.labels == "map" else torch.multinomial(posterior, 1, generator=noise)[:, 0]
        self.z[rows], self.y[rows] = z, new
        error = (x - self.generator.generate(z, new)).square().sum(1).mean()
        told = {"error": error.detach(), "changed": (new != y).float().mean()}
        return error / (2 * self.sigma**2), told | {"confidence": posterior.max(1).values.mean()}


def train_literally(
    world: VectorWorld,
    *,
    steps: int,
    n_clusters: int | None = None,
    observations: int | None = None,
    batch_size: int = 100,
    learning_rate: float = 2e-4,
    seed: int = 0,
    folder: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    start: Tensor | None = None,
    on_step: Callable[[int, Literal], None] | None = None,
    every: int = 0,
    **chain: Any,
) -> Literal:
    """The published algorithm on a world's training part, by the one training loop.

    Args:
        steps: of theta, each with a minibatch.
        learning_rate: of Adam, with betas 0.5 (the paper's momentum) and 0.999.
        options: of `DeconvolutionalGenerator` (n_z, width).
        start: initial labels.
        chain: of `Literal` (steps is `chain_steps` here, step_size, sigma, labels).

    Raises:
        InputError: as `train`.
    """
    x = world.train.vectors[:observations]
    n_clusters = checked_clusters(world, n_clusters, len(x))
    if "chain_steps" in chain:
        chain["steps"] = chain.pop("chain_steps")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = DeconvolutionalGenerator(shape=world.shape, n_clusters=n_clusters, **(options or {}))
        network = Literal(generator, len(x), start=start, **chain)
    settings = {
        "world": world.name,
        "source": world.source,
        "model": generator.name,
        "config": generator.config,
        "observations": len(x),
        "chain": chain,
        "started": start is not None,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "betas": [0.5, 0.999],
        "decay": 0.0,
        "seed": seed,
        "steps": steps,
    }
    run = training.Run(network, settings, folder, device="cpu", precision="32-true")
    run.resume()

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(x), (min(batch_size, len(x)),), generator=generator)
        return rows, x[rows]

    run.until_done(draw, on_step=on_step, every=every)
    generator.provenance = run.provenance()
    return network.eval()


if __name__ == "__main__":
    sys.exit(main())
