"""Pinhole cameras (OpenCV axes: x right, y down, z forward; pixel centres at +0.5) and their rays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protome.geometry.transforms import Similarity


@dataclass(frozen=True)
class Rays:
    """Half lines x = origin + t * direction with unit directions."""

    origins: Float[Tensor, "n 3"]
    directions: Float[Tensor, "n 3"]

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, index: Tensor | slice) -> Rays:
        return Rays(self.origins[index], self.directions[index])

    def at(self, depths: Float[Tensor, "n"]) -> Float[Tensor, "n 3"]:
        """Return the point of each ray at its distance `depths` from the origin."""
        return self.origins + depths[:, None] * self.directions

    def to(self, device: torch.device) -> Rays:
        """Move to a device."""
        return Rays(self.origins.to(device), self.directions.to(device))


def direction(azimuth: float, elevation: float) -> Float[Tensor, "3"]:
    """Return the unit vector from a head towards an azimuth (to the subject's left) and an elevation, radians."""
    level = math.cos(elevation)
    towards = [math.sin(azimuth) * level, math.sin(elevation), math.cos(azimuth) * level]
    return torch.tensor(towards, dtype=torch.float64)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in a world frame; lengths are in that frame's units."""

    K: Float[Tensor, "3 3"]
    """Intrinsics in pixels."""
    T_world_camera: Float[Tensor, "4 4"]
    """Rigid pose: maps camera coordinates to world coordinates."""
    width: int
    height: int

    @staticmethod
    def look_at(
        centre: Float[Tensor, "3"],
        target: Float[Tensor, "3"],
        focal: float,
        width: int,
        height: int,
        up: Float[Tensor, "3"] | None = None,
    ) -> Camera:
        """Return a camera at `centre` with `target` in the middle of its image.

        Raises:
            ValueError: the viewing direction is parallel to `up`.
        """
        up = torch.tensor([0.0, 1.0, 0.0]) if up is None else up
        forward = torch.nn.functional.normalize(target - centre, dim=0)
        right = torch.linalg.cross(forward, up.to(forward))
        if float(right.norm()) < 1e-6:
            raise ValueError("the viewing direction is parallel to the up vector")
        right = torch.nn.functional.normalize(right, dim=0)
        pose = torch.eye(4, dtype=forward.dtype)
        pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], 1)
        pose[:3, 3] = centre
        K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]], dtype=forward.dtype)
        return Camera(K, pose, width, height)

    @property
    def centre(self) -> Float[Tensor, "3"]:
        """The optical centre in the world frame."""
        return self.T_world_camera[:3, 3]

    @property
    def focal(self) -> float:
        """The focal length in pixels (mean of both axes)."""
        return float(self.K[0, 0] + self.K[1, 1]) / 2

    def pixels(self) -> Float[Tensor, "n 2"]:
        """Return all pixel centres (x, y), row by row."""
        y, x = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing="ij")
        return torch.stack([x, y], -1).reshape(-1, 2).to(self.K) + 0.5

    def rays(self, pixels: Float[Tensor, "n 2"] | None = None) -> Rays:
        """Return the rays through the given pixel positions (all pixel centres by default)."""
        ahead = self.unproject(self.pixels() if pixels is None else pixels)
        directions = torch.nn.functional.normalize(ahead @ self.T_world_camera[:3, :3].T, dim=1)
        return Rays(self.centre.expand_as(directions), directions)

    def to_camera(self, points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        """Return world points in camera coordinates."""
        return (points - self.centre) @ self.T_world_camera[:3, :3]

    def project(self, points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 2"]:
        """Return the pixel position (x, y) of world points in front of the camera."""
        homogeneous = self.to_camera(points) @ self.K.T
        return homogeneous[..., :2] / homogeneous[..., 2:]

    def unproject(self, pixels: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
        """Return the points of pixel positions in the plane at depth 1, camera coordinates."""
        return torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1) @ torch.linalg.inv(self.K).T

    def transformed(self, b_from_a: Similarity) -> Camera:
        """Return this camera (posed in frame a) in frame b; its images do not change."""
        pose = self.T_world_camera
        rotation = b_from_a.rotation @ pose[:3, :3]
        centre = b_from_a.apply(pose[:3, 3])
        top = torch.cat([rotation, centre[:, None]], 1)
        return Camera(self.K, torch.cat([top, pose[3:]], 0), self.width, self.height)

    def cropped(self, left: int, top: int, width: int, height: int) -> Camera:
        """Return the camera of the image window that starts at pixel (left, top); it may exceed the image."""
        K = self.K.clone()
        K[0, 2] -= left
        K[1, 2] -= top
        return Camera(K, self.T_world_camera, width, height)

    def resized(self, width: int, height: int) -> Camera:
        """Return the camera of the image resampled to width x height."""
        ratio = torch.tensor([width / self.width, height / self.height, 1.0], dtype=self.K.dtype)
        return Camera(ratio.to(self.K)[:, None] * self.K, self.T_world_camera, width, height)

    def to(self, target: torch.device | torch.dtype | str) -> Camera:
        """Move to a device or a floating-point type."""
        return Camera(self.K.to(target), self.T_world_camera.to(target), self.width, self.height)
