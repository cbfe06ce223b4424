"""The outer surface of a composed head, sampled: points, normals, colours, unoccluded view directions, distances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.geometry.sampling import uniform_weights
from protome.population.compose import CENTRE_M, ComposedHead
from protome.population.sources.valid import Part
from protome.population.texture import texels

BOUNDS_M = np.array([[-0.26, -0.27, -0.26], [0.26, 0.20, 0.10]])
"""The volume that is modelled, head frame, metres: head, hair, neck and shoulders."""
SHEET_M = 0.002
"""Half the thickness given to single sheets of hair, metres."""
FACE_M = 0.095
"""Radius of the face around the nose tip, metres."""
LEAST_VISIBILITY = 0.1
"""Share of the directions before a face, or around a point, that must be unoccluded for it to count as outside: a few
rays also leave the insides of mouths and nostrils and the gaps between locks of hair."""
STILL_M = 2e-4
"""An expression that moves skin by less leaves what is visible as it is."""
_OFF_M = 2e-5
"""How far off the surface rays start, metres."""


@dataclass(frozen=True)
class HeadSamples:
    """The training samples of one head; head frame, metres."""

    points: Float[np.ndarray, "n 3"]
    """On the outer surface."""
    normals: Float[np.ndarray, "n 3"]
    """Outwards."""
    colours: UInt8[np.ndarray, "n 3"]
    """sRGB, viewed along `views`."""
    views: Float[np.ndarray, "n 3"]
    """An unoccluded view direction of each point, from the camera."""
    template: Float[np.ndarray, "n 3"]
    """Where the same point of skin lies on the common template."""
    registered: Bool[np.ndarray, "n"]
    """Whether it has a place there; hair has none."""
    space: Float[np.ndarray, "m 3"]
    """Points near the surface and all over the volume."""
    distances: Float[np.ndarray, "m"]
    """Signed distance at `space`, negative inside."""
    landmarks: Float[np.ndarray, "6 3"]


@dataclass(frozen=True)
class _Soup:
    """All parts of a head as one triangle soup, its holes towards the body's inside capped."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    part: Int[np.ndarray, "f"]
    """Which part a face belongs to; -1 on caps."""
    local: Int[np.ndarray, "f"]
    """The face's index in its part."""
    solid: Bool[np.ndarray, "f"]
    """True on closed skin (winding numbers mean something there), False on hair."""


def _caps(body: Part) -> Int[np.ndarray, "c 3"]:
    """Fan triangles that close the rims at the waist and the arms; index len(vertices)+k is rim k's centre."""
    directed = body.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = np.sort(directed, 1)
    positions = np.unique(np.round(body.vertices, 6), axis=0, return_inverse=True)[1].ravel()
    welded = np.sort(positions[edges], 1)
    _, first, counts = np.unique(welded, axis=0, return_index=True, return_counts=True)
    rim = directed[first[counts == 1]]
    graph = coo_matrix((np.ones(len(rim)), (positions[rim[:, 0]], positions[rim[:, 1]])), shape=[len(positions)] * 2)
    _, label = connected_components(graph, directed=False)
    triangles, centre = [], len(body.vertices)
    for loop in np.unique(label[positions[rim[:, 0]]]):
        own = rim[label[positions[rim[:, 0]]] == loop]
        if body.vertices[own.ravel(), 1].mean() < -0.12:
            triangles.append(np.stack([own[:, 1], own[:, 0], np.full(len(own), centre)], 1))
            centre += 1
    return np.concatenate(triangles) if triangles else np.zeros((0, 3), int)


def _soup(head: ComposedHead) -> _Soup:
    body = head.parts[0]
    caps = _caps(body)
    centres = np.array(
        [body.vertices[caps[caps[:, 2] == k, :2].ravel()].mean(0) for k in range(len(body.vertices), caps.max() + 1)]
        if len(caps)
        else np.zeros((0, 3))
    )
    vertices, faces = [body.vertices, centres], [body.faces, caps]
    part, local = [np.zeros(len(body.faces), int), np.full(len(caps), -1)], [np.arange(len(body.faces)), caps[:, 0]]
    start = len(body.vertices) + len(centres)
    for number, piece in enumerate(head.parts[1:], 1):
        vertices.append(piece.vertices)
        faces.append(piece.faces + start)
        part.append(np.full(len(piece.faces), number))
        local.append(np.arange(len(piece.faces)))
        start += len(piece.vertices)
    joined = np.concatenate(part)
    solid = np.array([number < 0 or head.solid[number] for number in joined])
    return _Soup(np.concatenate(vertices), np.concatenate(faces), joined, np.concatenate(local), solid)


