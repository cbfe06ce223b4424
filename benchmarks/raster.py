"""Render a coloured mesh with a `Camera` by casting rays: the photos of the benchmarks and tests.

It is simple and reproducible rather than photo-real: Lambert reflection of the mesh's colours under a few
directional lights and a sky, with soft shadows and occlusion, supersampled. The same seed gives the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Int
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh, linear_from_srgb, srgb_from_linear
from protome.geometry.transforms import Similarity

SHADOW_OFFSET = 2e-3
"""Offset of shadow rays from the surface, as a share of the mesh's extent: less shows coarse scans' facets."""


@dataclass(frozen=True)
class Subject:
    """A mesh with a colour per vertex, or with a texture."""

    mesh: Mesh
    """Its `colours` are used where there is no texture; grey where it has none either."""
    uv: Float[np.ndarray, "v 2"] | None = None
    """Texture coordinates, origin at the lower left of the image."""
    texture: Float[np.ndarray, "h w 3"] | None = None
    """RGB in [0, 1], sRGB values."""

    @staticmethod
    def load(path: str | Path) -> Subject:
        """Read a mesh file with its texture, or with its vertex colours where it has no texture.

        Raises:
            InputError: no such file, no triangles in it, or several parts with textures.
        """
        mesh = Mesh.load(path)
        parts = trimesh.load_scene(Path(path), process=False).geometry.values()
        textured = [part.visual for part in parts if part.visual.kind == "texture" and part.visual.uv is not None]
        if not textured:
            return Subject(mesh)
        if len(textured) > 1 or len(textured[0].uv) != len(mesh.vertices):
            raise InputError(f"{path} has several parts with textures: give a file with a single textured mesh")
        material = textured[0].material
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if image is None:
            raise InputError(f"{path} has texture coordinates but no texture image: give a file that contains it")
        texture = np.asarray(image.convert("RGB"), np.float64) / 255.0
        return Subject(mesh, np.asarray(textured[0].uv, np.float64), texture)

    def transformed(self, b_from_a: Similarity) -> Subject:
        """Return the subject mapped by a similarity."""
        return replace(self, mesh=self.mesh.transformed(b_from_a))

    def albedo(self, corners: Int[np.ndarray, "n 3"], weights: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Return the linear colour at points given by the three vertices around them and barycentric weights."""
        if self.texture is not None and self.uv is not None:
            return bilinear(linear_from_srgb(self.texture), np.einsum("nk,nkd->nd", weights, self.uv[corners]))
        if self.mesh.colours is not None:
            return np.einsum("nk,nkd->nd", weights, linear_from_srgb(self.mesh.colours)[corners])
        return np.full((len(corners), 3), 0.5)


@dataclass(frozen=True)
class Light:
    """A distant lamp."""

    towards: tuple[float, float, float]
    """Direction from the subject to the lamp, in the subject's frame."""
    strength: float
    """Brightness of a white surface that faces the lamp (linear)."""
    spread: float = 8.0
    """Half angle of the lamp in degrees: the softness of its shadows."""


@dataclass(frozen=True)
class Lighting:
    """All lights; the default is a soft studio light for a head that faces +z with +y up."""

    lights: tuple[Light, ...] = (Light((0.5, 0.5, 1.0), 0.55), Light((-0.9, 0.2, 0.5), 0.25), Light((0, 0.6, -1), 0.25))
    sky: float = 0.45
    """Ambient light from above (linear)."""
    ground: float = 0.30
    """Ambient light from below (linear)."""
    rays: int = 6
    """Shadow rays per lamp and occlusion rays per sample: 0 for none, 1 for noisy ones, more for soft shadows."""


@dataclass(frozen=True)
class Picture:
    """A rendered view."""

    image: Float[np.ndarray, "h w 3"]
    """RGB in [0, 1], sRGB values."""
    mask: Float[np.ndarray, "h w"]
    """Share of the pixel that the subject covers."""
    depth: Float[np.ndarray, "h w"]
    """Distance along the optical axis in the subject's unit; infinite on the background."""
    normals: Float[np.ndarray, "h w 3"]
    """Unit shading normals in the subject's frame; zero on the background."""


