"""Seams of a head: its triangles divided into charts, each of which is a disc.

The face is one chart, from the hairline to under the chin and from ear to ear. The rest of the head is cut along the
midline from the forehead over the crown to the nape, and along the midline below; neck and shoulders are cut below
the ears. The base has a chart of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from protome.geometry.mesh import Mesh
from protome.meshing.solid import Edges, euler_characteristic


class Part(IntEnum):
    """The charts of a head."""

    FACE = 0
    LEFT = 1
    RIGHT = 2
    FRONT = 3
    BACK = 4
    BASE = 5


DENSITY = {Part.FACE: 1.0, Part.LEFT: 0.48, Part.RIGHT: 0.48, Part.FRONT: 0.36, Part.BACK: 0.36, Part.BASE: 0.08}
"""Texels per millimetre relative to the face's."""
_MIDDLE_MM = (0.0, -25.0, -75.0)
"""From which the face's directions are measured: between the ears, head frame."""
_FACE_DEGREES = 84.0
_UP_DEGREES, _DOWN_DEGREES = 58.0, 52.0
_NECK_MM, _NECK_SLOPE = -125.0, 0.15
"""Height of the cut between head and neck below the ears, and its rise towards the front."""
_SHOULDER_MM = -105.0
_BASE_COSINE = -0.95
_ROUNDS = 8


def parts_of(mesh: Mesh) -> Int[np.ndarray, "f"]:
    """Return the chart of each face of a closed head, head frame, millimetres; each chart is a disc.

    A mesh that these seams do not divide into discs is divided further: parts that are rings are halved, and what is
    cut off from its part goes to the neighbour with the longest common border. Numbers above `Part.BASE` are pieces
    of parts that were divided; `part_of_chart` gives the part.
    """
    corners = mesh.vertices[mesh.faces]
    centres = corners.mean(1)
    away = centres - np.array(_MIDDLE_MM)
    azimuth = np.degrees(np.arctan2(away[:, 0], away[:, 2]))
    elevation = np.degrees(np.arctan2(away[:, 1], np.hypot(away[:, 0], away[:, 2])))
    tall = np.where(elevation > 0, elevation / _UP_DEGREES, elevation / _DOWN_DEGREES)
    face = np.abs(azimuth / _FACE_DEGREES) ** 3 + np.abs(tall) ** 3 < 1
    bust = centres[:, 1] < _NECK_MM + _NECK_SLOPE * (centres[:, 2] - _MIDDLE_MM[2])
    part = np.where(centres[:, 0] > 0, Part.LEFT, Part.RIGHT)
    part = np.where(bust, np.where(centres[:, 2] > _SHOULDER_MM, Part.FRONT, Part.BACK), part)
    part[face & ~bust] = Part.FACE
    part[base_faces(mesh)] = Part.BASE
    return _discs(mesh.faces, part.astype(np.int64), centres)


def base_faces(mesh: Mesh) -> Bool[np.ndarray, "f"]:
    """Return which faces lie in the plane that cuts the bust off."""
    bottom = mesh.vertices[:, 1].min()
    return (mesh.vertices[mesh.faces][:, :, 1] < bottom + 1e-6).all(1)


def halved(mesh: Mesh, chart: Int[np.ndarray, "f"], which: Sequence[int]) -> Int[np.ndarray, "f"]:
    """Return charts, again discs, of which some are cut across their longest side."""
    centres = mesh.vertices[mesh.faces].mean(1)
    return _discs(mesh.faces, _cut(chart, centres, which), centres)


def _cut(chart: Int[np.ndarray, "f"], centres: Float[np.ndarray, "f 3"], which: Sequence[int]) -> Int[np.ndarray, "f"]:
    chart = chart.copy()
    for own in which:
        inside = np.flatnonzero(chart == own)
        axis = np.ptp(centres[inside], axis=0).argmax()
        far = inside[centres[inside, axis] > np.median(centres[inside, axis])]
        chart[far] = own % len(Part) + len(Part) * (1 + int(chart.max()) // len(Part))
    return chart


def _discs(
    faces: Int[np.ndarray, "f 3"], chart: Int[np.ndarray, "f"], centres: Float[np.ndarray, "f 3"]
) -> Int[np.ndarray, "f"]:
    """Return charts that are discs, from charts that may be anything."""
    sides = Edges.of(faces).faces()
    for _ in range(_ROUNDS):
        chart = _joined(sides, chart)
        rings = [int(own) for own in np.unique(chart) if not is_disc(faces[chart == own])]
        if not rings:
            break
        chart = _cut(chart, centres, rings)
    return chart


def is_disc(faces: Int[np.ndarray, "f 3"]) -> bool:
    """Return whether connected faces form a disc: Euler characteristic 1, and one simple boundary."""
    edges = Edges.of(faces)
    rim = edges.ends[edges.count == 1]
    simple = len(rim) > 0 and bool((np.bincount(rim.reshape(-1))[np.unique(rim)] == 2).all())
    return simple and euler_characteristic(faces) == 1


def _joined(sides: Int[np.ndarray, "e 2"], chart: Int[np.ndarray, "f"]) -> Int[np.ndarray, "f"]:
    """Return charts of one piece each: smaller pieces go to the neighbour that they touch most, rims are smoothed."""
    chart = _smoothed(sides, chart)
    for _ in range(_ROUNDS):
        same = chart[sides[:, 0]] == chart[sides[:, 1]]
        inner = sides[same]
        graph = coo_array((np.ones(len(inner)), (inner[:, 0], inner[:, 1])), shape=(len(chart),) * 2)
        count, piece = connected_components(graph, directed=False)
        sizes = np.bincount(piece, minlength=count)
        owner = np.zeros(count, np.int64)
        owner[piece] = chart
        largest = {int(own): int(np.where(owner == own, sizes, -1).argmax()) for own in np.unique(owner)}
        stray = np.array([largest[int(owner[k])] != k for k in range(count)])
        if not stray.any():
            return chart
        border = np.concatenate([sides[~same], sides[~same][:, ::-1]])
        of, to = piece[border[:, 0]], chart[border[:, 1]]
        for own in np.flatnonzero(stray)[np.argsort(sizes[stray])]:
            near = to[of == own]
            if len(near):
                chart[piece == own] = np.bincount(near).argmax()
    return chart


def _smoothed(sides: Int[np.ndarray, "e 2"], chart: Int[np.ndarray, "f"], rounds: int = 6) -> Int[np.ndarray, "f"]:
    """Return charts without faces that stick out: a face with two neighbours in one other chart joins it."""
    both = np.concatenate([sides, sides[:, ::-1]])
    order = np.argsort(both[:, 0], kind="stable")
    neighbours = both[order, 1].reshape(-1, 3)
    for _ in range(rounds):
        near = chart[neighbours]
        agreed = np.where(near[:, 0] == near[:, 1], near[:, 0], np.where(near[:, 1] == near[:, 2], near[:, 2], -1))
        agreed = np.where((agreed < 0) & (near[:, 0] == near[:, 2]), near[:, 0], agreed)
        moved = (agreed >= 0) & (agreed != chart)
        if not moved.any():
            break
        chart = np.where(moved, agreed, chart)
    return chart
