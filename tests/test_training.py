"""Training on a few ellipsoids: it learns each head, survives kills, is shared by processes, refuses other runs."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from protome import device, training
from protome.codes import CodeTable, principal_start
from protome.errors import InputError
from protome.field.head import HeadField
from protome.population.store import (
    HeadRecord,
    Manifest,
    Population,
    SampleBatch,
    shard_path,
    write_manifest,
    write_shard,
)
from protome.population.surface import BOUNDS_M, HeadSamples
from protome.prior import HeadCode, Prior
from protome.ranks import Ranks
from protome.training import CONFIGS, Run, TrainingConfig, train, training_loss
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
    """Write a population of ellipsoids whose radii differ by up to a third; the hints are the radii."""
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


SMALL = replace(
    CONFIGS["tiny"],
    field=replace(
        CONFIGS["tiny"].field, latent=8, deformation_width=32, reference_width=32, renderer_width=24, feature=4
    ),
    heads=6, surface=64, space=64, steps=30, bfloat16=False,
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


# Latents


def test_latents_start_as_principal_components_of_the_hints() -> None:
    rng = np.random.default_rng(0)
    traits = rng.normal(size=(40, 3)) * [5.0, 1.0, 0.2]
    mixing = np.linalg.qr(rng.normal(size=(7, 7)))[0][:3]
    codes = principal_start(torch.from_numpy(traits @ mixing + 3).float(), 6, 0)
    assert codes.shape == (40, 6)
    deviations = codes.std(0)
    assert float(deviations[0]) == pytest.approx(1.0, abs=0.02)
    sizes = np.linalg.svd(traits - traits.mean(0), compute_uv=False)
    np.testing.assert_allclose(deviations[:3], np.sqrt(sizes / sizes[0]), atol=0.02)
    # They are the traits themselves, uncorrelated; the rest is the noise that everything starts with.
    assert float(torch.corrcoef(codes[:, :3].T).fill_diagonal_(0).abs().max()) < 0.05
    for k in range(3):
        assert abs(np.corrcoef(codes[:, k], traits[:, k])[0, 1]) > 0.9
    assert 0.005 < float(codes[:, 3:].std()) < 0.015
    # More traits than room: the largest stay.
    short = principal_start(torch.from_numpy(traits @ mixing).float(), 2, 0)
    assert abs(np.corrcoef(short[:, 0], traits[:, 0])[0, 1]) > 0.9


@pytest.mark.parametrize("hints", [torch.zeros(5, 3), torch.ones(5, 3), torch.zeros(5, 0), torch.ones(1, 3)])
def test_hints_that_say_nothing_leave_noise(hints: Tensor) -> None:
    codes = principal_start(hints, 4, 0)
    assert codes.shape == (len(hints), 4)
    assert 0 < float(codes.abs().max()) < 0.05


def test_a_code_that_every_step_sees_moves_as_adam_moves_it() -> None:
    start = torch.randn(3, 4)
    table, theirs = CodeTable(start), nn.Parameter(start.clone())
    adam = torch.optim.Adam([theirs], 0.01, betas=(0.9, 0.99), eps=1e-10)
    for number in range(12):
        gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(number))
        table.step(torch.tensor([2, 0, 1]), gradient[[2, 0, 1]], 0.01)
        theirs.grad = gradient
        adam.step()
    torch.testing.assert_close(table.codes, theirs.detach())
    assert float((table.codes - start).abs().min()) > 1e-3


def test_codes_that_a_step_does_not_see_stay_and_lose_nothing() -> None:
    start = torch.randn(4, 2)
    table, alone = CodeTable(start), CodeTable(start[1:2])
    for number in range(9):
        gradient = torch.randn(2, 2, generator=torch.Generator().manual_seed(number))
        before = table.codes.clone()
        seen = [1, 3] if number % 3 == 0 else [0, 2]
        table.step(torch.tensor(seen), gradient, 0.1)
        unseen = [head for head in range(4) if head not in seen]
        assert torch.equal(table.codes[unseen], before[unseen])
        if number % 3 == 0:
            alone.step(torch.tensor([0]), gradient[:1], 0.1)
    torch.testing.assert_close(table.codes[1], alone.codes[0])


# The loss


def _naive_loss(
    head: HeadField, shape: Tensor, appearance: Tensor, batch: SampleBatch, config: TrainingConfig, done: float
) -> Tensor:
    """The paper's sum, term by term, with autograd's gradient at every point."""
    count, space = batch.points.shape[1], batch.space.shape[1]
    on, around = round(config.sloped * count), round(config.sloped * space)
    at = torch.cat([batch.points, batch.space], 1).requires_grad_(True)
    values = head.values(at, shape)
    (gradient,) = torch.autograd.grad(values.sdf.sum(), at, create_graph=True)
    norm = torch.linalg.vector_norm
    surface_gradient = gradient[:, :on]
    normals = surface_gradient / norm(surface_gradient, dim=-1, keepdim=True)
    loss = values.sdf[:, :count].abs().mean() + (values.sdf[:, count:] - batch.distances).abs().mean()
    loss = loss + config.normal * (1 - (normals * batch.normals[:, :on]).sum(-1)).mean()
    loss = loss + config.eikonal * ((norm(gradient[:, count : count + around], dim=-1) - 1) ** 2).mean()
    moved, reference = values.displacement[:, :count], values.reference[:, :count]
    loss = loss + config.deformation * (norm(moved, dim=-1).mean() + norm(moved.mean(1), dim=-1).mean())
    places, pairs = head.values(batch.landmarks, shape).reference, []
    for i in range(len(places)):
        pairs += [norm(places[i] - places[j], dim=-1).sum() for j in range(i)]
    loss = loss + config.landmark * torch.stack(pairs).mean()
    gaps = [norm((reference[i] - batch.template[i])[batch.registered[i]], dim=-1).mean() for i in range(len(reference))]
    loss = loss + config.registration * config.registration_fall**done * torch.stack(gaps).mean()
    given = torch.cat([normals, batch.normals[:, on:]], 1)
    colours = head.colour(reference, given, batch.views, values.feature[:, :count], appearance)
    loss = loss + config.colour * (colours - batch.colours).abs().sum(-1).mean()
    return loss + config.embedding * ((shape**2).sum(-1).mean() + (appearance**2).sum(-1).mean())


@pytest.mark.parametrize("sloped", [0.25, 1.0])
def test_the_loss_is_the_sum_of_its_terms(tmp_path: Path, sloped: float) -> None:
    write_population(tmp_path, 3, count=64)
    # Full weights, so that no term hides in the rounding of the others.
    config = replace(SMALL, sloped=sloped, deformation=1.0, landmark=1.0, colour=1.0, embedding=0.1)
    batch = Population(tmp_path).batch(np.arange(3), 16, 12, np.random.default_rng(0))
    exact = SampleBatch(**{key: v.double() if v.is_floating_point() else v for key, v in vars(batch).items()})
    head = HeadField(config.field).double()
    with torch.no_grad():
        assert head.deformation is not None
        head.deformation.last.weight.normal_(std=0.1)
        head.reference.first.weight.normal_(std=0.3)
    codes = [torch.randn(3, 8, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    wanted = [*codes, *head.parameters()]
    found = training_loss(head, *codes, exact, config, done=0.5)
    truth = _naive_loss(head, *codes, exact, config, 0.5)
    torch.testing.assert_close(found.total, truth, rtol=1e-6, atol=1e-7)
    on_surface = head.sdf(exact.points, codes[0]).abs().mean() * UNIT_MM
    torch.testing.assert_close(found.surface_mm, on_surface.detach())
    own, theirs = (torch.autograd.grad(loss, wanted, allow_unused=True) for loss in (found.total, truth))
    for ours, their in zip(own, theirs, strict=True):
        assert (ours is None) == (their is None)
        if ours is not None:
            torch.testing.assert_close(ours, their, rtol=1e-5, atol=1e-6)
    # The registration fades as the run goes on.
    assert float(training_loss(head, *codes, exact, config, done=1.0).total.detach()) < float(found.total.detach())


# Runs


@pytest.mark.parametrize(
    ("flags", "pays"), [("fma avx2 avx512f", False), ("avx2 avx512_bf16 x", True), ("amx_bf16", True)]
)
def test_bfloat16_pays_where_the_processor_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, pays: bool
) -> None:
    facts = tmp_path / "cpuinfo"
    monkeypatch.setattr(device, "_PROCESSOR", facts)
    assert not device.bfloat16_pays(torch.device("cpu"))
    facts.write_text(f"model name\t: some\nflags\t\t: {flags}\n")
    assert device.bfloat16_pays(torch.device("cpu")) == pays
    assert device.bfloat16_pays(torch.device("cuda"))


KEPT = replace(SMALL, checkpoint_s=0.0)
"""A checkpoint after every step."""


def test_training_learns_each_head(tmp_path: Path) -> None:
    heads = write_population(tmp_path)
    people = Population(tmp_path)
    run = Run(people, replace(SMALL, steps=300, rate=3e-3, code_rate=1e-2), 0, torch.device("cpu"), Ranks())
    losses = [float(run.step().total) for _ in range(300)]
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])
    prior = run.prior()
    torch.testing.assert_close(prior.bounds, torch.from_numpy(BOUNDS_M * 1000 / UNIT_MM).float())
    mean_landmarks = np.mean([head.landmarks for head in heads], 0) * 1000 / UNIT_MM
    np.testing.assert_allclose(prior.landmarks.numpy(), mean_landmarks, atol=1e-6)
    mean, errors = prior.bind(prior.mean()), []
    for index, head in enumerate(heads):
        own = prior.bind(HeadCode(*(run.codes[name].codes[index] for name in ("shape", "appearance"))))
        points = torch.from_numpy(head.points * 1000 / UNIT_MM).float()
        at = own.surface(points)
        errors.append([float(at.sdf.abs().mean()) * UNIT_MM, float(mean.sdf(points).abs().mean()) * UNIT_MM])
        # Normals point outwards, and the two halves have their colours.
        normals = torch.from_numpy(head.normals).float()
        assert float((at.normals * normals).sum(1).mean()) > 0.95
        colour = own.colour(points, at.normals, -normals, at.feature)
        clear = points[:, 0].abs() > 0.1
        assert bool(((colour[:, 0] > colour[:, 2]) == (points[:, 0] > 0))[clear].float().mean() > 0.95)
        # The same skin of everybody lands on the same place of the template.
        reference = prior.field.values(points[None], run.codes["shape"].codes[index][None]).reference[0]
        template = torch.from_numpy(head.template * 1000 / UNIT_MM).float()
        gap = (reference - template).norm(dim=1)[torch.from_numpy(head.registered)]
        assert float(gap.mean()) * UNIT_MM < 3
    own_error, mean_error = np.mean(errors, 0)
    # The heads differ from their mean by several millimetres; each is known much better than that.
    assert mean_error > 4
    assert own_error < 0.35 * mean_error


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_can_be_trained(tmp_path: Path, name: str) -> None:
    write_population(tmp_path, 3, count=64)
    config = CONFIGS[name]
    small = replace(
        SMALL.field, deformed=config.field.deformed, reference_depth=4, deformation_depth=2, renderer_depth=2
    )
    config = replace(config, field=small, heads=3, surface=8, space=8, steps=4)
    run = Run(Population(tmp_path), config, 0, torch.device("cpu"), Ranks())
    before = {key: value.clone() for key, value in run.field.state_dict().items()}
    first = run.step()
    # Without a mask every frequency is open from the start.
    assert run.field.alpha == (config.field.reference_frequencies if config.unmask == 0 else 0)
    assert bool(first.total.isfinite())
    moved = {key.split(".")[0] for key, value in run.field.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == ({"deformation", "reference"} if small.deformed else {"reference"}) | (
        {"renderer"} if config.colour else set()
    )
    run.prior().save(tmp_path / "own.safetensors")
    assert Prior.load(tmp_path / "own.safetensors").field.config == small


def test_an_interrupted_run_ends_where_the_unbroken_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people, config = tmp_path / "people", replace(SMALL, checkpoint_s=0.0)
    write_population(people, count=256)
    whole, broken, other = (tmp_path / f"{name}.safetensors" for name in ("whole", "broken", "other"))
    straight = _train(people, whole, monkeypatch, config=config)
    first = _train(people, broken, monkeypatch, stop_after=21, config=config)
    checkpoint = tmp_path / "broken.safetensors.checkpoint"
    assert checkpoint.is_file()
    assert not broken.exists()
    second = _train(people, broken, monkeypatch, config=config)
    # It went on from the checkpoint of step 20, because the interruption came before that of step 21.
    assert second.done[0] == 20
    assert first.losses == straight.losses[:21]
    assert second.losses == straight.losses[20:]
    assert not checkpoint.exists()
    _same_prior(whole, broken)
    # Another seed gives another prior, so equality means something.
    _train(people, other, monkeypatch, seed=1, config=config)
    assert not torch.equal(Prior.load(other).shape.axes, Prior.load(whole).shape.axes)


def _same_prior(first: Path, second: Path) -> None:
    one, two = Prior.load(first), Prior.load(second)
    ours, theirs = one.field.state_dict(), two.field.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for name in ("shape", "appearance"):
        assert torch.equal(getattr(one, name).mean, getattr(two, name).mean)
        assert torch.equal(getattr(one, name).axes, getattr(two, name).axes)
        assert float(getattr(one, name).axes.abs().max()) > 0


PROGRAM = """
import sys, torch
from pathlib import Path
from protome.field.head import HeadFieldConfig
from protome.training import TrainingConfig, train
torch.set_num_threads(1)
config = eval(sys.argv[3])
train(Path(sys.argv[1]), Path(sys.argv[2]), config=config, device="cpu", quiet=True)
"""


def test_a_killed_run_goes_on_and_ends_where_the_unbroken_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, whole, broken = tmp_path / "people", tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    config = replace(SMALL, steps=150, checkpoint_s=0.0)
    write_population(people, count=256)
    _train(people, whole, monkeypatch, config=config)
    checkpoint = tmp_path / "broken.safetensors.checkpoint"
    chance, kills = random.Random(4), 0
    command = [sys.executable, "-c", PROGRAM, str(people), str(broken), repr(config)]
    while not broken.exists():
        process = subprocess.Popen(command)
        if kills < 2:
            before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
                time.sleep(0.01)
            # Anywhere in a step, or in the middle of writing the next checkpoint.
            time.sleep(chance.uniform(0, 0.3))
            process.kill()
            kills += process.wait() < 0
        else:
            assert process.wait() == 0
    assert kills == 2
    _same_prior(whole, broken)
    assert not checkpoint.exists()


SHARED_STEP = """
import sys, torch
from pathlib import Path
from protome.field.head import HeadFieldConfig
from protome.population.store import Population
from protome.ranks import Ranks
from protome.training import Run, TrainingConfig
torch.set_num_threads(1)
ranks, device = Ranks.join(torch.device("cpu"))
run = Run(Population(Path(sys.argv[1])), eval(sys.argv[3]), 0, device, ranks)
told = []
for _ in range(3):
    loss = run.step()
    gradients = [weight.grad.clone() for weight in run.weights]
    told.append((float(loss.total), float(loss.surface_mm), gradients, run.codes["shape"].first.clone()))
