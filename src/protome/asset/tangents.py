"""Tangents of a textured mesh, as MikkTSpace has them, in which normal maps are given."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from protome.geometry.triangles import unit

FLAT = np.array([128, 128, 255], np.uint8)
"""A normal map's colour where the normal is the surface's own."""


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


def axes_at(
    corners: Int[np.ndarray, "k 3"],
    weights: Float[np.ndarray, "k 3"],
    normals: Float[np.ndarray, "u 3"],
    frame: Float32[np.ndarray, "u 4"],
) -> tuple[Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3"]]:
    """Return the unit axes of tangent space at points of a mesh: right and up in the image, and outwards.

    A point has the barycentric coordinates `weights` between its `corners`; `frame` is what `tangents` returns.
    """
    out = unit(np.einsum("kc,kcd->kd", weights, normals.astype(np.float32)[corners]))
    right = np.einsum("kc,kcd->kd", weights, frame[corners][..., :3])
    right = unit(right - (right * out).sum(1, keepdims=True) * out)
    up = np.cross(out, right) * np.sign(np.einsum("kc,kc->k", weights, frame[corners][..., 3]))[:, None]
    return right, up, out


def encoded(
    normals: Float[np.ndarray, "k 3"],
    axes: tuple[Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3"]],
) -> UInt8[np.ndarray, "k 3"]:
    """Return unit normals as colours of a normal map, in the tangent space of these axes."""
    local = np.stack([(normals * axis).sum(1) for axis in axes], 1)
    return np.rint(255 * (0.5 + 0.5 * local)).clip(0, 255).astype(np.uint8)


def decoded(
    colours: Float[np.ndarray, "k 3"],
    axes: tuple[Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3"]],
) -> Float[np.ndarray, "k 3"]:
    """Return the unit normals that colours of a normal map, 0 to 255, mean in the tangent space of these axes."""
    local = colours / 127.5 - 1
    return unit(sum(local[:, k, None] * axis for k, axis in enumerate(axes)))
