"""Published data sets, read from their published files. `python -m inc_lib.worlds fetch NAME` downloads them.

- dSprites (Matthey et al. 2017), an .npz: 737,280 binary images of 64x64.
- 3D Shapes (Burgess & Kim 2018), an .h5: 480,000 images of 64x64x3.
- MPI3D (Gondal et al. 2019), .npz of 12.7 GB: 1,036,800 images of 64x64x3, read in place.
- MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017), idx files: 60,000 + 10,000 images of 28x28.
"""
from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError, suggest
from ..files import data_folder
from .arrays import ArrayWorld
from .base import Factor
from .fetch import Remote, remotes
from .mpi3d import FACTORS as MPI3D  # the grid of the published set; its twin has the same
from .storage import H5Member, NpzMember, h5_open, npz_keys, settle

NAMES: dict[str, str] = {
    "dsprites": "dSprites, published: 737,280 binary sprites, 6 factors",
    "shapes3d": "3D Shapes, published: 480,000 rooms with an object, 6 factors",
    "mpi3d-real": "MPI3D, published: 1,036,800 photographs of a robot arm, 7 factors",
    "mpi3d-realistic": "MPI3D, published: the same scenes, rendered realistically",
    "mpi3d-toy": "MPI3D, published: the same scenes, rendered simply",
    "mnist": "MNIST, published: 60,000 training images of digits, 1 factor",
    "mnist-test": "MNIST, published: its 10,000 test images",
    "fashion-mnist": "Fashion-MNIST, published: 60,000 training images of clothes, 1 factor",
    "fashion-mnist-test": "Fashion-MNIST, published: its 10,000 test images",
}
SHAPES3D = (("floor hue", "cyclic"), ("wall hue", "cyclic"), ("object hue", "cyclic"), ("scale", "ordered"),
            ("shape", "categorical"), ("orientation", "ordered"))
DSPRITES = (("colour", "categorical"), ("shape", "categorical"), ("scale", "ordered"),
            ("orientation", "cyclic"), ("position x", "ordered"), ("position y", "ordered"))
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker",
                      "bag", "ankle boot"),
}
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load(name: str, *, image_size: int = 64) -> ArrayWorld:
    """A published data set by name.

    Args:
        name: one of `NAMES`.
        image_size: pixels on a side of the observations, 32 or 64.

    Raises:
        InputError: unknown name, or a file that is missing, cut off or not what it should be.
    """
    if name not in NAMES:
        raise suggest("published world", name, NAMES)
    if "mnist" in name:
        return _idx_world(name, image_size)
    (remote, path), = locate(name)
    if path is None:
        raise _missing(name, remote)
    if name == "dsprites":
        return _dsprites(path, image_size)
    if name == "shapes3d":
        return _shapes3d(path, image_size)
    return _mpi3d(name, path, image_size)


def locate(name: str) -> list[tuple[Remote, Path | None]]:
    """Each file that a world reads, and where it is; None if it is not here."""
    split = "t10k-" if name.endswith("-test") else "train-"
    files = remotes(name)
    if len(files) > 1:                             # the MNIST family: images and labels of one split
        files = [remote for remote in files if Path(remote.path).name.startswith(split)]
    return [(remote, remote.find()) for remote in files]


def _missing(name: str, remote: Remote) -> InputError:
    return InputError(f"{name} is not here: expected its file at {data_folder() / remote.path}; get it from "
                      f"{remote.url} by `python -m inc_lib.worlds fetch {name}`, or set INC_DATA to the "
                      "folder that holds it.")


def _factors(values: np.ndarray, kinds: Sequence[tuple[str, str]], words: dict[str, dict[float, str]],
             ) -> tuple[np.ndarray, list[Factor]]:
    """Columns of published values to attribute indices and factors; `words` names the codes of a factor."""
    labels, factors = np.empty(values.shape, np.int64), []
    for i, (name, kind) in enumerate(kinds):
        distinct, labels[:, i] = np.unique(values[:, i], return_inverse=True)
        spoken = words.get(name, {})
        factors.append(Factor(name, tuple(spoken.get(float(v), float(v)) for v in distinct), kind))
    return labels, factors


def _check_shape(where: str, found: tuple[int, ...], expected: tuple[int | None, ...]) -> None:
    """The published shape, None standing for any number."""
    if len(found) != len(expected) or any(e not in (None, f) for f, e in zip(found, expected, strict=True)):
        shown = ", ".join("n" if e is None else str(e) for e in expected)
        raise InputError(f"{where} has the shape {found}: the published file has ({shown}); fetch it again, "
                         "or load your own data by their path instead of this name.")


