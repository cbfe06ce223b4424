"""Mask files in the usual forms: which values of a file mark the person, and which files mark nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from protome.errors import InputError
from protome.util.bit_depth import grey_levels, is_deep
from protome.util.image_files import open_image

MASK_ENDING = ".mask.png"
COLOURED, COLOURED_SHARE = 0.2, 0.02
"""A file is coloured where channels differ by more than the first on more than the second of its pixels; the rest is
what JPEG makes of grey."""
CONTRAST = 0.4
"""Least difference between the dark and the bright pixels of a channel that separates person and background."""
INVERTED_BORDER, INVERTED_INSIDE = 0.25, 0.06
"""A mask is inverted where background makes up less than the first share of its upper border, but more than the second
share of what lies inside, and twice the share of the border: background reaches the border, and a person need not."""
SPECK = 1e-4
"""Share of the pixels up to which what is marked is an error rather than a person."""


def is_mask_file(path: Path) -> bool:
    """Return whether a file is, by its name, the mask of a photo beside it."""
    return path.name.lower().endswith(MASK_ENDING)


def mask_file_of(photo: Path) -> Path | None:
    """Return the mask beside a photo, `NAME.mask.png` without or with the photo's own suffix, or None."""
    candidates = (photo.with_name(f"{stem}{MASK_ENDING}") for stem in (photo.stem, photo.name))
    return next((path for path in candidates if path.is_file() and path != photo), None)


def read_mask_values(path: Path) -> Float[np.ndarray, "h w"]:
    """Read a mask file's values in [0, 1], 1 on the person, in any of the forms of `mask_values`.

    Raises:
        InputError: it cannot be read, is too large, or is a picture in colours.
    """
    try:
        with open_image(path) as opened:
            return mask_values(opened, path)
    except InputError:
        raise
    except Exception as error:  # image decoders raise all kinds of errors on broken files
        raise InputError(f"{path} cannot be read as a mask: give a PNG file") from error


def mask_values(opened: Image.Image, path: Path) -> Float[np.ndarray, "h w"]:
    """Return a mask file's values in [0, 1], 1 on the person.

    The mask may be grey, with white as 1, 255 or 65535 or any single value beside 0; the opacity; or one channel of a
    coloured picture, or its one colour beside black.

    Raises:
        InputError: the picture is in colours and holds no mask.
    """
    if is_deep(opened):
        values = np.nan_to_num(np.asarray(opened, np.float64), posinf=0.0, neginf=0.0)
        return stretched(values) if _has_two_levels(values) else grey_levels(opened)
    if opened.mode in ("1", "L") and not opened.has_transparency_data:
        return stretched(np.asarray(opened.convert("L"), np.float32) / 255.0)
    stored = np.asarray(opened.convert("RGBA"), np.float32) / 255.0
    alpha = stored[..., 3]
    if opened.has_transparency_data and alpha.min() < alpha.max():
        return stretched(alpha)
    return stretched(_channel(stored[..., :3], path))


def stretched(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return a mask with 1 for its only value beside 0, which often is 1 where 255 is white; else as it is."""
    return (values > 0).astype(values.dtype) if _has_two_levels(values) else values


def check_mask(mask: Float[np.ndarray, "h w"], what: str, image: Path) -> None:
    """Refuse a mask that marks no pixel, or the wrong ones, as person.

    `what` names the mask in messages, `image` is the file of its image.

    Raises:
        InputError: it is black everywhere, far from white everywhere, or inverted.
    """
    person = mask > 0.5
    if not mask.max() > 0:
        raise InputError(f"{what} is black everywhere: paint the person white in it, or leave {image.name} out")
    if person.mean() <= SPECK:
        raise InputError(
            f"{what} has no white, its brightest value is {100 * mask.max():.0f} % of it: paint the person white, or "
            f"leave {image.name} out"
        )
    if is_inverted(person):
        raise InputError(f"{what} is inverted, with the background white: paint the person white instead")


def is_inverted(person: Bool[np.ndarray, "h w"]) -> bool:
    """Return whether a mask's border is person and what it encloses is not.

    The lower third does not count, because bodies reach the border there.
    """
    upper = ~person[: len(person) - len(person) // 3]
    rim = max(1, min(person.shape) // 50)
    border = np.concatenate([upper[:rim].ravel(), upper[rim:, :rim].ravel(), upper[rim:, -rim:].ravel()]).mean()
    inside = upper[rim:, rim:-rim]
    share = inside.mean() if inside.size else 0.0
    return bool(border < INVERTED_BORDER and share > max(INVERTED_INSIDE, 2 * border))


def _has_two_levels(values: Float[np.ndarray, "h w"]) -> bool:
    return bool(values.max() > 0) and bool(((values == 0) | (values == values.max())).all())


def _channel(colours: Float[np.ndarray, "h w 3"], path: Path) -> Float[np.ndarray, "h w"]:
    """Return the values of a mask that is stored as a picture in RGB.

    Raises:
        InputError: it is a picture of many colours.
    """
    if not _differ(colours):
        return colours.mean(2)
    low, high = np.percentile(colours.reshape(-1, 3), [0.5, 99.5], axis=0)
    separating = colours[..., high - low > CONTRAST]
    if separating.shape[2] and not _differ(separating):
        return separating.mean(2)
    flat = np.unique(np.rint(255 * colours).astype(np.int64) @ [65536, 256, 1])
    if len(flat) == 2 and flat[0] == 0:
        return colours.max(2)
    raise InputError(
        f"the mask {path} is a picture in colours: give one that is white on the person and black elsewhere"
    )


def _differ(channels: Float[np.ndarray, "h w k"]) -> bool:
    return bool((np.ptp(channels, axis=2) > COLOURED).mean() > COLOURED_SHARE)
