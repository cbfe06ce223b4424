"""SIDER's second stage: detail beyond a coarse face, recovered from the shading in one photo."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from protome import losses
from protome.field.field import Field, mean_field
from protome.geometry.camera import Rays
from protome.geometry.mesh import Mesh
from protome.render.surface import crossing
from protome.render.trace import Span, sphere_tracer
from protome.sider.coarse import CoarseConfig, DistanceSamples, fit_coarse
from protome.sider.field import DetailField, DetailFieldConfig
from protome.units import UNIT_MM
from protome.util.device import seeded
from protome.util.progress import Step, progress

_REACH = 10.0 / UNIT_MM
"""Search range before and behind the coarse face."""
_METRE = UNIT_MM / 1000.0
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class DetailConfig:
    """Settings of a fit."""

    networks: DetailFieldConfig = field(default_factory=DetailFieldConfig)
    coarse: CoarseConfig = field(default_factory=CoarseConfig)
    starts: int = 2
    """Number of fits, whose mean is the face (the paper: 1)."""
    epochs: int = 120
    """Passes over all pixels (the paper: 200 to 300)."""
    renderer_epochs: int = 3
    """The first of them, in which only the renderer is fitted."""
    opened: float = 0.4
    """Share of the run after which all frequencies are unmasked."""
    batch: int = 1024
    """Pixels per step."""
    geometry_rate: float = 1e-4
    """Initial learning rate; it and the renderer's decay linearly to zero. Higher rates fit noise as pores."""
    renderer_rate: float = 2e-3
    prior: float = 20.0
    """Weight of |f - SDF| in metres (the paper's lambda 1 is 1e2 in a unit that is not stated)."""
    prior_points: int = 512
    """Points around the face in each step."""
    eikonal: float = 1e-4
    """Weight of the eikonal term (lambda 2)."""
    eikonal_points: int = 64
    """Those of the points around the face at which it is computed."""
    retrace: int = 5
    """Epochs after which all rays are traced again; in between hits follow the surface by Newton steps."""


_SIDER = DetailConfig()
DETAIL_PRESETS = {
    "sider": _SIDER,
    "without-feature": replace(_SIDER, networks=replace(_SIDER.networks, feature=False)),
    "without-normal": replace(_SIDER, networks=replace(_SIDER.networks, normal=False)),
    "without-both": replace(_SIDER, networks=replace(_SIDER.networks, feature=False, normal=False)),
}
DetailPreset = Literal["sider", "without-feature", "without-normal", "without-both"]


@dataclass(frozen=True)
class FacePixels:
    """The pixels of a photo that show the coarse face, inner units."""

    rays: Rays
    colour: Float[Tensor, "n 3"]
    depth: Float[Tensor, "n"]
    """Distance along the ray to the coarse face."""
    skin: Bool[Tensor, "n"]
    """Whether they constrain the shape: eyes, brows, teeth and hair only train the renderer."""

    def __len__(self) -> int:
        return len(self.depth)

    def to(self, device: torch.device) -> FacePixels:
        """Move to a device."""
        return FacePixels(self.rays.to(device), self.colour.to(device), self.depth.to(device), self.skin.to(device))


@dataclass(frozen=True)
class DetailFit:
    """A detailed face: the mean of several fits with different initialisations."""

    fields: tuple[DetailField, ...]
    coarse_error_mm: float
    """Mean error of the distance at the coarse face at the end of the first stage."""
    curves: dict[str, list[float]]
    """Each weighted loss term, epoch by epoch, mean of the fits."""
    seconds: dict[str, float]
    """Wall time of both stages."""

    def bind(self) -> Field:
        """Return the face as a field."""
        return mean_field([field.bind() for field in self.fields])


def fit_detail(
    face: Mesh, pixels: FacePixels, config: DetailConfig, *, seed: int = 0, quiet: bool = False
) -> DetailFit:
    """Fit a coarse face (an open mesh in inner units), then the detail that the pixels show (SIDER, equation 10).

    Shading does not determine heights uniquely, and the result depends on the initialisation; the mean of several fits
    is nearer to the truth. On a processor they run in parallel.
    """
    started = time.perf_counter()
    device = pixels.depth.device
    middle = torch.from_numpy(face.bounds.sum(0) / 2).float()
    with seeded(seed):
        fields = [DetailField(config.networks, middle).to(device) for _ in range(config.starts)]
    generators = [torch.Generator().manual_seed(seed + start) for start in range(config.starts)]
    around = DistanceSamples.of(face, config.coarse, seed).to(device)
    with progress("coarse face", config.starts * config.coarse.steps, quiet=quiet) as step:
        coarse = partial(fit_coarse, around=around, config=config.coarse)
        missed = _in_parallel(coarse, fields, generators, step, device)
    coarse_done = time.perf_counter()
    with progress("detail", config.starts * config.epochs, quiet=quiet) as step:
        shading = partial(_fit_shading, pixels=pixels, around=around.near(), config=config)
        curves = _in_parallel(shading, fields, generators, step, device)
    seconds = {"coarse distances": coarse_done - started, "detail": time.perf_counter() - coarse_done}
    # A fit whose rays all miss in an epoch has no losses in it.
    alike = {key: zip(*(one.get(key, []) for one in curves), strict=False) for key in curves[0]}
    mean = {key: [fmean(values) for values in columns] for key, columns in alike.items()}
    return DetailFit(tuple(field.requires_grad_(False) for field in fields), fmean(missed) * UNIT_MM, mean, seconds)


