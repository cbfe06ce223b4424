"""Scene folders in any layout that is known: which one it is, and its views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.colmap import find_model, read_colmap
from protome.scenes.h3ds import is_h3ds, read_h3ds
from protome.scenes.idr import CAMERAS, read_idr
from protome.scenes.nerfstudio import TRANSFORMS, read_nerfstudio


def is_scene(path: str | Path) -> bool:
    """Return whether a path is a folder, and so a posed scene, rather than a photo."""
    return Path(path).is_dir()


def read_scene(folder: str | Path, names: Sequence[str] | None = None) -> tuple[View | Unmasked, ...]:
    """Read the views of a scene by name, as `protome.scenes.pictures.choose` chooses them.

    A folder may have several layouts, because tools put their own beside those they read. The first counts of:
    `cameras.npz` (IDR, H3DS), `transforms.json` (nerfstudio, instant-ngp), a sparse model (COLMAP). One name may also
    be that of an H3DS view set.

    Raises:
        InputError: the folder has none of them, or as the layout's own reader says.
    """
    folder = Path(folder)
    if is_h3ds(folder):
        return read_h3ds(folder, names)
    if (folder / CAMERAS).is_file():
        return read_idr(folder, names)
    if (folder / TRANSFORMS).is_file():
        return read_nerfstudio(folder, names)
    if find_model(folder) is not None:
        return read_colmap(folder, names)
    if (folder / "image").is_dir():
        return read_idr(folder, names)  # which says what its layout lacks
    raise InputError(
        f"{folder} holds no scene: give a folder with {CAMERAS} (as IDR and H3DS have it), {TRANSFORMS} (nerfstudio, "
        "instant-ngp), or sparse/0 with cameras and images (COLMAP)"
    )
