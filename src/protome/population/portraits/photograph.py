"""A portrait of a scene: one ray a pixel and more at edges, shading, shadows, and exact labels."""

from __future__ import annotations

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
THIRD = np.full(3, 1 / 3, np.float32)


class Caster:
    """The scene's triangles, ready for rays."""

    def __init__(self, soup: Soup) -> None:
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, soup.vertices * np.float32(SCALE), soup.faces)

    def first(self, origins: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"]) -> dict[str, np.ndarray]:
        """Return `primID` (-1: none), `u`, `v` and `tfar` (in lengths of the directions) of the first hits."""
        hits = self._scene.run(
            (origins * SCALE).astype(np.float32), np.ascontiguousarray(directions, np.float32), output=True
        )
        hits["tfar"] = hits["tfar"] / SCALE
        return hits

    def blocked(self, origins: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Return which rays hit anything."""
        return self._scene.run((origins * SCALE).astype(np.float32), directions.astype(np.float32)) >= 0


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

    colour: Float[np.ndarray, "n 3"]
    """Linear, premultiplied by `cover`."""
    cover: Float[np.ndarray, "n"]
    part: Int[np.ndarray, "n"]
    skin: Bool[np.ndarray, "n"]
    canonical: Float[np.ndarray, "n 3"]
    normals: Float[np.ndarray, "n 3"]
    depth: Float[np.ndarray, "n"]
    albedo: Float[np.ndarray, "n"]


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
        share = 1.0 / (1 + EDGE_RAYS)
        colour[edge] = share * (colour[edge] + more.colour.reshape(len(edge), EDGE_RAYS, 3).sum(1))
        cover[edge] = share * (cover[edge] + more.cover.reshape(len(edge), EDGE_RAYS).sum(1))

        exposed = colour * (_exposure(seen, lighting) * lighting.white)
        behind = backdrop.reshape(-1, 3) ** 2.2
        light = exposed + (1 - cover[:, None]) * behind
        light = light + lighting.haze * (light.mean(0) + 0.3)
        image = np.clip(light, 0, 1) ** (1 / 2.2)
        points = camera.project(landmarks)
        return Portrait(
            np.rint(255 * image).astype(np.uint8).reshape(size, size, 3),
            seen.part.astype(np.uint8).reshape(size, size),
            seen.canonical.reshape(size, size, 3), seen.normals.reshape(size, size, 3),
            points[:, :2].astype(np.float32), points[:, 2].astype(np.float32),
            self._visible(camera, points, landmarks),
        )  # fmt: skip

    def _visible(self, camera: PortraitCamera, points: np.ndarray, landmarks: np.ndarray) -> Bool[np.ndarray, "l"]:
        directions = camera.rays(points[:, :2])
        hits = self.caster.first(np.broadcast_to(camera.position, directions.shape), directions)
        first = hits["primID"]
        tint = self.soup.attributes[self.soup.faces[first, 0], SHADE.start]
        through = (first < 0) | ((self.soup.material[first] == Material.LENS) & (tint < 0.5))
        return (through | (hits["tfar"] > points[:, 2] - VISIBLE_M)) & (points[:, 2] > 0.02)

    def _seen(
        self, camera: PortraitCamera, lighting: Lighting, pixels: Float[np.ndarray, "n 2"], rng: np.random.Generator,
        whole: bool = False,
    ) -> _Samples:  # fmt: skip
        """Return what rays show; `whole`: they are those of all pixels in order."""
        directions = camera.rays(pixels)
        count = len(directions)
        colour, cover = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
        part, skin = np.full(count, parts.BACKGROUND), np.zeros(count, bool)
        canonical, normals = np.full((count, 3), NO_PLACE, np.float32), np.zeros((count, 3), np.float32)
        depth, bright = np.full(count, np.inf, np.float32), np.zeros(count, np.float32)
        rays, origins = np.arange(count), np.broadcast_to(camera.position.astype(np.float32), directions.shape)
        travelled = np.zeros(count, np.float32)
        length = _length(directions)
        for layer in range(LAYERS):
            hits = self.caster.first(origins, directions[rays])
            found = hits["primID"] >= 0
            rays, travelled = rays[found], travelled[found] + hits["tfar"][found].astype(np.float32)
            if not len(rays):
                break
            way = directions[rays] / length[rays, None]
            places = camera.position.astype(np.float32) + travelled[:, None] * directions[rays]
            prim, u, v = hits["primID"][found], hits["u"][found], hits["v"][found]
            corners = self.soup.faces[prim]
            weights = np.stack([1 - u - v, u, v], 1).astype(np.float32)
            attributes = _between(self.soup.attributes, corners, weights)
            normal = attributes[:, NORMAL] / (_length(attributes[:, NORMAL]) + 1e-9)[:, None]
            facing = -_dot(normal, way)
            normal = normal * np.where(facing < 0, -1, 1)[:, None]
            material, person = self.soup.material[prim], self.soup.person[prim]
            shown = self._surface(material, person, attributes, np.abs(facing))
            lit = [
                self._lit(lighting, towards, places, normal, rng) if layer == 0 else np.ones(len(rays), np.float32)
                for towards in lighting.lamp_directions
            ]
            if whole and layer == 0:
                lit = [_smooth(share, rays, camera.size) for share in lit]
            light = self._light(lighting, normal, way, attributes[:, SKY], shown, material, lit)
            label = np.where((person > 0), parts.OTHERS, shown.part)
            alpha = shown.alpha if layer + 1 < LAYERS else np.ones_like(shown.alpha)
            weight = (1 - cover[rays]) * alpha
            colour[rays] += weight[:, None] * light
            cover[rays] += weight
            # A pixel belongs to the first surface that hides more than half of what is behind.
            owned = (alpha > 0.5) & (part[rays] == parts.BACKGROUND) & (depth[rays] == np.inf)
            own = rays[owned]
            part[own], depth[own] = label[owned], travelled[owned]
            normals[own] = normal[owned] @ camera.rotation.T.astype(np.float32)
            skin[own] = label[owned] == parts.SKIN
            bright[own] = shown.albedo[owned] @ THIRD
            subject = owned & (person == 0) & (material == Material.BODY)
            canonical[rays[subject]] = attributes[subject][:, LOCAL]
            on = alpha < OPAQUE
            rays, travelled = rays[on], travelled[on] + BEHIND_M / length[rays[on]].astype(np.float32)
            if not len(rays):
                break
            origins = camera.position.astype(np.float32) + travelled[:, None] * directions[rays]
        return _Samples(colour, cover, part, skin, canonical, normals, depth, bright)

    def _surface(self, material: np.ndarray, person: np.ndarray, attributes: np.ndarray, facing: np.ndarray) -> Surface:
        count = len(material)
        albedo, alpha = np.zeros((count, 3), np.float32), np.ones(count, np.float32)
        gloss, part = np.zeros(count, np.float32), np.zeros(count, int)
        kinds = person.astype(int) * 16 + material
        for kind in np.unique(kinds):
            chosen = np.flatnonzero(kinds == kind)
            shown = surface(
                self.wardrobe, self.looks[kind // 16], Material(kind % 16), attributes[chosen], facing[chosen]
            )
            albedo[chosen], alpha[chosen], gloss[chosen], part[chosen] = (
                shown.albedo, shown.alpha, shown.gloss, shown.part,
            )  # fmt: skip
        return Surface(albedo, alpha, gloss, part)

    def _lit(
        self, lighting: Lighting, towards: np.ndarray, places: np.ndarray, normal: np.ndarray, rng: np.random.Generator
    ) -> Float[np.ndarray, "n"]:
        """Return 1 where a random point of a lamp is visible."""
        facing = np.flatnonzero(normal @ towards.astype(np.float32) > -0.05)
        aim = (towards + lighting.lamp_size * rng.normal(0, 0.5, (len(facing), 3))).astype(np.float32)
        lit = np.ones(len(places), np.float32)
        lit[facing] = ~self.caster.blocked(places[facing] + OFF_M * normal[facing], aim)
        return lit

    def _light(
        self, lighting: Lighting, normal: np.ndarray, way: np.ndarray, sky: np.ndarray, shown: Surface,
        material: np.ndarray, shadows: list[np.ndarray],
    ) -> Float[np.ndarray, "n 3"]:  # fmt: skip
        """Return the light that leaves surfaces towards the camera."""
        open_sky = np.clip(0.25 + 0.95 * sky, 0, 1)[:, None]
        total = shown.albedo * lighting.soft(normal) * open_sky
        fresnel = 0.03 + 0.25 * (1 - np.clip(-_dot(normal, way), 0, 1)) ** 5
        total += (0.35 * shown.gloss * fresnel)[:, None] * lighting.ambient.astype(np.float32)
        strands = (material == Material.HAIR) | (material == Material.BEARD)
        body = (material == Material.BODY)[:, None]
        tangent = np.array([0, -1, 0], np.float32) + normal[:, 1:2] * normal
        tangent /= (_length(tangent) + 1e-6)[:, None]
        sharp = np.where(material == Material.EYE, 300.0, 18.0)
        for towards, colour, lit in zip(lighting.lamp_directions, lighting.lamp_colours, shadows, strict=True):
            cosine = normal @ towards.astype(np.float32)
            # Light that has travelled under the skin is red, and reaches a little past the horizon.
            wrap = np.where(body, np.array([0.22, 0.09, 0.05], np.float32), np.float32(0.05))
            wrap = np.where(strands[:, None], np.float32(0.25), wrap)
            diffuse = np.clip((cosine[:, None] + wrap) / (1 + wrap), 0, None) * lit[:, None]
            half = towards.astype(np.float32) - way
            half /= _length(half)[:, None]
            along = _dot(tangent, half)
            shine = np.where(
                strands, np.clip(1 - along**2, 0, 1) ** 25 * (cosine > -0.1),
                np.clip(_dot(normal, half), 0, 1) ** sharp * (cosine > 0),
            )  # fmt: skip
            glossy = (0.35 * shown.gloss * shine * lit)[:, None] * np.where(
                strands[:, None], 0.3 + 2.0 * shown.albedo, np.float32(0.7)
            )
            total += (shown.albedo * diffuse + glossy) * colour.astype(np.float32)
        return total.astype(np.float32)


def _between(
    values: Float[np.ndarray, "v c"], corners: Int[np.ndarray, "n 3"], weights: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n c"]:
    total = values.take(corners[:, 0], 0)
    total *= weights[:, :1]
    for side in (1, 2):
        more = values.take(corners[:, side], 0)
        more *= weights[:, side : side + 1]
        total += more
    return total


def _dot(first: Float[np.ndarray, "n 3"], second: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    # numpy's sums over three columns are slow.
    return np.einsum("nc,nc->n", first, second)


def _length(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
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
    chosen = seen.skin if seen.skin.sum() > 50 else seen.cover > 0.5
    if not chosen.any():
        return 1.0
    level = float(np.median(seen.colour[chosen] @ THIRD))
    albedo = float(np.median(seen.albedo[chosen]))
    return lighting.target * (max(albedo, 0.02) / 0.3) ** 0.55 / max(level, 1e-4)
