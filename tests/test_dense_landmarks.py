"""Dense landmarks: places on a head follow its latent, and shape and pose are recovered from their pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from heads import PRIOR
from protome.encoder.dense import places_on_head, with_landmarks
from protome.encoder.encoder import LatentEstimate
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity, procrustes, rotation_from_vector
from protome.landmarks import load_face_landmarks, load_template_points
from protome.perception.network import LANDMARKS
from protome.prior.prior import LatentStatistics, Prior
from protome.scene import DenseLandmarks, Scene, View
from protome.units import UNIT_MM

AXES = 24
FACE = slice(0, 468)


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.load(PRIOR)


@pytest.fixture(scope="module")
def statistics(prior: Prior) -> LatentStatistics:
    return LatentStatistics(prior.shape.mean, prior.shape.axes[:AXES])


KNOWN = torch.isfinite(load_template_points()).all(1)
REFERENCE = (load_template_points()[KNOWN] / UNIT_MM).float()
TRUTH = 0.8 * torch.randn(AXES, generator=torch.Generator().manual_seed(3))
CAMERA = Camera.look_at(torch.tensor([0.6, 0.1, 3.0]), torch.tensor([0.0, -0.2, -0.4]), 900.0, 600, 600)


def _scene(points: torch.Tensor, noise: float, off: Similarity, focal: float = 1.0) -> Scene:
    """Return a scene that shows points of a head from `CAMERA`; the head's place in it is wrong by `off`."""
    pixels = torch.zeros(LANDMARKS, 2)
    pixels[KNOWN] = CAMERA.project(points)
    pixels += noise * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1))
    dense = DenseLandmarks(pixels, torch.full((LANDMARKS,), noise), KNOWN.float())
    camera = replace(CAMERA, K=CAMERA.K * torch.tensor([[focal, 1, 1], [1, focal, 1], [1, 1, 1]]))
    view = View("one", torch.zeros(600, 600, 3), torch.ones(600, 600), camera, focal_from="assumed", dense=dense)
    return Scene((view,), off.to(torch.float32), posed=False)


def _estimate(statistics: LatentStatistics, prior: Prior) -> LatentEstimate:
    return LatentEstimate(statistics, prior.appearance, (Similarity.identity(torch.float64),))


