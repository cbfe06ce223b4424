"""Places on the body that pieces are put at: found once for a wardrobe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

MOUTH_M = np.array([0.0, -0.066, 0.008])
"""Between the lips of the template."""
NEAREST = 40
"""Vertices that stand for a place."""


@dataclass(frozen=True)
class Places:
    """Vertices of the body around places of the template."""

    lips: Int[np.ndarray, "40"]
    chin: Int[np.ndarray, "40"]
    ear: Int[np.ndarray, "40"]
    lids: Float[np.ndarray, "v"]
    """1 where the skin touches the front of an eye's upper half."""

    @staticmethod
    def of(
        template: Float[np.ndarray, "v 3"], mean: Float[np.ndarray, "v 3"], eyes: list[Float[np.ndarray, "_ 3"]]
    ) -> Places:
        """Find the places on a template; `eyes` are the eyeballs' vertices on the mean body."""
        sideways = -np.abs(template[:, 0]) + 10 * (template[:, 1] < -0.08)
        return Places(
            _nearest(template, MOUTH_M), _nearest(template, MOUTH_M + np.array([0, -0.03, 0])),
            np.argsort(sideways)[:NEAREST], _lids(mean, eyes),
        )  # fmt: skip


def _nearest(template: Float[np.ndarray, "v 3"], place: Float[np.ndarray, "3"]) -> Int[np.ndarray, "40"]:
    return np.argsort(np.linalg.norm(template - place, axis=1))[:NEAREST]


def _lids(mean: Float[np.ndarray, "v 3"], eyes: list[Float[np.ndarray, "_ 3"]]) -> Float[np.ndarray, "v"]:
    found = np.zeros(len(mean), np.float32)
    for eye in eyes:
        centre, radius = fitted_sphere(eye)
        away = mean - centre
        gap = np.linalg.norm(away, axis=1) - radius
        upper = (away[:, 1] > 0.001) & (away[:, 2] > 0.3 * radius) & (np.abs(away[:, 0]) < 1.25 * radius)
        found = np.maximum(found, upper * np.clip(1.4 - gap / 0.0016, 0, 1))
    return found


def fitted_sphere(points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Return the sphere that fits points best."""
    design = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    solved = np.linalg.lstsq(design, (points**2).sum(1), rcond=None)[0]
    return solved[:3], float(np.sqrt(max(solved[3] + (solved[:3] ** 2).sum(), 1e-8)))
