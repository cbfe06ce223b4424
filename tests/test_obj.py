"""The OBJ reader: order of vertices, polygons, seams, groups, and broken files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from marked import body, write_obj
from protome.errors import InputError
from protome.geometry.obj import ObjMesh

GROUPED = """# a comment
o thing
v 3 0 0
v 1 2 3 0.5
vn 0 0 1
v 1 2 3
v 0 0 -1e-2
v 0 0 5
vt 0 0
vt 1 0.5
f 1 2 3
g body
f 4/1/1 3/2 2//1 1/1
f 1 2 3 4 5
g
f 5/ 2 1
"""


def test_vertices_and_polygons_are_those_of_the_file_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "thing.obj").write_text(GROUPED)
    (tmp_path / "packed.obj.gz").write_bytes(gzip.compress(GROUPED.encode()))
    for name in ("thing.obj", "packed.obj.gz"):
        mesh = ObjMesh.load(tmp_path / name)
        # Two vertices in one place stay two, in float64.
        assert mesh.vertices.tolist() == [[3, 0, 0], [1, 2, 3], [1, 2, 3], [0, 0, -0.01], [0, 0, 5]]
        assert mesh.uv.tolist() == [[0, 0], [1, 0.5]]
        none = [-1] * 5
        assert mesh.polygons.tolist() == [[0, 1, 2, -1, -1], [3, 2, 1, 0, -1], [0, 1, 2, 3, 4], [4, 1, 0, -1, -1]]
        assert mesh.uv_polygons.tolist() == [none, [0, 1, -1, 0, -1], none, none]
        assert mesh.polygon_groups == ("", "body", "body", "")


def test_polygons_are_cut_into_fans_with_their_textures_and_groups(tmp_path: Path) -> None:
    (tmp_path / "thing.obj").write_text(GROUPED)
    mesh = ObjMesh.load(tmp_path / "thing.obj")
    assert mesh.faces.tolist() == [[0, 1, 2], [3, 2, 1], [3, 1, 0], [0, 1, 2], [0, 2, 3], [0, 3, 4], [4, 1, 0]]
    assert mesh.uv_faces.tolist() == [[-1] * 3, [0, 1, -1], [0, -1, 0], *[[-1] * 3] * 4]
    assert mesh.groups == ("", *["body"] * 5, "")
    own = mesh.group("body")
    assert own.faces.tolist() == mesh.faces[1:6].tolist()
    assert own.uv_faces.tolist() == mesh.uv_faces[1:6].tolist()
    assert own.groups == ("body",) * 5
    np.testing.assert_array_equal(own.vertices, mesh.vertices)
    with pytest.raises(InputError, match="no group 'skirt'"):
        mesh.group("skirt")


def test_negative_indices_count_back_from_the_vertices_so_far(tmp_path: Path) -> None:
    path = tmp_path / "back.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 1\nf -3/-1 -2/-2 -1/1\nv 0 1 0\nf -4 -2 -1\n")
    mesh = ObjMesh.load(path)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.uv_faces[0].tolist() == [1, 0, 0]


def test_seams_of_a_texture_split_no_vertex(tmp_path: Path) -> None:
    mesh = ObjMesh.load(write_obj(tmp_path / "seams.obj", body(2), seams=True))
    np.testing.assert_array_equal(mesh.vertices, body(2).vertices)
    np.testing.assert_array_equal(mesh.faces, body(2).faces)


BROKEN = {
    "empty": ("", "holds no triangles: give a mesh with faces"),
    "no faces": ("v 0 0 0\n", "holds no triangles: give a mesh with faces"),
    "short vertex": ("v 0 0 0\nv 0 0\nf 1 1 1\n", "line 2 of .* is not as in an OBJ file"),
    "no number": ("v zero 1 2\n", "line 1 of .* is not as in an OBJ file"),
    "texture": ("v 0 0 0\nf 1/ a/ 1/\n", "line 2 of .* is not as in an OBJ file"),
    "two corners": ("v 0 0 0\nv 1 0 0\nf 1 2\n", "line 3 of .* is not as in an OBJ file"),
    "zero": ("v 0 0 0\nf 0 1 1\n", "line 2 of .* is not as in an OBJ file"),
    "too far back": ("v 0 0 0\nf 1 1 -2\n", "line 2 of .* is not as in an OBJ file"),
    "too far on": ("v 0 0 0\nf 1 2 3\n", "has faces of vertices that it does not hold"),
    "texture too far on": ("v 0 0 0\nvt 0 0\nf 1/1 1/2 1/1\n", "has faces of vertices that it does not hold"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named(tmp_path: Path, case: str) -> None:
    content, sentence = BROKEN[case]
    (tmp_path / "a.obj").write_text(content)
    with pytest.raises(InputError, match=sentence) as caught:
        ObjMesh.load(tmp_path / "a.obj")
    assert str(tmp_path / "a.obj") in str(caught.value)


def test_a_missing_file_and_one_that_is_not_compressed_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.obj does not exist: give"):
        ObjMesh.load(tmp_path / "none.obj")
    (tmp_path / "plain.obj.gz").write_text("v 1 2 3\n")
    with pytest.raises(InputError, match=r"plain\.obj\.gz cannot be read .*: copy it again"):
        ObjMesh.load(tmp_path / "plain.obj.gz")
