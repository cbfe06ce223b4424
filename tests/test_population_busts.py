"""Busts cut out of published avatars: the compressed streams, the skeleton, and the cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from busts import BODY, COLUMNS, LANDMARKS
from protome.errors import InputError
from protome.face import LANDMARK_NAMES
from protome.population.sources.busts import ARM_DEG, SHOULDER_DEG, Layout, cut_busts
from protome.population.sources.gltf import Glb
from protome.population.sources.meshopt import (
    DecodeError,
    decode_attributes,
    decode_exponential,
    decode_indices,
    decode_triangles,
)  # fmt: skip
from protome.population.sources.valid import EYE_CORNERS, ValidHeads
from published import JOINTS, Piece, packed_attributes, packed_triangles, write_published

# The streams. Those in hexadecimal were written by meshoptimizer's own encoder (0.2.30a0 on PyPI).


def _columns() -> np.ndarray:
    i = np.arange(40)
    still, small = np.where(i < 20, 7, 9), np.cumsum(i % 3 - 1)
    larger, wild = np.cumsum(np.where(i % 9 == 4, 60, i % 5 - 2)), i * i * 37
    return (np.stack([still, small, larger, wild], 1) % 256).astype(np.uint8)


ATTRIBUTES = bytes.fromhex(
    "a00400c0000004150924924924924924924900001a0102f31024310f437878102431f24310243f78782f4b00000403041f004ade8d06"
    "9ad13d56ea8112a6c53162f6751eb2b9256efd692abead197af15dffff000036caa10d86e55142000000000000000000000000000000"
    "0000000000000000000000000007fffe00"
)
TRIANGLES = bytes.fromhex(
    "e1fefefefefefefefefefefefefffffffffffffffffefefefef00a1f022f022f02f504f502f502f002f604f602f602f002ff190209ff"
    "0a0209ff0a0209ff0a0209f90c02f80002f70002f8000206615151007687566778a9866589689801690000"
)
SHUFFLED = bytes.fromhex(
    "e1feffffffffffe6feffffdfffcffffeffdfffffcfcffeffcff00aff060a073f0307ff1a0209ff0d0a07ff0e0a07f419ff120a07ff05"
    "02091a5f150203d610d3ff030a0703ff1002095f0d020312c3fe050a0b007687566778a9866589689801690000"
)
INDICES = bytes.fromhex("d1a11f8c020916091609160916091600000000")


def test_attributes_are_what_the_reference_encoder_was_given() -> None:
    assert np.array_equal(decode_attributes(ATTRIBUTES, 40, 4), _columns())


def _grid() -> np.ndarray:
    corner = np.arange(20).reshape(4, 5)
    upper = np.stack([corner[:-1, :-1], corner[1:, :-1], corner[:-1, 1:]], -1).reshape(-1, 3)
    lower = np.stack([corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]], -1).reshape(-1, 3)
    return np.concatenate([upper, lower])


def _from_least(faces: np.ndarray) -> list[list[int]]:
    """Return triangles whose least corner comes first: the format does not keep where a triangle begins."""
    return [np.roll(row, -int(row.argmin())).tolist() for row in faces]


@pytest.mark.parametrize(("stream", "order"), [(TRIANGLES, np.arange(24)), (SHUFFLED, np.arange(24) * 7 % 24)])
def test_triangles_are_what_the_reference_encoder_was_given(stream: bytes, order: np.ndarray) -> None:
    assert _from_least(decode_triangles(stream, 72)) == _from_least(_grid()[order])


def test_indices_are_what_the_reference_encoder_was_given() -> None:
    i = np.arange(12)
    assert decode_indices(INDICES, 12).tolist() == np.where(i % 2 == 0, 1000 + i, 70 - 3 * i).tolist()


@pytest.mark.parametrize(("count", "stride"), [(1, 4), (16, 8), (257, 12), (3000, 16)])
def test_attributes_of_any_size_come_back(count: int, stride: int) -> None:
    rows = np.random.default_rng(count).integers(0, 256, (count, stride)).astype(np.uint8)
    assert np.array_equal(decode_attributes(packed_attributes(rows), count, stride), rows)


def test_triangles_coded_corner_by_corner_come_back() -> None:
    faces = np.random.default_rng(0).integers(0, 90_000, (200, 3))
    assert np.array_equal(decode_triangles(packed_triangles(faces), faces.size), faces)


def test_exponents_and_mantissas_become_numbers() -> None:
    packed = np.array([[(3 & 0xFF) << 24 | 5], [(-2 & 0xFF) << 24 | (-7 & 0xFFFFFF)]], "<u4").view(np.uint8)
    assert decode_exponential(packed).tolist() == [[40.0], [-1.75]]


def test_broken_streams_are_refused() -> None:
    for stream in (b"", b"\xa1" + ATTRIBUTES[1:], ATTRIBUTES[:60], ATTRIBUTES + b"\0"):
        with pytest.raises(DecodeError):
            decode_attributes(stream, 40, 4)
    for stream in (b"", b"\xe0" + TRIANGLES[1:], TRIANGLES[:60], TRIANGLES + b"\0"):
        with pytest.raises(DecodeError):
            decode_triangles(stream, 72)
    for stream in (b"", b"\xd0" + INDICES[1:], INDICES[:-6]):
        with pytest.raises(DecodeError):
            decode_indices(stream, 12)


# The cut.

PLACE = np.array([0.0, 1.62, 0.1])
"""Where the head frame's origin lies in a published scene, metres."""
LAST = 58
"""The last row of the body's vertices that the bust keeps; the cut is halfway to the next."""
NAMES = ("Asian_F_1_Busi", "Black_M_2_Casual", "White_M_1_Casual")
SKIN, HAIR = (210, 160, 130), (60, 40, 20)


