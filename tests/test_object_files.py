"""SVHN, STL-10, COIL-100 and a matrix of Cell Ranger: tiny files in the publishers' layouts, whole and damaged."""

from __future__ import annotations

import gzip
import math

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from scipy.sparse import csr_matrix

from inc_lib import alternation, deep_clusters
from inc_lib.errors import InputError
from inc_lib.worlds import cells, object_files, vectors

torch.set_num_threads(1)
RED, GREEN, BLUE = 0.299, 0.587, 0.114


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("INC_DATA", str(tmp_path))
    return tmp_path


def one_sentence(error: pytest.ExceptionInfo) -> str:
    told = str(error.value)
    assert told.endswith(".") and "\n" not in told and ". " not in told, told
    return told


@pytest.mark.parametrize("name", ["svhn", "stl-10", "coil-100", "pbmc3k"])
@pytest.mark.parametrize("there", [False, True])
def test_a_set_that_is_not_here_says_where_it_is_looked_for(name, there, data):
    if there:
        (data / name).mkdir()
    with pytest.raises(InputError, match="is not here") as error:
        vectors.load(name)
    assert str(data / name) in one_sentence(error) and "INC_DATA" in str(error.value)


# --- area means ---


def test_area_means_of_two_by_two_and_of_parts_of_pixels():
    images = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.avg_pool2d(images, 2)
    assert np.allclose(object_files.area_means(images.numpy(), 14), expected, atol=1e-6)
    line = np.array([[[0.0, 3.0, 6.0]] * 3], dtype=np.float32)  # three pixels as two: 1.5 pixels each
    assert np.allclose(object_files.area_means(line, 2)[0, 0], [1.0, 5.0])
    ones = np.ones((1, 32, 32), dtype=np.float32)
    assert np.allclose(object_files.area_means(ones, 14), 1.0, atol=1e-6)


# --- SVHN ---


def svhn(folder, *, n: int = 12, n_labels: int | None = None, cut: int = 0, packed: bool = True, **held) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        images = np.zeros((32, 32, 3, n), dtype=np.uint8)
        for k in range(n):
            images[k, :, 0, k] = 255  # row k is red
        labels = (np.arange(n if n_labels is None else n_labels) % 10 + 1).astype(np.uint8)[:, None]
        path = folder / f"{part}_32x32.mat"
        scipy.io.savemat(path, {"X": images, "y": labels} | held, do_compression=packed)
        if cut:
            path.write_bytes(path.read_bytes()[:-cut])


@pytest.mark.parametrize("packed", [False, True])
def test_svhn_is_grey_and_ten_is_zero(packed, data):
    svhn(data / "svhn", packed=packed)
    world = vectors.load("svhn")
    assert (world.name, world.source, world.shape, world.kind) == ("svhn", "published", (32, 32), "image")
    assert world.train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2] and world.classes == tuple("0123456789")
    image = world.test.vectors[4].view(32, 32)
    assert torch.allclose(image[4], torch.full((32,), RED)) and image.sum() == pytest.approx(32 * RED)


def test_chapter_11_takes_them_at_14_pixels(data):
    svhn(data / "svhn")
    small, large = alternation.images("svhn"), vectors.load("svhn")
    assert small.shape == (14, 14) and small.train.vectors.shape == (12, 196)
    assert torch.allclose(small.train.vectors.mean(1), large.train.vectors.mean(1), atol=1e-6)  # areas keep the mean


BAD_SVHN = {
    "cut off": ({"cut": 60}, "cannot be read"),
    "cut off, not packed": ({"cut": 60, "packed": False}, "cannot be read"),
    "almost nothing left": ({"cut": 1, "n": 1, "X": np.zeros(1)}, "cannot be read|holds X"),
    "labels of another length": ({"n_labels": 9}, "9 labels for 12 images"),
    "labels from 0": ({"y": np.arange(12)[:, None] % 10}, "labels from 0 to 9"),
    "labels as words": ({"y": np.array(["one", "two"])}, "holds y of"),
    "the full numbers": ({"X": np.zeros((64, 64, 3, 12), np.uint8)}, "the cropped"),
    "numbers for bytes": ({"X": np.zeros((32, 32, 3, 12))}, "float64"),
}


