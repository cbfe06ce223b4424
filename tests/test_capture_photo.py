"""Photos as files: orientation, focal lengths, colours, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from protome.capture.photo import load_photo
from protome.errors import InputError
from protome.scene import LARGEST_SIDE

EXIF, ORIENTATION, WIDTH_TAG, HEIGHT_TAG = 0x8769, 0x0112, 0xA002, 0xA003
FILM, FOCAL, PLANE_X, PLANE_UNIT = 0xA405, 0x920A, 0xA20E, 0xA210


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).float() / 255.0


def save_jpeg(path: Path, pixels: np.ndarray, orientation: int | None = None, **tags: Any) -> Path:
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    names = {"film": FILM, "focal": FOCAL, "plane_x": PLANE_X, "unit": PLANE_UNIT, "w": WIDTH_TAG, "h": HEIGHT_TAG}
    exif.get_ifd(EXIF).update({names[name]: value for name, value in tags.items()})
    Image.fromarray(pixels).save(path, quality=95, subsampling=0, exif=exif)
    return path


def quadrants(height: int = 80, width: int = 120) -> np.ndarray:
    """Red, green / blue, white: every way to turn or mirror it looks different."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    return image


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [  # what the camera must have stored for the upright picture to come out, EXIF 2.32, tag 0x0112
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, 1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, -1)),
    ],
)
def test_photos_come_out_upright(tmp_path: Path, orientation: int, stored: Callable[[np.ndarray], np.ndarray]) -> None:
    path = save_jpeg(tmp_path / "a.jpg", np.ascontiguousarray(stored(quadrants())), orientation)
    photo = load_photo(path)
    assert photo.name == "a.jpg"
    assert photo.image.shape == (80, 120, 3)
    assert photo.focal_px is None
    # Centres of the quadrants, away from JPEG's ringing.
    assert (photo.image[20::40, 30::60] - as_tensor(quadrants())[20::40, 30::60]).abs().max() < 0.03


def test_focal_length_from_35mm_equivalent(tmp_path: Path) -> None:
    # On a 3:2 picture the film's 36 x 24 mm frame fits exactly: f = 50 / 36 of the width, also when held upright.
    blank = np.zeros((200, 300, 3), np.uint8)
    assert load_photo(save_jpeg(tmp_path / "a.jpg", blank, film=50)).focal_px == pytest.approx(300 * 50 / 36)
    assert load_photo(save_jpeg(tmp_path / "b.jpg", blank, 6, film=50)).focal_px == pytest.approx(300 * 50 / 36)


def test_focal_length_from_the_sensor(tmp_path: Path) -> None:
    blank = np.zeros((200, 300, 3), np.uint8)
    sensor: dict[str, Any] = {"focal": 5.0, "plane_x": 2540.0, "unit": 2}
    assert load_photo(save_jpeg(tmp_path / "a.jpg", blank, **sensor)).focal_px == pytest.approx(500.0)
    assert load_photo(save_jpeg(tmp_path / "b.jpg", blank, **sensor | {"unit": 3})).focal_px == pytest.approx(1270.0)
    # The recorded size says that the photo was reduced to a half; of other proportions, that it was cropped.
    assert load_photo(save_jpeg(tmp_path / "c.jpg", blank, w=600, h=400, **sensor)).focal_px == pytest.approx(250.0)
    assert load_photo(save_jpeg(tmp_path / "d.jpg", blank, w=600, h=600, **sensor)).focal_px is None
    assert load_photo(save_jpeg(tmp_path / "e.jpg", blank, film=0)).focal_px is None


def test_photos_of_one_lens_have_one_name(tmp_path: Path) -> None:
    main = load_photo(save_jpeg(tmp_path / "main.jpg", quadrants(), focal=5.7, film=26)).lens
    far = load_photo(save_jpeg(tmp_path / "far.jpg", quadrants(), focal=9.0, film=77)).lens
    plain = load_photo(save_jpeg(tmp_path / "plain.jpg", quadrants())).lens
    assert len({main, far, plain}) == 3
    assert load_photo(save_jpeg(tmp_path / "turned.jpg", quadrants(), 6, focal=5.7, film=26)).lens == main
    assert load_photo(save_jpeg(tmp_path / "upright.jpg", quadrants(120, 80))).lens == plain == "120 x 80"


def test_large_photos_are_reduced_with_their_focal_length(tmp_path: Path) -> None:
    path = save_jpeg(tmp_path / "a.jpg", np.full((1400, 2100, 3), 90, np.uint8), film=36)
    photo = load_photo(path)
    assert photo.image.shape == (1365, LARGEST_SIDE, 3)
    assert photo.focal_px == pytest.approx(LARGEST_SIDE)
    assert (photo.image - 90 / 255).abs().max() < 0.01


def test_grey_palette_and_transparent_files_become_rgb(tmp_path: Path) -> None:
    grey = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = as_tensor(np.repeat(grey[..., None], 3, 2))
    assert torch.equal(load_photo(tmp_path / "grey.png").image, expected)
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    assert torch.allclose(load_photo(tmp_path / "grey16.png").image, expected, atol=1 / 255)
    alpha = np.zeros((64, 64, 4), np.uint8)
    alpha[:32] = (10, 20, 30, 255)
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    image = load_photo(tmp_path / "alpha.png").image
    assert torch.allclose(image[:32], torch.tensor([10.0, 20.0, 30.0]) / 255)
    assert (image[32:] == 1).all()


def test_bad_photos_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    Image.new("RGB", (200, 63)).save(tmp_path / "small.png")
    whole = save_jpeg(tmp_path / "whole.jpg", skimage.data.astronaut()).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    for name, words in (
        ("gone.jpg", "gone.jpg does not exist: give the path of a photo"),
        ("text.jpg", "text.jpg cannot be read as an image: give a JPEG, PNG or WebP photo"),
        ("cut.jpg", "cut.jpg cannot be read as an image: give a JPEG, PNG or WebP photo"),
        ("small.png", "small.png has only 200 x 63 pixels: give a photo with at least 64 on each side"),
        (".", "is a folder, not a photo: give image files"),
    ):
        with pytest.raises(InputError) as refused:
            load_photo(tmp_path / name)
        assert str(refused.value).endswith(words)
