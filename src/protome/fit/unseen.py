"""What no photo shows: surface points that face away from every camera, and how they looked before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protome.field.field import Field
from protome.fit import losses
from protome.render.trace import CHUNK

AWAY = 0.25
"""Cosine by which a normal must point away from a camera; nearer to the silhouette photos still say something."""
_NEWTON_STEPS = 4
_ON_SURFACE = 0.01
"""Distance, inner units, within which a point counts as having reached the surface."""


@dataclass(frozen=True)
class Unseen:
    """Surface points of a field that no camera can see."""

    points: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    colours: Float[Tensor, "n 3"]

    def draw(self, count: int, generator: torch.Generator) -> Unseen:
        """Draw points with replacement (none where there are none)."""
        if len(self.points) == 0:
            return self
        index = torch.randint(len(self.points), (count,), generator=generator).to(self.points.device)
        return Unseen(self.points[index], self.normals[index], self.colours[index])

    def change(self, now: Field, shape: float, colour: float) -> Float[Tensor, ""]:
        """Return how far a field has left these points, weighted: distance to its surface, and change of colour."""
        if len(self.points) == 0:
            return self.points.new_zeros(())
        at = now.surface(self.points)
        colours = now.colour(self.points, at.normals, -self.normals, at.feature)
        return shape * losses.distance(at.sdf) + colour * losses.colour(colours, self.colours)


def unseen_points(
    field: Field,
    bounds: Float[Tensor, "2 3"],
    centres: Float[Tensor, "v 3"],
    generator: torch.Generator,
    tries: int = 24_000,
) -> Unseen:
    """Return random surface points of a field that face away from all camera centres, with their colours.

    Random points of the volume are moved onto the surface by Newton steps; those that do not arrive are dropped.
    Surfaces that face a camera behind something else count as seen.
    """
    start = bounds[0] + torch.rand(tries, 3, generator=generator).to(bounds) * (bounds[1] - bounds[0])
    found = []
    with torch.no_grad():
        for points in start.split(CHUNK):
            for _ in range(_NEWTON_STEPS):
                at = field.surface(points)
                slope = at.gradient.square().sum(-1, keepdim=True).clamp(min=0.25)
                points = points - at.sdf[:, None] * at.gradient / slope
            at = field.surface(points)
            rays = torch.nn.functional.normalize(points[:, None] - centres, dim=-1)
            away = (at.normals[:, None] * rays).sum(-1).amin(1) > AWAY
            inside = ((points > bounds[0]) & (points < bounds[1])).all(1)
            keep = away & inside & (at.sdf.abs() < _ON_SURFACE)
            colours = field.colour(points, at.normals, -at.normals, at.feature)
            found.append((points[keep], at.normals[keep].detach(), colours[keep]))
    return Unseen(*(torch.cat(parts) for parts in zip(*found, strict=True)))
