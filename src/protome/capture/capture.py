"""Photos to a scene: faces, cameras and masks in one go."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from protome.capture.bundle import Bundle, Tracks
from protome.capture.cameras import camera_from_landmarks
from protome.capture.differences import ALIKE, spread_degrees
from protome.capture.head import head_from_landmarks
from protome.capture.inputs import load_photos
from protome.capture.landmarks import Detection, check_some_face, detect, largest_face
from protome.capture.lenses import Shot
from protome.capture.mask import person_mask
from protome.capture.motion import INSTALL, LEAST_PHOTOS, brought_together, is_installed, structure_from_motion
from protome.capture.people import one_person
from protome.capture.photo import Photo
from protome.capture.posed import faces_on, mask_of_head, outside_mask
from protome.capture.sight import parts_around, seen_landmarks, subject_on, with_sight
from protome.capture.together import Together, epipolar_error, place_roughly, place_together
from protome.errors import InputError, ProtomeWarning
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.landmarks import load_face_landmarks
from protome.perception.sight import packaged_sight
from protome.scene import CameraEstimate, Scene, View
from protome.units import UNIT_MM

AS_WELL = 1.2
"""Factor up to which errors count as equal."""
MOTION_SPREAD, MOTION_FOCAL_SPREAD = 0.01, 0.02
"""Standard deviations of rotations (radians) and of the logarithms of focal lengths from structure from motion."""


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
    detections = detect([photo.image for photo in photos])
    check_some_face(detections, [photo.shown for photo in photos])
    photos, detections = _of_one_person(photos, detections, strict)
    views = _with_views(photos, detections, strict)
    placed = _placed_together(photos, views, detections, strict) if len(views) > 1 else None
    used = views if placed is None else placed.views
    without = [
        photo.shown for number, (photo, seen) in enumerate(zip(photos, detections, strict=True))
        if not seen.faces and number not in used
    ]  # fmt: skip
    if without:
        hint = "" if is_installed() or len(photos) < LEAST_PHOTOS else f" (`{INSTALL}` lets the background place it)"
        warnings.warn(f"no face found in {', '.join(without)}: left out{hint}", ProtomeWarning, stacklevel=2)
    if placed is None:
        return Scene(tuple(views.values()), Similarity.scaling(1 / UNIT_MM), posed=False)
    return placed.scene()


def _of_one_person(
    photos: Sequence[Photo], detections: Sequence[Detection], strict: bool
) -> tuple[tuple[Photo, ...], tuple[Detection, ...]]:
    """Return the photos that do not show somebody else, with the face of the common person first.

    Raises:
        InputError: there is a photo of somebody else, and `strict` is set.
    """
    allowed = [_allowed(photo, seen) for photo, seen in zip(photos, detections, strict=True)]
    people = one_person([photo.image for photo in photos], allowed)
    for number, other in people.others.items():
        sentence = other.sentence(photos[number].shown, photos[other.photo].shown)
        if strict:
            raise InputError(f"{sentence}: leave it out")
        warnings.warn(f"{sentence}: left out", ProtomeWarning, stacklevel=3)
    kept = [number for number in range(len(photos)) if number not in people.others]
    # A photo whose mask leaves out its faces is refused later, with all of them.
    faces = tuple(people.detections[k] if allowed[k].faces else detections[k] for k in kept)
    return tuple(photos[number] for number in kept), faces


def _with_views(photos: Sequence[Photo], detections: Sequence[Detection], strict: bool) -> dict[int, View]:
    """Return a view of each photo whose face places its camera; unless `strict`, others are left out.

    Raises:
        InputError: no photo has a usable face; or `strict` and one has none, or several.
    """
    views: dict[int, View] = {}
    refused: InputError | None = None
    for number, (photo, detection) in enumerate(zip(photos, detections, strict=True)):
        if not detection.faces and not strict and len(photos) > 1:
            continue
        try:
            views[number] = _view(photo, detection, strict)
        except InputError as error:
            if strict or len(photos) == 1:
                raise
            refused = error
            warnings.warn(f"{photo.shown} is left out: {error}", ProtomeWarning, stacklevel=3)
    if not views and refused is not None:
        raise refused
    return views


def _view(photo: Photo, seen: Detection, strict: bool) -> View:
    """Return the view whose camera sees the mean face where a photo shows the face.

    Raises:
        InputError: the photo shows no face, or one that fits no camera or lies outside the photo's mask.
    """
    detection = _on_mask(photo, seen)
    landmarks = largest_face(detection, photo.shown, strict)
    height, width = photo.image.shape[:2]
    camera = camera_from_landmarks(landmarks, width, height, photo.focal_px, load_face_landmarks(), photo.shown)
    sight, mask = packaged_sight(), photo.mask
    parts = parts_around(sight, photo.image, landmarks)
    if mask is None:
        second = subject_on(parts, photo.image.shape)
        mask = person_mask(photo.image, detection.person_mask, landmarks, second=second)
    source = "assumed" if photo.focal_px is None else "from the file"
    view = View(
        photo.name, photo.image, mask, camera, landmarks, photo.mask_file, focal_from=source,
        faces=len(detection.faces), frame=photo.frame, recorded_mm=photo.recorded_mm,
    )  # fmt: skip
    return with_sight(view, sight, parts, detection.faces, mask_given=photo.mask is not None)


def _shot(photo: Photo, view: View) -> Shot:
    assert view.landmarks is not None
    return Shot(
        view.landmarks, view.camera.width, view.camera.height, photo.lens, photo.focal_px,
        seen_landmarks(packaged_sight(), view.image, view.landmarks),
    )  # fmt: skip


@dataclass(frozen=True)
class _Placed:
    """Photos in one frame."""

    views: dict[int, View]
    """By the photos' numbers; cameras are posed in the head frame in millimetres."""
    focal_spread: dict[int, float]
    """Standard deviations of the logarithms of the focal lengths."""
    rotation_spread: dict[int, float]
    """Standard deviations of the cameras' directions from the head, relative to each other, radians."""
    tracks: Tracks
    """Matches between the photos that have a face, which are numbered as they come in `views`."""

    def scene(self) -> Scene:
        """Return the scene of those of the photos that are in the frame."""
        order = sorted(self.views)
        estimate = CameraEstimate(
            tuple(self.focal_spread[k] for k in order), tuple(self.rotation_spread[k] for k in order)
        )
        return Scene(tuple(self.views[k] for k in order), Similarity.scaling(1 / UNIT_MM), True, estimate)


