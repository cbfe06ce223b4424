"""Commands killed at random moments: what is in their folders is the complete old or the complete new result.

    python benchmarks/kills.py [--commands sample inspect] [--kills 30]

Each command has two variants, whose results differ. Both are first run to the end, each into a folder of its own. Then
they run in turn into one folder and are killed: every other time at any moment, otherwise from the moment on at which
files are written. After each kill the folder has to hold one of the two results, whole. A last run has to leave nothing
but its result. Prints one line for each command.

Commands that continue a stopped run are killed again and again, and have to end with the same bytes as a run without
kills; files of numbers may differ in seconds and memory. `--sources` names a folder with `valid` (busts) to build a
small population from, and is used with `ict` and `makehuman` where it has them. `--scenes` has held-out scenes, the
first of which is measured in the benchmark. Folders of temporary files are checked, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, ImageOps

from command import command
from fuzz_kinds import KINDS
from protome.errors import InputError
from protome.portrait import save_portrait

Name = Literal["sample", "inspect", "reconstruct", "detail", "train", "batch", "population", "accuracy"]
RESUMED = ("train", "batch", "population", "accuracy")
"""Commands that continue a stopped run."""
TIMED = ("result.json", "report.html", "capture.json", "index.parquet", "index.html", "accuracy.json", "benchmark.md")
"""Files that hold times, which differ from run to run: only the others are compared."""
SECONDS = "seconds"
"""The number of a case's JSON file that differs from run to run."""
TEMPORARY = "temporary"
"""The folder of temporary files of all runs."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    commands: tuple[Name, ...] = ("sample", "inspect", "reconstruct", "detail", "train", "batch")
    """The commands to kill."""
    sources: Path | None = None
    """For population: a folder with the folder valid (busts), and perhaps ict and makehuman."""
    scenes: Path | None = None
    """For accuracy: held-out scenes."""
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
            (folder / TEMPORARY).mkdir()
            row = _resumed_row if name in RESUMED else _row
            print(row(name, folder, options, chance), flush=True)


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


def _row(name: Name, folder: Path, options: Options, chance: random.Random) -> str:
    variants, whole, took, kills = _variants(name, folder), list[dict[str, str]](), 0.0, options.kills
    for number, words in enumerate(variants):
        started = time.perf_counter()
        _start(words, folder / str(number), folder).communicate()
        took = time.perf_counter() - started
        whole.append(hashes(folder / str(number)))
    if whole[0] == whole[1] or not all(whole):
        raise InputError(f"the two variants of {name} do not differ: nothing can be measured")
    out, last = folder / "out", -1
    counts = {"old": 0, "new": 0, "none": 0, "left": 0}
    for number in range(kills):
        child = _start(variants[number % 2], out, folder)
        if number % 2:
            _wait(child, chance.uniform(0, took))
        else:
            while child.poll() is None and not list(folder.glob(".out.*.partial")):
                time.sleep(0.002)
            _wait(child, chance.uniform(0, 0.25 * took) if chance.random() < 0.5 else chance.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        found = hashes(out)
        if found == {}:
            counts["none"] += 1
        elif found in whole:
            counts["old" if whole.index(found) == last else "new"] += 1
            last = whole.index(found)
        else:
            raise InputError(f"{name}, killed the {number + 1}th time, has left a mixed result: {sorted(found)}")
        counts["left"] += len([*folder.glob(".*"), *(folder / TEMPORARY).glob("protome-*")])
    last_run = _start(variants[0], out, folder)
    last_run.communicate()
    found = hashes(out)
    left = sorted(path.name for path in (*folder.glob(".*"), *out.glob(".*"), *(folder / TEMPORARY).glob("protome-*")))
    if last_run.returncode or found != whole[0] or left:
        differs = sorted(key for key in {*found, *whole[0]} if found.get(key) != whole[0].get(key))
        raise InputError(f"{name} has ended with code {last_run.returncode}: {differs} differ, {left} are left behind")
    cells = (name, f"{took:.1f}", kills, counts["old"], counts["new"], counts["none"], f"{counts['left']}, then 0")
    return "| " + " | ".join(map(str, cells)) + " |"


def _resumed(name: Name, folder: Path, options: Options) -> list[str]:
    """Return the words of a command that continues a stopped run, without their folder."""
    inputs = folder / "inputs"
    if name == "train":
        if not inputs.is_dir():
            inputs.mkdir()
            KINDS["population"].write(inputs)
        return ["train", "--population", str(inputs), "--config", "tiny", "--steps", "200"]
    if name == "batch":
        if not inputs.is_dir():
            save_portrait(inputs / "a.png")
            ImageOps.mirror(Image.open(inputs / "a.png")).save(inputs / "b.png")
        small = "--preset draft --budget 8 --resolution 64 --texture 1024 --faces 5000 --no-report"
        return ["batch", str(inputs), f"--options={small}", "--jobs", "1"]
    if name == "population":
        if options.sources is None:
            raise InputError("population is built from models that are fetched: name their folder with --sources")
        parts = [part for part in ("valid", "ict", "makehuman") if (options.sources / part).is_dir()]
        given = [word for part in parts for word in (f"--{part}", str(options.sources / part))]
        return ["population", "build", *given, "--count", "4", "--jobs", "1"]
    if options.scenes is None:
        raise InputError("accuracy is measured on held-out scenes: name their folder with --scenes")
    if not inputs.is_dir():
        first = min(path for path in options.scenes.iterdir() if path.is_dir())
        shutil.copytree(first, inputs / first.name)
        shutil.copy(options.scenes / "config.toml", inputs)
    short = ["--quick", "--ours-only", "--views", "1", "--preset", "draft", "--jobs", "1"]
    return ["benchmark", "accuracy", "--scenes", str(inputs), *short]


def _resumed_row(name: Name, folder: Path, options: Options, chance: random.Random) -> str:
    words, started = _resumed(name, folder, options), time.perf_counter()
    ended = "prior.safetensors" if name == "train" else ""
    (folder / "whole").mkdir()
    (folder / "out").mkdir()
    _start(words, folder / "whole" / ended, folder).communicate()
    took, whole = time.perf_counter() - started, hashes(folder / "whole")
    if not whole:
        raise InputError(f"{name} leaves no result without any kill")
    done = 0
    for _ in range(options.kills):
        child = _start(words, folder / "out" / ended, folder)
        # Most runs end before much is done, so that a run of many kills moves on by what was kept alone.
        _wait(child, chance.uniform(0, 0.7 * took))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        done += hashes(folder / "out") == whole
    last_run = _start(words, folder / "out" / ended, folder)
    last_run.communicate()
    found = hashes(folder / "out")
    hidden = [path for path in (folder / "out").rglob(".*") if path.name != ".batch"]
    left = sorted(path.name for path in (*hidden, *(folder / TEMPORARY).glob("protome-*")))
    if last_run.returncode or found != whole or left:
        differs = sorted(key for key in {*found, *whole} if found.get(key) != whole.get(key))
        raise InputError(f"{name} has ended with code {last_run.returncode}: {differs} differ, {left} are left behind")
    cells = (name, f"{took:.1f}", options.kills, "resumed", done, options.kills - done, "0")
    return "| " + " | ".join(map(str, cells)) + " |"


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for some seconds, or until a process has ended."""
    with suppress(subprocess.TimeoutExpired):
        child.wait(seconds)


def _start(words: list[str], out: Path, folder: Path) -> subprocess.Popen[bytes]:
    given = [sys.executable, "-m", "protome.cli", *words, "--out", str(out)]
    environment = os.environ | {"TMPDIR": str(folder / TEMPORARY)}
    return subprocess.Popen(given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def hashes(folder: Path) -> dict[str, str]:
    """Return a digest of each visible file of a result; of those that hold times, only that they are there."""
    visible = [path for path in folder.rglob("*") if not any(p.startswith(".") for p in path.relative_to(folder).parts)]
    files = [path for path in visible if path.is_file()]
    return {
        str(path.relative_to(folder)): "" if path.name in TIMED else hashlib.sha256(_without_seconds(path)).hexdigest()
        for path in files
    }


def _without_seconds(path: Path) -> bytes:
    """Return the content of a file; of a JSON object without its seconds, which differ from run to run."""
    content = path.read_bytes()
    facts = json.loads(content) if path.suffix == ".json" else None
    if not isinstance(facts, dict):
        return content
    return json.dumps({key: value for key, value in facts.items() if key != SECONDS}).encode()


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
