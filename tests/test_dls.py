"""DLS-Clustering: the game, its vectors, what is asked of the clusters; answers known on paper, edges, bad input."""

from __future__ import annotations

import gzip
import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from inc_lib import adversarial, chapter, clustering, deep_clusters, dls_images, dls_plots
from inc_lib.bending import bend, bend_strokes
from inc_lib.errors import InputError
from inc_lib.models import dls
from inc_lib.models.dls import DLS, Game, rbf_discrepancy
from inc_lib.training import Run
from inc_lib.worlds import vectors
from inc_lib.worlds.base import Factor

torch.set_num_threads(1)


def made(**options) -> DLS:
    torch.manual_seed(0)
    return DLS(**{"n_features": 6, "n_clusters": 3, "n_codes": 2, "width": 8} | options)


def blobs(n: int = 240, k: int = 3, seed: int = 0) -> vectors.VectorWorld:
    """k far-apart clusters in the plane, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % k
    angle = labels * 2 * torch.pi / k
    centres = 0.5 + 0.35 * torch.stack([angle.cos(), angle.sin()], dim=1)
    points = (centres + 0.02 * torch.randn(n, 2, generator=generator)).clamp(0, 1)
    parts = [vectors.Part(points[rows], labels[rows]) for rows in (slice(0, n // 2), slice(n // 2, n))]
    return vectors.VectorWorld("blobs", "yours", *parts, tuple("abc"[:k]), (2,))


# --- the model ---


def test_codes_are_noise_and_assignments_that_sum_to_one():
    model, x = made(), torch.rand(5, 6)
    codes = model.encode(x)
    assert codes.shape == (5, 5) and model.n_codes == 5
    assert torch.allclose(codes[:, 2:].sum(1), torch.ones(5))
    assert torch.equal(model.clusters(x), codes[:, 2:].argmax(1))
    drawn = model.decode(codes)
    assert drawn.shape == x.shape and drawn.min() >= 0 and drawn.max() <= 1


def test_no_observation_has_no_code():
    assert made().encode(torch.empty(0, 6)).shape == (0, 5)


def test_the_prior_has_its_spread_and_all_clusters():
    noise, clusters = made().prior(4000, torch.Generator().manual_seed(0))
    assert noise.std().item() == pytest.approx(dls.NOISE, rel=0.05)
    assert clusters.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("options", [{"n_clusters": 1}, {"n_codes": 0}, {"members": 0}, {"convolutions": True},
                                     {"n_features": 784, "convolutions": True, "members": 2}])
def test_networks_that_cannot_be(options):
    with pytest.raises(InputError):
        made(**options)


def test_images_are_read_and_drawn_by_convolutions():
    model = made(n_features=784, convolutions=True, width=2)
    assert model.decode(model.encode(torch.rand(3, 784))).shape == (3, 784)
    loss, parts = Game(model).loss(torch.rand(1, 4, 784), torch.Generator().manual_seed(0))
    assert loss.isfinite() and parts["penalty"] > 0


def test_a_member_is_itself_alone():
    both = made(members=2)
    x = torch.rand(4, 6)
    noise, logits = both.encode_parts(torch.stack([x, x]))
    for k in range(2):
        assert torch.allclose(both.member(k).encode(x), torch.cat([noise[k], logits[k].softmax(1)], dim=1), atol=1e-6)
    assert not torch.allclose(noise[0], noise[1])


# --- the losses ---


def test_the_slope_by_hand_is_the_slope_by_autograd_and_so_is_its_gradient():
    critic, x = made(members=2).reader(1), torch.randn(2, 7, 6)
    by_hand = critic.slope(x)
    leaf = x.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(critic(leaf).sum(), leaf, create_graph=True)
    assert torch.allclose(by_hand, by_autograd, atol=1e-6)
    weights = [critic[0].weight, critic[2].weight, critic[4].weight]
    found, expected = (torch.autograd.grad(slope.square().sum(), weights) for slope in (by_hand, by_autograd))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))


def test_a_linear_critic_of_slope_one_pays_no_penalty():
    game = Game(made(width=6))
    with torch.no_grad():  # identity below, all inputs positive: the critic is the first feature
        for layer in (game.critic[0], game.critic[2]):
            layer.weight.copy_(torch.eye(6)[None])
            layer.bias.fill_(1.0)
        game.critic[4].weight.zero_()
        game.critic[4].weight[0, 0, 0] = 1.0
    _, parts = game.loss(torch.rand(1, 9, 6), torch.Generator().manual_seed(0))
    assert parts["penalty"].item() == pytest.approx(0.0, abs=1e-10)


def test_discrepancy_is_nothing_for_the_same_distribution_and_large_for_another():
    generator = torch.Generator().manual_seed(0)
    draw = [dls.NOISE * torch.randn(400, 3, generator=generator) for _ in range(2)]
    assert abs(rbf_discrepancy(*draw).item()) < 0.01
    assert rbf_discrepancy(draw[0] + 1.0, draw[1]).item() > 0.5
    two = torch.stack([draw[0], draw[0] + 1.0]), torch.stack([draw[1], draw[1]])
    alone = [rbf_discrepancy(a, b).item() for a, b in zip(*two, strict=True)]
    assert rbf_discrepancy(*two).item() == pytest.approx(np.mean(alone), abs=1e-6)


def test_turns_five_for_the_critic_then_one_for_the_model():
    game, noise = Game(made()), torch.Generator().manual_seed(0)
    turns = []
    for _ in range(12):
        game.zero_grad(set_to_none=True)
        game.loss(torch.rand(1, 8, 6), noise)[0].backward()
        turns.append([any(p.grad is not None for p in part.parameters()) for part in (game.critic, game.model)])
        game.after_step()
    assert turns == 2 * (5 * [[True, False]] + [[False, True]])


@pytest.mark.parametrize(("objective", "told"), [("clustergan", {"category", "noise"}),
                                                 ("dls", set(dls.OBJECTIVES["dls"]) - set(dls.TOLD_BY_BENDING)),
                                                 ("dls-bent", set(dls.OBJECTIVES["dls"]))])
def test_an_objective_computes_its_own_terms(objective, told):
    game = Game(made(n_features=16), objective, critic_steps=0)
    _, parts = game.loss(torch.rand(1, 8, 16), torch.Generator().manual_seed(0))
    assert set(parts) == told


def test_an_unknown_objective_or_term_is_named():
    with pytest.raises(InputError, match="did you mean 'clustergan'"):
        Game(made(), "clustrgan")
    with pytest.raises(InputError, match="did you mean 'mmd'"):
        Game(made(), {"mdd": 1.0})


# --- bent pictures ---


def test_a_bend_of_no_strength_is_none_and_any_other_is_its_own():
    pictures, generator = torch.rand(2, 3, 81), torch.Generator().manual_seed(0)
    assert torch.allclose(bend(pictures, 9, generator, strength=0.0), pictures, atol=1e-5)
    same = torch.zeros(6, 81)
    same[:, 36:45] = 1.0  # a bar across
    bent = bend(same, 9, generator)
    assert bent.min() >= 0 and bent.max() <= 1 + 1e-6 and len(bent.unique(dim=0)) == 6
    assert bend(pictures[:0], 9, generator).shape == (0, 3, 81)
    with pytest.raises(InputError, match="only pictures can be bent"):
        bend(pictures, 8, generator)


def test_bent_strokes_fill_the_frame_that_they_filled():
    generator = torch.Generator().manual_seed(0)
    strokes = 0.2 + 0.6 * torch.rand(5, 7, 16, generator=generator)
    assert torch.allclose(bend_strokes(strokes, generator, strength=0.0), strokes, atol=1e-6)
    bent = bend_strokes(strokes, generator)
    points, own = bent.view(5, 7, 8, 2), strokes.view(5, 7, 8, 2)
    assert torch.allclose(points.amin(2), own.amin(2), atol=1e-6) and torch.allclose(points.amax(2), own.amax(2))
    assert 0.01 < (points - own).abs().mean() < 0.15 and len(bent.view(-1, 16).unique(dim=0)) == 35
    dot = torch.full((1, 16), 0.5)
    assert bend_strokes(dot, generator).tolist() == dot.tolist()  # no frame, nothing to see
    assert bend_strokes(strokes[:0], generator).shape == (0, 7, 16)
    with pytest.raises(InputError, match="x and y of each point"):
        bend_strokes(strokes[..., :15], generator)


def test_strokes_are_bent_as_strokes():
    part = vectors.Part(torch.rand(64, 14, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3)
    pens = vectors.VectorWorld("pens", "yours", part, part, tuple("abc"), (7, 2))
    assert adversarial.train(pens, steps=1, objective="dls-bent", opening=2).provenance["opening"] == 2
    game = Game(made(n_features=14), "dls-bent", strokes=True)  # seven points, and no square
    both = game._with_bent(torch.rand(1, 3, 14), torch.Generator().manual_seed(0))
    assert both.shape == (1, 6, 14) and not torch.equal(both[:, :3], both[:, 3:])


def test_what_bending_tells_of_an_encoder_that_knows_nothing():
    model = made(n_features=16)
    with torch.no_grad():
        model.encoder[4].weight.zero_()
        model.encoder[4].bias.zero_()  # each of three clusters is as likely, whatever it sees
    parts = Game(model, "dls-bent")._bent_parts(torch.rand(1, 8, 16), torch.Generator().manual_seed(0))
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(
        {"bent category": math.log(3), "balance": -math.log(3), "confidence": math.log(3)}, abs=1e-6
    )
    with torch.no_grad():
        model.encoder[4].bias[0, 0, 2:] = torch.tensor([50.0, 0.0, 0.0])  # all in the first
    parts = Game(model, "dls-bent")._bent_parts(torch.rand(1, 8, 16), torch.Generator().manual_seed(0))
    assert all(part.item() == pytest.approx(0, abs=1e-4) for part in parts.values())


def test_the_opening_is_the_encoders_then_the_game_begins():
    game, noise = Game(made(n_features=16), "dls-bent", opening=2), torch.Generator().manual_seed(0)
    turns = []
    for _ in range(8):
        game.zero_grad(set_to_none=True)
        game.loss(torch.rand(1, 8, 16), noise)[0].backward()
        parts = (game.critic, game.model.encoder, game.model.generator)
        turns.append([any(p.grad is not None for p in part.parameters()) for part in parts])
        game.after_step()
    assert turns == 2 * [[False, True, False]] + 5 * [[True, False, False]] + [[False, True, True]]
    with pytest.raises(InputError, match="neither square pictures nor strokes"):
        Game(made(), "dls-bent")
    with pytest.raises(InputError, match="opening"):
        Game(made(), "dls", opening=2)


def test_of_several_tries_the_one_with_the_lowest_loss_goes_on():
    game = Game(made(n_features=16, members=2), "dls-bent", opening=1, tries=3)
    before = game.model.encoder[0].weight.clone()
    loss, parts = game.loss(torch.rand(2, 8, 16), torch.Generator().manual_seed(0))
    loss.backward()
    assert set(parts) == set(dls.TOLD_BY_BENDING) and game.model.generator[0].weight.grad is None
    assert all(p.grad is not None for p in (game.model.encoder[4].weight, game.others[4].weight))
    game.paid.copy_(torch.tensor([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]]))  # (tries, members)
    game.after_step()
    after = game.model.encoder[0].weight
    assert torch.equal(after[0], game.others[0].weight[2]) and torch.equal(after[1], before[1])
    game.loss(torch.rand(2, 8, 16), torch.Generator().manual_seed(0))  # the critic's turn
    assert not any(p.requires_grad for p in game.others.parameters())
    for bad in ({"tries": 0}, {"tries": 2}):
        with pytest.raises(InputError, match="tries"):
            Game(made(n_features=16), "dls-bent", **bad)


def test_steps_of_the_game_are_counted_from_its_opening_also_after_a_break(tmp_path):
    labels = torch.arange(40) % 2
    pictures = torch.eye(16)[labels * 10]
    parts = [vectors.Part(pictures, labels)] * 2
    world = vectors.VectorWorld("dots", "yours", *parts, ("a", "b"), (4, 4))
    how = {"steps": 3, "objective": "dls-bent", "opening": 6, "options": {"n_codes": 2, "width": 8}}
    seen = []
    whole = adversarial.train(world, **how, on_step=lambda step, _: seen.append(step), every=1)
    assert seen == [0, 1, 2, 3] and whole.provenance["generator_steps"] == 3 and whole.provenance["opening"] == 6

    def stop(step, _):
        if step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adversarial.train(world, **how, folder=tmp_path, on_step=stop, every=1)
    resumed = adversarial.train(world, **how, folder=tmp_path)
    assert torch.equal(whole.encode(pictures), resumed.encode(pictures))


# --- training ---


def test_it_finds_far_apart_clusters():
    world = blobs()
    options = {"n_codes": 2, "width": 32}
    model = adversarial.train(world, steps=250, learning_rate=2e-3, options=options)
    assert deep_clusters.score(world.test.labels, model.clusters(world.test.vectors))["accuracy"] > 0.95
    assert model.provenance["generator_steps"] == 250 and not model.training


def test_a_break_changes_nothing(tmp_path):
    world, options = blobs(60), {"n_codes": 2, "width": 8, "members": 2}
    whole = adversarial.train(world, steps=4, options=options)
    class Stop(Exception):
        pass

    def stop(step, model):
        if step == 2:
            raise Stop

    with pytest.raises(Stop):
        adversarial.train(world, steps=4, options=options, folder=tmp_path, on_step=stop, every=1)
    resumed = adversarial.train(world, steps=4, options=options, folder=tmp_path)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_run_takes_adams_betas_from_its_settings():
    settings = {"steps": 1, "seed": 0, "learning_rate": 1e-3, "decay": 0.0}
    for betas in ((0.5, 0.9), (0.9, 0.999)):
        more = {"betas": list(betas)} if betas[0] == 0.5 else {}
        run = Run(Game(made()), settings | more, None, precision="32-true")
        assert run.optimizer.param_groups[0]["betas"] == betas


@pytest.mark.parametrize("options", [{"n_clusters": 1}, {"n_clusters": 31}, {"steps": 0}, {"batch_size": 1},
                                     {"decay": 2.0}, {"learning_rate": 0.0}])
def test_settings_out_of_range(options):
    with pytest.raises(InputError, match="expected"):
        adversarial.train(blobs(60), **{"steps": 1} | options)


def test_the_command_line_trains_and_keeps_members(tmp_path, capsys):
    arguments = ["--dataset", "digits", "--steps", "1", "--members", "2", "--width", "4", "--folder", str(tmp_path)]
    assert adversarial.main(arguments) == 0
    kept = sorted(tmp_path.glob("*/model.safetensors"))
    assert len(kept) == 2
    model = dls.load(kept[1])
    assert model.provenance["member"] == 1 and model.config["members"] == 1
    assert adversarial.main(["--dataset", "digts"]) == 2
    assert "did you mean 'digits'" in capsys.readouterr().err


def test_a_chapter_loads_or_trains(tmp_path, monkeypatch):
    monkeypatch.setenv("INC_CHECKPOINTS", str(tmp_path))
    world = vectors.load("digits")
    c = chapter.start(chapter="12_dls_clustering", world=world, model="dls", dataset="digits", train_steps=2)
    model = adversarial.load_or_train(c)
    assert c.model is model and c.released is False
    other = adversarial.load_or_train(c, objective="clustergan")
    assert c.model is model and other.provenance["objective"] == "clustergan"
    dls.checkpoints.save(model, adversarial.release_path("digits", 0), model.provenance, half=True)
    again = chapter.start(chapter="12_dls_clustering", world=world, model="dls", dataset="digits", train_steps=2)
    assert adversarial.load_or_train(again).n_clusters == 10 and again.released
    named = chapter.start(chapter="12_dls_clustering", world=blobs(), model="dls", dataset="blobs",
                          checkpoint=str(adversarial.release_path("digits", 0)))
    with pytest.raises(InputError, match="was trained on digits"):
        adversarial.load_or_train(named)


# --- vectors ---


def test_digits_need_no_file():
    world = vectors.load("digits")
    assert (len(world.train), len(world.test), world.n_features, world.kind) == (1438, 359, 64, "image")
    assert world.train.vectors.min() >= 0 and world.train.vectors.max() == 1
    assert "no labels" not in world.describe()


def pendigits(folder, text: str, name: str = "pendigits.tra"):
    folder = folder / "pendigits"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


ROW = ",".join(str(5 * k) for k in range(16))


def test_pendigits_in_both_writings(tmp_path, monkeypatch):
    monkeypatch.setenv("INC_DATA", str(tmp_path))
    pendigits(tmp_path, f"{ROW},0000000010\n{ROW}, 3\n")
    pendigits(tmp_path, f"{ROW},1\n", "pendigits.tes")
    world = vectors.load("auto")
    assert world.name == "pendigits" and world.train.labels.tolist() == [8, 3] and world.shape == (8, 2)
    assert world.train.vectors[0, 3].item() == pytest.approx(0.15)
    assert world.kind == "strokes" and len(world.train.first(1)) == 1


@pytest.mark.parametrize("line", ["1,2,3", f"{ROW},x", f"{ROW.replace('75', '101')},1", f"{ROW},10", ""])
def test_pendigits_that_are_none(line, tmp_path, monkeypatch):
    monkeypatch.setenv("INC_DATA", str(tmp_path))
    pendigits(tmp_path, line + "\n")
    with pytest.raises(InputError, match="expected"):
        vectors.load("pendigits")


def test_without_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("INC_DATA", str(tmp_path))
    assert vectors.load("auto").name == "digits"
    for name in ("pendigits", "mnist"):
        with pytest.raises(InputError, match="is not here"):
            vectors.load(name)


def idx(path, array: np.ndarray, cut: int = 0) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(exist_ok=True)
    with gzip.open(path, "wb") as file:
        file.write(data[: len(data) - cut])


def mnist(folder, *, labels: int = 4, cut: int = 0) -> None:
    for part in ("train", "t10k"):
        images = np.arange(4 * 784).reshape(4, 28, 28) % 256
        idx(folder / "mnist" / f"{part}-images-idx3-ubyte.gz", images, cut)
        idx(folder / "mnist" / f"{part}-labels-idx1-ubyte.gz", np.arange(labels) % 10)


def test_images_come_as_vectors(tmp_path, monkeypatch):
    monkeypatch.setenv("INC_DATA", str(tmp_path))
    mnist(tmp_path)
    world = vectors.load("mnist")
    assert world.train.vectors.shape == (4, 784) and world.shape == (28, 28)
    assert world.train.vectors[0, 255].item() == 1.0 and world.test.labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("damage", "told"), [({"cut": 9}, "cut off"), ({"labels": 5}, "do not belong together")])
def test_damaged_idx_files(damage, told, tmp_path, monkeypatch):
    monkeypatch.setenv("INC_DATA", str(tmp_path))
    mnist(tmp_path, **damage)
    with pytest.raises(InputError, match=told):
        vectors.load("mnist")


def rows(n: int = 20) -> np.ndarray:
    return np.random.default_rng(0).random((n, 3))


def test_your_npz(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, vectors=rows(), labels=np.array(["b", "a"] * 10))
    world = vectors.load(str(path))
    assert (world.name, world.source, world.classes) == ("mine", "yours", ("a", "b"))
    assert len(world.train) == 16 and len(world.test) == 4 and world.kind == "curve"
    np.savez(path, vectors=rows(), test_vectors=rows(12))
    world = vectors.load(str(path))
    assert world.classes == () and world.factors == () and len(world.test) == 12 and world.train.labels is None


def test_your_csv_and_its_range(tmp_path):
    path = tmp_path / "mine.csv"
    table = 10 * rows()
    lines = [f"{a},{b},{c},{'xy'[k % 2]}" for k, (a, b, c) in enumerate(table)]
    path.write_text("a,b,c,label\n" + "\n".join(lines))
    with pytest.raises(InputError, match="scale='range'"):
        vectors.load(str(path))
    world = vectors.load(str(path), scale="range")
    assert world.train.vectors.amin(0).tolist() == [0, 0, 0] and world.train.vectors.amax(0).tolist() == [1, 1, 1]
    path.write_text("a,b\n1,2\n1,no\n")
    with pytest.raises(InputError, match="line 3, column 'b'"):
        vectors.load(str(path))


BAD = {
    "a constant": ({"vectors": np.column_stack([rows(), np.full(20, 0.5)])}, "constant"),
    "labels of another length": ({"vectors": rows(), "labels": np.arange(19)}, "one label each"),
    "no vectors": ({"images": rows()}, "no `vectors`"),
    "too few": ({"vectors": rows(5)}, "at least 10"),
    "not numbers": ({"vectors": np.full((20, 2), "x")}, "expected numbers"),
    "nan": ({"vectors": np.where(rows() > 0.9, np.nan, rows())}, "nan in row"),
    "below 0": ({"vectors": rows() - 0.5}, "normalise"),
    "other features": ({"vectors": rows(), "test_vectors": rows()[:, :2]}, "expected as many"),
    "half labelled": ({"vectors": rows(), "labels": np.arange(20), "test_vectors": rows()}, "labels one part"),
}


@pytest.mark.parametrize("case", BAD)
def test_vectors_that_cannot_be_used(case, tmp_path):
    held, told = BAD[case]
    np.savez(tmp_path / "bad.npz", **held)
    with pytest.raises(InputError, match=told):
        vectors.load(str(tmp_path / "bad.npz"))


def test_files_that_are_none(tmp_path):
    for name, text in (("gone.npz", None), ("mine.txt", "1 2"), ("broken.npz", "no zip")):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(InputError):
            vectors.load(str(tmp_path / name))
    with pytest.raises(InputError, match="did you mean 'pendigits'"):
        vectors.load("pendigit")
    with pytest.raises(InputError, match="did you mean 'range'"):
        vectors.load("digits", scale="rnge")


# --- what is asked of the clusters ---


@pytest.mark.parametrize("name", sorted(set(deep_clusters.rivals(3)) - {"NMF"}))  # which looks for parts, below
def test_every_rival_finds_far_apart_clusters(name):
    world = blobs()
    train, test = deep_clusters.rival_clusters(name, world)
    assert deep_clusters.score(world.train.labels, train)["accuracy"] == 1.0
    assert deep_clusters.score(world.test.labels, test)["accuracy"] == 1.0


def test_nmf_clusters_by_parts():
    x = np.kron(np.eye(3), np.ones((10, 1))) + 0.01
    found = deep_clusters.rivals(3)["NMF"](x, x[:3])
    assert deep_clusters.score(np.arange(30) // 10, found[:30])["accuracy"] == 1.0


def test_agreement_is_highest_for_what_runs_have_in_common():
    common = np.arange(30) % 3
    other = np.roll(common, 1)[::-1] * 0 + np.arange(30) // 10
    found = deep_clusters.agreement([common, (common + 1) % 3, other])
    assert found.argmin() == 2 and found[0] == pytest.approx(found[1])
    with pytest.raises(InputError):
        deep_clusters.agreement([common])


class Ideal(DLS):
    """h and G of `blobs` by hand: the angle says the cluster, and the cluster's centre is drawn."""

    def __init__(self, k: int = 3) -> None:
        super().__init__(n_features=2, n_clusters=k, n_codes=1, width=2)
        angle = torch.arange(k) * 2 * torch.pi / k
        self.centres = 0.5 + 0.35 * torch.stack([angle.cos(), angle.sin()], dim=1)

    def encode(self, observations):
        near = torch.cdist(observations, self.centres).argmin(1)
        soft = 0.999 * F.one_hot(near, self.n_clusters) + 0.0005
        return torch.cat([observations[:, :1] - self.centres[near, :1], soft], dim=1)

    def decode(self, codes):
        return codes[:, 1:] @ self.centres


