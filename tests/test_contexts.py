"""Actions in a context: bars and arrows whose angles are known on paper."""
from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from inc_lib import actions, clustering, contexts, scoring, subspaces, worlds
from inc_lib.errors import InputError
from inc_lib.worlds import Factor, World

KIND, ANGLE = Factor("kind", ("bar", "arrow")), Factor("angle", tuple(np.arange(8) / 8), "cyclic")
TURN = 2 * math.pi / 8


class Marks(World):
    """A bar is itself again after half a turn, an arrow after a whole one. Nothing is drawn."""

    name, source, channels, image_size = "marks", "yours", 1, 32
    factors = (KIND, ANGLE, Factor("side", ("left", "right")))

    def tells_apart(self, factor):
        return factor != 1

    def alike(self, factor, a, b, states):
        if factor != 1:
            return a == b
        return torch.where(states[:, 0] == 0, (a - b) % 4 == 0, a == b)


class Identity:
    """h and G that are each other's inverse."""

    def encode(self, observations):
        return observations[:, :, 0, 0]

    def decode(self, codes):
        return codes[:, :, None, None]


class Sight:
    """Reads codes as they were made; of a bar's two angles the first."""

    sizes, factors = (2, 8, 2), ("kind", "angle", "side")

    def predict(self, observations):
        codes = observations[:, :, 0, 0]
        kind = (codes[:, 2] > 0).long()
        turned = torch.atan2(codes[:, 1], codes[:, 0]) / TURN
        angle = torch.where(kind == 0, (turned / 2).round() % 4, turned.round() % 8).long()
        return torch.stack([kind, angle, (codes[:, 3] > 0).long()], dim=1)


def marks(n=6000, seed=0):
    """Both kinds turn on the same ring of codes 0 and 1, a bar twice as fast; code 2 is the kind, 3 the side."""
    rng = np.random.default_rng(seed)
    states = np.column_stack([rng.integers(0, size, n) for size in Marks().sizes])
    turned = np.where(states[:, 0] == 0, 2, 1) * states[:, 1] * TURN + 0.04 * rng.standard_normal(n)
    codes = np.column_stack([np.cos(turned), np.sin(turned), 2.0 * states[:, 0] - 1, 2.0 * states[:, 2] - 1])
    codes[:, 2:] += 0.1 * rng.standard_normal((n, 2))
    return torch.from_numpy(states), torch.from_numpy(codes.astype(np.float32))


@pytest.fixture(scope="module")
def seen():
    world, (states, codes) = Marks(), marks()
    plain = subspaces.find_subspace_actions(states, codes, world.factors)
    return world, states, codes, plain, contexts.in_context(world, states, codes, plain)


def test_a_context_is_what_symmetry_depends_on():
    sprites, rooms = (worlds.load(name, image_size=32) for name in ("dsprites-twin", "shapes3d-twin"))
    names = [factor.name for factor in sprites.factors]
    held = [contexts.context_of(sprites, i) for i in range(len(names))]
    assert held == [names.index("shape") if name == "orientation" else None for name in names]
    assert all(contexts.context_of(rooms, i) is None for i in range(len(rooms.factors)))


def test_what_looks_alike_is_a_matter_of_the_kind():
    bar, arrow = (contexts.looks_alike(Marks(), 1, 0, kind) for kind in (0, 1))
    assert (arrow == np.eye(8, dtype=bool)).all()
    assert (bar == np.tile(np.eye(4, dtype=bool), (2, 2))).all()


def test_alone_an_angle_owns_where_arrows_lie_and_in_its_context_everything(seen):
    _, states, codes, plain, found = seen
    paper = actions.find_actions(states, codes, actions.find_partitions(codes), Marks.factors)
    assert paper.missing("angle") == [2, 4, 6]
    assert plain.uniqueness("angle") == pytest.approx(np.full(8, 2 / 3), abs=0.05)  # precise, and half of them
    assert len(found.of("angle")) == 8 and found.uniqueness("angle").min() > 0.98
    assert [len(found.of(i)) for i in (0, 2)] == [2, 2]


def test_an_action_turns_a_mark_and_leaves_what_it_is(seen):
    world, _, codes, _, found = seen
    start = codes[:600]
    before = Sight().predict(start[:, :, None, None])
    for action in found.of("angle"):
        after = Sight().predict(action.act(start, torch.Generator().manual_seed(0))[:, :, None, None])
        wanted = torch.full((600,), action.attribute)
        assert world.alike(1, wanted, after[:, 1], after).all()
        assert (after[:, [0, 2]] == before[:, [0, 2]]).all()


def test_an_action_on_the_kind_keeps_the_angle_as_far_as_the_kind_has_it(seen):
    world, _, codes, _, found = seen
    start = codes[:600]
    before = Sight().predict(start[:, :, None, None])
    for action in found.of("kind"):
        after = Sight().predict(action.act(start, torch.Generator().manual_seed(0))[:, :, None, None])
        assert (after[:, 0] == action.attribute).all() and (after[:, 2] == before[:, 2]).all()
        assert world.alike(1, before[:, 1], after[:, 1], after).all()


