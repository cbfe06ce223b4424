"""The benchmark of identity: is the head from one photo nearer to its own person than to other people?

One photo of each of some held-out people is reconstructed without its camera, and each head is compared with the true
faces of all of them, the size free. The prior's mean head, which saw no photo, stands beside it, and so does a linear
head model that is fitted to MediaPipe's landmarks.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from protome.benchmark.captures import CasualCapture, TruePhoto, read_captures
from protome.benchmark.kept import kept_results
from protome.benchmark.page import markdown
from protome.capture.cameras import camera_from_landmarks
from protome.capture.landmarks import detect, largest_face
from protome.capture.photo import load_photo
from protome.errors import InputError
from protome.evaluate.h3ds import read_scene
from protome.evaluate.metrics import FACE_RADIUS_MM, piece_at
from protome.face import LANDMARK_NAMES
from protome.geometry.align import Surface, align_landmarks, icp
from protome.geometry.mesh import Mesh
from protome.geometry.sampling import sample_surface
from protome.landmarks import load_face_landmarks
from protome.morphable.fit import Sighting, fit_landmarks
from protome.morphable.loader import BUILT_IN, load_model
from protome.pipeline import mean_head, reconstruct
from protome.prior.prior import Prior
from protome.units import UNIT_MM
from protome.util.engines import Engine, Processes
from protome.util.files import check_output_folder, write_atomically

OURS, MEAN = "protome", "mean head"
SAMPLES = 4000
"""Points of each true face."""
PEOPLE = 20


@dataclass(frozen=True)
class Face:
    """The true face of a person."""

    points: Float[np.ndarray, "n 3"]
    """Uniform samples, millimetres."""
    landmarks: Float[np.ndarray, "6 3"]

    @staticmethod
    def read(folder: Path) -> Face:
        """Read the truth of a capture: what lies within 95 mm of the tip of the nose and is connected to it."""
        truth = read_scene(folder).head
        landmarks = truth.points(LANDMARK_NAMES, "--landmarks")
        kept = truth.mesh.faces[piece_at(truth.mesh, landmarks[2])]
        samples = sample_surface(Mesh(truth.mesh.vertices, kept), 6 * SAMPLES, 0).points
        near = samples[np.linalg.norm(samples - landmarks[2], axis=1) < FACE_RADIUS_MM]
        return Face(near[:SAMPLES], landmarks)


@dataclass(frozen=True)
class Likeness:
    """Distances of one person's heads to the true faces of all people."""

    person: str
    distances: dict[str, list[float]]
    """By the way the head was made, in the order of the people: means in millimetres, the size free; NaN where there is
    no head."""
    reason: str = ""
    """Why there is no head."""


def likeness(
    capture: CasualCapture, others: Sequence[CasualCapture], models: Sequence[str], preset: str, out: Path
) -> Likeness:
    """Reconstruct the head in a capture's first photo that shows the face, and compare it with all people's faces."""
    path = capture.folder / _shown(capture).file
    faces = [Face.read(own.folder) for own in others]
    try:
        head = reconstruct([path], preset=preset, quiet=True)
        head.mesh_world.save(out / f"{capture.person}_{preset}.ply")
        own = np.stack([head.landmarks[name] for name in LANDMARK_NAMES])
        found = {OURS: distances_to(head.mesh_world, own, faces)}
        found |= {name: distances_to(_by_landmarks(path, name), _mean_landmarks(), faces) for name in models}
        return Likeness(capture.person, found)
    except InputError as error:
        return Likeness(capture.person, {name: [float("nan")] * len(others) for name in (OURS, *models)}, str(error))


def _shown(capture: CasualCapture) -> TruePhoto:
    return next(photo for photo in capture.photos if photo.shows_face)


def distances_to(mesh: Mesh, landmarks: Float[np.ndarray, "6 3"], faces: Sequence[Face]) -> list[float]:
    """Return the mean distance from each true face to a mesh, after an alignment with scale, in the face's unit."""
    surface, distances = Surface(mesh), []
    for face in faces:
        start = align_landmarks(face.landmarks, landmarks, "similarity").target_from_source
        mesh_from_face = icp(face.points, surface, dof="similarity", start=start).target_from_source
        away = surface.closest(mesh_from_face.apply_numpy(face.points)).distances
        distances.append(float(away.mean()) / float(mesh_from_face.scale))
    return distances


def _mean_landmarks() -> Float[np.ndarray, "6 3"]:
    return Prior.load().landmarks.double().numpy() * UNIT_MM


def _by_landmarks(path: Path, name: str) -> Mesh:
    """Return a head model fitted to MediaPipe's landmarks in a photo."""
    photo = load_photo(path)
    landmarks = largest_face(detect([photo.image])[0], photo.shown)
    height, width = photo.image.shape[:2]
    camera = camera_from_landmarks(landmarks, width, height, photo.focal_px, load_face_landmarks(), photo.shown)
    fitted = fit_landmarks(load_model(name), [Sighting(landmarks, camera, photo.focal_px is not None, photo.shown)])
    head = fitted.head(0)
    return Mesh(head.vertices.double().numpy(), fitted.model.faces.numpy())


