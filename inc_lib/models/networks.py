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
    """Observations (n, channels, image_size, image_size) -> (n, 2 * n_codes): means and log-variances."""

    def __init__(self, channels: int, image_size: int, n_codes: int) -> None:
        check_shape(channels, image_size)
        widths = (channels, *CONVOLUTIONS[image_size])
        convolutions = [
            layer
            for before, after in itertools.pairwise(widths)
            for layer in (nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU(inplace=True))
        ]
        super().__init__(
            *convolutions,
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, 2 * n_codes),
        )


class Decoder(nn.Sequential):
    """Codes (n, n_codes) -> logits (n, channels, image_size, image_size): the encoder mirrored."""

    def __init__(self, channels: int, image_size: int, n_codes: int) -> None:
        check_shape(channels, image_size)
        widths = CONVOLUTIONS[image_size][::-1]
        deconvolutions = [
            layer
            for before, after in itertools.pairwise(widths)
            for layer in (nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU(inplace=True))
        ]
        super().__init__(
            nn.Linear(n_codes, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, 64 * 4 * 4),
            nn.ReLU(inplace=True),
            _Maps(),
            *deconvolutions,
            nn.ConvTranspose2d(widths[-1], channels, 4, stride=2, padding=1),
        )


class _Maps(nn.Module):
    """Vectors (n, 1024) to maps (n, 64, 4, 4), channels last: what the convolutions behind it are fastest with."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors.view(-1, 64, 4, 4).contiguous(memory_format=torch.channels_last)


def multiplies_bf16(device: str) -> bool:
    """Whether "cpu" or "cuda" multiplies bfloat16 natively: elsewhere it is slower than float32."""
    return torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
