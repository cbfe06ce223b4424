"""The methods that can be compared: SIRA++, its baselines and its ablations, all as settings of one implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import torch

from protome.encoder.dense import with_landmarks
from protome.encoder.encoder import Encoder, LatentEstimate
from protome.errors import InputError
from protome.field.head import HeadField, HeadFieldConfig
from protome.fit.clock import COLOUR_STEP
from protome.fit.config import FitConfig, Patches, Rates, Schedule, Weights
from protome.fit.tracing import TracingConfig
from protome.prior.prior import LatentStatistics, Prior
from protome.scene import Scene
from protome.util.device import seeded

RATE = 1e-4
"""Learning rate of all parameters in SIRA++ and IDR."""
LATENT_SHARE = 100 / 2000
"""Share of the run in which SIRA++ optimises only the latents."""
BACKGROUND_DROP = 0.12
"""Share of the background's rays that SIRA++ drops at each milestone."""
MOST_EXPRESSIONS = 8
"""Most photos that each have an expression of their own."""
MOST_ESTIMATED = 5
"""Most photos placed together from which the head is estimated before a fit."""
MOST_FRONTS = 3
"""Most photos that say which expression all have."""
_LATENT_DEVIATION = 0.01
"""Standard deviation of the initial latents: the text calls the variance small; its other small variance is 1e-4."""


@dataclass(frozen=True)
class Method:
    """The initial state of a fit and the parameters that it optimises."""

    summary: str
    """A description in one line."""
    prior: Callable[[], Prior]
    """Reads or creates the prior."""
    settings: Callable[[FitConfig], FitConfig] = lambda config: config
    """Converts a preset of SIRA++ into one of this method."""
    encoder: Callable[[], Encoder | None] | None = None
    """Reads the encoder that estimates the head from photos, or returns None where the prior has no encoder; None: the
    fit starts from the mean head."""
    refines: bool = False
    """Whether the cameras of two or more posed photos are refined by default."""

    def refine_cameras(self, scene: Scene) -> bool:
        """Return whether a scene's cameras are refined by default.

        One photo's camera and the head's pose are the same unknowns. So are those of photos without a common frame,
        each of which has its own pose of the head.
        """
        return self.refines and scene.posed and len(scene.views) > 1

    def estimate(self, scene: Scene, prior: Prior) -> LatentEstimate | None:
        """Return the latents' estimate for a scene; None where the fit starts from the mean head.

        Several views with given cameras need no estimate, nor do many photos: they locate the head and show most of it.
        A few photos that were placed together may show little of the face twice, as profiles from both sides.
        """
        together = scene.posed and len(scene.views) > 1
        if self.encoder is None or (together and (scene.estimate is None or len(scene.views) > MOST_ESTIMATED)):
            return None
        encoder = self.encoder()
        estimate = LatentEstimate.of_prior(prior, scene) if encoder is None else encoder.estimate(scene, prior)
        if estimate is None or not together:
            return None if estimate is None else with_landmarks(estimate, scene, prior, alone=encoder is None)
        return with_landmarks(estimate.still(), scene, prior, alone=encoder is None).still()

    def expressions(self, scene: Scene, prior: Prior, estimate: LatentEstimate | None) -> tuple[LatentStatistics, ...]:
        """Return Gaussians of the photos' expressions: one for each photo, or one for all; none where all is unknown.

        Photos with given cameras were taken at one moment. Many photos share an expression too, because each one costs
        time.
        """
        if prior.expression is None or self.encoder is None:
            return ()
        apart = len(scene.views) <= MOST_EXPRESSIONS and not scene.has_own_world
        if estimate is None:
            used = range(len(scene.views)) if apart else scene.front_most()[:MOST_FRONTS]
            part = replace(scene, views=tuple(scene.views[number] for number in used), estimate=None)
            found = with_landmarks(LatentEstimate.of_prior(prior, part), part, prior, alone=True).expressions
        else:
            found = estimate.expressions
        if apart or len(found) < 2:
            return found
        means, spreads = (torch.stack([getattr(own, key) for own in found]).mean(0) for key in ("mean", "axes"))
        return (LatentStatistics(means, spreads),)

    def with_prior(self, prior: Path, encoder: Path | None) -> Method:
        """Return the method with a prior of the user's own, and its encoder where there is one.

        Raises:
            InputError: the method has no prior of shape and appearance in one.
        """
        if self.prior is not Prior.load:
            raise InputError("this method brings a prior of its own: leave --prior out, or use protome or sira++")
        own = None if self.encoder is None else lambda: None if encoder is None else Encoder.load(encoder)
        return replace(self, prior=lambda: Prior.load(prior), encoder=own)


def _ablation(name: str) -> Path:
    return Path(str(resources.files("protome") / "assets" / "ablations" / f"{name}.safetensors"))


def untrained_prior(seed: int = 0, *, width: int = 128) -> Prior:
    """Return an untrained prior: a sphere of the size of a head, without latents.

    It has IDR's networks: 8 layers for the distance and 4 for the colour, weight normalisation, six frequencies of the
    point and four of the view, a feature half as long as a layer, no latents. IDR's own `width` is 512; smaller widths
    are for machines with two processor cores.
    """
    shipped = Prior.load()
    with seeded(seed):
        field = HeadField(
            HeadFieldConfig(
                deformed=False, latent=0, feature=width // 2, weight_norm=True, steered=False, reference_width=width,
                reference_depth=8, reference_frequencies=6, renderer_width=width, renderer_depth=4,
                renderer_frequencies=0, view_frequencies=4,
            )
        )  # fmt: skip
    field.requires_grad_(False)
    return _without_latents(replace(shipped, field=field))


