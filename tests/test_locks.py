"""One run at a time writes to a place, and what a killed run left there is removed by the next."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protome.errors import InputError
from protome.util.locks import LOCK, only_run
from protome.util.scratch import scratch_folder

HOLD = """
import sys, time
from pathlib import Path
from protome.util.locks import only_run
with only_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
IN_SCRATCH = """
import time
from protome.util.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "images.npz").touch()
    print(folder, flush=True)
    time.sleep(600)
"""


def started(script: str, *given: object) -> subprocess.Popen[str]:
    """Start a script and return it when it has said a line."""
    command = [sys.executable, "-c", script, *map(str, given)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another run that holds the folder `out`."""
    (tmp_path / "out").mkdir()
    child = started(HOLD, tmp_path / "out")
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def test_the_second_run_is_refused_and_nothing_changes(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    (tmp_path / "out" / f".head.{other.pid}.partial.ply").touch()
    with pytest.raises(InputError, match=rf"^another run \(process {other.pid} on .*\) writes to {tmp_path}/out: wait"):
        with only_run(tmp_path / "out"):
            pass
    assert (tmp_path / "out" / f".head.{other.pid}.partial.ply").exists()


def test_the_lock_of_a_killed_run_stops_nobody(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    (tmp_path / "out" / f".head.{other.pid}.partial.ply").touch()
    (tmp_path / "out" / "sub").mkdir()
    (tmp_path / "out" / "sub" / f".a.{other.pid}.partial").touch()
    (tmp_path / f".out.{other.pid}.partial").mkdir()
    (tmp_path / f".other.{other.pid}.partial").mkdir()
    other.kill()
    other.wait()
    assert (tmp_path / "out" / LOCK).exists()
    with only_run(tmp_path / "out"):
        assert [path.name for path in (tmp_path / "out").iterdir() if path.name != "sub"] == [LOCK]
    assert list((tmp_path / "out" / "sub").iterdir()) == []
    assert not (tmp_path / "out" / LOCK).exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "out"] == [f".other.{other.pid}.partial"]


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    theirs = tmp_path / f".head.{os.getppid()}.partial.ply"
    theirs.touch()
    (tmp_path / ".head.x.partial.ply").touch()
    with only_run(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {theirs.name, ".head.x.partial.ply"}


def test_a_run_may_hold_its_own_place_again(tmp_path: Path) -> None:
    with only_run(tmp_path):
        with only_run(tmp_path / ".." / tmp_path.name):
            pass
        assert (tmp_path / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


def test_files_have_locks_of_their_own(tmp_path: Path) -> None:
    with only_run(tmp_path / "a.safetensors"):
        with only_run(tmp_path / "b.safetensors"):
            assert {path.name for path in tmp_path.iterdir()} == {".a.safetensors.lock", ".b.safetensors.lock"}
    assert list(tmp_path.iterdir()) == []


def test_temporary_folders_of_killed_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "protome-mine").mkdir()
    (tmp_path / "protome-mine" / "thesis.txt").write_text("kept")
    children = [started(IN_SCRATCH), started(IN_SCRATCH)]
    folders = [Path(child.stdout.readline().strip()) for child in children if child.stdout is not None]
    children[0].kill()
    children[0].communicate()
    with scratch_folder() as own:
        assert {path.name for path in tmp_path.iterdir()} == {"protome-mine", folders[1].name, own.name}
    children[1].kill()
    children[1].communicate()
    assert not own.exists()


def test_no_space_for_temporary_files_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(InputError, match=rf"cannot write temporary files into {tmp_path} \(No space left on device\)"):
        with scratch_folder():
            raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
