"""MakeHuman's skins painted onto the texture of the VALID body: face, ears, scalp and neck."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import gaussian_filter, median_filter
from skimage.color import rgb2lab
from trimesh import Trimesh

from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of
from protome.geometry.obj import ObjMesh
from protome.geometry.triangles import barycentric
from protome.population.makehuman.fit import MakeHumanFit
from protome.population.makehuman.mhclo import Binding, Worn, read_image
from protome.population.sources.valid import ValidHeads
from protome.population.texture import texels

BLEED_PIXELS = 3.0
"""How far colours reach over the borders of the texture's islands."""
LOWEST_M = -0.27
"""Nothing below this height on the mean body is painted."""
COLLAR = (-0.125, -0.2)
"""Below a plane on the mean body there may be cloth: its height at z = 0, and its slope; it rises towards the nape."""
CHEEKS_M = np.array([[-0.06, -0.07, -0.08], [0.06, 0.0, 0.1]])
"""A box on the mean body in which all people show bare skin, and no hair."""
SKIN_LAB = np.array([24.0, 7.0, 9.0])
"""How far lightness and the two colour axes of a person's skin depart from those of the cheeks, with shading."""
REACH_M = 0.008
FACING = 0.2
EARS_M = 0.062
"""Further from the middle plane all folds are painted, the hidden ones of the ears too."""
RIM_M = 0.004
"""How far the skin's colour reaches into nostrils and mouth."""
BROW_REACH_M = 0.004
"""How far a brow's sheet may lie off the skin that it is painted on."""


BROW_OPACITY = 0.85


