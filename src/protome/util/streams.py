"""Standard streams of a command that may be closed, full, or at the other end of a program that has ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from protome.util.files import refusal

CLOSED = 141
"""Exit code where the program that reads the output has ended: 128 and the number of the signal for that."""
REFUSED = 2


def with_streams(run: Callable[[], int]) -> int:
    """Run a command and return its exit code; what it has printed is complete when this returns.

    A closed pipe, as of `protome --help | head -1`, ends the command without a word. A full disk is one sentence.
    """
    _open_missing()
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return CLOSED
    except OSError as error:
        _drop_output()
        with suppress(OSError):
            where = "the output" if error.filename is None else str(error.filename)
            print(f"error: cannot write {where} ({refusal(error)}): choose another place for it", file=sys.stderr)
        return REFUSED


def is_memory(error: BaseException) -> bool:
    """Return whether an error says that there is no memory left; PyTorch's own errors only say it in words."""
    words = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(part in str(error) for part in words)


def _open_missing() -> None:
    """Open the standard streams that the caller has closed: a file that is opened would get the number of one of them,
    and whatever a library prints would be written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  open until the process ends
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _drop_output() -> None:
    """Send what is still in the buffer nowhere, so that the interpreter does not fail on it when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        sys.stdout.flush()
