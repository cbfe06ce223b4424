"""The texels of an atlas: which point of the surface each shows, and the margins around charts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Shaped
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.asset.atlas import Atlas

AT_ONCE = 500_000
"""Texels that are worked on together: with all of a large texture at once, memory would run to gigabytes."""


@dataclass(frozen=True)
class Texels:
    """The texels that show the surface."""

    size: int
    """Side of the image."""
    index: Int[np.ndarray, "k"]
    """Place of each in the image, row by row."""
    corners: Int[np.ndarray, "k 3"]
    """The corners of its face, in vertices of the closed mesh."""
    weights: Float32[np.ndarray, "k 3"]
    """Its barycentric coordinates."""
    face: Int[np.ndarray, "k"]
    """The face that it lies in."""

    @staticmethod
    def of(atlas: Atlas, size: int) -> Texels:
        """Return the texels of an image of `size` pixels on each side whose centres lie in a chart.

        The charts are a flat mesh, and one ray falls on each texel's centre.
        """
        flat = atlas.uv * size
        plane = np.concatenate([flat, np.zeros((len(flat), 1))], 1)
        caster = RayMeshIntersector(Trimesh(plane, atlas.faces, process=False))
        near = np.flatnonzero(_covered(flat, atlas.faces, size)).astype(np.int32)
        index, corners = np.empty(len(near), np.int32), np.empty((len(near), 3), np.int32)
        weights, faces = np.empty((len(near), 3), np.float32), np.empty(len(near), np.int32)
        count = 0
        for part in np.array_split(near, max(1, len(near) // AT_ONCE)):
            centre = np.stack([part % size + 0.5, part // size + 0.5], 1)
            origins = np.concatenate([centre, np.ones((len(part), 1))], 1)
            down = np.broadcast_to([0.0, 0.0, -1.0], origins.shape)
            face = np.asarray(caster.intersects_first(origins, down))
            hit = face >= 0
            face = face[hit]
            own = slice(count, count + len(face))
            index[own] = part[hit]
            corners[own] = atlas.vertex[atlas.faces[face]]
            weights[own] = _barycentric(flat, atlas.faces, face, centre[hit])
            faces[own] = face
            count += len(face)
        return Texels(size, index[:count], corners[:count], weights[:count], faces[:count])

    def part(self, chosen: Int[np.ndarray, "j"] | slice) -> Texels:
        """Return some of the texels."""
        return Texels(self.size, self.index[chosen], self.corners[chosen], self.weights[chosen], self.face[chosen])

    def blocks(self) -> Iterator[slice]:
        """Return the texels in blocks that need little memory."""
        for start in range(0, len(self.index), AT_ONCE):
            yield slice(start, start + AT_ONCE)

    def interpolated(self, values: Float[np.ndarray, "v *c"]) -> Float32[np.ndarray, "k *c"]:
        """Return values of the closed mesh's vertices at the texels."""
        values = values.astype(np.float32)
        total = np.zeros((len(self.index), *values.shape[1:]), np.float32)
        for corner in range(3):
            share = self.weights[:, corner].reshape(-1, *[1] * (values.ndim - 1))
            total += share * values[self.corners[:, corner]]
        return total

    def image(self, values: Shaped[np.ndarray, "k *c"]) -> Shaped[np.ndarray, "n n *c"]:
        """Return an image with a value at each texel; texels between charts get the nearest one's."""
        return values[self._nearest].reshape(self.size, self.size, *values.shape[1:])

    @cached_property
    def _nearest(self) -> Int[np.ndarray, "n"]:
        """Which of the texels is nearest to each pixel."""
        empty = np.ones(self.size * self.size, np.uint8)
        empty[self.index] = 0
        _, label = cv2.distanceTransformWithLabels(
            empty.reshape(self.size, self.size), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        # Labels number the texels that show the surface, row by row, from 1.
        return label.reshape(-1) - 1


def _covered(flat: Float[np.ndarray, "u 2"], faces: Int[np.ndarray, "f 3"], size: int) -> Bool[np.ndarray, "n"]:
    """Return which pixels lie in the charts or next to them; the rays of the others need not be cast."""
    image = np.zeros((size, size), np.uint8)
    cv2.fillPoly(image, list(np.rint(flat[faces] - 0.5).astype(np.int32)), [1])
    return cv2.dilate(image, np.ones((3, 3), np.uint8)).reshape(-1) > 0


def _barycentric(
    flat: Float[np.ndarray, "u 2"],
    faces: Int[np.ndarray, "f 3"],
    face: Int[np.ndarray, "k"],
    points: Float[np.ndarray, "k 2"],
) -> Float32[np.ndarray, "k 3"]:
    a, b, c = np.moveaxis(flat[faces[face]], 1, 0)
    (ux, uy), (vx, vy), (x, y) = (b - a).T, (c - a).T, (points - a).T
    area = ux * vy - uy * vx
    area = np.where(np.abs(area) < 1e-12, 1e-12, area)
    second = (x * vy - y * vx) / area
    third = (y * ux - x * uy) / area
    return np.stack([1 - second - third, second, third], 1).astype(np.float32)
