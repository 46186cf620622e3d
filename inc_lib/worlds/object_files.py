"""SVHN, STL-10 and COIL-100 in the layouts of their publishers, as small grey images.

- `svhn` (Netzer et al. 2011): `train_32x32.mat` and `test_32x32.mat`, MATLAB 5 files with X uint8 (32, 32, 3, n) and y
  (n, 1), in which the digit 0 is called 10.
- `stl-10` (Coates et al. 2011), the binary files: `train_X.bin`, `train_y.bin`, `test_X.bin`, `test_y.bin` and
  `class_names.txt`. An image is 3 planes of 96x96 bytes, *column after column*; labels are 1 to 10. The images without
  labels are not read.
- `coil-100` (Nene et al. 1996): a folder of `obj7__350.png`, 128x128: object 1 to 100, and its angle on the turntable
  in steps of 5 degrees. There is no test part.

Written to the publishers' descriptions and tested on small files of those layouts; the sets were not at hand.

Departures: grey by 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), since the models that read these take one channel;
images above 32x32 pixels are brought there by area means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..errors import InputError
from ..files import data_folder

SIDE = 32  # pixels, at most
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
BLOCK = 1_000  # images turned grey at a time: as float32 and in colour STL-10 would be 1.4 GB
DIGITS = tuple("0123456789")
STL = (3, 96, 96)  # planes, columns, rows
COIL_NAME = re.compile(r"obj([1-9]\d*)__(0|[1-9]\d*)\.png")
COIL_SIDE, OBJECTS, STEP = 128, 100, 5

Rows = tuple[NDArray[np.float32], NDArray[np.int64]]


def load(name: str) -> tuple[dict[str, Rows], tuple[str, ...], tuple[int, int]]:
    """One of `NAMES` from its folder, or a folder in it, of the data folder.

    Returns:
        Parts: "train" and, where the publisher has one, "test", each with images float32 (n, H * W) in [0, 1] and
        labels int64 (n,). The names of the classes. (H, W).

    Raises:
        InputError: a file that is absent, cut off, or not what its publisher describes; one sentence.
    """
    parts, classes = NAMES[name](data_folder() / name)
    made = {part: (small.reshape(len(small), -1), labels) for part, (small, labels) in parts.items()}
    return made, classes, (SIDE, SIDE)


def find(name: str, folder: Path, file: str) -> Path:
    """A file in a folder or below it, where an archive unpacks a folder of its own.

    Raises:
        InputError: it is not there; says where it was looked for.
    """
    found = sorted(folder.rglob(file)) if folder.is_dir() else []
    if not found:
        raise InputError(
            f"{name} is not here: expected {file} in {folder} or a folder in it; put its publisher's files there, or "
            "set INC_DATA to the folder above."
        )
    return found[0]


def area_means(images: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Images (n, H, W) as (n, side, side): each pixel the mean of the area that it covers, parts of pixels counted as
    such; 28 to 14 is the mean of 2x2."""
    down, across = (_overlaps(size, side) for size in images.shape[1:])
    return down @ images @ across.T


def _overlaps(size: int, side: int) -> NDArray[np.float32]:
    """How much of each of `side` equal pieces of a line its `size` pixels make up: (side, size), rows sum to 1."""
    edges, pixels = np.arange(side + 1) * size / side, np.arange(size)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (covered.clip(0) * side / size).astype(np.float32)


