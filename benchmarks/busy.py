"""The slow-down of a reconstruction beside other work, by how its threads wait for each other.

    python benchmarks/busy.py PHOTO [--busy 1 2]

The same draft run, alone and beside processes that keep a core busy each. Times are ratios to the run alone as the
package has it. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from command import command
from protome.util.files import check_photos_exist
from protome.util.waiting import POLICY


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    photo: Positional[Annotated[Path, arg(metavar="PHOTO")]]
    """The photo to reconstruct from."""
    busy: tuple[int, ...] = (1, 2)
    """Numbers of busy processes beside the run."""


WAYS = {
    "spins shortly (default)": {},
    "sleeps": {POLICY: "PASSIVE"},
    "spins": {POLICY: "ACTIVE"},
}
"""How a thread waits, and the environment for it."""


def run(options: Options) -> None:
    """Print a table of ratios."""
    check_photos_exist([options.photo])
    alone = float("nan")
    print(
        f"| busy processes beside it, {os.cpu_count()} cores | " + " | ".join(WAYS) + " |\n|---|" + "---|" * len(WAYS)
    )
    for count in (0, *options.busy):
        seconds = [_seconds(options.photo, own, count) for own in WAYS.values()]
        alone = seconds[0] if count == 0 else alone
        print(f"| {count} | " + " | ".join(f"{each / alone:.2f}" for each in seconds) + " |", flush=True)


def _seconds(photo: Path, own: dict[str, str], count: int) -> float:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for _ in range(count):
            stack.callback(subprocess.Popen([sys.executable, "-c", "while True: pass"]).kill)
        started = time.perf_counter()
        words = ["reconstruct", str(photo), "--out", folder, "--preset", "draft", "--quiet"]
        subprocess.run([sys.executable, "-m", "protome.cli", *words], env=os.environ | own, check=True)
        return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
