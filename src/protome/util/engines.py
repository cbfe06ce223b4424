"""Engines, which give jobs to processes of this machine or to the machines of a Ray cluster, for all commands alike."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from protome.errors import InputError

ANSWER_S = 10.0
"""Seconds in which a cluster has to answer."""
AHEAD = 4
"""Jobs that are handed to a cluster at once, as a multiple of those that it can work on: a long list waits here."""
Name = Literal["local", "ray"]
"""Names of the engines."""
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Work(Generic[Job, Result]):
    """What is done with each job. The functions are those of modules, so that other processes can import them."""

    function: Callable[[Job], Result]
    prepare: Callable[..., None] | None = None
    """Is called once in each process, before its first job."""
    given: tuple[object, ...] = ()
    """The arguments of `prepare`, which can be compared."""
    lost: Callable[[Job, str], Result] | None = None
    """Returns what stands for the result of a job whose machine was gone too often; without it that is an error."""
    tensors: bool = True
    """Whether jobs compute with tensors in the process itself, which then gets one thread: with small tensors several
    threads mostly wait for one another."""

    def __call__(self, job: Job) -> Result:
        """Do a job in this process."""
        global _ready
        if self.prepare is not None and _ready != (self.prepare, self.given):
            self.prepare(*self.given)
            _ready = self.prepare, self.given
        return self.function(job)


_ready: tuple[Callable[..., None], tuple[object, ...]] | None = None
"""What this process is prepared for."""


@runtime_checkable
class Engine(Protocol):
    """Works on jobs at the same time."""

    def run(self, work: Work[Job, Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Yield the number of each job, when it has ended, with its result.

        Where the block that takes the results fails or is stopped, what is running is ended.

        Raises:
            InputError: a process or a machine is gone.
        """
        ...


@dataclass(frozen=True)
class Processes:
    """Processes of this machine, of one thread each."""

    count: int | None = None
    """How many at once; None is one for each core."""

    def run(self, work: Work[Job, Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """As `Engine.run`."""
        from protome.util.workers import workers  # here, because a driver that computes nothing needs no tensors

        count = min(self.count or os.cpu_count() or 1, max(len(jobs), 1))
        with workers(count) as pool:
            try:
                # Twice as many as processes, so that none waits for this one.
                yield from handed_out(lambda job: pool.submit(work, job), jobs, 2 * count)
            except BrokenProcessPool as error:
                raise InputError(
                    "a process was ended in the middle of its work, as where memory is short: run the command again, "
                    "with fewer --jobs"
                ) from error


@dataclass(frozen=True)
class Here:
    """This process, which starts no other."""

    def run(self, work: Work[Job, Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """As `Engine.run`, one job after the other."""
        for number, job in enumerate(jobs):
            yield number, work(job)


@dataclass(frozen=True)
class Share:
    """What one job takes of a cluster."""

    cpus: int = 1
    gpus: float = 0.0
    memory_gb: float | None = None
    retries: int = 2
    """How often a job is begun again whose process or machine is gone."""


@dataclass(frozen=True)
class Ray:
    """The machines of a Ray cluster, which all see the files of a command and have this package."""

    address: str | None = None
    """Of the cluster; None starts one on this machine that ends with this process."""
    share: Share = Share()

    def run(self, work: Work[Job, Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """As `Engine.run`. A job whose machine or process is gone is begun again elsewhere.

        Raises:
            InputError: Ray is not installed, there is no cluster at the address, it lacks graphics cards, or a job was
                lost too often.
        """
        ray = self._connected()
        try:
            alive = [each["Resources"] for each in ray.nodes() if each["Alive"]]
            check_machines([each.get("GPU", 0.0) for each in alive], self.share.gpus)
            yield from self._run(ray, work, jobs)
        finally:
            ray.shutdown()

    def _run(self, ray: Any, work: Work[Job, Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        share, waiting = self.share, iter(range(len(jobs)))
        remote = ray.remote(_alone).options(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            memory=None if share.memory_gb is None else int(share.memory_gb * 1e9),
            max_retries=share.retries,
        )
        running: dict[Any, int] = {}
        while True:
            room = max(16, int(AHEAD * ray.cluster_resources().get("CPU", 1)))
            while len(running) < room and (number := next(waiting, None)) is not None:
                running[remote.remote(work, jobs[number])] = number
            if not running:
                return
            for ready in ray.wait(list(running), num_returns=1, timeout=5.0)[0]:
                number = running.pop(ready)
                try:
                    result = ray.get(ready)
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, InputError):
                        raise InputError(str(error.cause)) from error
                    raise
                except ray.exceptions.RayError as error:
                    reason = str(error).splitlines()[0][:200]
                    words = f"its process or machine was gone {share.retries + 1} times ({reason})"
                    if work.lost is None:
                        raise InputError(f"a job could not be done: {words}") from error
                    result = work.lost(jobs[number], words)
                yield number, result

    def _connected(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report its use over the network
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # graphics cards of jobs that ask for none
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


def engine_called(name: Name, address: str | None, jobs: int | None) -> Engine:
    """Return the engine that a command's options ask for.

    Raises:
        InputError: a number is out of range, or options do not fit together.
    """
    check_engine(name, address, jobs)
    return Ray(address) if name == "ray" else Processes(jobs)


def check_engine(name: Name, address: str | None, jobs: int | None) -> None:
    """Check the options of an engine.

    Raises:
        InputError: as `engine_called`.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs} is out of range: give 1 or more")
    if name == "local" and address is not None:
        raise InputError("--address is that of a Ray cluster: give --engine ray as well")


def in_order(
    engine: Engine, work: Work[Job, Result], jobs: Sequence[Job], ended: Callable[[], object] | None = None
) -> list[Result]:
    """Return the results of all jobs in their order; `ended` is called after each."""
    found: dict[int, Result] = {}
    for number, result in engine.run(work, jobs):
        found[number] = result
        if ended is not None:
            ended()
    return [found[number] for number in range(len(jobs))]


def handed_out(submit: Callable[[Job], Future[Result]], jobs: Sequence[Job], room: int) -> Iterator[tuple[int, Result]]:
    """Hand jobs to a pool, `room` of them at once, and yield the number of each that has ended, with its result."""
    waiting = iter(range(len(jobs)))
    running: dict[Future[Result], int] = {}
    while True:
        while len(running) < room and (number := next(waiting, None)) is not None:
            running[submit(jobs[number])] = number
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future.result()


def check_machines(machines: Sequence[float], gpus: float) -> None:
    """Make sure that one machine of a cluster, by its number of cards, can take a subject: Ray would wait without end.

    Raises:
        InputError: none can.
    """
    most = max(machines, default=0.0)
    if gpus > most:
        raise InputError(
            f"--gpus-per-subject {gpus:g} is more than any machine of the cluster has ({most:g}): give less"
        )


def _alone(work: Work[Job, Result], job: Job) -> Result:
    """Do a job in a process of a cluster."""
    if work.tensors:
        from protome.util.workers import one_thread

        one_thread()
    return work(job)


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
