"""Painted portraits for tests: the mean face's landmarks seen by a known camera, on flat colours."""

from __future__ import annotations

import math

import numpy as np
import torch

from protome.capture.skin import LEFT_EYE, LIPS, RIGHT_EYE, skin_mask
from protome.geometry.camera import Camera, direction
from protome.geometry.transforms import Similarity
from protome.landmarks import load_face_landmarks
from protome.scene import Scene, View
from protome.units import UNIT_MM

SKIN, HAIR, WALL, DARK = (0.7, 0.5, 0.4), (0.25, 0.18, 0.12), (0.8, 0.85, 0.8), (0.2, 0.1, 0.1)


def landmarks_in(camera: Camera) -> torch.Tensor:
    """The mean face's landmarks in a camera that is posed in the head frame in millimetres, irises included."""
    seen = camera.project(load_face_landmarks().positions.to(camera.K))
    irises = torch.stack([seen[[33, 133]].mean(0)] * 5 + [seen[[263, 362]].mean(0)] * 5)
    return torch.cat([seen, irises]).float()


def portrait_camera(azimuth: float = 0.0, size: int = 480, distance: float = 700.0, lens: float = 1.6) -> Camera:
    """A camera at an azimuth in degrees, its head in the middle; `lens` is the focal length in sides of the picture."""
    centre = distance * direction(math.radians(azimuth), 0.0)
    return Camera.look_at(centre, torch.tensor([0.0, -15.0, -60.0]).double(), lens * size, size, size).to(torch.float32)


def paint(camera: Camera, hair_mm: float = 115.0, name: str = "a.png") -> View:
    """A portrait: a ball of hair (its radius in millimetres) behind the face, eyes and lips dark, shoulders below."""
    landmarks = landmarks_in(camera)
    size = camera.width
    y, x = np.mgrid[:size, :size] + 0.5
    middle = camera.project(torch.tensor([[0.0, 10.0, -60.0]]))[0].numpy()
    radius = hair_mm * camera.focal / float(camera.centre.norm())
    ball = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < radius**2
    chin = float(landmarks[152, 1])
    body = (y > chin + 0.1 * size) & (np.abs(x - middle[0]) < 0.4 * size)
    skin = skin_mask(landmarks, size, size).numpy()
    image = np.full((size, size, 3), WALL)
    image[body] = (0.2, 0.3, 0.5)
    image[ball] = HAIR
    oval = skin | _inside(landmarks, size)
    image[oval] = SKIN
    for loop in (RIGHT_EYE, LEFT_EYE, LIPS):
        image[_filled(landmarks[list(loop)].numpy(), size)] = DARK
    mask = torch.from_numpy(ball | body | oval).float()
    return View(name, torch.from_numpy(image).float(), mask, camera, landmarks, focal_from="from the file", faces=1)


def scene_of(*views: View) -> Scene:
    """The views as capture leaves them."""
    return Scene(views, Similarity.scaling(1 / UNIT_MM), posed=False)


def _inside(landmarks: torch.Tensor, size: int) -> np.ndarray:
    from protome.capture.skin import OVAL

    return _filled(landmarks[list(OVAL)].numpy(), size)


def _filled(corners: np.ndarray, size: int) -> np.ndarray:
    """The pixels inside a polygon, by the even-odd rule."""
    y, x = np.mgrid[:size, :size] + 0.5
    odd = np.zeros((size, size), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        odd ^= crosses & (x < x0 + (y - y0) / (y1 - y0 if y1 != y0 else 1.0) * (x1 - x0))
    return odd
