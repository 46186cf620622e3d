"""The oracle on a world small enough to learn in a second: bars whose brightnesses are the factors."""
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score

from inc_lib import oracle, worlds
from inc_lib.errors import InputError
from inc_lib.worlds import Factor, World
from inc_lib.worlds.arrays import ArrayWorld


class Bars(World):
    """Factor i is the brightness of the i-th vertical bar; colour images tint the bars."""

    source = "procedural twin"

    def __init__(self, sizes=(4, 3, 5), *, channels=3, image_size=32, name="bars"):
        self.name, self.channels, self.image_size = name, channels, image_size
        self.factors = tuple(Factor(f"bar {i}", tuple(range(size))) for i, size in enumerate(sizes))

    def render(self, states):
        levels = (states.float() + 0.5) / torch.tensor(self.sizes)
        bars = levels.repeat_interleave(self.image_size // len(self.sizes), dim=1)
        tint = torch.linspace(1.0, 0.6, self.channels)[None, :, None, None]
        bars = torch.nn.functional.pad(bars, (0, self.image_size - bars.shape[1]))
        return (bars[:, None, None, :] * tint).expand(-1, -1, self.image_size, -1).contiguous()


def digits(n=400, *, size=28, labelled=True):
    """A dataset with one factor, as MNIST has: n small grey images, three classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=n)
    images = (rng.random((n, size, size, 1)) * 60 + labels[:, None, None, None] * 90).astype(np.uint8)
    known = {"labels": labels[:, None], "factors": [Factor("class", (0, 1, 2))]} if labelled else {}
    return ArrayWorld(name="digits", source="yours", images=images, image_size=32, **known)


@pytest.fixture(scope="module")
def bars():
    return Bars()


@pytest.fixture(scope="module")
def trained(bars):
    return oracle.train(bars, steps=60, batch_size=64, learning_rate=3e-3, n_test=500)


# --- learning ---

def test_it_reads_states_that_it_never_saw(bars, trained):
    scores = oracle.test(trained, bars, n=500, seed=1)
    assert [score.factor for score in scores] == ["bar 0", "bar 1", "bar 2"]
    assert min(score.accuracy for score in scores) > 0.95
    assert trained.held_out["bar 0"]["n"] == 500
    assert trained.held_out["bar 0"]["accuracy"] > 0.95
    assert trained.provenance["steps"] == 60
    assert not trained.training


def test_an_oracle_of_its_own_for_each_factor(bars):
    several = oracle.train(bars, steps=40, batch_size=64, learning_rate=3e-3, per_factor=True, n_test=300)
    assert len(several.trunks) == 3
    assert min(scores["accuracy"] for scores in several.held_out.values()) > 0.9


def test_a_dataset_with_one_factor():
    found = oracle.train(digits(), steps=40, batch_size=64, n_test=100)
    assert found.held_out["class"]["accuracy"] > 0.95
    observations, states = next(digits().batches(50))
    assert found.predict(observations).shape == states.shape


def test_a_factor_that_does_not_vary():
    found = oracle.train(Bars((40, 1), channels=1), steps=2, batch_size=16, n_test=20)
    assert found.held_out["bar 1"]["macro_f1"] == 1


def test_the_seed_decides_the_weights(bars):
    first, again, other = (oracle.train(bars, steps=3, batch_size=8, seed=seed, n_test=10)
                           for seed in (1, 1, 2))
    equal = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(equal)
    assert not torch.equal(first.heads[0].weight, other.heads[0].weight)


def test_an_interrupted_training_goes_on_to_the_same_weights(bars, tmp_path, monkeypatch):
    options = {"steps": 12, "batch_size": 16, "n_test": 10}
    whole = oracle.train(bars, **options)
    draw, calls = oracle.draw, []

    def draw_until_ctrl_c(*arguments, **named):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return draw(*arguments, **named)

    monkeypatch.setattr(oracle, "draw", draw_until_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        oracle.train(bars, folder=tmp_path, **options)
    resumed = oracle.train(bars, folder=tmp_path, **options)
    assert resumed.provenance["steps"] == 12
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    with pytest.raises(InputError, match="other settings"):
        oracle.train(bars, folder=tmp_path, **{**options, "seed": 5})


# --- what is held out ---

def test_a_tenth_is_held_out_and_never_trained_on():
    world, generator = Bars((20, 30)), torch.Generator().manual_seed(0)
    kept, held = ({tuple(state) for state in oracle.draw(world, 20_000, generator, held_out=part)[1].tolist()}
                  for part in (False, True))
    assert not kept & held
    assert len(kept | held) == 600
    assert len(held) == pytest.approx(60, abs=20)


def test_what_is_held_out_does_not_depend_on_the_seed():
    world = Bars((20, 30))
    first, other = ({tuple(state) for state in oracle.draw(world, 4000, torch.Generator().manual_seed(seed),
                                                           held_out=True)[1].tolist()} for seed in (1, 2))
    assert first == other


def test_of_a_dataset_observations_are_held_out():
    """By place, not by state: MNIST has ten states only."""
    data = digits()
    kept, held = (oracle.draw(data, 3000, torch.Generator().manual_seed(0), held_out=part)
                  for part in (False, True))
    assert {*kept[1].flatten().tolist()} == {*held[1].flatten().tolist()} == {0, 1, 2}
    kept, held = ({image.numpy().tobytes() for image in observations} for observations, _ in (kept, held))
    assert not kept & held
    assert len(held) == pytest.approx(40, abs=20)


def test_drawn_observations_show_their_states(bars):
    observations, states = oracle.draw(bars, 40, torch.Generator().manual_seed(3), held_out=False)
    torch.testing.assert_close(observations, bars.render(states))


# --- blur and noise ---

def test_softened_images_stay_images(bars):
    observations, _ = bars.sample(32, torch.Generator().manual_seed(0))
    soft, again = (oracle.soften(observations, torch.Generator().manual_seed(1)) for _ in range(2))
    assert soft.shape == observations.shape
    assert soft.min() >= 0
    assert soft.max() <= 1
    assert not torch.equal(soft, observations)
    torch.testing.assert_close(soft, again, rtol=0, atol=0)
    assert (soft - observations).abs().mean() < 0.05


def test_blur_keeps_plain_images_and_spreads_a_point():
    plain = torch.full((1, 1, 32, 32), 0.7)
    torch.testing.assert_close(oracle.blur(plain, 2.0), plain)
    point = torch.zeros(1, 1, 33, 33)
    point[..., 16, 16] = 1
    blurred = oracle.blur(point, 1.5)[0, 0]
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    offsets = torch.arange(33) - 16.0
    assert (blurred.sum(0) * offsets ** 2).sum() == pytest.approx(1.5 ** 2, rel=0.05)


# --- F1 ---

def test_f1_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    labels, found = rng.integers(5, size=300), rng.integers(5, size=300)
    table = oracle.confusion_table(labels, found, 5)
    np.testing.assert_array_equal(table, confusion_matrix(labels, found))
    result = oracle.f1_from_confusion(table)
    np.testing.assert_allclose(result.per_class, f1_score(labels, found, average=None))
    assert result.macro_f1 == pytest.approx(f1_score(labels, found, average="macro"))
    assert result.accuracy == pytest.approx((labels == found).mean())


def test_f1_by_hand():
    """Of attribute 0 half is read right; attribute 2 was never asked for and counts as 0."""
    result = oracle.f1_from_confusion([[2, 2, 0], [0, 4, 0], [0, 0, 0]], "scale")
    np.testing.assert_allclose(result.per_class, [2 * 2 / (4 + 2), 2 * 4 / (4 + 6), 0])
    assert result.macro_f1 == pytest.approx((2 / 3 + 0.8) / 3)
    assert result.absent.tolist() == [2]
    assert str(result) == ("scale: macro-F1 0.49 over 3 attributes, 1 without an image and counted as 0 "
                           "(8 images)")


def test_f1_of_labelled_batches(bars, trained):
    """As an implicit clustering gives them: labels (n,) of one factor, and a third item, not needed here."""
    states = torch.tensor([[k, 2, 4] for k in range(3) for _ in range(10)])  # attribute 3 has no action
    batches = [(bars.render(part), part[:, 0], None) for part in states.split(13)]
    result = oracle.f1(trained, iter(batches), "bar 0")
    assert result.n == 30
    assert result.absent.tolist() == [3]
    assert result.macro_f1 == pytest.approx(3 / 4)
    assert oracle.f1(trained, batches, 0, 4).macro_f1 == result.macro_f1
    np.testing.assert_array_equal(result.confusion, np.diag([10, 10, 10, 0]))


def test_f1_of_nothing_is_zero(trained):
    result = oracle.f1(trained, [], "bar 1")
    assert result.macro_f1 == 0
    assert np.isnan(result.accuracy)
    empty = oracle.f1(trained, [(torch.zeros(0, 3, 32, 32), torch.zeros(0, dtype=torch.int64))], "bar 1")
    assert empty.n == 0


@pytest.mark.parametrize(("factor", "labels", "options", "says"), [
    ("baar 2", [0], {}, "did you mean 'bar 2'"),
    (3, [0], {}, "reads 3 factors, bar 0, bar 1, bar 2"),
    (0, [4], {}, "labels run from 4 to 4: expected attributes 0 to 3"),
    (0, [0.0], {}, "labels are of type float32"),
    (0, [0, 1], {}, "labels have shape"),
    (0, [0], {"n_attributes": 3}, "n_attributes is 3"),
])
def test_f1_refuses(trained, factor, labels, options, says):
    with pytest.raises(InputError, match=says):
        oracle.f1(trained, [(torch.zeros(1, 3, 32, 32), torch.tensor(labels))], factor, **options)


def test_a_confusion_matrix_is_square():
    with pytest.raises(InputError, match=r"expected \(K, K\)"):
        oracle.f1_from_confusion(np.zeros((2, 3)))


# --- checkpoints ---

def test_a_checkpoint_reads_as_before(bars, trained, tmp_path):
    oracle.save(trained, tmp_path / "bars.safetensors")
    loaded = oracle.load(tmp_path / "bars.safetensors", bars)
    observations, _ = bars.sample(64, torch.Generator().manual_seed(0))
    assert torch.equal(loaded.predict(observations), trained.predict(observations))
    assert loaded.provenance == trained.provenance
    assert loaded.held_out == trained.held_out


def test_half_precision_reads_the_same(bars, trained, tmp_path):
    oracle.save(trained, tmp_path / "bars.safetensors", half=True)
    oracle.save(trained, tmp_path / "full.safetensors")
    half, full = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("bars", "full"))
    assert half < 0.55 * full
    observations, _ = bars.sample(200, torch.Generator().manual_seed(0))
    agree = oracle.load(tmp_path / "bars.safetensors").predict(observations) == trained.predict(observations)
    assert agree.float().mean() > 0.98


@pytest.mark.parametrize(("world", "says"), [
    (Bars(name="other"), "world = 'bars', but the data have world = 'other'"),
    (Bars(channels=1), "channels = 3, but the data have channels = 1"),
    (Bars(image_size=64), "image_size = 32, but the data have image_size = 64"),
    (Bars((4, 3, 6)), "factors = "),
])
def test_an_oracle_of_another_world_is_refused(world, says, trained, tmp_path):
    oracle.save(trained, tmp_path / "bars.safetensors")
    with pytest.raises(InputError, match=says):
        oracle.load(tmp_path / "bars.safetensors", world)


def test_damaged_checkpoints_are_refused(trained, tmp_path):
    path = tmp_path / "bars.safetensors"
    with pytest.raises(InputError, match="does not exist"):
        oracle.load(path)
    oracle.save(trained, path)
    about = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**about, "model": "ada-gvae"}))
    with pytest.raises(InputError, match="is a 'ada-gvae': expected an oracle"):
        oracle.load(path)
    about["config"]["sizes"] = [4, 3, 6]
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="damaged"):
        oracle.load(path)
    about["config"]["sizes"] = [4, 3, 5]
    path.with_suffix(".json").write_text(json.dumps(about))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="damaged"):
        oracle.load(path)


# --- what a person may get wrong ---

def test_a_world_without_labels_is_refused():
    with pytest.raises(InputError, match="no factor labels"):
        oracle.train(digits(labelled=False), steps=1)


@pytest.mark.parametrize("n", [1, 2])
def test_a_tiny_dataset_is_refused(n):
    with pytest.raises(InputError, match=rf"has {n} observation\(s\): too few"):
        oracle.train(digits(n), steps=1)


def test_a_tiny_grid_is_refused():
    with pytest.raises(InputError, match=r"has 2 state\(s\): too few"):
        oracle.train(Bars((2, 1)), steps=1)


@pytest.mark.parametrize("options", [{"steps": 0}, {"batch_size": 1}, {"learning_rate": 0}, {"n_test": 0}])
def test_options_are_checked(bars, options):
    with pytest.raises(InputError, match="cannot be used"):
        oracle.train(bars, **options)


def test_images_of_another_size_are_refused(trained):
    with pytest.raises(InputError, match=r"this oracle reads \(n, 3, 32, 32\)"):
        trained.predict(torch.zeros(2, 3, 64, 64))


# --- command line ---

def test_the_command_line_trains_and_tests(bars, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(worlds, "load", lambda name, **options: bars)
    monkeypatch.setenv("INC_CHECKPOINTS", str(tmp_path / "released"))
    command = ["train", "--world", "bars", "--image-size", "32", "--steps", "5", "--batch-size", "16",
               "--n-test", "20", "--folder", str(tmp_path / "run"), "--release"]
    assert oracle.main(command) == 0
    assert "bar 1: macro-F1 0." in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "released").iterdir()) == [
        "bars_32_oracle.json", "bars_32_oracle.safetensors"]
    assert oracle.main(["test", "--world", "bars", "--image-size", "32", "--n-test", "20"]) == 0
    assert "(20 images)" in capsys.readouterr().out


def test_the_command_line_says_what_is_wrong(capsys):
    assert oracle.main(["test", "--world", "shapes3d-twn"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown world 'shapes3d-twn': did you mean")
