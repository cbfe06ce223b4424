"""Descriptors of a head's shape and colours, a few hundred numbers each, that initialise its latents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from protome.geometry.neighbours import tree_of
from protome.population.compose import CENTRE_M, Composer
from protome.population.registration import farthest
from protome.population.surface import FACE_M, HeadSamples, OuterSurface

HEAD_POINTS, REST_POINTS, DIRECTIONS = 360, 90, 260
FACE_WEIGHT, RADIUS_WEIGHT = 3.0, 0.4
"""Faces differ by millimetres, hair by centimetres; radii partly repeat the points."""


@dataclass(frozen=True)
class LatentInit:
    """The places that heads are described by: points of the skin, and directions from the middle of the head."""

    points: Int[np.ndarray, "p"]
    """Vertices of the body."""
    place: Float[np.ndarray, "p 3"]
    """The same on the template, metres."""
    directions: Float[np.ndarray, "r 3"]
    nose: Float[np.ndarray, "3"]
    """The template's nose tip."""

    @staticmethod
    def of(composer: Composer) -> LatentInit:
        """Spread the points evenly over the template, most of them on the head."""
        template = composer.template
        high = np.flatnonzero(template[:, 1] > -0.13)
        low = np.flatnonzero((template[:, 1] <= -0.13) & (template[:, 1] > -0.25))
        chosen = np.concatenate(
            [high[farthest(template[high], HEAD_POINTS)], low[farthest(template[low], REST_POINTS)]]
        )
        # A spiral from pole to pole spreads directions evenly.
        order = np.arange(DIRECTIONS) + 0.5
        height, turn = 1 - 2 * order / DIRECTIONS, np.pi * (1 + np.sqrt(5.0)) * order
        flat = np.sqrt(1 - height**2)
        return LatentInit(
            chosen,
            template[chosen],
            np.stack([flat * np.cos(turn), height, flat * np.sin(turn)], 1),
            template[composer.valid.landmarks["nose_tip"]],
        )

    def shape(self, surface: OuterSurface) -> Float[np.ndarray, "k"]:
        """Return the skin's displacements from the template and the reach in each direction, metres."""
        moved = surface.head.parts[0].vertices[self.points] - self.place
        reach, _ = surface.radii(self.directions)
        face = np.linalg.norm(self.place - self.nose, axis=1) < FACE_M
        weights = np.where(face, FACE_WEIGHT, 1.0)[:, None]
        return np.concatenate([(weights * moved).ravel(), RADIUS_WEIGHT * reach])

    def appearance(self, samples: HeadSamples) -> Float[np.ndarray, "l"]:
        """Return the colours at the skin's points and in each direction, sRGB in [0, 1]."""
        colours = samples.colours / 255.0
        skin = samples.registered
        _, nearest = tree_of(samples.template[skin]).query(self.place, k=4)
        on_skin = colours[skin][nearest].mean(1)
        towards = samples.points - CENTRE_M
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        _, nearest = tree_of(towards).query(self.directions, k=6)
        return np.concatenate([on_skin.ravel(), colours[nearest].mean(1).ravel()])
