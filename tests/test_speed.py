"""The speed benchmark: its rows, its counts of queries and its errors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from protome.benchmark import speed
from protome.errors import InputError
from protome.evaluate.metrics import compare
from protome.face import NOSE_TIP
from protome.fit.config import FitConfig, Schedule
from protome.meshing.extract import extract_mesh
from protome.prior.prior import Prior
from protome.units import UNIT_MM


@pytest.fixture(scope="module")
def rows() -> dict[str, speed.SpeedRow]:
    brief = FitConfig(size=64, rays=96, schedule=Schedule({1: 6}, {1: 2}))
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
