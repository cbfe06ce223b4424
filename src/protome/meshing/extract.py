"""From a field to a mesh: marching cubes near the surface only, clean-up, vertex colours, normals."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from skimage.measure import marching_cubes
from torch import Tensor

from protome.field.field import CHUNK, Field, SdfFn
from protome.field.grid import sample_grid
from protome.geometry.mesh import Mesh
from protome.meshing.solid import solid_surface

_COARSE = 8
"""Cells along an edge of the coarsest grid that a field is evaluated on."""


def zero_level(sdf: SdfFn, bounds: Float[Tensor, "2 3"], resolution: int) -> Mesh:
    """Return all of a field's zero level inside the bounds, bare triangles, in the field's frame and unit.

    `resolution` is the number of cells along the longest side of `bounds`. Where the surface leaves the bounds
    it is closed flat.

    Raises:
        ValueError: the field has no surface inside the bounds.
    """
    values, step = _samples(sdf, bounds, resolution)
    vertices, faces, _, _ = marching_cubes(values, 0.0)
    return _placed(Mesh(vertices.astype(np.float64), faces.astype(np.int64)), bounds, step)


def extract_mesh(field: Field, bounds: Float[Tensor, "2 3"], resolution: int = 256) -> Mesh:
    """Return the largest piece of a field's zero level, closed and without handles, with vertex colours and normals.

    `resolution` is the number of cells along the longest side of `bounds`. Where the surface leaves the bounds
    it is closed flat. Vertices are in the field's frame and unit; normals are the field's gradients.

    Raises:
        ValueError: the field has no surface inside the bounds.
    """
    return coloured(extract_surface(field.sdf, bounds, resolution), field, bounds)


def extract_surface(sdf: SdfFn, bounds: Float[Tensor, "2 3"], resolution: int = 256) -> Mesh:
    """Return the mesh of `extract_mesh` as bare triangles.

    Raises:
        ValueError: the field has no surface inside the bounds.
    """
    values, step = _samples(sdf, bounds, resolution)
    return _placed(solid_surface(values, step), bounds, step)


def _samples(sdf: SdfFn, bounds: Float[Tensor, "2 3"], resolution: int) -> tuple[Float[np.ndarray, "x y z"], float]:
    """Return the distances on the grid of a resolution with one layer of outside around it, and the grid's step.

    Raises:
        ValueError: the field has no surface inside the bounds.
    """
    step = float((bounds[1] - bounds[0]).max()) / resolution
    values = sample_grid(sdf, bounds, step, _COARSE)
    if not bool((values < 0).any()) or not bool((values > 0).any()):
        raise ValueError("the field has no surface inside the bounds")
    # Without what lies past the bounds, one layer of outside all around closes the surface where they cut it.
    size = [int(np.ceil(float(extent) / step - 1e-3)) + 1 for extent in bounds[1] - bounds[0]]
    closed = torch.nn.functional.pad(values[: size[0], : size[1], : size[2]], (1,) * 6, value=1e4)
    return closed.cpu().numpy(), step


def _placed(mesh: Mesh, bounds: Float[Tensor, "2 3"], step: float) -> Mesh:
    """Return a mesh of the padded grid's indices in the field's frame."""
    return Mesh((mesh.vertices - 1) * step + bounds[0].cpu().numpy().astype(np.float64), mesh.faces)


def coloured(mesh: Mesh, field: Field, bounds: Float[Tensor, "2 3"]) -> Mesh:
    """Return the mesh with the field's normals, and its colours viewed along each vertex's normal."""
    points = torch.from_numpy(mesh.vertices).to(bounds)
    colours, normals = [], []
    for part in points.split(CHUNK):
        with torch.no_grad():
            at = field.surface(part)
            colours.append(field.colour(part, at.normals, -at.normals, at.feature))
        normals.append(at.normals.detach())
    return Mesh(
        mesh.vertices,
        mesh.faces,
        torch.cat(colours).double().cpu().numpy(),
        torch.cat(normals).double().cpu().numpy(),
    )
