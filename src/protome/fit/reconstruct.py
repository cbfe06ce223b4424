"""Few-shot reconstruction: latents first, then the deformation and the renderer; the reference stays frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from protome.field.field import Field
from protome.field.head import HeadField
from protome.fit import losses
from protome.fit.colours import fit_colours
from protome.fit.latents import LatentBasis
from protome.fit.pixels import PixelTable, pixel_table
from protome.fit.placement import Placement
from protome.fit.schedule import background_share, mask_sharpness, rate_factor
from protome.fit.tracing import HeadTracer, TracingConfig
from protome.geometry.transforms import Similarity
from protome.prior import HeadCode, Prior, save_head
from protome.progress import progress
from protome.render.surface import hit_points
from protome.scene import Scene

_FAR = 16.0
"""Sharpness times distance from which on a passed background ray is left out: its loss is below e^-16."""
COLOUR_STEP = 8
"""How many steps of the renderer alone take about as long as one that moves everything."""


@dataclass(frozen=True)
class FitConfig:
    """One fit. Weights are those of IDR and SIRA++ unless a comment says otherwise."""

    size: int = 256
    """Longer side, in pixels, of the window around the head."""
    rays: int = 768
    """Rays per step, drawn from all views."""
    latent_steps: int = 150
    """Steps that move only the latents (and the placement)."""
    network_steps: int = 450
    """Steps that also move the deformation and the renderer, from three photos on."""
    single_steps: int = 100
    """The same with one photo: more of them bend the face to explain its shading."""
    colour_steps: int = 300
    """Steps that then move the renderer alone."""
    latent_rate: float = 0.05
    """In standard deviations of the prior's latents per step."""
    placement_rate: float = 1e-3
    deformation_rate: float = 1e-4
    renderer_rate: float = 5e-4
    renderer_frequencies: int = 8
    """Frequencies of the reference point that the adapted renderer sees; the prior's has fewer."""
    tracing: TracingConfig = field(default_factory=TracingConfig)
    mask: float = 100.0
    eikonal: float = 0.1
    eikonal_points: int = 128
    """Points all over the volume, and as many near the surface, while the networks move."""
    drop_background: float = 0.0
    """Share of the background's rays that is left out from each of four marks on (SIRA++, selective sampling)."""
    latent: float = 1e-2
    """Weight of the mean squared latent in standard deviations (ours: one view leaves most of them open)."""


FIT_PRESETS = {
    "draft": FitConfig(size=128, rays=384, latent_steps=60, network_steps=90, single_steps=30, colour_steps=120),
    "standard": FitConfig(),
    "fine": FitConfig(size=384, rays=1536, latent_steps=250, network_steps=1200, single_steps=250, colour_steps=1200),
}


@dataclass(frozen=True)
class FitResult:
    """A fitted head."""

    field: HeadField
    """The prior's field with its deformation and renderer adapted to this head."""
    code: HeadCode
    bounds: Float[Tensor, "2 3"]
    """Lower and upper corner of the modelled volume, inner units."""
    head_from_world: tuple[Similarity, ...]
    """Where the head is: one map for a posed scene, one for each photo otherwise."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """Each loss term at each step."""
    queries: int = 0
    """Points asked of the networks to find the surface."""

    def bind(self) -> Field:
        """Return the head as a field."""
        return self.field.bind(self.code.shape, self.code.appearance)

    def to(self, device: str) -> FitResult:
        """Move to a device."""
        return FitResult(
            self.field.to(device),
            HeadCode(self.code.shape.to(device), self.code.appearance.to(device)),
            self.bounds.to(device),
            tuple(place.to(device) for place in self.head_from_world),
            self.curves,
            self.queries,
        )

    def save(self, path: Path) -> None:
        """Write the latents, the adapted weights and the placement as safetensors."""
        save_head(path, self.field, self.code, self.bounds, [place.matrix() for place in self.head_from_world])


@dataclass
class _Fit:
    """Everything a step reads and moves."""

    head: HeadField
    shape: LatentBasis
    appearance: LatentBasis
    placement: Placement
    bounds: Tensor
    tracer: HeadTracer
    config: FitConfig
    networks_move: bool = False
    """Whether the second phase has begun."""

    def bind(self) -> Field:
        return self.head.bind(self.shape.code(), self.appearance.code())


def step_losses(fit: _Fit, batch: PixelTable, sharpness: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the weighted loss terms of one batch of rays (SIRA++, section 3.3)."""
    config, rays, count = fit.config, fit.placement.move(batch.rays, batch.view), len(batch)
    now = fit.bind()
    trace = fit.tracer(now.sdf, rays)
    usable = ~trace.started_inside
    seen = trace.hit & (batch.mask > 0.5) & usable
    points = hit_points(now.surface, rays[seen], trace.depth[seen])
    at = now.surface(points)
    colours = now.colour(points, at.normals, rays.directions[seen], at.feature)
    explained = (batch.mask < 0.5) & (sharpness * trace.lowest > _FAR)
    rest = ~seen & batch.decided & usable & ~explained
    lowest = now.sdf(rays[rest].at(trace.depth[rest]))
    terms = {
        "colour": losses.photometric(colours, batch.colour[seen], count),
        "mask": config.mask * losses.silhouette(lowest, batch.mask[rest], sharpness, count),
        "latent": config.latent * (fit.shape.amount.square().mean() + fit.appearance.amount.square().mean()),
    }
    if fit.networks_move:
        around = now.surface(_eikonal_points(fit, points.detach(), generator))
        terms["eikonal"] = config.eikonal * losses.eikonal(around.gradient)
    return terms


