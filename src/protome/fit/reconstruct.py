"""Few-shot reconstruction: latents first, then the deformation and the renderer; the reference stays frozen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protome import losses
from protome.encoder.encoder import LatentEstimate
from protome.field.field import Field
from protome.field.grid import SdfGrid
from protome.field.head import HeadField
from protome.fit.appearance import MOST_PIXELS, fit_colours
from protome.fit.cameras import CameraCorrections
from protome.fit.clock import Budget, Clock
from protome.fit.exposure import Exposure
from protome.fit.landmarks import LandmarkRays
from protome.fit.latents import LatentBasis
from protome.fit.photo_consistency import PhotoStack, Viewpoints, compare_patches
from protome.fit.placement import Placement
from protome.fit.rays import PixelTable, pixel_table
from protome.fit.schedule import background_share, mask_sharpness, rate_factor
from protome.fit.tracing import HeadTracer, TracingConfig
from protome.geometry.camera import Camera, Rays
from protome.geometry.transforms import Similarity
from protome.prior.prior import HeadLatents, Prior, save_head
from protome.render.surface import hit_points
from protome.scene import Scene
from protome.units import UNIT_MM
from protome.util.progress import progress

_FAR = 16.0
"""Sharpness times distance from which on a passed background ray is left out: its loss is below e^-16."""
_BESIDE = 40.0 / UNIT_MM
"""How far sideways, forwards and backwards a fitted head may leave the volume in which the prior learned."""
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
    """Steps that also move the deformation and the renderer, with three photos."""
    single_steps: int = 100
    """The same with one photo: more of them bend the face to explain its shading."""
    many_steps: int = 1500
    """The same with eight photos, each of which is looked at more seldom."""
    most_steps: int = 5000
    """The same with 32 photos and more."""
    colour_steps: int = 300
    """Steps that then move the renderer alone."""
    renderer_first: bool = False
    """The renderer moves from the first step on: its prior knows no colours."""
    refine_cameras: bool = False
    """Whether each view's rotation, position and focal length move too."""
    match_exposures: bool = True
    """Whether each of several photos has gains of its own."""
    latent_rate: float = 0.05
    """In standard deviations of the prior's latents per step."""
    placement_rate: float = 1e-3
    deformation_rate: float = 2e-4
    """Learning rate of the deformation's network, with three photos and more."""
    single_deformation_rate: float = 1e-4
    """The same with one photo."""
    renderer_rate: float = 5e-4
    nuisance_rate: float = 0.02
    """Of cameras and exposures, in their standard deviations per step."""
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
    estimated_latent: float = 0.1
    """The same where an encoder guesses the latents from one photo: in what it misses them by, from its guess on."""
    shared_estimate: float = 0.02
    """The same where it guesses them from several."""
    landmark: float = 0.0
    """Weight of the landmarks' distances at the start; it falls to nothing within `landmarks_end` of the run."""
    landmarks_end: float = 0.25
    nuisance: float = 1e-2
    """The same of cameras' and exposures' corrections."""
    consistency: float = 0.0
    """Weight of what several posed photos disagree about in patches of the surface (ours; 0 for none)."""
    consistency_size: int = 512
    """Longer side, in pixels, of the window around the head in which patches are compared."""
    patches: int = 192
    """Patches per step."""


