"""The template's skin on a head: pulled back where that is skin, and laid onto the head's zero level."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.field.field import CHUNK, Field
from protome.geometry.extension import laplacian, smooth_extension
from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of
from protome.prior.prior import FittedHead
from protome.topology.names import ict_units
from protome.topology.pull import CORE_MM, MOUTH_MM, expected, pulled_back, sure_skin
from protome.topology.template import Part, Template
from protome.units import UNIT_MM

REACH_MM = (5.0, 10.0)
"""Distances from the outer surface along the normal up to which skin is laid onto it, and beyond which it is not."""
FACING = 0.4
"""Least cosine between the normals of skin and of its place on the surface."""
HELD, LOOSE = 0.3, 0.02
"""Trust below which a vertex takes its place from others nearby, and how firmly it keeps that place."""
EVEN, FOLDED_MM = 1.0, 2.0
"""Smoothness of what places are compared with, and the departure at which one is rejected."""
ROUNDS = (10.0, 0.2)
"""Smoothness against closeness in each round of laying skin onto the surface."""
SMOOTH, REST = 0.05, 1e-3
"""The same for the places themselves, and the weight of staying where nothing else holds a vertex."""
NEWTON, NEAR_MM = 6, 0.8
"""Steps onto the zero level, and the distance from it up to which they are taken."""
UNTANGLED, UNTANGLED_MM = (1, 2, 3, 4, 6), 3.0
"""Rings around turned triangles that are laid anew in each round, and how far from the zero level they may then be."""
TRUSTED = 0.9
"""Trust above which skin lies open and is not to be turned over."""
INSIDE_MM = 1.0
"""Skin whose place is only expected lies at least this deep."""
TOUCH_MM, OPEN_MM = 1.6, 3.0
"""Distance of points of both lips on the template that touch, and on a head above which its mouth is open."""


def skin_on_head(template: Template, head: FittedHead, surface: Mesh) -> Float[np.ndarray, "v 3"]:
    """Return the template with its skin and lining on a head; other parts keep their places.

    `surface` is the head's outer surface, roughly, head frame, millimetres. Skin that hair covers is where the skin
    around lets expect it. Behind lips and lids nothing of the reference corresponds, so that the lining goes along
    with the skin.
    """
    own = template.has(Part.SKIN, Part.LINING)
    faces = template.triangles[np.isin(template.triangle_part, (Part.SKIN, Part.LINING))]
    rest, count = posed(template, head), len(template.vertices)
    smoothness = laplacian(faces, count)
    pulled = pulled_back(head, template.vertices[own])
    moves, known = np.zeros((count, 3)), np.zeros(count)
    moves[own] = pulled.vertices - rest[own]
    known[own] = pulled.known * template.trust[own]
    known *= sure_skin(template.vertices, rest, moves, known >= HELD, faces)
    inner = np.flatnonzero(own & (known == 0))
    moves[inner] = expected(rest, known > 0, moves, inner)
    weights = np.where(known > 0, known, LOOSE * own)
    start = rest + own[:, None] * smooth_extension(smoothness, weights, moves, SMOOTH)
    outer = Trimesh(surface.vertices, surface.faces, process=False)
    caster, normals = RayMeshIntersector(outer), np.array(outer.face_normals)
    moved = start
    for stiffness in ROUNDS:
        target, weights = _feet(moved, faces, known, caster, normals)
        weights = _without_strays(smoothness, weights, target - moved)
        lift = smooth_extension(smoothness, weights + REST * own, target - start, stiffness)
        moved = start + own[:, None] * lift
    field = head.bind()
    moved = _onto_zero_level(moved, own, smoothness, field, weights)
    moved = _closed_lips(template, moved, own, faces, smoothness, weights)
    bare = ((template.vertices > CORE_MM[0]) & (template.vertices < CORE_MM[1])).all(1)
    moved = _below_surface(moved, own & (known == 0) & (template.trust > 0) & ~bare, field)
    return untangled(moved, rest, template.trust * own, faces, smoothness, field)


def posed(template: Template, head: FittedHead) -> Float[np.ndarray, "v 3"]:
    """Return the template with a head's expression, by the coefficients' names: the mouth as open as the head's."""
    found = head.latents.z_expression
    if found is None:
        return template.vertices
    weights = dict(zip(head.field.config.expression, found.double().cpu().numpy(), strict=True))
    row = np.zeros(len(template.names))
    for number, name in enumerate(template.names):
        units = [weights[unit] for unit in ict_units(name) if unit in weights]
        row[number] = np.mean(units) if units else 0.0
    return template.vertices + np.tensordot(row, template.moves, 1)


