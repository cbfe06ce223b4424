"""A photo as it comes from a camera or a phone: pixels the right way up and, where the file tells, its focal length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from protome.errors import InputError
from protome.scene import LARGEST_SIDE
from protome.util.bit_depth import eight_bits

SMALLEST_SIDE = 64
"""Pixels; a face in anything smaller carries no shape."""
FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
"""The frame that "35 mm equivalent" focal lengths refer to (CIPA DCG-001: equal diagonal angles of view)."""
INCH_MM = 25.4
ORIENTATION_TURNED = 5
"""EXIF orientations from this one on swap rows and columns."""


@dataclass(frozen=True)
class Photo:
    """One photo, upright."""

    name: str
    """The file's name, for messages and results."""
    image: Float[Tensor, "h w 3"]
    """RGB in [0, 1], sRGB values as in the file."""
    focal_px: float | None = None
    """Focal length in pixels of `image`, where the file records it."""
    lens: str = ""
    """Photos with equal names were probably taken with one lens and have the same number of pixels: by camera, focal
    length and size where the file records them, otherwise by size alone."""


def load_photo(path: str | Path) -> Photo:
    """Read a photo: EXIF orientation applied, RGB, at most `LARGEST_SIDE` pixels on its longer side.

    Grey images become RGB. Transparent pixels are laid over white, the usual page behind such files.

    Raises:
        InputError: no such file, not an image, or smaller than `SMALLEST_SIDE` pixels on a side.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a photo: give image files")
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the path of a photo")
    try:
        with Image.open(path) as opened:
            # Tags first: transposing an image removes its orientation.
            tags = dict(opened.getexif()) | dict(opened.getexif().get_ifd(ExifTags.IFD.Exif))
            upright = _rgb(ImageOps.exif_transpose(opened))
    except Exception as error:  # image decoders raise all kinds of errors on broken files
        raise InputError(f"{path} cannot be read as an image: give a JPEG, PNG or WebP photo") from error
    width, height = upright.size
    if min(width, height) < SMALLEST_SIDE:
        raise InputError(
            f"{path} has only {width} x {height} pixels: give a photo with at least {SMALLEST_SIDE} on each side"
        )
    image = torch.from_numpy(np.asarray(upright, np.float32) / 255.0)
    factor = min(1.0, LARGEST_SIDE / max(width, height))
    if factor < 1:
        size = (round(height * factor), round(width * factor))
        image = torch.nn.functional.interpolate(image.permute(2, 0, 1)[None], size=size, mode="area")[0].permute(
            1, 2, 0
        )
    focal = focal_from_exif(tags, width, height)
    return Photo(
        path.name, image.contiguous(), None if focal is None else focal * factor,
        lens_name({} if focal is None else tags, width, height),
    )  # fmt: skip


def lens_name(tags: dict[int, object], width: int, height: int) -> str:
    """Return what photos of one lens have in common, upright and on their sides."""
    base = ExifTags.Base
    own = (base.Make, base.Model, base.LensModel, base.FocalLength, base.FocalLengthIn35mmFilm)
    recorded = [str(tags[tag]).strip("\0 ") for tag in own if tag in tags]
    return " ".join([*recorded, f"{max(width, height)} x {min(width, height)}"])


def focal_from_exif(tags: dict[int, object], width: int, height: int) -> float | None:
    """Return the focal length in pixels of an upright image of this size, or None where the tags do not tell.

    Sources: EXIF 2.32, tags FocalLengthIn35mmFilm, or FocalLength with FocalPlaneXResolution. A recorded image size
    of other proportions means that the photo was cropped afterwards, which moves every angle: then None.
    """
    recorded = (_positive(tags.get(ExifTags.Base.ExifImageWidth)), _positive(tags.get(ExifTags.Base.ExifImageHeight)))
    turned = (_positive(tags.get(ExifTags.Base.Orientation)) or 1) >= ORIENTATION_TURNED
    stored_width, stored_height = (height, width) if turned else (width, height)
    resized = 1.0
    if recorded[0] and recorded[1]:
        ratios = sorted((stored_width / recorded[0], stored_height / recorded[1]))
        swapped = sorted((stored_width / recorded[1], stored_height / recorded[0]))
        # Some programs turn the pixels and leave the recorded size as it was.
        ratios = min(ratios, swapped, key=lambda pair: pair[1] / pair[0])
        if ratios[1] / ratios[0] > 1.02:
            return None
        resized = ratios[0]
    film = _positive(tags.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if film:
        return film * math.hypot(width, height) / FILM_DIAGONAL_MM
    length = _positive(tags.get(ExifTags.Base.FocalLength))
    density = _positive(tags.get(ExifTags.Base.FocalPlaneXResolution))
    unit_mm = {2: INCH_MM, 3: 10.0, 4: 1.0}.get(int(_positive(tags.get(ExifTags.Base.FocalPlaneResolutionUnit)) or 2))
    if length and density and unit_mm:
        return length * density / unit_mm * resized
    return None


def _positive(value: object) -> float | None:
    """Return a tag as a positive finite number, or None: cameras write zeros and 0/0 for "unknown"."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB: deeper grey scaled, transparency laid over white."""
    image = eight_bits(image)
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        page = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        return Image.alpha_composite(page, layered).convert("RGB")
    return image.convert("RGB")
