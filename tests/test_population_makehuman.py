"""MakeHuman's assets on the body: its file formats, the fit of its mesh, hair as shells, skins, clothes, shapes.

The stand-in for MakeHuman's base mesh is the same surface of revolution as the busts, with other triangles and in a
frame of its own, so that everything carried over to the body has a known answer.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from busts import BODY, COLUMNS, LANDMARK_ANGLES, LANDMARK_T, ROWS, Grid, surface, write_mediapipe, write_valid
from protome.errors import InputError
from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.population import makehuman as makehuman_module
from protome.population import shells as shells_module
from protome.population.makehuman import MakeHuman
from protome.population.makehuman_fit import BaseLandmarks, MakeHumanFit, farthest, fit_makehuman, seen_from_outside
from protome.population.makehuman_shapes import GREATEST_M, MakeHumanShapes
from protome.population.makehuman_skins import Skin, bilinear
from protome.population.mhclo import Binding, ObjMesh, read_image, read_target, texels
from protome.population.shells import Cards, HairSamples, build_shell
from protome.population.sources import ValidHeads

# File formats

OBJ = """# a comment
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 5
vt 0 0
vt 1 0.5
g body
f 1/1 2/2 3/1 4/2
g helper-hair
f 1 2 5
"""


def _file(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content)
    return folder / name


def test_an_obj_file_is_cut_into_triangles_with_their_groups(tmp_path: Path) -> None:
    mesh = ObjMesh.load(_file(tmp_path, "base.obj", OBJ))
    assert mesh.vertices.shape == (5, 3)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 4]]
    assert mesh.uv_faces.tolist() == [[0, 1, 0], [0, 0, 1], [-1, -1, -1]]
    assert mesh.uv.tolist() == [[0, 0], [1, 0.5]]
    assert mesh.groups == ("body", "body", "helper-hair")
    body = mesh.group("body")
    assert body.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert len(body.vertices) == 5
    with pytest.raises(InputError, match="no group 'skirt'"):
        mesh.group("skirt")


@pytest.mark.parametrize("content", ["", "v 0 0 0\nf 1 2 3\n", "v 0 0\nv zero 1 2\n", "v 0 0 0\nf 1/ a/ 1/\n"])
def test_a_broken_obj_file_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"base\.obj"):
        ObjMesh.load(_file(tmp_path, "base.obj", content))


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
    truth = [[1, 1, 0], [0.25 + 0.05, 0.25 + 0.4, 0.3], [-0.5, 0, 7.5 - 1]]
    np.testing.assert_allclose(binding.apply(base), truth, atol=1e-12)
    assert binding.hidden.tolist() == [0, 2, 3, 4, 1]
    assert binding.hides(base).all()
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
    with pytest.raises(InputError, match="cannot be read as a picture"):
        read_image(_file(tmp_path, "skin.png", "no picture"), "RGB")


def test_pictures_are_looked_up_with_v_up() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    corners = np.array([[0.1, 0.9], [0.9, 0.9], [0.1, 0.1], [0.9, 0.1]])
    np.testing.assert_array_equal(texels(picture, corners), picture.reshape(4, 3))
    np.testing.assert_allclose(bilinear(picture, np.array([[0.25, 0.75], [0.5, 0.5], [2.0, -1.0]])),
                               [picture[0, 0], picture.reshape(4, 3).mean(0), picture[1, 1]])  # fmt: skip


# Shells of hair

BALL = 0.1


def _cap(radius: float, above: float) -> tuple[np.ndarray, np.ndarray]:
    ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return np.array(ball.vertices), np.array(ball.faces[ball.triangles_center[:, 1] > above])


def _samples(radius: float, above: float, colour: tuple[int, int, int] = (120, 90, 60)) -> HairSamples:
    vertices, faces = _cap(radius, above)
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
    closed = shells_module._closed(narrow)
    assert (closed[10:50, 14:26, 14:26]).all()
    assert (closed >= narrow).all()
    assert not closed[:9].any()
    np.testing.assert_array_equal(shells_module._closed(wide), wide)


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


# The fit: the bust's surface as MakeHuman's base mesh

BASE_ROWS, BASE_COLUMNS = 48, 40
BASE = Grid.of(BASE_ROWS, BASE_COLUMNS)
TURN = Rotation.from_euler("xyz", [4, 2, -3], degrees=True).as_matrix()
SCALE, SHIFT = 9.0, np.array([0.2, 7.0, 1.0])
"""From metres in the head frame to MakeHuman's decimetres."""


