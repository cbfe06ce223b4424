"""Ray tracing during a fit, whose head changes from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from protome.field.field import SdfFn
from protome.field.grid import SdfGrid
from protome.geometry.camera import Rays
from protome.render.cache import SdfCache
from protome.render.grid import grid_tracer
from protome.render.idr import idr_tracer
from protome.render.trace import Trace, Tracer, box_span, parallel_tracer, sphere_tracer
from protome.units import UNIT_MM


@dataclass(frozen=True)
class TracingConfig:
    """The tracer and its accelerations."""

    tracer: Literal["grid", "sphere", "parallel", "idr"] = "grid"
    """grid: guided by a grid of the head as it was a few steps ago; sphere: sphere tracing; parallel: the paper's equal
    samples; idr: sphere tracing from both ends of each ray."""
    grid_mm: float = 12.0
    """Spacing of the grid."""
    renew: int = 10
    """Steps after which the grid is sampled again."""
    baked_mm: float = 3.0
    """Spacing of a grid that replaces the frozen reference while tracing; 0: the network is evaluated."""
    cache: bool = False
    """Whether distances are stored in the paper's dynamic cache."""
    half: bool = False
    """Whether products between hidden layers are in half precision (float16) while rays are traced, on a CUDA device.

    Without effect on a processor: there it is not faster, or, in bfloat16, too coarse for sphere tracing to converge.
    """


class HeadTracer:
    """Traces rays to a head over the steps of a fit."""

    def __init__(self, config: TracingConfig, bounds: Float[Tensor, "2 3"], generator: torch.Generator) -> None:
        self.config, self.bounds = config, bounds
        self.cache = SdfCache(bounds, generator) if config.cache else None
        self.steps = 0
        self.queries = 0
        """Points at which the field was evaluated so far."""
        self.tracer: Tracer = sphere_tracer()
        if config.tracer == "parallel":
            self.tracer = parallel_tracer()
        elif config.tracer == "idr":
            self.tracer = idr_tracer()

    def __call__(self, sdf: SdfFn, rays: Rays) -> Trace:
        """Trace the rays of one step, without gradients."""
        config = self.config

        def counted(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
            self.queries += len(points)
            return sdf(points)

        rays = Rays(rays.origins.detach(), rays.directions.detach())
        half = config.half and rays.origins.is_cuda
        with torch.no_grad(), torch.autocast("cuda", torch.float16, enabled=half):
            if config.tracer == "grid" and self.steps % config.renew == 0:
                self.tracer = grid_tracer(SdfGrid.of(counted, self.bounds, config.grid_mm / UNIT_MM))
            self.steps += 1
            search = counted if self.cache is None else self.cache.wrap(counted)
            return self.tracer(search, rays, box_span(rays, self.bounds))
