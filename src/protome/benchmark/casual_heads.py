"""Heads of casual captures against the truth, and which photos of another person are recognised."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from protome.benchmark.captures import CasualCapture
from protome.benchmark.placing import missing, place
from protome.errors import InputError
from protome.evaluate.h3ds import H3dsScene, read_scene
from protome.evaluate.metrics import Comparison, compare, piece_at
from protome.face import LANDMARK_NAMES
from protome.geometry.align import Dof, align_landmarks
from protome.geometry.mesh import Mesh
from protome.pipeline import Head, mean_head, reconstruct
from protome.prior.prior import Prior
from protome.units import UNIT_MM

SAMPLES = 12_000


@dataclass(frozen=True)
class CasualHead:
    """Errors of one head; truth to prediction, point to surface, millimetres. NaN where there is no head."""

    reason: str
    """Why there is no head; empty where there is one."""
    face_mm: float
    """Mean over the face, rigid: an error of size counts."""
    face_free_mm: float
    """The same with the size free."""
    head_free_mm: float
    size_percent: float
    """Signed error of the size, of the face."""
    mean_face_mm: float
    """The prior's mean head on the same face, its size free."""
    focal_percent: float
    """Median error of the focal lengths of the photos used."""
    photos: int
    """Number of photos used."""
    seconds: float


@dataclass(frozen=True)
class Recognition:
    """Which photos of a capture with a wrong person were kept."""

    photos: int
    recognised: bool
    """Whether the wrong person's photo was left out or refused."""
    right_refused: int
    """How many photos of the right person were."""
    reason: str


def measure_head(capture: CasualCapture, posed: bool, preset: str, out: Path) -> CasualHead:
    """Reconstruct a capture without its cameras, or with them, write the mesh beside the numbers and measure it."""
    truth = read_scene(capture.folder)
    baseline = score(*_mean_head(), truth)
    began = time.perf_counter()
    nothing = float("nan")
    try:
        if posed:
            head = reconstruct([capture.folder], preset=preset, units="mm", quiet=True)
        else:
            head = reconstruct(capture.paths, preset=preset, quiet=True)
    except InputError as error:
        seconds = time.perf_counter() - began
        return CasualHead(str(error), nothing, nothing, nothing, nothing, baseline.free, nothing, 0, seconds)
    seconds = time.perf_counter() - began
    head.mesh_world.save(out / f"{capture.name}_{'known' if posed else 'casual'}_{preset}.ply")
    found = score(head.mesh_world, head.landmarks, truth)
    return CasualHead(
        "", found.rigid, found.free, found.head_free, found.size_percent, baseline.free, _focal(capture, head),
        len(head.scene.views), seconds,
    )  # fmt: skip


@dataclass(frozen=True)
class Score:
    """Errors of a mesh: mean distances in millimetres, and its size."""

    rigid: float
    free: float
    head_free: float
    size_percent: float


def score(mesh: Mesh, landmarks: dict[str, np.ndarray], truth: H3dsScene) -> Score:
    """Measure a mesh in millimetres against the truth, rigidly and with its size free, started at six landmarks.

    The face is what is connected to the tip of the nose: hair that hangs before the cheeks counts for the head alone.
    """
    wanted = truth.head.points(LANDMARK_NAMES, "--landmarks")
    given = np.stack([landmarks[name] for name in LANDMARK_NAMES])
    whole = truth.head.mesh
    skin = Mesh(whole.vertices, whole.faces[piece_at(whole, wanted[2])])

    def compared(against: Mesh, dof: Dof) -> Comparison:
        start = align_landmarks(given, wanted, dof).target_from_source
        return compare(mesh, against, nose_tip=wanted[2], dof=dof, start=start, samples=SAMPLES)

    free = compared(skin, "similarity").face
    return Score(
        compared(skin, "rigid").face.to_prediction.mean, free.to_prediction.mean,
        compared(whole, "similarity").head.to_prediction.mean,
        100 * (1 / float(free.truth_from_prediction.scale) - 1),
    )  # fmt: skip


@lru_cache(maxsize=1)
def _mean_head() -> tuple[Mesh, dict[str, np.ndarray]]:
    """Return the prior's mean head and its landmarks, millimetres."""
    marks = Prior.load().landmarks.double().numpy() * UNIT_MM
    return mean_head(), dict(zip(LANDMARK_NAMES, marks, strict=True))


def _focal(capture: CasualCapture, head: Head) -> float:
    """Return the median error of the focal lengths after the fit, per cent."""
    by_name = {photo.file: photo for photo in capture.photos}
    errors = []
    for number, view in enumerate(head.scene.views):
        true = by_name[view.name].camera
        errors.append(abs(head.camera(number).focal * true.width / view.camera.width / true.focal - 1))
    return 100 * float(np.median(errors))


def measure_wrong(capture: CasualCapture) -> Recognition:
    """Place the photos of a capture with a wrong person and see which were kept."""
    scene, reason, _ = place(capture.paths)
    left = missing(capture, scene, reason)
    wrong = {photo.file for photo in capture.photos if photo.wrong}
    right = {photo.file for photo in capture.photos if not photo.wrong and photo.shows_face}
    return Recognition(len(capture.photos), wrong <= left, len(right & left), reason)
