"""The options of a fit that a user sets beside its preset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protome.encoder.scale import MetricScale

Expression = Literal["as-photo", "neutral"]
"""Which expression a head is written with."""


@dataclass(frozen=True)
class FitOptions:
    """The method of a fit, its budget and what is known of the scene."""

    method: str = "protome"
    """One of `protome.fit.methods.METHODS`: this package's own, SIRA++, its baselines or its ablations."""
    budget: str | None = None
    """Steps ("300") or seconds ("60s") of the fit, instead of the preset's."""
    refine_cameras: bool | None = None
    """Whether each view's rotation, position and focal length are refined; None: the method's default, which for
    protome is to refine two or more posed photos."""
    size: MetricScale | None = None
    """A known length that fixes the metric scale, which photos alone do not determine."""
    prior: Path | None = None
    """A prior of the user's own, instead of the package's."""
    encoder: Path | None = None
    """The encoder that was trained with it; None: a fit without given cameras starts from the photos' landmarks."""
    expression: Expression = "as-photo"
    """The photos' expression, or none."""
