"""What the perception network adds to a view: other people leave the mask, things in front leave the fit, and dense
landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protome.capture.colours import colour_odds
from protome.capture.skin import disc, hull_mask
from protome.perception.parts import BACKGROUND, FRONT, OTHERS
from protome.perception.perceive import Perception, perceive
from protome.perception.sight import Sight
from protome.perception.square import Square
from protome.scene import DenseLandmarks, View

WIDE_SHARE = 0.42
"""Extent of the face over the side of the square whose parts are seen: hair and shoulders fit into it."""
UNSURE = (0.35, 0.65)
"""Share of other people among all people from which a pixel leaves the mask partly, and wholly."""
LEAST_ABOVE = 0.01
"""Share of the square that another person covers above the subject's chin at least."""
SUREST = 0.95
"""Limit of what the network's shares are believed beside other faces."""
FAR = 0.5
"""How much of the odds of the nearest known pixel counts beyond the square."""
UNDER, MOST_UNDER = 3.0, 4.0
"""Logarithm of the odds for another person per width of a face by which a pixel is nearer to being under theirs than
under the subject's, and its limit."""
COLOURS, SURE_ODDS = 3.0, 2.0
"""What colours count among the logarithms of the odds, and from which odds on pixels teach whose colours are which."""
SAME_FACE = 0.25
"""Median distance of the network's landmarks from the detector's, in units of the face's size, from which on they are
of different faces: it is 0.02 on photos, and up to 0.15 where the detector turns a profile by too little."""
THIN = 0.03
"""Radius below which things in front are ignored, in units of the face's size: frames of spectacles hide little."""
_MUZZLE = (2, 98, 327, 205, 425, 57, 287, 43, 273, 106, 335, 182, 406, 83, 313, 18, 200)
"""Landmarks around the base of the nose, the mouth and the chin."""
MOST_HIDDEN = 0.5
"""Share of the face hidden by things in front from which they are not believed."""


def parts_around(
    sight: Sight | None, image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "_ 2"] | None
) -> Perception | None:
    """Return what a network sees of head and shoulders around a face; None where it is not good enough, or no face."""
    if sight is None or landmarks is None or not (sight.uses_people or sight.uses_front):
        return None
    return perceive(sight.network, image, landmarks[:468], passes=1, share=WIDE_SHARE)


def subject_on(seen: Perception | None, shape: torch.Size) -> Float[Tensor, "h w"] | None:
    """Return the subject's probability on a photo's pixels, not a number where the network did not look; None where it
    did not look at all."""
    return None if seen is None else torch.from_numpy(seen.person_on(shape[0], shape[1], beyond=np.nan))


def with_sight(
    view: View,
    sight: Sight | None,
    seen: Perception | None = None,
    faces: Sequence[Float[Tensor, "478 2"]] = (),
    *,
    mask_given: bool = False,
    landmarks: bool = True,
) -> View:
    """Return a view with what a network sees in it, as far as the network is good enough.

    `seen` is what `parts_around` returned; `faces` are all that were detected in the photo. A mask that came with the
    photo stays as it is. Without `landmarks` no dense ones are added.
    """
    if sight is None or view.landmarks is None:
        return view
    face = view.landmarks[:468]
    if sight.uses_landmarks and landmarks:
        view = replace(view, dense=dense_landmarks(perceive(sight.network, view.image, face)))
    if seen is not None:
        mask = view.mask
        if sight.uses_people and not mask_given:
            mask = without_others(
                mask, view.image, face, seen, [other for other in faces if not torch.equal(other[:468], face)]
            )
        front = things_in_front(seen, face, view.mask.shape) if sight.uses_front else None
        view = replace(view, mask=mask, front=front, covered=covered_share(seen, face))
    return view


def seen_landmarks(
    sight: Sight | None, image: Float[Tensor, "h w 3"], landmarks: Float[Tensor, "_ 2"]
) -> DenseLandmarks | None:
    """Return what a network sees of the landmarks all over the head around a face.

    None where there is no network, or where it and the detector see different faces.
    """
    if sight is None:
        return None
    found, face = dense_landmarks(perceive(sight.network, image, landmarks[:468])), landmarks[:468].detach().cpu()
    shown = found.visible[:468] > 0.5
    apart = (found.pixels[:468] - face).norm(dim=1)[shown] / (face.amax(0) - face.amin(0)).max()
    return found if len(apart) and float(apart.median()) < SAME_FACE else None


def dense_landmarks(seen: Perception) -> DenseLandmarks:
    """Return what was seen of the landmarks all over the head."""
    return DenseLandmarks(*(torch.from_numpy(part).float() for part in (seen.landmarks, seen.sigma, seen.visible)))


def without_others(
    mask: Float[Tensor, "h w"],
    image: Float[Tensor, "h w 3"],
    face: Float[Tensor, "n 2"],
    seen: Perception,
    other_faces: Sequence[Float[Tensor, "_ 2"]] = (),
) -> Float[Tensor, "h w"]:
    """Return a mask without other people; `face` are landmarks of the subject's, pixels.

    The parts decide only between the people in the mask; what is background is left to the mask. Where no other face
    was detected, somebody else is believed only where they reach above the subject's chin: clothes are
    easily taken for another person's. Detected faces are certain, and below and beside them a body is the more likely
    theirs the nearer it is to being under them; colours then tell apart what is unsure. Beyond the square that was
    looked at, a pixel belongs to whom the nearest known pixel of the mask belongs to, unless a face or its colour says
    otherwise.
    """
    values = mask.detach().cpu().numpy().astype(np.float32)
    points = face.detach().cpu().double().numpy()
    faces = [other.detach().cpu().double().numpy() for other in other_faces]
    others = _other_share(values > 0.5, image.detach().cpu().numpy(), points, seen, faces)
    kept = np.clip((UNSURE[1] - others) / (UNSURE[1] - UNSURE[0]), 0, 1)
    kept = np.where(hull_mask(points, values.shape) > 0, 1.0, kept)
    return torch.from_numpy((values * kept).astype(np.float32)).to(mask)


