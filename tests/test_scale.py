"""A known length that fixes the metric scale: heads of known size at known distances, and refused inputs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from heads import draw_person, photograph
from protome.encoder.encoder import LatentEstimate
from protome.encoder.scale import MOST_TURNED, MetricScale
from protome.errors import InputError
from protome.fit.config import FitConfig, Schedule
from protome.fit.reconstruct import fit_head
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.meshing.extract import extract_mesh
from protome.prior.prior import Prior
from protome.scene import CameraEstimate, Scene
from protome.units import UNIT_MM
from test_encoder import INNER, camera, mean_face, view_of

PUPILS_MM = float((mean_face()[468] - mean_face()[473]).norm())
"""Of the mean face."""


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.load()


def mean_estimate(prior: Prior, views: int = 1) -> LatentEstimate:
    """The mean head where the landmarks have placed it."""
    return LatentEstimate(prior.shape, prior.appearance, (Similarity.identity(torch.float64),) * views)


def as_placed(estimate: LatentEstimate, scene: Scene) -> list[Camera]:
    """The cameras in the estimated head frame, inner unit."""
    placed = estimate.placed(scene)
    return [
        view.camera.to(torch.float64).transformed(placed.head_from_world.to(torch.float64)) for view in placed.views
    ]


@pytest.mark.parametrize("across", [0.0, 20.0, -25.0])
@pytest.mark.parametrize("larger", [0.9, 1.07])
def test_a_head_that_is_larger_is_as_much_farther_away(prior: Prior, across: float, larger: float) -> None:
    """A larger head farther away has the same image as the mean head here; only the pupils' distance differs."""
    by = camera(across, 4, roll=5)
    scene = Scene((view_of(mean_face(), by),), INNER)
    estimate = MetricScale(pupils_mm=larger * PUPILS_MM).known(mean_estimate(prior), scene, prior)
    (found,) = as_placed(estimate, scene)
    nose = prior.landmarks[2].double()
    near, far = (nose - own.centre for own in (by.transformed(INNER.to(torch.float64)), found))
    assert float(far.norm() / near.norm()) == pytest.approx(larger, abs=1e-3)
    # Along the ray of the nose, without rotation.
    assert torch.allclose(far / far.norm(), near / near.norm(), atol=1e-6)
    assert torch.allclose(found.T_world_camera[:3, :3], by.T_world_camera[:3, :3], atol=1e-6)


def test_a_cameras_distance_is_kept(prior: Prior) -> None:
    world = Similarity(rotation_from_vector(torch.tensor([0.2, 1.0, -0.4])), torch.ones(3), torch.ones(()))
    view = view_of(mean_face(), camera(12, 0, distance=800.0))
    scene = Scene(
        (replace(view, camera=view.camera.transformed(world.to(torch.float64))),), INNER.compose(world.inverse())
    )
    estimate = MetricScale(distance_mm=650.0).known(mean_estimate(prior), scene, prior)
    (found,) = as_placed(estimate, scene)
    assert float((prior.landmarks[2].double() - found.centre).norm()) * UNIT_MM == pytest.approx(650.0, abs=0.05)


def test_photos_that_show_both_pupils_fix_the_scale_of_all(prior: Prior) -> None:
    turns = (0.0, 15.0, -20.0, MOST_TURNED + 25.0)
    views = [view_of(mean_face(), camera(angle, 0)) for angle in turns]
    # Occluded landmarks of a turned face are unreliable: here far off.
    wild = views[3].landmarks
    assert wild is not None
    wild[473] += 40.0
    views.append(replace(views[0], landmarks=None))
    scene = Scene(tuple(views), INNER)
    estimate = MetricScale(pupils_mm=1.05 * PUPILS_MM).known(mean_estimate(prior, 5), scene, prior)
    before, after = as_placed(mean_estimate(prior, 5), scene), as_placed(estimate, scene)
    nose = prior.landmarks[2].double()
    for one, two in zip(before, after, strict=True):
        assert float((nose - two.centre).norm() / (nose - one.centre).norm()) == pytest.approx(1.05, abs=1e-3)


