"""Draw reconstructed people with expressions: their own, and four of a rigged head's targets.

    python benchmarks/rig_sheet.py PHOTO... --work build/rigs --out docs/rigs.jpg

Each photo is reconstructed with `--expression neutral`, unless its folder is there. Its row has the
neutral head; the head as in the photo, which is the rig with the coefficients that were found in it; then the jaw
opened, both eyes closed, a smile, and brows raised, each at full strength. `--with-photos` puts the photos first.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from jaxtyping import UInt8
from PIL import Image, ImageOps

import protome
from command import command
from protome.errors import InputError
from protome.fit.options import FitOptions
from protome.preview import side_camera
from protome.topology.names import ARKIT, ict_units
from protome.topology.retopologize import RIGGED, retopologize
from protome.topology.rigged import RiggedHead
from protome.util.files import check_output_file, write_atomically
from protome.util.image_files import open_image

TARGETS: tuple[dict[str, float], ...] = (
    {"jawOpen": 1.0},
    {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0},
    {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0},
)
AZIMUTH = 12.0
LOWEST_MM = -110.0
"""Below this height nothing moves; the pictures show what is above."""


@dataclass(frozen=True)
class Options:
    """Options of the sheet."""

    photos: tyro.conf.Positional[tuple[Path, ...]]
    """One photo of each person."""
    work: Path
    """Folder for the reconstructions."""
    out: Path
    """The picture to write."""
    preset: str = "standard"
    size: int = 260
    """Pixels along each side of a tile."""
    with_photos: bool = False
    """Whether each row begins with the photo."""


def run(options: Options) -> None:
    """Reconstruct the people that are missing, draw the sheet, and print what was found in each photo."""
    check_output_file(options.out)
    rows = []
    for photo in options.photos:
        result = options.work / photo.stem
        if not (result / "result.json").is_file():
            neutral = FitOptions(expression="neutral")
            protome.reconstruct([photo], preset=options.preset, options=neutral).save(result)
        if not (result / RIGGED).is_file():
            retopologize(result)
        found = coefficients(result / "result.json")
        strongest = sorted(found, key=lambda name: -found[name])[:4]
        print(f"{photo.name}: " + ", ".join(f"{name} {found[name]:.2f}" for name in strongest))
        rig = RiggedHead.load(result)
        shown = rig.vertices[rig.vertices[:, 1] > LOWEST_MM]
        camera = side_camera(AZIMUTH, torch.tensor(np.stack([shown.min(0), shown.max(0)])), options.size)
        tiles = [
            np.rint(255 * rig.posed(weights).seen(camera).colour).astype(np.uint8) for weights in ({}, found, *TARGETS)
        ]
        rows.append(np.concatenate(([square(photo, options.size)] if options.with_photos else []) + tiles, 1))
    sheet = Image.fromarray(np.concatenate(rows))
    write_atomically(options.out, lambda part: sheet.save(part, "jpeg", quality=90))


def coefficients(path: Path) -> dict[str, float]:
    """Return the expression that was found in a photo, by ARKit's names.

    Raises:
        InputError: the result has none.
    """
    own = json.loads(path.read_text()).get("expression") or {}
    units = own.get("coefficients")
    if not units:
        raise InputError(f"{path} has no expression: reconstruct it again with a prior that has expressions")
    named = {name: ict_units(name) for name in ARKIT}
    return {
        name: float(np.clip(np.mean([units.get(unit, 0.0) for unit in own_units]), 0, 1))
        for name, own_units in named.items()
        if own_units
    }


def square(photo: Path, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """Return the middle of a photo as a tile."""
    return np.asarray(ImageOps.fit(open_image(photo).convert("RGB"), (size, size)))


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