def test_the_discrete_code_has_as_many_attributes_as_clusters_and_an_action_for_each_class():
    world, model = blobs(600), Ideal()
    codes = model.encode(world.train.vectors)
    found = deep_clusters.cluster_attributes(model, codes)
    assert found.n == 3 and found.left_out == 0 and sorted(found.counts.tolist()) == [100, 100, 100]
    factor = Factor("class", world.classes)
    actions = deep_clusters.class_actions(model, codes, world.train.labels, factor, found.partitioning)
    assert len(actions.of("class")) == 3 and not actions.missing("class")
    oracle = deep_clusters.judge(world.train)
    stream = clustering.implicit_clusters(model, actions, 20, factor="class", codes=codes,
                                          generator=torch.Generator().manual_seed(0))
    assert deep_clusters.read_f1(oracle, clustering.collect(stream), 3).macro_f1 == 1.0


def test_scores_without_labels_of_an_ideal_model():
    found = deep_clusters.unlabelled_scores(Ideal(), blobs().train)
    assert found["confidence"] == pytest.approx(0.9995, abs=1e-6) and found["balance"] == pytest.approx(1.0, abs=1e-3)
    assert found["silhouette"] > 0.9 and found["reconstruction"] > -0.01


def test_a_probe_reads_what_is_there_and_chance_where_nothing_is():
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 4
    told = deep_clusters.probe(labels[:200, None] + 0.01 * generator.random((200, 1)), labels[:200],
                               labels[200:, None], labels[200:])
    nothing = generator.random((400, 3))
    untold = deep_clusters.probe(nothing[:200], labels[:200], nothing[200:], labels[200:])
    assert told["nearest neighbours"] == 1.0 and told["chance"] == 0.25
    assert untold["nearest neighbours"] < 0.4


