"""A head as an asset: a light closed mesh, its atlas and the images in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from protome.asset.atlas import Atlas, make_atlas
from protome.asset.bake import bake, prepare
from protome.asset.charts import Part
from protome.asset.decimate import decimated
from protome.asset.delight import albedo
from protome.asset.detail import Detail, make_detail
from protome.asset.options import AssetOptions
from protome.asset.source import Source
from protome.asset.texels import Texels
from protome.geometry.mesh import Mesh
from protome.meshing.visibility import vertex_visibility
from protome.scene import View

_LEAST_AGREEMENT = 0.3
"""Cosine between a vertex's normals from the field and from its faces below which the latter are right: where a tunnel
was closed or the bust cut off, the field's surface goes on."""

_LEAST_SKIN = 100
"""Vertices of seen skin that an estimate of the light needs."""


@dataclass(frozen=True)
class Asset:
    """A textured head in the head frame, millimetres."""

    atlas: Atlas
    """Its closed mesh has normals."""
    colour: UInt8[np.ndarray, "n n 3"]
    """The texture, sRGB."""
    visibility: UInt8[np.ndarray, "n n"]
    """255 where a photo shows the surface in frontal view, 0 where none does."""
    albedo: UInt8[np.ndarray, "n n 3"] | None = None
    """The texture without the photos' light, an estimate, sRGB."""
    material: str = "unlit"
    detail: Detail | None = None
    """Normals and displacements finer than the mesh."""

    @property
    def base_colour(self) -> UInt8[np.ndarray, "n n 3"]:
        """The image that the files show: with a lit material the albedo, where there is one."""
        return self.colour if self.material == "unlit" or self.albedo is None else self.albedo

    def vertices(self) -> Float[np.ndarray, "u 3"]:
        """Return the places of the atlas's vertices."""
        return self.atlas.mesh.vertices[self.atlas.vertex]

    def normals(self) -> Float[np.ndarray, "u 3"]:
        """Return the unit normals of the atlas's vertices; the base's point down."""
        return _atlas_normals(self.atlas)


def make_asset(
    mesh: Mesh,
    paint: Callable[[Mesh], Mesh],
    sources: Sequence[Source],
    options: AssetOptions,
    views: Sequence[View] = (),
    as_photographed: Callable[[Float[np.ndarray, "v 3"]], Float[np.ndarray, "v 3"]] | None = None,
) -> Asset:
    """Return the asset of a dense closed head, head frame, millimetres.

    `paint` returns a bare mesh with the field's colours and normals. `views`, posed in the head frame, are the photos
    with their landmarks, from which detail is recovered where that is asked for. `as_photographed` returns where points
    of the head lie with the photos' expression; without it the head has that expression.
    """
    light = paint(decimated(mesh, options.faces or len(mesh.faces)))
    assert light.normals is not None
    own = np.array(light.to_trimesh().face_normals)
    light = replace(light, normals=_usable(light.normals, _of_faces(light, own)))
    shown = light if as_photographed is None else _moved(light, as_photographed)
    visibility = vertex_visibility(shown, [source.camera for source in sources])
    light, shown = replace(light, visibility=visibility), replace(shown, visibility=visibility)
    with ThreadPoolExecutor(1) as beside:  # both take seconds of one core
        laid = beside.submit(_laid, light, options.texture)
        prepared = prepare(shown, sources)
        atlas, texels = laid.result()
    seen = replace(atlas, mesh=shown)
    baked = bake(prepared, texels)
    estimate = None
    if options.delight and baked.skin.sum() > _LEAST_SKIN:
        estimate = albedo(baked.colour, baked.texels, shown, baked.low, baked.skin)
    detail = make_detail(seen, _atlas_normals(seen), baked.texels, views) if options.detail else None
    return Asset(atlas, baked.colour, baked.visibility, estimate, options.material, detail)


def _laid(mesh: Mesh, size: int) -> tuple[Atlas, Texels]:
    """Return a mesh's atlas and the texels of an image of it."""
    atlas = make_atlas(mesh)
    return atlas, Texels.of(atlas, size)


def _moved(mesh: Mesh, move: Callable[[Float[np.ndarray, "v 3"]], Float[np.ndarray, "v 3"]]) -> Mesh:
    """Return a mesh with its vertices moved and its normals those of its faces."""
    moved = replace(mesh, vertices=move(mesh.vertices))
    return replace(moved, normals=_of_faces(moved, np.array(moved.to_trimesh().face_normals)))


def _atlas_normals(atlas: Atlas) -> Float[np.ndarray, "u 3"]:
    assert atlas.mesh.normals is not None
    normals = atlas.mesh.normals[atlas.vertex]
    base = atlas.faces[atlas.chart % len(Part) == Part.BASE]
    normals[base.reshape(-1)] = [0.0, -1.0, 0.0]
    return normals


def _of_faces(mesh: Mesh, normals: Float[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Return unit normals of vertices from those of their faces, weighted by area."""
    corners = mesh.vertices[mesh.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    total = np.zeros_like(mesh.vertices)
    for corner in range(3):
        np.add.at(total, mesh.faces[:, corner], normals * area[:, None])
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _usable(field: Float[np.ndarray, "v 3"], faces: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "v 3"]:
    return np.where((field * faces).sum(1, keepdims=True) < _LEAST_AGREEMENT, faces, field)
