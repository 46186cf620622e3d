"""Plates of an atlas: what the actions of one network order, on one sheet, and which of it a judge reads otherwise.

A plate has a block for each factor, a column an attribute. Chapter 19 shows two kinds: `clusters`, where every picture
comes from another observation, and `traversals`, where a row is one observation throughout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import Tensor

from . import models, training, worlds
from .errors import InputError
from .plots import (
    INK,
    MUTED,
    WIDTH,
    WRONG,
    Figure,
    _and,
    _figure,
    _finish,
    _no_axes,
    _pictures,
    _resample,
    _styled,
    _text_width,
    attribute_names,
)
from .suite import Examined

if TYPE_CHECKING:
    from .chapter import Chapter

SHOWN_BY_PAPER = {"shapes3d-twin": "ada-gvae", "dsprites-twin": "comp-wae", "mpi3d-twin": "comp-wae"}  # Table 1
ENOUGH = 20_000  # observations that partitions are found in
MOST = 10  # attributes of a factor on a plate; of more, so many evenly spread ones


@dataclass(frozen=True, eq=False)
class Block:
    """One factor on a plate.

    Attributes:
        factor: its name. attributes: the names of the columns.
        pictures: (rows, K, C, H, W). missing: bool (K,), attributes without an action, of which nothing can be drawn.
        misread: bool (rows, K), drawn, and read as another attribute than ordered.
    """

    factor: str
    attributes: list[str]
    pictures: Tensor
    missing: np.ndarray
    misread: np.ndarray


def beside(c: Chapter, n: int) -> list[Chapter]:
    """A chapter, and up to n - 1 more that look at the released networks of our three worlds.

    The others have the same seed, size and scale; in each world the model comes first that the paper shows there. A
    chapter on other data, or with a checkpoint of its own, stands alone.

    Raises:
        InputError: n below 1.
    """
    if n < 1:
        raise InputError(f"{n} networks cannot be shown: expected n_networks of at least 1.")
    found = [_smaller(c)]
    if c.world.source != "procedural twin" or c.checkpoint != "auto":
        return found
    for dataset, first in SHOWN_BY_PAPER.items():
        for model in sorted(models.MODELS, key=lambda model: model != first):
            released = training.release_path(dataset, c.image_size, model, c.seed).is_file()
            if released and (dataset, model) != (c.world.name, c.model_name) and len(found) < n:
                world = c.world if dataset == c.world.name else worlds.load(dataset, image_size=c.image_size)
                found.append(_smaller(c, dataset=dataset, world=world, model_name=model))
    return found


def _smaller(c: Chapter, **changed) -> Chapter:
    """A chapter for looking only: numbers and claims that it collected stay out of the record of `c`."""
    return dataclasses.replace(
        c, n_observations=min(c.n_observations, ENOUGH), released=None, claims=[], _numbers={}, **changed
    )


def clusters(c: Chapter, x: Examined, *, rows: int = 3) -> list[Block]:
    """Implicit clusters of every factor: a column is a cluster, each picture from another encoded observation."""
    blocks = []
    for i in x.columns:
        shown = _spread(c.world.factors[i].size)
        drawn = torch.randint(len(x.codes), (rows, len(shown)), generator=c.generator_for(f"members {i}"))
        blocks.append(_block(c, x, i, shown, x.codes[drawn]))
    return blocks


def traversals(c: Chapter, x: Examined, *, rows: int = 2) -> list[Block]:
    """Some observations with each action of a factor in turn: a row is one observation, the same in every block."""
    blocks = []
    for i in x.columns:
        shown = _spread(c.world.factors[i].size)
        blocks.append(_block(c, x, i, shown, x.codes[:rows, None].expand(-1, len(shown), -1)))
    return blocks


def _spread(size: int) -> list[int]:
    return [round(k) for k in np.linspace(0, size - 1, min(size, MOST))]


def _block(c: Chapter, x: Examined, factor: int, shown: list[int], starts: Tensor) -> Block:
    """Codes (rows, K, d), each acted on by the attribute of its column, drawn and read."""
    able = {action.attribute: action for action in x.found.of(factor)}
    generator, acted = c.generator_for(f"plate {factor}"), starts.clone()
    for k, attribute in enumerate(shown):
        if attribute in able:
            acted[:, k] = able[attribute].act(starts[:, k], generator)
    with torch.no_grad():
        pictures = x.model.decode(acted.flatten(0, 1)).cpu()
    read = c.oracle.predict(pictures)
    ordered = torch.tensor(shown).expand(len(starts), -1).flatten()
    misread = ~c.world.alike(factor, ordered, read[:, factor], read).view(len(starts), -1).numpy()
    missing = np.array([attribute not in able for attribute in shown])
    named = _short([attribute_names(c.world.factors[factor])[k] for k in shown])
    return Block(c.world.factors[factor].name, named,
                 pictures.view(*starts.shape[:2], *pictures.shape[1:]), missing, misread & ~missing)


def _short(names: list[str]) -> list[str]:
    """Numbers with two digits, where that still tells them apart."""
    try:
        rounded = [f"{float(name):.2g}" for name in names]
    except ValueError:  # words
        return names
    return rounded if len(set(rounded)) == len(names) else names


def read_as_ordered(blocks: Sequence[Block]) -> float:
    """Share of the drawn pictures in which the judge reads what was ordered; NaN where nothing was drawn."""
    drawn = sum(int((~b.missing).sum()) * len(b.misread) for b in blocks)
    return 1 - sum(int(b.misread.sum()) for b in blocks) / drawn if drawn else float("nan")


def carried_out(blocks: Sequence[Block]) -> float:
    """Share of orders that are carried out, in [0, 1]: an attribute without an action counts 0, another the share of
    its pictures that are read as ordered; the mean over the columns of a block, then over blocks."""
    return float(np.mean([np.where(b.missing, 0, 1 - b.misread.mean(0)).mean() for b in blocks]))


def common(seen: Sequence[Examined]) -> int | None:
    """The column of the factor that all networks of one world can order, with the most attributes in the network that
    has fewest; None where there is none."""
    able = {i: min(len(x.found.of(i)) for x in seen) for i in seen[0].columns}
    best = max(able, key=able.__getitem__)
    return best if able[best] else None


def row(c: Chapter, x: Examined, factor: int) -> Block:
    """The first observation of a chapter's sample, with each action of one factor: a block of one row."""
    shown = _spread(c.world.factors[factor].size)
    return _block(c, x, factor, shown, x.codes[:1, None].expand(-1, len(shown), -1))


