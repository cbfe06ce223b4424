"""The last phase of a fit: the shape stays, and the renderer alone learns the photos' colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protome.field.head import HeadField
from protome.fit import losses
from protome.fit.pixels import PixelTable
from protome.fit.placement import Placement
from protome.fit.schedule import rate_factor
from protome.fit.tracing import HeadTracer
from protome.prior import HeadCode

_MOST = 40_000
"""Pixels that are looked at; more do not make the colours better within a few hundred steps."""
_CHUNK = 4096


@dataclass(frozen=True)
class _Seen:
    """What pixels see of a head whose shape stays as it is."""

    reference: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    directions: Float[Tensor, "n 3"]
    feature: Float[Tensor, "n k"]
    colour: Float[Tensor, "n 3"]
    """The photo's."""


def fit_colours(
    head: HeadField,
    code: HeadCode,
    placement: Placement,
    tracer: HeadTracer,
    table: PixelTable,
    *,
    steps: int,
    rays: int,
    rate: float,
    generator: torch.Generator,
    step: Callable[..., None],
) -> list[float]:
    """Move the renderer's weights towards the photos' colours and return the loss of each step.

    What the pixels see is found once, so that a step costs a tenth of one that moves the shape too. It is for what a
    photo tells of colour and not of shape: one photo's shading, explained by ever more steps, bends the face.
    """
    if steps == 0:
        return []
    seen = _seen(head, code, placement, tracer, table.draw(min(_MOST, 4 * len(table)), generator))
    if len(seen.colour) == 0:
        return []
    head.renderer.requires_grad_(True)
    optimiser = torch.optim.Adam(head.renderer.parameters(), rate)
    curve = []
    for number in range(steps):
        optimiser.param_groups[0]["lr"] = rate * rate_factor(number / steps)
        chosen = torch.randint(len(seen.colour), (rays,), generator=generator).to(seen.colour.device)
        at = (value[chosen][None] for value in (seen.reference, seen.normals, seen.directions, seen.feature))
        reference, normals, directions, feature = at
        found = head.colour(reference, normals, directions, feature, code.appearance[None])[0]
        loss = losses.photometric(found, seen.colour[chosen], rays)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        curve.append(float(loss.detach()))
        step(1, f"colour {curve[-1]:.3f}")
    return curve


def _seen(head: HeadField, code: HeadCode, placement: Placement, tracer: HeadTracer, batch: PixelTable) -> _Seen:
    shape = head.shape_network.fold(code.shape[None])

    def sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        return head.sdf(points[None], shape)[0]

    parts = []
    with torch.no_grad():
        for index in torch.arange(len(batch), device=batch.view.device).split(_CHUNK):
            part = batch[index]
            rays = placement.move(part.rays, part.view)
            trace = tracer(sdf, rays)
            own = trace.hit & (part.mask > 0.5) & ~trace.started_inside
            at = head.query(rays[own].at(trace.depth[own])[None], shape)
            normals = torch.nn.functional.normalize(at.gradient[0], dim=-1)
            parts.append(_Seen(at.reference[0], normals, rays.directions[own], at.feature[0], part.colour[own]))
    return _Seen(*(torch.cat([getattr(part, key) for part in parts]) for key in _Seen.__dataclass_fields__))
