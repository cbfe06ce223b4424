"""The NoW protocol on a body whose distances are known, and its folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from marked import body, marked, moved, now_rows, numbers, relief, similarity, write_obj, write_pp
from protome.errors import InputError
from protome.evaluate.landmarks import NOW_NAMES, MarkedMesh
from protome.evaluate.now import Crop, Curve, evaluate_images, evaluate_now, list_images
from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh

AWAY = similarity([0.4, 2.5, -0.3], [50.0, 400.0, -700.0], 0.012)


def rough(seed: int, noise: float = 1.0) -> MarkedMesh:
    """A prediction with bumps, its landmarks a little off as a detector's are."""
    random = np.random.default_rng(seed)
    mesh = relief(body(4), 1.5, 60.0)[0]
    head = marked(Mesh(mesh.vertices + random.normal(0, noise, mesh.vertices.shape), mesh.faces), body(4))
    places = {name: point + random.normal(0, 2.0, 3) for name, point in head.landmarks.items()}
    return MarkedMesh(head.mesh, places, head.path)


def test_the_crop_is_a_ball_whose_size_follows_the_face() -> None:
    points = {
        "right_eye_outer": [-45, 0, 0], "right_eye": [-15, 0, 10], "left_eye": [15, 0, 10],
        "left_eye_outer": [45, 0, 0],
        "nose_base": [0, -50, 10], "right_lips": [-25, -70, 0], "left_lips": [25, -70, 0],
    }  # fmt: skip
    scan = MarkedMesh(body(3), {name: np.array(point, float) for name, point in points.items()}, Path("scan.obj"))
    crop = Crop.of(scan)
    np.testing.assert_allclose(crop.centre, [0, -35, 10])
    assert crop.radius == pytest.approx(1.4 * (90 + 50) / 2)
    assert Crop.of(scan, 40.0).radius == 40.0


def test_the_crop_holds_the_scans_vertices() -> None:
    scan = marked(body(4))
    score = evaluate_now(scan, scan)
    inside = np.linalg.norm(scan.mesh.vertices - score.crop.centre, axis=1) <= score.crop.radius
    np.testing.assert_array_equal(score.vertices, np.flatnonzero(inside))
    assert 0.1 < inside.mean() < 0.6
    narrow = evaluate_now(scan, scan, radius=40.0)
    assert set(narrow.vertices) < set(score.vertices)
    assert np.linalg.norm(scan.mesh.vertices[narrow.vertices] - score.crop.centre, axis=1).max() <= 40.0


def test_a_known_similarity_is_undone() -> None:
    scan = marked(body(4))
    start = rough(0)
    prediction = moved(MarkedMesh(scan.mesh, start.landmarks, start.path), AWAY)
    score = evaluate_now(prediction, scan)
    assert score.distances.max() < 1e-3
    torch.testing.assert_close(score.scan_from_prediction.matrix(), AWAY.inverse().matrix(), rtol=1e-5, atol=1e-3)


def test_a_known_displacement_is_measured() -> None:
    smooth = marked(body(6))
    bumpy, displacement = relief(smooth.mesh, 0.4, 12.0)
    scan = MarkedMesh(bumpy, smooth.landmarks, Path("scan.obj"))
    score = evaluate_now(moved(smooth, AWAY), scan)
    expected = np.abs(displacement[score.vertices])
    assert score.distances.mean() == pytest.approx(expected.mean(), rel=0.02)
    assert np.median(score.distances) == pytest.approx(np.median(expected), rel=0.03)
    assert np.abs(score.distances - expected).mean() < 0.03


def test_the_alignment_is_the_least_squares_one_in_the_scans_unit() -> None:
    scan = marked(body(4))
    prediction = moved(rough(3), AWAY)
    score = evaluate_now(prediction, scan)
    points = scan.mesh.vertices[score.vertices]
    found = score.scan_from_prediction
    surface = Surface(prediction.mesh.transformed(found))

    def residual(change: np.ndarray) -> np.ndarray:
        scale = np.exp(change[6])
        # Moving the prediction is moving the points the other way, and counting lengths in the scan's unit.
        turned = Rotation.from_rotvec(change[:3]).inv().apply((points - points.mean(0) - change[3:6]) / scale)
        return surface.closest(turned + points.mean(0)).distances * scale

    assert np.square(residual(np.zeros(7))).sum() == pytest.approx(np.square(score.distances).sum(), rel=1e-9)
    best = np.square(score.distances).sum()
    for seed in range(2):
        start = np.random.default_rng(seed).normal(0, [0.02] * 3 + [1.5] * 3 + [0.01])
        other = least_squares(residual, start, x_scale=[0.01] * 3 + [1.0] * 3 + [0.01])
        assert best <= 2 * other.cost * (1 + 1e-3)


def test_only_the_metrical_challenge_sees_an_error_of_scale() -> None:
    scan = marked(body(4))
    small = moved(scan, similarity([0.1, 0.2, 0.0], [10.0, 20.0, 30.0], 0.9))
    assert evaluate_now(small, scan).distances.max() < 1e-3
    metrical = evaluate_now(small, scan, dof="rigid")
    assert float(metrical.scan_from_prediction.scale) == 1.0
    assert metrical.distances.mean() > 0.5


