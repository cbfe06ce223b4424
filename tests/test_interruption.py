"""A program that is interrupted while it loads its modules ends with the exit code for that."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

INTERRUPTED = """
import os, signal, sys
import protome.__main__, protome.cli

def interrupted():
    try:
        exec("os.kill(os.getpid(), signal.SIGINT)\\nfor _ in range(10**6): pass")
    except KeyboardInterrupt:
        return 130

protome.cli.main = interrupted
sys.exit(protome.__main__.main())
"""


def test_an_interruption_within_an_import_is_the_exit_code_for_it(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, "-m", "program"], cwd=tmp_path, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert done.returncode == 130
