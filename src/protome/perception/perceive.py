"""Seeing a face in a photo: dense landmarks with their uncertainties, and the parts of the person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from protome.perception.network import SIZE, PerceptionNet
from protome.perception.parts import BACKGROUND, OTHERS
from protome.perception.square import FACE_SHARE, Square

PASSES = 2
"""The second square is laid around the landmarks that were found in the first."""


@dataclass(frozen=True)
class Perception:
    """What is seen around one face of a photo."""

    landmarks: Float[np.ndarray, "l 2"]
    """Pixels of the photo (pixel centres at +0.5), hidden ones too: MediaPipe's 468, two irises, then others."""
    sigma: Float[np.ndarray, "l"]
    """Standard deviation of each along any axis, pixels of the photo."""
    visible: Float[np.ndarray, "l"]
    """Probability that it can be seen."""
    parts: Float[np.ndarray, "s s p"]
    """Probabilities in the square."""
    square: Square

    def parts_on(self, height: int, width: int) -> Float[np.ndarray, "h w p"]:
        """Return the probabilities on the photo's pixels; all zero beyond the square, where nothing is known."""
        return self.square.on_photo(self.parts, height, width)

    def person_on(self, height: int, width: int, beyond: float = 0.0) -> Float[np.ndarray, "h w"]:
        """Return the probability of the subject, with what is worn or held, on the photo's pixels; `beyond` outside the
        square."""
        subject = 1 - self.parts[..., BACKGROUND] - self.parts[..., OTHERS]
        return self.square.on_photo(subject[..., None], height, width, beyond)[..., 0]

    @property
    def labels(self) -> Int[np.ndarray, "s s"]:
        """The likeliest part of each of the square's pixels."""
        return self.parts.argmax(-1)

    @property
    def certain(self) -> Bool[np.ndarray, "l"]:
        """Landmarks that can be seen, more likely than not."""
        return self.visible > 0.5


@torch.no_grad()
def perceive(
    network: PerceptionNet, photo: Float[Tensor, "h w 3"], face: Float[Tensor, "l 2"], passes: int = PASSES,
    share: float = FACE_SHARE,
) -> Perception:  # fmt: skip
    """Return what a network sees around a face that is given by MediaPipe's landmarks or a first estimate of them.

    `photo` is sRGB in [0, 1]; `face` are pixels; `share` is the extent of the face over the square's side.
    """
    points = face.detach().cpu().double().numpy()
    for number in range(passes):
        square = Square.around(points, SIZE, share)
        said = network(square.cut(photo)[None].to(memory_format=torch.channels_last))
        places = (said.landmarks[0].double().numpy() + 1) * SIZE / 2
        found = square.to_photo(places)
        if number + 1 < passes:
            points = found
    return Perception(
        found, np.exp(said.log_sigma[0].double().numpy()) * SIZE / 2 / square.zoom,
        torch.sigmoid(said.visible[0]).double().numpy(), torch.softmax(said.parts[0], 0).permute(1, 2, 0).numpy(),
        square,
    )  # fmt: skip
