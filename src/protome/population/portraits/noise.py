"""Pictures of noise that repeat in both directions, and their look-up."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from jaxtyping import Float

SIZE = 256


@cache
def fractal() -> Float[np.ndarray, "256 256"]:
    """Return noise with a spectrum that falls with the frequency, mean 0 and deviation 1."""
    return _shaped(1.0, 0.0)


@cache
def fine() -> Float[np.ndarray, "256 256"]:
    """Return noise of pores and grain: only high frequencies, mean 0 and deviation 1."""
    return _shaped(0.3, 12.0)


@cache
def strands() -> Float[np.ndarray, "256 256"]:
    """Return noise that varies quickly along the first axis (across strands) and slowly along the second."""
    rng = np.random.default_rng(5)
    rough = rng.normal(size=(SIZE, SIZE))
    spectrum = np.fft.fft2(rough)
    across, along = np.abs(np.fft.fftfreq(SIZE)) * SIZE, np.abs(np.fft.fftfreq(SIZE)) * SIZE
    keep = np.exp(-0.5 * (along[None] / 3.0) ** 2) / (1 + across[:, None] / 90.0)
    made = np.fft.ifft2(spectrum * keep).real
    return (made / made.std()).astype(np.float32)


def _shaped(power: float, cut: float) -> np.ndarray:
    rng = np.random.default_rng(7 + int(cut))
    spectrum = np.fft.fft2(rng.normal(size=(SIZE, SIZE)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE))) * SIZE
    spectrum *= (frequency > cut) / np.maximum(frequency, 1) ** power
    spectrum[0, 0] = 0
    made = np.fft.ifft2(spectrum).real
    return (made / made.std()).astype(np.float32)


def look_up(
    picture: Float[np.ndarray, "h w"], first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """Return a repeating picture at places counted in its lengths: `first` along rows, `second` along columns."""
    size = picture.shape[0]
    return picture[(first * size).astype(np.int32) % size, (second * size).astype(np.int32) % size]


def texels(picture: np.ndarray, uv: Float[np.ndarray, "n 2"]) -> np.ndarray:
    """Return a texture (v up) between its texels, in its own type."""
    height, width = picture.shape[:2]
    count = len(uv)
    if not count:
        return np.zeros((0, *picture.shape[2:]), picture.dtype)
    # OpenCV's pictures of coordinates may not be higher than 32767 pixels.
    rows = -(-count // 4096)
    x, y = np.zeros(rows * 4096, np.float32), np.zeros(rows * 4096, np.float32)
    x[:count], y[:count] = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    found = cv2.remap(
        picture, x.reshape(rows, 4096), y.reshape(rows, 4096), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return found.reshape(rows * 4096, *picture.shape[2:])[:count]
