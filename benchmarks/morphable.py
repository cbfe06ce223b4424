"""Measure the error of the packaged head model, or another one, on held-out heads.

    python benchmarks/morphable.py --valid DIR --ict DIR --scenes DIR --scan head.glb --landmarks landmarks.json

`protome population head-model` builds the packaged model.

First table: all components fitted to points of held-out people and of a real scan. Second: the same heads from the
landmarks in rendered photos, with all landmarks of the detector and with only the 68 of iBUG. The baseline is the
model's mean head; distances run from the truth's face to the model, after rigid alignment. `--scenes` is the output of
benchmarks/scenes.py; sources that are not given are not measured.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from command import command
from limits import FACE_POINTS
from protome.benchmark.accuracy import subjects_in
from protome.capture.landmarks import detect
from protome.evaluate.h3ds import read_scene
from protome.evaluate.metrics import FACE_RADIUS_MM
from protome.face import LANDMARK_NAMES, NOSE_TIP
from protome.geometry.align import Surface, align_landmarks, icp
from protome.geometry.mesh import Mesh
from protome.geometry.sampling import sample_surface
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.morphable.fit import LandmarkFitConfig, Sighting, fit_landmarks
from protome.morphable.linear import load_builtin, load_linear
from protome.morphable.model import MorphableModel
from protome.population.build import TABLES
from protome.population.faces import FaceModes
from protome.population.head_model.shapes import HeadShapes
from protome.population.head_model.topology import HeadTopology
from protome.population.sources.valid import ValidHeads
from protome.scenes.h3ds import read_h3ds
from real_scan import MEDIAPIPE, load_scan, mean_head_start, sample_scan

ROUNDS = 12
"""Rounds of nearest points."""
RIDGE_MM = 0.5
"""Distance whose weight, over a hundred points, equals that of one standard deviation of one coefficient."""
POINTS: tuple[Literal["dense", "ibug68"], ...] = ("dense", "ibug68")


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    valid: Path
    """The population's sources, as for "protome population build"."""
    ict: Path
    model: Path | None = None
    """File of a linear head model; the packaged one if left out."""
    seed: int = 0
    scenes: Path | None = None
    scan: Path | None = None
    landmarks: Path | None = None
    views: tuple[Literal[1, 3], ...] = (1, 3)


@dataclass(frozen=True)
class Head:
    """A head to be fitted: points of its face in the head frame, mm."""

    name: str
    face: Float[np.ndarray, "n 3"]
    head_from_truth: Similarity
    """The model's head frame, estimated from six or eight landmarks; the start of every alignment."""


def face_points(vertices: Float[np.ndarray, "v 3"], faces: np.ndarray) -> Float[np.ndarray, "n 3"]:
    """Return points of a mesh within the face's radius of its nose tip."""
    nose = vertices[vertices[:, 2].argmax()]
    points = sample_surface(Mesh(vertices, faces), 4 * FACE_POINTS).points
    return points[np.linalg.norm(points - nose, axis=1) <= FACE_RADIUS_MM][:FACE_POINTS]


def face_error(mesh: Mesh, head: Head) -> float:
    """Return the mean distance from a truth's face to a mesh in the head frame, mm, after rigid alignment."""
    surface = Surface(mesh)
    pose = icp(head.face, surface, start=head.head_from_truth).target_from_source
    return float(surface.closest(pose.apply(torch.from_numpy(head.face)).numpy()).distances.mean())


def fit_points(model: MorphableModel, head: Head) -> tuple[Mesh, float]:
    """Return the model's head nearest to a face, and the root mean square of its identity's coefficients.

    Each round finds nearest points and solves for all coefficients and the pose together.
    """
    faces = model.faces.numpy()
    axes = torch.cat([model.identity, model.expression]).double().numpy()
    deviations = np.concatenate([np.ones(len(model.identity)), model.expression_deviations.numpy()])
    template, coefficients = model.template.double().numpy(), np.zeros(len(axes))
    pose = icp(head.face, Surface(Mesh(template, faces)), start=head.head_from_truth).target_from_source
    for _ in range(ROUNDS):
        vertices = template + np.tensordot(coefficients, axes, 1)
        surface = Surface(Mesh(vertices, faces))
        points = pose.apply(torch.from_numpy(head.face)).numpy()
        foot = surface.closest(points)
        normals = surface.face_normals()[foot.faces]
        corners = vertices[faces[foot.faces]]
        weights = _weights(corners, foot.points)
        moves = np.einsum("knsd,ns,nd->nk", axes[:, faces[foot.faces]], weights, normals)
        # The points' rotation and translation relative to the surface are unknowns too.
        rigid = -np.concatenate([np.cross(points, normals), normals], 1)
        design = np.concatenate([moves, rigid], 1)
        gap = ((points - foot.points) * normals).sum(1) + moves @ coefficients
        trust = 1 / (1 + (foot.distances / 4.0) ** 2)
        ridge = np.concatenate([1 / deviations**2, np.full(6, 1e-9)]) * RIDGE_MM**2 * len(points) / 100
        solved = np.linalg.solve((design * trust[:, None]).T @ design + np.diag(ridge), design.T @ (trust * gap))
        coefficients = solved[: len(axes)]
        turn, shift = (torch.from_numpy(part) for part in (solved[-6:-3], solved[-3:]))
        pose = Similarity(rotation_from_vector(turn), shift, torch.ones((), dtype=torch.float64)).compose(pose)
    unusual = float(np.sqrt((coefficients[: len(model.identity)] ** 2).mean()))
    return Mesh(template + np.tensordot(coefficients, axes, 1), faces), unusual


