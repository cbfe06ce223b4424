"""An estimate of the albedo: the texture divided by a smooth light that is fitted to the face.

The light is distant, in spherical harmonics up to the second order, which hold 99 % of what a matt surface reflects of
any distant light (Ramamoorthi and Hanrahan 2001). It is fitted as if skin had one colour, so that what differs on the
whole face, such as a beard, goes partly into the light; shadows that the head throws on itself stay in the albedo.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from protome.asset.texels import Texels
from protome.geometry.harmonics import HARMONICS, harmonics
from protome.geometry.mesh import Mesh, linear_from_srgb, srgb_from_linear

_LEAST, _MOST = 0.35, 2.5
"""Limits of the light on a surface, where 1 is its mean on the face."""
_RIDGE = 0.02
"""Pull of the light towards an even one, in vertices per vertex fitted: it decides for normals that no photo shows."""
_ROUNDS = 8
_SPREAD = 0.15
"""Relative deviation from the fitted light at which a vertex counts half: brows, eyes and lips are no skin."""


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
    shade = np.clip(light_on(mesh.normals, light), _LEAST, _MOST)
    linear = linear_from_srgb(colour.reshape(-1, 3)[texels.index] / 255.0) / texels.interpolated(shade)
    return texels.image(np.rint(255 * srgb_from_linear(np.clip(linear, 0, 1))).astype(np.uint8))


def fitted_light(normals: Float[np.ndarray, "k 3"], linear: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "9 3"]:
    """Return the light's coefficients for red, green and blue, whose light has mean 1 on the given normals.

    Least squares, reweighted so that what is not of the common colour counts less.
    """
    basis = _basis(normals)
    scale = np.maximum(np.median(linear, axis=0), 1e-4)
    relative = linear / scale
    ridge = _RIDGE * len(basis) * np.diag([0.0] + [1.0] * HARMONICS)
    weight = np.ones(len(basis))
    light = np.zeros((1 + HARMONICS, 3))
    for _ in range(_ROUNDS):
        light = np.linalg.solve(basis.T * weight @ basis + ridge, basis.T * weight @ relative)
        apart = np.abs(relative / np.maximum(basis @ light, 0.1) - 1).mean(1)
        weight = 1 / (1 + (apart / _SPREAD) ** 2)
    return light / (basis @ light).mean(0)


def light_on(normals: Float[np.ndarray, "k 3"], light: Float[np.ndarray, "9 3"]) -> Float[np.ndarray, "k 3"]:
    """Return the light on surfaces with these unit normals."""
    return _basis(normals) @ light


def _basis(normals: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 9"]:
    """Return an even light and the spherical harmonics at unit vectors."""
    return np.concatenate([np.ones((len(normals), 1)), harmonics(torch.from_numpy(normals)).numpy()], 1)
