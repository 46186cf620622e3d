"""Every figure of the book: colour-blind-safe, right in light and in dark, alt text computed from the data.

Each function returns a `matplotlib.figure.Figure` (made without pyplot: no global state, nothing shows twice)
that carries `.alt`, a sentence or two with the data in it. Figures are about 7 inches wide with 11-point
text, so that they stay legible when a phone shows them at half size; the few that are too dense for that set
`.wide`, and the page lets them scroll. Backgrounds are transparent; `dark(figure)` recolours the ink for a
dark page, `light(figure)` undoes it.

Pictures: torch or numpy, (n, C, H, W), float in [0, 1] or uint8, C = 1 or 3. Codes (n, d), states (n, M):
either.
"""
from __future__ import annotations

import colorsys
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator

from .errors import InputError
from .worlds.base import Factor, World

# --- ink and colours ----------------------------------------------------------------------------------------

INK, MUTED, FAINT, PAPER = "#24292f", "#68717b", "#c9d0d7", "#ffffff"  # text, secondary text, hairlines, page
INK_DARK, MUTED_DARK, FAINT_DARK, PAPER_DARK = "#e8ebee", "#a2abb4", "#454d56", "#14181c"

# Told apart under the common colour deficiencies, at least three to one against the page: tests measure both.
SERIES = ("#0a6aa8", "#c27a00", "#0a9a72", "#b83a0a", "#c86fb0", "#3d2f8f", "#5f93ea", "#6b1f2a", "#6f7781",
          "#1f4d48")
SERIES_DARK = ("#4aa8ec", "#e39a1c", "#14b388", "#e0602a", "#d98cc6", "#7350f0", "#a9ccff", "#b5505a",
               "#bcc3ca", "#5d9c93")
ACCENT, SECOND, WRONG = SERIES[0], SERIES[1], SERIES[3]
MARKERS = "os^DvPX*<>"
TO_DARK = {INK: INK_DARK, MUTED: MUTED_DARK, FAINT: FAINT_DARK, PAPER: PAPER_DARK,
           **dict(zip(SERIES, SERIES_DARK, strict=True))}
TO_LIGHT = {dark: light for light, dark in TO_DARK.items()}

_LIGHT_STEPS = ["#ffffff00", "#d5e5f3", "#7fb2dd", "#2873b4", "#0a3a6b"]  # nothing is transparent in both
_DARK_STEPS = ["#14181c00", "#17344f", "#2a699f", "#79b4e4", "#e6f3ff"]
HEAT = LinearSegmentedColormap.from_list("inc-light", _LIGHT_STEPS)
HEAT_DARK = LinearSegmentedColormap.from_list("inc-dark", _DARK_STEPS)

WIDTH = 7.0  # inches: 700 CSS pixels, a page's text column
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 11, "text.color": INK, "text.parse_math": False,
    "axes.titlesize": 11, "axes.titlelocation": "left", "axes.titlepad": 6, "axes.titlecolor": INK,
    "axes.labelsize": 11, "axes.labelcolor": INK, "axes.edgecolor": MUTED, "axes.linewidth": 0.8,
    "axes.facecolor": "none", "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.unicode_minus": True, "figure.facecolor": "none", "savefig.facecolor": "none",
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.labelsize": 10, "ytick.labelsize": 10, "grid.color": FAINT, "grid.linewidth": 0.6,
    "legend.frameon": False, "legend.fontsize": 10, "lines.linewidth": 1.8, "patch.linewidth": 0.8,
}


def _recolour(figure: Figure, mapping: dict[str, str], heat: LinearSegmentedColormap) -> Figure:
    """Replace our colours exactly where they occur; hues that stand for themselves, and pictures, stay."""
    def new(colour: Any) -> tuple[float, float, float, float] | None:
        red, green, blue, alpha = to_rgba(colour)
        match = mapping.get(to_hex((red, green, blue)))
        return None if match is None else to_rgba(match, alpha)

    def change(get: Callable[[], Any], put: Callable[[Any], Any]) -> None:
        colour = get()
        if not (isinstance(colour, str) and colour in ("none", "auto", "face")) and new(colour) is not None:
            put(new(colour))

    def change_all(get: Callable[[], Any], put: Callable[[Any], Any]) -> None:
        colours = [to_rgba(colour) for colour in get()]
        if colours and any(new(colour) is not None for colour in colours):
            put([new(colour) or colour for colour in colours])

    ink, muted = (mapping.get(INK, INK), mapping.get(MUTED, MUTED))
    for axes in figure.axes:  # ticks that are yet to be made
        axes.tick_params(which="both", color=muted, labelcolor=ink)
    for artist in figure.findobj():
        if isinstance(artist, Text):
            change(artist.get_color, artist.set_color)
        elif isinstance(artist, Line2D):
            change(artist.get_color, artist.set_color)
            change(artist.get_markerfacecolor, artist.set_markerfacecolor)
            change(artist.get_markeredgecolor, artist.set_markeredgecolor)
        elif isinstance(artist, Patch):
            change(artist.get_facecolor, artist.set_facecolor)
            change(artist.get_edgecolor, artist.set_edgecolor)
        elif isinstance(artist, AxesImage):
            if artist.get_cmap().name in (HEAT.name, HEAT_DARK.name):
                artist.set_cmap(heat)
        elif isinstance(artist, Collection):
            if artist.get_array() is not None:  # a colour bar
                if artist.get_cmap().name in (HEAT.name, HEAT_DARK.name):
                    artist.set_cmap(heat)
                continue
            change_all(artist.get_facecolor, artist.set_facecolor)
            change_all(artist.get_edgecolor, artist.set_edgecolor)
    return figure


def dark(figure: Figure) -> Figure:
    """Recolour a figure's ink, in place, for a dark page; returns it. A second time changes nothing."""
    return _recolour(figure, TO_DARK, HEAT_DARK)


def light(figure: Figure) -> Figure:
    """Undo `dark`, in place; returns the figure."""
    return _recolour(figure, TO_LIGHT, HEAT)


def _styled(function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw under our style whatever the caller's matplotlib settings are."""
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            return function(*args, **kwargs)
    return wrapper


def _finish(figure: Figure, alt: str, *, wide: bool = False) -> Figure:
    figure.alt = " ".join(alt.split())
    figure.wide = wide
    return figure


# --- what is drawn: names, numbers, pictures ----------------------------------------------------------------

def attribute_names(factor: Factor) -> list[str]:
    """The attributes of a factor as short text: "cube", "0.75", "-30".

    >>> attribute_names(Factor("scale", (0.75, 1.0, 1.25)))
    ['0.75', '1', '1.25']
    """
    return [value if isinstance(value, str) else f"{float(value):.3g}" for value in factor.values]


def attribute_colours(factor: Factor) -> list[str]:
    """One colour per attribute: hues in their own, ordered attributes dark to bright, others told apart.

    Pictures and labels carry the same information, since no set of ten colours is safe for every eye.
    """
    n = factor.size
    if factor.kind == "cyclic":
        numbers = all(not isinstance(value, str) and 0 <= value <= 1 for value in factor.values)
        hues = factor.values if numbers and "hue" in factor.name else np.arange(n) / n
        return [to_hex(colorsys.hsv_to_rgb(float(hue) % 1, 0.85, 0.88)) for hue in hues]
    if factor.kind == "ordered" or n > len(SERIES):
        colour_map = matplotlib.colormaps["viridis"]
        return [to_hex(colour_map(0.12 + 0.78 * k / max(n - 1, 1))) for k in range(n)]
    return list(SERIES[:n])


def _array(values: Any) -> np.ndarray:
    """Torch (any device) or anything numpy takes, to numpy."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _pictures(observations: Any, ndim: int) -> np.ndarray:
    """Observations (..., C, H, W) to float RGB (..., H, W, 3) in [0, 1]."""
    pictures = _array(observations)
    if pictures.ndim != ndim or pictures.shape[-3] not in (1, 3):
        expected = "(n, C, H, W)" if ndim == 4 else "(rows, columns, C, H, W)"
        raise InputError(f"pictures of shape {tuple(pictures.shape)} cannot be drawn: expected {expected}, "
                         "C = 1 or 3.")
    pictures = pictures / 255.0 if pictures.dtype == np.uint8 else pictures.astype(np.float64)
    pictures = np.moveaxis(pictures, -3, -1)
    return np.clip(np.broadcast_to(pictures, (*pictures.shape[:-1], 3)), 0, 1)


def _code(dimension: int) -> str:
    """"z" with the dimension as a subscript."""
    return "z" + str(dimension).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _number(value: float | None, digits: int = 2) -> str:
    """A score as printed: 0.98, 1.00, an en dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _and(words: Sequence[str]) -> str:
    """"a, b and c"."""
    *first, last = [str(word) for word in words] or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


def _share(matrix: np.ndarray) -> np.ndarray:
    """Rows divided by their sums; rows of nothing stay 0."""
    return matrix / np.maximum(matrix.sum(1, keepdims=True), 1e-12)


def _in_rows(items: Sequence[Any], columns: int, filler: Any) -> list[list[Any]]:
    """Items in rows of `columns`, the last row filled up."""
    rows = [list(items[start:start + columns]) for start in range(0, len(items), columns)]
    rows[-1] += [filler] * (columns - len(rows[-1]))
    return rows


def _text_width(texts: Sequence[str], size: float) -> float:
    """Width in inches of the widest text."""
    widths = (TextPath((0, 0), line, size=size).get_extents().width for text in texts
              for line in text.split("\n") if line)
    return max((width for width in widths if math.isfinite(width)), default=0.0) / 72


def _figure(height: float, width: float = WIDTH, *, layout: str | None = "constrained") -> Figure:
    """A figure that measures its text at the resolution it is shown in (hinted, text is wider there than at 100)."""
    return Figure(figsize=(width, height), layout=layout, facecolor="none", dpi=200)


def _no_axes(axes: Axes) -> Axes:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


# --- pictures -----------------------------------------------------------------------------------------------

def _resample(picture: np.ndarray, size: int) -> np.ndarray:
    """A picture (H, W, 3) at size x size pixels: smooth, or with hard edges where it is binary."""
    from PIL import Image

    pixels = (picture * 255 + 0.5).astype(np.uint8)
    binary = np.unique(pixels[::2, ::2]).size <= 2
    method = Image.Resampling.NEAREST if binary else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize((size, size), method), dtype=np.uint8)


