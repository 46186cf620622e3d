"""How images lie on disk, and the cheapest honest way to read any of them.

Images end up in one of three forms, all uint8 and all readable by index:

- in memory, where they fit into `MEMORY_LIMIT` bytes;
- in place, where the file already allows it (an uncompressed .npz member, a contiguous or finely chunked .h5
  dataset): nothing is copied, only what is asked for is read. By plain reads rather than a memory map: one
  image is one read of 12 kB, where a cold map reads 128 kB and more around each page that it misses;
- unpacked, once, into a .npy file in the cache, where it does not: gzip cannot be entered in its middle, and
  h5py's default chunks cut *across* images: 15,000 images x 4 x 4 pixels x 1 channel for the shape of
  3dshapes.h5, so that one image costs the decompression of 768 chunks.

Everything is checked on the way in: kind of number, range, NaN, shape.
"""
from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..files import atomic_write, data_folder

MEMORY_LIMIT = 2 ** 30        # images up to this many bytes are kept in memory
BLOCK = 2 ** 26               # bytes read at a time while streaming
FINE_CHUNK = 16               # .h5 chunks of at most this many images are read directly
HEARTBEAT = 30.0              # seconds between lines where stderr is a log

Blocks = Callable[[], Iterator[np.ndarray]]


class Source(Protocol):
    """Images as a file holds them, not yet checked: (n, height, width[, channels]) of any kind of number."""

    where: str                                  # "photos.npz, field 'images'": opens every sentence
    paths: tuple[Path, ...]                     # the files it depends on
    shape: tuple[int, ...]
    dtype: np.dtype

    def blocks(self) -> Iterator[np.ndarray]:
        """All images in order, a few at a time; can be called again."""

    def in_place(self) -> FileRows | H5Rows | None:
        """Images by index without reading them all, where the file allows it."""


# --- fitting ---


