"""Eqs. 1 to 3 on a world where h and G are perfect, and what a stream must not do: grow, or leave halves."""
from __future__ import annotations

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from inc_lib import clustering, worlds
from inc_lib.actions import ActionSet, Partitioning, find_actions, find_partitions, unlabelled_actions
from inc_lib.clustering import (
    collect,
    explicit_clusters,
    implicit_clusters,
    reconstructed_clusters,
    write_dataset,
)
from inc_lib.errors import InputError
from inc_lib.worlds import Factor

SIZES = (4, 3, 2)
FACTORS = tuple(Factor(name, tuple(values)) for name, values in
                (("hue", (0.0, 0.1, 0.2, 0.3)), ("shape", ("cube", "ball", "cone")), ("size", (1, 2))))


class PerfectModel:
    """b writes the state into an image, h reads it, G writes what stands for the partition a code lies in.

    Counts what it is asked for, and watches whether batches that were decoded earlier are still alive.
    """

    def __init__(self, channels: int = 1, side: int = 4) -> None:
        self.shape = (channels, side, side)
        self.partitioning: Partitioning | None = None
        self.largest, self.decoded, self.alive, self.most_alive = 0, 0, [], 0

    def render(self, states: Tensor) -> Tensor:
        """Observations of states: row i of every image is factor i, in tenths."""
        images = torch.zeros(len(states), *self.shape)
        images[:, :, :states.shape[1]] = states[:, None, :, None] / 10
        return images

    def encode(self, observations: Tensor) -> Tensor:
        """Codes: the state, displaced within its partition by something that depends on the image alone."""
        states = observations[:, 0, :len(SIZES), 0] * 10
        return states + 0.2 * torch.sin(7 * states.sum(1, keepdim=True) + torch.arange(len(SIZES)))

    def decode(self, codes: Tensor) -> Tensor:
        """Observations of the state whose partitions the codes lie in."""
        self.largest, self.decoded = max(self.largest, len(codes)), self.decoded + len(codes)
        images = self.render(self.partitioning.assign(codes) if len(codes) else codes)
        self.alive = [reference for reference in self.alive if reference() is not None]
        self.alive.append(weakref.ref(images))
        self.most_alive = max(self.most_alive, len(self.alive))
        return images


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_states(times: int = 1) -> Tensor:
    return torch.cartesian_prod(*(torch.arange(size) for size in SIZES)).repeat(times, 1)


def perfect(states: Tensor | None = None, **options) -> tuple[PerfectModel, Tensor, Tensor, ActionSet]:
    """Model, states, observations, and the actions found on their codes."""
    model = PerfectModel(**{key: options.pop(key) for key in ("channels", "side") if key in options})
    states = all_states(20) if states is None else states
    observations = model.render(states)
    codes = model.encode(observations)
    model.partitioning = find_partitions(codes, bandwidth=0.1)
    assert model.partitioning.sizes == SIZES
    actions = find_actions(states, codes, model.partitioning, FACTORS, **options)
    assert not any(actions.missing(i) for i in range(len(FACTORS)))
    return model, states, observations, actions


def as_sets(clusters, n: int) -> list[set[tuple]]:
    """Each cluster as the set of its images."""
    return [{tuple(image.flatten().tolist()) for image in clusters.of(k)} for k in range(n)]


# --- Eqs. 1 to 3 ---


@pytest.mark.parametrize("factor", range(len(SIZES)))
def test_the_lower_bound(factor):
    """Perfect h and G: the clusters of Eqs. 1 and 2 are equal as sets, and Eq. 3 contains them."""
    everything = all_states(20)
    kept = everything[everything.sum(1) != 2]  # combinations that the dataset does not hold
    model, states, observations, actions = perfect(kept)
    n = SIZES[factor]
    explicit = as_sets(explicit_clusters(observations, states, factor), n)
    reconstructed = as_sets(reconstructed_clusters(model, observations, actions, factor), n)
    assert explicit == reconstructed
    whole = as_sets(explicit_clusters(model.render(everything), everything, factor), n)
    codes = model.encode(observations)
    for sampling in ("encoded", "partitions"):
        implicit = as_sets(collect(implicit_clusters(model, actions, 600, factor=factor, codes=codes,
                                                     sampling=sampling, generator=seeded())), n)
        assert all(bound <= more for bound, more in zip(explicit, implicit, strict=True))
        assert explicit != implicit  # some members are novel, and all are right
        assert all(more <= true for more, true in zip(implicit, whole, strict=True))
        assert sampling == "encoded" or implicit == whole  # independent draws reach every combination


