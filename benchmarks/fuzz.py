"""Every kind of file that commands read, damaged at random: it is read, or refused in one sentence, and nothing else.

    python benchmarks/fuzz.py [--count 1000] [--kinds photos masks] [--seed 0] [--out DIR]

Each damaged file is read in a child process, by the reader that the commands use, within 2 GB and 30 seconds. What
crashes there, ends in a traceback, takes too long or too much memory, opens a file outside the case's folder or starts
a process is a failure. Prints a table; DIR gets the files that failed, and what they led to.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

import numpy as np

from command import command
from fuzz_kinds import KINDS, outcome
from mutations import mutated
from protome.errors import InputError

MOST_BYTES = 2 << 30
MOST_S = 30
GOOD = ("read", "refused")
BAD = ("traceback", "sentence", "crash", "time", "memory", "outside")
INVALID = "invalid"
FORBIDDEN = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
    "os.remove",
    "shutil.rmtree",
)
"""What reading a file never does."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    count: int = 1000
    """Damaged files of each kind."""
    kinds: tuple[str, ...] = tuple(KINDS)
    """The kinds."""
    seed: int = 0
    """The random seed: a number of a file stands for the same damage again."""
    out: Path | None = None
    """A folder for files that failed."""


def run(options: Options) -> None:
    """Print a table.

    Raises:
        InputError: a kind is unknown, or a file failed.
    """
    unknown = [name for name in options.kinds if name not in KINDS]
    if unknown or options.count < 1:
        raise InputError(f"give a count of 1 or more, and kinds among {', '.join(KINDS)}")
    print(f"| kind | damaged | {' | '.join((*GOOD, *BAD))} | longest, s | most, MB |\n" + "|---" * (12), flush=True)
    failed = 0
    for name in options.kinds:
        counts, longest, most = _kind(name, options)
        failed += sum(counts[word] for word in BAD)
        cells = (name, options.count, *(counts[word] for word in (*GOOD, *BAD)), f"{longest:.1f}", f"{most:.0f}")
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    if failed:
        raise InputError(f"{failed} damaged files were neither read nor refused in one sentence")


def _kind(name: str, options: Options) -> tuple[Counter[str], float, float]:
    """Read all damaged files of a kind; return how often each outcome was, and the longest time and most memory."""
    counts: Counter[str] = Counter()
    longest, most, number = 0.0, 0.0, 0
    fork = multiprocessing.get_context("fork")
    while number < options.count:
        mine, theirs = fork.Pipe(duplex=False)
        child = fork.Process(target=_reads, args=(name, options, number, theirs))
        child.start()
        theirs.close()
        try:
            while number < options.count:
                if _too_much(child, mine):
                    child.kill()
                word, said, seconds, memory = mine.recv()
                if word == INVALID:
                    raise InputError(f"the case of {name} cannot be read before it is damaged: {said}")
                counts[word] += 1
                longest, most = max(longest, seconds), max(most, memory)
                if word in BAD:
                    _keep(name, options, number, word, said)
                number += 1
        except EOFError:  # the child has ended in the middle of a file
            child.join()
            if child.exitcode:
                word = {-signal.SIGALRM: "time", -signal.SIGKILL: "memory"}.get(child.exitcode, "crash")
                counts[word] += 1
                _keep(name, options, number, word, f"exit code {child.exitcode}")
                number += 1
        child.join()
    return counts, longest, most


def _too_much(child: ForkProcess, answers: Connection) -> bool:
    """Wait for an answer of a child; return whether it comes to hold too much memory before.

    What counts is memory that is used: a decoder may reserve what a damaged file claims, and then find nothing there.
    """
    start = _held(child)
    while not answers.poll(0.01):
        if not child.is_alive():
            return False
        if _held(child) - start > MOST_BYTES:
            return True
    return False


def _held(child: ForkProcess) -> int:
    try:
        return int(Path(f"/proc/{child.pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):  # it has ended
        return 0


def damaged(name: str, number: int, seed: int, files: list[Path], valid: dict[Path, bytes]) -> tuple[Path, bytes]:
    """Return which file of a case is damaged, and its new content: always the same for the same numbers."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
    file = files[int(rng.integers(len(files)))]
    return file, mutated(valid[file], rng)


def _reads(name: str, options: Options, first: int, sent: Connection) -> None:
    """Read files from a number on, and send the outcome of each."""
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # native decoders write there
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held).resolve() / "case"
        folder.mkdir()
        files = KINDS[name].write(folder)
        valid = {file: file.read_bytes() for file in files}
        for file in files:
            word, said = outcome(KINDS[name], folder, file)
            if word != "read":
                sent.send((INVALID, f"{file.name}: {said}", 0.0, 0.0))
                return
        strays = _watch(folder.parent)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        start = _memory()
        for number in range(first, options.count):
            file, content = damaged(name, number, options.seed, files, valid)
            file.write_bytes(content)
            strays.clear()
            began = time.perf_counter()
            signal.alarm(MOST_S)
            word, said = outcome(KINDS[name], folder, file)
            signal.alarm(0)
            seconds = time.perf_counter() - began
            if _memory() - start > MOST_BYTES >> 20:
                word = "memory"
            if strays:
                word, said = "outside", "; ".join(strays)
            file.write_bytes(valid[file])
            sent.send((word, said, seconds, _memory() - start))


def _watch(folder: Path) -> list[str]:
    """Note what is opened or begun outside a folder, and return the list that gets it."""
    strays: list[str] = []
    known = tuple(
        str(Path(place).resolve())
        for place in (
            folder,
            sys.prefix,
            sys.base_prefix,
            Path(__file__).parents[1],
            "/usr",
            "/lib",
            "/proc",
            "/dev/null",
        )
    )

    def note(event: str, facts: tuple[object, ...]) -> None:
        if event == "open" and isinstance(facts[0], str | bytes):
            path = os.path.realpath(os.fsdecode(facts[0]))
            if not path.startswith(known):
                strays.append(f"opened {path}")
        elif event in FORBIDDEN and not (event == "os.remove" and os.path.realpath(str(facts[0])).startswith(known[0])):
            strays.append(f"{event} {facts}")

    sys.addaudithook(note)
    return strays


def _memory() -> float:
    """Return the most memory that this process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _keep(name: str, options: Options, number: int, word: str, said: str) -> None:
    """Write a file that failed, and a line about it."""
    print(f"  {name} {number}: {word}: {said[:300]}", file=sys.stderr, flush=True)
    if options.out is None:
        return
    with tempfile.TemporaryDirectory() as held:
        files = KINDS[name].write(Path(held))
        file, content = damaged(name, number, options.seed, files, {path: path.read_bytes() for path in files})
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}_{number}_{file.name}").write_bytes(content)
    with (options.out / "failures.txt").open("a", encoding="utf-8") as log:
        log.write(f"{name} {number} {file.name}: {word}: {said}\n")


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
