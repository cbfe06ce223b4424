"""Fine texture for what no photo shows: noise as strong as the photos' in seen hair, skin and cloth."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.ndimage import map_coordinates

from protome.asset.smooth import Smoother
from protome.asset.source import Source
from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of

_BANDS_MM = (0.35, 0.9, 2.2, 5.0)
"""Standard deviations of the Gaussians whose differences are the bands."""
_PLAIN = np.array([0.8, 0.5, 0.2])
"""Share of each band's strength that skin and cloth get: what is coarse in them are features, not grain."""
_WELL = 0.2
"""Weight from which on a photo shows a vertex well enough to measure it."""
_COLOUR, _PLACE_MM = 0.06, 150.0
"""Distances that count as one when like is sought: in colour and in place."""
_NEIGHBOURS = 48
_LOW, _MIDDLE = 0.25, 0.5
"""Quantiles of the neighbours' strengths: skin and cloth have edges that are no grain, hair has fewer."""
_SKIN_CHROMA, _SKIN_LIGHT = 0.035, 0.55
"""Distances from the face's median colour up to which colours are skin's: in red and green shares, and in brightness
relative to it."""
_FACE_MM = (50.0, (-95.0, 35.0), -45.0)
"""The middle of the face: half width, heights, and the least z; head frame."""
_CHEEK_MM = (10.0, -95.0, 82.0)
"""Below this height, in front of this z and no further than this from the middle there is skin, beard aside."""
NECK_MM = -105.0
"""Height below which there are shoulders and clothes."""
_HAIR_MM = 20.0
"""Length over which hair and skin are told apart by the majority."""
_LATTICE = 64
_STRETCH = 5.0
"""How much longer than wide the noise of hair is, downwards, as hair falls."""
_WAVE_MM, _WAVE_LENGTH_MM = 3.0, 45.0
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def band_strengths(
    sources: Sequence[Source], points: Float[np.ndarray, "v 3"], weights: Float[np.ndarray, "v s"]
) -> Float[np.ndarray, "v b"]:
    """Return the standard deviation of brightness in each band at the vertices that photos show well; NaN elsewhere."""
    total = np.zeros((len(points), len(_BANDS_MM) - 1))
    count = np.zeros((len(points), 1))
    for number, source in enumerate(sources):
        well = weights[:, number] > _WELL
        if not well.any():
            continue
        scale = float(np.median(source.pixels_per_mm(points[well])))
        grey = source.image @ _LUMA
        levels = [_blur(grey, width * scale) for width in _BANDS_MM]
        for band in range(len(_BANDS_MM) - 1):
            energy = _blur((levels[band] - levels[band + 1]) ** 2, 2 * _BANDS_MM[band + 1] * scale)
            total[well, band] += source.sample(points[well], np.maximum(energy, 0))
        count[well] += 1
    return np.sqrt(np.maximum(np.where(count > 0, total / np.maximum(count, 1), np.nan), 0))


def facial(points: Float[np.ndarray, "v 3"]) -> Bool[np.ndarray, "v"]:
    """Return which points lie in the middle of the face, head frame, millimetres."""
    half, (low, high), front = _FACE_MM
    return (np.abs(points[:, 0]) < half) & (points[:, 1] > low) & (points[:, 1] < high) & (points[:, 2] > front)


def like_skin(mesh: Mesh, colours: Float[np.ndarray, "v 3"]) -> Bool[np.ndarray, "v"]:
    """Return which vertices have about the colour of the face's middle; all where that is missing."""
    face = facial(mesh.vertices)
    if not face.any():
        return np.ones(len(mesh.vertices), bool)
    skin = np.median(colours[face], axis=0)
    light = colours.sum(1) / max(float(skin.sum()), 1e-6)
    shares = colours / np.maximum(colours.sum(1, keepdims=True), 1e-6) - skin / max(float(skin.sum()), 1e-6)
    return (np.abs(shares[:, :2]).max(1) < _SKIN_CHROMA) & (np.abs(light - 1) < _SKIN_LIGHT)