def test_explicit_clusters_split_the_dataset():
    _, states, observations, _ = perfect()
    clusters = explicit_clusters(observations, states, 1)
    assert len(clusters) == len(states) and torch.equal(clusters.labels, states[:, 1])
    assert torch.equal(clusters.of(2), observations[states[:, 1] == 2]) and clusters.codes is None
    assert len(explicit_clusters(observations[:0], states[:0], 0)) == 0
    for bad in ((observations[:3], states, 0), (observations, states, 3), (observations, states[:, 0], 0)):
        with pytest.raises(InputError, match="same observations"):
            explicit_clusters(*bad)


def test_reconstructed_clusters_say_which_rows_they_hold():
    model, states, observations, actions = perfect()
    clusters = reconstructed_clusters(model, observations, actions, "hue")
    assert torch.equal(clusters.labels, states[clusters.rows, 0])
    assert sorted(clusters.rows.tolist()) == list(range(len(states)))
    assert torch.equal(clusters.observations, observations[clusters.rows])
    assert torch.equal(clusters.codes, model.encode(observations)[clusters.rows])
    none = reconstructed_clusters(model, observations[:0], actions, "hue")
    assert len(none) == 0 and none.observations.shape == (0, 1, 4, 4)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "empirical"])
@pytest.mark.parametrize("sampling", ["encoded", "partitions"])
@pytest.mark.parametrize("multi_dimensional", [True, False])
def test_all_four_ways_make_what_they_are_labelled(sampling, multi_dimensional, distribution):
    model, _, observations, actions = perfect(distribution=distribution)
    codes = model.encode(observations)
    stream = implicit_clusters(model, actions, 50, factor="shape", codes=codes, sampling=sampling,
                               multi_dimensional=multi_dimensional, generator=seeded(), batch_size=7)
    assert stream.n_images == 150 and stream.factor == FACTORS[1]
    clusters = collect(stream)
    assert torch.bincount(clusters.labels).tolist() == [50, 50, 50]
    assert torch.equal((clusters.observations[:, 0, 1, 0] * 10).round().long(), clusters.labels)
    assert clusters.codes.shape == (150, 3)
    assert torch.equal(model.decode(clusters.codes), clusters.observations)
    shown = (clusters.observations[:, 0, [0, 2], 0] * 10).round().long()
    assert len(shown.unique(dim=0)) == 8  # the other factors vary freely
    if sampling == "encoded":  # and are as they were encoded
        rest = set(map(tuple, codes[:, [0, 2]].tolist()))
        assert set(map(tuple, clusters.codes[:, [0, 2]].tolist())) <= rest


