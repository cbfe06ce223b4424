"""MakeHuman's assets as they lie on disk: its file formats, and hair made into shells."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from busts import ball_cap
from protome.errors import InputError
from protome.geometry.mesh import Mesh
from protome.geometry.obj import ObjMesh
from protome.population.makehuman import shells as shells_module
from protome.population.makehuman.mhclo import (
    AssetFiles,
    Binding,
    Worn,
    find_base_mesh,
    read_image,
    read_target,
)
from protome.population.makehuman.shells import Cards, HairSamples, build_shell
from protome.population.makehuman.skins import bilinear
from protome.population.texture import texels

# File formats

OBJ = """v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 5
f 1 2 3 4
"""


def _file(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content)
    return folder / name


MHCLO = """# a comment
name cap
x_scale 0 1 2.0
z_scale 0 4 5.0
y_scale 0 3 0.5
verts 0
material cap.mhmat
max_pole 4
2
0 1 3  0.5 0.25 0.25  0.1 0.2 0.3
4 4 1  1.5 0.0 -0.5  0 0 -1

delete_verts
0 2 - 4
1
"""


def test_bound_vertices_follow_the_base_mesh(tmp_path: Path) -> None:
    base = ObjMesh.load(_file(tmp_path, "base.obj", OBJ)).vertices
    binding = Binding.load(_file(tmp_path, "cap.mhclo", MHCLO))
    # The scales: 1 / 2 along x, 1 / 0.5 along y, 5 / 5 along z.
    truth = np.array([[1, 1, 0], [0.25 + 0.05, 0.25 + 0.4, 0.3], [-0.5, 0, 7.5 - 1]])
    np.testing.assert_allclose(binding.apply(base), truth, atol=1e-12)
    # A base mesh twice as large takes offsets twice as large.
    np.testing.assert_allclose(binding.apply(2 * base), 2 * np.array(truth), atol=1e-12)
    with pytest.raises(InputError, match="lacks"):
        binding.apply(base[:3])


@pytest.mark.parametrize("content", ["", "verts 0\n", "verts 0\n1 2 3\n"])
def test_a_binding_without_vertices_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match="binds no vertices"):
        Binding.load(_file(tmp_path, "cap.mhclo", content))


def test_offsets_are_lengths_where_a_binding_has_no_scales(tmp_path: Path) -> None:
    binding = Binding.load(_file(tmp_path, "cap.mhclo", "verts 0\n0 0 0 1 0 0 0.5 0.25 2\n"))
    np.testing.assert_allclose(binding.apply(np.array([[1.0, 2.0, 3.0]])), [[1.5, 2.25, 5.0]])


def test_targets_are_displacements_of_some_vertices(tmp_path: Path) -> None:
    content = "# a comment\n3 0.5 -1 2\n0 .25 0 0\n"
    truth = np.zeros((5, 3))
    truth[3], truth[0] = [0.5, -1, 2], [0.25, 0, 0]
    np.testing.assert_array_equal(read_target(_file(tmp_path, "nose.target", content), 5), truth)
    (tmp_path / "nose.target.gz").write_bytes(gzip.compress(content.encode()))
    np.testing.assert_array_equal(read_target(tmp_path / "nose.target.gz", 5), truth)
    for broken in ("9 0 0 0\n", "1 0 0\n", "1 a b c\n"):
        with pytest.raises(InputError, match="no morph target"):
            read_target(_file(tmp_path, "nose.target", broken), 5)
    (tmp_path / "nose.target.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot be read"):
        read_target(tmp_path / "nose.target.gz", 5)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for read in (ObjMesh.load, Binding.load, lambda path: read_target(path, 5), lambda path: read_image(path, "RGB")):
        with pytest.raises(InputError, match="there does not exist"):
            read(tmp_path / "there")
    with pytest.raises(InputError, match="is no picture"):
        read_image(_file(tmp_path, "skin.png", "no picture"), "RGB")


def test_pictures_are_looked_up_with_v_up() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    corners = np.array([[0.1, 0.9], [0.9, 0.9], [0.1, 0.1], [0.9, 0.1]])
    np.testing.assert_array_equal(texels(picture, corners), picture.reshape(4, 3))
    np.testing.assert_allclose(bilinear(picture, np.array([[0.25, 0.75], [0.5, 0.5], [2.0, -1.0]])),
                               [picture[0, 0], picture.reshape(4, 3).mean(0), picture[1, 1]])  # fmt: skip


def _touch(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


@pytest.mark.parametrize("below", ["", "base/", "data/", "makehuman/data/"])
def test_assets_are_found_where_makehuman_keeps_them(tmp_path: Path, below: str) -> None:
    files = {
        "hair/bob01/bob01.mhclo": "obj_file bob.obj\nmaterial materials/brown.mhmat\nverts 0\n",
        "hair/bob01/materials/brown.mhmat": "name bob\nnormalmapTexture n.png\ndiffuseTexture ../brown hair.png\n",
        "hair/bare01/bare01.mhclo": "obj_file bare01.obj\nmaterial bare01.mhmat\n",
        "eyebrows/brow1/brow1.mhclo": "verts 0\n",
        "eyebrows/brow1/brow1_ao.png": "",
        "eyebrows/brow1/brow1_diffuse.png": "",
        "skins/old_man/old_man.mhmat": "diffuseTexture ../textures/dark_old.png\n",
        "skins/old_woman/old_woman.mhmat": "diffuseTexture ../textures/dark_old.png\n",
        "skins/plain/plain.mhmat": "diffuseColor 1 1 1\n",
        "3dobjs/base.obj": "",
    }
    _touch(tmp_path, {below + name: content for name, content in files.items()})
    root, found = tmp_path / below, AssetFiles.find(tmp_path)
    bob = root / "hair" / "bob01"
    assert found.hair == (Worn("bob01", bob / "bob.obj", bob / "bob01.mhclo", bob / "brown hair.png"),)
    assert [(brow.mesh.name, brow.texture.name) for brow in found.brows] == [("brow1.obj", "brow1_diffuse.png")]
    assert found.skins == (("dark_old", root / "skins" / "textures" / "dark_old.png"),)
    assert found.clothes == ()
    assert len(found.paths()) == 7
    if below != "base/":
        assert find_base_mesh(tmp_path) == root / "3dobjs" / "base.obj"
        assert find_base_mesh(tmp_path / "elsewhere", tmp_path) == root / "3dobjs" / "base.obj"
    with pytest.raises(InputError, match=r"elsewhere has no base\.obj"):
        find_base_mesh(tmp_path / "elsewhere")


def test_large_pictures_are_read_smaller(tmp_path: Path) -> None:
    picture = np.zeros((1100, 2200, 4), np.uint8)
    picture[:, :, 0] = 90
    picture[:, :1100, 3] = 255
    Image.fromarray(picture).save(tmp_path / "hair.png")
    read = read_image(tmp_path / "hair.png", "RGBA")
    assert read.shape == (512, 1024, 4)
    # What is transparent lends no colour to what is not.
    assert (read[:, :505] == [90, 0, 0, 255]).all()
    assert (read[:, 520:, 3] == 0).all()


# Shells of hair

BALL = 0.1


def _samples(radius: float, above: float, colour: tuple[int, int, int] = (120, 90, 60)) -> HairSamples:
    vertices, faces = ball_cap(radius, above)
    texture = np.array([[[*colour, 255]]], np.uint8)
    return Cards(vertices, faces, np.full((len(faces), 3, 2), 0.5), texture).samples()


def test_only_opaque_hair_above_the_floor_is_sampled() -> None:
    corners = np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0], [0.1, 0.1, 0.0], [0.0, 0.1, 0.0]])
    faces, uv = np.array([[0, 1, 2], [0, 2, 3]]), np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    texture = np.zeros((1, 2, 4), np.uint8)
    texture[0, 0], texture[0, 1] = [200, 100, 50, 255], [0, 255, 0, 90]
    sheet = Cards(corners, faces, uv[faces], texture).samples()
    assert (sheet.colours == [200, 100, 50]).all()
    assert sheet.points[:, 0].max() <= 0.05
    # One sample for each square of the spacing, up to chance.
    assert len(sheet.points) == pytest.approx(0.05 * 0.1 / shells_module.SPACING_M**2, rel=0.05)
    assert not len(Cards(corners - [0, 1, 0], faces, uv[faces], texture).samples().points)


def test_hair_over_a_scalp_becomes_one_closed_volume_down_to_the_skin() -> None:
    head = trimesh.creation.icosphere(subdivisions=4, radius=BALL)
    everywhere = np.ones(len(head.faces), bool)
    shell = build_shell("cap", _samples(0.12, 0.0), Mesh(np.array(head.vertices), np.array(head.faces)), everywhere)
    mesh = trimesh.Trimesh(shell.vertices, shell.faces, process=False)
    assert shell.name == "cap"
    assert mesh.is_watertight
    assert len(mesh.split()) == 1
    assert len(shell.faces) <= shells_module.FACES
    # Half a thick shell between a little under the skin and a little over the sheet.
    inner, outer = BALL - shells_module.ROOT_M, 0.12 + shells_module.THICKNESS_M
    assert mesh.volume == pytest.approx(2 / 3 * np.pi * (outer**3 - inner**3), rel=0.12)
    up = shell.vertices[shell.vertices[:, 1] > 0.05]
    radius = np.linalg.norm(up, axis=1)
    assert np.minimum(np.abs(radius - inner), np.abs(radius - outer)).max() < 0.003
    assert shell.vertices[:, 1].min() > -0.02
    assert np.abs(shell.colours.astype(int) - [120, 90, 60]).max() <= 1


def test_hair_that_hangs_far_from_the_skin_stays_away_from_it() -> None:
    head = trimesh.creation.icosphere(subdivisions=3, radius=BALL)
    body = Mesh(np.array(head.vertices), np.array(head.faces))
    hung = build_shell("hung", _samples(0.12, 0.06), body, np.zeros(len(head.faces), bool))
    assert np.linalg.norm(hung.vertices, axis=1).min() > 0.12 - 2 * shells_module.THICKNESS_M
    with pytest.raises(ValueError, match="needs hair"):
        build_shell("none", HairSamples(np.zeros((0, 3)), np.zeros((0, 3), np.uint8)), body, np.ones(1280, bool))


def test_narrow_gaps_between_strands_are_closed() -> None:
    def halves(gap: float) -> np.ndarray:
        volume = np.zeros((60, 40, 40), bool)
        volume[10:50, 10:30, 10:30] = True
        volume[30 : 30 + round(gap / shells_module.VOXEL_M), :, :] = False
        return volume

    narrow, wide = halves(1.5 * shells_module.GAP_M), halves(3.0 * shells_module.GAP_M)
    closed = shells_module.close_gaps(narrow)
    assert (closed[10:50, 14:26, 14:26]).all()
    assert (closed >= narrow).all()
    assert not closed[:9].any()
    np.testing.assert_array_equal(shells_module.close_gaps(wide), wide)


def test_loose_crumbs_are_dropped() -> None:
    head = trimesh.creation.icosphere(subdivisions=3, radius=BALL)
    body, nowhere = Mesh(np.array(head.vertices), np.array(head.faces)), np.zeros(len(head.faces), bool)
    cap = _samples(0.13, 0.05)
    points = np.concatenate([cap.points, [[0.0, -0.2, 0.0]]])
    shell = build_shell("cap", HairSamples(points, np.full((len(points), 3), 99, np.uint8)), body, nowhere)
    assert shell.vertices[:, 1].min() > 0.04


def test_a_fringe_before_an_eye_is_noticed_and_cut() -> None:
    across, down = np.meshgrid(np.linspace(-0.06, 0.0, 60), np.linspace(-0.03, 0.06, 80))
    points = np.stack([across.ravel(), down.ravel(), np.full(across.size, 0.03)], 1)
    fringe = HairSamples(points, np.zeros((len(points), 3), np.uint8))
    assert fringe.hide_eyes()
    short = fringe.cut_open()
    assert not short.hide_eyes()
    assert 0.02 < short.points[:, 1].min() < 0.03
    assert len(short.points) == len(short.colours)


def test_black_hair_is_lifted_and_its_contrast_limited() -> None:
    head = trimesh.creation.icosphere(subdivisions=3, radius=BALL)
    body, everywhere = Mesh(np.array(head.vertices), np.array(head.faces)), np.ones(len(head.faces), bool)
    cap = _samples(0.11, 0.0)
    # Stripes of black and of dark red.
    colours = np.where(np.sin(150 * cap.points[:, :1]) > 0, [8, 4, 4], [2, 1, 1]).astype(np.uint8)
    shell = build_shell("black", HairSamples(cap.points, colours), body, everywhere)
    brightness = shell.colours.mean(1)
    assert 60 < np.median(brightness) < 85
    assert np.log(brightness).std() < 1.15 * shells_module.MOST_CONTRAST
    assert brightness.max() > 1.3 * brightness.min()
    np.testing.assert_allclose(shell.colours[:, 1] / shell.colours[:, 0], 0.5, atol=0.02)
