"""Lists of subjects in all their forms, from this machine and from an object store, and results back into one."""

from __future__ import annotations

import inspect
import io
import json
import re
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from batches import begun, options, photos
from protome.batch import places
from protome.batch.batch import run_batch
from protome.batch.manifest import parse_options, read_subjects
from protome.batch.places import Place
from protome.batch.records import LEASE_S, Record, Records
from protome.batch.subject import SWITCHES, VALUES, Subject, checked
from protome.cli_reconstruct import reconstruct
from protome.errors import InputError

OUT = Place("out")


@pytest.fixture
def store() -> str:
    """The address of an empty folder in a store in memory."""
    return f"memory://{uuid.uuid4().hex}"


def names(given: object, options: dict[str, str] | None = None) -> dict[str, tuple[str, ...]]:
    return {each.name: each.inputs for each in read_subjects(str(given), OUT, options or {})}


def test_tables_of_all_kinds_say_the_same(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"id": "anna", "photos": ["a/1.jpg", "a/2.jpg"], "preset": "draft", "seed": 3, "detail": True, "scan": "a.ply"},
        {"id": "ben", "photos": ["b.jpg"], "preset": None, "seed": None, "detail": None, "scan": None},
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "list.parquet")
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "list.csv").write_text(
        "\ufeffid,photos,preset,seed,detail,scan\nanna,a/1.jpg; a/2.jpg,draft,3,true,a.ply\nben,b.jpg,,,,\n"
    )
    first = Subject(
        "anna",
        (f"{tmp_path}/a/1.jpg", f"{tmp_path}/a/2.jpg"),
        (("detail", ""), ("preset", "draft"), ("seed", "3")),
        f"{tmp_path}/a.ply",
    )
    for kind in ("csv", "jsonl", "parquet"):
        found = read_subjects(str(tmp_path / f"list.{kind}"), OUT, {"preset": "fine"})
        assert found == [first, Subject("ben", (f"{tmp_path}/b.jpg",), (("preset", "fine"),))]
    assert first.words(["x.jpg"], "o") == [
        "reconstruct", "x.jpg", "--out", "o", "--quiet", "--detail", "--preset", "draft", "--seed", "3",
    ]  # fmt: skip


def test_folders_patterns_and_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path, b="x", a="y")
    (tmp_path / "a.mask.png").touch()
    (tmp_path / "c").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").touch()
    assert names(tmp_path) == {name: (f"{tmp_path}/{path}",) for name, path in
                               (("a", "a.jpg"), ("b", "b.jpg"), ("c", "c"))}  # fmt: skip
    assert set(names(tmp_path / "*.jpg")) == {"a", "b"}
    monkeypatch.setattr("sys.stdin", io.StringIO('front.jpg\n\n{"id": "two", "photos": "s3://x/a.jpg;s3://x/b.jpg"}\n'))
    assert names("-") == {"front": ("front.jpg",), "two": ("s3://x/a.jpg", "s3://x/b.jpg")}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("l.csv", "id,photos\n../x,a.jpg\n", r"line 2: a subject cannot be called '\.\./x'"),
        ("l.csv", "id,photos\nindex.html,a.jpg\n", r"cannot be called 'index\.html'"),
        ("l.csv", "id,photos\na,\n", r"line 2 has no photos"),
        ("l.csv", "id,photos\nA,a.jpg\na,b.jpg\n", r"two subjects of .* are called a"),
        ("l.csv", "id,photos\na,a.jpg,b.jpg\n", r"more cells than columns"),
        ("l.csv", "id,photos,out\na,a.jpg,elsewhere\n", r"line 2: protome reconstruct has no option out: use "),
        ("l.csv", "id,photos,seed\na,a.jpg,--out\n", r"line 2: the option seed cannot be '--out'"),
        ("l.csv", "id,photos,detail\na,a.jpg,maybe\n", r"the option detail is a switch"),
        ("l.csv", "", r"names no subjects"),
        ("l.jsonl", "{no json\n", r"line 1 is no JSON"),
        ("l.jsonl", '{"photos": 3}\n', r"line 1: photos is 3: give one path"),
        ("l.jsonl", '{"photos": "a.jpg", "options": 3}\n', r"line 1: options are 3"),
        ("l.parquet", "no parquet", r"is no Parquet file"),
        ("l.txt", "a.jpg", r"is no list of subjects"),
    ],
)  # fmt: skip
def test_bad_lists_are_one_sentence(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=sentence) as error:
        names(tmp_path / name)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone does not exist: give a folder of subjects"):
        names(tmp_path / "gone")
    with pytest.raises(InputError, match=r"gone://x cannot be opened \(Protocol not known: gone\)"):
        names("gone://x")


def test_options_as_on_the_command_line() -> None:
    assert parse_options("--preset draft --detail --views a b --seed=3") == {
        "preset": "draft", "detail": "", "views": "a b", "seed": "3",
    }  # fmt: skip
    assert Subject.of("x", ("y",), {"views": "a b"}).words(["y"], "o")[-3:] == ["--views", "a", "b"]
    assert checked({"no_detail": "true", "strict": "false"}) == {"no-detail": ""}
    with pytest.raises(InputError, match="begin with a value"):
        parse_options("draft")


def test_every_option_of_the_command_may_be_given() -> None:
    own = {name.replace("_", "-") for name in inspect.signature(reconstruct).parameters} - {
        "inputs",
        "out",
        "quiet",
        "view",
    }
    on = {"report", "refine-cameras"}  # switches that are on by default
    assert (own - on) | {f"no-{name}" for name in on} == VALUES | SWITCHES
    assert not VALUES & SWITCHES


