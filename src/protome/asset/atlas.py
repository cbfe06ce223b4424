"""The atlas of a head: its charts laid flat and packed into one square image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import igl
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.signal import fftconvolve

from protome.asset.charts import DENSITY, Part, halved, parts_of
from protome.asset.flatten import flattened, onto_circle
from protome.errors import InputError
from protome.geometry.mesh import Mesh

_CELLS = 320
"""Side of the grid on which charts are packed; neighbours are one to two cells apart."""
_BISECTIONS = 7
_HALVINGS = 3


@dataclass(frozen=True)
class Atlas:
    """A mesh with texture coordinates: vertices on seams are there once for each chart."""

    mesh: Mesh
    """Closed: each vertex once."""
    vertex: Int[np.ndarray, "u"]
    """The mesh's vertex of each vertex of the atlas."""
    faces: Int[np.ndarray, "f 3"]
    """In vertices of the atlas, in the order of the mesh's faces."""
    uv: Float[np.ndarray, "u 2"]
    """In [0, 1], from the image's upper left corner to the right and downwards (as glTF)."""
    chart: Int[np.ndarray, "f"]
    """The chart of each face: `Part` modulo the number of parts."""

    def density(self) -> Float[np.ndarray, "f"]:
        """Return the image's sides per unit of length on each face (the root of the ratio of areas)."""
        a, b, c = np.moveaxis(self.uv[self.faces], 1, 0)
        flat = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
        return np.sqrt(flat / np.maximum(igl.doublearea(self.mesh.vertices, self.mesh.faces), 1e-12))


def make_atlas(mesh: Mesh) -> Atlas:
    """Return the atlas of a closed head, head frame, millimetres, its face with twice as many texels per millimetre."""
    chart, flats = _flat_charts(mesh, parts_of(mesh))
    vertices, faces, upright, rims, start = [], np.zeros_like(mesh.faces), [], [], 0
    for own, flat in flats.items():
        used, piece = _piece(mesh, chart == own)
        part = Part(own % len(Part))
        upright.append(_upright(flat, piece.vertices, part) * DENSITY[part])
        rims.append(igl.boundary_loop(piece.faces).astype(np.int64))
        faces[chart == own] = piece.faces + start
        vertices.append(used)
        start += len(used)
    return Atlas(mesh, np.concatenate(vertices), faces, np.concatenate(_packed(upright, rims)), chart)


def _flat_charts(
    mesh: Mesh, chart: Int[np.ndarray, "f"]
) -> tuple[Int[np.ndarray, "f"], dict[int, Float[np.ndarray, "_ 2"]]]:
    """Return charts that lie flat one-to-one, and how: those that would overlap are halved first."""
    flats: dict[int, Float[np.ndarray, "_ 2"]] = {}
    for number in range(_HALVINGS + 1):
        failed = []
        for own in map(int, np.unique(chart)):
            if own not in flats:
                flat = flattened(_piece(mesh, chart == own)[1])
                if flat is None:
                    failed.append(own)
                else:
                    flats[own] = flat
        if not failed or number == _HALVINGS:
            break
        before = chart
        chart = halved(mesh, chart, failed)
        flats = {own: flat for own, flat in flats.items() if ((chart == own) == (before == own)).all()}
    return chart, flats | {own: onto_circle(_piece(mesh, chart == own)[1]) for own in failed}


def _piece(mesh: Mesh, chosen: Bool[np.ndarray, "f"]) -> tuple[Int[np.ndarray, "u"], Mesh]:
    """Return a part of a mesh by itself, and which vertices it has."""
    used, inverse = np.unique(mesh.faces[chosen], return_inverse=True)
    return used, Mesh(mesh.vertices[used], inverse.reshape(-1, 3).astype(np.int64))