def _face_error(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the mean distance of the face's points after rigid alignment, millimetres."""
    ours, true = found[FACE].double(), truth[FACE].double()
    return float((procrustes(ours, true, with_scale=False).apply(ours) - true).norm(dim=1).mean()) * UNIT_MM


def test_the_table_lies_on_the_reference_and_on_the_mean_face() -> None:
    field = Prior.load().field
    with torch.no_grad():
        distance = field.reference(field._inner()((REFERENCE - field.centre)[None]).value)[0, :, 0].abs() * UNIT_MM
    assert float(distance[FACE].mean()) < 0.5
    assert float(distance.mean()) < 1.0
    face = load_face_landmarks().positions
    assert float((load_template_points()[FACE] - face).norm(dim=1).mean()) < 3
    assert len(load_template_points()) == LANDMARKS


def test_places_are_displaced_to_the_reference_and_their_derivatives_are_those_of_differences(
    prior: Prior, statistics: LatentStatistics
) -> None:
    found = places_on_head(prior.field, statistics, TRUTH, REFERENCE)
    assert float(found.found.float().mean()) > 0.98
    with torch.no_grad():
        landed = found.points + prior.field.displacement(found.points[None], statistics.latent(TRUTH)[None])[0]
    assert float((landed - REFERENCE)[found.found].norm(dim=1).max()) * UNIT_MM < 0.2
    step = torch.zeros(AXES)
    step[2] = 0.01
    there, here = (places_on_head(prior.field, statistics, TRUTH + sign * step, REFERENCE).points for sign in (1, -1))
    slopes = found.by_coefficient[..., 2]
    assert float(((there - here) / 0.02 - slopes)[found.found].abs().max()) < 0.01 * float(slopes.abs().max())


def test_shape_and_pose_are_recovered_from_pixels(prior: Prior, statistics: LatentStatistics) -> None:
    points = places_on_head(prior.field, statistics, TRUTH, REFERENCE).points
    turned = rotation_from_vector(torch.tensor([0.03, -0.04, 0.02], dtype=torch.float64))
    off = Similarity(turned, torch.tensor([0.03, -0.02, 0.05]).double(), torch.ones(()).double())
    scene, before = _scene(points, 0.5, off), _estimate(statistics, prior)
    after = with_landmarks(before, scene, prior)
    found = statistics.coefficients(after.shape.mean[None])[0]
    mean = places_on_head(prior.field, statistics, torch.zeros(AXES), REFERENCE).points
    ours = places_on_head(prior.field, statistics, found, REFERENCE).points
    assert _face_error(ours, points) < 0.25 * _face_error(mean, points)
    assert float(after.corrections[0].compose(off).matrix().sub(torch.eye(4)).abs().max()) < 0.03
    # Where landmarks say something the spread is smaller, and the truth lies within it.
    spread = after.shape.axes @ torch.linalg.pinv(statistics.axes)
    deviation = spread.square().sum(0).sqrt()
    assert float(deviation[:5].max()) < 0.7
    assert float(((found - TRUTH) / deviation).square().mean().sqrt()) < 2.5


def test_a_wrong_focal_length_spoils_neither_shape_nor_the_size_in_the_photo(
    prior: Prior, statistics: LatentStatistics
) -> None:
    points = places_on_head(prior.field, statistics, TRUTH, REFERENCE).points
    scene = _scene(points, 0.3, Similarity.identity(torch.float64), focal=1.2)
    after = with_landmarks(_estimate(statistics, prior), scene, prior)
    ours = places_on_head(prior.field, statistics, statistics.coefficients(after.shape.mean[None])[0], REFERENCE).points
    mean = places_on_head(prior.field, statistics, torch.zeros(AXES), REFERENCE).points
    assert _face_error(ours, points) < 0.5 * _face_error(mean, points)
    view = after.placed(scene).in_head_frame().views[0]
    shown, true = view.camera.project(ours), CAMERA.project(points)
    sizes = [float(np.ptp(pixels[FACE].numpy(), axis=0).max()) for pixels in (shown, true)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_landmarks_that_are_far_off_or_hidden_have_little_influence(prior: Prior, statistics: LatentStatistics) -> None:
    points = places_on_head(prior.field, statistics, TRUTH, REFERENCE).points
    scene = _scene(points, 0.5, Similarity.identity(torch.float64))
    dense = scene.views[0].dense
    assert dense is not None
    pixels, visible = dense.pixels.clone(), dense.visible.clone()
    pixels[::10] += 60
    pixels[5::10] += 300
    visible[5::10] = 0.1
    spoilt = replace(scene, views=(replace(scene.views[0], dense=DenseLandmarks(pixels, dense.sigma, visible)),))
    after = with_landmarks(_estimate(statistics, prior), spoilt, prior)
    ours = places_on_head(prior.field, statistics, statistics.coefficients(after.shape.mean[None])[0], REFERENCE).points
    mean = places_on_head(prior.field, statistics, torch.zeros(AXES), REFERENCE).points
    assert _face_error(ours, points) < 0.45 * _face_error(mean, points)


def test_without_dense_landmarks_the_estimate_stays(prior: Prior, statistics: LatentStatistics) -> None:
    points = places_on_head(prior.field, statistics, TRUTH, REFERENCE).points
    scene = _scene(points, 0.5, Similarity.identity(torch.float64))
    bare = replace(scene, views=(replace(scene.views[0], dense=None),))
    before = _estimate(statistics, prior)
    assert with_landmarks(before, bare, prior) is before


def test_landmarks_follow_their_view() -> None:
    scene = _scene(REFERENCE, 0.5, Similarity.identity(torch.float64))
    small = scene.views[0].cropped(100, 50, 400, 400).resized(200)
    dense, before = small.dense, scene.views[0].dense
    assert dense is not None
    assert before is not None
    assert torch.allclose(dense.pixels, (before.pixels - torch.tensor([100.0, 50.0])) / 2)
    assert torch.allclose(dense.sigma, before.sigma / 2)
