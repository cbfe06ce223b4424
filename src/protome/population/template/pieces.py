"""Polygons with texture coordinates that the template is put together from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from protome.topology.template import Part

Box = tuple[float, float, float, float]
"""A rectangle of the image: left, top, width, height."""


@dataclass(frozen=True)
class Piece:
    """Some polygons with vertices and texture coordinates of their own, millimetres."""

    vertices: Float[np.ndarray, "v 3"]
    polygons: Int[np.ndarray, "p 4"]
    uv: Float[np.ndarray, "t 2"]
    """In the template's image, v down."""
    uv_polygons: Int[np.ndarray, "p 4"]
    part: Int[np.ndarray, "p"]

    def kept(self, chosen: Bool[np.ndarray, "p"]) -> tuple[Piece, Int[np.ndarray, "k"]]:
        """Return some of the polygons with only their vertices, and which vertices these are."""
        used, polygons = _compact(self.polygons[chosen])
        used_uv, uv_polygons = _compact(self.uv_polygons[chosen])
        return Piece(self.vertices[used], polygons, self.uv[used_uv], uv_polygons, self.part[chosen]), used

    def inside(self, box: Box) -> Piece:
        """Return the piece with its texture coordinates stretched to fill a rectangle."""
        low, high = self.uv.min(0), self.uv.max(0)
        return replace(self, uv=np.array(box[:2]) + (self.uv - low) / (high - low) * np.array(box[2:]))


def _compact(polygons: Int[np.ndarray, "p 4"]) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "p 4"]]:
    used = np.unique(polygons[polygons >= 0])
    return used, np.where(polygons >= 0, np.searchsorted(used, polygons), -1)


def joined(pieces: Sequence[Piece]) -> Piece:
    """Return several pieces as one; their vertices stay apart and in order."""
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    uv_starts = np.cumsum([0, *(len(piece.uv) for piece in pieces)])
    return Piece(
        np.concatenate([piece.vertices for piece in pieces]),
        np.concatenate([_moved(piece.polygons, start) for piece, start in zip(pieces, starts, strict=False)]),
        np.concatenate([piece.uv for piece in pieces]),
        np.concatenate([_moved(piece.uv_polygons, start) for piece, start in zip(pieces, uv_starts, strict=False)]),
        np.concatenate([piece.part for piece in pieces]),
    )


def _moved(polygons: Int[np.ndarray, "p 4"], start: int) -> Int[np.ndarray, "p 4"]:
    return np.where(polygons >= 0, polygons + start, -1)


def grid(rows: int, columns: int, around: bool = False) -> Int[np.ndarray, "p 4"]:
    """Return the quads of a grid of vertices, row by row; `around` closes each row to a ring.

    They face outwards where rows run downwards and columns run to the right as seen from outside.
    """
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns if around else columns - 1), indexing="ij")
    after = (column + 1) % columns
    corners = [(row, column), (row + 1, column), (row + 1, after), (row, after)]
    return np.stack([(r * columns + c).ravel() for r, c in corners], 1)


def ball(centre: Float[np.ndarray, "3"], radius: float, rings: Sequence[float], columns: int, part: Part) -> Piece:
    """Return a sphere whose rings lie around its front, at angles from +z in degrees; it is closed at both ends.

    Its texture shows the front in the middle of a disc; a distance from there is an angle.
    """
    turn = 2 * np.pi * np.arange(columns) / columns
    angle = np.radians(np.array(rings))
    way = np.stack(np.broadcast_arrays(np.sin(angle)[:, None] * np.cos(turn), np.sin(angle)[:, None] * np.sin(turn),
                                       np.cos(angle)[:, None] + 0 * turn), -1).reshape(-1, 3)  # fmt: skip
    ends = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    vertices = centre + radius * np.concatenate([way, ends])
    front, back, last = len(way), len(way) + 1, (len(rings) - 1) * columns
    around = np.arange(columns)
    after = (around + 1) % columns
    fans = [
        np.stack([np.full(columns, front), around, after, np.full(columns, -1)], 1),
        np.stack([np.full(columns, back), last + after, last + around, np.full(columns, -1)], 1),
    ]
    polygons = np.concatenate([grid(len(rings), columns, around=True), *fans])
    spread = angle[:, None] / np.pi
    disc = np.stack([spread * np.cos(turn), -spread * np.sin(turn)], -1).reshape(-1, 2)
    # The back end has a vertex of its own in each column: it is the rim of the disc.
    rim = np.stack([np.cos(turn + np.pi / columns), -np.sin(turn + np.pi / columns)], 1)
    uv = 0.5 + 0.5 * np.concatenate([disc, [[0.0, 0.0]], rim])
    uv_polygons = polygons.copy()
    uv_polygons[-columns:, 0] = front + 1 + around
    return Piece(vertices, polygons, uv, uv_polygons, np.full(len(polygons), int(part)))
