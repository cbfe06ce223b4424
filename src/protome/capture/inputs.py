"""What a user gives as photos: files, folders, patterns of names and videos, read as photos without repeats."""

from __future__ import annotations

import glob
import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from protome.capture.photo import SMALLEST_SIDE, Photo, load_photo
from protome.capture.video import VIDEO_SUFFIXES, sharp_frames
from protome.errors import InputError, ProtomeWarning
from protome.scenes.masks import is_mask_file, mask_file_of
from protome.scenes.pictures import MOST_VIEWS, evenly_spread, is_picture
from protome.util.image_files import IMAGE_SUFFIXES

MOST_NAMES = 3


@dataclass(frozen=True)
class InputFile:
    """A photo or a video to read."""

    path: Path
    named: bool
    """Whether the user named this very file, and not a folder or a pattern that it matches."""


def load_photos(inputs: Sequence[str | Path]) -> tuple[Photo, ...]:
    """Read photos and frames of videos, in the order in which they were given; of folders by name.

    Folders are searched for images and videos, not for folders in them; what else lies there is ignored. Patterns
    (`*.jpg`) are for shells that do not expand them. A photo that was given twice is used once, and of more than
    `MOST_VIEWS` as many are used, evenly spread, both with a `ProtomeWarning`. A file that cannot be read and was not
    named itself is left out with one, too. Videos share the number of photos that the images leave.

    Raises:
        InputError: nothing was given; something does not exist; a folder or a pattern leads to no photo; or a file that
            was named cannot be read.
    """
    if not inputs:
        raise InputError("no photos given: give the paths of one or more photos of a person")
    files = _without_copies([file for given in inputs for file in find_files(Path(given))])
    files = [file for file in files if not _is_mask_of_one(file, files)]
    videos = [file for file in files if is_video(file.path)]
    room = max(1, MOST_VIEWS - len(videos))
    images = _spread([file for file in files if not is_video(file.path)], room)
    videos = _spread(videos, MOST_VIEWS)
    each = (MOST_VIEWS - len(images)) // max(1, len(videos))
    photos: list[Photo] = []
    for file in files:
        if file in images:
            photos += _photo(file, alone=len(files) == 1)
        elif file in videos and each:
            photos += video_photos(file.path, each)
    if not photos:
        raise InputError(f"none of the {len(files)} files given is a photo that can be used: give photos of a person")
    return _without_repeats(photos)


def is_video(path: Path) -> bool:
    """Return whether a path is that of a video, by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_files(given: Path) -> list[InputFile]:
    """Return the photos and videos that a path, a folder or a pattern leads to.

    Raises:
        InputError: a folder or a pattern leads to none.
    """
    if given.is_dir():
        found = _media(given.iterdir())
        if not found:
            raise InputError(f"{given} holds no photos: {_contents(given)}give a folder of JPEG, PNG or HEIC files")
        return [InputFile(path, named=False) for path in found]
    if not given.exists() and glob.has_magic(str(given)):
        found = _media(Path(path) for path in glob.glob(str(given), recursive=True))
        if not found:
            raise InputError(f"no photo matches {given}: give the paths of photos, or a folder of them")
        return [InputFile(path, named=False) for path in found]
    return [InputFile(given, named=True)]


def video_photos(path: Path, most: int) -> list[Photo]:
    """Return up to `most` frames of a video as photos.

    Raises:
        InputError: there is no such file, no frame can be decoded, or frames are smaller than `SMALLEST_SIDE`.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the path of a video")
    photos = []
    for found in sharp_frames(path, most):
        height, width = found.image.shape[:2]
        if min(height, width) < SMALLEST_SIDE:
            raise InputError(
                f"{path} has only {width} x {height} pixels: give a video with at least {SMALLEST_SIDE} on each side"
            )
        image = torch.from_numpy(found.image).float() / 255.0
        shown = f"frame {found.frame.index} of {path}"
        photos.append(Photo(f"{path.name}#{found.frame.index}", image, frame=found.frame, shown=shown, lens=str(path)))
    return photos


def _media(paths: Iterable[Path]) -> list[Path]:
    """Return the images and videos among paths, by name."""
    files = (path for path in paths if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in files if is_picture(path) or is_video(path))


def _contents(folder: Path) -> str:
    """Return what a folder without photos holds, for a message."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    if not names:
        return "it is empty; "
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and _media(path.iterdir())]
    hint = f", of which {inner[0]} holds some" if inner else ""
    return f"found {', '.join(names[:MOST_NAMES])}{more}{hint}; "


def _is_mask_of_one(file: InputFile, files: Sequence[InputFile]) -> bool:
    """Return whether a file is the mask of another that was given too, as with the pattern *.png."""
    return is_mask_file(file.path) and any(mask_file_of(other.path) == file.path for other in files)


def _without_copies(files: Sequence[InputFile]) -> list[InputFile]:
    """Return the files without those whose content is that of one before."""
    sizes = [file.path.stat().st_size if file.path.is_file() else -1 for file in files]
    first: dict[str, InputFile] = {}
    repeats = []
    for file, size in zip(files, sizes, strict=True):
        # Only files of equal size can be equal, and only they need to be read.
        key = _digest(file.path) if size >= 0 and sizes.count(size) > 1 else str(file.path)
        if key in first:
            repeats.append((str(file.path), str(first[key].path)))
        else:
            first[key] = file
    _warn_of_repeats(repeats)
    return list(first.values())


def _digest(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _without_repeats(photos: Sequence[Photo]) -> tuple[Photo, ...]:
    """Return the photos without those that have the pixels of one before."""
    kept: dict[bytes, Photo] = {}
    repeats = []
    for photo in photos:
        key = hashlib.sha256(photo.image.numpy().tobytes() + str(tuple(photo.image.shape)).encode()).digest()
        if key in kept:
            repeats.append((photo.shown, kept[key].shown))
        else:
            kept[key] = photo
    _warn_of_repeats(repeats)
    return tuple(kept.values())


def _warn_of_repeats(repeats: Sequence[tuple[str, str]]) -> None:
    """Warn of each photo that repeats another; of many, of the first ones and in a line about the rest."""
    for repeat, first in repeats[:MOST_NAMES]:
        what = f"{repeat} was given twice" if repeat == first else f"{repeat} is the same photo as {first}"
        warnings.warn(f"{what}: it is used once", ProtomeWarning, stacklevel=4)
    more = len(repeats) - MOST_NAMES
    if more > 0:
        warnings.warn(f"{more} more photos repeat others: each is used once", ProtomeWarning, stacklevel=4)


def _spread(files: list[InputFile], most: int) -> list[InputFile]:
    """Return at most `most` files, evenly spread, with a `ProtomeWarning` where some are left out."""
    count = len(files)
    if count <= most:
        return files
    warnings.warn(f"{count} photos were given: {most} of them, evenly spread, are used", ProtomeWarning, stacklevel=3)
    return [files[number] for number in evenly_spread(count, most)]


def _photo(file: InputFile, alone: bool) -> list[Photo]:
    """Return the photo of a file; none, with a `ProtomeWarning`, if it cannot be used and there are others.

    Raises:
        InputError: it cannot be used and the user named it as a photo.
    """
    try:
        return [load_photo(file.path)]
    except InputError as error:
        # Shells expand patterns to files of every kind, which the user did not mean either.
        meant = file.named and (file.path.suffix.lower() in IMAGE_SUFFIXES or not file.path.is_file())
        if alone or meant:
            raise
        warnings.warn(f"{error}; the file is left out", ProtomeWarning, stacklevel=3)
        return []
