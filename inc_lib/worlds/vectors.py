"""Observations as vectors, with classes that are used to judge and never to learn; a training and a test part.

- `pendigits`: 10,992 digits written with a pen on a tablet (Alpaydin and Alimoglu 1998, UCI), eight points each: 16
  numbers x, y in turn, y upwards. The publisher's parts: 7,494 by 30 writers, 3,498 by 14 others.
- `mnist`, `fashion-mnist`: the published images of 28x28, read by `worlds.published`, with the publishers' parts.
- `digits`: 1,797 optical digits of 8x8 (Alpaydin and Kaynak 1998, UCI), as scikit-learn brings them along: no download.
- `svhn`, `stl-10`, `coil-100`: grey images, read by `worlds.object_files`; the last has no part to test on.
- `pbmc3k`, `pbmc68k-reduced`: genes in blood cells, read by `worlds.cells`; no part to test on, and labels of the first
  only if you bring them.
- yours: an .npz with `vectors` (n, d) and maybe `labels` (n,), `test_vectors`, `test_labels`; or a .csv, each column
  a feature, one called `label` maybe. Without a test part, a fifth of the rows is kept for it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError, suggest
from ..files import data_folder
from .base import Factor

NAMES = ("pendigits", "mnist", "fashion-mnist", "digits", "svhn", "stl-10", "coil-100", "pbmc3k", "pbmc68k-reduced")
SPLIT_SEED = 0  # which rows are the test part where the publisher has none
HELD_OUT = 0.2  # share of them
PENDIGITS = {"train": ("pendigits.tra", 7_494), "test": ("pendigits.tes", 3_498)}
SCALES = ("none", "range")


@dataclass(frozen=True, eq=False)
class Part:
    """Some observations.

    Attributes:
        vectors: float32 (n, d), in [0, 1].
        labels: int64 (n,), or None where there are none.
    """

    vectors: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.vectors)

    def first(self, n: int) -> Part:
        """The first n of them."""
        return Part(self.vectors[:n], None if self.labels is None else self.labels[:n])


@dataclass(frozen=True, eq=False)
class VectorWorld:
    """Observations to cluster.

    Attributes:
        name, source: "published" or "yours".
        train, test: two parts; the labels of neither are for training.
        classes: what the labels are called; empty where there are none.
        shape: of an observation as one looks at it: (8, 2) for a pen's path, (28, 28) for an image, (d,) otherwise.
    """

    name: str
    source: str
    train: Part
    test: Part
    classes: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The class, if there are labels."""
        return (Factor("class", self.classes),) if self.classes else ()

    @property
    def n_features(self) -> int:
        return self.train.vectors.shape[1]

    @property
    def kind(self) -> str:
        """How an observation is drawn: "strokes", "image" or "curve"."""
        return {1: "curve", 2: "strokes" if self.shape[-1] == 2 else "image"}[len(self.shape)]

    def describe(self) -> str:
        """One paragraph: what this is."""
        classes = f"{len(self.classes)} classes" if self.classes else "no labels"
        return (
            f"{self.name} ({self.source}): {len(self.train):,} observations to train on, {len(self.test):,} to test "
            f"on, {self.n_features} features each, {classes}."
        )


def load(dataset: str = "auto", *, scale: str = "none", constants: bool = False) -> VectorWorld:
    """Vectors by name, or your own by path.

    Args:
        dataset: one of `NAMES`; "auto", "pendigits" where its files are at hand and else "digits"; or the path of an
            .npz or .csv.
        scale: of your own: "none", if they lie in [0, 1]; "range" to bring each feature there by its least and largest
            value in the training part (the test part is cut off at 0 and 1).
        constants: whether a feature of your own may be the same in every row, as a pixel at the edge of an image is.

    Raises:
        InputError: no such name and no such path, or data that cannot be used: one sentence with what was found.
    """
    if scale not in SCALES:
        raise suggest("scale", scale, SCALES)
    if dataset == "auto":
        dataset = "pendigits" if _pendigits("train").is_file() else "digits"
    if dataset == "pendigits":
        parts = {part: read_pendigits(_pendigits(part)) for part in PENDIGITS}
        return _world(dataset, "published", parts, tuple("0123456789"), (8, 2))
    if dataset in ("mnist", "fashion-mnist"):
        return _images(dataset)
    if dataset == "digits":
        from sklearn.datasets import load_digits

        found = load_digits()
        return _world(
            dataset,
            "published",
            _split(found.data / 16, found.target),
            tuple("0123456789"),
            (8, 8),
        )
    if dataset in ("pbmc3k", "pbmc68k-reduced"):
        return _cells(dataset)
    if dataset in NAMES:
        return _objects(dataset)
    if not (Path(dataset).suffix or "/" in dataset or "\\" in dataset or Path(dataset).exists()):
        raise suggest("set of vectors", dataset, ("auto", *NAMES))
    return _own(Path(dataset).expanduser(), scale, constants)


