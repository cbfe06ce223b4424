"""Displacement of a mesh to the zero level of a field along its own normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from protome.field.field import CHUNK, Field, SdfFn, in_chunks
from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of
from protome.units import UNIT_MM

FARTHEST_MM = 5.0
"""Largest displacement of a vertex."""
FADE_MM = 10.0
"""Width over which displacements fade to zero at the rim of the displaced part."""
_STEPS = 5


@dataclass(frozen=True)
class Displaced:
    """A mesh and its displacement to a field's surface, millimetres."""

    base: Mesh
    """With smooth normals."""
    mesh: Mesh
    """The displaced mesh; its normals are the field's where it was displaced."""
    displacement: Float[np.ndarray, "v"]
    """Along the base's normals."""


def displace(base: Mesh, moving: Bool[np.ndarray, "f"], field: Field) -> Displaced:
    """Move the vertices of some triangles of a mesh (millimetres, with normals) to a field's surface (inner units)."""
    assert base.normals is not None
    chosen = np.unique(base.faces[moving])
    weight = _fade(base, moving)[chosen]
    start = torch.from_numpy(base.vertices[chosen] / UNIT_MM).float()
    along = torch.from_numpy(base.normals[chosen]).float()
    shift = zero_along(field.sdf, start, along).double().numpy() * UNIT_MM * weight
    displacement = np.zeros(len(base.vertices))
    displacement[chosen] = shift
    vertices = base.vertices + displacement[:, None] * base.normals
    normals = base.normals.copy()
    with torch.no_grad():
        spots = (start + torch.from_numpy(shift / UNIT_MM).float()[:, None] * along).split(CHUNK)
        found = torch.cat([field.surface(part).normals for part in spots]).double().numpy()
    blended = weight[:, None] * found + (1 - weight[:, None]) * normals[chosen]
    normals[chosen] = blended / np.maximum(np.linalg.norm(blended, axis=1, keepdims=True), 1e-12)
    return Displaced(base, Mesh(vertices, base.faces, normals=normals), displacement)


def zero_along(
    sdf: SdfFn, start: Float[torch.Tensor, "n 3"], along: Float[torch.Tensor, "n 3"]
) -> Float[torch.Tensor, "n"]:
    """Return the distance along unit directions to a field's zero, at most `FARTHEST_MM`, by secant steps.

    The start is assumed near the surface and the directions near its normals, so that the first step is the signed
    distance.
    """
    limit = FARTHEST_MM / UNIT_MM
    before, there = torch.zeros(len(start)), in_chunks(sdf, start)
    first, now = there, (-there).clamp(-limit, limit)
    for _ in range(_STEPS):
        value = in_chunks(sdf, start + now[:, None] * along)
        slope = (value - first) / (now - before).where((now - before).abs() > 1e-7, torch.ones_like(now))
        # On surfaces oblique to the direction a step is at most twice the signed distance.
        slope = slope.clamp(0.5, 1.5)
        before, first, now = now, value, (now - value / slope).clamp(-limit, limit)
    return now


def _fade(mesh: Mesh, moving: Bool[np.ndarray, "f"]) -> Float[np.ndarray, "v"]:
    """Return 0 on the rim of the moving triangles, 1 farther inside than `FADE_MM`, and a smooth step between."""
    edges = np.sort(mesh.faces[moving][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    pairs, counts = np.unique(edges, axis=0, return_counts=True)
    rim = np.unique(pairs[counts == 1])
    if len(rim) == 0:
        return np.ones(len(mesh.vertices))
    share = np.clip(tree_of(mesh.vertices[rim]).query(mesh.vertices)[0] / FADE_MM, 0, 1)
    return share**2 * (3 - 2 * share)
