"""Which parts of a head a photo shows: what was measured, and what the prior guessed."""

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
    """Return for each vertex how well the best of the cameras sees it; mesh (with normals) and cameras in one frame.

    1 is straight from ahead, the cosine of the angle in between, and 0 means that no camera sees it: turned away,
    behind another part of the head, or outside the image.
    """
    assert mesh.normals is not None
    size = float(np.ptp(mesh.vertices, axis=0).max())
    starts = mesh.vertices + _LIFT * size * mesh.normals
    # Bare triangles: the caster would work out colours and normals of its own.
    caster = RayMeshIntersector(Mesh(mesh.vertices, mesh.faces).to_trimesh())
    best = np.zeros(len(mesh.vertices))
    for camera in cameras:
        ways = camera.centre.detach().cpu().double().numpy() - starts
        distance = np.linalg.norm(ways, axis=1)
        facing = (ways * mesh.normals).sum(1) / distance
        hopeful = np.flatnonzero((facing > best) & _in_image(starts, camera))
        if len(hopeful) == 0:
            continue
        hidden = caster.intersects_any(starts[hopeful], ways[hopeful] / distance[hopeful, None])
        best[hopeful[~hidden]] = facing[hopeful[~hidden]]
    return best


def _in_image(points: Float[np.ndarray, "v 3"], camera: Camera) -> np.ndarray:
    """Return which points project into a camera's image."""
    pose = camera.T_world_camera.detach().cpu().double().numpy()
    local = (points - pose[:3, 3]) @ pose[:3, :3] @ camera.K.detach().cpu().double().numpy().T
    ahead = local[:, 2] > 0
    spot = local[:, :2] / np.where(ahead, local[:, 2], 1.0)[:, None]
    return ahead & (spot >= 0).all(1) & (spot[:, 0] < camera.width) & (spot[:, 1] < camera.height)
