"""The loop: resumable to the bit, silent about nothing, loses nothing."""

from __future__ import annotations

import json

import pytest
import torch

from inc_lib import models, training
from inc_lib.errors import InputError
from inc_lib.worlds import Factor, World


class Stripes(World):
    """A world that renders in no time: two brightnesses and a split position."""

    name, source, channels, image_size = "stripes", "procedural twin", 1, 32
    factors = (Factor("left", (0, 1, 2)), Factor("right", (0, 1, 2)), Factor("split", (0, 1, 2, 3)))

    def render(self, states: torch.Tensor) -> torch.Tensor:
        columns = torch.arange(32)[None, :] < (8 + 4 * states[:, 2:3])
        row = torch.where(columns, states[:, :1] / 2, states[:, 1:2] / 2)
        return row[:, None, None, :].expand(-1, 1, 32, 32).clone()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(model: models.VAE) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


SHORT = {"batch_size": 4, "learning_rate": 1e-3, "seed": 3}


@pytest.mark.parametrize("name", ["ada-gvae", "beta-tcvae"])
def test_training_lowers_the_loss(name):
    world, generator = Stripes(), torch.Generator().manual_seed(0)
    model = training.train(world, name, steps=60, batch_size=16, learning_rate=2e-3)
    fresh = models.build(name, channels=1, image_size=32)
    batch = (
        world.paired_observations(32, generator)[:2] if model.needs_pairs else world.sample(32, generator)[0]
    )
    trained, untrained = (
        m.loss(batch, torch.Generator().manual_seed(1))[1]["reconstruction"] for m in (model, fresh)
    )
    assert trained < 0.8 * untrained and not model.training


def test_the_same_seed_trains_the_same_weights():
    one, two, other = (
        training.train(Stripes(), "ada-gvae", steps=5, batch_size=4, seed=s) for s in (1, 1, 2)
    )
    assert torch.equal(weights(one), weights(two)) and not torch.equal(weights(one), weights(other))


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, decay):
    whole = training.train(Stripes(), "ada-gvae", steps=12, decay=decay, **SHORT)

    def kill(step: int, _):
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(
            Stripes(), "ada-gvae", steps=12, decay=decay, folder=tmp_path, on_step=kill, every=1, **SHORT
        )
    assert json.loads(_about(tmp_path))["done"] == 7
    resumed = training.train(Stripes(), "ada-gvae", steps=12, decay=decay, folder=tmp_path, **SHORT)
    assert torch.equal(weights(whole), weights(resumed)) and resumed.provenance["steps"] == 12


def _about(folder) -> str:
    from safetensors import safe_open

    with safe_open(folder / "state.safetensors", "pt") as file:
        return file.metadata()["about"]


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = training.train(Stripes(), "ada-gvae", steps=3, folder=tmp_path, **SHORT)
    calls = []
    again = training.train(
        Stripes(),
        "ada-gvae",
        steps=3,
        folder=tmp_path,
        every=1,
        on_step=lambda step, _: calls.append(step),
        **SHORT,
    )
    assert torch.equal(weights(first), weights(again)) and calls == []


