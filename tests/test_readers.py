"""Published files in their exact layouts, downloads, and the world that is data: ArrayWorld and its pairs."""
import gzip
import hashlib
import http.server
import os
import threading
import tracemalloc
from collections import Counter
from itertools import combinations, product

import h5py
import numpy as np
import pytest
import torch

from inc_lib import worlds
from inc_lib.errors import InputError
from inc_lib.files import data_folder
from inc_lib.worlds import fetch, partners, published, storage
from inc_lib.worlds.__main__ import main
from inc_lib.worlds.arrays import ArrayWorld
from inc_lib.worlds.base import Factor

from . import layouts


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder of the test's own."""
    monkeypatch.setenv("INC_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def array_world(states, sizes=None, *, images=None, **options):
    """A world of flat images whose value tells the observation."""
    labels = np.array(states, np.int64)
    sizes = sizes or tuple(labels.max(0) + 1)
    factors = [Factor(f"factor {i}", tuple(range(size))) for i, size in enumerate(sizes)]
    images = layouts.coded_images(len(labels), size=8, channels=1) if images is None else images
    return ArrayWorld(name="test", source="yours", images=images, labels=labels, factors=factors,
                      **({"image_size": 8} | options))


# --- ArrayWorld ---


class Counting:
    """Images that write down what was asked of them."""

    def __init__(self, images):
        self.images, self.shape, self.asked = images, images.shape, []

    def __getitem__(self, index):
        self.asked.append(np.asarray(index))
        return self.images[index]


def test_reading_touches_only_the_items_asked_for():
    images = Counting(layouts.coded_images(50, size=8, channels=1))
    world = array_world(list(product(range(5), range(10))), images=images)
    assert images.asked == []                                             # nothing at construction
    world.observation([7, 3, 7])
    assert [list(a) for a in images.asked] == [[3, 7]]                    # once each, in increasing order
    images.asked.clear()
    world.render(torch.tensor([[0, 4], [4, 9]]))
    assert [list(a) for a in images.asked] == [[4, 49]]
    images.asked.clear()
    world.pairs(20, generator())
    assert images.asked == []                                             # states need no images
    first = next(world.batches(10))
    assert [list(a) for a in images.asked] == [list(range(10))] and first[0].shape == (10, 1, 8, 8)


def test_observations_come_in_the_order_asked_for():
    world = array_world([[0, 0], [0, 1], [1, 0], [1, 1]])
    observations = world.observation(torch.tensor([2, 0, 2, 3]))
    assert observations.dtype == torch.float32
    assert (observations[:, 0, 0, 0] * 255).round().tolist() == [22, 20, 22, 23]


def test_sample_render_and_batches_agree():
    world = array_world(list(product(range(2), range(3), range(2))))
    observations, states = world.sample(40, generator())
    assert states.dtype == torch.int64 and torch.equal(world.render(states), observations)
    everything = list(world.batches(5))
    assert [len(s) for _, s in everything] == [5, 5, 2]
    assert torch.equal(torch.cat([s for _, s in everything]), world.grid())
    assert torch.equal(world.states(40, generator()), states)


def test_draws_repeat_with_the_generator():
    world = array_world([[0, 0], [0, 1], [1, 0], [2, 1], [2, 2]])
    for draw in (world.sample, world.pairs, world.paired_observations):
        for a, b in zip(draw(30, generator(3)), draw(30, generator(3)), strict=True):
            assert torch.equal(a, b)


def test_a_state_that_is_not_in_the_data():
    world = array_world([[0, 0], [1, 1]])
    with pytest.raises(InputError, match="no observation of factor 0 = 0, factor 1 = 1: only combinations"):
        world.render(torch.tensor([[0, 0], [0, 1]]))
    with pytest.raises(InputError, match="factor 1 = number 9"):
        world.render(torch.tensor([[0, 9]]))
    with pytest.raises(InputError, match="has observations 0 to 1: asked for 2"):
        world.observation([2])


def test_several_observations_of_one_state():
    world = array_world([[0, 0], [1, 0], [0, 0], [1, 1]], (2, 2))
    assert world.n_states == 4 and len(world.table) == 3
    assert (world.render(torch.tensor([[0, 0]]))[0, 0, 0, 0] * 255).round() == 20        # the first match
    a, b, states_a, states_b = world.paired_observations(600, generator(), k=1)
    seen = Counter((a[(states_a == 0).all(1)][:, 0, 0, 0] * 255).round().int().tolist())
    assert set(seen) == {20, 22} and 0.4 < seen[20] / sum(seen.values()) < 0.6           # both are drawn
    assert ((states_a != states_b).sum(1) == 1).all()


def test_without_labels():
    world = ArrayWorld(name="photos", source="yours", images=layouts.coded_images(5, size=8), image_size=8)
    observations, states = world.sample(3, generator())
    assert observations.shape == (3, 3, 8, 8) and states.shape == (3, 0)
    assert not world.supports_pairs and world.factors == () and world.n_states == 5
    assert "no factor labels" in world.describe()
    with pytest.raises(InputError, match="train a model without pairs"):
        world.pairs(4, generator())
    with pytest.raises(InputError, match="no factor labels"):
        world.render(torch.zeros(1, 0))


def test_nothing_asked_for():
    world = array_world([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert world.sample(0, generator())[0].shape == (0, 1, 8, 8)
    assert world.pairs(0, generator())[0].shape == (0, 2)
    assert world.observation([]).shape == (0, 1, 8, 8)


@pytest.mark.parametrize(("labels", "words"), [
    (np.zeros((3, 1)), "4 images, 2 factors, but labels of shape"),
    (np.array([[0, 0], [0, 1], [1, 2], [1, 1]]), "'factor 1' run from 0 to 2: expected 0 to 1"),
])
def test_labels_that_do_not_fit(labels, words):
    with pytest.raises(InputError, match=words):
        ArrayWorld(name="x", source="yours", images=layouts.coded_images(4), labels=labels,
                   factors=[Factor("factor 0", (0, 1)), Factor("factor 1", (0, 1))])


def test_image_size_is_checked():
    with pytest.raises(InputError, match="image_size = 4: expected a whole number"):
        array_world([[0, 0], [1, 1]], image_size=4)


def test_more_combinations_than_can_be_counted():
    n = 70
    with pytest.raises(InputError, match="70 factors span more than"):
        ArrayWorld(name="wide", source="yours", images=layouts.coded_images(4),
                   labels=np.zeros((4, n), np.int64), factors=[Factor(f"f{i}", (0, 1)) for i in range(n)])


def test_describe_tells_holes_and_notes():
    world = array_world([[0, 0], [0, 1], [1, 0]], notes=["one image was left out."])
    assert world.describe() == ("test (yours): 3 observations, grey images of 8x8; factor 0 (2), factor 1 "
                                "(2). They cover 3 of 4 combinations. One image was left out.")


# --- fitting images ---


def test_fit_pads_28_to_32_and_keeps_every_pixel():
    images = torch.full((1, 1, 28, 28), 255, dtype=torch.uint8)
    fitted = storage.fit(images, 32)
    assert fitted.shape == (1, 1, 32, 32) and fitted.sum() == 28 * 28
    assert fitted[0, 0, 2:30, 2:30].min() == 1 and fitted[0, 0, 1].max() == 0


def test_fit_averages_whole_blocks():
    images = torch.tensor([[0, 255], [255, 255]], dtype=torch.uint8).repeat(4, 4)[None, None]
    assert torch.allclose(storage.fit(images, 4), torch.tensor(0.75))


def test_fit_pads_to_a_square_before_it_scales():
    images = torch.full((1, 3, 8, 16), 255, dtype=torch.uint8)
    fitted = storage.fit(images, 16)
    assert fitted[:, :, 4:12].min() == 1 and fitted[:, :, :4].max() == 0 and fitted[:, :, 12:].max() == 0


@pytest.mark.parametrize("size", [8, 20, 64])
def test_fit_keeps_flat_images_flat(size):
    fitted = storage.fit(torch.full((2, 1, 20, 20), 51, dtype=torch.uint8), size)
    assert fitted.shape == (2, 1, size, size) and torch.allclose(fitted, torch.tensor(0.2), atol=1e-6)


# --- pairs on grids with holes ---


def brute_force_law(states, k):
    """The law that module `partners` states, by enumeration: {(a, b): probability}."""
    states = [tuple(s) for s in states]
    m = len(states[0])
    law = {}
    options = {}
    for a in states:
        by_set = {}
        for b in states:
            changed = tuple(i for i in range(m) if a[i] != b[i])
            if 1 <= len(changed) <= m - 1:
                by_set.setdefault(changed, []).append(b)
        if by_set:
            options[a] = by_set
    for a, by_set in options.items():
        near = min({len(c) for c in by_set}, key=lambda j: (abs(j - k), j))
        sets = [c for c in by_set if len(c) == near]
        for changed in sets:
            for b in by_set[changed]:
                law[a, b] = 1 / len(options) / len(sets) / len(by_set[changed])
    return law


def assert_law(world, law, k, n=10_000):
    """The drawn pairs are as near to the law in total variation as n draws from it would be."""
    a, b = world.pairs(n, generator(7), k=k)
    seen = Counter(zip(map(tuple, a.tolist()), map(tuple, b.tolist()), strict=True))
    assert set(seen) <= set(law), "a pair that the law forbids"
    distance = sum(abs(law[pair] - seen[pair] / n) for pair in law) / 2
    assert distance < np.sqrt(len(law) / (2 * np.pi * n)) + 1.5 / np.sqrt(n)


def holes(seed, sizes, share):
    grid = np.array(list(product(*map(range, sizes))))
    keep = np.random.default_rng(seed).random(len(grid)) < share
    return grid[keep]


def test_pairs_on_a_chain_of_four_states():
    """000 - 001 - 011 - 111: answers by hand."""
    world = array_world([[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]])
    law = {1: {(0, 0, 0): {(0, 0, 1): 1.0}, (0, 0, 1): {(0, 0, 0): .5, (0, 1, 1): .5},
               (0, 1, 1): {(0, 0, 1): .5, (1, 1, 1): .5}, (1, 1, 1): {(0, 1, 1): 1.0}},
           2: {(0, 0, 0): {(0, 1, 1): 1.0}, (0, 0, 1): {(1, 1, 1): 1.0},
               (0, 1, 1): {(0, 0, 0): 1.0}, (1, 1, 1): {(0, 0, 1): 1.0}}}
    for k, by_first in law.items():
        flat = {(a, b): p / 4 for a, some in by_first.items() for b, p in some.items()}
        assert flat == brute_force_law(world.table.states, k)            # the two statements of the law agree
        assert_law(world, flat, k)


@pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_pairs_follow_the_law_on_random_holes(share, k):
    states = holes(1, (3, 2, 4, 2), share)
    world = array_world(states, (3, 2, 4, 2))
    assert_law(world, brute_force_law(states, k), k)


def test_pairs_follow_the_law_where_a_group_must_be_searched(monkeypatch):
    """One member looked at together: nearly every pair takes the slow path, and the law is the same."""
    monkeypatch.setattr(partners, "ROUNDS", 1)
    states = holes(2, (3, 2, 4, 2), 0.3)
    assert_law(array_world(states, (3, 2, 4, 2)), brute_force_law(states, 3), 3)


def test_of_two_numbers_as_near_the_smaller_is_taken():
    """0000 has a partner at one and at three differences, none at two."""
    world = array_world([[0, 0, 0, 0], [0, 0, 0, 1], [0, 2, 2, 2]], (2, 3, 3, 3))
    law = {((0, 0, 0, 0), (0, 0, 0, 1)): 1 / 3, ((0, 0, 0, 1), (0, 0, 0, 0)): 1 / 3,
           ((0, 2, 2, 2), (0, 0, 0, 0)): 1 / 6, ((0, 2, 2, 2), (0, 0, 0, 1)): 1 / 6}
    assert_law(world, law, 2)


def test_k_is_uniform_where_the_data_allow_it():
    states = holes(3, (4, 4, 4, 4), 0.6)
    a, b = array_world(states, (4, 4, 4, 4)).pairs(10_000, generator())
    shares = np.bincount((a != b).sum(1).numpy(), minlength=5) / 10_000
    assert shares[0] == shares[4] == 0 and np.allclose(shares[1:4], 1 / 3, atol=0.02)


def test_sets_of_factors_are_uniform_not_weighted_by_their_size():
    """2 x 100 x 2 without one state: a change of the large factor is as likely as of a small one."""
    states = list(product(range(2), range(100), range(2)))[:-1]
    a, b = array_world(states, (2, 100, 2)).pairs(10_000, generator(), k=1)
    assert np.allclose((a != b).float().mean(0), 1 / 3, atol=0.02)


def test_half_one_and_complete_grids():
    world = array_world(list(product(range(3), range(3), range(3), range(3))))
    assert world.is_complete
    a, b = world.pairs(10_000, generator(), k="half-one")
    counts = np.bincount((a != b).sum(1).numpy(), minlength=5) / 10_000
    assert np.allclose(counts, [0, 0.5 + 0.5 / 3, 0.5 / 3, 0.5 / 3, 0], atol=0.02)


@pytest.mark.parametrize(("states", "single"), [
    (list(product(range(3), range(3))), True),
    (list(product(range(3), range(3), range(2)))[:-1], True),           # a hole, yet neighbours everywhere
    ([(i, j, (i + j) % 3) for i, j in product(range(3), range(3))], False),     # any change takes a second along
    ([*product(range(3), range(3)), (3, 3)], True),                     # a state that pairs with none does not count
    ([(0, 0), (1, 1)], False),
])
def test_whether_every_state_can_change_in_one_factor_alone(states, single):
    world = array_world(states)
    assert world.gives_single_changes is single
    if single:
        a, b = world.pairs(200, generator(), k=1)
        assert ((a != b).sum(1) == 1).all()


def test_a_constant_factor_never_counts():
    states = [[0, i, j] for i, j in product(range(3), range(3))][:-1]
    a, b = array_world(states, (1, 3, 3)).pairs(500, generator())
    assert ((a != b).sum(1) == 1).all()
    with pytest.raises(InputError, match="whole number from 1 to 1"):
        array_world(states, (1, 3, 3)).pairs(5, generator(), k=2)


def test_an_isolated_state_is_never_drawn():
    world = array_world([[0, 0, 0], [0, 0, 1], [2, 2, 2]])
    a, b = world.pairs(300, generator())
    assert (torch.cat([a, b]) < 2).all() and world.supports_pairs


def test_states_that_share_nothing_cannot_be_paired():
    world = array_world([[0, 0, 0], [1, 1, 1], [2, 2, 2]])
    assert not world.supports_pairs
    with pytest.raises(InputError, match="no two of the 3 states of 'test' share an attribute"):
        world.pairs(4, generator())


def test_without_the_index_pairs_are_still_of_observed_states(monkeypatch):
    """Large grids: changes are tried and looked up; where none is there, the nearest k is taken."""
    monkeypatch.setattr(partners, "INDEX_LIMIT", 0)
    dense = holes(4, (4, 4, 4, 4), 0.7)
    world = array_world(dense, (4, 4, 4, 4))
    a, b = world.pairs(10_000, generator())
    assert not world._partners.exact
    shares = np.bincount((a != b).sum(1).numpy(), minlength=5) / 10_000
    assert np.allclose(shares[1:4], 1 / 3, atol=0.02)
    assert (world.table.find(b.numpy()) >= 0).all()

    sparse = array_world([[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1], [5, 5, 5]], (6, 6, 6))
    a, b = sparse.pairs(2_000, generator(), k=2)
    assert set((a != b).sum(1).tolist()) == {2} and (torch.cat([a, b]) < 5).all()


def test_dozens_of_factors_do_not_explode():
    """40 binary attributes, as faces have: 2^40 sets of factors, none indexed."""
    labels = np.random.default_rng(0).integers(0, 2, (300, 40))
    a, b = array_world(labels, (2,) * 40).pairs(64, generator(), k=15)
    changed = (a != b).sum(1).float()
    assert ((changed >= 9) & (changed <= 17)).all()     # near 15, though hardly any pair differs in just 15


def test_index_counts_partners_exactly():
    """The Moebius transform against enumeration."""
    states = holes(5, (2, 3, 3), 0.5)
    world = array_world(states, (2, 3, 3))
    found = world._partners
    for row, changed in enumerate(found._sets):
        for i, a in enumerate(world.table.states):
            exists = any((((a != b) == changed).all()) for b in world.table.states)
            assert found._feasible[row, i] == exists
    assert len(found._sets) == sum(len(list(combinations(range(3), k))) for k in (1, 2))


# --- published files ---


def test_dsprites_layout(data):
    path = data / "dsprites" / "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    classes = layouts.dsprites(path)
    world = worlds.load("dsprites", image_size=64)
    assert (world.source, world.channels, world.sizes) == ("published", 1, (1, 3, 2, 4, 2, 3))
    assert world.factors[1].values == ("square", "ellipse", "heart") and world.factors[3].kind == "cyclic"
    assert torch.equal(world.grid(), torch.from_numpy(classes))
    observations = world.render(world.grid()[:5])
    assert set(observations.unique().tolist()) == {0.0, 1.0}                    # binary stays binary
    assert observations[3, 0, 3, 10] == 1
    assert "holds 144 of the 737,280 published images" in world.describe()
    assert worlds.load("dsprites", image_size=32).observation([0]).shape == (1, 1, 32, 32)


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 64, 64, 3)}, {"compression": None}])
@pytest.mark.parametrize("limit", [2 ** 30, 1000])
def test_shapes3d_layout(data, monkeypatch, capsys, options, limit):
    """gzip with h5py's chunks as published, per-image chunks, contiguous; in memory and above the limit."""
    monkeypatch.setattr(storage, "MEMORY_LIMIT", limit)
    images = layouts.shapes3d(data / "3dshapes.h5", n=70, **options)            # directly in the data folder
    world = worlds.load("shapes3d")
    assert world.factors[4].values == ("cube", "cylinder", "sphere", "capsule")[:world.sizes[4]]
    assert [f.name for f in world.factors][:3] == ["floor hue", "wall hue", "object hue"]
    observations = world.observation([69, 4, 4, 0])
    assert torch.equal((observations[:, :, 5, 5] * 255).round().byte(),
                       torch.from_numpy(images[[69, 4, 4, 0], 5, 5]))
    unpacked = list((data / "unpacked").glob("*.npy")) if (data / "unpacked").exists() else []
    assert len(unpacked) == (limit == 1000 and options == {})                   # only where it must be
    if unpacked:
        assert "unpacking" in capsys.readouterr().err
        assert torch.equal(worlds.load("shapes3d").observation([69, 4, 4, 0]), observations)
        assert "unpacking" not in capsys.readouterr().err                       # once


