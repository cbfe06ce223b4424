"""Worker processes of one thread each: with small tensors several threads mostly wait for one another."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.process import BaseProcess

import torch

from protome.util.device import choose_device


def workers(jobs: int, prepare: Callable[..., None] | None = None, *given: object) -> ProcessPoolExecutor:
    """Return `jobs` processes, each of which first calls `prepare` with the arguments `given`.

    They are fresh, because forked ones would inherit the threads of whatever library this process has used, and they
    end with this process even where that is killed.
    """
    fresh = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, fresh, initializer=_begin, initargs=(prepare, given))


def _begin(prepare: Callable[..., None] | None, given: tuple[object, ...]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    choose_device("cpu")
    if prepare is not None:
        prepare(*given)


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