def _to_makehuman(points: np.ndarray) -> np.ndarray:
    return SCALE * points @ TURN.T + SHIFT


def _base_landmarks() -> BaseLandmarks:
    """The landmarks of the busts, on the base mesh: each in the cell of the grid around it."""
    rows, angles = np.meshgrid(LANDMARK_T * BASE_ROWS, (LANDMARK_ANGLES + np.pi) / (2 * np.pi) * BASE_COLUMNS,
                               indexing="ij")  # fmt: skip
    row, column = np.floor(rows.ravel()).astype(int), np.floor(angles.ravel() + 1e-9).astype(int)
    down, along = rows.ravel() - row, angles.ravel() - column
    here = row * (BASE_COLUMNS + 1) + column
    corners = np.stack([here, here + BASE_COLUMNS + 1, here + 1], 1)
    return BaseLandmarks(corners, np.stack([1 - down - along, down, along], 1), np.ones(len(corners)))


def _write_obj(path: Path, vertices: np.ndarray, uv: np.ndarray, groups: dict[str, np.ndarray]) -> None:
    lines = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in vertices] + [f"vt {u:.7f} {v:.7f}" for u, v in uv]
    for name, faces in groups.items():
        lines += [f"g {name}", *("f " + " ".join(f"{c + 1}/{c + 1}" for c in face) for face in faces)]
    path.write_text("\n".join(lines) + "\n")


def _write_bound(folder: Path, name: str, vertices: np.ndarray, faces: np.ndarray, picture: np.ndarray) -> dict:
    """Write something bound to the base mesh, head frame; every vertex hangs on one base vertex."""
    target, hook = _to_makehuman(vertices), _to_makehuman(BASE.vertices)
    nearest = cKDTree(hook).query(target)[1]
    rows = [f"{k} {k} {k} 1 0 0 {x:.7f} {y:.7f} {z:.7f}"
            for k, (x, y, z) in zip(nearest, target - hook[nearest], strict=True)]  # fmt: skip
    (folder / f"{name}.mhclo").write_text("\n".join(["verts 0", *rows]) + "\n")
    uv = np.stack([0.5 + vertices[:, 0] / 0.4, 0.5 + vertices[:, 1] / 0.4], 1)
    _write_obj(folder / f"{name}.obj", target, uv, {"thing": faces})
    Image.fromarray(picture).save(folder / f"{name}.png")
    return {"obj": f"{name}.obj", "mhclo": f"{name}.mhclo", "texture": f"{name}.png"}


