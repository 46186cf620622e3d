"""The clustered generator with a label for each pixel: x_p = sum_k y_pk G_k(z)_p + noise.

One z ~ N(0, I) for a picture, K layers out of one generator, and a map of labels y, one of K in each pixel p, with the
prior pi_k(p). The noise is N(0, sigma^2) in each channel of each pixel. What learns it lies in `layering`.

- Zhu et al., the clustered generator model: one y for a picture. Here one for each pixel.
- Jojic and Caspi (2004), probabilistic index maps: pi_k(p), shared by all pictures, and a palette for each picture.
- Frey, Jojic and Kannan (2003): layers with subspaces for their appearance.
- Frey and Jojic (2003): a transformation of each picture; here a shift of the map, where `reach` > 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError

SIGMA = 0.4  # of the noise, to begin with
LIGHTS = ("shared", "each", "free")


def waves(size: int, order: int) -> Tensor:
    """Products of cosines with i + j < order half waves, of mean square 1: (size ** 2, order * (order + 1) / 2)."""
    ticks = (torch.arange(size) + 0.5) / size
    one = [torch.cos(math.pi * i * ticks) * (math.sqrt(2) if i else 1.0) for i in range(order)]
    pairs = sorted(((i, j) for i in range(order) for j in range(order - i)), key=sum)
    return torch.stack([torch.outer(one[i], one[j]).flatten() for i, j in pairs], dim=1)


class LayeredGenerator(nn.Module):
    """K layers of one z: G_k(z)_p = colour_k(z) light(z)_p.

    A layer has one colour, and a lamp lights all layers alike: light(z) is 1 plus a few slow waves. So no layer can be
    red on the left and blue on the right, and none can paint two surfaces of different hue. That poverty is what makes
    labels mean something: with `light="free"` a layer may be any smooth picture.

    In the coefficients of the waves G is a product of two linear maps of z, therefore everything that a picture's
    pixels say about z, once y is given, stands in K matrices (M, M) and K x C vectors (M,): see `layering.gather`.

    Args:
        size: pixels on a side.
        n_layers: K, at least 2.
        n_z: dimensions of z.
        order: of the light's waves; 1 is flat light, no waves.
        light: "shared" by the layers, one of "each", or "free": waves of each layer and colour channel.
        channels: of a picture.
        reach: pixels that a picture's map may be shifted by, to each side; 0 for a map that stands still.

    Attributes:
        index_map: (K, size + 2 reach, size + 2 reach), pi: sums to 1 over the layers.
        sigma: of the noise.

    Raises:
        InputError: numbers that make no generator.
    """

    def __init__(
        self,
        *,
        size: int,
        n_layers: int,
        n_z: int = 16,
        order: int = 3,
        light: str = "shared",
        channels: int = 3,
        reach: int = 0,
    ) -> None:
        super().__init__()
        if n_layers < 2 or min(size, n_z, order, channels) < 1 or reach < 0 or light not in LIGHTS:
            raise InputError(
                f"n_layers = {n_layers}, n_z = {n_z}, order = {order}, light = {light!r}, reach = {reach} make no "
                "generator: expected at least 2 layers (one layer tells nothing apart), positive numbers and light "
                f"{', '.join(LIGHTS)}."
            )
        self.size, self.n_layers, self.n_z, self.channels = size, n_layers, n_z, channels
        self.light, self.reach = light, reach
        basis = waves(size, order)
        self.register_buffer("basis", basis, persistent=False)  # (P, M)
        self.register_buffer("products", (basis[:, :, None] * basis[:, None]).flatten(1), persistent=False)
        self.n_waves = basis.shape[1]
        self.per = {"shared": 1, "each": n_layers, "free": n_layers * channels}[light]
        self.colour = nn.Parameter(torch.zeros(n_z, n_layers * channels))
        self.colour_mean = nn.Parameter(torch.full((n_layers * channels,), 0.5))
        self.lamp = nn.Parameter(torch.zeros(n_z, self.per * (self.n_waves - 1)))
        self.lamp_mean = nn.Parameter(torch.zeros(self.per * (self.n_waves - 1)))
        side = size + 2 * reach
        self.register_buffer("index_map", torch.full((n_layers, side, side), 1 / n_layers))
        self.register_buffer("sigma", torch.tensor(SIGMA))

    # --- G ---

    def colours(self, z: Tensor) -> Tensor:
        """Colour of each layer: (n, K, C)."""
        return (z @ self.colour + self.colour_mean).view(len(z), self.n_layers, self.channels)

    def _lights(self, z: Tensor) -> Tensor:
        """Coefficients of the light of each layer and channel: (n, K or 1, C or 1, M), the first of them 1."""
        k, c = {"shared": (1, 1), "each": (self.n_layers, 1), "free": (self.n_layers, self.channels)}[self.light]
        rest = (z @ self.lamp + self.lamp_mean).view(len(z), k, c, self.n_waves - 1)
        return torch.cat([torch.ones(len(z), k, c, 1, device=z.device), rest], dim=-1)

    def coefficients(self, z: Tensor) -> Tensor:
        """Layers as coefficients of the waves: (n, K, C, M)."""
        return self.colours(z)[..., None] * self._lights(z)

    def slopes(self, z: Tensor) -> Tensor:
        """Derivatives of `coefficients` by z: (n, K, C, M, n_z). The product rule, written out."""
        k, c, m = self.n_layers, self.channels, self.n_waves
        by_colour = self._lights(z)[..., None] * self.colour.T.view(k, c, 1, self.n_z)
        lamp = F.pad(self.lamp.T.reshape(self.per, m - 1, self.n_z), (0, 0, 1, 0))
        lamp = lamp.view({"shared": (1, 1), "each": (k, 1), "free": (k, c)}[self.light] + (m, self.n_z))
        return by_colour + self.colours(z)[..., None, None] * lamp

    def layers(self, z: Tensor) -> Tensor:
        """Each layer in every pixel, also where another one hides it: (n, K, C, H, W), not clipped."""
        return (self.coefficients(z) @ self.basis.T).unflatten(-1, (self.size, self.size))

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        """Pictures (n, C, H, W) of z (n, n_z) and label maps int64 (n, H, W)."""
        chosen = labels[:, None, None].expand(-1, 1, self.channels, -1, -1)
        return self.layers(z).gather(1, chosen)[:, 0].clamp(0, 1)

    # --- y ---

    def log_prior(self, places: Tensor) -> Tensor:
        """log pi of pictures whose maps are shifted to the corners `places` int64 (n, 2): (n, K, P)."""
        logs = self.index_map.log()
        if not self.reach:
            return logs.flatten(1).expand(len(places), -1, -1)
        ticks = torch.arange(self.size, device=logs.device)
        rows, columns = places[:, 0, None] + ticks, places[:, 1, None] + ticks
        return logs[:, rows[:, :, None], columns[:, None]].transpose(0, 1).flatten(2)

    def log_likelihood(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x_p | y_p = k, z) but for its constant, and the squared errors: both (n, K, P). x is (n, C, P)."""
        errors = (x[:, None] - self.layers(z).flatten(3)).square().sum(2)
        return -errors / (2 * self.sigma**2) - self.channels * self.sigma.log(), errors
