"""`capture.png`: every photo with landmarks and outline, where its camera stands, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from protome.capture.checks import face_height
from protome.capture.facts import PhotoFacts
from protome.capture.skin import LEFT_BROW, LEFT_EYE, LIPS, OVAL, RIGHT_BROW, RIGHT_EYE
from protome.capture.words import alike_sentence, alt_text, focal, place, size
from protome.scene import Scene, View
from protome.util.files import write_atomically

PICTURE = 440
"""Pixels of the square that a photo is fitted into."""
GLYPH = 150
GAP = 20
LETTERS = 17
"""Pixels of the text's size."""
LEADING = 24
SMALL_FACE = 70
"""Pixels of a face in the sheet below which an enlargement is put into a corner of the photo."""
INSET = 170
DOT = 1.8
"""Radius of a landmark's dot, in pixels, on a face as high as the picture; below 0.3 they are left out."""
FINER = 2
"""Lines are drawn this many times larger and then averaged."""

PAPER, INK, QUIET, FIELD = (255, 255, 255), (25, 28, 33), (105, 112, 122), (236, 239, 243)
MARKS, OUTLINE, REMARK, GOOD = (0, 190, 230), (255, 150, 0), (176, 0, 32), (0, 110, 60)
CAMERA = (20, 90, 200)
NEAREST_MM, FARTHEST_MM = 200.0, 6000.0
"""Distances at the head and at the rim of the top view, on a logarithmic scale; cameras beyond stand at its rim."""
RINGS_MM = (500.0, 1000.0, 2000.0)
LABELLED_MM = (1000.0,)
_LOOPS = (OVAL, RIGHT_EYE, LEFT_EYE, LIPS)
_BROWS = (RIGHT_BROW, LEFT_BROW)


@dataclass(frozen=True)
class Window:
    """A part of a photo, in pixels."""

    left: float
    top: float
    width: float
    height: float


def save_capture_sheet(path: Path, scene: Scene, facts: Sequence[PhotoFacts]) -> None:
    """Write the sheet of a scene's photos as PNG, with the text that stands for it as its `Description`.

    Raises:
        InputError: as `write_atomically`.
    """
    sheet = capture_sheet(scene, facts)
    notes = PngImagePlugin.PngInfo()
    notes.add_itxt("Description", alt_text(facts))
    write_atomically(path, lambda part: sheet.save(part, "PNG", pnginfo=notes))


