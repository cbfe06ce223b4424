"""Poses of faces of any size in the picture, with lenses of 20 to 800 mm (35 mm equivalent), against known ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from protome.capture.cameras import camera_from_landmarks
from protome.capture.head import head_from_landmarks
from protome.capture.photo import FILM_DIAGONAL_MM
from protome.fit.options import FitOptions
from protome.geometry.camera import Camera
from protome.geometry.pose import solve_pose
from protome.landmarks import load_face_landmarks
from protome.morphable.fit import Sighting, fit_landmarks
from protome.morphable.linear import load_builtin
from protome.pipeline import reconstruct
from protome.scene import View
from protome.units import UNIT_MM

FACE = load_face_landmarks()
POINTS, WEIGHTS = FACE.positions.double().numpy(), FACE.weights.double().numpy()
MIDDLE, HEIGHT_MM = POINTS.mean(0), float(np.ptp(POINTS[:, 1]))
WIDTH, HEIGHT = 2048, 1536
NEAREST_POINT_MM = 40.0
"""Nobody holds a lens nearer to any part of a face."""


@dataclass(frozen=True)
class Shot:
    """A known pose: x_camera = rotation @ x_head + translation."""

    rotation: np.ndarray
    translation: np.ndarray
    K: np.ndarray

    def project(self, turn: np.ndarray | None = None, shift: np.ndarray | None = None) -> np.ndarray:
        """Return the face's pixels, perhaps with the head turned (rotation vector) and shifted a little."""
        rotation = self.rotation if turn is None else Rotation.from_rotvec(turn).as_matrix() @ self.rotation
        places = POINTS @ rotation.T + self.translation + (0.0 if shift is None else shift)
        image = places @ self.K.T
        return image[:, :2] / image[:, 2:]

    @property
    def middle(self) -> np.ndarray:
        """The middle of the face in the camera."""
        return self.rotation @ MIDDLE + self.translation

    @property
    def nearest(self) -> float:
        return float((POINTS @ self.rotation[2] + self.translation[2]).min())


def shot(
    film_mm: float, face_px: float, yaw: float = 0.0, pitch: float = 0.0, place: tuple[float, float] = (0, 0)
) -> Shot:
    """A photo of 2048 x 1536 pixels; `place` of the face's middle runs from -1 to 1 across the picture."""
    focal = film_mm * math.hypot(WIDTH, HEIGHT) / FILM_DIAGONAL_MM
    K = np.array([[focal, 0.0, WIDTH / 2], [0.0, focal, HEIGHT / 2], [0.0, 0.0, 1.0]])
    rotation = np.diag([1.0, -1.0, -1.0]) @ Rotation.from_euler("xy", [pitch, -yaw]).as_matrix()
    distance = focal * HEIGHT_MM / face_px
    middle = distance * np.array([place[0] * WIDTH / 2 / focal, place[1] * HEIGHT / 2 / focal, 1.0])
    return Shot(rotation, middle - rotation @ MIDDLE, K)


def deviations(known: Shot, noise: float) -> tuple[float, float]:
    """Return what noise of each pixel makes of the turn (degrees) and of the distance of the face's middle (relative).

    The covariance of a weighted least squares estimate, with derivatives by central differences.
    """
    turn_step, shift_step = 1e-6, 1e-6 * known.middle[2]
    steps = np.concatenate([turn_step * np.eye(3), shift_step * np.eye(3)])
    columns = []
    for row, step in enumerate(steps):
        ahead, back = (
            known.project(turn=sign * step) if row < 3 else known.project(shift=sign * step) for sign in (1.0, -1.0)
        )
        columns.append((ahead - back).ravel() / (2 * np.abs(step).max()))
    jacobian = np.stack(columns, 1)
    weights = np.repeat(WEIGHTS, 2)
    inverse = np.linalg.inv(jacobian.T @ (weights[:, None] * jacobian))
    covariance = noise**2 * inverse @ (jacobian.T @ (weights[:, None] ** 2 * jacobian)) @ inverse
    # A turn about the head's origin moves the middle as well.
    arm = known.rotation @ MIDDLE
    lever = np.array([[0, arm[2], -arm[1]], [-arm[2], 0, arm[0]], [arm[1], -arm[0], 0]])
    along = known.middle / np.linalg.norm(known.middle)
    line = np.concatenate([along @ lever, along])
    turn = math.degrees(math.sqrt(np.trace(covariance[:3, :3])))
    return turn, float(math.sqrt(line @ covariance @ line) / np.linalg.norm(known.middle))


