"""Which faces in several photos are one person's, by a face recognition network; an optional extra.

Source: the residual network of dlib (King, 2009, Dlib-ml: a machine learning toolkit), whose weights are in the public
domain. It turns a face into 128 numbers that are near each other for photos of one person. They stay in memory while
photos are compared, and are never written.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from protome.capture.cameras import camera_from_landmarks
from protome.capture.landmarks import Detection
from protome.errors import InputError, ProtomeWarning
from protome.geometry.pose import turned_degrees
from protome.landmarks import load_face_landmarks
from protome.scene import View
from protome.scenes.pictures import eight_bits

OTHER_PERSON = 0.6
"""Distance of two faces' descriptors from which on they are those of different people, as the network was trained."""
MOST_TURNED = 45.0
"""Degrees from the front up to which a face is judged."""
_CORNERS = (263, 362, 33, 133, 2)
"""Outer and inner corners of the left and the right eye, and the base of the nose, in dlib's order."""
_CHIP_SIDE, _CHIP_PADDING = 150, 0.25
"""Of the picture that the network takes."""


@dataclass(frozen=True)
class Face:
    """One face of one photo."""

    photo: int
    place: int
    """Among the photo's faces."""
    descriptor: Float[np.ndarray, "128"]
    frontal: bool


@dataclass(frozen=True)
class Other:
    """How a photo shows that its person is not the common one."""

    photo: int
    """The photo of the common person whose face is nearest."""
    distance: float
    """Of the two faces' descriptors."""

    def sentence(self, name: str, nearest: str) -> str:
        """Say it of photos with these names."""
        return (
            f"{name} shows another person than {nearest} (their faces differ by {self.distance:.2f}, "
            f"those of one person by less than {OTHER_PERSON:g})"
        )


@dataclass(frozen=True)
class People:
    """What faces say of who is in photos."""

    detections: tuple[Detection, ...]
    """Of all photos; where one shows several faces, the common person's comes first."""
    others: dict[int, Other]
    """Photos that show another person."""


def is_installed() -> bool:
    """Return whether library and weights are there."""
    return importlib.util.find_spec("dlib") is not None and _weights() is not None


def one_person(images: Sequence[Float[Tensor, "_ _ 3"]], detections: Sequence[Detection]) -> People:
    """Return whose faces photos show: the person in most of them, and the photos of somebody else.

    Where the library is missing, or only one photo shows a face, nothing is said.
    """
    if sum(bool(seen.faces) for seen in detections) < 2 or not is_installed():
        return People(tuple(detections), {})
    faces = faces_of(images, detections)
    chosen = common_person(faces)
    # Profiles are alike whoever it is: against them alone, nobody is somebody else.
    known = any(face.frontal for face in chosen.values())
    found, others = list(detections), {}
    for photo, seen in enumerate(detections):
        if photo in chosen:
            first = chosen[photo].place
            order = [first, *(k for k in range(len(seen.faces)) if k != first)]
            found[photo] = replace(seen, faces=tuple(seen.faces[k] for k in order))
        elif known:
            own = next((face for face in faces if face.photo == photo and face.place == 0 and face.frontal), None)
            if own is not None:
                others[photo] = _nearest(own, list(chosen.values()))
    return People(tuple(found), others)


def _nearest(face: Face, common: Sequence[Face]) -> Other:
    """Return which face of the common person is most like another one."""
    distances = [float(np.linalg.norm(face.descriptor - each.descriptor)) for each in common]
    number = int(np.argmin(distances))
    return Other(common[number].photo, distances[number])


def warn_of_other_people(views: Sequence[View]) -> None:
    """Warn of photos with given cameras whose landmarks are on the face of another person than in most others.

    Only faces from the front are compared. Nothing is said where the library is missing.
    """
    front = [
        view for view in views
        if view.landmarks is not None and is_frontal(view.landmarks, *reversed(view.mask.shape))
    ]  # fmt: skip
    detections = [Detection(() if view.landmarks is None else (view.landmarks,), view.mask) for view in front]
    for number, other in one_person([view.image for view in front], detections).others.items():
        warnings.warn(
            f"{other.sentence(front[number].name, front[other.photo].name)}: leave it out, or check the cameras",
            ProtomeWarning,
            stacklevel=3,
        )


def faces_of(images: Sequence[Float[Tensor, "_ _ 3"]], detections: Sequence[Detection]) -> list[Face]:
    """Return the faces of all photos with their descriptors."""
    dlib: Any = importlib.import_module("dlib")
    network = dlib.face_recognition_model_v1(str(_weights()))
    found = []
    for photo, (image, seen) in enumerate(zip(images, detections, strict=True)):
        if not seen.faces:
            continue
        pixels = eight_bits(image)
        for place, landmarks in enumerate(seen.faces):
            points = landmarks.double().cpu().numpy()
            low, high = np.rint(points.min(0)).astype(int).tolist(), np.rint(points.max(0)).astype(int).tolist()
            corners = [dlib.point(*np.rint(points[k]).astype(int).tolist()) for k in _CORNERS]
            outline = dlib.full_object_detection(dlib.rectangle(*low, *high), corners)
            chip = dlib.get_face_chip(pixels, outline, _CHIP_SIDE, _CHIP_PADDING)
            descriptor = np.array(network.compute_face_descriptor(chip))
            found.append(Face(photo, place, descriptor, is_frontal(landmarks, *reversed(image.shape[:2]))))
    return found


def common_person(faces: Sequence[Face]) -> dict[int, Face]:
    """Return the face of each photo that shows the person who is in most photos; of several such the first given.

    A photo belongs to a group if one of its faces is nearer than `OTHER_PERSON` to a face of the group.
    """
    descriptors = np.array([face.descriptor for face in faces])
    distances = np.linalg.norm(descriptors[:, None] - descriptors, axis=2)
    photos = np.array([face.photo for face in faces])
    best: dict[int, Face] = {}
    for start in range(len(faces)):
        group, nearest = {faces[start].photo: faces[start]}, distances[start]
        while True:
            outside = np.where(np.isin(photos, list(group)), np.inf, nearest)
            number = int(outside.argmin())
            if outside[number] >= OTHER_PERSON:
                break
            group[faces[number].photo] = faces[number]
            nearest = np.minimum(nearest, distances[number])
        if len(group) > len(best):
            best = group
    return best


def is_frontal(landmarks: Float[Tensor, "478 2"], width: int, height: int) -> bool:
    """Return whether a face looks at the camera within `MOST_TURNED` degrees; not if it fits no camera."""
    try:
        camera = camera_from_landmarks(landmarks, width, height, None, load_face_landmarks())
    except InputError:
        return False
    return turned_degrees(camera.centre.double().numpy()) < MOST_TURNED


def _weights() -> Path | None:
    # The package's own code wants a library that new versions of setuptools lack; only its file is needed.
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder, "models", "dlib_face_recognition_resnet_model_v1.dat")
        if path.is_file():
            return path
    return None