Rows = tuple[NDArray, NDArray | None]  # vectors (n, d), labels (n,)


def _world(
    name: str, source: str, parts: dict[str, Rows], classes: Sequence[str], shape: tuple[int, ...]
) -> VectorWorld:
    made = {
        part: Part(
            torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)),
            None if labels is None else torch.from_numpy(labels.astype(np.int64)),
        )
        for part, (vectors, labels) in parts.items()
    }
    return VectorWorld(name, source, made["train"], made["test"], tuple(classes), shape)


def _split(vectors: NDArray, labels: NDArray | None) -> dict[str, Rows]:
    """A fifth of the rows, by a fixed lot, as the test part."""
    n = vectors.shape[0]
    order = np.random.default_rng(SPLIT_SEED).permutation(n)
    n_test = round(HELD_OUT * n)
    rows = {"train": np.sort(order[n_test:]), "test": np.sort(order[:n_test])}
    return {part: (vectors[at], None if labels is None else labels[at]) for part, at in rows.items()}


# --- published ---


def _pendigits(part: str) -> Path:
    return data_folder() / "pendigits" / PENDIGITS[part][0]


def read_pendigits(path: Path) -> Rows:
    """Rows of 16 whole numbers from 0 to 100 and the digit: vectors float64 (n, 16) in [0, 1], labels int64 (n,).

    The digit is written as such, or as ten zeros and ones of which the digit's is one; both are in circulation.

    Raises:
        InputError: no file, or a line that holds something else.
    """
    if not path.is_file():
        raise InputError(
            f"pendigits is not here: expected {path.name} in {path.parent}; put the UCI files there, set INC_DATA to "
            "the folder above it, or use dataset='digits', which needs no file."
        )
    vectors, labels = [], []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = [word.strip() for word in line.split(",")]
        if words == [""]:
            continue
        label = words[-1].index("1") if len(words[-1]) == 10 and words[-1].count("1") == 1 else words[-1]
        try:
            row = [int(word) for word in (*words[:-1], label)]
        except ValueError:
            row = []
        if len(row) != 17 or not all(0 <= value <= 100 for value in row[:-1]) or not 0 <= row[-1] <= 9:
            raise InputError(
                f"{path}, line {number} is {line[:60]!r}: expected 16 whole numbers from 0 to 100 and a digit; get "
                "the file again."
            )
        vectors.append(row[:-1])
        labels.append(row[-1])
    if not vectors:
        raise InputError(f"{path} is empty: expected a line for each digit; get the file again.")
    return np.array(vectors) / 100, np.array(labels)


def _images(name: str) -> VectorWorld:
    from . import published

    parts, classes = {}, ()
    for part, full in (("train", name), ("test", f"{name}-test")):
        images = published.load(
            full, image_size=32
        )  # only its checked files are used, not its padded observations
        parts[part] = images.images.reshape(len(images.images), -1) / np.float32(255), images.labels[:, 0]
        classes, shape = images.factors[0].values, images.images.shape[1:3]
    return _world(name, "published", parts, classes, shape)


def _objects(name: str) -> VectorWorld:
    from . import object_files

    parts, classes, shape = object_files.load(name)
    return _world(name, "published", parts if "test" in parts else _split(*parts["train"]), classes, shape)


def _cells(name: str) -> VectorWorld:
    from . import cells

    folder = data_folder() / name
    read = cells.read(folder) if name == "pbmc3k" else cells.read_reduced(cells.reduced_file(folder))
    parts = _split(*read)  # of sparse rows: all genes of all cells would fill a laptop
    kept = cells.most_variable(parts["train"][0])
    parts = {part: (table[:, kept].toarray(), labels) for part, (table, labels) in parts.items()}
    classes, parts = _numbered(_normalised(folder, parts, "range"))
    return _world(name, "published", parts, classes, (len(kept),))


# --- yours ---


