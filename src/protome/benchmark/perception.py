"""The perception network's landmarks beside MediaPipe's, and masks with its parts beside those without them.

Masks are measured where the truth is known: on rendered portraits with other people, of which half end at a border
that cuts the hair, and on pictures with a mask beside them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from protome.benchmark.page import markdown
from protome.capture.landmarks import Detection, detect
from protome.capture.mask import person_mask
from protome.capture.photo import load_photo
from protome.capture.sight import WIDE_SHARE, subject_on, without_others
from protome.errors import InputError
from protome.perception.parts import BACKGROUND, FRONT, HAIR, OTHERS
from protome.perception.perceive import Perception, perceive
from protome.perception.sight import Sight, packaged_sight
from protome.population.portraits.portraits import Labelled, Photographer
from protome.population.portraits.wardrobe import Wardrobe
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress

SIDE = 384
"""Pixels of a rendered picture."""
SEED = 7
LEAST_OTHERS = 0.03
"""Share of a rendered picture that other people cover at least."""
SUFFIXES = (".jpg", ".jpeg", ".png")
FACE = 468
TILE = 320
"""Pixels of a picture's longer side on the sheets."""


@dataclass(frozen=True)
class Shown:
    """A picture, what MediaPipe sees in it, and the truth as far as it is known."""

    name: str
    image: Float[Tensor, "h w 3"]
    truth: Bool[np.ndarray, "h w"] | None = None
    """The subject."""
    counted: Bool[np.ndarray, "h w"] | None = None
    """Pixels that are compared: not those of things in front."""
    others: Bool[np.ndarray, "h w"] | None = None
    landmarks: Float[np.ndarray, "l 2"] | None = None
    visible: Bool[np.ndarray, "l"] | None = None


@dataclass(frozen=True)
class Row:
    """What was measured in one picture; None where it has no truth."""

    name: str
    face_nme: float
    """Mean distance of the network's from MediaPipe's landmarks over the root of the face's box, per cent."""
    true_nme: float | None
    """The same from the true landmarks that are visible."""
    mediapipe_nme: float | None
    """MediaPipe's from the true ones."""
    iou: float | None
    """Intersection over union of the mask with parts and the true one."""
    old_iou: float | None
    """Of the mask without parts."""
    taken: float | None
    """Share of other people's pixels in the mask with parts."""
    old_taken: float | None
    seconds: float
    """Processor time of the network's three passes."""


@dataclass(frozen=True)
class Compared:
    """A row with the masks for the sheet."""

    row: Row
    shown: Shown
    old: Float[Tensor, "h w"]
    new: Float[Tensor, "h w"]
    seen: Perception


def benchmark_perception(
    out: Path,
    *,
    photos: Path | None = None,
    wardrobe: Path | None = None,
    cases: Path | None = None,
    weights: Path | None = None,
    scenes: int = 24,
    quiet: bool = False,
) -> list[Row]:
    """Measure a network on photos, rendered pictures and pictures with masks; print a table and write it and sheets.

    Raises:
        InputError: there is nothing to measure on, no network, or an input that cannot be read.
    """
    check_output_folder(out)
    if photos is None and wardrobe is None and cases is None:
        raise InputError("there is nothing to measure on: give --photos, --wardrobe or --cases")
    sight = packaged_sight() if weights is None else Sight.load(weights)
    if sight is None:
        raise InputError("no perception network ships with this version: give the file of one with --weights")
    groups: dict[str, list[Shown]] = {}
    if photos is not None:
        groups["photos"] = [Shown(path.name, load_photo(path).image) for path in _pictures(photos)]
    if wardrobe is not None:
        groups["rendered"] = list(rendered(Photographer(Wardrobe.load(wardrobe), SIDE), scenes))
    if cases is not None:
        groups["with masks"] = [
            Shown(path.name, photo.image, photo.mask.numpy() > 0.5)
            for path in _pictures(cases) if (photo := load_photo(path)).mask is not None
        ]  # fmt: skip
    rows: dict[str, list[Row]] = {}
    with progress("measuring", sum(map(len, groups.values())), quiet=quiet) as step:
        for name, group in groups.items():
            found = []
            for shown, detection in zip(group, detect([one.image for one in group]), strict=True):
                if detection.faces:
                    found.append(compared(shown, detection, sight))
                step(1, shown.name)
            rows[name] = [one.row for one in found]
            _sheet(out / f"{name.replace(' ', '_')}.jpg", found)
    text = _table(rows, {name: len(group) for name, group in groups.items()})
    print(text)
    numbers = json.dumps({name: [asdict(row) for row in group] for name, group in rows.items()}, indent=1)
    write_atomically(out / "perception.md", lambda part: part.write_text(text, encoding="utf-8"))
    write_atomically(out / "perception.json", lambda part: part.write_text(numbers, encoding="utf-8"))
    return [row for group in rows.values() for row in group]