def errors(known: Shot, rotation: np.ndarray, translation: np.ndarray) -> tuple[float, float]:
    """Return the found pose's error in turn (degrees) and distance of the face's middle (relative)."""
    turn = math.degrees(Rotation.from_matrix(rotation @ known.rotation.T).magnitude())
    distances = [np.linalg.norm(middle) for middle in (rotation @ MIDDLE + translation, known.middle)]
    return turn, float(abs(distances[0] / distances[1] - 1))


shots = st.builds(
    shot,
    st.floats(math.log(20), math.log(800)).map(math.exp),
    st.floats(math.log(40), math.log(2000)).map(math.exp),
    st.floats(-1.0, 1.0, allow_subnormal=False),
    st.floats(-0.4, 0.4, allow_subnormal=False),
    st.tuples(*[st.floats(-0.9, 0.9, allow_subnormal=False)] * 2),
)


@given(shots, st.integers(0, 2**32 - 1))
def test_poses_are_as_exact_as_the_pixels_allow(known: Shot, seed: int) -> None:
    assume(known.nearest > NEAREST_POINT_MM)
    noise = 0.3
    pixels = known.project() + noise * np.random.default_rng(seed).normal(size=(len(POINTS), 2))
    pose = solve_pose(POINTS, pixels, WEIGHTS, known.K)
    turn, distance = errors(known, pose.rotation, pose.translation)
    # Five deviations for chance, and a fifth more because robust weights trust good points a little less.
    bounds = [6 * deviation for deviation in deviations(known, noise)]
    assert turn < bounds[0]
    assert distance < bounds[1]


@pytest.mark.parametrize("film_mm", [20, 28, 50, 85, 135, 300, 800])
@pytest.mark.parametrize("face_px", [40, 101, 270, 2000])
def test_exact_pixels_give_the_exact_pose(film_mm: float, face_px: float) -> None:
    known = shot(film_mm, face_px, 0.4, -0.1, (0.3, -0.4))
    if known.nearest < NEAREST_POINT_MM:  # as near as one gets with such a lens
        known = shot(film_mm, face_px / 2, 0.4, -0.1)
    pose = solve_pose(POINTS, known.project(), WEIGHTS, known.K)
    assert max(errors(known, pose.rotation, pose.translation)) < 1e-6
    assert pose.error < 1e-6


