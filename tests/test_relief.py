"""Relief from shading: the light's slopes, known heights under known lights, streaks, and maps in an atlas."""

from __future__ import annotations

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from painted import camera, painted
from protome.asset.asset import Asset
from protome.asset.atlas import Atlas, make_atlas
from protome.asset.decimate import decimated
from protome.asset.detail import MIDDLE, STEP_MM, Detail, front_most, make_detail, tangent_normals
from protome.asset.gltf import png
from protome.asset.tangents import tangents
from protome.asset.texels import Texels
from protome.benchmark.detail import seen_normals
from protome.geometry.mesh import Mesh, srgb_from_linear
from protome.landmarks import load_face_landmarks
from protome.relief.even import evened
from protome.relief.light import fitted_light, shade, slopes
from protome.relief.photo import recover_relief
from protome.relief.solve import HeightConfig, Shading, gradient, solve_height
from protome.relief.streaks import streaks
from protome.render.cast import cast, interpolate
from protome.scene import View

# The light


def test_slopes_are_the_derivative_of_the_lights_logarithm() -> None:
    rng = np.random.default_rng(0)
    light = np.array([1.0, 0.2, 0.1, 0.3, 0.05, -0.04, 0.03, 0.02, 0.06])
    normals = rng.normal(size=(20, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    across = np.cross(normals, rng.normal(size=(20, 3)))
    across /= np.linalg.norm(across, axis=1, keepdims=True)

    def log(angle: float) -> np.ndarray:
        return np.log(shade(light, np.cos(angle) * normals + np.sin(angle) * across))

    found = (slopes(light, normals) * across).sum(1)
    np.testing.assert_allclose(found, (log(1e-4) - log(-1e-4)) / 2e-4, atol=1e-6)
    np.testing.assert_allclose((slopes(light, normals) * normals).sum(1), 0, atol=1e-12)


# Heights


def shading_of(height: np.ndarray, pixel: float, right: float, down: float) -> Shading:
    """Return the shading of a height whose light is known, without occlusion in its grooves."""
    x, y = gradient(height.astype(np.float32), pixel)
    one = np.ones(height.shape, np.float32)
    return Shading(right / pixel * x + down / pixel * y, right / pixel * one, down / pixel * one, one, pixel)


def bump(width: float, pixel: float, size: int = 96) -> np.ndarray:
    y, x = (np.mgrid[:size, :size] - size / 2) * pixel
    return np.exp(-(x**2 + y**2) / width**2)


@pytest.mark.parametrize(("right", "down"), [(0.7, 0.0), (0.0, -0.7), (-0.5, 0.5)])
@pytest.mark.parametrize("height", [0.25, -0.25])
def test_a_known_bump_is_found_with_its_sign_and_height(right: float, down: float, height: float) -> None:
    truth = height * bump(1.5, 0.5)
    found = solve_height(shading_of(truth, 0.5, right, down), HeightConfig(occlusion=0.05))
    middle = found[48, 48] - np.median(found)
    assert 0.6 < middle / height < 1.3
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.8


def test_light_from_the_front_shows_grooves_by_their_darkness() -> None:
    dark = (-0.15 * bump(1.5, 0.5)).astype(np.float32)
    none = np.zeros_like(dark)
    found = solve_height(Shading(dark, none, none, np.ones_like(dark), 0.5), HeightConfig())
    assert found[48, 48] < -0.05
    assert found[48, 48] == found.min()


def test_what_is_not_sure_has_no_height() -> None:
    truth = 0.25 * bump(1.5, 0.5)
    shading = shading_of(truth, 0.5, 0.7, 0.0)
    found = solve_height(replace(shading, sure=np.zeros_like(shading.sure)), HeightConfig())
    assert np.abs(found).max() == 0


def test_the_gradient_is_that_of_a_wave() -> None:
    y, x = np.mgrid[:200, :200].astype(np.float32)
    window = np.exp(-(((x - 100) / 25) ** 2) - ((y - 100) / 25) ** 2)
    right, down = gradient(np.sin(0.4 * x) * window, 0.5)
    np.testing.assert_allclose(right[100, 80:120], (0.4 * np.cos(0.4 * x) * window)[100, 80:120], atol=0.08)
    assert np.abs(down[100, 80:120]).max() < 0.02


# Streaks


def test_waves_along_an_axis_are_streaks_and_diagonal_ones_are_none() -> None:
    y, x = np.mgrid[:128, :128]
    assert streaks(np.sin(x)) > 50
    assert streaks(np.sin(y)) > 50
    assert streaks(np.sin((x + y) / 2**0.5)) < 0.02


@pytest.mark.parametrize("width", [0.0, 1.0, 1.5])
def test_isotropic_noise_has_no_streaks(width: float) -> None:
    noise = np.random.default_rng(1).normal(size=(400, 400))
    even = gaussian_filter(noise, width) if width else noise
    assert streaks(even, calm=1.0) == pytest.approx(1, abs=0.05)
    x = np.arange(400)[None]
    assert streaks(even / even.std() + np.sin(x), calm=1.0) > 1.3


@pytest.mark.parametrize("right", [0.0, 0.35])
def test_noise_in_a_photo_becomes_no_streaks(right: float) -> None:
    noise = (0.05 * np.random.default_rng(0).normal(size=(256, 256))).astype(np.float32)
    one = np.ones_like(noise)
    height = solve_height(Shading(noise, 2 * right * one, 0 * one, one, 0.5), HeightConfig())
    assert height.std() > 0.01
    assert streaks(height, calm=1.0) == pytest.approx(1, abs=0.1)


def test_long_folds_are_no_streaks() -> None:
    y, x = np.mgrid[:300, :300]
    noise = gaussian_filter(np.random.default_rng(0).normal(size=x.shape), 1.0)
    for fold in (np.sin(x / 6), np.sin((x + y) / 8)):
        assert streaks(noise / noise.std() + 20 * fold, calm=1.0) == pytest.approx(1, abs=0.1)


# The camera's lattice


@pytest.mark.parametrize("kind", ["blocks", "doubled"])
def test_what_the_lattice_does_to_noise_is_evened(kind: str) -> None:
    noise = np.random.default_rng(0).normal(size=(320, 320)).astype(np.float32)
    if kind == "blocks":
        height = gaussian_filter(noise, 1.0) + 0.1 * np.sign(np.sin(np.arange(320) * np.pi / 4))[None]
        height = height + 0.1 * np.sign(np.sin(np.arange(320) * np.pi / 4))[:, None]
    else:
        height = cv2.resize(noise[:160, :160], (320, 320), interpolation=cv2.INTER_LINEAR)
    height, skin = height.astype(np.float32), np.ones(height.shape, bool)
    assert abs(np.log(streaks(height, skin))) > 0.1
    result = evened(height, skin)
    assert streaks(result, skin) == pytest.approx(1, abs=0.05)
    assert np.abs(result - height).mean() < 0.15 * np.abs(height).mean()


def test_an_even_height_and_long_waves_stay_as_they_are() -> None:
    x = np.mgrid[:256, :256][1]
    noise = gaussian_filter(np.random.default_rng(0).normal(size=x.shape), 1.0).astype(np.float32)
    skin = np.ones(x.shape, bool)
    assert np.abs(evened(noise, skin) - noise).mean() < 0.03 * np.abs(noise).mean()
    waves = np.sin(2 * np.pi * x / 32).astype(np.float32) * 5
    inner = slice(32, 224)
    np.testing.assert_allclose((evened(noise + waves, skin) - noise)[inner, inner], waves[inner, inner], atol=0.15)
    assert (evened(noise, np.zeros(x.shape, bool)) == noise).all()


def test_streaks_are_measured_inside_alone() -> None:
    y, x = np.mgrid[:256, :128]
    height = np.where(y < 128, np.sin(x), np.random.default_rng(0).normal(size=x.shape))
    assert streaks(height, y >= 128) == pytest.approx(1, abs=0.15)
    assert np.isnan(streaks(height, y < 10))
    assert np.isnan(streaks(np.zeros((64, 64))))


# Maps


def square(mirrored: bool = False) -> Atlas:
    """Return a square of 100 mm before the eyes of its viewer, upright in the image, or mirrored."""
    points = np.array([[-50.0, -50.0, 0.0], [50.0, -50.0, 0.0], [50.0, 50.0, 0.0], [-50.0, 50.0, 0.0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uv = np.stack([points[:, 0] / 100 + 0.5, 0.5 - points[:, 1] / 100], 1)
    if mirrored:
        uv[:, 0] = 1 - uv[:, 0]
    mesh = Mesh(points, faces, normals=np.tile([0.0, 0.0, 1.0], (4, 1)))
    return Atlas(mesh, np.arange(4), faces, uv, np.zeros(2, np.int64))


def frame_of(atlas: Atlas) -> np.ndarray:
    assert atlas.mesh.normals is not None
    return tangents(atlas.mesh.vertices, atlas.mesh.normals, atlas.uv, atlas.faces)


def test_tangents_point_right_and_their_bitangents_up_in_the_image() -> None:
    upright = frame_of(square())
    np.testing.assert_allclose(upright, np.tile([1.0, 0.0, 0.0, 1.0], (4, 1)), atol=1e-7)
    mirrored = frame_of(square(mirrored=True))
    np.testing.assert_allclose(mirrored, np.tile([-1.0, 0.0, 0.0, -1.0], (4, 1)), atol=1e-7)
    for frame in (upright, mirrored):
        bitangent = np.cross([0.0, 0.0, 1.0], frame[:, :3]) * frame[:, 3:]
        np.testing.assert_allclose(bitangent, np.tile([0.0, 1.0, 0.0], (4, 1)), atol=1e-7)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_normal_map_of_a_known_height_has_its_normals(mirrored: bool) -> None:
    atlas = square(mirrored)
    texels = Texels.of(atlas, 64)
    points = texels.interpolated(atlas.mesh.vertices)
    # h = sin(x / 8) + 0.02 y^2 / 2 over the square.
    slope = np.stack([np.cos(points[:, 0] / 8) / 8, 0.02 * points[:, 1], 0 * points[:, 0]], 1).astype(np.float32)
    frame = frame_of(atlas)
    assert atlas.mesh.normals is not None
    found = tangent_normals(texels, atlas, atlas.mesh.normals, frame, slope) / 127.5 - 1
    truth = np.stack([-slope[:, 0], -slope[:, 1], np.ones(len(slope))], 1)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    # As a viewer does: the map's red along the tangent, green along the bitangent.
    seen = found[:, :1] * frame[0, :3] + found[:, 1:2] * np.array([0.0, 1.0, 0.0]) + found[:, 2:] * [0.0, 0.0, 1.0]
    np.testing.assert_allclose(seen, truth, atol=0.012)


def test_displacements_survive_their_file() -> None:
    steps = np.array([[MIDDLE, MIDDLE + 2500], [MIDDLE - 2500, 65535]], np.uint16)
    detail = Detail(np.zeros((2, 2, 3), np.uint8), steps, np.zeros((4, 4), np.float32), ("a.jpg",), 1.0, 0.0)
    stored = Image.open(io.BytesIO(png(steps)))
    assert stored.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(stored), steps)
    np.testing.assert_allclose(detail.millimetres(), [[0, 0.25], [-0.25, (65535 - MIDDLE) * STEP_MM]], rtol=1e-6)
    assert detail.facts()["photos"] == ["a.jpg"]


# A face with a known groove


@pytest.fixture
def all_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no network judge the painted heads, which are grey balls without features."""
    monkeypatch.setattr("protome.relief.photo.bare", lambda view, least: np.ones(view.image.shape[:2], bool))


def grooved(depth: float) -> tuple[View, Mesh, np.ndarray]:
    """Return a photo of a smooth head with a groove across its cheeks, the head, and the true normals by pixel."""
    head = painted((0.0,), resolution=80)
    mesh = head.grey(head.mesh)
    own = replace(camera(0.0, 480), K=camera(0.0, 480).K * torch.tensor([[2.0], [2.0], [1.0]]))
    own = replace(own, K=torch.tensor([[2100.0, 0.0, 240.0], [0.0, 2100.0, 170.0], [0.0, 0.0, 1.0]]).double())
    hits = cast(mesh, own)
    assert mesh.normals is not None
    normals = interpolate(mesh.normals, mesh, hits).double().numpy()
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    away = (hits.points[:, 1].double().numpy() + 45.0) / 1.8
    slope = depth * 2 * away / 1.8 * np.exp(-(away**2))
    up = np.array([0.0, 1.0, 0.0]) - normals[:, 1:2] * normals
    bent = normals - slope[:, None] * up
    bent /= np.linalg.norm(bent, axis=1, keepdims=True)
    lit = 0.35 + 0.6 * np.clip(bent @ np.array([0.2, 0.75, 0.63]), 0, None)
    image, truth = np.zeros((480 * 480, 3)), np.zeros((480 * 480, 3))
    image[hits.pixel.numpy()] = srgb_from_linear(lit[:, None] * np.array([0.6, 0.42, 0.34]))
    truth[hits.pixel.numpy()] = bent
    mask = (truth != 0).any(1).reshape(480, 480).astype(np.float32)
    points = torch.zeros(478, 2)
    points[:468] = own.project(load_face_landmarks().positions.to(own.K)).float()
    points[468:] = points[[468 - 10 + k for k in range(10)]]
    view = View("a.jpg", torch.from_numpy(image.reshape(480, 480, 3)).float(), torch.from_numpy(mask), own, points)
    return view, mesh, truth.reshape(480, 480, 3)


@pytest.mark.usefixtures("all_bare")
def test_a_groove_in_a_photo_is_found_and_nothing_beside_it() -> None:
    view, mesh, _ = grooved(0.4)
    relief = recover_relief(view, mesh)
    assert relief is not None
    inside = np.array([[x, -45.0, 0.0] for x in (-35.0, -30.0, 30.0, 35.0)])
    beside = inside + np.array([0.0, 4.0, 0.0])
    for points in (inside, beside):
        points[:, 2] = -85 + 98 * np.sqrt(1 - (points[:, 0] / 82) ** 2 - ((points[:, 1] + 5) / 112) ** 2)
    deep = relief.at(relief.height, inside) - relief.at(relief.height, beside)
    assert (deep < -0.15).all()
    assert (deep > -0.6).all()
    flat = recover_relief(grooved(0.0)[0], mesh)
    assert flat is not None
    assert np.abs(flat.height).max() < 0.12


def test_a_photo_without_landmarks_has_no_relief_and_the_front_most_comes_first() -> None:
    view, mesh, _ = grooved(0.4)
    assert recover_relief(replace(view, landmarks=None), mesh) is None
    turned = replace(view, name="b.jpg", camera=camera(30.0, 480))
    aside = replace(view, name="c.jpg", camera=camera(80.0, 480))
    blurred = replace(view, name="d.jpg", weight=0.1)
    blank = replace(view, name="e.jpg", landmarks=None)
    assert [one.name for one in front_most([blank, aside, turned, blurred, view])] == ["a.jpg", "b.jpg"]
    assert front_most([blank]) == []


def test_light_is_fitted_to_the_normals() -> None:
    rng = np.random.default_rng(2)
    normals = rng.normal(size=(2000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    lit = 1 + 0.4 * normals[:, 1]
    found = fitted_light(normals, np.repeat(lit[:, None], 3, 1))[:, 0]
    np.testing.assert_allclose(shade(found, normals), lit / lit.mean(), atol=0.03)


@pytest.mark.usefixtures("all_bare")
def test_the_atlas_of_a_grooved_head_has_normals_nearer_to_the_truth() -> None:
    view, _, truth = grooved(0.4)
    head = painted((0.0,), resolution=80)
    light = head.grey(decimated(head.mesh, 6000))
    atlas = make_atlas(light)
    texels = Texels.of(atlas, 1024)
    assert light.normals is not None
    detail = make_detail(atlas, light.normals[atlas.vertex], texels, [view])
    assert detail is not None
    assert detail.photos == ("a.jpg",)
    flat = (detail.normals == [128, 128, 255]).all(2)
    assert 0.5 < flat.mean() < 1
    assert np.abs(detail.millimetres()[flat]).mean() < 0.01
    colour = np.zeros((1024, 1024, 3), np.uint8)
    asset = Asset(atlas, colour, colour[..., 0], detail=detail)
    hit, plain, mapped = seen_normals(asset, view.camera)
    cheeks = hit & (np.abs((truth * plain).sum(2)) < np.cos(np.radians(6)))
    cheeks[:100], cheeks[170:] = False, False

    def off(normals: np.ndarray) -> float:
        return float(np.degrees(np.arccos(np.clip((normals * truth).sum(2)[cheeks], -1, 1))).mean())

    assert cheeks.sum() > 200
    assert off(mapped) < 0.8 * off(plain)


def test_relief_is_left_out_where_the_network_sees_hair(monkeypatch: pytest.MonkeyPatch) -> None:
    view, mesh, _ = grooved(0.8)

    def half(window: View, least: float) -> np.ndarray:
        return np.arange(window.image.shape[1])[None] + np.zeros((window.image.shape[0], 1)) < window.image.shape[1] / 2

    monkeypatch.setattr("protome.relief.photo.bare", half)
    relief = recover_relief(view, mesh)
    assert relief is not None
    middle = relief.height.shape[1] // 2
    assert np.abs(relief.height[:, middle + 2 :]).max() < 1e-3
    assert np.abs(relief.height[:, :middle]).max() > 0.02