def _write_makehuman(folder: Path) -> Path:
    folder.mkdir()
    helper = np.array([[0, 1, BASE_COLUMNS + 1]])
    # Faces wind outwards like the busts'.
    _write_obj(folder / "base.obj", _to_makehuman(BASE.vertices), BASE.uv, {"body": BASE.faces, "helper-hair": helper})
    cap, cap_faces = _cap(0.115, 0.02)
    cap += np.array([0, 0.02, -0.085])
    hair = _write_bound(folder, "tuft", cap, cap_faces, np.full((2, 2, 4), [90, 60, 30, 255], np.uint8))
    grid = (BODY.vertices[:, 1] > -0.2) & (BODY.vertices[:, 1] < -0.15)
    faces = BODY.faces[grid[BODY.faces].all(1)]
    # A collar that cuts through the neck on one side.
    collar = BODY.vertices + np.array([0.006, 0.0, 0.0])
    cloth = _write_bound(folder, "collar", collar, faces, np.full((2, 2, 3), [10, 20, 200], np.uint8))
    # The skin's colours tell the place: red runs around, green from the cut up.
    row, column = np.mgrid[:128, :128]
    skin = np.stack([2 * column, 254 - 2 * row, np.full_like(row, 77)], -1).astype(np.uint8)
    Image.fromarray(skin).save(folder / "pale.png")
    listing = {"hair": {"tuft": hair}, "eyebrows": {}, "skins": {"pale": {"texture": "pale.png"}},
               "clothes": {"collar": cloth}}  # fmt: skip
    (folder / "index.json").write_text(json.dumps(listing))
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ValidHeads, Path]:
    """The folder of the assets, the busts, and the folder of the landmark table."""
    folder = tmp_path_factory.mktemp("makehuman")
    return (_write_makehuman(folder / "mh"), ValidHeads(write_valid(folder / "valid")),
            write_mediapipe(folder / "mediapipe"))  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _own_landmarks() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseLandmarks, "packaged", staticmethod(_base_landmarks))
        yield


@pytest.fixture(scope="module")
def fit(sources: tuple[Path, ValidHeads, Path], _own_landmarks: object) -> MakeHumanFit:
    folder, valid, mediapipe = sources
    return fit_makehuman(ObjMesh.load(folder / "base.obj"), valid, mediapipe)


def test_the_packaged_landmarks_lie_in_triangles_of_the_base_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with np.load(Path(makehuman_module.__file__).parent.parent / "assets" / "makehuman_landmarks.npz") as stored:
        assert stored["triangles"].shape == stored["barycentric"].shape == (468, 3)
        assert stored["triangles"].max() < 13_380  # the body group comes first in hm08
        np.testing.assert_allclose(stored["barycentric"].sum(1), 1, atol=1e-4)
        assert stored["weights"].min() > 0
        assert stored["weights"].max() <= 1


def test_the_base_mesh_is_laid_on_the_mean_body(fit: MakeHumanFit) -> None:
    gap = np.linalg.norm(fit.vertices - BASE.vertices, axis=1)
    assert fit.fitted[np.unique(BASE.faces)].mean() > 0.95
    assert np.sqrt((gap**2).mean()) < 0.0006
    assert gap.max() < 0.004
    assert len(fit.faces) == len(fit.uv_faces)
    points = np.array([[0.0, 0.15, -0.08], [0.1, 0.0, -0.1], [0.0, -0.05, 0.03]])
    np.testing.assert_allclose(fit.to_valid(_to_makehuman(points)), points, atol=0.0015)


def test_a_fit_needs_its_files(sources: tuple[Path, ValidHeads, Path], tmp_path: Path) -> None:
    folder, valid, mediapipe = sources
    base = ObjMesh.load(folder / "base.obj")
    with pytest.raises(InputError, match=r"mediapipe_landmarks\.json does not exist"):
        fit_makehuman(base, valid, tmp_path)
    few = ObjMesh(base.vertices[:50], base.uv, base.faces[:1], base.uv_faces[:1], base.groups[:1])
    with pytest.raises(InputError, match=r"give MakeHuman's base\.obj"):
        fit_makehuman(few, valid, mediapipe)
    (tmp_path / "mediapipe_landmarks.json").write_text(
        json.dumps({"valid_body": {"triangles": [[0, 1, 2]], "barycentric": [[1.0, 0, 0]]}})
    )
    with pytest.raises(InputError, match="too few landmarks"):
        fit_makehuman(base, valid, tmp_path)


def test_what_lies_inside_is_not_seen_from_outside() -> None:
    outer, inner = (trimesh.creation.icosphere(subdivisions=2, radius=radius) for radius in (1.0, 0.5))
    vertices = np.concatenate([outer.vertices, inner.vertices])
    seen = seen_from_outside(vertices, np.concatenate([outer.faces, inner.faces + len(outer.vertices)]))
    assert seen[: len(outer.vertices)].all()
    assert not seen[len(outer.vertices) :].any()


