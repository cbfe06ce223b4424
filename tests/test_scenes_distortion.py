"""Models of lens distortion against OpenCV's own projections and the formulas that their programs document."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from protome.scenes.colmap import MODELS, lens_of
from protome.scenes.distortion import Distortion, opencv_distortion

POINTS = np.random.default_rng(0).uniform(-0.8, 0.8, (200, 2))
K = np.eye(3)
STILL = np.zeros(3)


def rays() -> np.ndarray:
    return np.concatenate([POINTS, np.ones((len(POINTS), 1))], 1)


@pytest.mark.parametrize(
    "values",
    [
        (-0.2, 0.05),
        (-0.2, 0.05, 0.004, -0.006),
        (-0.2, 0.05, 0.004, -0.006, 0.01),
        (-0.2, 0.05, 0.004, -0.006, 0.01, 0.1, -0.02, 0.005),
    ],
)
def test_opencv_numbers_project_as_opencv_does(values: tuple[float, ...]) -> None:
    padded = np.array([*values, 0.0, 0.0][: max(4, len(values))])
    expected, _ = cv2.projectPoints(rays(), STILL, STILL, K, padded)
    np.testing.assert_allclose(opencv_distortion(values).apply(POINTS), expected[:, 0], atol=1e-12)


def test_prisms_shift_as_in_opencv() -> None:
    # OpenCV's twelve numbers: s1 and s2 act on x, s3 and s4 on y, the second of each with r⁴.
    numbers = np.array([0.1, 0.02, 0.003, 0.004, 0.0, 0.0, 0.0, 0.0, 0.05, 0.0, -0.03, 0.0])
    expected, _ = cv2.projectPoints(rays(), STILL, STILL, K, numbers)
    found = Distortion((0.1, 0.02), (0.003, 0.004), prism=(0.05, -0.03)).apply(POINTS)
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-12)


def test_fisheyes_project_as_in_opencv() -> None:
    values = np.array([0.05, -0.02, 0.003, -0.001])
    expected, _ = cv2.fisheye.projectPoints(rays()[:, None], STILL[:, None], STILL[:, None], K, values)
    found = Distortion(tuple(values), base="angle").apply(POINTS)
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(Distortion(base="angle").apply(np.zeros((1, 2))), 0, atol=1e-12)


def test_the_fov_model_is_that_of_its_paper() -> None:
    """Devernay and Faugeras, 2001: r_d = arctan(2 r tan(omega / 2)) / omega."""
    radius = np.hypot(*POINTS.T)
    found = np.hypot(*Distortion(base="fov", base_values=(0.9,)).apply(POINTS).T)
    np.testing.assert_allclose(found, np.arctan(2 * radius * np.tan(0.45)) / 0.9, atol=1e-12)


@pytest.mark.parametrize("k", [-0.3, 0.1])
def test_the_division_model_divides(k: float) -> None:
    """Fitzgibbon, 2001: the direction is the image point over 1 + k r²."""
    seen = Distortion(base="division", base_values=(k,)).apply(POINTS)
    np.testing.assert_allclose(seen / (1 + k * (seen**2).sum(1, keepdims=True)), POINTS, atol=1e-12)
    assert Distortion(base="division", base_values=(0.0,)).is_none


def test_the_unified_model_is_that_of_its_paper() -> None:
    """Khomutenko, Garcia and Martinet, 2016: x / (alpha d + (1 - alpha) z) with d² = beta (x² + y²) + z²."""
    alpha, beta = 0.6, 1.2
    x, y, z = 3 * rays().T  # any length of the ray gives the same point
    d = np.sqrt(beta * (x * x + y * y) + z * z)
    expected = np.stack([x, y], 1) / (alpha * d + (1 - alpha) * z)[:, None]
    np.testing.assert_allclose(Distortion(base="eucm", base_values=(alpha, beta)).apply(POINTS), expected, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_colmap_models_without_extra_terms(model: str) -> None:
    """With zeros for what is extra, all are pinholes but the fisheyes, and fov, whose zero is a limit."""
    count = len(MODELS[model][1].split())
    focal = 2 if "fx" in MODELS[model][1] else 1
    values = [*[500.0] * focal, 320.0, 240.0, *[0.0] * (count - focal - 2)]
    if model == "FOV":
        values[-1] = 1e-6
    if model == "EUCM":
        values[-1] = 1.0
    lens = lens_of(model, 640, 480, values)
    expected = np.arctan(np.hypot(*POINTS.T)) if "FISHEYE" in model else np.hypot(*POINTS.T)
    np.testing.assert_allclose(np.hypot(*lens.distortion.apply(POINTS).T), expected, atol=1e-9)
    assert lens.K[0, 0] == lens.K[1, 1] == 500.0


def test_colmap_parameters_have_their_documented_order() -> None:
    lens = lens_of("THIN_PRISM_FISHEYE", 640, 480, [500, 510, 320, 240, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert lens.distortion == Distortion((0.1, 0.2, 0.5, 0.6), (0.3, 0.4), (), (0.7, 0.8), "angle")
    lens = lens_of("FULL_OPENCV", 640, 480, [500, 510, 320, 240, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert lens.distortion == Distortion((0.1, 0.2, 0.5), (0.3, 0.4), (0.6, 0.7, 0.8))
    assert lens.K[:2].tolist() == [[500, 0, 320], [0, 510, 240]]
