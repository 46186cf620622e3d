"""Identification without labels: exact p-values, kept rates, answers in words, on inputs whose answer is known."""
from __future__ import annotations

import itertools
import math
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from inc_lib import actions, embedding, identification, pretrained, words, worlds
from inc_lib import identification_plots as figures
from inc_lib.errors import InputError
from inc_lib.identification import Components, discoveries, p_value, recognition, similarity_test
from inc_lib.models import checkpoints


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Bars:
    """A generator without a network: code 0 paints the left half in one of four greys, code 1 the right half."""

    n_codes = 3

    def decode(self, codes):
        grey = (codes[:, :2].round() / 4).clamp(0, 1)
        return grey[:, None, None, :].repeat(1, 1, 4, 1).repeat_interleave(2, dim=3)


def bars(n: int = 1200):
    """Codes with four modes in each of two dimensions and a sleeping third one, and their actions without labels."""
    generator = seeded(1)
    states = torch.randint(0, 4, (n, 2), generator=generator)
    codes = torch.cat([states + 0.05 * torch.randn(n, 2, generator=generator),
                       0.001 * torch.randn(n, 1, generator=generator)], dim=1)
    return states, codes, actions.unlabelled_actions(codes, actions.find_partitions(codes))


def pixels(images):
    return images.flatten(1)


class Judge:
    factors, sizes = ("left", "right"), (4, 4)

    def predict(self, observations):
        return (observations[:, 0, 0, [0, -1]] * 4).round().long()


# --- p-values ---

def test_p_value_counts_the_observed_swap_and_ties():
    assert p_value(3.0, [1.0, 2.0, 3.0, 4.0]) == pytest.approx(3 / 5)
    assert p_value(9.0, [1.0] * 99) == pytest.approx(0.01)  # never 0
    assert p_value(0.0, [0.0] * 9) == 1.0


def test_similarity_test_agrees_with_all_swaps_by_hand():
    """The example of the chapter: three pairs, eight ways, one of which reaches the observed value."""
    acted, control = torch.tensor([[5.0], [6.0], [5.0]]), torch.tensor([[2.0], [9.0], [4.0]])
    ways = []
    for swap in itertools.product((0, 1), repeat=3):
        pairs = torch.stack([acted, control])
        mine = np.array([float(pairs[k, i]) for i, k in enumerate(swap)])
        theirs = np.array([float(pairs[1 - k, i]) for i, k in enumerate(swap)])
        ways.append(math.log(theirs.var() / mine.var()))
    assert sum(way >= ways[0] - 1e-9 for way in ways) == 1
    test = similarity_test(acted, control, n_permutations=20_000, generator=seeded())
    assert test.statistic == pytest.approx(ways[0])
    assert test.p_value == pytest.approx(1 / 8, abs=0.01)


def test_both_statistics_are_the_same_for_one_feature_and_for_constants_nothing_is_found():
    generator = seeded(2)
    acted, control = torch.randn(20, 1, generator=generator), 2 * torch.randn(20, 1, generator=generator)
    both = [similarity_test(acted, control, statistic=name, generator=seeded(3)) for name in identification.STATISTICS]
    assert both[0] == both[1]
    still = similarity_test(torch.ones(10, 3), torch.ones(10, 3), generator=seeded())
    assert still == identification.SimilarityTest(0.0, 1.0)


def test_a_small_feature_hides_in_the_whole_and_not_from_the_feature_statistic():
    generator = seeded(4)
    context = 5 * torch.randn(64, 8, generator=generator)
    acted = torch.cat([context + 0.3 * torch.randn(64, 8, generator=generator), 0.01 * torch.ones(64, 1)], dim=1)
    control = torch.cat([context + 0.3 * torch.randn(64, 8, generator=generator),
                         0.1 * torch.randn(64, 1, generator=generator)], dim=1)
    assert similarity_test(acted, control, statistic="feature", generator=seeded()).p_value < 0.01
    assert similarity_test(acted, control, statistic="whole", generator=seeded()).p_value > 0.05


