"""The light of a photo: what a matt surface of one colour returns, in spherical harmonics of its normal."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from protome.geometry.harmonics import HARMONICS, harmonics

LEAST, MOST = 0.35, 2.5
"""Limits of the light on a surface, where 1 is its mean on the face."""
_RIDGE = 0.02
"""Pull of the light towards an even one, in points per point fitted: it decides for normals that no photo shows."""
_ROUNDS = 8
_SECOND = 5**0.5
"""Factor of the harmonics of the second order."""
_SPREAD = 0.15
"""Relative deviation from the fitted light at which a point counts half: brows, eyes and lips are no skin."""


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


def light_on(normals: Float[np.ndarray, "k 3"], light: Float[np.ndarray, "9 *c"]) -> Float[np.ndarray, "k *c"]:
    """Return the light on surfaces with these unit normals."""
    return _basis(normals) @ light


def shade(light: Float[np.ndarray, "9"], normals: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k"]:
    """Return the light on surfaces with these unit normals, within `LEAST` and `MOST`."""
    return np.clip(light_on(normals, light), LEAST, MOST)


def slopes(light: Float[np.ndarray, "9"], normals: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 3"]:
    """Return the derivative of the logarithm of the light by the unit normal, within the tangent plane."""
    x, y, z = normals.T
    none, one = np.zeros_like(x), np.ones_like(x)
    # Of the harmonics in their order and with their factors.
    by = [
        [none, one, none, none, _SECOND * y, none, _SECOND * z, _SECOND * x, none],
        [none, none, one, none, _SECOND * x, _SECOND * z, none, -_SECOND * y, none],
        [none, none, none, one, none, _SECOND * y, _SECOND * x, none, _SECOND * 3**0.5 * z],
    ]
    change = np.einsum("akn,k->na", np.array(by), light) / shade(light, normals)[:, None]
    return change - (change * normals).sum(1, keepdims=True) * normals


def _basis(normals: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 9"]:
    """Return an even light and the spherical harmonics at unit vectors."""
    return np.concatenate([np.ones((len(normals), 1)), harmonics(torch.from_numpy(normals)).numpy()], 1)
