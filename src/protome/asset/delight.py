"""An estimate of the albedo: the texture divided by a smooth light that is fitted to the face.

The light is distant, in spherical harmonics up to the second order, which hold 99 % of what a matt surface reflects of
any distant light (Ramamoorthi and Hanrahan 2001). It is fitted as if skin had one colour, so that what differs on the
whole face, such as a beard, goes partly into the light; shadows that the head throws on itself stay in the albedo.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

from protome.asset.texels import Texels
from protome.geometry.mesh import Mesh, linear_from_srgb, srgb_from_linear
from protome.relief.light import LEAST, MOST, fitted_light, light_on


def albedo(
    colour: UInt8[np.ndarray, "n n 3"],
    texels: Texels,
    mesh: Mesh,
    low: Float[np.ndarray, "v 3"],
    skin: Bool[np.ndarray, "v"],
) -> UInt8[np.ndarray, "n n 3"]:
    """Return a texture without its light, from the smooth colours `low` (sRGB) of a mesh with normals.

    `skin` says which vertices are seen skin. Its mean brightness on them stays.
    """
    assert mesh.normals is not None
    light = fitted_light(mesh.normals[skin], linear_from_srgb(np.clip(low[skin], 0, 1)))
    shade = np.clip(light_on(mesh.normals, light), LEAST, MOST)
    plain = np.zeros((len(texels.index), 3), np.uint8)
    for at in texels.blocks():
        part = texels.part(at)
        linear = linear_from_srgb(colour.reshape(-1, 3)[part.index] / 255.0) / part.interpolated(shade)
        plain[at] = np.rint(255 * srgb_from_linear(np.clip(linear, 0, 1)))
    return texels.image(plain)
