"""Frames of videos: which are chosen, that they are upright, and what damaged files do."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from protome.capture.inputs import load_photos
from protome.capture.video import sharp_frames, sharpness
from protome.errors import InputError, ProtomeWarning
from protome.scene import VideoFrame

WIDTH, HEIGHT, RATE = 192, 128, 25.0
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".m4v": "mp4v", ".avi": "MJPG", ".webm": "VP80"}


def scenery() -> np.ndarray:
    """A wide picture of blocks in random colours, over which the camera pans."""
    blocks = np.random.default_rng(0).integers(40, 216, (8, 120, 3), dtype=np.uint8)
    return np.repeat(np.repeat(blocks, 16, 0), 16, 1)


def frame(number: int, blurred: bool, speed: int = 8) -> np.ndarray:
    picture = scenery()[:, number * speed : number * speed + WIDTH]
    return cv2.GaussianBlur(picture, (0, 0), 5) if blurred else np.ascontiguousarray(picture)


def write_video(path: Path, frames: list[np.ndarray]) -> Path:
    height, width = frames[0].shape[:2]
    codec = cv2.VideoWriter_fourcc(*CODECS[path.suffix])  # type: ignore[attr-defined]
    writer = cv2.VideoWriter(str(path), codec, RATE, (width, height))
    assert writer.isOpened()
    for picture in frames:
        writer.write(picture[..., ::-1])
    writer.release()
    return path


@pytest.mark.parametrize("suffix", CODECS)
def test_the_sharp_frame_of_each_span_is_chosen(suffix: str, tmp_path: Path) -> None:
    sharp = {3, 17, 22, 38}
    path = write_video(tmp_path / f"a{suffix}", [frame(number, number not in sharp) for number in range(40)])
    found = sharp_frames(path, 4)
    assert [one.frame.index for one in found] == sorted(sharp)
    for one in found:
        assert one.frame.video == f"a{suffix}"
        assert one.frame.seconds == pytest.approx(one.frame.index / RATE, abs=0.5 / RATE)
        # It is that frame, and its channels are red, green and blue.
        difference = np.abs(one.image.astype(int) - frame(one.frame.index, False))
        assert difference.mean() < 8


def test_spans_without_a_sharp_frame_give_none(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [frame(number, number >= 30) for number in range(40)])
    indices = [one.frame.index for one in sharp_frames(path, 8)]
    assert len(indices) == 6
    assert max(indices) < 30


def test_frames_that_show_the_same_are_used_once(tmp_path: Path) -> None:
    still = write_video(tmp_path / "still.avi", [frame(0, False)] * 40)
    assert len(sharp_frames(still, 8)) == 1
    stops = [frame(min(number, 20), False) for number in range(40)]
    indices = [one.frame.index for one in sharp_frames(write_video(tmp_path / "stops.avi", stops), 8)]
    assert len(indices) == 5
    assert sum(index >= 20 for index in indices) == 1


def test_fewer_frames_than_wanted_are_all_used(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [frame(number, False) for number in range(5)])
    assert [one.frame.index for one in sharp_frames(path, 32)] == [0, 1, 2, 3, 4]


def test_sharpness_does_not_depend_on_exposure() -> None:
    grey = frame(0, False)[..., 1]
    dark = (grey // 2).astype(np.uint8)
    assert sharpness(dark) == pytest.approx(sharpness(grey), rel=0.02)
    assert sharpness(frame(0, True)[..., 1]) < 0.3 * sharpness(grey)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_in_the_file_is_applied(degrees: int, tmp_path: Path) -> None:
    """Phones store a matrix in the track's header (ISO 14496-12, tkhd) that turns what was recorded."""
    whole = frame(0, False)
    path = write_video(tmp_path / "a.mp4", [np.ascontiguousarray(np.rot90(whole, degrees // 90))] * 3)
    content = bytearray(path.read_bytes())
    start = content.find(b"tkhd") + 4 + 4 + 20 + 16
    c, s = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one = 1 << 16
    assert struct.unpack_from(">9i", content, start) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", content, start, c * one, s * one, 0, -s * one, c * one, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    (found,) = sharp_frames(path, 1)
    assert found.image.shape == whole.shape
    assert np.abs(found.image.astype(int) - whole).mean() < 8


def test_a_damaged_frame_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [frame(number, False) for number in range(20)])
    content = bytearray(path.read_bytes())
    frames = [at for at in range(content.find(b"movi"), len(content) - 4) if content[at : at + 4] == b"00dc"]
    # The tenth frame's JPEG data, up to where the next begins.
    content[frames[9] + 8 : frames[10]] = b"\x55" * (frames[10] - frames[9] - 8)
    path.write_bytes(content)
    with pytest.warns(ProtomeWarning, match=r"^1 of 20 frames of .*a\.avi cannot be decoded: the others are used$"):
        indices = [one.frame.index for one in sharp_frames(path, 20)]
    assert indices == [number for number in range(20) if number != 9]


def test_videos_without_frames_are_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    whole = write_video(tmp_path / "b.avi", [frame(0, False)] * 3).read_bytes()
    (tmp_path / "b.avi").write_bytes(whole[:400])
    for name in ("a.mp4", "b.avi"):
        with pytest.raises(InputError) as refused:
            sharp_frames(tmp_path / name, 4)
        assert str(refused.value) == (
            f"{tmp_path / name} holds no frame that can be decoded: give a video as phones record it, MP4 or MOV"
        )
    with pytest.raises(InputError, match=r"gone\.mp4 does not exist: give the path of a video$"):
        load_photos([tmp_path / "gone.mp4"])
    small = write_video(tmp_path / "small.avi", [np.zeros((48, 64, 3), np.uint8)] * 3)
    with pytest.raises(InputError, match=r"has only 64 x 48 pixels: give a video with at least 64 on each side$"):
        load_photos([small])


def test_frames_become_photos_that_name_their_place(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [frame(number, False) for number in range(40)])
    photos = load_photos([path])
    assert 8 < len(photos) <= 32
    for photo in photos:
        assert photo.frame is not None
        assert photo.name == f"a.mp4#{photo.frame.index}"
        assert photo.shown == f"frame {photo.frame.index} of {path}"
        assert photo.focal_px is None
        assert photo.image.shape == (HEIGHT, WIDTH, 3)
    assert photos[0].frame == VideoFrame("a.mp4", photos[0].frame.index, photos[0].frame.seconds)  # type: ignore[union-attr]
