"""What differs between photos: hair, light, direction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from portraits import paint, portrait_camera
from protome.capture import differences
from protome.capture.checks import face_height
from protome.geometry.camera import direction


def test_the_outline_of_a_ball_of_hair_is_its_radius() -> None:
    view = paint(portrait_camera())
    assert view.landmarks is not None
    size = 480
    y, x = np.mgrid[:size, :size] + 0.5
    eyes = view.landmarks[[33, 263]].mean(0).numpy()
    ball = torch.from_numpy((x - eyes[0]) ** 2 + (y - eyes[1]) ** 2 < 130**2).float()
    outline = differences.hair_outline(ball, view.landmarks)
    assert outline == pytest.approx(130 / face_height(view.landmarks), abs=0.02)
    cut = ball[int(eyes[1]) - 100 :]
    moved = view.landmarks - torch.tensor([0.0, int(eyes[1]) - 100.0])
    known = differences.hair_outline(cut, moved)
    assert np.isnan(known[len(known) // 2])
    assert known[[0, -1]] == pytest.approx(130 / face_height(view.landmarks), abs=0.02)


def test_hair_is_compared_where_both_photos_show_it() -> None:
    first, second = np.full(16, 0.8), np.full(16, 1.1)
    assert differences.hair_difference(first, second) == pytest.approx(0.3)
    first[:6] = np.nan
    second[10:] = np.nan
    assert differences.hair_difference(first, second) == 0  # four directions in common are too few


def test_other_hair_is_told_and_the_same_from_further_off_is_not() -> None:
    short, long, far = (
        paint(portrait_camera(azimuth, distance=distance), hair)
        for azimuth, distance, hair in ((0.0, 700.0, 110.0), (8.0, 700.0, 160.0), (-8.0, 1000.0, 110.0))
    )
    outlines = [
        differences.hair_outline(view.mask, view.landmarks) for view in (short, long, far) if view.landmarks is not None
    ]
    assert differences.hair_difference(outlines[0], outlines[1]) > differences.OTHER_HAIR
    assert differences.hair_difference(outlines[0], outlines[2]) < 0.3 * differences.OTHER_HAIR


def test_the_odd_photo_is_named_beside_one_that_it_is_unlike() -> None:
    table = np.zeros((4, 4))
    for first, second in ((0, 2), (1, 2), (2, 3)):
        table[first, second] = table[second, first] = 1.0
    assert differences.odd_ones(table, 0.5) == {2: 0}
    assert differences.odd_ones(table, 2.0) == {}
    assert differences.odd_ones(np.zeros((1, 1)), 0.5) == {}
    # Photos that cannot be compared with others do not hide a difference between two.
    alone = np.zeros((3, 3))
    alone[1, 2] = alone[2, 1] = 1.0
    assert differences.odd_ones(alone, 0.5) == {2: 1}


def test_the_spread_of_cameras_is_that_of_the_farthest_two() -> None:
    centres = [600 * direction(np.radians(angle), 0.0) for angle in (-10.0, 0.0, 25.0)]
    assert differences.spread_degrees(centres) == pytest.approx(35, abs=1e-3)
    assert differences.spread_degrees(centres[:1]) == 0
