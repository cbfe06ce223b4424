"""Structure from motion: cameras of pictures of a room, and how they come together with those of the head."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from protome.capture import capture
from protome.capture.bundle import Tracks
from protome.capture.capture import capture_photos
from protome.capture.landmarks import Detection
from protome.capture.motion import NEIGHBOURS, brought_together, pairs_to_compare, structure_from_motion
from protome.capture.together import Together, epipolar_error
from protome.errors import ProtomeWarning
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.landmarks import load_face_landmarks

WIDTH, HEIGHT, FOCAL = 480, 360, 520.0


def around(number: int) -> Camera:
    """Return one of eight cameras at 80 cm from the head's origin, 9 degrees from each other (double)."""
    yaw, pitch = np.radians(9.0 * (number - 3.5)), np.radians(6.0 * (number % 3 - 1))
    away = [np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)]
    return Camera.look_at(800 * torch.tensor(away).double(), torch.zeros(3).double(), FOCAL, WIDTH, HEIGHT)


def wall(seed: int) -> np.ndarray:
    """Return a picture with corners of all sizes."""
    rng = np.random.default_rng(seed)
    total = np.zeros((600, 800, 3))
    for size in (3, 8, 20, 60):
        noise = rng.uniform(size=(600 // size + 1, 800 // size + 1, 3))
        total += cv2.resize(noise, (800, 600), interpolation=cv2.INTER_NEAREST) / 4
    return total


def room(seen: Camera) -> torch.Tensor:
    """Return the picture of two walls with a corner behind the head."""
    image = np.zeros((HEIGHT, WIDTH, 3))
    for seed, angle in ((0, 40.0), (1, -40.0)):
        across = np.array([np.cos(np.radians(angle)), 0.0, np.sin(np.radians(angle))]) * (1 if angle > 0 else -1)
        origin = np.array([0.0, 450.0, -350.0])
        columns = np.stack([1.5 * across, [0.0, -1.5, 0.0], origin], 1)  # millimetres per pixel of the wall
        pose = np.linalg.inv(seen.T_world_camera.numpy())
        H = seen.K.numpy() @ (pose[:3, :3] @ columns + np.outer(pose[:3, 3], [0, 0, 1]))
        warped = cv2.warpPerspective(wall(seed), H, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
        inside = cv2.warpPerspective(np.ones((600, 800)), H, (WIDTH, HEIGHT)) > 0.5
        image[inside] = warped[inside]
    return torch.from_numpy(image).float()


def degrees(first: Camera, second: Camera) -> float:
    """Angle between two cameras' rotations."""
    turn = first.T_world_camera[:3, :3].double().T @ second.T_world_camera[:3, :3].double()
    return float(torch.rad2deg(torch.asin((turn - turn.T).norm() / 8**0.5)))


def test_photos_are_compared_with_neighbours_where_directions_are_known_and_with_all_otherwise() -> None:
    count = 24
    known = {}
    for number in range(count - 1):
        yaw = np.radians(6.0 * number)
        place = 800 * torch.tensor([np.sin(yaw), 0.0, np.cos(yaw)]).double()
        known[number] = Camera.look_at(place, torch.zeros(3).double(), FOCAL, WIDTH, HEIGHT)
    pairs = pairs_to_compare(count, known)
    assert len(set(pairs)) == len(pairs)
    with_unknown = [pair for pair in pairs if count - 1 in pair]
    assert len(with_unknown) == count - 1
    # In the middle of a walk half of the neighbours lie on each side; at its ends all on one.
    assert max(second - first for first, second in pairs if second < count - 1) == NEIGHBOURS
    assert sum(11 in pair for pair in pairs) == NEIGHBOURS + 1
    assert len(pairs_to_compare(count, {})) == count * (count - 1) // 2


@pytest.fixture(scope="module")
def rooms() -> list[torch.Tensor]:
    return [room(around(number)) for number in range(8)]


def test_cameras_are_found_by_what_stays_around_them(rooms: list[torch.Tensor]) -> None:
    motion = structure_from_motion(rooms, ["one"] * 8, [FOCAL] * 8)
    assert sorted(motion) == list(range(8))
    known = {number: around(number) for number in range(7)}
    together = brought_together(motion, known)
    # The last one's place was not known.
    assert degrees(together[7], around(7)) < 0.5
    assert float((together[7].centre.double() - around(7).centre).norm()) < 15
    assert together[7].focal == pytest.approx(FOCAL, rel=1e-3)
    assert (together[7].width, together[7].height) == (WIDTH, HEIGHT)


def test_pictures_that_do_not_overlap_have_no_cameras() -> None:
    noise = [torch.rand(120, 160, 3, generator=torch.Generator().manual_seed(k)) for k in range(6)]
    assert structure_from_motion(noise, ["one"] * 6, [None] * 6) == {}


def test_cameras_come_together_by_one_similarity_or_not_at_all() -> None:
    cameras = {number: around(number) for number in range(6)}
    turn = rotation_from_vector(torch.tensor([0.5, -1.0, 2.0]).double())
    other = Similarity(turn, torch.tensor([3.0, 1.0, -2.0]).double(), torch.tensor(0.01).double())
    motion = {number: camera.transformed(other) for number, camera in cameras.items()}
    found = brought_together(motion, {number: cameras[number] for number in (0, 2, 3, 5)})
    for number, camera in cameras.items():
        torch.testing.assert_close(found[number].T_world_camera, camera.T_world_camera.float(), atol=0.02, rtol=1e-4)
    assert brought_together(motion, {0: cameras[0], 1: cameras[1]}) == {}
    # A head that turned before a wall: its cameras stand around it, those of the wall in one place.
    still = {number: cameras[0].transformed(other) for number in cameras}
    assert brought_together(still, cameras) == {}


def test_matches_lie_where_true_cameras_allow_them_and_not_where_wrong_ones_do() -> None:
    cameras = {0: around(0), 1: around(4)}
    points = 60 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double()
    tracks = Tracks(
        torch.zeros(30, dtype=torch.long), cameras[0].project(points), torch.full((30,), 800.0).double(),
        torch.ones(30, 1, dtype=torch.long), cameras[1].project(points)[:, None],
    )  # fmt: skip
    assert epipolar_error(tracks, cameras) < 1e-9
    # To first order, a point that is moved by one pixel across its line is off by 1 / sqrt(2) of it.
    moved = Tracks(tracks.view, tracks.pixel, tracks.depth, tracks.other, tracks.there + torch.tensor([0.0, 1.0]))
    assert epipolar_error(moved, cameras) == pytest.approx(1 / FOCAL / 2**0.5, rel=0.2)
    assert np.isnan(epipolar_error(tracks, {0: cameras[0]}))


def test_a_photo_from_behind_is_placed_by_the_others_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rooms: list[torch.Tensor]
) -> None:
    cameras, face = [around(number) for number in range(8)], load_face_landmarks()
    detections = []
    for number, seen in enumerate(cameras):
        Image.fromarray(np.rint(255 * rooms[number].numpy()).astype(np.uint8)).save(tmp_path / f"{number}.png")
        landmarks = torch.zeros(478, 2)
        landmarks[:468] = seen.project(face.positions.double()).float()
        mask = torch.zeros(HEIGHT, WIDTH)
        mask[60:300, 120:360] = 1
        # The fourth photo shows no face.
        detections.append(Detection(() if number == 3 else (landmarks,), mask))
    monkeypatch.setattr(capture, "detect", lambda images: tuple(detections))

    def together(*_: object) -> Together:
        own = tuple(camera.to(torch.float32) for k, camera in enumerate(cameras) if k != 3)
        agree = np.ones(len(own), bool)
        return Together(own, (0.02,) * 7, (0.01,) * 7, np.ones((7, 7), int), agree, Tracks.none())

    monkeypatch.setattr(capture, "place_together", together)
    scene = capture_photos([tmp_path / f"{number}.png" for number in range(8)])
    assert [view.name for view in scene.views] == [f"{number}.png" for number in range(8)]
    assert scene.views[3].landmarks is None
    assert scene.views[3].mask[180, 240] > 0.5
    assert degrees(scene.views[3].camera, cameras[3]) < 1.0
    assert scene.estimate is not None
    assert len(scene.estimate.rotation_spread) == 8
    monkeypatch.setattr(capture, "structure_from_motion", lambda *_: {})
    with pytest.warns(ProtomeWarning, match=r"^no face found in .*3\.png: left out$"):
        assert len(capture_photos([tmp_path / f"{number}.png" for number in range(8)]).views) == 7
