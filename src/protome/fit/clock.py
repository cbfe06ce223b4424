"""How far a run has come, counted in steps or by the clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from protome.errors import InputError

COLOUR_STEP = 8
"""How many steps of the renderer alone take about as long as one that moves everything."""


@dataclass(frozen=True)
class Budget:
    """How long a fit may take; nothing in it: as long as its preset says."""

    steps: int | None = None
    """Steps of the whole fit."""
    seconds: float | None = None
    """Wall time of the whole fit; what comes out then depends on the machine."""

    @staticmethod
    def parse(text: str) -> Budget:
        """Read a number of steps, or of seconds with an s behind it.

        Raises:
            InputError: the text is neither.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(s?)\s*", text)
        if match is None or float(match[1]) <= 0 or (not match[2] and not match[1].isdigit()):
            raise InputError(f"a budget of {text} means nothing: give steps, as in 300, or seconds, as in 60s")
        return Budget(seconds=float(match[1])) if match[2] else Budget(steps=int(match[1]))


class Clock:
    """What share of a run is done after a number of its steps: by their number, or by the time they took."""

    def __init__(self, steps: int, seconds: float | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self.steps, self.seconds, self.now = steps, seconds, now
        self.began = now()

    def done(self, number: int) -> float:
        """Return the share, 1 at the end; a run by the clock takes one step at least."""
        if self.seconds is None:
            return number / self.steps if self.steps else 1.0
        return min(1.0, (self.now() - self.began) / self.seconds) if number else 0.0
