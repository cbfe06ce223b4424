"""People in several expressions: what moves, what keeps still, left and right, and what is stored about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import busts
from busts import UNITS, write_ict, write_mediapipe, write_valid
from protome.errors import InputError
from protome.population import build
from protome.population.build import Sources, expressive_records
from protome.population.character import CLEARANCE_M, Characters
from protome.population.compose import Composer
from protome.population.expressions import (
    MEASURED,
    draw_expressive,
    draw_familiar,
    expression_units,
    named_weights,
)  # fmt: skip
from protome.population.latent_init import LatentInit
from protome.population.lids import LARGEST_GAIN, Lids
from protome.population.portraits.places import fitted_sphere
from protome.population.store import EXPRESSIVE, Population, shard_path
from protome.population.surface import OuterSurface
from test_population_build import InProcess

ICT_UNITS = (
    *("PupilDilate_L", "browDown_L", "browDown_R", "cheekPuff_L", "cheekPuff_R", "eyeBlink_L", "eyeBlink_R"),
    *("jawOpen", "mouthClose", "mouthLeft", "mouthSmile_L", "mouthSmile_R"),
)


def _move(name: str, places: np.ndarray) -> np.ndarray:
    """Return an expression that is known: the jaw sinks below the mouth, a unit of a side moves that side's cheek."""
    own = (places - busts.SHIFT) @ busts.TURN
    x, y, z = own.T
    front = np.clip((z + 0.06) / 0.03, 0, 1)
    if name == "jawOpen":
        moved = np.clip((-0.05 - y) / 0.02, 0, 1) * np.clip((y + 0.15) / 0.03, 0, 1) * front
        return 0.02 * moved[:, None] * (busts.TURN @ [0, -1.0, 0])
    if name.endswith(("_L", "_R")):
        side = 1 if name.endswith("_L") else -1
        return 0.01 * (np.clip(side * x / 0.02, 0, 1) * front)[:, None] * (busts.TURN @ [0, 0, 1.0])
    return np.zeros_like(places)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(busts, "ict_move", _move)
        return {
            "valid": write_valid(root / "valid"),
            "ict": write_ict(root / "ict"),
            "tables": write_mediapipe(root / "mediapipe"),
        }


@pytest.fixture(scope="module")
def characters(folders: dict[str, Path]) -> Characters:
    return Characters(Sources(folders["valid"], folders["ict"], tables=folders["tables"]).composer())


def _weights(characters: Characters, **given: float) -> np.ndarray:
    return named_weights(characters.units, given)


def test_the_open_jaw_sinks_and_the_forehead_keeps_still(characters: Characters) -> None:
    who = characters.draw(np.random.default_rng(0))
    closed, opened = (characters.head(who, _weights(characters, jawOpen=w)) for w in (0.0, 1.0))
    moved = opened.parts[0].vertices - closed.parts[0].vertices
    template = characters.composer.template
    chin = (np.abs(template[:, 0]) < 0.02) & (np.abs(template[:, 1] + 0.085) < 0.01) & (template[:, 2] > -0.05)
    assert chin.any()
    assert moved[chin, 1].max() < -0.012
    assert np.abs(moved[template[:, 1] > 0.02]).max() < 1e-4
    # Eyes and hair are those of the neutral head; teeth and throat come behind them.
    count = len(closed.parts)
    for before, after in zip(closed.parts[1:], opened.parts[1:count], strict=True):
        np.testing.assert_array_equal(before.vertices, after.vertices)
    assert len(opened.parts) > count
    assert opened.landmarks[2] == pytest.approx(closed.landmarks[2], abs=1e-3)


def test_left_and_right_are_not_exchanged(characters: Characters) -> None:
    who = characters.draw(np.random.default_rng(1))
    neutral = characters.head(who, _weights(characters)).parts[0].vertices
    x = characters.composer.template[:, 0]
    for unit, side in (("mouthSmile_L", 1), ("mouthSmile_R", -1)):
        moved = np.linalg.norm(
            characters.head(who, _weights(characters, **{unit: 1.0})).parts[0].vertices - neutral, axis=1
        )
        assert moved[side * x > 0.03].max() > 0.005
        assert moved[side * x < -0.005].max() < 5e-4


