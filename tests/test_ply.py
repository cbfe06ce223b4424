"""PLY files of any layout, as text and as binary, come out alike and with their vertices in the file's order."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trimesh

from protome.cli import main
from protome.errors import InputError
from protome.geometry.mesh import Mesh

VERTICES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1.25]], np.float64)
TRIANGLES = [[0, 2, 1], [0, 3, 2], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [51, 102, 204], [255, 255, 255]])
VISIBILITY = [0.0, 0.25, 0.5, 0.75, 1.0]
CODES = {"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d"}
CODES |= {"float32": "f", "uint8": "B", "int32": "i"}
FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")


@dataclass(frozen=True)
class Column:
    """One property with its values; the values are lists where `count` is the type of their lengths."""

    name: str
    kind: str
    values: Sequence[object]
    count: str = ""


Elements = dict[str, list[Column]]


def write(path: Path, elements: Elements, form: str, line_end: str = "\n") -> Path:
    """Write a PLY file value by value."""
    lines = ["ply", f"format {form} 1.0", "comment made by hand", "obj_info none"]
    body = bytearray()
    order = ">" if "big" in form else "<"
    for name, columns in elements.items():
        lines.append(f"element {name} {len(columns[0].values)}")
        lines += [
            f"property list {own.count} {own.kind} {own.name}" if own.count else f"property {own.kind} {own.name}"
            for own in columns
        ]
        for row in zip(*(own.values for own in columns), strict=True):
            words = []
            for own, value in zip(columns, row, strict=True):
                items = list(value) if own.count else [value]  # type: ignore[call-overload]
                words += ([str(len(items))] if own.count else []) + [f"{item:.9g}" for item in items]
                if form != "ascii":
                    body += struct.pack(f"{order}{CODES[own.count]}", len(items)) if own.count else b""
                    body += struct.pack(f"{order}{len(items)}{CODES[own.kind]}", *items)
            if form == "ascii":
                body += (" ".join(words) + line_end).encode()
    lines.append("end_header")
    path.write_bytes("".join(line + line_end for line in lines).encode() + body)
    return path


def places(kind: str = "float") -> list[Column]:
    return [Column(axis, kind, VERTICES[:, i].tolist()) for i, axis in enumerate("xyz")]


def colours() -> list[Column]:
    return [Column(name, "uchar", COLOURS[:, i].tolist()) for i, name in enumerate(("red", "green", "blue"))]


def faces(lists: Sequence[Sequence[int]] = TRIANGLES, name: str = "vertex_indices", count: str = "uchar") -> Column:
    return Column(name, "int", lists, count)


VISIBILITY_COLUMN = Column("visibility", "float", VISIBILITY)
NUMBERS = Column("label", "ushort", [7, 300, 2, 65535, 0])
UV = [Column("s", "float", [0, 1, 1, 0, 0.5]), Column("t", "float", [0, 0, 1, 1, 0.5])]
ALIKE = Column("neighbours", "int", [[i, -1] for i in range(5)], "uchar")
UNLIKE = Column("rings", "double", [[0.5] * i for i in range(5)], "ushort")
FACE_NUMBERS = Column("part", "uchar", [9, 8, 7, 6, 5, 4])
FACE_UV = Column("texcoord", "float", [[0.1 * i, 0, 1, 0, 1, 1] for i in range(6)], "uchar")
CAMERA = [Column("focal", "double", [35.0]), Column("marks", "short", [[1, 2, 3]], "int")]

LAYOUTS: dict[str, Elements] = {
    "plain": {"vertex": places(), "face": [faces()]},
    "one more value": {"vertex": [*places(), VISIBILITY_COLUMN], "face": [faces()]},
    "our own head": {"vertex": [*places("float32"), *colours(), VISIBILITY_COLUMN], "face": [faces(count="uint8")]},
    "a value before the places": {"vertex": [NUMBERS, *places("double"), VISIBILITY_COLUMN], "face": [faces()]},
    "lists of one length": {"vertex": [*places(), ALIKE, VISIBILITY_COLUMN], "face": [faces()]},
    "lists of many lengths": {"vertex": [UNLIKE, *places(), VISIBILITY_COLUMN], "face": [faces()]},
    "two kinds of lists": {"vertex": [*places(), UNLIKE, ALIKE, VISIBILITY_COLUMN], "face": [faces()]},
    "texture at the vertices": {"vertex": [*places(), *UV, *colours(), VISIBILITY_COLUMN], "face": [faces()]},
    "texture at the faces": {"vertex": [*places(), VISIBILITY_COLUMN], "face": [faces(name="vertex_index"), FACE_UV]},
    "values at the faces": {"vertex": [*places(), VISIBILITY_COLUMN], "face": [FACE_NUMBERS, faces(count="int")]},
    "another element first": {"camera": CAMERA, "vertex": [*places(), VISIBILITY_COLUMN], "face": [faces()]},
    "edges last": {
        "vertex": [*places(), VISIBILITY_COLUMN],
        "face": [faces()],
        "edge": [Column("vertex1", "int", [0, 1]), Column("vertex2", "int", [1, 2])],
    },
    "seen is a list": {
        "vertex": [*places(), Column("visibility", "float", [[x] for x in VISIBILITY], "uchar")], "face": [faces()],
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(tmp_path: Path, layout: str, form: str) -> None:
    elements = LAYOUTS[layout]
    mesh = Mesh.load(write(tmp_path / "scan.ply", elements, form))
    np.testing.assert_array_equal(mesh.vertices, VERTICES)
    np.testing.assert_array_equal(mesh.faces, TRIANGLES)
    if any(column.name == "red" for column in elements["vertex"]):
        np.testing.assert_allclose(mesh.colours, COLOURS / 255)  # type: ignore[arg-type]
    else:
        assert mesh.colours is None
    if any(column.name == "visibility" and not column.count for column in elements["vertex"]):
        assert mesh.visibility is not None
        assert mesh.visibility.tolist() == VISIBILITY
    else:
        assert mesh.visibility is None
    assert mesh.normals is not None
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0)
    assert mesh.normals[4] @ [0, 0, 1] > 0.5  # the tip of the pyramid looks up


@pytest.mark.parametrize("form", FORMATS)
def test_faces_of_three_four_and_five_corners_become_triangles(tmp_path: Path, form: str) -> None:
    mixed = [[0, 3, 2, 1], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [4, 3, 2, 1, 0]]
    path = write(tmp_path / "scan.ply", {"vertex": places(), "face": [FACE_NUMBERS, faces(mixed)]}, form)
    found = {frozenset(face) for face in Mesh.load(path).faces.tolist()}
    fans = [{0, 3, 2}, {0, 2, 1}, {0, 1, 4}, {1, 2, 4}, {2, 3, 4}, {3, 0, 4}, {4, 3, 2}, {4, 2, 1}, {4, 1, 0}]
    assert found == {frozenset(fan) for fan in fans}


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    for form in FORMATS:
        mesh = Mesh.load(write(tmp_path / "scan.ply", LAYOUTS["our own head"], form, "\r\n"))
        np.testing.assert_array_equal(mesh.vertices, VERTICES)


@pytest.mark.parametrize(("kind", "top"), [("uchar", 255), ("ushort", 65535), ("float", 1), ("float", 255)])
def test_colours_of_every_depth_are_read(tmp_path: Path, kind: str, top: int) -> None:
    values = COLOURS / 255 * top
    values = values.round(4) if kind == "float" else values.astype(int)
    own = [Column(name, kind, values[:, i].tolist()) for i, name in enumerate(("red", "green", "blue"))]
    for form in FORMATS:
        mesh = Mesh.load(write(tmp_path / "scan.ply", {"vertex": [*places(), *own], "face": [faces()]}, form))
        np.testing.assert_allclose(mesh.colours, COLOURS / 255, atol=1e-6)  # type: ignore[arg-type]


def head(seed: int = 0) -> Mesh:
    """A bumpy ball of a head's size with all that our own files hold."""
    ball = trimesh.creation.icosphere(subdivisions=4, radius=90.0)
    rng = np.random.default_rng(seed)
    bumps = 1 + 0.05 * np.sin(ball.vertices / 20 + seed).sum(1, keepdims=True)
    count = len(ball.vertices)
    return Mesh(ball.vertices * bumps, ball.faces, rng.random((count, 3)), ball.vertices / 90.0, rng.random(count))


