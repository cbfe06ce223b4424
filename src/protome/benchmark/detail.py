"""Detail measured: normals of reconstructed heads, with and without the normal map, beside those of known wrinkles."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from protome.asset.asset import Asset
from protome.asset.options import AssetOptions
from protome.asset.source import sampled
from protome.benchmark.page import markdown
from protome.benchmark.wrinkles import Wrinkled, grooves, wrinkled
from protome.capture.gather import gather
from protome.errors import InputError
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.geometry.neighbours import tree_of
from protome.geometry.transforms import Similarity
from protome.geometry.triangles import barycentric, unit
from protome.pipeline import Head, reconstruct
from protome.relief.photo import Relief, recover_relief
from protome.render.cast import cast
from protome.scene import View
from protome.units import UNIT_MM
from protome.util.files import check_output_folder, write_atomically

_LAMPS = ((0.6, 0.35, 0.72), (-0.5, 0.6, 0.62), (0.1, 0.8, 0.59))
"""Directions to the lamp, one subject after the other."""


@dataclass(frozen=True)
class DetailScore:
    """Mean angles between normals, degrees, in the front-most photo."""

    subject: str
    views: int
    skin_mesh: float
    """On the skin of the face: the mesh's alone."""
    skin_map: float
    """With the normal map."""
    wrinkles_mesh: float
    """The same where there are wrinkles."""
    wrinkles_map: float
    streaks: float | None
    """`protome.relief.streaks.streaks` of the height on skin without wrinkles."""
    seconds: float
    """Of the detail."""


def benchmark_detail(
    scenes: Path,
    out: Path,
    *,
    subjects: Sequence[str] | None = None,
    views: Sequence[int] = (),
    preset: str = "draft",
    quiet: bool = False,
) -> None:
    """Give held-out heads wrinkles, reconstruct them, print a table of their normals' errors and write it.

    Raises:
        InputError: there are no scenes, or a subject lacks a view set of that size.
    """
    check_output_folder(out)
    known = sorted(path.parent.name for path in scenes.glob("*/full_head.obj"))
    chosen = list(subjects or known)
    missing = [name for name in chosen if name not in known]
    if missing or not chosen:
        raise InputError(
            f"{scenes} has no subject called {(missing or ['anything'])[0]}: use some of {', '.join(known)}"
        )
    rows = []
    for subject in chosen:
        for count in views or (1, 3):
            rows.append(_measured(scenes / subject, count, known.index(subject), preset, quiet))
    text = table(rows)
    write_atomically(out / "detail.md", lambda part: part.write_text(text, encoding="utf-8"))
    facts = json.dumps([asdict(row) for row in rows], indent=1)
    write_atomically(out / "detail.json", lambda part: part.write_text(facts + "\n"))
    print(text)


def _measured(folder: Path, count: int, seed: int, preset: str, quiet: bool) -> DetailScore:
    """Return the score of one subject, reconstructed from photos with wrinkles.

    Raises:
        InputError: as `reconstruct`, or no photo shows the face.
    """
    with tempfile.TemporaryDirectory() as held:
        copy = Path(held) / folder.name
        shutil.copytree(folder, copy)
        if (folder.parent / "config.toml").is_file():
            shutil.copy(folder.parent / "config.toml", held)
        made = with_wrinkles(copy, count, seed)
        head = reconstruct([copy], views=[str(count)], preset=preset, quiet=quiet)
    asset = head.asset(AssetOptions(detail=True))
    numbers = {view.name: number for number, view in enumerate(head.scene.views)}
    front = min(made, key=lambda name: _turned(head.camera(numbers[name])))
    return score(head, asset, numbers[front], made[front], folder.name)


def with_wrinkles(folder: Path, count: int, seed: int) -> dict[str, Wrinkled]:
    """Replace photos of a scene folder by ones with wrinkles, and return these by name.

    Raises:
        InputError: no photo shows the face from the front.
    """
    scene = gather([folder], views=[str(count)])
    head_mm = Similarity.scaling(UNIT_MM).compose(scene.head_from_world)
    scan = Mesh.load(folder / "full_head.obj").transformed(head_mm)
    mesh = replace(scan, normals=np.array(scan.to_trimesh().vertex_normals))
    views = [view.transformed(head_mm) for view in scene.views]
    views = [replace(view, camera=view.camera.to(torch.float32)) for view in views]
    seen = [view for view in views if view.landmarks is not None]
    if not seen:
        raise InputError(f"no photo of {folder.name} shows its face: give a scene with a photo from the front")
    curves = grooves(_lifted(min(seen, key=lambda view: _turned(view.camera)), mesh), seed)
    lamp = np.array(_LAMPS[seed % len(_LAMPS)])
    made = {}
    for view in seen:
        photo = wrinkled(view, mesh, curves, lamp / np.linalg.norm(lamp))
        if photo is not None:
            made[view.name] = photo
            pixels = np.rint(255 * photo.view.image.numpy()).astype(np.uint8)
            (path,) = [path for path in (folder / "image").iterdir() if view.name in (path.name, path.stem)]
            Image.fromarray(pixels).save(path, quality=95)
    return made


def _lifted(view: View, mesh: Mesh) -> Float[np.ndarray, "478 3"]:
    """Return the points of a mesh that a view's landmarks show; beside the mesh the nearest that they pass."""
    assert view.landmarks is not None
    hits = cast(mesh, view.camera)
    spots = view.camera.project(hits.points.to(view.camera.K))
    return hits.points.double().numpy()[tree_of(spots.numpy()).query(view.landmarks.numpy())[1]]


