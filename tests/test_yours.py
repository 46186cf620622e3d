"""Your own data: every format, with and without factors, and everything that can be wrong with it."""
import json
import re
import textwrap
from itertools import product

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from inc_lib import worlds
from inc_lib.errors import InputError
from inc_lib.files import ROOT
from inc_lib.worlds import storage, yours
from inc_lib.worlds.columns import tabulate

from . import layouts


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """Caches go to a folder of the test's own."""
    monkeypatch.setenv("INC_DATA", str(tmp_path / "cache"))


def refusal(path, **options):
    """The sentence a user gets; one line, at most two sentences long."""
    with pytest.raises(InputError) as caught:
        worlds.load(path, **options)
    text = str(caught.value)
    assert "\n" not in text and text.endswith((".", "?"))
    return text


def values(world, n):
    """The flat value of each observation."""
    return (world.observation(np.arange(n))[:, 0, 5, 5] * 255).round().int().tolist()


STATES = [(shape, hue) for shape, hue in product(("cube", "ball", "cone"), (0.1, 0.5))][:-1]


# --- a folder of images ---


def test_image_folder_with_factors(tmp_path):
    layouts.image_folder(tmp_path / "toys", STATES, ("shape", "hue"))
    world = worlds.load(tmp_path / "toys", image_size=32)
    assert (world.name, world.source, world.channels, world.n_states) == ("toys", "yours", 3, 5)
    assert [(f.name, f.values, f.kind) for f in world.factors] == [
        ("shape", ("ball", "cone", "cube"), "categorical"), ("hue", (0.1, 0.5), "ordered")]
    assert world.grid().tolist() == [[2, 0], [2, 1], [0, 0], [0, 1], [1, 0]]
    assert values(world, 5) == [20, 21, 22, 23, 24]
    assert "5 of 6 combinations" in world.describe() and world.notes == ()
    a, b = world.pairs(50, torch.Generator().manual_seed(0))
    assert ((a != b).sum(1) == 1).all()
    assert worlds.load(tmp_path / "toys" / "factors.csv").n_states == 5


