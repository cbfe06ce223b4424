"""The batch's own engine on one machine: threads of this process, which start a process for each subject.

A Ray cluster takes subjects as it takes the jobs of every command (`protome.util.engines`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue

from protome.batch import process
from protome.batch.records import Record
from protome.batch.work import Task
from protome.util.engines import Work, handed_out


@dataclass(frozen=True)
class Local:
    """Processes of this machine, whose time, memory and cards are limited."""

    jobs: int
    """How many at once."""
    cards: tuple[str, ...] = ()
    """The graphics cards of each of those that run at once, of which there are then no more; empty without any of
    their own."""

    def run(self, work: Work[Task, Record | None], tasks: Sequence[Task]) -> Iterator[tuple[int, Record | None]]:
        """As `protome.util.engines.Engine.run`."""
        process.STOP.clear()
        shares = list(self.cards or (None,) * self.jobs)[: self.jobs]
        free: SimpleQueue[str | None] = SimpleQueue()
        for share in shares:
            free.put(share)

        def begun(task: Task) -> Record | None:
            cards = free.get()
            try:
                return work(replace(task, cards=cards))
            finally:
                free.put(cards)

        pool = ThreadPoolExecutor(len(shares))
        try:
            yield from handed_out(lambda task: pool.submit(begun, task), tasks, len(shares))
        finally:
            process.STOP.set()
            pool.shutdown(wait=True, cancel_futures=True)
