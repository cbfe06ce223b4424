"""The effect of each acceleration: the same head from the same photos, with and without it, in one run."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from protome.errors import IncompleteError, InputError
from protome.evaluate.metrics import compare
from protome.face import NOSE_TIP
from protome.field.field import Field
from protome.fit.config import FIT_PRESETS, FitConfig
from protome.fit.methods import BACKGROUND_DROP
from protome.fit.reconstruct import fit_head
from protome.fit.tracing import TracingConfig
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh
from protome.geometry.transforms import Similarity
from protome.meshing.extract import extract_mesh
from protome.prior.prior import Prior
from protome.render.render import render
from protome.scene import Scene, View
from protome.units import UNIT_MM
from protome.util.device import choose_device
from protome.util.files import check_output_file, write_atomically
from protome.util.progress import progress
from protome.util.reading import reading

MEASURED = {
    "ratio": "the ratio of seconds", "queries": "the number of queries", "face_mm": "the error of the face",
    "head_mm": "the error of the head",
}  # fmt: skip
ALLOWED = {"ratio": 1.3, "queries": 1.05, "face_mm": 1.15, "head_mm": 1.15}
"""Up to how many times a baseline's number chance explains; seconds of one machine vary by up to a quarter."""
AZIMUTHS = {1: (8.0,), 2: (-25.0, 25.0), 3: (4.0, 45.0, -45.0)}


@dataclass(frozen=True)
class SpeedRow:
    """The result of one way to fit."""

    name: str
    seconds: float
    """Wall time of the fit."""
    ratio: float
    """Ratio to the first row's seconds."""
    queries: float
    """Points at which the networks were evaluated to find the surface, per ray and step."""
    face_mm: float
    head_mm: float
    """Mean distance from the true surface to the fitted one after rigid alignment."""


def ways(config: FitConfig) -> dict[str, FitConfig]:
    """Return the rows: the paper's four, then those of this package."""
    plain = TracingConfig("parallel", baked_mm=0)
    cached, grid = replace(plain, cache=True), replace(plain, tracer="grid")
    return {
        "equal samples (paper, neither)": replace(config, tracing=plain),
        "selective sampling": replace(config, tracing=plain, drop_background=BACKGROUND_DROP),
        "SDF cache": replace(config, tracing=cached),
        "both": replace(config, tracing=cached, drop_background=BACKGROUND_DROP),
        "sphere tracing": replace(config, tracing=replace(plain, tracer="sphere")),
        "guided by a grid": replace(config, tracing=grid),
        "guided, selective": replace(config, tracing=grid, drop_background=BACKGROUND_DROP),
        "guided, baked reference": replace(config, tracing=TracingConfig()),
    }


def benchmark_speed(
    *,
    views: int = 3,
    preset: str | FitConfig = "draft",
    device: str = "auto",
    seed: int = 0,
    size: int = 192,
    resolution: int = 160,
    quiet: bool = False,
) -> list[SpeedRow]:
    """Fit a random person of the prior from rendered photos in each way and return a row for each.

    The person is known exactly, so the errors are exact. They are small, because the person is drawn from the prior.

    Raises:
        InputError: the number of views or the preset is not one that there is.
    """
    if views not in AZIMUTHS:
        raise InputError(f"{views} views cannot be benchmarked: give one of {', '.join(map(str, AZIMUTHS))}")
    if isinstance(preset, str) and preset not in FIT_PRESETS:
        raise InputError(f"no preset is called {preset}: use one of {', '.join(FIT_PRESETS)}")
    settings = FIT_PRESETS[preset] if isinstance(preset, str) else preset
    prior = Prior.load().to(choose_device(device))
    latents = prior.sample(torch.Generator().manual_seed(seed), 0.7)
    person = prior.bind(latents)
    truth = extract_mesh(person, prior.bounds, resolution).scaled(UNIT_MM)
    nose = prior.landmarks[NOSE_TIP].double().cpu().numpy() * UNIT_MM
    scene = _photographed(person, prior.bounds, AZIMUTHS[views], size)
    rows: list[SpeedRow] = []
    chosen = ways(replace(settings, schedule=replace(settings.schedule, colours=0)))
    with progress("benchmarking", len(chosen), quiet=quiet) as step:
        for name, config in chosen.items():
            began = time.perf_counter()
            fit = fit_head(scene, prior, config, seed=seed, quiet=True)
            if prior.bounds.is_cuda:
                torch.cuda.synchronize()
            seconds = time.perf_counter() - began
            mesh = _in_head_frame(extract_mesh(fit.head.bind(), prior.bounds, resolution), fit.head_from_world[0])
            found = compare(mesh, truth, nose_tip=nose)
            steps = config.schedule.latent_steps(views) + config.schedule.network_steps(views)
            first = rows[0].seconds if rows else seconds
            rows.append(
                SpeedRow(
                    name, seconds, seconds / first, fit.queries / (steps * config.rays),
                    found.face.to_prediction.mean, found.head.to_prediction.mean,
                )
            )  # fmt: skip
            step(1, name)
    return rows


