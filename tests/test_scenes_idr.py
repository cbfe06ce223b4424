"""IDR folders: what is written is read back, and what is wrong is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.scene import View
from protome.scenes.idr import decompose, read_idr, write_idr
from protome.scenes.scene_folder import is_scene


def random_view(name: str, seed: int, width: int = 40, height: int = 30) -> View:
    """A view with 8-bit noise, and a camera with skew that looks at the world's point (5, -3, 20)."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (height, width, 3), generator=generator) / 255.0
    mask = torch.randint(0, 2, (height, width), generator=generator).float()
    target = torch.tensor([5.0, -3.0, 20.0])
    camera = Camera.look_at(target + 60 * torch.randn(3, generator=generator), target, 50.0, width, height)
    camera.K[0, 1] = 0.7
    camera.K[1, 1] = 52.0
    return View(name, image, mask, camera)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A correct scene of three views."""
    write_idr(tmp_path, [random_view(name, i) for i, name in enumerate(("img_0000", "img_0001", "img_0002"))])
    return tmp_path


def rewrite_cameras(folder: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    with np.load(folder / "cameras.npz") as stored:
        cameras = {key: stored[key] for key in stored.files}
    changed: dict[str, Any] = change(cameras)
    np.savez(folder / "cameras.npz", **changed)


def test_views_survive_the_round_trip(tmp_path: Path) -> None:
    views = [random_view(name, i) for i, name in enumerate(("b.png", "a.jpg", "c"))]
    write_idr(tmp_path, views, Similarity.scaling(3.0))
    read = read_idr(tmp_path)
    assert [view.name for view in read] == ["a.png", "b.png", "c.png"]
    for before, after in zip((views[1], views[0], views[2]), read, strict=True):
        assert torch.equal(before.image, after.image)
        assert torch.equal(before.mask, after.mask)
        points = torch.tensor([5.0, -3.0, 20.0]) + torch.randn(100, 3, generator=torch.Generator().manual_seed(9))
        assert (before.camera.project(points) - after.camera.project(points)).abs().max() < 1e-3
        assert (before.camera.T_world_camera - after.camera.T_world_camera).abs().max() < 1e-3
        assert (after.camera.width, after.camera.height) == (40, 30)
        assert after.landmarks is None


def test_cameras_are_posed_in_the_world_not_in_the_normalised_frame(tmp_path: Path) -> None:
    view = random_view("a", 0)
    normalised = Similarity(
        rotation_from_vector(torch.tensor([0.1, 0.2, 0.3])), torch.tensor([1.0, 2.0, 3.0]), torch.tensor(7.0)
    )
    write_idr(tmp_path, [view], normalised)
    (read,) = read_idr(tmp_path)
    assert torch.allclose(read.camera.centre, view.camera.centre, atol=1e-3)
    # The format's own statement: world_mat @ scale_mat maps the normalised frame to pixels.
    with np.load(tmp_path / "cameras.npz") as stored:
        P = stored["world_mat_0"] @ stored["scale_mat_0"]
    point = torch.tensor([0.2, -0.1, 0.4])
    pixel = P[:3] @ np.append(point.double().numpy(), 1)
    expected = read.camera.project(normalised.apply(point)).numpy()
    np.testing.assert_allclose(pixel[:2] / pixel[2], expected, atol=1e-3)


numbers = st.floats(-2, 2, allow_nan=False, width=32, allow_subnormal=False)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(numbers, min_size=3, max_size=3),
    st.lists(numbers, min_size=3, max_size=3),
    st.floats(100, 5000),
    st.floats(0.7, 1.4),
    st.floats(-20, 20, allow_subnormal=False),
    st.sampled_from([1.0, -1.0, 1e-3, -250.0]),
)
def test_every_camera_matrix_decomposes(
    vector: list[float], centre: list[float], focal: float, aspect: float, skew: float, factor: float
) -> None:
    rotation = rotation_from_vector(torch.tensor(vector, dtype=torch.float64)).numpy()
    K = np.array([[focal, skew, 320.0], [0.0, focal * aspect, 240.0], [0.0, 0.0, 1.0]])
    P = factor * K @ np.concatenate([rotation, -rotation @ np.array(centre)[:, None]], 1)
    found_K, pose = decompose(P)
    np.testing.assert_allclose(found_K, K, rtol=1e-7, atol=1e-5)
    np.testing.assert_allclose(pose[:3, :3], rotation.T, atol=1e-8)
    np.testing.assert_allclose(pose[:3, 3], centre, atol=1e-6)


def test_named_views_are_read(folder: Path) -> None:
    views = read_idr(folder, ["img_0002", "img_0000.png"])
    assert [view.name for view in views] == ["img_0000.png", "img_0002.png"]
    assert torch.equal(views[1].image, random_view("", 2).image)
    with pytest.raises(InputError, match=r"image holds no image named img_7: its first is img_0000\.png$"):
        read_idr(folder, ["img_7"])


def test_a_part_of_a_scene_goes_by_the_numbers_in_names(folder: Path) -> None:
    everything = read_idr(folder)
    (folder / "image" / "img_0000.png").unlink()
    for view, expected in zip(read_idr(folder), everything[1:], strict=True):
        assert torch.equal(view.camera.T_world_camera, expected.camera.T_world_camera)
        assert torch.equal(view.mask, expected.mask)


def test_as_many_cameras_as_images_go_by_order(tmp_path: Path) -> None:
    write_idr(tmp_path, [random_view(name, i) for i, name in enumerate(("img_3", "img_5"))])
    views = read_idr(tmp_path)
    assert torch.allclose(views[1].camera.centre, random_view("", 1).camera.centre, atol=1e-3)


def test_masks_with_other_names_are_matched(folder: Path) -> None:
    expected = [view.mask for view in read_idr(folder)]
    for path in sorted((folder / "mask").iterdir()):
        path.rename(path.with_name(path.name.replace("img_0", "mask_")))
    assert all(torch.equal(view.mask, mask) for view, mask in zip(read_idr(folder), expected, strict=True))


def test_a_folder_is_a_scene_and_a_photo_is_not(folder: Path) -> None:
    assert is_scene(folder)
    assert not is_scene(folder / "image" / "img_0000.png")
    assert not is_scene(folder / "gone")


def test_wrong_scenes_are_refused_in_one_sentence(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    def refusal() -> str:
        with pytest.raises(InputError) as refused:
            read_idr(folder)
        text = str(refused.value)
        assert "\n" not in text
        return text.replace(str(folder), "SCENE")

    # From the last thing that is read to the first, so that each fault hides the one before.
    rewrite_cameras(folder, lambda cameras: cameras | {"world_mat_2": np.diag([1.0, 1.0, 0.0, 1.0])})
    expected = "world_mat_2 in SCENE/cameras.npz is singular: store K [R | t] of image img_0002.png in its rows"
    assert refusal() == expected
    rewrite_cameras(folder, lambda cameras: cameras | {"world_mat_1": np.full((4, 4), np.nan)})
    expected = "world_mat_1 in SCENE/cameras.npz is not finite: store K [R | t] of image img_0001.png in its rows"
    assert refusal() == expected
    rewrite_cameras(folder, lambda cameras: cameras | {"world_mat_0": np.eye(2)})
    expected = "world_mat_0 in SCENE/cameras.npz is not a 4 x 4 matrix of numbers: store K [R | t] in its upper rows"
    assert refusal() == expected
    rewrite_cameras(folder, lambda cameras: {key: value for key, value in cameras.items() if key != "world_mat_0"})
    assert refusal() == (
        "SCENE/cameras.npz has no entry world_mat_0 for image img_0000.png: add the 4 x 4 matrix K [R | t]"
    )
    Image.new("L", (30, 40)).save(folder / "mask" / "img_0000.png")
    assert refusal() == (
        "SCENE/mask/img_0000.png has 30 x 40 pixels but its image img_0000.png has 40 x 30: "
        "give a mask of the image's size"
    )
    (folder / "mask" / "img_0000.png").unlink()
    assert refusal() == "the mask of SCENE/image/img_0000.png is missing: put img_0000.png into SCENE/mask"
    (folder / "image" / "img_0000.png").write_bytes(b"nothing")
    assert (
        refusal()
        == "SCENE/image/img_0000.png cannot be read as an image: give a JPEG, PNG, WebP, TIFF, HEIC or AVIF file"
    )
    (folder / "cameras.npz").write_bytes(b"nothing")
    assert refusal() == "SCENE/cameras.npz cannot be read as an npz archive of numbers: write it with numpy.savez"
    (folder / "cameras.npz").unlink()
    expected = "SCENE/cameras.npz is missing: a posed scene needs it, with world_mat_0, world_mat_1, ... inside"
    assert refusal() == expected
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(InputError, match=r"holds no images: put PNG or JPEG files into .*image$"):
        read_idr(empty)


def test_views_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no views to write"):
        write_idr(tmp_path, [])
    with pytest.raises(InputError, match="two views named a cannot be written"):
        write_idr(tmp_path, [random_view("a.png", 0), random_view("a.jpg", 1)])
