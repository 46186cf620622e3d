"""Counts of genes in single cells, in the folder layout of 10x Genomics' Cell Ranger.

    FOLDER/matrix.mtx      Matrix Market, whole numbers (genes, cells); Cell Ranger 3 and later packs it: matrix.mtx.gz
    FOLDER/genes.tsv       a line a gene (id, name); features.tsv.gz from 3 on, a third column says what is counted
    FOLDER/barcodes.tsv    a line a cell; or barcodes.tsv.gz
    FOLDER/labels.csv      yours: the columns barcode and label; Cell Ranger knows no types

`pbmc3k`, 2,700 blood cells (Zheng et al. 2017), is what 10x hands out for trying things; unpacked, its files lie two
folders down. It is *not* the set of 73,000 sorted cells that papers on clustering call 10x_73k. Written to the
publisher's description and tested on small folders of that layout; the set itself was not at hand.

`pbmc68k-reduced`, 700 blood cells of ten types, 765 genes (Zheng et al. 2017 too), is a file of the package scanpy,
read from `INC_DATA/pbmc68k-reduced/10x_pbmc68k_reduced.h5ad` or from the folder of scanpy if that is installed, of
which nothing is imported (`pip install --no-deps scanpy` is enough). It holds logarithms already. It is not 10x_73k.

What is done to the counts: each cell is brought to 10,000 counts, x becomes log(1 + x), and of the genes those that
vary most over the *training* cells are kept. Departure from 10x_73k: which 720 genes its makers kept we do not know; we
take the largest variances after the logarithm.
"""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import scipy.io
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ..errors import InputError

N_GENES = 720  # kept, as in 10x_73k
PER_CELL = 10_000  # counts
REDUCED = "10x_pbmc68k_reduced.h5ad"
COUNTED = "Gene Expression"  # of the kinds of features of Cell Ranger 3 and later


def read(folder: Path) -> tuple[csr_matrix, NDArray | None]:
    """Logarithms of normalised counts (cells, genes), sparse, and the cells' types (n,), None without labels.csv.

    Raises:
        InputError: a file that is absent, cut off, or does not fit the others; one sentence.
    """
    counts_at = _find(folder, "matrix.mtx")
    genes_at = _find(folder, "features.tsv", "genes.tsv")
    barcodes_at = _find(folder, "barcodes.tsv")
    counts, genes, barcodes = _counts(counts_at), _lines(genes_at), [line[0] for line in _lines(barcodes_at)]
    if counts.shape != (len(genes), len(barcodes)):
        raise InputError(
            f"{counts_at} has {counts.shape[0]:,} rows and {counts.shape[1]:,} columns, but there are {len(genes):,} "
            f"lines in {genes_at.name} and {len(barcodes):,} in {barcodes_at.name}: the files do not belong together."
        )
    counts = csr_matrix(counts.T[:, [len(gene) < 3 or gene[2] == COUNTED for gene in genes]], dtype=np.float32)
    sums = np.asarray(counts.sum(1)).ravel()
    if len(sums) < 10 or sums.min() <= 0:
        found = "fewer than ten cells" if len(sums) < 10 else f"no count of a gene for {barcodes[int(sums.argmin())]}"
        raise InputError(f"{counts_at} holds {found}: expected the filtered matrix, cells with counts.")
    counts = csr_matrix(counts.multiply(PER_CELL / sums[:, None]))
    return counts.log1p(), _labels(folder, barcodes)


def reduced_file(folder: Path) -> Path:
    """Where scanpy's small set is: in a folder, or in an installed scanpy.

    Raises:
        InputError: in neither.
    """
    places = [folder]
    if (spec := importlib.util.find_spec("scanpy")) is not None:
        places += [Path(place) / "datasets" for place in spec.submodule_search_locations or ()]
    for place in places:
        if (place / REDUCED).is_file():
            return place / REDUCED
    raise InputError(
        f"{folder.name} is not here: expected {REDUCED} in {folder}, or scanpy's own copy; pip install --no-deps "
        "scanpy brings it, or set INC_DATA to the folder above."
    )


