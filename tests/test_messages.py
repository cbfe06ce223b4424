"""Sentences on stderr for people and, with one option, lines of JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from protome.errors import InputError
from protome.util.memory import available_memory_mb, peak_memory_mb
from protome.util.messages import SWITCH, with_log_format
from protome.util.progress import progress


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin, and end, without a format."""
    monkeypatch.setenv(SWITCH, "")


@pytest.mark.parametrize(
    "words", [["--log-format", "json", "a"], ["a", "--log-format=json"], ["a", "--log-format", "json"]]
)
def test_the_option_may_stand_anywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert with_log_format(words) == ["a"]
    with progress("fit", 2, quiet=True) as step:
        step(1, "loss 0.1")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[0]["stage"] == "fit"
    assert lines[-1]["share"] == 1.0
    assert with_log_format(["a", "--log-format", "text"]) == ["a"]
    with progress("fit", 2, quiet=True) as step:
        step(2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["--log-format"], ["--log-format", "xml"], ["--log-format="]])
def test_other_formats_are_refused(words: list[str]) -> None:
    with pytest.raises(InputError, match=r"--log-format .* means nothing: give text or json"):
        with_log_format(words)


def test_errors_are_objects_with_their_code(
    run: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["reconstruct", str(tmp_path / "gone.jpg"), "--out", str(tmp_path / "out")]
    sentence = f"{tmp_path}/gone.jpg does not exist: give the path of a photo"
    assert run([*words, "--log-format", "json"]) == 2
    assert json.loads(capsys.readouterr().err) == {"level": "error", "message": sentence, "exit_code": 2}
    assert run([*words, "--log-format", "text"]) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_the_peak_of_memory_is_in_megabytes() -> None:
    before = peak_memory_mb()
    if before is None:
        pytest.skip("this system does not say")
    held = np.ones(60_000_000)  # 480 MB
    after = peak_memory_mb()
    assert after is not None
    assert held[-1] == 1
    assert after["process"] >= 480
    assert after["process"] < before["process"] + 700
    free = available_memory_mb()
    assert free is None or 10 < free < 1e8
