"""The camera's lattice taken out of a height: waves along rows and columns count as much as diagonal ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32
from scipy import fft

from protome.relief.streaks import TILE, streaks

_LONGEST = 20.0
"""Pixels; longer waves are left as they are, and from half of that on shorter ones are evened fully."""
_MOST = 0.6
"""Limit of the logarithm of the energy's correction along an axis."""
_SECTOR = 2 / np.pi
"""Mean of cos 4a over the directions a that are nearer to an axis than to a diagonal."""
_ROUNDS = 3


def evened(height: Float32[np.ndarray, "h w"], skin: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Return a height whose short waves on plain skin run along the image's axes as much as along its diagonals.

    Lenses, skin and light do not know where a picture's rows lie. Pixels, enlarging and JPEG's blocks do: they change
    waves by their direction a, alike after a quarter of a turn, so by a function of cos 4a at first. Its factor is that
    which brings the skin's `protome.relief.streaks.streaks` to 1. Wrinkles have one direction, not four, and keep
    their strength within the few per cent of the factor. Where there is too little skin the height stays as it is.
    """
    if min(height.shape) < TILE:
        return height
    padded = [fft.next_fast_len(side + 16, real=True) for side in height.shape]
    down, right = fft.fftfreq(padded[0])[:, None], fft.rfftfreq(padded[1])[None]
    wave = np.hypot(down, right)
    fourfold = np.cos(4 * np.arctan2(down, right)) * np.clip(wave * _LONGEST - 1, 0, 1)
    spectrum = fft.rfft2(height, padded)
    total, result = 0.0, height
    for _ in range(_ROUNDS):
        found = streaks(result, skin)
        if not np.isfinite(found):
            break
        total = float(np.clip(total + np.log(found) / (2 * _SECTOR), -_MOST, _MOST))
        changed = fft.irfft2(spectrum * np.exp(-0.5 * total * fourfold), padded)
        result = changed[: height.shape[0], : height.shape[1]].astype(np.float32)
    return result
