"""Samples on disk: what is written comes back within its steps, in blocks, and what is no population is named."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from protome.errors import InputError
from protome.population.store import (
    HeadRecord,
    Manifest,
    Population,
    complete,
    read_manifest,
    shard_path,
    write_manifest,
    write_shard,
)
from protome.population.surface import BOUNDS_M, HeadSamples
from protome.units import UNIT_MM

UNIT_M = UNIT_MM / 1000
STEP_M = (BOUNDS_M[1] - BOUNDS_M[0]) / 65535


def _heads(count: int, samples: int = 1, seed: int = 3) -> list[HeadRecord]:
    """Heads of random numbers."""
    rng = np.random.default_rng(seed)

    def unit() -> np.ndarray:
        vectors = rng.normal(size=(samples, 3))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def inside() -> np.ndarray:
        return rng.uniform(BOUNDS_M[0], BOUNDS_M[1], (samples, 3))

    def head(number: int) -> HeadRecord:
        own = HeadSamples(
            points=inside(), normals=unit(), colours=rng.integers(0, 256, (samples, 3)).astype(np.uint8), views=unit(),
            template=inside(), registered=rng.random(samples) < 0.5, space=inside(),
            distances=rng.uniform(-0.1, 0.3, samples), landmarks=rng.uniform(-0.1, 0.1, (6, 3)),
        )  # fmt: skip
        return HeadRecord(f"Jörg {number}", own, rng.normal(size=4), rng.normal(size=2))

    return [head(number) for number in range(count)]


def _written(folder: Path, heads: list[HeadRecord], per_shard: int = 32, split: str = "train") -> Path:
    samples = len(heads[0].samples.points)
    write_manifest(folder, Manifest(7, {split: len(heads)}, per_shard, samples, {"where": ["from", 3]}))
    for number, start in enumerate(range(0, len(heads), per_shard)):
        write_shard(shard_path(folder, split, number), heads[start : start + per_shard])
    return folder


def test_samples_come_back_within_their_steps(tmp_path: Path) -> None:
    heads = _heads(60)
    people = Population(_written(tmp_path, heads))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["manifest.json", "train_00000.h5", "train_00001.h5"]
    assert len(people) == 60
    assert people.names == [f"Jörg {number}" for number in range(60)]
    # One sample each, so that whatever is drawn is that sample.
    batch = people.batch(np.arange(60), 3, 2, np.random.default_rng(0))
    own = [head.samples for head in heads]
    for key in ("points", "space"):
        gap = np.abs(getattr(batch, key).numpy() * UNIT_M - np.stack([getattr(head, key) for head in own]))
        # Half a step, and what single precision loses.
        assert (gap <= 0.5 * STEP_M + 1e-7).all(), key
        assert gap.max() > 0.3 * STEP_M.min()
    registered = np.stack([head.registered for head in own])
    assert batch.registered.numpy().tolist() == np.broadcast_to(registered, (60, 3)).tolist()
    gap = np.abs(batch.template.numpy() * UNIT_M - np.stack([head.template for head in own]))
    assert (gap <= 0.5 * STEP_M + 1e-7)[np.broadcast_to(registered, (60, 3))].all()
    distances = np.stack([head.distances for head in own])
    assert np.abs(batch.distances.numpy() * UNIT_M - distances).max() <= 1.001e-5
    for key in ("normals", "views"):
        truth = torch.from_numpy(np.stack([getattr(head, key) for head in own])).float()
        read = getattr(batch, key)
        torch.testing.assert_close(read.norm(dim=-1), torch.ones(read.shape[:2]))
        # Half a step of 1/127 on each axis turns a direction by less than atan(sqrt(3) / 254).
        assert float((read - truth).norm(dim=-1).max()) < 0.007
    colours = np.stack([head.colours for head in own]) / 255
    np.testing.assert_allclose(batch.colours.numpy(), np.broadcast_to(colours, (60, 3, 3)), atol=1e-6)
    landmarks = np.stack([head.landmarks for head in own])
    np.testing.assert_allclose(batch.landmarks.numpy() * UNIT_M, landmarks, atol=1e-7)
    np.testing.assert_allclose(people.bounds.numpy() * UNIT_M, BOUNDS_M, atol=1e-7)
    np.testing.assert_allclose(people.shape_init.numpy(), [head.shape_init for head in heads], atol=1e-6)
    np.testing.assert_allclose(people.appearance_init.numpy(), [head.appearance_init for head in heads], atol=1e-6)


def test_an_unregistered_template_may_be_anything(tmp_path: Path) -> None:
    (head,) = _heads(1, 5)
    nowhere = replace(head.samples, template=np.full((5, 3), np.nan), registered=np.zeros(5, bool))
    batch = Population(_written(tmp_path, [replace(head, samples=nowhere)])).samples(0)
    assert bool(batch.template.isfinite().all())
    assert not bool(batch.registered.any())


def test_batches_have_the_heads_in_the_order_asked_for(tmp_path: Path) -> None:
    people = Population(_written(tmp_path, _heads(5), per_shard=2))
    everyone = people.batch(np.arange(5), 1, 1, np.random.default_rng(0))
    some = people.batch(np.array([3, 1]), 4, 2, np.random.default_rng(0))
    assert some.heads.tolist() == [3, 1]
    assert some.points.shape == (2, 4, 3)
    assert some.space.shape == (2, 2, 3)
    keys = ("points", "normals", "colours", "views", "template", "registered", "space", "distances", "landmarks")
    for row, head in enumerate([3, 1]):
        for key in keys:
            read, truth = getattr(some, key)[row], getattr(everyone, key)[head]
            assert torch.equal(read, truth.expand_as(read)), key
    part = some.part(slice(1, 2))
    assert all(torch.equal(getattr(part, key), getattr(some, key)[1:]) for key in ("heads", *keys))


def test_a_limit_keeps_the_first_heads(tmp_path: Path) -> None:
    _written(tmp_path, _heads(5), per_shard=2)
    some = Population(tmp_path, limit=3)
    assert some.names == ["Jörg 0", "Jörg 1", "Jörg 2"]
    assert len(some.landmarks) == len(some.shape_init) == len(some.appearance_init) == len(some) == 3
    # Shards that are not asked for need not be there yet.
    shard_path(tmp_path, "train", 2).unlink()
    assert len(Population(tmp_path, limit=4)) == 4


def _rows(*columns: torch.Tensor) -> list[tuple[float, ...]]:
    joined = torch.cat([column if column.ndim == 2 else column[:, None] for column in columns], 1)
    return sorted(tuple(row) for row in joined.tolist())


def test_a_draw_is_a_run_of_different_samples_with_everything_that_belongs_to_them(tmp_path: Path) -> None:
    people = Population(_written(tmp_path, _heads(2, 40)))
    whole = people.samples(1)
    assert whole.heads.tolist() == [1]
    on = _rows(whole.points[0], whole.normals[0], whole.colours[0], whole.views[0], whole.template[0])
    around = _rows(whole.space[0], whole.distances[0])
    assert len(set(on)) == len(set(around)) == 40
    starts = set()
    for seed in range(30):
        batch = people.batch(np.array([0, 1]), 12, 7, np.random.default_rng(seed)).part(slice(1, 2))
        drawn = _rows(batch.points[0], batch.normals[0], batch.colours[0], batch.views[0], batch.template[0])
        assert len(set(drawn)) == 12
        assert set(drawn) <= set(on)
        assert set(_rows(batch.space[0], batch.distances[0])) <= set(around)
        starts.add(tuple(batch.points[0, 0].tolist()))
    assert len(starts) > 12
    # As many as there are, wherever the run starts, are all of them; more than that begin again.
    every = people.batch(np.array([1]), 40, 100, np.random.default_rng(5))
    drawn = _rows(every.points[0], every.normals[0], every.colours[0], every.views[0], every.template[0])
    assert drawn == on
    assert set(_rows(every.space[0], every.distances[0])) == set(around)


def test_samples_lie_in_random_order(tmp_path: Path) -> None:
    (head,) = _heads(1, 4000)
    ordered = replace(
        head.samples, points=np.linspace(BOUNDS_M[0], BOUNDS_M[1], 4000), distances=np.linspace(0.0, 0.3, 4000)
    )
    people = Population(_written(tmp_path, [replace(head, samples=ordered)]))
    batch = people.batch(np.array([0]), 400, 400, np.random.default_rng(0))
    # A run of a tenth has the spread of the whole, to within five standard errors.
    for values, length in ((batch.points[0, :, 1] * UNIT_M, 0.47), (batch.distances[0] * UNIT_M, 0.3)):
        assert abs(float(values.std()) / (length / 12**0.5) - 1) < 0.12
        assert abs(float(values.mean()) - float(values.median())) < 0.05 * length


def test_batches_follow_their_random_state(tmp_path: Path) -> None:
    people = Population(_written(tmp_path, _heads(1, 40)))
    first, again, other = (people.batch(np.array([0]), 10, 10, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.points, other.points)


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    manifest = Manifest(5, {"train": 70, "holdout_ict": 3}, 32, 16, {"valid": "68 busts", "ict": 100})
    write_manifest(tmp_path / "new", manifest)
    assert read_manifest(tmp_path / "new") == manifest
    assert [manifest.shards(split) for split in ("train", "holdout_ict", "holdout_valid")] == [3, 1, 0]
    facts = json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert facts["format"] == "protome population 2"
    assert facts["count"] == 73
    np.testing.assert_allclose(facts["bounds_m"], BOUNDS_M)


def test_shards_are_complete_or_not(tmp_path: Path) -> None:
    path = shard_path(tmp_path, "train", 0)
    assert not complete(path)
    write_shard(path, _heads(3, 50))
    assert complete(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert not complete(path)
    path.write_text("no samples")
    assert not complete(path)
    with h5py.File(path, "w") as file:
        file["space"] = np.zeros(3)
    assert not complete(path)


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    uneven = [*_heads(1, 5), *_heads(1, 6)]
    with pytest.raises(ValueError, match="same shape"):
        write_shard(shard_path(tmp_path, "train", 0), uneven)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_population_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none does not exist: build it with `protome population build`"):
        Population(tmp_path / "none")
    with pytest.raises(InputError, match="is not a population folder: build one"):
        Population(tmp_path)
    (tmp_path / "old.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match=r"old\.h5 is not a population folder: build one"):
        Population(tmp_path / "old.h5")


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", "{}", '{"format": "something else", "bounds_m": 0}', '{"format": "protome population 2"}']
)
def test_a_foreign_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="is not a population folder: build one"):
        Population(tmp_path)


def test_a_missing_or_damaged_shard_is_named(tmp_path: Path) -> None:
    _written(tmp_path, _heads(5), per_shard=2)
    second = shard_path(tmp_path, "train", 1)
    second.write_bytes(second.read_bytes()[:600])
    with pytest.raises(
        InputError, match=r"train_00001\.h5 is missing or damaged: run `protome population build` again"
    ):
        Population(tmp_path)


def test_an_unknown_split_is_named(tmp_path: Path) -> None:
    _written(tmp_path, _heads(2))
    with pytest.raises(InputError, match="has no heads called holdout_ict: use one of train"):
        Population(tmp_path, "holdout_ict")


def test_more_shards_are_read_than_files_may_be_open(tmp_path: Path) -> None:
    heads = _heads(60)
    folder = _written(tmp_path, heads, per_shard=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 20, hard))
    try:
        people = Population(folder)
        drawn = people.batch(np.arange(60), 1, 1, np.random.default_rng(0))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert drawn.points.shape == (60, 1, 3)
