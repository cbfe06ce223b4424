"""The benchmark of accuracy: its measure, its cases, and the continuation of a stopped run."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from heads import Person, draw_person
from known_scenes import write_known_scenes
from protome.benchmark import accuracy
from protome.benchmark.accuracy import (
    MEAN,
    NOISES,
    Accuracy,
    Case,
    common_views,
    measure,
    measure_all,
    noisy,
    score,
    subjects_in,
)
from protome.benchmark.page import BASELINES, FULL, OURS, QUICK, Plan, benchmark_accuracy, cell, page
from protome.errors import InputError
from protome.evaluate.h3ds import read_scene
from protome.face import LANDMARK_NAMES
from protome.fit.config import FitConfig, Schedule
from protome.fit.methods import METHODS
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.scenes.h3ds import read_h3ds
from protome.util.engines import Here

BRIEF = FitConfig(size=64, rays=96, schedule=Schedule({1: 8}, {1: 4}, colours=8))


@pytest.fixture(scope="module")
def person() -> Person:
    return draw_person(seed=5, resolution=80, temperature=0.6)


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "SAMPLES", 3000)


@pytest.fixture(scope="module")
def scenes(person: Person, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_known_scenes(tmp_path_factory.mktemp("scenes"), person)


def test_the_truth_itself_has_no_error_and_a_larger_one_has(scenes: Path) -> None:
    truth = read_scene(scenes / "somebody")
    found = score(truth.head.mesh, truth, None, 3.0)
    assert found.face_mm < 1e-3
    assert found.head_mm < 1e-3
    assert found.seconds == 3.0


def test_a_moved_head_is_found_by_its_landmarks(scenes: Path) -> None:
    truth = read_scene(scenes / "somebody")
    away = Similarity(torch.eye(3).double(), torch.tensor([300.0, -100.0, 50.0]).double(), torch.tensor(1.0).double())
    landmarks = truth.head.points(LANDMARK_NAMES, "") + np.array([300.0, -100.0, 50.0])
    found = score(truth.head.mesh.transformed(away), truth, landmarks, 0.0)
    assert found.head_mm < 1e-2
    assert found.h3ds_head_mm < 0.05


def test_the_datasets_own_measure_ignores_scale(scenes: Path) -> None:
    truth = read_scene(scenes / "somebody")
    plain = score(truth.head.mesh, truth, None, 0.0)
    grown = score(truth.head.mesh.scaled(1.05), truth, None, 0.0)
    assert grown.face_mm > 0.5  # rigid: size counts
    assert grown.h3ds_face_mm < plain.h3ds_face_mm + 0.05
    assert grown.h3ds_head_mm < plain.h3ds_head_mm + 0.3


@pytest.mark.parametrize("level", [1, 3])
def test_noise_has_the_deviations_of_its_level(scenes: Path, level: int) -> None:
    views = read_h3ds(scenes / "somebody")
    turns, moves = [], []
    for seed in range(60):
        for given, moved in zip(views, noisy(views, level, seed), strict=True):
            turn = given.camera.T_world_camera[:3, :3].T @ moved.camera.T_world_camera[:3, :3]
            turns.append(torch.stack([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2)
            moves.append(moved.camera.centre - given.camera.centre)
    degrees, millimetres = NOISES[level]
    assert float(torch.rad2deg(torch.stack(turns)).std()) == pytest.approx(degrees, rel=0.12)
    assert float(torch.stack(moves).std()) == pytest.approx(millimetres, rel=0.12)
    again = noisy(views, level, 0)[0].camera.T_world_camera
    assert torch.equal(again, noisy(views, level, 0)[0].camera.T_world_camera)
    assert torch.equal(noisy(views, 0, 0)[0].camera.T_world_camera, views[0].camera.T_world_camera)


def test_a_case_is_reconstructed_measured_and_kept(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(accuracy.FIT_PRESETS, "standard", BRIEF)
    monkeypatch.setattr(accuracy, "RESOLUTION", 80)
    case = Case("somebody", 3, "sira++")
    found = measure(case, scenes, tmp_path, {})
    baseline = measure(Case("somebody", 1, MEAN), scenes, tmp_path, {})
    # A few steps only: but three photos' worth of place and size are there, and the head is where it was.
    assert found.head_mm < 1.1 * baseline.head_mm
    mesh = Mesh.load(tmp_path / f"{case.name}.ply")
    assert score(mesh, read_scene(scenes / "somebody"), None, 0.0).head_mm == pytest.approx(found.head_mm, rel=0.1)
    (tmp_path / "theirs").mkdir()
    mesh.save(tmp_path / "theirs" / "somebody_3.ply")
    theirs = measure(Case("somebody", 3, "theirs"), scenes, tmp_path, {"theirs": tmp_path / "theirs"})
    assert theirs.head_mm == pytest.approx(found.head_mm, rel=0.1)


def _numbers(case: Case) -> Accuracy:
    """Made-up results: of the mean head 2 and 8 mm, of a method by its number of views."""
    if case.method == MEAN:
        return Accuracy(2.0, 1.5, 8.0, 6.0, 10.0, 1.8, 7.0, 0.0)
    face = 1.0 / case.views + (case.subject == "b") - 0.1 * case.scale_known
    return Accuracy(face, 0.5, 4.0 / case.views, 2.0, 5.0, 0.9 * face, 3.0 / case.views, 10.0)


def test_the_page_has_means_and_their_ratios_to_the_mean_head() -> None:
    plan = Plan(("a", "b"), ("a",), (1, 3), replace(QUICK, views=(1, 3)), "standard", ())
    results = {case: _numbers(case) for case in plan.cases()}
    cases = [case for case in plan.main() if case.method == OURS and case.views == 1]
    assert cell(results, cases) == "1.50 / 4.00 (0.75 / 0.50)"
    text = page(plan, results, quick=True)
    assert "| protome | 1.50 / 4.00 (0.75 / 0.50) | 0.83 / 1.33 (0.42 / 0.17) |" in text
    assert "| protome, H3DS's measure | 1.35 / 3.00 (0.75 / 0.43) | 0.75 / 1.00 (0.42 / 0.14) |" in text
    assert "| protome, camera's distance known | 1.40 / 4.00 (0.70 / 0.50) |  |" in text
    assert "the quick extent" in text
    refined = [f"{name}, cameras refined" for name in ("h3d-net", "sira++", "protome")]
    for name in (*BASELINES, *refined, "0.5°, 2 mm", "targets"):
        assert f"| {name} |" in text or f"| {name}" in text


def test_without_baselines_the_page_has_no_tables_of_them() -> None:
    plan = Plan(("a", "b"), (), (1, 3), replace(FULL, ablated=0), "standard", ())
    assert {case.method for case in plan.cases()} == {MEAN, OURS}
    text = page(plan, {case: _numbers(case) for case in plan.cases()}, quick=False)
    assert "| protome | 1.50 / 4.00 (0.75 / 0.50) |" in text
    for heading in ("## Methods", "## Camera noise", "## Architecture"):
        assert heading not in text


def test_a_known_distance_is_measured_for_one_view_only() -> None:
    one, several = (Plan(("a",), (), views, replace(FULL, ablated=0), "standard", ()) for views in ((1, 8), (3, 8)))
    assert {(case.views, case.method) for case in one.cases() if case.scale_known} == {(1, OURS)}
    assert not any(case.scale_known for case in several.cases())
    text = page(several, {case: _numbers(case) for case in several.cases()}, quick=False)
    assert "distance known" not in text


def test_the_tables_are_those_of_the_requested_views() -> None:
    plan = Plan(("a", "b"), ("a",), (1, 4, 8), QUICK, "standard", ())
    cases = set(plan.cases())
    assert {case.views for case in cases if case.method == OURS and case.subject == "b"} == {1, 4, 8}
    assert {case.views for case in cases if case.method == "idr"} == {1, 4}
    assert {case.views for case in cases if case.method == "sira-short"} == {1, 4}
    text = page(plan, {case: _numbers(case) for case in cases}, quick=True)
    assert "## Methods" in text
    assert "## Architecture" in text
    assert "## Camera noise" not in text
    eight = replace(plan, views=(8,))
    assert {(case.method, case.views) for case in eight.cases()} == {(OURS, 8), (MEAN, 1)}
    assert "## Methods" not in page(eight, {case: _numbers(case) for case in eight.cases()}, quick=True)


def test_the_full_extent_has_every_view_noise_and_method() -> None:
    plan = Plan(("a",), ("a",), FULL.views, FULL, "standard", ("theirs",))
    cases = set(plan.cases())
    assert {case.views for case in cases if case.method == "idr"} == {1, 3, 4, 6, 8, 16, 32}
    for name, levels in (("h3d-net", {1, 2, 3}), ("sira++", {1, 2, 3}), (OURS, {0, 1, 2, 3})):
        assert {case.noise for case in cases if case.refine and case.method == name} == levels
    # Ours is measured as users get it: with two and more photos, cameras are refined.
    assert {case.views for case in plan.main() if case.refine} == {3, 4, 6, 8, 16, 32}
    assert set(METHODS) == {case.method for case in cases} - {MEAN, "theirs"}
    assert len({case.name for case in cases}) == len(cases)


def test_stored_results_are_not_measured_again(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(("somebody",), ("somebody",), (1, 3), QUICK, "standard", ())
    for case in plan.cases():
        (tmp_path / f"{case.name}.json").write_text(json.dumps(asdict(case) | asdict(_numbers(case))))
        if case.method == OURS:
            read_scene(scenes / "somebody").head.mesh.save(tmp_path / f"{case.name}.ply")
    benchmark_accuracy(scenes, tmp_path, quick=True, quiet=True)  # with a fit in it this would take minutes
    text = (tmp_path / "benchmark.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "| protome | 1.00 / 4.00 (0.50 / 0.50) |" in text
    for name in ("accuracy.png", "subjects.jpg", "accuracy.json"):
        assert (tmp_path / name).stat().st_size > 1000
    assert len(json.loads((tmp_path / "accuracy.json").read_text())["rows"]) == len(set(plan.cases()))


def test_an_incomplete_result_is_measured_again(scenes: Path, tmp_path: Path) -> None:
    case = Case("somebody", 1, "theirs")
    (tmp_path / "theirs").mkdir()
    read_scene(scenes / "somebody").head.mesh.save(tmp_path / "theirs" / "somebody_1.ply")
    old = asdict(case) | asdict(_numbers(case))
    del old["h3ds_face_mm"]
    (tmp_path / f"{case.name}.json").write_text(json.dumps(old))
    theirs = {"theirs": tmp_path / "theirs"}
    found = measure_all([case], scenes, tmp_path, meshes=theirs, engine=Here(), quiet=True)[case]
    assert found.face_mm < 0.1
    assert json.loads((tmp_path / f"{case.name}.json").read_text())["h3ds_face_mm"] == found.h3ds_face_mm


def test_folders_without_scenes_or_view_sets_are_refused(scenes: Path, tmp_path: Path) -> None:
    assert subjects_in(scenes) == ["somebody"]
    assert common_views(scenes, ["somebody"], (1, 3, 8)) == [1, 3]
    with pytest.raises(InputError, match="holds no scenes in H3DS's layout"):
        subjects_in(tmp_path)
    with pytest.raises(InputError, match="has no choice of 16 views"):
        common_views(scenes, ["somebody"], (16,))
    with pytest.raises(InputError, match="has no choice of 2, 5 views"):
        benchmark_accuracy(scenes, tmp_path, views=(5, 2), quiet=True)
    # Requested numbers of views are not left out silently.
    with pytest.raises(InputError, match="has no choice of 8 views"):
        benchmark_accuracy(scenes, tmp_path, views=(1, 8), quiet=True)
    with pytest.raises(InputError, match="names no folder of meshes"):
        benchmark_accuracy(scenes, tmp_path, meshes=["theirs"], quiet=True)
