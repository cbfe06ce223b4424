"""Head samples on disk: a folder of HDF5 shards beside a manifest, quantised, read block by block."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from protome.errors import InputError
from protome.population.surface import BOUNDS_M, HeadSamples
from protome.units import UNIT_MM
from protome.util.files import write_atomically
from protome.util.reading import reading

SPLITS = ("train", "holdout_valid", "holdout_ict")
"""The prior is trained on the first; the others are held-out people: scanned ones, and modelled ones."""
EXPRESSIVE = "holdout_expressive"
"""Held-out modelled people with the expressions that are measured; only in populations with expressions."""
_FORMAT = "protome population 2"
_SHARD_FORMAT = "protome population shard 2"
_KEYS = ("landmarks", "shape_hint", "appearance_hint")
_AGAIN = "run `protome population build` again, which adds what is missing"
_WITH_EXPRESSIONS = ("expressions", "units")
"""Entries of the manifest that populations without expressions lack."""
_UNIT_M = UNIT_MM / 1000.0
_SIZE_M = BOUNDS_M[1] - BOUNDS_M[0]
_DISTANCE_STEP_M = 2e-5
"""Signed distances are stored in steps of 0.02 mm."""
_SURFACE = np.dtype(
    [("point", "<u2", 3), ("normal", "i1", 3), ("view", "i1", 3), ("colour", "u1", 3), ("template", "<u2", 3),
     ("registered", "u1")]
)  # fmt: skip
_SPACE = np.dtype([("point", "<u2", 3), ("distance", "<i2")])


@dataclass(frozen=True)
class HeadRecord:
    """One head as the builder hands it to the store."""

    name: str
    samples: HeadSamples
    shape_init: Float[np.ndarray, "k"]
    """Descriptor of the shape, of the same length for all heads; it initialises the shape latent."""
    appearance_init: Float[np.ndarray, "l"]
    """Descriptor of the colours; it initialises the appearance latent."""
    label: HeadLabel | None = None
    """Who the head is and what is known about it; only in populations with expressions."""


@dataclass(frozen=True)
class HeadLabel:
    """What is known about a head: who it is, the expression, and facts for classifiers."""

    person: int
    """Number of the person in the split; the descriptors are those of the person's neutral head."""
    weights: Float[np.ndarray, "e"]
    """Of the manifest's units of expression; all zero on the first head of a person."""
    facts: dict[str, str | float]


@dataclass(frozen=True)
class Manifest:
    """Metadata of a whole population folder."""

    seed: int
    heads: dict[str, int]
    """Number of heads of each split."""
    heads_per_shard: int
    samples: int
    """Surface samples of each head; as many in space."""
    sources: dict[str, object]
    """The sources of the heads, as the builder describes them."""
    expressions: int = 0
    """Heads of each training person, the first of them neutral; 0: every head is a person of its own."""
    units: tuple[str, ...] = ()
    """Names of the expressions' weights."""

    def shards(self, split: str) -> int:
        """Return the number of shards of a split."""
        return math.ceil(self.heads.get(split, 0) / self.heads_per_shard)


