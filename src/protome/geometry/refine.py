"""Subdivision of chosen triangles of a mesh, without gaps to the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

_CASES: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((0, 1, 2),),
    ((0, 3, 2), (3, 1, 2)),
    ((0, 1, 4), (0, 4, 2)),
    ((3, 1, 4), (0, 3, 4), (0, 4, 2)),
    ((0, 1, 5), (5, 1, 2)),
    ((0, 3, 5), (3, 1, 2), (3, 2, 5)),
    ((0, 1, 4), (0, 4, 5), (5, 4, 2)),
    ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
)
"""For each set of split edges (bit 0: from corner 0 to 1, bit 1: 1 to 2, bit 2: 2 to 0) the triangles that take a
triangle's place; corners 3, 4 and 5 are the middles of these edges."""


@dataclass(frozen=True)
class Refined:
    """A subdivided mesh; its first vertices are the old ones."""

    faces: Int[np.ndarray, "f 3"]
    parents: tuple[Int[np.ndarray, "_ 2"], ...]
    """Level by level, new vertices follow those of the levels before, each midway between the two named here."""
    origin: Int[np.ndarray, "f"]
    """The old triangle of each new one."""

    def carry(self, values: Float[np.ndarray, "v k"]) -> Float[np.ndarray, "w k"]:
        """Interpolate values of the old vertices at all vertices."""
        for pairs in self.parents:
            values = np.concatenate([values, values[pairs].mean(1)])
        return values

    def curved(
        self, vertices: Float[np.ndarray, "v 3"], normals: Float[np.ndarray, "v 3"]
    ) -> tuple[Float[np.ndarray, "w 3"], Float[np.ndarray, "w 3"]]:
        """Return positions and unit normals of all vertices on a smooth surface through the old ones.

        Each new vertex is the middle of the cubic curve that leaves both ends of its edge at right angles to their
        normals, as the edges of PN triangles do (Vlachos et al. 2001).
        """
        for pairs in self.parents:
            (a, b), (at_a, at_b) = vertices[pairs].swapaxes(0, 1), normals[pairs].swapaxes(0, 1)
            rise_a, rise_b = (((b - a) * normal).sum(1, keepdims=True) * normal for normal in (at_a, at_b))
            vertices = np.concatenate([vertices, (a + b) / 2 + (rise_b - rise_a) / 8])
            between = at_a + at_b
            between /= np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-300)
            normals = np.concatenate([normals, between])
        return vertices, normals


def refine(faces: Int[np.ndarray, "f 3"], count: int, chosen: Bool[np.ndarray, "f"], levels: int) -> Refined:
    """Split each chosen triangle into four, `levels` times, and their neighbours as far as shared edges require.

    `count` is the number of the mesh's vertices.
    """
    return refine_alike(faces, count, faces, count, chosen, levels)[0]


def refine_alike(
    faces: Int[np.ndarray, "f 3"],
    count: int,
    others: Int[np.ndarray, "f 3"],
    other_count: int,
    chosen: Bool[np.ndarray, "f"],
    levels: int,
) -> tuple[Refined, Refined]:
    """Refine a mesh, and a second list of the same triangles (a chart's) in the same way."""
    first, second = _Growing(faces, count), _Growing(others, other_count)
    origin, marked = np.arange(len(faces)), chosen
    for _ in range(levels):
        edges = np.sort(first.faces[:, [[0, 1], [1, 2], [2, 0]]], 2)
        names = edges[..., 0] * (first.count + 1) + edges[..., 1]
        split = np.isin(names, names[marked])
        first, rows = first.split(split)
        second, _ = second.split(split)
        origin, marked = origin[rows], marked[rows]
    return first.result(origin), second.result(origin)


@dataclass(frozen=True)
class _Growing:
    faces: Int[np.ndarray, "f 3"]
    count: int
    parents: tuple[Int[np.ndarray, "_ 2"], ...] = ()

    def split(self, edges: Bool[np.ndarray, "f 3"]) -> tuple[_Growing, Int[np.ndarray, "g"]]:
        """Split edges in the middle; also return the old triangle of each new one."""
        ends = np.sort(self.faces[:, [[0, 1], [1, 2], [2, 0]]], 2)
        pairs, inverse = np.unique(ends[edges], axis=0, return_inverse=True)
        middles = np.full(edges.shape, -1)
        middles[edges] = self.count + inverse.reshape(-1)
        corners = np.concatenate([self.faces, middles], 1)
        case = edges @ np.array([1, 2, 4])
        faces, rows = [], []
        for number, pattern in enumerate(_CASES):
            own = np.flatnonzero(case == number)
            faces.append(corners[own][:, np.array(pattern)].reshape(-1, 3))
            rows.append(np.repeat(own, len(pattern)))
        return _Growing(np.concatenate(faces), self.count + len(pairs), (*self.parents, pairs)), np.concatenate(rows)

    def result(self, origin: Int[np.ndarray, "f"]) -> Refined:
        return Refined(self.faces, self.parents, origin)
