"""Cameras: projection against its definition, and what must not change when frames or images do."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protome.geometry.camera import Camera, Rays, direction
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.scene import View

# No subnormal numbers: other tests of the same process switch them off in the processor, for speed.
SIZE = st.floats(-2.0, 2.0, width=32, allow_subnormal=False)
NUMBERS = arrays(np.float64, 3, elements=SIZE).map(torch.from_numpy)


def posed(turn: torch.Tensor, centre: torch.Tensor, width: int = 7, height: int = 5) -> Camera:
    """A camera with unequal focal lengths and an off-centre principal point."""
    K = torch.tensor([[9.0, 0.0, 3.1], [0.0, 8.0, 2.7], [0.0, 0.0, 1.0]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotation_from_vector(turn)
    pose[:3, 3] = centre
    return Camera(K, pose, width, height)


CAMERAS = st.builds(posed, NUMBERS, NUMBERS)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


def points_before(camera: Camera) -> torch.Tensor:
    """Points in the camera's view at several depths."""
    return camera.rays().at(torch.linspace(0.5, 4.0, camera.width * camera.height, dtype=torch.float64))


def test_pixel_centres_lie_at_one_half() -> None:
    camera = Camera(torch.eye(3), torch.eye(4), width=3, height=2)
    expected = [[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [0.5, 1.5], [1.5, 1.5], [2.5, 1.5]]
    assert camera.pixels().tolist() == expected


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [
        ((0, 0), (0, 0, 1)),
        ((90, 0), (1, 0, 0)),
        ((180, 0), (0, 0, -1)),
        ((-45, 90), (0, 1, 0)),
        ((90, 30), (0.75**0.5, 0.5, 0)),
    ],
)
def test_directions_follow_from_azimuth_and_elevation(
    degrees: tuple[float, float], expected: tuple[float, float, float]
) -> None:
    found = direction(*map(math.radians, degrees))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=0)


def test_axes_are_opencv() -> None:
    K = torch.tensor([[100.0, 0.0, 50.0], [0.0, 100.0, 40.0], [0.0, 0.0, 1.0]])
    camera = Camera(K, torch.eye(4), 100, 80)
    points = torch.tensor([[0.0, 0.0, 2.0], [0.2, 0.0, 2.0], [0.0, 0.2, 2.0]])
    close(camera.project(points), torch.tensor([[50.0, 40.0], [60.0, 40.0], [50.0, 50.0]]), 1e-5)


def test_the_middle_ray_of_an_odd_image_is_the_axis() -> None:
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), 10.0, 5, 5)
    close(camera.rays().directions[12], torch.tensor([0.0, 0.0, -1.0]), 1e-6)


@given(CAMERAS)
def test_projection_undoes_rays(camera: Camera) -> None:
    close(camera.project(points_before(camera)), camera.pixels())


@given(CAMERAS, NUMBERS)
def test_projection_is_its_definition(camera: Camera, offset: torch.Tensor) -> None:
    point = camera.centre + camera.T_world_camera[:3, 2] * 5.0 + offset
    homogeneous = torch.cat([point, torch.ones(1, dtype=torch.float64)])
    expected = camera.K @ (torch.linalg.inv(camera.T_world_camera) @ homogeneous)[:3]
    close(camera.project(point), expected[:2] / expected[2])
    close(camera.to_camera(point), (torch.linalg.inv(camera.T_world_camera) @ homogeneous)[:3])


@given(CAMERAS)
def test_rays_are_unit_and_start_at_the_centre(camera: Camera) -> None:
    rays = camera.rays()
    assert len(rays) == camera.width * camera.height
    close(rays.directions.norm(dim=1), torch.ones(len(rays), dtype=torch.float64))
    assert torch.equal(rays.origins, camera.centre.expand(len(rays), 3))


def test_rays_can_be_picked_and_walked() -> None:
    rays = Rays(torch.zeros(4, 3), torch.eye(4)[:, :3])
    picked = rays[torch.tensor([True, False, True, False])]
    assert len(picked) == 2
    assert picked.at(torch.tensor([2.0, 3.0])).tolist() == [[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]]
    assert len(rays[1:3]) == 2


@given(NUMBERS, NUMBERS)
def test_look_at_sees_the_target_upright(centre: torch.Tensor, target: torch.Tensor) -> None:
    flat = (target - centre)[[0, 2]].norm()
    if flat < 0.1:  # nearly along the up vector: there is no upright picture
        return
    camera = Camera.look_at(centre, target, 50.0, 32, 24)
    close(camera.project(target), torch.tensor([16.0, 12.0], dtype=torch.float64), 1e-7)
    close(camera.centre, centre)
    close(torch.linalg.det(camera.T_world_camera), torch.ones((), dtype=torch.float64))
    above = target + torch.tensor([0.0, 1e-3, 0.0], dtype=torch.float64)
    pixel = camera.project(above)
    assert float(pixel[1]) < 12.0
    assert math.isclose(float(pixel[0]), 16.0, abs_tol=1e-7)
    assert camera.focal == 50.0


