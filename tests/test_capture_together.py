"""Cameras of several photos in one frame: recovered from landmarks and matches, and photos of somebody else found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from torch import Tensor
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.capture import bundle, capture
from protome.capture.bundle import Tracks, adjust
from protome.capture.cameras import camera_from_landmarks
from protome.capture.capture import capture_photos
from protome.capture.landmarks import Detection
from protome.capture.lenses import FOCAL_SPREAD, RECORDED_SPREAD, USUAL_FOCAL, LensPrior, Shot
from protome.capture.network_points import NetworkPoints
from protome.capture.together import largest_group, place_roughly, place_together
from protome.errors import InputError, ProtomeWarning
from protome.geometry.camera import Camera, direction
from protome.landmarks import load_face_landmarks
from protome.morphable.linear import load_builtin
from protome.scene import DenseLandmarks
from protome.units import UNIT_MM

SIDE, FOCAL = 240, 380.0
"""A lens of 1.6 sides, a third longer than the usual one."""
YAWS = (-22.0, 0.0, 20.0)


def camera(yaw: float, distance: float = 800.0) -> Camera:
    away = direction(math.radians(yaw), 0.05)
    return Camera.look_at(distance * away, torch.tensor([4.0, -30.0, 0.0]).double(), FOCAL, SIDE, SIDE)


@lru_cache
def person(seed: int) -> Tensor:
    """Vertices of somebody without an expression."""
    model = load_builtin()
    identity = 0.7 * torch.randn(len(model.identity), generator=torch.Generator().manual_seed(seed)).clamp(-2, 2)
    return model.with_shape(identity).vertices.double()


def shot(vertices: Tensor, seen: Camera, lens: str = "one", focal_px: float | None = None) -> Shot:
    """Return MediaPipe's landmarks of a head, exact; the irises, which nothing uses, stay at the corner."""
    model = load_builtin()
    assert model.dense is not None
    pixels = seen.project(model.dense.on(vertices, model.faces))
    return Shot(torch.cat([pixels, torch.zeros(10, 2).double()]), SIDE, SIDE, lens, focal_px)


def matches(vertices: Tensor, cameras: Sequence[Camera], noise_px: float, count: int = 150) -> Tracks:
    """Return spots of the face with pixels in all cameras, those of the others with noise."""
    generator = torch.Generator().manual_seed(5)
    front = torch.nonzero((vertices[:, 2] > -10) & (vertices[:, 1].abs() < 80))[:, 0]
    points = vertices[front[torch.randperm(len(front), generator=generator)[:count]]]
    views = torch.arange(count) % len(cameras)
    others = torch.stack([torch.tensor([k for k in range(len(cameras)) if k != own]) for own in views.tolist()])
    pixels = torch.stack([seen.project(points) for seen in cameras])
    there = torch.stack([pixels[others[:, k], torch.arange(count)] for k in range(others.shape[1])], 1)
    there = there + noise_px * torch.randn(there.shape, generator=generator).double()
    depths = torch.stack([seen.to_camera(points)[:, 2] for seen in cameras])[views, torch.arange(count)]
    # The surface is roughly known.
    depths = depths + 5.0 * torch.randn(count, generator=generator).double()
    return Tracks(views, pixels[views, torch.arange(count)], depths, others, there)


def turned(found: Sequence[Camera], truth: Sequence[Camera]) -> float:
    """Return the largest error of the rotations between photos, in degrees."""
    worst = 0.0
    for a in range(len(found)):
        for b in range(a):
            between = [
                cameras[a].T_world_camera[:3, :3].double().T @ cameras[b].T_world_camera[:3, :3].double()
                for cameras in (found, truth)
            ]
            cosine = float(((between[0].T @ between[1]).trace() - 1) / 2)
            worst = max(worst, math.degrees(math.acos(min(1.0, cosine))))
    return worst


def test_derivatives_are_those_of_finite_differences() -> None:
    cameras = [camera(yaw) for yaw in YAWS]
    shots = [shot(person(0), seen, lens) for seen, lens in zip(cameras, ("a", "b", "a"), strict=True)]
    tracks = matches(person(0), cameras, 0.5, 20)
    problem = bundle._Problem.of(load_builtin().to(torch.float64), shots, tracks, None, 2.0)
    generator = torch.Generator().manual_seed(1)
    shared = 0.03 * torch.randn(problem.size, generator=generator).double()
    own = (0.1 * torch.randn(3, len(problem.expression), generator=generator).double(), torch.ones(20, 1).double())
    here = problem.blocks(shared, own)
    for column in (*range(21), 21, 22, 23, 60):
        step = torch.zeros_like(shared)
        step[column] = 1e-6
        above, below = problem.blocks(shared + step, own), problem.blocks(shared - step, own)
        for up, down, blocks in zip(above, below, here, strict=True):
            slope = (up.value - down.value) / 2e-6
            asked = (blocks.columns == column).to(slope)
            found = torch.einsum("bnrc,bc->bnr", blocks.shared, asked)
            torch.testing.assert_close(found, slope, atol=1e-5, rtol=1e-5)
    for which, column in ((0, 3), (1, 0)):
        step = torch.zeros_like(own[which])
        step[:, column] = 1e-6
        moved = [tuple(o + sign * step if k == which else o for k, o in enumerate(own)) for sign in (1, -1)]
        above, below = (problem.blocks(shared, values) for values in moved)
        slope = (above[which].value - below[which].value) / 2e-6
        torch.testing.assert_close(here[which].own[..., column], slope, atol=1e-5, rtol=1e-5)


