"""Small corrections of each view's camera, optimised during a fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from protome.geometry.camera import Camera, Rays
from protome.geometry.transforms import rotation_from_vector
from protome.scene import View
from protome.units import UNIT_MM

ROTATION = 0.5 * torch.pi / 180
SHIFT = 2.0 / UNIT_MM
FOCAL = 0.01
"""Standard deviations of the cameras' errors: radians, inner units (2 mm) and a share of the focal length."""


class CameraCorrections(nn.Module):
    """Rotates each camera about its own centre, shifts it and scales its focal length; initially the identity.

    Parameters are in standard deviations, so that one learning rate and one prior serve all of them.
    """

    pose: Tensor

    def __init__(self, views: Sequence[View]) -> None:
        """Start with the cameras of views posed in the head frame, inner units."""
        super().__init__()
        self.register_buffer("pose", torch.stack([view.camera.T_world_camera[:3, :3] for view in views]))
        self.rotation = nn.Parameter(torch.zeros(len(views), 3))
        self.shift = nn.Parameter(torch.zeros(len(views), 3))
        self.log_focal = nn.Parameter(torch.zeros(len(views)))

    def move(self, rays: Rays, view: Int[Tensor, "n"]) -> Rays:
        """Return rays of the given views (head frame, inner units) after the cameras' correction."""
        local = torch.einsum("nji,nj->ni", self.pose[view], rays.directions)
        # A longer focal length brings a pixel's ray nearer to the optical axis.
        narrow = torch.exp(-FOCAL * self.log_focal)[view, None]
        local = torch.cat([local[:, :2] * narrow, local[:, 2:]], 1)
        turns = (self.pose @ rotation_from_vector(ROTATION * self.rotation))[view]
        directions = nn.functional.normalize(torch.einsum("nij,nj->ni", turns, local), dim=1)
        return Rays(rays.origins + SHIFT * self.shift[view], directions)

    def intrinsics(self, K: Float[Tensor, "v 3 3"]) -> Float[Tensor, "v 3 3"]:
        """Return all views' intrinsics with their focal lengths corrected."""
        longer = torch.cat([K[:, :2, :2] * self._longer()[:, None, None], K[:, :2, 2:]], 2)
        return torch.cat([longer, K[:, 2:]], 1)

    def _longer(self) -> Float[Tensor, "v"]:
        return torch.exp(FOCAL * self.log_focal)

    def penalty(self) -> Float[Tensor, ""]:
        """Return the mean squared correction, in standard deviations, over views and parameters."""
        parts = torch.cat([self.rotation, self.shift, self.log_focal[:, None]], 1)
        return parts.square().mean()

    def corrected(self, number: int, camera: Camera) -> Camera:
        """Return a view's camera (head frame, inner units) after its correction."""
        K = camera.K.clone()
        K[:2, :2] = K[:2, :2] * self._longer()[number].detach().to(K)
        pose = camera.T_world_camera.clone()
        turn = rotation_from_vector(ROTATION * self.rotation[number].detach())
        pose[:3, :3] = pose[:3, :3] @ turn.to(pose)
        pose[:3, 3] = pose[:3, 3] + SHIFT * self.shift[number].detach().to(pose)
        return Camera(K, pose, camera.width, camera.height)
