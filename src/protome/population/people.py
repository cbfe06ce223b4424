"""Shapes of new people: identity, regions of different people, asymmetry, expression, and how the head is turned."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from protome.population.faces import FaceModes

REGIONS = {
    "eyes": ((0.0, 0.0, -0.01), 0.035),
    "nose": ((0.0, -0.035, 0.01), 0.025),
    "mouth": ((0.0, -0.075, 0.0), 0.025),
    "jaw": ((0.0, -0.095, -0.03), 0.045),
    "forehead": ((0.0, 0.055, -0.01), 0.04),
    "ears": ((0.0, -0.015, -0.10), 0.05),
    "skull": ((0.0, 0.04, -0.13), 0.08),
}
"""Middle and extent (metres, head frame) of the regions whose identities may differ."""
NECK_PIVOT = np.array([0.0, -0.11, -0.11])
MILD = {
    "smile": (("mouthSmile_L", "mouthSmile_R"), 0.7, (("cheekSquint_L", "cheekSquint_R"), 0.5)),
    "open": (("jawOpen",), 0.3, ((), 0.0)),
    "frown": (("mouthFrown_L", "mouthFrown_R"), 0.5, (("browDown_L", "browDown_R"), 0.5)),
    "surprise": (
        ("browInnerUp_L", "browInnerUp_R"),
        0.5,
        (("browOuterUp_L", "browOuterUp_R", "eyeWide_L", "eyeWide_R"), 0.4),
    ),
    "squint": (("eyeSquint_L", "eyeSquint_R"), 0.6, (("cheekRaiser_L", "cheekRaiser_R"), 0.4)),
    "press": (("mouthPress_L", "mouthPress_R"), 0.6, (("mouthRollLower", "mouthRollUpper"), 0.25)),
    "blink": (("eyeBlink_L", "eyeBlink_R"), 0.8, ((), 0.0)),
    "pucker": (("mouthPucker",), 0.3, ((), 0.0)),
}
"""Mild expressions: main units and their greatest weight, then companions."""


def region_masks(template: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "r v"]:
    """Return soft masks of the regions that sum to one at every vertex; left and right halves are one region."""
    weights = []
    for centre, extent in REGIONS.values():
        offset = template - np.array(centre)
        offset[:, 0] = 0.4 * (np.abs(template[:, 0]) if centre == REGIONS["ears"][0] else template[:, 0])
        weights.append(np.exp(-0.5 * (offset**2).sum(1) / extent**2) + 1e-9)
    stacked = np.stack(weights)
    return stacked / stacked.sum(0)


def draw_identity(
    modes: FaceModes, masks: Float[np.ndarray, "r v"], template: Float[np.ndarray, "v 3"], rng: np.random.Generator
) -> Float[np.ndarray, "v 3"]:
    """Return a person's departure from the mean, metres: one identity, whose regions and sides differ a little."""
    count = len(modes.identity)
    borrowed = rng.uniform(0, 0.6) if rng.random() < 0.5 else 0.0
    spread = rng.uniform(0.75, 1.15)
    main = rng.normal(size=count)
    regional = np.sqrt(1 - borrowed**2) * main + borrowed * rng.normal(size=(len(masks), count))
    side = np.tanh(template[:, 0] / 0.03)
    uneven = rng.uniform(0, 0.12) * rng.normal(size=count)
    weights = (spread * np.vstack([regional, uneven[None]])).astype(modes.identity.dtype)
    fields = np.tensordot(weights, modes.identity, 1)
    return (masks[..., None] * fields[:-1]).sum(0) + side[:, None] * fields[-1]


def draw_expression(modes: FaceModes, rng: np.random.Generator) -> Float[np.ndarray, "v 3"]:
    """Return the displacements of a mild expression; about half of all people are neutral."""
    weights = np.zeros(len(modes.expression_names))
    if rng.random() < 0.5:
        weights = draw_mild(modes.expression_names, rng)
    return np.tensordot(weights, modes.expression, 1)


def draw_mild(names: tuple[str, ...], rng: np.random.Generator) -> Float[np.ndarray, "e"]:
    """Return the weights of the units of one or two mild expressions."""
    weights = np.zeros(len(names))
    place = {name: index for index, name in enumerate(names)}
    for _ in range(int(rng.integers(1, 3))):
        units, greatest, (more, share) = MILD[str(rng.choice(list(MILD)))]
        weight = greatest * rng.beta(1.5, 2.0)
        for name in units:
            weights[place[name]] += weight * rng.uniform(0.8, 1.2)
        for name in more:
            weights[place[name]] += weight * share * rng.uniform(0.5, 1.2)
    return weights


def turned(points: Float[np.ndarray, "n 3"], turn: Rotation) -> Float[np.ndarray, "n 3"]:
    """Return points of a bust whose head is turned on its neck: the head keeps its frame, the shoulders move."""
    low = np.clip((-0.085 - points[:, 1]) / 0.085, 0, 1)
    share = low**2 * (3 - 2 * low)
    vector = turn.inv().as_rotvec()
    return NECK_PIVOT + Rotation.from_rotvec(share[:, None] * vector).apply(points - NECK_PIVOT)


def draw_turn(rng: np.random.Generator) -> Rotation:
    """Return a small turn of the head: up to about 15 degrees to the sides, 8 up or down, 5 towards a shoulder."""
    angles = rng.normal(size=3) * np.array([6.0, 4.0, 2.5])
    return Rotation.from_euler("yxz", np.clip(angles, [-15, -8, -5], [15, 8, 5]), degrees=True)
