"""The last phase of a fit: the shape stays, and the renderer alone learns the photos' colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from torch import Tensor

from protome import losses
from protome.field.field import CHUNK
from protome.field.head import HeadField
from protome.fit.clock import Clock
from protome.fit.rays import PixelTable
from protome.fit.schedule import rate_factor
from protome.fit.tracing import HeadTracer
from protome.geometry.camera import Camera, Rays
from protome.prior.prior import HeadLatents
from protome.units import UNIT_MM

MOST_PIXELS = 40_000
"""Pixels that are looked at; more do not make the colours better within a few hundred steps."""
_AROUND = 32
"""Pixels along each side of the pictures that look for what no photo shows."""
_HIDDEN = 10.0 / UNIT_MM
"""Points further than this from all that a photo shows count as hidden."""
_HOLD = 0.5
"""Weight of the hidden points' colours."""


@dataclass(frozen=True)
class _Seen:
    """What pixels see of a head whose shape stays as it is."""

    points: Float[Tensor, "n 3"]
    reference: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    directions: Float[Tensor, "n 3"]
    feature: Float[Tensor, "n k"]
    colour: Float[Tensor, "n 3"]
    """What is to be seen there."""

    def __getitem__(self, index: Tensor) -> _Seen:
        return _Seen(*(getattr(self, key)[index] for key in self.__dataclass_fields__))

    def drawn(self, count: int, generator: torch.Generator) -> _Seen:
        """Draw points with replacement."""
        return self[torch.randint(len(self.colour), (count,), generator=generator).to(self.colour.device)]


def fit_colours(
    head: HeadField,
    latents: HeadLatents,
    tracer: HeadTracer,
    pixels: PixelTable,
    *,
    rays: int,
    rate: float,
    clock: Clock,
    generator: torch.Generator,
    step: Callable[[float, str], None],
) -> list[float]:
    """Move the renderer's weights towards the pixels' colours and return the loss of each step.

    What the pixels see is found once, so that a step costs a tenth of one that moves the shape too. It is for what a
    photo tells of colour and not of shape: one photo's shading, explained by ever more steps, bends the face. What no
    photo shows keeps the colour that it has. The pixels' rays are in the head frame as fitted.
    """
    seen = _seen(head, latents, tracer, pixels.rays, pixels.colour, pixels.mask > 0.5)
    if len(seen.colour) == 0:
        return []
    hidden = _hidden(head, latents, tracer, seen)
    head.renderer.requires_grad_(True)
    optimiser = torch.optim.Adam(head.renderer.parameters(), rate)
    curve: list[float] = []
    done = clock.done(0)
    while done < 1:
        optimiser.param_groups[0]["lr"] = rate * rate_factor(done)
        some = seen.drawn(rays, generator)
        both = _joined([some, hidden.drawn(rays // 3, generator)]) if len(hidden.colour) else some
        found = _colour(head, latents, both)
        loss = losses.photometric(found[:rays], some.colour, rays)
        if len(both.colour) > rays:
            loss = loss + _HOLD * losses.photometric(found[rays:], both.colour[rays:], rays // 3)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        curve.append(float(loss.detach()))
        before, done = done, clock.done(len(curve))
        step(done - before, f"colour {curve[-1]:.3f}")
    return curve


def _colour(head: HeadField, latents: HeadLatents, at: _Seen) -> Float[Tensor, "n 3"]:
    inputs = (at.reference[None], at.normals[None], at.directions[None], at.feature[None])
    return head.colour(*inputs, latents.z_appearance[None])[0]


def _seen(
    head: HeadField, latents: HeadLatents, tracer: HeadTracer, rays: Rays, colour: Float[Tensor, "n 3"],
    wanted: Bool[Tensor, "n"],
) -> _Seen:  # fmt: skip
    """Return where wanted rays meet the head."""
    shape = head.shape_network.fold(latents.z_shape[None])

    def sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        return head.sdf(points[None], shape)[0]

    parts = []
    with torch.no_grad():
        for index in torch.arange(len(colour), device=colour.device).split(CHUNK):
            part = rays[index]
            trace = tracer(sdf, part)
            own = trace.hit & wanted[index] & ~trace.started_inside
            points = part[own].at(trace.depth[own])
            at = head.query(points[None], shape)
            normals = torch.nn.functional.normalize(at.gradient[0], dim=-1)
            parts.append(
                _Seen(points, at.reference[0], normals, part.directions[own], at.feature[0], colour[index][own])
            )
    return _joined(parts)


def _joined(parts: Sequence[_Seen]) -> _Seen:
    return _Seen(*(torch.cat([getattr(part, key) for part in parts]) for key in _Seen.__dataclass_fields__))


def _hidden(head: HeadField, latents: HeadLatents, tracer: HeadTracer, seen: _Seen) -> _Seen:
    """Return points of the head that no photo shows, with the colours that they have, as seen from straight ahead."""
    rays = []
    for height in (-0.5, 0.5, 2.5):
        for turn in range(8):
            angle = torch.tensor(turn * torch.pi / 4)
            away = torch.stack([torch.sin(angle), torch.tensor(height), torch.cos(angle)])
            spot = head.centre.cpu() + 4.5 * torch.nn.functional.normalize(away, dim=0)
            rays.append(Camera.look_at(spot, head.centre.cpu(), 2.2 * _AROUND, _AROUND, _AROUND).rays())
    around = Rays(torch.cat([own.origins for own in rays]), torch.cat([own.directions for own in rays]))
    around = around.to(seen.points.device)
    every = torch.ones(len(around.origins), dtype=torch.bool, device=seen.points.device)
    found = _seen(head, latents, tracer, around, torch.zeros_like(around.origins), every)
    far = cKDTree(seen.points.cpu().numpy()).query(found.points.cpu().numpy())[0] > _HIDDEN
    hidden = found[torch.from_numpy(far).to(found.points.device)]
    hidden = replace(hidden, directions=-hidden.normals)
    with torch.no_grad():
        return replace(hidden, colour=_colour(head, latents, hidden))
