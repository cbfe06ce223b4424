"""Uploads: files with any names become files with names of our own in a job's folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from protome.app.job import Given
from protome.errors import InputError
from protome.util.image_files import IMAGE_SUFFIXES

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".avi")
SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
LONGEST_NAME = 100
"""Characters of a name that are kept to be shown."""


def keep(files: Sequence[tuple[str, BinaryIO]], folder: Path) -> list[Given]:
    """Copy uploaded files, given by their users' names and contents, into a folder, and return what they are.

    A name decides about its file's suffix alone, which must be one of those known; the rest of it is only shown.

    Raises:
        InputError: a file is empty or of no known kind, or the disk is full.
    """
    kept = []
    for number, (name, content) in enumerate(files, 1):
        shown, suffix = shown_name(name), suffix_of(name)
        stored = f"photo_{number:02d}{suffix}"
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
