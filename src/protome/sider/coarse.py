"""SIDER's first stage: a network is fitted to the signed distance of a coarse face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome import losses
from protome.geometry.mesh import Mesh
from protome.geometry.sampling import sample_surface
from protome.sider.field import DetailField
from protome.sider.thick import ThickSurface
from protome.units import UNIT_MM
from protome.util.progress import Step


@dataclass(frozen=True)
class CoarseConfig:
    """Settings of the fit to the coarse face."""

    thickness_mm: float = 2.0
    """Of the layer that represents the face; its outer side is the face itself."""
    points: int = 60_000
    """Points around the face whose distances are computed once."""
    batch: int = 512
    """Points per step."""
    steps: int = 2000
    rate: float = 2e-3
    """Initial learning rate; it decays linearly to zero."""
    eikonal: float = 1e-4
    """Weight of the eikonal term (the paper's lambda)."""
    eikonal_points: int = 64
    """Points of a batch at which it is computed."""


@dataclass(frozen=True)
class DistanceSamples:
    """Points around a coarse face and their signed distances, inner units."""

    points: Float[Tensor, "n 3"]
    distances: Float[Tensor, "n"]

    @staticmethod
    def of(face: Mesh, config: CoarseConfig, seed: int = 0) -> DistanceSamples:
        """Sample the space around a face (inner units).

        Half of the points lie within a few millimetres, a third within a centimetre or two, the others anywhere in a
        box around the face. Those behind the layer's middle are left out, because a photo shows only the front: the
        space behind then counts as inside, and the network represents one surface instead of two.
        """
        rng = np.random.default_rng(seed)
        layer = ThickSurface.behind(face, config.thickness_mm / UNIT_MM)
        near, far = config.points // 2, config.points // 3
        # Shuffled, because the samples come in the order of the triangles.
        on = rng.permutation(sample_surface(face, near + far, rng).points)
        reach = np.concatenate([np.full(near, 2.0 / UNIT_MM), np.full(far, 8.0 / UNIT_MM)])
        box = face.bounds + np.array([[-1.0], [1.0]]) * 20.0 / UNIT_MM
        points = np.concatenate(
            [
                on + rng.normal(size=on.shape) * reach[:, None],
                rng.uniform(box[0], box[1], (config.points - near - far, 3)),
            ]
        )
        points = points[layer.before(points)]
        return DistanceSamples(torch.from_numpy(points).float(), torch.from_numpy(layer.distance(points)).float())

    def near(self) -> DistanceSamples:
        """Return the points within two millimetres of the face."""
        close = self.distances.abs() < 2.0 / UNIT_MM
        return DistanceSamples(self.points[close], self.distances[close])

    def to(self, device: torch.device) -> DistanceSamples:
        """Move to a device."""
        return DistanceSamples(self.points.to(device), self.distances.to(device))

    def draw(self, count: int, generator: torch.Generator) -> DistanceSamples:
        """Draw points with replacement."""
        chosen = torch.randint(len(self.points), (count,), generator=generator).to(self.points.device)
        return DistanceSamples(self.points[chosen], self.distances[chosen])


def fit_coarse(
    field: DetailField, generator: torch.Generator, around: DistanceSamples, config: CoarseConfig, step: Step
) -> float:
    """Fit a field to the distances around a face: |f - SDF| + lambda (|grad f| - 1)^2 (SIDER, equations 4 to 7).

    The field is changed in place. Returns the mean |f - SDF| near the face at the end, in inner units.
    """
    field.unmask_frequencies(0.0)
    optimiser = torch.optim.Adam(field.geometry.parameters(), lr=config.rate)
    for number in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.rate * (1 - number / config.steps)
        batch = around.draw(config.batch, generator)
        loss = losses.distance(field.sdf(batch.points), batch.distances)
        at = field.surface(batch.points[: config.eikonal_points])
        loss = loss + config.eikonal * losses.eikonal(at.gradient)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        step(1, f"off by {float(loss.detach()) * UNIT_MM:.2f} mm")
    with torch.no_grad():
        close = around.near().draw(4096, generator)
        return float(losses.distance(field.sdf(close.points), close.distances))
