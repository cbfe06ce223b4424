"""Fields in closed form, as ground truth for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from protome.field.field import ColorFn, Field, SdfFn, surface_by_autograd


def sphere(centre: Sequence[float], radius: float | Float[Tensor, ""]) -> SdfFn:
    """Return the exact signed distance to a sphere."""
    return lambda points: (points - points.new_tensor(centre)).norm(dim=-1) - radius


def box(centre: Sequence[float], half: Sequence[float]) -> SdfFn:
    """Return the exact signed distance to an axis-aligned box with the given half extents."""

    def sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        beyond = (points - points.new_tensor(centre)).abs() - points.new_tensor(half)
        deepest = beyond.amax(-1)
        # Not clamp(max=0): on the surface its gradient is 1 up to torch 2.13 and 0 from 2.14 on.
        return beyond.clamp(min=0).norm(dim=-1) + torch.where(deepest > 0, 0.0, deepest)

    return sdf


def smooth_union(first: SdfFn, second: SdfFn, softness: float) -> SdfFn:
    """Return the union of two shapes with a rounded seam, by -softness * log-sum-exp(-f / softness).

    It is exact far from the seam and at most softness * log 2 below the smaller distance.
    """
    return lambda points: -softness * torch.logaddexp(-first(points) / softness, -second(points) / softness)


def field_of(sdf: SdfFn, colour: ColorFn | None = None) -> Field:
    """Return a field with this shape; without a colour function the normals are its colours."""
    return Field(
        sdf, surface_by_autograd(sdf), colour or (lambda points, normals, views, features: 0.5 + 0.5 * normals)
    )
