"""What the user sees while a stage runs: a bar on a terminal, plain lines in a log, nothing when quiet."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest

import protome.util.progress
from protome.util.progress import progress


class _Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(protome.util.progress, "time", clock)
    return clock


def test_log_lines_come_every_ten_seconds_with_elapsed_and_remaining_time(
    clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("fitting", 10) as step:
        for index in range(10):
            clock.now += 4
            step(1, f"loss {index}")
    captured = capsys.readouterr()
    # One step takes 4 s: lines at the first steps that end 10 s or more after the line before.
    assert captured.err.splitlines() == [
        "fitting: 30% after 0:12, about 0:28 left (loss 2)",
        "fitting: 60% after 0:24, about 0:16 left (loss 5)",
        "fitting: 90% after 0:36, about 0:04 left (loss 8)",
        "fitting: done in 0:40 (loss 9)",
    ]
    assert captured.out == ""


def test_what_an_earlier_run_has_done_tells_nothing_of_the_speed(
    monkeypatch: pytest.MonkeyPatch, clock: _Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("training", 100, before=60) as step:
        clock.now += 20
        step(10)
    assert capsys.readouterr().err.splitlines()[0] == "training: 70% after 0:20, about 1:00 left"
    monkeypatch.setenv("PROTOME_PROGRESS", "json")
    with progress("training", 100, before=60) as step:
        clock.now += 20
        step(10)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["share"], line["left_s"]) for line in lines] == [(0.6, None), (0.7, 60.0), (1.0, 0.0)]


def test_log_lines_know_hours_and_totals_of_zero(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 0) as step:
        clock.now += 3725
        step(2)
    assert capsys.readouterr().err.splitlines() == [
        "training: 100% after 1:02:05, about 0:00 left",
        "training: done in 1:02:05",
    ]


def test_a_failed_stage_is_not_called_done(clock: _Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="broken"), progress("fitting", 2) as step:
        step(1)
        raise RuntimeError("broken")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_nothing(monkeypatch: pytest.MonkeyPatch, clock: _Clock, terminal: bool) -> None:
    stream = _Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("fitting", 2, quiet=True) as step:
        clock.now += 60
        step(1, "loss 1")
        step(1)
    assert stream.getvalue() == ""


def test_a_terminal_gets_one_live_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = _Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("fitting", 4) as step:
        for _ in range(4):
            step(1, "loss [0.25]")
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue().split("\r")[-1])
    assert re.search(r"fitting .*100% 0:00:0\d left: 0:00:00 loss \[0\.25\]", last)


def test_a_terminal_without_control_codes_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = _Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress("fitting", 1) as step:
        step(1)
    assert stream.getvalue() == "fitting: done in 0:00\n"


def test_another_program_gets_lines_of_json(
    clock: _Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROTOME_PROGRESS", "json")
    with progress("fitting", 10, quiet=True) as step:
        for index in range(5):
            clock.now += 0.2
            step(1, f"loss {index}")
        clock.now += 5
        step(3, "nearly")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    # One at the start, one at most every half second, and one at the end.
    assert [line["share"] for line in lines] == [0, 0.3, 0.8, 1]
    assert [line["left_s"] for line in lines] == [None, 1.4, 1.5, 0]
    assert lines[2] == {"stage": "fitting", "share": 0.8, "elapsed_s": 6.0, "left_s": 1.5, "detail": "nearly"}
