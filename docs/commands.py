"""The page of all commands, generated from the parsers of the program: `python docs/commands.py` prints it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from unittest.mock import patch

from tyro.extras import SubcommandApp

from protome import cli

INTRODUCTION = """# Commands

This page is generated from the program; `protome COMMAND --help` prints the same. Every command takes
`--log-format json` anywhere. [Exit codes](../usage.md#many-subjects-and-other-programs) are those of all commands.

The program completes its commands and options in bash, zsh and fish:

```sh
protome --tyro-print-completion bash > ~/.local/share/bash-completion/completions/protome
protome --tyro-print-completion zsh > ~/.zfunc/_protome
protome --tyro-print-completion fish > ~/.config/fish/completions/protome.fish
```

The second needs `fpath+=~/.zfunc` before `compinit` in `~/.zshrc`.
"""
COLUMNS = "100"
"""Width of the texts."""


def names(app: SubcommandApp = cli.app, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Return the words of every command, groups before what is in them."""
    # tyro has no public list of an app's commands.
    for name, own in app._subcommands.items():
        words = (*before, name)
        yield words
        if isinstance(own.target, SubcommandApp):
            yield from names(own.target, words)


def help_of(words: tuple[str, ...]) -> str:
    """Return what `protome WORDS --help` prints.

    Raises:
        RuntimeError: the command line does not print a help text.
    """
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # frames are drawn where this encoding can carry them
    code: object = None
    with (
        patch.dict(os.environ, COLUMNS=COLUMNS, NO_COLOR="1"),
        patch.object(sys, "argv", ["protome", *words, "--help"]),
    ):
        with redirect_stdout(shown):
            try:
                code = cli.main()
            except SystemExit as end:
                code = end.code or 0
    shown.seek(0)
    text = shown.read()
    if code != 0 or not text.startswith("usage: protome"):
        raise RuntimeError(f"protome {' '.join(words)} --help ends with {code} and prints {text[:80]!r}")
    return text


def page() -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION]
    for words in [(), *names()]:
        title = " ".join(("protome", *words))
        parts.append(f"{'#' * (2 if len(words) < 2 else 3)} {title}\n\n```text\n{help_of(words).strip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page())
