"""A texture baked from photos: sharp where one shows the head, the renderer's colours where none does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.spatial import cKDTree
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.asset.atlas import Atlas
from protome.asset.choice import RENDERER_WEIGHT, Choice, choose
from protome.asset.grain import band_strengths, facial, grain, hair, like_seen
from protome.asset.source import Source, sampled, vertex_weights
from protome.asset.texels import Texels
from protome.geometry.mesh import Mesh

_MIRROR_WEIGHT = 0.35
"""Weight of a photo's mirror image beside the photo's own: it counts only where no photo shows the head well."""
_MIRROR_MM = 4.0
"""Distance of the mirrored point from the surface at which the mirror image counts e times less."""
_MIRROR_FLOOR = 0.3
_SKIN_WEIGHT = 0.2
_BLUR_MM = 2.0
"""Standard deviation, on the surface, of the smooth colours by which photos are joined."""


@dataclass(frozen=True)
class Baked:
    """Images in the atlas of a head."""

    colour: UInt8[np.ndarray, "n n 3"]
    """sRGB."""
    visibility: UInt8[np.ndarray, "n n"]
    """255 where a photo shows the surface in frontal view, 0 where none does."""
    texels: Texels
    low: Float[np.ndarray, "v 3"]
    """The smooth colours at the mesh's vertices, sRGB."""
    skin: Bool[np.ndarray, "v"]
    """Which vertices are seen skin of the face."""


def bake(atlas: Atlas, sources: Sequence[Source], size: int) -> Baked:
    """Return the texture of an atlas whose mesh has the renderer's colours, normals and visibility.

    Every vertex is given to the photo that shows it best; details come from that photo alone, sharp, and low
    frequencies join the parts. Head frame, millimetres.
    """
    mesh = atlas.mesh
    assert mesh.colours is not None
    assert mesh.visibility is not None
    texels = Texels.of(atlas, size)
    used, weights, direct = _weighed(mesh, sources)
    colours = np.stack([*(_smooth_colours(source, mesh) for source in used), mesh.colours], 1)
    choice = choose(mesh, weights, colours, direct)
    is_hair = hair(mesh, choice.low)
    strengths = band_strengths(sources, mesh.vertices, weights)
    noise = np.concatenate([like_seen(strengths, choice.low, mesh.vertices, is_hair), is_hair[:, None]], 1)
    colour = _composed(mesh, texels, used, choice, noise)
    shown = np.clip(np.rint(255 * texels.interpolated(mesh.visibility)), 0, 255).astype(np.uint8)
    eight = np.clip(np.rint(255 * colour), 0, 255).astype(np.uint8)
    skin = (weights[:, :direct].max(1) > _SKIN_WEIGHT) & ~is_hair & facial(mesh.vertices)
    return Baked(texels.image(eight), texels.image(shown), texels, choice.low, skin)


def _weighed(mesh: Mesh, sources: Sequence[Source]) -> tuple[list[Source], Float[np.ndarray, "v s"], int]:
    """Return the photos and useful mirror images, their weights and the renderer's, and how many are photos."""
    caster = RayMeshIntersector(Trimesh(mesh.vertices, mesh.faces, process=False))
    density = np.stack([source.pixels_per_mm(mesh.vertices) for source in sources], 1).astype(np.float64)
    density = np.minimum(density / density.max(), 1)
    best = max(source.weight for source in sources)
    own = np.stack([vertex_weights(source, mesh, caster) for source in sources], 1)
    own *= density * np.array([source.weight / best for source in sources])
    away, twin = cKDTree(mesh.vertices).query(mesh.vertices * [-1.0, 1.0, 1.0])
    alike = np.exp(-((away / _MIRROR_MM) ** 2)) * (mesh.vertices[:, 1] > -110)
    mirrored = _MIRROR_WEIGHT * own[twin] * alike[:, None]
    mirrored[own.max(1) > _MIRROR_FLOOR] = 0
    useful = np.flatnonzero((mirrored > RENDERER_WEIGHT).sum(0) > 0)
    renderer = np.full((len(mesh.vertices), 1), RENDERER_WEIGHT)
    every = [*sources, *(sources[k].flipped() for k in useful.tolist())]
    return every, np.concatenate([own, mirrored[:, useful], renderer], 1), len(sources)


def _smooth_colours(source: Source, mesh: Mesh) -> Float[np.ndarray, "v 3"]:
    """Return a photo's colours at the vertices, without its details."""
    assert mesh.normals is not None
    width = _BLUR_MM * float(np.median(source.pixels_per_mm(mesh.vertices)))
    colours = source.sample(mesh.vertices, blurred(source, width)).astype(np.float64)
    return source.evened(colours, mesh.normals)


def blurred(source: Source, width: float) -> Float32[np.ndarray, "h w 3"]:
    """Return a photo blurred by a Gaussian of a width in pixels, the person's own colours alone."""
    mask = (source.inside > 1).astype(np.float32)
    share = cv2.GaussianBlur(mask, (0, 0), max(width, 0.3))
    colour = cv2.GaussianBlur(source.image * mask[..., None], (0, 0), max(width, 0.3))
    return np.where(share[..., None] > 1e-3, colour / np.maximum(share, 1e-3)[..., None], source.image)


def _composed(
    mesh: Mesh, texels: Texels, sources: Sequence[Source], choice: Choice, noise: Float[np.ndarray, "v b"]
) -> Float32[np.ndarray, "k 3"]:
    """Return the colours of the texels: each source's own and its offset, by its share.

    The renderer's have grain: `noise` holds its strengths and, last, whether a vertex is hair."""
    assert mesh.colours is not None
    assert mesh.normals is not None
    colour = np.zeros((len(texels.index), 3), np.float32)
    pieces = [*((number, source) for number, source in enumerate(sources)), (len(sources), None)]
    for number, source in pieces:
        own = choice.share[:, number]
        if not own.any():
            continue
        chosen = np.flatnonzero((own[texels.corners] > 0).any(1))
        part = replace(texels, index=texels.index[chosen], corners=texels.corners[chosen],
                       weights=texels.weights[chosen], face=texels.face[chosen])  # fmt: skip
        share = part.interpolated(own)[:, None]
        offset = part.interpolated(choice.offset[:, number])
        if source is None:
            places, kinds = part.interpolated(mesh.vertices), part.interpolated(noise)
            seen = part.interpolated(mesh.colours) + grain(places, kinds[:, :-1], kinds[:, -1])[:, None]
        else:
            seen = _details(source, part.interpolated(mesh.vertices), texels)
            if source.shade is not None:
                normals = part.interpolated(mesh.normals)
                seen = source.evened(seen, normals / np.linalg.norm(normals, axis=1, keepdims=True))
        colour[chosen] += share * (seen + offset)
    return colour


def _details(source: Source, points: Float32[np.ndarray, "k 3"], texels: Texels) -> Float32[np.ndarray, "k 3"]:
    """Return a photo's colours at texels, without what is finer than the texels."""
    spot, _ = source.project(points)
    beside = np.flatnonzero(np.diff(texels.index[: len(points)]) == 1) if len(points) > 1 else np.zeros(0, int)
    steps = np.linalg.norm(spot[beside + 1] - spot[beside], axis=1) if len(beside) else np.ones(1)
    step = float(np.median(steps))
    image = source.image
    if step > 1.2:
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(step**2 - 1))
    return sampled(image, spot)
