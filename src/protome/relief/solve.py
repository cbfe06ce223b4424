"""The height whose shading explains the fine brightness of a photo: least squares on the photo's own pixels.

SIDER's losses are kept, in the logarithm of brightness and linear in a height over the coarse face: agreement with the
photo by one law of shading, distance to the coarse face, and smoothness. A height has no position as an input of a
network, so no direction of the image is preferred; derivatives are taken in the spectrum for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Complex64, Float32
from scipy import fft

_Linear = Callable[[Float32[np.ndarray, "h w"]], Float32[np.ndarray, "h w"]]


@dataclass(frozen=True)
class HeightConfig:
    """Weights of the least squares; lengths are in millimetres on the face."""

    occlusion: float = 0.25
    """Loss of light in a groove, per slope of its sides: it sees less of the surroundings. Of a wave of height h and
    wave number k the logarithm of brightness changes by this times k h."""
    slope: float = 0.1
    """Weight of the slopes: the square of what in the logarithm of brightness is not shading, over that of slopes.

    Where the mean response to a slope is as large, noise in the photo makes waves of all directions alike."""
    widest: float = 1.8
    """Waves much longer than this times 2 pi stay the coarse face's."""
    finest: float = 0.25
    """Waves much shorter than this times 2 pi are smoothed away."""
    gain: float = 1.35
    """Factor of the result, against the shrinkage by the slopes' weight."""
    outlier: float = 0.3
    """Deviation in the logarithm of brightness that counts half: moles, hairs and highlights are no shading."""
    rounds: int = 3
    """Solutions with weights from the one before."""
    iterations: int = 14
    """Conjugate gradient steps in each."""


@dataclass(frozen=True)
class Shading:
    """What a photo's brightness says about a height, by pixel."""

    detail: Float32[np.ndarray, "h w"]
    """Logarithm of the brightness, relative to that of the coarse face and without what is wide."""
    right: Float32[np.ndarray, "h w"]
    """Change of that logarithm per rise of the height by one millimetre from a pixel to the next one to the right."""
    down: Float32[np.ndarray, "h w"]
    """The same downwards."""
    sure: Float32[np.ndarray, "h w"]
    """Weight of each pixel, 0 to 1."""
    pixel_mm: float
    """Millimetres on the face that a pixel covers."""


def solve_height(shading: Shading, config: HeightConfig) -> Float32[np.ndarray, "h w"]:
    """Return the height in millimetres along the coarse face's normals, 0 where the photo says nothing.

    It minimises sum w (d - A h)^2 + slope (|grad h|^2 + |h|^2 / widest^2 + finest^2 |laplace h|^2), where d is the
    detail and A h = right h_x + down h_y + occlusion |k| h.
    """
    waves = _Waves.of(shading.detail.shape, shading.pixel_mm)
    occlusion = np.float32(config.occlusion)
    # Slopes are per millimetre.
    right, down = shading.right * shading.pixel_mm, shading.down * shading.pixel_mm
    prior = np.float32(config.slope) * (waves.square + 1 / config.widest**2 + config.finest**2 * waves.square**2)
    response = np.float32(np.average((right**2 + down**2) / 2 + occlusion**2, weights=shading.sure + 1e-6))

    def system(height: Float32[np.ndarray, "h w"], sure: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        known = waves.forward(height)
        x, y, deep = waves.back(known * waves.x), waves.back(known * waves.y), waves.back(known * waves.length)
        told = sure * (right * x + down * y + occlusion * deep)
        return waves.back(_adjoint(waves, right * told, down * told, occlusion * told) + prior * known)

    inverse = 1 / (response * waves.square + prior)

    def eased(value: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        return waves.back(waves.forward(value) * inverse)

    height, sure = np.zeros_like(shading.detail), shading.sure
    for _ in range(config.rounds):
        told = sure * shading.detail
        wanted = waves.back(_adjoint(waves, right * told, down * told, occlusion * told))
        height = _conjugate_gradient(partial(system, sure=sure), wanted, height, eased, config.iterations)
        known = waves.forward(height)
        explained = right * waves.back(known * waves.x) + down * waves.back(known * waves.y)
        explained += occlusion * waves.back(known * waves.length)
        off = (shading.detail - config.gain * explained) / np.float32(config.outlier)
        sure = (shading.sure / (1 + off**2)).astype(np.float32)
    return np.float32(config.gain) * height


def gradient(
    height: Float32[np.ndarray, "h w"], pixel_mm: float
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Return the height's rise per pixel to the right and downwards; it is 0 at the image's border."""
    waves = _Waves.of(height.shape, pixel_mm)
    known = waves.forward(height) * np.float32(pixel_mm)
    return waves.back(known * waves.x), waves.back(known * waves.y)


@dataclass(frozen=True)
class _Waves:
    """The spectrum of an image, in wave numbers per millimetre."""

    shape: tuple[int, int]
    padded: tuple[int, int]
    x: Complex64[np.ndarray, "a b"]
    """Factor of the derivative to the right."""
    y: Complex64[np.ndarray, "a b"]
    square: Float32[np.ndarray, "a b"]
    length: Float32[np.ndarray, "a b"]

    @staticmethod
    def of(shape: tuple[int, ...], pixel_mm: float) -> _Waves:
        padded = (fft.next_fast_len(shape[0] + 16, real=True), fft.next_fast_len(shape[1] + 16, real=True))
        down = 2 * np.pi * fft.fftfreq(padded[0], pixel_mm)[:, None]
        right = 2 * np.pi * fft.rfftfreq(padded[1], pixel_mm)[None]
        square = (down**2 + right**2).astype(np.float32)
        ends = np.pi / pixel_mm * 0.999
        x = np.where(right < ends, 1j * right, 0) + 0 * down
        y = np.where(np.abs(down) < ends, 1j * down, 0) + 0 * right
        return _Waves(
            (shape[0], shape[1]), padded, x.astype(np.complex64), y.astype(np.complex64), square, np.sqrt(square)
        )

    def forward(self, image: Float32[np.ndarray, "h w"]) -> Complex64[np.ndarray, "a b"]:
        spectrum: Complex64[np.ndarray, "a b"] = fft.rfft2(image, self.padded)
        return spectrum

    def back(self, spectrum: Complex64[np.ndarray, "a b"]) -> Float32[np.ndarray, "h w"]:
        image: Float32[np.ndarray, "h w"] = fft.irfft2(spectrum, self.padded)[: self.shape[0], : self.shape[1]]
        return image


def _adjoint(
    waves: _Waves,
    right: Float32[np.ndarray, "h w"],
    down: Float32[np.ndarray, "h w"],
    deep: Float32[np.ndarray, "h w"],
) -> Complex64[np.ndarray, "a b"]:
    total = -waves.x * waves.forward(right) - waves.y * waves.forward(down)
    spectrum: Complex64[np.ndarray, "a b"] = total + waves.length * waves.forward(deep)
    return spectrum


def _conjugate_gradient(
    system: _Linear,
    wanted: Float32[np.ndarray, "h w"],
    start: Float32[np.ndarray, "h w"],
    precondition: _Linear,
    iterations: int,
) -> Float32[np.ndarray, "h w"]:
    """Return an approximate solution of a symmetric positive definite system."""
    value = start
    left = wanted - system(value)
    eased = precondition(left)
    way, size = eased, float((left * eased).sum())
    for _ in range(iterations):
        if size <= 1e-20:
            break
        image = system(way)
        step = np.float32(size / float((way * image).sum()))
        value = value + step * way
        left = left - step * image
        eased = precondition(left)
        size, before = float((left * eased).sum()), size
        way = eased + np.float32(size / before) * way
    return value
