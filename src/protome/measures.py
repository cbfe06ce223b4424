"""Sizes of a head as anthropometry takes them, from points that correspond on all heads and from sections."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull
from torch import Tensor

from protome.geometry.mesh import Mesh
from protome.landmarks import load_face_landmarks

_EYE_RIMS = ((33, 133, 159, 145), (263, 362, 386, 374))
"""Corners and middles of the lids of the right and the left eye."""
_SPANS = {
    "face width": (234, 454),
    "face height, nasion to chin": (168, 152),
    "nose width": (48, 278),
    "mouth width": (61, 291),
}
_BROWS = 9
"""The point between the brows, above which a head is measured around."""


def reference_points() -> Float[Tensor, "468 3"]:
    """Return the points of the mean head, head frame, millimetres, whose counterparts `measures` takes."""
    return load_face_landmarks().positions


def measures(mesh: Mesh, points: Float[np.ndarray, "468 3"]) -> dict[str, float]:
    """Return sizes in millimetres by name of a closed head and its landmarks (head frame, millimetres).

    The circumference is that of a tape around brows and the back of the head, and holds the hair as the height does.
    """
    eyes = [points[list(rim)].mean(0) for rim in _EYE_RIMS]
    found = {"between the eyes' middles": float(np.linalg.norm(eyes[0] - eyes[1]))}
    found |= {name: float(np.linalg.norm(points[a] - points[b])) for name, (a, b) in _SPANS.items()}
    found["chin to the top of the hair"] = float(mesh.vertices[:, 1].max() - points[152, 1])
    around = circumference(mesh, points[_BROWS])
    if around is not None:
        found["around head and hair at the brows"] = around
    return found


def circumference(mesh: Mesh, point: Float[np.ndarray, "3"]) -> float | None:
    """Return the length of a taut tape around a mesh in the level plane through a point; None if it meets nothing."""
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    heights = mesh.vertices[:, 1] - point[1]
    first, second = heights[edges[:, 0]], heights[edges[:, 1]]
    cut = (first < 0) != (second < 0)
    if cut.sum() < 3:
        return None
    share = (first / (first - second + 1e-12))[cut, None]
    a, b = mesh.vertices[edges[cut, 0]], mesh.vertices[edges[cut, 1]]
    section = (a + share * (b - a))[:, [0, 2]]
    # In two dimensions the library calls the perimeter the area.
    return float(ConvexHull(section).area)
