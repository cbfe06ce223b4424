"""The landmark term: zero for the true head, and it pulls a wrong one to its place."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from heads import Person, draw_person, photograph, some_world
from protome.face import LANDMARK_NAMES
from protome.fit.landmarks import DEVIATION, MEDIAPIPE, LandmarkRays
from protome.fit.reconstruct import FitConfig, fit_head
from protome.geometry.camera import Rays
from protome.geometry.transforms import Similarity
from protome.scene import Scene


@pytest.fixture(scope="module")
def person() -> Person:
    return draw_person(seed=5, temperature=0.6)


@pytest.fixture(scope="module")
def scene(person: Person) -> Scene:
    """Photos whose landmarks are exact; all others of MediaPipe's are nonsense."""
    plain = photograph(person, (0.0, 50.0), 64, some_world())
    points = plain.head_from_world.inverse().apply(person.prior.landmarks_of(person.prior.field, person.latents))
    views = []
    for view in plain.views:
        landmarks = torch.full((478, 2), -1e4)
        for name, pixel in zip(LANDMARK_NAMES, view.camera.project(points), strict=True):
            landmarks[MEDIAPIPE[name]] = pixel
        views.append(replace(view, landmarks=landmarks))
    return replace(plain, views=tuple(views))


def test_the_true_head_has_no_loss_and_the_mean_head_has(person: Person, scene: Scene) -> None:
    rays = LandmarkRays.of(scene, person.prior)
    assert rays is not None
    assert rays.view.tolist() == [0] * 6 + [1] * 6
    # Three rounds come within a fraction of a millimetre of the fixed point.
    assert float(rays.loss(person.field, rays.rays)) < 0.01
    mean = person.prior.bind(person.prior.mean())
    assert float(rays.loss(mean, rays.rays)) > 5 * float(rays.loss(person.field, rays.rays))


def test_rays_that_pass_at_a_distance_cost_what_the_robust_square_says(person: Person, scene: Scene) -> None:
    rays = LandmarkRays.of(scene, person.prior)
    assert rays is not None
    aside = torch.linalg.cross(rays.rays.directions, torch.tensor([[0.0, 1.0, 0.0]]).expand(12, 3))
    aside = 2 * DEVIATION * torch.nn.functional.normalize(aside, dim=1)
    moved = Rays(rays.rays.origins + aside, rays.rays.directions)
    assert float(rays.loss(person.field, moved, rounds=20)) == pytest.approx(5**0.5 - 1, abs=0.01)


def test_views_without_landmarks_have_no_rays(person: Person, scene: Scene) -> None:
    bare = replace(scene, views=tuple(replace(view, landmarks=None) for view in scene.views))
    assert LandmarkRays.of(bare, person.prior) is None


def test_the_term_is_early_and_brings_the_landmarks_closer(person: Person, scene: Scene) -> None:
    off = Similarity(torch.eye(3), torch.tensor([0.05, -0.04, 0.0]), torch.tensor(1.0))
    wrong = replace(scene, head_from_world=off.compose(scene.head_from_world))
    config = FitConfig(size=64, rays=64, latent_steps=40, network_steps=0, single_steps=0, colour_steps=0, landmark=1.0)
    curve = fit_head(wrong, person.prior, config, shared_frame=True, quiet=True).curves["landmark"]
    assert len(curve) == 10  # a quarter of the run, while its weight falls to nothing
    # What is left after the weight is taken out falls, too.
    weights = [1 - 4 * number / 40 for number in range(10)]
    assert curve[-1] / weights[-1] < 0.5 * curve[0] / weights[0]
