"""Image files with more than eight bits for each value, which Pillow would clip instead of scaling."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Num
from PIL import Image

STRIP = 4_000_000
"""Pixels that are converted at once."""
TOPS = (255.0, 65535.0)
"""What white can be in a file of whole numbers: many programs store 8 bits in files that have room for 16 or 32."""


def is_deep(image: Image.Image) -> bool:
    """Return whether the values are grey ones of 16 or 32 bits, whole numbers or not; deep RGB is scaled by Pillow."""
    return image.mode.startswith("I") or image.mode == "F"


def grey_levels(image: Image.Image) -> Float[np.ndarray, "h w"]:
    """Return a deep image's values, white as 1: the least of the usual tops that holds them all, else the largest.

    Floating-point images may also have 1 as their top. What is not finite is black.
    """
    values = np.asarray(image)
    return _scaled(values, _top(values))


def _top(values: Num[np.ndarray, "h w"]) -> float:
    """Return the value of white."""
    floating = np.issubdtype(values.dtype, np.floating)
    largest = float(values.max(initial=0, where=np.isfinite(values)) if floating else values.max(initial=0))
    tops = (1.0, *TOPS) if floating else TOPS
    return next((top for top in tops if largest <= top), largest)


def _scaled(values: Num[np.ndarray, "h w"], top: float) -> Float[np.ndarray, "h w"]:
    """Return values with white as 1."""
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(finite / top, 0.0, 1.0)


def eight_bits(image: Image.Image) -> Image.Image:
    """Return the image with eight bits for each value; one that has no more stays as it is."""
    if not is_deep(image):
        return image
    # In strips, because the numbers need many times as much memory as the image.
    top, height = _top(np.asarray(image)), max(1, STRIP // max(1, image.width))
    strips = [
        np.rint(255 * _scaled(np.asarray(image.crop((0, start, image.width, min(start + height, image.height)))), top))
        .astype(np.uint8)
        for start in range(0, image.height, height)
    ]  # fmt: skip
    return Image.fromarray(np.concatenate(strips))