@pytest.mark.parametrize("case", BAD_SVHN)
def test_svhn_files_that_cannot_be_used(case, data):
    damage, told = BAD_SVHN[case]
    svhn(data / "svhn", **damage)
    with pytest.raises(InputError, match=told) as error:
        vectors.load("svhn")
    assert "_32x32.mat" in one_sentence(error)


def test_svhn_cut_anywhere_is_one_sentence(data):
    svhn(data / "svhn")
    path = data / "svhn" / "train_32x32.mat"
    whole = path.read_bytes()
    for end in (0, 3, 100, 128, 131, 140, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError):
            vectors.load("svhn")


def test_svhn_without_a_part_of_it(data):
    svhn(data / "svhn")
    scipy.io.savemat(data / "svhn" / "test_32x32.mat", {"Z": np.zeros(3)})
    with pytest.raises(InputError, match="has no 'X': it has Z"):
        vectors.load("svhn")
    (data / "svhn" / "test_32x32.mat").unlink()
    with pytest.raises(InputError, match="expected test_32x32.mat"):
        vectors.load("svhn")


# --- STL-10 ---

NAMES = "airplane bird car cat deer dog horse monkey ship truck"


def stl(folder, *, n: int = 11, n_labels: int | None = None, cut: int = 0, first: int = 1, names: str = NAMES) -> None:
    """Written as the publisher does: plane after plane, column after column."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "class_names.txt").write_text("\n".join(names.split()) + "\n")
    for part in ("train", "test"):
        images = np.zeros((n, 96, 96, 3), dtype=np.uint8)  # rows, columns, planes
        images[:, :3, :, 1] = 255  # the three rows at the top are green
        stored = images.transpose(0, 3, 2, 1)
        (folder / f"{part}_X.bin").write_bytes(stored.tobytes()[: stored.nbytes - cut])
        labels = np.arange(n if n_labels is None else n_labels) % 10 + first
        (folder / f"{part}_y.bin").write_bytes(labels.astype(np.uint8).tobytes())


def test_stl_rows_stay_rows(data):
    stl(data / "stl-10" / "stl10_binary")  # as the archive unpacks
    world = vectors.load("stl-10")
    assert world.shape == (32, 32) and world.classes == tuple(NAMES.split())
    assert world.train.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    image = world.train.vectors[0].view(32, 32)
    assert torch.allclose(image[0], torch.full((32,), GREEN), atol=1e-5) and image[1:].abs().max() < 1e-6


BAD_STL = {
    "cut off": ({"cut": 5}, "27,648 for each image"),
    "cut off between images": ({"cut": 27_648}, "11 labels for 10 images"),
    "labels of another length": ({"n_labels": 12}, "12 labels for 11 images"),
    "labels from 0": ({"first": 0}, "labels from 0 to 9: expected 1 to 10"),
    "nine classes": ({"names": "a b c d e f g h i"}, "names 9 classes"),
}


@pytest.mark.parametrize("case", BAD_STL)
def test_stl_files_that_cannot_be_used(case, data):
    damage, told = BAD_STL[case]
    stl(data / "stl-10", **damage)
    with pytest.raises(InputError, match=told) as error:
        vectors.load("stl-10")
    one_sentence(error)


@pytest.mark.parametrize("file", ["train_X.bin", "test_y.bin", "class_names.txt"])
def test_stl_without_a_part_of_it(file, data):
    stl(data / "stl-10")
    (data / "stl-10" / file).unlink()
    with pytest.raises(InputError, match=f"expected {file} in"):
        vectors.load("stl-10")


# --- COIL-100 ---


def coil(folder, objects=(1, 2, 100), angles=(0, 5, 90, 355), size: int = 128) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k in objects:
        for angle in angles:
            image = np.zeros((size, size, 3), dtype=np.uint8)
            image[..., 2] = 2 * k
            image[:4, :4] = 255 if angle == 5 else 0
            Image.fromarray(image).save(folder / f"obj{k}__{angle}.png")


def test_coil_numbers_objects_and_reads_views(data):
    coil(data / "coil-100" / "coil-100")
    (data / "coil-100" / "coil-100" / "convertGroupppm2png.pl").write_text("#!/usr/bin/perl")  # is in the archive
    world = vectors.load("coil-100")
    assert world.classes == ("object 1", "object 2", "object 100") and world.shape == (32, 32)
    assert len(world.train) + len(world.test) == 12 and len(world.test) == 2
    images, labels = (torch.cat([getattr(part, name) for part in (world.train, world.test)]) for name in
                      ("vectors", "labels"))
    expected = 2 * torch.tensor([1, 2, 100])[labels] * BLUE / 255
    assert torch.allclose(images[:, -1], expected, atol=1e-5)
    assert (images[:, 0] > 0.99).sum() == 3  # one view of each has a white corner


@pytest.mark.parametrize("stray", ["obj101__0.png", "obj1__7.png", "obj1__360.png", "obj0__0.png", "thumbs.png",
                                   "obj1__05.png"])
def test_coil_with_a_stray_name(stray, data):
    coil(data / "coil-100")
    Image.new("RGB", (128, 128)).save(data / "coil-100" / stray)
    with pytest.raises(InputError, match="is no view of COIL-100") as error:
        vectors.load("coil-100")
    assert stray in one_sentence(error)


def test_coil_damaged(data):
    folder = data / "coil-100"
    coil(folder)
    (folder / "obj2__90.png").unlink()
    with pytest.raises(InputError, match="no obj2__90.png, .*1 of 12 views") as error:
        vectors.load("coil-100")
    one_sentence(error)
    coil(folder, objects=(2,), angles=(90,), size=64)
    with pytest.raises(InputError, match="obj2__90.png is 64x64"):
        vectors.load("coil-100")
    coil(folder, objects=(2,), angles=(90,))
    whole = (folder / "obj2__90.png").read_bytes()
    for end in (0, 10, 40, len(whole) // 2):
        (folder / "obj2__90.png").write_bytes(whole[:end])
        with pytest.raises(InputError, match="obj2__90.png cannot be read as an image"):
            vectors.load("coil-100")


def test_one_object_is_no_set(data):
    coil(data / "coil-100", objects=(7,))
    with pytest.raises(InputError, match="one object only"):
        vectors.load("coil-100")


# --- cells ---

COUNTS = np.zeros((6, 20), dtype=np.int64)  # genes, cells: two types of ten cells
COUNTS[0, :10], COUNTS[1, 10:] = 9, 9  # what tells them
COUNTS[2] = 1  # the same in all
COUNTS[3, ::2] = 1


def ten_x(folder, counts=COUNTS, *, packed: bool = False, labelled: bool = True, genes: int | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    n = counts.shape[0] if genes is None else genes
    kinds = "\tGene Expression" if packed else ""
    lines = {"matrix.mtx": None, "features.tsv" if packed else "genes.tsv": [f"ENSG{k}\tG{k}{kinds}" for k in range(n)],
             "barcodes.tsv": [f"CELL{k}-1" for k in range(counts.shape[1])]}
    for name, text in lines.items():
        if text is None:
            scipy.io.mmwrite(folder / "matrix.mtx", csr_matrix(counts), field="integer")
            content = (folder / "matrix.mtx").read_bytes()
            (folder / "matrix.mtx").unlink()
        else:
            content = ("\n".join(text) + "\n").encode()
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    if labelled:
        order = list(range(counts.shape[1]))[::-1]  # by barcode, not by line
        rows = [f"CELL{k}-1,{'monocyte' if k < 10 else 'B cell'}" for k in order]
        (folder / "labels.csv").write_text("\n".join(["barcode,label", *rows]) + "\n")


@pytest.mark.parametrize("packed", [False, True])
def test_cells_are_logarithms_of_shares(packed, data):
    ten_x(data / "pbmc3k" / "filtered_gene_bc_matrices" / "hg19", packed=packed)
    table, labels = cells.read(data / "pbmc3k")
    assert table.shape == (20, 6) and labels.tolist() == ["monocyte"] * 10 + ["B cell"] * 10
    assert table[0, 0] == pytest.approx(math.log1p(10_000 * 9 / 11)) and table[1, 0] == pytest.approx(
        math.log1p(10_000 * 9 / 10)
    )
    assert table[0, 1] == 0 and table[0, 3] == pytest.approx(math.log1p(10_000 / 11))


def test_cells_as_a_world(data):
    ten_x(data / "pbmc3k")
    world = vectors.load("pbmc3k")
    assert world.classes == ("B cell", "monocyte") and world.kind == "curve"
    assert world.n_features == 4  # of six genes two are in no cell
    assert len(world.train) == 16 and len(world.test) == 4
    assert world.train.vectors.amin() == 0 and world.train.vectors.amax() == 1 and world.test.vectors.amax() <= 1
    first = (world.train.vectors[:, 0] > 0).long()
    assert torch.equal(first, world.train.labels)  # gene 0 is the monocytes'
    with pytest.raises(InputError, match="no square images|at least 4x4"):
        alternation.images("pbmc3k")


def test_the_most_variable_genes_in_the_order_of_the_file():
    table = csr_matrix(np.array([[0.0, 5, 1, 2, 0], [0, 0, 1, 3, 9], [0, 5, 1, 2, 0]]))
    assert cells.most_variable(table, 2).tolist() == [1, 4]
    assert cells.most_variable(table).tolist() == [1, 3, 4]


def test_cells_without_labels_are_for_looking_only(data):
    ten_x(data / "pbmc3k", labelled=False)
    world = vectors.load("pbmc3k")
    assert world.classes == () and world.train.labels is None
    with pytest.raises(InputError, match="has no labels"):
        deep_clusters.labelled(world)


# --- scanpy's small set ---

KINDS = np.dtype([("index", "S6"), ("bulk_labels", "i1")])


def small_set(folder, *, types: int = 12, named: int = 2) -> None:
    """Twelve cells, four genes; gene 3 is in none."""
    folder.mkdir(parents=True, exist_ok=True)
    table = csr_matrix(np.array([[2.5, 0, 1, 0]] * 6 + [[0, 1.5, 2, 0]] * 6, dtype=np.float32))
    with h5py.File(folder / cells.REDUCED, "w") as file:
        raw = file.create_group("raw.X")
        raw["data"], raw["indices"], raw["indptr"] = table.data, table.indices, table.indptr
        raw.attrs["h5sparse_shape"] = table.shape
        file["obs"] = np.array([(f"c{k}".encode(), k // 6) for k in range(types)], dtype=KINDS)
        file["uns/bulk_labels_categories"] = np.array([b"B", b"NK"][:named])


@pytest.fixture
def without_scanpy(monkeypatch):
    monkeypatch.setattr(cells.importlib.util, "find_spec", lambda name: None)


def test_the_small_set_as_a_world(data, without_scanpy):
    small_set(data / "pbmc68k-reduced")
    world = vectors.load("pbmc68k-reduced")
    assert world.classes == ("B", "NK") and world.n_features == 3 and (len(world.train), len(world.test)) == (10, 2)
    assert torch.equal((world.train.vectors[:, 1] > 0).long(), world.train.labels)
    assert world.train.vectors.amin() == 0 and world.train.vectors.amax() == 1


def test_the_small_set_is_found_in_scanpy(data, tmp_path, monkeypatch):
    small_set(tmp_path / "scanpy" / "datasets")
    (tmp_path / "scanpy" / "__init__.py").write_text("raise ImportError('nothing of it is imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert cells.reduced_file(data / "pbmc68k-reduced") == tmp_path / "scanpy" / "datasets" / cells.REDUCED


@pytest.mark.parametrize(("options", "told"), [
    (None, "is not here"), ({"types": 11}, "12 cells and 11 types"), ({"named": 1}, "one of its own each")])
def test_a_small_set_that_cannot_be_used(options, told, data, without_scanpy):
    if options is not None:
        small_set(data / "pbmc68k-reduced", **options)
    with pytest.raises(InputError, match=told) as error:
        vectors.load("pbmc68k-reduced")
    assert str(data / "pbmc68k-reduced") in one_sentence(error)


def test_a_small_set_cut_off_or_laid_out_in_another_way(data, without_scanpy):
    folder = data / "pbmc68k-reduced"
    small_set(folder)
    whole = (folder / cells.REDUCED).read_bytes()
    (folder / cells.REDUCED).write_bytes(whole[:700])
    with pytest.raises(InputError, match="cannot be read"):
        vectors.load("pbmc68k-reduced")
    with h5py.File(folder / cells.REDUCED, "w") as file:
        file["X"] = np.zeros((12, 4))
    with pytest.raises(InputError, match="laid out in another way"):
        vectors.load("pbmc68k-reduced")


def write(name: str, text: str | bytes):
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def cut(name: str, by: int):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-by])


LABELS = "\n".join(["barcode,label", *[f"CELL{k}-1,{k % 2}" for k in range(20)]])
BAD_CELLS = {
    "cut off": (cut("matrix.mtx", 30), "matrix.mtx cannot be read"),
    "no matrix": (write("matrix.mtx", "gene,cell\n1,2\n"), "matrix.mtx cannot be read"),
    "empty": (write("matrix.mtx", ""), "matrix.mtx cannot be read"),
    "fewer genes": (lambda folder: ten_x(folder, genes=5), "5 lines in genes.tsv"),
    "fewer cells": (write("barcodes.tsv", "CELL0-1\n"), "1 in barcodes.tsv"),
    "scaled": (lambda folder: ten_x(folder, COUNTS - 1), "no counts"),
    "an empty cell": (lambda folder: ten_x(folder, COUNTS * (np.arange(20) != 3)), "no count of a gene for CELL3-1"),
    "few cells": (lambda folder: ten_x(folder, COUNTS[:, 5:11]), "fewer than ten cells"),
    "no barcodes": (lambda folder: (folder / "barcodes.tsv").unlink(), "expected barcodes.tsv or barcodes.tsv.gz"),
    "two matrices": (lambda folder: ten_x(folder / "mm10"), "holds several matrices"),
    "a cell without a label": (write("labels.csv", LABELS.replace("CELL7-1,1\n", "")), "no label for 1 of 20 cells"),
    "a cell with two": (write("labels.csv", LABELS + "\nCELL7-1,0"), "labels a cell twice"),
    "other columns": (write("labels.csv", "cell,type\nCELL0-1,B"), "has the columns cell, type"),
    "no labels in it": (write("labels.csv", ""), "labels.csv cannot be read"),
}


@pytest.mark.parametrize("case", BAD_CELLS)
def test_cells_that_cannot_be_used(case, data):
    folder = data / "pbmc3k"
    ten_x(folder)
    BAD_CELLS[case][0](folder)
    with pytest.raises(InputError, match=BAD_CELLS[case][1]) as error:
        vectors.load("pbmc3k")
    one_sentence(error)


def test_packed_cells_cut_off(data):
    ten_x(data / "pbmc3k", packed=True)
    for name in ("matrix.mtx.gz", "features.tsv.gz"):
        whole = (data / "pbmc3k" / name).read_bytes()
        for end in (0, 5, len(whole) // 2, len(whole) - 4):
            (data / "pbmc3k" / name).write_bytes(whole[:end])
            with pytest.raises(InputError):
                vectors.load("pbmc3k")
        (data / "pbmc3k" / name).write_bytes(whole)
