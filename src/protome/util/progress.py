"""Progress of long stages, on stderr: a live bar on a terminal, plain lines in a log, or JSON for another program."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0
"""Seconds between two plain lines of one stage."""
JSON_EVERY_S = 0.5
"""Seconds between two lines of JSON of one stage."""
SWITCH = "PROTOME_PROGRESS"
"""The environment variable that, set to `json`, asks for lines of JSON."""


@runtime_checkable
class Step(Protocol):
    """Reports that `amount` more of a stage's total is done, with a short status."""

    def __call__(self, amount: float = 1, detail: str = "") -> None: ...


@contextmanager
def progress(stage: str, total: float, *, before: float = 0.0, quiet: bool = False) -> Iterator[Step]:
    """Show the progress of one stage while the block runs: share done, time elapsed, time that remains.

    `total` is in whatever the stage counts: steps, files, seconds; `before` is what an earlier run has done of it. The
    block gets a function to call as the work goes on, `step(1, "loss 0.12")`. With `quiet` nothing is shown. Another
    program gets a line of JSON for each stage, quiet or not, where it sets `PROTOME_PROGRESS` to `json` (`Report` says
    what it holds).
    """
    if os.environ.get(SWITCH) == "json":
        report = Report(stage, total, before)
        yield report.step
        report.end()
        return
    if quiet:
        yield _silence
        return
    console = Console(stderr=True)
    if sys.stderr.isatty() and not console.is_dumb_terminal:
        with _bar(console, stage, total, before) as step:
            yield step
        return
    lines = _Lines(stage, total, before)
    yield lines.step
    lines.end()


def _silence(amount: float = 1, detail: str = "") -> None:
    pass


@contextmanager
def _bar(console: Console, stage: str, total: float, before: float) -> Iterator[Step]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(stage, total=total, detail="")
        bar.update(task, completed=before)

        def step(amount: float = 1, detail: str = "") -> None:
            bar.update(task, advance=amount, detail=detail)

        yield step


class _Lines:
    """One stage reported in plain lines: at most one every `LINE_EVERY_S`, and one at its end."""

    def __init__(self, stage: str, total: float, before: float = 0.0) -> None:
        self.stage, self.total, self.before = stage, total, before
        self.done = before
        self.detail = ""
        self.start = self.last = time.monotonic()
        self.one_at_a_time = threading.Lock()

    def step(self, amount: float = 1, detail: str = "") -> None:
        with self.one_at_a_time:
            self._step(amount, detail)

    def _step(self, amount: float, detail: str) -> None:
        self.done += amount
        self.detail = detail
        now = time.monotonic()
        if now - self.last < LINE_EVERY_S or self.done <= self.before:
            return
        self.last = now
        elapsed = now - self.start
        left = elapsed * max(0.0, self.total - self.done) / (self.done - self.before)
        share = min(1.0, self.done / self.total) if self.total > 0 else 1.0
        self._say(f"{share:.0%} after {_clock(elapsed)}, about {_clock(left)} left")

    def end(self) -> None:
        self._say(f"done in {_clock(time.monotonic() - self.start)}")

    def _say(self, news: str) -> None:
        detail = f" ({self.detail})" if self.detail else ""
        print(f"{self.stage}: {news}{detail}", file=sys.stderr, flush=True)


class Report:
    """One stage reported in lines of JSON: at its start and its end, and between them one every `JSON_EVERY_S`.

    A line is an object that begins with "stage". "share" is from 0 to 1, "elapsed_s" and "left_s" are seconds, the
    latter null where it is not known yet, and "detail" is a short status.
    """

    def __init__(self, stage: str, total: float, before: float = 0.0) -> None:
        self.stage, self.total, self.before = stage, total, before
        self.done = before
        self.detail = ""
        self.start = self.last = time.monotonic()
        self.one_at_a_time = threading.Lock()
        self._say()

    def step(self, amount: float = 1, detail: str = "") -> None:
        """Add to what is done."""
        with self.one_at_a_time:
            self.done += amount
            self.detail = detail
            now = time.monotonic()
            if now - self.last >= JSON_EVERY_S:
                self.last = now
                self._say()

    def end(self) -> None:
        """Report that the stage is done."""
        self.done = max(self.done, self.total)
        self._say()

    def _say(self) -> None:
        elapsed = time.monotonic() - self.start
        share = 1.0 if self.total <= 0 else min(1.0, self.done / self.total)
        own = self.done - self.before
        left = round(elapsed * max(0.0, self.total - self.done) / own, 1) if own > 0 else None
        facts = {
            "stage": self.stage, "share": round(share, 4), "elapsed_s": round(elapsed, 1), "left_s": left,
            "detail": self.detail,
        }  # fmt: skip
        print(json.dumps(facts), file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
