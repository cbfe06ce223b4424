"""One image file of a scene with its lens, its pose and, where it has one, its mask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from protome.errors import InputError
from protome.scene import LARGEST_SIDE, Unmasked, View
from protome.scenes.lens import Lens
from protome.scenes.masks import mask_file_of
from protome.scenes.pictures import opacity_mask, pictures_in, read_mask, read_picture, resampled
from protome.util.image_files import IMAGE_SUFFIXES

MASK_FOLDERS = ("masks", "mask")
IMAGE_FOLDERS = (".", "images", "image", "photos")
NO_ROTATION = 1e-3
"""Largest error of a rotation matrix's products that rounding in a file explains."""


@dataclass(frozen=True)
class PosedFile:
    """A posed image that has not been read yet."""

    name: str
    """What messages, results and choices of views call it."""
    image: Path
    mask: Path | None
    """Its mask file; without one the image's own opacity is the mask, if it has any."""
    lens: Lens
    T_world_camera: Float[np.ndarray, "4 4"]
    folder: Path | None = None
    """The scene's folder, where neither file may lie outside of it."""

    def read(self) -> View | Unmasked:
        """Read the image and its mask and take the lens's distortion out of both.

        Raises:
            InputError: a file cannot be read, or lies outside the scene's folder; sizes do not fit each other; or the
                distortion cannot be undone.
        """
        for file in (self.image, self.mask):
            if file is not None and self.folder is not None:
                check_inside(file, self.folder)
        picture = read_picture(self.image)
        height, width = picture.colours.shape[:2]
        lens = self.lens.resized(width, height, str(self.image))
        image = picture.colours
        mask = None
        if self.mask is not None:
            mask = resampled(read_mask(self.mask, self.image, *picture.size), width, height)
        elif picture.alpha is not None:
            mask = opacity_mask(picture.alpha, self.image)
        if not lens.distortion.is_none:
            straight = lens.straight(str(self.image))
            image = lens.undistorted(image, straight)
            mask = None if mask is None else lens.undistorted(mask, straight)
            lens = straight
        posed = Unmasked(self.name, image, lens.camera(self.T_world_camera))
        return (posed if mask is None else posed.with_mask(mask, self.mask or self.image)).resized(LARGEST_SIDE)


def mask_beside(folder: Path, name: Path) -> Path | None:
    """Return the mask of the image called `name` (folders included) in a scene's folder of masks, or None.

    It has the image's name, with the suffix .png in its place or, as COLMAP has it, after it.
    """
    for place in MASK_FOLDERS:
        for candidate in (name.with_name(f"{name.name}.png"), *(name.with_suffix(end) for end in IMAGE_SUFFIXES)):
            if (folder / place / candidate).is_file():
                return folder / place / candidate
    return None


def mask_of(folder: Path, image: Path) -> Path | None:
    """Return the mask of an image file of a scene: in its folder of masks, else beside the image; None if nowhere."""
    return mask_beside(folder, Path(image.name)) or mask_file_of(image)


def find_image(folder: Path, name: str, source: Path) -> Path:
    """Return the image of a scene that another file names with or without folder and suffix.

    It lies where it is named, or in the scene's folder or its folder of images.

    Raises:
        InputError: there is none.
    """
    named = Path(name.replace("\\", "/"))
    for place in (folder / named.parent, *(folder / other for other in IMAGE_FOLDERS)):
        found = pictures_in(place)
        for path in (*(path for path in found if path.name == named.name), *found):
            if path.name == named.name or path.stem == named.name:
                return path
    raise InputError(f"the image {name} is missing, but {source} names it: put it into {folder / IMAGE_FOLDERS[1]}")


def rigid(matrix: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Return a pose with an exact rotation, from one that is rounded or whose axes are scaled alike.

    Raises:
        ValueError: it is not finite, or no such pose.
    """
    if not np.isfinite(matrix).all():
        raise ValueError("not finite")
    scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
    turn = matrix[:3, :3] / (scale if scale > 0 else 1.0)
    if not np.abs(turn @ turn.T - np.eye(3)).max() < NO_ROTATION or scale <= 0:
        raise ValueError("no rotation")
    u, _, vt = np.linalg.svd(turn)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = u @ vt, matrix[:3, 3]
    return pose


def existing(path: Path, source: Path, folder: Path | None) -> Path:
    """Return the path of a file that another names; `folder` is the scene's, where files may not lie outside of it.

    Raises:
        InputError: there is none, or it lies outside.
    """
    if "\0" in str(path):
        raise InputError(f"{source} names {str(path)!r}, and no file can be called so: mend it")
    if folder is not None:
        check_inside(path, folder)
    if not path.is_file():
        raise InputError(f"{path} is missing, but {source} names it: put it there")
    return path


def check_inside(path: Path, folder: Path) -> None:
    """Make sure that a file of a scene lies in the scene's folder, whatever links and spellings lead to it.

    Scene folders come from others. One that names files elsewhere could bring a reader to show them in its results.

    Raises:
        InputError: it lies elsewhere.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{path} lies outside the scene's folder {folder}: copy it there, or allow such files with --outside"
        )