def _grey(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Colour images (n, H, W, 3) as grey ones (n, SIDE, SIDE) in [0, 1]."""
    made = np.empty((len(images), SIDE, SIDE), dtype=np.float32)
    for at in range(0, len(images), BLOCK):
        grey = images[at : at + BLOCK].astype(np.float32) @ (GREY / 255)
        made[at : at + BLOCK] = area_means(grey, SIDE)
    return made.clip(0, 1)  # 255 times the weights is 1 up to rounding


def _checked(labels: NDArray, n: int, least: int, where: Path) -> NDArray[np.int64]:
    """Ten classes, counted from `least` in the file, one for each of n images."""
    labels = labels.reshape(-1).astype(np.int64)
    if len(labels) != n:
        raise InputError(f"{where} holds {len(labels):,} labels for {n:,} images: expected one each; get it again.")
    if n and not least <= labels.min() <= labels.max() <= least + 9:
        raise InputError(
            f"{where} holds labels from {labels.min()} to {labels.max()}: expected {least} to {least + 9}; get it "
            "again."
        )
    return labels


# --- SVHN ---


def _svhn(folder: Path) -> tuple[dict[str, Rows], tuple[str, ...]]:
    parts = {}
    for part in ("train", "test"):
        path = find("svhn", folder, f"{part}_32x32.mat")
        images, labels = _mat(path)
        labels = _checked(labels, images.shape[3], 1, path)
        parts[part] = _grey(images.transpose(3, 0, 1, 2)), labels % 10  # 10 is the digit 0
    return parts, DIGITS


def _mat(path: Path) -> tuple[NDArray[np.uint8], NDArray]:
    try:
        held = scipy.io.loadmat(path)
    except Exception as error:  # of which there are as many kinds as places where a file can be cut off
        raise InputError(
            f"{path} cannot be read as a MATLAB 5 file: it is damaged or cut off; get it again."
        ) from error
    for name in ("X", "y"):
        if name not in held:
            names = ", ".join(sorted(name for name in held if not name.startswith("__"))) or "nothing"
            raise InputError(f"{path} has no {name!r}: it has {names}; expected X and y, as published.")
    images = held["X"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        raise InputError(
            f"{path} holds X of {images.dtype} and shape {images.shape}: expected uint8 (32, 32, 3, n), the cropped "
            "digits."
        )
    if held["y"].dtype.kind not in "uif" or held["y"].size != max(held["y"].shape, default=0):
        raise InputError(f"{path} holds y of {held['y'].dtype} and shape {held['y'].shape}: expected numbers (n, 1).")
    return images, held["y"]


# --- STL-10 ---


def _stl(folder: Path) -> tuple[dict[str, Rows], tuple[str, ...]]:
    path = find("stl-10", folder, "class_names.txt")
    classes = tuple(path.read_text(encoding="utf-8", errors="replace").split())
    if len(set(classes)) != 10:
        raise InputError(f"{path} names {len(set(classes))} classes: expected ten, a line each; get it again.")
    parts = {}
    for part in ("train", "test"):
        images, labels = (find("stl-10", folder, f"{part}_{letter}.bin") for letter in "Xy")
        held = np.fromfile(images, dtype=np.uint8)
        if len(held) % np.prod(STL):
            raise InputError(
                f"{images} holds {len(held):,} bytes: expected {np.prod(STL):,} for each image; it is cut off, get it "
                "again."
            )
        pictures = held.reshape(-1, *STL).transpose(0, 3, 2, 1)  # columns first in the file
        parts[part] = _grey(pictures), _checked(np.fromfile(labels, dtype=np.uint8), len(pictures), 1, labels) - 1
    return parts, classes


# --- COIL-100 ---


def _coil(folder: Path) -> tuple[dict[str, Rows], tuple[str, ...]]:
    first = find("coil-100", folder, "obj*__*.png")
    views: dict[tuple[int, int], Path] = {}
    for path in sorted(first.parent.glob("*.png")):  # the archive has other files beside them
        told = COIL_NAME.fullmatch(path.name)
        place = (int(told[1]), int(told[2])) if told else (0, 0)
        if not (1 <= place[0] <= OBJECTS and place[1] < 360 and place[1] % STEP == 0):
            raise InputError(
                f"{path} is no view of COIL-100: expected names from obj1__0.png to obj{OBJECTS}__355.png, angles in "
                f"steps of {STEP}; move it elsewhere."
            )
        views[place] = path
    _complete(views, first.parent)
    objects = sorted({k for k, _ in views})
    order = sorted(views)
    labels = np.array([objects.index(k) for k, _ in order])
    return {"train": (np.concatenate(list(_small(views[place] for place in order))), labels)}, tuple(
        f"object {k}" for k in objects
    )


def _complete(views: Iterable[tuple[int, int]], folder: Path) -> None:
    """All objects from the same angles, and at least two: else something was lost."""
    views = set(views)
    objects, angles = sorted({k for k, _ in views}), sorted({angle for _, angle in views})
    absent = [(k, angle) for k in objects for angle in angles if (k, angle) not in views]
    if absent:
        raise InputError(
            f"{folder} has no obj{absent[0][0]}__{absent[0][1]}.png, though other objects are seen from there: "
            f"{len(absent):,} of {len(objects) * len(angles):,} views are missing; unpack the archive again."
        )
    if len(objects) < 2:
        raise InputError(f"{folder} holds one object only: expected {OBJECTS}; unpack the archive again.")


def _small(paths: Iterable[Path]) -> Iterable[NDArray[np.float32]]:
    for path in paths:
        try:
            with Image.open(path) as file:
                image = np.asarray(file.convert("RGB"))
        except (OSError, SyntaxError, UnidentifiedImageError) as error:  # Pillow calls a broken .png a SyntaxError
            raise InputError(f"{path} cannot be read as an image: it is damaged or cut off; get it again.") from error
        if image.shape[:2] != (COIL_SIDE, COIL_SIDE):
            raise InputError(
                f"{path} is {image.shape[1]}x{image.shape[0]} pixels: expected {COIL_SIDE}x{COIL_SIDE}, as published."
            )
        yield _grey(image[None])


NAMES: dict[str, Callable[[Path], tuple[dict[str, Rows], tuple[str, ...]]]] = {
    "svhn": _svhn,
    "stl-10": _stl,
    "coil-100": _coil,
}
