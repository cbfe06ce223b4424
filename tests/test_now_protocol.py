"""NoW's protocol on cases that can be worked out by hand: a box whose scan stands off it by known amounts.

A scan's vertices lie on the six sides of a cube, three quarters of them 50 mm from its middle and one quarter 54 mm, in
a pattern that is symmetric about the middle of each side. Neither a rotation nor a translation makes the squares of
the distances to a cube smaller, and the best half size of the cube is the mean, 51 mm. Three quarters of the distances
are then 1 mm and one quarter 3 mm: mean 1.5, median 1, standard deviation the root of 0.75. The sum of the distances
would be least at 50 mm (0 and 4 mm), and squares counted in the prediction's unit at 51.06 mm.

The crop's numbers are those of the challenge's public evaluation: 0.3 of the way from the nose's base to the bridge,
1.4 times half the sum of the distance of the outer corners of the eyes and the length of the nose.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from marked import body, marked, moved, now_rows, similarity, write_obj, write_pp
from protome.errors import InputError
from protome.evaluate import now
from protome.evaluate.landmarks import NOW_NAMES, MarkedMesh, read_landmarks
from protome.evaluate.metrics import Spread
from protome.evaluate.now import Crop, evaluate_now, list_images
from protome.evaluate.report import measure_now, measure_now_folders
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity

PLACES = {
    "right_eye_outer": (-30, 30, 10), "right_eye": (-8, 20, -3), "left_eye": (14, 36, 3),
    "left_eye_outer": (30, 30, 10), "nose_base": (3, -12, 0), "right_lips": (-15, -30, 20), "left_lips": (15, -30, 20),
}  # fmt: skip
"""The bridge of the nose is at (3, 28, 0) and 40 mm long, the outer corners are 60 mm apart."""
CENTRE, RADIUS = (3.0, 0.0, 0.0), 70.0

AWAY = similarity([0.4, 2.5, -0.3], [5.0, 40.0, -70.0])


def landmarks(noise: float = 0.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: np.array(place, float) + random.normal(0, noise, 3) for name, place in PLACES.items()}


def scan(low: float = 50.0, high: float = 54.0, steps: int = 8) -> MarkedMesh:
    """Return the scan: `steps` x `steps` vertices a side, 2 `steps` of them (the diagonals) at the greater height.

    Every `steps` / 2-th vertex is one of those. Beyond the crop lie vertices that are far off the cube.
    """
    width = 40.0 / steps
    line = (np.arange(steps) + 0.5) * width - 20.0
    u, v = (axis.ravel() for axis in np.meshgrid(line, line))
    diagonal = np.isclose(np.abs(u), np.abs(v))
    # One vertex on the diagonals after each run of the others.
    runs = np.flatnonzero(~diagonal).reshape(2 * steps, -1)
    order = np.concatenate([np.flatnonzero(diagonal)[:, None], runs], 1).ravel()
    side = np.stack([np.where(diagonal, high, low), u, v], 1)[order]
    sides = [np.roll(side * [sign, 1, 1], axis, axis=1) for axis in range(3) for sign in (-1, 1)]
    beyond = np.array([[3.0, 70.01, 0.0], [120.0, 10.0, 0.0], [0.0, 0.0, -90.0]])
    # No triangle joins most of the vertices, and the only one is large: neither matters.
    return MarkedMesh(Mesh(np.concatenate([*sides, beyond]), np.array([[0, 40, 80]])), landmarks(), Path("scan.obj"))


def cube(half: float, scan_from_prediction: Similarity, noise: float = 2.0) -> MarkedMesh:
    """Return a prediction: twelve triangles, and others far behind; its landmarks are some millimetres off."""
    corners = half * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    behind = np.array([[-200, 0, -300], [200, 0, -300], [0, 200, -300]], float)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], [[8, 9, 10]]])
    there = MarkedMesh(Mesh(np.concatenate([corners, behind]), faces), landmarks(noise), Path("prediction.obj"))
    return moved(there, scan_from_prediction.inverse())


def spread(low: float, high: float, share: float = 0.25) -> tuple[float, float, float]:
    """Return mean, median and standard deviation where a share of less than half of the distances is the greater."""
    mean = (1 - share) * low + share * high
    return mean, low, float(np.sqrt((1 - share) * (low - mean) ** 2 + share * (high - mean) ** 2))


def check(found: Spread, expected: tuple[float, float, float], count: int) -> None:
    np.testing.assert_allclose((found.mean, found.median, found.std), expected, atol=1e-3)
    assert found.count == count


def test_the_crop_is_that_of_the_public_evaluation() -> None:
    crop = Crop.of(scan())
    np.testing.assert_allclose(crop.centre, CENTRE, atol=1e-12)
    assert crop.radius == pytest.approx(RADIUS)
    assert Crop.of(scan(), 40.0).radius == 40.0
    np.testing.assert_array_equal(Crop.of(scan(), 40.0).centre, crop.centre)


def test_a_vertex_on_the_edge_of_the_crop_counts() -> None:
    given = scan()
    count = len(given.mesh.vertices)
    vertices = np.concatenate([given.mesh.vertices, [[3.0, -70.0, 0.0]]])
    score = evaluate_now(cube(51.0, AWAY), MarkedMesh(Mesh(vertices, given.mesh.faces), given.landmarks, given.path))
    assert Crop.of(given).radius == RADIUS
    np.testing.assert_array_equal(score.vertices, [*range(count - 3), count])


@pytest.mark.parametrize("size", [1.0, 0.01, 30.0])
def test_scale_and_pose_are_those_of_least_squares_in_the_scans_unit(size: float) -> None:
    """The cube that fits best has a half size of 51 mm, whatever the unit and the frame of the prediction."""
    truth = similarity([0.4, 2.5, -0.3], [5.0, 40.0, -70.0], 51.0 / (48.0 * size))
    prediction = cube(51.0, truth)
    np.testing.assert_allclose(np.linalg.norm(np.diff(prediction.mesh.vertices[:2], axis=0)), 96.0 * size)
    score = evaluate_now(prediction, scan())
    check(Spread.of(score.distances), spread(1.0, 3.0), 384)
    np.testing.assert_allclose(sorted(score.distances), [1.0] * 288 + [3.0] * 96, atol=1e-3)
    torch.testing.assert_close(score.scan_from_prediction.matrix(), truth.matrix(), rtol=1e-5, atol=1e-3)


def test_all_vertices_of_the_crop_are_aligned_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vertices that the alignment begins with all stand 54 mm from the middle: they alone want a greater cube."""
    assert (np.abs(scan().mesh.vertices[:384:4]).max(1) == 54.0).all()
    monkeypatch.setattr(now, "COARSE_VERTICES", 96)
    check(Spread.of(evaluate_now(cube(51.0, AWAY), scan()).distances), spread(1.0, 3.0), 384)


