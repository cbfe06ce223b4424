"""SIDER's second stage: what a coarse face lacks, found from the shading in one photo."""

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
from protome.sider.coarse import Around, CoarseConfig, fit_coarse
from protome.sider.field import DetailField, DetailFieldConfig
from protome.units import UNIT_MM
from protome.util.device import seeded
from protome.util.progress import Step, progress

_REACH = 10.0 / UNIT_MM
"""How far before and behind the coarse face the detailed one is looked for."""
_METRE = UNIT_MM / 1000.0
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class DetailConfig:
    """One fit."""

    networks: DetailFieldConfig = field(default_factory=DetailFieldConfig)
    coarse: CoarseConfig = field(default_factory=CoarseConfig)
    starts: int = 2
    """Fits whose mean is the face (the paper: 1)."""
    epochs: int = 120
    """Times that every pixel is looked at (the paper: 200 to 300)."""
    renderer_epochs: int = 3
    """The first of them, in which the renderer alone moves."""
    opened: float = 0.4
    """Share of the run after which the finest waves are fully let in."""
    batch: int = 1024
    """Pixels of a step."""
    geometry_rate: float = 1e-4
    """At the start, as the renderer's; both fall to zero in straight lines. Faster, noise becomes pores."""
    renderer_rate: float = 2e-3
    prior: float = 20.0
    """Weight of |f - SDF| in metres (the paper's lambda 1 is 1e2 of a unit that is not told)."""
    prior_points: int = 512
    """Points around the face in each step."""
    eikonal: float = 1e-4
    """Weight of the eikonal term (lambda 2)."""
    eikonal_points: int = 64
    """Those of the points around the face that it is computed for."""
    retrace: int = 5
    """Epochs after which all rays are traced anew; in between hits follow the surface by Newton's steps."""


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
    """Whether they tell about the shape: eyes, brows, teeth and hair only teach the renderer."""

    def __len__(self) -> int:
        return len(self.depth)

    def to(self, device: torch.device) -> FacePixels:
        """Move to a device."""
        return FacePixels(self.rays.to(device), self.colour.to(device), self.depth.to(device), self.skin.to(device))


@dataclass(frozen=True)
class DetailFit:
    """A detailed face: the mean of several fits that started differently."""

    fields: tuple[DetailField, ...]
    coarse_error_mm: float
    """Mean distance by which the networks missed the coarse face at the end of the first stage."""
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
    """Learn a coarse face (an open mesh in inner units), then what the pixels show beyond it (SIDER, equation 10).

    Shading leaves heights open, and each start fills them in otherwise; the mean of several is nearer to the truth.
    On a processor they are fitted side by side.
    """
    started = time.perf_counter()
    device = pixels.depth.device
    middle = torch.from_numpy(face.bounds.sum(0) / 2).float()
    with seeded(seed):
        fields = [DetailField(config.networks, middle).to(device) for _ in range(config.starts)]
    generators = [torch.Generator().manual_seed(seed + start) for start in range(config.starts)]
    around = Around.of(face, config.coarse, seed).to(device)
    with progress("coarse face", config.starts * config.coarse.steps, quiet=quiet) as step:
        coarse = partial(fit_coarse, around=around, config=config.coarse)
        missed = _side_by_side(coarse, fields, generators, step, device)
    learned = time.perf_counter()
    with progress("detail", config.starts * config.epochs, quiet=quiet) as step:
        shading = partial(_fit_shading, pixels=pixels, around=around.near(), config=config)
        curves = _side_by_side(shading, fields, generators, step, device)
    seconds = {"coarse distances": learned - started, "detail": time.perf_counter() - learned}
    # A fit whose rays all miss for an epoch has no losses to tell of there.
    alike = {key: zip(*(one.get(key, []) for one in curves), strict=False) for key in curves[0]}
    mean = {key: [fmean(values) for values in columns] for key, columns in alike.items()}
    return DetailFit(tuple(field.requires_grad_(False) for field in fields), fmean(missed) * UNIT_MM, mean, seconds)


def _side_by_side(
    fit: Callable[..., _Result],
    fields: list[DetailField],
    generators: list[torch.Generator],
    step: Step,
    device: torch.device,
) -> list[_Result]:
    """Fit every field, with this process's threads shared among the fits; on a GPU one after the other."""
    threads, ended = torch.get_num_threads(), threading.Event()
    workers = min(len(fields), threads) if device.type == "cpu" else 1

    def watched(amount: float = 1, detail: str = "") -> None:
        # After an error, or Ctrl-C, no fit goes on in the background.
        if ended.is_set():
            raise RuntimeError("stopped, because another fit was")
        step(amount, detail)

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            try:
                return list(pool.map(partial(fit, step=watched), fields, generators))
            finally:
                ended.set()
    finally:
        torch.set_num_threads(threads)


def _fit_shading(
    networks: DetailField,
    generator: torch.Generator,
    pixels: FacePixels,
    around: Around,
    config: DetailConfig,
    step: Step,
) -> dict[str, list[float]]:
    """Minimise |c - c_gt| + lambda 1 |f - SDF| + lambda 2 (|grad f| - 1)^2 over both networks; return the curves."""
    curves: dict[str, list[float]] = {}
    hits, optimiser = Hits(pixels), _optimiser(networks, config)
    for epoch in range(config.epochs):
        if epoch % config.retrace == 0:
            hits.trace(networks)
        networks.show_waves(min(1.0, epoch / max(1.0, config.opened * config.epochs)))
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
    networks: DetailField, hits: Hits, batch: Tensor, around: Around, config: DetailConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the weighted loss terms of some pixels."""
    skin = hits.pixels.skin[batch]
    shaping, rest = batch[skin], batch[~skin]
    own = hits.meet(networks, shaping)
    # What is no skin teaches the renderer, and leaves the shape alone.
    with torch.no_grad():
        others = hits.meet(networks, rest)
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
    """Where each pixel's ray meets the surface, as the surface moves."""

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

    def meet(
        self, networks: DetailField, batch: Int[Tensor, "k"]
    ) -> tuple[Float[Tensor, "k 3"], Float[Tensor, "k 3"], Float[Tensor, "k f"]]:
        """Return where the rays of some pixels meet the surface, and the normals and features there.

        The hits move on by the Newton step that implicit differentiation takes anyway. Normals and features are those
        where the field was asked, at most that step away, and know nothing of it: asking again, at the points that
        are returned, would take twice the time.
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
