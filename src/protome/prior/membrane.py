"""A smooth surface, seen from a camera, that takes the place of a field's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protome.field.field import Field, SurfacePoints
from protome.geometry.camera import Camera
from protome.units import UNIT_MM

_RIM = 1.25 / UNIT_MM
"""How far outside the opening what stands before the surface is cut off, and twice how far inside holes are filled."""
_BEFORE, _BEHIND, _FADE = 12.0 / UNIT_MM, 30.0 / UNIT_MM, 6.0 / UNIT_MM
"""How far before and behind the surface the field is replaced, and over what distance that ends."""


@dataclass(frozen=True)
class Membrane:
    """Depths over a part of a picture, which are the surface inside an opening in it.

    Around the opening the field's surface goes on where it is deeper: a lip's edge is round.
    """

    camera: Camera
    """Whose pixels the maps have."""
    depth: Float[Tensor, "h w"]
    """Along the camera's axis."""
    inside: Float[Tensor, "h w"]
    """How far inside the opening a pixel is, negative outside; a length like the depth."""

    def over(self, field: Field) -> Field:
        """Return the field with the surface instead of its own; what is behind the surface is solid for 3 cm."""

        def sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
            at, own = self._at(points), field.sdf(points)
            return torch.lerp(torch.lerp(own, torch.maximum(own, at.distance), at.cut), at.distance, at.filled)

        def surface(points: Float[Tensor, "n 3"]) -> SurfacePoints:
            own, at = field.surface(points), self._at(points)
            before = (at.distance > own.sdf).to(own.sdf)
            # f = own + share (distance - own), where the share is both ways in which the surface takes over.
            cut, kept = before * at.cut, 1 - at.filled
            share = at.filled + kept * cut
            growth = (1 - cut) * at.filling + kept * before * at.cutting
            difference = at.distance - own.sdf
            gradient = torch.lerp(own.gradient, at.gradient, share[:, None])
            gradient = gradient + (difference * growth)[:, None] * at.inwards
            return SurfacePoints(own.sdf + share * difference, gradient, own.feature)

        return Field(sdf, surface, field.colour)

    def tensors(self) -> dict[str, Tensor]:
        """Return what `of_tensors` takes."""
        return {
            "membrane_K": self.camera.K, "membrane_pose": self.camera.T_world_camera, "membrane_depth": self.depth,
            "membrane_inside": self.inside,
        }  # fmt: skip

    @staticmethod
    def of_tensors(tensors: Mapping[str, Tensor]) -> Membrane | None:
        """Return the membrane that these describe; None where there is none.

        Raises:
            KeyError: only a part of it is there.
            ValueError: sizes do not belong together.
        """
        if "membrane_depth" not in tensors:
            return None
        K, pose, depth, inside = (tensors[f"membrane_{key}"] for key in ("K", "pose", "depth", "inside"))
        if K.shape != (3, 3) or pose.shape != (4, 4) or depth.dim() != 2 or depth.shape != inside.shape:
            raise ValueError("a membrane of another shape than its camera")
        if min(depth.shape) < 2:
            raise ValueError("a membrane of less than two pixels")
        return Membrane(Camera(K, pose, depth.shape[1], depth.shape[0]), depth, inside)

    def to(self, device: torch.device | str) -> Membrane:
        """Move to a device."""
        return Membrane(self.camera.to(device), self.depth.to(device), self.inside.to(device))

    def _at(self, points: Float[Tensor, "n 3"]) -> _Near:
        """Return the surface's distances at points and how far it takes over there, with their spatial gradients."""
        local = self.camera.to_camera(points)
        ahead = local[:, 2].clamp(min=1e-6)
        fx, fy = self.camera.K[0, 0], self.camera.K[1, 1]
        x, y = local[:, 0] / ahead, local[:, 1] / ahead
        spots = torch.stack([fx * x + self.camera.K[0, 2], fy * y + self.camera.K[1, 2]], 1)
        depth, inside = _interpolated(self.depth, spots), _interpolated(self.inside, spots)
        behind = local[:, 2] - depth[:, 0]
        reach = ((behind + _BEFORE) / _FADE + 1).clamp(0, 1) * ((_BEHIND - behind) / _FADE + 1).clamp(0, 1)
        reach = reach * (local[:, 2] > 0)

        def spatial(slopes: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
            across = slopes * torch.stack([fx, fy]) / ahead[:, None]
            return torch.cat([across, -(across * torch.stack([x, y], 1)).sum(1, keepdim=True)], 1)

        turned = self.camera.T_world_camera[:3, :3].T
        towards = spatial(depth[:, 1:]) - torch.tensor([0.0, 0.0, 1.0]).to(local)
        cut, cutting = _risen(inside[:, 0] / _RIM + 1)
        filled, filling = _risen(inside[:, 0] / (2 * _RIM))
        return _Near(
            -behind, towards @ turned, reach * cut, reach * filled, reach * cutting / _RIM,
            reach * filling / (2 * _RIM), spatial(inside[:, 1:]) @ turned,
        )  # fmt: skip


@dataclass(frozen=True)
class _Near:
    distance: Float[Tensor, "n"]
    """To the surface, along the camera's axis; negative behind it."""
    gradient: Float[Tensor, "n 3"]
    cut: Float[Tensor, "n"]
    """How far what stands before the surface is cut off."""
    filled: Float[Tensor, "n"]
    """How far the surface takes the place of the field's."""
    cutting: Float[Tensor, "n"]
    """How fast `cut` grows with the distance inside the opening."""
    filling: Float[Tensor, "n"]
    """How fast `filled` does."""
    inwards: Float[Tensor, "n 3"]
    """The spatial gradient of that distance."""


def _risen(x: Float[Tensor, "n"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Return a smooth step from 0 at x = 0 to 1 at x = 1, and its slope."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x), 6 * x * (1 - x)


def _interpolated(values: Float[Tensor, "h w"], spots: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    """Return the values at pixel positions, bilinear between pixels' centres, and their slopes along x and y.

    Beyond the map the values are those at its border.
    """
    height, width = values.shape
    last = spots.new_tensor([width - 1, height - 1])
    place = torch.minimum((spots - 0.5).clamp(min=0), last)
    low = torch.minimum(place.floor(), last - 1).clamp(min=0)
    x, y = (place - low).unbind(1)
    column, row = low.long().unbind(1)
    a, b = values[row, column], values[row, column + 1]
    c, d = values[row + 1, column], values[row + 1, column + 1]
    upper, lower = torch.lerp(a, b, x), torch.lerp(c, d, x)
    return torch.stack([torch.lerp(upper, lower, y), torch.lerp(b - a, d - c, y), lower - upper], 1)
