"""Posed views to a scene: where the head is among known cameras, and what is missing of landmarks and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from protome.capture.agreement import check_agreement
from protome.capture.head import Units
from protome.capture.landmarks import Detection, detect
from protome.capture.mask import SURE, person_mask
from protome.capture.order import checked_placement
from protome.capture.people import warn_of_other_people
from protome.capture.photo import ALL_WHITE
from protome.capture.resampling import warn_of_resampling
from protome.capture.sight import parts_around, subject_on, with_sight
from protome.errors import InputError
from protome.geometry.transforms import Similarity
from protome.landmarks import FaceLandmarks, load_face_landmarks
from protome.perception.sight import packaged_sight
from protome.scene import Scene, Unmasked, View
from protome.units import UNIT_MM

BESIDE_HEAD_MM = ((0.0, 230.0, -80.0), (-170.0, 140.0, -80.0), (170.0, 140.0, -80.0))
"""Places 20 cm from the middle of a head, above it and on both sides (head frame), that hardly any hair reaches."""
LEAST_SEEN = 0.25
"""Share of the face that must lie inside an image for its person to be outlined."""


def locate_head(views: Sequence[View | Unmasked], units: Units | None) -> Scene:
    """Find the head in posed views; the scene keeps their world frame, and landmarks where they agree with the head.

    Landmarks that views already have are kept, and masks are made where they are missing, also of views from behind;
    `units` is the length unit of the cameras, which gives the head its true size; where it is None, several views give
    it the mean face's. The perception network, where a good one ships, takes other people out of masks that are made,
    and adds dense landmarks to a single view.

    Raises:
        InputError: as `checked_placement` and `check_agreement`; or a mask from a file leaves out the only face, or
            leaves out nothing.
    """
    warn_of_resampling([view.camera for view in views])
    unmasked = [i for i, view in enumerate(views) if isinstance(view, Unmasked)]
    persons = dict(zip(unmasked, detect([views[i].image for i in unmasked], with_masks=True), strict=True))
    # Until the head is found, the person is what the segmentation says.
    found = [
        view.with_mask(persons[i].person_mask) if isinstance(view, Unmasked) else view for i, view in enumerate(views)
    ]
    blank = [i for i, view in enumerate(found) if view.landmarks is None and i not in persons]
    faces = persons | dict(zip(blank, detect([found[i].image for i in blank], with_masks=False), strict=True))
    for i, detection in faces.items():
        own = faces_on(found[i].mask, detection)
        found[i] = replace(found[i], landmarks=own[0] if own else None, faces=len(own))
    _check_faces_on_masks(found, faces)
    face = load_face_landmarks()
    placement = checked_placement(found, units, face)
    check_agreement(found, placement, units, face)
    warn_of_other_people(found)
    if units is not None:
        placement = placement.metric(units, face)
    for i, used in enumerate(placement.used):
        if not used:
            found[i] = replace(found[i], landmarks=None)
    alone, sight = len(found) == 1, packaged_sight()  # several posed views need no estimate of the shape
    for i, view in enumerate(found):
        seen = parts_around(sight, view.image, view.landmarks)
        if i in persons:
            second = subject_on(seen, view.mask.shape)
            view = replace(view, mask=mask_of_head(view, persons[i], placement.head_from_world, face, second))
        every = faces[i].faces if i in faces else ()
        found[i] = with_sight(view, sight, seen, every, mask_given=i not in persons, landmarks=alone)
    for view in found:
        _check_white(view, placement.head_from_world)
    return Scene(tuple(found), placement.head_from_world, posed=True, metric=units is not None)


def mask_of_head(
    view: View,
    detection: Detection,
    head_from_world: Similarity,
    face: FaceLandmarks,
    second: Float[Tensor, "h w"] | None = None,
) -> Float[Tensor, "h w"]:
    """Return the mask of the person whose head is known; empty where the camera does not see its face's place.

    `second` is another probability of the person, as for `person_mask`.
    From behind, the face is hidden by the head and so lies within the person's outline all the same.
    """
    points, sure = view.landmarks, SURE
    if points is None:
        sure = 0.0
        world = head_from_world.inverse().apply(face.positions / UNIT_MM)
        if float(view.camera.to_camera(world)[:, 2].min()) <= 0:
            return torch.zeros_like(view.mask)
        points = view.camera.project(world)
        points = points[((points > 0) & (points < torch.tensor([*view.mask.shape[::-1]]))).all(1)]
        if len(points) < LEAST_SEEN * len(world):
            return torch.zeros_like(view.mask)
    return person_mask(view.image, detection.person_mask, points, sure, second)


def _check_faces_on_masks(views: Sequence[View], faces: Mapping[int, Detection]) -> None:
    """Refuse masks that leave out all faces there are: then the masks are wrong, not the photos."""
    if any(view.landmarks is not None for view in views):
        return
    for i, detection in faces.items():
        if detection.faces and views[i].mask_file is not None:
            raise outside_mask(views[i].name, views[i].mask_file)


def outside_mask(name: str, mask_file: Path | None) -> InputError:
    """Return the error of a photo whose mask leaves out its face."""
    return InputError(
        f"the face in {name} lies outside its mask {mask_file}: paint that person white in it, and what is not person "
        "black"
    )


def _check_white(view: View, head_from_world: Similarity) -> None:
    """Refuse a mask from a file that is white everywhere in a view that also sees what cannot be person."""
    if view.mask_file is None or float(view.mask.mean()) < ALL_WHITE:
        return
    beside = head_from_world.inverse().apply(torch.tensor(BESIDE_HEAD_MM) / UNIT_MM).to(view.camera.K)
    if float(view.camera.to_camera(beside)[:, 2].min()) <= 0:
        return
    pixels = view.camera.project(beside)
    height, width = view.mask.shape
    if bool(((pixels > 0) & (pixels < torch.tensor([width, height]))).all(1).any()):
        raise InputError(
            f"the mask {view.mask_file} is white everywhere, but {view.name} also shows what is beside the head: paint "
            "black what is not person"
        )


def faces_on(mask: Float[Tensor, "h w"], detection: Detection) -> tuple[Float[Tensor, "n 2"], ...]:
    """Return the faces that lie on a mask, the largest first."""
    return tuple(face for face in detection.faces if _lies_on(mask, face))


def _lies_on(mask: Float[Tensor, "h w"], face: Float[Tensor, "n 2"]) -> bool:
    """Return whether most of a face's landmarks lie on a mask."""
    height, width = mask.shape
    x, y = face[:, 0].long().clamp(0, width - 1), face[:, 1].long().clamp(0, height - 1)
    return float(mask[y, x].mean()) > 0.5
