"""The quality of textures: rendered views beside the photos, given ones and ones between them that were held back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_erosion
from skimage.metrics import structural_similarity

from protome.asset.asset import Asset
from protome.asset.charts import Part
from protome.asset.options import AssetOptions
from protome.asset.picture import Textured
from protome.asset.source import sampled
from protome.benchmark.page import markdown
from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.meshing.solid import Edges
from protome.pipeline import Head, reconstruct
from protome.render.cast import cast, interpolate
from protome.scene import View
from protome.scenes.scene_folder import read_scene
from protome.util.files import check_output_folder, write_atomically

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


def benchmark_texture(
    scenes: Path,
    out: Path,
    *,
    subjects: Sequence[str] | None = None,
    views: Sequence[int] = (),
    preset: str = "standard",
    quiet: bool = False,
) -> None:
    """Reconstruct subjects from view sets, print a table of their textures' quality and write it.

    Raises:
        InputError: there are no scenes, or a subject lacks a view set of that size.
    """
    check_output_folder(out)
    known = sorted(path.name for path in scenes.iterdir() if path.is_dir()) if scenes.is_dir() else []
    chosen = list(subjects or known)
    missing = [name for name in chosen if name not in known]
    if missing or not chosen:
        raise InputError(
            f"{scenes} has no subject called {(missing or ['anything'])[0]}: use some of {', '.join(known)}"
        )
    found: list[Quality] = []
    for subject in chosen:
        for count in views or (1, 3, 8):
            head = reconstruct([scenes / subject], views=[str(count)], preset=preset, quiet=quiet)
            found += measure(head, _views(scenes / subject), subject)
    text = table(found)
    write_atomically(out / "texture.md", lambda part: part.write_text(text, encoding="utf-8"))
    facts = json.dumps([asdict(row) for row in found], indent=1)
    write_atomically(out / "texture.json", lambda part: part.write_text(facts + "\n"))
    print(text)


def _views(folder: Path) -> list[View]:
    """Return all views of a capture.

    Raises:
        InputError: it has views without masks.
    """
    views = [view for view in read_scene(folder) if isinstance(view, View)]
    if not views:
        raise InputError(f"{folder} has no masks, without which a person is not told from the background: add them")
    return views


def measure(head: Head, every: Sequence[View], subject: str = "") -> list[Quality]:
    """Return the quality of a head's texture and of its vertex colours in the given views and in those between them.

    `every` holds the capture's views. Those between given ones have a given one on both sides within the capture.
    """
    asset = head.asset(AssetOptions())
    draw = {VERTEX_COLOURS: partial(_colours, head.mesh), TEXTURE: partial(_texture, Textured.of(asset), asset)}
    given = {view.name for view in head.scene.views}
    numbers = [number for number, view in enumerate(every) if view.name in given]
    others = [number for number in range(len(every)) if number not in numbers]
    between = [every[number] for number in others if _between(number, numbers, len(every))]
    placed = head.fit.head_from_world[0]
    compared = {
        False: [(view, head.camera(number)) for number, view in enumerate(head.scene.views)],
        True: [(view, head.posed(view.camera, placed)) for view in between],
    }
    rows = []
    for held_back, shown in compared.items():
        for kind in (VERTEX_COLOURS, TEXTURE) if shown else ():
            scores = [_compared(draw[kind](camera), view) for view, camera in shown]
            seams = seam_steps(asset) if kind == TEXTURE else 1.0
            psnr, face_psnr, ssim, sharpness = np.nanmean(scores, axis=0).tolist()
            rows.append(Quality(subject, len(given), kind, held_back, psnr, face_psnr, ssim, sharpness, seams))
    return rows


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
    colour = torch.zeros(shape[0] * shape[1], 3)
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


def table(rows: Sequence[Quality]) -> str:
    """Return the page: one line for each number of photos, views and kind, means over the subjects."""
    lines = []
    keys = dict.fromkeys((row.views, row.held_back, row.kind) for row in rows)
    for views, held_back, kind in sorted(keys, key=lambda key: (key[0], key[1], key[2] == TEXTURE)):
        own = [row for row in rows if (row.views, row.held_back, row.kind) == (views, held_back, kind)]
        values = {key: float(np.mean([getattr(row, key) for row in own])) for key in
                  ("psnr", "face_psnr", "ssim", "sharpness", "seams")}  # fmt: skip
        lines.append([
            str(views), "held back" if held_back else "given", kind, f"{values['psnr']:.1f}",
            f"{values['face_psnr']:.1f}", f"{values['ssim']:.3f}", f"{values['sharpness']:.2f}",
            f"{values['seams']:.2f}" if kind == TEXTURE else "",
        ])  # fmt: skip
    subjects = ", ".join(dict.fromkeys(row.subject for row in rows))
    about = (
        f"Written by `protome benchmark texture` ({subjects}). Pictures of the head from the photos' cameras beside "
        "the photos: given ones, and ones between them that were held back. PSNR in decibels on the person and on the "
        "face, structural similarity, sharpness (mean gradient on the face over the photo's), and the colour step "
        "across borders of charts over that beside them."
    )
    headings = ["photos", "views", "colours", "PSNR", "PSNR, face", "SSIM", "sharpness", "seams"]
    return "\n\n".join(["# Textures", about, markdown(headings, lines)]) + "\n"
