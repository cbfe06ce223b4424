"""A head small enough for a report: where head.glb is large, with fewer triangles and a smaller texture."""

from __future__ import annotations

from dataclasses import replace

import cv2
import fast_simplification
import numpy as np
from jaxtyping import UInt8

from protome.asset.asset import Asset
from protome.asset.atlas import Atlas
from protome.asset.gltf import glb_of
from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.geometry.triangles import barycentric, unit

MOST_BYTES = 6_000_000
"""Of the GLB in a report, a third larger there: with photos and library the page stays below 12 MB."""
FACES, TEXTURE = 80_000, 2048


def report_glb(asset: Asset, written: bytes | None = None) -> bytes:
    """Return the GLB that a report shows: `written`, that of head.glb, if it is not too large, or a lighter one.

    A lighter one has neither normal map nor tangents, a texture of at most `TEXTURE` pixels, and about `FACES`
    triangles where there are more.
    """
    whole = glb_of(asset) if written is None else written
    if len(whole) <= MOST_BYTES:
        return whole
    colour, albedo = _small(asset.colour), None if asset.albedo is None else _small(asset.albedo)
    plain = replace(asset, detail=None, colour=colour, albedo=albedo, visibility=_small(asset.visibility))
    return glb_of(replace(plain, atlas=lighter(asset.atlas, FACES)))


def lighter(atlas: Atlas, faces: int) -> Atlas:
    """Return the atlas with about `faces` triangles in the same texture.

    A triangle belongs to the chart of the surface nearest to its middle, and so do its corners, whose place in the
    texture is that of the nearest point of that chart. So no gap opens between charts, and a triangle across their
    border shows the border's colour on a part of itself.
    """
    if len(atlas.faces) <= faces:
        return atlas
    assert atlas.mesh.normals is not None
    found, triangles = fast_simplification.simplify(
        atlas.mesh.vertices.astype(np.float32), atlas.mesh.faces.astype(np.int32), target_count=faces
    )
    vertices, triangles = found.astype(np.float64), triangles.astype(np.int64)
    normals = np.zeros_like(vertices)
    chart = atlas.chart[Surface(atlas.mesh).closest(vertices[triangles].mean(1)).faces]
    vertex, uv, corners, start = [], [], np.zeros_like(triangles), 0
    for own in np.unique(chart):
        used, numbers = np.unique(triangles[chart == own], return_inverse=True)
        on = atlas.chart == own
        foot = Surface(Mesh(atlas.mesh.vertices, atlas.mesh.faces[on])).closest(vertices[used])
        places = atlas.mesh.faces[on][foot.faces]
        weights = barycentric(atlas.mesh.vertices[places], foot.points)[..., None]
        normals[used] = unit((weights * atlas.mesh.normals[places]).sum(1))
        uv.append((weights * atlas.uv[atlas.faces[on][foot.faces]]).sum(1))
        vertex.append(used)
        corners[chart == own] = numbers.reshape(-1, 3) + start
        start += len(used)
    mesh = Mesh(vertices, triangles, normals=normals)
    return Atlas(mesh, np.concatenate(vertex), corners, np.concatenate(uv), chart)


def _small(image: UInt8[np.ndarray, "n n *c"]) -> UInt8[np.ndarray, "m m *c"]:
    if len(image) <= TEXTURE:
        return image
    return cv2.resize(image, (TEXTURE, TEXTURE), interpolation=cv2.INTER_AREA).astype(np.uint8)
