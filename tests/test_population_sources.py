"""The sources of training heads: VALID busts and the ICT face model, read from small folders made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from busts import (
    BODY,
    BUSTS,
    COARSE,
    LANDMARKS,
    MODES,
    ROWS,
    SHIFT,
    TURN,
    UNITS,
    WIG_VERTICES,
    ict_mode,
    ict_move,
    ict_place,
    write_ict,
    write_valid,
)  # fmt: skip
from protome.errors import InputError
from protome.morphable import ict_files
from protome.morphable.ict_files import IctModel
from protome.population.sources.valid import HOLDOUT_VALID, ValidHeads, identity

BY_NAME = {bust.name: bust for bust in BUSTS}


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> ValidHeads:
    return ValidHeads(write_valid(tmp_path_factory.mktemp("sources") / "valid"))


# VALID


def test_the_identity_is_the_name_without_the_outfit() -> None:
    assert identity("White_M_2_Casual") == "White_M_2"
    assert identity("X_AIAN_F_1_Busi") == "X_AIAN_F_1"


def test_holdouts_and_training_people_share_nobody(valid: ValidHeads) -> None:
    assert valid.names == tuple(BY_NAME)
    assert valid.holdout_names == ("Black_F_1_Casual", "White_M_2_Casual")
    assert valid.training_names == ("Asian_F_1_Busi", "Black_M_3_Casual", "MENA_M_3_Casual", "White_M_1_Casual")
    # Real folders have every held-out person in several outfits: all of them are held out.
    assert all(identity(name) in HOLDOUT_VALID for name in valid.holdout_names)
    assert not {identity(name) for name in valid.training_names} & set(HOLDOUT_VALID)


def test_bodies_have_their_arms_down_and_the_mean_is_of_training_people(valid: ValidHeads) -> None:
    for name, bust in BY_NAME.items():
        np.testing.assert_allclose(valid.body(name), bust.vertices, atol=1e-7)
    # The traits of the training people add up to zero; the held-out ones are far away.
    np.testing.assert_allclose(valid.mean, BODY.vertices, atol=1e-7)
    assert np.array_equal(valid.faces, BODY.faces)
    assert np.array_equal(valid.weld, BODY.weld)
    assert valid.landmarks == LANDMARKS
    # Copies at the seam lie where what they stand for lies.
    np.testing.assert_array_equal(valid.mean[valid.weld], valid.mean)


def test_an_avatar_has_its_parts_and_its_hair(valid: ValidHeads) -> None:
    wearer = valid.avatar("Asian_F_1_Busi")
    np.testing.assert_allclose(wearer.body.vertices, BY_NAME["Asian_F_1_Busi"].vertices, atol=1e-7)
    assert np.array_equal(wearer.body.faces, BODY.faces)
    np.testing.assert_allclose(wearer.body.uv, BODY.uv, atol=1e-6)
    assert (wearer.body.texture == BY_NAME["Asian_F_1_Busi"].skin).all()
    assert wearer.body.texture.shape == (ROWS, ROWS, 3)
    left, right = wearer.small
    np.testing.assert_allclose([left.vertices.mean(0)[0], right.vertices.mean(0)[0]], [0.03, -0.03], atol=1e-7)
    assert wearer.wig is not None
    assert len(wearer.wig.vertices) == WIG_VERTICES
    bald, haired = valid.avatar("Black_M_3_Casual"), valid.avatar("White_M_1_Casual")
    assert bald.wig is haired.wig is None
    assert [wearer.bald, bald.bald, haired.bald] == [True, True, False]
    assert [valid.wears_wig(name) for name in (wearer.name, bald.name, haired.name)] == [True, False, False]
    # The crown is the first row of the texture and v = 1: hair, where it is painted; the chest is skin.
    crown, chest = haired.body.texture[0], haired.body.texture[-1]
    assert (crown == (30, 20, 15)).all()
    assert (chest == BY_NAME["White_M_1_Casual"].skin).all()


@pytest.mark.parametrize("missing", ["bodies.npz", "landmarks.json", "index.json"])
def test_a_file_that_the_valid_folder_lacks_is_named(tmp_path: Path, missing: str) -> None:
    folder = write_valid(tmp_path / "valid")
    (folder / missing).unlink()
    with pytest.raises(
        InputError, match=rf'valid has no {missing}: give the folder that "protome population busts" wrote'
    ):
        ValidHeads(folder)


# ICT


def test_the_packed_model_is_metres_and_triangles(tmp_path: Path) -> None:
    model = IctModel.load(write_ict(tmp_path / "ict", COARSE))
    places = ict_place(COARSE.vertices) @ TURN.T + SHIFT
    np.testing.assert_allclose(model.neutral, places, atol=1e-12)
    assert model.identity.shape == (MODES, len(places), 3)
    for number in range(MODES):
        np.testing.assert_allclose(model.identity[number], ict_mode(number, places), atol=1e-12)
    assert model.expression_names == UNITS
    np.testing.assert_allclose(model.expression[3], ict_move(UNITS[3], places), atol=1e-12)
    # Quads fall into two triangles each, in their own order; the crown's are triangles already.
    assert {*map(tuple, model.triangles.tolist())} == {*map(tuple, COARSE.faces.tolist())}
    assert len(model.triangles) == len(COARSE.faces)


def test_upstreams_own_folder_gives_the_same_model(tmp_path: Path) -> None:
    packed = IctModel.load(write_ict(tmp_path / "packed", COARSE))
    upstream = write_ict(tmp_path / "upstream", COARSE, upstream=True)
    # The repository, or its folder FaceXModel.
    for folder in (upstream, upstream / "FaceXModel"):
        model = IctModel.load(folder)
        assert model.expression_names == packed.expression_names
        assert np.array_equal(model.triangles, packed.triangles)
        for key in ("neutral", "identity", "expression"):
            np.testing.assert_allclose(getattr(model, key), getattr(packed, key), atol=1e-10, err_msg=key)


@pytest.mark.parametrize("upstream", [False, True])
def test_what_follows_the_surface_of_the_head_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: bool
) -> None:
    plain = IctModel.load(write_ict(tmp_path / "plain", COARSE, upstream))
    folder = write_ict(tmp_path / "full", COARSE, upstream, insides=7)
    assert len(IctModel.load(folder).neutral) == len(plain.neutral) + 7
    monkeypatch.setattr(ict_files, "ICT_HEAD", len(plain.neutral))
    head = IctModel.load(folder)
    for key in ("neutral", "triangles", "identity", "expression"):
        assert np.array_equal(getattr(head, key), getattr(plain, key)), key


def test_folders_without_the_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        IctModel.load(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds neither ict_facekit.npz nor generic_neutral_mesh.obj: give ICT-FaceKit's FaceXModel folder"
    )
    folder = write_ict(tmp_path / "ict", COARSE, upstream=True) / "FaceXModel"
    for path in folder.glob("identity*"):
        path.unlink()
    with pytest.raises(InputError, match=r"FaceXModel has no identity000\.obj: give ICT-FaceKit's whole"):
        IctModel.load(folder)


def test_a_model_without_expressions_is_a_model(tmp_path: Path) -> None:
    folder = write_ict(tmp_path / "ict", COARSE, upstream=True) / "FaceXModel"
    for name in UNITS:
        next(folder.glob(f"{name}.obj*")).unlink()
    model = IctModel.load(folder)
    assert model.expression_names == ()
    assert model.expression.shape == (0, *model.neutral.shape)
    assert model.identity.shape == (MODES, *model.neutral.shape)


def test_the_index_names_files_and_not_avatars(tmp_path: Path) -> None:
    folder = write_valid(tmp_path / "valid")
    listing = json.loads((folder / "index.json").read_text())
    for row in listing["files"]:
        row["hair"]["geometry"] = "none"
    (folder / "index.json").write_text(json.dumps(listing))
    assert all(ValidHeads(folder).is_bald(name) for name in BY_NAME)
