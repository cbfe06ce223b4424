"""The memory that this process has used at most, and what the machine has left."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_memory_mb() -> dict[str, float] | None:
    """Return the largest memory of this process, and of the largest of those that it has started and that have ended.

    Megabytes; None where the system does not say.
    """
    try:
        import resource  # Unix has it
    except ImportError:
        return None
    unit = 1e-6 if sys.platform == "darwin" else 1.024e-3
    usage = {"process": resource.RUSAGE_SELF, "largest child": resource.RUSAGE_CHILDREN}
    return {name: round(unit * resource.getrusage(who).ru_maxrss, 1) for name, who in usage.items()}


def available_memory_mb() -> float | None:
    """Return the memory that is free or can be freed at once, megabytes; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1.024e-3 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration, IndexError):
        return None
