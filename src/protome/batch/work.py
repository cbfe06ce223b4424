"""The work on one subject, on whatever machine: fetch, reconstruct, measure, store and record."""

from __future__ import annotations

import io
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from PIL import Image

from protome.batch.places import Place
from protome.batch.process import CHILD, Ended, Limits, run_limited
from protome.batch.records import Record, Records
from protome.batch.subject import Subject
from protome.errors import InputError
from protome.util.content import KEY
from protome.util.engines import Work
from protome.util.scratch import scratch_folder

THUMBNAIL = 96
"""Pixels along each side of the two pictures in a subject's thumbnail."""
RECORD_OF_RESULT = "result.json"
UNRECORDED = "the run was ended before this result was recorded: its warnings are not known"
PREVIEW_GRID = (2, 5)
"""Rows and columns of the preview sheet; its first two pictures are the photo and the head."""


@dataclass(frozen=True)
class Task:
    """One subject and how to work on it."""

    subject: Subject
    out: str
    """The folder of all results: a path or an address."""
    limits: Limits
    again: bool = False
    """Do it although nothing has changed."""
    program: tuple[str, ...] = CHILD
    """What runs a command of this package."""
    cards: str | None = None
    """The graphics cards that its process sees, separated by commas; None is all that the engine's process sees."""


def work(task: Task) -> Record | None:
    """Reconstruct one subject, unless that is done already, and return its record; None if somebody else does it.

    Whatever is wrong with the subject is recorded.

    Raises:
        InputError: the record cannot be written.
    """
    records = Records(Place(task.out))
    with records.claim(task.subject.name) as own:
        if not own:
            return None
        known = records.read(task.subject.name)
        record = _attempted(task, known)
        if record is not known:
            records.write(record)
        return record


def is_current(record: Record | None, fingerprint: str) -> bool:
    """Return whether a subject is not to be done again: it is done, or was refused, and nothing has changed.

    Subjects that crashed or were over a limit are tried again by the next run, which may have other limits.
    """
    return record is not None and record.fingerprint == fingerprint and _is_final(record)


def _is_final(record: Record) -> bool:
    return record.status == "done" or record.kind == "refused"


def _attempted(task: Task, known: Record | None) -> Record:
    """Return what becomes of a subject: the known record itself if nothing was to be done."""
    subject, started = task.subject, time.monotonic()
    fingerprint = content = ""
    try:
        fingerprint = subject.fingerprint()
        if not task.again and known is not None and is_current(known, fingerprint):
            return known
        content = subject.content_hash()
        if not task.again and known is not None and known.content_hash == content and _is_final(known):
            return replace(known, fingerprint=fingerprint)
        return _reconstructed(task, fingerprint, content)
    except InputError as error:
        ended = Ended("refused", str(error), (), time.monotonic() - started, 0.0, "")
    except Exception as error:  # whatever it is, the other subjects go on
        ended = Ended("crashed", f"{type(error).__name__}: {error}", (), time.monotonic() - started, 0.0, "")
    return recorded(subject, ended, fingerprint, content)


def _unrecorded(out: Place, content: str) -> Ended | None:
    """Return how the work ended whose result is complete but not recorded, as after a run that was killed.

    The result itself says what it was made from. None if it is missing, or is of other inputs or options.
    """
    try:
        facts = json.loads((out / RECORD_OF_RESULT).read())
        if facts[KEY] != content:
            return None
    except (InputError, ValueError, KeyError, TypeError):
        return None
    seconds, memory = facts.get("seconds"), facts.get("peak_memory_mb")
    return Ended(
        kind="",
        error="",
        warnings=(UNRECORDED,),
        seconds=sum(seconds.values()) if isinstance(seconds, dict) else 0.0,
        peak_memory_mb=memory["process"] if isinstance(memory, dict) else 0.0,
        log="",
    )


def _reconstructed(task: Task, fingerprint: str, content: str) -> Record:
    """Reconstruct a subject; where its result is complete, only what follows is done."""
    subject, out = task.subject, Place(task.out) / task.subject.name
    known = None if task.again else _unrecorded(out, content)
    with scratch_folder() as scratch:
        folder = scratch / "result" / subject.name if out.remote else out.local
        ended, attempt = _run(task, folder, scratch, content) if known is None else (known, 1)
        if known is not None and out.remote:
            out.fetch(scratch / "result")
        errors: tuple[float | None, float | None] = (None, None)
        if not ended.kind:
            if subject.scan is not None:
                errors, ended = _measured(task, folder, scratch, ended)
            _save_thumbnail(task, folder)
            if known is None and out.remote:
                out.upload(folder, RECORD_OF_RESULT)
    return recorded(subject, ended, fingerprint, content, attempt, *errors)


