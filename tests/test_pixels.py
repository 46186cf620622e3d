"""Labels for each pixel: worlds and folders, the generator, its inference and learning, scores; known on paper."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from inc_lib import layer_plots, layer_scores, layering, plots
from inc_lib.errors import InputError
from inc_lib.layering import Settings
from inc_lib.models.layers import LayeredGenerator, waves
from inc_lib.worlds import label_maps, map_folders

torch.set_num_threads(1)


def halves(n: int = 60, size: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of two halves, above and below, of independent grey values; and their maps."""
    draw = torch.Generator().manual_seed(seed)
    maps = torch.zeros(n, size, size, dtype=torch.int64)
    maps[:, size // 2 :] = 1
    values = torch.rand(n, 2, generator=draw)
    pictures = values.gather(1, maps.flatten(1)).view(n, 1, size, size)
    return (pictures + 0.01 * torch.randn(pictures.shape, generator=draw)).clamp(0, 1), maps


def made(**options) -> LayeredGenerator:
    generator = LayeredGenerator(**{"size": 8, "n_layers": 2, "n_z": 4, "channels": 3} | options)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in generator.parameters():
            weights.copy_(0.3 * torch.randn(weights.shape, generator=draw))
    return generator.requires_grad_(False)


# --- worlds ---


def test_a_textured_world_has_the_labels_of_the_plain_one():
    names = ("shapes3d-twin", "textured-shapes3d")
    plain, textured = (label_maps.draw(name, 3, image_size=16, seed=1) for name in names)
    assert torch.equal(plain[1], textured[1]) and not torch.equal(plain[0], textured[0])
    assert plain[1].unique().tolist() == [0, 1, 2] and textured[0].min() >= 0 and textured[0].max() <= 1


def test_flat_colours_meet_in_no_pixel_but_at_edges():
    pictures, maps = label_maps.draw("shapes3d-twin", 2, image_size=16, seed=0)
    hues = pictures[0] / pictures[0].amax(0).clamp_min(1e-6)
    inside = hues.permute(1, 2, 0)[maps[0] == 0].round(decimals=1).unique(dim=0, return_counts=True)[1]
    assert inside.max() / inside.sum() > 0.8


def test_a_moving_camera_moves_the_map():
    names = ("textured-shapes3d", "moving-shapes3d")
    still, moving = (label_maps.draw(name, 12, image_size=16, seed=0)[1] for name in names)
    spread = [(maps == 0).float().mean((1, 2)).std() for maps in (still, moving)]
    assert moving.shape == still.shape and spread[1] > 1.5 * spread[0]


def test_layers_of_the_arm_add_up_to_the_world():
    colours, weights = label_maps.mpi3d_layers(2, 16, torch.Generator().manual_seed(0))
    world = label_maps.mpi3d.MPI3DTwin(image_size=16)
    states = world.states(2, torch.Generator().manual_seed(0))
    painted = torch.einsum("nkc,nkhw->nchw", colours, weights)
    assert torch.allclose(painted, world.render(states), atol=1e-5)


def test_stripes_and_lamps_stay_in_their_range():
    draw = torch.Generator().manual_seed(0)
    lines, light = label_maps.stripes(4, 2, 16, draw), label_maps.lamps(4, 16, draw)
    assert lines.min() >= 1 - label_maps.STRIPES - 1e-6 and lines.max() <= 1 and lines.std() > 0.05
    assert light.min() >= label_maps.DIMMEST and light.max() <= 1


def test_a_world_says_what_it_is():
    world = label_maps.load("textured-shapes3d", n=4, image_size=16)
    assert len(world.train) == 4 and len(world.test) == 1 and world.classes == ("floor", "wall", "object")
    assert "16x16" in world.describe() and world.factors[0].values == world.classes


@pytest.mark.parametrize("options", [{"dataset": "textured-shapes"}, {"dataset": "shapes3d-twin", "n": 1},
                                     {"dataset": "shapes3d-twin", "image_size": 4}])
def test_worlds_that_cannot_be(options):
    with pytest.raises(InputError):
        label_maps.load(**options)


# --- folders ---


def save(path, array, mode=None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8), mode=mode).save(path)


