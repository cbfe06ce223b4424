"""`Process`: one command of Protome as the app runs it, with its progress, its warnings and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from protome.util.progress import SWITCH

PROGRAM = (sys.executable, "-m", "protome.cli_child")
"""What the words of a command follow."""
NICE = 5
"""Steps by which the system prefers the app and its pages to the work."""
KEPT_LINES = 200
"""Last lines of other output that are kept in the job's log."""
BAD_INPUT = 2
"""The exit code of a command that reports bad input in a sentence."""


@dataclass(frozen=True)
class Progress:
    """How far one stage is."""

    stage: str
    share: float
    """From 0 to 1."""
    elapsed_s: float
    left_s: float | None
    """None where it is not known yet."""
    detail: str


@dataclass(frozen=True)
class Outcome:
    """How a command has ended."""

    error: str | None
    """Why it failed, in a sentence; None where it did not."""
    warnings: tuple[str, ...]


class Process:
    """A running command; `end` stops it from another thread."""

    def __init__(self, program: Sequence[str], words: Sequence[str], folder: Path) -> None:
        """Start the command in `folder`, into whose log.txt its other output goes."""
        self.folder = folder
        self.process = subprocess.Popen(
            [*program, *words], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, encoding="utf-8", errors="replace", start_new_session=True,
            env=os.environ | {SWITCH: "json", "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        if hasattr(os, "setpriority"):
            with suppress(OSError):  # it has ended already
                os.setpriority(os.PRIO_PROCESS, self.process.pid, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        self.too_long = False
        self.over = False
        self.one_at_a_time = threading.Lock()

    def wait(self, seconds: float, report: Callable[[Progress], None]) -> Outcome:
        """Hand progress on until the command ends, which it must within some seconds, and return how it has ended."""
        timer = threading.Timer(seconds, self._time_is_up)
        timer.daemon = True
        timer.start()
        warnings: list[str] = []
        errors: list[str] = []
        others: deque[str] = deque(maxlen=KEPT_LINES)
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                progress, said = _progress(line), _said(line)
                if progress is not None:
                    report(progress)
                elif said is not None:
                    (errors if said[0] == "error" else warnings).append(said[1])
                else:
                    others.append(line)
        code = self._reap()
        timer.cancel()
        (self.folder / "log.txt").write_text("".join(others), encoding="utf-8")
        return Outcome(self._error(code, errors, seconds), tuple(warnings))

    def end(self) -> None:
        """Stop the command and all processes that it has started."""
        with self.one_at_a_time:
            if not self.over:
                self._kill()

    def _time_is_up(self) -> None:
        self.too_long = True
        self.end()

    def _reap(self) -> int:
        """Wait for the command, end what it has left running, and return its exit code."""
        if hasattr(os, "waitid"):
            # Until the command's own process is waited for, its number is no other's.
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        else:
            self.process.wait()
        with self.one_at_a_time:
            self._kill()
            self.over = True
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait()

    def _kill(self) -> None:
        try:
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)  # it leads a group of its own
            else:
                self.process.kill()
        except (ProcessLookupError, PermissionError):
            pass  # it has ended by itself

    def _error(self, code: int, errors: Sequence[str], seconds: float) -> str | None:
        if code == 0:
            return None
        if self.too_long:
            return f"the work took more than {seconds / 60:g} minutes: use a faster preset, or fewer photos"
        if code == BAD_INPUT and errors:
            return errors[-1]
        if code < 0:
            return (
                f"the process of this job was ended from outside by {_name(-code)}, as the system does where memory "
                "is short: start it again, with a faster preset or fewer photos"
            )
        return f"the work ended unexpectedly with code {code}: log.txt among the files of this job has its last output"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _said(line: str) -> tuple[str, str] | None:
    """Return the level and the sentence of a line that a command says of its own; None for another line."""
    if not line.startswith('{"level"'):
        return None
    try:
        facts = json.loads(line)
        return str(facts["level"]), str(facts["message"])
    except (ValueError, KeyError):
        return None


def _progress(line: str) -> Progress | None:
    if not line.startswith('{"stage"'):
        return None
    try:
        return Progress(**json.loads(line))
    except (ValueError, TypeError):
        return None