def test_look_at_refuses_to_look_along_up() -> None:
    with pytest.raises(ValueError, match="parallel to the up vector"):
        Camera.look_at(torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]), 50.0, 8, 8)
    up = torch.tensor([0.0, 0.0, 1.0])
    assert Camera.look_at(torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]), 50.0, 8, 8, up).width == 8


@given(CAMERAS, NUMBERS, NUMBERS, st.floats(0.01, 100.0))
def test_a_change_of_frame_keeps_the_pixels(
    camera: Camera, turn: torch.Tensor, shift: torch.Tensor, scale: float
) -> None:
    b_from_a = Similarity(rotation_from_vector(turn), shift, torch.tensor(scale, dtype=torch.float64))
    moved = camera.transformed(b_from_a)
    points = points_before(camera)
    close(moved.project(b_from_a.apply(points)), camera.project(points), 1e-7)
    rotation = moved.T_world_camera[:3, :3]
    close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    close(moved.transformed(b_from_a.inverse()).T_world_camera, camera.T_world_camera, 1e-7)


@given(CAMERAS, st.integers(-4, 4), st.integers(-4, 4))
def test_a_crop_shifts_the_pixels(camera: Camera, left: int, top: int) -> None:
    window = camera.cropped(left, top, 20, 30)
    assert (window.width, window.height) == (20, 30)
    shift = torch.tensor([left, top], dtype=torch.float64)
    close(window.project(points_before(camera)), camera.pixels() - shift)
    close(window.rays(camera.pixels() - shift).directions, camera.rays().directions)


@given(CAMERAS, st.integers(1, 40), st.integers(1, 40))
def test_a_resize_scales_the_pixels(camera: Camera, width: int, height: int) -> None:
    small = camera.resized(width, height)
    ratio = torch.tensor([width / camera.width, height / camera.height], dtype=torch.float64)
    close(small.project(points_before(camera)), camera.pixels() * ratio)


def test_a_halved_pixel_lies_in_the_middle_of_its_four() -> None:
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3), 10.0, 8, 6).to(torch.float64)
    points = camera.resized(4, 3).rays().at(torch.ones(12, dtype=torch.float64))
    block = camera.pixels().reshape(3, 2, 4, 2, 2).mean((1, 3)).reshape(-1, 2)
    close(camera.project(points), block)


def test_a_resized_view_shows_every_point_where_its_camera_says() -> None:
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3), 40.0, 32, 24)
    # Each pixel's colour is its own position, so a resampled colour says where it came from.
    position = camera.pixels().reshape(24, 32, 2)
    image = torch.cat([position / 32, torch.zeros(24, 32, 1)], 2)
    landmarks = torch.full((478, 2), 12.0)
    view = View("a.png", image, (position[..., 0] > 16).float(), camera, landmarks).resized(16)
    assert view.image.shape == (12, 16, 3)
    points = view.camera.rays().at(torch.ones(12 * 16))
    close(view.image[..., :2].reshape(-1, 2) * 32, camera.project(points), 1e-4)
    assert view.mask[:, :8].max() == 0.0
    assert view.mask[:, 8:].min() == 1.0
    assert view.landmarks is not None
    close(view.landmarks, torch.full((478, 2), 6.0))
    assert view.resized(64) is view


def test_a_cropped_view_is_a_window_with_its_own_camera() -> None:
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3), 40.0, 32, 24)
    position = camera.pixels().reshape(24, 32, 2)
    image = torch.cat([position / 32, torch.zeros(24, 32, 1)], 2)
    landmarks = torch.full((478, 2), 12.0)
    view = View("a.png", image, torch.ones(24, 32), camera, landmarks).cropped(5, 3, 10, 8)
    assert view.image.shape == (8, 10, 3)
    assert view.mask.shape == (8, 10)
    close(view.image[..., :2].reshape(-1, 2) * 32, camera.project(view.camera.rays().at(torch.ones(80))), 1e-4)
    assert view.landmarks is not None
    close(view.landmarks[0], torch.tensor([7.0, 9.0]))


def test_a_camera_moves_between_types() -> None:
    camera = Camera.look_at(torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3), 10.0, 4, 4).to(torch.float64)
    assert camera.K.dtype == camera.T_world_camera.dtype == camera.rays().directions.dtype == torch.float64
