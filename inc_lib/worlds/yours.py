"""Your own data: a folder of images, .npz, .h5 or parquet, with or without factors, checked at the door.

Each reader gives images (a `Source`, or files to decode) and columns of values; `tabulate` turns columns into
factors. The page "Your own data" of the book shows the formats with examples.
"""
from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from .arrays import ArrayWorld
from .base import Factor
from .columns import Columns, gap, tabulate
from .storage import H5Member, Images, NpzMember, cached_array, fit_uint8, gather, h5_open, npz_keys, settle

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
FORMATS = "a folder of images (with or without factors.csv), an .npz, an .h5, a .parquet or a folder of these"
SLOW = 5_000          # encoded images from which on the decoded ones are kept in the cache
DECODE = 256          # encoded images decoded at a time

Encoded = Callable[[], Iterator[tuple[str, Path | bytes]]]      # starts a stream of (name, file or its bytes)


def load(path: str | Path, *, image_size: int = 64) -> ArrayWorld:
    """The world in a file or folder of your own.

    Args:
        path: a folder of images, an .npz, an .h5, a .parquet or a folder of these.
        image_size: pixels on a side of the observations, 32 or 64.

    Raises:
        InputError: what was found, where, and what to do.
    """
    path = Path(path).expanduser()
    if not path.exists():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], n=1) \
            if path.parent.is_dir() else []
        hint = f"; did you mean {path.parent / near[0]}?" if near else f": expected {FORMATS}."
        raise InputError(f"{path} does not exist{hint}")
    if path.is_dir():
        return _folder(path, image_size)
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes): get or save it again.")
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _npz(path, image_size)
    if suffix in (".h5", ".hdf5"):
        return _h5(path, image_size)
    if suffix in (".parquet", ".pq"):
        return _parquet(path, [path], image_size)
    if path.name == "factors.csv":
        return _folder(path.parent, image_size)
    raise InputError(f"{path} cannot be read as a dataset: expected {FORMATS}.")


# --- a folder of images ---


def _folder(path: Path, image_size: int) -> ArrayWorld:
    table = path / "factors.csv"
    if table.exists():
        return _images(path, *_factors_csv(table), image_size=image_size)
    tables = sorted(p for p in path.rglob("*.parquet") if not p.name.startswith("."))
    if tables:
        return _parquet(path, tables, image_size)
    files = _image_files(path)
    if files:
        notes = []
        other = sorted(p.name for p in path.glob("*.csv"))
        if other:
            notes.append(f"{other[0]} is not read: factors are expected in a file named factors.csv.")
        folders = sorted({p.relative_to(path).parts[0] for p in files if p.parent != path})
        if len(folders) > 1:
            some = ", ".join(folders[:3]) + ", ..." * (len(folders) > 3)
            notes.append(f"the {len(folders)} subfolders ({some}) are not used as classes: list the files in "
                         "a factors.csv for that.")
        return _images(path, files, {}, notes, image_size=image_size)
    whole = [p.name for p in sorted(path.iterdir()) if p.suffix.lower() in (".npz", ".h5", ".hdf5")]
    hint = f"give the path of one file, such as {path / whole[0]}" if whole else f"expected {FORMATS}"
    if next(path.rglob("*.arrow"), None):
        hint = "arrow files are not read, save the dataset with to_parquet"
    raise InputError(f"the folder {path} holds no images: {hint}.")


def _image_files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*")
                  if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))