def _check_keys(path: Path, found: list[str], expected: Sequence[str]) -> None:
    absent = [key for key in expected if key not in found]
    if absent:
        raise InputError(f"{path} has no {absent[0]!r}: it has {', '.join(map(repr, found)) or 'nothing'}, "
                         f"but the published file has {', '.join(map(repr, expected))}; fetch it again.")


def _partly(n: int, full: int) -> list[str]:
    return [] if n == full else [f"the file holds {n:,} of the {full:,} published images."]


def _dsprites(path: Path, image_size: int) -> ArrayWorld:
    keys = ("imgs", "latents_classes", "latents_values")   # `metadata` is a pickle: never read
    _check_keys(path, npz_keys(path), keys)
    images, values = NpzMember(path, "imgs"), NpzMember(path, "latents_values")
    _check_shape(images.where, images.shape, (None, 64, 64))
    _check_shape(values.where, values.shape, (images.shape[0], 6))
    words = {"colour": {1.0: "white"}, "shape": {1.0: "square", 2.0: "ellipse", 3.0: "heart"}}
    labels, factors = _factors(values.read(), DSPRITES, words)
    return ArrayWorld(name="dsprites", source="published", images=settle(images, image_size, binary=True),
                      labels=labels, factors=factors, image_size=image_size,
                      notes=_partly(images.shape[0], 737_280))


def _shapes3d(path: Path, image_size: int) -> ArrayWorld:
    file = h5_open(path)
    _check_keys(path, list(file), ("images", "labels"))
    images = H5Member(path, file["images"])
    _check_shape(images.where, images.shape, (None, 64, 64, 3))
    _check_shape(f"{path}, dataset 'labels'", file["labels"].shape, (images.shape[0], 6))
    words = {"shape": {0.0: "cube", 1.0: "cylinder", 2.0: "sphere", 3.0: "capsule"}}
    labels, factors = _factors(np.concatenate(list(H5Member(path, file["labels"]).blocks())), SHAPES3D, words)
    return ArrayWorld(name="shapes3d", source="published", images=settle(images, image_size, binary=False),
                      labels=labels, factors=factors, image_size=image_size,
                      notes=_partly(images.shape[0], 480_000))


def _mpi3d(name: str, path: Path, image_size: int) -> ArrayWorld:
    _check_keys(path, npz_keys(path), ("images",))
    images = NpzMember(path, "images")
    sizes = tuple(factor.size for factor in MPI3D)
    _check_shape(images.where, images.shape, (math.prod(sizes), 64, 64, 3))   # in the grid's order
    labels = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), 1)
    return ArrayWorld(name=name, source="published", images=settle(images, image_size, binary=False),
                      labels=labels, factors=MPI3D, image_size=image_size)


# --- idx ---


def _idx_world(name: str, image_size: int) -> ArrayWorld:
    found = dict(locate(name))
    for remote, path in found.items():
        if path is None:
            raise _missing(name, remote)
    images_path, labels_path = found.values()
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.ndim != 3:
        raise InputError(f"{images_path} holds {images.dtype} values of shape {images.shape}: expected uint8 "
                         "images of shape (n, height, width).")
    if labels.shape != images.shape[:1]:
        raise InputError(f"{labels_path} holds labels of shape {labels.shape} for {len(images):,} images in "
                         f"{images_path}: expected one each; the two files do not belong together.")
    classes = CLASSES[name.removesuffix("-test")]
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise InputError(f"{labels_path} holds labels from {labels.min()} to {labels.max()}: expected 0 to "
                         f"{len(classes) - 1}.")
    full = 10_000 if name.endswith("-test") else 60_000
    return ArrayWorld(name=name, source="published", images=images[..., None], labels=labels[:, None],
                      factors=[Factor("class", classes)], image_size=image_size,
                      notes=_partly(len(images), full))


def read_idx(path: Path) -> np.ndarray:
    """An array from an idx file, packed (.gz) or not. Format: http://yann.lecun.com/exdb/mnist, last section.

    Raises:
        InputError: not an idx file, or one that is cut off.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked ({error}): it is damaged or cut off; get it "
                         "again.") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or len(data) < 4 + 4 * data[3]:
        raise InputError(f"{path} is not an idx file: it begins with {data[:4].hex() or 'nothing'}, expected "
                         "0000, a type and a number of dimensions.")
    shape = tuple(np.frombuffer(data, ">u4", data[3], 4).tolist())
    kind, start = np.dtype(IDX_TYPES[data[2]]), 4 + 4 * data[3]
    if len(data) - start != math.prod(shape) * kind.itemsize:
        raise InputError(f"{path} holds {len(data) - start:,} bytes after its header: "
                         f"{math.prod(shape) * kind.itemsize:,} expected for the shape {shape}; it is "
                         "damaged or cut off, get it again.")
    return np.frombuffer(data, kind, offset=start).reshape(shape)
