"""A result of several files is the complete old or the complete new one, whatever happens on the way."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from protome.errors import InputError
from protome.util import together
from protome.util.together import READY, swap, write_together

NAMES = ("head.ply", "result.json", *(f"part_{number:02d}" for number in range(20)))

FOREVER = """
import itertools, json, sys
from pathlib import Path
from protome.util import together
names, in_place = sys.argv[2].split(","), sys.argv[3] == "in place"
if in_place:
    def refuse(*_): raise OSError(18, "no exchange")
    together.swap = refuse
def write(part, text):
    for name in names:
        (part / name).write_text(json.dumps({"files": names, "made": text}) if name == "result.json" else text)
for number in itertools.count(1):
    print(number, flush=True)
    together.write_together(Path(sys.argv[1]), lambda part: write(part, str(number)))
"""


def result(text: str, names: tuple[str, ...] = NAMES) -> Callable[[Path], None]:
    """Return what writes a result, all of whose files have the same content."""

    def write(part: Path) -> None:
        for name in names:
            (part / name).write_text(json.dumps({"files": names, "made": text}) if name == "result.json" else text)

    return write


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def made(folder: Path) -> set[str]:
    """Return what the files of a result say of when they were made; one entry in a whole result."""
    found = contents(folder)
    return {json.loads(found[name])["made"] if name == "result.json" else found[name] for name in NAMES}


def no_exchange(*_: object) -> None:
    raise OSError(18, "Invalid cross-device link")


@pytest.fixture(params=["exchange", "in place"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test where folders can be exchanged, and where they cannot."""
    if request.param == "in place":
        monkeypatch.setattr(together, "swap", no_exchange)
    return str(request.param)


def test_two_folders_exchange_their_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    swap(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()
    with pytest.raises(OSError, match="No such file"):
        swap(tmp_path / "a", tmp_path / "c")


@pytest.mark.usefixtures("way")
def test_a_result_takes_the_place_of_an_older_one_and_leaves_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_together(out, result("old", ("result.json", "head.ply", "head.obj")))
    (out / "photos" / "below").mkdir(parents=True)
    (out / "photos" / "below" / "me.jpg").write_text("photo")
    (out / "notes.txt").write_text("mine")
    (out / "link").symlink_to("notes.txt")
    write_together(out, result("new"))
    found = contents(out)
    assert made(out) == {"new"}
    assert {name for name in found if name not in NAMES} == {"photos/below/me.jpg", "notes.txt", "link"}
    assert found["photos/below/me.jpg"] == "photo"
    assert (out / "link").is_symlink()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_appears_while_folders_are_exchanged_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    write_together(out, result("old"))

    def swap_late(one: Path, other: Path) -> None:
        (other / "late.txt").write_text("saved this moment")
        swap(one, other)

    monkeypatch.setattr(together, "swap", swap_late)
    write_together(out, result("new"))
    assert made(out) == {"new"}
    assert (out / "late.txt").read_text() == "saved this moment"


def test_files_that_the_old_result_does_not_list_are_kept(tmp_path: Path) -> None:
    for listed in ("no json", "[]", '{"files": 3}', '{"files": ["..", ".", "/etc", "sub/x", 4, "sub"]}'):
        (tmp_path / "sub").mkdir(exist_ok=True)
        (tmp_path / "sub" / "x").write_text("kept")
        (tmp_path / "result.json").write_text(listed)
        write_together(tmp_path, result("new"))
        assert (tmp_path / "sub" / "x").read_text() == "kept"


@pytest.mark.usefixtures("way")
def test_files_that_are_added_to_a_result_leave_all_of_it(tmp_path: Path) -> None:
    (tmp_path / together.RECORD).write_text(json.dumps({"files": ["head.glb", together.RECORD]}))
    (tmp_path / "head.glb").write_text("head")
    write_together(tmp_path, lambda folder: (folder / "head_rigged.glb").write_text("rig"))
    assert {path.name for path in tmp_path.iterdir()} == {together.RECORD, "head.glb", "head_rigged.glb"}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("failure", [ValueError("bug"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_writer_leaves_the_old_result(tmp_path: Path, failure: BaseException) -> None:
    out = tmp_path / "out"
    write_together(out, result("old"))
    before = contents(out)

    def fail(part: Path) -> None:
        (part / "head.ply").write_text("half")
        raise failure

    with pytest.raises(InputError if isinstance(failure, OSError) else type(failure)):
        write_together(out, fail)
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("way")
def test_a_folder_in_the_way_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out" / "head.ply").mkdir(parents=True)
    (tmp_path / "out" / "head.ply" / "x").write_text("kept")
    with pytest.raises(InputError, match=r"cannot write into .* \(Is a directory: .*head\.ply\)"):
        write_together(tmp_path / "out", result("new"))
    assert contents(tmp_path / "out") == {"head.ply/x": "kept"}


def test_a_shell_that_works_in_the_folder_stays_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_together(tmp_path / "out", result("old"))
    monkeypatch.chdir(tmp_path / "out")
    write_together(Path("."), result("new"))
    assert made(Path.cwd()) == {"new"}
    assert os.path.samefile(".", tmp_path / "out")


def test_a_folder_beside_which_nothing_can_be_written_is_filled_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_together(out, result("old"))
    real = Path.mkdir

    def only_inside(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.parent == tmp_path and self != out:
            raise PermissionError(13, "Permission denied")
        real(self, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", only_inside)
    write_together(out, result("new"))
    assert made(out) == {"new"}
    assert {path.name for path in out.iterdir()} == set(NAMES)


def test_a_half_moved_result_is_finished_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "swap", no_exchange)
    write_together(tmp_path, result("old"))
    real, moved = os.replace, 0

    def stop_after_three(source: Path, target: Path) -> None:
        nonlocal moved
        if moved == 3:
            raise KeyboardInterrupt
        moved += 1
        real(source, target)

    monkeypatch.setattr(together.os, "replace", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        write_together(tmp_path, result("new"))
    assert not (tmp_path / "result.json").exists()  # nothing says that this is a result
    monkeypatch.setattr(together.os, "replace", real)
    together.finish(tmp_path)
    assert made(tmp_path) == {"new"}
    assert not (tmp_path / READY).exists()


@pytest.mark.parametrize("in_place", ["exchange", "in place"])
def test_a_killed_process_leaves_a_whole_result(tmp_path: Path, in_place: str) -> None:
    out, chance = tmp_path / "out", random.Random(1)
    write_together(out, result("old"))
    seen = set()
    for _ in range(8):
        command = [sys.executable, "-c", FOREVER, str(out), ",".join(NAMES), in_place]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(chance.randint(1, 4)):
            child.stdout.readline()
        time.sleep(chance.uniform(0, 0.02))
        child.kill()
        child.communicate()
        if in_place == "in place":
            together.finish(out)
        assert len(made(out)) == 1
        seen |= made(out)
    assert len(seen) > 1  # at different moments
    write_together(out, result("last"))
    assert {path.name for path in out.iterdir()} == set(NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
