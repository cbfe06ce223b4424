"""Check what a release promises, and print it: size of the wheel, start of the program, completion, requirements.

    python benchmarks/release.py
    python benchmarks/release.py --clean build/clean

The second makes a new environment as README.md says, by `pip install .`, and measures and checks that one. Times are
medians of some runs. Those of the processor are given too, because others depend on what else runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from command import command
from protome.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
WHEEL_MB, IMPORT_S, HELP_S = 40.0, 0.3, 0.5
"""What a release promises at most."""
SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Options:
    """Options of the check."""

    runs: int = 7
    """Runs of each command, whose median counts."""
    clean: Path | None = None
    """A folder that is not there yet, for a new environment; if left out, the one that runs this is checked."""
    torch: str = "torch"
    """The PyTorch that is asked for there, such as torch==2.13.0+cpu, where pip knows that."""


@dataclass(frozen=True)
class Taken:
    """What a command takes, medians."""

    wall_s: float
    processor_s: float
    """Which hardly depends on what else the machine does."""

    def row(self, what: str, most: float, bare: Taken) -> str:
        """Return the line of a table."""
        ratio = self.processor_s / bare.processor_s
        return f"| {what} | {self.wall_s:.2f} ({self.processor_s:.2f}) | {most:g} | {ratio:.1f} |"


def taken(words: Sequence[str], runs: int) -> Taken:
    """Return the time of a command that must succeed and warn of nothing."""
    wall, processor, own = [], [], environment()
    for _ in range(runs):
        started, before = time.perf_counter(), os.times()
        done = subprocess.run(words, cwd=ROOT, env=own, capture_output=True, text=True, check=True)
        after = os.times()
        wall.append(time.perf_counter() - started)
        processor.append(after.children_user + after.children_system - before.children_user - before.children_system)
        assert done.stderr == "", done.stderr
    return Taken(statistics.median(wall), statistics.median(processor))


def made(options: Options) -> Path:
    """Return the Python of a new environment with this package, or the one that runs this.

    Raises:
        InputError: the folder is there already.
    """
    if options.clean is None:
        return Path(sys.executable)
    if options.clean.exists():
        raise InputError(f"{options.clean} exists: give a new folder")
    venv.create(options.clean, with_pip=True)
    python = options.clean.resolve() / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", options.torch, str(ROOT)]
    subprocess.run(pip, cwd=options.clean, env=environment(), check=True)
    return python


def environment() -> dict[str, str]:
    """Return the environment without what points Python to a source tree."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def wheel_mb() -> float:
    """Return the size of the wheel, built without a network, in megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        # From a copy of what git has: setuptools leaves a folder `build` behind.
        copy, out = Path(folder) / "source", Path(folder) / "dist"
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), str(copy)], check=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-index"]
        words = [*pip, "--no-build-isolation", "--wheel-dir", str(out), str(copy)]
        subprocess.run(words, cwd=folder, capture_output=True, check=True)
        (wheel,) = out.glob("*.whl")
        return wheel.stat().st_size / 1e6


def unmet(python: Path) -> list[str]:
    """Return what `pip check` says of an environment."""
    words = [str(python), "-m", "pip", "--disable-pip-version-check", "check"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else done.stdout.splitlines()


def run(options: Options) -> None:
    """Print a table."""
    python = made(options)
    program = str(python.parent / "protome")
    bare = taken([str(python), "-c", "pass"], options.runs)
    load = taken([str(python), "-W", "error", "-c", "import protome"], options.runs)
    shown = taken([program, "--help"], options.runs)
    for shell in SHELLS:
        taken([program, "--tyro-print-completion", shell], 1)
    print("| what | here (processor) | at most | processor, of a bare interpreter |\n|---|---|---|---|")
    print(f"| wheel, MB | {wheel_mb():.1f} | {WHEEL_MB:g} | |")
    print(load.row("import protome, s", IMPORT_S, bare))
    print(shown.row("protome --help, s", HELP_S, bare))
    print(f"| bare interpreter, s | {bare.wall_s:.2f} ({bare.processor_s:.2f}) | | 1.0 |")
    print(f"| completion | {', '.join(SHELLS)} | | |")
    said = unmet(python)
    print(f"| pip check | {'clean' if not said else f'{len(said)} lines'} | | |")
    for line in said:
        print(line)


def main() -> int:
    """Check with the options of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
