"""Whether photos agree about patches: a textured plane, whose photos are known in every pixel."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from heads import small_prior, some_world
from protome import losses
from protome.fit.cameras import GIVEN, CameraCorrections
from protome.fit.config import FitConfig, Patches, Schedule
from protome.fit.methods import method
from protome.fit.photo_consistency import PhotoStack, compare_patches
from protome.fit.reconstruct import fit_head
from protome.fit.viewpoints import Viewpoints
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.scene import Scene, View

BOUNDS = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
NORMAL = torch.nn.functional.normalize(torch.tensor([0.1, 0.2, 1.0]), dim=0)


def _pattern(points: Tensor) -> Tensor:
    """Brightness of space: waves about ten pixels long."""
    x, y = points[..., 0], points[..., 1]
    return 0.5 + 0.2 * torch.sin(41 * x + 9 * y) + 0.2 * torch.cos(13 * x - 37 * y)


def _photo(azimuth: float, gain: float = 1.0) -> View:
    """A photo of the plane through the origin across `NORMAL`, from a horizontal angle (radians)."""
    centre = torch.tensor([6 * math.sin(azimuth), 0.4, 6 * math.cos(azimuth)])
    camera = Camera.look_at(centre, torch.zeros(3), 400.0, 150, 130)
    rays = camera.rays()
    depth = -(rays.origins @ NORMAL) / (rays.directions @ NORMAL)
    colour = gain * _pattern(rays.at(depth)).reshape(130, 150, 1).expand(-1, -1, 3)
    return View(f"{azimuth}", colour.contiguous(), torch.ones(130, 150), camera)


def _scene(*views: View) -> Scene:
    return Scene(views, Similarity.identity())


def _on_plane(count: int) -> Tensor:
    across = 0.3 * (torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) - 0.5)
    return torch.cat([across, -(across @ NORMAL[:2])[:, None] / NORMAL[2]], 1)


def _stack(scene: Scene) -> tuple[PhotoStack, Viewpoints]:
    photos = PhotoStack.of(scene.in_head_frame(), BOUNDS, 512)
    return photos, photos.cameras.viewpoints(photos.cameras.rays, photos.cameras.K)


def _loss(scene: Scene, points: Tensor, normals: Tensor) -> Tensor:
    photos, cameras = _stack(scene)
    first = torch.zeros(len(points), dtype=torch.long)
    found = compare_patches(photos, cameras, first, points, normals, torch.Generator().manual_seed(0))
    return losses.consistency(found.correlation, found.valid, len(points))


def test_cameras_project_and_send_rays_as_cameras_do() -> None:
    scene = Scene((_photo(0.0), _photo(0.4)), some_world())
    _, cameras = _stack(scene)
    points = 0.1 * torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    for number, view in enumerate(scene.views):
        camera = view.camera.transformed(scene.head_from_world)
        which = torch.tensor([number])
        inside = scene.head_from_world.apply(points)
        spots = cameras.project(which, inside[None])
        torch.testing.assert_close(spots[0], camera.project(inside), atol=1e-3, rtol=0)
        directions = torch.nn.functional.normalize(cameras.directions(which, spots)[0], dim=1)
        torch.testing.assert_close(directions, camera.rays(spots[0]).directions, atol=1e-5, rtol=0)


def test_brightness_between_pixels_is_bilinear() -> None:
    photos, _ = _stack(_scene(_photo(0.0), _photo(0.3)))
    spots = torch.tensor([[[10.5, 20.5], [11.0, 20.5], [10.75, 21.25]]])
    view, image = torch.tensor([1]), photos.brightness[1]
    left, right, below, next_below = image[20, 10], image[20, 11], image[21, 10], image[21, 11]
    mixed = 0.25 * (0.75 * left + 0.25 * right) + 0.75 * (0.75 * below + 0.25 * next_below)
    expected = [left, (left + right) / 2, mixed]
    torch.testing.assert_close(photos.sample(view, spots)[0], torch.stack(expected))


def test_photos_of_one_plane_agree_on_it_and_nowhere_else() -> None:
    scene = _scene(_photo(0.0), _photo(0.35), _photo(-0.4))
    points, normals = _on_plane(40), NORMAL.expand(40, 3)
    on = float(_loss(scene, points, normals))
    assert on < 0.005
    off = [float(_loss(scene, points + step * normals, normals)) for step in (-0.06, -0.02, 0.02, 0.06)]
    assert min(off) > 4 * on
    assert min(off[0], off[3]) > 2 * max(off[1], off[2])
    tilted = torch.nn.functional.normalize(normals + torch.tensor([0.5, 0.0, 0.0]), dim=1)
    assert float(_loss(scene, points, tilted)) > 3 * on


def test_exposure_hardly_matters() -> None:
    # Half as much contrast is as much nearer to noise: 0.01 of 0.1 instead of 0.2.
    points, normals = _on_plane(40), NORMAL.expand(40, 3)
    same, darker = (float(_loss(_scene(_photo(0.0), _photo(0.35, gain)), points, normals)) for gain in (1.0, 0.5))
    assert darker == pytest.approx(same, abs=6e-3)


def test_derivatives_are_those_of_finite_differences() -> None:
    scene = _scene(_photo(0.0), _photo(0.35), _photo(-0.4))
    normals = NORMAL.expand(60, 3)
    offset = torch.tensor(0.015, requires_grad=True)
    lean = torch.tensor(0.1, requires_grad=True)

    def loss(offset: Tensor, lean: Tensor) -> Tensor:
        turned = torch.nn.functional.normalize(normals + lean * torch.tensor([1.0, 0.0, 0.0]), dim=1)
        return _loss(scene, _on_plane(60) + offset * normals, turned)

    slopes = torch.autograd.grad(loss(offset, lean), (offset, lean))
    with torch.no_grad():
        for slope, change in zip(slopes, ((2e-3, 0.0), (0.0, 2e-2)), strict=True):
            up, down = loss(offset + change[0], lean + change[1]), loss(offset - change[0], lean - change[1])
            assert float(slope) == pytest.approx(float((up - down) / (2 * sum(change))), rel=0.05)


def test_only_photos_at_usable_angles_are_compared() -> None:
    points, normals = _on_plane(30), NORMAL.expand(30, 3)
    first, generator = torch.zeros(30, dtype=torch.long), torch.Generator().manual_seed(0)
    for other, expected in ((0.04, False), (0.35, True), (1.2, False)):
        photos, cameras = _stack(_scene(_photo(0.0), _photo(other)))
        assert bool(compare_patches(photos, cameras, first, points, normals, generator).valid.all()) == expected
    # From behind no photo is valid, nor is one that does not contain the patch.
    photos, cameras = _stack(_scene(_photo(0.0), _photo(0.35)))
    assert not compare_patches(photos, cameras, first, points, -normals, generator).valid.any()
    beside = points + torch.tensor([1.35, 0.0, -0.135])
    assert not compare_patches(photos, cameras, first, beside, normals, generator).valid.any()


def test_the_less_correlated_half_of_the_photos_is_ignored() -> None:
    correlation = torch.tensor([[0.9, -0.5, 0.7, 0.1], [0.4, 0.0, 0.0, 0.0], [0.2, 0.6, 0.3, 0.0], [0.0] * 4])
    valid = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    found = losses.consistency(correlation, valid, 8)
    assert float(found) == pytest.approx(((0.1 + 0.3) / 2 + 0.6 + (0.4 + 0.7) / 2 + 0) / 8)


def test_corrected_cameras_project_with_their_corrected_focal_lengths() -> None:
    views = [_photo(0.0), _photo(0.35)]
    corrections = CameraCorrections(views)
    with torch.no_grad():
        corrections.log_focal.copy_(torch.tensor([0.0, 2.0]))
    K = torch.stack([view.camera.K for view in views])
    moved = corrections.intrinsics(K).detach()
    torch.testing.assert_close(moved[0], K[0])
    torch.testing.assert_close(moved[1], corrections.corrected(1, views[1].camera).K)
    assert float(moved[1, 0, 0] / K[1, 0, 0]) == pytest.approx(math.exp(2 * GIVEN.focal))


def test_photo_consistency_alone_locates_a_plane() -> None:
    scene = _scene(_photo(0.0), _photo(0.35), _photo(-0.4))
    photos, cameras = _stack(scene)
    offset = torch.tensor(0.05, requires_grad=True)
    lean = torch.tensor([0.15, -0.1], requires_grad=True)
    optimiser = torch.optim.Adam([offset, lean], 0.01)
    first, generator = torch.zeros(60, dtype=torch.long), torch.Generator().manual_seed(0)
    for _ in range(80):
        normal = torch.nn.functional.normalize(torch.cat([NORMAL[:2] + lean, NORMAL[2:]]), dim=0)
        across = _on_plane(60)[:, :2]
        points = torch.cat([across, (offset - across @ normal[:2])[:, None] / normal[2]], 1)
        found = compare_patches(photos, cameras, first, points, normal.expand(60, 3), generator)
        optimiser.zero_grad()
        losses.consistency(found.correlation, found.valid, 60).backward()
        optimiser.step()
    assert float(offset.detach().abs()) < 0.004
    assert float(lean.detach().abs().max()) < 0.02


def test_only_fits_of_several_posed_photos_compare_patches() -> None:
    prior = small_prior()
    two, one = _scene(_photo(0.0), _photo(0.35)), _scene(_photo(0.0))
    short = FitConfig(size=32, rays=64, schedule=Schedule({1: 2}, {1: 0}, colours=0))
    patches = replace(short, patches=Patches(weight=0.3, count=16))
    for scene, posed, config, expected in (
        (two, True, patches, True),
        (two, False, patches, False),
        (one, True, patches, False),
        (two, True, short, False),
    ):
        fit = fit_head(replace(scene, posed=posed), prior, config, seed=1, quiet=True)
        assert ("consistency" in fit.curves) == expected
    assert method("protome").settings(short) == replace(short, patches=Patches(weight=0.3), match_lights=True)
