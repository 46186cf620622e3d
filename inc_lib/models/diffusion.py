"""G for given factors: a conditional diffusion model, whose conditions compose.

A U-Net learns to take noise out of an image, told one condition or none (classifier-free: Ho and Salimans 2022).
What it predicts under several conditions adds up to an image that meets them all (Liu et al. 2022):

    prediction = p(x, none) + sum_i w_i (p(x, c_i) - p(x, none)).

U-Net, noise schedule and sampler are diffusers'.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, suggest
from . import checkpoints
from .networks import multiplies_bf16

TIMESTEPS = 1000  # of the noise schedule that training draws from
BATCH = 256  # predictions at a time, which bounds memory
HEAVIEST = 5.0  # weight of an image's error at little noise (Hang et al. 2023): more would be spent on the last pixel
PREDICTS = ("velocity", "image")
SLOWEST = 0.999  # of the average of the weights: a step moves it by a thousandth of the way


class Diffusion(nn.Module):
    """Images from noise, told a condition: a vector of numbers.

    The U-Net works on blocks of `patch` x `patch` pixels (`pixel_unshuffle`), which costs a fraction of what it does
    at full resolution. It predicts the velocity v = sqrt(a) noise - sqrt(1 - a) image (Salimans and Ho 2022) under a
    cosine schedule (Nichol and Dhariwal 2021). At a given noisy image, v and noise are affine in one another with
    the same coefficients under every condition, so weights that compose one compose the other.

    Args:
        channels: 1 or 3.
        image_size: pixels on a side, a multiple of `patch` times 2 for each halving inside of the U-Net.
        n_conditions: numbers of a condition, of order 1.
        patch: pixels on a side of what the U-Net takes for one.
        widths: channels of the U-Net at each resolution.
        layers: residual blocks at each resolution.
        frequencies: the network sees each number also as sin and cos of pi, 2 pi, 4 pi, ... times it: so many.
        placed: whether the first three numbers of a condition are a place: x and y from -1 to 1, and 1 where they are
            told, else 0. The U-Net then sees three more channels: where each of its pixels is, since convolutions
            alone do not know (Liu et al. 2018, "CoordConv"), and a bump at the place that is told.
        drop: share of the training images whose condition is hidden.
        groups: how many numbers of a condition, in turn, belong together (tell one factor); each group is embedded by
            a network of its own, and the embeddings are added (so Okawa et al. 2023). None: one network for all.
        scale_shift: whether time and condition scale the U-Net's normalised features beside shifting them (FiLM:
            Perez et al. 2018). A product of what two factors say is then a product of two features and need not be
            learned.
        predicts: "velocity", or "image", the clean one. The velocity holds nearly all of the noise, and a U-Net whose
            width is not well above channels times `patch` squared cannot pass that through: its images stay noisy. The
            clean image needs no more room than there is in it. They are affine in one another like the rest, and
            compose by the same rule.
    """

    name = "diffusion"

    def __init__(
        self,
        *,
        channels: int,
        image_size: int,
        n_conditions: int,
        patch: int = 2,
        widths: tuple[int, ...] = (32, 64),
        layers: int = 1,
        frequencies: int = 0,
        placed: bool = False,
        drop: float = 0.1,
        groups: tuple[int, ...] | None = None,
        scale_shift: bool = False,
        predicts: str = "velocity",
    ) -> None:
        super().__init__()
        if predicts not in PREDICTS:
            raise suggest("prediction", predicts, PREDICTS)
        unit = patch * 2 ** (len(widths) - 1)
        if groups is not None and (sum(groups) != n_conditions or min(groups) < 1):
            raise InputError(
                f"groups of {tuple(groups)} numbers do not make up a condition of {n_conditions}: expected positive "
                "whole numbers that sum to it."
            )
        least = 3 if placed else 1
        if n_conditions < least or not 0 <= drop < 1 or not widths or image_size < unit or image_size % unit:
            raise InputError(
                f"a diffusion model of {n_conditions} condition(s), drop = {drop}, on images of {image_size} pixels "
                f"cannot be built: expected a condition of at least {least}, a share below 1, and a multiple of {unit} "
                "pixels."
            )
        with warnings.catch_warnings():  # a complaint about missing widgets would put this machine's paths on a page
            warnings.simplefilter("ignore")
            from diffusers import DDIMScheduler, UNet2DModel  # seconds: only who draws images waits

        self.config = {
            "channels": channels,
            "image_size": image_size,
            "n_conditions": n_conditions,
            "patch": patch,
            "widths": list(widths),
            "layers": layers,
            "frequencies": frequencies,
            "placed": placed,
            "drop": drop,
            "groups": None if groups is None else list(groups),
            "scale_shift": scale_shift,
            "predicts": predicts,
        }
        self.provenance: dict = {}
        self.n_conditions, self.patch, self.drop = n_conditions, patch, drop
        inside = channels * patch**2
        unet = UNet2DModel(
            sample_size=image_size // patch,
            in_channels=inside + 3 * placed,
            out_channels=inside,
            layers_per_block=layers,
            block_out_channels=tuple(widths),
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            norm_num_groups=8,
            add_attention=False,
            resnet_time_scale_shift="scale_shift" if scale_shift else "default",
            class_embed_type="identity",  # what `told` gives is added to the time's embedding
        )
        width = 4 * widths[0]
        seen = 1 + 2 * frequencies
        told = nn.ModuleList(_embedding(size * seen, width) for size in groups or (n_conditions,))
        nothing = nn.Parameter(torch.zeros(width))
        self.trained = _Predictor(unet, told if groups else told[0], nothing, frequencies, groups, placed)
        self.average: _Predictor | None = None  # of the weights over the last steps; what images are drawn with
        self.schedule = DDIMScheduler(
            num_train_timesteps=TIMESTEPS,
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction" if predicts == "velocity" else "sample",
            clip_sample=True,
            timestep_spacing="trailing",  # sampling begins at pure noise, as training ends there
            rescale_betas_zero_snr=True,  # (Lin et al. 2024)
        )

    # --- training ---

    def start_averaging(self) -> None:
        """Keep an exponential average of the weights beside them: before a training begins."""
        self.average = copy.deepcopy(self.trained).requires_grad_(False)
        self.register_buffer("averaged", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the average towards the weights: by 9 / (10 + step) at first, by a thousandth in the end."""
        if self.average is None:
            return
        step = int(self.averaged.add_(1))
        pace = 1 - min(SLOWEST, (1 + step) / (10 + step))
        for slow, fast in zip(self.average.parameters(), self.trained.parameters(), strict=True):
            slow.lerp_(fast, pace)

    def settle(self) -> None:
        """End of a training: the average of the weights becomes the weights."""
        if self.average is not None:
            self.trained, self.average = self.average, None
            del self.averaged

    def loss(
        self, batch: tuple[Tensor, Tensor], generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the velocity, or of the image, weighted as the velocity's but `HEAVIEST` at most.

        Args:
            batch: images (n, channels, H, W) in [0, 1] and conditions (n, n_conditions); a row of NaN is no condition.
            generator: of noise, times and hidden conditions, on the model's device.
        """
        images, conditions = batch
        clean = 2 * F.pixel_unshuffle(images, self.patch) - 1
        device = clean.device
        noise = torch.randn(clean.shape, generator=generator, device=device)
        times = torch.randint(TIMESTEPS, (len(clean),), generator=generator, device=device)
        hidden = torch.rand(len(clean), 1, generator=generator, device=device) < self.drop
        noisy = self.schedule.add_noise(clean, noise, times)
        found = self.trained(noisy, times, conditions.masked_fill(hidden, math.nan)).float()
        if self.config["predicts"] == "velocity":
            loss = F.mse_loss(found, self.schedule.get_velocity(clean, noise, times))
        else:  # the velocity's squared error is the image's over the share of noise
            share = 1 - self.schedule.alphas_cumprod.to(device)[times]
            loss = ((found - clean).square().mean(dim=(1, 2, 3)) * (1 / share).clamp(max=HEAVIEST)).mean()
        return loss, {"squared error": loss.detach()}

    # --- drawing ---

    @torch.no_grad()
    def sample(
        self,
        conditions: Tensor,
        *,
        weights: float | Tensor = 1.0,
        steps: int = 25,
        generator: torch.Generator | None = None,
        keep: int = 0,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Draw an image for each set of conditions, by DDIM (Song et al. 2021; deterministic given the first noise).

        Args:
            conditions: (n, K, n_conditions): K of them to be met at once; a row of NaN is none. (n, n_conditions) for
                one.
            weights: of the conditions: a number, or (n, K). 1 with a single condition is no guidance.
            steps: of the sampler.
            generator: of the noise, on the CPU.
            keep: how many moments on the way to return as well, evenly spaced, the last one the image.

        Returns:
            Images (n, channels, H, W) in [0, 1], on the CPU; with `keep` also what the model took the clean images
            to be at these moments, (keep, n, channels, H, W).

        Raises:
            InputError: shapes that do not fit, numbers that are partly NaN or infinite, or steps out of range.
        """
        conditions, weights = self._checked(conditions, weights)
        if not 1 <= steps <= TIMESTEPS or not 0 <= keep <= steps:
            raise InputError(
                f"steps = {steps} with keep = {keep} cannot be drawn: expected 1 to {TIMESTEPS} steps, and at most "
                "as many moments."
            )
        c, size = self.config["channels"], self.config["image_size"]
        shape = (c * self.patch**2, size // self.patch, size // self.patch)
        noise = torch.randn(len(conditions), *shape, generator=generator)
        images = torch.empty(len(conditions), c, size, size)
        moments = torch.empty(keep, *images.shape)
        at_once = max(1, BATCH // (1 + conditions.shape[1]))
        for start in range(0, len(conditions), at_once):
            rows = slice(start, start + at_once)
            images[rows], moments[:, rows] = self._denoise(
                noise[rows], conditions[rows], weights[rows], steps, keep
            )
        return (images, moments) if keep else images

    def _denoise(
        self, noisy: Tensor, conditions: Tensor, weights: Tensor, steps: int, keep: int
    ) -> tuple[Tensor, Tensor]:
        """Images and moments of one batch."""
        from diffusers import DDIMScheduler

        device = next(self.parameters()).device
        noisy, conditions, weights = (part.to(device) for part in (noisy, conditions, weights))
        schedule = DDIMScheduler.from_config(self.schedule.config)
        schedule.set_timesteps(steps)
        wanted = {round((k + 1) * steps / keep) - 1 for k in range(keep)}
        moments = []
        for k, time in enumerate(schedule.timesteps):
            found = self._composed(noisy, time, conditions, weights)
            taken = schedule.step(found, time, noisy)
            noisy = taken.prev_sample
            if k in wanted:
                moments.append(self._image(taken.pred_original_sample))
        # not `noisy`: where steps do not divide 1000, diffusers' last step ends a little short of clean
        image = self._image(taken.pred_original_sample)
        return image, torch.stack(moments) if keep else torch.empty(0, *image.shape)

    def _composed(self, noisy: Tensor, time: Tensor, conditions: Tensor, weights: Tensor) -> Tensor:
        """The velocity under all conditions at once; a prediction that has no weight is not made."""
        told = ~conditions[..., 0].isnan()  # (n, K)
        weights = weights * told
        row, column = weights.nonzero(as_tuple=True)
        free = 1 - weights.sum(1)  # weight of the prediction under no condition
        alone = (free.abs() > 1e-6).nonzero()[:, 0]
        which = torch.cat([row, alone])
        nothing = torch.full((len(alone), self.n_conditions), math.nan, device=noisy.device)
        asked = torch.cat([conditions[row, column], nothing])
        model = self.average if self.average is not None else self.trained
        kind = noisy.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=multiplies_bf16(kind)):
            found = model(noisy[which], time.to(noisy.device).expand(len(which)), asked).float()
        found = found * torch.cat([weights[row, column], free[alone]])[:, None, None, None]
        return torch.zeros_like(noisy).index_add_(0, which, found)

    def _image(self, inside: Tensor) -> Tensor:
        return F.pixel_shuffle(((inside + 1) / 2).clamp(0, 1), self.patch).cpu()

    def _checked(self, conditions: Tensor, weights: float | Tensor) -> tuple[Tensor, Tensor]:
        if conditions.ndim == 2:
            conditions = conditions[:, None]
        if conditions.ndim != 3 or conditions.shape[2] != self.n_conditions or not conditions.shape[1]:
            raise InputError(
                f"conditions of shape {tuple(conditions.shape)} cannot be drawn: expected (n, K, {self.n_conditions}), "
                "K conditions for each image."
            )
        missing = conditions.isnan()
        if (missing.any(2) != missing.all(2)).any() or conditions.isinf().any():
            raise InputError("a condition holds NaN beside numbers, or infinity: expected numbers, or NaN throughout "
                             "where there is none.")
        weights = torch.as_tensor(weights, dtype=torch.float32)
        if weights.shape not in ((), conditions.shape[:2]) or not weights.isfinite().all():
            raise InputError(
                f"weights of shape {tuple(weights.shape)} do not fit conditions of shape {tuple(conditions.shape)}: "
                "expected one finite number, or one for each condition."
            )
        return conditions.float(), weights.expand(conditions.shape[:2])


def _embedding(n: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n, width), nn.SiLU(), nn.Linear(width, width))


class _Predictor(nn.Module):
    """The U-Net and what it is told."""

    def __init__(
        self,
        unet: nn.Module,
        told: nn.Module,
        nothing: nn.Parameter,
        frequencies: int,
        groups: Sequence[int] | None,
        placed: bool,
    ) -> None:
        super().__init__()
        self.unet, self.told, self.nothing = unet, told, nothing
        self.frequencies, self.groups = frequencies, None if groups is None else list(groups)
        self.placed = placed

    def forward(self, noisy: Tensor, times: Tensor, conditions: Tensor) -> Tensor:
        """What is predicted (n, C, h, w) of noisy images at times (n,), told conditions (n, n_conditions) or NaN."""
        hidden = conditions[:, :1].isnan()
        told = conditions.nan_to_num()
        if self.groups is None:
            embedding = self.told(self._waves(told))
        else:
            pairs = zip(self.told, told.split(self.groups, dim=1), strict=True)
            embedding = sum(part(self._waves(numbers)) for part, numbers in pairs)
        embedding = torch.where(hidden, self.nothing, embedding)
        if self.placed:
            noisy = torch.cat([noisy, _maps_of(told.masked_fill(hidden, 0.0), noisy)], dim=1)
        return self.unet(noisy, times, class_labels=embedding, return_dict=False)[0]

    def _waves(self, told: Tensor) -> Tensor:
        """Numbers (n, c) and their sin and cos: (n, c (1 + 2 frequencies))."""
        waves = [math.pi * 2.0**k * told for k in range(self.frequencies)]
        return torch.cat([told, *(wave.sin() for wave in waves), *(wave.cos() for wave in waves)], dim=1)


def _maps_of(told: Tensor, like: Tensor) -> Tensor:
    """Three channels (n, 3, h, w): x and y of each pixel from -1 to 1, and a bump, a pixel wide, at the place told."""
    n, _, height, width = like.shape
    y, x = (((torch.arange(size, device=like.device) + 0.5) / size * 2 - 1) for size in (height, width))
    away_x = (x - told[:, 0, None]) * width / 2
    away_y = (y - told[:, 1, None]) * height / 2
    bump = (-0.5 * (away_y[:, :, None] ** 2 + away_x[:, None, :] ** 2)).exp() * told[:, 2, None, None]
    plane = (x.expand(n, height, width), y[:, None].expand(n, height, width))
    return torch.stack([*plane, bump], dim=1).to(like)


class Sampler:
    """The pair (h*, G) where factors are given: codes are conditions, the generator draws.

    Args:
        model: trained.
        generator: of the noise: the same code gives another image each time.
        weights: of each condition.
        steps: of the sampler.
    """

    def __init__(
        self, model: Diffusion, generator: torch.Generator, *, weights: float = 1.0, steps: int = 25
    ) -> None:
        self.model, self.generator, self.weights, self.steps = model, generator, weights, steps

    def decode(self, codes: Tensor) -> Tensor:
        """G: images (n, channels, H, W) in [0, 1] of codes (n, K * n_conditions), K conditions side by side."""
        conditions = codes.unflatten(1, (-1, self.model.n_conditions))
        return self.model.sample(
            conditions, weights=self.weights, steps=self.steps, generator=self.generator
        )


def load(path: str | Path) -> Diffusion:
    """Read a diffusion model that `models.save` wrote: in eval mode, with `.provenance`.

    Raises:
        InputError: a file is missing, damaged, or of another kind of model.
    """
    return checkpoints.load(path, Diffusion, made_by="inc_lib.denoising")[0]
