"""COLMAP's sparse models: text and binary, every camera model that is known, masks, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.colmap import find_model, read_colmap
from shots import Shot, colmap_camera, points_near_target, random_shots, save, write_colmap, write_colmap_images

NAMES = ("b.png", "inside/a picture.png", "c.jpg.png")


@pytest.fixture
def shots() -> list[Shot]:
    return random_shots(NAMES)


@pytest.fixture
def folder(tmp_path: Path, shots: list[Shot]) -> Path:
    write_colmap_images(tmp_path, shots)
    return tmp_path


def pixel_error(view: View | Unmasked, shot: Shot) -> float:
    points = points_near_target()
    seen = view.camera.to(torch.float64).project(torch.from_numpy(points)).numpy()
    return float(np.abs(seen - shot.project(points)).max())


@pytest.mark.parametrize("place", ["sparse/0", "sparse", "."])
@pytest.mark.parametrize("binary", [False, True])
def test_views_are_read_with_their_cameras_and_masks(folder: Path, shots: list[Shot], binary: bool, place: str) -> None:
    write_colmap(folder / place, shots, binary)
    assert find_model(folder) == folder / place
    views = read_colmap(folder)
    assert [view.name for view in views] == ["b.png", "c.jpg.png", "inside/a picture.png"]
    for view, shot in zip(views, (shots[0], shots[2], shots[1]), strict=True):
        assert isinstance(view, View)
        assert np.array_equal((view.image * 255).round().numpy(), shot.image)
        assert np.array_equal((view.mask * 255).round().numpy(), shot.mask)
        assert pixel_error(view, shot) < 1e-4
    assert [view.name for view in read_colmap(folder, ["a picture"])] == ["inside/a picture.png"]


def test_text_and_binary_say_the_same(folder: Path, shots: list[Shot]) -> None:
    write_colmap(folder / "sparse", shots, binary=False)
    text = read_colmap(folder)
    write_colmap(folder / "sparse" / "0", shots, binary=True)
    for first, second in zip(text, read_colmap(folder), strict=True):
        assert torch.equal(first.camera.K, second.camera.K)
        assert torch.equal(first.camera.T_world_camera, second.camera.T_world_camera)


def test_the_binary_form_counts_where_both_are_there(folder: Path, shots: list[Shot]) -> None:
    write_colmap(folder / "sparse", shots[:2], binary=False)
    write_colmap(folder / "sparse", shots, binary=True)
    assert len(read_colmap(folder)) == 3


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("model", "values"),
    [
        ("SIMPLE_PINHOLE", [50.0, 19.0, 14.0]),
        ("PINHOLE", [50.0, 51.0, 19.0, 14.0]),
        ("SIMPLE_RADIAL", [50.0, 19.0, 14.0, 0.0]),
        ("RADIAL", [50.0, 19.0, 14.0, 0.0, 0.0]),
        ("OPENCV", [50.0, 51.0, 19.0, 14.0, 0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_parameters_of_every_model(
    folder: Path, shots: list[Shot], binary: bool, model: str, values: list[float]
) -> None:
    write_colmap(folder, shots[:1], binary, [(model, values)])
    (view,) = read_colmap(folder)
    height = 51.0 if model in ("PINHOLE", "OPENCV") else 50.0
    expected = torch.tensor([[50.0, 0, 19.0], [0, height, 14.0], [0, 0, 1]])
    torch.testing.assert_close(view.camera.K, expected)


def test_masks_else_opacity_else_none(folder: Path, shots: list[Shot]) -> None:
    write_colmap(folder, shots, binary=True)
    (folder / "masks" / "b.png.png").rename(folder / "masks" / "b.png")
    (folder / "masks" / "c.jpg.png.png").unlink()
    save(folder / "images" / "c.jpg.png", np.dstack([shots[2].image, shots[2].mask]))
    (folder / "masks" / "inside" / "a picture.png.png").unlink()
    b, c, a = read_colmap(folder)
    assert isinstance(b, View)
    assert np.array_equal((b.mask * 255).round().numpy(), shots[0].mask)
    assert isinstance(c, View)
    assert np.array_equal((c.mask * 255).round().numpy(), shots[2].mask)
    assert isinstance(a, Unmasked)
    assert pixel_error(a, shots[1]) < 1e-4


def test_wrong_models_are_refused_in_one_sentence(folder: Path, shots: list[Shot]) -> None:
    def refusal() -> str:
        with pytest.raises(InputError) as refused:
            read_colmap(folder)
        text = str(refused.value)
        assert "\n" not in text
        return text.replace(str(folder), "SCENE")

    assert refusal() == (
        "SCENE has no COLMAP model: put cameras.bin and images.bin, or the same as .txt, into SCENE/sparse/0"
    )
    panorama = ("EQUIRECTANGULAR", [40.0, 30.0])
    for binary, name in ((False, "txt"), (True, "bin")):
        write_colmap(folder, shots[:1], binary, [panorama])
        assert refusal() == (
            f"the camera model EQUIRECTANGULAR in SCENE/cameras.{name} is not known here: undistort the images with "
            "`colmap image_undistorter`"
        )
    write_colmap(folder, shots, binary=True)
    (folder / "images" / "b.png").unlink()
    assert refusal() == "SCENE/images/b.png is missing, but SCENE names it: put it there"
    for part in ("images", "cameras"):
        content = (folder / f"{part}.bin").read_bytes()
        (folder / f"{part}.bin").write_bytes(content[:-5])
        assert refusal() == f"SCENE/{part}.bin is not what COLMAP writes: export the model again"
    (folder / "cameras.bin").unlink()
    (folder / "images.bin").unlink()
    assert find_model(folder) == folder  # the text that lies there too
    write_colmap(folder, shots, binary=False)
    (folder / "images.txt").write_text("1 0 0 0 0 1 2 3 7 b.png\n\n")
    assert refusal() == "SCENE/images.txt is not what COLMAP writes: export the model again"
    (folder / "images.txt").write_text("1 1 0 0 0 1 2 3 99 b.png\n\n")
    assert refusal() == "SCENE has no camera 99 of image b.png: export the model again"
    (folder / "images.txt").write_text("# nothing\n")
    assert refusal() == "the COLMAP model in SCENE has no images: give one in which some were registered"
    (folder / "images.txt").unlink()
    assert refusal() == "SCENE/images.txt is missing: export the whole model, cameras and images"
    kind, values = colmap_camera(shots[0])
    write_colmap(folder, shots[:1], False, [(kind, values[:-1])])
    assert refusal() == "SCENE/cameras.txt is not what COLMAP writes: export the model again"
