"""Short films on a page: animated pictures that need no script and no network, and hold still for those who ask.

One animated WebP, shown where the reader's system does not ask for reduced motion; its last frame where it does.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from . import chapter
from .errors import InputError

GAP = 4  # pixels between pictures, transparent, so that a film sits on light and dark pages


def sheet(pictures: Tensor, *, columns: int, side: int) -> Tensor:
    """Pictures (n, C, H, W) in [0, 1] in rows: uint8 (rows * (side + GAP) - GAP, ..., 4), with transparent gaps."""
    size = (side, side)
    pictures = torch.nn.functional.interpolate(pictures.float(), size, mode="bicubic", antialias=True).clamp(
        0, 1
    )
    pictures = pictures.expand(-1, 3, -1, -1)
    n, rows = len(pictures), -(-len(pictures) // columns)
    step = side + GAP
    canvas = torch.zeros(rows * step - GAP, columns * step - GAP, 4, dtype=torch.uint8)
    for k in range(n):
        top, left = k // columns * step, k % columns * step
        canvas[top : top + side, left : left + side, :3] = (pictures[k].permute(1, 2, 0) * 255).round().byte()
        canvas[top : top + side, left : left + side, 3] = 255
    return canvas


def show(
    moments: Tensor,
    caption: str,
    *,
    alt: str,
    columns: int = 4,
    side: int = 128,
    seconds: float = 4.0,
    rest: float = 2.5,
    name: str | None = None,
) -> None:
    """Display a film of several pictures side by side.

    Args:
        moments: (T, n, C, H, W) in [0, 1], frame by frame.
        caption: what it shows, as a claim.
        alt: what is to be seen, for those who cannot.
        columns: pictures in a row.
        side: pixels of a picture on the page.
        seconds: from the first frame to the last, which then stands for `rest` seconds before it begins again.
        name: anchor `fig-NAME`.
    """
    if moments.ndim != 5 or not len(moments) or not moments.shape[1]:
        raise InputError(
            f"a film of moments with shape {tuple(moments.shape)} cannot be shown: expected (T, n, C, H, W) "
            "with at least one of each."
        )
    frames = [sheet(pictures, columns=columns, side=side).numpy() for pictures in moments]
    pause = [round(1000 * seconds / len(frames))] * (len(frames) - 1) + [round(1000 * rest)]
    height, width = frames[0].shape[:2]
    film, still = _webp(frames, pause), _webp(frames[-1:], [])
    anchor = f' id="fig-{html.escape(name)}"' if name else ""
    chapter._display(
        f'<figure class="inc"{anchor}><div class="inc-pictures"><picture>'
        f'<source media="(prefers-reduced-motion: reduce)" srcset="{still}">'
        f'<img src="{film}" width="{width}" height="{height}" alt="{html.escape(alt)}"></picture></div>'
        f"<figcaption>{chapter._inline(caption)}</figcaption></figure>",
        f"Film: {caption} [{alt}]",
    )


def _webp(frames: Sequence[np.ndarray], pause: Sequence[int]) -> str:
    """Frames (H, W, 4) as one data URI; animated where there are several, for ever."""
    from PIL import Image

    pictures, buffer = [Image.fromarray(frame) for frame in frames], io.BytesIO()
    more = (
        {"save_all": True, "append_images": pictures[1:], "duration": list(pause), "loop": 0} if pause else {}
    )
    pictures[0].save(buffer, format="webp", quality=70, method=2, **more)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
