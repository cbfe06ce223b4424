"""Distances between surfaces whose distance is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from protome.errors import InputError
from protome.evaluate.metrics import Spread, compare, piece_at, surface_distances
from protome.geometry.align import align_landmarks
from protome.geometry.mesh import Mesh
from protome.geometry.sampling import sample_surface
from protome.geometry.transforms import Similarity, rotation_from_vector

NOSE = np.array([0.0, 0.0, 100.0])


def sphere(radius: float, subdivisions: int = 4) -> Mesh:
    ball = trimesh.creation.icosphere(subdivisions)
    return Mesh(np.asarray(ball.vertices) * radius, np.asarray(ball.faces, np.int64))


def bust() -> Mesh:
    """A closed body of a head's size with a nose at +z, different from every side."""
    ball = trimesh.creation.icosphere(4)
    x, y, z = np.asarray(ball.vertices).T
    radius = 100.0 + 9.0 * x + 7.0 * x * y + 10.0 * y * z + 14.0 * np.exp(-((x / 0.2) ** 2 + (y / 0.3) ** 2)) * (z > 0)
    return Mesh(np.asarray(ball.vertices) * radius[:, None] * [0.8, 1.2, 1.0], np.asarray(ball.faces, np.int64))


def sheet(half: float, columns: int, height: float = 0.0, wave: float = 20.0) -> Mesh:
    """A square sheet of 20 rows that looks to +z, with a sine relief along x."""
    x, y = np.meshgrid(np.linspace(-half, half, columns + 1), np.linspace(-half, half, 21))
    vertices = np.stack([x, y, height * np.sin(2 * np.pi * x / wave)], 2).reshape(-1, 3)
    corner = (np.arange(20)[:, None] * (columns + 1) + np.arange(columns)).reshape(-1)
    first = np.stack([corner, corner + 1, corner + columns + 1], 1)
    second = np.stack([corner + 1, corner + columns + 2, corner + columns + 1], 1)
    return Mesh(vertices, np.concatenate([first, second]))


def above(mesh: Mesh, y: float) -> Mesh:
    """The triangles whose middle lies above a height."""
    return Mesh(mesh.vertices, mesh.faces[mesh.vertices[mesh.faces].mean(1)[:, 1] > y])


def moved(mesh: Mesh, turn: list[float], shift: list[float], scale: float = 1.0) -> Mesh:
    rotation = rotation_from_vector(torch.tensor(turn, dtype=torch.float64))
    offset = torch.tensor(shift, dtype=torch.float64)
    return mesh.transformed(Similarity(rotation, offset, torch.tensor(scale, dtype=torch.float64)))


def test_distances_agree_with_an_exhaustive_search() -> None:
    mesh = sphere(80.0, 2)
    points = np.random.default_rng(0).uniform(-80, 80, (300, 3))
    expected = trimesh.proximity.closest_point_naive(mesh.to_trimesh(), points)[1]
    found = surface_distances(points, mesh)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    # The surface is never further away than its vertices, and for a coarse mesh often much nearer.
    to_vertex = cKDTree(mesh.vertices).query(points)[0]
    assert (found <= to_vertex + 1e-9).all()
    assert found.mean() < 0.97 * to_vertex.mean()


def test_distance_to_a_sphere() -> None:
    points = np.random.default_rng(1).standard_normal((500, 3)) * 100
    exact = np.abs(np.linalg.norm(points, axis=1) - 90.0)
    mesh = sphere(90.0)
    # The flat triangles lie inside the sphere, by this much at the most.
    sag = 90.0 - np.linalg.norm(mesh.vertices[mesh.faces].mean(1), axis=1).min()
    assert sag < 0.2
    assert np.abs(surface_distances(points, mesh) - exact).max() <= sag


def test_samples_are_spread_by_area_and_repeatable() -> None:
    mesh = Mesh(sphere(1.0, 1).vertices * np.array([1.0, 2.0, 3.0]), sphere(1.0, 1).faces)
    samples = sample_surface(mesh, 8000, seed=3)
    area = mesh.to_trimesh().area_faces
    share = area / area.sum()
    assert np.abs(np.bincount(samples.faces, minlength=len(mesh.faces)) - 8000 * share).max() <= 2
    assert surface_distances(samples.points, mesh).max() < 1e-9
    middle = share @ mesh.to_trimesh().triangles_center
    np.testing.assert_allclose(samples.points.mean(0), middle, atol=0.03)
    np.testing.assert_array_equal(samples.points, sample_surface(mesh, 8000, seed=3).points)
    assert not np.array_equal(samples.points, sample_surface(mesh, 8000, seed=4).points)
    with pytest.raises(ValueError, match="without area"):
        sample_surface(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])), 10)


