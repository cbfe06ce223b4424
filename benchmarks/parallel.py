"""How fitting and training scale with processes: in wall time, and as far as processor time alone allows.

    python benchmarks/parallel.py --out DIR [--counts 1 2] [--heads 4] [--steps 12]

Fits heads of random people of the prior, three photos each, in one process and in two (`protome.util.engines`), and
trains a prior's networks of full size on eight balls by one rank and by two (torchrun, gloo). On a machine with other
work, wall time says how much of it was free. Processor time does not depend on that much: a head or a step that costs
no more of it in two processes than in one is done twice as fast on two free cores. Prints a table of both and draws the
second.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import torch

from command import command
from elastic import write_balls
from protome.benchmark.page import markdown
from protome.errors import InputError
from protome.fit.config import FIT_PRESETS, Schedule
from protome.fit.reconstruct import fit_head
from protome.meshing.extract import extract_mesh
from protome.prior.prior import Prior
from protome.util.engines import Processes, Work
from protome.util.files import check_output_folder, write_atomically
from scaling import photographed

matplotlib.use("Agg")
from matplotlib import pyplot

FIRST = 2
"""Steps of a training that are not counted: they take memory for the first time."""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    out: Path
    """The folder for the table and the plot."""
    counts: tuple[int, ...] = (1, 2)
    """Numbers of processes and of ranks."""
    heads: int = 4
    """Heads to fit."""
    steps: int = 12
    """Steps of each training."""
    folder: str = ""
    """Used by the command itself, in the processes that train."""


@dataclass(frozen=True)
class Cost:
    """What a number of processes takes for one head or step."""

    processes: int
    wall_s: float
    """Of all, divided by their number."""
    processor_s: float
    """Of one, in the process that works on it; the median."""


def run(options: Options) -> None:
    """Measure, print a table and draw it.

    Raises:
        InputError: a training fails, or a number is out of range.
    """
    if options.folder:
        _train(Path(options.folder), options.steps)
        return
    if min(options.counts) < 1 or options.heads < max(options.counts) or options.steps <= FIRST:
        raise InputError(f"give counts of 1 or more, a head for each process, and more than {FIRST} steps")
    check_output_folder(options.out)
    fits = [_fits(count, options.heads) for count in options.counts]
    trainings = [_training(count, options.steps) for count in options.counts]
    header = ["", "processes", "wall, s", "processor, s", "scaling by wall time", "by processor time"]
    rows = [
        [name, str(cost.processes), f"{cost.wall_s:.2f}", f"{cost.processor_s:.2f}",
         *(f"{value:.2f}" for value in pair)]
        for name, costs, shared in (("a head", fits, False), ("a training step", trainings, True))
        for cost, pair in zip(costs, _scalings(costs, shared=shared), strict=True)
    ]  # fmt: skip
    text = markdown(header, rows)
    print(text)
    write_atomically(options.out / "parallel.md", lambda part: part.write_text(text + "\n"))
    _plot(fits, trainings, options.out / "parallel.png")


def _scalings(costs: Sequence[Cost], *, shared: bool) -> list[tuple[float, float]]:
    """Return how much faster each number of processes is than the first, by wall time and by processor time.

    Processes have a head each; ranks share a step (`shared`).
    """
    first = costs[0]
    return [
        (
            first.wall_s / cost.wall_s,
            first.processor_s / cost.processor_s * (1 if shared else cost.processes / first.processes),
        )
        for cost in costs
    ]


def _fits(processes: int, heads: int) -> Cost:
    began = time.perf_counter()
    seconds = [found for _, found in Processes(processes).run(Work(_fit), range(heads))]
    return Cost(processes, (time.perf_counter() - began) / heads, statistics.median(seconds))


def _fit(number: int) -> float:
    """Fit a head in this process and return the processor time in seconds."""
    prior = Prior.load()
    person = extract_mesh(prior.bind(prior.sample(torch.Generator().manual_seed(number), 0.7)), prior.bounds, 128)
    config = replace(FIT_PRESETS["draft"], schedule=Schedule({1: 40}, {1: 20}, colours=20))
    began = time.process_time()
    fit_head(photographed(person, 3, 192), prior, config, quiet=True)
    return time.process_time() - began


def _training(ranks: int, steps: int) -> Cost:
    """Train by some ranks; return the medians over the steps of the first."""
    with tempfile.TemporaryDirectory() as held:
        write_balls(Path(held, "people"))
        words = ["--standalone", "--nproc-per-node", str(ranks), __file__]
        words += ["--out", held, "--folder", held, "--steps", str(steps)]
        torchrun = [sys.executable, "-m", "torch.distributed.run", *words]
        ended = subprocess.run(torchrun, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise InputError(f"torchrun has ended with code {ended.returncode}: {ended.stderr[-800:]}")
        lines = Path(held, "steps.txt").read_text().splitlines()[FIRST:]
    wall, processor = zip(*(map(float, line.split()) for line in lines), strict=True)
    return Cost(ranks, statistics.median(wall), statistics.median(processor))


def _train(folder: Path, steps: int) -> None:
    """Train in one of the processes of torchrun; the first keeps a log of its steps."""
    from protome.training.train import CONFIGS, Run, StepLoss, train

    torch.set_num_threads(1)
    plain = Run.step

    def logged(self: Run) -> StepLoss:
        wall, processor = time.perf_counter(), time.process_time()
        loss = plain(self)
        if os.environ["RANK"] == "0":
            with (folder / "steps.txt").open("a") as log:
                log.write(f"{time.perf_counter() - wall} {time.process_time() - processor}\n")
        return loss

    Run.step = logged  # type: ignore[method-assign]
    config = replace(CONFIGS["sira++"], steps=steps)
    train(folder / "people", folder / "own.safetensors", config=config, device="cpu", quiet=True)


def _plot(fits: Sequence[Cost], trainings: Sequence[Cost], path: Path) -> None:
    figure, panels = pyplot.subplots(1, 2, figsize=(8, 3.4), constrained_layout=True, sharey=True)
    for panel, costs, title in ((panels[0], fits, "heads, by processes"), (panels[1], trainings, "training, by ranks")):
        counts = [cost.processes for cost in costs]
        _, processor = zip(*_scalings(costs, shared=panel is panels[1]), strict=True)
        panel.plot(counts, [count / counts[0] for count in counts], "k:", label="ideal")
        panel.plot(counts, processor, marker="o", label="as processor time allows")
        panel.set(title=title, xlabel="processes", ylim=(0, None), xticks=counts)
    panels[0].set(ylabel="times as fast as one")
    panels[1].legend(loc="lower right", fontsize=8)
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=110))
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(command(run, Options, __doc__))
