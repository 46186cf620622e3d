"""The clustered generator: slopes, chains, labels, alternation, theta step; answers known on paper, bad input."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from inc_lib import alternation, chapter, clustered_plots, clustered_scores, clustering, deep_clusters
from inc_lib.alternation import SCHEDULE, Recipe, Stage
from inc_lib.errors import InputError
from inc_lib.langevin import infer, infer_cooling, label_posterior, langevin, log_joint
from inc_lib.models import checkpoints, clustered
from inc_lib.models.clustered import DeconvolutionalGenerator, DeformingGenerator
from inc_lib.worlds.vectors import Part, VectorWorld

torch.set_num_threads(1)
SHORT = (Stage("shifts", 0.5, 2), Stage("linear", 0.4, 2, prunes=True), Stage("shades", 0.3, 2, covariances=True))


def blob(x: torch.Tensor, y: torch.Tensor, wide: float, high: float, size: int = 9) -> torch.Tensor:
    """Images (n, size * size) of a smooth spot at (x, y), from -1 to 1."""
    place = torch.linspace(-1, 1, size)
    down = torch.exp(-(((place - y[:, None]) / high) ** 2))
    across = torch.exp(-(((place - x[:, None]) / wide) ** 2))
    return (down[:, :, None] * across[:, None]).flatten(1)


def made(k: int = 2, shades: int = 1, modes: int = 1, size: int = 9) -> DeformingGenerator:
    """A generator of a tall spot, a broad one, and so on."""
    model = DeformingGenerator(shape=(size, size), n_clusters=k, modes=modes, n_shades=shades)
    zero = torch.zeros(1)
    for i in range(k):
        model.templates[i] = blob(zero, zero, 0.25 + 0.5 * i / k, 0.75 - 0.5 * i / k, size).view(size, size)
        for j in range(shades):
            model.shades[i, j] = 0.2 * blob(zero, zero + 0.3, 0.5, 0.5, size).view(size, size)
    return model


def spots(n: int = 120, seed: int = 0) -> VectorWorld:
    """Tall and broad spots that lie anywhere: two clusters up to a shift."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    x, y = (0.6 * torch.rand(2, n, generator=generator) - 0.3).unbind()
    tall, broad = blob(x, y, 0.22, 0.75), blob(x, y, 0.75, 0.22)
    vectors = torch.where(labels[:, None] == 0, tall, broad)
    parts = [Part(vectors[rows], labels[rows]) for rows in (slice(0, n // 2), slice(n // 2, n))]
    return VectorWorld("spots", "yours", *parts, ("tall", "broad"), (9, 9))


# --- the generator ---


def test_nothing_bent_is_the_template_and_shades_are_added():
    model = made()
    model.means.zero_()
    z = torch.zeros(2, model.n_z)
    z[1, -1] = 2.0
    images = model.draw(z, 0)
    assert torch.allclose(images[0], model.templates[0].flatten(), atol=1e-6)
    assert torch.allclose(images[1], (model.templates[0] + 2 * model.shades[0, 0]).flatten(), atol=1e-5)


def test_a_shift_is_a_shift():
    model = made(size=9)
    z = torch.zeros(1, model.n_z)
    z[0, 0] = 0.25 / clustered.SPREADS[0]  # a quarter of half of an image: one pixel of nine
    assert torch.allclose(model.draw(z, 0).view(9, 9)[:, :-1], model.templates[0][:, 1:], atol=1e-5)


def test_generate_takes_each_row_s_own_label():
    model = made(3)
    z, y = 0.3 * torch.randn(5, model.n_z), torch.tensor([2, 0, 1, 0, 2])
    alone = torch.cat([model.draw(z[i : i + 1], int(y[i])) for i in range(5)])
    assert torch.allclose(model.generate(z, y), alone, atol=1e-6)
    assert model.generate(z[:0], y[:0]).shape == (0, 81)


def test_slopes_are_those_of_autograd_on_a_smooth_picture():
    """A finely sampled spot: looked-up slopes and those of bilinear look-up agree up to the sampling."""
    torch.manual_seed(0)
    model = made(size=41, modes=1)
    model.spreads[0] += 0.02 * torch.tril(torch.randn(model.n_bends, model.n_bends))
    z, x = 0.4 * torch.randn(4, model.n_z), blob(torch.zeros(4), torch.zeros(4) + 0.1, 0.3, 0.6, 41)
    error, gradient, curvature = model.slopes(x, z, 0, 0.5)
    leaf = z.clone().requires_grad_()
    joint = log_joint(model, x, leaf, torch.zeros(4, dtype=torch.int64), 0.5)
    (expected,) = torch.autograd.grad(joint.sum(), leaf)
    assert torch.allclose(error, (x - model.draw(z, 0)).square().sum(1), rtol=1e-4)
    assert torch.nn.functional.cosine_similarity(gradient, expected).min() > 0.99
    jacobian = torch.autograd.functional.jacobian(lambda one: model.draw(one[None], 0)[0], z[0])
    exact = jacobian.T @ jacobian / 0.25 + torch.eye(model.n_z)
    assert (curvature[0] - exact).norm() < 0.1 * exact.norm()
    assert torch.linalg.eigvalsh(curvature).min() >= 1 - 1e-4


def test_codes_are_z_and_the_posterior_and_are_drawn_again():
    model = made(3)
    x = torch.cat([model.draw(torch.zeros(1, model.n_z), k) for k in range(3)])
    model.sigma.fill_(0.1)
    codes = model.encode(x)
    assert codes.shape == (3, model.n_codes) and torch.allclose(codes[:, model.n_z :].sum(1), torch.ones(3))
    assert model.clusters(x).tolist() == [0, 1, 2]
    assert (model.decode(codes) - x).abs().max() < 0.05
    assert model.encode(x[:0]).shape == (0, model.n_codes)


def test_kept_labels_keep_what_is_theirs():
    model = made(3)
    fewer = model.kept([2, 0])
    assert fewer.n_clusters == 2 and torch.equal(fewer.templates, model.templates[[2, 0]])


@pytest.mark.parametrize("options", [{"n_clusters": 1}, {"shape": (3, 9)}, {"shape": (9,)}, {"modes": -1}])
@pytest.mark.parametrize("kind", [DeformingGenerator, DeconvolutionalGenerator])
def test_generators_that_cannot_be(kind, options):
    if kind is DeconvolutionalGenerator:
        options = {"n_z": 0} if "modes" in options else options
    with pytest.raises(InputError):
        kind(**{"shape": (9, 9), "n_clusters": 2} | options)


def test_the_published_kind_draws_any_size():
    model = DeconvolutionalGenerator(shape=(9, 14), n_clusters=3, n_z=4, width=2)
    images = model.generate(torch.randn(5, 4), torch.arange(5) % 3)
    assert images.shape == (5, 9 * 14) and images.min() >= 0 and images.max() <= 1


# --- z and y ---


class Line(torch.nn.Module):
    """G(z, y) = z + y: everything about it is known."""

    n_clusters, n_z = 2, 1

    def generate(self, z, y):
        return z + y[:, None]


def test_langevin_settles_on_the_known_posterior():
    """z ~ N(0, 1), x = z + noise of variance 1/4: the posterior of z given x = 1 is N(0.8, 0.2)."""
    n = 4000
    x, y = torch.ones(n, 1), torch.zeros(n, dtype=torch.int64)
    options = {"steps": 200, "step_size": 0.02, "sigma": 0.5}
    z = langevin(Line(), x, torch.zeros(n, 1), y, generator=torch.Generator().manual_seed(0), **options)
    assert z.mean().item() == pytest.approx(0.8, abs=0.03) and z.var().item() == pytest.approx(0.2, abs=0.03)
    cold = langevin(Line(), x, torch.zeros(n, 1), y, temperature=0.0, **options)
    assert torch.allclose(cold, torch.full((n, 1), 0.8), atol=1e-3)
    with pytest.raises(InputError, match="positive"):
        langevin(Line(), x, z, y, steps=1, step_size=0.0, sigma=0.5)


def test_the_posterior_of_a_label_by_hand():
    found = label_posterior(Line(), torch.tensor([[1.0]]), torch.zeros(1, 1), 1.0, torch.tensor([0.5, 0.5]))
    assert found[0, 1].item() == pytest.approx(1 / (1 + math.exp(-0.5)))
    found = label_posterior(Line(), torch.tensor([[1.0]]), torch.zeros(1, 1), 1.0, torch.tensor([0.9, 0.1]))
    assert found[0, 1].item() == pytest.approx(0.1 / (0.1 + 0.9 * math.exp(-0.5)))


class Lines(DeformingGenerator):
    """G(z, k) = s_k z_1: a linear Gaussian model, whose marginal Laplace's approximation gives exactly."""

    def __init__(self):
        super().__init__(shape=(4, 4), n_clusters=2, modes=0, n_shades=1)
        self.steep = torch.tensor([1.0, 3.0])

    def draw(self, z, k):
        return torch.cat([self.steep[k] * z[:, -1:], torch.zeros(len(z), 15)], dim=1)

    def slopes(self, x, z, k, sigma):
        rest = x - self.draw(z, k)
        gradient, curvature = -z.clone(), torch.eye(self.n_z).repeat(len(z), 1, 1)
        gradient[:, -1] += self.steep[k] * rest[:, 0] / sigma**2
        curvature[:, -1, -1] += self.steep[k] ** 2 / sigma**2
        return rest.square().sum(1), gradient, curvature


def test_labels_by_volume_are_the_exact_marginal_and_by_peak_are_not():
    """x ~ N(0, s_k^2 + sigma^2) under label k."""
    x, sigma = torch.zeros(3, 16), 0.5
    x[:, 0] = torch.tensor([0.0, 1.0, 4.0])
    variance = Lines().steep.square() + sigma**2
    exact = x[:, :1].square() / (2 * variance) + (variance / sigma**2).log() / 2
    _, scores = infer(Lines(), x, sigma, steps=1)
    assert torch.allclose(scores, exact, atol=1e-4)
    _, peaks = infer(Lines(), x, sigma, steps=1, marginal=False)
    assert scores[1].argmin() == 0 and peaks[1].argmin() == 1


def test_warm_chains_at_a_temperature_sample_the_posterior():
    x = torch.zeros(3000, 16)
    x[:, 0] = 1.0
    z, generator = None, torch.Generator().manual_seed(0)
    z, _ = infer(Lines(), x, 0.5, steps=1)
    z, _ = infer(Lines(), x, 0.5, steps=1, z=z, temperature=1.0, generator=generator)
    # the posterior is N(0.8, 0.2), and log p quadratic: a step is a draw from it, wherever it starts
    assert z[:, 0, -1].mean().item() == pytest.approx(0.8, abs=0.05)
    assert z[:, 0, -1].var().item() == pytest.approx(0.2, rel=0.1)


def test_what_is_not_free_stays():
    model, x = made(), spots().train.vectors[:5]
    z, _ = infer(model, x, 0.3, steps=2, active=[0, model.n_basis])
    still = [i for i in range(model.n_z) if i not in (0, model.n_basis)]
    assert not z[..., still].any() and z[..., 0].any()
    z, scores = infer(model, x, 0.3, steps=2, active=[])
    assert not z.any() and scores.isfinite().all()


# --- the alternation ---


def test_costs_by_hand():
    scores = torch.tensor([[1.0, 2.0, 9.0], [2.0, 3.0, 9.0], [7.0, 4.0, 9.0], [8.0, 9.0, 3.0]])
    assert alternation.costs(scores).tolist() == [2.0, 3.0, 5.0]


def test_the_theta_step_finds_the_picture_and_the_bends():
    world = spots(200)
    tall = world.train.vectors[world.train.labels == 0]
    model = made()
    before = infer(model, tall, 0.3, steps=4)
    z, y = before[0], torch.zeros(len(tall), dtype=torch.int64)
    for _ in range(5):
        alternation.improve(model, tall, z, y, covariances=True)
        z, scores = infer(model, tall, 0.3, steps=2, z=z)
    assert scores[:, 0].mean() < before[1][:, 0].mean()
    bends = model.bends(z[:, 0], 0)
    assert torch.allclose(bends.mean(0), model.means[0], atol=0.02)
    assert torch.equal(model.spreads[0], model.spreads[0].tril()) and (model.spreads[0].diagonal() > 0).all()


def test_new_units_leave_every_chain_s_bends_as_they_are():
    model, x = made(), spots().train.vectors
    z, _ = infer(model, x, 0.3, steps=2)
    bends = [model.bends(z[:, k], k) for k in range(2)]
    alternation.improve(model, x, z, torch.arange(len(x)) % 2, covariances=True)
    for k in range(2):
        assert torch.allclose(model.bends(z[:, k], k), bends[k], atol=1e-4)


def test_spots_are_told_apart_wherever_they_lie():
    world, history = spots(240), []
    watch = clustered_scores.Watch(world.train.labels)
    model = alternation.train(world, recipe=Recipe(modes=0, n_shades=0), schedule=SHORT, on_sweep=watch,
                              history=history)
    assert deep_clusters.score(world.train.labels, model.labels)["accuracy"] > 0.95
    assert deep_clusters.score(world.test.labels, model.clusters(world.test.vectors))["accuracy"] > 0.95
    assert [sweep["pictures"] for sweep in history] == [6, 6, 6, 6, 2, 2] and model.n_clusters == 2
    assert len(watch.path["accuracy"]) == 6 and watch.path["changed"][0] == 1.0
    assert clustered_plots.growth(history, watch.path["accuracy"]).alt
    assert alternation.log_likelihood(model, world.test.vectors) > alternation.log_likelihood(
        made(2, 0, 0), world.test.vectors, sigma=float(model.sigma))


@pytest.mark.parametrize("changed", [
    {"initial": "k-means"}, {"initial": "random"}, {"grows": False}, {"anneals": False}, {"own_chains": False},
    {"marginal": False}, {"covariances": False}, {"labels": "sample"}, {"temperature": 1.0}, {"uniform": False},
    {"n_shades": 0}])
def test_every_part_can_be_taken_away(changed):
    recipe = replace(Recipe(modes=0, n_shades=1), **changed)
    model = alternation.train(spots(80), recipe=recipe, schedule=SHORT)
    assert model.n_clusters == 2 and model.templates.isfinite().all() and len(model.labels) == 40
    assert model.provenance["sweeps"] == 6 and json.dumps(model.provenance)


def test_stages_without_growth_or_cooling():
    assert {stage.moves for stage in Recipe(grows=False).stages()} == {"shades"}
    assert {stage.sigma for stage in Recipe(anneals=False).stages()} == {SCHEDULE[-1].sigma}
    assert not any(stage.covariances for stage in Recipe(covariances=False).stages())


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path):
    options = {"recipe": Recipe(modes=0, n_shades=1, labels="sample", temperature=0.5), "schedule": SHORT, "first": 30}
    whole = alternation.train(spots(80), **options)

    def stop(sweep, *_):
        if sweep == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alternation.train(spots(80), folder=tmp_path, on_sweep=stop, **options)
    again = alternation.train(spots(80), folder=tmp_path, **options)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    assert torch.equal(whole.labels, again.labels)
    with pytest.raises(InputError, match="seed differ"):
        alternation.train(spots(80), folder=tmp_path, seed=1, **options)
    (tmp_path / "state.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="delete it"):
        alternation.train(spots(80), folder=tmp_path, **options)


def test_the_literal_alternation_keeps_and_resumes_its_chains(tmp_path):
    options = {"observations": 40, "batch_size": 10, "chain_steps": 2, "options": {"n_z": 3, "width": 2}}
    watch = clustered_scores.Watch(spots().train.labels, spots().train.vectors)
    whole = alternation.train_literally(spots(), steps=6, on_step=watch, every=2, **options)
    assert len(watch.path["error"]) == 3 and 0 <= watch.path["changed"][-1] <= 1

    def stop(step, _):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alternation.train_literally(spots(), steps=6, folder=tmp_path, on_step=stop, every=2, **options)
    again = alternation.train_literally(spots(), steps=6, folder=tmp_path, **options)
    assert torch.equal(whole.z, again.z) and torch.equal(whole.y, again.y)
    start = torch.zeros(40, dtype=torch.int64)
    begun = alternation.train_literally(spots(), steps=1, start=start, labels="map", **options)
    assert (begun.y == 0).sum() >= 30  # only a batch of ten was looked at


@pytest.mark.parametrize(("wrong", "told"), [
    ({"n_clusters": 1}, "from 2 to 40"), ({"n_clusters": 41}, "n_clusters = 41 cannot be used for 40"),
    ({"recipe": {"initial": "kmeans"}}, "k-means"), ({"recipe": {"labels": "mpa"}}, "map"),
    ({"recipe": {"temperature": 2.0}}, "temperature from 0 to 1"), ({"recipe": {"steps": 0}}, "steps = 0")])
def test_settings_that_cannot_be(wrong, told):
    with pytest.raises(InputError, match=told):
        alternation.train(spots(80), **{key: Recipe(**value) if key == "recipe" else value
                                        for key, value in wrong.items()})
    if "n_clusters" in wrong:
        with pytest.raises(InputError, match=told):
            alternation.train_literally(spots(80), steps=1, **wrong)


# --- data ---


def test_images_are_square_and_small(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "large.npz", vectors=rng.random((12, 28 * 28)), labels=np.arange(12) % 3)
    world = alternation.images(str(tmp_path / "large.npz"))
    assert world.shape == (14, 14) and world.train.vectors.shape[1] == 196
    whole = np.load(tmp_path / "large.npz")["vectors"].reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(12, -1)
    assert {tuple(row) for row in world.test.vectors[:, :3].numpy().round(5)} <= {
        tuple(row) for row in whole[:, :3].astype(np.float32).round(5)}
    np.savez(tmp_path / "points.npz", vectors=rng.random((12, 5)), labels=np.arange(12) % 3)
    with pytest.raises(InputError, match="no square images"):
        alternation.images(str(tmp_path / "points.npz"))
    assert alternation.images("digits").shape == (8, 8)


IMAGES = np.random.default_rng(0).random((12, 64))
BAD = {
    "labels of another length": ({"labels": np.arange(11)}, "12 vectors, but labels of shape"),
    "unnormalised": ({"vectors": 255 * IMAGES}, "normalise the vectors"),
    "below 0": ({"vectors": IMAGES - 0.5}, "normalise the vectors"),
    "constant": ({"vectors": np.full((12, 64), 0.5)}, "a constant tells no clusters apart"),
    "nan": ({"vectors": np.where(IMAGES > 0.99, np.nan, IMAGES)}, "expected finite numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_your_images_that_cannot_be_used(case, tmp_path):
    held, told = BAD[case]
    np.savez(tmp_path / "bad.npz", **{"vectors": IMAGES, "labels": np.arange(12) % 3} | held)
    with pytest.raises(InputError, match=told):
        alternation.images(str(tmp_path / "bad.npz"))


def test_a_pixel_at_the_edge_may_be_constant(tmp_path):
    vectors = IMAGES.copy()
    vectors[:, 0] = 0
    np.savez(tmp_path / "letters.npz", vectors=vectors, labels=np.arange(12) % 3)
    assert alternation.images(str(tmp_path / "letters.npz")).n_features == 64


def test_without_files_auto_is_what_needs_none(tmp_path, monkeypatch):
    monkeypatch.setenv("INC_DATA", str(tmp_path))
    assert alternation.images().name == "digits"


def test_truncated_files_are_told_in_one_sentence(tmp_path, monkeypatch):
    import gzip

    monkeypatch.setenv("INC_DATA", str(tmp_path))
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in ("train", "t10k"):
        for kind, shape in (("images-idx3", (20, 28, 28)), ("labels-idx1", (20,))):
            header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
            cut = 10 if (name, kind) == ("train", "images-idx3") else 0
            body = bytes(math.prod(shape) - cut)
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + body))
    with pytest.raises(InputError, match="cut off"):
        alternation.images("mnist")


# --- several sets beside one another ---

RUN = {"train": {"accuracy": 0.1}, "test": {"accuracy": 0.5, "nmi": 0.25}}
HELD = {
    "strokes": {"released": {"0": RUN, "1": {"test": {"accuracy": 0.7, "nmi": 0.25}}}, "k-means": {"0": RUN},
                "GMM": {"0": RUN}},
    "clothes": {"released": {"0": RUN}, "k-means": {"0": RUN}, "whole": {"0": RUN}},
    "bags": {"k-means": {"0": RUN}},
}


def test_sets_beside_one_another_show_what_all_were_measured_by(monkeypatch):
    monkeypatch.setattr(clustered_scores, "ledger", lambda world: HELD.get(world, {}))
    sets = clustered_scores.released_on("strokes", "clothes", "bags", "none")
    assert list(sets) == ["strokes", "clothes"]
    table = clustered_scores.beside(sets, ("accuracy", "nmi"))
    assert list(table.index) == ["clustered generator", "k-means"]
    assert table.loc["clustered generator"].tolist() == ["0.600 ± 0.141", "0.250", "0.500", "0.250"]
    assert clustered_scores.mean_accuracy(sets["strokes"], "released") == pytest.approx(0.6)
    assert clustered_scores.released_on("none") == {} and len(clustered_scores.beside({}, ("nmi",))) == 0


def test_recipes_by_the_likelihood_of_unseen_images():
    told = {"train": {"accuracy": 0.5}, "held_out_log_likelihood": 3.0}
    runs = {"whole": {"0": told, "1": told | {"held_out_log_likelihood": 5.0}}, "released": {"0": RUN},
            "likelier": {"0": told | {"held_out_log_likelihood": 6.0}}, "old": {"0": {"train": {"accuracy": 0.9}}}}
    table = clustered_scores.by_likelihood(runs)
    assert list(table.index) == ["likelier", "whole"] and table.loc["whole"].tolist() == [4.0, 0.5, 2]
    assert len(clustered_scores.by_likelihood({})) == 0


def test_pictures_of_what_is_released(tmp_path, monkeypatch):
    monkeypatch.setenv("INC_CHECKPOINTS", str(tmp_path))
    model = made(3)
    model.templates[0, 0, 0] = -1.0
    checkpoints.save(model, alternation.release_path("spots", 0), {"world": "spots"}, half=True)
    found = clustered_scores.pictures(["spots", "none"])
    assert list(found) == ["spots"] and found["spots"].shape == (3, 81) and found["spots"].min() == 0


@pytest.mark.parametrize(("name", "told"), [("digits", "holds: they"), ("fashion-mnist", "*they bend*. So it is here")])
def test_claims_about_strokes_are_not_held_against_clothes(name, told, capsys):
    world = replace(spots(), name=name, source="published")
    c = chapter.start(chapter="11_clustered_generator", world=world, model="clustered", dataset=name)
    clustered_scores.note(c)
    clustered_scores.claim(c, "they bend", True)
    said = capsys.readouterr().out
    assert told in said and ("beside handwritten digits" in said) == (name == "fashion-mnist")


# --- for the chapter ---


def test_a_chapter_loads_its_model_or_learns_and_keeps_one(tmp_path, monkeypatch):
    monkeypatch.setenv("INC_CHECKPOINTS", str(tmp_path / "released"))
    monkeypatch.setattr(chapter, "_runs_folder", lambda: tmp_path)
    monkeypatch.setattr(alternation, "SCHEDULE", SHORT)
    monkeypatch.setattr(alternation.train, "__kwdefaults__", alternation.train.__kwdefaults__ | {"schedule": SHORT})
    world = spots(80)
    c = chapter.start(chapter="11_clustered_generator", world=world, model="clustered", dataset="digits")
    model = alternation.load_or_train(c, observations=40)
    assert not c.released and model.n_clusters == 2
    path = alternation.release_path("spots", 0)
    checkpoints.save(model, path, model.provenance, half=True)
    again = chapter.start(chapter="11_clustered_generator", world=world, model="clustered", dataset="digits")
    assert torch.allclose(alternation.load_or_train(again, observations=40).templates, model.templates, atol=1e-3)
    assert again.released
    other = replace(world, shape=(27, 3))
    named = chapter.start(chapter="11_clustered_generator", world=other, model="clustered", checkpoint=str(path))
    with pytest.raises(InputError, match="images of 9x9"):
        alternation.load_or_train(named, observations=40)


def test_it_is_h_and_g_of_algorithm_1():
    world = spots(400)
    model = alternation.train(world, recipe=Recipe(modes=0, n_shades=0), schedule=SHORT)
    codes = model.encode(world.train.vectors)
    cells = deep_clusters.cluster_attributes(model, codes)
    assert cells.n == 2
    actions = deep_clusters.class_actions(model, codes, world.train.labels, world.factors[0], cells.partitioning)
    assert len(actions.of("class")) == 2
    made_ones = clustering.collect(clustering.implicit_clusters(
        model, actions, 20, factor="class", codes=codes, generator=torch.Generator().manual_seed(0)))
    assert (model.clusters(made_ones.observations) == model.clusters(made_ones.observations)).all()
    assert len(made_ones.labels) == 40


def test_directions_are_the_widest_first():
    model = made(modes=0, shades=1)
    model.spreads[0] = torch.diag(torch.tensor([1.0, 5.0, 2.0, 1.0, 3.0, 1.0]))
    found = clustered_scores.directions(model, 0, 2)
    assert found.abs().argmax(1).tolist() == [1, 4] and found.shape == (2, model.n_z)


def test_figures_say_what_they_show():
    sweeps = clustered_plots.sweeps({"literal": {"accuracy": [0.1, 0.2], "changed": [1.0, 0.9]}},
                                    {"accuracy": "accuracy", "changed": "changed"}, levels={"k-means": 0.5})
    assert "0.20" in sweeps.alt and "k-means is at 0.50" in sweeps.alt
    rows = clustered_plots.contributions({"whole": [0.9, 0.8], "none": [0.3]}, reference="whole", xlabel="accuracy")
    assert "whole 0.85" in rows.alt
    steps = clustered_plots.steps_taken([0, 1], {"accuracy": [0.5, 0.75]}, ylabel="test", xlabel="steps")
    assert "1: 0.75" in steps.alt


def test_the_ledger_and_its_rows(tmp_path):
    assert alternation.ledger("mnist", tmp_path / "none.json") == {}
    (tmp_path / "held.json").write_text(json.dumps({"mnist": {"whole": {"0": {"train": {"accuracy": 0.9}}}}}))
    held = alternation.ledger("mnist", tmp_path / "held.json")
    assert clustered_scores.hold(held, ["whole", "gone"], "train", "accuracy") == {"whole": [0.9]}


def test_cooling_takes_as_many_steps_and_ends_no_worse():
    model, x = made(), spots().train.vectors
    _, still = infer_cooling(model, x, 0.3, steps=0)
    assert torch.equal(still, infer(model, x, 0.3, steps=0)[1])
    _, cooled = infer_cooling(model, x, 0.1, steps=12)
    _, cold = infer(model, x, 0.1, steps=12)
    assert (-cooled).logsumexp(1).mean() >= (-cold).logsumexp(1).mean() - 0.1


def test_the_benchmark_is_read_as_it_is_written(tmp_path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("clustered_benchmark", "benchmarks/clustered.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    path = tmp_path / "clustered.json"
    assert benchmark.missing(path, "spots", "whole", 0)
    benchmark.write(path, "spots", "whole", 0, {"train": {"accuracy": 0.5}})
    assert not benchmark.missing(path, "spots", "whole", 0) and benchmark.missing(path, "spots", "whole", 1)
    assert alternation.ledger("spots", path)["whole"]["0"]["train"]["accuracy"] == 0.5
    recipes = [{k: v for k, v in one.items() if k != "n_clusters"} for one in benchmark.VARIANTS.values()]
    assert all(Recipe(**recipe) for recipe in recipes)
