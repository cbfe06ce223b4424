"""Face landmarks: where MediaPipe sees them in photos."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome.capture import detection_process
from protome.errors import InputError, ProtomeWarning
from protome.scenes.pictures import eight_bits

MEDIAPIPE_MISSING = 3
"""Exit code with which `detector.py` says that MediaPipe cannot be imported or has no `solutions`."""
MEDIAPIPE_VERSION = "0.10.21"
"""The newest version that has `solutions` and brings its models; `pyproject.toml` asks for it."""
INSTALL_MEDIAPIPE = (
    f"pip install --no-deps mediapipe=={MEDIAPIPE_VERSION} absl-py attrs flatbuffers 'protobuf>=4.25.3,<5'"
)
"""Installs it with what it needs to find faces, and changes nothing else."""


@dataclass(frozen=True)
class Detection:
    """What was seen in one image."""

    faces: tuple[Float[Tensor, "478 2"], ...]
    """Pixel positions (pixel centres at +0.5) of each face's landmarks, the largest face first."""
    person_mask: Float[Tensor, "h w"]
    """Probability of a person; zeros where masks were not asked for."""


def detect(images: Sequence[Float[Tensor, "_ _ 3"]], with_masks: bool = True) -> tuple[Detection, ...]:
    """Find all faces, and the person's mask, in images (RGB in [0, 1]) with MediaPipe, in a process of its own.

    Raises:
        InputError: MediaPipe is not installed, or not the version that brings its models.
        RuntimeError: its process failed for another reason.
    """
    if not images:
        return ()
    arrays = {f"image_{i}": eight_bits(image) for i, image in enumerate(images)}
    with tempfile.TemporaryDirectory(prefix="protome-") as folder:
        source, target = Path(folder, "images.npz"), Path(folder, "found.npz")
        np.savez(source, with_masks=np.array(with_masks), **arrays)  # type: ignore[arg-type]
        child = detection_process.run(source, target)
        if child.returncode == MEDIAPIPE_MISSING:
            reason = child.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise InputError(
                f"faces are found with MediaPipe {MEDIAPIPE_VERSION}, which cannot be used here ({reason[0]}): "
                f"run `{INSTALL_MEDIAPIPE}`"
            )
        if child.returncode or not target.is_file():
            raise RuntimeError(f"the face detector stopped with code {child.returncode}:\n{child.stderr[-2000:]}")
        with np.load(target) as found:
            return tuple(
                Detection(
                    tuple(torch.from_numpy(found[f"faces_{i}"]).unbind(0)),
                    torch.from_numpy(found[f"mask_{i}"]).float() / 255.0,
                )
                for i in range(len(images))
            )


def choose_face(detection: Detection, name: str, strict: bool = False) -> Float[Tensor, "478 2"]:
    """Return the landmarks of the one face a photo is about: the largest, with a `ProtomeWarning` if there are others.

    Raises:
        InputError: no face; or, if `strict`, several.
    """
    face = largest_face(detection, name, strict)
    if len(detection.faces) > 1:
        message = f"{len(detection.faces)} faces found in {name}: the largest one is used"
        warnings.warn(message, ProtomeWarning, stacklevel=2)
    return face


def largest_face(detection: Detection, name: str, strict: bool = False) -> Float[Tensor, "478 2"]:
    """Return the landmarks of the largest face.

    Raises:
        InputError: no face; or, if `strict`, several.
    """
    count = len(detection.faces)
    if count == 0:
        raise InputError(
            f"no face found in {name}: give a photo that shows the face from the front or a three-quarter view, "
            "sharp and well lit"
        )
    if count > 1 and strict:
        raise InputError(f"{count} faces found in {name}: crop the photo to one person")
    return detection.faces[0]


def check_some_face(detections: Sequence[Detection], names: Sequence[str]) -> None:
    """Refuse several photos none of which shows a face, in one sentence.

    Raises:
        InputError: as it says.
    """
    if len(names) > 1 and not any(detection.faces for detection in detections):
        raise InputError(
            f"no face found in any of the {len(names)} photos: give photos that show the face from the front or a "
            "three-quarter view, sharp and well lit"
        )