@pytest.mark.parametrize("statistic", identification.STATISTICS)
def test_p_values_of_nothing_are_uniform(statistic):
    generator = seeded(5)
    values = [similarity_test(torch.randn(16, 4, generator=generator), torch.randn(16, 4, generator=generator),
                              statistic=statistic, n_permutations=99, generator=generator).p_value for _ in range(400)]
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(values) <= level) == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 400))


@pytest.mark.parametrize(("acted", "control", "options", "said"), [
    (torch.zeros(3, 2), torch.zeros(4, 2), {}, "no pairs"),
    (torch.zeros(1, 2), torch.zeros(1, 2), {}, "n >= 2"),
    (torch.full((3, 2), torch.nan), torch.zeros(3, 2), {}, "not finite"),
    (torch.zeros(3, 2), torch.zeros(3, 2), {"statistic": "hole"}, "did you mean 'whole'"),
    (torch.zeros(3, 2), torch.zeros(3, 2), {"n_permutations": 0}, "at least 1")])
def test_what_cannot_be_tested_is_refused(acted, control, options, said):
    with pytest.raises(InputError, match=said):
        similarity_test(acted, control, **options)


# --- false discoveries ---

def test_benjamini_and_hochberg_on_paper():
    p = [0.01, 0.02, 0.03, 0.5]  # the third is below 0.05 * 3 / 4 = 0.0375 and takes the others along
    assert discoveries(p, 0.05).tolist() == [True, True, True, False]
    assert discoveries([0.04, 0.5, 0.6, 0.7], 0.05).tolist() == [False] * 4  # 0.04 > 0.05 / 4
    assert discoveries(np.array([[0.01, 0.9], [0.9, 0.9]]), 0.05).tolist() == [[True, False], [False, False]]
    assert discoveries([], 0.05).shape == (0,)


@pytest.mark.parametrize(("p", "rate", "said"), [([0.0, 0.5], 0.05, "above 0"), ([1.5], 0.05, "above 0"),
                                                 ([0.5], 0.0, "rate = 0"), ([0.5], 1.0, "rate = 1")])
def test_discoveries_refuse_what_is_no_p_value_or_rate(p, rate, said):
    with pytest.raises(InputError, match=said):
        discoveries(p, rate)


def test_scores_on_paper():
    score = identification.precision_recall([True, True, False, False], [True, False, True, False])
    assert (score.precision, score.recall, score.n_found, score.n_true) == (0.5, 0.5, 2, 2)
    none = identification.precision_recall([False], [False])
    assert math.isnan(none.precision) and math.isnan(none.recall)
    assert identification.false_discovery_proportion([True, True], [True, False]) == 0.5
    assert identification.false_discovery_proportion([False], [True]) == 0.0
    with pytest.raises(InputError, match="same ones"):
        identification.precision_recall([True], [True, False])


# --- candidates ---

def test_every_partition_of_a_clean_code_is_found_and_no_sham_is():
    states, codes, free = bars()
    assert free.partitioning.sizes == (4, 4, 1)
    found = identification.survey(Bars(), free, codes, {"pixels": pixels}, n=24, n_pictures=24, judge=Judge(),
                                  generator=seeded())
    assert len(found) == 8 and found["atomic"].all() and (found["share"] == 1).all()
    assert found["factor"].tolist() == ["left"] * 4 + ["right"] * 4
    assert identification.identified(found, "pixels", "whole", recognised=0.9).all()
    table = identification.scores(found, ["pixels"]).set_index("statistic")
    assert table.loc["feature", "recall"] == 1 and table.loc["feature", "found"] == 8
    factors = [worlds.Factor(name, (0, 1, 2, 3)) for name in Judge.factors]
    labelled = actions.find_actions(states, codes, free.partitioning, factors)
    assert identification.owned(labelled, found).all()


