"""Cameras that do not see one face are named with the cause, and right ones pass in silence."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from protome.capture import agreement
from protome.capture.agreement import WRONG, Agreement, check_agreement
from protome.capture.head import Units, head_from_landmarks
from protome.errors import InputError, ProtomeWarning
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.landmarks import load_face_landmarks
from protome.scene import View
from test_capture_order import views_at

FACE = load_face_landmarks()
NEAR = (-30.0, -18.0, -6.0, 6.0, 18.0)
"""Degrees at which neighbours are too near for an exchange to be seen by rotations."""


def check(views: Sequence[View], units: Units | None = "cm") -> None:
    check_agreement(views, head_from_landmarks(views, units, FACE), units, FACE)


def test_right_cameras_pass_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ProtomeWarning)
        check(views_at(NEAR))


def test_the_distance_is_that_of_a_moved_camera() -> None:
    """Four exact cameras outvote a fifth that is turned by a known angle: its landmarks lie as far beside."""
    views = views_at((*NEAR, 0.0), noise=0.0)
    angle = 0.008
    turned = Similarity(rotation_from_vector(torch.tensor([0.0, angle, 0.0])), torch.zeros(3), torch.ones(()))
    pose = views[2].camera.T_world_camera.double()
    own = pose @ turned.matrix().double()
    views[2] = replace(views[2], camera=replace(views[2].camera, T_world_camera=own.to(views[2].camera.K)))
    placement = head_from_landmarks(views, "cm", FACE)
    # The camera stands 700 mm from the eyes, and the face is 10 to 60 mm behind them or before.
    assert placement.off_mm[2] == pytest.approx(700 * angle, rel=0.1)
    assert all(off is not None and off < 1 for number, off in enumerate(placement.off_mm) if number != 2)
    assert placement.turned[2] == pytest.approx(8.3, abs=0.5)


def test_exchanged_neighbours_are_named() -> None:
    views = views_at(NEAR)
    views[1], views[2] = replace(views[1], camera=views[2].camera), replace(views[2], camera=views[1].camera)
    with pytest.raises(
        InputError, match=r"^the cameras of -18\.png and -6\.png are exchanged \(as given, they see the"
    ):
        check(views)


def test_an_exchange_that_mends_less_is_only_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "SURE", 1e3)  # no exchange makes landmarks with noise agree that much better
    views = views_at(NEAR)
    views[1], views[2] = replace(views[1], camera=views[2].camera), replace(views[2], camera=views[1].camera)
    with pytest.warns(ProtomeWarning, match=r"^the cameras of -18\.png and -6\.png may be exchanged \(as given, they"):
        check(views)


def test_resampled_pictures_are_named_with_their_factor() -> None:
    views = [
        replace(view, landmarks=0.5 * own)
        for view in views_at((-40.0, -15.0, 0.0, 25.0))
        if (own := view.landmarks) is not None
    ]
    with pytest.warns(ProtomeWarning, match=r"^the cameras see one face if the pictures were resampled to 0\.5. of"):
        check(views, None)


def test_a_camera_without_a_cause_is_named_with_its_distance() -> None:
    views = views_at(NEAR)
    moved = views[3].camera.T_world_camera.clone()
    moved[:3, 3] += 2.5 * moved[:3, 0]  # 25 mm to its right
    views[3] = replace(views[3], camera=replace(views[3].camera, T_world_camera=moved))
    own = Agreement.of(head_from_landmarks(views, "cm", FACE))
    assert own.ratios[3] > WRONG > own.ratios[[0, 1, 2, 4]].max()
    with pytest.warns(ProtomeWarning, match=r"beside its landmarks in \+6\.png \(2[3-7] mm\): check that each"):
        check(views)
