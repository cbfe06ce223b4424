"""Lists of subjects: a folder, a pattern, a table in CSV, JSONL or Parquet, or lines on the standard input."""

from __future__ import annotations

import csv
import importlib
import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from protome.batch.places import Place
from protome.batch.subject import Subject
from protome.cli_outputs import PHOTO_SUFFIXES
from protome.errors import InputError

TABLES = (".csv", ".jsonl", ".ndjson", ".parquet")
OWN = ("id", "photos", "photo", "inputs", "input", "scene", "options", "scan", "scan_landmarks")
"""Columns of a table that are not options of `protome reconstruct`."""


def read_subjects(given: str, out: Place, options: dict[str, str]) -> list[Subject]:
    """Return the subjects that an argument of the command line names, in order.

    A folder holds one subject in each folder, and in each photo that lies in it directly. A pattern with * names the
    photos, or folders, of one subject each. A table has a line for each subject: its `id`, its `photos` (several
    separated by semicolons, or a list) or `scene`, a `scan` to measure against with its `scan_landmarks`, and any
    option of `protome reconstruct`. Paths are relative to the table. `-` reads lines of JSON, or one path a line.
    `options` are those of all subjects that do not have their own.

    Raises:
        InputError: there is none; two have one name; or an entry is not usable. The sentence names it.
    """
    place = Place(given)
    if given == "-":
        subjects = _lines(sys.stdin.read(), "the standard input", None, options)
    elif any(sign in given for sign in "*?[") and (place.remote or not place.local.exists()):
        subjects = _each(place.matches(), out, options)
    elif not place.exists():
        raise InputError(f"{given} does not exist: give a folder of subjects, a table, a pattern, or -")
    elif place.is_folder():
        subjects = _each(place.children(), out, options)
    elif place.name.lower().endswith(TABLES):
        subjects = _table(place, options)
    else:
        raise InputError(f"{given} is no list of subjects: give a folder, a pattern, or a file of {', '.join(TABLES)}")
    if not subjects:
        raise InputError(f"{given} names no subjects: give a folder that holds a folder, or a photo, of each")
    seen: dict[str, str] = {}
    for subject in subjects:
        if subject.name.casefold() in seen:
            raise InputError(f"two subjects of {given} are called {subject.name}: give each an id of its own")
        seen[subject.name.casefold()] = subject.name
    return subjects


def _each(places: Iterable[Place], out: Place, options: dict[str, str]) -> list[Subject]:
    """Return a subject for each folder and photo; masks, and the folder of results, are none."""
    subjects = []
    for place in places:
        name = PurePosixPath(place.name)
        if place.name.startswith(".") or place.address.rstrip("/") == out.address.rstrip("/"):
            continue
        if not place.remote and not out.remote and place.local.resolve() == out.local.resolve():
            continue
        if name.suffix.lower() in PHOTO_SUFFIXES - {".xml", ".csv", ".xmp"} and not name.stem.endswith(".mask"):
            subjects.append(Subject.of(name.stem, (place.address,), options))
        elif place.is_folder():
            subjects.append(Subject.of(place.name, (place.address,), options))
    return subjects


def _table(place: Place, options: dict[str, str]) -> list[Subject]:
    content = place.read()
    base = Place(place.address[: -len(place.name)].rstrip("/") or ".")
    if place.name.lower().endswith(".parquet"):
        return [
            _subject(row, f"{place.address}, row {k}", base, options)
            for k, row in enumerate(_parquet(content, place), 1)
        ]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{place.address} is not text in UTF-8: save it as such") from error
    if not place.name.lower().endswith(".csv"):
        return _lines(text, place.address, base, options)
    try:
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise InputError(f"{place.address} is no CSV file ({error}): give one with a line of column names") from error
    if any(None in row for row in rows):
        raise InputError(f"{place.address} has a line with more cells than columns: put cells with commas in quotes")
    return [_subject(row, f"{place.address}, line {k}", base, options) for k, row in enumerate(rows, 2)]


def _parquet(content: bytes, place: Place) -> list[dict[str, Any]]:
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        return parquet.read_table(io.BytesIO(content)).to_pylist()  # type: ignore[no-any-return]
    except Exception as error:  # the library has many kinds
        reason = str(error).splitlines()[0]
        raise InputError(f"{place.address} is no Parquet file ({reason}): write it again") from error


def _lines(text: str, source: str, base: Place | None, options: dict[str, str]) -> list[Subject]:
    subjects = []
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{source}, line {number}"
        if line.lstrip().startswith("{"):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{where} is no JSON ({error}): write one object on each line") from error
            subjects.append(_subject(row, where, base, options))
        elif line.strip():
            subjects.append(_subject({"photos": line.strip()}, where, base, options))
    return subjects


def _subject(row: dict[str, Any], where: str, base: Place | None, options: dict[str, str]) -> Subject:
    """Return the subject of one line; empty cells are not given."""
    own = {str(key).strip(): value for key, value in row.items() if value is not None and value != ""}
    inputs: list[str] = []
    for key in ("photos", "photo", "inputs", "input", "scene"):
        value = own.get(key, [])
        if not isinstance(value, str | list) or (
            isinstance(value, list) and not all(isinstance(v, str) for v in value)
        ):
            raise InputError(f"{where}: {key} is {value!r}: give one path, or a list of paths")
        inputs += value.split(";") if isinstance(value, str) else value
    inputs = [_below(base, each.strip()) for each in inputs if each.strip()]
    given = own.get("options", {})
    if isinstance(given, str):
        given = parse_options(given)
    if not isinstance(given, dict):
        raise InputError(f"{where}: options are {given!r}: give an object, or words as on the command line")
    found = options | {key: _text(value) for key, value in (given | own).items() if key not in OWN}
    if not inputs:
        raise InputError(f"{where} has no photos: give photos, separated by semicolons, or a scene")
    name = str(own.get("id", PurePosixPath(inputs[0].rstrip("/")).stem))
    scan, marks = (None if own.get(key) is None else _below(base, str(own[key])) for key in ("scan", "scan_landmarks"))
    try:
        return Subject.of(
            name, tuple(inputs), options | {key: _text(value) for key, value in found.items()}, scan, marks
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _below(base: Place | None, given: str) -> str:
    """Return a path of a table, which is relative to the table's folder."""
    if base is None or "://" in given or Place(given).local.is_absolute():
        return given
    return (base / given).address


def parse_options(words: str) -> dict[str, str]:
    """Return options from words as on the command line: "--preset draft --detail".

    Raises:
        InputError: they begin with a value.
    """
    found: dict[str, str] = {}
    key = None
    for word in words.split():
        if word.startswith("--"):
            key, _, value = word[2:].partition("=")
            found[key] = value
        elif key is None:
            raise InputError(
                f"the options {words!r} begin with a value: give them as on the command line, --preset draft"
            )
        else:
            found[key] = f"{found[key]} {word}".strip()
    return found
