"""Commands on a machine where something is missing: one sentence, no traceback, old results as they were, nothing left.

    python benchmarks/faults.py [--commands sample inspect evaluate train] [--offsets 10]

Each command is first run to its end. Then it is run into the same folder with files limited to a size, as on a full
disk, at random sizes below that of its largest file; in a folder that may not be written; without a home folder;
without a terminal; with its standard output closed, ended early, or full; and interrupted. What may fail has to end
with the exit code for it and one sentence, and to leave the old result. Prints a line for each command.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from command import command
from fuzz_kinds import KINDS
from kills import hashes
from protome.errors import InputError
from protome.portrait import save_portrait

Name = Literal["sample", "inspect", "evaluate", "train", "detail", "reconstruct"]
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
"""Of Linux's headers linux/prctl.h and linux/capability.h."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    commands: tuple[Name, ...] = ("sample", "inspect", "evaluate", "train")
    """The commands."""
    offsets: int = 10
    """At how many sizes of a file the disk is full."""
    seed: int = 0
    """The random seed of these sizes."""


@dataclass(frozen=True)
class Ended:
    """How a command has ended."""

    code: int
    said: str
    """On its standard error output."""


def run(options: Options) -> None:
    """Print a table.

    Raises:
        InputError: a command fails otherwise than it should.
    """
    chance = random.Random(options.seed)
    print("| command | disk full | read-only | no HOME | no TTY | stdout closed | ended early | full | Ctrl-C |")
    print("|---" * 9 + "|", flush=True)
    for name in options.commands:
        with tempfile.TemporaryDirectory() as held:
            folder = Path(held)
            folder.chmod(0o755)
            print(f"| {name} | " + " | ".join(_row(name, folder, options.offsets, chance)) + " |", flush=True)


def _words(name: Name, folder: Path) -> list[str]:
    photo, out = folder / "inputs" / "a.png", folder / "out"
    out.mkdir(exist_ok=True)
    if not photo.is_file():
        save_portrait(photo)
        for kind in ("h3ds", "population"):
            (folder / "inputs" / kind).mkdir()
            KINDS[kind].write(folder / "inputs" / kind)
    scan = folder / "inputs/h3ds/scenes/001"
    small = ["--preset", "draft", "--budget", "8", "--resolution", "64", "--texture", "1024", "--faces", "5000"]
    own = {
        "sample": ["prior", "sample", "--resolution", "48", "--out", str(out)],
        "inspect": ["inspect", str(photo), "--out", str(out)],
        "evaluate": ["evaluate", str(scan / "full_head.obj"), str(scan), "--json", str(out / "numbers.json")],
        "train": ["train", "--population", str(folder / "inputs/population"), "--config", "tiny", "--steps", "20"],
        "detail": ["detail", str(photo), "--out", str(out), "--quiet"],
        "reconstruct": ["reconstruct", str(photo), *small, "--out", str(out), "--quiet"],
    }[name]
    return own + (["--out", str(out / "prior.safetensors")] if name == "train" else [])


def _row(name: Name, folder: Path, offsets: int, chance: random.Random) -> list[str]:
    words, out = _words(name, folder), folder / "out"
    first = _ended(words)
    if first.code:
        raise InputError(f"{name} fails without any fault: {first.said[-500:]}")
    whole, most = hashes(out), max(path.stat().st_size for path in out.rglob("*") if path.is_file())

    def failing(fault: str, codes: tuple[int, ...], **how: object) -> str:
        ended = _ended(words, **how)  # type: ignore[arg-type]
        lines = [line for line in ended.said.splitlines() if not line.startswith("warning: ")]
        left = [path.name for path in (*out.glob(".*"), *folder.glob(".*"))]
        if ended.code not in codes or len(lines) > 1 or "Traceback" in ended.said:
            raise InputError(f"{name}, {fault}: exit code {ended.code}, {ended.said[-800:]!r}")
        if hashes(out) != whole or left:
            raise InputError(f"{name}, {fault}: the old result is not what it was, or {left} are left behind")
        return str(ended.code)

    sizes = [chance.randrange(most) for _ in range(offsets)]
    found = ["/".join(sorted({failing(f"disk full at {size}", (0, 2), before=_full_at(size)) for size in sizes}))]
    out.chmod(0o555)
    found.append(failing("read-only", (2,), before=_without_privilege))
    out.chmod(0o755)
    bare = {key: value for key, value in os.environ.items() if key not in ("HOME", "USER", "LOGNAME")}
    found.append(failing("no HOME", (0,), environment=bare))
    found.append(failing("no TTY", (0,), before=os.setsid))
    found.append(failing("stdout closed", (0,), before=lambda: os.close(1)))
    found.append(failing("stdout ended early", (0, 141), before=_to_nobody))
    found.append(failing("stdout full", (0, 2), before=lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 1)))
    started = time.perf_counter()
    _ended(words)
    took = time.perf_counter() - started
    stops = {failing("interrupted", (0, 130), after_s=share * took) for share in (0.1, 0.3, 0.6)}
    return [*found, "/".join(sorted(stops))]


def _full_at(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _without_privilege() -> None:
    """Take the right to write everywhere from an administrator's process (Linux)."""
    if os.getuid() == 0:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def _to_nobody() -> None:
    """Let the standard output be a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)


def _ended(
    words: list[str],
    before: Callable[[], object] | None = None,
    environment: dict[str, str] | None = None,
    after_s: float | None = None,
) -> Ended:
    """Run a command; `before` is done in its process, and after some seconds it is interrupted."""

    def begun() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets what it starts in the background ignore it
        if before is not None:
            before()

    child = subprocess.Popen(
        [sys.executable, "-m", "protome", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, env=environment, preexec_fn=begun, text=True,
    )  # fmt: skip
    if after_s is not None:
        time.sleep(after_s)
        child.send_signal(signal.SIGINT)
    _, said = child.communicate()
    return Ended(child.returncode, "\n".join(line for line in said.splitlines() if "\r" not in line).strip())


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