def hair(mesh: Mesh, colours: Float[np.ndarray, "v 3"]) -> Bool[np.ndarray, "v"]:
    """Return which vertices of a head, head frame in millimetres, are hair by their place and smooth colour."""
    points = mesh.vertices
    low, front, aside = _CHEEK_MM
    cheek = (points[:, 1] < low) & (points[:, 2] > front) & (np.abs(points[:, 0]) < aside)
    other = Smoother.of(mesh, _HAIR_MM)(1.0 - like_skin(mesh, colours)[:, None])[:, 0] > 0.5
    return other & ~facial(points) & ~cheek & (points[:, 1] > NECK_MM)


def like_seen(
    strengths: Float[np.ndarray, "v b"],
    colours: Float[np.ndarray, "v 3"],
    points: Float[np.ndarray, "v 3"],
    is_hair: Bool[np.ndarray, "v"],
) -> Float[np.ndarray, "v b"]:
    """Return strengths for the vertices without: of measured ones that are near and alike in colour; hair of hair's."""
    known = ~np.isnan(strengths[:, 0])
    place = np.concatenate([colours / _COLOUR, points / _PLACE_MM], 1)
    filled = np.nan_to_num(strengths)
    for kind, quantile, share in ((is_hair, _MIDDLE, np.ones(3)), (~is_hair, _LOW, _PLAIN)):
        seen, unseen = known & kind, ~known & kind
        if seen.sum() < _NEIGHBOURS or not unseen.any():
            continue
        _, near = tree_of(place[seen]).query(place[unseen], _NEIGHBOURS)
        filled[unseen] = share * np.quantile(strengths[seen][near], quantile, axis=1)
    return filled


def grain(
    points: Float32[np.ndarray, "k 3"], strengths: Float32[np.ndarray, "k b"], hairy: Float32[np.ndarray, "k"]
) -> Float32[np.ndarray, "k"]:
    """Return brightness to be added at points of the head, millimetres; `hairy` is 1 on hair, 0 on skin and cloth.

    It is noise in space, so that charts do not show in it; on hair it runs downwards in waves.
    """
    total = np.zeros(len(points), np.float32)
    lattice = np.random.default_rng(0).standard_normal((_LATTICE,) * 3).astype(np.float32)
    for is_hair, share in ((True, hairy), (False, 1 - hairy)):
        on = np.flatnonzero(share > 0)
        if not len(on):
            continue
        x, y, z = points[on].T
        wave = _WAVE_MM * _noise(lattice, points[on] / _WAVE_LENGTH_MM) if is_hair else np.float32(0)
        for band in range(strengths.shape[1]):
            # A lattice of step s holds waves of 2 s and more; a band's Gaussian of deviation d passes those above 5 d.
            step = 2.2 * _BANDS_MM[band]
            down = _STRETCH * step if is_hair else step
            place = np.stack([(x + wave) / step, y / down, (z - wave) / step], 1)
            total[on] += share[on] * strengths[on, band] * _noise(lattice, place + 17.0 * band)
    return total


def _noise(lattice: Float32[np.ndarray, "n n n"], places: Float32[np.ndarray, "k 3"]) -> Float32[np.ndarray, "k"]:
    """Return periodic noise of variance 1, linear between the points of a lattice that is turned against the axes."""
    turn = np.array([[0.8, 0.36, 0.48], [-0.6, 0.48, 0.64], [0.0, -0.8, 0.6]], np.float32)
    found = map_coordinates(lattice, (places.astype(np.float32) @ turn).T, order=1, mode="grid-wrap")
    return found / np.float32((2 / 3) ** 1.5)


def _blur(image: Float32[np.ndarray, "h w"], width: float) -> Float32[np.ndarray, "h w"]:
    return cv2.GaussianBlur(image, (0, 0), max(width, 0.3))
