"""Which faces are one person's: groups of descriptors, a real face in other light, and photos of somebody else."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from protome.capture import capture, people
from protome.capture.capture import capture_photos
from protome.capture.landmarks import Detection, detect
from protome.capture.people import Face, common_person, faces_of, is_frontal, one_person, warn_of_other_people
from protome.errors import InputError, ProtomeWarning
from protome.geometry.camera import Camera
from protome.landmarks import load_face_landmarks
from protome.scene import View


def face(photo: int, place: int, *at: float, frontal: bool = True) -> Face:
    """Return a face whose descriptor begins with these numbers."""
    return Face(photo, place, np.concatenate([at, np.zeros(128 - len(at))]), frontal)


def seen_from(degrees: float) -> torch.Tensor:
    """Return the landmarks of the mean face in a picture of 400 pixels, camera at 80 cm."""
    angle = np.radians(degrees)
    centre = 800 * torch.tensor([np.sin(angle), 0.0, np.cos(angle)])
    camera = Camera.look_at(centre, torch.zeros(3).double(), 800.0, 400, 400)
    landmarks = torch.zeros(478, 2)
    landmarks[:468] = camera.project(load_face_landmarks().positions.double()).float()
    return landmarks


def test_the_common_person_is_in_most_photos_and_need_not_be_the_largest_face() -> None:
    faces = [face(0, 0, 5.0), face(0, 1, 0.0), face(1, 0, 0.4), face(2, 0, 0.1), face(3, 0, 9.0)]
    found = common_person(faces)
    assert {photo: own.place for photo, own in found.items()} == {0: 1, 1: 0, 2: 0}


def test_a_face_belongs_to_a_group_by_its_nearest_member() -> None:
    # A profile is like the three-quarter view, and not like the frontal one.
    faces = [face(0, 0, 0.0), face(1, 0, 0.5), face(2, 0, 1.0), face(3, 0, 1.7)]
    assert sorted(common_person(faces)) == [0, 1, 2]


def test_two_people_in_two_photos_leave_the_first() -> None:
    assert sorted(common_person([face(0, 0, 0.0), face(1, 0, 1.0)])) == [0]


@pytest.mark.parametrize(
    ("degrees", "judged"), [(0.0, True), (-35.0, True), (35.0, True), (60.0, False), (-85.0, False)]
)
def test_faces_up_to_half_a_profile_are_judged(degrees: float, judged: bool) -> None:
    assert is_frontal(seen_from(degrees), 400, 400) == judged


def test_one_real_face_stays_itself_in_other_light_size_and_turn() -> None:
    astronaut = torch.from_numpy(np.array(skimage.data.astronaut())).float() / 255
    darker = 0.6 * astronaut**1.2 * torch.tensor([1.1, 1.0, 0.8])
    smaller = torch.nn.functional.avg_pool2d(astronaut.permute(2, 0, 1), 2).permute(1, 2, 0)
    images = [astronaut, darker.clamp(0, 1), smaller, torch.rot90(astronaut)]
    first, *others = faces_of(images, detect(images, with_masks=False))
    assert first.frontal
    assert max(float(np.linalg.norm(first.descriptor - own.descriptor)) for own in others) < people.OTHER_PERSON - 0.2


def photos(folder: Path, count: int) -> list[Path]:
    """Write photos of noise."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(path)
    return paths


def pretend(monkeypatch: pytest.MonkeyPatch, rows: list[list[tuple[float, float]]]) -> None:
    """Let photos show faces, given by direction in degrees and descriptor."""
    mask = torch.zeros(400, 400)
    mask[100:300, 100:300] = 1
    detections = tuple(Detection(tuple(seen_from(degrees) for degrees, _ in row), mask) for row in rows)
    monkeypatch.setattr(capture, "detect", lambda images: detections)
    faces = [
        face(photo, place, number, frontal=abs(degrees) < 45)
        for photo, row in enumerate(rows)
        for place, (degrees, number) in enumerate(row)
    ]
    monkeypatch.setattr(people, "faces_of", lambda images, detections: faces)
    monkeypatch.setattr(people, "is_installed", lambda: True)


def test_a_photo_of_somebody_else_is_left_out_with_a_line_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All from one direction, so that no common frame is looked for.
    pretend(monkeypatch, [[(0.0, 0.0)], [(1.0, 0.3)], [(2.0, 4.0)]])
    paths = photos(tmp_path, 3)
    with pytest.warns(ProtomeWarning, match=r"2\.png shows another person than .*1\.png \(.*\): left out$"):
        scene = capture_photos(paths)
    assert [view.name for view in scene.views] == ["0.png", "1.png"]
    with pytest.raises(InputError, match=r"2\.png shows another person than .*1\.png \(.*\): leave it out$"):
        capture_photos(paths, strict=True)


def test_a_photo_of_somebody_else_with_a_given_camera_is_warned_of_with_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 800.0]), torch.zeros(3), 800.0, 400, 400)
    turns, numbers = (0.0, 10.0, 80.0, -10.0), (0.0, 0.3, 9.0, 4.0)
    views = [
        View(f"{k}.png", torch.full((400, 400, 3), number), torch.ones(400, 400), camera, seen_from(turn))
        for k, (turn, number) in enumerate(zip(turns, numbers, strict=True))
    ]

    def descriptors(images: Sequence[torch.Tensor], detections: Sequence[Detection]) -> list[Face]:
        return [face(photo, 0, float(image[0, 0, 0])) for photo, image in enumerate(images)]

    monkeypatch.setattr(people, "faces_of", descriptors)
    monkeypatch.setattr(people, "is_installed", lambda: True)
    with pytest.warns(ProtomeWarning) as said:
        warn_of_other_people([views[0], replace(views[1], landmarks=None), *views[1:]])
    (only,) = said  # the profile is not judged
    assert str(only.message) == (
        "3.png shows another person than 1.png (their faces differ by 3.70, those of one person by less than 0.6): "
        "leave it out, or check the cameras"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ProtomeWarning)
        warn_of_other_people(views[:3])
        monkeypatch.setattr(people, "is_installed", lambda: False)
        warn_of_other_people(views)


def test_a_profile_that_is_unlike_the_others_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [[(0.0, 0.0)], [(1.0, 0.3)], [(80.0, 4.0)]])
    images = [torch.zeros(4, 4, 3)] * 3
    assert one_person(images, capture.detect(images)).others == {}


def test_against_profiles_alone_nobody_is_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [[(70.0, 0.0)], [(1.0, 4.0)], [(-75.0, 0.2)]])
    images = [torch.zeros(400, 400, 3)] * 3
    assert one_person(images, capture.detect(images)).others == {}


def test_of_two_faces_the_one_of_the_other_photos_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, [[(0.0, 0.0)], [(3.0, 4.0), (-5.0, 0.2)]])
    scene = capture_photos(photos(tmp_path, 2))
    assert torch.equal(scene.views[1].landmarks, seen_from(-5.0))  # type: ignore[arg-type]
    monkeypatch.setattr(people, "is_installed", lambda: False)
    scene = capture_photos(photos(tmp_path, 2))
    assert torch.equal(scene.views[1].landmarks, seen_from(3.0))  # type: ignore[arg-type]
