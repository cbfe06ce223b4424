"""Few-shot reconstruction: latents first, then the deformation and the renderer; the reference is frozen."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from protome import losses
from protome.encoder.encoder import LatentEstimate
from protome.field.grid import SdfGrid
from protome.field.head import HeadField
from protome.fit.appearance import MOST_PIXELS, fit_colours
from protome.fit.cameras import CameraCorrections, spread_of
from protome.fit.clock import COLOUR_STEP, Budget, Clock
from protome.fit.config import FitConfig, Patches, Weights, by_views
from protome.fit.landmarks import PhotoLandmarks
from protome.fit.latents import FreeLatent, LatentBasis
from protome.fit.light import PhotoLight
from protome.fit.mouth import with_membrane
from protome.fit.photo_consistency import PhotoStack, compare_patches
from protome.fit.photo_heads import PhotoHeads, same_place
from protome.fit.placement import Placement
from protome.fit.rays import PixelTable, pixel_table
from protome.fit.schedule import background_share, mask_sharpness, rate_factor
from protome.fit.tracing import HeadTracer, TracingConfig
from protome.fit.viewpoints import CameraRays, Viewpoints
from protome.geometry.camera import Camera, Rays
from protome.geometry.transforms import Similarity
from protome.prior.prior import FittedHead, HeadLatents, LatentStatistics, Prior, save_head
from protome.render.surface import hit_points
from protome.scene import Scene
from protome.units import UNIT_MM
from protome.util.progress import progress
from protome.util.workers import fewer_threads

_FAR = 16.0
"""Sharpness times distance above which a background ray is left out: its loss is below e^-16."""
_MARGIN = 40.0 / UNIT_MM
"""Margin by which a fitted head may leave the prior's training volume sideways, forwards and backwards."""

WATCH_EVERY_S = 4.0
"""Seconds between two copies of the head for whoever watches a fit."""


@dataclass(frozen=True)
class FitResult:
    """The result of a fit."""

    head: FittedHead
    head_from_world: tuple[Similarity, ...]
    """The head's pose: one map for a posed scene, one for each photo otherwise."""
    curves: dict[str, list[float]] = field(default_factory=dict)
    """Each loss term at each step."""
    queries: int = 0
    """Points at which the networks were evaluated to find the surface."""
    cameras: tuple[Camera, ...] | None = None
    """The views' cameras as refined, in the scene's world frame; None where they were taken as given."""
    gains: Float[Tensor, "v 3"] | None = None
    """Each photo's colour gains relative to the photos' geometric mean; None where they were not fitted."""
    shading: Float[Tensor, "v 8 3"] | None = None
    """Coefficients of the logarithm of each photo's shading (`protome.fit.light`); None where it was not fitted."""
    expressions: Float[Tensor, "v e"] | None = None
    """Each photo's own expression; None where all have the head's, or the prior has none."""

    def to(self, device: str) -> FitResult:
        """Return a copy with the head on a device; this one is not moved."""
        places = tuple(place.to(device) for place in self.head_from_world)
        expressions = None if self.expressions is None else self.expressions.to(device)
        return replace(self, head=self.head.to(device), head_from_world=places, expressions=expressions)

    def save(self, path: Path) -> None:
        """Write the latents, the adapted weights and the placement as safetensors."""
        save_head(path, self.head, [place.matrix() for place in self.head_from_world])


