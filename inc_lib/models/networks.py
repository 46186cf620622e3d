"""The encoder and decoder that every variational model here shares (Locatello et al. 2020, Table 1)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from ..errors import InputError

# Channels of the 4x4, stride-2 convolutions: each halves the image, and all end at 64 maps of 4x4.
CONVOLUTIONS = {64: (32, 32, 64, 64), 32: (32, 64, 64)}
HIDDEN = 256


def check_shape(channels: int, image_size: int) -> None:
    """Raise InputError unless the networks can take such images."""
    if image_size not in CONVOLUTIONS or channels not in (1, 3):
        raise InputError(
            f"images of {channels} channel(s) and {image_size}x{image_size} pixels do not fit the networks: "
            f"expected 1 or 3 channels and {' or '.join(map(str, sorted(CONVOLUTIONS)))} pixels; "
            "choose with image_size."
        )


class Encoder(nn.Sequential):
    """Observations (n, channels, image_size, image_size) -> (n, 2 * n_codes): means and log-variances.

    Args:
        widths: channels of the convolutions, where they are not those of `CONVOLUTIONS`.
    """

    def __init__(
        self, channels: int, image_size: int, n_codes: int, widths: tuple[int, ...] | None = None
    ) -> None:
        check_shape(channels, image_size)
        widths = widths or CONVOLUTIONS[image_size]
        convolutions = [
            layer
            for before, after in itertools.pairwise((channels, *widths))
            for layer in (_Down(before, after, 4, stride=2, padding=1), nn.ReLU(inplace=True))
        ]
        super().__init__(
            *convolutions,
            nn.Flatten(),
            nn.Linear(widths[-1] * _side(image_size, widths) ** 2, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, 2 * n_codes),
        )


class Decoder(nn.Sequential):
    """Codes (n, n_codes) -> logits (n, channels, image_size, image_size): the encoder mirrored."""

    def __init__(
        self, channels: int, image_size: int, n_codes: int, widths: tuple[int, ...] | None = None
    ) -> None:
        check_shape(channels, image_size)
        mirrored = (widths or CONVOLUTIONS[image_size])[::-1]
        side = _side(image_size, mirrored)
        deconvolutions = [
            layer
            for before, after in itertools.pairwise(mirrored)
            for layer in (_Up(before, after, 4, stride=2, padding=1), nn.ReLU(inplace=True))
        ]
        super().__init__(
            nn.Linear(n_codes, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, mirrored[0] * side**2),
            nn.ReLU(inplace=True),
            _Maps(mirrored[0], side),
            *deconvolutions,
            nn.ConvTranspose2d(mirrored[-1], channels, 4, stride=2, padding=1),
        )


def _side(image_size: int, widths: tuple[int, ...]) -> int:
    """Pixels on a side of the smallest maps."""
    return image_size // 2 ** len(widths)


class _Down(nn.Conv2d):
    """A 4x4 convolution of stride 2. In training on a CPU, maps of 4x4 become 2x2 by four matrix products: a whole
    step of Comp-WAE then takes about three quarters of the time (benchmarks/small_maps.py)."""

    def forward(self, maps: Tensor) -> Tensor:
        if not _by_products(maps, side=4):
            return super().forward(maps)
        n, places, weight = len(maps), maps.permute(0, 2, 3, 1), self.weight.to(maps.dtype).permute(0, 2, 3, 1)
        # where the kernel lies for either row of the result: rows of the map, and of the kernel, that meet
        meet = ((slice(0, 3), slice(1, 4)), (slice(1, 4), slice(0, 3)))
        products = [
            places[:, rows, columns].reshape(n, -1) @ weight[:, of_rows, of_columns].reshape(len(weight), -1).T
            for rows, of_rows in meet
            for columns, of_columns in meet
        ]
        result = torch.stack(products, dim=1) + self.bias.to(maps.dtype)
        return result.view(n, 2, 2, -1).permute(0, 3, 1, 2)


class _Up(nn.ConvTranspose2d):
    """Its mirror: from maps of 2x2 to 4x4, what the kernels of neighbours draw is laid over one another."""

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not _by_products(maps, side=2):
            return super().forward(maps, output_size)
        n, weight = len(maps), self.weight.to(maps.dtype).permute(0, 2, 3, 1)
        kernels = maps.permute(0, 2, 3, 1).reshape(4 * n, -1) @ weight.reshape(len(weight), -1)
        left, right = kernels.view(n, 2, 2, 4, 4, -1).unbind(2)
        columns = [left[..., 1:2, :], left[..., 2:4, :] + right[..., 0:2, :], right[..., 2:3, :]]
        upper, lower = torch.cat(columns, dim=3).unbind(1)
        rows = [upper[:, 1:2], upper[:, 2:4] + lower[:, 0:2], lower[:, 2:3]]
        return (torch.cat(rows, dim=1) + self.bias.to(maps.dtype)).permute(0, 3, 1, 2)


def _by_products(maps: Tensor, *, side: int) -> bool:
    return torch.is_grad_enabled() and maps.device.type == "cpu" and maps.shape[-2:] == (side, side)


class _Maps(nn.Module):
    """Vectors to maps (n, width, side, side), channels last: what the convolutions behind it are fastest with."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.shape = width, side, side

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors.view(-1, *self.shape).contiguous(memory_format=torch.channels_last)


def multiplies_bf16(device: str) -> bool:
    """Whether "cpu" or "cuda" multiplies bfloat16 natively: elsewhere it is slower than float32."""
    return torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
