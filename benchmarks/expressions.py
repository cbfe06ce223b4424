"""Measure heads from photos of expressions: the face without its expression, and lips and lids with it.

    python benchmarks/expressions.py --scenes DIR --population DIR --out DIR

The scenes are those that `benchmarks/scenes.py --only 3` renders of people of the split with expressions. A person's
neutral head from photos with an expression is compared with that from neutral photos, both with the neutral truth; the
head as in the photos is compared with the truth of that expression. Single photos come without cameras, and size is
free; three photos have their cameras. A stopped run continues.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from command import command
from limits import Truth, parts_of, truth_of
from protome.face import LANDMARK_NAMES
from protome.fit.options import FitOptions
from protome.geometry.align import Surface, icp
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import procrustes
from protome.meshing.extract import extract_mesh
from protome.pipeline import Head, reconstruct
from protome.population.expressions import MEASURED
from protome.population.store import EXPRESSIVE, Population
from protome.prior.prior import Prior
from protome.units import UNIT_MM
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress

RESOLUTION = 300
KEEP = 0.9
"""Share of the truth's points that an alignment uses: hair that lies over skin has no counterpart."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    scenes: Path
    """Folder of the scenes."""
    population: Path
    """The population that they were rendered from."""
    out: Path
    """Folder for a JSON file per fit and the summary."""
    prior: Path | None = None
    """The prior; if left out, the one that ships with the package."""
    encoder: Path | None = None
    """The encoder that belongs to it."""
    preset: str = "draft"
    """Preset of the fits."""
    views: tuple[int, ...] = (1, 3)
    """Numbers of photos."""


def truths(heads: Population, number: int) -> Truth:
    """Return a held-out head's points, with its lips and lids; head frame, millimetres."""
    given = heads.samples(number)
    points, skin = given.points[0].double().numpy() * UNIT_MM, given.registered[0].numpy()
    nose = given.landmarks[0, LANDMARK_NAMES.index("nose_tip")].double().numpy() * UNIT_MM
    found = truth_of(points, skin, nose, float(heads.bounds[0, 1]) * UNIT_MM)
    parts = parts_of(points, given.template[0].double().numpy() * UNIT_MM, skin)
    return Truth(found.face, found.head, found.floor, parts)


def errors(
    mesh: Mesh, six: Float[np.ndarray, "6 3"], truth: Truth, true_six: Float[np.ndarray, "6 3"], free: bool
) -> dict[str, float]:
    """Return mean distances from the truth's face, lips and lids to a mesh after the alignment of the face, mm."""
    start = procrustes(torch.from_numpy(true_six), torch.from_numpy(six), with_scale=free)
    surface = Surface(mesh)
    found = icp(truth.face, surface, dof="similarity" if free else "rigid", start=start, keep=KEEP).target_from_source

    def away(points: Float[np.ndarray, "n 3"]) -> float:
        moved = found.apply(torch.from_numpy(points)).numpy()
        return float(surface.closest(moved).distances.mean() / float(found.scale))

    return {"face": away(truth.face)} | {name: away(points) for name, points in truth.parts.items()}


def neutral_mesh(head: Head) -> Mesh:
    """Return a fitted head without its expression, where its mesh is; millimetres."""
    still = head.fit.head.neutral()
    return extract_mesh(still.bind(), still.bounds, RESOLUTION).scaled(UNIT_MM)


def measured(options: Options, heads: Population, person: int, which: int, views: int) -> dict[str, object]:
    """Fit one person's photos of one expression and return the errors."""
    number = person * len(MEASURED) + which
    folder = options.scenes / f"{EXPRESSIVE}_{number}"
    inputs = [folder] if views > 1 else sorted((folder / "image").glob("*"))[:1]
    names = [str(views)] if views > 1 else None
    head = reconstruct(
        inputs, preset=options.preset, resolution=RESOLUTION, views=names, quiet=True,
        options=FitOptions(prior=options.prior, encoder=options.encoder), units="mm" if views > 1 else None,
    )  # fmt: skip
    here, still = (truths(heads, k) for k in (number, person * len(MEASURED)))
    true_six, still_six = (
        heads.samples(k).landmarks[0].double().numpy() * UNIT_MM for k in (number, person * len(MEASURED))
    )
    prior, free = Prior.load(options.prior), views == 1
    fitted, latents = head.fit.head, head.fit.head.latents
    six, own_still = (
        prior.landmarks_of(fitted.field, own).double().numpy() * UNIT_MM for own in (latents, latents.neutral())
    )
    result: dict[str, object] = {
        "person": person, "expression": list(MEASURED)[which], "views": views,
        "as photographed": errors(head.mesh, six, here, true_six, free),
    }  # fmt: skip
    mesh = head.mesh if latents.z_expression is None else neutral_mesh(head)
    result["neutral"] = errors(mesh, own_still, still, still_six, free)
    if latents.z_expression is not None:
        known = head.fit.head.field.config.expression
        result["coefficients"] = dict(zip(known, (round(float(own), 3) for own in latents.z_expression), strict=True))
    return result


def write(path: Path, facts: dict[str, object]) -> None:
    """Write one fit's errors."""
    text = json.dumps(facts, indent=1) + "\n"
    write_atomically(path, lambda part: part.write_text(text))


def run(options: Options) -> None:
    """Measure what is not measured yet, and print the means."""
    check_output_folder(options.out)
    heads = Population(options.population, EXPRESSIVE)
    numbers = sorted(int(path.name.rpartition("_")[2]) for path in options.scenes.glob(f"{EXPRESSIVE}_*"))
    jobs = [(*divmod(number, len(MEASURED)), views) for number, views in product(numbers, options.views)]
    rows = []
    with progress("fitting", len(jobs)) as step:
        for person, which, views in jobs:
            path = options.out / f"{person}_{which}_{views}.json"
            if not path.is_file():
                write(path, measured(options, heads, person, which, views))
            rows.append(json.loads(path.read_text()))
            step(1)
    print("views  expression    people  neutral face  as-photo face  lips   lids")
    for views, kind in product(options.views, MEASURED):
        own = [row for row in rows if row["views"] == views and row["expression"] == kind]
        if own:
            means = [statistics.mean(row["neutral"]["face"] for row in own)] + [
                statistics.mean(row["as photographed"][part] for row in own) for part in ("face", "lips", "lids")
            ]
            print(f"{views:5d}  {kind:12s}  {len(own):6d}  " + "  ".join(f"{value:11.2f}" for value in means))


def main() -> int:
    """Measure what the command line names and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
