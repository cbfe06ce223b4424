"""Fine detail of a head in its atlas: a normal map and a displacement map, from the shading in the photos."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8, UInt16

from protome.asset.atlas import Atlas
from protome.asset.tangents import FLAT, axes_at, encoded, tangents
from protome.asset.texels import Texels
from protome.geometry.pose import turned_degrees
from protome.geometry.triangles import unit
from protome.relief.photo import Relief, recover_relief
from protome.scene import View

MIDDLE = 32768
"""The displacement map's value where nothing is displaced."""
STEP_MM = 1e-4
"""Millimetres per step of the displacement map, which thus holds 3.2 mm both ways."""
MOST_PHOTOS = 3
_TURNED_DEGREES = 50.0
"""Photos turned farther from the face's front add nothing but the side of a cheek."""
_GOOD = 0.5
"""Least weight of a photo relative to the best one's."""
_CHOICE = 3
"""Power of the photos' shares: the one that shows a place best gives nearly all of its detail."""


@dataclass(frozen=True)
class Detail:
    """Detail over the closed mesh of an atlas."""

    normals: UInt8[np.ndarray, "n n 3"]
    """Tangent-space normals as glTF has them: red to the right, green upwards, blue outwards; 0 to 255 is -1 to 1."""
    displacement: UInt16[np.ndarray, "n n"]
    """Along the mesh's normals, in steps of `STEP_MM` from `MIDDLE`."""
    tangents: Float32[np.ndarray, "u 4"]
    """glTF's tangents of the atlas's vertices."""
    photos: tuple[str, ...]
    """The photos that it was recovered from, the front-most first."""
    streaks: float | None
    """Of the first photo's height on plain skin (`protome.relief.streaks`), about 1 where there are none."""
    seconds: float

    def millimetres(self) -> Float32[np.ndarray, "n n"]:
        """Return the displacement in millimetres."""
        return ((self.displacement.astype(np.float32) - MIDDLE) * np.float32(STEP_MM)).astype(np.float32)

    def facts(self) -> dict[str, object]:
        """Return what result.json says."""
        moved = np.abs(self.millimetres())[self.displacement != MIDDLE]
        return {
            "photos": list(self.photos),
            "streaks": self.streaks,
            "seconds": round(self.seconds, 3),
            "displacement_mm": {key: float(np.percentile(moved, q)) if len(moved) else 0.0
                                for key, q in (("median", 50), ("p99", 99))},
            "head_displacement.png": {"middle": MIDDLE, "mm_per_step": STEP_MM, "along": "the normals of head.glb"},
            "head_normal.png": {"space": "tangent", "tangents": "MikkTSpace", "green": "up"},
        }  # fmt: skip


def make_detail(
    atlas: Atlas, normals: Float[np.ndarray, "u 3"], texels: Texels, views: Sequence[View]
) -> Detail | None:
    """Return the detail that photos show of a head; None where none of them shows enough skin.

    `normals` are those of the atlas's vertices. Views are posed in the head frame, millimetres; those with landmarks,
    at most `MOST_PHOTOS`, are used, the front-most first.
    """
    started = time.perf_counter()
    found = [(view.name, recover_relief(view, atlas.mesh)) for view in front_most(views)]
    reliefs = [(name, relief) for name, relief in found if relief is not None]
    if not reliefs:
        return None
    height, slope = blended([relief for _, relief in reliefs], texels, atlas)
    frame = tangents(atlas.mesh.vertices[atlas.vertex], normals, atlas.uv, atlas.faces)
    mapped = tangent_normals(texels, atlas, normals, frame, slope)
    steps = np.clip(np.rint(height / STEP_MM) + MIDDLE, 0, 65535).astype(np.uint16)
    names = tuple(name for name, _ in reliefs)
    marks = reliefs[0][1].streaks()
    return Detail(texels.image(mapped), texels.image(steps), frame, names, marks, time.perf_counter() - started)


def front_most(views: Sequence[View]) -> list[View]:
    """Return the good views of the face's front, the front-most first; at least one where any has landmarks."""
    seen = [view for view in views if view.landmarks is not None]
    if not seen:
        return []
    best = max(view.weight for view in seen)
    good = [view for view in seen if view.weight >= _GOOD * best]
    good.sort(key=_turned)
    return [view for number, view in enumerate(good[:MOST_PHOTOS]) if number == 0 or _turned(view) < _TURNED_DEGREES]


def _turned(view: View) -> float:
    """Return the angle between the camera's place and the face's front, degrees."""
    return turned_degrees(view.camera.centre.double().numpy())


def blended(
    reliefs: Sequence[Relief], texels: Texels, atlas: Atlas
) -> tuple[Float32[np.ndarray, "k"], Float32[np.ndarray, "k 3"]]:
    """Return the height at the texels and its gradient along the surface (head frame), of the photos that show them.

    Each place has the mean of the photos by a power of their shares, so that details are not averaged away.
    """
    vertices = atlas.mesh.vertices
    height, slope = np.zeros(len(texels.index), np.float32), np.zeros((len(texels.index), 3), np.float32)
    total = np.zeros(len(texels.index), np.float32)
    for relief in reliefs:
        share = relief.at(relief.share, vertices)
        near = np.flatnonzero((share[texels.corners] > 0).any(1))
        points = np.einsum("kc,kcd->kd", texels.weights[near], vertices.astype(np.float32)[texels.corners[near]])
        own = np.clip(relief.at(relief.share, points), 0, 1) ** _CHOICE / relief.pixel_mm
        weight = (own * relief.shows(points)).astype(np.float32)
        height[near] += weight * relief.at(relief.height, points)
        slope[near] += weight[:, None] * relief.at(relief.slope, points)
        total[near] += weight
    scale = 1 / np.maximum(total, 1e-9)
    return height * scale, slope * scale[:, None]


def tangent_normals(
    texels: Texels,
    atlas: Atlas,
    normals: Float[np.ndarray, "u 3"],
    frame: Float32[np.ndarray, "u 4"],
    slope: Float32[np.ndarray, "k 3"],
) -> UInt8[np.ndarray, "k 3"]:
    """Return the normals of a relief at the texels, in the tangent space of the interpolated normals and tangents.

    The normal of a height with gradient g along the surface is n - g, of unit length.
    """
    flat = np.tile(FLAT, (len(texels.index), 1))
    bent = np.flatnonzero((slope != 0).any(1))
    if len(bent):
        # The atlas's own vertices: on seams tangents differ from chart to chart.
        axes = axes_at(atlas.faces[texels.face[bent]], texels.weights[bent], normals, frame)
        flat[bent] = encoded(unit(axes[2] - slope[bent]), axes)
    return flat
