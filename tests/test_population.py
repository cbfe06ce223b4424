"""Training heads: light, the outer surface of composed parts, and samples on disk."""

from __future__ import annotations

import functools
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import trimesh

from protome.errors import InputError
from protome.population import surface as surface_module
from protome.population.compose import ComposedHead, Light
from protome.population.sources import Part
from protome.population.store import Population, PopulationWriter
from protome.population.surface import BOUNDS_M, SHEET_M, HeadSamples, OuterSurface, sample_head
from protome.units import UNIT_MM

# Light

BLACK = np.zeros(3)
FORWARD = np.array([[0.0, 0.0, 1.0]])


def _shaded(light: Light, albedo: tuple[int, int, int], normal: tuple[float, float, float]) -> list[int]:
    return light.shade(np.array([albedo], np.uint8), np.array([normal], np.float64))[0].tolist()


def test_full_ambient_light_shows_the_albedo() -> None:
    light = Light(np.ones(3), np.zeros((0, 3)), np.zeros((0, 3)))
    assert _shaded(light, (10, 128, 255), (0, 1, 0)) == [10, 128, 255]
    # A fraction of the energy is a power 1/2.2 of it in an image; what is too bright is cut off.
    dim = Light(np.array([0.5, 1.0, 2.0]), np.zeros((0, 3)), np.zeros((0, 3)))
    assert _shaded(dim, (200, 200, 200), (0, 1, 0)) == [round(200 * 0.5 ** (1 / 2.2)), 200, 255]


def test_a_soft_lamp_fades_past_the_horizon() -> None:
    lamp = Light(BLACK, FORWARD, np.ones((1, 3)))
    assert _shaded(lamp, (100, 150, 200), (0, 0, 1)) == [100, 150, 200]
    beside = [round(value * 0.25 ** (1 / 2.2)) for value in (100, 150, 200)]
    assert _shaded(lamp, (100, 150, 200), (1, 0, 0)) == beside
    # The light ends where 0.75 cos + 0.25 does.
    assert _shaded(lamp, (100, 150, 200), (np.sqrt(8) / 3, 0, -1 / 3)) == [0, 0, 0]
    assert _shaded(lamp, (100, 150, 200), (0, 0, -1)) == [0, 0, 0]


def test_lamps_and_ambient_add_up_in_their_colours() -> None:
    lamps = Light(
        np.array([0.1, 0.1, 0.1]),
        np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
        np.array([[0.5, 0.0, 0.2], [0.0, 0.8, 0.0]]),
    )
    energy = np.array([0.1 + 0.5, 0.1 + 0.25 * 0.8, 0.1 + 0.2])
    truth = np.rint(255 * ((180 / 255) ** 2.2 * energy) ** (1 / 2.2))
    assert _shaded(lamps, (180, 180, 180), (0, 0, 1)) == truth.tolist()


# The outer surface: a ball with a smaller one hidden inside, and half a shell over it like a wig

CENTRE = np.array([0.0, -0.03, -0.1])
BODY, INNER, WIG = 0.1, 0.05, 0.115
NOSE = CENTRE + np.array([0.0, 0.0, BODY])
LEFT_SKIN, RIGHT_SKIN, HIDDEN, HAIR = (200, 150, 120), (60, 90, 170), (0, 255, 0), (30, 20, 10)
# Flat triangles of an icosphere with edges of 0.16 r sink below the ball by less than this.
SAG = 0.007
DAYLIGHT = Light(np.ones(3), np.zeros((0, 3)), np.zeros((0, 3)))


def _ball(radius: float, colours: list[tuple[int, int, int]], above: float = -1.0) -> Part:
    """A ball, or the part of it above a height; the right half takes the texture's first colour."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    ball.update_faces(ball.triangles_center[:, 1] > above)
    uv = np.stack([np.where(ball.vertices[:, 0] > 0, 0.99, 0.01), np.full(len(ball.vertices), 0.5)], 1)
    return Part(np.array(ball.vertices) + CENTRE, np.array(ball.faces), uv, np.array([colours], np.uint8))


def _head(*parts: Part) -> ComposedHead:
    return ComposedHead("hand-made", parts, np.tile(NOSE, (6, 1)), DAYLIGHT)


@pytest.fixture(scope="module")
def wigged() -> OuterSurface:
    parts = (_ball(BODY, [RIGHT_SKIN, LEFT_SKIN]), _ball(INNER, [HIDDEN]), _ball(WIG, [HAIR], above=0.0))
    return OuterSurface(_head(*parts), np.random.default_rng(0), candidates=16_000)


def _polar(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the centre, and degrees away from straight up."""
    radius = np.linalg.norm(points - CENTRE, axis=1)
    return radius, np.degrees(np.arccos((points - CENTRE)[:, 1] / radius))


