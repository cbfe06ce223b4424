"""Beards and glasses distinguished from skin, on the sample portrait as it is and with things painted over it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from protome.capture.landmarks import choose_face, detect
from protome.capture.occlusion import BEARD, FRAMES, beard_share, frame_edge
from protome.capture.photo import load_photo
from protome.portrait import save_portrait


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensor, Tensor]:
    path: Path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    save_portrait(path)
    image = load_photo(path).image
    (found,) = detect([image], with_masks=False)
    return image, choose_face(found, str(path))


def _painted(image: Tensor, loops: list[np.ndarray], colour: tuple[float, float, float], share: float) -> Tensor:
    mask = np.zeros(image.shape[:2], np.float32)
    for loop in loops:
        cv2.fillPoly(mask, [np.rint(loop).astype(np.int32)], 1.0)
    weight = share * torch.from_numpy(mask)[..., None]
    return image * (1 - weight) + torch.tensor(colour) * weight


def _lower_face(landmarks: Tensor) -> list[np.ndarray]:
    outline = [234, 132, 172, 150, 152, 379, 397, 361, 454, 426, 2, 206]
    return [landmarks[outline].numpy()]


def test_a_bare_face_has_neither(portrait: tuple[Tensor, Tensor]) -> None:
    assert beard_share(*portrait) < 0.5 * BEARD
    assert frame_edge(*portrait) < 0.75 * FRAMES


def test_a_beard_has_another_colour_than_skin(portrait: tuple[Tensor, Tensor]) -> None:
    image, landmarks = portrait
    for colour in ((0.12, 0.1, 0.1), (0.25, 0.25, 0.3)):
        assert beard_share(_painted(image, _lower_face(landmarks), colour, 0.85), landmarks) > 1.5 * BEARD


def test_a_shadow_on_the_chin_is_no_beard(portrait: tuple[Tensor, Tensor]) -> None:
    image, landmarks = portrait
    assert beard_share(_painted(image, _lower_face(landmarks), (0.0, 0.0, 0.0), 0.3), landmarks) < BEARD


def test_half_a_dark_chin_is_light_from_the_side(portrait: tuple[Tensor, Tensor]) -> None:
    image, landmarks = portrait
    half = landmarks[[2, 152, 379, 397, 361, 454, 426]].numpy()
    assert beard_share(_painted(image, [half], (0.05, 0.05, 0.1), 0.9), landmarks) < BEARD


def test_frames_are_dark_lines_below_both_eyes_and_across_the_bridge(portrait: tuple[Tensor, Tensor]) -> None:
    image, landmarks = portrait
    canvas, points = image.numpy().copy(), landmarks.numpy()
    size = float(np.linalg.norm(points[263] - points[33]))
    middles = [points[[outer, inner]].mean(0) + np.array([0, 0.03 * size]) for outer, inner in ((33, 133), (263, 362))]
    line = max(1, round(0.03 * size))
    for middle in middles:
        cv2.ellipse(canvas, (tuple(middle), (0.52 * size, 0.4 * size), 0.0), (0.08, 0.08, 0.08), line, cv2.LINE_AA)
    one_eye = torch.from_numpy(canvas)
    assert frame_edge(one_eye, landmarks) < FRAMES  # without a bridge these are shadows or paint
    ends = [middle + np.array([side * 0.26 * size, 0]) for middle, side in zip(middles, (1, -1), strict=True)]
    first, second = ([int(v) for v in end] for end in ends)
    cv2.line(canvas, first, second, (0.08, 0.08, 0.08), line, cv2.LINE_AA)
    assert frame_edge(torch.from_numpy(canvas), landmarks) > 1.3 * FRAMES
