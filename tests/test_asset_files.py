"""The files of an asset, read back by other libraries."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from blender import in_blender
from painted import painted
from protome.asset.asset import Asset, make_asset
from protome.asset.detail import MIDDLE, Detail
from protome.asset.formats import write_asset
from protome.asset.options import AssetOptions
from protome.asset.source import Source
from protome.asset.tangents import tangents
from protome.errors import InputError
from protome.util.together import write_together

FORMATS = ("glb", "obj", "ply", "stl", "usdz")


@pytest.fixture(scope="module")
def made() -> Asset:
    head = painted((0.0,), resolution=80)
    own = [Source.of(view, view.camera) for view in head.views]
    return make_asset(head.mesh, head.grey, own, AssetOptions(texture=1024, faces=4_000))


@pytest.fixture(scope="module")
def folder(made: Asset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("asset")
    write_asset(out, made, FORMATS)
    return out


def colours_at(mesh: trimesh.Trimesh, image: np.ndarray) -> np.ndarray:
    """Return the image at each face's middle, by the file's texture coordinates (upwards, as trimesh has them)."""
    uv = np.asarray(mesh.visual.uv)[mesh.faces].mean(1)
    size = image.shape[0]
    return image[((1 - uv[:, 1]) * size).astype(int), (uv[:, 0] * size).astype(int)].astype(float)


def middles(made: Asset) -> tuple[np.ndarray, np.ndarray]:
    """Return each face's middle in millimetres, and the texture there."""
    uv = made.atlas.uv[made.atlas.faces].mean(1)
    return made.atlas.mesh.vertices[made.atlas.mesh.faces].mean(1), made.colour[
        (uv[:, 1] * 1024).astype(int), (uv[:, 0] * 1024).astype(int)
    ].astype(float)


def test_all_files_are_written(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "head.glb", "head.obj", "head.mtl", "head.png", "head.stl", "head.usdz", "head_visibility.png",
    }  # fmt: skip
    assert Image.open(folder / "head_visibility.png").size == (1024, 1024)


def test_glb_in_blender(made: Asset, folder: Path) -> None:
    found = in_blender(folder / "head.glb")
    wide, high, deep = np.ptp(made.atlas.mesh.vertices, axis=0) / 1000
    assert found["meshes"] == found["uv"] == 1
    assert found["faces"] == len(made.atlas.faces)
    assert found["images"][0] == [1024, 1024]
    np.testing.assert_allclose(found["size"], [wide, deep, high], atol=1e-3)  # Blender's z is up


def test_glb_in_another_reader(made: Asset, folder: Path) -> None:
    scene = trimesh.load_scene(folder / "head.glb", process=False)
    (mesh,) = scene.geometry.values()
    points, truth = middles(made)
    np.testing.assert_allclose(mesh.vertices[mesh.faces].mean(1), points / 1000, atol=1e-6)
    np.testing.assert_allclose(mesh.extents, np.ptp(made.atlas.mesh.vertices, axis=0) / 1000, atol=1e-6)
    image = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB"))
    assert image.shape == (1024, 1024, 3)
    assert np.abs(colours_at(mesh, image) - truth).mean() < 2
    assert mesh.visual.material.metallicFactor == 0


def gltf(path: Path) -> dict:
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    (size,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + size])


