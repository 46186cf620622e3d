"""Comp-WAE: a Wasserstein autoencoder that learns to compose (Montero et al. 2022).

The composition task shows a reference image, a command image, and the query of a factor; the target is the reference
with that factor taken from the command. Codes compose by *fixed interpolation*,

    z = z_reference (1 - a) + z_command a,      a one-hot in the queried factor,

so that factor i must come to lie in code i, and nothing else may. This is supervision by the factors' identities, and
more than Ada-GVAE has, which is told only how many factors differ.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .vae import VAE

# Channels of the 4x4, stride-2 convolutions; all end at 2x2 maps. At 64 pixels the paper's, at 32 the first is gone.
WIDTHS = {64: (32, 32, 64, 128, 256), 32: (32, 64, 128, 256)}
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the kernel
BASE_SCALE = 10.0


class CompWAE(VAE):
    """Comp-WAE: squared error of both reconstructions and of the composed image, codes held to the prior by MMD.

        loss = |x_r - G(z_r)|^2 + |x_c - G(z_c)|^2 + |x_t - G(z)|^2 + beta MMD + l1 |log variance|

    with z_r, z_c drawn from the encoder's posteriors. Follows the released implementation (mmrl/lost-in-latent-space:
    beta = 10, l1 = 0.001, prior of standard deviation 2, inverse multiquadratics), with two departures: its MMD, see
    `discrepancy`; and the MMD is of the encoded codes alone, not of the composed.

    Args:
        l1: weight of the log-variances' absolute values, which keeps posteriors from becoming points.
        prior_scale: standard deviation of the prior (the paper's code calls it a variance).
        mmd: "per-pair", or "released" for what the released code computes.
        output: "linear", the released code's: pixels are the decoder's numbers, cut to [0, 1] when they are shown; or
            "sigmoid". The squared error of a sigmoid near 0 has next to no gradient: where pictures are mostly black
            (`dsprites-twin`) nothing at all was learned through one, the posterior being as good as the prior.
        widths: channels of the convolutions. Default: `WIDTHS`; for MPI3D the paper takes 64, 64, 128, 128, 256.
    """

    name = "comp-wae"
    needs_pairs = False
    needs_compositions = True

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        n_codes: int = 10,
        beta: float = 10.0,
        l1: float = 0.001,
        prior_scale: float = 2.0,
        mmd: str = "per-pair",
        output: str = "linear",
        widths: tuple[int, ...] | None = None,
    ) -> None:
        if mmd not in KERNELS:
            raise InputError(f"mmd = {mmd!r} is unknown: expected one of {', '.join(map(repr, KERNELS))}.")
        if output not in ("linear", "sigmoid"):
            raise InputError(f"output = {output!r} is unknown: expected 'linear' or 'sigmoid'.")
        widths = tuple(widths or WIDTHS.get(image_size, ()))
        super().__init__(channels=channels, image_size=image_size, n_codes=n_codes, beta=beta, widths=widths)
        self.config |= {"l1": l1, "prior_scale": prior_scale, "mmd": mmd, "output": output, "widths": list(widths)}

    def loss(
        self, batch: tuple[Tensor, Tensor, Tensor, Tensor], generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict]:
        """The objective and its parts.

        Args:
            batch: references, commands, targets (n, C, H, W), and the queried factors int64 (n,).
        """
        reference, command, target, query = batch
        images = torch.cat([reference, command])
        mean, log_variance = self.posterior(images)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        codes = mean + (0.5 * log_variance).exp() * noise
        composed = compose(*codes.chunk(2), query)
        drawn = self.decoder(torch.cat([codes, composed])).float()
        if self.config["output"] == "sigmoid":
            drawn = drawn.sigmoid()
        error = F.mse_loss(drawn, torch.cat([images, target]), reduction="sum") / len(query)
        prior = self.config["prior_scale"] * torch.randn(codes.shape, generator=generator, device=mean.device)
        mmd = discrepancy(codes, prior, kind=self.config["mmd"])
        spread = log_variance.abs().sum(1).mean()
        total = error + self.beta * mmd + self.config["l1"] * spread
        return total, {"squared error": error.detach(), "mmd": mmd.detach()}

    def _shown(self, outputs: Tensor) -> Tensor:
        return outputs.sigmoid() if self.config["output"] == "sigmoid" else outputs.clamp(0, 1)


def compose(reference: Tensor, command: Tensor, query: Tensor) -> Tensor:
    """Codes (n, d) of the references with code `query` (n,) taken from the commands."""
    action = F.one_hot(query, reference.shape[1]).to(reference.dtype)
    return reference * (1 - action) + command * action


def discrepancy(codes: Tensor, prior: Tensor, *, kind: str = "per-pair") -> Tensor:
    """Maximum mean discrepancy of codes (n, d) and samples of the prior (n, d); a scalar.

    The kernel is a sum of inverse multiquadratics, k(x, y) = sum_s s / (s + |x - y|^2) (Tolstikhin et al. 2018).

    - "per-pair": the unbiased estimate, the mean of k over pairs of codes and over pairs of the prior less twice its
      mean over both.
    - "released": what mmrl/lost-in-latent-space computes. Its kernel sums the distances of *all* pairs before they
      enter s / (s + distance), and it divides by 2, the length of a pair of index lists, where the number of pairs was
      meant. Seven numbers near zero are all that is left: codes hardly feel it (see the tests).

    Raises:
        InputError: an unknown kind, or fewer than two codes.
    """
    if kind not in KERNELS or len(codes) < 2:
        raise InputError(
            f"the discrepancy {kind!r} of {len(codes)} codes cannot be computed: expected one of "
            f"{', '.join(map(repr, KERNELS))} and at least two codes."
        )
    return KERNELS[kind](codes.float(), prior.float())


def _per_pair(codes: Tensor, prior: Tensor) -> Tensor:
    scales = BASE_SCALE * torch.tensor(SCALES, device=codes.device)[:, None, None]
    n = len(codes)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (scales / (scales + _square_distances(a, b))).sum(0)

    within = (kernel(part, part).sum() - len(SCALES) * n for part in (codes, prior))  # k(x, x) = 1 at each scale
    return sum(within) / (n * (n - 1)) - 2 * kernel(codes, prior).mean()


def _released(codes: Tensor, prior: Tensor) -> Tensor:
    scales = BASE_SCALE * torch.tensor(SCALES, device=codes.device)

    def kernel(distances: Tensor) -> Tensor:
        return (scales / (scales + distances.sum())).sum()

    first, second = torch.triu_indices(len(codes), len(codes), offset=1, device=codes.device)
    within = sum(kernel(_square_distances(part, part)[first, second]) for part in (prior, codes))
    return within / 2 - 2 * kernel(_square_distances(codes, prior)) / 2


def _square_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2, (n, m), by differences: the product formula loses digits where points are close."""
    return (a[:, None] - b[None]).square().sum(2)


KERNELS = {"per-pair": _per_pair, "released": _released}
