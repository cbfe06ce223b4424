"""Hair as closed shells: transparent cards thickened into one opaque volume that sits on the scalp."""

from __future__ import annotations

from dataclasses import dataclass

import igl
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import distance_transform_edt, gaussian_filter, label
from skimage.measure import marching_cubes

from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of
from protome.geometry.sampling import uniform_weights
from protome.population.texture import texels

ALPHA = 0.4
"""Least opacity of a card where it counts as hair."""
SPACING_M = 0.0012
"""Distance of the samples on the cards."""
VOXEL_M = 0.0025
THICKNESS_M = 0.0028
"""How far hair reaches on both sides of a card."""
GAP_M = 0.007
"""Gaps between strands up to twice this width are closed."""
SCALP_GAP_M, SKIN_GAP_M = 0.035, 0.012
"""How far hair may stand off the scalp, or off any other skin, with the space below it filled."""
ROOT_M = 0.006
"""How deep the shell reaches under the skin, so that no gap opens when head and hair are deformed."""
FLOOR_M = -0.31
"""Hair that hangs lower (head frame) is cut off."""
EYES_M = np.array([[-0.045, -0.015, -0.02], [0.045, 0.015, 0.1]])
"""A box (head frame) before the eyes: a fringe in it hides one or both."""
FACE_M = np.array([[-0.07, -0.2, -0.045], [0.07, 0.026, 0.1]])
"""A box before the face, up to above the brows: a fringe that is cut leaves it."""
LEAST_BRIGHTNESS, MOST_CONTRAST = 70.0, 0.25
"""Painted hair is made at least this bright (of 255), so that strands survive in 8 bits, and its logarithmic contrast
is limited to this, so that black hair does not turn blotchy when it is given another colour."""
SMALLEST_SHARE = 0.02
"""Loose locks below this share of the largest piece's volume are dropped."""
FACES = 15_000


@dataclass(frozen=True)
class HairShell:
    """One hair style as a watertight mesh, worn by the reference body."""

    name: str
    vertices: Float[np.ndarray, "v 3"]
    """Head frame, metres."""
    faces: Int[np.ndarray, "f 3"]
    colours: UInt8[np.ndarray, "v 3"]
    """As painted: strands, shadows and the artist's hair colour, made brighter where it is nearly black."""


@dataclass(frozen=True)
class Cards:
    """Hair as artists model it: sheets with strands painted on them, transparent between the strands."""

    vertices: Float[np.ndarray, "v 3"]
    """Head frame, metres."""
    faces: Int[np.ndarray, "f 3"]
    corner_uv: Float[np.ndarray, "f 3 2"]
    """Texture coordinates at the corners, v up."""
    texture: UInt8[np.ndarray, "h w 4"]

    def samples(self) -> HairSamples:
        """Return points all over the opaque part, the same ones in every call."""
        rng = np.random.default_rng(0)
        triangles = self.vertices[self.faces]
        sides = triangles[:, 1:] - triangles[:, :1]
        expected = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2 / SPACING_M**2
        face = np.repeat(np.arange(len(expected)), rng.poisson(expected))
        shares = uniform_weights(rng, len(face))[..., None]
        colours = texels(self.texture, (self.corner_uv[face] * shares).sum(1))
        points = (triangles[face] * shares).sum(1)
        keep = (colours[:, 3] > 255 * ALPHA) & (points[:, 1] > FLOOR_M)
        return HairSamples(points[keep], colours[keep, :3])


@dataclass(frozen=True)
class HairSamples:
    """Points on the strands of a hair style."""

    points: Float[np.ndarray, "n 3"]
    """Head frame, metres."""
    colours: UInt8[np.ndarray, "n 3"]

    def hide_eyes(self) -> bool:
        """Return whether hair hangs before an eye."""
        return bool(_within(self.points, EYES_M).sum() * SPACING_M**2 > 1e-4)

    def cut_open(self) -> HairSamples:
        """Return the hair with its fringe cut above the brows."""
        keep = ~_within(self.points, FACE_M)
        return HairSamples(self.points[keep], self.colours[keep])