def test_glb_is_unlit_unless_a_lit_material_is_asked_for(made: Asset, folder: Path, tmp_path: Path) -> None:
    tree = gltf(folder / "head.glb")
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]
    assert "extensionsRequired" not in tree
    assert tree["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    write_asset(tmp_path, replace(made, material="pbr"), ("glb",))
    lit = gltf(tmp_path / "head.glb")
    assert "extensionsUsed" not in lit
    assert "extensions" not in lit["materials"][0]


def with_detail(made: Asset) -> Asset:
    """Return the asset with a normal map that leans to the right, and a displacement."""
    atlas = made.atlas
    frame = tangents(made.vertices(), made.normals(), atlas.uv, atlas.faces)
    normals = np.broadcast_to(np.array([160, 128, 251], np.uint8), (1024, 1024, 3))
    steps = np.full((1024, 1024), MIDDLE + 1000, np.uint16)
    return replace(made, detail=Detail(normals.copy(), steps, frame, ("a.jpg",), 1.0, 0.0))


def test_glb_with_detail_has_tangents_and_a_lit_variant(made: Asset, tmp_path: Path) -> None:
    detailed = with_detail(made)
    write_asset(tmp_path, detailed, ("glb",))
    tree = gltf(tmp_path / "head.glb")
    (primitive,) = tree["meshes"][0]["primitives"]
    tangent = tree["accessors"][primitive["attributes"]["TANGENT"]]
    assert (tangent["type"], tangent["count"]) == ("VEC4", len(detailed.atlas.vertex))
    plain, lit = tree["materials"]
    assert primitive["material"] == 0
    assert "normalTexture" not in plain
    assert plain["extensions"] == {"KHR_materials_unlit": {}}
    image = tree["images"][tree["textures"][lit["normalTexture"]["index"]]["source"]]
    assert (image["name"], image["mimeType"]) == ("normal", "image/png")
    assert "extensions" not in lit
    variants = tree["extensions"]["KHR_materials_variants"]["variants"]
    mappings = primitive["extensions"]["KHR_materials_variants"]["mappings"]
    assert [variants[one["variants"][0]]["name"] for one in mappings] == ["light of the photos", "lit by the viewer"]
    assert "extensionsRequired" not in tree
    (mesh,) = trimesh.load_scene(tmp_path / "head.glb", process=False).geometry.values()
    assert mesh.visual.material.baseColorTexture.size == (1024, 1024)
    write_asset(tmp_path, replace(detailed, material="pbr"), ("glb",))
    tree = gltf(tmp_path / "head.glb")
    assert "extensionsUsed" not in tree
    (lit,) = tree["materials"]
    assert lit["normalTexture"] == {"index": 1}
    (mesh,) = trimesh.load_scene(tmp_path / "head.glb", process=False).geometry.values()
    stored = np.asarray(mesh.visual.material.normalTexture.convert("RGB"))
    assert (stored == [160, 128, 251]).all()


def test_the_tangents_of_an_atlas_are_unit_vectors_across_the_normals(made: Asset) -> None:
    detail = with_detail(made).detail
    assert detail is not None
    along = detail.tangents[:, :3].astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), 1, atol=1e-6)
    assert np.abs((along * made.normals()).sum(1)).max() < 1e-5
    assert (detail.tangents[:, 3] == 1).all()  # no chart is mirrored


def test_maps_of_detail_are_written_and_named_by_obj_and_usdz(made: Asset, tmp_path: Path) -> None:
    write_asset(tmp_path, with_detail(made), ("obj",))
    lines = (tmp_path / "head.mtl").read_text().splitlines()
    assert "norm head_normal.png" in lines
    assert "map_Bump -bm 1 head_normal.png" in lines
    assert "disp head_displacement.png" in lines
    assert (np.asarray(Image.open(tmp_path / "head_normal.png")) == [160, 128, 251]).all()
    stored = Image.open(tmp_path / "head_displacement.png")
    assert stored.mode == "I;16"
    assert (np.asarray(stored) == MIDDLE + 1000).all()
    usd = pytest.importorskip("pxr.Usd", reason="usd-core, an extra, is not installed")
    from pxr import UsdShade

    write_asset(tmp_path, with_detail(made), ("usdz",))
    stage = usd.Stage.Open(str(tmp_path / "head.usdz"))
    bent = UsdShade.Shader(stage.GetPrimAtPath("/head/material/normal"))
    assert bent.GetInput("sourceColorSpace").Get() == "raw"
    assert tuple(bent.GetInput("bias").Get())[:3] == (-1, -1, -1)
    assert UsdShade.Shader(stage.GetPrimAtPath("/head/material/surface")).GetInput("normal").HasConnectedSource()


