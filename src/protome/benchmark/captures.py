"""Casual captures with ground truth: photos as people take them, and the cameras and the head that they were made of.

`benchmarks/captures.py` writes them: in each folder photo_0.jpg and so on, `truth.json`, `transforms.json` with the
same cameras in the head frame (millimetres), and the true head in H3DS's layout. Folders named wrong_NN have photos of
which one shows another person, and no head.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from protome.errors import InputError
from protome.geometry.camera import Camera

TRUTH = "truth.json"
MOST_TURNED_DEG = 75.0
"""Angle from the front up to which a photo shows a face that can be expected to be found."""


@dataclass(frozen=True)
class TrueIris:
    """An iris as it was rendered."""

    diameter_px: float
    """Its diameter at its distance, in pixels of the file."""
    visible: float
    """Share of its disc that is seen, foreshortening included."""


@dataclass(frozen=True)
class TruePhoto:
    """One photo of a capture."""

    file: str
    camera: Camera
    """Posed in the head frame, millimetres; in pixels of the file."""
    exif: bool
    """Whether the file records its focal length."""
    behind: bool
    """Whether it was taken from behind, where no face is seen."""
    wrong: bool
    """Whether it shows another person."""
    irises: tuple[TrueIris, ...]
    """The left eye's and the right eye's."""

    @property
    def shows_face(self) -> bool:
        """Whether the face is seen well enough to be found."""
        centre = self.camera.centre
        return not self.behind and float(centre[2] / centre.norm()) > math.cos(math.radians(MOST_TURNED_DEG))


@dataclass(frozen=True)
class CasualCapture:
    """Photos of a person, as they were taken."""

    folder: Path
    person: str
    photos: tuple[TruePhoto, ...]

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.name

    @property
    def paths(self) -> list[Path]:
        """The files of its photos."""
        return [self.folder / photo.file for photo in self.photos]

    @property
    def recorded(self) -> bool:
        """Whether its files record their focal lengths."""
        return any(photo.exif for photo in self.photos)


def read_captures(folder: Path, *, wrong: bool = False) -> list[CasualCapture]:
    """Read the captures of a folder by name: those of one person, or those with a wrong person among the photos.

    Raises:
        InputError: there are none, or one's truth cannot be read.
    """
    found = [_capture(path) for path in sorted(folder.glob(f"*/{TRUTH}"))] if folder.is_dir() else []
    chosen = [capture for capture in found if any(photo.wrong for photo in capture.photos) == wrong]
    if not chosen and not wrong:
        raise InputError(f"{folder} holds no captures: write some with benchmarks/captures.py")
    return chosen


def _capture(path: Path) -> CasualCapture:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        photos = tuple(_photo(row) for row in facts["photos"])
        return CasualCapture(path.parent, facts["person"], photos)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not what benchmarks/captures.py writes: write the captures again") from error


def _photo(row: dict) -> TruePhoto:
    K, pose = (torch.from_numpy(np.array(row[key], np.float64)) for key in ("K", "T_head_camera"))
    return TruePhoto(
        row["file"], Camera(K, pose, row["width"], row["height"]), row["exif"], row["behind"], row["wrong"],
        tuple(TrueIris(**iris) for iris in row["irises"]),
    )  # fmt: skip