def _pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder, without those that are masks.

    Raises:
        InputError: there are none.
    """
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    pictures = [path for path in found if path.suffix.lower() in SUFFIXES and not path.stem.endswith(".mask")]
    if not pictures:
        raise InputError(f"{folder} holds no pictures: give a folder of .jpg or .png files")
    return pictures


def rendered(photographer: Photographer, count: int) -> Iterator[Shown]:
    """Yield rendered pictures with other people in them; every second one ends where a border cuts the subject."""
    index = made = 0
    while made < count:
        for taken in photographer.scene(SEED, index):
            if (taken.portrait.parts == OTHERS).mean() > LEAST_OTHERS:
                yield _cropped(f"rendered {index}", taken, np.random.default_rng([SEED, index]), cut=made % 2 == 1)
                made += 1
                break
        index += 1


def _cropped(name: str, taken: Labelled, rng: np.random.Generator, cut: bool) -> Shown:
    """Return a picture; if `cut`, without what lies above or beside a line through the subject's hair."""
    portrait, part = taken.portrait, taken.portrait.parts
    left, top, right = 0, 0, part.shape[1]
    row, column = np.nonzero(part == HAIR)
    face = portrait.landmarks[:FACE]
    if cut and len(row):
        low, high = face.min(0), face.max(0)
        top = int(np.clip(rng.uniform(row.min(), max(low[1], row.min() + 1)), 0, max(low[1] - 4, 0)))
        if rng.random() < 0.5:
            left = int(np.clip(rng.uniform(column.min(), max(low[0], column.min() + 1)), 0, max(low[0] - 4, 0)))
        else:
            right = int(np.clip(rng.uniform(high[0], max(column.max(), high[0] + 1)), high[0] + 4, right))
    window = (slice(top, None), slice(left, right))
    label = part[window]
    return Shown(
        name, torch.from_numpy(np.ascontiguousarray(portrait.image[window])).float() / 255,
        (label != BACKGROUND) & (label != OTHERS), label != FRONT, label == OTHERS, face - [left, top],
        portrait.visible[:FACE],
    )  # fmt: skip


def compared(shown: Shown, detection: Detection, sight: Sight) -> Compared:
    """Measure one picture in which MediaPipe found a face."""
    faces = [face[:FACE].numpy() for face in detection.faces]
    which = 0
    if shown.landmarks is not None:
        middle = shown.landmarks.mean(0)
        which = int(np.argmin([np.linalg.norm(face.mean(0) - middle) for face in faces]))
    elif shown.truth is not None:
        which = int(np.argmax([_share_on(shown.truth, face) for face in faces]))
    marks, face = detection.faces[which], faces[which]
    old = person_mask(shown.image, detection.person_mask, marks)
    began = time.process_time()
    seen = perceive(sight.network, shown.image, marks)
    wide = perceive(sight.network, shown.image, marks, passes=1, share=WIDE_SHARE)
    seconds = time.process_time() - began
    others = [other for number, other in enumerate(detection.faces) if number != which]
    second = subject_on(wide, shown.image.shape)
    both = person_mask(shown.image, detection.person_mask, marks, second=second)
    new = without_others(both, shown.image, marks, wide, others)
    ours = seen.landmarks[:FACE]
    row = Row(
        shown.name, _nme(ours, face, face), None if shown.landmarks is None else _true_nme(ours, shown),
        None if shown.landmarks is None else _true_nme(face, shown), _iou(new, shown), _iou(old, shown),
        _taken(new, shown), _taken(old, shown), seconds,
    )  # fmt: skip
    return Compared(row, shown, old, new, wide)


def _share_on(mask: Bool[np.ndarray, "h w"], points: Float[np.ndarray, "n 2"]) -> float:
    pixel = np.clip(points.astype(int), 0, np.array(mask.shape[::-1]) - 1)
    return float(mask[pixel[:, 1], pixel[:, 0]].mean())


