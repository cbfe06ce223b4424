"""Trees of nearest neighbours: right with the arithmetic that fits set, which flushes denormal numbers to zero."""

from __future__ import annotations

import multiprocessing

import numpy as np
import torch

from protome.geometry.neighbours import tree_of


def _points() -> np.ndarray:
    """Return points of which most share their least coordinate, which is 0, along the longest side."""
    rng = np.random.default_rng(0)
    points = rng.random((2000, 3))
    points[:, 0] = np.where(np.arange(2000) < 1400, 0.0, 5 * points[:, 0])
    return points


def _found(nearest: np.ndarray) -> None:
    torch.set_flush_denormal(True)
    points = _points()
    distance, number = tree_of(points).query(points + np.array([0.0, 1e-6, 0.0]))
    assert (number == nearest).all()
    assert np.abs(distance - 1e-6).max() < 1e-12
    assert np.float64(5e-324) + np.float64(0) == 0  # as before


def test_points_that_share_a_zero_end_no_process() -> None:
    nearest = np.arange(2000)
    assert (tree_of(_points()).query(_points())[1] == nearest).all()
    child = multiprocessing.get_context("fork").Process(target=_found, args=(nearest,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