def fit(images: Tensor, image_size: int) -> Tensor:
    """Observations (n, C, image_size, image_size) in [0, 1] from uint8 images (n, C, height, width).

    Non-square images are padded with black to a square, so nothing is cut off or squeezed. 28x28 (the MNIST
    family) is padded to 32x32, as is usual for networks that halve the image again and again. Then bilinear
    with anti-aliasing; an average over whole blocks of pixels where the factor is whole.
    """
    images = images.contiguous().to(torch.float32).div_(255)     # reordered while a pixel is still one byte
    height, width = images.shape[-2:]
    side = 32 if height == width == 28 else max(height, width)
    if (height, width) != (side, side):
        top, left = (side - height) // 2, (side - width) // 2
        images = F.pad(images, (left, side - width - left, top, side - height - top))
    if side == image_size:
        return images
    if side % image_size == 0:
        return F.avg_pool2d(images, side // image_size)
    return F.interpolate(images, (image_size, image_size), mode="bilinear", antialias=True).clamp_(0, 1)


def fit_uint8(images: np.ndarray, image_size: int) -> np.ndarray:
    """`fit` for stored images (n, height, width, C), back to uint8 (n, image_size, image_size, C)."""
    images = torch.from_numpy(np.require(images, requirements=["C", "W"]))
    fitted = fit(images.permute(0, 3, 1, 2), image_size)
    return (fitted * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


# --- from a source to images ---


def settle(source: Source, image_size: int, *, binary: bool | None = None) -> Images:
    """Check a source and return its images as uint8, readable by index: (n, height, width, channels).

    Args:
        source: images in a file.
        image_size: pixels on a side of the observations; images that are copied and larger are fitted to it.
        binary: whether the images hold 0 and 1 rather than 0 to 255; None to look.

    Raises:
        InputError: not images, or numbers that are not pixels.
    """
    layout, (n, height, width, channels) = _layout(source)
    if n < 2:
        raise InputError(f"{source.where} holds {n} image{'s' * (n != 1)}: a dataset needs at least 2.")
    native = n * height * width * channels
    if source.dtype == np.uint8 and native > MEMORY_LIMIT:
        rows = source.in_place()
        if rows is not None:
            binary = _is_binary(source, rows) if binary is None else binary
            return InPlace(rows, layout, (n, height, width, channels), binary)
    shrink = height * width > image_size ** 2
    stored = (n, image_size, image_size, channels) if shrink else (n, height, width, channels)
    tag = f"{source.where} {stored}"
    cached = cached_array(source.paths, tag)
    if cached is not None:
        return cached
    convert = _widen if binary else _converter(source)

    def blocks() -> Iterator[np.ndarray]:
        for block in source.blocks():
            pixels = convert(layout(block))
            yield fit_uint8(pixels, image_size) if shrink else pixels

    return gather(blocks, stored, paths=source.paths, tag=tag, always_cache=native > MEMORY_LIMIT)


def gather(blocks: Blocks, shape: tuple[int, ...], *, paths: Sequence[Path], tag: str,
           always_cache: bool = False) -> np.ndarray | FileRows:
    """Collect uint8 blocks into memory, or into the cache where they exceed `MEMORY_LIMIT`.

    Args:
        blocks: called to start the stream.
        shape: of all blocks together.
        paths: the files the stream comes from: a change in any of them makes a new cache file.
        tag: says what is cached, so that two members of one file do not collide.
        always_cache: keep a file also where it fits in memory, because making it takes long.
    """
    size = int(np.prod(shape, dtype=np.int64))
    if size <= MEMORY_LIMIT and not always_cache:
        images = np.empty(shape, np.uint8)
        _fill(blocks(), images, paths)
        return images
    cached = cache_file(paths, tag)
    if not cached.exists():
        first = f"{paths[0]}" + (f" and {len(paths) - 1:,} more files" if len(paths) > 1 else "")
        print(f"unpacking {first} once into {cached} ({size / 2 ** 30:.2f} GiB); later runs read it there",
              file=sys.stderr, flush=True)
        check_space(cached.parent, size, "what is unpacked")
        with atomic_write(cached) as temporary, open(temporary, "wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            written = 0
            for block in heartbeat(blocks(), shape[0], "unpacking", length=len):
                file.write(np.ascontiguousarray(block).data)  # no memory map: a full disk would kill us
                written += len(block)
            _check_count(written, shape[0], paths)
    return _open_npy(cached)


def check_space(folder: Path, size: int, what: str) -> None:
    """Refuse to start writing what the disk has no room for."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(f"{what} takes {size / 1e9:.1f} GB, but {folder} has {free / 1e9:.1f} GB free: free "
                         "space or set INC_DATA to another folder.")


def cached_array(paths: Sequence[Path], tag: str) -> np.ndarray | FileRows | None:
    """What `gather` cached for these files earlier, or None."""
    cached = cache_file(paths, tag)
    return _open_npy(cached) if cached.exists() else None


def _open_npy(path: Path) -> np.ndarray | FileRows:
    """A .npy file of uint8: in memory where it fits, else in place."""
    if path.stat().st_size <= MEMORY_LIMIT:
        return np.load(path, allow_pickle=False)
    with open(path, "rb") as file:
        shape, _, _ = _npy_header(file)
        return FileRows(path, file.tell(), shape)


def cache_file(paths: Sequence[Path], tag: str) -> Path:
    """Where `gather` keeps what it unpacked: `unpacked/` in the data folder, or in the platform's cache."""
    digest = hashlib.sha256(tag.encode())
    for path in paths:
        status = path.stat()
        digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    folder = data_folder()
    if folder.exists() and not os.access(folder, os.W_OK):
        import pooch

        folder = Path(pooch.os_cache("inc"))
    stem = paths[0].stem if len(paths) == 1 else paths[0].parent.name
    return folder / "unpacked" / f"{stem}-{digest.hexdigest()[:16]}.npy"


def heartbeat(stream: Iterable, total: int | None, what: str, *, length: Callable[[object], int],
              unit: str = "images", start: int = 0) -> Iterator:
    """Pass items through; a progress bar on a terminal, one plain line every 30 s in a log.

    Args:
        length: how much of `total` an item is, in `unit`.
        start: how much was there before.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    last, done = time.monotonic(), start
    with tqdm(total=total, initial=start, desc=what, unit=unit, unit_scale=True, disable=not terminal) as bar:
        for item in stream:
            yield item
            done += length(item)
            bar.update(length(item))
            if not terminal and time.monotonic() - last > HEARTBEAT:
                last = time.monotonic()
                share = f" ({done / total:.0%})" if total else ""
                print(f"{what}: {done:,} {unit}{share}", file=sys.stderr, flush=True)


class FileRows:
    """Rows of uint8 that lie one after the other in a file, read by index.

    Args:
        path: the file; opened for each reading, so that threads, forks and pickles of this object are safe.
        offset: where the first row begins.
        shape: of all rows.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...]) -> None:
        self.path, self.offset, self.shape = path, offset, shape
        self._row = int(np.prod(shape[1:], dtype=np.int64))
        if offset + shape[0] * self._row > path.stat().st_size:
            raise InputError(f"{path} is cut off: it is shorter than its header says; get it again.")

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Rows at increasing positions; neighbours are read together."""
        out = np.empty((len(index), *self.shape[1:]), np.uint8)
        bytes_out = memoryview(out).cast("B") if out.size else b""
        with open(self.path, "rb", buffering=0) as file:
            for start, stop, first in _runs(index):
                file.seek(self.offset + first * self._row)
                rest = bytes_out[start * self._row:stop * self._row]
                while len(rest):                     # one read gives 2 GiB at most
                    got = file.readinto(rest)
                    if not got:
                        raise InputError(f"{self.path} has become shorter while it was read: get it again.")
                    rest = rest[got:]
        return out


class InPlace:
    """Images left where they lie: read and brought into (n, height, width, channels) when asked for.

    Args:
        images: gives rows for an increasing array of indices.
        layout: brings such rows into (rows, height, width, channels).
        shape: of all images, after `layout`.
        binary: they hold 0 and 1 (dSprites does), which are read as 0 and 255.
    """

    def __init__(self, images: FileRows | H5Rows, layout: Callable[[np.ndarray], np.ndarray],
                 shape: tuple[int, int, int, int], binary: bool) -> None:
        self.images, self.layout, self.shape, self.binary = images, layout, shape, binary

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        rows = self.layout(self.images[index])
        return _widen(rows) if self.binary else rows


Images = np.ndarray | FileRows | InPlace


def _runs(index: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Neighbours in an increasing array of positions: (from, to, first position) of each run."""
    starts = np.flatnonzero(np.diff(index, prepend=-2) != 1)
    for start, stop in zip(starts, [*starts[1:], len(index)], strict=True):
        yield int(start), int(stop), int(index[start])


# --- checks ---


def _layout(source: Source) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[int, int, int, int]]:
    """How to bring a block into (n, height, width, channels), and that shape for all images."""
    shape = tuple(source.shape)
    if source.dtype == object:
        raise InputError(f"{source.where} holds Python objects (a pickle), which are refused because reading "
                         "them can run code: save plain numbers, e.g. images.astype('uint8').")
    if len(shape) == 3:
        layout, full = (lambda block: block[..., None]), (*shape, 1)
    elif len(shape) == 4 and shape[3] in (1, 3):
        layout, full = (lambda block: block), shape
    elif len(shape) == 4 and shape[1] in (1, 3):
        layout, full = (lambda block: np.moveaxis(block, 1, -1)), (shape[0], shape[2], shape[3], shape[1])
    else:
        hint = "; drop the alpha channel: images[..., :3]" if len(shape) == 4 and shape[3] == 4 else ""
        raise InputError(f"{source.where} has the shape {shape}: expected (images, height, width) or "
                         f"(images, height, width, 1 or 3 channels){hint}.")
    if min(full[1:3]) < 4:
        raise InputError(f"{source.where} has images of {full[1]}x{full[2]} pixels: expected at least 4x4.")
    return layout, full


