"""Facial expressions by the names of ICT-FaceKit's units: mixtures to train on, and those that are measured."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

IGNORED = ("PupilDilate_L", "PupilDilate_R")
"""Units that move no skin."""
SIDES = ("_L", "_R")

UNITS: dict[str, tuple[tuple[str, ...], float]] = {
    "smile": (("mouthSmile_L", "mouthSmile_R", "cheekSquint_L", "cheekSquint_R"), 0.9),
    "grin": (
        (
            *("mouthSmile_L", "mouthSmile_R", "mouthUpperUp_L", "mouthUpperUp_R", "mouthLowerDown_L"),
            *("mouthLowerDown_R", "cheekSquint_L", "cheekSquint_R"),
        ), 0.85,
    ),
    "open": (("jawOpen",), 0.75),
    "frown": (("mouthFrown_L", "mouthFrown_R", "browDown_L", "browDown_R"), 0.8),
    "surprise": (("browInnerUp_L", "browInnerUp_R", "browOuterUp_L", "browOuterUp_R", "eyeWide_L", "eyeWide_R"), 0.9),
    "squint": (("eyeSquint_L", "eyeSquint_R", "cheekRaiser_L", "cheekRaiser_R"), 0.8),
    "press": (("mouthPress_L", "mouthPress_R", "mouthRollLower", "mouthRollUpper"), 0.6),
    "blink": (("eyeBlink_L", "eyeBlink_R"), 1.0),
    "wink": (("eyeBlink_L",), 1.0),
    "pucker": (("mouthPucker",), 0.8),
    "funnel": (("mouthFunnel",), 0.7),
    "stretch": (("mouthStretch_L", "mouthStretch_R"), 0.7),
    "sideways": (("mouthLeft",), 0.6),
    "other side": (("mouthRight",), 0.6),
    "jaw": (("jawLeft",), 0.5),
    "puff": (("cheekPuff_L", "cheekPuff_R"), 0.6),
    "sneer": (("noseSneer_L", "noseSneer_R"), 0.7),
}  # fmt: skip
"""Units of expressions that go together, and their greatest weight."""
SHARES = np.array([5, 6, 4, 2, 2, 2, 1, 1.5, 0.4, 0.7, 0.7, 0.7, 0.5, 0.5, 0.4, 0.3, 0.5])

MEASURED: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {"mouthSmile_L": 0.9, "mouthSmile_R": 0.9, "cheekSquint_L": 0.6, "cheekSquint_R": 0.6,
              "mouthUpperUp_L": 0.4, "mouthUpperUp_R": 0.4, "mouthLowerDown_L": 0.3, "mouthLowerDown_R": 0.3},
    "open mouth": {"jawOpen": 0.8},
    "frown": {"mouthFrown_L": 0.8, "mouthFrown_R": 0.8, "browDown_L": 0.7, "browDown_R": 0.7},
    "kiss": {"mouthPucker": 0.9},
    "closed eyes": {"eyeBlink_L": 1.0, "eyeBlink_R": 1.0},
    "raised brows": {"browInnerUp_L": 0.9, "browInnerUp_R": 0.9, "browOuterUp_L": 0.9, "browOuterUp_R": 0.9},
}  # fmt: skip
"""The expressions of held-out people, neutral first."""

_OPENED = "jawOpen"
_CLOSED = "mouthClose"
"""Closes the lips over a jaw that is open: alone it pushes the lower lip through the upper one."""
_SINGLE_SHARE, _FAMILIAR_SHARE = 0.4, 0.25
"""How many expressions are one unit, and how many are drawn as portraits' are; the others combine several units."""


def expression_units(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the units that move skin, in the face model's order."""
    return tuple(name for name in names if name not in IGNORED)


def draw_familiar(names: tuple[str, ...], rng: np.random.Generator) -> Float[np.ndarray, "e"]:
    """Return weights of the units as photos show them: a third nearly neutral, the others of one to three kinds."""
    place = {name: index for index, name in enumerate(names)}
    weights = np.zeros(len(place))
    kinds = list(UNITS)
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.28, 0.36, 0.26, 0.1]))):
        units, greatest = UNITS[kinds[int(rng.choice(len(kinds), p=SHARES / SHARES.sum()))]]
        weight = greatest * rng.beta(1.6, 1.3)
        for name in units:
            if name in place:
                weights[place[name]] = max(weights[place[name]], min(weight * rng.uniform(0.75, 1.2), 1.0))
    weights += np.clip(rng.normal(0, 0.05, len(place)), 0, 0.15) * (rng.random(len(place)) < 0.3)
    return weights.astype(np.float32)


def draw_expressive(names: tuple[str, ...], rng: np.random.Generator) -> Float[np.ndarray, "e"]:
    """Return weights of an expression to train on: single units up to full strength, familiar ones, combinations.

    A unit of a side comes with that of the other side three times out of four.
    """
    kind = rng.random()
    if kind < _SINGLE_SHARE:
        weights = _units(names, 1, rng)
    elif kind < _SINGLE_SHARE + _FAMILIAR_SHARE:
        weights = draw_familiar(names, rng).astype(np.float64)
    else:
        weights = _units(names, int(rng.integers(2, 6)), rng)
    if _CLOSED in names and _OPENED in names:
        opened = weights[names.index(_OPENED)]
        weights[names.index(_CLOSED)] = opened * rng.uniform(0.3, 0.9) if opened and rng.random() < 0.15 else 0.0
    return np.clip(weights, 0, 1).astype(np.float32)


def _units(names: tuple[str, ...], count: int, rng: np.random.Generator) -> Float[np.ndarray, "e"]:
    """Return weights of `count` different units or pairs of units; several at once are weaker each."""
    place = {name: index for index, name in enumerate(names)}
    stems = sorted({name.removesuffix(SIDES[0]).removesuffix(SIDES[1]) for name in names} - {_CLOSED})
    weights = np.zeros(len(names))
    for stem in rng.choice(stems, min(count, len(stems)), replace=False):
        strength = 1.0 if count == 1 and rng.random() < 0.5 else rng.beta(1.6, 1.2)
        sides = [name for name in (stem, *(f"{stem}{side}" for side in SIDES)) if name in place]
        if len(sides) == 2 and rng.random() < 0.25:
            sides = [sides[int(rng.integers(2))]]
        for name in sides:
            weights[place[name]] = strength * (rng.uniform(0.8, 1.0) if strength < 1 else 1.0)
    return weights


def named_weights(names: tuple[str, ...], given: dict[str, float]) -> Float[np.ndarray, "e"]:
    """Return the weights of named units as a vector; units that the model lacks are left out."""
    return np.array([given.get(name, 0.0) for name in names], np.float32)