def test_the_metrical_challenge_keeps_the_predictions_size() -> None:
    score = evaluate_now(cube(50.5, AWAY), scan(), dof="rigid")
    check(Spread.of(score.distances), spread(0.5, 3.5), 384)
    assert float(score.scan_from_prediction.scale) == 1.0


def test_distances_run_from_the_scan_to_the_surface() -> None:
    """The nearest vertices of a cube of twelve triangles are its corners, 40 mm away and more."""
    found = evaluate_now(cube(51.0, AWAY), scan())
    assert found.distances.max() < 3.01
    # A prediction without the parts far behind has the same distances: none of its points are measured.
    whole = cube(51.0, AWAY)
    bare = MarkedMesh(Mesh(whole.mesh.vertices[:8], whole.mesh.faces[:-1]), whole.landmarks, whole.path)
    np.testing.assert_allclose(evaluate_now(bare, scan()).distances, found.distances, atol=1e-6)


@pytest.mark.parametrize("dof", ["similarity", "rigid"])
def test_all_seven_landmarks_give_the_start(dof: now.Dof) -> None:
    """On a plane the surface leaves the turn and the scale in the plane to the landmarks.

    There the similarity of least squares is a complex number, the regression of one set of points on the other.
    """
    line = np.linspace(-60.0, 60.0, 13)
    flat = np.stack([*(axis.ravel() for axis in np.meshgrid(line, line)), np.zeros(169)], 1)
    faces = np.array([[0, 1, 13], [155, 167, 168]])
    places = {name: np.array([x, y, 0.0]) for name, (x, y, _) in PLACES.items()}
    plate = 500.0 * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    for name in NOW_NAMES:
        own = {**places, name: places[name] + [25.0, -15.0, 0.0]}
        prediction = MarkedMesh(Mesh(plate, np.array([[0, 1, 2], [0, 2, 3]])), own, Path("plate.obj"))
        score = evaluate_now(prediction, MarkedMesh(Mesh(flat, faces), places, Path("scan.obj")), dof=dof)
        a, b = (np.stack([points[key] for key in NOW_NAMES]) @ [1, 1j, 0] for points in (own, places))
        a, b = a - a.mean(), b - b.mean()
        expected = (a.conj() * b).sum() / (abs(a) ** 2).sum()
        found = score.scan_from_prediction.matrix().numpy()
        turn = found[0, 0] + 1j * found[1, 0]
        np.testing.assert_allclose(turn, expected / (abs(expected) if dof == "rigid" else 1.0), atol=1e-6)


