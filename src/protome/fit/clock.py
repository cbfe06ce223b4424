"""The progress of a run, by its number of steps or by wall time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from protome.errors import InputError

COLOUR_STEP = 8
"""Number of steps of the renderer alone that take about as long as one step of all parameters."""


@dataclass(frozen=True)
class Budget:
    """Limit of a fit's steps or time; without either, the preset's schedule."""

    steps: int | None = None
    """Steps of the whole fit."""
    seconds: float | None = None
    """Wall time of the whole fit; the result then depends on the machine."""

    @staticmethod
    def parse(text: str) -> Budget:
        """Parse a number of steps, or a number of seconds followed by s.

        Raises:
            InputError: the text is neither.
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(s?)\s*", text)
        if match is None or float(match[1]) <= 0 or (not match[2] and not match[1].isdigit()):
            raise InputError(f"a budget of {text} means nothing: give steps, as in 300, or seconds, as in 60s")
        return Budget(seconds=float(match[1])) if match[2] else Budget(steps=int(match[1]))


class Clock:
    """The completed share of a run after a number of steps, by that number or by the elapsed time."""

    def __init__(self, steps: int, seconds: float | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self.steps, self.seconds, self.now = steps, seconds, now
        self.began = now()

    def done(self, number: int) -> float:
        """Return the completed share, 1 at the end; a run limited by time takes at least one step."""
        if self.seconds is None:
            return number / self.steps if self.steps else 1.0
        return min(1.0, (self.now() - self.began) / self.seconds) if number else 0.0
