"""Render held-out heads and a real scan: a folder in H3DS's layout for each, with views all around and the truth.

    python benchmarks/scenes.py --population DIR --valid DIR --ict DIR --out DIR \
        --scan head.glb --landmarks landmarks.json

The sources are those that the population was built from; the same heads are composed again and photographed with their
own light, shadows and clothes. Each head's world frame is arbitrary, in millimetres as in H3DS.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from trimesh.graph import connected_component_labels, face_adjacency

from command import command
from limits import RIM_MM
from protome.errors import InputError
from protome.evaluate.metrics import FACE_RADIUS_MM
from protome.face import LANDMARK_NAMES
from protome.geometry.camera import Camera, direction
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.population.build import ExpressivePerson, Sources, outer_surface
from protome.population.character import Characters
from protome.population.expressions import MEASURED
from protome.population.picture import photograph
from protome.population.store import EXPRESSIVE, Population, read_manifest
from protome.population.surface import LEAST_VISIBILITY
from protome.scene import View
from protome.scenes.h3ds import CONFIG, Truth, write_h3ds
from protome.units import UNIT_MM
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress
from raster import Lighting, render
from real_scan import DISTANCE_MM, load_scan, outside

REAL = "real_scan"
TARGET_MM = (0.0, -30.0, -85.0)
"""The cameras' target in the head frame."""
FRAME_MM = 440.0
"""Height and width of the picture at the target's distance: room for tall hair and for shoulders."""
LEAST_FACES = 30
"""Of a part of the truth; smaller ones are scraps."""
AROUND = {
    8: {"1": (0,), "3": (0, 1, 7), "4": (0, 1, 7, 4), "8": tuple(range(8))},
    32: {
        "1": (0,), "3": (0, 4, 28), "4": (0, 4, 28, 16), "6": (0, 4, 28, 10, 16, 22), "8": tuple(range(0, 32, 4)),
        "16": tuple(range(0, 32, 2)), "32": tuple(range(32)),
    },
}  # fmt: skip
"""View sets by the number of cameras around the head: from the front, front and sides, all around."""


@dataclass(frozen=True)
class Options:
    """The heads and their sources."""

    population: Path
    """Folder that "protome population build" wrote."""
    valid: Path
    """The sources that it was built from."""
    out: Path
    """Folder for the scenes."""
    ict: Path | None = None
    makehuman: Path | None = None
    targets: Path | None = None
    scan: Path | None = None
    """A real scan in metres, photographed too."""
    landmarks: Path | None = None
    """JSON with the scan's landmarks."""
    heads: tuple[str, ...] = ("holdout_valid:1", "holdout_ict:0", "holdout_ict:1")
    """Splits and numbers of the heads; with expressions each person has seven numbers, one for each, neutral first."""
    around: Literal[8, 32] = 32
    """Photos of each head."""
    only: str | None = None
    """Name of a view set: no other photos are taken."""
    size: int = 512
    """Pixels along each side of a photo."""


def cameras(around: int, size: int) -> list[Camera]:
    """Return cameras around a head (head frame, millimetres) at unequal heights and distances, the first in front."""
    target = torch.tensor(TARGET_MM, dtype=torch.float64)
    found = []
    for number in range(around):
        across = 2 * np.pi * number / around + 0.06
        up = np.radians(2.0 + 7.0 * np.sin(2.4 * number))
        distance = DISTANCE_MM + 15.0 * (number % 3 - 1)
        place = target + distance * direction(across, up)
        found.append(Camera.look_at(place, target, size * DISTANCE_MM / FRAME_MM, size, size))
    return found


def world_from_head(name: str) -> Similarity:
    """Return a head's own world frame."""
    random = np.random.default_rng(list(name.encode()))
    turn, shift = torch.from_numpy(random.normal(size=3)), torch.from_numpy(200.0 * random.normal(size=3))
    return Similarity(rotation_from_vector(turn), shift, torch.ones(()).double())


def write_subject(folder: Path, views: list[View], truth: Mesh, landmarks: dict[str, Float[np.ndarray, "3"]]) -> None:
    """Write a head's scene; views, truth and landmarks are in the head frame, millimetres."""
    world = world_from_head(folder.name)
    posed = [View(view.name, view.image, view.mask, view.camera.transformed(world).to(torch.float32)) for view in views]
    named = {key: int(np.linalg.norm(truth.vertices - landmarks[key], axis=1).argmin()) for key in LANDMARK_NAMES}
    sphere = np.linalg.norm(truth.vertices - landmarks["nose_tip"], axis=1) <= FACE_RADIUS_MM
    write_h3ds(folder, posed, Truth(truth.transformed(world), named, {"face_sphere": np.flatnonzero(sphere)}))