def test_shams_and_sleeping_codes_have_nothing_to_find():
    _, codes, free = bars()
    p, null = identification.mixed_family(Bars(), free, codes, pixels, n_real=4, n_sham=8, n=24, generator=seeded(3))
    assert null.tolist() == [False] * 4 + [True] * 8
    assert discoveries(p)[:4].all() and np.mean(p[4:] > 0.05) >= 0.75
    asleep = identification.interval(free, codes, 2, 0.9, 1.0)
    pair = identification.draw_pairs(Bars(), free, asleep, codes, 24, seeded())
    assert torch.equal(*pair)  # the generator does not look at it


def test_an_interval_holds_the_codes_between_its_quantiles():
    _, codes, free = bars()
    low = identification.interval(free, codes, 0, 0.0, 0.25)
    assert low.present(codes).double().mean() == pytest.approx(0.25, abs=0.01)
    drawn = low.sample(200, seeded())
    assert (drawn < codes[:, 0].quantile(0.26)).all()
    with pytest.raises(InputError, match="0 <= low < high <= 1"):
        identification.interval(free, codes, 0, 0.5, 0.5)


def test_a_pair_differs_in_the_acted_code_only():
    _, codes, free = bars()
    acted, control = identification.draw_pairs(Bars(), free, free.actions[2], codes, 50, seeded())
    assert torch.equal(acted[..., -1], control[..., -1])          # the other code is shared
    assert (acted[..., 0] == 0.5).all() and control[..., 0].unique().numel() == 4
    with pytest.raises(InputError, match="at least 2"):
        identification.draw_pairs(Bars(), free, free.actions[0], codes, 1)


def test_without_a_judge_nobody_knows_the_truth_and_without_a_cut_there_is_nothing_to_test():
    _, codes, free = bars()
    found = identification.survey(Bars(), free, codes, {"pixels": pixels}, n=8, n_pictures=8, generator=seeded())
    assert "atomic" not in found and identification.scores(found, ["pixels"])["recall"].isna().all()
    whole = actions.unlabelled_actions(codes[:, 2:], actions.find_partitions(codes[:, 2:]))
    with pytest.raises(InputError, match="no candidate"):
        identification.survey(Bars(), whole, codes[:, 2:], {"pixels": pixels})
    with pytest.raises(InputError, match="no code is cut"):
        identification.mixed_family(Bars(), whole, codes[:, 2:], pixels, n_real=1, n_sham=1)


def test_truth_takes_the_factor_that_gained_most():
    read = torch.tensor([[0, 1], [0, 1], [0, 1], [0, 0]])
    control = torch.tensor([[0, 0], [0, 1], [0, 2], [0, 3]])
    verdict = identification.truth(read, control)
    assert verdict == identification.Atomicity(1, 1, 0.75, 0.25)
    assert not verdict.holds() and verdict.holds(least=0.7)


# --- recognition and components ---

def test_partitions_are_recognised_if_and_only_if_they_look_different():
    generator = seeded(6)
    same = torch.randn(1, 40, 3, generator=generator).repeat(2, 1, 1) + 0.1 * torch.randn(2, 40, 3, generator=generator)
    assert recognition(same).max() < 0.8
    apart = torch.tensor([0.0, 10.0, 20.0])[:, None, None] + torch.randn(3, 40, 3, generator=generator)
    assert recognition(apart).tolist() == [1.0, 1.0, 1.0]
    two_alike = torch.tensor([0.0, 0.0, 20.0])[:, None, None] + torch.randn(3, 40, 3, generator=generator)
    f1 = recognition(two_alike)
    assert f1[2] == 1.0 and f1[:2].max() < 0.8
    with pytest.raises(InputError, match="two partitions"):
        recognition(same[:1])


