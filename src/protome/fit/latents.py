"""The latents that a fit moves."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from protome.prior import HeadCode, Prior


class Latents(nn.Module):
    """A head of the prior, as numbers that are independent and of deviation 1 over all heads."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior
        self.shape = nn.Parameter(prior.shape.mean.new_zeros(len(prior.shape.axes)))
        self.appearance = nn.Parameter(prior.appearance.mean.new_zeros(len(prior.appearance.axes)))

    def code(self) -> HeadCode:
        """Return the latents themselves."""
        return self.prior.code(self.shape, self.appearance)

    def unlikely(self) -> Float[Tensor, ""]:
        """Return the mean squares of both: twice the negative log likelihood of either, per number."""
        return self.shape.square().mean() + self.appearance.square().mean()
