"""A texture baked from photos: sharp where one shows the head, the renderer's colours where none does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.asset.choice import RENDERER_WEIGHT, Choice, choose
from protome.asset.grain import band_strengths, facial, grain, hair, like_seen
from protome.asset.rim import rim_trust
from protome.asset.source import Source, vertex_weights
from protome.asset.texels import AT_ONCE, Texels
from protome.asset.tone import toned
from protome.asset.unseen import continued
from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of
from protome.util.workers import side_by_side

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


@dataclass(frozen=True)
class Prepared:
    """What is known at a mesh's vertices before there is an atlas."""

    mesh: Mesh
    """With the colours of what no photo shows."""
    sources: Sequence[Source]
    """The photos, then useful mirror images."""
    choice: Choice
    noise: Float[np.ndarray, "v b"]
    """Strengths of the grain and, last, whether a vertex is hair."""
    skin: Bool[np.ndarray, "v"]


def prepare(mesh: Mesh, sources: Sequence[Source]) -> Prepared:
    """Choose among photos at the vertices of a mesh with the renderer's colours and normals.

    Every vertex is given to the photo that shows it best. Head frame, millimetres.
    """
    assert mesh.colours is not None
    mesh = replace(mesh, colours=toned(mesh.colours, sources))
    smooth = [_smooth_colours(source, mesh) for source in sources]
    used, weights = _weighed(mesh, sources, smooth)
    direct = len(sources)
    painted = continued(mesh, np.stack(smooth, 1), weights[:, :direct])
    mesh = replace(mesh, colours=painted)
    colours = np.stack([*smooth, *(_smooth_colours(source, mesh) for source in used[direct:]), painted], 1)
    choice = choose(mesh, weights, colours, direct)
    is_hair = hair(mesh, choice.low)
    strengths = band_strengths(sources, mesh.vertices, weights)
    noise = np.concatenate([like_seen(strengths, choice.low, mesh.vertices, is_hair), is_hair[:, None]], 1)
    skin = (weights[:, :direct].max(1) > _SKIN_WEIGHT) & ~is_hair & facial(mesh.vertices)
    return Prepared(mesh, used, choice, noise, skin)


def bake(prepared: Prepared, texels: Texels) -> Baked:
    """Return the texture of a mesh's texels, with the colours that were chosen at its vertices; it has visibility.

    Details come from one photo alone, sharp, and low frequencies join the parts. Head frame, millimetres.
    """
    visibility = prepared.mesh.visibility
    assert visibility is not None
    colour = _composed(prepared.mesh, texels, prepared.sources, prepared.choice, prepared.noise)
    shown = np.clip(np.rint(255 * texels.interpolated(visibility)), 0, 255).astype(np.uint8)
    eight = np.concatenate([np.clip(np.rint(255 * colour[at]), 0, 255).astype(np.uint8) for at in texels.blocks()])
    return Baked(texels.image(eight), texels.image(shown), texels, prepared.choice.low, prepared.skin)


def _weighed(
    mesh: Mesh, sources: Sequence[Source], shown: Sequence[Float[np.ndarray, "v 3"]]
) -> tuple[list[Source], Float[np.ndarray, "v s"]]:
    """Return the photos and then useful mirror images, and their weights and the renderer's.

    `shown` holds the photos' smooth colours at the vertices.
    """
    caster = RayMeshIntersector(Trimesh(mesh.vertices, mesh.faces, process=False))
    density = np.stack([source.pixels_per_mm(mesh.vertices) for source in sources], 1).astype(np.float64)
    density = np.minimum(density / density.max(), 1)
    best = max(source.weight for source in sources)
    own = np.stack([vertex_weights(source, mesh, caster) for source in sources], 1)
    own *= np.stack([_trust(*each, mesh) for each in zip(sources, shown, own.T, strict=True)], 1)
    own *= density * np.array([source.weight / best for source in sources])
    away, twin = tree_of(mesh.vertices).query(mesh.vertices * [-1.0, 1.0, 1.0])
    alike = np.exp(-((away / _MIRROR_MM) ** 2)) * (mesh.vertices[:, 1] > -110)
    mirrored = _MIRROR_WEIGHT * own[twin] * alike[:, None]
    mirrored[own.max(1) > _MIRROR_FLOOR] = 0
    useful = np.flatnonzero((mirrored > RENDERER_WEIGHT).sum(0) > 0)
    renderer = np.full((len(mesh.vertices), 1), RENDERER_WEIGHT)
    every = [*sources, *(sources[k].flipped() for k in useful.tolist())]
    return every, np.concatenate([own, mirrored[:, useful], renderer], 1)


