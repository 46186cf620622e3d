"""Learn layers without labels: z and y of each picture in turn, then the generator, the map pi and sigma.

For pictures of a batch, with persistent z (Zhu et al., Eqs. 3 to 8, with a label for each pixel):

1. y: p(y_p = k | x, z) is proportional to pi_k(p) exp(-|x_p - G_k(z)_p|^2 / 2 sigma^2), exactly; sampled or averaged.
2. z: a few steps of Langevin dynamics up log p(z, x, y), or (MAP) the same without noise.
3. G by the gradient at the inferred z and y; pi_k(p) = mean posterior over pictures, smoothed; sigma^2 = mean error.

Departures from the paper: steps of Langevin are scaled by the local curvature (a picture of 1,024 pixels says so much
about z that the paper's isotropic step of 0.005 would either diverge or stand still), and one that raises the energy
by more than noise does is not taken. pi is learned for each place. sigma falls to 0.2 and stays; the paper's is 0.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError, suggest
from .models.layers import SIGMA, LayeredGenerator, waves

STARTS = ("together", "bands", "random")
PRIORS = ("learned", "uniform")
BATCH = 50
RATE = 0.02  # of Adam, for the generator
CHUNK = 200  # pictures inferred at a time
LEAST_SIGMA = 0.03
FORGET = 0.1  # share of a batch in the running means of sigma^2 and of pi
PSEUDO = 0.01  # share of the uniform distribution in pi: nothing is impossible
FADE = 0.5  # sigma's fall takes this share of the sweeps


@dataclass
class Inferred:
    """What was inferred of n pictures.

    Attributes:
        z: (n, n_z). posterior: (n, K, P), sums to 1 over K. places: int64 (n, 2), where the map lies.
        score: (n,) log p(x | z) + log p(z), y summed out, up to a constant: higher is better, no label is needed.
    """

    z: Tensor
    posterior: Tensor
    places: Tensor
    score: Tensor

    def maps(self) -> Tensor:
        """The likeliest label of each pixel: int64 (n, H, W)."""
        side = math.isqrt(self.posterior.shape[-1])
        return self.posterior.argmax(1).unflatten(1, (side, side))


@dataclass(frozen=True)
class Settings:
    """How layers are learned.

    Attributes:
        n_layers: K.
        sweeps: over all pictures.
        start: of pi: "together" (k-means of places by how their colours change from picture to picture), "bands"
            (horizontal), or "random" (smooth noise).
        prior: "learned", or "uniform": pi starts as `start` says, for one sweep, and is 1/K from then on.
        langevin: z by Langevin dynamics; False: the most probable z given y (MAP).
        sampled: y drawn from its posterior; False: the posterior itself, soft labels.
        sigma: of the noise. It stays (Zhu et al.: 0.3); 0: it is estimated, as the root of the mean squared error.
        anneal: sigma begins here and falls to what it shall be; 0: it does not fall.
        order, light, n_z, reach: of the generator.
        seed: of everything random.
    """

    n_layers: int = 3
    sweeps: int = 8
    start: str = "together"
    prior: str = "learned"
    langevin: bool = True
    sampled: bool = True
    sigma: float = 0.2
    anneal: float = SIGMA
    order: int = 3
    light: str = "shared"
    n_z: int = 16
    reach: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise suggest("start", self.start, STARTS)
        if self.prior not in PRIORS:
            raise suggest("prior", self.prior, PRIORS)
        if self.sweeps < 1 or min(self.anneal, self.sigma) < 0:
            raise InputError(
                f"sweeps = {self.sweeps}, sigma = {self.sigma}, anneal = {self.anneal} cannot be used: expected at "
                "least 1 sweep, and at least 0."
            )


@dataclass
class Fitted:
    """A learned generator, what it was learned by, and its way.

    Attributes:
        score: mean score of the training pictures at the end, by MAP: what starts are chosen by.
        curve: sigma after each sweep.
    """

    generator: LayeredGenerator
    settings: Settings
    score: float
    curve: list[float] = field(default_factory=list)

    def infer(self, pictures: Tensor, *, sweeps: int = 12) -> Inferred:
        """z, y and places of pictures (n, C, H, W), the generator as it is."""
        return infer(self.generator, pictures, sweeps=sweeps)


# --- inference ---


def gather(generator: LayeredGenerator, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """All that pixels x (n, C, P), labelled by y (n, K, P), say about z: A (n, K, 1, M, M) and b (n, K, C, M).

    With coefficients c of the layers, sum_p y_pk |x_p - G_k(z)_p|^2 = c'Ac - 2 b'c + a constant.
    """
    m = generator.n_waves
    matrix = (y @ generator.products).view(len(x), generator.n_layers, 1, m, m)
    return matrix, torch.einsum("nkp,ncp,pm->nkcm", y, x, generator.basis)


def climb(
    generator: LayeredGenerator,
    z: Tensor,
    matrix: Tensor,
    vector: Tensor,
    *,
    steps: int = 2,
    noise: torch.Generator | None = None,
) -> Tensor:
    """Steps from z (n, n_z) up log p(z, x, y) = -|z|^2 / 2 - |x - G(y, z)|^2 / (2 sigma^2), Eq. 3.

    With the curvature F = 1 + J'AJ / sigma^2, where J is the slope of the coefficients, a step is
    z + d F^-1 gradient + sqrt(2 d F^-1) N(0, I), with d = 1/2; without `noise` the Gauss-Newton step, halved until the
    energy falls.
    """
    precision = generator.sigma**-2

    def energy(z: Tensor) -> Tensor:
        c = generator.coefficients(z)
        return z.square().sum(1) / 2 + precision * (c * ((matrix @ c[..., None])[..., 0] / 2 - vector)).sum((1, 2, 3))

    now = energy(z)
    for _ in range(steps):
        slopes = generator.slopes(z)
        c = generator.coefficients(z)
        curvature = precision * torch.einsum("nkcmd,nkcme->nde", slopes, matrix @ slopes)
        curvature = curvature + 1.01 * torch.eye(generator.n_z, device=z.device)
        gradient = precision * torch.einsum("nkcmd,nkcm->nd", slopes, vector - (matrix @ c[..., None])[..., 0]) - z
        root = torch.linalg.cholesky(curvature)
        way = torch.cholesky_solve(gradient[..., None], root)[..., 0]
        if noise is not None:
            drawn = torch.randn(z.shape, generator=noise).to(z.device)[..., None]
            shake = torch.linalg.solve_triangular(root.transpose(1, 2), drawn, upper=True)[..., 0]
            tried = z + way / 2 + shake
            after = energy(tried)
            taken = after <= now + generator.n_z
            z, now = torch.where(taken[:, None], tried, z), torch.where(taken, after, now)
            continue
        for length in (1.0, 0.5, 0.25, 0.1):
            tried = z + length * way
            after = energy(tried)
            taken = after < now
            z, now = torch.where(taken[:, None], tried, z), torch.where(taken, after, now)
            way = torch.where(taken[:, None], 0.0, way)
    return z


def place(generator: LayeredGenerator, likelihood: Tensor, stride: int = 2) -> Tensor:
    """The best shift of the map for pictures with log-likelihoods (n, K, P), y summed out: int64 (n, 2).

    Every shift is tried, on every `stride`-th pixel of every `stride`-th row.
    """
    size, reach = generator.size, generator.reach
    logs = generator.index_map.log()
    told = likelihood.unflatten(2, (size, size))[:, :, ::stride, ::stride]
    most = told.amax(1, keepdim=True)
    chances = (told - most).exp()
    best, at = torch.full((len(told),), -torch.inf), torch.zeros(len(told), 2, dtype=torch.int64)
    for row in range(2 * reach + 1):
        for column in range(2 * reach + 1):
            prior = logs[:, row : row + size : stride, column : column + size : stride].exp()
            score = (chances * prior).sum(1).clamp_min(1e-30).log().sum((1, 2))
            at[score > best] = torch.tensor([row, column])
            best = torch.maximum(best, score)
    return at


def infer(generator: LayeredGenerator, pictures: Tensor, *, sweeps: int = 12) -> Inferred:
    """The most probable z of pictures (n, C, H, W), from z = 0, and the posterior of their labels given it.

    Raises:
        InputError: pictures of another size or number of channels.
    """
    expected = (generator.channels, generator.size, generator.size)
    if pictures.shape[1:] != expected:
        raise InputError(f"pictures of shape {tuple(pictures.shape[1:])} do not fit layers of {expected}.")
    parts = []
    with torch.no_grad():
        for x in pictures.flatten(2).split(CHUNK):
            z = torch.zeros(len(x), generator.n_z)
            places = torch.full((len(x), 2), generator.reach)
            for _ in range(sweeps):
                prior, (likelihood, _) = generator.log_prior(places), generator.log_likelihood(x, z)
                z = climb(generator, z, *gather(generator, x, (prior + likelihood).softmax(1)))
                if generator.reach:
                    places = place(generator, generator.log_likelihood(x, z)[0])
            joint = generator.log_prior(places) + generator.log_likelihood(x, z)[0]
            score = joint.logsumexp(1).sum(1) - z.square().sum(1) / 2
            parts.append(Inferred(z, joint.softmax(1), places, score))
    names = ("z", "posterior", "places", "score")
    return Inferred(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


# --- learning ---


def first_map(pictures: Tensor, settings: Settings) -> Tensor:
    """pi to begin with, (K, H, W), as `Settings.start` says. No label is looked at."""
    k, size = settings.n_layers, pictures.shape[-1]
    if settings.start == "together":
        change = (pictures - pictures.mean(0)).flatten(2).permute(2, 0, 1).flatten(1)  # a row a place
        left, values, _ = torch.linalg.svd(change, full_matrices=False)
        few = min(20, len(values))
        found = KMeans(k, n_init=5, random_state=settings.seed).fit_predict((left[:, :few] * values[:few]).numpy())
        soft = F.one_hot(torch.from_numpy(found).long(), k).T.float()
    elif settings.start == "bands":
        rows = torch.arange(size) * k // size
        soft = F.one_hot(rows, k).T.float()[:, :, None].expand(k, size, size).flatten(1)
    else:
        field_of = waves(size, 4)
        drawn = torch.randn(k, field_of.shape[1], generator=torch.Generator().manual_seed(settings.seed))
        soft = (1.5 * drawn @ field_of.T).softmax(0)
    return (0.9 * soft + 0.1 / k).unflatten(1, (size, size))


def fit(
    pictures: Tensor, settings: Settings | None = None, *, watch: Callable[[int, LayeredGenerator], None] | None = None
) -> Fitted:
    """Learn layers of pictures (n, C, S, S).

    Args:
        watch: called as watch(sweep, generator) after each sweep.

    Raises:
        InputError: pictures that are not square, fewer than 2, all alike, or with values outside [0, 1].
    """
    settings = settings or Settings()
    _check(pictures, settings)
    noise = torch.Generator().manual_seed(settings.seed)
    x, n = pictures.flatten(2), len(pictures)
    generator = _begin(pictures, settings, noise)
    optimizer = torch.optim.Adam(generator.parameters(), lr=RATE)
    z = torch.zeros(n, settings.n_z)  # persistent: every visit goes on from the last one
    places = torch.full((n, 2), settings.reach)
    n_batches = math.ceil(n / BATCH)
    total, done, variance, curve = settings.sweeps * n_batches, 0, None, []
    counts = generator.index_map * n
    for sweep in range(settings.sweeps):
        for rows in torch.randperm(n, generator=noise).tensor_split(n_batches):
            with torch.no_grad():
                likelihood, errors = generator.log_likelihood(x[rows], z[rows])
                if settings.reach and sweep:
                    places[rows] = place(generator, likelihood)
                posterior = (generator.log_prior(places[rows]) + likelihood).softmax(1)
                y = sample(posterior, noise) if settings.sampled else posterior
                statistics = gather(generator, x[rows], y)
                z[rows] = climb(generator, z[rows], *statistics, noise=noise if settings.langevin else None)
            _descend(generator, optimizer, z[rows], *statistics, rate=RATE * min(1.0, 3 * (1 - done / total) + 0.02))
            done += 1
            now = float((posterior * errors).sum() / (posterior.sum() * generator.channels))
            variance = now if variance is None else (1 - FORGET) * variance + FORGET * now
            floor = settings.anneal * max(0.0, 1 - done / total / FADE)
            generator.sigma.fill_(max(settings.sigma or math.sqrt(variance), floor, LEAST_SIGMA))
            if settings.prior == "learned":
                counts = (1 - FORGET) * counts + FORGET * _spread(posterior, places[rows], generator) * n_batches
                generator.index_map.copy_(_smooth(counts))
        if settings.prior == "uniform":
            generator.index_map.fill_(1 / settings.n_layers)
        curve.append(float(generator.sigma))
        if watch:
            watch(sweep, generator)
    generator.requires_grad_(False)
    score = float(infer(generator, pictures[:CHUNK]).score.mean())
    return Fitted(generator, settings, score, curve)


def best_of(pictures: Tensor, settings: Settings, *, n: int) -> list[Fitted]:
    """n fits with seeds from `settings.seed` on, the one with the highest score first. No label is looked at."""
    tried = [fit(pictures, replace(settings, seed=settings.seed + k)) for k in range(n)]
    return sorted(tried, key=lambda fitted: -fitted.score)


def sample(posterior: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a label for each pixel from a posterior (n, K, P): one-hot, float32, of the same shape."""
    flat = posterior.transpose(1, 2).flatten(0, 1)
    drawn = torch.multinomial(flat, 1, generator=generator).view(len(posterior), -1)
    return F.one_hot(drawn, posterior.shape[1]).transpose(1, 2).float()