@pytest.mark.parametrize(("film_mm", "face_px"), [(85, 101), (300, 270), (800, 40)])
def test_a_quarter_of_wrong_landmarks_does_not_move_a_distant_face(film_mm: float, face_px: float) -> None:
    known = shot(film_mm, face_px, -0.5)
    pixels = known.project()
    rng = np.random.default_rng(1)
    wrong = rng.choice(len(pixels), len(pixels) // 4, replace=False)
    pixels[wrong] += face_px * rng.uniform(0.2, 4.0, (len(wrong), 2))
    pose = solve_pose(POINTS, pixels, WEIGHTS, known.K)
    turn, distance = errors(known, pose.rotation, pose.translation)
    assert turn < 0.1
    assert distance < 1e-3


@pytest.mark.parametrize(("film_mm", "face_px"), [(85, 101), (300, 270), (800, 40)])
def test_everything_that_asks_for_a_pose_takes_long_lenses(film_mm: float, face_px: float) -> None:
    known = shot(film_mm, face_px, 0.3)
    landmarks = torch.cat([torch.from_numpy(known.project()), torch.zeros(10, 2)]).float()
    focal = float(known.K[0, 0])
    centre = torch.from_numpy(-known.rotation.T @ known.translation)
    distance = float(centre.norm())
    camera = camera_from_landmarks(landmarks, WIDTH, HEIGHT, focal, FACE)
    assert (camera.centre.double() - centre).norm() < 1e-3 * distance

    # One posed view in a world that is the camera's own frame.
    posed = Camera(torch.from_numpy(known.K), torch.eye(4, dtype=torch.float64), WIDTH, HEIGHT)
    view = View("far.jpg", torch.zeros(HEIGHT, WIDTH, 3), torch.ones(HEIGHT, WIDTH), posed, landmarks)
    placed = head_from_landmarks([view], "mm", FACE).head_from_world.to(torch.float64)
    assert (UNIT_MM * placed.apply(torch.zeros(1, 3).double())[0] - centre).norm() < 1e-3 * distance

    # The head model's mean face is another one: only the distance, and that nearly, is the same.
    model = load_builtin()
    assert model.dense is not None
    mean = model.dense.on(model.template, model.faces)
    seen = replace(camera, T_world_camera=camera.T_world_camera.double(), K=camera.K.double()).project(mean.double())
    fit = fit_landmarks(model, [Sighting(torch.cat([seen, torch.zeros(10, 2)]).float(), camera, focal_known=True)])
    assert (fit.cameras[0].centre - camera.centre).norm() < 0.01 * distance


def test_small_faces_without_a_recorded_focal_length_are_posed() -> None:
    """The assumed focal length is 1.2 times the longer side; the face has 40 pixels of 2048."""
    known = shot(1.2 * WIDTH / math.hypot(WIDTH, HEIGHT) * FILM_DIAGONAL_MM, 40, 0.2)
    landmarks = torch.cat([torch.from_numpy(known.project()), torch.zeros(10, 2)]).float()
    camera = camera_from_landmarks(landmarks, WIDTH, HEIGHT, None, FACE)
    distance = float(np.linalg.norm(known.translation))
    assert float(camera.centre.norm()) == pytest.approx(distance, rel=1e-3)


def portrait(path: Path, face_px: float, film_mm: int) -> Path:
    """Write the portrait of scikit-image on a large page, its face so high and its lens as EXIF says."""
    face_in_original = 108.0  # pixels, between the outermost of the landmarks that MediaPipe finds
    side = round(512 * face_px / face_in_original)
    page = Image.new("RGB", (WIDTH, HEIGHT), (150, 150, 150))
    page.paste(Image.fromarray(skimage.data.astronaut()).resize((side, side), Image.Resampling.LANCZOS), (700, 200))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[41989] = film_mm
    page.save(path, quality=95, exif=exif)
    return path


@pytest.mark.parametrize(("face_px", "film_mm"), [(100, 85), (270, 300)])
def test_a_portrait_with_a_long_lens_becomes_a_head(tmp_path: Path, face_px: float, film_mm: int) -> None:
    photo = portrait(tmp_path / "portrait.jpg", face_px, film_mm)
    head = reconstruct([photo], preset="draft", resolution=64, options=FitOptions(budget="2"), quiet=True)
    camera = head.camera(0)
    focal = film_mm * math.hypot(WIDTH, HEIGHT) / FILM_DIAGONAL_MM
    assert camera.focal == pytest.approx(focal, rel=1e-4)
    # The face of the portrait looks a little aside and down, and is not the mean face.
    assert float(camera.centre.norm()) == pytest.approx(focal * HEIGHT_MM / face_px, rel=0.1)
    eyes = torch.from_numpy(np.stack([head.landmarks["right_eye"], head.landmarks["left_eye"]])).float()
    # In the original the inner corners of the eyes lie between columns 205 and 250 in rows 100 to 125.
    left, top = 700, 200
    scale = face_px / 108.0
    for x, y in camera.project(eyes).tolist():
        assert 200 < (x - left) / scale < 255
        assert 95 < (y - top) / scale < 130
