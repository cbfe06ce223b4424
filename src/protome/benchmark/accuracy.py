"""Reconstruction errors by method, number of views and camera noise, on scenes with ground truth."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from trimesh.remesh import subdivide

from protome.benchmark.changes import change
from protome.benchmark.true_size import camera_distance_mm, pupils_mm
from protome.capture.capture import capture_photos
from protome.capture.posed import locate_head
from protome.encoder.scale import MetricScale
from protome.errors import InputError
from protome.evaluate.h3ds import H3dsScene, evaluate_h3ds, read_scene
from protome.evaluate.landmarks import MarkedMesh
from protome.evaluate.metrics import compare
from protome.face import LANDMARK_NAMES
from protome.fit.beginning import begin
from protome.fit.config import FIT_PRESETS, FitConfig
from protome.fit.methods import Method, method
from protome.fit.reconstruct import fit_head, padded_bounds
from protome.geometry.align import align_landmarks
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import rotation_from_vector
from protome.meshing.extract import extract_mesh
from protome.prior.prior import Prior
from protome.scene import Scene, View
from protome.scenes.h3ds import MESH, read_h3ds, view_sets
from protome.units import UNIT_MM
from protome.util.engines import Engine, Work
from protome.util.files import write_atomically
from protome.util.progress import progress

NOISES = ((0.0, 0.0), (0.25, 1.0), (0.5, 2.0), (1.0, 4.0))
"""Levels of camera noise: standard deviations of rotations in degrees and of positions in millimetres."""
MEAN = "mean head"
RESOLUTION = 230
"""Cells along the longest side of a fitted head's space, 60 cm."""
SAMPLES = 12_000


@dataclass(frozen=True)
class Case:
    """One reconstruction."""

    subject: str
    """Name of the scene's folder."""
    views: int
    method: str
    """One of `METHODS`, the mean head, or the name of another method's meshes."""
    noise: int = 0
    """Level of `NOISES`."""
    refine: bool = False
    """Whether cameras are refined during the fit."""
    preset: str = "standard"
    seed: int = 0
    scale_known: bool = False
    """Whether the distance from the camera to the tip of the nose is given; with one view."""
    pupils: bool = False
    """Whether the distance between the person's pupils is given; with one view, or several without cameras."""
    posed: bool = True
    """Whether the cameras are given; otherwise each photo is located by its landmarks alone, and masks are found."""
    change: str = ""
    """Name of a change of the fit, one of `CHANGES`; empty: the unchanged method."""

    @property
    def name(self) -> str:
        """Name of its result's file."""
        extra = f"_noise{self.noise}{'_refined' if self.refine else ''}" if self.noise or self.refine else ""
        extra += ("_sized" if self.scale_known else "") + ("_pupils" if self.pupils else "")
        extra += ("" if self.posed else "_unposed") + (f"_{self.change}" if self.change else "")
        return f"{self.subject}_{self.views}_{self.method.replace(' ', '-')}{extra}_{self.preset}_{self.seed}"


@dataclass(frozen=True)
class Accuracy:
    """Errors of one reconstruction; truth to prediction, rigid, point to surface, millimetres."""

    face_mm: float
    face_median_mm: float
    head_mm: float
    head_median_mm: float
    normals_deg: float
    """Mean angle between the faces' normals."""
    h3ds_face_mm: float
    """The same in H3DS's measure: alignment with scale, distance to the nearest vertex of a mesh with halved edges."""
    h3ds_head_mm: float
    seconds: float
    """Processor time of the fit."""


def measure(case: Case, scenes: Path, out: Path, meshes: dict[str, Path]) -> Accuracy:
    """Reconstruct one case, write its mesh beside its numbers and return them.

    Raises:
        InputError: the scene lacks something.
    """
    folder = scenes / case.subject
    truth = read_scene(folder)
    if case.method in meshes:
        path = meshes[case.method] / f"{case.subject}_{case.views}.ply"
        return score(MarkedMesh.load(path).mesh, truth, None, 0.0)
    if case.method == MEAN:
        return score_mean_head(Prior.load(), truth)
    views = noisy(read_h3ds(folder, [str(case.views)]), case.noise, case.seed)
    if case.posed:
        scene = locate_head(views, "mm" if len(views) == 1 else None)
    else:
        scene = capture_photos([folder / "image" / view.name for view in views])
    changed, chosen = change(case.change), method(case.method)
    # Cameras that were found from the photos are refined as in a reconstruction; given ones where the case says so.
    refine = case.refine or (scene.estimate is not None and chosen.refine_cameras(scene))
    config = replace(changed.settings(chosen.settings(FIT_PRESETS[case.preset])), refine_cameras=refine)
    mesh, found = fit_and_score(
        scene, chosen if changed.encoder else replace(chosen, encoder=None), config, truth, case.seed,
        posed=case.posed, size=_known_scale(case, folder, truth, views),
    )  # fmt: skip
    mesh.save(out / f"{case.name}.ply")
    return found


def _known_scale(case: Case, folder: Path, truth: H3dsScene, views: Sequence[View]) -> MetricScale | None:
    """Return the length that the case is given for the metric scale."""
    if case.scale_known:
        return MetricScale(distance_mm=camera_distance_mm(truth, views[0].camera))
    if not case.pupils:
        return None
    apart = pupils_mm(folder)
    if apart is None:
        raise InputError(f"{folder} shows open eyes in fewer than two photos: their distance cannot be measured")
    return MetricScale(pupils_mm=apart)


def score_mean_head(prior: Prior, truth: H3dsScene) -> Accuracy:
    """Measure the prior's mean head, a baseline without photos."""
    mesh = extract_mesh(prior.bind(prior.mean()), padded_bounds(prior.bounds), RESOLUTION).scaled(UNIT_MM)
    return score(mesh, truth, prior.landmarks.double().numpy() * UNIT_MM, 0.0)


