"""The margins of the eyelids, and how strongly a person has to blink for them to meet."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from protome.population.portraits.places import fitted_sphere

BLINKS = ("eyeBlink_L", "eyeBlink_R")
"""Units that close the eyes, in the order of the avatars' eyeballs."""
TOUCH_M = 0.002
"""A lid's margin lies this close to the eyeball."""
AZIMUTHS = np.linspace(-0.75, 0.75, 8)
"""Edges of the sectors, in radians about the eyeball's vertical axis, in which the margins are looked for."""
OVER = 1.06
"""The upper lid goes on a little over the lower one."""
LARGEST_GAIN = 1.25


@dataclass(frozen=True)
class Lids:
    """Vertices of the margins of upper and lower lids of both eyes, sector by sector."""

    upper: tuple[Int[np.ndarray, "_"], ...]
    lower: tuple[Int[np.ndarray, "_"], ...]

    @staticmethod
    def of(
        template: Float[np.ndarray, "v 3"], mean: Float[np.ndarray, "v 3"], eyes: list[Float[np.ndarray, "_ 3"]]
    ) -> Lids:
        """Find the margins on the mean body, whose eyeballs are `eyes`: the skin that touches them nearest the gap."""
        uppers, lowers = [], []
        for eye in eyes:
            centre, radius = fitted_sphere(eye)
            away = mean - centre
            gap = np.linalg.norm(away, axis=1) - radius
            touching = (np.abs(gap) < TOUCH_M) & (away[:, 2] > 0.3 * radius)
            azimuth, elevation = np.arctan2(away[:, 0], away[:, 2]), np.arcsin(away[:, 1] / (radius + gap))
            upper, lower = [], []
            for low, high in pairwise(AZIMUTHS):
                sector = np.flatnonzero(touching & (azimuth >= low) & (azimuth < high))
                above, below = sector[elevation[sector] > 0.05], sector[elevation[sector] < -0.05]
                if len(above) and len(below):
                    upper.append(above[np.argmin(elevation[above])])
                    lower.append(below[np.argmax(elevation[below])])
            uppers.append(np.array(upper, int))
            lowers.append(np.array(lower, int))
        return Lids(tuple(uppers), tuple(lowers))

    def gain(
        self, body: Float[np.ndarray, "v 3"], blink: Float[np.ndarray, "v 3"], eye: Float[np.ndarray, "_ 3"]
    ) -> float:
        """Return the factor of a blink's moves at which the margins of this eye meet in half of the sectors."""
        centre, _ = fitted_sphere(eye)
        side = int(np.argmin([_apart(body, lid, centre) for lid in self.upper]))
        upper, lower = self.upper[side], self.lower[side]
        if not len(upper):
            return 1.0
        open_, closed = (
            _elevation(moved[upper] - centre) - _elevation(moved[lower] - centre) for moved in (body, body + blink)
        )
        needed = open_ / np.maximum(open_ - closed, 1e-3)
        return float(np.clip(OVER * np.median(needed), 1.0, LARGEST_GAIN))


def _apart(body: np.ndarray, lid: np.ndarray, centre: np.ndarray) -> float:
    return float(np.linalg.norm(body[lid].mean(0) - centre)) if len(lid) else np.inf


def _elevation(away: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    return np.arctan2(away[:, 1], np.linalg.norm(away[:, [0, 2]], axis=1))
