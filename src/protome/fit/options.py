"""The options of a fit that a user sets beside its preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protome.encoder.scale import MetricScale
from protome.prior.prior import FittedHead


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
    watch: Callable[[FittedHead], None] | None = None
    """What is given the head from time to time while it is fitted; it must return at once."""
