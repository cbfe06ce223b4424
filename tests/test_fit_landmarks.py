"""Landmarks as a loss of a fit: it is small where the photo shows them, and its derivatives lead there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from protome.encoder.encoder import LatentEstimate
from protome.fit.config import FitConfig, Weights
from protome.fit.landmarks import PhotoLandmarks
from protome.fit.reconstruct import new_fit
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.landmarks import load_template_points
from protome.perception.network import LANDMARKS
from protome.prior.prior import Prior
from protome.scene import DenseLandmarks, Scene, View
from protome.units import UNIT_MM

KNOWN = torch.isfinite(load_template_points()).all(1)
REFERENCE = (load_template_points()[KNOWN] / UNIT_MM).float()
CAMERAS = [
    Camera.look_at(torch.tensor([side, 0.1, 3.0]), torch.tensor([0.0, -0.2, -0.4]), 900.0, 600, 600)
    for side in (0.6, -0.9)
]


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.load()


@pytest.fixture(scope="module")
def true(prior: Prior) -> torch.Tensor:
    """The latent of the head in the photos, as a batch of one."""
    return prior.shape.latent(0.8 * torch.randn(len(prior.shape.axes), generator=torch.Generator().manual_seed(3)))[
        None
    ]


@pytest.fixture(scope="module")
def scene(prior: Prior, true: torch.Tensor) -> Scene:
    points = prior.field.placed(REFERENCE, prior.field.shape_condition(true, None))
    views = []
    for camera in CAMERAS:
        pixels = torch.zeros(LANDMARKS, 2)
        pixels[KNOWN] = camera.project(points)
        dense = DenseLandmarks(pixels, torch.ones(LANDMARKS), KNOWN.float())
        views.append(View("one", torch.zeros(600, 600, 3), torch.ones(600, 600), camera, dense=dense))
    return Scene(tuple(views), Similarity.identity(), posed=False)


def _loss(prior: Prior, scene: Scene, latent: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
    """Return the loss of a head, after its places have settled; `shift` moves all cameras."""
    landmarks = PhotoLandmarks.of(scene, prior.field)
    assert landmarks is not None
    cameras = landmarks.cameras.viewpoints(landmarks.cameras.rays, landmarks.cameras.K)
    if shift is not None:
        cameras = replace(cameras, centre=cameras.centre + shift)
    return landmarks.loss(prior.field, [prior.field.shape_condition(latent, None)], cameras)


def test_the_head_in_the_photos_costs_nothing_and_the_mean_head_much(
    prior: Prior, scene: Scene, true: torch.Tensor
) -> None:
    mean = prior.shape.mean[None]
    assert float(_loss(prior, scene, true)) < 1e-3
    assert float(_loss(prior, scene, mean)) > 1
    # Far off the cost grows as the distance, not as its square.
    near, far = (float(_loss(prior, scene, true, torch.tensor([off, 0.0, 0.0]))) for off in (1.0, 2.0))
    assert far == pytest.approx(2 * near, rel=0.1)


def test_derivatives_are_those_of_differences(prior: Prior, scene: Scene, true: torch.Tensor) -> None:
    shift = torch.tensor([0.02, -0.03, 0.05], requires_grad=True)
    _loss(prior, scene, true, shift).backward()
    assert shift.grad is not None
    for axis, step in enumerate(1e-3 * torch.eye(3)):
        high, low = (float(_loss(prior, scene, true, shift.detach() + sign * step)) for sign in (1, -1))
        assert float(shift.grad[axis]) == pytest.approx((high - low) / 2e-3, rel=0.02, abs=0.05)


def test_the_latents_derivative_leads_down_as_fast_as_differences_say(
    prior: Prior, scene: Scene, true: torch.Tensor
) -> None:
    start = (0.5 * (true + prior.shape.mean)).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(_loss(prior, scene, start), start)
    # Along the principal axes, in which fits move.
    along = prior.shape.axes[:6]
    expected = []
    for axis in along:
        high, low = (float(_loss(prior, scene, start.detach() + sign * 0.02 * axis)) for sign in (1, -1))
        expected.append((high - low) / 0.04)
    found = slope @ along.T
    assert float(torch.nn.functional.cosine_similarity(found[0], torch.tensor(expected), dim=0)) > 0.95


def test_only_a_prior_with_expressions_is_led_by_landmarks(prior: Prior, scene: Scene) -> None:
    """A smile would deform the face of others; without an estimate nothing is known of the photos' pose; and photos
    that were placed together have patches to compare."""
    estimate = LatentEstimate.of_prior(prior, scene)
    config = FitConfig(size=32)
    plain = replace(prior, expression=None)
    assert new_fit(scene, plain, config, estimate=estimate).landmarks is None
    assert new_fit(scene, prior, config).landmarks is None
    assert new_fit(scene, prior, replace(config, weights=Weights(landmarks=0)), estimate=estimate).landmarks is None
    if prior.expression is not None:
        assert new_fit(scene, prior, config, estimate=estimate).landmarks is not None
        pair = replace(scene, views=scene.views[:1] * 2)
        found = [new_fit(replace(pair, posed=posed), prior, config, estimate=estimate) for posed in (True, False)]
        assert [fit.landmarks is None for fit in found] == [True, False]
