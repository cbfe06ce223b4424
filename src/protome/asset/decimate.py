"""Fewer triangles for a head, more of them in the face than in cloth and at the back."""

from __future__ import annotations

from collections.abc import Callable

import fast_simplification
import numpy as np
from jaxtyping import Float

from protome.geometry.mesh import Mesh
from protome.meshing.solid import Edges, euler_characteristic

FACE_CENTRE_MM = (0.0, -30.0, -10.0)
"""About which space is magnified: behind the tip of the nose, head frame."""
_FACE_RADIUS_MM = 60.0
_SHARES = (1.0, 0.97, 0.93, 0.9, 0.8, 0.7, 0.6, 0.5)
"""Shares of the triangles that are allowed, in turn until a mesh of the same topology comes out: where parts of the
surface nearly touch, they may grow together."""
_FLAT_MM = 0.2
"""Distance from the lowest vertex up to which vertices belong to the flat base."""


def decimated(mesh: Mesh, faces: int) -> Mesh:
    """Return a closed mesh with at most `faces` triangles, bare, of the same topology; head frame, millimetres.

    Quadric errors are measured in a space that shrinks away from the face, so that an error at 100 mm from it counts
    half as much and one at 300 mm a fifth: a length r becomes R asinh(r / R), upwards and, apart from that, across, so
    that the flat base stays flat. A mesh with no more triangles than that stays as it is, and so does one that
    loses its topology even with half of them.
    """
    count = len(mesh.faces)
    for share in _SHARES if faces < count else ():
        vertices, triangles = fast_simplification.simplify(
            _shrunk(mesh.vertices).astype(np.float32), mesh.faces.astype(np.int32), target_count=int(share * faces)
        )
        light = Mesh(_stretched(vertices.astype(np.float64)), triangles.astype(np.int64))
        if is_closed(light) and euler_characteristic(light.faces) == euler_characteristic(mesh.faces):
            return flat_based(light)
    return flat_based(Mesh(mesh.vertices, mesh.faces))


def is_closed(mesh: Mesh) -> bool:
    """Return whether each edge has exactly two faces, also after vertices at one place (32 bits) are joined."""
    if len(np.unique(mesh.vertices.astype(np.float32), axis=0)) < len(mesh.vertices):
        return False
    return bool((Edges.of(mesh.faces).count == 2).all())


def flat_based(mesh: Mesh) -> Mesh:
    """Return the mesh with the vertices of its base exactly in one plane."""
    vertices = mesh.vertices.copy()
    bottom = float(vertices[:, 1].min())
    vertices[vertices[:, 1] < bottom + _FLAT_MM, 1] = bottom
    return Mesh(vertices, mesh.faces)


def _shrunk(points: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    height, across = points[:, 1:2] - FACE_CENTRE_MM[1], points[:, [0, 2]] - np.array(FACE_CENTRE_MM)[[0, 2]]
    across = _scaled(across, np.arcsinh)
    return np.concatenate([across[:, :1], _scaled(height, np.arcsinh), across[:, 1:]], 1)


def _stretched(points: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """Undo `_shrunk`."""
    across = _scaled(points[:, [0, 2]], np.sinh) + np.array(FACE_CENTRE_MM)[[0, 2]]
    height = _scaled(points[:, 1:2], np.sinh) + FACE_CENTRE_MM[1]
    return np.concatenate([across[:, :1], height, across[:, 1:]], 1)


def _scaled(
    points: Float[np.ndarray, "v d"], curve: Callable[[Float[np.ndarray, "v 1"]], Float[np.ndarray, "v 1"]]
) -> Float[np.ndarray, "v d"]:
    radius = np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    return points * (_FACE_RADIUS_MM / radius * curve(radius / _FACE_RADIUS_MM))
