"""Lengths with which a user could fix the metric scale, measured in a scene with ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome.capture.landmarks import detect
from protome.capture.skin import eyes_closed
from protome.encoder.features import IRIS
from protome.evaluate.h3ds import H3dsScene
from protome.geometry.camera import Camera, Rays
from protome.scenes.h3ds import read_h3ds, view_sets

PUPIL_VIEWS = "3"
"""The view set in which pupils are detected: the front and both sides of the face."""


def camera_distance_mm(truth: H3dsScene, camera: Camera) -> float:
    """Return the distance from a camera (world frame, millimetres) to the tip of the true nose."""
    nose = truth.head.points(["nose_tip"], "--landmarks")[0]
    return float(np.linalg.norm(nose - camera.centre.double().numpy()))


def pupils_mm(folder: Path) -> float | None:
    """Return the distance between a person's pupils, triangulated from posed photos.

    None where fewer than two photos show open eyes.
    """
    if PUPIL_VIEWS not in view_sets(folder):
        return None
    views = read_h3ds(folder, [PUPIL_VIEWS])
    found = detect([view.image for view in views], with_masks=False)
    pairs = [
        (view.camera, detection.faces[0])
        for view, detection in zip(views, found, strict=True)
        if detection.faces and not eyes_closed(detection.faces[0])
    ]
    if len(pairs) < 2:
        return None
    rays = [camera.rays(landmarks[-2 * IRIS :: IRIS].to(camera.K)) for camera, landmarks in pairs]
    right, left = (
        nearest_point(
            Rays(*(torch.stack([getattr(own, key)[eye] for own in rays]) for key in ("origins", "directions")))
        )
        for eye in (0, 1)
    )
    return float((right - left).norm())


def nearest_point(rays: Rays) -> Float[Tensor, "3"]:
    """Return the point with the least summed squared distance to the rays' lines; directions are unit vectors."""
    return meeting_points(rays.origins.double()[:, None], rays.directions.double()[:, None])[0]


def meeting_points(origins: Float[Tensor, "v n 3"], directions: Float[Tensor, "v n 3"]) -> Float[Tensor, "n 3"]:
    """Return for each of n points the place nearest to its rays from v cameras; directions are unit vectors."""
    across = torch.eye(3, dtype=origins.dtype) - directions[..., :, None] * directions[..., None, :]
    return torch.linalg.solve(across.sum(0), (across @ origins[..., None]).sum(0))[..., 0]