def build_shell(name: str, hair: HairSamples, head: Mesh, scalp: Bool[np.ndarray, "f"]) -> HairShell:
    """Thicken hair into a closed shell on a head whose faces are marked where they are scalp.

    Raises:
        ValueError: there is no hair.
    """
    points = hair.points
    if not len(points):
        raise ValueError("a shell needs hair")
    margin = THICKNESS_M + GAP_M + 4 * VOXEL_M
    low = points.min(0) - margin
    shape = np.ceil((points.max(0) + margin - low) / VOXEL_M).astype(int) + 1

    def mark(places: Float[np.ndarray, "n 3"], volume: Bool[np.ndarray, "x y z"]) -> None:
        index = np.rint((places - low) / VOXEL_M).astype(int)
        index = index[((index >= 0) & (index < shape)).all(1)]
        volume[tuple(index.T)] = True

    strands = np.zeros(shape, bool)
    mark(points, strands)
    thick = close_gaps(distance_transform_edt(~strands) * VOXEL_M <= THICKNESS_M)
    filled = thick.copy()
    mark(_down_to_the_skin(np.argwhere(thick) * VOXEL_M + low, head, scalp), filled)
    filled = _without_crumbs(close_gaps(filled))
    smooth = gaussian_filter(filled.astype(np.float32), 1.2)
    vertices, faces, _, _ = marching_cubes(smooth, 0.45)
    # scikit-image's triangles face the higher values, which is inwards here.
    fine, inward = np.asfortranarray(vertices * VOXEL_M + low, np.float64), faces[:, ::-1]
    slim, slim_faces, _, _ = igl.qslim(fine, np.asfortranarray(inward, np.int32), FACES)
    distance, nearest = tree_of(points).query(slim, k=6)
    weight = 1 / (distance + 0.001) ** 2
    painted = (hair.colours[nearest] * (weight / weight.sum(1, keepdims=True))[..., None]).sum(1)
    # libigl's integers are C's long long, which NumPy does not take for int64 though they are equal.
    return HairShell(name, np.array(slim), slim_faces.astype(np.int64), _even(painted))


def _even(painted: Float[np.ndarray, "v 3"]) -> UInt8[np.ndarray, "v 3"]:
    """Return colours of limited contrast that are not too dark to carry it; the hue stays."""
    brightness = np.maximum(painted.mean(1, keepdims=True), 1.0)
    logarithm = np.log(brightness)
    middle = np.median(logarithm)
    gamma = min(1.0, MOST_CONTRAST / max(float(logarithm.std()), 1e-9))
    departure = np.clip(gamma * (logarithm - middle), -2 * MOST_CONTRAST, 2 * MOST_CONTRAST)
    wanted = np.exp(departure) * max(float(np.exp(middle)), LEAST_BRIGHTNESS)
    return np.clip(np.rint(painted * wanted / brightness), 0, 255).astype(np.uint8)


def _within(points: Float[np.ndarray, "n 3"], box: Float[np.ndarray, "2 3"]) -> Bool[np.ndarray, "n"]:
    return ((points > box[0]) & (points < box[1])).all(1)


def close_gaps(volume: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Return the volume with narrow gaps filled: grown, then shrunk by the same length."""
    grown = distance_transform_edt(~volume) * VOXEL_M <= GAP_M
    return volume | (distance_transform_edt(grown) * VOXEL_M > GAP_M)


def _down_to_the_skin(
    hair: Float[np.ndarray, "n 3"], head: Mesh, scalp: Bool[np.ndarray, "f"]
) -> Float[np.ndarray, "m 3"]:
    """Return points all along the way from hair to the skin below it and a little under it."""
    surface = Surface(head)
    foot = surface.closest(hair)
    gap = np.where(scalp[foot.faces], SCALP_GAP_M, SKIN_GAP_M)
    near = foot.distances < gap
    ends = foot.points[near] - ROOT_M * surface.face_normals()[foot.faces[near]]
    steps = np.linspace(0, 1, int((SCALP_GAP_M + ROOT_M) / VOXEL_M * 1.5))
    return np.concatenate([hair[near] + step * (ends - hair[near]) for step in steps])


def _without_crumbs(volume: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    pieces, count = label(volume)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= SMALLEST_SHARE * sizes.max())[pieces] & volume