def test_no_alignment_mirrors_a_face() -> None:
    """The public evaluation lets the first alignment mirror; a face of the wrong side is wrong here."""
    given = marked(body(4))
    mirror = np.array([-1.0, 1.0, 1.0])
    mirrored = MarkedMesh(
        Mesh(given.mesh.vertices * mirror, given.mesh.faces[:, ::-1]),
        {name: point * mirror for name, point in given.landmarks.items()},
        given.path,
    )
    score = evaluate_now(mirrored, given)
    assert torch.linalg.det(score.scan_from_prediction.rotation) == pytest.approx(1.0)
    assert score.distances.mean() > 0.5


def test_the_curve_steps_where_the_distances_are() -> None:
    curve = measure_now(cube(51.0, AWAY), scan()).curve
    assert curve is not None
    at = dict(zip(curve.limits.round(6).tolist(), curve.percent.tolist(), strict=True))
    assert [at[limit] for limit in (0.0, 0.9, 1.1, 2.9, 3.1, 8.0)] == [0.0, 0.0, 75.0, 75.0, 100.0, 100.0]


def write_folders(folder: Path) -> tuple[Path, Path]:
    """Write two people in NoW's layout, of 384 and 96 vertices, with what the evaluation has to pass over.

    The second one's vertices stand at 50 and 52 mm, half of them each: with the best cube all distances are 1 mm.
    """
    data, predictions = folder / "data", folder / "predicted"
    for subject, given in (("one", scan()), ("two", scan(50.0, 52.0, 4))):
        write_obj(data / "scans" / subject / "scan.obj", given.mesh)
        write_pp(data / "scans_lmks_onlypp" / subject / "scan.pp", now_rows(given))
    names = ["two/multiview_neutral/b.1", "one/multiview_neutral/a", "one/selfie/c d"]
    (data / "imagepathsvalidation.txt").write_text("".join(f"{name}.jpg\n" for name in names))
    (data / "imagepathstest.txt").write_text("one/selfie/untold.jpg\n")
    for name in names:
        prediction = cube(51.0, AWAY)
        path = write_obj(predictions / f"{name}.obj", prediction.mesh)
        prediction.mesh.scaled(2.0).save(path.parent / f"{path.name[:-4]}.ply")
        np.save(path.parent / f"{path.name[:-4]}.npy", now_rows(prediction))
        (path.parent / f"{path.name[:-4]}.txt").write_text("these are no landmarks\n")
    return predictions, data


