"""How long a job still takes: what its present stage says, and what later stages took before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from protome.app.job import Preset
from protome.app.process import Progress

STAGES = ("capture", "fitting", "mesh", "asset")
"""The stages of `protome reconstruct` that take time, in their order."""
IN_WORDS = {
    "capture": "Finding the head in the photos", "prior": "Reading the prior", "fitting": "Fitting the head",
    "mesh": "Making the mesh", "asset": "Painting the head and writing the files",
}  # fmt: skip
FIRST_GUESS: Mapping[Preset, tuple[float, float, float, float]] = {
    "draft": (3, 20, 5, 12),
    "standard": (5, 90, 20, 20),
    "fine": (5, 240, 40, 50),
}
"""Seconds of each stage before any head was made here; of one photo on two cores."""


@dataclass(frozen=True)
class Remaining:
    """How far a job is."""

    stage: str
    """In words."""
    share: float
    """From 0 to 1, of the whole job."""
    left_s: float
    """Seconds that remain, by experience."""
    detail: str


class Estimate:
    """The experience of one app with the durations of stages."""

    def __init__(self) -> None:
        self.known: dict[Preset, dict[str, float]] = {}

    def learn(self, preset: Preset, result: Path) -> None:
        """Take the durations of a finished job from its result.json; the last one of a preset counts."""
        try:
            seconds = json.loads(result.read_text(encoding="utf-8"))["seconds"]
            own = {stage: float(seconds.get("fit" if stage == "fitting" else stage, 0.0)) for stage in STAGES}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return  # without it, the first guess stands
        self.known[preset] = own

    def expected(self, preset: Preset) -> dict[str, float]:
        """Return the seconds that each stage should take.

        Before a head was made with the preset, that is the first guess, times what other presets took in shares of it.
        """
        if preset in self.known:
            return self.known[preset]
        shares = [sum(own.values()) / sum(FIRST_GUESS[name]) for name, own in self.known.items()]
        factor = sum(shares) / len(shares) if shares else 1.0
        return {stage: factor * seconds for stage, seconds in zip(STAGES, FIRST_GUESS[preset], strict=True)}

    def whole(self, preset: Preset) -> float:
        """Return the seconds that a job should take."""
        return sum(self.expected(preset).values())

    def remaining(self, preset: Preset, progress: Progress | None, elapsed_s: float) -> Remaining:
        """Return how far a running job is, from the last report of its present stage."""
        expected = self.expected(preset)
        if progress is None or progress.stage not in (*STAGES, "prior"):
            left = max(1.0, self.whole(preset) - elapsed_s)
            return Remaining("Starting", elapsed_s / (elapsed_s + left), left, "")
        stage = "fitting" if progress.stage == "prior" else progress.stage
        later = sum(expected[name] for name in STAGES[STAGES.index(stage) + 1 :])
        known = progress.left_s if progress.share > 0.02 and progress.stage == "fitting" else None
        own = max(expected[stage] - progress.elapsed_s, 0.2 * expected[stage]) if known is None else known
        if progress.share >= 1 and progress.stage != "prior":
            own = 0.0
        left = own + later
        return Remaining(IN_WORDS[progress.stage], elapsed_s / max(elapsed_s + left, 1e-9), left, progress.detail)
