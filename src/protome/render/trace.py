"""First hits along rays, without gradients: two tracers behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protome.field.field import SdfFn, in_chunks
from protome.geometry.camera import Rays


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
    """Distance along the ray to the hit; without a hit, to the lowest signed distance that was met."""
    lowest: Float[Tensor, "n"]
    """The signed distance there as far as the tracer knows it: zero for a hit, rough far from the surface."""
    started_inside: Bool[Tensor, "n"]
    """The ray enters the box inside the surface, so nothing can be said about it."""


Tracer = Callable[[SdfFn, Rays, Span], Trace]


def box_span(rays: Rays, bounds: Float[Tensor, "2 3"]) -> Span:
    """Return where rays enter and leave an axis-aligned box (slab method); entry is never behind the origin."""
    inverse = 1.0 / torch.where(rays.directions.abs() < 1e-9, 1e-9, rays.directions)
    first = (bounds[0] - rays.origins) * inverse
    second = (bounds[1] - rays.origins) * inverse
    near = torch.minimum(first, second).amax(-1).clamp(min=0)
    return Span(near, torch.maximum(first, second).amin(-1))


def refined(sdf: SdfFn, rays: Rays, low: Tensor, high: Tensor, f_low: Tensor, f_high: Tensor, steps: int) -> Tensor:
    """Close in on the sign change between two depths (regula falsi, the Illinois variant)."""
    for _ in range(steps):
        middle = low + (high - low) * (f_low / (f_low - f_high)).clamp(0.02, 0.98)
        value = in_chunks(sdf, rays.at(middle))
        outside = value > 0
        # Halving the value kept at an end that stays keeps that end from staying for ever.
        low, f_low = torch.where(outside, middle, low), torch.where(outside, value, 0.5 * f_low)
        high, f_high = torch.where(outside, high, middle), torch.where(outside, 0.5 * f_high, value)
    return low + (high - low) * (f_low / (f_low - f_high)).clamp(0, 1)


def parallel_tracer(samples: int = 75, subsamples: int = 25) -> Tracer:
    """Return the paper's tracer: equal samples along every ray at once, the first sign change, sub-samples in it.

    A surface thinner than the sample spacing can be missed. Source: SIRA++, parallel tracing.
    """

    def trace(sdf: SdfFn, rays: Rays, span: Span) -> Trace:
        fractions = torch.linspace(0, 1, samples, device=span.near.device, dtype=span.near.dtype)
        near, far = span.near, torch.maximum(span.far, span.near)
        depths = near[:, None] + (far - near)[:, None] * fractions
        values = in_chunks(sdf, rays.origins[:, None] + depths[..., None] * rays.directions[:, None])
        flips = (values[:, :-1] > 0) & (values[:, 1:] <= 0)
        hit = flips.any(1) & span.crosses
        first = flips.float().argmax(1)
        depth = depths.gather(1, values.argmin(1, keepdim=True))[:, 0]
        if hit.any():
            own, row = rays[hit], torch.arange(int(hit.sum()), device=hit.device)
            low, high = depths[hit][row, first[hit]], depths[hit][row, first[hit] + 1]
            fine = low[:, None] + (high - low)[:, None] * torch.linspace(0, 1, subsamples).to(low)
            at = in_chunks(sdf, own.origins[:, None] + fine[..., None] * own.directions[:, None])
            at[:, 0], at[:, -1] = values[hit][row, first[hit]], values[hit][row, first[hit] + 1]
            flip = ((at[:, :-1] > 0) & (at[:, 1:] <= 0)).float().argmax(1)
            f_low, f_high = at[row, flip], at[row, flip + 1]
            depth[hit] = fine[row, flip] + (fine[row, flip + 1] - fine[row, flip]) * f_low / (f_low - f_high)
        inside = (values[:, 0] <= 0) & span.crosses
        hit = hit & ~inside
        return Trace(hit, depth, values.amin(1).where(~hit, 0.0), inside)

    return trace


def sphere_tracer(steps: int = 48, relaxation: float = 0.9, tolerance: float = 2e-4, refinements: int = 3) -> Tracer:
    """Return a sphere tracer that drops finished rays and closes overshoots by regula falsi.

    A field that is only nearly a distance is followed with steps shortened by `relaxation`. Rays are finished when
    they are within `tolerance` of the surface, cross it, or leave the box.
    """

    def trace(sdf: SdfFn, rays: Rays, span: Span) -> Trace:
        hit = torch.zeros(len(rays), dtype=torch.bool, device=span.near.device)
        inside = hit.clone()
        depth, lowest = span.near.clone(), torch.full_like(span.near, torch.inf)
        before, after = span.near.clone(), torch.maximum(span.near, span.far)
        active = span.crosses.nonzero()[:, 0]
        at, last_at = span.near[active], span.near[active]
        last_value = torch.full_like(at, torch.inf)
        for step in range(steps):
            if len(active) == 0:
                break
            value = in_chunks(sdf, rays[active].at(at))
            crossed = value <= 0
            if step == 0:
                inside[active[crossed]] = True
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
        if missed.any():
            depth[missed] = _lowest(sdf, rays[missed], before[missed], after[missed])
        return Trace(hit, depth, lowest.where(~hit, 0.0), inside)

    return trace


def _lowest(sdf: SdfFn, rays: Rays, before: Tensor, after: Tensor, samples: int = 9) -> Tensor:
    """Return the depth of the lowest value among equal samples between two depths."""
    depths = before[:, None] + (after - before)[:, None] * torch.linspace(0, 1, samples).to(before)
    values = in_chunks(sdf, rays.origins[:, None] + depths[..., None] * rays.directions[:, None])
    return depths.gather(1, values.argmin(1, keepdim=True))[:, 0]
