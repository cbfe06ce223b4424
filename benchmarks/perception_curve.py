"""Draw what more pictures bring to the perception network, from the log of its training.

    python benchmarks/perception_curve.py --log build/perception/log.jsonl --out docs/perception_curve.png

Prints how much each doubling of the pictures lowers the errors.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from command import command
from protome.errors import InputError
from protome.population.portraits.shards import PICTURES
from protome.util.files import write_atomically

CURVES = (
    ("face_nme", "landmarks of the face, % of its size"),
    ("person_iou", "person not found, %"),
    ("hair_iou", "hair not found, %"),
    ("others_taken", "other people's pixels taken, %"),
)


@dataclass(frozen=True)
class Options:
    """The log and the picture."""

    log: Path
    """log.jsonl of "protome train-perception"."""
    out: Path
    """PNG file to write."""
    since: int = 0
    """Pictures from which on scores are shown: earlier ones may be of squares of another size."""


def run(options: Options) -> None:
    """Draw the curves and print the gains.

    Raises:
        InputError: there is no log, or no scores in it.
    """
    if not options.log.is_file():
        raise InputError(f'{options.log} does not exist: give the log of "protome train-perception"')
    rows = [json.loads(line) for line in options.log.read_text(encoding="utf-8").splitlines()]
    scored = [row for row in rows if "face_nme" in row and row["pictures"] >= options.since]
    if len(scored) < 2:
        raise InputError(f"{options.log} has no two scores to compare: train on")
    pictures = np.array([row["pictures"] for row in scored])
    figure, axes = plt.subplots(1, len(CURVES), figsize=(13, 3.2), layout="constrained")
    for axis, (key, name) in zip(axes, CURVES, strict=True):
        values = np.array([_error(row, key) for row in scored])
        axis.plot(pictures / 1000, values, ".-", linewidth=1, markersize=4)
        axis.set(xlabel="thousand pictures shown", title=name)
        axis.grid(alpha=0.3)
        slope = np.polyfit(np.log2(pictures), np.log2(values), 1)[0]
        print(f"{name}: {values[-1]:.2f}, times {2**slope:.2f} for each doubling of the pictures shown")
    last = scored[-1]
    people = last["seen_shards"] * PICTURES
    figure.suptitle(
        f"{last['pictures']:,} pictures shown, {people:,} different ones, {last['hours']:.1f} hours of a core"
    )
    write_atomically(options.out, lambda part: figure.savefig(part, dpi=110, format="png"))
    plt.close(figure)


def _error(row: dict[str, Any], key: str) -> float:
    return float(row[key]) if key == "face_nme" else 100 * (row[key] if key == "others_taken" else 1 - row[key])


def main() -> int:
    """Draw with the options of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
