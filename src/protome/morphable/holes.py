"""Closing the holes of a head's mesh: eyes and mouth, between their upper and lower rims."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from protome.errors import InputError


@dataclass(frozen=True)
class Patch:
    """A fill whose new vertices are linear interpolations of vertices of the rim, for any shape of the head."""

    faces: Int[np.ndarray, "f 3"]
    """Indices of new vertices start at the mesh's `count`."""
    parents: Int[np.ndarray, "n 2"]
    shares: Float[np.ndarray, "n 2"]
    """Weights of a new vertex's two parents, which sum to one."""
    middle: Float[np.ndarray, "n"]
    """1 in the middle of the hole, falling to 0 on its rim."""

    def carry(self, values: Float[np.ndarray, "*m v k"]) -> Float[np.ndarray, "*m n k"]:
        """Interpolate values of the mesh's vertices at the new ones."""
        return (values[..., self.parents, :] * self.shares[..., None]).sum(-2)


def boundary_loops(faces: Int[np.ndarray, "f 3"]) -> list[Int[np.ndarray, "n"]]:
    """Return the closed borders of a mesh, longest first, each in the direction of its triangles' edges.

    Raises:
        InputError: borders touch, so that the mesh is not a manifold there.
    """
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    _, first, counts = np.unique(np.sort(directed, 1), axis=0, return_index=True, return_counts=True)
    following: dict[int, int] = {}
    for a, b in directed[first[counts == 1]].tolist():
        if a in following:
            raise InputError("the mesh has two holes that touch in a point: give a mesh whose holes are apart")
        following[a] = b
    loops = []
    while following:
        start = next(iter(following))
        loop = [start]
        while (step := following.pop(loop[-1], None)) is not None and step != start:
            loop.append(step)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def ladder(loop: Int[np.ndarray, "n"], vertices: Float[np.ndarray, "v 3"], rungs: int, count: int) -> Patch:
    """Close a hole between its left and right corners by a ladder of triangles from the upper rim to the lower one.

    `loop` runs in the direction of its triangles' edges. The corners are the opposite vertices of the loop that are
    farthest apart. Every other pair of opposite vertices gets `rungs` new vertices between them, which are numbered
    from `count` on.

    Raises:
        InputError: the rim has an odd number of vertices, or fewer than four.
    """
    half = len(loop) // 2
    if len(loop) % 2 or half < 2:
        raise InputError(f"a hole with a rim of {len(loop)} vertices cannot be closed: give a mesh with even rims")
    apart = np.linalg.norm(vertices[loop] - vertices[np.roll(loop, -half)], axis=1)
    ring = np.roll(loop, -int(apart[:half].argmax()))
    first, second = ring[1:half], ring[:half:-1]
    steps = np.arange(1, rungs + 1) / (rungs + 1)
    parents = np.repeat(np.stack([first, second], 1), rungs, 0)
    along = np.tile(steps, half - 1)
    across = np.repeat(np.arange(1, half) / half, rungs)
    columns = np.concatenate(
        [first[:, None], count + np.arange((half - 1) * rungs).reshape(half - 1, rungs), second[:, None]], 1
    )
    triangles = []
    # A corner meets the first column in a fan; between columns lie quads, cut along one diagonal.
    for end, column, flip in ((ring[0], columns[0], False), (ring[half], columns[-1], True)):
        fan = np.stack([np.full(rungs + 1, end), column[1:], column[:-1]], 1)
        triangles.append(fan[:, ::-1] if flip else fan)
    for left, right in pairwise(columns):
        triangles.append(np.stack([left[:-1], left[1:], right[:-1]], 1))
        triangles.append(np.stack([right[:-1], left[1:], right[1:]], 1))
    middle = np.sin(np.pi * along) * np.sin(np.pi * across)
    return Patch(np.concatenate(triangles), parents, np.stack([1 - along, along], 1), middle)
