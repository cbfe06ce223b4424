"""Meshes for the protocols: in millimetres, vertices in the file's own order, with named points."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from protome.errors import InputError
from protome.face import LANDMARK_NAMES
from protome.geometry.mesh import Mesh
from protome.geometry.obj import ObjMesh
from protome.util.reading import reason

NOW_NAMES = (
    "right_eye_outer", "right_eye", "left_eye", "left_eye_outer", "nose_base", "right_lips", "left_lips",
)  # fmt: skip
"""The landmarks of NoW in the order of its files."""

MESH_SUFFIXES = (".obj", ".ply", ".glb", ".stl", ".off")
LANDMARK_SUFFIXES = (".txt", ".json", ".pp", ".npy")
MM_PER = {"mm": 1.0, "cm": 10.0, "m": 1000.0}

Landmarks = dict[str, Float[np.ndarray, "3"]]
"""Points by name, in millimetres, in the frame of their mesh."""


@dataclass(frozen=True)
class MarkedMesh:
    """A mesh in millimetres and its landmarks."""

    mesh: Mesh
    landmarks: Landmarks
    path: Path
    """The mesh's file, for messages."""

    @staticmethod
    def load(path: Path, landmarks: Path | None = None, units: str | None = None) -> MarkedMesh:
        """Read a mesh and, if a file is given, its landmarks, which are in the mesh's own unit.

        `units` is mm, cm or m; without it a GLB is in metres, as its standard says, and every other file in mm.

        Raises:
            InputError: a file is missing, of an unknown kind, empty, or not finite.
        """
        mesh = load_mesh(path)
        factor = MM_PER[units or ("m" if path.suffix.lower() == ".glb" else "mm")]
        points = {} if landmarks is None else read_landmarks(landmarks, mesh)
        return MarkedMesh(mesh.scaled(factor), {name: factor * point for name, point in points.items()}, path)

    def points(self, names: Sequence[str], option: str) -> Float[np.ndarray, "n 3"]:
        """Return landmarks by their names; `option` is the command-line option of their file.

        Raises:
            InputError: one of them is not known.
        """
        missing = [name for name in names if name not in self.landmarks]
        if missing:
            raise InputError(
                f"{self.path} has no landmark called {missing[0]}: give a file that names it with {option}"
            )
        return np.stack([self.landmarks[name] for name in names])


def load_mesh(path: Path) -> Mesh:
    """Read a mesh with its vertices in the file's order, without colours and in the file's unit.

    Landmarks and regions are often vertex indices, which change in a reader that splits vertices at texture seams.

    Raises:
        InputError: no such file, an unknown suffix, no triangles, or a vertex that is not finite.
    """
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise InputError(f"{path} is not a mesh file that can be read: give one of {', '.join(MESH_SUFFIXES)}")
    if path.suffix.lower() == ".obj" and path.is_file():
        read = ObjMesh.load(path)
        mesh = Mesh(read.vertices, read.faces)
    else:
        loaded = Mesh.load(path)
        mesh = Mesh(np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64))
    if not np.isfinite(mesh.vertices).all():
        raise InputError(f"{path} holds vertices that are not finite: write the mesh again without them")
    return mesh


def read_landmarks(path: Path, mesh: Mesh) -> Landmarks:
    """Read named points of a mesh, in its unit.

    .txt: lines of a name and a vertex index from 0 (H3DS) or a name and x y z; or seven lines x y z (NoW).
    .json: an object with a vertex index or [x, y, z] for each name, at the top level or under the key "landmarks".
    .pp: points picked in MeshLab, named as here or seven in the order of NoW. .npy: 7 x 3 numbers (NoW).

    Raises:
        InputError: the file is missing, of another kind, or not as described.
    """
    kind = path.suffix.lower()
    if kind not in LANDMARK_SUFFIXES:
        raise InputError(f"{path} is not a landmark file: give one of {', '.join(LANDMARK_SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"{path} does not exist: give a file of landmarks")
    try:
        if kind == ".npy":
            rows = np.load(path, allow_pickle=False)
            # Some networks save a batch of one.
            return _in_now_order(path, (rows[0] if rows.ndim == 3 and len(rows) == 1 else rows).tolist())
        text = path.read_text(encoding="utf-8")
        if kind == ".json":
            return _from_json(path, text, mesh)
        return _from_pp(path, text) if kind == ".pp" else _from_lines(path, text, mesh)
    except InputError:
        raise
    except Exception as error:  # broken JSON, UTF-8 and arrays, words for numbers, and numbers too large for any vertex
        raise InputError(
            f"{path} cannot be read as landmarks ({reason(error)}): write a name and x y z per line"
        ) from error


def _from_json(path: Path, text: str, mesh: Mesh) -> Landmarks:
    given = json.loads(text)
    if isinstance(given, dict) and isinstance(given.get("landmarks"), dict):
        given = given["landmarks"]
    if not isinstance(given, dict) or not given:
        raise ValueError("there is no object of names in it")
    return {name: _place(path, name, np.ravel(value).tolist(), mesh) for name, value in given.items()}


def _from_lines(path: Path, text: str, mesh: Mesh) -> Landmarks:
    rows = [line.split() for line in text.splitlines() if line.strip()]
    if rows and all(len(row) == 3 for row in rows):
        return _in_now_order(path, rows)
    if not rows or any(len(row) not in (2, 4) for row in rows):
        raise ValueError("a line is neither a name and a number nor a name and x y z")
    return {row[0]: _place(path, row[0], row[1:], mesh) for row in rows}


def _from_pp(path: Path, text: str) -> Landmarks:
    points, names = [], []
    for tag in re.findall(r"<point\b[^>]*>", text):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        points.append([attributes.get(axis, "nan") for axis in "xyz"])
        names.append(attributes.get("name", ""))
    if points and {*LANDMARK_NAMES, *NOW_NAMES} >= set(names):
        return {name: _point(path, name, point) for name, point in zip(names, points, strict=True)}
    # NoW's own reader takes the first seven, whatever they are called.
    return _in_now_order(path, points[: len(NOW_NAMES)])


def _in_now_order(path: Path, rows: Sequence[Sequence[str | float]]) -> Landmarks:
    if len(rows) != len(NOW_NAMES):
        raise ValueError(f"{len(rows)} points without names, where NoW has {len(NOW_NAMES)}")
    return {name: _point(path, name, row) for name, row in zip(NOW_NAMES, rows, strict=True)}


def _place(path: Path, name: str, words: Sequence[str | float], mesh: Mesh) -> Float[np.ndarray, "3"]:
    """Return the point given by a vertex index or by coordinates."""
    if len(words) != 1:
        return _point(path, name, words)
    number = int(words[0])
    if not 0 <= number < len(mesh.vertices):
        raise InputError(
            f"{name} in {path} is vertex {number}, but the mesh has {len(mesh.vertices)} vertices: "
            "give the landmarks of this mesh"
        )
    return mesh.vertices[number]


def _point(path: Path, name: str, words: Iterable[str | float]) -> Float[np.ndarray, "3"]:
    point = np.array([float(word) for word in words])
    if point.shape != (3,) or not np.isfinite(point).all():
        raise InputError(f"{name} in {path} is not a point: give three finite numbers x y z")
    return point