def test_the_extent_of_a_prediction_is_reported() -> None:
    scan = marked(body(5))
    whole = evaluate_now(scan, scan)
    assert whole.covered_radius == whole.crop.radius  # it is closed
    middle = scan.mesh.vertices[scan.mesh.faces].mean(1)
    away = np.linalg.norm(middle - whole.crop.centre, axis=1)
    hole = np.linalg.norm(middle - scan.landmarks["right_eye"], axis=1) < 8.0
    mask = Mesh(scan.mesh.vertices, scan.mesh.faces[away < 60.0])
    holed = Mesh(scan.mesh.vertices, scan.mesh.faces[(away < 60.0) & ~hole])
    # The mask's edge is jagged by the size of a triangle; the hole in it is no end.
    for mesh in (mask, holed):
        found = evaluate_now(MarkedMesh(mesh, scan.landmarks, scan.path), scan)
        assert found.covered_radius == pytest.approx(60.0, abs=3.0)
        assert found.distances.mean() > 0.5
    fair = evaluate_now(MarkedMesh(mask, scan.landmarks, scan.path), scan, radius=50.0)
    assert fair.covered_radius == 50.0
    assert fair.distances.max() < 1e-3


def test_the_curve_counts_distances() -> None:
    curve = Curve.of(np.array([0.0, 0.5, 0.5, 1.0, 3.0, 9.0, 10.0, 0.25]))
    assert (curve.limits[0], curve.limits[-1], len(curve.limits)) == (0.0, 8.0, 81)
    at = dict(zip(curve.limits.round(6).tolist(), curve.percent.tolist(), strict=True))
    assert at[0.0] == 12.5
    assert (at[0.2], at[0.3], at[0.5], at[1.0], at[2.9], at[8.0]) == (12.5, 25.0, 50.0, 62.5, 62.5, 75.0)


def write_dataset(folder: Path) -> tuple[Path, Path, dict[str, tuple[MarkedMesh, MarkedMesh]]]:
    """Write two subjects' scans, three images in a list, and predictions for all but a fourth, in NoW's layout."""
    data, predictions = folder / "now", folder / "predicted"
    pairs = {}
    for subject, scale in (("FaMoS_1", 1.0), ("FaMoS_2", 1.06)):
        scan = moved(marked(body(3)), similarity([0.0, 0.2, 0.0], [5.0, 6.0, 7.0], scale))
        write_obj(data / "scans" / subject / "natural.obj", scan.mesh, seams=True)
        write_pp(data / "scans_lmks_onlypp" / subject / "natural_picked_points.pp", now_rows(scan))
        for number, challenge in enumerate(("multiview_neutral", "selfie")):
            pairs[f"{subject}/{challenge}/IMG_{number}"] = (moved(rough(number), AWAY), scan)
    lost = "FaMoS_2/selfie/IMG_1"
    (data / "imagepathsvalidation.txt").write_text("".join(f"{name}.jpg\n" for name in pairs))
    del pairs[lost]
    for number, (name, (prediction, _)) in enumerate(pairs.items()):
        path = write_obj(predictions / f"{name}.obj", prediction.mesh)
        if number:
            np.save(path.with_suffix(".npy"), now_rows(prediction))
        else:
            path.with_suffix(".txt").write_text(
                "\n".join(" ".join(map(repr, row)) for row in now_rows(prediction).tolist())
            )
    return predictions, data, pairs


def test_folders_are_read_as_now_lays_them_out(tmp_path: Path) -> None:
    predictions, data, pairs = write_dataset(tmp_path)
    folder = list_images(predictions, data)
    assert [image.name for image in folder.images] == list(pairs)
    assert [image.challenge for image in folder.images] == ["multiview_neutral", "selfie", "multiview_neutral"]
    assert folder.missing == ("FaMoS_2/selfie/IMG_1",)
    scores = evaluate_images(folder.images, quiet=True)
    for score, (prediction, scan) in zip(scores, pairs.values(), strict=True):
        np.testing.assert_allclose(score.distances, evaluate_now(prediction, scan).distances, atol=1e-6)


def test_bad_folders_and_scans_are_explained(tmp_path: Path) -> None:
    predictions, data, _ = write_dataset(tmp_path)
    with pytest.raises(InputError, match=r"holds no prediction for the images of .*imagepathsvalidation.txt"):
        list_images(tmp_path / "nothing", data)
    with pytest.raises(InputError, match=r"holds no list of images: put imagepathsvalidation.txt"):
        list_images(predictions, predictions)
    next((data / "scans_lmks_onlypp" / "FaMoS_2").iterdir()).unlink()
    with pytest.raises(InputError, match=r"lacks the scan of FaMoS_2 or its landmarks: put them into scans/FaMoS_2"):
        list_images(predictions, data)
    (data / "imagepathsvalidation.txt").write_text("IMG_0.jpg\n")
    with pytest.raises(InputError, match=r"lists IMG_0.jpg: write subject/challenge/image"):
        list_images(predictions, data)
    scan = marked(body(3))
    less = {name: point for name, point in scan.landmarks.items() if name != "left_eye_outer"}
    assert set(less) < {*NOW_NAMES, *numbers(body(3))}
    with pytest.raises(InputError, match=r"no landmark called left_eye_outer: .* --landmarks"):
        evaluate_now(scan, MarkedMesh(scan.mesh, less, scan.path))
    with pytest.raises(InputError, match=r"no landmark called left_eye_outer: .* --pred-landmarks"):
        evaluate_now(MarkedMesh(scan.mesh, less, scan.path), scan)
    with pytest.raises(InputError, match=r"no vertices within .* mm of the middle of its face"):
        evaluate_now(scan, MarkedMesh(scan.mesh.scaled(1000.0), scan.landmarks, scan.path))
