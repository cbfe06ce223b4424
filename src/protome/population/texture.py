"""Pictures laid on surfaces, looked up by texture coordinates."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8


def texels(picture: UInt8[np.ndarray, "h w c"], uv: Float[np.ndarray, "n 2"]) -> UInt8[np.ndarray, "n c"]:
    """Return a picture's pixels at texture coordinates, v up; beyond the picture its border is repeated."""
    height, width = picture.shape[:2]
    row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return picture[row, np.clip((uv[:, 0] * width).astype(int), 0, width - 1)]
