"""The heads that photos show: one for all of them, or one person with the expression of each photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from protome.field.field import Field, SdfFn, SurfacePoints
from protome.field.head import HeadField
from protome.geometry.camera import Rays
from protome.prior.prior import HeadLatents
from protome.render.trace import Trace
from protome.units import UNIT_MM

MOVED = 1.0 / UNIT_MM
"""Distance between two photos' places of one point of the skin from which on the point is not the same in both."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class PhotoHeads:
    """One field for all photos, or one for each; `photo` is the number of the photo that a ray or point belongs to."""

    fields: Sequence[Field]
    tracers: Sequence[Callable[[SdfFn, Rays], Trace]]

    def trace(self, rays: Rays, photo: Int[Tensor, "n"]) -> Trace:
        """Return the first hits of rays."""
        return self._each(
            photo, lambda k, origins, ways: self.tracers[k](self.fields[k].search, Rays(origins, ways)), rays.origins,
            rays.directions,
        )  # fmt: skip

    def sdf(self, points: Float[Tensor, "n 3"], photo: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Return signed distances."""
        return self._each(photo, lambda k, own: self.fields[k].sdf(own), points)

    def surface(self, points: Float[Tensor, "n 3"], photo: Int[Tensor, "n"]) -> SurfacePoints:
        """Return distances, gradients and features."""
        return self._each(photo, lambda k, own: self.fields[k].surface(own), points)

    def colour(
        self,
        points: Float[Tensor, "n 3"],
        normals: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        features: Float[Tensor, "n k"],
        photo: Int[Tensor, "n"],
    ) -> Float[Tensor, "n 3"]:
        """Return colours."""
        return self._each(photo, lambda k, *own: self.fields[k].colour(*own), points, normals, directions, features)

    def _each(self, photo: Int[Tensor, "n"], function: Callable[..., Found], *given: Tensor) -> Found:
        """Apply a function of a field's number to the rows of each photo, and put the results back in order."""
        if len(self.fields) == 1:
            return function(0, *given)
        rows = [(photo == number).nonzero()[:, 0] for number in range(len(self.fields))]
        used = [number for number, own in enumerate(rows) if len(own)] or [0]
        parts = [function(number, *(value[rows[number]] for value in given)) for number in used]
        back = torch.cat([rows[number] for number in used]).argsort()
        return _joined(parts, back)


def _joined(parts: Sequence[Found], order: Int[Tensor, "n"]) -> Found:
    """Return the rows of all parts, put in order."""
    if isinstance(parts[0], Tensor):
        return cast(Found, torch.cat(cast(list[Tensor], parts))[order])
    names = [own.name for own in fields(cast(SurfacePoints | Trace, parts[0]))]
    return type(parts[0])(*(torch.cat([getattr(part, name) for part in parts])[order] for name in names))


def same_place(
    head: HeadField, latents: Sequence[HeadLatents], points: Float[Tensor, "n 3"], photo: Int[Tensor, "n"]
) -> Bool[Tensor, "n v"]:
    """Return for points of the photos' heads which other photos have that skin in the same place.

    What two expressions displace a point by differs by how far the skin has moved, to first order.
    """
    with torch.no_grad():
        moves = torch.stack([head.displacement(points[None], own.condition(head))[0] for own in latents], 1)
        own = moves[torch.arange(len(points), device=points.device), photo]
        return (moves - own[:, None]).norm(dim=-1) < MOVED
