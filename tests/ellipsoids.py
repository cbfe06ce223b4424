"""A population of ellipsoids for tests of training: heads whose distances are known in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from protome.population.store import HeadLabel, HeadRecord, Manifest, shard_path, write_manifest, write_shard
from protome.population.surface import BOUNDS_M, HeadSamples
from protome.training.train import CONFIGS

CENTRE_M = np.array([0.0, -0.03, -0.08])
LANDMARK_DIRECTIONS = np.array(
    [[-0.3, 0.2, 0.9], [0.3, 0.2, 0.9], [0.0, 0.0, 1.0], [0.0, -0.2, 1.0], [-0.2, -0.5, 0.8], [0.2, -0.5, 0.8]]
)


def ellipsoid_distance(points: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Signed distance to an ellipsoid at the origin: its nearest point is r^2 p / (t + r^2), t found by bisection."""
    low = np.full(len(points), -(radii.min() ** 2) + 1e-12)
    high = np.linalg.norm(points, axis=1) * radii.max() + 1e-9
    for _ in range(60):
        middle = (low + high) / 2
        beyond = ((radii * points / (middle[:, None] + radii**2)) ** 2).sum(1) > 1
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    nearest = radii**2 * points / (low[:, None] + radii**2)
    return np.linalg.norm(points - nearest, axis=1) * np.sign(((points / radii) ** 2).sum(1) - 1)


MEAN_RADII_M = np.array([0.085, 0.115, 0.095])


def ellipsoid_head(radii: np.ndarray, count: int, rng: np.random.Generator) -> HeadSamples:
    """Samples of a head that is an ellipsoid, reddish on the subject's left, bluish on the right.

    The template is the mean ellipsoid, and the front half is registered to it.
    """
    directions = rng.normal(size=(2, count, 3))
    sphere, other = directions / np.linalg.norm(directions, axis=2, keepdims=True)
    on, around = radii * sphere, radii * other
    normals = on / radii**2
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    space = around + rng.normal(0, 0.012, (count, 3))
    anywhere = rng.random(count) < 0.4
    space[anywhere] = rng.uniform(BOUNDS_M[0], BOUNDS_M[1], (int(anywhere.sum()), 3)) - CENTRE_M
    landmarks = radii * LANDMARK_DIRECTIONS / np.linalg.norm(LANDMARK_DIRECTIONS, axis=1, keepdims=True)
    return HeadSamples(
        points=on + CENTRE_M,
        normals=normals,
        colours=np.where(on[:, :1] > 0, [[200, 120, 90]], [[60, 90, 170]]).astype(np.uint8),
        views=-normals,
        template=MEAN_RADII_M * sphere + CENTRE_M,
        registered=on[:, 2] > 0,
        space=space + CENTRE_M,
        distances=ellipsoid_distance(space, radii),
        landmarks=landmarks + CENTRE_M,
    )


def write_population(folder: Path, heads: int = 6, seed: int = 0, count: int = 1024) -> tuple[HeadSamples, ...]:
    """Write a population of ellipsoids whose radii differ by up to a third; the descriptors are the radii."""
    rng = np.random.default_rng(seed)
    all_radii = MEAN_RADII_M * rng.uniform(0.8, 1.2, (heads, 3))
    samples = tuple(ellipsoid_head(radii, count, rng) for radii in all_radii)
    write_manifest(folder, Manifest(seed, {"train": heads}, heads, count, {}))
    records = [
        HeadRecord(f"head {index}", head, radii, np.zeros(2))
        for index, (head, radii) in enumerate(zip(samples, all_radii, strict=True))
    ]
    write_shard(shard_path(folder, "train", 0), records)
    return samples


UNITS = ("taller", "wider_L", "wider_R")
"""Expressions of ellipsoids: only the first and the second change them, by up to a third of two of their radii."""


def write_expressive_population(
    folder: Path, people: int = 4, each: int = 3, count: int = 512, shards: int | None = None
) -> np.ndarray:
    """Write people of ellipsoids in several expressions, one person in each shard, and return the weights.

    `shards` leaves the later shards out, as a build does that is still running.
    """
    rng = np.random.default_rng(0)
    write_manifest(folder, Manifest(0, {"train": people * each}, each, count, {}, each, UNITS))
    everything = []
    for person in range(people):
        radii = MEAN_RADII_M * rng.uniform(0.9, 1.1, 3)
        records = []
        for index in range(each):
            weights = np.array([rng.uniform(), rng.uniform(), 0.0], np.float32) * (index > 0)
            own = radii * (1 + weights[[1, 0, 2]] / 3)
            label = HeadLabel(person, weights, {"sex": "female"})
            records.append(HeadRecord(f"person {person}", ellipsoid_head(own, count, rng), radii, np.zeros(2), label))
            everything.append(weights)
        if shards is None or person < shards:
            write_shard(shard_path(folder, "train", person), records)
    return np.stack(everything)


SMALL = replace(
    CONFIGS["tiny"],
    field=replace(
        CONFIGS["tiny"].field, latent=8, deformation_width=32, reference_width=32, renderer_width=24, feature=4
    ),
    heads=6, surface=64, space=64, steps=30, bfloat16=False,
)  # fmt: skip

SMALL_EXPRESSIVE = replace(
    SMALL, expressive=True, heads=3, hold=5,
    field=replace(SMALL.field, expression=UNITS, expression_width=4),
)  # fmt: skip


@contextmanager
def one_thread() -> Iterator[None]:
    """Small sums in a fixed order: the same numbers in every run, and faster than sharing them out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
