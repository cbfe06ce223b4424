"""First hits along rays, without gradients: common parts, sphere tracing and the paper's parallel tracing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protome.field.field import SdfFn, in_chunks
from protome.geometry.camera import Rays

_DIP = 9
"""Samples between the neighbours of a ray's lowest point."""
_SECANTS = 8
"""Steps of regula falsi that refine a crossing between two samples of a whole ray (IDR)."""


@dataclass(frozen=True)
class Span:
    """The part of each ray inside a box."""

    near: Float[Tensor, "n"]
    far: Float[Tensor, "n"]

    @property
    def crosses(self) -> Bool[Tensor, "n"]:
        """Whether the ray meets the box at all."""
        return self.far > self.near

    def __getitem__(self, index: Tensor | slice) -> Span:
        return Span(self.near[index], self.far[index])


@dataclass(frozen=True)
class Trace:
    """Where rays first go from outside to inside a surface."""

    hit: Bool[Tensor, "n"]
    depth: Float[Tensor, "n"]
    """Distance along the ray to the hit; without a hit, to the lowest signed distance that was found."""
    lowest: Float[Tensor, "n"]
    """The signed distance there: zero for a hit, approximate far from the surface."""
    started_inside: Bool[Tensor, "n"]
    """Whether the ray enters the box inside the surface; it has no first hit then."""


Tracer = Callable[[SdfFn, Rays, Span], Trace]


def box_span(rays: Rays, bounds: Float[Tensor, "2 3"]) -> Span:
    """Return where rays enter and leave an axis-aligned box (slab method); entry is never behind the origin."""
    inverse = 1.0 / torch.where(rays.directions.abs() < 1e-9, 1e-9, rays.directions)
    first = (bounds[0] - rays.origins) * inverse
    second = (bounds[1] - rays.origins) * inverse
    near = torch.minimum(first, second).amax(-1).clamp(min=0)
    return Span(near, torch.maximum(first, second).amin(-1))


def refined(sdf: SdfFn, rays: Rays, low: Tensor, high: Tensor, f_low: Tensor, f_high: Tensor, steps: int) -> Tensor:
    """Return the depth of the sign change between two depths (regula falsi, the Illinois variant)."""
    for _ in range(steps):
        middle = low + (high - low) * (f_low / (f_low - f_high)).clamp(0.02, 0.98)
        value = in_chunks(sdf, rays.at(middle))
        outside = value > 0
        # Halving the stored value of the end that is kept prevents that end from stagnating.
        low, f_low = torch.where(outside, middle, low), torch.where(outside, value, 0.5 * f_low)
        high, f_high = torch.where(outside, high, middle), torch.where(outside, 0.5 * f_high, value)
    return low + (high - low) * (f_low / (f_low - f_high)).clamp(0, 1)


@dataclass(frozen=True)
class RaySamples:
    """The result of equal samples along a part of each ray."""

    first: Float[Tensor, "n"]
    """Value at the first sample."""
    crossed: Bool[Tensor, "n"]
    """Whether the ray goes from outside to inside between two neighbouring samples."""
    low: Float[Tensor, "n"]
    """Depth of the sample before the first such change of sign; without one, of the sample before the lowest."""
    high: Float[Tensor, "n"]
    """Depth of the sample after it."""
    f_low: Float[Tensor, "n"]
    """Value at `low`."""
    f_high: Float[Tensor, "n"]
    """Value at `high`."""
    depth: Float[Tensor, "n"]
    """Depth of the lowest sample."""
    lowest: Float[Tensor, "n"]
    """Its value."""
    change: Float[Tensor, "n"]
    """Largest absolute difference of two neighbouring samples."""


def sample_rays(sdf: SdfFn, rays: Rays, near: Float[Tensor, "n"], far: Float[Tensor, "n"], samples: int) -> RaySamples:
    """Evaluate equally spaced samples of each ray from `near` to `far`, both included."""
    fractions = torch.linspace(0, 1, samples).to(near)
    depths = near[:, None] + (far - near)[:, None] * fractions
    values = in_chunks(sdf, rays.origins[:, None] + depths[..., None] * rays.directions[:, None])
    flips = (values[:, :-1] > 0) & (values[:, 1:] <= 0)
    crossed = flips.any(1)
    lowest, place = values.min(1)
    before = torch.where(crossed, flips.float().argmax(1), (place - 1).clamp(min=0))[:, None]
    after = torch.where(crossed, before[:, 0] + 1, (place + 1).clamp(max=samples - 1))[:, None]
    return RaySamples(
        values[:, 0], crossed,
        depths.gather(1, before)[:, 0], depths.gather(1, after)[:, 0],
        values.gather(1, before)[:, 0], values.gather(1, after)[:, 0],
        depths.gather(1, place[:, None])[:, 0], lowest, values.diff(dim=1).abs().amax(1),
    )  # fmt: skip


def crossings(sdf: SdfFn, rays: Rays, found: RaySamples, steps: int) -> Float[Tensor, "k"]:
    """Return the depths of the crossings of those rays that cross a surface, by regula falsi."""
    own = found.crossed
    return refined(sdf, rays[own], found.low[own], found.high[own], found.f_low[own], found.f_high[own], steps)


