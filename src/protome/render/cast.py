"""The surface of a mesh that a camera sees: one ray per pixel, cast by Embree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.geometry.triangles import barycentric

_LIFT = 1e-3
"""Offset from the surface of the origins of rays that leave it, as a share of the mesh's size."""


@dataclass(frozen=True)
class MeshHits:
    """The pixels in which a camera sees a mesh, and the surface points there."""

    pixel: Int[Tensor, "k"]
    """Index of the pixel, row by row."""
    points: Float[Tensor, "k 3"]
    faces: Int[Tensor, "k"]
    weights: Float[Tensor, "k 3"]
    """Barycentric coordinates in the face."""
    directions: Float[Tensor, "k 3"]
    """Unit view directions."""


def cast(mesh: Mesh, camera: Camera) -> MeshHits:
    """Return the first hits of the camera's rays with a mesh that is posed in the same frame."""
    rays = camera.rays()
    triangles = Trimesh(mesh.vertices, mesh.faces, process=False)
    points, pixel, faces = RayMeshIntersector(triangles).intersects_location(
        rays.origins.double().numpy(), rays.directions.double().numpy(), multiple_hits=False
    )
    weights = barycentric(triangles.triangles[faces], points) if len(faces) else np.zeros((0, 3))
    pixel = torch.from_numpy(np.asarray(pixel, np.int64))
    return MeshHits(
        pixel,
        torch.from_numpy(np.asarray(points).reshape(-1, 3)).float(),
        torch.from_numpy(np.asarray(faces, np.int64)),
        torch.from_numpy(weights).float(),
        rays.directions[pixel],
    )


def interpolate(values: Float[np.ndarray, "v c"], mesh: Mesh, hits: MeshHits) -> Float[Tensor, "k c"]:
    """Interpolate values of the mesh's vertices at the hits."""
    corners = torch.tensor(values, dtype=torch.float32)[torch.tensor(mesh.faces)[hits.faces]]
    return (corners * hits.weights[..., None]).sum(1)


def sky_visibility(
    mesh: Mesh, points: Float[Tensor, "k 3"], normals: Float[Tensor, "k 3"], rays: int = 64
) -> Float[Tensor, "k"]:
    """Return the share of a uniform sky's light that reaches points on the mesh unoccluded.

    1 on a plane, 0.5 beside a high wall; directions are weighted by their cosine with the unit normal.
    """
    # A normal and a point of the unit ball's surface add up to a direction spread by the cosine (Malley's method).
    turn, height = np.pi * (1 + 5**0.5) * np.arange(rays), 1 - 2 * (np.arange(rays) + 0.5) / rays
    flat = np.sqrt(1 - height**2)
    ball = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], 1)
    caster = RayMeshIntersector(Trimesh(mesh.vertices, mesh.faces, process=False))
    up = normals.double().numpy()
    starts = points.double().numpy() + _LIFT * float(np.ptp(mesh.bounds, axis=0).max()) * up
    free = np.zeros(len(points))
    for way in ball:
        free += ~caster.intersects_any(starts, up + way)
    return torch.from_numpy(free / rays).float()
