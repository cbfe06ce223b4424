"""Lens distortion: undistorted pictures show things where the straight camera projects them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from layouts import write_metashape, write_xmp
from protome.scene import LARGEST_SIDE, View
from protome.scenes.colmap import read_colmap
from protome.scenes.distortion import opencv_distortion
from protome.scenes.lens import Lens
from protome.scenes.nerfstudio import read_nerfstudio
from protome.scenes.scene_folder import read_scene
from shots import Shot, write_colmap, write_colmap_images, write_transforms

WIDTH, HEIGHT, SQUARE = 320, 240, 0.1
K = np.array([[300.0, 0, 157.0], [0, 300.0, 124.0], [0, 0, 1]])
RADIUS = 0.25

LENSES = {
    "barrel": (-0.25, 0.06, 0.0, 0.0, 0.0),
    "pincushion": (0.2, 0.05, 0.0, 0.0, 0.0),
    "all": (-0.2, 0.05, 0.004, -0.006, 0.01),
}


Model = Callable[[np.ndarray], np.ndarray]


def fisheye(points: np.ndarray) -> np.ndarray:
    """COLMAP's OPENCV_FISHEYE with 0.05, -0.02, 0.01 and 0, as its source prints it."""
    radius = np.hypot(*points.T)
    angle = np.arctan(radius)
    bent = angle * (1 + 0.05 * angle**2 - 0.02 * angle**4 + 0.01 * angle**6)
    return points * (bent / radius)[:, None]


def full(points: np.ndarray) -> np.ndarray:
    """COLMAP's FULL_OPENCV with -0.2, 0.05, 0, 0, 0.01, 0.1, -0.02 and 0.003, as its source prints it."""
    r = (points**2).sum(1, keepdims=True)
    return points * (1 - 0.2 * r + 0.05 * r**2 + 0.01 * r**3) / (1 + 0.1 * r - 0.02 * r**2 + 0.003 * r**3)


def distort(points: np.ndarray, lens: tuple[float, ...] | Model) -> np.ndarray:
    """The Brown-Conrady model as the formats' documentation prints it, on points of the plane z = 1; or another."""
    if callable(lens):
        return lens(points)
    k1, k2, p1, p2, k3 = lens
    x, y = points.T
    r = x * x + y * y
    radial = 1 + k1 * r + k2 * r**2 + k3 * r**3
    return np.stack(
        [radial * x + 2 * p1 * x * y + p2 * (r + 2 * x * x), radial * y + p1 * (r + 2 * y * y) + 2 * p2 * x * y], 1
    )


def undistort(seen: np.ndarray, lens: tuple[float, ...] | Model) -> np.ndarray:
    """The inverse, by Newton's method with numerical derivatives."""
    points = seen
    across, down = np.array([1e-6, 0]), np.array([0, 1e-6])
    for _ in range(5):
        error = distort(points, lens) - seen
        a, c = ((distort(points + across, lens) - distort(points - across, lens)) / 2e-6).T
        b, d = ((distort(points + down, lens) - distort(points - down, lens)) / 2e-6).T
        step = np.stack([d * error[:, 0] - b * error[:, 1], a * error[:, 1] - c * error[:, 0]], 1)
        points = points - step / (a * d - b * c)[:, None]
    assert np.abs(distort(points, lens) - seen).max() < 1e-9
    return points


def brightness(points: np.ndarray) -> np.ndarray:
    """A chequerboard with soft edges in the world's plane z = 0."""
    return 0.5 + 0.5 * np.sin(np.pi * points[:, 0] / SQUARE) * np.sin(np.pi * points[:, 1] / SQUARE)


