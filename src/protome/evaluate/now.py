"""The protocol of the NoW challenge: the distance of a face's scan from a mesh predicted from one image.

Source: Sanyal et al. (2019) and the challenge's public evaluation, reimplemented from a description. Differences:
an alignment never mirrors, and the least squares are solved by this package's own ICP.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from protome.errors import InputError
from protome.evaluate.landmarks import NOW_NAMES, MarkedMesh
from protome.evaluate.metrics import OpenBorder, welded
from protome.geometry.align import Dof, Surface, align_landmarks, icp
from protome.geometry.transforms import Similarity
from protome.util.progress import progress
from protome.util.reading import reading

CURVE_LIMIT_MM = 8.0
CURVE_STEP_MM = 0.1
IMAGE_LISTS = ("imagepathsvalidation.txt", "imagepathstest.txt")

LONGEST_LINE = 200
"""Characters of a line of the list of images; those of the dataset have about 50."""
COARSE_VERTICES = 5000
"""Number of the scan's vertices in the first pass of the alignment; the second pass uses all."""


@dataclass(frozen=True)
class Crop:
    """The part of a scan that is measured: a ball."""

    centre: Float[np.ndarray, "3"]
    radius: float

    @staticmethod
    def of(scan: MarkedMesh, radius: float | None = None) -> Crop:
        """Return NoW's ball around the middle of the face, or one of another radius (mm) there, as in SIDER.

        Raises:
            InputError: the scan lacks one of the seven landmarks.
        """
        outer_right, right, left, outer_left, base = scan.points(NOW_NAMES, "--landmarks")[:5]
        bridge = (right + left) / 2
        size = np.linalg.norm(outer_right - outer_left) + np.linalg.norm(bridge - base)
        return Crop(base + 0.3 * (bridge - base), float(1.4 * size / 2) if radius is None else radius)


@dataclass(frozen=True)
class NowScore:
    """The distances of one scan's face to one prediction, in millimetres."""

    distances: Float[np.ndarray, "n"]
    """From the scan's vertices in the crop to the nearest points of the prediction's surface."""
    vertices: Int[np.ndarray, "n"]
    """Indices of these vertices of the scan."""
    crop: Crop
    covered_radius: float
    """Radius around the crop's centre within which the prediction has no rim; beyond it parts may be missing."""
    scan_from_prediction: Similarity


@dataclass(frozen=True)
class NowImage:
    """One image of the challenge: the files of its prediction and of its scan."""

    name: str
    """subject/challenge/image, as in the list of images, without a suffix."""
    mesh: Path
    landmarks: Path
    scan: Path
    scan_landmarks: Path

    @property
    def challenge(self) -> str:
        """Its kind: multiview_neutral, multiview_expressions, multiview_occlusions or selfie."""
        return self.name.split("/")[-2]


@dataclass(frozen=True)
class NowFolder:
    """The contents of a folder of predictions and of the dataset."""

    images: tuple[NowImage, ...]
    missing: tuple[str, ...]
    """Images of the list without a prediction or without its landmarks."""


@dataclass(frozen=True)
class Curve:
    """A cumulative distribution of distances."""

    limits: Float[np.ndarray, "n"]
    """Millimetres."""
    percent: Float[np.ndarray, "n"]
    """Share of the distances up to each length."""

    @staticmethod
    def of(distances: Float[np.ndarray, "k"]) -> Curve:
        """Return the cumulative curve from 0 to 8 mm."""
        limits = np.linspace(0.0, CURVE_LIMIT_MM, round(CURVE_LIMIT_MM / CURVE_STEP_MM) + 1)
        counts = np.searchsorted(np.sort(distances), limits, side="right")
        return Curve(limits, 100.0 * counts / max(len(distances), 1))