def test_styles_and_who_tells_them():
    pen = vectors.VectorWorld("pen", "yours", None, None, (), (8, 2))
    upright = torch.tensor([[0.5, y / 7] for y in range(8)]).reshape(1, 16)
    slanted = torch.tensor([[y / 7, y / 7] for y in range(8)]).reshape(1, 16)
    found = deep_clusters.styles(pen, torch.cat([upright, slanted]))
    assert found["slant"].tolist() == pytest.approx([0, 1]) and found["width"][0] == pytest.approx(0)
    assert found["way"].tolist() == pytest.approx([1, 2**0.5], rel=1e-5)
    image = vectors.VectorWorld("image", "yours", None, None, (), (5, 5))
    stroke = torch.stack([torch.eye(5)[[2] * 5].flatten(), torch.eye(5).flip(1).flatten()])
    found = deep_clusters.styles(image, stroke)  # a bar; a diagonal, up to the right
    assert found["slant"].tolist() == pytest.approx([0, 1], abs=1e-3)
    assert found["ink"].tolist() == pytest.approx([0.2, 0.2], rel=1e-3)
    assert set(deep_clusters.styles(blobs(), torch.rand(3, 2))) == {"mean", "deviation"}
    noise = torch.rand(50, 2)
    table = deep_clusters.style_table(noise, {"first": noise[:, 0] ** 3})
    assert table.loc[0, "first"] == pytest.approx(1.0) and table.loc[1, "first"] < 0.5