def _eikonal_points(fit: _Fit, surface: Float[Tensor, "k 3"], generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """Return points of which half lie anywhere in the volume and half within millimetres of the surface."""
    count, bounds = fit.config.eikonal_points, fit.bounds
    anywhere = bounds[0] + torch.rand(count, 3, generator=generator).to(bounds) * (bounds[1] - bounds[0])
    if len(surface) == 0:
        return anywhere
    chosen = torch.randint(len(surface), (count,), generator=generator).to(surface.device)
    return torch.cat([anywhere, surface[chosen] + 0.02 * torch.randn(count, 3, generator=generator).to(surface)])


def new_fit(scene: Scene, prior: Prior, config: FitConfig, *, shared_frame: bool, seed: int = 0) -> _Fit:
    """Return the state that a fit starts from: the mean head where the scene says that the head is."""
    torch.manual_seed(seed)
    device = prior.bounds.device
    head = prior.field.with_finer_colour(config.renderer_frequencies).requires_grad_(False)
    frames = 1 if shared_frame else len(scene.views)
    return _Fit(
        head,
        LatentBasis(prior.shape).to(device),
        LatentBasis(prior.appearance).to(device),
        Placement(frames, head.centre, shared_frame and len(scene.views) > 1).to(device),
        prior.bounds,
        HeadTracer(config.tracing, prior.bounds, torch.Generator().manual_seed(seed)),
        config,
    )


def shape_steps(config: FitConfig, views: int) -> int:
    """Return how many steps move the networks, for a number of photos."""
    share = min(1.0, (views - 1) / 2)
    return round(config.single_steps + share * (config.network_steps - config.single_steps))


def fit_head(
    scene: Scene, prior: Prior, config: FitConfig, *, shared_frame: bool, seed: int = 0, quiet: bool = False
) -> FitResult:
    """Fit a prior to a scene.

    `shared_frame` says that the views' cameras are known in one frame (a posed scene): then one correction
    moves the head in that frame, with its scale from two views up. Otherwise each photo has its own.
    """
    device = prior.bounds.device
    generator = torch.Generator().manual_seed(seed)
    fit = new_fit(scene, prior, config, shared_frame=shared_frame, seed=seed)
    frames = len(fit.placement.rotation)
    table = pixel_table(scene, prior.bounds.cpu(), config.size).to(device)
    curves: dict[str, list[float]] = {}
    total = config.latent_steps + shape_steps(config, len(scene.views))
    with progress("fitting", total + config.colour_steps / COLOUR_STEP, quiet=quiet) as step:
        for number in range(total):
            if number == 0:
                optimiser = _latent_optimiser(fit)
            if number == config.latent_steps:
                optimiser = _network_optimiser(fit)
                fit.networks_move = True
            for group in optimiser.param_groups:
                group["lr"] = group["start"] * rate_factor(number / total)
            batch = table.draw(config.rays, generator, background_share(number / total, config.drop_background))
            terms = step_losses(fit, batch, mask_sharpness(number / total), generator)
            optimiser.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
            for key, value in terms.items():
                curves.setdefault(key, []).append(float(value.detach()))
            step(1, f"colour {curves['colour'][-1]:.3f}  mask {curves['mask'][-1]:.3f}")
        code = HeadCode(fit.shape.code().detach(), fit.appearance.code().detach())
        fit.head.requires_grad_(False)
        if config.colour_steps:
            curves["colour alone"] = fit_colours(
                fit.head, code, fit.placement, fit.tracer, table,
                steps=config.colour_steps, rays=config.rays, rate=config.renderer_rate, generator=generator,
                step=lambda amount=1, detail="": step(amount / COLOUR_STEP, detail),
            )  # fmt: skip
    with torch.no_grad():
        placed = [fit.placement.frame(k).compose(scene.head_from_world.to(device)) for k in range(frames)]
    return FitResult(
        fit.head.requires_grad_(False), code, prior.bounds, tuple(place.detach() for place in placed), curves,
        fit.tracer.queries,
    )  # fmt: skip


def _groups(fit: _Fit) -> list[dict[str, object]]:
    placed = [value for value in fit.placement.parameters() if value.requires_grad]
    return [
        {"params": [fit.shape.amount, fit.appearance.amount], "start": fit.config.latent_rate},
        {"params": placed, "start": fit.config.placement_rate},
    ]


def _latent_optimiser(fit: _Fit) -> torch.optim.Adam:
    return torch.optim.Adam(_groups(fit))


def _network_optimiser(fit: _Fit) -> torch.optim.Adam:
    networks = ((fit.head.shape_network, fit.config.deformation_rate), (fit.head.renderer, fit.config.renderer_rate))
    groups = _groups(fit)
    for network, rate in networks:
        network.requires_grad_(True)
        groups.append({"params": list(network.parameters()), "start": rate})
    return torch.optim.Adam(groups)
