"""Positional encoding with a progressive mask, and its transposed Jacobian written out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def progressive_weights(frequencies: int, alpha: float) -> Float[Tensor, "frequencies"]:
    """Return w_k(alpha): 0 below k, a raised cosine for one unit, 1 after (SIRA++, progressive encoding)."""
    ramp = (alpha - torch.arange(frequencies, dtype=torch.float64)).clamp(0, 1)
    return (0.5 * (1 - torch.cos(math.pi * ramp))).float()


@dataclass(frozen=True)
class Encoded:
    """Encoded points, and the values that the transposed Jacobian needs."""

    value: Float[Tensor, "*b width"]
    waves: Float[Tensor, "*b 3 waves"]
    """Sines, then cosines, already weighted."""


@dataclass(frozen=True)
class Encoding:
    """x -> (x, w_k sin 2^k x, w_k cos 2^k x), k = 0 ... frequencies-1."""

    frequencies: int
    alpha: float | None = None
    """Progress of the mask, 0 ... frequencies; None leaves every frequency on."""

    @property
    def width(self) -> int:
        """Number of output values for a 3D point."""
        return 3 + 6 * self.frequencies

    def _scales(self, points: Tensor) -> tuple[Tensor, Tensor]:
        scales = 2.0 ** torch.arange(self.frequencies, device=points.device, dtype=points.dtype)
        alpha = float(self.frequencies) if self.alpha is None else self.alpha
        return scales, progressive_weights(self.frequencies, alpha).to(points)

    def __call__(self, points: Float[Tensor, "*b 3"]) -> Encoded:
        """Encode points."""
        scales, weights = self._scales(points)
        angles = points[..., None] * scales
        waves = torch.cat([weights * torch.sin(angles), weights * torch.cos(angles)], -1)
        return Encoded(torch.cat([points, waves.flatten(-2)], -1), waves)

    def vjp(self, encoded: Encoded, cotangent: Float[Tensor, "*b width"]) -> Float[Tensor, "*b 3"]:
        """Return J^T c: the gradient in the points of a scalar whose gradient in the encoding is c."""
        scales, _ = self._scales(cotangent)
        waves = cotangent[..., 3:].unflatten(-1, (3, 2 * self.frequencies))
        sines, cosines = encoded.waves.split(self.frequencies, -1)
        slopes = torch.cat([scales * cosines, -scales * sines], -1)
        return cotangent[..., :3] + (waves * slopes).sum(-1)