def _placed_together(
    photos: Sequence[Photo], views: dict[int, View], detections: Sequence[Detection], strict: bool
) -> _Placed | None:
    """Return cameras in one frame where most photos agree about the head; None where they do not.

    Nor do photos from nearly the same direction have a frame: they do not determine depths, and so no directions.

    Raises:
        InputError: only some of the photos agree, and `strict` is set.
    """
    if spread_degrees([view.camera.centre for view in views.values()]) < ALIKE:
        return None
    shots = [_shot(photos[number], view) for number, view in views.items()]
    rough = place_roughly(shots)
    motion = _motion(photos, dict(zip(views, rough.cameras, strict=True)))
    found = _together(photos, views, shots, rough, motion)
    agreeing = {number: view for (number, view), agrees in zip(views.items(), found.agrees, strict=True) if agrees}
    if 2 * len(agreeing) <= len(views):
        return None
    if len(agreeing) < len(views):
        names = ", ".join(photos[number].shown for number in views if number not in agreeing)
        if strict:
            raise InputError(f"{names} disagrees with the other photos about the head: leave it out")
        warnings.warn(f"{names} disagrees with the other photos about the head: left out", ProtomeWarning, stacklevel=3)
        shots = [_shot(photos[number], view) for number, view in agreeing.items()]
        found = _together(photos, agreeing, shots, place_roughly(shots), motion)
    moved = [replace(view, camera=camera) for view, camera in zip(agreeing.values(), found.cameras, strict=True)]
    try:
        # The size that all landmarks have together is that of the mean face.
        placement = head_from_landmarks(moved, "mm", load_face_landmarks())
        millimetres = Similarity.scaling(UNIT_MM).compose(placement.head_from_world)
    except InputError:  # photos from one place do not determine points; the cameras see the mean face as it is
        millimetres = Similarity.identity()
    placed = _Placed(
        {number: view.transformed(millimetres) for number, view in zip(agreeing, moved, strict=True)},
        dict(zip(agreeing, found.focal_spread, strict=True)), dict(zip(agreeing, found.rotation_spread, strict=True)),
        found.tracks,
    )  # fmt: skip
    return _with_motion(placed, motion, photos, detections)