def benchmark_identity(
    captures: Path, out: Path, *, people: int = PEOPLE, models: Sequence[str] = (), preset: str = "standard",
    engine: Engine | None = None, quiet: bool = False,
) -> None:  # fmt: skip
    """Compare heads from one photo with the faces of all people, print the page and write identity.md.

    `models` are further head models to fit to the landmarks, named as `protome.morphable.loader.load_model` does.
    Results are kept in `out`, so that a stopped run continues.

    Raises:
        InputError: there are fewer than two people in the captures, or the folder cannot be written.
    """
    check_output_folder(out)
    chosen: dict[str, CasualCapture] = {}
    for capture in read_captures(captures):
        if len(chosen) < people and any(photo.shows_face for photo in capture.photos):
            chosen.setdefault(capture.person, capture)
    if len(chosen) < 2:
        raise InputError(f"{captures} shows one person: identity needs captures of two or more")
    group, names = list(chosen.values()), (BUILT_IN, *models)
    compared = hashlib.sha256(json.dumps([list(chosen), names]).encode()).hexdigest()[:8]
    todo = [(own, group, names, preset, out) for own in group]
    label = f"likeness_{preset}_{compared}"
    found = kept_results(Likeness, label, likeness, todo, out, engine or Processes(), quiet)
    nobody = distances_to(mean_head(), _mean_landmarks(), [Face.read(own.folder) for own in group])
    text = identity_page(list(found.values()), nobody, preset)
    write_atomically(out / "identity.md", lambda part: part.write_text(text, encoding="utf-8"))
    print(text)


@dataclass(frozen=True)
class Recognition:
    """How well a way of making heads tells people apart."""

    face_mm: float
    """Mean error on the own face."""
    ratio: float
    """The same over the mean head's (ratio of means)."""
    worse: int
    """People on whom the mean head is nearer."""
    pairs: float
    """Per cent of ordered pairs of people in which the head is nearer to its own person than to the other."""
    first: float
    """Per cent of heads to which no other person is nearer."""
    heads: int
    """People of whom there is a head."""


def recognition(distances: Float[np.ndarray, "p p"], mean: Float[np.ndarray, "p"]) -> Recognition:
    """Return how well heads tell people apart: distances of each head (row) to each true face (column)."""
    there = np.isfinite(distances).all(1)
    rows, own = distances[there], np.diag(distances)[there]
    other = ~np.eye(len(distances), dtype=bool)[there]
    nearer = own[:, None] < rows
    return Recognition(
        float(own.mean()), float(own.mean() / mean[there].mean()), int((own >= mean[there]).sum()),
        100 * float(nearer[other].mean()), 100 * float((nearer | ~other).all(1).mean()), int(there.sum()),
    )  # fmt: skip


def _model_label(name: str) -> str:
    """Return a head model's name without where its files are."""
    return f"{name.partition(':')[0]} head model, landmarks"


def identity_page(found: Sequence[Likeness], nobody: Sequence[float], preset: str) -> str:
    """Return the page; `nobody` are the mean head's distances to all faces."""
    mean, count = np.array(nobody), len(found)
    ways = {MEAN: np.tile(mean, (count, 1))}
    for name in found[0].distances:
        ways[name] = np.array([own.distances[name] for own in found])
    rows = []
    for name, distances in ways.items():
        own = recognition(distances, mean)
        rows.append(
            [
                name if name in (OURS, MEAN) else _model_label(name), str(own.heads), f"{own.face_mm:.2f}",
                f"{own.ratio:.2f}", str(own.worse) if name != MEAN else "", f"{own.pairs:.1f} %", f"{own.first:.0f} %",
            ]
        )  # fmt: skip
    between = statistics.fmean(mean)
    header = ["head", "heads", "own face, mm", "of the mean head's", "worse than it", "nearer to own face", "first"]
    parts = [
        "# Benchmark of identity",
        f"Written by `protome benchmark identity` ({count} held-out people, preset {preset}).",
        "One casual photo of each person, without its camera. Distances run from the true face (95 mm around the tip "
        "of the nose, without hair and lashes, which are pieces of their own) to the head after an alignment with "
        "scale. Nearer to own face: share of ordered pairs of people in which the head is nearer to its own person's "
        "face than to the other's; the mean head, which saw nobody, has 50 %. First: share of heads to which no other "
        f"of the {count} faces is nearer; chance is {100 / count:.0f} %. The mean head's error is {between:.2f} mm.",
        markdown(header, rows),
    ]
    refused = [f"- {own.person}: {own.reason}" for own in found if own.reason]
    if refused:
        parts += ["## Refused", "\n".join(refused)]
    return "\n\n".join(parts) + "\n"
