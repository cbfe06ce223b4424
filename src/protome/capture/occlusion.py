"""Detection of beards and the frames of glasses, which cover skin and invalidate shading as a cue of shape."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from protome.capture.skin import face_part, skin_mask

BEARD = 0.4
"""Share of the chin or of the upper lip in another colour than skin above which a face counts as bearded."""
FRAMES = 0.18
"""Darkness of a line below the eyes and across the bridge above which a face counts as wearing glasses."""
_TINT = 0.3
"""Difference of a colour's chromaticity from the cheek's above which it is not skin."""
_DARK = 0.55
"""Share of the cheek's brightness on the same side below which a pixel counts as hair."""
_MOUTH = (61, 291)
_SIDES = {"right": (50, 117, 123), "left": (280, 346, 352)}
"""Points on the cheeks, some of which beards leave bare."""
_BELOW = ((145, 118), (144, 117), (153, 119), (374, 347), (373, 346), (380, 348))
"""From the lower lids to the cheeks."""
_FURTHER = 1.8
"""Factor by which the search for lines extends beyond those points."""
_BRIDGE = (8, 195)
"""Down the bridge of the nose."""


def beard_share(image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "478 2"]) -> float:
    """Return the share of the chin, or of the area above the mouth, whose colour differs from the cheek's beside it.

    Of the two halves of a face the smaller share counts: a lamp from one side darkens one half, a beard both. Shadows
    keep the chromaticity, and hair does not.
    """
    image, landmarks = face_part(image, landmarks)
    height, width = image.shape[:2]
    points, colours = landmarks.double().numpy(), image.double().numpy()
    skin = skin_mask(landmarks, height, width).numpy()
    y, x = np.mgrid[:height, :width] + 0.5
    corners = points[list(_MOUTH)]
    across, down = corners[1] - corners[0], points[152] - corners.mean(0)
    place = np.stack([x, y], -1) - corners.mean(0)
    along, below = place @ across / (across @ across + 1e-9), place @ down / (down @ down + 1e-9)
    nose = (points[2] - corners.mean(0)) @ down / (down @ down + 1e-9)
    chin = skin & (below > 0.35) & (below < 0.95) & (np.abs(along) < 0.8)
    lip = skin & (below > 0.75 * nose) & (below < 0.45 * nose) & (np.abs(along) < 0.45)
    cheeks = [_cheek(colours, points, spots, float(np.linalg.norm(across))) for spots in _SIDES.values()]
    shares = []
    for zone in (chin, lip):
        halves = [zone & (sign * along > 0) for sign in (-1.0, 1.0)]
        differs = [_differs(colours[half], cheek) for half, cheek in zip(halves, cheeks, strict=True)]
        shares.append(min(differs))
    return max(shares)


def _cheek(
    colours: Float[np.ndarray, "h w 3"], points: Float[np.ndarray, "478 2"], spots: tuple[int, ...], mouth: float
) -> Float[np.ndarray, "3"]:
    radius = 0.06 * mouth
    found = []
    for spot in spots:
        rows, columns = (slice(max(0, int(c - radius)), int(c + radius) + 1) for c in points[spot][::-1])
        found.append(colours[rows, columns].reshape(-1, 3))
    pixels = np.concatenate(found)
    return np.median(pixels, axis=0) if len(pixels) else np.zeros(3)


def _differs(colours: Float[np.ndarray, "n 3"], skin: Float[np.ndarray, "3"]) -> float:
    """Return the share of colours that are not the skin's colour under more or less light."""
    if len(colours) == 0 or skin.sum() == 0:
        return 0.0
    ratio = (colours + 0.01) / (skin + 0.01)
    brightness = ratio.mean(1)
    tint = np.abs(ratio / brightness[:, None] - 1).max(1)
    return float(((tint > _TINT) | (brightness < _DARK)).mean())


def frame_edge(image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "478 2"]) -> float:
    """Return the darkness of a thin line below both eyes and across the bridge of the nose, relative to its sides.

    The faintest of the three counts, the bridge twice: skin has lines below the eyes, but rarely in all three places.
    """
    image, landmarks = face_part(image, landmarks)
    points = landmarks.double().numpy()
    size = float(np.linalg.norm(points[263] - points[33]))
    grey = gaussian_filter(image.double().mean(2).numpy(), 0.012 * size)
    drops = [_line(grey, a, a + _FURTHER * (b - a), 0.1 * size) for a, b in points[np.array(_BELOW)]]
    bridge = _line(grey, points[_BRIDGE[0]], points[_BRIDGE[1]], 0.1 * size)
    return min(float(np.median(drops[:3])), float(np.median(drops[3:])), 2 * bridge)


def _line(
    grey: Float[np.ndarray, "h w"], start: Float[np.ndarray, "2"], end: Float[np.ndarray, "2"], width: float
) -> float:
    """Return the largest fall below both neighbours at half a line's width, along a path."""
    length = float(np.linalg.norm(end - start))
    count = max(8, int(2 * length))
    step = (end - start) / count
    spots = start + step * np.arange(count + 1)[:, None]
    values = map_coordinates(grey, (spots - 0.5).T[::-1], order=1, mode="nearest")
    reach = max(1, round(width / 2 / (length / count + 1e-9)))
    if len(values) <= 2 * reach:
        return 0.0
    inner = values[reach:-reach]
    beside = np.minimum(values[: -2 * reach], values[2 * reach :])
    return float(((beside - inner) / np.maximum(beside, 0.05)).max())