def test_photos_in_one_frame_become_as_large_as_the_pupils_say() -> None:
    views = tuple(view_of(mean_face(), camera(angle, 0)) for angle in (0.0, 15.0, -20.0))
    scene = Scene(views, INNER, estimate=CameraEstimate((0.1,) * 3, (0.01,) * 3))
    scaled = MetricScale(pupils_mm=1.05 * PUPILS_MM).scaled(scene)
    for one, two in zip(scene.views, scaled.views, strict=True):
        torch.testing.assert_close(
            two.camera.centre, (1.05 * one.camera.centre).to(two.camera.centre), rtol=1e-3, atol=0
        )
    with pytest.raises(InputError, match="is of one photo, and there are 3"):
        MetricScale(distance_mm=700.0).scaled(scene)
    faceless = replace(scene, views=tuple(replace(view, landmarks=None) for view in views))
    with pytest.raises(InputError, match="no photo shows both pupils"):
        MetricScale(pupils_mm=63.0).scaled(faceless)


def width(vertices: np.ndarray) -> float:
    """How wide a head is between chin and crown (head frame, inner unit)."""
    across = vertices[vertices[:, 1] > -0.3, 0]
    return float(across.max() - across.min())


def test_a_known_distance_gives_a_head_its_size() -> None:
    """A person of the prior made larger, who fills the photo as before from farther away."""
    person, larger = draw_person(4, 96, 0.5), 1.06
    scene = photograph(person, (5.0,), 160, Similarity.scaling(larger * UNIT_MM))
    eye = scene.views[0].camera.centre / (larger * UNIT_MM)
    nose = person.prior.landmarks_of(person.prior.field, person.latents)[2]
    # Landmarks alone place the head at its usual size, and so the camera nearer.
    usual = Similarity(torch.eye(3), (1 - larger) * eye, torch.ones(())).compose(Similarity.scaling(1 / UNIT_MM))
    located, estimate = replace(scene, head_from_world=usual), mean_estimate(person.prior)
    scale_known = MetricScale(distance_mm=larger * float((nose - eye).norm()) * UNIT_MM).known(
        estimate, located, person.prior
    )
    config = FitConfig(size=96, rays=256, schedule=Schedule({1: 100}, {1: 0}, colours=0))
    found = []
    for start in (estimate, scale_known):
        fit = fit_head(located, person.prior, config, estimate=start, quiet=True)
        found.append(width(extract_mesh(fit.head.bind(), person.prior.bounds, 96).vertices))
    true = width(person.mesh.vertices)
    assert found[0] == pytest.approx(true, rel=0.015)
    assert found[1] == pytest.approx(larger * true, rel=0.015)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({}, "give one of the two"),
        ({"pupils_mm": 63.0, "distance_mm": 500.0}, "give one of the two"),
        ({"pupils_mm": 6.3}, "--pupils 6.3: give 40 to 85 millimetres"),
        ({"distance_mm": 0.8}, "--distance 0.8: give 150 to 20000 millimetres"),
        ({"pupils_mm": math.nan}, "--pupils nan"),
    ],
)
def test_lengths_beyond_human_ones_are_refused(numbers: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MetricScale(**numbers)


def test_lengths_that_do_not_fix_the_scale_are_refused(prior: Prior) -> None:
    views = tuple(view_of(mean_face(), camera(angle, 0)) for angle in (50.0, -60.0))
    scene = Scene(views, INNER)
    with pytest.raises(InputError, match="is of one photo, and there are 2"):
        MetricScale(distance_mm=700.0).known(mean_estimate(prior, 2), scene, prior)
    with pytest.raises(InputError, match="no photo shows both pupils"):
        MetricScale(pupils_mm=63.0).known(mean_estimate(prior, 2), scene, prior)
    asleep = mean_face()
    for upper, lower in ((159, 145), (386, 374)):
        asleep[upper] = asleep[lower]
    with pytest.raises(InputError, match="eyes open"):
        MetricScale(pupils_mm=63.0).known(mean_estimate(prior), Scene((view_of(asleep, camera(0.0, 0)),), INNER), prior)
    with pytest.raises(InputError, match="leave them out here"):
        MetricScale(pupils_mm=63.0).known(None, scene, prior)