def test_shapes3d_at_its_full_size(data):
    """480,000 images, all but three of them unwritten: a complete grid, read in place."""
    path = data / "shapes3d" / "3dshapes.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (480_000, 64, 64, 3), np.uint8, chunks=(1, 64, 64, 3))
        file["labels"] = layouts.shapes3d_labels()
        for index in (0, 16, 479_999):
            images[index] = index % 251
    world = worlds.load("shapes3d")
    assert world.sizes == (10, 10, 10, 8, 4, 15) and world.is_complete and world.n_states == 480_000
    assert world.factors[3].values[0] == 0.75 and world.factors[5].values[-1] == 30
    observations = world.render(torch.tensor([[9, 9, 9, 7, 3, 14], [0, 0, 0, 0, 1, 1]]))
    assert (observations[:, 0, 0, 0] * 255).round().tolist() == [479_999 % 251, 16]
    a, b = world.pairs(2_000, generator())
    shares = np.bincount((a != b).sum(1).numpy(), minlength=7) / 2_000
    assert np.allclose(shares[1:6], 1 / 5, atol=0.05) and shares[0] == shares[6] == 0
    assert "published images" not in world.describe() and not (data / "unpacked").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs a file system with sparse files")
def test_mpi3d_layout_at_full_size_is_not_read(data):
    """12.7 GB on paper: loading and drawing must not read it."""
    last = 1_036_799
    layouts.mpi3d_sparse(data / "mpi3d" / "mpi3d_real.npz", {0: 10, 41: 99, last: 200})
    tracemalloc.start()
    world = worlds.load("mpi3d-real")
    observations = world.observation([last, 0, 41])
    batch, _ = world.sample(64, generator())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert world.sizes == (6, 6, 2, 3, 3, 40, 40) and world.n_states == last + 1
    assert (observations[:, 0, 0, 0] * 255).round().tolist() == [200, 10, 99]
    assert world.grid(41, 42).tolist() == [[0, 0, 0, 0, 0, 1, 1]]         # the grid's order: vertical fastest
    assert world.factors[0].values[0] == "white" and world.factors[6].name == "vertical axis"
    assert peak < 400e6                                                         # the labels, not the images
    assert not (data / "unpacked").exists()


