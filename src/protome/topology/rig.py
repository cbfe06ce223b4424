"""A head that moves: ARKit's 52 expressions in one person's shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from protome.geometry.extension import laplacian, smooth_extension
from protome.geometry.transforms import Similarity, procrustes
from protome.topology.eyes import over_ball
from protome.topology.fitted import TemplateHead
from protome.topology.template import EYES, TEETH, Part, Template
from protome.topology.transfer import transferred

LOOK_DEGREES = {"eyeLookUp": 25.0, "eyeLookDown": 28.0, "eyeLookIn": 32.0, "eyeLookOut": 32.0}
"""How far an eyeball turns at full strength."""
SIDES = ("Left", "Right")
"""The eyes in the order of `Template.pivots`."""
LID_MM, SLIDE_MM = 1.4, 0.3
"""A lid that an expression moves by the second is kept so far from the eyeball, so that it also clears it half way."""
NEAR_EYE = 1.9
"""Radii around an eyeball's centre within which an expression's lids are mended."""
MOST_GAIN, MOST_MM = 1.5, 1.2
"""The most that a blink is made stronger so that the lids meet, and that single vertices are then moved."""
LOCK, LID_STIFFNESS = 4.0, 4.0
"""How firmly the margins of the lids meet, against the rest of the lids' smoothness."""


@dataclass(frozen=True)
class Rig:
    """A head with its expressions, head frame, millimetres."""

    head: TemplateHead
    moves: Float[np.ndarray, "e v 3"]
    """How each of the template's expressions moves the head's vertices at full strength, single precision."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the expressions."""
        return self.head.template.names

    def posed(self, weights: dict[str, float]) -> Float[np.ndarray, "v 3"]:
        """Return the vertices with expressions of given strengths; names that the rig lacks are left out."""
        row = np.array([weights.get(name, 0.0) for name in self.names], np.float32)
        active = np.flatnonzero(row)
        return self.head.vertices + np.tensordot(row[active], self.moves[active], 1)

    @staticmethod
    def of(head: TemplateHead) -> Rig:
        """Give a head the template's expressions: skin by deformation transfer, teeth and eyes as wholes."""
        template, vertices = head.template, head.vertices
        skin = np.isin(template.triangle_part, (Part.SKIN, Part.LINING))
        own = template.has(Part.SKIN, Part.LINING)
        whole = _motion(template, vertices, own & (template.trust > 0.5))
        moves = transferred(
            template.vertices, np.where(own[:, None], template.moves, 0), vertices, template.triangles[skin],
            float(whole.scale),
        )  # fmt: skip
        for part in (*TEETH, Part.TONGUE):
            here = template.has(part)
            turn = (whole.scale * whole.rotation).numpy() if not here.any() else _turn(template, vertices, here)
            moves[:, here] = template.moves[:, here] @ turn.T
        _turn_eyes(head, moves)
        _mend_lids(head, moves, own)
        return Rig(head, moves)


def _motion(template: Template, vertices: Float[np.ndarray, "v 3"], chosen: Bool[np.ndarray, "v"]) -> Similarity:
    weights = torch.ones(int(chosen.sum()), dtype=torch.float64)
    return procrustes(torch.from_numpy(template.vertices[chosen]), torch.from_numpy(vertices[chosen]), weights)


def _turn(
    template: Template, vertices: Float[np.ndarray, "v 3"], chosen: Bool[np.ndarray, "v"]
) -> Float[np.ndarray, "3 3"]:
    motion = _motion(template, vertices, chosen)
    return np.asarray((motion.scale * motion.rotation).numpy())


def _turn_eyes(head: TemplateHead, moves: Float[np.ndarray, "e v 3"]) -> None:
    """Set the moves of the eyeballs, which turn about their middles."""
    for number, (side, part) in enumerate(zip(SIDES, EYES, strict=True)):
        own = head.template.has(part)
        arms = head.vertices[own] - head.eyes.pivots[number]
        inwards = -1.0 if side == "Left" else 1.0
        for stem, degrees in LOOK_DEGREES.items():
            axis = {"eyeLookUp": [-1, 0, 0], "eyeLookDown": [1, 0, 0], "eyeLookIn": [0, inwards, 0],
                    "eyeLookOut": [0, -inwards, 0]}[stem]  # fmt: skip
            turn = Rotation.from_rotvec(np.radians(degrees) * np.array(axis, float))
            moves[head.template.names.index(f"{stem}{side}")][own] = turn.apply(arms) - arms


def _mend_lids(head: TemplateHead, moves: Float[np.ndarray, "e v 3"], skin: Bool[np.ndarray, "v"]) -> None:
    """Close the lids in a blink, and keep moving lids off the eyeballs."""
    template, vertices = head.template, head.vertices
    faces = template.triangles[np.isin(template.triangle_part, (Part.SKIN, Part.LINING))]
    for number, side in enumerate(SIDES):
        pivot, radius = head.eyes.pivots[number], float(head.eyes.radii[number])
        distance = np.linalg.norm(vertices - pivot, axis=1)
        near = skin & (distance < NEAR_EYE * radius)
        index = np.flatnonzero(near)
        inside = near[faces].all(1)
        number_of = np.full(len(vertices), -1)
        number_of[index] = np.arange(len(index))
        smoothness = laplacian(number_of[faces[inside]], len(index))
        blink = template.names.index(f"eyeBlink{side}")
        pairs = template.lids[number]
        pairs = pairs[(pairs >= 0).all(1)]
        upper, lower = pairs[:, 0], pairs[:, 1]
        opened, closing = (vertices[upper] - vertices[lower])[:, 1], (moves[blink][lower] - moves[blink][upper])[:, 1]
        needed = np.median(opened / np.maximum(closing, 0.2 * opened.clip(0.1)))
        moves[blink][index] *= np.float32(np.clip(needed, 1 / MOST_GAIN, MOST_GAIN))
        # Both margins meet where the lower lid comes to lie, on the ball.
        gap = (vertices + moves[blink])[lower] - (vertices + moves[blink])[upper]
        gap *= np.minimum(1, MOST_MM / np.maximum(np.linalg.norm(gap, axis=1, keepdims=True), 1e-9))
        rim = distance[index] > 0.9 * NEAR_EYE * radius
        known, wanted = np.where(rim, 1.0, 0.0), np.zeros((len(index), 3))
        known[number_of[upper]], wanted[number_of[upper]] = LOCK, gap
        known[number_of[np.unique(lower)]] = LOCK
        moves[blink][index] += smooth_extension(smoothness, known, wanted, LID_STIFFNESS).astype(np.float32)
        for row in np.flatnonzero(np.linalg.norm(moves[:, index], axis=2).max(1) > SLIDE_MM):
            slid = near & (np.linalg.norm(moves[row], axis=1) > SLIDE_MM)
            posed = vertices + moves[row]
            moves[row] = np.where(slid[:, None], over_ball(posed, slid, pivot, radius + LID_MM) - vertices, moves[row])
