"""A small batched, analytic ray caster: one closed-form intersection per primitive, no meshes, CPU or GPU.

Rays are pairs (origin, direction) of tensors (..., 3); every parameter broadcasts against them, so one call
casts many scenes. With Lambert shading an image is *linear* in its surface colours,

    image = sum over surfaces of colour x weight map,

so `cast` returns the weight maps, and a world composites any colours from them with one product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Hit = tuple[Tensor, Tensor]  # distance (...,) with inf for a miss, unit normal (..., 3)
EPSILON = 1e-4
LIFT = 5e-3  # a shadow ray starts this far above its surface, or it would hit it again
SHARPNESS = 24.0  # exponent of Blinn's highlight: the larger, the smaller the spot


@dataclass(frozen=True)
class Surface:
    """A thing that rays hit. Surfaces with the same `label` share a colour, hence a weight map.

    Args:
        intersect: (origin, direction) -> (distance, normal).
        label: index of the weight map.
        opaque: whether it throws a shadow.
    """

    intersect: Callable[[Tensor, Tensor], Hit]
    label: int
    opaque: bool = False


def camera_rays(eye: Tensor, target: Tensor, *, size: int, field_of_view: float, supersampling: int) -> Hit:
    """Rays of a pinhole camera: origins (..., 1, 1, 3), directions (..., size * s, size * s, 3).

    Args:
        eye, target: (..., 3); the world's up is +z.
        size: pixels on a side.
        field_of_view: horizontal, in degrees.
        supersampling: s, rays per pixel and side.
    """
    forward = torch.nn.functional.normalize(target - eye, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], device=eye.device).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    above = torch.linalg.cross(right, forward)
    count = size * supersampling
    extent = torch.tan(torch.deg2rad(torch.tensor(field_of_view / 2))).item()
    ticks = ((torch.arange(count, device=eye.device) + 0.5) / count * 2 - 1) * extent
    columns, rows = ticks.view(1, count, 1), -ticks.view(count, 1, 1)
    spread = lambda v: v[..., None, None, :]  # noqa: E731 - one word for one shape
    direction = spread(forward) + columns * spread(right) + rows * spread(above)
    return spread(eye), torch.nn.functional.normalize(direction, dim=-1)


def cast(
    origin: Tensor,
    direction: Tensor,
    surfaces: list[Surface],
    *,
    light: Tensor,
    n_labels: int,
    behind: tuple[Tensor, Tensor, Tensor] | None = None,
    ambient: float = 0.35,
    shadow: float = 0.55,
    gloss: Tensor | None = None,
    supersampling: int = 1,
) -> Tensor:
    """Weight maps (..., n_labels, height, width) of a scene under one point light.

    Args:
        origin, direction: rays from `camera_rays`.
        surfaces: the scene.
        light: position (3,) of the light.
        n_labels: number of weight maps.
        behind: what `nearest` found for the surfaces that all scenes share, so that they are hit once.
        ambient: weight of a point that faces away from the light; the rest is Lambert's cosine.
        shadow: share of the direct light that a shadow takes away.
        gloss: (..., n_labels), how strongly each label's surface mirrors the light (Blinn 1977); if given, a last
            map, n_labels + 1 in all, holds these highlights, which have the light's colour and not the surface's.
        supersampling: as given to `camera_rays`; the maps are averaged down by it.
    """
    distance, normal, label = nearest(origin, direction, surfaces, behind)
    point = origin + direction * torch.where(distance.isinf(), 0.0, distance)[..., None]
    to_light = light - point
    length = to_light.norm(dim=-1)
    to_light = to_light / length[..., None]
    cosine = (normal * to_light).sum(-1).clamp_min(0)
    for surface in surfaces:
        if surface.opaque:
            blocked, _ = surface.intersect(point + normal * LIFT, to_light)
            cosine = torch.where(blocked < length, cosine * (1 - shadow), cosine)
    shade = ambient + (1 - ambient) * cosine
    maps = [torch.where((label == i) & distance.isfinite(), shade, 0.0) for i in range(n_labels)]
    if gloss is not None:
        half = torch.nn.functional.normalize(to_light - direction, dim=-1)
        spot = (normal * half).sum(-1).clamp_min(0) ** SHARPNESS * (cosine > 0)
        maps.append(sum((maps[i] > 0) * gloss[..., i, None, None] for i in range(n_labels)) * spot)
    maps = torch.stack(maps, -3)
    lead, rows, columns = maps.shape[:-2], maps.shape[-2], maps.shape[-1]
    blocks = maps.reshape(-1, 1, rows, columns)
    return torch.nn.functional.avg_pool2d(blocks, supersampling).reshape(
        *lead, rows // supersampling, columns // supersampling
    )


def nearest(
    origin: Tensor,
    direction: Tensor,
    surfaces: list[Surface],
    behind: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Distance, normal and label of the first surface along each ray, `behind` included."""
    distance, normal, label = behind or (
        torch.full(direction.shape[:-1], torch.inf, device=direction.device),
        torch.zeros_like(direction),
        torch.zeros(direction.shape[:-1], dtype=torch.int8, device=direction.device),
    )
    for surface in surfaces:
        t, n = surface.intersect(origin, direction)
        closer = t < distance
        distance = torch.where(closer, t, distance)
        normal = torch.where(closer[..., None], n, normal)
        label = label.masked_fill(closer, surface.label)
    return distance, normal, label


