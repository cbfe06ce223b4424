"""Draw heads of the shipped prior from three sides: its mean, one that it was trained on, and random people.

python benchmarks/prior_sheet.py --out docs/prior.jpg
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from protome.device import choose_device
from protome.meshing.extract import extract_mesh
from protome.preview import coloured_view, contact_sheet, side_camera
from protome.prior import HeadCode, Prior


@dataclass(frozen=True)
class Options:
    """What to draw."""

    out: Path
    """The picture to write."""
    trained: int = 8
    """Number of the training head."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """One random person each."""
    size: int = 230
    """Pixels along each side of a tile."""


def tiles(prior: Prior, code: HeadCode, size: int) -> list[np.ndarray]:
    """Return a head's colours from the front, a side and behind, then its normals from the first two."""
    field = prior.bind(code)
    mesh = extract_mesh(field, prior.bounds, 140)
    front, side, back = (coloured_view(mesh, field, side_camera(angle, prior.bounds, size)) for angle in (0, 60, 180))
    return [front[0], side[0], back[0], front[1], side[1]]


def main(options: Options) -> None:
    """Write the sheet."""
    choose_device("cpu")
    prior = Prior.load()
    known = HeadCode(prior.codes_shape[options.trained], prior.codes_appearance[options.trained])
    people = [prior.sample(torch.Generator().manual_seed(seed)) for seed in options.seeds]
    sheet = contact_sheet([tiles(prior, code, options.size) for code in (prior.mean(), known, *people)])
    Image.fromarray(np.rint(255 * sheet.clip(0, 1)).astype(np.uint8)).save(options.out, quality=85)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
