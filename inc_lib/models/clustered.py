"""The clustered generator model, x = G(z, y) + noise, with two generators: the published kind and one that deforms.

z ~ N(0, I) is how an observation looks within its cluster, y ~ Cat(pi) is the cluster; the noise is N(0, sigma^2) in
each pixel. What learns them lies in `langevin` (z and y, given G) and `alternation` (G, given z and y).

- Zhu et al., the clustered generator model: a deconvolutional G(z, y), z and y in turn from their posteriors.
- Xing, Gao, Han, Zhu and Wu (2019), deformable generator networks: appearance and geometry apart, also by Langevin.
- Monnier, Groueix and Aubry (2020), deep transformation-invariant clustering: prototypes that a network deforms.
- Frey and Jojic (2003), transformed mixtures of Gaussians: the ancestor of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from . import checkpoints

SIGMA = 0.3  # of the noise; the paper's value, for pixels in [-1, 1] there and in [0, 1] here
SPREADS = (0.1, 0.2, 0.12)  # prior standard deviations of shifts, of linear maps, of bends; 1 is half of an image
CHUNK = 500  # observations at once: their images and slopes stay in the processor's cache


class DeformingGenerator(nn.Module):
    """K pictures, each with shades of its own, that z paints and bends: G(z, y) = (T_y + sum_j a_j B_yj)(p + u(p)).

    The displacement u is smooth: a sum of a shift, a linear map and a few waves, in x and in y, whose weights are
    m_y + L_y z. So z has no means of turning one picture into another that is not its deformation, and y has work.
    Everything else of z, the shades' weights a, is added before bending.

    Departure from Zhu et al.: the generator. Theirs is a deconvolutional network, here `DeconvolutionalGenerator`.

    Args:
        shape: (H, W) of an image.
        n_clusters: K, at least 2.
        modes: waves on either side of an image: (modes + 1)^2 - 1 for x, and as many for y.
        n_shades: B_y1, B_y2, ...: linear changes of a picture, such as a thicker line.

    Attributes:
        templates (K, H, W), shades (K, n_shades, H, W), means (K, n_bends), spreads (K, n_bends, n_bends) lower
        triangular: T, B, m and L. n_z: dimensions of z, bends first.

    Raises:
        InputError: numbers that make no generator.
    """

    name = "clustered"

    def __init__(self, *, shape: Sequence[int], n_clusters: int, modes: int = 2, n_shades: int = 2) -> None:
        super().__init__()
        if len(shape) != 2 or min(shape) < 4:
            raise InputError(
                f"observations of shape {tuple(shape)} cannot be deformed: expected images of at least 4x4."
            )
        if n_clusters < 2 or modes < 0 or n_shades < 0:
            raise InputError(
                f"n_clusters = {n_clusters}, modes = {modes}, n_shades = {n_shades} cannot be used: expected at least "
                "2 clusters (one cluster tells nothing apart) and no negative number."
            )
        self.config = {"shape": list(shape), "n_clusters": n_clusters, "modes": modes, "n_shades": n_shades}
        height, width = shape
        basis, spreads = _waves(height, width, modes)
        self.n_basis, self.n_bends = len(basis), 2 * len(basis)
        self.n_shades, self.n_z = n_shades, 2 * len(basis) + n_shades
        self.register_buffer("basis", basis, persistent=False)  # (n_basis, H * W)
        first, second = torch.triu_indices(len(basis), len(basis))
        pairs = torch.empty(len(basis), len(basis), dtype=torch.int64)
        pairs[first, second] = pairs[second, first] = torch.arange(len(first))
        self.register_buffer("products", basis[first] * basis[second], persistent=False)  # each product once,
        self.register_buffer("pairs", pairs.flatten(), persistent=False)  # and where it stands
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        places = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
        self.register_buffer("places", places.reshape(1, -1, 2), persistent=False)
        self.register_buffer("prior_spread", torch.cat([spreads, spreads]), persistent=False)
        self.templates = nn.Parameter(torch.zeros(n_clusters, height, width))
        self.shades = nn.Parameter(torch.zeros(n_clusters, n_shades, height, width))
        self.means = nn.Parameter(torch.zeros(n_clusters, self.n_bends))
        self.spreads = nn.Parameter(torch.diag(self.prior_spread).repeat(n_clusters, 1, 1))
        self.register_buffer("sigma", torch.tensor(SIGMA))  # at which the posterior of y is taken
        self.requires_grad_(False)  # learned in closed form, see `alternation`
        self.provenance: dict = {}

    @property
    def n_clusters(self) -> int:
        return len(self.templates)

    @property
    def n_noise(self) -> int:
        """Dimensions of a code before its assignments, as `models.dls.DLS` has them."""
        return self.n_z

    @property
    def n_codes(self) -> int:
        """Of a whole code: z, then K assignments."""
        return self.n_z + self.n_clusters

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(self.templates.shape[1:])

    # --- G ---

    def bends(self, z: Tensor, k: int) -> Tensor:
        """Weights of the displacement, m_k + L_k z: (n, n_bends)."""
        return self.means[k] + z[:, : self.n_bends] @ self.spreads[k].T

    def warp(self, pictures: Tensor, bends: Tensor) -> Tensor:
        """Pictures (c, H, W), each deformed in n ways: (c, n, H * W)."""
        shift = torch.stack([part @ self.basis for part in bends.split(self.n_basis, dim=1)], dim=-1)
        return F.grid_sample(
            pictures[None], (self.places + shift)[None], align_corners=True, padding_mode="border"
        )[0]

    def draw(self, z: Tensor, k: int) -> Tensor:
        """G(z, y = k): images (n, H * W) of z (n, n_z), differentiable."""
        layers = self.warp(torch.cat([self.templates[k][None], self.shades[k]]), self.bends(z, k))
        return _mixed(layers, z[:, self.n_bends :])

    def generate(self, z: Tensor, y: Tensor) -> Tensor:
        """G(z, y): images (n, H * W) of z (n, n_z) and y int64 (n,), differentiable in z."""
        made = z.new_zeros(len(z), self.places.shape[1])
        for k in y.unique().tolist():
            made = made.index_put((torch.nonzero(y == k)[:, 0],), self.draw(z[y == k], k))
        return made

    def slopes(self, x: Tensor, z: Tensor, k: int, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
        """What a step in z needs to know, without autograd: G is a picture looked up at places, so its derivative is
        the picture's slope there times the basis.

        Args:
            x, z: (n, H * W), (n, n_z).

        Returns:
            The squared error (n,); the gradient (n, n_z) of log p(x, z, y = k) by z; and its Gauss-Newton curvature
            (n, n_z, n_z): J^T J / sigma^2 + I, J the Jacobian of G. It is positive definite.
        """
        painted = self.n_shades > 0 and bool(self.shades[k].any())  # not while they are all zero: no need to look
        pictures, weights = self.templates[k][None], z[:, self.n_bends : self.n_bends]
        if painted:
            pictures, weights = torch.cat([pictures, self.shades[k]]), z[:, self.n_bends :]
        layers, across, down = self.warp(_with_slopes(pictures), self.bends(z, k)).chunk(3)
        rest = x - _mixed(layers, weights)
        across, down, basis = _mixed(across, weights), _mixed(down, weights), self.basis.T
        gradient = torch.cat([(across * rest) @ basis, (down * rest) @ basis], dim=1)
        square = [self._square(one * other) for one, other in ((across, across), (across, down), (down, down))]
        curvature = torch.cat([torch.cat(square[:2], dim=2), torch.cat(square[1:], dim=2)], dim=1)
        spread = self.spreads[k]
        gradient, curvature = gradient @ spread, spread.T @ curvature @ spread
        if painted:
            shades = layers[1:]
            mixed = torch.stack([torch.cat([(across * one) @ basis, (down * one) @ basis], dim=1) for one in shades])
            mixed = torch.einsum("ab,jna->nbj", spread, mixed)
            own = torch.einsum("inp,jnp->nij", shades, shades)
            gradient = torch.cat([gradient, (shades * rest).sum(2).T], dim=1)
            curvature = torch.cat(
                [torch.cat([curvature, mixed], dim=2), torch.cat([mixed.mT, own], dim=2)], dim=1
            )
        elif self.n_shades:
            gradient = F.pad(gradient, (0, self.n_shades))
            curvature = F.pad(curvature, (0, self.n_shades, 0, self.n_shades))
        identity = torch.eye(self.n_z, device=z.device)
        return rest.square().sum(1), gradient / sigma**2 - z, curvature / sigma**2 + identity

    def _square(self, weights: Tensor) -> Tensor:
        """Sums over pixels of weights (n, H * W) times each product of two basis functions: (n, n_basis, n_basis)."""
        found = (weights @ self.products.T).index_select(1, self.pairs)
        return found.view(len(weights), self.n_basis, self.n_basis)

    # --- h and G of Algorithm 1 ---

    @torch.no_grad()
    def encode(self, observations: Tensor, *, steps: int = 12) -> Tensor:
        """h: codes (n, n_z + K) of images (n, H * W): z of the likeliest label, then the posterior of y, of sum 1.

        Args:
            steps: of each label's chain, see `langevin.infer_cooling`.
        """
        from ..langevin import infer_cooling

        if not len(observations):
            return torch.empty(0, self.n_codes)
        z, scores = infer_cooling(self, observations, float(self.sigma), steps=steps)
        chosen = scores.argmin(1)
        return torch.cat([z[torch.arange(len(z)), chosen], (-scores).softmax(1)], dim=1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """G: images (n, H * W) in [0, 1] of codes (n, n_z + K), y being the largest assignment."""
        codes = codes.to(self.templates.device)
        return self.generate(codes[:, : self.n_z], codes[:, self.n_z :].argmax(1)).clamp(0, 1)

    def clusters(self, observations: Tensor) -> Tensor:
        """The cluster of each image (n, H * W), the MAP of y: int64 (n,), on the CPU."""
        return self.encode(observations)[:, self.n_z :].argmax(1).cpu()

    def prior(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n draws: z (n, n_z) and y int64 (n,), uniform."""
        return torch.randn(n, self.n_z, generator=generator), torch.randint(
            self.n_clusters, (n,), generator=generator
        )

    # --- learning ---

    def kept(self, labels: Sequence[int]) -> DeformingGenerator:
        """The same generator with some of its clusters only."""
        fewer = DeformingGenerator(**self.config | {"n_clusters": len(labels)})
        rows = torch.as_tensor(labels)
        own = self.state_dict()
        fewer.load_state_dict({name: own[name] if name == "sigma" else own[name][rows] for name in own})
        return fewer.to(self.templates.device)


