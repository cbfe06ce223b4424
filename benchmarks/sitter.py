"""A person who sits for casual photos: a head with its expression and neck turn, its light, as rays see it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector
from trimesh.remesh import subdivide

from eyes import Eyes, ball
from protome.population.compose import ComposedHead
from protome.population.faces import FaceModes
from protome.population.light import WRAP, Light
from protome.population.people import turned
from protome.population.sources.valid import Part
from raster import meet, unit

TORSO_M = 0.75
"""How far the bust's open rims are drawn down, so that no frame shows its cut."""
SKY_RAYS, LAMP_RAYS = 40, 12
OFF_M = 5e-4
"""How far off the surface shadow rays start, metres."""
GRAIN = ((0.007, 0.05), (0.0016, 0.05), (0.0007, 0.035))
"""Size (metres) and strength of the spots of skin and cloth in three bands: textures of 1,024 pixels lack them."""
MOLES = 26


@dataclass(frozen=True)
class Sitter:
    """A person."""

    head: ComposedHead
    """Neutral."""
    faces: FaceModes | None
    """What moves the face; None for a scan, which stays as it is."""
    eyes: Eyes | None
    """None where eyes are closed."""
    seed: int
    """Of the skin's grain and moles."""

    def posed(self, expression: Float[np.ndarray, "e"] | None, turn: Rotation | None) -> ComposedHead:
        """Return the head with an expression, and with shoulders that a turn of the head leaves behind."""
        parts = list(self.head.parts)
        if expression is not None and self.faces is not None:
            moves = np.tensordot(expression, self.faces.expression, 1)
            parts[0] = replace(parts[0], vertices=parts[0].vertices + moves)
        if turn is not None:
            parts = [replace(part, vertices=turned(part.vertices, turn)) for part in parts]
        return replace(self.head, parts=tuple(parts))

    def eyeballs(self) -> list[Float[np.ndarray, "3"]]:
        """Return the centres of the eyeballs, the left eye's first; none for a scan."""
        return [] if self.eyes is None else [ball(part.vertices)[0] for part in self.head.parts[1:3]]


@dataclass(frozen=True)
class Seen:
    """What rays meet."""

    colours: Float[np.ndarray, "n 3"]
    """Linear, before the camera's exposure; zero where nothing is met."""
    depths: Float[np.ndarray, "n"]
    """Metres; infinite where nothing is met."""
    parts: Int[np.ndarray, "n"]
    """Number of the part; -1 where nothing is met."""
    iris: Int[np.ndarray, "n"]
    """1 on the left iris, 2 on the right one, otherwise 0."""