def test_distances_of_all_images_are_pooled(tmp_path: Path) -> None:
    predictions, data = write_folders(tmp_path)
    found = measure_now_folders(predictions, data, quiet=True)
    # 96 distances of 1 mm, and twice 288 of 1 mm and 96 of 3 mm: no mean of the images' means.
    everything, neutral, selfie = found.rows
    assert [row.name for row in found.rows] == ["all images", "multiview_neutral", "selfie"]
    check(everything.spread, spread(1.0, 3.0, 192 / 864), 864)
    check(neutral.spread, spread(1.0, 3.0, 96 / 480), 480)
    check(selfie.spread, spread(1.0, 3.0), 384)
    assert neutral.spread.mean == pytest.approx(1.4, abs=1e-3)
    assert found.curve is not None
    assert found.curve.percent[found.curve.limits.round(6) == 2.0] == pytest.approx(100 * 672 / 864)
    images = found.facts["images"]
    assert [image["name"] for image in images] == [
        "two/multiview_neutral/b.1", "one/multiview_neutral/a", "one/selfie/c d",
    ]  # fmt: skip
    assert [image["count"] for image in images] == [96, 384, 384]


def test_files_are_chosen_as_the_public_evaluation_does(tmp_path: Path) -> None:
    predictions, data = write_folders(tmp_path)
    for image in list_images(predictions, data).images:
        assert (image.mesh.suffix, image.landmarks.suffix) == (".obj", ".npy")
        image.mesh.unlink()
        image.landmarks.unlink()
    for image in list_images(predictions, data).images:
        assert (image.mesh.suffix, image.landmarks.suffix) == (".ply", ".txt")
    (data / "imagepathsvalidation.txt").unlink()
    with pytest.raises(InputError, match=r"no prediction for the images of .*imagepathstest\.txt"):
        list_images(predictions, data)


def test_units_and_dof_reach_every_image(tmp_path: Path) -> None:
    predictions, data = write_folders(tmp_path)
    for image in list_images(predictions, data).images:
        prediction = cube(50.5, AWAY)
        write_obj(image.mesh, prediction.mesh.scaled(0.1))
        np.save(image.landmarks, 0.1 * now_rows(prediction))
    found = measure_now_folders(predictions, data, units="cm", dof="rigid", quiet=True)
    check(found.rows[-1].spread, spread(0.5, 3.5), 384)


def test_one_radius_holds_for_every_image(tmp_path: Path) -> None:
    predictions, data = write_folders(tmp_path)
    found = measure_now_folders(predictions, data, radius=55.0, quiet=True)
    offsets = (np.linalg.norm(given.mesh.vertices - CENTRE, axis=1) for given in (scan(50.0, 52.0, 4), scan()))
    near, nearer = (int((offset <= 55.0).sum()) for offset in offsets)
    assert [(image["count"], image["crop_radius_mm"]) for image in found.facts["images"]] == [
        (near, 55.0), (nearer, 55.0), (nearer, 55.0),
    ]  # fmt: skip
    assert 0 < near < 96
    assert 0 < nearer < 384


def test_the_first_seven_picked_points_are_the_landmarks(tmp_path: Path) -> None:
    head = scan()
    write_pp(tmp_path / "more.pp", np.concatenate([now_rows(head), [[1.0, 2.0, 3.0]]]))
    found = read_landmarks(tmp_path / "more.pp", head.mesh)
    assert tuple(found) == NOW_NAMES
    np.testing.assert_array_equal(np.stack(list(found.values())), now_rows(head))


def test_landmarks_of_a_batch_of_one_are_read(tmp_path: Path) -> None:
    """Networks save 1 x 7 x 3 numbers, and the public evaluation reads them."""
    head = scan()
    np.save(tmp_path / "batch.npy", now_rows(head)[None])
    np.testing.assert_array_equal(
        np.stack(list(read_landmarks(tmp_path / "batch.npy", head.mesh).values())), now_rows(head)
    )
    np.save(tmp_path / "two.npy", np.zeros((2, 7, 3)))
    with pytest.raises(InputError, match=r"two\.npy"):
        read_landmarks(tmp_path / "two.npy", head.mesh)
