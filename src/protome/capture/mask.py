"""The person's mask at full resolution, from the coarse probability of the selfie segmentation."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from protome.capture.skin import disc, hull_mask

WORK_SIDE = 768
"""Pixels of the longer side at which the outline is found; the full resolution only sharpens its edge."""
PERSON = 0.8
"""Probability from which a pixel starts as person: the segmentation errs towards too much more than too little."""
BAND = 0.12
"""Half width of the band in which the outline may move, in units of the face's size: what one or two cells of the
256 x 256 segmentation cover, and what its worst mistakes around hair need."""
EITHER = 0.5
"""The same for the mean of two segmentations, whose mistakes are different ones."""
AGREED, AGREED_WITHIN = 0.6, 0.01
"""Probability from which two segmentations agree on a pixel, and how far inside the area of such pixels they are
believed, in units of the face's size: their own grids are coarse."""
LEAST_CHANCE = 1e-3
"""Limit of what one segmentation is believed beside another one."""
SURE = 0.15
"""How far inside the landmarks' outline a pixel is certainly person, in units of the face's size: on faces that are
turned away, the landmarks of the far cheek are found beyond its edge by up to an eighth of it."""
CUT_ROUNDS = 2
EDGE = 0.02
"""Radius of the guided filter that softens the outline, in units of the face's size."""
FLAT = 1e-4
"""Colour variance below which the guided filter sees no edge."""


def person_mask(
    image: Float[Tensor, "h w 3"],
    probability: Float[Tensor, "h w"],
    face: Float[Tensor, "n 2"],
    sure: float = SURE,
    second: Float[Tensor, "h w"] | None = None,
) -> Float[Tensor, "h w"]:
    """Return the mask in [0, 1] of the person whose face is given by points on it, hair and clothes included.

    What lies farther than `sure` inside the points' outline, in units of the face's size, is certainly person.
    `second` is another probability, not a number where it is unknown: the mean of the logarithms of their odds counts,
    and where both agree, no colour says otherwise, as that of brown hair before a wooden door would.

    The connected part of the probable person that holds the face is kept. Its outline then moves to the image's own
    edges: colours decide within a band (GrabCut: Rother, Kolmogorov and Blake, 2004), and a guided filter (He, Sun and
    Tang, 2010; its coefficients found at lower resolution, 2015) makes the edge as fine as the photo.
    """
    full = np.ascontiguousarray(image.detach().cpu().numpy(), np.float32)
    height, width = full.shape[:2]
    factor = min(1.0, WORK_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(probability.detach().cpu().numpy().astype(np.float32), size, interpolation=cv2.INTER_AREA)
    points = face.detach().cpu().numpy() * [size[0] / width, size[1] / height]
    face_size = float((points.max(0) - points.min(0)).max())
    certain, area = _face(points, coarse.shape, sure * face_size)
    # What a second segmentation does not know agrees with nothing.
    other = np.full_like(coarse, np.nan)
    if second is not None:
        other = cv2.resize(second.detach().cpu().numpy().astype(np.float32), size, interpolation=cv2.INTER_AREA)
    near = disc(max(1, round(AGREED_WITHIN * face_size)))
    agreed = np.minimum(coarse, other) > AGREED
    background = _eroded(np.maximum(coarse, other) < 1 - AGREED, near)
    least = np.where(np.isnan(other), PERSON, EITHER).astype(np.float32)
    coarse = np.where(np.isnan(other), coarse, _mean_chance(coarse, other))
    reach = _part_with(coarse > 0.5, certain)
    kept = _filled(_large_parts(coarse > least, reach, certain, area), coarse, area)
    person = certain | _eroded(kept & agreed, near)
    cut = _cut(small, kept, person, background, max(1, round(BAND * face_size)))
    cut = _large_parts(_without_threads(cut, max(1, round(0.015 * face_size))), cut, certain, area)
    cut = _filled(cut, coarse, area)
    slope, offset = _guide(small, cut.astype(np.float32), max(1, round(EDGE * face_size)))
    slope = cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)
    offset = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
    mask = (slope * full).sum(2) + offset
    # The filter leaves a faint veil on both sides of the edge.
    return torch.from_numpy(np.clip((mask - 0.05) / 0.9, 0.0, 1.0).astype(np.float32))


