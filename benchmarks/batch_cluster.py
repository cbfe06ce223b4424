"""A batch on a cluster that loses machines and its driver: none lost, none doubled, and what the engine costs.

    python benchmarks/batch_cluster.py [--subjects 500] [--seconds 30] [--machines 4]

Simulates the machines on this one by Ray's cluster utility. A subject is a process that sleeps, for up to a fifth more
or less than the given seconds, and then writes a result, so that the time beyond the sleep is what the engine costs.
While the batch runs, two machines are killed and replaced, and the driver is killed once. A driver that has ended, also
because its machine is gone, is started again. Prints a table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from command import command
from protome.batch.batch import BatchOptions, run_batch
from protome.batch.places import Place
from protome.batch.process import Limits
from protome.batch.records import KEPT, Records
from protome.errors import InputError

STAND_IN = """
import json, os, sys, threading, time
from pathlib import Path

def end_with_parent():
    while os.read(0, 1):
        pass
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
out = Path(sys.argv[sys.argv.index("--out") + 1])
with (Path(__file__).parent / "begun.txt").open("a") as log:
    log.write(out.name + "\\n")
time.sleep(float(sys.argv[2].rpartition("/")[2].partition("_")[0]))
out.mkdir(parents=True, exist_ok=True)
(out / "result.json").write_text(json.dumps({"id": out.name}))
with (Path(__file__).parent / "ended.txt").open("a") as log:
    log.write(out.name + "\\n")
"""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    subjects: int = 500
    """How many subjects."""
    seconds: float = 30.0
    """How long the work on each takes, on average."""
    machines: int = 4
    """Simulated machines with two processors each."""
    driver: str = ""
    """Used by the command itself: the address of the cluster, for the process that is killed."""
    folder: str = ""
    """Used by the command itself."""


def run(options: Options) -> None:
    """Run the batch and print a table.

    Raises:
        InputError: Ray is missing, or a subject is lost or was ended twice.
    """
    if options.driver:
        _drive(options)
        return
    with tempfile.TemporaryDirectory() as held:
        _measure(options, Path(held))


def _measure(options: Options, folder: Path) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        utility = import_module("ray.cluster_utils")
    except ImportError as error:
        raise InputError("the cluster is simulated by Ray: run `pip install ray`") from error
    photos, sleeps = folder / "photos", _sleeps(options)
    photos.mkdir()
    (folder / "stand_in.py").write_text(STAND_IN)
    for name, seconds in sleeps.items():
        (photos / f"{seconds:.2f}_{name}.jpg").write_text(name)
    rows = [json.dumps({"id": name, "photos": f"photos/{each:.2f}_{name}.jpg"}) for name, each in sleeps.items()]
    (folder / "list.jsonl").write_text("\n".join(rows) + "\n")
    small = {"include_dashboard": False, "object_store_memory": 10**8}
    cluster = utility.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    machines = [cluster.add_node(num_cpus=2, object_store_memory=10**8) for _ in range(options.machines)]
    started = time.perf_counter()
    try:
        driver = _start(options, cluster.address, folder)
        for event, share in enumerate((0.2, 0.4, 0.6)):
            _wait(folder, driver, share * options.subjects)
            if event == 1:
                driver.kill()
            else:
                cluster.add_node(num_cpus=2, object_store_memory=10**8)
                cluster.remove_node(machines.pop(), allow_graceful=False)
                time.sleep(2.0)  # until a driver on that machine has noticed
            if driver.poll() is not None or event == 1:
                driver.communicate()
                driver = _start(options, cluster.address, folder)
        _, said = driver.communicate()
    finally:
        cluster.shutdown()
    _report(options, folder, sleeps, time.perf_counter() - started, driver.returncode, said)


def _sleeps(options: Options) -> dict[str, float]:
    """Return how long the work on each subject takes, in seconds; subjects that begin together do not end together."""
    golden = 0.618034
    spread = [0.8 + 0.4 * (number * golden % 1) for number in range(options.subjects)]
    return {f"s{number:04d}": options.seconds * share for number, share in enumerate(spread)}


def _report(options: Options, folder: Path, sleeps: dict[str, float], took: float, code: int, said: bytes) -> None:
    begun, ended = (Counter((folder / f"{what}.txt").read_text().split()) for what in ("begun", "ended"))
    records = Records(Place(str(folder / "out"))).all()
    lost = [name for name in sleeps if name not in records or records[name].status != "done" or name not in ended]
    again = sum(begun.values()) - len(sleeps)
    best = options.subjects * options.seconds / (2 * options.machines)
    own = sorted(record.seconds - sleeps[name] for name, record in records.items() if record.seconds > 0)
    print("| subjects | seconds each | lost | ended twice | begun again | whole, s | at best, s | engine, of each |")
    print("|---|---|---|---|---|---|---|---|")
    twice = sum(count - 1 for count in ended.values())
    share = own[len(own) // 2] / options.seconds if own else float("nan")
    cells = (
        len(sleeps),
        options.seconds,
        len(lost),
        twice,
        again,
        f"{took:.0f}",
        f"{best:.0f}",
        f"{100 * share:.1f} %",
    )
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    if code or lost:
        raise InputError(f"the driver ended with code {code}, {len(lost)} subjects are lost: {said.decode()[-500:]}")


def _wait(folder: Path, driver: subprocess.Popen[bytes], count: float) -> None:
    records = folder / "out" / KEPT / "records"
    while driver.poll() is None and len(list(records.glob("*/*.json"))) < count:
        time.sleep(0.2)


def _start(options: Options, address: str, folder: Path) -> subprocess.Popen[bytes]:
    words: list[Any] = [sys.executable, __file__, "--driver", address, "--folder", folder]
    return subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _drive(options: Options) -> None:
    folder = Path(options.folder)
    given = BatchOptions(
        "ray", options.driver, limits=Limits(retries=5), program=(sys.executable, str(folder / "stand_in.py"))
    )
    run_batch(str(folder / "list.jsonl"), str(folder / "out"), given, quiet=True)


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
