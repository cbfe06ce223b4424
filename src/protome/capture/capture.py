"""Photos to a scene: faces, cameras and masks in one go."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome.capture.cameras import camera_from_landmarks
from protome.capture.head import Units, head_from_landmarks
from protome.capture.inputs import load_photos
from protome.capture.landmarks import Detection, check_some_face, detect, largest_face
from protome.capture.lenses import Shot
from protome.capture.mask import SURE, person_mask
from protome.capture.order import checked_placement
from protome.capture.photo import Photo
from protome.capture.together import place_together
from protome.errors import InputError, ProtomeWarning
from protome.geometry.transforms import Similarity
from protome.landmarks import FaceLandmarks, load_face_landmarks
from protome.scene import CameraEstimate, Scene, Unmasked, View
from protome.units import UNIT_MM

ALL_WHITE = 0.999
"""Mean of a mask that leaves nothing out."""
BESIDE_HEAD_MM = ((0.0, 230.0, -80.0), (-170.0, 140.0, -80.0), (170.0, 140.0, -80.0))
"""Places 20 cm from the middle of a head, above it and on both sides (head frame), that hardly any hair reaches."""
LEAST_SEEN = 0.25
"""Share of the face that must lie inside an image for its person to be outlined."""


def capture_photos(paths: Sequence[str | Path], strict: bool = False) -> Scene:
    """Turn photos of one person into a scene whose world frame is the head frame in millimetres.

    `paths` are those of photos, folders and videos, as `protome.capture.inputs.load_photos` reads them. A mask that
    comes with a photo is used, and chooses the face; others are made. Photos that agree about one head get cameras in
    one frame, and the scene is posed; otherwise each photo places the head on its own. Photos without a face, and
    those that disagree with most others, are left out with a `ProtomeWarning`. `strict` refuses them, and photos with
    several faces, instead of taking the largest.

    Raises:
        InputError: no photos; or one that cannot be read, shows a face that fits no camera, or has a mask that leaves
            out the face; or none shows a face.
    """
    photos = load_photos(paths)
    face = load_face_landmarks()
    detections = detect([photo.image for photo in photos])
    check_some_face(detections, [photo.shown for photo in photos])
    views, shots = [], []
    for number in _with_faces(detections, photos, strict):
        photo = photos[number]
        detection = _on_mask(photo, detections[number])
        landmarks = largest_face(detection, photo.shown, strict)
        height, width = photo.image.shape[:2]
        camera = camera_from_landmarks(landmarks, width, height, photo.focal_px, face, photo.shown)
        mask = person_mask(photo.image, detection.person_mask, landmarks) if photo.mask is None else photo.mask
        source = "assumed" if photo.focal_px is None else "from the file"
        view = View(
            photo.name, photo.image, mask, camera, landmarks, photo.mask_file, focal_from=source,
            faces=len(detection.faces), frame=photo.frame, recorded_mm=photo.recorded_mm,
        )  # fmt: skip
        views.append(view)
        shots.append(Shot(landmarks, width, height, photo.lens, photo.focal_px))
    scene = Scene(tuple(views), Similarity.scaling(1 / UNIT_MM), posed=False)
    return _one_frame(scene, shots, strict) if len(views) > 1 else scene


def _with_faces(detections: Sequence[Detection], photos: Sequence[Photo], strict: bool) -> list[int]:
    """Return the photos with faces; all of them where all must have one, or none has."""
    faces = [number for number, detection in enumerate(detections) if detection.faces]
    if strict or not faces:
        return list(range(len(photos)))
    without = [photo.shown for photo, detection in zip(photos, detections, strict=True) if not detection.faces]
    if without:
        warnings.warn(f"no face found in {', '.join(without)}: left out", ProtomeWarning, stacklevel=3)
    return faces


def _one_frame(scene: Scene, shots: Sequence[Shot], strict: bool) -> Scene:
    """Return the scene with cameras in one frame where most photos agree about the head; otherwise as it is.

    Raises:
        InputError: only some of the photos agree, and `strict` is set.
    """
    views = scene.views
    found = place_together([view.image for view in views], [view.mask for view in views], shots)
    agreeing = np.flatnonzero(found.agrees)
    if 2 * len(agreeing) <= len(views):
        return scene
    if len(agreeing) < len(views):
        names = ", ".join(view.name for view, agrees in zip(views, found.agrees, strict=True) if not agrees)
        if strict:
            raise InputError(f"{names} disagrees with the other photos about the head: leave it out")
        warnings.warn(f"{names} disagrees with the other photos about the head: left out", ProtomeWarning, stacklevel=3)
        views, shots = tuple(views[int(k)] for k in agreeing), [shots[int(k)] for k in agreeing]
        found = place_together([view.image for view in views], [view.mask for view in views], shots)
    moved = [replace(view, camera=camera) for view, camera in zip(views, found.cameras, strict=True)]
    # The size that all landmarks have together is that of the mean face.
    placement = head_from_landmarks(moved, "mm", load_face_landmarks())
    millimetres = Similarity.scaling(UNIT_MM).compose(placement.head_from_world)
    return replace(
        scene, views=tuple(view.transformed(millimetres) for view in moved), posed=True,
        estimate=CameraEstimate(found.focal_spread),
    )  # fmt: skip


def _on_mask(photo: Photo, detection: Detection) -> Detection:
    """Return what was seen in a photo with only the faces that lie on its mask, if it came with one.

    Raises:
        InputError: the mask leaves out all faces there are.
    """
    if photo.mask is None or not detection.faces:
        return detection
    faces = _faces_on(photo.mask, detection)
    if not faces:
        raise InputError(
            f"the face in {photo.shown} lies outside its mask {photo.mask_file}: paint that person white in it, and "
            "what is not person black"
        )
    return replace(detection, faces=faces)


def locate_head(views: Sequence[View | Unmasked], units: Units | None) -> Scene:
    """Find the head in posed views; the scene keeps their world frame, and landmarks where they agree with the head.

    Landmarks that views already have are kept, and masks are made where they are missing, also of views from behind;
    `units` is the length unit of the cameras, None where it is unknown.

    Raises:
        InputError: as `head_from_landmarks`; or a mask from a file leaves out the only face, or leaves out nothing.
    """
    unmasked = [i for i, view in enumerate(views) if isinstance(view, Unmasked)]
    persons = dict(zip(unmasked, detect([views[i].image for i in unmasked], with_masks=True), strict=True))
    # Until the head is found, the person is what the segmentation says.
    found = [
        view.with_mask(persons[i].person_mask) if isinstance(view, Unmasked) else view for i, view in enumerate(views)
    ]
    blank = [i for i, view in enumerate(found) if view.landmarks is None and i not in persons]
    faces = persons | dict(zip(blank, detect([found[i].image for i in blank], with_masks=False), strict=True))
    for i, detection in faces.items():
        own = _faces_on(found[i].mask, detection)
        found[i] = replace(found[i], landmarks=own[0] if own else None, faces=len(own))
    _check_faces_on_masks(found, faces)
    face = load_face_landmarks()
    placement = checked_placement(found, units, face)
    for i, used in enumerate(placement.used):
        if not used:
            found[i] = replace(found[i], landmarks=None)
    for i, detection in persons.items():
        mask = _mask_of_head(found[i], detection, placement.head_from_world, face)
        found[i] = replace(found[i], mask=mask)
    for view in found:
        _check_white(view, placement.head_from_world)
    return Scene(tuple(found), placement.head_from_world, posed=True)


def _mask_of_head(
    view: View, detection: Detection, head_from_world: Similarity, face: FaceLandmarks
) -> Float[Tensor, "h w"]:
    """Return the mask of the person whose head is known; empty where the camera does not see its face's place.

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
    return person_mask(view.image, detection.person_mask, points, sure)


def _check_faces_on_masks(views: Sequence[View], faces: Mapping[int, Detection]) -> None:
    """Refuse masks that leave out all faces there are: then the masks are wrong, not the photos."""
    if any(view.landmarks is not None for view in views):
        return
    for i, detection in faces.items():
        if detection.faces and views[i].mask_file is not None:
            raise InputError(
                f"the face in {views[i].name} lies outside its mask {views[i].mask_file}: paint that person white in "
                "it, and what is not person black"
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


def _faces_on(mask: Float[Tensor, "h w"], detection: Detection) -> tuple[Float[Tensor, "n 2"], ...]:
    """Return the faces that lie on a mask, the largest first."""
    return tuple(face for face in detection.faces if _lies_on(mask, face))


def _lies_on(mask: Float[Tensor, "h w"], face: Float[Tensor, "n 2"]) -> bool:
    """Return whether most of a face's landmarks lie on a mask."""
    height, width = mask.shape
    x, y = face[:, 0].long().clamp(0, width - 1), face[:, 1].long().clamp(0, height - 1)
    return float(mask[y, x].mean()) > 0.5
