"""The last phase of a fit: the shape is fixed, and only the renderer is fitted to the photos' colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from protome import losses
from protome.field.field import CHUNK, Field
from protome.field.head import HeadField
from protome.fit.clock import Clock
from protome.fit.light import PhotoLight
from protome.fit.rays import PixelTable
from protome.fit.schedule import rate_factor
from protome.fit.tracing import HeadTracer
from protome.geometry.camera import Camera, Rays
from protome.geometry.neighbours import tree_of
from protome.prior.membrane import Membrane
from protome.prior.prior import FittedHead, HeadLatents
from protome.units import UNIT_MM

MOST_PIXELS = 40_000
"""Largest number of pixels used; more do not improve the colours within a few hundred steps."""
_HIDDEN_VIEW_SIZE = 32
"""Pixels along each side of the views in which the surface that no photo shows is found."""
_HIDDEN = 10.0 / UNIT_MM
"""Points further than this from every visible point count as hidden."""
_HIDDEN_WEIGHT = 0.5
"""Weight of the loss that keeps the hidden points' colours."""


@dataclass(frozen=True)
class _RendererInputs:
    """Surface points of a head whose shape is fixed, with the renderer's inputs."""

    points: Float[Tensor, "n 3"]
    reference: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    directions: Float[Tensor, "n 3"]
    feature: Float[Tensor, "n k"]
    colour: Float[Tensor, "n 3"]
    """Target colour."""
    light: Float[Tensor, "n 3"]
    """What the light of the photo multiplies the head's colour by."""

    def __getitem__(self, index: Tensor) -> _RendererInputs:
        return _RendererInputs(*(getattr(self, key)[index] for key in self.__dataclass_fields__))

    def drawn(self, count: int, generator: torch.Generator) -> _RendererInputs:
        """Draw points with replacement."""
        return self[torch.randint(len(self.colour), (count,), generator=generator).to(self.colour.device)]


def fit_colours(
    head: HeadField,
    latents: Sequence[HeadLatents],
    shown: int,
    tracers: Sequence[HeadTracer],
    pixels: PixelTable,
    light: PhotoLight | None,
    *,
    rays: int,
    rate: float,
    clock: Clock,
    generator: torch.Generator,
    step: Callable[[float, str], None],
    membrane: Membrane | None = None,
) -> list[float]:
    """Fit the renderer's weights to the pixels' colours and return the loss of each step.

    The rays are traced once, so that a step costs a tenth of one that also moves the shape. The shape is fixed because
    further steps on one photo's shading deform the face. Hidden points keep their colours. The pixels' rays are in the
    head frame as fitted, and `light` is that of their photos. `latents` and `tracers` are those of the head that all
    photos show, or of each photo's; hidden points and the `membrane` are those of photo `shown`.
    """
    own = shown if len(latents) > 1 else 0
    photos = [pixels] if len(latents) == 1 else [pixels[pixels.view == number] for number in range(len(latents))]
    fields = [FittedHead(head, each, head.centre.expand(2, 3)).bind() for each in latents]
    if membrane is not None:
        fields[own] = membrane.over(fields[own])
    visible = _joined([_visible_points(*each, light) for each in zip(fields, tracers, photos, strict=True)])
    if len(visible.colour) == 0:
        return []
    hidden = _hidden(head, fields[own], latents[own], tracers[own], visible)
    head.renderer.requires_grad_(True)
    optimiser = torch.optim.Adam(head.renderer.parameters(), rate)
    curve: list[float] = []
    done = clock.done(0)
    while done < 1:
        optimiser.param_groups[0]["lr"] = rate * rate_factor(done)
        some = visible.drawn(rays, generator)
        both = _joined([some, hidden.drawn(rays // 3, generator)]) if len(hidden.colour) else some
        found = _colour(head, latents[own], both)
        loss = losses.photometric(found[:rays], some.colour, rays)
        if len(both.colour) > rays:
            loss = loss + _HIDDEN_WEIGHT * losses.photometric(found[rays:], both.colour[rays:], rays // 3)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        curve.append(float(loss.detach()))
        before, done = done, clock.done(len(curve))
        step(done - before, f"colour {curve[-1]:.3f}")
    return curve


def _colour(head: HeadField, latents: HeadLatents, at: _RendererInputs) -> Float[Tensor, "n 3"]:
    inputs = (at.reference[None], at.normals[None], at.directions[None], at.feature[None])
    return head.colour(*inputs, latents.z_appearance[None])[0] * at.light


def _visible_points(field: Field, tracer: HeadTracer, pixels: PixelTable, light: PhotoLight | None) -> _RendererInputs:
    """Return the points at which the rays of the person's pixels hit the head."""
    found, index = _hit_points(field, tracer, pixels.rays, pixels.mask > 0.5)
    found = replace(found, colour=pixels.colour[index])
    if light is None:
        return found
    with torch.no_grad():
        return replace(found, light=light.factors(found.normals, pixels.view[index]))


def _hit_points(
    field: Field, tracer: HeadTracer, rays: Rays, selected: Bool[Tensor, "n"]
) -> tuple[_RendererInputs, Int[Tensor, "k"]]:
    """Return the points at which the selected rays hit the head, black, and which rays these are."""
    parts, hits = [], []
    with torch.no_grad():
        for index in torch.arange(len(selected), device=selected.device).split(CHUNK):
            part = rays[index]
            trace = tracer(field.sdf, part)
            own = trace.hit & selected[index] & ~trace.started_inside
            points = part[own].at(trace.depth[own])
            at = field.surface(points)
            reference, feature = at.feature[:, :3], at.feature[:, 3:]
            black, white = torch.zeros_like(points), torch.ones_like(points)
            parts.append(_RendererInputs(points, reference, at.normals, part.directions[own], feature, black, white))
            hits.append(index[own])
    return _joined(parts), torch.cat(hits)


def _joined(parts: Sequence[_RendererInputs]) -> _RendererInputs:
    return _RendererInputs(
        *(torch.cat([getattr(part, key) for part in parts]) for key in _RendererInputs.__dataclass_fields__)
    )


def _hidden(
    head: HeadField, field: Field, latents: HeadLatents, tracer: HeadTracer, visible: _RendererInputs
) -> _RendererInputs:
    """Return points of the head that no photo shows, with their present colours from a view along the normal."""
    rays = []
    for height in (-0.5, 0.5, 2.5):
        for turn in range(8):
            angle = torch.tensor(turn * torch.pi / 4)
            away = torch.stack([torch.sin(angle), torch.tensor(height), torch.cos(angle)])
            spot = head.centre.cpu() + 4.5 * torch.nn.functional.normalize(away, dim=0)
            rays.append(
                Camera.look_at(
                    spot, head.centre.cpu(), 2.2 * _HIDDEN_VIEW_SIZE, _HIDDEN_VIEW_SIZE, _HIDDEN_VIEW_SIZE
                ).rays()
            )
    around = Rays(torch.cat([own.origins for own in rays]), torch.cat([own.directions for own in rays]))
    around = around.to(visible.points.device)
    every = torch.ones(len(around.origins), dtype=torch.bool, device=visible.points.device)
    found, _ = _hit_points(field, tracer, around, every)
    far = tree_of(visible.points.cpu().numpy()).query(found.points.cpu().numpy())[0] > _HIDDEN
    hidden = found[torch.from_numpy(far).to(found.points.device)]
    hidden = replace(hidden, directions=-hidden.normals)
    with torch.no_grad():
        return replace(hidden, colour=_colour(head, latents, hidden))
