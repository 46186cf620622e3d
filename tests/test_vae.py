"""Objectives against answers known on paper; the facts that other implementations get wrong."""

from __future__ import annotations

import json
import math

import pytest
import torch

from inc_lib import models
from inc_lib.errors import InputError
from inc_lib.models.vae import AdaGVAE, BernoulliLoss, average_shared, total_correlation


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def gaussian_batch(n: int, d: int, correlation: float, width: float, generator: torch.Generator):
    """Codes, means and log-variances of posteriors N(mean, width^2) whose means have one correlated pair of dimensions.

    The aggregate posterior is a Gaussian of unit variances with correlation (1 - width^2) rho, so its total
    correlation is known: `true_tc`.
    """
    root = torch.eye(d)
    root[1, 0], root[1, 1] = correlation, math.sqrt(1 - correlation**2)
    mean = math.sqrt(1 - width**2) * torch.randn(n, d, generator=generator) @ root.T
    return (
        mean + width * torch.randn(n, d, generator=generator),
        mean,
        torch.full((n, d), 2 * math.log(width)),
    )


def true_tc(correlation: float, width: float) -> float:
    return -0.5 * math.log(1 - ((1 - width**2) * correlation) ** 2)


def test_tau_is_per_pair_and_the_variance_is_averaged():
    mean = torch.tensor(
        [
            [0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0],  # pair members a
            [0.1, 0.2, 4.0],
            [0.1, 0.2, 0.4],
        ]
    )  # pair members b
    variance = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [3.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    averaged, log_variance = average_shared(mean, variance.log())
    # Pair 0: KL (1/3 + .01/3 - 1 + log 3) / 2 = 0.218, 0.02, 8: tau = 4.01, so dimensions 0 and 1 are shared.
    assert averaged[0].tolist() == pytest.approx([0.05, 0.1, 0.0])
    assert averaged[2].tolist() == pytest.approx([0.05, 0.1, 4.0])
    assert log_variance[0].exp().tolist() == pytest.approx([2.0, 1.0, 1.0])  # (1 + 3) / 2, not sqrt(3)
    # Pair 1: KL 0.005, 0.02, 0.08: tau = 0.0425. A threshold over the batch would share all three.
    assert averaged[1].tolist() == pytest.approx([0.05, 0.1, 0.0])
    assert averaged[3].tolist() == pytest.approx([0.05, 0.1, 0.4])


def test_a_known_number_of_changed_codes_replaces_the_threshold():
    mean = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [3.0, 2.9, 0.1], [0.1, 0.2, 0.3]])
    averaged, _ = average_shared(mean, torch.zeros(4, 3), changed=1)
    assert averaged[0].tolist() == pytest.approx([0.0, 1.45, 0.05])  # the threshold would keep 3.0 and 2.9 apart
    assert averaged[2].tolist() == pytest.approx([3.0, 1.45, 0.05])
    assert averaged[1].tolist() == pytest.approx([0.05, 0.1, 0.0])
    untouched, _ = average_shared(mean, torch.zeros(4, 3), changed=3)
    assert torch.equal(untouched, mean)


@pytest.mark.parametrize("changed", [0, -1, 11])
def test_no_more_codes_change_than_there_are(changed):
    with pytest.raises(InputError, match=f"changed = {changed} cannot be used: expected a number of codes"):
        models.build("ada-gvae", channels=1, image_size=32, changed=changed)


def test_a_closed_code_says_nothing_and_is_not_heard(generator):
    model = models.build("ada-gvae", channels=1, image_size=32)
    images = torch.rand(5, 1, 32, 32, generator=generator)
    before = model.encode(images)
    model.close([2])
    mean, log_variance = model.posterior(images)
    assert not mean[:, 2].any() and not log_variance[:, 2].any()  # the prior: mean 0, variance 1
    others = [d for d in range(10) if d != 2]
    assert torch.equal(mean[:, others], before[:, others])
    moved = before.clone()
    moved[:, 2] += 3
    assert torch.equal(model.decode(before), model.decode(moved))


def test_equal_images_share_nothing_and_lose_nothing(generator):
    mean = torch.randn(3, 4, generator=generator).repeat(2, 1)
    averaged, log_variance = average_shared(mean, torch.zeros(6, 4))
    assert torch.allclose(averaged, mean) and torch.allclose(log_variance, torch.zeros(6, 4), atol=1e-6)


def test_bernoulli_loss_equals_the_textbook_and_so_does_its_gradient(generator):
    logits = (torch.randn(4, 3, 8, 8, generator=generator) * 5).requires_grad_()
    images = torch.rand(4, 3, 8, 8, generator=generator).contiguous(memory_format=torch.channels_last)
    ours = BernoulliLoss.apply(logits, images)
    (gradient,) = torch.autograd.grad(ours * 2, logits)
    textbook = torch.nn.functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    (expected,) = torch.autograd.grad(textbook * 2, logits)
    assert ours.item() == pytest.approx(textbook.item(), rel=1e-5) and torch.allclose(
        gradient, expected, atol=1e-5
    )


