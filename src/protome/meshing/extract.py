"""From a field to a mesh: marching cubes near the surface only, clean-up, vertex colours, normals."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from skimage.measure import marching_cubes
from torch import Tensor

from protome.field.field import Field, SdfFn
from protome.geometry.mesh import Mesh
from protome.render.trace import CHUNK, in_chunks

_COARSE = 4
"""Fine cells per coarse cell along an axis."""


def _grid(bounds: Tensor, step: float, counts: list[int]) -> Float[Tensor, "x y z 3"]:
    axes = [bounds[0, axis] + step * torch.arange(counts[axis], device=bounds.device) for axis in range(3)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def sample_grid(sdf: SdfFn, bounds: Float[Tensor, "2 3"], step: float) -> Float[Tensor, "x y z"]:
    """Return signed distances on a regular grid, exact near the surface and interpolated far from it.

    The field is asked on a grid four times coarser, then at all fine points of coarse cells that the surface may
    cross: those where a corner's value is within 1.5 times half a cell's diagonal of zero, which allows the field's
    gradient to reach 1.5. The grid may go on past the upper bounds by less than a coarse cell.
    """
    cells = [max(2, int(np.ceil(float(extent) / (step * _COARSE)))) for extent in bounds[1] - bounds[0]]
    coarse = in_chunks(sdf, _grid(bounds, step * _COARSE, [count + 1 for count in cells]))
    fine_shape = [count * _COARSE + 1 for count in cells]
    values = torch.nn.functional.interpolate(coarse[None, None], size=fine_shape, mode="trilinear", align_corners=True)
    lowest = -torch.nn.functional.max_pool3d(-coarse.abs()[None, None], 2, 1)
    near = lowest < 1.5 * step * _COARSE * 3**0.5 / 2
    spread = near.to(values).repeat_interleave(_COARSE, 2).repeat_interleave(_COARSE, 3).repeat_interleave(_COARSE, 4)
    padded = torch.nn.functional.pad(spread, (0, 1, 0, 1, 0, 1))
    # A fine point on the border of a near cell belongs to it too.
    wanted = torch.nn.functional.max_pool3d(padded, 3, 1, 1)[0, 0] > 0
    fine = values[0, 0]
    fine[wanted] = in_chunks(sdf, _grid(bounds, step, fine_shape)[wanted])
    return fine


def extract_mesh(field: Field, bounds: Float[Tensor, "2 3"], resolution: int = 256) -> Mesh:
    """Return the largest closed part of a field's zero level, with vertex colours and normals.

    `resolution` is the number of cells along the longest side of `bounds`. Where the surface leaves the bounds
    it is closed flat. Vertices are in the field's frame and unit; normals are the field's gradients.

    Raises:
        ValueError: the field has no surface inside the bounds.
    """
    step = float((bounds[1] - bounds[0]).max()) / resolution
    values = sample_grid(field.sdf, bounds, step)
    if not bool((values < 0).any()) or not bool((values > 0).any()):
        raise ValueError("the field has no surface inside the bounds")
    # Without what lies past the bounds, one layer of outside all around closes the surface where they cut it.
    size = [int(np.ceil(float(extent) / step - 1e-3)) + 1 for extent in bounds[1] - bounds[0]]
    closed = torch.nn.functional.pad(values[: size[0], : size[1], : size[2]], (1,) * 6, value=1e4)
    vertices, faces, _, _ = marching_cubes(closed.cpu().numpy(), 0.0)
    low = bounds[0].cpu().numpy().astype(np.float64)
    placed = (vertices.astype(np.float64) - 1) * step + low
    mesh = Mesh(placed, faces.astype(np.int64)).largest_component()
    return coloured(mesh, field, bounds)


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
