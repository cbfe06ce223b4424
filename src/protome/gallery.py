"""Heads written without a fit: random samples of the prior, and morphs between two heads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from protome.errors import InputError
from protome.geometry.mesh import MESH_SUFFIXES, Mesh
from protome.meshing.extract import extract_mesh
from protome.meshing.resolution import check_resolution
from protome.preview import coloured_view, contact_sheet, side_camera
from protome.prior.morph import morph
from protome.prior.prior import FittedHead, Prior, load_fitted, save_head
from protome.units import UNIT_MM
from protome.util.device import choose_device
from protome.util.files import check_output_file, check_output_folder, write_atomically
from protome.util.progress import Step, progress
from protome.util.together import write_together

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic")
VIEW_DEGREES = 30.0
"""Azimuth of the pictures, towards the subject's left."""
TILE = 256
"""Pixels along each side of a head in a sheet."""


@dataclass(frozen=True)
class Meshed:
    """A head with its surface."""

    head: FittedHead
    mesh: Mesh
    """Head frame, inner units."""

    @staticmethod
    def of(head: FittedHead, resolution: int) -> Meshed:
        """Extract the surface; `resolution` counts cells along the longest side of the head's space."""
        return Meshed(head, extract_mesh(head.bind(), head.bounds, resolution))

    def save(self, path: Path) -> None:
        """Write the mesh by the file's suffix: GLB in metres, PLY and OBJ in millimetres."""
        in_metres = path.suffix.lower() == ".glb"
        self.mesh.scaled(UNIT_MM * (1e-3 if in_metres else 1.0)).save(path)

    def picture(self, size: int, degrees: float = VIEW_DEGREES) -> Float[np.ndarray, "s s 3"]:
        """Return a picture of the head from an azimuth."""
        return coloured_view(self.mesh, self.head.bind(), side_camera(degrees, self.head.bounds, size))[0]


def random_head(prior: Prior, number: int, temperature: float = 1.0) -> FittedHead:
    """Return random person `number` of a prior: the same number gives the same person."""
    latents = prior.sample(torch.Generator().manual_seed(number), temperature)
    return FittedHead(prior.field, latents, prior.bounds)


def find_head(name: str, prior: Prior, *, quiet: bool = False) -> FittedHead:
    """Return the head that a command-line argument names.

    "mean" is the prior's mean head; a whole number is the random person of that number; a folder that reconstruct
    wrote, or the `field.safetensors` in it, is that head; any other file is a photo, from which a head is reconstructed
    with the draft preset.

    Raises:
        InputError: it names none of these, or the file is unusable.
    """
    if name == "mean":
        return FittedHead(prior.field, prior.mean(), prior.bounds)
    if name.isdecimal():
        return random_head(prior, int(name))
    path = Path(name)
    if path.is_dir():
        return load_fitted(path / "field.safetensors")
    if path.suffix.lower() in PHOTO_SUFFIXES:
        from protome.pipeline import reconstruct  # only photos need MediaPipe and the modules of capture

        return reconstruct([path], preset="draft", device="cpu", quiet=quiet).fit.head
    if path.suffix.lower() == ".safetensors":
        return load_fitted(path)
    raise InputError(
        f"{name} is no head: give a folder that reconstruct wrote, its field.safetensors, a photo, the number of a "
        "random person, or mean"
    )