def test_image_folder_in_subfolders_and_with_other_separators(tmp_path):
    folder = tmp_path / "photos"
    for i, name in enumerate(("a/1.png", "a/2.png", "b/1.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(layouts.png(layouts.coded_images(3, size=16)[i]))
    (folder / "factors.csv").write_text("\ufeffbild;lamp;age\na\\1.png;on;1\n\nb/1.png;off;2\na/2.png; on "
                                        ";1\n",
                                        encoding="utf-8")
    world = worlds.load(folder)
    assert [f.name for f in world.factors] == ["lamp", "age"] and world.factors[1].values == (1, 2)
    assert world.grid().tolist() == [[1, 0], [0, 1], [1, 0]] and values(world, 3) == [20, 22, 21]


def test_image_folder_without_factors(tmp_path):
    folder = tmp_path / "plain"
    for i, name in enumerate(("cat/x.png", "dog/y.png", "dog/.hidden.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(layouts.png(layouts.coded_images(3, size=16)[i]))
    (folder / "notes.txt").write_text("not an image")
    (folder / "labels.csv").write_text("x")
    world = worlds.load(folder)
    assert world.n_states == 2 and world.factors == () and world.sample(2)[1].shape == (2, 0)
    assert any("labels.csv is not read" in note for note in world.notes)
    assert any("2 subfolders (cat, dog) are not used as classes" in note for note in world.notes)
    assert "factors.csv" in world.describe()


def test_images_of_several_kinds_become_one(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    Image.new("L", (40, 40), 100).save(folder / "a.png")
    Image.new("RGB", (20, 20), (255, 0, 0)).save(folder / "b.jpg", quality=100)
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(folder / "c.png")          # transparent: shown on white
    Image.new("P", (80, 80), 0).save(folder / "d.gif")
    Image.fromarray(np.full((10, 10), 65535, np.uint16)).save(folder / "e.png")     # 16 bits
    Image.new("1", (10, 10), 1).save(folder / "f.bmp")
    world = worlds.load(folder, image_size=16)
    observations = world.observation(np.arange(6))
    assert observations.shape == (6, 3, 16, 16)
    centre = (observations[:, :, 8, 8] * 255).round()
    assert centre[0].tolist() == [100, 100, 100] and (centre[1] - torch.tensor([255, 0, 0])).abs().max() <= 2
    assert (centre[[2, 4, 5]] == 255).all()


def test_grey_images_stay_grey_and_oblong_ones_are_padded(tmp_path):
    folder = tmp_path / "grey"
    folder.mkdir()
    for i in range(3):
        Image.new("L", (16, 8), 50 + i).save(folder / f"{i}.png")
    world = worlds.load(folder, image_size=16)
    observation = world.observation([2])
    assert world.channels == 1 and observation[0, 0, 0, 0] == 0
    assert (observation[0, 0, 4:12] * 255).round().unique().tolist() == [52]
    assert "16x8 pixels: they are padded with black" in world.describe()


def test_many_images_are_decoded_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(yours, "SLOW", 4)
    layouts.image_folder(tmp_path / "toys", STATES, ("shape", "hue"))
    first = worlds.load(tmp_path / "toys").observation(np.arange(5))
    assert "unpacking" in capsys.readouterr().err
    monkeypatch.setattr(yours, "_pixels", None)                                # a second decoding would fail
    assert torch.equal(worlds.load(tmp_path / "toys").observation(np.arange(5)), first)
    monkeypatch.undo()
    monkeypatch.setattr(yours, "SLOW", 4)
    monkeypatch.setenv("INC_DATA", str(tmp_path / "cache"))
    (tmp_path / "toys" / "000.png").write_bytes(layouts.png(np.full((17, 17, 3), 7, np.uint8)))
    assert values(worlds.load(tmp_path / "toys"), 1) == [7]                     # a changed file is seen


def test_your_data_is_never_called_like_another_world(tmp_path):
    layouts.image_folder(tmp_path / "shapes3d-twin", STATES, ("shape", "hue"))
    assert worlds.load(tmp_path / "shapes3d-twin").name == "shapes3d-twin-yours"


# --- what can be wrong with a folder ---


def csv(tmp_path, text):
    layouts.image_folder(tmp_path / "toys", STATES, ("shape", "hue"))
    (tmp_path / "toys" / "factors.csv").write_text(text)
    return tmp_path / "toys"


@pytest.mark.parametrize(("text", "words"), [
    ("file,shape\n000.png,cube\nlost.png,ball\ngone.png,ball\n", "line 3 names the file 'lost.png' and 1 "
                                                                 "more, which"),
    ("file,shape,hue\n000.png,cube,1\n001.png,,2\n", "line 3 has no value in column 'shape'"),
    ("file,hue\n000.png,1\n001.png,NaN\n", "column 'hue' has 1 gap (empty or NaN), first in row 2"),
    ("file,shape,hue\n000.png,cube,1\n001.png,ball\n", "line 3 has 2 fields: the header has 3"),
    ("file,shape,shape\n000.png,a,b\n", "expected a different name for each column"),
    ("file,shape\n", "has no rows"), ("", "has no rows"),
    ("file,shape\n000.png,cube\n000.png,ball\n", "names '000.png' in line 2 and again in line 3 with other "
                                                 "values"),
    ("file,shape\n000.png,cube\n", "holds 1 image: a dataset needs at least 2"),
])
def test_factors_csv_that_cannot_be_used(tmp_path, text, words):
    assert words in refusal(csv(tmp_path, text))


def test_factors_csv_in_another_encoding(tmp_path):
    folder = csv(tmp_path, "")
    (folder / "factors.csv").write_bytes("file,größe\n".encode("latin-1"))
    assert "is not UTF-8 text" in refusal(folder)


def test_repeated_rows_and_unnamed_images_are_noted(tmp_path):
    world = worlds.load(csv(tmp_path, "file,shape\n000.png,cube\n001.png,ball\n000.png,cube\n"))
    assert world.n_states == 2
    assert world.notes[0] == "1 repeated line of factors.csv is ignored."
    assert world.notes[1] == "3 images that factors.csv does not name are left out."


def noise(shape):
    """Pixels that do not compress."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def broken(tmp_path, name, content):
    folder = tmp_path / "broken"
    folder.mkdir()
    for i in range(2):
        (folder / f"{i}.png").write_bytes(layouts.png(noise((32, 32, 3))))
    (folder / name).write_bytes(content)
    return folder


def test_files_that_are_no_images(tmp_path):
    text = refusal(broken(tmp_path, "z.png", b"hello"))
    assert str(tmp_path / "broken" / "z.png") in text and "is not an image" in text


def test_a_truncated_image_file(tmp_path):
    whole = layouts.png(noise((32, 32, 3)))
    assert "z.png cannot be decoded" in refusal(broken(tmp_path, "z.png", whole[:len(whole) // 2]))


def test_an_empty_image_file(tmp_path):
    assert "z.png is not an image" in refusal(broken(tmp_path, "z.png", b""))


def test_an_image_of_another_shape(tmp_path):
    folder = broken(tmp_path, "z.png", layouts.png(np.zeros((48, 64, 3), np.uint8)))
    assert "z.png is 64x48 pixels" in refusal(folder) and "one aspect ratio" in refusal(folder)


def test_floating_point_image_files(tmp_path):
    folder = broken(tmp_path, "notes.txt", b"")
    Image.fromarray(np.zeros((32, 32), np.float32)).save(folder / "z.tiff")
    assert "z.tiff holds floating-point pixels" in refusal(folder)


@pytest.mark.parametrize(("name", "words"), [(None, "holds no images: expected a folder of images"),
                                             ("data.npz", "give the path of one file"),
                                             ("data.arrow", "to_parquet")])
def test_folders_without_images(tmp_path, name, words):
    folder = tmp_path / "empty"
    folder.mkdir()
    if name:
        (folder / name).write_bytes(b"x")
    assert words in refusal(folder)


def test_paths_that_lead_nowhere(tmp_path):
    np.savez(tmp_path / "flowers.npz", images=layouts.coded_images(4))
    assert f"did you mean {tmp_path / 'flowers.npz'}?" in refusal(tmp_path / "flower.npz")
    assert "does not exist: expected a folder of images" in refusal(tmp_path / "no" / "such.h5")
    (tmp_path / "data.zip").write_bytes(b"x")
    assert "cannot be read as a dataset: expected" in refusal(tmp_path / "data.zip")
    (tmp_path / "none.npz").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / "none.npz")


# --- .npz ---


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    return tmp_path / "mine.npz"


GRID = np.array(list(product(range(3), range(4))))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("limit", [2 ** 30, 100])
def test_npz_with_names(tmp_path, monkeypatch, save, limit):
    monkeypatch.setattr(storage, "MEMORY_LIMIT", limit)
    save(tmp_path / "mine.npz", images=layouts.coded_images(12, size=32), factors=GRID,
         names=np.array(["shape", "hue"]))
    world = worlds.load(tmp_path / "mine.npz", image_size=32)
    assert [(f.name, f.size) for f in world.factors] == [("shape", 3), ("hue", 4)] and world.is_complete
    assert values(world, 12) == list(range(20, 32)) and torch.equal(world.grid(), torch.from_numpy(GRID))


def test_npz_without_names_without_factors_and_with_one(tmp_path):
    images = layouts.coded_images(12, size=16)
    assert worlds.load(npz(tmp_path, images=images)).factors == ()
    world = worlds.load(npz(tmp_path, images=images, labels=GRID))
    assert [f.name for f in world.factors] == ["factor 1", "factor 2"]
    world = worlds.load(npz(tmp_path, images=images, factors=GRID[:, 0], names="colour"))
    assert world.factors[0].name == "colour" and not world.supports_pairs


def test_npz_with_strings(tmp_path):
    factors = np.array([["red", "1"], ["blue", "2"], ["red", "10"]])
    world = worlds.load(npz(tmp_path, images=layouts.coded_images(3), factors=factors))
    assert world.factors[0].values == ("blue", "red")
    assert world.factors[1].values == (1, 2, 10) and world.factors[1].kind == "ordered"  # numbers in disguise
    assert world.grid().tolist() == [[1, 0], [0, 1], [1, 2]]


def test_npz_with_the_words_of_a_class(tmp_path):
    """As `clustering.write_dataset` writes: class numbers, and what they mean."""
    images, attributes = layouts.coded_images(4), np.array(["cube", "ball", "cone"])
    world = worlds.load(npz(tmp_path, images=images, factors=np.array([[0], [2], [0], [1]]), names=["shape"],
                            attributes=attributes))
    assert world.factors[0].values == ("ball", "cone", "cube") and world.grid()[:, 0].tolist() == [2, 1, 2, 0]
    assert "class numbers from 0 to 3, but the file names 3 classes" in refusal(
        npz(tmp_path, images=images, factors=np.arange(4), attributes=attributes))


@pytest.mark.parametrize(("shape", "channels"), [((6, 20, 20), 1), ((6, 20, 20, 1), 1), ((6, 1, 20, 20), 1),
                                                 ((6, 20, 20, 3), 3), ((6, 3, 20, 20), 3)])
@pytest.mark.parametrize("limit", [2 ** 30, 100])
@pytest.mark.parametrize("order", ["C", "F"])
def test_array_layouts(tmp_path, monkeypatch, shape, channels, limit, order):
    monkeypatch.setattr(storage, "MEMORY_LIMIT", limit)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    world = worlds.load(npz(tmp_path, images=np.array(images, order=order)), image_size=20)
    expected = images[:, None] if images.ndim == 3 else images
    expected = np.moveaxis(expected, -1, 1) if expected.shape[1] == 20 else expected
    assert world.channels == channels
    assert np.array_equal((world.observation([4, 1]) * 255).round().numpy(), expected[[4, 1]])


@pytest.mark.parametrize("make", [
    lambda x: x, lambda x: x.astype(np.int64), lambda x: x.astype(np.float64), lambda x: x.astype(">u2"),
    lambda x: x.astype(np.float32) / 255, lambda x: (x / 255).astype(np.float16), lambda x: x / 255 + 1e-9])
@pytest.mark.parametrize("limit", [2 ** 30, 100])
def test_kinds_of_pixels(tmp_path, monkeypatch, make, limit):
    """0 to 1 and 0 to 255, whole numbers and floats: all give the same observations."""
    monkeypatch.setattr(storage, "MEMORY_LIMIT", limit)
    images = layouts.coded_images(6, size=16)
    images[0] = 255
    world = worlds.load(npz(tmp_path, images=make(images)), image_size=16)
    assert values(world, 6) == [255, 21, 22, 23, 24, 25]


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int32, np.float32])
@pytest.mark.parametrize("limit", [2 ** 30, 100])
def test_binary_images(tmp_path, monkeypatch, kind, limit):
    monkeypatch.setattr(storage, "MEMORY_LIMIT", limit)
    images = (layouts.coded_images(6, size=16) % 2).astype(kind)
    assert values(worlds.load(npz(tmp_path, images=images), image_size=16), 6) == [0, 255] * 3


def test_large_images_are_kept_at_the_size_of_observations(tmp_path):
    world = worlds.load(npz(tmp_path, images=layouts.coded_images(4, size=100)), image_size=32)
    assert world.images.shape == (4, 32, 32, 3) and values(world, 4) == [20, 21, 22, 23]


@pytest.mark.parametrize(("arrays", "words"), [
    ({"pictures": layouts.coded_images(3)}, "has no field 'images': it has 'pictures'"),
    ({"images": np.zeros((5, 784))}, "has the shape (5, 784): expected (images, height, width)"),
    ({"images": np.zeros((5, 8, 8, 4), np.uint8)}, "drop the alpha channel"),
    ({"images": np.zeros((5, 2, 2))}, "2x2 pixels: expected at least 4x4"),
    ({"images": np.full((3, 8, 8), np.nan)}, "NaN or infinite pixels, first in image 0"),
    ({"images": np.where(np.arange(3)[:, None, None] == 2, np.inf, np.zeros((3, 8, 8)))}, "first in image 2"),
    ({"images": np.full((3, 8, 8), -1.0)}, "from -1 to -1: expected 0 to 1 or 0 to 255; (x + 1) / 2"),
    ({"images": np.full((3, 8, 8), 4000, np.uint16)}, "uint16 values from 4000 to 4000"),
    ({"images": np.full((3, 8, 8), 3.5)}, "from 3.5 to 3.5: expected 0 to 1 or 0 to 255"),
    ({"images": np.zeros((3, 8, 8), complex)}, "complex128 values: expected pixels"),
    ({"images": np.full((3, 8, 8), "x")}, "<U1 values: expected pixels"),
    ({"images": np.array([[1], [2, 3]], dtype=object)}, "Python objects (a pickle), which are refused"),
    ({"images": np.zeros((1, 8, 8))}, "holds 1 image: a dataset needs at least 2"),
    ({"images": np.zeros((0, 8, 8))}, "holds 0 images"),
    ({"images": np.array(3)}, "has the shape ()"),
    ({"images": np.zeros((4, 8, 8)), "factors": np.zeros((3, 2))}, "has the shape (3,): expected one value "
                                                                   "for each of 4"),
    ({"images": np.zeros((4, 8, 8)), "factors": np.zeros((4, 2, 2))}, "expected (images, factors)"),
    ({"images": np.zeros((4, 8, 8)), "factors": np.array([None] * 4, object)}, "which are refused"),
    ({"images": np.zeros((4, 8, 8)), "factors": np.array([0, 1, np.nan, 2])}, "has 1 gap (empty or NaN), "
                                                                              "first in row 3"),
    ({"images": np.zeros((4, 8, 8)), "factors": np.zeros(4), "labels": np.zeros(4)}, "both 'factors' and "
                                                                                     "'labels'"),
    ({"images": np.zeros((4, 8, 8)), "factors": np.zeros((4, 2)), "names": np.array(["a"])}, "expected 2 "
                                                                                             "different "
                                                                                             "names"),
    ({"images": np.zeros((4, 8, 8)), "factors": np.zeros(4, [("a", int)])}, "structured array"),
    ({"images": np.zeros((4, 8, 8)), "factors": np.zeros(4, complex)}, "complex128 values: expected numbers "
                                                                       "or strings"),
])
def test_npz_that_cannot_be_used(tmp_path, arrays, words):
    text = refusal(npz(tmp_path, **arrays))
    assert words in text and str(tmp_path / "mine.npz") in text


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('the pickle was run')",))

    path = npz(tmp_path, images=layouts.coded_images(4, size=8), metadata=np.array([Bomb()], dtype=object))
    assert worlds.load(path).n_states == 4                       # beside the images it does no harm
    for name in ("images", "factors", "names"):
        arrays = {"images": layouts.coded_images(1, size=8), "factors": np.zeros((1, 1))}
        refused = npz(tmp_path, **(arrays | {name: np.array([[Bomb()]], dtype=object)}))
        assert "refused" in refusal(refused)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_truncated_npz(tmp_path, save):
    save(tmp_path / "mine.npz", images=np.random.default_rng(0).integers(0, 256, (20, 16, 16), np.uint8))
    whole = (tmp_path / "mine.npz").read_bytes()
    (tmp_path / "mine.npz").write_bytes(whole[:len(whole) // 2])
    assert "is not a whole .npz file" in refusal(tmp_path / "mine.npz")
    (tmp_path / "mine.npz").write_bytes(whole[:3000] + bytes(500) + whole[3500:])
    assert "is not a whole .npz file" in refusal(tmp_path / "mine.npz")      # the zip's own checksum tells
    (tmp_path / "mine.npz").write_bytes(b"PK not a zip")
    assert "is not a whole .npz file" in refusal(tmp_path / "mine.npz")


# --- .h5 ---


def h5(tmp_path, attributes=None, **arrays):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        for name, values_ in arrays.items():
            file[name] = values_
        for place, names in (attributes or {}).items():
            (file if place == "/" else file[place]).attrs["names"] = names
    return tmp_path / "mine.h5"


def test_h5_in_the_3dshapes_layout_never_seen_before(tmp_path):
    """Three factors instead of six, other values, an incomplete grid: what readers run chapters on."""
    values_ = np.array([(a, b, c) for a, b, c in product([0.25, 0.5], [-30.0, 0.0, 30.0], [7.0, 9.0])])[:-2]
    path = h5(tmp_path, images=layouts.coded_images(len(values_)), labels=values_)
    world = worlds.load(str(path))
    assert [f.name for f in world.factors] == ["factor 1", "factor 2", "factor 3"]
    assert [f.values for f in world.factors] == [(0.25, 0.5), (-30, 0, 30), (7, 9)]
    assert all(f.kind == "ordered" for f in world.factors)
    assert world.n_states == 10 and values(world, 10) == list(range(20, 30))
    a, b, _, _ = world.paired_observations(6, torch.Generator().manual_seed(0))
    assert a.shape == b.shape == (6, 3, 64, 64)


@pytest.mark.parametrize("place", ["labels", "/", "dataset"])
def test_h5_names(tmp_path, place):
    attributes = {} if place == "dataset" else {place: ["size", "hue"]}
    arrays = {"names": np.array([b"size", b"hue"])} if place == "dataset" else {}
    path = h5(tmp_path, attributes, images=layouts.coded_images(12), labels=GRID, **arrays)
    assert [f.name for f in worlds.load(path).factors] == ["size", "hue"]


def test_h5_without_labels_and_with_strings(tmp_path):
    assert worlds.load(h5(tmp_path, images=layouts.coded_images(3))).factors == ()
    labels = np.array([["red"], ["blue"], ["red"]], dtype=object)
    path = h5(tmp_path, images=layouts.coded_images(3), labels=labels)
    assert worlds.load(path).factors[0].values == ("blue", "red")


@pytest.mark.parametrize(("arrays", "words"), [
    ({"pictures": np.zeros(3)}, "has no dataset 'images': it has 'pictures'"),
    ({}, "has no dataset 'images': it has none"),
    ({"images": layouts.coded_images(3), "labels": np.zeros((2, 2))}, "expected one value for each of 3"),
    ({"images": np.zeros((3, 5))}, "has the shape (3, 5)"),
    ({"images": np.full((3, 8, 8), np.nan)}, "NaN or infinite pixels"),
])
def test_h5_that_cannot_be_used(tmp_path, arrays, words):
    assert words in refusal(h5(tmp_path, **arrays))


def test_truncated_h5_and_something_else(tmp_path):
    path = h5(tmp_path, images=layouts.coded_images(20))
    path.write_bytes(path.read_bytes()[:-1000])
    assert "it is cut off" in refusal(path)
    path.write_bytes(b"something else entirely")
    assert "it is not an HDF5 file, or damaged" in refusal(path)


def test_damaged_chunks_of_an_h5(tmp_path):
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        images = np.random.default_rng(0).integers(0, 256, (20, 16, 16), np.uint8)
        dataset = file.create_dataset("images", data=images, compression="gzip", chunks=(20, 16, 16))
        offset = dataset.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 10:offset + 200] = bytes(190)
    path.write_bytes(content)
    assert "cannot be read" in refusal(path)


# --- parquet ---


def table(n=6, **columns):
    images = layouts.coded_images(n, size=16)
    return {"image": [layouts.png(image) for image in images], **columns}


def test_parquet_with_bytes(tmp_path):
    frame = pd.DataFrame(table(shape=["cube", "ball"] * 3, size=[1, 1, 2, 2, 3, 3], lit=[True, False] * 3))
    frame.to_parquet(tmp_path / "toys.parquet")
    world = worlds.load(tmp_path / "toys.parquet")
    assert [(f.name, f.values) for f in world.factors] == [
        ("shape", ("ball", "cube")), ("size", (1, 2, 3)), ("lit", ("false", "true"))]
    assert values(world, 6) == list(range(20, 26))


def hugging_face(path, rows, *, features=None):
    """A shard as Hugging Face's datasets write it: a struct of bytes and path, class names in the schema."""
    image = pa.array([{"bytes": b, "path": f"{i}.png"} for i, b in enumerate(rows["image"])],
                     pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    shard = pa.table({**rows, "image": image})
    metadata = {"huggingface": json.dumps({"info": {"features": features or {"image": {"_type": "Image"}}}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(shard.replace_schema_metadata(metadata), path)


def test_hugging_face_folder(tmp_path):
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog", "fox"]}}
    rows = table(label=[0, 1, 2, 0, 1, 2])
    for i in range(2):
        hugging_face(tmp_path / "pets" / "data" / f"train-0000{i}-of-00002.parquet", rows, features=features)
    world = worlds.load(tmp_path / "pets")
    assert world.name == "pets" and world.n_states == 12
    assert world.factors[0].name == "label" and world.factors[0].values == ("cat", "dog", "fox")
    assert values(world, 12) == [*range(20, 26)] * 2


def test_parquet_of_several_kinds_of_column(tmp_path):
    columns = {"kind": pa.array(["a", "b", "a", "b", "a", "b"]).dictionary_encode(),
               "price": pa.array([1.5, 2.5, 1.5, 2.5, 1.5, 2.5]), "tags": pa.array([["x"]] * 6),
               "same": pa.array([4] * 6)}
    pq.write_table(pa.table({**table(), **columns}), tmp_path / "toys.parquet")
    world = worlds.load(tmp_path / "toys.parquet")
    assert [(f.name, f.values) for f in world.factors] == [("kind", ("a", "b")), ("price", (1.5, 2.5))]
    assert world.notes == ("column 'tags' is left out: it holds neither numbers nor strings.",
                           "column 'same' is left out: it has one value only (4).")


def test_parquet_that_cannot_be_used(tmp_path):
    path = tmp_path / "toys.parquet"
    path.write_bytes(b"PAR1 not really PAR1")
    assert "cannot be read as parquet" in refusal(path)
    pd.DataFrame({"shape": ["a", "b"]}).to_parquet(path)
    assert "has no columns of encoded images among ['shape']" in refusal(path)
    pd.DataFrame({**table(), "mask": table()["image"]}).to_parquet(path)
    assert worlds.load(path).n_states == 6                               # of several, the one named image
    pd.DataFrame({**table(), "mask": table()["image"]}).rename(columns={"image": "photo"}).to_parquet(path)
    assert "has 2 columns of encoded images" in refusal(path)
    pd.DataFrame(table(shape=["a", "b", None, "a", None, "b"])).to_parquet(path)
    assert "column 'shape' has 2 gaps (empty or NaN), first in row 3" in refusal(path)
    rows = table()
    rows["image"][3] = b"not an image"
    pd.DataFrame(rows).to_parquet(path)
    assert "row 4 is not an image" in refusal(path)
    rows["image"][3] = None
    hugging_face(path, rows)
    assert "holds no image in row 4" in refusal(path)
    pd.DataFrame(table(n=1)).to_parquet(path)
    assert "holds 1 image" in refusal(path)
    hugging_face(path, table(label=[0, 1, 2, 3, 4, 5]),
                 features={"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}})
    assert "class numbers from 0 to 5, but the file names 2 classes" in refusal(path)


def test_parquet_shards_that_do_not_belong_together(tmp_path):
    pd.DataFrame(table()).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame(table(shape=list("ababab"))).to_parquet(tmp_path / "b.parquet")
    assert "b.parquet has the columns ['image', 'shape'], but" in refusal(tmp_path)


# --- columns to factors ---


def test_tabulate_sorts_distinct_values():
    labels, factors, notes = tabulate({"a": [3, 1, 3, 2], "b": ["y", "x", "y", "z"]}, 4, "t")
    assert labels.tolist() == [[2, 1], [0, 0], [2, 1], [1, 2]] and not notes
    assert factors[0].values == (1, 2, 3) and factors[1].values == ("x", "y", "z")


def test_tabulate_kinds():
    columns = {"code": [0, 1, 2], "size": [2, 4, 8], "x": [0.5, 1.0, 0.5], "s": ["a", "b", "c"]}
    _, factors, _ = tabulate(columns, 3, "t")
    assert [f.kind for f in factors] == ["categorical", "ordered", "ordered", "categorical"]


def test_rounding_errors_do_not_make_attributes():
    _, factors, _ = tabulate({"x": [0.1 + 0.2, 0.3, 0.1], "y": np.array([0.1, 0.2, 0.1], np.float32)}, 3, "t")
    assert factors[0].values == (0.1, 0.3) and factors[1].values == (0.1, 0.2)


def test_constant_continuous_and_identifying_columns_are_left_out_with_a_note(tmp_path):
    n = 120
    rng = np.random.default_rng(0)
    labels, factors, notes = tabulate({
        "shape": rng.integers(0, 3, n), "fixed": np.full(n, 2.0), "time": rng.random(n), "id": np.arange(n),
        "name": [f"n{i}" for i in range(n)], "pixel": np.arange(n) % 60}, n, "t")
    assert [f.name for f in factors] == ["shape", "pixel"] and labels.shape == (n, 2)
    assert "column 'fixed' is left out: it has one value only (2.0)" in notes[0]
    assert "column 'time' is left out: its 120 distinct values are continuous; cut it into bins" in notes[1]
    assert "column 'id' is left out: 120 distinct values in 120 rows name the rows" in notes[2]
    assert "column 'name' is left out" in notes[3]


def test_a_dataset_whose_every_column_is_left_out_loads_unlabelled(tmp_path):
    path = npz(tmp_path, images=layouts.coded_images(60, size=8), factors=noise((60, 1)) / 256 + np.pi)
    world = worlds.load(path)
    assert world.factors == () and "Column 'factor 1' is left out" in world.describe()


def test_measured_values_on_a_grid_are_factors():
    """40 angles as in dSprites, each met often: measured numbers, and not continuous."""
    angles = np.tile(np.linspace(0, 2 * np.pi, 40), 5)
    _, factors, notes = tabulate({"angle": angles}, 200, "t")
    assert factors[0].size == 40 and factors[0].kind == "ordered" and not notes


# --- size ---


@pytest.mark.parametrize("n", [2, 10])
def test_small_datasets_load(tmp_path, n):
    factors = np.stack([np.arange(n) % 2, np.arange(n) // 2], 1)
    world = worlds.load(npz(tmp_path, images=layouts.coded_images(n), factors=factors))
    assert world.sample(8)[0].shape == (8, 3, 64, 64) and world.n_states == n
    if n == 2:                                        # the second column is constant: one factor, no pairs
        assert not world.supports_pairs and "one value only" in world.describe()
    else:
        assert world.supports_pairs and world.pairs(8)[0].shape == (8, 2)


@pytest.mark.parametrize("make", ["npz", "h5"])
def test_one_image_is_refused(tmp_path, make):
    path = {"npz": npz, "h5": h5}[make](tmp_path, images=layouts.coded_images(1))
    assert "holds 1 image: a dataset needs at least 2" in refusal(path)


# --- the page ---


def test_the_examples_of_the_page_run(tmp_path, monkeypatch, capsys):
    """Every python block of "Your own data", in order, in an empty folder."""
    page = (ROOT / "book" / "your_data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    monkeypatch.chdir(tmp_path)
    names = {}
    for _, block in blocks:
        exec(compile(textwrap.dedent(block), "your_data.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "toys (yours): 12 observations, colour images of 32x32; shade (3), stripe (4)." in printed
    assert "mydata (yours): 30 observations, colour images of 64x64; shape (3), size (2)." in printed
    assert "tensor([1])" in printed                          # two factors: pairs differ in one
