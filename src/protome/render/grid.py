"""First hits along rays, found with a grid of the signed distance and refined with the field."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from protome.field.field import SdfFn, in_chunks
from protome.field.grid import SdfGrid
from protome.geometry.camera import Rays
from protome.render.trace import Span, Trace, Tracer, parallel_tracer, refined


def grid_tracer(grid: SdfGrid, *, tolerance: float = 5e-4, corrections: int = 5) -> Tracer:
    """Return a tracer that brackets the surface in a grid and evaluates the field only there.

    The grid may be coarse, and older than the field. The search starts at the first change of sign along a ray in the
    grid. It takes Newton steps and, once the zero is bracketed, steps of regula falsi, until the field is within
    `tolerance` of zero or `corrections` steps are done. Rays that then have no bracketed zero are sampled along their
    whole length without the grid. On rays that pass the grid's surface within one cell the field is sampled too.
    Surfaces that the grid misses by more than a cell are missed: structures thinner than a cell.
    """
    exhaustive = parallel_tracer()

    def trace(sdf: SdfFn, rays: Rays, span: Span) -> Trace:
        near, far = span.near, torch.maximum(span.far, span.near)
        count = 2 + math.ceil(float((far - near).amax()) / grid.step) if len(rays) else 2
        depths = near[:, None] + (far - near)[:, None] * torch.linspace(0, 1, count).to(near)
        coarse = grid.at(rays.origins[:, None] + depths[..., None] * rays.directions[:, None])
        inside = _starts_inside(sdf, rays, span, coarse[:, 0], grid.step)

        lowest, place = coarse.min(1)
        hit, depth = torch.zeros_like(inside), depths.gather(1, place[:, None])[:, 0]
        flips = (coarse[:, :-1] > 0) & (coarse[:, 1:] <= 0)
        open_, crossed = span.crosses & ~inside, flips.any(1)
        unsettled = torch.zeros_like(inside)

        found = (open_ & crossed).nonzero()[:, 0]
        if len(found):
            first = flips[found].float().argmax(1)
            g_low, g_high = coarse[found, first], coarse[found, first + 1]
            width = (far - near)[found] / (count - 1)
            slope = ((g_low - g_high) / width).clamp(0.3, 1.0)
            start = depths[found, first] + width * g_low / (g_low - g_high)
            depth[found], settled = _corrected(sdf, rays[found], start, slope, tolerance, corrections, grid.step)
            hit[found], unsettled[found] = settled, ~settled
            dip = _dips(coarse[found], first, grid.step)
            before = dip.any(1).nonzero()[:, 0]
            if len(before):
                own = found[before]
                at = depths[own, dip[before].float().argmax(1)]
                nearer, there, _, _ = _grazed(sdf, rays[own], at, span[own], grid.step)
                hit[own], unsettled[own] = hit[own] | nearer, unsettled[own] & ~nearer
                depth[own] = torch.where(nearer, there, depth[own])
        close = (open_ & ~crossed & (lowest < grid.step)).nonzero()[:, 0]
        if len(close):
            grazed = _grazed(sdf, rays[close], depth[close], span[close], grid.step)
            hit[close], depth[close], lowest[close], unsettled[close] = grazed
        if unsettled.any():
            again = exhaustive(sdf, rays[unsettled], span[unsettled])
            hit[unsettled], depth[unsettled], lowest[unsettled] = again.hit, again.depth, again.lowest
        return Trace(hit, depth, lowest.where(~hit, 0.0), inside)

    return trace


def _starts_inside(sdf: SdfFn, rays: Rays, span: Span, coarse: Float[Tensor, "n"], step: float) -> Bool[Tensor, "n"]:
    """Return which rays enter the box inside the surface; near the grid's surface the field decides."""
    inside = (coarse <= 0) & span.crosses
    unsure = (coarse.abs() < step) & span.crosses
    if unsure.any():
        inside[unsure] = in_chunks(sdf, rays[unsure].at(span.near[unsure])) <= 0
    return inside


def _dips(coarse: Float[Tensor, "n s"], first: Int[Tensor, "n"], step: float) -> Bool[Tensor, "n s"]:
    """Return at which samples rays come within a cell of the grid's surface before they first cross it."""
    inner = torch.nn.functional.pad(coarse, (1, 1), value=torch.inf)
    low = (coarse <= inner[:, :-2]) & (coarse < inner[:, 2:]) & (coarse > 0) & (coarse < step)
    return low & (torch.arange(coarse.shape[1], device=coarse.device) < first[:, None])


def _corrected(
    sdf: SdfFn, rays: Rays, start: Tensor, slope: Tensor, tolerance: float, corrections: int, reach: float
) -> tuple[Tensor, Tensor]:
    """Return depths of zeros near `start` and for which rays one was found; `slope` is the descent per depth there."""
    depth, settled = start.clone(), torch.zeros_like(start, dtype=torch.bool)
    low, high = torch.full_like(start, -torch.inf), torch.full_like(start, torch.inf)
    f_low, f_high = torch.ones_like(start), -torch.ones_like(start)
    active = torch.arange(len(start), device=start.device)
    for _ in range(corrections):
        value = in_chunks(sdf, rays[active].at(depth[active]))
        near = value.abs() < tolerance
        settled[active[near]] = True
        active, value = active[~near], value[~near]
        if len(active) == 0:
            return depth, settled
        outside = value > 0
        out, within = active[outside], active[~outside]
        # Halving the stored value of the end that is kept prevents that end from stagnating (Illinois).
        low[out], f_low[out], f_high[out] = depth[out], value[outside], 0.5 * f_high[out]
        high[within], f_high[within], f_low[within] = depth[within], value[~outside], 0.5 * f_low[within]
        between = (low[active] > -torch.inf) & (high[active] < torch.inf)
        share = (f_low[active] / (f_low[active] - f_high[active])).clamp(0.02, 0.98)
        secant = low[active] + (high[active] - low[active]) * share
        stride = (value / slope[active]).clamp(-2 * reach, 2 * reach)
        # Where a zero is bracketed, a step stays within the bracket.
        depth[active] = torch.where(between, secant, depth[active] + stride)
    # The last step's value is not evaluated; within a bracket its error is small.
    settled[active[between]] = True
    return depth, settled


def _grazed(sdf: SdfFn, rays: Rays, depth: Tensor, span: Span, reach: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return for rays that pass close to the grid's surface: whether they hit, the depth of the hit (or of the lowest
    sample), the lowest value, and whether they start inside and do not cross."""
    offsets = reach * torch.linspace(-1, 1, 7).to(depth)
    depths = (depth[:, None] + offsets).clamp(span.near[:, None], span.far[:, None])
    values = in_chunks(sdf, rays.origins[:, None] + depths[..., None] * rays.directions[:, None])
    flips = (values[:, :-1] > 0) & (values[:, 1:] <= 0)
    hit = flips.any(1)
    depth = depths.gather(1, values.argmin(1, keepdim=True))[:, 0]
    if hit.any():
        own = hit.nonzero()[:, 0]
        first = flips[own].float().argmax(1)
        ends = (depths[own, first], depths[own, first + 1], values[own, first], values[own, first + 1])
        depth[own] = refined(sdf, rays[own], *ends, 3)
    return hit, depth, values.amin(1), (values[:, 0] <= 0) & ~hit
