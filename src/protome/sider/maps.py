"""Displacement and normal maps of a dense mesh relative to a coarse one, in the coarse one's UV map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.geometry.triangles import unit
from protome.sider.displace import Displaced

_EDGE = 1e-6


@dataclass(frozen=True)
class DetailMaps:
    """Displacement and normal maps; the first row is at v = 1."""

    displacement: Float[np.ndarray, "h w"]
    """Millimetres along the base's normals; zero where the mesh is not displaced."""
    normals: Float[np.ndarray, "h w 3"]
    """Unit normals in the base's tangent space (right, up, out: the convention of glTF)."""
    covered: Bool[np.ndarray, "h w"]
    """Whether the pixel belongs to the surface."""

    def displacement_16bit(self, range_mm: float) -> np.ndarray:
        """Return the displacement as unsigned 16-bit numbers: 0 at -range, 65535 at +range."""
        share = np.clip(self.displacement / range_mm, -1, 1)
        return np.rint((share * 0.5 + 0.5) * 65535.0).astype(np.uint16)

    def range_mm(self) -> float:
        """Return a round number that bounds all displacements."""
        return max(0.5, float(np.ceil(2 * np.abs(self.displacement).max()) / 2))


def bake(
    displaced: Displaced, uv: Float[np.ndarray, "u 2"], uv_faces: Int[np.ndarray, "f 3"], size: int = 1024
) -> DetailMaps:
    """Draw a displaced mesh in a UV map of its triangles; uv in [0, 1], v up."""
    rows, columns = np.mgrid[0:size, 0:size].reshape(2, -1)
    spots = np.stack([(columns + 0.5) / size, 1 - (rows + 0.5) / size, np.ones(size * size)], 1)
    flat = np.concatenate([uv, np.zeros((len(uv), 1))], 1)
    caster = RayMeshIntersector(Trimesh(flat, uv_faces, process=False))
    found = caster.intersects_first(spots, np.tile([0.0, 0.0, -1.0], (len(spots), 1)))
    covered_pixels = np.flatnonzero(found >= 0)
    triangles = found[covered_pixels]
    weights = _weights(uv[uv_faces[triangles]], spots[covered_pixels, :2])
    corners = displaced.base.faces[triangles]
    height, detail = np.zeros(size * size), np.tile([0.0, 0.0, 1.0], (size * size, 1))
    height[covered_pixels] = (displaced.displacement[corners] * weights).sum(1)
    assert displaced.base.normals is not None
    assert displaced.mesh.normals is not None
    out = unit((displaced.base.normals[corners] * weights[..., None]).sum(1))
    right = (_tangents(displaced, uv, uv_faces)[uv_faces[triangles]] * weights[..., None]).sum(1)
    right = unit(right - (right * out).sum(1, keepdims=True) * out)
    normal = unit((displaced.mesh.normals[corners] * weights[..., None]).sum(1))
    detail[covered_pixels] = np.stack([(normal * axis).sum(1) for axis in (right, np.cross(out, right), out)], 1)
    covered = np.zeros(size * size, bool)
    covered[covered_pixels] = True
    return DetailMaps(height.reshape(size, size), detail.reshape(size, size, 3), covered.reshape(size, size))


def _tangents(
    displaced: Displaced, uv: Float[np.ndarray, "u 2"], uv_faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, "u 3"]:
    """Return for each point of the map the direction on the base in which u increases."""
    place, flat = displaced.base.vertices[displaced.base.faces], uv[uv_faces]
    (du1, dv1), (du2, dv2) = (flat[:, 1] - flat[:, 0]).T, (flat[:, 2] - flat[:, 0]).T
    area = du1 * dv2 - du2 * dv1
    along = (dv2[:, None] * (place[:, 1] - place[:, 0]) - dv1[:, None] * (place[:, 2] - place[:, 0])) * np.sign(
        area[:, None]
    )
    total = np.zeros((len(uv), 3))
    for corner in range(3):
        np.add.at(total, uv_faces[:, corner], along)
    return unit(total)


def _weights(corners: Float[np.ndarray, "n 3 2"], spots: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    a, b, c = corners.swapaxes(0, 1)
    (x1, y1), (x2, y2), (x, y) = (b - a).T, (c - a).T, (spots - a).T
    area = x1 * y2 - x2 * y1
    area = np.where(np.abs(area) < _EDGE**2, _EDGE**2, area)
    second, third = (x * y2 - x2 * y) / area, (x1 * y - x * y1) / area
    weights = np.clip(np.stack([1 - second - third, second, third], 1), 0, 1)
    return weights / weights.sum(1, keepdims=True)
