"""Masks that come with a photo: a file beside it, or the opacity of a cut-out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from protome.errors import InputError
from protome.scenes.masks import check_mask, read_mask_values
from protome.scenes.pictures import opacity_mask
from protome.util.image_files import turned

LEAST_SHARE, LEAST_DECIDED = 0.02, 0.8
"""A cut-out has at least the first share of its pixels fully transparent, as many fully opaque, and both together the
second share; what else has an opacity is a faded picture or a window with round corners."""
TRANSPARENT, OPAQUE = 8, 247
"""Opacities of 255 up to and from which a pixel counts as fully transparent or opaque."""
SAME_PROPORTIONS = 0.01


def read_photo_mask(path: Path, photo: Path, size: tuple[int, int], orientation: object) -> Float[Tensor, "h w"]:
    """Read the mask of an upright photo of this width and height, in any of the ways `protome.scenes.masks` knows.

    The mask may be drawn on the photo as it is seen or, where EXIF turns the photo, as it is stored, and in any
    resolution.

    Raises:
        InputError: it cannot be read, has other proportions, or marks no pixel or the wrong ones as person.
    """
    values = read_mask_values(path).astype(np.float32)
    if not _fits(values, size) and _fits(values, size[::-1]):
        values = np.asarray(turned(Image.fromarray(values), orientation))
    if not _fits(values, size):
        raise InputError(
            f"{path} has {values.shape[1]} x {values.shape[0]} pixels but its photo {photo.name} has {size[0]} x "
            f"{size[1]}: give a mask of the photo's size"
        )
    check_mask(values, f"the mask {path}", photo)
    return torch.from_numpy(np.array(values))


def cut_out(alpha: UInt8[np.ndarray, "h w"], photo: Path) -> Float[Tensor, "h w"] | None:
    """Return the opacity of a photo as its mask if the photo is a cut-out, else None.

    Raises:
        InputError: the cut-out marks the wrong pixels as person.
    """
    clear, full = float((alpha <= TRANSPARENT).mean()), float((alpha >= OPAQUE).mean())
    if min(clear, full) < LEAST_SHARE or clear + full < LEAST_DECIDED:
        return None
    return opacity_mask(torch.from_numpy(alpha.astype(np.float32) / 255.0), photo)


def _fits(values: Float[np.ndarray, "h w"], size: tuple[int, int]) -> bool:
    height, width = values.shape
    return abs(width * size[1] / (height * size[0]) - 1) < SAME_PROPORTIONS
