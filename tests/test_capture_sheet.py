"""The contact sheet shows each photo with its landmarks, outline and camera, and every word in full."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portraits import paint, portrait_camera, scene_of
from protome import capture_sheet as sheet
from protome.capture.assess import assess
from protome.capture.facts import Concern
from protome.capture.words import alt_text


def near(image: np.ndarray, colour: tuple[int, int, int], reach: int = 60) -> np.ndarray:
    """The pixels of roughly a colour."""
    return np.abs(image.astype(int) - colour).max(-1) < reach


@pytest.mark.parametrize("count", [1, 2, 7, 32])
def test_every_photo_has_its_tile(count: int) -> None:
    views = [paint(portrait_camera(3.0 * n - 45, size=96), name=f"{n}.png") for n in range(count)]
    scene = scene_of(*views)
    drawn = np.asarray(sheet.capture_sheet(scene, assess(scene)))
    columns = round((drawn.shape[1] - sheet.GAP) / (sheet.PICTURE + sheet.GAP))
    rows = -(-count // columns)
    assert columns <= 8
    assert drawn.shape[1] == columns * (sheet.PICTURE + sheet.GAP) + sheet.GAP
    # The outline of each person is drawn in each column.
    for column in range(min(columns, count)):
        left = sheet.GAP + column * (sheet.PICTURE + sheet.GAP)
        assert near(drawn[:, left : left + sheet.PICTURE], sheet.OUTLINE).sum() > 200 * (rows - 1)
    assert drawn.shape[0] > rows * (sheet.PICTURE + sheet.GLYPH)


def test_landmarks_and_outline_lie_where_they_were_found() -> None:
    view = paint(portrait_camera(size=480))
    picture = np.asarray(sheet._picture(view, sheet.Window(0, 0, 480, 480), 0.9))
    assert view.landmarks is not None
    marks, outline = near(picture, sheet.MARKS), near(picture, sheet.OUTLINE)
    for index in (1, 4, 10, 152, 33, 263, 61, 291):
        x, y = (0.9 * view.landmarks[index]).round().int().tolist()
        assert marks[y - 2 : y + 3, x - 2 : x + 3].any(), index
    top = 0.9 * float(np.flatnonzero(view.mask.numpy().any(1))[0])
    assert abs(float(np.flatnonzero(outline.any(1))[0]) - top) < 2.5


def test_a_small_face_is_enlarged_in_the_corner() -> None:
    view = paint(portrait_camera(size=900, distance=3500.0))
    scene = scene_of(view)
    facts = assess(scene)
    assert facts[0].face is not None
    assert facts[0].face.height_px * sheet.PICTURE / 900 < sheet.SMALL_FACE
    drawn = np.asarray(sheet.capture_sheet(scene, facts))
    bottom = sheet.GAP + sheet.PICTURE
    inset = drawn[bottom - sheet.INSET : bottom, sheet.GAP : sheet.GAP + sheet.INSET]
    assert near(inset, sheet.MARKS).sum() > 300


@pytest.mark.parametrize(("azimuth", "right", "below"), [(0, 0, 1), (90, 1, 0), (-90, -1, 0), (180, 0, -1)])
def test_the_camera_stands_on_its_side_of_the_head(azimuth: float, right: int, below: int) -> None:
    scene = scene_of(paint(portrait_camera(30.0)))
    facts = replace(assess(scene)[0], azimuth=azimuth)
    spots = np.argwhere(near(np.asarray(sheet._glyph(facts, [facts])), sheet.CAMERA, 40))
    y, x = spots.mean(0) - sheet.GLYPH / 2
    assert np.sign(np.round(x / 12)) == right
    assert np.sign(np.round(y / 12)) == below
    far = np.argwhere(near(np.asarray(sheet._glyph(replace(facts, distance_mm=3000), [facts])), sheet.CAMERA, 40))
    reach = [np.linalg.norm(seen - sheet.GLYPH / 2, axis=1).max() for seen in (spots, far)]
    assert reach[1] > reach[0] + 5


def test_long_words_are_broken_and_none_is_lost() -> None:
    text = "a_photo_with_a_very_long_name_that_no_line_holds_" * 3 + ".jpeg and more"
    lines = sheet._wrapped(text, 200)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(sheet._font().getlength(part) <= 200 for part in lines)


def test_remarks_make_the_sheet_higher(tmp_path: Path) -> None:
    scene = scene_of(paint(portrait_camera()))
    facts = assess(scene)
    plain = sheet.capture_sheet(scene, facts)
    remarks = tuple(Concern("cut", f"remark {n}") for n in range(9))
    noted = (replace(facts[0], concerns=remarks),)
    assert sheet.capture_sheet(scene, noted).height == plain.height + 8 * sheet.LEADING
    sheet.save_capture_sheet(tmp_path / "capture.png", scene, noted)
    with Image.open(tmp_path / "capture.png") as written:
        assert written.info["Description"] == alt_text(noted)
        assert written.size[0] == plain.width
