"""The light of each photo, its exposure and its white balance, optimised during a fit."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from protome.geometry.harmonics import HARMONICS, harmonics

DEVIATION = 0.1
"""Standard deviation of the logarithm of a photo's gains."""
SHADING_DEVIATION = 0.25
"""Standard deviation of each coefficient of the logarithm of a photo's shading: photos of several days differ by two
times in the light from one side."""


class PhotoLight(nn.Module):
    """What the light of a photo multiplies the head's colours by, relative to the mean of all photos.

    A gain for each photo and colour channel stands for exposure and white balance. `shaded` adds a factor that depends
    on the surface's direction: the exponential of low-order spherical harmonics of the normal, which describe nearly
    all that a matt surface returns of distant light (Ramamoorthi and Hanrahan 2001). Only differences between photos
    are observable, so one photo has none; what all photos share is the head's colour. Parameters are in standard
    deviations.
    """

    def __init__(self, views: int, shaded: bool = False) -> None:
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(views, 3))
        self.slopes = nn.Parameter(torch.zeros(views, HARMONICS, 3)) if shaded else None

    def gains(self) -> Float[Tensor, "v 3"]:
        """Return the gains; their geometric mean over the photos is 1."""
        return torch.exp(DEVIATION * (self.log_gain - self.log_gain.mean(0)))

    def shading(self) -> Float[Tensor, "v 8 3"] | None:
        """Return the coefficients of the logarithm of each photo's shading, whose mean over the photos is 0."""
        return None if self.slopes is None else SHADING_DEVIATION * (self.slopes - self.slopes.mean(0))

    def factors(self, normals: Float[Tensor, "n 3"], view: Int[Tensor, "n"]) -> Float[Tensor, "n 3"]:
        """Return what the colours of surface points are multiplied by in the photos that show them.

        Normals are of unit length, in the head frame.
        """
        gains, slopes = self.gains()[view], self.shading()
        if slopes is None:
            return gains
        return gains * torch.einsum("nk,nkc->nc", harmonics(normals), slopes[view]).exp()

    def penalty(self) -> Float[Tensor, ""]:
        """Return the mean squared logarithm of gains and shadings, in standard deviations."""
        values = self.log_gain if self.slopes is None else torch.cat([self.log_gain, self.slopes.flatten(1)], 1)
        return (values - values.mean(0)).square().mean()