def _layout() -> Layout:
    whole = (LAST + 1) * (COLUMNS + 1)
    rim = (BODY.uv[whole - COLUMNS - 1 : whole] + BODY.uv[whole : whole + COLUMNS + 1]) / 2
    faces = BODY.faces[(BODY.faces < whole + COLUMNS + 1).all(1)]
    return Layout(np.concatenate([BODY.uv[:whole], rim]), faces, BODY.weld[: whole + COLUMNS + 1], LANDMARKS, NAMES)


def _joint(points: np.ndarray) -> np.ndarray:
    names = list(JOINTS)
    found = np.full(len(points), names.index("Hips"))
    for side, sign in (("Left", 1), ("Right", -1)):
        low = points[:, 1] < -0.17
        found[low & (sign * points[:, 0] > 0.03)] = names.index(f"{side}Shoulder")
        found[low & (sign * points[:, 0] > 0.08)] = names.index(f"{side}Arm")
    return found


def _person(wider: float) -> np.ndarray:
    return BODY.vertices * [wider, 1.0, 1.0]


def _pieces(wider: float, wig: bool) -> dict[str, Piece]:
    order = np.random.default_rng(int(100 * wider)).permutation(len(BODY.vertices))
    back = np.argsort(order)
    person = _person(wider)
    pieces = {
        "H_DDS_HighRes": Piece(
            person[order] + PLACE, back[BODY.faces][:, [1, 2, 0]], BODY.uv[order], _joint(person)[order], SKIN
        )
    }
    ball = trimesh.creation.icosphere(subdivisions=1, radius=0.012)
    flat = np.full((len(ball.vertices), 2), 0.25)
    still = np.zeros(len(ball.vertices), int)
    for name, x in (("h_L_eye", 0.03), ("h_R_eye", -0.03), ("h_TeethUp", 0.0)):
        pieces[name] = Piece(ball.vertices + (PLACE + np.array([x, 0.0, 0.0])), ball.faces, flat, still, (255, 0, 255))
    if wig:
        pieces["h_wig"] = Piece(5 * ball.vertices + PLACE, ball.faces, flat, still, HAIR)
    return pieces


@pytest.fixture(scope="module")
def avatars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("avatars")
    for name, wider in zip(NAMES, (1.0, 1.1, 0.9), strict=True):
        group = name.split("_")[0]
        write_published(root / "avatars" / group / f"{name}.glb", _pieces(wider, name == "Asian_F_1_Busi"))
    return root


@pytest.fixture(scope="module")
def heads(avatars: Path, tmp_path_factory: pytest.TempPathFactory) -> ValidHeads:
    out = tmp_path_factory.mktemp("cut") / "valid"
    return ValidHeads(cut_busts(avatars, out, layout=_layout(), quiet=True))


def _bust(person: np.ndarray) -> np.ndarray:
    """Return the bust of a whole body, its origin between the eyes."""
    whole = (LAST + 1) * (COLUMNS + 1)
    rim = (person[whole - COLUMNS - 1 : whole] + person[whole : whole + COLUMNS + 1]) / 2
    return np.concatenate([person[:whole], rim])


