"""ARKit's expressions on the template: ICT-FaceKit's own displacements, and a tongue that comes out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from protome.geometry.neighbours import tree_of
from protome.morphable.ict_files import IctMesh
from protome.population.template.skin import GUMS, SOCKETS, Placed
from protome.topology.names import ARKIT, TONGUE_OUT, ict_units

LEAST_MM = 0.03
"""Smaller moves are left out: they cost space and show nothing."""
OUT_MM = np.array([0.0, -7.0, 30.0])
"""How far the tip of the tongue comes out."""
NEAREST = 12
"""Vertices of ICT's gums and tongue that one of the template's tongue follows."""


def template_moves(
    ict: IctMesh, place: Placed, skin: Int[np.ndarray, "k"], tongue: Float[np.ndarray, "n 3"], count: int, start: int
) -> Float[np.ndarray, "e v 3"]:
    """Return the displacements of `count` vertices, millimetres.

    The first of them are ICT's numbered by `skin`; the tongue's stand from `start` on. The others keep still.
    """
    rows = {name: k for k, name in enumerate(ict.expression_names)}
    distance, near = tree_of(place.neutral[SOCKETS:GUMS]).query(tongue, k=NEAREST)
    shares = 1 / (distance + 1.0)
    shares /= shares.sum(1, keepdims=True)
    moves = np.zeros((len(ARKIT), count, 3), np.float32)
    for number, name in enumerate(ARKIT):
        units = [rows[unit] for unit in ict_units(name)]
        whole = 1000 * ict.expression[units].sum(0) @ place.turn.T
        moves[number, : len(skin)] = whole[skin]
        moves[number, start : start + len(tongue)] = (whole[SOCKETS:GUMS][near] * shares[..., None]).sum(1)
    depth = tongue[:, 2]
    share = ((depth - depth.min()) / np.ptp(depth))[:, None] ** 1.5
    moves[ARKIT.index(TONGUE_OUT), start : start + len(tongue)] = share * OUT_MM
    moves[np.linalg.norm(moves, axis=2) < LEAST_MM] = 0
    return moves