def _weights(corners: Float[np.ndarray, "n 3 3"], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    edges = np.moveaxis(corners[:, 1:] - corners[:, :1], 1, 2)
    two = np.einsum("nij,nj->ni", np.linalg.pinv(edges), points - corners[:, 0])
    return np.concatenate([1 - two.sum(1, keepdims=True), two], 1)


def unseen(options: Options) -> list[Head]:
    """Return the held-out avatars whose scalp is bare, and as many faces of the ICT model."""
    valid = ValidHeads(options.valid)
    modes = FaceModes.load(options.ict, TABLES, valid)
    topology = HeadTopology.of(valid, HeadShapes.of(valid, modes, None).template)
    names = [name for name in valid.holdout_names if valid.is_bald(name)]
    bodies = {name: valid.body(name) for name in names}
    rng = np.random.default_rng([options.seed, 77])
    base = valid.mean + modes.face[:, None] * modes.towards_mean
    for number in range(8):
        bodies[f"ICT {number}"] = base + np.tensordot(rng.normal(size=len(modes.identity)), modes.identity, 1)
    identity = Similarity.identity(torch.float64)
    return [
        Head(name, face_points(1000 * topology.shape(body), topology.faces), identity) for name, body in bodies.items()
    ]


def real_head(options: Options) -> Head | None:
    """Return the real scan's face, if its files are given."""
    if options.scan is None or options.landmarks is None:
        return None
    scan = load_scan(options.scan, options.landmarks)
    return Head("real_scan", sample_scan(scan, FACE_POINTS)[0], mean_head_start(scan).inverse())


def photographed(scenes: Path, model: MorphableModel) -> list[tuple[Head, Path]]:
    """Return the heads with photos, and the folders of their scenes."""
    assert model.dense is not None
    ours = model.dense.on(model.template, model.faces)[[MEDIAPIPE[name] for name in LANDMARK_NAMES]]
    found = []
    for name in subjects_in(scenes):
        truth = read_scene(scenes / name).head
        wanted = truth.points(LANDMARK_NAMES, "--landmarks")
        points = sample_surface(truth.mesh, 4 * FACE_POINTS).points
        face = points[np.linalg.norm(points - wanted[NOSE_TIP], axis=1) <= FACE_RADIUS_MM][:FACE_POINTS]
        start = align_landmarks(wanted, ours.double().numpy()).target_from_source
        found.append((Head(name, face, start), scenes / name))
    return found


def sightings(folder: Path, count: int) -> list[Sighting]:
    """Find the face in a scene's photos; the focal lengths are taken as recorded, the cameras' poses are not used."""
    views = read_h3ds(folder, [str(count)])
    found = detect([view.image for view in views], with_masks=False)
    return [
        Sighting(detection.faces[0], view.camera, True, view.name)
        for detection, view in zip(found, views, strict=True)
        if detection.faces
    ]


def measure_points(model: MorphableModel, options: Options) -> None:
    """Print the first table."""
    real = real_head(options)
    heads = unseen(options) + ([real] if real is not None else [])
    mean = model.mean().neutral().with_pose(Similarity.identity()).mesh()
    print("All components fitted to points of the face; truth to model, mm.")
    print(f"{'head':<24}{'mean face':>10}{'fitted':>8}{'deviations':>12}")
    for head in heads:
        mesh, unusual = fit_points(model, head)
        print(
            f"{head.name:<24}{face_error(mean, head):>10.2f}{face_error(mesh, head):>8.2f}{unusual:>12.2f}", flush=True
        )


def measure_photos(model: MorphableModel, options: Options, config: LandmarkFitConfig | None = None) -> None:
    """Print the second table."""
    config = config or LandmarkFitConfig()
    print("Fitted to landmarks in photos; truth to model, mm; reprojection error in pixels.")
    print(f"{'head':<24}{'views':>6}{'mean face':>10}" + "".join(f"{name:>10}{'px':>6}" for name in POINTS))
    mean = model.mean().neutral().with_pose(Similarity.identity()).mesh()
    ratios: dict[str, list[float]] = {name: [] for name in POINTS}
    assert options.scenes is not None
    for head, folder in photographed(options.scenes, model):
        for count in options.views:
            observations, baseline = sightings(folder, count), face_error(mean, head)
            line = f"{head.name:<24}{count:>6}{baseline:>10.2f}"
            for name in POINTS:
                fit = fit_landmarks(model, observations, replace(config, points=name))
                error = face_error(fit.head().mesh(), head)
                ratios[name].append(error / baseline)
                line += f"{error:>10.2f}{statistics.fmean(fit.error_px):>6.2f}"
            print(line, flush=True)
    if ratios["dense"]:
        print(f"{'mean of ratios':<40}" + "".join(f"{statistics.fmean(ratios[name]):>10.2f}{'':>6}" for name in POINTS))


def run(options: Options) -> None:
    """Print the tables."""
    model = load_builtin() if options.model is None else load_linear(options.model)
    measure_points(model, options)
    if options.scenes is not None:
        measure_photos(model, options)


def main() -> int:
    """Run the benchmark of the command line and return its exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
