"""Expressions on a head: what moves, by how much, on which side; files that others read; tracks that are played."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from blender import targets_in_blender
from browser import targets_in_browser
from protome.asset.tangents import FLAT
from protome.errors import InputError
from protome.geometry.obj import ObjMesh
from protome.topology.animate import animate
from protome.topology.bones import JAW, SKULL, TORSO, Bones
from protome.topology.names import ARKIT
from protome.topology.outputs import template_glb, write_template_obj
from protome.topology.relief import TemplateRelief
from protome.topology.retopologize import RIGGED, gltf_tree, retopologize
from protome.topology.rig import Rig
from protome.topology.rigged import RiggedHead
from protome.topology.template import EYES, Part, Template
from protome.topology.track import Track
from protome.topology.transfer import transferred
from test_topology import as_head

CHIN, UPPER_LIP, LOWER_LIP, RIGHT_CORNER, LEFT_CORNER = 8, 51, 57, 48, 54
RIGHT_BROW, LEFT_BROW = 21, 22
"""Of iBUG's landmarks."""


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig.of(as_head(Template.load(), 1.05))


def moved(rig: Rig, name: str) -> np.ndarray:
    """Return how a target moves the landmarks, (68, 3)."""
    return rig.moves[rig.names.index(name)][rig.head.template.ibug68]


def seen_of_eyes(rig: Rig, weights: dict[str, float]) -> list[int]:
    """Return how many of the rays from the front, a quarter of a millimetre squared each, meet an eyeball first."""
    template = rig.head.template
    x, y = np.meshgrid(np.arange(-60, 60, 0.5), np.arange(-25, 25, 0.5))
    starts = np.stack([x, y, 0 * x + 300], -1).reshape(-1, 3)
    mesh = Trimesh(rig.posed(weights), template.triangles, process=False)
    face = RayMeshIntersector(mesh).intersects_first(starts, np.broadcast_to([0.0, 0.0, -1.0], starts.shape))
    part = template.triangle_part[face[face >= 0]]
    return [int((part == eye).sum()) for eye in EYES]


def image(size: int = 64) -> np.ndarray:
    row, column = np.mgrid[:size, :size] * 255 // size
    return np.stack([row, column, 0 * row + 90], -1).astype(np.uint8)


