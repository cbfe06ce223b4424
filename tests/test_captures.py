"""Casual captures: what is drawn is as people photograph, and what is rendered is what the truth says."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from scipy.spatial.transform import Rotation

from eyes import IRIS_MM, MOST_TURNED_DEG, draw_eyes, gazes
from phone import Processing, exif_of, jpeg, photograph
from protome.capture.photo import FILM_DIAGONAL_MM, focal_from_exif
from protome.geometry.camera import Camera
from protome.population.compose import ComposedHead
from protome.population.light import draw_light
from protome.population.people import MILD
from protome.population.sources.valid import Part
from room import CLEARANCE_MM, draw_room
from session import NEAREST_MM, Plan, Shot, draw_shots
from sitter import LitHead, Sitter, torso

PLANS = [Plan.of(index) for index in range(100)]
UNITS = tuple(sorted({name for main, _, (more, _) in MILD.values() for name in (*main, *more)}))
CLEAR = Processing(0.3, np.ones(3), 1.0, 0.0, 0.0, 0.0, 95, 0)


def ball(colour: tuple[int, int, int] = (200, 150, 120), radius: float = 0.09) -> Part:
    """A sphere of one colour; its left half in the picture (the subject's right) is dark."""
    count = 60
    up, around = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, count), np.linspace(-np.pi, np.pi, count), indexing="ij"
    )
    level = np.cos(up)
    points = radius * np.stack([level * np.sin(around), np.sin(up), level * np.cos(around)], -1).reshape(-1, 3)
    index = np.arange(count * count).reshape(count, count)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    uv = np.stack([(points[:, 0] > 0).astype(float), np.full(len(points), 0.5)], 1)
    picture = np.array([[[20, 20, 20], colour]], np.uint8)
    return Part(points, faces, uv, picture)


def sitter() -> Sitter:
    marks = np.array(
        [
            [-0.02, 0.0, 0.07],
            [0.02, 0.0, 0.07],
            [0, -0.02, 0.088],
            [0, -0.04, 0.08],
            [-0.02, -0.05, 0.07],
            [0.02, -0.05, 0.07],
        ]
    )
    head = ComposedHead("ball", (ball(),), (True,), marks, draw_light(np.random.default_rng(3)))
    return Sitter(head, None, None, 0)


def test_a_third_has_expressions_a_fifth_cut_hair_and_counts_are_balanced() -> None:
    assert sum(plan.expression for plan in PLANS) == pytest.approx(33, abs=3)
    assert sum(plan.hair_cut for plan in PLANS) == pytest.approx(20, abs=3)
    assert sum(plan.kind == "turned" for plan in PLANS) == pytest.approx(35, abs=3)
    assert [sum(plan.count == count for plan in PLANS[:24]) for count in (1, 3, 8)] == [8, 8, 8]
    assert all(sum(plan.count == count for plan in PLANS) >= 7 for count in range(1, 9))


def shots_of(plan: Plan, seed: int = 0) -> tuple[Shot, ...]:
    return draw_shots(plan, UNITS, (120.0, math.inf), np.random.default_rng([seed, plan.index]))


def test_photos_are_taken_as_people_do() -> None:
    films, sizes = [], []
    for plan in PLANS[:40]:
        plan = replace(plan, expression=False, hair_cut=False)
        shots = shots_of(plan)
        assert len(shots) == plan.count
        for shot in shots:
            films.append(shot.film_mm)
            sizes.append(max(shot.camera.width, shot.camera.height))
            assert shot.camera.focal == pytest.approx(
                shot.film_mm * math.hypot(shot.camera.width, shot.camera.height) / FILM_DIAGONAL_MM
            )
            place = shot.head_from_camera[:3, 3]
            assert NEAREST_MM <= np.linalg.norm(place) < CLEARANCE_MM
            # Nothing of the face is cut, nor is the hair.
            T_camera_head = np.linalg.inv(shot.head_from_camera)
            for point in ([0, 110, -50], [0, -120, 0], [-60, 0, -40], [60, 0, -40]):
                seen = shot.camera.K.double().numpy() @ (T_camera_head @ [*point, 1.0])[:3]
                pixel = seen[:2] / seen[2]
                assert (pixel > 0).all()
                assert (pixel < [shot.camera.width, shot.camera.height]).all()
    assert 24 <= min(films) < 30
    assert 70 < max(films) <= 85
    assert 1000 <= min(sizes) < 1400
    assert 3000 < max(sizes) <= 4000


def test_a_still_camera_sees_a_head_that_turns_with_the_light_fixed() -> None:
    plan = replace(PLANS[2], kind="turned", count=8)
    shots = shots_of(plan)
    assert all(shot.light is shots[0].light and shot.room is shots[0].room for shot in shots)
    cameras = [shot.camera.T_world_camera[:3, 2].numpy() for shot in shots]
    heads = [shot.T_world_head[:3, 2] for shot in shots]

    def spread(axes: list[np.ndarray]) -> float:
        return max(np.degrees(np.arccos(np.clip(a @ b, -1, 1))) for a in axes for b in axes)

    assert spread(cameras) < 35 < 60 < spread(heads)
    moved = shots_of(replace(plan, kind="moved"))
    assert spread([shot.T_world_head[:3, 2] for shot in moved]) < 12
    days = shots_of(replace(plan, kind="days"))
    assert len({id(shot.light) for shot in days}) == 8


