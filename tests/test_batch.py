"""Every subject of a batch is done once or recorded as failed, whatever happens to it, to others, or to the run."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from batches import begun, options, photos, stand_in
from protome.batch.batch import run_batch
from protome.batch.places import Place
from protome.batch.process import Limits
from protome.batch.records import KEPT, Record, Records
from protome.errors import IncompleteError, InputError

parquet = pytest.importorskip("pyarrow.parquet")

DRIVER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from batches import options
from protome.batch.batch import run_batch
run_batch(sys.argv[2], sys.argv[3], options(Path(sys.argv[4])), quiet=True)
"""


def table(out: Path) -> dict[str, dict[str, object]]:
    """Return the rows of the table by the subjects' names."""
    return {row["id"]: row for row in parquet.read_table(out / "index.parquet").to_pylist()}


def result(out: Path, name: str) -> str:
    return (out / name / "head.ply").read_text()


def test_each_subject_gets_its_result_its_row_and_its_picture(tmp_path: Path) -> None:
    given = photos(tmp_path / "in", anna="fine", ben="fine")
    (given / "anna.mask.png").write_text("a mask is no subject")
    (given / "cleo").mkdir()
    (given / "cleo" / "photo.jpg").write_text("fine too")
    out = tmp_path / "out"
    count = run_batch(str(given), str(out), replace(options(tmp_path), options={"preset": "draft"}), quiet=True)
    assert (count.subjects, count.worked_on, count.failed, count.left) == (3, 3, 0, 0)
    rows = table(out)
    assert set(rows) == {"anna", "ben", "cleo"}
    assert rows["anna"]["status"] == "done"
    assert rows["anna"]["warnings"] == "a little dark"
    assert rows["anna"]["options"] == '{"preset": "draft"}'
    assert json.loads(str(rows["cleo"]["inputs"])) == [str(given / "cleo")]
    assert result(out, "cleo") == f"fine too {out / 'cleo'} --quiet --preset draft"
    page = (out / "index.html").read_text()
    for name in rows:
        assert Records(Place(str(out))).thumbnail(name).local.is_file()
        assert f'"{name}"' in page


def test_faults_are_recorded_in_one_sentence_and_leave_the_others_alone(tmp_path: Path) -> None:
    said = {"a": "refuse", "b": "segfault", "c": "bug", "d": "hang", "e": "fine", "f": "once", "g": "eat"}
    given, out = photos(tmp_path / "in", **said), tmp_path / "out"
    limits = Limits(retries=1, timeout_s=4.0, memory_gb=0.2)
    with pytest.raises(IncompleteError, match=r"^5 of 7 subjects failed, the first of them a \(no face found in it"):
        run_batch(str(given), str(out), options(tmp_path, limits, jobs=3), quiet=True)
    rows = table(out)
    assert {name: (row["kind"], row["error"]) for name, row in rows.items()} == {
        "a": ("refused", "no face found in it: give another photo"),
        "b": ("crashed", "the process ended by the signal SIGSEGV"),
        "c": ("crashed", "the process ended with code 1 (RuntimeError: a bug)"),
        "d": ("time", "the time limit of 4 s was over"),
        "e": ("", ""),
        "f": ("", ""),
        "g": ("memory", "the memory limit of 0.2 GB was over"),
    }
    # A crash is tried again, bad input and limits are not.
    assert {name: row["attempts"] for name, row in rows.items()} == {
        "a": 1, "b": 2, "c": 2, "d": 1, "e": 1, "f": 2, "g": 1,
    }  # fmt: skip
    assert sorted(begun(tmp_path)) == sorted("abbccdeffg")
    assert not (out / "b").exists()
    assert float(str(rows["g"]["peak_memory_mb"])) > 200