@pytest.fixture(scope="module")
def file(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rigged")
    (folder / RIGGED).write_bytes(template_glb(rig.head, image(), rig))
    return folder / RIGGED


# Expressions


def test_a_larger_head_moves_in_proportion() -> None:
    template = Template.load()
    skin = template.triangles[template.triangle_part <= Part.LINING]
    moves = np.where(template.has(Part.SKIN, Part.LINING)[:, None], template.moves[[17, 23]], 0)
    found = transferred(template.vertices, moves, 1.2 * template.vertices + [5.0, 0, 0], skin, 1.2)
    np.testing.assert_allclose(found, 1.2 * moves, atol=0.02)


def test_a_rotated_part_stays_rigid() -> None:
    # A patch of the target is stretched; where a source turns as a whole, the target turns as a whole too.
    template = Template.load()
    skin = template.triangles[template.triangle_part <= Part.LINING]
    own = template.has(Part.SKIN, Part.LINING)
    angle = np.radians(10)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    target = template.vertices * [1.1, 0.9, 1.0]
    moves = np.where(own[:, None], template.vertices @ turn.T - template.vertices, 0)[None].astype(np.float32)
    found = target + transferred(template.vertices, moves, target, skin, 1.0)[0]
    wanted = target @ turn.T
    shift = (found - wanted)[own].mean(0)
    assert np.linalg.norm((found - wanted)[own] - shift, axis=1).mean() < 2.0
    edges = skin[:, [0, 1]]
    ratio = np.linalg.norm(found[edges[:, 0]] - found[edges[:, 1]], axis=1)
    ratio /= np.linalg.norm(target[edges[:, 0]] - target[edges[:, 1]], axis=1)
    assert np.abs(np.median(ratio) - 1) < 0.01


def test_jaw_open_lowers_the_chin_and_not_the_nose(rig: Rig) -> None:
    landmarks = moved(rig, "jawOpen")
    assert -45 < landmarks[CHIN, 1] < -12
    assert landmarks[LOWER_LIP, 1] < -10
    assert np.abs(landmarks[UPPER_LIP, 1]) < 3
    assert np.linalg.norm(landmarks[30]) < 1
    lower = rig.head.template.has(Part.LOWER_TEETH)
    row = rig.moves[rig.names.index("jawOpen")]
    assert row[lower, 1].mean() < -8
    assert np.abs(row[rig.head.template.has(Part.UPPER_TEETH)]).max() < 1


def test_left_and_right_are_not_exchanged(rig: Rig) -> None:
    here = rig.head.vertices[:, 0]
    for stem in ("eyeBlink", "mouthSmile", "browDown", "cheekSquint", "noseSneer", "eyeWide", "mouthFrown"):
        for side, sign in (("Left", 1), ("Right", -1)):
            size = np.linalg.norm(rig.moves[rig.names.index(f"{stem}{side}")], axis=1)
            assert size[sign * here > 15].max() > 1, f"{stem}{side}"
            assert size[sign * here < -15].max() < 0.25 * size.max(), f"{stem}{side}"
    assert moved(rig, "jawLeft")[CHIN, 0] > 3
    assert moved(rig, "mouthRight")[UPPER_LIP, 0] < -3


def test_a_smile_lifts_one_corner_of_the_mouth(rig: Rig) -> None:
    landmarks = moved(rig, "mouthSmileLeft")
    assert 3 < landmarks[LEFT_CORNER, 1] < 20
    assert np.linalg.norm(landmarks[RIGHT_CORNER]) < 1.5


def test_inner_brows_rise_on_both_sides(rig: Rig) -> None:
    landmarks = moved(rig, "browInnerUp")
    assert (landmarks[[RIGHT_BROW, LEFT_BROW], 1] > 3).all()


@pytest.mark.parametrize(("number", "side"), [(0, "Left"), (1, "Right")])
def test_a_blink_closes_one_eye_over_its_ball(rig: Rig, number: int, side: str) -> None:
    opened = seen_of_eyes(rig, {})
    closed = seen_of_eyes(rig, {f"eyeBlink{side}": 1.0})
    assert opened[number] > 300
    assert closed[number] < 0.05 * opened[number]
    assert closed[1 - number] == opened[1 - number]
    skin = rig.head.template.has(Part.SKIN)
    for weight in (0.5, 1.0):
        vertices = rig.posed({f"eyeBlink{side}": weight})
        away = vertices - rig.head.eyes.pivots[number]
        before = skin & (away[:, 2] > 0.4 * rig.head.eyes.radii[number])
        assert np.linalg.norm(away[before], axis=1).min() > rig.head.eyes.radii[number] - 0.3


def test_eyes_turn_about_their_middles(rig: Rig) -> None:
    template = rig.head.template
    for number, (side, part, nose) in enumerate((("Left", EYES[0], -1), ("Right", EYES[1], 1))):
        own = template.has(part)
        front = np.flatnonzero(own)[rig.head.vertices[own, 2].argmax()]
        for stem, axis, sign in (("In", 0, nose), ("Out", 0, -nose), ("Up", 1, 1), ("Down", 1, -1)):
            move = rig.moves[rig.names.index(f"eyeLook{stem}{side}")]
            assert sign * move[front, axis] > 3
            turned = (rig.head.vertices + move)[own] - rig.head.eyes.pivots[number]
            np.testing.assert_allclose(np.linalg.norm(turned, axis=1), rig.head.eyes.radii[number], atol=0.02)


# Files


def test_a_rigged_file_is_read_back_as_it_was_posed(rig: Rig, file: Path) -> None:
    head = RiggedHead.load(file)
    assert set(head.moves) == set(ARKIT)
    weights = {"jawOpen": 0.7, "mouthSmileRight": 0.4, "eyeLookUpLeft": 1.0}
    template = rig.head.template
    there = np.unique(np.round(head.posed(weights).vertices, 1), axis=0)
    here = np.unique(np.round(rig.posed(weights), 1), axis=0)
    assert abs(len(there) - len(here)) < 0.01 * len(here)
    np.testing.assert_allclose(there.min(0), here.min(0), atol=0.11)
    np.testing.assert_allclose(there.mean(0), here.mean(0), atol=0.2)
    assert len(head.faces) == len(template.triangles)


def test_bones_carry_the_whole_head_and_the_jaw_turns_as_its_target(rig: Rig, file: Path) -> None:
    bones, template = Bones.of(rig), rig.head.template
    np.testing.assert_allclose(bones.weights.sum(1), 1, atol=1e-6)
    skin = template.has(Part.SKIN)
    top, bottom = rig.head.vertices[skin, 1].argmax(), rig.head.vertices[skin, 1].argmin()
    assert bones.weights[skin][top, SKULL] == 1
    assert bones.weights[skin][bottom, TORSO] == 1
    assert bones.weights[template.ibug68[CHIN], JAW] == pytest.approx(1)
    assert bones.weights[template.ibug68[:48][27:], JAW].max() < 0.15  # nose and eyes
    # Turned about its hinges by the angle of its target, the jaw bone takes the lower lip where the target does.
    hinge, move = bones.places[JAW], rig.moves[rig.names.index("jawOpen")]
    arm, chin = rig.head.vertices[template.ibug68[CHIN]] - hinge, move[template.ibug68[CHIN]]
    angle = np.arctan2(arm[2], arm[1]) - np.arctan2(*(arm + chin)[[2, 1]])
    lip = template.ibug68[LOWER_LIP]
    turned = Rotation.from_rotvec([-angle, 0, 0]).apply(rig.head.vertices[lip] - hinge) + hinge
    moved = rig.head.vertices[lip] + move[lip]
    assert np.linalg.norm(turned - moved) < 0.3 * np.linalg.norm(move[lip])
    tree = gltf_tree(file)
    names = [tree["nodes"][joint]["name"] for joint in tree["skins"][0]["joints"]]
    assert names == ["torso", "neck", "skull", "jaw"]
    skull = tree["nodes"][tree["skins"][0]["joints"][SKULL]]
    assert {"eye_left", "eye_right", "jaw"} == {tree["nodes"][child]["name"] for child in skull["children"]}


def test_a_lit_variant_has_the_normal_map(rig: Rig, tmp_path: Path) -> None:
    flat = np.full((32, 32, 3), FLAT)
    tangents = np.tile(np.array([1, 0, 0, 1], np.float32), (len(rig.head.template.uv), 1))
    relief = TemplateRelief(flat, tangents)
    (tmp_path / RIGGED).write_bytes(template_glb(rig.head, image(), rig, True, relief))
    tree = gltf_tree(tmp_path / RIGGED)
    unlit, lit = tree["materials"]
    assert "KHR_materials_unlit" in unlit["extensions"]
    assert lit["normalTexture"] == {"index": 1}
    assert tree["images"][1]["mimeType"] == "image/png"
    assert all("TANGENT" in mesh["primitives"][0]["attributes"] for mesh in tree["meshes"])
    (tmp_path / RIGGED).write_bytes(template_glb(rig.head, image(), rig, False, relief))
    (only,) = gltf_tree(tmp_path / RIGGED)["materials"]
    assert only["normalTexture"] == {"index": 1}


def test_an_obj_keeps_the_quads_and_the_groups(rig: Rig, tmp_path: Path) -> None:
    write_template_obj(tmp_path / "head.obj", rig.head, image())
    again = ObjMesh.load(tmp_path / "head.obj")
    np.testing.assert_allclose(again.vertices, rig.head.vertices, atol=1e-4)
    assert sorted(map(tuple, again.polygons.tolist())) == sorted(map(tuple, rig.head.template.polygons.tolist()))
    assert set(again.polygon_groups) == {
        "skin", "lining", "teeth_upper", "teeth_lower", "tongue", "eye_left", "eye_right", "hair"
    }  # fmt: skip
    assert np.asarray(Image.open(tmp_path / "head.png")).shape == (64, 64, 3)


def test_blender_shows_the_targets_by_name(rig: Rig, file: Path) -> None:
    found = targets_in_blender(file, "jawOpen")
    assert set(found["skin"]["names"]) == {"Basis", *ARKIT}
    assert set(found["eye_left"]["names"]) == {
        "Basis", "eyeLookUpLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft"
    }  # fmt: skip
    largest = np.linalg.norm(rig.moves[rig.names.index("jawOpen")], axis=1).max()
    np.testing.assert_allclose(1000 * found["skin"]["largest"], largest, rtol=0.02)
    np.testing.assert_allclose(1000 * found["eye_left"]["origin"][0], rig.head.eyes.pivots[0, 0], atol=0.01)


def test_three_js_shows_the_targets_by_name(rig: Rig, file: Path, tmp_path: Path) -> None:
    found = targets_in_browser(file, "jawOpen", tmp_path)
    assert set(found["skin"]["names"]) == set(ARKIT)
    largest = np.linalg.norm(rig.moves[rig.names.index("jawOpen")], axis=1).max()
    np.testing.assert_allclose(1000 * found["skin"]["largest"], largest, rtol=0.02)


def test_a_folder_that_is_no_result_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reconstruct with --formats glb"):
        retopologize(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        retopologize(tmp_path / "missing")
    with pytest.raises(InputError, match="protome retopologize"):
        RiggedHead.load(tmp_path)


def test_a_file_without_targets_is_refused(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "plain.glb").write_bytes(template_glb(rig.head, image()))
    with pytest.raises(InputError, match="no morph targets"):
        RiggedHead.load(tmp_path / "plain.glb")
    (tmp_path / "text.glb").write_text("no GLB")
    with pytest.raises(InputError, match="cannot be read as a GLB file"):
        RiggedHead.load(tmp_path / "text.glb")


# Tracks


def test_a_csv_of_live_link_face_is_read_column_by_column(tmp_path: Path) -> None:
    titles = ["Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in ARKIT), "HeadYaw"]
    values = np.round(np.random.default_rng(0).random((3, 52)), 4)
    lines = [",".join(titles)]
    lines += [",".join(["00:00:01:02.000", "61", *map(str, row), "0.3"]) for row in values]
    (tmp_path / "take.csv").write_text("\n".join(lines) + "\n")
    track = Track.load(tmp_path / "take.csv")
    assert track.fps == 60
    np.testing.assert_allclose(track.weights, values)
    assert track.frame(1)["jawOpen"] == values[1, ARKIT.index("jawOpen")]


def test_json_frames_name_what_moves(tmp_path: Path) -> None:
    frames = [{}, {"jawOpen": 0.5}, {"JawOpen": 2.0, "tongueOut": -1}]
    (tmp_path / "take.json").write_text(json.dumps({"fps": 25, "frames": frames}))
    track = Track.load(tmp_path / "take.json")
    assert track.fps == 25
    assert track.weights[:, ARKIT.index("jawOpen")].tolist() == [0, 0.5, 1]
    assert track.weights[2, ARKIT.index("tongueOut")] == 0
    (tmp_path / "list.json").write_text(json.dumps(frames))
    assert Track.load(tmp_path / "list.json").fps == 30


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("take.txt", "", "neither CSV nor JSON"),
        ("take.csv", "a,b\n1,2\n", "none of ARKit's coefficients"),
        ("take.csv", "JawOpen\n", "holds no frames"),
        ("take.csv", "JawOpen\nwide\n", "'wide' as a strength in line 2"),
        ("take.json", "{", "no JSON"),
        ("take.json", "3", "no list of frames"),
        ("take.json", '[{"jaw": 1}]', "names jaw in frame 1"),
        ("take.json", '[{"jawOpen": null}]', "None as a strength in frame 1"),
        ("take.json", '{"fps": 0, "frames": [{}]}', "0 frames per second"),
    ],
)
def test_a_bad_track_is_one_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=sentence):
        Track.load(tmp_path / name)


