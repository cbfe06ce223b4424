"""Scenes of COLMAP: a sparse model (`cameras` and `images`, binary or text) beside the folder `images/`.

Source: COLMAP's documentation, "Output Format". An image's pose is the unit quaternion (w, x, y, z) and translation of
x_camera = R x_world + t with OpenCV's axes; pixel centres lie at +0.5. The world's scale and axes are arbitrary.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from protome.errors import InputError
from protome.scene import Unmasked, View
from protome.scenes.distortion import Base, Distortion
from protome.scenes.lens import Lens
from protome.scenes.masks import mask_file_of
from protome.scenes.pictures import choose
from protome.scenes.posed_file import PosedFile, existing, mask_beside

Content = TypeVar("Content")

MODEL_FOLDERS = ("sparse/0", "sparse", ".")
IMAGE_FOLDER = "images"
MODELS = {
    "SIMPLE_PINHOLE": (0, "f cx cy"),
    "PINHOLE": (1, "fx fy cx cy"),
    "SIMPLE_RADIAL": (2, "f cx cy k1"),
    "RADIAL": (3, "f cx cy k1 k2"),
    "OPENCV": (4, "fx fy cx cy k1 k2 p1 p2"),
    "OPENCV_FISHEYE": (5, "fx fy cx cy k1 k2 k3 k4"),
    "FULL_OPENCV": (6, "fx fy cx cy k1 k2 p1 p2 k3 d1 d2 d3"),
    "FOV": (7, "fx fy cx cy b1"),
    "SIMPLE_RADIAL_FISHEYE": (8, "f cx cy k1"),
    "RADIAL_FISHEYE": (9, "f cx cy k1 k2"),
    "THIN_PRISM_FISHEYE": (10, "fx fy cx cy k1 k2 p1 p2 k3 k4 s1 s2"),
    "SIMPLE_DIVISION": (12, "f cx cy b1"),
    "DIVISION": (13, "fx fy cx cy b1"),
    "SIMPLE_FISHEYE": (14, "f cx cy"),
    "FISHEYE": (15, "fx fy cx cy"),
    "EUCM": (16, "fx fy cx cy b1 b2"),
}
"""Number of each camera model in binary files and its parameters: focal lengths f, principal point c, and k, p, d, s
and b as in `protome.scenes.distortion.Distortion`: radial, tangential, divisor, prism and base values."""
BASES: dict[str, Base] = {"FOV": "fov", "SIMPLE_DIVISION": "division", "DIVISION": "division", "EUCM": "eucm"}
OTHER_MODELS = {11: "RAD_TAN_THIN_PRISM_FISHEYE", 17: "EQUIRECTANGULAR"}


@dataclass(frozen=True)
class Image:
    """One line of COLMAP's images."""

    name: str
    """The file's path below the folder of images."""
    camera: int
    quaternion: Float[np.ndarray, "4"]
    """w, x, y, z."""
    translation: Float[np.ndarray, "3"]

    def pose(self) -> Float[np.ndarray, "4 4"]:
        """Return T_world_camera."""
        rotation = Rotation.from_quat(np.roll(self.quaternion, -1)).as_matrix()
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation.T, -rotation.T @ self.translation
        return pose


def find_model(folder: str | Path) -> Path | None:
    """Return where a scene's sparse model lies: `sparse/0`, `sparse` or the folder itself; None if nowhere."""
    for name in MODEL_FOLDERS:
        place = Path(folder) / name
        if any((place / f"cameras{suffix}").is_file() for suffix in (".bin", ".txt")):
            return place
    return None


def read_colmap(
    folder: str | Path, names: Sequence[str] | None = None, outside: bool = False
) -> tuple[View | Unmasked, ...]:
    """Read the views of a scene by name, as `protome.scenes.pictures.choose` chooses them.

    `outside` as in `protome.scenes.scene_folder.read_scene`.

    Where the model is stored in both forms, the binary one is read, as in COLMAP. An image's mask is
    `masks/<image name>.png`, else its own opacity. Distorted images are undistorted.

    Raises:
        InputError: a file is missing or cannot be read; an unknown camera model; or no image has a wanted name.
    """
    folder = Path(folder)
    model = find_model(folder)
    if model is None:
        raise InputError(
            f"{folder} has no COLMAP model: put cameras.bin and images.bin, or the same as .txt, into "
            f"{folder / MODEL_FOLDERS[0]}"
        )
    if (model / "cameras.bin").is_file():
        lenses = _parsed(model / "cameras.bin", _cameras_bin)
        images = _parsed(model / "images.bin", _images_bin)
    else:
        lenses = _parsed(model / "cameras.txt", _cameras_txt)
        images = _parsed(model / "images.txt", _images_txt)
    if not images:
        raise InputError(f"the COLMAP model in {model} has no images: give one in which some were registered")
    images.sort(key=lambda image: image.name)
    chosen = [images[index] for index in choose([image.name for image in images], names, model)]
    return tuple(_posed_file(folder, model, image, lenses, outside).read() for image in chosen)