def outer(mesh: Mesh) -> Mesh:
    """Return the part of a mesh that is visible from outside, on either side of its faces: locks of hair have two."""
    both = Mesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces[:, ::-1]]))
    kept = outside(both, least_visibility=LEAST_VISIBILITY).faces
    _, first = np.unique(np.sort(kept, axis=1), axis=0, return_index=True)
    faces = kept[np.sort(first)]
    # Remains of a throat, visible through the neck, are not connected to the head.
    _, alike = np.unique(np.rint(1e4 * mesh.vertices), axis=0, return_inverse=True)
    alike = alike.reshape(-1)
    part = connected_component_labels(face_adjacency(alike[faces]), node_count=len(faces))
    return Mesh(mesh.vertices, faces[np.bincount(part)[part] >= LEAST_FACES])


def above(mesh: Mesh, height: float) -> Mesh:
    """Return the triangles above a height, without the arbitrary cut below it."""
    kept = mesh.faces[(mesh.vertices[:, 1] > height)[mesh.faces].all(1)]
    used, faces = np.unique(kept, return_inverse=True)
    return Mesh(mesh.vertices[used], faces.reshape(-1, 3))


def run(options: Options) -> None:
    """Write the scenes that do not exist yet."""
    check_output_folder(options.out)
    if (options.scan is None) != (options.landmarks is None):
        raise InputError("the real scan needs both --scan and --landmarks")
    sources = Sources(options.valid, options.ict, options.makehuman, options.targets)
    sources.check()
    composer = sources.composer(options.population / "makehuman.npz")
    seed = read_manifest(options.population).seed
    names = [head.replace(":", "_") for head in options.heads] + ([REAL] if options.scan else [])
    if options.only is not None and options.only not in AROUND[options.around]:
        raise InputError(f"there is no view set {options.only}: use one of {', '.join(AROUND[options.around])}")
    taken = range(options.around) if options.only is None else AROUND[options.around][options.only]
    place = {view: number for number, view in enumerate(taken)}  # of a view among the scene's photos
    own = "".join(
        f'"{count}" = {[place[view] for view in views]}\n'
        for count, views in AROUND[options.around].items() if {*views} <= {*taken}
    )  # fmt: skip
    sets = "".join(f"[scenes.{name}.default_views_configs]\n{own}" for name in names)
    write_atomically(options.out / CONFIG, lambda part: part.write_text(sets))
    characters: Characters | None = None
    with progress("photographing", len(names) * len(taken)) as step:
        for head, name in zip((*options.heads, REAL), names, strict=False):
            folder = options.out / name
            if (folder / "full_head.obj").is_file():
                step(len(taken))
                continue
            views = []
            if name == REAL:
                assert options.scan is not None
                assert options.landmarks is not None
                scan = load_scan(options.scan, options.landmarks)
                truth, landmarks = scan.truth, scan.landmarks
            else:
                split, _, index = head.partition(":")
                heads = Population(options.population, split)
                if split == EXPRESSIVE:
                    characters = characters or Characters(composer)
                    who, which = divmod(int(index), len(MEASURED))
                    surface, _, _ = ExpressivePerson.of(characters, split, who, seed).surface(which)
                else:
                    surface, _ = outer_surface(composer, split, int(index), seed)
                given = heads.samples(int(index)).landmarks[0].double().numpy() * UNIT_MM
                landmarks = dict(zip(LANDMARK_NAMES, given, strict=True))
                whole = Mesh(1000.0 * np.asarray(surface.soup.vertices), np.asarray(surface.outer, np.int64))
                truth = above(outer(whole), float(heads.bounds[0, 1]) * UNIT_MM + RIM_MM)
            for number, camera in enumerate(cameras(options.around, options.size)):
                if number not in taken:
                    continue
                if name == REAL:
                    picture = render(scan.subject, camera, Lighting(), seed=number)
                    image, mask = picture.image, picture.mask
                else:
                    inner = camera.transformed(Similarity.scaling(1 / UNIT_MM, torch.float64))
                    photo = photograph(surface, inner)
                    image, mask = photo.image, photo.mask
                seen, person = (torch.from_numpy(np.ascontiguousarray(array)).float() for array in (image, mask))
                views.append(View(f"{number:04d}", seen, person, camera))
                step(1, name)
            write_subject(folder, views, truth, landmarks)


def main() -> int:
    """Write the scenes of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
