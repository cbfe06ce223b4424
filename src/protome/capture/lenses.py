"""What is known of lenses before photos are compared: which photos share one, and their likely focal lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from protome.scene import DenseLandmarks

USUAL_FOCAL, FOCAL_SPREAD = 1.2, 0.4
"""Median of focal lengths in units of the longer image side, and deviation of their logarithm, where the file records
none: between a phone's main lens (0.72) and a portrait lens (2.0) or a picture cut out of a larger one. One photo's
landmarks add nothing: on rendered photos they were no nearer to the truth than this prior alone, MediaPipe's as little
as those of the network of perception."""
RECORDED_SPREAD = 0.03
"""Deviation of the logarithm of a recorded focal length: files give whole millimetres, and lenses breathe."""
LIKE_SPREAD = 0.01
"""Deviation of the logarithm of a photo's focal length from that of its lens, which changes with the focus."""


@dataclass(frozen=True)
class Shot:
    """What is known of one photo before it is compared with others."""

    landmarks: Float[Tensor, "478 2"]
    """MediaPipe's, in pixels."""
    width: int
    height: int
    lens: str
    """Photos with equal names share a focal length in pixels, up to `LIKE_SPREAD`."""
    focal_px: float | None = None
    """Recorded focal length."""
    seen: DenseLandmarks | None = None
    """What the perception network sees of the landmarks all over the head; None where it does not look."""


@dataclass(frozen=True)
class LensPrior:
    """What is believed of the lenses: logarithms of focal lengths in pixels have these means and deviations."""

    log_focal: Float[Tensor, "l"]
    spread: Float[Tensor, "l"]
    of: Int[Tensor, "p"]
    """The lens of each photo."""

    @staticmethod
    def of_shots(shots: Sequence[Shot]) -> LensPrior:
        """Return the prior of the photos' lenses, in the order in which they come up."""
        names = list(dict.fromkeys(shot.lens for shot in shots))
        means, spreads = [], []
        for name in names:
            shot = next(shot for shot in shots if shot.lens == name)
            usual = USUAL_FOCAL * max(shot.width, shot.height)
            means.append(float(np.log(shot.focal_px or usual)))
            spreads.append(RECORDED_SPREAD if shot.focal_px else FOCAL_SPREAD)
        of = torch.tensor([names.index(shot.lens) for shot in shots])
        return LensPrior(torch.tensor(means).double(), torch.tensor(spreads).double(), of)