def _without_latents(prior: Prior) -> Prior:
    """Return the prior restricted to its mean head."""
    zeros = torch.zeros(1, prior.field.config.latent)
    statistics = [LatentStatistics(own.mean[: zeros.shape[1]], zeros) for own in (prior.shape, prior.appearance)]
    return replace(prior, shape=statistics[0], appearance=statistics[1], cross_covariance=torch.zeros(1, 1))


def _without_latent_phase(config: FitConfig) -> FitConfig:
    """Return settings whose latent steps also optimise the networks; one photo gets as many steps as three."""
    own = config.schedule
    steps = {count: own.latent_steps(count) + own.network_steps(max(count, 3)) for count in (1, 3, 8, 32)}
    return replace(config, schedule=replace(own, latents={1: 0}, steps=steps, renderer_first=True))


def _idr_settings(config: FitConfig) -> FitConfig:
    """Return settings with IDR's tracer, which evaluates a hundred points a ray, and without the colour phase."""
    config = replace(config, schedule=replace(config.schedule, colours=0))
    return replace(_without_latent_phase(config), tracing=TracingConfig("idr", baked_mm=0), renderer_frequencies=None)


def _renderer_from_start(config: FitConfig) -> FitConfig:
    return replace(config, schedule=replace(config.schedule, renderer_first=True))


def _latents_only(config: FitConfig) -> FitConfig:
    return replace(_renderer_from_start(config), rates=replace(config.rates, deformation={1: 0.0}))


def _with_photo_consistency(config: FitConfig) -> FitConfig:
    return replace(config, patches=replace(config.patches, weight=0.3), match_lights=True)


def _without_accelerations(config: FitConfig) -> FitConfig:
    """Return settings without the accelerations of SIRA++ over SIRA."""
    steps = {count: config.schedule.network_steps(max(count, 3)) for count in (1, 3, 8, 32)}
    schedule = replace(config.schedule, steps=steps)
    return replace(config, schedule=schedule, tracing=TracingConfig("sphere", baked_mm=0))


def _paper_settings(config: FitConfig) -> FitConfig:
    """Return the settings of SIRA++ according to its text, at the cost of one of our presets.

    The total number of steps is the preset's; its colour-only steps are converted by their cost.
    """
    own = config.schedule
    total = {n: own.latent_steps(n) + own.network_steps(n) + own.colours / COLOUR_STEP for n in (1, 3, 8, 32)}
    schedule = Schedule(
        latents={n: LATENT_SHARE * steps for n, steps in total.items()},
        steps={n: (1 - LATENT_SHARE) * steps for n, steps in total.items()},
        colours=0,
    )
    return replace(
        config,
        renderer_frequencies=None,
        weigh_pixels=False,
        drop_background=BACKGROUND_DROP,
        free_latents=_LATENT_DEVIATION,
        match_exposures=False,
        schedule=schedule,
        rates=Rates(latents=RATE, placement=0.0, deformation={1: RATE}, renderer=RATE),
        weights=Weights(latents=0.0, eikonal_at_once=True),
        patches=Patches(),
        tracing=TracingConfig("parallel", baked_mm=0, cache=True, half=True),
    )


METHODS = {
    "idr": Method("no prior: starts from a sphere, with the tracer of IDR", untrained_prior, _idr_settings),
    "idr-one-head": Method(
        "no prior but an initial shape: starts from one mean head",
        lambda: _without_latents(Prior.load(_ablation("h3d-net"))),
        _without_latent_phase,
    ),
    "h3d-net-latents": Method(
        "a prior of shape only, in one network with frozen weights: the shape follows the latents alone",
        lambda: Prior.load(_ablation("h3d-net")),
        _latents_only,
    ),
    "h3d-net": Method(
        "the same prior, with its network fitted too",
        lambda: Prior.load(_ablation("h3d-net")),
        _renderer_from_start,
    ),
    "h3d-net-pm": Method(
        "the same with another prior, trained with a progressively unmasked encoding",
        lambda: Prior.load(_ablation("h3d-net-pm")),
        _renderer_from_start,
    ),
    "deform": Method(
        "a prior of shape only, as deformations of one reference head",
        lambda: Prior.load(_ablation("deform")),
        _renderer_from_start,
    ),
    "sira-short": Method(
        "the prior of shape and appearance, trained as long as those of the ablations",
        lambda: Prior.load(_ablation("sira++")),
    ),
    "sira": Method(
        "the full prior from the mean head, with sphere tracing and as many steps for one photo as for three",
        Prior.load,
        _without_accelerations,
    ),
    "sira++-paper": Method("the full prior, fitted according to the text of SIRA++", Prior.load, _paper_settings),
    "sira++": Method("the full prior, starting from an estimate of the latents", Prior.load, encoder=Encoder.load),
    "protome": Method(
        "the same, with photo-consistency of surface patches, refined cameras and a light of each photo",
        Prior.load,
        _with_photo_consistency,
        Encoder.load,
        refines=True,
    ),
}
"""Methods by name; the published ones are named as in the paper's tables."""


def method(name: str) -> Method:
    """Return a method.

    Raises:
        InputError: there is none of that name.
    """
    if name not in METHODS:
        raise InputError(f"no method is called {name}: use one of {', '.join(METHODS)}")
    return METHODS[name]
