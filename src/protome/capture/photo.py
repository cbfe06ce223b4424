"""A photo as a camera or a phone writes it: upright pixels in sRGB and, where the file records it, the focal length."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import ExifTags
from torch import Tensor

from protome.capture.photo_mask import cut_out, read_photo_mask
from protome.errors import InputError, ProtomeWarning
from protome.scene import LARGEST_SIDE, VideoFrame
from protome.scenes.masks import mask_file_of
from protome.scenes.pictures import resampled
from protome.util.image_files import SWAPPING, Pixels, read_pixels

SMALLEST_SIDE = 64
"""Pixels; a face in anything smaller carries no shape."""
FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
"""The frame that "35 mm equivalent" focal lengths refer to (CIPA DCG-001: equal diagonal angles of view)."""
PLAUSIBLE_FILM_MM = (6.0, 2000.0)
"""Shortest and longest 35 mm equivalent focal length that lenses have; others are errors of the program that wrote
them."""
INCH_MM = 25.4
INFINITE_M = 1e5
"""Recorded subject distances from which they mean infinity, metres."""
ALL_WHITE = 0.999
"""Mean of a mask that leaves nothing out."""
_SIZES = (
    (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight),
    (ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength),
)
"""Tags of the sizes that files record."""
SAME_PROPORTIONS = 1.02
"""Ratio of two sizes' proportions up to which one is the other resampled."""


@dataclass(frozen=True)
class Photo:
    """One photo, upright."""

    name: str
    """The file's name, and for a frame of a video its number; for messages and results."""
    image: Float[Tensor, "h w 3"]
    """RGB in [0, 1], sRGB."""
    focal_px: float | None = None
    """Focal length in pixels of `image`, where the file records it."""
    mask: Float[Tensor, "h w"] | None = None
    """1 on the person, where a mask was given: a file beside the photo or the opacity of a cut-out."""
    mask_file: Path | None = None
    """Where the mask was read from."""
    frame: VideoFrame | None = None
    """Where in a video the photo comes from."""
    shown: str = ""
    """What messages call the photo: its path as it was given, or the frame and its video's."""
    lens: str = ""
    """Photos with equal names were probably taken with one lens and have the same number of pixels: by camera, focal
    length and size where the file records them, otherwise by size alone."""
    recorded_mm: float | None = None
    """Distance to the subject that the file records, millimetres."""


