"""Colours where a photo shows the surface at a grazing angle: backlight and strange things are stretched there."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from protome.geometry.neighbours import tree_of

_GRAZING, _FRONTAL = 0.55, 0.6
"""Cosines between normal and view direction below which a colour is doubted, and above which it confirms others."""
_REACH_MM = 18.0
"""How far away across the line of sight a colour may be to confirm another one."""
_NEIGHBOURS = 96
_DOUBT = 0.06
"""Distance from the range of the confirming colours at which a colour counts half."""


def rim_trust(
    places: Float[np.ndarray, "v 2"], colours: Float[np.ndarray, "v 3"], facing: Float[np.ndarray, "v"]
) -> Float[np.ndarray, "v"]:
    """Return factors in 0 to 1 for vertices that a photo shows, by their smooth colours.

    A pixel at the edge of a face is stretched over centimetres of its side. Where it is brighter or darker than all
    that is seen frontally beside it, it shows a light from behind, or something that is not the surface. `places` are
    positions in the photo in millimetres, `facing` the cosines between normal and view direction.
    """
    trust = np.ones(len(places))
    doubted, sure = np.flatnonzero(facing < _GRAZING), np.flatnonzero(facing > _FRONTAL)
    if not len(doubted) or not len(sure):
        return trust
    count = min(_NEIGHBOURS, len(sure))
    away, near = tree_of(places[sure]).query(places[doubted], count, distance_upper_bound=_REACH_MM)
    away, near = away.reshape(-1, count, 1), near.reshape(-1, count)
    found = np.isfinite(away)
    shown = colours[sure][np.minimum(near, len(sure) - 1)]
    highest, lowest = np.where(found, shown, -np.inf).max(1), np.where(found, shown, np.inf).min(1)
    own = colours[doubted]
    beyond = np.maximum(own - highest, lowest - own).max(1)
    # Where nothing frontal is near, the surface may well have another colour.
    trust[doubted] = np.where(found.any((1, 2)), 1 / (1 + (np.maximum(beyond, 0) / _DOUBT) ** 4), 1.0)
    return trust
