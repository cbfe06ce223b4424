"""Where the perception network's landmarks lie on a head model, and how surely photos show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.geometry.triangles import barycentric
from protome.landmarks import load_template_points
from protome.morphable.model import MorphableModel, SurfaceAnchors
from protome.scene import DenseLandmarks

NEAR_MM = 3.0
"""Distance from the model's surface up to which a point of the template lies on it: the model has neither hair nor
neck."""
MODEL_MM = 1.5
"""Standard deviation of a point's place on the model from that on the template."""


@dataclass(frozen=True)
class NetworkPoints:
    """Points of a head model that the network finds in photos."""

    anchors: SurfaceAnchors
    which: Int[Tensor, "n"]
    """Their numbers among the network's landmarks."""

    @staticmethod
    def of(model: MorphableModel) -> NetworkPoints:
        """Return the points of a model that has the coordinates of the population's template."""
        places = load_template_points().double().numpy()
        known = np.flatnonzero(np.isfinite(places).all(1))
        vertices, faces = model.template.double().numpy(), model.faces.numpy()
        foot = Surface(Mesh(vertices, faces)).closest(places[known])
        near = foot.distances < NEAR_MM
        weights = barycentric(vertices[faces[foot.faces[near]]], foot.points[near])
        anchors = SurfaceAnchors(
            torch.from_numpy(foot.faces[near].astype(np.int64)), torch.from_numpy(weights).to(model.template),
            torch.full((int(near.sum()),), MODEL_MM).to(model.template),
        )  # fmt: skip
        return NetworkPoints(anchors, torch.from_numpy(known[near]))

    def precision(self, seen: DenseLandmarks, pixel_mm: float) -> Float[Tensor, "n"]:
        """Return the landmarks' inverse standard deviations, 1/pixel; `pixel_mm` is a pixel's size on the head."""
        sigma = (seen.sigma[self.which].double() ** 2 + (MODEL_MM / pixel_mm) ** 2).sqrt()
        return seen.trust[self.which].double() / sigma
