"""Given cameras of pictures that were resampled afterwards, without their intrinsics."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from protome.errors import ProtomeWarning
from protome.geometry.camera import Camera

FAR_OFF = 0.05
"""Share of the picture's size by which optical axes of lenses do not lie beside its middle, along its diagonal."""
ALIKE = 0.12
"""Range of the shares in width and height, relative to their mean, up to which they are of one resampling; crops move
each by another."""


def resampling_factor(cameras: Sequence[Camera]) -> float | None:
    """Return by which factor pictures were resampled after their intrinsics were found; None if nothing says so.

    Resampling moves the middle of a picture, and so the point where the optical axis passes, along the diagonal. The
    intrinsics of the larger picture put it at the same share, beside one half, of width and height.
    """
    shares = np.array([
        [float(camera.K[0, 2]) / camera.width, float(camera.K[1, 2]) / camera.height] for camera in cameras
    ])  # fmt: skip
    middle = float(shares.mean())
    together = middle > 0 and float(np.ptp(shares)) / middle < ALIKE
    return 0.5 / middle if together and abs(middle - 0.5) > FAR_OFF else None


def warn_of_resampling(cameras: Sequence[Camera]) -> None:
    """Warn where all optical axes lie far from the middle of their pictures, all in the way that resampling gives."""
    factor = resampling_factor(cameras)
    if factor is None:
        return
    warnings.warn(
        f"the optical axis of every camera lies at {100 * 0.5 / factor:.0f} % of the width and height of its picture, "
        f"not near the middle, as if the pictures were resampled to {factor:.2f} of their size without the intrinsics: "
        f"if so, size and place of the head are wrong, so multiply the first two rows of each K by {factor:.2f}",
        ProtomeWarning,
        stacklevel=3,
    )
