"""The square of a photo that the network sees: around a face, upright, with room for hair and shoulders."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

FACE_SHARE = 0.6
"""Extent of the face's landmarks over the square's side; the network has learned from 0.4 to 1."""
EYES = (33, 263)
"""Outer corners of the right and the left eye among MediaPipe's landmarks."""


@dataclass(frozen=True)
class Square:
    """A square of `size` pixels cut out of a photo."""

    square_from_photo: Float[np.ndarray, "2 3"]
    """Affine map of pixel coordinates (pixel centres at +0.5)."""
    size: int

    @staticmethod
    def around(face: Float[np.ndarray, "l 2"], size: int, share: float = FACE_SHARE, upright: bool = True) -> Square:
        """Return the square around a face's landmarks (MediaPipe's first 468 or more), its eyes level if `upright`."""
        across = face[EYES[1]] - face[EYES[0]]
        angle = float(np.arctan2(across[1], across[0])) if upright else 0.0
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        turned = face[:468] @ turn.T
        low, high = turned.min(0), turned.max(0)
        zoom = share * size / max(float((high - low).max()), 1e-6)
        linear = zoom * turn
        return Square(np.column_stack([linear, size / 2 - zoom * 0.5 * (low + high)]), size)

    @property
    def zoom(self) -> float:
        """Pixels of the square per pixel of the photo."""
        return float(np.hypot(*self.square_from_photo[0, :2]))

    def from_photo(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Return where points of the photo lie in the square, both in pixels."""
        return points @ self.square_from_photo[:, :2].T + self.square_from_photo[:, 2]

    def to_photo(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Return where points of the square lie in the photo, both in pixels."""
        linear, move = self.square_from_photo[:, :2], self.square_from_photo[:, 2]
        return (points - move) @ np.linalg.inv(linear).T

    def cut(self, photo: Float[Tensor, "h w 3"]) -> Float[Tensor, "3 s s"]:
        """Return the square's colours; black beyond the photo."""
        pixels = np.ascontiguousarray(photo.detach().cpu().numpy(), np.float32)
        if self.zoom < 0.8:
            # Fine detail would turn into noise.
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.4 / self.zoom), np.float32)
        warped = cv2.warpAffine(pixels, self._between_centres(), (self.size, self.size), flags=cv2.INTER_LINEAR)
        return torch.from_numpy(np.clip(warped, 0, 1)).permute(2, 0, 1)

    def on_photo(
        self, values: Float[np.ndarray, "s s c"], height: int, width: int, beyond: float = 0.0
    ) -> Float[np.ndarray, "h w c"]:
        """Return values of the square's pixels on the photo's; `beyond` outside the square."""
        back = cv2.invertAffineTransform(self._between_centres())
        planes = [
            cv2.warpAffine(
                np.ascontiguousarray(values[..., channel], np.float32), back, (width, height), flags=cv2.INTER_LINEAR,
                borderValue=beyond,
            )
            for channel in range(values.shape[2])
        ]  # fmt: skip
        return np.stack(planes, -1)

    def _between_centres(self) -> Float[np.ndarray, "2 3"]:
        # OpenCV puts the origin in the middle of the first pixel.
        linear, move = self.square_from_photo[:, :2], self.square_from_photo[:, 2]
        return np.column_stack([linear, move + linear @ [0.5, 0.5] - 0.5])
