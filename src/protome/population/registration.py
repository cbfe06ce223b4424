"""Registration of one mesh topology to another: every vertex of a template finds its place on a target surface."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.interpolate import RBFInterpolator

from protome.geometry.extension import laplacian, smooth_extension
from protome.geometry.triangles import barycentric

STIFFNESS = (30.0, 10.0, 3.0, 1.0, 0.3)
"""Weights of smoothness against closeness, one round of closest points each."""
FACING = 0.5
"""Least cosine between the normals of a vertex and of its place on the target."""


@dataclass(frozen=True)
class Registration:
    """Where template vertices lie on a target surface."""

    vertices: Float[np.ndarray, "v 3"]
    """The template in the target's shape; smooth where nothing of the target corresponds."""
    corners: Int[np.ndarray, "v 3"]
    """Target vertices around each template vertex."""
    weights: Float[np.ndarray, "v 3"]
    """Their barycentric weights."""
    found: Bool[np.ndarray, "v"]
    """Which template vertices have a place on the target at all."""

    def carry(self, values: Float[np.ndarray, "*m t k"]) -> Float[np.ndarray, "*m v k"]:
        """Return values known at target vertices, at the template's vertices; zero where there is no place."""
        return (values[..., self.corners, :] * (self.weights * self.found[:, None])[..., None]).sum(-2)


def register(
    template: Float[np.ndarray, "v 3"],
    template_faces: Int[np.ndarray, "f 3"],
    target: Float[np.ndarray, "t 3"],
    target_faces: Int[np.ndarray, "g 3"],
    *,
    template_points: Float[np.ndarray, "l 3"],
    target_points: Float[np.ndarray, "l 3"],
    region: Bool[np.ndarray, "v"],
    reach: float = 0.006,
) -> Registration:
    """Lay a template onto a target: a warp by landmarks, then smooth rounds of closest points that face the same way.

    `region` says which template vertices have a counterpart; they count as found if they end within `reach`
    (in the meshes' unit) of the target. The template must be welded: seams would tear.
    """
    warp = RBFInterpolator(template_points, target_points - template_points, kernel="thin_plate_spline", smoothing=1e-6)
    start = template + warp(template)
    smoothness = laplacian(template_faces, len(template))
    target_normals = igl.per_face_normals(target, target_faces, np.array([0.0, 0.0, 1.0]))
    moved = start.copy()
    for stiffness in STIFFNESS:
        normals = igl.per_vertex_normals(moved, template_faces)
        squared, face, foot = igl.point_mesh_squared_distance(moved, target, target_faces)
        agrees = (np.nan_to_num(normals) * target_normals[face]).sum(1) > FACING
        weights = (region & agrees & (squared < (4 * reach) ** 2)).astype(float)
        moved = start + smooth_extension(smoothness, weights, foot - start, stiffness)
    normals = igl.per_vertex_normals(moved, template_faces)
    squared, face, foot = igl.point_mesh_squared_distance(moved, target, target_faces)
    agrees = (np.nan_to_num(normals) * target_normals[face]).sum(1) > FACING
    found = region & agrees & (squared < reach**2)
    corners = target_faces[face]
    weights = barycentric(target[corners], foot)
    moved = np.where(found[:, None], foot, moved)
    return Registration(moved, corners, weights, found)


def farthest(points: Float[np.ndarray, "n 3"], count: int) -> Int[np.ndarray, "k"]:
    """Pick points that are far from one another, greedily, starting from the first."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)