def shard_path(folder: Path, split: str, number: int) -> Path:
    """Return where shard `number` of a split lies."""
    return folder / f"{split}_{number:05d}.h5"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` into the folder, which is made if it is missing."""
    facts = {"format": _FORMAT, "count": sum(manifest.heads.values()), "bounds_m": BOUNDS_M.tolist()}
    own = asdict(manifest)
    if not manifest.expressions:
        own = {key: value for key, value in own.items() if key not in _WITH_EXPRESSIONS}
    text = json.dumps(facts | own, indent=1) + "\n"
    write_atomically(folder / "manifest.json", lambda part: part.write_text(text, encoding="utf-8"))


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a population.

    Raises:
        InputError: no such folder, or it holds no population of this format.
    """
    if not folder.exists():
        raise InputError(f"{folder} does not exist: build it with `protome population build`")
    foreign = InputError(f"{folder} is not a population folder: build one with `protome population build`")
    if not (folder / "manifest.json").is_file():
        raise foreign
    try:
        facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if facts["format"] != _FORMAT or not np.allclose(facts["bounds_m"], BOUNDS_M):
            raise foreign
        keys = ("seed", "heads", "heads_per_shard", "samples", "sources")
        units = tuple(str(name) for name in facts.get("units", ()))
        own: dict[str, Any] = {key: facts[key] for key in keys}
        whole = [own["seed"], own["heads_per_shard"], own["samples"], *own["heads"].values()]
        if not all(isinstance(number, int) for number in whole) or min(*whole[1:3], 1) < 1 or min(whole) < 0:
            raise foreign
        return Manifest(**own, expressions=int(facts.get("expressions", 0)), units=units)
    except InputError:
        raise
    except Exception as error:  # of what is not as written here
        raise foreign from error


def _quantised(points: Float[np.ndarray, "n 3"]) -> np.ndarray:
    return np.rint((points - BOUNDS_M[0]) / _SIZE_M * 65535).clip(0, 65535).astype(np.uint16)


def _packed(samples: HeadSamples) -> tuple[np.ndarray, np.ndarray]:
    """Return a head's two record arrays in random order, because readers use neighbours as independent draws."""
    surface, space = np.zeros(len(samples.points), _SURFACE), np.zeros(len(samples.space), _SPACE)
    surface["point"] = _quantised(samples.points)
    surface["normal"] = np.rint(samples.normals * 127)
    surface["view"] = np.rint(samples.views * 127)
    surface["colour"] = samples.colours
    surface["template"] = _quantised(np.where(samples.registered[:, None], samples.template, 0.0))
    surface["registered"] = samples.registered
    space["point"] = _quantised(samples.space)
    space["distance"] = np.rint(samples.distances / _DISTANCE_STEP_M).clip(-32767, 32767)
    rng = np.random.default_rng(0)
    return rng.permutation(surface), rng.permutation(space)


def write_shard(path: Path, records: Sequence[HeadRecord]) -> None:
    """Write some heads, all with the same number of samples, as one file; it appears only when it is complete."""
    packed = [_packed(record.samples) for record in records]

    def fill(part: Path) -> None:
        with h5py.File(part, "w") as file:
            file.attrs["format"] = np.bytes_(_SHARD_FORMAT)
            file.create_dataset("name", data=[record.name for record in records], dtype=h5py.string_dtype())
            file["landmarks"] = np.stack([record.samples.landmarks for record in records]).astype(np.float32)
            file["shape_hint"] = np.stack([record.shape_init for record in records]).astype(np.float32)
            file["appearance_hint"] = np.stack([record.appearance_init for record in records]).astype(np.float32)
            file["surface"] = np.stack([surface for surface, _ in packed])
            file["space"] = np.stack([space for _, space in packed])
            labels = [record.label for record in records if record.label is not None]
            if labels:
                file["person"] = np.array([label.person for label in labels], np.int32)
                file["expression"] = np.stack([label.weights for label in labels]).astype(np.float32)
                facts = [json.dumps(label.facts) for label in labels]
                file.create_dataset("facts", data=facts, dtype=h5py.string_dtype())

    write_atomically(path, fill)


def complete(path: Path) -> bool:
    """Return whether a shard exists and is complete, so that an interrupted builder can skip it."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path) as file:
            return _has_format(file) and "space" in file
    except Exception:  # a file that was cut off or altered has HDF5's first bytes, but not the others
        return False


def _has_format(file: h5py.File) -> bool:
    """Return whether a file says that it is a shard.

    Earlier versions wrote this as a string of variable length. Such a string is not read: HDF5 takes as much memory as
    a damaged file claims, up to 4 GB.
    """
    attribute = file.attrs.get_id("format")
    if h5py.check_string_dtype(attribute.dtype).length is None:
        return True
    return attribute.get_storage_size() == len(_SHARD_FORMAT) and file.attrs["format"] == np.bytes_(_SHARD_FORMAT)


def _strings(path: Path, dataset: h5py.Dataset) -> list[str]:
    """Return strings of variable length, whose lengths are compared with the file's size before memory is taken.

    Raises:
        ValueError: they are others, or longer than the file.
    """
    start, each = dataset.id.get_offset(), 16  # of which the first four bytes are the length
    if h5py.check_string_dtype(dataset.dtype) is None or dataset.ndim != 1 or start is None:
        raise ValueError("no strings")
    if start + each * len(dataset) > path.stat().st_size:
        raise ValueError("the file is cut off")
    if np.fromfile(path, "<u4", each // 4 * len(dataset), offset=start)[:: each // 4].max() > path.stat().st_size:
        raise ValueError("a string is longer than the file")
    return [word.decode() for word in dataset[:]]


@dataclass(frozen=True)
class SampleBatch:
    """Random samples of some heads in the fields' inner unit."""

    heads: Int[Tensor, "s"]
    points: Float[Tensor, "s n 3"]
    normals: Float[Tensor, "s n 3"]
    colours: Float[Tensor, "s n 3"]
    views: Float[Tensor, "s n 3"]
    template: Float[Tensor, "s n 3"]
    """Where on the common template the same point of skin lies."""
    registered: Bool[Tensor, "s n"]
    """Whether `template` is valid: not on hair and cloth."""
    space: Float[Tensor, "s m 3"]
    distances: Float[Tensor, "s m"]
    landmarks: Float[Tensor, "s 6 3"]

    def to(self, device: torch.device) -> SampleBatch:
        """Move to a device."""
        return SampleBatch(**{key: value.to(device) for key, value in vars(self).items()})

    def part(self, chosen: slice) -> SampleBatch:
        """Return the batch of some of the heads."""
        return SampleBatch(**{key: value[chosen] for key, value in vars(self).items()})


class Population:
    """One split of a population; samples stay on disk, mapped into memory, and are read as they are drawn."""

    def __init__(
        self, folder: Path, split: str = "train", limit: int | None = None, *, unfinished: bool = False
    ) -> None:
        """Open a population folder; `limit` keeps the first heads only.

        `unfinished` takes the shards before the first that is missing: a build may still be adding others.

        Raises:
            InputError: no such folder, not a population, no such split, or a shard is missing or damaged.
        """
        manifest = read_manifest(folder)
        if not manifest.heads.get(split):
            known = ", ".join(key for key, count in manifest.heads.items() if count)
            raise InputError(f"{folder} has no heads called {split}: use one of {known}")
        self.names: list[str] = []
        self._rows: list[tuple[np.ndarray, np.ndarray]] = []
        arrays: list[list[np.ndarray]] = [[], [], []]
        persons: list[np.ndarray] = []
        weights: list[np.ndarray] = []
        self.facts: list[dict[str, str | float]] = []
        for number in range(manifest.shards(split)):
            path = shard_path(folder, split, number)
            if not complete(path):
                if unfinished and self.names:
                    break
                raise InputError(f"{path} is missing or damaged: {_AGAIN}")
            with reading(path, "heads", _AGAIN), h5py.File(path) as file:
                self.names += _strings(path, file["name"])
                for key, values in zip(_KEYS, arrays, strict=True):
                    values.append(file[key][:])
                if "person" in file:
                    persons.append(file["person"][:])
                    weights.append(file["expression"][:])
                    self.facts += [json.loads(facts) for facts in _strings(path, file["facts"])]
                surface, space = _mapped(path, file["surface"], _SURFACE), _mapped(path, file["space"], _SPACE)
                if len({len(surface), len(space), *(len(file[key]) for key in ("name", *_KEYS))}) > 1:
                    raise ValueError("the parts are of different numbers of heads")
            self._rows += list(zip(surface, space, strict=True))
            if limit is not None and len(self.names) >= limit:
                break
        self.names, self._rows, self.facts = self.names[:limit], self._rows[:limit], self.facts[:limit]
        self.manifest = manifest
        if not self.names:
            raise InputError(f"{folder} holds no heads called {split}: {_AGAIN}")
        with reading(folder, "a population", _AGAIN):
            landmarks, shape, appearance = (torch.from_numpy(np.concatenate(values)[:limit]) for values in arrays)
        self.landmarks: Float[Tensor, "heads 6 3"] = landmarks / _UNIT_M
        self.shape_init: Float[Tensor, "heads k"] = shape
        self.appearance_init: Float[Tensor, "heads l"] = appearance
        everyone = np.arange(len(self.names)) if not persons else np.concatenate(persons)[:limit]
        self.persons: Int[Tensor, "heads"] = torch.from_numpy(everyone.astype(np.int64))
        """Number of each head's person; without expressions each head is a person of its own."""
        expressions = np.concatenate(weights)[:limit] if weights else np.zeros((len(self.names), 0), np.float32)
        self.expressions: Float[Tensor, "heads e"] = torch.from_numpy(expressions)
        """Weights of the units of expression; without expressions there are none."""
        self.bounds: Float[Tensor, "2 3"] = torch.from_numpy(BOUNDS_M / _UNIT_M).float()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def count(self) -> int:
        """Number of people."""
        return len(self.first_heads)

    @property
    def total_people(self) -> int:
        """Number of training people once the population is complete."""
        return self.manifest.heads["train"] // max(self.manifest.expressions, 1)

    @cached_property
    def first_heads(self) -> Int[Tensor, "people"]:
        """The first head of each person, which is neutral where there are several."""
        return torch.from_numpy(np.unique(self.persons.numpy(), return_index=True)[1])

    def first(self, heads: int) -> Population:
        """Return the population without the heads behind the first so many."""
        fewer = copy.copy(self)
        fewer.__dict__.pop("first_heads", None)
        fewer.names, fewer._rows, fewer.facts = self.names[:heads], self._rows[:heads], self.facts[:heads]
        for name in ("landmarks", "shape_init", "appearance_init", "persons", "expressions"):
            setattr(fewer, name, getattr(self, name)[:heads])
        return fewer

    def batch(self, heads: np.ndarray, surface: int, space: int, rng: np.random.Generator) -> SampleBatch:
        """Draw `surface` surface points and `space` points in space of each of the given heads.

        Samples lie on disk in random order, so a run of neighbours is as good as scattered picks and read at once.
        """
        rows = [self._rows[head] for head in heads.tolist()]
        on = np.stack([_run(row[0], surface, rng) for row in rows])
        around = np.stack([_run(row[1], space, rng) for row in rows])
        return self._batch(heads, on, around)

    def samples(self, head: int) -> SampleBatch:
        """Return all samples of one head, as a batch of one."""
        surface, space = self._rows[head]
        return self._batch(np.array([head]), np.array(surface)[None], np.array(space)[None])

    def _position(self, quantised: np.ndarray) -> Tensor:
        unit = torch.from_numpy(quantised.astype(np.float32)) / 65535
        return self.bounds[0] + unit * (self.bounds[1] - self.bounds[0])

    def _batch(self, heads: np.ndarray, surface: np.ndarray, space: np.ndarray) -> SampleBatch:
        def unit(key: str) -> Tensor:
            return torch.nn.functional.normalize(torch.from_numpy(surface[key].astype(np.float32)), dim=-1)

        chosen = torch.from_numpy(np.asarray(heads))
        return SampleBatch(
            heads=chosen,
            points=self._position(surface["point"]),
            normals=unit("normal"),
            colours=torch.from_numpy(surface["colour"].astype(np.float32)) / 255,
            views=unit("view"),
            template=self._position(surface["template"]),
            registered=torch.from_numpy(surface["registered"].astype(bool)),
            space=self._position(space["point"]),
            distances=torch.from_numpy(space["distance"].astype(np.float32)) * (_DISTANCE_STEP_M / _UNIT_M),
            landmarks=self.landmarks[chosen],
        )


def _mapped(path: Path, dataset: h5py.Dataset, kind: np.dtype) -> np.ndarray:
    """Return a shard's records, mapped into memory.

    Raises:
        ValueError: they are others, or none.
    """
    if dataset.dtype != kind or dataset.ndim != 2 or not dataset.shape[1]:
        raise ValueError("no records of heads")
    # The records lie in one piece in the file, so they can be mapped: a batch then costs a few copies, no decoding.
    # NumPy's own maps keep their files open, and a population of 100,000 heads has more shards than a process may open.
    start, size = dataset.id.get_offset(), dataset.size * kind.itemsize
    if start is None or start + size > path.stat().st_size:
        raise ValueError("the file is cut off")
    mapped = torch.from_file(str(path), shared=False, size=start + size, dtype=torch.uint8).numpy()
    return mapped[start:].view(kind).reshape(dataset.shape)


def _run(records: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` records from a random place on, going on at the start after the end."""
    start = int(rng.integers(len(records)))
    if start + count <= len(records):
        return records[start : start + count]
    return records.take(np.arange(start, start + count), mode="wrap")