def _photographed(person: Field, bounds: Float[Tensor, "2 3"], azimuths: tuple[float, ...], size: int) -> Scene:
    """Return photos of the person, their cameras posed in the head frame."""
    views = []
    for number, azimuth in enumerate(azimuths):
        angle = torch.deg2rad(torch.tensor(azimuth))
        target = torch.tensor([0.0, -0.15, -0.3])
        away = 4.5 * torch.stack([torch.sin(angle), torch.tensor(0.05), torch.cos(angle)])
        camera = Camera.look_at(target + away, target, 2.6 * size, size, size)
        image = render(person, camera.to(bounds.device), bounds)
        views.append(View(f"{number:03d}.png", image.colour.cpu(), image.mask.float().cpu(), camera))
    # The fit starts from a pose with a detector's error, a few millimetres.
    off = Similarity.identity()
    return Scene(tuple(views), Similarity(off.rotation, torch.tensor([0.015, -0.01, 0.01]), off.scale))


def _in_head_frame(mesh: Mesh, head_from_world: Similarity) -> Mesh:
    return mesh.transformed(head_from_world.inverse().to("cpu")).scaled(UNIT_MM)


def speed_table(rows: list[SpeedRow]) -> str:
    """Return the rows as text."""
    lines = [f"{'':<32}{'seconds':>9}{'ratio':>8}{'queries/ray':>13}{'face mm':>9}{'head mm':>9}"]
    lines += [
        f"{row.name:<32}{row.seconds:>9.1f}{row.ratio:>8.2f}{row.queries:>13.1f}{row.face_mm:>9.2f}{row.head_mm:>9.2f}"
        for row in rows
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Baseline:
    """The numbers of an earlier run, to compare a new one with."""

    path: Path
    settings: dict[str, object]
    """Number of views, preset and seed."""
    rows: dict[str, SpeedRow]

    @staticmethod
    def load(path: Path) -> Baseline:
        """Read what `report_speed` wrote.

        Raises:
            InputError: the file is missing, or holds something else.
        """
        with reading(path, "the numbers of a benchmark", "give what `protome benchmark speed --out` wrote"):
            facts = json.loads(path.read_text(encoding="utf-8"))
            rows = {row["name"]: SpeedRow(**row) for row in facts["rows"]}
            numbers = [value for row in rows.values() for value in list(asdict(row).values())[1:]]
            if not rows or not all(value > 0 for value in numbers):
                raise ValueError("a number that no measurement gives")
            return Baseline(path, {key: facts[key] for key in ("views", "preset", "seed")}, rows)

    def compared(self, rows: list[SpeedRow]) -> tuple[str, list[str]]:
        """Return a table of a run's numbers as multiples of these, and a sentence for each that is worse.

        Seconds differ between machines. What is compared is each row's ratio to its own run's first row, the queries,
        and the errors.
        """
        lines = [f"{'of the baseline':<32}{'ratio':>8}{'queries/ray':>13}{'face mm':>9}{'head mm':>9}"]
        worse = []
        for row in rows:
            old = self.rows.get(row.name)
            if old is None:
                continue
            change = {key: getattr(row, key) / getattr(old, key) for key in ALLOWED}
            lines.append(
                f"{row.name:<32}{change['ratio']:>8.2f}{change['queries']:>13.2f}{change['face_mm']:>9.2f}"
                f"{change['head_mm']:>9.2f}"
            )
            worse += [
                f"{row.name}: {words} is {change[key]:.2f} times that of the baseline"
                for key, words in MEASURED.items() if change[key] > ALLOWED[key]
            ]  # fmt: skip
        return "\n".join(lines), worse


def report_speed(
    *, out: Path | None = None, against: Path | None = None, views: int = 3, preset: str = "draft",
    device: str = "auto", seed: int = 0, quiet: bool = False,
) -> None:  # fmt: skip
    """Run the benchmark, print its table and, with `out`, write its numbers as JSON.

    With `against`, the numbers of an earlier run, a second table compares the two.

    Raises:
        InputError: a setting is not one that there is or not the baseline's, or a file cannot be read or written.
        IncompleteError: a number is worse than the baseline's by more than chance.
    """
    baseline = None if against is None else Baseline.load(against)
    settings: dict[str, object] = {"views": views, "preset": preset, "seed": seed}
    if baseline is not None and baseline.settings != settings:
        other = ", ".join(f"--{key} {value}" for key, value in baseline.settings.items())
        raise InputError(f"{against} was measured with {other}: give the same")
    if out is not None:
        check_output_file(out)
    rows = benchmark_speed(views=views, preset=preset, device=device, seed=seed, quiet=quiet)
    print(speed_table(rows))
    if out is not None:
        facts = json.dumps(settings | {"rows": [asdict(row) for row in rows]}, indent=1)
        write_atomically(out, lambda path: path.write_text(facts + "\n"))
    if baseline is not None:
        table, worse = baseline.compared(rows)
        print(table)
        if worse:
            raise IncompleteError(f"{'; '.join(worse)} ({against})")
