"""A measure of streaks: whether a height's waves run along the image's axes rather than in all directions alike."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import fft

TILE = 24
"""Side of the square tiles whose spectra are averaged, pixels."""
_FEWEST = 16
"""Overlapping tiles, four to a side, without which there is too little skin."""
_CALM = 0.6
"""Share of the tiles that count: those with the least relief are smooth skin, others hold folds with a direction."""
_LONGEST, _SHORTEST = 10.0, 3.0
"""Range of wavelengths, pixels."""


def streaks(
    height: Float[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"] | None = None, calm: float = _CALM
) -> float:
    """Return the energy of a height's spectrum along the axes over that along the diagonals.

    Isotropic noise has 1; horizontal or vertical waves have more, diagonal ones less. A wave belongs to the axis or the
    diagonal that is nearer, within 22.5 degrees. Wavelengths are 3 to 10 pixels; the energy of each wave is relative to
    what is usual for its length, so that all lengths count alike, and all tiles do. It is the mean over tiles that lie
    `inside`, of which the given share with the least relief counts. NaN with too few tiles, or without relief.
    """
    if min(height.shape) < TILE:
        return float("nan")
    tiles = _tiles(_curvature(height), np.ones(height.shape, bool) if inside is None else inside)
    if len(tiles) < _FEWEST:
        return float("nan")
    y, x = np.mgrid[:TILE, :TILE] - (TILE - 1) / 2
    # A window that is alike in all directions leaks alike in all directions.
    window = np.cos(np.clip(np.hypot(x, y) / (TILE / 2), 0, 1) * np.pi / 2) ** 2
    plane = np.stack([np.ones_like(x), x, y], -1).reshape(-1, 3) * window.reshape(-1, 1)
    flat = (tiles * window).reshape(len(tiles), -1)
    flat = flat - (flat @ plane) @ np.linalg.pinv(plane.T @ plane) @ plane.T
    down, right = np.meshgrid(*[fft.fftfreq(TILE)] * 2, indexing="ij")
    wave, angle = np.hypot(right, down), np.degrees(np.arctan2(down, right))
    used = (wave > 1 / _LONGEST) & (wave < 1 / _SHORTEST)
    energy = np.abs(fft.fft2(flat.reshape(tiles.shape))[:, used]) ** 2
    total = (energy * wave[used] ** -2).sum(1)
    chosen = (total <= np.quantile(total, calm)) & (total > 0)
    if chosen.sum() < calm * _FEWEST:
        return float("nan")
    # One tile with an edge would otherwise outweigh all others.
    mean = (energy[chosen] / total[chosen, None]).mean(0)
    axial = np.abs(np.mod(angle[used] + 45, 90) - 45) < 22.5
    # Waves of the same sector differ in length; what is usual for the length is taken out, in the same way for both.
    lengths = np.polynomial.chebyshev.chebvander(np.log(wave[used]), 3)
    both = [(lengths[own].T @ lengths[own], lengths[own].T @ np.log(mean[own] + 1e-30)) for own in (axial, ~axial)]
    usual = np.exp(lengths @ np.mean([np.linalg.solve(*one) for one in both], axis=0))
    relative = mean / usual
    return float(relative[axial].mean() / relative[~axial].mean())


def _curvature(height: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the Laplacian, up to its factor.

    Long folds are much higher than what is measured, and the spectrum of a small tile has leaks: from the height itself
    they would decide the result, and folds of a face are often diagonal.
    """
    padded = np.pad(np.asarray(height, np.float64), TILE, mode="reflect")
    down, right = (fft.fftfreq(side) for side in padded.shape)
    curved = fft.ifft2(fft.fft2(padded) * (down[:, None] ** 2 + right[None] ** 2)).real
    return np.asarray(curved[TILE:-TILE, TILE:-TILE])


def _tiles(height: Float[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "n t t"]:
    """Return overlapping tiles all of whose pixels lie inside."""
    view = np.lib.stride_tricks.sliding_window_view
    step = TILE // 4
    whole = view(inside, (TILE, TILE))[::step, ::step].all((2, 3))
    return np.asarray(view(height, (TILE, TILE))[::step, ::step][whole], np.float64)
