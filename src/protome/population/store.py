"""Head samples on disk: one HDF5 file, quantised, readable head by head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from protome.errors import InputError
from protome.population.surface import BOUNDS_M, HeadSamples
from protome.units import UNIT_MM

_UNIT_M = UNIT_MM / 1000.0
_SIZE_M = BOUNDS_M[1] - BOUNDS_M[0]
_DISTANCE_STEP_M = 2e-5
"""Signed distances are stored in steps of 0.02 mm."""


def _quantised(points: Float[np.ndarray, "n 3"]) -> np.ndarray:
    return np.rint((points - BOUNDS_M[0]) / _SIZE_M * 65535).clip(0, 65535).astype(np.uint16)


class PopulationWriter:
    """Appends heads to a population file."""

    def __init__(self, path: Path, heads: int, samples: int, seed: int) -> None:
        self.file = h5py.File(path, "w")
        self.file.attrs.update(format="protome population 1", seed=seed, bounds_m=BOUNDS_M)
        self.file.create_dataset("name", (heads,), h5py.string_dtype())
        self.file.create_dataset("landmarks", (heads, 6, 3), np.float32)
        chunk = (1, samples)
        for key, kind in (("points", "u2"), ("normals", "i1"), ("colours", "u1"), ("views", "i1"), ("space", "u2")):
            self.file.create_dataset(key, (heads, samples, 3), kind, chunks=(*chunk, 3))
        self.file.create_dataset("distances", (heads, samples), "i2", chunks=chunk)

    def __enter__(self) -> PopulationWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def put(self, index: int, name: str, samples: HeadSamples) -> None:
        """Write head number `index`."""
        self.file["name"][index] = name
        self.file["landmarks"][index] = samples.landmarks
        self.file["points"][index] = _quantised(samples.points)
        self.file["space"][index] = _quantised(samples.space)
        self.file["normals"][index] = np.rint(samples.normals * 127)
        self.file["views"][index] = np.rint(samples.views * 127)
        self.file["colours"][index] = samples.colours
        self.file["distances"][index] = np.rint(samples.distances / _DISTANCE_STEP_M).clip(-32767, 32767)


@dataclass(frozen=True)
class SampleBatch:
    """Random samples of some heads in the fields' inner unit."""

    heads: Int[Tensor, "s"]
    points: Float[Tensor, "s n 3"]
    normals: Float[Tensor, "s n 3"]
    colours: Float[Tensor, "s n 3"]
    views: Float[Tensor, "s n 3"]
    space: Float[Tensor, "s m 3"]
    distances: Float[Tensor, "s m"]
    landmarks: Float[Tensor, "s 6 3"]

    def to(self, device: torch.device) -> SampleBatch:
        """Move to a device."""
        return SampleBatch(**{key: value.to(device) for key, value in vars(self).items()})


class Population:
    """A population file, its quantised samples in memory (about 0.4 MB a head)."""

    def __init__(self, path: Path, limit: int | None = None) -> None:
        if not path.is_file():
            raise InputError(f"{path} does not exist: build it with `protome population build`")
        foreign = InputError(f"{path} is not a population file: build one with `protome population build`")
        if not h5py.is_hdf5(path):
            raise foreign
        with h5py.File(path) as file:
            if file.attrs.get("format") != "protome population 1":
                raise foreign
            self.names = [name.decode() for name in file["name"][:limit]]
            self.landmarks = torch.from_numpy(file["landmarks"][:limit]) / _UNIT_M
            keys = ("points", "normals", "colours", "views", "space", "distances")
            self._data = {key: file[key][:limit] for key in keys}
        low, high = torch.from_numpy(BOUNDS_M / _UNIT_M).float()
        self.bounds = torch.stack([low, high])

    def __len__(self) -> int:
        return len(self.names)

    def _length(self, key: str, head: int, pick: np.ndarray) -> Tensor:
        unit = torch.from_numpy(self._data[key][head, pick].astype(np.float32) / 65535)
        return self.bounds[0] + unit * (self.bounds[1] - self.bounds[0])

    def batch(self, heads: np.ndarray, surface: int, space: int, rng: np.random.Generator) -> SampleBatch:
        """Draw `surface` surface points and `space` points in space of each of the given heads."""
        data, total = self._data, self._data["points"].shape[1]
        numbers = heads.tolist()
        at = [rng.integers(0, total, surface) for _ in numbers]
        around = [rng.integers(0, total, space) for _ in numbers]

        def small(key: str, scale: float) -> Tensor:
            rows = [data[key][h, i].astype(np.float32) / scale for h, i in zip(numbers, at, strict=True)]
            return torch.from_numpy(np.stack(rows))

        unit = torch.nn.functional.normalize
        pairs = list(zip(numbers, around, strict=True))
        distances = np.stack([data["distances"][h, i] for h, i in pairs]).astype(np.float32)
        return SampleBatch(
            heads=torch.from_numpy(np.asarray(heads)),
            points=torch.stack([self._length("points", h, i) for h, i in zip(numbers, at, strict=True)]),
            normals=unit(small("normals", 127.0), dim=-1),
            colours=small("colours", 255.0),
            views=unit(small("views", 127.0), dim=-1),
            space=torch.stack([self._length("space", h, i) for h, i in pairs]),
            distances=torch.from_numpy(distances * np.float32(_DISTANCE_STEP_M / _UNIT_M)),
            landmarks=self.landmarks[np.asarray(heads)],
        )
