"""Lenses: a calibrated camera's intrinsics with distortion, and images as a lens without distortion takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.scenes.distortion import Distortion

SAME_SHAPE = 0.01
"""Relative difference of two sizes' proportions below which one is the other resampled."""
WIDEST, NARROWEST = 0.5, 2.0
"""Least and largest focal length of the straight lens in focal lengths of the distorted one: where even twice the focal
length leaves gaps, no lens has this distortion, and below half, a fisheye's border only becomes large and blurred."""
HALVINGS = 24
EDGE_POINTS = 65


@dataclass(frozen=True)
class Lens:
    """Intrinsics with lens distortion; pixel centres at +0.5."""

    K: Float[np.ndarray, "3 3"]
    distortion: Distortion
    width: int
    height: int

    @staticmethod
    def of(
        focal: tuple[float, float],
        middle: tuple[float, float],
        distortion: Distortion,
        size: tuple[int, int],
        skew: float = 0.0,
    ) -> Lens:
        """Return a lens by focal lengths, principal point, distortion, and image width and height.

        Raises:
            ValueError: a number is not finite, or a focal length or a side not positive.
        """
        if not (np.isfinite([*focal, *middle, skew]).all() and distortion.is_finite and min(*focal, *size) > 0):
            raise ValueError("not the intrinsics of a camera")
        K = np.array([[focal[0], skew, middle[0]], [0.0, focal[1], middle[1]], [0.0, 0.0, 1.0]])
        return Lens(K, distortion, *size)

    def resized(self, width: int, height: int, name: str) -> Lens:
        """Return the lens of the image `name`, which has this size because it was resampled.

        Raises:
            InputError: the size has other proportions.
        """
        x, y = width / self.width, height / self.height
        if abs(x / y - 1) > SAME_SHAPE:
            raise InputError(
                f"{name} has {width} x {height} pixels but its camera {self.width} x {self.height}: give the image "
                "that the camera was calibrated with"
            )
        return replace(self, K=np.array([[x], [y], [1.0]]) * self.K, width=width, height=height)

    def camera(self, T_world_camera: Float[np.ndarray, "4 4"]) -> Camera:
        """Return the camera with this pose; distortion is left out."""
        pose = torch.from_numpy(T_world_camera).float()
        return Camera(torch.from_numpy(self.K).float(), pose, self.width, self.height)

    def straight(self, name: str) -> Lens:
        """Return the lens without distortion that sees as much of the image `name` as it can fill without gaps.

        It has the same principal point; its focal lengths are those of the distorted lens times one factor.

        Raises:
            InputError: the distortion folds the image over, which no lens does.
        """
        low, high = WIDEST, NARROWEST
        if self._fills(low):
            high = low
        elif self._fills(high):
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                low, high = (low, middle) if self._fills(middle) else (middle, high)
        found = self._zoomed(high)
        # Folds may lie inside, where the border does not show them.
        x, y = (self.seen_by(found, found.pixels())).reshape(self.height, self.width, 2).transpose(2, 0, 1)
        turns = np.gradient(x, axis=1) * np.gradient(y, axis=0) - np.gradient(x, axis=0) * np.gradient(y, axis=1)
        if self._fills(high) and turns.min() > 0:
            return found
        raise InputError(
            f"the lens distortion given for {name} folds the image over: give undistorted images, with their cameras"
        )

    def undistorted(self, picture: Float[Tensor, "h w *c"], straight: Lens) -> Float[Tensor, "h w *c"]:
        """Return the picture as the straight lens sees it."""
        place = (self.seen_by(straight, straight.pixels()) - 0.5).astype(np.float32)
        x, y = place.reshape(straight.height, straight.width, 2).transpose(2, 0, 1)
        # OpenCV counts the centre of the first pixel as 0.
        moved = cv2.remap(
            picture.numpy(), np.ascontiguousarray(x), np.ascontiguousarray(y), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return torch.from_numpy(moved)

    def pixels(self) -> Float[np.ndarray, "n 2"]:
        """Return all pixel centres (x, y), row by row."""
        y, x = np.mgrid[: self.height, : self.width].reshape(2, -1)
        return np.stack([x, y], 1) + 0.5

    def seen_by(self, straight: Lens, pixels: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Return where in this lens's image lies what a straight lens shows at some of its pixel positions."""
        rays = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ np.linalg.inv(straight.K).T
        seen = self.distortion.apply(rays[:, :2])
        return seen @ self.K[:2, :2].T + self.K[:2, 2]

    def _zoomed(self, factor: float) -> Lens:
        K = self.K.copy()
        K[:2, :2] *= factor
        return Lens(K, Distortion(), self.width, self.height)

    def _fills(self, factor: float) -> bool:
        """Return whether the straight lens with `factor` times the focal length sees nothing beyond this image."""
        along = np.linspace(0.0, 1.0, EDGE_POINTS)
        edge = np.concatenate([np.stack(pair, 1) for end in (0.0, 1.0) for pair in _edge_pairs(along, end)])
        size = np.array([self.width, self.height])
        # From the outermost pixel centres: what lies beyond them is no pixel's.
        seen = self.seen_by(self._zoomed(factor), 0.5 + edge * (size - 1))
        return bool(((seen > 0.5 - 1e-6) & (seen < size - 0.5 + 1e-6)).all())


def _edge_pairs(
    along: Float[np.ndarray, "n"], end: float
) -> tuple[tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]], ...]:
    """Return two opposite edges of the unit square, those through x = end and through y = end."""
    fixed = np.full_like(along, end)
    return (along, fixed), (fixed, along)