def evaluate_now(
    prediction: MarkedMesh, scan: MarkedMesh, *, dof: Dof = "similarity", radius: float | None = None
) -> NowScore:
    """Align a predicted face with a scan and return the distances of the scan's vertices; all in millimetres.

    The seven landmarks give the initial alignment; then rotation, translation and scale minimise the squared distances
    from the crop's vertices to the prediction's surface. "rigid" keeps the prediction's scale: the metrical challenge.
    With `radius` the crop is a ball of that radius around the same centre.

    Raises:
        InputError: a landmark is missing, or the scan has no vertices in the crop.
    """
    crop = Crop.of(scan, radius)
    offsets = np.linalg.norm(scan.mesh.vertices - crop.centre, axis=1)
    vertices = np.flatnonzero(offsets <= crop.radius)
    if len(vertices) < 3:
        raise InputError(
            f"{scan.path} has no vertices within {crop.radius:.4g} mm of the middle of its face: "
            "check that scan and landmarks are in millimetres and in one frame"
        )
    points = scan.mesh.vertices[vertices]
    own, wanted = prediction.points(NOW_NAMES, "--pred-landmarks"), scan.points(NOW_NAMES, "--landmarks")
    start = align_landmarks(own, wanted, dof).target_from_source.inverse()
    mesh = welded(prediction.mesh)
    surface = Surface(mesh)
    coarse = icp(points[:: max(1, len(points) // COARSE_VERTICES)], surface, dof=dof, start=start)
    prediction_from_scan = icp(points, surface, dof=dof, start=coarse.target_from_source).target_from_source
    foot = surface.closest(prediction_from_scan.apply_numpy(points))
    # The rim is located under the landmarks' alignment: ICP stretches a prediction over the parts that it lacks.
    reached = surface.closest(start.apply_numpy(points))
    outside = offsets[vertices][OpenBorder(mesh, rim_only=True).holds(reached)]
    scan_from_prediction = prediction_from_scan.inverse()
    return NowScore(
        foot.distances * float(scan_from_prediction.scale),
        vertices,
        crop,
        float(outside.min()) if len(outside) else crop.radius,
        scan_from_prediction,
    )


def list_images(predictions: Path, dataset: Path) -> NowFolder:
    """Find the files of two folders in NoW's layout.

    The dataset has a list of images (imagepathsvalidation.txt, else imagepathstest.txt), scans/SUBJECT/*.obj and
    scans_lmks_onlypp/SUBJECT/*.pp. The predictions are SUBJECT/CHALLENGE/IMAGE.obj or .ply, each with seven landmarks
    in IMAGE.npy or IMAGE.txt.

    Raises:
        InputError: the list or a scan is missing, or nothing was predicted.
    """
    lists = [dataset / name for name in IMAGE_LISTS if (dataset / name).is_file()]
    if not lists:
        raise InputError(f"{dataset} holds no list of images: put {IMAGE_LISTS[0]} of the NoW data into it")
    images, missing = [], []
    with reading(lists[0], "a list of images", f"copy {lists[0].name} of the NoW data there"):
        lines = lists[0].read_text(encoding="utf-8").splitlines()
    for line in lines:
        if not line.strip():
            continue
        parts = Path(line.strip()).with_suffix("").parts[-3:]
        if len(parts) < 3 or ".." in parts or Path(line.strip()).is_absolute() or len(line) > LONGEST_LINE:
            raise InputError(f"{lists[0]} lists {line}: write subject/challenge/image on each line")
        name, subject = "/".join(parts), parts[0]
        mesh = _first(predictions / f"{name}{suffix}" for suffix in (".obj", ".ply"))
        landmarks = _first(predictions / f"{name}{suffix}" for suffix in (".npy", ".txt"))
        if mesh is None or landmarks is None:
            missing.append(name)
            continue
        scan = _first(sorted((dataset / "scans" / subject).glob("*.obj")))
        scan_landmarks = _first(sorted((dataset / "scans_lmks_onlypp" / subject).glob("*.pp")))
        if scan is None or scan_landmarks is None:
            raise InputError(
                f"{dataset} lacks the scan of {subject} or its landmarks: "
                f"put them into scans/{subject} and scans_lmks_onlypp/{subject}"
            )
        images.append(NowImage(name, mesh, landmarks, scan, scan_landmarks))
    if not images:
        raise InputError(f"{predictions} holds no prediction for the images of {lists[0]}: see the layout of NoW")
    return NowFolder(tuple(images), tuple(missing))


def evaluate_images(
    images: Sequence[NowImage],
    *,
    units: str | None = None,
    dof: Dof = "similarity",
    radius: float | None = None,
    quiet: bool = False,
) -> list[NowScore]:
    """Return the score of each image, in order."""
    load_scan = lru_cache(maxsize=1)(MarkedMesh.load)  # the images of one subject follow each other
    scores = []
    with progress("measuring", len(images), quiet=quiet) as step:
        for image in images:
            prediction = MarkedMesh.load(image.mesh, image.landmarks, units)
            scan = load_scan(image.scan, image.scan_landmarks)
            scores.append(evaluate_now(prediction, scan, dof=dof, radius=radius))
            step(1, image.name)
    return scores


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
