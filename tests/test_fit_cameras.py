"""Corrections of cameras: what they do to rays, and that a fit finds them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from heads import draw_person, photograph, some_world
from protome.fit.cameras import GIVEN, CameraCorrections, spread_of
from protome.fit.config import FitConfig, Schedule
from protome.fit.reconstruct import fit_head
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.scene import CameraEstimate, Scene, View


def _views(count: int) -> list[View]:
    generator = torch.Generator().manual_seed(3)
    views = []
    for number in range(count):
        centre = torch.tensor([0.0, 0.0, 5.0]) + torch.randn(3, generator=generator)
        camera = Camera.look_at(centre, torch.zeros(3), 80.0, 40, 30)
        views.append(View(f"{number}", torch.zeros(30, 40, 3), torch.zeros(30, 40), camera))
    return views


def test_without_corrections_rays_stay() -> None:
    views = _views(2)
    corrections = CameraCorrections(views)
    rays = views[1].camera.rays()
    moved = corrections.move(rays, torch.ones(len(rays), dtype=torch.long))
    torch.testing.assert_close(moved.directions, rays.directions)
    torch.testing.assert_close(moved.origins, rays.origins)
    assert float(corrections.penalty().detach()) == 0


def test_rays_go_where_the_corrected_camera_sends_them() -> None:
    views = _views(3)
    corrections = CameraCorrections(views)
    with torch.no_grad():
        for value in corrections.parameters():
            value.normal_(generator=torch.Generator().manual_seed(1))
    for number, view in enumerate(views):
        given = view.camera.rays()
        moved = corrections.move(given, torch.full((len(given),), number))
        expected = corrections.corrected(number, view.camera).rays()
        torch.testing.assert_close(moved.origins, expected.origins)
        torch.testing.assert_close(moved.directions, expected.directions, atol=1e-6, rtol=0)


def test_one_standard_deviation_is_half_a_degree_two_millimetres_and_a_hundredth() -> None:
    views = _views(1)
    corrections = CameraCorrections(views)
    with torch.no_grad():
        corrections.rotation[0, 1] = 1
        corrections.shift[0, 2] = 1
        corrections.log_focal[0] = 1
    camera = views[0].camera
    moved = corrections.corrected(0, camera)
    turn = camera.T_world_camera[:3, :3].T @ moved.T_world_camera[:3, :3]
    angle = torch.rad2deg(torch.asin((turn - turn.T).norm() / 8**0.5))  # exact for small angles, unlike the cosine
    assert float(angle) == pytest.approx(0.5, abs=1e-3)
    assert float((moved.centre - camera.centre).norm()) == pytest.approx(GIVEN.shift, rel=1e-4)
    assert moved.focal / camera.focal == pytest.approx(1.01005, rel=1e-4)
    assert torch.pi / 360 == pytest.approx(float(GIVEN.rotation))
    assert float(GIVEN.focal) == pytest.approx(0.01)
    assert float(corrections.penalty().detach()) == pytest.approx(3 / 7)


def test_focal_lengths_that_were_found_with_the_cameras_are_held() -> None:
    views = _views(2)
    corrections = CameraCorrections(views, spread_of(_estimated(views)))
    with torch.no_grad():
        corrections.log_focal.add_(3.0)
    for number, view in enumerate(views):
        moved = corrections.corrected(number, view.camera)
        torch.testing.assert_close(moved.K, view.camera.K)
        torch.testing.assert_close(moved.T_world_camera, view.camera.T_world_camera)


def test_an_estimated_camera_turns_about_the_head_by_its_own_deviation() -> None:
    views = _views(2)
    corrections = CameraCorrections(views, spread_of(_estimated(views)))
    with torch.no_grad():
        corrections.rotation[1] = torch.tensor([0.6, -0.8, 0.0])
    camera = views[1].camera
    moved = corrections.corrected(1, camera)
    turn = moved.T_world_camera[:3, :3] @ camera.T_world_camera[:3, :3].T
    angle = torch.asin((turn - turn.T).norm() / 8**0.5)
    assert float(angle) == pytest.approx(0.03, rel=1e-3)
    # The head's origin stays where it was in the image and as far away; other points turn with the head.
    torch.testing.assert_close(moved.project(torch.zeros(1, 3)), camera.project(torch.zeros(1, 3)), atol=1e-3, rtol=0)
    assert float(moved.centre.norm()) == pytest.approx(float(camera.centre.norm()), rel=1e-5)
    spot = torch.tensor([[0.3, 0.1, -0.4]])
    torch.testing.assert_close(moved.project(spot @ turn.T), camera.project(spot), atol=1e-3, rtol=0)


def _estimated(views: list[View]) -> Scene:
    spreads = tuple(0.01 + 0.02 * number for number in range(len(views)))
    return Scene(tuple(views), Similarity.identity(), estimate=CameraEstimate((0.05,) * len(views), spreads))


def test_a_fit_corrects_cameras_that_are_slightly_wrong() -> None:
    person = draw_person(seed=5, temperature=0.6)
    truth = photograph(person, (0.0, 50.0, -50.0), 96, some_world())
    generator = torch.Generator().manual_seed(2)
    wrong = []
    for view in truth.views:
        pose = view.camera.T_world_camera.clone()
        pose[:3, :3] = pose[:3, :3] @ rotation_from_vector(1.5 * GIVEN.rotation * torch.randn(3, generator=generator))
        wrong.append(replace(view, camera=replace(view.camera, T_world_camera=pose)))
    scene = Scene(tuple(wrong), truth.head_from_world)
    config = FitConfig(size=96, rays=192, schedule=Schedule({1: 100}, {1: 0}, 0), refine_cameras=True)
    result = fit_head(scene, person.prior, config, seed=1, quiet=True)
    assert result.cameras is not None

    def gap(cameras: tuple[Camera, ...]) -> float:
        """Mean angle between what two sets of cameras see of each other's head, the heads' own motions left out."""
        spot = torch.tensor([0.0, -0.2, -0.3])
        away = []
        for camera, view in zip(cameras, truth.views, strict=True):
            seen = view.camera.project(truth.head_from_world.inverse().apply(spot))
            away.append(camera.project(result.head_from_world[0].inverse().apply(spot)) - seen)
        return float(torch.stack(away).norm(dim=1).mean())

    given = tuple(view.camera for view in wrong)
    assert gap(result.cameras) < 0.5 * gap(given)
