"""Waiting threads: asleep by default, as the user says otherwise, and really so in PyTorch's own library."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def environment_after(code: str, **own: str) -> str:
    rest = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", f"import os\n{code}\nprint(os.environ.get('OMP_WAIT_POLICY'))"]
    return subprocess.run(command, env=rest | own, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import protome; protome.Prior",
        "import sys; sys.argv = ['protome', 'nothing']\nfrom protome.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
    ],
    ids=["package", "command"],
)
def test_threads_sleep_unless_the_environment_says_otherwise(code: str) -> None:
    assert environment_after(code) == "PASSIVE"
    assert environment_after(code, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"


def test_importing_the_package_alone_changes_nothing() -> None:
    assert environment_after("import protome") == "None"
