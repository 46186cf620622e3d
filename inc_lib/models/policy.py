"""G for crowds: a goal-conditioned policy, rolled out step by step from a start to a goal.

A mixture density network (Bishop 1994) gives, for a walker's position, goal and last steps, a mixture of
two-dimensional normal distributions of the next step. It is trained by behaviour cloning (`inc_lib.cloning`): maximum
likelihood on the steps of real paths.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..worlds.crowds import path_ends
from . import checkpoints

STRIDE = 2.0  # metres: the unit of a step inside of the network


class MixturePolicy(nn.Module):
    """p(next step given position, goal, last steps): a mixture density network.

    Stable in the ways that matter: the likelihood is a logsumexp of log densities, and scales are bounded from below
    and above, so that no component can shrink onto a point or run away. Components that are not needed get small
    weights; there may be too many of them.

    Args:
        n_components: normal distributions in the mixture.
        history: last steps that are seen.
        width, depth: of the network.
        smallest, largest: bounds of each scale, metres.
        low, high: opposite corners of the walked area, metres; positions are told relative to them.
    """

    name = "policy"

    def __init__(
        self,
        *,
        low: tuple[float, float],
        high: tuple[float, float],
        n_components: int = 16,
        history: int = 6,
        width: int = 192,
        depth: int = 3,
        smallest: float = 0.04,
        largest: float = 4.0,
    ) -> None:
        super().__init__()
        if (
            n_components < 1
            or history < 1
            or not 0 < smallest < largest
            or not all(map(float.__lt__, low, high))
        ):
            raise InputError(
                f"a policy with n_components = {n_components}, history = {history}, scales from {smallest} to "
                f"{largest} and corners {low}, {high} cannot be built: expected positive numbers in order."
            )
        self.config = {
            "low": list(map(float, low)),
            "high": list(map(float, high)),
            "n_components": n_components,
            "history": history,
            "width": width,
            "depth": depth,
            "smallest": smallest,
            "largest": largest,
        }
        self.register_buffer("corner", torch.tensor(low, dtype=torch.float32))
        self.register_buffer("extent", torch.tensor(high, dtype=torch.float32) - self.corner)
        n_features = 2 + 16 + 4 + 3 * history + 3
        layers: list[nn.Module] = [nn.Linear(n_features, width), nn.SiLU()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.SiLU()]
        self.network = nn.Sequential(*layers, nn.Linear(width, 6 * n_components))

    def features(self, recent: Tensor, start: Tensor, goal: Tensor, elapsed: Tensor) -> Tensor:
        """What the network sees, all of order 1: (n, n_features).

        Args:
            recent: (n, history + 1, 2), the last positions, the present one last; NaN before the start.
            start, goal: (n, 2).
            elapsed: (n,), steps since the start.
        """
        here = recent[:, -1]
        place = 2 * (here - self.corner) / self.extent - 1
        waves = torch.cat([(math.pi * 2.0**k * place) for k in range(4)], dim=1)
        left = goal - here
        distance = left.norm(dim=1, keepdim=True)
        steps = (recent[:, 1:] - recent[:, :-1]) / STRIDE
        known = ~steps[..., 0].isnan()
        mean = (here - start) / STRIDE / elapsed.clamp(min=1)[:, None]
        return torch.cat(
            [
                place,
                waves.sin(),
                waves.cos(),
                left / 50.0,
                distance.log1p() / 4,
                (-distance / 4).exp(),
                steps.nan_to_num().flatten(1),
                known.float(),
                mean,
                (elapsed == 0)[:, None].float(),
            ],
            dim=1,
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The mixture, in metres: log weights (n, K), means (n, K, 2), Cholesky factors (n, K, 2, 2)."""
        logits, x, y, a, b, shear = self.network(features).float().chunk(6, dim=1)
        low, high = math.log(self.config["smallest"]), math.log(self.config["largest"])
        scale = (low + (high - low) * torch.stack([a, b], dim=-1).sigmoid()).exp()
        shear = shear.tanh() * scale[..., 1]
        rows = [
            torch.stack([scale[..., 0], torch.zeros_like(shear)], dim=-1),
            torch.stack([shear, scale[..., 1]], dim=-1),
        ]
        return logits.log_softmax(dim=1), STRIDE * torch.stack([x, y], dim=-1), torch.stack(rows, dim=-2)

    def log_prob(self, features: Tensor, steps: Tensor) -> Tensor:
        """log p(step) in nats, density per square metre: (n,)."""
        log_weights, means, factors = self(features)
        return mixture_log_prob(steps, log_weights, means, factors)

    def loss(
        self, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict]:
        """Mean negative log-likelihood of a batch (features (n, F), steps (n, 2))."""
        nll = -self.log_prob(*batch).mean()
        return nll, {"nats a step": nll.detach()}

    @torch.no_grad()
    def sample(
        self, features: Tensor, generator: torch.Generator | None = None, *, temperature: float = 1.0
    ) -> Tensor:
        """Draw a step for each row: (n, 2), metres. `temperature` scales the deviations; 0 takes a component's mean."""
        log_weights, means, factors = self(features)
        uniform = torch.rand(len(features), 1, generator=generator).to(log_weights)
        chosen = (log_weights.exp().cumsum(1) < uniform).sum(1).clamp(max=log_weights.shape[1] - 1)
        row = torch.arange(len(features), device=chosen.device)
        noise = torch.randn(len(features), 2, 1, generator=generator).to(means)
        return means[row, chosen] + temperature * (factors[row, chosen] @ noise)[..., 0]


