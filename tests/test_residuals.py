"""Residuals of photos: nothing where a head explains them, and known amounts where it does not."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from heads import Person, draw_person
from protome.errors import ProtomeWarning
from protome.fit.residuals import LEAST_IOU, MOST_MM, PhotoResidual, photo_residuals, warn_of_residuals
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.landmarks import load_template_points
from protome.perception.network import LANDMARKS
from protome.prior.prior import FittedHead
from protome.render.cast import cast
from protome.scene import DenseLandmarks, Scene, View
from protome.units import UNIT_MM

SIZE = 200
CAMERA = Camera.look_at(torch.tensor([0.6, 0.1, 3.0]), torch.tensor([0.0, -0.2, -0.4]), 1.5 * SIZE, SIZE, SIZE)


@pytest.fixture(scope="module")
def person() -> Person:
    return draw_person(seed=2, resolution=72, temperature=0.6)


@pytest.fixture(scope="module")
def head(person: Person) -> FittedHead:
    return FittedHead(person.prior.field, person.latents, person.prior.bounds)


@pytest.fixture(scope="module")
def scene(person: Person, head: FittedHead) -> Scene:
    """One photo of the head with its exact outline and landmarks."""
    known = torch.isfinite(load_template_points()).all(1)
    places = head.field.placed((load_template_points()[known] / UNIT_MM).float(), head.latents.condition(head.field))
    pixels = torch.zeros(LANDMARKS, 2)
    pixels[known] = CAMERA.project(places)
    dense = DenseLandmarks(pixels, torch.ones(LANDMARKS), known.float())
    mask = torch.zeros(SIZE * SIZE)
    mask[cast(person.mesh, CAMERA).pixel] = 1.0
    view = View("one.png", torch.zeros(SIZE, SIZE, 3), mask.reshape(SIZE, SIZE), CAMERA, dense=dense)
    return Scene((view,), Similarity.identity())


def test_a_photo_of_the_head_itself_leaves_nothing(scene: Scene, person: Person, head: FittedHead) -> None:
    (own,) = photo_residuals(scene, [head], person.mesh)
    assert own.landmarks_mm == pytest.approx(0, abs=0.05)
    assert own.outline_iou is not None
    assert own.outline_iou > 0.98
    assert own.remarks == ()


def test_moved_landmarks_and_another_outline_are_measured(scene: Scene, person: Person, head: FittedHead) -> None:
    (view,) = scene.views
    assert view.dense is not None
    depth = float(CAMERA.to_camera(torch.tensor([[0.0, 0.0, 0.0]]))[0, 2])
    pixel_mm = depth / CAMERA.focal * UNIT_MM
    dense = replace(view.dense, pixels=view.dense.pixels + torch.tensor([0.0, 30.0 / pixel_mm]))
    half = view.mask.clone()
    half[:, : SIZE // 2] = 0
    (own,) = photo_residuals(replace(scene, views=(replace(view, dense=dense, mask=half),)), [head], person.mesh)
    assert own.landmarks_mm == pytest.approx(30, rel=0.1)  # the landmarks lie at various depths
    assert own.outline_iou == pytest.approx(0.5, abs=0.1)
    assert len(own.remarks) == 2


def test_what_a_photo_does_not_show_has_no_residual(scene: Scene, person: Person, head: FittedHead) -> None:
    (view,) = scene.views
    blank = replace(view, dense=None, mask=torch.zeros_like(view.mask))
    assert photo_residuals(replace(scene, views=(blank,)), [head], person.mesh) == (PhotoResidual(None, None),)


def test_only_large_residuals_are_warned_of(scene: Scene) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ProtomeWarning)
        warn_of_residuals(scene, [PhotoResidual(MOST_MM - 0.1, LEAST_IOU + 0.01)])
        warn_of_residuals(scene, [PhotoResidual(None, None)])
    with pytest.warns(
        ProtomeWarning, match=r"^the head does not fit one\.png \(landmarks 33\.0 mm beside the head's, "
    ):
        warn_of_residuals(scene, [PhotoResidual(33.0, 0.99)])
    with pytest.warns(ProtomeWarning, match=r"one\.png \(outlines overlap by 0\.31, in good fits by "):
        warn_of_residuals(scene, [PhotoResidual(1.0, 0.31)])
