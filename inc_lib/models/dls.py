"""DLS-Clustering and ClusterGAN: a generative adversarial network whose code holds the cluster.

A code is z = (z_n, z_c): z_n ~ N(0, 0.1^2) for what varies within a cluster, z_c one-hot for the cluster. A generator G
turns codes into data, an encoder E turns data into codes, and a critic that tells made from real keeps G honest. The
cluster of an observation is the argmax of E_c(x).

- DLS-Clustering: Ding and Luo, "Clustering by directly disentangling latent space" (2019).
- ClusterGAN: Mukherjee, Asnani, Lin and Kannan (2019): the same without autoencoding and disentangling terms.
- WGAN-GP: Gulrajani et al. (2017), the adversarial part of both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..bending import bend, bend_strokes
from ..errors import InputError, suggest
from . import checkpoints

NOISE = 0.1  # standard deviation of z_n
PENALTY = 10.0  # of the critic's gradient
CRITIC_STEPS = 5  # for each step of the generator and encoder
SLOPE = 0.2  # of the leaky ReLUs
KERNEL_WIDTHS = (0.25, 1.0, 4.0)  # of the MMD, in units of the mean squared distance of two z_n

# The terms of the generator's and encoder's loss beside the adversarial one, and the weights of either method.
OBJECTIVES: dict[str, dict[str, float]] = {
    "dls": {
        "reconstruction": 1.0,  # MSE(x, G(E(x)))
        "mmd": 1.0,  # MMD(E_n(x), z_n)
        "category": 10.0,  # CE(E_c(G(z)), z_c)
        "swapped category": 10.0,  # CE(E_c(G(z')), z_c), z' = (E_n(x), z_c)
        "swapped noise": 1.0,  # MSE(E_n(G(z')), E_n(x))
        "noise": 0.0,  # MSE(E_n(G(z)), z_n): ClusterGAN's
        "bent category": 0.0,  # CE(E_c(bent x), E_c(x)), see below
        "balance": 0.0,  # minus the entropy of the mean of E_c(x)
        "confidence": 0.0,  # mean entropy of E_c(x)
    },
    "clustergan": {
        "reconstruction": 0.0,
        "mmd": 0.0,
        "category": 10.0,
        "swapped category": 0.0,
        "swapped noise": 0.0,
        "noise": 10.0,
    },
}
# Ours, for pictures: DLS-Clustering that is told one thing more, that a bent picture is the same thing (information
# maximising self-augmented training, Hu et al. 2017, whose ratio of balance to confidence this is). Errors are counted
# so that few steps feel them: a mean over 784 pixels, most of them black, is small, and so is the square of a z_n of
# standard deviation 0.1. With weights of 1, G drew other digits than those that E had put into a cluster.
OBJECTIVES["dls-bent"] = OBJECTIVES["dls"] | {
    "reconstruction": 100.0,
    "mmd": 10.0,
    "swapped noise": 100.0,  # 1 / NOISE^2
    "bent category": 10.0,
    "balance": 12.0,
    "confidence": 3.0,
}
TOLD_BY_BENDING = ("bent category", "balance", "confidence")


class DLS(nn.Module):
    """The pair (h, G): an encoder and a generator of codes (z_n, z_c). Observations are vectors, images too.

    Args:
        n_features: of an observation.
        n_clusters: K, at least 2.
        n_codes: dimensions of z_n.
        width: units of the two hidden layers; maps of the first convolution, where there are convolutions.
        convolutions: whether the vectors are images of 28x28, read and drawn by convolutions. An MLP draws MNIST more
            coarsely, at a fifth of the cost on a CPU.
        members: networks side by side that share nothing but the processor's attention: several small ones are trained
            in the time of two. For use, take one of them by `member`.

    Raises:
        InputError: numbers that make no network.
    """

    name = "dls"

    def __init__(
        self,
        *,
        n_features: int,
        n_clusters: int,
        n_codes: int,
        width: int = 256,
        convolutions: bool = False,
        members: int = 1,
    ) -> None:
        super().__init__()
        if convolutions and members > 1:
            raise InputError(
                f"{members} networks with convolutions do not go side by side: train them in turn."
            )
        if convolutions and n_features != 28 * 28:
            raise InputError(
                f"observations of {n_features} features are no images of 28x28, which the convolutions are for: "
                "leave them out."
            )
        if n_clusters < 2 or min(n_codes, n_features, width, members) < 1:
            raise InputError(
                f"n_features = {n_features}, n_clusters = {n_clusters}, n_codes = {n_codes}, width = {width} cannot "
                "be used: expected at least 2 clusters (one cluster tells nothing apart) and positive numbers."
            )
        self.config = {
            "n_features": n_features,
            "n_clusters": n_clusters,
            "n_codes": n_codes,
            "width": width,
            "convolutions": convolutions,
            "members": members,
        }
        self.n_clusters, self.n_noise = n_clusters, n_codes
        self.n_codes, self.members = n_codes + n_clusters, members  # n_codes: of a whole code
        self.encoder = self.reader(self.n_codes)
        if convolutions:
            self.generator: nn.Module = _Drawer(self.n_codes, width)
        else:
            self.generator = _MLP(self.n_codes, width, n_features, members)
        self.provenance: dict = {}

    def reader(self, n_out: int) -> _MLP | _Images:
        """A new network of vectors (members, n, n_features) with n_out outputs: the encoder, and the critic."""
        config = self.config
        if config["convolutions"]:
            return _Images(config["width"], n_out)
        return _MLP(config["n_features"], config["width"], n_out, self.members)

    def member(self, k: int) -> DLS:
        """One of the networks side by side, for itself, in eval mode."""
        alone = DLS(**self.config | {"members": 1})
        alone.load_state_dict({name: weights[k : k + 1] for name, weights in self.state_dict().items()})
        return alone.eval()

    def encode_parts(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """z_n (members, n, n_noise) and the logits of z_c (members, n, K), with gradients."""
        return self.encoder(observations).float().split([self.n_noise, self.n_clusters], dim=-1)

    def generate(self, noise: Tensor, category: Tensor) -> Tensor:
        """Observations (members, n, n_features) in [0, 1] of z_n and z_c, with gradients."""
        return self.generator(torch.cat([noise, category], dim=-1)).float().sigmoid()

    @torch.no_grad()
    def encode(self, observations: Tensor) -> Tensor:
        """h: codes (n, n_noise + K) of observations (n, n_features): z_n, then the soft assignments, of sum 1."""
        device = next(self.parameters()).device
        parts = [self.encode_parts(part.to(device)[None]) for part in observations.split(4096)]
        return torch.cat([torch.cat([noise[0], logits[0].softmax(1)], dim=1) for noise, logits in parts])

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """G: observations (n, n_features) in [0, 1] of codes (n, n_noise + K)."""
        codes = codes.to(next(self.parameters()).device)
        return torch.cat([self.generator(part[None])[0].float().sigmoid() for part in codes.split(4096)])

    def clusters(self, observations: Tensor) -> Tensor:
        """The cluster of each observation (n, n_features), argmax of E_c: int64 (n,), on the CPU."""
        return self.encode(observations)[:, self.n_noise :].argmax(1).cpu()

    def prior(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n codes from the prior: z_n (n, n_noise) and the clusters int64 (n,), where the generator lives."""
        noise, clusters = self._priors(1, n, generator)
        return noise[0], clusters[0]

    def _priors(self, members: int, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        options = {"generator": generator, "device": generator.device if generator is not None else "cpu"}
        noise = NOISE * torch.randn(members, n, self.n_noise, **options)
        return noise, torch.randint(self.n_clusters, (members, n), **options)


class Game(nn.Module):
    """The training of a `DLS`: the critic, whose turn it is, and the loss of that turn.

    After each `critic_steps` of the critic comes one of the model. What is not on turn gets no gradient, and Adam
    passes over weights without one, so that a single optimiser plays both parts; whose turn it is is kept among the
    weights, and so resumed.

    What the paper leaves open: the encoder's category enters G as softmax probabilities in G(E(x)); the MMD is the mean
    of three RBF kernels. No network has batch normalisation (a generator would see three kinds of batches and remember
    the mean of them).

    Args:
        model: h and G.
        objective: "dls", "clustergan", or weights by the names in `OBJECTIVES["dls"]`.
        critic_steps: of the critic, for each of the generator and encoder.
        strokes: whether observations are strokes, points x, y in turn; else they are square pictures, if bent at all.
        opening: steps before the game in which the encoder alone learns from bent pictures.
        tries: encoders that each network opens with. The one whose own loss is the lowest at the end of the opening
            (a running mean over the last hundred steps or so; no label) goes on, as k-means keeps the best of its
            starts. They see the same batches and differ in the weights that they begin with.

    Raises:
        InputError: an unknown objective or term; bent pictures where observations are none, or an opening without;
            several tries without an opening, or of convolutions.
    """

    def __init__(
        self,
        model: DLS,
        objective: str | Mapping[str, float] = "dls",
        *,
        critic_steps: int = CRITIC_STEPS,
        opening: int = 0,
        tries: int = 1,
        strokes: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(objective, str):
            if objective not in OBJECTIVES:
                raise suggest("objective", objective, OBJECTIVES)
            objective = OBJECTIVES[objective]
        for term in set(objective) - set(OBJECTIVES["dls"]):
            raise suggest("term of the loss", term, OBJECTIVES["dls"])
        self.model, self.weights = model, dict.fromkeys(OBJECTIVES["dls"], 0.0) | dict(objective)
        self.bends, self.opening = any(self.weights[name] for name in TOLD_BY_BENDING), opening
        self.side = math.isqrt(model.config["n_features"])
        self.strokes = strokes
        if self.bends and not strokes and self.side**2 != model.config["n_features"]:
            raise InputError(
                f"observations of {model.config['n_features']} features are neither square pictures nor strokes, and "
                "nothing else can be bent: take objective='dls'."
            )
        if opening and not self.bends:
            raise InputError("an opening learns from bent pictures, which this objective does not have.")
        if tries < 1 or (tries > 1 and (not opening or model.config["convolutions"])):
            raise InputError(
                f"tries = {tries} cannot be used: expected at least 1; and more than 1 only where an opening chooses "
                "among them, and without convolutions."
            )
        self.critic, self.critic_steps = model.reader(1), critic_steps
        self.others = None  # the encoders of the other tries, until the opening is over
        if tries > 1:
            self.others = _MLP(
                model.config["n_features"], model.config["width"], model.n_codes, (tries - 1) * model.members
            )
        self.register_buffer("paid", torch.zeros(tries, model.members))  # running mean of each try's loss
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        self._told: dict[str, Tensor] = {}

    @property
    def config(self) -> dict:
        """Of the model."""
        return self.model.config

    def loss(self, batch: Tensor, noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of whoever's turn it is, summed over members, and its parts, means over members.

        Args:
            batch: observations (members, n, n_features) in [0, 1].
        """
        turn = int(self.taken) - self.opening
        critics = turn >= 0 and turn % (self.critic_steps + 1) < self.critic_steps
        for network, on_turn in ((self.critic, critics), (self.model, not critics), (self.others, turn < 0)):
            if network is not None:
                network.requires_grad_(on_turn)
        if turn < 0:
            parts, loss = self._opening_loss(batch, noise)
        else:
            loss, parts = (self._critic_loss if critics else self._model_loss)(batch, noise)
        self._told |= {name: part.detach() for name, part in parts.items()}
        return self.model.members * loss, self._told

    def after_step(self) -> None:
        self.taken += 1
        if self.others is not None and int(self.taken) == self.opening:
            self._keep_best()

    def _opening_loss(self, real: Tensor, noise: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """Of all tries' encoders, the mean over members as elsewhere; `paid` keeps each one's."""
        both = self._with_bent(real, noise)
        logits = self.model.encode_parts(both)[1][None]
        if self.others is not None:
            tried = self.others(both.repeat(len(self.paid) - 1, 1, 1)).float()[..., self.model.n_noise :]
            logits = torch.cat([logits, tried.unflatten(0, (-1, self.model.members))])
        told = _told_by_bending(logits)
        losses = sum(self.weights[name] * part for name, part in told.items())  # (tries, members)
        self.paid.lerp_(losses.detach(), 0.02)
        return {name: part.mean() for name, part in told.items()}, losses.sum() / self.model.members

    @torch.no_grad()
    def _keep_best(self) -> None:
        """The encoder of each member becomes that of its best try."""
        for member, best in enumerate(self.paid.argmin(0).tolist()):
            if best > 0:
                row = (best - 1) * self.model.members + member
                for own, other in zip(self.model.encoder.parameters(), self.others.parameters(), strict=True):
                    own[member] = other[row]

    def _critic_loss(self, real: Tensor, noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Gulrajani et al., Eq. 3: lower for real data than for made ones, with slopes near 1 in between."""
        z, cluster = self.model._priors(*real.shape[:2], noise)
        with torch.no_grad():
            made = self.model.generate(z, F.one_hot(cluster, self.model.n_clusters).float())
        share = torch.rand(*real.shape[:2], 1, generator=noise, device=noise.device)
        slope = self.critic.slope(torch.lerp(made, real, share))
        penalty = (slope.norm(dim=-1) - 1).square().mean()
        of_made, of_real = self.critic(torch.cat([made, real], dim=1)).float().chunk(2, dim=1)
        distance = of_real.mean() - of_made.mean()
        return PENALTY * penalty - distance, {"distance": distance, "penalty": penalty}

    def _model_loss(self, real: Tensor, noise: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Of generator and encoder together."""
        model, weights = self.model, self.weights
        z, cluster = model._priors(*real.shape[:2], noise)
        category = F.one_hot(cluster, model.n_clusters).float()
        made = model.generate(z, category)
        read, logits = model.encode_parts(made)
        parts = {"category": _cross_entropy(logits, cluster), "noise": F.mse_loss(read, z)}
        if any(weights[name] for name in ("reconstruction", "mmd", "swapped category", "swapped noise")):
            own, own_logits = model.encode_parts(real)
            drawn = model.generate(
                torch.cat([own, own], dim=1), torch.cat([own_logits.softmax(-1), category], dim=1)
            )  # G(E(x)) and G(z')
            again, swapped = drawn.chunk(2, dim=1)
            read, logits = model.encode_parts(swapped)
            parts |= {
                "reconstruction": F.mse_loss(again, real),
                "mmd": rbf_discrepancy(own, z),
                "swapped category": _cross_entropy(logits, cluster),
                "swapped noise": F.mse_loss(read, own),
            }
        if self.bends:
            parts |= self._bent_parts(real, noise)
        total = sum(weights[name] * part for name, part in parts.items() if weights[name])
        return total - self.critic(made).float().mean(), parts

    def _with_bent(self, real: Tensor, noise: torch.Generator) -> Tensor:
        bent = bend_strokes(real, noise) if self.strokes else bend(real, self.side, noise)
        return torch.cat([real, bent], dim=1)

    def _bent_parts(self, real: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """A picture and its bent self are assigned alike, to few clusters each, to all clusters together."""
        told = _told_by_bending(self.model.encode_parts(self._with_bent(real, noise))[1])
        return {name: part.mean() for name, part in told.items()}


def _told_by_bending(logits: Tensor) -> dict[str, Tensor]:
    """The three terms (...) of logits (..., 2n, K): first those of n pictures, then those of the same pictures bent."""
    own, bent = logits.log_softmax(-1).chunk(2, dim=-2)
    mean = logits.softmax(-1).mean(-2)
    return {
        "bent category": -(own.exp().detach() * bent).sum(-1).mean(-1),
        "balance": (mean * mean.clamp(min=1e-8).log()).sum(-1),
        "confidence": -(own.exp() * own).sum(-1).mean(-1),
    }


def _cross_entropy(logits: Tensor, cluster: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), cluster.flatten())


def rbf_discrepancy(codes: Tensor, prior: Tensor) -> Tensor:
    """Maximum mean discrepancy of codes (..., n, d) and draws of the prior (..., n, d), unbiased; a scalar, about 0
    where they are alike. Mean over three RBF kernels, as wide as a quarter of the prior's mean squared distance, as
    it, and four times; and over leading dimensions."""
    n, d = codes.shape[-2:]
    both = torch.cat([codes, prior], dim=-2)
    square = (both[..., :, None, :] - both[..., None, :, :]).square().sum(-1)
    kernel = sum(torch.exp(-square / (width * 2 * d * NOISE**2)) for width in KERNEL_WIDTHS) / len(
        KERNEL_WIDTHS
    )
    within = kernel[..., :n, :n].sum((-1, -2)) + kernel[..., n:, n:].sum((-1, -2)) - 2 * n
    return (within / (n * (n - 1)) - 2 * kernel[..., :n, n:].mean((-1, -2))).mean()


class _Linear(nn.Module):
    """A linear layer of several networks side by side: (members, n, n_in) -> (members, n, n_out)."""

    def __init__(self, n_in: int, n_out: int, members: int) -> None:
        super().__init__()
        layers = [nn.Linear(n_in, n_out) for _ in range(members)]  # drawn as torch draws them
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().T for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach()[None] for layer in layers]))

    def forward(self, vectors: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, vectors, self.weight)


class _MLP(nn.Sequential):
    """Vectors (members, n, n_in) -> (members, n, n_out), two hidden layers."""

    def __init__(self, n_in: int, width: int, n_out: int, members: int) -> None:
        super().__init__(
            _Linear(n_in, width, members),
            nn.LeakyReLU(SLOPE),
            _Linear(width, width, members),
            nn.LeakyReLU(SLOPE),
            _Linear(width, n_out, members),
        )

    def slope(self, vectors: Tensor) -> Tensor:
        """Gradient of the sum of outputs by each vector: as the vectors, itself differentiable by the weights.

        A leaky ReLU is linear on either side of 0, so the gradient is a product of the weights and of factors 1 or
        0.2 that do not depend on them: multiplied out here, it costs half of what differentiating twice does.
        """
        first, _, second, _, last = self
        with torch.no_grad():
            below = first(vectors)
            above = second(F.leaky_relu(below, SLOPE))
            below, above = ((part > 0).float().mul_(1 - SLOPE).add_(SLOPE) for part in (below, above))
        outer = above * last.weight.sum(2)[:, None]
        return ((outer @ second.weight.mT) * below @ first.weight.mT).float()


class _Images(nn.Sequential):
    """Images of 28x28 as vectors (1, n, 784) -> (1, n, n_out)."""

    def __init__(self, width: int, n_out: int) -> None:
        super().__init__(
            nn.Unflatten(2, (1, 28, 28)),
            nn.Flatten(0, 1),
            nn.Conv2d(1, width, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            nn.Linear(2 * width * 49, 8 * width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(8 * width, n_out),
            nn.Unflatten(0, (1, -1)),
        )

    def slope(self, vectors: Tensor) -> Tensor:
        """As `_MLP.slope`, by differentiating twice."""
        vectors = vectors.detach().requires_grad_()
        return torch.autograd.grad(self(vectors).float().sum(), vectors, create_graph=True)[0]


class _Drawer(nn.Sequential):
    """Codes (1, n, n_in) -> logits of images of 28x28 as vectors (1, n, 784)."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__(
            nn.Flatten(0, 1),
            nn.Linear(n_in, 8 * width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(8 * width, 2 * width * 49),
            nn.LeakyReLU(SLOPE),
            nn.Unflatten(1, (2 * width, 7, 7)),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
            nn.Flatten(),
            nn.Unflatten(0, (1, -1)),
        )


def load(path: str | Path) -> DLS:
    """The model of a checkpoint, in eval mode, with `.provenance`; see `checkpoints.load`."""
    model, _ = checkpoints.load(path, DLS, made_by="python -m inc_lib.adversarial")
    return model