def parallel_tracer(samples: int = 75, subsamples: int = 25) -> Tracer:
    """Return the paper's tracer: equal samples along every ray, sub-samples within the first change of sign.

    A surface thinner than the sample spacing can be missed. Source: SIRA++, parallel tracing.
    """

    def trace(sdf: SdfFn, rays: Rays, span: Span) -> Trace:
        coarse = sample_rays(sdf, rays, span.near, torch.maximum(span.far, span.near), samples)
        inside = (coarse.first <= 0) & span.crosses
        hit, depth = coarse.crossed & span.crosses & ~inside, coarse.depth
        if hit.any():
            own, row = rays[hit], torch.arange(int(hit.sum()), device=hit.device)
            low, high = coarse.low[hit], coarse.high[hit]
            fine = low[:, None] + (high - low)[:, None] * torch.linspace(0, 1, subsamples).to(low)
            at = in_chunks(sdf, own.origins[:, None] + fine[..., None] * own.directions[:, None])
            at[:, 0], at[:, -1] = coarse.f_low[hit], coarse.f_high[hit]
            flip = ((at[:, :-1] > 0) & (at[:, 1:] <= 0)).float().argmax(1)
            f_low, f_high = at[row, flip], at[row, flip + 1]
            depth[hit] = fine[row, flip] + (fine[row, flip + 1] - fine[row, flip]) * f_low / (f_low - f_high)
        return Trace(hit, depth, coarse.lowest.where(~hit, 0.0), inside)

    return trace


def sphere_tracer(
    steps: int = 48, relaxation: float = 0.9, tolerance: float = 2e-4, refinements: int = 3, samples: int = 100
) -> Tracer:
    """Return a sphere tracer that drops finished rays, refines overshoots by regula falsi and samples unsettled rays.

    Steps are shortened by `relaxation`, because the field is only approximately a distance. Rays are finished when
    they are within `tolerance` of the surface, cross it, or leave the box. Two kinds of rays are then searched by
    `samples` equal samples, as in IDR: those that `steps` have not finished (along outlines, or where the field is
    flatter than a distance), from their current depth to their far end; and those along which the field changes by
    more than 1 / `relaxation` per unit of length, where a step may have passed over a surface, from end to end.
    Changes over less than the samples' spacing do not count, because samples would find no more than the steps did.
    """

    def trace(sdf: SdfFn, rays: Rays, span: Span) -> Trace:
        hit = torch.zeros(len(rays), dtype=torch.bool, device=span.near.device)
        inside, steep = hit.clone(), hit.clone()
        depth, lowest = span.near.clone(), torch.full_like(span.near, torch.inf)
        before, after = span.near.clone(), torch.maximum(span.near, span.far)
        spacing = (span.far - span.near) / (samples - 1)
        active = span.crosses.nonzero()[:, 0]
        at, last_at = span.near[active], span.near[active]
        last_value = torch.full_like(at, torch.inf)

        def search(own: Tensor, near: Tensor, far: Tensor, count: int, rounds: int) -> RaySamples:
            """Sample some rays and store the hits, and for rays without one a lower point than known."""
            found = sample_rays(sdf, rays[own], near, far, count)
            better = ~hit[own] & (found.lowest < lowest[own])
            lower = own[better]
            lowest[lower], depth[lower] = found.lowest[better], found.depth[better]
            before[lower], after[lower] = found.low[better], found.high[better]
            if found.crossed.any():
                depth[own[found.crossed]] = crossings(sdf, rays[own], found, rounds)
                hit[own[found.crossed]] = True
            return found

        for step in range(steps):
            if len(active) == 0:
                break
            value = in_chunks(sdf, rays[active].at(at))
            crossed = value <= 0
            if step == 0:
                inside[active[crossed]] = True
            moved = at - last_at
            steep[active[(moved > spacing[active]) & ((last_value - value).abs() * relaxation > moved)]] = True
            following = (at + relaxation * value.clamp(min=tolerance)).minimum(span.far[active])
            better = value < lowest[active]
            own = active[better]
            lowest[own], depth[own], before[own] = value[better], at[better], last_at[better]
            after[own] = following[better]
            over = crossed & (last_value < torch.inf)
            if over.any():
                own = active[over]
                ends = (last_at[over], at[over], last_value[over], value[over])
                depth[own] = refined(sdf, rays[own], *ends, refinements)
            close = (value < tolerance) & ~crossed
            hit[active[over | close]] = True
            go = ~crossed & ~close & (following < span.far[active])
            active, last_at, last_value, at = active[go], at[go], value[go], following[go]

        missed = ~hit & ~inside & span.crosses
        missed[active] = False
        if missed.any():
            own = missed.nonzero()[:, 0]
            apart = (after[own] - before[own]) / (_DIP - 1)
            found = search(own, before[own], after[own], _DIP, refinements)
            steep[own[(apart > spacing[own]) & (found.change * relaxation > apart)]] = True
        from_depth = span.near.clone()
        from_depth[active] = torch.where(steep[active], span.near[active], last_at)
        unsettled = steep & ~inside
        unsettled[active] = True
        if unsettled.any():
            own = unsettled.nonzero()[:, 0]
            search(own, from_depth[own], span.far[own], samples, _SECANTS)
            own = own[~hit[own]]
            search(own, before[own], after[own], _DIP, _SECANTS)
        return Trace(hit, depth, lowest.where(~hit, 0.0), inside)

    return trace
