"""Image files of every usual format as pixels in sRGB with eight bits for each value."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageCms

from protome.errors import InputError, ProtomeWarning
from protome.util.bit_depth import eight_bits, is_deep

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".bmp")
HEIF_SUFFIXES = (".heic", ".heif")
MOST_PIXELS = 250_000_000
"""Larger files are refused: decoded, they need gigabytes of memory, and some are made to exhaust it."""
MOST_LARGE_PIXELS = 125_000_000
"""The same for files that need more memory for each pixel: with opacity, or with more than eight bits of grey."""
INSTALL_HEIF = "pip install pillow-heif"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation (EXIF 2.32, tag 0x0112)."""
SWAPPING = (5, 6, 7, 8)
"""The orientations that swap width and height."""
ANIMATIONS = ("GIF", "WEBP", "PNG", "TIFF", "HEIF", "AVIF")
"""Formats in which further pictures of a file are equals of the first: frames, pages, a burst. The further pictures of
a phone's JPEG (format MPO) are its depth and brightness maps."""


@dataclass(frozen=True)
class Pixels:
    """What was decoded of one image file."""

    colours: UInt8[np.ndarray, "h w 3"]
    """sRGB."""
    alpha: UInt8[np.ndarray, "h w"] | None
    """Opacity; None where the file has none or every pixel is opaque."""
    size: tuple[int, int]
    """Width and height of the whole image; the pixels are fewer where it was reduced."""
    tags: dict[int, object]
    """EXIF tags, those of the camera included."""


def read_pixels(path: Path, largest: int | None = None, upright: bool = False) -> Pixels:
    """Decode an image file: embedded colour profiles converted to sRGB, at most `MOST_PIXELS`.

    An image whose longer side has twice `largest` pixels or more is reduced by a whole number, by averaging; its longer
    side still has at least `largest`. JPEG files are decoded at the lower resolution at once. `upright` applies the
    EXIF orientation. A profile that cannot be used is ignored with a `ProtomeWarning`, as are further frames.

    Raises:
        InputError: the file cannot be read, is too large, or is a HEIC file and pillow-heif is not installed.
    """
    try:
        with open_image(path) as opened:
            _warn_of_frames(opened, path)
            size = opened.size
            factor = 1 if largest is None else max(1, max(size) // largest)
            if factor > 1:
                # The decoder halves the size up to three times, and never below what is asked for.
                opened.draft(None, (math.ceil(size[0] / factor), math.ceil(size[1] / factor)))
                factor = max(1, max(opened.size) // (largest or 1))
            image = _plain(opened)
            profile = opened.info.get("icc_profile")
            # Decoders that turn the image themselves take the orientation away when they do.
            exif = opened.getexif()
            tags = dict(exif) | dict(exif.get_ifd(ExifTags.IFD.Exif))
            image = image.reduce(factor) if factor > 1 else image
            if upright:
                image = turned(image, tags.get(ExifTags.Base.Orientation))
                if tags.get(ExifTags.Base.Orientation) in SWAPPING:
                    size = size[::-1]
            alpha = np.array(image.getchannel("A")) if image.mode in ("RGBA", "LA") else None
            colours = np.array(_in_srgb(_without_alpha(image), profile, path))
    except InputError:
        raise
    except Exception as error:  # image decoders raise all kinds of errors on broken files
        raise _unreadable(path) from error
    return Pixels(colours, None if alpha is None or alpha.min() == 255 else alpha, size, tags)


def read_size(path: Path) -> tuple[int, int]:
    """Return an image's width and height without decoding its pixels.

    Raises:
        InputError: as `read_pixels`.
    """
    try:
        with open_image(path) as opened:
            return opened.size
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path) from error


def open_image(path: Path) -> Image.Image:
    """Open an image file of up to `MOST_PIXELS`; nothing is decoded yet.

    Raises:
        InputError: it is larger, or is a HEIC file and pillow-heif is not installed. Files that are no images raise
            other errors.
    """
    if path.suffix.lower() in HEIF_SUFFIXES:
        try:
            import pillow_heif
        except ImportError as error:
            raise InputError(f"{path} is a HEIC file, which pillow-heif reads: run `{INSTALL_HEIF}`") from error
        pillow_heif.register_heif_opener()
    # Pillow's own limit is lower, and raises an error of another kind.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        image = Image.open(path)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    most = MOST_LARGE_PIXELS if image.has_transparency_data or is_deep(image) else MOST_PIXELS
    if image.width * image.height > most:
        image.close()
        raise InputError(
            f"{path} has {image.width} x {image.height} pixels, more than {most // 10**6} million: give it with fewer"
        )
    return image


def _warn_of_frames(image: Image.Image, path: Path) -> None:
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format in ANIMATIONS:
        warnings.warn(f"{path} holds {count} pictures: its main one is used", ProtomeWarning, stacklevel=3)


def _plain(image: Image.Image) -> Image.Image:
    """Return the image in one of the modes L, LA, RGB, RGBA and CMYK; palettes are looked up."""
    image = eight_bits(image)
    if image.mode in ("L", "RGB", "CMYK") and not image.has_transparency_data:
        image.load()
        return image  # no copy: it may fill a gigabyte
    if image.has_transparency_data:
        return image.convert("LA" if image.mode == "LA" else "RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def turned(image: Image.Image, orientation: object) -> Image.Image:
    """Return the image upright by its EXIF orientation; as it is where that is none of the eight."""
    way = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if way is None else image.transpose(way)


def _without_alpha(image: Image.Image) -> Image.Image:
    return image.convert({"RGBA": "RGB", "LA": "L"}.get(image.mode, image.mode))


def _in_srgb(image: Image.Image, profile: bytes | None, path: Path) -> Image.Image:
    """Return the image in sRGB by its embedded profile, relative colorimetric, or as it is if it has none."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if source.profile.xcolor_space.strip() == "RGB" and image.mode == "L":
                image = image.convert("RGB")
            if image.mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
                return image
            return _converted(image, source)
        except (ImageCms.PyCMSError, OSError, ValueError):
            warnings.warn(
                f"the colour profile in {path} cannot be used: its colours are taken as sRGB",
                ProtomeWarning,
                stacklevel=4,
            )
    return image.convert("RGB")


def _converted(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    target = ImageCms.createProfile("sRGB")
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    changed = ImageCms.profileToProfile(image, source, target, renderingIntent=intent, outputMode="RGB")
    assert changed is not None  # None only where it works in place
    return changed


def _unreadable(path: Path) -> InputError:
    return InputError(f"{path} cannot be read as an image: give a JPEG, PNG, WebP, TIFF, HEIC or AVIF file")
