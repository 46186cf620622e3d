"""Tiny files in exactly the layouts that publishers and users have: names, kinds of number, chunks."""
from __future__ import annotations

import gzip
import io
import struct
from itertools import product
from pathlib import Path

import h5py
import numpy as np
from PIL import Image


def coded_images(n: int, *, size: int = 64, channels: int = 3) -> np.ndarray:
    """uint8 (n, size, size, channels): image i is flat, of value i % 200 + 20, so that a test can tell it."""
    values = (np.arange(n) % 200 + 20).astype(np.uint8)
    return np.broadcast_to(values[:, None, None, None], (n, size, size, channels)).copy()


def dsprites(path: Path, *, sizes: tuple[int, ...] = (1, 3, 2, 4, 2, 3)) -> np.ndarray:
    """As dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz on a smaller grid; returns latents_classes (n, 6)."""
    classes = np.array(list(product(*map(range, sizes))), np.int64)
    values = np.stack([np.ones(len(classes)), classes[:, 1] + 1.0, np.linspace(0.5, 1, 6)[classes[:, 2]],
                       np.linspace(0, 2 * np.pi, 40)[classes[:, 3]], np.linspace(0, 1, 32)[classes[:, 4]],
                       np.linspace(0, 1, 32)[classes[:, 5]]], 1)
    images = np.zeros((len(classes), 64, 64), np.uint8)
    images[np.arange(len(classes)), np.arange(len(classes)) % 64, 10] = 1
    images[:, 40:50, 40:50] = 1
    metadata = np.array({"date": "2017", "latents_sizes": np.array(sizes)}, dtype=object)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, metadata=metadata, imgs=images, latents_classes=classes, latents_values=values)
    return classes


def shapes3d_labels(n: int | None = None) -> np.ndarray:
    """The published label rows (float64, six columns) in the published order, the first n of them."""
    values = (np.arange(10) / 10, np.arange(10) / 10, np.arange(10) / 10, np.linspace(0.75, 1.25, 8),
              np.arange(4.0), np.linspace(-30, 30, 15))
    index = np.arange(480_000 if n is None else n)
    columns = np.unravel_index(index, [len(v) for v in values])
    return np.stack([v[c] for v, c in zip(values, columns, strict=True)], 1)


def shapes3d(path: Path, *, n: int = 60, **options) -> np.ndarray:
    """As 3dshapes.h5 (`images` gzip with h5py's own chunks, `labels`), the first n images; returns images."""
    images = coded_images(n)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, **({"compression": "gzip"} | options))
        file.create_dataset("labels", data=shapes3d_labels(n))
    return images


def mpi3d_sparse(path: Path, marked: dict[int, int]) -> None:
    """mpi3d_real.npz at its full 12.7 GB, black but for flat images {index: value}; sparse."""
    shape = (1_036_800, 64, 64, 3)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    row = 64 * 64 * 3
    size = len(header.getvalue()) + shape[0] * row
    name, full = b"images.npy", 0xFFFFFFFF
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    entry = struct.pack("<HHHHIIIHH", 0, 0, 0, 33, 0, full, full, len(name), len(extra))
    local = struct.pack("<IH", 0x04034B50, 45) + entry + name + extra
    central = struct.pack("<IHH", 0x02014B50, 45, 45) + entry + bytes(14) + name + extra
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(local + header.getvalue())
        data = file.tell()
        for index, value in marked.items():
            file.seek(data + index * row)
            file.write(bytes([value]) * row)
        file.seek(len(local) + size)
        start = file.tell()
        file.write(central)
        end = file.tell()
        file.write(struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 1, 1, len(central), start))
        file.write(struct.pack("<IIQI", 0x07064B50, 0, end, 1))
        file.write(struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(central), full, 0))


def idx(path: Path, array: np.ndarray) -> None:
    """An idx file of unsigned bytes, packed where the name ends in .gz."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def png(image: np.ndarray) -> bytes:
    """An image (height, width[, 3 or 4]) as the bytes of a .png."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "png")
    return stream.getvalue()


def image_folder(path: Path, states: list[tuple], names: tuple[str, ...], *, size: int = 16) -> None:
    """A folder of flat coloured images 000.png, ... and a factors.csv with these columns."""
    path.mkdir(parents=True, exist_ok=True)
    images = coded_images(len(states), size=size)
    lines = [",".join(("file", *names))]
    for i, state in enumerate(states):
        (path / f"{i:03}.png").write_bytes(png(images[i]))
        lines.append(",".join([f"{i:03}.png", *map(str, state)]))
    (path / "factors.csv").write_text("\n".join(lines) + "\n")