def _parsed(source: Path, parse: Callable[[Path], Content]) -> Content:
    try:
        return parse(source)
    except FileNotFoundError as error:
        raise InputError(f"{source} is missing: export the whole model, cameras and images") from error
    except (OSError, ValueError, IndexError, OverflowError, struct.error) as error:
        raise InputError(f"{source} is not what COLMAP writes: export the model again") from error


def _posed_file(folder: Path, model: Path, image: Image, lenses: dict[int, Lens], outside: bool) -> PosedFile:
    if image.camera not in lenses:
        raise InputError(f"{model} has no camera {image.camera} of image {image.name}: export the model again")
    path = existing(folder / IMAGE_FOLDER / image.name, model, None if outside else folder)
    return PosedFile(
        image.name,
        path,
        mask_beside(folder, Path(image.name)) or mask_file_of(path),
        lenses[image.camera],
        image.pose(),
        None if outside else folder,
    )


def lens_of(model: str, width: int, height: int, values: Sequence[float]) -> Lens:
    """Return the lens of a camera model's parameters.

    Raises:
        ValueError: too many or too few of them, or no such numbers.
    """
    named = dict(zip(MODELS[model][1].split(), values, strict=True))

    def those(letter: str) -> tuple[float, ...]:
        return tuple(value for name, value in sorted(named.items()) if name[0] == letter)

    focal, middle = those("f"), those("c")
    base = "angle" if "FISHEYE" in model else BASES.get(model, "plane")
    distortion = Distortion(those("k"), _pair(those("p")), those("d"), _pair(those("s")), base, those("b"))
    return Lens.of((focal[0], focal[-1]), (middle[0], middle[1]), distortion, (width, height))


def _pair(values: tuple[float, ...]) -> tuple[float, float]:
    return (values[0], values[1]) if values else (0.0, 0.0)


def _image(name: str, camera: int, values: Sequence[float]) -> Image:
    """Return an image of its seven numbers.

    Raises:
        ValueError: they are no pose.
    """
    pose = np.array(values, np.float64)
    if pose.shape != (7,) or not np.isfinite(pose).all() or not np.linalg.norm(pose[:4]) > 0.5:
        raise ValueError("no pose")
    return Image(name, camera, pose[:4], pose[4:])


def _refused(model: str, source: Path) -> InputError:
    return InputError(
        f"the camera model {model} in {source} is not known here: undistort the images with `colmap image_undistorter`"
    )


def _cameras_txt(source: Path) -> dict[int, Lens]:
    lenses = {}
    for line in _lines(source):
        if not line or line.startswith("#"):
            continue
        number, model, width, height, *values = line.split()
        if model not in MODELS:
            raise _refused(model, source)
        lenses[int(number)] = lens_of(model, int(width), int(height), [float(value) for value in values])
    return lenses


def _images_txt(source: Path) -> list[Image]:
    images = []
    lines = iter(_lines(source))
    for line in lines:
        if not line or line.startswith("#"):
            continue
        _, *numbers, camera, name = line.split(maxsplit=9)
        images.append(_image(name, int(camera), [float(number) for number in numbers]))
        next(lines, None)  # its points, perhaps none
    return images


def _lines(source: Path) -> list[str]:
    return [line.strip() for line in source.read_text(encoding="utf-8").split("\n")]


def _cameras_bin(source: Path) -> dict[int, Lens]:
    content, offset, lenses = source.read_bytes(), 8, {}
    by_number = {number: name for name, (number, _) in MODELS.items()}
    for _ in range(struct.unpack_from("<Q", content)[0]):
        camera, number, width, height = struct.unpack_from("<IiQQ", content, offset)
        if number not in by_number:
            raise _refused(OTHER_MODELS.get(number, f"number {number}"), source)
        layout = f"<{len(MODELS[by_number[number]][1].split())}d"
        values = struct.unpack_from(layout, content, offset + 24)
        lenses[camera] = lens_of(by_number[number], width, height, values)
        offset += 24 + struct.calcsize(layout)
    return lenses


def _images_bin(source: Path) -> list[Image]:
    return list(_walk_images(source.read_bytes()))


def _walk_images(content: bytes) -> Iterator[Image]:
    offset = 8
    for _ in range(struct.unpack_from("<Q", content)[0]):
        _, *values, camera = struct.unpack_from("<I7dI", content, offset)
        end = content.index(b"\0", offset + 64)
        yield _image(content[offset + 64 : end].decode("utf-8"), camera, values)
        points = struct.unpack_from("<Q", content, end + 1)[0]
        offset = end + 9 + 24 * points
