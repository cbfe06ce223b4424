"""Photographs of composed heads, with the light and the shadows that their samples have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from protome.geometry.camera import Camera
from protome.geometry.triangles import barycentric
from protome.population.surface import OuterSurface
from protome.units import UNIT_MM


@dataclass(frozen=True)
class Photograph:
    """A picture and the mask of its person."""

    image: Float[np.ndarray, "h w 3"]
    """sRGB in [0, 1]."""
    mask: Float[np.ndarray, "h w"]
    """The share of each pixel that the person covers."""


def photograph(surface: OuterSurface, camera: Camera, background: float = 0.94, over: int = 2) -> Photograph:
    """Return a picture of `over` x `over` samples a pixel; the camera is in the fields' inner unit."""
    large = camera.resized(camera.width * over, camera.height * over)
    rays = large.rays()
    origins = rays.origins.double().numpy() * UNIT_MM / 1000
    directions = rays.directions.double().numpy()
    points, pixel, face = surface.rays.intersects_location(origins, directions, multiple_hits=False)
    bary = barycentric(surface.soup.vertices[surface.soup.faces[face]], points)
    colours = surface.shaded(face, bary, points, directions[pixel])
    image = np.full((large.height * large.width, 4), [background, background, background, 0.0])
    image[pixel] = np.concatenate([colours / 255.0, np.ones((len(pixel), 1))], 1)
    image = image.reshape(camera.height, over, camera.width, over, 4).mean((1, 3))
    return Photograph(image[..., :3], image[..., 3])
