"""Worker processes are gone when their parent is; threads beside each other keep order and number."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from protome.util.workers import fewer_threads, side_by_side

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


def test_work_side_by_side_keeps_its_order_and_runs_at_once() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        meet = threading.Barrier(2, timeout=20)  # breaks where one waits for the other to end

        def work(item: int) -> int:
            meet.wait()
            return item * item

        assert list(side_by_side(work, [3, 4, 5, 6])) == [9, 16, 25, 36]
        with fewer_threads():
            assert set(side_by_side(lambda _: threading.get_ident(), [1, 2])) == {threading.get_ident()}
    finally:
        torch.set_num_threads(before)


def test_fewer_threads_are_one_here_and_as_many_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ArithmeticError), fewer_threads():
            assert torch.get_num_threads() == 1
            raise ArithmeticError
        assert torch.get_num_threads() == 2
        with fewer_threads(False):
            assert torch.get_num_threads() == 2
        with ThreadPoolExecutor(1) as other, fewer_threads():
            other.submit(torch.set_num_threads, 1).result()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