FIT_PRESETS = {
    "draft": FitConfig(
        size=128, rays=384, latent_steps=60, network_steps=90, single_steps=30, many_steps=300, most_steps=750,
        colour_steps=120,
    ),
    "standard": FitConfig(),
    "fine": FitConfig(
        size=384, rays=1536, latent_steps=250, network_steps=1200, single_steps=250, many_steps=4000,
        most_steps=10_000, colour_steps=1200,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class FitResult:
    """A fitted head."""

    field: HeadField
    """The prior's field with its deformation and renderer adapted to this head."""
    latents: HeadLatents
    bounds: Float[Tensor, "2 3"]
    """Lower and upper corner of the space that holds it, inner units."""
    head_from_world: tuple[Similarity, ...]
    """Where the head is: one map for a posed scene, one for each photo otherwise."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """Each loss term at each step."""
    queries: int = 0
    """Points asked of the networks to find the surface."""
    cameras: tuple[Camera, ...] | None = None
    """The views' cameras as refined, in the scene's world frame; None where they were taken as given."""
    gains: Float[Tensor, "v 3"] | None = None
    """How much brighter each photo shows each colour than the photos' mean; None where that was not asked."""

    def bind(self) -> Field:
        """Return the head as a field."""
        return self.field.bind(self.latents.z_shape, self.latents.z_appearance)

    def to(self, device: str) -> FitResult:
        """Return it on a device; this one stays where it is."""
        return FitResult(
            self.field.on(device),
            HeadLatents(self.latents.z_shape.to(device), self.latents.z_appearance.to(device)),
            self.bounds.to(device),
            tuple(place.to(device) for place in self.head_from_world),
            self.curves,
            self.queries,
            self.cameras,
            self.gains,
        )

    def save(self, path: Path) -> None:
        """Write the latents, the adapted weights and the placement as safetensors."""
        save_head(path, self.field, self.latents, self.bounds, [place.matrix() for place in self.head_from_world])


@dataclass
class _Fit:
    """Everything a step reads and moves."""

    head: HeadField
    shape: LatentBasis
    appearance: LatentBasis
    placement: Placement
    cameras: CameraCorrections | None
    exposure: Exposure | None
    landmarks: LandmarkRays | None
    photos: PhotoStack | None
    """What patches are compared in; None where they are not."""
    bounds: Tensor
    tracer: HeadTracer
    config: FitConfig
    deformation_rate: float
    """For this number of photos."""
    latent_weight: float
    """Of the mean squared latents, which count from where they are guessed to be."""
    baked: SdfGrid | None = None
    """The reference's distances on a grid."""
    networks_move: bool = False
    """Whether the second phase has begun."""
    done: float = 0.0
    """Share of the run."""

    def bind(self) -> Field:
        return self.head.bind(self.shape.latent(), self.appearance.latent(), self.baked)

    def rays(self, batch: PixelTable | LandmarkRays | PhotoStack) -> Rays:
        """Return the rays of pixels or cameras, in the head frame as the fit now sees it."""
        rays = batch.rays if self.cameras is None else self.cameras.move(batch.rays, batch.view)
        return self.placement.move(rays, batch.view)

    def viewpoints(self, photos: PhotoStack) -> Viewpoints:
        """Return where the photos' cameras are, in the head frame as the fit now sees it."""
        return photos.seen_from(
            self.rays(photos), photos.K if self.cameras is None else self.cameras.intrinsics(photos.K)
        )

    def landmark_weight(self) -> float:
        """Return the weight of the landmarks at this moment."""
        return self.config.landmark * max(0.0, 1 - self.done / self.config.landmarks_end)


def step_losses(fit: _Fit, batch: PixelTable, sharpness: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the weighted loss terms of one batch of rays (SIRA++, section 3.3)."""
    config, rays, count = fit.config, fit.rays(batch), len(batch)
    now = fit.bind()
    trace = fit.tracer(now.search, rays)
    usable = ~trace.started_inside
    seen = trace.hit & (batch.mask > 0.5) & usable
    points = hit_points(now.surface, rays[seen], trace.depth[seen])
    more = [_eikonal_points(fit, points.detach(), generator)] if fit.networks_move else []
    everywhere = now.surface(torch.cat([points, *more]))
    at, around = everywhere[: len(points)], everywhere[len(points) :]
    colours = now.colour(points, at.normals, rays.directions[seen], at.feature)
    if fit.exposure is not None:
        colours = fit.exposure.seen(colours, batch.view[seen])
    explained = (batch.mask < 0.5) & (sharpness * trace.lowest > _FAR)
    rest = ~seen & batch.decided & usable & ~explained
    lowest = now.sdf(rays[rest].at(trace.depth[rest]))
    terms = {
        "colour": losses.photometric(colours, batch.colour[seen], count),
        "mask": config.mask * losses.silhouette(lowest, batch.mask[rest] > 0.5, sharpness, count),
        "latent": fit.latent_weight
        * (fit.shape.coefficients.square().mean() + fit.appearance.coefficients.square().mean()),
    }
    if fit.photos is not None:
        few = slice(config.patches)
        compared = compare_patches(
            fit.photos, fit.viewpoints(fit.photos), batch.view[seen][few], points[few], at.normals[few], generator
        )
        found = losses.consistency(compared.correlation, compared.asked, config.patches)
        terms["consistency"] = config.consistency * found
    if fit.landmarks is not None and fit.landmark_weight() > 0:
        terms["landmark"] = fit.landmark_weight() * fit.landmarks.loss(now, fit.rays(fit.landmarks))
    for name, corrections in (("cameras", fit.cameras), ("exposure", fit.exposure)):
        if corrections is not None:
            terms[name] = config.nuisance * corrections.penalty()
    if fit.networks_move:
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


def new_fit(
    scene: Scene,
    prior: Prior,
    config: FitConfig,
    *,
    shared_frame: bool,
    seed: int = 0,
    estimate: LatentEstimate | None = None,
) -> _Fit:
    """Return the state that a fit starts from: the mean head, or the guessed one, where the scene says that it is."""
    torch.manual_seed(seed)
    device = prior.bounds.device
    head = prior.field.with_finer_colour(config.renderer_frequencies).requires_grad_(False)
    views = len(scene.views)
    return _Fit(
        head,
        LatentBasis(prior.shape if estimate is None else estimate.shape).to(device),
        LatentBasis(prior.appearance if estimate is None else estimate.appearance).to(device),
        _placement(scene, head, shared_frame).to(device),
        CameraCorrections(scene.views, scene.head_from_world).to(device) if config.refine_cameras else None,
        Exposure(views).to(device) if config.match_exposures and views > 1 else None,
        LandmarkRays.of(scene, prior) if config.landmark else None,
        _photos(scene, prior, config, shared_frame),
        prior.bounds,
        HeadTracer(config.tracing, prior.bounds, torch.Generator().manual_seed(seed)),
        config,
        deformation_rate(config, views),
        latent_weight(config, views, estimate),
        _baked(prior, config.tracing),
    )


def _photos(scene: Scene, prior: Prior, config: FitConfig, shared_frame: bool) -> PhotoStack | None:
    if not (config.consistency and shared_frame and len(scene.views) > 1):
        return None
    return PhotoStack.of(scene, prior.bounds.cpu(), config.consistency_size).to(prior.bounds.device)


def _baked(prior: Prior, tracing: TracingConfig) -> SdfGrid | None:
    # The fit's own copy of the field has the same reference; the prior's outlives the fit.
    return prior.field.baked_reference(prior.bounds, tracing.baked_mm / UNIT_MM) if tracing.baked_mm else None


def _placement(scene: Scene, head: HeadField, shared_frame: bool) -> Placement:
    views = len(scene.views)
    if views > 1:
        return Placement(1 if shared_frame else views, head.centre)
    camera = scene.views[0].camera.transformed(scene.head_from_world)
    ahead = torch.nn.functional.normalize(camera.T_world_camera[:3, 2], dim=0).to(head.centre)
    return Placement(1, head.centre, ahead)


def shape_steps(config: FitConfig, views: int) -> int:
    """Return how many steps move the networks, for a number of photos."""
    steps = (config.single_steps, config.network_steps, config.many_steps, config.most_steps)
    return round(np.interp(views, (1, 3, 8, 32), steps))


def deformation_rate(config: FitConfig, views: int) -> float:
    """Return the learning rate of the deformation's network, for a number of photos."""
    return float(np.interp(views, (1, 3), (config.single_deformation_rate, config.deformation_rate)))


def latent_weight(config: FitConfig, views: int, estimate: LatentEstimate | None) -> float:
    """Return the weight of the mean squared latents."""
    if estimate is None:
        return config.latent
    return config.estimated_latent if views == 1 else config.shared_estimate


@dataclass(frozen=True)
class _Plan:
    """How a fit's budget is shared out."""

    steps: int
    """Of the phases that move the shape."""
    colour_steps: int
    latents: float
    """Share of `steps` in which the latents alone move."""
    shape: float
    """Share of the time that goes into `steps`."""
    seconds: float | None

    @staticmethod
    def of(config: FitConfig, views: int, budget: Budget) -> _Plan:
        """Return the configuration's own plan, scaled to a budget."""
        steps, colours = config.latent_steps + shape_steps(config, views), config.colour_steps
        total = steps + colours / COLOUR_STEP
        scale = 1.0 if budget.steps is None else budget.steps / total
        return _Plan(
            round(scale * steps), round(scale * colours), config.latent_steps / max(1, steps), steps / max(total, 1),
            budget.seconds,
        )  # fmt: skip

    def clock(self) -> Clock:
        """Start the clock of the shape's phases."""
        return Clock(self.steps, None if self.seconds is None else self.seconds * self.shape)

    def colour_clock(self) -> Clock:
        """Start the clock of the colours' phase."""
        return Clock(self.colour_steps, None if self.seconds is None else self.seconds * (1 - self.shape))


def fit_head(
    scene: Scene,
    prior: Prior,
    config: FitConfig,
    *,
    shared_frame: bool,
    seed: int = 0,
    budget: Budget | None = None,
    estimate: LatentEstimate | None = None,
    quiet: bool = False,
) -> FitResult:
    """Fit a prior to a scene.

    `shared_frame` says that the views' cameras are known in one frame (a posed scene): then one correction moves the
    head in that frame. Otherwise each photo has its own. The schedule is made of shares of the run, so that a budget
    scales all of it; one in seconds is not reproducible from the seed. With a `guess` the fit starts from it, and is
    held to it as far as it is sure.
    """
    device = prior.bounds.device
    generator = torch.Generator().manual_seed(seed)
    if estimate is not None:
        scene = estimate.placed(scene)
    fit = new_fit(scene, prior, config, shared_frame=shared_frame, seed=seed, estimate=estimate)
    table = pixel_table(scene, prior.bounds.cpu(), config.size).to(device)
    curves: dict[str, list[float]] = {}
    plan = _Plan.of(config, len(scene.views), budget or Budget())
    with progress("fitting", 1.0, quiet=quiet) as step:
        clock, number, optimiser = plan.clock(), 0, None
        done = clock.done(number)
        while done < 1:
            moves = done >= plan.latents
            if optimiser is None or moves != fit.networks_move:
                fit.networks_move = moves
                optimiser = _optimiser(fit)
            for group in optimiser.param_groups:
                group["lr"] = group["start"] * rate_factor(done)
            batch = table.draw(config.rays, generator, background_share(done, config.drop_background))
            fit.done = done
            terms = step_losses(fit, batch, mask_sharpness(done), generator)
            optimiser.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
            for key, value in terms.items():
                curves.setdefault(key, []).append(float(value.detach()))
            number += 1
            before, done = done, clock.done(number)
            step(plan.shape * (done - before), f"colour {curves['colour'][-1]:.3f}  mask {curves['mask'][-1]:.3f}")
        latents = HeadLatents(fit.shape.latent().detach(), fit.appearance.latent().detach())
        fit.head.requires_grad_(False)
        if plan.colour_steps:
            curves["colour alone"] = fit_colours(
                fit.head, latents, fit.tracer, _as_seen(fit, table, generator), rays=config.rays,
                rate=config.renderer_rate, clock=plan.colour_clock(), generator=generator,
                step=lambda share, detail: step((1 - plan.shape) * share, detail),
            )  # fmt: skip
    return _result(fit, scene, latents, curves)


def _as_seen(fit: _Fit, table: PixelTable, generator: torch.Generator) -> PixelTable:
    """Return many pixels with their rays where the fit has moved them and the head's own colours in them."""
    drawn = table.draw(min(MOST_PIXELS, 4 * len(table)), generator)
    with torch.no_grad():
        colour = drawn.colour if fit.exposure is None else drawn.colour / fit.exposure.gains()[drawn.view]
        return replace(drawn, rays=fit.rays(drawn), colour=colour)


def _result(fit: _Fit, scene: Scene, latents: HeadLatents, curves: dict[str, list[float]]) -> FitResult:
    world_from_head = scene.head_from_world.inverse()
    cameras = None
    with torch.no_grad():
        frames = range(len(fit.placement.rotation))
        placed = [fit.placement.frame(k).compose(scene.head_from_world.to(fit.bounds.device)) for k in frames]
        if fit.cameras is not None:
            given = [view.camera.transformed(scene.head_from_world) for view in scene.views]
            moved = [fit.cameras.corrected(k, camera) for k, camera in enumerate(given)]
            cameras = tuple(camera.transformed(world_from_head) for camera in moved)
        gains = None if fit.exposure is None else fit.exposure.gains()
    return FitResult(
        fit.head.requires_grad_(False), latents, padded_bounds(fit.bounds), tuple(place.detach() for place in placed),
        curves, fit.tracer.queries, cameras, gains,
    )  # fmt: skip


def padded_bounds(bounds: Float[Tensor, "2 3"]) -> Float[Tensor, "2 3"]:
    """Return the space that a fitted head may fill: photos move shoulders out of the prior's volume, not the cut below.

    A fit scales the head and turns it by its face, and what hangs beside the face goes where it must. Cut at the sides
    of the prior's volume, the benchmark's heads lacked up to 18 mm of their arms.
    """
    beside = bounds.new_tensor([_BESIDE, 0.0, _BESIDE])
    return torch.stack([bounds[0] - beside, bounds[1] + beside])


def _optimiser(fit: _Fit) -> torch.optim.Adam:
    """Return a fresh optimiser of all that moves in the current phase."""
    config, head = fit.config, fit.head
    moved = [([fit.shape.coefficients, fit.appearance.coefficients], config.latent_rate)]
    moved.append((list(fit.placement.parameters()), config.placement_rate))
    for corrections in (fit.cameras, fit.exposure):
        if corrections is not None:
            moved.append((list(corrections.parameters()), config.nuisance_rate))
    if fit.networks_move:
        moved.append((list(head.shape_network.parameters()), fit.deformation_rate))
    if fit.networks_move or config.renderer_first:
        moved.append((list(head.renderer.parameters()), config.renderer_rate))
    for values, _ in moved:
        for value in values:
            value.requires_grad_(True)
    return torch.optim.Adam([{"params": values, "start": rate} for values, rate in moved], fused=True)
