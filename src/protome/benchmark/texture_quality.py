"""The quality of textures: rendered views beside the photos, given ones and ones between them that were held back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy.ndimage import binary_erosion
from skimage.metrics import structural_similarity

from protome.asset.asset import Asset
from protome.asset.charts import Part
from protome.asset.picture import BACKGROUND, Textured
from protome.asset.source import sampled
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.meshing.solid import Edges
from protome.pipeline import Head
from protome.render.cast import cast, interpolate
from protome.scene import View

VERTEX_COLOURS, TEXTURE = "vertex colours", "texture"
_RIM_PX = 2
"""Pixels next to an outline that are not compared: there the photo mixes head and background."""


@dataclass(frozen=True)
class Quality:
    """How alike the pictures of a head are to the photos; means over views."""

    subject: str
    views: int
    """Photos given."""
    kind: str
    """`VERTEX_COLOURS` of the dense mesh, or `TEXTURE`."""
    held_back: bool
    """Whether the photos compared with were held back."""
    psnr: float
    """Peak signal-to-noise ratio on the person, decibels."""
    face_psnr: float
    """The same on the face."""
    ssim: float
    """Structural similarity on the person (Wang et al. 2004)."""
    sharpness: float
    """Mean gradient on the face over the photo's."""
    seams: float
    """Colour step across borders of charts over that beside them; 1 where there are no charts."""
    photos: bool = False
    """Whether these are photos without known cameras."""


@dataclass(frozen=True)
class Cost:
    """What a head cost."""

    finish_seconds: float
    """Processor seconds from the dense mesh to the files."""
    seconds: float
    """Processor seconds of everything."""
    peak_gb: float
    """Largest memory of the process, 10^9 bytes."""


@dataclass(frozen=True)
class TextureRun:
    """One head of the benchmark."""

    qualities: tuple[Quality, ...]
    cost: Cost


def measure(head: Head, asset: Asset, every: Sequence[View], subject: str = "") -> list[Quality]:
    """Return the quality of a head's texture and of its vertex colours in the given views and in those between them.

    `every` holds the capture's views. Those between given ones have a given one on both sides within the capture.
    """
    draw = {VERTEX_COLOURS: partial(_colours, head.mesh), TEXTURE: partial(_texture, Textured.of(asset), asset)}
    given, photos = head.scene.views, not head.scene.has_own_world
    rows = []
    for held_back in (False, True):
        shown = _shown(head, every, held_back)
        for kind in (VERTEX_COLOURS, TEXTURE) if shown else ():
            scores = [_compared(draw[kind](camera), view) for view, camera in shown]
            seams = seam_steps(asset) if kind == TEXTURE else 1.0
            psnr, face_psnr, ssim, sharpness = np.nanmean(scores, axis=0).tolist()
            rows.append(Quality(subject, len(given), kind, held_back, psnr, face_psnr, ssim, sharpness, seams, photos))
    return rows


def _shown(head: Head, every: Sequence[View], held_back: bool) -> list[tuple[View, Camera]]:
    """Return the given views, or those between them, with their cameras in the head frame."""
    if not held_back:
        return [(view, head.camera(number)) for number, view in enumerate(head.scene.views)]
    names = {view.name for view in head.scene.views}
    given = [number for number, view in enumerate(every) if view.name in names]
    others = [number for number in range(len(every)) if number not in given]
    between = [every[number] for number in others if _between(number, given, len(every))]
    return [(view, head.posed(view.camera, head.fit.head_from_world[0])) for view in between]


