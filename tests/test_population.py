"""The outer surface of a composed head, its samples, its descriptors, and photographs of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from busts import BODY, LANDMARKS, write_valid
from protome.geometry.camera import Camera
from protome.population.compose import CENTRE_M, ComposedHead, Composer
from protome.population.latent_init import FACE_WEIGHT, RADIUS_WEIGHT, LatentInit, farthest
from protome.population.light import Light
from protome.population.picture import photograph
from protome.population.sources.valid import Part, ValidHeads
from protome.population.surface import BOUNDS_M, FACE_M, SHEET_M, HeadSamples, OuterSurface, sample_head
from protome.units import UNIT_MM

# A ball with a smaller one hidden inside, and half a shell over it like a wig

CENTRE = np.array([0.0, -0.03, -0.1])
BALL, INNER, WIG = 0.1, 0.05, 0.135
NOSE = CENTRE + np.array([0.0, 0.0, BALL])
LEFT_SKIN, RIGHT_SKIN, HIDDEN, HAIR = (200, 150, 120), (60, 90, 170), (0, 255, 0), (30, 20, 10)
# Flat triangles of an icosphere with edges of 0.16 r sink below the ball by less than this.
SAG = 0.007


def _lit(ambient: float = 1.0, *lamps: tuple[tuple[float, float, float], float]) -> Light:
    """An even sky and lamps (direction, power) that are almost points."""
    directions = np.array([direction for direction, _ in lamps], np.float64).reshape(-1, 3)
    power = np.array([[power] * 3 for _, power in lamps], np.float64).reshape(-1, 3)
    return Light(np.full(3, ambient), directions, power, np.full(len(lamps), 1e-3), 0.0, np.ones(3))


DAYLIGHT = _lit()


def _ball(
    radius: float, colours: list[tuple[int, int, int]], above: float = -1.0, centre: np.ndarray = CENTRE, fine: int = 3
) -> Part:
    """A ball, or the part of it above a height; the right half takes the texture's first colour."""
    ball = trimesh.creation.icosphere(subdivisions=fine, radius=radius)
    ball.update_faces(ball.triangles_center[:, 1] > above)
    uv = np.stack([np.where(ball.vertices[:, 0] > 0, 0.99, 0.01), np.full(len(ball.vertices), 0.5)], 1)
    return Part(np.array(ball.vertices) + centre, np.array(ball.faces), uv, np.array([colours], np.uint8))


def _head(*parts: Part, hair: int = 0, light: Light = DAYLIGHT) -> ComposedHead:
    """A head of skin and, at the end, some parts of hair."""
    solid = (True,) * (len(parts) - hair) + (False,) * hair
    return ComposedHead("hand-made", parts, solid, np.tile(NOSE, (6, 1)), light)


@pytest.fixture(scope="module")
def wigged() -> OuterSurface:
    parts = (_ball(BALL, [RIGHT_SKIN, LEFT_SKIN]), _ball(INNER, [HIDDEN]), _ball(WIG, [HAIR], above=0.0))
    return OuterSurface(_head(*parts, hair=1), np.random.default_rng(0))


@pytest.fixture(scope="module")
def samples(wigged: OuterSurface) -> HeadSamples:
    found = wigged.samples(9000)
    nothing = np.zeros((0, 3))
    return HeadSamples(**vars(found), space=nothing, distances=nothing[:, 0], landmarks=wigged.head.landmarks)


