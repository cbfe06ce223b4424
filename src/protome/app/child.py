"""One command of Protome in a process that ends with the app: `python -m protome.app.child reconstruct ...`.

The app holds the other end of standard input. When it closes, because the app has ended in whatever way, this process
and all that it has started end too.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

NICE = 5
"""Steps by which the system prefers the app and its pages to the work."""


def _end_with_the_app() -> None:
    while os.read(0, 4096):
        pass
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main() -> None:
    """Run the command line of Protome with the arguments of this process."""
    if hasattr(os, "nice"):
        os.nice(NICE)
    threading.Thread(target=_end_with_the_app, daemon=True).start()
    sys.argv[0] = "protome"
    runpy.run_module("protome.cli", run_name="__main__")


if __name__ == "__main__":
    main()
