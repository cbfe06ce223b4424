"""Tracks of ARKit's coefficients over time: Live Link Face's CSV files, and JSON."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from protome.errors import InputError
from protome.topology.names import ARKIT

CSV_FPS, JSON_FPS = 60.0, 30.0
"""Frames per second where a file does not say: Live Link Face's recordings have 60."""
MOST_FRAMES = 20_000
_FORMATS = (
    "give a CSV file with Live Link Face's columns (Timecode, BlendShapeCount, EyeBlinkLeft, ...) or a JSON file with "
    'a list of frames such as {"jawOpen": 0.5}'
)


@dataclass(frozen=True)
class Track:
    """Strengths of the expressions, frame by frame."""

    fps: float
    weights: Float[np.ndarray, "n 52"]
    """In the order of `protome.topology.names.ARKIT`, in [0, 1]."""

    def frame(self, number: int) -> dict[str, float]:
        """Return the strengths of one frame by name."""
        return {name: float(weight) for name, weight in zip(ARKIT, self.weights[number], strict=True) if weight}

    @staticmethod
    def load(path: Path) -> Track:
        """Read a track by the file's suffix; strengths are limited to 0 to 1.

        A CSV file has one row for each frame and a column for each coefficient, in any order, first letters large or
        small; columns of angles of head and eyes are left aside. JSON is a list of frames, each an object of
        coefficients by name, or an object with `fps` and `frames`.

        Raises:
            InputError: the file is missing or of another kind, names no coefficients or unknown ones, or a strength
                is no number.
        """
        if not path.is_file():
            raise InputError(f"{path} does not exist: {_FORMATS}")
        if path.suffix.lower() not in (".csv", ".json"):
            raise InputError(f"{path} is neither CSV nor JSON: {_FORMATS}")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as text ({error}): {_FORMATS}") from error
        fps, frames = _from_csv(path, text) if path.suffix.lower() == ".csv" else _from_json(path, text)
        if not frames:
            raise InputError(f"{path} holds no frames: {_FORMATS}")
        if len(frames) > MOST_FRAMES:
            raise InputError(f"{path} holds {len(frames)} frames, more than {MOST_FRAMES}: cut the track")
        weights = np.zeros((len(frames), len(ARKIT)))
        for number, frame in enumerate(frames):
            for name, weight in frame.items():
                weights[number, ARKIT.index(name)] = weight
        return Track(fps, weights.clip(0, 1))


def _from_csv(path: Path, text: str) -> tuple[float, list[dict[str, float]]]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if not rows:
        return CSV_FPS, []
    titles = [title.strip() for title in rows[0]]
    known = {column: _known(title) for column, title in enumerate(titles) if _known(title)}
    if not known:
        raise InputError(f"{path} has none of ARKit's coefficients in its first line: {_FORMATS}")
    frames = []
    for number, row in enumerate(rows[1:], 2):
        frames.append({
            name: _number(path, f"line {number}", row[column]) for column, name in known.items()
            if name is not None and column < len(row) and row[column].strip()
        })  # fmt: skip
    return CSV_FPS, frames


def _from_json(path: Path, text: str) -> tuple[float, list[dict[str, float]]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({error}): {_FORMATS}") from error
    fps: object = JSON_FPS
    if isinstance(content, dict):
        fps, content = content.get("fps", JSON_FPS), content.get("frames")
    if not isinstance(content, list) or not all(isinstance(frame, dict) for frame in content):
        raise InputError(f"{path} holds no list of frames: {_FORMATS}")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 1 <= fps <= 240:
        raise InputError(f"{path} has {fps} frames per second: give 1 to 240")
    frames = []
    for number, frame in enumerate(content, 1):
        own = {}
        for name, weight in frame.items():
            known = _known(name)
            if known is None:
                raise InputError(f"{path} names {name} in frame {number}, which is none of ARKit's coefficients: "
                                 "correct or remove it")  # fmt: skip
            own[known] = _number(path, f"frame {number}", weight)
        frames.append(own)
    return float(fps), frames


def _known(title: str) -> str | None:
    name = title[:1].lower() + title[1:]
    return name if name in ARKIT else None


def _number(path: Path, where: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not np.isfinite(number):
        raise InputError(f"{path} has {value!r} as a strength in {where}: give numbers from 0 to 1")
    return number