def _other_share(
    person: Bool[np.ndarray, "h w"],
    image: Float[np.ndarray, "h w 3"],
    face: Float[np.ndarray, "n 2"],
    seen: Perception,
    other_faces: Sequence[Float[np.ndarray, "_ 2"]],
) -> Float[np.ndarray, "h w"]:
    """Return the share of other people among all people; beyond what is known that of the nearest known person."""
    hulls = np.zeros(person.shape, bool)
    for other in other_faces:
        hulls |= hull_mask(other, person.shape) > 0
    other = seen.parts[..., OTHERS]
    subject = 1 - seen.parts[..., BACKGROUND] - other
    share = other / (other + subject + 1e-6)
    planes = seen.square.on_photo(np.stack([share, np.ones_like(share)], -1), *person.shape)
    inside = planes[..., 1] > 0.99
    share = planes[..., 0]
    if not other_faces:
        share = share * _believed((share > 0.5) & person, face, seen.square)
    share = np.where(hulls, 1, share).astype(np.float32)
    inside |= hulls
    known = inside & person
    if known.any():
        nearest = cv2.distanceTransformWithLabels(
            (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )[1]
        by_label = np.zeros(int(nearest.max()) + 1, np.float32)
        by_label[nearest[known]] = share[known]
        share = np.where(inside, share, by_label[nearest])
    if other_faces:
        sure = np.clip(share, 1 - SUREST, SUREST)
        odds = np.log(sure / (1 - sure)) * np.where(inside, 1, FAR)
        odds += _under(person.shape, face, other_faces, seen.square)
        size = float(np.ptp(face, axis=0).max())
        colours = colour_odds(image, person & (odds < -SURE_ODDS), person & (hulls | (odds > SURE_ODDS)), size)
        odds = odds if colours is None else odds + COLOURS * colours
        share = np.where(hulls, 1, 1 / (1 + np.exp(-odds)))
    return np.where(person, share, 0).astype(np.float32)


def _under(
    shape: tuple[int, ...],
    face: Float[np.ndarray, "n 2"],
    other_faces: Sequence[Float[np.ndarray, "_ 2"]],
    square: Square,
) -> Float[np.ndarray, "h w"]:
    """Return the logarithm of the odds that a pixel is another person's, by whose face it is under.

    Distances to the middles of faces are taken across the subject's upright, in widths of each face.
    """
    across = square.square_from_photo[0, :2] / square.zoom
    row, column = np.mgrid[: shape[0], : shape[1]] + 0.5
    place = across[0] * column + across[1] * row

    def away(points: Float[np.ndarray, "_ 2"]) -> Float[np.ndarray, "h w"]:
        along = points[:468] @ across
        return np.abs(place - (along.max() + along.min()) / 2) / max(float(np.ptp(along)), 1.0)

    nearest = np.min([away(other) for other in other_faces], axis=0)
    return np.clip(UNDER * (away(face) - nearest), -MOST_UNDER, MOST_UNDER)


def _believed(
    other: Bool[np.ndarray, "h w"], face: Float[np.ndarray, "n 2"], square: Square
) -> Float[np.ndarray, "h w"]:
    """Return 1 in and closely around connected parts of other people that reach above the chin."""
    down = square.square_from_photo[1]
    heights = square.from_photo(face)[:, 1]
    row, column = np.mgrid[: other.shape[0], : other.shape[1]] + 0.5
    above = down[0] * column + down[1] * row + down[2] < heights.max()
    count, labels = cv2.connectedComponents(other.astype(np.uint8))
    area = np.bincount(labels[above], minlength=count) * square.zoom**2
    keep = area > LEAST_ABOVE * square.size**2
    keep[0] = False
    reach = max(1, round(2 / square.zoom))
    return cv2.dilate(keep[labels].astype(np.float32), np.ones((2 * reach + 1, 2 * reach + 1)))


def covered_share(seen: Perception, face: Float[Tensor, "n 2"]) -> float:
    """Return the share of things in front from the base of the nose to the chin, between the cheeks."""
    points = seen.square.from_photo(face[list(_MUZZLE)].detach().cpu().double().numpy())
    inside = hull_mask(points, seen.parts.shape[:2]) > 0
    return float(seen.parts[inside, FRONT].mean()) if inside.any() else 0.0


def things_in_front(
    seen: Perception, face: Float[Tensor, "n 2"], shape: tuple[int, ...] | torch.Size
) -> Float[Tensor, "h w"] | None:
    """Return 1 where a thing hides the person; None where none does, or too much seems hidden to be true."""
    height, width = shape
    front = (seen.square.on_photo(seen.parts[..., FRONT : FRONT + 1], height, width)[..., 0] > 0.5).astype(np.uint8)
    points = face.detach().cpu().double().numpy()
    radius = max(1, round(THIN * float(np.ptp(points, axis=0).max())))
    opened = cv2.morphologyEx(np.ascontiguousarray(front), cv2.MORPH_OPEN, disc(radius)) > 0
    if not opened.any() or opened[hull_mask(points, (height, width)) > 0].mean() > MOST_HIDDEN:
        return None
    return torch.from_numpy(opened.astype(np.float32))