def _together(
    photos: Sequence[Photo], views: Mapping[int, View], shots: Sequence[Shot], rough: Bundle,
    motion: Mapping[int, Camera],
) -> Together:  # fmt: skip
    """Return the cameras of views, beginning with those of structure from motion where these fit the head."""
    images, masks = [view.image for view in views.values()], [view.mask for view in views.values()]
    cameras = brought_together(motion, dict(zip(views, rough.cameras, strict=True)))
    start = [cameras[number] for number in views if number in cameras]
    if len(start) == len(views):
        found = place_together(images, masks, shots, rough, start)
        if _explains(start, found.tracks, found.cameras):
            return found
    return place_together(images, masks, shots, rough)


def _explains(cameras: Sequence[Camera], tracks: Tracks, others: Sequence[Camera]) -> bool:
    """Return whether cameras explain matches on the head about as well as other cameras do."""
    own, other = (epipolar_error(tracks, dict(enumerate(some))) for some in (cameras, others))
    return own < AS_WELL * other


def _motion(photos: Sequence[Photo], roughly: Mapping[int, Camera]) -> dict[int, Camera]:
    """Return cameras from structure from motion on the whole pictures, where there are enough of these.

    A frame without a face was taken from about the direction of the nearest one of its video with a face.
    """
    if len(photos) < LEAST_PHOTOS:
        return {}
    near = dict(roughly)
    for number, photo in enumerate(photos):
        beside = [k for k in roughly if photo.frame is not None and photos[k].lens == photo.lens]
        if number not in roughly and beside:
            near[number] = roughly[min(beside, key=lambda k: abs(k - number))]
    return structure_from_motion(
        [photo.image for photo in photos], [photo.lens for photo in photos], [photo.focal_px for photo in photos], near
    )


def _with_motion(
    placed: _Placed, motion: Mapping[int, Camera], photos: Sequence[Photo], detections: Sequence[Detection]
) -> _Placed:
    """Return the photos with those that show no face, where structure from motion on the whole pictures places them.

    It has to agree with the cameras that the head gave. Where it also explains the matches on the head as well as
    these do, its cameras are used for all photos: it sees more of the picture, and did not know of those matches.
    """
    cameras = brought_together(motion, {number: view.camera for number, view in placed.views.items()})
    if not cameras:
        return placed
    views, order = dict(placed.views), list(placed.views)
    focal, rotation = dict(placed.focal_spread), dict(placed.rotation_spread)
    moved = [cameras[number] for number in order if number in cameras]
    if len(moved) == len(order) and _explains(moved, placed.tracks, [views[number].camera for number in order]):
        views |= {number: replace(views[number], camera=cameras[number]) for number in order}
        focal |= dict.fromkeys(order, MOTION_FOCAL_SPREAD)
        rotation |= dict.fromkeys(order, MOTION_SPREAD)
    for number, camera in cameras.items():
        if number in views or detections[number].faces:
            continue
        photo = photos[number]
        blank = torch.zeros(photo.image.shape[:2])
        view = View(
            photo.name, photo.image, blank, camera, None, photo.mask_file, focal_from="assumed", frame=photo.frame
        )
        mask = photo.mask
        if mask is None:
            head = Similarity.scaling(1 / UNIT_MM)
            mask = mask_of_head(view, detections[number], head, load_face_landmarks())
        if bool((mask > 0.5).any()):
            views[number] = replace(view, mask=mask)
            focal[number], rotation[number] = MOTION_FOCAL_SPREAD, MOTION_SPREAD
    return _Placed(views, focal, rotation, placed.tracks)


def _allowed(photo: Photo, detection: Detection) -> Detection:
    """Return what was seen in a photo with only the faces that lie on its mask, if it came with one."""
    return detection if photo.mask is None else replace(detection, faces=faces_on(photo.mask, detection))


def _on_mask(photo: Photo, detection: Detection) -> Detection:
    """Return what was seen in a photo with only the faces that lie on its mask, if it came with one.

    Raises:
        InputError: the mask leaves out all faces there are.
    """
    allowed = _allowed(photo, detection)
    if detection.faces and not allowed.faces:
        raise outside_mask(photo.shown, photo.mask_file)
    return allowed
