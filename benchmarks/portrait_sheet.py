"""Draw a sheet of portraits, none left out, beside their labels; count who is on them, and time the renderer.

python benchmarks/portrait_sheet.py --wardrobe wardrobe.npz --out docs/portraits.jpg --labels docs/portrait_labels.jpg
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from command import command
from protome.population.portraits.person import AGES, draw_person
from protome.population.portraits.photograph import Portrait
from protome.population.portraits.portraits import Photographer
from protome.population.portraits.wardrobe import Wardrobe
from protome.util.files import write_atomically

PALETTE = np.array([
    (0, 0, 0), (90, 90, 90), (230, 180, 150), (120, 60, 20), (200, 120, 0), (255, 255, 0), (0, 120, 255), (255, 0, 0),
    (0, 160, 80), (200, 0, 200),
], np.uint8)  # fmt: skip
"""In the order of the parts."""
COLUMNS, SCENES, PEOPLE = 10, 15, 2000


@dataclass(frozen=True)
class Options:
    """What to draw and where."""

    wardrobe: Path
    out: Path
    """The sheet."""
    labels: Path | None = None
    """The same portraits with their labels."""
    seed: int = 6
    size: int = 208


def labelled(portrait: Portrait) -> UInt8[np.ndarray, "s s 3"]:
    """Return a portrait with its parts in colours and its visible landmarks in green."""
    mixed = (0.5 * portrait.image + 0.5 * PALETTE[portrait.parts]).astype(np.uint8)
    places = portrait.landmarks[portrait.visible].astype(int)
    inside = ((places >= 0) & (places < len(mixed))).all(1)
    mixed[places[inside, 1], places[inside, 0]] = (0, 255, 0)
    return mixed


def _sheet(pictures: list[np.ndarray]) -> Image.Image:
    rows = [np.concatenate(pictures[k : k + COLUMNS], 1) for k in range(0, len(pictures), COLUMNS)]
    return Image.fromarray(np.concatenate(rows, 0))


def run(options: Options) -> None:
    """Draw the sheets and print counts and times."""
    cv2.setNumThreads(1)
    wardrobe = Wardrobe.load(options.wardrobe)
    photographer = Photographer(wardrobe, options.size)
    began = time.process_time()
    taken = [one.portrait for number in range(SCENES) for one in photographer.scene(options.seed, number)]
    each = (time.process_time() - began) / len(taken)
    write_atomically(options.out, lambda part: _sheet([one.image for one in taken]).save(part, "JPEG", quality=88))
    if options.labels is not None:
        write_atomically(
            options.labels, lambda part: _sheet([labelled(one) for one in taken]).save(part, "JPEG", quality=88)
        )
    rng = np.random.default_rng(options.seed)
    people = [draw_person(wardrobe, rng) for _ in range(PEOPLE)]
    tones = np.array([person.lightness for person in people])
    print(f"{1000 * each:.0f} ms of one core a portrait of {options.size} x {options.size} pixels")
    print(f"{np.mean([person.male for person in people]):.1%} men")
    print(", ".join(f"{np.mean([person.age == age for person in people]):.1%} {age}" for age in AGES))
    print("lightness of the skin, quartiles:", np.percentile(tones, [0, 25, 50, 75, 100]).round(1).tolist())


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
