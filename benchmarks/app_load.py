"""Many clients at once: `python benchmarks/app_load.py` sends 200 uploads by 50 clients and counts what comes back.

The app runs in a process of its own; in place of heads its workers copy a small result, so that the app itself is
measured: uploads, queue, processes, pages and downloads. Meanwhile the page is loaded again and again, as a visitor
would. It prints how many jobs were done, lost and refused, and how long the page took.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from command import command
from protome.util.files import write_atomically
from serving import Client, serving

PAGES = ("/", "/style.css", "/app.css", "/app.js", "/api/about", "/api/jobs")
"""What a browser asks for when the page is opened."""
PAUSE_S = 0.2
"""Between two loads of the page."""


@dataclass(frozen=True)
class LoadOptions:
    """How many clients, and what they send."""

    clients: int = 50
    """Clients at a time, each with one upload after the other."""
    uploads: int = 200
    """Uploads of all clients together."""
    megabytes: float = 3.0
    """Size of the photo in each upload."""
    workers: int = 2
    """Heads that the app makes at a time."""
    out: Path | None = None
    """A JSON file for the numbers."""


@dataclass(frozen=True)
class LoadReport:
    """What came back."""

    done: int
    """Jobs whose zip file was downloaded whole."""
    lost: int
    """Jobs that the app took and no longer knows, or that did not end as they should."""
    refused: dict[str, int]
    """Answers other than success to uploads, by code, with their number."""
    seconds: float
    pages: int
    """How often the page was loaded meanwhile."""
    pages_before_half: int
    """How often before half of the jobs were done."""
    page_median_s: float
    page_worst_s: float


def load(options: LoadOptions) -> LoadReport:
    """Run an app, its clients and a visitor, and return what came back."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = multiprocessing.Pipe()
        app = multiprocessing.get_context("spawn").Process(target=_serve, args=(folder, options.workers, theirs))
        app.start()
        try:
            return _use(Client(ours.recv()), options)
        finally:
            ours.send("stop")
            app.join()


def _serve(folder: Path, workers: int, connection: Connection) -> None:
    result, kept = folder / "result", folder / "kept"
    for one in (result, kept):
        one.mkdir()
    Image.new("RGB", (64, 48), "teal").save(result / "capture.png")
    (result / "head.glb").write_bytes(os.urandom(1_000_000))
    (result / "result.json").write_text("{}")
    with serving(kept, result, workers=workers) as client:
        connection.send(client.port)
        connection.recv()


def _use(client: Client, options: LoadOptions) -> LoadReport:
    numbers = iter(range(options.uploads))
    lock = threading.Lock()
    taken: list[str] = []
    done: list[str] = []
    refused: Counter[str] = Counter()
    times: list[tuple[float, int]] = []
    photo = os.urandom(round(1e6 * options.megabytes))

    def use() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            answer = client.upload([(f"{number}.jpg", photo)], start="true", preset="draft")
            if answer.status != 201:
                with lock:
                    refused[str(answer.status)] += 1
                continue
            job = answer.json["id"]
            with lock:
                taken.append(job)
            own = client.wait(job, lambda one: one["state"] in ("done", "failed", "cancelled"), "ended")
            whole = own["state"] == "done" and len(client.get(own["zip_url"]).body) > 1_000_000
            with lock:
                done.extend([job] if whole else [])

    began = time.monotonic()
    threads = [threading.Thread(target=use) for _ in range(options.clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        start = time.monotonic()
        assert all(client.get(path).status == 200 for path in PAGES)
        times.append((time.monotonic() - start, len(done)))
        time.sleep(PAUSE_S)
    seconds = time.monotonic() - began
    known = {job["id"] for job in client.get("/api/jobs?most=200").json}
    lost = len(set(taken) - set(done)) + (len(set(done) - known) if len(done) <= 200 else 0)
    spans = sorted(span for span, _ in times)
    early = sum(before < options.uploads / 2 for _, before in times)
    return LoadReport(
        len(set(done)), lost, dict(refused), seconds, len(times), early, spans[len(spans) // 2], spans[-1]
    )


def main(options: LoadOptions) -> None:
    """Print what came back, and write it where asked."""
    report = load(options)
    print(
        f"{options.clients} clients, {options.uploads} uploads of {options.megabytes:g} MB, in {report.seconds:.0f} s"
    )
    print(f"done {report.done}, lost {report.lost}, refused {report.refused or 'none'}")
    print(
        f"the page was loaded {report.pages} times ({report.pages_before_half} of them before half was done): "
        f"{report.page_median_s:.2f} s in the median, {report.page_worst_s:.2f} s at worst"
    )
    if options.out is not None:
        text = json.dumps(asdict(report), indent=1) + "\n"
        write_atomically(options.out, lambda part: part.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(command(main, LoadOptions, __doc__))
