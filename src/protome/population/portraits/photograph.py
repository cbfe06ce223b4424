"""A portrait of a scene: one ray a pixel and more at edges, shading, shadows, and exact labels."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import cv2
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from jaxtyping import Bool, Float, Int, UInt8

from protome.perception import parts
from protome.population.portraits.camera import PortraitCamera
from protome.population.portraits.dressed import Look
from protome.population.portraits.lighting import Lighting
from protome.population.portraits.pieces import LOCAL, NORMAL, SHADE, SKY, Material, Soup
from protome.population.portraits.reflection import reflected
from protome.population.portraits.shading import Surface, surface
from protome.population.portraits.wardrobe import Wardrobe

SCALE = 500.0
"""Embree gets coordinates in units of 2 mm: its tolerances are made for scenes some hundred units wide."""
OFF_M = 0.0024
"""Offset of shadow rays from the surface."""
BEHIND_M = 0.0002
"""Offset of rays that go on behind what is transparent."""
LAYERS = 3
"""Surfaces that a ray passes at most."""
OPAQUE = 0.97
EDGE_RAYS = 3
VISIBLE_M = 0.003
"""A landmark is visible where the first surface lies no further before it."""
NO_PLACE = np.nan
KINDS = 16
"""A kind is this many times the number of the person, and the material."""


class Caster:
    """The scene's triangles, ready for rays."""

    def __init__(self, soup: Soup) -> None:
        self._scene = EmbreeScene()
        vertices = (soup.vertices * np.float32(SCALE)).astype(object)
        # The binding reads numbers one by one through Python: from lists in half of the time that arrays take.
        faces = np.empty(len(soup.faces), object)
        collects = gc.isenabled()
        gc.disable()
        faces[:] = soup.faces.tolist()
        if collects:
            gc.enable()
        TriangleMesh(self._scene, vertices, faces)

    def first(self, origins: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"]) -> dict[str, np.ndarray]:
        """Return `primID` (-1: none), `u`, `v` and `tfar` (in lengths of the directions) of the first hits."""
        hits = self._scene.run((origins * np.float32(SCALE)).astype(np.float32), directions, output=True)
        hits["tfar"] /= np.float32(SCALE)
        return hits

    def blocked(self, origins: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Return which rays hit anything."""
        return self._scene.run(origins * np.float32(SCALE), directions, query="OCCLUDED") >= 0


@dataclass(frozen=True)
class Portrait:
    """A picture and what its pixels show."""

    image: UInt8[np.ndarray, "s s 3"]
    """sRGB."""
    parts: UInt8[np.ndarray, "s s"]
    canonical: Float[np.ndarray, "s s 3"]
    """The place on the template, metres, of the subject's body; not a number elsewhere."""
    normals: Float[np.ndarray, "s s 3"]
    """Unit normals in the camera's frame (x right, y down, z forward); zero on the background."""
    landmarks: Float[np.ndarray, "l 2"]
    """Pixels."""
    depths: Float[np.ndarray, "l"]
    """Metres from the camera."""
    visible: Bool[np.ndarray, "l"]


@dataclass(frozen=True)
class _Samples:
    """What rays show."""

    colour: Float[np.ndarray, "3 n"]
    """Linear, premultiplied by `cover`."""
    cover: Float[np.ndarray, "n"]
    part: UInt8[np.ndarray, "n"]
    canonical: Float[np.ndarray, "3 n"]
    normals: Float[np.ndarray, "3 n"]
    depth: Float[np.ndarray, "n"]
    albedo: Float[np.ndarray, "n"]


@dataclass(frozen=True)
class _Hits:
    """Places where rays met surfaces, in the order of persons and materials; single precision."""

    rays: Int[np.ndarray, "n"]
    travelled: Float[np.ndarray, "n"]
    """Lengths of the rays' directions."""
    kind: Int[np.ndarray, "n"]
    attributes: Float[np.ndarray, "15 n"]
    way: Float[np.ndarray, "3 n"]
    """Unit directions of the rays."""
    places: Float[np.ndarray, "3 n"]
    normal: Float[np.ndarray, "3 n"]
    """Unit normals on the rays' side."""
    facing: Float[np.ndarray, "n"]
    """Cosine between normal and ray."""

    def groups(self) -> list[tuple[int, Material, slice]]:
        """Return the person, the material and the range of each run of one kind."""
        starts = np.flatnonzero(np.diff(self.kind, prepend=-1))
        ends = [*starts[1:], len(self.kind)]
        kinds = self.kind[starts]
        return [
            (int(kind) // KINDS, Material(int(kind) % KINDS), slice(start, end))
            for kind, start, end in zip(kinds, starts, ends, strict=True)
        ]


@dataclass(frozen=True)
class Studio:
    """A scene that portraits are taken in."""

    wardrobe: Wardrobe
    soup: Soup
    looks: tuple[Look, ...]
    caster: Caster

    def portrait(
        self, camera: PortraitCamera, lighting: Lighting, backdrop: Float[np.ndarray, "s s 3"],
        landmarks: Float[np.ndarray, "l 3"], rng: np.random.Generator,
    ) -> Portrait:  # fmt: skip
        """Return a portrait and its labels; `landmarks` are points of the subject, head frame."""
        size = camera.size
        row, column = np.divmod(np.arange(size * size), size)
        centres = np.stack([column, row], 1) + 0.5
        seen = self._seen(camera, lighting, centres, rng, whole=True)
        edge = np.flatnonzero(_edges(seen, size))
        extra = np.repeat(edge, EDGE_RAYS)
        offsets = rng.uniform(-0.5, 0.5, (len(extra), 2))
        more = self._seen(camera, lighting, centres[extra] + offsets, rng)
        colour, cover = seen.colour.copy(), seen.cover.copy()
        share = np.float32(1.0 / (1 + EDGE_RAYS))
        colour[:, edge] = share * (colour[:, edge] + more.colour.reshape(3, len(edge), EDGE_RAYS).sum(2))
        cover[edge] = share * (cover[edge] + more.cover.reshape(len(edge), EDGE_RAYS).sum(1))

        light = colour * (_exposure(seen, lighting) * lighting.white).astype(np.float32)[:, None]
        light += (1 - cover) * backdrop.reshape(-1, 3).T.astype(np.float32) ** np.float32(2.2)
        light += (lighting.haze * (light.mean(1) + 0.3)).astype(np.float32)[:, None]
        image = np.clip(light, 0, 1, out=light) ** np.float32(1 / 2.2)
        points = camera.project(landmarks)
        return Portrait(
            np.ascontiguousarray(np.rint(255 * image).astype(np.uint8).T).reshape(size, size, 3),
            seen.part.reshape(size, size),
            seen.canonical.T.reshape(size, size, 3), seen.normals.T.reshape(size, size, 3),
            points[:, :2].astype(np.float32), points[:, 2].astype(np.float32),
            self._visible(camera, points, landmarks),
        )  # fmt: skip

    def _visible(self, camera: PortraitCamera, points: np.ndarray, landmarks: np.ndarray) -> Bool[np.ndarray, "l"]:
        directions = camera.rays(points[:, :2])
        hits = self.caster.first(np.broadcast_to(camera.position.astype(np.float32), directions.shape), directions)
        first = hits["primID"]
        tint = self.soup.attributes[self.soup.faces[first, 0], SHADE.start]
        through = (first < 0) | ((self.soup.material[first] == Material.LENS) & (tint < 0.5))
        return (through | (hits["tfar"] > points[:, 2] - VISIBLE_M)) & (points[:, 2] > 0.02)

    def _seen(
        self, camera: PortraitCamera, lighting: Lighting, pixels: Float[np.ndarray, "n 2"], rng: np.random.Generator,
        whole: bool = False,
    ) -> _Samples:  # fmt: skip
        """Return what rays show; `whole`: they are those of all pixels in order, and labels are wanted."""
        directions = camera.rays(pixels)
        count = len(directions)
        colour, cover = np.zeros((3, count), np.float32), np.zeros(count, np.float32)
        part = np.full(count, parts.BACKGROUND, np.uint8)
        canonical, normals = np.full((3, count), NO_PLACE, np.float32), np.zeros((3, count), np.float32)
        depth, bright = np.full(count, np.inf, np.float32), np.zeros(count, np.float32)
        rays, travelled = np.arange(count), np.zeros(count, np.float32)
        for layer in range(LAYERS):
            hits = self._hits(camera, directions, rays, travelled)
            rays = hits.rays
            if not len(rays):
                break
            lit = np.ones((len(lighting.lamp_directions), len(rays)), np.float32)
            if layer == 0:
                for lamp, towards in enumerate(lighting.lamp_directions):
                    lit[lamp] = self._lit(lighting, towards, hits, rng)
                    if whole:
                        lit[lamp] = _smooth(lit[lamp], rays, camera.size)
            light, shown = self._shown(lighting, hits, lit)
            alpha = shown.alpha if layer + 1 < LAYERS else np.ones_like(shown.alpha)
            weight = (1 - cover[rays]) * alpha
            for channel in range(3):
                colour[channel, rays] += weight * light[channel]
            cover[rays] += weight
            if whole:
                # A pixel belongs to the first surface that hides more than half of what is behind.
                owned = np.flatnonzero((alpha > 0.5) & (depth[rays] == np.inf))
                own = rays[owned]
                part[own], depth[own] = shown.part[owned], hits.travelled[owned]
                normals[:, own] = camera.rotation.astype(np.float32) @ hits.normal[:, owned]
                bright[own] = shown.albedo[:, owned].mean(0)
                subject = owned[hits.kind[owned] == int(Material.BODY)]
                canonical[:, rays[subject]] = hits.attributes[LOCAL][:, subject]
            on = np.flatnonzero(alpha < OPAQUE)
            rays = rays[on]
            travelled = (hits.travelled[on] + BEHIND_M / _length(directions[rays].T)).astype(np.float32)
        return _Samples(colour, cover, part, canonical, normals, depth, bright)

    def _hits(
        self, camera: PortraitCamera, directions: Float[np.ndarray, "m 3"], rays: Int[np.ndarray, "n"],
        travelled: Float[np.ndarray, "n"],
    ) -> _Hits:  # fmt: skip
        """Return what some of the rays meet behind the places to which they have travelled."""
        start, towards = camera.position.astype(np.float32), directions[rays]
        origins = start + travelled[:, None] * towards if travelled.any() else np.broadcast_to(start, towards.shape)
        first = self.caster.first(origins, towards)
        found = np.flatnonzero(first["primID"] >= 0)
        prim = first["primID"][found]
        kind = KINDS * self.soup.person[prim] + self.soup.material[prim]
        # Points of one kind in a row are shaded without being gathered and scattered.
        order = np.argsort(kind, kind="stable")
        found, prim, kind = found[order], prim[order], kind[order]
        way = np.ascontiguousarray(towards[found].T)
        far = travelled[found] + first["tfar"][found]
        places = start[:, None] + far * way
        way /= _length(way)
        attributes = self._attributes(prim, first["u"][found], first["v"][found])
        normal = attributes[NORMAL]
        normal /= _length(normal) + np.float32(1e-9)
        facing = -_dot(normal, way)
        normal *= np.where(facing < 0, np.float32(-1), np.float32(1))
        return _Hits(rays[found], far, kind, attributes, way, places, normal, np.abs(facing))

    def _attributes(
        self, prim: Int[np.ndarray, "n"], u: Float[np.ndarray, "n"], v: Float[np.ndarray, "n"]
    ) -> Float[np.ndarray, "15 n"]:
        """Return the attributes between the corners of triangles."""
        corners, values = self.soup.faces.take(prim, 0), self.soup.attributes
        total = values.take(corners[:, 0], 0)
        total *= (1 - u - v)[:, None]
        for side, share in ((1, u), (2, v)):
            more = values.take(corners[:, side], 0)
            more *= share[:, None]
            total += more
        return np.ascontiguousarray(total.T)

    def _shown(
        self, lighting: Lighting, hits: _Hits, lit: Float[np.ndarray, "l n"]
    ) -> tuple[Float[np.ndarray, "3 n"], Surface]:
        """Return the light that leaves surfaces towards the camera, and the surfaces; `lit`: shares of the lamps."""
        count = len(hits.rays)
        light, albedo = np.empty((3, count), np.float32), np.empty((3, count), np.float32)
        alpha, gloss = np.empty(count, np.float32), np.empty(count, np.float32)
        part = np.empty(count, np.uint8)
        for person, material, run in hits.groups():
            shown = surface(self.wardrobe, self.looks[person], material, hits.attributes[:, run], hits.facing[run])
            albedo[:, run], alpha[run], gloss[run] = shown.albedo, shown.alpha, shown.gloss
            part[run] = shown.part if person == 0 else parts.OTHERS
            light[:, run] = reflected(
                lighting, material, shown, hits.normal[:, run], hits.way[:, run], hits.attributes[SKY, run], lit[:, run]
            )
        return light, Surface(albedo, alpha, gloss, part)

    def _lit(
        self, lighting: Lighting, towards: Float[np.ndarray, "3"], hits: _Hits, rng: np.random.Generator
    ) -> Float[np.ndarray, "n"]:
        """Return 1 where a random point of a lamp is visible."""
        facing = np.flatnonzero(towards.astype(np.float32) @ hits.normal > -0.05)
        aim = (towards + lighting.lamp_size * rng.normal(0, 0.5, (len(facing), 3))).astype(np.float32)
        lit = np.ones(len(hits.rays), np.float32)
        starts = hits.places[:, facing] + np.float32(OFF_M) * hits.normal[:, facing]
        lit[facing] = ~self.caster.blocked(starts.T, aim)
        return lit


def _dot(first: Float[np.ndarray, "3 n"], second: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "n"]:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _length(vectors: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "n"]:
    return np.sqrt(_dot(vectors, vectors))


def _smooth(lit: Float[np.ndarray, "n"], pixels: Int[np.ndarray, "n"], size: int) -> Float[np.ndarray, "n"]:
    """Return shadows averaged over neighbouring pixels: one ray a pixel leaves speckles of soft ones."""
    total, count = np.zeros(size * size, np.float32), np.zeros(size * size, np.float32)
    total[pixels], count[pixels] = lit, 1
    sums = cv2.blur(total.reshape(size, size), (3, 3)).ravel()[pixels]
    return sums / cv2.blur(count.reshape(size, size), (3, 3)).ravel()[pixels]


def _edges(seen: _Samples, size: int) -> Bool[np.ndarray, "n"]:
    """Return pixels beside a change of part, person or depth."""
    part = seen.part.reshape(size, size)
    depth = np.where(np.isfinite(seen.depth), seen.depth, 10.0).reshape(size, size)
    bright = seen.cover.reshape(size, size)
    edge = np.zeros((size, size), bool)
    for axis in (0, 1):
        change = (np.diff(part, axis=axis) != 0) | (np.abs(np.diff(depth, axis=axis)) > 0.012)
        change |= np.abs(np.diff(bright, axis=axis)) > 0.2
        for low in (0, 1):
            place = [slice(None), slice(None)]
            place[axis] = slice(low, size - 1 + low)
            edge[tuple(place)] |= change
    return edge.ravel()


def _exposure(seen: _Samples, lighting: Lighting) -> float:
    """Return the gain that shows the subject's skin as bright as wanted; dark skin stays darker than light skin."""
    skin = seen.part == parts.SKIN
    chosen = np.flatnonzero(skin if skin.sum() > 50 else seen.cover > 0.5)
    if not len(chosen):
        return 1.0
    level = float(np.median(seen.colour[:, chosen].mean(0)))
    albedo = float(np.median(seen.albedo[chosen]))
    return lighting.target * (max(albedo, 0.02) / 0.3) ** 0.55 / max(level, 1e-4)
