"""What z and y are, given x and a generator: Langevin steps for z, the exact posterior for y.

`langevin` and `label_posterior` are Eqs. 3 and 6 of Zhu et al. as they stand, for any differentiable G(z, y). `infer`
keeps a chain for each label instead of one for all, takes its steps in the curvature's own units, and scores a label
by its volume as well as by its peak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .errors import InputError
from .models.clustered import CHUNK, DeformingGenerator


def log_joint(model: Any, x: Tensor, z: Tensor, y: Tensor, sigma: float) -> Tensor:
    """log p(z, x, y) up to a constant, -|z|^2 / 2 - |x - G(z, y)|^2 / (2 sigma^2).

    Args:
        x, z, y: (n, p), (n, d), int64 (n,).

    Returns:
        (n,).
    """
    error = (x - model.generate(z, y)).square().sum(1)
    return -z.square().sum(1) / 2 - error / (2 * sigma**2)


def langevin(
    model: Any,
    x: Tensor,
    z: Tensor,
    y: Tensor,
    *,
    steps: int,
    step_size: float,
    sigma: float,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Zhu et al., Eq. 3: z <- z + delta d/dz log p(z, x, y) + sqrt(2 delta) N(0, I), `steps` times. No gradient flows
    to the model.

    Args:
        x, z, y: (n, p), (n, d), int64 (n,).
        step_size: delta.
        temperature: of the noise; 0 climbs to the nearest peak, and draws nothing.
        generator: of the noise, on the device of z.

    Raises:
        InputError: a step size or sigma that is not positive.
    """
    if not (step_size > 0 and sigma > 0):
        raise InputError(f"step_size = {step_size}, sigma = {sigma} cannot be used: expected positive numbers.")
    for _ in range(steps):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(log_joint(model, x, z, y, sigma).sum(), z)
        z = z.detach() + step_size * slope
        if temperature:
            noise = torch.randn(z.shape, generator=generator, device=z.device)
            z = z + math.sqrt(2 * step_size * temperature) * noise
    return z


@torch.no_grad()
def label_posterior(model: Any, x: Tensor, z: Tensor, sigma: float, shares: Tensor) -> Tensor:
    """Zhu et al., Eq. 6: p(y | x, z), in one pass of G over K times n pairs. Exact, for this z.

    Args:
        x, z: (n, p), (n, d).
        shares: pi (K,).

    Returns:
        (n, K), of sum 1.
    """
    n_labels = len(shares)
    y = torch.arange(n_labels, device=x.device).repeat(len(x))
    made = model.generate(z.repeat_interleave(n_labels, 0), y).view(len(x), n_labels, -1)
    error = (x[:, None] - made).square().sum(2)
    return (shares.log() - error / (2 * sigma**2)).softmax(1)


@torch.no_grad()
def infer(
    model: DeformingGenerator,
    x: Tensor,
    sigma: float,
    *,
    steps: int,
    z: Tensor | None = None,
    active: Sequence[int] | None = None,
    temperature: float = 0.0,
    marginal: bool = True,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """A chain *per label*, and what each label is worth.

    A step is z <- z + H^-1 d/dz log p + sqrt(tau) H^-1/2 N(0, I), with H the Gauss-Newton curvature of `slopes`:
    Langevin dynamics in the metric of the posterior, without the term of the metric's own change (Girolami and
    Calderhead 2011, Section 5). The step size is 1, and the noise the one with which such a step is exact where log p
    is quadratic. At a temperature tau of 0 it is Gauss-Newton's ascent.

    Args:
        x: images (n, p).
        z: where the chains are, (n, K, n_z); default: at 0.
        active: dimensions of z that move, the others stay; default: all.
        temperature: tau.
        marginal: score by Laplace's approximation of the marginal, log p(x, y) = log p(x, z*, y) - log det H / 2,
            not by the peak alone. Without it a label wins by having a sharp peak somewhere.
        generator: of the noise.

    Returns:
        The chains (n, K, n_z), and -log p(x, y) or -log p(x, z, y), up to a constant: (n, K), less is better. Its
        softmax is p(y | x) for uniform pi.
    """
    n_labels = model.n_clusters
    z = x.new_zeros(len(x), n_labels, model.n_z) if z is None else z.clone()
    active = list(range(model.n_z)) if active is None else list(active)
    whole = len(active) == model.n_z
    scores = x.new_empty(len(x), n_labels)
    for rows in torch.arange(len(x), device=x.device).split(CHUNK):
        for k in range(n_labels):
            chain = z[rows, k]
            for _ in range(steps if active else 0):
                _, gradient, curvature = model.slopes(x[rows], chain, k, sigma)
                factor = torch.linalg.cholesky(curvature if whole else curvature[:, active][:, :, active])
                step = torch.cholesky_solve(gradient[:, active, None], factor)
                if temperature:
                    noise = torch.randn(step.shape, generator=generator, device=step.device)
                    step = step + math.sqrt(temperature) * torch.linalg.solve_triangular(
                        factor.mT, noise, upper=True
                    )
                chain[:, active] += step[..., 0]
            if marginal and active:
                error, _, curvature = model.slopes(x[rows], chain, k, sigma)
                factor = torch.linalg.cholesky(curvature if whole else curvature[:, active][:, :, active])
                volume = factor.diagonal(dim1=1, dim2=2).log().sum(1)
            else:
                error, volume = (x[rows] - model.draw(chain, k)).square().sum(1), 0.0
            z[rows, k] = chain
            scores[rows, k] = error / (2 * sigma**2) + chain.square().sum(1) / 2 + volume
    return z, scores


def infer_cooling(model: DeformingGenerator, x: Tensor, sigma: float, *, steps: int) -> tuple[Tensor, Tensor]:
    """`infer` from z = 0, for images that a model has not seen: about a quarter of the steps at 2.5 sigma, a third at
    1.5 sigma, the rest at sigma. With much noise the chains take the large bends first, so fewer end on a wrong peak.
    """
    z = None
    for share, warmth in ((4, 2.5), (3, 1.5)):
        if steps // share:
            z, _ = infer(model, x, warmth * sigma, steps=steps // share, z=z, marginal=False)
    return infer(model, x, sigma, steps=steps - steps // 4 - steps // 3, z=z)
