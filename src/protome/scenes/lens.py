"""Lenses: what a calibration says about a camera's inside, and pictures as a straight lens would have taken them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome.errors import InputError
from protome.geometry.camera import Camera

SAME_SHAPE = 0.01
"""Relative difference of two sizes' proportions below which one is the other resampled."""


@dataclass(frozen=True)
class Lens:
    """Intrinsics with lens distortion; pixel centres at +0.5."""

    K: Float[np.ndarray, "3 3"]
    distortion: Float[np.ndarray, "5"]
    """OpenCV's k1, k2, p1, p2, k3 (the Brown-Conrady model)."""
    width: int
    height: int

    @staticmethod
    def of(
        focal: tuple[float, float],
        middle: tuple[float, float],
        distortion: Float[np.ndarray, "5"],
        size: tuple[int, int],
    ) -> Lens:
        """Return a lens by focal lengths, principal point, distortion, and image width and height.

        Raises:
            ValueError: a number is not finite, or a focal length not positive.
        """
        if not (np.isfinite([*focal, *middle, *distortion]).all() and min(focal) > 0):
            raise ValueError("not the intrinsics of a camera")
        K = np.array([[focal[0], 0.0, middle[0]], [0.0, focal[1], middle[1]], [0.0, 0.0, 1.0]])
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

        Raises:
            InputError: the distortion folds the image over, which no lens does.
        """
        size = (self.width, self.height)
        K, _ = cv2.getOptimalNewCameraMatrix(self._cv(), self.distortion, size, 0.0)
        found = Lens(K + _HALF, np.zeros(5), *size)
        if np.isfinite(K).all() and min(K[0, 0], K[1, 1]) > 0:
            x, y = self._maps(found)
            turns = np.gradient(x, axis=1) * np.gradient(y, axis=0) - np.gradient(x, axis=0) * np.gradient(y, axis=1)
            if turns.min() > 0:
                return found
        raise InputError(
            f"the lens distortion given for {name} folds the image over: give undistorted images, with their cameras"
        )

    def undistorted(self, picture: Float[Tensor, "h w *c"], straight: Lens) -> Float[Tensor, "h w *c"]:
        """Return the picture as the straight lens sees it."""
        x, y = self._maps(straight)
        moved = cv2.remap(picture.numpy(), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return torch.from_numpy(moved)

    def _maps(self, straight: Lens) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
        """Return where the straight lens's pixels lie in the picture, in OpenCV's count."""
        size = (self.width, self.height)
        x, y = cv2.initUndistortRectifyMap(self._cv(), self.distortion, None, straight._cv(), size, cv2.CV_32FC1)
        return x, y

    def _cv(self) -> Float[np.ndarray, "3 3"]:
        """Return K as OpenCV counts pixels: centres at whole numbers."""
        return self.K - _HALF


_HALF = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