def test_only_what_changed_is_done_again(tmp_path: Path) -> None:
    given, out = photos(tmp_path / "in", a="fine", b="fine", c="refuse", d="bug"), tmp_path / "out"

    def run(**changed: object) -> list[str]:
        (tmp_path / "log.txt").unlink(missing_ok=True)
        own = replace(options(tmp_path, Limits(retries=0)), **changed)  # type: ignore[arg-type]
        with pytest.raises(IncompleteError):
            run_batch(str(given), str(out), own, quiet=True)
        return sorted(begun(tmp_path))

    assert run() == ["a", "b", "c", "d"]
    assert run() == ["d"]  # it may not crash the next time; the others would come out as they are
    (given / "a.jpg").write_text("fine, another")
    (given / "b.mask.png").write_text("a mask beside it")
    assert run() == ["a", "b", "d"]
    assert result(out, "a").startswith("fine, another")
    os.utime(given / "a.jpg", (1, 1))
    assert run() == ["d"]  # touched, but the same content
    assert run(options={"seed": "3"}) == ["a", "b", "c", "d"]
    assert run(options={"seed": "3"}, resume=False) == ["a", "b", "c", "d"]


def test_a_limit_leaves_the_rest_for_the_next_run(tmp_path: Path) -> None:
    given, out = photos(tmp_path / "in", a="fine", b="fine", c="fine"), tmp_path / "out"
    own = replace(options(tmp_path), limit=2)
    assert run_batch(str(given), str(out), own, quiet=True).left == 1
    assert sorted(begun(tmp_path)) == ["a", "b"]
    assert run_batch(str(given), str(out), own, quiet=True).left == 0
    assert sorted(begun(tmp_path)) == ["a", "b", "c"]


def test_a_scan_gives_errors(tmp_path: Path) -> None:
    photos(tmp_path / "in", a="fine", b="fine", scan="not a photo")
    listed = tmp_path / "in" / "list.csv"
    listed.write_text("id,photos,scan\na,a.jpg,scan.jpg\nb,b.jpg,\n")
    run_batch(str(listed), str(tmp_path / "out"), options(tmp_path), quiet=True)
    rows = table(tmp_path / "out")
    assert (rows["a"]["face_mm"], rows["a"]["head_mm"]) == (1.25, 4.5)
    assert (rows["b"]["face_mm"], rows["b"]["head_mm"]) == (None, None)