def fails_when_written(monkeypatch, error):
    def fail(file, header):
        file.write(b"half of it")
        raise error
    monkeypatch.setattr(storage, "MEMORY_LIMIT", 1000)
    monkeypatch.setattr(storage.np.lib.format, "write_array_header_1_0", fail)


def test_a_disk_that_fills_up_while_unpacking(data, monkeypatch):
    layouts.shapes3d(data / "3dshapes.h5", n=20)
    fails_when_written(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(InputError, match="No space left on device.*nothing was changed"):
        worlds.load("shapes3d")
    assert list((data / "unpacked").iterdir()) == []


def test_a_disk_without_room_is_noticed_before_unpacking(data, monkeypatch):
    layouts.shapes3d(data / "3dshapes.h5", n=20)
    monkeypatch.setattr(storage, "MEMORY_LIMIT", 1000)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(InputError, match="takes 0.0 GB, but .* has 0.0 GB free"):
        worlds.load("shapes3d")
    assert not (data / "unpacked").exists()


def test_ctrl_c_while_unpacking(data, monkeypatch):
    layouts.shapes3d(data / "3dshapes.h5", n=20)
    fails_when_written(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        worlds.load("shapes3d")
    assert list((data / "unpacked").iterdir()) == []


def test_a_file_that_changes_is_unpacked_anew(data, monkeypatch):
    monkeypatch.setattr(storage, "MEMORY_LIMIT", 1000)
    layouts.shapes3d(data / "3dshapes.h5", n=20)
    assert worlds.load("shapes3d").n_states == 20
    layouts.shapes3d(data / "3dshapes.h5", n=30)
    assert worlds.load("shapes3d").observation([29])[0, 0, 0, 0] * 255 == 49


def test_a_log_gets_a_line_while_something_takes_long(monkeypatch, capsys):
    monkeypatch.setattr(storage, "HEARTBEAT", -1)
    assert list(storage.heartbeat(iter("abc"), 12, "unpacking", length=lambda item: 4)) == ["a", "b", "c"]
    assert capsys.readouterr().err.splitlines() == [
        "unpacking: 4 images (33%)", "unpacking: 8 images (67%)", "unpacking: 12 images (100%)"]


def test_a_missing_file_names_path_address_and_command(data):
    with pytest.raises(InputError) as caught:
        worlds.load("shapes3d")
    text = str(caught.value)
    assert str(data / "shapes3d" / "3dshapes.h5") in text and "\n" not in text
    assert "https://storage.googleapis.com/3d-shapes/3dshapes.h5" in text
    assert "`python -m inc_lib.worlds fetch shapes3d`" in text


def test_files_that_are_not_what_was_published(data):
    path = data / "mpi3d" / "mpi3d_toy.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, images=layouts.coded_images(10))
    with pytest.raises(InputError, match=r"shape \(10, 64, 64, 3\): .* has \(1036800, 64, 64, 3\)"):
        worlds.load("mpi3d-toy")
    np.savez(path, pictures=layouts.coded_images(10))
    with pytest.raises(InputError, match="has no 'images': it has 'pictures'"):
        worlds.load("mpi3d-toy")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="not a whole .npz file"):
        worlds.load("mpi3d-toy")
    whole = data / "3dshapes.h5"
    layouts.shapes3d(whole)
    whole.write_bytes(whole.read_bytes()[:-2_000])
    with pytest.raises(InputError, match="cannot be opened as .h5: it is cut off"):
        worlds.load("shapes3d")
    with h5py.File(whole, "w") as file:
        file["images"] = layouts.coded_images(5)
    with pytest.raises(InputError, match="has no 'labels'"):
        worlds.load("shapes3d")
    with h5py.File(whole, "w") as file:
        file["images"], file["labels"] = layouts.coded_images(5), np.zeros((5, 4))
    with pytest.raises(InputError, match=r"'labels' has the shape \(5, 4\)"):
        worlds.load("shapes3d")


def test_an_unknown_published_world():
    with pytest.raises(InputError, match="did you mean 'dsprites'"):
        published.load("dsprite")


# --- idx ---


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_layout(data, suffix):
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28))
    labels = np.arange(12) % 10
    for split in ("train", "t10k"):
        layouts.idx(data / "mnist" / f"{split}-images-idx3-ubyte{suffix}", images)
        layouts.idx(data / "mnist" / f"{split}-labels-idx1-ubyte{suffix}", labels)
    world = worlds.load("mnist-test", image_size=32)
    assert world.factors[0].values == tuple("0123456789") and not world.supports_pairs
    assert torch.equal(world.grid()[:, 0], torch.from_numpy(labels))
    observation = world.observation([5])
    assert torch.equal((observation[0, 0, 2:30, 2:30] * 255).round().long(), torch.from_numpy(images[5]))
    assert "holds 12 of the 10,000" in world.describe()
    assert "12 of the 60,000" in worlds.load("mnist").describe()