def test_glb_keeps_the_rules_of_the_format(folder: Path) -> None:
    tree = gltf(folder / "head.glb")
    data = (folder / "head.glb").read_bytes()
    (size,) = struct.unpack_from("<I", data, 12)
    binary = data[28 + size :]
    assert len(binary) == tree["buffers"][0]["byteLength"]
    views, accessors = tree["bufferViews"], tree["accessors"]
    assert all(view["byteOffset"] % 4 == 0 for view in views)
    position, normal, uv, indices = accessors

    def values(accessor: dict, kind: type, width: int) -> np.ndarray:
        view = views[accessor["bufferView"]]
        assert view["byteLength"] == accessor["count"] * width * 4
        return np.frombuffer(binary, kind, accessor["count"] * width, view["byteOffset"]).reshape(-1, width)

    points = values(position, np.float32, 3)
    np.testing.assert_array_equal(points.min(0), np.float32(position["min"]))
    np.testing.assert_array_equal(points.max(0), np.float32(position["max"]))
    np.testing.assert_allclose(np.linalg.norm(values(normal, np.float32, 3), axis=1), 1, atol=1e-6)
    places = values(uv, np.float32, 2)
    assert places.min() >= 0
    assert places.max() <= 1
    assert values(indices, np.uint32, 1).max() == len(points) - 1
    image = views[tree["images"][0]["bufferView"]]
    assert binary[image["byteOffset"] : image["byteOffset"] + 2] == b"\xff\xd8"


def test_obj_in_another_reader(made: Asset, folder: Path) -> None:
    mesh = trimesh.load_mesh(folder / "head.obj", process=False)
    points, truth = middles(made)
    np.testing.assert_allclose(mesh.vertices[mesh.faces].mean(1), points, atol=1e-4)
    image = np.asarray(mesh.visual.material.image.convert("RGB"))
    np.testing.assert_array_equal(image, made.colour)
    assert np.abs(colours_at(mesh, image) - truth).mean() < 1
    lines = (folder / "head.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in lines) == len(made.atlas.mesh.vertices)  # each vertex once: closed
    assert "map_Kd head.png" in (folder / "head.mtl").read_text()


def test_stl_is_closed_and_stands_on_its_flat_base_in_millimetres(made: Asset, folder: Path) -> None:
    mesh = trimesh.load_mesh(folder / "head.stl")  # this reader joins vertices at one place
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(made.atlas.mesh.to_trimesh().volume, rel=1e-4)
    assert mesh.bounds[0, 2] == 0
    height = np.ptp(made.atlas.mesh.vertices[:, 1])
    assert mesh.bounds[1, 2] == pytest.approx(height, abs=1e-3)
    base = (mesh.triangles[:, :, 2] == 0).all(1)
    across = 2 * 185.0 * 2 * 75.0
    assert mesh.area_faces[base].sum() == pytest.approx(across, rel=0.15)
    # The face looks towards the viewer who stands before the printer: to -y.
    nose = mesh.vertices[np.abs(mesh.vertices[:, 2] - (height - 145)) < 20]
    assert abs(nose[:, 1].min()) < 40


def test_usdz_in_its_own_library(made: Asset, folder: Path) -> None:
    usd = pytest.importorskip("pxr.Usd", reason="usd-core, an extra, is not installed")
    from pxr import UsdGeom, UsdShade

    stage = usd.Stage.Open(str(folder / "head.usdz"))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1e-3
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/head/mesh"))
    points = np.array(mesh.GetPointsAttr().Get())
    np.testing.assert_allclose(points, made.atlas.mesh.vertices, atol=1e-3)
    st = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st")
    flat = np.array(st.ComputeFlattened())
    np.testing.assert_allclose(flat, (made.atlas.uv * [1, -1] + [0, 1])[made.atlas.faces.reshape(-1)], atol=1e-6)
    material, _ = UsdShade.MaterialBindingAPI(mesh.GetPrim()).ComputeBoundMaterial()
    assert material.GetPath() == "/head/material"
    image = UsdShade.Shader(stage.GetPrimAtPath("/head/material/colour")).GetInput("file").Get()
    assert image.resolvedPath.endswith("head.usdz[colour.jpg]")


def test_a_disk_that_fills_leaves_the_old_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old a")
    (tmp_path / "b.txt").write_text("old b")

    def writer(folder: Path) -> None:
        (folder / "a.txt").write_text("new a")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left on device"):
        write_together(tmp_path, writer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]
    assert (tmp_path / "a.txt").read_text() == "old a"
    write_together(tmp_path, lambda folder: (folder / "a.txt").write_text("new a"))
    assert (tmp_path / "a.txt").read_text() == "new a"
    assert (tmp_path / "b.txt").read_text() == "old b"