def chequerboard(lens: tuple[float, ...] | Model, R: np.ndarray, t: np.ndarray) -> Shot:
    """A distorted picture of the board; its mask is a disc on the board."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].reshape(2, -1) + 0.5
    rays = undistort(np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1]], 1), lens)
    rays = np.concatenate([rays, np.ones((len(rays), 1))], 1) @ R
    centre = -R.T @ t
    points = centre - centre[2] / rays[:, 2:] * rays
    board = np.rint(255 * brightness(points)).astype(np.uint8).reshape(HEIGHT, WIDTH)
    disc = np.where(np.hypot(points[:, 0], points[:, 1]) < RADIUS, 255, 0).astype(np.uint8).reshape(HEIGHT, WIDTH)
    return Shot("board.png", K, R, t, np.dstack([board] * 3), disc)


@pytest.fixture(params=LENSES)
def board(request: pytest.FixtureRequest) -> tuple[tuple[float, ...], Shot]:
    lens = LENSES[request.param]
    R = Rotation.from_euler("xyz", [170, 8, 20], degrees=True).as_matrix()
    return lens, chequerboard(lens, R, np.array([0.01, -0.02, 1.0]))


def check(view: View, lens: tuple[float, ...] | Model) -> None:
    camera = view.camera.to(torch.float64)
    points = np.random.default_rng(0).uniform([-0.6, -0.5, 0], [0.6, 0.5, 0], (4000, 3))
    pixels = camera.project(torch.from_numpy(points)).numpy()
    inside = ((pixels > 1) & (pixels < [WIDTH - 1, HEIGHT - 1])).all(1)
    assert inside.sum() > 1000
    pixels, points = pixels[inside], points[inside]

    def shown(offset: np.ndarray) -> np.ndarray:
        place = (pixels - 0.5 + offset).T[::-1]  # the array's first value lies at +0.5
        return map_coordinates(view.image[..., 0].double().numpy(), place, order=1, mode="nearest")

    # A square is about 30 pixels wide: a pixel of displacement changes the brightness by up to 0.05.
    errors = shown(np.zeros(2)) - brightness(points)
    assert np.abs(errors).max() < 0.01
    slopes = np.stack([shown(step) - shown(-step) for step in 0.5 * np.eye(2)], 1)
    assert np.abs(np.linalg.lstsq(slopes, errors, rcond=None)[0]).max() < 0.01  # no shift, such as by half a pixel
    # The mask moved with the image.
    angle = np.linspace(0, 2 * np.pi, 200)
    for radius, value in ((RADIUS - 0.01, 1.0), (RADIUS + 0.01, 0.0)):
        circle = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0 * angle], 1)
        x, y = camera.project(torch.from_numpy(circle)).long().T
        seen = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
        assert torch.allclose(view.mask[y[seen], x[seen]], torch.tensor(value))
    # The lens is one that matters.
    flat = Shot("", K, np.eye(3), np.zeros(3), np.zeros((1, 1, 3)), np.zeros((1, 1)))
    plane = np.array([[0.4, 0.3, 1.0]])
    moved = flat.project(np.concatenate([distort(plane[:, :2], lens), [[1.0]]], 1)) - flat.project(plane)
    assert np.abs(moved).max() > 3


def test_nerfstudio_images_are_undistorted(board: tuple[tuple[float, ...], Shot], tmp_path: Path) -> None:
    lens, shot = board
    names = ("k1", "k2", "p1", "p2", "k3")
    write_transforms(tmp_path, [shot], camera_model="OPENCV", **dict(zip(names, lens, strict=True)))
    (view,) = read_nerfstudio(tmp_path)
    assert isinstance(view, View)
    check(view, lens)


@pytest.mark.parametrize("model", ["SIMPLE_RADIAL", "RADIAL", "OPENCV"])
def test_colmap_images_are_undistorted(model: str, tmp_path: Path) -> None:
    focal = [K[0, 0], K[1, 1]] if model == "OPENCV" else [K[0, 0]]
    values = {"SIMPLE_RADIAL": [-0.2], "RADIAL": [-0.25, 0.06], "OPENCV": [-0.2, 0.05, 0.004, -0.006]}[model]
    lens = (*values, 0.0, 0.0, 0.0, 0.0)[:5]
    R = Rotation.from_euler("xyz", [175, -6, 10], degrees=True).as_matrix()
    shot = chequerboard(lens, R, np.array([0.0, 0.0, 1.0]))
    write_colmap_images(tmp_path, [shot])
    write_colmap(tmp_path, [shot], True, [(model, [*focal, K[0, 2], K[1, 2], *values])])
    (view,) = read_colmap(tmp_path)
    assert isinstance(view, View)
    check(view, lens)


MODELS: dict[str, tuple[list[float], Model]] = {
    "OPENCV_FISHEYE": ([0.05, -0.02, 0.01, 0.0], fisheye),
    "FULL_OPENCV": ([-0.2, 0.05, 0.0, 0.0, 0.01, 0.1, -0.02, 0.003], full),
}


@pytest.mark.parametrize("model", MODELS)
def test_other_lenses_are_undistorted(model: str, tmp_path: Path) -> None:
    values, lens = MODELS[model]
    R = Rotation.from_euler("xyz", [175, -6, 10], degrees=True).as_matrix()
    shot = chequerboard(lens, R, np.array([0, 0, 1.0]))
    write_colmap_images(tmp_path / "colmap", [shot])
    write_colmap(tmp_path / "colmap", [shot], True, [(model, [K[0, 0], K[1, 1], K[0, 2], K[1, 2], *values])])
    names = ("k1", "k2", "k3", "k4") if model == "OPENCV_FISHEYE" else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    write_transforms(tmp_path / "nerf", [shot], camera_model=model, **dict(zip(names, values, strict=True)))
    for view in (*read_colmap(tmp_path / "colmap"), *read_nerfstudio(tmp_path / "nerf")):
        assert isinstance(view, View)
        check(view, lens)


@pytest.mark.parametrize("write", [write_metashape, write_xmp])
def test_lenses_of_scanning_programs_are_undistorted(
    write: Callable[[Path, list[Shot], tuple[float, ...]], None], tmp_path: Path
) -> None:
    lens = LENSES["all"]
    R = Rotation.from_euler("xyz", [170, 8, 20], degrees=True).as_matrix()
    write(tmp_path, [chequerboard(lens, R, np.array([0.01, -0.02, 1.0]))], lens)
    (view,) = read_scene(tmp_path)
    assert isinstance(view, View)
    check(view, lens)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_no_pixel_is_made_up(lens: tuple[float, ...]) -> None:
    """Every pixel of the straight picture lies in the distorted one, so that the mask is known everywhere."""
    distorted = Lens(K, opencv_distortion(lens), WIDTH, HEIGHT)
    straight = distorted.straight("board.png")
    edge = np.array([[x, y] for x in (0.5, WIDTH / 2, WIDTH - 0.5) for y in (0.5, HEIGHT / 2, HEIGHT - 0.5)])
    rays = np.concatenate([edge, np.ones((len(edge), 1))], 1) @ np.linalg.inv(straight.K).T
    seen = distort(rays[:, :2], lens) * [K[0, 0], K[1, 1]] + K[:2, 2]
    assert (seen > -0.5).all()
    assert (seen < [WIDTH + 0.5, HEIGHT + 0.5]).all()


def test_large_images_are_reduced_with_their_cameras(tmp_path: Path) -> None:
    width = LARGEST_SIDE * 3 // 2
    shot = Shot(
        "large.png", K, np.eye(3), np.zeros(3), np.zeros((9, width, 3), np.uint8), np.full((9, width), 255, np.uint8)
    )
    write_transforms(tmp_path, [shot])
    (view,) = read_nerfstudio(tmp_path)
    assert view.image.shape == (6, LARGEST_SIDE, 3)
    np.testing.assert_allclose(view.camera.K[0], K[0] / 1.5, rtol=1e-6)
    (tmp_path / "masks" / "large.png").unlink()
    (unmasked,) = read_nerfstudio(tmp_path)
    assert torch.equal(unmasked.camera.K, view.camera.K)
    assert torch.equal(unmasked.image, view.image)