def _feet(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], trust: Float[np.ndarray, "v"],
    caster: RayMeshIntersector, surface_normals: Float[np.ndarray, "g 3"],
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "v"]]:  # fmt: skip
    """Return where the normals of skin meet the surface, and how much each place counts."""
    normals = np.array(Trimesh(vertices, faces, process=False).vertex_normals)
    index = np.flatnonzero(trust)
    best, places = np.full(len(index), np.inf), vertices[index].copy()
    for sign in (1.0, -1.0):
        # From a little behind, so that a vertex on the surface is not missed.
        origins = vertices[index] - sign * 0.2 * normals[index]
        points, ray, face = caster.intersects_location(origins, sign * normals[index], multiple_hits=True)
        distance = np.abs(((points - vertices[index[ray]]) * normals[index[ray]]).sum(1))
        agrees = (surface_normals[face] * normals[index[ray]]).sum(1) > FACING
        order = np.flatnonzero(agrees)[np.argsort(-distance[agrees])]
        nearest = np.full(len(index), -1)
        nearest[ray[order]] = order  # the last one written is the nearest
        found = np.flatnonzero(nearest >= 0)
        nearer = found[distance[nearest[found]] < best[found]]
        best[nearer], places[nearer] = distance[nearest[nearer]], points[nearest[nearer]]
    share = 1 - np.clip((best - REACH_MM[0]) / (REACH_MM[1] - REACH_MM[0]), 0, 1)
    target, weights = vertices.copy(), np.zeros(len(vertices))
    target[index], weights[index] = places, share**2 * (3 - 2 * share) * trust[index]
    return target, weights


def _without_strays(
    smoothness: csr_matrix, weights: Float[np.ndarray, "v"], moves: Float[np.ndarray, "v 3"]
) -> Float[np.ndarray, "v"]:
    """Return the weights without those of moves that depart from the moves around them."""
    even = smooth_extension(smoothness, weights, moves, EVEN)
    return weights * (np.linalg.norm(even - moves, axis=1) < FOLDED_MM)


def _onto_zero_level(
    vertices: Float[np.ndarray, "v 3"], own: Bool[np.ndarray, "v"], smoothness: csr_matrix, field: Field,
    weights: Float[np.ndarray, "v"],
) -> Float[np.ndarray, "v 3"]:  # fmt: skip
    """Return the vertices with those near the zero level on it, by Newton's method along its gradient."""
    index = np.flatnonzero(weights > 0.05)
    on = _at_level(field, vertices[index], 0.0)
    near = np.linalg.norm(on - vertices[index], axis=1) < NEAR_MM
    moves, known = np.zeros_like(vertices), np.zeros(len(vertices))
    moves[index[near]] = on[near] - vertices[index[near]]
    known[index[near]] = 1e2 * weights[index[near]]
    return vertices + own[:, None] * smooth_extension(smoothness, known + REST * own, moves, SMOOTH)


def untangled(
    vertices: Float[np.ndarray, "v 3"], rest: Float[np.ndarray, "v 3"], trust: Float[np.ndarray, "v"],
    faces: Int[np.ndarray, "f 3"], smoothness: csr_matrix, field: Field,
) -> Float[np.ndarray, "v 3"]:  # fmt: skip
    """Return the vertices with triangles of open skin that look inwards turned outwards, as far as that can be done.

    Between lips that are open no point corresponds to the reference, so that vertices there have strayed to the other
    lip. Those around turned triangles take their moves from the skin around, in wider rings in each round, and are laid
    onto the zero level again. `trust` says how open skin lies, `rest` is what moves are measured from.
    """
    own = np.zeros(len(vertices), bool)
    own[faces] = True
    for rings in UNTANGLED:
        turned = _turned(vertices, faces, trust, field)
        if not turned.any():
            break
        loose = np.zeros(len(vertices), bool)
        loose[faces[turned]] = True
        for _ in range(rings):
            loose[faces[loose[faces].any(1)]] = True
        held = np.where(own & ~loose, 1e2, 0.0)
        even = rest + smooth_extension(smoothness, held, vertices - rest, EVEN)
        index = np.flatnonzero(loose & own)
        moved = vertices.copy()
        moved[index] = even[index]
        near = index[trust[index] > HELD]
        on = _at_level(field, moved[near], 0.0)
        close = np.linalg.norm(on - moved[near], axis=1) < UNTANGLED_MM
        moved[near[close]] = on[close]
        if _turned(moved, faces, trust, field).sum() < turned.sum():
            vertices = moved
    return vertices


