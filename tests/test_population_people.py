"""How people differ: regions and modes of the face, expressions, turns of the head, and light."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from busts import BODY
from protome.population.faces import FaceModes
from protome.population.light import Light, draw_light
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
    # Regions of one person correlate, though not fully; and so do the sides.
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
    np.testing.assert_allclose(reach[1], reach[0], atol=1e-12)
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
    # Where no sky is visible some light comes from the skin around.
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
    # A black ball under a lamp from the left: only the gloss is visible, and most where the normal halves the angle.
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
