"""The 68 face landmarks of iBUG, and which of MediaPipe's 478 stand for them."""

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
"""Which of the 68 belong to what; right before left, the subject's."""
DEVIATIONS_MM = {"brows": 4.0, "nose": 2.5, "eyes": 2.0, "lips": 2.5}
JAW_MM = 12.0
"""MediaPipe's outline of the face is not the jaw line of iBUG: it lies about so far from it."""


def from_mediapipe(landmarks: Float[Tensor, "*v 478 2"]) -> Float[Tensor, "*v 68 2"]:
    """Return iBUG's points among MediaPipe's.

    Each of the 51 inner points is the one of MediaPipe's that lies nearest on the face; the 17 of the jaw are those of
    its outline that come closest, which is not very close.
    """
    return landmarks[..., load_face_landmarks().ibug68, :]


def detector_deviations(jaw: float = JAW_MM) -> Float[Tensor, "68"]:
    """Return how far from iBUG's points their stand-ins among MediaPipe's are found, standard deviations in mm."""
    spread = torch.full((68,), jaw)
    for name, millimetres in DEVIATIONS_MM.items():
        spread[list(GROUPS[name])] = millimetres
    return spread
