"""Sharp, well-spread frames of a video, as photos."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from protome.errors import InputError, ProtomeWarning
from protome.scene import LARGEST_SIDE, VideoFrame

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".webm", ".avi")
MOST_COMPARED = 1500
"""Frames of a video that are compared with each other; of a longer one every second, third and so on."""
SHARPNESS_SIDE = 640
"""Pixels of the longer side at which sharpness is measured; noise of a single pixel does not count."""
LEAST_SHARP = 0.3
"""Sharpness in shares of the chosen frames' median below which a frame is left out as blurred."""
THUMBNAIL = (32, 32)
SAME = 1.5
"""Mean difference of two frames' thumbnails, of 255, below which one of them adds nothing."""
LEAST_MISSING = 0.02
"""Share of a video's frames that may be missing at its end: containers count them roughly."""
FAILURES = 50
"""Frames in a row that cannot be decoded after which the rest of a video is given up."""


@dataclass(frozen=True)
class Candidate:
    """A decoded frame with what it is chosen by."""

    image: UInt8[np.ndarray, "h w 3"]
    """RGB, upright, at most `LARGEST_SIDE` pixels on its longer side."""
    frame: VideoFrame
    sharpness: float
    thumbnail: Float[np.ndarray, "32 32"]
    """Grey, 0 to 255."""


def sharp_frames(path: Path, most: int) -> tuple[Candidate, ...]:
    """Return up to `most` frames of a video in order of time: the sharpest of each of as many equal spans of time.

    Frames that are blurred beside the others, and those that show what the one before them shows, are left out.
    Rotation that the file records is applied. Frames that cannot be decoded are left out with a `ProtomeWarning`.

    Raises:
        InputError: no frame can be decoded.
    """
    # FFmpeg reports damaged frames on standard error, where no command of this package writes what is not its own.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        best = _sharpest(reader, path, most) if reader.isOpened() else {}
    finally:
        reader.release()
    if not best:
        raise InputError(f"{path} holds no frame that can be decoded: give a video as phones record it, MP4 or MOV")
    return tuple(_distinct(_sharp([best[span] for span in sorted(best)])))


def _sharpest(reader: cv2.VideoCapture, path: Path, most: int) -> dict[int, Candidate]:
    """Return the sharpest frame of each span of time by the span's number."""
    rate = reader.get(cv2.CAP_PROP_FPS)
    rate = rate if np.isfinite(rate) and rate > 0 else 30.0
    count = int(max(reader.get(cv2.CAP_PROP_FRAME_COUNT), 0))
    # Some files do not record how many frames they hold.
    count = count or _counted(path)
    step = max(1, -(-count // MOST_COMPARED))
    best: dict[int, Candidate] = {}
    index, lost, failures = 0, 0, 0
    span_seconds = max(count, 1) / rate / most
    while failures < FAILURES:
        wanted = index % step == 0
        good, image = reader.read() if wanted else (reader.grab(), None)
        if not good:
            if index >= count:
                break
            failures += 1
        else:
            failures, lost = 0, lost + failures
            if image is not None:
                found = _candidate(image, VideoFrame(path.name, index, _seconds(reader, index, rate)))
                span = min(int(found.frame.seconds / span_seconds), most - 1)
                if span not in best or found.sharpness > best[span].sharpness:
                    best[span] = found
        index += 1
    missing = count - (index - failures)
    lost += missing if missing > LEAST_MISSING * count + 2 else 0
    if lost and best:
        warnings.warn(
            f"{lost} of {count} frames of {path} cannot be decoded: the others are used", ProtomeWarning, stacklevel=4
        )
    return best


def _counted(path: Path) -> int:
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = 0
    while reader.grab():
        count += 1
    reader.release()
    return count


def _seconds(reader: cv2.VideoCapture, index: int, rate: float) -> float:
    """Return the time of the frame that was read last."""
    time = reader.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
    return round(float(time if np.isfinite(time) and time > 0 else index / rate), 4)


def _candidate(image: UInt8[np.ndarray, "h w 3"], frame: VideoFrame) -> Candidate:
    grey = _limited(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), SHARPNESS_SIDE)
    thumbnail = cv2.resize(grey, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float64)
    rgb = cv2.cvtColor(_limited(image, LARGEST_SIDE), cv2.COLOR_BGR2RGB)
    return Candidate(rgb, frame, sharpness(grey), thumbnail)


def sharpness(grey: UInt8[np.ndarray, "h w"]) -> float:
    """Return the mean squared gradient of an image (Tenengrad) over its variance, which exposure does not change."""
    values = grey.astype(np.float64)
    across, down = cv2.Sobel(values, cv2.CV_64F, 1, 0), cv2.Sobel(values, cv2.CV_64F, 0, 1)
    return float((across**2 + down**2).mean() / (values.var() + 1.0))


def _limited(image: UInt8[np.ndarray, "h w *c"], side: int) -> UInt8[np.ndarray, "_ _ *c"]:
    """Return the image with at most `side` pixels on its longer side, by area averaging."""
    height, width = image.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _sharp(candidates: list[Candidate]) -> list[Candidate]:
    least = LEAST_SHARP * float(np.median([one.sharpness for one in candidates]))
    return [one for one in candidates if one.sharpness >= least]


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """Return the frames without those that show what the kept one before shows; the sharper of two alike is kept."""
    kept: list[Candidate] = []
    for one in candidates:
        if kept and np.abs(one.thumbnail - kept[-1].thumbnail).mean() < SAME:
            if one.sharpness > kept[-1].sharpness:
                kept[-1] = one
        else:
            kept.append(one)
    return kept
