"""Large pretrained networks as optional extras: CLIP (open_clip) for words, DINOv2 (transformers) for similarity.

    classifier = clip_classifier(vocabulary)      # images -> probabilities of the vocabulary's words
    embed = dinov2_embedding()                    # images -> features

Nothing here is needed by the book, and nothing is imported before it is asked for. Both fetch weights from the network
at their first call (0.6 GB and 0.1 GB) and keep them in the cache of Hugging Face; after that they work offline.
`pip install "inc-lib[pretrained]"` brings the packages. open_clip_torch depends on torchvision, and the registry's
torchvision brings a CUDA build of torch of several GB with it: on a machine without a card install
`pip install torchvision --index-url https://download.pytorch.org/whl/cpu` first.
"""
from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError
from .words import Classifier, Vocabulary

CLIP = "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
DINOV2 = "facebook/dinov2-small"
DINOV2_SIZE = 224       # pixels, a multiple of its patches of 14
# Of the pictures that DINOv2 was trained on (ImageNet), as published with it.
DINOV2_MEAN, DINOV2_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 64


def _extra(name: str, package: str) -> ModuleType:
    """Import an optional package, or say in one sentence how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{package} is not installed, an optional extra: pip install \"inc-lib[pretrained]\" (on a "
                         "machine without a card torchvision first, from https://download.pytorch.org/whl/cpu), or "
                         "use the embedding of inc_lib.embedding and a classifier of your own.") from error


def clip_classifier(vocabulary: Vocabulary, *, model: str = CLIP, prompt: str = "a picture of {}",
                    device: str = "cpu") -> Classifier:
    """CLIP as a zero-shot classifier (Radford et al. 2021), by open_clip.

    A picture and a sentence have an embedding each; the probability of a word is the softmax of their cosines, times
    the model's own scale, over the words of one question.

    Args:
        vocabulary: the words, each put into `prompt`.
        model: as open_clip names it.

    Returns:
        images (n, C, H, W) in [0, 1] -> probabilities (n, words), summing to 1 within each question.

    Raises:
        InputError: open_clip is not installed.
    """
    open_clip = _extra("open_clip", "open_clip_torch")
    network = open_clip.create_model(model, device=device).eval()
    with torch.no_grad():
        texts = open_clip.get_tokenizer(model)([prompt.format(word) for word in vocabulary.words])
        words = F.normalize(network.encode_text(texts.to(device)).float(), dim=1)
    visual, sizes = network.visual, [len(group) for group in vocabulary.groups.values()]
    size = visual.image_size[0] if isinstance(visual.image_size, tuple | list) else visual.image_size
    prepare = _preparation(size, visual.image_mean, visual.image_std, device)

    @torch.no_grad()
    def classify(images: Tensor) -> Tensor:
        features = [F.normalize(network.encode_image(prepare(part)).float(), dim=1) for part in images.split(BATCH)]
        logits = float(network.logit_scale.exp()) * torch.cat(features) @ words.T
        return torch.cat([part.softmax(1) for part in logits.split(sizes, dim=1)], dim=1).cpu()

    return classify


def dinov2_embedding(*, model: str = DINOV2, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """DINOv2 (Oquab et al. 2024) as an embedding, by transformers: the final [CLS] token, of length 1.

    By transformers, since its weights are safetensors and it needs no torchvision; torch.hub would run code from the
    network, and timm depends on torchvision.

    Returns:
        images (n, C, H, W) in [0, 1] -> features (n, 384).

    Raises:
        InputError: transformers is not installed.
    """
    transformers = _extra("transformers", "transformers")
    network = transformers.AutoModel.from_pretrained(model, use_safetensors=True).to(device).eval()
    prepare = _preparation(DINOV2_SIZE, DINOV2_MEAN, DINOV2_STD, device)

    @torch.no_grad()
    def embed(images: Tensor) -> Tensor:
        tokens = [network(pixel_values=prepare(part)).last_hidden_state[:, 0] for part in images.split(BATCH)]
        return F.normalize(torch.cat(tokens).float(), dim=1).cpu()

    return embed


def _preparation(size: int, mean: tuple[float, ...], std: tuple[float, ...],
                 device: str) -> Callable[[Tensor], Tensor]:
    """What these networks expect: three channels, their size (bicubic), their mean and deviation.

    The whole picture is resized; nothing is cut off, since a factor may sit in a corner.
    """
    middle, scale = (torch.tensor(list(values), device=device).view(3, 1, 1) for values in (mean, std))

    def prepare(images: Tensor) -> Tensor:
        rgb = images.to(device, torch.float32).expand(-1, 3, -1, -1)
        large = F.interpolate(rgb, (size, size), mode="bicubic", antialias=True, align_corners=False)
        return (large.clamp(0, 1) - middle) / scale

    return prepare
