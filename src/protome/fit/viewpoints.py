"""The cameras of all photos at once, in the head frame, before and after a fit's corrections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from protome.geometry.camera import Camera, Rays


@dataclass(frozen=True)
class Viewpoints:
    """Poses and intrinsics of all photos' cameras, in the head frame."""

    centre: Float[Tensor, "v 3"]
    axes: Float[Tensor, "v 3 3"]
    """Rows: right, down and forward."""
    K: Float[Tensor, "v 3 3"]

    def project(self, view: Int[Tensor, "n"], points: Float[Tensor, "n p 3"]) -> Float[Tensor, "n p 2"]:
        """Return the pixel positions of each view's own points."""
        local = torch.einsum("nij,npj->npi", self.axes[view], points - self.centre[view, None])
        flat = torch.einsum("nij,npj->npi", self.K[view], local)
        return flat[..., :2] / flat[..., 2:]

    def directions(self, view: Int[Tensor, "n"], spots: Float[Tensor, "n p 2"]) -> Float[Tensor, "n p 3"]:
        """Return directions (one long along the camera's axis) in which each view's pixel positions lie."""
        flat = torch.cat([spots, torch.ones_like(spots[..., :1])], -1)
        local = torch.einsum("nij,npj->npi", torch.linalg.inv(self.K)[view], flat)
        return torch.einsum("nji,npj->npi", self.axes[view], local)


@dataclass(frozen=True)
class CameraRays:
    """All photos' cameras before any correction, as rays, which a fit moves as it moves those of pixels."""

    K: Float[Tensor, "v 3 3"]
    rays: Rays
    """Three a view: from its camera's centre right, down and forward; head frame, inner units."""
    view: Int[Tensor, "n"]
    """The view of each ray."""

    @staticmethod
    def of(cameras: Sequence[Camera]) -> CameraRays:
        """Return the cameras' rays."""
        centres = torch.stack([camera.centre for camera in cameras]).repeat_interleave(3, 0)
        axes = torch.cat([camera.T_world_camera[:3, :3].T for camera in cameras])
        number = torch.arange(len(cameras)).repeat_interleave(3)
        return CameraRays(torch.stack([camera.K for camera in cameras]), Rays(centres, axes), number)

    def viewpoints(self, moved: Rays, K: Float[Tensor, "v 3 3"]) -> Viewpoints:
        """Return the cameras whose rays are `moved`, which are these `rays` after a fit's corrections."""
        return Viewpoints(moved.origins.reshape(-1, 3, 3)[:, 0], moved.directions.reshape(-1, 3, 3), K)

    def to(self, device: torch.device) -> CameraRays:
        """Move to a device."""
        return CameraRays(self.K.to(device), self.rays.to(device), self.view.to(device))