def bilinear(image: Float[np.ndarray, "h w 3"], uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    """Return the image's values at texture coordinates (origin lower left, repeated outside [0, 1])."""
    height, width = image.shape[:2]
    x, y = uv[:, 0] * width - 0.5, (1.0 - uv[:, 1]) * height - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    rows, columns = (top % height, (top + 1) % height), (left % width, (left + 1) % width)
    upper = image[rows[0], columns[0]] * (1 - fx) + image[rows[0], columns[1]] * fx
    lower = image[rows[1], columns[0]] * (1 - fx) + image[rows[1], columns[1]] * fx
    return upper * (1 - fy) + lower * fy


def render(
    subject: Subject,
    camera: Camera,
    lighting: Lighting | None = None,
    background: tuple[float, float, float] = (0.55, 0.6, 0.65),
    supersample: int = 2,
    seed: int = 0,
) -> Picture:
    """Return the picture of a subject; camera and lights are posed in the subject's frame.

    Each pixel is the mean, in linear light, of supersample x supersample rays. `background` is an sRGB colour.
    """
    lighting = Lighting() if lighting is None else lighting
    fine = camera.to(torch.float64).resized(camera.width * supersample, camera.height * supersample)
    rays = fine.rays()
    origins, directions = rays.origins.numpy(), rays.directions.numpy()
    axis = fine.T_world_camera[:3, 2].numpy()

    caster = RayMeshIntersector(trimesh.Trimesh(subject.mesh.vertices, subject.mesh.faces, process=False))
    first = caster.intersects_first(origins, directions)
    hit = np.flatnonzero(first >= 0)
    corners = subject.mesh.faces[first[hit]]
    triangles = subject.mesh.vertices[corners]
    distance, weights = meet(origins[hit], directions[hit], triangles)
    facing = unit(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]))
    facing *= -np.sign((facing * directions[hit]).sum(1, keepdims=True))
    points = origins[hit] + distance[:, None] * directions[hit]

    vertex_normals = subject.mesh.normals
    if vertex_normals is None:
        vertex_normals = np.asarray(caster.mesh.vertex_normals)
    normals = unit(np.einsum("nk,nkd->nd", weights, vertex_normals[corners]))
    # Back faces of an open or inside-out mesh get normals that face the viewer.
    normals *= np.where((facing * normals).sum(1) < 0, -1.0, 1.0)[:, None]
    light = _irradiance(caster, points, normals, facing, lighting, np.random.default_rng(seed))
    colour = light[:, None] * subject.albedo(corners, weights)

    def picture(values: np.ndarray, empty: np.ndarray | float) -> np.ndarray:
        flat = np.empty((len(first), *values.shape[1:]))
        flat[:] = empty
        flat[hit] = values
        shape = (camera.height, supersample, camera.width, supersample, *values.shape[1:])
        return flat.reshape(shape).mean((1, 3))

    mask = picture(np.ones(len(hit)), 0.0)
    share = np.maximum(mask, 1e-12)
    depth = np.where(mask > 0, picture(distance * (directions[hit] @ axis), 0.0) / share, np.inf)
    light = picture(np.clip(colour, 0.0, 1.0), linear_from_srgb(np.array(background)))
    image = srgb_from_linear(np.clip(light, 0.0, 1.0))
    return Picture(image, mask, depth, unit(picture(normals, 0.0)))


def unit(vectors: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Return vectors of unit length."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def meet(
    origins: Float[np.ndarray, "n 3"], directions: Float[np.ndarray, "n 3"], triangles: Float[np.ndarray, "n 3 3"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n 3"]]:
    """Return distance and barycentric weights of rays known to hit.

    Embree finds the triangle in single precision; the point on it is computed here in double precision
    (Moeller and Trumbore 1997).
    """
    corner, edge1, edge2 = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    across = np.cross(directions, edge2)
    determinant = (edge1 * across).sum(1)
    determinant = np.where(np.abs(determinant) < 1e-30, 1e-30, determinant)
    offset = origins - corner
    around = np.cross(offset, edge1)
    u = np.clip((offset * across).sum(1) / determinant, 0.0, 1.0)
    v = np.clip((directions * around).sum(1) / determinant, 0.0, 1.0 - u)
    return (edge2 * around).sum(1) / determinant, np.stack([1.0 - u - v, u, v], 1)


def _irradiance(
    caster: RayMeshIntersector,
    points: Float[np.ndarray, "n 3"],
    normals: Float[np.ndarray, "n 3"],
    facing: Float[np.ndarray, "n 3"],
    lighting: Lighting,
    random: np.random.Generator,
) -> Float[np.ndarray, "n"]:
    """Return the brightness of a white surface at each point."""
    starts = points + SHADOW_OFFSET * float(caster.mesh.scale) * facing

    def open_share(aim: Float[np.ndarray, "n 3"], scatter: float) -> Float[np.ndarray, "n"]:
        """Return the share of rays around `aim` (scattered in a ball of that radius) that leave the mesh."""
        free = np.zeros(len(starts))
        for _ in range(lighting.rays):
            ball = unit(random.standard_normal(aim.shape)) * scatter
            blocked: Bool[np.ndarray, "n"] = caster.intersects_first(starts, unit(aim + ball)) >= 0
            free += ~blocked
        return free / lighting.rays if lighting.rays else np.ones(len(starts))

    up = 0.5 + 0.5 * normals[:, 1]
    # Normal plus a uniform unit vector is a cosine-weighted direction, as Lambert reflection requires.
    total = (lighting.ground + (lighting.sky - lighting.ground) * up) * open_share(normals, 0.999)
    for light in lighting.lights:
        towards = unit(np.array(light.towards, np.float64))
        lit = np.maximum(normals @ towards, 0.0)
        aim = np.broadcast_to(towards, normals.shape)
        total += light.strength * lit * open_share(aim, np.tan(np.radians(light.spread)))
    return total
