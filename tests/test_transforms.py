"""Rotations, similarities and Procrustes against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protome.geometry.transforms import Similarity, procrustes, rotation_from_vector, skew

# No subnormal numbers: other tests of the same process switch them off in the processor, for speed.
SIZE = st.floats(-3.0, 3.0, width=32, allow_subnormal=False)
VECTORS = arrays(np.float64, 3, elements=SIZE).map(torch.from_numpy)
CLOUDS = arrays(np.float64, (8, 3), elements=SIZE).map(torch.from_numpy)
SCALES = st.floats(0.05, 20.0).map(lambda value: torch.tensor(value, dtype=torch.float64))
SIMILARITIES = st.builds(lambda v, t, s: Similarity(rotation_from_vector(v), t, s), VECTORS, VECTORS, SCALES)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def spread_cloud(seed: int = 0) -> torch.Tensor:
    return torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(VECTORS, VECTORS)
def test_skew_is_the_cross_product(v: torch.Tensor, u: torch.Tensor) -> None:
    close(skew(v) @ u, torch.linalg.cross(v, u))
    close(skew(torch.stack([v, u]))[1], skew(u))


@given(VECTORS)
def test_exponential_map_is_rodrigues_formula(v: torch.Tensor) -> None:
    angle = float(v.norm())
    cross = skew(v)
    first = math.sin(angle) / angle if angle > 1e-4 else 1 - angle**2 / 6
    second = (1 - math.cos(angle)) / angle**2 if angle > 1e-4 else 0.5 - angle**2 / 24
    rotation = rotation_from_vector(v)
    close(rotation, torch.eye(3, dtype=torch.float64) + first * cross + second * cross @ cross)
    close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    close(torch.linalg.det(rotation), torch.ones((), dtype=torch.float64))
    close(rotation @ v, v)


def test_exponential_map_of_quarter_turns() -> None:
    turn = rotation_from_vector(torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64))
    close(turn @ torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("v", [(0.0, 0.0, 0.0), (1e-9, 0.0, -1e-9), (0.3, -0.2, 0.9), (math.pi, 0.0, 0.0)])
def test_exponential_map_has_the_right_gradient(v: tuple[float, float, float]) -> None:
    vector = torch.tensor(v, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_from_vector, (vector,))


def test_gradient_at_zero_is_the_generators() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(rotation_from_vector, zero)
    close(jacobian.permute(2, 0, 1), skew(torch.eye(3, dtype=torch.float64)))


@given(SIMILARITIES, SIMILARITIES, CLOUDS)
def test_compose_applies_first_then_second(second: Similarity, first: Similarity, points: torch.Tensor) -> None:
    both = second.compose(first)
    close(both.apply(points), second.apply(first.apply(points)), 1e-8)
    close(both.matrix(), second.matrix() @ first.matrix(), 1e-8)


@given(SIMILARITIES, CLOUDS)
def test_inverse_undoes(similarity: Similarity, points: torch.Tensor) -> None:
    close(similarity.inverse().apply(similarity.apply(points)), points, 1e-8)
    close(similarity.compose(similarity.inverse()).matrix(), torch.eye(4, dtype=torch.float64), 1e-8)


@given(SIMILARITIES, CLOUDS)
def test_points_of_numpy_go_where_tensors_go(similarity: Similarity, points: torch.Tensor) -> None:
    homogeneous = np.concatenate([points.numpy(), np.ones((len(points), 1))], 1)
    expected = (homogeneous @ similarity.matrix().numpy().T)[:, :3]
    np.testing.assert_allclose(similarity.apply_numpy(points.numpy()), expected, atol=1e-9, rtol=1e-9)
    single = Similarity(*(value.float().requires_grad_() for value in vars(similarity).values()))
    assert single.apply_numpy(points.numpy()).dtype == np.float64


@given(SIMILARITIES, CLOUDS)
def test_similarity_multiplies_every_length(similarity: Similarity, points: torch.Tensor) -> None:
    close(torch.pdist(similarity.apply(points)), similarity.scale * torch.pdist(points), 1e-8)


@given(SIMILARITIES, CLOUDS)
def test_matrix_is_the_same_map(similarity: Similarity, points: torch.Tensor) -> None:
    homogeneous = torch.cat([points, torch.ones(len(points), 1, dtype=torch.float64)], 1)
    close((homogeneous @ similarity.matrix().T)[:, :3], similarity.apply(points))


def test_named_maps_and_types() -> None:
    points = spread_cloud()
    assert torch.equal(Similarity.identity(torch.float64).apply(points), points)
    close(Similarity.scaling(2.5, torch.float64).apply(points), 2.5 * points)
    assert Similarity.scaling(2.0).to(torch.float64).matrix().dtype == torch.float64
    learned = Similarity(torch.eye(3), torch.zeros(3), torch.ones((), requires_grad=True))
    assert learned.matrix().requires_grad
    assert not learned.detach().matrix().requires_grad


@given(SIMILARITIES)
def test_procrustes_recovers_a_similarity(similarity: Similarity) -> None:
    points = spread_cloud()
    found = procrustes(points, similarity.apply(points))
    close(found.matrix(), similarity.matrix(), 1e-8)


@given(VECTORS, VECTORS)
def test_procrustes_without_scale_recovers_a_rigid_motion(v: torch.Tensor, t: torch.Tensor) -> None:
    points = spread_cloud()
    motion = Similarity(rotation_from_vector(v), t, torch.ones((), dtype=torch.float64))
    close(procrustes(points, motion.apply(points), with_scale=False).matrix(), motion.matrix(), 1e-8)
    larger = procrustes(points, 3.0 * motion.apply(points), with_scale=False)
    assert float(larger.scale) == 1.0
    close(larger.rotation, motion.rotation, 1e-8)


@given(st.integers(0, 50))
def test_procrustes_never_reflects(seed: int) -> None:
    points = spread_cloud(seed)
    for target in (points * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64), -points, spread_cloud(seed + 1)):
        found = procrustes(points, target)
        close(torch.linalg.det(found.rotation), torch.ones((), dtype=torch.float64))
        close(found.rotation @ found.rotation.T, torch.eye(3, dtype=torch.float64))


def test_procrustes_handles_points_in_a_plane() -> None:
    points = spread_cloud() * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    motion = Similarity(
        rotation_from_vector(torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)),
        torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
        torch.tensor(1.7, dtype=torch.float64),
    )
    close(procrustes(points, motion.apply(points)).matrix(), motion.matrix(), 1e-8)


@given(st.integers(0, 20), VECTORS, VECTORS, st.floats(-0.2, 0.2, allow_subnormal=False))
def test_procrustes_is_the_least_squares_solution(
    seed: int, turn: torch.Tensor, shift: torch.Tensor, growth: float
) -> None:
    source, target = spread_cloud(seed), spread_cloud(seed + 100)
    found = procrustes(source, target)
    nudge = Similarity(
        rotation_from_vector(0.05 * turn), 0.05 * shift, torch.tensor(math.exp(growth), dtype=torch.float64)
    )

    def error(candidate: Similarity) -> float:
        return float(((candidate.apply(source) - target) ** 2).sum())

    assert error(found) <= error(nudge.compose(found)) + 1e-9


def test_procrustes_weights_count_points() -> None:
    points = spread_cloud()
    motion = Similarity.scaling(1.3, torch.float64)
    target = motion.apply(points)
    spoilt = target.clone()
    spoilt[0] += 100.0
    weights = torch.ones(len(points), dtype=torch.float64)
    weights[0] = 0.0
    close(procrustes(points, spoilt, weights).matrix(), motion.matrix())
    # A weight of two is the same as the point given twice.
    weights[0] = 2.0
    noisy = target + 0.1 * spread_cloud(1)
    doubled = procrustes(torch.cat([points, points[:1]]), torch.cat([noisy, noisy[:1]]))
    close(procrustes(points, noisy, weights).matrix(), doubled.matrix())


def test_procrustes_needs_three_points() -> None:
    with pytest.raises(ValueError, match="at least 3 points, got 2"):
        procrustes(torch.zeros(2, 3), torch.zeros(2, 3))
