"""What differs between photos that should show one head: hair, light and expression; and photos that do not differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome.capture.checks import face_height

OTHER_HAIR = 0.2
"""Median difference of two outlines of hair, in heights of the face, that wind and a turn of the head do not explain:
36 mm. Two press photos of one person a year apart differ by 0.14, and photos of two people by 0.05 to 0.4."""
COMPARABLE = 20.0
"""Degrees between two views within which outlines and expressions are compared."""
FRONTAL = 35.0
"""Degrees from the front beyond which an outline is the back of the head's, and landmark ratios mean nothing."""
OTHER_LIGHT = 1.6
"""Difference of log2 of the side light of two photos that stand for lamps on other sides: a factor of three."""
OTHER_TINT = 0.7
"""Difference of log2 of the skin's red or blue beside green that stands for light of another kind: a factor of 1.6.
Photos of one session differ by less than 0.2, daylight and a bulb by about 1."""
OTHER_MOUTH = 0.2
"""Difference of two mouths' widths, or of gaps between lips, as shares of the width: a smile with teeth beside a mouth
at rest."""
ALIKE = 8.0
"""Degrees between the farthest two views below which several photos show no more of the shape than one does. The
landmarks' own error of direction is about half of it."""
_ANGLES = np.radians(np.arange(15.0, 166.0, 10.0))
"""Around the head, from the subject's left over the top to the right."""
_LEAST_RAYS = 6
_STEP = 0.01
_EYES = (33, 263)


def hair_outline(mask: Float[Tensor, "h w"], landmarks: Float[Tensor, "478 2"]) -> Float[np.ndarray, "k"]:
    """Return how far the person reaches from between the eyes in `k` directions, in heights of the face.

    The directions go from the subject's left over the top to the right. Where the picture's edge cuts the head, the
    reach is not known and NaN.
    """
    points = landmarks.detach().cpu().double().numpy()
    person = mask.detach().cpu().numpy() > 0.5
    height, width = person.shape
    size = face_height(landmarks)
    right, left = points[list(_EYES)]
    across = (left - right) / max(float(np.linalg.norm(left - right)), 1e-9)
    # The image's y runs down; the subject's left is the image's right in an upright photo.
    up = np.array([across[1], -across[0]])
    directions = np.cos(_ANGLES)[:, None] * across + np.sin(_ANGLES)[:, None] * up
    reaches = np.arange(0.0, 2.5, _STEP)
    spots = (right + left) / 2 + size * reaches[None, :, None] * directions[:, None]
    x, y = np.floor(spots[..., 0]).astype(int), np.floor(spots[..., 1]).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    seen = inside & person[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    last = np.where(seen.all(1), seen.shape[1] - 1, np.argmin(seen, axis=1))
    cut = ~inside[np.arange(len(last)), last]
    return np.where(cut | (last == 0), np.nan, reaches[last])


def hair_difference(first: Float[np.ndarray, "k"], second: Float[np.ndarray, "k"]) -> float:
    """Return the median difference of two outlines where both are known, in heights of the face; 0 if hardly any is."""
    both = np.isfinite(first) & np.isfinite(second)
    return float(np.median(np.abs(first - second)[both])) if both.sum() >= _LEAST_RAYS else 0.0


def odd_ones(differences: Float[np.ndarray, "v v"], threshold: float) -> dict[int, int]:
    """Return the fewest photos, nearly, without which no two differ by more than a threshold, each with one unlike it.

    The photo that differs from most others goes first, and of two that differ from each other alone the later one.
    """
    differ = differences > threshold
    found: dict[int, int] = {}
    while differ.any():
        count = differ.sum(1)
        odd = int(np.flatnonzero(count == count.max())[-1])
        others = np.flatnonzero(differ[odd])
        found[odd] = int(others[np.argmin(count[others])])
        differ[odd] = differ[:, odd] = False
    return found


def spread_degrees(centres: Sequence[Float[Tensor, "3"]]) -> float:
    """Return the angle at the head between the farthest two of some cameras' centres (head frame)."""
    directions = torch.nn.functional.normalize(torch.stack([c.double() for c in centres]), dim=1)
    return max((angle_between(a, b) for a, b in combinations(directions, 2)), default=0.0)


def angle_between(first: Float[Tensor, "3"], second: Float[Tensor, "3"]) -> float:
    """Return the angle between two vectors in degrees."""
    cosine = torch.nn.functional.cosine_similarity(first.double(), second.double(), dim=0)
    return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))))
