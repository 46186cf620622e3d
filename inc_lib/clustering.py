"""Clusters by Eqs. 1 to 3 of the paper: explicit, reconstructed, implicit (Algorithm 1); datasets of them.

    (1) D  =  union_k {x in D : C_sim(x) = k}                              explicit_clusters
    (2) D  ~  D'_i = union_{f in G_i} {G(h(o)) : o in D, f present in h(o)}  reconstructed_clusters
    (3) D <~  D'_i = union_{f in G_i} {G(z) : z in {f.z_1, ..., f.z_K}}      implicit_clusters

The first two are as large as the dataset. The third has no end, so it is a stream of batches: `collect`
holds a part of it, `write_dataset` writes it to a file of any size in constant memory.
"""
from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .actions import ActionSet, act_each, factor_index
from .errors import InputError, suggest
from .files import atomic_write
from .partitions import codes_array
from .worlds import Factor
from .worlds.storage import heartbeat

SAMPLING = ("encoded", "partitions")
Batch = tuple[Tensor, Tensor, Tensor]  # observations (n, C, H, W), labels (n,), codes (n, d)


class Model(Protocol):
    """A pair (h, G). Whatever has these two methods can be clustered with."""

    def encode(self, observations: Tensor) -> Tensor:
        """h: codes (n, d) of observations (n, C, H, W)."""

    def decode(self, codes: Tensor) -> Tensor:
        """G: observations (n, C, H, W) in [0, 1] of codes (n, d)."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Labelled observations: the union of clusters, flat.

    Attributes:
        observations: (n, C, H, W).
        labels: int64 (n,), the attribute whose cluster each belongs to.
        codes: (n, d), or None where no encoder took part.
        rows: int64 (n,), the dataset's row that each comes from; None where there is none. By Eq. 2 an
            observation may be in two clusters, or in none.
    """

    observations: Tensor
    labels: Tensor
    codes: Tensor | None = None
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, attribute: int) -> Tensor:
        """The members of one cluster: observations (m, C, H, W)."""
        return self.observations[self.labels == attribute]


def explicit_clusters(observations: Tensor, states: Tensor, factor: int) -> Clusters:
    """Eq. 1: the dataset split by the true attribute of a factor.

    Args:
        observations: (n, C, H, W).
        states: int64 (n, M).
        factor: column of states, the similarity that clusters.
    """
    if len(observations) != len(states) or states.ndim != 2 or not 0 <= factor < states.shape[1]:
        raise InputError(f"{len(observations):,} observations and states of shape {tuple(states.shape)} have "
                         f"no clusters by factor {factor}: expected states (n, M) of the same observations, "
                         "and a factor from 0 to M - 1.")
    return Clusters(observations, states[:, factor].long(), rows=torch.arange(len(states)))


def reconstructed_clusters(model: Model, observations: Tensor, actions: ActionSet,
                           factor: int | str) -> Clusters:
    """Eq. 2, the lower bound: reconstructions of the observations in whose codes an action is present.

    With a perfect h for the factor the clusters hold what the explicit ones hold, with a perfect G as the
    same pictures. Observations in which no action is present, or more than one, tell how far h is from that.

    Args:
        model: h and G.
        observations: (n, C, H, W), the dataset D.
        actions: found on codes of the same h.
        factor: index or name.
    """
    codes = model.encode(observations)
    present = [(action.attribute, action.present(codes).nonzero()[:, 0]) for action in actions.of(factor)]
    rows = torch.cat([torch.empty(0, dtype=torch.int64), *(found.cpu() for _, found in present)])
    labels = torch.cat([torch.empty(0, dtype=torch.int64),
                        *(torch.full((len(found),), attribute) for attribute, found in present)])
    chosen = codes[rows.to(codes.device)]
    return Clusters(model.decode(chosen), labels, chosen, rows)


@dataclass(eq=False)
class ImplicitClusters:
    """A stream of batches, to be gone through once.

    Attributes:
        n_images: how many images all batches hold together.
        factor: what they are clustered by; a label is an index into `factor.values`.
    """

    n_images: int
    factor: Factor
    batches: Iterator[Batch]

    def __iter__(self) -> Iterator[Batch]:
        return self.batches

    def __next__(self) -> Batch:
        return next(self.batches)


