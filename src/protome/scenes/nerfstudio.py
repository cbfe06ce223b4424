"""Scenes of nerfstudio, instant-ngp, NeuS2 and VHAP: `transforms.json` beside the images that it names.

Sources: nerfstudio's data conventions, instant-ngp's dataset notes, NeuS2's `DATA_CONVENTION.md`, and VHAP's export
(`export_as_nerf_dataset.py`). Each frame has `file_path` and `transform_matrix`, the camera's pose in the world with
OpenGL's axes (x right, y up, z back), or with OpenCV's where NeuS2's `from_na` is set. `fl_x`, `fl_y`, `cx`, `cy`, `w`,
`h` and the distortion `k1` to `k6`, `p1`, `p2` are given in the frame or, for all frames, at the top; instead of focal
lengths there may be `camera_angle_x` (radians), instead of all of them NeuS2's `intrinsic_matrix`. Pixel centres lie at
+0.5. Frames of VHAP have a `timestep_index` and a `fg_mask_path`; NeuS2 stores each time step of a video in a file of
its own, `train/transform_000280.json`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.distortion import Distortion, opencv_distortion
from protome.scenes.lens import Lens
from protome.scenes.masks import mask_file_of
from protome.scenes.pictures import choose
from protome.scenes.posed_file import PosedFile, existing, mask_beside, rigid
from protome.util.image_files import IMAGE_SUFFIXES, read_size

TRANSFORMS = "transforms.json"
NAMES = (TRANSFORMS, "transform.json", "transforms_train.json")
"""Files with all cameras of a scene, the first that is there."""
TIME_FILES = "train/transform*_*.json"
MODELS = ("PERSPECTIVE", "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
"""Camera models that differ only in which numbers they may leave out."""
FISHEYE = ("OPENCV_FISHEYE", "FISHEYE")
DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
HIGHER_DISTORTION = ("k4", "k5", "k6")
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def find_transforms(folder: str | Path) -> Path | None:
    """Return the file with a scene's cameras, of several time steps the first's; None if there is none."""
    folder = Path(folder)
    named = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    return named or next(iter(sorted(folder.glob(TIME_FILES))), None)


def read_nerfstudio(
    folder: str | Path, names: Sequence[str] | None = None, time_step: int | None = None, outside: bool = False
) -> tuple[View | Unmasked, ...]:
    """Read the views of a scene by name, as `protome.scenes.pictures.choose` chooses them.

    A frame's mask is what its `mask_path` or `fg_mask_path` names, else the file of the image's name in `masks/` or
    `mask/`, else the image's own opacity. Distorted images are undistorted. Of a scene with several time steps one is
    read: the one of this number, else that with the most images, of several such the first. `outside` as in
    `protome.scenes.scene_folder.read_scene`.

    Raises:
        InputError: a file is missing or cannot be read; a number is missing or wrong; an unknown camera model; there is
            no such time step; or no image has a wanted name.
    """
    folder = Path(folder)
    source = _source(folder, time_step)
    facts = _load(source)
    frames = sorted(_of_one_time(facts["frames"], time_step, source), key=lambda frame: frame["file_path"])
    paths = [Path(frame["file_path"].replace("\\", "/")) for frame in frames]
    short = [path.name for path in paths]
    called = short if len(set(short)) == len(short) else [path.as_posix() for path in paths]
    return tuple(
        _posed_file(folder, source, {**facts, **frames[index]}, paths[index], called[index], outside).read()
        for index in choose(called, names, source)
    )


def _source(folder: Path, time_step: int | None) -> Path:
    """Return the file to read; where each time step has one, that of the chosen time step.

    Raises:
        InputError: no file has the number of the chosen time step.
    """
    found = find_transforms(folder) or folder / TRANSFORMS
    if time_step is None or found.name in NAMES:
        return found
    files = {int(re.findall(r"\d+", path.stem)[-1]): path for path in sorted(folder.glob(TIME_FILES))}
    if time_step not in files:
        raise InputError(f"{folder} has no time step {time_step}: give one of {_listed(files)}")
    return files[time_step]


def _of_one_time(frames: list[dict[str, Any]], time_step: int | None, source: Path) -> list[dict[str, Any]]:
    """Return the frames of one time step; all where frames have no time.

    Raises:
        InputError: there is no such time step.
    """
    if source.name not in NAMES:
        return frames
    steps: dict[int, list[dict[str, Any]]] = {}
    for frame in frames:
        if isinstance(frame.get("timestep_index"), int):
            steps.setdefault(frame["timestep_index"], []).append(frame)
    if time_step is None:
        return max((steps[step] for step in sorted(steps)), key=len) if steps else frames
    if not steps:
        raise InputError(f"a time step was chosen, but {source} has none: leave the option out")
    if time_step not in steps:
        raise InputError(f"{source} has no time step {time_step}: give one of {_listed(steps)}")
    return steps[time_step]


def _listed(steps: Iterable[int]) -> str:
    """Return numbers of time steps as text, of many the first and the last."""
    ordered = sorted(steps)
    return ", ".join(map(str, ordered)) if len(ordered) <= 8 else f"{ordered[0]} to {ordered[-1]}"


def _load(source: Path) -> dict[str, Any]:
    """Return the file's content, in which every frame has a path and a pose."""
    try:
        facts = json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{source} is missing: a nerfstudio scene needs it, with its cameras inside") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{source} cannot be read as JSON: export the scene again") from error
    frames = facts.get("frames") if isinstance(facts, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{source} lists no frames: give file_path and transform_matrix of each image in frames")
    for number, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise InputError(f"frame {number} of {source} has no file_path: name its image there")
    return facts


def _posed_file(folder: Path, source: Path, frame: dict[str, Any], path: Path, name: str, outside: bool) -> PosedFile:
    """Return one frame, to which the numbers for all frames were added."""
    inside = None if outside else folder
    image = _image(folder, path, source, inside)
    try:
        matrix = np.array(frame["transform_matrix"], np.float64)
        bottom = np.array([[0.0, 0.0, 0.0, 1.0]])
        pose = rigid((np.concatenate([matrix, bottom]) if matrix.shape == (3, 4) else matrix).reshape(4, 4))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"the transform_matrix of {path.as_posix()} in {source} is no camera pose: give 4 rows of 4 numbers, a "
            "rotation and a position"
        ) from error
    mask = _mask(folder, frame, path, source, inside) or mask_file_of(image)
    axes = np.eye(4) if frame.get("from_na") is True else OPENCV_FROM_OPENGL
    return PosedFile(name, image, mask, _lens(frame, image, source), pose @ axes, inside)


