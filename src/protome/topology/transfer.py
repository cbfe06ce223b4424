"""Expressions of the template given to one person's head: deformation transfer between meshes of one topology.

The gradient of the template's deformation on each triangle is given to the same triangle of the head, and vertices are
found whose own gradients come closest (Sumner and Popovic, Deformation transfer for triangle meshes, SIGGRAPH 2004;
solved as the Poisson equation of Botsch et al., Deformation transfer for detail-preserving surface editing, 2006).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import splu

PULL = 2e-3
"""Weight, for a triangle's share of a vertex, of the template's own displacement: gradients leave shifts free."""
STILL_MM = 1e-6


def transferred(
    rest: Float[np.ndarray, "v 3"],
    moves: Float[np.ndarray, "e v 3"],
    target: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    scale: float,
) -> Float[np.ndarray, "e v 3"]:
    """Return how expressions move the vertices of a head; vertices without faces, and those at rest, keep still.

    `rest` and `moves` are the template's and its expressions, `target` is the head, `scale` the head's size in
    templates.
    """
    count = len(target)
    gradient, area = _gradients(target, faces)
    own = _gradients(rest, faces)[0]
    weighted = diags(np.repeat(area, 3)) @ gradient
    lumped = np.bincount(faces.ravel(), np.repeat(area / 3, 3), count) / np.maximum(area.mean(), 1e-12)
    system = (gradient.T @ weighted / area.mean() + diags(PULL * lumped + 1e-9)).tocsc()
    solve = splu(system).solve
    result = np.zeros((len(moves), count, 3), np.float32)
    for number, move in enumerate(moves):
        # Rows of a gradient: derivatives of the displacement along x, y and z; each is a vector.
        field = (own @ move.astype(np.float64)).reshape(-1, 3, 3)
        right = weighted.T @ field.reshape(-1, 3) / area.mean() + (PULL * lumped)[:, None] * scale * move
        found = solve(right)
        still = np.abs(move).max(1) < STILL_MM
        result[number] = np.where(still[:, None], 0, found)
    return result


def _gradients(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> tuple[csr_matrix, np.ndarray]:
    """Return the operator from values at vertices to their gradients on triangles, (3f, v), and the areas."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    double = np.maximum((normal**2).sum(1), 1e-12)
    # The gradient of a corner's hat function is the normal times the opposite edge, over twice the area squared.
    hats = [np.cross(normal, edge) / double[:, None] for edge in (c - b, a - c, b - a)]
    rows = (3 * np.arange(len(faces))[:, None] + np.arange(3)).ravel()
    entries = [coo_matrix((hat.ravel(), (rows, np.repeat(faces[:, k], 3))), shape=(3 * len(faces), len(vertices)))
               for k, hat in enumerate(hats)]  # fmt: skip
    return csr_matrix(sum(entries)), np.sqrt(double) / 2
