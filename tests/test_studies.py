"""Studies: what each change changes, which cases a study has, its table, and a small one from photos to page."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from heads import draw_person
from known_scenes import write_known_scenes
from protome.benchmark import accuracy, studies, true_size
from protome.benchmark.accuracy import MEAN, NOISES, Accuracy, Case, measure
from protome.benchmark.changes import CHANGES, change
from protome.benchmark.page import FULL
from protome.benchmark.page import Plan as AccuracyPlan
from protome.benchmark.studies import SEEDS, STUDIES, Entry, Plan, Study, page, run_study
from protome.benchmark.true_size import camera_distance_mm, nearest_point, pupils_mm
from protome.errors import InputError, ProtomeWarning
from protome.evaluate.h3ds import read_scene
from protome.fit.config import FIT_PRESETS, FitConfig, Schedule
from protome.fit.methods import METHODS, Method
from protome.fit.tracing import TracingConfig
from protome.geometry.camera import Rays
from protome.scene import Scene, View
from protome.scenes.h3ds import read_h3ds
from protome.util.engines import Here

BRIEF = FitConfig(
    size=64, rays=96, schedule=Schedule({1: 8}, {1: 4}, colours=8), tracing=TracingConfig(baked_mm=0),
)  # fmt: skip


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    person = draw_person(seed=5, resolution=80, temperature=0.6)
    return write_known_scenes(tmp_path_factory.mktemp("scenes"), person, 192)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short fits and coarse meshes, in this process."""
    monkeypatch.setitem(accuracy.FIT_PRESETS, "standard", BRIEF)
    monkeypatch.setattr(accuracy, "RESOLUTION", 64)
    monkeypatch.setattr(accuracy, "SAMPLES", 2000)