def _run(task: Task, folder: Path, scratch: Path, content: str) -> tuple[Ended, int]:
    """Reconstruct a subject into a folder of this machine; return how that ended, and after how many attempts."""
    subject, attempt = task.subject, 1
    inputs = [_here(Place(each), scratch / f"input_{k}") for k, each in enumerate(subject.inputs)]
    words = subject.words(list(map(str, inputs)), str(folder))
    ended = run_limited(words, task.limits, task.program, task.cards, content)
    while ended.kind == "crashed" and attempt <= task.limits.retries:
        ended, attempt = run_limited(words, task.limits, task.program, task.cards, content), attempt + 1
    if ended.kind:
        with suppress(OSError):
            folder.rmdir()  # it was made before the fault, and is empty; the result of an earlier run stays
    return ended, attempt


def _here(place: Place, folder: Path) -> Path:
    """Return a path of this machine for an input, which is copied if it lies in an object store."""
    if not place.remote:
        return place.local
    folder.mkdir()
    return place.fetch(folder)


def _measured(task: Task, folder: Path, scratch: Path, ended: Ended) -> tuple[tuple[float | None, float | None], Ended]:
    """Measure a result against its scan; a scan that cannot be used is a warning, and the result stays."""
    subject = task.subject
    assert subject.scan is not None
    own, numbers = scratch / "landmarks.json", scratch / "errors.json"
    own.write_text(json.dumps(json.loads((folder / RECORD_OF_RESULT).read_text())["landmarks"]))
    words = ["evaluate", str(folder / "head.ply"), str(_here(Place(subject.scan), scratch / "scan"))]
    if subject.scan_landmarks is not None:
        marks = _here(Place(subject.scan_landmarks), scratch / "marks")
        words += ["--landmarks", str(marks), "--pred-landmarks", str(own)]
    found = run_limited([*words, "--json", str(numbers), "--quiet"], task.limits, task.program, task.cards)
    if found.kind:
        warned = (*ended.warnings, f"not measured against the scan: {found.error}")
        return (None, None), replace(ended, warnings=warned)
    means = {row["name"]: row["mean"] for row in json.loads(numbers.read_text())["rows"]}
    return (means.get("face, truth to prediction"), means.get("head, truth to prediction")), ended


def _save_thumbnail(task: Task, folder: Path) -> None:
    """Keep the photo and the head of the preview as a small picture, where there is a preview."""
    try:
        with Image.open(folder / "preview.png") as sheet:
            rows, columns = PREVIEW_GRID
            side = (sheet.width // columns, sheet.height // rows)
            two = sheet.convert("RGB").crop((0, 0, 2 * side[0], side[1])).resize((2 * THUMBNAIL, THUMBNAIL))
    except (OSError, ValueError):
        return
    held = io.BytesIO()
    two.save(held, "JPEG", quality=85)
    Records(Place(task.out)).thumbnail(task.subject.name).write(held.getvalue())


def recorded(
    subject: Subject,
    ended: Ended,
    fingerprint: str,
    content: str,
    attempts: int = 0,
    face_mm: float | None = None,
    head_mm: float | None = None,
) -> Record:
    """Return the record of how a subject ended."""
    try:
        version = metadata.version("protome")
    except metadata.PackageNotFoundError:
        version = "not installed as a package"
    return Record(
        id=subject.name,
        status="failed" if ended.kind else "done",
        kind=ended.kind,
        error=ended.error,
        warnings="\n".join(ended.warnings),
        seconds=round(ended.seconds, 3),
        peak_memory_mb=round(ended.peak_memory_mb, 1),
        attempts=attempts,
        face_mm=face_mm,
        head_mm=head_mm,
        fingerprint=fingerprint,
        content_hash=content,
        inputs=json.dumps(list(subject.inputs)),
        options=json.dumps(dict(subject.options)),
        protome=version,
        host=f"{socket.gethostname()} {os.getpid()}",
        finished=round(time.time(), 3),
        log=ended.log,
    )


def _lost(task: Task, reason: str) -> Record:
    """Return the record of a subject whose process or machine was gone too often."""
    return recorded(task.subject, Ended("lost", reason, (), 0.0, 0.0, ""), "", "", task.limits.retries + 1)


WORK: Work[Task, Record | None] = Work(work, lost=_lost, tensors=False)
"""What engines do with subjects."""
