"""How well photos without cameras are placed: focal lengths, poses and size against the cameras that took them."""

from __future__ import annotations

import re
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from protome.benchmark.captures import CasualCapture, TruePhoto
from protome.benchmark.true_size import meeting_points
from protome.capture.capture import capture_photos
from protome.capture.iris import implied_diameters
from protome.capture.size import Size, estimate_size
from protome.errors import InputError, ProtomeWarning
from protome.evaluate.h3ds import read_scene
from protome.geometry.align import align_landmarks
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.scene import Scene
from protome.units import UNIT_MM

FACE_POINTS = 300
"""Points of the true face that are seen by all cameras, to compare these."""


@dataclass(frozen=True)
class Placing:
    """How the photos of a capture were placed. Numbers are NaN where there is nothing to compare."""

    photos: int
    used: int
    left_out: tuple[str, ...]
    """Photos that are not in the scene."""
    reason: str
    """Why there is no scene; empty where there is one."""
    posed: bool
    """Whether the photos share one head frame."""
    focal_percent: float
    """Median error of the focal lengths; of a file that records its own, that one's."""
    rotation_deg: float
    """Median error of the rotation between two photos."""
    across_mm: float
    """Root mean square distance, at the face's depth, from true image points to the points that the cameras together
    triangulate from them: how far the cameras contradict each other."""
    shape_mm: float
    """Mean distance of these points from the true ones, size and pose free: how far the cameras bend a face."""
    size_percent: float
    """Signed error of the size that distances and focal lengths imply: the median over photos."""
    sized_percent: float
    """The same after irises and recorded distances have corrected the size."""
    stated_percent: float
    """The standard deviation that is stated for that."""
    irises: int
    """How many irises were measured."""
    warned: tuple[str, ...]
    """Warnings."""
    seconds: float


def measure_placing(capture: CasualCapture) -> Placing:
    """Place a capture's photos as `protome reconstruct` does and compare with its truth."""
    began = time.perf_counter()
    scene, reason, warned = place(capture.paths)
    seconds = time.perf_counter() - began
    if scene is None:
        nothing = float("nan")
        left = tuple(photo.file for photo in capture.photos)
        return Placing(
            len(left), 0, left, reason, False, nothing, nothing, nothing, nothing, nothing, nothing, nothing, 0, warned,
            seconds,
        )  # fmt: skip
    pairs = paired(capture, scene)
    used = {photo.file for photo, _ in pairs}
    left = tuple(photo.file for photo in capture.photos if photo.file not in used)
    focal = [abs(camera.focal / photo.camera.focal - 1) for photo, camera in pairs]
    error = float(np.median([_size(photo, camera) for photo, camera in pairs]))
    size, irises = _estimated_size(scene)
    across, shape = _triangulated(capture, pairs)
    return Placing(
        len(capture.photos), len(pairs), left, "", scene.posed, 100 * float(np.median(focal)), _turns(pairs), across,
        shape, 100 * error, 100 * ((1 + error) * size.factor - 1), size.std_percent or float("nan"), irises, warned,
        seconds,
    )  # fmt: skip


def place(paths: list[Path]) -> tuple[Scene | None, str, tuple[str, ...]]:
    """Return the scene of photos, or none and the reason, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProtomeWarning)
        try:
            scene, reason = capture_photos(paths), ""
        except InputError as error:
            scene, reason = None, str(error)
    return scene, reason, tuple(str(own.message) for own in caught if issubclass(own.category, ProtomeWarning))


def paired(capture: CasualCapture, scene: Scene) -> list[tuple[TruePhoto, Camera]]:
    """Return the photos that are in a scene with the cameras found, in the head frame (mm) and the file's pixels."""
    by_name = {photo.file: photo for photo in capture.photos}
    found = []
    for view in scene.to(torch.float64).in_head_frame().views:
        photo = by_name[view.name]
        camera = view.camera.transformed(Similarity.scaling(UNIT_MM, torch.float64)).to(torch.float64)
        found.append((photo, camera.resized(photo.camera.width, photo.camera.height)))
    return found


def missing(capture: CasualCapture, scene: Scene | None, reason: str) -> set[str]:
    """Return the photos that were left out, or for which all were refused."""
    named = set(re.findall(r"photo_\d+\.jpg", reason))
    if scene is None:
        return named or {photo.file for photo in capture.photos}
    return {photo.file for photo in capture.photos} - {view.name for view in scene.views}


def _size(photo: TruePhoto, camera: Camera) -> float:
    """Return the relative error of the size that a photo's distance and focal length imply."""
    origin = torch.zeros(1, 3, dtype=torch.float64)
    found, true = (float(own.to_camera(origin)[0, 2]) / own.focal for own in (camera, photo.camera))
    return found / true - 1


def _estimated_size(scene: Scene) -> tuple[Size, int]:
    """Return the size that the photos say, and how many irises that rests on."""
    millimetres = Similarity.scaling(UNIT_MM, torch.float64)
    cameras = [view.camera.transformed(millimetres) for view in scene.to(torch.float64).in_head_frame().views]
    return estimate_size(scene.views, cameras), len(implied_diameters(scene.views, cameras))


def _turns(pairs: list[tuple[TruePhoto, Camera]]) -> float:
    """Return the median error of the rotations between two photos, degrees."""
    errors = []
    for first in range(len(pairs)):
        for second in range(first):
            turns = []
            for own in (0, 1):
                a, b = (
                    (pairs[k][0].camera if own == 0 else pairs[k][1]).T_world_camera[:3, :3] for k in (first, second)
                )
                turns.append(a.T @ b)
            cosine = (float((turns[0] * turns[1]).sum()) - 1) / 2
            errors.append(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
    return float(np.median(errors)) if errors else float("nan")


def _triangulated(capture: CasualCapture, pairs: list[tuple[TruePhoto, Camera]]) -> tuple[float, float]:
    """Return the cameras' contradiction and the bend of the face, as `Placing` has them."""
    if len(pairs) < 2:
        return float("nan"), float("nan")
    truth = read_scene(capture.folder)
    face = truth.regions["face_sphere"]
    points = torch.from_numpy(truth.head.mesh.vertices[face[:: max(1, len(face) // FACE_POINTS)]]).double()
    seen = [photo.camera.project(points) for photo, _ in pairs]
    cameras = [camera for _, camera in pairs]
    rays = [camera.rays(pixels) for camera, pixels in zip(cameras, seen, strict=True)]
    origins = torch.stack([own.origins.double() for own in rays])
    directions = torch.stack([own.directions.double() for own in rays])
    found = meeting_points(origins, directions)
    square = []
    for camera, pixels in zip(cameras, seen, strict=True):
        inside = camera.to_camera(found)
        depth = inside[:, 2].clamp(min=1.0)
        square.append(((camera.project(found) - pixels) * (depth / camera.focal)[:, None]).square().sum(1))
    across = float(torch.stack(square).mean().sqrt())
    aligned = align_landmarks(found.numpy(), points.numpy(), "similarity").target_from_source
    return across, float((aligned.apply(found) - points).norm(dim=1).mean())
