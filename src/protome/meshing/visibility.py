"""Visibility of a mesh in the photos: it separates observed surface from surface that the prior alone determines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh

_LIFT = 1e-4
"""How far rays start above the surface, in units of the mesh's size, so that they do not meet their own face."""


def vertex_visibility(mesh: Mesh, cameras: Sequence[Camera]) -> Float[np.ndarray, "v"]:
    """Return each vertex's visibility in its best camera; mesh (with normals) and cameras in one frame.

    Visibility is the cosine between the normal and the direction to the camera: 1 for a frontal view. It is 0 where
    the vertex faces away from the camera, is occluded, or projects outside the image.
    """
    assert mesh.normals is not None
    size = float(np.ptp(mesh.vertices, axis=0).max())
    starts = mesh.vertices + _LIFT * size * mesh.normals
    # Bare triangles: trimesh would compute colours and normals of its own.
    caster = RayMeshIntersector(Mesh(mesh.vertices, mesh.faces).to_trimesh())
    best = np.zeros(len(mesh.vertices))
    for camera in cameras:
        towards = camera.centre.detach().cpu().double().numpy() - starts
        distance = np.linalg.norm(towards, axis=1)
        facing = (towards * mesh.normals).sum(1) / distance
        candidates = np.flatnonzero((facing > best) & _in_image(starts, camera))
        if len(candidates) == 0:
            continue
        occluded = caster.intersects_any(starts[candidates], towards[candidates] / distance[candidates, None])
        best[candidates[~occluded]] = facing[candidates[~occluded]]
    return best


def _in_image(points: Float[np.ndarray, "v 3"], camera: Camera) -> np.ndarray:
    """Return which points project into a camera's image."""
    pose = camera.T_world_camera.detach().cpu().double().numpy()
    local = (points - pose[:3, 3]) @ pose[:3, :3] @ camera.K.detach().cpu().double().numpy().T
    ahead = local[:, 2] > 0
    spot = local[:, :2] / np.where(ahead, local[:, 2], 1.0)[:, None]
    return ahead & (spot >= 0).all(1) & (spot[:, 0] < camera.width) & (spot[:, 1] < camera.height)
