"""Small corrections of the head's pose, optimised during a fit."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from protome.geometry.camera import Rays
from protome.geometry.transforms import Similarity, rotation_from_vector


class Placement(nn.Module):
    """A rotation about a pivot and a shift: one for the whole scene, or one for each view.

    A posed scene has one correction, so its cameras stay as given. Photos without a common frame have one each. The
    scale stays as estimated from the landmarks: the latents also determine the size of a head, and optimised together
    with them the scale changes parts that photos show badly. With one photo, `held` is its viewing direction, along
    which the head does not move: its distance stays as estimated.
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
        """Return the frames' shifts without their component along `held`."""
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
