"""Photograph held-out heads: a scene folder for each number of views, with the true surface beside it.

    python benchmarks/scenes.py --population DIR --valid DIR --ict DIR --mediapipe DIR --out DIR

The sources are those that the population was built from; the same heads are composed again and photographed with their
own light, shadows and clothes. Cameras are posed in an arbitrary world frame, as in anybody's capture.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from command import command
from limits import Truth, truth_of
from protome.files import check_output_folder
from protome.geometry.transforms import Similarity
from protome.population.build import Sources, outer_surface
from protome.population.picture import photograph
from protome.population.sources import LANDMARK_NAMES
from protome.population.store import Population, read_manifest
from protome.progress import progress
from protome.scene import View
from protome.scenes.idr import write_idr
from protome.units import UNIT_MM
from real_scan import cameras_around, world_from_head


@dataclass(frozen=True)
class Options:
    """Which heads, and where from."""

    population: Path
    """Folder that "protome population build" wrote."""
    valid: Path
    """The sources that it was built from."""
    out: Path
    """Folder for the scenes."""
    ict: Path | None = None
    mediapipe: Path | None = None
    makehuman: Path | None = None
    targets: Path | None = None
    heads: tuple[str, ...] = ("holdout_valid:1", "holdout_ict:0", "holdout_ict:1")
    """Splits and numbers of the heads."""
    views: tuple[int, ...] = (1, 3)
    """Photos of each head, a scene for each number."""
    size: int = 384
    """Pixels along each side of a photo."""


def read_truth(folder: Path) -> tuple[Truth, np.ndarray]:
    """Return the true surface of a head's scenes and its six landmarks, millimetres in the head frame."""
    with np.load(folder / "truth.npz") as saved:
        return Truth(saved["face"], saved["head"], float(saved["floor"])), saved["landmarks"]


def run(options: Options) -> None:
    """Write the scenes."""
    check_output_folder(options.out)
    sources = Sources(options.valid, options.ict, options.mediapipe, options.makehuman, options.targets)
    sources.check()
    composer = sources.composer(options.population / "makehuman.npz")
    seed = read_manifest(options.population).seed
    with progress("photographing", len(options.heads) * len(options.views)) as step:
        for name in options.heads:
            split, _, number = name.partition(":")
            heads = Population(options.population, split)
            surface, _ = outer_surface(composer, split, int(number), seed)
            folder = options.out / f"{split}_{number}"
            folder.mkdir(exist_ok=True)
            _write_truth(folder, heads, int(number))
            for count in options.views:
                scene = folder / f"scene_{count}"
                scene.mkdir(exist_ok=True)
                views = []
                for index, camera in enumerate(cameras_around(count, options.size)):
                    photo = photograph(surface, camera.transformed(Similarity.scaling(1 / UNIT_MM, torch.float64)))
                    image, mask = torch.from_numpy(photo.image).float(), torch.from_numpy(photo.mask).float()
                    posed = camera.transformed(world_from_head(count)).to(torch.float32)
                    views.append(View(f"{index:03d}.png", image, mask, posed))
                write_idr(scene, views)
                step(1)


def _write_truth(folder: Path, heads: Population, number: int) -> None:
    given = heads.samples(number)
    landmarks = given.landmarks[0].double().numpy() * UNIT_MM
    points, skin = given.points[0].double().numpy() * UNIT_MM, given.registered[0].numpy()
    floor = float(heads.bounds[0, 1]) * UNIT_MM
    truth = truth_of(points, skin, landmarks[LANDMARK_NAMES.index("nose_tip")], floor)
    np.savez(folder / "truth.npz", face=truth.face, head=truth.head, floor=truth.floor, landmarks=landmarks)


def main() -> int:
    """Write the scenes of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
