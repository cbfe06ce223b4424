"""Barycentric coordinates, and unit vectors."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def barycentric(triangles: Float[np.ndarray, "n 3 3"], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return the weights of the corners for points on triangles; the first corner for triangles without area."""
    a, b, c = (triangles[:, k] for k in range(3))
    normal = np.cross(b - a, c - a)
    squared = (normal**2).sum(1)
    area = np.where(squared > 0, squared, 1.0)
    first = (np.cross(c - b, points - b) * normal).sum(1) / area
    second = (np.cross(a - c, points - c) * normal).sum(1) / area
    weights = np.stack([first, second, 1.0 - first - second], 1)
    return np.where((squared > 0)[:, None], weights, np.array([1.0, 0.0, 0.0]))


def unit(vectors: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """Return vectors scaled to the length 1, in their own precision; those of length zero stay as they are."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1)).astype(vectors.dtype)