# --- the record of images ---


def a_run(purity: float, agreement: float, **more) -> dict:
    scores = {"purity": purity, "accuracy": purity, "nmi": purity / 2, "ari": 0.0}
    return {"train": scores, "test": scores, "unlabelled": {"agreement": agreement}} | more


def test_the_record_of_images_is_told_as_it_is():
    held = {
        "k-means": {"0": a_run(0.5, 0.0)},
        "dls-bent": {"0": a_run(0.9, 0.2, curve={"0": a_run(0.8, 0)["test"]}), "1": a_run(0.7, 0.6, curve={})},
    }
    found = dls_images.methods(held)
    assert list(found) == ["k-means", "DLS-Clustering, told of bending", dls_images.OPENING]
    assert dls_images.best_other(found) == ("k-means", 0.5) and dls_images.best_other({}) == ("none", 0.0)
    told = found["DLS-Clustering, told of bending"]
    assert dls_images.chosen(told) == 1 and dls_images.purity(told) == pytest.approx(0.8)
    table = dls_images.choices(told, {"purity": 0.975, "nmi": 0.936})
    assert table.loc["chosen by agreement, no labels", "test purity"] == "0.700"
    assert table.loc["best by purity, with labels"].tolist() == ["0.900", "0.450", "0.900", "0.450", "0.975", "0.936"]
    assert table.loc["mean of all", "train nmi"] == "0.400 ± 0.071"
    assert dls_images.choices(told).columns.tolist() == ["train purity", "train nmi", "test purity", "test nmi"]
    said = dls_images.sentence("mnist", found)
    assert "0.800 ± 0.141 over 2 runs" in said and "before the game 0.800" in said and "0.945 not reached" in said
    assert dls_images.sentence("mnist", {}) == "mnist was not measured" and dls_images.methods({}) == {}