def test_a_folder_of_another_run_is_refused_and_says_what_differs(tmp_path):
    training.train(Stripes(), "ada-gvae", steps=2, folder=tmp_path, **SHORT)
    before = (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(InputError, match="batch_size differ"):
        training.train(Stripes(), "ada-gvae", steps=2, folder=tmp_path, **{**SHORT, "batch_size": 5})
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_a_second_phase_goes_on_with_other_settings_and_says_so(tmp_path):
    first = training.train(Stripes(), "ada-gvae", steps=3, folder=tmp_path / "one", **SHORT)
    second = training.train(
        Stripes(),
        "ada-gvae",
        steps=5,
        folder=tmp_path / "two",
        start_from=tmp_path / "one",
        pairs=1,
        options={"beta": 4.0},
        **SHORT,
    )
    assert not torch.equal(weights(first), weights(second))
    assert second.beta == 4.0 and second.provenance["steps"] == 5
    assert second.provenance["earlier_phases"] == [
        {
            "until_step": 3,
            "beta": 1.0,
            "changed": None,
            "pairs": "uniform",
            "closed": [],
            "learning_rate": 1e-3,
            "decay": 0.0,
            "batch_size": 4,
        }
    ]
    with pytest.raises(InputError, match="of another shape"):
        training.train(
            Stripes(), "ada-gvae", steps=5, start_from=tmp_path / "one", options={"n_codes": 4}, **SHORT
        )
    with pytest.raises(InputError, match="no training to start from"):
        training.train(Stripes(), "ada-gvae", steps=5, start_from=tmp_path / "none", **SHORT)


def test_a_damaged_state_is_a_sentence(tmp_path):
    (tmp_path / "state.safetensors").write_bytes(b"not a state")
    with pytest.raises(InputError, match="delete it to start anew"):
        training.train(Stripes(), "ada-gvae", steps=2, folder=tmp_path, **SHORT)


def test_a_full_disk_is_a_sentence_and_keeps_the_last_state(tmp_path, monkeypatch):
    training.train(Stripes(), "ada-gvae", steps=2, folder=tmp_path, **SHORT)
    before = (tmp_path / "state.safetensors").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(InputError, match="No space left on device"):
        training.train(Stripes(), "ada-gvae", steps=4, folder=tmp_path, **SHORT)
    assert (tmp_path / "state.safetensors").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_the_rate_is_constant_then_falls_to_zero():
    run = training.Run(
        models.build("ada-gvae", channels=1, image_size=32),
        {"learning_rate": 1.0, "seed": 0, "decay": 0.5, "steps": 10},
        None,
        device="cpu",
    )
    rates = []
    for run.done in range(10):
        rates.append(run.rate())
    assert rates == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


def test_early_pictures_are_drawn(tmp_path):
    training.train(Stripes(), "ada-gvae", steps=2, folder=tmp_path, **SHORT)
    from PIL import Image

    with Image.open(tmp_path / "peek_000002.png") as picture:
        assert picture.size == (4 * 32, 2 * 32)


def test_on_step_sees_every_nth_step_and_the_last():
    seen = []
    training.train(
        Stripes(),
        "beta-tcvae",
        steps=7,
        batch_size=4,
        every=3,
        on_step=lambda step, model: seen.append((step, model.training)),
    )
    assert seen == [(3, False), (6, False), (7, False)]


def test_the_log_gets_a_line(capfd):
    training.train(Stripes(), "ada-gvae", steps=2, **SHORT)
    assert "step 2 of 2" in capfd.readouterr().err


def test_provenance_says_how(tmp_path):
    made = training.train(Stripes(), "ada-gvae", steps=2, pairs="half-one", **SHORT).provenance
    assert made["world"] == "stripes" and made["source"] == "procedural twin" and made["pairs"] == "half-one"
    assert made["steps"] == 2 and made["seed"] == 3 and made["threads"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"decay": 2.0},
        {"learning_rate": float("nan")},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(InputError, match="expected positive numbers"):
        training.train(Stripes(), "ada-gvae", **({"steps": 1} | wrong))


def test_a_phase_can_begin_with_codes_closed(tmp_path):
    training.train(Stripes(), "ada-gvae", steps=3, folder=tmp_path / "one", **SHORT)
    options = {"folder": tmp_path / "two", "start_from": tmp_path / "one", "close": [4]} | SHORT
    training.train(Stripes(), "ada-gvae", steps=4, **options)
    closed = training.train(Stripes(), "ada-gvae", steps=6, **options)  # resumed: not closed a second time
    whole = training.train(Stripes(), "ada-gvae", steps=6, **options | {"folder": tmp_path / "three"})
    assert torch.equal(weights(closed), weights(whole))
    kept = training.train(Stripes(), "ada-gvae", steps=6, **options | {"folder": tmp_path / "four", "close": []})
    assert not torch.equal(weights(kept), weights(whole))
    assert closed.provenance["closed"] == [4] and closed.provenance["earlier_phases"][0]["closed"] == []
    with pytest.raises(InputError, match="codes .10. cannot be closed: expected numbers from 0 to 9"):
        training.train(Stripes(), "ada-gvae", steps=6, **options | {"folder": None, "close": [10]})


def test_where_data_give_single_changes_short_trainings_use_them():
    class Latin(Stripes):
        gives_single_changes = False

    assert training.short_schedule(Stripes(), "ada-gvae") == {
        "learning_rate": 5e-4, "decay": 0.2, "pairs": 1, "options": {"changed": 1}
    }
    assert training.short_schedule(Latin(), "ada-gvae")["pairs"] == "half-one"
    for world, model in ((Latin(), "ada-gvae"), (Stripes(), "beta-tcvae")):
        assert training.short_schedule(world, model)["options"] == {}
    chosen = training.short_schedule(Stripes(), "ada-gvae", "uniform")  # pairs of your own: the paper's threshold
    assert (chosen["pairs"], chosen["options"]) == ("uniform", {})


def test_pairs_from_a_world_without_are_refused_with_the_way_out():
    class Unlabelled(Stripes):
        factors = ()

    with pytest.raises(InputError, match="use model='beta-tcvae'"):
        training.train(Unlabelled(), "ada-gvae", steps=1)


def test_an_unknown_device_is_refused():
    with pytest.raises(InputError, match="'auto', 'cpu' or 'cuda'"):
        training.train(Stripes(), "ada-gvae", steps=1, device="gpu")


def test_the_command_line_trains_releases_and_names_a_mistake(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("INC_CHECKPOINTS", str(tmp_path))
    arguments = [
        "--world",
        "dsprites-twin",
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--folder",
        str(tmp_path / "run"),
    ]
    assert training.main([*arguments, "--release"]) == 0
    model = models.load(tmp_path / "dsprites-twin_32_ada-gvae_s0.safetensors")
    assert model.provenance["world"] == "dsprites-twin" and model.config["channels"] == 1
    assert model.provenance["pairs"] == 1 and model.config["changed"] == 1
    assert training.main([*arguments, "--release", "ada-gvae-young"]) == 0  # of another kind, beside the model's own
    assert models.load(tmp_path / "dsprites-twin_32_ada-gvae-young_s0.safetensors").name == "ada-gvae"
    asked = [*arguments[:-1], str(tmp_path / "other"), "--pairs", "uniform", "--beta", "2"]
    assert training.main(asked) == 0
    other = models.load(tmp_path / "other" / "model.safetensors")
    assert other.provenance["pairs"] == "uniform" and other.config["changed"] is None and other.beta == 2
    assert training.main(["--world", "dsprites-twn"]) == 2
    assert "did you mean 'dsprites-twin'" in capsys.readouterr().err
