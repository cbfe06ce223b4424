"""Where a photo shows the template's landmarks, and how surely: the network's and MediaPipe's in one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protome.landmarks import load_mesh_points, load_template_points
from protome.scene import View
from protome.units import UNIT_MM

MODEL_MM = 1.0
"""Deviation of the field's correspondences from the labels'."""
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
"""Of MediaPipe's landmarks: there the field's correspondence jumps from lip to lip."""
TOGETHER, MESH_TOGETHER, MESH_ALONE = 20.0, 60.0, 10.0
"""Neighbouring landmarks err together: this many of the network's count as one; of MediaPipe's more beside an encoder's
estimate, because they err with the encoder, too, which has seen the same ones, and fewer without."""


@dataclass(frozen=True)
class ObservedLandmarks:
    """The landmarks of `protome.landmarks.landmark_places` in one photo: the network's, then MediaPipe's."""

    pixels: Float[Tensor, "n 2"]
    precision: Float[Tensor, "n"]
    """Inverse variance, 1/pixel^2; 0 where the photo does not show a landmark."""
    weight: Float[Tensor, "n"]
    """How many independent landmarks each one counts as."""


def observed_landmarks(
    view: View, middle: Float[Tensor, "3"], mesh: bool, together: float = MESH_TOGETHER
) -> ObservedLandmarks:
    """Return the landmarks of a view that is posed in the head frame, in double precision; `middle` is the head's.

    With `mesh` MediaPipe's are used beside those of the network; `together` of them count as one.
    """
    camera = view.camera.to(torch.float64)
    pixels_per_mm = float(camera.focal) / float(camera.to_camera(middle[None])[0, 2]) / UNIT_MM
    known, sigma = len(load_template_points()), load_mesh_points().sigma.double()
    pixels = torch.zeros(known + len(sigma), 2, dtype=torch.float64)
    precision = torch.zeros(len(pixels), dtype=torch.float64)
    if view.dense is not None:
        own = (view.dense.sigma.double().square() + (MODEL_MM * pixels_per_mm) ** 2) ** -1
        precision[:known] = view.dense.trust.double() * own
        pixels[:known] = view.dense.pixels.double()
    if mesh and view.landmarks is not None:
        own = ((sigma.square() + MODEL_MM**2).sqrt() * pixels_per_mm) ** -2
        own[list(INNER_LIPS)] = 0.0
        precision[known:], pixels[known:] = own, view.landmarks[: len(sigma)].double()
    weight = torch.full_like(precision, 1 / TOGETHER)
    weight[known:] = 1 / together
    return ObservedLandmarks(pixels, precision, torch.where(precision > 0, weight, 0.0))