def test_what_is_said_of_genes_comes_from_the_runs():
    def run(train, test, agreement=0.0):
        return {"train": {"purity": train}, "test": {"purity": test}, "unlabelled": {"agreement": agreement}}

    found = {"k-means": [run(0.8, 0.6)], "DLS-Clustering": [run(0.7, 0.7, 0.2), run(0.5, 0.5, 0.9)]}
    said = dls_images.said_of_genes(found)
    assert "purity of 0.60, behind k-means, on the cells" in said and "of 0.60, behind nobody, on the others" in said
    assert "agrees most with the others has 0.50 there, the best by labels 0.70" in said
    assert dls_images.said_of_genes({}) == "Nothing was measured yet."


def test_the_record_of_many_clusters_is_told_best_first(tmp_path):
    scores = {"accuracy": 0.5, "nmi": 0.25}
    runs = [{"test": scores | {"purity": value, "clusters": 9.0}} for value in (0.5, 0.7)]
    path = tmp_path / "many.json"
    held = {"10": {"dls": [{"test": scores | {"purity": 0.4, "clusters": 10.0}}], "k-means": runs}}
    path.write_text(json.dumps({"scores": held, "cost": {"many_over_few": 1.5}}))
    table, cost = dls_images.many_clusters(path)
    assert list(table.index) == [("10", "k-means"), ("10", "DLS-Clustering")] and cost["many_over_few"] == 1.5
    assert table.iloc[0].tolist() == ["0.600 ± 0.141", "0.500", "0.250", "9, 9"]
    table, cost = dls_images.many_clusters(tmp_path / "none.json")
    assert len(table) == 0 and cost == {}


