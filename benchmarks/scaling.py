"""Time and memory by the number of photos, their size and the mesh's resolution.

    python benchmarks/scaling.py --out DIR

The subject is a random person of the prior. Each row runs in a process of its own, whose peak memory is that of the
whole path from photos to files; rows run one after the other, and a stopped run continues.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib
import torch

from command import command
from protome.fit.config import FIT_PRESETS, Schedule
from protome.fit.reconstruct import fit_head
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.meshing.extract import extract_mesh
from protome.pipeline import head_from_fit
from protome.preview import coloured_view
from protome.prior.prior import Prior
from protome.render.cast import cast
from protome.scene import Scene, View
from protome.util.device import choose_device
from protome.util.files import check_output_folder, write_atomically
from protome.util.progress import progress

matplotlib.use("Agg")
from matplotlib import pyplot


@dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    out: Path
    """Folder for a JSON file per row, the table and the plot."""
    views: tuple[int, ...] = (1, 3, 8, 16, 32)
    """Numbers of photos, of 256 pixels each."""
    sizes: tuple[int, ...] = (256, 512, 1024)
    """Pixels along each side of three photos; the fit uses all of them."""
    resolutions: tuple[int, ...] = (128, 192, 256, 384, 512)
    """Cells of the mesh along 52 cm, for a head that is already fitted."""
    device: str = "auto"
    """The device."""


@dataclass(frozen=True)
class Case:
    """One row."""

    series: str
    views: int
    size: int
    resolution: int

    @property
    def name(self) -> str:
        """Name of its result's file."""
        return f"{self.series}_{self.views}_{self.size}_{self.resolution}"

    @property
    def value(self) -> int:
        """The varied quantity of the series."""
        return {"views": self.views, "size": self.size, "resolution": self.resolution}[self.series]


@dataclass(frozen=True)
class Cost:
    """Time and memory of a row."""

    read: float
    """Seconds until the prior and the photos are in memory, imports included."""
    fit: float
    mesh: float
    write: float
    peak_mb: float
    vertices: int


def cases(options: Options) -> list[Case]:
    """Return the rows of all three series."""
    return [
        *(Case("views", views, 256, 288) for views in options.views),
        *(Case("size", 3, size, 288) for size in options.sizes),
        *(Case("resolution", 0, 0, resolution) for resolution in options.resolutions),
    ]


def photographed(mesh: Mesh, views: int, size: int) -> Scene:
    """Return photos of a coloured mesh (inner unit, head frame) from all around, the first from the front."""
    found = []
    for number in range(views):
        # The golden angle spreads any number of cameras evenly.
        turn = torch.tensor(2.399963 * number if views > 3 else (0.07, 0.8, -0.8)[number])
        target = torch.tensor([0.0, -0.15, -0.3])
        away = 4.5 * torch.stack([torch.sin(turn), torch.tensor(0.05), torch.cos(turn)])
        camera = Camera.look_at(target + away, target, 2.6 * size, size, size)
        colour, _ = coloured_view(mesh, None, camera)
        mask = torch.zeros(size * size)
        mask[cast(mesh, camera).pixel] = 1
        found.append(View(f"{number:03d}.png", torch.from_numpy(colour).float(), mask.reshape(size, size), camera))
    identity = Similarity.identity()
    return Scene(tuple(found), Similarity(identity.rotation, torch.tensor([0.015, -0.01, 0.01]), identity.scale))


def measure(case: Case, person: Mesh, folder: Path, device: str) -> Cost:
    """Run one row in this process, which must be a fresh one: its peak memory counts."""
    began = time.perf_counter()
    where = choose_device(device)
    prior = Prior.load().to(where)
    # The photos are rendered here instead of read: rendering them is not part of the time.
    drawn = time.perf_counter()
    scene = photographed(person, max(case.views, 1), max(case.size, 64))
    ready = time.perf_counter()
    config = replace(FIT_PRESETS["standard"], size=case.size or 64)
    if case.series == "resolution":  # any head is suitable, so a fast preset is used
        config = replace(FIT_PRESETS["draft"], size=64, schedule=Schedule({1: 20}, {1: 0}, colours=0))
    fit = fit_head(scene, prior, config, quiet=True)
    fitted = time.perf_counter()
    head = head_from_fit(fit, scene, prior, resolution=case.resolution, quiet=True)
    meshed = time.perf_counter()
    head.save(folder)
    written = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(drawn - began, fitted - ready, meshed - fitted, written - meshed, peak, len(head.mesh.vertices))