def test_idx_files_that_cannot_be_read(data):
    images, labels = (data / "mnist" / f"train-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1"))
    layouts.idx(images, np.zeros((4, 28, 28)))
    with pytest.raises(InputError, match="train-labels-idx1-ubyte.gz; get it from https"):
        worlds.load("mnist")
    layouts.idx(labels, np.zeros(3))
    with pytest.raises(InputError, match="for 4 images in .* do not belong together"):
        worlds.load("mnist")
    layouts.idx(labels, np.full(4, 11))
    with pytest.raises(InputError, match="labels from 11 to 11: expected 0 to 9"):
        worlds.load("mnist")
    layouts.idx(images, np.zeros((4, 28)))
    layouts.idx(labels, np.zeros(4))
    with pytest.raises(InputError, match=r"shape \(4, 28\): expected uint8 images"):
        worlds.load("mnist")
    images.write_bytes(gzip.compress(gzip.decompress(images.read_bytes())[:-1]))
    with pytest.raises(InputError, match="holds 111 bytes after its header: 112 expected"):
        worlds.load("mnist")
    images.write_bytes(images.read_bytes()[:-12])
    with pytest.raises(InputError, match="cannot be unpacked"):
        worlds.load("mnist")
    images.write_bytes(gzip.compress(b"\x89PNG-and-more"))
    with pytest.raises(InputError, match="not an idx file: it begins with 89504e47"):
        worlds.load("mnist")


