"""Which pixels of a photo show the skin of a face, by its landmarks."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
MOUTH = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""Loops of MediaPipe's landmarks: the face's outline, and what in it is no skin."""
_LIDS = {"right": ((159, 145), (33, 133)), "left": ((386, 374), (263, 362))}
"""Middles of upper and lower lid, and the corners."""
CLOSED = 0.12
"""An eye whose lids are less of its width apart is shut."""
_SHRINK = 0.96
_GROW = {RIGHT_EYE: 1.25, LEFT_EYE: 1.25, RIGHT_BROW: 1.15, LEFT_BROW: 1.15, MOUTH: 1.15}
"""How much larger than the loops the places are that hold lashes, brows and teeth."""


def skin_mask(landmarks: Float[Tensor, "478 2"], height: int, width: int) -> Bool[Tensor, "h w"]:
    """Return the pixels inside the face's outline without eyes, brows and the inside of the mouth."""
    mask = np.zeros((height, width), np.uint8)
    points = landmarks.detach().cpu().double().numpy()
    _fill(mask, _scaled(points[list(OVAL)], _SHRINK), 1)
    for loop, factor in _GROW.items():
        _fill(mask, _scaled(points[list(loop)], factor), 0)
    return torch.from_numpy(mask > 0)


def eyes_closed(landmarks: Float[Tensor, "478 2"]) -> bool:
    """Tell whether both eyes are shut."""
    openings = []
    for (upper, lower), (outer, inner) in _LIDS.values():
        gap = (landmarks[upper] - landmarks[lower]).norm()
        openings.append(float(gap / (landmarks[outer] - landmarks[inner]).norm().clamp(min=1e-6)))
    return max(openings) < CLOSED


def _scaled(points: Float[np.ndarray, "n 2"], factor: float) -> Float[np.ndarray, "n 2"]:
    return points.mean(0) + factor * (points - points.mean(0))


def _fill(mask: np.ndarray, corners: Float[np.ndarray, "n 2"], value: int) -> None:
    # OpenCV puts pixel centres at whole numbers.
    cv2.fillPoly(mask, [np.rint(corners - 0.5).astype(np.int32)], value)
