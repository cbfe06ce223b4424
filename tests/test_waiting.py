"""Waiting threads: spinning shortly by default, and as the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from protome.util.waiting import POLICY, SPINNING


def environment_after(code: str, **own: str) -> list[str]:
    rest = {key: value for key, value in os.environ.items() if key not in (POLICY, *SPINNING)}
    shown = f"print(*(os.environ.get(name, '-') for name in {list(SPINNING)}))"
    command = [sys.executable, "-c", f"import os\n{code}\n{shown}"]
    return subprocess.run(command, env=rest | own, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import protome; protome.Prior",
        "import sys; sys.argv = ['protome', 'nothing']\nfrom protome.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
    ],
    ids=["package", "command"],
)
def test_threads_spin_shortly_unless_the_environment_says_otherwise(code: str) -> None:
    assert environment_after(code) == list(SPINNING.values())
    assert environment_after(code, GOMP_SPINCOUNT="7") == ["7", SPINNING["KMP_BLOCKTIME"]]
    assert environment_after(code, OMP_WAIT_POLICY="ACTIVE") == ["-", "-"]


def test_importing_the_package_alone_changes_nothing() -> None:
    assert environment_after("import protome") == ["-", "-"]
