"""How fine a mesh may be: in numbers that make sense, and that the memory of the machine has room for."""

from __future__ import annotations

from protome.errors import InputError
from protome.util.memory import available_memory_mb

LEAST, MOST = 16, 1024
"""Cells along the longest side of a head's space."""
BYTES_PER_CELL = 12
"""Of a cube of cells: distances on the grid, once more with a border, and the marks of the largest piece."""
BESIDES_MB = 1500.0
"""What a run needs besides."""
COARSE = 300
"""Up to this resolution nobody looks at the memory."""


def needed_memory_mb(resolution: int) -> float:
    """Return about how much memory a mesh of this resolution needs at most."""
    return BESIDES_MB + 1e-6 * BYTES_PER_CELL * resolution**3


def check_resolution(resolution: int) -> None:
    """Refuse a resolution that makes no usable mesh, or for which there is not enough memory.

    Raises:
        InputError: so it is; the sentence has the numbers.
    """
    if not LEAST <= resolution <= MOST:
        raise InputError(f"a resolution of {resolution} makes no usable mesh: give {LEAST} to {MOST}")
    free, needed = available_memory_mb(), needed_memory_mb(resolution)
    if resolution > COARSE and free is not None and needed > free:
        fits = int(max(0.0, 1e6 * (free - BESIDES_MB) / BYTES_PER_CELL) ** (1 / 3))
        raise InputError(
            f"a resolution of {resolution} needs about {needed / 1000:.1f} GB of memory and {free / 1000:.1f} are "
            f"free: give at most {max(COARSE, fits)}, or free some memory"
        )
