"""The H3DS protocol against the dataset's own toolkit, which is installed for these tests alone."""

from __future__ import annotations

import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from marked import body, marked, moved, numbers, relief, similarity, write_h3ds, write_obj
from protome.errors import InputError
from protome.evaluate.h3ds import SPHERE, H3dsScore, evaluate_h3ds, read_scene
from protome.evaluate.landmarks import MarkedMesh
from protome.face import LANDMARK_NAMES
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity

Official = Callable[[Path, Path, bool, str | None], tuple[np.ndarray, np.ndarray, np.ndarray]]


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Official:
    """Return the toolkit's evaluation: both rows of distances and the aligned prediction's vertices."""
    before = logging.getLoggerClass()
    monkeypatch.setitem(sys.modules, "gdown", types.ModuleType("gdown"))  # it downloads, which no test does
    monkeypatch.setattr(np, "int", int, raising=False)  # numpy no longer has the name that the toolkit uses
    monkeypatch.syspath_prepend(Path(sys.prefix) / "apart")  # where `make` puts it
    dataset = pytest.importorskip("h3ds.dataset", reason="the package h3ds is not installed: see the Makefile")
    logging.setLoggerClass(before)
    config = tmp_path / "config.toml"
    config.write_text("version = 0\n[scenes]\n    [scenes.person]\n    views = 0\n")

    def evaluate(
        scene: Path, prediction: Path, with_landmarks: bool, region: str | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = dataset.H3DS(str(scene.parent), config_path=str(config))
        mesh = dataset.Mesh().load(str(prediction))
        picks = numbers(body(4), LANDMARK_NAMES) if with_landmarks else None
        to_prediction, to_truth, _, aligned = own.evaluate_scene(scene.name, mesh, picks, region)
        return to_prediction, to_truth, aligned.vertices

    return evaluate


def predicted(pose: Similarity, seed: int = 0, noise: float = 1.5) -> Mesh:
    """Return a prediction of the body that is nobody's: bumps, another size of the nose, and a pose."""
    random = np.random.default_rng(seed)
    mesh = relief(body(4), 2.0, 35.0)[0]
    vertices = mesh.vertices + random.normal(0, noise, mesh.vertices.shape)
    return Mesh(vertices, mesh.faces).transformed(pose)


def a_scene(folder: Path) -> Path:
    """Write the body as a scan with all regions."""
    mesh = body(3)
    tip = mesh.vertices[numbers(mesh)["nose_tip"]]
    away = np.linalg.norm(mesh.vertices - tip, axis=1)
    regions = {"face_sphere": away <= 95.0, "face": mesh.vertices[:, 2] > -20.0, "nose": away <= 45.0}
    return write_h3ds(folder, mesh, {name: np.flatnonzero(inside) for name, inside in regions.items()})


FAR = similarity([0.3, -1.9, 0.4], [300.0, -80.0, 900.0], 0.004)
NEAR = similarity([0.06, -0.08, 0.03], [4.0, -6.0, 3.0], 0.97)


@pytest.mark.parametrize(
    ("pose", "with_landmarks", "seed"), [(FAR, True, 0), (FAR, True, 1), (NEAR, False, 2), (NEAR, True, 3)]
)
def test_every_distance_is_that_of_the_toolkit(
    official: Official, tmp_path: Path, pose: Similarity, with_landmarks: bool, seed: int
) -> None:
    scene = a_scene(tmp_path / "person")
    path = write_obj(tmp_path / "prediction.obj", predicted(pose, seed))
    mesh = MarkedMesh.load(path).mesh
    prediction = MarkedMesh(mesh, marked(mesh, body(4)).landmarks if with_landmarks else {}, path)
    scores = evaluate_h3ds(prediction, read_scene(scene))
    assert list(scores) == ["face", "full_head", "nose"]
    for name, region in (("face", "face_sphere"), ("full_head", None), ("nose", "nose")):
        to_prediction, to_truth, aligned = official(scene, path, with_landmarks, region)
        score = scores[name]
        np.testing.assert_allclose(score.distances, to_prediction, atol=1e-6)
        assert score.to_prediction.mean == pytest.approx(to_prediction.mean(), abs=1e-6)
        assert score.to_truth.mean == pytest.approx(to_truth.mean(), abs=1e-6)
        assert score.to_truth.count == len(to_truth) == len(mesh.vertices)
        T = score.T_truth_prediction
        np.testing.assert_allclose(mesh.vertices @ T[:3, :3].T + T[:3, 3], aligned, atol=1e-6)


def test_the_toolkit_may_mirror_and_so_do_we(official: Official, tmp_path: Path) -> None:
    # A flat cloud and its mirror image: each point is nearest to its own image, and only a reflection fits them.
    random = np.random.default_rng(0)
    cloud = random.normal(0, [2.0, 60.0, 60.0], (40, 3))
    scan = Mesh(cloud, np.array([[0, 1, 2]]))
    everything = np.arange(len(cloud))
    scene = write_h3ds(tmp_path / "person", scan, {"face_sphere": everything, "face": everything[::2]})
    image = cloud * [-1.0, 1.0, 1.0] + random.normal(0, 0.1, cloud.shape)
    path = write_obj(tmp_path / "image.obj", Mesh(image, scan.faces))
    score = evaluate_h3ds(MarkedMesh.load(path), read_scene(scene))["full_head"]
    np.testing.assert_allclose(score.distances, official(scene, path, False, None)[0], atol=1e-6)
    assert score.to_prediction.mean < 0.3
    assert np.linalg.det(score.T_truth_prediction[:3, :3]) < -0.9


def scores_of(prediction: MarkedMesh, scene: Path) -> dict[str, H3dsScore]:
    return evaluate_h3ds(prediction, read_scene(scene))


def test_a_copy_at_another_size_and_place_is_no_different(tmp_path: Path) -> None:
    scene = a_scene(tmp_path / "person")
    copy = moved(marked(body(3)), FAR)
    for score in scores_of(copy, scene).values():
        assert score.to_prediction.p90 < 1e-9
        np.testing.assert_allclose(score.T_truth_prediction, FAR.inverse().matrix().numpy(), atol=1e-7)
    # The face's region has only its own vertices to be near to.
    assert scores_of(copy, scene)["face"].to_truth.mean > 10.0


def test_the_sphere_is_made_where_no_file_gives_it(tmp_path: Path) -> None:
    full = read_scene(a_scene(tmp_path / "person"))
    scan = write_obj(tmp_path / "scan.obj", body(3), seams=True)
    (tmp_path / "names.txt").write_text(f"nose_tip {numbers(body(3))['nose_tip']}\n")
    alone = read_scene(scan, tmp_path / "names.txt")
    np.testing.assert_array_equal(alone.regions[SPHERE], full.regions[SPHERE])
    assert len(alone.head.mesh.vertices) == len(body(3).vertices)
    prediction = marked(body(3))
    assert evaluate_h3ds(prediction, full)["full_head"].aligned_with == "face"
    assert evaluate_h3ds(MarkedMesh(body(3), {}, scan), alone)["full_head"].aligned_with == "face_sphere"


def test_bad_scenes_are_explained(tmp_path: Path) -> None:
    scene = a_scene(tmp_path / "person")
    names = marked(body(3)).landmarks
    some = MarkedMesh(body(3), {"nose_tip": names["nose_tip"]}, Path("p.obj"))
    with pytest.raises(InputError, match=r"p.obj has no landmark called right_eye: .* --pred-landmarks"):
        scores_of(some, scene)
    (scene / "regions" / "nose.txt").write_text("12\n99999\n")
    with pytest.raises(InputError, match=r"nose.txt names vertices that the scan does not have"):
        read_scene(scene)
    (scene / "regions" / "nose.txt").write_text("twelve\n")
    with pytest.raises(InputError, match=r"nose.txt is not a region: give the number of a vertex"):
        read_scene(scene)
    (scene / "regions" / "nose.txt").write_text("1\n2\n")
    with pytest.raises(InputError, match="2 vertices in the region nose"):
        scores_of(marked(body(3)), scene)
    with pytest.raises(InputError, match=r"scan.obj has no landmark called nose_tip: .* --landmarks"):
        read_scene(write_obj(tmp_path / "scan.obj", body(2)))
    (scene / "full_head.obj").unlink()
    with pytest.raises(InputError, match=r"full_head.obj does not exist"):
        read_scene(scene)
