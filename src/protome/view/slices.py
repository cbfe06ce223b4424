"""Plane slices through a field of signed distances, as pictures with contour lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from protome.field.field import SdfFn, in_chunks
from protome.units import UNIT_MM

Axis = Literal["x", "y", "z"]
SIDE = 160
"""Samples along the longer side of a slice."""
INSIDE, OUTSIDE, LINE = (70, 130, 190), (240, 190, 120), (20, 20, 20)
CONTOUR_MM = 10.0
FADE_MM = 60.0
"""Distance at which a colour has faded to white."""


@dataclass(frozen=True)
class Slice:
    """One slice, as a picture that stands in space."""

    picture: UInt8[np.ndarray, "h w 3"]
    centre: Float[np.ndarray, "3"]
    """Head frame, millimetres."""
    right: Float[np.ndarray, "3"]
    """Unit vector along the picture's rows."""
    down: Float[np.ndarray, "3"]
    """Unit vector along the picture's columns."""
    width: float
    """Millimetres."""
    height: float
    """Millimetres."""


def slice_of(sdf: SdfFn, bounds: Float[Tensor, "2 3"], axis: Axis, share: float) -> Slice:
    """Return the slice of a field across an axis, at a share of its bounds (inner units) along the axis.

    Inside is blue, outside orange, fainter with distance; the surface is a line, and every `CONTOUR_MM` a faint one.
    """
    across = {"x": (2, 1), "y": (0, 2), "z": (0, 1)}[axis]
    normal = "xyz".index(axis)
    low, high = bounds.cpu().double().numpy()
    extent = high - low
    step = extent[list(across)].max() / SIDE
    columns, rows = (max(2, int(np.ceil(extent[own] / step))) for own in across)
    # The head's x runs to the right, its y upwards; seen from the side its z runs to the right, from above z runs down.
    signs = {"x": (1, -1), "y": (1, 1), "z": (1, -1)}[axis]
    points = np.empty((rows, columns, 3))
    points[..., normal] = low[normal] + share * extent[normal]
    centre = (low + high) / 2
    points[..., across[0]] = centre[across[0]] + signs[0] * step * (np.arange(columns) - (columns - 1) / 2)
    points[..., across[1]] = centre[across[1]] + signs[1] * step * (np.arange(rows) - (rows - 1) / 2)[:, None]
    values = UNIT_MM * in_chunks(sdf, torch.from_numpy(points).to(bounds)).double().cpu().numpy()
    middle = centre.copy()
    middle[normal] = points[0, 0, normal]
    right, down = np.zeros(3), np.zeros(3)
    right[across[0]], down[across[1]] = signs
    step_mm = step * UNIT_MM
    return Slice(_coloured(values, step_mm), UNIT_MM * middle, right, down, columns * step_mm, rows * step_mm)


def _coloured(values: Float[np.ndarray, "h w"], step_mm: float) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture of distances in millimetres."""
    side = np.where((values < 0)[..., None], INSIDE, OUTSIDE)
    fade = np.clip(np.abs(values) / FADE_MM, 0, 1)[..., None]
    colour = side * (1 - fade) + 255.0 * fade
    beside = np.abs(values - CONTOUR_MM * np.round(values / CONTOUR_MM)) < 0.35 * step_mm
    colour = np.where(beside[..., None], 0.8 * colour, colour)
    surface = np.abs(values) < 0.75 * step_mm
    return np.rint(np.where(surface[..., None], LINE, colour)).astype(np.uint8)
