"""Recovering people, expressions and cameras from landmarks, and refusing what is no face."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch

from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.morphable.fit import LandmarkFitConfig, PhotoResiduals, Sighting, fit_landmarks
from protome.morphable.flame import load_flame
from protome.morphable.ibug import from_mediapipe
from protome.morphable.linear import load_builtin
from protome.morphable.model import ExpressiveHead, MorphableModel
from test_morphable_flame import write

FOCAL = 900.0
SURE = LandmarkFitConfig(trust=1e4)
"""Landmarks without errors are worth much more than the priors."""


@lru_cache
def few(identities: int = 8, expressions: int = 5) -> MorphableModel:
    """The packaged model with its first few components."""
    model = load_builtin()
    return MorphableModel(
        model.name, model.template, model.faces, model.identity[:identities], model.expression[20 : 20 + expressions],
        model.expression_names[20 : 20 + expressions], model.expression_deviations[:expressions], model.landmarks,
        model.dense,
    )  # fmt: skip


def camera(yaw: float, distance: float = 800.0, focal: float = FOCAL) -> Camera:
    turn = torch.deg2rad(torch.tensor(yaw))
    away = torch.tensor([float(torch.sin(turn)), 0.1, float(torch.cos(turn))])
    return Camera.look_at(distance * away, torch.tensor([5.0, -30.0, 0.0]), focal, 500, 400)


def seen(head: ExpressiveHead, posed: Camera) -> torch.Tensor:
    """MediaPipe's 478 landmarks of a head: the irises, which no fit uses, stay at the origin."""
    model = head.shaped.model
    assert model.dense is not None
    pixels = posed.project(model.dense.on(head.vertices, model.faces))
    return torch.cat([pixels, torch.zeros(10, 2)])


def person(model: MorphableModel, seed: int = 0) -> torch.Tensor:
    return torch.randn(len(model.identity), generator=torch.Generator().manual_seed(seed)).clamp(-2, 2)


def mean_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm(dim=1).mean())


def test_a_person_seen_in_two_photos_is_recovered_with_expressions_and_cameras() -> None:
    model = few()
    identity = person(model)
    expressions = 0.4 * torch.randn(2, 5, generator=torch.Generator().manual_seed(1))
    cameras = [camera(yaw) for yaw in (0.0, -25.0)]
    heads = [model.with_shape(identity).with_expression(expression) for expression in expressions]
    sightings = [Sighting(seen(head, posed), posed, True) for head, posed in zip(heads, cameras, strict=True)]
    fit = fit_landmarks(model, sightings, SURE)
    # Only the direction in which a larger head stands farther away is left to the priors.
    torch.testing.assert_close(fit.identity, identity, atol=0.05, rtol=0)
    torch.testing.assert_close(fit.expressions, expressions, atol=0.05, rtol=0)
    for number, (posed, head) in enumerate(zip(cameras, heads, strict=True)):
        assert fit.error_px[number] < 0.02
        torch.testing.assert_close(fit.cameras[number].T_world_camera, posed.T_world_camera, atol=3.0, rtol=1e-3)
        assert mean_distance(fit.head(number).vertices, head.vertices) < 0.4


def test_one_photo_with_iBUGs_68_places_the_face(tmp_path: Path) -> None:  # noqa: N802
    model = few(4, 3)
    head, posed = model.with_shape(person(model)).neutral(), camera(15.0)
    pixels = posed.project(model.landmarks.on(head.vertices, model.faces))
    fit = fit_landmarks(model, [Sighting(pixels, posed, True)], SURE)
    assert fit.error_px[0] < 0.1
    assert fit.relative_error[0] == pytest.approx(fit.error_px[0] / float((pixels.amax(0) - pixels.amin(0)).max()))
    assert mean_distance(fit.head().vertices, head.vertices) < 1.5
    mean = fit_landmarks(model, [Sighting(pixels, posed, True)], LandmarkFitConfig(trust=1e-6))
    assert float(mean.identity.abs().max()) < 0.05  # priors alone: the mean face


def test_a_focal_length_that_is_not_recorded_is_found() -> None:
    model = few(3, 0)
    identity = person(model)
    truth = camera(10.0, 420.0)
    sightings = [Sighting(seen(model.with_shape(identity).neutral(), truth), camera(10.0, 420.0, 1.25 * FOCAL))]
    fit = fit_landmarks(model, sightings, SURE)
    assert fit.cameras[0].focal == pytest.approx(FOCAL, rel=0.05)
    assert fit.error_px[0] < 0.2


