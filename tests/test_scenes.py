"""Scenes: the twin, files of scenes, the judge, what the generator is told, clusters, films and figures."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from inc_lib import clustering, composing, detector, films, scene_plots, scenes, training
from inc_lib.errors import InputError
from inc_lib.models import diffusion
from inc_lib.worlds import raytrace
from inc_lib.worlds import scenes as worlds

SPHERE_RED = torch.tensor([[[2, 1, 1, 0]]])  # sphere, red, large, rubber


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(*places: tuple[float, float], looks: torch.Tensor = SPHERE_RED) -> worlds.Scenes:
    return worlds.Scenes(torch.tensor([places], dtype=torch.float32), looks.expand(1, len(places), 4))


# -- the twin ----------------------------------------------------------------------------------------

def test_picture_and_table_tell_the_same():
    assert worlds.on_table(torch.tensor([0.5, 0.5]), 0.0).abs().max() < 1e-5  # the camera looks at the origin
    places = torch.rand(50, 2, generator=generator())
    for height in (0.0, 0.8):
        back = worlds.in_picture(worlds.on_table(places, height), torch.tensor(height))
        assert (back - places).abs().max() < 1e-5
    left, right = worlds.on_table(torch.tensor([[0.2, 0.5], [0.8, 0.5]]), 0.0)
    near, far = worlds.on_table(torch.tensor([[0.5, 0.9], [0.5, 0.1]]), 0.0)
    assert left[0] < 0 < right[0] and near[1] < 0 < far[1]


def test_states_keep_count_range_and_margin():
    world = worlds.ClevrTwin(image_size=16)
    drawn = world.states(300, generator(), counts=(2, 5))
    assert set(drawn.counts.tolist()) == {2, 5} and len(drawn) == 300
    told = drawn.positions[~drawn.positions.isnan()]
    assert worlds.RANGE[0] <= told.min() and told.max() <= worlds.RANGE[1]
    assert worlds.clearances(drawn).min() >= worlds.MARGIN - 1e-5
    assert torch.equal(world.states(300, generator(), counts=(2, 5)).looks, drawn.looks)
    assert worlds.clearances(world.states(3, generator(), counts=(1,))).isinf().all()


@pytest.mark.parametrize(("limits", "told"), [
    ({"counts": (0, 1)}, "expected 1 to 5 objects"), ({"counts": ()}, "expected 1 to 5 objects"),
    ({"counts": (6,)}, "expected 1 to 5 objects"), ({"positions": (0.6, 0.4)}, "positions in order between 0 and 1"),
    ({"counts": (5,), "positions": (0.5, 0.55)}, "find no room at positions from 0.5 to 0.55")])
def test_scenes_that_cannot_be_drawn_get_one_sentence(limits, told):
    with pytest.raises(InputError, match=told):
        worlds.ClevrTwin(image_size=16).states(2, generator(), **limits)


def test_an_object_is_seen_where_it_is():
    world = worlds.ClevrTwin(image_size=32)
    for x, y in ((0.3, 0.4), (0.7, 0.6)):
        red = world.render(scene((x, y)))[0]
        redness = (red[0] - red[1] - 0.1).clamp(min=0)  # the table is nearly grey
        ticks = (torch.arange(32) + 0.5) / 32
        centre = torch.stack([(redness.sum(0) * ticks).sum(), (redness.sum(1) * ticks).sum()]) / redness.sum()
        assert (centre - torch.tensor([x, y])).abs().max() < 0.02
    assert world.render(scene((0.3, 0.4))[:0]).shape == (0, 3, 32, 32)


def test_rendering_does_not_depend_on_company_or_order():
    world = worlds.ClevrTwin(image_size=16)
    drawn = world.states(12, generator(1))
    together = world.render(drawn)
    assert together.min() >= 0 and together.max() <= 1
    for k in (0, 5, 11):
        assert (world.render(drawn[k : k + 1]) - together[k]).abs().max() < 1e-5
    swapped = worlds.Scenes(drawn.positions.flip(1), drawn.looks.flip(1))
    assert (world.render(swapped) - together).abs().max() < 1e-5


def test_a_pool_draws_what_rendering_gives():
    world = worlds.ClevrTwin(image_size=16)
    pool = world.pool(6, seed=3, counts=(1, 2, 3))
    images, told = pool.draw(8, generator())
    assert images.shape == (8, 3, 16, 16) and told.positions.shape == (8, 3, 2)
    assert (images - world.render(told)).abs().max() < 0.01  # a byte for each weight


def test_metal_shines_and_rubber_does_not():
    world = worlds.ClevrTwin(image_size=32)
    black = torch.tensor([[[2, 0, 1, 0]]])
    rubber, metal = (world.render(scene((0.5, 0.5), looks=black + torch.tensor([0, 0, 0, m])))[0] for m in (0, 1))
    around = slice(10, 22)
    assert metal[:, around, around].max() > rubber[:, around, around].max() + 0.1


def test_a_highlight_is_where_the_light_is_mirrored():
    """A sphere that is lit from behind the eye mirrors it at the middle of its face."""
    eye = torch.tensor([0.0, -5.0, 0.0])
    rays = raytrace.camera_rays(eye, torch.zeros(3), size=15, field_of_view=30.0, supersampling=1)
    ball = raytrace.Surface(lambda o, d: raytrace.sphere(o, d, centre=torch.zeros(3), radius=1.0), 0, opaque=False)
    light = 2 * eye  # behind the eye
    maps = raytrace.cast(*rays, [ball], light=light, n_labels=1, gloss=torch.tensor([0.5]))
    assert maps.shape == (2, 15, 15)
    assert divmod(int(maps[1].argmax()), 15) == (7, 7) and maps[1].max().item() == pytest.approx(0.5, abs=1e-3)
    assert raytrace.cast(*rays, [ball], light=light, n_labels=1).shape == (1, 15, 15)


@pytest.mark.parametrize(("bad", "told"), [
    (scene((0.5, 0.5), (0.52, 0.5)), "scene 0 holds two objects of which one stands in the other"),
    (scene((0.5, math.nan)), "scene 0, object 0 stands at \\(0.50, nan\\): expected two numbers"),
    (scene((0.5, 0.5), (1.2, 0.5)), "object 1 stands at \\(1.20, 0.50\\), outside of the picture"),
    (scene((0.5, 0.5), looks=torch.tensor([[[3, 0, 0, 0]]])), "expected shape, colour, size and material below"),
    (worlds.Scenes(torch.zeros(1, 2)), "expected \\(n, K, 2\\) and \\(n, K, 4\\)"),
    (worlds.Scenes(torch.zeros(1, 1, 2)), "looks of shape None")])
def test_scenes_that_cannot_be_rendered_get_one_sentence(bad, told):
    with pytest.raises(InputError, match=told):
        worlds.ClevrTwin(image_size=16).render(bad)


def test_small_pictures_and_unknown_worlds_get_one_sentence(tmp_path):
    with pytest.raises(InputError, match="at least 16 pixels"):
        worlds.ClevrTwin(image_size=8)
    with pytest.raises(InputError, match="did you mean 'clevr-twin'"):
        worlds.load("clevr-twn")
    with pytest.raises(InputError, match="does not exist"):
        worlds.load(str(tmp_path / "mine.npz"))
    assert worlds.load("clevr-twin", image_size=32).image_size == 32
    assert "not CLEVR" in worlds.ClevrTwin().describe()


# -- files -------------------------------------------------------------------------------------------

def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def pictures(n: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, size, size, 3), dtype=np.uint8)


def test_clevr_positions_are_read(tmp_path):
    told = np.random.default_rng(1).uniform(0.1, 0.9, (40, 2)).astype(np.float32)
    ims = pictures(40)
    world = worlds.load(str(npz(tmp_path / "clevr_pos.npz", ims=ims, coords_labels=told)), image_size=32)
    assert (world.name, world.source, world.channels, world.knows_all) == ("clevr_pos", "yours", 3, False)
    assert "the place of one object" in world.describe()
    learnt, held = world.pool(5), world.pool(5, held_out=True)
    assert len(learnt.rows) == 36 and len(held.rows) == 4 and not set(learnt.rows.tolist()) & set(held.rows.tolist())
    images, shown = held.draw(7, generator())
    for image, place in zip(images, shown.positions[:, 0], strict=True):
        row = int(np.abs(told - place.numpy()).sum(1).argmin())
        assert row % 10 == 0
        np.testing.assert_allclose(image.numpy(), np.moveaxis(ims[row], -1, 0) / 255, atol=1e-6)


def test_several_places_are_read_and_gaps_closed(tmp_path):
    nan = math.nan
    told = [[[nan, nan], [0.2, 0.3]], [[0.1, 0.2], [0.8, 0.9]], [[-1, -1], [0.5, 0.5]]]
    _, read = worlds.read(npz(tmp_path / "mine.npz", images=pictures(3), positions=np.array(told)))
    assert read.counts.tolist() == [1, 2, 1] and read.looks is None
    assert read.positions[0, 0].tolist() == pytest.approx([0.2, 0.3]) and read.positions[2, 1].isnan().all()


@pytest.mark.parametrize(("arrays", "told"), [
    ({"x": pictures(3)}, "holds x: expected an array named ims or images"),
    ({"ims": pictures(3)}, "expected an array named coords_labels or labels or positions"),
    ({"ims": pictures(3), "coords_labels": np.zeros((3, 3))}, "shape \\(3, 3\\) of float64: expected numbers"),
    ({"ims": pictures(3), "coords_labels": np.array([["a", "b"]] * 3)}, "expected numbers \\(n, 2\\)"),
    ({"ims": pictures(3), "coords_labels": np.zeros((2, 2))}, "2 rows for 3 pictures"),
    ({"ims": pictures(3), "coords_labels": np.array([[0.1, 0.1], [0.2, np.nan], [0, 0]])}, "row 1 holds \\(0.2, nan"),
    ({"ims": pictures(3), "coords_labels": np.array([[0.1, 0.1], [0, 0], [64, 30.5]])}, "row 2 holds \\(64, 30.5"),
    ({"ims": pictures(3), "coords_labels": np.array([[0.1, 0.1], [-1, -1], [0.2, 0.2]])}, "row 1 holds no place")])
def test_a_wrong_layout_gets_one_sentence(tmp_path, arrays, told):
    with pytest.raises(InputError, match=told):
        worlds.load(str(npz(tmp_path / "bad.npz", **arrays)))


def test_what_is_no_npz_gets_one_sentence(tmp_path):
    (tmp_path / "scenes.csv").write_text("x,y")
    with pytest.raises(InputError, match="expected an .npz file"):
        worlds.load(str(tmp_path / "scenes.csv"))
    (tmp_path / "scenes.npz").write_text("no zip")
    with pytest.raises(InputError, match="not a whole .npz"):
        worlds.load(str(tmp_path / "scenes.npz"))


def test_places_of_a_file_are_apart_or_refused(tmp_path):
    told = np.random.default_rng(1).uniform(0.1, 0.9, (60, 2))
    world = worlds.load(str(npz(tmp_path / "a.npz", ims=pictures(60), coords_labels=told)), image_size=32)
    places = world.places(20, 3, generator())
    apart = (places[:, :, None] - places[:, None]).norm(dim=-1) + torch.eye(3)
    assert apart.min() > worlds.APART and 0.05 < world.span[0] < world.span[1] < 0.95
    one = npz(tmp_path / "b.npz", ims=pictures(9), coords_labels=np.full((9, 2), 0.5))
    world = worlds.load(str(one), image_size=32)
    with pytest.raises(InputError, match="2 objects find no room in b"):
        world.places(2, 2, generator())


# -- the judge ---------------------------------------------------------------------------------------

def test_peaks_of_a_perfect_heat_map_are_its_places():
    nan = [math.nan] * 2
    places = torch.tensor([[[0.31, 0.42], [0.7, 0.625], nan], [[0.11, 0.9], nan, nan], [nan, nan, nan]])
    maps = detector.heat_maps(places, 32)
    assert maps.shape == (3, 32, 32) and 0.9 < maps[0].max() <= 1 and maps[2].max() == 0
    found = detector.peaks(maps.clamp(1e-7, 1 - 1e-7).logit(), 0.4)
    assert [len(part) for part in found] == [2, 1, 0]
    assert (found[0].sort(0).values - places[0, :2].sort(0).values).abs().max() < 1e-3
    assert (found[1] - places[1, :1]).abs().max() < 1e-3


def test_assignment_is_one_to_one_and_as_near_as_can_be():
    asked = torch.tensor([[[0.2, 0.5], [0.3, 0.5]], [[0.5, 0.5], [math.nan, math.nan]], [[0.1, 0.1], [0.9, 0.9]]])
    found = [torch.tensor([[0.3, 0.5], [0.21, 0.5], [0.9, 0.1]]), torch.tensor([[0.5, 0.52]]), torch.zeros(0, 2)]
    seen = detector.compare(found, asked)
    np.testing.assert_allclose(seen.distances[:2], [[0.01, 0], [0.02, np.nan]], atol=1e-6)
    assert np.isinf(seen.distances[2]).all() and seen.counts.tolist() == [3, 1, 0]
    assert seen.count_right.tolist() == [False, True, False]
    assert seen.met(0.015).tolist() == [1, 0, 0] and seen.met(0.03).tolist() == [1, 1, 0]
    assert seen.errors(0.03) == pytest.approx([0.01, 0, 0.02], abs=1e-6)
    assert seen.of(np.array([1])).counts.tolist() == [1]
    one = detector.compare([torch.tensor([[0.5, 0.5]])], torch.tensor([[[0.5, 0.5], [0.52, 0.5]]]))
    assert one.met(0.1).tolist() == [0.5]  # one object does not meet two conditions


def test_an_interval_holds_its_mean_and_claims_no_certainty():
    mean, low, high = detector.interval(np.array([0, 1] * 50))
    assert mean == 0.5 and 0.39 < low < 0.43 and 0.57 < high < 0.61
    assert detector.interval(np.ones(30)) == (1, 0.9, 1) and detector.interval(np.zeros(30)) == (0, 0, 0.1)
    assert detector.interval(np.ones(2)) == (1, 0, 1)


def test_a_detector_is_trained_saved_and_loaded(tmp_path):
    world = worlds.ClevrTwin(image_size=16)
    options = {"n_scenes": 8, "n_test": 4, "batch_size": 4, "device": "cpu"}
    found = detector.train(world, steps=2, folder=tmp_path / "run", **options)
    assert found.provenance["steps"] == 2 and set(found.held_out) == {"count_accuracy", "recall", "error_px", "n"}
    again = detector.train(world, steps=2, folder=tmp_path / "run", **options)  # goes on from where it was: at the end
    assert torch.equal(again.head.weight, found.head.weight)
    detector.save(found, tmp_path / "d.safetensors", half=True)
    loaded = detector.load(tmp_path / "d.safetensors")
    images = torch.rand(3, 3, 16, 16, generator=generator())
    assert (loaded(images) - found(images)).abs().max() < 0.05 and loaded.held_out == found.held_out
    with pytest.raises(InputError, match="this detector reads \\(n, 3, 16, 16\\)"):
        loaded.find(torch.rand(1, 3, 32, 32))
    (tmp_path / "d.json").write_text('{"model": "oracle"}')
    with pytest.raises(InputError, match="holds a oracle, expected a detector"):
        detector.load(tmp_path / "d.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        detector.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("options", [{"channels": 2}, {"image_size": 20}, {"image_size": 8}])
def test_a_detector_that_cannot_be_built_says_so(options):
    with pytest.raises(InputError, match="expected 1 or 3 and a multiple of 8"):
        detector.Detector(**{"channels": 3, "image_size": 16, "world": "w", **options})


# -- what the generator is told ----------------------------------------------------------------------

def test_the_three_ways_of_asking():
    nan = [math.nan] * 2
    places = torch.tensor([[[0.5, 0.75], [0.0, 1.0], nan], [[0.5, 0.5], nan, nan]])
    plain = scenes.conditions(places)
    assert plain[0, 0].tolist() == [0, 0.5, 1, 0, 0] and plain[0, 1].tolist() == [-1, 1, 1, 0, 0]
    assert plain[0, 2].isnan().all() and plain.shape == (2, 3, scenes.TOLD)
    told = scenes.conditions(places, "places and number")
    assert told[0, 0].tolist() == pytest.approx([0, 0.5, 1, 0.4, 1]) and told[0, 2].isnan().all()
    assert told[1, 0].tolist() == pytest.approx([0, 0, 1, 0.2, 1])
    beside = scenes.conditions(places, "number beside")
    assert beside.shape == (2, 4, scenes.TOLD) and torch.equal(beside[:, :3].nan_to_num(), plain.nan_to_num())
    assert beside[0, 3].tolist() == pytest.approx([0, 0, 0, 0.4, 1])


@pytest.mark.parametrize(("places", "way", "told"), [
    (torch.zeros(1, 1, 2), "place", "did you mean 'places'"), (torch.zeros(1, 2), "places", "expected \\(n, K, 2\\)"),
    (torch.tensor([[[0.1, math.nan]]]), "places", "picture 0, place 0 is \\(0.1, nan\\)"),
    (torch.tensor([[[0.1, 0.1], [1.1, 0.5]]]), "places", "place 1 is \\(1.1, 0.5\\)")])
def test_what_cannot_be_asked_for_gets_one_sentence(places, way, told):
    with pytest.raises(InputError, match=told):
        scenes.conditions(places, way)


def test_training_tells_one_object_of_each_scene_or_none():
    drawn = worlds.ClevrTwin(image_size=16).states(2000, generator(), counts=(1, 2, 3))
    told = composing.told_one(drawn, generator(1))
    place, number = told[:, 2] == 1, told[:, 4] == 1
    assert (place | number).all() and not told.isnan().any()
    for share, rows in zip(composing.SHARES, (place & ~number, place & number, ~place), strict=True):
        assert abs(rows.float().mean() - share) < 0.04
    here = (told[place, None, :2] / 2 + 0.5 - drawn.positions[place]).norm(dim=-1).nan_to_num(1.0).amin(1)
    assert here.max() < 1e-5
    assert torch.equal(told[number, 3], drawn.counts[number].float() / worlds.MOST)
    assert (composing.told_one(drawn, generator(1), count=False)[:, 2:].mean(0) == torch.tensor([1, 0, 0])).all()


def test_the_network_sees_a_place_as_a_bump():
    told = torch.tensor([[0.0, 0.0, 1.0], [0.5, -0.5, 1.0], [0.5, 0.5, 0.0]])
    maps = diffusion._maps_of(told, torch.zeros(3, 1, 8, 8))
    assert maps.shape == (3, 3, 8, 8) and maps[2, 2].max() == 0  # a place that is not told leaves no bump
    assert torch.allclose(maps[0, 2], maps[0, 2].flip(0)) and torch.allclose(maps[0, 2], maps[0, 2].T)
    row, column = divmod(int(maps[1, 2].argmax()), 8)
    assert row in (1, 2) and column in (5, 6)
    assert maps[0, 0, 0].tolist() == pytest.approx([-0.875 + 0.25 * k for k in range(8)])


# -- the generator -----------------------------------------------------------------------------------

TINY = {"widths": (8, 16), "patch": 4}


def test_a_generator_is_trained_and_draws(tmp_path, monkeypatch):
    world = worlds.ClevrTwin(image_size=16)
    model = composing.train(world, steps=2, n_scenes=6, options=TINY, folder=tmp_path, device="cpu", batch_size=4)
    assert model.provenance["counts"] == [1, 2, 3] and model.provenance["world"] == "clevr-twin"
    composer = scenes.Composer(model, generator(), way="number beside", weight=1.5, steps=2)
    places = worlds.pad(world.places(2, 3, generator()))
    images, moments = composer.draw(places, keep=2)
    assert images.shape == (2, 3, 16, 16) and moments.shape == (2, 2, 3, 16, 16)
    assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1
    with pytest.raises(InputError, match="condition of at least 3"):
        diffusion.Diffusion(channels=3, image_size=16, n_conditions=2, placed=True)


def chapter_like(world, **more):
    adopted = {}
    keep = SimpleNamespace(world=world, seed=0, device="cpu", train_steps=2, oracle_steps=2, checkpoint="auto",
                           adopt=lambda model, path, released: adopted.update(path=path, released=released), **more)
    return keep, adopted


def test_a_checkpoint_of_another_world_is_refused(tmp_path):
    world = worlds.ClevrTwin(image_size=16)
    model = composing.train(world, steps=1, n_scenes=4, options=TINY, device="cpu", batch_size=2)
    training.keep(model, tmp_path / "g.safetensors", tmp_path, released=True)
    c, adopted = chapter_like(world)
    c.checkpoint = str(tmp_path / "g.safetensors")
    assert composing.load_or_train(c).config == model.config and adopted["released"] is False
    c, _ = chapter_like(worlds.ClevrTwin(image_size=32))
    c.checkpoint = str(tmp_path / "g.safetensors")
    with pytest.raises(InputError, match="draws clevr-twin at 16 pixels"):
        composing.load_or_train(c)


# -- codes, actions, clusters ------------------------------------------------------------------------

class Drawn:
    """A generator that keeps what it was asked for."""

    def decode(self, codes):
        return torch.zeros(len(codes), 3, 4, 4)


def test_codes_hold_five_places_of_which_some_count():
    five = worlds.ClevrTwin(image_size=16).states(3, generator(), counts=(5,))
    codes = scenes.codes_of(five, torch.tensor([1, 3, 5]))
    assert codes.shape == (3, scenes.N_CODES) and codes[:, 0].tolist() == [1, 3, 5]
    places = scenes.places_of(codes)
    assert (~places[..., 0].isnan()).sum(1).tolist() == [1, 3, 5] and torch.equal(places[2], five.positions[2])
    with pytest.raises(InputError, match="expected 5 places each"):
        scenes.codes_of(worlds.Scenes(five.positions[:, :2]))


def test_room_for_spheres_that_touch():
    """Small spheres of diameter 1.1 fit side by side from 1.1 apart on; at the table's middle x alone decides."""
    middle = torch.tensor([0.5, 0.5])
    spots = worlds.on_table(middle, 0.55) + torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.2, 0.0]]])
    places = worlds.in_picture(spots, torch.tensor(0.55))
    assert scenes.room(places).tolist() == [False, True]
    assert scenes.room(places, "large").tolist() == [False, False]
    assert scenes.room(places[:, :1]).all()