def _nme(ours: np.ndarray, truth: np.ndarray, box: np.ndarray) -> float:
    return 100 * float(np.linalg.norm(ours - truth, axis=1).mean() / np.sqrt(np.ptp(box, axis=0).prod()))


def _true_nme(ours: Float[np.ndarray, "l 2"], shown: Shown) -> float | None:
    if shown.landmarks is None or shown.visible is None or not shown.visible.any():
        return None
    return _nme(ours[shown.visible], shown.landmarks[shown.visible], shown.landmarks)


def _iou(mask: Float[Tensor, "h w"], shown: Shown) -> float | None:
    if shown.truth is None:
        return None
    counted = np.ones_like(shown.truth) if shown.counted is None else shown.counted
    found, truth = (mask.numpy() > 0.5)[counted], shown.truth[counted]
    return float((found & truth).sum() / max((found | truth).sum(), 1))


def _taken(mask: Float[Tensor, "h w"], shown: Shown) -> float | None:
    if shown.others is None or not shown.others.any():
        return None
    return float((mask.numpy() > 0.5)[shown.others].mean())


def _table(rows: dict[str, list[Row]], counts: dict[str, int]) -> str:
    """Return a table of means over each group of pictures."""
    lines = []
    for name, group in rows.items():
        values = [f"{name} ({len(group)} of {counts[name]} with a face)"]
        for key, factor in (("face_nme", 1), ("true_nme", 1), ("mediapipe_nme", 1), ("iou", 100), ("old_iou", 100),
                            ("taken", 100), ("old_taken", 100), ("seconds", 1)):  # fmt: skip
            known = [getattr(row, key) for row in group if getattr(row, key) is not None]
            values.append(f"{factor * np.mean(known):.2f}" if known else "")
        lines.append(values)
    heads = ["pictures", "landmarks from MediaPipe's, %", "from the truth, %", "MediaPipe's from it, %",
             "mask's IoU, %", "without parts, %", "others taken, %", "without parts, %", "CPU s"]  # fmt: skip
    return markdown(heads, lines) + "\n"


def _sheet(path: Path, found: list[Compared]) -> None:
    """Write each picture with landmarks and masks: without parts, with them, the true one, and the parts."""
    if not found:
        return
    strips = []
    for one in found:
        picture = np.rint(255 * one.shown.image.numpy().clip(0, 1)).astype(np.uint8)
        scale = TILE / max(picture.shape[:2])
        truth = one.shown.truth
        tiles = [
            _tinted(picture, one.old.numpy() > 0.5), _tinted(picture, one.new.numpy() > 0.5),
            picture if truth is None else _tinted(picture, truth), _parted(picture, one.seen),
        ]  # fmt: skip
        small = [cv2.resize(tile, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for tile in tiles]
        for x, y in one.seen.landmarks[one.seen.certain] * scale:
            cv2.circle(small[2], (int(x), int(y)), 1, (0, 255, 0), -1)
        placed = [np.zeros((TILE, TILE, 3), np.uint8) for _ in small]
        for canvas, tile in zip(placed, small, strict=True):
            canvas[: tile.shape[0], : tile.shape[1]] = tile[:TILE, :TILE]
        strips.append(np.hstack(placed))
    pairs = [np.hstack([*strips[k : k + 2], *[np.zeros_like(strips[0])] * (k + 2 - len(strips))])
             for k in range(0, len(strips), 2)]  # fmt: skip
    sheet = np.vstack(pairs)[..., ::-1]
    write_atomically(path, lambda part: part.write_bytes(cv2.imencode(".jpg", sheet)[1].tobytes()))


def _tinted(picture: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture whose pixels outside a mask are red and dark."""
    dark = (0.35 * picture + [120, 0, 0]).clip(0, 255).astype(np.uint8)
    return np.where(mask[..., None], picture, dark)


PART_COLOURS = np.array([
    [20, 20, 20], [230, 60, 60], [240, 190, 150], [150, 90, 40], [110, 110, 40], [90, 40, 120], [250, 250, 250],
    [200, 30, 110], [60, 110, 210], [60, 200, 90],
])  # fmt: skip


def _parted(picture: UInt8[np.ndarray, "h w 3"], seen: Perception) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture in the colours of its parts; what was not looked at stays as it is."""
    parts = seen.parts_on(*picture.shape[:2])
    known = parts.sum(2) > 0.5
    tinted = 0.35 * picture + 0.65 * PART_COLOURS[parts.argmax(2)]
    return np.where(known[..., None], tinted.astype(np.uint8), picture)