def _turned(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], trust: Float[np.ndarray, "v"], field: Field
) -> Bool[np.ndarray, "f"]:
    """Return which triangles of open skin look against the gradient of the field."""
    index = np.flatnonzero((trust[faces] > TRUSTED).all(1))
    corners = vertices[faces[index]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    points = torch.from_numpy(corners.mean(1) / UNIT_MM).float()
    with torch.no_grad():
        gradient = torch.cat([field.surface(part).gradient for part in points.split(CHUNK)]).double().cpu().numpy()
    found = np.zeros(len(faces), bool)
    found[index] = (normals * gradient).sum(1) <= 0
    return found


def _below_surface(
    vertices: Float[np.ndarray, "v 3"], covered: Bool[np.ndarray, "v"], field: Field
) -> Float[np.ndarray, "v 3"]:
    """Return the vertices with covered ones that stand out of the surface moved inside."""
    index = np.flatnonzero(covered)
    if not len(index):
        return vertices
    points = torch.from_numpy(vertices[index] / UNIT_MM).float()
    with torch.no_grad():
        outside = torch.cat([field.sdf(part) for part in points.split(CHUNK)]) > -INSIDE_MM / UNIT_MM
    index = index[outside.cpu().numpy()]
    moved = vertices.copy()
    moved[index] = _at_level(field, vertices[index], -INSIDE_MM)
    return moved


def _at_level(field: Field, points_mm: Float[np.ndarray, "n 3"], level_mm: float) -> Float[np.ndarray, "n 3"]:
    points: Tensor = torch.from_numpy(points_mm / UNIT_MM).float()
    for _ in range(NEWTON):
        moved = []
        for part in points.split(CHUNK):
            with torch.no_grad():
                at = field.surface(part)
            squared = at.gradient.square().sum(1, keepdim=True).clamp_min(1e-2)
            step = (at.sdf[:, None] - level_mm / UNIT_MM) * at.gradient / squared
            moved.append((part - step.clamp(-0.02, 0.02)).detach())
        points = torch.cat(moved) if moved else points
    return points.double().cpu().numpy() * UNIT_MM


def _closed_lips(
    template: Template, vertices: Float[np.ndarray, "v 3"], own: Bool[np.ndarray, "v"], faces: Int[np.ndarray, "f 3"],
    smoothness: csr_matrix, weights: Float[np.ndarray, "v"],
) -> Float[np.ndarray, "v 3"]:  # fmt: skip
    """Return the vertices with lips that touch as on the template, unless the mouth is open."""
    rest = template.vertices
    up = np.array(Trimesh(rest, faces, process=False).vertex_normals)[:, 1]
    mouth = own & (template.trust < 1) & (rest > MOUTH_MM[0]).all(1) & (rest < MOUTH_MM[1]).all(1)
    upper, lower = np.flatnonzero(mouth & (up < -0.3)), np.flatnonzero(mouth & (up > 0.3))
    distance, near = tree_of(rest[lower]).query(rest[upper])
    touching = distance < TOUCH_MM
    upper, lower = upper[touching], lower[near[touching]]
    if not len(upper):
        return vertices
    # Side by side as on the template, and without the slit that its lips leave.
    gap = (vertices[upper] - vertices[lower]) - (rest[upper] - rest[lower]) * [1, 0, 1]
    if np.median(gap[:, 1]) > OPEN_MM:
        return vertices
    total, number = np.zeros_like(vertices), np.zeros(len(vertices))
    for index, sign in ((upper, -0.5), (lower, 0.5)):
        np.add.at(total, index, sign * gap)
        np.add.at(number, index, 1)
    moves = total / np.maximum(number, 1)[:, None]
    held = np.where(number > 0, 1.0, weights) + REST * own
    return vertices + own[:, None] * smooth_extension(smoothness, held, moves, EVEN)
