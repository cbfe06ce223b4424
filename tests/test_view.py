"""The viewer: what it shows is where the result says, sliders are standard deviations, slices are the field."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from browser import chromium
from devtools import Page, browsing
from heads import small_prior
from protome.errors import InputError
from protome.field.analytic import box, sphere
from protome.geometry.camera import Camera
from protome.prior.prior import FittedHead, Prior, save_head
from protome.units import UNIT_MM
from protome.view.content import Content, Posed, moved, read_content
from protome.view.slices import Axis, slice_of
from protome.view.viewer import Viewer, _field_of_view, _quaternion, put

CAMERA = Camera.look_at(torch.tensor([200.0, 50.0, 700.0]), torch.zeros(3), 500.0, 320, 240)


def mean_head(prior: Prior) -> FittedHead:
    return FittedHead(prior.field, prior.mean(), prior.bounds)


@pytest.fixture(scope="module")
def prior() -> Prior:
    return small_prior()


@pytest.fixture
def result(tmp_path: Path, prior: Prior) -> Path:
    folder = tmp_path / "result"
    folder.mkdir()
    save_head(folder / "field.safetensors", mean_head(prior), [torch.eye(4)])
    Image.new("RGB", (320, 240), (10, 200, 30)).save(tmp_path / "me.png")
    own = {"photo": "me.png", "width": 320, "height": 240, "K": CAMERA.K.tolist()}
    own["T_head_camera"] = CAMERA.T_world_camera.tolist()
    command = ["protome", "reconstruct", str(tmp_path), "--out", "x"]
    facts = {"command": command, "cameras": [own, {**own, "photo": "gone.png"}]}
    (folder / "result.json").write_text(json.dumps(facts))
    return folder


def test_cameras_and_photos_of_a_result_are_found(result: Path, prior: Prior) -> None:
    content = read_content(result, prior)
    first, second = content.cameras
    torch.testing.assert_close(first.camera.T_world_camera, CAMERA.T_world_camera)
    torch.testing.assert_close(first.camera.K, CAMERA.K)
    assert first.picture is not None
    assert (first.picture == (10, 200, 30)).all()
    assert second.picture is None
    assert content.textured is None


def test_a_folder_of_something_else_is_refused(tmp_path: Path, prior: Prior, run: Callable[[list[str]], int]) -> None:
    with pytest.raises(InputError, match="is no result and no scene"):
        read_content(tmp_path, prior)
    assert run(["view", str(tmp_path / "missing")]) == 2
    (tmp_path / "field.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match=r"field\.safetensors"):
        read_content(tmp_path, prior)


def test_sliders_are_standard_deviations_along_the_principal_axes(prior: Prior) -> None:
    head = moved(mean_head(prior), prior, [1.5, -2.0], [0.0, 0.5])
    shape = prior.shape.coefficients(head.latents.z_shape[None])[0]
    appearance = prior.appearance.coefficients(head.latents.z_appearance[None])[0]
    torch.testing.assert_close(shape[:2], torch.tensor([1.5, -2.0]), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(appearance[:2], torch.tensor([0.0, 0.5]), atol=1e-3, rtol=1e-3)
    assert shape[2:].abs().max() < 1e-3


@pytest.mark.parametrize("axis", get_args(Axis))
def test_a_slice_is_the_field_where_it_stands(axis: Axis) -> None:
    bounds = torch.tensor([[-1.0, -1.5, -1.2], [1.0, 0.9, 1.3]])
    # Not symmetric in any direction, so that a mirrored or turned picture would differ.
    corner, ball = box((0.3, -0.4, 0.2), (0.5, 0.3, 0.6)), sphere((-0.5, 0.4, -0.5), 0.4)

    def sdf(points: torch.Tensor) -> torch.Tensor:
        return torch.minimum(corner(points), ball(points))

    own = slice_of(sdf, bounds, axis, 0.5)
    rows, columns = np.mgrid[: own.picture.shape[0], : own.picture.shape[1]]
    across = ((columns + 0.5) / own.picture.shape[1] - 0.5) * own.width
    down = ((rows + 0.5) / own.picture.shape[0] - 0.5) * own.height
    points = own.centre + across[..., None] * own.right + down[..., None] * own.down
    inner = torch.from_numpy(points).float().reshape(-1, 3) / UNIT_MM
    distance = UNIT_MM * sdf(inner).numpy().reshape(rows.shape)
    blue = own.picture[..., 2].astype(float) > own.picture[..., 0]
    sure = (np.abs(distance) > 4) & (np.abs(distance) < 40)
    assert sure.sum() > 1000
    assert (blue == (distance < 0))[sure].all()
    assert (own.picture[np.abs(distance) < 0.5] < 40).all()
    # The picture's axes and the axis across make a frame of right angles.
    normal = np.eye(3)["xyz".index(axis)]
    assert abs(own.right @ own.down) + abs(own.right @ normal) + abs(own.down @ normal) == 0


def test_a_camera_stands_in_the_viewer_as_it_does_in_the_head_frame() -> None:
    w, x, y, z = _quaternion(CAMERA.T_world_camera[:3, :3].double().numpy())
    # A quaternion turns the camera's axis ahead, z, to this (Shoemake 1985).
    ahead = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
    expected = -CAMERA.T_world_camera[:3, 3].double().numpy()
    np.testing.assert_allclose(ahead, expected / np.linalg.norm(expected), atol=1e-6)
    assert np.tan(_field_of_view(CAMERA) / 2) * 500 == pytest.approx(120)


def test_a_browser_shows_the_head_and_follows_a_slider(prior: Prior, tmp_path: Path) -> None:
    program = chromium()
    picture = np.full((24, 32, 3), (200, 30, 30), np.uint8)
    content = Content("someone", mean_head(prior), (Posed("me.png", CAMERA, picture),), None)
    viewer = Viewer(content, prior, host="127.0.0.1", port=0)
    try:
        with browsing(program, tmp_path / "profile") as page:
            page.window(900, 420)
            page.call("Page.navigate", {"url": viewer.address})
            page.until("document.body?.innerText.includes('Axis 1')")
            before = _at_rest(page, tmp_path)
            made = viewer.meshed
            put(viewer.shape[0], 3.0)
            put(viewer.axis, "x")
            _wait(lambda: viewer.meshed > made)
            after = _at_rest(page, tmp_path)
            assert np.abs(before - after).mean() > 0.3
            asked = [one for one in page.addresses() if not one.startswith(("data:", "blob:", viewer.address))]
            assert asked == []
    finally:
        viewer.server.stop()


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def _at_rest(page: Page, folder: Path) -> np.ndarray:
    """Return a picture of the window once it shows something and has stopped changing."""
    last = np.zeros(())
    for _ in range(60):
        time.sleep(0.5)
        with Image.open(page.picture(folder / "window.png")) as opened:
            now = np.asarray(opened.convert("RGB")).astype(float)[:, :560]
        shown = (now.std(2) > 5).mean() > 0.01
        if shown and last.shape == now.shape and np.abs(now - last).mean() < 0.01:
            return now
        last = now
    raise AssertionError("the window does not come to rest")
