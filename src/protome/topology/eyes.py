"""Eyeballs, teeth and tongue of the template on a head: each goes along as a whole with the skin before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity, procrustes
from protome.topology.hair import first_exit
from protome.topology.template import EYES, Part, Template

AROUND_EYE = 2.2
"""Skin so many radii from an eyeball's centre decides where the eyeball lies."""
SHIFT_MM = 4.0
"""The most that an eyeball is moved along its gaze so that it fills the opening of the lids."""
CLEARANCE_MM = 0.25
"""Lids keep at least so far from the eyeball."""
JAW_MM = 48.0
"""Skin so far from the teeth decides where they lie."""


@dataclass(frozen=True)
class Eyeballs:
    """Where the eyeballs of a head lie, left first, head frame, millimetres."""

    pivots: Float[np.ndarray, "2 3"]
    radii: Float[np.ndarray, "2"]


def eyes_on_head(
    template: Template, vertices: Float[np.ndarray, "v 3"], surface: Mesh
) -> tuple[Float[np.ndarray, "v 3"], Eyeballs]:
    """Return the vertices with eyeballs in their places and lids over them, and where the eyeballs are."""
    vertices, rest = vertices.copy(), template.vertices
    pivots, radii = np.zeros((2, 3)), np.zeros(2)
    skin = template.has(Part.SKIN, Part.LINING)
    regions = [
        (template.trust > 0.2) & (np.linalg.norm(rest - centre, axis=1) < AROUND_EYE * radius)
        for centre, radius in zip(template.pivots, template.radii, strict=True)
    ]
    # Hair at one temple would stretch one eyeball: both have one size.
    scale = float(_motion(rest, vertices, regions[0] | regions[1]).scale)
    for number, part in enumerate(EYES):
        centre, radius = template.pivots[number], float(template.radii[number])
        place = _motion(rest, vertices, regions[number])
        own = np.flatnonzero(template.has(part))
        here, size = place.apply_numpy(centre[None])[0], scale * radius
        ways = rest[own] - centre
        ways = ways[_in_opening(template, own)] @ place.rotation.numpy().T / radius
        reach = first_exit(surface.vertices, surface.faces, here, ways)
        ahead = place.rotation.numpy() @ np.array([0.0, 0.0, 1.0])
        depth = (reach - size)[np.isfinite(reach)]
        if len(depth):
            here = here + float(np.clip(np.median(depth), -SHIFT_MM, SHIFT_MM)) * ahead
        pivots[number], radii[number] = here, size
        vertices[own] = here + size / radius * (rest[own] - centre)
        vertices = over_ball(vertices, skin, here, size)
    return vertices, Eyeballs(pivots, radii)


def over_ball(
    vertices: Float[np.ndarray, "v 3"], chosen: Bool[np.ndarray, "v"], centre: Float[np.ndarray, "3"], radius: float
) -> Float[np.ndarray, "v 3"]:
    """Return the vertices with chosen ones that would pierce the front of an eyeball moved out of it."""
    away = vertices - centre
    distance = np.linalg.norm(away, axis=1)
    lift = np.clip(radius + CLEARANCE_MM - distance, 0, None)
    lift *= chosen & (away[:, 2] > 0.2 * radius)
    return vertices + (lift / np.maximum(distance, 1e-9))[:, None] * away


def teeth_on_head(template: Template, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    """Return the vertices with the teeth and the tongue in their places, behind upper and lower lip."""
    vertices, rest = vertices.copy(), template.vertices
    upper, lower, tongue = (template.has(part) for part in (Part.UPPER_TEETH, Part.LOWER_TEETH, Part.TONGUE))
    bite = (rest[upper, 1].min() + rest[lower, 1].max()) / 2
    for own, side in ((upper, rest[:, 1] > bite + 4), (lower | tongue, rest[:, 1] < bite - 4)):
        middle = rest[own].mean(0)
        near = (template.trust > 0.5) & side & (np.linalg.norm(rest - middle, axis=1) < JAW_MM)
        vertices[own] = _motion(rest, vertices, near).apply_numpy(rest[own])
    return vertices


def _motion(
    rest: Float[np.ndarray, "v 3"], moved: Float[np.ndarray, "v 3"], chosen: Bool[np.ndarray, "v"]
) -> Similarity:
    weights = torch.ones(int(chosen.sum()), dtype=torch.float64)
    return procrustes(torch.from_numpy(rest[chosen]), torch.from_numpy(moved[chosen]), weights)


def _in_opening(template: Template, own: Int[np.ndarray, "k"]) -> Bool[np.ndarray, "k"]:
    """Return which vertices of the template's eyeball are seen between its lids from the front."""
    solid = np.isin(template.triangle_part, (Part.SKIN, Part.LINING))
    caster = RayMeshIntersector(Trimesh(template.vertices, template.triangles[solid], process=False))
    places = template.vertices[own]
    ahead = np.broadcast_to([0.0, 0.0, 1.0], places.shape)
    front = places[:, 2] > places[:, 2].mean() + 0.3 * np.ptp(places[:, 2])
    return front & ~caster.intersects_any(places + 0.05 * ahead, ahead)