@pytest.mark.parametrize(("name", "n", "first"), [
    ("mnist", 60_000, [5, 0, 4, 1, 9]), ("mnist-test", 10_000, [7, 2, 1, 0, 4]),
    ("fashion-mnist", 60_000, [9, 0, 0, 3, 0]), ("fashion-mnist-test", 10_000, [9, 2, 1, 1, 6])])
def test_the_real_idx_files(name, n, first):
    if any(path is None for _, path in published.locate(name)):
        pytest.skip(f"{name} is not in {data_folder()}: set INC_DATA to a folder that has it")
    world = worlds.load(name, image_size=32)
    assert world.n_states == n and world.grid(0, 5)[:, 0].tolist() == first
    assert len(world.grid()[:, 0].unique()) == 10
    observations, _ = world.sample(16, generator())
    assert observations.shape == (16, 1, 32, 32) and observations.max() > 0.9
    assert "published images" not in world.describe()                            # complete: no note


# --- fetch ---


CONTENT = bytes(range(256)) * 2000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the server's `script` says, request by request, what goes wrong."""

    def do_GET(self):
        step = self.server.script.pop(0) if self.server.script else "whole"
        self.server.requests.append(self.headers.get("Range"))
        start = 0
        if self.headers.get("Range") and step != "no ranges":
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if step.isdigit():
            self.send_error(int(step))
            return
        body = b"something else" if step == "wrong" else CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"v1"')
        self.end_headers()
        self.wfile.write(body[:100_000] if step in ("cut", "no ranges") else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch, data):
    """A local address for "toy", whose checksum is known, and "toy-open", whose is not; no waiting."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.script, server.requests = [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/toy.bin"
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(fetch.REMOTES, "toy", (fetch.Remote("toy/toy.bin", url, f"md5:{md5}"),))
    monkeypatch.setitem(fetch.REMOTES, "toy-open", (fetch.Remote("toy/toy.bin", url),))
    monkeypatch.setattr(fetch, "_wait", lambda failures: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_fetch_downloads_and_verifies(server, data, capsys):
    assert main(["fetch", "toy"]) == 0
    assert (data / "toy" / "toy.bin").read_bytes() == CONTENT
    assert "checksum as published" in capsys.readouterr().out
    assert main(["fetch", "toy"]) == 0                                            # a second call only checks
    assert "already there, checksum as published" in capsys.readouterr().out and len(server.requests) == 1


def test_fetch_continues_where_the_connection_broke(server, data):
    server.script += ["cut", "cut", "503"]
    fetch.fetch("toy", say=lambda line: None)
    assert (data / "toy" / "toy.bin").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=65536-", "bytes=131072-", "bytes=131072-"]


def test_fetch_starts_again_where_the_server_cannot_continue(server, data):
    server.script += ["cut", "no ranges"]
    fetch.fetch("toy", say=lambda line: None)
    assert (data / "toy" / "toy.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(("script", "words"), [
    (["no ranges"] * 20, "the connection was cut off"),
    (["404"], "the server answered 404"),
    (["503"] * 20, "the server answered 503"),
    (["wrong"], "does not give the published file"),
])
def test_a_failed_fetch_leaves_nothing(server, data, capsys, script, words):
    server.script += script
    assert main(["fetch", "toy"]) == 2
    captured = capsys.readouterr()
    *tries, last = captured.err.splitlines()
    assert last.startswith("error: ") and words in last and "nothing was kept" in last
    assert all(line.startswith("toy.bin: ") and line.endswith(", trying again") for line in tries)
    assert list((data / "toy").iterdir()) == []


def test_fetch_without_a_server(data, monkeypatch, capsys):
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as unused:
        port = unused.server_port                                  # closed again: nobody listens
    monkeypatch.setitem(fetch.REMOTES, "toy", (fetch.Remote("toy.bin", f"http://127.0.0.1:{port}/toy.bin"),))
    monkeypatch.setattr(fetch, "_wait", lambda failures: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert main(["fetch", "toy"]) == 2
    assert "no connection" in capsys.readouterr().err


def test_fetch_interrupted_leaves_nothing(server, data, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt
    monkeypatch.setattr(fetch, "heartbeat", interrupt)
    assert main(["fetch", "toy"]) == 130
    assert list((data / "toy").iterdir()) == [] and "interrupted" in capsys.readouterr().err


def test_fetch_on_a_full_disk(server, data, monkeypatch, capsys):
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    assert main(["fetch", "toy"]) == 2
    assert "free space" in capsys.readouterr().err and list((data / "toy").iterdir()) == []


def test_fetch_without_a_published_checksum_trusts_the_first_download(server, data, capsys):
    assert main(["fetch", "toy-open"]) == 0
    assert "no published checksum is known, its sha256 is recorded" in capsys.readouterr().out
    record = (data / "toy" / "toy.bin.sha256").read_text()
    assert record == f"{hashlib.sha256(CONTENT).hexdigest()}  toy.bin\n"
    assert main(["fetch", "toy-open"]) == 0
    assert "as first downloaded (toy.bin.sha256)" in capsys.readouterr().out
    (data / "toy" / "toy.bin").write_bytes(CONTENT[1:])
    assert main(["fetch", "toy-open"]) == 2
    assert "has changed since it was downloaded" in capsys.readouterr().err


def test_fetch_does_not_overwrite_what_is_there(server, data, capsys):
    (data / "toy").mkdir(parents=True)
    (data / "toy" / "toy.bin").write_bytes(b"mine")
    assert main(["fetch", "toy"]) == 2
    assert "is not the published file" in capsys.readouterr().err
    assert (data / "toy" / "toy.bin").read_bytes() == b"mine" and server.requests == []


def test_fetch_finds_what_readers_find(server, data, monkeypatch, capsys):
    """Directly in the data folder, or unpacked: no second copy is downloaded."""
    data.mkdir()
    (data / "toy.bin").write_bytes(CONTENT)
    assert main(["fetch", "toy"]) == 0 and "already there, checksum as published" in capsys.readouterr().out
    remote = fetch.Remote("some/idx.gz", fetch.REMOTES["toy"][0].url, "md5:0")
    monkeypatch.setitem(fetch.REMOTES, "packed", (remote,))
    (data / "some").mkdir()
    (data / "some" / "idx").write_bytes(b"unpacked")
    assert main(["fetch", "packed"]) == 0
    assert "already there, unpacked, so not compared" in capsys.readouterr().out and server.requests == []


@pytest.mark.parametrize(("name", "words"), [("dsprite", "did you mean 'dsprites'"),
                                             ("shapes3d-twin", "nothing to download")])
def test_fetch_of_something_else(data, capsys, name, words):
    assert main(["fetch", name]) == 2
    assert words in capsys.readouterr().err


def test_every_published_name_has_files_to_fetch():
    for name in published.NAMES:
        assert all(remote.url.startswith("https://") for remote in fetch.remotes(name))
        assert len(published.locate(name)) == (2 if "mnist" in name else 1)


def test_list_and_check(data, capsys):
    layouts.shapes3d(data / "3dshapes.h5")
    assert main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["shapes3d"].endswith("(here)") and "fetch dsprites" in lines["dsprites"]
    assert main(["check", "shapes3d", "--image-size", "32"]) == 0
    assert "60 observations, colour images of 32x32" in capsys.readouterr().out
    assert main(["check", "shapes3dd"]) == 2
    assert "did you mean 'shapes3d'" in capsys.readouterr().err
