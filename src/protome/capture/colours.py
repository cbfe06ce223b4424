"""Whose a pixel is by its colour: clothes and hair of two people are seldom alike.

Colours of pixels that are surely the subject's and surely another person's are counted in histograms of CIE L*a*b*, as
Boykov and Jolly (2001), Interactive graph cuts, did for objects and backgrounds; the rest is told apart by these.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

LEAST_LEARNED = 200
"""Pixels of each side from which its colours are known."""
MOST_ODDS = 3.0
"""Limit of the logarithm of the odds."""
ALIKE = 0.08
"""Side of the square over which odds are averaged, in units of the face's size: texture is no border."""
LOW, HIGH, BINS = np.array([0.0, -60.0, -60.0]), np.array([100.0, 60.0, 60.0]), (20, 24, 24)
"""Range and number of the histograms' bins of L*, a*, b*."""
SMOOTH = 1.0
"""Standard deviation by which histograms are smoothed, bins."""
UNSEEN = 1e-3
"""Share of all pixels that is spread over colours which were not seen."""


def colour_odds(
    image: Float[np.ndarray, "h w 3"], subject: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"],
    face_size: float,
) -> Float[np.ndarray, "h w"] | None:  # fmt: skip
    """Return the logarithm of the odds that a pixel's colour is the `other` pixels' and not the `subject`'s.

    `face_size` is in pixels. None where either side has too few pixels to know its colours.
    """
    if min(int(subject.sum()), int(other.sum())) < LEAST_LEARNED:
        return None
    lab = cv2.cvtColor(np.ascontiguousarray(image, np.float32), cv2.COLOR_RGB2LAB)
    bins = ((lab - LOW) / (HIGH - LOW) * BINS).astype(int).clip(0, np.array(BINS) - 1)
    cell = np.ravel_multi_index(tuple(np.moveaxis(bins, -1, 0)), BINS)
    ratio = _shares(cell[other]) / _shares(cell[subject])
    odds = np.log(ratio).clip(-MOST_ODDS, MOST_ODDS).astype(np.float32)[cell]
    side = max(1, round(ALIKE * face_size))
    return cv2.blur(odds, (side, side))


def _shares(cells: np.ndarray) -> Float[np.ndarray, "b"]:
    """Return how frequent each colour is among some pixels."""
    counts = np.bincount(cells, minlength=int(np.prod(BINS))).reshape(BINS)
    smooth = gaussian_filter(counts.astype(float), SMOOTH) + UNSEEN * len(cells) / counts.size
    return (smooth / smooth.sum()).ravel()
