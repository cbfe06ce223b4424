"""Scenes of H3DS: IDR's layout, with the true head and its landmarks, and with named choices of views.

Source: the `h3ds` package, version 0.4. One scene's folder holds `full_head.obj` (millimetres, in the cameras' world
frame), `image/img_0000.jpg`, `mask/mask_0000.png`, `cameras.npz`, `landmarks.txt` (in each line a name, right_eye,
left_eye, nose_tip, nose_base, right_lips or left_lips, and a vertex) and `regions/NAME.txt` (in each line a vertex).
The choices of views are in the package's `config_v1.toml` and `config_v2.toml`; they are read from `config.toml`
beside the scenes' folders. Truth is read where it is measured against, in `protome.evaluate.h3ds`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from protome.errors import InputError
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.scene import View
from protome.scenes.idr import read_idr, write_cameras
from protome.scenes.pictures import pictures_in, write_picture
from protome.util.files import write_atomically

MESH, LANDMARKS, REGIONS, CONFIG = "full_head.obj", "landmarks.txt", "regions", "config.toml"


@dataclass(frozen=True)
class Truth:
    """What a scene's photos show, as it was scanned."""

    mesh: Mesh
    """World frame; H3DS's is in millimetres."""
    landmarks: dict[str, int]
    """Vertices by name."""
    regions: dict[str, Int[np.ndarray, "_"]]
    """Vertices of named parts; H3DS has face, face_sphere and nose."""


def is_h3ds(folder: str | Path) -> bool:
    """Return whether a folder has what H3DS's layout adds to IDR's: the true head, or a list of views beside it."""
    folder = Path(folder)
    return (folder / "cameras.npz").is_file() and ((folder / MESH).is_file() or _config(folder).is_file())


def view_sets(folder: str | Path) -> dict[str, tuple[int, ...]]:
    """Return the choices of views of a scene: numbers of images by the choice's name ("3", "4", ...); maybe none.

    Raises:
        InputError: `config.toml` cannot be read.
    """
    path = _config(Path(folder))
    if not path.is_file():
        return {}
    try:
        scenes = tomllib.loads(path.read_text(encoding="utf-8"))["scenes"]
        sets = scenes.get(Path(folder).resolve().name, {}).get("default_views_configs", {})
        return {name: tuple(int(number) for number in numbers) for name, numbers in sets.items()}
    except Exception as error:  # of what TOML can hold besides lists of numbers
        raise InputError(f"{path} is no list of H3DS's views: copy config_v2.toml of the h3ds package there") from error


def read_h3ds(folder: str | Path, names: Sequence[str] | None = None, outside: bool = False) -> tuple[View, ...]:
    """Read the views of a scene: by names of images as `read_idr` does, or all of the view set of one name.

    `outside` as in `protome.scenes.scene_folder.read_scene`.

    Raises:
        InputError: as `read_idr`; or one name that is neither an image's nor a view set's.
    """
    folder = Path(folder)
    images = pictures_in(folder / "image")
    if names is None or len(names) != 1 or any(names[0] in (path.name, path.stem) for path in images):
        return read_idr(folder, names, outside)
    sets = view_sets(folder)
    if names[0] not in sets:
        known = (
            f"known are {', '.join(sets)}" if sets else f"put config_v2.toml of the h3ds package as {_config(folder)}"
        )
        raise InputError(f"{folder} has no image and no view set named {names[0]}: {known}")
    return read_idr(folder, [f"img_{number:04d}" for number in sets[names[0]]], outside)


def write_h3ds(folder: str | Path, views: Sequence[View], truth: Truth) -> None:
    """Write a scene that the `h3ds` package, and methods made for it, can read; images become numbered JPEG files.

    `scale_mat_0` makes the true head fill the unit ball, whose middle is that of the head's bounding box.

    Raises:
        InputError: there are no views.
    """
    folder = Path(folder)
    if not views:
        raise InputError(f"there are no views to write to {folder}: give at least one")
    for number, view in enumerate(views):
        write_picture(folder / "image" / f"img_{number:04d}.jpg", view.image)
        write_picture(folder / "mask" / f"mask_{number:04d}.png", view.mask)
    middle = truth.mesh.bounds.sum(0) / 2
    radius = float(np.linalg.norm(truth.mesh.vertices - middle, axis=1).max())
    ball = Similarity(torch.eye(3).double(), torch.from_numpy(middle).double(), torch.tensor(radius).double())
    write_cameras(folder, [view.camera for view in views], ball)
    write_truth(folder, truth)


def write_truth(folder: str | Path, truth: Truth) -> None:
    """Write the true head of a scene with its landmarks and regions."""
    folder = Path(folder)
    Mesh(truth.mesh.vertices, truth.mesh.faces, truth.mesh.colours).save(folder / MESH)
    lines = [f"{name} {vertex}" for name, vertex in truth.landmarks.items()]
    _write_lines(folder / LANDMARKS, lines)
    for name, vertices in truth.regions.items():
        _write_lines(folder / REGIONS / f"{name}.txt", [str(vertex) for vertex in vertices])


def _config(folder: Path) -> Path:
    return folder.resolve().parent / CONFIG


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_atomically(path, lambda part: part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8"))
