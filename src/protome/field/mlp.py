"""Multilayer perceptrons with smooth rectifiers, one skip, a folded condition and a written-out input gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from protome.field.activation import Activation, activated, with_slope


@dataclass(frozen=True)
class Folded:
    """All weights of a network after the conditions of s scenes went into them, with s in front where one did."""

    first: Float[Tensor, "width i"]
    hidden: tuple[Float[Tensor, "width width"], ...]
    again: Float[Tensor, "width i"]
    last: Float[Tensor, "... out width"]
    offsets: tuple[Tensor, ...]
    """Of each hidden layer: (width,), or (s, 1, width) where a condition is in it."""
    last_offset: Tensor


Condition = Float[Tensor, "s c"] | Folded | None
"""Latents of s scenes, or weights with the latents folded in."""


@dataclass(frozen=True)
class Tape:
    """The values of a forward pass that the transposed Jacobian needs."""

    value: Float[Tensor, "*b out"]
    slopes: tuple[Float[Tensor, "*b width"], ...]
    weights: Folded


def _affine(inputs: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
    """Return W x + b, where W, b or both may differ from scene to scene."""
    if weight.ndim == 3:
        return torch.baddbmm(offset if offset.ndim == 3 else offset.expand(len(weight), 1, -1), inputs, weight.mT)
    if offset.ndim == 3:
        return nn.functional.linear(inputs, weight) + offset
    return nn.functional.linear(inputs, weight, offset)


class Mlp(nn.Module):
    """depth hidden layers of equal width; the input enters again, beside the hidden values, at half depth.

    A condition (a latent) enters where the input does, as an offset of those two layers, computed once for all points
    that share it. The first `steered` outputs may besides have a last layer that depends linearly on the condition:
    they can then be sum_k z_k phi_k(x), which is what a linear face model is.

    With `weight_norm` each row of a layer is W = g v / |v|: its length g, in `gains`, and its direction are learned
    apart, as in IDR (Salimans and Kingma 2016). Where the input enters again, one row is both its parts together. What
    a condition acts through is not normalised.

    Under autocast only the products between hidden layers use the lower precision: coordinates and outputs keep
    theirs, because bfloat16 resolves a coordinate to a millimetre.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        depth: int,
        condition: int = 0,
        *,
        steered: int = 0,
        activation: Activation = "squareplus",
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.skip = depth // 2
        self.steered = steered
        self.first = nn.Linear(inputs, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.again = nn.Linear(inputs, width, bias=False)
        self.last = nn.Linear(width, outputs)
        self.gains: nn.ParameterList | None = None
        """Lengths of the rows of the first, the hidden and the last layer's weights."""
        self.condition = nn.Linear(condition, 2 * width, bias=False) if condition else None
        self.steering = nn.Linear(condition, steered * (width + 1), bias=False) if condition and steered else None
        if weight_norm:
            self.gains = nn.ParameterList(nn.Parameter(length) for length in self._lengths())

    def _directions(self) -> list[Float[Tensor, "out in"]]:
        """Return v of all layers in their order, the skip's part joined to the layer where it enters."""
        linears: list[nn.Linear] = [self.first, *self.hidden, self.last]  # type: ignore[list-item]
        weights: list[Tensor] = [linear.weight for linear in linears]
        if self.skip:
            weights[self.skip] = torch.cat([weights[self.skip], self.again.weight], 1)
        return weights

    def _lengths(self) -> list[Float[Tensor, "out"]]:
        return [weight.detach().norm(dim=1) for weight in self._directions()]

    def match_gains(self) -> None:
        """Set the gains to the lengths of the directions, so that these are the weights; for use after drawing them."""
        if self.gains is not None:
            with torch.no_grad():
                for gain, length in zip(self.gains, self._lengths(), strict=True):
                    gain.copy_(length)

    def _weights(self) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
        """Return the weights of the first, the hidden, the skipping and the last layer, normalised if they are so."""
        hidden: list[Tensor] = [linear.weight for linear in self.hidden]  # type: ignore[misc]
        if self.gains is None:
            return self.first.weight, hidden, self.again.weight, self.last.weight
        with torch.autocast(self.first.weight.device.type, enabled=False):
            first, *hidden, last = (
                row * (gain / row.norm(dim=1))[:, None]
                for gain, row in zip(self.gains, self._directions(), strict=True)
            )
        again = self.again.weight
        if self.skip:
            layer = self.skip - 1
            hidden[layer], again = hidden[layer].split([len(first), again.shape[1]], 1)
        return first, hidden, again, last

    def fold(self, condition: Float[Tensor, "s c"] | None) -> Folded:
        """Return the weights with the conditions in them; repeated queries of the same heads need it only once."""
        layers: list[nn.Linear] = [self.first, *self.hidden]  # type: ignore[list-item]
        first, weights, again, last = self._weights()
        offsets: list[Tensor] = [linear.bias for linear in layers]
        last_offset: Tensor = self.last.bias
        if condition is None:
            return Folded(first, tuple(weights), again, last, tuple(offsets), last_offset)
        with torch.autocast(condition.device.type, enabled=False):
            if self.condition is not None:
                entries = self.condition(condition)[:, None].chunk(2, -1)
                for layer, entry in zip(dict.fromkeys((0, self.skip)), entries, strict=False):
                    offsets[layer] = offsets[layer] + entry
            if self.steering is not None:
                steer = self.steering(condition).unflatten(-1, (self.steered, -1))
                rest = last.new_zeros(len(steer), len(last) - self.steered, steer.shape[-1])
                steer = torch.cat([steer, rest], 1)
                last, last_offset = last + steer[..., :-1], (last_offset + steer[..., -1])[:, None]
        if len(condition) == 1:  # one scene's weights multiply like anybody's
            last = last[0] if last.ndim == 3 else last
            *offsets, last_offset = (one[0, 0] if one.ndim == 3 else one for one in (*offsets, last_offset))
        return Folded(first, tuple(weights), again, last, tuple(offsets), last_offset)

    def _preactivation(self, weights: Folded, layer: int, inputs: Tensor, hidden: Tensor) -> Tensor:
        total = _affine(hidden, weights.hidden[layer], weights.offsets[layer + 1])
        if layer + 1 == self.skip:
            with torch.autocast(inputs.device.type, enabled=False):
                total = total.to(inputs.dtype) + inputs @ weights.again.mT
        return total

    def forward(self, inputs: Float[Tensor, "s n i"], condition: Condition = None) -> Float[Tensor, "s n o"]:
        """Return the outputs for s scenes of n points, each scene with its condition."""
        weights = condition if isinstance(condition, Folded) else self.fold(condition)
        with torch.autocast(inputs.device.type, enabled=False):
            hidden = _affine(inputs, weights.first, weights.offsets[0])
        hidden = activated(hidden, self.activation)
        for layer in range(len(self.hidden)):
            hidden = activated(self._preactivation(weights, layer, inputs, hidden), self.activation)
        with torch.autocast(inputs.device.type, enabled=False):
            return _affine(hidden.to(inputs.dtype), weights.last, weights.last_offset)

    def forward_with_tape(self, inputs: Float[Tensor, "s n i"], condition: Condition = None) -> Tape:
        """Return the outputs and the activations' slopes for `vjp`."""
        weights = condition if isinstance(condition, Folded) else self.fold(condition)
        with torch.autocast(inputs.device.type, enabled=False):
            hidden = _affine(inputs, weights.first, weights.offsets[0])
        hidden, slope = with_slope(hidden, self.activation)
        slopes = [slope]
        for layer in range(len(self.hidden)):
            hidden, slope = with_slope(self._preactivation(weights, layer, inputs, hidden), self.activation)
            slopes.append(slope)
        with torch.autocast(inputs.device.type, enabled=False):
            value = _affine(hidden.to(inputs.dtype), weights.last, weights.last_offset)
        return Tape(value, tuple(slopes), weights)

    def vjp(self, tape: Tape, cotangent: Float[Tensor, "s n o"]) -> Float[Tensor, "s n i"]:
        """Return J^T c with respect to the inputs: one backward sweep made of differentiable operations.

        Autograd differentiates it once more in the parameters without a second-order graph of its own.
        """
        weights = tape.weights
        with torch.autocast(cotangent.device.type, enabled=False):
            back = cotangent @ weights.last
        total: Tensor | float = 0.0
        for layer in reversed(range(len(self.hidden))):
            back = back * tape.slopes[layer + 1]
            if layer + 1 == self.skip:
                with torch.autocast(cotangent.device.type, enabled=False):
                    total = back.to(cotangent.dtype) @ weights.again
            back = torch.matmul(back, weights.hidden[layer])
        with torch.autocast(cotangent.device.type, enabled=False):
            return (back * tape.slopes[0]).to(cotangent.dtype) @ weights.first + total


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
    mlp.match_gains()
    _initialise_condition(mlp, 1.0, deviation)


def _initialise_condition(mlp: Mlp, offset: float, steer: float) -> None:
    """Draw what a condition acts through; one of length 1 then offsets its two layers by about `offset`."""
    for linear, deviation in ((mlp.condition, offset), (mlp.steering, steer)):
        if linear is not None:
            nn.init.normal_(linear.weight, std=deviation / math.sqrt(linear.in_features))


def initialise_sphere(mlp: Mlp, radius: float) -> None:
    """Make output 0 close to |x| - radius, where x is the first three inputs (Atzmon and Lipman 2020; IDR).

    Encoded inputs beyond the first three, and a condition, start without effect or nearly so; further outputs are
    random functions.
    """
    width = mlp.first.out_features
    for linear in (mlp.first, *mlp.hidden):
        nn.init.normal_(linear.weight, std=math.sqrt(2 / width))
        nn.init.zeros_(linear.bias)  # type: ignore[arg-type]
    nn.init.zeros_(mlp.again.weight)
    nn.init.normal_(mlp.last.weight, std=math.sqrt(1 / width))
    with torch.no_grad():
        mlp.first.weight[:, 3:] = 0
        mlp.last.weight[0].normal_(math.sqrt(math.pi / width), 1e-4)
    nn.init.zeros_(mlp.last.bias)
    mlp.match_gains()
    _initialise_condition(mlp, 0.01, 0.0)
    with torch.no_grad():
        # Exactly -radius for ReLU; the measured value also compensates for the smooth rectifier.
        ball = nn.functional.normalize(torch.randn(1, 500, 3), dim=-1) * radius
        inputs = nn.functional.pad(ball, (0, mlp.first.in_features - 3))
        mlp.last.bias[0] = -mlp(inputs.to(mlp.first.weight))[..., 0].mean()
