"""Poses against known cameras, and the head in posed scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from protome.capture.cameras import NEAREST_MM, camera_from_landmarks
from protome.capture.head import head_from_landmarks
from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.geometry.pose import solve_pose, turned_degrees
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.landmarks import load_face_landmarks
from protome.scene import View
from protome.units import UNIT_MM

FACE = load_face_landmarks()
POINTS, WEIGHTS = FACE.positions.double(), FACE.weights.double()


def camera_at(yaw: float, pitch: float = 0.1, distance: float = 800.0, focal: float = 900.0) -> Camera:
    """A camera in the head frame (mm, double) that looks at the face from the subject's left for positive yaw."""
    direction = torch.tensor([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    target = torch.tensor([5.0, -40.0, -20.0], dtype=torch.float64)
    return Camera.look_at(target + distance * direction, target, focal, 640, 480)


def landmarks_in(camera: Camera, noise: float = 0.0) -> torch.Tensor:
    """What a perfect detector would see; the irises, which no pose uses, lie at zero."""
    pixels = camera.project(POINTS)
    pixels = pixels + noise * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    return torch.cat([pixels, torch.zeros(10, 2)]).float()


def angle_between(first: torch.Tensor, second: torch.Tensor) -> float:
    cosine = (torch.trace(first.double().T @ second.double()) - 1) / 2
    return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))))


@pytest.mark.parametrize("yaw", [-1.0, -0.4, 0.0, 0.7])
def test_a_known_camera_is_recovered(yaw: float) -> None:
    truth = camera_at(yaw)
    camera = camera_from_landmarks(landmarks_in(truth), 640, 480, 900.0, FACE)
    assert (camera.centre - truth.centre).norm() < 0.02
    assert angle_between(camera.T_world_camera[:3, :3], truth.T_world_camera[:3, :3]) < 0.05
    assert (camera.project(FACE.positions) - truth.project(POINTS)).norm(dim=1).max() < 0.01
    x, y, z = truth.centre.tolist()
    assert turned_degrees(camera.centre.double().numpy()) == pytest.approx(
        np.degrees(np.arctan2(np.hypot(x, y), z)), abs=0.05
    )


def test_noise_moves_the_camera_little() -> None:
    truth = camera_at(0.3)
    camera = camera_from_landmarks(landmarks_in(truth, noise=1.0), 640, 480, 900.0, FACE)
    assert angle_between(camera.T_world_camera[:3, :3], truth.T_world_camera[:3, :3]) < 0.5
    assert (camera.project(FACE.positions) - truth.project(POINTS)).norm(dim=1).mean() < 0.3


def test_a_quarter_of_wrong_landmarks_does_not_move_the_camera() -> None:
    truth = camera_at(-0.5)
    pixels = truth.project(POINTS).numpy()
    rng = np.random.default_rng(1)
    wrong = rng.choice(468, 117, replace=False)
    pixels[wrong] += rng.uniform(20, 80, (117, 2))
    pose = solve_pose(POINTS.numpy(), pixels, WEIGHTS.numpy(), truth.K.numpy())
    assert angle_between(torch.from_numpy(pose.rotation.T), truth.T_world_camera[:3, :3]) < 0.05
    assert np.linalg.norm(pose.centre - truth.centre.numpy()) < 1.0