def _factors_csv(table: Path) -> tuple[list[Path], dict[str, list[str]], list[str]]:
    """Files, columns and notes of a factors.csv: the first column names files, each other one is a factor."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is not UTF-8 text (byte {error.start}): save it as CSV UTF-8.") from error
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if "".join(row).strip()]
    if len(rows) < 2:
        raise InputError(f"{table} has no rows: expected a header such as 'file,shape,colour' and a line per "
                         "image.")
    names = rows[0][1]
    if "" in names or len(set(names)) < len(names):
        raise InputError(f"{table} has the header {names}: expected a different name for each column.")
    notes, seen = [], {}
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise InputError(f"{table}, line {line} has {len(row)} fields: the header has {len(names)}.")
        if "" in row:
            raise InputError(f"{table}, line {line} has no value in column {names[row.index('')]!r}: fill "
                             "the gap or remove the line.")
        name = row[0].replace("\\", "/")
        if name not in seen:
            seen[name] = (line, row)
        elif seen[name][1][1:] != row[1:]:
            raise InputError(f"{table} names {name!r} in line {seen[name][0]} and again in line {line} with "
                             "other values: keep one of the two.")
    repeated = len(rows) - 1 - len(seen)
    if repeated:
        notes.append(f"{repeated} repeated line{'s' * (repeated > 1)} of factors.csv "
                     f"{'are' if repeated > 1 else 'is'} ignored.")
    files = [table.parent / name for name in seen]
    absent = [name for name, file in zip(seen, files, strict=True) if not file.is_file()]
    if absent:
        also = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise InputError(f"{table}, line {seen[absent[0]][0]} names the file {absent[0]!r}{also}, which the "
                         f"folder {table.parent} does not hold: add the image or remove the row.")
    unlisted = len(set(_image_files(table.parent)) - set(files))
    if unlisted:
        notes.append(f"{unlisted:,} image{'s' * (unlisted > 1)} that factors.csv does not name "
                     f"{'are' if unlisted > 1 else 'is'} left out.")
    columns = {name: [row[j] for _, row in seen.values()] for j, name in enumerate(names) if j}
    return files, columns, notes


def _images(path: Path, files: list[Path], columns: Columns, notes: list[str], *,
            image_size: int) -> ArrayWorld:
    def encoded() -> Iterator[tuple[str, Path]]:
        return ((str(file), file) for file in files)

    labels, factors, more = tabulate(columns, len(files), str(path / "factors.csv"))
    images = _decoded(encoded, len(files), image_size, paths=files, where=str(path))
    return _world(path, images, labels, factors, [*notes, *more], image_size)


# --- encoded images: files and parquet ---


def _decoded(encoded: Encoded, n: int, image_size: int, *, paths: Sequence[Path], where: str) -> np.ndarray:
    """Decode n images once, to one size: uint8 (n, height, width, channels).

    Images of one size that are not larger than the observations stay as they are, others are fitted to them.

    Args:
        encoded: starts a stream of (name, file or bytes).
        paths: the files they come from, for the cache.
        where: opens sentences on all of them.
    """
    if n < 2:
        raise InputError(f"{where} holds {n} image{'s' * (n != 1)}: a dataset needs at least 2.")
    tag = f"{where} {image_size}"
    cached = cached_array(paths, tag) if n >= SLOW else None
    if cached is not None:
        return cached
    sizes, colour, first = set(), False, None
    for name, item in encoded():
        (width, height), mode = _header(name, item)
        colour |= mode not in ("1", "L", "LA", "I;16", "I")
        sizes.add((height, width))
        if first is None:
            first = (name, height, width)
        elif abs(width * first[1] - height * first[2]) > max(first[1], first[2], width, height):
            raise InputError(f"{name} is {width}x{height} pixels, but {first[0]} is {first[2]}x{first[1]}: "
                             "images may differ in size, not in shape; crop or pad them to one aspect ratio.")
    height, width = first[1:]
    native = len(sizes) == 1 and height * width <= image_size ** 2
    channels = 3 if colour else 1
    shape = (n, height, width, channels) if native else (n, image_size, image_size, channels)

    def blocks() -> Iterator[np.ndarray]:
        batch = []
        for name, item in encoded():
            pixels = _pixels(name, item, colour)[None]
            batch.append(pixels if native else fit_uint8(pixels, image_size))
            if len(batch) == DECODE:
                yield np.concatenate(batch)
                batch = []
        if batch:
            yield np.concatenate(batch)

    return gather(blocks, shape, paths=paths, tag=tag, always_cache=n >= SLOW)


def _header(name: str, item: Path | bytes) -> tuple[tuple[int, int], str]:
    """Size (width, height) and mode of an encoded image, without decoding it."""
    from PIL import Image

    try:
        with Image.open(item if isinstance(item, Path) else io.BytesIO(item)) as image:
            if image.mode == "F":
                raise InputError(f"{name} holds floating-point pixels: save it with 8 bits per channel.")
            return image.size, image.mode
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name} is not an image that can be read: it is damaged, cut off or something else "
                         "under an image's name; replace or remove it.") from error


def _pixels(name: str, item: Path | bytes, colour: bool) -> np.ndarray:
    """A decoded image, uint8 (height, width, 3 or 1). Transparent parts are shown on white."""
    from PIL import Image

    try:
        with Image.open(item if isinstance(item, Path) else io.BytesIO(item)) as image:
            if image.mode in ("I;16", "I"):
                image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            pixels = np.asarray(image.convert("RGB" if colour else "L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name} cannot be decoded ({error}): it is damaged or cut off; replace or remove "
                         "it.") from error
    return pixels if colour else pixels[..., None]


# --- .npz ---


def _npz(path: Path, image_size: int) -> ArrayWorld:
    keys = npz_keys(path)
    if "images" not in keys:
        raise _no_images(path, "field", keys)
    source = NpzMember(path, "images")
    key = _only_one(path, [key for key in ("factors", "labels") if key in keys])
    columns: dict[str, np.ndarray] = {}
    if key:
        names = NpzMember(path, "names").read() if "names" in keys else None
        where = f"{path}, field {key!r}"
        columns = _columns(NpzMember(path, key).read(), names, where)
        if "attributes" in keys and len(columns) == 1:          # as `clustering.write_dataset` writes them
            words = [str(word) for word in np.ravel(NpzMember(path, "attributes").read())]
            columns = {name: _spoken(values, words, where) for name, values in columns.items()}
    labels, factors, notes = tabulate(columns, source.shape[0] if source.shape else 0, str(path))
    return _world(path, settle(source, image_size), labels, factors, notes, image_size)


# --- .h5 ---


def _h5(path: Path, image_size: int) -> ArrayWorld:
    import h5py

    file = h5_open(path)
    keys = [key for key, item in file.items() if isinstance(item, h5py.Dataset)]
    if "images" not in keys:
        raise _no_images(path, "dataset", keys)
    source = H5Member(path, file["images"])
    key = _only_one(path, [key for key in ("labels", "factors") if key in keys])
    columns: dict[str, np.ndarray] = {}
    if key:
        columns = _columns(_h5_values(file[key]), _h5_names(file, file[key]), f"{path}, dataset {key!r}")
    labels, factors, notes = tabulate(columns, source.shape[0] if source.shape else 0, str(path))
    return _world(path, settle(source, image_size), labels, factors, notes, image_size)


def _h5_values(dataset) -> np.ndarray:
    """A dataset of numbers or strings as an array."""
    import h5py

    try:
        return dataset.asstr()[()].astype(str) if h5py.check_string_dtype(dataset.dtype) else dataset[()]
    except (OSError, TypeError) as error:
        raise InputError(f"{dataset.file.filename}, dataset {dataset.name.lstrip('/')!r} cannot be read "
                         f"({error}): it is damaged, or neither numbers nor strings.") from error


def _h5_names(file, labels) -> np.ndarray | None:
    """Factor names: an attribute `names` of the labels or of the file, or a dataset `names`."""
    for place in (labels.attrs, file.attrs):
        if "names" in place:
            return np.atleast_1d(place["names"])
    return _h5_values(file["names"]) if "names" in file else None


# --- parquet ---


def _parquet(path: Path, files: list[Path], image_size: int) -> ArrayWorld:
    """A table with one column of encoded images: bytes, or Hugging Face's struct of bytes and path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schemas = [pq.read_schema(file) for file in files]
        rows = [pq.ParquetFile(file).metadata.num_rows for file in files]
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as parquet ({str(error).splitlines()[0]}): it is damaged, "
                         "cut off or something else.") from error
    schema, n = schemas[0], sum(rows)
    for file, other in zip(files, schemas, strict=True):
        if other.names != schema.names:
            raise InputError(f"{file} has the columns {other.names}, but {files[0]} has {schema.names}: give "
                             "the path of the files that belong together.")
    image = _image_column(path, schema)
    plain = [field.name for field in schema if field.name != image and _is_plain(field.type)]
    skipped = [name for name in schema.names if name != image and name not in plain]
    notes = [f"column {name!r} is left out: it holds neither numbers nor strings." for name in skipped]
    tables = [pq.read_table(file, columns=plain) for file in files]
    table = pa.concat_tables(tables, promote_options="permissive")
    names = _class_names(schema)
    columns = {name: _arrow_values(table[name], names.get(name), f"{path}, column {name!r}")
               for name in plain}
    labels, factors, more = tabulate(columns, n, str(path))

    def encoded() -> Iterator[tuple[str, bytes]]:
        for file in files:
            start = 0
            for batch in pq.ParquetFile(file).iter_batches(DECODE, columns=[image]):
                for i, item in enumerate(batch.column(0).to_pylist(), start):
                    data = item.get("bytes") if isinstance(item, dict) else item
                    if not data:
                        raise InputError(f"{file}, column {image!r} holds no image in row {i + 1}: the file "
                                         "must hold the images' bytes, not only paths.")
                    yield f"{file}, column {image!r}, row {i + 1}", data
                start += len(batch)

    images = _decoded(encoded, n, image_size, paths=files, where=str(path))
    return _world(path, images, labels, factors, [*notes, *more], image_size)


