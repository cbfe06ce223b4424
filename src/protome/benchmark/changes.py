"""Changes of one factor of a fit, by name: the only place where studies change a fit's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from protome.errors import InputError
from protome.fit.config import FitConfig
from protome.fit.tracing import TracingConfig

PAPER_RATE = 1e-4
"""Learning rate of the deformation and the renderer in SIRA++."""
DROPPED = 0.12
"""Share of the background's rays that SIRA++ drops at each of four milestones."""
STEP_FACTORS = (0.25, 0.5, 2.0, 4.0)
"""Factors of the numbers of steps in the study of steps."""


@dataclass(frozen=True)
class Change:
    """A difference from a method's own fit."""

    about: str
    """One line for the table."""
    settings: Callable[[FitConfig], FitConfig] = lambda config: config
    """Returns the changed settings."""
    encoder: bool = True
    """Whether the encoder may give the initial latents; otherwise they are the mean head's."""


def _scaled_steps(factor: float, config: FitConfig) -> FitConfig:
    """Return settings with a scaled number of steps of the first two phases, for every number of photos."""
    own = config.schedule
    latents, steps = ({views: factor * count for views, count in counts.items()} for counts in (own.latents, own.steps))
    return replace(config, schedule=replace(own, latents=latents, steps=steps))


def _without_patches(config: FitConfig) -> FitConfig:
    return replace(config, patches=replace(config.patches, weight=0.0))


def _without_colour_phase(config: FitConfig) -> FitConfig:
    return replace(config, schedule=replace(config.schedule, colours=0))


def _fixed_placement(config: FitConfig) -> FitConfig:
    return replace(config, rates=replace(config.rates, placement=0.0))


def _one_rate(config: FitConfig) -> FitConfig:
    return replace(config, rates=replace(config.rates, deformation={1: PAPER_RATE}, renderer=PAPER_RATE))


def _without_eikonal(config: FitConfig) -> FitConfig:
    return replace(config, weights=replace(config.weights, eikonal=0.0))


def _traced(tracing: TracingConfig, config: FitConfig) -> FitConfig:
    return replace(config, tracing=tracing)


CHANGES = {
    "": Change("unchanged"),
    "no-patches": Change("no photo-consistency of patches", _without_patches),
    "no-gains": Change("no colour gains per photo", lambda config: replace(config, match_exposures=False)),
    "no-lights": Change("no shading per photo", lambda config: replace(config, match_lights=False)),
    "no-encoder": Change("start at the mean head, no encoder", encoder=False),
    "no-colour-phase": Change("no third phase (renderer only)", _without_colour_phase),
    "alike-pixels": Change(
        "uniform pixel sampling, with the person's pixels outside the modelled volume in the mask loss",
        lambda config: replace(config, weigh_pixels=False),
    ),
    "fixed-placement": Change(
        "the head's rotation and translation are not refined", _fixed_placement
    ),
    "coarse-colour": Change(
        "the renderer keeps the prior's frequencies",
        lambda config: replace(config, renderer_frequencies=None),
    ),
    "one-rate": Change("one learning rate of 1e-4 for deformation and renderer", _one_rate),
    "no-eikonal": Change("no eikonal term", _without_eikonal),
    "selective-sampling": Change(
        "12 % of the background's rays dropped four times", lambda config: replace(config, drop_background=DROPPED)
    ),
    "network-reference": Change(
        "reference not looked up in a grid", partial(_traced, TracingConfig(baked_mm=0))
    ),
    "sphere-tracing": Change("sphere tracing", partial(_traced, TracingConfig("sphere", baked_mm=0))),
    "equal-samples": Change("75 equal samples of each ray", partial(_traced, TracingConfig("parallel", baked_mm=0))),
    "equal-samples-cache": Change(
        "75 equal samples, SDF cache", partial(_traced, TracingConfig("parallel", baked_mm=0, cache=True))
    ),
    **{
        f"steps-{factor:g}": Change(f"{factor:g} times the steps", partial(_scaled_steps, factor))
        for factor in STEP_FACTORS
    },
}  # fmt: skip
"""Changes by name; a name appears in the names of the results' files."""


def change(name: str) -> Change:
    """Return a change.

    Raises:
        InputError: there is none of that name.
    """
    if name not in CHANGES:
        raise InputError(f"no change is called {name}: use one of {', '.join(filter(None, CHANGES))}")
    return CHANGES[name]
