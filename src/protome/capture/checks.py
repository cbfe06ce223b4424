"""What makes a photo of a face a poor one: each check is a pure function that measures one thing, with its threshold.

`python benchmarks/checks.py --photos DIR` prints what photos measure beside the thresholds. All lengths are shares of
the face's height, from the top of the forehead to the chin, as it is in the image.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter
from torch import Tensor

from protome.capture.skin import face_part, hull_mask, skin_mask
from protome.geometry.mesh import linear_from_srgb

BLUE = 0.6
"""Logarithm (base 2, linear light) of blue beside red from which skin is no skin in white light: skin of every
complexion reflects more red than blue, grey pictures have as much of both, and negatives are the other way round."""
BLURRED = 0.015
"""Standard deviation of a blur from which on lids and lips have no edges any more: 2.7 mm on a face of 180 mm. The fit
sees faces at 128 to 256 pixels, where 0.004 to 0.008 is one pixel, so that sharp photos stay well below."""
TINY_PX = 64.0
"""Height of a face below which the landmark network, which takes 96 pixels of face, sees enlarged pixels alone."""
CLIPPED = 0.10
"""Share of skin without a value, burnt out or black: more than highlights on moist skin take."""
WHITE, BLACK = 0.985, 0.04
"""Of a pixel's second brightest and of its brightest channel: beyond, cameras have clipped. Red alone clips on skin
that is exposed well."""
HARSH = 4.0
"""Ratio of the linear brightness of a face's halves from which on a lamp is called harsh: two stops, where
photographers speak of low-key light. Frontal light gives nearly one."""
LEAST_HALF = 0.2
"""Share of the skin that a half must have to be compared: a face seen from the side has one half only."""
COVERED = 0.2
"""Share of things in front over mouth and nose from which on these are covered: several times the share of
stray pixels. Beards are parts of their own, and no things in front."""
MOUTH_OPEN = 0.3
"""Gap between the inner lips as a share of the mouth's width. A smile that shows teeth leaves less."""
SMILE = 0.28
"""How much wider than at rest the mouth is, as a share of that, in a laugh: mouths at rest differ by half of that
between people."""
CUT = 0.12
"""Length of the picture's edge that a head may touch: less is a strand of hair."""
CHIN_ROOM = 0.02
"""Room between the chin and the edge of the picture: with less, a part of the chin is missing."""
FACE_SIDE, FINE, COARSE = 192, 1.0, 2.0
"""Pixels to which a face is shrunk before its blur is measured, and the two Gaussians that its edges are seen with."""
_SHARPEST = 5.0
"""Percent of the face's pixels whose gradients are largest: edges of eyes, brows, nostrils and lips."""
_FOREHEAD, _CHIN = 10, 152
_MIDLINE = (10, 151, 9, 168, 6, 195, 4, 2, 0, 17, 200, 152)
_INNER_LIPS, _MOUTH, _OUTER_EYES = (13, 14), (61, 291), (33, 263)
_MOUTH_AT_REST = 0.57
"""Width of a mouth at rest as a share of the distance of the outer eye corners, as the landmark network sees it."""
_HEAD_REACH = 1.1
"""Distance from the middle of the face up to which the person's outline is head and hair, no arm or shoulder."""


def face_height(landmarks: Float[Tensor, "478 2"]) -> float:
    """Return the pixels between the top of the forehead and the chin."""
    return float((landmarks[_FOREHEAD] - landmarks[_CHIN]).norm())


def blur(image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "478 2"]) -> float:
    """Return the standard deviation of the Gaussian blur of a face's sharpest edges, as a share of its height.

    The gradient of an edge of blur s seen through a Gaussian of width a falls as 1 / sqrt(s² + a²). So the ratio of two
    such gradients (Tenengrad's, of two widths) gives s, and contrast cancels (Zhuo and Sim, "Defocus map estimation
    from a single image", 2011, equation 4). The result is infinite where the face has no gradient at all.
    """
    part, points = _face_arrays(image, landmarks)
    grey = part.mean(2)
    size = float(np.linalg.norm(points[_FOREHEAD] - points[_CHIN]))
    factor = min(1.0, FACE_SIDE / max(size, 1.0))
    if factor < 1:
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        points, size = factor * points, factor * size
    inside = _hull(points, grey.shape, max(1, round(0.06 * size)))
    fine, coarse = (_gradient(grey, width)[inside] for width in (FINE, COARSE))
    if fine.size == 0 or not fine.max() > 0:
        return float("inf")
    edges = fine >= np.percentile(fine, 100.0 - _SHARPEST)
    ratio = float(np.median(fine[edges] / np.maximum(coarse[edges], 1e-9)))
    ratio = float(np.clip(ratio, 1.001, COARSE / FINE))
    return float(np.sqrt((COARSE**2 - (ratio * FINE) ** 2) / (ratio**2 - 1))) / size


def burnt_out(image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "478 2"]) -> float:
    """Return the share of the face's skin that is too bright for the picture's range of values."""
    colours = _skin_colours(image, landmarks)
    return float((colours.sort(1).values[:, 1] > WHITE).float().mean()) if len(colours) else 0.0


def blacked_out(image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "478 2"]) -> float:
    """Return the share of the face's skin that is too dark for the picture's range of values."""
    colours = _skin_colours(image, landmarks)
    return float((colours.amax(1) < BLACK).float().mean()) if len(colours) else 0.0


