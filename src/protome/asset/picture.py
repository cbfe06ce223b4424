"""Pictures of a textured mesh: one ray per pixel, four more along outlines, and no display."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.asset.asset import Asset
from protome.asset.source import sampled
from protome.geometry.camera import Camera
from protome.geometry.triangles import barycentric

BACKGROUND = 0.94
_CORNERS = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))


@dataclass(frozen=True)
class Seen:
    """What a camera sees of a textured mesh."""

    colour: Float32[np.ndarray, "h w 3"]
    """sRGB; the background where there is no surface."""
    face: Int[np.ndarray, "h w"]
    """The face at each pixel's centre; -1 where there is none."""
    weights: Float[np.ndarray, "h w 3"]
    """Barycentric coordinates in it; zeros where there is none."""


@dataclass(frozen=True)
class Textured:
    """A mesh with texture coordinates and an image; the frame and the unit are the caller's."""

    vertices: Float[np.ndarray, "u 3"]
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "u 2"]
    """From the image's upper left corner to the right and downwards."""
    image: UInt8[np.ndarray, "n m 3"]
    normals: Float[np.ndarray, "u 3"] | None = None
    """Unit normals of the vertices; None where they are not known."""

    @staticmethod
    def of(asset: Asset) -> Textured:
        """Return an asset's mesh and texture, millimetres."""
        return Textured(asset.vertices(), asset.atlas.faces, asset.atlas.uv, asset.base_colour, asset.normals())

    @cached_property
    def _caster(self) -> RayMeshIntersector:
        return RayMeshIntersector(Trimesh(self.vertices, self.faces, process=False))

    @cached_property
    def _levels(self) -> list[Float32[np.ndarray, "_ _ 3"]]:
        """The image at full, half and quarter size and so on."""
        levels: list[Float32[np.ndarray, "_ _ 3"]] = [np.asarray(self.image / np.float32(255), np.float32)]
        while min(levels[-1].shape[:2]) > 64:
            half = cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            levels.append(np.asarray(half, np.float32))
        return levels

    def seen(self, camera: Camera, background: float = BACKGROUND) -> Seen:
        """Return the picture from a camera in the mesh's frame."""
        pixels = camera.pixels().double().numpy()
        colour, face, weights = self._cast(camera, pixels, background)
        shape = (camera.height, camera.width)
        rim = np.flatnonzero(_rim(face.reshape(shape) >= 0).reshape(-1))
        colour[rim] = np.mean([self._cast(camera, pixels[rim] + way, background)[0] for way in _CORNERS], axis=0)
        return Seen(colour.reshape(*shape, 3), face.reshape(shape), weights.reshape(*shape, 3))

    def interpolated(self, seen: Seen, values: Float[np.ndarray, "u c"]) -> Float[np.ndarray, "h w c"]:
        """Return values of the vertices in a picture; zeros where there is no surface."""
        return (values[self.faces[seen.face]] * seen.weights[..., None]).sum(2)

    def _cast(
        self, camera: Camera, pixels: Float[np.ndarray, "n 2"], background: float
    ) -> tuple[Float32[np.ndarray, "n 3"], Int[np.ndarray, "n"], Float[np.ndarray, "n 3"]]:
        """Return colours, faces and the barycentric coordinates in them."""
        colour, inside = np.full((len(pixels), 3), background, np.float32), np.zeros((len(pixels), 3))
        if not len(pixels):
            return colour, np.zeros(0, np.int64), inside
        K, pose = camera.K.double().numpy(), camera.T_world_camera.double().numpy()
        ways = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ np.linalg.inv(K).T @ pose[:3, :3].T
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        face = np.asarray(self._caster.intersects_first(np.broadcast_to(pose[:3, 3], ways.shape), ways), np.int64)
        hit = np.flatnonzero(face >= 0)
        if len(hit):
            triangles = self.vertices[self.faces[face[hit]]]
            across = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
            ahead = ((triangles[:, 0] - pose[:3, 3]) * across).sum(1) / (ways[hit] * across).sum(1)
            weights = barycentric(triangles, pose[:3, 3] + ahead[:, None] * ways[hit])
            uv = (self.uv[self.faces[face[hit]]] * weights[..., None]).sum(1)
            level = self._levels[self._level(camera, float(np.median(ahead)))]
            colour[hit] = sampled(level, (uv * level.shape[1::-1]).astype(np.float32)).clip(0, 1)
            inside[hit] = weights
        return colour, face, inside

    def _level(self, camera: Camera, distance: float) -> int:
        """Return the reduction at which a texel is about as large as a pixel."""
        a, b, c = np.moveaxis(self.vertices[self.faces], 1, 0)
        surface = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        (ux, uy), (vx, vy) = (self.uv[self.faces[:, k]].T - self.uv[self.faces[:, 0]].T for k in (1, 2))
        flat = np.abs(ux * vy - uy * vx) * self.image.shape[0] * self.image.shape[1]
        texels = np.sqrt(np.quantile(flat / np.maximum(surface, 1e-12), 0.9)) * distance / camera.focal
        return int(np.clip(np.floor(np.log2(max(texels, 1e-6)) + 0.4), 0, len(self._levels) - 1))


def _rim(hit: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the pixels at which surface and background meet."""
    inside = hit.astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    return cv2.dilate(inside, kernel) != cv2.erode(inside, kernel)