def test_the_kl_is_the_closed_form(generator):
    model = models.build("ada-gvae", channels=1, image_size=32)
    mean, log_variance = (
        torch.tensor([[1.0, -2.0] + [0.0] * 8]),
        torch.tensor([[0.0, math.log(4.0)] + [0.0] * 8]),
    )
    _, _, kl = model.elbo_terms(torch.zeros(1, 1, 32, 32), mean, log_variance, generator)
    assert kl[0, :3].tolist() == pytest.approx([0.5, 0.5 * (4 + 4 - math.log(4) - 1), 0.0])


@pytest.mark.parametrize("estimator", ["weighted", "stratified"])
@pytest.mark.parametrize("correlation", [0.0, 0.95])
def test_both_estimators_find_the_truth_where_posteriors_overlap(generator, correlation, estimator):
    """Two codes of width 0.7 and B = 1024: own weights hardly matter, and TC is what the formula says."""
    estimates = [
        total_correlation(*gaussian_batch(1024, 2, correlation, 0.7, generator), estimator=estimator).item()
        for _ in range(8)
    ]
    assert sum(estimates) / 8 == pytest.approx(true_tc(correlation, 0.7), abs=0.03)


def test_how_far_each_estimator_is_off_at_the_papers_batch_size(generator):
    """B = 64, N = 480,000, 10 codes of posterior width 0.3, true TC 0.

    The weighted estimate is 7.6 nats too high: z_i's own posterior weighs 1/B instead of 1/N. The symmetric stratified
    one is within a nat (its logarithm is biased low). The widely copied matrix, 1/N in a column, repairs nothing: it
    is the weighted estimate again. The paper's constant (d - 1) log N = 118 nats is not in ours.
    """
    batches = [gaussian_batch(64, 10, 0.0, 0.3, generator) for _ in range(30)]
    weighted = sum(total_correlation(*batch).item() for batch in batches) / 30
    stratified = sum(total_correlation(*batch, estimator="stratified").item() for batch in batches) / 30
    column = sum(_column_estimate(*batch) for batch in batches) / 30
    assert weighted == pytest.approx(7.6, abs=0.5) and abs(stratified) < 1.0
    assert column == pytest.approx(weighted, abs=0.3)


def test_a_correlated_pair_raises_the_stratified_estimate(generator):
    """4 codes of width 0.3, true TC 0 against 0.69 nats: what the optimiser has to feel."""
    low, high = (
        sum(
            total_correlation(*gaussian_batch(64, 4, rho, 0.3, generator), estimator="stratified").item()
            for _ in range(30)
        )
        / 30
        for rho in (0.0, 0.95)
    )
    assert high - low > 0.5


def _column_estimate(codes, mean, log_variance, n: int = 480_000) -> float:
    """The widely copied weights: 1/N goes into a column."""
    batch = len(codes)
    weights = torch.full((batch, batch), 1 / (batch - 1))
    weights.view(-1)[::batch] = 1 / n
    weights.view(-1)[1::batch] = (n - batch + 1) / (n * (batch - 1))
    weights[-2, 0] = (n - batch + 1) / (n * (batch - 1))
    density = -0.5 * (
        (codes[:, None] - mean).square() / log_variance.exp() + log_variance + math.log(2 * math.pi)
    )
    joint = torch.logsumexp(weights.log() + density.sum(2), 1)
    return (joint - torch.logsumexp(weights.log()[..., None] + density, 1).sum(1)).mean().item()


def test_the_stratified_weights_are_unbiased_for_the_aggregate_posterior(generator):
    """In one dimension with a small N the expectation over batches is q(z) exactly: compare on 5 fixed posteriors."""
    mean = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None]
    z = 0.3
    density = torch.exp(-0.5 * (z - mean[:, 0]) ** 2) / math.sqrt(2 * math.pi)
    n, batch = 5, 3
    estimates = []
    for own in range(
        n
    ):  # z comes from posterior `own`; the batch holds it and two of the others, all choices
        others = [i for i in range(n) if i != own]
        choices = [(a, b) for a in others for b in others if a < b]
        weight = (n - 1) / (n * (batch - 1))
        estimates.append(
            sum(density[own] / n + weight * (density[a] + density[b]) for a, b in choices) / len(choices)
        )
    assert torch.allclose(torch.stack(estimates), density.mean().expand(n), atol=1e-6)