def _converter(source: Source) -> Callable[[np.ndarray], np.ndarray]:
    """A function from blocks of whatever numbers to uint8 pixels, chosen by one look at all of them."""
    kind = source.dtype.kind
    if kind == "b":
        return _widen
    if kind not in "uif":
        raise InputError(f"{source.where} holds {source.dtype} values: expected pixels as uint8 from 0 to "
                         "255 or as floats from 0 to 1.")
    low, high = np.inf, -np.inf
    for start, block in _numbered(source.blocks()):
        if kind == "f" and not np.isfinite(block).all():
            bad = start + int(np.flatnonzero(~np.isfinite(block.reshape(len(block), -1)).all(1))[0])
            raise InputError(f"{source.where} has NaN or infinite pixels, first in image {bad}: replace them "
                             "or leave that image out.")
        low, high = min(low, block.min()), max(high, block.max())
        if source.dtype == np.uint8 and high > 1:   # the usual case: nothing more to learn
            return lambda block: block
    found = f"{source.where} holds {source.dtype} values from {low:.4g} to {high:.4g}"
    if low < -1e-3:
        raise InputError(f"{found}: expected 0 to 1 or 0 to 255; (x + 1) / 2 brings -1 to 1 there.")
    if high <= (1 if kind != "f" else 1 + 1e-3):
        scale = 255
    elif high <= 255 and (kind != "f" or high > 16):
        scale = 1
    else:
        raise InputError(f"{found}: expected 0 to 1 or 0 to 255; divide by the largest possible value first.")
    if kind != "f":
        return lambda block: (block * scale).astype(np.uint8)
    return lambda block: np.clip(block * np.float32(scale) + np.float32(0.5), 0, 255).astype(np.uint8)


def _widen(block: np.ndarray) -> np.ndarray:
    """0 and 1 to 0 and 255."""
    return (block > 0) * np.uint8(255)


def _is_binary(source: Source, rows: FileRows | H5Rows) -> bool:
    """Whether uint8 images hold only 0 and 1: a hundred are looked at, and all where these do."""
    some = np.unique(np.linspace(0, rows.shape[0] - 1, 100).astype(int))
    if rows[some].max() > 1:
        return False
    return all(block.max() <= 1 for block in source.blocks())


