"""The process in which MediaPipe runs (`detector.py`). It can be started before there is anything to detect.

Its libraries take a second to load. A command starts it first of all, and PyTorch loads meanwhile. Therefore this
module imports neither.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from pathlib import Path

_ahead: list[subprocess.Popen[str]] = []
"""The process that waits for work; none or one."""


def start_ahead() -> None:
    """Start the process that the next call of `run` will use, unless one waits already."""
    if not _ahead:
        _ahead.append(_started())
        atexit.register(stop)


def stop() -> None:
    """Stop the process that waits, if there is one: an error may end a command before anything is detected."""
    while _ahead:
        child = _ahead.pop()
        child.kill()
        child.communicate()


def run(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Look at the images in `source`, write what was found to `target`, and return how the process ended."""
    child = _ahead.pop() if _ahead else _started()
    out, errors = child.communicate(f"{source}\n{target}\n")
    return subprocess.CompletedProcess(child.args, child.returncode, out, errors)


def _started() -> subprocess.Popen[str]:
    # -P keeps this folder's file names from hiding other modules in the child.
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("detector.py"))],
        env=os.environ | {"GLOG_minloglevel": "3", "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "Agg"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
