"""Shared set-up: array shapes are checked at every call, and chance is repeatable."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable

import hypothesis
import pytest

# Torch reads these when it is first imported. Where files are tested side by side, each process has one thread.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# int is accepted where float is annotated, as Python's typing rules say. The hook has to be in place before the
# first import of the package, which is why this comes before everything that imports it.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
CHECKED = importlib.util.find_spec("beartype") is not None
if CHECKED:
    from jaxtyping import install_import_hook

    install_import_hook("protome", CHECKER)

import torch  # noqa: E402

# The same examples in every run, so that failures are reproducible; slow examples fail no test.
hypothesis.settings.register_profile(
    "protome", deadline=None, derandomize=True, max_examples=40, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("protome")


def pytest_report_header() -> str:
    """Say whether array shapes are checked."""
    return f"array shapes: {'checked at every call' if CHECKED else 'NOT checked (beartype is not installed)'}"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start every test from the same random state."""
    torch.manual_seed(0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], int]:
    """Return a function that runs the command line in this process and returns its exit code."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    from protome.cli import main

    def call(arguments: list[str]) -> int:
        monkeypatch.setattr(sys, "argv", ["protome", *arguments])
        try:
            return main()
        except SystemExit as leaving:
            return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)  # as Python does

    return call


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that rewrites golden files from the present output."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/ instead of comparing with it")
