"""From a field to a mesh: marching cubes near the surface only, clean-up, vertex colours, normals."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from skimage.measure import marching_cubes
from torch import Tensor

from protome.field.field import Field, SdfFn
from protome.geometry.mesh import Mesh
from protome.render.trace import CHUNK, in_chunks

_LEVELS = ((2, 1.5), (1, 0.5))
"""Grids finer than the first, which has four cells' width: their step in cells, and how near to zero a corner of a
cell of the grid before must be, in half diagonals of that cell, for its inside to be asked."""
_COARSE = 4


def _grid(bounds: Tensor, step: float, counts: list[int]) -> Float[Tensor, "x y z 3"]:
    axes = [bounds[0, axis] + step * torch.arange(counts[axis], device=bounds.device) for axis in range(3)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def sample_grid(sdf: SdfFn, bounds: Float[Tensor, "2 3"], step: float) -> Float[Tensor, "x y z"]:
    """Return signed distances on a regular grid, exact in the cells that the surface crosses, interpolated elsewhere.

    The field is asked on a grid four times coarser, then on one twice as coarse in the cells that the surface may
    cross (the field's gradient may reach 1.5 for that), then at the fine points of the cells that it crosses or comes
    close to, and last wherever the surface so found goes on. Only what is thinner than about one cell and lies between
    all points of the second grid is missed. The grid may go on past the upper bounds by less than four cells.
    """
    cells = [max(2, int(np.ceil(float(extent) / (step * _COARSE)))) for extent in bounds[1] - bounds[0]]
    values = in_chunks(sdf, _grid(bounds, step * _COARSE, [count + 1 for count in cells]))
    for width, slack in _LEVELS:
        near = -_pool(-values.abs()) < slack * step * 2 * width * 3**0.5 / 2
        near |= _crossed(values)
        cells = [2 * count for count in cells]
        shape = [count + 1 for count in cells]
        values = torch.nn.functional.interpolate(values[None, None], size=shape, mode="trilinear", align_corners=True)
        values = values[0, 0]
        wanted = _corners(near.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2))
        points = _grid(bounds, step * width, shape)
        values[wanted] = in_chunks(sdf, points[wanted])
    while bool((more := _corners(_crossed(values)) & ~wanted).any()):
        values[more] = in_chunks(sdf, points[more])
        wanted |= more
    return values


def _pool(values: Float[Tensor, "x y z"]) -> Float[Tensor, "a b c"]:
    """Return the highest value at the corners of each cell."""
    return torch.nn.functional.max_pool3d(values[None, None], 2, 1)[0, 0]


def _crossed(values: Float[Tensor, "x y z"]) -> Bool[Tensor, "a b c"]:
    """Return which cells have corners on both sides of zero."""
    return (_pool(values) >= 0) & (-_pool(-values) < 0)


def _corners(cells: Bool[Tensor, "a b c"]) -> Bool[Tensor, "x y z"]:
    """Return which points are a corner of any of the given cells."""
    return _pool(torch.nn.functional.pad(cells.float(), (1,) * 6)) > 0


def zero_level(sdf: SdfFn, bounds: Float[Tensor, "2 3"], resolution: int) -> Mesh:
    """Return all of a field's zero level inside the bounds, bare triangles, in the field's frame and unit.

    `resolution` is the number of cells along the longest side of `bounds`. Where the surface leaves the bounds
    it is closed flat.

    Raises:
        ValueError: the field has no surface inside the bounds.
    """
    step = float((bounds[1] - bounds[0]).max()) / resolution
    values = sample_grid(sdf, bounds, step)
    if not bool((values < 0).any()) or not bool((values > 0).any()):
        raise ValueError("the field has no surface inside the bounds")
    # Without what lies past the bounds, one layer of outside all around closes the surface where they cut it.
    size = [int(np.ceil(float(extent) / step - 1e-3)) + 1 for extent in bounds[1] - bounds[0]]
    closed = torch.nn.functional.pad(values[: size[0], : size[1], : size[2]], (1,) * 6, value=1e4)
    vertices, faces, _, _ = marching_cubes(closed.cpu().numpy(), 0.0)
    low = bounds[0].cpu().numpy().astype(np.float64)
    return Mesh((vertices.astype(np.float64) - 1) * step + low, faces.astype(np.int64))


def extract_mesh(field: Field, bounds: Float[Tensor, "2 3"], resolution: int = 256) -> Mesh:
    """Return the largest closed part of a field's zero level, with vertex colours and normals.

    `resolution` is the number of cells along the longest side of `bounds`. Where the surface leaves the bounds
    it is closed flat. Vertices are in the field's frame and unit; normals are the field's gradients.

    Raises:
        ValueError: the field has no surface inside the bounds.
    """
    return coloured(zero_level(field.sdf, bounds, resolution).largest_component(), field, bounds)


def coloured(mesh: Mesh, field: Field, bounds: Float[Tensor, "2 3"]) -> Mesh:
    """Return the mesh with the field's normals, and its colours as seen from straight ahead of each vertex."""
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