def test_actions_put_objects_into_a_column_or_set_their_number():
    actions = scenes.scene_actions(scenes.cut(0.2, 0.8, parts=3, beyond=0.1))
    assert actions.factors[0].values == ("0.10 to 0.20", "0.20 to 0.40", "0.40 to 0.60", "0.60 to 0.80", "0.80 to 0.90")
    five = worlds.ClevrTwin(image_size=16).states(20, generator(), counts=(5,))
    codes = scenes.codes_of(five, torch.full((20,), 2))
    cluster = clustering.collect(clustering.implicit_clusters(Drawn(), actions, 20, factor="x", codes=codes,
                                                              generator=generator()))
    edges = torch.tensor(scenes.cut(0.2, 0.8, parts=3, beyond=0.1))
    x = scenes.places_of(cluster.codes)[:, :2, 0].contiguous()
    assert (torch.bucketize(x, edges, right=True) - 1 == cluster.labels[:, None]).all()
    assert torch.isin(cluster.codes[:, 2], codes[:, 2]).all()  # y stays
    single = clustering.collect(clustering.implicit_clusters(Drawn(), actions, 5, factor="x", codes=codes,
                                                             multi_dimensional=False, generator=generator()))
    assert torch.isin(single.codes[:, 3], codes[:, 3]).all()  # the second object's x stays as well
    cluster = clustering.collect(clustering.implicit_clusters(Drawn(), actions, 4, factor="number", codes=codes,
                                                              generator=generator()))
    assert ((~scenes.places_of(cluster.codes)[..., 0].isnan()).sum(1) == cluster.labels + 1).all()
    drawn = clustering.collect(clustering.implicit_clusters(Drawn(), actions, 4, factor="y", sampling="partitions",
                                                            generator=generator()))
    assert actions.of("y")[2].present(drawn.codes[drawn.labels == 2]).all()


