"""What cameras, networks and people do to photographs, done to portraits; and the squares that are cut out of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from protome.training.perception_loss import UNKNOWN

ROLL_DEG, SCALE, SHIFT = 12.0, (0.66, 1.02), 0.05
"""Further turn, zoom (side of the square over the portrait's) and shift of a square."""
CUT = 0.25
"""Share of the pictures that end at a border of the photo."""


@dataclass(frozen=True)
class Example:
    """A square as the network sees it."""

    image: UInt8[np.ndarray, "s s 3"]
    parts: UInt8[np.ndarray, "s s"]
    landmarks: Float[np.ndarray, "l 2"]
    """From -1 to 1 over the square."""
    visible: Bool[np.ndarray, "l"]


def example(
    image: UInt8[np.ndarray, "r r 3"], parts: UInt8[np.ndarray, "r r"], landmarks: Float[np.ndarray, "l 2"],
    visible: Bool[np.ndarray, "l"], size: int, rng: np.random.Generator,
) -> Example:  # fmt: skip
    """Cut a random square out of a portrait and degrade it; what lies beyond a photo's border has no known part."""
    side = len(image)
    turn, zoom = np.radians(np.clip(rng.normal(0, ROLL_DEG), -30, 30)), size / (side * rng.uniform(*SCALE))
    cosine, sine = zoom * np.cos(turn), zoom * np.sin(turn)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    middle = side * (0.5 + rng.uniform(-SHIFT, SHIFT, 2))
    move = size / 2 - linear @ middle
    # OpenCV puts the origin in the middle of the first pixel.
    warp = np.column_stack([linear, move + (linear @ [0.5, 0.5]) - 0.5])
    fill = [0, 0, 0] if rng.random() < 0.6 else rng.integers(0, 256, 3).tolist()
    picture = _bordered(image, rng)
    known = np.where(picture.known, parts, UNKNOWN).astype(np.uint8)
    seen = picture.image
    if zoom < 0.8:
        seen = cv2.GaussianBlur(seen, (0, 0), 0.35 / zoom)
    cut = cv2.warpAffine(seen, warp, (size, size), flags=cv2.INTER_LINEAR, borderValue=fill)
    label = cv2.warpAffine(known, warp, (size, size), flags=cv2.INTER_NEAREST, borderValue=UNKNOWN)
    if picture.known.all() or rng.random() < 0.5:
        cut[label == UNKNOWN] = fill
    places = landmarks @ linear.T + move
    inside = ((places > 0) & (places < size)).all(1)
    pixel = np.clip(places, 0, size - 1).astype(int)
    seen_there = label[pixel[:, 1], pixel[:, 0]] != UNKNOWN
    return Example(degraded(cut, rng), label, (2 * places / size - 1).astype(np.float32), visible & inside & seen_there)


@dataclass(frozen=True)
class _Bordered:
    image: UInt8[np.ndarray, "r r 3"]
    known: Bool[np.ndarray, "r r"]


def _bordered(image: UInt8[np.ndarray, "r r 3"], rng: np.random.Generator) -> _Bordered:
    """Return a picture that may end at one or two borders of a photo, through hair and chin."""
    known = np.ones(image.shape[:2], bool)
    if rng.random() < CUT:
        for _ in range(int(rng.integers(1, 3))):
            width = int(len(image) * rng.uniform(0.02, 0.3))
            known = np.rot90(known, int(rng.integers(4)))
            known = known.copy()
            known[:width] = False
    return _Bordered(image, known)


def degraded(image: UInt8[np.ndarray, "s s 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "s s 3"]:
    """Return a picture with another tone, blur, grain and compression, each of random strength or missing."""
    size = len(image)
    light = image.astype(np.float32) / 255
    gain = np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.04, 3))
    light = np.clip(light * gain, 0, 1) ** np.exp(rng.normal(0, 0.15))
    light = 0.5 + (light - 0.5) * np.exp(rng.normal(0, 0.15)) + rng.normal(0, 0.03)
    grey = light @ np.array([0.3, 0.59, 0.11], np.float32)
    saturation = 0.0 if rng.random() < 0.1 else float(np.exp(rng.normal(-0.1, 0.25)))
    light = grey[..., None] + saturation * (light - grey[..., None])
    if rng.random() < 0.03:
        light = light * np.array([1.05, 0.95, 0.75])
    kind = rng.random()
    if kind < 0.35:
        light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.3, 1.6)))
    elif kind < 0.42:
        length = int(rng.integers(3, 10))
        kernel = np.zeros((length, length), np.float32)
        start, end = rng.integers(0, length, (2, 2)).tolist()
        cv2.line(kernel, start, end, 1.0)
        kernel[length // 2, length // 2] = 1
        light = cv2.filter2D(light, -1, kernel / kernel.sum())
    elif kind < 0.6:
        small = int(size * rng.uniform(0.2, 0.9))
        way = int(rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR]))
        light = cv2.resize(cv2.resize(light, (small, small), interpolation=way), (size, size))
    elif kind < 0.75:
        light = light + rng.uniform(0.3, 1.5) * (light - cv2.GaussianBlur(light, (0, 0), 1.2))
    if rng.random() < 0.5:
        strength = float(np.exp(rng.uniform(np.log(0.004), np.log(0.08))))
        grain = rng.standard_normal((size, size, 1 if rng.random() < 0.4 else 3), np.float32)
        if rng.random() < 0.4:
            grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), 0.8), np.float32).reshape(size, size, -1) * 2
        light = light + strength * grain * (0.5 + np.sqrt(np.clip(light, 0, 1)))
    out = np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(12, 96))
        _, coded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return out