def test_an_object_store_gives_photos_and_takes_results(tmp_path: Path, store: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    Place(f"{store}/in/anna/photo.jpg").write(b"fine")
    Place(f"{store}/in/ben.jpg").write(b"fine too")
    Place(f"{store}/in/ben.mask.png").write(b"mask")
    own = options(tmp_path)
    run_batch(f"{store}/in", f"{store}/out", own, quiet=True)
    assert sorted(child.name for child in Place(f"{store}/out/ben").children()) == [
        "head.ply", "preview.png", "result.json",
    ]  # fmt: skip
    assert Place(f"{store}/out/ben/head.ply").read().startswith(b"fine too ")
    rows = parquet.read_table(io.BytesIO(Place(f"{store}/out/index.parquet").read())).to_pylist()
    assert [(row["id"], row["status"]) for row in rows] == [("anna", "done"), ("ben", "done")]
    assert Place(f"{store}/out/index.html").exists()
    assert not Place(f"{store}/out/.batch/claims/{'0' * 2}").exists()
    run_batch(f"{store}/in", f"{store}/out", own, quiet=True)
    assert sorted(begun(tmp_path)) == ["anna", "ben"]
    Place(f"{store}/in/ben.mask.png").write(b"another mask")
    run_batch(f"{store}/in", f"{store}/out", own, quiet=True)
    assert sorted(begun(tmp_path)) == ["anna", "ben", "ben"]


def test_a_store_that_is_gone_for_a_moment_is_waited_for(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WAITS_S", (0.0, 0.0))
    place, failures = Place(f"{store}/x"), [OSError("gone"), TimeoutError("gone")]

    def work() -> str:
        if failures:
            raise failures.pop()
        return "found"

    assert places.patiently(work, place) == "found"
    failures += [OSError("gone")] * 3
    with pytest.raises(InputError, match=r"x cannot be read or written \(gone\)"):
        places.patiently(work, place)


def test_names_in_a_store_do_not_lead_out_of_a_folder(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Place(f"{store}/in/photo.jpg").write(b"fine")
    monkeypatch.setattr(Place, "files", lambda self: [("../../evil.sh", "1")])
    with pytest.raises(InputError, match="would be written outside its folder"):
        Place(f"{store}/in").fetch(tmp_path / "scratch")
    assert list(tmp_path.iterdir()) == []


def test_claims_in_a_store(store: str) -> None:
    records = Records(Place(store))
    with records.claim("anna") as first, records.claim("anna") as second, records.claim("ben") as other:
        assert (first, second, other) == (True, False, True)
    with records.claim("anna") as again:
        assert again
    claim = records._at("claims", "anna", ".lock")
    claim.write(json.dumps({"owner": "gone", "until": 0}).encode())
    with records.claim("anna") as over:
        assert over  # its holder has not renewed it
    assert LEASE_S > 60


def test_claims_on_this_machine(tmp_path: Path) -> None:
    records = Records(Place(str(tmp_path)))
    with records.claim("anna") as first, records.claim("anna") as second:
        assert (first, second) == (True, False)
    with records.claim("anna") as again:
        assert again


def test_broken_records_are_none(tmp_path: Path) -> None:
    records = Records(Place(str(tmp_path)))
    assert records.all() == {}
    records._at("records", "anna", ".json").write(b"{}")
    assert records.read("anna") is None
    assert records.read("ben") is None
    assert records.all() == {}


def test_the_lists_options_win_over_those_of_all(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"photos": "a.jpg", "options": {"seed": 4}}\n{"photos": "b.jpg"}\n')
    found = read_subjects(str(tmp_path / "list.jsonl"), OUT, {"seed": "1"})
    assert [dict(each.options)["seed"] for each in found] == ["4", "1"]
    assert replace(found[0], options=()).fingerprint != found[0].fingerprint


@pytest.mark.parametrize(
    ("missing", "engine", "sentence"),
    [
        ("pyarrow.parquet", "local", "written with pyarrow: run `pip install pyarrow`"),
        ("ray", "ray", "the engine ray needs Ray: run `pip install ray`, or use --engine local"),
    ],
)
def test_libraries_are_asked_for_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, engine: Literal["local", "ray"], sentence: str
) -> None:
    if missing == "ray":
        pytest.importorskip("pyarrow")
    monkeypatch.setitem(sys.modules, missing, None)
    given = photos(tmp_path / "in", a="fine")
    with pytest.raises(InputError, match=re.escape(sentence)):
        run_batch(str(given), str(tmp_path / "out"), replace(options(tmp_path), engine=engine), quiet=True)
    assert begun(tmp_path) == []


def record(name: str) -> Record:
    """Return what is known of a subject that is done."""
    return Record(name, "done", "", "", "", 3.0, 900.0, 1, None, None, "f", "c", "[]", "{}", "0", "here", 1e9)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_only_records_that_have_changed_since_the_table_are_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    records = Records(Place(str(tmp_path) if kind == "local" else f"memory://words/{uuid.uuid4()}"))
    own = {name: record(name) for name in ("anna", "ben", "cleo")}
    for each in own.values():
        records.write(each)
    assert records.all() == own
    records.write_index(records.all())
    read: list[str] = []
    real = Place.read

    def watched(place: Place) -> bytes:
        read.append(place.name)
        return real(place)

    monkeypatch.setattr(Place, "read", watched)
    later = Records(records.out)
    assert later.all() == own
    assert read == ["index.parquet"]
    # A second run writes one anew, and the first writes its table without knowing of it.
    Records(records.out).write(replace(own["ben"], seconds=7.5))
    later.write_index(own)
    read.clear()
    assert Records(records.out).all() == own | {"ben": replace(own["ben"], seconds=7.5)}
    assert read == ["index.parquet", "ben.json"]
    (records.out / "index.parquet").write(b"no table")
    assert len(Records(records.out).all()) == 3
