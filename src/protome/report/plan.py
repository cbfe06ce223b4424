"""Drawings of a report: cameras around a head from above, and curves of a fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from protome.capture.facts import PhotoFacts

SIDE, MARGIN = 300, 26
_HEAD_MM = (75.0, 95.0)
"""Half axes of a head seen from above, to scale."""


def cameras_from_above(photos: Sequence[PhotoFacts]) -> str:
    """Return the drawing of where cameras stood, the nose downwards, to scale."""
    places = [_place(photo) for photo in photos]
    reach = max([250.0, *(math.hypot(x, z) for x, z in places)])
    scale = (SIDE / 2 - MARGIN) / reach
    middle = SIDE / 2
    across, along = (half * scale for half in _HEAD_MM)
    words = "; ".join(f"{photo.photo} {photo.distance_mm / 1000:.2f} m away" for photo in photos)
    parts = [
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="Cameras from above: {escape(words)}">',
        f'<ellipse class="head" cx="{middle}" cy="{middle}" rx="{across:.1f}" ry="{along:.1f}"/>',
        f'<path class="head" d="M{middle - 0.25 * across:.1f} {middle + 0.97 * along:.1f} '
        f'L{middle} {middle + 1.25 * along:.1f} L{middle + 0.25 * across:.1f} {middle + 0.97 * along:.1f}"/>',
    ]
    for number, (x, z) in enumerate(places, 1):
        column, row = middle + scale * x, middle + scale * z
        parts += [
            f'<line class="ray" x1="{column:.1f}" y1="{row:.1f}" x2="{middle}" y2="{middle}"/>',
            f'<circle class="stand" cx="{column:.1f}" cy="{row:.1f}" r="4"/>',
            f'<text x="{column + 7:.1f}" y="{row + 4:.1f}">{number}</text>',
        ]
    length = 500 if reach > 700 else 100
    parts += [
        f'<path class="axis" d="M{MARGIN} {SIDE - 8} h{length * scale:.1f}"/>',
        f'<text x="{MARGIN}" y="{SIDE - 12}">{length} mm</text></svg>',
    ]
    return "".join(parts)


def _place(photo: PhotoFacts) -> tuple[float, float]:
    """Return millimetres to the right of the picture and down it; the subject's left is on the right."""
    level = photo.distance_mm * math.cos(math.radians(photo.elevation))
    return level * math.sin(math.radians(photo.azimuth)), level * math.cos(math.radians(photo.azimuth))


def curve(name: str, values: Sequence[float]) -> str:
    """Return the drawing of a loss over the steps of a fit, with its first and last value; logarithmic where it can."""
    width, height = 300, 110
    logarithmic = min(values) > 0 and max(values) > 20 * min(values)
    heights = [math.log10(value) if logarithmic else value for value in values]
    low, high = min(heights), max(heights)
    span = max(high - low, 1e-12)
    steps = max(1, len(heights) - 1)
    points = " ".join(
        f"{4 + (width - 8) * k / steps:.1f},{height - 16 - (height - 30) * (value - low) / span:.1f}"
        for k, value in enumerate(heights)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}: from {values[0]:.4g} to '
        f'{values[-1]:.4g}"><path class="axis" d="M4 {height - 14} H{width - 4}"/>'
        f'<polyline class="curve" points="{points}"/><text x="4" y="10">{values[0]:.3g}</text>'
        f'<text x="{width - 4}" y="{height - 2}" text-anchor="end">{values[-1]:.3g}</text></svg>'
    )
