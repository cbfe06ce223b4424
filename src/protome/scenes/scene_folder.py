"""Scene folders in any known layout: which one it is, and its views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.colmap import find_model, read_colmap
from protome.scenes.h3ds import is_h3ds, read_h3ds
from protome.scenes.idr import find_cameras, read_idr
from protome.scenes.metashape import find_metashape, read_metashape
from protome.scenes.nerfstudio import find_transforms, read_nerfstudio
from protome.scenes.opencv_cameras import OPENCV_CAMERAS, read_opencv_cameras
from protome.scenes.pictures import is_picture
from protome.scenes.realityscan import find_realityscan, read_realityscan
from protome.util.reading import reading

Reader = Callable[..., tuple[View | Unmasked, ...]]

IMAGE_FOLDERS = ("image", "images", "rgb", "color", "imgs")
OTHER_CAMERAS = (
    "poses_bounds*.npy", "cameras.json", "cameras.npy", "cameras*.sfm", "*.nvm", "bundle*.out", "reconstruction.json",
    "calib*.json", "camera_params*", "intrinsics*", "extrinsics*", "poses.txt", "poses", "pose", "cams", "database.db",
    "*.psx", "*.psz", "*.rcproj", "*.rsproj", "transforms_*.json", "cameras*.npz",
)  # fmt: skip
"""Names of files and folders in which other programs store cameras, none of which is read here."""
KNOWN = (
    "cameras.npz or cameras_sphere.npz (IDR, H3DS, NeuS), transforms.json (nerfstudio, instant-ngp, NeuS2, VHAP), "
    "opencv_cameras.json (GS-LRM, FaceLift), sparse/0 with cameras and images (COLMAP), an XML file of Metashape's "
    "cameras, or RealityScan's XMP or CSV files"
)
MOST_NAMES = 6


def is_scene(path: str | Path) -> bool:
    """Return whether a path is a folder with cameras, of a known layout or of another, rather than photos alone."""
    path = Path(path)
    return path.is_dir() and (_reader(path) is not None or _unknown_cameras(path))


def read_scene(
    folder: str | Path, names: Sequence[str] | None = None, time_step: int | None = None, outside: bool = False
) -> tuple[View | Unmasked, ...]:
    """Read the views of a scene by name, as `protome.scenes.pictures.choose` chooses them.

    A folder may have several layouts, because programs add their own to those they read. The first of these is read:
    `cameras.npz` (IDR, H3DS; NeuS's `cameras_sphere.npz`), `transforms.json` (nerfstudio, instant-ngp, NeuS2, VHAP),
    `opencv_cameras.json` (GS-LRM, FaceLift), a sparse model (COLMAP), Metashape's XML file, RealityScan's CSV or XMP
    files. One name may also be that of an H3DS view set. `time_step` chooses one of several that the second has.
    Images and masks have to lie in the folder, also behind links, unless `outside` allows others.

    Raises:
        InputError: the folder has none of them (the sentence names what was found); a time step was chosen where there
            are none; or as the layout's own reader raises it.
    """
    folder = Path(folder)
    with reading(folder, "a scene", "export it again"):
        return _read(folder, names, time_step, outside)


def _read(
    folder: Path, names: Sequence[str] | None, time_step: int | None, outside: bool
) -> tuple[View | Unmasked, ...]:
    reader = _reader(folder)
    if reader is None:
        raise InputError(f"{folder} holds no cameras of a known layout (found {_found(folder)}): give {KNOWN}")
    if reader is read_nerfstudio:
        return read_nerfstudio(folder, names, time_step, outside)
    if time_step is not None:
        raise InputError(f"a time step was chosen, but {folder} has none: leave the option out")
    return reader(folder, names, outside)


def _reader(folder: Path) -> Reader | None:
    """Return the function that reads a folder, or None where its layout is unknown."""
    if is_h3ds(folder):
        return read_h3ds
    if find_cameras(folder) is not None:
        return read_idr
    if find_transforms(folder) is not None:
        return read_nerfstudio
    if (folder / OPENCV_CAMERAS).is_file():
        return read_opencv_cameras
    if find_model(folder) is not None:
        return read_colmap
    if find_metashape(folder) is not None:
        return read_metashape
    if find_realityscan(folder) is not None:
        return read_realityscan
    if (folder / "image").is_dir():
        return read_idr  # its error names what the layout lacks
    return None


def _unknown_cameras(folder: Path) -> bool:
    """Return whether a folder of no known layout holds what another program's cameras are stored in."""
    return any(True for pattern in OTHER_CAMERAS for _ in folder.glob(pattern)) or (
        any((folder / name).is_dir() for name in IMAGE_FOLDERS)
        and not any(is_picture(path) for path in folder.iterdir())
    )


def _found(folder: Path) -> str:
    """Return the names of a folder's entries, folders first, of many the first few."""
    shown = [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
    names = [
        f"{path.name}/" if path.is_dir() else path.name for path in sorted(shown, key=lambda p: (p.is_file(), p.name))
    ]
    if not names:
        return "nothing"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