def interruptible() -> None:
    """Let a child be interrupted also where the tests run in the background, where interruptions are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_driver(given: Path, out: Path, tmp_path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", DRIVER, str(Path(__file__).parent), str(given), str(out), str(tmp_path)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=interruptible)


def test_a_killed_run_is_continued_with_nothing_missing_and_nothing_done_twice(tmp_path: Path) -> None:
    stand_in(tmp_path)
    names = [f"s{number:02d}" for number in range(12)]
    given, out = photos(tmp_path / "in", **dict.fromkeys(names, "slow 0.3")), tmp_path / "out"
    chance = random.Random(0)
    for _ in range(3):
        driver = start_driver(given, out, tmp_path)
        done = len(list((out / KEPT / "records").glob("*/*.json")))
        deadline = time.monotonic() + 60
        while len(list((out / KEPT / "records").glob("*/*.json"))) < done + 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.3))
        driver.kill()
        driver.communicate()
    recorded = {path.stem for path in (out / KEPT / "records").glob("*/*.json")}
    assert 6 <= len(recorded) < 12
    before = begun(tmp_path)
    run_batch(str(given), str(out), options(tmp_path), quiet=True)
    assert set(table(out)) == set(names)
    assert all((out / name / "result.json").is_file() for name in names)
    assert set(begun(tmp_path)[len(before) :]) == set(names) - recorded  # what was done is not done again
    assert not [path for path in out.rglob("*.partial*") if time.time() - path.stat().st_mtime > 60]
    assert not list((out / KEPT / "claims").glob("*/*"))


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_result_that_a_killed_run_could_not_record_is_not_done_twice(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, own = photos(tmp_path / "in", a="fine"), options(tmp_path)
    out = Place(str(tmp_path / "out") if kind == "local" else f"memory://{uuid.uuid4().hex}")
    for after in (["a"], ["a", "a"]):  # the second time the photo is another one
        with monkeypatch.context() as patch:
            patch.setattr(Records, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                run_batch(str(given), out.address, own, quiet=True)
        assert begun(tmp_path) == after
        run_batch(str(given), out.address, own, quiet=True)
        assert begun(tmp_path) == after
        row = parquet.read_table(io.BytesIO((out / "index.parquet").read())).to_pylist()[0]
        assert row["status"] == "done"
        assert str(row["warnings"]).startswith("the run was ended before this result was")
        assert Records(out).thumbnail("a").exists()
        photos(given, a="another")
    assert (out / "a" / "head.ply").read().startswith(b"another")
    photos(given, a="fine, yet another")
    run_batch(str(given), out.address, own, quiet=True)
    assert begun(tmp_path) == ["a"] * 3  # a complete result of other inputs counts for nothing


def test_an_upload_that_was_cut_off_leaves_no_result_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, own = photos(tmp_path / "in", a="fine"), options(tmp_path)
    out = Place(f"memory://{uuid.uuid4().hex}")
    run_batch(str(given), out.address, own, quiet=True)
    store, _ = out.store()
    real = store.put_file

    def cut(source: str, target: str) -> None:
        real(source, target)
        raise KeyboardInterrupt

    photos(given, a="another")
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put_file", lambda self, source, target: cut(source, target))
        with pytest.raises(KeyboardInterrupt):
            run_batch(str(given), out.address, own, quiet=True)
    photos(given, a="fine")  # what the first result was made from, one of whose files is another one by now
    Records(out)._at("records", "a", ".json").write(b"{}")
    run_batch(str(given), out.address, own, quiet=True)
    assert begun(tmp_path) == ["a"] * 3
    assert (out / "a" / "head.ply").read().startswith(b"fine")


def killed(self: Records, record: Record) -> None:
    """Stand for a process that is killed where it would write a record."""
    raise KeyboardInterrupt


def test_two_runs_at_once_share_the_work(tmp_path: Path) -> None:
    stand_in(tmp_path)
    names = [f"s{number:02d}" for number in range(10)]
    given, out = photos(tmp_path / "in", **dict.fromkeys(names, "slow 0.2")), tmp_path / "out"
    drivers = [start_driver(given, out, tmp_path) for _ in range(2)]
    said = [driver.communicate(timeout=120)[1] for driver in drivers]
    assert said == [b"", b""]
    assert [driver.returncode for driver in drivers] == [0, 0]
    assert sorted(begun(tmp_path)) == names  # each once
    assert set(table(out)) == set(names)


def test_a_stopped_run_ends_its_processes(tmp_path: Path) -> None:
    given, out = photos(tmp_path / "in", a="hang", b="hang"), tmp_path / "out"
    stand_in(tmp_path)
    driver = start_driver(given, out, tmp_path)
    deadline = time.monotonic() + 60
    while len(begun(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    try:
        driver.communicate(timeout=30)
    finally:
        driver.kill()
    assert not (out / KEPT / "records").exists()
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False).stdout
    assert str(tmp_path / "stand_in.py") not in listed


def test_results_do_not_replace_inputs(tmp_path: Path) -> None:
    given = tmp_path / "in"
    (given / "a").mkdir(parents=True)
    (given / "a" / "photo.jpg").write_text("fine")
    with pytest.raises(InputError, match="the result of a would be mixed with its input"):
        run_batch(str(given), str(given), options(tmp_path), quiet=True)
    run_batch(str(given), str(given / "results"), options(tmp_path), quiet=True)
    run_batch(str(given), str(given / "results"), options(tmp_path), quiet=True)  # which are no subjects
    assert begun(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"jobs": 0}, "--jobs 0 is out of range"),
        ({"limit": 0}, "--limit 0 is out of range"),
        ({"limits": Limits(retries=-1)}, "--retries -1 is out of range"),
        ({"limits": Limits(cpus=0)}, "--cpus-per-subject 0 is out of range"),
        ({"limits": Limits(memory_gb=0)}, "--memory 0 is out of range"),
        ({"limits": Limits(timeout_s=-2)}, "--timeout -2 is out of range"),
        ({"address": "here:1"}, "--address is that of a Ray cluster"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, changed: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        run_batch(str(tmp_path), str(tmp_path / "out"), replace(options(tmp_path), **changed))  # type: ignore[arg-type]
