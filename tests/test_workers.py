"""Worker processes: they are gone when their parent is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PARENT = """
import os
import time
from protome.util.workers import workers

if __name__ == "__main__":
    with workers(2) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()  # one works, one waits
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert int(parent.stdout.readline()) != parent.pid
    parent.kill()
    # Workers write to where their parent wrote: that ends when the last of them has ended.
    parent.communicate(timeout=30)