def _mean_chance(one: Float[np.ndarray, "h w"], other: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the probability whose odds are the geometric mean of those of two."""
    odds = [np.log(own / (1 - own)) for own in (np.clip(p, LEAST_CHANCE, 1 - LEAST_CHANCE) for p in (one, other))]
    return (1 / (1 + np.exp(-0.5 * (odds[0] + odds[1])))).astype(np.float32)


def _face(
    points: Float[np.ndarray, "n 2"], shape: tuple[int, ...], margin: float
) -> tuple[Bool[np.ndarray, "h w"], int]:
    """Return the pixels well inside the landmarks' convex hull, certainly person, and how many the whole hull has."""
    hull = hull_mask(points, shape)
    depth = cv2.distanceTransform(hull, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # A narrow face, seen from the side, has its middle all the same.
    return depth > min(margin, 0.5 * float(depth.max())), int(hull.sum())


def _part_with(person: Bool[np.ndarray, "h w"], face: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the connected part that shares most pixels with the face, the face included."""
    count, labels = cv2.connectedComponents(person.astype(np.uint8))
    shared = np.bincount(labels[face & person], minlength=count)
    return (labels == shared.argmax()) & person | face if shared.any() else face


def _large_parts(
    person: Bool[np.ndarray, "h w"], reach: Bool[np.ndarray, "h w"], face: Bool[np.ndarray, "h w"], area: int
) -> Bool[np.ndarray, "h w"]:
    """Return the parts within `reach` that hold the face or are large beside its area, as a body behind an unsure neck
    is."""
    count, labels = cv2.connectedComponents((person & reach | face).astype(np.uint8))
    keep = np.bincount(labels.ravel(), minlength=count) >= 0.5 * area
    keep[np.unique(labels[face])] = True
    keep[0] = False
    return keep[labels]


def _eroded(area: Bool[np.ndarray, "h w"], around: UInt8[np.ndarray, "k k"]) -> Bool[np.ndarray, "h w"]:
    """Return an area without a rim; what the picture's border cuts has none there."""
    return cv2.erode(area.astype(np.uint8), around, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0


def _cut(
    image: Float[np.ndarray, "h w 3"],
    kept: Bool[np.ndarray, "h w"],
    person: Bool[np.ndarray, "h w"],
    background: Bool[np.ndarray, "h w"],
    band: int,
) -> Bool[np.ndarray, "h w"]:
    """Return the person after the colours inside and outside have decided the band around the outline, where it is
    neither certainly person nor certainly background."""
    around = disc(band)
    inside = _eroded(kept, around)
    outside = cv2.dilate(kept.astype(np.uint8), around) == 0
    state = np.where(kept, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[outside | background] = cv2.GC_BGD
    state[inside | person] = cv2.GC_FGD
    if not (state == cv2.GC_BGD).any():
        return kept  # the person fills the picture: no background to learn colours from
    pixels: UInt8[np.ndarray, "h w 3"] = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    # GrabCut starts its colour clusters at random.
    cv2.setRNGSeed(0)
    cv2.grabCut(pixels, state, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), CUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    return (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)


def _without_threads(cut: Bool[np.ndarray, "h w"], radius: int) -> Bool[np.ndarray, "h w"]:
    """Return the mask without what is thinner than a disc of this radius."""
    # What the picture's border cuts is not thin there.
    padded = np.pad(cut, 2 * radius, mode="edge").astype(np.uint8)
    return (
        cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc(radius))[2 * radius : -2 * radius, 2 * radius : -2 * radius] > 0
    )


def _filled(
    part: Bool[np.ndarray, "h w"], probability: Float[np.ndarray, "h w"], face_area: int
) -> Bool[np.ndarray, "h w"]:
    """Return the part with its holes filled where they are small or the segmentation sees rather person in them.

    Badges and highlights on clothes make such holes; the background seen between an arm and the body stays.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~part).astype(np.uint8), connectivity=4)
    area = stats[:, cv2.CC_STAT_AREA]
    likely = np.bincount(labels.ravel(), probability.ravel(), minlength=count) / np.maximum(area, 1)
    right, bottom = stats[:, 0] + stats[:, 2], stats[:, 1] + stats[:, 3]
    enclosed = (stats[:, 0] > 0) & (stats[:, 1] > 0) & (right < part.shape[1]) & (bottom < part.shape[0])
    fill = enclosed & ((area < 0.02 * face_area) | (likely > 0.4))
    fill[0] = False
    return part | fill[labels]


def _guide(
    image: Float[np.ndarray, "h w 3"], mask: Float[np.ndarray, "h w"], radius: int
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """Return slope and offset of the linear colour model of the mask around each pixel (the guided filter)."""

    def mean(values: np.ndarray) -> np.ndarray:
        side = 2 * radius + 1
        return cv2.boxFilter(values, -1, (side, side), borderType=cv2.BORDER_REFLECT)

    image_mean, mask_mean = mean(image), mean(mask)
    covariance = mean(image * mask[..., None]) - image_mean * mask_mean[..., None]
    variance = {
        (i, j): mean(image[..., i] * image[..., j]) - image_mean[..., i] * image_mean[..., j] + FLAT * (i == j)
        for i in range(3)
        for j in range(i, 3)
    }
    slope = _solved(variance, covariance)
    offset = mask_mean - (slope * image_mean).sum(2)
    return mean(slope), mean(offset)


def _solved(
    matrices: Mapping[tuple[int, int], Float[np.ndarray, "h w"]], right: Float[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "h w 3"]:
    """Return the solutions of symmetric systems of three equations by Cholesky's method, for all pixels at once.

    `matrices` are the entries of the upper triangle.
    """
    a, b, c = matrices[0, 0], matrices[0, 1], matrices[0, 2]
    # Rows of L with A = L D L', without roots.
    m, n = b / a, c / a
    d = matrices[1, 1] - m * b
    e = matrices[1, 2] - m * c
    k = e / d
    f = matrices[2, 2] - n * c - k * e
    first, second = right[..., 0], right[..., 1] - m * right[..., 0]
    z = (right[..., 2] - n * first - k * second) / f
    y = second / d - k * z
    return np.stack([first / a - m * y - n * z, y, z], -1)
