"""The settings of a fit: its schedule, its rates, its weights, its patches, and three presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from protome.fit.tracing import TracingConfig

ByViews = Mapping[int, float]
"""Values at some numbers of photos; linear between them, constant beyond the first and the last."""


def by_views(values: ByViews, views: int) -> float:
    """Return the value for a number of photos."""
    counts = sorted(values)
    return float(np.interp(views, counts, [values[count] for count in counts]))


@dataclass(frozen=True)
class Schedule:
    """How many steps each phase has; what changes during a phase is a fraction of the run (`protome.fit.schedule`)."""

    latents: ByViews = field(default_factory=lambda: {1: 150})
    """Steps that move only the latents (and the placement), by the number of photos."""
    steps: ByViews = field(default_factory=lambda: {1: 100, 3: 450, 8: 1500, 32: 5000})
    """Steps that also move the deformation and the renderer: more of them with one photo bend the face to explain its
    shading, and each of many photos is drawn from more seldom."""
    colours: int = 300
    """Steps that then move the renderer alone."""
    renderer_first: bool = False
    """The renderer moves from the first step on: its prior knows no colours."""

    def latent_steps(self, views: int) -> int:
        """Return how many steps move the latents alone, for a number of photos."""
        return round(by_views(self.latents, views))

    def network_steps(self, views: int) -> int:
        """Return how many steps also move the networks, for a number of photos."""
        return round(by_views(self.steps, views))


@dataclass(frozen=True)
class Rates:
    """Learning rates of Adam at the start of the run; what has the rate 0 does not move."""

    latents: float = 0.05
    """In standard deviations of the prior's latents per step; of free latents, in their own unit."""
    placement: float = 1e-3
    deformation: ByViews = field(default_factory=lambda: {1: 1e-4, 3: 2e-4})
    """Of the network that the shape latent enters, by the number of photos."""
    renderer: float = 5e-4
    corrections: float = 0.02
    """Of cameras and exposures, in their standard deviations per step."""


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms beside the colours', which counts 1. The first two are those of IDR and SIRA++."""

    mask: float = 100.0
    eikonal: float = 0.1
    eikonal_at_once: bool = False
    """Whether gradients count from the first step on, as printed; False: once the networks move, because latents alone
    do not spoil the prior's distances."""
    latents: float = 1e-2
    """Of the mean squared latent in standard deviations (ours: one view leaves most of them open)."""
    estimated: ByViews = field(default_factory=lambda: {1: 0.1, 2: 0.02})
    """The same where an encoder has estimated the latents, in what it misses them by, by the number of photos."""
    corrections: float = 1e-2
    """Of the mean squared corrections of cameras and exposures, in standard deviations."""


@dataclass(frozen=True)
class Patches:
    """The comparison of several posed photos in patches of the surface (ours)."""

    weight: float = 0.0
    """Of what the photos disagree about; 0 for no comparison."""
    size: int = 512
    """Longer side, in pixels, of the window around the head in which patches are compared."""
    count: int = 192
    """Patches per step."""


@dataclass(frozen=True)
class FitConfig:
    """One fit."""

    size: int = 256
    """Longer side, in pixels, of the window around the head."""
    rays: int = 768
    """Rays per step, drawn from all views."""
    eikonal_points: int = 128
    """Points all over the volume, and as many near the surface, at which the gradient's length counts."""
    renderer_frequencies: int | None = 8
    """Frequencies of the reference point that the adapted renderer sees; None: as many as the prior's, which are
    fewer."""
    weigh_pixels: bool = True
    """Whether faces and people are drawn more often than background, and pixels of people whose rays leave the modelled
    volume decide nothing; False: all pixels are drawn alike and all count, as in IDR and SIRA++."""
    drop_background: float = 0.0
    """Share of the background's rays that is left out from each of four marks on (SIRA++, selective sampling)."""
    free_latents: float | None = None
    """Deviation of the Gaussian about zero from which latents start that then move freely, as in SIRA++; None: they
    start at the mean head, and move in standard deviations along the principal axes of the training heads'."""
    refine_cameras: bool = False
    """Whether each view's rotation, position and focal length move too."""
    match_exposures: bool = True
    """Whether each of several photos has gains of its own."""
    schedule: Schedule = field(default_factory=Schedule)
    rates: Rates = field(default_factory=Rates)
    weights: Weights = field(default_factory=Weights)
    patches: Patches = field(default_factory=Patches)
    tracing: TracingConfig = field(default_factory=TracingConfig)


FIT_PRESETS = {
    "draft": FitConfig(
        size=128, rays=384, schedule=Schedule({1: 60}, {1: 30, 3: 90, 8: 300, 32: 750}, colours=120)
    ),
    "standard": FitConfig(),
    "fine": FitConfig(
        size=384, rays=1536,
        schedule=Schedule({1: 250}, {1: 250, 3: 1200, 8: 4000, 32: 10_000}, colours=1200),
    ),
}  # fmt: skip
