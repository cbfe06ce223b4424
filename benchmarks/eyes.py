"""Painted eyes: a sclera and an iris of known diameter that looks where the person looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

IRIS_MM, IRIS_STD_MM = 11.7, 0.5
"""Horizontal visible iris diameter of adults: mean and standard deviation over people."""
LIMBUS_MM = 0.6
"""Width over which the iris fades into the sclera."""
MOST_TURNED_DEG = 28.0
"""How far eyes turn in a casual photo before the head does."""
COLOURS = ((0.055, 0.026, 0.012), (0.10, 0.05, 0.02), (0.09, 0.10, 0.05), (0.10, 0.15, 0.20), (0.14, 0.17, 0.18))
"""Linear colours of irises: two browns, hazel, blue, grey."""


@dataclass(frozen=True)
class Eyes:
    """The look of a person's eyes."""

    iris_mm: float
    """Diameter of the iris."""
    pupil_mm: float
    colour: Float[np.ndarray, "3"]
    """Of the iris, linear."""
    fibres: Float[np.ndarray, "k"]
    """Brightness of the iris around its axis."""

    def albedo(
        self, points: Float[np.ndarray, "n 3"], centre: Float[np.ndarray, "3"], gaze: Float[np.ndarray, "3"]
    ) -> Float[np.ndarray, "n 3"]:
        """Return linear colours of points on an eyeball (metres) that looks along the unit vector `gaze`."""
        offset = 1000.0 * (points - centre)
        ahead = offset @ gaze
        across = offset - ahead[:, None] * gaze
        radius = np.where(ahead > 0, np.linalg.norm(across, axis=1), 100.0)
        sideways = np.cross([0.0, 1.0, 0.0], gaze)
        sideways /= np.linalg.norm(sideways)
        angle = np.arctan2(across @ np.cross(gaze, sideways), across @ sideways)
        count = len(self.fibres)
        place = (angle / (2 * np.pi) % 1.0) * count
        share = place - np.floor(place)
        first = np.floor(place).astype(int) % count
        fibre = (1 - share) * self.fibres[first] + share * self.fibres[(first + 1) % count]
        half = self.iris_mm / 2
        ring = 1 - 0.55 * np.exp(-(((radius - half + 0.7) / 0.6) ** 2))
        iris = self.colour * (fibre * ring)[:, None]
        iris = iris * (1 - _step(self.pupil_mm / 2 - radius, 0.25))[:, None]
        veins = np.clip((radius - 9.0) / 8.0, 0, 1)[:, None]
        sclera = np.array([0.52, 0.46, 0.43]) * (1 - veins * [0.05, 0.30, 0.32])
        inside = _step(half - radius, LIMBUS_MM)[:, None]
        return inside * iris + (1 - inside) * sclera

    def inside(
        self, points: Float[np.ndarray, "n 3"], centre: Float[np.ndarray, "3"], gaze: Float[np.ndarray, "3"]
    ) -> Float[np.ndarray, "n"]:
        """Return the share of iris, 0 or 1, at points of the eyeball."""
        offset = 1000.0 * (points - centre)
        ahead = offset @ gaze
        radius = np.linalg.norm(offset - ahead[:, None] * gaze, axis=1)
        return ((ahead > 0) & (radius < self.iris_mm / 2)).astype(float)


def _step(value: Float[np.ndarray, "n"], width: float) -> Float[np.ndarray, "n"]:
    share = np.clip(value / width + 0.5, 0, 1)
    return share * share * (3 - 2 * share)


def draw_eyes(rng: np.random.Generator) -> Eyes:
    """Return a person's eyes; the irises' diameter is normally distributed."""
    fibres = 1 + 0.35 * np.convolve(np.tile(rng.normal(0, 1, 90), 3), [0.3, 0.4, 0.3], "same")[90:180]
    colour = np.array(COLOURS[rng.integers(len(COLOURS))]) * np.exp(rng.normal(0, 0.25))
    return Eyes(float(rng.normal(IRIS_MM, IRIS_STD_MM)), float(rng.uniform(2.5, 5.0)), colour, np.clip(fibres, 0.3, 2))


def ball(vertices: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Return centre and radius of the sphere nearest to points, by linear least squares."""
    rows = np.concatenate([2 * vertices, np.ones((len(vertices), 1))], 1)
    found = np.linalg.lstsq(rows, (vertices**2).sum(1), rcond=None)[0]
    return found[:3], float(np.sqrt(found[3] + (found[:3] ** 2).sum()))


def gazes(
    centres: list[Float[np.ndarray, "3"]], target: Float[np.ndarray, "3"], most_deg: float = MOST_TURNED_DEG
) -> list[Float[np.ndarray, "3"]]:
    """Return the unit vectors from the eyes to one place, at most so far from straight ahead (+z) as eyes turn."""
    if not centres:
        return []
    middle, ahead = np.mean(centres, axis=0), np.array([0.0, 0.0, 1.0])
    aim = _unit(target - middle)
    if np.arccos(np.clip(aim @ ahead, -1, 1)) > np.radians(most_deg):
        side = _unit(aim - (aim @ ahead) * ahead)
        aim = np.cos(np.radians(most_deg)) * ahead + np.sin(np.radians(most_deg)) * side
    place = middle + np.linalg.norm(target - middle) * aim
    return [_unit(place - centre) for centre in centres]


def _unit(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
