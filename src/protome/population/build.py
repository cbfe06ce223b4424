"""Building a population file: heads composed and sampled in parallel, the same for the same seed."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from protome.errors import InputError
from protome.files import write_atomically
from protome.population.compose import Composer
from protome.population.sources import IctModes, ValidHeads
from protome.population.store import PopulationWriter
from protome.population.surface import HeadSamples, sample_head
from protome.progress import progress

SAMPLES_PER_HEAD = 16_384
_composer: Composer


def _prepare(valid: Path, ict: Path | None, mediapipe: Path | None) -> None:
    global _composer  # one composer per worker process: reading the sources takes seconds
    heads = ValidHeads(valid)
    modes = IctModes.load(ict, mediapipe, heads) if ict is not None and mediapipe is not None else None
    _composer = Composer(heads, modes)


def _make(index: int, seed: int) -> tuple[str, HeadSamples]:
    rng = np.random.default_rng([seed, index])
    head = _composer.original(index, rng) if index < len(_composer.valid.names) else _composer.blend(rng)
    return head.name, sample_head(head, rng, SAMPLES_PER_HEAD)


def build_population(
    valid: Path,
    out: Path,
    *,
    ict: Path | None = None,
    mediapipe: Path | None = None,
    count: int = 300,
    seed: int = 0,
    quiet: bool = False,
) -> Path:
    """Write `count` sampled heads to the HDF5 file `out`: the VALID avatars first, then blends of them.

    With `ict` and `mediapipe` the blends also take random ICT identities. Head i depends on the seed and i
    alone, so a larger population starts with the same heads.

    Raises:
        InputError: a source folder lacks a file.
    """
    if (ict is None) != (mediapipe is None):
        raise InputError("--ict and --mediapipe need each other: give both folders or neither")
    ValidHeads(valid)

    def fill(path: Path) -> None:
        workers = os.cpu_count() or 1
        pool = ProcessPoolExecutor(workers, initializer=_prepare, initargs=(valid, ict, mediapipe))
        store = PopulationWriter(path, count, SAMPLES_PER_HEAD, seed)
        with pool, store as writer, progress("composing heads", count, quiet=quiet) as step:
            for index, (name, samples) in enumerate(pool.map(_make, range(count), [seed] * count)):
                writer.put(index, name, samples)
                step(1, name)

    write_atomically(out, fill)
    return out
