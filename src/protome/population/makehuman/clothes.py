"""MakeHuman's outfits on the shoulders of the mean VALID body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from trimesh import Trimesh

from protome.geometry.align import Surface
from protome.geometry.extension import laplacian
from protome.geometry.mesh import Mesh
from protome.geometry.obj import ObjMesh
from protome.population.makehuman.fit import MakeHumanFit
from protome.population.makehuman.mhclo import Binding, Worn, read_image
from protome.population.sources.valid import ValidHeads

CROP_M = np.array([[-0.26, -0.32, -1.0], [0.26, 1.0, 1.0]])
"""The part of an outfit that is kept: a VALID bust ends there too."""
SHOULDERS_M = (-0.2, -0.05)
"""Heights between which what covers the shoulders ends."""
CLEARANCE_M = 0.003
"""How far cloth stays off the body at least."""
DEEPEST_M = 0.03
"""Cloth further inside the body is no collar or shoulder and stays where it is."""


@dataclass(frozen=True)
class Outfit:
    """The upper part of an outfit, open sheets of cloth around neck and shoulders of the reference body."""

    name: str
    vertices: Float[np.ndarray, "v 3"]
    """Head frame, metres."""
    faces: Int[np.ndarray, "f 3"]
    uv: Float[np.ndarray, "v 2"]
    """Texture coordinates, v up."""
    texture: UInt8[np.ndarray, "h w 3"]


def fit_outfits(clothes: tuple[Worn, ...], fit: MakeHumanFit, valid: ValidHeads) -> tuple[Outfit, ...]:
    """Return outfits, cropped to a bust, laid around the mean body with its arms down; no hats, trousers or shoes.

    Raises:
        InputError: a file is missing or unreadable.
    """
    outfits = []
    for piece in clothes:
        mesh = ObjMesh.load(piece.mesh)
        places = fit.to_valid(Binding.load(piece.binding).apply(fit.base.vertices))
        inside = ((places > CROP_M[0]) & (places < CROP_M[1])).all(1)
        keep = inside[mesh.faces].all(1)
        top = places[np.unique(mesh.faces), 1].max()
        if not keep.any() or not SHOULDERS_M[0] < top < SHOULDERS_M[1]:
            continue
        # A vertex with several texture coordinates is needed once for each.
        corners = np.stack([mesh.faces[keep].ravel(), mesh.uv_faces[keep].ravel()], 1)
        pairs, faces = np.unique(corners, axis=0, return_inverse=True)
        vertices = _off_the_body(places, mesh.faces, Mesh(valid.mean, valid.faces), valid.weld)[pairs[:, 0]]
        texture = read_image(piece.texture, "RGB")
        outfits.append(Outfit(piece.name, vertices, faces.reshape(-1, 3), mesh.uv[pairs[:, 1]], texture))
    return tuple(outfits)


def _off_the_body(
    cloth: Float[np.ndarray, "n 3"], faces: Int[np.ndarray, "f 3"], body: Mesh, weld: Int[np.ndarray, "v"]
) -> Float[np.ndarray, "n 3"]:
    """Return cloth pushed out of the body, its neighbourhood a little with it."""
    surface = Surface(body)
    smooth = np.array(Trimesh(body.vertices, weld[body.faces], process=False).vertex_normals)[weld]
    spread = laplacian(faces, len(cloth))
    for _ in range(6):
        foot = surface.closest(cloth)
        normals = smooth[body.faces[foot.faces]].mean(1)
        height = ((cloth - foot.points) * normals).sum(1)
        lacking = np.where((foot.distances < DEEPEST_M), np.clip(CLEARANCE_M - height, 0, None), 0.0)
        around = lacking - spread @ lacking
        cloth = cloth + np.maximum(lacking, 0.7 * around)[:, None] * normals
    return cloth