def load_photo(path: str | Path) -> Photo:
    """Read a photo: EXIF orientation applied, sRGB, at most `LARGEST_SIDE` pixels on its longer side.

    Grey images become RGB. Transparent pixels are laid over white, the usual page behind such files. The photo's mask
    is `NAME.mask.png` beside it, else the opacity of a cut-out. A focal length that no lens has is ignored with a
    `ProtomeWarning`.

    Raises:
        InputError: no such file, not an image, smaller than `SMALLEST_SIDE` pixels on a side, larger than can be read,
            or its mask is unusable.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a photo: give image files")
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the path of a photo")
    pixels = read_pixels(path, LARGEST_SIDE, upright=True)
    width, height = pixels.size
    if min(width, height) < SMALLEST_SIDE:
        raise InputError(
            f"{path} has only {width} x {height} pixels: give a photo with at least {SMALLEST_SIDE} on each side"
        )
    height_now, width_now = (round(side * min(1.0, LARGEST_SIDE / max(width, height))) for side in (height, width))
    image = resampled(torch.from_numpy(_on_white(pixels).astype(np.float32) / 255.0), width_now, height_now)
    mask_file = mask_file_of(path)
    mask: Float[Tensor, "_ _"] | None = None
    if mask_file is not None:
        mask = read_photo_mask(mask_file, path, (width, height), pixels.tags.get(ExifTags.Base.Orientation))
    elif pixels.alpha is not None:
        mask = cut_out(pixels.alpha, path)
    if mask is not None and float(mask.mean()) > ALL_WHITE:
        warnings.warn(f"the mask {mask_file} is white everywhere: one is made instead", ProtomeWarning, stacklevel=2)
        mask = None
    if mask is not None:
        mask, mask_file = resampled(mask, width_now, height_now), mask_file or path
    else:
        mask_file = None
    focal = focal_from_exif(pixels.tags, width, height, str(path))
    factor = min(1.0, LARGEST_SIDE / max(width, height))
    return Photo(
        path.name, image, None if focal is None else focal * factor, mask, mask_file, shown=str(path),
        lens=lens_name({} if focal is None else pixels.tags, width, height),
        recorded_mm=recorded_distance_mm(pixels.tags),
    )  # fmt: skip


def lens_name(tags: dict[int, object], width: int, height: int) -> str:
    """Return what photos of one lens have in common, upright and on their sides."""
    base = ExifTags.Base
    own = (base.Make, base.Model, base.LensModel, base.FocalLength, base.FocalLengthIn35mmFilm)
    recorded = [str(tags[tag]).strip("\0 ") for tag in own if tag in tags]
    return " ".join([*recorded, f"{max(width, height)} x {min(width, height)}"])


def focal_from_exif(tags: dict[int, object], width: int, height: int, name: str = "the photo") -> float | None:
    """Return the focal length in pixels of an upright image of this size, or None where the tags record none.

    Sources: EXIF 2.32, tags FocalLengthIn35mmFilm, or FocalLength with FocalPlaneXResolution. A recorded image size
    of other proportions means that the photo was cropped afterwards, which changes every angle: then None. So does a
    focal length that no lens has, with a `ProtomeWarning` that names the photo. Programs that make a photo smaller
    correct one of the two sizes that files record and leave the other one, and the resolution, as the camera wrote it.
    """
    is_turned = tags.get(ExifTags.Base.Orientation) in SWAPPING
    stored = (height, width) if is_turned else (width, height)
    factor = 1.0
    for names in _SIZES:
        recorded = [_positive(tags.get(name)) for name in names]
        if recorded[0] and recorded[1]:
            scale = _resized(stored, (recorded[0], recorded[1]))
            if scale is None:
                return None
            factor = min(factor, scale)
    film = _positive(tags.get(ExifTags.Base.FocalLengthIn35mmFilm))
    length = _positive(tags.get(ExifTags.Base.FocalLength))
    density = _positive(tags.get(ExifTags.Base.FocalPlaneXResolution))
    unit_mm = {2: INCH_MM, 3: 10.0, 4: 1.0}.get(int(_positive(tags.get(ExifTags.Base.FocalPlaneResolutionUnit)) or 2))
    px_of_film_mm = math.hypot(width, height) / FILM_DIAGONAL_MM
    found = [film * px_of_film_mm] if film else []
    if length and density and unit_mm:
        found.append(length * density / unit_mm * factor)
    shortest, longest = PLAUSIBLE_FILM_MM
    for focal in found:
        if shortest <= focal / px_of_film_mm <= longest:
            return focal
    if found:
        warnings.warn(
            f"{name} records a focal length of {found[0] / px_of_film_mm:.0f} mm (35 mm equivalent), which no lens "
            "has: it is ignored",
            ProtomeWarning,
            stacklevel=2,
        )
    return None


def _resized(stored: tuple[int, int], recorded: tuple[float, float]) -> float | None:
    """Return the stored size over the recorded one, or None where their proportions differ."""
    ratios = sorted((stored[0] / recorded[0], stored[1] / recorded[1]))
    swapped = sorted((stored[0] / recorded[1], stored[1] / recorded[0]))
    # Some programs turn the pixels and leave the recorded size as it was.
    ratios = min(ratios, swapped, key=lambda pair: pair[1] / pair[0])
    return None if ratios[1] / ratios[0] > SAME_PROPORTIONS else ratios[0]


def recorded_distance_mm(tags: dict[int, object]) -> float | None:
    """Return the distance to the subject that EXIF tags record (SubjectDistance, metres), or None.

    Zero stands for unknown and 0xFFFFFFFF for infinite (EXIF 2.32).
    """
    metres = _positive(tags.get(ExifTags.Base.SubjectDistance))
    return 1000.0 * metres if metres and metres < INFINITE_M else None


def _positive(value: object) -> float | None:
    """Return a tag as a positive finite number, or None: cameras write zeros and 0/0 for "unknown"."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _on_white(pixels: Pixels) -> UInt8[np.ndarray, "h w 3"]:
    """Return the colours with transparency laid over white."""
    if pixels.alpha is None:
        return pixels.colours
    alpha = pixels.alpha[..., None].astype(np.float32) / 255.0
    return np.rint(pixels.colours * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
