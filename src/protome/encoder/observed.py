"""Where a photo shows the template's landmarks, and how surely: the network's and MediaPipe's in one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protome.landmarks import load_face_landmarks, load_template_points
from protome.scene import View
from protome.units import UNIT_MM

MODEL_MM = 1.0
"""Deviation of the field's correspondences from the labels'."""
MESH_MM = 1.0
"""Deviation of MediaPipe's landmarks."""
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
CHIN = (83, 18, 313, 200, 199, 175, 152, 148, 377, 171, 396, 208, 428, 201, 421, 182, 406)
LEAST_VISIBLE = 0.3
"""Probability below which a landmark is left out: hidden ones are where the network believes them to be."""


@dataclass(frozen=True)
class ObservedLandmarks:
    """The landmarks of `protome.landmarks.load_template_points` in one photo."""

    pixels: Float[Tensor, "n 2"]
    precision: Float[Tensor, "n"]
    """Inverse variance, 1/pixel^2; 0 where the photo does not show a landmark."""


def observed_landmarks(view: View, middle: Float[Tensor, "3"], mesh: bool) -> ObservedLandmarks:
    """Return the landmarks of a view that is posed in the head frame, in double precision; `middle` is the head's.

    With `mesh` MediaPipe's are used beside those of the network.
    """
    camera = view.camera.to(torch.float64)
    pixels_per_mm = float(camera.focal) / float(camera.to_camera(middle[None])[0, 2]) / UNIT_MM
    count = len(load_template_points())
    pixels, precision = torch.zeros(count, 2).double(), torch.zeros(count).double()
    if view.dense is not None:
        own = (view.dense.sigma.double().square() + (MODEL_MM * pixels_per_mm) ** 2) ** -1
        precision = torch.where(view.dense.visible > LEAST_VISIBLE, view.dense.visible, 0.0).double() * own
        pixels = view.dense.pixels.double()
    if mesh and view.landmarks is not None:
        trust = mesh_weights()
        known = len(trust)
        other = torch.cat([trust * (MESH_MM * pixels_per_mm) ** -2, precision[known:] * 0])
        seen = torch.cat([view.landmarks[:known].double(), pixels[known:]])
        total = (precision + other).clamp_min(1e-30)[:, None]
        pixels, precision = (precision[:, None] * pixels + other[:, None] * seen) / total, precision + other
    return ObservedLandmarks(pixels, precision)


def mesh_weights() -> Float[Tensor, "468"]:
    """Return how far MediaPipe's landmarks are to be trusted where a face may have an expression.

    The packaged weights are for poses: low where expressions move the face. The outer lips and the chin say most of
    them. The inner lips say little, because there the field's correspondence jumps from lip to lip.
    """
    weights = load_face_landmarks().weights.double().clone()
    weights[list(OUTER_LIPS)] = 1.0
    weights[list(INNER_LIPS)] = 0.0
    weights[list(CHIN)] = 0.3
    return weights
