"""Walk a newcomer's path in an empty folder, step by step, and print what each step takes: docs/start/newcomer.md.

    python benchmarks/newcomer.py --photo me.jpg --out build/newcomer --blender python3.11

The steps are those of the page: clone, environment, demo, the own photo, Blender. `--blender` names a Python that has
Blender's module bpy; without it the last step is left out. The first run of pip downloads some gigabytes. Seconds of
the processor are given too, because the others depend on what else the machine does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from command import command
from protome.errors import InputError
from protome.util.files import check_output_folder

ROOT = Path(__file__).resolve().parents[1]
IMPORT = (
    "import bpy\n"
    "bpy.ops.wm.read_factory_settings(use_empty=True)\n"
    "bpy.ops.import_scene.gltf(filepath='build/me/head.glb')\n"
    "bpy.ops.wm.save_as_mainfile(filepath='build/me/head.blend')\n"
)


@dataclass(frozen=True)
class Options:
    """Options of the walk."""

    photo: Path
    """The newcomer's own photo."""
    out: Path
    """An empty folder for the clone."""
    blender: str | None = None
    """A Python that has bpy; if left out, nothing is imported."""
    python: str = "python3"
    """The Python that the environment is made with."""


@dataclass(frozen=True)
class Step:
    """One step: what is done in words, and its command."""

    words: str
    command: tuple[str, ...]
    folder: Path


def steps(options: Options) -> Iterator[Step]:
    """Return the steps in their order."""
    clone, photo = options.out.resolve() / "protome", str(options.photo.resolve())
    protome = ".venv/bin/protome"
    yield Step("clone", ("git", "clone", "--quiet", str(ROOT), str(clone)), options.out)
    yield Step("environment", ("make", f"PYTHON={options.python}", ".venv/.installed"), clone)
    yield Step("demo", ("make", f"PYTHON={options.python}", "demo"), clone)
    yield Step("look at the own photo", (protome, "inspect", photo, "--out", "build/look"), clone)
    yield Step(
        "draft of the own photo", (protome, "reconstruct", photo, "--out", "build/draft", "--preset", "draft"), clone
    )
    yield Step("head of the own photo", (protome, "reconstruct", photo, "--out", "build/me"), clone)
    if options.blender is not None:
        yield Step("import in Blender", (options.blender, "-c", IMPORT), clone)


def run(options: Options) -> None:
    """Walk the path and print a table."""
    check_output_folder(options.out)
    if not options.photo.is_file():
        raise InputError(f"{options.photo} does not exist: give a photo of a face")
    rows = ["| step | seconds | of the processor |", "|---|---|---|"]
    for step in steps(options):
        started, before = time.perf_counter(), os.times()
        done = subprocess.run(step.command, cwd=step.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"the step '{step.words}' ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
        seconds, after = time.perf_counter() - started, os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        rows.append(f"| {step.words} | {seconds:.0f} | {spent:.0f} |")
        print(rows[-1], file=sys.stderr, flush=True)
    print("\n".join(rows))


def main() -> int:
    """Walk with the options of the command line and return the exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