class DeconvolutionalGenerator(nn.Module):
    """The published kind of G: z and the one-hot y go through a linear layer and transposed convolutions with batch
    normalisation, to an image in [0, 1]. Nothing in it says what z is for and what y is for.

    Args:
        shape: (H, W), at least 4x4; drawn to the next multiples of 4 and cut off.
        n_clusters: K, at least 2.
        n_z: dimensions of z; the paper's: 100.
        width: channels of the last layer but one.

    Raises:
        InputError: numbers that make no network.
    """

    name = "clustered-deconvolution"

    def __init__(self, *, shape: Sequence[int], n_clusters: int, n_z: int = 100, width: int = 32) -> None:
        super().__init__()
        if len(shape) != 2 or min(shape) < 4:
            raise InputError(
                f"observations of shape {tuple(shape)} cannot be drawn: expected images of at least 4x4."
            )
        if n_clusters < 2 or min(n_z, width) < 1:
            raise InputError(
                f"n_clusters = {n_clusters}, n_z = {n_z}, width = {width} cannot be used: expected at least 2 clusters "
                "(one cluster tells nothing apart) and positive numbers."
            )
        self.config = {"shape": list(shape), "n_clusters": n_clusters, "n_z": n_z, "width": width}
        self.n_clusters, self.n_z = n_clusters, n_z
        height, across = (-(-side // 4) for side in shape)
        self.network = nn.Sequential(
            nn.Linear(n_z + n_clusters, 2 * width * height * across),
            nn.Unflatten(1, (2 * width, height, across)),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )
        self.provenance: dict = {}

    def generate(self, z: Tensor, y: Tensor) -> Tensor:
        """G(z, y): images (n, H * W) in [0, 1] of z (n, n_z) and y int64 (n,), differentiable."""
        made = self.network(torch.cat([z, F.one_hot(y, self.n_clusters).to(z)], dim=1))
        height, width = self.config["shape"]
        return made[:, 0, :height, :width].flatten(1).float()


def _waves(height: int, width: int, modes: int) -> tuple[Tensor, Tensor]:
    """The basis of displacements (b, H * W): 1, x, y, then sines of both, zero at the border where they can be; and
    the prior standard deviation of each (b,)."""
    down, across = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    waves, spreads = [torch.ones_like(down), across, down], [SPREADS[0], SPREADS[1], SPREADS[1]]

    def wave(place: Tensor, order: int) -> Tensor:
        return torch.sin(math.pi * order * (place + 1) / 2) if order else torch.ones_like(place)

    for i in range(modes + 1):
        for j in range(modes + 1):
            if i or j:
                waves.append(wave(across, i) * wave(down, j))
                spreads.append(SPREADS[2] / math.hypot(i, j))
    return torch.stack(waves).flatten(1), torch.tensor(spreads)


def _with_slopes(pictures: Tensor) -> Tensor:
    """Pictures (c, H, W), then their central differences by x and by y, in units of half of an image: (3 c, H, W)."""
    height, width = pictures.shape[1:]
    padded = F.pad(pictures[None], (1, 1, 1, 1), mode="replicate")[0]
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) * (width - 1) / 4
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) * (height - 1) / 4
    return torch.cat([pictures, across, down])


def _mixed(layers: Tensor, weights: Tensor) -> Tensor:
    """The first layer plus the weighted others: (1 + j, n, p) and (n, j) to (n, p)."""
    mixed = layers[0]
    for j in range(weights.shape[1]):
        mixed = torch.addcmul(mixed, layers[j + 1], weights[:, j : j + 1])
    return mixed


def load(path: str | Path) -> DeformingGenerator:
    """The model of a checkpoint, in eval mode, with `.provenance`; see `checkpoints.load`."""
    model, _ = checkpoints.load(path, DeformingGenerator, made_by="python -m inc_lib.alternation")
    return model