@pytest.mark.parametrize("n", [5, 50])
def test_components_are_those_of_a_singular_value_decomposition(n):
    pictures = torch.rand(n, 1, 4, 5, generator=seeded(7))
    found = Components.of(pixels, pictures, 3)
    _, _, directions = torch.linalg.svd(pixels(pictures) - pixels(pictures).mean(0), full_matrices=False)
    assert torch.allclose((found.directions.T @ directions[:3].T).abs(), torch.eye(3), atol=1e-4)
    assert found(pictures).shape == (n, 3)
    assert Components.of(pixels, torch.ones(4, 1, 2, 2)).directions.shape == (4, 1)  # constants: one, all zero
    with pytest.raises(InputError, match="two at least"):
        Components.of(pixels, pictures[:1])


# --- words ---

GREYS = words.Vocabulary({"left": ["dark left", "light left"], "right": ["dark right", "light right"]})


def say(images):
    """A classifier of the bars: light from 0.5 on; not normalised, to see that this is done."""
    light = (images[:, 0, 0, [0, -1]] >= 0.5).double()
    return 3 * torch.stack([1 - light[:, 0], light[:, 0], 1 - light[:, 1], light[:, 1]], dim=1)


def test_partitions_are_named_and_unions_share_a_word():
    _, codes, free = bars()
    answers = []
    for action in free.actions:
        pair = identification.draw_pairs(Bars(), free, action, codes, 32, seeded(action.attribute))
        answers.append(words.consistency_test(*pair, say, GREYS, generator=seeded()))
    assert words.named(answers).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert GREYS.group_of(2) == "right" and words.named([]).shape == (0,)


def test_shares_and_probabilities_on_paper():
    images = torch.zeros(4, 1, 2, 2)
    images[:3, 0, :, 0] = 1.0
    probabilities, shares = words.consistency(images, say, GREYS)
    assert shares.tolist() == [0.25, 0.75, 1.0, 0.0]
    assert torch.allclose(probabilities.sum(1), torch.full((4,), 2.0, dtype=torch.float64))


def test_a_word_that_is_always_the_answer_names_nothing():
    images = torch.zeros(16, 1, 2, 2)
    answer = words.consistency_test(images, images, say, GREYS, n_permutations=99, generator=seeded())
    assert answer.shares.tolist() == [1, 0, 1, 0] and words.named([answer]).tolist() == [-1]


@pytest.mark.parametrize(("answer", "said"), [(torch.zeros(4, 3), "expected a probability"),
                                              (torch.full((4, 4), -1.0), "no probabilities"),
                                              (torch.full((4, 4), math.nan), "no probabilities")])
def test_a_classifier_that_answers_otherwise_is_refused(answer, said):
    with pytest.raises(InputError, match=said):
        words.consistency(torch.zeros(4, 1, 2, 2), lambda images: answer, GREYS)
    with pytest.raises(InputError, match="no pairs"):
        words.consistency_test(torch.zeros(4, 1, 2, 2), torch.zeros(3, 1, 2, 2), say, GREYS)


def test_vocabularies_are_parsed_and_checked():
    assert words.parse("floor: a red floor, a blue floor; shape: cube, ball").groups == {
        "floor": ["a red floor", "a blue floor"], "shape": ["cube", "ball"]}
    with pytest.raises(InputError, match="belong to no question"):
        words.parse("red, blue")
    for groups in ({}, {"floor": ["red"]}, {"floor": ["red", "red"]}):
        with pytest.raises(InputError, match="at least two words"):
            words.Vocabulary(groups)


def test_the_stand_in_adds_up_attributes_and_knows_what_states_mean():
    world = worlds.load("shapes3d-twin", image_size=32)
    from inc_lib import oracle

    judge = oracle.Oracle(channels=3, image_size=32, factors=[f.name for f in world.factors], sizes=world.sizes,
                          world=world.name).eval()
    reader = words.StandIn(judge, words.ROOMS)
    observations, states = world.sample(5, seeded())
    parts = reader(observations).split([len(group) for group in reader.vocabulary.groups.values()], dim=1)
    assert all(torch.allclose(part.sum(1), torch.ones(5), atol=1e-5) for part in parts)  # no attribute without a word
    assert reader.of_states(states).sum(1).tolist() == [len(world.factors)] * 5
    assert words.meaning_of(world.factors)["shape"]["shape cube"] == (0,)


