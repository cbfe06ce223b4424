"""Meshes that make up a scene, each of one material, and their union for casting rays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Int


class Material(IntEnum):
    """How a piece is shaded."""

    BODY = 0
    EYE = 1
    GLAND = 2
    TEETH = 3
    HAIR = 4
    BEARD = 5
    CLOTH = 6
    SOLID = 7
    """A thing of one colour: spectacles, hats, hands, microphones."""
    LENS = 8


ATTRIBUTES = 12
"""Of a piece; those of a soup have the normal behind them."""
NORMAL = slice(12, 15)
UV, LOCAL, SKY, SCALP, BEARD, MOUTH, SHADE = slice(0, 2), slice(2, 5), 5, 6, 7, 8, slice(9, 12)
LASH = 9
"""Columns of the attributes of vertices: texture coordinates, place on the template (canonical coordinates for the
body), visible share of the sky, masks of scalp, beard and mouth, and a colour or brightness; on the body,
`LASH` is 1 on the margins of the upper lids instead."""


@dataclass(frozen=True)
class Piece:
    """A mesh of one material."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    material: Material
    attributes: Float[np.ndarray, "v 12"]
    weld: Int[np.ndarray, "v"] | None = None
    """For each vertex the representative of its place, whose normal it shares; None where all differ."""

    def moved(self, vertices: Float[np.ndarray, "v 3"]) -> Piece:
        """Return the piece with other vertices."""
        return replace(self, vertices=vertices)


def piece(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    material: Material,
    colour: Float[np.ndarray, "..."] | float = 1.0,
) -> Piece:
    """Return a piece whose template is itself, under the open sky, of one colour or brightness."""
    attributes = np.zeros((len(vertices), ATTRIBUTES), np.float32)
    attributes[:, LOCAL] = vertices
    attributes[:, SKY] = 1
    attributes[:, SHADE] = colour
    return Piece(vertices.astype(np.float32), faces.astype(np.int32), material, attributes)


@dataclass(frozen=True)
class Soup:
    """All pieces of a scene in one mesh."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    attributes: Float[np.ndarray, "v 15"]
    """Those of the pieces, then unit normals."""
    material: Int[np.ndarray, "f"]
    person: Int[np.ndarray, "f"]
    """0 for the subject, then the others."""


def joined(people: list[list[Piece]]) -> Soup:
    """Return the union of the pieces of some people."""
    flat = [(item, number) for number, pieces in enumerate(people) for item in pieces]
    starts = np.cumsum([0, *(len(item.vertices) for item, _ in flat)])
    faces = np.concatenate([item.faces + start for (item, _), start in zip(flat, starts, strict=False)])
    return Soup(
        np.concatenate([item.vertices for item, _ in flat]).astype(np.float32), faces.astype(np.int32),
        np.concatenate([np.hstack([item.attributes, _normals(item)]) for item, _ in flat]).astype(np.float32),
        np.concatenate([np.full(len(item.faces), int(item.material), np.int8) for item, _ in flat]),
        np.concatenate([np.full(len(item.faces), number, np.int8) for item, number in flat]),
    )  # fmt: skip


def _normals(item: Piece) -> Float[np.ndarray, "v 3"]:
    """Return unit normals of the vertices, weighted by area."""
    count, faces = len(item.vertices), item.faces if item.weld is None else item.weld[item.faces]
    a, b, c = (item.vertices[faces[:, side]] for side in range(3))
    cross = _cross(b - a, c - a)
    corners = faces.T.ravel()
    normals = np.stack([np.bincount(corners, np.tile(part, 3), count) for part in cross.T], 1).astype(np.float32)
    if item.weld is not None:
        normals = normals[item.weld]
    return normals / (np.sqrt((normals**2).sum(1, keepdims=True)) + 1e-12)


def _cross(first: Float[np.ndarray, "n 3"], second: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    # numpy's own function takes several times as long.
    x, y, z = first.T
    u, v, w = second.T
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], 1)
