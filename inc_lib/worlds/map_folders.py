"""Pictures and label maps in folders, as the sets with a label for each pixel are handed out.

    FOLDER/images/*.jpg or .png        the pictures
    FOLDER/labels/*.png                their maps, with the same stems
    FOLDER/colours.csv                 only for maps painted in colours: label,red,green,blue, a line a label

- *Facades*: picture and map lie side by side, NAME.jpg and NAME.png (an indexed .png: its numbers are the labels).
- *COCO-Stuff*: images/*.jpg and labels/*.png, one channel; 255 is "no label".
- *Potsdam*: tiles whose names end in _RGB.tif and _label.tif, colour-coded: the colours of its publisher are built in.

Labels that occur are numbered from 0 in their order. Maps are shrunk by the nearest pixel, never blended.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..errors import InputError

PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
FOLDERS = (("images", "labels"), ("image", "label"), ("images", "annotations"))
UNLABELLED = 255  # COCO-Stuff's number for pixels that nobody labelled
POTSDAM = {
    "impervious surface": (255, 255, 255),
    "building": (0, 0, 255),
    "low vegetation": (0, 255, 255),
    "tree": (0, 255, 0),
    "car": (255, 255, 0),
    "clutter": (255, 0, 0),
}


def read(folder: str | Path, *, image_size: int, most: int | None = None) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Pictures (n, 3, S, S) in [0, 1], maps int64 (n, S, S) with -1 for pixels without a label, and the labels' names.

    A picture that is not square is cut to its middle square.

    Args:
        image_size: S.
        most: files read, the first ones by name.

    Raises:
        InputError: a picture without a map, sizes that differ, a colour that is not in the table, one label only.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: expected one with images/ and labels/ in it.")
    pairs = _pairs(folder)[:most]
    table = _table(folder)
    pictures, maps = [], []
    for picture_file, map_file in pairs:
        picture, found = _open(picture_file).convert("RGB"), _open(map_file)
        if picture.size != found.size:
            raise InputError(
                f"{map_file.name} is {found.width}x{found.height}, its picture {picture_file.name} "
                f"{picture.width}x{picture.height}: expected a map of the same size."
            )
        numbers = _numbers(found, table, map_file)
        pictures.append(np.asarray(_square(picture).resize((image_size, image_size), Image.Resampling.BOX)))
        small = _square(Image.fromarray(numbers)).resize((image_size, image_size), Image.Resampling.NEAREST)
        maps.append(np.asarray(small, dtype=np.int64))
    stacked = torch.from_numpy(np.stack(maps))
    seen = [int(value) for value in stacked.unique() if value != -1]
    if len(seen) < 2:
        raise InputError(f"the maps in {folder} hold {len(seen)} label: expected at least 2, or nothing is to be told.")
    labels = torch.full_like(stacked, -1)
    for k, value in enumerate(seen):
        labels[stacked == value] = k
    names = list(table or ())
    classes = tuple(names[value] if names else f"label {value}" for value in seen)
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return images, labels, classes


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Pictures and their maps, by name."""
    for pictures, maps in FOLDERS:
        if (folder / pictures).is_dir() and (folder / maps).is_dir():
            found, known = _by_stem(folder / pictures), _by_stem(folder / maps)
            break
    else:
        files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in PICTURES]
        tiles = [file for file in files if file.stem.endswith("_label")]
        if tiles:  # Potsdam
            known = {file.stem.removesuffix("_label"): file for file in tiles}
            found = {file.stem.removesuffix("_RGB"): file for file in files if file not in tiles}
        else:  # Facades
            known = {file.stem: file for file in files if file.suffix.lower() == ".png"}
            found = {file.stem: file for file in files if file.suffix.lower() != ".png"}
    if not found:
        raise InputError(
            f"{folder} holds no pictures with maps: expected images/ and labels/, or NAME.jpg beside NAME.png, or "
            "NAME_RGB.tif beside NAME_label.tif."
        )
    missing = sorted(found.keys() - known.keys())
    if missing:
        raise InputError(
            f"{len(missing)} of {len(found)} pictures in {folder} have no map, the first is {found[missing[0]].name}: "
            "expected a map with the same stem for each."
        )
    return [(found[stem], known[stem]) for stem in sorted(found)]


def _by_stem(folder: Path) -> dict[str, Path]:
    return {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in PICTURES}


def _open(file: Path) -> Image.Image:
    try:
        picture = Image.open(file)
        picture.load()
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{file} cannot be read as a picture: it may be cut off; get it again.") from error
    return picture


def _square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _table(folder: Path) -> dict[str, tuple[int, int, int]] | None:
    """Label -> colour, of colours.csv or of Potsdam's publisher; None where maps hold numbers."""
    file = folder / "colours.csv"
    if not file.exists():
        return POTSDAM if any(folder.glob("*_label.*")) else None
    rows = list(csv.reader(file.read_text(encoding="utf-8-sig").splitlines()))
    table = {}
    for number, row in enumerate(rows, start=1):
        if number == 1 and not any(cell.strip().isdigit() for cell in row[1:]):
            continue  # a header
        try:
            name, *colour = (cell.strip() for cell in row)
            table[name] = tuple(int(part) for part in colour)
            if len(colour) != 3 or not all(0 <= part <= 255 for part in table[name]):
                raise ValueError
        except ValueError as error:
            raise InputError(
                f"{file}, line {number}: {','.join(row)!r} is no label with a colour: expected "
                "label,red,green,blue with numbers from 0 to 255."
            ) from error
    return table


def _numbers(found: Image.Image, table: dict[str, tuple[int, int, int]] | None, file: Path) -> np.ndarray:
    """A map's labels, int32 (H, W): positions in the table, or the numbers that it holds; -1 for none."""
    if table is None:
        if found.mode not in ("P", "L", "1", "I", "I;16"):
            raise InputError(
                f"{file} is painted in colours, and there is no table of them: put a colours.csv with the lines "
                "label,red,green,blue into the folder."
            )
        numbers = np.asarray(found).astype(np.int32)
        return np.where(numbers == UNLABELLED, -1, numbers).astype(np.int32)
    weights = np.array([65536, 256, 1])
    colours = np.asarray(found.convert("RGB")).astype(np.int64) @ weights
    keys = np.array(list(table.values())) @ weights
    order = keys.argsort()
    at = np.searchsorted(keys, colours, sorter=order).clip(max=len(keys) - 1)
    numbers = order[at]
    wrong = np.argwhere(keys[numbers] != colours)
    if len(wrong):
        row, column = wrong[0]
        red, rest = divmod(int(colours[row, column]), 65536)
        raise InputError(
            f"{file} has the colour ({red}, {rest // 256}, {rest % 256}) at row {row}, column {column}, which is not "
            f"in the table: expected one of {', '.join(map(str, table.values()))}."
        )
    return numbers.astype(np.int32)