def test_samples_of_an_expression_lie_where_its_units_move_them(characters: Characters) -> None:
    who = characters.draw(np.random.default_rng(2), pure=True)
    rng = np.random.default_rng(0)
    neutral = OuterSurface(characters.head(who, _weights(characters)), rng, 12)
    surfaces = [neutral, OuterSurface(characters.head(who, _weights(characters, jawOpen=1.0)), rng, 12, neutral)]
    low = []
    for surface in surfaces:
        found = surface.samples(4000, 12)
        at = found.registered & (np.abs(found.template[:, 1] + 0.085) < 0.006) & (found.template[:, 2] > -0.04)
        low.append(found.points[at, 1].mean())
        forehead = found.registered & (np.abs(found.template[:, 1] - 0.05) < 0.01) & (found.template[:, 2] > -0.04)
        assert forehead.any()
        low.append(found.points[forehead, 1].mean())
    assert low[2] - low[0] < -0.012
    assert low[3] - low[1] == pytest.approx(0, abs=2e-3)


def test_a_surface_beside_its_neutral_one_is_as_one_by_itself(characters: Characters) -> None:
    who = characters.draw(np.random.default_rng(5), pure=True)
    head = characters.head(who, _weights(characters, jawOpen=0.6))
    neutral = OuterSurface(characters.head(who, _weights(characters)), np.random.default_rng(0), 24)
    alone, beside = (
        OuterSurface(head, np.random.default_rng(1), 24),
        OuterSurface(head, np.random.default_rng(1), 24, neutral),
    )
    areas = alone.mesh.area_faces
    assert areas[alone.front != beside.front].sum() < 0.02 * areas[alone.front].sum()


def test_a_blink_is_strengthened_until_the_lids_meet() -> None:
    radius, centre = 0.012, np.array([0.03, 0.0, -0.01])
    azimuth, elevation = np.meshgrid(np.linspace(-0.9, 0.9, 19), np.r_[-0.9:-0.2:15j, 0.3:1.0:15j])

    def skin(turned: np.ndarray) -> np.ndarray:
        away = np.stack([np.cos(turned) * np.sin(azimuth), np.sin(turned), np.cos(turned) * np.cos(azimuth)], -1)
        return (centre + (radius + 0.001) * away).reshape(-1, 3)

    polar, around = np.meshgrid(np.linspace(0.1, 3.0, 20), np.linspace(0, 6, 30))
    ball = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)], -1).reshape(-1, 3)
    eye = centre + radius * ball
    body = skin(elevation)
    lids = Lids.of(body, body, [eye])
    assert len(lids.upper[0]) == len(lids.lower[0]) > 4
    assert body[lids.upper[0], 1] == pytest.approx((radius + 0.001) * np.sin(0.3), rel=1e-6)
    assert body[lids.lower[0], 1] == pytest.approx(-(radius + 0.001) * np.sin(0.2), rel=1e-6)
    # The upper lid falls by 0.45 of the 0.5 radians that the eye is open.
    blink = skin(np.where(elevation > 0, elevation - 0.45, elevation)) - body
    assert lids.gain(body, blink, eye) == pytest.approx(1.06 * 0.5 / 0.45, rel=1e-3)
    assert lids.gain(body, 1.5 * blink, eye) == 1
    assert lids.gain(body, 0.1 * blink, eye) == LARGEST_GAIN