def test_far_points_are_spread_out() -> None:
    points = np.stack([np.linspace(0, 1, 101), np.zeros(101), np.zeros(101)], 1)
    assert sorted(farthest(points, 5).tolist()) == [0, 25, 50, 75, 100]
    assert len(farthest(points[:3], 5)) == 3


# Everything together


@pytest.fixture(scope="module")
def assets(sources: tuple[Path, ValidHeads, Path], _own_landmarks: object) -> MakeHuman:
    return MakeHuman.load(*sources)


def test_hair_sits_on_the_head(assets: MakeHuman, sources: tuple[Path, ValidHeads, Path]) -> None:
    (shell,) = assets.hair
    assert shell.name == "tuft"
    np.testing.assert_array_equal(assets.reference, sources[1].mean)
    mesh = trimesh.Trimesh(shell.vertices, shell.faces, process=False)
    assert mesh.is_watertight
    distance = np.linalg.norm(shell.vertices - [0, 0.02, -0.085], axis=1)
    assert distance.max() == pytest.approx(0.115 + shells_module.THICKNESS_M, abs=0.003)
    # Between crown and hair the space is filled.
    assert mesh.contains(np.array([[0.0, 0.124, -0.085], [0.0, 0.118, -0.085]])).all()
    assert assets.shapes is None


def test_skins_are_painted_where_the_base_mesh_shows_them(assets: MakeHuman) -> None:
    (skin,) = assets.skins
    assert skin.texture.shape == (ROWS, COLUMNS, 3)
    row, column = np.nonzero(skin.mask)
    # Both meshes have the same texture coordinates at the same places.
    truth = np.stack([254 * (column + 0.5) / COLUMNS, 254 - 254 * (row + 0.5) / ROWS, np.full(len(row), 77)], 1)
    inner = (column > 2) & (column < COLUMNS - 3) & (row > 3)
    assert inner.sum() > 2000
    assert np.abs(skin.texture[row, column] - truth)[inner].max() < 9
    assert np.abs(skin.texture[row, column] - truth)[inner].mean() < 2
    assert not skin.texture[~skin.mask].any()
    heights = surface((row + 0.5) / ROWS, np.zeros(len(row)))[:, 1]
    assert not skin.neck[row, column][heights > -0.08].any()
    assert skin.neck[row, column][heights < -0.15].all()
    assert (skin.cheeks <= skin.mask).all()
    assert skin.cheeks.sum() > 20


def test_a_skin_is_worn_without_touching_cloth() -> None:
    mask = np.zeros((40, 30), bool)
    mask[5:35] = True
    cheeks, neck = np.zeros_like(mask), np.zeros_like(mask)
    cheeks[10:15, 10:20], neck[20:35] = True, True
    skin = Skin("green", np.where(mask[..., None], [20, 200, 20], 0).astype(np.uint8), mask, cheeks, neck)
    own = np.full((40, 30, 3), [220, 180, 150], np.uint8)
    own[26:] = [20, 20, 90]
    # A pale brow above the neck, and a single dark texel on it.
    own[7, 3], own[22, 8] = [255, 255, 255], [0, 0, 0]
    worn = skin.worn_over(own)
    # At its rim the skin blends with what was there.
    assert (worn[5:23] == [20, 200, 20]).all()
    assert (worn[27:] == [20, 20, 90]).all()
    assert (worn[:5] == own[:5]).all()


def test_cloth_is_kept_off_the_body(assets: MakeHuman) -> None:
    (outfit,) = assets.clothes
    assert outfit.name == "collar"
    assert (outfit.texture == [10, 20, 200]).all()
    assert len(outfit.uv) == len(outfit.vertices)
    surface_of_body = Surface(Mesh(BODY.vertices, BODY.faces))
    foot = surface_of_body.closest(outfit.vertices)
    distance = ((outfit.vertices - foot.points) * surface_of_body.face_normals()[foot.faces]).sum(1)
    assert distance.min() > 0.001
    # Where it hung free it still hangs.
    right = outfit.vertices[:, 0] > 0.05
    assert distance[right].max() > 0.004


