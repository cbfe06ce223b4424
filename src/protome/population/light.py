"""Light on a training head: an even sky, one to four soft lamps, a little gloss, and a camera's exposure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

WRAP = 0.2
"""How far soft light reaches past a surface's horizon, as a share of the cosine."""


@dataclass(frozen=True)
class Light:
    """The lighting and exposure that turn a surface's albedo into a picture of it."""

    ambient: Float[np.ndarray, "3"]
    """Light of the sky on a surface from which all of it is visible."""
    directions: Float[np.ndarray, "k 3"]
    """Unit vectors towards the lamps."""
    colours: Float[np.ndarray, "k 3"]
    softness: Float[np.ndarray, "k"]
    """Tangent of the half angle of each lamp."""
    gloss: float
    """Strength of the specular highlights: skin and hair are not quite matt."""
    exposure: Float[np.ndarray, "3"]
    """Gain of the camera, with its white balance."""

    def shade(
        self,
        albedo: UInt8[np.ndarray, "n 3"],
        normals: Float[np.ndarray, "n 3"],
        views: Float[np.ndarray, "n 3"],
        sky: Float[np.ndarray, "n"],
        lit: Float[np.ndarray, "n k"],
    ) -> UInt8[np.ndarray, "n 3"]:
        """Return sRGB colours.

        `sky` is a point's sky visibility, `lit` the visible share of each lamp; `views` point from the camera to the
        surface.
        """
        cosine = np.clip((normals @ self.directions.T + WRAP) / (1 + WRAP), 0, None) * lit
        energy = self.ambient * (0.35 + 0.65 * sky[:, None]) + cosine @ self.colours
        half = self.directions[None] - views[:, None]
        half /= np.linalg.norm(half, axis=2, keepdims=True) + 1e-9
        shine = np.clip((normals[:, None] * half).sum(2), 0, None) ** 24 * (cosine > 0) * lit
        linear = (albedo / 255.0) ** 2.2 * energy + self.gloss * (shine @ self.colours)
        return np.rint(255 * np.clip(linear * self.exposure, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def draw_light(rng: np.random.Generator) -> Light:
    """Return a light as people are photographed in: from one hard lamp to an overcast sky, nearly white."""
    count = int(rng.integers(1, 5))
    azimuth, elevation = rng.normal(0, 1.1, count), rng.uniform(-0.1, 1.2, count)
    level = np.cos(elevation)
    directions = np.stack([np.sin(azimuth) * level, np.sin(elevation), np.cos(azimuth) * level], 1)
    share = rng.uniform(0.25, 0.75)
    power = rng.dirichlet(np.full(count, 1.5)) * (1 - share) * 1.3
    tint = np.clip(1 + rng.normal(0, 1, (count, 1)) * np.array([0.09, 0.02, -0.09]), 0.75, 1.25)
    ambient = share * (1 + np.clip(rng.normal(0, 0.03), -0.08, 0.08) * np.array([1.0, 0.1, -1.0]))
    gain = float(np.clip(np.exp(rng.normal(0.12, 0.18)), 0.75, 1.6))
    warmth = np.clip(rng.normal(0, 0.035), -0.09, 0.09)
    exposure = gain * np.array([1 + warmth, 1 + rng.normal(0, 0.01), 1 - warmth])
    softness = np.exp(rng.uniform(np.log(0.03), np.log(0.6), count))
    return Light(ambient, directions, power[:, None] * tint, softness, float(rng.uniform(0, 0.08)), exposure)