def _polar(points: np.ndarray, centre: np.ndarray = CENTRE) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the centre, and degrees away from straight up."""
    radius = np.linalg.norm(points - centre, axis=1)
    return radius, np.degrees(np.arccos((points - centre)[:, 1] / radius))


def test_hidden_points_are_never_sampled(samples: HeadSamples) -> None:
    radius, angle = _polar(samples.points)
    assert len(samples.points) == 9000
    assert radius.min() > BALL * (1 - SAG)
    # A ray that grazes the body leaves through the shell unless it passes its rim: acos(0.1 / 0.135) = 42.2 degrees on.
    on_body = radius < 0.107
    assert angle[on_body].min() > 90 - 42.2 - 6
    assert (samples.colours[:, 0] >= 0.5 * samples.colours[:, 1]).all()  # the hidden ball is green
    # The visible skin and the hair are both there.
    assert on_body.sum() > 1000
    assert (~on_body & (angle < 60)).sum() > 1000


def test_faces_are_visible_from_the_sides_that_face_outside(wigged: OuterSurface) -> None:
    part = wigged.soup.part
    middles = wigged.mesh.triangles_center
    _, angle = _polar(middles)
    assert not wigged.front[part == 1].any()
    assert not wigged.back[part <= 1].any()
    # The outside of the shell all, its inside near the rim only; the skin up to where the shell hides it.
    assert wigged.front[part == 2].all()
    assert not wigged.back[(part == 2) & (angle < 20)].any()
    assert wigged.back[(part == 2) & (angle > 80)].mean() > 0.9
    assert wigged.front[(part == 0) & (angle > 100)].all()
    assert not wigged.front[(part == 0) & (angle < 50)].any()


def test_points_take_the_colour_of_their_texture(wigged: OuterSurface, samples: HeadSamples) -> None:
    radius, angle = _polar(samples.points)
    hair = radius > 0.107
    # Points with full sky visibility have the colour of their texture.
    free = (hair & (angle < 20)) | (~hair & (angle > 150))
    left, right = samples.points[:, 0] > 0.02, samples.points[:, 0] < -0.02
    assert (samples.colours[hair & free] == HAIR).all()
    assert (samples.colours[~hair & free & left] == LEFT_SKIN).all()
    assert (samples.colours[~hair & free & right] == RIGHT_SKIN).all()
    # Under the rim of the shell it is darker, in the same hue.
    under = ~hair & left & (angle < 80)
    ratio = samples.colours[under] / np.array(LEFT_SKIN)
    assert ratio.max() <= 1
    assert 0.6 < ratio.mean() < 0.9
    assert np.ptp(ratio, axis=1).max() < 0.01
    everywhere = wigged.albedo(np.arange(len(wigged.soup.faces)), np.full((len(wigged.soup.faces), 3), 1 / 3))
    assert (everywhere[wigged.soup.part == 1] == HIDDEN).all()
    assert (everywhere[wigged.soup.part == 2] == HAIR).all()


def test_tints_cover_the_texture_by_their_opacity() -> None:
    ball = _ball(BALL, [LEFT_SKIN, LEFT_SKIN])
    share = np.where(ball.vertices[:, 1] > CENTRE[1], 0.75, 0.0)
    tint = np.concatenate([np.tile([1.0, 0.0, 0.2], (len(share), 1)), share[:, None]], 1)
    own = OuterSurface(_head(replace(ball, tint=tint)), np.random.default_rng(0), rounds=4).samples(1000)
    up, down = own.points[:, 1] > CENTRE[1] + 0.02, own.points[:, 1] < CENTRE[1] - 0.02
    mixed = 0.25 * np.array(LEFT_SKIN) + 0.75 * 255 * np.array([1.0, 0.0, 0.2])
    assert np.abs(own.colours[up] - mixed).max() <= 1
    assert (own.colours[down] == LEFT_SKIN).all()


def test_texture_rows_run_down_while_v_runs_up() -> None:
    part = _ball(BALL, [HAIR])
    uv = np.stack([np.full(len(part.vertices), 0.5), np.where(part.vertices[:, 1] > CENTRE[1], 0.99, 0.01)], 1)
    striped = Part(part.vertices, part.faces, uv, np.array([[LEFT_SKIN], [HAIR]], np.uint8))
    own = OuterSurface(_head(striped), np.random.default_rng(0), rounds=4).samples(1000)
    up, down = own.points[:, 1] > CENTRE[1] + 0.02, own.points[:, 1] < CENTRE[1] - 0.02
    assert (own.colours[up] == LEFT_SKIN).all()
    assert (own.colours[down] == HAIR).all()


def test_normals_point_outwards_and_views_are_unoccluded(wigged: OuterSurface, samples: HeadSamples) -> None:
    radius, angle = _polar(samples.points)
    outwards = (samples.points - CENTRE) / radius[:, None]
    facing = (outwards * samples.normals).sum(1)
    # The underside of the shell is visible only near its rim; everything else from outside alone.
    single = (radius < 0.107) | (angle < 90 - 59.2 - 8)
    assert facing[single].min() > 0.95
    np.testing.assert_allclose(np.linalg.norm(samples.views, axis=1), 1, atol=1e-6)
    assert (samples.views * samples.normals).sum(1).max() < 0.2
    free = ~wigged.rays.intersects_any(samples.points + 1e-4 * samples.normals, -samples.views)
    assert free[facing > 0].mean() > 0.99
    # Giving the shell a thickness moves its inner side 2 of the 15 mm towards the skin, which hides some of it.
    assert free.mean() > 0.95


def test_single_sheets_of_hair_get_a_thickness(samples: HeadSamples) -> None:
    radius, angle = _polar(samples.points)
    hair = radius > 0.107
    # At the top only the outer side is visible: no sheet. Near the rim both sides are: one of 2 x 2 mm.
    top = radius[hair & (angle < 20)]
    assert top.max() < WIG + 1e-9
    assert top.min() > WIG * (1 - SAG)
    facing = ((samples.points - CENTRE) / radius[:, None] * samples.normals).sum(1)
    rim = hair & (angle > 80)
    outer, inner = radius[rim & (facing > 0)], radius[rim & (facing < 0)]
    assert len(outer) > 50
    assert len(inner) > 50
    np.testing.assert_allclose(np.median(outer), WIG + SHEET_M, atol=WIG * SAG)
    np.testing.assert_allclose(np.median(inner), WIG - SHEET_M, atol=WIG * SAG)


def test_signed_distances_are_those_of_the_visible_surface(wigged: OuterSurface) -> None:
    def at(radius: float, degrees: float) -> np.ndarray:
        angle = np.radians(degrees)
        return CENTRE + radius * np.array([0.0, np.cos(angle), np.sin(angle)])

    truth = {
        "above the hair": (at(WIG + 0.03, 3), 0.03),
        "far above the hair": (at(WIG + 0.09, 3), 0.09),
        "between hair and skin, hidden": (at(0.108, 5), -(WIG - 0.108)),
        "under the chin": (at(BALL + 0.04, 175), 0.04),
        "below the skin": (at(BALL - 0.02, 150), -0.02),
        "beside the hidden ball": (at(INNER + 0.01, 175), -(BALL - INNER - 0.01)),
        "in the hidden ball": (at(0.01, 178), -(BALL - 0.01)),
        "beside the rim of the hair": (at(WIG + 0.02, 84), 0.02 - SHEET_M),
        "before the face": (at(BALL + 0.01, 130), 0.01),
    }
    found = wigged.signed_distance(np.stack([point for point, _ in truth.values()]))
    for (name, (_, wanted)), value in zip(truth.items(), found, strict=True):
        assert abs(value - wanted) < 0.001, f"{name}: {value:.4f} instead of {wanted:.4f}"


def _box(size: tuple[float, float, float], middle: tuple[float, float, float]) -> Part:
    box = trimesh.creation.box(size).subdivide_to_size(0.04)
    uv = np.full((len(box.vertices), 2), 0.5)
    return Part(np.array(box.vertices) + middle, np.array(box.faces), uv, np.array([[LEFT_SKIN]], np.uint8))


def test_a_gap_is_outside_only_as_deep_as_a_tenth_of_the_directions_leave_it() -> None:
    # Between two tall walls, a depth d behind their edges, directions leave within atan(g / 2d) of straight ahead, to
    # either side: that is the share atan(g / 2d) / pi, and a tenth at d = 1.54 g.
    gap, tall = 0.01, 0.8
    walls = [_box((0.1, tall, 0.15), (side * (0.05 + gap / 2), 0.0, -0.125)) for side in (-1, 1)]
    back = _box((0.25, tall, 0.02), (0.0, 0.0, -0.21))
    own = OuterSurface(_head(*walls, back), np.random.default_rng(0))
    depth = np.array([-0.2, 0.5, 6.0, 12.0]) * gap
    found = own.signed_distance(np.stack([0 * depth, 0 * depth, -0.05 - depth], 1))
    assert np.sign(found).tolist() == [1, 1, -1, -1]
    assert found[1] == pytest.approx(gap / 2, abs=1e-6)
    # On a wall it is atan(g / d) / pi of those before it, and a tenth at d = 3.1 g: four times as deep are few samples.
    points = own.samples(20_000).points
    depth = -0.05 - points[np.abs(np.abs(points[:, 0]) - gap / 2) < 1e-6, 2]
    assert (depth < 3 * gap).sum() > 500
    assert (depth > 12 * gap).sum() < 20


def test_a_cut_neck_is_closed_and_its_cut_is_not_sampled() -> None:
    bust = _ball(BALL, [LEFT_SKIN, LEFT_SKIN], above=-0.095)
    # Moved down so that the cut lies where busts are cut.
    low = replace(bust, vertices=bust.vertices - [0, 0.05, 0])
    own = OuterSurface(_head(low), np.random.default_rng(0), rounds=8)
    found = own.samples(4000)
    middle = CENTRE - [0, 0.05, 0]
    radius = np.linalg.norm(found.points - middle, axis=1)
    assert radius.min() > BALL * (1 - SAG)
    assert (((found.points - middle) * found.normals).sum(1) > 0).all()
    floor = low.vertices[np.unique(low.faces)][:, 1].min()
    asked = middle + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.06], [0.0, 0.12, 0.0]])
    asked = np.concatenate([asked, [[middle[0], floor + 0.012, middle[2]], [middle[0], floor - 0.02, middle[2]]]])
    assert np.sign(own.signed_distance(asked)).tolist() == [-1, -1, 1, -1, 1]


# Shadows


def test_what_stands_before_a_lamp_leaves_it_dark() -> None:
    """A small cap hovers 60 mm over a ball under a lamp that shines straight down."""
    ball, cap_radius = _ball(BALL, [LEFT_SKIN, LEFT_SKIN], fine=4), 0.04
    angle = 2 * np.pi * np.arange(48) / 48
    rim = np.stack([cap_radius * np.cos(angle), np.full(48, BALL + 0.06), cap_radius * np.sin(angle)], 1)
    vertices = np.concatenate([[[0.0, BALL + 0.06, 0.0]], rim]) + CENTRE
    faces = np.stack([np.zeros(48, int), 1 + (np.arange(48) + 1) % 48, 1 + np.arange(48)], 1)
    cap = Part(vertices, faces, np.full((49, 2), 0.5), np.array([[HAIR]], np.uint8))
    light = _lit(0.0, ((0.0, 1.0, 0.0), 0.7))
    found = OuterSurface(_head(ball, cap, hair=1, light=light), np.random.default_rng(0)).samples(6000)
    radius, degrees = _polar(found.points)
    aside = np.linalg.norm((found.points - CENTRE)[:, [0, 2]], axis=1)
    on_ball, upper = radius < BALL * 1.01, degrees < 85
    # Lamps have some width, which blurs the border of the shadow; triangles are flat.
    dark = on_ball & upper & (aside < cap_radius - 0.002)
    bright = on_ball & upper & (aside > cap_radius + 0.002)
    assert dark.sum() > 50
    assert bright.sum() > 500
    assert (found.colours[dark] == 0).all()
    cosine = (np.cos(np.radians(degrees[bright])) + 0.2) / 1.2
    truth = np.array(LEFT_SKIN) * (0.7 * cosine[:, None]) ** (1 / 2.2)
    assert np.abs(found.colours[bright] - truth).max() < 4
    # Light wraps a little past the ball's own horizon and is gone behind cos = -0.2.
    below = on_ball & (degrees > np.degrees(np.arccos(-0.2)) + 3)
    assert below.sum() > 500
    assert (found.colours[below] == 0).all()


# Samples


def test_samples_of_a_head_lie_on_it_and_around_it() -> None:
    own = sample_head(_head(_ball(BALL, [RIGHT_SKIN, LEFT_SKIN])), np.random.default_rng(1), 4000)
    for key in ("points", "normals", "colours", "views", "template", "space"):
        assert getattr(own, key).shape == (4000, 3), key
    radius, _ = _polar(own.points)
    np.testing.assert_allclose(radius, BALL, atol=BALL * SAG)
    assert (own.space >= BOUNDS_M[0]).all()
    assert (own.space <= BOUNDS_M[1]).all()
    truth = _polar(own.space)[0] - BALL
    assert np.abs(own.distances - truth).max() < 0.001
    clear = np.abs(truth) > BALL * SAG
    assert (np.sign(own.distances) == np.sign(truth))[clear].all()
    # Four tenths within about 3 mm, four within about 15 mm, two anywhere: the first two, at the shares of a normal
    # distribution that lie within 3 mm, and hardly any of the last.
    share = (np.abs(truth) < 0.003).mean()
    assert abs(share - (0.4 * 0.683 + 0.4 * 0.159 + 0.2 * 0.01)) < 0.03
    # The face gets as many samples as all the rest; the cap within 95 mm of the nose is 22.6 % of the ball.
    near = np.linalg.norm(own.points - NOSE, axis=1) < FACE_M
    assert 0.46 < near.mean() < 0.54
    assert np.array_equal(own.landmarks, np.tile(NOSE, (6, 1)))


def test_samples_know_their_place_on_the_template() -> None:
    def moved(points: np.ndarray) -> np.ndarray:
        return 1.2 * points @ np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]) + [0.15, -0.01, 0.03]

    ball, wig = _ball(BALL, [RIGHT_SKIN, LEFT_SKIN]), _ball(WIG, [HAIR], above=0.0)
    head = _head(replace(ball, template=moved(ball.vertices)), wig, hair=1)
    found = OuterSurface(head, np.random.default_rng(0)).samples(3000)
    skin = _polar(found.points)[0] < 0.107
    place = moved(found.points)
    within = ((place > BOUNDS_M[0]) & (place < BOUNDS_M[1])).all(1)
    assert min((skin & ~within).sum(), (skin & within).sum(), (~skin).sum()) > 100
    # Skin has a place unless that lies outside the volume; hair has none.
    assert np.array_equal(found.registered, skin & within)
    np.testing.assert_allclose(found.template[found.registered], place[found.registered], atol=1e-12)


def test_samples_follow_their_random_state() -> None:
    head = _head(_ball(BALL, [RIGHT_SKIN, LEFT_SKIN]), light=_lit(0.5, ((0.6, 0.8, 0.0), 0.5)))
    one, two, other = (sample_head(head, np.random.default_rng(seed), 500) for seed in (1, 1, 2))
    assert all(np.array_equal(value, getattr(two, key)) for key, value in vars(one).items())
    assert not np.array_equal(one.points, other.points)


# Descriptors


def test_the_farthest_points_are_picked_one_by_one() -> None:
    line = np.array([[0.0, 0, 0], [1.0, 0, 0], [5.5, 0, 0], [10.0, 0, 0], [4.0, 0, 0], [8.0, 0, 0]])
    assert farthest(line, 4).tolist() == [0, 3, 2, 5]
    assert sorted(farthest(line, 99).tolist()) == [0, 1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    return Composer(ValidHeads(write_valid(tmp_path_factory.mktemp("descriptors") / "valid")), None)


@pytest.fixture(scope="module")
def latent_init(composer: Composer) -> LatentInit:
    return LatentInit.of(composer)


def test_descriptors_cover_the_whole_head(latent_init: LatentInit, composer: Composer) -> None:
    assert len(set(latent_init.points.tolist())) == len(latent_init.points) == 450
    assert np.array_equal(latent_init.place, composer.template[latent_init.points])
    assert np.array_equal(latent_init.nose, composer.template[LANDMARKS["nose_tip"]])
    assert (latent_init.place[:, 1] > -0.13).sum() == 360
    # No point of the head is far from a descriptor's point, and every direction has one within about 10 degrees.
    high = composer.template[composer.template[:, 1] > -0.13]
    gap = np.linalg.norm(high[:, None] - latent_init.place[None], axis=2).min(1)
    assert gap.max() < 0.02
    np.testing.assert_allclose(np.linalg.norm(latent_init.directions, axis=1), 1, atol=1e-12)
    asked = np.random.default_rng(0).normal(size=(500, 3))
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    assert np.degrees(np.arccos((asked @ latent_init.directions.T).max(1))).max() < 12


def test_displacements_come_out_where_they_are(latent_init: LatentInit, composer: Composer) -> None:
    template = composer.template
    # A nose and a shoulder are pushed out, each in a direction of its own.
    nose = np.exp(-0.5 * ((template - latent_init.nose) ** 2).sum(1) / 0.02**2)[:, None] * [0.001, 0.0, 0.009]
    shoulder = (np.linalg.norm(template - [-0.13, -0.22, -0.1], axis=1) < 0.08)[:, None] * np.array([-0.01, 0.0, 0.0])
    body = replace(composer.avatars["Black_M_3_Casual"].body, vertices=template + nose + shoulder)
    head = ComposedHead("pushed", (body,), (True,), np.zeros((6, 3)), DAYLIGHT)
    found = latent_init.shape(OuterSurface(head, np.random.default_rng(0), rounds=2))
    moved = found[: 3 * len(latent_init.points)].reshape(-1, 3)
    face = np.linalg.norm(latent_init.place - latent_init.nose, axis=1) < 0.095
    truth = np.where(face[:, None], FACE_WEIGHT, 1.0) * (nose + shoulder)[latent_init.points]
    np.testing.assert_allclose(moved, truth, atol=1e-12)
    assert truth[face].max() > 0.02
    assert truth[~face].min() == -0.01


def test_radii_are_the_reach_of_the_head(latent_init: LatentInit) -> None:
    skin = _ball(BALL, [RIGHT_SKIN, LEFT_SKIN], centre=CENTRE_M)
    hair = _ball(WIG, [HAIR], above=0.0, centre=CENTRE_M)
    own = OuterSurface(_head(skin, hair, hair=1), np.random.default_rng(0), rounds=2)
    reach, colours = own.radii(latent_init.directions)
    up, down = latent_init.directions[:, 1] > 0.15, latent_init.directions[:, 1] < -0.15
    for chosen, radius in ((up, WIG), (down, BALL)):
        assert reach[chosen].max() <= radius + 1e-9
        assert reach[chosen].min() > radius * (1 - SAG)
    assert (colours[up] == HAIR).all()
    assert (colours[down & (latent_init.directions[:, 0] > 0.3)] == LEFT_SKIN).all()
    assert (colours[down & (latent_init.directions[:, 0] < -0.3)] == RIGHT_SKIN).all()
    # Displacements of the skin's vertices, then a weighted reach in each direction.
    small = replace(latent_init, points=np.array([0, 1]), place=skin.vertices[:2], nose=skin.vertices[0])
    np.testing.assert_allclose(small.shape(own), [*[0.0] * 6, *(RADIUS_WEIGHT * reach)], atol=1e-12)


def test_colours_come_out_where_they_are(latent_init: LatentInit) -> None:
    """Skin is red on the template's left and blue on its right; around the head everything above is white hair."""
    rng = np.random.default_rng(0)
    template = BODY.vertices[rng.integers(0, len(BODY.vertices), 6000)] + rng.normal(0, 1e-3, (6000, 3))
    on_skin = np.where(template[:, :1] > 0, [200, 0, 0], [0, 0, 200])
    around = rng.normal(size=(6000, 3))
    around[:, 1] = np.abs(around[:, 1])
    # The skin lies below, and its own position says nothing of its place on the template.
    below = rng.normal(size=(6000, 3)) * [1, 0, 1] - [0, 1, 0]
    points = CENTRE_M + 0.1 * np.concatenate([below, around])
    nothing = np.zeros((12000, 3))
    samples = HeadSamples(
        points, nothing, np.concatenate([on_skin, np.full((6000, 3), 255)]).astype(np.uint8), nothing,
        np.concatenate([template, nothing[:6000]]), np.arange(12000) < 6000, nothing, nothing[:, 0], np.zeros((6, 3)),
    )  # fmt: skip
    found = latent_init.appearance(samples).reshape(-1, 3)
    skin, far = found[: len(latent_init.points)], found[len(latent_init.points) :]
    left, right = latent_init.place[:, 0] > 0.02, latent_init.place[:, 0] < -0.02
    np.testing.assert_allclose(skin[left], np.broadcast_to([200 / 255, 0, 0], skin[left].shape), atol=1e-12)
    np.testing.assert_allclose(skin[right], np.broadcast_to([0, 0, 200 / 255], skin[right].shape), atol=1e-12)
    assert (far[latent_init.directions[:, 1] > 0.2] == 1).all()
    assert (far[latent_init.directions[:, 1] < -0.8, 1] == 0).all()