def test_skewed_intrinsics_are_respected() -> None:
    straight = camera_at(0.2)
    K = torch.tensor([[900.0, 25.0, 300.0], [0.0, 870.0, 250.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    truth = Camera(K, straight.T_world_camera, 640, 480)
    pose = solve_pose(POINTS.numpy(), truth.project(POINTS).numpy(), WEIGHTS.numpy(), K.numpy())
    assert np.linalg.norm(pose.centre - truth.centre.numpy()) < 0.01


def test_unknown_focal_length_is_assumed_and_never_too_near() -> None:
    far = camera_from_landmarks(landmarks_in(camera_at(0.1, distance=950.0)), 640, 480, None, FACE)
    assert far.focal == pytest.approx(1.2 * 640)
    assert far.K[:2, 2].tolist() == [320, 240]
    # A face as large as the picture: with 1.2 times its side the camera would touch the nose.
    tight = landmarks_in(camera_at(0.1, distance=1500.0, focal=5000.0))
    near = camera_from_landmarks(tight, 640, 480, None, FACE)
    assert near.focal > 1000
    assert float(near.centre.norm()) == pytest.approx(NEAREST_MM, rel=0.1)
    assert (near.project(FACE.positions) - tight[:468]).norm(dim=1).mean() < 12


def test_absurd_landmarks_are_refused() -> None:
    noise = 200 * torch.rand(478, 2, generator=torch.Generator().manual_seed(0))
    from_behind = landmarks_in(camera_at(np.pi - 0.2))
    for landmarks in (noise, from_behind):
        with pytest.raises(InputError, match=r"^what was found in b\.jpg does not fit a face seen by a camera: give"):
            camera_from_landmarks(landmarks, 640, 480, 900.0, FACE, "b.jpg")


# The head in posed scenes


WORLD_FROM_MM = Similarity(
    rotation_from_vector(torch.tensor([0.6, -1.1, 0.8], dtype=torch.float64)),
    torch.tensor([31.0, -12.0, 7.0], dtype=torch.float64),
    torch.tensor(0.1, dtype=torch.float64),
)
"""A world in centimetres, turned and shifted."""
HEAD_FROM_WORLD = Similarity.scaling(1 / UNIT_MM, torch.float64).compose(WORLD_FROM_MM.inverse())


def posed(camera: Camera, landmarks: torch.Tensor | None, name: str = "v.png") -> View:
    """A view posed in the test world."""
    blank = torch.zeros(camera.height, camera.width)
    return View(name, blank[..., None].repeat(1, 1, 3), blank + 1, camera.transformed(WORLD_FROM_MM), landmarks)


def placement_error_mm(found_place: Similarity) -> float:
    """Largest displacement of the face between the found and the true head frame."""
    world = WORLD_FROM_MM.apply(POINTS)
    moved = found_place.to(torch.float64).apply(world) - HEAD_FROM_WORLD.apply(world)
    return float(moved.norm(dim=1).max()) * UNIT_MM


def test_the_head_is_found_from_several_views() -> None:
    cameras = [camera_at(yaw) for yaw in (-0.8, 0.1, 0.6)]
    views = [posed(camera, landmarks_in(camera)) for camera in cameras]
    views.insert(1, posed(camera_at(3.0), None))
    for units in ("cm", None):
        placement = head_from_landmarks(views, units, FACE)
        assert placement_error_mm(placement.head_from_world) < 0.02
        assert placement.used == (True, False, True, True)


def test_a_large_head_in_metric_cameras_keeps_its_size() -> None:
    large = 1.07 * POINTS + torch.tensor([4.0, -9.0, 2.0])  # head frame, millimetres
    views = []
    for yaw in (-0.8, 0.1, 0.6):
        camera = camera_at(yaw)
        views.append(posed(camera, torch.cat([camera.project(large), torch.zeros(10, 2)]).float()))
    world = WORLD_FROM_MM.apply(large)
    normal = head_from_landmarks(views, "cm", FACE)
    found = normal.head_from_world.to(torch.float64).apply(world) * UNIT_MM
    assert (found - POINTS).norm(dim=1).max() < 0.05  # without the unit it is as large as the mean face
    metric = normal.metric("cm", FACE)
    assert float(metric.head_from_world.scale) * UNIT_MM == pytest.approx(10.0, rel=1e-6)
    found = metric.head_from_world.to(torch.float64).apply(world) * UNIT_MM
    sizes = [torch.cdist(points, points).max() for points in (found, large)]
    assert float(sizes[0]) == pytest.approx(float(sizes[1]), rel=1e-5)
    away = (WEIGHTS[:, None] * (found - POINTS)).sum(0) / WEIGHTS.sum()  # the face's middle stays
    assert away.norm() < 0.05


def test_wrong_views_and_wrong_landmarks_are_left_out() -> None:
    cameras = [camera_at(yaw, pitch) for yaw, pitch in ((-0.8, 0.1), (-0.3, 0.3), (0.1, 0.0), (0.6, -0.2), (0.9, 0.2))]
    views = []
    for i, camera in enumerate(cameras):
        landmarks = landmarks_in(camera)
        landmarks[i * 40 : i * 40 + 40] += 25.0
        views.append(posed(camera, landmarks))
    views[2] = posed(cameras[2], landmarks_in(cameras[2]) * 0.5 + torch.tensor([300.0, 10.0]))
    placement = head_from_landmarks(views, "cm", FACE)
    assert placement.used == (True, True, False, True, True)
    assert placement_error_mm(placement.head_from_world) < 0.5


def test_one_view_places_the_head_at_the_mean_size() -> None:
    camera = camera_at(0.4)
    view = posed(camera, landmarks_in(camera), "one.png")
    # Two views from one place show no depth either.
    for views in ([view], [view, view], [posed(camera, None), view]):
        assert placement_error_mm(head_from_landmarks(views, "cm", FACE).head_from_world) < 0.05
    with pytest.raises(InputError, match=r"^one view \(one\.png\) does not tell the scene's scale: give the unit"):
        head_from_landmarks([view], None, FACE)


def test_scenes_without_a_plausible_head_are_refused() -> None:
    cameras = [camera_at(yaw) for yaw in (-0.6, 0.0, 0.6)]
    views = [posed(camera, landmarks_in(camera)) for camera in cameras]
    with pytest.raises(InputError, match=r"^no face found in any of the 3 views of the scene: add a view"):
        head_from_landmarks([posed(camera, None) for camera in cameras], "cm", FACE)
    with pytest.raises(InputError, match="would be 100 times as large as a human one in m: give the unit of length"):
        head_from_landmarks(views, "m", FACE)
    with pytest.raises(InputError, match=r"would be 0\.1 times as large as a human one in mm"):
        head_from_landmarks(views, "mm", FACE)
    shuffled = [
        posed(a, landmarks_in(b) + 90.0 * i) for i, (a, b) in enumerate(zip(cameras, cameras[::-1], strict=True))
    ]
    with pytest.raises(InputError, match="contradict its cameras: check that cameras and images belong together"):
        head_from_landmarks(shuffled, "cm", FACE)
