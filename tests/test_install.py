"""The package as it is installed: a wheel that works from any folder; sentences where a library cannot be loaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import protome
from protome.capture.landmarks import MEDIAPIPE_VERSION
from protome.util.libraries import what_to_install

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "protome"


def clean_environment() -> dict[str, str]:
    """Return the environment without what points Python to a source tree."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def output_of(command: list[str | Path], folder: Path) -> str:
    """Return what a command prints that succeeds in a folder."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of the source tree, built without a network."""
    # From a copy: setuptools leaves a folder `build`, whose old modules the next wheel would hold too.
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE.md"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    built = tmp_path_factory.mktemp("dist")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    output_of([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", built, copy], copy)
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of commands of a new virtual environment that holds the wheel.

    The libraries are those of the environment that runs the tests: a .pth file names its folder. The .pth files in
    that folder do not count there, so that an editable installation of the source tree stays unseen.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    shared = {sysconfig.get_paths()[kind] for kind in ("purelib", "platlib")}
    Path(paths["purelib"], "libraries.pth").write_text("".join(f"{path}\n" for path in sorted(shared)))
    commands = Path(paths["scripts"])
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        commands / "python",
    ]
    output_of([*pip, "install", "--ignore-installed", "--no-deps", "--no-index", wheel], folder)
    return commands


def test_the_wheel_holds_every_module_and_asset(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("protome/")}
        (facts,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        described = archive.read(facts).decode()
    files = [path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert held == {path.relative_to(SOURCE.parent).as_posix() for path in files}
    assert f'Requires-Dist: mediapipe=={MEDIAPIPE_VERSION}; python_version < "3.13"\n' in described
    assert "Requires-Python: <3.13,>=3.11\n" in described


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 40e6


def test_the_notice_names_every_file_that_is_no_text_of_ours(wheel: Path) -> None:
    own = (".py", ".html", ".css", ".js", ".svg", ".typed")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("protome/") and not name.endswith(own)]
        (inside,) = [name for name in archive.namelist() if name.endswith("licenses/NOTICE.md")]
        notice = archive.read(inside).decode()
    assert len(names) > 10
    assert [name for name in names if f"`{Path(name).name}`" not in notice] == []


def test_the_wheel_is_what_is_imported(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys, protome, protome.pipeline, protome.cli\n"
        "print(protome.__version__)\n"
        "for name, module in sys.modules.items():\n"
        "    if name.startswith('protome'): print(module.__file__)"
    )
    version, *files = output_of([installed / "python", "-c", code], tmp_path).splitlines()
    assert version == protome.__version__
    assert len(files) > 20
    assert all(Path(file).is_relative_to(installed.parent) for file in files), files


def test_the_installed_commands_work_from_any_folder(installed: Path, tmp_path: Path) -> None:
    assert output_of([installed / "protome", "--help"], tmp_path).startswith("usage: protome")
    output_of([installed / "protome", "prior", "sample", "--out", "people", "--resolution", "48", "--quiet"], tmp_path)
    assert {path.name for path in (tmp_path / "people").iterdir()} == {"head_000.glb", "head_000.ply", "sheet.png"}

    output_of([installed / "python", "-m", "protome.portrait", "photo.png"], tmp_path)
    options = ["--preset", "draft", "--budget", "4", "--resolution", "48", "--device", "cpu", "--quiet"]
    output_of([installed / "protome", "reconstruct", "photo.png", "--out", "head", *options], tmp_path)
    assert all(path.stat().st_size > 0 for path in (tmp_path / "head").iterdir())
    assert {"head.ply", "head.glb", "preview.png"} <= {path.name for path in (tmp_path / "head").iterdir()}


# Libraries that cannot be loaded

NO_LIBGL = "libGL.so.1: cannot open shared object file: No such file or directory"


def test_an_opencv_without_its_system_libraries_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"opencv-contrib-python": "4.11.0.86"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    start = f"cv2 cannot be loaded ({NO_LIBGL}): run `pip install --force-reinstall --no-deps opencv-python-headless"
    end = "`, which needs no system library"
    assert what_to_install(ImportError(NO_LIBGL, name="cv2")) == f"{start}==4.11.0.86{end}"
    versions.clear()
    assert what_to_install(ImportError(NO_LIBGL, name="cv2")) == f"{start}{end}"


def test_an_error_of_our_own_stays_a_traceback() -> None:
    assert what_to_install(ImportError("cannot import name 'x'", name="protome.losses")) is None
    assert what_to_install(ImportError("no name")) is None


@pytest.mark.parametrize(
    ("library", "module", "sentence"),
    [
        ("cv2", f"raise ImportError({NO_LIBGL!r}, name='cv2')", f"error: cv2 cannot be loaded ({NO_LIBGL}): run `pip"),
        (
            "safetensors",
            "raise ModuleNotFoundError('not there', name='safetensors')",
            "error: safetensors cannot be loaded (not there): install Protome with all that it needs",
        ),
    ],
)
def test_a_library_that_cannot_be_loaded_is_one_sentence(
    library: str, module: str, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / f"{library}.py").write_text(module)
    (tmp_path / "photo.png").touch()
    paths = os.pathsep.join([str(tmp_path), str(SOURCE.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "protome.cli", "reconstruct", "photo.png", "--out", "head"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1