def test_hidden_points_are_never_sampled(wigged: OuterSurface) -> None:
    radius, angle = _polar(wigged.points)
    assert len(wigged.points) > 5000
    assert radius.min() > BODY * (1 - SAG)
    # A ray that grazes the body leaves through the shell unless it passes its rim: acos(0.1 / 0.115) = 29.6 degrees on.
    on_body = radius < 0.107
    assert angle[on_body].min() > 90 - 29.6 - 6
    assert not (wigged.colours == HIDDEN).all(1).any()
    # The visible skin and the hair are both there.
    assert on_body.sum() > 1000
    assert (~on_body & (angle < 60)).sum() > 1000


def test_points_take_the_colour_of_their_texture(wigged: OuterSurface) -> None:
    radius, _ = _polar(wigged.points)
    hair = radius > 0.107
    assert (wigged.colours[hair] == HAIR).all()
    left, right = wigged.points[:, 0] > 0.02, wigged.points[:, 0] < -0.02
    assert (wigged.colours[~hair & left] == LEFT_SKIN).all()
    assert (wigged.colours[~hair & right] == RIGHT_SKIN).all()


def test_texture_rows_run_down_while_v_runs_up() -> None:
    part = _ball(BODY, [HAIR])
    uv = np.stack([np.full(len(part.vertices), 0.5), np.where(part.vertices[:, 1] > CENTRE[1], 0.99, 0.01)], 1)
    striped = Part(part.vertices, part.faces, uv, np.array([[LEFT_SKIN], [HAIR]], np.uint8))
    own = OuterSurface(_head(striped), np.random.default_rng(0), candidates=1000, rounds=4)
    up, down = own.points[:, 1] > CENTRE[1] + 0.02, own.points[:, 1] < CENTRE[1] - 0.02
    assert (own.colours[up] == LEFT_SKIN).all()
    assert (own.colours[down] == HAIR).all()


def test_normals_point_outwards_and_views_see_their_points(wigged: OuterSurface) -> None:
    radius, angle = _polar(wigged.points)
    outwards = (wigged.points - CENTRE) / radius[:, None]
    facing = (outwards * wigged.normals).sum(1)
    # The underside of the shell is seen only near its rim; everything else is seen from outside alone.
    single = (radius < 0.107) | (angle < 90 - 59.2 - 8)
    assert facing[single].min() > 0.95
    np.testing.assert_allclose(np.linalg.norm(wigged.views, axis=1), 1, atol=1e-6)
    assert (wigged.views * wigged.normals).sum(1).max() < 0.2
    free = ~wigged.rays.intersects_any(wigged.points + 1e-4 * wigged.normals, -wigged.views)
    assert free[facing > 0].mean() > 0.99
    # Giving the shell a thickness moves its inner side 2 of the 15 mm towards the skin, which hides some of it.
    assert free.mean() > 0.95


def test_single_sheets_of_hair_get_a_thickness(wigged: OuterSurface) -> None:
    radius, angle = _polar(wigged.points)
    hair = radius > 0.107
    # At the top only the outer side is seen: no sheet. Near the rim both sides are: one of 2 x 2 mm.
    top = radius[hair & (angle < 20)]
    assert top.max() < WIG + 1e-9
    assert top.min() > WIG * (1 - SAG)
    facing = ((wigged.points - CENTRE) / radius[:, None] * wigged.normals).sum(1)
    rim = hair & (angle > 80)
    outer, inner = radius[rim & (facing > 0)], radius[rim & (facing < 0)]
    assert len(outer) > 50
    assert len(inner) > 50
    np.testing.assert_allclose(np.median(outer), WIG + SHEET_M, atol=WIG * SAG)
    np.testing.assert_allclose(np.median(inner), WIG - SHEET_M, atol=WIG * SAG)