def test_the_record_of_pairs_has_a_row_where_one_was_measured():
    pair = {"cells": 10, "noise cut": 0, "classes": 9, "explicit": 0.9, "reconstructed": 0.8, "implicit": 0.7}
    table = dls_images.pair_table({"mnist": [{"pair": pair}, {"pair": pair | {"cells": 9}}], "other": [{}]})
    assert table.loc["mnist"].tolist() == ["10, 9", "0, 0", "9, 9", "0.900", "0.800", "0.700"] and len(table) == 1
    assert dls_images.pair_table({}).empty


def test_an_ideal_pair_is_read_without_error():
    world, model = blobs(600), Ideal()
    found = dls_images.pair_scores(model, world, deep_clusters.judge(world.train), n_generated=20)
    assert found == {"cells": 3, "noise cut": 0, "classes": 3, "explicit": 1.0, "reconstructed": 1.0, "implicit": 1.0}
    drawn = dls_images.drawings(model, 4, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn, model.centres[:, None].expand(3, 4, 2), atol=1e-5)


def test_a_mixture_of_many_features_sees_few_components():
    generator = np.random.default_rng(0)
    x = np.repeat(np.eye(2), 60, axis=0) @ generator.random((2, 200)) + 0.01 * generator.random((120, 200))
    found = deep_clusters.rivals(2)["GMM"](x, x[:3])
    assert deep_clusters.score(np.arange(120) // 60, found[:120])["accuracy"] == 1.0


# --- figures ---


def test_figures_carry_their_data():
    rows = torch.rand(2, 3, 16)
    for shape in ((8, 2), (4, 4), (16,)):
        figure = dls_plots.sheet(rows, shape, row_labels=["a", "b"], col_labels=["1", "2", "3"], alt="Told.")
        assert "2 rows of 3" in figure.alt and "Told." in figure.alt
    assert "a 90%" in dls_plots.table_of_classes([[9, 1], [0, 5]], "ab").alt
    figure = dls_plots.choices({"one": [0.1, 0.2], "two": [0.2, 0.1]}, [0.7, 0.8])
    assert "one chooses a run with 0.800" in figure.alt
    assert "k-means 0.50 ± 0.10" in dls_plots.bars({"k-means": (0.5, 0.1)}, xlabel="purity", marked=0.8).alt
    steps, values = [1, 2], np.array([[0.1, 0.5], [0.2, 0.7]])
    assert "ends at 0.60" in dls_plots.curves({"nmi": {"dls": (steps, values)}}, xlabel="steps",
                                              levels={"nmi": {"paper": 0.8}}).alt
    points = torch.rand(30, 2)
    assert "30 observations" in dls_plots.maps({"raw": points}, torch.arange(30) % 3, "abc").alt


def test_the_benchmark_is_read_as_it_is_written(tmp_path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("dls_benchmark", "benchmarks/dls.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    ledger = benchmark.Ledger(tmp_path / "dls.json", "digits")
    assert ledger.missing("k-means", 0)
    ledger.write("k-means", 0, {"test": {"purity": 0.5}})
    assert not ledger.missing("k-means", 0) and ledger.missing("k-means", 1)
    assert json.loads((tmp_path / "dls.json").read_text())["digits"]["k-means"]["0"]["test"]["purity"] == 0.5