def coco(folder, n: int = 4, side: int = 12):
    for k in range(n):
        save(folder / "images" / f"{k}.png", np.full((side, side, 3), 60 * k))
        labels = np.full((side, side), 7)
        labels[side // 2 :] = 9
        labels[0] = 255
        save(folder / "labels" / f"{k}.png", labels)
    return folder


def test_a_folder_with_images_and_labels(tmp_path):
    pictures, maps, classes = map_folders.read(coco(tmp_path), image_size=12)
    assert pictures.shape == (4, 3, 12, 12) and classes == ("label 7", "label 9")
    assert (maps[:, 0] == -1).all() and (maps[:, 1:6] == 0).all() and (maps[:, 6:] == 1).all()
    assert pictures[1].unique().tolist() == pytest.approx([60 / 255])


def test_a_folder_is_a_world(tmp_path):
    world = label_maps.load(coco(tmp_path / "mine"), n=10, image_size=8)
    assert (len(world.train), len(world.test), world.name, world.source) == (3, 1, "mine", "yours")


def test_facades_lie_side_by_side(tmp_path):
    for k in range(3):
        save(tmp_path / f"{k}.jpg", np.zeros((8, 16, 3)))
        save(tmp_path / f"{k}.png", np.tile([1, 2], (8, 8)))
    pictures, maps, classes = map_folders.read(tmp_path, image_size=8)
    assert pictures.shape == (3, 3, 8, 8) and maps[0, 0].tolist() == [0, 1] * 4 and len(classes) == 2


def test_potsdam_has_its_colours_built_in(tmp_path):
    tile = np.zeros((6, 6, 3))
    tile[:3], tile[3:] = (255, 255, 255), (255, 255, 0)
    save(tmp_path / "top_1_RGB.tif", np.zeros((6, 6, 3)))
    save(tmp_path / "top_1_label.tif", tile)
    _, maps, classes = map_folders.read(tmp_path, image_size=6)
    assert classes == ("impervious surface", "car") and maps[0, :, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_colours_of_your_own(tmp_path):
    tile = np.zeros((4, 4, 3))
    tile[:2] = (10, 20, 30)
    save(tmp_path / "images" / "a.png", np.zeros((4, 4, 3)))
    save(tmp_path / "labels" / "a.png", tile)
    (tmp_path / "colours.csv").write_text("label,red,green,blue\nsky,10,20,30\nsea,0,0,0\n")
    assert map_folders.read(tmp_path, image_size=4)[2] == ("sky", "sea")


def spoil(folder, what: str) -> str:
    """Break a good folder; returns words that the error must hold."""
    if what == "a missing map":
        (folder / "labels" / "2.png").unlink()
        return "2.png"
    if what == "sizes":
        save(folder / "labels" / "1.png", np.zeros((5, 12)))
        return "12x5"
    if what == "no table":
        save(folder / "labels" / "1.png", np.zeros((12, 12, 3)))
        return "colours.csv"
    if what == "a strange colour":
        (folder / "colours.csv").write_text("sky,7,7,7\n")
        return "(255, 255, 255)"
    if what == "a bad table":
        (folder / "colours.csv").write_text("sky,7,7\n")
        return "line 1"
    if what == "a truncated file":
        (folder / "images" / "0.png").write_bytes((folder / "images" / "0.png").read_bytes()[:40])
        return "0.png"
    for k in range(4):
        save(folder / "labels" / f"{k}.png", np.zeros((12, 12)))
    return "1 label"


@pytest.mark.parametrize("what", ["a missing map", "sizes", "no table", "a strange colour", "a bad table",
                                  "a truncated file", "one label"])
def test_folders_that_cannot_be_read(tmp_path, what):
    words = spoil(coco(tmp_path), what)
    with pytest.raises(InputError) as error:
        map_folders.read(tmp_path, image_size=12)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_an_empty_folder_and_no_folder(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError):
            map_folders.read(folder, image_size=8)


# --- the generator ---


def test_waves_are_orthonormal_in_mean_square():
    basis = waves(16, 3)
    assert basis.shape == (256, 6) and torch.allclose(basis.T @ basis / 256, torch.eye(6), atol=1e-5)


@pytest.mark.parametrize("light", ["shared", "each", "free"])
def test_slopes_are_the_derivatives(light):
    generator, z = made(light=light), torch.randn(1, 4, generator=torch.Generator().manual_seed(1))
    by_hand = generator.slopes(z)[0]
    by_torch = torch.autograd.functional.jacobian(generator.coefficients, z)[0, ..., 0, :]
    assert torch.allclose(by_hand, by_torch, atol=1e-5)


def test_statistics_tell_the_squared_error():
    generator, draw = made(), torch.Generator().manual_seed(2)
    x, z = torch.rand(3, 3, 64, generator=draw), torch.randn(3, 4, generator=draw)
    y = torch.rand(3, 2, 64, generator=draw).softmax(1)
    matrix, vector = layering.gather(generator, x, y)
    c = generator.coefficients(z)
    told = (c * ((matrix @ c[..., None])[..., 0] - 2 * vector)).sum((1, 2, 3)) + (y.sum(1) * x.square().sum(1)).sum(1)
    _, errors = generator.log_likelihood(x, z)
    assert torch.allclose(told, (y * errors).sum((1, 2)), atol=1e-3)


def test_flat_light_paints_one_colour():
    drawn = made(order=1).layers(torch.randn(2, 4))
    assert torch.allclose(drawn, drawn[..., :1, :1].expand_as(drawn), atol=1e-6)


def test_decode_takes_the_layer_of_each_pixel():
    generator, z = made(), torch.zeros(1, 4)
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    labels[0, 3, 5] = 1
    layers, picture = generator.layers(z).clamp(0, 1), generator.decode(z, labels)
    assert torch.equal(picture[0, :, 3, 5], layers[0, 1, :, 3, 5])
    assert torch.equal(picture[0, :, 0, 0], layers[0, 0, :, 0, 0])


@pytest.mark.parametrize("options", [{"n_layers": 1}, {"order": 0}, {"light": "sun"}, {"reach": -1}, {"n_z": 0}])
def test_generators_that_cannot_be(options):
    with pytest.raises(InputError):
        made(**options)


# --- inference ---


def test_the_posterior_is_bayes_rule():
    """Two flat layers, 0 and 1, sigma 0.5, prior 1/4 and 3/4: a pixel of 0.5 keeps the prior, one of 0 gains e^2."""
    generator = LayeredGenerator(size=8, n_layers=2, n_z=1, order=1, channels=1).requires_grad_(False)
    generator.colour_mean.copy_(torch.tensor([0.0, 1.0]))
    generator.index_map[0], generator.index_map[1] = 0.25, 0.75
    generator.sigma.fill_(0.5)
    picture = torch.full((1, 1, 8, 8), 0.5)
    picture[..., 0, 0] = 0.0
    posterior = layering.infer(generator, picture).posterior[0]
    assert posterior[1, 1].item() == pytest.approx(0.75)
    assert posterior[0, 0].item() == pytest.approx(0.25 * math.e**2 / (0.25 * math.e**2 + 0.75))


def test_map_is_the_answer_of_ridge_regression():
    """One colour per layer, flat light: the energy is quadratic, and one step is at its minimum."""
    generator = made(order=1, channels=1)
    draw = torch.Generator().manual_seed(3)
    x, y = torch.rand(1, 1, 64, generator=draw), torch.ones(1, 2, 64) / 2
    z = layering.climb(generator, torch.zeros(1, 4), *layering.gather(generator, x, y), steps=20)
    weights, mean = generator.colour.T, generator.colour_mean
    rows = weights.repeat_interleave(64, 0) * (0.5**0.5)
    target = ((x[0, 0].repeat(2) - mean.repeat_interleave(64)) * 0.5**0.5)[:, None]
    exact = torch.linalg.solve(rows.T @ rows + generator.sigma**2 * torch.eye(4), rows.T @ target)[:, 0]
    assert torch.allclose(z[0], exact, atol=1e-3)


def test_langevin_without_pixels_draws_from_the_prior():
    generator = made(order=1)
    nothing = torch.zeros(4000, 2, 1, 1, 1), torch.zeros(4000, 2, 3, 1)
    z = layering.climb(generator, torch.zeros(4000, 4), *nothing, steps=12, noise=torch.Generator().manual_seed(0))
    assert abs(z.mean().item()) < 0.05 and 0.9 < z.std().item() < 1.25  # an Euler step of 1/2 is a little too wide


def test_a_shift_is_found():
    generator = LayeredGenerator(size=8, n_layers=2, n_z=1, order=1, channels=1, reach=3)
    generator.index_map[:, :7], generator.index_map[:, 7:] = torch.tensor([0.99, 0.01]).view(2, 1, 1), 0
    generator.index_map[:, 7:] = torch.tensor([0.01, 0.99]).view(2, 1, 1)
    told = torch.zeros(1, 2, 8, 8)
    told[:, 0, :2], told[:, 1, 2:] = 5.0, 5.0  # the edge is at row 2 of the picture, at row 7 of the map
    assert layering.place(generator, told.flatten(2), stride=1)[0, 0] == 5


def test_sampled_labels_follow_their_posterior():
    posterior = torch.tensor([0.2, 0.8]).view(1, 2, 1).expand(1, 2, 5000)
    drawn = layering.sample(posterior, torch.Generator().manual_seed(0))
    assert (drawn.sum(1) == 1).all() and drawn[0, 1].mean().item() == pytest.approx(0.8, abs=0.02)


# --- learning ---


def test_two_halves_are_found_and_the_same_seed_gives_the_same():
    pictures, maps = halves()
    settings = Settings(n_layers=2, sweeps=6, order=1, n_z=4)
    fitted = layering.fit(pictures, settings)
    assert layer_scores.score(fitted.infer(pictures).maps(), maps, 2).accuracy > 0.95
    again = layering.fit(pictures, settings)
    assert torch.equal(fitted.generator.index_map, again.generator.index_map) and fitted.score == again.score
    assert not torch.equal(fitted.generator.colour, layering.fit(pictures, replace(settings, seed=1)).generator.colour)


@pytest.mark.parametrize("options", [{"prior": "uniform"}, {"start": "bands"}, {"start": "random"}, {"sigma": 0.0},
                                     {"langevin": False}, {"sampled": False}, {"reach": 1}, {"light": "free"},
                                     {"anneal": 0.0}])
def test_every_setting_runs(options):
    pictures, _ = halves(n=12)
    fitted = layering.fit(pictures, Settings(**{"n_layers": 2, "sweeps": 2, "order": 2, "n_z": 4} | options))
    inferred = fitted.infer(pictures[:3])
    assert math.isfinite(fitted.score) and inferred.maps().shape == (3, 8, 8)
    assert torch.allclose(inferred.posterior.sum(1), torch.ones(3, 64), atol=1e-5)
    assert torch.allclose(fitted.generator.index_map.sum(0), torch.ones(()), atol=1e-5)


def test_the_best_start_is_first():
    fits = layering.best_of(halves(n=10)[0], Settings(n_layers=2, sweeps=1, order=1, n_z=4), n=2)
    assert fits[0].score >= fits[1].score and {f.settings.seed for f in fits} == {0, 1}


@pytest.mark.parametrize("pictures", [torch.rand(1, 1, 8, 8), torch.rand(4, 1, 8, 6), torch.rand(4, 1, 8, 8) * 255,
                                      torch.full((4, 1, 8, 8), 0.5), torch.full((4, 1, 8, 8), math.nan)])
def test_pictures_that_cannot_be_learned_from(pictures):
    with pytest.raises(InputError):
        layering.fit(pictures, Settings(n_layers=2))


@pytest.mark.parametrize("options", [{"start": "somewhere"}, {"prior": "flat"}, {"sweeps": 0}, {"anneal": -1.0}])
def test_settings_that_cannot_be(options):
    with pytest.raises(InputError):
        Settings(**options)


def test_pictures_of_another_size_do_not_fit():
    with pytest.raises(InputError):
        layering.infer(made(), torch.rand(1, 3, 9, 9))


# --- scores and figures ---


def test_scores_known_on_paper():
    """Six pixels, clusters named the other way round, one wrong: IoU 3/4 and 2/3."""
    maps = torch.tensor([[[0, 0, 0], [1, 1, 1]]])
    found = torch.tensor([[[1, 1, 1], [1, 0, 0]]])
    scored = layer_scores.score(found, maps, 2)
    assert scored.accuracy == pytest.approx(5 / 6) and scored.iou == pytest.approx((3 / 4, 2 / 3))
    assert scored.matching == (1, 0) and scored.classes(found)[0, 0].tolist() == [0, 0, 0]


def test_pixels_without_a_label_are_not_judged():
    maps = torch.tensor([[[0, 1, -1]]])
    assert layer_scores.score(torch.tensor([[[0, 1, 1]]]), maps, 2).accuracy == 1


def test_names_that_change_from_picture_to_picture_do_not_count():
    maps = torch.tensor([[[0, 1]], [[0, 1]]])
    assert layer_scores.score(torch.tensor([[[0, 1]], [[1, 0]]]), maps, 2).accuracy == 0.5


def test_scores_refuse_what_they_cannot_judge():
    with pytest.raises(InputError):
        layer_scores.score(torch.zeros(1, 2, 2, dtype=torch.int64), torch.zeros(1, 2, 3, dtype=torch.int64), 2)
    with pytest.raises(InputError):
        layer_scores.score(torch.zeros(1, 2, 2, dtype=torch.int64), -torch.ones(1, 2, 2, dtype=torch.int64), 2)


def test_place_alone_is_right_where_all_pictures_agree():
    pictures, maps = halves(n=8)
    world = label_maps.PixelWorld("halves", "yours", *[label_maps.Labelled(pictures, maps)] * 2, ("above", "below"))
    scored = {name: layer_scores.score(found, maps, 2) for name, found in layer_scores.rivals(world).items()}
    assert scored["mean label map (told the labels)"].accuracy == 1
    assert scored["places that change together"].accuracy == 1
    assert scored["k-means, colour"].accuracy < 0.9 and len(scored) == 6


def test_an_unmeasured_world_has_no_ledger():
    assert layer_scores.ledger("nowhere") == {}


def test_behind_a_layer_lies_the_next_likeliest():
    index_map = torch.tensor([0.5, 0.1, 0.4]).view(3, 1, 1).expand(3, 2, 2)
    labels = torch.tensor([[[0, 1], [2, 0]]])
    assert layer_plots.behind(index_map, labels, 0).tolist() == [[[2, 1], [2, 2]]]


def test_figures_tell_their_data_in_light_and_dark():
    maps = torch.tensor([[[0, 1], [-1, 2]]])
    assert layer_plots.paint(maps).shape == (1, 3, 2, 2)
    figures = [layer_plots.sheet({"found": layer_plots.paint(maps)}, note="Accuracy 0.50."),
               layer_plots.dots({"default": [0.9, 0.8]}, levels={"k-means": 0.4}, xlabel="accuracy")]
    assert "0.50" in figures[0].alt and "default 0.85" in figures[1].alt and "k-means 0.40" in figures[1].alt
    for figure in figures:
        plots.light(plots.dark(figure)).draw_without_rendering()
