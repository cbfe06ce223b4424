"""Sizes of heads: of spheres and ellipsoids, and what corresponds on heads whose field is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from trimesh.creation import icosphere

from protome.geometry.mesh import Mesh
from protome.measures import circumference, measures, reference_points
from protome.prior.prior import Prior
from protome.units import UNIT_MM


def ellipsoid(*half_axes: float) -> Mesh:
    ball = icosphere(4, 1.0)
    return Mesh(np.array(ball.vertices) * half_axes, np.array(ball.faces))


def test_a_tape_around_a_sphere_is_as_long_as_its_circle() -> None:
    ball = ellipsoid(100.0, 100.0, 100.0)
    assert circumference(ball, np.zeros(3)) == pytest.approx(2 * np.pi * 100, rel=3e-3)
    assert circumference(ball, np.array([0.0, 60.0, 0.0])) == pytest.approx(2 * np.pi * 80, rel=3e-3)
    assert circumference(ball, np.array([0.0, 150.0, 0.0])) is None


def test_a_taut_tape_spans_hollows() -> None:
    # Two balls beside each other: the tape is that of a stadium.
    aside = np.array([100.0, 0.0, 0.0])
    first, second = ellipsoid(50.0, 50.0, 50.0), ellipsoid(50.0, 50.0, 50.0)
    both = Mesh(
        np.concatenate([first.vertices - aside, second.vertices + aside]),
        np.concatenate([first.faces, second.faces + len(first.vertices)]),
    )
    assert circumference(both, np.zeros(3)) == pytest.approx(2 * np.pi * 50 + 400, rel=3e-3)


def test_sizes_are_distances_of_named_points_and_grow_with_the_head() -> None:
    points = reference_points().double().numpy()
    head = ellipsoid(80.0, 120.0, 100.0)
    found, larger = measures(head, points), measures(Mesh(1.1 * head.vertices, head.faces), 1.1 * points)
    assert larger == pytest.approx({name: 1.1 * size for name, size in found.items()})
    assert found["mouth width"] == pytest.approx(np.linalg.norm(points[61] - points[291]))
    # Of adults: 54 to 74 mm between the pupils, 120 to 160 between the cheekbones, 95 to 135 from nasion to chin.
    assert 54 < found["between the eyes' middles"] < 74
    assert 120 < found["face width"] < 160
    assert 95 < found["face height, nasion to chin"] < 135


def test_points_of_the_mean_head_are_the_mean_points_and_correspond_on_another() -> None:
    prior = Prior.load()
    mean = reference_points() / UNIT_MM
    torch.testing.assert_close(prior.points_of(prior.field, prior.mean(), mean), mean, atol=1e-4, rtol=0)
    other = prior.sample(torch.Generator().manual_seed(3))
    found = prior.points_of(prior.field, other, mean)
    # They come to lie where the mean head's points lie in the reference.
    here = found + prior.field.displacement(found[None], other.z_shape[None])[0]
    there = mean + prior.field.displacement(mean[None], prior.shape.mean[None])[0]
    assert float((here - there).norm(dim=1).max()) < 0.5 / UNIT_MM
    assert float((found - mean).norm(dim=1).mean()) > 1.0 / UNIT_MM
