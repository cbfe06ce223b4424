"""Commands and examples in the README and in docs/ work: a block of code says in a comment above it how it is tested.

`run`: executed in an empty folder. `head`: executed where a reconstructed head is; so are the scripts of examples/.
`scans`, `blender`: executed where a few scans are, and by Blender's Python. `parse`: the command line takes it, with
the work itself replaced. `benchmark`: executed without its data, which it must miss by name. `make TARGET`: these are
the commands that the target runs. `install`: what pip is asked for is this folder, or the release that the package was
tested with. `needs WHAT`: no test has that, and the site says so. A block without a comment may hold only `make` and
targets, or be a text.
"""

from __future__ import annotations

import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

import protome
from blender import python_of_blender
from protome.cli import main
from protome.geometry.mesh import Mesh
from protome.population.store import Population, read_manifest
from protome.units import UNIT_MM

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(?:<!-- test: (?P<test>[^>]+?) -->\n *)?```(?P<language>\w*)\n(?P<code>.*?)```", re.DOTALL)
KINDS = ("run", "head", "scans", "blender", "parse", "benchmark", "install")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
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
        return textwrap.dedent(self.code).strip().splitlines()


def blocks() -> list[Block]:
    """Return the fenced blocks of all pages in order."""
    found: list[Block] = []
    for path in PAGES:
        page = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8")
        own = [Block(page, part["test"] or "", part["language"], part["code"]) for part in BLOCK.finditer(text)]
        assert 2 * len(own) == text.count("```"), page
        assert text.count("<!-- test:") == sum(bool(block.test) for block in own), page
        found += own
    return found


BLOCKS = blocks()
TO_RUN = [block for block in BLOCKS if block.test == "run"]
TO_PARSE = [command for block in BLOCKS if block.test == "parse" for command in block.commands]
BENCHMARKS = [command for block in BLOCKS if block.test == "benchmark" for command in block.commands]
TO_INSTALL = [command for block in BLOCKS if block.test == "install" for command in block.commands]
ON_A_HEAD = [block for block in BLOCKS if block.test == "head"]
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
        if block.test.startswith("needs "):
            continue
        assert block.language in (("sh", "python") if block.test else ("sh", "text")), block.code
        if not block.test and block.language == "sh":
            assert all(re.fullmatch(r"make \w+", command) for command in block.commands), block.code
        elif block.test:
            assert block.test in KINDS or block.test.startswith("make "), block.test
    assert TO_RUN
    assert TO_PARSE
    assert ON_A_HEAD
    assert "pip install ." in TO_INSTALL
    assert {block.test for block in TO_MAKE} == {"make demo", "make test"}


def test_the_readme_fits_one_screen() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= SCREEN


GENERATED = ("examples.md", "reference/commands.md")
"""Pages that only the site has (docs/pages.py)."""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    local = [(path.parent / link).resolve() for link in links if "://" not in link]
    made = [(ROOT / "docs" / name).resolve() for name in GENERATED]
    assert [file for file in local if not file.exists() and file not in made] == []


@pytest.mark.parametrize("command", TO_INSTALL)
def test_what_is_installed_is_this_folder_or_a_known_release(command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["pip", "install"]
    (what,) = [word for word in words[2:] if not word.startswith("--")]
    # The second is the last release of OpenCV that takes the numpy of MediaPipe.
    assert what in (".", "opencv-python-headless==4.11.0.86")


def test_the_targets_exist() -> None:
    for block in BLOCKS:
        for command in block.commands if not block.test and block.language == "sh" else ():
            assert recipe(command.removeprefix("make ")), command


@pytest.mark.parametrize("block", TO_MAKE, ids=lambda block: block.test)
def test_the_makefile_runs_what_the_readme_says(block: Block) -> None:
    assert recipe(block.test.removeprefix("make ")) == block.commands


@pytest.mark.parametrize(
    "block", [block for block in TO_RUN if block.language == "sh"], ids=lambda one: one.commands[0]
)
def test_commands_run(block: Block, tmp_path: Path) -> None:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", block.code], cwd=tmp_path, env={**os.environ, "PATH": beside}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: protome")
    assert done.stderr == ""


@dataclass(frozen=True)
class Reconstructed:
    """What the example of the page on use has made."""

    folder: Path
    """The folder of the result."""
    photo: Path
    head: protome.Head