def test_the_spread_of_known_values() -> None:
    spread = Spread.of(np.arange(101.0))
    assert (spread.mean, spread.median, spread.p90, spread.count) == (50.0, 50.0, 90.0, 101)
    empty = Spread.of(np.zeros(0))
    assert empty.count == 0
    assert np.isnan([empty.mean, empty.median, empty.p90]).all()


def test_concentric_spheres_differ_by_their_radii() -> None:
    result = compare(sphere(90.0, 5), sphere(100.0, 5), nose_tip=NOSE, samples=3000)
    for spread in (result.head.to_prediction, result.head.to_truth):
        assert spread.mean == pytest.approx(10.0, abs=0.05)
        assert spread.median == pytest.approx(10.0, abs=0.05)
        assert spread.p90 == pytest.approx(10.0, abs=0.06)


def test_only_a_similarity_may_change_the_size() -> None:
    body = bust()
    rigid = compare(body.scaled(0.9), body, nose_tip=NOSE, samples=6000)
    assert rigid.head.to_prediction.mean > 3.0
    assert float(rigid.head.truth_from_prediction.scale) == 1.0
    similar = compare(body.scaled(0.9), body, nose_tip=NOSE, samples=6000, dof="similarity")
    for region in (similar.face, similar.head):
        assert float(region.truth_from_prediction.scale) == pytest.approx(1 / 0.9, abs=1e-5)
        assert region.to_prediction.p90 < 1e-3
        assert region.to_truth.p90 < 1e-3


def test_lengths_are_the_truths() -> None:
    # A rough copy at half the size has to score as the rough copy itself.
    double = Similarity.scaling(2.0, torch.float64)
    rough = Mesh(bust().vertices + np.random.default_rng(0).normal(0, 1.0, bust().vertices.shape), bust().faces)
    large = compare(rough, bust(), nose_tip=NOSE, samples=4000, dof="similarity")
    small = compare(rough.scaled(0.5), bust(), nose_tip=NOSE, samples=4000, dof="similarity", start=double)
    assert small.head.to_prediction.mean == pytest.approx(large.head.to_prediction.mean, rel=1e-3)
    assert small.face.to_prediction.median == pytest.approx(large.face.to_prediction.median, rel=1e-3)


def test_a_moved_copy_is_no_different() -> None:
    result = compare(moved(bust(), [0.1, -0.2, 0.1], [8.0, -12.0, 5.0]), bust(), nose_tip=NOSE, samples=6000)
    for region in (result.face, result.head):
        assert region.to_prediction.p90 < 1e-4
        assert region.to_truth.p90 < 1e-4
    assert result.face_normals.p90 < 0.01
    assert result.face.to_prediction.count > 4000
    assert result.head.to_prediction.count == 6000


def test_landmarks_start_a_far_alignment() -> None:
    prediction = moved(bust(), [0.0, 2.9, 0.5], [300.0, -700.0, 50.0])
    picks = np.array([7, 40, 99, 300, 1200, 2500])
    start = align_landmarks(prediction.vertices[picks], bust().vertices[picks]).target_from_source
    result = compare(prediction, bust(), nose_tip=NOSE, start=start, samples=4000)
    assert result.head.to_prediction.p90 < 1e-4
    torch.testing.assert_close(result.head.truth_from_prediction.matrix(), start.matrix(), atol=1e-5, rtol=0)


def test_a_sine_relief_has_the_distances_and_angles_of_a_sine() -> None:
    height, wave = 0.2, 20.0
    result = compare(sheet(130.0, 390, height, wave), sheet(110.0, 20), nose_tip=np.zeros(3), samples=7000)
    found = result.face.to_prediction
    assert found.mean == pytest.approx(2 / np.pi * height, rel=0.03)
    assert found.median == pytest.approx(np.sin(np.pi / 4) * height, rel=0.03)
    assert found.p90 == pytest.approx(np.sin(0.9 * np.pi / 2) * height, rel=0.03)
    phase = np.linspace(0, 2 * np.pi, 10_001)
    slopes = np.degrees(np.arctan(height * 2 * np.pi / wave * np.abs(np.cos(phase))))
    assert result.face_normals.mean == pytest.approx(slopes.mean(), rel=0.03)
    assert result.face_normals.median == pytest.approx(np.median(slopes), rel=0.03)
    assert result.face_normals.p90 == pytest.approx(np.percentile(slopes, 90), rel=0.03)


