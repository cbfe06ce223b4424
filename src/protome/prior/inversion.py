"""Fitting latents alone to samples of a head in space: how closely the prior can represent that head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from protome.face import NOSE_TIP
from protome.field.field import CHUNK
from protome.geometry.least_squares import Residuals, minimise
from protome.geometry.neighbours import tree_of
from protome.geometry.transforms import Similarity, procrustes, rotation_from_vector
from protome.prior.prior import HeadLatents, Prior
from protome.units import UNIT_MM

FACE = 95.0 / UNIT_MM
"""The face is what lies within this distance of the mean head's nose tip (the rule of H3DS)."""
_SLANT = 0.1
"""Largest offset of a point in space from the normal of its nearest scan point, as a share of its distance."""
COLOUR_WIDTH = 0.02
"""Width of the pseudo-Huber loss on a colour channel."""


@dataclass(frozen=True)
class ShapeSamples:
    """Samples of a head's surface and signed distance, inner units."""

    points: Float[Tensor, "n 3"]
    """On the surface."""
    space: Float[Tensor, "m 3"]
    """Anywhere, near the surface and far from it."""
    distances: Float[Tensor, "m"]
    """Signed distance at `space`, negative inside."""


@dataclass(frozen=True)
class ColourSamples:
    """Colours of a head's surface, inner units."""

    points: Float[Tensor, "n 3"]
    colours: Float[Tensor, "n 3"]
    views: Float[Tensor, "n 3"]
    """Unit view directions, from the camera, of these colours."""


@dataclass(frozen=True)
class InversionConfig:
    """Options of one fit to samples."""

    surface: int = 6000
    """Points on the surface that are drawn from those given."""
    space: int = 3000
    """Points in space."""
    face: float = 0.5
    """Share of the points that are drawn from the face first; by area it would be an eighth."""
    colour: int = 3000
    """Points with colours."""
    widths_mm: tuple[float, ...] = (5.0, 0.5)
    """Widths of the pseudo-Huber loss on distances; one descent after the other."""
    steps: int = 15
    """Steps of each descent at most."""
    space_weight: float = 0.1
    """Weight of the mean |f - s| in space; that of the mean |f| on the surface is 1."""
    pull: float = 1e-5
    """Weight of the mean squared latent in standard deviations, against distances in inner units."""
    colour_pull: float = 3e-4
    """The same against colours."""
    expression: bool = True
    """Whether the coefficients of the expression are fitted with the shape, where the prior has them."""
    placement: Literal["none", "rigid", "similarity"] = "none"
    """Which pose parameters are optimised with the shape."""


@dataclass(frozen=True)
class Inversion:
    """The prior's head that is closest to some samples."""

    latents: HeadLatents
    coefficients: Float[Tensor, "k"]
    """The shape latent in standard deviations along the principal axes."""
    head_from_samples: Similarity
    """Maps the samples' frame to the head frame; the identity unless a placement was requested."""


def invert_samples(
    prior: Prior,
    samples: ShapeSamples,
    config: InversionConfig | None = None,
    *,
    colours: ColourSamples | None = None,
    coefficients: Float[Tensor, "k"] | None = None,
    seed: int = 0,
) -> Inversion:
    """Fit latents to samples of a head; the prior's weights stay fixed.

    The cost is the mean |f| on the surface plus the weighted mean |f - s| in space plus a weak pull to the mean head.
    The unknowns are the shape coefficients (standard deviations along the principal axes), from zero or
    `coefficients` on. With a placement in `config` the pose is optimised with them, from the identity on. With
    `colours` the appearance latent is then fitted in the same way; without, it is the mean.

    Each residual depends on the latent through one point alone. A single backward pass over points with latents of
    their own therefore gives all rows of the Jacobian: second-order steps at the cost of first-order ones.
    """
    config = config or InversionConfig()
    rng = np.random.default_rng(seed)
    nose = prior.landmarks[NOSE_TIP]
    on = _some((samples.points - nose).norm(dim=1) < FACE, config.surface, config.face, rng)
    around = _some((samples.space - nose).norm(dim=1) < FACE, config.space, config.face, rng)
    shape = _Shape(
        prior, torch.cat([samples.points[on], samples.space[around]]),
        torch.cat([samples.points.new_zeros(len(on)), samples.distances[around]]),
        torch.cat([samples.points.new_full((len(on),), 1 / max(len(on), 1)),
                   samples.points.new_full((len(around),), config.space_weight / max(len(around), 1))]),
        config.placement, config.expression,
    )  # fmt: skip
    axes, described = len(shape.axes), shape.described
    unknowns = samples.points.new_zeros(described + shape.freedom)
    if coefficients is not None:
        unknowns[:axes] = coefficients
    pull = torch.cat([torch.full((described,), config.pull / axes), torch.zeros(shape.freedom)]).to(unknowns)
    for width in config.widths_mm:
        unknowns = minimise(shape.residuals, unknowns, pull, width=width / UNIT_MM, max_steps=config.steps).unknowns
    place = shape.place(unknowns)
    latents = HeadLatents(shape.z_shape_at(unknowns), prior.mean().z_appearance, shape.expression_at(unknowns))
    if colours is not None:
        latents = replace(latents, z_appearance=_fit_appearance(prior, latents, place, colours, config, rng))
    return Inversion(latents, unknowns[:axes], place)


