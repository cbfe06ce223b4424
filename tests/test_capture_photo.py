"""Photos as files: orientation, focal lengths, colours, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import ExifTags, Image

from protome.capture.photo import load_photo
from protome.errors import InputError, ProtomeWarning
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


def test_the_camera_s_own_size_counts_where_an_editor_corrected_only_the_other(tmp_path: Path) -> None:
    def edited(name: str, width: int, height: int) -> float | None:
        tags = ExifTags.Base
        exif = Image.Exif()
        exif[tags.ImageWidth], exif[tags.ImageLength] = width, height
        exif.get_ifd(EXIF).update({FOCAL: 5.0, PLANE_X: 2540.0, PLANE_UNIT: 2, WIDTH_TAG: 300, HEIGHT_TAG: 200})
        Image.fromarray(np.zeros((200, 300, 3), np.uint8)).save(tmp_path / name, exif=exif)
        return load_photo(tmp_path / name).focal_px

    assert edited("kept.jpg", 300, 200) == pytest.approx(500.0)
    assert edited("reduced.jpg", 900, 600) == pytest.approx(500.0 / 3)
    assert edited("cropped.jpg", 900, 700) is None


@pytest.mark.parametrize("film", [1, 60_000])
def test_focal_lengths_that_no_lens_has_are_ignored_with_a_warning(tmp_path: Path, film: int) -> None:
    blank = np.zeros((200, 300, 3), np.uint8)
    path = save_jpeg(tmp_path / "a.jpg", blank, film=film)
    with pytest.warns(ProtomeWarning) as warned:
        assert load_photo(path).focal_px is None
    assert str(warned[0].message) == (
        f"{path} records a focal length of {film:.0f} mm (35 mm equivalent), which no lens has: it is ignored"
    )
    # The sensor's own numbers count where only the equivalent is wrong.
    sensor: dict[str, Any] = {"focal": 5.0, "plane_x": 2540.0, "unit": 2}
    assert load_photo(save_jpeg(tmp_path / "b.jpg", blank, film=film, **sensor)).focal_px == pytest.approx(500.0)
    with pytest.warns(ProtomeWarning, match="no lens has"):
        assert load_photo(save_jpeg(tmp_path / "c.jpg", blank, **sensor | {"focal": 0.05})).focal_px is None


def person(height: int = 80, width: int = 120) -> np.ndarray:
    """A mask with the person in the lower middle, not symmetric."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 :, width // 4 : width // 2] = 255
    return mask


@pytest.mark.parametrize("name", ["a.mask.png", "a.jpg.mask.png"])
def test_a_mask_beside_a_photo_is_its_mask(tmp_path: Path, name: str) -> None:
    path = save_jpeg(tmp_path / "a.jpg", quadrants())
    assert load_photo(path).mask is None
    Image.fromarray(person()).save(tmp_path / name)
    photo = load_photo(path)
    assert photo.mask is not None
    assert torch.equal(photo.mask, torch.from_numpy(person() / 255.0).float())
    assert photo.mask_file == tmp_path / name
    # Of another resolution.
    Image.fromarray(np.repeat(np.repeat(person(), 2, 0), 2, 1)).save(tmp_path / name)
    doubled = load_photo(path)
    assert doubled.mask is not None
    assert torch.equal(doubled.mask, photo.mask)


def test_masks_fit_photos_that_are_turned(tmp_path: Path) -> None:
    stored = np.ascontiguousarray(np.rot90(quadrants()))
    path = save_jpeg(tmp_path / "a.jpg", stored, 6)
    for drawn in (person(), np.rot90(person())):  # as it is seen, and as it is stored
        Image.fromarray(np.ascontiguousarray(drawn)).save(tmp_path / "a.mask.png")
        mask = load_photo(path).mask
        assert mask is not None
        assert torch.equal(mask, torch.from_numpy(person() / 255.0).float())


def test_large_photos_are_reduced_with_their_masks(tmp_path: Path) -> None:
    path = save_jpeg(tmp_path / "a.jpg", np.zeros((1400, 2100, 3), np.uint8))
    Image.fromarray(person(1400, 2100)).save(tmp_path / "a.mask.png")
    photo = load_photo(path)
    assert photo.mask is not None
    assert photo.mask.shape == photo.image.shape[:2] == (1365, LARGEST_SIDE)
    assert float(photo.mask.mean()) == pytest.approx(float(person(1400, 2100).mean()) / 255, abs=1e-3)


def test_the_opacity_of_a_cut_out_is_its_mask(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.dstack([quadrants(), person()])).save(path)
    photo = load_photo(path)
    assert photo.mask is not None
    assert torch.equal(photo.mask, torch.from_numpy(person() / 255.0).float())
    assert photo.mask_file == path
    assert (photo.image[photo.mask == 0] == 1).all()
    # A mask beside it goes before.
    Image.fromarray(np.roll(person(), 20, 1)).save(tmp_path / "a.mask.png")
    assert load_photo(path).mask_file == tmp_path / "a.mask.png"


@pytest.mark.parametrize("kind", ["faded", "round corners", "hidden metadata"])
def test_other_opacity_is_no_mask(tmp_path: Path, kind: str) -> None:
    alpha = np.full((80, 120), 255, np.uint8)
    if kind == "faded":
        alpha[:] = np.linspace(0, 255, 120)
    elif kind == "round corners":
        alpha[:6, :6] = alpha[-6:, :6] = alpha[:6, -6:] = alpha[-6:, -6:] = 0
    else:
        alpha[0, 0] = 254
    Image.fromarray(np.dstack([quadrants(), alpha])).save(tmp_path / "a.png")
    photo = load_photo(tmp_path / "a.png")
    assert photo.mask is None
    assert photo.mask_file is None


def test_masks_that_cannot_be_used_are_refused_or_ignored(tmp_path: Path) -> None:
    path, mask = save_jpeg(tmp_path / "a.jpg", quadrants()), tmp_path / "a.mask.png"
    for values, words in (
        (
            person(80, 80),
            f"{mask} has 80 x 80 pixels but its photo a.jpg has 120 x 80: give a mask of the photo's size",
        ),
        (0 * person(), f"the mask {mask} is black everywhere: paint the person white in it, or leave a.jpg out"),
        (255 - person(), f"the mask {mask} is inverted, with the background white: paint the person white instead"),
    ):
        Image.fromarray(values).save(mask)
        with pytest.raises(InputError) as refused:
            load_photo(path)
        assert str(refused.value) == words
    mask.write_text("nothing")
    with pytest.raises(InputError, match=r"a\.mask\.png cannot be read as a mask: give a PNG file$"):
        load_photo(path)
    Image.fromarray(255 + 0 * person()).save(mask)
    with pytest.warns(ProtomeWarning, match=r"^the mask .*a\.mask\.png is white everywhere: one is made instead$"):
        assert load_photo(path).mask is None


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
        ("text.jpg", "text.jpg cannot be read as an image: give a JPEG, PNG, WebP, TIFF, HEIC or AVIF file"),
        ("cut.jpg", "cut.jpg cannot be read as an image: give a JPEG, PNG, WebP, TIFF, HEIC or AVIF file"),
        ("small.png", "small.png has only 200 x 63 pixels: give a photo with at least 64 on each side"),
        (".", "is a folder, not a photo: give image files"),
    ):
        with pytest.raises(InputError) as refused:
            load_photo(tmp_path / name)
        assert str(refused.value).endswith(words)