def test_signed_distances_are_those_of_what_is_seen(wigged: OuterSurface) -> None:
    def at(radius: float, degrees: float) -> np.ndarray:
        angle = np.radians(degrees)
        return CENTRE + radius * np.array([0.0, np.cos(angle), np.sin(angle)])

    truth = {
        "above the hair": (at(WIG + 0.03, 3), 0.03),
        "far above the hair": (at(WIG + 0.09, 3), 0.09),
        "between hair and skin, hidden": (at(0.108, 5), -(WIG - 0.108)),
        "under the chin": (at(BODY + 0.04, 175), 0.04),
        "below the skin": (at(BODY - 0.02, 150), -0.02),
        "beside the hidden ball": (at(INNER + 0.01, 175), -(BODY - INNER - 0.01)),
        "in the hidden ball": (at(0.01, 178), -(BODY - 0.01)),
        "beside the rim of the hair": (at(WIG + 0.02, 80), 0.02 - SHEET_M),
        "before the face": (at(BODY + 0.01, 130), 0.01),
    }
    found = wigged.signed_distance(np.stack([point for point, _ in truth.values()]))
    for (name, (_, wanted)), value in zip(truth.items(), found, strict=True):
        assert abs(value - wanted) < 0.001, f"{name}: {value:.4f} instead of {wanted:.4f}"


def test_a_cut_neck_is_closed_and_its_cut_is_not_sampled() -> None:
    bust = _ball(BODY, [LEFT_SKIN, LEFT_SKIN], above=-0.095)
    # Moved down so that the cut lies where busts are cut.
    low = Part(bust.vertices - [0, 0.05, 0], bust.faces, bust.uv, bust.texture)
    own = OuterSurface(_head(low), np.random.default_rng(0), candidates=6000, rounds=8)
    middle = CENTRE - [0, 0.05, 0]
    radius = np.linalg.norm(own.points - middle, axis=1)
    assert radius.min() > BODY * (1 - SAG)
    assert (((own.points - middle) * own.normals).sum(1) > 0).all()
    floor = low.vertices[np.unique(low.faces)][:, 1].min()
    asked = middle + np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.06], [0.0, 0.12, 0.0]])
    asked = np.concatenate([asked, [[middle[0], floor + 0.012, middle[2]], [middle[0], floor - 0.02, middle[2]]]])
    assert np.sign(own.signed_distance(asked)).tolist() == [-1, -1, 1, -1, 1]


def test_samples_of_a_head_lie_on_it_and_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface_module, "OuterSurface", functools.partial(OuterSurface, candidates=20_000, rounds=4))
    own = sample_head(_head(_ball(BODY, [RIGHT_SKIN, LEFT_SKIN])), np.random.default_rng(1), 2000)
    assert own.points.shape == own.normals.shape == own.colours.shape == own.views.shape == own.space.shape == (2000, 3)
    radius, _ = _polar(own.points)
    np.testing.assert_allclose(radius, BODY, atol=BODY * SAG)
    assert (own.space >= BOUNDS_M[0]).all()
    assert (own.space <= BOUNDS_M[1]).all()
    truth = _polar(own.space)[0] - BODY
    assert np.abs(own.distances - truth).max() < 0.001
    clear = np.abs(truth) > BODY * SAG
    assert (np.sign(own.distances) == np.sign(truth))[clear].all()
    # Four tenths within about 3 mm, four within about 15 mm, two anywhere.
    share = (np.abs(truth) < 0.003).mean()
    assert 0.8 * 0.5 * 0.68 < share < 0.6
    # The face gets as many samples as all the rest; the cap within 95 mm of the nose is 22.6 % of the ball.
    near = np.linalg.norm(own.points - NOSE, axis=1) < 0.095
    assert 0.45 < near.mean() < 0.55


# Samples on disk


def _random_heads(count: int) -> list[HeadSamples]:
    """Heads of one sample each, so that whatever is drawn is that sample."""
    rng = np.random.default_rng(3)

    def unit() -> np.ndarray:
        vector = rng.normal(size=(1, 3))
        return vector / np.linalg.norm(vector)

    def inside() -> np.ndarray:
        return rng.uniform(BOUNDS_M[0], BOUNDS_M[1], (1, 3))

    return [
        HeadSamples(
            inside(), unit(), rng.integers(0, 256, (1, 3)).astype(np.uint8), unit(), inside(),
            rng.uniform(-0.1, 0.3, 1), rng.uniform(-0.1, 0.1, (6, 3)),
        )
        for _ in range(count)
    ]  # fmt: skip


