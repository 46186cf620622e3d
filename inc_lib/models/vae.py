"""Two variational autoencoders: Ada-GVAE (weakly supervised) and beta-TCVAE (unsupervised).

Both maximise an evidence lower bound,

    ELBO = E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)),     q(z|x) = N(mean, variance), p(z) = N(0, 1),

with a Bernoulli likelihood summed over pixels. They differ in what they do with the posterior before decoding
(Ada-GVAE averages what a pair shares) or in what they charge for it (beta-TCVAE: the total correlation).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import InputError
from .networks import Decoder, Encoder

BATCH = 1024  # observations encoded or decoded at a time, which bounds memory


class VAE(nn.Module):
    """The common part: (h, G) = (`encode`, `decode`) and the pieces of the ELBO.

    Args:
        channels: 1 or 3.
        image_size: 32 or 64.
        n_codes: dimensions of the code space F.
        beta: weight of the regulariser.
        widths: channels of the convolutions, where they are not the shared ones.
    """

    name: str
    needs_pairs: bool
    needs_compositions = False

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        n_codes: int = 10,
        beta: float = 1.0,
        widths: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if n_codes < 1 or not beta >= 0:
            raise InputError(
                f"n_codes = {n_codes} and beta = {beta} cannot be used: expected at least one code and "
                "a beta of 0 or more."
            )
        self.config = {"channels": channels, "image_size": image_size, "n_codes": n_codes, "beta": beta}
        self.provenance: dict = {}
        self.n_codes, self.beta = n_codes, beta
        self.encoder = Encoder(channels, image_size, n_codes, widths)
        self.decoder = Decoder(channels, image_size, n_codes, widths)

    def posterior(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each float32 (n, n_codes)."""
        return self.encoder(observations).float().chunk(2, dim=1)

    @torch.no_grad()
    def close(self, codes: Sequence[int]) -> None:
        """Empty some codes: their posterior becomes the prior, whatever the image, and the decoder ignores them.

        What they carried is lost, and has to be learnt again by the codes that are left.
        """
        if not all(0 <= code < self.n_codes for code in codes):
            raise InputError(
                f"codes {list(codes)} cannot be closed: expected numbers from 0 to {self.n_codes - 1}."
            )
        last, first = self.encoder[-1], self.decoder[0]
        for code in codes:
            for row in (code, self.n_codes + code):  # mean and log-variance
                last.weight[row] = 0
                last.bias[row] = 0
            first.weight[:, code] = 0

    def elbo_terms(
        self, observations: Tensor, mean: Tensor, log_variance: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A sampled code (n, d), the reconstruction loss in nats per image, and the KL (n, d)."""
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        codes = mean + (0.5 * log_variance).exp() * noise
        reconstruction = BernoulliLoss.apply(self.decoder(codes), observations) / len(observations)
        kl = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)
        return codes, reconstruction, kl

    @torch.no_grad()
    def encode(self, observations: Tensor) -> Tensor:
        """h: observations (n, channels, H, W) in [0, 1] -> codes (n, n_codes), the posterior's means."""
        self._check(observations, self.config["channels"], self.config["image_size"])
        return self._in_batches(lambda batch: self.posterior(batch)[0], observations, (self.n_codes,))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """G: codes (n, n_codes) -> observations (n, channels, H, W) in [0, 1]."""
        if codes.ndim != 2 or codes.shape[1] != self.n_codes:
            raise InputError(
                f"codes of shape {tuple(codes.shape)} cannot be decoded: expected (n, {self.n_codes})."
            )
        size = self.config["image_size"]
        return self._in_batches(
            lambda batch: self._shown(self.decoder(batch).float()), codes, (self.config["channels"], size, size)
        )

    def _shown(self, outputs: Tensor) -> Tensor:
        """Observations in [0, 1] of what the decoder puts out: here the means of Bernoulli pixels, from logits."""
        return outputs.sigmoid()

    def _in_batches(self, function, inputs: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Apply in batches on the model's device; the result lies where the inputs lay."""
        device = next(self.parameters()).device
        outputs = torch.empty(len(inputs), *shape, device=inputs.device)
        for start in range(0, len(inputs), BATCH):
            outputs[start : start + BATCH] = function(inputs[start : start + BATCH].to(device, torch.float32))
        return outputs

    @staticmethod
    def _check(observations: Tensor, channels: int, size: int) -> None:
        if observations.ndim != 4 or tuple(observations.shape[1:]) != (channels, size, size):
            raise InputError(
                f"observations of shape {tuple(observations.shape)} do not fit this model: expected "
                f"(n, {channels}, {size}, {size}); load the world with image_size={size}."
            )


class BernoulliLoss(torch.autograd.Function):
    """-log p(x|z) of Bernoulli pixels, summed, from logits: softplus(l) - l x, with gradient sigmoid(l) - x.

    Written out because autograd's version of the same formula makes seven passes over the images, this one three.
    """

    @staticmethod
    def forward(context, logits: Tensor, observations: Tensor) -> Tensor:
        context.save_for_backward(logits, observations)
        logits = logits.float()
        return nn.functional.softplus(logits).sum() - torch.vdot(_flat(logits), _flat(observations))

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None]:
        logits, observations = context.saved_tensors
        return torch.sigmoid(logits.float()).sub_(observations).mul_(gradient).to(logits.dtype), None


def _flat(images: Tensor) -> Tensor:
    """All values in one dimension, in the same order for both memory formats."""
    return images.permute(0, 2, 3, 1).reshape(-1)


class AdaGVAE(VAE):
    """Ada-GVAE (Locatello et al. 2020, section 4): pairs of images that share some factors.

    For each pair and code dimension i, delta_i = KL(q(z_i|x1) || q(z_i|x2)). Dimensions with delta_i below

        tau = (max_i delta_i + min_i delta_i) / 2,      one threshold *per pair*,

    are taken to be shared, and both posteriors are replaced there by N(mean of the means, mean of the *variances*).
    Then the beta-VAE objective (beta = 1) is applied to both images.

    Follows the paper and its released implementation, in which the KL has one direction.

    Args:
        changed: how many code dimensions a pair may differ in, where that is known: the others, those with the
            smallest delta_i, are shared (the paper's rule for a known k). None: the threshold above.
    """

    name = "ada-gvae"
    needs_pairs = True

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        n_codes: int = 10,
        beta: float = 1.0,
        changed: int | None = None,
    ) -> None:
        super().__init__(channels=channels, image_size=image_size, n_codes=n_codes, beta=beta)
        if changed is not None and not 1 <= changed <= n_codes:
            raise InputError(
                f"changed = {changed} cannot be used: expected a number of codes between 1 and {n_codes}, or "
                "None for the threshold of the paper."
            )
        self.config |= {"changed": changed}

    def loss(
        self, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict]:
        """Negative ELBO of pairs (observations a, observations b), each (n, C, H, W), and its parts."""
        observations = torch.cat(batch)
        mean, log_variance = self.posterior(observations)
        mean, log_variance = average_shared(mean, log_variance, self.config["changed"])
        _, reconstruction, kl = self.elbo_terms(observations, mean, log_variance, generator)
        kl = kl.sum(1).mean()
        return reconstruction + self.beta * kl, {"reconstruction": reconstruction.detach(), "kl": kl.detach()}


