"""One command in a process of its own, with limits of time and memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from protome.batch.cards import VISIBLE
from protome.batch.records import Kind
from protome.util.content import SWITCH as CONTENT
from protome.util.messages import SWITCH

POLL_S = 0.25
"""Seconds between two looks at a process's memory."""
STOP = threading.Event()
"""Set where the run is given up: processes are ended, and nothing is recorded."""
KEPT_LOG = 4000
"""Characters."""
CHILD = (sys.executable, "-m", "protome.cli_child")
"""What runs a command of this package."""


class Stopped(BaseException):
    """The run was given up while a process ran."""


@dataclass(frozen=True)
class Limits:
    """What one subject may use."""

    cpus: int = 1
    """Threads of its process."""
    gpus: float = 0.0
    """Graphics cards of its own; a part of one is shared with others. 0 lets it use those that its engine sees."""
    memory_gb: float | None = None
    timeout_s: float | None = None
    retries: int = 2
    """How often a subject is begun again after a crash."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    kind: Kind
    """"" if it succeeded."""
    error: str
    warnings: tuple[str, ...]
    seconds: float
    peak_memory_mb: float
    log: str


def run_limited(
    words: list[str], limits: Limits, program: tuple[str, ...] = CHILD, cards: str | None = None, content: str = ""
) -> Ended:
    """Run a command and return how it ended; it is killed where it uses more than it may.

    It sees the graphics cards that `cards` names, or the same as this process. Its result keeps `content`, the word for
    what it is made from.
    """
    started = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": str(limits.cpus), CONTENT: content}
    environment[SWITCH] = ""  # its sentences are read here
    if cards is not None:
        environment[VISIBLE] = cards
    over: Kind = ""
    peak = 0.0
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [*program, *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said, env=environment,
            start_new_session=True,
        )  # fmt: skip
        ended = threading.Event()
        threading.Thread(target=_tell, args=(child, ended), daemon=True).start()
        try:
            while not ended.wait(POLL_S):
                if STOP.is_set():
                    raise Stopped
                used = memory_mb(child.pid)
                peak = max(peak, used)
                if limits.memory_gb is not None and used > 1000 * limits.memory_gb:
                    over = "memory"
                elif limits.timeout_s is not None and time.monotonic() - started > limits.timeout_s:
                    over = "time"
                if over:
                    break
        finally:
            _kill_all(child)
        said.seek(0)
        log = said.read().decode("utf-8", "replace")
    seconds = time.monotonic() - started
    warned = tuple(line.removeprefix("warning: ") for line in log.splitlines() if line.startswith("warning: "))
    kind, error = _reason(over, child.returncode, log, limits)
    return Ended(kind, error, warned, seconds, peak, log[-KEPT_LOG:] if kind == "crashed" else "")


def _tell(child: subprocess.Popen[bytes], ended: threading.Event) -> None:
    child.wait()
    ended.set()


def _kill_all(child: subprocess.Popen[bytes]) -> None:
    """End a process and those that it has started, and wait for it."""
    if child.poll() is None:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (OSError, AttributeError):
            child.kill()
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


def _reason(over: Kind, code: int, log: str, limits: Limits) -> tuple[Kind, str]:
    """Return why a process failed, in one sentence; two empty strings if it did not."""
    if over == "time":
        return over, f"the time limit of {limits.timeout_s:g} s was over"
    if over == "memory":
        return over, f"the memory limit of {limits.memory_gb:g} GB was over"
    if code == 0:
        return "", ""
    errors = [line.removeprefix("error: ") for line in log.splitlines() if line.startswith("error: ")]
    if code == 2 and errors:
        return ("memory" if "not enough memory" in errors[-1] else "refused"), errors[-1]
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
        return "crashed", f"the process ended by the signal {name}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = re.sub(r"\x1b\[[0-9;]*m", "", lines[-1]) if lines else "it said nothing"
    return "crashed", f"the process ended with code {code} ({last[:300]})"


def memory_mb(process: int) -> float:
    """Return the memory, in MB, that a process and all that it has started use; 0 where the system does not say."""
    total, todo = 0.0, [process]
    while todo:
        own = Path("/proc", str(todo.pop()))
        try:
            found = re.search(r"^VmRSS:\s+(\d+) kB", (own / "status").read_text(), re.MULTILINE)
            total += 1.024e-3 * int(found[1]) if found else 0.0
            for thread in (own / "task").iterdir():
                todo += map(int, (thread / "children").read_text().split())
        except (OSError, ValueError):
            continue
    return total
