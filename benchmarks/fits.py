"""Fit held-out heads and a real scan with several settings: errors and processor time of each, side by side.

    python benchmarks/fits.py --scenes DIR --real DIR --scan head.glb --landmarks landmarks.json --out DIR

`--scenes` is what benchmarks/scenes.py wrote, `--real` what benchmarks/real_scan.py did. Every fit runs on one thread,
so that processor seconds can be compared; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from command import command
from limits import Truth, distances
from protome.capture.capture import locate_head
from protome.device import choose_device
from protome.errors import InputError
from protome.files import check_output_folder, write_atomically
from protome.fit.reconstruct import FIT_PRESETS, FitConfig, fit_head
from protome.fit.tracing import TracingConfig
from protome.geometry.align import align_landmarks
from protome.geometry.transforms import Similarity
from protome.meshing.extract import extract_mesh
from protome.prior import Prior
from protome.progress import progress
from protome.scenes.idr import read_idr
from protome.units import UNIT_MM
from real_scan import MARGIN_MM, load_scan, sample_scan, world_from_head
from scenes import read_truth

STANDARD = FIT_PRESETS["standard"]
UNHURRIED = replace(STANDARD, tracing=TracingConfig("sphere"), single_steps=450, colour_steps=0)

VARIANTS: dict[str, FitConfig] = {
    "unhurried": UNHURRIED,
    "standard": STANDARD,
    **{
        f"{latent}+{network}": replace(
            STANDARD, latent_steps=latent, network_steps=network, single_steps=network, colour_steps=0
        )
        for latent, network in ((150, 450), (150, 200), (150, 100), (100, 100))
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
    real: Path | None = None
    """Folder that benchmarks/real_scan.py wrote."""
    scan: Path | None = None
    """The real scan in metres."""
    landmarks: Path | None = None
    """JSON with the scan's landmarks."""
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


def truth_and_scene(job: Job, options: Options) -> tuple[Truth, Path]:
    """Return the true surface of a job's head, millimetres in the head frame, and the folder of its photos.

    Raises:
        InputError: the real scan is asked for without its files.
    """
    if job.head != "real_scan":
        folder = options.scenes / job.head
        return read_truth(folder)[0], folder / f"scene_{job.views}"
    if options.real is None or options.scan is None or options.landmarks is None:
        raise InputError("the real scan needs --real, --scan and --landmarks")
    scan = load_scan(options.scan, options.landmarks)
    face, head = sample_scan(scan)
    return Truth(face, head, scan.floor - MARGIN_MM), options.real / f"scene_{job.views}"


def measure(job: Job, options: Options) -> dict[str, object]:
    """Fit one head and return its errors, millimetres, and processor seconds."""
    truth, folder = truth_and_scene(job, options)
    torch.set_num_threads(1)
    choose_device("cpu")
    prior = Prior.load()
    scene = locate_head(read_idr(folder), "mm" if job.views == 1 else None)
    began = time.process_time()
    fit = fit_head(scene, prior, VARIANTS[job.variant], shared_frame=True, seed=job.seed, quiet=True)
    seconds = time.process_time() - began
    inner = extract_mesh(fit.bind(), prior.bounds, 200)
    placed = inner.transformed(fit.head_from_world[0].inverse())
    mesh = placed.transformed(world_from_head(job.views).inverse())
    # One view leaves the depth open: the start is where the fit's own head frame puts it.
    start = align_landmarks(mesh.vertices, inner.scaled(UNIT_MM).vertices).target_from_source
    found = distances(mesh, truth, start)
    return {"variant": job.variant, "head": job.head, "views": job.views, "seconds": seconds, **asdict(found)}


def mean_head(job: Job, options: Options) -> dict[str, float]:
    """Return the errors of the prior's mean head, which saw no photo."""
    truth, _ = truth_and_scene(job, options)
    prior = Prior.load()
    mesh = extract_mesh(prior.bind(prior.mean()), prior.bounds, 200).scaled(UNIT_MM)
    return asdict(distances(mesh, truth, Similarity.identity(torch.float64)))


def _work(job: Job, options: Options) -> tuple[Job, dict[str, object]]:
    if job.variant == "mean":
        return job, dict(mean_head(job, options))
    return job, measure(job, options)


def run(options: Options) -> None:
    """Fit what has no result yet, then print the table."""
    unknown = [name for name in options.variants if name not in VARIANTS]
    if unknown:
        raise InputError(f"no settings are called {unknown[0]}: use {', '.join(VARIANTS)}")
    check_output_folder(options.out)
    heads = sorted(folder.name for folder in options.scenes.iterdir() if (folder / "truth.npz").is_file())
    heads += ["real_scan"] if options.real is not None else []
    jobs = [Job("mean", head, 1, 0) for head in heads]
    for views in options.views:
        jobs += [Job(name, head, views, seed) for name in options.variants for head in heads for seed in options.seeds]
    paths = {job: options.out / f"{job.name}.json" for job in jobs}
    todo = [job for job in jobs if not paths[job].is_file()]
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, fresh) as pool, progress("fitting", len(todo)) as step:
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

    def middle(key: str, chosen: Callable[[Job], bool]) -> float:
        return statistics.fmean(float(row[key]) for job, row in results.items() if chosen(job))

    still = {key: middle(key, lambda job: job.variant == "mean") for key in ("face_mm", "head_mm")}
    for views in options.views:
        first: dict[str, float] = {}
        for name in options.variants:
            own = {
                key: middle(key, lambda job, n=name, v=views: (job.variant, job.views) == (n, v))
                for key in ("face_mm", "head_mm", "seconds")
            }
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
