"""What the API answers: jobs, their files, and what the app offers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from protome.app.job import PRESETS, STARTABLE, Job, JobOptions, State, expressions
from protome.app.jobs import Jobs, Shown
from protome.app.limits import Limits
from protome.app.upload import SUFFIXES
from protome.asset.options import FORMATS, TEXTURE_SIZES

REPORT = "report.html"


@dataclass(frozen=True)
class FileAnswer:
    """One file that a job has made."""

    name: str
    size: int
    """Bytes."""
    url: str


@dataclass(frozen=True)
class PhotoAnswer:
    """One file of an upload."""

    name: str
    stored: str
    """What it is called in the inspection's sheet and in the result."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class ProgressAnswer:
    """How far a running job is."""

    stage: str
    share: float
    """From 0 to 1."""
    seconds_left: float
    detail: str


@dataclass(frozen=True)
class JobAnswer:
    """A job. Times are in seconds since 1970."""

    id: str
    state: State
    photos: list[PhotoAnswer]
    options: JobOptions
    created: float
    started: float | None
    finished: float | None
    warnings: list[str]
    error: str | None
    can_start: bool
    """Whether a head can be started."""
    jobs_before: int
    """How many jobs are done before this one."""
    progress: ProgressAnswer | None
    files: list[FileAnswer]
    inspection_url: str | None
    """The sheet with what was found in the photos."""
    report_url: str | None
    zip_url: str | None

    @staticmethod
    def of(shown: Shown, jobs: Jobs) -> JobAnswer:
        """Return what is said of a job."""
        job, own = shown.job, f"/api/jobs/{shown.job.id}"
        found = jobs.files(job.id)
        made = [FileAnswer(name, path.stat().st_size, f"{own}/files/{name}") for name, path in found.items()]
        results = [file for file in made if job.state == "done" and file.name not in ("inspection.png", "log.txt")]
        photos = [PhotoAnswer(one.name, one.stored, one.size) for one in job.given]
        can_start = job.inspected and job.state in STARTABLE
        return JobAnswer(
            job.id, job.state, photos, job.options, job.created, job.started, job.finished, list(job.warnings),
            job.error, can_start, shown.before, _progress(shown), results,
            f"{own}/files/inspection.png" if "inspection.png" in found else None,
            f"{own}/files/{REPORT}" if any(file.name == REPORT for file in results) else None,
            f"{own}/zip" if results else None,
        )  # fmt: skip


@dataclass(frozen=True)
class AboutAnswer:
    """What the app offers, and where it keeps what it is given."""

    version: str
    folder: str
    """Where photos and results lie; delete them on the page, or all of them with `protome app --forget`."""
    presets: list[str]
    preset_seconds: list[float]
    """What a head takes with each preset, by experience with one photo or by the last head made here."""
    textures: list[int]
    formats: list[str]
    expressions: list[str]
    """Which a head can have, by the package's prior."""
    suffixes: list[str]
    """Of the files that can be given."""
    most_files: int
    most_mb: int
    """Of one upload, all files together."""

    @staticmethod
    def of(jobs: Jobs) -> AboutAnswer:
        """Return what an app offers."""
        limits: Limits = jobs.limits
        formats = [name for name in FORMATS if name != "usdz" or find_spec("pxr") is not None]
        return AboutAnswer(
            own_version(), str(jobs.folder), list(PRESETS), [jobs.estimate.whole(name) for name in PRESETS],
            list(TEXTURE_SIZES), formats, list(expressions()), list(SUFFIXES), limits.files, limits.upload_mb,
        )  # fmt: skip


def own_version() -> str:
    """Return the version of the installed package."""
    try:
        return metadata.version("protome")
    except metadata.PackageNotFoundError:
        return "not installed as a package"


def title(job: Job) -> str:
    """Return a name for a job's zip file, of letters and digits alone."""
    return f"protome_{job.id}.zip"


def _progress(shown: Shown) -> ProgressAnswer | None:
    if shown.remaining is None:
        return None
    own = shown.remaining
    return ProgressAnswer(own.stage, round(own.share, 3), round(own.left_s, 1), own.detail)
