"""Shards of portraits on disk: written ahead by processes of their own while a network learns from them.

A shard depends on the seed and its number alone. A file that is there is complete, and is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from protome.capture.skin import hull_mask
from protome.perception.parts import OTHERS
from protome.population.portraits.person import AGES
from protome.population.portraits.points import FACE_POINTS
from protome.population.portraits.portraits import TAKES, Photographer
from protome.population.portraits.wardrobe import Wardrobe
from protome.util.files import write_atomically
from protome.util.progress import progress

SCENES = 64
"""Of a shard."""
PICTURES = SCENES * TAKES
MOST_HIDDEN = 0.25
"""Share of the face that other people may cover."""


@dataclass(frozen=True)
class Shard:
    """Portraits and their labels."""

    images: UInt8[np.ndarray, "n s s 3"]
    parts: UInt8[np.ndarray, "n s s"]
    landmarks: Float[np.ndarray, "n l 2"]
    """Pixels."""
    visible: Bool[np.ndarray, "n l"]
    people: Float[np.ndarray, "n 3"]
    """1 for men; the number of the age group; lightness of the skin."""

    def of_subjects(self) -> Int[np.ndarray, "k"]:
        """Return the numbers of the portraits in which others hide no more than `MOST_HIDDEN` of the subject's face.

        People are placed without regard to their bodies, so that somebody's shoulder may lie across the subject's face.
        Nobody would say of such a picture whom it shows.
        """
        hidden = [_hidden(*one) for one in zip(self.parts, self.landmarks[:, :FACE_POINTS], strict=True)]
        return np.flatnonzero(np.array(hidden) <= MOST_HIDDEN)


def _hidden(parts: UInt8[np.ndarray, "s s"], face: Float[np.ndarray, "n 2"]) -> float:
    """Return the share of a face, the hull of its landmarks, that other people cover."""
    hull = hull_mask(face, parts.shape) > 0
    return float((parts[hull] == OTHERS).mean()) if hull.any() else 1.0


def shard_file(folder: Path, number: int) -> Path:
    """Return where shard number `number` lies."""
    return folder / f"portraits_{number:05d}.npz"


def found_shards(folder: Path) -> list[Path]:
    """Return the complete shards of a folder in the order of their numbers."""
    return sorted(folder.glob("portraits_?????.npz"))


def make_shard(photographer: Photographer, seed: int, number: int) -> Shard:
    """Return shard number `number` of a seed."""
    labelled = [one for k in range(SCENES) for one in photographer.scene(seed, number * SCENES + k)]
    portraits = [one.portrait for one in labelled]
    return Shard(
        np.stack([one.image for one in portraits]), np.stack([one.parts for one in portraits]),
        np.stack([one.landmarks for one in portraits]), np.stack([one.visible for one in portraits]),
        np.array([[p.person.male, AGES.index(p.person.age), p.person.lightness] for p in labelled], np.float32),
    )  # fmt: skip


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard uncompressed: reading it costs no time."""

    def fill(part: Path) -> None:
        with part.open("wb") as stream:
            np.savez(stream, **vars(shard))

    write_atomically(path, fill)


def read_shard(path: Path) -> Shard:
    """Read what `write_shard` wrote."""
    with np.load(path) as stored:
        return Shard(*(stored[name] for name in ("images", "parts", "landmarks", "visible", "people")))


def fill_folder(wardrobe: Path, out: Path, numbers: range, seed: int = 0, quiet: bool = False) -> int:
    """Write the shards of some numbers that are not there yet; return how many were written.

    Raises:
        InputError: the wardrobe is missing.
    """
    cv2.setNumThreads(1)
    photographer = Photographer(Wardrobe.load(wardrobe))
    out.mkdir(parents=True, exist_ok=True)
    missing = [number for number in numbers if not shard_file(out, number).is_file()]
    with progress("taking portraits", len(missing) * PICTURES, quiet=quiet) as step:
        for number in missing:
            write_shard(shard_file(out, number), make_shard(photographer, seed, number))
            step(PICTURES)
    return len(missing)
