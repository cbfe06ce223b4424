"""New people: regions, modes and turns of the head, light, hair that grows, and what a composed head is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from busts import BODY, BUSTS, LANDMARKS, WIG_VERTICES, beard, scalp, write_ict, write_mediapipe, write_valid
from protome.population.compose import ComposedHead, Composer, _draw_sliders
from protome.population.faces import FaceModes
from protome.population.hair import HairMasks, draw_hair_colour, recoloured, texels, vertex_colours
from protome.population.light import Light, draw_light
from protome.population.makehuman import MakeHuman
from protome.population.makehuman_skins import Skin
from protome.population.people import (
    MILD,
    NECK_PIVOT,
    REGIONS,
    draw_expression,
    draw_identity,
    draw_turn,
    region_masks,
    turned,
)
from protome.population.shells import HairShell
from protome.population.sources import EYE_CORNERS, LANDMARK_NAMES, ValidHeads

BY_NAME = {bust.name: bust for bust in BUSTS}
NEIGHBOURS = [(0, 1), (1, 2), (2, 0)]

# Regions and modes


def test_region_masks_share_each_vertex_out_and_are_symmetric() -> None:
    points = BODY.vertices
    masks = region_masks(points)
    assert masks.shape == (len(REGIONS), len(points))
    np.testing.assert_allclose(masks.sum(0), 1.0, atol=1e-12)
    assert masks.min() >= 0
    np.testing.assert_allclose(region_masks(points * [-1, 1, 1]), masks, atol=1e-12)
    # Each region is the largest at its own middle.
    for number, (centre, _) in enumerate(REGIONS.values()):
        assert region_masks(np.array([centre]))[:, 0].argmax() == number


def _modes(identity: np.ndarray, names: tuple[str, ...] = (), expression: np.ndarray | None = None) -> FaceModes:
    count = identity.shape[1]
    expression = np.zeros((len(names), count, 3)) if expression is None else expression
    return FaceModes(np.zeros((count, 3)), identity, expression, names, np.ones(count))


def test_an_identity_is_linear_in_the_modes_and_reproducible() -> None:
    points = BODY.vertices[::7]
    masks = region_masks(points)
    first, second = np.random.default_rng(0).normal(size=(2, 5, len(points), 3))

    def drawn(identity: np.ndarray, seed: int = 4) -> np.ndarray:
        return draw_identity(_modes(identity), masks, points, np.random.default_rng(seed))

    assert (drawn(np.zeros_like(first)) == 0).all()
    assert np.array_equal(drawn(first), drawn(first))
    assert np.abs(drawn(first) - drawn(first, 5)).max() > 0.1
    np.testing.assert_allclose(drawn(2 * first - 3 * second), 2 * drawn(first) - 3 * drawn(second), atol=1e-12)


def test_identities_have_about_the_spread_of_the_modes() -> None:
    # One mode that moves all points by 1: what is drawn is the weight at each of them.
    points = np.array([[0.0, 0.0, -0.01], [0.0, -0.095, -0.03], [0.06, 0.0, -0.08], [-0.06, 0.0, -0.08]])
    modes = _modes(np.ones((1, 4, 3)))
    masks = region_masks(points)
    rng = np.random.default_rng(0)
    weights = np.stack([draw_identity(modes, masks, points, rng)[:, 0] for _ in range(3000)])
    # Spreads are uniform in 0.75 to 1.15; borrowed regions and unevenness change little.
    np.testing.assert_allclose(weights.std(0), 0.955, atol=0.06)
    np.testing.assert_allclose(weights.mean(0), 0.0, atol=0.06)
    # Regions of one person go together, though not quite; and so do the sides.
    assert 0.8 < np.corrcoef(weights[:, 0], weights[:, 1])[0, 1] < 0.99
    uneven = weights[:, 2] - weights[:, 3]
    assert 0.05 < uneven.std() < 0.3


def test_expressions_are_mild_and_half_of_the_people_are_neutral() -> None:
    names = tuple(sorted({unit for main, _, (more, _) in MILD.values() for unit in (*main, *more)}))
    # Unit k moves point k alone: what is drawn are the weights.
    expression = np.repeat(np.eye(len(names))[..., None], 3, 2)
    modes = _modes(np.zeros((0, len(names), 3)), names, expression)
    rng = np.random.default_rng(0)
    weights = np.stack([draw_expression(modes, rng)[:, 0] for _ in range(800)])
    neutral = (weights == 0).all(1)
    assert 0.45 < neutral.mean() < 0.55
    assert weights.min() == 0
    # Two expressions at their greatest, varied by a fifth.
    greatest = {unit: limit for main, limit, _ in MILD.values() for unit in main}
    for unit, limit in greatest.items():
        column = weights[:, names.index(unit)]
        assert column.max() <= 2 * 1.2 * limit
        assert column.max() > 0.6 * limit, unit
    # A smile is on both sides at once, and nothing else comes without its main unit.
    left, right = (weights[:, names.index(f"mouthSmile_{side}")] for side in "LR")
    assert ((left > 0) == (right > 0)).all()
    assert (left[weights[:, names.index("cheekSquint_L")] > 0] > 0).all()


# Turns of the head


def test_a_turn_leaves_the_head_and_turns_the_shoulders_back() -> None:
    points, turn = BODY.vertices, Rotation.from_euler("yxz", [14, -6, 3], degrees=True)
    moved = turned(points, turn)
    head, shoulders = points[:, 1] > -0.085, points[:, 1] < -0.17
    assert head.sum() > 500
    assert shoulders.sum() > 500
    np.testing.assert_allclose(moved[head], points[head], atol=1e-15)
    matrix = turn.as_matrix()
    # Relative to the shoulders the head is turned by `turn`: turning the shoulders on by it brings them back.
    np.testing.assert_allclose((moved[shoulders] - NECK_PIVOT) @ matrix.T + NECK_PIVOT, points[shoulders], atol=1e-12)
    assert np.linalg.norm(moved - points, axis=1)[shoulders].max() > 0.02
    # The neck is between: every point keeps its distance from the pivot.
    reach = [np.linalg.norm(place - NECK_PIVOT, axis=1) for place in (points, moved)]
    np.testing.assert_allclose(*reach, atol=1e-12)
    np.testing.assert_allclose(turned(points, Rotation.identity()), points, atol=1e-12)


def test_turns_stay_small() -> None:
    rng = np.random.default_rng(0)
    angles = np.abs([draw_turn(rng).as_euler("yxz", degrees=True) for _ in range(600)])
    assert (angles.max(0) <= np.array([15, 8, 5]) + 1e-9).all()
    assert (angles.max(0) > [14, 7.5, 4.5]).all()
    np.testing.assert_allclose(np.median(angles, 0) / 0.6745, [6.0, 4.0, 2.5], rtol=0.15)


# Light

BLACK, ALONG = np.zeros(3), np.array([0.0, 0.0, -1.0])
FORWARD = np.array([[0.0, 0.0, 1.0]])
NO_LAMPS = np.zeros((0, 3))
BRIGHT = np.ones(3)


def _light(
    ambient: np.ndarray, directions: np.ndarray = NO_LAMPS, colours: np.ndarray = NO_LAMPS, gloss: float = 0.0,
    exposure: np.ndarray = BRIGHT,
) -> Light:  # fmt: skip
    return Light(ambient, directions, colours, np.full(len(directions), 0.1), gloss, exposure)


def _shaded(
    light: Light, albedo: tuple[int, int, int], normal: tuple[float, float, float], sky: float = 1.0,
    lit: float = 1.0, view: np.ndarray = ALONG,
) -> list[int]:  # fmt: skip
    share = np.full((1, len(light.directions)), lit)
    return light.shade(np.array([albedo], np.uint8), np.array([normal]), view[None], np.array([sky]), share)[0].tolist()


def test_full_ambient_light_shows_the_albedo() -> None:
    assert _shaded(_light(BRIGHT), (10, 128, 255), (0.0, 1.0, 0.0)) == [10, 128, 255]
    # A fraction of the energy is a power 1/2.2 of it in an image; what is too bright is cut off.
    dim = _light(np.array([0.5, 1.0, 2.0]))
    assert _shaded(dim, (200, 200, 200), (0.0, 1.0, 0.0)) == [round(200 * 0.5 ** (1 / 2.2)), 200, 255]
    # Where no sky is seen some light comes from the skin around.
    assert _shaded(_light(BRIGHT), (200,) * 3, (0.0, 1.0, 0.0), sky=0.0) == [round(200 * 0.35 ** (1 / 2.2))] * 3
    assert _shaded(_light(BRIGHT), (200,) * 3, (0.0, 1.0, 0.0), sky=0.4) == [round(200 * 0.61 ** (1 / 2.2))] * 3


def test_a_soft_lamp_fades_past_the_horizon() -> None:
    lamp = _light(BLACK, FORWARD, np.ones((1, 3)))
    assert _shaded(lamp, (100, 150, 200), (0.0, 0.0, 1.0)) == [100, 150, 200]
    beside = [round(value * (0.2 / 1.2) ** (1 / 2.2)) for value in (100, 150, 200)]
    assert _shaded(lamp, (100, 150, 200), (1.0, 0.0, 0.0)) == beside
    # The light ends where cos + 0.2 does.
    assert _shaded(lamp, (100, 150, 200), (np.sqrt(0.96), 0.0, -0.2)) == [0, 0, 0]
    assert _shaded(lamp, (100, 150, 200), (np.sqrt(1 - 0.19**2), 0.0, -0.19)) != [0, 0, 0]
    assert _shaded(lamp, (100, 150, 200), (0.0, 0.0, -1.0)) == [0, 0, 0]


def test_lamps_and_ambient_add_up_in_their_colours() -> None:
    lamps = _light(
        np.array([0.1, 0.1, 0.1]),
        np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
        np.array([[0.5, 0.0, 0.2], [0.0, 0.8, 0.0]]),
    )
    energy = np.array([0.1 + 0.5, 0.1 + 0.2 / 1.2 * 0.8, 0.1 + 0.2])
    truth = np.rint(255 * ((180 / 255) ** 2.2 * energy) ** (1 / 2.2))
    assert _shaded(lamps, (180, 180, 180), (0.0, 0.0, 1.0)) == truth.tolist()


def test_shadows_take_their_share_of_a_lamp_and_exposure_of_everything() -> None:
    lamp = _light(np.full(3, 0.1), FORWARD, np.full((1, 3), 0.8), exposure=np.array([1.1, 1.0, 0.5]))
    for lit in (0.0, 1 / 3, 1.0):
        energy = (0.1 + 0.8 * lit) * np.array([1.1, 1.0, 0.5])
        truth = np.rint(180 * energy ** (1 / 2.2))
        assert _shaded(lamp, (180, 180, 180), (0.0, 0.0, 1.0), lit=lit) == truth.tolist()


def test_gloss_shines_in_the_mirror_direction() -> None:
    # A black ball under a lamp from the left: only the gloss is seen, and most where the normal halves the angle.
    lamp = _light(BLACK, np.array([[1.0, 0.0, 0.0]]), np.full((1, 3), 0.5), gloss=0.2)
    half = (np.sqrt(0.5), 0.0, np.sqrt(0.5))
    assert _shaded(lamp, (0, 0, 0), half) == [round(255 * (0.2 * 0.5) ** (1 / 2.2))] * 3
    aside = (np.sin(np.radians(65)), 0.0, np.cos(np.radians(65)))
    truth = round(255 * (0.2 * 0.5 * np.cos(np.radians(20)) ** 24) ** (1 / 2.2))
    assert _shaded(lamp, (0, 0, 0), aside) == [truth] * 3
    assert _shaded(lamp, (0, 0, 0), half, lit=0.0) == [0, 0, 0]


def test_drawn_lights_are_like_those_of_photographs() -> None:
    rng = np.random.default_rng(0)
    lights = [draw_light(rng) for _ in range(300)]
    assert {len(light.directions) for light in lights} == {1, 2, 3, 4}
    for light in lights:
        np.testing.assert_allclose(np.linalg.norm(light.directions, axis=1), 1, atol=1e-12)
        assert min(light.ambient.min(), light.colours.min(), light.exposure.min(), light.softness.min()) > 0
        # The sky's share and the lamps' add up to all there is, and nothing is far from white.
        share = light.ambient[1]
        assert abs(light.colours[:, 1].sum() - 1.3 * (1 - share)) < 0.15
        for colour in (light.ambient, *light.colours, light.exposure):
            assert colour.max() / colour.min() < 1.8
    # Lamps come from before the face more often than from behind it, and hardly ever from below.
    every = np.concatenate([light.directions for light in lights])
    assert (every[:, 2] > 0).mean() > 0.7
    assert every[:, 1].min() >= np.sin(-0.1)


# Hair


def test_recoloured_hair_keeps_its_strands() -> None:
    rng = np.random.default_rng(0)
    texture = rng.integers(20, 200, (16, 16, 3)).astype(np.uint8)
    colour = np.array([0.5, 0.3, 0.15])
    other = recoloured(texture, colour)
    before, after = texture.astype(float).mean(2).ravel(), other.astype(float).mean(2).ravel()
    # What was lighter is lighter (or as light, where the range ends), and the hue is the new one everywhere.
    order = np.argsort(before)
    assert (np.diff(after[order]) >= -1).all()
    assert np.corrcoef(before, after)[0, 1] > 0.95
    clear = other[..., 0] < 255
    np.testing.assert_allclose(
        other[clear] / other[clear][:, :1], np.broadcast_to(colour / 0.5, (clear.sum(), 3)), atol=0.02
    )
    # Even hair takes the colour itself.
    assert (recoloured(np.full((2, 2, 3), 77, np.uint8), colour) == np.rint(255 * colour)).all()


def test_hair_colours_are_natural() -> None:
    rng = np.random.default_rng(0)
    colours = np.stack([draw_hair_colour(rng) for _ in range(500)])
    assert colours.min() >= 0
    assert colours.max() <= 0.95
    # Never greener than red, never bluer than green (but for greys); black and dark brown are the most common.
    assert (colours[:, 0] >= colours[:, 1] - 0.01).all()
    assert (colours[:, 1] >= colours[:, 2] - 0.01).all()
    assert np.median(colours.mean(1)) < 0.25
    assert colours.mean(1).max() > 0.6


def test_texels_are_where_their_coordinates_say() -> None:
    uv = np.array([[0.0, 1.0], [0.99, 0.99], [0.3, 0.6], [1.0, 0.0], [-0.2, 1.3]])
    rows, columns = texels(uv, (10, 20, 3))
    assert rows.tolist() == [0, 0, 4, 9, 0]
    assert columns.tolist() == [0, 19, 6, 19, 0]


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> ValidHeads:
    return ValidHeads(write_valid(tmp_path_factory.mktemp("people") / "valid"))


@pytest.fixture(scope="module")
def plain(valid: ValidHeads) -> Composer:
    """Without a face model: people are mixed from the avatars."""
    return Composer(valid, None)


@pytest.fixture(scope="module")
def masks(plain: Composer) -> HairMasks:
    return plain.masks


def _spread(mask: np.ndarray, rounds: int) -> np.ndarray:
    """A set of vertices and their neighbours."""
    faces = BODY.weld[BODY.faces]
    mask = mask[BODY.weld]
    for _ in range(rounds):
        wider = mask.copy()
        for first, second in NEIGHBOURS:
            np.logical_or.at(wider, faces[:, first], mask[faces[:, second]])
            np.logical_or.at(wider, faces[:, second], mask[faces[:, first]])
        mask = wider
    return mask[BODY.weld]


def test_hair_grows_where_textures_show_it(masks: HairMasks) -> None:
    points, weld = BODY.vertices, BODY.weld
    for mask in (masks.scalp, masks.beard):
        assert mask.min() >= 0
        assert mask.max() <= 1
        assert np.array_equal(mask, mask[weld])
    # Painted hair, some rows away from its border, and bare skin likewise.
    hairy = scalp(points)
    assert masks.scalp[~_spread(~hairy, 4)].min() > 0.95
    assert masks.scalp[~_spread(hairy, 4)].max() == 0
    inside = ~_spread(~beard(points), 2) & (points[:, 1] < -0.088)
    assert inside.sum() > 5
    assert masks.beard[inside].min() > 0.5
    assert masks.beard[~_spread(beard(points), 6)].max() == 0
    # No beard grows on lips, painted or not.
    lips = [LANDMARKS["right_lips"], LANDMARKS["left_lips"]]
    middle = np.linalg.norm(points - points[lips].mean(0) - [0, 0, 0.012], axis=1).argmin()
    assert masks.beard[middle] < 0.35


def test_hair_stands_on_the_skin(masks: HairMasks, plain: Composer) -> None:
    body = plain.avatars["Black_M_3_Casual"].body
    colour = np.array([0.4, 0.2, 0.1])
    grown = masks.cropped(body, 0.01, colour, np.random.default_rng(0))
    moved = grown.vertices - body.vertices
    height = np.linalg.norm(moved, axis=1)
    # Along the smooth normals and outwards, only where hair grows.
    clear = height > 1e-4
    lift = masks.lift / np.linalg.norm(masks.lift, axis=1, keepdims=True)
    np.testing.assert_allclose(moved[clear] / height[clear, None], lift[clear], atol=1e-9)
    outwards = BODY.vertices - [0, 0, -0.085]
    assert ((moved * outwards).sum(1)[clear] > 0).all()
    assert (moved[~_spread(masks.scalp > 0.35, 1)] == 0).all()
    full = ~_spread(masks.scalp < 0.95, 2)
    assert full.sum() > 200
    assert 0.0085 < height[full].mean() < 0.0105
    assert height[full].min() > 0.3 * 0.01
    assert height.max() < 1.6 * 0.01
    # Seams hold, and the hair has its colour, lighter and darker by strands.
    assert np.array_equal(grown.vertices[BODY.weld] - body.vertices[BODY.weld], moved)
    assert grown.tint is not None
    np.testing.assert_allclose(grown.tint[full].mean(0), [*colour, 1.0], rtol=0.1)
    assert grown.tint[full, 0].std() > 0.02
    assert (grown.tint[~_spread(masks.scalp > 0.35, 1), 3] == 0).all()
    # Stubble lets the skin through.
    short = masks.cropped(body, 0.001, colour, np.random.default_rng(0))
    assert short.tint is not None
    assert abs(short.tint[full, 3].max() - 0.75) < 1e-9


def test_beards_are_full_or_parts_of_it_and_hide_no_other_hair(masks: HairMasks, plain: Composer) -> None:
    body = plain.avatars["Black_M_3_Casual"].body
    black = np.zeros(3)
    cropped = masks.cropped(body, 0.01, np.array([0.4, 0.2, 0.1]), np.random.default_rng(0))
    kinds = set()
    for seed in range(25):
        worn = masks.bearded(cropped, 0.004, black, np.random.default_rng(seed))
        height = np.linalg.norm(worn.vertices - cropped.vertices, axis=1)
        assert (height[~_spread(masks.beard > 0.1, 1)] == 0).all()
        assert height.max() < 1.6 * 0.004
        assert worn.tint is not None
        assert cropped.tint is not None
        np.testing.assert_array_equal(worn.tint[masks.scalp > 0.7], cropped.tint[masks.scalp > 0.7])
        x, y = np.abs(BODY.vertices[height > 1e-5][:, 0]), BODY.vertices[height > 1e-5][:, 1]
        kinds.add("full" if x.max() > 0.05 else "goatee" if y.min() < -0.1 else "moustache")
    assert kinds == {"full", "goatee", "moustache"}


def test_without_an_avatar_that_shows_hair_there_is_no_mask(valid: ValidHeads) -> None:
    with pytest.raises(ValueError, match="no avatar shows where hair grows"):
        HairMasks.of(valid, {"Asian_F_1_Busi": valid.avatar("Asian_F_1_Busi")})


# Composed heads


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("people_ict")
    return write_ict(root / "ict"), write_mediapipe(root / "mediapipe")


@pytest.fixture(scope="module")
def composer(valid: ValidHeads, folders: tuple[Path, Path]) -> Composer:
    return Composer(valid, FaceModes.load(*folders, valid))


def _origin(vertices: np.ndarray) -> np.ndarray:
    return vertices[[LANDMARKS[key] for key in EYE_CORNERS]].mean(0)


def _check_frame(head: ComposedHead) -> None:
    """The origin lies between the eyes, and landmarks on vertices of the body."""
    body = head.parts[0].vertices
    np.testing.assert_allclose(_origin(body), 0.0, atol=1e-12)
    np.testing.assert_allclose(head.landmarks, body[[LANDMARKS[key] for key in LANDMARK_NAMES]], atol=1e-15)


def _same(one: ComposedHead, other: ComposedHead) -> bool:
    arrays = [
        [head.landmarks, *vars(head.light).values(), *(part.vertices for part in head.parts)]
        + [part.texture for part in head.parts]
        + [part.tint for part in head.parts if part.tint is not None]
        for head in (one, other)
    ]
    return len(arrays[0]) == len(arrays[1]) and all(map(np.array_equal, *arrays))


def test_originals_keep_their_shape_and_colours(composer: Composer, valid: ValidHeads) -> None:
    for name, bust in BY_NAME.items():
        head = composer.original(name, np.random.default_rng(0))
        assert head.name == name
        truth = valid.body(name)
        np.testing.assert_allclose(head.parts[0].vertices, truth - _origin(truth), atol=1e-12)
        _check_frame(head)
        avatar = valid.avatar(name)
        assert np.array_equal(head.parts[0].texture, avatar.body.texture)
        for part, own in zip(head.parts[1:], (*avatar.small, *([avatar.wig] if avatar.wig else [])), strict=True):
            np.testing.assert_allclose(part.vertices, own.vertices - _origin(truth), atol=1e-12)
            assert np.array_equal(part.texture, own.texture)
        assert head.solid == (True, True, True, False)[: len(head.parts)]
        assert len(head.parts) == (4 if bust.hair == "wig" else 3)


def test_skin_is_registered_to_the_template_and_hair_is_not(composer: Composer, valid: ValidHeads) -> None:
    assert composer.faces is not None
    mean = valid.mean + composer.faces.face[:, None] * composer.faces.towards_mean
    np.testing.assert_allclose(composer.template, mean - _origin(mean), atol=1e-12)
    head = composer.original("Asian_F_1_Busi", np.random.default_rng(0))
    body, left, right, wig = head.parts
    assert np.array_equal(body.template, composer.template)
    assert wig.template is None
    # Eyes lie in the template as in the face: it is larger and moved, so within some millimetres of their own place.
    for eye, x in ((left, 0.03), (right, -0.03)):
        assert eye.template is not None
        assert eye.template.shape == eye.vertices.shape
        assert np.linalg.norm(eye.template.mean(0) - [x, 0, 0.0], axis=0) < 0.02
    # The same for everyone.
    other = composer.person(np.random.default_rng(1))
    assert np.array_equal(other.parts[0].template, composer.template)
    assert np.array_equal(other.parts[1].template, left.template)


def test_pure_heads_are_the_face_models_mean_and_modes(composer: Composer, masks: HairMasks) -> None:
    faces = composer.faces
    assert faces is not None
    own = (faces.face == 1) & (masks.scalp == 0) & (BODY.vertices[:, 1] > -0.05)
    assert own.sum() > 150
    mean = (composer.valid.mean + faces.towards_mean)[own]
    # The origin is moved last, by one vector for all points.
    shifts = np.broadcast_to(np.eye(3)[:, None], (3, int(own.sum()), 3))
    design = np.concatenate([faces.identity[:, own], shifts]).reshape(len(faces.identity) + 3, -1).T

    def residual(head: ComposedHead) -> tuple[np.ndarray, float]:
        moves = (head.parts[0].vertices[own] - mean).ravel()
        weights = np.linalg.lstsq(design, moves, rcond=None)[0]
        return weights[: len(faces.identity)], float(np.abs(design @ weights - moves).max())

    rng = np.random.default_rng(0)
    pure = [residual(composer.person(rng, pure=True)) for _ in range(30)]
    assert max(gap for _, gap in pure) < 1e-12
    weights = np.stack([weight for weight, _ in pure])
    # One standard deviation each.
    assert 0.8 < weights.std() < 1.2
    # Others have regions of other people, expressions, and faces of avatars.
    mixed = [residual(composer.person(rng))[1] for _ in range(10)]
    assert min(mixed) > 1e-5


def test_the_same_random_state_gives_the_same_head(composer: Composer) -> None:
    for pure in (False, True):
        one, two, other = (composer.person(np.random.default_rng(seed), pure) for seed in (3, 3, 4))
        assert one.name == two.name
        assert _same(one, two)
        assert not _same(one, other)


def test_new_people_have_their_frame_and_all_their_parts(composer: Composer) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        head = composer.person(rng)
        _check_frame(head)
        assert head.solid[:3] == (True, True, True)
        assert not any(head.solid[3:])
        assert all(np.isfinite(part.vertices).all() for part in head.parts)
        assert len({part.texture.tobytes() for part in head.parts[:3]}) == 1


def test_held_out_people_are_never_seen_in_new_ones(plain: Composer, valid: ValidHeads) -> None:
    rng = np.random.default_rng(0)
    body = valid.bodies[[valid.names.index(name) for name in valid.training_names]]
    shifts = np.broadcast_to(np.eye(3)[:, None], (3, *BODY.vertices.shape))
    plainly = (BODY.vertices[:, 1] > -0.08) & (plain.masks.scalp == 0) & (plain.masks.beard == 0)
    design = np.concatenate([body, shifts])[:, plainly].reshape(len(body) + 3, -1).T
    # Weights that add up to one: a mixture.
    design = np.concatenate([design, [[1e3] * len(body) + [0] * 3]])
    donors, wigs = set(), set()
    for _ in range(60):
        head = plain.person(rng)
        donors.add(head.name)
        skin = head.parts[0].texture.reshape(-1, 3).astype(int)
        # Held-out people are green, whatever the tone; nobody else is.
        assert (skin[:, 0] > 0.8 * skin[:, 1]).all()
        wigs |= {len(part.vertices) for part in head.parts[3:]}
        aim = np.append(head.parts[0].vertices[plainly].ravel(), 1e3)
        weights = np.linalg.lstsq(design, aim, rcond=None)[0]
        assert np.abs(design @ weights - aim).max() < 1e-6
        assert weights[: len(body)].min() > -1e-3
    assert donors == {f"new {name}" for name in valid.training_names}
    assert wigs == {WIG_VERTICES}


# What MakeHuman adds


def test_shells_of_hair_and_skins_are_worn(valid: ValidHeads) -> None:
    painted = np.arange(64 * 64).reshape(64, 64) < 20 * 64
    blue = Skin("blue", np.full((64, 64, 3), (20, 40, 250), np.uint8), painted, painted, np.zeros_like(painted))
    corners = np.array([[0.0, 0.16, -0.08], [0.05, 0.14, -0.1], [-0.05, 0.14, -0.1], [0.0, 0.14, -0.05]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    shades = np.array([[90] * 3, [60] * 3, [60] * 3, [30] * 3], np.uint8)
    added = MakeHuman(valid.mean, (HairShell("tuft", corners, faces, shades),), (blue,), clothes=(), shapes=None)
    composer = Composer(valid, None, added)
    rng = np.random.default_rng(0)
    shells, skins, bare = 0, 0, 0
    for _ in range(60):
        head = composer.person(rng)
        texture = head.parts[0].texture.astype(int)
        is_blue = texture[..., 2] > 2 * texture[..., 0]
        # Only where the skin is painted, and only on bare scalps.
        assert (is_blue == (painted & is_blue.any())).all()
        donor = valid.avatar(head.name.removeprefix("new "))
        bare += donor.bald
        skins += is_blue.any()
        assert donor.bald or not is_blue.any()
        for part in head.parts[3:]:
            if len(part.vertices) == 4:
                shells += 1
                assert donor.bald
                assert part.template is None
                assert part.tint is not None
                assert (part.tint[:, 3] == 1).all()
                assert np.array_equal(part.faces, faces)
                light = part.tint[:, :3].mean(1)
                assert light[0] > light[1] == light[2] > light[3]
                # It sits on the head as on the mean, fuller or flatter by some per cent.
                assert np.linalg.norm(part.vertices - corners, axis=1).max() < 0.03
    assert 0.1 < skins / bare < 0.5
    # 42 of 105 parts of the bare scalps.
    assert 0.2 < shells / bare < 0.6


def test_colours_are_read_at_vertices(valid: ValidHeads) -> None:
    body = valid.avatar("White_M_1_Casual").body
    colours = vertex_colours(body)
    assert np.allclose(colours[0] * 255, (30, 20, 15))
    assert np.allclose(colours[-1] * 255, BY_NAME["White_M_1_Casual"].skin)
    checked = replace(body, texture=np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    assert np.allclose(vertex_colours(checked)[[0, len(colours) - 1]] * 255, [[0, 1, 2], [9, 10, 11]])


def test_sliders_are_a_few_details_and_sometimes_age_and_sex() -> None:
    names = (*(f"nose-{number}" for number in range(20)), "macro-old", "macro-male", "macro-weight")
    rng = np.random.default_rng(0)
    weights = np.stack([_draw_sliders(names, rng) for _ in range(1000)])
    details, old, male, weight = weights[:, :20], weights[:, 20], weights[:, 21], weights[:, 22]
    # One or two of twenty details, a third of their way.
    assert 0.07 < (details != 0).mean() < 0.09
    assert 0.3 < details[details != 0].std() < 0.4
    # A quarter of the people age, and nobody grows younger; what makes giants is left out.
    assert 0.2 < (old > 0).mean() < 0.3
    assert old.min() == 0
    assert old.max() <= 0.9
    assert 0.35 < (male != 0).mean() < 0.45
    assert (weight == 0).all()
    assert _draw_sliders(("nose-0",), rng).shape == (1,)
