"""The image files of a scene folder: read, written, and chosen by name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from protome.errors import InputError, ProtomeWarning
from protome.scenes.masks import check_mask, mask_values, stretched
from protome.util.bit_depth import eight_bits
from protome.util.files import write_atomically

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_VIEWS = 32
"""Views that are read where none are named; more cost time and memory and add little."""
JPEG_QUALITY = 98


@dataclass(frozen=True)
class Picture:
    """One image file's pixels, as they are stored: no rotation by EXIF, which cameras of scenes know nothing of."""

    colours: Float[Tensor, "h w 3"]
    """RGB in [0, 1]."""
    alpha: Float[Tensor, "h w"] | None
    """Opacity in [0, 1]; None where the file has none or every pixel is opaque."""


def read_picture(path: Path) -> Picture:
    """Read an image.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as opened:
            has_alpha = opened.has_transparency_data
            values = np.array(eight_bits(opened).convert("RGBA" if has_alpha else "RGB"), np.float32) / 255.0
    except Exception as error:  # image decoders raise all kinds of errors on broken files
        raise _unreadable(path) from error
    alpha = torch.from_numpy(values[..., 3].copy()) if has_alpha and values[..., 3].min() < 1 else None
    return Picture(torch.from_numpy(values[..., :3].copy()), alpha)


def read_size(path: Path) -> tuple[int, int]:
    """Return an image's width and height without reading its pixels.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with Image.open(path) as opened:
            return opened.size
    except Exception as error:
        raise _unreadable(path) from error


def read_mask(path: Path, image: Path, width: int, height: int) -> Float[Tensor, "h w"]:
    """Read the mask of an image of this size, in any of the ways that `protome.scenes.masks` knows.

    Raises:
        InputError: it cannot be read, has another size, or says of no pixel or of the wrong ones that they are person.
    """
    try:
        with Image.open(path) as opened:
            values = mask_values(opened, path)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path) from error
    if values.shape != (height, width):
        raise InputError(
            f"{path} has {values.shape[1]} x {values.shape[0]} pixels but its image {image.name} has "
            f"{width} x {height}: give a mask of the image's size"
        )
    check_mask(values, f"the mask {path}", image)
    return torch.from_numpy(values.astype(np.float32))


def opacity_mask(alpha: Float[Tensor, "h w"], image: Path) -> Float[Tensor, "h w"]:
    """Return the mask that an image's own opacity is.

    Raises:
        InputError: it says of no pixel or of the wrong ones that they are person.
    """
    values = stretched(alpha.double().numpy())
    check_mask(values, f"the opacity of {image}, which stands for a mask,", image)
    return torch.from_numpy(values.astype(np.float32))


def write_picture(path: Path, values: Float[Tensor, "..."]) -> None:
    """Write an image or a mask as a file of 8 bits, PNG or JPEG by its suffix."""
    stored = Image.fromarray((values.detach().cpu().clamp(0, 1) * 255.0).round().to(torch.uint8).numpy())
    # PNG has no use for the other two.
    write_atomically(path, lambda part: stored.save(part, quality=JPEG_QUALITY, subsampling=0))


def pictures_in(folder: Path) -> list[Path]:
    """Return a folder's images by name; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(
        (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")),
        key=lambda path: path.name,
    )


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
        return [index * count // MOST_VIEWS for index in range(MOST_VIEWS)]
    found: set[int] = set()
    for word in wanted:
        exact = {index for index, name in enumerate(names) if name == word}
        named = exact or {index for index, name in enumerate(names) if word in (Path(name).name, Path(name).stem)}
        if not named:
            raise InputError(f"{place} holds no image named {word}: its first is {names[0]}")
        found |= named
    return sorted(found)


def _unreadable(path: Path) -> InputError:
    return InputError(f"{path} cannot be read as an image: give a PNG or JPEG file")
