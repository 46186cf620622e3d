"""Comp-WAE: the composition task, what MMD measures, and what the released one does not."""

from __future__ import annotations

import pytest
import torch

from inc_lib import models, training, worlds
from inc_lib.errors import InputError
from inc_lib.models.wae import CompWAE, compose, discrepancy
from inc_lib.worlds import Factor, World


class Bars(World):
    """Three brightnesses in three columns; the fourth factor is constant."""

    name, source, channels, image_size = "bars", "procedural twin", 1, 32
    factors = (Factor("a", (0, 1, 2)), Factor("b", (0, 1, 2)), Factor("none", (0,)), Factor("c", (0, 1)))

    def render(self, states: torch.Tensor) -> torch.Tensor:
        levels = states[:, [0, 1, 3, 3]] / 2
        return levels.repeat_interleave(8, dim=1)[:, None, None].expand(-1, 1, 32, 32).clone()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int = 64, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(n, 10, generator=seeded(seed)) + shift


def test_the_target_is_the_reference_with_one_factor_of_the_command():
    reference, command, target, query = Bars().compositions(3_000, seeded())
    rows = torch.arange(3_000)
    assert torch.equal(target[rows, query], command[rows, query])
    changed = target != reference
    assert (changed.sum(1) == 1).all() and changed[rows, query].all()
    assert (command != reference)[:, [0, 1, 3]].all()  # the command differs in all that varies
    share = query.bincount(minlength=4) / 3_000
    assert share[2] == 0 and (share[[0, 1, 3]] - 1 / 3).abs().max() < 0.03


def test_codes_compose_by_fixed_interpolation():
    reference, command = torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert compose(reference, command, torch.tensor([0, 2])).tolist() == [[1, 0, 0], [0, 0, 6]]


@pytest.mark.parametrize("kind", ["per-pair", "released"])
def test_codes_from_the_prior_have_no_discrepancy(kind):
    assert discrepancy(normal(seed=1), normal(seed=2), kind=kind).abs() < 0.02


def test_the_estimate_is_unbiased():
    found = torch.stack([discrepancy(normal(16, seed=2 * i), normal(16, seed=2 * i + 1)) for i in range(200)])
    assert found.mean().abs() < 3 * found.std() / 200**0.5


def test_shifted_codes_are_noticed_by_the_per_pair_one_alone():
    shifted = normal(shift=5, seed=1)
    assert discrepancy(shifted, normal(seed=2)) > 1.5
    assert discrepancy(shifted, normal(seed=2), kind="released").abs() < 0.005


def test_two_points_known_on_paper():
    """All codes at 0, all of the prior at distance 1: within, k = 7; across, the sum of s / (s + 1)."""
    codes, prior = torch.zeros(3, 1), torch.ones(3, 1)
    across = sum(s / (s + 1) for s in (1, 2, 5, 10, 20, 50, 100))
    assert discrepancy(codes, prior).item() == pytest.approx(14 - 2 * across, abs=1e-5)
    every = sum(s / (s + 9) for s in (1, 2, 5, 10, 20, 50, 100))  # nine pairs, summed before the kernel
    assert discrepancy(codes, prior, kind="released").item() == pytest.approx(7 - every, abs=1e-5)


def test_training_puts_the_queried_factor_into_its_code():
    schedule = {"steps": 400, "batch_size": 16, "learning_rate": 5e-3, "decay": 0.5}
    model = training.train(Bars(), "comp-wae", options={"widths": (16, 32, 32)}, device="cpu", **schedule)
    world = Bars()
    reference, command, target, query = world.compositions(64, seeded(5))
    codes = [model.encode(world.render(states)) for states in (reference, command)]
    wrong = model.decode(codes[0]) - world.render(target)
    right = model.decode(compose(*codes, query)) - world.render(target)
    assert right.square().mean() < 0.3 * wrong.square().mean()


def test_a_checkpoint_is_read_back(tmp_path):
    model = models.build("comp-wae", channels=3, image_size=64, widths=(64, 64, 128, 128, 256))
    models.save(model, tmp_path / "a.safetensors", {"steps": 0})
    again = models.load(tmp_path / "a.safetensors")
    images = torch.rand(2, 3, 64, 64, generator=seeded())
    torch.testing.assert_close(again.encode(images), model.eval().encode(images), atol=1e-5, rtol=1e-5)
    assert model.decode(torch.zeros(1, 10)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: CompWAE(channels=3, image_size=32, mmd="per-pear"), "mmd = 'per-pear' is unknown"),
        (lambda: CompWAE(channels=3, image_size=48), "images of 3 channel"),
        (lambda: discrepancy(torch.zeros(1, 2), torch.zeros(1, 2)), "at least two codes"),
        (lambda: discrepancy(torch.zeros(2, 2), torch.zeros(2, 2), kind="mean"), "'mean'"),
        (lambda: training.train(Bars(), "comp-wae", steps=1, options={"n_codes": 3}), "3 codes are too few"),
    ],
)
def test_bad_requests_are_sentences(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_a_grid_with_holes_cannot_give_the_task(tmp_path):
    import numpy as np

    images = np.zeros((3, 32, 32), np.uint8)
    np.savez(tmp_path / "holes.npz", images=images, factors=np.array([[0, 0], [0, 1], [1, 0]]))
    world = worlds.load(tmp_path / "holes.npz", image_size=32)
    with pytest.raises(InputError, match="a grid of factors without holes"):
        training.train(world, "comp-wae", steps=1)

def test_maps_by_products_are_the_convolution():
    for size, side in ((32, 4), (64, 4)):
        model = CompWAE(channels=1, image_size=size)
        down, up = list(model.encoder)[2 * len(model.config["widths"]) - 2], model.decoder[5]
        maps = torch.rand(3, 128, side, side, generator=seeded())
        small = torch.rand(3, 256, 2, 2, generator=seeded())
        for layer, given in ((down, maps), (up, small)):
            with torch.no_grad():
                library = layer(given)  # without gradients it is the library's
            assert torch.allclose(layer(given), library, atol=1e-5) and library.std() > 0.01
            given = given.requires_grad_()
            ours = torch.autograd.grad(layer(given).square().sum(), [given, layer.weight, layer.bias])
            theirs = torch.autograd.grad(type(layer).__mro__[1].forward(layer, given).square().sum(),
                                         [given, layer.weight, layer.bias])
            assert all(torch.allclose(a, b, atol=1e-3, rtol=1e-4) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("output", "shown"), [("linear", [0.0, 0.25, 1.0]), ("sigmoid", [0.5, 0.562, 0.881])])
def test_pictures_leave_as_they_are_or_through_a_sigmoid(output, shown):
    model = CompWAE(channels=1, image_size=32, output=output)
    found = model._shown(torch.tensor([-3.0 if output == "linear" else 0.0, 0.25, 2.0]))
    assert found.tolist() == pytest.approx(shown, abs=1e-3)
    with pytest.raises(InputError, match="'linear' or 'sigmoid'"):
        CompWAE(channels=1, image_size=32, output="tanh")
    with pytest.raises(InputError, match="ada-gvae has no setting output"):
        models.build("ada-gvae", channels=1, image_size=32, output="linear")
