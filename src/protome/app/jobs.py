"""`Jobs`: all jobs of an app, what waits for a worker, and what the workers do."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from protome.app.estimate import Estimate, Remaining
from protome.app.folder import delete, job_folders
from protome.app.job import STARTABLE, UNFINISHED, Given, Job, JobOptions, State
from protome.app.limits import MB, Limits
from protome.app.process import PROGRAM, Process, Progress
from protome.errors import InputError

INSPECTION_S = 60.0
"""Seconds that an inspection is given for each file, with as many for its start."""


class NoJobError(LookupError):
    """There is no job of a name, or not any more."""


@dataclass(frozen=True)
class Shown:
    """A job at one moment."""

    job: Job
    remaining: Remaining | None
    """How far it is; None where it does not run."""
    before: int
    """How many jobs are done before it."""


class Jobs:
    """The jobs in a folder. Methods may be called from any thread."""

    def __init__(
        self, folder: Path, limits: Limits | None = None, *, workers: int = 1, program: Sequence[str] = PROGRAM
    ) -> None:
        """Read the jobs of earlier runs; those that were stopped with the app wait again."""
        self.folder, self.limits, self.program = folder, limits or Limits(), program
        self.estimate = Estimate()
        self.changed = threading.Condition()
        self.jobs: dict[str, Job] = {}
        self.progress: dict[str, Progress | None] = {}
        self.processes: dict[str, Process] = {}
        self.to_inspect: deque[str] = deque()
        self.to_run: deque[str] = deque()
        self.closing = False
        self._read()
        lanes: list[Callable[[], None]] = [self._inspector, *[self._worker] * workers]
        self.threads = [threading.Thread(target=lane, daemon=True) for lane in lanes]
        for thread in self.threads:
            thread.start()

    # What is asked

    def newest(self, most: int) -> list[Shown]:
        """Return up to `most` jobs, the newest first."""
        with self.changed:
            order = sorted(self.jobs.values(), key=lambda job: (-job.created, job.id))
            return [self._shown(job) for job in order[:most]]

    def get(self, name: str) -> Shown:
        """Return a job.

        Raises:
            NoJobError: there is none of that name.
        """
        with self.changed:
            return self._shown(self._known(name))

    def files(self, name: str) -> dict[str, Path]:
        """Return the files that a job has made, by name: its result, its inspection's sheet, and its log."""
        with self.changed:
            if name not in self.jobs:
                return {}
            own = self.folder / name
        found = {"inspection.png": own / "inspection" / "capture.png", "log.txt": own / "log.txt"}
        result = own / "result"
        names = sorted(path for path in result.iterdir() if not path.name.startswith(".")) if result.is_dir() else []
        found |= {path.name: path for path in names}
        return {label: path for label, path in found.items() if path.is_file()}

    # What is told

    def room_for(self, size: int) -> None:
        """Make sure that an upload of so many bytes can be taken.

        Raises:
            InputError: too many jobs wait, or the disk has too little room.
        """
        with self.changed:
            count = sum(job.state in UNFINISHED for job in self.jobs.values())
        if count >= self.limits.unfinished:
            raise InputError(f"{count} jobs wait already: try again when some are done")
        if shutil.disk_usage(self.folder).free < size + self.limits.spare_mb * MB:
            raise InputError(f"the disk with {self.folder} has too little room: delete earlier results")

    def new_folder(self) -> Path:
        """Return the folder of a job to come, with a folder for its input."""
        own = self.folder / secrets.token_hex(8)
        (own / "input").mkdir(parents=True)
        return own

    def add(self, own: Path, given: Sequence[Given], options: JobOptions, *, at_once: bool = False) -> Shown:
        """Take in a job whose input lies in its folder, and have it inspected."""
        job = Job(own.name, tuple(given), time.time(), options=options, at_once=at_once)
        job.save(own)
        with self.changed:
            self.jobs[job.id] = job
            self.to_inspect.append(job.id)
            self.changed.notify_all()
            return self._shown(job)

    def start(self, name: str, options: JobOptions) -> Shown:
        """Have a head made from inspected photos.

        Raises:
            InputError: the job is not at that point.
            NoJobError: there is no such job.
        """
        with self.changed:
            while name in self.processes:  # it was cancelled a moment ago
                self.changed.wait()
            job = self._known(name)
            if job.state not in STARTABLE or not job.inspected:
                raise InputError(f"this job is {job.state}: only inspected photos without a head can be started")
            job = self._put(replace(job, state="waiting", options=options, error=None, started=None, finished=None))
            self.to_run.append(name)
            self.changed.notify_all()
            return self._shown(job)

    def cancel(self, name: str) -> Shown:
        """Stop a job, whether it waits or runs; one that is at rest stays as it is.

        Raises:
            NoJobError: there is no such job.
        """
        with self.changed:
            job = self._known(name)
            if job.state in UNFINISHED:
                job = self._put(replace(job, state="cancelled", finished=time.time()))
                self._stop(name)
            return self._shown(job)

    def delete(self, name: str) -> None:
        """Stop a job and delete its photos and its result.

        Raises:
            NoJobError: there is no such job.
            InputError: its files cannot be deleted.
        """
        with self.changed:
            self._known(name)
            self._stop(name)
            del self.jobs[name]
            self.progress.pop(name, None)
            while name in self.processes:  # its process is gone when its worker says so
                self.changed.wait()
        delete(self.folder / name)

    def close(self) -> None:
        """Stop all work; what waits or runs goes on with the next app in this folder."""
        with self.changed:
            self.closing = True
            for process in self.processes.values():
                process.end()
            self.changed.notify_all()
        for thread in self.threads:
            thread.join()

    # What the workers do

    def _inspector(self) -> None:
        while (name := self._next(self.to_inspect)) is not None:
            own = self.folder / name
            with self.changed:
                job = self.jobs.get(name)
            if job is None:
                continue
            words = ["inspect", *self._photos(job), "--out", str(own / "inspection")]
            words += ["--json", str(own / "inspection" / "facts.json")]
            self._work(name, words, INSPECTION_S * (1 + len(job.given)), self._inspected)

    def _worker(self) -> None:
        while (name := self._next(self.to_run)) is not None:
            own = self.folder / name
            with self.changed:
                job = self.jobs.get(name)
                if job is None or job.state != "waiting":
                    continue
                job = self._put(replace(job, state="running", started=time.time()))
            words = ["reconstruct", *self._photos(job), "--out", str(own / "result"), *job.options.words()]
            self._work(name, words, 60 * self.limits.job_minutes, self._made)

    def _work(self, name: str, words: list[str], seconds: float, end: Callable[[Job, Sequence[str]], Job]) -> None:
        """Run a command for a job, and put the job where `end` says, or where its failure does."""
        with self.changed:
            if self.closing or name not in self.jobs or self.jobs[name].state == "cancelled":
                return
            try:
                process = Process(self.program, words, self.folder / name)
            except OSError as reason:
                self._put(replace(self.jobs[name], state="failed", error=f"no process can be started: {reason}"))
                return
            self.processes[name] = process
            self.progress[name] = None

        def report(progress: Progress) -> None:
            self.progress[name] = progress

        outcome = process.wait(seconds, report)
        with self.changed:
            del self.processes[name]
            self.progress.pop(name, None)
            self.changed.notify_all()
            job = self.jobs.get(name)
            if job is None or job.state == "cancelled" or self.closing:
                return
            said = [job.in_users_words(sentence) for sentence in outcome.warnings]
            if outcome.error is not None:
                error = job.in_users_words(outcome.error.replace(f"{self.folder / name / 'input'}/", ""))
                self._put(replace(job, state="failed", error=error, warnings=tuple(said), finished=time.time()))
            else:
                self._put(end(job, said))

    def _inspected(self, job: Job, warnings: Sequence[str]) -> Job:
        state: State = "waiting" if job.at_once else "ready"
        if job.at_once:
            self.to_run.append(job.id)
            self.changed.notify_all()
        return replace(job, state=state, inspected=True, warnings=tuple(warnings))

    def _made(self, job: Job, warnings: Sequence[str]) -> Job:
        self.estimate.learn(job.options.preset, self.folder / job.id / "result" / "result.json")
        kept = tuple(dict.fromkeys((*job.warnings, *warnings)))
        return replace(job, state="done", warnings=kept, finished=time.time())

    # Parts; the lock is held

    def _read(self) -> None:
        for own in job_folders(self.folder):
            job = Job.load(own)
            if job is None:
                delete(own)  # an upload that never ended
                continue
            if job.state == "running":
                job = replace(job, state="waiting", started=None)
            self.jobs[job.id] = job
            if job.state == "done":
                self.estimate.learn(job.options.preset, own / "result" / "result.json")
        for job in sorted(self.jobs.values(), key=lambda one: one.created):
            if job.state == "inspecting":
                self.to_inspect.append(job.id)
            elif job.state == "waiting":
                self.to_run.append(job.id)

    def _known(self, name: str) -> Job:
        if name not in self.jobs:
            raise NoJobError(name)
        return self.jobs[name]

    def _next(self, waiting: deque[str]) -> str | None:
        with self.changed:
            while not waiting and not self.closing:
                self.changed.wait()
            return None if self.closing else waiting.popleft()

    def _photos(self, job: Job) -> list[str]:
        return [str(self.folder / job.id / "input" / one.stored) for one in job.given if not one.is_mask]

    def _put(self, job: Job) -> Job:
        self.jobs[job.id] = job
        with contextlib.suppress(InputError):  # on a full disk the record stays as it was, and the work goes on
            job.save(self.folder / job.id)
        return job

    def _stop(self, name: str) -> None:
        for waiting in (self.to_inspect, self.to_run):
            if name in waiting:
                waiting.remove(name)
        if name in self.processes:
            self.processes[name].end()

    def _shown(self, job: Job) -> Shown:
        if job.state == "running" and job.started is not None:
            elapsed = time.time() - job.started
            return Shown(job, self.estimate.remaining(job.options.preset, self.progress.get(job.id), elapsed), 0)
        waiting = self.to_inspect if job.state == "inspecting" else self.to_run
        busy = sum(one.state == "running" for one in self.jobs.values()) if job.state == "waiting" else 0
        before = list(waiting).index(job.id) + busy if job.id in waiting else 0
        return Shown(job, None, before)
