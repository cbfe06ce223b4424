"""A training under torchrun, one of whose processes is killed: it goes on from its checkpoint to the same loss.

    python benchmarks/elastic.py [--processes 2] [--steps 300] [--kills 2]

Trains the smallest configuration on eight balls three times: by one process, by several that share each step, and by
several of which one is killed again and again, each time another. Prints for each the steps in a second, the mean loss
of the last tenth of its steps, and how many steps were done again after kills.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from command import command
from protome.errors import InputError
from protome.population.store import HeadRecord, Manifest, shard_path, write_manifest, write_shard
from protome.population.surface import HeadSamples

CHECKPOINT_S = 1.0
"""Seconds between checkpoints, so that short runs have some."""
NOISE = 0.05
"""Largest relative difference of losses. The steps are the same but for rounding, which grows from step to step."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    processes: int = 2
    """How many share the training."""
    steps: int = 300
    """Steps of each training."""
    kills: int = 2
    """How often a process is killed."""
    seed: int = 0
    """The random seed of the moments."""
    folder: str = ""
    """Used by the command itself, in the processes that train."""


def run(options: Options) -> None:
    """Print a table.

    Raises:
        InputError: a training ends with another loss, or does not go on after a kill.
    """
    if options.folder:
        _train(Path(options.folder), options.steps)
        return
    with tempfile.TemporaryDirectory() as held:
        people = Path(held, "people")
        write_balls(people)
        print("| processes | killed | steps in a second | steps done again | loss at the end |\n" + "|---" * 5 + "|")
        losses = []
        for number, (processes, kills) in enumerate(
            ((1, 0), (options.processes, 0), (options.processes, options.kills))
        ):
            folder = Path(held, f"run_{number}")
            folder.mkdir()
            (folder / "people").symlink_to(people)
            losses.append(_row(folder, processes, kills, options))
    if max(losses) > (1 + NOISE) * min(losses):
        raise InputError(f"the losses at the end differ by more than {100 * NOISE:g} %: {losses}")


def write_balls(folder: Path, heads: int = 8, count: int = 512) -> None:
    """Write a population of balls of several sizes, in metres."""
    rng = np.random.default_rng(0)

    def ball(radius: float) -> HeadSamples:
        directions = rng.normal(size=(3, count, 3))
        on, around, marks = directions / np.linalg.norm(directions, axis=2, keepdims=True)
        space = around * rng.uniform(0.05, 0.14, (count, 1))
        return HeadSamples(
            radius * on, on, np.full((count, 3), 128, np.uint8), -on, 0.1 * on, np.ones(count, bool),
            space, np.linalg.norm(space, axis=1) - radius, radius * marks[:6],
        )  # fmt: skip

    radii = np.linspace(0.08, 0.12, heads)
    write_manifest(folder, Manifest(0, {"train": heads}, heads, count, {}))
    records = [HeadRecord(f"ball {k}", ball(r), np.array([r, 0.0, 0.0]), np.zeros(2)) for k, r in enumerate(radii)]
    write_shard(shard_path(folder, "train", 0), records)


def _row(folder: Path, processes: int, kills: int, options: Options) -> float:
    """Run one training, print its row and return its loss at the end."""
    words = ["--standalone", "--nproc-per-node", str(processes), "--max-restarts", str(kills), __file__]
    words += ["--folder", str(folder), "--steps", str(options.steps)]
    chance = random.Random(options.seed)
    torchrun = [sys.executable, "-m", "torch.distributed.run", *words]
    child = subprocess.Popen(torchrun, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        for number in range(kills):
            _wait(folder, child, (number + 1) / (kills + 1) * options.steps)
            time.sleep(chance.uniform(0, 0.2))
            victim = (folder / f"process_{(number + 1) % processes}.txt").read_text()
            if child.poll() is None:
                os.kill(int(victim), signal.SIGKILL)
                time.sleep(2.0)  # until torchrun has noticed
        _, said = child.communicate()
    finally:
        child.kill()
    if child.returncode or not (folder / "own.safetensors").is_file():
        raise InputError(f"torchrun has ended with code {child.returncode}: {said.decode()[-800:]}")
    steps = _steps(folder)
    table = np.array(steps)
    moment, last = table[:, 1], table[table[:, 0] > 0.9 * options.steps, 2]
    again = len(steps) - len({step[0] for step in steps})
    own = f"{(len(moment) - 1) / (moment[-1] - moment[0]):.1f}" if kills == 0 else ""
    print("| " + " | ".join(map(str, (processes, kills, own, again, f"{last.mean():.4f}"))) + " |", flush=True)
    return float(last.mean())


def _wait(folder: Path, child: subprocess.Popen[bytes], count: float) -> None:
    """Wait until a training has come to a step and has kept one."""
    kept = folder / "own.safetensors.checkpoint"
    while child.poll() is None and not (kept.is_file() and (done := _steps(folder)) and done[-1][0] >= count):
        time.sleep(0.05)


def _steps(folder: Path) -> list[tuple[int, float, float]]:
    """Return number, time and loss of the steps that the first process has done."""
    log = folder / "steps.txt"
    lines = log.read_text().splitlines() if log.is_file() else []
    parts = [line.split() for line in lines if line.endswith(".")]
    return [(int(number), float(moment), float(loss[:-1])) for number, moment, loss in parts]


def _train(folder: Path, steps: int) -> None:
    """Train in one of the processes of torchrun, and keep a log of its steps."""
    import torch

    from protome.training.train import CONFIGS, Run, StepLoss, train

    torch.set_num_threads(1)
    rank, plain = os.environ["RANK"], Run.step
    (folder / f"process_{rank}.txt").write_text(str(os.getpid()))

    def logged(self: Run) -> StepLoss:
        loss = plain(self)
        if rank == "0":
            with (folder / "steps.txt").open("a") as log:
                log.write(f"{self.number} {time.time():.3f} {float(loss.total):.6f}.\n")
        return loss

    Run.step = logged  # type: ignore[method-assign]
    config = replace(CONFIGS["tiny"], checkpoint_s=CHECKPOINT_S)
    train(folder / "people", folder / "own.safetensors", config=config, steps=steps, device="cpu", quiet=True)


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
