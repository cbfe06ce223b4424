"""A head-like body with named points, and files of it in the layouts of the benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import trimesh

from protome.evaluate.landmarks import NOW_NAMES, MarkedMesh
from protome.face import LANDMARK_NAMES
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity, rotation_from_vector

DIRECTIONS = {
    "right_eye": (-0.16, 0.25, 1.0), "left_eye": (0.16, 0.25, 1.0), "right_eye_outer": (-0.45, 0.25, 0.9),
    "left_eye_outer": (0.45, 0.25, 0.9), "nose_tip": (0.0, 0.0, 1.0), "nose_base": (0.0, -0.1, 1.0),
    "right_lips": (-0.22, -0.35, 0.95), "left_lips": (0.22, -0.35, 0.95),
}  # fmt: skip
"""Directions of the landmarks from the middle."""


def radius(directions: np.ndarray) -> np.ndarray:
    """Return the body's radius in some directions: without symmetries, with a nose; millimetres."""
    x, y, z = directions.T
    nose = 14.0 * np.exp(-((x / 0.2) ** 2 + (y / 0.3) ** 2)) * (z > 0)
    return 100.0 + 9.0 * x + 7.0 * x * y + 10.0 * y * z + nose


def body(subdivisions: int = 4) -> Mesh:
    """Return the body; +x to its left, +y up, +z to the front."""
    ball = trimesh.creation.icosphere(subdivisions)
    directions = np.asarray(ball.vertices)
    return Mesh(directions * radius(directions)[:, None] * [0.8, 1.2, 1.0], np.asarray(ball.faces, np.int64))


def numbers(mesh: Mesh, names: Iterable[str] = DIRECTIONS) -> dict[str, int]:
    """Return the vertices of a body that lie nearest to the landmarks' directions."""
    unit = mesh.vertices / [0.8, 1.2, 1.0]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return {
        name: int((unit @ np.array(DIRECTIONS[name]) / np.linalg.norm(DIRECTIONS[name])).argmax()) for name in names
    }


def marked(mesh: Mesh, like: Mesh | None = None) -> MarkedMesh:
    """Return a mesh with landmarks at the vertices where the body `like` has them."""
    points = {name: mesh.vertices[number] for name, number in numbers(like or mesh).items()}
    return MarkedMesh(mesh, points, Path("body.obj"))


def moved(head: MarkedMesh, b_from_a: Similarity) -> MarkedMesh:
    """Return a mesh and its landmarks mapped by a similarity."""
    names, points = list(head.landmarks), np.stack(list(head.landmarks.values()))
    there = b_from_a.apply(torch.from_numpy(points)).numpy()
    return MarkedMesh(head.mesh.transformed(b_from_a), dict(zip(names, there, strict=True)), head.path)


def similarity(turn: list[float], shift: list[float], scale: float = 1.0) -> Similarity:
    """Return a map by its rotation vector, translation and scale."""
    rotation = rotation_from_vector(torch.tensor(turn, dtype=torch.float64))
    return Similarity(rotation, torch.tensor(shift, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64))


def relief(mesh: Mesh, height: float, wave: float) -> tuple[Mesh, np.ndarray]:
    """Return the mesh with a sine relief along its normals, and the displacement of each vertex; millimetres."""
    displacement = height * np.sin(2 * np.pi * mesh.vertices[:, 1] / wave)
    normals = np.asarray(mesh.to_trimesh().vertex_normals)
    return Mesh(mesh.vertices + displacement[:, None] * normals, mesh.faces), displacement


def write_obj(path: Path, mesh: Mesh, seams: bool = False) -> Path:
    """Write every digit; with seams each corner has texture coordinates of its own, as scans do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in mesh.vertices.tolist()]
    if seams:
        lines += [f"vt {0.1 * (corner % 7)} {0.1 * (corner % 5)}" for corner in range(mesh.faces.size)]
        rows = mesh.faces + 1, np.arange(1, mesh.faces.size + 1).reshape(-1, 3)
        lines += ["f " + " ".join(f"{v}/{t}" for v, t in zip(*row, strict=True)) for row in zip(*rows, strict=True)]
    else:
        lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_h3ds(folder: Path, mesh: Mesh, regions: dict[str, np.ndarray]) -> Path:
    """Write the scan, landmarks and regions of a scene of H3DS."""
    write_obj(folder / "full_head.obj", mesh, seams=True)
    rows = numbers(mesh, LANDMARK_NAMES)
    (folder / "landmarks.txt").write_text("".join(f"{name} {number}\n" for name, number in rows.items()))
    (folder / "regions").mkdir()
    for name, vertices in regions.items():
        (folder / "regions" / f"{name}.txt").write_text("".join(f"{number}\n" for number in vertices))
    return folder


def now_rows(head: MarkedMesh) -> np.ndarray:
    """Return the seven landmarks of NoW in the order of its files."""
    return np.stack([head.landmarks[name] for name in NOW_NAMES])


def write_pp(path: Path, points: np.ndarray) -> Path:
    """Write points as MeshLab's picker does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = (
        '<!DOCTYPE PickedPoints>\n<PickedPoints>\n <DocumentData>\n  <DateTime time="10:00:00" date="2018-01-01"/>\n'
        '  <User name="nobody"/>\n  <DataFileName name="scan.obj"/>\n  <templateName name=""/>\n </DocumentData>\n'
    )
    rows = [
        f' <point x="{x!r}" y="{y!r}" z="{z!r}" active="1" name="{n}"/>\n'
        for n, (x, y, z) in enumerate(points.tolist())
    ]
    path.write_text(head + "".join(rows) + "</PickedPoints>\n")
    return path
