"""Small corrections of each view's camera, optimised during a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from protome.geometry.camera import Camera, Rays
from protome.geometry.transforms import rotation_from_vector
from protome.scene import Scene, View
from protome.units import UNIT_MM


@dataclass(frozen=True)
class CameraSpread:
    """Standard deviations of what cameras are off by."""

    rotation: Float[Tensor, "#v"]
    """Radians."""
    shift: float
    """Inner units."""
    focal: Float[Tensor, "#v"]
    """Share of the focal length."""
    around_head: bool
    """Whether a camera turns about the head instead of its own centre, so that the head keeps its place in the image:
    photos of the head determine it far better than where the camera stood."""


GIVEN = CameraSpread(torch.tensor([0.5 * torch.pi / 180]), 2.0 / UNIT_MM, torch.tensor([0.01]), around_head=False)
"""Of cameras that another program has found or a rig has measured."""
SHIFT = 4.0 / UNIT_MM
"""Standard deviation of the shift of cameras that were found from photos of the head alone, inner units."""


def spread_of(scene: Scene) -> CameraSpread:
    """Return the standard deviations for a posed scene.

    Focal lengths that were found with the cameras are held: masks and colours know less of a lens than landmarks and
    matches do, and outlines of hair moved it by a quarter.
    """
    estimate = scene.estimate
    if estimate is None:
        return GIVEN
    rotation = torch.tensor(estimate.rotation_spread)
    return CameraSpread(rotation, SHIFT, torch.zeros_like(rotation), around_head=True)


class CameraCorrections(nn.Module):
    """Rotates each camera, shifts it and scales its focal length; initially the identity.

    Parameters are in standard deviations, so that one learning rate and one prior serve all of them.
    """

    pose: Tensor
    arm: Tensor
    rotation_spread: Tensor
    focal_spread: Tensor

    def __init__(self, views: Sequence[View], spread: CameraSpread = GIVEN) -> None:
        """Start with the cameras of views posed in the head frame, inner units."""
        super().__init__()
        self.shift_spread, around = spread.shift, float(spread.around_head)
        self.register_buffer("arm", around * torch.stack([view.camera.centre for view in views]))
        self.register_buffer("pose", torch.stack([view.camera.T_world_camera[:3, :3] for view in views]))
        self.register_buffer("rotation_spread", spread.rotation.expand(len(views)).clone())
        self.register_buffer("focal_spread", spread.focal.expand(len(views)).clone())
        self.rotation = nn.Parameter(torch.zeros(len(views), 3))
        self.shift = nn.Parameter(torch.zeros(len(views), 3))
        self.log_focal = nn.Parameter(torch.zeros(len(views)))

    def move(self, rays: Rays, view: Int[Tensor, "n"]) -> Rays:
        """Return rays of the given views (head frame, inner units) after the cameras' correction."""
        local = torch.einsum("nji,nj->ni", self.pose[view], rays.directions)
        # A longer focal length brings a pixel's ray nearer to the optical axis.
        narrow = 1 / self._longer()[view, None]
        local = torch.cat([local[:, :2] * narrow, local[:, 2:]], 1)
        directions = nn.functional.normalize(torch.einsum("nij,nj->ni", self._poses()[view], local), dim=1)
        return Rays(rays.origins + self._shifts()[view], directions)

    def intrinsics(self, K: Float[Tensor, "v 3 3"]) -> Float[Tensor, "v 3 3"]:
        """Return all views' intrinsics with their focal lengths corrected."""
        longer = torch.cat([K[:, :2, :2] * self._longer()[:, None, None], K[:, :2, 2:]], 2)
        return torch.cat([longer, K[:, 2:]], 1)

    def _longer(self) -> Float[Tensor, "v"]:
        return torch.exp(self.focal_spread * self.log_focal)

    def _poses(self) -> Float[Tensor, "v 3 3"]:
        return self.pose @ rotation_from_vector(self.rotation_spread[:, None] * self.rotation)

    def _shifts(self) -> Float[Tensor, "v 3"]:
        """Return how far the cameras' centres move.

        About the head's origin, a camera's centre c turns to P R P^-1 c, where P is its pose.
        """
        turned = torch.einsum("vij,vkj,vk->vi", self._poses(), self.pose, self.arm)
        return self.shift_spread * self.shift + turned - self.arm

    def penalty(self) -> Float[Tensor, ""]:
        """Return the mean squared correction, in standard deviations, over views and parameters."""
        parts = torch.cat([self.rotation, self.shift], 1).square().sum() + self.log_focal.square().sum()
        return parts / (self.rotation.numel() + self.shift.numel() + len(self.rotation))

    def corrected(self, number: int, camera: Camera) -> Camera:
        """Return a view's camera (head frame, inner units) after its correction."""
        K = camera.K.clone()
        K[:2, :2] = K[:2, :2] * self._longer()[number].detach().to(K)
        pose = camera.T_world_camera.clone()
        turn = rotation_from_vector(self.rotation_spread[number] * self.rotation[number].detach())
        pose[:3, :3] = pose[:3, :3] @ turn.to(pose)
        pose[:3, 3] = pose[:3, 3] + self._shifts()[number].detach().to(pose)
        return Camera(K, pose, camera.width, camera.height)