def _image(folder: Path, path: Path, source: Path, inside: Path | None) -> Path:
    places = [folder / path, source.parent / path]
    candidates = [*places, *(place.with_name(f"{path.name}{suffix}") for place in places for suffix in IMAGE_SUFFIXES)]
    found = next((candidate for candidate in candidates if candidate.is_file()), folder / path)
    return existing(found, source, inside)


def _mask(folder: Path, frame: dict[str, Any], path: Path, source: Path, inside: Path | None) -> Path | None:
    for key in ("mask_path", "fg_mask_path"):
        if isinstance(frame.get(key), str):
            return existing(folder / frame[key].replace("\\", "/"), source, inside)
    inner = Path(*path.parts[1:]) if len(path.parts) > 1 else path
    return mask_beside(folder, inner) or mask_beside(folder, Path(path.name))


def _lens(frame: dict[str, Any], image: Path, source: Path) -> Lens:
    """Return a frame's lens.

    Raises:
        InputError: an unknown camera model, or a number is missing or wrong.
    """

    def number(key: str, default: float | None = None) -> float:
        value = frame.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{source} gives {image.name} no number {key}: add it to the frame or at the top")
        return float(value)

    def focal(key: str, angle: str, size: int, default: float | None) -> float:
        if angle in frame and key not in frame:
            return size / 2 / math.tan(number(angle) / 2)
        return number(key, default)

    distortion = _distortion(frame, {key: number(key, 0.0) for key in DISTORTION}, image, source)
    stored = read_size(image)
    width, height = (round(number(key, size)) for key, size in zip(("w", "h"), stored, strict=True))
    skew = 0.0
    if "intrinsic_matrix" in frame:
        (focal_x, skew, middle_x), (_, focal_y, middle_y) = _intrinsics(frame["intrinsic_matrix"], image, source)
    else:
        focal_x = focal("fl_x", "camera_angle_x", width, None)
        focal_y = focal("fl_y", "camera_angle_y", height, focal_x)
        middle_x, middle_y = number("cx", width / 2), number("cy", height / 2)
    try:
        return Lens.of((focal_x, focal_y), (middle_x, middle_y), distortion, (width, height), skew)
    except ValueError as error:
        raise InputError(f"{source} gives {image.name} no positive focal length: set fl_x and fl_y") from error


def _distortion(frame: dict[str, Any], values: dict[str, float], image: Path, source: Path) -> Distortion:
    """Return a frame's distortion by its camera model and its numbers.

    Raises:
        InputError: the model is unknown, or it has numbers that only a named model could give a meaning.
    """
    model = frame.get("camera_model", "OPENCV")
    if model in FISHEYE or frame.get("is_fisheye"):
        return Distortion(tuple(values[key] for key in ("k1", "k2", "k3", "k4")), base="angle")
    if model == "FULL_OPENCV":
        return opencv_distortion(tuple(values[key] for key in DISTORTION))
    if model not in MODELS:
        raise InputError(
            f"the camera model {model} of {image.name} in {source} is not known here: give images of a pinhole camera, "
            "a fisheye, or OpenCV's distortion"
        )
    if any(values[key] for key in HIGHER_DISTORTION):
        raise InputError(
            f"{source} gives {image.name} distortion beyond k1, k2, p1, p2 and k3: name the camera_model (FULL_OPENCV "
            "or OPENCV_FISHEYE), or undistort the images first"
        )
    return opencv_distortion(tuple(values[key] for key in DISTORTION[:5]))


def _intrinsics(matrix: object, image: Path, source: Path) -> list[list[float]]:
    """Return the upper two rows of NeuS2's 3 x 3 or 4 x 4 matrix of intrinsics.

    Raises:
        InputError: it is no such matrix.
    """
    try:
        values = np.array(matrix, np.float64)
    except (ValueError, TypeError):
        values = np.zeros(0)
    if values.shape not in ((3, 3), (4, 4)) or not np.isfinite(values).all():
        raise InputError(
            f"the intrinsic_matrix of {image.name} in {source} is no matrix of intrinsics: give 3 x 3 numbers"
        )
    return values[:2, :3].tolist()
