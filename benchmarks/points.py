"""The fields' throughput relative to the processor's limit, and the time to a first traced ray.

    python benchmarks/points.py

Points per second of the prior's field and of bare matrix products of the same shapes, in one run on the same threads;
and the seconds from the start of Python to the first traced ray.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from command import command
from protome.field.mlp import Mlp
from protome.prior.prior import Prior
from protome.util.device import choose_device

FIRST_RAY = """
import time
began = time.perf_counter()
import torch
from protome.util.device import choose_device
from protome.geometry.camera import Camera
from protome.prior.prior import Prior
from protome.render.trace import box_span, sphere_tracer
prior = Prior.load().to(choose_device("auto"))
camera = Camera.look_at(torch.tensor([0.0, 0.0, 5.0]), torch.zeros(3), 100.0, 1, 1).to(prior.bounds.device)
with torch.no_grad():
    hit = sphere_tracer()(prior.bind(prior.mean()).sdf, camera.rays(), box_span(camera.rays(), prior.bounds)).hit
assert bool(hit.all()), "the ray missed the head"
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    points: int = 4096
    """Points per call."""
    repeats: int = 30
    """Number of calls, of which the fastest counts."""
    threads: tuple[int, ...] = (1, 2)
    """Numbers of threads."""
    starts: int = 3
    """Number of starts of Python, of which the fastest counts."""


def shapes(network: Mlp) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of each product per point, latents folded."""
    layers = (network.first, *network.hidden, network.again, network.last)
    return [(layer.in_features, layer.out_features) for layer in layers]  # type: ignore[misc]


def fastest(call: Callable[[], object], repeats: int) -> float:
    """Return the seconds of the fastest of several calls."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return min(took)


def run(options: Options) -> None:
    """Print both tables."""
    choose_device("cpu")
    prior = Prior.load()
    field = prior.bind(prior.mean())
    points = prior.bounds[0] + torch.rand(options.points, 3) * (prior.bounds[1] - prior.bounds[0])
    networks = [network for network in (prior.field.deformation, prior.field.reference) if network is not None]
    pairs = [(torch.rand(options.points, into), torch.rand(out, into)) for net in networks for into, out in shapes(net)]
    cotangents = [torch.rand(options.points, len(weight)) for _, weight in pairs]
    work = 2e-9 * sum(weight.numel() for _, weight in pairs)

    def forward() -> None:
        for inputs, weight in pairs:
            torch.nn.functional.linear(inputs, weight)

    def backward() -> None:
        for outputs, weight in zip(cotangents, (weight for _, weight in pairs), strict=True):
            torch.mm(outputs, weight)

    print(f"{options.points} points a call, the fastest of {options.repeats} calls")
    print(f"{'threads':>7}  {'':<24}{'points/s':>10}{'products alone':>16}{'of them':>9}{'GFLOP/s':>9}")
    for threads in options.threads:
        torch.set_num_threads(threads)
        with torch.no_grad():
            there, back = fastest(forward, options.repeats), fastest(backward, options.repeats)
            value = fastest(lambda: field.sdf(points), options.repeats)
            slope = fastest(lambda: field.surface(points), options.repeats)
        rows = {"distance": (value, there, work), "distance and gradient": (slope, there + back, 2 * work)}
        for name, (took, products, flops) in rows.items():
            rate, limit = options.points / took, options.points / products
            print(f"{threads:>7}  {name:<24}{rate:>10.0f}{limit:>16.0f}{rate / limit:>9.2f}{rate * flops:>9.1f}")
    command_line = [sys.executable, "-c", FIRST_RAY]
    starts = [float(subprocess.check_output(command_line, text=True)) for _ in range(options.starts)]
    print(f"from import to the first ray: {min(starts):.2f} s, the fastest of {options.starts} starts")


def main() -> int:
    """Run the benchmark of the command line and return its exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