def test_one_dimension_is_ambiguous_where_only_the_intersection_tells():
    generator = seeded()
    states = torch.randint(0, 4, (2000, 1), generator=generator)
    codes = torch.stack([states[:, 0] % 2, states[:, 0] // 2], 1).float()
    codes += 0.05 * torch.randn(2000, 2, generator=generator)
    model = PerfectModel()
    model.partitioning = find_partitions(codes)
    actions = find_actions(states, codes, model.partitioning, [Factor("hue", (0, 1, 2, 3))])
    right = {}
    for several in (True, False):
        clusters = collect(implicit_clusters(model, actions, 300, factor=0, codes=codes, generator=generator,
                                             multi_dimensional=several))
        shown = (clusters.codes[:, 0].round() + 2 * clusters.codes[:, 1].round()).long()
        right[several] = (shown == clusters.labels).float().mean().item()
    assert right[True] == 1 and right[False] == pytest.approx(0.5, abs=0.05)


def test_attributes_take_turns_and_those_without_an_action_are_left_out():
    states = torch.tensor([0, 1, 2, 3, 3, 4]).repeat(100)[:, None]
    codes = torch.tensor([0.0, 1, 2, 2, 2, 3])[None].repeat(100, 1).reshape(-1, 1)
    codes = codes + 0.05 * torch.randn(codes.shape, generator=seeded())
    model = PerfectModel()
    model.partitioning = find_partitions(codes)
    actions = find_actions(states, codes, model.partitioning, [Factor("hue", (0, 1, 2, 3, 4))])
    assert actions.missing(0) == [2, 3]
    batches = list(implicit_clusters(model, actions, 3, factor=0, codes=codes, batch_size=4,
                                     generator=seeded()))
    assert [batch[1].tolist() for batch in batches] == [[0, 1, 4, 0], [1, 4, 0, 1], [4]]


def test_a_seed_repeats_and_the_batch_size_does_not_change_the_labels():
    model, _, observations, actions = perfect()
    codes = model.encode(observations)

    def make(seed, batch_size):
        return collect(implicit_clusters(model, actions, 20, factor=0, codes=codes, generator=seeded(seed),
                                         batch_size=batch_size))

    assert torch.equal(make(0, 16).codes, make(0, 16).codes)
    assert not torch.equal(make(0, 16).codes, make(1, 16).codes)
    assert torch.equal(make(0, 16).labels, make(0, 5).labels)


@pytest.mark.parametrize(("options", "found"), [
    ({"n": 0}, "n is 0"), ({"n": 2.5}, "n is 2.5"), ({"n": True}, "n is True"),
    ({"batch_size": 0}, "batch_size"), ({"codes": None}, "pass codes"),
    ({"codes": torch.zeros(3, 2)}, "2 dimensions"),
    ({"sampling": "partition"}, "did you mean 'partitions'"), ({"factor": "hues"}, "did you mean 'hue'"),
])
def test_bad_options_fail_before_the_first_image(options, found):
    model, _, observations, actions = perfect()
    given = {"n": 3, "factor": 0, "codes": model.encode(observations), "generator": seeded()} | options
    with pytest.raises(InputError, match=found):
        implicit_clusters(model, actions, given.pop("n"), **given)
    assert model.decoded == 0


def test_a_factor_without_actions_is_said_in_a_sentence():
    codes = torch.zeros(9, 3)
    actions = find_actions(all_states()[:9], codes, find_partitions(codes), FACTORS)
    with pytest.raises(InputError, match="'shape' has no atomic action"):
        implicit_clusters(PerfectModel(), actions, 3, factor="shape", codes=codes)


# --- streaming ---


def test_a_million_images_are_never_held():
    """By counting: no batch exceeds the size asked for, and batches die as others are born."""
    model, _, observations, actions = perfect()
    stream = implicit_clusters(model, actions, 250_000, factor=0, codes=model.encode(observations),
                               batch_size=50_000, generator=seeded())
    counts = torch.zeros(4, dtype=torch.int64)
    for images, labels, codes in stream:
        assert len(images) == len(labels) == len(codes) == 50_000
        counts += torch.bincount(labels)
        del images
    assert counts.tolist() == [250_000] * 4 and model.decoded == 1_000_000
    assert model.largest == 50_000 and model.most_alive == 1


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_writing_holds_a_batch_or_two(tmp_path, suffix):
    model, _, observations, actions = perfect()
    stream = implicit_clusters(model, actions, 500, factor=0, codes=model.encode(observations), batch_size=64,
                               generator=seeded())
    write_dataset(stream, tmp_path / f"many{suffix}", factor=stream.factor)
    assert model.decoded == 2000 and model.largest == 64 and model.most_alive <= 2


def test_collect_stops_where_it_is_told():
    model, _, observations, actions = perfect()
    codes = model.encode(observations)
    stream = implicit_clusters(model, actions, 1000, factor=0, codes=codes, batch_size=8, generator=seeded())
    some = collect(stream, 20)
    assert len(some) == 20 and torch.bincount(some.labels).tolist() == [5] * 4 and model.decoded == 24
    assert len(next(stream)[1]) == 8  # the rest is still there
    with pytest.raises(InputError, match="nothing to collect"):
        collect(iter([]))


# --- files ---


def dataset(**options) -> tuple[clustering.ImplicitClusters, clustering.Clusters]:
    """A stream, and what it will hold."""
    model, _, observations, actions = perfect(**options)
    codes = model.encode(observations)
    same = [implicit_clusters(model, actions, 40, factor="shape", codes=codes, batch_size=32,
                              generator=seeded()) for _ in range(2)]
    return same[0], collect(same[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_an_npz_holds_what_the_stream_held(tmp_path, channels):
    stream, held = dataset(channels=channels)
    path = write_dataset(stream, tmp_path / "folder" / "made.npz", factor=stream.factor)
    with np.load(path, allow_pickle=False) as file:
        assert set(file) == {"images", "factors", "names", "attributes", "codes"}
        assert file["images"].dtype == np.uint8
        assert file["images"].shape == ((120, 4, 4) if channels == 1 else (120, 4, 4, 3))
        expected = (held.observations.permute(0, 2, 3, 1) * 255).round().numpy().squeeze()
        assert np.array_equal(file["images"], expected)
        assert np.array_equal(file["factors"][:, 0], held.labels) and file["factors"].shape == (120, 1)
        assert np.array_equal(file["codes"], held.codes)
        assert file["names"].tolist() == ["shape"] and file["attributes"].tolist() == ["cube", "ball", "cone"]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_parquet_holds_what_the_stream_held(tmp_path, channels):
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    stream, held = dataset(channels=channels)
    path = write_dataset(stream, tmp_path / "made.parquet", factor=stream.factor)
    table = pq.read_table(path)
    assert table.column_names == ["image", "shape", "codes"]
    assert pq.ParquetFile(path).num_row_groups == 4
    rows = table["image"].to_pylist()
    images = np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in rows])
    assert np.array_equal(images, (held.observations.permute(0, 2, 3, 1) * 255).round().numpy().squeeze())
    assert table["shape"].to_pylist() == held.labels.tolist()
    assert np.allclose(table["codes"].to_pylist(), held.codes)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["shape"] == {"names": ["cube", "ball", "cone"], "_type": "ClassLabel"}
    assert features["image"] == {"_type": "Image"}


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_what_is_written_can_be_read_as_a_world(tmp_path, suffix):
    stream, held = dataset(channels=3, side=32)
    path = write_dataset(stream, tmp_path / f"made{suffix}", factor=stream.factor)
    world = worlds.load(path, image_size=32)
    assert world.n_states == 120 and [factor.name for factor in world.factors] == ["shape"]
    assert world.sizes == (3,) and world.channels == 3
    read = torch.cat([observations for observations, _ in world.batches(50)])
    assert torch.allclose(read, held.observations, atol=0.5 / 255)
    states = torch.cat([states for _, states in world.batches(50)])[:, 0]
    assert [world.factors[0].values[k] for k in states] == [FACTORS[1].values[k] for k in held.labels]


def test_a_generator_without_a_length_needs_one_for_npz(tmp_path):
    stream, held = dataset()
    with pytest.raises(InputError, match="pass n_images"):
        write_dataset(iter(list(stream)), tmp_path / "made.npz", factor=FACTORS[1])
    stream, _ = dataset()
    write_dataset((batch for batch in stream), tmp_path / "made.npz", factor=FACTORS[1], n_images=120)
    stream, _ = dataset()
    write_dataset((batch for batch in stream), tmp_path / "made.parquet", factor=FACTORS[1])
    with np.load(tmp_path / "made.npz") as file:
        assert np.array_equal(file["factors"][:, 0], held.labels)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
@pytest.mark.parametrize("n_images", [119, 121])
def test_a_wrong_number_of_images_is_not_written(tmp_path, suffix, n_images):
    stream, _ = dataset()
    with pytest.raises(InputError, match=f"held 120 images, expected {n_images}"):
        write_dataset(stream, tmp_path / f"made{suffix}", factor=FACTORS[1], n_images=n_images)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_an_empty_stream_is_not_written(tmp_path, suffix):
    with pytest.raises(InputError, match="held 0 images"):
        write_dataset(iter([]), tmp_path / f"made{suffix}", factor=FACTORS[1], n_images=5)
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"'\.h5'.*\.npz or \.parquet"):
        write_dataset(iter([]), tmp_path / "made.h5", factor=FACTORS[1])


def interrupted(error: BaseException):
    """A stream that breaks in its middle."""
    stream, _ = dataset()
    yield next(stream)
    yield next(stream)
    raise error


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_ctrl_c_leaves_what_was_there(tmp_path, suffix):
    path = tmp_path / f"made{suffix}"
    path.write_bytes(b"the old one")
    with pytest.raises(KeyboardInterrupt):
        write_dataset(interrupted(KeyboardInterrupt()), path, factor=FACTORS[1], n_images=120)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"the old one"


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, suffix):
    full = OSError(28, "No space left on device")
    with pytest.raises(InputError, match="No space left on device"):
        write_dataset(interrupted(full), tmp_path / f"made{suffix}", factor=FACTORS[1], n_images=120)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_while_an_npz_is_written(tmp_path, monkeypatch):
    import zipfile

    def write(self, data, original=zipfile._ZipWriteFile.write):
        if len(data) > 100:
            raise OSError(28, "No space left on device")
        return original(self, data)

    monkeypatch.setattr(zipfile._ZipWriteFile, "write", write)
    stream, _ = dataset()
    with pytest.raises(InputError, match="No space left on device"):
        write_dataset(stream, tmp_path / "made.npz", factor=FACTORS[1])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    stream, _ = dataset()
    with pytest.raises(InputError, match="cannot be written"):
        write_dataset(stream, Path(tmp_path / "file" / "made.npz"), factor=FACTORS[1])


def test_without_labels_the_partitions_are_the_clusters():
    model, _, observations, _ = perfect()
    codes = model.encode(observations)
    actions = unlabelled_actions(codes, find_partitions(codes, bandwidth=0.1))
    stream = implicit_clusters(model, actions, 10, factor="code 1", codes=codes, generator=seeded())
    clusters = collect(stream)
    assert torch.equal((clusters.observations[:, 0, 1, 0] * 10).round().long(), clusters.labels)
