"""Wavefront OBJ files without conversion: vertices in the file's order, polygons, texture coordinates and groups."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from protome.errors import InputError

MOST_ROWS = 2**31


@dataclass(frozen=True)
class ObjMesh:
    """The geometry of an OBJ file; the unit is the file's.

    Morph targets, landmarks and regions are vertex indices. Mesh libraries split the vertices at texture seams and
    reorder them, which changes the indices.
    """

    vertices: Float[np.ndarray, "v 3"]
    uv: Float[np.ndarray, "t 2"]
    """Texture coordinates, v up."""
    polygons: Int[np.ndarray, "p k"]
    """Rows of `vertices` at the corners of each polygon; shorter polygons are padded with -1."""
    uv_polygons: Int[np.ndarray, "p k"]
    """Rows of `uv` at the same corners; -1 where the file gives none."""
    polygon_groups: tuple[str, ...]
    """The group of each polygon, empty where the file names none."""

    @staticmethod
    def load(path: Path) -> ObjMesh:
        """Read an OBJ file, also one that gzip compressed (.obj.gz).

        Negative vertex indices count back from the last vertex before them, as the format says. Normals, materials and
        everything else are ignored.

        Raises:
            InputError: no such file, a line that is not as in an OBJ file, no faces, or faces of vertices that the
                file does not hold.
        """
        vertices: list[list[float]] = []
        uv: list[list[float]] = []
        polygons: list[list[int]] = []
        uv_polygons: list[list[int]] = []
        groups: list[str] = []
        group = ""
        for number, line in enumerate(_lines(path), 1):
            key, *words = line.split() or [""]
            try:
                if key == "v":
                    x, y, z = words[:3]
                    vertices.append([float(x), float(y), float(z)])
                elif key == "vt":
                    u, v = words[:2]
                    uv.append([float(u), float(v)])
                elif key == "g":
                    group = words[0] if words else ""
                elif key == "f":
                    corners = [word.split("/") for word in words]
                    if len(corners) < 3:
                        raise ValueError("a face has three corners or more")
                    polygons.append([_row(corner[0], len(vertices)) for corner in corners])
                    uv_polygons.append([_row(corner[1], len(uv)) if any(corner[1:2]) else -1 for corner in corners])
                    groups.append(group)
            except ValueError as error:
                raise InputError(
                    f"line {number} of {path} is not as in an OBJ file: give the unchanged file, or write it again"
                ) from error
        if not polygons:
            raise InputError(f"{path} holds no triangles: give a mesh with faces")
        mesh = ObjMesh(
            np.array(vertices, np.float64).reshape(-1, 3), np.array(uv, np.float64).reshape(-1, 2),
            _padded(polygons), _padded(uv_polygons), tuple(groups),
        )  # fmt: skip
        if mesh.polygons.max() >= len(vertices) or mesh.uv_polygons.max() >= len(uv):
            raise InputError(f"{path} has faces of vertices that it does not hold: write the mesh again")
        return mesh

    @property
    def faces(self) -> Int[np.ndarray, "f 3"]:
        """Each polygon cut into triangles, a fan from its first corner."""
        return _fans(self.polygons)[self._whole]

    @property
    def uv_faces(self) -> Int[np.ndarray, "f 3"]:
        """Rows of `uv` at the corners of `faces`; -1 where the file gives none."""
        return _fans(self.uv_polygons)[self._whole]

    @property
    def groups(self) -> tuple[str, ...]:
        """The group of each of `faces`."""
        polygon = np.nonzero(self._whole)[0] // max(self.polygons.shape[1] - 2, 1)
        return tuple(self.polygon_groups[row] for row in polygon)

    @property
    def _whole(self) -> np.ndarray:
        """Which triangles of the fans are complete."""
        return np.all(_fans(self.polygons) >= 0, axis=1)

    def group(self, name: str) -> ObjMesh:
        """Return the mesh with the polygons of one group only; all vertices are kept, so indices stay valid.

        Raises:
            InputError: there is no such group.
        """
        keep = np.array([own == name for own in self.polygon_groups])
        if not keep.any():
            raise InputError(f"the mesh has no group {name!r}: give the OBJ file as it is shipped")
        names = (name,) * int(keep.sum())
        return replace(self, polygons=self.polygons[keep], uv_polygons=self.uv_polygons[keep], polygon_groups=names)


def _row(word: str, count: int) -> int:
    """Return the row of an index in a face after `count` rows."""
    number = int(word)
    if abs(number) > MOST_ROWS:
        raise ValueError("no file has so many rows")
    row = number - 1 if number > 0 else count + number
    if number == 0 or row < 0:
        raise ValueError(f"there is no vertex {number}")
    return row


def _padded(polygons: list[list[int]]) -> Int[np.ndarray, "p k"]:
    return np.array(list(zip_longest(*polygons, fillvalue=-1)), np.int64).T


def _fans(polygons: Int[np.ndarray, "p k"]) -> Int[np.ndarray, "f 3"]:
    """Return the triangles (first, k, k + 1) of each polygon, one polygon after the other."""
    corners = polygons.shape[1]
    return np.stack([polygons[:, [0, k, k + 1]] for k in range(1, corners - 1)], 1).reshape(-1, 3)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the complete folder of the model, or the file's right name")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}): copy it again") from error
    return content.decode("utf-8", errors="replace").splitlines()