def _check(pictures: Tensor, settings: Settings) -> None:
    if pictures.ndim != 4 or pictures.shape[2] != pictures.shape[3] or len(pictures) < 2:
        raise InputError(
            f"pictures of shape {tuple(pictures.shape)} cannot be learned from: expected at least 2 square ones, "
            "(n, channels, size, size)."
        )
    if not (float(pictures.min()) >= 0 and float(pictures.max()) <= 1):  # NaN as well
        raise InputError("pictures have values outside [0, 1], or none: divide bytes by 255.")
    if float(pictures.std(0).max()) == 0:
        raise InputError("all pictures are the same one: there is nothing that changes together.")
    if settings.n_layers > pictures.shape[2] ** 2:
        raise InputError(f"{settings.n_layers} layers for {pictures.shape[2] ** 2} pixels: expected fewer.")


def _begin(pictures: Tensor, settings: Settings, noise: torch.Generator) -> LayeredGenerator:
    """A generator whose colours vary as the mean colours of the regions of `first_map` do, in z of variance 1."""
    generator = LayeredGenerator(
        size=pictures.shape[-1], n_layers=settings.n_layers, n_z=settings.n_z, order=settings.order,
        light=settings.light, channels=pictures.shape[1], reach=settings.reach,
    )  # fmt: skip
    start = first_map(pictures, settings)
    shares = start.flatten(1) / start.flatten(1).sum(1, keepdim=True)
    colours = torch.einsum("kp,ncp->nkc", shares, pictures.flatten(2)).flatten(1)
    _, values, directions = torch.linalg.svd(colours - colours.mean(0), full_matrices=False)
    few = min(settings.n_z, len(values))
    with torch.no_grad():
        generator.colour_mean.copy_(colours.mean(0))
        generator.colour[:few] = directions[:few] * values[:few, None] / math.sqrt(len(pictures))
        generator.lamp.copy_(0.1 * torch.randn(generator.lamp.shape, generator=noise))
        generator.index_map.copy_(F.pad(start[None], (settings.reach,) * 4, mode="replicate")[0])
        generator.sigma.fill_(settings.anneal or settings.sigma or float(pictures.std()) / 2)
    return generator


