"""Intrinsics that belong to pictures of another size are noticed; crops and small offsets are none."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from protome.capture.resampling import resampling_factor, warn_of_resampling
from protome.errors import ProtomeWarning
from protome.geometry.camera import Camera


def cameras(width: int = 600, height: int = 800, cx: float = 310.0, cy: float = 395.0, count: int = 3) -> list[Camera]:
    K = torch.tensor([[900.0, 0, cx], [0, 900.0, cy], [0, 0, 1]])
    return [Camera(K, torch.eye(4), width, height) for _ in range(count)]


@pytest.mark.parametrize("factor", [0.5, 0.25, 2.0, 1.6, 0.8, 1.15])
def test_pictures_resampled_without_their_intrinsics(factor: float) -> None:
    small = [replace(each, width=round(factor * each.width), height=round(factor * each.height)) for each in cameras()]
    found = resampling_factor(small)
    assert found == pytest.approx(factor, rel=0.05)
    with pytest.warns(ProtomeWarning, match=rf"resampled to {found:.2f} of their size without the intrinsics"):
        warn_of_resampling(small)
    K = torch.diag(torch.tensor([factor, factor, 1.0]))
    mended = [replace(each, K=K @ each.K) for each in small]
    assert resampling_factor(mended) is None


@pytest.mark.parametrize(
    "some",
    [
        cameras(),
        cameras(cx=220, cy=480),
        cameras(cx=318, cy=420),  # a lens that is off by 3 % both ways
        cameras(cx=600, cy=395),  # a crop from one side
        [*cameras(cx=600, cy=800, count=1), *cameras(count=2)],  # one of several
    ],
)
def test_others_are_left_alone(some: list[Camera]) -> None:
    assert resampling_factor(some) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_resampling(some)
