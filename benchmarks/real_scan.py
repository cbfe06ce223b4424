"""Reconstruct a real scanned head from rendered photos and measure the result against the scan.

    python benchmarks/real_scan.py --scan head.glb --landmarks landmarks.json --out DIR --views 1 3 8

The scan is a textured mesh in metres in the head frame; the landmarks file names points of it in `positions_m`. The
baseline is the prior's mean head, which uses no photo.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from trimesh.intersections import slice_faces_plane
from trimesh.ray.ray_pyembree import RayMeshIntersector

from command import command
from protome.errors import InputError
from protome.evaluate.metrics import FACE_RADIUS_MM, Comparison, compare
from protome.geometry.align import Dof, align_landmarks
from protome.geometry.camera import Camera, direction
from protome.geometry.mesh import Mesh
from protome.geometry.sampling import sample_surface
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.landmarks import load_face_landmarks
from protome.pipeline import mean_head, reconstruct
from protome.scene import View
from protome.scenes.idr import write_idr
from raster import Lighting, Picture, Subject, render

BASE_MM = 45.0
"""Height above its lowest point at which the scan is cut: below is the artificial base."""

MARGIN_MM = 20.0
"""Additional depth at which the compared heads are cut; the rest of their busts has no counterpart."""

LEAST_VISIBILITY = 0.03
"""Smallest share of the directions in front of a triangle from which an outer triangle is visible."""

MEDIAPIPE = {
    "right_eye": 133,
    "left_eye": 362,
    "right_eye_outer": 33,
    "left_eye_outer": 263,
    "nose_tip": 4,
    "nose_base": 2,
    "right_lips": 61,
    "left_lips": 291,
}
"""The scan's landmarks among MediaPipe's face landmarks."""

LOWEST = -0.5
"""Sine of the lowest elevation of these directions."""

DIRECTIONS = {
    1: ((8.0, 3.0),),
    3: ((4.0, 2.0), (45.0, 7.0), (-45.0, -3.0)),
    8: ((4, 2), (47, 9), (88, -4), (137, 6), (182, 11), (224, -2), (273, 8), (314, 0)),
}
"""Azimuth (towards the subject's left) and elevation of the cameras in degrees, by number of views."""

TARGET_MM = (0.0, -45.0, -85.0)
"""The cameras' target in the head frame: the middle of head and shoulders."""

DISTANCE_MM = 900.0
FRAME_MM = 365.0
"""Height and width of the picture at the target's distance."""


@dataclass(frozen=True)
class Scan:
    """The true head; head frame, millimetres."""

    subject: Subject
    truth: Mesh
    """The scan's outside without its closed base."""
    floor: float
    """The height of the cut."""
    landmarks: dict[str, Float[np.ndarray, "3"]]


@dataclass(frozen=True)
class Options:
    """Options of the run."""

    scan: Path
    """The textured scan, in metres."""
    landmarks: Path
    """JSON with the scan's landmarks."""
    out: Path
    """Folder for the scene, the result and the table's numbers."""
    views: tuple[Literal[1, 3, 8], ...] = (1, 3, 8)
    """Numbers of photos, each a row of the table: from the front; front and both sides; all around."""
    size: int = 384
    """Pixels along each side of a photo."""
    preset: Literal["draft", "standard", "fine"] = "standard"
    """The preset to reconstruct with."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device."""
    seed: int = 0
    """The random seed."""


@dataclass(frozen=True)
class Baseline:
    """The errors of the prior's mean head, which uses no photo."""

    rigid: Comparison
    with_scale: Comparison


def load_scan(scan: Path, landmarks: Path) -> Scan:
    """Read a scan in metres with its landmarks.

    Raises:
        InputError: a file is missing, or the landmarks lack one that is needed.
    """
    subject = Subject.load(scan).transformed(Similarity.scaling(1000.0, torch.float64))
    if not landmarks.is_file():
        raise InputError(f"{landmarks} does not exist: give the JSON file with the scan's landmarks")
    positions = json.loads(landmarks.read_text()).get("positions_m", {})
    missing = [name for name in MEDIAPIPE if name not in positions]
    if missing:
        raise InputError(f"{landmarks} has no position of {', '.join(missing)}: add it under positions_m")
    floor = float(subject.mesh.vertices[:, 1].min()) + BASE_MM
    named = {name: 1000.0 * np.array(positions[name]) for name in MEDIAPIPE}
    return Scan(subject, above(outside(subject.mesh), floor), floor, named)


def outside(mesh: Mesh, directions: int = 200, least_visibility: float = LEAST_VISIBILITY) -> Mesh:
    """Return the triangles that are visible from outside, from a share of the directions in front of them.

    No direction is from far below, where busts are open. Heads made for animation continue behind lids, lips and
    nostrils, which no photo shows.
    """
    order = np.arange(directions) + 0.5
    height, turn = 1.0 - 2.0 * order / directions, np.pi * (1.0 + np.sqrt(5.0)) * order
    flat = np.sqrt(1.0 - height**2)
    bare = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    caster, normals = RayMeshIntersector(bare), np.cross(*np.moveaxis(np.diff(bare.triangles, axis=1), 1, 0))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    starts = bare.triangles.mean(1) + 1e-4 * float(bare.scale) * normals
    seen, facing = np.zeros(len(mesh.faces)), np.zeros(len(mesh.faces))
    ways = np.stack([flat * np.cos(turn), height, flat * np.sin(turn)], 1)
    for way in ways[height > LOWEST]:
        front = np.flatnonzero(normals @ way > 0.05)
        facing[front] += 1
        seen[front] += ~caster.intersects_any(starts[front], np.broadcast_to(way, (len(front), 3)))
    return replace(mesh, faces=mesh.faces[seen > least_visibility * facing])


def above(mesh: Mesh, height: float) -> Mesh:
    """Return the part of a mesh above a height, open at the cut."""
    up = np.array([0.0, 1.0, 0.0])
    vertices, faces, _ = slice_faces_plane(mesh.vertices, mesh.faces, up, height * up)
    return Mesh(vertices, faces.astype(np.int64))


def cameras_around(views: int, size: int) -> list[Camera]:
    """Return cameras around a head in the head frame, in millimetres, at slightly unequal distances."""
    target = torch.tensor(TARGET_MM, dtype=torch.float64)
    cameras = []
    for index, (azimuth, elevation) in enumerate(DIRECTIONS[views]):
        across, up = np.radians([azimuth, elevation])
        distance = DISTANCE_MM + 15.0 * (index % 3 - 1)
        place = target + distance * direction(across, up)
        cameras.append(Camera.look_at(place, target, size * DISTANCE_MM / FRAME_MM, size, size))
    return cameras


def world_from_head(views: int) -> Similarity:
    """Return an arbitrary world frame; for one view, which does not determine the scale, it is in millimetres."""
    rotation = rotation_from_vector(torch.tensor([0.7, -1.9, 0.4], dtype=torch.float64))
    scale = 1.0 if views == 1 else 1.0 / 130.0
    shift = torch.tensor([195.0, -80.0, 290.0], dtype=torch.float64) * scale
    return Similarity(rotation, shift, torch.tensor(scale, dtype=torch.float64))


def photograph(scan: Scan, count: int, options: Options) -> list[View]:
    """Return the rendered photos, posed in the arbitrary world frame."""
    views = []
    for index, camera in enumerate(cameras_around(count, options.size)):
        picture: Picture = render(scan.subject, camera, Lighting(), seed=options.seed + index)
        posed = camera.transformed(world_from_head(count)).to(torch.float32)
        image, mask = torch.from_numpy(picture.image).float(), torch.from_numpy(picture.mask).float()
        views.append(View(f"{index:03d}.png", image, mask, posed))
    return views


def sample_scan(scan: Scan, face: int = 6000, head: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """Return points uniform by area over the scan's face and over all of it, millimetres."""
    points = sample_surface(scan.truth, 40_000).points
    near = np.linalg.norm(points - scan.landmarks["nose_tip"], axis=1) <= FACE_RADIUS_MM
    mixed = np.random.default_rng(0)
    return mixed.permutation(points[near])[:face], mixed.permutation(points)[:head]


def mean_head_start(scan: Scan) -> Similarity:
    """Return the rigid alignment of the mean head's landmarks to the scan's."""
    mean = load_face_landmarks().positions.double().numpy()
    source = np.stack([mean[index] for index in MEDIAPIPE.values()])
    return align_landmarks(source, np.stack([scan.landmarks[name] for name in MEDIAPIPE])).target_from_source


def score(mesh: Mesh, scan: Scan, start: Similarity, dof: Dof = "rigid") -> Comparison:
    """Return the distances between a head in millimetres, initially moved by a rigid `start`, and the scan."""
    mesh = above(mesh.transformed(start), scan.floor - MARGIN_MM)
    return compare(mesh, scan.truth, nose_tip=scan.landmarks["nose_tip"], dof=dof)


def numbers(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Return a comparison's numbers for JSON, in millimetres and degrees."""
    return {
        "face_scan_to_head_mm": asdict(comparison.face.to_prediction),
        "face_head_to_scan_mm": asdict(comparison.face.to_truth),
        "face_normals_deg": asdict(comparison.face_normals),
        "head_scan_to_head_mm": asdict(comparison.head.to_prediction),
        "head_head_to_scan_mm": asdict(comparison.head.to_truth),
    }


def row(name: str, found: Comparison, mean: Comparison, seconds: str) -> str:
    """Return a line of the table."""
    face, head = found.face.to_prediction, found.head.to_prediction
    ratios = face.mean / mean.face.to_prediction.mean, head.mean / mean.head.to_prediction.mean
    return (
        f"{name:<12}{face.mean:>10.2f}{face.median:>12.2f}{head.mean:>10.2f}{found.face_normals.mean:>13.1f}"
        f"{ratios[0]:>12.2f}{ratios[1]:>12.2f}{seconds:>9}"
    )


def measure(views: int, scan: Scan, options: Options, baseline: Baseline) -> None:
    """Render, reconstruct, measure and print one row; pictures, heads and numbers go into the output folder."""
    folder = options.out / f"scene_{views}"
    folder.mkdir(parents=True, exist_ok=True)
    write_idr(folder, photograph(scan, views, options))

    began = time.perf_counter()
    head = reconstruct([folder], preset=options.preset, device=options.device, seed=options.seed)
    seconds = time.perf_counter() - began
    head.save(options.out / f"head_{views}", sys.argv)
    mesh = head.mesh_world.transformed(world_from_head(views).inverse())
    # One view leaves the depth open, so the alignment starts from the reconstruction's own head frame.
    start = align_landmarks(mesh.vertices, head.mesh.vertices).target_from_source

    found = score(mesh, scan, start)
    print(row(str(views), found, baseline.rigid, f"{seconds:.1f}"), flush=True)
    result = {
        "views": views,
        "size": options.size,
        "preset": options.preset,
        "seed": options.seed,
        "alignment": "rigid, each region on its own; distances end on surfaces",
        "head": numbers(found),
        "head_with_scale": numbers(score(mesh, scan, start, dof="similarity")),
        "mean_head": numbers(baseline.rigid),
        "mean_head_with_scale": numbers(baseline.with_scale),
        "seconds": {"total": seconds, **head.seconds},
    }
    (options.out / f"real_scan_{views}.json").write_text(json.dumps(result, indent=1) + "\n")


def run(options: Options) -> None:
    """Print the table: the mean head, then a row for each number of views."""
    scan = load_scan(options.scan, options.landmarks)
    mesh, start = mean_head(), mean_head_start(scan)
    baseline = Baseline(score(mesh, scan, start), score(mesh, scan, start, dof="similarity"))
    print("Scan to head, rigid alignment, point to surface, mm.")
    print(f"{'views':<12}{'face mean':>10}{'face median':>12}{'head mean':>10}{'normals deg':>13}", end="")
    print(f"{'face ratio':>12}{'head ratio':>12}{'seconds':>9}")
    print(row("mean head", baseline.rigid, baseline.rigid, "-"), flush=True)
    for views in options.views:
        measure(views, scan, options, baseline)
    print(f"pictures, heads and numbers are in {options.out}")


def main() -> int:
    """Run the benchmark of the command line and return its exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
