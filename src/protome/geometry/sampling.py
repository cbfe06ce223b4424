"""Random points on triangle meshes, uniform by area."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from protome.geometry.mesh import Mesh


@dataclass(frozen=True)
class SurfaceSamples:
    """Sampled points on a mesh."""

    points: Float[np.ndarray, "n 3"]
    faces: Int[np.ndarray, "n"]
    weights: Float[np.ndarray, "n 3"]
    """Barycentric weights in these faces."""


def uniform_weights(random: np.random.Generator, count: int) -> Float[np.ndarray, "count 3"]:
    """Return barycentric weights of points that are uniform over a triangle of any shape.

    Source: Turk (1990), generating random points in triangles, Graphics Gems.
    """
    u, v = np.sqrt(random.random(count)), random.random(count)
    return np.stack([1.0 - u, u * (1.0 - v), u * v], 1)


def sample_surface(mesh: Mesh, count: int, seed: int | np.random.Generator = 0) -> SurfaceSamples:
    """Return `count` points, uniform by area over a mesh; the same seed gives the same points.

    A generator may be given instead of a seed.

    Raises:
        ValueError: the mesh has no area.
    """
    random = np.random.default_rng(seed)
    edges = mesh.vertices[mesh.faces[:, 1:]] - mesh.vertices[mesh.faces[:, :1]]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1).cumsum()
    if len(area) == 0 or not area[-1] > 0:
        raise ValueError("a mesh without area cannot be sampled")
    # Stratified sampling of the cumulative area gives every triangle its share with the least variance.
    place = (np.arange(count) + random.random(count)) / count * area[-1]
    faces = np.minimum(np.searchsorted(area, place, side="right"), len(area) - 1)
    weights = uniform_weights(random, count)
    return SurfaceSamples(np.einsum("nk,nkd->nd", weights, mesh.vertices[mesh.faces[faces]]), faces, weights)