# --- the embedding ---

def test_alterations_keep_shape_range_and_colour():
    pictures = worlds.load("shapes3d-twin", image_size=32).sample(16, seeded())[0]
    altered = embedding.alter(pictures, seeded())
    assert altered.shape == pictures.shape and altered.min() >= 0 and altered.max() <= 1
    assert (altered - pictures).abs().mean() < 0.1
    assert torch.equal(altered, embedding.alter(pictures, seeded()))


def test_the_loss_punishes_what_vicreg_punishes():
    constant, spread = torch.zeros(2, 50, 4), torch.randn(2, 5000, 4, generator=seeded())
    assert float(embedding._hinge(constant)) == pytest.approx(0.99, abs=1e-6)  # sqrt(1e-4) stands in for 0
    assert float(embedding._hinge(3 * spread)) == 0
    assert float(embedding._off_diagonal(spread)) < 0.01
    twice = spread[..., :1].repeat(1, 1, 4)  # four features that tell the same: 12 pairs of covariance 1, 4 features
    assert float(embedding._off_diagonal(twice)) == pytest.approx(3, rel=0.1)


def test_a_finished_training_is_taken_from_its_folder_and_checkpoints_round_trip(tmp_path):
    world = worlds.load("shapes3d-twin", image_size=32)
    options = {"batch_size": 8, "device": "cpu"}
    torch.set_num_threads(1)
    straight = embedding.train(world, steps=3, **options)
    embedding.train(world, steps=3, folder=tmp_path / "run", **options)
    again = embedding.train(world, steps=3, folder=tmp_path / "run", **options)  # done: taken from the folder
    pictures = world.sample(4, seeded())[0]
    assert torch.equal(straight.embed(pictures), again.embed(pictures))
    assert straight.embed(pictures).shape == (4, 64 * embedding.N_FEATURES)
    checkpoints.save(straight, tmp_path / "e.safetensors", straight.provenance)
    assert torch.equal(embedding.load(tmp_path / "e.safetensors").embed(pictures), straight.embed(pictures))
    with pytest.raises(InputError, match="this embedding reads"):
        straight.embed(torch.zeros(2, 1, 32, 32))
    with pytest.raises(InputError, match="at least 8 pictures"):
        embedding.train(world, batch_size=2)


@pytest.mark.parametrize("name", ["shapes3d-twin", "mnist"])
def test_released_embeddings_are_small_and_say_how_they_were_made(name):
    found = embedding.load(embedding.release_path(name, 32))
    assert found.provenance["world"] == name and found.provenance["steps"] == embedding.STEPS
    assert embedding.release_path(name, 32).stat().st_size < 4_000_000


# --- pretrained networks: tiny ones of the same interface ---

class TinyClip(nn.Module):
    """What `open_clip.create_model` returns, as far as we use it: brightness against the length of the text."""

    def __init__(self):
        super().__init__()
        self.visual = types.SimpleNamespace(image_size=(8, 8), image_mean=(0.5,) * 3, image_std=(0.5,) * 3)
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())
        self.seen = None

    def encode_image(self, images):
        self.seen = images
        level = images.mean((1, 2, 3))
        return torch.stack([level, torch.ones_like(level)], dim=1)

    def encode_text(self, tokens):
        return torch.stack([tokens[:, 0].float(), torch.ones(len(tokens))], dim=1)


