"""The protocol of the H3DS heads, with the numbers of the dataset's own toolkit (package h3ds 0.4.0).

It makes results comparable with published ones. Its limits: distances end at the nearest *vertex*, so a denser
prediction scores better; the alignment scales, so an error of scale is hidden; and it may mirror.
`protome.evaluate.metrics.compare` is the stricter measure.

Source: the public toolkit of Ramon et al. (2021) and Caselles et al. (2023), reimplemented from a description.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from protome.errors import InputError
from protome.evaluate.landmarks import MarkedMesh
from protome.evaluate.metrics import FACE_RADIUS_MM, Spread
from protome.face import LANDMARK_NAMES
from protome.geometry.neighbours import tree_of
from protome.geometry.transforms import Similarity
from protome.scenes.h3ds import LANDMARKS, MESH, REGIONS

ICP_STEPS = 20
ICP_GAIN = 1e-5
"""The alignment ends when the mean squared distance decreases by less than this, mm^2."""

SPHERE, WIDE_FACE = "face_sphere", "face"
"""Regions of a scene: 95 mm around the nose tip, over which the face is scored; and face, ears and neck, to which the
whole head is aligned."""


@dataclass(frozen=True)
class H3dsScene:
    """A scan of H3DS."""

    head: MarkedMesh
    regions: dict[str, Int[np.ndarray, "k"]]
    """Vertices of the named parts; `face_sphere` is always there."""


@dataclass(frozen=True)
class H3dsScore:
    """The distances of one region, under the alignment found for it; millimetres."""

    to_prediction: Spread
    """From the truth's vertices in the region; its mean is the number that H3DS tables show."""
    to_truth: Spread
    """From all vertices of the prediction to the region's: large for the face, because the rest of the head counts."""
    distances: Float[np.ndarray, "n"]
    """Of the region's vertices."""
    vertices: Int[np.ndarray, "n"]
    T_truth_prediction: Float[np.ndarray, "4 4"]
    """The alignment; it may scale and mirror."""
    aligned_with: str
    """The region that was aligned."""


def read_scene(path: Path, landmarks: Path | None = None) -> H3dsScene:
    """Read a scan: a folder of H3DS (full_head.obj, landmarks.txt, regions/), or a mesh file with landmarks.

    Without a file of its own, the region `face_sphere` is computed from the landmark nose_tip.

    Raises:
        InputError: a file is missing or broken, or the nose tip is not known.
    """
    if not path.is_dir():
        head = MarkedMesh.load(path, landmarks)
        return H3dsScene(head, {SPHERE: _sphere(head)})
    own = path / LANDMARKS
    head = MarkedMesh.load(path / MESH, landmarks or (own if own.is_file() else None))
    files = sorted((path / REGIONS).glob("*.txt"))
    regions = {file.stem: _read_region(file, len(head.mesh.vertices)) for file in files}
    return H3dsScene(head, regions if SPHERE in regions else {**regions, SPHERE: _sphere(head)})


def evaluate_h3ds(prediction: MarkedMesh, scene: H3dsScene) -> dict[str, H3dsScore]:
    """Return the scores of `face` (the sphere at the nose tip), `full_head`, and of the scene's nose if it has one.

    Landmarks of the prediction are optional: without them it has to lie near the truth.

    Raises:
        InputError: the prediction has some landmarks but not all six, or a region is too small to align with.
    """
    truth = scene.head.mesh.vertices
    truth_from_prediction = Similarity.identity(torch.float64)
    if prediction.landmarks:
        wanted = scene.head.points(LANDMARK_NAMES, "--landmarks")
        truth_from_prediction = _similarity(prediction.points(LANDMARK_NAMES, "--pred-landmarks"), wanted, mirror=False)
    points = truth_from_prediction.apply_numpy(prediction.mesh.vertices)
    scores = {"face": _score(points, truth, scene, SPHERE, truth_from_prediction)}
    scores["full_head"] = _score(points, truth, scene, None, truth_from_prediction)
    if "nose" in scene.regions:
        scores["nose"] = _score(points, truth, scene, "nose", truth_from_prediction)
    return scores


def _score(
    prediction: Float[np.ndarray, "p 3"],
    truth: Float[np.ndarray, "v 3"],
    scene: H3dsScene,
    region: str | None,
    truth_from_prediction: Similarity,
) -> H3dsScore:
    """Align to a region, or for the whole head to the wide face, and measure there."""
    aligned_with = region or (WIDE_FACE if WIDE_FACE in scene.regions else SPHERE)
    source = scene.regions[aligned_with]
    if len(source) < 3:
        raise InputError(
            f"{scene.head.path} has {len(source)} vertices in the region {aligned_with}: "
            "check that scan and landmarks are in millimetres and in one frame"
        )
    refined = _icp(truth[source], prediction).inverse()
    moved = refined.apply_numpy(prediction)
    vertices = np.arange(len(truth)) if region is None else source
    distances = tree_of(moved).query(truth[vertices])[0]
    back = tree_of(truth[vertices]).query(moved)[0]
    T_truth_prediction = refined.compose(truth_from_prediction).matrix().numpy()
    return H3dsScore(Spread.of(distances), Spread.of(back), distances, vertices, T_truth_prediction, aligned_with)


def _icp(points: Float[np.ndarray, "n 3"], targets: Float[np.ndarray, "p 3"]) -> Similarity:
    """Return the ICP alignment of points to target points, as trimesh computes it by default."""
    tree = tree_of(targets)
    total, before = Similarity.identity(torch.float64), np.inf
    for _ in range(ICP_STEPS):
        nearest = targets[tree.query(points)[1]]
        step = _similarity(points, nearest, mirror=True)
        points, total = step.apply_numpy(points), step.compose(total)
        cost = float(((points - nearest) ** 2).sum(1).mean())
        if before - cost < ICP_GAIN:
            break
        before = cost
    return total


def _similarity(source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], *, mirror: bool) -> Similarity:
    """Return the map between corresponding points; its scale is the ratio of the two root mean square radii.

    With `mirror` its rotation may be a reflection, where that fits better.

    The least-squares scale is smaller whenever the points do not fit exactly, so
    `protome.geometry.transforms.procrustes` would give other numbers.
    """
    a, b = source - source.mean(0), target - target.mean(0)
    u, _, vt = np.linalg.svd(b.T @ a)
    turn = u @ vt
    if np.linalg.det(turn) < 0 and not mirror:
        turn = (u * [1.0, 1.0, -1.0]) @ vt
    scale = np.sqrt((b**2).sum() / max(float((a**2).sum()), 1e-300))
    shift = target.mean(0) - scale * turn @ source.mean(0)
    return Similarity(torch.from_numpy(turn), torch.from_numpy(shift), torch.tensor(scale, dtype=torch.float64))


def _sphere(head: MarkedMesh) -> Int[np.ndarray, "k"]:
    (tip,) = head.points(("nose_tip",), "--landmarks")
    return np.flatnonzero(np.linalg.norm(head.mesh.vertices - tip, axis=1) <= FACE_RADIUS_MM)


def _read_region(path: Path, count: int) -> Int[np.ndarray, "k"]:
    try:
        vertices = np.array([int(line) for line in path.read_text().split()], np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path} is not a region: give the number of a vertex on each line") from error
    if len(vertices) and (vertices.min() < 0 or vertices.max() >= count):
        raise InputError(f"{path} names vertices that the scan does not have: give the regions of this scan")
    return vertices
