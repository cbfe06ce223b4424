"""Where a portrait is taken from: direction, distance, lens, and the square around the face that is cut out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

DISTANCE_M = (0.25, 3.0)
LENS_DEG = (10.0, 42.0)
"""Angles from the lens's axis at which heads may stand: 100 mm to 20 mm lenses see as far."""


@dataclass(frozen=True)
class PortraitCamera:
    """A pinhole camera whose picture is a square of `size` pixels, cut out of a photo around a face."""

    position: Float[np.ndarray, "3"]
    """Head frame, metres."""
    rotation: Float[np.ndarray, "3 3"]
    """Camera from head; OpenCV's axes."""
    focal: float
    """Pixels."""
    centre: Float[np.ndarray, "2"]
    """Principal point, pixels: outside the picture where the head is far from the photo's middle."""
    size: int

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return pixel coordinates and depths of points of the head frame."""
        seen = (points - self.position) @ self.rotation.T
        return np.concatenate([self.focal * seen[:, :2] / seen[:, 2:] + self.centre, seen[:, 2:]], 1)

    def rays(self, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
        """Return directions (depth 1) of the rays through places of the picture."""
        flat = (pixels - self.centre) / self.focal
        return (flat @ self.rotation[:2] + self.rotation[2]).astype(np.float32)


def draw_yaw(rng: np.random.Generator) -> float:
    """Return a yaw in degrees: mostly towards the camera, up to 100 to either side."""
    if rng.random() < 0.7:
        return float(np.clip(rng.normal(0, 28), -100, 100))
    return float(rng.uniform(-100, 100))


def draw_camera(face: Float[np.ndarray, "n 3"], size: int, share: float, rng: np.random.Generator) -> PortraitCamera:
    """Return a camera that sees the points of a face over a share of the picture's side.

    The crop is centred on the face as a detector would, with some error.
    """
    yaw, pitch = np.radians(draw_yaw(rng)), np.radians(np.clip(rng.normal(4, 13), -40, 45))
    level = np.cos(pitch)
    away = np.array([np.sin(yaw) * level, np.sin(pitch), np.cos(yaw) * level])
    distance = float(np.exp(rng.uniform(*np.log(DISTANCE_M))))
    middle = face.mean(0) + np.array([0, 0, -0.05])
    position = middle + distance * away
    # The lens looks past the head by the angle at which the head stands in the photo.
    roll = float(np.clip(rng.normal(0, 14), -60, 60)) if rng.random() < 0.96 else float(rng.uniform(-180, 180))
    forward, right = -away, np.cross([0, 1.0, 0], away)
    right /= np.linalg.norm(right)
    looking = np.stack([right, np.cross(forward, right), forward])
    off = np.radians(rng.uniform(*LENS_DEG)) * np.sqrt(rng.random()) * rng.choice([0.0, 1.0], p=[0.3, 0.7])
    around = rng.uniform(0, 2 * np.pi)
    tilt = Rotation.from_rotvec(off * np.array([np.cos(around), np.sin(around), 0]))
    rotation = Rotation.from_euler("z", roll, degrees=True).as_matrix() @ tilt.as_matrix() @ looking
    camera = PortraitCamera(position, rotation, 1.0, np.zeros(2), size)
    seen = camera.project(face)[:, :2]
    low, high = seen.min(0), seen.max(0)
    extent = float((high - low).max())
    focal = share * size / extent
    jitter = np.clip(rng.normal(0, 0.05, 2), -0.15, 0.15) * size
    return PortraitCamera(position, rotation, focal, size / 2 - focal * 0.5 * (low + high) + jitter, size)
