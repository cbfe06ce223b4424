"""A layer along an open surface, which has an inside and a signed distance."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float

from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh


@dataclass(frozen=True)
class ThickSurface:
    """All points within half a thickness of a mesh's middle surface.

    Source: SIDER, equation 5: SDF(x) = distance(x, mesh) - thickness / 2.
    """

    middle: Surface
    thickness: float

    @staticmethod
    def behind(mesh: Mesh, thickness: float) -> ThickSurface:
        """Return the layer that lies behind a mesh, so that the mesh itself is its outer face.

        The paper centres the layer on the mesh, which moves the face towards the camera by half the thickness. Where
        the mesh's radius of curvature is below half the thickness, the outer face is slightly rounder.
        """
        return ThickSurface(
            Surface(Mesh(mesh.vertices - 0.5 * thickness * vertex_normals(mesh), mesh.faces)), thickness
        )

    def distance(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
        """Return signed distances, negative inside the layer, in the mesh's unit."""
        return self.middle.closest(points).distances - 0.5 * self.thickness

    def before(self, points: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, "n"]:
        """Return which points lie on the outer side of the middle surface."""
        foot = self.middle.closest(points)
        return ((points - foot.points) * self.middle.face_normals()[foot.faces]).sum(1) > 0


def vertex_normals(mesh: Mesh) -> Float[np.ndarray, "v 3"]:
    """Return unit vertex normals, area-weighted means of the adjacent triangles; zero without triangles."""
    area = igl.PerVertexNormalsWeightingType.PER_VERTEX_NORMALS_WEIGHTING_TYPE_AREA
    return np.nan_to_num(igl.per_vertex_normals(mesh.vertices, np.ascontiguousarray(mesh.faces), area))
