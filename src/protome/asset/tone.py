"""Colours as a photo without colours has them: black and white, or brown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from protome.asset.source import Source

_PLAIN = 0.012
"""Deviation of a photo's colours from a function of their brightness up to which it has no colours."""
_DEGREE = 2
_MOST = 20_000
"""Pixels of a photo that are looked at."""
_LUMA = np.array([0.299, 0.587, 0.114])


def toned(colours: Float[np.ndarray, "v 3"], sources: Sequence[Source]) -> Float[np.ndarray, "v 3"]:
    """Return sRGB colours in the tone of photos that have only one; where a photo has colours they stay as they are."""
    shown = np.concatenate([_inside(source) for source in sources])
    if len(shown) <= _DEGREE:
        return colours
    curve = np.polynomial.polynomial.polyfit(shown @ _LUMA, shown, _DEGREE)
    apart = shown - np.polynomial.polynomial.polyval(shown @ _LUMA, curve).T
    if np.sqrt((apart**2).mean()) > _PLAIN:
        return colours
    return np.clip(np.polynomial.polynomial.polyval(colours @ _LUMA, curve).T, 0, 1)


def _inside(source: Source) -> Float[np.ndarray, "k 3"]:
    pixels = source.image[source.inside > 1]
    return pixels[:: max(1, len(pixels) // _MOST)].astype(np.float64)
