"""Count who is in a population: sexes, ages, hair and the lightness of skin, as a table for a model card.

    python benchmarks/represented.py --population build/population

Sex, age and hair are known in populations with expressions. The lightness of the skin is measured on all: the median of
L* (CIE) of the samples around the nose, in the light of each head, so that it is a little darker than the skin itself.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float, UInt8
from skimage.color import rgb2lab

from command import command
from protome.population.store import Manifest, read_manifest, shard_path
from protome.population.surface import BOUNDS_M

NOSE = 2
"""The tip of the nose among the six landmarks."""
NEAR_M = 0.045
"""Samples nearer to the tip of the nose are the face's skin."""
LIGHTNESS = (0, 25, 40, 55, 70, 101)
"""Borders of the classes of L*."""
HAIR_MM = ((0.5, "none"), (30, "to 3 cm"), (150, "to 15 cm"), (float("inf"), "longer"))


@dataclass(frozen=True)
class Options:
    """Options of the count."""

    population: Path
    """The folder that "protome population build" wrote."""


@dataclass(frozen=True)
class Head:
    """What is counted of one person: of the first head."""

    lightness: float
    """L* of the skin."""
    facts: dict[str, str | float]
    """Empty where nothing is known."""


def lightness(
    points: Float[np.ndarray, "n 3"], colours: UInt8[np.ndarray, "n 3"], nose: Float[np.ndarray, "3"]
) -> float:
    """Return the median L* of the samples (metres) around the tip of the nose."""
    near = colours[np.linalg.norm(points - nose, axis=1) < NEAR_M]
    return float(np.median(rgb2lab(near[None] / 255.0)[0, :, 0])) if len(near) else float("nan")


def heads_of(folder: Path, manifest: Manifest) -> Iterator[Head]:
    """Return the people of the training split, as far as it is built."""
    seen: set[int] = set()
    size = BOUNDS_M[1] - BOUNDS_M[0]
    for number in range(manifest.shards("train")):
        path = shard_path(folder, "train", number)
        if not path.is_file():
            return
        with h5py.File(path) as file:
            people = file["person"][:].tolist() if "person" in file else [-1] * len(file["name"])
            for row, person in enumerate(people):
                if person in seen:
                    continue
                seen |= {person} - {-1}
                samples = file["surface"][row]
                points = BOUNDS_M[0] + samples["point"] / 65535.0 * size
                facts = json.loads(file["facts"][row]) if "facts" in file else {}
                yield Head(lightness(points, samples["colour"], file["landmarks"][row][NOSE]), facts)


def hair(millimetres: float) -> str:
    """Return the class of a length of hair."""
    return next(name for most, name in HAIR_MM if millimetres < most)


def table(heads: Sequence[Head]) -> list[str]:
    """Return the lines of a table in Markdown."""
    counts: list[tuple[str, Counter[str]]] = []
    for key in ("sex", "age"):
        counts.append((key, Counter(str(head.facts[key]) for head in heads if key in head.facts)))
    counts.append(("hair", Counter(hair(float(head.facts["hair_mm"])) for head in heads if "hair_mm" in head.facts)))
    known = np.array([head.lightness for head in heads if np.isfinite(head.lightness)])
    classes = pairwise(LIGHTNESS)
    spread = Counter({f"{low} to {high}": int(((known >= low) & (known < high)).sum()) for low, high in classes})
    counts.append(("lightness of skin, L*", spread))
    lines = [f"{len(heads)} people", "", "| what | shares |", "|---|---|"]
    for name, own in counts:
        shares = [f"{key} {100 * count / own.total():.0f} %" for key, count in own.items() if count]
        lines.append(f"| {name} | {', '.join(shares) if shares else 'not recorded'} |")
    return lines


def run(options: Options) -> None:
    """Print the table."""
    manifest = read_manifest(options.population)
    print("\n".join(table(list(heads_of(options.population, manifest)))))


def main() -> int:
    """Count the population of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