class LitHead:
    """A posed head in a light, ready for rays; everything is in the head frame, metres."""

    def __init__(self, sitter: Sitter, head: ComposedHead, light: Light, up: Float[np.ndarray, "3"]) -> None:
        self.sitter, self.head, self.light = sitter, head, light
        pieces = [*head.parts, torso(head.parts[0])]
        columns, faces, part, start = [], [], [], 0
        for number, piece in enumerate(pieces):
            vertices, triangles = _finer(piece)
            columns.append(vertices)
            faces.append(triangles + start)
            part.append(np.full(len(triangles), number))
            start += len(vertices)
        table = np.concatenate(columns)
        self.points, self.uv, self.tint, self.template, self.normals = np.split(table, [3, 5, 9, 12], 1)
        self.faces, self.part = np.concatenate(faces), np.concatenate(part)
        self.pieces = pieces
        self.mesh = Trimesh(self.points, self.faces, process=False)
        self.caster = RayMeshIntersector(self.mesh)
        self.rng = np.random.default_rng(sitter.seed)
        self.grain = self.rng.normal(0, 1, (48, 48, 48)).astype(np.float32)
        body = head.parts[0]
        spots = body.vertices if body.template is None else body.template
        self.moles = spots[self.rng.integers(0, len(spots), MOLES)]
        self.mole_m = self.rng.uniform(0.0006, 0.0017, MOLES)
        self.sky, self.lit = self._visibility(up)

    def _visibility(self, up: Float[np.ndarray, "3"]) -> tuple[Float[np.ndarray, "v"], Float[np.ndarray, "v k"]]:
        """Return of each vertex how much sky it sees, and how much of each lamp."""
        # Two-sided sheets of hair are lit on the side that their normals show.
        starts = self.points + OFF_M * self.normals
        sky = np.zeros(len(starts))
        total = 1e-9
        for _ in range(SKY_RAYS):
            way = self.normals + unit(self.rng.normal(size=starts.shape)) * 0.999
            way = unit(way)
            bright = 0.6 + 0.4 * (way @ up)
            sky += bright * ~self._blocked(starts, way)
            total += 0.75
        lit = np.zeros((len(starts), len(self.light.directions)))
        for lamp, (direction, softness) in enumerate(zip(self.light.directions, self.light.softness, strict=True)):
            for _ in range(LAMP_RAYS):
                way = unit(direction + softness * self.rng.normal(size=starts.shape) * 0.6)
                lit[:, lamp] += ~self._blocked(starts, way) / LAMP_RAYS
        return np.clip(sky / total, 0, 1.3), lit

    def _blocked(self, starts: Float[np.ndarray, "n 3"], ways: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        return self.caster.intersects_first(starts, ways) >= 0

    def see(
        self, origin: Float[np.ndarray, "3"], ways: Float[np.ndarray, "n 3"], footprint: float,
        gazes: list[Float[np.ndarray, "3"]],
    ) -> Seen:  # fmt: skip
        """Return what rays from a place see; `footprint` is a pixel's size at a metre, `gazes` the eyes' directions."""
        origins = np.broadcast_to(origin, ways.shape)
        first = self.caster.intersects_first(origins, ways)
        hit = np.flatnonzero(first >= 0)
        corners = self.faces[first[hit]]
        distance, weights = meet(origins[hit], ways[hit], self.points[corners])
        points = origin + distance[:, None] * ways[hit]

        def at(values: np.ndarray) -> np.ndarray:
            return np.einsum("nk,nk...->n...", weights, values[corners])

        normals = unit(at(self.normals))
        normals *= np.where((normals * ways[hit]).sum(1) > 0.2, -1.0, 1.0)[:, None]
        part = self.part[first[hit]]
        albedo = np.zeros((len(hit), 3))
        uv, tint, template = at(self.uv), at(self.tint), at(self.template)
        for number in np.unique(part):
            own = part == number
            albedo[own] = _texture(self.pieces[number].texture, uv[own])
        albedo = (1 - tint[:, 3:]) * albedo + tint[:, 3:] * tint[:, :3]
        albedo = np.clip(albedo, 0, 1) ** 2.2
        shine, iris = self.light.gloss * np.ones(len(hit)), np.zeros(len(hit), int)
        sharp = np.full(len(hit), 24.0)
        body = (part == 0) | (part >= 5) | (part == len(self.pieces) - 1)
        place = np.where((part == 0)[:, None] & (np.abs(template).sum(1) > 0)[:, None], template, points)
        albedo[body] *= self._grain(place[body], footprint * float(np.median(distance)))[:, None]
        eyes = self.sitter.eyes
        if eyes is not None:
            for number, (centre, gaze) in enumerate(zip(self.sitter.eyeballs(), gazes, strict=True), 1):
                own = part == number
                albedo[own] = eyes.albedo(points[own], centre, gaze)
                iris[own] = number * (eyes.inside(points[own], centre, gaze) > 0)
                shine[own], sharp[own] = 1.5, 350.0
        light = self.light
        lit = at(self.lit)
        cosine = np.clip((normals @ light.directions.T + WRAP) / (1 + WRAP), 0, None) * lit
        energy = light.ambient * (0.25 + 0.75 * at(self.sky[:, None])) + cosine @ light.colours
        half = unit(light.directions[None] - ways[hit][:, None])
        mirror = np.clip((normals[:, None] * half).sum(2), 0, None) ** sharp[:, None] * (cosine > 0) * lit
        colours = albedo * energy + shine[:, None] * (mirror @ light.colours)
        seen = Seen(
            np.zeros((len(ways), 3)), np.full(len(ways), np.inf), np.full(len(ways), -1), np.zeros(len(ways), int)
        )
        seen.colours[hit], seen.depths[hit], seen.parts[hit], seen.iris[hit] = colours, distance, part, iris
        return seen

    def _grain(self, places: Float[np.ndarray, "n 3"], pixel: float) -> Float[np.ndarray, "n"]:
        """Return the relative brightness of skin and cloth: spots larger than a pixel, and moles."""
        found = np.ones(len(places))
        for size, strength in GRAIN:
            kept = strength * float(np.clip(1.5 - pixel / size, 0, 1))
            if kept > 0:
                coordinates = (places / size).T
                found += kept * map_coordinates(self.grain, coordinates, order=1, mode="grid-wrap")
        for mole, size in zip(self.moles, self.mole_m, strict=True):
            away = ((places - mole) ** 2).sum(1)
            near = away < (3 * size) ** 2
            found[near] *= 1 - 0.55 * np.exp(-((away[near] / size**2) ** 2))
        return np.clip(found, 0.2, 2.0)


def torso(body: Part) -> Part:
    """Return walls that go down from the open rims of a bust."""
    directed = body.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    positions = np.unique(np.round(body.vertices, 6), axis=0, return_inverse=True)[1].ravel()
    welded = np.sort(positions[directed], 1)
    _, first, counts = np.unique(welded, axis=0, return_index=True, return_counts=True)
    rim = directed[first[counts == 1]]
    rim = rim[body.vertices[rim, 1].max(1) < -0.15]
    if len(rim) == 0:
        return Part(np.zeros((3, 3)) - [0, 5, 0], np.array([[0, 1, 2]]), np.zeros((3, 2)), body.texture)
    upper, lower = rim.reshape(-1), body.vertices[rim.reshape(-1)] * [1.1, 1.0, 1.1] - [0, TORSO_M, 0]
    vertices = np.concatenate([body.vertices[upper], lower])
    count = len(upper)
    a, b = np.arange(0, count, 2), np.arange(1, count, 2)
    faces = np.concatenate([np.stack([b, a, a + count], 1), np.stack([b, a + count, b + count], 1)])
    tint = None if body.tint is None else np.tile(body.tint[upper], (2, 1))
    return Part(vertices, faces, np.tile(body.uv[upper], (2, 1)), body.texture, tint)


def _finer(part: Part) -> tuple[Float[np.ndarray, "v 15"], Int[np.ndarray, "f 3"]]:
    """Return a part's vertices with all that is interpolated between them, each triangle cut in four."""
    count = len(part.vertices)
    tint = np.zeros((count, 4)) if part.tint is None else part.tint
    template = np.zeros((count, 3)) if part.template is None else part.template
    _, alike = np.unique(np.round(part.vertices, 6), axis=0, return_inverse=True)
    alike = alike.reshape(-1)
    a, b, c = (part.vertices[part.faces[:, side]] for side in range(3))
    area = np.cross(b - a, c - a)
    joined = np.zeros((int(alike.max()) + 1, 3))
    for side in range(3):
        np.add.at(joined, alike[part.faces[:, side]], area)
    table = np.concatenate([part.vertices, part.uv, tint, template, unit(joined[alike])], 1)
    if count > 60_000:  # fine enough
        return table, np.asarray(part.faces)
    vertices, faces = subdivide(table, part.faces)
    vertices[:, 12:] = unit(vertices[:, 12:])
    return vertices, faces


def _texture(picture: np.ndarray, uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Return a texture's sRGB colours in [0, 1] at texture coordinates (v up), interpolated; the border is repeated."""
    height, width = picture.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    return (
        np.stack(
            [map_coordinates(picture[..., k], [y, x], order=1, output=np.float32, mode="nearest") for k in range(3)], 1
        )
        / 255.0
    )