def strip(head: Head, asset: Asset, every: Sequence[View], size: int = 320) -> UInt8[np.ndarray, "h w 3"]:
    """Return a photo that was held back (a given one if none was), the textured head and the vertex colours, cropped
    to the face."""
    view, camera = (_shown(head, every, True) or _shown(head, every, False))[0]
    textured, plain = _texture(Textured.of(asset), asset, camera), _colours(head.mesh, camera)
    rows, columns = np.nonzero(textured.face if textured.face.any() else textured.hit)
    half = max(int(0.65 * max(int(np.ptp(rows)), int(np.ptp(columns)))), 5)
    middle = (int(rows.min() + rows.max()) // 2, int(columns.min() + columns.max()) // 2)
    cells = []
    for image in (view.image.double().numpy(), textured.colour, plain.colour):
        wide = np.pad(image, ((half, half), (half, half), (0, 0)), mode="edge")
        cut = wide[middle[0] : middle[0] + 2 * half, middle[1] : middle[1] + 2 * half]
        cells.append(np.asarray(Image.fromarray(np.rint(255 * cut.clip(0, 1)).astype(np.uint8)).resize((size, size))))
    return np.concatenate(cells, 1)


def _between(number: int, given: Sequence[int], count: int) -> bool:
    """Return whether a view of a ring is within a quarter of the ring of given ones on both sides."""
    after = min(((other - number) % count for other in given), default=count)
    before = min(((number - other) % count for other in given), default=count)
    return after + before <= count // 4


@dataclass(frozen=True)
class _Picture:
    colour: Float[np.ndarray, "h w 3"]
    hit: Bool[np.ndarray, "h w"]
    face: Bool[np.ndarray, "h w"]


def _texture(picture: Textured, asset: Asset, camera: Camera) -> _Picture:
    seen = picture.seen(camera)
    face = (asset.atlas.chart == Part.FACE)[np.maximum(seen.face, 0)] & (seen.face >= 0)
    return _Picture(seen.colour.astype(np.float64), seen.face >= 0, face)


def _colours(mesh: Mesh, camera: Camera) -> _Picture:
    assert mesh.colours is not None
    hits = cast(mesh, camera)
    shape = (camera.height, camera.width)
    colour = torch.full((shape[0] * shape[1], 3), BACKGROUND)
    colour[hits.pixel] = interpolate(mesh.colours, mesh, hits)
    hit = np.zeros(shape[0] * shape[1], bool)
    hit[hits.pixel.numpy()] = True
    x, y, z = hits.points.numpy().T
    face = hit.copy()
    face[hits.pixel.numpy()] = (np.abs(x) < 60) & (y > -100) & (y < 50) & (z > -40)
    return _Picture(colour.reshape(*shape, 3).double().numpy(), hit.reshape(shape), face.reshape(shape))


def _compared(picture: _Picture, view: View) -> tuple[float, float, float, float]:
    """Return PSNR on the person and on the face, structural similarity and sharpness."""
    photo = view.image.double().numpy()
    inside = binary_erosion(picture.hit & (view.mask.numpy() > 0.5), iterations=_RIM_PX)
    face = inside & picture.face
    square = ((picture.colour - photo) ** 2).mean(-1)
    _, similar = structural_similarity(photo, picture.colour, channel_axis=-1, data_range=1.0, full=True)
    slopes = [_slope(image)[face].mean() if face.any() else np.nan for image in (picture.colour, photo)]
    return (
        float(-10 * np.log10(square[inside].mean())),
        float(-10 * np.log10(square[face].mean())) if face.any() else float("nan"),
        float(similar.mean(-1)[inside].mean()),
        float(slopes[0] / slopes[1]),
    )


def _slope(image: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    down, across = np.gradient(image.mean(-1))
    return np.hypot(down, across)


def seam_steps(asset: Asset, apart_mm: float = 1.0) -> float:
    """Return the mean colour step across borders of charts over that as far beside them, in the charts' inside."""
    atlas, mesh = asset.atlas, asset.atlas.mesh
    edges = Edges.of(mesh.faces)
    sides = edges.faces()
    border = np.flatnonzero(atlas.chart[sides[:, 0]] != atlas.chart[sides[:, 1]])
    border = border[(atlas.chart[sides[border]] % len(Part) != Part.BASE).all(1)]
    middle = mesh.vertices[edges.ends[border]].mean(1)
    size, image = asset.colour.shape[0], asset.colour.astype(np.float32)

    def at(face: np.ndarray, away: float) -> np.ndarray:
        """Return colours in faces, at a distance from the middle of a side towards the opposite corner."""
        corners = mesh.vertices[mesh.faces[face]]
        towards = corners.mean(1) - middle
        towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-9)
        # Places in the plane of the face are affine in its corners.
        a, b, c = np.moveaxis(corners, 1, 0)
        point = middle + away * towards
        basis = np.stack([b - a, c - a], -1)
        share = np.einsum("kij,kj->ki", np.linalg.pinv(basis), point - a)
        u, v, w = np.moveaxis(atlas.uv[atlas.faces[face]], 1, 0)
        uv = u + share[:, :1] * (v - u) + share[:, 1:] * (w - u)
        return sampled(image, (uv * size).astype(np.float32)).astype(np.float64)

    first, second = sides[border].T
    across = np.abs(at(first, apart_mm / 2) - at(second, apart_mm / 2)).mean()
    beside = np.mean([np.abs(at(own, apart_mm / 2) - at(own, 1.5 * apart_mm)).mean() for own in (first, second)])
    return float(across / max(float(beside), 1e-9))
