"""Small corrections of where the head is, learned during a fit."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from protome.geometry.camera import Rays
from protome.geometry.transforms import Similarity, rotation_from_vector


class Placement(nn.Module):
    """A rotation about a pivot and a shift: one for the whole scene, or one for each view.

    A posed scene moves as a whole, so its cameras stay as given. Photos without a common frame are each placed on
    their own. The scale stays what the landmarks told: latents say how large a head is, too, and learned beside them it
    moves what photos show badly. Where there is but one photo, `held` is the direction in which it looks: the head then
    stays as far away as it was found.
    """

    pivot: Tensor
    held: Tensor

    def __init__(self, frames: int, pivot: Float[Tensor, "3"], held: Float[Tensor, "3"] | None = None) -> None:
        super().__init__()
        self.rotation = nn.Parameter(torch.zeros(frames, 3))
        self.shift = nn.Parameter(torch.zeros(frames, 3))
        self.register_buffer("pivot", pivot.clone())
        self.register_buffer("held", torch.zeros(3) if held is None else held.clone())

    @property
    def shifts(self) -> Float[Tensor, "f 3"]:
        """Return the frames' shifts, without what is held."""
        return self.shift - (self.shift @ self.held)[:, None] * self.held

    def frame(self, number: int) -> Similarity:
        """Return the correction of one frame, to be applied after `head_from_world`."""
        rotation = rotation_from_vector(self.rotation[number])
        return Similarity(
            rotation, self.pivot - rotation @ self.pivot + self.shifts[number], torch.ones_like(self.pivot[0])
        )

    def move(self, rays: Rays, view: Int[Tensor, "n"]) -> Rays:
        """Return rays of the given views in the corrected head frame."""
        frame = view if len(self.rotation) > 1 else torch.zeros_like(view)
        rotations = rotation_from_vector(self.rotation)[frame]
        origins = torch.einsum("nij,nj->ni", rotations, rays.origins - self.pivot) + self.pivot + self.shifts[frame]
        return Rays(origins, torch.einsum("nij,nj->ni", rotations, rays.directions))
