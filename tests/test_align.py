"""Alignments that are known beforehand have to be found again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import trimesh

from protome.geometry.align import Dof, Surface, align_landmarks, icp
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity, rotation_from_vector


def potato() -> Mesh:
    """A smooth body, about 100 across, without symmetries."""
    ball = trimesh.creation.icosphere(4)
    x, y, z = np.asarray(ball.vertices).T
    radius = 50.0 + 12.0 * x + 8.0 * y * z + 6.0 * x * y + 9.0 * np.maximum(z, 0.0) ** 3
    stretch = np.array([0.8, 1.15, 1.0])
    return Mesh(np.asarray(ball.vertices) * radius[:, None] * stretch, np.asarray(ball.faces, np.int64))


def motion(degrees: float, shift: float, scale: float = 1.0, seed: int = 0) -> Similarity:
    random = torch.Generator().manual_seed(seed)
    turn, offset = torch.nn.functional.normalize(torch.randn(2, 3, generator=random, dtype=torch.float64), dim=1)
    rotation = rotation_from_vector(turn * np.radians(degrees))
    return Similarity(rotation, offset * shift, torch.tensor(scale, dtype=torch.float64))


def worst(found: Similarity, wanted: Similarity) -> float:
    """The largest displacement between two maps over the potato."""
    points = torch.from_numpy(potato().vertices)
    return float((found.apply(points) - wanted.apply(points)).norm(dim=1).max())


def mirrored(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices * np.array([-1.0, 1.0, 1.0]), mesh.faces[:, ::-1])


def test_nearest_points_agree_with_an_exhaustive_search() -> None:
    mesh = Mesh(potato().vertices[:42], np.asarray(trimesh.creation.icosphere(1).faces, np.int64))
    points = np.random.default_rng(0).uniform(-80, 80, (200, 3))
    foot = Surface(mesh).closest(points)
    expected, distances, _ = trimesh.proximity.closest_point_naive(mesh.to_trimesh(), points)
    np.testing.assert_allclose(foot.distances, distances, atol=1e-9)
    np.testing.assert_allclose(foot.points, expected, atol=1e-8)
    # The reported face holds the point: the parallelepiped with its corners is flat.
    corners = mesh.vertices[mesh.faces[foot.faces]] - foot.points[:, None]
    assert np.abs(np.linalg.det(corners)).max() < 1e-6


def test_face_normals_point_outwards_and_are_unit() -> None:
    mesh = potato()
    np.testing.assert_allclose(Surface(mesh).face_normals(), mesh.to_trimesh().face_normals, atol=1e-9)


@pytest.mark.parametrize("dof", ["rigid", "similarity"])
def test_landmarks_recover_a_known_motion(dof: Dof) -> None:
    wanted = motion(130.0, 40.0, 1.0 if dof == "rigid" else 0.001)
    source = potato().vertices[::100]
    found = align_landmarks(source, wanted.apply(torch.from_numpy(source)).numpy(), dof)
    assert worst(found.target_from_source, wanted) < 1e-9
    assert found.residual < 1e-9


def test_landmarks_report_their_residual_and_keep_the_scale() -> None:
    source = potato().vertices[::100]
    doubled = align_landmarks(source, 2.0 * source, "rigid")
    assert float(doubled.target_from_source.scale) == 1.0
    spread = np.sqrt(((source - source.mean(0)) ** 2).sum(1).mean())
    assert doubled.residual == pytest.approx(spread)


def test_a_landmark_of_no_weight_counts_nothing() -> None:
    source = potato().vertices[::400]
    target = source.copy()
    target[0] += 500.0
    weights = np.ones(len(source))
    weights[0] = 0.0
    found = align_landmarks(source, target, "similarity", weights)
    assert worst(found.target_from_source, Similarity.identity(torch.float64)) < 1e-9
    assert found.residual < 1e-9


@pytest.mark.parametrize(("degrees", "shift"), [(3.0, 1.0), (15.0, 10.0), (30.0, 25.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_icp_recovers_a_rigid_motion(degrees: float, shift: float, seed: int) -> None:
    wanted = motion(degrees, shift, seed=seed)
    found = icp(potato().vertices[::3], potato().transformed(wanted))
    assert worst(found.target_from_source, wanted) < 1e-5
    assert found.residual < 1e-6
    assert float(found.target_from_source.scale) == 1.0
    assert found.iterations < 30


@pytest.mark.parametrize("scale", [0.6, 0.8, 1.0, 1.25, 2.0])
def test_icp_recovers_a_similarity(scale: float) -> None:
    wanted = motion(10.0, 8.0, scale)
    found = icp(potato().vertices[::3], potato().transformed(wanted), dof="similarity")
    assert worst(found.target_from_source, wanted) < 1e-5
    assert float(found.target_from_source.scale) == pytest.approx(scale, abs=1e-7)


def test_a_rigid_icp_keeps_the_scale_it_starts_with() -> None:
    mesh = potato()
    swollen = icp(mesh.vertices[::3], mesh.scaled(1.2))
    assert float(swollen.target_from_source.scale) == 1.0
    assert 3.0 < swollen.residual < 20.0
    start = Similarity.scaling(1.2, torch.float64)
    assert float(icp(mesh.vertices[::3], mesh.scaled(1.2), start=start).target_from_source.scale) == 1.2


def test_a_free_scale_does_not_shrink_to_fit() -> None:
    points, other = (
        potato().vertices[::3],
        Mesh(mirrored(potato()).vertices * np.array([1.0, 0.9, 1.1]), potato().faces),
    )
    rigid, similar = icp(points, other), icp(points, other, dof="similarity")
    scale = float(similar.target_from_source.scale)
    # Distances in the points' own unit can only fall with one more degree of freedom.
    assert similar.residual < rigid.residual
    found = similar.target_from_source.apply(torch.from_numpy(points)).numpy()
    distances = Surface(other).closest(found).distances
    assert similar.residual == pytest.approx(np.sqrt((distances**2).mean()) / scale)
    # And the answer is a minimum: nearby sizes, each with its best motion, fit worse.
    for factor in (0.97, 1.03):
        start = Similarity.scaling(factor, torch.float64).compose(similar.target_from_source)
        assert icp(points, other, start=start).residual > similar.residual


def test_a_start_carries_icp_over_any_distance() -> None:
    wanted = motion(170.0, 900.0)
    nearby = motion(8.0, 5.0, seed=3).compose(wanted)
    found = icp(potato().vertices[::3], potato().transformed(wanted), start=nearby.to(torch.float32))
    assert worst(found.target_from_source, wanted) < 1e-3


def test_icp_never_reflects() -> None:
    found = icp(potato().vertices[::3], mirrored(potato()), dof="similarity")
    assert float(torch.linalg.det(found.target_from_source.rotation)) == pytest.approx(1.0)
    assert found.residual > 0.5


def test_trimming_ignores_what_has_no_counterpart() -> None:
    wanted = motion(8.0, 6.0)
    random = np.random.default_rng(0)
    points = potato().vertices[::3]
    stray = points[random.choice(len(points), len(points) // 5)] + np.array([60.0, 0.0, 0.0])
    polluted = np.concatenate([points, stray])
    target = potato().transformed(wanted)
    trimmed = icp(polluted, target, keep=0.75)
    assert worst(trimmed.target_from_source, wanted) < 1e-4
    assert worst(icp(polluted, target).target_from_source, wanted) > 1.0


def test_more_steps_never_fit_worse() -> None:
    target = potato().transformed(motion(25.0, 20.0))
    residuals = [icp(potato().vertices[::3], target, max_iterations=steps).residual for steps in range(8)]
    assert all(later <= earlier for earlier, later in pairwise(residuals))
    assert residuals[-1] < 0.1 * residuals[0]


def test_icp_does_not_depend_on_the_unit() -> None:
    wanted = motion(12.0, 10.0)
    metres = Similarity.scaling(1e-3, torch.float64)
    expected = metres.compose(wanted).compose(metres.inverse())
    found = icp(1e-3 * potato().vertices[::3], potato().transformed(wanted).scaled(1e-3)).target_from_source
    torch.testing.assert_close(found.matrix(), expected.matrix(), atol=1e-8, rtol=0)


def test_bad_input_is_refused() -> None:
    mesh = potato()
    with pytest.raises(ValueError, match="at least 3 points, got 2"):
        icp(mesh.vertices[:2], mesh)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\], got 1.5"):
        icp(mesh.vertices, mesh, keep=1.5)
    with pytest.raises(ValueError, match="at least one triangle"):
        Surface(Mesh(mesh.vertices, mesh.faces[:0]))
    with pytest.raises(ValueError, match="finite vertices"):
        Surface(mesh.scaled(float("nan")))
    with pytest.raises(ValueError, match="finite points"):
        Surface(mesh).closest(np.full((1, 3), np.inf))
    with pytest.raises(ValueError, match="at least 3 points"):
        align_landmarks(mesh.vertices[:2], mesh.vertices[:2])
    assert len(Surface(mesh).closest(np.zeros((0, 3))).faces) == 0