def implicit_clusters(model: Model, actions: ActionSet, n: int, *, factor: int | str,
                      codes: Tensor | None = None, sampling: str = "encoded", multi_dimensional: bool = True,
                      generator: torch.Generator | None = None, batch_size: int = 1024) -> ImplicitClusters:
    """Eq. 3 by Algorithm 1: for each attribute that has an action, n images that show it.

    Each image is G(f . z): a code z is drawn, the attribute's action f acts on it, the generator draws it.

    - `sampling="encoded"` (the paper's "not AS"): z is a row of `codes`, drawn with replacement.
    - `sampling="partitions"` (AS): z comes from the partitions alone, see `ActionSet.sample`: every factor
      with actions gets an attribute's action at random, every other dimension a place in a random partition.
    - `multi_dimensional=True` (MDA): f acts on all dimensions that its attribute owns; False: on its best
      one. This restricts f alone, not the actions that z is drawn by, so that the four combinations with
      `sampling` differ in what their names say and in nothing else.

    Departure from Algorithm 1, in order only: it makes all images of one attribute, then of the next. Here
    the attributes take turns, so that any beginning of the stream is balanced, and so is a classifier's
    batch.

    Args:
        model: G (and its h).
        actions: found on codes of the same h.
        n: images of each attribute, n >= 1.
        factor: index or name.
        codes: (m, d), needed for `sampling="encoded"`.
        generator: source of all randomness, on the CPU.
        batch_size: images of a batch; what is held at a time.

    Returns:
        An iterator of (observations (b, C, H, W), labels int64 (b,), codes (b, d)), with `.n_images`.

    Raises:
        InputError: at once, not in the middle of the stream: no attribute of the factor has an action, no
            codes to draw from, or options out of range.
    """
    index = factor_index(actions.factors, factor)
    found = actions.of(index)
    if not found:
        raise InputError(f"factor {actions.factors[index].name!r} has no atomic action, none of its "
                         "attributes owns partitions: there is nothing to generate; train longer, or look at "
                         "actions.table() for what stands in the way.")
    if sampling not in SAMPLING:
        raise suggest("sampling", sampling, SAMPLING)
    for name, value in (("n", n), ("batch_size", batch_size)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise InputError(f"{name} is {value!r}: expected a whole number of at least 1.")
    encoded = None
    if sampling == "encoded":
        if codes is None:
            raise InputError("sampling='encoded' draws from encoded observations, but none were given: pass "
                             "codes=model.encode(observations), or use sampling='partitions'.")
        encoded = torch.from_numpy(codes_array(codes, dimensions=actions.partitioning.n_dimensions))
    if not multi_dimensional:
        found = [action.best() for action in found]
    attributes = torch.tensor([action.attribute for action in found])
    total = n * len(found)

    def batches() -> Iterator[Batch]:
        for start in range(0, total, batch_size):
            chosen = torch.arange(start, min(start + batch_size, total)) % len(found)
            if encoded is None:
                drawn = actions.sample(len(chosen), generator)
            else:
                drawn = encoded[torch.randint(len(encoded), chosen.shape, generator=generator)]
            acted = act_each(found, chosen, drawn, generator)
            yield model.decode(acted), attributes[chosen], acted

    return ImplicitClusters(total, actions.factors[index], batches())


def collect(batches: Iterable[Batch], limit: int | None = None) -> Clusters:
    """Hold the first `limit` images of a stream (None: all of it), on the CPU.

    Raises:
        InputError: the stream is empty.
    """
    held: list[Batch] = []
    count = 0
    for batch in batches:
        keep = len(batch[1]) if limit is None else min(len(batch[1]), limit - count)
        held.append(tuple(part[:keep].cpu() for part in batch))
        count += keep
        if limit is not None and count >= limit:
            break
    if not held:
        raise InputError("there is nothing to collect: the stream of images is empty, or was gone through "
                         "before.")
    return Clusters(*(torch.cat(parts) for parts in zip(*held, strict=True)))


def write_dataset(batches: Iterable[Batch], path: str | Path, *, factor: Factor,
                  n_images: int | None = None) -> Path:
    """Write a stream as a labelled dataset that a classifier can be trained on, and that `worlds.load` reads.

    The suffix chooses the format; both hold one batch in memory, whatever the length:

    - `.npz`: `images` uint8 (n, H, W) or (n, H, W, C), `factors` int64 (n, 1), the attribute's index,
      `names` and `attributes` what these mean, `codes` float32 (n, d). Stored, not compressed: it can be
      memory-mapped and is written as fast as the disk takes it. Its header needs the number of images before
      the first.
    - `.parquet`: a row for each image, `image` as PNG (lossless, and some five times smaller than the
      pixels), a column named as the factor with its class names, and `codes`; the layout that Hugging Face's
      datasets library shows and decodes by itself. The number of images need not be known.

    Pixels are rounded to 256 steps. The file appears when it is whole: an error, a full disk or Ctrl-C on
    the way leaves what was there before.

    Args:
        batches: as `implicit_clusters` gives.
        path: of the file.
        factor: what the labels are attributes of.
        n_images: of all batches together; `implicit_clusters` knows it, else it is needed for .npz.

    Returns:
        The path.

    Raises:
        InputError: another suffix, an empty stream, a wrong `n_images`, or a disk that cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".parquet"):
        raise InputError(f"{path} has the suffix {path.suffix!r}: a dataset is written as .npz or .parquet.")
    total = n_images if n_images is not None else getattr(batches, "n_images", None)
    if path.suffix == ".npz" and total is None:
        raise InputError(f"{path} needs the number of images before the first is written: "
                         "pass n_images, or write .parquet.")
    stream = heartbeat(map(_to_arrays, batches), total, f"writing {path.name}",
                       length=lambda part: len(part[1]))
    with atomic_write(path) as temporary:
        written = (_write_npz(stream, temporary, factor, total) if path.suffix == ".npz"
                   else _write_parquet(stream, temporary, factor))
        if written == 0 or (total is not None and written != total):
            raise InputError(f"{path} was not written: the stream held {written:,} images, "
                             f"expected {'at least 1' if total is None else format(total, ',')}.")
    return path


Arrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]


def _to_arrays(batch: Batch) -> Arrays:
    """A batch as stored: images uint8 (n, H, W) or (n, H, W, C), labels int64 (n,), codes float32 (n, d)."""
    observations, labels, codes = (part.detach().cpu() for part in batch)
    images = (observations.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return images[..., 0] if images.shape[-1] == 1 else images, labels.long().numpy(), codes.float().numpy()


def _write_npz(stream: Iterator[Arrays], path: Path, factor: Factor, total: int) -> int:
    """Images go straight into the zip; labels and codes wait in files without a name. Returns the count."""
    part = next(stream, None)
    if part is None:
        return 0
    written, width, shape = 0, part[2].shape[1], part[0].shape[1:]
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path, "w"))
        labels, codes = (stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for _ in range(2))
        with archive.open(zipfile.ZipInfo("images.npy"), "w", force_zip64=True) as member:
            _header(member, np.uint8, (total, *shape))
            while part is not None:
                for array, file in zip(part, (member, labels, codes), strict=True):
                    file.write(np.ascontiguousarray(array).data)
                written += len(part[1])
                part = next(stream, None)
        _add(archive, "factors", np.int64, (written, 1), labels)
        _add(archive, "codes", np.float32, (written, width), codes)
        texts = {"names": [factor.name], "attributes": [str(value) for value in factor.values]}
        for name, values in texts.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                np.lib.format.write_array(member, np.array(values), allow_pickle=False)
    return written


def _header(file: BinaryIO, dtype: type, shape: tuple[int, ...]) -> None:
    """What stands before the numbers in a .npy file."""
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def _add(archive: zipfile.ZipFile, name: str, dtype: type, shape: tuple[int, ...], waiting: BinaryIO) -> None:
    """Copy numbers that waited in a file into the archive, block by block."""
    waiting.seek(0)
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        _header(member, dtype, shape)
        shutil.copyfileobj(waiting, member)


def _write_parquet(stream: Iterator[Arrays], path: Path, factor: Factor) -> int:
    """One row group for each batch. Returns the count."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"},
                factor.name: {"names": [str(value) for value in factor.values], "_type": "ClassLabel"},
                "codes": {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}}
    schema = pa.schema([("image", image), (factor.name, pa.int64()), ("codes", pa.list_(pa.float32()))],
                       metadata={"huggingface": json.dumps({"info": {"features": features}})})
    written = 0
    with pq.ParquetWriter(path, schema) as writer:
        for images, labels, codes in stream:
            encoded = [{"bytes": _png(picture), "path": None} for picture in images]
            offsets = pa.array(np.arange(len(codes) + 1, dtype=np.int32) * codes.shape[1])
            lists = pa.ListArray.from_arrays(offsets, pa.array(codes.ravel()))
            writer.write_table(pa.table([pa.array(encoded, image), pa.array(labels), lists], schema=schema))
            written += len(labels)
    return written


def _png(picture: NDArray[np.uint8]) -> bytes:
    """A picture (H, W) or (H, W, 3) as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
