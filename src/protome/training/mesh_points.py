"""Where MediaPipe's landmarks lie on the reference head: builds `assets/mesh_points.npz` from photos of known heads.

    python -m protome.training.mesh_points PHOTOS LATENTS PRIOR OUT.npz

PHOTOS is the folder of photos that `protome train-encoder` keeps, LATENTS and PRIOR are what `protome train` wrote for
the same population. What the detector calls a landmark differs by millimetres from the point that its canonical face
has there. The mean difference, over many people, is a property of the detector; what is left is its error.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from protome.errors import InputError
from protome.landmarks import load_template_points
from protome.prior.prior import Prior
from protome.training.encoder import SETTINGS, photos_of
from protome.units import UNIT_MM
from protome.util.files import write_arrays
from protome.util.progress import progress

COUNT = 468
WIDTH_MM = 4.0
"""Residuals beyond this count less and less: a detector also takes hair for a cheek."""
ROUNDS = 4
"""Of reweighting."""
STIFF = 20.0
"""Photos' worth of belief that a landmark lies where the canonical face has it."""


@dataclass(frozen=True)
class Residual:
    """What one photo shows of the landmarks."""

    off: Float[Tensor, "n 2"]
    """Detected minus true place, millimetres at the head's distance."""
    across: Float[Tensor, "2 3"]
    """Directions of the picture's axes in the head frame."""
    facing: Float[Tensor, "n"]
    """Cosine between the surface's outward direction (from the head's middle) and that to the camera, at least zero."""


def residuals(folder: Path, latents: Path, prior: Prior, most: int, *, quiet: bool = False) -> list[Residual]:
    """Return the residuals of at most so many heads' photos, spread over all that there are.

    Raises:
        InputError: the folder holds no photos.
    """
    each = max(1, int(json.loads((folder / SETTINGS).read_text()).get("expressions", 1)))
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise InputError(f"{folder} holds no photos: give the folder that `protome train-encoder` keeps")
    paths = [paths[k] for k in np.unique(np.linspace(0, len(paths) - 1, most).astype(int))]
    people = load_file(latents)["shape"]
    reference = (load_template_points()[:COUNT] / UNIT_MM).float()
    middle = prior.field.centre.double()
    found = []
    with progress("comparing landmarks", len(paths), quiet=quiet) as step:
        for path in paths:
            with np.load(path) as stored:
                expression = torch.from_numpy(stored["expression"]).float()
            condition = prior.field.shape_condition(people[int(path.stem) // each][None], expression[None])
            with torch.no_grad():
                points = prior.field.placed(reference, condition).double() * UNIT_MM
            for view in photos_of(path):
                assert view.landmarks is not None
                camera = view.camera.to(torch.float64)
                depth = camera.to_camera(points)[:, 2:]
                off = (view.landmarks[:COUNT].double() - camera.project(points)) * depth / float(camera.focal)
                ahead = torch.nn.functional.normalize(camera.centre - points, dim=1)
                outwards = torch.nn.functional.normalize(points - middle * UNIT_MM, dim=1)
                facing = (ahead * outwards).sum(1).clamp_min(0)
                found.append(Residual(off, camera.T_world_camera[:3, :2].T, facing))
            step(1)
    return found


def fitted(found: list[Residual]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Return the mean offset of each landmark in the head frame, and the deviation of what is left, millimetres.

    A photo shows an offset without its part along the view, so that it is solved for from many directions. What all
    landmarks of a photo have in common is the head's place, which no landmark says anything of.
    """
    off, facing = torch.stack([own.off for own in found]), torch.stack([own.facing for own in found])
    across = torch.stack([own.across for own in found])
    offset, weight = torch.zeros(off.shape[1], 3).double(), facing

    def rest() -> Float[Tensor, "v n 2"]:
        """Return what the offsets leave, without what all landmarks of a photo have in common."""
        left = off - torch.einsum("vij,nj->vni", across, offset)
        return left - (weight[..., None] * left).sum(1, keepdim=True) / weight.sum(1)[:, None, None].clamp_min(1e-9)

    for _ in range(ROUNDS):
        left = rest()
        weight = facing / (1 + left.square().sum(-1) / WIDTH_MM**2)
        normal = torch.einsum("vn,vij,vik->njk", weight, across, across) + STIFF * torch.eye(3).double()
        right = torch.einsum("vn,vij,vni->nj", weight, across, left) - STIFF * offset
        offset = offset + torch.linalg.solve(normal, right[..., None])[..., 0]
    deviation = ((weight * 0.5 * rest().square().sum(-1)).sum(0) / weight.sum(0).clamp_min(1e-9)).sqrt()
    return offset, deviation


def main() -> int:
    """Build the asset by the arguments of the command line."""
    photos, latents, prior, out = (Path(own) for own in sys.argv[1:5])
    offset, deviation = fitted(residuals(photos, latents, Prior.load(prior), 1000))
    places = load_template_points()[:COUNT].double() + offset
    write_arrays(out, {"places": places.numpy().astype(np.float32), "sigma": deviation.numpy().astype(np.float32)})
    print(f"offsets {offset.norm(dim=1).mean():.2f} mm, deviations {deviation.mean():.2f} mm, {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