def test_moving_skin_stays_before_the_eyeballs(characters: Characters, monkeypatch: pytest.MonkeyPatch) -> None:
    inwards = np.zeros_like(characters.modes)
    inwards[characters.units.index("jawOpen"), :, 2] = -0.004
    who = characters.draw(np.random.default_rng(3), pure=True)

    def nearest(lifted: bool) -> float:
        with monkeypatch.context() as patch:
            patch.setattr(characters, "modes", inwards)
            if not lifted:
                patch.setattr(characters, "_over_eyeballs", lambda who, moves: moves)
            head = characters.head(who, _weights(characters, jawOpen=1.0))
        gaps = []
        for eye in head.parts[1:3]:
            centre, radius = fitted_sphere(eye.vertices)
            away = head.parts[0].vertices - centre  # the head keeps its frame: the shoulders turn
            before = away[:, 2] > 0.5 * radius
            gaps.append(np.linalg.norm(away[before], axis=1).min() - radius)
        return min(gaps)

    assert nearest(False) < 0
    assert nearest(True) > 0.8 * CLEARANCE_M


def test_a_person_s_heads_share_name_descriptors_and_facts(characters: Characters) -> None:
    init = LatentInit.of(characters.composer)
    records = list(expressive_records(characters, init, EXPRESSIVE, range(0, 9), 7, 3, 200))
    assert [record.label.person for record in records if record.label] == [0] * 7 + [1] * 2
    first, second, other = records[0], records[1], records[7]
    assert first.label and second.label and other.label  # noqa: PT018
    assert not first.label.weights.any()
    assert second.label.weights.any()
    assert first.label.facts == second.label.facts
    np.testing.assert_array_equal(first.shape_init, second.shape_init)
    assert not np.array_equal(first.shape_init, other.shape_init)
    # Any part of a split is the same as in the whole.
    again = list(expressive_records(characters, init, EXPRESSIVE, range(4, 6), 7, 3, 200))
    for one, two in zip(records[4:6], again, strict=True):
        np.testing.assert_array_equal(one.samples.points, two.samples.points)
        np.testing.assert_array_equal(one.samples.distances, two.samples.distances)


def test_a_population_with_expressions_is_stored_and_read(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "PEOPLE_PER_SHARD", 2)
    monkeypatch.setattr(InProcess, "prepared", {})
    build.build_population(
        tmp_path / "people", valid=folders["valid"], ict=folders["ict"], tables=folders["tables"], count=5,
        expressions=2, samples=200, ict_holdouts=1, expressive_holdouts=1, quiet=True,
        engine=InProcess(),
    )  # fmt: skip
    train, measured = Population(tmp_path / "people"), Population(tmp_path / "people", EXPRESSIVE)
    assert train.manifest.units == expression_units(UNITS)
    assert train.persons.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert not train.expressions[::2].any()
    assert [facts["sex"] for facts in train.facts[:2]] == ["female"] * 2
    assert len(measured) == len(MEASURED)
    assert measured.names[1].endswith(list(MEASURED)[1])
    assert Population(tmp_path / "people", "holdout_ict").expressions.shape[1] == 0
    assert shard_path(tmp_path / "people", "train", 2).is_file()


def test_expressions_need_the_face_model(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the face model"):
        build.build_population(tmp_path, valid=folders["valid"], expressions=3, quiet=True)
    with pytest.raises(InputError, match="come from the face model"):
        Characters(Composer(Sources(folders["valid"]).composer().valid, None))


def test_drawn_weights_are_those_of_units() -> None:
    rng = np.random.default_rng(0)
    units = expression_units(ICT_UNITS)
    assert "PupilDilate_L" not in units
    drawn = np.stack([draw_expressive(units, rng) for _ in range(600)])
    assert drawn.min() >= 0
    assert drawn.max() == 1
    jaw, lips = drawn[:, units.index("jawOpen")], drawn[:, units.index("mouthClose")]
    # Lips that close over a closed jaw would run through each other.
    assert (lips <= jaw).all()
    assert (lips > 0).any()
    left, right = (drawn[:, units.index(f"mouthSmile_{side}")] for side in "LR")
    assert ((left > 0) & (right > 0)).sum() > ((left > 0) & (right == 0)).sum() > 0
    familiar = np.stack([draw_familiar(units, rng) for _ in range(400)])
    assert 0.1 < (familiar.max(1) < 0.16).mean() < 0.6
    assert named_weights(("b", "a"), {"a": 0.5, "c": 1.0}).tolist() == [0.0, 0.5]
