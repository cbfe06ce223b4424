"""A command of this package in a process that ends with the one that started it: `python -m protome.cli_child WORDS`.

The parent holds the other end of this process's standard input. When the parent ends, however it does, that is closed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)  # with what it has started
    os._exit(1)


def main() -> int:
    """Run the command line."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from protome.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
