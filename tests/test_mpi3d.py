"""mpi3d-twin: the published grid, pictures composed as they would be cast, every factor visible everywhere."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from inc_lib import worlds
from inc_lib.errors import InputError
from inc_lib.worlds import mpi3d, published, raytrace

SIZE = 32


@pytest.fixture(scope="module")
def world() -> worlds.World:
    return worlds.load("mpi3d-twin", image_size=SIZE)


@pytest.fixture
def states(world) -> torch.Tensor:
    return world.states(40, torch.Generator().manual_seed(0))


def whole_scene(state: list[int]) -> torch.Tensor:
    """One image with everything cast at once, nothing composed: (3, SIZE, SIZE)."""
    colour, shape, size, camera, background, *axes = state
    turn, rise = (torch.tensor([index]) for index in axes)
    radii = list(mpi3d.SIZES.values())
    thing = raytrace.Surface(mpi3d.solid(mpi3d.SHAPES[shape], radii[size], turn, rise), 2)
    sight = mpi3d.geometry(SIZE, torch.device("cpu"))
    maps = raytrace.cast(
        sight.origins[camera], sight.directions[camera], [*mpi3d.room(), *mpi3d.arm(turn, rise), thing],
        light=sight.light, n_labels=3, supersampling=mpi3d.SUPERSAMPLING,
    )[0]
    palette = [list(mpi3d.BACKGROUNDS.values())[background], mpi3d.ARM_COLOUR, list(mpi3d.COLOURS.values())[colour]]
    return torch.einsum("lc,lhw->chw", torch.tensor(palette), maps)


def test_the_grid_is_the_published_one(world):
    assert world.n_states == 1_036_800 and world.sizes == (6, 6, 2, 3, 3, 40, 40)
    assert world.factors == published.MPI3D and world.source == "procedural twin"


def test_images_are_what_casting_the_whole_scene_gives(world, states):
    """Up to the rounding of three weights to bytes."""
    for state, image in zip(states.tolist(), world.render(states), strict=True):
        assert (image - whole_scene(state)).abs().amax() < 1.5 / 255


def test_the_object_never_leaves_its_window(world):
    """At the ends of both axes, from every height, for each shape: cast whole, nothing shows outside."""
    ends = (0, 39)
    for shape, camera, turn, rise in itertools.product(range(6), range(3), ends, ends):
        state = [0, shape, 1, camera, 0, turn, rise]
        assert (world.render(torch.tensor([state]))[0] - whole_scene(state)).abs().amax() < 1.5 / 255


def test_drawing_again_or_in_another_order_changes_nothing(world, states):
    first = world.render(states)
    order = torch.randperm(len(states), generator=torch.Generator().manual_seed(1))
    assert torch.equal(world.render(states[order]), first[order])
    fresh = mpi3d.Geometry(SIZE, torch.device("cpu"))  # nothing kept yet
    _, shape, size, camera, _, turn, rise = states.unbind(1)
    for kept, new in zip(world._geometry.get(shape, size, camera, turn, rise),
                         fresh.get(shape, size, camera, turn, rise), strict=True):
        assert torch.equal(kept, new)
    assert fresh.has_window.sum() <= len(states) and fresh.has_frame.sum() <= len(states)


@pytest.mark.parametrize("column", range(7))
def test_a_change_of_any_factor_is_seen_wherever_the_others_are(world, states, column):
    changed = states.clone()
    size = world.sizes[column]
    step = 1 if size < 40 else 4
    old = states[:, column]
    changed[:, column] = torch.where(old + step < size, old + step, old - step)
    difference = (world.render(states) - world.render(changed)).abs().amax(dim=(1, 2, 3))
    assert difference.min() > 0.06  # 16 of 256 steps, in at least one pixel


def test_images_are_numbers_from_0_to_1(world, states):
    images = world.render(states)
    assert images.shape == (40, 3, SIZE, SIZE) and images.min() >= 0 and images.max() <= 1


def test_the_arm_points_at_the_camera_in_the_middle_and_to_either_side_at_the_ends():
    turn, rise = torch.tensor([0, 39]), torch.tensor([20, 20])
    left, right = mpi3d.tip(turn, rise)
    assert left[0] == pytest.approx(-right[0]) and left[0] < -0.8
    assert left[1] == pytest.approx(right[1]) and left[1] < 0
    reach = (mpi3d.tip(turn, rise) - torch.tensor([0, 0, mpi3d.POST_HEIGHT])).norm(dim=1)
    assert reach.tolist() == pytest.approx([mpi3d.ARM_LENGTH] * 2)


def test_images_too_small_are_refused():
    with pytest.raises(InputError, match="at least 16"):
        worlds.load("mpi3d-twin", image_size=8)


# --- the primitives that it brought: distances known on paper ---

DOWN, AHEAD = torch.tensor([[0.0, 0.0, -1.0]]), torch.tensor([[0.0, 1.0, 0.0]])
ORIGIN = torch.zeros(1, 3)


def test_a_rod_is_a_tube_with_round_ends():
    rod = {"start": torch.tensor([-1.0, 0.0, 0.0]), "end": torch.tensor([1.0, 0.0, 0.0]), "radius": 0.5}
    above = lambda x: torch.tensor([[x, 0.0, 3.0]])  # noqa: E731
    t, normal = raytrace.rod(above(0.3), DOWN, **rod)
    assert t.item() == pytest.approx(2.5) and normal[0].tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    t, _ = raytrace.rod(above(1.3), DOWN, **rod)  # over the round end: 0.3 off its centre
    assert t.item() == pytest.approx(3 - math.sqrt(0.25 - 0.09), abs=1e-6)
    assert raytrace.rod(above(1.6), DOWN, **rod)[0].isinf().all()


def test_a_cone_is_narrow_above_and_has_a_base():
    cone = {"centre": ORIGIN, "radius": 1.0, "half_height": 1.0}  # at height z its radius is (1 - z) / 2
    t, normal = raytrace.cone(torch.tensor([[0.0, -3.0, 0.0]]), AHEAD, **cone)
    assert t.item() == pytest.approx(2.5)
    assert normal[0].tolist() == pytest.approx([0, -2 / math.sqrt(5), 1 / math.sqrt(5)], abs=1e-5)
    assert raytrace.cone(torch.tensor([[0.0, -3.0, 1.1]]), AHEAD, **cone)[0].isinf().all()  # over the apex
    t, normal = raytrace.cone(torch.tensor([[0.2, 0.0, -3.0]]), -DOWN, **cone)
    assert t.item() == pytest.approx(2.0) and normal[0].tolist() == [0, 0, -1]
    t, _ = raytrace.cone(torch.tensor([[0.5, 0.0, 3.0]]), DOWN, **cone)  # radius 0.5 is at height 0
    assert t.item() == pytest.approx(3.0)


def test_a_prism_of_four_sides_is_a_box():
    """Corner radius sqrt 2: a cube of half-side 1, its faces along the axes."""
    normals, offsets = raytrace.prism(4, radius=math.sqrt(2), half_height=1.0)
    generator = torch.Generator().manual_seed(0)
    origin = 4 * torch.nn.functional.normalize(torch.randn(500, 3, generator=generator), dim=1)
    direction = torch.nn.functional.normalize(0.8 * torch.randn(500, 3, generator=generator) - origin, dim=1)
    t, normal = raytrace.convex(origin, direction, centre=ORIGIN, normals=normals, offsets=offsets)
    expected, expected_normal = raytrace.box(origin, direction, centre=ORIGIN, half=torch.ones(3))
    torch.testing.assert_close(t, expected, atol=1e-4, rtol=0)
    hit = t.isfinite()
    assert 50 < hit.sum() < 500
    torch.testing.assert_close(normal[hit], expected_normal[hit], atol=1e-5, rtol=0)


def test_a_pyramid_ends_in_a_point():
    normals, offsets = raytrace.pyramid(4, radius=math.sqrt(2), half_height=1.0)
    pyramid = {"centre": ORIGIN, "normals": normals, "offsets": offsets}
    t, _ = raytrace.convex(torch.tensor([[0.0, 0.0, 3.0]]), DOWN, **pyramid)
    assert t.item() == pytest.approx(2.0, abs=1e-5)  # the apex, at height 1
    t, _ = raytrace.convex(torch.tensor([[0.5, 0.0, 3.0]]), DOWN, **pyramid)
    assert t.item() == pytest.approx(3.0, abs=1e-5)  # half way out is half way down
    t, _ = raytrace.convex(torch.tensor([[0.3, 0.0, -3.0]]), -DOWN, **pyramid)
    assert t.item() == pytest.approx(2.0, abs=1e-5)
