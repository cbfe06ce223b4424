"""What one upload and one job may cost."""

from __future__ import annotations

from dataclasses import dataclass

from protome.errors import InputError

MB = 1_000_000


@dataclass(frozen=True)
class Limits:
    """The limits of an app.

    Raises:
        InputError: one of them is zero or less.
    """

    files: int = 64
    """Most photos and videos of one upload; a head uses up to 32 photos."""
    upload_mb: int = 1000
    """Most megabytes of one upload, all files together."""
    upload_minutes: float = 10
    """Longest time that one upload may take."""
    job_minutes: float = 180
    """Longest time that one job may compute."""
    unfinished: int = 1000
    """Most jobs that wait or run; further uploads are refused."""
    spare_mb: int = 1000
    """Megabytes that an upload must leave free on the disk."""

    def __post_init__(self) -> None:
        minutes = min(self.upload_minutes, self.job_minutes)
        limits = {"files": self.files, "megabytes": self.upload_mb, "minutes": minutes, "jobs": self.unfinished}
        for words, value in limits.items():
            if value <= 0:
                raise InputError(f"a limit of {value:g} {words} lets nothing through: give 1 or more")
