"""Plates whose marks are known on paper, and who stands beside whom."""
from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from inc_lib import actions, atlas, chapter, plots, suite
from inc_lib.errors import InputError
from inc_lib.worlds import Factor


def seeded(name: str = "") -> torch.Generator:
    return torch.Generator().manual_seed(len(name))


class Written:
    """G writes the codes into the first pixels, so that a picture can be read without error."""

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        pictures = torch.zeros(len(codes), 1, 8, 8)
        pictures[:, 0, 0, :codes.shape[1]] = codes / 20
        return pictures


def a_world(sizes: tuple[int, ...], *, blind: tuple[int, ...] = (), wrong: tuple[int, ...] = ()):
    """A chapter and what was examined in it: a code for each factor; of a blind one there is noise alone, and a factor
    in `wrong` is read one attribute too high."""
    factors = tuple(Factor(f"factor {i}", tuple(range(size))) for i, size in enumerate(sizes))
    states = torch.stack([torch.randint(size, (6000,), generator=seeded("x" * i)) for i, size in enumerate(sizes)], 1)
    codes = states + 0.02 * torch.randn(states.shape, generator=seeded("noise"))
    for i in blind:
        codes[:, i] = torch.randn(len(codes), generator=seeded("blind"))

    def predict(pictures: torch.Tensor) -> torch.Tensor:
        read = (20 * pictures[:, 0, 0, :len(sizes)]).round().long()
        for i in wrong:
            read[:, i] = (read[:, i] + 1) % sizes[i]
        return read

    world = SimpleNamespace(factors=factors, alike=lambda i, ordered, read, others: ordered == read)
    c = SimpleNamespace(world=world, generator_for=seeded, oracle=SimpleNamespace(predict=predict))
    partitioning = actions.find_partitions(codes)
    found = actions.find_actions(states, codes, partitioning, factors)
    x = suite.Examined(Written(), factors, tuple(range(len(sizes))), states, codes, partitioning, found)
    return c, x


@pytest.mark.parametrize("make", [atlas.clusters, atlas.traversals])
def test_a_perfect_network_has_no_marks(make):
    c, x = a_world((3, 4))
    blocks = make(c, x)
    assert [b.attributes for b in blocks] == [["0", "1", "2"], ["0", "1", "2", "3"]]
    assert not any(b.missing.any() or b.misread.any() for b in blocks)
    assert atlas.read_as_ordered(blocks) == atlas.carried_out(blocks) == 1
    levels = (20 * blocks[1].pictures[:, :, 0, 0, 1]).round()
    assert (levels == torch.arange(4)).all()  # a column shows its attribute in every row


def test_rows_of_traversals_are_one_observation_and_those_of_clusters_many():
    c, x = a_world((3, 4))
    other = (20 * atlas.traversals(c, x)[0].pictures[:, :, 0, 0, 1]).round()
    assert (other == other[:, :1]).all() and torch.equal(other[:, 0], x.codes[:2, 1].round())
    assert len((20 * atlas.clusters(c, x)[0].pictures[:, :, 0, 0, 1]).round().unique()) > 1


def test_what_is_read_otherwise_is_framed_and_what_cannot_be_ordered_is_empty():
    c, x = a_world((3, 4, 2), blind=(1,), wrong=(2,))
    blocks = atlas.clusters(c, x, rows=2)
    assert [b.missing.all() for b in blocks] == [False, True, False]
    assert [int(b.misread.sum()) for b in blocks] == [0, 0, 4]
    assert atlas.read_as_ordered(blocks) == pytest.approx(6 / 10)  # 3 x 2 right, 2 x 2 wrong, nothing of the other
    assert atlas.carried_out(blocks) == pytest.approx(1 / 3)
    figure = atlas.plate(blocks, row_name="members")
    assert "Empty, for want of an action: factor 1." in figure.alt and "4 of factor 2." in figure.alt
    heights = [atlas.plate([b]).get_size_inches()[1] for b in blocks]
    assert heights[1] < heights[0]  # nothing to show takes one row
    assert np.isnan(atlas.read_as_ordered(blocks[1:2])) and atlas.carried_out(blocks[1:2]) == 0
    frames = [p for p in figure.axes[0].patches if p.get_edgecolor()[:3] == pytest.approx(_rgb(plots.WRONG), abs=1e-6)]
    assert len(frames) == 4 and len(figure.axes[0].images) == 10


def _rgb(colour: str) -> list[float]:
    return [int(colour[k:k + 2], 16) / 255 for k in (1, 3, 5)]


def test_of_many_attributes_ten_are_shown_with_both_ends():
    c, x = a_world((19, 2))
    block = atlas.clusters(c, x)[0]
    assert block.attributes[0] == "0" and block.attributes[-1] == "18" and len(block.attributes) == atlas.MOST
    assert (20 * block.pictures[:, -1, 0, 0, 0]).round().eq(18).all() and not block.misread.any()


def test_numbers_are_short_where_they_stay_apart():
    assert atlas._short(["0.0968", "0.226"]) == ["0.097", "0.23"]
    assert atlas._short(["1.18", "1.2", "1.25"]) == ["1.18", "1.2", "1.25"] and atlas._short(["1", "a"]) == ["1", "a"]


def test_the_factor_that_all_can_order():
    pair = [a_world((3, 4, 2), blind=(1,))[1], a_world((3, 4, 2))[1]]
    assert atlas.common(pair) == 0 and atlas.common(pair[1:]) == 1
    assert atlas.common([a_world((3, 4), blind=(0, 1))[1]]) is None
    c, x = a_world((3, 4))
    figure = atlas.strip([atlas.row(c, x, 1)] * 2, "AB")
    assert figure.alt.startswith("A block of generated pictures for each of A and B")
    assert len(figure.axes[0].images) == 8


def test_released_networks_of_our_worlds_stand_beside_one(tmp_path, monkeypatch):
    released = [("shapes3d-twin", "beta-tcvae"), ("shapes3d-twin", "ada-gvae"), ("dsprites-twin", "comp-wae")]
    monkeypatch.setattr(atlas.training, "release_path", lambda world, size, model, seed: (
        tmp_path / "there" if (world, model) in released else tmp_path / "absent"))
    (tmp_path / "there").touch()
    c = chapter.start(chapter="19_atlas", dataset="dsprites-twin", image_size=32, model="comp-wae",
                      n_observations=30_000)
    found = [(view.world.name, view.model_name) for view in atlas.beside(c, 9)]
    assert found == [("dsprites-twin", "comp-wae"), ("shapes3d-twin", "ada-gvae"), ("shapes3d-twin", "beta-tcvae")]
    assert len(atlas.beside(c, 2)) == 2 and atlas.beside(c, 1)[0].n_observations == atlas.ENOUGH
    with pytest.raises(InputError, match="expected n_networks of at least 1"):
        atlas.beside(c, 0)
    c.checkpoint = "train"
    assert len(atlas.beside(c, 9)) == 1
    c.checkpoint, c.world = "auto", SimpleNamespace(name="dsprites-twin", source="yours")
    assert len(atlas.beside(c, 9)) == 1
