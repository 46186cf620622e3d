"""Diffusion: composition is a sum known on paper, sampling is DDIM, training resumes to the same weights."""

from __future__ import annotations

import json

import pytest
import torch

from inc_lib import denoising, models, training
from inc_lib.errors import InputError
from inc_lib.models.diffusion import TIMESTEPS, Diffusion, Sampler, load

TINY = {"channels": 1, "image_size": 8, "n_conditions": 2, "widths": (8,)}
NONE = [float("nan")] * 2


def grey(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Even images, left half as bright as the first number, right half as the second."""
    levels = torch.rand(n, 2, generator=generator)
    return levels.repeat_interleave(4, dim=1)[:, None, None, :].expand(-1, 1, 8, 8), levels


@pytest.fixture(scope="module")
def trained() -> Diffusion:
    return denoising.train(
        grey, world="grey", options=TINY | {"widths": (32,)}, steps=300, learning_rate=3e-3, device="cpu"
    )


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Known(torch.nn.Module):
    """Predicts the sum of its condition, everywhere; 100 under none."""

    def forward(self, noisy, times, conditions):
        return conditions.sum(1).nan_to_num(100.0)[:, None, None, None].expand_as(noisy)


@pytest.mark.parametrize(
    ("conditions", "weights", "expected"),
    [
        ([[1.0, 2.0], NONE], [1.0, 1.0], 3.0),  # one condition, weight 1: itself
        ([NONE, NONE], [1.0, 1.0], 100.0),  # no condition
        ([[1.0, 2.0], NONE], [2.0, 1.0], 100 + 2 * (3 - 100.0)),  # guidance
        ([[1.0, 2.0], [10.0, 0.0]], [1.0, 0.5], 100 + (3 - 100.0) + 0.5 * (10 - 100.0)),  # composition
    ],
)
def test_predictions_compose_as_liu_et_al_write(conditions, weights, expected):
    model = Diffusion(**TINY)
    model.trained = Known()
    noisy, time = torch.zeros(1, 4, 4, 4), torch.tensor(5)
    found = model._composed(noisy, time, torch.tensor([conditions]), torch.tensor([weights]))
    assert found.unique().tolist() == pytest.approx([expected])


def test_the_first_noise_is_pure_and_the_last_step_clean():
    schedule = Diffusion(**TINY).schedule
    assert schedule.alphas_cumprod[-1] == 0 and schedule.alphas_cumprod[0] > 0.999
    schedule.set_timesteps(25)
    assert schedule.timesteps[0] == TIMESTEPS - 1 and len(schedule.timesteps) == 25


def test_a_perfect_prediction_is_drawn_in_any_number_of_steps():
    """With the velocity of one known image, DDIM gives this image whatever the noise."""
    model = Diffusion(**TINY)
    image = torch.linspace(0, 1, 64).view(1, 1, 8, 8)
    clean = 2 * torch.nn.functional.pixel_unshuffle(image, 2) - 1

    class Perfect(torch.nn.Linear):  # with weights, so that it lies on a device
        def forward(self, noisy, times, conditions):
            a = model.schedule.alphas_cumprod[times][:, None, None, None]
            noise = (noisy - a.sqrt() * clean) / (1 - a).sqrt()
            return a.sqrt() * noise - (1 - a).sqrt() * clean

    model.trained = Perfect(1, 1)
    for steps in (1, 7):
        drawn = model.sample(torch.zeros(3, 2), steps=steps, generator=seeded())
        torch.testing.assert_close(drawn, image.expand(3, 1, 8, 8), atol=1e-5, rtol=0)


def test_conditions_are_met(trained):
    asked = torch.tensor([[0.2, 0.8], [0.8, 0.2], [0.5, 0.5]]).repeat(8, 1)
    drawn = trained.sample(asked, steps=10, generator=seeded())
    found = torch.stack([drawn[..., :4].mean((1, 2, 3)), drawn[..., 4:].mean((1, 2, 3))], dim=1)
    assert (found - asked).abs().mean() < 0.08


def test_drawing_is_repeatable_and_in_batches(trained, monkeypatch):
    asked = torch.rand(7, 2, generator=seeded())
    whole = trained.sample(asked, steps=3, generator=seeded(1))
    assert torch.equal(whole, trained.sample(asked, steps=3, generator=seeded(1)))
    assert not torch.equal(whole, trained.sample(asked, steps=3, generator=seeded(2)))
    monkeypatch.setattr("inc_lib.models.diffusion.BATCH", 4)
    torch.testing.assert_close(whole, trained.sample(asked, steps=3, generator=seeded(1)), atol=0.02, rtol=0)
    codes = torch.cat([asked, torch.full((7, 2), float("nan"))], dim=1)  # the second of two conditions is none
    torch.testing.assert_close(Sampler(trained, seeded(1), steps=3).decode(codes), whole, atol=0.02, rtol=0)


def test_moments_end_with_the_image(trained):
    images, moments = trained.sample(torch.rand(2, 2), steps=6, keep=3, generator=seeded())
    assert moments.shape == (3, 2, 1, 8, 8) and torch.equal(moments[-1], images)
    assert moments.min() >= 0 and moments.max() <= 1


def test_hidden_conditions_teach_none(trained):
    """Drawn under no condition, images are as various as the data."""
    drawn = trained.sample(torch.full((64, 2), float("nan")), steps=10, generator=seeded())
    assert drawn[..., :4].mean((1, 2, 3)).std() > 0.12


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    options = {"world": "grey", "options": TINY, "steps": 12, "batch_size": 8, "device": "cpu"}
    whole = denoising.train(grey, **options)

    def stop(step, model):
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        denoising.train(grey, folder=tmp_path, on_step=stop, every=1, **options)
    resumed = denoising.train(grey, folder=tmp_path, **options)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="holes"):
        denoising.train(grey, folder=tmp_path, about={"holes": [1]}, **options)


def test_the_average_follows_the_weights():
    model = Diffusion(**TINY)
    model.start_averaging()
    with torch.no_grad():
        model.trained.nothing.fill_(1.0)
    model.after_step()  # the first step: 2 of 11 parts stay
    torch.testing.assert_close(model.average.nothing, torch.full((32,), 1 - 2 / 11))
    model.settle()
    assert not any(name.startswith(("average", "averaged")) for name in model.state_dict())


def test_a_checkpoint_is_read_back(trained, tmp_path):
    models.save(trained, tmp_path / "a.safetensors", trained.provenance)
    again = load(tmp_path / "a.safetensors")
    asked = torch.rand(2, 2, generator=seeded())
    one, other = (model.sample(asked, steps=2, generator=seeded()) for model in (trained, again))
    assert torch.equal(one, other) and again.provenance["steps"] == 300


def test_a_wrong_checkpoint_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "none.safetensors")
    (tmp_path / "b.json").write_text(json.dumps({"model": "policy", "config": {}}))
    with pytest.raises(InputError, match="holds a policy, expected a diffusion model"):
        load(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("conditions", "options", "match"),
    [
        (torch.zeros(2, 3), {}, "conditions of shape"),
        (torch.tensor([[0.0, float("nan")]]), {}, "NaN beside numbers"),
        (torch.tensor([[0.0, float("inf")]]), {}, "NaN beside numbers"),
        (torch.zeros(2, 2), {"weights": torch.ones(3)}, "weights of shape"),
        (torch.zeros(2, 2), {"weights": float("nan")}, "weights of shape"),
        (torch.zeros(2, 2), {"steps": 0}, "steps = 0"),
        (torch.zeros(2, 2), {"steps": 2, "keep": 3}, "at most as many moments"),
    ],
)
def test_bad_requests_are_sentences(conditions, options, match):
    with pytest.raises(InputError, match=match):
        Diffusion(**TINY).sample(conditions, **options)


@pytest.mark.parametrize("wrong", [{"image_size": 9}, {"n_conditions": 0}, {"drop": 1.0}, {"widths": ()}])
def test_impossible_models_are_sentences(wrong):
    with pytest.raises(InputError, match="cannot be built"):
        Diffusion(**TINY | wrong)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"decay": 2.0}])
def test_impossible_trainings_are_sentences(wrong):
    with pytest.raises(InputError, match="cannot be used"):
        denoising.train(grey, world="grey", options=TINY, **({"steps": 1} | wrong))


def test_a_command_line_ends_in_a_sentence(capsys):
    def interrupted():
        raise KeyboardInterrupt

    def refused():
        raise InputError("no such thing.")

    assert training.command(lambda: None) == 0
    assert training.command(refused) == 2 and capsys.readouterr().err == "error: no such thing.\n"
    assert training.command(interrupted) == 130 and "goes on from here" in capsys.readouterr().err
