"""Measure how closely the prior represents held-out heads: latents fitted to samples in space, weights frozen.

    python benchmarks/holdouts.py --population DIR --out DIR --scan head.glb --landmarks landmarks.json

The residual is the prior's own error, independent of photos. The baseline of each head is the prior's mean head; both
are aligned rigidly to the truth, face and head each on its own, and distances run from the truth's points to the
surface. Hair does not count as face. Identity and coefficients of the expression are fitted together where the prior
has expressions. A stopped run continues.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from command import command
from limits import Limits
from protome.errors import InputError
from protome.population.store import EXPRESSIVE, Population, read_manifest
from protome.prior.prior import Prior
from protome.util.engines import Here, Processes, Work
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress
from real_scan import load_scan

SPLITS = ("holdout_valid", "holdout_ict", EXPRESSIVE)
TARGETS = {
    "holdout_valid": {"face_ratio": 0.45, "head_ratio": 0.35},
    "holdout_ict": {"face_ratio": 0.30},
    EXPRESSIVE: {"face_mm": 0.50, "lips_mm": 0.60, "lids_mm": 0.60},
    "real_scan": {"face_mm": 0.80},
}
"""Upper limits of the means; a ratio is that of the means."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    out: Path
    """Folder for a JSON file per head and the summary."""
    population: Path | None = None
    """Folder that "protome population build" wrote; its held-out heads are measured."""
    prior: Path | None = None
    """The prior; if left out, the one that ships with the package."""
    heads: int | None = None
    """Largest number of heads of each split; if left out, all."""
    scan: Path | None = None
    """A textured scan in metres to measure too."""
    landmarks: Path | None = None
    """JSON with the scan's landmarks."""
    midpoints: int = 0
    """Number of pairs of random people whose midpoints are checked for loose pieces."""
    resolution: int = 200
    """Cells of the measured meshes along the longest side of the modelled volume."""
    jobs: int = 1
    """Processes, each with one thread."""
    quiet: bool = False
    """Show no progress."""


def populations(options: Options) -> dict[str, Population]:
    """Return the held-out heads by the name of their split."""
    folder = options.population
    if folder is None:
        return {}
    known = read_manifest(folder).heads
    return {split: Population(folder, split) for split in SPLITS if split != EXPRESSIVE or known.get(split)}


def scan_files(options: Options) -> tuple[Path, Path]:
    """Return the scan and its landmarks.

    Raises:
        InputError: one of the two is not given.
    """
    if options.scan is None or options.landmarks is None:
        raise InputError("--scan and --landmarks need each other: give both or neither")
    return options.scan, options.landmarks


_options: Options
_limits: Limits
_heads: dict[str, Population]


def _prepare(options: Options) -> None:
    global _options, _limits, _heads  # one per process: meshing the mean head takes seconds
    _options, _limits, _heads = options, Limits(options.prior, options.resolution), populations(options)


def _measure(job: tuple[str, int]) -> tuple[str, int, dict[str, object]]:
    kind, number = job
    if kind == "midpoint":
        return kind, number, _limits.midpoint(number)
    if kind == "real_scan":
        return kind, number, _limits.scan(load_scan(*scan_files(_options)))
    return kind, number, _limits.head(_heads[kind], number)


def jobs(options: Options) -> list[tuple[str, int]]:
    """Return all jobs.

    Raises:
        InputError: there is nothing to measure, or a file is missing.
    """
    found: list[tuple[str, int]] = []
    if options.scan is not None or options.landmarks is not None:
        for path in scan_files(options):
            if not path.is_file():
                raise InputError(f"{path} does not exist: give the scan and its landmarks")
        found.append(("real_scan", 0))
    for split, heads in populations(options).items():
        found += [(split, number) for number in range(min(len(heads), options.heads or len(heads)))]
    found += [("midpoint", pair) for pair in range(options.midpoints)]
    if not found:
        raise InputError("there is nothing to measure: give --population, or --scan and --landmarks, or --midpoints")
    return found