SHORT = """
import functools
import protome
from protome.asset.options import AssetOptions
from protome.fit.options import FitOptions
protome.Head.asset_options = lambda head: AssetOptions(texture=1024, faces=20_000)
protome.reconstruct = functools.partial(protome.reconstruct, resolution=144, options=FitOptions(budget="20"))
"""
"""Lets the example end its fit after few steps, with coarser meshes: what it writes is tested, not how good that is."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Reconstructed:
    """Run the example once; the other scripts use its head."""
    (block,) = [block for block in TO_RUN if block.language == "python"]
    folder = tmp_path_factory.mktemp("example")
    code = SHORT + block.code + "\nimport pickle\npickle.dump(head, open('head.pickle', 'wb'))\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (folder / "head.pickle").open("rb") as file:
        head = pickle.load(file)
    return Reconstructed(folder / "build" / "astronaut", folder / "build" / "astronaut.png", head)


def test_the_example_writes_the_files_of_the_table(made: Reconstructed) -> None:
    assert {path.name for path in made.folder.iterdir()} == files_in_table()
    assert all(path.stat().st_size > 0 for path in made.folder.iterdir())


@pytest.fixture
def beside(made: Reconstructed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the working folder: a photo, the result build/me and its mesh as a scan. Reconstructions are that."""
    shutil.copytree(made.folder, tmp_path / "build" / "me")
    shutil.copy(made.photo, tmp_path / "photo.jpg")
    shutil.copy(made.folder / "head.ply", tmp_path / "scan.ply")

    def reconstruct(inputs: list[str], *, preset: str, **options: Any) -> protome.Head:
        assert all(Path(name).is_file() for name in inputs)
        return made.head

    def save(head: protome.Head, folder: str) -> None:
        shutil.copytree(made.folder, folder)

    monkeypatch.setattr(protome, "reconstruct", reconstruct)
    monkeypatch.setattr(protome.Head, "save", save)
    monkeypatch.chdir(tmp_path)
    return tmp_path


CHECKS: dict[str, Callable[[str, Path], bool]] = {
    "guides/few_photos": lambda said, folder: "the prior" in said and (folder / "build/again/head.glb").is_file(),
    "guides/video": lambda said, folder: said.startswith("astronaut.png None weight"),
    "guides/posed_rigs": lambda said, folder: '"OPENCV"' in (folder / "scene/transforms.json").read_text(),
    "guides/printing": lambda said, folder: said == "closed: True height in mm: 80.0\n",
    "guides/head_model": lambda said, folder: said == "20 components\n",
    "concepts/guessed": lambda said, folder: 20 < float(said.partition(" ")[0]) < 80,
    "reference/files": lambda said, folder: "the camera is at" in said or float(said.rpartition(" ")[2]) < -10,
}
"""What must be true after a page's scripts."""


@pytest.mark.parametrize("block", ON_A_HEAD, ids=lambda block: block.page)
def test_scripts_of_pages_run_on_a_head(block: Block, beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block.code, block.page, "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    assert CHECKS[block.page.removeprefix("docs/").removesuffix(".md")](said, beside), said


WRITTEN = {
    "turntable": {"turn.png", "turn.gif"}, "sizes": {"sizes.csv"}, "random_people": {"person_1.ply", "person_2.ply"},
    "seen": {"seen.ply"}, "new_view": {"view.png"}, "one_photo": {"build/example/head.glb"},
}  # fmt: skip
"""Files that examples write."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path: Path, beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 20
    exec(compile(text, path.name, "exec"), {"__name__": "__main__"})
    written = WRITTEN.get(path.stem, set())
    assert all((beside / name).stat().st_size > 0 for name in written)
    said = capsys.readouterr().out
    assert said or written
    if path.stem == "measure":
        assert "face, truth to prediction: mean 0.00" in said
    if path.stem == "distance_field":
        assert 3 < float(said.split()[-2]) < 30
    if path.stem == "new_view":
        assert 500 < int(said.split()[2]) < 800


def test_there_are_ten_examples() -> None:
    assert len(EXAMPLES) == 10


def test_scans_become_a_population(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    radii = (0.07, 0.09)
    for number, radius in enumerate(radii):
        ball = trimesh.creation.icosphere(3, radius)
        ball.visual.vertex_colors = [200, 150, 120, 255]
        ball.export(f"scans/{number}.ply")
        np.savetxt(f"scans/{number}.txt", np.full((6, 3), 0.01))
    (block,) = [block for block in BLOCKS if block.test == "scans"]
    exec(compile(block.code, block.page, "exec"), {})
    folder = tmp_path / "build" / "population"
    assert read_manifest(folder).heads == {"train": 2}
    population = Population(folder, "train")
    for number, radius in enumerate(radii):
        samples = population.samples(number)
        truth = samples.space.norm(dim=-1) * UNIT_MM - 1000 * radius
        assert float((samples.distances * UNIT_MM - truth).abs().max()) < 0.6
        assert float((samples.points.norm(dim=-1) * UNIT_MM - 1000 * radius).abs().max()) < 0.6


def test_blender_runs_its_script(made: Reconstructed, tmp_path: Path) -> None:
    python = python_of_blender()
    shutil.copytree(made.folder, tmp_path / "build" / "me")
    (block,) = [block for block in BLOCKS if block.test == "blender"]
    done = subprocess.run([python, "-c", block.code], cwd=tmp_path, capture_output=True, text=True, check=True)
    size = np.array(re.findall(r"\[([\d, ]+)\] mm", done.stdout)[0].split(","), float)
    # Blender's axes: the head looks along -y, z is up.
    mesh = Mesh.load(made.folder / "head.ply")
    np.testing.assert_allclose(size, np.ptp(mesh.vertices, axis=0)[[0, 2, 1]], atol=25)
    assert (tmp_path / "head.blend").stat().st_size > 0


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
        ("protome.benchmark.detail", "benchmark_detail"),
        ("protome.benchmark.studies", "run_study"),
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
    for module in ("cli", "cli_population", "cli_benchmark"):
        monkeypatch.setattr(f"protome.{module}.check_given_exist", lambda given, what_to_do: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    assert sys.argv[0] == "protome"
    assert main() == 0
    assert calls[0] == "work"
