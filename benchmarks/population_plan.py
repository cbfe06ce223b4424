"""What a large population takes, planned from a small one that is already built: bytes, hours, and how it is read.

    python benchmarks/population_plan.py --population build/population [--heads 100000]

Measures the bytes of each head, the seconds between shards as they were written, how long the folder takes to open, and
what a batch of a training costs and holds in memory. Prints a table for the planned number of heads.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from command import command
from protome.population.store import Population, read_manifest, shard_path
from protome.training.train import CONFIGS

PAUSE = 5.0
"""Times the median between two shards beyond which the build stood still."""


@dataclass(frozen=True)
class Options:
    """Options of the plan."""

    population: Path
    """A population that is built, or being built."""
    heads: int = 100_000
    """The number of heads to plan for."""
    cores: tuple[int, ...] = (2, 16, 64)
    """Processor cores that build at once, each as fast as those that built the population."""
    jobs: int = 1
    """How many processes built it."""
    batches: int = 50
    """How many batches are drawn."""


def seconds_each(written: list[float], per_shard: float) -> float:
    """Return the seconds of one head by the times at which shards were written; pauses of the build do not count."""
    gaps = np.diff(np.sort(written))
    gaps = gaps[gaps < PAUSE * np.median(gaps)] if len(gaps) else gaps
    return float(gaps.mean() / per_shard) if len(gaps) else float("nan")


def run(options: Options) -> None:
    """Print the plan."""
    manifest = read_manifest(options.population)
    before, started = _peak_mb(), time.perf_counter()
    people = Population(options.population, unfinished=True)
    open_s, open_mb, count = time.perf_counter() - started, _peak_mb() - before, len(people)
    files = [shard_path(options.population, "train", number) for number in range(manifest.shards("train"))]
    facts = [file.stat() for file in files if file.is_file()]
    each = sum(fact.st_size for fact in facts) / count
    seconds = options.jobs * seconds_each([fact.st_mtime for fact in facts], manifest.heads_per_shard)
    config, rng = CONFIGS["sira++"], np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(options.batches):
        people.batch(rng.integers(0, count, min(config.heads, count)), config.surface, config.space, rng)
    batch_s, factor = (time.perf_counter() - started) / options.batches, options.heads / count
    rows = {
        "heads": (f"{count:,}", f"{options.heads:,}"),
        "disk, GB": (f"{each * count / 1e9:.2f}", f"{each * options.heads / 1e9:.1f}"),
        "shards": (f"{len(facts):,}", f"{options.heads / manifest.heads_per_shard:,.0f}"),
        "build, core hours": (f"{seconds * count / 3600:.2f}", f"{seconds * options.heads / 3600:.1f}"),
        **{
            f"build with {cores} cores, h": ("", f"{seconds * options.heads / 3600 / cores:.1f}")
            for cores in options.cores
        },
        "opened in, s": (f"{open_s:.2f}", f"{open_s * factor:.1f}"),
        "in memory after it, MB": (f"{open_mb:.0f}", f"{open_mb * factor:.0f}"),
        "a batch read in, ms": (f"{1000 * batch_s:.1f}", "the same, while the disk's cache holds it"),
        "latents and moments, MB": tuple(
            f"{6 * 4 * config.field.latent * n / 1e6:.1f}" for n in (count, options.heads)
        ),
    }
    print("| | measured | planned |\n|---|---|---|")
    for name, (measured, planned) in rows.items():
        print(f"| {name} | {measured} | {planned} |")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
