"""The people that a prior was trained on, as points among which new people are drawn.

One Gaussian over everybody's latents draws people who are between men and women, between long hair and short, and of
colours that nobody has. People are rather many small clusters. So a new person is a random mixture of a few training
people who are alike (a convex form of the smoothed bootstrap; Silverman and Young 1987).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

KEPT = 64
"""Principal axes of each latent in which people are stored: the others differ by less than a fiftieth of the first."""
NEIGHBOURS, MIXED = 8, 3
"""A person and their nearest ones; how many of these are mixed, the person among them."""


@dataclass(frozen=True)
class People:
    """Coefficients of training people along the principal axes, in standard deviations."""

    shape: Float[Tensor, "people k"]
    appearance: Float[Tensor, "people l"]

    def draw(
        self, lengths: tuple[Float[Tensor, "k"], Float[Tensor, "l"]], generator: torch.Generator
    ) -> tuple[Float[Tensor, "k"], Float[Tensor, "l"]]:
        """Return the coefficients of a new person; `lengths` are the axes' standard deviations in their latents.

        People are alike whose latents are near each other, those of shape and appearance each in the unit of its first
        axis.
        """
        device = self.shape.device
        place = torch.cat(
            [own * length / length[0] for own, length in zip((self.shape, self.appearance), lengths, strict=True)], 1
        )
        first = int(torch.randint(len(place), (1,), generator=generator))
        count = min(NEIGHBOURS, len(place))
        near = (place - place[first]).norm(dim=1).topk(count, largest=False).indices
        others = near[1:][torch.randperm(count - 1, generator=generator).to(device)][: MIXED - 1]
        chosen = torch.cat([near[:1], others])
        # Exponential shares of the sum are uniform over all mixtures.
        share = -torch.rand(len(chosen), generator=generator).clamp_min(1e-9).log().to(place)
        share = share / share.sum()
        return share @ self.shape[chosen], share @ self.appearance[chosen]

    def to(self, device: torch.device | str) -> People:
        """Move to a device."""
        return People(self.shape.to(device), self.appearance.to(device))
