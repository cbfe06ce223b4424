"""Training on a few ellipsoids: it learns each head, resumes exactly, and refuses the checkpoints of other runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protome import training
from protome.errors import InputError
from protome.population.store import PopulationWriter
from protome.population.surface import BOUNDS_M, HeadSamples
from protome.prior import HeadCode, Prior
from protome.training import CONFIGS, TrainingConfig, train
from protome.units import UNIT_MM

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


def test_ellipsoid_distance_is_right() -> None:
    radii = np.array([0.1, 0.1, 0.1])
    points = np.array([[0.0, 0.03, 0.04], [0.3, 0.0, 0.4], [0.06, 0.0, 0.08]])
    np.testing.assert_allclose(ellipsoid_distance(points, radii), [-0.05, 0.4, 0.0], atol=1e-6)
    on_axis = np.array([[0.0, 0.0, 0.25], [0.0, 0.3, 0.0]])
    np.testing.assert_allclose(ellipsoid_distance(on_axis, np.array([0.08, 0.1, 0.2])), [0.05, 0.2], atol=1e-6)


def ellipsoid_head(radii: np.ndarray, count: int, rng: np.random.Generator) -> HeadSamples:
    """Samples of a head that is an ellipsoid, reddish on the subject's left, bluish on the right."""
    directions = rng.normal(size=(2, count, 3))
    on, around = radii * directions / np.linalg.norm(directions, axis=2, keepdims=True)
    normals = on / radii**2
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    space = around + rng.normal(0, 0.012, (count, 3))
    anywhere = rng.random(count) < 0.4
    space[anywhere] = rng.uniform(BOUNDS_M[0], BOUNDS_M[1], (int(anywhere.sum()), 3)) - CENTRE_M
    colours = np.where(on[:, :1] > 0, [[200, 120, 90]], [[60, 90, 170]]).astype(np.uint8)
    landmarks = radii * LANDMARK_DIRECTIONS / np.linalg.norm(LANDMARK_DIRECTIONS, axis=1, keepdims=True)
    distances = ellipsoid_distance(space, radii)
    return HeadSamples(on + CENTRE_M, normals, colours, -normals, space + CENTRE_M, distances, landmarks + CENTRE_M)


def write_population(path: Path, heads: int = 6, seed: int = 0, count: int = 1024) -> tuple[HeadSamples, ...]:
    """Write a population of ellipsoids whose radii differ by up to a third."""
    rng = np.random.default_rng(seed)
    all_radii = np.array([0.085, 0.115, 0.095]) * rng.uniform(0.8, 1.2, (heads, 3))
    samples = tuple(ellipsoid_head(radii, count, rng) for radii in all_radii)
    with PopulationWriter(path, heads, count, seed) as writer:
        for index, head in enumerate(samples):
            writer.put(index, f"head {index}", head)
    return samples


SMALL = replace(
    CONFIGS["tiny"],
    field=replace(
        CONFIGS["tiny"].field, latent=8, deformation_width=32, reference_width=32, renderer_width=24, feature=4
    ),
    heads=6, surface=64, space=64, steps=30, checkpoint_every=8,
)  # fmt: skip


@dataclass
class Watched:
    """What training tells about its progress; it may be interrupted after some steps."""

    stop_after: int | None = None
    done: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def step(self, amount: float = 1, detail: str = "") -> None:
        self.done.append(amount)
        if detail:
            self.losses.append(float(detail.split()[1]))
            if len(self.losses) == self.stop_after:
                raise KeyboardInterrupt

    @contextmanager
    def progress(self, stage: str, total: float, *, quiet: bool = False) -> Iterator[object]:
        yield self.step


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small sums in a fixed order: the same numbers in every run, and faster than sharing them out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def _train(
    population: Path, out: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None,
    config: TrainingConfig = SMALL, seed: int = 0,
) -> Watched:  # fmt: skip
    watched = Watched(stop_after)
    with monkeypatch.context() as patch:
        patch.setattr(training, "progress", watched.progress)
        if stop_after is None:
            train(population, out, config=config, device="cpu", seed=seed, quiet=True)
        else:
            with pytest.raises(KeyboardInterrupt):
                train(population, out, config=config, device="cpu", seed=seed, quiet=True)
    return watched


