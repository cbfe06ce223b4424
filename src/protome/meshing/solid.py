"""The boundary of one solid piece without handles, from the samples of a signed distance on a grid.

A head has no tunnel, but a network's zero level may: a gap between hair and neck that is open at both ends, or a hole
through a shoulder. Each is found as a shortest loop on the surface (Erickson and Whittlesey 2005, "Greedy optimal
homotopy and homology generators") and closed in the samples, so that marching cubes keeps its guarantee of a manifold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import map_coordinates
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from scipy.spatial.distance import cdist
from skimage.measure import marching_cubes

from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of

_OFF_ZERO = 0.01
"""Least distance of a sample from zero, in cells: vertices of marching cubes then never coincide at a grid point."""
_SAME = 1e-3
"""Distance between vertices up to which they are one, in cells; elsewhere they are `_OFF_ZERO` apart."""
_PLUG = 1.3
"""Half the thickness of the plug that closes a tunnel, in cells; each further try adds half a cell."""
_TRIES = 12
_SHORT = 24
"""Vertices of a loop for which no shorter one is sought."""
_APART = 6.0
"""Least distance, in cells, of loops that are closed at once."""


def solid_surface(values: Float[np.ndarray, "x y z"], step: float) -> Mesh:
    """Return the boundary of the largest piece that negative samples enclose, without cavities and handles.

    `values` are distances in the unit of `step`, the distance of neighbouring samples, and positive at the rim of the
    grid. Vertices are in steps from the first sample. Handles that twelve plugs do not close remain.
    """
    values = _off_zero((values / np.float32(step)).astype(np.float32))
    mesh = _surface(values)
    for number in range(_TRIES):
        if genus(mesh.faces) == 0:
            break
        # A loop that was not short enough to be a tunnel's leads to a plug in the wrong place: then more are sought.
        for loop in short_handles(mesh, 1 if number < 2 else 4):
            values = _plugged(values, loop, _PLUG + 0.5 * (number // 4))
        mesh = _surface(values)
    return mesh


def genus(faces: Int[np.ndarray, "f 3"]) -> int:
    """Return the number of handles of a closed connected surface, by Euler's formula."""
    return (2 - euler_characteristic(faces)) // 2


def euler_characteristic(faces: Int[np.ndarray, "f 3"]) -> int:
    """Return vertices minus edges plus faces; vertices that no face has do not count."""
    used = int(np.count_nonzero(np.bincount(faces.reshape(-1))))
    return used - len(Edges.of(faces).ends) + len(faces)


