"""Draw the prior's mean head, random people, and interpolations of shape and of appearance.

    python benchmarks/prior_sheet.py --out docs/

Writes prior_mean.jpg (three sides and their normals), prior_samples.jpg (random people) and prior_morph.jpg (between
two of them: shape changes from the first to the second from left to right, appearance from top to bottom).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from command import command
from protome.gallery import Meshed, random_head, save_sheet
from protome.preview import coloured_view, side_camera
from protome.prior.morph import morph
from protome.prior.prior import FittedHead, Prior
from protome.util.device import choose_device
from protome.util.files import check_output_folder
from protome.util.progress import progress

Tile = Float[np.ndarray, "s s 3"]


@dataclass(frozen=True)
class Options:
    """Options of the pictures."""

    out: Path
    """Folder for the three pictures."""
    prior: Path | None = None
    """The prior; if left out, the one that ships with the package."""
    people: int = 16
    """Random people in the second picture, numbered from 0."""
    ends: tuple[int, int] = (3, 12)
    """The numbers of the two people of the third picture."""
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


def run(options: Options) -> None:
    """Draw the three pictures."""
    check_output_folder(options.out)
    choose_device("cpu")
    prior = Prior.load(options.prior)
    total = 1 + options.people + options.steps**2
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


def main() -> int:
    """Draw the pictures of the command line and return its exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
