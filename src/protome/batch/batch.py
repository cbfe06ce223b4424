"""`protome batch`: many subjects, each done once, whatever happens on the way."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from protome.batch.cards import cards_here, check_share, shares
from protome.batch.engines import Local
from protome.batch.manifest import read_subjects
from protome.batch.places import Place
from protome.batch.process import CHILD, Limits
from protome.batch.records import INDEX, KEPT, Record, Records, check_index_library
from protome.batch.subject import Subject
from protome.batch.summary import PAGE, write_summary
from protome.batch.work import WORK, Task, is_current
from protome.errors import IncompleteError, InputError
from protome.util.engines import Name, Ray, Share, check_engine
from protome.util.files import check_inputs_stay, check_output_folder
from protome.util.locks import partial
from protome.util.progress import progress

INDEX_EVERY_S = 10.0
"""Seconds between two writes of the table and the page while subjects are done; more where a write takes long."""
INDEX_SHARE = 0.02
"""Largest share of the time that goes into them."""
LEFT_S = 60.0
"""Seconds after which an unfinished record or table is not one that is being written."""
ELSEWHERE_S = 2.0
"""Seconds between two looks at subjects that another run works on."""


@dataclass(frozen=True)
class BatchOptions:
    """How to work on a batch."""

    engine: Name = "local"
    address: str | None = None
    """Of a Ray cluster."""
    options: dict[str, str] = field(default_factory=dict)
    """Of `protome reconstruct`, for subjects that do not have their own."""
    limits: Limits = Limits()  # noqa: RUF009  immutable
    jobs: int | None = None
    """Subjects at once with the engine local; None is as many as there are cores for."""
    limit: int | None = None
    """The most subjects to work on in this run."""
    resume: bool = True
    """Leave out subjects that are done."""
    program: tuple[str, ...] = CHILD
    """What runs a command of this package."""

    def checked(self) -> BatchOptions:
        """Return the options themselves.

        Raises:
            InputError: a number is out of range.
        """
        limits = self.limits
        for name, value, least in (
            ("cpus-per-subject", limits.cpus, 1), ("retries", limits.retries, 0),
            ("limit", self.limit, 1),
        ):  # fmt: skip
            if value is not None and value < least:
                raise InputError(f"--{name} {value:g} is out of range: give {least} or more")
        for name, given in (("memory", limits.memory_gb), ("timeout", limits.timeout_s)):
            if given is not None and given <= 0:
                raise InputError(f"--{name} {given:g} is out of range: give more than 0")
        check_share(limits.gpus)
        check_engine(self.engine, self.address, self.jobs)
        return self

    def processes(self) -> Local | Ray:
        """Return the engine.

        Raises:
            InputError: this machine has fewer graphics cards than a subject needs.
        """
        limits = self.limits
        if self.engine == "ray":
            return Ray(self.address, Share(limits.cpus, limits.gpus, limits.memory_gb, limits.retries))
        jobs = self.jobs or max(1, (os.cpu_count() or 1) // limits.cpus)
        return Local(jobs, shares(cards_here(), limits.gpus) if limits.gpus else ())


@dataclass(frozen=True)
class Count:
    """How many subjects of a batch are in which state."""

    subjects: int
    worked_on: int
    """In this run."""
    failed: int
    left: int
    """Not begun, because of a limit."""


def run_batch(given: str, out: str, options: BatchOptions, *, quiet: bool = False) -> Count:
    """Reconstruct the subjects that `given` names (see `read_subjects`), each into its own folder in `out`.

    A subject that is done is left out if neither its options nor its inputs have changed. Several runs may work on the
    same folder at once: each subject is claimed by one. Records are kept in the folder `.batch`. The table
    index.parquet and the page index.html are written from them again and again while the run goes on.

    Raises:
        InputError: the list is not usable, or nothing can be written. Subjects that fail are only recorded.
        IncompleteError: subjects have failed; the others are done.
    """
    engine = options.checked().processes()
    check_index_library()
    place = Place(out)
    _check_list_stays(Place(given), place)
    subjects = read_subjects(given, place, options.options)
    if not place.remote:
        check_output_folder(place.local)
        _remove_left(place.local)
        _check_apart(subjects, place.local)
    records = Records(place)
    known = records.all()
    todo = [each for each in subjects if not (options.resume and _is_done(each, known.get(each.name)))]
    chosen = todo[: options.limit]
    tasks = [Task(each, out, options.limits, not options.resume, options.program) for each in chosen]
    table = _Table(records, known)
    before = len(subjects) - len(todo)
    with progress("subjects", max(len(subjects), 1), before=before, quiet=quiet) as step:
        for record in _all_done(engine, tasks):
            table.take(record)
            step(1, f"{record.id}: {record.status}")
    table.write()
    found = [table.known.get(each.name) for each in subjects]
    failed = [record for record in found if record is not None and record.status == "failed"]
    count = Count(len(subjects), len(tasks), len(failed), len(todo) - len(chosen))
    if failed:
        raise IncompleteError(
            f"{count.failed} of {count.subjects} subjects failed, the first of them {failed[0].id} "
            f"({failed[0].error}): {(place / 'index.html').address} lists them"
        )
    return count


def _check_list_stays(given: Place, out: Place) -> None:
    """Refuse a list of subjects that the batch's own table or page would replace.

    Raises:
        InputError: it would.
    """
    written = [out / name for name in (INDEX, PAGE)]
    if not given.remote and not out.remote:
        check_inputs_stay([given.local], [each.local for each in written])
    elif given.address in [each.address for each in written]:
        raise InputError(f"the result would replace the input {given.address}: choose another place to write to")


def _check_apart(subjects: list[Subject], out: Path) -> None:
    """Refuse a folder of results in which a subject's own inputs would lie in the way.

    Raises:
        InputError: they would.
    """
    for subject in subjects:
        folder = (out / subject.name).resolve()
        for each in subject.places():
            if not each.remote and (each.local.resolve() == folder or folder in each.local.resolve().parents):
                raise InputError(
                    f"the result of {subject.name} would be mixed with its input {each.address}: choose another folder"
                )


def _remove_left(out: Path) -> None:
    """Remove unfinished records and tables of killed runs; those of subjects are removed when they are done again.

    The folder may be shared with other machines, whose processes are not known here: what is new stays.
    """
    for folder in (out, *(out / KEPT).glob("*/*")):
        for path in partial(folder):
            with suppress(OSError):
                if path.is_file() and time.time() - path.stat().st_mtime > LEFT_S:
                    path.unlink()


def _is_done(subject: Subject, known: Record | None) -> bool:
    try:
        return known is not None and is_current(known, subject.fingerprint())
    except InputError:
        return False  # an input is gone: the work on the subject says so


def _all_done(engine: Local | Ray, tasks: list[Task]) -> Iterator[Record]:
    """Yield the record of each task; of those that another run works on, when that has ended."""
    left = tasks
    while left:
        elsewhere: list[Task] = []
        for number, record in engine.run(WORK, left):
            if record is None:
                elsewhere.append(left[number])
            else:
                yield record
        left = elsewhere
        if left:
            time.sleep(ELSEWHERE_S)


class _Table:
    """Writes table and page from time to time."""

    def __init__(self, records: Records, known: dict[str, Record]) -> None:
        self.records, self.known = records, known
        self.next = time.monotonic() + INDEX_EVERY_S

    def take(self, record: Record) -> None:
        """Take in what has become of a subject."""
        self.known[record.id] = record
        self.records.words.pop(record.id, None)  # its file is another one now
        if record.kind == "lost":  # whoever worked on it could not write
            self.records.write(record)
        if time.monotonic() >= self.next:
            started = time.monotonic()
            self._write()
            ended = time.monotonic()
            self.next = ended + max(INDEX_EVERY_S, (ended - started) / INDEX_SHARE)

    def write(self) -> None:
        """Write them at the end, with what other runs have recorded meanwhile."""
        self.known = self.records.all()
        self._write()

    def _write(self) -> None:
        self.records.write_index(self.known)
        write_summary(self.records, self.known)
