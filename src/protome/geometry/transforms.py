"""Rotations, similarity transforms and the Procrustes solution between two point sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def skew(vectors: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Return the matrices S with S @ u = v x u for each vector v."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, -1).reshape(*vectors.shape, 3)


def rotation_from_vector(vectors: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Return the rotation by |v| radians about v (the exponential map), differentiable at zero."""
    return torch.linalg.matrix_exp(skew(vectors))


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation @ x + translation, named `a_from_b` for a map from frame b to frame a."""

    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]
    scale: Float[Tensor, ""]

    @staticmethod
    def identity(dtype: torch.dtype = torch.float32) -> Similarity:
        """Return the identity map."""
        return Similarity(torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype), torch.ones((), dtype=dtype))

    @staticmethod
    def scaling(scale: float, dtype: torch.dtype = torch.float32) -> Similarity:
        """Return the map that multiplies lengths by `scale`."""
        unmoved = Similarity.identity(dtype)
        return Similarity(unmoved.rotation, unmoved.translation, torch.tensor(float(scale), dtype=dtype))

    def apply(self, points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        """Map points."""
        return self.scale * (points @ self.rotation.T) + self.translation

    def apply_numpy(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Map NumPy points, in double precision."""
        rotation, translation = (value.detach().double().cpu().numpy() for value in (self.rotation, self.translation))
        return float(self.scale.detach()) * (points @ rotation.T) + translation

    def inverse(self) -> Similarity:
        """Return the inverse map."""
        rotation = self.rotation.T
        scale = 1.0 / self.scale
        return Similarity(rotation, -scale * (rotation @ self.translation), scale)

    def compose(self, first: Similarity) -> Similarity:
        """Return the map that applies `first`, then this one."""
        return Similarity(
            self.rotation @ first.rotation,
            self.apply(first.translation),
            self.scale * first.scale,
        )

    def to(self, target: torch.device | torch.dtype | str) -> Similarity:
        """Move to a device or a floating-point type."""
        return Similarity(*(value.to(target) for value in (self.rotation, self.translation, self.scale)))

    def detach(self) -> Similarity:
        """Return a copy that carries no gradient."""
        return Similarity(self.rotation.detach(), self.translation.detach(), self.scale.detach())

    def matrix(self) -> Float[Tensor, "4 4"]:
        """Return the homogeneous matrix."""
        last = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=self.rotation.dtype, device=self.rotation.device)
        top = torch.cat([self.scale * self.rotation, self.translation[:, None]], 1)
        return torch.cat([top, last], 0)


def procrustes(
    source: Float[Tensor, "n 3"],
    target: Float[Tensor, "n 3"],
    weights: Float[Tensor, "n"] | None = None,
    with_scale: bool = True,
) -> Similarity:
    """Return the similarity that maps `source` onto `target` with the least squared error.

    Reflections are excluded. Source: Umeyama (1991), least-squares estimation of transformation
    parameters between two point patterns.

    Raises:
        ValueError: fewer than three points.
    """
    if len(source) < 3:
        raise ValueError(f"an alignment needs at least 3 points, got {len(source)}")
    weights = torch.ones_like(source[:, 0]) if weights is None else weights
    weights = (weights / weights.sum())[:, None]
    source_mean, target_mean = (weights * source).sum(0), (weights * target).sum(0)
    centred, wanted = source - source_mean, target - target_mean
    u, singular, vt = torch.linalg.svd((weights * wanted).T @ centred)
    sign = torch.ones(3, dtype=source.dtype, device=source.device)
    sign[2] = torch.sign(torch.linalg.det(u @ vt))
    rotation = u @ torch.diag(sign) @ vt
    scale = (singular * sign).sum() / (weights * centred**2).sum() if with_scale else torch.ones_like(singular[0])
    return Similarity(rotation, target_mean - scale * (rotation @ source_mean), scale)
