"""The settings of a fit: its schedule, its rates, its weights, its patches, and three presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from protome.fit.tracing import TracingConfig

ByViews = Mapping[int, float]
"""Values at some numbers of photos; interpolated linearly, constant beyond the first and the last."""


def by_views(values: ByViews, views: int) -> float:
    """Return the value for a number of photos."""
    counts = sorted(values)
    return float(np.interp(views, counts, [values[count] for count in counts]))


@dataclass(frozen=True)
class Schedule:
    """Numbers of steps of each phase; changes within the run are at fractions of it (`protome.fit.schedule`)."""

    latents: ByViews = field(default_factory=lambda: {1: 80, 3: 150})
    """Steps that optimise only the latents (and the placement), by the number of photos. One photo's start from an
    estimate that more of them leave as good as it is."""
    steps: ByViews = field(default_factory=lambda: {1: 50, 3: 450, 8: 1500, 32: 5000})
    """Steps that also optimise the deformation and the renderer, by the number of photos. With one photo, more steps
    deform the face to fit the shading; with many photos, each is sampled less often per step."""
    colours: int = 300
    """Steps that then optimise only the renderer."""
    renderer_first: bool = False
    """Whether the renderer is optimised from the first step on, for priors without an appearance model."""

    def latent_steps(self, views: int) -> int:
        """Return the number of steps that optimise only the latents, for a number of photos."""
        return round(by_views(self.latents, views))

    def network_steps(self, views: int) -> int:
        """Return the number of steps that also optimise the networks, for a number of photos."""
        return round(by_views(self.steps, views))


@dataclass(frozen=True)
class Rates:
    """Learning rates of Adam at the start of the run; parameters with the rate 0 are fixed."""

    latents: float = 0.05
    """In standard deviations of the prior's latents per step; for free latents, in their own unit."""
    placement: float = 1e-3
    deformation: ByViews = field(default_factory=lambda: {1: 3e-4, 3: 2e-4})
    """Of the network that is conditioned on the shape latent, by the number of photos."""
    renderer: float = 5e-4
    corrections: float = 0.02
    """Of cameras and exposures, in their standard deviations per step."""


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms relative to the colour term. The first two are those of IDR and SIRA++."""

    mask: float = 100.0
    eikonal: float = 0.1
    eikonal_at_once: bool = False
    """Whether the eikonal term is active from the first step on, as in the paper's text; False: from the second phase
    on, because the latents alone keep the prior's distances valid."""
    latents: float = 1e-2
    """Of the mean squared latent in standard deviations (ours: one view does not determine most of them)."""
    estimated: ByViews = field(default_factory=lambda: {1: 0.1, 2: 0.02})
    """The same relative to an encoder's estimate, in standard deviations of its error, by the number of photos."""
    together: float = 2e-3
    """The same of photos that were placed together, which say more of the head than an estimate does."""
    landmarks: float = 1e-3
    """Of the landmarks, summed, in standard deviations, of photos that were not placed together, where an estimate of
    the head is at hand (ours)."""
    corrections: float = 1e-2
    """Of the mean squared corrections of cameras and exposures, in standard deviations."""


@dataclass(frozen=True)
class Patches:
    """Photo-consistency of several posed photos over patches of the surface (ours)."""

    weight: float = 0.0
    """Weight of the loss term; 0 switches it off."""
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
    """Points of the eikonal term throughout the volume, and as many near the surface."""
    renderer_frequencies: int | None = 8
    """Frequencies of the reference point's encoding in the adapted renderer; None: as many as the prior's, which has
    fewer."""
    weigh_pixels: bool = True
    """Whether faces and people are sampled more often than background, pixels of people whose rays leave the modelled
    volume are excluded from the mask loss, and the shape does not follow what is seen between open lips, where a
    membrane takes its place; False: uniform sampling of all pixels, as in IDR and SIRA++."""
    drop_background: float = 0.0
    """Share of the background's rays that is dropped at each of four milestones (SIRA++, selective sampling)."""
    free_latents: float | None = None
    """Standard deviation of the zero-mean Gaussian that initialises unconstrained latents, as in SIRA++; None: latents
    start at the mean head and are coefficients of the training latents' principal axes, in standard deviations."""
    refine_cameras: bool = False
    """Whether each view's rotation, position and focal length are optimised too."""
    match_exposures: bool = True
    """Whether each of several photos has its own colour gains."""
    match_lights: bool = False
    """Whether each of these also has its own low-order shading."""
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