def claim(options: Options) -> None:
    """Make the output folder, or check that its results are of the same prior and settings.

    Raises:
        InputError: they are not, or the folder cannot be written.
    """
    check_output_folder(options.out)
    path = prior_path(options)
    Prior.load(path)
    settings = {"prior_sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "resolution": options.resolution}
    settings["population"] = str(options.population)
    mark = options.out / "settings.json"
    if mark.is_file() and json.loads(mark.read_text()) != settings:
        raise InputError(
            f"{options.out} holds results of another prior, population or resolution: choose another folder"
        )
    write_atomically(mark, lambda part: part.write_text(json.dumps(settings, indent=1) + "\n"))


def prior_path(options: Options) -> Path:
    """Return the file of the prior that is measured."""
    return options.prior or Path(str(resources.files("protome") / "assets" / "prior.safetensors"))


def summary(results: dict[str, list[dict[str, object]]], options: Options) -> str:
    """Return the table."""
    lines = ["Truth to head, latents only, rigid alignment, point to surface; means over heads, mm."]
    lines.append(
        f"{'heads':<16}{'n':>4}{'face':>7}{'mean head':>11}{'ratio':>7}{'head':>8}{'mean head':>11}{'ratio':>7}"
    )
    lines[-1] += f"{'s/fit':>7}  targets"
    keys = ("face_mm", "mean_face_mm", "face_ratio", "head_mm", "mean_head_mm", "head_ratio", "fit_seconds")
    for name in (*SPLITS, "real_scan"):
        if found := results.get(name):
            middle = {key: statistics.fmean(float(row[key]) for row in found) for key in keys}  # type: ignore[arg-type]
            for part in ("lips", "lids"):
                if own := [float(row[f"{part}_mm"]) for row in found if f"{part}_mm" in row]:  # type: ignore[arg-type]
                    middle[f"{part}_mm"] = statistics.fmean(own)
            for part in ("face", "head"):
                middle[f"{part}_ratio"] = middle[f"{part}_mm"] / middle[f"mean_{part}_mm"]
            row = f"{name:<16}{len(found):>4}" + "".join(
                f"{middle[key]:>{width}.2f}" for key, width in zip(keys, (7, 11, 7, 8, 11, 7, 7), strict=True)
            )
            goals = {key: goal for key, goal in TARGETS[name].items() if key in middle}
            lines.append(row + "  " + ", ".join(_judged(key, middle[key], goal) for key, goal in goals.items()))
    if found := results.get("midpoint"):
        whole = sum(row["pieces"] == row["closed"] == 1 for row in found)
        loose = sum(bool(row["loose_faces"]) for row in found)
        hollow = sum(bool(row["hollows"]) for row in found)
        lines.append(f"halfway between two people: {whole} of {len(found)} in one closed piece,")
        # Older results have no sizes.
        largest = max((size for row in found for size in row.get("loose_mm", ())), default=0.0)  # type: ignore[attr-defined]
        beside = f" (up to {largest:.1f} mm across)" if largest else ""
        lines[-1] += f" {loose} with loose pieces beside it{beside}, {hollow} with a hollow inside"
    path = prior_path(options)
    began = time.perf_counter()
    Prior.load(path)
    lines.append(f"prior: {path.stat().st_size / 1e6:.2f} MB, loaded in {time.perf_counter() - began:.2f} s")
    return "\n".join(lines)


def _judged(key: str, value: float, goal: float) -> str:
    return f"{key} {value:.2f} <= {goal:g}: {'yes' if value <= goal else 'no'}"


def run(options: Options) -> None:
    """Measure the jobs without a stored result, then print the table."""
    todo = jobs(options)
    claim(options)
    paths = {job: options.out / f"{job[0]}_{job[1]:04d}.json" for job in todo}
    open_jobs = [job for job in todo if not paths[job].is_file()]
    if open_jobs:
        engine = Here() if options.jobs == 1 else Processes(options.jobs)
        with progress("measuring", len(open_jobs), quiet=options.quiet) as step:
            for _, (kind, number, result) in engine.run(Work(_measure, _prepare, (options,)), open_jobs):
                text = json.dumps(result, indent=1) + "\n"
                write_atomically(paths[kind, number], lambda part, text=text: part.write_text(text))  # type: ignore[misc]
                step(1, str(result.get("name", "")))
    results: dict[str, list[dict[str, object]]] = {}
    for (kind, _), path in paths.items():
        results.setdefault(kind, []).append(json.loads(path.read_text()))
    table = summary(results, options)
    write_atomically(options.out / "summary.txt", lambda part: part.write_text(table + "\n"))
    print(table)


def main() -> int:
    """Run the benchmark of the command line and return its exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
