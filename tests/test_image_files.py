"""Image files of every format: their colours in sRGB, their size, and what is refused."""

from __future__ import annotations

import io
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile

from protome.errors import InputError, ProtomeWarning
from protome.util.image_files import read_pixels, read_size

HEIGHT, WIDTH = 80, 120


def smooth() -> np.ndarray:
    """Slow gradients, which every compression keeps, with another in each channel."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([40 + x, 200 - y, 60 + (x + y) // 2], 2).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff", "avif", "bmp", "heic"])
def test_formats_are_read_upright(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    if suffix != "bmp":
        exif[0x0112] = 6
    stored = smooth() if suffix == "bmp" else np.ascontiguousarray(np.rot90(smooth()))
    Image.fromarray(stored).save(path, quality=98, exif=exif.tobytes())
    found = read_pixels(path, upright=True)
    assert found.size == (WIDTH, HEIGHT)
    assert found.alpha is None
    assert np.abs(found.colours.astype(int) - smooth()).max() <= 6
    if suffix not in ("heic", "tiff"):  # whose readers turn what they read
        assert read_size(path) == (stored.shape[1], stored.shape[0])


def matrix_profile(primaries: np.ndarray) -> bytes:
    """Return an ICC profile (version 2) with sRGB's tone curve and these red, green and blue colorants (D50, XYZ)."""
    base = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = int.from_bytes(base[128:132], "big")
    changed = bytearray(base)
    for number in range(count):
        entry = base[132 + 12 * number : 144 + 12 * number]
        offset = int.from_bytes(entry[4:8], "big")
        name = entry[:4].decode()
        if name in ("rXYZ", "gXYZ", "bXYZ"):
            values = np.rint(65536 * primaries["rgb".index(name[0])]).astype(">i4").tobytes()
            changed[offset + 8 : offset + 20] = values
        if name == "desc":
            changed[offset : offset + int.from_bytes(entry[8:12], "big")] = base[
                offset : offset + int.from_bytes(entry[8:12], "big")
            ].replace("sRGB".encode("utf-16-be"), "some".encode("utf-16-be"))
    return bytes(changed)


P3 = np.array([[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]])
"""Display P3's colorants, adapted to D50 (rows: red, green, blue)."""
SRGB = np.array([[0.4361, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7141]])


def curve(values: np.ndarray) -> np.ndarray:
    """sRGB's tone curve (IEC 61966-2-1)."""
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * np.clip(values, 0, None) ** (1 / 2.4) - 0.055)


def linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_display_p3_becomes_srgb(suffix: str, tmp_path: Path) -> None:
    stored = np.clip(smooth(), 95, 165)  # mild colours, which both spaces hold
    path = tmp_path / f"p3.{suffix}"
    Image.fromarray(stored).save(path, quality=98, subsampling=0, icc_profile=matrix_profile(P3))
    # By the two spaces' definitions: to linear light, to XYZ, back to the other's light.
    expected = 255 * curve(linear(stored / 255) @ P3 @ np.linalg.inv(SRGB))
    assert np.abs(expected - stored).max() > 8  # the profile is one that matters
    assert np.abs(read_pixels(path).colours - expected).max() < (6 if suffix == "jpg" else 1.6)


def test_profiles_of_srgb_change_nothing(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(smooth()).save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(read_pixels(tmp_path / "a.png").colours, smooth())


@pytest.mark.parametrize("profile", [b"no profile at all", b"\0" * 200])
def test_broken_profiles_are_ignored_with_a_warning(profile: bytes, tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.png", icc_profile=profile)
    with pytest.warns(
        ProtomeWarning, match=r"^the colour profile in .*a\.png cannot be used: its colours are taken as"
    ):
        assert np.array_equal(read_pixels(tmp_path / "a.png").colours, smooth())


def test_profiles_of_another_kind_of_colours_are_ignored_with_a_warning(tmp_path: Path) -> None:
    Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0)).save(tmp_path / "a.jpg", icc_profile=matrix_profile(P3))
    with pytest.warns(ProtomeWarning, match="cannot be used"):
        assert read_pixels(tmp_path / "a.jpg").colours[9, 9].tolist() == [255, 0, 0]


def test_printing_colours_become_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0)).save(tmp_path / "a.tiff")
    assert read_pixels(tmp_path / "a.tiff").colours[9, 9].tolist() == [255, 0, 0]
    grey = Image.fromarray(smooth()[..., 0])
    grey.save(tmp_path / "grey.png", icc_profile=matrix_profile(P3))
    found = read_pixels(tmp_path / "grey.png").colours.astype(int)
    assert np.abs(found - smooth()[..., :1]).max() <= 1  # grey is grey in every space with this curve