def _descend(generator: LayeredGenerator, optimizer, z: Tensor, matrix: Tensor, vector: Tensor, *, rate: float) -> None:
    """Eq. 8: one step of the generator down the mean squared error at the inferred z and y."""
    c = generator.coefficients(z)
    loss = (c * ((matrix @ c[..., None])[..., 0] / 2 - vector)).sum() / (len(z) * len(generator.basis))
    optimizer.param_groups[0]["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _spread(posterior: Tensor, places: Tensor, generator: LayeredGenerator) -> Tensor:
    """Sum of posteriors (n, K, P), each at its place: (K, side, side)."""
    size = generator.size
    maps = posterior.unflatten(2, (size, size))
    if not generator.reach:
        return maps.sum(0)
    total = torch.zeros_like(generator.index_map)
    for one, (row, column) in zip(maps, places.tolist(), strict=True):
        total[:, row : row + size, column : column + size] += one
    return total


def _smooth(counts: Tensor) -> Tensor:
    """pi of counts (K, side, side): averaged over 3x3 places, with a little of everything everywhere."""
    padded = F.pad(counts[None], (1, 1, 1, 1), mode="replicate")
    near = F.avg_pool2d(padded, 3, stride=1)[0] + 1.0
    return (1 - PSEUDO) * near / near.sum(0) + PSEUDO / len(counts)
