"""The shell of the hair: where hair stands off the skin it lies on the outer surface, elsewhere just under the skin."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.geometry.align import Surface
from protome.geometry.extension import laplacian, smooth_extension
from protome.geometry.mesh import Mesh
from protome.topology.template import HAIR_CENTRE_MM

WIDEST_MM, LOWEST_MM = 150.0, -205.0
"""Where the shell ends at the latest: farther out the rays run along the shoulders."""
BELOW_MM = 6.0
"""How far the shell lies under the skin where there is no hair."""
RISE_MM = (4.0, 9.0)
"""Height of hair over the skin at which the shell begins to rise from its place below, and at which it has risen."""
DEEPEST_MM = 60.0
"""Greatest radius of the hidden shell: below the chin the rays run through neck and chest."""
HIDDEN_RINGS = 3
STIFFNESS = 0.15
"""Smoothness of the shell against its distance from the outer surface."""


def first_exit(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], centre: Float[np.ndarray, "3"],
    directions: Float[np.ndarray, "d 3"],
) -> Float[np.ndarray, "d"]:  # fmt: skip
    """Return the distance from a point inside to where each ray leaves a mesh first, through the back of a face.

    It is infinite where no ray leaves.
    """
    mesh = Trimesh(vertices, faces, process=False)
    origins = np.broadcast_to(centre, directions.shape)
    points, ray, face = RayMeshIntersector(mesh).intersects_location(origins, directions, multiple_hits=True)
    leaving = (mesh.face_normals[face] * directions[ray]).sum(1) > 0
    distance = np.full(len(directions), np.inf)
    np.minimum.at(distance, ray[leaving], np.linalg.norm(points[leaving] - centre, axis=1))
    return distance


def shell(
    rest: Float[np.ndarray, "h 3"], faces: Int[np.ndarray, "g 3"], skin: Mesh, surface: Mesh
) -> Float[np.ndarray, "h 3"]:
    """Return the shell on a head, head frame, millimetres.

    `rest` and `faces` are the template's shell; `skin` is the head's own skin without the lining, `surface` all of its
    outer surface, closed.
    """
    centre = np.array(HAIR_CENTRE_MM)
    directions = rest - centre
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    under = first_exit(skin.vertices, skin.faces, centre, directions)
    over = first_exit(surface.vertices, surface.faces, centre, directions)
    inside = np.isfinite(under) & np.isfinite(over)
    place = centre + np.where(inside, over, 0.0)[:, None] * directions
    inside &= (np.abs(place[:, 0]) < WIDEST_MM) & (place[:, 1] > LOWEST_MM)
    under = np.where(np.isfinite(under), under, DEEPEST_MM)
    height = np.where(inside, over - under, 0.0)
    share = np.clip((height - RISE_MM[0]) / (RISE_MM[1] - RISE_MM[0]), 0, 1)
    away = np.clip((Surface(skin).closest(place).distances - RISE_MM[0] / 2) / RISE_MM[0], 0, 1)
    share = np.minimum(share, away)
    share = share**2 * (3 - 2 * share)
    smoothness = laplacian(faces, len(rest))
    hidden = _least_around(np.minimum(under - BELOW_MM, DEEPEST_MM), faces)
    reach = hidden + share * (under + height - hidden)
    even = smooth_extension(smoothness, np.ones(len(rest)), reach[:, None], STIFFNESS)[:, 0]
    return centre + np.where(share == 0, np.minimum(even, hidden), even)[:, None] * directions


def _least_around(values: Float[np.ndarray, "h"], faces: Int[np.ndarray, "g 3"]) -> Float[np.ndarray, "h"]:
    """Return the least value within `HIDDEN_RINGS` edges: what is hidden may not cross a fold of the skin."""
    for _ in range(HIDDEN_RINGS):
        least = values.copy()
        np.minimum.at(least, faces.reshape(-1), np.repeat(values[faces].min(1), 3))
        values = least
    return values