# Photographs


@pytest.mark.parametrize("power", [0.0, 0.6])
def test_a_photograph_shows_the_ball_where_it_is(power: float) -> None:
    ball = _ball(BALL, [RIGHT_SKIN, LEFT_SKIN], fine=4)
    light = DAYLIGHT if power == 0 else _lit(0.0, ((0.0, 0.0, 1.0), power))
    own = OuterSurface(_head(ball, light=light), np.random.default_rng(0), rounds=1)
    unit = UNIT_MM / 1000
    target = torch.from_numpy(CENTRE / unit)
    camera = Camera.look_at(target + torch.tensor([0.0, 0.0, 5.0], dtype=target.dtype), target, 800.0, 200, 160)
    photo = photograph(own, camera, background=0.25)
    picture = photo.image
    assert picture.shape == (160, 200, 3)
    x, y = np.meshgrid(np.arange(200) + 0.5 - 100, np.arange(160) + 0.5 - 80)
    # The outline is where rays touch the ball: tan(asin(r / d)).
    outline = 800 * np.tan(np.arcsin(BALL / unit / 5.0))
    reach = np.hypot(x, y)
    assert outline == pytest.approx(80.4, abs=0.1)
    assert (picture[reach > outline + 1] == 0.25).all()
    inside = reach < outline - 3
    # The camera looks at the face, so the subject's left is on the picture's right.
    for side, skin in ((x > 8, LEFT_SKIN), (x < -8, RIGHT_SKIN)):
        found = picture[inside & side] * 255
        if power == 0:
            assert (np.abs(found - skin) < 1e-9).all()
            continue
        # The ray of a pixel meets the ball at sin of the angle at its centre; the lamp is behind the camera.
        slope = reach[inside & side] / 800
        sine = 5.0 * unit / BALL * np.sin(np.arctan(slope))
        angle = np.arcsin(sine) - np.arctan(slope)
        truth = np.array(skin) * (power * (np.cos(angle) + 0.2) / 1.2)[:, None] ** (1 / 2.2)
        assert np.abs(found - truth).max() < 5
        assert np.abs(found - truth).mean() < 1


def test_hidden_and_open_pixels_of_a_photograph(tmp_path: Path) -> None:
    """A disc of hair before a ball: only the disc is visible, lit from the front."""
    ball = _ball(BALL, [LEFT_SKIN, LEFT_SKIN])
    square = np.array([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]]) + NOSE + [0, 0, 0.05]
    wall = Part(square, np.array([[0, 1, 2], [0, 2, 3]]), np.full((4, 2), 0.5), np.array([[HAIR]], np.uint8))
    own = OuterSurface(_head(ball, wall, hair=1), np.random.default_rng(0), rounds=1)
    target = torch.from_numpy(CENTRE / UNIT_MM * 1000)
    camera = Camera.look_at(target + torch.tensor([0.0, 0.0, 5.0], dtype=target.dtype), target, 100.0, 20, 20)
    np.testing.assert_allclose(photograph(own, camera).image * 255, np.broadcast_to(HAIR, (20, 20, 3)), atol=1e-9)