def test_opacity_is_read_and_turned(tmp_path: Path) -> None:
    alpha = np.where(np.arange(WIDTH) < 40, 255, 0).astype(np.uint8) * np.ones((HEIGHT, 1), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.dstack([smooth(), alpha])[::-1, ::-1]).save(tmp_path / "a.png", exif=exif.tobytes())
    found = read_pixels(tmp_path / "a.png", upright=True)
    assert found.alpha is not None
    assert np.array_equal(found.alpha, alpha)
    assert np.array_equal(found.colours[alpha > 0], smooth()[alpha > 0])
    stored = read_pixels(tmp_path / "a.png")
    assert stored.alpha is not None
    assert np.array_equal(stored.alpha, alpha[::-1, ::-1])


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_large_images_are_reduced_by_averaging(suffix: str, tmp_path: Path) -> None:
    whole = np.repeat(np.repeat(smooth(), 8, 0), 8, 1)
    Image.fromarray(whole).save(tmp_path / f"a.{suffix}", quality=98)
    found = read_pixels(tmp_path / f"a.{suffix}", 120)
    assert found.size == (8 * WIDTH, 8 * HEIGHT)
    assert found.colours.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found.colours.astype(int) - smooth()).max() <= 6
    # Never below the size that was asked for.
    assert read_pixels(tmp_path / f"a.{suffix}", 121).colours.shape[1] >= 121
    assert read_pixels(tmp_path / f"a.{suffix}", 961).colours.shape[1] == 960


def test_jpeg_files_are_decoded_at_the_lower_resolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (4000, 3000), (200, 100, 50)).save(tmp_path / "a.jpg")
    sizes = []
    draft = JpegImageFile.draft

    def seen(image: JpegImageFile, mode: str | None, size: tuple[int, int]) -> object:
        done = draft(image, mode, size)
        sizes.append(image.size)
        return done

    monkeypatch.setattr(JpegImageFile, "draft", seen)
    found = read_pixels(tmp_path / "a.jpg", 500)
    assert sizes == [(500, 375)]
    assert found.size == (4000, 3000)


def test_images_of_more_than_pillows_limit_are_read_and_more_than_ours_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.fromarray(smooth()).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_pixels(tmp_path / "a.png").size == (WIDTH, HEIGHT)
    assert Image.MAX_IMAGE_PIXELS == 1000
    # A bomb: 20,000 x 20,000 pixels in a file of a few kilobytes. It is refused before it is decoded.
    header = Image.new("1", (20_000, 20_000))
    buffer = io.BytesIO()
    header.save(buffer, "PNG")
    (tmp_path / "bomb.png").write_bytes(buffer.getvalue())
    tracemalloc.start()
    with pytest.raises(InputError) as refused:
        read_pixels(tmp_path / "bomb.png")
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()
    assert str(refused.value) == (
        f"{tmp_path / 'bomb.png'} has 20000 x 20000 pixels, more than 250 million: give it with fewer"
    )
    with pytest.raises(InputError, match="more than 250 million"):
        read_size(tmp_path / "bomb.png")


def test_of_several_pictures_the_main_one_is_used_with_a_warning(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    burst = heif.from_pillow(Image.new("RGB", (WIDTH, HEIGHT)))
    burst.add_from_pillow(Image.fromarray(smooth()))
    burst.save(tmp_path / "burst.heic", quality=98, primary_index=1)
    first, second = Image.fromarray(smooth()), Image.new("RGB", (WIDTH, HEIGHT))
    first.save(tmp_path / "moving.webp", save_all=True, append_images=[second], lossless=True)
    for name in ("burst.heic", "moving.webp"):
        with pytest.warns(ProtomeWarning, match=rf"{name} holds 2 pictures: its main one is used$"):
            found = read_pixels(tmp_path / name).colours
        assert np.abs(found.astype(int) - smooth()).max() <= 6


def test_a_depth_map_is_no_second_picture(tmp_path: Path) -> None:
    """Phones store it behind the photo in JPEG files (MPO)."""
    Image.fromarray(smooth()).save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[Image.new("L", (60, 40))], quality=98
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_pixels(tmp_path / "a.jpg").colours
    assert np.abs(found.astype(int) - smooth()).max() <= 6


def test_a_missing_reader_of_heic_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"anything")
    with pytest.raises(InputError) as refused:
        read_pixels(tmp_path / "a.heic")
    assert str(refused.value) == (
        f"{tmp_path / 'a.heic'} is a HEIC file, which pillow-heif reads: run `pip install pillow-heif`"
    )
