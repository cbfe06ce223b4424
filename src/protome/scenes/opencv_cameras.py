"""Scenes of GS-LRM and FaceLift: `opencv_cameras.json` beside the images.

Sources: the data samples of FaceLift and what reads them. The file holds a list, perhaps below `frames`, with `w`, `h`,
`fx`, `fy`, `cx`, `cy` (pixels) and `w2c`, the 4 x 4 matrix that maps world to camera coordinates with OpenCV's axes, of
each image. `file_path` names the image; where it is missing, entries belong to the files of `images/` in order. Opacity
is the mask.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.distortion import Distortion
from protome.scenes.lens import Lens
from protome.scenes.pictures import choose, pictures_in
from protome.scenes.posed_file import PosedFile, existing, mask_of, rigid

OPENCV_CAMERAS = "opencv_cameras.json"


def read_opencv_cameras(
    folder: str | Path, names: Sequence[str] | None = None, outside: bool = False
) -> tuple[View | Unmasked, ...]:
    """Read the views of a scene by name, as `protome.scenes.pictures.choose` chooses them.

    `outside` as in `protome.scenes.scene_folder.read_scene`.

    Raises:
        InputError: a file is missing or cannot be read; a number is missing or wrong; or no image has a wanted name.
    """
    folder = Path(folder)
    source = folder / OPENCV_CAMERAS
    frames = _frames(source)
    images = _images(folder, frames, source, outside)
    called = [path.name for path in images]
    posed = [_posed_file(folder, frames[i], images[i], source, outside) for i in choose(called, names, source)]
    return tuple(file.read() for file in posed)


def _frames(source: Path) -> list[dict[str, Any]]:
    try:
        facts = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{source} cannot be read as JSON: export the cameras again") from error
    frames = facts.get("frames") if isinstance(facts, dict) else facts
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{source} lists no cameras: give w, h, fx, fy, cx, cy and w2c of each image")
    return frames


def _images(folder: Path, frames: list[dict[str, Any]], source: Path, outside: bool) -> list[Path]:
    """Return each camera's image.

    Raises:
        InputError: one is missing, or there are more or fewer images than cameras that name none.
    """
    if all(isinstance(frame.get("file_path"), str) for frame in frames):
        inside = None if outside else folder
        return [existing(folder / frame["file_path"].replace("\\", "/"), source, inside) for frame in frames]
    images = pictures_in(folder / "images")
    if len(images) != len(frames):
        raise InputError(
            f"{source} has {len(frames)} cameras without file_path, but {folder / 'images'} {len(images)} images: name "
            "the image of each camera"
        )
    return images


def _posed_file(folder: Path, frame: dict[str, Any], image: Path, source: Path, outside: bool) -> PosedFile:
    try:
        width, height, fx, fy, cx, cy = (float(frame[key]) for key in ("w", "h", "fx", "fy", "cx", "cy"))
        lens = Lens.of((fx, fy), (cx, cy), Distortion(), (round(width), round(height)))
        pose = rigid(np.linalg.inv(np.array(frame["w2c"], np.float64).reshape(4, 4)))
    except (KeyError, TypeError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError(
            f"the camera of {image.name} in {source} is unusable: give w, h, fx, fy, cx, cy and w2c, a rotation and a "
            "translation in 4 rows of 4 numbers"
        ) from error
    return PosedFile(image.name, image, mask_of(folder, image), lens, pose, None if outside else folder)
