"""A field's signed distance on a regular grid: sampled where the surface is, looked up between the points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protome.field.field import SdfFn, in_chunks

COARSE = 4
"""Cells along an edge of the first grid's, unless another power of two is asked for."""
_SLACK, _LAST_SLACK = 1.5, 0.5
"""How near to zero a corner of a cell must be, in half diagonals of it, for its inside to be evaluated on the next
grid, and on the last one."""
_REACH = 1.5
"""Largest interpolated distance from zero, in steps of a grid, at which a point is evaluated."""


def _grid(bounds: Tensor, step: float, counts: list[int]) -> Float[Tensor, "x y z 3"]:
    axes = [bounds[0, axis] + step * torch.arange(counts[axis], device=bounds.device) for axis in range(3)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def _points(bounds: Tensor, step: float, chosen: Bool[Tensor, "x y z"]) -> Float[Tensor, "n 3"]:
    return bounds[0] + step * chosen.nonzero().to(bounds)


def sample_grid(sdf: SdfFn, bounds: Float[Tensor, "2 3"], step: float, coarse: int = COARSE) -> Float[Tensor, "x y z"]:
    """Return signed distances on a regular grid, exact in the cells that the surface crosses, interpolated elsewhere.

    The field is evaluated on a grid `coarse` (a power of two) times coarser, then on ones each twice as fine in the
    cells that the surface may cross (its gradient may reach 1.5 for that), then at the fine points of the cells that it
    crosses or comes close to, and last wherever the surface found so far continues. Only what is thinner than about one
    cell and lies between all points of the last grid but one is missed. The grid may extend past the upper bounds by
    less than `coarse` cells.
    """
    cells = [max(2, int(np.ceil(float(extent) / (step * coarse)))) for extent in bounds[1] - bounds[0]]
    values, width = in_chunks(sdf, _grid(bounds, step * coarse, [count + 1 for count in cells])), coarse
    while width > 1:
        width //= 2
        slack = _SLACK if width > 1 else _LAST_SLACK
        near = -_pool(-values.abs()) < slack * step * 2 * width * 3**0.5 / 2
        near |= _crossed(values)
        cells = [2 * count for count in cells]
        shape = [count + 1 for count in cells]
        values = torch.nn.functional.interpolate(values[None, None], size=shape, mode="trilinear", align_corners=True)
        values = values[0, 0]
        wanted = _corners(near.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2))
        # An edge that crosses zero has ends within its own length of it: what lies further off need not be exact.
        wanted &= values.abs() < _REACH * step * width
        values[wanted] = in_chunks(sdf, _points(bounds, step * width, wanted))
    while bool((more := _corners(_crossed(values)) & ~wanted).any()):
        values[more] = in_chunks(sdf, _points(bounds, step, more))
        wanted |= more
    return values


def _pool(values: Float[Tensor, "x y z"]) -> Float[Tensor, "a b c"]:
    """Return the highest value at the corners of each cell."""
    for axis in range(3):  # one axis after the other takes a twentieth of torch's pooling's time
        count = values.shape[axis] - 1
        values = torch.maximum(values.narrow(axis, 0, count), values.narrow(axis, 1, count))
    return values


def _crossed(values: Float[Tensor, "x y z"]) -> Bool[Tensor, "a b c"]:
    """Return which cells have corners on both sides of zero."""
    return _any(values < 0) & _any(values >= 0)


def _corners(cells: Bool[Tensor, "a b c"]) -> Bool[Tensor, "x y z"]:
    """Return which points are a corner of any of the given cells."""
    return _any(torch.nn.functional.pad(cells, (1,) * 6))


def _any(values: Bool[Tensor, "x y z"]) -> Bool[Tensor, "a b c"]:
    """Return which cells have a true corner."""
    for axis in range(3):
        count = values.shape[axis] - 1
        values = values.narrow(axis, 0, count) | values.narrow(axis, 1, count)
    return values


@dataclass(frozen=True)
class SdfGrid:
    """Signed distances at the points of a regular grid, trilinear between them."""

    values: Float[Tensor, "x y z"]
    bounds: Float[Tensor, "2 3"]
    """The first and the last point."""

    @staticmethod
    def of(sdf: SdfFn, bounds: Float[Tensor, "2 3"], step: float) -> SdfGrid:
        """Sample a field over `bounds`, exact near its surface and rough elsewhere."""
        values = sample_grid(sdf, bounds, step)
        size = torch.tensor(values.shape, device=bounds.device) - 1
        return SdfGrid(values, torch.stack([bounds[0], bounds[0] + step * size]))

    @property
    def step(self) -> float:
        """Distance of neighbouring points."""
        return float(self.bounds[1, 0] - self.bounds[0, 0]) / (self.values.shape[0] - 1)

    def at(self, points: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b"]:
        """Look up signed distances; outside the grid they are those of its nearest side."""
        low, high = self.bounds
        place = (2 * (points - low) / (high - low) - 1).flip(-1).reshape(1, 1, 1, -1, 3)
        found = torch.nn.functional.grid_sample(
            self.values[None, None], place, mode="bilinear", padding_mode="border", align_corners=True
        )
        return found.reshape(points.shape[:-1])