def mixture_log_prob(values: Tensor, log_weights: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """log of a mixture's density at values (n, 2), by logsumexp over its K components: (n,).

    Args:
        log_weights: (n, K), normalised.
        means: (n, K, 2).
        factors: (n, K, 2, 2), lower triangular: the Cholesky factors of the covariances.
    """
    off = values[:, None] - means
    first = off[..., 0] / factors[..., 0, 0]
    second = (off[..., 1] - factors[..., 1, 0] * first) / factors[..., 1, 1]
    log_volume = factors[..., 0, 0].log() + factors[..., 1, 1].log()
    return (log_weights - 0.5 * (first**2 + second**2) - log_volume - math.log(2 * math.pi)).logsumexp(dim=1)


@torch.no_grad()
def roll_out(
    policy: MixturePolicy,
    starts: Tensor,
    goals: Tensor,
    generator: torch.Generator | None = None,
    *,
    radius: float = 1.5,
    longest: int = 120,
) -> Tensor:
    """Walk from starts to goals, all walkers at once, a step at a time.

    A walker has arrived when a step passes within `radius` of the goal; the path ends where that step comes closest.
    Who has not arrived after `longest` positions stays where they are.

    Args:
        starts, goals: (n, 2), metres.
        generator: of the steps, on the CPU.
        radius: metres.
        longest: positions of a path, at most.

    Returns:
        Paths (n, longest, 2), NaN after their end.
    """
    n, window = len(starts), policy.config["history"] + 1
    paths = torch.full((n, longest, 2), math.nan)
    paths[:, 0] = starts
    recent = torch.full((n, window, 2), math.nan)
    recent[:, -1] = starts
    walking = ((goals - starts).norm(dim=1) > radius).nonzero()[:, 0]
    for k in range(1, longest):
        if not len(walking):
            break
        now, goal = recent[walking], goals[walking]
        elapsed = torch.full((len(walking),), float(k - 1))
        device = policy.corner.device
        seen = policy.features(*(part.to(device) for part in (now, starts[walking], goal, elapsed)))
        step = policy.sample(seen, generator).cpu()
        here = now[:, -1]
        along = (((goal - here) * step).sum(1) / step.square().sum(1).clamp(min=1e-9)).clamp(0, 1)[:, None]
        arrived = (here + along * step - goal).norm(dim=1) <= radius
        there = here + torch.where(arrived[:, None], along, torch.ones_like(along)) * step
        paths[walking, k] = there
        recent[walking] = torch.cat([now[:, 1:], there[:, None]], dim=1)
        walking = walking[~arrived]
    return paths


class Walker:
    """The pair (h*, G) of a crowd: codes are a path's start and goal, the generator walks.

    Args:
        policy: trained.
        generator: of the steps: the same code gives another path each time.
        radius, longest: see `roll_out`.
    """

    n_codes = 4

    def __init__(
        self, policy: MixturePolicy, generator: torch.Generator, *, radius: float = 1.5, longest: int = 120
    ) -> None:
        self.policy, self.generator, self.radius, self.longest = policy, generator, radius, longest

    def encode(self, observations: Tensor) -> Tensor:
        """h*: start x, y and goal x, y of paths (n, T, 2): (n, 4), metres."""
        return path_ends(observations)

    def samples(self, codes: Tensor, n: int) -> Tensor:
        """Several paths for each code (m, 4): (n, m, longest, 2)."""
        return self.decode(codes.repeat(n, 1)).unflatten(0, (n, len(codes)))

    def decode(self, codes: Tensor) -> Tensor:
        """G: paths (n, longest, 2) of codes (n, 4), NaN after their end."""
        return roll_out(
            self.policy, codes[:, :2], codes[:, 2:], self.generator, radius=self.radius, longest=self.longest
        )


def load(path: str | Path) -> MixturePolicy:
    """Read a policy that `models.save` wrote: in eval mode, with `.provenance`.

    Raises:
        InputError: a file is missing, damaged, or of another kind of model.
    """
    return checkpoints.load(path, MixturePolicy, made_by="inc_lib.cloning")[0]