def _upright(flat: Float[np.ndarray, "v 2"], points: Float[np.ndarray, "v 3"], part: Part) -> Float[np.ndarray, "v 2"]:
    """Return a chart as it lies in an image, y downwards, turned so that the head's up (the base's front) is up.

    Seen from outside it is not mirrored.
    """
    up = -points[:, 2] if part == Part.BASE else points[:, 1]
    centred = flat - flat.mean(0)
    towards, _, _, _ = np.linalg.lstsq(centred, up - up.mean(), rcond=None)
    towards = towards / max(float(np.linalg.norm(towards)), 1e-12)
    x = centred @ np.array([towards[1], -towards[0]])
    return np.stack([x, -(centred @ towards)], 1)


def _packed(flats: list[Float[np.ndarray, "_ 2"]], rims: list[Int[np.ndarray, "_"]]) -> list[Float[np.ndarray, "_ 2"]]:
    """Return charts in the unit square, at the largest common scale at which they are found to fit side by side."""
    area = sum(cv2.contourArea(flat[rim].astype(np.float32)) for flat, rim in zip(flats, rims, strict=True))
    low, high, best = 0.0, 1 / np.sqrt(area), None
    for number in range(_BISECTIONS + 20):
        scale = (low + high) / 2
        found = _places([flat * scale for flat in flats], rims)
        if found is None:
            high = scale
        else:
            low, best = scale, found
        if best is not None and number >= _BISECTIONS:
            break
    if best is None:
        raise InputError("the head's charts cannot be packed into a texture: use the mesh without one")
    return best


def _places(
    flats: list[Float[np.ndarray, "_ 2"]], rims: list[Int[np.ndarray, "_"]]
) -> list[Float[np.ndarray, "_ 2"]] | None:
    """Return the charts placed in the unit square, the largest first, each at the lowest free place; None if one
    finds no place."""
    taken = np.zeros((_CELLS, _CELLS), bool)
    placed: list[Float[np.ndarray, "_ 2"] | None] = [None] * len(flats)
    sizes = [cv2.contourArea(flat[rim].astype(np.float32)) for flat, rim in zip(flats, rims, strict=True)]
    for index in np.argsort(sizes)[::-1]:
        turns = (0,) if len(flats) and index == 0 else (0, 1, 2, 3)
        tried = [_lowest(taken, _quarter(flats[index], turn), rims[index]) for turn in turns]
        options = [option for option in tried if option is not None]
        if not options:
            return None
        top, left, cells, flat = min(options, key=lambda option: (option[0] + option[2].shape[0], option[1]))
        taken[top : top + cells.shape[0], left : left + cells.shape[1]] |= cells
        placed[index] = flat + np.array([left, top]) / _CELLS
    return [flat for flat in placed if flat is not None]


def _quarter(flat: Float[np.ndarray, "v 2"], turns: int) -> Float[np.ndarray, "v 2"]:
    for _ in range(turns):
        flat = np.stack([-flat[:, 1], flat[:, 0]], 1)
    return flat


def _lowest(
    taken: Bool[np.ndarray, "n n"], flat: Float[np.ndarray, "v 2"], rim: Int[np.ndarray, "k"]
) -> tuple[int, int, Bool[np.ndarray, "h w"], Float[np.ndarray, "v 2"]] | None:
    """Return the first free place, row by row, for a chart: row, column, its cells, and the chart beside its corner."""
    flat = flat - flat.min(0) + 1.0 / _CELLS
    size = np.ceil(flat.max(0) * _CELLS).astype(int) + 1
    if (size > _CELLS).any():
        return None
    cells = np.zeros((size[1], size[0]), np.uint8)
    outline = np.rint((flat[rim] * _CELLS - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(cells, [outline], 1, shift=4)
    cv2.polylines(cells, [outline], True, 1, shift=4)
    wide = cv2.dilate(cells, np.ones((3, 3), np.uint8)) > 0
    overlap = fftconvolve(taken.astype(np.float32), wide[::-1, ::-1].astype(np.float32), mode="valid")
    free = np.argwhere(overlap < 0.5)
    if len(free) == 0:
        return None
    top, left = free[0]
    return int(top), int(left), wide, flat