def average_shared(mean: Tensor, log_variance: Tensor, changed: int | None = None) -> tuple[Tensor, Tensor]:
    """Ada-GVAE's rule on posteriors of stacked pairs (2n, d): average where a pair agrees.

    With `changed` given, all but the `changed` dimensions that differ most are shared, else those below tau.

    Returns means and log-variances (2n, d); rows i and n + i are equal in the shared dimensions.
    """
    mean_a, mean_b = mean.chunk(2)
    variance_a, variance_b = log_variance.exp().chunk(2)
    delta = 0.5 * (
        variance_a / variance_b
        + (mean_a - mean_b).square() / variance_b
        - 1
        + variance_b.log()
        - variance_a.log()
    )
    if changed is None:
        tau = 0.5 * (delta.amax(1, keepdim=True) + delta.amin(1, keepdim=True))
        shared = delta < tau
    else:
        shared = torch.ones_like(delta, dtype=torch.bool).scatter(1, delta.topk(changed, dim=1).indices, False)
    shared = shared.repeat(2, 1)
    average_mean = (0.5 * (mean_a + mean_b)).repeat(2, 1)
    average_log_variance = (0.5 * (variance_a + variance_b)).log().repeat(2, 1)
    return torch.where(shared, average_mean, mean), torch.where(shared, average_log_variance, log_variance)