def as_text(mesh: Mesh, path: Path) -> Path:
    """Write our own head.ply as text, as trimesh does it."""
    written = mesh.to_trimesh()
    assert mesh.visibility is not None
    written.vertex_attributes["visibility"] = mesh.visibility.astype(np.float32)
    path.write_bytes(trimesh.exchange.ply.export_ply(written, encoding="ascii", vertex_normal=True))
    return path


def test_our_own_head_is_the_same_as_text(tmp_path: Path) -> None:
    mesh = head()
    mesh.save(tmp_path / "binary.ply")
    binary, text = Mesh.load(tmp_path / "binary.ply"), Mesh.load(as_text(mesh, tmp_path / "text.ply"))
    for name in ("vertices", "colours", "normals", "visibility"):
        np.testing.assert_allclose(getattr(text, name), getattr(binary, name), atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(text.faces, binary.faces)
    # What trimesh reads of the same file.
    other = trimesh.load_mesh(tmp_path / "binary.ply", process=False)
    np.testing.assert_array_equal(binary.vertices, other.vertices)
    np.testing.assert_array_equal(binary.faces, other.faces)
    np.testing.assert_allclose(binary.normals, mesh.normals, atol=1e-6)  # type: ignore[arg-type]
    np.testing.assert_array_equal(binary.colours * 255, other.visual.vertex_colors[:, :3])  # type: ignore[operator]


def test_evaluate_measures_text_as_binary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, prediction = head(), head(1)
    scan.save(tmp_path / "scan.ply")
    prediction.save(tmp_path / "head.ply")
    (tmp_path / "marks.txt").write_text(f"nose_tip {int(scan.vertices[:, 2].argmax())}\n")
    results = {}
    pairs = {
        "binary": (tmp_path / "head.ply", tmp_path / "scan.ply"),
        "text": (as_text(prediction, tmp_path / "head_text.ply"), as_text(scan, tmp_path / "scan_text.ply")),
    }
    for name, (own, wanted) in pairs.items():
        out = tmp_path / f"{name}.json"
        arguments = ["evaluate", str(own), str(wanted), "--landmarks", str(tmp_path / "marks.txt"), "--json", str(out)]
        monkeypatch.setattr(sys, "argv", ["protome", *arguments])
        assert main() == 0
        results[name] = json.loads(out.read_text())["rows"]
    assert capsys.readouterr().err == ""
    for one, other in zip(results["binary"], results["text"], strict=True):
        assert one["mean"] == pytest.approx(other["mean"], abs=1e-4)
    assert results["text"][0]["mean"] > 0.5  # two heads that differ


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 9])