def plane(origin: Tensor, direction: Tensor, *, normal: tuple[float, float, float], offset: float) -> Hit:
    """The plane {x: normal . x = offset}, seen from the side its normal points to."""
    n = torch.tensor(normal, device=direction.device)
    slope = (direction * n).sum(-1)
    t = (offset - (origin * n).sum(-1)) / torch.where(slope.abs() < EPSILON, EPSILON, slope)
    return torch.where((t > EPSILON) & (slope < 0), t, torch.inf), n


def sphere(origin: Tensor, direction: Tensor, *, centre: Tensor, radius: Tensor | float) -> Hit:
    """A sphere: the smaller root of |o + t d - c|^2 = r^2 that lies ahead."""
    offset = origin - centre
    half = (offset * direction).sum(-1)
    discriminant = half**2 - ((offset**2).sum(-1) - radius**2)
    root = discriminant.clamp_min(0).sqrt()
    t = torch.where(-half - root > EPSILON, -half - root, -half + root)
    t = torch.where((discriminant > 0) & (t > EPSILON), t, torch.inf)
    return t, torch.nn.functional.normalize(_at(offset, direction, t), dim=-1)


def box(origin: Tensor, direction: Tensor, *, centre: Tensor, half: Tensor) -> Hit:
    """An axis-aligned box with half-extents (..., 3), by the slab method (seen from outside)."""
    offset = origin - centre
    inverse = 1 / torch.where(direction.abs() < 1e-9, 1e-9, direction)
    near_slabs = -offset * inverse - half * inverse.abs()
    far = (-offset * inverse + half * inverse.abs()).amin(-1)
    near, axis = near_slabs.max(-1)
    t = torch.where((near < far) & (near > EPSILON), near, torch.inf)
    face = torch.nn.functional.one_hot(axis, 3) * -direction.sign()
    return t, face


def cylinder(
    origin: Tensor, direction: Tensor, *, centre: Tensor, radius: Tensor | float, half_height: Tensor | float
) -> Hit:
    """An upright cylinder (axis +z) with both caps."""
    offset = origin - centre
    side, normal = _tube(offset, direction, radius, half_height)
    z, slope = offset[..., 2], direction[..., 2]
    slope = torch.where(slope.abs() < 1e-9, 1e-9, slope)
    cap = (-slope.sign() * half_height - z) / slope  # the cap that faces the ray
    on_cap = _at(offset, direction, cap)[..., :2].norm(dim=-1) < radius
    cap = torch.where(on_cap & (cap > EPSILON), cap, torch.inf)
    up = torch.zeros_like(normal)
    up[..., 2] = -slope.sign()
    return torch.minimum(side, cap), torch.where((cap < side)[..., None], up, normal)


def capsule(
    origin: Tensor, direction: Tensor, *, centre: Tensor, radius: Tensor | float, half_length: Tensor | float
) -> Hit:
    """An upright capsule: a tube of half-length `half_length` closed by two half-spheres."""
    offset = origin - centre
    t, normal = _tube(offset, direction, radius, half_length)
    up = torch.tensor([0.0, 0.0, 1.0], device=direction.device)
    for sign in (1.0, -1.0):
        shift = (
            up * (half_length * sign)[..., None]
            if isinstance(half_length, Tensor)
            else up * half_length * sign
        )
        other, other_normal = sphere(offset, direction, centre=shift, radius=radius)
        closer = other < t
        t, normal = torch.where(closer, other, t), torch.where(closer[..., None], other_normal, normal)
    return t, normal


def rod(origin: Tensor, direction: Tensor, *, start: Tensor, end: Tensor, radius: float) -> Hit:
    """A capsule between any two points (..., 3): the tube between them, a sphere at each."""
    axis = end - start
    length = axis.norm(dim=-1, keepdim=True)
    axis = axis / length
    offset = origin - start
    along, slope = (offset * axis).sum(-1, keepdim=True), (direction * axis).sum(-1, keepdim=True)
    o, d = offset - along * axis, direction - slope * axis  # across the axis, where the tube is a circle
    a = (d**2).sum(-1).clamp_min(1e-9)
    half = (o * d).sum(-1)
    discriminant = half**2 - a * ((o**2).sum(-1) - radius**2)
    t = (-half - discriminant.clamp_min(0).sqrt()) / a
    place = along[..., 0] + t * slope[..., 0]
    t = torch.where((discriminant > 0) & (t > EPSILON) & (place >= 0) & (place <= length[..., 0]), t, torch.inf)
    normal = torch.nn.functional.normalize(_at(o, d, t), dim=-1)
    for centre in (start, end):
        other, other_normal = sphere(origin, direction, centre=centre, radius=radius)
        closer = other < t
        t, normal = torch.where(closer, other, t), torch.where(closer[..., None], other_normal, normal)
    return t, normal


