"""Scenes written for other programs: images, masks and cameras as COLMAP and nerfstudio have them.

`protome.scenes.colmap` and `protome.scenes.nerfstudio` read the same layouts and name their sources. Cameras keep the
scene's world frame; those of photos without known cameras are in the head frame, in millimetres.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from protome.errors import InputError, ProtomeWarning
from protome.geometry.camera import Camera
from protome.scene import View
from protome.scenes.nerfstudio import OPENCV_FROM_OPENGL, TRANSFORMS
from protome.scenes.pictures import write_picture
from protome.util.files import write_atomically

IMAGES, MASKS, MODEL = "images", "masks", "sparse/0"
MOST_SKEW_PX = 0.05
"""Skew of a camera that these layouts cannot hold and that nobody sees."""


def write_colmap(folder: str | Path, views: Sequence[View]) -> None:
    """Write `images/`, `masks/` (NAME.png.png, as COLMAP names them) and a sparse model as text, without points.

    Raises:
        InputError: as `write_atomically`; no views; two of one name; or a camera whose axes are not at right angles.
    """
    folder = Path(folder)
    named = _pictures(folder, views, ".png.png")
    cameras = ["# CAMERA_ID MODEL WIDTH HEIGHT fx fy cx cy"]
    images = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of points"]
    for number, (name, view) in enumerate(named, 1):
        camera = view.camera
        K, pose = _numbers(camera)
        turn = pose[:3, :3].T
        x, y, z, w = Rotation.from_matrix(turn).as_quat()
        inside = (K[0, 0], K[1, 1], K[0, 2], K[1, 2])
        cameras.append(f"{number} PINHOLE {camera.width} {camera.height} {_text(inside)}")
        images += [f"{number} {_text((w, x, y, z, *(-turn @ pose[:3, 3])))} {number} {name}.png", ""]
    for part, lines in (("cameras", cameras), ("images", images), ("points3D", ["# no points"])):
        _write(folder / MODEL / f"{part}.txt", "\n".join(lines) + "\n")


def write_nerfstudio(folder: str | Path, views: Sequence[View]) -> None:
    """Write `images/`, `masks/` and `transforms.json`, which names them.

    Raises:
        InputError: as `write_colmap`.
    """
    folder = Path(folder)
    frames = []
    for name, view in _pictures(folder, views, ".png"):
        K, pose = _numbers(view.camera)
        frames.append(
            {
                "file_path": f"{IMAGES}/{name}.png",
                "mask_path": f"{MASKS}/{name}.png",
                "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2],
                "w": view.camera.width, "h": view.camera.height,
                "transform_matrix": (pose @ OPENCV_FROM_OPENGL).tolist(),
            }
        )  # fmt: skip
    _write(folder / TRANSFORMS, json.dumps({"camera_model": "OPENCV", "frames": frames}, indent=1) + "\n")


def _pictures(folder: Path, views: Sequence[View], mask_suffix: str) -> list[tuple[str, View]]:
    """Write the images and masks of the views that see the person, and return these with the stems of their files."""
    seen = [view for view in views if float(view.mask.max()) > 0.5]
    if len(seen) < len(views):
        missing = ", ".join(view.name for view in views if float(view.mask.max()) <= 0.5)
        warnings.warn(f"{missing} shows nothing of the person and is not exported", ProtomeWarning, stacklevel=3)
    if not seen:
        raise InputError(f"no view shows the person: there is nothing to write to {folder}")
    stems = [Path(view.name).with_suffix("").as_posix().replace("/", "_") for view in seen]
    twice = [stem for stem in stems if stems.count(stem) > 1]
    if twice:
        raise InputError(f"two photos named {twice[0]} cannot be written to {folder}: give each its own name")
    named = sorted(zip(stems, seen, strict=True), key=lambda pair: pair[0])
    for _, view in named:
        _numbers(view.camera)  # which refuses what cannot be written, before anything is
    for stem, view in named:
        write_picture(folder / IMAGES / f"{stem}.png", view.image)
        write_picture(folder / MASKS / f"{stem}{mask_suffix}", view.mask)
    return named


def _numbers(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return K and T_world_camera in double precision."""
    K, pose = (part.detach().cpu().double().numpy() for part in (camera.K, camera.T_world_camera))
    if abs(K[0, 1]) > MOST_SKEW_PX:
        raise InputError(
            "a camera of the scene has skew, which neither COLMAP nor nerfstudio can hold: export no scene"
        )
    return K, pose


def _text(values: Sequence[float]) -> str:
    return " ".join(repr(float(value)) for value in values)


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