@dataclass(frozen=True)
class Edges:
    """The edges of a mesh."""

    ends: Int[np.ndarray, "e 2"]
    """The lower vertex first."""
    count: Int[np.ndarray, "e"]
    """How many faces have each."""
    of_corner: Int[np.ndarray, "f 3"]
    """The edge from each corner of a face to the next."""

    @staticmethod
    def of(faces: Int[np.ndarray, "f 3"]) -> Edges:
        """Return the edges of faces."""
        ends = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], -1).reshape(-1, 2), axis=1).astype(np.int64)
        key = ends[:, 0] * (int(faces.max()) + 1) + ends[:, 1]
        _, first, inverse, count = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
        return Edges(ends[first], count, inverse.reshape(-1, 3))

    def faces(self) -> Int[np.ndarray, "e 2"]:
        """Return the two faces at each edge of a closed surface."""
        order = np.argsort(self.of_corner.reshape(-1), kind="stable")
        return (order // 3).reshape(-1, 2)


def short_handles(mesh: Mesh, bases: int = 4) -> list[Float[np.ndarray, "_ 3"]]:
    """Return the points of short closed paths, far enough apart that a plug in one leaves the others.

    The two paths of one handle, around and through it, cross, so that one of them at most is there. Without any short
    path it is `shortest_handle` alone.
    """
    loops = sorted(_loops(mesh, 0), key=len)
    found: list[Float[np.ndarray, "_ 3"]] = []
    for loop in loops:
        points = mesh.vertices[loop]
        if len(loop) <= _SHORT and all(cdist(points, other).min() > _APART for other in found):
            found.append(points)
    return found or [_shortened(mesh, loops[0], bases)]


def shortest_handle(mesh: Mesh, bases: int = 4) -> Float[np.ndarray, "k 3"]:
    """Return the points of a short closed path around, or through, a handle of a closed surface of genus 1 or more.

    A loop on the way from a vertex far off need not be the shortest; one from a vertex of its own nearly is. It is
    sought from up to `bases` of them.
    """
    return _shortened(mesh, min(_loops(mesh, 0), key=len), bases)


def _shortened(mesh: Mesh, best: Int[np.ndarray, "_"], bases: int) -> Float[np.ndarray, "k 3"]:
    """Return the points of the shortest loop that is found from up to `bases` vertices of a loop."""
    for base in best[:: max(1, len(best) // bases)][:bases]:
        if len(best) <= _SHORT:
            break
        best = min([best, *_loops(mesh, int(base))], key=len)
    return mesh.vertices[best]


def _loops(mesh: Mesh, base: int) -> list[Int[np.ndarray, "k"]]:
    """Return the greedy system of loops from a vertex, two for each handle, each without its way from there and back.

    The loops are those of the edges that are neither in the tree of shortest paths nor cross the dual tree whose edges
    close the longest loops (Erickson and Whittlesey 2005, section 3.2).
    """
    edges = Edges.of(mesh.faces)
    (first, second), count = edges.ends.T, len(mesh.vertices)
    lengths = np.linalg.norm(mesh.vertices[first] - mesh.vertices[second], axis=1)
    graph = coo_array((lengths, (first, second)), shape=(count, count)).tocsr()
    away, before = dijkstra(graph, directed=False, indices=base, return_predecessors=True)
    free = np.flatnonzero((before[first] != second) & (before[second] != first))
    sides = edges.faces()[free]
    through = away[first[free]] + away[second[free]] + lengths[free]
    # The spanning tree wants positive weights, and keeps the lightest of parallel edges only by this explicit choice.
    weight = through.max() + 1 - through
    order = np.argsort(weight, kind="stable")
    low, high = np.sort(sides[order], axis=1).T
    _, kept = np.unique(low.astype(np.int64) * len(mesh.faces) + high, return_index=True)
    kept = order[kept]
    low, high = np.sort(sides[kept], axis=1).T.astype(np.int64)
    dual = coo_array((weight[kept], (low, high)), shape=(len(mesh.faces),) * 2).tocsr()
    tree = minimum_spanning_tree(dual).tocoo()
    a, b = np.sort(np.stack([tree.row, tree.col]), axis=0).astype(np.int64)
    rest = np.ones(len(free), bool)
    # The kept edges are in the order of their faces.
    rest[kept[np.searchsorted(low * len(mesh.faces) + high, a * len(mesh.faces) + b)]] = False
    return [_closed(int(first[free[k]]), int(second[free[k]]), before) for k in np.flatnonzero(rest)]


def _closed(u: int, v: int, before: Int[np.ndarray, "v"]) -> Int[np.ndarray, "k"]:
    """Return the loop of an edge and the paths from its ends towards the base, up to where they meet."""
    ways = []
    for vertex in (u, v):
        way = [vertex]
        while before[way[-1]] >= 0:
            way.append(int(before[way[-1]]))
        ways.append(way)
    one, other = ways
    while len(one) > 1 and len(other) > 1 and one[-2] == other[-2]:
        one.pop()
        other.pop()
    return np.array(one + other[-2::-1])


def _plugged(
    values: Float[np.ndarray, "x y z"], loop: Float[np.ndarray, "k 3"], half: float
) -> Float[np.ndarray, "x y z"]:
    """Return samples in which a plate across the loop, `half` cells thick on each side, is filled or cut out.

    A loop that surrounds outside is a tunnel's, and filled; one that surrounds inside is a bridge's, and cut.
    """
    centre = loop.mean(0)
    rings = max(2, int(np.ceil(2 * np.linalg.norm(loop - centre, axis=1).max())))
    shares = np.linspace(0, 1, rings + 1)[:, None, None]
    plate = (centre + shares * (loop - centre)).reshape(-1, 3)
    middle = plate[: max(1, len(loop) * (rings // 2 + 1))]
    outside = np.median(map_coordinates(values, middle.T, order=1)) > 0
    low = np.maximum(np.floor(plate.min(0) - half - 1).astype(int), 1)
    high = np.minimum(np.ceil(plate.max(0) + half + 2).astype(int), np.array(values.shape) - 1)
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    points = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1)
    beyond = tree_of(plate).query(points.reshape(-1, 3))[0].reshape(points.shape[:3]) - half
    beyond = _off_zero(beyond)
    changed = values.copy()
    changed[window] = np.minimum(values[window], beyond) if outside else np.maximum(values[window], -beyond)
    return changed


def _off_zero(values: Float[np.ndarray, "*b"]) -> Float[np.ndarray, "*b"]:
    """Return values none of which is nearly zero."""
    near = np.abs(values) < _OFF_ZERO
    moved = values.copy()
    moved[near] = np.where(values[near] > 0, _OFF_ZERO, -_OFF_ZERO)
    return moved


def _surface(values: Float[np.ndarray, "x y z"]) -> Mesh:
    vertices, faces, _, _ = marching_cubes(values, 0.0)
    # Where bounds cut the surface along an edge of the grid, both its planes have a vertex at the same sample.
    x, y, z = np.rint(vertices.T / _SAME).astype(np.int64)
    # One number for each place: a grid has less than two thousand cells a side, in thousandths of a cell.
    _, first, number = np.unique((x << 42) + (y << 21) + z, return_index=True, return_inverse=True)
    faces = number.reshape(-1)[faces]
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]
    return Mesh(vertices[first].astype(np.float64), faces.astype(np.int64)).largest_component()