def cone(origin: Tensor, direction: Tensor, *, centre: Tensor, radius: float, half_height: float) -> Hit:
    """An upright cone, its apex up: base of `radius` at -half_height below `centre` (..., 3)."""
    ratio = radius / (2 * half_height)
    o, d = origin - centre, direction
    depth = half_height - o[..., 2]  # below the apex; x^2 + y^2 = (ratio depth)^2 on the mantle
    slope = -d[..., 2]
    a = (d[..., :2] ** 2).sum(-1) - (ratio * slope) ** 2
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    half = (o[..., :2] * d[..., :2]).sum(-1) - ratio**2 * depth * slope
    root = (half**2 - a * ((o[..., :2] ** 2).sum(-1) - (ratio * depth) ** 2)).clamp_min(0).sqrt()
    t = torch.full_like(half, torch.inf)
    for candidate in ((-half - root) / a, (-half + root) / a):
        below = depth + candidate * slope
        on_mantle = (root > 0) & (candidate > EPSILON) & (below >= 0) & (below <= 2 * half_height)
        t = torch.where(on_mantle, torch.minimum(t, candidate), t)
    point = _at(o, d, t)
    rise = ratio * point[..., :2].norm(dim=-1, keepdim=True)
    normal = torch.nn.functional.normalize(torch.cat([point[..., :2], rise], dim=-1), dim=-1)
    fall = torch.where(d[..., 2].abs() < 1e-9, 1e-9, d[..., 2])
    base = (-half_height - o[..., 2]) / fall
    on_base = (base > EPSILON) & (_at(o, d, base)[..., :2].norm(dim=-1) < radius)
    base = torch.where(on_base & (d[..., 2] > 0), base, torch.inf)  # seen from below only
    down = torch.zeros_like(normal)
    down[..., 2] = -1.0
    return torch.minimum(t, base), torch.where((base < t)[..., None], down, normal)


def convex(origin: Tensor, direction: Tensor, *, centre: Tensor, normals: Tensor, offsets: Tensor) -> Hit:
    """A convex solid {x: normals (P, 3) . (x - centre) <= offsets (P,)}, by the slab method (seen from outside)."""
    facing = direction @ normals.T
    height = offsets - (origin - centre) @ normals.T
    t = height / torch.where(facing.abs() < 1e-9, 1e-9, facing)
    near, face = torch.where(facing < 0, t, -torch.inf).max(-1)
    far = torch.where(facing >= 0, t, torch.inf).amin(-1)
    return torch.where((near < far) & (near > EPSILON), near, torch.inf), normals[face]


def prism(sides: int, *, radius: float, half_height: float) -> tuple[Tensor, Tensor]:
    """Normals (sides + 2, 3) and offsets of an upright prism; `radius` is that of the corners."""
    angles = torch.arange(sides) * (2 * torch.pi / sides)
    walls = torch.stack([angles.cos(), angles.sin(), torch.zeros(sides)], dim=1)
    caps = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    inner = radius * torch.cos(torch.tensor(torch.pi / sides)).item()
    return torch.cat([walls, caps]), torch.cat([torch.full((sides,), inner), torch.full((2,), half_height)])


def pyramid(sides: int, *, radius: float, half_height: float) -> tuple[Tensor, Tensor]:
    """Normals (sides + 1, 3) and offsets of a pyramid, its apex up; `radius` is that of the base's corners."""
    angles = torch.arange(sides) * (2 * torch.pi / sides)
    inner = radius * torch.cos(torch.tensor(torch.pi / sides)).item()
    walls = torch.stack([angles.cos(), angles.sin(), torch.full((sides,), inner / (2 * half_height))], dim=1)
    walls = torch.nn.functional.normalize(walls, dim=1)
    return torch.cat([walls, torch.tensor([[0.0, 0.0, -1.0]])]), torch.cat(
        [walls[:, 2] * half_height, torch.tensor([half_height])]
    )


def _tube(offset: Tensor, direction: Tensor, radius: Tensor | float, half_height: Tensor | float) -> Hit:
    """The open side of an upright cylinder around the origin."""
    o, d = offset[..., :2], direction[..., :2]
    a = (d**2).sum(-1).clamp_min(1e-9)
    half = (o * d).sum(-1)
    discriminant = half**2 - a * ((o**2).sum(-1) - radius**2)
    t = (-half - discriminant.clamp_min(0).sqrt()) / a
    inside = (offset[..., 2] + t * direction[..., 2]).abs() <= half_height
    t = torch.where((discriminant > 0) & (t > EPSILON) & inside, t, torch.inf)
    normal = torch.zeros(*t.shape, 3, device=t.device)
    normal[..., :2] = torch.nn.functional.normalize(_at(offset, direction, t)[..., :2], dim=-1)
    return t, normal


def _at(offset: Tensor, direction: Tensor, t: Tensor) -> Tensor:
    """The point at distance t; misses stay finite so that no NaN enters a normal."""
    return offset + direction * torch.where(t.isfinite(), t, 0.0)[..., None]
