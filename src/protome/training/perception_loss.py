"""Losses of the perception network: named functions of what it says and what is true."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

UNKNOWN = 255
"""Label of pixels of which nothing is known."""
PART_WEIGHTS = (0.5, 1.0, 1.0, 1.0, 1.5, 3.0, 3.0, 3.0, 1.0, 2.0)
"""In the order of the parts: what covers few pixels counts more."""


def landmark_nll(
    places: Float[Tensor, "b l 2"], log_sigma: Float[Tensor, "b l"], truth: Float[Tensor, "b l 2"]
) -> Float[Tensor, "b l"]:
    """Return the negative logarithm of the density of the true place under a round Gaussian, less log(2 pi)."""
    squared = (places - truth).square().sum(-1)
    return 2 * log_sigma + 0.5 * squared * torch.exp(-2 * log_sigma)


def visibility_loss(logits: Float[Tensor, "b l"], truth: Bool[Tensor, "b l"]) -> Float[Tensor, ""]:
    """Return the mean binary cross entropy."""
    return functional.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype))


def parts_loss(logits: Float[Tensor, "b p h w"], truth: Int[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Return the weighted mean cross entropy over the pixels whose label is known."""
    weights = torch.tensor(PART_WEIGHTS, device=logits.device, dtype=logits.dtype)
    return functional.cross_entropy(logits, truth, weights, ignore_index=UNKNOWN)