def _plain(axes: Axes, *, frame: str | None = None) -> None:
    """A matrix's axes: no tick marks; no frame, or one of that colour."""
    axes.tick_params(length=0)
    axes.spines[:].set_visible(frame is not None)
    if frame is not None:
        axes.spines[:].set_color(frame)


def _name_rows(axes: Axes, names: Sequence[Any], *, above: float = 0.5, below: float = 0.5) -> None:
    """Name the rows of a horizontal chart, from top to bottom."""
    axes.set_yticks(range(len(names)), [str(name) for name in names])
    axes.set_ylim(len(names) - 1 + below, -above)
    axes.tick_params(axis="y", length=0, labelsize=11)
    axes.spines["left"].set_visible(False)


def _sheet(pictures: np.ndarray, *, row_labels: Sequence[str] | None = None,
           col_labels: Sequence[str] | None = None, titles: Sequence[Sequence[str]] | None = None,
           marked: np.ndarray | None = None, dashed: np.ndarray | None = None,
           blank: np.ndarray | None = None, holes: np.ndarray | None = None, breaks: Sequence[int] = (),
           heading: str | None = None, most: float = 1.15, bold_rows: Sequence[int] = ()) -> Figure:
    """Pictures (R, K, H, W, 3) as one sheet: the common ground of every grid of pictures.

    Args:
        titles: a short text above each picture.
        marked, dashed, blank, holes: (R, K) bool; outlined as wrong, dashed as made rather than seen, left
            out, and shown as an empty box.
        breaks: rows with a wider gap above them.
        most: the widest a picture may be, in inches.
    """
    rows, columns = pictures.shape[:2]
    size, small, gap = 11.0, 9.5, 0.045
    left = _text_width(row_labels, size) + 0.12 if row_labels is not None else 0.0
    side = max(min(most, (WIDTH - left - gap * (columns - 1)) / max(columns, 1)), 0.12)
    line = 0.19
    top = 0.0
    rotated = False
    if col_labels is not None:
        rotated = _text_width(col_labels, size) > side + gap
        most_lines = max((1 + label.count("\n") for label in col_labels), default=1)
        top = (_text_width(col_labels, size) if rotated else line * most_lines) + 0.06
    if heading:
        top += line + 0.08
    lines = [max((1 + text.count("\n") for text in row if text), default=0) for row in titles or [[]] * rows]
    tops, height = [], top
    for row in range(rows):
        height += line * lines[row] + (0.14 if row in breaks else 0)
        tops.append(height)
        height += side + gap
    width = max(left + columns * (side + gap), _text_width([heading or ""], size)) + 0.02
    figure = _figure(height, width, layout=None)
    axes = _no_axes(figure.add_axes((0, 0, 1, 1)))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_autoscale_on(False)
    pixels = max(round(side * 200), 8)

    def box(x: float, y: float, **style: Any) -> None:
        inner = side - 0.02
        axes.add_patch(Rectangle((x + 0.01, y + 0.01), inner, inner, fill=False, zorder=3, **style))

    for row, y in enumerate(tops):
        for column in range(columns):
            x = left + column * (side + gap) + 0.01
            wrong, made, skip, hole = (mask is not None and bool(mask[row, column])
                                       for mask in (marked, dashed, blank, holes))
            if titles is not None and titles[row][column]:
                axes.text(x + side / 2, y - 0.035, titles[row][column], ha="center", va="bottom",
                          fontsize=small, color=WRONG if wrong else INK, linespacing=1.1)
            if hole:
                box(x, y, edgecolor=MUTED, linewidth=0.7, linestyle=(0, (2, 2)))
            if skip or hole:
                continue
            if wrong or made:
                box(x, y, edgecolor=WRONG if wrong else SECOND, linewidth=1.8,
                    linestyle="-" if wrong else (0, (3, 1.6)))
            inset = 0.05 if wrong or made else 0.0
            axes.imshow(_resample(pictures[row, column], pixels), aspect="auto", zorder=2,
                        interpolation="antialiased",
                        extent=(x + inset, x + side - inset, y + side - inset, y + inset))
        if row_labels is not None:
            axes.text(left - 0.08, y + side / 2, row_labels[row], ha="right", va="center", fontsize=size,
                      fontweight="bold" if row in bold_rows else "normal")
    if col_labels is not None:
        for column, label in enumerate(col_labels):
            axes.text(left + column * (side + gap) + side / 2 + 0.01, top - 0.05, label, ha="center",
                      va="bottom", fontsize=size, rotation=90 if rotated else 0)
    if heading:
        axes.text(0.0 if row_labels is None else left, 0.02, heading, ha="left", va="top", fontsize=size)
    return figure