@pytest.fixture
def no_expressions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare what only the fit itself would use, where that is stopped before its first step."""
    monkeypatch.setattr(Method, "expressions", lambda method, scene, prior, estimate: ())


# Changes


def _differences(name: str) -> set[str]:
    before = METHODS["protome"].settings(FIT_PRESETS["standard"])
    return _changed(before, change(name).settings(before))


def _changed(before: object, after: object, within: str = "") -> set[str]:
    """Return the settings that differ; those of a group are named with the group."""
    found = set()
    for field in fields(before):  # type: ignore[arg-type]
        one, other = getattr(before, field.name), getattr(after, field.name)
        if one != other:
            group = is_dataclass(one) and field.name != "tracing"
            found |= _changed(one, other, f"{field.name}.") if group else {within + field.name}
    return found


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in ("", "no-encoder")])
def test_a_change_changes_one_factor(name: str) -> None:
    one_factor = {
        "no-patches": {"patches.weight"}, "no-gains": {"match_exposures"},
        "no-lights": {"match_lights"}, "no-colour-phase": {"schedule.colours"},
        "alike-pixels": {"weigh_pixels"}, "fixed-placement": {"rates.placement"},
        "coarse-colour": {"renderer_frequencies"}, "one-rate": {"rates.deformation", "rates.renderer"},
        "no-eikonal": {"weights.eikonal"}, "selective-sampling": {"drop_background"},
    }  # fmt: skip
    steps = {"schedule.latents", "schedule.steps"}
    assert _differences(name) == one_factor.get(name, steps if name.startswith("steps-") else {"tracing"})


def test_nothing_else_is_changed() -> None:
    assert _differences("") == _differences("no-encoder") == set()
    assert [name for name, own in CHANGES.items() if not own.encoder] == ["no-encoder"]
    with pytest.raises(InputError, match="no change is called slower"):
        change("slower")


def test_steps_are_scaled_with_every_number_of_photos() -> None:
    config = FIT_PRESETS["standard"]
    half = change("steps-0.5").settings(config)
    for views in (1, 2, 3, 5, 8, 16, 32):
        for halved, whole in (
            (half.schedule.latent_steps, config.schedule.latent_steps),
            (half.schedule.network_steps, config.schedule.network_steps),
        ):
            assert halved(views) == pytest.approx(whole(views) / 2, abs=1)


@pytest.mark.usefixtures("no_expressions")
@pytest.mark.parametrize(
    ("case", "posed", "guessed", "patches"),
    [
        (Case("somebody", 3, "protome"), True, False, True),
        # A few photos find their cameras in one frame, and begin at the head that the encoder estimates.
        (Case("somebody", 3, "protome", posed=False), True, True, True),
        (Case("somebody", 1, "protome", posed=False), False, True, True),
        (Case("somebody", 1, "protome", posed=False, change="no-encoder"), False, False, True),
        (Case("somebody", 1, "protome", change="no-patches"), True, True, False),
    ],
)
def test_a_case_is_fitted_with_its_settings(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    case: Case, posed: bool, guessed: bool, patches: bool,
) -> None:  # fmt: skip
    def stop(scene: Scene, prior: object, config: FitConfig, **how: object) -> None:
        assert scene.posed is posed
        assert (how["estimate"] is not None) is guessed
        assert (config.patches.weight > 0) is patches
        raise InterruptedError

    monkeypatch.setattr(accuracy, "fit_head", stop)
    with pytest.raises(InterruptedError):
        measure(case, scenes, tmp_path, {})


@pytest.mark.usefixtures("brief", "no_expressions")
def test_uniform_sampling_uses_every_pixel(scenes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shares = []

    def stop(fit: object, table: SimpleNamespace, *more: object) -> None:
        shares.append(float(table.decided.float().mean()))
        raise InterruptedError

    def filled(view: View) -> View:
        """Return a wider photo that the person fills, beyond the modelled volume."""
        wider = view.camera.K * torch.tensor([[0.5, 1, 1], [1, 0.5, 1], [1, 1, 1]])
        return replace(view, camera=replace(view.camera, K=wider), mask=torch.ones_like(view.mask))

    scene = accuracy.locate_head(read_h3ds(scenes / "somebody", ["3"]), None)
    scene = replace(scene, views=tuple(filled(view) for view in scene.views))
    monkeypatch.setattr(accuracy, "locate_head", lambda views, units: scene)
    monkeypatch.setattr("protome.fit.reconstruct.step_losses", stop)
    for name in ("", "alike-pixels"):
        with pytest.raises(InterruptedError):
            measure(Case("somebody", 3, "sira++", change=name), scenes, tmp_path, {})
    assert shares[0] < 0.99
    assert shares[1] == 1.0


# What is known of a person's size


def test_the_nearest_point_of_lines_that_meet_is_where_they_meet() -> None:
    point = torch.tensor([3.0, -2.0, 700.0], dtype=torch.float64)
    origins = torch.tensor([[0.0, 0, 0], [400, 0, 100], [-300, 50, 0]], dtype=torch.float64)
    directions = torch.nn.functional.normalize(point - origins, dim=1)
    torch.testing.assert_close(nearest_point(Rays(origins, directions)), point)
    # Two skew lines: half way between them.
    skew = Rays(torch.tensor([[0.0, 0, 0], [0, 2, 0]]), torch.tensor([[1.0, 0, 0], [0, 0, 1]]))
    torch.testing.assert_close(nearest_point(skew), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("closed", [False, True])
def test_pupils_are_as_far_apart_as_they_are(scenes: Path, monkeypatch: pytest.MonkeyPatch, closed: bool) -> None:
    views = read_h3ds(scenes / "somebody", ["3"])
    eyes = torch.tensor([[-31.0, 2.0, 4.0], [32.0, 2.0, 4.0]])

    def seen(images: object, with_masks: bool) -> list[SimpleNamespace]:
        pixels = [view.camera.project(eyes) for view in views]
        return [SimpleNamespace(faces=(torch.cat([torch.zeros(468, 2), p.repeat_interleave(5, 0)]),)) for p in pixels]

    monkeypatch.setattr(true_size, "detect", seen)
    monkeypatch.setattr(true_size, "eyes_closed", lambda landmarks: closed)
    found = pupils_mm(scenes / "somebody")
    assert found is None if closed else found == pytest.approx(63.0, abs=1e-2)


def test_the_distance_is_that_from_the_camera_to_the_nose(scenes: Path) -> None:
    truth, view = read_scene(scenes / "somebody"), read_h3ds(scenes / "somebody", ["1"])[0]
    nose = torch.from_numpy(truth.head.points(["nose_tip"], "")[0])
    found = camera_distance_mm(truth, view.camera)
    assert found == pytest.approx(float((view.camera.centre.double() - nose).norm()))
    ahead = view.camera.to_camera(nose.float()[None])[0, 2]
    assert 0.95 * found < float(ahead) <= found


# The table


def _numbers(case: Case) -> Accuracy:
    """Made-up results: of the mean head 2 and 8 mm; of others by the number of views, seed and subject."""
    if case.method == MEAN:
        return Accuracy(2.0, 1.5, 8.0, 6.0, 10.0, 1.8, 7.0, 0.0)
    face = 1.0 / case.views + 0.1 * case.seed + (case.subject == "b")
    return Accuracy(face, 0.5, 4.0 / case.views, 2.0, 5.0, 0.9, 3.0, 10.0 + 10.0 * bool(case.change))


def _page(name: str, views: tuple[int, ...], subjects: tuple[str, ...] = ("a", "b"), **more: object) -> str:
    plan = Plan(name, STUDIES[name], subjects, views, "standard", **more)  # type: ignore[arg-type]
    return page(plan, {case: _numbers(case) for case in plan.all_cases()})


def test_errors_are_means_over_subjects_with_their_ratios() -> None:
    text = _page("ablations", (1, 3))
    assert "| protome | 1.50 / 4.00 (0.75 / 0.50) | 0.83 / 1.33 (0.42 / 0.17) | 10 |" in text
    # What needs several photos has no number for one, and the encoder none for several posed ones.
    assert f"| {CHANGES['no-patches'].about} |  | 0.83 / 1.33 (0.42 / 0.17) | 20 |" in text
    assert f"| {CHANGES['no-encoder'].about} | 1.50 / 4.00 (0.75 / 0.50) |  | 20 |" in text
    assert CHANGES["no-patches"].about not in _page("ablations", (1,))


def test_of_several_seeds_mean_and_deviation_are_given() -> None:
    text = _page("chance", (1,), ("a",))
    assert "| all seeds | 1.20 ± 0.16 / 4.00 ± 0.00 | 10 |" in text  # of 1.0, 1.1, 1.2, 1.3 and 1.4
    assert "| seed 4 | 1.40 / 4.00 (0.70 / 0.50) | 10 |" in text


def test_camera_noise_has_every_level_with_and_without_refined_cameras() -> None:
    plan = Plan("camera-noise", STUDIES["camera-noise"], ("a",), (3,), "standard")
    cases = {(case.method, case.noise, case.refine) for case in plan.all_cases() if case.method != MEAN}
    levels = range(len(NOISES))
    assert cases == {(name, k, refine) for name in ("protome", "sira++", "h3d-net") for k in levels
                     for refine in (False, True)}  # fmt: skip
    text = _page("camera-noise", (3,))
    for heading in ("exact cameras", "0.25°, 1 mm", "0.5°, 2 mm", "1°, 4 mm"):
        assert f"3 views, {heading} |" in text
    assert text.count("\n| protome") == 2


def test_subjects_without_pupils_are_left_out_where_they_are_needed() -> None:
    text = _page("size", (1,), eyeless=frozenset({"b"}))
    assert "| pupils' distance known | 1.00 / 4.00 (0.50 / 0.50), 1 of 2 subjects | 10 |" in text
    assert "| not known | 1.50 / 4.00 (0.75 / 0.50) | 10 |" in text


def test_studies_share_results_and_no_two_cases_share_a_name() -> None:
    views = (1, 3, 4, 8)
    cases = {
        case for name, study in STUDIES.items() for case in Plan(name, study, ("a",), views, "standard").all_cases()
    }
    assert len({case.name for case in cases}) == len(cases)
    assert {case.seed for case in cases} == set(SEEDS)
    benchmark = set(AccuracyPlan(("a",), ("a",), FULL.views, FULL, "standard", ()).cases())
    noise = set(Plan("camera-noise", STUDIES["camera-noise"], ("a",), (3,), "standard").all_cases())
    assert len(noise & benchmark) == 23  # all but exact cameras that are refined by sira++ and h3d-net


def test_the_help_names_every_study() -> None:
    text = (Path(__file__).parent / "golden" / "help_benchmark_study.txt").read_text(encoding="utf-8")
    named = text[text.index("Studies: ") : text.index("A stopped run")]
    assert re.findall(r"[a-z][a-z-]+", named.removeprefix("Studies:").replace(" and ", ", ")) == sorted(STUDIES)


# Runs


def test_a_small_study_from_photos_to_page(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], brief: None
) -> None:
    small = Study(
        "Two rows.",
        (1,),
        (
            Entry("as it is", Case("", 0, "protome")),
            Entry("no encoder", Case("", 0, "protome", change="no-encoder", posed=False)),
        ),
    )
    monkeypatch.setitem(studies.STUDIES, "small", small)
    run_study("small", scenes, tmp_path, engine=Here(), quiet=True)
    shown = capsys.readouterr().out
    assert (tmp_path / "small.md").read_text() == shown.removesuffix("\n")
    rows = json.loads((tmp_path / "small.json").read_text())["rows"]
    assert [(row["method"], row["change"], row["posed"]) for row in rows] == [
        (MEAN, "", True), ("protome", "", True), ("protome", "no-encoder", False),
    ]  # fmt: skip
    assert all(0.01 < row["face_mm"] < 5 and row["head_mm"] < 20 for row in rows)
    first, second = rows[1]["face_mm"], rows[2]["face_mm"]
    assert first != second
    assert f"| as it is | {first:.2f} / " in shown
    assert f"| no encoder | {second:.2f} / " in shown
    # What has a result is not measured again.
    monkeypatch.setattr(accuracy, "measure", lambda *given: pytest.fail("measured again"))
    run_study("small", scenes, tmp_path, subjects=["somebody"], views=[1], engine=Here(), quiet=True)
    assert capsys.readouterr().out == shown


def test_subjects_without_pupils_are_warned_about(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(studies, "pupils_mm", lambda folder: None)
    plan = Plan("size", STUDIES["size"], ("somebody",), (1,), "standard", frozenset({"somebody"}))
    for case in plan.all_cases():
        (tmp_path / f"{case.name}.json").write_text(json.dumps(asdict(case) | asdict(_numbers(case))))
    with pytest.warns(ProtomeWarning, match="somebody shows open eyes in fewer than two photos"):
        run_study("size", scenes, tmp_path, views=[1], quiet=True)
    assert "pupils' distance known" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "more", "sentence"),
    [
        ("colour", {}, "no study is called colour: use one of ablations, camera-noise"),
        ("steps", {"subjects": ["nobody"]}, "has no subject called nobody: use some of somebody"),
        ("steps", {"views": [8]}, "has no choice of 8 views"),
        ("camera-noise", {"views": [1]}, "compares nothing with 1 view: give other numbers"),
    ],
)
def test_bad_requests_are_refused(scenes: Path, tmp_path: Path, name: str, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        run_study(name, scenes, tmp_path, quiet=True, **more)
