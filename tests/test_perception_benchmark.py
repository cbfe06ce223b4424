"""The benchmark of the perception network: its rendered pictures' truth, and what it counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from protome.benchmark.perception import Shown, _cropped, _iou, _taken, _true_nme
from protome.perception import parts
from protome.population.portraits.portraits import Labelled, Photographer
from wardrobes import ball_points, ball_wardrobe


@pytest.fixture(scope="module")
def taken() -> Labelled:
    wardrobe = ball_wardrobe()
    photographer = Photographer(wardrobe, 96, ball_points(wardrobe))
    scenes = (photographer.scene(0, index) for index in range(20))
    return next(one for scene in scenes for one in scene if (one.portrait.parts == parts.HAIR).mean() > 0.02)


def test_a_cut_picture_keeps_the_truth_of_its_pixels_and_the_face(taken: Labelled) -> None:
    whole = _cropped("whole", taken, np.random.default_rng(0), cut=False)
    cut = _cropped("cut", taken, np.random.default_rng(0), cut=True)
    assert whole.truth is not None
    assert cut.truth is not None
    assert whole.landmarks is not None
    assert cut.landmarks is not None
    shift = (whole.landmarks - cut.landmarks)[0]
    assert np.abs(whole.landmarks - cut.landmarks - shift).max() < 1e-4
    left, top = np.rint(shift).astype(int)
    height, width = cut.truth.shape
    assert (height, width) < whole.truth.shape
    window = (slice(top, top + height), slice(left, left + width))
    assert np.array_equal(cut.truth, whole.truth[window])
    assert torch.equal(cut.image, whole.image[window])


def test_masks_are_compared_with_the_subject_alone() -> None:
    label = np.full((10, 10), parts.BACKGROUND)
    label[:, :5], label[:, 5:8], label[0] = parts.SKIN, parts.OTHERS, parts.FRONT
    shown = Shown(
        "one", torch.zeros(10, 10, 3), (label != parts.BACKGROUND) & (label != parts.OTHERS), label != parts.FRONT,
        label == parts.OTHERS, np.array([[2.0, 2.0], [6.0, 8.0], [4.0, 4.0]]), np.array([True, True, False]),
    )  # fmt: skip
    mask = torch.zeros(10, 10)
    mask[1:, :6] = 1
    assert _iou(mask, shown) == pytest.approx(45 / 54)
    assert _taken(mask, shown) == pytest.approx(1 / 3)
    off = np.array([[2.0, 3.0], [6.0, 8.0], [99.0, 99.0]])
    assert _true_nme(off, shown) == pytest.approx(100 * 0.5 / np.sqrt(4 * 6))
