"""The tracer of IDR: sphere tracing from both ends of a ray, then samples and secant steps between them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from protome.field.field import SdfFn, in_chunks
from protome.geometry.camera import Rays
from protome.render.trace import Span, Trace, Tracer, crossings, sample_rays


def idr_tracer(
    steps: int = 10, threshold: float = 5e-5, halvings: int = 1, samples: int = 100, secants: int = 8
) -> Tracer:
    """Return IDR's tracer.

    The near end of every ray is sphere-traced forwards and the far end backwards, for `steps` steps. A step that lands
    inside is halved up to `halvings` times; one that then still lands inside is not taken. A near end within
    `threshold` of the surface is a hit. A ray whose ends pass each other is a miss. All other rays get `samples` equal
    samples between their two ends: the first change of sign is refined by `secants` steps of regula falsi. A miss is
    represented in the mask loss by the lowest of `samples` equal samples, between the ends where they have not passed
    each other, else along the whole ray.

    IDR draws the samples of the whole ray at random; here they are equally spaced. Where the field is steeper than a
    distance, the ends can step over a thin surface, which is then missed, as in IDR. Source: IDR (Yariv et al. 2020),
    supplementary material, ray tracing.
    """

    def trace(sdf: SdfFn, rays: Rays, span: Span) -> Trace:
        own = span.crosses.nonzero()[:, 0]
        start, end = span.near.clone(), torch.maximum(span.near, span.far)
        f_start, f_end = torch.full_like(start, torch.inf), torch.full_like(start, torch.inf)
        f_start[own], f_end[own] = in_chunks(sdf, rays[own].at(start[own])), in_chunks(sdf, rays[own].at(end[own]))
        inside = f_start <= 0
        outside = span.crosses & ~inside
        for _ in range(steps):
            apart = outside & (start < end)
            # Both ends step from their current depths.
            forwards, backwards = apart & (f_start > threshold), apart & (f_end > threshold)
            if not (forwards | backwards).any():
                break
            _step(sdf, rays, start, f_start, forwards, 1.0, halvings)
            _step(sdf, rays, end, f_end, backwards, -1.0, halvings)

        apart = outside & (start < end)
        hit = apart & (f_start <= threshold)
        depth, lowest = start.clone(), f_start.where(outside, torch.inf)
        unsettled, passed = (apart & ~hit).nonzero()[:, 0], (outside & ~apart).nonzero()[:, 0]
        for part, near, far in ((unsettled, start, end), (passed, span.near, span.far)):
            found = sample_rays(sdf, rays[part], near[part], far[part], samples)
            depth[part], lowest[part] = found.depth, found.lowest
            if part is unsettled and found.crossed.any():
                depth[part[found.crossed]] = crossings(sdf, rays[part], found, secants)
                hit[part[found.crossed]] = True
        lowest = lowest.where(~inside, f_start)
        return Trace(hit, depth, lowest.where(~hit, 0.0), inside)

    return trace


def _step(
    sdf: SdfFn,
    rays: Rays,
    depth: Float[Tensor, "n"],
    value: Float[Tensor, "n"],
    moving: Tensor,
    sign: float,
    halvings: int,
) -> None:
    """Move one end of the `moving` rays by the distance there, in place; a step that ends inside is not taken."""
    own = moving.nonzero()[:, 0]
    stride = sign * value[own]
    for attempt in range(1 + halvings):
        if len(own) == 0:
            return
        there = depth[own] + stride * 0.5**attempt
        at = in_chunks(sdf, rays[own].at(there))
        landed = at >= 0
        depth[own[landed]], value[own[landed]] = there[landed], at[landed]
        own, stride = own[~landed], stride[~landed]