@dataclass
class _Fit:
    """The state that a step reads and optimises."""

    head: HeadField
    shape: LatentBasis | FreeLatent
    appearance: LatentBasis | FreeLatent
    expressions: list[LatentBasis]
    """Coefficients of the prior's expressions: one for all photos, or one for each; none where it has none."""
    placement: Placement
    cameras: CameraCorrections | None
    light: PhotoLight | None
    landmarks: PhotoLandmarks | None
    """Where the photos show the template's landmarks; None where they are no term of the loss."""
    photos: PhotoStack | None
    """The photos in which patches are compared; None without photo-consistency."""
    bounds: Tensor
    tracers: list[HeadTracer]
    """As many as the photos have heads."""
    config: FitConfig
    deformation_rate: float
    """For this number of photos."""
    latent_weight: float
    """Of the mean squared latents, relative to their estimate."""
    baked: SdfGrid | None = None
    """The reference's distances on a grid."""
    networks_move: bool = False
    """Whether the second phase has begun."""

    def bind(self) -> PhotoHeads:
        """Return the heads that the photos show."""
        shape, appearance = self.shape.latent(), self.appearance.latent()
        expressions = self._expressions()
        return PhotoHeads([self.head.bind(shape, appearance, self.baked, own) for own in expressions], self.tracers)

    def latents(self) -> list[HeadLatents]:
        """Return the present latents of the heads that the photos show."""
        shape, appearance = self.shape.latent().detach(), self.appearance.latent().detach()
        return [HeadLatents(shape, appearance, None if own is None else own.detach()) for own in self._expressions()]

    def _expressions(self) -> list[Tensor] | list[None]:
        """Return the expressions of the heads that the photos show."""
        return [own.latent() for own in self.expressions] if self.expressions else [None]

    def described(self) -> list[LatentBasis | FreeLatent]:
        """Return what describes the heads besides their networks."""
        return [self.shape, self.appearance, *self.expressions]

    def latent_penalty(self) -> Tensor:
        """Return the latents' penalty; a coefficient of expression counts as much as one of the shape."""
        moods = [own.penalty() * own.count / self.shape.count for own in self.expressions]
        return torch.stack([self.shape.penalty() + self.appearance.penalty(), *moods]).sum()

    def snapshot(self, shown: int) -> FittedHead:
        """Return a copy of the head as it is now, with a photo's expression, on the processor."""
        latents = self.latents()
        own = latents[shown if len(latents) > 1 else 0]
        head = FittedHead(copy.deepcopy(self.head), own, padded_bounds(self.bounds)).to("cpu")
        head.field.requires_grad_(False)
        return head

    def rays(self, batch: PixelTable | CameraRays) -> Rays:
        """Return the rays of pixels or cameras in the head frame with the current corrections."""
        rays = batch.rays if self.cameras is None else self.cameras.move(batch.rays, batch.view)
        return self.placement.move(rays, batch.view)

    def viewpoints(self, cameras: CameraRays) -> Viewpoints:
        """Return the photos' cameras in the head frame with the current corrections."""
        K = cameras.K if self.cameras is None else self.cameras.intrinsics(cameras.K)
        return cameras.viewpoints(self.rays(cameras), K)

    def camera(self, number: int, camera: Camera) -> Camera:
        """Return a photo's camera in the head frame with the current corrections, on the processor."""
        moved = camera if self.cameras is None else self.cameras.corrected(number, camera)
        frame = self.placement.frame(number if len(self.placement.rotation) > 1 else 0).to("cpu")
        return moved.to(torch.float32).transformed(frame)

    def landmark_loss(self, landmarks: PhotoLandmarks) -> Tensor:
        """Return the loss of the photos' landmarks."""
        shape = self.shape.latent()[None]
        conditions = [
            self.head.shape_condition(shape, None if own is None else own[None]) for own in self._expressions()
        ]
        return landmarks.loss(self.head, conditions, self.viewpoints(landmarks.cameras))