def _in_parallel(
    fit: Callable[..., _Result],
    fields: list[DetailField],
    generators: list[torch.Generator],
    step: Step,
    device: torch.device,
) -> list[_Result]:
    """Fit every field, with this process's threads shared among the fits; on a GPU one after the other."""
    threads, ended = torch.get_num_threads(), threading.Event()
    workers = min(len(fields), threads) if device.type == "cpu" else 1

    def checked_step(amount: float = 1, detail: str = "") -> None:
        # After an error, or Ctrl-C, no fit continues in the background.
        if ended.is_set():
            raise RuntimeError("stopped, because another fit was")
        step(amount, detail)

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            try:
                return list(pool.map(partial(fit, step=checked_step), fields, generators))
            finally:
                ended.set()
    finally:
        torch.set_num_threads(threads)


def _fit_shading(
    networks: DetailField,
    generator: torch.Generator,
    pixels: FacePixels,
    around: DistanceSamples,
    config: DetailConfig,
    step: Step,
) -> dict[str, list[float]]:
    """Minimise |c - c_gt| + lambda 1 |f - SDF| + lambda 2 (|grad f| - 1)^2 over both networks; return the curves."""
    curves: dict[str, list[float]] = {}
    hits, optimiser = Hits(pixels), _optimiser(networks, config)
    for epoch in range(config.epochs):
        if epoch % config.retrace == 0:
            hits.trace(networks)
        networks.unmask_frequencies(min(1.0, epoch / max(1.0, config.opened * config.epochs)))
        frozen = epoch < config.renderer_epochs
        networks.geometry.requires_grad_(not frozen)
        for group in optimiser.param_groups:
            group["lr"] = group["start"] * (1 - epoch / config.epochs)
        batches = hits.batches(config.batch, generator)
        sums: dict[str, float] = {}
        for batch in batches:
            terms = step_losses(networks, hits, batch, around, config, generator)
            optimiser.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
            for key, value in terms.items():
                sums[key] = sums.get(key, 0.0) + float(value.detach()) / len(batches)
        for key, total in sums.items():
            curves.setdefault(key, []).append(total)
        step(1, f"colour {sums.get('colour', 0.0):.3f}")
    return curves


def step_losses(
    networks: DetailField,
    hits: Hits,
    batch: Tensor,
    around: DistanceSamples,
    config: DetailConfig,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the weighted loss terms of some pixels."""
    skin = hits.pixels.skin[batch]
    shaping, rest = batch[skin], batch[~skin]
    own = hits.intersect(networks, shaping)
    # Pixels that are not skin train the renderer and do not change the shape.
    with torch.no_grad():
        others = hits.intersect(networks, rest)
    points, normals, features = (torch.cat(both) for both in zip(own, others, strict=True))
    pixels = torch.cat([shaping, rest])
    colours = networks.colour(points, normals, hits.pixels.rays.directions[pixels], features)
    close = around.draw(config.prior_points, generator)
    volume = networks.surface(close.points[: config.eikonal_points])
    return {
        "colour": losses.colour(colours, hits.pixels.colour[pixels]),
        "prior": config.prior * _METRE * losses.distance(networks.sdf(close.points), close.distances),
        "eikonal": config.eikonal * losses.eikonal(volume.gradient),
    }


class Hits:
    """The hits of the pixels' rays on the moving surface."""

    def __init__(self, pixels: FacePixels) -> None:
        self.pixels = pixels
        self.depth = pixels.depth.clone()
        self.hit = torch.ones_like(pixels.skin)

    def trace(self, networks: DetailField) -> None:
        """Find the first hits near the coarse face."""
        span = Span(self.pixels.depth - _REACH, self.pixels.depth + _REACH)
        with torch.no_grad():
            found = sphere_tracer()(networks.sdf, self.pixels.rays, span)
        self.hit = found.hit
        self.depth = torch.where(found.hit, found.depth, self.pixels.depth)

    def intersect(
        self, networks: DetailField, batch: Int[Tensor, "k"]
    ) -> tuple[Float[Tensor, "k 3"], Float[Tensor, "k 3"], Float[Tensor, "k f"]]:
        """Return the hits of some pixels' rays, and the normals and features there.

        The hits advance by the Newton step of the implicit differentiation. Normals and features are those at the point
        before that step and are not differentiated through it: a second evaluation at the returned points would double
        the time.
        """
        rays, near = self.pixels.rays[batch], self.pixels.depth[batch]
        start = rays.at(self.depth[batch])
        at = networks.surface(start)
        points = crossing(start, at, rays.directions)
        depth = ((points.detach() - rays.origins) * rays.directions).sum(1)
        self.depth[batch] = depth.clamp(near - _REACH, near + _REACH)
        return points, at.normals, at.feature

    def batches(self, size: int, generator: torch.Generator) -> list[Tensor]:
        """Return all pixels that hit, shuffled."""
        order = torch.randperm(len(self.pixels), generator=generator).to(self.depth.device)
        return list(order[self.hit[order]].split(size))


def _optimiser(networks: DetailField, config: DetailConfig) -> torch.optim.Adam:
    return torch.optim.Adam(
        [
            {"params": list(part.parameters()), "lr": rate, "start": rate}
            for part, rate in ((networks.geometry, config.geometry_rate), (networks.renderer, config.renderer_rate))
        ]
    )
