"""A flat map of the head's surface: cut open at the back, without overlaps and with little distortion."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import igl
import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import splu

from protome.errors import InputError
from protome.geometry.extension import laplacian
from protome.morphable.holes import boundary_loops

CROWN = 0.8
"""The cut ends at this share of the head's height over its lowest rim."""
STEPS = 60
MARGIN = 0.01
"""Free border around the map, which fills the unit square otherwise."""


@dataclass(frozen=True)
class FlatMap:
    """Texture coordinates (v up) with their own triangles: vertices on the cut have two places."""

    uv: Float[np.ndarray, "u 2"]
    uv_faces: Int[np.ndarray, "f 3"]


def flat_map(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> FlatMap:
    """Flatten a surface of one border, which lies below it, with its face towards +z.

    The start is Tutte's embedding (1963), which never overlaps; SLIM (Rabinovich et al., 2017) then lowers the
    symmetric Dirichlet energy, which grows without bound before a triangle could flip.

    Raises:
        InputError: the surface has holes.
    """
    loops = boundary_loops(faces)
    if len(loops) != 1:
        raise InputError(f"a surface with {len(loops)} borders cannot be flattened: close its holes first")
    path = _back(vertices, faces, loops[0])
    opened, origin = _cut(faces, path, len(vertices))
    places = np.ascontiguousarray(vertices[origin], np.float64)
    border = boundary_loops(opened)[0]
    length = np.linalg.norm(places[border] - places[np.roll(border, 1)], axis=1).cumsum()
    turn = 2 * np.pi * length / length[-1]
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    flat = _tutte(opened, len(places), border, circle) * np.sqrt(_area(places, opened) / np.pi)
    data = igl.slim_precompute(
        np.asfortranarray(places), np.asfortranarray(opened, np.int32), np.asfortranarray(flat),
        igl.MappingEnergyType.SYMMETRIC_DIRICHLET, np.zeros(0, np.int32), np.zeros((0, 2), order="F"), 0.0,
    )  # fmt: skip
    flat = np.asarray(igl.slim_solve(data, STEPS))[:, :2]
    return FlatMap(_placed(flat, origin, vertices, opened), opened)


def _back(vertices: np.ndarray, faces: np.ndarray, rim: Int[np.ndarray, "n"]) -> list[int]:
    """Return the path of edges from the rim's rearmost point up the middle of the back to the crown."""
    edges = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    # Edges away from the middle count as longer, so that the path keeps to it.
    cost = length * (1 + np.abs(vertices[edges, 0]).mean(1) / 1.0)
    graph = coo_matrix((cost, edges.T), shape=(len(vertices),) * 2)
    low, high = vertices[:, 1].min(), vertices[:, 1].max()
    rear = np.where(np.isin(np.arange(len(vertices)), rim), vertices[:, 2] + np.abs(vertices[:, 0]), np.inf)
    start = int(rear.argmin())
    height = np.abs(vertices[:, 1] - (low + CROWN * (high - low))) + np.abs(vertices[:, 0]) + 0.2 * vertices[:, 2]
    end = int(height.argmin())
    _, before = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    path = path[::-1]
    # The path may run along the rim at first, where there is nothing to cut.
    last = max(k for k, vertex in enumerate(path) if vertex in set(rim.tolist()))
    return path[last:]


def _cut(faces: np.ndarray, path: list[int], count: int) -> tuple[Int[np.ndarray, "f 3"], Int[np.ndarray, "u"]]:
    """Return triangles whose vertices along a path are doubled (the end of the path is not), and where each is from."""
    edges = {frozenset(pair) for pair in pairwise(path)}
    opened, origin = faces.astype(np.int64).copy(), list(range(count))
    for vertex in path[:-1]:
        around = np.flatnonzero((faces == vertex).any(1)).tolist()
        # One side of the path: the triangles reached from the first without crossing an edge of the path.
        side, todo = {around[0]}, [around[0]]
        while todo:
            here = set(faces[todo.pop()].tolist())
            for other in set(around) - side:
                shared = here & set(faces[other].tolist())
                if len(shared) == 2 and vertex in shared and frozenset(shared) not in edges:
                    side.add(other)
                    todo.append(other)
        rows = np.array(sorted(set(around) - side), np.int64)
        opened[rows] = np.where(faces[rows] == vertex, len(origin), opened[rows])
        origin.append(vertex)
    return opened, np.array(origin)


def _tutte(faces: np.ndarray, count: int, border: np.ndarray, circle: np.ndarray) -> Float[np.ndarray, "u 2"]:
    """Return the embedding in which every inner vertex is the mean of its neighbours."""
    mean = laplacian(faces, count).tocsc()
    inner = np.setdiff1d(np.arange(count), border)
    flat = np.zeros((count, 2))
    flat[border] = circle
    flat[inner] = splu(mean[inner][:, inner]).solve(-mean[inner][:, border] @ circle)
    return flat


def _area(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def _placed(
    flat: Float[np.ndarray, "u 2"], origin: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> Float[np.ndarray, "u 2"]:
    """Turn the map so that the face stands upright, seen from outside, and fit it into the unit square."""
    face = vertices[origin, 2] > np.quantile(vertices[:, 2], 0.7)
    along = np.linalg.lstsq(
        np.concatenate([flat[face], np.ones((int(face.sum()), 1))], 1), vertices[origin[face], 1], rcond=None
    )[0][:2]
    up = along / np.linalg.norm(along)
    turned = flat @ np.stack([[up[1], -up[0]], up], 1)
    low, high = turned.min(0), turned.max(0)
    size = float((high - low).max())
    return MARGIN + (1 - 2 * MARGIN) * ((turned - low) / size + (1 - (high - low) / size) / 2)