torch.save(told, Path(sys.argv[2]) / f"{ranks.count}_{ranks.number}.pt")
ranks.leave()
"""


def _processes(count: int, arguments: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "PATH": ""}
    command = [sys.executable, "-c", *arguments]
    running = [subprocess.Popen(command, env={**where, "RANK": str(rank)}) for rank in range(count)]
    assert [process.wait(timeout=120) for process in running] == [0] * count


def test_two_processes_with_half_a_batch_each_take_the_step_of_one(tmp_path: Path) -> None:
    write_population(tmp_path / "people", count=128)
    # A large weight for the landmarks: that term pairs heads of different processes.
    config = replace(SMALL, landmark=1.0, heads=4)
    for count in (1, 2):
        _processes(count, [SHARED_STEP, str(tmp_path / "people"), str(tmp_path), repr(config)])
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("1_0", "2_0", "2_1"))
    for number, (one, shared, other) in enumerate(zip(alone, first, second, strict=True)):
        # Rounding differs, and Adam makes much of it where a gradient is almost zero.
        close = {"rtol": 1e-4, "atol": 1e-6} if number == 0 else {"rtol": 0.02, "atol": 2e-3}
        assert shared[:2] == other[:2]
        assert shared[:2] == pytest.approx(one[:2], rel=1e-5 if number == 0 else 2e-3)
        for ours, same, truth in zip(shared[2], other[2], one[2], strict=True):
            assert torch.equal(ours, same)
            torch.testing.assert_close(ours, truth, **close)
        assert torch.equal(shared[3], other[3])
        torch.testing.assert_close(shared[3], one[3], **close)
    assert alone[0][0] != alone[2][0]


def test_processes_train_one_prior(tmp_path: Path) -> None:
    write_population(tmp_path / "people", count=128)
    out = tmp_path / "own.safetensors"
    _processes(2, [PROGRAM, str(tmp_path / "people"), str(out), repr(replace(SMALL, steps=6, checkpoint_s=0.0))])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.safetensors", "people"]
    assert float(Prior.load(out).shape.axes.abs().max()) > 0


def test_more_processes_than_heads_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_population(tmp_path / "people", 2, count=64)
    monkeypatch.setattr(Ranks, "join", staticmethod(lambda device: (Ranks(0, 3), device)))
    with pytest.raises(InputError, match="3 processes cannot share fewer heads per step: start fewer of them"):
        train(tmp_path / "people", tmp_path / "own.safetensors", config=SMALL, device="cpu", quiet=True)


def _left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A population of four heads and the output of a run that left a checkpoint."""
    people, out = tmp_path / "people", tmp_path / "own.safetensors"
    write_population(people, 4, count=128)
    _train(people, out, monkeypatch, stop_after=9, config=KEPT)
    assert (tmp_path / "own.safetensors.checkpoint").is_file()
    return people, out