def strip(rows: Sequence[Block], names: Sequence[str]) -> Figure:
    """Blocks of one row, of the same factor in several networks, one below the other."""
    return plate([dataclasses.replace(b, factor=name) for b, name in zip(rows, names, strict=True)],
                 row_name="networks")


def _rows(block: Block) -> int:
    """Rows that a block takes on a plate: one, where there is nothing to show."""
    return 1 if block.missing.all() else len(block.pictures)


@_styled
def plate(blocks: Sequence[Block], *, row_name: str = "observations") -> Figure:
    """One sheet of blocks: an empty box where no action is, a frame where the judge reads something else."""
    left, gap, most, name_size = 1.05 * _text_width([b.factor for b in blocks], 10) + 0.2, 0.04, 0.52, 8.5
    head, below = 0.2, 0.13  # inches: names of attributes, and air under a block
    layout, height, width = [], 0.0, 0.0
    for b in blocks:
        room = (WIDTH - left) / len(b.attributes)
        side = min(most, room - gap)
        pitch = min(room, max(side + gap, _text_width(b.attributes, name_size) + 0.08))
        layout.append((height, side, pitch))
        height += head + _rows(b) * (side + gap) + below
        width = max(width, left + len(b.attributes) * pitch + 0.02)
    figure = _figure(height, width, layout=None)
    axes = _no_axes(figure.add_axes((0, 0, 1, 1)))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    for b, (top, side, pitch) in zip(blocks, layout, strict=True):
        pictures, rows = _pictures(b.pictures, 5), _rows(b)
        middle = top + head + rows * (side + gap) / 2
        axes.text(left - 0.12, middle, b.factor, ha="right", va="center", fontsize=10, color=INK)
        for k, name in enumerate(b.attributes):
            x = left + k * pitch + (pitch - side - gap) / 2 + 0.01
            axes.text(x + side / 2, top + head - 0.04, name, ha="center", va="bottom", fontsize=name_size, color=MUTED)
            for row in range(rows):
                y, inner = top + head + row * (side + gap), side - 0.02
                if b.missing[k]:
                    box = {"edgecolor": MUTED, "linewidth": 0.6, "linestyle": (0, (2, 2))}
                elif b.misread[row, k]:
                    box = {"edgecolor": WRONG, "linewidth": 1.5}
                else:
                    box = None
                if box:
                    axes.add_patch(Rectangle((x + 0.01, y + 0.01), inner, inner, fill=False, zorder=3, **box))
                if not b.missing[k]:
                    inset = 0.045 if b.misread[row, k] else 0.0
                    axes.imshow(_resample(pictures[row, k], max(round(side * 200), 8)), aspect="auto", zorder=2,
                                interpolation="antialiased",
                                extent=(x + inset, x + side - inset, y + side - inset, y + inset))
    none = [b.factor for b in blocks if b.missing.all()]
    wrong = {b.factor: int(b.misread.sum()) for b in blocks if b.misread.any()}
    alt = f"A block of generated pictures for each of {_and([b.factor for b in blocks])}; columns are attributes, "
    alt += f"rows {row_name}." + (f" Empty, for want of an action: {_and(none)}." if none else "")
    framed = _and([f"{count} of {name}" for name, count in wrong.items()]) if wrong else "none"
    alt += f" Framed, as read otherwise: {framed}."
    return _finish(figure, alt, wide=width > 0.8 * WIDTH)  # dense: a phone scrolls it