def capture_sheet(scene: Scene, facts: Sequence[PhotoFacts]) -> Image.Image:
    """Draw the sheet: a tile for each photo, in rows of up to eight."""
    columns = _columns(len(facts))
    remarks = [_remarks(own) for own in facts]
    pairs = list(zip(scene.views, facts, strict=True))
    rows = [range(first, min(first + columns, len(pairs))) for first in range(0, len(pairs), columns)]
    below = [max(len(remarks[i]) for i in row) * LEADING for row in rows]
    heights = [PICTURE + GAP + GLYPH + GAP // 2 + more + GAP for more in below]
    width = columns * (PICTURE + GAP) + GAP
    head = _heading(facts, width - 2 * GAP)
    top = GAP + len(head) * LEADING + (GAP // 2 if head else 0)
    sheet = Image.new("RGB", (width, top + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, text in enumerate(head):
        draw.text((GAP, GAP + number * LEADING), text, REMARK, _font())
    for row, height in zip(rows, heights, strict=True):
        for column, index in enumerate(row):
            spot = (GAP + column * (PICTURE + GAP), top)
            _tile(sheet, spot, *pairs[index], facts, remarks[index])
        top += height
    return sheet


def _columns(count: int) -> int:
    """Return how many tiles stand in a row: the sheet is wider than high, as screens are."""
    return min(8, count, max(1, math.ceil(math.sqrt(1.8 * count))))


def _tile(
    sheet: Image.Image, spot: tuple[int, int], view: View, own: PhotoFacts, facts: Sequence[PhotoFacts],
    remarks: Sequence[tuple[str, tuple[int, int, int]]],
) -> None:  # fmt: skip
    """Draw one photo and what belongs below it, from this corner on."""
    left, top = spot
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + PICTURE - 1, top + PICTURE - 1), FIELD)
    height, width = view.mask.shape
    factor = PICTURE / max(height, width)
    picture = _picture(view, Window(0, 0, width, height), factor)
    sheet.paste(picture, (left + (PICTURE - picture.width) // 2, top + (PICTURE - picture.height) // 2))
    if own.face is not None and view.landmarks is not None and own.face.height_px * factor < SMALL_FACE:
        side = 1.9 * own.face.height_px
        x, y = view.landmarks.mean(0).tolist()
        inset = _picture(view, Window(x - side / 2, y - side / 2, side, side), INSET / side)
        corner = (left, top + PICTURE - INSET)
        sheet.paste(inset, corner)
        draw.rectangle((*corner, corner[0] + INSET - 1, corner[1] + INSET - 1), outline=PAPER, width=2)
    top += PICTURE + GAP // 2
    sheet.paste(_glyph(own, facts), (left, top))
    aside, room = left + GLYPH + GAP // 2, PICTURE - GLYPH - GAP // 2
    lines = [(text, _font(bold=True)) for text in _wrapped(own.photo, room, bold=True)[:2]]
    lines += [(part, _font()) for text in (size(own), place(own), focal(own)) for part in _wrapped(text, room)]
    lines.append((f"weight {own.weight:.2f}", _font()))
    for number, (text, font) in enumerate(lines[: GLYPH // (LEADING - 3)]):
        draw.text((aside, top + number * (LEADING - 3)), text, INK, font)
    top += GLYPH + GAP // 2
    for number, (text, colour) in enumerate(remarks):
        draw.text((left, top + number * LEADING), text, colour, _font())


def _picture(view: View, window: Window, factor: float) -> Image.Image:
    """Return a part of a photo, enlarged by a factor, with the landmarks and the outline of the person drawn in."""
    columns, rows = max(1, round(window.width * factor)), max(1, round(window.height * factor))
    pixels = Image.fromarray(np.rint(255 * view.image.clamp(0, 1).numpy()).astype(np.uint8))
    box = (window.left, window.top, window.left + window.width, window.top + window.height)
    inside = (max(0.0, box[0]), max(0.0, box[1]), min(pixels.width, box[2]), min(pixels.height, box[3]))
    part = pixels if inside == box else pixels.crop(box)
    source = box if inside == box else (0, 0, part.width, part.height)
    large = part.resize((FINER * columns, FINER * rows), Image.Resampling.LANCZOS, box=source, reducing_gap=2.0)
    draw = ImageDraw.Draw(large)
    scale = FINER * np.array([columns / window.width, rows / window.height])
    corner = np.array([window.left, window.top])
    for line in _contours(view, window, factor):
        draw.line([tuple(p) for p in (line - corner) * scale], OUTLINE, 2 * FINER)
    if view.landmarks is not None:
        points = (view.landmarks.double().numpy() - corner) * scale
        for loop in _LOOPS:
            draw.line([tuple(points[i]) for i in (*loop, loop[0])], MARKS, FINER)
        for brow in _BROWS:
            draw.line([tuple(points[i]) for i in brow[:5]], MARKS, FINER)
        dot = DOT * FINER * factor * face_height(view.landmarks) / PICTURE
        for x, y in points if dot > 0.3 * FINER else ():
            draw.ellipse((x - dot, y - dot, x + dot, y + dot), MARKS)
    return large.resize((columns, rows), Image.Resampling.BOX)


def _contours(view: View, window: Window, factor: float) -> list[np.ndarray]:
    """Return the outline of the person as closed lines in the photo's pixels, as fine as the sheet shows it."""
    mask = view.mask.numpy()
    small = min(1.0, 2 * factor)
    size_px = (max(1, round(mask.shape[1] * small)), max(1, round(mask.shape[0] * small)))
    coarse = cv2.resize(mask, size_px, interpolation=cv2.INTER_AREA if small < 1 else cv2.INTER_LINEAR)
    # A border of background closes the outline where the picture ends.
    person = np.pad((coarse > 0.5).astype(np.uint8), 1)
    lines, _ = cv2.findContours(person, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    back = np.array([mask.shape[1] / size_px[0], mask.shape[0] / size_px[1]])
    closed = [np.concatenate([line[:, 0], line[:1, 0]]) for line in lines]
    return [(line - 1 + 0.5) * back for line in closed if len(line) > 2]


def _glyph(own: PhotoFacts, facts: Sequence[PhotoFacts]) -> Image.Image:
    """Draw the head from above, its face down, and the cameras around it, this photo's in colour."""
    side = FINER * GLYPH
    picture = Image.new("RGB", (side, side), FIELD)
    draw = ImageDraw.Draw(picture)
    middle = np.array([side / 2, side / 2])

    def radius(distance: float) -> float:
        share = math.log(distance / NEAREST_MM) / math.log(FARTHEST_MM / NEAREST_MM)
        return side * (0.13 + 0.32 * min(max(share, 0.0), 1.0))

    for ring in RINGS_MM:
        around = radius(ring)
        draw.ellipse((*(middle - around), *(middle + around)), outline=(205, 210, 217), width=FINER)
        if ring in LABELLED_MM:
            text = f"{ring / 1000:.0f} m"
            draw.text((middle[0], middle[1] - around), text, QUIET, _font(False, 10 * FINER), anchor="mm")
    half = side * np.array([0.075, 0.095])
    draw.ellipse((*(middle - half), *(middle + half)), (190, 196, 204))
    nose = 0.025 * side
    draw.polygon(
        [tuple(middle + p) for p in ([-nose, half[1] - 2], [nose, half[1] - 2], [0, half[1] + 1.6 * nose])],
        (190, 196, 204),
    )
    for other in facts:
        if other is not own:
            spot = middle + radius(other.distance_mm) * _towards(other)
            draw.ellipse((*(spot - 2 * FINER), *(spot + 2 * FINER)), (160, 167, 177))
    towards = _towards(own)
    spot = middle + radius(own.distance_mm) * towards
    across = np.array([-towards[1], towards[0]])
    draw.line([tuple(spot), tuple(middle + 0.11 * side * towards)], CAMERA, FINER)
    corners = (spot - 5 * FINER * towards, spot + 9 * FINER * towards + 8 * FINER * across,
               spot + 9 * FINER * towards - 8 * FINER * across)  # fmt: skip
    draw.polygon([tuple(corner) for corner in corners], CAMERA)
    return picture.resize((GLYPH, GLYPH), Image.Resampling.BOX)


def _towards(own: PhotoFacts) -> np.ndarray:
    """Return the direction from the head to the camera in the top view: down is the front, right the subject's left."""
    angle = math.radians(own.azimuth)
    return np.array([math.sin(angle), math.cos(angle)])


def _remarks(own: PhotoFacts) -> list[tuple[str, tuple[int, int, int]]]:
    """Return the lines below a photo with their colours."""
    if not own.concerns:
        return [("no remarks", GOOD)]
    return [(line, REMARK) for concern in own.concerns for line in _wrapped(concern.words, PICTURE)]


def _heading(facts: Sequence[PhotoFacts], room: int) -> list[str]:
    """Return the lines about all photos together."""
    sentence = alike_sentence(facts)
    return _wrapped(sentence, room) if sentence else []


def _wrapped(text: str, room: int, bold: bool = False) -> list[str]:
    """Return a text in lines that are no longer than `room` pixels; words that are longer are broken."""
    font = _font(bold)
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if font.getlength(longer) <= room:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while font.getlength(line) > room and len(line) > 1:
            fits = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or font.getlength(line[:n]) <= room)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line] if line else lines


@lru_cache(maxsize=4)
def _font(bold: bool = False, height: int = LETTERS) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), height)
