"""Face landmarks as a soft term: where detected landmarks say that six points of the head lie."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from protome.face import LANDMARK_NAMES
from protome.field.field import Field
from protome.geometry.camera import Rays
from protome.prior.prior import Prior
from protome.scene import Scene
from protome.units import UNIT_MM

MEDIAPIPE = {
    "right_eye": 133, "left_eye": 362, "nose_tip": 4, "nose_base": 2, "right_lips": 61, "left_lips": 291,
}  # fmt: skip
"""The prior's landmarks among MediaPipe's."""
DEVIATION = 3.0 / UNIT_MM
"""How far a detected landmark is from the point that it stands for, about."""
_FEATURE = slice(0, 3)


@dataclass(frozen=True)
class LandmarkRays:
    """The rays through the landmarks that views show."""

    rays: Rays
    """In the head frame before any refinement."""
    view: Int[Tensor, "n"]
    landmark: Int[Tensor, "n"]
    """Which of the six."""
    reference: Float[Tensor, "6 3"]
    """Where the landmarks lie in the reference head."""

    @staticmethod
    def of(scene: Scene, prior: Prior) -> LandmarkRays | None:
        """Return the rays of all views that have landmarks; None if none has."""
        origins, directions, views = [], [], []
        for number, view in enumerate(scene.views):
            if view.landmarks is None:
                continue
            pixels = view.landmarks[[MEDIAPIPE[name] for name in LANDMARK_NAMES]]
            rays = view.camera.transformed(scene.head_from_world).rays(pixels)
            origins.append(rays.origins)
            directions.append(rays.directions)
            views.append(torch.full((len(pixels),), number))
        if not views:
            return None
        with torch.no_grad():
            mean = prior.landmarks[None]
            reference = (mean + prior.field.displacement(mean, prior.shape.mean[None]))[0]
        device = prior.bounds.device
        rays = Rays(torch.cat(origins).to(device), torch.cat(directions).to(device))
        landmark = torch.arange(len(LANDMARK_NAMES)).repeat(len(views)).to(device)
        return LandmarkRays(rays, torch.cat(views).to(device), landmark, reference)

    def loss(self, now: Field, rays: Rays, rounds: int = 3) -> Float[Tensor, ""]:
        """Return how far the head's landmarks pass from the given rays, in deviations, robustly.

        A landmark is where the deformation brings a point to its place in the reference: a fixed point, whose last
        round carries the gradient.
        """
        points = self.reference
        for number in range(rounds):
            with torch.set_grad_enabled(number == rounds - 1):
                # A field's features begin with the reference point (`HeadField.bind`).
                displacement = now.surface(points.detach()).feature[:, _FEATURE] - points.detach()
                points = self.reference - displacement
        away = points[self.landmark] - rays.origins
        aside = away - (away * rays.directions).sum(1, keepdim=True) * rays.directions
        square = aside.square().sum(1) / DEVIATION**2
        return ((1 + square).sqrt() - 1).mean()
