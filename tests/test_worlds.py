"""Worlds: the grid, the pairs, the pictures. Answers known on paper."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from inc_lib import worlds
from inc_lib.errors import InputError
from inc_lib.worlds import Factor, World, raytrace
from inc_lib.worlds.shapes3d import ANGLES, FLOOR, OBJECT, SCALES, SHAPES, WALL, object_extent, weight_maps


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def room() -> World:
    return worlds.load("shapes3d-twin", image_size=32)


@pytest.fixture(scope="module")
def sprites() -> World:
    return worlds.load("dsprites-twin", image_size=64)


class Grid(World):
    """Three factors, one of them constant; an image is its state, written into three pixels."""

    name, source, channels, image_size = "grid", "procedural twin", 1, 3
    factors = (Factor("a", ("x", "y")), Factor("b", (0,)), Factor("c", (1, 2, 3)), Factor("d", (1, 2, 3, 4)))

    def render(self, states: torch.Tensor) -> torch.Tensor:
        return states[:, None, None, :3].float().expand(-1, 1, 3, 3)


def test_the_grids_are_the_published_ones(room, sprites):
    assert room.n_states == 480_000 and room.sizes == (10, 10, 10, 8, 4, 15)
    assert sprites.n_states == 737_280 and sprites.sizes == (1, 3, 6, 40, 32, 32)
    assert [f.name for f in room.factors] == [
        "floor hue",
        "wall hue",
        "object hue",
        "scale",
        "shape",
        "orientation",
    ]
    assert (SCALES[0], SCALES[-1]) == (0.75, 1.25) and (ANGLES[0], ANGLES[-1]) == (-30, 30)


def test_grid_counts_with_the_last_factor_fastest():
    states = Grid().grid()
    assert states.shape == (24, 4) and states.unique(dim=0).shape[0] == 24
    assert states[:5].tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 3], [0, 0, 1, 0]]


def test_states_cover_every_attribute_evenly(room, generator):
    states = room.states(20_000, generator)
    for column, size in enumerate(room.sizes):
        share = states[:, column].bincount(minlength=size) / len(states)
        assert share.shape == (size,) and (share - 1 / size).abs().max() < 0.02


def test_the_same_seed_draws_the_same_states(room):
    first, second = (room.states(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_pairs_differ_in_exactly_k_factors(room, generator, k):
    first, second = room.pairs(2_000, generator, k=k)
    assert ((first != second).sum(1) == k).all()
    assert (second >= 0).all() and (second < torch.tensor(room.sizes)).all()


def test_k_is_uniform_as_the_paper_says(room, generator):
    first, second = room.pairs(20_000, generator)
    share = (first != second).sum(1).bincount(minlength=6)[1:] / 20_000
    assert share.shape == (5,) and (share - 0.2).abs().max() < 0.015


def test_half_one_gives_k_1_to_half_of_the_pairs_and_its_share_of_the_rest(room, generator):
    first, second = room.pairs(20_000, generator, k="half-one")
    assert ((first != second).sum(1) == 1).float().mean().item() == pytest.approx(0.5 + 0.5 / 5, abs=0.015)


def test_every_factor_changes_equally_often_and_a_constant_one_never(generator):
    first, second = Grid().pairs(12_000, generator)
    changed = (first != second).float().mean(0)
    assert changed[1] == 0
    assert (
        changed[[0, 2, 3]] - 0.5
    ).abs().max() < 0.02  # k uniform in {1, 2} of three varying factors: 1.5 / 3


def test_a_changed_factor_takes_every_other_attribute_equally_often(generator):
    first, second = Grid().pairs(30_000, generator, k=1)
    moved = first[:, 3] != second[:, 3]
    shift = (second[moved, 3] - first[moved, 3]) % 4
    assert (shift.bincount(minlength=4)[1:] / moved.sum() - 1 / 3).abs().max() < 0.02


@pytest.mark.parametrize("k", [0, 6, -1, 1.5, "unifrom", True])
def test_an_impossible_k_is_refused_with_the_range(room, k):
    with pytest.raises(InputError, match="whole number from 1 to 5"):
        room.pairs(2, k=k)


def test_pairs_need_two_varying_factors():
    class One(Grid):
        factors = (Factor("a", (1, 2)), Factor("b", (0,)))

    assert not One().supports_pairs
    with pytest.raises(InputError, match="at least two"):
        One().pairs(2)


def test_no_states_no_images(room):
    assert room.render(room.states(0)).shape == (0, 3, 32, 32)


def test_streaming_the_grid_visits_every_state_once():
    world = Grid()
    parts = list(world.batches(7))
    assert [len(images) for images, _ in parts] == [7, 7, 7, 3]
    assert torch.equal(torch.cat([states for _, states in parts]), world.grid())


def test_images_are_in_range_and_finite(room, sprites, generator):
    for world, channels in ((room, 3), (sprites, 1)):
        images, states = world.sample(256, generator)
        assert images.dtype == torch.float32 and images.shape == (
            256,
            channels,
            world.image_size,
            world.image_size,
        )
        assert images.isfinite().all() and images.min() >= 0 and images.max() <= 1
        assert states.shape == (256, 6) and states.dtype == torch.int64


def test_sprites_are_binary_and_whole(sprites, generator):
    images, _ = sprites.sample(2_000, generator)
    assert set(images.unique().tolist()) == {0.0, 1.0}
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]], -1)
    assert border.max() == 0  # no sprite is cut off, at any position and angle


def test_a_sprite_moves_right_with_x_and_down_with_y(sprites):
    states = torch.tensor([[0, 0, 5, 0, x, y] for x, y in ((0, 0), (31, 0), (0, 31))])
    images = sprites.render(states)[:, 0]
    rows, columns = (torch.arange(64.0) * images.sum(dim) / images.sum((1, 2))[:, None] for dim in (2, 1))
    rows, columns = rows.sum(1), columns.sum(1)
    assert columns[1] - columns[0] > 25 and abs(rows[1] - rows[0]) < 1
    assert rows[2] - rows[0] > 25 and abs(columns[2] - columns[0]) < 1


def test_a_square_looks_the_same_after_a_quarter_turn_and_a_heart_does_not():
    world = worlds.load("dsprites-twin")
    turned = [torch.tensor([[0, shape, 5, angle, 16, 16] for angle in (0, 39)]) for shape in (0, 2)]
    for states in turned:  # 0 and 2 pi are two attributes of one picture, as in the published set
        images = world.render(states)
        assert (images[0] - images[1]).abs().mean() < 0.002


def test_every_factor_of_the_room_is_visible(room):
    """One step of any factor changes a visible share of the picture, from any start."""
    generator = torch.Generator().manual_seed(1)
    states = room.states(200, generator)
    for column, size in enumerate(room.sizes):
        neighbour = states.clone()
        neighbour[:, column] = torch.where(
            states[:, column] + 1 < size, states[:, column] + 1, states[:, column] - 1
        )
        difference = (room.render(states) - room.render(neighbour)).abs().amax(1).flatten(1)
        assert ((difference > 0.02).float().mean(1) > 0.01).all(), room.factors[column].name


def test_the_object_is_as_prominent_as_in_the_original(room):
    extent = object_extent(room.grid()[::97])
    assert 0.2 < extent.min() < 0.3 and 0.45 < extent.max() < 0.56


def test_an_image_is_linear_in_its_colours(room):
    """Composed from weight maps = colour x weight, summed: checked on one image by hand."""
    state = torch.tensor([[0, 3, 6, 2, 1, 9]])
    maps = weight_maps(32, torch.device("cpu"))[(2 * len(SHAPES) + 1) * len(ANGLES) + 9]
    by_hand = sum(
        room.palette[hue][:, None] * maps[surface] for hue, surface in ((0, FLOOR), (3, WALL), (6, OBJECT))
    ).view(3, 32, 32)
    assert torch.allclose(room.render(state)[0], by_hand, atol=1e-6)


def test_weight_maps_leave_no_pixel_unlit(room):
    total = weight_maps(32, torch.device("cpu")).sum(1)
    assert total.min() > 0.1 and total.max() <= 1.0 + 1e-5


def test_hues_are_the_published_ones(room):
    assert room.palette[0].tolist() == [1, 0, 0] and room.palette[5].tolist() == pytest.approx([0, 1, 1])


RAYS = torch.tensor([[0.0, 0.0, -5.0]]), torch.tensor([[0.0, 0.0, 1.0]])  # from below, straight up


@pytest.mark.parametrize(
    "shape, distance",
    [
        (lambda o, d: raytrace.sphere(o, d, centre=torch.zeros(3), radius=1.0), 4.0),
        (lambda o, d: raytrace.box(o, d, centre=torch.zeros(3), half=torch.tensor([1.0, 2.0, 0.5])), 4.5),
        (lambda o, d: raytrace.cylinder(o, d, centre=torch.zeros(3), radius=1.0, half_height=2.0), 3.0),
        (lambda o, d: raytrace.capsule(o, d, centre=torch.zeros(3), radius=0.5, half_length=1.0), 3.5),
        (lambda o, d: raytrace.plane(o, d, normal=(0.0, 0.0, -1.0), offset=0.0), 5.0),
    ],
)
def test_rays_meet_shapes_where_geometry_says(shape, distance):
    t, normal = shape(*RAYS)
    assert t.item() == pytest.approx(distance, abs=1e-4)
    assert normal.view(-1, 3)[0].tolist() == pytest.approx([0, 0, -1], abs=1e-4)
    missed, _ = (
        shape(RAYS[0] + torch.tensor([9.0, 9.0, 0.0]), RAYS[1])
        if distance != 5.0
        else shape(RAYS[0], -RAYS[1])
    )
    assert math.isinf(missed.item())


def test_rays_from_the_side_meet_a_tube_at_its_radius():
    origin, direction = torch.tensor([[-5.0, 0.0, 0.3]]), torch.tensor([[1.0, 0.0, 0.0]])
    for shape in (
        raytrace.cylinder(origin, direction, centre=torch.zeros(3), radius=1.5, half_height=1.0),
        raytrace.capsule(origin, direction, centre=torch.zeros(3), radius=1.5, half_length=1.0),
    ):
        assert shape[0].item() == pytest.approx(3.5) and shape[1][0].tolist() == pytest.approx([-1, 0, 0])


def test_a_caster_agrees_with_marching_along_the_ray(generator):
    """Every analytic hit lies on the shape's surface: its implicit function is zero there."""
    origin = torch.randn(500, 3, generator=generator) * 0.3 + torch.tensor([0.0, -6.0, 0.5])
    direction = torch.nn.functional.normalize(
        torch.randn(500, 3, generator=generator) * 0.15 + torch.tensor([0.0, 1.0, 0.0]), dim=1
    )
    t, _ = raytrace.capsule(origin, direction, centre=torch.zeros(3), radius=0.6, half_length=0.8)
    hit = t.isfinite()
    point = (origin + direction * torch.where(hit, t, 0.0)[:, None])[hit]
    axis = torch.stack([torch.zeros(len(point)), torch.zeros(len(point)), point[:, 2].clamp(-0.8, 0.8)], 1)
    assert hit.sum() > 50 and torch.allclose((point - axis).norm(dim=1), torch.tensor(0.6), atol=1e-4)


def test_a_mistyped_world_is_named_with_the_nearest():
    with pytest.raises(InputError, match="did you mean 'shapes3d-twin'"):
        worlds.load("shapes3d-twn")


def test_a_factor_without_attributes_or_of_no_known_kind_is_refused():
    with pytest.raises(InputError, match="no attributes"):
        Factor("empty", ())
    with pytest.raises(InputError, match="'categorical', 'ordered' or 'cyclic'"):
        Factor("a", (1,), "circular")


def test_describe_says_that_a_twin_is_a_twin(room):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "procedural twin" in room.describe() and "480,000" in room.describe()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_renders_what_the_cpu_renders(room, generator):
    states = room.states(64, generator)
    card = worlds.load("shapes3d-twin", image_size=32, device="cuda").render(states).cpu()
    assert (card - room.render(states)).abs().max() < 0.02
