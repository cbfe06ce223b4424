"""Irises in pictures: drawn circles of known diameter, turned away by known angles, half covered by lids."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from protome.capture.iris import (
    CORNERS,
    EYEBALL_MM,
    LIMBUS_AHEAD_MM,
    MOST_YAW_DEG,
    measure_irises,
)
from protome.capture.skin import LEFT_EYE, RIGHT_EYE
from protome.geometry.camera import Camera
from protome.geometry.mesh import srgb_from_linear
from protome.scene import View
from test_encoder import camera, mean_face, view_of

SIZE = 1400
"""Pixels of the pictures' sides: an iris has about 48 pixels."""
OVER = 3
"""Samples along each side of a pixel."""


def gaze(degrees: float) -> np.ndarray:
    """A direction to the subject's left."""
    return np.array([math.sin(math.radians(degrees)), 0.0, math.cos(math.radians(degrees))])


def drawn(by: Camera, looks: np.ndarray, diameter_mm: float = 11.7, pupil_mm: float = 4.0, lid: float = 0.0) -> View:
    """A face of skin with two eyes that look along a vector; the limbus is a circle before the eyeball's middle.

    `lid` is how far the upper lid comes down, as a share of the iris's radius above its middle: 0 for wide open.
    """
    points = mean_face()
    image = torch.full((SIZE, SIZE, 3), 0.25).double()
    steps = (np.arange(OVER) + 0.5) / OVER
    for eye, rim in enumerate((RIGHT_EYE, LEFT_EYE)):
        middle = np.array(EYEBALL_MM[eye]) + LIMBUS_AHEAD_MM * looks
        points[468 + 5 * eye : 473 + 5 * eye] = torch.from_numpy(middle).float()
        centre = by.project(torch.from_numpy(middle)[None])[0].numpy()
        low = np.floor(centre - 70).astype(int)
        x, y = np.meshgrid(np.arange(140), np.arange(140))
        at = np.stack([x, y], -1)[:, :, None, None] + np.stack(np.meshgrid(steps, steps), -1) + low
        rays = by.rays(torch.from_numpy(at.reshape(-1, 2))).directions.numpy()
        origin = by.centre.numpy()
        # The plane of the limbus.
        depth = ((middle - origin) @ looks) / (rays @ looks)
        offset = origin + depth[:, None] * rays - middle
        radius = np.linalg.norm(offset, axis=1)
        level = np.where(radius < pupil_mm / 2, 0.02, np.where(radius < diameter_mm / 2, 0.12, 0.5))
        # Wide open, the lids reach beyond the iris; they are as wide as the eye.
        upper = (1.2 - lid) * diameter_mm / 2
        corners = points[list(CORNERS[eye])].numpy().mean(0) - middle
        level = np.where((np.abs(offset[:, 1]) > upper) | (np.abs(offset[:, 0] - corners[0]) > 13.0), 0.2, level)
        part = torch.from_numpy(level.reshape(140, 140, OVER, OVER).mean((2, 3)))
        image[low[1] : low[1] + 140, low[0] : low[0] + 140] = part[..., None]
        # Landmarks of lids lie around what is open.
        lids = [point for point in rim if point not in CORNERS[eye]]
        shape = points[lids].numpy()
        shape[:, 1] = middle[1] + np.sign(shape[:, 1] - shape[:, 1].mean()) * upper
        points[lids] = torch.from_numpy(shape).float()
    shown = torch.from_numpy(srgb_from_linear(image.numpy())).float()
    return view_of(points, by, shown)


def close(distance: float = 700.0, across: float = 0.0, roll: float = 0.0) -> Camera:
    """A camera before a face."""
    return camera(across, 0, roll=roll, distance=distance, size=SIZE)


@pytest.mark.parametrize("diameter", [10.9, 11.7, 12.6])
@pytest.mark.parametrize("roll", [0.0, 25.0])
def test_the_diameter_of_an_iris_is_measured_to_a_hundredth(diameter: float, roll: float) -> None:
    by = close(roll=roll)
    found = measure_irises(drawn(by, gaze(0), diameter), by)
    assert len(found) == 2
    for iris in found:
        assert iris.diameter_mm == pytest.approx(diameter, rel=0.01)
        assert abs(math.log(iris.diameter_mm / diameter)) < iris.spread < 0.04


@pytest.mark.parametrize("degrees", [-15.0, 8.0, 16.0])
def test_an_iris_that_looks_aside_is_not_foreshortened(degrees: float) -> None:
    by = close()
    found = measure_irises(drawn(by, gaze(degrees)), by)
    assert len(found) == 2
    for iris in found:
        assert iris.diameter_mm == pytest.approx(11.7, rel=0.012)
        assert iris.turned_deg == pytest.approx(abs(degrees), abs=4.0)


def test_lids_that_cover_a_third_do_not_matter() -> None:
    by = close()
    found = measure_irises(drawn(by, gaze(0), lid=0.45), by)
    assert len(found) == 2
    assert all(iris.diameter_mm == pytest.approx(11.7, rel=0.015) for iris in found)


def test_the_pupil_is_not_taken_for_the_iris() -> None:
    by = close()
    for pupil in (2.0, 7.0):
        assert [iris.diameter_mm for iris in measure_irises(drawn(by, gaze(0), pupil_mm=pupil), by)] == pytest.approx(
            [11.7, 11.7], rel=0.015
        )


def test_a_camera_that_is_farther_away_than_assumed_makes_irises_larger() -> None:
    by = close()
    view = drawn(by, gaze(0))
    away = by.T_world_camera.clone()
    away[2, 3] *= 1.1
    found = measure_irises(view, Camera(by.K, away, by.width, by.height))
    assert all(iris.diameter_mm == pytest.approx(11.7 * 1.1, rel=0.015) for iris in found)


@pytest.mark.parametrize("why", ["small", "shut", "turned", "no face", "cut"])
def test_irises_that_are_not_seen_well_are_left_out(why: str) -> None:
    by = close()
    view = drawn(by, gaze(0))
    marks: Tensor | None = view.landmarks
    assert marks is not None
    if why == "small":
        view, by = view.resized(400), by.resized(400, 400)
    elif why == "shut":
        marks = marks.clone()
        for upper, lower in ((159, 145), (386, 374)):
            marks[lower] = marks[upper]
        view = View(view.name, view.image, view.mask, by, marks)
    elif why == "turned":
        by = close(across=MOST_YAW_DEG + 3)
        view = drawn(by, gaze(MOST_YAW_DEG + 3))
    elif why == "no face":
        view = View(view.name, view.image, view.mask, by, None)
    else:
        left = int(marks[468:].mean(0)[0])
        view = view.cropped(left, 0, SIZE - left, SIZE)
        by = by.cropped(left, 0, SIZE - left, SIZE)
        assert len(measure_irises(view, by)) == 1
        return
    assert measure_irises(view, by) == ()
