"""The image files of a scene folder: read, written, and chosen by name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from protome.errors import InputError, ProtomeWarning
from protome.scene import LARGEST_SIDE
from protome.scenes.masks import check_mask, is_mask_file, read_mask_values, stretched
from protome.util.files import write_atomically
from protome.util.image_files import IMAGE_SUFFIXES, read_pixels

MOST_VIEWS = 32
"""Views that are read where none are named; more cost time and memory and add little."""
JPEG_QUALITY = 98


@dataclass(frozen=True)
class Picture:
    """One image file's pixels, as they are stored: not turned by EXIF, which cameras of scenes do not know of."""

    colours: Float[Tensor, "h w 3"]
    """RGB in [0, 1], sRGB."""
    alpha: Float[Tensor, "h w"] | None
    """Opacity in [0, 1]; None where the file has none or every pixel is opaque."""
    size: tuple[int, int]
    """Width and height of the file, which has more pixels where they were reduced."""


def read_picture(path: Path) -> Picture:
    """Read an image; a very large one is reduced by a whole number, to `LARGEST_SIDE` pixels or up to twice as many.

    Raises:
        InputError: it cannot be read or is too large.
    """
    pixels = read_pixels(path, LARGEST_SIDE)
    alpha = None if pixels.alpha is None else torch.from_numpy(pixels.alpha.astype(np.float32) / 255.0)
    return Picture(torch.from_numpy(pixels.colours.astype(np.float32) / 255.0), alpha, pixels.size)


def read_mask(path: Path, image: Path, width: int, height: int) -> Float[Tensor, "h w"]:
    """Read the mask of an image of this size, in any of the forms that `protome.scenes.masks` knows.

    Raises:
        InputError: it cannot be read, has another size, or marks no pixel or the wrong ones as person.
    """
    values = read_mask_values(path)
    if values.shape != (height, width):
        raise InputError(
            f"{path} has {values.shape[1]} x {values.shape[0]} pixels but its image {image.name} has "
            f"{width} x {height}: give a mask of the image's size"
        )
    check_mask(values, f"the mask {path}", image)
    return torch.from_numpy(values.astype(np.float32))


def opacity_mask(alpha: Float[Tensor, "h w"], image: Path) -> Float[Tensor, "h w"]:
    """Return an image's own opacity as its mask.

    Raises:
        InputError: it marks no pixel or the wrong ones as person.
    """
    values = stretched(alpha.double().numpy())
    check_mask(values, f"the opacity of {image}, which stands for a mask,", image)
    return torch.from_numpy(values.astype(np.float32))


def eight_bits(values: Float[Tensor, "..."]) -> UInt8[np.ndarray, "..."]:
    """Return an image or a mask in [0, 1] as bytes."""
    return np.ascontiguousarray((values.detach().cpu().clamp(0, 1) * 255.0).round().to(torch.uint8).numpy())


def write_picture(path: Path, values: Float[Tensor, "..."]) -> None:
    """Write an image or a mask as a file of 8 bits, PNG or JPEG by its suffix."""
    stored = Image.fromarray(eight_bits(values))
    # PNG has no use for the other two.
    write_atomically(path, lambda part: stored.save(part, quality=JPEG_QUALITY, subsampling=0))


def resampled(values: Float[Tensor, "h w *c"], width: int, height: int) -> Float[Tensor, "_ _ *c"]:
    """Return an image or a mask with another size, by area averaging."""
    if values.shape[:2] == (height, width):
        return values.contiguous()
    stack = values.reshape(*values.shape[:2], -1).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(stack, size=(height, width), mode="area")[0].permute(1, 2, 0)
    return small.reshape(height, width, *values.shape[2:]).contiguous()


def is_picture(path: Path) -> bool:
    """Return whether a path is, by its name, an image file that is no hidden one and no mask of another."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not is_mask_file(path)


def pictures_in(folder: Path) -> list[Path]:
    """Return a folder's images by name, masks beside them left out; none if the folder does not exist."""
    if not folder.is_dir():
        return []
    return sorted(
        (path for path in folder.iterdir() if is_picture(path)),
        key=lambda path: path.name,
    )


def evenly_spread(count: int, most: int) -> list[int]:
    """Return the numbers of `most` of `count` things, evenly spread, the first among them."""
    return [number * count // most for number in range(most)]


def choose(names: Sequence[str], wanted: Sequence[str] | None, place: Path) -> list[int]:
    """Return the numbers of the images to read, in order: all, or those named with or without folder and suffix.

    Of more than `MOST_VIEWS` images of which none is named, that many are taken, evenly spread, with a
    `ProtomeWarning`. `place` is where the images lie, for messages.

    Raises:
        InputError: no image has a wanted name.
    """
    if wanted is None:
        count = len(names)
        if count <= MOST_VIEWS:
            return list(range(count))
        warnings.warn(
            f"{place} has {count} images: {MOST_VIEWS} of them, evenly spread, are used", ProtomeWarning, stacklevel=2
        )
        return evenly_spread(count, MOST_VIEWS)
    found: set[int] = set()
    for word in wanted:
        exact = {index for index, name in enumerate(names) if name == word}
        named = exact or {index for index, name in enumerate(names) if word in (Path(name).name, Path(name).stem)}
        if not named:
            raise InputError(f"{place} holds no image named {word}: its first is {names[0]}")
        found |= named
    return sorted(found)
