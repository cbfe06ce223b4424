"""Tangents of a textured mesh, as MikkTSpace has them, in which normal maps are given."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int

from protome.geometry.triangles import unit


def tangents(
    vertices: Float[np.ndarray, "u 3"],
    normals: Float[np.ndarray, "u 3"],
    uv: Float[np.ndarray, "u 2"],
    faces: Int[np.ndarray, "f 3"],
) -> Float32[np.ndarray, "u 4"]:
    """Return glTF's tangents: a unit vector across the normal in which u grows, and the handedness w.

    The bitangent is w (normal x tangent) and points upwards in the image: w is 1 where the chart is not mirrored. A
    vertex has the mean of its corners' directions, each within its tangent plane, weighted by the corner's angle
    (Mikkelsen 2008). `uv` has its origin in the upper left corner, as the atlas.
    """
    corners, flat = vertices[faces], uv[faces]
    edges = corners[:, [1, 2]] - corners[:, :1]
    (du1, dv1), (du2, dv2) = (flat[:, 1] - flat[:, 0]).T, (flat[:, 2] - flat[:, 0]).T
    # With v downwards a chart that is not mirrored is traversed the other way round.
    area = -(du1 * dv2 - du2 * dv1)
    side = np.where(area < 0, -1.0, 1.0)
    along = -side[:, None] * (dv2[:, None] * edges[:, 0] - dv1[:, None] * edges[:, 1])
    total, hand = np.zeros_like(vertices), np.zeros(len(vertices))
    for corner in range(3):
        own = faces[:, corner]
        one = unit(corners[:, (corner + 1) % 3] - corners[:, corner])
        other = unit(corners[:, (corner + 2) % 3] - corners[:, corner])
        angle = np.arccos(np.clip((one * other).sum(1), -1, 1))
        across = along - (along * normals[own]).sum(1, keepdims=True) * normals[own]
        np.add.at(total, own, angle[:, None] * unit(across))
        np.add.at(hand, own, angle * side)
    total -= (total * normals).sum(1, keepdims=True) * normals
    length = np.linalg.norm(total, axis=1)
    axis = np.eye(3)[np.abs(normals).argmin(1)]
    any_across = axis - (axis * normals).sum(1, keepdims=True) * normals
    found = np.where(length[:, None] > 1e-9, total, any_across)
    return np.concatenate([unit(found), np.where(hand < 0, -1.0, 1.0)[:, None]], 1).astype(np.float32)