def _image_column(path: Path, schema) -> str:
    """The column of encoded images: the only one of bytes, or of these the one named image."""
    import pyarrow as pa

    def holds_bytes(kind) -> bool:
        if pa.types.is_struct(kind):
            return any(field.name == "bytes" and holds_bytes(field.type) for field in kind)
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    candidates = [field.name for field in schema if holds_bytes(field.type)]
    if len(candidates) > 1 and "image" in candidates:
        return "image"
    if len(candidates) != 1:
        raise InputError(f"{path} has {len(candidates) or 'no'} columns of encoded images among "
                         f"{schema.names}: expected one column of bytes (e.g. PNG), named image "
                         "where there are several.")
    return candidates[0]


def _is_plain(kind) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
            or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_decimal(kind))


def _arrow_values(column, names: list[str] | None, where: str) -> np.ndarray:
    """A column's values; class numbers of a Hugging Face dataset become their names."""
    import pyarrow as pa

    if column.null_count:
        raise gap(where, np.asarray(column.is_null()))
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    values = column.to_numpy()
    if names:
        return _spoken(values, names, where)
    return values.astype(str) if values.dtype.kind == "O" else values


def _class_names(schema) -> dict[str, list[str]]:
    """Names of the classes, where the file carries a Hugging Face schema."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: kind["names"] for name, kind in features.items()
            if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" and kind.get("names")}


# --- shared ---


def _columns(values: np.ndarray, names: np.ndarray | None, where: str) -> dict[str, np.ndarray]:
    """The columns of an array (n, M) or (n,), named."""
    if values.dtype.names:
        raise InputError(f"{where} is a structured array: expected a plain one of shape (images, factors).")
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise InputError(f"{where} has the shape {values.shape}: expected (images, factors).")
    m = values.shape[1]
    if names is None:
        names = [f"factor {i + 1}" for i in range(m)]
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(names)]
    if len(names) != m or len(set(names)) < m:
        raise InputError(f"{where} has {m} columns, but the names are {names}: expected {m} different names.")
    return {name: values[:, i] for i, name in enumerate(names)}


def _spoken(values: np.ndarray, words: list[str], where: str) -> np.ndarray:
    """Class numbers to the words a file gives for them; anything else stays."""
    if values.dtype.kind not in "ui" or not len(values):
        return values
    if values.min() < 0 or values.max() >= len(words):
        raise InputError(f"{where} holds class numbers from {values.min()} to {values.max()}, but the file "
                         f"names {len(words)} classes.")
    return np.array(words)[values]


def _only_one(path: Path, keys: list[str]) -> str | None:
    if len(keys) > 1:
        raise InputError(f"{path} holds both {keys[0]!r} and {keys[1]!r}: keep the one with the factors.")
    return keys[0] if keys else None


def _no_images(path: Path, what: str, keys: list[str]) -> InputError:
    return InputError(f"{path} has no {what} 'images': it has {', '.join(map(repr, keys)) or 'none'}; rename "
                      "the one that holds the images.")


def _world(path: Path, images: Images, labels: np.ndarray, factors: list[Factor],
           notes: list[str], size: int) -> ArrayWorld:
    from . import names

    notes, name = list(notes), path.stem or path.resolve().name
    name = f"{name}-yours" if name in names() else name      # never confused with a published set or a twin
    height, width = images.shape[1:3]
    if height != width:
        notes.append(f"the images are {width}x{height} pixels: they are padded with black to squares.")
    return ArrayWorld(name=name, source="yours", images=images, labels=labels,
                      factors=factors, image_size=size, notes=notes)