def _directions(rng: np.random.Generator, count: int) -> Float[np.ndarray, "count 3"]:
    directions = rng.normal(size=(count, 3))
    # Few cameras look up from the waist: directions to them stay near or above the horizon.
    directions[:, 1] = np.abs(directions[:, 1]) * rng.choice([1.0, -0.45], count)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


@dataclass(frozen=True)
class _Samples:
    """Points of the outer surface with their attributes."""

    points: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    colours: UInt8[np.ndarray, "n 3"]
    views: Float[np.ndarray, "n 3"]
    template: Float[np.ndarray, "n 3"]
    registered: Bool[np.ndarray, "n"]


class OuterSurface:
    """The sides of faces that are visible from outside, and the signed distance to them."""

    def __init__(
        self, head: ComposedHead, rng: np.random.Generator, rounds: int = 24, neutral: OuterSurface | None = None
    ) -> None:
        """Find the visible sides by `rounds` rays from each face.

        `neutral` is the surface of the same head without an expression. Then only what the expression moves, and what
        it shows besides, is looked at again.
        """
        self.head = head
        self.rng = rng
        self.soup = _soup(head)
        self.mesh = Trimesh(self.soup.vertices, self.soup.faces, process=False)
        self.rays = RayMeshIntersector(self.mesh)
        front, back = self._visible(rounds, neutral)
        self.front, self.back = front, back
        visible = front | back
        self.outer = self.soup.faces[visible]
        self.sheet = (front & back & ~self.soup.solid)[visible]

    def _free(self, points: np.ndarray, normals: np.ndarray, directions: np.ndarray) -> Bool[np.ndarray, "n"]:
        return ~self.rays.intersects_any(points + _OFF_M * normals, directions)

    def _moved(self, neutral: OuterSurface) -> Bool[np.ndarray, "f"]:
        """Return which faces the expression moves or adds, and those beside them, which they may hide or free."""
        count = len(neutral.soup.vertices)
        still = np.linalg.norm(self.soup.vertices[:count] - neutral.soup.vertices, axis=1) < STILL_M
        moved = np.ones(len(self.soup.faces), bool)
        faces = len(neutral.soup.faces)
        moved[:faces] = ~still[self.soup.faces[:faces]].all(1)
        beside = np.zeros(len(self.soup.vertices), bool)
        beside[self.soup.faces[moved]] = True
        return moved | beside[self.soup.faces].any(1)

    def _visible(
        self, rounds: int, neutral: OuterSurface | None
    ) -> tuple[Bool[np.ndarray, "f"], Bool[np.ndarray, "f"]]:
        """Return which faces are visible from outside on their front, and (sheets only) on their back.

        A face is visible if enough directions from random points on it are unoccluded; skin has no back.
        """
        soup, normals = self.soup, self.mesh.face_normals
        inside = (self.mesh.triangles_center > BOUNDS_M[0] - 0.02).all(1) & (
            self.mesh.triangles_center < BOUNDS_M[1] + 0.02
        ).all(1)
        front, back = np.zeros(len(soup.faces), bool), np.zeros(len(soup.faces), bool)
        moved = None if neutral is None else self._moved(neutral)
        for visible, sign, allowed in ((front, 1.0, inside), (back, -1.0, inside & ~soup.solid)):
            allowed = allowed if moved is None else allowed & moved
            free = np.zeros(len(visible), int)
            for _ in range(rounds):
                ask = np.flatnonzero(allowed & (free < _least_free(rounds)))
                if len(ask) == 0:
                    break
                bary = uniform_weights(self.rng, len(ask))
                points = (soup.vertices[soup.faces[ask]] * bary[..., None]).sum(1)
                facing = sign * normals[ask]
                free[ask] += self._free(points, facing, _above(_directions(self.rng, len(ask)), facing))
            visible[:] = free >= _least_free(rounds)
            if neutral is not None and moved is not None:
                before = neutral.front if sign > 0 else neutral.back
                visible[: len(before)] = np.where(moved[: len(before)], visible[: len(before)], before)
        return front & (soup.part >= 0), back  # no caps

    def samples(self, count: int, rounds: int = 24) -> _Samples:
        """Return `count` visible points, half of them in the face, each with an unoccluded view direction."""
        soup, rng, mesh = self.soup, self.rng, self.mesh
        area = mesh.area_faces * (self.front | self.back)
        near = np.linalg.norm(mesh.triangles_center - self.head.landmarks[2], axis=1) < FACE_M
        # The face is a small part of a bust and the part that people look at: it gets as many samples as the rest.
        weight = area * np.where(near, area[~near].sum() / max(area[near].sum(), 1e-9), 1.0)
        candidates = int(1.5 * count)
        chosen = rng.choice(len(area), candidates, p=weight / weight.sum())
        bary = uniform_weights(rng, candidates)
        corners = soup.faces[chosen]
        points, flat = (soup.vertices[corners] * bary[..., None]).sum(1), mesh.face_normals[chosen]
        behind = self.back[chosen] & (~self.front[chosen] | (rng.random(candidates) < 0.5))
        sign = np.where(behind, -1.0, 1.0)[:, None]
        flat = flat * sign
        smooth = (mesh.vertex_normals[corners] * bary[..., None]).sum(1) * sign
        smooth /= np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-12
        normals = np.where(((smooth * flat).sum(1) > 0.3)[:, None], smooth, flat)

        views, sky = np.zeros_like(points), np.zeros(candidates)
        for _ in range(rounds):
            direction = _above(_directions(rng, candidates), flat)
            free = self._free(points, flat, direction)
            views[free] = -direction[free]
            sky += free
        visible = sky >= _least_free(rounds)
        sheet = (self.front & self.back & ~soup.solid)[chosen]
        placed = points + np.where(sheet, SHEET_M, 0.0)[:, None] * normals
        kept = np.flatnonzero(visible & (placed > BOUNDS_M[0]).all(1) & (placed < BOUNDS_M[1]).all(1))
        kept = kept[rng.choice(len(kept), count, replace=len(kept) < count)]
        template, registered = self._template(chosen[kept], bary[kept])
        colours = self._colours(chosen[kept], bary[kept], points[kept], normals[kept], views[kept], sky[kept] / rounds)
        return _Samples(placed[kept], normals[kept], colours, views[kept], template, registered)

    def _template(self, face: np.ndarray, bary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place, known = np.zeros((len(face), 3)), np.zeros(len(face), bool)
        for number, part in enumerate(self.head.parts):
            if part.template is not None:
                own = self.soup.part[face] == number
                place[own] = (part.template[part.faces[self.soup.local[face[own]]]] * bary[own][..., None]).sum(1)
                known |= own
        return place, known & (place > BOUNDS_M[0]).all(1) & (place < BOUNDS_M[1]).all(1)

    def albedo(self, face: Int[np.ndarray, "n"], bary: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 3"]:
        """Return the surface's own colours at points of faces."""
        albedo = np.zeros((len(face), 3), np.uint8)
        for number, part in enumerate(self.head.parts):
            own = self.soup.part[face] == number
            corners, weights = part.faces[self.soup.local[face[own]]], bary[own][..., None]
            plain = texels(part.texture, (part.uv[corners] * weights).sum(1))
            if part.tint is not None:
                tint = (part.tint[corners] * weights).sum(1)
                plain = (1 - tint[:, 3:]) * plain + 255 * tint[:, 3:] * tint[:, :3]
            albedo[own] = plain
        return albedo

    def _colours(
        self, face: np.ndarray, bary: np.ndarray, points: np.ndarray, normals: np.ndarray, views: np.ndarray,
        sky: np.ndarray, rays: int = 3,
    ) -> UInt8[np.ndarray, "n 3"]:  # fmt: skip
        light = self.head.light
        lit = np.zeros((len(points), len(light.directions)))
        for lamp, (direction, softness) in enumerate(zip(light.directions, light.softness, strict=True)):
            for _ in range(rays):
                towards = direction + softness * self.rng.normal(size=points.shape) * 0.6
                towards /= np.linalg.norm(towards, axis=1, keepdims=True)
                ask = (normals * towards).sum(1) > 0
                # Soft light that comes from just below the horizon is not worth a shadow of its own.
                lit[:, lamp] += np.where(ask, 0.0, 1.0 / rays)
                offset = points[ask] + 2e-3 * normals[ask]
                lit[ask, lamp] += ~self.rays.intersects_any(offset, towards[ask]) / rays
        return light.shade(self.albedo(face, bary), normals, views, sky, lit)

    def shaded(
        self, face: Int[np.ndarray, "n"], bary: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "n 3"],
        views: Float[np.ndarray, "n 3"], rounds: int = 8,
    ) -> UInt8[np.ndarray, "n 3"]:  # fmt: skip
        """Return sRGB colours of points on faces viewed along unit `views`, with shadows and occlusion."""
        flat = self.mesh.face_normals[face]
        sign = np.where((flat * views).sum(1) > 0, -1.0, 1.0)[:, None]
        smooth = (self.mesh.vertex_normals[self.soup.faces[face]] * bary[..., None]).sum(1) * sign
        smooth /= np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-12
        flat = flat * sign
        sky = np.zeros(len(points))
        for _ in range(rounds):
            sky += self._free(points, flat, _above(_directions(self.rng, len(points)), flat))
        known = self.soup.part[face] >= 0
        colours = np.full((len(points), 3), 60, np.uint8)
        colours[known] = self._colours(
            face[known], bary[known], points[known], smooth[known], views[known], sky[known] / rounds
        )
        return colours

    def signed_distance(self, points: Float[np.ndarray, "m 3"], rounds: int = 48) -> Float[np.ndarray, "m"]:
        """Distance to the nearest visible face; negative in the body, and where few directions are unoccluded."""
        squared, face, _ = igl.point_mesh_squared_distance(points, self.soup.vertices, self.outer)
        distance = np.sqrt(squared)
        solid = self.soup.faces[self.soup.solid]
        inside = igl.fast_winding_number(self.soup.vertices, solid, points) > 0.5
        free = np.zeros(len(points), int)
        for _ in range(rounds):
            ask = np.flatnonzero(~inside & (free < _least_free(rounds)))
            free[ask] += ~self.rays.intersects_any(points[ask], _directions(self.rng, len(ask)))
        hidden = free < _least_free(rounds)
        return np.where(inside | hidden, -distance, distance - np.where(self.sheet[face], SHEET_M, 0.0))

    def radii(self, directions: Float[np.ndarray, "r 3"]) -> tuple[Float[np.ndarray, "r"], UInt8[np.ndarray, "r 3"]]:
        """Return how far the head reaches from its middle in each direction, metres, and its own colours there."""
        far = 0.6
        hit, index, face = self.rays.intersects_location(CENTRE_M + far * directions, -directions, multiple_hits=False)
        reach, colours = np.zeros(len(directions)), np.zeros((len(directions), 3), np.uint8)
        reach[index] = ((hit - CENTRE_M) * directions[index]).sum(1)
        known = self.soup.part[face] >= 0
        bary = np.full((int(known.sum()), 3), 1 / 3)
        colours[index[known]] = self.albedo(face[known], bary)
        return reach, colours


def _least_free(rounds: int) -> int:
    """Return how many of `rounds` random directions must be unoccluded."""
    return math.ceil(LEAST_VISIBILITY * rounds)


def _above(directions: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Mirror directions that point below a surface's horizon."""
    below = (directions * normals).sum(1)
    return directions - np.where(below < 0, 2 * below, 0.0)[:, None] * normals


def sample_head(head: ComposedHead, rng: np.random.Generator, count: int = 16_384) -> HeadSamples:
    """Sample one head: `count` surface points (half of them in the face) and as many points in space.

    Of the points in space 40 % lie within about 3 mm of the surface, 40 % within about 15 mm, the rest anywhere
    in the volume.
    """
    return sample_outer_surface(OuterSurface(head, rng), rng, count)


def sample_outer_surface(surface: OuterSurface, rng: np.random.Generator, count: int, rounds: int = 24) -> HeadSamples:
    """Sample an outer surface as `sample_head` does, with `rounds` rays from each point and twice as many in space."""
    found = surface.samples(count, rounds)
    near = rng.normal(0, 1, (count, 3)) * np.where(np.arange(count) % 2 == 0, 0.003, 0.015)[:, None]
    space = found.points + near
    spread = rng.random(count) < 0.2
    space[spread] = rng.uniform(BOUNDS_M[0], BOUNDS_M[1], (int(spread.sum()), 3))
    space = np.clip(space, BOUNDS_M[0], BOUNDS_M[1])
    return HeadSamples(
        found.points, found.normals, found.colours, found.views, found.template, found.registered, space,
        surface.signed_distance(space, 2 * rounds), surface.head.landmarks,
    )  # fmt: skip
