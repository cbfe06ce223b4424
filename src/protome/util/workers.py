"""Worker processes of one thread each: with small tensors several threads mostly wait for one another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TypeVar

import torch

from protome.util.device import choose_device

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Return the results of work on some items, in their order, by as many threads as this one may compute with."""
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, items)


def _begin() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its workers
    one_thread()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
