"""The landmarks of the head's topology that portraits carry: MediaPipe's 468, irises, and points all over the head."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np
from jaxtyping import Float, Int

from protome.population.portraits.wardrobe import Wardrobe

FACE_POINTS, IRISES = 468, 2
OTHER_POINTS = 330
LOWEST_M = -0.15
"""No points lie lower on the template: below is cloth."""


@dataclass(frozen=True)
class HeadPoints:
    """Places on the body's surface; the irises, between the face's points and the others, lie on the eyes."""

    corners: Int[np.ndarray, "n 3"]
    shares: Float[np.ndarray, "n 3"]

    @staticmethod
    def of(wardrobe: Wardrobe) -> HeadPoints:
        """Return the same points for every wardrobe of the topology.

        After the landmarks of MediaPipe's face, vertices are chosen that lie as far as possible from all before them.
        """
        table = json.loads((resources.files("protome") / "assets" / "mediapipe_landmarks.json").read_text())
        corners = np.asarray(table["valid_body"]["triangles"])
        shares = np.asarray(table["valid_body"]["barycentric"], np.float64)
        template = wardrobe.template.astype(np.float64)
        chosen = (template[corners] * shares[..., None]).sum(1)
        open_ = (wardrobe.sky > 0.25) & (template[:, 1] > LOWEST_M) & (wardrobe.weld == np.arange(len(template)))
        candidates = np.flatnonzero(open_)
        gap = np.linalg.norm(template[candidates, None] - chosen[None], axis=2).min(1)
        # Face, ears and neck take more points than the skull, which is seldom seen.
        gap *= np.where(wardrobe.scalp[candidates] > 0.5, 0.6, 1.0)
        weight = np.where(wardrobe.scalp[candidates] > 0.5, 0.6, 1.0)
        others = []
        for _ in range(OTHER_POINTS):
            best = int(gap.argmax())
            others.append(candidates[best])
            gap = np.minimum(gap, weight * np.linalg.norm(template[candidates] - template[candidates[best]], axis=1))
        more = np.tile(np.array(others)[:, None], (1, 3))
        return HeadPoints(
            np.concatenate([corners, more]), np.concatenate([shares, np.tile([1.0, 0.0, 0.0], (len(more), 1))])
        )

    def on_template(self, wardrobe: Wardrobe) -> Float[np.ndarray, "l 3"]:
        """Return all landmarks on the template, millimetres; the irises, which move, are not numbers."""
        irises = np.full((IRISES, 3), np.nan)
        return (1000 * self.on(wardrobe.template.astype(np.float64), irises)).astype(np.float32)

    def on(self, body: Float[np.ndarray, "v 3"], irises: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "l 3"]:
        """Return all landmarks of a body: the face's, the two irises (right first), the others."""
        places = (body[self.corners] * self.shares[..., None]).sum(1)
        return np.concatenate([places[:FACE_POINTS], irises, places[FACE_POINTS:]])