def test_a_cut_bust_is_the_body_with_its_arms_down(heads: ValidHeads) -> None:
    assert heads.names == NAMES
    joints = {name: np.array(place) - PLACE for name, (_, place) in JOINTS.items()}
    for name, wider in zip(NAMES, (1.0, 1.1, 0.9), strict=True):
        down, joint = _person(wider), _joint(_person(wider))
        for side, sign in (("Left", -1), ("Right", 1)):
            first, both = (
                Rotation.from_euler("z", sign * angle, degrees=True) for angle in (SHOULDER_DEG, SHOULDER_DEG + ARM_DEG)
            )
            shoulder, arm = joints[f"{side}Shoulder"], joints[f"{side}Arm"]
            for part, turn, pivot, place in (
                (f"{side}Shoulder", first, shoulder, shoulder),
                (f"{side}Arm", both, arm, shoulder + first.apply(arm - shoulder)),
            ):
                chosen = joint == list(JOINTS).index(part)
                assert chosen.any()
                down[chosen] = place + turn.apply(_person(wider)[chosen] - pivot)
        wanted = _bust(down)
        wanted = wanted - wanted[[LANDMARKS[key] for key in EYE_CORNERS]].mean(0)
        away, whole = np.abs(heads.body(name) - wanted), (LAST + 1) * (COLUMNS + 1)
        # Places are whole numbers of a 65,534th of the box. On the cut, so are shares of triangles, 64 times as coarse.
        assert away[:whole].max() < 2e-5
        assert away[whole:].max() < 6e-5


def test_a_cut_bust_has_its_colours_and_small_parts(heads: ValidHeads) -> None:
    avatar = heads.avatar("Asian_F_1_Busi")
    assert np.abs(avatar.body.texture.reshape(-1, 3) - np.array(SKIN)).max() == 0
    assert avatar.body.texture.shape == (1024, 1024, 3)
    assert np.allclose(avatar.body.uv, np.stack([_layout().uv[:, 0], 1 - _layout().uv[:, 1]], 1), atol=1e-6)
    assert len(avatar.small) == 2
    left, right = (part.vertices.mean(0) for part in avatar.small)
    origin = _person(1.0)[[LANDMARKS[key] for key in EYE_CORNERS]].mean(0)
    assert np.allclose(left, np.array([0.03, 0, 0]) - origin, atol=2e-5)
    assert np.allclose(right, np.array([-0.03, 0, 0]) - origin, atol=2e-5)
    assert avatar.wig is not None
    assert np.abs(avatar.wig.texture.reshape(-1, 3) - np.array(HAIR)).max() == 0
    assert [heads.is_bald(name) for name in NAMES] == [True, True, False]
    assert [heads.wears_wig(name) for name in NAMES] == [True, False, False]


def test_avatars_that_cannot_be_cut_are_named(avatars: Path, tmp_path: Path) -> None:
    more = Layout(_layout().uv, _layout().faces, _layout().weld, LANDMARKS, (*NAMES, "White_F_3_Busi"))
    with pytest.raises(InputError, match=r"lacks White_F_3_Busi\.glb and 0 more of 4 avatars: give a clone"):
        cut_busts(avatars, tmp_path / "out", layout=more, quiet=True)
    elsewhere = Layout(_layout().uv + 3.0, _layout().faces, _layout().weld, LANDMARKS, NAMES)
    with pytest.raises(InputError, match=r"Asian_F_1_Busi\.glb is another body \(nothing of it lies at"):
        cut_busts(avatars, tmp_path / "out", layout=elsewhere, quiet=True)
    torn = tmp_path / "torn.glb"
    torn.write_bytes((avatars / "avatars/Asian/Asian_F_1_Busi.glb").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"torn\.glb is no complete binary glTF 2\.0 file"):
        Glb(torn)
    with pytest.raises(InputError, match="has no node LeftArmpit: give the avatars as they were published"):
        Glb(avatars / "avatars/Asian/Asian_F_1_Busi.glb").node("LeftArmpit")


def test_a_mesh_that_its_file_has_no_room_for_is_refused(avatars: Path) -> None:
    avatar = Glb(avatars / "avatars/Asian/Asian_F_1_Busi.glb")
    avatar.tree["accessors"][0]["count"] += 1000
    with pytest.raises(InputError, match="ends before its last mesh: get it again from its source"):
        avatar.array(0)


def test_a_layout_taken_from_busts_is_the_one_that_they_were_cut_with(heads: ValidHeads) -> None:
    taken, wanted = Layout.of(heads), _layout()
    assert np.allclose(taken.uv, wanted.uv, atol=1e-7)
    assert np.array_equal(taken.faces, wanted.faces)
    assert np.array_equal(taken.weld, wanted.weld)
    assert (taken.landmarks, taken.names) == (wanted.landmarks, wanted.names)


def test_the_packaged_layout_is_one_bust() -> None:
    layout = Layout.load()
    assert len(layout.uv) == len(layout.weld) == layout.faces.max() + 1 == 9534
    assert set(EYE_CORNERS) | set(LANDMARK_NAMES) <= set(layout.landmarks)
    assert len(layout.names) == len(set(layout.names)) == 68
    # What is left after seams are merged is one sheet.
    assert (layout.weld[layout.weld] == layout.weld).all()
    ends = layout.weld[layout.faces]
    links = coo_matrix((np.ones(ends.size), (ends.ravel(), np.roll(ends, 1, 1).ravel())), (len(layout.uv),) * 2)
    part = connected_components(links, directed=False)[1]
    assert len(np.unique(part[ends])) == 1
