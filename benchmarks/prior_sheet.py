"""Draw the prior's mean head, random people, and interpolations of shape and of appearance.

    python benchmarks/prior_sheet.py --out docs/

Writes prior_mean.jpg (three sides and their normals), prior_samples.jpg (random people) and prior_morph.jpg (between
two of them: shape changes from the first to the second from left to right, appearance from top to bottom). A prior with
expressions gives prior_expressions.jpg, too: a person in each row, who has the appearance of the next one in the row
after, and an expression in each column.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from command import command
from protome.gallery import Meshed, random_head, save_sheet
from protome.preview import coloured_view, side_camera
from protome.prior.morph import morph
from protome.prior.prior import FittedHead, Prior
from protome.util.device import choose_device
from protome.util.files import check_output_folder
from protome.util.progress import Step, progress

Tile = Float[np.ndarray, "s s 3"]

EXPRESSIONS: tuple[dict[str, float], ...] = (
    {},
    {"mouthSmile_L": 1, "mouthSmile_R": 1},
    {"mouthSmile_L": 1, "mouthSmile_R": 1, "mouthUpperUp_L": 0.6, "mouthUpperUp_R": 0.6, "mouthLowerDown_L": 0.6,
     "mouthLowerDown_R": 0.6},
    {"jawOpen": 1},
    {"mouthPucker": 1},
    {"eyeBlink_L": 1, "eyeBlink_R": 1},
    {"browInnerUp_L": 1, "browInnerUp_R": 1, "browOuterUp_L": 1, "browOuterUp_R": 1},
    {"browDown_L": 1, "browDown_R": 1, "mouthFrown_L": 1, "mouthFrown_R": 1},
)  # fmt: skip
"""Columns of the picture of expressions: weights of named units."""
CLOSER, FACE_HEIGHT = 2.2, 0.46
"""How much larger faces are there, and the share of the camera's picture that lies above their middle."""


@dataclass(frozen=True)
class Options:
    """Options of the pictures."""

    out: Path
    """Folder for the pictures."""
    prior: Path | None = None
    """The prior; if left out, the one that ships with the package."""
    people: int = 16
    """Random people in the second picture, numbered from 0."""
    ends: tuple[int, int] = (3, 12)
    """The numbers of the two people of the third picture."""
    wearers: tuple[int, int, int] = (4, 1, 13)
    """The numbers of the people of the picture of expressions."""
    steps: int = 5
    """Rows and columns of the third picture."""
    size: int = 230
    """Pixels along each side of a tile."""
    resolution: int = 140
    """Cells of the drawn meshes along the longest side of the modelled volume."""
    quiet: bool = False
    """Show no progress."""


def mean_tiles(prior: Prior, options: Options) -> list[Tile]:
    """Return the mean head's colours from the front, between front and side, and behind, then the normals there."""
    meshed = Meshed.of(FittedHead(prior.field, prior.mean(), prior.bounds), options.resolution)
    field = prior.bind(prior.mean())
    cameras = [side_camera(degrees, prior.bounds, options.size) for degrees in (0.0, 60.0, 180.0)]
    views = [coloured_view(meshed.mesh, field, camera) for camera in cameras]
    return [view[0] for view in views] + [view[1] for view in views]


def tile(head: FittedHead, options: Options) -> Tile:
    """Return a head seen from the front and a little from the side."""
    return Meshed.of(head, options.resolution).picture(options.size)


def expression_tiles(prior: Prior, options: Options, step: Step) -> list[Tile]:
    """Return people in every expression, each with the own appearance and below with that of the next person."""
    people = [random_head(prior, number).latents for number in options.wearers]
    camera = side_camera(0.0, prior.bounds, round(CLOSER * options.size))
    left, top = (round(share * camera.width - options.size / 2) for share in (0.5, FACE_HEIGHT))
    tiles = []
    for person, other in zip(people, [*people[1:], people[0]], strict=True):
        for appearance in (person.z_appearance, other.z_appearance):
            for weights in EXPRESSIONS:
                worn = torch.tensor([weights.get(name, 0.0) for name in prior.expression_names])
                latents = replace(person, z_appearance=appearance, z_expression=worn)
                head = FittedHead(prior.field, latents, prior.bounds)
                view = coloured_view(Meshed.of(head, options.resolution).mesh, head.bind(), camera)[0]
                tiles.append(view[top : top + options.size, left : left + options.size])
                step(1)
    return tiles


def run(options: Options) -> None:
    """Draw the pictures."""
    check_output_folder(options.out)
    choose_device("cpu")
    prior = Prior.load(options.prior)
    worn = 2 * len(options.wearers) * len(EXPRESSIONS) if prior.expression_names else 0
    total = 1 + options.people + options.steps**2 + worn
    with progress("drawing heads", total, quiet=options.quiet) as step:
        save_sheet(mean_tiles(prior, options), options.out / "prior_mean.jpg", columns=3)
        step(1)
        tiles = []
        for number in range(options.people):
            tiles.append(tile(random_head(prior, number), options))
            step(1)
        save_sheet(tiles, options.out / "prior_samples.jpg")
        first, second = (random_head(prior, number) for number in options.ends)
        tiles = []
        for appearance in np.linspace(0, 1, options.steps):
            for shape in np.linspace(0, 1, options.steps):
                tiles.append(tile(morph(first, second, float(shape), float(appearance)), options))
                step(1)
        save_sheet(tiles, options.out / "prior_morph.jpg", columns=options.steps)
        if worn:
            rows = expression_tiles(prior, options, step)
            save_sheet(rows, options.out / "prior_expressions.jpg", columns=len(EXPRESSIONS))


def main() -> int:
    """Draw the pictures of the command line and return its exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
