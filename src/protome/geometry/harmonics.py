"""Spherical harmonics of low order, which describe the light that a matt surface returns."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

HARMONICS = 8
"""Spherical harmonics of the first and the second order."""


def harmonics(normals: Float[Tensor, "n 3"]) -> Float[Tensor, "n 8"]:
    """Return the real spherical harmonics of the first and second order, scaled so that their mean square is 1/3."""
    x, y, z = normals.unbind(1)
    second = 5**0.5 * torch.stack([x * y, y * z, x * z, (x * x - y * y) / 2, (3 * z * z - 1) / 12**0.5], 1)
    return torch.cat([normals, second], 1)
