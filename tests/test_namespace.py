"""The public names of the package: each resolves and is documented, and `import protome` alone loads nothing heavy.

The program says its version and completes its commands.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

import protome
from protome.errors import InputError
from protome.geometry.mesh import Mesh

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("Head", "Prior", "Scene", "evaluate", "reconstruct", "recover_detail", "train")


def in_a_fresh_interpreter(code: str) -> object:
    """Return what a new interpreter prints as JSON when it runs some code."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_public_names_are_listed() -> None:
    assert set(protome.__all__) == {*NAMES, "__version__"}
    assert set(protome.__all__) <= set(dir(protome))
    code = "import json, protome; print(json.dumps(dir(protome)))"
    listed = in_a_fresh_interpreter(code)
    assert isinstance(listed, list)
    assert set(NAMES) <= set(listed)  # before any of them is loaded


def test_each_name_resolves_and_is_documented() -> None:
    code = (
        "import json, protome\n"
        f"names = {NAMES}\n"
        "first = [getattr(protome, name) for name in names]\n"
        "again = [getattr(protome, name) for name in names]\n"
        "facts = [[a is b, callable(a), a.__doc__, a.__module__] for a, b in zip(first, again)]\n"
        "print(json.dumps(dict(zip(names, facts))))"
    )
    found = in_a_fresh_interpreter(code)
    assert isinstance(found, dict)
    for name, (same, usable, text, module) in found.items():
        assert same, name
        assert usable, name
        assert text.split(".")[0].count(" ") >= 2, name
        assert module.startswith("protome."), name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module protome has no attribute recontruct"):
        _ = protome.recontruct


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import json, sys, protome; protome.__version__; dir(protome); print(json.dumps(sorted(sys.modules)))"
    loaded = in_a_fresh_interpreter(code)
    assert isinstance(loaded, list)
    heavy = {"torch", "numpy", "scipy", "cv2", "mediapipe", "trimesh", "skimage", "igl", "matplotlib", "tyro"}
    assert heavy & set(loaded) == set()
    assert [name for name in loaded if name.startswith("protome")] == ["protome"]


def test_the_version_has_one_source() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", protome.__version__)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'version = { attr = "protome.__version__" }' in project
    assert not re.search(r'^version = "', project, re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(protome.__version__)}$", citation, re.MULTILINE)
    changes = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert changes[0] in (protome.__version__, "Unreleased")
    assert protome.__version__ in changes


def ball(radius: float) -> Mesh:
    """Return a sphere in millimetres around the origin."""
    made = trimesh.creation.icosphere(4, radius)
    return Mesh(np.asarray(made.vertices), np.asarray(made.faces))


def test_evaluate_takes_meshes_and_files_alike(tmp_path: Path) -> None:
    truth, prediction = ball(100.0), ball(92.0)
    nose = {"nose_tip": np.array([0.0, 0.0, 100.0])}
    found = protome.evaluate(prediction, truth, landmarks=nose)
    assert {row.name: row.spread for row in found.rows}["head, truth to prediction"].mean == pytest.approx(
        8.0, abs=0.15
    )
    assert found.distances == pytest.approx(np.full(len(truth.vertices), 8.0), abs=0.15)

    truth.save(tmp_path / "scan.ply")
    prediction.scaled(1e-3).save(tmp_path / "head.glb")
    (tmp_path / "scan.json").write_text(json.dumps({"nose_tip": [0.0, 0.0, 100.0]}))
    read = protome.evaluate(tmp_path / "head.glb", str(tmp_path / "scan.ply"), landmarks=str(tmp_path / "scan.json"))
    for own, other in zip(read.rows, found.rows, strict=True):
        assert own.spread.mean == pytest.approx(other.spread.mean, abs=0.02)
    metres = protome.evaluate(prediction.scaled(1e-3), truth, landmarks=nose, units="m")
    assert metres.rows[3].spread.mean == pytest.approx(8.0, abs=0.15)


def test_evaluate_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the scan has no landmark called nose_tip"):
        protome.evaluate(ball(92.0), ball(100.0))
    with pytest.raises(InputError, match=r"missing\.ply does not exist"):
        protome.evaluate(tmp_path / "missing.ply", ball(100.0))
    with pytest.raises(InputError, match="reads the scan and its landmarks from files"):
        protome.evaluate(ball(92.0), ball(100.0), protocol="h3ds")


def test_evaluate_can_be_called_after_its_folder_was_imported() -> None:
    code = (
        "import json, protome, protome.evaluate.metrics\n"
        "try: protome.evaluate('a.ply', 'b.ply')\n"
        "except protome.errors.InputError as error: print(json.dumps(str(error)))"
    )
    said = "a.ply does not exist: give a mesh file, or a folder where the protocol has one"
    assert in_a_fresh_interpreter(code) == said


def test_the_version_is_printed(run: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"protome {protome.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_completions_of_the_commands(
    shell: str, run: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--tyro-print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in ("protome", "retopologize", "no-report"))
