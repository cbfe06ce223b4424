"""Hair that grows on the body, and what a composed head is made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from busts import BODY, BUSTS, LANDMARKS, WIG_VERTICES, beard, scalp, write_ict, write_mediapipe, write_valid
from protome.face import LANDMARK_NAMES
from protome.population.compose import ComposedHead, Composer, draw_sliders
from protome.population.faces import FaceModes
from protome.population.hair import HairMasks, draw_hair_colour, recoloured, vertex_colours
from protome.population.makehuman.makehuman import MakeHuman
from protome.population.makehuman.shells import HairShell
from protome.population.makehuman.skins import Skin
from protome.population.sources.valid import EYE_CORNERS, ValidHeads
from protome.population.texture import texels

BY_NAME = {bust.name: bust for bust in BUSTS}
NEIGHBOURS = [(0, 1), (1, 2), (2, 0)]


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
    picture = np.stack([*np.mgrid[:10, :20], np.zeros((10, 20))], 2).astype(np.uint8)
    assert texels(picture, uv)[:, :2].tolist() == [[0, 0], [0, 19], [4, 6], [9, 19], [0, 0]]


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
    assert body.template is not None
    assert np.array_equal(body.template, composer.template)
    assert wig.template is None
    # Eyes lie in the template as in the face: it is larger and moved, so within some millimetres of their own place.
    for eye, x in ((left, 0.03), (right, -0.03)):
        assert eye.template is not None
        assert eye.template.shape == eye.vertices.shape
        assert np.linalg.norm(eye.template.mean(0) - [x, 0, 0.0], axis=0) < 0.02
    # The same for everyone.
    other = composer.person(np.random.default_rng(1))
    skin, socket = other.parts[0].template, other.parts[1].template
    assert skin is not None
    assert socket is not None
    assert left.template is not None
    assert np.array_equal(skin, composer.template)
    assert np.array_equal(socket, left.template)


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


def test_new_people_have_nothing_of_held_out_ones(plain: Composer, valid: ValidHeads) -> None:
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
        skins += bool(is_blue.any())
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
    weights = np.stack([draw_sliders(names, rng) for _ in range(1000)])
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
    assert draw_sliders(("nose-0",), rng).shape == (1,)