@pytest.mark.parametrize("edges", [[0.5], [0.5, 0.2], [0.2, 0.2, 0.4], [-0.1, 0.5], [0.5, 1.2]])
def test_edges_that_cut_nothing_get_one_sentence(edges):
    with pytest.raises(InputError, match="expected at least two increasing numbers from 0 to 1"):
        scenes.scene_actions(edges)


def test_scores_of_a_hand_made_judgement():
    places = torch.tensor([[[0.2, 0.2], [0.8, 0.8]], [[0.2, 0.8], [math.nan, math.nan]]])
    found = [torch.tensor([[0.2, 0.2], [0.8, 0.6]]), torch.tensor([[0.2, 0.8], [0.5, 0.5]])]
    seen = detector.compare(found, places)
    told = scenes.score(seen, 64)
    assert told["conditions met"] == pytest.approx(0.75) and told["count right"] == 0.5 and told["all right"] == 0
    assert told["error, px"] == pytest.approx(0, abs=1e-4)
    cells = scenes.by_cell(seen, places, [0, 0.5, 1])
    assert cells.to_numpy()[0, 0] == 1 and cells.to_numpy()[1].tolist() == [1, 0] and np.isnan(cells.to_numpy()[0, 1])


def test_pull_is_how_much_nearer_to_the_range_an_object_stands():
    places = torch.tensor([[[0.1, 0.5]], [[0.5, 0.95]], [[0.5, 0.5]]])
    found = [torch.tensor([place]) for place in ((0.14, 0.5), (0.5, 0.93), (0.4, 0.5))]
    seen = detector.compare(found, places)
    assert scenes.pull(seen, places, (0.2, 0.8)) == pytest.approx(0.03, abs=1e-6)
    assert math.isnan(scenes.pull(seen.of(np.array([2])), places[2:], (0.2, 0.8)))


