"""Grids, caches and fits that use them: against the fields themselves and against the fit that spares nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from heads import draw_person, photograph, some_world
from protome.field.analytic import sphere
from protome.field.field import SdfFn
from protome.field.grid import SdfGrid
from protome.fit.config import FitConfig
from protome.fit.latents import LatentBasis
from protome.fit.rays import pixel_table
from protome.fit.reconstruct import _Fit, new_fit, step_losses
from protome.fit.schedule import background_share
from protome.fit.tracing import HeadTracer, TracingConfig
from protome.geometry.camera import Camera, Rays
from protome.render.cache import SdfCache
from protome.render.trace import Trace, box_span, parallel_tracer
from protome.scene import Scene
from protome.units import UNIT_MM

BOUNDS = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
BALL = sphere((0.1, 0.0, 0.0), 0.5)


def _points(count: int, seed: int = 0) -> Tensor:
    return 2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 1


def test_a_grid_is_exact_for_a_plane_and_close_for_a_sphere_near_its_surface() -> None:
    points = _points(2000)
    plane = SdfGrid.of(lambda x: x @ torch.tensor([0.6, 0.0, 0.8]) - 0.1, BOUNDS, 0.1)
    torch.testing.assert_close(plane.at(points), points @ torch.tensor([0.6, 0.0, 0.8]) - 0.1, atol=1e-5, rtol=0)
    assert plane.step == pytest.approx(0.1)
    ball = SdfGrid.of(BALL, BOUNDS, 0.05)
    near = BALL(points).abs() < 0.05
    assert near.sum() > 20
    # Linear interpolation over a cell of width h of a sphere of radius r is off by at most 3 h^2 / (8 r).
    assert float((ball.at(points) - BALL(points))[near].abs().max()) < 3 * 0.05**2 / (8 * 0.45)
    # Outside the box the nearest side is what counts.
    assert float(ball.at(torch.tensor([3.0, 0.0, 0.0]))) == pytest.approx(float(ball.at(torch.tensor([1.0, 0.0, 0.0]))))


def test_the_cache_is_used_far_from_the_surface_and_the_field_near_it() -> None:
    points = _points(4000)
    cache = SdfCache(BOUNDS, torch.Generator().manual_seed(0), size=16, refresh=0.0)
    first = cache.wrap(BALL)
    torch.testing.assert_close(first(points), BALL(points))  # nothing is remembered yet
    assert cache.evaluated == cache.total == 4000
    second = cache.wrap(lambda x: BALL(x) + 10)
    values = second(points)
    fresh = (values - BALL(points) - 10).abs() < 1e-5
    # What is remembered is a value of the same voxel: off by the voxel's diagonal at most.
    assert float((values - BALL(points))[~fresh].abs().max()) < 2 / 16 * 3**0.5
    near = BALL(points).abs() < 0.1 - 2 / 16 * 3**0.5 / 2
    assert bool(fresh[near].all())
    far = BALL(points).abs() > 0.1 + 2 / 16 * 3**0.5
    assert bool((~fresh[far]).all())


def test_the_cache_is_refreshed_with_its_probability() -> None:
    points = 0.02 * _points(20_000) + 0.9  # one voxel, far outside
    cache = SdfCache(BOUNDS, torch.Generator().manual_seed(1), size=8, refresh=0.2)
    cache.wrap(BALL)(points[:1])
    cache.wrap(BALL)(points)
    assert (cache.evaluated - 1) / 20_000 == pytest.approx(0.2, abs=0.015)


def test_the_cache_is_the_papers_grid_and_its_threshold_is_a_share_of_the_box() -> None:
    # The paper's scenes fill a box of half side 1; this one's is 3, so its 0.1 is 0.3 here.
    bounds = torch.tensor([[-3.0, -2.0, -1.0], [3.0, 2.0, 1.0]])
    cache = SdfCache(bounds, torch.Generator().manual_seed(0))
    assert (cache.size, cache.refresh) == (64, 0.2)
    assert len(cache.values) == 64**3
    points = torch.tensor([[2.9, 1.9, 0.9]]).expand(1000, 3)
    for value, share in ((0.29, 1.0), (0.31, 0.2), (-0.29, 1.0), (-0.31, 0.2)):
        cache.values.fill_(value)
        before = cache.evaluated

        def constant(x: Tensor, value: float = value) -> Tensor:
            return torch.full((len(x),), value)

        cache.wrap(constant)(points)
        assert (cache.evaluated - before) / 1000 == pytest.approx(share, abs=0.05), value
    # Neighbouring voxels, a 64th of a side apart, remember each their own.
    cache = SdfCache(bounds, torch.Generator().manual_seed(0), refresh=0.0)
    row = torch.stack([-3 + 6 / 64 * (torch.arange(64) + 0.5), torch.zeros(64), torch.zeros(64)], 1)
    cache.wrap(lambda x: x[:, 0].abs() + 1)(row)
    assert torch.equal(cache.wrap(lambda x: x[:, 0] * torch.nan)(row), row[:, 0].abs() + 1)


def test_half_precision_is_not_used_on_a_processor() -> None:
    rays = Camera.look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), 60.0, 48, 48).rays()
    field = PERSON.prior.bind(PERSON.prior.mean())
    modes: set[bool] = set()

    def watched(points: Tensor) -> Tensor:
        modes.update((torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")))
        return field.sdf(points)

    traces = [
        HeadTracer(TracingConfig("parallel", half=half), MODELLED, torch.Generator())(watched, rays)
        for half in (False, True)
    ]
    assert modes == {False}
    assert traces[0].hit.sum() > 100
    for key in ("hit", "depth", "lowest", "started_inside"):
        assert torch.equal(getattr(traces[0], key), getattr(traces[1], key)), key


def test_background_is_dropped_at_the_papers_milestones() -> None:
    # 12 % every 250 of the first 1000 of 2000 epochs.
    shares = [background_share(epoch / 2000, 0.12) for epoch in (0, 249, 250, 500, 750, 1000, 1999)]
    assert shares == pytest.approx([1, 1, 0.88, 0.88**2, 0.88**3, 0.88**4, 0.88**4])
    assert background_share(0.9, 0.0) == 1.0


def test_dropped_pixels_are_all_background() -> None:
    person = draw_person(seed=5, resolution=64, temperature=0.6)
    scene = photograph(person, (0.0,), 64, some_world()).in_head_frame()
    table = pixel_table(scene, person.prior.bounds, 64)
    every, few = (table.draw(6000, torch.Generator().manual_seed(0), share) for share in (1.0, 0.25))
    people, rest = ((batch.mask > 0.5).sum() for batch in (every, few))
    assert people == rest
    background = [int((batch.mask < 0.5).sum()) for batch in (every, few)]
    assert background[1] / background[0] == pytest.approx(0.25, abs=0.04)


def _everywhere(sdf: SdfFn, rays: Rays) -> Trace:
    """The naive way: every ray is sampled every two millimetres."""
    rays = Rays(rays.origins.detach(), rays.directions.detach())
    return parallel_tracer(400)(sdf, rays, box_span(rays, MODELLED))


PERSON = draw_person(seed=5, resolution=96, temperature=0.7)
MODELLED = PERSON.prior.bounds
TRACERS: dict[str, Any] = {
    "naive": _everywhere,
    **{
        name: HeadTracer(config, MODELLED, torch.Generator().manual_seed(0))
        for name, config in {
            "sphere": TracingConfig("sphere"),
            "idr": TracingConfig("idr"),
            "parallel": TracingConfig("parallel"),
            "grid": TracingConfig("grid"),
            "baked": TracingConfig("grid"),
            "cached": TracingConfig("parallel", cache=True),
        }.items()
    },
}


def _new_fit(scene: Scene, name: str) -> _Fit:
    tracing = TracingConfig(baked_mm=3.0 if name == "baked" else 0.0)
    fit = new_fit(scene, PERSON.prior, FitConfig(tracing=tracing), seed=3)
    fit.tracers = [TRACERS[name]]
    return fit


def _alike(trace: Trace, naive: Trace) -> Tensor:
    """Return whether both hit, or pass, within two millimetres of the same place, per ray.

    A ray that comes within a tolerance of the surface is a hit to one tracer and a miss to another, and a ray that
    passes two slopes equally near has two lowest points: either's loss is right, and their gradients have nothing
    in common. Such rays are few, and which ones they are is a matter of rounding. Far from the surface, where the
    loss is flat, the place does not matter.
    """
    near = (trace.depth - naive.depth).abs() < 2 / UNIT_MM
    return (trace.hit == naive.hit) & (near | (naive.lowest > 20 / UNIT_MM))


@dataclass(frozen=True)
class _Found:
    same_hits: float
    """Share of the rays that hit where the naive way hits and miss where it misses."""
    every: dict[str, float]
    """Loss terms of all the rays."""
    alike: dict[str, float]
    """The same of the rays that every tracer traces alike."""
    slope: Tensor
    """Gradient of these in the latents and the place."""


@pytest.fixture(scope="module")
def found() -> dict[str, _Found]:
    """What every tracer finds on the same rays."""
    scene = photograph(PERSON, (0.0, 50.0), 96, some_world()).in_head_frame()
    batch = pixel_table(scene, MODELLED, 96).draw(900, torch.Generator().manual_seed(2))
    fits = {name: _new_fit(scene, name) for name in TRACERS}
    traces = {name: fit.bind().trace(fit.rays(batch), batch.view) for name, fit in fits.items()}
    naive = traces["naive"]
    alike = batch[torch.stack([_alike(trace, naive) for trace in traces.values()]).all(0)]
    assert len(alike) > 0.8 * len(batch)
    found = {}
    for name, fit in fits.items():
        every, terms = (step_losses(fit, rays, 100.0, torch.Generator().manual_seed(0)) for rays in (batch, alike))
        torch.stack(list(terms.values())).sum().backward()
        assert isinstance(fit.shape, LatentBasis)
        assert isinstance(fit.appearance, LatentBasis)
        moves = (fit.shape.coefficients.grad, fit.appearance.coefficients.grad, fit.placement.shift.grad)
        slope = torch.cat([move.reshape(-1) for move in moves if move is not None])
        same_hits = float((traces[name].hit == naive.hit).float().mean())
        own, same = ({key: float(value.detach()) for key, value in some.items()} for some in (every, terms))
        found[name] = _Found(same_hits, own, same, slope)
    return found


@pytest.mark.parametrize("name", ["sphere", "idr", "parallel", "grid", "baked", "cached"])
def test_accelerations_change_neither_losses_nor_gradients(name: str, found: dict[str, _Found]) -> None:
    naive, own = found["naive"], found[name]
    assert own.same_hits > 0.995
    assert own.every == pytest.approx(naive.every, rel=0.01, abs=1e-4)
    assert own.alike == pytest.approx(naive.alike, rel=0.005, abs=1e-4)
    # A single ray that grazes the surface can hold a tenth of the gradient's length, and where along such rays the
    # baked head comes nearest is a matter of tenths of a millimetre.
    alike = 0.97 if name == "baked" else 0.99
    assert float(torch.nn.functional.cosine_similarity(naive.slope, own.slope, dim=0)) > alike
    assert float(own.slope.norm() / naive.slope.norm()) == pytest.approx(1, abs=0.15 if name == "baked" else 0.1)


def test_a_grid_saves_queries_and_is_renewed() -> None:
    rays = Camera.look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), 60.0, 64, 64).rays()
    asked = {}
    for name in ("sphere", "grid"):
        points = 0

        def counted(x: Tensor) -> Tensor:
            nonlocal points
            points += len(x)
            return BALL(x)

        tracer = HeadTracer(replace(TracingConfig(), tracer=name), BOUNDS, torch.Generator())
        for _ in range(10):
            tracer(counted, rays)
        asked[name] = points
    assert asked["grid"] < 0.5 * asked["sphere"]
    # The eleventh step sees the head where it has gone meanwhile, further than a grid can be wrong.
    moved = sphere((0.1, 0.4, 0.0), 0.3)
    clear = (rays.at(torch.full((len(rays),), 3.0)) - torch.tensor([0.1, 0.4, 0.0])).norm(dim=1)
    hit = tracer(moved, rays).hit
    assert bool(hit[clear < 0.28].all())
    assert not bool(hit[clear > 0.45].any())
    assert hit.sum() > 100
