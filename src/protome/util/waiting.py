"""How long threads spin while they wait for each other: shortly, so that a busy machine does not slow a run down."""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"
"""The environment variable by which a user decides instead."""
SPINNING = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}
"""What bounds the spinning: turns of GNU's library for OpenMP, and milliseconds of Intel's and LLVM's."""


def wait_briefly() -> None:
    """Let the threads of PyTorch spin for a moment only while they wait, unless the user's environment has a policy.

    By default they spin for milliseconds. Beside other work a thread that spins takes the core that the one it waits
    for needs, and all get slower by the time slices of the system. Threads that sleep at once are slow on an idle
    machine, because they have to be woken after each small operation. Takes effect if PyTorch has not been imported
    yet.
    """
    if POLICY not in os.environ:
        for name, value in SPINNING.items():
            os.environ.setdefault(name, value)