@_styled
def image_grid(observations: Any, *, columns: int | None = None, row_labels: Sequence[str] | None = None,
               col_labels: Sequence[str] | None = None, titles: Any = None, marked: Any = None,
               title: str | None = None) -> Figure:
    """Pictures in rows.

    Args:
        observations: (R, K, C, H, W), or (n, C, H, W) with `columns` (default: up to 8).
        titles: a short text for each picture, in the observations' order (flat or (R, K)).
        marked: bool for each picture, outlined as wrong; flat or (R, K).
    """
    observations = _array(observations)
    if observations.ndim == 5:
        rows, columns = observations.shape[:2]
        n = rows * columns
        observations = observations.reshape(n, *observations.shape[2:])
    else:
        n = len(observations)
        columns = columns or min(max(n, 1), 8)
        rows = max(-(-n // columns), 1)
    flat = np.zeros((rows * columns, *observations.shape[2:], 3))
    flat[:n] = _pictures(observations, 4)
    pictures = flat.reshape(rows, columns, *flat.shape[1:])
    blank = (np.arange(rows * columns) >= n).reshape(rows, columns)
    if titles is not None:
        titles = _in_rows([str(text) for text in np.asarray(titles, dtype=object).reshape(-1)], columns, "")
    if marked is not None:
        marked = np.array(_in_rows(_array(marked).astype(bool).reshape(-1), columns, False))
    figure = _sheet(pictures, row_labels=row_labels, col_labels=col_labels, titles=titles, marked=marked,
                    blank=blank, heading=title)
    alt = f"{n} pictures in {rows} rows and {columns} columns."
    alt += f" Rows: {_and(row_labels)}." if row_labels is not None else ""
    alt += f" Columns: {_and(col_labels)}." if col_labels is not None else ""
    if titles is not None:
        alt += f" Labels in reading order: {', '.join(text for row in titles for text in row if text)}."
    alt += f" Outlined as wrong: {int(marked.sum())} of {n}." if marked is not None else ""
    return _finish(figure, f"{title}. {alt}" if title else alt)


@_styled
def factor_sheet(world: World, *, state: Any = None, generator: Any = None, most: int = 10) -> Figure:
    """One row a factor: its attributes while all other factors stay as in `state`.

    Args:
        state: (M,) the state varied. Default: drawn with `generator`; without one, ordered factors in their
            middle and the others spread, so that hues differ, or some observation of a dataset with holes.
        most: attributes shown per factor; a longer factor is thinned evenly, first and last kept.

    A combination that a dataset does not hold is an empty box.

    Raises:
        InputError: the world has no factor labels.
    """
    import torch

    if not world.factors:
        raise InputError(f"world {world.name!r} has no factor labels, so no factor to show: use image_grid.")
    if state is None and (generator is not None or not getattr(world, "is_complete", True)):
        state = world.states(1, generator or torch.Generator().manual_seed(0))[0]
    elif state is None:
        spread = [int(size * (0.1 + 0.618 * i) % size) for i, size in enumerate(world.sizes)]
        state = [factor.size // 2 if factor.kind == "ordered" else place
                 for factor, place in zip(world.factors, spread, strict=True)]
    state = torch.as_tensor(_array(state)).long()
    shown = [np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(int)) for size in world.sizes]
    names = [attribute_names(factor) for factor in world.factors]
    rows, columns = len(shown), max(map(len, shown))
    pictures = np.zeros((rows, columns, world.image_size, world.image_size, 3))
    blank, holes = np.ones((rows, columns), bool), np.zeros((rows, columns), bool)
    titles = [[""] * columns for _ in range(rows)]
    for row, attributes in enumerate(shown):
        for column, attribute in enumerate(attributes):
            blank[row, column], titles[row][column] = False, names[row][attribute]
            varied = state.clone()
            varied[row] = int(attribute)
            try:
                pictures[row, column] = _pictures(world.render(varied[None]), 4)[0]
            except InputError:  # a dataset that does not hold this combination
                holes[row, column] = True
    figure = _sheet(pictures, titles=titles, blank=blank, holes=holes,
                    row_labels=[factor.name for factor in world.factors])
    parts = [f"{factor.name}, {factor.size} attributes ({own[0]} to {own[-1]})" if factor.size > 1
             else f"{factor.name}, constant" for factor, own in zip(world.factors, names, strict=True)]
    missing = ""
    if holes.any():
        missing = f" Not in the data: {int(holes.sum())} of {int((~blank).sum())} combinations shown."
    return _finish(
        figure, f"{world.name}: a row of pictures for each of {len(parts)} factors, only that factor "
        f"changing along the row: {'; '.join(parts)}.{missing}")


@_styled
def pairs(first: Any, second: Any, *, captions: Sequence[str] | None = None) -> Figure:
    """Pairs of observations (n, C, H, W), one above the other; `captions` say what differs."""
    pictures = np.stack([_pictures(first, 4), _pictures(second, 4)])
    titles = captions and [[text.replace(", ", "\n") for text in captions], [""] * len(captions)]
    figure = _sheet(pictures, titles=titles)
    alt = f"{pictures.shape[1]} pairs of pictures, one above the other."
    return _finish(figure, alt + (f" They differ in: {'; '.join(captions)}." if captions is not None else ""))


@_styled
def cluster_grid(observations: Any, labels: Any, names: Sequence[str], *, per_cluster: int = 8,
                 title: str | None = None) -> Figure:
    """A row a cluster: the first `per_cluster` observations that carry its label.

    Args:
        labels: (n,) int, index into `names`.
        names: the clusters' names; a cluster without observations keeps its (empty) row.
    """
    pictures, labels = _pictures(observations, 4), _array(labels)
    rows, blank = [], np.ones((len(names), per_cluster), bool)
    for k in range(len(names)):
        found = pictures[labels == k][:per_cluster]
        blank[k, :len(found)] = False
        rows.append(np.concatenate([found, np.zeros((per_cluster - len(found), *pictures.shape[1:]))]))
    figure = _sheet(np.stack(rows), row_labels=names, blank=blank, heading=title)
    counts = np.bincount(labels[labels >= 0], minlength=len(names))
    empty = [name for name, count in zip(names, counts, strict=False) if not count]
    alt = f"{title}. " if title else ""
    alt += f"A row of pictures for each of {len(names)} clusters: {_and(names)}."
    return _finish(figure, alt + (f" Empty: {_and(empty)}." if empty else ""))


@_styled
def before_after(before: Any, after: Any, names: Sequence[str], *, factor: str | None = None) -> Figure:
    """What each atomic action makes of the same random samples.

    Args:
        before: (n, C, H, W), the samples.
        after: (A, n, C, H, W), after action a on sample j.
        names: A attribute names.
        factor: the factor's name, for the alt text.
    """
    pictures = np.concatenate([_pictures(before, 4)[None], _pictures(after, 5)])
    figure = _sheet(pictures, row_labels=["samples", *names], breaks=(1,), bold_rows=(0,))
    of = f" of {factor}" if factor else ""
    return _finish(
        figure, f"First row: {pictures.shape[1]} random samples. Each further row: what an atomic action{of} "
        f"makes of them: {_and(names)}.")


@_styled
def traversal(images: Any, *, row_labels: Sequence[str] | None = None,
              values: Sequence[float | str] | None = None, title: str | None = None) -> Figure:
    """Decoded images (rows, steps, C, H, W): a row a sample or code, a column a step or an atomic action."""
    pictures, values = _pictures(images, 5), None if values is None else list(values)
    labels = values and [value if isinstance(value, str) else f"{value:.2g}" for value in values]
    figure = _sheet(pictures, row_labels=row_labels, col_labels=labels, heading=title)
    alt = f"{title}. " if title else ""
    alt += f"A traversal: {pictures.shape[0]} rows of {pictures.shape[1]} decoded pictures"
    alt += f", columns at {', '.join(labels)}" if labels else ""
    return _finish(figure, alt + (f". Rows: {_and(row_labels)}." if row_labels is not None else "."))


@_styled
def misread(observations: Any, asked: Any, read: Any, names: Sequence[str], *, most: int = 16) -> Figure:
    """Generated pictures that the oracle reads as another attribute than asked for, frequent mistakes first.

    Args:
        asked, read: (n,) int, indices into `names`.
        most: pictures shown.
    """
    pictures, asked, read = _pictures(observations, 4), _array(asked), _array(read)
    wrong = np.flatnonzero(asked != read)
    total, n_wrong = len(asked), len(wrong)
    mistakes: dict[tuple[int, int], list[int]] = {}
    for index in wrong:
        mistakes.setdefault((int(asked[index]), int(read[index])), []).append(int(index))
    ranked = sorted(mistakes.items(), key=lambda item: -len(item[1]))
    order = [indices[turn] for turn in range(most) for _, indices in ranked if turn < len(indices)][:most]
    if not order:
        figure = _figure(0.5, 4.0)
        _no_axes(figure.add_subplot()).text(0, 0.5, f"none of {total:,} pictures is misread", va="center")
        return _finish(figure, f"None of {total:,} generated pictures is misread.")
    columns = min(8, len(order))
    cells = np.array(_in_rows(order, columns, -1))
    titles = [[f"{names[asked[index]]}\n→ {names[read[index]]}" if index >= 0 else "" for index in row]
              for row in cells]
    figure = _sheet(pictures[cells], titles=titles, blank=cells < 0)
    top = ", ".join(f"{names[a]} read as {names[b]} ({len(indices)})" for (a, b), indices in ranked[:4])
    return _finish(
        figure, f"{len(order)} of the {n_wrong:,} misread pictures among {total:,}; most frequent: {top}.")


@_styled
def peeks(pictures: Any, steps: Sequence[int], *, originals: Any = None) -> Figure:
    """Reconstructions while training (T, n, C, H, W), a row a step; `originals` (n, C, H, W) above them."""
    rows = _pictures(pictures, 5)
    labels = [f"step {step:,}" for step in steps]
    if originals is not None:
        rows, labels = np.concatenate([_pictures(originals, 4)[None], rows]), ["originals", *labels]
    figure = _sheet(rows, row_labels=labels, breaks=(1,) if originals is not None else (),
                    bold_rows=(0,) if originals is not None else ())
    told = ", below the originals" if originals is not None else ""
    return _finish(figure, f"Reconstructions of {rows.shape[1]} observations after "
                           f"{_and([f'{step:,}' for step in steps])} steps{told}.")


@_styled
def combination_pictures(observations: Any, held: Any, *, row_labels: Sequence[str],
                         col_labels: Sequence[str]) -> Figure:
    """A picture for every combination of two factors, (R, K, C, H, W); dashed where `held` (R, K) is False.

    `held` says which combinations the data hold: the others were made, not seen.
    """
    held = _array(held).astype(bool)
    figure = _sheet(_pictures(observations, 5), row_labels=row_labels, col_labels=col_labels, dashed=~held)
    made = [f"{row_labels[r]} with {col_labels[k]}" for r, k in np.argwhere(~held)]
    listed = f" ({', '.join(made)})" if 0 < len(made) <= 12 else ""
    return _finish(
        figure, f"Pictures of all {held.size} combinations of {_and(row_labels)} with {_and(col_labels)}. "
        f"Dashed, absent from the data: {len(made)}{listed}.")


# --- codes and partitions -----------------------------------------------------------------------------------

def _explained(index: np.ndarray, states: np.ndarray) -> np.ndarray:
    """I(partition; factor) / H(factor) of a code's partitions `index` (n,), for each factor."""
    from sklearn.metrics import homogeneity_score

    varying = [len(np.unique(column)) > 1 for column in states.T]
    return np.array([homogeneity_score(states[:, i], index) if varies else 0.0
                     for i, varies in enumerate(varying)])


def _rug(axes: Axes, x: np.ndarray, colours: Any, *, low: float = -0.40, high: float = -0.08,
         most: int = 500) -> None:
    """Points at x and anywhere between low and high, thinned to `most`: a rug with room for its points."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(x))[:most]
    if not isinstance(colours, str):
        colours = list(np.asarray(colours, dtype=object)[chosen])
    axes.scatter(x[chosen], rng.uniform(low, high, len(chosen)), s=5, c=colours, linewidths=0, alpha=0.8)


def _attribute_colour(factor: Factor, attributes: Any) -> np.ndarray:
    """The colour of each attribute index (n,)."""
    return np.asarray(attribute_colours(factor), dtype=object)[_array(attributes).astype(int)]


def _partitions(edges: Any) -> str:
    """"1 partition", "4 partitions"."""
    return f"{len(edges) + 1} partition{'s' if len(edges) else ''}"


def _density(axes: Axes, partitioning: Any, dimension: int, *, rug: bool = True) -> tuple[float, float]:
    """Draw one code's density and cuts; returns the range of the code that is shown."""
    grid, density = (_array(values) for values in partitioning.densities[dimension])
    density = density / max(density.max(), 1e-12)
    shown = grid[density > 0.002]
    low, high = (shown.min(), shown.max()) if len(shown) else (grid.min(), grid.max())
    axes.fill_between(grid, 0, density, color=INK, alpha=0.10, linewidth=0)
    axes.plot(grid, density, color=INK, linewidth=1.2)
    floor = -0.42 if rug else 0.0
    for edge in partitioning.edges[dimension]:
        axes.plot([edge, edge], [floor, 1.05], color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.set_xlim(low, high)
    axes.set_ylim(floor - 0.03, 1.1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    return float(low), float(high)


@_styled
def code_densities(partitioning: Any, codes: Any = None, states: Any = None,
                   factors: Sequence[Factor] | None = None, *, dimensions: Sequence[int] | None = None,
                   information: Any = None, columns: int | None = None, threshold: float = 0.1) -> Figure:
    """A panel a code: its density, the cuts at its minima, and a rug of observations coloured by attribute.

    The rug takes the colours of the factor whose entropy the code's partitions explain best, and says how
    much of it; it stays grey where that is less than `threshold`.

    Args:
        information: (d, M) that share for every code and factor, as `ActionSet.information` gives it
            (default: computed).
        dimensions: the codes shown (default: all).
        columns: panels in a row (default: 2).
    """
    edges = partitioning.edges
    dimensions = list(range(len(edges))) if dimensions is None else list(dimensions)
    columns = columns or (1 if len(dimensions) == 1 else 2)
    rows = -(-len(dimensions) // columns)
    figure = _figure(max(1.28 * rows, 1.7))
    panels = figure.subplots(rows, columns, squeeze=False)
    figure.get_layout_engine().set(h_pad=0.03, w_pad=0.06, hspace=0.04)
    codes = None if codes is None else _array(codes)
    labelled = codes is not None and states is not None and bool(factors)
    states = _array(states) if labelled else None
    parts = []
    for axes, dimension in zip(panels.flat, dimensions, strict=False):
        told = _partitions(edges[dimension])
        _density(axes, partitioning, dimension, rug=codes is not None)
        colours: Any = MUTED
        if labelled:
            index = np.digitize(codes[:, dimension], edges[dimension])
            share = _explained(index, states) if information is None else _array(information)[dimension]
            best = int(share.argmax())
            if share[best] >= threshold:
                colours = _attribute_colour(factors[best], states[:, best])
                told += f" · {share[best]:.0%} of {factors[best].name}"
        if codes is not None:
            _rug(axes, codes[:, dimension], colours)
        axes.set_title(f"{_code(dimension)}  ", fontweight="bold", loc="left")
        axes.set_title(told, loc="right", color=MUTED, fontsize=10)
        parts.append(f"code {dimension}: {told.replace(' · ', ' that explain ')}")
    for axes in panels.flat[len(dimensions):]:
        axes.set_visible(False)
    return _finish(figure, f"Density of each code with its cuts; {'; '.join(parts)}.")


@_styled
def density_stack(partitionings: Mapping[str, Any], dimension: int, *, codes: Any = None,
                  attributes: Any = None, factor: Factor | None = None) -> Figure:
    """One code under several partitionings, a row each: rules on the same codes, or a code while training.

    Args:
        partitionings: label -> Partitioning.
        dimension: the code; a mapping from label to code where they differ (codes may change places between
            models).
        codes: (n, d) for a rug, or a mapping from label to codes.
        attributes: (n,) int, colours the rug; needs `factor`.
    """
    left = _text_width(list(partitionings), 11) + 0.15
    height = 0.85 * len(partitionings) + 0.35
    figure = _figure(height)
    panels = figure.subplots(len(partitionings), 1, squeeze=False)[:, 0]
    figure.get_layout_engine().set(h_pad=0.01, hspace=0.0)
    colours = MUTED if attributes is None else _attribute_colour(factor, attributes)
    parts, limits = [], []
    for axes, (label, partitioning) in zip(panels, partitionings.items(), strict=True):
        at = dimension[label] if isinstance(dimension, Mapping) else dimension
        own = codes[label] if isinstance(codes, Mapping) else codes
        limits.append(_density(axes, partitioning, at, rug=own is not None))
        if own is not None:
            _rug(axes, _array(own)[:, at], colours)
        told = _partitions(partitioning.edges[at])
        axes.set_ylabel(str(label), rotation=0, ha="left", va="center", labelpad=left * 72)
        axes.text(1.0, 0.98, told, transform=axes.transAxes, ha="right", va="top", fontsize=10, color=MUTED)
        axes.tick_params(labelbottom=axes is panels[-1], bottom=axes is panels[-1])
        parts.append(f"{label}: {told}")
    for axes in panels:
        axes.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
    which = f"Code {dimension}" if not isinstance(dimension, Mapping) else "One code"
    return _finish(figure, f"{which}, its density and cuts. {'; '.join(parts)}.")


@_styled
def density_with_action(partitioning: Any, dimension: int, action: Any, *, codes: Any = None, label: str = "",
                        generator: Any = None, n: int = 20_000) -> Figure:
    """One code: density, cuts, the partitions an atomic action owns in it (shaded), and what it draws there.

    Args:
        action: an `actions.AtomicAction` that acts on `dimension`.
        codes: (n, d) for a rug.
        label: the attribute's name.
        generator, n: for the draws.
    """
    import torch

    generator = generator or torch.Generator().manual_seed(0)
    figure = _figure(2.3)
    axes = figure.subplots()
    low, high = _density(axes, partitioning, dimension, rug=codes is not None)
    region = next(region for region in action.regions if region.dimension == dimension)
    owned = [(max(float(a), low), min(float(b), high)) for a, b in region.intervals]
    for a, b in owned:
        axes.axvspan(a, b, color=ACCENT, alpha=0.18, linewidth=0)
    column = list(action.dimensions).index(dimension)
    drawn = _array(action.sample(n, generator))[:, column]
    counts, bins = np.histogram(drawn, bins=np.linspace(low, high, 181))
    curve = np.convolve(counts, np.hanning(7) / np.hanning(7).sum(), mode="same")
    axes.plot((bins[1:] + bins[:-1]) / 2, curve / max(curve.max(), 1e-12), color=SECOND, linewidth=2)
    if codes is not None:
        _rug(axes, _array(codes)[:, dimension], MUTED)
    axes.set_title(f"{_code(dimension)}  {label}", fontweight="bold")
    axes.legend(handles=[Line2D([], [], color=INK, linewidth=1.2, label="encoded data"),
                         Patch(color=ACCENT, alpha=0.25, linewidth=0, label="owned partitions"),
                         Line2D([], [], color=SECOND, linewidth=2, label="what the action draws")],
                loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, handlelength=1.4, columnspacing=1.2)
    spans = _and([f"{a:.2f} to {b:.2f}" for a, b in owned])
    return _finish(
        figure, f"Code {dimension} {label}: {_partitions(partitioning.edges[dimension])}; the action owns "
        f"{spans} and draws values of mean {drawn.mean():.2f} and standard deviation {drawn.std():.2f}.")


@_styled
def scatter2d(codes: Any, values: Any, factor: Factor | None = None, *, dimensions: tuple[int, int] = (0, 1),
              edges: Sequence[Any] | None = None, most: int = 4000) -> Figure:
    """Two codes against each other, coloured (and marked) by the attribute `values` (n,).

    Args:
        factor: whose attributes these are (default: clusters by number).
        edges: `partitioning.edges`, draws the cuts of both codes.
        most: points shown.
    """
    codes, values = _array(codes), _array(values).astype(int)
    factor = factor or Factor("cluster", tuple(str(k) for k in range(int(values.max(initial=0)) + 1)))
    chosen = np.random.default_rng(0).permutation(len(codes))[:most]
    x, y = codes[chosen, dimensions[0]], codes[chosen, dimensions[1]]
    colours, names = attribute_colours(factor), attribute_names(factor)
    figure = _figure(4.6, 6.2)
    axes = figure.subplots()
    for k in range(factor.size):
        at = values[chosen] == k
        marker = MARKERS[k % len(MARKERS)] if factor.kind == "categorical" else "o"
        axes.scatter(x[at], y[at], s=13, c=colours[k], marker=marker, linewidths=0, alpha=0.75,
                     label=names[k])
    for edge in edges[dimensions[0]] if edges is not None else ():
        axes.axvline(edge, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    for edge in edges[dimensions[1]] if edges is not None else ():
        axes.axhline(edge, color=MUTED, linewidth=0.8, linestyle=(0, (3, 2)))
    axes.set_xlabel(_code(dimensions[0]))
    axes.set_ylabel(_code(dimensions[1]), rotation=0, labelpad=10)
    shown = np.unique(np.linspace(0, factor.size - 1, min(factor.size, 12)).round().astype(int))
    handles = axes.get_legend_handles_labels()[0]
    legend = axes.legend(handles=[handles[k] for k in shown], title=factor.name, loc="center left",
                         bbox_to_anchor=(1.01, 0.5), markerscale=1.8, handletextpad=0.2, alignment="left")
    for handle in legend.legend_handles:
        handle.set_alpha(1)
    inside = {k: values[chosen] == k for k in shown}
    means = ", ".join(f"{names[k]} at ({x[at].mean():.1f}, {y[at].mean():.1f})"
                      for k, at in inside.items() if at.any())
    return _finish(figure, f"Codes {dimensions[0]} and {dimensions[1]} of {len(chosen):,} observations "
                           f"coloured by {factor.name}; mean positions: {means}.")


@_styled
def partition_comparison(codes_1d: Any, attributes: Any, methods: Mapping[str, Any],
                         factor: Factor | None = None, *, scores: Mapping[str, str] | None = None,
                         dimension: int | None = None) -> Figure:
    """One code cut by several methods: the attributes' histogram above, a strip with each method's cuts
    below.

    Args:
        codes_1d: (n,) one code.
        attributes: (n,) int.
        methods: name -> inner boundaries, e.g. {"KDE": ..., "k-means": ..., "GMM": ...}.
        scores: name -> a short text beside the strip, e.g. "purity 0.99".
    """
    x, attributes = _array(codes_1d).ravel(), _array(attributes).astype(int)
    factor = factor or Factor("attribute", tuple(str(k) for k in range(int(attributes.max(initial=0)) + 1)))
    colours, names = attribute_colours(factor), attribute_names(factor)
    low, high = np.quantile(x, [0.001, 0.999])
    low, high = low - 0.03 * (high - low), high + 0.03 * (high - low)
    figure = _figure(1.9 + 0.62 * len(methods))
    panels = figure.subplots(1 + len(methods), 1, sharex=True, height_ratios=[2.4] + [1] * len(methods))
    figure.get_layout_engine().set(h_pad=0.02, hspace=0.02)
    top = panels[0]
    top.hist([x[attributes == k] for k in range(factor.size)], bins=np.linspace(low, high, 140), stacked=True,
             color=colours, linewidth=0)
    top.set_yticks([])
    top.spines["left"].set_visible(False)
    top.tick_params(bottom=False)
    if factor.size <= 6:
        ceiling = top.get_ylim()[1]
        for k in range(factor.size):
            if (attributes == k).any():
                top.text(np.median(x[attributes == k]), ceiling * 1.02, names[k], ha="center", va="bottom",
                         fontsize=10)
    else:
        top.set_title(f"coloured by {factor.name}", loc="right", color=MUTED, fontsize=10)
    scores, parts = scores or {}, []
    for axes, (name, cuts) in zip(panels[1:], methods.items(), strict=True):
        cuts = np.sort(_array(cuts).ravel())
        bounds = np.concatenate([[low], cuts[(cuts > low) & (cuts < high)], [high]])
        for k in range(0, len(bounds) - 1, 2):
            axes.axvspan(bounds[k], bounds[k + 1], color=MUTED, alpha=0.13, linewidth=0)
        _rug(axes, x, _attribute_colour(factor, attributes), low=0.12, high=0.88, most=1500)
        for cut in bounds[1:-1]:
            axes.axvline(cut, color=INK, linewidth=1.3)
        axes.set_ylim(0, 1)
        axes.set_yticks([0.5], [name])
        axes.tick_params(left=False, bottom=axes is panels[-1])
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_visible(axes is panels[-1])
        score = scores.get(name, _partitions(cuts))
        axes.text(1.01, 0.5, score.replace(", ", "\n"), transform=axes.transAxes, va="center", fontsize=10,
                  color=MUTED)
        parts.append(f"{name} makes {_partitions(cuts)}" + (f" ({scores[name]})" if name in scores else ""))
    panels[-1].set_xlim(low, high)
    panels[-1].set_xlabel(_code(dimension) if dimension is not None else "code")
    return _finish(figure, f"One code of {len(x):,} observations, {factor.size} attributes of {factor.name}: "
                           f"{'; '.join(parts)}.")


# --- matrices -----------------------------------------------------------------------------------------------

def _hinton_squares(axes: Axes, importance: np.ndarray, rows: np.ndarray, side: float, height: float) -> None:
    """Squares of area proportional to importance: codes along x, each factor at its height in `rows`."""
    largest = max(float(np.abs(importance).max(initial=0)), 1e-12)
    for (code, factor), value in np.ndenumerate(importance):
        part = math.sqrt(abs(float(value)) / largest)
        wide, tall = part * side, part * height
        axes.add_patch(Rectangle((code - wide / 2, rows[factor] - tall / 2), wide, tall, facecolor=INK,
                                 edgecolor="none"))


def _hinton_alt(importance: np.ndarray, codes: Sequence[str], factors: Sequence[str]) -> str:
    shares = importance / np.maximum(importance.sum(0, keepdims=True), 1e-12)
    best = shares.argmax(0)
    return "; ".join(f"{name} by {codes[best[i]]} ({shares[best[i], i]:.2f} of its importance)"
                     for i, name in enumerate(factors))


@_styled
def hinton(importance: Any, *, row_labels: Sequence[str] | None = None,
           col_labels: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """Hinton diagram of an importance matrix (d codes, M factors): area is importance.

    Drawn transposed, a row a factor and a column a code, so that names need no turning.

    Args:
        row_labels: d names of codes.
        col_labels: M names of factors.
    """
    importance = _array(importance).astype(float)
    d, m = importance.shape
    codes = [_code(k) for k in range(d)] if row_labels is None else list(row_labels)
    factors = [f"factor {i}" for i in range(m)] if col_labels is None else list(col_labels)
    left = _text_width(factors, 11) + 0.2
    cell = min(0.46, (WIDTH - left - 0.1) / d)
    figure = _figure(cell * m + 0.45 + (0.3 if title else 0), left + cell * d + 0.1)
    axes = figure.subplots()
    _hinton_axes(axes, importance, codes, factors)
    if title:
        axes.set_title(title)
    told = [f"code {k}" for k in range(d)] if row_labels is None else codes
    return _finish(
        figure, f"{title + '. ' if title else ''}Hinton diagram of {d} codes and {m} factors. Best "
        f"predicted: {_hinton_alt(importance, told, factors)}.")


@_styled
def hintons(importances: Mapping[str, Any], *, col_labels: Sequence[str]) -> Figure:
    """Hinton diagrams of several models side by side on the same factors: {model: importance (d, M)}."""
    matrices = {name: _array(matrix).astype(float) for name, matrix in importances.items()}
    m = len(col_labels)
    figure = _figure(0.27 * m + 0.75)
    widths = [len(matrix) for matrix in matrices.values()]
    panels = figure.subplots(1, len(matrices), squeeze=False, width_ratios=widths)[0]
    parts = []
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=True):
        _hinton_axes(axes, matrix, [_code(k) for k in range(len(matrix))],
                     col_labels if axes is panels[0] else [""] * m)
        axes.set_title(name)
        parts.append(f"{name}: {_hinton_alt(matrix, [f'code {k}' for k in range(len(matrix))], col_labels)}")
    return _finish(figure, f"Hinton diagrams; each factor's best code. {'. '.join(parts)}.")


def _hinton_axes(axes: Axes, importance: np.ndarray, codes: Sequence[str], factors: Sequence[str]) -> None:
    """A Hinton diagram with a row a factor, a column a code."""
    d, m = importance.shape
    axes.set_xlim(-0.5, d - 0.5)
    axes.set_ylim(m - 0.5, -0.5)
    axes.set_aspect("equal")
    for line in range(m - 1):
        axes.axhline(line + 0.5, color=FAINT, linewidth=0.6)
    for line in range(d - 1):
        axes.axvline(line + 0.5, color=FAINT, linewidth=0.6)
    _hinton_squares(axes, importance, np.arange(m), 0.92, 0.92)
    axes.set_xticks(range(d), codes)
    axes.set_yticks(range(m), factors)
    _plain(axes)


def _cooccurrence(axes: Axes, matrix: Any, *, threshold: float | None, label_rows: bool) -> str:
    """Draw a co-occurrence matrix; returns its alt text.

    A code with few partitions gets as much width as one with several, so that its name has room; a code with
    a single partition tells nothing and is grey.
    """
    factors, counts = matrix.factors, _array(matrix.counts).astype(float)
    dimensions = np.asarray([column.dimension for column in matrix.columns])
    shown = np.unique(dimensions)
    places = [np.flatnonzero(dimensions == dimension) for dimension in shown]
    widths = np.maximum([len(place) for place in places], 0.04 * len(dimensions))
    starts = np.concatenate([[0], np.cumsum(widths)])
    bounds = np.concatenate([[0], np.cumsum([factor.size for factor in factors])])
    rows = len(counts)
    share = _array(matrix.values).astype(float) * len(shown)  # rows sum to 1 over all codes: now within each
    for place, start, width in zip(places, starts, widths, strict=False):
        extent = (start, start + width, rows, 0)
        if len(place) == 1:
            axes.add_patch(Rectangle((start, 0), width, rows, facecolor=FAINT, alpha=0.45, linewidth=0))
            continue
        axes.imshow(share[:, place], cmap=HEAT, vmin=0, vmax=1, aspect="auto", interpolation="nearest",
                    extent=extent)
        if threshold is not None:
            f1 = _cell_f1(counts[:, place], bounds)
            cell = width / len(place)
            for row, column in np.argwhere(f1 >= threshold):
                axes.add_patch(Rectangle((start + column * cell, row), cell, 1, fill=False, edgecolor=SECOND))
    for edge in starts[1:-1]:
        axes.axvline(edge, color=MUTED, linewidth=0.6)
    for edge in bounds[1:-1]:
        axes.axhline(edge, color=MUTED, linewidth=0.9)
    axes.set_xlim(0, starts[-1])
    axes.set_ylim(rows, 0)
    axes.set_xticks((starts[1:] + starts[:-1]) / 2, [_code(dimension) for dimension in shown])
    axes.set_yticks((bounds[1:] + bounds[:-1]) / 2, [factor.name if label_rows else "" for factor in factors])
    _plain(axes, frame=MUTED)
    best = np.stack([_cell_f1(counts[:, place], bounds).max(1) for place in places], axis=1)
    means = np.stack([best[low:high].mean(0) for low, high in zip(bounds, bounds[1:], strict=False)])
    parts = [f"{factor.name} {mean.max():.2f} in code {shown[mean.argmax()]}"
             for factor, mean in zip(factors, means, strict=True)]
    return (f"co-occurrence of {rows} attributes with {len(dimensions)} partitions of {len(shown)} codes; "
            "how well the best single partition identifies an attribute (F1, mean over attributes, best "
            f"code): {', '.join(parts)}.")


def _cell_f1(counts: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """How well each partition of one code identifies each attribute: F1 of precision and recall.

    Args:
        counts: (attributes, partitions).
        bounds: first row of each factor, and the number of rows; precision is among a factor's attributes.
    """
    totals = np.concatenate([np.repeat(counts[low:high].sum(0, keepdims=True), high - low, axis=0)
                             for low, high in zip(bounds, bounds[1:], strict=False)])
    return 2 * counts / np.maximum(totals + counts.sum(1, keepdims=True), 1e-12)


def _heat_scale(figure: Figure, axes: Any, label: str, **options: Any) -> None:
    colour_bar = figure.colorbar(matplotlib.cm.ScalarMappable(Normalize(0, 1), HEAT), ax=axes,
                                 ticks=[0, 0.5, 1], **options)
    colour_bar.outline.set_visible(False)
    colour_bar.ax.tick_params(length=0)
    colour_bar.set_label(label, color=INK)


@_styled
def cooccurrence(matrix: Any, *, threshold: float | None = None, title: str | None = None) -> Figure:
    """The co-occurrence matrix as a heat map: attributes (rows, by factor) x partitions (columns, by code).

    Args:
        matrix: an `actions.CooccurrenceMatrix`. Its rows sum to 1 over all codes; shown is the share within
            each code (times their number): 1 is "always in this partition". A code with a single partition is
            grey: it tells nothing.
        threshold: outlines the cells where one partition alone identifies an attribute with at least this F1.
    """
    rows = len(_array(matrix.values))
    figure = _figure(min(max(0.085 * rows + 0.8, 2.2), 6.0))
    axes = figure.subplots()
    alt = _cooccurrence(axes, matrix, threshold=threshold, label_rows=True)
    _heat_scale(figure, axes, "share of an attribute within a code", shrink=0.8, aspect=28, pad=0.015)
    if title:
        axes.set_title(title)
    return _finish(figure, f"{title}: {alt}" if title else alt[0].upper() + alt[1:], wide=True)


@_styled
def hinton_beside_cooccurrence(importance: Any, matrix: Any, *, title: str | None = None) -> Figure:
    """E0's pair: which codes predict a factor (left), which partitions its attributes fall in (right).

    Args:
        importance: (d, M), as `metrics.dci(...).importance`.
        matrix: an `actions.CooccurrenceMatrix`, drawn as by `cooccurrence`.
    """
    importance, factors = _array(importance).astype(float), matrix.factors
    d, rows = len(importance), len(_array(matrix.values))
    figure = _figure(min(max(0.085 * rows + 0.9, 2.6), 5.6) + (0.25 if title else 0))
    left, right = figure.subplots(1, 2, width_ratios=[0.72, 1])
    figure.get_layout_engine().set(w_pad=0.02)
    bounds = np.concatenate([[0], np.cumsum([factor.size for factor in factors])])
    for edge in bounds[1:-1]:
        left.axhline(edge, color=MUTED, linewidth=0.9)
    inches = figure.get_figheight() * 0.82 / rows  # of one attribute's row
    left.set_xlim(-0.6, d - 0.4)
    left.set_ylim(rows, 0)
    middles, tall = (bounds[1:] + bounds[:-1]) / 2, min(0.2 / inches, np.diff(bounds).min() * 0.95)
    _hinton_squares(left, importance, middles, 0.94, tall)
    left.set_xticks(range(d), [_code(k) for k in range(d)])
    left.set_yticks(middles, [factor.name for factor in factors])
    _plain(left, frame=MUTED)
    left.set_title("importance")
    alt = _cooccurrence(right, matrix, threshold=None, label_rows=False)
    right.set_title("co-occurrence")
    _heat_scale(figure, right, "", shrink=0.9, aspect=30, pad=0.02)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    codes, names = [f"code {k}" for k in range(d)], [factor.name for factor in factors]
    return _finish(
        figure, f"{title + '. ' if title else ''}Left, importance of {d} codes for {len(names)} factors; "
        f"best predicted: {_hinton_alt(importance, codes, names)}. Right, {alt}", wide=True)


def _confusion(axes: Axes, matrix: np.ndarray, labels: Sequence[str], *, text: bool, room: float,
               most: int = 15) -> tuple[float, str]:
    """Draw a confusion matrix `room` inches wide, at most `most` labels a side, rows without counts grey.

    Returns accuracy and, as text, the most frequent mistake and how many attributes were never asked for.
    """
    share = _share(matrix)
    axes.imshow(share, cmap=HEAT, vmin=0, vmax=1, interpolation="nearest")
    never = np.flatnonzero(matrix.sum(1) == 0)
    for row in never:
        axes.add_patch(Rectangle((-0.5, row - 0.5), len(matrix), 1, facecolor=FAINT, alpha=0.45, linewidth=0))
    n = len(labels)
    if text:
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.005 or (row == column and row not in never):
                axes.text(column, row, f"{value:.2f}".lstrip("0") if value < 0.995 else "1", ha="center",
                          va="center", fontsize=9, color=PAPER if value > 0.55 else INK)
    shown = range(n) if n <= most else range(0, n, math.ceil(n / min(most, 8)))
    names = [labels[k].replace("-", "−") for k in shown]
    crowded = (_text_width(names, 10) + 0.06) * len(names) > room
    axes.set_xticks(list(shown), names, rotation=90 if crowded else 0)
    axes.set_yticks(list(shown), names)
    _plain(axes, frame=FAINT)
    accuracy = float(np.trace(matrix) / max(matrix.sum(), 1e-12))
    off = share.copy()
    np.fill_diagonal(off, 0)
    row, column = np.unravel_index(off.argmax(), off.shape)
    told = f"; most often {labels[row]} read as {labels[column]} ({off[row, column]:.2f})" if off.max() > 0 else ""
    return accuracy, told + (f"; {len(never)} of {n} never asked for" if len(never) else "")


@_styled
def confusion(matrix: Any, labels: Sequence[str], *, title: str | None = None, xlabel: str = "read as",
              ylabel: str = "asked for") -> Figure:
    """Confusion matrix of counts (rows: asked for, columns: read as), as shares of each row; grey: no counts."""
    matrix = _array(matrix).astype(float)
    n = len(labels)
    side = min(max(0.42 * n, 1.6), 4.6)
    labels = [str(label) for label in labels]
    long = _text_width(labels, 10)
    figure = _figure(side + 0.75 + (long if long > 0.33 else 0.1), side + 1.0 + long)
    axes = figure.subplots()
    accuracy, worst = _confusion(axes, matrix, labels, text=n <= 12, room=side)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if title:
        axes.set_title(title)
    return _finish(
        figure, f"{title + ': ' if title else ''}confusion of {n} attributes, {accuracy:.2f} on the "
        f"diagonal{worst}.")


@_styled
def confusions(matrices: Mapping[str, tuple[Any, Sequence[str]]], *, columns: int = 3) -> Figure:
    """Several confusion matrices, {factor name: (counts, labels)}: asked for (down) and read as (across)."""
    names = list(matrices)
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    figure = _figure(2.55 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    parts = []
    for axes, name in zip(panels.flat, names, strict=False):
        matrix, labels = _array(matrices[name][0]).astype(float), [str(label) for label in matrices[name][1]]
        accuracy, worst = _confusion(axes, matrix, labels, text=len(labels) <= 5, room=1.5, most=5)
        axes.set_title(name)
        parts.append(f"{name} {accuracy:.2f} on the diagonal{worst}")
    for axes in panels.flat[len(names):]:
        axes.set_visible(False)
    figure.supxlabel("read as", fontsize=11, color=INK)
    figure.supylabel("asked for", fontsize=11, color=INK)
    return _finish(figure, f"Confusion matrices: {'. '.join(parts)}.", wide=len(names) > 2)


@_styled
def sensitivity(values: Any, *, rows: Sequence[Any], columns: Sequence[Any], row_name: str, column_name: str,
                value_name: str, chosen: tuple[int, int] | None = None, digits: int = 2,
                least_range: float = 0.1) -> Figure:
    """A small sweep as a heat map with its numbers.

    Args:
        values: (len(rows), len(columns)); NaN where there is none.
        chosen: (row, column) of the setting used, outlined.
        digits: after the point.
        least_range: the colours span at least this much, so that values which hardly differ look alike.
    """
    values = _array(values).astype(float)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    darkest = min(low - 0.25 * (high - low), high - least_range)
    norm = Normalize(darkest - 1e-9, high + 1e-9)
    width = min(WIDTH, 1.6 + _text_width([str(row) for row in rows], 10) + 0.72 * len(columns))
    figure = _figure(0.95 + 0.42 * len(rows), max(width, 3.6))
    axes = figure.subplots()
    axes.imshow(np.ma.masked_invalid(values), cmap=HEAT, norm=norm, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(values):
        axes.text(column, row, _number(value, digits), ha="center", va="center", fontsize=10,
                  color=PAPER if math.isfinite(value) and norm(value) > 0.55 else INK)
    axes.set_xticks(range(len(columns)), [str(column) for column in columns])
    axes.set_yticks(range(len(rows)), [str(row) for row in rows])
    _plain(axes)
    axes.set_xlabel(column_name)
    axes.set_ylabel(row_name)
    axes.set_title(value_name)
    alt = (f"{value_name} from {_number(low, digits)} to {_number(high, digits)} over "
           f"{row_name} {_and(rows)} and {column_name} {_and(columns)}")
    if chosen is not None:
        row, column = chosen
        axes.add_patch(Rectangle((column - 0.47, row - 0.45), 0.94, 0.9, fill=False, edgecolor=SECOND,
                                 linewidth=2.4))
        alt += f"; chosen: {rows[row]} and {columns[column]}, {_number(float(values[row, column]), digits)}"
    return _finish(figure, alt + ".")


@_styled
def score_panel(scores: Any, *, beside: Any = None, beside_name: str = "paper", best: str | None = "max",
                digits: int = 2, note: str | None = None) -> Figure:
    """Numbers as a table of shaded cells, the best of each column in bold.

    Args:
        scores: DataFrame, or {row: {column: value}}; None where there is none.
        beside: other numbers of the same shape, small under each, e.g. the paper's.
        beside_name: what they are.
        best: "max", "min" or None.
        note: a line below.
    """
    rows, columns, values = _score_table(scores)
    others = None if beside is None else _score_table(beside)[2]
    finite = values[np.isfinite(values)]
    norm = Normalize(min(0.0, float(finite.min(initial=0))), max(1.0, float(finite.max(initial=1))) * 1.35)
    left = _text_width(rows, 11) + 0.2
    cell = min(0.95, (WIDTH - left) / len(columns))
    tall = 0.36 if others is None else 0.52
    narrow = _text_width(columns, 11) > cell - 0.08
    labels = [label.replace(" ", "\n") if narrow else label for label in columns]
    words = [word for label in labels for word in label.split("\n")]
    small = 11 if _text_width(words, 11) <= cell - 0.06 else 9
    cell = max(cell, _text_width(words, small) + 0.06)  # a long word makes the figure wider, not illegible
    note = " ".join(filter(None, [note, others is not None and f"Small: {beside_name}."]))
    foot = 0.28 if note else 0.02
    height = 0.2 * (1 + max(label.count("\n") for label in labels)) + 0.15 + tall * len(rows) + foot
    width = max(left + cell * len(columns), _text_width([note], 9.5) + 0.1)
    figure = _figure(height, width, layout=None)
    axes = figure.add_axes(
        (left / width, foot / height, cell * len(columns) / width, tall * len(rows) / height))
    axes.imshow(np.ma.masked_invalid(values), cmap=HEAT, norm=norm, aspect="auto", interpolation="nearest")
    marked = np.zeros(values.shape, bool)
    if best in ("max", "min") and len(rows) > 1:
        ranked = np.where(np.isfinite(values), values, -np.inf if best == "max" else np.inf).round(digits)
        marked = (ranked == (ranked.max(0) if best == "max" else ranked.min(0))) & np.isfinite(values)
    for (row, column), value in np.ndenumerate(values):
        colour = PAPER if math.isfinite(value) and norm(value) > 0.55 else INK
        weight = "bold" if marked[row, column] else "normal"
        axes.text(column, row if others is None else row - 0.16, _number(value, digits), ha="center",
                  va="center", fontsize=11, fontweight=weight, color=colour)
        if others is not None:
            axes.text(column, row + 0.24, _number(others[row, column], digits), ha="center", va="center",
                      fontsize=9, color=colour)
    for k in range(1, len(rows)):
        axes.axhline(k - 0.5, color=FAINT, linewidth=0.6)
    axes.set_xticks(range(len(columns)), labels)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(labelsize=11, pad=4)
    axes.tick_params(axis="x", labelsize=small)
    _plain(axes)
    if note:
        figure.text(0, 0.04, note, fontsize=9.5, color=MUTED)

    def told(row: int, column: int) -> str:
        other = "" if others is None else f" ({_number(others[row, column], digits)})"
        return f"{columns[column]} {_number(values[row, column], digits)}{other}"

    alt = ". ".join(f"{name}: " + ", ".join(told(row, column) for column in range(len(columns)))
                    for row, name in enumerate(rows))
    named = "" if others is None else f", in brackets {beside_name}"
    wide = len(columns) > 7 or width > WIDTH
    return _finish(figure, f"Scores{named}. {alt}.{' ' + note if note else ''}", wide=wide)


def _score_table(scores: Any) -> tuple[list[str], list[str], np.ndarray]:
    """Row names, column names and values (NaN where missing) of a DataFrame or {row: {column: value}}."""
    if hasattr(scores, "columns"):
        rows, columns, values = scores.index, scores.columns, scores.to_numpy(dtype=float, na_value=np.nan)
    else:
        rows, columns = list(scores), list(next(iter(scores.values())))
        cells = [[row.get(column) for column in columns] for row in scores.values()]
        values = np.array([[np.nan if value is None else float(value) for value in row] for row in cells])
    return [str(row) for row in rows], [str(column) for column in columns], values


@_styled
def combinations(explicit: Any, implicit: Any, *, row_labels: Sequence[str], col_labels: Sequence[str],
                 titles: tuple[str, str] = ("explicit clusters", "implicit clusters")) -> Figure:
    """The paper's Figure 2: the combinations that the data D holds (left) and those that D' holds (right).

    Filled: held by D. Dotted: in D' and not in D. Open: in neither. A row is a cluster: one attribute fixed.
    """
    explicit, implicit = _array(explicit).astype(bool), _array(implicit).astype(bool)
    rows, columns = explicit.shape
    left = _text_width(row_labels, 11) + 0.15
    cell = min(0.42, (WIDTH - left - 0.5) / (2 * columns))
    rotated = _text_width(col_labels, 10) > cell
    top = (_text_width(col_labels, 10) if rotated else 0.2) + 0.38
    height = top + rows * cell + 0.36
    heading = 1.1 * _text_width(titles, 11)  # bold
    gap = max(0.35, heading + 0.15 - columns * cell)
    width = left + columns * cell + gap + max(columns * cell + 0.05, heading)
    figure = _figure(height, width, layout=None)
    axes = _no_axes(figure.add_axes((0, 0, 1, 1)))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)

    def box(x: float, y: float, kind: str) -> None:
        inset, colour = cell * 0.08, {"held": ACCENT, "made": SECOND, "absent": FAINT}[kind]
        axes.add_patch(Rectangle((x + inset, y + inset), cell - 2 * inset, cell - 2 * inset, linewidth=1.0,
                                 facecolor=ACCENT if kind == "held" else "none", edgecolor=colour))
        if kind == "made":
            axes.plot([x + cell / 2], [y + cell / 2], "o", color=colour, markersize=cell * 27,
                      markeredgewidth=0)

    for panel, held in enumerate((explicit, implicit)):
        x0 = left + panel * (columns * cell + gap)
        axes.text(x0, 0.02, titles[panel], va="top", fontsize=11, fontweight="bold")
        for column, label in enumerate(col_labels):
            axes.text(x0 + (column + 0.5) * cell, top - 0.05, label, ha="center", va="bottom", fontsize=10,
                      rotation=90 if rotated else 0)
        for row in range(rows):
            for column in range(columns):
                kind = "absent" if not held[row, column] else "held" if explicit[row, column] else "made"
                box(x0 + column * cell, top + row * cell, kind)
    for row, label in enumerate(row_labels):
        axes.text(left - 0.1, top + (row + 0.5) * cell, label, ha="right", va="center", fontsize=11)
    handles = [Line2D([], [], marker="s", linestyle="", color=ACCENT, markersize=9, label="in D"),
               Line2D([], [], marker="o", linestyle="", color=SECOND, markersize=7, label="in D′ only"),
               Line2D([], [], marker="s", linestyle="", markerfacecolor="none", markeredgecolor=FAINT,
                      markersize=9, label="in neither")]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(left / width - 0.01, -0.01), ncols=3,
                borderaxespad=0, handletextpad=0.1, columnspacing=1.2)
    made = int((implicit & ~explicit).sum())
    return _finish(
        figure, f"Of {explicit.size} combinations of {_and(row_labels)} with {_and(col_labels)}, the data "
        f"holds {int(explicit.sum())}; the {titles[1]} hold {int(implicit.sum())}, {made} of them absent "
        f"from the data; {int((explicit & ~implicit).sum())} held by the data are missing from them.")


@_styled
def ownership(actions: Any, factors: Sequence[Factor], n_codes: int) -> Figure:
    """Which codes each factor's atomic actions act on: the dot's area is the number of attributes that do."""
    counts = np.zeros((len(factors), n_codes), int)
    for i in range(len(factors)):
        for action in actions.of(i):
            counts[i, list(action.dimensions)] += 1
    left = _text_width([factor.name for factor in factors], 11) + 0.2
    cell = min(0.5, (WIDTH - left - 0.9) / n_codes)
    figure = _figure(cell * len(factors) + 0.5, left + cell * n_codes + 0.95)
    axes = figure.subplots()
    axes.set_xlim(-0.5, n_codes - 0.5)
    axes.set_ylim(len(factors) - 0.5, -0.5)
    axes.set_aspect("equal")
    for i, factor in enumerate(factors):
        axes.axhline(i, color=FAINT, linewidth=0.6, zorder=0)
        for k in np.flatnonzero(counts[i]):
            part = math.sqrt(counts[i, k] / factor.size) * cell * 72 * 0.82
            axes.plot([k], [i], "o", color=ACCENT, markersize=part, markeredgewidth=0)
        axes.text(n_codes - 0.35, i, f"{len(actions.of(i))} of {factor.size}", va="center", fontsize=10,
                  color=MUTED)
    axes.set_xticks(range(n_codes), [_code(k) for k in range(n_codes)])
    axes.set_yticks(range(len(factors)), [factor.name for factor in factors])
    _plain(axes)
    parts = []
    for i, factor in enumerate(factors):
        where = f" on {_and([f'code {k}' for k in np.flatnonzero(counts[i])])}" if counts[i].any() else ""
        parts.append(f"{factor.name}: {len(actions.of(i))} of {factor.size} attributes{where}")
    return _finish(figure, f"Codes that atomic actions act on. {'; '.join(parts)}.")


# --- curves and bars ----------------------------------------------------------------------------------------

def _end_labels(axes: Axes, ends: Sequence[tuple[float, str, str]], x: float, height: float) -> None:
    """Name the curves at their right ends, pushed apart where they would overlap. ends: (y, name, colour)."""
    low, high = axes.get_ylim()
    step = 0.19 / height * (high - low)
    order = sorted(range(len(ends)), key=lambda k: ends[k][0])
    places = [ends[k][0] for k in order]
    for _ in range(50):
        for k in range(len(places) - 1):
            overlap = step - (places[k + 1] - places[k])
            if overlap > 0:
                places[k] -= overlap / 2
                places[k + 1] += overlap / 2
    for place, k in zip(places, order, strict=True):
        axes.annotate(ends[k][1], (x, place), xytext=(7, 0), textcoords="offset points", va="center",
                      color=ends[k][2], annotation_clip=False)


@_styled
def bound_curve(x: Any, curves: Mapping[str, Any], *, xlabel: str, ylabel: str,
                bands: Mapping[str, tuple[Any, Any]] | None = None,
                reference: Mapping[str, float] | None = None,
                ylim: tuple[float, float] | None = None) -> Figure:
    """Curves over one quantity, each named at its end, with intervals and reference lines.

    Args:
        x: (n,) common abscissa.
        curves: name -> (n,); NaN leaves a gap.
        bands: name -> (low, high), shaded.
        reference: label -> height of a dashed line.
    """
    x = _array(x).astype(float)
    height = 3.4
    names = list(curves)
    right = _text_width([*names, *(reference or {})], 11) + 0.15
    figure = _figure(height, layout=None)
    axes = figure.add_axes((0.72 / WIDTH, 0.58 / height, 1 - (0.72 + right) / WIDTH, 1 - 0.88 / height))
    ends = []
    for k, name in enumerate(names):
        y, colour = _array(curves[name]).astype(float), SERIES[k % len(SERIES)]
        if bands and name in bands:
            low, high = (_array(part).astype(float) for part in bands[name])
            axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, y, color=colour, marker=MARKERS[k % len(MARKERS)], markersize=5, markeredgewidth=0,
                  clip_on=False, zorder=3)
        finite = np.flatnonzero(np.isfinite(y))
        ends.append((float(y[finite[-1]]) if len(finite) else 0.0, name, colour))
    for label, level in (reference or {}).items():
        axes.axhline(level, color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
        ends.append((float(level), label, MUTED))
    if ylim is not None:
        axes.set_ylim(*ylim)
    axes.margins(x=0.01)
    axes.set_xlabel(xlabel)
    axes.set_title(ylabel)
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    _end_labels(axes, ends, axes.get_xlim()[1], height - 0.88)
    parts = []
    for name in names:
        y = _array(curves[name]).astype(float)
        finite = np.flatnonzero(np.isfinite(y))
        if len(finite):
            first, last = finite[0], finite[-1]
            parts.append(f"{name} from {y[first]:.3g} at {x[first]:.3g} to {y[last]:.3g} at {x[last]:.3g}")
    parts += [f"{label} at {level:.3g}" for label, level in (reference or {}).items()]
    return _finish(figure, f"{ylabel} against {xlabel}: {'; '.join(parts)}.")


@_styled
def training_curve(history: Any, *, keys: Sequence[str] | None = None, smooth: int | None = None) -> Figure:
    """Losses while training, a panel each: raw values faint, a running mean over `smooth` points strong.

    Args:
        history: list of dicts (or dict of lists) with "step" and losses.
    """
    if not isinstance(history, Mapping):
        keys_found = history[0] if history else {"step": 0}
        history = {key: [row.get(key, math.nan) for row in history] for key in keys_found}
    steps = np.asarray(history["step"], float)
    keys = [key for key in history if key not in ("step", "seconds", "time")] if keys is None else list(keys)
    columns = min(3, max(len(keys), 1))
    rows = -(-max(len(keys), 1) // columns)
    figure = _figure(2.0 * rows + 0.25, WIDTH if columns > 1 else 5.0)
    panels = figure.subplots(rows, columns, squeeze=False)
    parts = []
    for axes, key in zip(panels.flat, keys, strict=False):
        y = np.asarray(history[key], float)
        window = min(max(smooth or len(y) // 25, 1), max(len(y), 1))
        padded = np.pad(y, (window // 2, window - 1 - window // 2), mode="edge") if len(y) else y
        mean = np.convolve(padded, np.ones(window) / window, mode="valid") if len(y) else y
        if window > 1:
            axes.plot(steps, y, color=ACCENT, linewidth=0.8, alpha=0.3)
        axes.plot(steps, mean, color=ACCENT)
        axes.set_title(key.replace("_", " "))
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if len(mean) > 20:
            late = mean[max(len(mean) // 50, 1):]
            pad = 0.06 * (late.max() - late.min() + 1e-12)
            axes.set_ylim(late.min() - pad, late.max() + pad)
        if len(mean):
            parts.append(f"{key.replace('_', ' ')} from {mean[0]:.4g} to {mean[-1]:.4g}")
    for axes in panels.flat[len(keys):]:
        axes.set_visible(False)
    figure.supxlabel("training step", fontsize=11, color=INK)
    last = f"{int(steps[-1]):,}" if len(steps) else "0"
    return _finish(figure, f"Training over {last} steps: {'; '.join(parts)}.")


@_styled
def f1_bars(names: Sequence[str], scores: Mapping[str, Sequence[float | None]], *,
            spread: Mapping[str, Sequence[float]] | None = None, ylabel: str = "macro-F1",
            missing: str = "not measurable") -> Figure:
    """A row a factor: bars for what is measured, open diamonds for the paper, ticks for the oracle's ceiling.

    Args:
        names: the factors, top to bottom.
        scores: series name -> one score a factor (None where there is none). Names that start with "paper"
            become diamonds, those that start with "oracle" ticks, all others bars.
        spread: series name -> half-widths (one standard deviation over seeds), for bars.
    """
    values = {name: np.array([np.nan if value is None else float(value) for value in series])
              for name, series in scores.items()}
    papers = [name for name in values if name.lower().startswith("paper")]
    bars = [name for name in values if name not in papers and not name.lower().startswith("oracle")]
    thick = 0.72 / max(len(bars), 1)
    each = 0.27 * max(len(bars), 1) + 0.16
    left = _text_width(list(names), 11) + 0.2
    height = each * len(names) + 0.95
    figure = _figure(height, layout=None)
    axes = figure.add_axes((left / WIDTH, 0.3 / height, 1 - (left + 0.45) / WIDTH, 1 - (0.3 + 0.62) / height))
    y = np.arange(len(names), dtype=float)
    for k, name in enumerate(bars):
        at, colour = y + (k - (len(bars) - 1) / 2) * thick, SERIES[k % len(SERIES)]
        width = np.zeros(len(names)) if not spread or name not in spread else np.asarray(spread[name], float)
        axes.barh(at, np.nan_to_num(values[name]), height=thick * 0.86, color=colour, linewidth=0, label=name)
        for place, value, half in zip(at, values[name], width, strict=True):
            if not math.isfinite(value):
                axes.text(0.008, place, missing, va="center", fontsize=9.5, color=MUTED)
                continue
            if half > 0:
                axes.plot([value - half, value + half], [place, place], color=INK, linewidth=1.4)
            inside = value > 0.09
            axes.text(0.012 if inside else value + half + 0.012, place, _number(value), va="center",
                      fontsize=10, fontweight="bold" if inside else "normal", color=PAPER if inside else INK)
    tick = {"linestyle": "", "marker": "|", "markeredgewidth": 2.4, "color": INK}
    diamond = {"linestyle": "", "marker": "D", "markersize": 7.5, "markerfacecolor": PAPER,
               "markeredgecolor": INK, "markeredgewidth": 1.5}
    handles: list[Line2D | Patch] = []
    for name, series in values.items():
        if name in bars:
            handles.append(Patch(color=SERIES[bars.index(name) % len(SERIES)], linewidth=0, label=name))
        elif name in papers:
            axes.plot(series, y, zorder=5, **diamond)
            handles.append(Line2D([], [], label=name, **diamond))
        else:
            axes.plot(series, y, zorder=4, markersize=each * 45, **tick)
            handles.append(Line2D([], [], label=name, markersize=11, **tick))
    _name_rows(axes, names)
    highest = max((np.nanmax(series) for series in values.values() if np.isfinite(series).any()), default=1.0)
    axes.set_xlim(0, max(1.0, 1.02 * highest))
    axes.grid(axis="x")
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-left / (WIDTH - left - 0.45), 1.0),
                ncols=4, borderaxespad=0.2, handletextpad=0.5, columnspacing=1.4, handlelength=1.0,
                title=ylabel, alignment="left")
    parts = []
    for name, series in values.items():
        told = [f"{factor} {_number(value)}" for factor, value in zip(names, series, strict=True)]
        parts.append(f"{name}: {', '.join(told)}")
    return _finish(figure, f"{ylabel}. {'. '.join(parts)}.")


@_styled
def dots(values: Mapping[str, Sequence[float]], *, xlabel: str,
         reference: Mapping[str, float] | None = None) -> Figure:
    """Every seed a dot, their mean a tick; a row for each name. `reference`: label -> a dashed line."""
    names = list(values)
    figure = _figure(0.36 * len(names) + 0.85)
    axes = figure.subplots()
    parts = []
    for row, name in enumerate(names):
        points = np.array([v for v in values[name] if v is not None and math.isfinite(v)], float)
        axes.plot(points, np.full(len(points), row), "o", color=ACCENT, markersize=7, markeredgecolor=PAPER,
                  markeredgewidth=0.8)
        if len(points):
            axes.plot([points.mean()] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=2)
            told = f" ± {points.std(ddof=1):.2g} over {len(points)}" if len(points) > 1 else ""
            parts.append(f"{name} {points.mean():.3g}{told}")
    for label, level in (reference or {}).items():
        axes.axvline(level, color=MUTED, linewidth=1.1, linestyle=(0, (4, 3)))
        axes.text(level, -0.62, label, ha="center", va="bottom", fontsize=10, color=MUTED)
        parts.append(f"{label} {level:.3g}")
    _name_rows(axes, names, above=0.6)
    axes.grid(axis="x")
    axes.set_xlabel(xlabel)
    return _finish(figure, f"{xlabel}: {'; '.join(parts)}.")


@_styled
def agreement(groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, xlabel: str, ylabel: str,
              marked: Mapping[str, tuple[float, float]] | None = None) -> Figure:
    """Two scores of the same things, each a point, a colour and a marker for each group; the diagonal dashed.

    Args:
        groups: name -> (x, y), both of shape (n,) and in [0, 1].
        marked: points with a name of their own, ringed: name -> (x, y).
    """
    figure = _figure(4.6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    parts = []
    for k, (name, (x, y)) in enumerate(groups.items()):
        axes.plot(x, y, MARKERS[k % len(MARKERS)], color=SERIES[k % len(SERIES)], markersize=7, label=name,
                  markeredgecolor=PAPER, markeredgewidth=0.7, linestyle="none")
        if len(x):
            parts.append(f"{name}: {len(x)} points, {xlabel} {min(x):.2f} to {max(x):.2f}, {ylabel} {min(y):.2f} to "
                         f"{max(y):.2f}")
    for name, (x, y) in (marked or {}).items():
        axes.plot([x], [y], "o", color=INK, markersize=13, markerfacecolor="none", markeredgewidth=1.4)
        axes.annotate(name, (x, y), xytext=(-10, -16), textcoords="offset points", ha="right", fontsize=10, color=INK)
        parts.append(f"{name} at {x:.2f} and {y:.2f}")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(True)
    axes.legend(loc="upper left", handletextpad=0.2)
    return _finish(figure, f"{ylabel} against {xlabel}. {'; '.join(parts)}.")


@_styled
def sizes(counts: Any, names: Sequence[str], *, xlabel: str = "observations") -> Figure:
    """How many observations each cluster holds."""
    counts = _array(counts).astype(float)
    figure = _figure(0.3 * len(names) + 0.75, 6.0)
    axes = figure.subplots()
    axes.barh(range(len(names)), counts, height=0.7, color=ACCENT, linewidth=0)
    for row, count in enumerate(counts):
        axes.text(count + 0.01 * counts.max(initial=1), row, f"{count:,.0f}", va="center", fontsize=10)
    _name_rows(axes, names, above=0.6, below=0.6)
    axes.set_xlim(0, 1.14 * counts.max(initial=1))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel(xlabel)
    told = ", ".join(f"{name} {count:,.0f}" for name, count in zip(names, counts, strict=True))
    return _finish(figure, f"{xlabel.capitalize()} per cluster: {told}.")


@_styled
def speed_bars(names: Sequence[str], seconds: Sequence[float], *, baseline: str) -> Figure:
    """Times on a logarithmic axis with their ratios to `baseline`: dots, since a bar on it has no foot."""
    seconds = np.asarray(seconds, float)
    base = float(seconds[list(names).index(baseline)])
    figure = _figure(0.36 * len(names) + 0.8)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.hlines(range(len(names)), seconds, base, color=FAINT, linewidth=2)
    axes.plot(seconds, range(len(names)), "o", color=ACCENT, markersize=9, markeredgewidth=0)
    for row, value in enumerate(seconds):
        ratio = base / value
        told = f"{ratio:,.3g}× faster" if ratio >= 1 else f"{1 / ratio:,.3g}× slower"
        told = "baseline" if names[row] == baseline else told
        axes.annotate(f"{_seconds(value)}, {told}", (value, row), xytext=(0, 8), textcoords="offset points",
                      ha="center", fontsize=9.5, color=INK)
    _name_rows(axes, names, above=0.8, below=0.6)
    axes.set_xlim(seconds.min() / 4, seconds.max() * 4)
    axes.set_xlabel("seconds")
    told = ", ".join(f"{name} {_seconds(value)} ({base / value:.3g} times {baseline}'s speed)"
                     for name, value in zip(names, seconds, strict=True))
    return _finish(figure, f"Seconds: {told}.")


def _seconds(value: float) -> str:
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"
