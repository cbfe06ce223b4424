"""Which pixels of a photo show the skin of a face, by its landmarks."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150,
    136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
LEFT_BROW = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""Loops of MediaPipe's landmarks: the face's outline, and what in it is no skin."""
_LIDS = {"right": ((159, 145), (33, 133)), "left": ((386, 374), (263, 362))}
"""Middles of upper and lower lid, and the corners."""
CLOSED = 0.12
"""An eye whose lids are less of its width apart is shut."""
_SHRINK = 0.96
_GROW = {RIGHT_EYE: 1.25, LEFT_EYE: 1.25, RIGHT_BROW: 1.15, LEFT_BROW: 1.15, LIPS: 1.05}
"""How much larger than the loops the places are that hold lashes, brows and lips."""
_BORDER = 0.015
"""Of the outline's size: what lies so near to them is no plain skin, either."""


def face_part(
    image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "478 2"]
) -> tuple[Float[Tensor, "_ _ 3"], Float[Tensor, "478 2"]]:
    """Return the part of an image that contains the face, and the landmarks in it."""
    image, landmarks = image.detach().cpu(), landmarks.detach().cpu()
    limit = torch.tensor([image.shape[1], image.shape[0]])
    low = torch.minimum(landmarks.amin(0).floor().long().clamp(min=0), limit - 1)
    high = torch.maximum(torch.minimum(landmarks.amax(0).ceil().long() + 1, limit), low + 1)
    return image[low[1] : high[1], low[0] : high[0]], landmarks - low


def skin_mask(landmarks: Float[Tensor, "478 2"], height: int, width: int) -> Bool[Tensor, "h w"]:
    """Return the pixels inside the face's outline without eyes, brows and lips."""
    face, other = np.zeros((2, height, width), np.uint8)
    points = landmarks.detach().cpu().double().numpy()
    oval = points[list(OVAL)]
    _fill(face, _scaled(oval, _SHRINK), 1)
    for loop, factor in _GROW.items():
        _fill(other, _scaled(points[list(loop)], factor), 1)
    border = round(_BORDER * float(np.ptp(oval, axis=0).max()))
    return torch.from_numpy((face > 0) & (cv2.dilate(other, disc(border)) == 0))


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


def disc(radius: int) -> UInt8[np.ndarray, "d d"]:
    """Return the disc of a radius in pixels, for erosion, dilation and what is made of them."""
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def hull_mask(points: Float[np.ndarray, "n 2"], shape: tuple[int, ...]) -> UInt8[np.ndarray, "h w"]:
    """Return 1 at the pixels inside the convex hull of landmarks, 0 elsewhere."""
    filled = np.zeros(shape[:2], np.uint8)
    # OpenCV puts pixel centres at whole numbers.
    corners = cv2.convexHull(points.astype(np.float32))[:, 0] - 0.5
    cv2.fillConvexPoly(filled, np.rint(corners).astype(np.int32), 1)
    return filled
