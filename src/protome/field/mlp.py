"""Multilayer perceptrons with SoftPlus, one skip, a folded condition and a written-out input gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

BETA = 100.0
"""Sharpness of the SoftPlus activations (IDR)."""


class _SoftplusWithSlope(torch.autograd.Function):
    """SoftPlus and its derivative in one pass; the backward pass reuses the derivative."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, inputs: Tensor) -> tuple[Tensor, Tensor]:
        slope = torch.sigmoid(BETA * inputs)
        ctx.save_for_backward(slope)
        return nn.functional.softplus(inputs, BETA), slope

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors  # type: ignore[attr-defined]
        of_value, of_slope = gradients
        return slope * (of_value + of_slope * (BETA * (1 - slope)))


@dataclass(frozen=True)
class Tape:
    """What the transposed Jacobian needs of a forward pass."""

    value: Float[Tensor, "*b out"]
    slopes: tuple[Float[Tensor, "*b width"], ...]


class Mlp(nn.Module):
    """depth hidden layers of equal width; the input enters again, beside the hidden values, at half depth.

    A condition (a latent code) enters where the input does. It acts as an offset of those two layers' biases,
    computed once for all points that share it. Under autocast only the products between hidden layers use the
    lower precision: coordinates and outputs keep theirs, because bfloat16 resolves a coordinate to a millimetre.
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, condition: int = 0) -> None:
        super().__init__()
        self.skip = depth // 2
        self.first = nn.Linear(inputs, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.again = nn.Linear(inputs, width, bias=False)
        self.last = nn.Linear(width, outputs)
        self.condition = nn.Linear(condition, 2 * width, bias=False) if condition else None

    def _offsets(self, condition: Float[Tensor, "s c"] | None) -> tuple[Tensor | float, Tensor | float]:
        if self.condition is None or condition is None:
            return 0.0, 0.0
        with torch.autocast(condition.device.type, enabled=False):
            first, again = self.condition(condition)[:, None].chunk(2, -1)
        return first, again

    def _preactivation(self, layer: int, inputs: Tensor, hidden: Tensor, again: Tensor | float) -> Tensor:
        linear = self.hidden[layer]
        total = linear(hidden)
        if layer + 1 == self.skip:
            with torch.autocast(inputs.device.type, enabled=False):
                total = total.float() + self.again(inputs) + again if total.dtype != inputs.dtype else (
                    total + self.again(inputs) + again
                )  # fmt: skip
        return total

    def forward(
        self, inputs: Float[Tensor, "s n i"], condition: Float[Tensor, "s c"] | None = None
    ) -> Float[Tensor, "s n o"]:
        """Return the outputs for s scenes of n points, each scene with its condition."""
        first, again = self._offsets(condition)
        with torch.autocast(inputs.device.type, enabled=False):
            hidden = self.first(inputs) + first
        hidden = nn.functional.softplus(hidden, BETA)
        for layer in range(len(self.hidden)):
            hidden = nn.functional.softplus(self._preactivation(layer, inputs, hidden, again), BETA)
        with torch.autocast(inputs.device.type, enabled=False):
            return self.last(hidden.to(inputs.dtype))

    def record(self, inputs: Float[Tensor, "s n i"], condition: Float[Tensor, "s c"] | None = None) -> Tape:
        """Return the outputs and the activations' slopes for `pullback`."""
        first, again = self._offsets(condition)
        with torch.autocast(inputs.device.type, enabled=False):
            hidden = self.first(inputs) + first
        hidden, slope = _SoftplusWithSlope.apply(hidden)
        slopes = [slope]
        for layer in range(len(self.hidden)):
            hidden, slope = _SoftplusWithSlope.apply(self._preactivation(layer, inputs, hidden, again))
            slopes.append(slope)
        with torch.autocast(inputs.device.type, enabled=False):
            return Tape(self.last(hidden.to(inputs.dtype)), tuple(slopes))

    def pullback(self, tape: Tape, cotangent: Float[Tensor, "s n o"]) -> Float[Tensor, "s n i"]:
        """Return J^T c with respect to the inputs: one backward sweep made of differentiable operations.

        Autograd differentiates it once more in the parameters without a second-order graph of its own.
        """
        with torch.autocast(cotangent.device.type, enabled=False):
            back = cotangent @ self.last.weight
        total: Tensor | float = 0.0
        for layer in reversed(range(len(self.hidden))):
            back = back * tape.slopes[layer + 1]
            if layer + 1 == self.skip:
                with torch.autocast(cotangent.device.type, enabled=False):
                    total = back.to(cotangent.dtype) @ self.again.weight
            weight: Tensor = self.hidden[layer].weight  # type: ignore[assignment]
            back = torch.matmul(back, weight)
        with torch.autocast(cotangent.device.type, enabled=False):
            return (back * tape.slopes[0]).to(cotangent.dtype) @ self.first.weight + total


def initialise_small(mlp: Mlp, deviation: float = 1e-3) -> None:
    """Draw the last layer's weights from a narrow zero-mean Gaussian, the others by Kaiming's rule; zero the biases.

    The paper draws all weights with variance 1e-4. At widths of a few hundred such hidden layers pass on almost
    nothing, so here only the output starts small, which has the effect that matters: no deformation at first.
    """
    for linear in (mlp.first, *mlp.hidden, mlp.again):
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")  # type: ignore[arg-type]
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
    nn.init.normal_(mlp.again.weight, std=0.1 * math.sqrt(2 / mlp.again.in_features))
    nn.init.normal_(mlp.last.weight, std=deviation)
    nn.init.zeros_(mlp.last.bias)
    if mlp.condition is not None:
        nn.init.normal_(mlp.condition.weight, std=1 / math.sqrt(mlp.condition.in_features))


def initialise_sphere(mlp: Mlp, radius: float) -> None:
    """Make output 0 close to |x| - radius, where x is the first three inputs (Atzmon and Lipman 2020; IDR).

    Encoded inputs beyond the first three start without effect.
    """
    width = mlp.first.out_features
    for linear in (mlp.first, *mlp.hidden):
        nn.init.normal_(linear.weight, std=math.sqrt(2 / width))
        nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
    nn.init.zeros_(mlp.again.weight)
    with torch.no_grad():
        mlp.first.weight[:, 3:] = 0
    nn.init.normal_(mlp.last.weight, mean=math.sqrt(math.pi / width), std=1e-4)
    nn.init.constant_(mlp.last.bias, -radius)
