"""Light that surfaces of one material send to the camera."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from protome.population.portraits.lighting import Lighting
from protome.population.portraits.pieces import Material
from protome.population.portraits.shading import Surface

WRAP = (0.22, 0.09, 0.05)
"""Light that has travelled under the skin is red, and reaches a little past the horizon."""
STRANDS_WRAP, OTHER_WRAP = 0.25, 0.05
EYE_SHARPNESS, SHARPNESS, STRANDS_SHARPNESS = 300.0, 18.0, 25.0


def reflected(
    lighting: Lighting, material: Material, shown: Surface, normal: Float[np.ndarray, "3 n"],
    way: Float[np.ndarray, "3 n"], sky: Float[np.ndarray, "n"], lit: Float[np.ndarray, "l n"],
) -> Float[np.ndarray, "3 n"]:  # fmt: skip
    """Return the light that leaves points of surfaces towards the camera.

    Args:
        lighting: the light.
        material: that of all points.
        shown: their surfaces.
        normal: unit normals on the camera's side.
        way: unit directions of the rays from the camera.
        sky: shares of the sky that the points see.
        lit: shares of each lamp that they see.
    """
    strands = material in (Material.HAIR, Material.BEARD)
    total = lighting.soft(normal)
    total *= np.clip(np.float32(0.25) + np.float32(0.95) * sky, 0, 1)
    total *= shown.albedo
    grazing = 1 - np.clip(-_dot(normal, way), 0, 1)
    fresnel = np.float32(0.03) + np.float32(0.25) * grazing**2 * grazing**2 * grazing
    total += (np.float32(0.35) * shown.gloss * fresnel) * lighting.ambient.astype(np.float32)[:, None]
    wrap = np.array(WRAP if material == Material.BODY else [STRANDS_WRAP if strands else OTHER_WRAP], np.float32)
    wrap = wrap[:, None]
    sharp = np.float32(EYE_SHARPNESS if material == Material.EYE else SHARPNESS)
    tangent = normal
    if strands:
        tangent = normal[1] * normal
        tangent[1] -= 1
        tangent /= np.sqrt(_dot(tangent, tangent)) + np.float32(1e-6)
    for towards, colour, share in zip(lighting.lamp_directions, lighting.lamp_colours, lit, strict=True):
        cosine = towards.astype(np.float32) @ normal
        diffuse = np.maximum((cosine + wrap) * (share / (1 + wrap)), 0) * shown.albedo
        half = towards.astype(np.float32)[:, None] - way
        half /= np.sqrt(_dot(half, half))
        along = _dot(tangent, half)
        glossy = np.float32(0.35) * shown.gloss * share
        if strands:
            glossy = glossy * np.clip(1 - along**2, 0, 1) ** np.float32(STRANDS_SHARPNESS) * (cosine > -0.1)
            diffuse += glossy * (np.float32(0.3) + 2 * shown.albedo)
        else:
            diffuse += np.float32(0.7) * glossy * np.clip(along, 0, 1) ** sharp * (cosine > 0)
        total += diffuse * colour.astype(np.float32)[:, None]
    return total


def _dot(first: Float[np.ndarray, "3 n"], second: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "n"]:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
