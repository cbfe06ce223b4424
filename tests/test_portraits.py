"""Portraits: their labels are the geometry's own, and the people are balanced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from protome.errors import InputError
from protome.perception import parts
from protome.perception.parts import OTHERS, SKIN
from protome.population.portraits.camera import PortraitCamera, draw_camera
from protome.population.portraits.dressed import Dressed, dress
from protome.population.portraits.lighting import draw_lighting
from protome.population.portraits.person import AGE_SHARES, AGES, LIGHTNESS, draw_person
from protome.population.portraits.photograph import VISIBLE_M, Caster, Portrait, Studio
from protome.population.portraits.pieces import Material, Piece, joined, piece
from protome.population.portraits.points import FACE_POINTS
from protome.population.portraits.portraits import TAKES, Photographer
from protome.population.portraits.shards import Shard, fill_folder, make_shard, read_shard, write_shard
from protome.population.portraits.wardrobe import Wardrobe
from wardrobes import CENTRE, RADIUS, ball, ball_points, ball_wardrobe

SIZE = 96
CAMERA = PortraitCamera(
    np.array([0.05, 0.02, 0.6]), np.diag([1.0, -1.0, -1.0]), 250.0, np.array([60.0, 40.0]), SIZE
)  # fmt: skip


@pytest.fixture(scope="module")
def wardrobe() -> Wardrobe:
    return ball_wardrobe()


@pytest.fixture(scope="module")
def dressed(wardrobe: Wardrobe) -> Dressed:
    rng = np.random.default_rng(0)
    return dress(wardrobe, draw_person(wardrobe, rng), rng, simple=True)


def _body(wardrobe: Wardrobe) -> Piece:
    bare = piece(wardrobe.mean, wardrobe.faces, Material.BODY)
    bare.attributes[:, :2] = wardrobe.uv
    return bare


def _taken(wardrobe: Wardrobe, dressed: Dressed, *people: list[Piece], landmarks: np.ndarray | None = None) -> Portrait:
    soup = joined(list(people))
    look = replace(dressed.look, beard_alpha=0.0, scalp_alpha=0.0)
    studio = Studio(wardrobe, soup, (look,) * len(people), Caster(soup))
    rng = np.random.default_rng(0)
    light = draw_lighting(np.array([0.0, 0.0, 1.0]), rng)
    places = np.zeros((1, 3)) if landmarks is None else landmarks
    return studio.portrait(CAMERA, light, np.full((SIZE, SIZE, 3), 0.5, np.float32), places, rng)


def _ball_hits(centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where rays through the pixels' middles first meet a ball (nan: nowhere) and the distance of the ball's
    silhouette from each ray, radii."""
    row, column = np.mgrid[:SIZE, :SIZE]
    pixels = np.stack([column, row], -1).reshape(-1, 2) + 0.5
    ways = CAMERA.rays(pixels).astype(np.float64)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    towards = centre - CAMERA.position
    along = ways @ towards
    square = radius**2 - (towards @ towards - along**2)
    depth = along - np.sqrt(np.where(square > 0, square, np.nan))
    off = np.sqrt(np.maximum(radius**2 - square, 0)) / radius
    return CAMERA.position + depth[:, None] * ways, off


def test_pixels_show_the_place_of_the_surface_that_their_ray_meets(wardrobe: Wardrobe, dressed: Dressed) -> None:
    taken = _taken(wardrobe, dressed, [_body(wardrobe)])
    places, off = _ball_hits(CENTRE, RADIUS)
    inside, outside = off < 0.97, off > 1.02
    found = taken.canonical.reshape(-1, 3)
    assert (taken.parts.ravel()[outside] == parts.BACKGROUND).all()
    assert (taken.parts.ravel()[inside] == parts.SKIN).all()
    assert np.isnan(found[outside]).all()
    assert np.abs(found[inside] - places[inside]).max() < 0.0015  # flat triangles sink below the ball
    normals = ((places - CENTRE) / RADIUS)[inside] * [1, -1, -1]
    assert ((taken.normals.reshape(-1, 3)[inside] * normals).sum(1)).min() > 0.999


