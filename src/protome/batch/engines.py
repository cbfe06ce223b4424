"""Engines, which give tasks to processes: threads of this process that start one each, or Ray on many machines."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from protome.batch import process
from protome.batch.cards import check_machines
from protome.batch.process import Ended
from protome.batch.records import Record
from protome.batch.work import Task, recorded, work
from protome.errors import InputError

ANSWER_S = 10.0
"""Seconds in which a cluster has to answer."""
AHEAD = 4
"""Tasks that are handed to a cluster at once, as a multiple of those that it can work on: a long list waits here."""


@runtime_checkable
class Engine(Protocol):
    """Works on tasks at the same time."""

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Record | None]]:
        """Yield each task, when it has ended, with its record; None if somebody else works on it."""
        ...


@dataclass(frozen=True)
class Local:
    """Processes of this machine."""

    jobs: int
    """How many at once."""
    cards: tuple[str, ...] = ()
    """The graphics cards of each of those that run at once, of which there are then no more; empty without any of
    their own."""

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Record | None]]:
        """As `Engine.run`; where the block is left early, running processes are ended."""
        waiting = iter(tasks)
        process.STOP.clear()
        free: list[str | None] = list(self.cards or (None,) * self.jobs)[: self.jobs]
        pool = ThreadPoolExecutor(len(free))
        running: dict[Future[Record | None], tuple[Task, str | None]] = {}
        try:
            while True:
                while free and (task := next(waiting, None)) is not None:
                    cards = free.pop(0)
                    running[pool.submit(work, replace(task, cards=cards))] = task, cards
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task, cards = running.pop(future)
                    free.append(cards)
                    yield task, future.result()
        finally:
            process.STOP.set()
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class Ray:
    """The machines of a Ray cluster, which all see the folder of results and have this package."""

    address: str | None = None
    """Of the cluster; None starts one on this machine that ends with this process."""
    gpus: float = 0.0
    """The graphics cards of each subject."""

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Record | None]]:
        """As `Engine.run`. A task whose machine or process is gone is begun again elsewhere, and recorded as lost where
        that happens too often.

        Raises:
            InputError: Ray is not installed, there is no cluster at the address, or it lacks graphics cards.
        """
        ray = self._connected()
        try:
            alive = [each["Resources"] for each in ray.nodes() if each["Alive"]]
            check_machines([each.get("GPU", 0.0) for each in alive], self.gpus)
            yield from self._run(ray, iter(tasks))
        finally:
            ray.shutdown()

    def _run(self, ray: Any, waiting: Iterator[Task]) -> Iterator[tuple[Task, Record | None]]:
        running: dict[Any, Task] = {}
        while True:
            room = max(16, int(AHEAD * ray.cluster_resources().get("CPU", 1)))
            while len(running) < room and (task := next(waiting, None)) is not None:
                limits = task.limits
                remote = ray.remote(work).options(
                    num_cpus=limits.cpus,
                    num_gpus=limits.gpus,
                    memory=None if limits.memory_gb is None else int(limits.memory_gb * 1e9),
                    max_retries=limits.retries,
                )
                running[remote.remote(task)] = task
            if not running:
                return
            for ready in ray.wait(list(running), num_returns=1, timeout=5.0)[0]:
                task = running.pop(ready)
                try:
                    record = ray.get(ready)
                except ray.exceptions.RayTaskError as error:
                    raise InputError(str(error.cause)) from error
                except ray.exceptions.RayError as error:
                    record = _lost(task, str(error))
                yield task, record

    def _connected(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report its use over the network
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # graphics cards of tasks that ask for none
        try:
            ray = importlib.import_module("ray")
        except ImportError as error:
            raise InputError("the engine ray needs Ray: run `pip install ray`, or use --engine local") from error
        if ray.is_initialized():
            return ray
        _check_answers(self.address)
        try:
            ray.init(
                address=self.address, include_dashboard=None if self.address else False, log_to_driver=False,
                logging_level="ERROR",
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"there is no Ray cluster at {self.address} ({reason}): give its address") from error
        return ray


def _check_answers(address: str | None) -> None:
    """Make sure that something answers at a cluster's address, for which Ray waits minutes.

    Raises:
        InputError: nothing does.
    """
    if address is None or ":" not in address:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"there is no Ray cluster at {address} ({error}): give its address") from error


def _lost(task: Task, reason: str) -> Record:
    words = f"its process or machine was gone {task.limits.retries + 1} times ({reason.splitlines()[0][:200]})"
    return recorded(task.subject, Ended("lost", words, (), 0.0, 0.0, ""), "", "", task.limits.retries + 1)
