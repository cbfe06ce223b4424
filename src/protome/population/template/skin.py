"""ICT-FaceKit's skin, lining of the mouth and front teeth, placed on the population's template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int

from protome.morphable.ict_files import IctMesh
from protome.population.makehuman.fit import visible_from_outside
from protome.population.registration import register
from protome.population.template.pieces import Box, Piece
from protome.topology.template import Part

SKIN, MOUTH, SOCKETS, GUMS, TEETH, EYES, END = 11_248, 13_294, 14_062, 17_039, 21_451, 23_021, 24_591
"""Where ICT's groups of vertices end: skin, lining of the mouth, eye sockets, gums and tongue, teeth, left and right
eyeball."""
SOCKET_RINGS = 3
"""Polygons of an eye socket that are kept behind the lid's margin; the eyeball hides the others."""
TEETH_KEPT_MM = 77.0
"""Teeth of which a vertex stands before this depth in ICT's frame are kept: five on each side."""
FACE_BOX: Box = (0.006, 0.006, 0.69, 0.69)
BACK_BOX: Box = (0.708, 0.292, 0.286, 0.278)
TEETH_BOX: Box = (0.708, 0.58, 0.17, 0.115)
"""Where the face, the rest of the skin with the lining, and the teeth lie in the image."""


@dataclass(frozen=True)
class Placed:
    """ICT's whole mesh in the frame of the template, millimetres."""

    neutral: Float[np.ndarray, "t 3"]
    """As ICT has it, only turned and shifted."""
    vertices: Float[np.ndarray, "t 3"]
    """Skin lies on the population's template; what is behind it goes along."""
    turn: Float[np.ndarray, "3 3"]


def placed(
    ict: IctMesh,
    target: Float[np.ndarray, "b 3"],
    target_faces: Int[np.ndarray, "g 3"],
    ours: Float[np.ndarray, "l 3"],
    theirs: Float[np.ndarray, "l 3"],
) -> Placed:
    """Lay ICT's skin onto the population's template, whose face is ICT's mean.

    `ours` are landmarks on the template and `theirs` the same in ICT's frame; all lengths are metres, in the result
    millimetres.
    """
    matrix = trimesh.registration.procrustes(theirs, ours, reflection=False, scale=False)[0]
    turn, shift = matrix[:3, :3], matrix[:3, 3]
    neutral = ict.neutral @ turn.T + shift
    skin = triangles_of(ict.polygons[(ict.polygons < SOCKETS).all(1)])
    outside = visible_from_outside(neutral[:SOCKETS], skin)
    outside[SKIN:] = False
    fit = register(
        neutral[:SOCKETS], skin, target, target_faces, template_points=theirs @ turn.T + shift, target_points=ours,
        region=outside,
    )  # fmt: skip
    vertices = neutral.copy()
    vertices[:SOCKETS] = fit.vertices
    return Placed(1000 * neutral, 1000 * vertices, turn)


def triangles_of(polygons: Int[np.ndarray, "p 4"]) -> Int[np.ndarray, "f 3"]:
    """Return polygons cut into triangles."""
    quads = polygons[polygons[:, 3] >= 0]
    return np.concatenate([polygons[:, :3], quads[:, [0, 2, 3]]])


def skin_piece(ict: IctMesh, place: Placed) -> tuple[Piece, Int[np.ndarray, "k"]]:
    """Return skin, lining and front teeth, and ICT's number of each of their vertices."""
    highest = ict.polygons.max(1)
    part = np.full(len(highest), -1)
    part[highest < SKIN] = Part.SKIN
    part[(highest >= SKIN) & (highest < MOUTH)] = Part.LINING
    sockets = (highest >= MOUTH) & (highest < SOCKETS)
    part[sockets & _near_lids(ict.polygons, sockets)] = Part.LINING
    for own in _teeth(ict, place.neutral):
        upper = place.neutral[ict.polygons[own].ravel(), 1].mean() > _bite(ict, place.neutral)
        part[own] = Part.UPPER_TEETH if upper else Part.LOWER_TEETH
    uv = ict.uv * [1, -1] + [0, 1]
    tile = np.floor(ict.uv[ict.uv_polygons[:, :3], 0].mean(1)).astype(int)
    rows = np.maximum(ict.uv_polygons, 0)
    moved = uv.copy()
    for number, box in ((0, FACE_BOX), (1, BACK_BOX), (3, TEETH_BOX)):
        own = np.unique(rows[(tile == number) & (part >= 0)])
        moved[own] = np.array(box[:2]) + (uv[own] - [number, 0]) * np.array(box[2:])
    return Piece(place.vertices, ict.polygons, moved, ict.uv_polygons, part).kept(part >= 0)


def _near_lids(polygons: Int[np.ndarray, "p 4"], sockets: Bool[np.ndarray, "p"]) -> Bool[np.ndarray, "p"]:
    """Return which polygons of the sockets lie within a few rings of the skin."""
    reached = np.zeros(polygons.max() + 1, bool)
    reached[:SKIN] = True
    chosen = np.zeros(len(polygons), bool)
    for _ in range(SOCKET_RINGS):
        chosen |= sockets & reached[polygons].any(1)
        reached[polygons[chosen]] = True
    return chosen


def _teeth(ict: IctMesh, neutral: Float[np.ndarray, "t 3"]) -> list[Int[np.ndarray, "_"]]:
    """Return the polygons of each front tooth."""
    own = np.flatnonzero((ict.polygons.max(1) >= GUMS) & (ict.polygons.max(1) < TEETH))
    faces = triangles_of(ict.polygons[own])
    label = trimesh.graph.connected_component_labels(trimesh.geometry.faces_to_edges(faces), node_count=TEETH)
    tooth = label[ict.polygons[own, 0]]
    depth = 1000 * ict.neutral[:TEETH, 2]
    return [own[tooth == k] for k in np.unique(tooth) if depth[label == k].max() > TEETH_KEPT_MM]


def _bite(ict: IctMesh, neutral: Float[np.ndarray, "t 3"]) -> float:
    """Return the height at which upper and lower teeth meet."""
    return float(neutral[GUMS:TEETH, 1].mean())
