"""Runs of training on a few ellipsoids: they survive kills, are shared by processes, and refuse other runs' state."""

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
from safetensors.torch import load_file
from torch import distributed

from ellipsoids import SMALL, SMALL_EXPRESSIVE, one_thread, write_expressive_population, write_population
from protome.errors import InputError
from protome.prior.prior import Prior
from protome.training import train as training
from protome.training.distributed import ProcessGroup, store_of_restart
from protome.training.train import TrainingConfig, train


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@dataclass
class Watched:
    """The progress that training reports; it may be interrupted after some steps."""

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
    def progress(self, stage: str, total: float, *, before: float = 0.0, quiet: bool = False) -> Iterator[object]:
        if before:
            self.done.append(before)
        yield self.step


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


KEPT = replace(SMALL, checkpoint_s=0.0)
"""A checkpoint after every step."""


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
    prior, latents = Prior.load(whole), load_file(tmp_path / "whole.latents.safetensors")
    assert latents["shape"].shape == (6, prior.field.config.latent)
    for name in ("shape", "appearance"):
        assert torch.allclose(latents[name].mean(0), getattr(prior, name).mean, atol=1e-6)
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
from protome.training.train import TrainingConfig, train
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
from protome.training.distributed import ProcessGroup
from protome.training.train import Run, TrainingConfig
torch.set_num_threads(1)
processes, device = ProcessGroup.join(torch.device("cpu"))
run = Run(Population(Path(sys.argv[1])), eval(sys.argv[3]), 0, device, processes)
reported = []
for _ in range(3):
    loss = run.step()
    gradients = [weight.grad.clone() for weight in (*run.weights, *run.mapping)]
    reported.append((float(loss.total), float(loss.surface_mm), gradients, run.latents["shape"].first.clone()))
torch.save(reported, Path(sys.argv[2]) / f"{processes.count}_{processes.number}.pt")
processes.leave()
"""


def _processes(count: int, arguments: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "PATH": ""}
    command = [sys.executable, "-c", *arguments]
    running = [subprocess.Popen(command, env={**where, "RANK": str(rank)}) for rank in range(count)]
    try:
        assert [process.wait(timeout=900) for process in running] == [0] * count
    finally:
        for process in running:
            process.kill()


@pytest.mark.parametrize("expressive", [False, True])
def test_two_processes_with_half_a_batch_each_take_the_step_of_one(tmp_path: Path, expressive: bool) -> None:
    if expressive:
        write_expressive_population(tmp_path / "people", people=5, count=128)
    else:
        write_population(tmp_path / "people", count=128)
    # A large weight for the landmarks: that term pairs heads of different processes.
    config = replace(SMALL_EXPRESSIVE if expressive else SMALL, landmark=1.0, heads=4)
    for count in (1, 2):
        _processes(count, [SHARED_STEP, str(tmp_path / "people"), str(tmp_path), repr(config)])
    alone, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("1_0", "2_0", "2_1"))
    for number, (one, shared, other) in enumerate(zip(alone, first, second, strict=True)):
        # Rounding differs, and Adam makes much of it where a gradient is almost zero.
        rtol, atol = (1e-4, 1e-6) if number == 0 else (0.02, 2e-3)
        assert shared[:2] == other[:2]
        assert shared[:2] == pytest.approx(one[:2], rel=1e-5 if number == 0 else 2e-3)
        for ours, same, truth in zip(shared[2], other[2], one[2], strict=True):
            assert torch.equal(ours, same)
            torch.testing.assert_close(ours, truth, rtol=rtol, atol=atol)
        assert torch.equal(shared[3], other[3])
        torch.testing.assert_close(shared[3], one[3], rtol=rtol, atol=atol)
    assert alone[0][0] != alone[2][0]


def test_processes_train_one_prior(tmp_path: Path) -> None:
    write_population(tmp_path / "people", count=128)
    out = tmp_path / "own.safetensors"
    _processes(2, [PROGRAM, str(tmp_path / "people"), str(out), repr(replace(SMALL, steps=6, checkpoint_s=0.0))])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.latents.safetensors", "own.safetensors", "people"]
    assert float(Prior.load(out).shape.axes.abs().max()) > 0


def test_a_process_lost_after_the_last_step_takes_nothing_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun then starts all of them again; they end at once, with the same prior."""
    people, out, config = tmp_path / "people", tmp_path / "own.safetensors", replace(SMALL, steps=3)
    write_population(people, count=128)

    def lost(self: ProcessGroup) -> None:
        raise RuntimeError("connection closed by peer")

    with monkeypatch.context() as patch:
        patch.setattr(ProcessGroup, "leave", lost)
        with pytest.raises(RuntimeError, match="closed by peer"):
            train(people, out, config=config, device="cpu", quiet=True)
    before = out.read_bytes()
    with monkeypatch.context() as patch:
        patch.delattr(training.Run, "step")
        train(people, out, config=config, device="cpu", quiet=True)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.latents.safetensors", "own.safetensors", "people"]


def test_processes_that_torchrun_starts_again_do_not_find_the_addresses_of_those_before() -> None:
    agent = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    agent.set("address of rank 0", "gone")
    started = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(agent.port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
    }  # fmt: skip
    assert store_of_restart(started) is None
    again = started | {"TORCHELASTIC_RESTART_COUNT": "1"}
    first, second = store_of_restart(again), store_of_restart(again)
    assert first is not None
    assert second is not None
    assert not first.check(["address of rank 0"])
    first.set("address of rank 0", "here")
    assert second.get("address of rank 0") == b"here"  # both ranks of one start find each other
    assert agent.get("address of rank 0") == b"gone"
    # Processes of other machines may count another number of starts, and a store of rank 0 ends with it.
    assert store_of_restart(again | {"LOCAL_WORLD_SIZE": "1"}) is None
    assert store_of_restart(again | {"TORCHELASTIC_USE_AGENT_STORE": "False"}) is None


def test_more_processes_than_heads_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_population(tmp_path / "people", 2, count=64)
    monkeypatch.setattr(ProcessGroup, "join", staticmethod(lambda device: (ProcessGroup(0, 3), device)))
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


def test_a_population_of_one_head_can_be_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_population(tmp_path / "people", 1, count=128)
    config = replace(SMALL, steps=3)
    watched = _train(tmp_path / "people", tmp_path / "own.safetensors", monkeypatch, config=config)
    assert bool(np.isfinite(watched.losses).all())