def test_a_bar_shows_both_of_its_angles_and_an_arrow_one(seen):
    *_, found = seen
    codes = torch.tensor([[0.0, 1.0, -1.0, 1.0], [0.0, 1.0, 1.0, 1.0]])  # a quarter of the ring: a bar, an arrow
    present = torch.stack([action.present(codes) for action in found.of("angle")])
    assert present.T.nonzero().tolist() == [[0, 1], [0, 5], [1, 2]]
    assert found.of("angle")[0].reader.read(codes).tolist() == [1, 2]


def test_codes_that_serve_nobody_else_are_replaced_as_well_unless_they_are_quiet(seen):
    world, states, codes, *_ = seen
    noise = torch.randn(len(codes), 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.001])
    more = torch.cat([codes, noise], dim=1)
    plain = subspaces.find_subspace_actions(states, more, world.factors)
    found = contexts.in_context(world, states, more, plain)
    assert {action.dimensions for i in (0, 1) for action in found.of(i)} == {(0, 1, 2, 4)}
    assert {action.dimensions for action in found.of("side")} == {(3,)}


def test_a_factor_that_shares_codes_with_the_pair_keeps_both():
    """The side stands in the code of the kind: to set it alone must turn nothing and change no kind."""
    world, (states, codes) = Marks(), marks()
    codes[:, 2] += 0.5 * (2.0 * states[:, 2] - 1)  # four heaps at -1.5, -0.5, 0.5, 1.5: both sides of both kinds
    codes = codes[:, :3]
    plain = subspaces.find_subspace_actions(states, codes, world.factors)
    found = contexts.in_context(world, states, codes, plain)
    start, angles = codes[:400], torch.atan2(codes[:400, 1], codes[:400, 0])
    assert {action.dimensions for action in found.of("side")} == {(0, 1, 2)}
    for action in found.of("side"):
        after = action.act(start, torch.Generator().manual_seed(0))
        assert ((after[:, 2] > 0) == (start[:, 2] > 0)).all()
        turned = (torch.atan2(after[:, 1], after[:, 0]) - angles + math.pi) % (2 * math.pi) - math.pi
        assert (turned.abs() < TURN / 2).all()
        assert (((after[:, 2].abs() > 1) == (after[:, 2] > 0)) == bool(action.attribute)).all()


def test_algorithm_1_and_the_scores_take_them_as_they_are(seen):
    world, _, codes, _, found = seen
    right = [world.alike(1, wanted, (read := Sight().predict(images))[:, 1], read) for images, wanted, _ in
             clustering.implicit_clusters(Identity(), found, 40, factor="angle", codes=codes,
                                          generator=torch.Generator().manual_seed(0))]
    assert torch.cat(right).all() and len(torch.cat(right)) == 8 * 40
    kept = scoring.footprint(Identity(), found, Sight(), codes[:300], generator=torch.Generator().manual_seed(0)).kept
    assert np.nanmin(kept[1]) == 1


def test_where_a_context_tells_nothing_its_labels_say_what_to_draw():
    states, codes = marks()
    arrows = states[:, 0] == 1
    codes[arrows, :2] = torch.randn(int(arrows.sum()), 2, generator=torch.Generator().manual_seed(0))
    plain = subspaces.find_subspace_actions(states, codes, Marks.factors)
    found = contexts.in_context(Marks(), states, codes, plain)
    assert len(found.of("angle")) == 8
    recall = [entry.recall for entry in found.ownership if entry.factor == 1]
    assert recall == pytest.approx([0.5] * 8, abs=0.1)  # the bars, half of all
    after = found.of("angle")[3].act(codes[:500], torch.Generator().manual_seed(0))
    shown = {tuple(row) for row in codes[(states[:, 1] == 3) & arrows][:, :2].tolist()}
    assert {tuple(row) for row in after[arrows[:500]][:, :2].tolist()} <= shown


def test_without_a_context_or_a_way_to_read_it_nothing_changes(seen):
    world, states, codes, plain, _ = seen
    paper = actions.find_actions(states, codes, actions.find_partitions(codes), world.factors)
    assert contexts.in_context(world, states, codes, paper) is paper
    blurred = codes.clone()
    blurred[:, 2] = torch.randn(len(codes), generator=torch.Generator().manual_seed(0))
    unread = subspaces.find_subspace_actions(states, blurred, world.factors)
    assert contexts.in_context(world, states, blurred, unread) is unread


def test_the_same_generator_gives_the_same_draws_and_others_others(seen):
    *_, codes, _, found = seen
    draw = [found.of("angle")[0].act(codes[:50], torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])


def test_another_worlds_actions_are_told(seen):
    world, states, codes, plain, _ = seen
    other = dataclasses.replace(plain, factors=(KIND, Factor("turn", ANGLE.values), world.factors[2]))
    with pytest.raises(InputError, match="kind, turn, side.*find them on the same world"):
        contexts.in_context(world, states, codes, other)
    with pytest.raises(InputError, match="do not fit"):
        contexts.in_context(world, states[:10], codes, plain)