def test_a_missing_track_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Track.load(tmp_path / "none.csv")


def test_a_clip_has_the_tracks_frames_and_only_what_moves_changes(file: Path, tmp_path: Path) -> None:
    (tmp_path / "take.json").write_text(json.dumps({"fps": 10, "frames": [{}, {"jawOpen": 1}, {}]}))
    animate(file, tmp_path / "take.json", tmp_path / "clip.gif", size=128, quiet=True)
    with Image.open(tmp_path / "clip.gif") as clip:
        assert clip.info["duration"] == 100
        pictures = []
        for number in range(getattr(clip, "n_frames", 1)):
            clip.seek(number)
            pictures.append(np.asarray(clip.convert("RGB"), np.float64))
    assert len(pictures) == 3
    assert np.abs(pictures[0] - pictures[2]).max() == 0
    changed = np.abs(pictures[0] - pictures[1]).max(2) > 30
    rows = np.flatnonzero(changed.any(1))
    assert len(rows) > 5
    assert rows.min() > 0.45 * 128  # from the mouth down


def test_a_clip_is_a_video(file: Path, tmp_path: Path) -> None:
    (tmp_path / "take.json").write_text("[{}]")
    with pytest.raises(InputError, match=r"use one of \.mp4, \.gif"):
        animate(file, tmp_path / "take.json", tmp_path / "clip.png", quiet=True)
    with pytest.raises(InputError, match="even number"):
        animate(file, tmp_path / "take.json", tmp_path / "clip.gif", size=65, quiet=True)
