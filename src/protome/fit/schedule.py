"""When things change during a fit, as fractions of the run."""

from __future__ import annotations

from collections.abc import Sequence

MASK_DOUBLINGS = (0.125, 0.25, 0.375, 0.5, 0.625)
"""IDR doubles the mask sharpness at 250, 500, 750, 1000 and 1250 of 2000 epochs."""
RATE_HALVINGS = (0.5, 0.75)
"""IDR and SIRA++ halve the learning rate at 1000 and 1500 of 2000 epochs."""

BACKGROUND_DROPS = (0.125, 0.25, 0.375, 0.5)
"""SIRA++ leaves out background rays every 250 of the first 1000 of 2000 epochs."""


def passed(done: float, marks: Sequence[float]) -> int:
    """Return how many of the marks the run has passed."""
    return sum(done >= mark for mark in marks)


def mask_sharpness(done: float, start: float = 50.0) -> float:
    """Return beta of the mask loss after the fraction `done` of the run."""
    return start * 2.0 ** passed(done, MASK_DOUBLINGS)


def rate_factor(done: float) -> float:
    """Return the learning rate relative to its start."""
    return 0.5 ** passed(done, RATE_HALVINGS)


def background_share(done: float, drop: float) -> float:
    """Return which share of the background's rays is still used, when each mark takes the share `drop` of them."""
    return (1 - drop) ** passed(done, BACKGROUND_DROPS)
