"""Meshes: files written and read back, and the operations on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from protome.errors import InputError
from protome.geometry.mesh import MESH_SUFFIXES, Mesh, linear_from_srgb, srgb_from_linear
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.geometry.triangles import barycentric


def ellipsoid(centre: tuple[float, float, float] = (0.0, 0.0, 0.0), subdivisions: int = 2) -> Mesh:
    """An ellipsoid with its exact normals and a colour that depends on the position."""
    ball = trimesh.creation.icosphere(subdivisions)
    radii = np.array([70.0, 100.0, 90.0])
    unit = np.asarray(ball.vertices)
    normals = unit / radii
    colours = np.rint((unit + 1) / 2 * 255) / 255
    return Mesh(
        unit * radii + np.array(centre),
        np.asarray(ball.faces, np.int64),
        colours,
        normals / np.linalg.norm(normals, axis=1, keepdims=True),
    )


@pytest.mark.parametrize("suffix", [*MESH_SUFFIXES, ".PLY"])
def test_files_keep_shape_colours_and_normals(tmp_path: Path, suffix: str) -> None:
    mesh = ellipsoid((5.0, -3.0, 2.0))
    path = tmp_path / f"head{suffix}"
    mesh.save(path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    back = Mesh.load(path)
    np.testing.assert_allclose(back.vertices, mesh.vertices, atol=2e-5)
    np.testing.assert_array_equal(back.faces, mesh.faces)
    assert back.colours is not None
    assert mesh.colours is not None
    np.testing.assert_allclose(back.colours, mesh.colours, atol=1e-6)
    assert back.normals is not None
    assert mesh.normals is not None
    np.testing.assert_allclose(back.normals, mesh.normals, atol=1e-6)


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_files_without_colours_and_normals(tmp_path: Path, suffix: str) -> None:
    full = ellipsoid()
    Mesh(full.vertices, full.faces).save(tmp_path / f"plain{suffix}")
    back = Mesh.load(tmp_path / f"plain{suffix}")
    np.testing.assert_allclose(back.vertices, full.vertices, atol=2e-5)
    np.testing.assert_array_equal(back.faces, full.faces)
    assert back.colours is None
    # Normals are then computed from the faces: they point outwards and come near the exact ones.
    assert back.normals is not None
    assert float((back.normals * full.normals).sum(1).min()) > 0.99


def test_saving_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "head.ply"
    ellipsoid(subdivisions=1).save(path)
    ellipsoid(subdivisions=2).save(path)
    assert len(Mesh.load(path).faces) == 320


def test_the_parts_of_a_glb_are_joined(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(ellipsoid().to_trimesh())
    scene.add_geometry(
        ellipsoid().to_trimesh(), transform=trimesh.transformations.translation_matrix([300.0, 0.0, 0.0])
    )
    scene.export(tmp_path / "two.glb")
    joined = Mesh.load(tmp_path / "two.glb")
    assert len(joined.faces) == 640
    np.testing.assert_allclose(joined.vertices.max(0), [370.0, 100.0, 90.0], rtol=1e-2)


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write a mesh as head\.stl: use one of \.ply, \.obj, \.glb"):
        ellipsoid().save(tmp_path / "head.stl")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nobody\.ply does not exist"):
        Mesh.load(tmp_path / "nobody.ply")


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_a_broken_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(b"\x00 this is no mesh \xff")
    with pytest.raises(InputError, match=f"broken\\{suffix}"):
        Mesh.load(path)


def test_points_alone_are_no_mesh(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    trimesh.PointCloud(np.eye(3)).export(path)
    with pytest.raises(InputError, match=r"cloud\.ply holds no triangles"):
        Mesh.load(path)


def test_a_similarity_moves_vertices_and_turns_normals() -> None:
    mesh = ellipsoid()
    b_from_a = Similarity(
        rotation_from_vector(torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64)),
        torch.tensor([10.0, 20.0, -5.0], dtype=torch.float64),
        torch.tensor(0.25, dtype=torch.float64),
    )
    moved = mesh.transformed(b_from_a)
    assert mesh.normals is not None
    np.testing.assert_allclose(moved.vertices, b_from_a.apply(torch.from_numpy(mesh.vertices)).numpy(), atol=1e-12)
    assert moved.normals is not None
    np.testing.assert_allclose(np.linalg.norm(moved.normals, axis=1), 1.0, atol=1e-12)
    ends = mesh.transformed(b_from_a).vertices + moved.normals
    starts = Mesh(mesh.vertices + mesh.normals / 0.25, mesh.faces).transformed(b_from_a).vertices
    np.testing.assert_allclose(ends, starts, atol=1e-12)
    back = moved.transformed(b_from_a.inverse())
    np.testing.assert_allclose(back.vertices, mesh.vertices, atol=1e-10)
    assert moved.colours is mesh.colours
    # The volume scales with the cube of the lengths and keeps its sign: nothing was turned inside out.
    assert moved.to_trimesh().volume == pytest.approx(mesh.to_trimesh().volume * 0.25**3)
    assert mesh.to_trimesh().volume > 0


def test_scaled_multiplies_lengths() -> None:
    assert ellipsoid().scaled(1e-3).to_trimesh().area == pytest.approx(ellipsoid().to_trimesh().area * 1e-6)


def test_the_largest_part_stays() -> None:
    large, small = ellipsoid(subdivisions=2), ellipsoid((400.0, 0.0, 0.0), subdivisions=1)
    order = np.random.default_rng(0).permutation(len(large.faces) + len(small.faces))
    both = Mesh(
        np.concatenate([small.vertices, large.vertices]),
        np.concatenate([small.faces, large.faces + len(small.vertices)])[order],
        np.concatenate([small.colours, large.colours]),
        np.concatenate([small.normals, large.normals]),
    )
    kept = both.largest_component()
    assert kept.to_trimesh().volume == pytest.approx(large.to_trimesh().volume)
    np.testing.assert_array_equal(kept.vertices, large.vertices)
    np.testing.assert_array_equal(kept.colours, large.colours)
    np.testing.assert_array_equal(kept.normals, large.normals)


def test_srgb_values_have_the_light_that_the_standard_gives() -> None:
    known = {0.0: 0.0, 0.04045: 0.0031308, 0.5: 0.2140411, 0.735357: 0.5, 1.0: 1.0}
    srgb = np.tile(np.array(list(known))[:, None], (1, 3))
    np.testing.assert_allclose(linear_from_srgb(srgb)[:, 0], list(known.values()), atol=1e-6)
    np.testing.assert_allclose(srgb_from_linear(linear_from_srgb(srgb)), srgb, atol=1e-6)


def test_a_glb_has_linear_colours_and_a_matt_material(tmp_path: Path) -> None:
    mesh = ellipsoid()
    mesh.save(tmp_path / "head.glb")
    data = (tmp_path / "head.glb").read_bytes()
    length = int.from_bytes(data[12:16], "little")
    tree, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    primitive = tree["meshes"][0]["primitives"][0]
    accessor = tree["accessors"][primitive["attributes"]["COLOR_0"]]
    assert (accessor["componentType"], accessor["type"]) == (5126, "VEC3")  # 32-bit floats
    start = tree["bufferViews"][accessor["bufferView"]].get("byteOffset", 0)
    stored = np.frombuffer(binary, np.float32, accessor["count"] * 3, start).reshape(-1, 3)
    assert mesh.colours is not None
    np.testing.assert_allclose(stored, linear_from_srgb(mesh.colours), atol=1e-6)
    # Without a material glTF means metal.
    assert tree["materials"][primitive["material"]]["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_barycentric_weights_are_those_that_points_were_made_with() -> None:
    rng = np.random.default_rng(0)
    triangles = rng.normal(size=(50, 3, 3))
    weights = rng.dirichlet([1, 1, 1], 50)
    points = (triangles * weights[..., None]).sum(1)
    np.testing.assert_allclose(barycentric(triangles, points), weights, atol=1e-9)
    np.testing.assert_allclose(barycentric(triangles[:3], triangles[:3, 2]), [[0, 0, 1]] * 3, atol=1e-9)
    flat = np.repeat(triangles[:3, :1], 3, 1)
    np.testing.assert_array_equal(barycentric(flat, triangles[:3, 2]), [[1, 0, 0]] * 3)
