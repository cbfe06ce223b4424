"""The effect of each acceleration: the same head from the same photos, with and without it, in one run."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from protome.errors import InputError
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


def report_speed(
    *, out: Path | None = None, views: int = 3, preset: str = "draft", device: str = "auto", seed: int = 0,
    quiet: bool = False,
) -> None:  # fmt: skip
    """Run the benchmark, print its table and, with `out`, write its numbers as JSON.

    Raises:
        InputError: a setting is not one that there is, or the file cannot be written.
    """
    if out is not None:
        check_output_file(out)
    rows = benchmark_speed(views=views, preset=preset, device=device, seed=seed, quiet=quiet)
    print(speed_table(rows))
    if out is not None:
        numbers = {"views": views, "preset": preset, "seed": seed, "rows": [asdict(row) for row in rows]}
        facts = json.dumps(numbers, indent=1)
        write_atomically(out, lambda path: path.write_text(facts + "\n"))