def test_matches_give_the_focal_length_and_the_poses_that_landmarks_leave_open() -> None:
    cameras = [camera(yaw) for yaw in YAWS]
    shots = [shot(person(0), seen) for seen in cameras]
    alone = adjust(load_builtin(), shots)
    assert 0.1 < float(alone.focal_spread[0]) < FOCAL_SPREAD
    assert abs(math.log(alone.cameras[0].focal / FOCAL)) < 2 * float(alone.focal_spread[0])
    pixel_mm = 800 / FOCAL
    found = adjust(load_builtin(), shots, matches(person(0), cameras, 0.2 / pixel_mm), alone.cameras)
    assert float(found.focal_spread[0]) < 0.5 * float(alone.focal_spread[0])
    assert abs(math.log(found.cameras[0].focal / FOCAL)) < 3 * float(found.focal_spread[0])
    # A face is flat beside its distance: some per cent of focal length are worth tenths of a degree.
    assert turned(found.cameras, cameras) < 0.5
    assert turned(found.cameras, cameras) < turned(alone.cameras, cameras)
    assert float(found.residual_mm.nanmedian()) < 0.4


def test_the_networks_landmarks_place_heads_that_the_detector_sees_wrongly() -> None:
    model, cameras, head = load_builtin(), [camera(yaw) for yaw in (0.0, 60.0, -55.0)], person(0)
    points = NetworkPoints.of(model)
    assert len(points.which) > 500
    places = points.anchors.on(head, model.faces).double()
    generator = torch.Generator().manual_seed(2)
    shots = []
    for number, seen in enumerate(cameras):
        pixels = torch.zeros(800, 2).double()
        pixels[points.which] = seen.project(places) + torch.randn(len(places), 2, generator=generator).double()
        dense = DenseLandmarks(pixels.float(), torch.ones(800), torch.ones(800))
        own = shot(head, seen)
        if number:  # hidden cheeks are drawn towards the outline
            middle = own.landmarks.mean(0)
            own = replace(own, landmarks=middle + (own.landmarks - middle) * torch.tensor([0.85, 1.0]).double())
        shots.append(replace(own, seen=dense))
    by_both = adjust(model, shots)
    by_detector = adjust(model, [replace(own, seen=None) for own in shots])
    assert turned(by_detector.cameras, cameras) > 4.0
    assert turned(by_both.cameras, cameras) < 2.0


def test_a_wrong_match_moves_nothing() -> None:
    cameras = [camera(yaw) for yaw in YAWS]
    shots = [shot(person(0), seen) for seen in cameras]
    tracks = matches(person(0), cameras, 0.1)
    tracks.there[::10] += torch.tensor([9.0, -6.0]).double()
    found = adjust(load_builtin(), shots, tracks, cameras)
    assert turned(found.cameras, cameras) < 0.5
    assert bool((found.residual_mm[::10] > 5).all())


def test_recorded_focal_lengths_hold_and_unknown_ones_are_believed_around_the_usual() -> None:
    head = person(1)
    shots = [shot(head, camera(0), "a", FOCAL), shot(head, camera(15), "b"), shot(head, camera(-15), "a", FOCAL)]
    prior = LensPrior.of_shots(shots)
    assert prior.of.tolist() == [0, 1, 0]
    torch.testing.assert_close(prior.log_focal.exp(), torch.tensor([FOCAL, USUAL_FOCAL * SIDE]).double())
    assert prior.spread.tolist() == pytest.approx([RECORDED_SPREAD, FOCAL_SPREAD])
    found = adjust(load_builtin(), shots)
    for number in (0, 2):
        assert found.cameras[number].focal == pytest.approx(FOCAL, rel=2 * RECORDED_SPREAD)
        assert float(found.focal_spread[number]) < 0.04
    assert float(found.focal_spread[1]) > 0.08


def test_groups_are_joined_by_links() -> None:
    joined = np.zeros((5, 5), bool)
    joined[0, 1] = joined[1, 0] = joined[1, 3] = joined[3, 1] = joined[2, 4] = joined[4, 2] = True
    assert largest_group(joined).tolist() == [True, True, False, True, False]
    assert not largest_group(np.zeros((3, 3), bool)).any()


