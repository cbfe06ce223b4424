"""How threads wait for each other: asleep, so that a busy machine does not slow a run down many times over."""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"


def wait_passively() -> None:
    """Let the threads of PyTorch sleep while they wait, unless the user's environment says otherwise.

    By default they spin. Beside other work a thread that spins takes the core that the one it waits for needs, and all
    get slower by the time slices of the system. Takes effect if PyTorch has not been imported yet.
    """
    os.environ.setdefault(POLICY, "PASSIVE")