def side_light(image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "478 2"]) -> float | None:
    """Return how many times brighter the left half of a face is than the right one, linear light, medians of skin.

    None where one half is hardly seen.
    """
    part, points = _face_arrays(image, landmarks)
    skin = skin_mask(torch.from_numpy(points), *part.shape[:2]).numpy()
    left = skin & _left_of_midline(points, part.shape[:2])
    right = skin & ~left
    if min(left.sum(), right.sum()) < LEAST_HALF * max(int(skin.sum()), 1):
        return None
    light = linear_from_srgb(part).mean(2)
    return float((np.median(light[left]) + 1e-3) / (np.median(light[right]) + 1e-3))


def tint(image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "478 2"]) -> tuple[float, float]:
    """Return log2 of red and of blue beside green, linear light, medians of the face's skin."""
    colours = _skin_colours(image, landmarks)
    if len(colours) == 0:
        return 0.0, 0.0
    red, green, blue = np.median(linear_from_srgb(colours.numpy()), axis=0) + 1e-3
    return float(np.log2(red / green)), float(np.log2(blue / green))


def mouth_gap(landmarks: Float[Tensor, "478 2"]) -> float:
    """Return the gap between the inner lips as a share of the mouth's width."""
    upper, lower = landmarks[list(_INNER_LIPS)]
    first, second = landmarks[list(_MOUTH)]
    return float((upper - lower).norm() / (first - second).norm().clamp(min=1e-6))


def smile(landmarks: Float[Tensor, "478 2"]) -> float:
    """Return how much wider than at rest the mouth is, as a share of that; of faces from the front."""
    mouth, eyes = (landmarks[a] - landmarks[b] for a, b in (_MOUTH, _OUTER_EYES))
    return float(mouth.norm() / eyes.norm().clamp(min=1e-6)) / _MOUTH_AT_REST - 1.0


def cut_head(mask: Float[Tensor, "h w"], landmarks: Float[Tensor, "478 2"]) -> float:
    """Return the longest piece of one edge of the picture that hair or face touches, as a share of the face's height.

    What lies below the chin, and what is farther from the face than hair, does not count: bodies reach the edge there.
    """
    height, width = mask.shape
    points = landmarks.detach().cpu().double().numpy()
    size = face_height(landmarks)
    up = points[_FOREHEAD] - points[_CHIN]
    middle = points.mean(0)
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    person = mask.detach().cpu().numpy() > 0.5
    edges = (
        (person[0], np.stack([columns, np.zeros(width)], 1)),
        (person[-1], np.stack([columns, np.full(width, float(height))], 1)),
        (person[:, 0], np.stack([np.zeros(height), rows], 1)),
        (person[:, -1], np.stack([np.full(height, float(width)), rows], 1)),
    )
    touched = []
    for seen, spots in edges:
        above = (spots - points[_CHIN]) @ up > 0
        near = np.linalg.norm(spots - middle, axis=1) < _HEAD_REACH * size
        touched.append(int((seen & above & near).sum()))
    return max(touched) / max(size, 1e-6)


def chin_room(landmarks: Float[Tensor, "478 2"], height: int, width: int) -> float:
    """Return the distance from the chin to the nearest edge of the picture, negative outside, in face heights."""
    x, y = landmarks[_CHIN].tolist()
    return min(x, y, width - x, height - y) / max(face_height(landmarks), 1e-6)


def _face_arrays(
    image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "478 2"]
) -> tuple[Float[np.ndarray, "_ _ 3"], Float[np.ndarray, "478 2"]]:
    part, points = face_part(image, landmarks)
    return part.double().numpy(), points.double().numpy()


def _hull(points: Float[np.ndarray, "n 2"], shape: tuple[int, ...], border: int) -> Bool[np.ndarray, "h w"]:
    """Return the pixels inside the landmarks' convex hull and not within `border` of its outline."""
    return cv2.erode(hull_mask(points, shape), np.ones((border, border), np.uint8)) > 0


def _gradient(grey: Float[np.ndarray, "h w"], width: float) -> Float[np.ndarray, "h w"]:
    """Return the length of the gradient seen through a Gaussian of this width."""
    return np.hypot(gaussian_filter(grey, width, order=(0, 1)), gaussian_filter(grey, width, order=(1, 0)))


def _skin_colours(image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "478 2"]) -> Float[Tensor, "n 3"]:
    part, points = _face_arrays(image, landmarks)
    skin = skin_mask(torch.from_numpy(points), *part.shape[:2])
    return torch.from_numpy(part)[skin]


def _left_of_midline(points: Float[np.ndarray, "478 2"], shape: tuple[int, ...]) -> Bool[np.ndarray, "h w"]:
    """Return the pixels on the subject's left of the line from the forehead over the nose to the chin."""
    line = points[list(_MIDLINE)]
    down = line[-1] - line[0]
    across = np.array([-down[1], down[0]])
    across *= np.sign(across @ (points[_OUTER_EYES[1]] - points[_OUTER_EYES[0]])) or 1.0
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    spots = np.stack([x, y], -1) - line[0]
    along = (line - line[0]) @ down
    order = np.argsort(along)
    bend = np.interp(spots @ down, along[order], ((line - line[0]) @ across)[order])
    return spots @ across > bend