def fit_and_score(
    scene: Scene, chosen: Method, config: FitConfig, truth: H3dsScene, seed: int, *, posed: bool = True,
    size: MetricScale | None = None,
) -> tuple[Mesh, Accuracy]:  # fmt: skip
    """Fit a scene and return the mesh in its world frame (millimetres), and its errors.

    `posed`: the views' cameras share one frame, that of the truth. `size` is a known length of the person.
    """
    prior = chosen.prior()
    began = time.process_time()
    begun = begin(scene, prior, chosen, size)
    fit = fit_head(
        begun.scene, prior, config, seed=seed, estimate=begun.estimate, expressions=begun.expressions,
        shown=begun.shown, quiet=True,
    )  # fmt: skip
    seconds = time.process_time() - began
    world_from_head = fit.head_from_world[0].inverse()
    mesh = extract_mesh(fit.head.bind(), fit.head.bounds, RESOLUTION).transformed(world_from_head)
    # The alignment starts at the fitted pose, because views do not always determine it: one view leaves the depth open.
    landmarks = world_from_head.apply(prior.landmarks).double().numpy()
    return mesh, score(mesh, truth, landmarks, seconds)


def score(mesh: Mesh, truth: H3dsScene, landmarks: Float[np.ndarray, "6 3"] | None, seconds: float) -> Accuracy:
    """Measure a mesh against the truth, both in millimetres; without landmarks both are in one frame."""
    wanted = truth.head.points(LANDMARK_NAMES, "--landmarks")
    start = None if landmarks is None else align_landmarks(landmarks, wanted).target_from_source
    found = compare(mesh, truth.head.mesh, nose_tip=wanted[2], start=start, samples=SAMPLES)
    face, head = found.face.to_prediction, found.head.to_prediction
    # H3DS's alignment starts from the rigid one, because other methods' meshes may lack the six landmarks. Its
    # distances end at vertices, so edges are halved: at a spacing of 1.3 mm the discretisation adds little.
    dense = Mesh(*subdivide(mesh.vertices, mesh.faces)).transformed(found.face.truth_from_prediction)
    public = evaluate_h3ds(MarkedMesh(dense, {}, truth.head.path), truth)
    return Accuracy(
        face.mean, face.median, head.mean, head.median, found.face_normals.mean,
        public["face"].to_prediction.mean, public["full_head"].to_prediction.mean, seconds,
    )  # fmt: skip


def noisy(views: Sequence[View], level: int, seed: int) -> tuple[View, ...]:
    """Return views whose cameras are rotated and shifted at random; the world is in millimetres."""
    degrees, millimetres = NOISES[level]
    generator = torch.Generator().manual_seed(1000 * level + seed)
    moved = []
    for view in views:
        pose = view.camera.T_world_camera.clone()
        turn = rotation_from_vector(torch.deg2rad(degrees * torch.randn(3, generator=generator)))
        pose[:3, :3] = pose[:3, :3] @ turn.to(pose)
        pose[:3, 3] += millimetres * torch.randn(3, generator=generator).to(pose)
        moved.append(replace(view, camera=replace(view.camera, T_world_camera=pose)))
    return tuple(moved)


def measure_all(
    cases: Iterable[Case], scenes: Path, out: Path, *, meshes: dict[str, Path], engine: Engine, quiet: bool
) -> dict[Case, Accuracy]:
    """Measure the cases without a stored result, and return all results."""
    wanted = list(dict.fromkeys(cases))
    paths = {case: out / f"{case.name}.json" for case in wanted}
    # The cases are in order of importance, so that a stopped run has complete rows for few views.
    results = {case: known for case in wanted if (known := _stored(paths[case])) is not None}
    todo = [case for case in wanted if case not in results]
    with progress("measuring", max(len(todo), 1), quiet=quiet) as step:
        for number, found in engine.run(Work(_measured), [(case, scenes, out, meshes) for case in todo]):
            case = todo[number]
            results[case] = found
            text = json.dumps(asdict(case) | asdict(results[case]), indent=1) + "\n"
            write_atomically(paths[case], lambda part, text=text: part.write_text(text))  # type: ignore[misc]
            step(1, case.name)
    return results


def _measured(job: tuple[Case, Path, Path, dict[str, Path]]) -> Accuracy:
    return measure(*job)


def _stored(path: Path) -> Accuracy | None:
    """Return a stored result, if there is one with all of today's values."""
    row = json.loads(path.read_text()) if path.is_file() else {}
    keys = Accuracy.__dataclass_fields__
    return Accuracy(**{key: row[key] for key in keys}) if keys.keys() <= row.keys() else None


def subjects_in(scenes: Path) -> list[str]:
    """Return the scenes of a folder, by name.

    Raises:
        InputError: it holds none.
    """
    found = sorted(path.parent.name for path in scenes.glob(f"*/{MESH}")) if scenes.is_dir() else []
    if not found:
        raise InputError(
            f"{scenes} holds no scenes in H3DS's layout: write some with benchmarks/scenes.py, or get H3DS"
        )
    return found


def common_views(scenes: Path, subjects: Sequence[str], wanted: Sequence[int], *, every: bool = False) -> list[int]:
    """Return the numbers of views for which every subject has a view set.

    Raises:
        InputError: there is none, or `every` one is needed and some are missing.
    """
    shared = [count for count in wanted if all(str(count) in view_sets(scenes / subject) for subject in subjects)]
    lacking = [count for count in wanted if count not in shared]
    if lacking and (every or not shared):
        raise InputError(f"{scenes / 'config.toml'} has no choice of {', '.join(map(str, lacking))} views: add one")
    return shared
