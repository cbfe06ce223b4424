"""Worker processes: one thread each, prepared once, and gone when their parent is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from protome.util.workers import workers

_told: list[str] = []

PARENT = """
import os
import time
from protome.util.workers import workers

if __name__ == "__main__":
    with workers(2) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()  # one works, one waits
"""


def _listen(*words: str) -> None:
    _told.extend(words)


def _heard() -> tuple[int, list[str], int]:
    return os.getpid(), _told, torch.get_num_threads()


def test_workers_are_prepared_once_and_have_one_thread() -> None:
    with workers(1, _listen, "once", "each") as pool:
        found = [pool.submit(_heard).result() for _ in range(2)]
    assert found[0] == found[1]
    process, told, threads = found[0]
    assert process != os.getpid()
    assert told == ["once", "each"]
    assert threads == 1


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert int(parent.stdout.readline()) != parent.pid
    parent.kill()
    # Workers write to where their parent wrote: that ends when the last of them has ended.
    parent.communicate(timeout=30)