def header_alone(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"end_header") + 11])


def without_end(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"end_header", b"end_of_head"))


def of_unknown_type(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b" z\n", b" z of what\n").replace(b"float", b"words"))


def not_ply(path: Path) -> None:
    path.write_bytes(b"solid of stereolithography")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("break_it", [cut, header_alone, without_end, of_unknown_type, not_ply])
def test_broken_files_are_refused_in_a_sentence(tmp_path: Path, form: str, break_it: Callable[[Path], None]) -> None:
    for layout in ("our own head", "lists of many lengths"):
        path = write(tmp_path / "scan.ply", LAYOUTS[layout], form)
        break_it(path)
        with pytest.raises(
            InputError, match=r"scan\.ply cannot be read as a mesh \(.+\): give a PLY, OBJ or GLB file$"
        ):
            Mesh.load(path)


@pytest.mark.parametrize("form", FORMATS)
def test_faces_of_vertices_that_are_not_there_are_refused(tmp_path: Path, form: str) -> None:
    for corner in (5, -1):
        path = write(tmp_path / "scan.ply", {"vertex": places(), "face": [faces([[0, 1, corner]])]}, form)
        with pytest.raises(InputError, match="a face has a corner that is none of its vertices"):
            Mesh.load(path)


@pytest.mark.parametrize("form", FORMATS)
def test_points_without_faces_are_no_mesh(tmp_path: Path, form: str) -> None:
    for elements in ({"vertex": places()}, {"vertex": places(), "face": [faces([])]}):
        with pytest.raises(InputError, match="holds no triangles: give a mesh with faces"):
            Mesh.load(write(tmp_path / "scan.ply", elements, form))


def test_words_for_numbers_and_wild_lengths_are_refused(tmp_path: Path) -> None:
    for bad in ("3 0 one 2", "-3 0 1 2", "nan 0 1 2", "1e30 0 1 2", "3 0 1 inf"):
        path = write(tmp_path / "scan.ply", {"vertex": places(), "face": [faces([[0, 1, 2]])]}, "ascii")
        path.write_text(path.read_text().replace("3 0 1 2", bad))
        with pytest.raises(InputError, match=r"scan\.ply cannot be read as a mesh"):
            Mesh.load(path)