def test_training_learns_each_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = write_population(tmp_path / "people.h5")
    config = replace(SMALL, steps=300, checkpoint_every=1000, rate=3e-3)
    watched = _train(tmp_path / "people.h5", tmp_path / "own.safetensors", monkeypatch, config=config)
    assert len(watched.losses) == 300
    assert np.mean(watched.losses[-10:]) < 0.4 * np.mean(watched.losses[:10])

    prior = Prior.load(tmp_path / "own.safetensors")
    torch.testing.assert_close(prior.bounds, torch.from_numpy(BOUNDS_M * 1000 / UNIT_MM).float())
    mean_landmarks = np.mean([head.landmarks for head in heads], 0) * 1000 / UNIT_MM
    np.testing.assert_allclose(prior.landmarks.numpy(), mean_landmarks, atol=1e-6)
    mean, errors = prior.bind(prior.mean()), []
    for index, head in enumerate(heads):
        own = prior.bind(HeadCode(prior.codes_shape[index], prior.codes_appearance[index]))
        points = torch.from_numpy(head.points * 1000 / UNIT_MM).float()
        at = own.surface(points)
        errors.append([float(at.sdf.abs().mean()) * UNIT_MM, float(mean.sdf(points).abs().mean()) * UNIT_MM])
        # Normals point outwards, and the two halves have their colours.
        normals = torch.from_numpy(head.normals).float()
        assert float((at.normals * normals).sum(1).mean()) > 0.95
        colour = own.colour(points, at.normals, -normals, at.feature)
        clear = points[:, 0].abs() > 0.1
        assert bool(((colour[:, 0] > colour[:, 2]) == (points[:, 0] > 0))[clear].float().mean() > 0.95)
    own_error, mean_error = np.mean(errors, 0)
    # The heads differ from their mean by several millimetres; each is known much better than that.
    assert mean_error > 4
    assert own_error < 0.5 * mean_error


def test_an_interrupted_run_ends_where_the_unbroken_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = tmp_path / "people.h5"
    write_population(people, count=256)
    whole, broken, other = (tmp_path / f"{name}.safetensors" for name in ("whole", "broken", "other"))
    straight = _train(people, whole, monkeypatch)
    first = _train(people, broken, monkeypatch, stop_after=21)
    checkpoint = tmp_path / "broken.safetensors.checkpoint"
    assert checkpoint.is_file()
    assert not broken.exists()
    second = _train(people, broken, monkeypatch)
    # It went on from step 16, the last checkpoint before the interruption, over the same batches.
    assert second.done[0] == 16
    assert first.losses == straight.losses[:21]
    assert second.losses == straight.losses[16:]
    assert not checkpoint.exists()
    one, two = Prior.load(whole), Prior.load(broken)
    ours, theirs = one.field.state_dict(), two.field.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert torch.equal(one.codes_shape, two.codes_shape)
    assert torch.equal(one.codes_appearance, two.codes_appearance)
    assert float(one.codes_shape.abs().max()) > 0
    # Another seed gives another prior, so equality means something.
    _train(people, other, monkeypatch, seed=1)
    assert not torch.equal(Prior.load(other).codes_shape, one.codes_shape)


def _left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A population of four heads and the output of a run that left a checkpoint."""
    people, out = tmp_path / "people.h5", tmp_path / "own.safetensors"
    write_population(people, 4, count=128)
    _train(people, out, monkeypatch, stop_after=9)
    assert (tmp_path / "own.safetensors.checkpoint").is_file()
    return people, out


def _refused(people: Path, out: Path, config: TrainingConfig = SMALL, seed: int = 0) -> None:
    with pytest.raises(InputError, match=r"own\.safetensors\.checkpoint belongs to another"):
        train(people, out, config=config, device="cpu", seed=seed, quiet=True)
    assert not out.exists()


def test_the_checkpoint_of_a_population_of_another_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = _left_behind(tmp_path, monkeypatch)
    write_population(tmp_path / "others.h5", 5, count=128)
    _refused(tmp_path / "others.h5", out)


def test_the_checkpoint_of_another_population_of_that_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = _left_behind(tmp_path, monkeypatch)
    write_population(tmp_path / "others.h5", 4, seed=1, count=128)
    _refused(tmp_path / "others.h5", out)


def test_the_checkpoint_of_another_seed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people, out = _left_behind(tmp_path, monkeypatch)
    _refused(people, out, seed=1)


def test_the_checkpoint_of_another_configuration_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people, out = _left_behind(tmp_path, monkeypatch)
    _refused(people, out, replace(SMALL, field=replace(SMALL.field, renderer_width=16)))


def test_an_unknown_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train(tmp_path / "people.h5", tmp_path / "own.safetensors", config="huge", device="cpu", quiet=True)
    assert str(caught.value) == "no training configuration is called huge: use one of compact, tiny"


def test_a_missing_population_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"people\.h5 does not exist: build it with `protome population build`"):
        train(tmp_path / "people.h5", tmp_path / "own.safetensors", config="tiny", device="cpu", quiet=True)


def test_a_population_of_one_head_can_be_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_population(tmp_path / "people.h5", 1, count=128)
    config = replace(SMALL, steps=3)
    watched = _train(tmp_path / "people.h5", tmp_path / "own.safetensors", monkeypatch, config=config)
    assert bool(np.isfinite(watched.losses).all())
