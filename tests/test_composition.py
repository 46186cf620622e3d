"""Combinatorial generalisation: masks and their errors, the world's areas and values, scores known on paper."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from inc_lib import clustering, composition, composition_plots, oracle, plots, worlds
from inc_lib.errors import InputError
from inc_lib.models.diffusion import Diffusion, Sampler
from inc_lib.worlds.arrays import ArrayWorld
from inc_lib.worlds.simple_shapes import RADII, SimpleShapes


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def world() -> SimpleShapes:
    return worlds.load("simple-shapes", image_size=28)


@pytest.fixture(scope="module")
def task(world) -> composition.Split:
    return composition.split(world)


@pytest.fixture(scope="module")
def model(task) -> Diffusion:
    return composition.train(task, steps=2, batch_size=4, options={"widths": (8, 16)})


def grid_world(sizes: tuple[int, ...] = (2, 3), *, without: tuple[int, ...] = ()) -> ArrayWorld:
    """Four flat grey images of each combination, but none of those in `without`."""
    classes = torch.cartesian_prod(*(torch.arange(size) for size in sizes)).view(-1, len(sizes)).numpy()
    labels = np.repeat(np.delete(classes, without, axis=0), 4, axis=0)
    images = np.full((len(labels), 8, 8, 1), 200, np.uint8)
    factors = [worlds.Factor(f"f{i}", tuple(range(size))) for i, size in enumerate(sizes)]
    return ArrayWorld(name="mine", source="yours", images=images, labels=labels, factors=factors, image_size=8)


def curve(accuracy, by_factor, *, names=("000", "001", "010", "011", "100", "101", "110", "111")) -> composition.Curve:
    seen = np.array([name.count("1") <= 1 for name in names])
    changes = np.array([max(name.count("1") - 1, 0) for name in names])
    steps = np.array([100, 1000, 10_000])[: len(accuracy)]
    return composition.Curve("run", 0, steps, tuple(names), seen, changes, 10, np.array(accuracy), np.array(by_factor))


# -- the world -------------------------------------------------------------------------------------


def test_shapes_of_one_size_have_the_area_of_the_circle():
    world = SimpleShapes(n_values=3, spread=0.0)
    for size, name in enumerate(world.factors[2].values):
        states = torch.tensor([[shape, 1, size, 0, 4, 4] for shape in range(3)])
        darkened = (1 - world.render(states)[:, 1]) / 0.9  # blue on white: green falls from 1 to 0.1
        expected = math.pi * (RADII[name] * 28) ** 2
        np.testing.assert_allclose(darkened.sum((1, 2)).numpy(), expected, rtol=0.02)


def test_no_shape_is_cut_off_and_every_pixel_is_in_range(world):
    states = world.states(4000, seeded())
    images = world.render(states)
    assert images.shape == (4000, 3, 28, 28) and images.min() >= 0 and images.max() <= 1
    states[:, 4:] = 4
    in_the_middle = (1 - world.render(states)).sum((1, 2, 3))
    np.testing.assert_allclose((1 - images).sum((1, 2, 3)).numpy(), in_the_middle.numpy(), rtol=0.06)


def test_tints_and_sizes_of_two_classes_never_meet(world):
    told = world.conditions(world.states(5000, seeded()))
    assert torch.equal(told[:, :2].sum(1), torch.ones(5000))
    assert ((told[:, 2] > told[:, 4]) == (told[:, 2] > 0.5)).all()  # red or blue is above one half, never both
    assert not ((told[:, 5] > -0.25) & (told[:, 5] < -0.15)).any()


def test_what_is_told_of_a_class_is_the_class_itself(world, task):
    told = task.prototypes()
    expected = torch.tensor([[1, 0, 0.9, 0.1, 0.1, 1], [0, 1, 0.1, 0.1, 0.9, -1]])
    torch.testing.assert_close(told[[0, 7]], expected)
    assert task.groups == world.condition_sizes == (2, 3, 1)


@pytest.mark.parametrize("options", [{"n_values": 4}, {"image_size": 8}, {"spread": 2.0}])
def test_a_world_that_cannot_be_drawn_gets_one_sentence(options):
    with pytest.raises(InputError, match="expected 2 or 3 values"):
        SimpleShapes(**options)


# -- splits ----------------------------------------------------------------------------------------


def test_one_change_is_the_published_training_set(task):
    assert task.names == ("000", "001", "010", "011", "100", "101", "110", "111")
    assert [name for name, kept in zip(task.names, task.is_seen, strict=True) if kept] == ["000", "001", "010", "100"]
    assert task.changes.tolist() == [0, 0, 0, 1, 0, 1, 1, 2]


def test_classes_by_name_by_file_and_by_mask_are_the_same(world, tmp_path):
    named = composition.split(world, "000 011, 110")
    np.save(tmp_path / "mask.npy", named.seen.numpy())
    for seen in (tmp_path / "mask.npy", str(tmp_path / "mask.npy"), named.seen):
        assert torch.equal(composition.split(world, seen).seen, named.seen)
    assert composition.split(world, "all").is_seen.all()


def test_names_of_large_factors_are_separated():
    assert composition.class_name((10, 2), (12, 3)) == "10-2"
    assert composition.class_name((1, 2), (3, 3)) == "12"


def test_bad_masks_get_one_sentence(world, tmp_path):
    with pytest.raises(InputError, match="shape = triangle: a value that is never seen cannot be learned"):
        composition.split(world, "000 001 010 011")
    with pytest.raises(InputError, match=r"a mask of shape \(2, 2\) .* expected booleans of shape \(2, 2, 2\)"):
        composition.split(world, torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="type int64"):
        composition.split(world, torch.ones(2, 2, 2, dtype=torch.int64))
    with pytest.raises(InputError, match="class '002' does not exist"):
        composition.split(world, "000 002")
    with pytest.raises(InputError, match="nothing can be combined; expected at least two factors"):
        composition.split(grid_world((3,)))
    with pytest.raises(InputError, match="nothing can be combined"):
        composition.split(grid_world((3, 1)))
    with pytest.raises(InputError, match="holds no image of class 01, which is to be trained on"):
        composition.split(grid_world(without=(1,)))
    with pytest.raises(InputError, match="unknown telling 'value'"):
        composition.split(world, told="value")
    (tmp_path / "mask.npy").write_text("no")
    with pytest.raises(InputError, match="cannot be read as a mask"):
        composition.split(world, tmp_path / "mask.npy")


def test_a_batch_holds_taught_classes_only_each_as_often(task):
    states = task.states(4000, seeded())[:, :3]
    found, counts = states.unique(dim=0, return_counts=True)
    assert found.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert counts.min() > 850
    images, told = task.draw(5, seeded())
    assert images.shape == (5, 3, 28, 28) and told.shape == (5, 6)


def test_your_images_are_told_by_indicators_and_held_out_ones_never_drawn():
    task = composition.split(grid_world(), "00 01 02 10")
    images, told = task.draw(200, seeded())
    assert images.shape == (200, 1, 8, 8) and told.shape == (200, 5) and task.groups == (2, 3)
    rows = {"".join(map(str, row)) for row in told.int().tolist()}
    assert rows == {"10100", "10010", "10001", "01100"}
    assert task.examples(5, 3, seeded()).shape == (3, 1, 8, 8)
    assert composition.split(grid_world(without=(5,))).examples(5, 3, seeded()) is None


# -- actions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["simple-shapes", "simple-shapes-3"])
def test_every_attribute_of_given_factors_has_an_action(name):
    task = composition.split(worlds.load(name, image_size=28))
    actions, codes = task.actions(3000, seeded())
    assert actions.table()["owned"].all() and codes.shape == (3000, sum(task.groups))
    drawn = actions.sample(500, seeded())
    asked = composition.asked_attributes(actions, drawn)
    assert (asked >= 0).all() and len(asked.unique(dim=0)) == len(task.names)  # all combinations, also unseen ones


def test_implicit_clusters_are_drawn_by_algorithm_1(task, model):
    actions, _ = task.actions(500, seeded())
    stream = clustering.implicit_clusters(Sampler(model, seeded(), steps=1), actions, 3, factor="colour",
                                          sampling="partitions", generator=seeded())
    clusters = clustering.collect(stream)
    assert clusters.observations.shape == (6, 3, 28, 28)
    assert torch.equal(composition.asked_attributes(actions, clusters.codes)[:, 1], clusters.labels)


# -- the generator ---------------------------------------------------------------------------------


def test_groups_are_embedded_apart_and_added(model):
    told = torch.rand(2, 6)
    parts = [part(numbers) for part, numbers in zip(model.trained.told, told.split([2, 3, 1], 1), strict=True)]
    changed = told.clone()
    changed[:, 5] += 1  # the size alone: only its own part changes
    again = [part(numbers) for part, numbers in zip(model.trained.told, changed.split([2, 3, 1], 1), strict=True)]
    assert torch.equal(parts[0], again[0]) and torch.equal(parts[1], again[1]) and not torch.equal(parts[2], again[2])
    with pytest.raises(InputError, match="do not make up a condition of 6"):
        Diffusion(channels=3, image_size=28, n_conditions=6, groups=(2, 3))


def test_contrast_is_told_from_both_sides_and_none_of_it_is_the_class_itself(task, model):
    plain = composition.ask(model, task, 1, seeded(), steps=2)
    assert torch.equal(plain, composition.ask(model, task, 1, seeded(), steps=2, contrast=0.0))
    told = task.prototypes()[0]  # 000 against 100, 010 and 001, by hand
    conditions = torch.stack([told, *(task.prototypes()[k] for k in (4, 2, 1))])[None]
    by_hand = model.sample(conditions, weights=torch.tensor([[2.5, -0.5, -0.5, -0.5]]), steps=2, generator=seeded())
    again = composition.ask(model, task, 1, seeded(), steps=2, contrast=0.5)
    torch.testing.assert_close(again[:1], by_hand, atol=0.02, rtol=0)


def test_a_training_says_what_was_held_out_and_is_resumed(task, tmp_path):
    options = {"widths": (8, 16)}
    whole = composition.train(task, steps=3, batch_size=4, options=options)
    composition.train(task, steps=2, batch_size=4, options=options, folder=tmp_path)
    resumed = composition.train(task, steps=3, batch_size=4, options=options, folder=tmp_path)
    assert resumed.provenance["seen"] == ["000", "001", "010", "100"] and resumed.provenance["told"] == "values"
    assert whole.provenance["steps"] == resumed.provenance["steps"] == 3
    other = composition.split(task.world, "000 111")
    with pytest.raises(InputError, match="seen"):
        composition.train(other, steps=3, batch_size=4, options=options, folder=tmp_path)


def test_the_command_line_trains_and_names_bad_input(tmp_path, capsys):
    words = ["--world", "simple-shapes", "--steps", "1", "--folder", str(tmp_path)]
    assert composition.main(words) == 0 and (tmp_path / "model.safetensors").is_file()
    assert composition.main([*words, "--seen", "000"]) == 2
    assert "never seen cannot be learned" in capsys.readouterr().err


# -- scores ----------------------------------------------------------------------------------------


def test_scores_known_on_paper():
    right = torch.tensor([[[1, 1], [1, 0], [0, 1], [0, 0]], [[1, 1], [1, 1], [1, 1], [0, 0]]], dtype=torch.bool)
    scores = composition.Scores(right, ("00", "01"))
    assert scores.accuracy.tolist() == [0.25, 0.75]
    assert scores.by_factor.tolist() == [[0.5, 0.5], [0.75, 0.75]]
    assert scores.product.tolist() == [0.25, 0.5625]  # independent failures; failures together


def test_the_released_oracle_reads_true_images(task):
    judge = oracle.load(oracle.release_path("simple-shapes", 28), task.world)
    assert judge.factors == ("shape", "colour", "size")
    assert composition.ceiling(task, 20, seeded(), judge).accuracy.min() == 1


def test_an_oracle_disregards_nuisances(world):
    found = oracle.train(world, steps=2, batch_size=8, n_test=16)
    assert found.sizes == (2, 2, 2) and found.predict(world.render(world.states(3, seeded()))).shape == (3, 3)


def test_emergence_is_read_off_a_curve():
    steps = [10, 100, 1000, 10_000, 100_000]
    assert composition.emergence(steps, [0, 0, 0, 0, 0]) != composition.emergence(steps, [0, 0, 0, 0, 0])  # NaN
    assert composition.emergence(steps, [1, 1, 1, 1, 1]) == 10
    # smoothed: 0, 1/3, 2/3, 1, 1; one half lies midway between 100 and 1000, in the logarithm
    assert composition.emergence(steps, [0, 0, 1, 1, 1]) == pytest.approx(10**2.5)


def test_a_class_that_is_read_early_and_lost_again_has_not_emerged():
    steps = [10, 100, 1000, 10_000, 100_000, 1_000_000]
    # smoothed: 1, 2/3, 1/3, 1/3, 2/3, 1: above at first, and for good from midway between 10,000 and 100,000
    assert composition.emergence(steps, [1, 1, 0, 0, 1, 1]) == pytest.approx(10**4.5)
    assert math.isnan(composition.emergence(steps, [1, 1, 1, 0, 0, 0]))


def test_moments_are_spaced_in_the_logarithm_and_end_at_the_end():
    found = composition.marks(3000)
    assert found[0] == 50 and found[-1] == 3000 and len(found) <= composition.MARKS
    assert composition.marks(20) == [20]


def test_parents_known_on_paper():
    accuracy = [[0.0] * 8, [1, 1, 0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 1, 0, 0, 0]]
    by_factor = np.ones((3, 8, 3))
    by_factor[0, 4, 0] = 0.5  # a triangle is half known, in 100, the only class taught that has one
    by_factor[0, 1, 2] = 0.2  # a small one a fifth, in 001
    found = curve(accuracy, by_factor)
    product = composition.parents_product(found)[0]
    names = dict(zip(found.names, product, strict=True))
    for name, expected in {"110": 0.5, "111": 0.1, "010": 1.0}.items():
        assert names[name] == pytest.approx(expected)
    moments = dict(zip(found.names, composition.parents_moment(found), strict=True))
    assert moments["110"] > moments["101"]  # blue is later than triangle and small


def test_a_record_is_read_back_without_what_is_unfinished(tmp_path):
    run = {"run": "a", "seed": 0, "names": ["00", "01", "10", "11"], "seen": [True, True, True, False],
           "changes": [0, 0, 0, 1], "n": 10, "finished": True, "seconds": 3,
           "moments": [{"step": 5, "right": [10, 5, 5, 0], "by_factor": [[10, 10], [10, 5], [5, 10], [5, 5]]}]}
    path = tmp_path / "combinations.json"
    path.write_text(json.dumps({"runs": [run, run | {"seed": 1, "finished": False}]}))
    (found,) = composition.recorded(path)["a"]
    assert found.accuracy.tolist() == [[1, 0.5, 0.5, 0]] and found.product[0, 3] == 0.25
    with pytest.raises(InputError, match="make it with python benchmarks/combinations.py"):
        composition.recorded(tmp_path / "none.json")


def test_pictures_of_a_training_are_kept(task, tmp_path):
    pictures = {step: torch.rand(8, 2, 3, 28, 28, generator=seeded(step)) for step in (50, 75)}
    composition.write_pictures(tmp_path / "kept.png", pictures)
    again = composition.read_pictures(tmp_path / "kept.png", [50, 75, 100], task, 2)
    assert list(again) == [50, 75] and (again[75] - pictures[75]).abs().max() <= 0.5 / 255 + 1e-6
    assert composition.read_pictures(tmp_path / "none.png", [50], task, 2) == {}


# -- figures ---------------------------------------------------------------------------------------


def test_figures_tell_their_data(task):
    pictures = torch.rand(8, 3, 28, 28, generator=seeded())
    accuracy, by_factor = np.linspace(0, 1, 24).reshape(3, 8), np.full((3, 8, 3), 0.9)
    found = curve(accuracy, by_factor)
    held = dict.fromkeys(("000", "100"), pictures[:2])
    figures = {
        "011, 101, 110 and 111": composition_plots.lattice(task, pictures, [f"{k} %" for k in range(8)]),
        "111 (two changes away) from 0.30 to 1.00": composition_plots.learning([found, found], level=0.95),
        "measured minus predicted": composition_plots.products([found]),
        "mine: ": composition_plots.sweep({"mine": [found]}),
        "(dashed): 111": composition_plots.gaps(task, held, held | {"111": pictures[:2]}, 0),
    }
    for told, figure in figures.items():
        assert told in figure.alt, figure.alt
        plots.light(plots.dark(figure))
