"""Networks evaluated without folding, for comparison with the folded ones."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from protome.field.mlp import Mlp

# torch's SoftPlus turns linear where 100 x > 20, off by exp(-20); everything else agrees to rounding.
CLOSE: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-7}


def hidden_layer(mlp: Mlp, layer: int) -> nn.Linear:
    linear = mlp.hidden[layer]
    assert isinstance(linear, nn.Linear)
    return linear


def rows(mlp: Mlp) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """The weights of the first, the hidden, the skipping and the last layer, normalised by torch where they are so."""
    first, again, last = mlp.first.weight, mlp.again.weight, mlp.last.weight
    hidden: list[Tensor] = [hidden_layer(mlp, layer).weight for layer in range(len(mlp.hidden))]
    if mlp.gains is None:
        return first, hidden, again, last
    width, layer = len(first), (len(hidden) + 1) // 2 - 1
    hidden[layer] = torch.cat([hidden[layer], again], 1)
    gains = [gain[:, None] for gain in mlp.gains]
    first, *hidden, last = (
        torch._weight_norm(weight, gain) for weight, gain in zip([first, *hidden, last], gains, strict=True)
    )
    again = hidden[layer][:, width:]
    hidden[layer] = hidden[layer][:, :width]
    return first, hidden, again, last


def plain(mlp: Mlp, inputs: Tensor, condition: Tensor | None) -> Tensor:
    """The same network without folding: a plain condition is concatenated with the inputs."""
    first, hidden_weights, again, last = rows(mlp)
    entering, weights = inputs, [first, again]
    if mlp.condition is not None and condition is not None:
        entering = torch.cat([inputs, condition[:, None].expand(-1, inputs.shape[1], -1)], -1)
        weights = [torch.cat(pair, 1) for pair in zip(weights, mlp.condition.weight.chunk(2), strict=True)]
    depth = len(mlp.hidden) + 1

    def activated(linear: Tensor) -> Tensor:
        if mlp.activation == "softplus":
            return torch.logaddexp(100 * linear, torch.zeros_like(linear)) / 100
        return (linear + torch.hypot(linear, torch.tensor(0.02 * math.log(2)).to(linear))) / 2

    hidden = activated(entering @ weights[0].T + mlp.first.bias)
    for layer, linear in enumerate(mlp.hidden, 1):
        assert isinstance(linear, nn.Linear)
        if layer == depth // 2:
            joined = torch.cat([hidden, entering], -1)
            weight = torch.cat([hidden_weights[layer - 1], weights[1]], 1)
            hidden = activated(nn.functional.linear(joined, weight, linear.bias))
        else:
            hidden = activated(nn.functional.linear(hidden, hidden_weights[layer - 1], linear.bias))
    outputs = nn.functional.linear(hidden, last, mlp.last.bias)
    if mlp.steering is not None and condition is not None:
        # W_out(z) = W_0 + sum_k z_k A_k, and the same for its bias, in the first rows.
        parts = mlp.steering.weight.T.unflatten(1, (mlp.steered, -1))
        more = torch.einsum("sk,kow,snw->sno", condition, parts[..., :-1], hidden)
        more = more + torch.einsum("sk,ko->so", condition, parts[..., -1])[:, None]
        outputs = torch.cat([outputs[..., : mlp.steered] + more, outputs[..., mlp.steered :]], -1)
    return outputs
