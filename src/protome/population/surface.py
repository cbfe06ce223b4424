"""The outer surface of a composed head, sampled: points, normals, colours, views that see them, distances."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.population.compose import ComposedHead
from protome.population.sources import Part

BOUNDS_M = np.array([[-0.26, -0.27, -0.26], [0.26, 0.20, 0.10]])
"""The volume that is modelled, head frame, metres: head, hair, neck and shoulders."""
SHEET_M = 0.002
"""Half the thickness given to single sheets of hair, metres."""


@dataclass(frozen=True)
class HeadSamples:
    """What training reads of one head; head frame, metres."""

    points: Float[np.ndarray, "n 3"]
    """On the outer surface."""
    normals: Float[np.ndarray, "n 3"]
    """Outwards."""
    colours: UInt8[np.ndarray, "n 3"]
    views: Float[np.ndarray, "n 3"]
    """A direction (from a camera to the point) along which the point is seen."""
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
    """True on the closed body (winding numbers mean something there), False on hair."""


def _caps(body: Part) -> Int[np.ndarray, "c 3"]:
    """Fan triangles that close the rims at the waist and the arms; index len(vertices)+k is rim k's centre."""
    edges = np.sort(body.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    directed = body.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
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
    textures = [piece.texture is head.parts[0].texture or np.array_equal(piece.texture, body.texture)
                for piece in head.parts]  # fmt: skip
    solid = np.array([number < 0 or textures[number] for number in joined])
    return _Soup(np.concatenate(vertices), np.concatenate(faces), joined, np.concatenate(local), solid)


def _directions(rng: np.random.Generator, count: int) -> Float[np.ndarray, "count 3"]:
    directions = rng.normal(size=(count, 3))
    # Few cameras look up from the waist: directions to them stay near or above the horizon.
    directions[:, 1] = np.abs(directions[:, 1]) * rng.choice([1.0, -0.45], count)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


class OuterSurface:
    """Knows which side of which face is seen from outside, and the signed distance to what is seen."""

    def __init__(self, head: ComposedHead, rng: np.random.Generator, candidates: int = 60_000, rounds: int = 20):
        self.head = head
        self.rng = rng
        self.soup = _soup(head)
        mesh = Trimesh(self.soup.vertices, self.soup.faces, process=False)
        self.rays = RayMeshIntersector(mesh)
        self._sample(mesh, candidates, rounds)

    def _escape(self, points: np.ndarray, normals: np.ndarray, rounds: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which points are seen along some direction of their hemisphere, and one such direction each."""
        seen, views = np.zeros(len(points), bool), np.zeros((len(points), 3))
        for _ in range(rounds):
            direction = _directions(self.rng, len(points))
            below = (direction * normals).sum(1) < 0.05
            direction[below] -= 2 * (direction[below] * normals[below]).sum(1)[:, None] * normals[below]
            free = ~self.rays.intersects_any(points + 2e-5 * normals, direction) & (np.abs(normals).sum(1) > 0)
            free &= (direction * normals).sum(1) > 0.05
            swap = free & (~seen | (self.rng.random(len(points)) < 0.3))
            views[swap] = -direction[swap]
            seen |= free
        return seen, views

    def _sample(self, mesh: Trimesh, candidates: int, rounds: int) -> None:
        soup, rng = self.soup, self.rng
        centre = mesh.triangles_center
        inside = ((centre > BOUNDS_M[0] - 0.01) & (centre < BOUNDS_M[1] + 0.01)).all(1) & (soup.part >= 0)
        # The face is a small part of a bust and the part that people look at: it gets as many samples as the rest.
        nose = self.head.landmarks[2]
        area = mesh.area_faces * inside
        near = np.linalg.norm(centre - nose, axis=1) < 0.095
        weight = area * np.where(near, area[~near].sum() / max(area[near].sum(), 1e-9), 1.0)
        chosen = rng.choice(len(area), candidates, p=weight / weight.sum())
        u, v = np.sqrt(rng.random(candidates)), rng.random(candidates)
        bary = np.stack([1 - u, u * (1 - v), u * v], 1)
        corners = soup.vertices[soup.faces[chosen]]
        points, flat = (corners * bary[..., None]).sum(1), mesh.face_normals[chosen]
        front, view_front = self._escape(points, flat, rounds)
        back, view_back = self._escape(points, -flat, rounds)
        sheet = front & back & ~soup.solid[chosen]
        back &= ~soup.solid[chosen] | ~front
        take_back = back & (~front | (rng.random(candidates) < 0.5))
        seen = front | back
        smooth = (mesh.vertex_normals[soup.faces[chosen]] * bary[..., None]).sum(1)
        smooth /= np.linalg.norm(smooth, axis=1, keepdims=True) + 1e-12
        normals = np.where(((smooth * flat).sum(1) > 0.3)[:, None], smooth, flat) * np.where(take_back, -1, 1)[:, None]
        colours = self._colours(chosen, bary, normals)
        points = points + np.where(sheet, SHEET_M, 0.0)[:, None] * normals
        keep = seen & (points > BOUNDS_M[0]).all(1) & (points < BOUNDS_M[1]).all(1)
        self.points, self.normals, self.colours = points[keep], normals[keep], colours[keep]
        self.views = np.where(take_back[:, None], view_back, view_front)[keep]
        outer = np.unique(chosen[seen])
        self.outer = soup.faces[outer]
        faces_sheet = np.unique(chosen[sheet])
        self.sheet = np.isin(outer, faces_sheet)

    def _colours(self, face: np.ndarray, bary: np.ndarray, normals: np.ndarray) -> UInt8[np.ndarray, "n 3"]:
        albedo = np.zeros((len(face), 3), np.uint8)
        for number, part in enumerate(self.head.parts):
            own = self.soup.part[face] == number
            uv = (part.uv[part.faces[self.soup.local[face[own]]]] * bary[own][..., None]).sum(1)
            height, width = part.texture.shape[:2]
            row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
            albedo[own] = part.texture[row, np.clip((uv[:, 0] * width).astype(int), 0, width - 1)]
        return self.head.light.shade(albedo, normals)

    def signed_distance(self, points: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, "m"]:
        """Distance to the nearest face seen from outside; negative where no direction leads out, or in the body."""
        squared, face, _ = igl.point_mesh_squared_distance(points, self.soup.vertices, self.outer)
        distance = np.sqrt(squared)
        solid = self.soup.faces[self.soup.solid]
        inside = igl.fast_winding_number(self.soup.vertices, solid, points) > 0.5
        open_way = np.zeros(len(points), bool)
        for _ in range(24):
            ask = ~open_way & ~inside
            open_way[ask] = ~self.rays.intersects_any(points[ask], _directions(self.rng, int(ask.sum())))
        hidden = inside | ~open_way
        return np.where(hidden, -distance, distance - np.where(self.sheet[face], SHEET_M, 0.0))


def sample_head(head: ComposedHead, rng: np.random.Generator, count: int = 16_384) -> HeadSamples:
    """Sample one head: `count` surface points (half of them in the face) and as many points in space.

    Of the points in space 40 % lie within about 3 mm of the surface, 40 % within about 15 mm, the rest anywhere
    in the volume.
    """
    surface = OuterSurface(head, rng)
    pick = rng.choice(len(surface.points), count, replace=len(surface.points) < count)
    points, normals = surface.points[pick], surface.normals[pick]
    near = rng.normal(0, 1, (count, 3)) * np.where(np.arange(count) % 2 == 0, 0.003, 0.015)[:, None]
    space = points + near
    spread = rng.random(count) < 0.2
    space[spread] = rng.uniform(BOUNDS_M[0], BOUNDS_M[1], (int(spread.sum()), 3))
    space = np.clip(space, BOUNDS_M[0], BOUNDS_M[1])
    distances = surface.signed_distance(space)
    # The faces list is complete only where candidates fell; the dense samples catch the rest.
    nearest = cKDTree(surface.points).query(space)[0]
    distances = np.sign(distances) * np.minimum(np.abs(distances), nearest + 1e-4)
    return HeadSamples(points, normals, surface.colours[pick], surface.views[pick], space, distances, head.landmarks)