def _turned(camera: Camera) -> float:
    x, y, z = camera.centre.double().tolist()
    return float(np.arctan2(np.hypot(x, y), z))


def score(head: Head, asset: Asset, number: int, truth: Wrinkled, subject: str = "") -> DetailScore:
    """Return how near a head's normals are to a photo's true ones, without and with its normal map."""
    camera = head.camera(number)
    hit, plain, mapped = seen_normals(asset, camera)
    turn = camera.T_world_camera[:3, :3].double().numpy()
    off = [_angles(normals @ turn, truth.normals) for normals in (plain, mapped)]
    skin, wrinkles = ([float(error[on].mean()) for error in off] for on in (truth.skin & hit, truth.wrinkles & hit))
    relief = recover_relief(replace(head.scene.views[number], camera=camera), asset.atlas.mesh)
    ratio = None if relief is None else relief.streaks(_smooth(relief, truth, camera))
    seconds = 0.0 if asset.detail is None else asset.detail.seconds
    return DetailScore(
        subject, len(head.scene.views), skin[0], skin[1], wrinkles[0], wrinkles[1], ratio, seconds
    )  # fmt: skip


def _smooth(relief: Relief, truth: Wrinkled, camera: Camera) -> Bool[np.ndarray, "h w"]:
    """Return the pixels of a relief's window where the photo has no wrinkles nearby."""
    own = relief.camera
    depth = torch.from_numpy(relief.depth.reshape(-1)).to(own.K)
    points = own.unproject(own.pixels()) * depth[:, None] @ own.T_world_camera[:3, :3].T + own.centre
    spots = camera.project(points.to(camera.K)).nan_to_num(0).long().numpy()
    near = cv2.dilate(truth.wrinkles.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    column, row = np.clip(spots, 0, [near.shape[1] - 1, near.shape[0] - 1]).T
    return (~near[row, column]).reshape(relief.depth.shape)


def _angles(a: Float[np.ndarray, "h w 3"], b: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Return the angles between unit vectors, degrees."""
    return np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))


def seen_normals(
    asset: Asset, camera: Camera
) -> tuple[Bool[np.ndarray, "h w"], Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]]:
    """Return where a camera sees an asset, its unit normals there, and those with the normal map, head frame.

    The map is read as a viewer does: glTF's tangent space, interpolated over each face.
    """
    shape = (camera.height, camera.width)
    vertices, faces = asset.vertices(), asset.atlas.faces
    rays = camera.rays()
    origins, ways = rays.origins.double().numpy(), rays.directions.double().numpy()
    face = np.asarray(RayMeshIntersector(Trimesh(vertices, faces, process=False)).intersects_first(origins, ways))
    on = np.flatnonzero(face >= 0)
    corners = faces[face[on]]
    triangles = vertices[corners]
    across = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    ahead = ((triangles[:, 0] - origins[on]) * across).sum(1) / (ways[on] * across).sum(1)
    weights = barycentric(triangles, origins[on] + ahead[:, None] * ways[on])[..., None]
    normals = unit((asset.normals()[corners] * weights).sum(1))
    mapped = normals
    if asset.detail is not None:
        tangent = (asset.detail.tangents.astype(np.float64)[corners] * weights).sum(1)
        right = unit(tangent[:, :3] - (tangent[:, :3] * normals).sum(1, keepdims=True) * normals)
        up = np.cross(normals, right) * np.sign(tangent[:, 3:])
        size = asset.detail.normals.shape[0]
        uv = (asset.atlas.uv[corners] * weights).sum(1)
        local = 2 * sampled((asset.detail.normals / 255).astype(np.float32), (uv * size).astype(np.float32)) - 1
        mapped = unit(local[:, :1] * right + local[:, 1:2] * up + local[:, 2:] * normals)
    images = np.zeros((2, shape[0] * shape[1], 3))
    images[0, on], images[1, on] = normals, mapped
    hit = np.zeros(shape[0] * shape[1], bool)
    hit[on] = True
    return hit.reshape(shape), images[0].reshape(*shape, 3), images[1].reshape(*shape, 3)


def table(rows: Sequence[DetailScore]) -> str:
    """Return the page."""
    lines = [
        [row.subject, str(row.views), f"{row.skin_mesh:.2f}", f"{row.skin_map:.2f}", f"{row.wrinkles_mesh:.2f}",
         f"{row.wrinkles_map:.2f}", "" if row.streaks is None else f"{row.streaks:.2f}"]
        for row in rows
    ]  # fmt: skip
    about = (
        "Written by `protome benchmark detail`. Held-out heads get wrinkles and new light in their photos, and are "
        "reconstructed from these. Mean angle in degrees between the true normals and the reconstruction's in the "
        "front-most photo: the mesh alone, and with its normal map; on all skin of the face, and where there are "
        "wrinkles. Streaks: energy of the height's spectrum along the axes over that along the diagonals, on "
        "smooth skin."
    )
    headings = ["subject", "photos", "skin, mesh", "skin, with map", "wrinkles, mesh", "wrinkles, with map", "streaks"]
    return "\n\n".join(["# Detail", about, markdown(headings, lines)]) + "\n"
