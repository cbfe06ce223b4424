"""Cameras that belong to other photos are named; right ones never are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pytest
import torch

from protome.capture.head import head_from_landmarks
from protome.capture.order import checked_placement, find_exchange
from protome.errors import InputError, ProtomeWarning
from protome.geometry.camera import Camera, direction
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.landmarks import load_face_landmarks
from protome.scene import View

FACE = load_face_landmarks()
SIZE = 600
WORLD = Similarity(
    rotation_from_vector(torch.tensor([0.4, 1.3, -0.7], dtype=torch.float64)),
    torch.tensor([30.0, -10.0, 4.0], dtype=torch.float64),
    torch.tensor(0.1, dtype=torch.float64),
)
AZIMUTHS = (-50.0, -30.0, -5.0, 20.0, 45.0)


def views_at(azimuths: Sequence[float], noise: float = 0.004) -> list[View]:
    """Views of the mean face, its landmarks off by a share of the face's size, in a world in centimetres."""
    views = []
    generator = torch.Generator().manual_seed(0)
    for azimuth in azimuths:
        centre = 700.0 * direction(float(torch.deg2rad(torch.tensor(azimuth))), 0.1)
        camera = Camera.look_at(centre, torch.tensor([0.0, -20.0, -40.0]).double(), 1.4 * SIZE, SIZE, SIZE)
        seen = camera.project(FACE.positions.double())
        seen = seen + noise * 200 * torch.randn(seen.shape, generator=generator)
        landmarks = torch.cat([seen, seen[:10]]).float()
        blank = torch.zeros(SIZE, SIZE)
        name = f"{azimuth:+.0f}.png"
        views.append(View(name, blank[..., None].repeat(1, 1, 3), blank + 1, camera.transformed(WORLD), landmarks))
    return views


def with_cameras(views: list[View], order: Sequence[int]) -> list[View]:
    return [
        View(view.name, view.image, view.mask, views[other].camera, view.landmarks)
        for view, other in zip(views, order, strict=True)
    ]


@pytest.mark.parametrize("azimuths", [AZIMUTHS, (-40.0, 40.0), (-8.0, 0.0, 8.0, 16.0)])
def test_right_cameras_pass_in_silence(azimuths: tuple[float, ...]) -> None:
    views = views_at(azimuths)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ProtomeWarning)
        placement = checked_placement(views, "cm", FACE)
    assert placement.used == head_from_landmarks(views, "cm", FACE).used == (True,) * len(views)
    assert find_exchange(views, "cm", FACE) is None


def test_two_exchanged_cameras_are_named() -> None:
    views = views_at(AZIMUTHS)
    with pytest.raises(InputError) as refused:
        checked_placement(with_cameras(views, (0, 4, 2, 3, 1)), "cm", FACE)
    assert str(refused.value) == (
        "the cameras of -30.png and +45.png are exchanged (then 5 of 5 faces agree): give each photo its own camera"
    )


def test_of_two_photos_too() -> None:
    views = views_at((-30.0, 35.0))
    with pytest.raises(InputError, match=r"^the cameras of -30\.png and \+35\.png are exchanged \(then 2 of 2 faces"):
        checked_placement(with_cameras(views, (1, 0)), "cm", FACE)


def test_another_order_is_told_photo_by_photo() -> None:
    views = views_at(AZIMUTHS)
    # The photo at -50 degrees comes with the camera at -5, that at -5 with 45, and that at 45 with -50.
    with pytest.raises(InputError) as refused:
        checked_placement(with_cameras(views, (2, 1, 4, 3, 0)), "cm", FACE)
    text = str(refused.value)
    assert text.startswith("the cameras are in another order than the photos, ")
    for photo, camera in (("-50", "-5"), ("-5", "+45"), ("+45", "-50")):
        assert f"{photo}.png has that of {camera}.png" in text


def test_one_wrong_camera_is_a_warning() -> None:
    views = views_at(AZIMUTHS)
    foreign = views_at((-90.0,))[0]
    views[1] = View(views[1].name, views[1].image, views[1].mask, foreign.camera, views[1].landmarks)
    with pytest.warns(ProtomeWarning, match=r"^the face does not fit the camera in -30\.png: check that photo and"):
        placement = checked_placement(views, "cm", FACE)
    assert placement.used == (True, False, True, True, True)
