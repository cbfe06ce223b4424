"""Commands killed at random moments: what is in their folders is the complete old or the complete new result.

    python benchmarks/kills.py [--commands sample inspect] [--kills 30]

Each command has two variants, whose results differ. Both are first run to the end, each into a folder of its own. Then
they run in turn into one folder and are killed: every other time at any moment, otherwise from the moment on at which
files are written. After each kill the folder has to hold one of the two results, whole. A last run has to leave nothing
but its result. Prints one line for each command.
"""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, ImageOps

from command import command
from protome.errors import InputError
from protome.portrait import save_portrait

Name = Literal["sample", "inspect", "reconstruct", "detail"]
TIMED = ("result.json", "report.html", "capture.json")
"""Files that hold times, which differ from run to run: only the others are compared."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    commands: tuple[Name, ...] = ("sample", "inspect", "reconstruct", "detail")
    """The commands to kill."""
    kills: int = 30
    """How often each is killed."""
    seed: int = 0
    """The random seed of the moments."""


def run(options: Options) -> None:
    """Print a table.

    Raises:
        InputError: a command leaves a mixed result, or something else than its result.
    """
    chance = random.Random(options.seed)
    print("| command | seconds | killed | old result | new result | none yet | left behind |\n" + "|---" * 7 + "|")
    for name in options.commands:
        with tempfile.TemporaryDirectory() as held:
            folder = Path(held)
            print(_row(name, folder, options.kills, chance), flush=True)


def _variants(name: Name, folder: Path) -> tuple[list[str], list[str]]:
    """Return the words of two variants of a command, without their folder."""
    photos = [folder / "inputs" / "a.png", folder / "inputs" / "b.png"]
    if not photos[1].is_file():
        save_portrait(photos[0])
        ImageOps.mirror(Image.open(photos[0])).save(photos[1])
    small = ["--preset", "draft", "--budget", "8", "--resolution", "64", "--texture", "1024", "--faces", "5000"]
    words = {
        "sample": [["prior", "sample", "--resolution", "48", "--temperature", each] for each in ("0.5", "1")],
        "inspect": [["inspect", str(photo)] for photo in photos],
        "reconstruct": [["reconstruct", str(photo), *small] for photo in photos],
        "detail": [["detail", str(photo)] for photo in photos],
    }[name]
    return words[0], words[1]


def _row(name: Name, folder: Path, kills: int, chance: random.Random) -> str:
    variants, whole, took = _variants(name, folder), [], 0.0
    for number, words in enumerate(variants):
        started = time.perf_counter()
        _start(words, folder / str(number)).communicate()
        took = time.perf_counter() - started
        whole.append(_hashes(folder / str(number)))
    if whole[0] == whole[1] or not all(whole):
        raise InputError(f"the two variants of {name} do not differ: nothing can be measured")
    out, last = folder / "out", -1
    counts = {"old": 0, "new": 0, "none": 0, "left": 0}
    for number in range(kills):
        child = _start(variants[number % 2], out)
        if number % 2:
            time.sleep(chance.uniform(0, took))
        else:
            while child.poll() is None and not list(folder.glob(".out.*.partial")):
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.25 * took) if chance.random() < 0.5 else chance.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        found = _hashes(out)
        if found == {}:
            counts["none"] += 1
        elif found in whole:
            counts["old" if whole.index(found) == last else "new"] += 1
            last = whole.index(found)
        else:
            raise InputError(f"{name}, killed the {number + 1}th time, has left a mixed result: {sorted(found)}")
        counts["left"] += len(list(folder.glob(".*")))
    last_run = _start(variants[0], out)
    last_run.communicate()
    found, left = _hashes(out), sorted(path.name for path in (*folder.glob(".*"), *out.glob(".*")))
    if last_run.returncode or found != whole[0] or left:
        differs = sorted(key for key in {*found, *whole[0]} if found.get(key) != whole[0].get(key))
        raise InputError(f"{name} has ended with code {last_run.returncode}: {differs} differ, {left} are left behind")
    cells = (name, f"{took:.1f}", kills, counts["old"], counts["new"], counts["none"], f"{counts['left']}, then 0")
    return "| " + " | ".join(map(str, cells)) + " |"


def _start(words: list[str], out: Path) -> subprocess.Popen[bytes]:
    given = [sys.executable, "-m", "protome.cli", *words, "--out", str(out)]
    return subprocess.Popen(given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _hashes(folder: Path) -> dict[str, str]:
    """Return a digest of each visible file of a result; of those that hold times, only that they are there."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {
        str(path.relative_to(folder)): "" if path.name in TIMED else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
