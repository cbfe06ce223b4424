"""A chart laid flat: a one-to-one map from a disc of triangles to the plane, with little stretch."""

from __future__ import annotations

import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.linalg import spsolve

from protome.geometry.mesh import Mesh

_ITERATIONS = 20
_RELAXATIONS = 30


def flattened(mesh: Mesh) -> Float[np.ndarray, "v 2"] | None:
    """Return the places in the plane of a disc's vertices, in the unit of the mesh; None where they would overlap.

    As rigid as possible (Liu et al. 2008), from a conformal map; around triangles that this turns over, vertices move
    to the means of their neighbours. A map that turns no triangle over, and whose outline does not cross itself, is
    one-to-one.
    """
    rim = igl.boundary_loop(mesh.faces).astype(np.int64)
    flat = _untangled(mesh.faces, _rigid(mesh, _conformal(mesh, rim)), rim)
    return None if _turned(mesh.faces, flat).any() or crosses_itself(flat[rim]) else flat


def onto_circle(mesh: Mesh) -> Float[np.ndarray, "v 2"]:
    """Return the places of a disc's vertices on a circle of the mesh's area: one-to-one, but stretched.

    Vertices lie at the means of their neighbours, and the outline on the circle (Tutte 1963, "How to draw a graph").
    """
    rim = igl.boundary_loop(mesh.faces).astype(np.int64)
    steps = np.linalg.norm(mesh.vertices[rim] - mesh.vertices[np.roll(rim, 1)], axis=1)
    angle = 2 * np.pi * np.cumsum(steps) / steps.sum()
    radius = np.sqrt(igl.doublearea(mesh.vertices, mesh.faces).sum() / 2 / np.pi)
    flat = np.zeros((len(mesh.vertices), 2))
    flat[rim] = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    free = np.ones(len(flat), bool)
    free[rim] = False
    return _even(mesh.faces, flat, free)


def _conformal(mesh: Mesh, rim: Int[np.ndarray, "k"]) -> Float[np.ndarray, "v 2"]:
    ends = rim[[0, len(rim) // 2]]
    span = float(np.linalg.norm(np.subtract(*mesh.vertices[ends])))
    flat, _ = igl.lscm(mesh.vertices, mesh.faces, ends, np.array([[0.0, 0.0], [span, 0.0]]))
    areas, surface = _areas(mesh.faces, flat), igl.doublearea(mesh.vertices, mesh.faces) / 2
    flat = flat * np.sqrt(surface.sum() / max(np.abs(areas).sum(), 1e-12))
    return flat * [1.0, np.sign(areas.sum())]


def _rigid(mesh: Mesh, start: Float[np.ndarray, "v 2"]) -> Float[np.ndarray, "v 2"]:
    data = igl.ARAPData()
    data.max_iter = _ITERATIONS
    fixed = np.zeros(1, np.int32)
    igl.arap_precomputation(mesh.vertices, mesh.faces, 2, fixed, data)
    return np.ascontiguousarray(igl.arap_solve(start[fixed], data, start))


def _untangled(
    faces: Int[np.ndarray, "f 3"], flat: Float[np.ndarray, "v 2"], rim: Int[np.ndarray, "k"]
) -> Float[np.ndarray, "v 2"]:
    """Return the map with the surroundings of triangles that are turned over evened out, wider with each try."""
    graph = _adjacency(faces, len(flat)) > 0
    for number in range(_RELAXATIONS):
        bad = _turned(faces, flat)
        if not bad.any():
            break
        free = np.zeros(len(flat), bool)
        free[faces[bad]] = True
        for _ in range(1 + number // 3):
            free = free | (graph @ free > 0)
        free[rim] = False
        flat = _even(faces, flat, free)
    return flat


def _even(
    faces: Int[np.ndarray, "f 3"], flat: Float[np.ndarray, "v 2"], free: Bool[np.ndarray, "v"]
) -> Float[np.ndarray, "v 2"]:
    """Return the map with each free vertex at the mean of its neighbours."""
    if not free.any():
        return flat
    graph = _adjacency(faces, len(flat))
    degree = diags_array(np.asarray(graph.sum(1)).reshape(-1)).tocsr()
    laplacian = csr_array(degree - graph)
    inner = laplacian[free][:, free].tocsc()
    moved = flat.copy()
    moved[free] = spsolve(inner, -(laplacian[free][:, ~free] @ flat[~free])).reshape(-1, 2)
    return moved


def _adjacency(faces: Int[np.ndarray, "f 3"], count: int) -> csr_array:
    first, second = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    both = coo_array((np.ones(2 * len(first)), (np.r_[first, second], np.r_[second, first])), shape=(count, count))
    graph = both.tocsr()
    graph.data[:] = 1.0
    return graph


def _areas(faces: Int[np.ndarray, "f 3"], flat: Float[np.ndarray, "v 2"]) -> Float[np.ndarray, "f"]:
    """Return the signed areas of triangles in the plane, positive where their corners go round counterclockwise."""
    a, b, c = np.moveaxis(flat[faces], 1, 0)
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2


def _turned(faces: Int[np.ndarray, "f 3"], flat: Float[np.ndarray, "v 2"]) -> Bool[np.ndarray, "f"]:
    # A place that is not a number turns its triangles over, too.
    return ~(_areas(faces, flat) > 0)


def crosses_itself(outline: Float[np.ndarray, "k 2"]) -> bool:
    """Return whether a closed polygon has two sides that cross."""
    start, end = outline, np.roll(outline, -1, axis=0)

    def left(points: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "s k"]:
        way, away = (end - start)[:, None], points[None] - start[:, None]
        return way[..., 0] * away[..., 1] - way[..., 1] * away[..., 0]

    apart = left(start) * left(end) < 0
    return bool((apart & apart.T).any())
