"""What stands behind people: walls, gradients, rooms, lights out of focus, leaves and noise."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from protome.population.portraits.noise import fractal


def _colour(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    level = rng.uniform(0.0, 1.0)
    saturation = rng.choice([0.04, 0.15, 0.5], p=[0.45, 0.4, 0.15])
    colour = level * np.exp(saturation * rng.normal(0, 1.0, 3) * [1.0, 0.6, 1.0])
    return np.clip(colour, 0, 1).astype(np.float32)


def _field(rng: np.random.Generator, size: int, scale: float) -> Float[np.ndarray, "s s"]:
    """Return fractal noise magnified by a scale, about -2 to 2."""
    take = max(int(256 / scale), 4)
    row, column = rng.integers(0, 256, 2)
    tile = np.roll(fractal(), (row, column), (0, 1))[:take, :take]
    return cv2.resize(tile, (size, size), interpolation=cv2.INTER_CUBIC)


def draw_backdrop(rng: np.random.Generator, size: int) -> Float[np.ndarray, "s s 3"]:
    """Return a square picture, sRGB in [0, 1]."""
    kind = rng.choice(["wall", "room", "lights", "leaves", "shapes", "noise"], p=[0.3, 0.22, 0.12, 0.12, 0.14, 0.1])
    along = np.linspace(0, 1, size, dtype=np.float32)
    across, down = np.meshgrid(along, along)
    slope = rng.normal(0, 0.35, 2).astype(np.float32)
    shade = (1 + slope[0] * (across - 0.5) + slope[1] * (down - 0.5))[..., None]
    picture = np.broadcast_to(_colour(rng), (size, size, 3)) * shade
    if kind == "wall":
        picture = picture * (1 + rng.uniform(0, 0.12) * _field(rng, size, rng.uniform(0.5, 8))[..., None])
    elif kind == "room":
        picture = _shapes(picture, rng, int(rng.integers(4, 16)), upright=True)
    elif kind == "shapes":
        picture = _shapes(picture, rng, int(rng.integers(3, 25)), upright=False)
    elif kind == "lights":
        picture = picture * rng.uniform(0.1, 0.5)
        for _ in range(int(rng.integers(5, 40))):
            (x, y), radius = rng.integers(0, size, 2), int(rng.integers(2, max(size // 12, 4)))
            left, top = max(int(x) - radius - 2, 0), max(int(y) - radius - 2, 0)
            around = picture[top : int(y) + radius + 3, left : int(x) + radius + 3]
            layer = np.zeros(around.shape[:2], np.float32)
            cv2.circle(layer, (int(x) - left, int(y) - top), radius, 1.0, -1, cv2.LINE_AA)
            around += layer[..., None] * (_colour(rng) * np.float32(rng.uniform(0.2, 1.2)))
    else:
        for _ in range(3):
            amount = np.clip(0.5 + rng.uniform(0.3, 1.5) * _field(rng, size, np.exp(rng.uniform(-0.5, 2.5))), 0, 1)
            picture = picture * (1 - amount[..., None]) + _colour(rng) * amount[..., None]
        if kind == "leaves":
            picture = picture * (1 + 0.35 * _field(rng, size, 0.6)[..., None])
    sigma = float(rng.choice([0.0, rng.uniform(0.5, 3), rng.uniform(3, 0.05 * size + 4)], p=[0.3, 0.35, 0.35]))
    picture = np.ascontiguousarray(np.clip(picture, 0, 1), np.float32)
    return cv2.GaussianBlur(picture, (0, 0), sigma) if sigma > 0 else picture


def _shapes(picture: np.ndarray, rng: np.random.Generator, count: int, upright: bool) -> np.ndarray:
    """Draw boards, posts and blobs: uprights and levels for rooms, anything otherwise."""
    size = len(picture)
    canvas = np.ascontiguousarray(picture, np.float32)
    for _ in range(count):
        colour = tuple(float(value) for value in _colour(rng) * rng.uniform(0.4, 1.1))
        if upright:
            x, y = rng.integers(-size // 4, size, 2)
            tall = rng.random() < 0.5
            width = int(size * rng.uniform(0.02, 0.15 if tall else 0.7))
            height = int(size * rng.uniform(0.1, 0.9 if tall else 0.25))
            cv2.rectangle(canvas, (int(x), int(y)), (int(x + width), int(y + height)), colour, -1)
        elif rng.random() < 0.5:
            points = rng.integers(0, size, (int(rng.integers(3, 6)), 2)).astype(np.int32)
            cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA)
        else:
            centre = rng.integers(0, size, 2)
            axes = rng.integers(3, max(size // 3, 5), 2)
            cv2.ellipse(
                canvas, (int(centre[0]), int(centre[1])), (int(axes[0]), int(axes[1])), float(rng.uniform(0, 180)),
                0, 360, colour, int(rng.choice([-1, -1, 2, 5])), cv2.LINE_AA,
            )  # fmt: skip
    return canvas
