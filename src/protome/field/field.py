"""The interface of a field to renderer, mesher and losses: functions of space, whatever model computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 4096
"""Points per network call on a processor: the values of a layer then stay in its caches."""
_GPU_CHUNK = 262_144

SdfFn = Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]
"""Points to signed distances, negative inside."""


@dataclass(frozen=True)
class SurfacePoints:
    """A field's values at some points, differentiable in the points and in whatever the field depends on."""

    sdf: Float[Tensor, "n"]
    gradient: Float[Tensor, "n 3"]
    """Spatial gradient of the signed distance, not normalised."""
    feature: Float[Tensor, "n k"]
    """Whatever the field's colour needs besides normal and view direction."""

    @property
    def normals(self) -> Float[Tensor, "n 3"]:
        """Unit outward normals."""
        return torch.nn.functional.normalize(self.gradient, dim=-1)

    def __getitem__(self, part: slice) -> SurfacePoints:
        return SurfacePoints(self.sdf[part], self.gradient[part], self.feature[part])


SurfaceFn = Callable[[Float[Tensor, "n 3"]], SurfacePoints]
"""Points to distances, gradients and features."""
ColorFn = Callable[
    [Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, "n k"]], Float[Tensor, "n 3"]
]
"""Points, unit normals, unit view directions (from the camera) and features to RGB in [0, 1]."""


@dataclass(frozen=True)
class Field:
    """The functions that a renderer, a mesher or a loss needs."""

    sdf: SdfFn
    surface: SurfaceFn
    colour: ColorFn
    rough: SdfFn | None = None
    """Cheaper, approximate distances for locating the surface; None where there are none."""

    @property
    def search(self) -> SdfFn:
        """Return the distances that a tracer may use: `hit_points` corrects their error."""
        return self.sdf if self.rough is None else self.rough


def mean_field(fields: Sequence[Field]) -> Field:
    """Return the mean of fields of one surface: of distances, gradients and colours, each with its own features."""

    def sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        return torch.stack([field.sdf(points) for field in fields]).mean(0)

    def surface(points: Float[Tensor, "n 3"]) -> SurfacePoints:
        found = [field.surface(points) for field in fields]
        return SurfacePoints(
            torch.stack([at.sdf for at in found]).mean(0),
            torch.stack([at.gradient for at in found]).mean(0),
            torch.cat([at.feature for at in found], 1),
        )

    def colour(
        points: Float[Tensor, "n 3"],
        normals: Float[Tensor, "n 3"],
        views: Float[Tensor, "n 3"],
        features: Float[Tensor, "n k"],
    ) -> Float[Tensor, "n 3"]:
        own = features.chunk(len(fields), 1)
        colours = [field.colour(points, normals, views, part) for field, part in zip(fields, own, strict=True)]
        return torch.stack(colours).mean(0)

    return Field(sdf, surface, colour)


def surface_by_autograd(sdf: SdfFn) -> SurfaceFn:
    """Return a `SurfaceFn` that differentiates any `SdfFn`; features are empty.

    The gradient is itself differentiable.
    """

    def surface(points: Float[Tensor, "n 3"]) -> SurfacePoints:
        with torch.enable_grad():
            inputs = points if points.requires_grad else points.detach().requires_grad_(True)
            values = sdf(inputs)
            (gradient,) = torch.autograd.grad(values.sum(), inputs, create_graph=True)
        return SurfacePoints(values, gradient, points.new_zeros(len(points), 0))

    return surface


def in_chunks(sdf: SdfFn, points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b"]:
    """Evaluate a signed distance piece by piece, without gradients."""
    flat = points.reshape(-1, 3)
    with torch.no_grad():
        values = [sdf(part) for part in flat.split(_GPU_CHUNK if flat.is_cuda else CHUNK)]
    return (torch.cat(values) if values else flat.new_zeros(0)).reshape(points.shape[:-1])