def test_what_stands_before_hides_pixels_and_landmarks(wardrobe: Wardrobe, dressed: Dressed) -> None:
    screen_centre, screen = np.array([0.03, 0.03, 0.1]), 0.04
    thing = piece(*ball(screen_centre, screen, 4), Material.SOLID, np.full(3, 0.3))
    marks = wardrobe.mean.astype(np.float64)
    taken = _taken(wardrobe, dressed, [_body(wardrobe), thing], landmarks=marks)
    _, off = _ball_hits(screen_centre, screen)
    assert (taken.parts.ravel()[off < 0.97] == parts.FRONT).all()

    away = marks - CAMERA.position
    length = np.linalg.norm(away, axis=1)
    ways = away / length[:, None]
    grazing = (marks - CENTRE) * -ways / RADIUS
    towards = screen_centre - CAMERA.position
    beside = np.linalg.norm(towards - (ways @ towards)[:, None] * ways, axis=1) / screen
    front, hidden = grazing.sum(1) > 0.2, beside < 0.95
    assert taken.visible[front & (beside > 1.05)].all()
    assert not taken.visible[hidden].any()
    assert not taken.visible[grazing.sum(1) < -np.sqrt(2 * VISIBLE_M / RADIUS)].any()
    assert hidden.sum() > 50
    assert (front & ~hidden).sum() > 200
    assert np.abs(taken.landmarks - CAMERA.project(marks)[:, :2]).max() < 1e-4


def test_clear_glass_hides_nothing_and_dark_glass_does(wardrobe: Wardrobe, dressed: Dressed) -> None:
    marks = wardrobe.mean[wardrobe.mean[:, 2] > -0.02].astype(np.float64)
    for tint, part in ((0.0, parts.SKIN), (0.97, parts.FRONT)):
        glass = piece(*ball(CENTRE + np.array([0, 0, 0.05]), RADIUS, 3), Material.LENS, np.full(3, tint))
        taken = _taken(wardrobe, dressed, [_body(wardrobe), glass], landmarks=marks)
        _, off = _ball_hits(CENTRE, RADIUS)
        assert (taken.parts.ravel()[off < 0.5] == part).mean() > 0.99
        assert taken.visible.all() if part == parts.SKIN else not taken.visible.any()


def test_everybody_but_the_first_is_another_person(wardrobe: Wardrobe, dressed: Dressed) -> None:
    behind = _body(wardrobe).moved(wardrobe.mean + np.array([0.08, 0.0, -0.3], np.float32))
    taken = _taken(wardrobe, dressed, [_body(wardrobe)], [behind])
    _, first = _ball_hits(CENTRE, RADIUS)
    _, second = _ball_hits(CENTRE + np.array([0.08, 0.0, -0.3]), RADIUS)
    label = taken.parts.ravel()
    assert (label[first < 0.97] == parts.SKIN).all()
    only = (first > 1.03) & (second < 0.95)
    assert only.sum() > 100
    assert (label[only] == parts.OTHERS).all()
    assert np.isnan(taken.canonical.reshape(-1, 3)[only]).all()


def test_a_camera_sees_the_face_over_its_share_of_the_picture() -> None:
    rng = np.random.default_rng(3)
    face = rng.normal(0, 0.04, (100, 3))
    for _ in range(50):
        camera = draw_camera(face, 200, 0.5, rng)
        seen = camera.project(face)
        assert np.ptp(seen[:, :2], 0).max() == pytest.approx(100)
        assert (seen[:, 2] > 0).all()
        assert np.abs(camera.rotation @ camera.rotation.T - np.eye(3)).max() < 1e-9
        assert np.linalg.det(camera.rotation) == pytest.approx(1)
        ways = camera.rays(seen[:, :2])
        assert np.abs(camera.position + seen[:, 2:] * ways - face).max() < 1e-5


