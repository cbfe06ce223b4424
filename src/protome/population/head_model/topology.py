"""One open, single-layered surface of head and neck, cut out of the VALID body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from protome.errors import InputError
from protome.morphable.holes import Patch, boundary_loops, ladder
from protome.population.sources.valid import EYE_CORNERS, ValidHeads

NECK_M = -0.14
"""Height (template, metres) below which the body is cut off."""
LIP_RINGS = 7
"""The throat ends in a rim; so many rings of vertices before it the lips touch, and the mouth is closed there."""
EYE_RUNGS = 3
"""New vertices between each pair of lid vertices."""
EYE_BULGE_M = 0.0028
"""How far an eyeball stands before the rims of its lids, which end behind its surface; measured on VALID heads."""


@dataclass(frozen=True)
class HeadTopology:
    """Which vertices of the body make up the head, and what closes eyes and mouth."""

    kept: Int[np.ndarray, "k"]
    """Body vertices, one for each position."""
    faces: Int[np.ndarray, "f 3"]
    """Triangles of the head; its vertices are those kept, then those of the patches."""
    patches: tuple[Patch, ...]
    """Right eye, left eye, mouth; they refer to the head's own vertices."""
    bulge: Float[np.ndarray, "v"]
    """How far a vertex stands before its patch along +z, metres; zero but on the eyes."""
    corners: Int[np.ndarray, "4"]
    """The head's vertices at the four corners of the eyes."""

    @staticmethod
    def of(valid: ValidHeads, template: Float[np.ndarray, "v 3"]) -> HeadTopology:
        """Cut the head out.

        Raises:
            InputError: the body is not the one that was expected.
        """
        faces = valid.weld[valid.faces]
        faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
        inside = _rings(faces, _throat(faces, template), LIP_RINGS - 1)
        faces = faces[(template[faces, 1] > NECK_M).all(1) & ~inside[faces].any(1)]
        kept, local = np.unique(faces, return_inverse=True)
        faces, places = local.reshape(-1, 3), template[kept]
        loops = boundary_loops(faces)
        if len(loops) != 4:
            raise InputError(f"the body's head has {len(loops)} borders, not 4: give the folder of the VALID busts")
        holes = sorted(loops[1:], key=lambda loop: (places[loop, 1].mean() < -0.03, places[loop, 0].mean()))
        patches: list[Patch] = []
        count, bulge = len(kept), [np.zeros(len(kept))]
        for hole, rungs in zip(holes, (EYE_RUNGS, EYE_RUNGS, 0), strict=True):
            patches.append(ladder(hole, places, rungs, count))
            # Between the lids an eyeball is nearly flat: it falls off only next to its rim.
            bulge.append(EYE_BULGE_M * patches[-1].middle ** 0.3)
            count += len(patches[-1].parents)
        corners = np.searchsorted(kept, valid.weld[[valid.landmarks[name] for name in EYE_CORNERS]])
        joined = np.concatenate([faces, *(patch.faces for patch in patches)])
        return HeadTopology(kept, joined, tuple(patches), np.concatenate(bulge), corners)

    def moves(self, fields: Float[np.ndarray, "*m v 3"]) -> Float[np.ndarray, "*m h 3"]:
        """Return displacements of the body as displacements of the head, in which the middle of the eyes stays."""
        own = fields[..., self.kept, :]
        whole = np.concatenate([own, *(patch.carry(own) for patch in self.patches)], -2)
        return whole - whole[..., self.corners, :].mean(-2, keepdims=True)

    def expression(self, template: Float[np.ndarray, "v 3"], fields: Float[np.ndarray, "m v 3"]) -> np.ndarray:
        """Return expressions of the body, (m, h, 3), in which lids that close also flatten the eyeball under them."""
        moves, start = self.moves(fields), len(self.kept)
        rest, moved = template[self.kept], (template + fields)[:, self.kept]
        for patch in self.patches:
            stop = start + len(patch.parents)
            before, after = (
                np.linalg.norm(places[..., patch.parents[:, 0], :] - places[..., patch.parents[:, 1], :], axis=-1)
                for places in (rest, moved)
            )
            closed = np.clip(1 - after / np.maximum(before, 1e-9), 0, 1)
            moves[:, start:stop, 2] -= closed * self.bulge[start:stop]
            start = stop
        return moves

    def shape(self, body: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "h 3"]:
        """Return the head of a body in the head frame."""
        return self.moves(body) + self.bulge[:, None] * np.array([0.0, 0.0, 1.0])


def _throat(faces: Int[np.ndarray, "f 3"], template: Float[np.ndarray, "v 3"]) -> Bool[np.ndarray, "v"]:
    """Return the vertices of the rim where the inside of the mouth ends."""
    marked = np.zeros(len(template), bool)
    for loop in boundary_loops(faces):
        middle = template[loop].mean(0)
        if abs(middle[0]) < 0.01 and -0.09 < middle[1] < -0.05 and middle[2] < -0.01:
            marked[loop] = True
    return marked


def _rings(faces: Int[np.ndarray, "f 3"], start: Bool[np.ndarray, "v"], count: int) -> Bool[np.ndarray, "v"]:
    """Return the vertices that lie at most `count` edges from the marked ones."""
    edges = np.unique(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=0)
    reached = start.copy()
    for _ in range(count):
        grown = reached.copy()
        grown[edges[reached[edges[:, 0]], 1]] = True
        grown[edges[reached[edges[:, 1]], 0]] = True
        reached = grown
    return reached