def _written(path: Path, heads: list[HeadSamples]) -> Path:
    with PopulationWriter(path, len(heads), len(heads[0].points), 0) as writer:
        for index, head in enumerate(heads):
            writer.put(index, f"Jörg {index}", head)
    return path


def test_samples_come_back_within_their_steps(tmp_path: Path) -> None:
    heads = _random_heads(60)
    people = Population(_written(tmp_path / "people.h5", heads))
    assert len(people) == 60
    assert people.names[7] == "Jörg 7"
    batch = people.batch(np.arange(60), 3, 2, np.random.default_rng(0))
    unit = UNIT_MM / 1000
    step = (BOUNDS_M[1] - BOUNDS_M[0]) / 65535
    for key in ("points", "space"):
        truth = np.stack([getattr(head, key) for head in heads])
        gap = np.abs(getattr(batch, key).numpy() * unit - truth)
        # Half a step, and what single precision loses.
        assert (gap <= 0.5 * step + 1e-7).all(), key
        assert gap.max() > 0.3 * step.min()
    distances = np.stack([head.distances for head in heads])
    assert np.abs(batch.distances.numpy() * unit - distances).max() <= 1.001e-5
    for key in ("normals", "views"):
        truth = torch.from_numpy(np.stack([getattr(head, key) for head in heads])).float()
        read = getattr(batch, key)
        torch.testing.assert_close(read.norm(dim=-1), torch.ones(read.shape[:2]))
        # Half a step of 1/127 on each axis turns a direction by less than atan(sqrt(3) / 254).
        assert float((read - truth).norm(dim=-1).max()) < 0.007
    colours = np.stack([head.colours for head in heads]) / 255
    np.testing.assert_allclose(batch.colours.numpy(), np.broadcast_to(colours, (60, 3, 3)), atol=1e-6)
    landmarks = np.stack([head.landmarks for head in heads])
    np.testing.assert_allclose(batch.landmarks.numpy() * unit, landmarks, atol=1e-7)
    np.testing.assert_allclose(people.bounds.numpy() * unit, BOUNDS_M, atol=1e-7)


def test_batches_have_the_heads_in_the_order_asked_for(tmp_path: Path) -> None:
    people = Population(_written(tmp_path / "people.h5", _random_heads(5)))
    everyone = people.batch(np.arange(5), 1, 1, np.random.default_rng(0))
    some = people.batch(np.array([3, 1]), 4, 2, np.random.default_rng(0))
    assert some.heads.tolist() == [3, 1]
    assert some.points.shape == (2, 4, 3)
    assert some.space.shape == (2, 2, 3)
    for row, head in enumerate([3, 1]):
        for key in ("points", "normals", "colours", "views", "space", "distances", "landmarks"):
            read, truth = getattr(some, key)[row], getattr(everyone, key)[head]
            assert torch.equal(read, truth.expand_as(read)), key
    assert Population(tmp_path / "people.h5", limit=2).names == ["Jörg 0", "Jörg 1"]


def test_batches_follow_their_random_state(tmp_path: Path) -> None:
    points = np.concatenate([head.points for head in _random_heads(40)])
    distances = np.linspace(0.0, 0.3, 40)
    head = HeadSamples(points, points, np.zeros((40, 3), np.uint8), points, points, distances, np.zeros((6, 3)))
    people = Population(_written(tmp_path / "people.h5", [head]))
    first, again, other = (people.batch(np.array([0]), 10, 10, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.points, other.points)
    # A point in space comes with its own distance.
    gap = (torch.from_numpy(points * 1000 / UNIT_MM).float()[:, None] - first.space[0]).norm(dim=-1)
    own = torch.from_numpy(distances)[gap.argmin(0)] * 1000 / UNIT_MM
    torch.testing.assert_close(first.distances[0], own.float(), atol=1e-4, rtol=0)


def test_files_that_hold_no_population_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.h5 does not exist: build it"):
        Population(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["points"] = np.zeros(3)
    with pytest.raises(InputError, match=r"other\.h5 is not a population file: build one"):
        Population(tmp_path / "other.h5")


def test_a_file_that_is_no_hdf5_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no samples here, only text")
    with pytest.raises(InputError, match=r"text\.h5 is not a population file: build one"):
        Population(tmp_path / "text.h5")