def step_losses(fit: _Fit, batch: PixelTable, sharpness: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the weighted loss terms of one batch P of pixels (SIRA++, section 3.3).

    P_rgb are the pixels on the person whose rays hit the head. P_mask are the others, without those to which the mask
    loss does not apply and without those whose loss vanishes.
    """
    config, weights, rays, count = fit.config, fit.config.weights, fit.rays(batch), len(batch)
    now = fit.bind()
    trace = now.trace(rays, batch.view)
    usable = ~trace.started_inside & ~batch.between_lips
    p_rgb = trace.hit & (batch.mask > 0.5) & usable
    photo = batch.view[p_rgb]
    points = hit_points(lambda own: now.surface(own, photo), rays[p_rgb], trace.depth[p_rgb])
    eikonal = fit.networks_move or weights.eikonal_at_once
    more = [_eikonal_points(fit, points.detach(), generator)] if eikonal else []
    others = [batch.view[torch.arange(len(own), device=photo.device) % count] for own in more]
    everywhere = now.surface(torch.cat([points, *more]), torch.cat([photo, *others]))
    at, around = everywhere[: len(points)], everywhere[len(points) :]
    colours = now.colour(points, at.normals, rays.directions[p_rgb], at.feature, photo)
    if fit.light is not None:
        # The light's coefficients are to follow the surface, not the surface the light's.
        colours = colours * fit.light.factors(at.normals.detach(), photo)
    explained = (batch.mask < 0.5) & (sharpness * trace.lowest > _FAR)
    p_mask = ~p_rgb & batch.decided & usable & ~explained
    lowest = now.sdf(rays[p_mask].at(trace.depth[p_mask]), batch.view[p_mask])
    terms = {
        "colour": losses.photometric(colours, batch.colour[p_rgb], count),
        "mask": weights.mask * losses.silhouette(lowest, batch.mask[p_mask] > 0.5, sharpness, count),
    }
    if fit.latent_weight:
        terms["latent"] = fit.latent_weight * fit.latent_penalty()
    if fit.landmarks is not None:
        terms["landmarks"] = weights.landmarks * fit.landmark_loss(fit.landmarks)
    if fit.photos is not None:
        few = slice(config.patches.count)
        alike = None
        if len(fit.expressions) > 1:
            alike = same_place(fit.head, fit.latents(), points[few].detach(), photo[few])
        compared = compare_patches(
            fit.photos, fit.viewpoints(fit.photos.cameras), photo[few], points[few], at.normals[few], generator, alike
        )
        found = losses.consistency(compared.correlation, compared.valid, config.patches.count)
        terms["consistency"] = config.patches.weight * found
    for name, corrections in (("cameras", fit.cameras), ("light", fit.light)):
        if corrections is not None:
            terms[name] = weights.corrections * corrections.penalty()
    if eikonal:
        terms["eikonal"] = weights.eikonal * losses.eikonal(around.gradient)
    return terms


def _eikonal_points(fit: _Fit, surface: Float[Tensor, "k 3"], generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """Return points, half of them uniform in the volume and half within millimetres of the surface."""
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
    seed: int = 0,
    estimate: LatentEstimate | None = None,
    expressions: Sequence[LatentStatistics] = (),
) -> _Fit:
    """Return the initial state of a fit: the mean head, or the estimated one, at the scene's pose of the head.

    The scene is in the head frame; `expressions` as in `fit_head`.
    """
    device = prior.bounds.device
    head = prior.field.with_finer_colour(config.renderer_frequencies).requires_grad_(False)
    views = len(scene.views)
    together = scene.posed and views > 1
    start = (prior.shape, prior.appearance) if estimate is None else (estimate.shape, estimate.appearance)
    shape, appearance = _latents(start, config.free_latents, torch.Generator().manual_seed(seed))
    if prior.expression is not None and not expressions:
        expressions = (prior.expression,)
    # As many points are asked for the grids of several heads as for one.
    tracing = replace(config.tracing, renew=config.tracing.renew * max(len(expressions), 1))
    return _Fit(
        head,
        shape.to(device),
        appearance.to(device),
        [LatentBasis(own).to(device) for own in expressions],
        _placement(scene, head).to(device),
        CameraCorrections(scene.views, spread_of(scene)).to(device) if config.refine_cameras else None,
        PhotoLight(views, config.match_lights).to(device) if config.match_exposures and views > 1 else None,
        _landmarks(scene, prior, config) if estimate is not None and not together else None,
        _photos(scene, prior, config.patches),
        prior.bounds,
        [
            HeadTracer(tracing, prior.bounds, torch.Generator().manual_seed(seed))
            for _ in range(max(len(expressions), 1))
        ],
        config,
        by_views(config.rates.deformation, views),
        _latent_weight(config.weights, estimate is not None, together, views),
        _baked(prior, config.tracing),
    )


def _latent_weight(weights: Weights, estimated: bool, together: bool, views: int) -> float:
    if not estimated:
        return weights.latents
    return weights.together if together else by_views(weights.estimated, views)


def _latents(
    start: tuple[LatentStatistics, LatentStatistics], free: float | None, generator: torch.Generator
) -> list[LatentBasis] | list[FreeLatent]:
    if free is None:
        return [LatentBasis(own) for own in start]
    return [FreeLatent(len(own.mean), free, generator) for own in start]


def _landmarks(scene: Scene, prior: Prior, config: FitConfig) -> PhotoLandmarks | None:
    """Return the landmarks of the scene's photos, where the prior has expressions: else they would deform the face."""
    if not config.weights.landmarks or prior.expression is None:
        return None
    found = PhotoLandmarks.of(scene, prior.field)
    return None if found is None else found.to(prior.bounds.device)


def _photos(scene: Scene, prior: Prior, patches: Patches) -> PhotoStack | None:
    if not (patches.weight and scene.posed and len(scene.views) > 1):
        return None
    return PhotoStack.of(scene, prior.bounds.cpu(), patches.size).to(prior.bounds.device)


def _baked(prior: Prior, tracing: TracingConfig) -> SdfGrid | None:
    # The fit's own copy of the field has the same reference; the prior's outlives the fit.
    return prior.field.baked_reference(prior.bounds, tracing.baked_mm / UNIT_MM) if tracing.baked_mm else None


def _placement(scene: Scene, head: HeadField) -> Placement:
    views = len(scene.views)
    if views > 1:
        return Placement(1 if scene.posed else views, head.centre)
    camera = scene.views[0].camera
    ahead = torch.nn.functional.normalize(camera.T_world_camera[:3, 2], dim=0).to(head.centre)
    return Placement(1, head.centre, ahead)


@dataclass(frozen=True)
class _Plan:
    """The division of a fit's budget between its phases."""

    steps: int
    """Of the phases that optimise the shape."""
    colour_steps: int
    latents: float
    """Share of `steps` in which only the latents are optimised."""
    shape: float
    """Share of the time that `steps` take."""
    seconds: float | None

    @staticmethod
    def of(config: FitConfig, views: int, budget: Budget) -> _Plan:
        """Return the configuration's plan, scaled to a budget."""
        schedule, colours = config.schedule, config.schedule.colours
        latents = schedule.latent_steps(views)
        steps = latents + schedule.network_steps(views)
        total = steps + colours / COLOUR_STEP
        scale = 1.0 if budget.steps is None else budget.steps / total
        return _Plan(
            round(scale * steps), round(scale * colours), latents / max(1, steps), steps / max(total, 1),
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
    seed: int = 0,
    budget: Budget | None = None,
    estimate: LatentEstimate | None = None,
    expressions: Sequence[LatentStatistics] = (),
    shown: int = 0,
    watch: Callable[[FittedHead], None] | None = None,
    shaped: Callable[[FittedHead], None] | None = None,
    quiet: bool = False,
) -> FitResult:
    """Fit a prior to a scene.

    In a posed scene one correction places the head; otherwise each photo has its own. The schedule is in shares of the
    run, so that a budget scales all of it; with a budget in seconds the result does not follow from the seed. With an
    `estimate` the fit starts from it and is regularised to it by its uncertainty. `expressions` are Gaussians of the
    photos' expressions, one for all of them or one for each; without any, all photos have one that is unknown. The
    result has the expression of photo `shown`. The caller's random state is kept.
    `watch` is given a copy of the head every `WATCH_EVERY_S`, and `shaped` the head itself when only its colours are
    still to change; both must return at once.
    """
    device = prior.bounds.device
    generator = torch.Generator().manual_seed(seed)
    places = [scene.head_from_world] * (1 if scene.posed else len(scene.views))
    if estimate is not None:
        places = [
            own.compose(place.to(torch.float64)) for own, place in zip(estimate.corrections, places, strict=False)
        ]
        scene = estimate.placed(scene)
    head_scene = scene.in_head_frame()
    fit = new_fit(head_scene, prior, config, seed=seed, estimate=estimate, expressions=expressions)
    table = pixel_table(head_scene, prior.bounds.cpu(), config.size, weighed=config.weigh_pixels).to(device)
    curves: dict[str, list[float]] = {}
    plan = _Plan.of(config, len(scene.views), budget or Budget())
    with progress("fitting", 1.0, quiet=quiet) as step:
        clock, number, optimiser, copied = plan.clock(), 0, None, -math.inf
        done = clock.done(number)
        while done < 1:
            moves = done >= plan.latents
            if optimiser is None or moves != fit.networks_move:
                fit.networks_move = moves
                optimiser = _optimiser(fit)
            for group in optimiser.param_groups:
                group["lr"] = group["start"] * rate_factor(done)
            batch = table.draw(config.rays, generator, background_share(done, config.drop_background))
            terms = step_losses(fit, batch, mask_sharpness(done), generator)
            optimiser.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
            for key, value in terms.items():
                curves.setdefault(key, []).append(float(value.detach()))
            number += 1
            before, done = done, clock.done(number)
            step(plan.shape * (done - before), f"colour {curves['colour'][-1]:.3f}  mask {curves['mask'][-1]:.3f}")
            if watch is not None and time.monotonic() - copied >= WATCH_EVERY_S:
                copied = time.monotonic()
                watch(fit.snapshot(shown))
        latents = fit.latents()
        fit.head.requires_grad_(False)
        head = _fitted(fit, head_scene, latents, shown)
        if shaped is not None:
            shaped(head)
        if plan.colour_steps:
            with fewer_threads(shaped is not None):
                curves["colour alone"] = fit_colours(
                    fit.head, latents, shown, fit.tracers, _corrected_pixels(fit, table, generator), fit.light,
                    rays=config.rays, rate=config.rates.renderer, clock=plan.colour_clock(), generator=generator,
                    step=lambda share, detail: step((1 - plan.shape) * share, detail), membrane=head.membrane,
                )  # fmt: skip
    return _result(fit, head, scene, head_scene, places, latents, curves)


def _fitted(fit: _Fit, head_scene: Scene, latents: Sequence[HeadLatents], shown: int) -> FittedHead:
    """Return the head with the expression, and what is between the lips, of photo `shown`."""
    own = shown if len(latents) > 1 else 0
    head = FittedHead(fit.head.requires_grad_(False), latents[own], padded_bounds(fit.bounds))
    if not fit.config.weigh_pixels:
        return head
    alike = [shown] if len(latents) > 1 else range(len(head_scene.views))
    with torch.no_grad():
        cameras = [fit.camera(number, head_scene.views[number].camera) for number in alike]
    return with_membrane(head, [head_scene.views[number] for number in alike], cameras)


def _corrected_pixels(fit: _Fit, table: PixelTable, generator: torch.Generator) -> PixelTable:
    """Return pixels with their rays after the fit's corrections."""
    drawn = table.draw(min(MOST_PIXELS, 4 * len(table)), generator)
    with torch.no_grad():
        return replace(drawn, rays=fit.rays(drawn))


def _result(
    fit: _Fit,
    head: FittedHead,
    scene: Scene,
    head_scene: Scene,
    places: Sequence[Similarity],
    latents: Sequence[HeadLatents],
    curves: dict[str, list[float]],
) -> FitResult:
    """Return the result; `places` map each frame's world, as it was given, to the head frame in which the fit began."""
    world_from_head = scene.head_from_world.inverse()
    cameras = None
    with torch.no_grad():
        begun = [place.to(torch.float32).to(fit.bounds.device) for place in places]
        placed = [fit.placement.frame(number).compose(place) for number, place in enumerate(begun)]
        if fit.cameras is not None:
            moved = [fit.cameras.corrected(k, view.camera) for k, view in enumerate(head_scene.views)]
            cameras = tuple(camera.transformed(world_from_head) for camera in moved)
        gains, shading = (None, None) if fit.light is None else (fit.light.gains(), fit.light.shading())
    expressions = [each.z_expression for each in latents if each.z_expression is not None]
    return FitResult(
        head, tuple(place.detach() for place in placed), curves, sum(tracer.queries for tracer in fit.tracers), cameras,
        gains, shading, torch.stack(expressions) if len(expressions) > 1 else None,
    )  # fmt: skip


def padded_bounds(bounds: Float[Tensor, "2 3"]) -> Float[Tensor, "2 3"]:
    """Return the space that a fitted head may fill: the prior's volume with a margin on all sides but above and below.

    A fit aligns the head by its face, so that shoulders may leave the prior's volume. Cut at the sides of that volume,
    the benchmark's heads lacked up to 18 mm of their arms.
    """
    margin = bounds.new_tensor([_MARGIN, 0.0, _MARGIN])
    return torch.stack([bounds[0] - margin, bounds[1] + margin])


def _optimiser(fit: _Fit) -> torch.optim.Adam:
    """Return a new optimiser of the current phase's parameters."""
    rates, head = fit.config.rates, fit.head
    moved = [([value for latent in fit.described() for value in latent.parameters()], rates.latents)]
    moved.append((list(fit.placement.parameters()), rates.placement))
    for corrections in (fit.cameras, fit.light):
        if corrections is not None:
            moved.append((list(corrections.parameters()), rates.corrections))
    if fit.networks_move:
        moved.append((list(head.shape_network.parameters()), fit.deformation_rate))
    if fit.networks_move or fit.config.schedule.renderer_first:
        moved.append((list(head.renderer.parameters()), rates.renderer))
    moved = [(values, rate) for values, rate in moved if rate > 0]
    for values, _ in moved:
        for value in values:
            value.requires_grad_(True)
    return torch.optim.Adam([{"params": values, "start": rate} for values, rate in moved], fused=True)
