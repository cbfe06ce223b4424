"""Scenes of RealityScan (RealityCapture): XMP files beside the images, or one CSV file of camera parameters.

Sources: "RealityCapture XMP Camera Math" (its makers' support pages), the export "Internal/External camera parameters",
and files that both write. Lengths in images are in units of the longer side: the focal length is `FocalLength35mm` /
36, and the principal point's offset from the centre `PrincipalPointU` and `PrincipalPointV`. XMP holds the rotation
that maps world to camera coordinates with OpenCV's axes, row by row, and the camera's position. CSV holds the position
x, y, alt and, in degrees, heading, pitch and roll: Rz(-heading) Rx(pitch) Ry(roll) maps camera coordinates with
OpenGL's axes to the world. Brown's distortion is k1 to k4, t1 and t2.
"""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.distortion import Distortion
from protome.scenes.lens import Lens
from protome.scenes.pictures import choose, is_picture
from protome.scenes.posed_file import PosedFile, check_inside, find_image, mask_of, rigid
from protome.util.image_files import read_size

XCR = "{http://www.capturingreality.com/ns/xcr/1.1#}"
IMAGE_FOLDERS = (".", "images", "image")
COLUMNS = ("name", "x", "y", "alt", "heading", "pitch", "roll", "f")
"""Columns that a CSV file needs; px, py, k1 to k4, t1 and t2 are zero where they are missing."""
FILM_MM = 36.0
STRAIGHT_MODELS = ("perspective", "brown3", "brown4", "brown3t2", "brown4t2")
"""Distortion models that act on directions, before the focal length; the makers document no other in full."""
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Registered:
    """One camera, in RealityScan's units."""

    name: str
    """The image, with or without folder and suffix."""
    focal_mm: float
    """35 mm equivalent, of a longer side of 36 mm."""
    middle: tuple[float, float]
    aspect: float
    skew: float
    distortion: Distortion
    T_world_camera: Float[np.ndarray, "4 4"]


def find_realityscan(folder: str | Path) -> Path | None:
    """Return a CSV file of RealityScan's cameras, else the first of its XMP files; None if a folder has neither."""
    folder = Path(folder)
    for path in sorted(folder.glob("*.csv")):
        if set(COLUMNS) <= set(_header(path)):
            return path
    return next((path for path in _xmp_files(folder)), None)


def read_realityscan(
    folder: str | Path, names: Sequence[str] | None = None, outside: bool = False
) -> tuple[View | Unmasked, ...]:
    """Read the views of a scene by name, as `protome.scenes.pictures.choose` chooses them.

    `outside` as in `protome.scenes.scene_folder.read_scene`.

    Raises:
        InputError: a file is missing or cannot be read; a number is missing or wrong; a distortion model that is not
            known; or no image has a wanted name.
    """
    folder = Path(folder)
    source = find_realityscan(folder)
    if source is None:
        raise InputError(f"{folder} has no cameras of RealityScan: export XMP files or a CSV file of camera parameters")
    if source.suffix.lower() == ".csv":
        rows = _rows(source)
        chosen = [_of_row(rows[i], source) for i in choose([row["name"] for row in rows], names, source)]
        return tuple(_posed_file(folder, one, source, outside).read() for one in chosen)
    files = [path for path in _xmp_files(folder) if _image_beside(path) is not None]
    if not files:
        raise InputError(f"{source} has no image of its name beside it: put each XMP file beside its image")
    chosen = [_of_xmp(files[i]) for i in choose([path.name for path in files], names, folder)]
    return tuple(_posed_file(folder, one, source, outside).read() for one in chosen)


def _posed_file(folder: Path, camera: Registered, source: Path, outside: bool) -> PosedFile:
    image, inside = find_image(folder, camera.name, source), None if outside else folder
    if inside is not None:
        check_inside(image, inside)
    width, height = read_size(image)
    longer = max(width, height)
    focal = camera.focal_mm / FILM_MM * longer
    middle = (width / 2 + camera.middle[0] * longer, height / 2 + camera.middle[1] * longer)
    try:
        lens = Lens.of((focal, focal * camera.aspect), middle, camera.distortion, (width, height), camera.skew * longer)
    except ValueError as error:
        raise InputError(f"{source} gives {image.name} no usable focal length: export the cameras again") from error
    return PosedFile(image.name, image, mask_of(folder, image), lens, camera.T_world_camera, inside)