@pytest.mark.parametrize("image_size, channels", [(32, 1), (32, 3), (64, 1), (64, 3)])
@pytest.mark.parametrize("name", ["ada-gvae", "beta-tcvae"])
def test_shapes_and_gradients(name, image_size, channels, generator):
    model = models.build(name, channels=channels, image_size=image_size)
    images = torch.rand(4, channels, image_size, image_size, generator=generator)
    loss, parts = model.loss((images, images.flip(0)) if model.needs_pairs else images, generator)
    loss.backward()
    assert loss.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    codes = model.encode(images)
    assert codes.shape == (4, 10) and not codes.requires_grad
    decoded = model.decode(codes)
    assert decoded.shape == images.shape and decoded.min() >= 0 and decoded.max() <= 1
    assert model.encode(images[:0]).shape == (0, 10)


def test_encoding_in_batches_equals_encoding_at_once(generator, monkeypatch):
    model = models.build("ada-gvae", channels=1, image_size=32).eval()
    images = torch.rand(10, 1, 32, 32, generator=generator)
    whole = model.encode(images)
    monkeypatch.setattr("inc_lib.models.vae.BATCH", 3)
    assert torch.allclose(model.encode(images), whole, atol=1e-6)


def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_generator_alone():
    state = torch.get_rng_state()
    one, two, other = (
        models.build("ada-gvae", channels=1, image_size=32, seed=s).encoder[0].weight for s in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, other) and torch.equal(torch.get_rng_state(), state)


def test_a_checkpoint_comes_back_as_it_went(tmp_path, generator):
    model = models.build("beta-tcvae", channels=3, image_size=32, beta=4.0, estimator="stratified")
    models.save(model, tmp_path / "m.safetensors", {"world": "w"})
    back = models.load(tmp_path / "m.safetensors")
    images = torch.rand(2, 3, 32, 32, generator=generator)
    assert torch.allclose(back.encode(images), model.encode(images), atol=1e-6)
    assert back.config == model.config and back.provenance == {"world": "w"} and back.name == "beta-tcvae"


def test_half_precision_loses_next_to_nothing(tmp_path, generator):
    model = models.build("ada-gvae", channels=3, image_size=32)
    models.save(model, tmp_path / "m.safetensors", {}, half=True)
    images = torch.rand(8, 3, 32, 32, generator=generator)
    codes, halved = model.encode(images), models.load(tmp_path / "m.safetensors").encode(images)
    assert (codes - halved).abs().max() < 2e-3 * codes.abs().max()
    assert (tmp_path / "m.safetensors").stat().st_size < 2 * sum(
        p.numel() for p in model.parameters()
    ) + 5_000


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda folder: (folder / "m.json").unlink(), "does not exist"),
        (lambda folder: (folder / "m.safetensors").write_bytes(b"half a file"), "damaged"),
        (lambda folder: (folder / "m.json").write_text("{"), "damaged"),
        (
            lambda folder: (folder / "m.json").write_text(
                json.dumps(
                    {"model": "ada-gvae", "config": {"channels": 1, "image_size": 64}, "provenance": {}}
                )
            ),
            "damaged",
        ),
        (
            lambda folder: (folder / "m.json").write_text(
                json.dumps(
                    {"model": "ada-gave", "config": {"channels": 1, "image_size": 64}, "provenance": {}}
                )
            ),
            "did you mean 'ada-gvae'",
        ),
    ],
)
def test_a_broken_checkpoint_is_a_sentence(tmp_path, damage, sentence):
    models.save(models.build("ada-gvae", channels=1, image_size=32), tmp_path / "m.safetensors", {})
    damage(tmp_path)
    with pytest.raises(InputError, match=sentence):
        models.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"channels": 2, "image_size": 32}, "1 or 3 channels"),
        ({"channels": 3, "image_size": 48}, "32 or 64 pixels"),
        ({"channels": 3, "image_size": 32, "n_codes": 0}, "at least one code"),
        ({"channels": 3, "image_size": 32, "beta": float("nan")}, "beta of 0 or more"),
    ],
)
def test_impossible_networks_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        AdaGVAE(**options)


def test_images_and_codes_of_another_shape_are_refused():
    model = models.build("ada-gvae", channels=3, image_size=32)
    with pytest.raises(InputError, match="load the world with image_size=32"):
        model.encode(torch.zeros(1, 3, 64, 64))
    with pytest.raises(InputError, match=r"expected \(n, 10\)"):
        model.decode(torch.zeros(1, 9))
    with pytest.raises(InputError, match="did you mean 'beta-tcvae'"):
        models.build("beta-tcvea", channels=3, image_size=32)
    with pytest.raises(InputError, match="'weighted' or 'stratified'"):
        models.build("beta-tcvae", channels=3, image_size=32, estimator="mws")
