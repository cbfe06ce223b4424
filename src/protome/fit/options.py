"""What a user chooses of a fit beyond its preset."""

from __future__ import annotations

from dataclasses import dataclass

from protome.encoder.scale import MetricScale


@dataclass(frozen=True)
class FitOptions:
    """What is fitted and for how long, beyond the preset."""

    method: str = "protome"
    """One of `protome.fit.methods.METHODS`: this package's own, SIRA++, its ancestors or its ablations."""
    budget: str | None = None
    """Steps ("300") or seconds ("60s") of the fit, instead of the preset's."""
    refine_cameras: bool | None = None
    """Whether each view's rotation, position and focal length are corrected, too; None: where the method does so by
    itself, as protome does with two and more posed photos."""
    size: MetricScale | None = None
    """A measure of the person, where photos alone do not tell how large the head is."""