def test_sexes_ages_and_skins_are_balanced(wardrobe: Wardrobe) -> None:
    rng = np.random.default_rng(0)
    people = [draw_person(wardrobe, rng) for _ in range(1500)]
    assert np.mean([person.male for person in people]) == pytest.approx(0.5, abs=0.04)
    for age, share in zip(AGES, AGE_SHARES, strict=True):
        assert np.mean([person.age == age for person in people]) == pytest.approx(share, abs=0.04)
    tones = np.array([person.lightness for person in people])
    found, _ = np.histogram(tones, 8, LIGHTNESS)
    assert found.sum() == len(people)
    assert (np.abs(found / len(people) - 1 / 8) < 0.03).all()
    # Tones of skin do not go with a sex.
    men = np.array([person.male for person in people])
    assert tones[men].mean() == pytest.approx(tones[~men].mean(), abs=2.5)
    assert len({person.moves.tobytes() for person in people[:50]}) == 50


def test_the_eyes_turn_as_the_irises_say(wardrobe: Wardrobe) -> None:
    photographer = Photographer(wardrobe, 64, ball_points(wardrobe))
    rng = np.random.default_rng(1)
    subject = dress(wardrobe, draw_person(wardrobe, rng), rng)
    marks = photographer.points.on(subject.body, subject.look.eye_centres + 0.0118 * subject.look.gaze)
    assert len(marks) == 800
    between = marks[FACE_POINTS : FACE_POINTS + 2] - subject.look.eye_centres
    turn = Rotation.align_vectors(between[:1], [[0.0, 0.0, 1.0]])[0].magnitude()
    assert 0 < turn < np.radians(60)
    assert np.linalg.norm(between, axis=1) == pytest.approx(0.0118)


def test_scenes_depend_on_seed_and_number_alone(wardrobe: Wardrobe) -> None:
    points = ball_points(wardrobe)
    first = Photographer(wardrobe, 48, points).scene(3, 7)
    again, other = Photographer(wardrobe, 48, points).scene(3, 7), Photographer(wardrobe, 48, points).scene(3, 8)
    assert len(first) == TAKES
    for one, two in zip(first, again, strict=True):
        assert (one.portrait.image == two.portrait.image).all()
        assert (one.portrait.landmarks == two.portrait.landmarks).all()
    assert (first[0].portrait.image != other[0].portrait.image).any()


def test_shards_keep_what_they_are_given(wardrobe: Wardrobe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protome.population.portraits.shards.SCENES", 2)
    shard = make_shard(Photographer(wardrobe, 32, ball_points(wardrobe)), 0, 1)
    write_shard(tmp_path / "shard.npz", shard)
    for name, value in vars(read_shard(tmp_path / "shard.npz")).items():
        assert (value == getattr(shard, name)).all(), name
    assert len(shard.images) == 2 * TAKES
    assert shard.parts.max() < len(parts.PARTS)


def test_wardrobes_keep_what_they_are_given(wardrobe: Wardrobe, tmp_path: Path) -> None:
    wardrobe.save(tmp_path / "wardrobe.npz")
    read = Wardrobe.load(tmp_path / "wardrobe.npz")
    assert (read.identity == wardrobe.identity).all()
    assert read.hair_names == wardrobe.hair_names
    assert (read.hair[0].share == wardrobe.hair[0].share).all()
    assert (read.outfit_colours[0] == wardrobe.outfit_colours[0]).all()


def test_a_missing_wardrobe_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist: write it with"):
        fill_folder(tmp_path / "none.npz", tmp_path, range(1), quiet=True)


def test_faces_behind_another_person_teach_nothing() -> None:
    parts = np.full((2, 64, 64), SKIN, np.uint8)
    parts[:, :, :26], parts[1, :, :40] = OTHERS, OTHERS
    corners = np.array([[20, 20], [44, 20], [44, 44], [20, 44]], np.float32)
    landmarks = np.tile(corners, (2, 117, 1))
    empty = np.zeros((2, 64, 64, 3), np.uint8)
    shard = Shard(empty, parts, landmarks, np.ones((2, 468), bool), np.zeros((2, 3), np.float32))
    assert shard.of_subjects().tolist() == [0]