def _own(path: Path, scale: str, constants: bool) -> VectorWorld:
    if not path.is_file():
        raise InputError(f"{path} does not exist: expected an .npz with `vectors`, or a .csv.")
    if path.suffix not in (".npz", ".csv"):
        raise InputError(f"{path} cannot be read as vectors: expected an .npz with `vectors`, or a .csv.")
    parts = _read_npz(path) if path.suffix == ".npz" else {"train": _read_csv(path)}
    for part, (vectors, labels) in parts.items():
        _check(f"{path}, {'`test_vectors`' if part == 'test' else 'vectors'}", vectors, labels)
    if "test" not in parts:
        parts = _split(*parts["train"])
    elif parts["test"][0].shape[1] != parts["train"][0].shape[1]:
        raise InputError(
            f"{path}: vectors have {parts['train'][0].shape[1]} features and `test_vectors` "
            f"{parts['test'][0].shape[1]}: expected as many."
        )
    parts = _normalised(path, parts, scale, constants)
    classes, parts = _numbered(parts)
    return _world(path.stem, "yours", parts, classes, (parts["train"][0].shape[1],))


def _read_npz(path: Path) -> dict[str, Rows]:
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as an .npz ({str(error).splitlines()[0]}).") from error
    if "vectors" not in held:
        raise InputError(
            f"{path} has no `vectors`: it has {', '.join(held) or 'nothing'}; expected (n, d) numbers."
        )
    parts = {"train": (held["vectors"], held.get("labels"))}
    if "test_vectors" in held:
        parts["test"] = held["test_vectors"], held.get("test_labels")
        if (parts["test"][1] is None) != (parts["train"][1] is None):
            raise InputError(
                f"{path} labels one part and not the other: expected `labels` and `test_labels`."
            )
    return parts


def _read_csv(path: Path) -> Rows:
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{path} cannot be read as a csv ({str(error).splitlines()[0]}).") from error
    labels = table.pop("label").to_numpy() if "label" in table.columns else None
    for column in table.columns:
        numeric = pd.to_numeric(table[column], errors="coerce")
        if (bad := numeric.isna()).any():
            line = int(bad.to_numpy().argmax()) + 2
            raise InputError(
                f"{path}, line {line}, column {column!r}: found {table[column].iloc[line - 2]!r}, expected a number "
                "(the class goes into a column called `label`)."
            )
        table[column] = numeric
    return table.to_numpy(np.float64), labels


def _check(where: str, vectors: NDArray, labels: NDArray | None) -> None:
    """Numbers, finite, each feature varying, a label each."""
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or len(vectors) < 10:
        raise InputError(
            f"{where} are {vectors.dtype} of shape {vectors.shape}: expected numbers (n, d), n at least 10."
        )
    if not np.isfinite(vectors).all():
        row, column = np.argwhere(~np.isfinite(vectors))[0]
        raise InputError(
            f"{where} hold {vectors[row, column]} in row {row}, feature {column}: expected finite numbers."
        )
    if labels is not None and labels.shape != (len(vectors),):
        raise InputError(
            f"{where}: {len(vectors):,} vectors, but labels of shape {labels.shape}: expected one label each."
        )


def _normalised(
    path: Path, parts: dict[str, Rows], scale: str, constants: bool = False
) -> dict[str, Rows]:
    """All features in [0, 1], or a sentence that says which is not."""
    train = parts["train"][0]
    low, high = train.min(0), train.max(0)
    constant = low == high
    if constant.all() if constants else constant.any():
        at = int(constant.argmax())
        raise InputError(
            f"{path}: feature {at} is {low[at]:g} in every training row: a constant tells no clusters apart and has "
            "no range; leave that column out."
        )
    if scale == "range":
        return {
            part: (((vectors - low) / (high - low)).clip(0, 1), labels)
            for part, (vectors, labels) in parts.items()
        }
    for vectors, _ in parts.values():
        if vectors.min() < 0 or vectors.max() > 1:
            at = int(np.maximum(-vectors.min(0), vectors.max(0)).argmax())
            raise InputError(
                f"{path}: feature {at} runs from {vectors[:, at].min():g} to {vectors[:, at].max():g}, but the "
                "generator draws numbers from 0 to 1: normalise the vectors, or give scale='range'."
            )
    return parts


def _numbered(parts: dict[str, Rows]) -> tuple[tuple[str, ...], dict[str, Rows]]:
    """Labels of any kind as numbers, and what they are called."""
    if parts["train"][1] is None:
        return (), parts
    names = np.unique(np.concatenate([labels.astype(str) for _, labels in parts.values()]))
    return tuple(names.tolist()), {
        part: (vectors, np.searchsorted(names, labels.astype(str)))
        for part, (vectors, labels) in parts.items()
    }
