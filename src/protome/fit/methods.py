"""The methods that can be compared: SIRA++, its ancestors and its ablations, all as settings of the same parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import torch

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
"""Learning rate of everything in SIRA++ and IDR."""
LATENT_SHARE = 100 / 2000
"""Share of the run in which SIRA++ moves the latents alone."""
BACKGROUND_DROP = 0.12
"""Share of the background's rays that SIRA++ leaves out from each mark on."""
_SMALL = 0.01
"""Deviation of the latents' start: the text calls its variance small, and its other small variance is 1e-4."""


@dataclass(frozen=True)
class Method:
    """What a fit starts from and what it moves."""

    summary: str
    """One line about it."""
    prior: Callable[[], Prior]
    """Reads or makes the prior."""
    settings: Callable[[FitConfig], FitConfig] = lambda config: config
    """Changes a preset of SIRA++ into one of this method."""
    encoder: Callable[[], Encoder] | None = None
    """Reads what guesses the head from photos; None where the fit starts from the mean head."""
    refines: bool = False
    """Whether cameras of two and more posed photos are corrected unless somebody says otherwise."""

    def refine_cameras(self, scene: Scene) -> bool:
        """Tell whether a scene's cameras are corrected where nobody says.

        One photo's camera and the head's place are the same unknowns, and so are those of photos without common
        cameras, each of which places the head on its own.
        """
        return self.refines and scene.posed and len(scene.views) > 1

    def estimate(self, scene: Scene, prior: Prior) -> LatentEstimate | None:
        """Return where the fit of a scene starts; None where it starts from the mean head.

        Several posed views need no guess: they say where the head is, and see most of it.
        """
        if self.encoder is None or (scene.posed and len(scene.views) > 1):
            return None
        return self.encoder().estimate(scene, prior)


def _ablation(name: str) -> Path:
    return Path(str(resources.files("protome") / "assets" / "ablations" / f"{name}.safetensors"))


def untrained_prior(seed: int = 0, *, width: int = 128) -> Prior:
    """Return a prior that knows nothing: a sphere of the size of a head, whose latents have no effect.

    It has IDR's networks: 8 layers for the distance and 4 for the colour, weight normalisation, six frequencies of the
    point and four of the view, a feature half as long as a layer, no latents. IDR's own `width` is 512; what is smaller
    is for two processor cores.
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
    """Return the prior with its mean head alone."""
    nothing = torch.zeros(1, prior.field.config.latent)
    still = [LatentStatistics(own.mean[: nothing.shape[1]], nothing) for own in (prior.shape, prior.appearance)]
    return replace(prior, shape=still[0], appearance=still[1], cross_covariance=torch.zeros(1, 1))


def _unlatent(config: FitConfig) -> FitConfig:
    """Return settings whose latent steps move the networks, too; one photo gets as many as three."""
    own = config.schedule
    steps = {count: own.latent_steps(count) + own.network_steps(max(count, 3)) for count in (1, 3, 8, 32)}
    return replace(config, schedule=replace(own, latents={1: 0}, steps=steps, renderer_first=True))


def _by_idr(config: FitConfig) -> FitConfig:
    """Return settings with IDR's tracer, which asks a hundred points a ray, and without a phase of colours."""
    config = replace(config, schedule=replace(config.schedule, colours=0))
    return replace(_unlatent(config), tracing=TracingConfig("idr", baked_mm=0), renderer_frequencies=None)


def _colourless(config: FitConfig) -> FitConfig:
    return replace(config, schedule=replace(config.schedule, renderer_first=True))


def _latents_alone(config: FitConfig) -> FitConfig:
    return replace(_colourless(config), rates=replace(config.rates, deformation={1: 0.0}))


def _consistent(config: FitConfig) -> FitConfig:
    return replace(config, patches=replace(config.patches, weight=0.3))


def _unhurried(config: FitConfig) -> FitConfig:
    """Return settings without what makes SIRA++ faster than SIRA."""
    steps = {count: config.schedule.network_steps(max(count, 3)) for count in (1, 3, 8, 32)}
    schedule = replace(config.schedule, steps=steps)
    return replace(config, schedule=schedule, tracing=TracingConfig("sphere", baked_mm=0))


def _printed(config: FitConfig) -> FitConfig:
    """Return settings of SIRA++ as its text has them, with as much time as a preset of ours.

    The numbers of steps are the preset's, those of the renderer alone among them as what they cost.
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
        free_latents=_SMALL,
        match_exposures=False,
        schedule=schedule,
        rates=Rates(latents=RATE, placement=0.0, deformation={1: RATE}, renderer=RATE),
        weights=Weights(latents=0.0, eikonal_at_once=True),
        patches=Patches(),
        tracing=TracingConfig("parallel", baked_mm=0, cache=True, half=True),
    )


METHODS = {
    "idr": Method("no prior: a sphere becomes the head, traced as in IDR", untrained_prior, _by_idr),
    "idr-one-head": Method(
        "no prior but a first guess: one mean head becomes the head",
        lambda: _without_latents(Prior.load(_ablation("h3d-net"))),
        _unlatent,
    ),
    "h3d-net-latents": Method(
        "a prior of shapes alone in one network, which keeps its weights: latents alone move the shape",
        lambda: Prior.load(_ablation("h3d-net")),
        _latents_alone,
    ),
    "h3d-net": Method(
        "the same prior, whose network moves, too",
        lambda: Prior.load(_ablation("h3d-net")),
        _colourless,
    ),
    "h3d-net-pm": Method(
        "the same with another prior, its encoding unmasked little by little in training",
        lambda: Prior.load(_ablation("h3d-net-pm")),
        _colourless,
    ),
    "deform": Method(
        "a prior of shapes alone, as deformations of one reference head",
        lambda: Prior.load(_ablation("deform")),
        _colourless,
    ),
    "sira-short": Method(
        "the prior of shapes and appearances, trained as long as those of the ablations",
        lambda: Prior.load(_ablation("sira++")),
    ),
    "sira": Method(
        "the full prior from the mean head, traced by spheres, with as many steps for one photo as for three",
        Prior.load,
        _unhurried,
    ),
    "sira++-paper": Method("the full prior, fitted as the text of SIRA++ has it", Prior.load, _printed),
    "sira++": Method("the full prior, and a guess to start from", Prior.load, encoder=Encoder.load),
    "protome": Method(
        "the same, and posed photos must agree about patches of the surface",
        Prior.load,
        _consistent,
        Encoder.load,
        refines=True,
    ),
}
"""Methods by name, the published ones as in the paper's tables."""


def method(name: str) -> Method:
    """Return a method.

    Raises:
        InputError: there is none of that name.
    """
    if name not in METHODS:
        raise InputError(f"no method is called {name}: use one of {', '.join(METHODS)}")
    return METHODS[name]