def _trust(
    source: Source, colours: Float[np.ndarray, "v 3"], weight: Float[np.ndarray, "v"], mesh: Mesh
) -> Float[np.ndarray, "v"]:
    """Return factors for a photo's weights at the vertices."""
    assert mesh.normals is not None
    seen = np.flatnonzero(weight)
    points = mesh.vertices[seen]
    facing = (source.towards(points) * mesh.normals[seen]).sum(1)
    places = source.project(points)[0].astype(np.float64)
    trust = np.zeros(len(weight))
    if len(seen):
        trust[seen] = rim_trust(places / float(np.median(source.pixels_per_mm(points))), colours[seen], facing)
    return trust


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
    for number, source in enumerate([*sources, None]):
        own = choice.share[:, number]
        if not own.any():
            continue
        used = own > 0
        chosen = np.concatenate([at.start + np.flatnonzero(used[texels.corners[at]].any(1)) for at in texels.blocks()])
        image = None if source is None else _fine(source, mesh, texels.part(chosen[:AT_ONCE]))
        layer = _Layer(mesh, texels, source, image, own, choice.offset[:, number], noise)
        blocks = np.array_split(chosen, max(1, len(chosen) // AT_ONCE))
        for block, found in zip(blocks, side_by_side(layer.colours, blocks), strict=True):
            colour[block] += found
    return colour


@dataclass(frozen=True)
class _Layer:
    """What one source, or the renderer, adds to the texels."""

    mesh: Mesh
    texels: Texels
    source: Source | None
    """None: the renderer."""
    image: Float32[np.ndarray, "h w 3"] | None
    """The source's photo, without what is finer than the texels."""
    share: Float[np.ndarray, "v"]
    offset: Float[np.ndarray, "v 3"]
    noise: Float[np.ndarray, "v b"]

    def colours(self, block: Int[np.ndarray, "j"]) -> Float32[np.ndarray, "j 3"]:
        """Return the weighted colours of some texels."""
        part = self.texels.part(block)
        return part.interpolated(self.share)[:, None] * (self._seen(part) + part.interpolated(self.offset))

    def _seen(self, part: Texels) -> Float32[np.ndarray, "j 3"]:
        assert self.mesh.colours is not None
        assert self.mesh.normals is not None
        places = part.interpolated(self.mesh.vertices)
        if self.source is None:
            kinds = part.interpolated(self.noise)
            return part.interpolated(self.mesh.colours) + grain(places, kinds[:, :-1], kinds[:, -1])[:, None]
        seen = self.source.sample(places, self.image)
        if self.source.shade is None:
            return seen
        normals = part.interpolated(self.mesh.normals)
        return self.source.evened(seen, normals / np.linalg.norm(normals, axis=1, keepdims=True))


def _fine(source: Source, mesh: Mesh, texels: Texels) -> Float32[np.ndarray, "h w 3"]:
    """Return a photo without what is finer than the texels."""
    spot, _ = source.project(texels.interpolated(mesh.vertices))
    beside = np.flatnonzero(np.diff(texels.index) == 1)
    steps = np.linalg.norm(spot[beside + 1] - spot[beside], axis=1) if len(beside) else np.ones(1)
    step = float(np.median(steps))
    if step <= 1.2:
        return source.image
    return cv2.GaussianBlur(source.image, (0, 0), 0.5 * np.sqrt(step**2 - 1))
