"""Draw a contact sheet of random training people, photographed in their own lights.

python benchmarks/population_sheet.py --valid valid_heads/ --ict ict_facekit/ \
    --makehuman makehuman/ --out docs/population.jpg

With `--expressions` each row is one person: neutral, and as they are measured or as training heads are drawn.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.population.build import Sources
from protome.population.character import Characters
from protome.population.expressions import MEASURED, draw_expressive, named_weights
from protome.population.picture import photograph
from protome.population.surface import OuterSurface
from protome.preview import contact_sheet
from protome.units import UNIT_MM
from protome.util.progress import progress

TARGET_MM = (0.0, -20.0, -80.0)
DISTANCE_MM = 900.0
CLOSER = 1.45
"""How much larger faces are where their expressions are shown."""


@dataclass(frozen=True)
class Options:
    """Options of the sheet."""

    valid: Path
    """The folder of the VALID avatar heads."""
    out: Path
    """The picture to write."""
    ict: Path | None = None
    """The folder of the ICT face model."""
    makehuman: Path | None = None
    """The folder of MakeHuman's assets."""
    targets: Path | None = None
    """The folder of MakeHuman's morph targets."""
    cache: Path | None = None
    """A file that keeps the fit of MakeHuman's assets."""
    heads: int = 64
    """Number of people."""
    columns: int = 8
    """People in a row."""
    size: int = 170
    """Pixels along each side of a tile."""
    seed: int = 1
    """The random seed."""
    expressions: bool = False
    """Draw `heads` people in the measured expressions, one row each, and in as many drawn ones as columns are left."""


def portrait(surface: OuterSurface, azimuth: float, size: int, closer: float = 1.0) -> np.ndarray:
    """Return a head and shoulders picture from an azimuth in degrees (towards the subject's left)."""
    target = torch.tensor(TARGET_MM) / UNIT_MM
    angle = np.radians(azimuth)
    away = torch.tensor([np.sin(angle), 0.05, np.cos(angle)], dtype=torch.float32) * (DISTANCE_MM / UNIT_MM)
    return photograph(surface, Camera.look_at(target + away, target, 2.7 * closer * size, size, size)).image


def main(options: Options) -> int:
    """Write the sheet."""
    try:
        sources = Sources(options.valid, options.ict, options.makehuman, options.targets)
        sources.check()
        composer = sources.composer(options.cache)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.expressions:
        return _write(options, _expressive(options, Characters(composer)))
    tiles = []
    with progress("photographing", options.heads) as step:
        for index in range(options.heads):
            rng = np.random.default_rng([options.seed, index])
            surface = OuterSurface(composer.person(rng), rng, rounds=8)
            tiles.append(portrait(surface, float(rng.uniform(-35, 35)), options.size))
            step(1)
    return _write(options, tiles)


def _expressive(options: Options, characters: Characters) -> list[np.ndarray]:
    tiles = []
    with progress("photographing", options.heads * options.columns) as step:
        for index in range(options.heads):
            rng = np.random.default_rng([options.seed, index])
            who, azimuth, neutral = characters.draw(rng), float(rng.uniform(-20, 20)), None
            expressions = [named_weights(characters.units, weights) for weights in MEASURED.values()]
            while len(expressions) < options.columns:
                expressions.append(draw_expressive(characters.units, rng))
            for weights in expressions[: options.columns]:
                surface = OuterSurface(characters.head(who, weights), rng, 8, neutral)
                neutral = neutral or surface
                tiles.append(portrait(surface, azimuth, options.size, CLOSER))
                step(1)
    return tiles


def _write(options: Options, tiles: list[np.ndarray]) -> int:
    rows = [tiles[start : start + options.columns] for start in range(0, len(tiles), options.columns)]
    sheet = np.rint(255 * contact_sheet(rows).clip(0, 1)).astype(np.uint8)
    Image.fromarray(sheet).save(options.out, quality=82)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