def test_the_face_is_a_ball_around_the_nose() -> None:
    # A dent far from the face changes the head's number only.
    body = bust()
    dented = body.vertices.copy()
    back = dented[:, 2] < -50
    dented[back, 2] = -50 + 0.5 * (dented[back, 2] + 50)
    result = compare(Mesh(dented, body.faces), body, nose_tip=NOSE, samples=6000)
    assert result.face.to_prediction.p90 < 1e-3
    assert result.face.to_truth.p90 < 1e-3
    assert result.head.to_prediction.p90 > 5.0


def test_what_the_truth_does_not_cover_is_not_counted() -> None:
    body = bust()
    scan = above(body, -30.0)
    result = compare(body, scan, nose_tip=NOSE, samples=6000)
    assert result.head.to_prediction.p90 < 1e-4
    assert result.head.to_truth.p90 < 1e-3
    expected = scan.to_trimesh().area / body.to_trimesh().area
    assert result.head.to_truth.count / 6000 == pytest.approx(expected, abs=0.02)
    # In the other direction missing parts of the prediction count.
    assert compare(scan, body, nose_tip=NOSE, samples=2000).head.to_prediction.p90 > 20.0


def test_the_piece_at_the_nose_is_without_what_hangs_before_it() -> None:
    body = bust()
    curtain = moved(sphere(20.0, 3), [0.0, 0.0, 0.0], list(NOSE + np.array([60.0, 0.0, 30.0])))
    truth = Mesh(
        np.concatenate([body.vertices, curtain.vertices]),
        np.concatenate([body.faces, curtain.faces + len(body.vertices)]),
    )
    seams = Mesh(truth.vertices[truth.faces].reshape(-1, 3), np.arange(3 * len(truth.faces)).reshape(-1, 3))
    for scan in (truth, seams):
        kept = piece_at(scan, NOSE)
        assert kept.sum() == len(body.faces)
        assert kept[: len(body.faces)].all()


def test_a_growth_is_seen_from_the_prediction_only() -> None:
    body = bust()
    growth = Mesh(sphere(20.0, 3).vertices + np.array([0.0, 0.0, -160.0]), sphere(20.0, 3).faces)
    both = Mesh(
        np.concatenate([body.vertices, growth.vertices]),
        np.concatenate([body.faces, growth.faces + len(body.vertices)]),
    )
    result = compare(both, body, nose_tip=NOSE, samples=6000)
    assert result.head.to_prediction.p90 < 1e-4
    share = growth.to_trimesh().area / both.to_trimesh().area
    assert result.head.to_truth.mean == pytest.approx(share * surface_distances(growth.vertices, body).mean(), rel=0.1)
    assert result.face.to_truth.p90 < 1e-4


def test_tessellation_and_seams_change_nothing() -> None:
    body = bust()
    rough = Mesh(body.vertices + np.random.default_rng(0).normal(0, 0.5, body.vertices.shape), body.faces)
    plain = compare(rough, body, nose_tip=NOSE, samples=5000)
    denser = rough.to_trimesh().subdivide()
    dense = compare(
        Mesh(np.asarray(denser.vertices), np.asarray(denser.faces, np.int64)), body, nose_tip=NOSE, samples=5000
    )
    assert dense.face.to_prediction.mean == pytest.approx(plain.face.to_prediction.mean, rel=1e-6)
    assert dense.head.to_prediction.median == pytest.approx(plain.head.to_prediction.median, rel=1e-6)
    # The same scan with its triangles cut apart, as texture seams cut it.
    soup = Mesh(body.vertices[body.faces].reshape(-1, 3), np.arange(body.faces.size).reshape(-1, 3))
    torn = compare(rough, soup, nose_tip=NOSE, samples=5000)
    assert torn.head.to_truth.count == plain.head.to_truth.count == 5000
    assert torn.face_normals.mean == pytest.approx(plain.face_normals.mean, rel=0.02)


def test_results_repeat() -> None:
    rough = Mesh(bust().vertices + np.random.default_rng(0).normal(0, 1.0, bust().vertices.shape), bust().faces)
    pair = rough, bust()
    once, again = (compare(*pair, nose_tip=NOSE, samples=2000, seed=5) for _ in range(2))
    assert once.face.to_prediction == again.face.to_prediction
    assert once.head.to_truth == again.head.to_truth


def test_bad_input_is_explained() -> None:
    with pytest.raises(InputError, match="no surface within 95 mm of the nose tip"):
        compare(bust(), bust(), nose_tip=np.array([0.0, 0.0, 1e4]))
    with pytest.raises(ValueError, match="start of scale 1, got 2"):
        compare(bust(), bust(), nose_tip=NOSE, start=Similarity.scaling(2.0))
