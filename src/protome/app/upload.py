"""Uploads: files with any names become files with names of our own in a job's folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from protome.app.job import MASK, Given
from protome.errors import InputError
from protome.util.image_files import IMAGE_SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".avi")
SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
LONGEST_NAME = 100
"""Characters of a name that are kept to be shown."""


def keep(files: Sequence[tuple[str, BinaryIO]], folder: Path) -> list[Given]:
    """Copy uploaded files, given by their users' names and contents, into a folder, and return what they are.

    A name decides about its file's suffix, which must be one of those known, and about the photo whose mask a file is:
    NAME.mask.png or NAME.jpg.mask.png is that of NAME.jpg. The rest of it is only shown.

    Raises:
        InputError: a file is empty or of no known kind, a mask is of no photo or of several, or the disk is full.
    """
    kept = []
    for (name, content), stored in zip(files, stored_names([name for name, _ in files]), strict=True):
        shown = shown_name(name)
        try:
            with (folder / stored).open("xb") as copy:
                shutil.copyfileobj(content, copy, 1 << 20)
                size = copy.tell()
        except OSError as error:
            raise InputError(f"{shown} cannot be kept ({error.strerror}): delete earlier results") from error
        if size == 0:
            raise InputError(f"{shown} is empty: give a photo or a video")
        kept.append(Given(shown, stored, size))
    return kept


def stored_names(names: Sequence[str]) -> list[str]:
    """Return what files with users' names are called in a job's folder: numbered photos, and masks beside their photos.

    Raises:
        InputError: as `keep`.
    """
    given = [name for name in names if not name.lower().endswith(MASK)]
    photos = [(name, f"photo_{number:02d}{suffix_of(name)}") for number, name in enumerate(given, 1)]
    numbered = iter(photos)
    found = [_mask_name(name, photos) if name.lower().endswith(MASK) else next(numbered)[1] for name in names]
    for name, own in zip(names, found, strict=True):
        if own.endswith(MASK) and found.count(own) > 1:
            raise InputError(f"{shown_name(name)} is one of several masks of a photo: give one of them")
    return found


def _mask_name(name: str, photos: Sequence[tuple[str, str]]) -> str:
    """Return what a mask is called beside its photo; `photos` are users' names with stored ones."""
    base = name[: -len(MASK)].lower()
    own = [photo for photo in photos if photo[0].lower() == base] or [
        photo for photo in photos if photo[0].lower().removesuffix(suffix_of(photo[0])) == base
    ]
    if not own:
        raise InputError(f"{shown_name(name)} is the mask of no photo here: give the photo of the same name with it")
    if len(own) > 1:
        raise InputError(f"{shown_name(name)} may be the mask of several photos: call it {shown_name(own[0][0])}{MASK}")
    return own[0][1].rpartition(".")[0] + MASK


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name, in small letters.

    Raises:
        InputError: it is none of a photo or a video.
    """
    found = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
    if found is None:
        raise InputError(
            f"{shown_name(name)} is no photo and no video: give JPEG, PNG, HEIC, WebP, TIFF, MP4 or MOV files"
        )
    return found


def shown_name(name: str) -> str:
    """Return a user's name of a file for a page: without folders, without signs that do not print, not too long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(sign for sign in last if sign.isprintable()).strip() or "unnamed"
    return plain if len(plain) <= LONGEST_NAME else "…" + plain[-LONGEST_NAME:]
