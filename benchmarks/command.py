"""The command line of a benchmark: typed options in, one sentence and exit code 2 for bad input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from protome.errors import InputError

Options = TypeVar("Options")


def command(run: Callable[[Options], None], options: type[Options], description: str | None) -> int:
    """Run a benchmark with the options of the command line and return its exit code."""
    try:
        run(tyro.cli(options, description=description))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
