"""What photos measure in each check of `protome.capture.checks`, and results in those of `protome.fit.residuals`.

    python benchmarks/checks.py [--photos DIR] [--results DIR]

DIR of photos holds portraits that nothing is wrong with, except what their names are known for; DIR of results one
folder for each photo, as `protome reconstruct` writes them. Prints for each check the limit, the least, the middle and
the most of all photos, and which photos are beyond the limit.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from command import command
from protome.capture import checks
from protome.capture.assess import assess
from protome.capture.capture import capture_photos
from protome.capture.facts import FaceFacts
from protome.capture.occlusion import FRAMES
from protome.errors import InputError, ProtomeWarning
from protome.fit.residuals import LEAST_IOU, MOST_MM


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    photos: Path | None = None
    """A folder of photos of one person each."""
    results: Path | None = None
    """A folder of results of one photo each."""


@dataclass(frozen=True)
class Check:
    """One measure of all photos."""

    limit: float
    found: dict[str, float]
    """By the photo's name."""
    below: bool = False
    """Whether a photo is poor below the limit, not above it."""

    def row(self, name: str) -> str:
        """Return the row of the table."""
        values = sorted(self.found.values())
        beyond = [photo for photo, value in self.found.items() if (value < self.limit) == self.below]
        numbers = (self.limit, values[0], values[len(values) // 2], values[-1])
        return f"| {name} | " + " | ".join(f"{number:.3f}" for number in numbers) + f" | {', '.join(beyond)} |"


def run(options: Options) -> None:
    """Print a table.

    Raises:
        InputError: neither photos nor results are given.
    """
    if options.photos is None and options.results is None:
        raise InputError("nothing is given to measure: name a folder with --photos or --results")
    print("| check | limit | least | middle | most | beyond |\n" + "|---" * 6 + "|")
    rows = {} if options.photos is None else _of_photos(options.photos)
    rows |= {} if options.results is None else _of_results(options.results)
    for name, check in rows.items():
        if check.found:
            print(check.row(name))


def _of_photos(folder: Path) -> dict[str, Check]:
    faces: dict[str, FaceFacts] = {}
    for path in sorted(folder.iterdir()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ProtomeWarning)
            try:
                own = assess(capture_photos([path]))[0].face
            except InputError as error:
                print(f"{error}", file=sys.stderr)
                continue
        if own is not None:
            faces[path.stem] = own
    each = faces.items()
    return {
        "blur": Check(checks.BLURRED, {name: own.blur for name, own in each}),
        "height, pixels": Check(checks.TINY_PX, {name: own.height_px for name, own in each}, below=True),
        "burnt out": Check(checks.CLIPPED, {name: own.burnt_out for name, own in each}),
        "blacked out": Check(checks.CLIPPED, {name: own.blacked_out for name, own in each}),
        "blue beside red": Check(checks.BLUE, {name: own.tint[1] - own.tint[0] for name, own in each}),
        "side light, factor": Check(
            checks.HARSH, {n: math.exp(abs(math.log(own.side_light))) for n, own in each if own.side_light is not None}
        ),
        "covered": Check(checks.COVERED, {name: own.covered for name, own in each if own.covered is not None}),
        "mouth gap": Check(checks.MOUTH_OPEN, {name: own.mouth_gap for name, own in each}),
        "smile": Check(checks.SMILE, {name: own.smile for name, own in each}),
        "cut head": Check(checks.CUT, {name: own.cut_head for name, own in each}),
        "room below the chin": Check(checks.CHIN_ROOM, {name: own.chin_room for name, own in each}, below=True),
        "edge of glasses": Check(FRAMES, {name: own.frame_edge for name, own in each}),
    }


def _of_results(folder: Path) -> dict[str, Check]:
    off: dict[str, float] = {}
    overlaps: dict[str, float] = {}
    for path in sorted(folder.glob("*/result.json")):
        for number, camera in enumerate(json.loads(path.read_text()).get("cameras") or []):
            own = camera.get("residual") or {}
            name = path.parent.name + (f" {number}" if number else "")
            for found, key in ((off, "landmarks_mm"), (overlaps, "outline_iou")):
                if own.get(key) is not None and np.isfinite(own[key]):
                    found[name] = own[key]
    return {"landmarks, mm": Check(MOST_MM, off), "outline, overlap": Check(LEAST_IOU, overlaps, below=True)}


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
