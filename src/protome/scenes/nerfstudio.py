"""Scenes of nerfstudio and instant-ngp: `transforms.json` beside the images that it names.

Sources: nerfstudio's data conventions and instant-ngp's dataset notes. Each frame has `file_path` and
`transform_matrix`, the camera's pose in the world with OpenGL's axes (x right, y up, z back). `fl_x`, `fl_y`, `cx`,
`cy`, `w`, `h` and the distortion `k1`, `k2`, `p1`, `p2`, `k3` stand in the frame or, for all frames, at the top;
instead of focal lengths there may be `camera_angle_x` (radians). Pixel centres lie at +0.5.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.lens import Lens
from protome.scenes.pictures import IMAGE_SUFFIXES, choose, read_size
from protome.scenes.posed_file import PosedFile, existing, mask_beside, rigid

TRANSFORMS = "transforms.json"
MODELS = ("PERSPECTIVE", "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
"""Camera models that differ only in which numbers they may leave out."""
DISTORTION = ("k1", "k2", "p1", "p2", "k3")
HIGHER_DISTORTION = ("k4", "k5", "k6")
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def read_nerfstudio(folder: str | Path, names: Sequence[str] | None = None) -> tuple[View | Unmasked, ...]:
    """Read the views of a scene by name, as `protome.scenes.pictures.choose` chooses them.

    A frame's mask is what its `mask_path` names, else the file of the image's name in `masks/` or `mask/`, else the
    image's own opacity. Distorted images are undistorted.

    Raises:
        InputError: a file is missing or cannot be read; a number is missing or wrong; an unknown camera model; or no
            image has a wanted name.
    """
    folder = Path(folder)
    source = folder / TRANSFORMS
    facts = _load(source)
    frames = sorted(facts["frames"], key=lambda frame: frame["file_path"])
    paths = [Path(frame["file_path"].replace("\\", "/")) for frame in frames]
    short = [path.name for path in paths]
    called = short if len(set(short)) == len(short) else [path.as_posix() for path in paths]
    return tuple(
        _posed_file(folder, {**facts, **frames[index]}, paths[index], called[index]).read()
        for index in choose(called, names, source)
    )


def _load(source: Path) -> dict[str, Any]:
    """Return the file's content, in which every frame has a path and a pose."""
    try:
        facts = json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{source} is missing: a nerfstudio scene needs it, with its cameras inside") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be read as JSON: export the scene again") from error
    frames = facts.get("frames") if isinstance(facts, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{source} lists no frames: give file_path and transform_matrix of each image in frames")
    for number, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise InputError(f"frame {number} of {source} has no file_path: name its image there")
    return facts


def _posed_file(folder: Path, frame: dict[str, Any], path: Path, name: str) -> PosedFile:
    """Return one frame, to which the numbers for all frames were added."""
    source = folder / TRANSFORMS
    image = _image(folder, path, source)
    try:
        matrix = np.array(frame["transform_matrix"], np.float64)
        bottom = np.array([[0.0, 0.0, 0.0, 1.0]])
        pose = rigid((np.concatenate([matrix, bottom]) if matrix.shape == (3, 4) else matrix).reshape(4, 4))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"the transform_matrix of {path.as_posix()} in {source} is no camera pose: give 4 rows of 4 numbers, a "
            "rotation and a position"
        ) from error
    mask = _mask(folder, frame, path, source)
    return PosedFile(name, image, mask, _lens(frame, image, source), pose @ OPENCV_FROM_OPENGL)


def _image(folder: Path, path: Path, source: Path) -> Path:
    candidates = [folder / path, *(folder / f"{path}{suffix}" for suffix in IMAGE_SUFFIXES)]
    return next((candidate for candidate in candidates if candidate.is_file()), None) or existing(folder / path, source)


def _mask(folder: Path, frame: dict[str, Any], path: Path, source: Path) -> Path | None:
    if isinstance(frame.get("mask_path"), str):
        return existing(folder / frame["mask_path"].replace("\\", "/"), source)
    inner = Path(*path.parts[1:]) if len(path.parts) > 1 else path
    return mask_beside(folder, inner) or mask_beside(folder, Path(path.name))


def _lens(frame: dict[str, Any], image: Path, source: Path) -> Lens:
    model = frame.get("camera_model", "OPENCV")
    if model not in MODELS or frame.get("is_fisheye"):
        shown = model if model not in MODELS else "fisheye"
        raise InputError(
            f"the camera model {shown} of {image.name} in {source} is not known here: give images with a pinhole "
            "camera or OpenCV's distortion, k1, k2, p1, p2 and k3"
        )

    def number(key: str, default: float | None = None) -> float:
        value = frame.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{source} gives {image.name} no number {key}: add it to the frame or at the top")
        return float(value)

    stored = read_size(image)
    width, height = (round(number(key, size)) for key, size in zip(("w", "h"), stored, strict=True))
    if any(number(key, 0.0) for key in HIGHER_DISTORTION):
        raise InputError(
            f"{source} gives {image.name} distortion beyond k1, k2, p1, p2 and k3: undistort the images first"
        )

    def focal(key: str, angle: str, size: int, default: float | None) -> float:
        if angle in frame and key not in frame:
            return size / 2 / math.tan(number(angle) / 2)
        return number(key, default)

    focal_x = focal("fl_x", "camera_angle_x", width, None)
    focal_y = focal("fl_y", "camera_angle_y", height, focal_x)
    middle = (number("cx", width / 2), number("cy", height / 2))
    try:
        distortion = np.array([number(key, 0.0) for key in DISTORTION])
        return Lens.of((focal_x, focal_y), middle, distortion, (width, height))
    except ValueError as error:
        raise InputError(f"{source} gives {image.name} no positive focal length: set fl_x and fl_y") from error
