"""Modules imported by another thread while the program waits for something else."""

from __future__ import annotations

import importlib
import threading

OPTIMISERS = "torch._dynamo"
"""What the first optimiser of PyTorch imports: more than a second's work, which nothing here uses."""


def imported_ahead(name: str) -> threading.Thread:
    """Start to import a module and return the thread; who needs the module meanwhile waits for the import's lock."""
    thread = threading.Thread(target=_attempt, args=(name,), daemon=True)
    thread.start()
    return thread


def _attempt(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        return  # who needs it says what is missing
