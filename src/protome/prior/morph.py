"""Interpolation between two heads, with separate fractions for shape and appearance."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor

from protome.errors import InputError, ProtomeWarning
from protome.field.head import HeadField
from protome.prior.prior import FittedHead, interpolate
from protome.util.device import seeded

BEYOND = 0.5
"""How far past either head a fraction may go: heads there are exaggerations."""


def morph(first: FittedHead, second: FittedHead, shape: float, appearance: float) -> FittedHead:
    """Return the head that lies the given fractions of the way from one head to another.

    Fractions of 0 give the first head, of 1 the second; up to `BEYOND` past them they exaggerate. Latents are
    interpolated, and so are the weights that a fit has adapted: the deformation's with the shape, the renderer's with
    the appearance. Linear interpolation of weights makes sense here, because both fits started from the weights of
    one prior and changed them little; a head drawn from the prior has the prior's own. The reference, which no fit
    changes, identifies the prior of a head. The renderer of a fitted head may have more frequencies than the prior's;
    the coarser of two is first widened, which changes no colour.

    Raises:
        InputError: the heads come from different priors, or a fraction is too far from 0 to 1.
    """
    for name, fraction in (("shape", shape), ("appearance", appearance)):
        if not -BEYOND <= fraction <= 1 + BEYOND:
            raise InputError(
                f"a fraction of {fraction:g} for {name} is too far out: give 0 (the first head) to 1 (the second), "
                f"or at most {BEYOND:g} beyond"
            )
        if not 0 <= fraction <= 1:
            warnings.warn(
                f"a fraction of {fraction:g} for {name} exaggerates: such heads need not look like people",
                ProtomeWarning,
                stacklevel=2,
            )
    finest = max(head.field.config.renderer_frequencies for head in (first, second))
    one, other = (_widened(head.field, finest) for head in (first, second))
    if not _of_one_prior(one, other):
        raise InputError("the two heads come from different priors: make both with the same prior")
    with seeded(0):  # the weights that are drawn here give way to those between the heads
        field = HeadField(one.config)
    there = other.state_dict()
    field.load_state_dict(
        {key: _between(key, value, there[key], shape, appearance) for key, value in one.state_dict().items()}
    )
    latents = interpolate(first.latents, second.latents, shape, appearance)
    # A fitted head's space is wider than the prior's own.
    low, high = torch.stack([first.bounds, second.bounds.to(first.bounds)]).unbind(1)
    bounds = torch.stack([low.amin(0), high.amax(0)])
    return FittedHead(field.to(one.centre).requires_grad_(False), latents, bounds)


def _widened(field: HeadField, frequencies: int) -> HeadField:
    return field if field.config.renderer_frequencies == frequencies else field.with_finer_colour(frequencies)


def _of_one_prior(one: HeadField, other: HeadField) -> bool:
    if replace(one.config, renderer_frequencies=0) != replace(other.config, renderer_frequencies=0):
        return False
    # Without a deformation a fit adapts the reference itself, and no frozen weights are left to compare.
    there = other.reference.state_dict()
    frozen = one.deformation is not None
    return not frozen or all(torch.equal(value, there[key]) for key, value in one.reference.state_dict().items())


def _between(key: str, one: Tensor, other: Tensor, shape: float, appearance: float) -> Tensor:
    return torch.lerp(one, other, appearance if key.startswith("renderer.") else shape)
