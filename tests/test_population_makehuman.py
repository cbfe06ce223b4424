"""MakeHuman's assets on the body: the fit of its mesh, and hair, skins, clothes and shapes laid on by it.

The stand-in for MakeHuman's base mesh is the same surface of revolution as the busts, with other triangles and in a
frame of its own, so that everything carried over to the body has a known answer.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from busts import (
    BODY,
    COLUMNS,
    LANDMARK_ANGLES,
    LANDMARK_T,
    ROWS,
    Grid,
    ball_cap,
    surface,
    write_mediapipe,
    write_valid,
)
from protome.errors import InputError
from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.geometry.obj import ObjMesh
from protome.population.makehuman import makehuman as makehuman_module
from protome.population.makehuman import shells as shells_module
from protome.population.makehuman.fit import BaseLandmarks, MakeHumanFit, fit_makehuman, visible_from_outside
from protome.population.makehuman.makehuman import MakeHuman
from protome.population.makehuman.shapes import GREATEST_M, MakeHumanShapes
from protome.population.makehuman.skins import Skin
from protome.population.sources.valid import ValidHeads

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


def _write_bound(kind: Path, name: str, vertices: np.ndarray, faces: np.ndarray, picture: np.ndarray) -> None:
    """Write something bound to the base mesh, head frame; every vertex hangs on one base vertex."""
    folder = kind / name
    folder.mkdir(parents=True)
    target, hook = _to_makehuman(vertices), _to_makehuman(BASE.vertices)
    nearest = cKDTree(hook).query(target)[1]
    rows = [f"{k} {k} {k} 1 0 0 {x:.7f} {y:.7f} {z:.7f}"
            for k, (x, y, z) in zip(nearest, target - hook[nearest], strict=True)]  # fmt: skip
    (folder / f"{name}.mhclo").write_text("\n".join(["verts 0", *rows]) + "\n")
    uv = np.stack([0.5 + vertices[:, 0] / 0.4, 0.5 + vertices[:, 1] / 0.4], 1)
    _write_obj(folder / f"{name}.obj", target, uv, {"thing": faces})
    Image.fromarray(picture).save(folder / f"{name}.png")


def _write_makehuman(folder: Path) -> Path:
    folder.mkdir()
    helper = np.array([[0, 1, BASE_COLUMNS + 1]])
    # Faces wind outwards like the busts'.
    _write_obj(folder / "base.obj", _to_makehuman(BASE.vertices), BASE.uv, {"body": BASE.faces, "helper-hair": helper})
    cap, cap_faces = ball_cap(0.115, 0.02)
    cap += np.array([0, 0.02, -0.085])
    _write_bound(folder / "hair", "tuft", cap, cap_faces, np.full((2, 2, 4), [90, 60, 30, 255], np.uint8))
    grid = (BODY.vertices[:, 1] > -0.2) & (BODY.vertices[:, 1] < -0.15)
    faces = BODY.faces[grid[BODY.faces].all(1)]
    # A collar that cuts through the neck on one side.
    collar = BODY.vertices + np.array([0.006, 0.0, 0.0])
    _write_bound(folder / "clothes", "collar", collar, faces, np.full((2, 2, 3), [10, 20, 200], np.uint8))
    # The skin's colours encode the place: red runs around, green from the cut up.
    row, column = np.mgrid[:128, :128]
    skin = np.stack([2 * column, 254 - 2 * row, np.full_like(row, 77)], -1).astype(np.uint8)
    (folder / "skins").mkdir()
    Image.fromarray(skin).save(folder / "skins" / "pale.png")
    # Shoes are no outfit for a bust.
    shoes = BODY.vertices[BODY.faces[:20]].reshape(-1, 3) - [0, 1.5, 0]
    _write_bound(folder / "clothes", "shoes", shoes, np.arange(60).reshape(-1, 3), np.zeros((2, 2, 3), np.uint8))
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
    with np.load(Path(makehuman_module.__file__).parents[2] / "assets" / "makehuman_landmarks.npz") as stored:
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
    few = replace(base.group("body"), vertices=base.vertices[:50])
    with pytest.raises(InputError, match=r"give MakeHuman's base\.obj"):
        fit_makehuman(few, valid, mediapipe)
    (tmp_path / "mediapipe_landmarks.json").write_text(
        json.dumps({"valid_body": {"triangles": [[0, 1, 2]], "barycentric": [[1.0, 0, 0]]}})
    )
    with pytest.raises(InputError, match="too few landmarks"):
        fit_makehuman(base, valid, tmp_path)


def test_inner_surfaces_are_not_visible_from_outside() -> None:
    outer, inner = (trimesh.creation.icosphere(subdivisions=2, radius=radius) for radius in (1.0, 0.5))
    vertices = np.concatenate([outer.vertices, inner.vertices])
    visible = visible_from_outside(vertices, np.concatenate([outer.faces, inner.faces + len(outer.vertices)]))
    assert visible[: len(outer.vertices)].all()
    assert not visible[len(outer.vertices) :].any()


# Everything together


@pytest.fixture(scope="module")
def assets(sources: tuple[Path, ValidHeads, Path], _own_landmarks: object) -> MakeHuman:
    return MakeHuman.load(*sources, cache=sources[0].parent / "cache.npz")


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
    assets: MakeHuman, sources: tuple[Path, ValidHeads, Path], tmp_path: Path
) -> None:
    folder, valid, mediapipe = sources
    cache = tmp_path / "cache.npz"
    cache.write_bytes((folder.parent / "cache.npz").read_bytes())
    whole = cache.read_bytes()
    again = MakeHuman.load(folder, valid, mediapipe, cache=cache)
    for mine, theirs in (
        (again.hair[0], assets.hair[0]),
        (again.skins[0], assets.skins[0]),
        (again.clothes[0], assets.clothes[0]),
    ):
        for key, value in vars(theirs).items():
            np.testing.assert_array_equal(vars(mine)[key], value, err_msg=key)
    # What the cache says is believed, so it is not made anew.
    with np.load(cache) as stored:
        arrays = dict(stored)
    np.savez(cache, **{**arrays, "hair_0_colours": np.full_like(arrays["hair_0_colours"], 7)})
    assert (MakeHuman.load(folder, valid, mediapipe, cache=cache).hair[0].colours == 7).all()
    # For other targets it is not believed, so that these are read.
    (tmp_path / "nose").mkdir()
    with pytest.raises(InputError, match="holds no targets"):
        MakeHuman.load(folder, valid, mediapipe, tmp_path / "nose", cache)
    # A damaged cache is made anew.
    cache.write_bytes(whole[:2000])
    repaired = MakeHuman.load(folder, valid, mediapipe, cache=cache)
    np.testing.assert_array_equal(repaired.hair[0].colours, assets.hair[0].colours)
    assert len(cache.read_bytes()) == len(whole)


def test_a_folder_without_assets_is_refused(sources: tuple[Path, ValidHeads, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no hair"):
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
    # Half the difference of the sexes, up to the small rigid motion that fits a bump on one side.
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
