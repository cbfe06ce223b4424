"""Commands and examples in the README and in docs/ work: a block of code says in a comment above it how it is tested.

`run`: executed in an empty folder. `parse`: the command line takes it, with the work itself replaced. `benchmark`:
executed without its data, which it must miss by name. `make TARGET`: these are the commands that the target runs.
`install`: what pip is asked for is this folder, or the release that the package was tested with. In the pages below, a
block without a comment may hold only `make` and targets; other pages of docs/ may have blocks that are not tested.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

from protome.cli import main

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(?:<!-- test: (?P<test>[^>]+?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)```", re.DOTALL)


WHOLE = ("README.md", "CONTRIBUTING.md", "docs/installation.md", "docs/usage.md", "docs/accuracy.md")
"""The pages of which every block is tested."""
USAGE = ROOT / "docs" / "usage.md"
"""The page with the table of results."""
SCREEN = 60
"""Lines of the README that still fit one screen."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    """Its path below the repository."""
    test: str
    language: str
    code: str

    @property
    def commands(self) -> list[str]:
        """Its lines."""
        return self.code.strip().splitlines()


def blocks() -> list[Block]:
    """Return the fenced blocks of all pages in order; of pages that are not tested as a whole, those with a comment."""
    found: list[Block] = []
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        page = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8")
        own = [Block(page, part["test"] or "", part["language"], part["code"]) for part in BLOCK.finditer(text)]
        assert 2 * len(own) == text.count("```"), page
        assert text.count("<!-- test:") == sum(bool(block.test) for block in own), page
        found += [block for block in own if block.test or page in WHOLE]
    return found


BLOCKS = blocks()
TO_RUN = [block for block in BLOCKS if block.test == "run"]
TO_PARSE = [command for block in BLOCKS if block.test == "parse" for command in block.commands]
BENCHMARKS = [command for block in BLOCKS if block.test == "benchmark" for command in block.commands]
TO_INSTALL = [command for block in BLOCKS if block.test == "install" for command in block.commands]
TO_MAKE = [block for block in BLOCKS if block.test.startswith("make ")]


def recipe(target: str) -> list[str]:
    """Return the commands of a Makefile target, as a shell with .venv/bin on its path would be given them."""
    # -o: the environment counts as set up, so that only the target's own commands are listed.
    listed = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "-o", ".venv/.installed", target],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line.removeprefix(".venv/bin/") for line in listed.stdout.splitlines()]
    return [line for line in lines if not line.startswith("echo ")]


def test_every_block_is_tested() -> None:
    for block in BLOCKS:
        assert block.language in ("sh", "python")
        if not block.test:
            assert all(re.fullmatch(r"make \w+", command) for command in block.commands), block.code
        else:
            known = ("run", "parse", "benchmark", "install")
            assert block.test in known or block.test.startswith("make "), block.test
    assert TO_RUN
    assert TO_PARSE
    assert "pip install ." in TO_INSTALL
    assert {block.test for block in TO_MAKE} == {"make demo", "make test"}


def test_the_readme_fits_one_screen() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= SCREEN


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/usage.md", "docs/architecture.md"])
def test_links_lead_to_files(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert local
    assert [link for link in local if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("command", TO_INSTALL)
def test_what_is_installed_is_this_folder_or_a_known_release(command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["pip", "install"]
    (what,) = [word for word in words[2:] if not word.startswith("--")]
    # The second is the last release of OpenCV that takes the numpy of MediaPipe.
    assert what in (".", "opencv-python-headless==4.11.0.86")


def test_the_targets_exist() -> None:
    for block in BLOCKS:
        for command in block.commands if not block.test else ():
            assert recipe(command.removeprefix("make ")), command


@pytest.mark.parametrize("block", TO_MAKE, ids=lambda block: block.test)
def test_the_makefile_runs_what_the_readme_says(block: Block) -> None:
    assert recipe(block.test.removeprefix("make ")) == block.commands


@pytest.mark.parametrize("block", TO_RUN, ids=lambda block: block.commands[0])
def test_it_runs(block: Block, tmp_path: Path) -> None:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euc", block.code] if block.language == "sh" else [sys.executable, "-c", block.code]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PATH": beside}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if block.language == "sh":
        assert done.stdout.startswith("usage: protome")
        assert done.stderr == ""
    else:
        written = {path.name for path in (tmp_path / "build" / "astronaut").iterdir()}
        assert written == files_in_table()
        assert all(path.stat().st_size > 0 for path in (tmp_path / "build" / "astronaut").iterdir())


@pytest.mark.parametrize("command", BENCHMARKS)
def test_benchmarks_take_their_options_and_name_the_data_they_miss(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    assert words[0] == "python"
    options = [str(tmp_path / "out") if word.startswith("build/") else word for word in words[2:]]
    done = subprocess.run(
        [sys.executable, str(ROOT / words[1]), *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert re.match(r"error: .*lee_perry_smith\.glb", done.stderr.splitlines()[-1]), done.stderr


def files_in_table() -> set[str]:
    """Return the file names in the table of results."""
    return set(re.findall(r"^\| `([\w.]+)` \|", USAGE.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("command", TO_PARSE)
def test_the_command_line_takes_it(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []

    def work(*names: object, **options: object) -> object:
        calls.append("work")
        return types.SimpleNamespace(save=lambda folder, command, asset, report: calls.append("save"))

    for module, *functions in (
        ("protome.pipeline", "reconstruct"),
        ("protome.sider.pipeline", "recover_detail"),
        ("protome.sider.outputs", "save_detail"),
        ("protome.training.train", "train"),
        ("protome.population.sources.busts", "cut_busts"),
        ("protome.population.build", "build_population"),
        ("protome.gallery", "sample_heads", "morph_heads"),
        ("protome.benchmark.speed", "report_speed"),
        ("protome.evaluate.report", "report_evaluation"),
        ("protome.inspection", "inspect_photos"),
        ("protome.turntable", "turntable"),
        ("protome.app.serve", "serve"),
        ("protome.view.viewing", "view"),
        ("protome.app.folder", "forget", "usual_folder"),
        ("protome.benchmark.page", "benchmark_accuracy"),
        ("protome.benchmark.casual", "benchmark_casual"),
        ("protome.batch.batch", "run_batch", "BatchOptions"),
        ("protome.topology.retopologize", "retopologize"),
        ("protome.topology.animate", "animate"),
    ):
        stand_in = types.ModuleType(module)
        vars(stand_in).update(dict.fromkeys(functions, work))
        monkeypatch.setitem(sys.modules, module, stand_in)
    vars(sys.modules["protome.view.viewing"])["watching"] = lambda port, prior: calls.append
    for module in ("cli", "cli_reconstruct", "cli_inspect"):  # the documents' photos are nowhere
        monkeypatch.setattr(f"protome.{module}.check_photos_exist", lambda inputs: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    assert sys.argv[0] == "protome"
    assert main() == 0
    assert calls[0] == "work"