def _numbered(blocks: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    start = 0
    for block in blocks:
        yield start, block
        start += len(block)


def _fill(blocks: Iterator[np.ndarray], images: np.ndarray, paths: Sequence[Path]) -> None:
    stop = 0
    for start, block in _numbered(blocks):
        stop = start + len(block)
        if stop > len(images):
            break
        images[start:stop] = block
    _check_count(stop, len(images), paths)


def _check_count(found: int, expected: int, paths: Sequence[Path]) -> None:
    if found != expected:
        raise InputError(f"{paths[0]} ends after {found:,} of {expected:,} images: it is cut off.")


# --- arrays inside an .npz ---


class NpzMember:
    """One array of an .npz file: streamed, or read in place where it is not compressed. Never unpickled."""

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.paths = (path,)
        self.where = f"{path}, field {key!r}"
        with npz_open(path) as archive:
            self._info = archive.getinfo(f"{key}.npy")
            with archive.open(self._info) as file:
                self.shape, self._fortran, self.dtype = _npy_header(file)
                self._skip = file.tell()

    def in_place(self) -> FileRows | None:
        """Rows inside the zip file, or None where the member is compressed or no plain bytes."""
        if self._info.compress_type != zipfile.ZIP_STORED or self.dtype != np.uint8 or self._fortran:
            return None
        with open(self.path, "rb") as file:   # the local header may differ in length from the central one
            file.seek(self._info.header_offset + 26)
            name, extra = np.frombuffer(file.read(4), "<u2")
        offset = self._info.header_offset + 30 + int(name) + int(extra) + self._skip
        return FileRows(self.path, offset, self.shape)

    def blocks(self) -> Iterator[np.ndarray]:
        """Consecutive rows, decompressed as they are needed."""
        if self._fortran:
            yield self.read()
            return
        row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        rows = max(1, BLOCK // max(row, 1))
        with npz_open(self.path) as archive, archive.open(self._info) as file:
            file.read(self._skip)
            for start in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - start)
                data = file.read(count * row)
                if len(data) < count * row:
                    raise InputError(f"{self.path} is cut off inside field {self.key!r}: get it again.")
                yield np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def read(self) -> np.ndarray:
        """The whole array, for small ones."""
        if self.dtype.hasobject:
            raise InputError(f"{self.where} holds Python objects (a pickle), which are refused because "
                             "reading them can run code: save plain numbers, or strings as np.array(x, str).")
        with npz_open(self.path) as archive, archive.open(self._info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


@contextmanager
def npz_open(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip inside; whatever is wrong with it becomes a sentence."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a whole .npz file ({error}): it is damaged or cut off, "
                         "get it again.") from error


def npz_keys(path: Path) -> list[str]:
    """Names of the arrays in an .npz file."""
    with npz_open(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def _npy_header(file) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


# --- arrays inside an .h5 ---


class H5Rows:
    """Rows of an .h5 dataset by index, for chunks that hold few images each."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset
        self.shape = dataset.shape

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        """Rows at increasing positions; neighbours are read together."""
        out = np.empty((len(index), *self.shape[1:]), self.dataset.dtype)
        for start, stop, first in _runs(index):
            out[start:stop] = self.dataset[first:first + stop - start]
        return out


class H5Member:
    """One dataset of an .h5 file as a `Source`."""

    def __init__(self, path: Path, dataset) -> None:
        self.path, self.dataset = path, dataset
        self.paths = (path,)
        self.where = f"{path}, dataset {dataset.name.lstrip('/')!r}"
        self.shape, self.dtype = dataset.shape, dataset.dtype

    def in_place(self) -> FileRows | H5Rows | None:
        """Rows in the file (contiguous data), rows through h5py (small chunks), or None."""
        if self.dataset.chunks is None:
            offset = self.dataset.id.get_offset()
            return None if offset is None else FileRows(self.path, offset, self.shape)
        whole = self.dataset.chunks[1:] == self.shape[1:]
        return H5Rows(self.dataset) if whole and self.dataset.chunks[0] <= FINE_CHUNK else None

    def blocks(self) -> Iterator[np.ndarray]:
        """Consecutive rows; whole chunks, so that each is decompressed once."""
        row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        rows = max(1, BLOCK // max(row, 1))
        if self.dataset.chunks:
            rows = max(rows // self.dataset.chunks[0], 1) * self.dataset.chunks[0]
        try:
            for start in range(0, self.shape[0], rows):
                yield self.dataset[start:start + rows]
        except OSError as error:
            raise InputError(f"{self.where} cannot be read ({error}): the file is damaged or cut off, "
                             "get it again.") from error


def h5_open(path: Path):
    """An open .h5 file, or a sentence. It stays open for as long as somebody holds one of its datasets."""
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = "it is cut off" if "truncated" in str(error) else "it is not an HDF5 file, or damaged"
        raise InputError(f"{path} cannot be opened as .h5: {reason}; get it again or check how it was "
                         "saved.") from error
