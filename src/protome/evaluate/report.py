"""`protome evaluate`: the error of a prediction by one of the protocols, as a table, a JSON file and pictures."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from protome.errors import InputError, ProtomeWarning
from protome.evaluate.evaluation_report import write_evaluation_report
from protome.evaluate.figures import check_curve, check_heatmap, save_curve, save_heatmap
from protome.evaluate.h3ds import evaluate_h3ds, read_scene
from protome.evaluate.landmarks import MM_PER, Landmarks, MarkedMesh, read_landmarks
from protome.evaluate.metrics import FACE_RADIUS_MM, Spread, compare, surface_distances
from protome.evaluate.now import Curve, evaluate_images, evaluate_now, list_images
from protome.geometry.align import Dof, align_landmarks
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.util.files import check_output_file, write_atomically

Protocol = Literal["surface", "h3ds", "now"]
TABLE_WIDTH = 100


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    unit: Literal["mm", "deg"]
    spread: Spread


@dataclass(frozen=True)
class Measured:
    """The result of a protocol."""

    rows: tuple[Row, ...]
    facts: dict[str, Any]
    """Further values of the JSON file."""
    truth: MarkedMesh | None = None
    """The scan, where there is only one."""
    distances: Float[np.ndarray, "v"] | None = None
    """Of the scan's vertices, mm; NaN where not measured."""
    curve: Curve | None = None


