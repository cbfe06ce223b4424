"""Pictures of noise that repeat in both directions, and their look-up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8

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
    picture: Float[np.ndarray, "256 256"], first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """Return a repeating picture at places counted in its lengths: `first` along rows, `second` along columns."""
    last = SIZE - 1
    row, column = (first * SIZE).astype(np.int32) & last, (second * SIZE).astype(np.int32) & last
    return picture.ravel().take(row * SIZE + column)


@dataclass(frozen=True)
class TexelMap:
    """Places in square textures of one size, for repeated look-up."""

    x: Float[np.ndarray, "r 4096"]
    y: Float[np.ndarray, "r 4096"]
    count: int

    @staticmethod
    def of(u: Float[np.ndarray, "n"], v: Float[np.ndarray, "n"], size: int) -> TexelMap:
        """Return the places of texture coordinates (v up) in textures of `size` texels a side."""
        count = len(u)
        # OpenCV's pictures of coordinates may not be higher than 32767 pixels.
        rows = max(-(-count // 4096), 1)
        x, y = np.zeros(rows * 4096, np.float32), np.zeros(rows * 4096, np.float32)
        x[:count], y[:count] = u * np.float32(size) - np.float32(0.5), (1 - v) * np.float32(size) - np.float32(0.5)
        return TexelMap(x.reshape(rows, 4096), y.reshape(rows, 4096), count)

    def texels(self, picture: UInt8[np.ndarray, "s s ..."]) -> UInt8[np.ndarray, "n ..."]:
        """Return a texture between its texels."""
        found = cv2.remap(picture, self.x, self.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return found.reshape(-1, *picture.shape[2:])[: self.count]
