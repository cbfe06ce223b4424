"""Cameras from face landmarks: where a photo was taken from."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome.geometry.camera import Camera
from protome.geometry.pose import check_pose, solve_pose
from protome.landmarks import FaceLandmarks

ASSUMED_FOCAL = 1.2
"""Focal length, in units of the longer image side, of photos that do not record theirs: an angle of view of 45 degrees,
between a phone's main lens (0.75) and its portrait lens (1.6). The optical axis is assumed to meet the middle."""
NEAREST_MM = 700.0
"""Portraits are taken from about this distance or farther: where the assumed focal length puts the camera nearer, the
picture was probably cut out of a larger one, and the assumption is raised to match. Selfies are nearer, but they come
from phones, which record the focal length."""


def camera_from_landmarks(
    landmarks: Float[Tensor, "478 2"],
    width: int,
    height: int,
    focal_px: float | None,
    face: FaceLandmarks,
    name: str = "the photo",
) -> Camera:
    """Return the camera that saw the mean face at these pixels, posed in the head frame in millimetres.

    `focal_px` is the focal length in pixels where the file records it; otherwise `ASSUMED_FOCAL` holds. A crop of a
    larger picture has neither that focal length nor its axis in the middle; what this bends is a slight perspective,
    and the distance, never the face's place in the image.

    Raises:
        InputError: no believable pose of a face explains the landmarks.
    """
    points = face.positions.double().numpy()
    pixels = landmarks[: len(points)].detach().cpu().double().numpy()
    weights = face.weights.double().numpy()
    focal = focal_px if focal_px is not None else ASSUMED_FOCAL * max(width, height)
    pose = solve_pose(points, pixels, weights, _intrinsics(focal, width, height))
    distance = float(np.linalg.norm(pose.translation))
    if focal_px is None and distance < NEAREST_MM:
        focal *= NEAREST_MM / distance
        pose = solve_pose(points, pixels, weights, _intrinsics(focal, width, height))
    check_pose(pose, points, pixels, name)
    T_head_camera = np.eye(4)
    T_head_camera[:3, :3] = pose.rotation.T
    T_head_camera[:3, 3] = pose.centre
    K = torch.from_numpy(_intrinsics(focal, width, height)).float()
    return Camera(K, torch.from_numpy(T_head_camera).float(), width, height)


def _intrinsics(focal: float, width: int, height: int) -> Float[np.ndarray, "3 3"]:
    return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