def read_reduced(path: Path) -> tuple[csr_matrix, NDArray]:
    """Logarithms of normalised counts (cells, genes), sparse, and the cells' types (n,), of scanpy's small set.

    Raises:
        InputError: a file that is damaged or laid out in another way; one sentence.
    """
    try:
        with h5py.File(path) as file:
            part, names = file["raw.X"], file["uns/bulk_labels_categories"][:].astype(str)
            arrays = part["data"][:], part["indices"][:], part["indptr"][:]
            table = csr_matrix(arrays, shape=tuple(part.attrs["h5sparse_shape"]), dtype=np.float32)
            types = file["obs"]["bulk_labels"]
    except OSError as error:
        raise _damaged(path, error) from error
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is laid out in another way ({error}): expected raw.X and obs with bulk_labels, as scanpy 1.11 "
            "brings them."
        ) from error
    if len(types) != table.shape[0] or not 0 <= types.min() <= types.max() < len(names):
        raise InputError(f"{path} has {table.shape[0]:,} cells and {len(types):,} types: expected one of its own each.")
    return table, names[types]


def most_variable(train: csr_matrix, n_genes: int = N_GENES) -> NDArray[np.int64]:
    """Which genes vary most over the training cells: (n_genes,) or as many as vary, in the order of the file."""
    mean = np.asarray(train.mean(0)).ravel()
    variance = np.asarray(train.multiply(train).mean(0)).ravel() - mean**2
    top = np.argsort(-variance, kind="stable")[:n_genes]
    reach = np.asarray(train.max(0).todense() - train.min(0).todense()).ravel()
    return np.sort(top[reach[top] > 0])


def _find(folder: Path, *names: str) -> Path:
    """One of several names, packed or not, in the folder or below it."""
    every = [full for name in names for full in (name, f"{name}.gz")]
    found = [path for full in every for path in sorted(folder.rglob(full))] if folder.is_dir() else []
    if not found:
        raise InputError(
            f"{folder.name} is not here: expected {' or '.join(every)} in {folder} or a folder in it; unpack Cell "
            "Ranger's filtered matrices there, or set INC_DATA to the folder above."
        )
    if len({path.parent for path in found}) > 1:
        raise InputError(
            f"{folder} holds several matrices ({', '.join(str(path.relative_to(folder)) for path in found[:2])}): "
            "expected one; leave the others out."
        )
    return found[0]


def _damaged(path: Path, error: Exception) -> InputError:
    told = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0].rstrip(".")
    return InputError(f"{path} cannot be read ({told}): it is damaged or cut off; get it again.")


def _counts(path: Path) -> csr_matrix:
    try:
        held = scipy.io.mmread(path)
    except (OSError, EOFError, ValueError, TypeError, OverflowError, zlib.error) as error:
        raise _damaged(path, error) from error
    held = csr_matrix(held)
    if held.dtype.kind not in "iuf" or (held.nnz and not (np.isfinite(held.data).all() and held.data.min() >= 0)):
        raise InputError(f"{path} holds numbers that are no counts: expected whole numbers from 0, before any scaling.")
    return held


def _lines(path: Path) -> list[list[str]]:
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as file:
            return [line.rstrip("\r\n").split("\t") for line in file if line.strip()]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _damaged(path, error) from error


def _labels(folder: Path, barcodes: list[str]) -> NDArray | None:
    path = next(iter(sorted(folder.rglob("labels.csv"))), None)
    if path is None:
        return None
    try:
        table = pd.read_csv(path, dtype=str)
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise _damaged(path, error) from error
    if not {"barcode", "label"} <= set(table.columns):
        raise InputError(f"{path} has the columns {', '.join(table.columns)}: expected barcode and label.")
    told = table.set_index("barcode")["label"]
    if told.index.has_duplicates or told.isna().any():
        raise InputError(f"{path} labels a cell twice, or not: expected one label for each barcode.")
    absent = [barcode for barcode in barcodes if barcode not in told.index]
    if absent:
        raise InputError(
            f"{path} has no label for {len(absent):,} of {len(barcodes):,} cells, the first {absent[0]}: expected all."
        )
    return told.loc[barcodes].to_numpy(str)
