"""Worker processes of one thread each: with small tensors several threads mostly wait for one another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import TracebackType

import torch

from protome.util.device import choose_device


class Workers(ProcessPoolExecutor):
    """Processes that end at once where the block that uses them fails or is stopped."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:  # jobs that have begun would be waited for
            for process in list((getattr(self, "_processes", None) or {}).values()):
                process.terminate()
            self.shutdown(wait=True, cancel_futures=True)
            return
        self.shutdown(wait=True)


def workers(jobs: int) -> Workers:
    """Return `jobs` processes.

    They are fresh, because forked ones would inherit the threads of whatever library this process has used, and they
    end with this process even where that is killed.
    """
    fresh = multiprocessing.get_context("spawn")
    return Workers(jobs, fresh, initializer=_begin)


def one_thread() -> None:
    """Let this process compute in one thread."""
    torch.set_num_threads(1)
    choose_device("cpu")


@contextmanager
def fewer_threads(used: bool = True) -> Iterator[None]:
    """Let this thread compute in one thread inside the block, because another one of this process computes beside it.

    Each of them would start as many threads as there are cores, and those would wait for each other.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if used else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its workers
    one_thread()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
