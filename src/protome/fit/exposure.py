"""Exposure and white balance of each photo, optimised during a fit."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

DEVIATION = 0.1
"""Standard deviation of the logarithm of a photo's gains."""


class Exposure(nn.Module):
    """A gain for each photo and colour channel, whose geometric mean over the photos is 1.

    Photos taken with automatic exposure and white balance show the same skin in different colours. Only ratios
    between photos are observable, so one photo has none. Parameters are in standard deviations.
    """

    def __init__(self, views: int) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(views, 3))

    def gains(self) -> Float[Tensor, "v 3"]:
        """Return the gains."""
        return torch.exp(DEVIATION * (self.log_gain - self.log_gain.mean(0)))

    def expose(self, colours: Float[Tensor, "n 3"], view: Int[Tensor, "n"]) -> Float[Tensor, "n 3"]:
        """Return the head's colours multiplied by the gains of the photos that show them."""
        return colours * self.gains()[view]

    def penalty(self) -> Float[Tensor, ""]:
        """Return the mean squared logarithm of the gains, in standard deviations."""
        return (self.log_gain - self.log_gain.mean(0)).square().mean()
