"""The latents of the training heads: their initial values, and their updates by the steps that draw them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

_DECAYS = (0.9, 0.99)
"""Of Adam's moments. A head is drawn a few hundred times in a run, so its second moment decays ten times faster than
usual."""


def principal_start(latent_init: Float[Tensor, "heads k"], length: int, seed: int) -> Float[Tensor, "heads length"]:
    """Return the principal components of the heads' descriptors as initial latents.

    The first component gets deviation 1 and the others the square root of their share of it: they keep their order,
    but fine traits are not so small that the networks have to amplify them. All other dimensions, which are all of
    them where the descriptors do not vary, start as noise of deviation 0.01, so that each of them has a gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    latents = 0.01 * torch.randn(len(latent_init), length, generator=generator)
    centred = (latent_init - latent_init.mean(0)).double()
    directions, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
    known = int((sizes > 1e-6 * sizes[:1].clamp_min(1e-12)).sum())
    known = min(known, length, len(latent_init) - 1) if float(sizes[:1].sum()) > 0 else 0
    if known:
        # Columns of `directions` have length 1: times sqrt(heads - 1) they have deviation 1.
        scores = directions[:, :known] * (len(latent_init) - 1) ** 0.5 * (sizes[:known] / sizes[0]).sqrt()
        latents[:, :known] += scores.to(latents)
    return latents


class LatentTable:
    """One latent per head, optimised by Adam; a step updates only the heads that it draws.

    Plain Adam would go on moving the others by their stale momentum, ten times as far as the step itself.
    """

    def __init__(self, latents: Float[Tensor, "heads c"]) -> None:
        self.latents = latents.clone()
        self.first = torch.zeros_like(latents)
        self.second = torch.zeros_like(latents)
        self.visits = latents.new_zeros(len(latents))

    def rows(self, heads: Int[Tensor, "s"]) -> Float[Tensor, "s c"]:
        """Return the latents of some heads as a leaf that collects a gradient."""
        return self.latents[heads].requires_grad_(True)

    def step(self, heads: Int[Tensor, "s"], gradient: Float[Tensor, "s c"], rate: float) -> None:
        """Update the latents of these (different) heads; the bias correction counts each head's own steps."""
        self.visits[heads] += 1
        age = self.visits[heads][:, None]
        first = torch.lerp(gradient, self.first[heads], _DECAYS[0])
        second = torch.lerp(gradient.square(), self.second[heads], _DECAYS[1])
        self.first[heads], self.second[heads] = first, second
        size = (second / (1 - _DECAYS[1] ** age)).sqrt() + 1e-10
        self.latents[heads] -= rate * first / (1 - _DECAYS[0] ** age) / size

    def state(self) -> dict[str, Tensor]:
        """Return the tensors for a checkpoint."""
        return {"latents": self.latents, "first": self.first, "second": self.second, "visits": self.visits}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint."""
        for name, value in state.items():
            getattr(self, name).copy_(value)