def _some(face: Bool[Tensor, "n"], count: int, share: float, rng: np.random.Generator) -> Int[Tensor, "k"]:
    """Draw points without repetition, the given share of them from the face (or all that it has)."""
    mixed = rng.permutation(len(face))
    first = mixed[face.cpu().numpy()[mixed]][: round(share * count)]
    rest = mixed[~np.isin(mixed, first)]
    return torch.from_numpy(np.concatenate([first, rest[: count - len(first)]]))


class _Shape:
    """Residuals of the signed distance at fixed points, as a function of shape, expression and pose."""

    def __init__(
        self, prior: Prior, points: Tensor, distances: Tensor, weight: Tensor, placement: str, expression: bool
    ) -> None:
        self.field, self.points, self.distances, self.weight = prior.field, points, distances, weight
        self.statistics = prior.shape
        self.axes = prior.shape.axes
        self.expression = prior.expression if expression else None
        self.described = len(self.axes) + (0 if self.expression is None else len(self.expression.axes))
        """Number of unknowns that describe the head; those of the pose come behind them."""
        self.freedom = {"none": 0, "rigid": 6, "similarity": 7}[placement]
        self.pivot = prior.field.centre

    def z_shape_at(self, unknowns: Float[Tensor, "k"]) -> Float[Tensor, "c"]:
        return self.statistics.latent(unknowns[: len(self.axes)])

    def expression_at(self, unknowns: Float[Tensor, "k"]) -> Float[Tensor, "e"] | None:
        if self.expression is None:
            return None
        return self.expression.latent(unknowns[len(self.axes) : self.described])

    def place(self, unknowns: Float[Tensor, "k"]) -> Similarity:
        """Return the map from the samples' frame to the head frame: rotation and scale about its centre, and shift."""
        if not self.freedom:
            return Similarity.identity().to(unknowns.device)
        pose = unknowns[self.described :]
        rotation = rotation_from_vector(pose[:3])
        scale = pose[6].exp() if self.freedom == 7 else torch.ones_like(pose[0])
        return Similarity(rotation, self.pivot - scale * (rotation @ self.pivot) + pose[3:6], scale)

    def residuals(self, unknowns: Float[Tensor, "k"]) -> Residuals:
        place, moved = self.place(unknowns), self.place(unknowns).apply(self.points)
        expression = self.expression_at(unknowns)
        with torch.no_grad():
            condition = self.field.shape_condition(
                self.z_shape_at(unknowns)[None], None if expression is None else expression[None]
            )
        values, by_latent, by_point = [], [], []
        for part in moved.split(CHUNK // 4):
            latents = condition.expand(len(part), -1).clone().requires_grad_(True)
            spots = part[:, None].clone().requires_grad_(self.freedom > 0)
            with torch.enable_grad():
                sdf = self.field.sdf(spots, latents)
                wanted = (latents, spots) if self.freedom else (latents,)
                slopes = torch.autograd.grad(sdf.sum(), wanted)
            values.append(sdf.detach()[:, 0])
            by_latent.append(self._by_unknowns(slopes[0]))
            if self.freedom:
                by_point.append(slopes[1][:, 0])
        value = torch.cat(values) - place.scale * self.distances
        jacobian = torch.cat(by_latent)
        if self.freedom:
            jacobian = torch.cat([jacobian, self._by_pose(torch.cat(by_point), moved, unknowns, place)], 1)
        return Residuals(value, jacobian, self.weight)

    def _by_unknowns(self, slopes: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        latent = self.axes.shape[1]
        columns = [slopes[:, :latent] @ self.axes.T]
        if self.expression is not None and self.field.expression is not None:
            columns.append(slopes[:, latent:] @ self.field.expression.weight @ self.expression.axes.T)
        return torch.cat(columns, 1)

    def _by_pose(self, gradient: Tensor, moved: Tensor, unknowns: Tensor, place: Similarity) -> Float[Tensor, "n p"]:
        pose = unknowns[self.described :]
        arm = moved - self.pivot - pose[3:6]  # scale * rotation @ (x - pivot)
        turning = torch.autograd.functional.jacobian(rotation_from_vector, pose[:3])
        before = arm @ rotation_from_vector(pose[:3])
        columns = [torch.einsum("ni,ijk,nj->nk", gradient, turning, before), gradient]
        if self.freedom == 7:
            columns.append(((gradient * arm).sum(1) - place.scale * self.distances)[:, None])
        return torch.cat(columns, 1)


def _fit_appearance(
    prior: Prior, latents: HeadLatents, place: Similarity, given: ColourSamples, config: InversionConfig,
    rng: np.random.Generator,
) -> Float[Tensor, "c"]:  # fmt: skip
    statistics, axes = prior.appearance, prior.appearance.axes
    chosen = torch.from_numpy(rng.permutation(len(given.points))[: config.colour])
    with torch.no_grad():
        condition = prior.field.shape_condition(latents.z_shape[None], latents.expression_row)
        at = prior.field.query(place.apply(given.points[chosen])[None], condition)
    normals = torch.nn.functional.normalize(at.gradient[0], dim=-1)[:, None]
    views = (given.views[chosen] @ place.rotation.T)[:, None]
    reference, feature, truth = at.reference[0][:, None], at.feature[0][:, None], given.colours[chosen]

    def residuals(unknowns: Float[Tensor, "k"]) -> Residuals:
        latents = statistics.latent(unknowns).expand(len(truth), -1).clone().requires_grad_(True)
        with torch.enable_grad():
            predicted = prior.field.colour(reference, normals, views, feature, latents)[:, 0]
            rows = [torch.autograd.grad(predicted[:, k].sum(), latents, retain_graph=k < 2)[0] for k in range(3)]
        jacobian = torch.cat(rows) @ axes.T
        value = (predicted.detach() - truth).T.reshape(-1)
        return Residuals(value, jacobian, torch.full_like(value, 1 / len(truth)))

    pull = torch.full((len(axes),), config.colour_pull / len(axes)).to(axes)
    found = minimise(residuals, torch.zeros_like(pull), pull, width=COLOUR_WIDTH, max_steps=config.steps)
    return statistics.latent(found.unknowns)


def scan_samples(
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    bounds: Float[Tensor, "2 3"],
    *,
    count: int = 12_000,
    seed: int = 0,
) -> ShapeSamples:
    """Return samples in space for a scan of which only surface points and outward normals are known, inner units.

    A third of the points lies within millimetres of the surface, a third within centimetres, the rest anywhere in
    `bounds`. Each gets the distance to its nearest surface point, signed by the side of the surface. Points away from
    that surface point's normal are left out: there the scan has an edge or a hole, and the distance is unknown. The
    scan's point spacing limits the accuracy of the distances.
    """
    rng = np.random.default_rng(seed)
    on, out = points.double().cpu().numpy(), normals.double().cpu().numpy()
    low, high = bounds.double().cpu().numpy()
    parts = []
    for reach in (2.0 / UNIT_MM, 20.0 / UNIT_MM):
        chosen = rng.integers(0, len(on), count // 3)
        parts.append(on[chosen] + out[chosen] * rng.normal(0, reach, (len(chosen), 1)))
    parts.append(rng.uniform(low, high, (count - 2 * (count // 3), 3)))
    space = np.concatenate(parts)
    distance, nearest = tree_of(on).query(space)
    along = ((space - on[nearest]) * out[nearest]).sum(1)
    # The nearest sample lies beside the true foot point, by about the spacing of the samples.
    spacing = float(np.median(tree_of(on).query(on[:: max(1, len(on) // 2000)], 2)[0][:, 1]))
    beside = np.sqrt(np.maximum(distance**2 - along**2, 0))
    kept = beside < 2 * spacing + _SLANT * distance
    signed = np.where(distance < 2 * spacing, along, np.sign(along) * distance)[kept]
    return ShapeSamples(points, torch.from_numpy(space[kept]).to(points), torch.from_numpy(signed).to(points))


def fit_scan(
    prior: Prior,
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    landmarks: Float[Tensor, "6 3"],
    config: InversionConfig | None = None,
    *,
    seed: int = 0,
) -> Inversion:
    """Fit latents and a rigid pose to a scan: surface points with outward normals, inner units, any frame.

    `landmarks` are the prior's six on the scan. Their alignment with the mean head's is the start. Points that then
    lie outside the modelled volume are left out.
    """
    config = config or InversionConfig(placement="rigid")
    start = procrustes(landmarks, prior.landmarks.to(landmarks), with_scale=config.placement == "similarity")
    placed = start.apply(points)
    inside = ((placed > prior.bounds[0]) & (placed < prior.bounds[1])).all(1)
    samples = scan_samples(placed[inside], normals[inside] @ start.rotation.T, prior.bounds, seed=seed)
    fit = invert_samples(prior, samples, config, seed=seed)
    return replace(fit, head_from_samples=fit.head_from_samples.compose(start))
