"""The template's image laid onto one head: where its texels lie, and what they meet of the head's textured mesh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.asset.atlas import Atlas
from protome.asset.picture import Textured
from protome.asset.texels import Texels
from protome.geometry.mesh import Mesh
from protome.geometry.triangles import barycentric
from protome.topology.fitted import TemplateHead
from protome.topology.template import Template

MEET_MM = 3.0
"""How far above and below skin and hair the surface that they show is looked for."""


@dataclass(frozen=True)
class Laid:
    """The texels of the template's image with their places on a head."""

    texels: Texels
    part: Int[np.ndarray, "k"]
    places: Float[np.ndarray, "k 3"]

    @staticmethod
    def of(head: TemplateHead, size: int) -> Laid:
        """Return the texels of an image of `size` pixels on each side."""
        template = head.template
        texels = Texels.of(layout(template, head.vertices), size)
        places = texels.interpolated(head.vertices).astype(np.float64)
        return Laid(texels, template.triangle_part[texels.face], places)


def layout(template: Template, vertices: Float[np.ndarray, "v 3"]) -> Atlas:
    """Return the template's texture coordinates as an atlas of a head's mesh, which has normals."""
    vertex = np.zeros(len(template.uv), np.int64)
    vertex[template.uv_triangles] = template.triangles
    mesh = Mesh(vertices, template.triangles, normals=np.array(bare(vertices, template.triangles).vertex_normals))
    return Atlas(mesh, vertex, template.uv_triangles, template.uv, template.triangle_part)


@dataclass(frozen=True)
class Met:
    """Texels that meet a mesh, and where."""

    texel: Int[np.ndarray, "k"]
    face: Int[np.ndarray, "k"]
    """Of the mesh."""
    weights: Float32[np.ndarray, "k 3"]
    """Barycentric coordinates in the face."""

    def on(self, values: Float[np.ndarray, "u *c"], faces: Int[np.ndarray, "f 3"]) -> Float32[np.ndarray, "k *c"]:
        """Return values of the mesh's vertices there."""
        return np.asarray(np.einsum("kc,kc...->k...", self.weights, values[faces[self.face]]), np.float32)


def meetings(laid: Laid, normals: Float[np.ndarray, "v 3"], source: Textured) -> Iterator[Met]:
    """Return what the texels meet of a mesh along the head's vertex normals, nearby, in blocks that need little memory.

    A ray for each texel costs a twentieth of a search for its nearest place.
    """
    caster = RayMeshIntersector(bare(source.vertices, source.faces))
    for block in laid.texels.blocks():
        places, ways = laid.places[block], laid.texels.part(block).interpolated(normals).astype(np.float64)
        ways /= np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), 1e-9)
        starts = places + MEET_MM * ways
        face = np.asarray(caster.intersects_first(starts, -ways))
        hit = np.flatnonzero(face >= 0)
        corners = source.vertices[source.faces[face[hit]]]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        ahead = ((corners[:, 0] - starts[hit]) * across).sum(1) / np.minimum((-ways[hit] * across).sum(1), -1e-9)
        near = (ahead >= 0) & (ahead < 2 * MEET_MM)
        hit, ahead, corners = hit[near], ahead[near], corners[near]
        weights = barycentric(corners, starts[hit] - ahead[:, None] * ways[hit]).clip(0, 1)
        weights /= weights.sum(1, keepdims=True)
        yield Met(block.start + hit, face[hit].astype(np.int64), weights.astype(np.float32))


def bare(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Trimesh:
    """Return triangles as trimesh has them."""
    return Trimesh(vertices, faces, process=False)
