"""transforms.json of nerfstudio and instant-ngp: cameras, masks, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.nerfstudio import read_nerfstudio
from shots import Shot, opengl_pose, points_near_target, random_shots, save, write_transforms

NAMES = ("b.png", "a.png", "c.png")


@pytest.fixture
def shots() -> list[Shot]:
    return random_shots(NAMES)


@pytest.fixture
def folder(tmp_path: Path, shots: list[Shot]) -> Path:
    write_transforms(tmp_path, shots)
    return tmp_path


def rewrite(folder: Path, number: int | None = None, **values: Any) -> None:
    """Change numbers at the top or in one frame; None takes one away."""
    path = folder / "transforms.json"
    facts = json.loads(path.read_text())
    place = facts if number is None else facts["frames"][number]
    place.update(values)
    for key in [key for key, value in values.items() if value is None]:
        del place[key]
    path.write_text(json.dumps(facts))


def pixel_error(view: View | Unmasked, shot: Shot) -> float:
    points = points_near_target()
    seen = view.camera.to(torch.float64).project(torch.from_numpy(points)).numpy()
    return float(np.abs(seen - shot.project(points)).max())


def test_views_are_read_with_their_cameras_and_masks(folder: Path, shots: list[Shot]) -> None:
    views = read_nerfstudio(folder)
    assert [view.name for view in views] == ["a.png", "b.png", "c.png"]
    for view, shot in zip(views, (shots[1], shots[0], shots[2]), strict=True):
        assert isinstance(view, View)
        assert np.array_equal((view.image * 255).round().numpy(), shot.image)
        assert np.array_equal((view.mask * 255).round().numpy(), shot.mask)
        assert (view.camera.width, view.camera.height) == shot.size
        assert pixel_error(view, shot) < 1e-4
    (one,) = read_nerfstudio(folder, ["c"])
    assert torch.equal(one.image, views[2].image)


def test_opengl_axes_by_explicit_projection(folder: Path, shots: list[Shot]) -> None:
    """The format's own statement: a camera looks along -z of its matrix, and its y axis points up in the image."""
    pose, K = opengl_pose(shots[0]), shots[0].K
    points = points_near_target()
    x, y, z = (np.linalg.inv(pose) @ np.vstack([points.T, np.ones(len(points))]))[:3]
    assert (z < 0).all()
    expected = np.stack([K[0, 2] + K[0, 0] * x / -z, K[1, 2] - K[1, 1] * y / -z], 1)
    camera = read_nerfstudio(folder, ["b.png"])[0].camera.to(torch.float64)
    np.testing.assert_allclose(camera.project(torch.from_numpy(points)).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(camera.centre.numpy(), pose[:3, 3], atol=1e-5)


def test_numbers_for_all_frames_stand_at_the_top(folder: Path, shots: list[Shot]) -> None:
    K = shots[1].K
    for number in range(3):
        rewrite(folder, number, **dict.fromkeys(("fl_x", "fl_y", "cx", "cy", "w", "h")))
    rewrite(folder, fl_x=K[0, 0], fl_y=K[1, 1], cx=K[0, 2], cy=K[1, 2])
    rewrite(folder, 0, fl_x=99.0)
    a, b, _ = read_nerfstudio(folder)
    assert pixel_error(a, shots[1]) < 1e-4
    assert b.camera.K[0, 0] == 99.0
    assert b.camera.K[1, 1] == pytest.approx(K[1, 1])


def test_angles_of_view_stand_for_focal_lengths(folder: Path, shots: list[Shot]) -> None:
    for number in range(3):
        rewrite(folder, number, **dict.fromkeys(("fl_x", "fl_y", "cx", "cy", "w", "h")))
    rewrite(folder, camera_angle_x=2 * np.arctan(40 / 2 / 53.0))
    for view in read_nerfstudio(folder):
        expected = np.array([[53.0, 0, 20], [0, 53.0, 15], [0, 0, 1]])
        np.testing.assert_allclose(view.camera.K.numpy(), expected, rtol=1e-6)
    rewrite(folder, camera_angle_y=2 * np.arctan(30 / 2 / 47.0))
    assert float(read_nerfstudio(folder)[0].camera.K[1, 1]) == pytest.approx(47.0)


def test_images_resampled_after_the_calibration_keep_their_rays(folder: Path, shots: list[Shot]) -> None:
    rewrite(folder, 0, fl_x=2 * shots[0].K[0, 0], fl_y=2 * shots[0].K[1, 1], cx=2 * shots[0].K[0, 2], cy=26, w=80, h=60)
    assert pixel_error(read_nerfstudio(folder, ["b"])[0], shots[0]) < 1e-4


def test_paths_may_lack_suffixes_or_come_from_windows(folder: Path, shots: list[Shot]) -> None:
    rewrite(folder, 0, file_path="./images/b")
    rewrite(folder, 1, file_path="images\\a.png")
    views = read_nerfstudio(folder)
    assert [view.name for view in views] == ["b", "c.png", "a.png"]
    assert pixel_error(views[0], shots[0]) < 1e-4
    assert all(isinstance(view, View) for view in views)


def test_images_of_equal_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    shots = random_shots(("left/0.png", "right/0.png"))
    write_transforms(tmp_path, shots)
    views = read_nerfstudio(tmp_path)
    assert [view.name for view in views] == ["images/left/0.png", "images/right/0.png"]
    for view, shot in zip(views, shots, strict=True):
        assert isinstance(view, View)
        assert np.array_equal((view.mask * 255).round().numpy(), shot.mask)
    assert len(read_nerfstudio(tmp_path, ["0"])) == 2
    assert [view.name for view in read_nerfstudio(tmp_path, ["images/right/0.png"])] == ["images/right/0.png"]


def test_masks_come_from_their_path_else_their_folder_else_opacity(folder: Path, shots: list[Shot]) -> None:
    other = 255 - shots[0].mask
    save(folder / "elsewhere.png", other)
    rewrite(folder, 0, mask_path="elsewhere.png")
    (folder / "masks" / "a.png").unlink()
    save(folder / "images" / "a.png", np.dstack([shots[1].image, shots[1].mask]))
    (folder / "masks" / "c.png").rename(folder / "masks" / "c.png.png")
    for view, mask in zip(read_nerfstudio(folder), (shots[1].mask, other, shots[2].mask), strict=True):
        assert isinstance(view, View)
        assert np.array_equal((view.mask * 255).round().numpy(), mask)
    # An image that is opaque all over says nothing about the person.
    save(folder / "images" / "a.png", np.dstack([shots[1].image, np.full_like(shots[1].mask, 255)]))
    unmasked = read_nerfstudio(folder, ["a"])[0]
    assert isinstance(unmasked, Unmasked)
    assert np.array_equal((unmasked.image * 255).round().numpy(), shots[1].image)
    (folder / "masks").rename(folder / "mask")
    assert isinstance(read_nerfstudio(folder, ["c"])[0], View)


def test_scaled_camera_axes_are_no_part_of_the_pose(folder: Path, shots: list[Shot]) -> None:
    pose = opengl_pose(shots[0])
    pose[:3, :3] *= 3.0
    rewrite(folder, 0, transform_matrix=pose[:3].tolist())
    assert pixel_error(read_nerfstudio(folder, ["b"])[0], shots[0]) < 1e-4


def test_wrong_scenes_are_refused_in_one_sentence(folder: Path, shots: list[Shot]) -> None:
    def refusal() -> str:
        with pytest.raises(InputError) as refused:
            read_nerfstudio(folder, ["b"])
        text = str(refused.value)
        assert "\n" not in text
        return text.replace(str(folder), "SCENE")

    whole = (folder / "transforms.json").read_text()
    refused: dict[str, dict[str, Any]] = {
        "SCENE/transforms.json gives b.png no number fl_x: add it to the frame or at the top": {"fl_x": None},
        "SCENE/transforms.json gives b.png no number cy: add it to the frame or at the top": {"cy": "middle"},
        "SCENE/transforms.json gives b.png no positive focal length: set fl_x and fl_y": {"fl_x": -50.0},
        "SCENE/transforms.json gives b.png distortion beyond k1, k2, p1, p2 and k3: name the camera_model (FULL_OPENCV "
        "or OPENCV_FISHEYE), or undistort the images first": {"k4": 0.1},
        "the camera model EQUIRECTANGULAR of b.png in SCENE/transforms.json is not known here: give images of a "
        "pinhole camera, a fisheye, or OpenCV's distortion": {"camera_model": "EQUIRECTANGULAR"},
        "the intrinsic_matrix of b.png in SCENE/transforms.json is no matrix of intrinsics: give 3 x 3 numbers": {
            "intrinsic_matrix": [[50.0, 0.0, 20.0]]
        },
        "the lens distortion given for SCENE/images/b.png folds the image over: give undistorted images, with their "
        "cameras": {"k1": -6.0},
        "SCENE/images/b.png has 40 x 30 pixels but its camera 30 x 40: give the image that the camera was calibrated "
        "with": {"w": 30, "h": 40},
        "SCENE/nobody.png is missing, but SCENE/transforms.json names it: put it there": {"mask_path": "nobody.png"},
        "the transform_matrix of images/b.png in SCENE/transforms.json is no camera pose: give 4 rows of 4 numbers, a "
        "rotation and a position": {"transform_matrix": np.diag([1.0, 1.0, -1.0, 1.0]).tolist()},
    }
    for sentence, change in refused.items():
        rewrite(folder, 0, **change)
        assert refusal() == sentence
        (folder / "transforms.json").write_text(whole)
    for matrix in (None, "here", np.eye(3).tolist(), np.full((4, 4), np.nan).tolist(), [[1, 2], [3]]):
        rewrite(folder, 0, transform_matrix=matrix)
        assert refusal().startswith("the transform_matrix of images/b.png in SCENE/transforms.json is no camera pose")
    (folder / "transforms.json").write_text(whole)
    Image.new("L", (30, 40)).save(folder / "masks" / "b.png")
    assert refusal() == (
        "SCENE/masks/b.png has 30 x 40 pixels but its image b.png has 40 x 30: give a mask of the image's size"
    )
    (folder / "images" / "b.png").write_bytes(b"nothing")
    assert refusal() == "SCENE/images/b.png cannot be read as an image: give a JPEG, PNG, WebP, TIFF, HEIC or AVIF file"
    (folder / "images" / "b.png").unlink()
    assert refusal() == "SCENE/images/b.png is missing, but SCENE/transforms.json names it: put it there"
    with pytest.raises(InputError, match=r"transforms\.json holds no image named d: its first is a\.png$"):
        read_nerfstudio(folder, ["d"])
    rewrite(folder, 1, file_path=None)
    assert refusal() == "frame 1 of SCENE/transforms.json has no file_path: name its image there"
    rewrite(folder, frames=[])
    assert refusal() == (
        "SCENE/transforms.json lists no frames: give file_path and transform_matrix of each image in frames"
    )
    (folder / "transforms.json").write_text("{")
    assert refusal() == "SCENE/transforms.json cannot be read as JSON: export the scene again"
    (folder / "transforms.json").unlink()
    assert refusal() == "SCENE/transforms.json is missing: a nerfstudio scene needs it, with its cameras inside"
