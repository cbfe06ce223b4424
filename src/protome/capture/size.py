"""How large a head is: what irises and recorded distances say, beside the prior's size, with a standard deviation.

Photos without known cameras show a head in the size that the prior expects. Each source of a length says by which
factor the distances from the cameras to the head, and so the head itself, have to grow. The logarithms of these factors
are taken for independent and normally distributed, and are joined by their variances.

What limits it are the people: irises are measured better than people's irises are alike, and heads differ from the size
that the prior expects. Shapes hardly determine sizes: a head model that knows how they go together, fitted to the
landmarks of several photos, was not nearer to the true sizes. Irises in faces turned further than
`protome.capture.iris` allows are not reliable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from protome.capture.iris import IRIS_MM, Iris, implied_diameters
from protome.geometry.camera import Camera
from protome.scene import View

IRIS_STD = 0.5 / 11.7
"""Standard deviation of the logarithm of the diameter of people's irises."""
PRIOR_MEAN = 0.02
"""Logarithm of an adult's size over that of the prior's people, of whom a ninth are children: who is estimated to be
nearer to all of them than they are is estimated too small."""
PRIOR_STD = 0.045
"""Standard deviation of the logarithm of a head's size about the prior's estimate."""
RECORDED_STD = 0.08
"""Standard deviation of the logarithm of subject distances that cameras record: they focus, they do not measure."""
RECORDED_MM = (150.0, 5000.0)
"""Recorded subject distances that a portrait can have."""
LEAST_IRIS_STD = 0.012
"""Errors that all irises of a capture share, such as blur: many irises do not average them away."""
HUBER = 1.5


@dataclass(frozen=True)
class Size:
    """A head's size in millimetres: by which factor it differs from that of the scene, and how sure that is."""

    factor: float
    """True size over the scene's."""
    std_percent: float | None
    """Standard deviation in per cent; None where it is not known."""
    sources: tuple[str, ...]
    """Where it comes from, in words."""

    def facts(self) -> dict[str, object]:
        """Return the entry of `result.json`."""
        std = None if self.std_percent is None else round(self.std_percent, 2)
        return {"from": " and ".join(self.sources), "std_percent": std}


@dataclass(frozen=True)
class Evidence:
    """What one source says of the logarithm of the factor."""

    source: str
    mean: float
    std: float


def estimate_size(views: Sequence[View], cameras: Sequence[Camera]) -> Size:
    """Return the size of the head in photos whose cameras are in its frame, in the prior's millimetres."""
    recorded = recorded_evidence(cameras, [view.recorded_mm for view in views])
    irises = iris_evidence(implied_diameters(views, cameras))
    prior = Evidence("the prior", PRIOR_MEAN, PRIOR_STD)
    return joined([own for own in (recorded, irises, prior) if own is not None])


def joined(evidence: Sequence[Evidence]) -> Size:
    """Return the size that independent sources give together, by inverse variances."""
    weights = np.array([1 / own.std**2 for own in evidence])
    mean = float((weights * [own.mean for own in evidence]).sum() / weights.sum())
    return Size(math.exp(mean), 100 / math.sqrt(weights.sum()), tuple(own.source for own in evidence))


def iris_evidence(irises: Sequence[Iris]) -> Evidence | None:
    """Return what irises say: their common diameter, by a robust mean, against that of people; None without any."""
    if not irises:
        return None
    logs = np.array([math.log(IRIS_MM / iris.diameter_mm) for iris in irises])
    mean, std = robust_mean(logs, np.array([iris.spread for iris in irises]))
    return Evidence("irises", mean, math.sqrt(IRIS_STD**2 + LEAST_IRIS_STD**2 + std**2))


def recorded_evidence(cameras: Sequence[Camera], recorded_mm: Sequence[float | None]) -> Evidence | None:
    """Return what recorded subject distances say; None without any.

    Cameras focus on the eyes, the origin of the head frame.
    """
    logs = [
        math.log(recorded / float(camera.centre.norm()))
        for camera, recorded in zip(cameras, recorded_mm, strict=True)
        if recorded is not None and RECORDED_MM[0] <= recorded <= RECORDED_MM[1]
    ]
    if not logs:
        return None
    return Evidence("recorded distances", float(np.median(logs)), RECORDED_STD)


def robust_mean(values: Float[np.ndarray, "n"], spreads: Float[np.ndarray, "n"]) -> tuple[float, float]:
    """Return the mean of values with known deviations after Huber, and its standard deviation.

    The latter grows where the values scatter more than their deviations say.
    """
    mean = float(np.median(values))
    weights = 1 / spreads**2
    for _ in range(50):
        away = np.abs(values - mean) / spreads
        weights = np.minimum(1.0, HUBER / np.maximum(away, 1e-9)) / spreads**2
        before, mean = mean, float((weights * values).sum() / weights.sum())
        if abs(mean - before) < 1e-9:
            break
    scatter = float((weights * (values - mean) ** 2).sum()) / max(len(values) - 1, 1)
    return mean, math.sqrt(max(scatter, 1.0) / float(weights.sum()))
