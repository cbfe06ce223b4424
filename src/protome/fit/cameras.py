"""Small corrections of each view's camera, optimised during a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from protome.geometry.camera import Camera, Rays
from protome.geometry.transforms import rotation_from_vector
from protome.scene import View
from protome.units import UNIT_MM


@dataclass(frozen=True)
class CameraSpread:
    """Standard deviations of what cameras are off by."""

    rotation: float
    """Radians."""
    shift: float
    """Inner units."""
    focal: float
    """Share of the focal length."""
    dolly: bool
    """Whether a camera steps back as its focal length grows, so that the head keeps its size in the image: the
    photos themselves tell the two together far less surely than one of them."""


GIVEN = CameraSpread(0.5 * torch.pi / 180, 2.0 / UNIT_MM, 0.01, dolly=False)
"""Of cameras that another program has found or a rig has measured."""
ESTIMATED = CameraSpread(0.5 * torch.pi / 180, 4.0 / UNIT_MM, 0.05, dolly=True)
"""Of cameras that were found from photos of the head alone."""


class CameraCorrections(nn.Module):
    """Rotates each camera about its own centre, shifts it and scales its focal length; initially the identity.

    Parameters are in standard deviations, so that one learning rate and one prior serve all of them.
    """

    pose: Tensor
    back: Tensor

    def __init__(self, views: Sequence[View], spread: CameraSpread = GIVEN) -> None:
        """Start with the cameras of views posed in the head frame, inner units."""
        super().__init__()
        self.spread = spread
        depths = torch.stack([view.camera.to_camera(torch.zeros(1, 3))[0, 2] for view in views])
        axes = torch.stack([view.camera.T_world_camera[:3, 2] for view in views])
        self.register_buffer("back", -float(spread.dolly) * depths[:, None] * axes)
        self.register_buffer("pose", torch.stack([view.camera.T_world_camera[:3, :3] for view in views]))
        self.rotation = nn.Parameter(torch.zeros(len(views), 3))
        self.shift = nn.Parameter(torch.zeros(len(views), 3))
        self.log_focal = nn.Parameter(torch.zeros(len(views)))

    def move(self, rays: Rays, view: Int[Tensor, "n"]) -> Rays:
        """Return rays of the given views (head frame, inner units) after the cameras' correction."""
        local = torch.einsum("nji,nj->ni", self.pose[view], rays.directions)
        # A longer focal length brings a pixel's ray nearer to the optical axis.
        narrow = 1 / self._longer()[view, None]
        local = torch.cat([local[:, :2] * narrow, local[:, 2:]], 1)
        turns = (self.pose @ rotation_from_vector(self.spread.rotation * self.rotation))[view]
        directions = nn.functional.normalize(torch.einsum("nij,nj->ni", turns, local), dim=1)
        return Rays(rays.origins + self._shifts()[view], directions)

    def intrinsics(self, K: Float[Tensor, "v 3 3"]) -> Float[Tensor, "v 3 3"]:
        """Return all views' intrinsics with their focal lengths corrected."""
        longer = torch.cat([K[:, :2, :2] * self._longer()[:, None, None], K[:, :2, 2:]], 2)
        return torch.cat([longer, K[:, 2:]], 1)

    def _longer(self) -> Float[Tensor, "v"]:
        return torch.exp(self.spread.focal * self.log_focal)

    def _shifts(self) -> Float[Tensor, "v 3"]:
        return self.spread.shift * self.shift + (self._longer() - 1)[:, None] * self.back

    def penalty(self) -> Float[Tensor, ""]:
        """Return the mean squared correction, in standard deviations, over views and parameters."""
        parts = torch.cat([self.rotation, self.shift, self.log_focal[:, None]], 1)
        return parts.square().mean()

    def corrected(self, number: int, camera: Camera) -> Camera:
        """Return a view's camera (head frame, inner units) after its correction."""
        K = camera.K.clone()
        K[:2, :2] = K[:2, :2] * self._longer()[number].detach().to(K)
        pose = camera.T_world_camera.clone()
        turn = rotation_from_vector(self.spread.rotation * self.rotation[number].detach())
        pose[:3, :3] = pose[:3, :3] @ turn.to(pose)
        pose[:3, 3] = pose[:3, 3] + self._shifts()[number].detach().to(pose)
        return Camera(K, pose, camera.width, camera.height)
