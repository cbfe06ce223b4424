"""Photographs of composed heads, with the light and the shadows that their samples have."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from protome.geometry.camera import Camera
from protome.population.registration import barycentric
from protome.population.surface import OuterSurface
from protome.units import UNIT_MM


def photograph(
    surface: OuterSurface, camera: Camera, background: float = 0.94, over: int = 2
) -> Float[np.ndarray, "h w 3"]:
    """Return a picture, sRGB in [0, 1], `over` x `over` samples a pixel; the camera is in the fields' inner unit."""
    large = camera.resized(camera.width * over, camera.height * over)
    rays = large.rays()
    origins = rays.origins.double().numpy() * UNIT_MM / 1000
    directions = rays.directions.double().numpy()
    points, pixel, face = surface.rays.intersects_location(origins, directions, multiple_hits=False)
    bary = barycentric(surface.soup.vertices[surface.soup.faces[face]], points)
    colours = surface.shaded(face, bary, points, directions[pixel])
    image = np.full((large.height * large.width, 3), background)
    image[pixel] = colours / 255.0
    return image.reshape(camera.height, over, camera.width, over, 3).mean((1, 3))
