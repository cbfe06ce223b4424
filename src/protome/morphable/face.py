"""The face of a head model: the part that photos show, bounded by landmarks."""

from __future__ import annotations

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.geometry.mesh import Mesh

WAYS = ((0.0, 0.0), (40.0, 0.0), (-40.0, 0.0), (0.0, 35.0), (0.0, -35.0))
"""Azimuths and elevations, degrees, of the views that decide visibility."""
OUTER_RIGHT, RIGHT, LEFT, OUTER_LEFT, NOSE_BASE = 36, 39, 42, 45, 33
"""Of iBUG's 68: the corners of the eyes, and where nose and upper lip meet."""
NOW_LANDMARKS = (36, 39, 42, 45, 33, 48, 54)
"""Those of iBUG's 68 that the NoW protocol uses, in its order."""


def face_triangles(mesh: Mesh, landmarks: Float[np.ndarray, "68 3"]) -> Bool[np.ndarray, "f"]:
    """Return which triangles of a head (head frame) belong to its face.

    They lie within the ball with which the NoW protocol crops faces, and are visible from the front: the insides of
    mouths and nostrils, and eyeballs behind lids, are not.
    """
    bridge, base = (landmarks[RIGHT] + landmarks[LEFT]) / 2, landmarks[NOSE_BASE]
    size = np.linalg.norm(landmarks[OUTER_RIGHT] - landmarks[OUTER_LEFT]) + np.linalg.norm(bridge - base)
    offset = mesh.vertices - (base + 0.3 * (bridge - base))
    inside = (np.linalg.norm(offset, axis=1) <= 0.7 * size)[mesh.faces].all(1)
    bare = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    caster, corners = RayMeshIntersector(bare), mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    starts = corners.mean(1) + 1e-3 * size * normals
    visible = np.zeros(len(mesh.faces), bool)
    for across, up in np.radians(WAYS):
        way = np.array([np.sin(across) * np.cos(up), np.sin(up), np.cos(across) * np.cos(up)])
        candidates = np.flatnonzero(inside & ~visible & (normals @ way > 0.05))
        visible[candidates] = ~caster.intersects_any(starts[candidates], np.broadcast_to(way, (len(candidates), 3)))
    return _largest(mesh, visible)


def part(mesh: Mesh, triangles: Bool[np.ndarray, "f"]) -> Mesh:
    """Return some triangles of a mesh with only their vertices."""
    used, faces = np.unique(mesh.faces[triangles], return_inverse=True)
    return Mesh(mesh.vertices[used], faces.reshape(-1, 3))


def _largest(mesh: Mesh, chosen: Bool[np.ndarray, "f"]) -> Bool[np.ndarray, "f"]:
    """Return the largest connected component of the chosen triangles."""
    numbers = np.flatnonzero(chosen)
    groups = trimesh.graph.connected_component_labels(
        trimesh.graph.face_adjacency(mesh.faces[numbers]), node_count=len(numbers)
    )
    kept = np.zeros_like(chosen)
    kept[numbers[groups == np.bincount(groups).argmax()]] = True
    return kept
