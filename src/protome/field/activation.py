"""The smooth rectifiers between a network's layers, with their slopes, which spatial gradients need."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Activation = Literal["squareplus", "softplus"]

BETA = 100.0
"""Sharpness (IDR)."""
_GAP = (2 * math.log(2) / BETA) ** 2
"""Makes Squareplus as high at zero as SoftPlus."""


class _Softplus(torch.autograd.Function):
    """log(1 + exp(BETA x)) / BETA and its derivative, in one pass; the backward pass reuses the derivative."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
        slope = torch.sigmoid(BETA * inputs)
        ctx.save_for_backward(slope)
        ctx.set_materialize_grads(False)
        return nn.functional.softplus(inputs, BETA), slope

    @staticmethod
    def backward(ctx: Any, of_value: Tensor | None, of_slope: Tensor | None) -> Tensor | None:
        (slope,) = ctx.saved_tensors
        if of_slope is None:
            return None if of_value is None else slope * of_value
        bent = of_slope * (BETA * (1 - slope))
        return slope * (bent if of_value is None else of_value + bent)


class _Squareplus(torch.autograd.Function):
    """(x + sqrt(x^2 + _GAP)) / 2 and its derivative; no exponential, so a quarter of SoftPlus's time."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
        root = (inputs * inputs).add_(_GAP).sqrt_()
        value = (inputs + root).mul_(0.5)
        slope = value / root
        ctx.save_for_backward(slope, root)
        ctx.set_materialize_grads(False)
        return value, slope

    @staticmethod
    def backward(ctx: Any, of_value: Tensor | None, of_slope: Tensor | None) -> Tensor | None:
        slope, root = ctx.saved_tensors
        if of_slope is None:
            return None if of_value is None else slope * of_value
        bent = of_slope * (2 * (1 - slope) / root)
        return slope * (bent if of_value is None else of_value + bent)


def activated(inputs: Float[Tensor, "*b n"], kind: Activation) -> Float[Tensor, "*b n"]:
    """Return the rectified values: SoftPlus, or Squareplus (Barron 2021), which has its shape without exponentials."""
    if torch.is_grad_enabled() and inputs.requires_grad:
        return with_slope(inputs, kind)[0]
    inputs = _exact(inputs)
    if kind == "softplus":
        return nn.functional.softplus(inputs, BETA)
    return (inputs * inputs).add_(_GAP).sqrt_().add_(inputs).mul_(0.5)


def with_slope(inputs: Float[Tensor, "*b n"], kind: Activation) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b n"]]:
    """Return the rectified values and their derivatives; gradients flow through both."""
    function = _Softplus if kind == "softplus" else _Squareplus
    value, slope = function.apply(_exact(inputs))
    return value, slope


def _exact(inputs: Tensor) -> Tensor:
    """Return half-precision numbers in full precision: x and its root nearly cancel where x is below zero."""
    return inputs.float() if inputs.dtype in (torch.bfloat16, torch.float16) else inputs
