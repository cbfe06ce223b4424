"""The photos' landmarks as a loss: places of the template on the head are to be seen where the photos show them.

Silhouettes and colours leave the height of a mouth open: hair covers the outline of the head, and the
renderer paints lips where they are seen. Landmarks say where eyes, nose and mouth are (as in fits of morphable models;
Blanz and Vetter 1999, Wood et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protome.encoder.observed import observed_landmarks
from protome.field.head import HeadField
from protome.fit.viewpoints import CameraRays, Viewpoints
from protome.landmarks import landmark_places
from protome.scene import Scene
from protome.units import UNIT_MM

WIDTH = 3.0
"""Standard deviations beyond which a landmark's influence stops growing."""
START_ROUNDS = 30


@dataclass
class PhotoLandmarks:
    """Landmarks of photos, with their places on the heads, which follow a fit step by step."""

    cameras: CameraRays
    reference: Float[Tensor, "n 3"]
    """The landmarks' places on the reference head, inner units."""
    pixels: Float[Tensor, "v n 2"]
    precision: Float[Tensor, "v n"]
    """Inverse variance, 1/pixel^2; 0 where a photo does not show a landmark."""
    weight: Float[Tensor, "v n"]
    """How many independent landmarks each one counts as."""
    places: Float[Tensor, "h n 3"] | None = None
    """The last places on each of the photos' heads."""

    @staticmethod
    def of(scene: Scene, head: HeadField) -> PhotoLandmarks | None:
        """Return the landmarks of a scene that is in the head frame; None where no photo has any."""
        known = landmark_places()
        middle = head.centre.detach().cpu().double()
        rows = [observed_landmarks(view, middle, mesh=True) for view in scene.views]
        precision = torch.stack([row.precision for row in rows]).float()
        used = torch.isfinite(known).all(1) & (precision > 0).any(0)
        if not used.any():
            return None
        pixels = torch.stack([row.pixels for row in rows]).float()
        return PhotoLandmarks(
            CameraRays.of([view.camera for view in scene.views]), (known[used] / UNIT_MM).float(), pixels[:, used],
            precision[:, used], torch.stack([row.weight for row in rows]).float()[:, used],
        )  # fmt: skip

    def loss(
        self, head: HeadField, conditions: Sequence[Float[Tensor, "1 d"]], cameras: Viewpoints
    ) -> Float[Tensor, ""]:
        """Return the robust, weighted squared error in standard deviations: summed over landmarks, meaned over photos.

        `conditions` are what the shape network is conditioned on: of the head that all photos show, or of each photo's.
        Each call moves the places by one round of the fixed-point iteration, so that they follow the head. Derivatives
        are those of this round, which has the displacement's derivative where the place is.
        """
        if self.places is None:
            with torch.no_grad():
                self.places = torch.stack([head.placed(self.reference, own, START_ROUNDS) for own in conditions])
        places = torch.stack([
            self.reference - head.displacement(before[None], own)[0]
            for before, own in zip(self.places, conditions, strict=True)
        ])  # fmt: skip
        self.places = places.detach()
        views = torch.arange(len(self.pixels), device=places.device)
        seen = cameras.project(views, places[views if len(places) > 1 else torch.zeros_like(views)])
        squared = (seen - self.pixels).square().sum(-1) * self.precision
        robust = WIDTH**2 * ((1 + squared / WIDTH**2).sqrt() - 1)
        return (self.weight * robust).sum(1).mean()

    def to(self, device: torch.device) -> PhotoLandmarks:
        """Move to a device."""
        return PhotoLandmarks(
            self.cameras.to(device), self.reference.to(device), self.pixels.to(device), self.precision.to(device),
            self.weight.to(device),
        )  # fmt: skip
