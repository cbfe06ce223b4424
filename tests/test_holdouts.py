"""The benchmark of held-out heads: the prior's own are exact, a stopped run continues, other results are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from heads import small_prior
from limits import pieces_of
from protome.geometry.align import Surface
from protome.geometry.mesh import Mesh
from protome.meshing.extract import zero_level
from protome.population.store import (
    EXPRESSIVE,
    HeadLabel,
    HeadRecord,
    Manifest,
    shard_path,
    write_manifest,
    write_shard,
)  # fmt: skip
from protome.population.surface import HeadSamples
from protome.prior.prior import Prior
from protome.units import UNIT_MM

SAMPLES = 3000


def _record(prior: Prior, number: int) -> HeadRecord:
    """A random head of the prior, sampled as a population's heads are."""
    field = prior.bind(prior.sample(torch.Generator().manual_seed(number)))
    bounds = prior.bounds
    surface = zero_level(field.sdf, bounds, 64).largest_component()  # as the benchmark measures
    rng = np.random.default_rng(number)
    points = surface.vertices[rng.permutation(len(surface.vertices))[:SAMPLES]]
    space = rng.uniform(bounds[0], bounds[1], (SAMPLES, 3))
    distances = Surface(surface).closest(space).distances
    with torch.no_grad():
        at = field.surface(torch.from_numpy(points).float())
        inside = field.sdf(torch.from_numpy(space).float()).numpy() < 0
    metres = UNIT_MM / 1000
    samples = HeadSamples(
        points=points * metres, normals=at.normals.numpy(), colours=np.full((SAMPLES, 3), 128, np.uint8),
        views=-at.normals.numpy(), template=points * metres, registered=np.ones(SAMPLES, bool), space=space * metres,
        distances=np.where(inside, -distances, distances) * metres, landmarks=prior.landmarks.numpy() * metres,
    )  # fmt: skip
    return HeadRecord(f"head {number}", samples, np.zeros(2), np.zeros(2))


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A small prior and held-out heads that it knows exactly."""
    prior = small_prior()
    prior.save(tmp_path / "prior.safetensors")
    write_manifest(tmp_path / "people", Manifest(0, {"holdout_valid": 2, "holdout_ict": 1}, 32, SAMPLES, {}))
    for split, numbers in (("holdout_valid", (1, 2)), ("holdout_ict", (3,))):
        write_shard(shard_path(tmp_path / "people", split, 0), [_record(prior, number) for number in numbers])
    files = ["--population", str(tmp_path / "people"), "--prior", str(tmp_path / "prior.safetensors")]
    return [*files, "--out", str(tmp_path / "out"), "--resolution", "64", "--quiet"]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], int]:
    """Run the benchmark in this process."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import holdouts

    def call(arguments: list[str]) -> int:
        monkeypatch.setattr("sys.argv", ["holdouts.py", *arguments])
        return holdouts.main()

    return call


def test_heads_of_the_prior_are_matched_and_a_stopped_run_continues(
    benchmark: Callable[[list[str]], int], arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert benchmark([*arguments, "--midpoints", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:2] == ["holdout_valid", "2"]
    assert lines[3].split()[:2] == ["holdout_ict", "1"]
    assert lines[4].startswith("halfway between two people: ")
    assert lines[5].startswith("prior: ")
    assert (tmp_path / "out" / "summary.txt").read_text().splitlines() == lines
    heads = sorted((tmp_path / "out").glob("holdout_*.json"))
    assert len(heads) == 3
    for path in heads:
        found = json.loads(path.read_text())
        assert found["face_mm"] < 0.2  # a cell is 8 mm
        assert found["head_mm"] < 0.2
        assert found["mean_head_mm"] > 1.0
        assert found["head_ratio"] == pytest.approx(found["head_mm"] / found["mean_head_mm"])

    kept = {path: path.stat().st_mtime_ns for path in heads[1:]}
    heads[0].unlink()
    assert benchmark([*arguments, "--midpoints", "1"]) == 0
    assert heads[0].is_file()
    assert {path: path.stat().st_mtime_ns for path in heads[1:]} == kept


def test_lips_and_lids_of_expressive_heads_are_measured(
    benchmark: Callable[[list[str]], int], arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    label = HeadLabel(0, np.array([0.5], np.float32), {"sex": "female"})
    record = _record(Prior.load(tmp_path / "prior.safetensors"), 1)
    # The small head has no mouth where people have theirs: the template says that it is around the nose.
    near = np.linalg.norm(record.samples.points - record.samples.landmarks[2], axis=1) < 0.05
    mouth = np.array([0.0, -0.067, 0.0]) + 0.004 * np.random.default_rng(0).normal(size=(SAMPLES, 3))
    samples = replace(record.samples, template=np.where(near[:, None], mouth, -0.2))
    heads = {"holdout_valid": 2, "holdout_ict": 1, EXPRESSIVE: 1}
    write_manifest(tmp_path / "people", Manifest(0, heads, 32, SAMPLES, {}, 1, ("jawOpen",)))
    write_shard(shard_path(tmp_path / "people", EXPRESSIVE, 0), [replace(record, samples=samples, label=label)])
    assert benchmark(arguments) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(EXPRESSIVE))
    assert "lips_mm" in row
    found = json.loads((tmp_path / "out" / f"{EXPRESSIVE}_0000.json").read_text())
    assert found["lips_mm"] < 0.3
    assert "lids_mm" not in found


def test_results_of_another_prior_and_missing_data_are_refused(
    benchmark: Callable[[list[str]], int], arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "settings.json").write_text("{}")
    assert benchmark(arguments) == 2
    assert "holds results of another prior" in capsys.readouterr().err
    assert benchmark(["--out", str(tmp_path / "new")]) == 2
    assert "nothing to measure" in capsys.readouterr().err
    assert benchmark(["--out", str(tmp_path / "new"), "--scan", str(tmp_path / "head.glb")]) == 2
    assert "need each other" in capsys.readouterr().err
    files = ["--scan", str(tmp_path / "head.glb"), "--landmarks", str(tmp_path / "landmarks.json")]
    assert benchmark(["--out", str(tmp_path / "new"), *files]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'head.glb'} does not exist")
    assert not (tmp_path / "new").exists()


def test_densely_sampled_parts_are_weighted_by_their_area(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    from limits import evenly

    rng = np.random.default_rng(0)
    # A strip of 4 x 1 with half of all points in its last quarter, as faces have.
    along = np.concatenate([rng.uniform(0, 3, 8000), rng.uniform(3, 4, 8000)])
    strip = np.stack([along, rng.random(16_000), np.zeros(16_000)], 1)
    share = (evenly(strip, 10_000)[:, 0] > 3).mean()
    assert abs(share - 0.25) < 0.02


def test_pieces_beside_a_head_are_distinguished_from_hollows_in_it() -> None:
    head, hollow, loose = (trimesh.creation.icosphere(subdivisions=3, radius=radius) for radius in (1.0, 0.5, 0.02))
    hollow.invert()
    loose.apply_translation([1.5, 0.0, 0.0])
    whole = trimesh.util.concatenate([head, hollow, loose])
    found = pieces_of(Mesh(np.asarray(whole.vertices), np.asarray(whole.faces)))
    assert found["pieces"] == found["closed"] == 3
    assert found["loose_faces"] == [len(loose.faces)]
    assert found["loose_mm"] == pytest.approx([0.04 * UNIT_MM])
    assert found["hollows"] == 1
