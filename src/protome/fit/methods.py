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
from protome.fit.config import FitConfig
from protome.fit.tracing import TracingConfig
from protome.prior.prior import LatentStatistics, Prior
from protome.scene import Scene
from protome.util.device import seeded


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

    def estimate(self, scene: Scene, prior: Prior) -> LatentEstimate | None:
        """Return where the fit of a scene starts; None where it starts from the mean head.

        Several posed views need no guess: they say where the head is, and see most of it.
        """
        if self.encoder is None or (scene.posed and len(scene.views) > 1):
            return None
        return self.encoder().estimate(scene, prior)


def _ablation(name: str) -> Path:
    return Path(str(resources.files("protome") / "assets" / "ablations" / f"{name}.safetensors"))


def untrained_prior(seed: int = 0) -> Prior:
    """Return a prior that knows nothing: a sphere of the size of a head, whose latents have no effect."""
    shipped = Prior.load()
    with seeded(seed):
        field = HeadField(HeadFieldConfig(deformed=False, reference_width=192, reference_depth=8))
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


METHODS = {
    "idr": Method("no prior: a sphere becomes the head", untrained_prior, _unlatent),
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
    "sira": Method("the full prior, without the accelerations", Prior.load, _unhurried),
    "sira++": Method("the full prior, and a guess to start from", Prior.load, encoder=Encoder.load),
    "protome": Method(
        "the same, and posed photos must agree about patches of the surface", Prior.load, _consistent, Encoder.load
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
