"""The light of a photo: what a matt surface of one colour returns, in spherical harmonics of its normal."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

LEAST, MOST = 0.35, 2.5
"""Limits of the light on a surface, where 1 is its mean on the face."""
_RIDGE = 0.02
"""Pull of the light towards an even one, in points per point fitted: it decides for normals that no photo shows."""
_ROUNDS = 8
_SPREAD = 0.15
"""Relative deviation from the fitted light at which a point counts half: brows, eyes and lips are no skin."""


def fitted_light(normals: Float[np.ndarray, "k 3"], linear: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "9 3"]:
    """Return the light's coefficients for red, green and blue, whose light has mean 1 on the given normals.

    Least squares, reweighted so that what is not of the common colour counts less.
    """
    basis = harmonics(normals)
    scale = np.maximum(np.median(linear, axis=0), 1e-4)
    relative = linear / scale
    ridge = _RIDGE * len(basis) * np.diag([0.0] + [1.0] * 8)
    weight = np.ones(len(basis))
    light = np.zeros((9, 3))
    for _ in range(_ROUNDS):
        light = np.linalg.solve(basis.T * weight @ basis + ridge, basis.T * weight @ relative)
        apart = np.abs(relative / np.maximum(basis @ light, 0.1) - 1).mean(1)
        weight = 1 / (1 + (apart / _SPREAD) ** 2)
    return light / (basis @ light).mean(0)


def harmonics(normals: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 9"]:
    """Return the real spherical harmonics up to order 2 at unit vectors, without their constant factors."""
    x, y, z = normals.T
    return np.stack([np.ones_like(x), x, y, z, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], 1)


def shade(light: Float[np.ndarray, "9"], normals: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k"]:
    """Return the light on surfaces with these unit normals, within `LEAST` and `MOST`."""
    return np.clip(harmonics(normals) @ light, LEAST, MOST)


def slopes(light: Float[np.ndarray, "9"], normals: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 3"]:
    """Return the derivative of the logarithm of the light by the unit normal, within the tangent plane."""
    x, y, z = normals.T
    none, one = np.zeros_like(x), np.ones_like(x)
    by = np.stack(
        [
            np.stack([none, one, none, none, y, none, none, z, 2 * x]),
            np.stack([none, none, one, none, x, z, none, none, -2 * y]),
            np.stack([none, none, none, one, none, y, 6 * z, x, none]),
        ]
    )
    change = np.einsum("akn,k->na", by, light) / shade(light, normals)[:, None]
    return change - (change * normals).sum(1, keepdims=True) * normals
