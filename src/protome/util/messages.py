"""What a command says of its own on stderr: sentences for people, or lines of JSON for programs."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Literal, TextIO

from protome.errors import InputError, ProtomeWarning

SWITCH = "PROTOME_PROGRESS"
"""The environment variable of `protome.util.progress`, which is slow to import."""
OPTION = "--log-format"
FORMATS = ("text", "json")


def with_log_format(words: Sequence[str]) -> list[str]:
    """Return a command's words without `--log-format`, which may stand anywhere, and take up what it says.

    With `json`, progress, warnings and errors are one JSON object a line, also for the processes that this one starts.

    Raises:
        InputError: there is no such format.
    """
    rest, given = [], None
    waiting = False
    for word in words:
        if waiting:
            given, waiting = word, False
        elif word == OPTION:
            waiting = True
        elif word.startswith(OPTION + "="):
            given = word.partition("=")[2]
        else:
            rest.append(word)
    if waiting or (given is not None and given not in FORMATS):
        raise InputError(f"{OPTION} {given or 'without a value'} means nothing: give text or json")
    if given == "json":
        os.environ[SWITCH] = "json"
    elif given == "text":
        os.environ.pop(SWITCH, None)
    return rest


Level = Literal["error", "warning", "stopped"]


def ended(level: Level, sentence: str, code: int) -> int:
    """Print the sentence that a command ends with, and return its exit code."""
    say(level, sentence, code)
    return code


def say(level: Level, sentence: str, code: int | None = None) -> None:
    """Print a sentence; as JSON with its level and, where the command ends with it, its exit code."""
    if os.environ.get(SWITCH) == "json":
        facts = {"level": level, "message": sentence} | ({} if code is None else {"exit_code": code})
        print(json.dumps(facts), file=sys.stderr, flush=True)
    else:
        print(sentence if level == "stopped" else f"{level}: {sentence}", file=sys.stderr)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning, as `warnings.showwarning` does: this package's own without the place in the code."""
    if issubclass(category, ProtomeWarning):
        say("warning", str(message))
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), file=sys.stderr, end="")
