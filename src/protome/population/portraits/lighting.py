"""The light of a portrait: a soft environment, lamps with shadows, and the camera's exposure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

KINDS = ("overcast", "window", "sun", "flash", "backlight", "coloured", "evening")
SHARES = (0.3, 0.2, 0.14, 0.1, 0.1, 0.08, 0.08)


@dataclass(frozen=True)
class Lighting:
    """Light in the head frame."""

    ambient: Float[np.ndarray, "3"]
    soft_directions: Float[np.ndarray, "k 3"]
    """Middle of broad lights that reach around half of the head."""
    soft_colours: Float[np.ndarray, "k 3"]
    lamp_directions: Float[np.ndarray, "l 3"]
    """Of lamps that cast shadows."""
    lamp_colours: Float[np.ndarray, "l 3"]
    lamp_size: float
    """Tangent of the lamps' half angle."""
    target: float
    """Brightness (linear) that the exposure gives to the middle of the subject's skin."""
    white: Float[np.ndarray, "3"]
    """Gain of the channels: white balance."""
    haze: float
    """Share of light scattered by the lens."""

    def soft(self, normals: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
        """Return the light of the environment on open surfaces."""
        around = (0.5 * self.soft_directions).astype(np.float32) @ normals
        around += np.float32(0.5)
        np.maximum(around, 0, out=around)
        around *= np.sqrt(around)
        light = self.soft_colours.T.astype(np.float32) @ around
        light += self.ambient.astype(np.float32)[:, None]
        return light


def _direction(azimuth: float, elevation: float) -> Float[np.ndarray, "3"]:
    level = np.cos(elevation)
    return np.array([np.sin(azimuth) * level, np.sin(elevation), np.cos(azimuth) * level])


def _warmth(rng: np.random.Generator, spread: float) -> Float[np.ndarray, "3"]:
    warm = rng.normal(0, spread)
    return np.exp(np.array([warm, rng.normal(0, 0.1 * spread), -warm]))


def draw_lighting(towards_camera: Float[np.ndarray, "3"], rng: np.random.Generator) -> Lighting:
    """Return a light as photographs are taken in; azimuths count from the camera's direction."""
    kind = str(rng.choice(KINDS, p=SHARES))
    front = float(np.arctan2(towards_camera[0], towards_camera[2]))
    soft, soft_colours, lamps, lamp_colours = [], [], [], []
    ambient, target, haze = rng.uniform(0.15, 0.5), float(np.exp(rng.normal(np.log(0.26), 0.4))), 0.0
    size = float(np.exp(rng.uniform(np.log(0.015), np.log(0.25))))

    def add_soft(azimuth: float, elevation: float, power: float, spread: float = 0.12) -> None:
        soft.append(_direction(front + azimuth, elevation))
        soft_colours.append(power * _warmth(rng, spread))

    def add_lamp(azimuth: float, elevation: float, power: float, spread: float = 0.12) -> None:
        lamps.append(_direction(front + azimuth, elevation))
        lamp_colours.append(power * _warmth(rng, spread))

    add_soft(rng.normal(0, 1.0), rng.uniform(0.2, 1.4), rng.uniform(0.3, 0.9))
    add_soft(rng.uniform(-np.pi, np.pi), rng.uniform(-1.0, 1.0), rng.uniform(0.1, 0.5))
    if kind == "window":
        add_soft(rng.choice([-1, 1]) * rng.uniform(0.6, 1.7), rng.uniform(-0.1, 0.7), rng.uniform(1.0, 2.5))
        if rng.random() < 0.5:
            add_lamp(rng.choice([-1, 1]) * rng.uniform(0.5, 1.5), rng.uniform(0, 0.7), rng.uniform(0.3, 1.0))
    elif kind == "sun":
        add_lamp(rng.normal(0, 1.2), rng.uniform(0.25, 1.35), rng.uniform(1.0, 2.8))
        ambient *= 0.8
    elif kind == "flash":
        # Beside the lens: hardly any shadow is seen, and the surroundings are dark.
        add_lamp(
            rng.normal(0, 0.06), rng.uniform(0.0, 0.15) + np.arcsin(towards_camera[1]), rng.uniform(1.5, 3.0), 0.05
        )
        ambient *= 0.4
        target *= 1.3
    elif kind == "backlight":
        add_lamp(np.pi + rng.normal(0, 0.7), rng.uniform(0.0, 0.9), rng.uniform(1.5, 5.0))
        target *= rng.uniform(0.25, 1.0)
        haze = float(rng.uniform(0, 0.12))
    elif kind == "coloured":
        for _ in range(int(rng.integers(1, 3))):
            add_lamp(rng.normal(0, 1.5), rng.uniform(-0.4, 1.0), rng.uniform(0.6, 2.5), 0.8)
        ambient *= 0.5
    elif kind == "evening":
        add_lamp(rng.normal(0, 1.2), rng.uniform(-0.2, 1.0), rng.uniform(0.8, 2.0), 0.3)
        ambient *= 0.3
        target *= rng.uniform(0.2, 0.8)
    elif rng.random() < 0.4:
        add_lamp(rng.normal(0, 1.2), rng.uniform(0.1, 1.3), rng.uniform(0.2, 1.0))
    return Lighting(
        ambient * _warmth(rng, 0.06), np.stack(soft), np.stack(soft_colours),
        np.stack(lamps) if lamps else np.zeros((0, 3)), np.stack(lamp_colours) if lamps else np.zeros((0, 3)), size,
        float(np.clip(target, 0.03, 0.7)), _warmth(rng, 0.09 if rng.random() < 0.85 else 0.25), haze,
    )  # fmt: skip
