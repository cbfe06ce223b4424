"""What a texture is baked from: photos posed in the head frame, and their mirror images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.scene import View

_LIFT_MM = 0.3
"""How far above the surface rays to the camera start."""
_SIDEWAYS, _FRONTAL = 0.15, 0.5
"""Cosines between normal and view direction from which on a photo counts, and up to which it counts less."""
_RIM_PX, _RIM_SHARE = 2.0, 0.006
"""What a silhouette loses: pixels, and more for larger photos, in which masks are coarser, as a share of the photo."""
_BESIDE_MM, _NEARER_MM, _DIRECTIONS = 7.0, 7.0, 8
"""How far across and along the line of sight something nearer to the camera must be to leave a point alone."""
_MIRROR = np.array([-1.0, 1.0, 1.0])

_MOVED_MM = 1.5
"""By how far the photo's own expression moves skin that counts e times less."""

Shade = Callable[[Float[np.ndarray, "k 3"]], Float[np.ndarray, "k 3"]]
Moved = Callable[[Float[np.ndarray, "k 3"]], Float[np.ndarray, "k"]]


@dataclass(frozen=True)
class Source:
    """A photo from which colours are taken."""

    image: Float32[np.ndarray, "h w 3"]
    """RGB in [0, 1], its exposure and white balance those of the other photos."""
    inside: Float32[np.ndarray, "h w"]
    """Distance to the silhouette in pixels; 0 outside."""
    camera: Camera
    """Posed in the head frame, millimetres."""
    weight: float = 1.0
    """How much the photo counts beside the others."""
    mirrored: bool = False
    """Whether it shows the head mirrored left to right."""
    shade: Shade | None = None
    """What the photo's own light multiplies the head's colours by, for unit normals (head frame); None: nothing."""
    moved: Moved | None = None
    """By how many millimetres the photo's own expression moves points of the head; None: by none."""

    @staticmethod
    def of(
        view: View,
        camera: Camera,
        gain: Float[np.ndarray, "3"] | None = None,
        shade: Shade | None = None,
        moved: Moved | None = None,
    ) -> Source:
        """Return the source of a view with its camera in the head frame.

        `gain`, `shade` and `moved` are the photo's own.
        """
        image = view.image.detach().cpu().numpy().astype(np.float32)
        if gain is not None:
            image = (image / gain.astype(np.float32)).astype(np.float32)
        shown = view.mask > 0.5 if view.front is None else (view.mask > 0.5) & (view.front < 0.5)
        inside = shown.detach().cpu().numpy().astype(np.uint8)
        # What lies past the image is no background: only an outline in the photo is drawn in.
        padded = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
        return Source(image, np.ascontiguousarray(distance), camera.to("cpu"), view.weight, shade=shade, moved=moved)

    def flipped(self) -> Source:
        """Return the mirror image, as if the head were symmetric."""
        return replace(self, mirrored=not self.mirrored)

    def evened(self, colours: Float[np.ndarray, "k 3"], normals: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 3"]:
        """Return the photo's colours at points with these unit normals, as they are in the light of all photos."""
        if self.shade is None:
            return colours
        return colours / self.shade(normals * _MIRROR if self.mirrored else normals).astype(colours.dtype)

    def project(self, points: Float[np.ndarray, "k 3"]) -> tuple[Float32[np.ndarray, "k 2"], Float32[np.ndarray, "k"]]:
        """Return pixel positions (x, y; pixel centres at +0.5) and depths in front of the camera."""
        pose = self.camera.T_world_camera.double().numpy()
        turn = pose[:3, :3] if not self.mirrored else _MIRROR[:, None] * pose[:3, :3]
        centre = self.centre
        local = (points - centre.astype(points.dtype)) @ turn.astype(points.dtype)
        depth = local[:, 2]
        spot = local @ self.camera.K.double().numpy().T.astype(points.dtype)
        spot = spot[:, :2] / np.where(depth > 1e-3, depth, 1.0)[:, None]
        return spot.astype(np.float32), depth.astype(np.float32)

    @property
    def centre(self) -> Float[np.ndarray, "3"]:
        """The optical centre, mirrored if the source is."""
        centre = self.camera.centre.double().numpy()
        return centre * _MIRROR if self.mirrored else centre

    def sample(
        self, points: Float[np.ndarray, "k 3"], image: Float32[np.ndarray, "h w *c"] | None = None
    ) -> Float32[np.ndarray, "k *c"]:
        """Return the photo, or another image of its size, at points of the head, by cubic interpolation."""
        spot, _ = self.project(points)
        return sampled(self.image if image is None else image, spot)

    def towards(self, points: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 3"]:
        """Return unit vectors from points of the head to the camera."""
        away = self.centre - points
        return away / np.linalg.norm(away, axis=1, keepdims=True)

    def pixels_per_mm(self, points: Float[np.ndarray, "k 3"]) -> Float32[np.ndarray, "k"]:
        """Return how many pixels a millimetre across the line of sight has at points of the head."""
        _, depth = self.project(points)
        return (self.camera.focal / np.maximum(depth, 1.0)).astype(np.float32)


def sampled(image: Float32[np.ndarray, "h w *c"], spot: Float32[np.ndarray, "k 2"]) -> Float32[np.ndarray, "k *c"]:
    """Return an image at pixel positions (centres at +0.5), by cubic interpolation; its rim continues outside."""
    if len(spot) == 0:
        return np.zeros((0, *image.shape[2:]), np.float32)
    # OpenCV takes maps of at most 32,767 rows.
    width = 1024
    count = -(-len(spot) // width) * width
    grid = np.zeros((count, 2), np.float32)
    grid[: len(spot)] = spot - 0.5
    rows, found = grid.reshape(-1, width, 2), []
    for part in np.array_split(rows, -(-len(rows) // 16384)):
        found.append(cv2.remap(image, part, np.empty(0), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))
    return np.concatenate(found).reshape(count, *image.shape[2:])[: len(spot)]


def vertex_weights(source: Source, mesh: Mesh, caster: RayMeshIntersector) -> Float[np.ndarray, "v"]:
    """Return how well a photo shows each vertex of a mesh with normals: 1 for a frontal view far from the silhouette.

    0 where the vertex is hidden, turned away, outside the photo or within some pixels of the person's silhouette.
    `caster` holds the mesh's triangles.
    """
    assert mesh.normals is not None
    points = mesh.vertices
    towards = source.towards(points)
    facing = (towards * mesh.normals).sum(1)
    spot, depth = source.project(points)
    seen = (facing > _SIDEWAYS) & (depth > 1e-3) & _within(spot, source.camera)
    rim = _RIM_PX + _RIM_SHARE * max(source.camera.width, source.camera.height) * np.array([0.0, 1.0])
    weight = np.zeros(len(points))
    chosen = np.flatnonzero(seen)
    hidden = caster.intersects_any(points[chosen] + _LIFT_MM * mesh.normals[chosen], towards[chosen])
    chosen = chosen[~hidden]
    distance = sampled(source.inside, spot[chosen])
    weight[chosen] = _ramp(facing[chosen], _SIDEWAYS, _FRONTAL) * facing[chosen] * _ramp(distance, rim[0], rim[1])
    chosen = np.flatnonzero(weight)
    weight[chosen] *= _free(points[chosen], towards[chosen], facing[chosen], caster)
    if source.moved is not None and len(chosen):
        weight[chosen] *= np.exp(-((source.moved(points[chosen]) / _MOVED_MM) ** 2))
    return weight


def _free(
    points: Float[np.ndarray, "k 3"],
    towards: Float[np.ndarray, "k 3"],
    facing: Float[np.ndarray, "k"],
    caster: RayMeshIntersector,
) -> Float[np.ndarray, "k"]:
    """Return factors that fall to 0 beside the outline of what is nearer to the camera, such as an ear.

    The photo's own outline there lies millimetres from the mesh's, and the nearer thing would colour what is behind.
    """
    aside = np.cross(towards, np.where(np.abs(towards[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]))
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    upright = np.cross(towards, aside)
    slope = np.sqrt(np.maximum(1 - facing**2, 0)) / np.maximum(facing, _SIDEWAYS)
    starts = points + (_NEARER_MM + _BESIDE_MM * slope)[:, None] * towards
    near = np.zeros(len(points))
    for angle in 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
        near += caster.intersects_any(starts + _BESIDE_MM * (np.cos(angle) * aside + np.sin(angle) * upright), towards)
    return np.clip(1 - 3 * near / _DIRECTIONS, 0, 1)


def _within(spot: Float32[np.ndarray, "k 2"], camera: Camera) -> Bool[np.ndarray, "k"]:
    return (spot > 1).all(1) & (spot[:, 0] < camera.width - 1) & (spot[:, 1] < camera.height - 1)


def _ramp(values: Float[np.ndarray, "*k"], low: float, high: float) -> Float[np.ndarray, "*k"]:
    """Return 0 below `low`, 1 above `high`, and a smooth rise between."""
    share = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    return share * share * (3 - 2 * share)