def photograph(vertices: Tensor, seen: Camera, texture: int) -> tuple[Tensor, Tensor]:
    """Return an image and a mask of a head covered with grains of a few millimetres."""
    model = load_builtin()
    mesh = trimesh.Trimesh(vertices.numpy(), model.faces.numpy(), process=False)
    grains = np.random.default_rng(texture).uniform(0.1, 0.9, len(vertices))
    rays = seen.rays()
    points, ray, face = RayMeshIntersector(mesh).intersects_location(
        rays.origins.numpy(), rays.directions.numpy(), multiple_hits=False
    )
    weights = trimesh.triangles.points_to_barycentric(mesh.triangles[face], points)
    values = np.zeros(SIDE * SIDE)
    values[ray] = (grains[mesh.faces[face]] * weights).sum(1)
    mask = np.zeros(SIDE * SIDE)
    mask[ray] = 1
    image = torch.from_numpy(values).float().reshape(SIDE, SIDE, 1).expand(-1, -1, 3).contiguous()
    return image, torch.from_numpy(mask).float().reshape(SIDE, SIDE)


def test_photos_of_one_head_agree_and_somebody_elses_does_not() -> None:
    cameras = [camera(yaw) for yaw in (*YAWS, 8.0)]
    heads = [person(0)] * 3 + [person(7)]
    taken = [photograph(head, seen, int(k == 3)) for k, (head, seen) in enumerate(zip(heads, cameras, strict=True))]
    shots = [shot(head, seen) for head, seen in zip(heads, cameras, strict=True)]
    images, masks = zip(*taken, strict=True)
    everybody = place_together(images, masks, shots, place_roughly(shots))
    assert everybody.agrees.tolist() == [True, True, True, False]
    found = place_together(images[:3], masks[:3], shots[:3], place_roughly(shots[:3]))
    assert found.agrees.all()
    assert turned(found.cameras, cameras[:3]) < 1.0
    spread = found.focal_spread[0]
    assert spread < 0.15
    assert abs(math.log(found.cameras[0].focal / FOCAL)) < 3 * spread


def test_a_photo_of_the_other_side_stays_though_nothing_can_be_compared() -> None:
    cameras, head = [camera(yaw) for yaw in (-75.0, -50.0, 80.0)], person(0)
    images, masks = zip(*(photograph(head, seen, 0) for seen in cameras), strict=True)
    shots = [shot(head, seen) for seen in cameras]
    found = place_together(images, masks, shots, place_roughly(shots))
    assert found.links[2].sum() == 0
    assert found.links[0, 1] > 0
    assert found.agrees.all()


def test_one_photo_is_placed_by_its_own_landmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, head = camera(10.0), person(0)
    image, mask = photograph(head, seen, 0)
    landmarks = shot(head, seen).landmarks.float()
    Image.fromarray((255 * image.numpy()).astype(np.uint8)).save(tmp_path / "one.png")
    monkeypatch.setattr(capture, "detect", lambda images: (Detection((landmarks,), mask),))
    monkeypatch.delattr(capture, "place_together")
    scene = capture_photos([tmp_path / "one.png"])
    assert not scene.posed
    assert scene.estimate is None
    own = camera_from_landmarks(landmarks, SIDE, SIDE, None, load_face_landmarks())
    assert torch.equal(scene.views[0].camera.T_world_camera, own.T_world_camera)
    assert torch.equal(scene.views[0].camera.K, own.K)


def test_photos_from_files_share_a_frame_and_those_without_a_face_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras, head = [camera(-10.0), camera(12.0)], person(0)
    detections, paths = [], []
    for number, seen in enumerate(cameras):
        image, mask = photograph(head, seen, 0)
        detections.append(Detection((shot(head, seen).landmarks.float(),), mask))
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray((255 * image.numpy()).astype(np.uint8)).save(paths[-1])
    behind = tmp_path / "behind.png"
    Image.new("RGB", (SIDE, SIDE)).save(behind)
    detections.insert(1, Detection((), torch.zeros(SIDE, SIDE)))
    monkeypatch.setattr(capture, "detect", lambda images: tuple(detections))
    given = [paths[0], behind, paths[1]]
    with pytest.warns(ProtomeWarning, match=rf"^no face found in {behind}: left out$"):
        scene = capture_photos(given)
    assert [view.name for view in scene.views] == ["0.png", "1.png"]
    assert scene.posed
    assert scene.estimate is not None
    assert not scene.has_own_world
    assert len(scene.estimate.focal_spread) == 2
    assert float(scene.head_from_world.scale) == pytest.approx(1 / UNIT_MM)
    assert turned([view.camera for view in scene.views], cameras) < 1.5
    # The world is the head frame in millimetres, in which the mean face is where the landmarks are.
    for view in scene.views:
        assert view.landmarks is not None
        away = (view.camera.project(load_face_landmarks().positions) - view.landmarks[:468]).norm(dim=1).median()
        assert float(away) < 0.06 * float(np.ptp(view.landmarks[:468].numpy(), axis=0).max())
    with pytest.raises(InputError, match=f"^no face found in {behind}: "):
        capture_photos(given, strict=True)