def table(results: dict[Case, Cost]) -> str:
    """Return the rows as text, each with its ratio to the first of its series."""
    lines = [f"{'':<12}{'':>6}{'fit s':>9}{'mesh s':>9}{'write s':>9}{'all':>8}{'of first':>10}{'peak MB':>9}"]
    lines[0] += f"{'vertices':>10}"
    first: dict[str, float] = {}
    for case, cost in results.items():
        total = cost.mesh if case.series == "resolution" else cost.read + cost.fit + cost.mesh + cost.write
        first.setdefault(case.series, total)
        lines.append(
            f"{case.series:<12}{case.value:>6}{cost.fit:>9.1f}{cost.mesh:>9.1f}{cost.write:>9.1f}{total:>8.1f}"
            f"{total / first[case.series]:>10.2f}{cost.peak_mb:>9.0f}{cost.vertices:>10}"
        )
    return "\n".join(lines)


def plot(results: dict[Case, Cost], path: Path) -> None:
    """Draw seconds and peak memory along each series."""
    titles = {"views": "photos", "size": "pixels along a photo's side", "resolution": "mesh cells along 52 cm"}
    figure, panels = pyplot.subplots(1, 3, figsize=(12, 3.4), constrained_layout=True)
    for panel, (series, title) in zip(panels, titles.items(), strict=True):
        rows = [(case, cost) for case, cost in results.items() if case.series == series]
        values = [case.value for case, _ in rows]
        stages = ("mesh",) if series == "resolution" else ("fit", "mesh", "write")
        for stage in stages:
            panel.plot(values, [getattr(cost, stage) for _, cost in rows], marker="o", label=f"{stage}, s")
        panel.set(xlabel=title, ylabel="seconds", xscale="log", ylim=(0, None))
        panel.set_xticks(values, [str(value) for value in values])
        panel.minorticks_off()
        memory = panel.twinx()
        memory.plot(values, [cost.peak_mb / 1024 for _, cost in rows], "k--", label="peak memory, GB")
        memory.set(ylabel="GB", ylim=(0, None))
        handles = [*panel.get_legend_handles_labels()[0], *memory.get_legend_handles_labels()[0]]
        panel.legend(handles=handles, fontsize=8, loc="center right")
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=110))
    pyplot.close(figure)


def run(options: Options) -> None:
    """Measure the rows without a stored result, then print the table and draw the plot."""
    check_output_folder(options.out)
    choose_device("cpu")
    prior = Prior.load()
    person = extract_mesh(prior.bind(prior.sample(torch.Generator().manual_seed(0), 0.7)), prior.bounds, 288)
    fresh = multiprocessing.get_context("spawn")
    results: dict[Case, Cost] = {}
    with progress("measuring", len(cases(options))) as step:
        for case in cases(options):
            path = options.out / f"{case.name}.json"
            if not path.is_file():
                with ProcessPoolExecutor(1, fresh) as pool:
                    cost = pool.submit(measure, case, person, options.out / "head", options.device).result()
                text = json.dumps(asdict(cost), indent=1) + "\n"
                write_atomically(path, lambda part, text=text: part.write_text(text))  # type: ignore[misc]
            results[case] = Cost(**json.loads(path.read_text()))
            step(1, case.name)
    text = table(results)
    write_atomically(options.out / "table.txt", lambda part: part.write_text(text + "\n"))
    plot(results, options.out / "scaling.png")
    print(text)


def main() -> int:
    """Run the benchmark of the command line and return its exit code."""
    return command(run, Options, __doc__)


if __name__ == "__main__":
    sys.exit(main())
