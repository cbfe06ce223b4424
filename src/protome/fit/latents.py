"""The latents that a fit optimises: along the training latents' principal axes, or unconstrained."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from protome.prior.prior import LatentStatistics


class LatentBasis(nn.Module):
    """A latent as coefficients of the training latents' principal axes, in standard deviations."""

    mean: Tensor
    axes: Tensor

    def __init__(self, statistics: LatentStatistics) -> None:
        super().__init__()
        self.register_buffer("mean", statistics.mean)
        self.register_buffer("axes", statistics.axes)
        self.coefficients = nn.Parameter(torch.zeros(len(statistics.axes)))

    @property
    def count(self) -> int:
        """How many numbers are free."""
        return len(self.coefficients)

    def latent(self) -> Float[Tensor, "c"]:
        """Return the latent."""
        return LatentStatistics(self.mean, self.axes).latent(self.coefficients)

    def penalty(self) -> Float[Tensor, ""]:
        """Return the mean square in standard deviations."""
        return self.coefficients.square().mean()


class FreeLatent(nn.Module):
    """An unconstrained latent initialised near zero, to which training regularises the latents (SIRA++, 3.3)."""

    def __init__(self, length: int, deviation: float, generator: torch.Generator) -> None:
        super().__init__()
        self.value = nn.Parameter(deviation * torch.randn(length, generator=generator))

    @property
    def count(self) -> int:
        """How many numbers are free."""
        return len(self.value)

    def latent(self) -> Float[Tensor, "c"]:
        """Return the latent."""
        return self.value

    def penalty(self) -> Float[Tensor, ""]:
        """Return the mean square."""
        return self.value.square().mean()
