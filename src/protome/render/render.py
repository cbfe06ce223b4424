"""Images of a field from a camera."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protome.field.field import Field
from protome.geometry.camera import Camera
from protome.render.surface import hit_points
from protome.render.trace import Tracer, box_span, sphere_tracer


@dataclass(frozen=True)
class Rendering:
    """The image of a field."""

    colour: Float[Tensor, "h w 3"]
    """RGB in [0, 1]; the background's colour where nothing is hit."""
    normal: Float[Tensor, "h w 3"]
    """Unit normals in the field's frame; zero where nothing is hit."""
    depth: Float[Tensor, "h w"]
    """Distance from the optical centre; infinite where nothing is hit."""
    mask: Bool[Tensor, "h w"]


def render(
    field: Field,
    camera: Camera,
    bounds: Float[Tensor, "2 3"],
    *,
    tracer: Tracer | None = None,
    background: float = 1.0,
    chunk: int = 8192,
) -> Rendering:
    """Render a field with a camera posed in the field's frame and unit; no gradients."""
    tracer = tracer or sphere_tracer()
    rays = camera.rays()
    colours, normals, depths, masks = [], [], [], []
    for start in range(0, len(rays), chunk):
        part = rays[slice(start, start + chunk)]
        with torch.no_grad():
            trace = tracer(field.sdf, part, box_span(part, bounds))
            own = part[trace.hit]
            points = hit_points(field.surface, own, trace.depth[trace.hit])
            at = field.surface(points)
            colour = torch.full_like(part.directions, background)
            normal, depth = torch.zeros_like(part.directions), torch.full_like(trace.depth, torch.inf)
            if trace.hit.any():
                colour[trace.hit] = field.colour(points, at.normals, own.directions, at.feature)
                normal[trace.hit] = at.normals
                depth[trace.hit] = (points - own.origins).norm(dim=-1)
        colours.append(colour)
        normals.append(normal.detach())
        depths.append(depth)
        masks.append(trace.hit)
    shape = (camera.height, camera.width)
    return Rendering(
        torch.cat(colours).reshape(*shape, 3),
        torch.cat(normals).reshape(*shape, 3),
        torch.cat(depths).reshape(shape),
        torch.cat(masks).reshape(shape),
    )
