"""The schedule of a fit's settings, as fractions of the run."""

from __future__ import annotations

from collections.abc import Sequence

MASK_DOUBLINGS = (0.125, 0.25, 0.375, 0.5, 0.625)
"""IDR doubles the mask sharpness at 250, 500, 750, 1000 and 1250 of 2000 epochs."""
RATE_HALVINGS = (0.5, 0.75)
"""IDR and SIRA++ halve the learning rate at 1000 and 1500 of 2000 epochs."""

BACKGROUND_DROPS = (0.125, 0.25, 0.375, 0.5)
"""SIRA++ drops background rays every 250 of the first 1000 of 2000 epochs."""


def passed(done: float, milestones: Sequence[float]) -> int:
    """Return how many milestones the run has passed."""
    return sum(done >= milestone for milestone in milestones)


def mask_sharpness(done: float, start: float = 50.0) -> float:
    """Return beta of the mask loss after the fraction `done` of the run."""
    return start * 2.0 ** passed(done, MASK_DOUBLINGS)


def rate_factor(done: float) -> float:
    """Return the learning rate relative to its start."""
    return 0.5 ** passed(done, RATE_HALVINGS)


def background_share(done: float, drop: float) -> float:
    """Return the share of background rays that is used, when each milestone drops the share `drop` of them."""
    return (1 - drop) ** passed(done, BACKGROUND_DROPS)