def _refused(people: Path, out: Path, config: TrainingConfig | None = None, seed: int = 0) -> None:
    config = config or KEPT
    with pytest.raises(InputError, match=r"own\.safetensors\.checkpoint belongs to another"):
        train(people, out, config=config, device="cpu", seed=seed, quiet=True)
    assert not out.exists()


def test_the_checkpoint_of_a_population_of_another_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = _left_behind(tmp_path, monkeypatch)
    write_population(tmp_path / "others", 5, count=128)
    _refused(tmp_path / "others", out)


def test_the_checkpoint_of_another_population_of_that_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = _left_behind(tmp_path, monkeypatch)
    write_population(tmp_path / "others", 4, seed=1, count=128)
    _refused(tmp_path / "others", out)


def test_the_checkpoint_of_another_seed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people, out = _left_behind(tmp_path, monkeypatch)
    _refused(people, out, seed=1)


def test_the_checkpoint_of_another_configuration_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people, out = _left_behind(tmp_path, monkeypatch)
    _refused(people, out, replace(KEPT, field=replace(SMALL.field, renderer_width=16)))


def test_an_unknown_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train(tmp_path / "people", tmp_path / "own.safetensors", config="huge", device="cpu", quiet=True)
    assert (
        str(caught.value)
        == "no training configuration is called huge: use one of sira++, h3d-net, h3d-net-pm, deform, tiny"
    )


def test_a_missing_population_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="people does not exist: build it with `protome population build`"):
        train(tmp_path / "people", tmp_path / "own.safetensors", config="tiny", device="cpu", quiet=True)


def test_a_population_of_one_head_can_be_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_population(tmp_path / "people", 1, count=128)
    config = replace(SMALL, steps=3)
    watched = _train(tmp_path / "people", tmp_path / "own.safetensors", monkeypatch, config=config)
    assert bool(np.isfinite(watched.losses).all())
