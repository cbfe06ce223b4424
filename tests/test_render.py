"""Tracers against closed forms, the hit point's derivatives against finite differences, renderings against shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from protome.field.analytic import box, field_of, smooth_union, sphere
from protome.field.field import SdfFn, surface_by_autograd
from protome.field.grid import SdfGrid
from protome.field.head import HeadField, HeadFieldConfig
from protome.fit.placement import Placement
from protome.geometry.camera import Camera, Rays
from protome.render.grid import grid_tracer
from protome.render.idr import idr_tracer
from protome.render.render import render
from protome.render.surface import hit_points
from protome.render.trace import Tracer, box_span, parallel_tracer, sphere_tracer

BOUNDS = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
EXACT: dict[str, Any] = {"tolerance": 1e-4, "corrections": 12}
TRACERS: dict[str, Callable[[SdfFn], Tracer]] = {
    "parallel": lambda _: parallel_tracer(),
    "sphere": lambda _: sphere_tracer(),
    "idr": lambda _: idr_tracer(),
    "grid": lambda sdf: grid_tracer(SdfGrid.of(sdf, BOUNDS, 0.06), **EXACT),
    # The grid of a head that has since moved and grown: further than one step of a fit takes it.
    "misled": lambda sdf: grid_tracer(SdfGrid.of(lambda x: sdf(x + 0.02) + 0.01, BOUNDS, 0.06), **EXACT),
}


def sphere_hits(rays: Rays, centre: Tensor, radius: float | Tensor) -> tuple[Tensor, Tensor]:
    """Closed form: which rays meet a sphere, and at which distance."""
    offset = rays.origins - centre
    b = (offset * rays.directions).sum(1)
    discriminant = b**2 - (offset.square().sum(1) - radius**2)
    return discriminant > 0, -b - discriminant.clamp(min=0).sqrt()


@dataclass(frozen=True)
class Case:
    """A shape with known hits."""

    sdf: SdfFn
    truth: Callable[[Rays], tuple[Tensor, Tensor]]
    """Whether, and at which distance, a ray meets the shape."""


def _box_hits(rays: Rays) -> tuple[Tensor, Tensor]:
    span = box_span(rays, torch.tensor([[-0.4, -0.3, -0.2], [0.4, 0.3, 0.2]]))
    return span.crosses, span.near


def _two_spheres(rays: Rays) -> tuple[Tensor, Tensor]:
    left = sphere_hits(rays, torch.tensor([-0.4, 0.0, 0.0]), 0.3)
    right = sphere_hits(rays, torch.tensor([0.4, 0.0, 0.2]), 0.25)
    depths = torch.stack([torch.where(hit, depth, torch.inf) for hit, depth in (left, right)])
    return left[0] | right[0], depths.amin(0)


CASES = {
    "sphere": Case(sphere((0.1, -0.1, 0.0), 0.5), lambda rays: sphere_hits(rays, torch.tensor([0.1, -0.1, 0.0]), 0.5)),
    "box": Case(box((0.0, 0.0, 0.0), (0.4, 0.3, 0.2)), _box_hits),
    # Far apart compared with the softness, the smooth union is the union.
    "union": Case(smooth_union(sphere((-0.4, 0, 0), 0.3), sphere((0.4, 0, 0.2), 0.25), 1e-3), _two_spheres),
}


def camera(size: int = 48) -> Camera:
    return Camera.look_at(torch.tensor([0.6, 0.5, 2.0]), torch.tensor([0.0, 0.0, 0.0]), 1.2 * size, size, size)


@pytest.mark.parametrize("made", TRACERS.values(), ids=TRACERS.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_tracers_find_the_closed_form_hits(case: Case, made: Callable[[SdfFn], Tracer]) -> None:
    rays = camera().rays()
    hit, depth = case.truth(rays)
    trace = made(case.sdf)(case.sdf, rays, box_span(rays, BOUNDS))
    lowest = case.sdf(rays.at(trace.depth))
    # Rays that graze within 2 % of the size may fall on either side.
    clear = (hit & (case.sdf(rays.at(depth.where(hit, 0.0) + 0.02)) < -0.005)) | (~hit & (lowest > 0.01))
    assert clear.sum() > 0.9 * len(rays)
    assert torch.equal(trace.hit[clear], hit[clear])
    assert hit.sum() > 200
    both = clear & hit
    # A hit within 2e-4 of the surface is within 1e-3 along a ray that meets it at a cosine of 0.2.
    assert float(case.sdf(rays.at(trace.depth))[both].abs().max()) < 2.1e-4
    assert float((trace.depth - depth)[both].abs().max()) < 1e-3
    assert not trace.started_inside.any()


@pytest.mark.parametrize("made", TRACERS.values(), ids=TRACERS.keys())
def test_a_miss_reports_where_the_ray_came_closest(made: Callable[[SdfFn], Tracer]) -> None:
    origins = torch.tensor([[0.0, 0.7, 2.0], [0.3, 0.8, 2.0]])
    rays = Rays(origins, torch.tensor([[0.0, 0.0, -1.0]]).expand(2, 3))
    ball = sphere((0, 0, 0), 0.5)
    trace = made(ball)(ball, rays, box_span(rays, BOUNDS))
    assert not trace.hit.any()
    # A ray parallel to z comes closest at z = 0.
    low = rays.at(trace.depth).norm(dim=1) - 0.5
    torch.testing.assert_close(low, origins[:, :2].norm(dim=1) - 0.5, atol=0, rtol=0.02)
    assert float((trace.lowest - low).abs().max()) < 0.06  # a cell of the grid


@pytest.mark.parametrize("made", TRACERS.values(), ids=TRACERS.keys())
def test_rays_that_start_inside_or_miss_the_box_hit_nothing(made: Callable[[SdfFn], Tracer]) -> None:
    origins = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 2.0]])
    rays = Rays(origins, torch.tensor([[0.0, 0.0, -1.0]]).expand(2, 3))
    ball = sphere((0, 0, 0), 0.5)
    trace = made(ball)(ball, rays, box_span(rays, BOUNDS))
    assert trace.hit.tolist() == [False, False]
    assert trace.started_inside.tolist() == [True, False]


def test_box_span_is_the_slab_formula() -> None:
    rays = Rays(torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 3.0]]),
                torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))  # fmt: skip
    span = box_span(rays, BOUNDS)
    torch.testing.assert_close(span.near[:2], torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(span.far[:2], torch.tensor([4.0, 1.0]))
    assert span.crosses.tolist() == [True, True, False]


def _differences(value: Callable[[Tensor], Tensor], at: Tensor, step: float) -> Tensor:
    """Central differences of a scalar function."""
    slopes = []
    for index in range(at.numel()):
        shift = torch.zeros_like(at).view(-1)
        shift[index] = step
        shift = shift.view_as(at)
        slopes.append((value(at + shift) - value(at - shift)) / (2 * step))
    return torch.stack(slopes).view_as(at)


def test_hit_point_moves_with_a_radius_as_the_closed_form_does() -> None:
    rays = camera(16).rays()
    rays = Rays(rays.origins.double(), rays.directions.double())
    hit, depth = sphere_hits(rays, torch.zeros(3, dtype=torch.float64), 0.5)
    rays, depth = rays[hit], depth[hit]
    radius = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    points = hit_points(surface_by_autograd(sphere((0, 0, 0), radius)), rays, depth)
    torch.testing.assert_close(points, rays.at(depth), atol=1e-5, rtol=0)
    (slope,) = torch.autograd.grad(points.sum(), radius)

    def reach(r: Tensor) -> Tensor:
        return rays.at(sphere_hits(rays, torch.zeros(3, dtype=torch.float64), r)[1]).sum()

    torch.testing.assert_close(
        slope, _differences(reach, torch.tensor(0.5, dtype=torch.float64), 1e-6), rtol=1e-5, atol=0
    )


def test_a_coarse_depth_is_improved_by_a_newton_step() -> None:
    rays = camera(16).rays()
    hit, depth = sphere_hits(rays, torch.zeros(3), 0.5)
    clear = hit & (sphere_hits(rays, torch.zeros(3), 0.45)[0])
    points = hit_points(surface_by_autograd(sphere((0, 0, 0), 0.5)), rays[clear], depth[clear] - 0.01)
    assert float((points.detach().norm(dim=1) - 0.5).abs().max()) < 1e-3


def _head() -> HeadField:
    torch.manual_seed(3)
    config = HeadFieldConfig(
        latent=6, feature=4, deformation_width=24, deformation_depth=3, deformation_frequencies=2, reference_width=64,
        reference_depth=3, reference_frequencies=3, renderer_width=24, renderer_depth=3, renderer_frequencies=3,
        centre=(0.0, 0.0, 0.0), radius=0.5,
    )  # fmt: skip
    head = HeadField(config).double()
    with torch.no_grad():
        assert head.deformation is not None
        head.deformation.last.weight.mul_(8)
    return head


class Pixel:
    """One rendered pixel of a head as a function of a latent, a weight or the camera, by brute force."""

    def __init__(self) -> None:
        self.head = _head()
        generator = torch.Generator().manual_seed(5)
        self.z = 0.5 * torch.randn(6, generator=generator, dtype=torch.float64)
        self.z_colour = torch.randn(6, generator=generator, dtype=torch.float64)
        self.view = Camera.look_at(torch.tensor([0.3, 0.2, 2.0]).double(), torch.zeros(3).double(), 40.0, 32, 32)
        self.spot = torch.tensor([[17.3, 14.6]]).double()

    def rays(self, twist: Tensor) -> Rays:
        placement = Placement(1, torch.zeros(3).double()).double()
        plain = self.view.rays(self.spot)
        values = {"rotation": twist[None, :3], "shift": twist[None, 3:]}
        named = {f"inner.{key}": value for key, value in values.items()}
        return torch.func.functional_call(_Mover(placement), named, (plain,))

    def exact_depth(self, sdf: SdfFn, rays: Rays) -> Tensor:
        """First zero by fine sampling and bisection in double precision."""
        depths = torch.linspace(1.0, 3.0, 2001, dtype=torch.float64)
        with torch.no_grad():
            values = sdf(rays.origins + depths[:, None] * rays.directions)
            first = int(((values[:-1] > 0) & (values[1:] <= 0)).float().argmax())
            low, high = depths[first], depths[first + 1]
            for _ in range(60):
                middle = (low + high) / 2
                outside = bool(sdf(rays.at(middle[None])) > 0)
                low, high = (middle, high) if outside else (low, middle)
        return ((low + high) / 2)[None]

    def colour(self, z: Tensor, twist: Tensor) -> Tensor:
        field = self.head.bind(z, self.z_colour)
        rays = self.rays(twist)
        depth = self.exact_depth(field.sdf, Rays(rays.origins.detach(), rays.directions.detach()))
        points = hit_points(field.surface, rays, depth)
        at = field.surface(points)
        value = field.colour(points, at.normals, rays.directions, at.feature)
        return (value * torch.tensor([1.0, 2.0, 3.0]).double()).sum() + (points * torch.tensor([0.3, 0.5, 0.7])).sum()


class _Mover(torch.nn.Module):
    def __init__(self, inner: Placement) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, rays: Rays) -> Rays:
        return self.inner.move(rays, torch.zeros(len(rays), dtype=torch.long))


def test_pixel_gradient_in_the_latent_matches_finite_differences() -> None:
    pixel, fixed = Pixel(), torch.zeros(6).double()
    z = pixel.z.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(pixel.colour(z, fixed), z)
    truth = _differences(lambda moved: pixel.colour(moved, fixed).detach(), pixel.z, 1e-5)
    torch.testing.assert_close(slope, truth, rtol=2e-4, atol=1e-7)
    assert float(truth.abs().max()) > 1e-3


def test_pixel_gradient_in_the_weights_matches_finite_differences() -> None:
    pixel, fixed = Pixel(), torch.zeros(6).double()
    deformation = pixel.head.deformation
    assert deformation is not None
    assert deformation.condition is not None
    chosen: dict[str, Tensor] = {
        "deformation hidden": next(deformation.hidden[0].parameters()),
        "deformation condition": deformation.condition.weight,
        "reference first": pixel.head.reference.first.weight,
        "renderer last": pixel.head.renderer.last.weight,
    }
    slopes = torch.autograd.grad(pixel.colour(pixel.z, fixed), list(chosen.values()))
    for (name, weight), slope in zip(chosen.items(), slopes, strict=True):
        flat = int(slope.abs().argmax())
        place = (flat // slope.shape[1], flat % slope.shape[1])

        def value(shifted: Tensor, weight: Tensor = weight, place: tuple[int, int] = place) -> Tensor:
            with torch.no_grad():
                kept = weight[place].clone()
                weight[place] = shifted
                result = pixel.colour(pixel.z, fixed)
                weight[place] = kept
            return result

        truth = _differences(value, weight[place].detach().clone(), 1e-6)
        torch.testing.assert_close(slope[place], truth, rtol=1e-3, atol=1e-8, msg=name)


def test_pixel_gradient_in_the_camera_matches_finite_differences() -> None:
    pixel = Pixel()
    twist = torch.tensor([0.02, -0.03, 0.01, 0.01, 0.02, -0.01]).double()
    moved = twist.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(pixel.colour(pixel.z, moved), moved)
    truth = _differences(lambda t: pixel.colour(pixel.z, t).detach(), twist, 1e-5)
    torch.testing.assert_close(slope, truth, rtol=1e-3, atol=1e-7)
    assert int((truth.abs() > 1e-3).sum()) >= 6


# Fields that are zero where they should be and are no distances elsewhere.

UNEVEN: dict[str, SdfFn] = {
    "flat": lambda x: 0.05 * sphere((0.1, -0.1, 0.0), 0.5)(x),
    # Steps as long as the values jump over the plate: from almost all sides at the first step.
    "steep": lambda x: 5 * box((0.0, 0.0, 0.0), (0.4, 0.4, 0.03))(x),
    "bumpy": lambda x: sphere((0.0, 0.0, 0.0), 0.5)(x) + 0.04 * torch.sin(12 * x).prod(-1),
    # A third as steep as a distance near the surface, three times as steep far from it.
    "bent": lambda x: (lambda d: d * (0.3 + 3 * d.abs()))(sphere((0.0, 0.1, 0.0), 0.4)(x)),
    "union": lambda x: 3 * smooth_union(sphere((-0.4, 0, 0), 0.2), sphere((0.3, 0, 0.3), 0.15), 0.05)(x),
}


def _lost(sdf: SdfFn, tracer: Tracer) -> tuple[Tensor, Tensor]:
    """Return which rays dense sampling hits and a tracer does not, and the distances between the hits of the others.

    Rays that graze the surface count as hit where they are still inside a hundredth behind the hit.
    """
    rays = camera(64).rays()
    span = box_span(rays, BOUNDS)
    naive, own = parallel_tracer(400)(sdf, rays, span), tracer(sdf, rays, span)
    clear = naive.hit & (sdf(rays.at(naive.depth + 0.01)) < 0)
    assert clear.sum() > 200
    assert not bool((own.hit & ~naive.hit & (sdf(rays.at(own.depth)).abs() > 2.1e-4)).any())
    return clear & ~own.hit, (own.depth - naive.depth)[clear & own.hit].abs()


@pytest.mark.parametrize("name", UNEVEN)
def test_sphere_tracing_hits_every_ray_that_dense_sampling_hits(name: str) -> None:
    lost, apart = _lost(UNEVEN[name], sphere_tracer())
    assert not lost.any()
    # A hit within 2e-4 of the surface is further along the ray where the ray grazes it.
    assert float(apart.median()) < 2e-4
    assert float((apart < 5e-3).float().mean()) > 0.99
    # Two samples are the ends of the ray, which show nothing: without the search, hits are lost or misplaced.
    given_up, misplaced = _lost(UNEVEN[name], sphere_tracer(samples=2))
    assert int(given_up.sum()) + int((misplaced > 5e-3).sum()) > (0 if name == "bumpy" else 10)


@pytest.mark.parametrize("name", ["flat", "bumpy"])
def test_idrs_tracer_samples_the_rays_whose_ends_do_not_settle(name: str) -> None:
    lost, apart = _lost(UNEVEN[name], idr_tracer())
    assert not lost.any()
    assert float(apart.quantile(0.99)) < 5e-4
    given_up, _ = _lost(UNEVEN[name], idr_tracer(samples=2))
    assert given_up.sum() > 200


def test_idrs_tracer_misses_where_its_ends_pass_each_other_and_reports_the_lowest_sample() -> None:
    sdf, rays = UNEVEN["steep"], camera(16).rays()
    span = box_span(rays, BOUNDS)
    trace = idr_tracer()(sdf, rays, span)
    assert not trace.hit.any()
    fractions = torch.linspace(0, 1, 100)
    for index in (16 * 8 + 8, 16 * 7 + 9, 3):
        depths = span.near[index] + (span.far - span.near)[index] * fractions
        values = sdf(rays.origins[index] + depths[:, None] * rays.directions[index])
        torch.testing.assert_close(trace.depth[index], depths[values.argmin()])
        torch.testing.assert_close(trace.lowest[index], values.min())


def test_idrs_near_end_halves_a_step_that_lands_inside() -> None:
    # Along z the values fall 1.5 times as fast as a distance does: the first step, from 1 to -0.5, is halved.
    asked: list[float] = []

    def plane(points: Tensor) -> Tensor:
        asked.extend(points[:, 2].tolist())
        return 1.5 * (points[:, 2] - 1 / 3)

    rays = Rays(torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[0.0, 0.0, -1.0]]))
    trace = idr_tracer()(plane, rays, box_span(rays, BOUNDS))
    assert asked[:5] == pytest.approx([1.0, -1.0, 0.0, 0.5, 0.5 - 0.25])
    assert trace.hit.tolist() == [True]
    assert float(trace.depth[0]) == pytest.approx(2 - 1 / 3, abs=1e-4)


SLOPES = {
    **dict.fromkeys(TRACERS, (0.3, 1.0)),
    # What neither the field's slope nor a grid of it leads astray.
    **dict.fromkeys(("parallel", "sphere"), (0.3, 1.0, 3.0)),
}


@pytest.mark.parametrize(("name", "slope"), [(name, slope) for name, all_ in SLOPES.items() for slope in all_])
def test_rendering_of_a_sphere_is_a_disc_with_its_depth_and_normals(name: str, slope: float) -> None:
    def ball(points: Tensor) -> Tensor:
        return slope * sphere((0, 0, 0), 0.5)(points)

    view = Camera.look_at(torch.tensor([0.0, 0.0, 2.0]), torch.zeros(3), 60.0, 64, 64)
    image = render(field_of(ball), view, BOUNDS, tracer=TRACERS[name](ball), background=0.25)
    hit, depth = sphere_hits(view.rays(), torch.zeros(3), 0.5)
    assert float((image.mask.reshape(-1) != hit).float().mean()) < 0.01
    # The silhouette of a sphere of radius r at distance d has the radius f r / sqrt(d^2 - r^2).
    assert math.isclose(float(image.mask.sum()), math.pi * (60 * 0.5 / math.sqrt(3.75)) ** 2, rel_tol=0.02)
    clear = image.mask.reshape(-1) & hit & (depth < 1.8)
    torch.testing.assert_close(image.depth.reshape(-1)[clear], depth[clear], atol=2e-4, rtol=0)
    truth = torch.nn.functional.normalize(view.rays().at(depth), dim=1)
    torch.testing.assert_close(image.normal.reshape(-1, 3)[clear], truth[clear], atol=2e-3, rtol=0)
    torch.testing.assert_close(image.colour.reshape(-1, 3)[clear], 0.5 + 0.5 * truth[clear], atol=1e-3, rtol=0)
    assert torch.isinf(image.depth[0, 0])
    assert image.colour[0, 0].tolist() == [0.25, 0.25, 0.25]


def test_rendering_uses_sphere_tracing_by_default_and_settles_every_pixel() -> None:
    view = camera(64)
    image = render(field_of(UNEVEN["flat"]), view, BOUNDS)
    hit, _ = sphere_hits(view.rays(), torch.tensor([0.1, -0.1, 0.0]), 0.5)
    assert not bool((hit & ~image.mask.reshape(-1)).any())
    # Within the tolerance, 4 mm per metre from the ball, a ray counts as a hit.
    assert int((~hit & image.mask.reshape(-1)).sum()) < 0.05 * int(hit.sum())
