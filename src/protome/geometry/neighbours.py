"""Trees that find the nearest of many points."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree


def tree_of(points: Float[np.ndarray, "n k"]) -> cKDTree:
    """Return a tree of points whose nearest neighbours are asked for.

    SciPy divides points that share their least coordinate at the next larger number. If that is 0, the next number is
    denormal; flushed to zero (`protome.util.device.choose_device`), it divides nothing, and the division never ends. So
    denormal numbers count while the tree is built.
    """
    if np.float64(5e-324) + np.float64(0) > 0:
        return cKDTree(points)
    torch.set_flush_denormal(False)
    try:
        return cKDTree(points)
    finally:
        torch.set_flush_denormal(True)