def test_landmarks_that_are_far_off_do_not_drag_the_face_along() -> None:
    model = few()
    head, posed = model.with_shape(person(model)).neutral(), camera(0.0)
    pixels = seen(head, posed)
    noise = torch.randn(478, 2, generator=torch.Generator().manual_seed(2))
    wrong = pixels + 0.3 * noise
    wrong[::11] += torch.tensor([25.0, -15.0])
    distances = []
    for width in (2.0, 1e4):
        config = LandmarkFitConfig(width=width)
        clean, dragged = (
            fit_landmarks(model, [Sighting(landmarks, posed, True)], config).head().vertices
            for landmarks in (pixels + 0.3 * noise, wrong)
        )
        distances.append(mean_distance(clean, dragged))
    # The wide one is least squares.
    assert distances[0] < 0.5 * distances[1]


def test_derivatives_are_those_of_finite_differences(tmp_path: Path) -> None:
    write(tmp_path)
    for model in (few(3, 2), load_flame(tmp_path, identities=3, expressions=2)):
        pixels = camera(10.0).project(model.landmark_points().on(model.template, model.faces))
        photo = PhotoResiduals.of(model.to(torch.float64), Sighting(pixels, camera(10.0)), LandmarkFitConfig())
        start = 0.1 * torch.randn(len(photo.pull), dtype=torch.float64, generator=torch.Generator().manual_seed(4))
        value, jacobian = photo.linearised(start)
        assert len(value) == len(jacobian)
        for column in range(len(start)):
            step = torch.zeros_like(start)
            step[column] = 1e-6
            part = photo.visible_part(start)
            slope = (photo.residuals(part, start + step) - photo.residuals(part, start - step)) / 2e-6
            torch.testing.assert_close(jacobian[:, column], slope, atol=2e-5, rtol=2e-5)


def test_a_jaw_that_hangs_open_is_found(tmp_path: Path) -> None:
    write(tmp_path)
    model = load_flame(tmp_path, identities=2, expressions=1)
    turns = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [0, 0, 0], [0, 0, 0]])
    posed = camera(0.0)
    head = model.mean().neutral().with_pose(Similarity.identity(), turns)
    pixels = posed.project(head.landmarks(posed.centre))
    fit = fit_landmarks(model, [Sighting(pixels, posed, True)], SURE)
    assert fit.turns is not None
    torch.testing.assert_close(fit.turns[0, 1], turns[1], atol=0.03, rtol=0)
    assert mean_distance(fit.head().vertices, head.vertices) < 1.0


def test_iBUGs_points_of_a_detection_are_used_where_asked_for() -> None:  # noqa: N802
    model = few(4, 3)
    head, posed = model.with_shape(person(model)).neutral(), camera(0.0)
    pixels = seen(head, posed)
    sparse = fit_landmarks(model, [Sighting(pixels, posed, True)], LandmarkFitConfig("ibug68"))
    same = fit_landmarks(model, [Sighting(from_mediapipe(pixels), posed, True)])
    torch.testing.assert_close(sparse.identity, same.identity)


def test_what_is_no_face_is_refused() -> None:
    model, posed = few(4, 3), camera(0.0)
    with pytest.raises(InputError, match="no landmarks given"):
        fit_landmarks(model, [])
    with pytest.raises(InputError, match=r"51 landmarks found in a\.png: give MediaPipe's 478 or iBUG's 68"):
        fit_landmarks(model, [Sighting(torch.zeros(51, 2), posed, True, "a.png")])
    with pytest.raises(InputError, match="not finite"):
        fit_landmarks(model, [Sighting(torch.full((68, 2), torch.nan), posed, True, "a.png")])
    scattered = 400 * torch.rand(478, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=r"a\.png"):
        fit_landmarks(model, [Sighting(scattered, posed, True, "a.png")])
    pixels = seen(model.mean().neutral(), posed)
    stretched = (pixels - pixels.mean(0)) * torch.tensor([1.0, 1.9]) + pixels.mean(0)
    with pytest.raises(InputError, match=r"a\.png"):
        fit_landmarks(model, [Sighting(stretched, posed, True, "a.png")], SURE)
