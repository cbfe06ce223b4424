"""Registration of meshes: known deformations come back, linear fields are carried exactly, and faces fit bodies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.interpolate import RBFInterpolator

from busts import (
    BODY,
    MODES,
    SHIFT,
    TURN,
    UNITS,
    ict_mode,
    ict_move,
    ict_place,
    write_ict,
    write_mediapipe,
    write_valid,
)
from protome.errors import InputError
from protome.geometry.extension import laplacian, smooth_extension
from protome.population.faces import NECK_FOOT_M, FaceModes
from protome.population.registration import Registration, register
from protome.population.sources.valid import ValidHeads

# Smooth fields on meshes


def _strip(length: int) -> np.ndarray:
    """Triangles of a ladder whose rungs are 0-1, 2-3, and so on."""
    start = 2 * np.arange(length - 1)[:, None]
    return np.concatenate([start + np.array([0, 1, 2]), start + np.array([1, 3, 2])])


def test_the_laplacian_is_a_vertex_less_the_mean_of_its_neighbours() -> None:
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    values = np.array([1.0, 10.0, 100.0, 1000.0, 5.0])
    # Vertices 0 and 2 know all, 1 and 3 know 0 and 2, and 4 is in no triangle.
    truth = [1 - 1110 / 3, 10 - 101 / 2, 100 - 1011 / 3, 1000 - 101 / 2, 0.0]
    np.testing.assert_allclose(laplacian(faces, 5) @ values, truth, atol=1e-12)
    assert abs(laplacian(_strip(20), 40) @ np.ones(40)).max() < 1e-12


def test_a_smooth_extension_passes_through_firm_values_and_keeps_constants() -> None:
    smoothness = laplacian(_strip(21), 42)
    weights = np.zeros(42)
    weights[[0, 1, 40, 41]] = 1e6
    constant = smooth_extension(smoothness, weights, np.where(weights[:, None] > 0, 3.5, -99.0), 1.0)
    np.testing.assert_allclose(constant, 3.5, atol=1e-4)
    values = np.zeros((42, 1))
    values[[40, 41]] = 1.0
    ramp = smooth_extension(smoothness, weights, values, 1.0)[:, 0]
    np.testing.assert_allclose(ramp[[0, 1, 40, 41]], [0, 0, 1, 1], atol=1e-5)
    # Along the ladder it rises from one end to the other, antisymmetric about the middle.
    rungs = ramp.reshape(21, 2).mean(1)
    assert (np.diff(rungs) > 0).all()
    np.testing.assert_allclose(rungs + rungs[::-1], 1.0, atol=1e-4)
    # What is stiffer follows loose values less: their deviation from the mean shrinks.
    noise = np.random.default_rng(0).normal(size=(42, 1))
    spreads = [smooth_extension(smoothness, np.ones(42), noise, stiffness).std() for stiffness in (0.01, 1.0, 100.0)]
    assert spreads[0] > 1.3 * spreads[1] > 1.3 * 1.3 * spreads[2]


# One egg in two tessellations, one of them bent

RADII = np.array([0.075, 0.11, 0.095])


def _egg(directions: np.ndarray) -> np.ndarray:
    return RADII * directions / np.linalg.norm(directions, axis=1, keepdims=True)


LANDMARKS = _egg(np.array(trimesh.creation.icosphere(subdivisions=0).vertices))


def _bent(points: np.ndarray) -> np.ndarray:
    """A smooth deformation of about a centimetre that is far from affine."""
    x, y, z = (points / 0.1).T
    return points + 0.008 * np.stack([np.sin(1.5 * y), np.cos(1.5 * x + z), z * y], 1)


@pytest.fixture(scope="module")
def eggs() -> tuple[trimesh.Trimesh, trimesh.Trimesh]:
    template = trimesh.creation.icosphere(subdivisions=4)
    target = trimesh.creation.uv_sphere(count=[80, 90])
    return (
        trimesh.Trimesh(_egg(template.vertices), template.faces, process=False),
        trimesh.Trimesh(_bent(_egg(np.array(target.vertices))), target.faces, process=False),
    )


def _registered(
    eggs: tuple[trimesh.Trimesh, trimesh.Trimesh], region: np.ndarray | None = None, turned: bool = False
) -> Registration:
    template, target = eggs
    return register(
        np.array(template.vertices), np.array(template.faces), np.array(target.vertices),
        np.array(target.faces)[:, ::-1 if turned else 1], template_points=LANDMARKS, target_points=_bent(LANDMARKS),
        region=np.ones(len(template.vertices), bool) if region is None else region,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fit(eggs: tuple[trimesh.Trimesh, trimesh.Trimesh]) -> Registration:
    return _registered(eggs)


def test_a_known_deformation_is_recovered(eggs: tuple[trimesh.Trimesh, trimesh.Trimesh], fit: Registration) -> None:
    template = eggs[0]
    truth = _bent(np.array(template.vertices))
    assert np.linalg.norm(truth - template.vertices, axis=1).max() > 0.009
    error = np.linalg.norm(fit.vertices - truth, axis=1)
    assert fit.found.all()
    # Along the surface only twelve landmarks, 90 mm apart, say what belongs to what.
    assert np.median(error) < 8e-4
    assert error.max() < 2e-3
    # Across it closest points do, and they leave what 5 mm triangles do on 60 mm radii: h^2 / 8 r. The landmarks'
    # warp alone is many times further off.
    normals = np.array(trimesh.Trimesh(truth, template.faces, process=False).vertex_normals)
    warp = RBFInterpolator(LANDMARKS, _bent(LANDMARKS) - LANDMARKS, kernel="thin_plate_spline")
    across, before = (
        np.abs(((found - truth) * normals).sum(1)).max()
        for found in (fit.vertices, template.vertices + warp(template.vertices))
    )
    assert across < 1e-4
    assert before > 10 * across


def test_found_vertices_lie_on_the_target_at_their_weights(
    eggs: tuple[trimesh.Trimesh, trimesh.Trimesh], fit: Registration
) -> None:
    corners = np.array(eggs[1].vertices)[fit.corners]
    np.testing.assert_allclose((corners * fit.weights[..., None]).sum(1), fit.vertices, atol=1e-9)
    np.testing.assert_allclose(fit.weights.sum(1), 1.0, atol=1e-12)
    assert fit.weights.min() > -1e-6


def test_linear_fields_are_carried_exactly(eggs: tuple[trimesh.Trimesh, trimesh.Trimesh], fit: Registration) -> None:
    rng = np.random.default_rng(1)
    slopes, offsets = rng.normal(size=(5, 3, 2)), rng.normal(size=(5, 1, 2))
    carried = fit.carry(np.array(eggs[1].vertices) @ slopes + offsets)
    assert carried.shape == (5, len(fit.vertices), 2)
    np.testing.assert_allclose(carried, fit.vertices @ slopes + offsets, atol=1e-8)


def test_only_the_region_is_found_and_the_rest_follows(
    eggs: tuple[trimesh.Trimesh, trimesh.Trimesh],
) -> None:
    template = np.array(eggs[0].vertices)
    region = template[:, 1] > -0.02
    part = _registered(eggs, region)
    assert np.array_equal(part.found, region)
    assert (part.carry(np.ones((len(eggs[1].vertices), 1)))[~region] == 0).all()
    # Where nothing is found the landmarks' warp is kept, with the correction fading out.
    assert np.linalg.norm(part.vertices - _bent(template), axis=1)[~region].max() < 4e-3


def test_surfaces_that_face_the_other_way_are_no_counterpart(
    eggs: tuple[trimesh.Trimesh, trimesh.Trimesh],
) -> None:
    assert not _registered(eggs, turned=True).found.any()


# ICT's face on VALID's body


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    root = tmp_path_factory.mktemp("faces")
    return write_ict(root / "ict"), write_mediapipe(root / "mediapipe"), write_valid(root / "valid")


@pytest.fixture(scope="module")
def modes(folders: tuple[Path, Path, Path]) -> FaceModes:
    ict, mediapipe, valid = folders
    return FaceModes.load(ict, mediapipe, ValidHeads(valid))


def test_the_mean_face_keeps_its_size_and_finds_its_place(modes: FaceModes) -> None:
    truth = ict_place(BODY.vertices) - BODY.vertices
    own = modes.face == 1
    assert own.sum() > 400
    assert np.linalg.norm(truth[own], axis=1).max() > 0.003
    # Less than what the flat triangles of 7 mm leave out, though the sizes differ by millimetres.
    assert np.linalg.norm(modes.towards_mean - truth, axis=1)[own].max() < 2e-4


def test_modes_are_turned_into_the_head_frame_at_their_places(modes: FaceModes) -> None:
    own = modes.face == 1
    # ICT's frame is turned and moved against the head frame, and what is linear in it is carried without loss.
    places = (BODY.vertices + modes.towards_mean)[own] @ TURN.T + SHIFT
    assert modes.identity.shape == (MODES, len(BODY.vertices), 3)
    for number in range(MODES):
        truth = ict_mode(number, places) @ TURN
        assert np.linalg.norm(truth, axis=1).max() > 0.001
        np.testing.assert_allclose(modes.identity[number][own], truth, atol=1e-6)
    assert modes.expression_names == UNITS
    np.testing.assert_allclose(modes.expression[5][own], ict_move(UNITS[5], places) @ TURN, atol=1e-6)


def test_the_face_model_is_zero_below_the_neck_and_equal_across_seams(modes: FaceModes) -> None:
    fields = [modes.towards_mean, *modes.identity, *modes.expression]
    below = BODY.vertices[:, 1] <= NECK_FOOT_M
    assert below.sum() > 500
    assert modes.face.min() == 0
    assert (modes.face[below] == 0).all()
    for field in (*fields, modes.face):
        assert (field[below] == 0).all()
        assert np.array_equal(field, field[BODY.weld])
    # The absolute shape also ends at the hairline, but people's heads differ there too.
    crown = BODY.vertices[:, 1] > 0.11
    assert (modes.face[crown] == 0).all()
    assert np.abs(modes.identity[:, crown]).max() > 1e-3


def test_a_missing_table_is_named(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mediapipe_landmarks\.json does not exist: give the folder that holds it"):
        FaceModes.load(folders[0], tmp_path, ValidHeads(folders[2]))
