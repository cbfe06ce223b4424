"""Small corrections of where the head is, learned during a fit."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from protome.geometry.camera import Rays
from protome.geometry.transforms import Similarity, rotation_from_vector


class Placement(nn.Module):
    """A rotation, a shift and a scale about a pivot: one for the whole scene, or one for each view.

    A posed scene moves as a whole, so its cameras stay as given. Photos without a common frame are each placed on
    their own; their scale stays fixed, because one photo cannot tell size from distance. Where there is but one photo,
    `held` is the direction in which it looks: the head then stays as far away as it was found, and its size is the
    latents' alone.
    """

    pivot: Tensor
    held: Tensor

    def __init__(
        self, frames: int, pivot: Float[Tensor, "3"], with_scale: bool, held: Float[Tensor, "3"] | None = None
    ) -> None:
        super().__init__()
        self.rotation = nn.Parameter(torch.zeros(frames, 3))
        self.shift = nn.Parameter(torch.zeros(frames, 3))
        self.log_scale = nn.Parameter(torch.zeros(frames), requires_grad=with_scale)
        self.register_buffer("pivot", pivot.clone())
        self.register_buffer("held", torch.zeros(3) if held is None else held.clone())

    @property
    def shifts(self) -> Float[Tensor, "f 3"]:
        """Return the frames' shifts, without what is held."""
        return self.shift - (self.shift @ self.held)[:, None] * self.held

    def frame(self, number: int) -> Similarity:
        """Return the correction of one frame, to be applied after `head_from_world`."""
        rotation = rotation_from_vector(self.rotation[number])
        scale = self.log_scale[number].exp()
        return Similarity(rotation, self.pivot - scale * (rotation @ self.pivot) + self.shifts[number], scale)

    def move(self, rays: Rays, view: Int[Tensor, "n"]) -> Rays:
        """Return rays of the given views in the corrected head frame."""
        frame = view if len(self.rotation) > 1 else torch.zeros_like(view)
        rotations = rotation_from_vector(self.rotation)[frame]
        scaled = self.log_scale.exp()[frame, None] * (rays.origins - self.pivot)
        origins = torch.einsum("nij,nj->ni", rotations, scaled) + self.pivot + self.shifts[frame]
        return Rays(origins, torch.einsum("nij,nj->ni", rotations, rays.directions))