def test_cut_hair_is_cut_and_the_face_is_not() -> None:
    plan = replace(PLANS[0], hair_cut=True, expression=False)
    for seed in range(6):
        (shot,) = shots_of(plan, seed)
        T_camera_head = np.linalg.inv(shot.head_from_camera)
        heights = []
        for point in ([0, 120, -50], [0, 0, 0]):
            seen = shot.camera.K.double().numpy() @ (T_camera_head @ [*point, 1.0])[:3]
            heights.append(seen[1] / seen[2])
        assert heights[0] < 0 < heights[1]


def test_the_first_of_several_photos_is_neutral() -> None:
    shots = shots_of(replace(PLANS[2], expression=True, count=8))
    assert shots[0].expression is None
    assert any(shot.expression is not None for shot in shots[1:])


def test_eyes_look_at_one_place_as_far_as_they_turn() -> None:
    centres = [np.array([0.03, 0.0, -0.01]), np.array([-0.03, 0.0, -0.01])]
    target = np.array([0.1, 0.05, 0.8])
    for centre, gaze in zip(centres, gazes(centres, target), strict=True):
        assert np.cross(gaze, target - centre) == pytest.approx(np.zeros(3), abs=1e-9)
    for gaze in gazes(centres, np.array([0.9, 0.0, 0.1])):
        assert np.degrees(np.arccos(gaze[2])) == pytest.approx(MOST_TURNED_DEG, abs=3.0)


def test_irises_have_the_diameter_that_the_truth_says() -> None:
    drawn = [draw_eyes(np.random.default_rng(seed)).iris_mm for seed in range(400)]
    assert np.mean(drawn) == pytest.approx(IRIS_MM, abs=0.08)
    assert np.std(drawn) == pytest.approx(0.5, abs=0.06)
    eyes = draw_eyes(np.random.default_rng(1))
    offset = np.linspace(-9, 9, 721)
    points = np.stack([offset, np.zeros(721), np.sqrt(15.0**2 - offset**2)], 1) / 1000
    colours = eyes.albedo(points, np.zeros(3), np.array([0.0, 0.0, 1.0]))[:, 0]
    dark = colours < (colours.min() + colours.max()) / 2
    edges = offset[np.flatnonzero(np.diff(dark.astype(int)))]
    assert edges[-1] - edges[0] == pytest.approx(eyes.iris_mm, abs=0.35)


@pytest.mark.parametrize("turn", [0.0, 50.0])
def test_a_pose_in_the_truth_is_the_pose_in_the_picture(turn: float) -> None:
    """The ball's two colours meet in its plane x = 0, wherever camera and head are turned."""
    person = sitter()
    T_world_head = np.eye(4)
    T_world_head[:3, :3] = Rotation.from_euler("y", turn, degrees=True).as_matrix()
    T_world_head[:3, 3] = [20.0, -10.0, 5.0]
    place = torch.tensor([100.0, 60.0, 700.0]).double()
    camera = Camera.look_at(place, torch.tensor([10.0, 0.0, 0.0]).double(), 260.0, 160, 200)
    lit = LitHead(person, person.head, person.head.light, np.array([0.0, 1.0, 0.0]))
    image = photograph(lit, draw_room(np.random.default_rng(0)), camera, T_world_head, [], CLEAR).image.astype(float)
    head_from_camera = np.linalg.inv(T_world_head) @ camera.T_world_camera.numpy()
    T_camera_head = np.linalg.inv(head_from_camera)
    for point, dark in (
        ([25.0, 30.0, 70.0], False),
        ([-25.0, 30.0, 70.0], True),
        ([12.0, -20, 80], False),
        ([-12, -20, 80], True),
    ):
        onto = np.array(point) / np.linalg.norm(point) * 90.0
        seen = camera.K.numpy() @ (T_camera_head @ [*onto, 1.0])[:3]
        x, y = (seen[:2] / seen[2]).astype(int)
        assert (image[y, x, 0] - image[y, x, 2] < 12) == dark


def test_a_room_is_all_around_and_shows_parallax() -> None:
    room = draw_room(np.random.default_rng(2))
    ways = np.random.default_rng(0).normal(size=(4000, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    for origin in (np.zeros(3), np.array([900.0, 200.0, 1500.0])):
        colours = room.colours(origin, ways)
        assert np.isfinite(colours).all()
        assert (colours > 0).all()
    assert not np.allclose(room.colours(np.zeros(3), ways), room.colours(np.array([300.0, 0, 0]), ways))


def test_a_bust_goes_on_below_its_rim() -> None:
    body = ball()
    low = body.vertices[:, 1] > -0.05
    kept = body.faces[low[body.faces].all(1)]
    shifted = replace(body, vertices=body.vertices - [0, 0.2, 0], faces=kept)
    wall = torso(shifted)
    assert wall.vertices[:, 1].min() < -0.9
    assert len(wall.faces) > 50
    assert torso(body).vertices[:, 1].max() < -4  # nothing where there is no rim


def test_files_record_focal_length_and_distance() -> None:
    image = np.zeros((400, 300, 3), np.uint8)
    with Image.open(io.BytesIO(jpeg(image, 90, exif_of(35.2, 812.0, "x")))) as stored:
        exif = stored.getexif()
        tags = dict(exif) | dict(exif.get_ifd(ExifTags.IFD.Exif))
    assert focal_from_exif(tags, 300, 400) == pytest.approx(35 * 500 / FILM_DIAGONAL_MM)
    assert float(tags[ExifTags.Base.SubjectDistance]) == pytest.approx(0.81)
    with Image.open(io.BytesIO(jpeg(image, 90, None))) as stored:
        assert not stored.getexif()
