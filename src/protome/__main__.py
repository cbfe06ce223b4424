"""The program `protome`, also as `python -m protome`: stopped while it still loads, it ends in one line as well."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line and return its exit code, as `protome.cli.main`."""
    try:
        from protome.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("stopped before the end", file=sys.stderr)
        return 130
    finally:
        # An interruption within any `exec`, of which imports make many, lets `python -m` end by the signal instead of
        # with the code, although it was caught. The next `exec` takes that back (CPython's pythonrun.c).
        exec("")


if __name__ == "__main__":
    sys.exit(main())