def _xmp_files(folder: Path) -> list[Path]:
    """Return the XMP files with cameras, by name; other programs write such files too."""
    found = [path for place in IMAGE_FOLDERS for path in sorted((folder / place).glob("*.xmp"))]
    return [path for path in found if XCR.strip("{}").encode() in path.read_bytes()]


def _image_beside(path: Path) -> Path | None:
    same = (other for other in sorted(path.parent.glob("*")) if other.stem == path.stem and is_picture(other))
    return next(same, None)


def _of_xmp(path: Path) -> Registered:
    """Return the camera of an XMP file, whose values are attributes or elements.

    Raises:
        InputError: it cannot be read, lacks a value, or has a distortion model that is not known.
    """
    try:
        values: dict[str, str] = {}
        for element in ElementTree.parse(path).iter():
            values |= {key.removeprefix(XCR): text for key, text in element.attrib.items() if key.startswith(XCR)}
            if element.tag.startswith(XCR) and element.text:
                values[element.tag.removeprefix(XCR)] = element.text
        given = [float(word) for word in values.get("DistortionCoeficients", "").split()]
        rotation = np.array([float(word) for word in values["Rotation"].split()]).reshape(3, 3)
        position = np.array([float(word) for word in values["Position"].split()])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation.T, position
        k1, k2, k3, k4, t1, t2 = (*given, *(0.0,) * (6 - len(given)))
        model = values.get("DistortionModel", "perspective").lower()
        if any(given) and model not in STRAIGHT_MODELS:
            raise InputError(
                f"{path} has the distortion model {model}, which is not known here: choose Brown3 or Brown4 in "
                "RealityScan's alignment settings, or export undistorted images"
            )
        image = _image_beside(path) or path
        return Registered(
            image.name,
            float(values["FocalLength35mm"]),
            (float(values.get("PrincipalPointU", 0)), float(values.get("PrincipalPointV", 0))),
            float(values.get("AspectRatio", 1)),
            float(values.get("Skew", 0)),
            Distortion((k1, k2, k3, k4), (t1, t2)),
            rigid(pose),
        )
    except (OSError, KeyError, ValueError, ElementTree.ParseError) as error:
        raise InputError(f"{path} is not what RealityScan writes: export the cameras again") from error


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next((_names(line) for line in file if not line.startswith("#cameras")), [])
    except (OSError, UnicodeDecodeError):
        return []


def _names(line: str) -> list[str]:
    return [name.strip().lstrip("#").lower() for name in line.split(",")]


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the cameras of a CSV file, by name.

    Raises:
        InputError: there are none.
    """
    names = _header(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(line for line in file if line.strip() and not line.startswith("#")))
    lines = lines if lines and _names(",".join(lines[0])) != names else lines[1:]
    rows = [dict(zip(names, (word.strip() for word in line), strict=False)) for line in lines]
    if not rows:
        raise InputError(f"{path} lists no cameras: export the camera parameters again")
    return sorted(rows, key=lambda row: row["name"])


def _of_row(row: dict[str, str], source: Path) -> Registered:
    """Return the camera of a CSV file's row.

    Raises:
        InputError: a value is missing or no number.
    """
    try:
        value = {key: float(word) for key, word in row.items() if key != "name" and word}
        angles = [-value["heading"], value["pitch"], value["roll"]]
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("ZXY", angles, degrees=True).as_matrix() @ OPENCV_FROM_OPENGL
        pose[:3, 3] = [value["x"], value["y"], value["alt"]]
        radial = tuple(value.get(key, 0.0) for key in ("k1", "k2", "k3", "k4"))
        distortion = Distortion(radial, (value.get("t1", 0.0), value.get("t2", 0.0)))
        middle = (value.get("px", 0.0), value.get("py", 0.0))
        return Registered(row["name"], value["f"], middle, 1.0, 0.0, distortion, rigid(pose))
    except (KeyError, ValueError) as error:
        raise InputError(
            f"the row of {row.get('name')} in {source} is not what RealityScan writes: export it again"
        ) from error
