"""The speed benchmark: its rows, its counts of queries and its errors."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from protome.benchmark import speed
from protome.errors import IncompleteError, InputError
from protome.evaluate.metrics import compare
from protome.face import NOSE_TIP
from protome.fit.config import FitConfig, Schedule
from protome.meshing.extract import extract_mesh
from protome.prior.prior import Prior
from protome.units import UNIT_MM


@pytest.fixture(scope="module")
def rows() -> dict[str, speed.SpeedRow]:
    brief = FitConfig(size=64, rays=96, schedule=Schedule({1: 3}, {1: 1}))
    found = speed.benchmark_speed(views=2, preset=brief, device="cpu", size=64, resolution=64, quiet=True)
    return {row.name: row for row in found}


def test_every_way_has_a_row_and_the_first_is_what_ratios_refer_to(rows: dict[str, speed.SpeedRow]) -> None:
    assert list(rows) == list(speed.ways(FitConfig()))
    first = next(iter(rows.values()))
    assert first.ratio == 1
    for row in rows.values():
        assert row.ratio == pytest.approx(row.seconds / first.seconds)
    lines = speed.speed_table(list(rows.values())).splitlines()
    assert len(lines) == 1 + len(rows)
    assert lines[1].split()[-4] == "1.00"


def test_queries_are_those_of_the_tracers(rows: dict[str, speed.SpeedRow]) -> None:
    # 75 samples along every ray and 25 more along rays that hit; what the box cuts off is drawn as well.
    neither = rows["equal samples (paper, neither)"].queries
    assert 75 <= neither <= 100
    assert rows["SDF cache"].queries < neither
    assert rows["both"].queries <= rows["SDF cache"].queries
    assert rows["guided by a grid"].queries < 0.5 * neither


def test_a_few_steps_leave_the_error_of_the_mean_head_whoever_traces(rows: dict[str, speed.SpeedRow]) -> None:
    prior = Prior.load()
    person = prior.bind(prior.sample(torch.Generator().manual_seed(0), 0.7))
    truth, mean = (
        extract_mesh(field, prior.bounds, 64).scaled(UNIT_MM) for field in (person, prior.bind(prior.mean()))
    )
    found = compare(mean, truth, nose_tip=prior.landmarks[NOSE_TIP].double().numpy() * UNIT_MM)
    baseline = found.face.to_prediction.mean
    assert baseline > 0.5  # not the mean head
    for row in rows.values():
        assert row.face_mm == pytest.approx(baseline, rel=0.25), row.name


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(InputError, match="5 views cannot be benchmarked: give one of 1, 2, 3"):
        speed.benchmark_speed(views=5)
    with pytest.raises(InputError, match="no preset is called quick"):
        speed.benchmark_speed(preset="quick")


def test_the_report_writes_its_numbers(
    tmp_path: Path, rows: dict[str, speed.SpeedRow], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "benchmark_speed", lambda **_: list(rows.values()))
    speed.report_speed(out=tmp_path / "speed.json", quiet=True)
    assert json.loads((tmp_path / "speed.json").read_text())["rows"] == [asdict(row) for row in rows.values()]
    assert capsys.readouterr().out == speed.speed_table(list(rows.values())) + "\n"


def test_a_baseline_is_compared_by_ratios_within_each_run(tmp_path: Path) -> None:
    """Another machine may be three times as slow; a row that lost against the others is found, and so is an error."""
    first = [speed.SpeedRow("a", 10.0, 1.0, 80.0, 0.5, 1.0), speed.SpeedRow("b", 2.0, 0.2, 9.0, 0.5, 1.0)]
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps({"views": 3, "preset": "draft", "seed": 0, "rows": [asdict(row) for row in first]}))
    baseline = speed.Baseline.load(path)
    slower = [replace(row, seconds=3 * row.seconds) for row in first]
    table, worse = baseline.compared(slower)
    assert worse == []
    assert [float(line.split()[-4]) for line in table.splitlines()[1:]] == [1.0, 1.0]
    _, worse = baseline.compared([first[0], replace(first[1], ratio=0.3)])
    assert worse == ["b: the ratio of seconds is 1.50 times that of the baseline"]
    _, worse = baseline.compared([replace(first[0], head_mm=1.2, queries=88.0), first[1]])
    assert len(worse) == 2
    assert baseline.compared([speed.SpeedRow("new", 1, 1, 1, 1, 1)])[1] == []


def test_a_baseline_has_to_be_one_with_the_same_settings(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    row = asdict(speed.SpeedRow("a", 10.0, 1.0, 80.0, 0.5, 1.0))
    path.write_text(json.dumps({"views": 1, "preset": "fine", "seed": 0, "rows": [row]}))
    with pytest.raises(InputError, match=r"baseline\.json was measured with --views 1, --preset fine, --seed 0"):
        speed.report_speed(against=path, quiet=True)
    for rows in ([], [{"name": "a"}], [row | {"ratio": 0}], "x"):
        path.write_text(json.dumps({"views": 3, "preset": "draft", "seed": 0, "rows": rows}))
        with pytest.raises(InputError, match=r"baseline\.json cannot be read as the numbers of a benchmark"):
            speed.report_speed(against=path, quiet=True)


def test_a_run_that_is_worse_than_its_baseline_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = speed.SpeedRow("a", 10.0, 1.0, 80.0, 0.5, 1.0)
    monkeypatch.setattr(speed, "benchmark_speed", lambda **_: [row])
    speed.report_speed(out=tmp_path / "old.json", quiet=True)
    speed.report_speed(against=tmp_path / "old.json", quiet=True)
    monkeypatch.setattr(speed, "benchmark_speed", lambda **_: [replace(row, face_mm=0.7)])
    with pytest.raises(IncompleteError, match=r"a: the error of the face is 1\.40 times that of the baseline"):
        speed.report_speed(out=tmp_path / "new.json", against=tmp_path / "old.json", quiet=True)
    assert (tmp_path / "new.json").is_file()