def sample_heads(
    out: Path,
    *,
    count: int = 1,
    seed: int = 0,
    temperature: float = 1.0,
    prior: Path | None = None,
    resolution: int = 200,
    quiet: bool = False,
) -> None:
    """Write the random people `seed`, `seed` + 1, ... as head_000.glb and .ply (by their numbers), and sheet.png.

    Raises:
        InputError: a number is out of range, the prior cannot be read, or the folder cannot be written.
    """
    if count < 1 or seed < 0:
        raise InputError(
            f"{count} heads from number {seed} on cannot be drawn: give a count of 1 or more and a seed of 0 or more"
        )
    if not 0 <= temperature <= 3:
        raise InputError(f"a temperature of {temperature:g} is out of range: give 0 (the mean head) to 3")
    check_resolution(resolution)
    check_output_folder(out)
    choose_device("cpu")
    own = Prior.load(prior)

    def write(part: Path) -> None:
        tiles = []
        with progress("drawing heads", count, quiet=quiet) as step:
            for number in range(seed, seed + count):
                meshed = Meshed.of(random_head(own, number, temperature), resolution)
                for suffix in (".glb", ".ply"):
                    meshed.save(part / f"head_{number:03d}{suffix}")
                tiles.append(meshed.picture(TILE))
                step(1, f"head {number}")
        save_sheet(tiles, part / "sheet.png")

    write_together(out, write)


def morph_heads(
    first: str,
    second: str,
    out: Path,
    *,
    shape: float = 0.5,
    appearance: float = 0.5,
    steps: int | None = None,
    prior: Path | None = None,
    resolution: int = 200,
    quiet: bool = False,
) -> None:
    """Write the head that lies the given fractions of the way from one head to another (see `find_head`, `morph`).

    `out` is a mesh file, or a folder for head.glb, head.ply, field.safetensors (for further morphs) and sheet.png
    (the two heads and, between them, the new one). With `steps` the folder gets as many heads, evenly spaced from the
    first head to the fractions, as step_000.glb and so on, and their sheet.

    Raises:
        InputError: a head or an option is unusable, or the two heads come from different priors.
    """
    one_file = out.suffix.lower() in MESH_SUFFIXES
    if one_file and steps is not None:
        raise InputError(f"{steps} steps do not fit into the one file {out}: give a folder")
    if steps is not None and steps < 2:
        raise InputError(f"{steps} steps do not lead from one head to another: give 2 or more")
    check_resolution(resolution)
    (check_output_file if one_file else check_output_folder)(out)
    choose_device("cpu")
    own = Prior.load(prior)
    one, other = (find_head(name, own, quiet=quiet) for name in (first, second))
    fractions = [1.0] if steps is None else [k / (steps - 1) for k in range(steps)]
    made = [morph(one, other, shape * fraction, appearance * fraction) for fraction in fractions]
    with progress("meshing", len(made), quiet=quiet) as step:
        if one_file:
            Meshed.of(made[0], resolution).save(out)
            return
        whole = Between(one, other) if steps is None else None
        write_together(out, lambda part: _write_morph(part, made, whole, resolution, step))


@dataclass(frozen=True)
class Between:
    """The two heads that a morph lies between."""

    one: FittedHead
    other: FittedHead


def _write_morph(folder: Path, made: list[FittedHead], between: Between | None, resolution: int, step: Step) -> None:
    """Write the heads of a morph; a single head lies between two, which its sheet shows as well."""
    tiles = []
    for number, head in enumerate(made):
        meshed = Meshed.of(head, resolution)
        name = f"step_{number:03d}" if between is None else "head"
        for suffix in (".glb", ".ply"):
            meshed.save(folder / (name + suffix))
        tiles.append(meshed.picture(TILE))
        step(1)
    if between is not None:
        write_atomically(folder / "field.safetensors", lambda part: save_head(part, made[0], [torch.eye(4)]))
        first, last = (Meshed.of(head, resolution).picture(TILE) for head in (between.one, between.other))
        tiles = [first, *tiles, last]
    save_sheet(tiles, folder / "sheet.png", columns=len(tiles))


def save_sheet(tiles: list[Float[np.ndarray, "h w 3"]], path: Path, columns: int | None = None) -> None:
    """Write tiles as one picture, in about as many rows as columns if `columns` is not given, by the file's suffix."""
    columns = columns or math.ceil(len(tiles) ** 0.5)
    sheet = contact_sheet([tiles[start : start + columns] for start in range(0, len(tiles), columns)])
    image = Image.fromarray(np.rint(255 * sheet.clip(0, 1)).astype(np.uint8))
    write_atomically(path, lambda part: image.save(part, quality=85))
