"""What the viewer shows: a head, the cameras around it and their photos, from a result or a scene."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from protome.capture.gather import gather
from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.prior.prior import FittedHead, HeadLatents, Prior, load_fitted
from protome.scenes.pictures import eight_bits
from protome.scenes.scene_folder import is_scene
from protome.units import UNIT_MM
from protome.util.image_files import read_pixels
from protome.util.reading import reading

PICTURE_SIDE = 640
"""Pixels of the longer side of a photo in the viewer."""
MADE_BY = "give a folder that `protome reconstruct` wrote, or a scene folder"


@dataclass(frozen=True)
class Posed:
    """A camera and its photo."""

    name: str
    camera: Camera
    """Head frame, millimetres."""
    picture: UInt8[np.ndarray, "h w 3"] | None
    """None where the photo is not found any more."""


@dataclass(frozen=True)
class Content:
    """A head and the cameras around it."""

    title: str
    head: FittedHead
    cameras: tuple[Posed, ...]
    textured: bytes | None
    """The file head.glb (metres); None where there is none."""


def read_content(target: Path, prior: Prior) -> Content:
    """Read a result of `protome reconstruct`, or a scene folder, around which the prior's mean head stands.

    Photos of a result are looked for where its command found them.

    Raises:
        InputError: the folder is neither, or one of its files cannot be read.
    """
    if (target / "field.safetensors").is_file():
        return _result(target)
    if is_scene(target):
        return _scene(target, prior)
    raise InputError(f"{target} is no result and no scene: {MADE_BY}")


def moved(head: FittedHead, prior: Prior, shape: Sequence[float], appearance: Sequence[float]) -> FittedHead:
    """Return a head moved along the prior's leading principal axes, by standard deviations on each."""
    latents = head.latents

    def along(axes: Float[torch.Tensor, "k c"], steps: Sequence[float]) -> Float[torch.Tensor, "c"]:
        return torch.tensor(list(steps)).to(axes) @ axes[: len(steps)]

    return replace(
        head,
        latents=HeadLatents(
            latents.z_shape + along(prior.shape.axes, shape),
            latents.z_appearance + along(prior.appearance.axes, appearance),
            latents.z_expression,
        ),
    )


def _result(folder: Path) -> Content:
    head = load_fitted(folder / "field.safetensors")
    cameras: list[Posed] = []
    path = folder / "result.json"
    if path.is_file():
        with reading(path, "a result", MADE_BY):
            facts = json.loads(path.read_text(encoding="utf-8"))
            cameras = [_posed(own, facts.get("command", [])) for own in facts["cameras"]]
    glb = folder / "head.glb"
    return Content(folder.name, head, tuple(cameras), glb.read_bytes() if glb.is_file() else None)


def _posed(own: dict[str, Any], command: Sequence[str]) -> Posed:
    """Return a camera of result.json and its photo."""
    pose, matrix = torch.tensor(own["T_head_camera"]), torch.tensor(own["K"])
    camera = Camera(matrix, pose, int(own["width"]), int(own["height"]))
    return Posed(str(own["photo"]), camera, _photo(str(own["photo"]), command))


def _photo(name: str, command: Sequence[str]) -> UInt8[np.ndarray, "h w 3"] | None:
    for word in map(Path, command):
        path = word if word.name == name else word / name
        if path.is_file():
            try:
                return _small(read_pixels(path, PICTURE_SIDE, upright=True).colours)
            except InputError:
                return None  # what was a photo then is none any more
    return None


def _scene(folder: Path, prior: Prior) -> Content:
    scene = gather([folder]).in_head_frame()
    cameras = [
        Posed(view.name, view.camera.transformed(Similarity.scaling(UNIT_MM)), _small(eight_bits(view.image)))
        for view in scene.views
    ]
    return Content(folder.name, FittedHead(prior.field, prior.mean(), prior.bounds), tuple(cameras), None)


def _small(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    step = max(1, max(picture.shape[:2]) // PICTURE_SIDE)
    return np.ascontiguousarray(picture[::step, ::step])
