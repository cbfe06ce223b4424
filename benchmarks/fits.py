"""Fit heads whose truth is known with several settings: errors and processor time of each, side by side.

    python benchmarks/fits.py --scenes DIR --out DIR

`--scenes` is what benchmarks/scenes.py wrote. Every fit runs on one thread, so that processor seconds can be compared;
a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from command import command
from protome.benchmark.accuracy import fit_and_score, score_mean_head, subjects_in
from protome.errors import InputError
from protome.evaluate.h3ds import read_scene
from protome.fit.config import FIT_PRESETS, FitConfig, Schedule
from protome.fit.methods import METHODS
from protome.prior.prior import Prior
from protome.scenes.h3ds import read_h3ds
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress
from protome.util.workers import workers

STANDARD = FIT_PRESETS["standard"]
UNHURRIED = METHODS["sira"].settings(STANDARD)

VARIANTS: dict[str, FitConfig] = {
    "unhurried": replace(UNHURRIED, schedule=replace(UNHURRIED.schedule, colours=0)),
    "standard": STANDARD,
    **{
        f"{latents}+{steps}": replace(STANDARD, schedule=Schedule({1: latents}, {1: steps}, colours=0))
        for latents, steps in ((150, 450), (150, 200), (150, 100), (100, 100))
    },
    "draft": FIT_PRESETS["draft"],
}
"""Settings by name."""


@dataclass(frozen=True)
class Options:
    """What to fit."""

    scenes: Path
    """Folder that benchmarks/scenes.py wrote."""
    out: Path
    """Folder for a JSON file per fit and the table."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Settings to compare; ratios are to the first."""
    views: tuple[int, ...] = (1, 3)
    """Scenes by their number of photos."""
    seeds: tuple[int, ...] = (0,)
    """Numbers that every random choice follows from."""
    jobs: int = 2
    """Processes, each with one thread."""


@dataclass(frozen=True)
class Job:
    """One fit."""

    variant: str
    head: str
    views: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its result's file."""
        return f"{self.variant}_{self.head}_{self.views}_{self.seed}"


def measure(job: Job, options: Options) -> dict[str, object]:
    """Fit one head and return its errors, millimetres, and processor seconds."""
    folder = options.scenes / job.head
    views, truth = read_h3ds(folder, [str(job.views)]), read_scene(folder)
    _, found = fit_and_score(views, METHODS["sira++"], VARIANTS[job.variant], truth, job.seed)
    return {"variant": job.variant, "head": job.head, "views": job.views, **asdict(found)}


def _work(job: Job, options: Options) -> tuple[Job, dict[str, object]]:
    if job.variant == "mean":
        truth = read_scene(options.scenes / job.head)
        return job, asdict(score_mean_head(Prior.load(), truth))
    return job, measure(job, options)


def run(options: Options) -> None:
    """Fit what has no result yet, then print the table."""
    unknown = [name for name in options.variants if name not in VARIANTS]
    if unknown:
        raise InputError(f"no settings are called {unknown[0]}: use {', '.join(VARIANTS)}")
    check_output_folder(options.out)
    heads = subjects_in(options.scenes)
    jobs = [Job("mean", head, 1, 0) for head in heads]
    for views in options.views:
        jobs += [Job(name, head, views, seed) for name in options.variants for head in heads for seed in options.seeds]
    paths = {job: options.out / f"{job.name}.json" for job in jobs}
    todo = [job for job in jobs if not paths[job].is_file()]
    with workers(options.jobs) as pool, progress("fitting", len(todo)) as step:
        for job, result in pool.map(_work, todo, [options] * len(todo)):
            text = json.dumps(result, indent=1) + "\n"
            write_atomically(paths[job], lambda part, text=text: part.write_text(text))  # type: ignore[misc]
            step(1, job.name)
    results = {job: json.loads(path.read_text()) for job, path in paths.items()}
    text = table(results, options, heads)
    write_atomically(options.out / "table.txt", lambda part: part.write_text(text + "\n"))
    print(text)


def table(results: dict[Job, dict[str, float]], options: Options, heads: list[str]) -> str:
    """Return errors and seconds by number of views and settings, each also as a ratio to the first settings'."""
    lines = [
        f"Means over {', '.join(heads)}; truth to head, rigid, point to surface, mm; processor seconds of the fit."
    ]
    lines.append(f"{'views':<7}{'settings':<22}{'face':>7}{'head':>7}{'face/mean':>11}{'head/mean':>11}")
    lines[-1] += f"{'face/first':>12}{'head/first':>12}{'seconds':>9}{'of first':>10}"

    def middle(key: str, variant: str, views: int | None = None) -> float:
        rows = [row for job, row in results.items() if job.variant == variant and views in (None, job.views)]
        return statistics.fmean(float(row[key]) for row in rows)

    still = {key: middle(key, "mean") for key in ("face_mm", "head_mm")}
    for views in options.views:
        first: dict[str, float] = {}
        for name in options.variants:
            own = {key: middle(key, name, views) for key in ("face_mm", "head_mm", "seconds")}
            first = first or own
            lines.append(
                f"{views:<7}{name:<22}{own['face_mm']:>7.3f}{own['head_mm']:>7.2f}"
                + "".join(f"{own[key] / still[key]:>11.3f}" for key in ("face_mm", "head_mm"))
                + "".join(f"{own[key] / first[key]:>12.3f}" for key in ("face_mm", "head_mm"))
                + f"{own['seconds']:>9.1f}{own['seconds'] / first['seconds']:>10.2f}"
            )
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark of the command line and return its exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
