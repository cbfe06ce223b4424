"""Lens distortion: where the light of a direction meets the image plane, in the models of calibration programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Base = Literal["plane", "angle", "fov", "division", "eucm"]


@dataclass(frozen=True)
class Distortion:
    """The general model, of which each program's models are special cases.

    A direction (x, y, 1) is first mapped by the base projection to (u, v). With r² = u² + v², it then lies at

        u q + 2 p1 u v + p2 (r² + 2 u²) + s1 r²,    v q + p1 (r² + 2 v²) + 2 p2 u v + s2 r²,
        q = (1 + k1 r² + k2 r⁴ + ...) / (1 + d1 r² + d2 r⁴ + ...)

    in units of the focal length. Sources: OpenCV's documentation of `calib3d` and of `fisheye`, COLMAP's camera models
    (`models.h`), appendix "Camera models" of Metashape's manual, and "RealityCapture XMP Camera Math".
    """

    radial: tuple[float, ...] = ()
    """k1, k2, ..."""
    tangential: tuple[float, float] = (0.0, 0.0)
    """p1, p2 in OpenCV's order."""
    divisor: tuple[float, ...] = ()
    """d1, d2, ...; OpenCV's k4, k5, k6."""
    prism: tuple[float, float] = (0.0, 0.0)
    """s1, s2."""
    base: Base = "plane"
    """plane: (u, v) = (x, y); angle: the distance from the middle is the angle (equidistant fisheye); fov, division and
    eucm: the models of these names, whose own numbers are `base_values`."""
    base_values: tuple[float, ...] = ()
    """fov: omega; division: k; eucm: alpha and beta."""

    @property
    def is_none(self) -> bool:
        """Whether directions are mapped as by a pinhole camera."""
        numbers = (*self.radial, *self.tangential, *self.divisor, *self.prism)
        return not any(numbers) and (self.base == "plane" or (self.base == "division" and not any(self.base_values)))

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are finite."""
        numbers = (*self.radial, *self.tangential, *self.divisor, *self.prism, *self.base_values)
        return bool(np.isfinite(numbers).all())

    def apply(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Return where directions, given in the plane z = 1, are seen; NaN where the model has no answer."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            seen = points * self._base_factor(np.hypot(*points.T))[:, None]
            u, v = seen.T
            squared = u * u + v * v
            ratio = _polynomial(self.radial, squared) / _polynomial(self.divisor, squared)
            (p1, p2), (s1, s2) = self.tangential, self.prism
            x = u * ratio + 2 * p1 * u * v + p2 * (squared + 2 * u * u) + s1 * squared
            y = v * ratio + p1 * (squared + 2 * v * v) + 2 * p2 * u * v + s2 * squared
        return np.stack([x, y], 1)

    def _base_factor(self, radius: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Return by what the base projection multiplies points at these distances from the middle."""
        safe = np.maximum(radius, 1e-12)
        if self.base == "angle":
            return np.arctan(safe) / safe
        if self.base == "fov":
            (omega,) = self.base_values
            return np.arctan(2 * safe * np.tan(omega / 2)) / (omega * safe)
        if self.base == "division":
            # The model is x = u / (1 + k r²); this is the solution for u that is continuous in k.
            (k,) = self.base_values
            return 2 / (1 + np.sqrt(1 - 4 * k * radius * radius))
        if self.base == "eucm":
            alpha, beta = self.base_values
            return 1 / (alpha * np.sqrt(beta * radius * radius + 1) + 1 - alpha)
        return np.ones_like(radius)


def opencv_distortion(values: tuple[float, ...]) -> Distortion:
    """Return the distortion of OpenCV's numbers k1, k2, p1, p2, k3, k4, k5, k6, of which the last may be missing."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*values, *(0.0,) * (8 - len(values)))
    return Distortion((k1, k2, k3), (p1, p2), (k4, k5, k6))


def _polynomial(factors: tuple[float, ...], squared: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Return 1 + f1 r² + f2 r⁴ + ..."""
    total = np.zeros_like(squared)
    for factor in reversed(factors):
        total = (total + factor) * squared
    return 1 + total