def test_a_cache_gives_the_same_and_notices_other_inputs(
    assets: MakeHuman, sources: tuple[Path, ValidHeads, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, valid, mediapipe = sources
    calls: list[int] = []
    original: Callable = makehuman_module._fitted

    def counted(*arguments: object) -> MakeHuman:
        calls.append(1)
        return original(*arguments) if len(calls) > 1 else assets

    monkeypatch.setattr(makehuman_module, "_fitted", counted)
    cache = tmp_path / "cache.npz"
    MakeHuman.load(folder, valid, mediapipe, cache=cache)
    again = MakeHuman.load(folder, valid, mediapipe, cache=cache)
    assert len(calls) == 1
    np.testing.assert_allclose(again.hair[0].vertices, assets.hair[0].vertices)
    np.testing.assert_array_equal(again.hair[0].colours, assets.hair[0].colours)
    for mine, theirs in ((again.skins[0], assets.skins[0]), (again.clothes[0], assets.clothes[0])):
        assert vars(mine).keys() == vars(theirs).keys()
        for key, value in vars(theirs).items():
            np.testing.assert_array_equal(vars(mine)[key], value)
    # A damaged cache and other targets are both made anew.
    cache.write_bytes(cache.read_bytes()[:2000])
    monkeypatch.setattr(makehuman_module, "_fitted", lambda *arguments: calls.append(1) or assets)
    MakeHuman.load(folder, valid, mediapipe, cache=cache)
    assert len(calls) == 2
    (tmp_path / "nose").mkdir()
    _file(tmp_path / "nose", "nose-up.target", "0 0 0 1\n")
    MakeHuman.load(folder, valid, mediapipe, tmp_path / "nose", cache)
    assert len(calls) == 3


def test_assets_without_a_listing_are_refused(sources: tuple[Path, ValidHeads, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no index\.json"):
        MakeHuman.load(tmp_path, *sources[1:])


# Shapes

NOSE = np.exp(-0.5 * ((BASE.vertices - [0, -0.04, 0.0]) ** 2).sum(1) / 0.03**2)[:, None]
"""A soft bump, one at the nose."""


def _write_target(folder: Path, name: str, moves: np.ndarray) -> None:
    """Write displacements that are meant in the head frame's axes, metres."""
    folder.mkdir(exist_ok=True, parents=True)
    rows = [f"{k} {x:.9f} {y:.9f} {z:.9f}" for k, (x, y, z) in enumerate(SCALE * moves @ TURN.T)]
    (folder / f"{name}.target.gz").write_bytes(gzip.compress("\n".join(rows).encode()))


def _write_people(folder: Path, bumps: dict[str, np.ndarray]) -> None:
    zero = np.zeros_like(BASE.vertices)
    for sex in ("female", "male"):
        for age in ("young", "old", "child"):
            for race in ("african", "asian", "caucasian"):
                _write_target(folder, f"{race}-{sex}-{age}", sum((bumps.get(key, zero) for key in (sex, age)), zero))
            _write_target(folder, f"universal-{sex}-{age}-averagemuscle-averageweight", zero)
        for build in ("max", "min"):
            heavy = bumps.get(f"{build}weight", zero)
            _write_target(folder, f"universal-{sex}-young-averagemuscle-{build}weight", heavy)
            _write_target(folder, f"universal-{sex}-young-{build}muscle-averageweight", zero)


def test_targets_become_axes_on_the_body(
    fit: MakeHumanFit, sources: tuple[Path, ValidHeads, Path], tmp_path: Path
) -> None:
    up = np.array([0.0, 1.0, 0.0])
    _write_target(tmp_path / "nose", "nose-base-up", 0.004 * NOSE * up)
    _write_target(tmp_path / "nose", "nose-base-down", -0.008 * NOSE * up)
    _write_target(tmp_path / "nose", "nose-point-decr", 0.003 * NOSE * up)
    _write_target(tmp_path / "cheek", "l-cheek-bones-incr", 0.005 * NOSE * [1, 0, 0])
    _write_target(tmp_path / "cheek", "r-cheek-bones-incr", 0.005 * NOSE * [0, 0, 1])
    _write_target(tmp_path / "head", "head-scale-incr", 0.1 * (BASE.vertices - [0, 0, -0.085]))
    _write_target(tmp_path / "head", "head-trans-up", np.tile(0.05 * up, (len(BASE.vertices), 1)))
    _write_target(tmp_path / "chin", "chin-cleft-incr", 1e-5 * NOSE * up)
    shapes = MakeHumanShapes.load(tmp_path, fit, sources[1])
    assert set(shapes.names) == {"nose-base-up", "nose-point-decr", "cheek-bones-incr", "head-scale-incr"}
    assert shapes.modes.shape == (len(shapes.names), len(BODY.vertices), 3)
    assert shapes.modes.dtype == np.float32
    modes = dict(zip(shapes.names, shapes.modes, strict=True))
    here = np.exp(-0.5 * ((BODY.vertices - [0, -0.04, 0.0]) ** 2).sum(1) / 0.03**2)[:, None]
    # Half the difference of opposite ends; a lone end as it is; the two sides together.
    np.testing.assert_allclose(modes["nose-base-up"], 0.006 * here * up, atol=4e-4)
    np.testing.assert_allclose(modes["nose-point-decr"], 0.003 * here * up, atol=3e-4)
    np.testing.assert_allclose(modes["cheek-bones-incr"], 0.005 * here * [1, 0, 1], atol=4e-4)
    # Giants are scaled down, shoulders stay.
    assert np.linalg.norm(modes["head-scale-incr"], axis=1).max() == pytest.approx(GREATEST_M, rel=1e-3)
    assert not shapes.modes[:, BODY.vertices[:, 1] < -0.18].any()
    np.testing.assert_array_equal(shapes.modes, shapes.modes[:, BODY.weld])


def test_whole_people_lose_what_only_moves_the_head(
    fit: MakeHumanFit, sources: tuple[Path, ValidHeads, Path], tmp_path: Path
) -> None:
    grown = np.tile([0.0, 0.3, 0.1], (len(BASE.vertices), 1)) + np.cross([0.1, 0.0, 0.0], BASE.vertices)
    bumps = {"male": 0.01 * NOSE * [0, 0, 1] + grown, "old": grown, "maxweight": 0.004 * NOSE * [0, 0, 1]}
    _write_target(tmp_path / "nose", "nose-base-up", 0.004 * NOSE * [0, 1, 0])
    _write_people(tmp_path / "macrodetails", bumps)
    shapes = MakeHumanShapes.load(tmp_path, fit, sources[1])
    # The old only grew; all races are alike.
    assert set(shapes.names) == {"nose-base-up", "macro-male"}
    male = shapes.modes[shapes.names.index("macro-male")]
    here = np.exp(-0.5 * ((BODY.vertices - [0, -0.04, 0.0]) ** 2).sum(1) / 0.03**2)
    head = BODY.vertices[:, 1] > -0.09
    # Half the difference of the sexes, up to the small motion that a bump on one side looks like.
    rest = male[head] - 0.005 * here[head, None] * [0, 0, 1]
    assert np.linalg.norm(rest, axis=1).mean() < 0.001
    assert male[head][here[head].argmax(), 2] > 0.0035


def test_a_folder_without_targets_is_refused(
    fit: MakeHumanFit, sources: tuple[Path, ValidHeads, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="holds no targets"):
        MakeHumanShapes.load(tmp_path, fit, sources[1])
    _write_target(tmp_path / "nose", "nose-base-up", 0.004 * NOSE * [0, 1, 0])
    (tmp_path / "macrodetails").mkdir()
    with pytest.raises(InputError, match=r"african-female-young\.target\.gz does not exist"):
        MakeHumanShapes.load(tmp_path, fit, sources[1])