class BetaTCVAE(VAE):
    """beta-TCVAE (Chen et al. 2018): charges beta for the total correlation of the aggregate posterior.

        loss = reconstruction + KL(q(z|x) || p(z)) + (beta - 1) TC,     TC = KL(q(z) || prod_j q(z_j)).

    Args:
        dataset_size: N, used by the stratified estimator only.
        estimator: how log q(z) is estimated in a batch, see `total_correlation`.
    """

    name = "beta-tcvae"
    needs_pairs = False

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        n_codes: int = 10,
        beta: float = 6.0,
        dataset_size: int = 480_000,
        estimator: str = "weighted",
    ) -> None:
        super().__init__(channels=channels, image_size=image_size, n_codes=n_codes, beta=beta)
        if estimator not in ("weighted", "stratified"):
            raise InputError(
                f"estimator {estimator!r} of the total correlation is unknown: expected 'weighted' or "
                "'stratified'."
            )
        self.config |= {"dataset_size": dataset_size, "estimator": estimator}

    def loss(self, batch: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict]:
        """The objective on observations (n, C, H, W), and its parts."""
        mean, log_variance = self.posterior(batch)
        codes, reconstruction, kl = self.elbo_terms(batch, mean, log_variance, generator)
        kl = kl.sum(1).mean()
        tc = total_correlation(
            codes,
            mean,
            log_variance,
            estimator=self.config["estimator"],
            dataset_size=self.config["dataset_size"],
        )
        return reconstruction + kl + (self.beta - 1) * tc, {
            "reconstruction": reconstruction.detach(),
            "kl": kl.detach(),
            "total_correlation": tc.detach(),
        }


def total_correlation(
    codes: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    *,
    estimator: str = "weighted",
    dataset_size: int = 480_000,
) -> Tensor:
    """Estimate TC = E[log q(z) - sum_j log q(z_j)] of the aggregate posterior from one batch (Chen et al. 2018).

    q(z_i) is estimated by a weighted sum of the batch's posteriors at z_i. Writing B for the batch and N for the data,

    - "weighted" gives every posterior the weight 1/B. The paper's estimator has 1/(NB), which only adds the constant
      (d - 1) log N (118 nats for d = 10, N = 480,000) and no gradient. Since z_i comes from posterior i, which
      is in the sum with weight 1/B instead of 1/N, the joint is over-estimated and TC comes out too high.
    - "stratified" gives posterior i the weight 1/N and every other (N - 1) / (N (B - 1)): unbiased for q(z_i),
      though not for its logarithm. This is the paper's second estimator made symmetric in the batch. (The
      matrix of weights that is widely copied puts the 1/N into a *column*, not on the diagonal.)

    With B = 64, N = 480,000, 10 codes of posterior width 0.3 and a true TC of 0 the first gives +7.6 nats, the second
    -0.3; at width 0.1 they give 17.6 and 12.3, and neither notices a correlated pair any more (`tests/test_vae.py`).
    "weighted" is the default because it is what the published results were trained with.

    Args:
        codes: z_i ~ q(z|x_i), (B, d).
        mean, log_variance: of the posteriors, (B, d).

    Returns:
        A scalar, in nats.
    """
    batch = len(codes)
    log_density = -0.5 * (
        (codes[:, None] - mean[None]).square() / log_variance.exp()[None]
        + log_variance[None]
        + math.log(2 * math.pi)
    )  # (B, B, d): log q(z_i,k | x_j)
    if estimator == "weighted" or batch == 1:
        log_weights = torch.full((batch, batch), -math.log(batch), device=codes.device)
    else:
        log_weights = torch.full(
            (batch, batch), math.log((dataset_size - 1) / dataset_size / (batch - 1)), device=codes.device
        )
        log_weights.fill_diagonal_(-math.log(dataset_size))
    joint = torch.logsumexp(log_weights + log_density.sum(2), dim=1)
    marginals = torch.logsumexp(log_weights[..., None] + log_density, dim=1).sum(1)
    return (joint - marginals).mean()
