"""Image files with more than eight bits for each value, which Pillow would clip instead of scaling."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from PIL import Image

TOPS = (255.0, 65535.0)
"""What white can be in a file of whole numbers: many programs store 8 bits in files that have room for 16 or 32."""


def is_deep(image: Image.Image) -> bool:
    """Return whether the values are grey ones of 16 or 32 bits, whole numbers or not; deep RGB is scaled by Pillow."""
    return image.mode.startswith("I") or image.mode == "F"


def grey_levels(image: Image.Image) -> Float[np.ndarray, "h w"]:
    """Return a deep image's values, white as 1: the least of the usual tops that holds them all, else the largest.

    Floating-point images may also have 1 as their top. What is not finite is black.
    """
    values = np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(values.max(initial=0.0))
    tops = (1.0, *TOPS) if image.mode == "F" else TOPS
    return np.clip(values / next((top for top in tops if largest <= top), largest), 0.0, 1.0)


def eight_bits(image: Image.Image) -> Image.Image:
    """Return the image with eight bits for each value; one that has no more stays as it is."""
    if not is_deep(image):
        return image
    return Image.fromarray(np.rint(255 * grey_levels(image)).astype(np.uint8))