def report_evaluation(
    prediction: Path,
    truth: Path,
    *,
    protocol: Protocol = "surface",
    landmarks: Path | None = None,
    pred_landmarks: Path | None = None,
    units: str | None = None,
    dof: Dof | None = None,
    radius: float | None = None,
    out: Path | None = None,
    heatmap: Path | None = None,
    curve: Path | None = None,
    report: Path | None = None,
    quiet: bool = False,
) -> None:
    """Measure a prediction, print the table and write the requested files.

    `units` is the prediction's; the truth is in millimetres, or in metres as a GLB. `dof` and `radius` default to
    the protocol's own.

    Raises:
        InputError: the input is not what the protocol needs, or a file cannot be written.
    """
    _check_options(protocol, dof, radius)
    _check_outputs(protocol, out, heatmap, curve, report)
    if heatmap is not None and prediction.is_dir():
        raise InputError("a heat map shows one scan: give a mesh and its scan instead of two folders")
    found = evaluate(
        prediction,
        truth,
        protocol=protocol,
        landmarks=landmarks,
        pred_landmarks=pred_landmarks,
        units=units,
        dof=dof,
        radius=radius,
        quiet=quiet,
    )
    console = Console(width=TABLE_WIDTH)
    with console.capture() as shown:  # Rich itself would end the program with code 1 where nobody reads what it prints
        console.print(_table(found.rows))
    print(shown.get(), end="")
    files = {"prediction": str(prediction), "truth": str(truth)}
    if out is not None:
        rows = [{"name": row.name, "unit": row.unit, **asdict(row.spread)} for row in found.rows]
        facts = {"protocol": protocol, **files, "rows": rows, **found.facts}
        text = json.dumps(without_nan(facts), indent=1, allow_nan=False)
        write_atomically(out, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    if heatmap is not None and found.truth is not None and found.distances is not None:
        save_heatmap(heatmap, found.truth.mesh, found.distances, found.truth.landmarks)
    if curve is not None and found.curve is not None:
        save_curve(curve, {prediction.stem: found.curve})
    if report is not None:
        facts = {"protocol": protocol, **files, **found.facts}
        write_evaluation_report(report, [_cells(row) for row in found.rows], facts, found.truth, found.distances)


def evaluate(
    prediction: str | Path | Mesh,
    truth: str | Path | Mesh,
    *,
    protocol: Protocol = "surface",
    landmarks: str | Path | Landmarks | None = None,
    pred_landmarks: str | Path | Landmarks | None = None,
    units: str | None = None,
    dof: Dof | None = None,
    radius: float | None = None,
    quiet: bool = True,
) -> Measured:
    """Measure how far a predicted head is from a scan, and return the distances in millimetres.

    `evaluate(head.mesh_world, "scan.obj", landmarks="scan.txt", pred_landmarks=head.landmarks)` measures a
    reconstruction.

    Args:
        prediction: A mesh file or a mesh; for `now` also a folder of predictions in NoW's layout.
        truth: The scan, likewise; for `surface` and `h3ds` also a folder of H3DS, for `now` the folder of its data.
        protocol: `surface` (rigid alignment, point to surface), or `h3ds` or `now`, as those benchmarks measure.
        landmarks: The scan's landmarks by name: a file in the scan's unit, or points in millimetres. A folder of H3DS
            holds its own.
        pred_landmarks: The prediction's landmarks, likewise; without them it is taken to lie near the scan.
        units: The prediction's unit of length: mm, cm or m. If left out, m for a GLB file and mm otherwise. The
            scan is in mm, or in m as a GLB file.
        dof: What the alignment may change, `rigid` or `similarity`; if left out, the protocol's own.
        radius: Of the face in millimetres; if left out, the protocol's own.
        quiet: Show no progress over the images of a folder.

    Raises:
        InputError: the input is not what the protocol needs.
    """
    _check_options(protocol, dof, radius)
    head, scan = (Path(given) if isinstance(given, str) else given for given in (prediction, truth))
    for path in (head, scan):
        if isinstance(path, Path) and not path.exists():
            raise InputError(f"{path} does not exist: give a mesh file, or a folder where the protocol has one")
    if protocol == "now" and isinstance(head, Path) and head.is_dir():
        if landmarks is not None or pred_landmarks is not None:
            raise InputError("the folders of NoW hold their own landmarks: leave --landmarks and --pred-landmarks out")
        if isinstance(scan, Mesh):
            raise InputError(f"the predictions in {head} are measured with the folder of the NoW data: give its path")
        return measure_now_folders(head, scan, units=units, dof=dof, radius=radius, quiet=quiet)
    predicted = _marked(head, pred_landmarks, units, Path("the prediction"))
    if protocol == "h3ds":
        if isinstance(scan, Mesh) or isinstance(landmarks, dict):
            raise InputError("the protocol h3ds reads the scan and its landmarks from files: give their paths")
        return measure_h3ds(predicted, scan, None if landmarks is None else Path(landmarks))
    if protocol == "surface" and isinstance(scan, Path) and scan.is_dir() and not isinstance(landmarks, dict):
        true = read_scene(scan, None if landmarks is None else Path(landmarks)).head
    else:
        true = _marked(scan, landmarks, None, Path("the scan"))
    if protocol == "surface":
        return measure_surface(predicted, true, dof=dof or "rigid", radius=radius)
    return measure_now(predicted, true, dof=dof, radius=radius)


def _marked(given: Path | Mesh, landmarks: str | Path | Landmarks | None, units: str | None, name: Path) -> MarkedMesh:
    """Return a mesh, or the mesh of a file, in millimetres with its landmarks; `name` stands for a mesh in messages."""
    points = landmarks if isinstance(landmarks, dict) else {}
    file = None if landmarks is None or isinstance(landmarks, dict) else Path(landmarks)
    if isinstance(given, Path):
        head = MarkedMesh.load(given, file, units)
    else:
        factor = MM_PER[units or "mm"]
        found = {} if file is None else read_landmarks(file, given)
        head = MarkedMesh(given.scaled(factor), {key: factor * point for key, point in found.items()}, name)
    return replace(head, landmarks=points) if points else head


def start_pose(prediction: MarkedMesh, truth: MarkedMesh, dof: Dof) -> Similarity | None:
    """Return truth from prediction by the common landmarks; None if one of the two has no landmarks.

    Raises:
        InputError: both have landmarks but share fewer than three, or lengths differ as if units were confused.
    """
    start = None
    if prediction.landmarks and truth.landmarks:
        names = [name for name in prediction.landmarks if name in truth.landmarks]
        if len(names) < 3:
            raise InputError(
                f"{prediction.path} and {truth.path} share {len(names)} landmarks: give three or more of the same name"
            )
        own, wanted = prediction.points(names, "--pred-landmarks"), truth.points(names, "--landmarks")
        start = align_landmarks(own, wanted, dof).target_from_source
    if dof == "rigid" or start is None:
        sizes = [float(np.linalg.norm(np.ptp(head.mesh.vertices, axis=0))) for head in (prediction, truth)]
        if not 0.1 < sizes[0] / max(sizes[1], 1e-300) < 10.0:
            raise InputError(
                f"{prediction.path} is {sizes[0]:.3g} mm long and {truth.path} {sizes[1]:.3g} mm: "
                "give the prediction's unit of length with --units"
            )
    return start


def measure_surface(
    prediction: MarkedMesh,
    truth: MarkedMesh,
    *,
    dof: Dof = "rigid",
    radius: float | None = None,
    samples: int = 30_000,
) -> Measured:
    """Return this package's own measure: rigid, point to surface, over the face and over the whole head.

    Raises:
        InputError: the truth's nose tip is not known, or there is no start for the alignment.
    """
    (nose_tip,) = truth.points(("nose_tip",), "--landmarks")
    start = start_pose(prediction, truth, dof)
    reach = FACE_RADIUS_MM if radius is None else radius
    found = compare(
        prediction.mesh, truth.mesh, nose_tip=nose_tip, dof=dof, start=start, face_radius=reach, samples=samples
    )
    rows = (
        Row("face, truth to prediction", "mm", found.face.to_prediction),
        Row("face, prediction to truth", "mm", found.face.to_truth),
        Row("face, normals", "deg", found.face_normals),
        Row("head, truth to prediction", "mm", found.head.to_prediction),
        Row("head, prediction to truth", "mm", found.head.to_truth),
    )
    poses = {"face": found.face.truth_from_prediction, "head": found.head.truth_from_prediction}
    facts = {
        "dof": dof,
        "face_radius_mm": reach,
        "start": "as given" if start is None else "landmarks",
        "T_truth_prediction": {name: pose.matrix().tolist() for name, pose in poses.items()},
        "scale": {name: float(pose.scale) for name, pose in poses.items()},
    }
    distances = surface_distances(truth.mesh.vertices, prediction.mesh.transformed(poses["head"]))
    return Measured(rows, facts, truth, distances)


def measure_h3ds(prediction: MarkedMesh, truth: Path, landmarks: Path | None = None) -> Measured:
    """Return the numbers of the H3DS toolkit; the heat map is that of the whole head.

    Raises:
        InputError: landmarks or regions are missing or broken.
    """
    scene = read_scene(truth, landmarks)
    scores = evaluate_h3ds(prediction, scene)
    rows = [
        Row(f"{name.replace('_', ' ')}, {way}", "mm", spread)
        for name, score in scores.items()
        for way, spread in (("truth to prediction", score.to_prediction), ("prediction to truth", score.to_truth))
    ]
    matrices = {name: score.T_truth_prediction for name, score in scores.items()}
    facts = {
        "start": "landmarks" if prediction.landmarks else "as given",
        "aligned_with": {name: score.aligned_with for name, score in scores.items()},
        "T_truth_prediction": {name: matrix.tolist() for name, matrix in matrices.items()},
        "scale": {name: float(np.cbrt(abs(np.linalg.det(matrix[:3, :3])))) for name, matrix in matrices.items()},
        "mirrored": {name: bool(np.linalg.det(matrix[:3, :3]) < 0) for name, matrix in matrices.items()},
    }
    return Measured(tuple(rows), facts, scene.head, scores["full_head"].distances)


def measure_now(
    prediction: MarkedMesh, scan: MarkedMesh, *, dof: Dof | None = None, radius: float | None = None
) -> Measured:
    """Return the numbers of NoW for one prediction.

    Raises:
        InputError: a landmark is missing, or the crop is empty.
    """
    score = evaluate_now(prediction, scan, dof=dof or "similarity", radius=radius)
    distances = np.full(len(scan.mesh.vertices), np.nan)
    distances[score.vertices] = score.distances
    curve = Curve.of(score.distances)
    facts = {
        "dof": dof or "similarity",
        "crop": {"centre_mm": score.crop.centre.tolist(), "radius_mm": score.crop.radius},
        "covered_radius_mm": score.covered_radius,
        "T_truth_prediction": score.scan_from_prediction.matrix().tolist(),
        "scale": float(score.scan_from_prediction.scale),
        "curve": _curve_facts(curve),
    }
    return Measured((Row("scan to prediction", "mm", Spread.of(score.distances)),), facts, scan, distances, curve)


def measure_now_folders(
    predictions: Path,
    dataset: Path,
    *,
    units: str | None = None,
    dof: Dof | None = None,
    radius: float | None = None,
    quiet: bool = False,
) -> Measured:
    """Return the numbers of NoW pooled over the images of two folders in its layout, and those of each challenge.

    Raises:
        InputError: files are missing or broken, or no image was predicted.
    """
    folder = list_images(predictions, dataset)
    if folder.missing:
        warnings.warn(
            f"{len(folder.missing)} of {len(folder.missing) + len(folder.images)} images have no prediction or no "
            f"landmarks in {predictions}, the first is {folder.missing[0]}: the numbers do not compare with others",
            ProtomeWarning,
            stacklevel=2,
        )
    scores = evaluate_images(folder.images, units=units, dof=dof or "similarity", radius=radius, quiet=quiet)
    pooled = np.concatenate([score.distances for score in scores])
    rows = [Row("all images", "mm", Spread.of(pooled))]
    for challenge in sorted({image.challenge for image in folder.images}):
        own = [
            score.distances
            for image, score in zip(folder.images, scores, strict=True)
            if image.challenge == challenge
        ]  # fmt: skip
        rows.append(Row(challenge, "mm", Spread.of(np.concatenate(own))))
    curve = Curve.of(pooled)
    facts = {
        "dof": dof or "similarity",
        "missing": list(folder.missing),
        "covered_radius_mm": min(score.covered_radius for score in scores),
        "curve": _curve_facts(curve),
        "images": [
            {
                "name": image.name,
                "crop_radius_mm": score.crop.radius,
                "covered_radius_mm": score.covered_radius,
                "scale": float(score.scan_from_prediction.scale),
                **asdict(Spread.of(score.distances)),
            }
            for image, score in zip(folder.images, scores, strict=True)
        ],
    }
    return Measured(tuple(rows), facts, curve=curve)


def without_nan(value: Any) -> Any:
    """Return a JSON value with null for every number that is not finite."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _curve_facts(curve: Curve) -> dict[str, list[float]]:
    return {"limit_mm": curve.limits.round(6).tolist(), "percent": curve.percent.tolist()}


def _check_options(protocol: Protocol, dof: Dof | None, radius: float | None) -> None:
    if protocol == "h3ds" and (dof is not None or radius is not None):
        raise InputError("the protocol h3ds fixes alignment and regions: leave --dof and --radius out")
    if radius is not None and not 0.0 < radius < math.inf:
        raise InputError(f"a radius of {radius:g} mm holds no face: give a positive number with --radius")


def _check_outputs(
    protocol: Protocol, out: Path | None, heatmap: Path | None, curve: Path | None, report: Path | None
) -> None:
    """Check before the work that its results can be written."""
    if curve is not None and protocol != "now":
        raise InputError(f"the protocol {protocol} has no cumulative curve: leave --curve out, or take --protocol now")
    if heatmap is not None:
        check_heatmap(heatmap)
    if curve is not None:
        check_curve(curve)
    for path in (out, heatmap, curve, report):
        if path is not None:
            check_output_file(path)


def _table(rows: tuple[Row, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("mean", "median", "90 %", "std", "points", "unit"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> tuple[str, ...]:
    """Return the texts of a row: its name, mean, median, 90 %, standard deviation, number of points and unit."""
    numbers = (row.spread.mean, row.spread.median, row.spread.p90, row.spread.std)
    shown = ("-" if math.isnan(number) else f"{number:.3f}" for number in numbers)
    return row.name, *shown, str(row.spread.count), row.unit