@dataclass(frozen=True)
class Skin:
    """A skin for the body's texture."""

    name: str
    texture: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    """Where the skin is painted, cloth or not; black elsewhere in `texture`."""
    cheeks: Bool[np.ndarray, "h w"]
    """A part of the mask in which everyone shows bare skin."""
    neck: Bool[np.ndarray, "h w"]
    """The part of the mask that clothes may cover."""

    def worn_over(self, texture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """Return a body's texture with this skin in the place of its own; collars and shirts stay.

        Texels below the chin whose colour differs from the cheeks' count as cloth.
        """
        lab = rgb2lab(texture)
        departure = (lab - np.median(lab[self.cheeks], 0)) / SKIN_LAB
        cloth = self.neck & ((departure**2).sum(2) > 1)
        # Single texels of either kind are noise of the pictures.
        cloth = (median_filter(cloth.astype(np.uint8), 5) > 0) & self.neck
        bare = self.mask & ~cloth
        # Relative to the mask, so that nothing fades at the borders of the texture's islands.
        share = gaussian_filter(bare.astype(np.float64), 1.0) / np.maximum(gaussian_filter(self.mask * 1.0, 1.0), 1e-3)
        share = np.where(self.neck, np.clip(share, 0, 1) * bare, self.mask)
        return np.rint(texture + share[..., None] * (self.texture - texture.astype(np.float64))).astype(np.uint8)


@dataclass(frozen=True)
class _Canvas:
    """Where the texels of the body's texture lie on the base mesh."""

    texels: Bool[np.ndarray, "h w"]
    points: Float[np.ndarray, "n 3"]
    """On the mean body, one for each marked texel, row by row."""
    uv: Float[np.ndarray, "n 2"]
    """In MakeHuman's skin pictures."""

    @staticmethod
    def of(fit: MakeHumanFit, valid: ValidHeads) -> _Canvas:
        body = valid.avatar(valid.names[0]).body
        height, width = body.texture.shape[:2]
        mean = valid.mean
        faces = valid.faces[(mean[valid.faces][..., 1] > LOWEST_M).all(1)]
        flat = np.column_stack([body.uv, np.zeros(len(body.uv))]) * [width, height, 0]
        row, column = np.mgrid[:height, :width]
        centres = np.stack([column + 0.5, height - row - 0.5, np.zeros_like(row)], -1).reshape(-1, 3)
        place = Surface(Mesh(flat, faces)).closest(centres)
        near = np.flatnonzero(place.distances < BLEED_PIXELS)
        corners = faces[place.faces[near]]
        shares = np.clip(barycentric(flat[corners], place.points[near]), 0, 1)[..., None]
        points = (mean[corners] * shares).sum(1)
        smooth = np.array(Trimesh(mean, valid.weld[valid.faces], process=False).vertex_normals)[valid.weld]
        normals = (smooth[corners] * shares).sum(1)

        base_faces = fit.faces
        surface = Surface(Mesh(fit.vertices, base_faces))
        foot = surface.closest(points)
        agrees = (surface.face_normals()[foot.faces] * normals).sum(1) > FACING
        found = (foot.distances < REACH_M) & (agrees | (np.abs(points[:, 0]) > EARS_M))
        weights = np.clip(barycentric(fit.vertices[base_faces[foot.faces]], foot.points), 0, 1)
        uv = (fit.base.uv[fit.uv_faces[foot.faces]] * weights[..., None]).sum(1)
        # The rims of nostrils and lips, which turn inwards, take the colour of the skin beside them.
        distance, beside = tree_of(points[found]).query(points)
        uv = np.where(found[:, None], uv, uv[found][beside])
        found |= distance < RIM_M
        marked = np.zeros(height * width, bool)
        marked[near[found]] = True
        return _Canvas(marked.reshape(height, width), points[found], uv[found])


def bake_skins(
    pictures: tuple[tuple[str, Path], ...], brows: tuple[Worn, ...], fit: MakeHumanFit, valid: ValidHeads
) -> tuple[Skin, ...]:
    """Return skins, given by names and pictures, on the body's texture; they take the brows in turn.

    Raises:
        InputError: a file is missing or unreadable.
    """
    canvas = _Canvas.of(fit, valid)
    cheeks, neck = np.zeros_like(canvas.texels), np.zeros_like(canvas.texels)
    cheeks[canvas.texels] = ((canvas.points > CHEEKS_M[0]) & (canvas.points < CHEEKS_M[1])).all(1)
    neck[canvas.texels] = canvas.points[:, 1] < COLLAR[0] + COLLAR[1] * canvas.points[:, 2]
    painted = [_Brows.of(pair, fit, canvas.points) for pair in brows]
    skins = []
    for number, (name, picture) in enumerate(pictures):
        colours = bilinear(read_image(picture, "RGB"), canvas.uv)
        if painted:
            colours = painted[number % len(painted)].over(colours)
        texture = np.zeros((*canvas.texels.shape, 3), np.uint8)
        texture[canvas.texels] = np.rint(colours)
        skins.append(Skin(name, texture, canvas.texels, cheeks, neck))
    return tuple(skins)


@dataclass(frozen=True)
class _Brows:
    colours: Float[np.ndarray, "n 3"]
    opacity: Float[np.ndarray, "n 1"]

    @staticmethod
    def of(pair: Worn, fit: MakeHumanFit, points: Float[np.ndarray, "n 3"]) -> _Brows:
        mesh = ObjMesh.load(pair.mesh)
        places = fit.to_valid(Binding.load(pair.binding).apply(fit.base.vertices))
        surface = Surface(Mesh(places, mesh.faces))
        foot = surface.closest(points)
        shares = np.clip(barycentric(places[mesh.faces[foot.faces]], foot.points), 0, 1)
        picture = read_image(pair.texture, "RGBA")
        rgba = texels(picture, (mesh.uv[mesh.uv_faces[foot.faces]] * shares[..., None]).sum(1)).astype(np.float64)
        # Beside a sheet the nearest point lies on its rim, whose colour would be smeared.
        above = np.abs(((points - foot.points) * surface.face_normals()[foot.faces]).sum(1)) > 0.8 * foot.distances
        opacity = BROW_OPACITY * rgba[:, 3:] / 255 * (above & (foot.distances < BROW_REACH_M))[:, None]
        return _Brows(rgba[:, :3], opacity)

    def over(self, colours: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return colours * (1 - self.opacity) + self.colours * self.opacity


def bilinear(picture: UInt8[np.ndarray, "h w c"], uv: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n c"]:
    """Return a picture's values at texture coordinates (v up), interpolated between pixels."""
    height, width = picture.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    upper = picture[top, left] * (1 - fx) + picture[top, left + 1] * fx
    lower = picture[top + 1, left] * (1 - fx) + picture[top + 1, left + 1] * fx
    return upper * (1 - fy) + lower * fy
