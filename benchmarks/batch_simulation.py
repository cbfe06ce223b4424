"""A batch of 10,000 and of a million subjects on 10 to 1,000 machines, simulated from measured times and sizes.

    python benchmarks/batch_simulation.py [--seconds 40] [--result-mb 12]

Measures on this machine what one subject costs the engine: writing and reading its record, its row of the table and of
the page. From these, and from the time and the size of a reconstruction, it computes what each part of the engine
has to do, and prints what it does first that takes longer than the work itself or than its limit.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from command import command
from protome.batch.batch import INDEX_EVERY_S, INDEX_SHARE
from protome.batch.places import Place
from protome.batch.records import INDEX, LEASE_S, Record, Records
from protome.batch.summary import summary

LISTED = 1000
"""Files that one request of an object store lists."""
FILES = 14
"""Files of a result, with its record and its small picture."""
CALLS_S = 3500
"""Requests that one prefix of an object store takes each second, as S3's documentation says for writes."""
THREADS = 8
"""Of the engine, that read records at once."""
PAGE_MB = 200
"""A page that browsers still open."""


@dataclass(frozen=True)
class Options:
    """Options of the simulation."""

    subjects: tuple[int, ...] = (10_000, 1_000_000)
    """How many subjects."""
    machines: tuple[int, ...] = (10, 100, 1000)
    """How many machines."""
    slots: int = 8
    """Subjects that one machine works on at once."""
    seconds: float = 40.0
    """How long a subject takes there: `python benchmarks/session.py` measures it."""
    result_mb: float = 12.0
    """Size of a result."""
    request_ms: float = 30.0
    """How long a request to the object store takes."""
    dispatch_ms: float = 3.0
    """What Ray needs for a task on the driver's core: `python benchmarks/batch_cluster.py --seconds 0` measures it."""
    measured: int = 2000
    """Records that are written, read and listed here."""


@dataclass(frozen=True)
class Costs:
    """What one subject costs the engine, measured; seconds and bytes."""

    write_s: float
    read_s: float
    list_s: float
    index_s: float
    index_bytes: float
    page_s: float
    page_bytes: float


def measure(count: int) -> Costs:
    """Return the costs on this machine's own file system."""
    one = Record(
        "subject_0000000", "done", "", "", "a little dark", 41.25, 1834.5, 1, 0.875, 1.5, "f" * 64, "c" * 64,
        '["s3://bucket/photos/subject_0000000/front.jpg"]', '{"preset": "standard"}', "0.1.0", "machine-017", 1.7e9,
    )  # fmt: skip
    known = {f"subject_{k:07d}": replace(one, id=f"subject_{k:07d}", fingerprint=f"{k:064d}") for k in range(count)}
    with tempfile.TemporaryDirectory() as held:
        records = Records(Place(held))
        write_s = _timed(lambda: list(map(records.write, known.values())))
        read_s = _timed(records.all)
        index_s = _timed(lambda: records.write_index(known))
        index_bytes = (Path(held) / INDEX).stat().st_size
        list_s = _timed(Records(Place(held)).all)  # of which nothing has changed
        page: list[str] = []
        page_s = _timed(lambda: page.append(summary(records, known)))
    return Costs(*(value / count for value in (write_s, read_s, list_s, index_s, index_bytes, page_s, len(page[0]))))


def _timed(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started


def loads(options: Options, costs: Costs, subjects: int, machines: int) -> dict[str, tuple[str, float]]:
    """Return what each part of the engine does, as text, and how much of its limit that is."""
    works = subjects * options.seconds / (machines * options.slots)
    rate = subjects / works
    table_s = subjects * (costs.index_s + costs.page_s)
    every_s = max(INDEX_EVERY_S, table_s / INDEX_SHARE)
    request_s = options.request_ms / 1000
    listing_s = subjects / LISTED * request_s + subjects * costs.list_s
    reading_s = subjects * (request_s + costs.read_s) / THREADS
    calls = rate * (FILES + 4) + machines * options.slots * 4 / LEASE_S
    page_mb, index_mb = subjects * costs.page_bytes / 1e6, subjects * costs.index_bytes / 1e6
    return {
        "work, h": (f"{works / 3600:.2f}", 0.0),
        "driver, share of a core": (f"{rate * options.dispatch_ms / 1000:.2f}", rate * options.dispatch_ms / 1000),
        "table and page, s each": (f"{table_s:.1f}", table_s / max(works, INDEX_EVERY_S)),
        "written every, s": (f"{every_s:.0f}", 0.0),
        "table, MB": (f"{index_mb:.1f}", index_mb / 2000),
        "page, MB": (f"{page_mb:.1f}", page_mb / PAGE_MB),
        "start: listing, s": (f"{listing_s:.0f}", listing_s / works),
        "without the table, s": (f"{reading_s:.0f}", 0.0),
        "requests, 1/s": (f"{calls:.0f}", calls / CALLS_S),
        "results, MB/s": (f"{rate * options.result_mb:.0f}", rate * options.result_mb / 100_000),
    }


def run(options: Options) -> None:
    """Print what was measured, the table, and what breaks first."""
    import_module("pyarrow.parquet")
    costs = measure(options.measured)
    said = io.StringIO()
    print("measured for each subject: " + ", ".join(
        f"{name.removesuffix('_s')} {1e6 * value:.0f} us" if name.endswith("_s") else f"{name[:-6]} {value:.0f} bytes"
        for name, value in vars(costs).items()
    ))  # fmt: skip
    heads: list[str] = []
    for subjects in options.subjects:
        for machines in options.machines:
            found = loads(options, costs, subjects, machines)
            if not heads:
                heads = ["subjects", "machines", *found, "first at its limit"]
                print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|", file=said)
            name, (_, share) = max(found.items(), key=lambda pair: pair[1][1])
            first = f"{name.partition(',')[0]} ({100 * share:.0f} %)"
            cells = [f"{subjects:,}", f"{machines:,}", *(text for text, _ in found.values()), first]
            print("| " + " | ".join(cells) + " |", file=said)
    print(said.getvalue(), end="")


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
