"""The 68 face landmarks of iBUG, and the corresponding ones of MediaPipe's 478."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from protome.landmarks import load_face_landmarks

GROUPS = {
    "jaw": range(0, 17),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "eyes": range(36, 48),
    "lips": range(48, 68),
}
"""The groups of the 68; right before left, the subject's."""
DEVIATIONS_MM = {"brows": 4.0, "nose": 2.5, "eyes": 2.0, "lips": 2.5}
JAW_MM = 12.0
"""Approximate distance of MediaPipe's outline of the face from iBUG's jaw line, which is another curve."""


def from_mediapipe(landmarks: Float[Tensor, "*v 478 2"]) -> Float[Tensor, "*v 68 2"]:
    """Return iBUG's points among MediaPipe's.

    Each of the 51 inner points is the nearest one of MediaPipe's on the face. The 17 of the jaw are the nearest ones of
    its outline, which are further away.
    """
    return landmarks[..., load_face_landmarks().ibug68, :]


def detector_deviations(jaw: float = JAW_MM) -> Float[Tensor, "68"]:
    """Return the standard deviations in mm of MediaPipe's corresponding points from iBUG's."""
    spread = torch.full((68,), jaw)
    for name, millimetres in DEVIATIONS_MM.items():
        spread[list(GROUPS[name])] = millimetres
    return spread
