"""Bones of a rigged head, torso, neck, skull and jaw, and how far each vertex follows them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from protome.geometry.transforms import procrustes
from protome.topology.rig import Rig
from protome.topology.template import EYES, Part

NAMES = ("torso", "neck", "skull", "jaw")
TORSO, NECK, SKULL, JAW = range(4)
PARENTS = (-1, TORSO, NECK, SKULL)
SIDES, CHIN = (0, 16), 8
"""Landmarks (iBUG) of the face before the ears, and of the chin."""
NAPE, THROAT, NECK_LENGTH = 0.45, 1.1, 0.55
"""Where the skull ends behind and in front, below the ears, and the neck's length: in heights from chin to ears."""
NECK_BEHIND, NAPE_BEHIND = 0.25, 0.9
"""How far behind the sides of the face the neck's axis and the nape lie, in the same unit."""


@dataclass(frozen=True)
class Bones:
    """Four bones without a rotation, head frame, millimetres."""

    places: Float[np.ndarray, "4 3"]
    """Where each begins: about this point it turns."""
    weights: Float[np.ndarray, "v 4"]
    """How far each vertex follows; rows have the sum one."""

    @staticmethod
    def of(rig: Rig) -> Bones:
        """Place bones in a head: the jaw turns about its hinges as in `jawOpen`, skull and neck by the height."""
        template, vertices = rig.head.template, rig.head.vertices
        side, chin = vertices[template.ibug68[list(SIDES)]].mean(0), vertices[template.ibug68[CHIN]]
        unit = side[1] - chin[1]
        axis, hinge = side - [0, 0, NECK_BEHIND * unit], _hinge(rig)
        below = np.array([NAPE + NECK_LENGTH + 0.5, NAPE + NECK_LENGTH, NAPE]) * unit
        places = np.stack([*(axis - [0, depth, 0] for depth in below), hinge])
        # The skull ends at a slope from the nape down to the throat; the neck a neck's length below.
        back, front = side[2] - NAPE_BEHIND * unit, chin[2]
        across = ((vertices[:, 2] - back) / (front - back)).clip(0, 1)
        above = vertices[:, 1] - (side[1] - (NAPE + (THROAT - NAPE) * across) * unit)
        share = 2 * (1 + above / (NECK_LENGTH * unit)).clip(0, 1)
        weights = np.stack([1 - share, 1 - np.abs(share - 1), share - 1, 0 * share], 1).clip(0, 1)
        weights[template.has(*EYES, Part.UPPER_TEETH)] = np.eye(4)[SKULL]
        jaw = _jaw(rig, hinge, chin)[:, None]
        return Bones(places, (1 - jaw) * weights + jaw * np.eye(4)[JAW])


def _hinge(rig: Rig) -> Float[np.ndarray, "3"]:
    """Return the middle of the axis about which `jawOpen` turns the lower teeth."""
    own = rig.head.template.has(Part.LOWER_TEETH)
    before = rig.head.vertices[own]
    after = before + rig.moves[rig.names.index("jawOpen")][own]
    motion = procrustes(torch.from_numpy(before), torch.from_numpy(after), torch.ones(len(before)).double())
    # What stays where it is: turn p + shift = p, in the plane across the axis.
    turn, shift = motion.rotation.numpy()[1:, 1:], motion.translation.numpy()[1:]
    centre = np.linalg.solve(np.eye(2) - turn, shift)
    return np.array([before[:, 0].mean(), *centre])


def _jaw(rig: Rig, hinge: Float[np.ndarray, "3"], chin: Float[np.ndarray, "3"]) -> Float[np.ndarray, "v"]:
    """Return how far vertices follow the jaw: what `jawOpen` moves them by against a turn of the chin's size."""
    template = rig.head.template
    moved = np.linalg.norm(rig.moves[rig.names.index("jawOpen")], axis=1)
    arms = np.linalg.norm((rig.head.vertices - hinge)[:, 1:], axis=1)
    turn = moved[template.ibug68[CHIN]] / np.linalg.norm((chin - hinge)[1:])
    skin = template.has(Part.SKIN, Part.LINING)
    found = np.where(skin, moved / np.maximum(turn * arms, 1e-6), 0.0).clip(0, 1)
    found[template.has(Part.LOWER_TEETH, Part.TONGUE)] = 1.0
    return found