def test_clip_is_asked_by_its_own_interface(monkeypatch):
    network, asked = TinyClip(), []

    def tokenizer(texts):
        asked.extend(texts)
        return torch.tensor([[1.0 if "light" in text else -1.0] for text in texts])

    module = types.SimpleNamespace(create_model=lambda name, device: network, get_tokenizer=lambda name: tokenizer)
    monkeypatch.setitem(sys.modules, "open_clip", module)
    vocabulary = words.Vocabulary({"wall": ["dark wall", "light wall"]})
    classifier = pretrained.clip_classifier(vocabulary)
    said = classifier(torch.stack([torch.zeros(1, 32, 32), torch.ones(1, 32, 32)]))
    assert asked == ["a picture of dark wall", "a picture of light wall"]
    assert network.seen.shape == (2, 3, 8, 8) and network.seen.min() == -1 and network.seen.max() == 1
    assert said.argmax(1).tolist() == [0, 1]
    assert torch.allclose(said.sum(1), torch.ones(2))
    assert float(said[1, 1]) == pytest.approx(1 / (1 + math.exp(-10)), abs=1e-4)  # cosines 1 and 0, scale 10


def test_dinov2_is_loaded_as_safetensors_and_gives_the_first_token(monkeypatch):
    given = {}

    class Tiny(nn.Module):
        def forward(self, pixel_values):
            assert pixel_values.shape[1:] == (3, pretrained.DINOV2_SIZE, pretrained.DINOV2_SIZE)
            level = pixel_values.mean((1, 2, 3))[:, None, None]
            return types.SimpleNamespace(last_hidden_state=torch.cat([level, 0 * level], dim=1).repeat(1, 1, 3))

    def from_pretrained(name, **options):
        given.update(options, name=name)
        return Tiny()

    module = types.SimpleNamespace(AutoModel=types.SimpleNamespace(from_pretrained=from_pretrained))
    monkeypatch.setitem(sys.modules, "transformers", module)
    features = pretrained.dinov2_embedding()(torch.rand(3, 3, 32, 32, generator=seeded()))
    assert given == {"name": "facebook/dinov2-small", "use_safetensors": True}
    assert features.shape == (3, 3) and torch.allclose(features.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize(("call", "module", "package"), [
    (lambda: pretrained.clip_classifier(GREYS), "open_clip", "open_clip_torch"),
    (pretrained.dinov2_embedding, "transformers", "transformers")])
def test_a_missing_extra_gets_one_sentence(monkeypatch, call, module, package):
    monkeypatch.setitem(sys.modules, module, None)  # import fails, whatever is installed
    with pytest.raises(InputError, match=f"{package} is not installed, an optional extra: pip install"):
        call()


# --- figures and the record ---

def test_figures_say_their_data():
    _, codes, free = bars()
    found = identification.survey(Bars(), free, codes, {"pixels": pixels}, n=8, n_pictures=8, judge=Judge(),
                                  generator=seeded())
    passed = np.arange(8) < 5
    assert "5 found, atomic and 3 missed" in figures.verdicts(found, passed).alt
    assert "8 partitions" in figures.recognised(found, "pixels", least=0.6).alt
    bare = found.drop(columns=["atomic", "factor"])
    assert "5 found and 3 not found" in figures.verdicts(bare, passed).alt
    step = figures.step_up([0.01, 0.02, 0.03, 0.5], 0.05, null=[False, False, True, True])
    assert "The first 3 are discoveries, 1 of them shams; 2 of all are shams" in step.alt
    assert "50.0% are at most 0.05" in figures.calibration([0.01, 0.9]).alt
    assert "1 of them reach the observed value of 2.00" in figures.null_distribution([1.0, 2.5], 2.0).alt
    with pytest.raises(InputError, match="at least"):
        figures.step_up([], 0.05)


def test_the_record_is_read_by_network(tmp_path):
    path = tmp_path / "identification.json"
    path.write_text('{"numbers": {"repeats": 2, "net_s0; pixels; whole; recall": 0.5, "net_s0; atomic": 3}}')
    record = identification.recorded(path)
    assert record.repeats == 2 and record.networks == {"net_s0": {"pixels; whole; recall": 0.5, "atomic": 3}}
    with pytest.raises(InputError, match="benchmarks/identification.py"):
        identification.recorded(tmp_path / "no.json")
