"""One person of a portrait: who they are, and what they wear; drawn at random from the wardrobe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from protome.population.hair import draw_hair_colour
from protome.population.portraits.wardrobe import Wardrobe

AGES = ("child", "young", "middle", "old")
AGE_SHARES = (0.12, 0.42, 0.26, 0.2)
LIGHTNESS = (24.0, 80.0)
"""CIE lightness of the cheeks' albedo: people of all tones are equally frequent."""
SOURCES = ("young", "old", "child")


@dataclass(frozen=True)
class Person:
    """Who somebody is: constant over their portraits."""

    male: bool
    age: str
    moves: Float[np.ndarray, "v 3"]
    """From the mean body to the neutral body."""
    skin: int
    """Which skin of the wardrobe."""
    tone: Float[np.ndarray, "3"]
    """Gain of the skin's linear colour."""
    lightness: float
    """CIE lightness of the cheeks."""
    hair_colour: Float[np.ndarray, "3"]
    """Linear."""
    iris: Float[np.ndarray, "3"]


def draw_person(wardrobe: Wardrobe, rng: np.random.Generator) -> Person:
    """Return somebody new: women and men, all tones of skin alike, and children to old people."""
    male = bool(rng.random() < 0.5)
    age = str(rng.choice(AGES, p=AGE_SHARES))
    lightness = float(rng.uniform(*LIGHTNESS))
    candidates = rng.integers(0, len(wardrobe.skins), 8)
    skin = int(candidates[np.argmin(np.abs(wardrobe.lightness[candidates] - lightness))])
    ratio = _luminance(lightness) / _luminance(float(wardrobe.lightness[skin]))
    # Darker skin loses blue before red; blood and sallowness change the hue a little.
    tone = ratio ** np.array([0.9, 1.0, 1.08]) * np.exp(rng.normal(0, [0.05, 0.03, 0.06]))
    srgb = draw_hair_colour(rng)
    if age == "old" and rng.random() < 0.6:
        srgb = np.full(3, rng.uniform(0.45, 0.85)) * [1.0, 0.98, 0.95]
    elif rng.random() < 0.04:
        srgb = rng.uniform(0.1, 0.9, 3)
    irises = np.array([[0.045, 0.022, 0.01], [0.1, 0.05, 0.02], [0.12, 0.1, 0.04], [0.1, 0.16, 0.2], [0.16, 0.2, 0.18]])
    dark = np.array([0.5, 0.25, 0.1, 0.1, 0.05]) if lightness > 50 else np.array([0.75, 0.2, 0.05, 0, 0])
    iris = irises[rng.choice(5, p=dark)] * np.exp(rng.normal(0, 0.25))
    moves = _shape(wardrobe, male, age, lightness, rng)
    return Person(male, age, moves, skin, tone, lightness, srgb**2.2, iris)


def _luminance(lightness: float) -> float:
    return ((lightness + 16) / 116) ** 3


def _shape(wardrobe: Wardrobe, male: bool, age: str, lightness: float, rng: np.random.Generator) -> np.ndarray:
    """Return a neutral body's departure from the mean: face model, other people's bodies, and MakeHuman's sliders."""
    picks = rng.integers(0, len(wardrobe.bodies), 3)
    own = np.tensordot(rng.dirichlet([2.0, 1.0, 1.0]).astype(np.float32), wardrobe.bodies[picks], 1) - wardrobe.mean
    kept = 0.0 if rng.random() < 0.55 else float(rng.uniform(0, 1))
    face = wardrobe.face[:, None]
    target = (1 - kept) * wardrobe.towards_face + kept * (own + 0.3 * wardrobe.towards_face)
    count = len(wardrobe.identity)
    borrowed = rng.uniform(0, 0.6) if rng.random() < 0.5 else 0.0
    main = rng.normal(size=count)
    regional = np.sqrt(1 - borrowed**2) * main + borrowed * rng.normal(size=(len(wardrobe.regions), count))
    regional *= (1 - 0.5 * kept) * rng.uniform(0.75, 1.2)
    if borrowed:
        weights = regional.astype(np.float32)
        fields = np.tensordot(weights, wardrobe.identity, 1)
        identity = (wardrobe.regions[..., None] * fields).sum(0)
    else:
        identity = np.tensordot(regional[0].astype(np.float32), wardrobe.identity, 1)
    uneven = (rng.uniform(0, 0.12) * rng.normal(size=count)).astype(np.float32)
    sides = np.tanh(wardrobe.template[:, :1] / 0.03) * np.tensordot(uneven, wardrobe.identity, 1)
    sliders = np.tensordot(drawn_sliders(wardrobe.slider_names, male, age, lightness, rng), wardrobe.sliders, 1)
    size = 1 + np.clip(rng.normal(0, 0.03), -0.08, 0.08) - (rng.uniform(0.03, 0.14) if age == "child" else 0.0)
    body = wardrobe.mean + own + face * (target - own) + identity + sides + sliders
    return (size * body - wardrobe.mean).astype(np.float32)


def drawn_sliders(
    names: tuple[str, ...], male: bool, age: str, lightness: float, rng: np.random.Generator
) -> Float[np.ndarray, "s"]:
    """Return the weights of MakeHuman's sliders: details, and sex, age and ancestry of somebody with such skin."""
    details = np.array([not name.startswith("macro-") for name in names])
    weights = rng.normal(0, 0.4, len(names)) * (rng.random(len(names)) < 0.12) * details
    macro = {"macro-male": (0.6 if male else -0.6) * rng.uniform(0.3, 1.3)}
    if age == "child":
        macro["macro-child"] = rng.uniform(0.25, 0.75)
    elif age != "young":
        macro["macro-old"] = rng.uniform(0.1, 0.45) if age == "middle" else rng.uniform(0.4, 1.0)
    ancestry = rng.dirichlet([0.5, 0.5, 0.5])
    if lightness < 42:
        ancestry = 0.4 * ancestry + [0.6, 0, 0]
    elif rng.random() < 0.5:
        ancestry = ancestry * [0.3, 1, 1]
    for name, share in zip(("african", "asian", "caucasian"), ancestry, strict=True):
        macro[f"macro-{name}"] = 0.8 * share
    for index, name in enumerate(names):
        weights[index] += macro.get(name, 0.0)
    return weights.astype(np.float32)