def test_the_surface_of_hand_made_pictures():
    flat, half = torch.full((1, 3, 4, 4), 0.5), torch.full((1, 3, 4, 4), 0.5)
    half[..., :2] = 1.0
    assert scenes.surface(flat) == {"clipped": 0, "sharpness": 0}
    assert scenes.surface(half) == {"clipped": 0.5, "sharpness": 0.5}


# -- films and figures -------------------------------------------------------------------------------

def test_a_film_has_every_frame_and_a_still_for_those_who_want_no_motion(monkeypatch, capsys):
    import base64
    import io
    import re

    from PIL import Image

    shown = []
    monkeypatch.setattr(films.chapter, "_display", lambda markup, plain: shown.append((markup, plain)))
    moments = torch.rand(6, 3, 3, 8, 8, generator=generator())
    films.show(moments, "It *moves*.", alt="Three squares.", columns=2, side=16, name="f")
    markup, plain = shown[0]
    assert plain == "Film: It *moves*. [Three squares.]" and "<em>moves</em>" in markup and 'id="fig-f"' in markup
    still, film = re.findall(r"data:image/webp;base64,([^\"]+)", markup)
    assert "(prefers-reduced-motion: reduce)" in markup and "script" not in markup
    counts = [getattr(Image.open(io.BytesIO(base64.b64decode(data))), "n_frames", 1) for data in (still, film)]
    assert counts == [1, 6]
    assert films.sheet(moments[0], columns=2, side=16).shape == (36, 36, 4)
    with pytest.raises(InputError, match="expected \\(T, n, C, H, W\\)"):
        films.show(moments[0], "no", alt="no")


def test_figures_tell_their_data():
    places = torch.tensor([[[0.5, 0.5], [math.nan, math.nan]], [[0.2, 0.2], [0.8, 0.8]]])
    found = [torch.rand(3, 2), torch.rand(0, 2)]
    figure = scene_plots.asked_and_found(torch.rand(2, 3, 8, 8), places, found, columns=2)
    assert figure.alt == "2 pictures in 1 rows; objects asked for: 1, 2; found: 3, 0."
    seen = detector.compare([torch.tensor([[0.5, 0.5]]), torch.zeros(0, 2)], places)
    edges = [0.0, 0.35, 0.65, 1.0]
    figure = scene_plots.plane(scenes.by_cell(seen, places, edges), edges, (0.35, 0.65), title="met")
    assert figure.alt == "met over the plane: 1.00 on average inside of the training range, 0.00 outside."
