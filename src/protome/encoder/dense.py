"""Shape, expression and pose from landmarks: the prior's latents are fitted to them, from the encoder's estimate on.

The prior displaces every point of a head to its place in the reference head, which has the coordinates of the
population's template. So each landmark of the template has one place on each head. Landmarks with standard deviations
make this a least-squares problem with a Gaussian prior, the encoder's estimate (after Wood et al., 3D face
reconstruction with dense landmarks, ECCV 2022, who fit a linear model).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protome.encoder.encoder import LatentEstimate
from protome.encoder.observed import MESH_ALONE, MESH_TOGETHER, observed_landmarks
from protome.field.head import HeadField
from protome.geometry.least_squares import Residuals, minimise
from protome.geometry.transforms import Similarity, rotation_from_vector
from protome.landmarks import landmark_places
from protome.prior.prior import LatentStatistics, Prior
from protome.scene import Scene, View
from protome.units import UNIT_MM

ROUNDS, NEWTON_ROUNDS = 12, 2
"""Of the fixed-point iteration from a place on the reference to that on a head, and of Newton's method after it."""
FOLDED, STRAYED = 0.3, 1.0 / UNIT_MM
"""Determinant of the map into the reference below which it folds, and its remaining error above which a place is not
found."""
WIDTH = 3.0
"""Standard deviations beyond which a landmark's influence stops growing."""
TURN, SHIFT, DEPTH = 0.1, 20.0 / UNIT_MM, 0.05
"""Spread of the encoder's pose: radians; inner units across the ray; share of the distance along it."""
FOCAL_SPREAD = {"assumed": 0.2, "from the file": 0.03}
"""Standard deviation of the logarithm of a focal length by its source."""
WIDENINGS = 3
"""Rounds that widen the Gaussians of expressions that the landmarks show to be strong."""
POSE = 7
"""Unknowns of a photo: rotation vector, shift right and down, logarithms of distance and of focal length."""


@dataclass(frozen=True)
class _Photo:
    """A view's landmarks and camera in double precision, in the estimated head frame."""

    pixels: Float[Tensor, "n 2"]
    deviation: Float[Tensor, "n"]
    """Standard deviation of each, pixels."""
    weight: Float[Tensor, "n"]
    K: Float[Tensor, "3 3"]
    axes: Float[Tensor, "3 3"]
    """The camera's axes as columns."""
    centre: Float[Tensor, "3"]
    depth: float
    """Distance of the head's middle along the camera's axis."""
    pulls: Float[Tensor, "7"]
    """Inverse variances of the unknowns."""

    @staticmethod
    def of(view: View, middle: Float[Tensor, "3"], mesh: bool, together: float) -> _Photo:
        """Return a view that is posed in the head frame, and has landmarks.

        With `mesh`, MediaPipe's are used too, of which `together` count as one.
        """
        camera = view.camera.to(torch.float64)
        depth = float(camera.to_camera(middle[None])[0, 2])
        focal = FOCAL_SPREAD.get(view.focal_from, min(FOCAL_SPREAD.values()))
        spreads = torch.tensor([TURN] * 3 + [SHIFT] * 2 + [DEPTH, focal], dtype=torch.float64)
        pose = camera.T_world_camera
        found = observed_landmarks(view, middle, mesh, together)
        deviation = torch.where(found.precision > 0, found.precision, 1.0) ** -0.5
        return _Photo(found.pixels, deviation, found.weight, camera.K, pose[:3, :3], pose[:3, 3], depth, spreads**-2)

    def seen(self, points: Float[Tensor, "n 3"], pose: Float[Tensor, "7"], middle: Float[Tensor, "3"]) -> Tensor:
        """Return the pixels (n, 2) of a head's points; `pose` moves the head as the unknowns say."""
        turned = middle + (points - middle) @ rotation_from_vector(pose[:3]).T
        local = (turned - self.centre) @ self.axes
        # A longer lens from further away shows nearly the same: so the distance counts in focal lengths.
        further = self.depth * torch.expm1(pose[5] + pose[6])
        local = local + torch.stack([pose[3], pose[4], further])
        flat = local[:, :2] / local[:, 2:] * pose[6].exp()
        return flat @ self.K[:2, :2].T + self.K[:2, 2]

    def move(self, pose: Float[Tensor, "7"], middle: Float[Tensor, "3"]) -> Similarity:
        """Return the map from the new head frame to the old one, for the lens that the photo's camera has."""
        rotation = rotation_from_vector(pose[:3])
        further = self.depth * torch.expm1(pose[5])
        shift = self.axes @ torch.stack([pose[3], pose[4], further])
        return Similarity(rotation, middle - rotation @ middle + shift, torch.ones((), dtype=torch.float64))


@dataclass(frozen=True)
class Places:
    """Where points of the reference lie on a head, and how they move with its latent."""

    points: Float[Tensor, "n 3"]
    """Head frame, inner units."""
    by_coefficient: Float[Tensor, "n 3 k"]
    """Derivatives in the coefficients along some axes of the latent."""
    found: Bool[Tensor, "n"]
    """Where there is one such point; false where the map into the reference folds."""


def places_on_head(
    field: HeadField, statistics: LatentStatistics, coefficients: Float[Tensor, "k"],
    reference: Float[Tensor, "n 3"],
) -> Places:  # fmt: skip
    """Return the points that the latent with these coefficients displaces to given places of the reference.

    Derivatives follow from the implicit function theorem: (I + d delta/dx) dx = -(d delta/dz) dz.
    """
    z = statistics.latent(coefficients)
    with torch.no_grad():
        points = field.placed(reference, z[None], ROUNDS)
    identity = torch.eye(3).to(points)
    for last in [False] * NEWTON_ROUNDS + [True]:
        spots = points[:, None].clone().requires_grad_(True)
        latents = z.expand(len(points), -1).clone().requires_grad_(True)
        with torch.enable_grad():
            moved = field.displacement(spots, latents)[:, 0]
            wanted = (spots, latents) if last else (spots,)
            rows = [torch.autograd.grad(moved[:, axis].sum(), wanted, retain_graph=axis < 2) for axis in range(3)]
        slope = identity + torch.stack([row[0][:, 0] for row in rows], 1)
        even = torch.linalg.det(slope) > FOLDED
        slope = torch.where(even[:, None, None], slope, identity)
        off = points + moved.detach() - reference
        if not last:
            points = points - torch.linalg.solve(slope, off)
    by_latent = torch.stack([row[1] for row in rows], 1) @ statistics.axes.T
    return Places(points, -torch.linalg.solve(slope, by_latent), even & (off.norm(dim=1) < STRAYED))


def with_landmarks(estimate: LatentEstimate, scene: Scene, prior: Prior, *, alone: bool = False) -> LatentEstimate:
    """Return an estimate of shape, expression and pose that the photos' landmarks have corrected.

    These are the dense landmarks, where the network is sure enough of them, and with a prior that has expressions
    MediaPipe's too: the lips and the lids of neutral faces say little, those of others nearly all. There is one shape,
    and an expression of each photo. Photos without any keep their pose. The spread is that of the linearised problem.
    A scene's focal lengths are unknowns too, with the spread of their source; the cameras keep theirs, and the distance
    is the one that goes with it.

    With `alone`, the estimate is the prior: no encoder has seen the photos. Few faces have any expression, and those a
    strong one: so the Gaussians of coefficients that come out large are then widened. With the prior's they would come
    out far too small, and the shape would take the rest.
    """
    placed = _views_in_head_frame(estimate, scene)
    field = prior.field.on("cpu")
    middle = field.centre.detach().double()
    mesh = len(estimate.expressions) > 0
    which = [
        number for number, view in enumerate(placed)
        if view.dense is not None or (mesh and view.landmarks is not None)
    ]  # fmt: skip
    if not which:
        return estimate
    together = MESH_ALONE if alone else MESH_TOGETHER
    photos = {number: _Photo.of(placed[number], middle, mesh, together) for number in which}
    problem = _Problem.of(estimate, field, photos, middle)
    found = problem.solved(torch.zeros(problem.count, dtype=torch.float64))
    for _ in range(WIDENINGS if mesh and alone else 0):
        before, problem = problem, problem.widened(found)
        found = problem.solved(problem.restated(before, found))
    return problem.corrected(found)


@dataclass(frozen=True)
class _Problem:
    """The least-squares problem of several photos' landmarks: coefficients of the shape, then of each photo its
    expression's and the pose."""

    estimate: LatentEstimate
    field: HeadField
    photos: dict[int, _Photo]
    """By their number in the scene."""
    middle: Float[Tensor, "3"]
    statistics: list[LatentStatistics]
    """Of what the shape network is conditioned on, for each of these photos."""
    chosen: Bool[Tensor, "n"]
    """Which landmarks are used."""
    reference: Float[Tensor, "k 3"]
    """Their places on the reference head."""
    starts: list[Bool[Tensor, "k"]]
    """Which of those have a place on the estimated heads."""

    @staticmethod
    def of(
        estimate: LatentEstimate, field: HeadField, photos: dict[int, _Photo], middle: Float[Tensor, "3"]
    ) -> _Problem:
        known = landmark_places()
        shown = torch.stack([photo.weight > 0 for photo in photos.values()]).any(0)
        chosen = torch.isfinite(known).all(1) & shown
        reference = (known[chosen] / UNIT_MM).float()
        statistics = [_conditions(field, estimate, number) for number in photos]
        starts = [places_on_head(field, each, torch.zeros(len(each.axes)), reference).found for each in statistics]
        return _Problem(estimate, field, photos, middle, statistics, chosen, reference, starts)

    @property
    def shared(self) -> int:
        """How many coefficients the shape has."""
        return len(self.estimate.shape.axes)

    @property
    def own(self) -> int:
        """How many coefficients the expression of a photo has."""
        return len(self.statistics[0].axes) - self.shared

    @property
    def count(self) -> int:
        """How many unknowns there are."""
        return self.shared + len(self.photos) * (self.own + POSE)

    def parts(self) -> list[tuple[int, slice, slice]]:
        """Return each photo's number in the scene, and which unknowns are its expression's and its pose's."""
        firsts = [self.shared + k * (self.own + POSE) for k in range(len(self.photos))]
        return [
            (number, slice(first, first + self.own), slice(first + self.own, first + self.own + POSE))
            for number, first in zip(self.photos, firsts, strict=True)
        ]

    def residuals(self, unknowns: Float[Tensor, "k"]) -> Residuals:
        """Return the landmarks' residuals in standard deviations."""
        values, rows, weights = [], [], []
        for (number, mood, place), each, start in zip(self.parts(), self.statistics, self.starts, strict=True):
            photo, pose = self.photos[number], unknowns[place]
            coefficients = torch.cat([unknowns[: self.shared], unknowns[mood]]).float()
            found = places_on_head(self.field, each, coefficients, self.reference)
            points, slopes, usable = found.points.double(), found.by_coefficient.double(), start & found.found
            value, by_point, by_pose = _projected(photo, points, pose, self.middle)
            deviation = photo.deviation[self.chosen]
            jacobian = torch.zeros(len(points), 2, len(unknowns), dtype=torch.float64)
            by_coefficient = by_point @ slopes
            jacobian[..., : self.shared] = by_coefficient[..., : self.shared]
            jacobian[..., mood] = by_coefficient[..., self.shared :]
            jacobian[..., place] = by_pose
            values.append(((value - photo.pixels[self.chosen]) / deviation[:, None]).reshape(-1))
            rows.append((jacobian / deviation[:, None, None]).reshape(-1, len(unknowns)))
            weights.append((WIDTH * photo.weight[self.chosen] * usable).repeat_interleave(2))
        return Residuals(torch.cat(values), torch.cat(rows), torch.cat(weights))

    def pulls(self) -> Float[Tensor, "k"]:
        """Return the unknowns' inverse variances."""
        found = torch.ones(self.count, dtype=torch.float64)
        for number, _, place in self.parts():
            found[place] = self.photos[number].pulls
        return found

    def solved(self, start: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
        """Return the most likely unknowns."""
        return minimise(self.residuals, start, 0.5 * self.pulls(), width=WIDTH).unknowns

    def widened(self, found: Float[Tensor, "k"]) -> _Problem:
        """Return the problem whose Gaussians of expressions are nearer in width to the coefficients found.

        Rounds of it approach automatic relevance determination (MacKay 1992, Tipping 2001), with the prior's width as
        the least.
        """
        expressions = list(self.estimate.expressions)
        for number, mood, _ in self.parts():
            own = expressions[number]
            expressions[number] = _wider(own, own.latent(found[mood].float()))
        estimate = replace(self.estimate, expressions=tuple(expressions))
        return replace(
            self, estimate=estimate, statistics=[_conditions(self.field, estimate, number) for number in self.photos]
        )

    def restated(self, other: _Problem, found: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
        """Return another problem's unknowns in this one's coefficients."""
        unknowns = found.clone()
        for number, mood, _ in self.parts():
            theirs, ours = (each.estimate.expressions[number].axes.double() for each in (other, self))
            unknowns[mood] = torch.linalg.lstsq(ours.T, (found[mood] @ theirs)[:, None]).solution[:, 0]
        return unknowns

    def corrected(self, found: Float[Tensor, "k"]) -> LatentEstimate:
        """Return the estimate with the unknowns and their covariance."""
        at, estimate = self.residuals(found), self.estimate
        share = at.weight / (at.value.square() + WIDTH**2).sqrt()
        covariance = torch.linalg.inv((at.jacobian * share[:, None]).T @ at.jacobian + torch.diag(self.pulls()))
        corrections, expressions = list(estimate.corrections), list(estimate.expressions)
        for number, mood, place in self.parts():
            moved = self.photos[number].move(found[place], self.middle)
            corrections[number] = moved.inverse().compose(corrections[number].to(torch.float64))
            if expressions:
                expressions[number] = _corrected(expressions[number], found, covariance, mood)
        shape = _corrected(estimate.shape, found, covariance, slice(0, self.shared))
        return replace(estimate, shape=shape, corrections=tuple(corrections), expressions=tuple(expressions))


def _wider(expression: LatentStatistics, latent: Float[Tensor, "e"]) -> LatentStatistics:
    """Return the Gaussian with each variance's mean with the latent's square; no variance becomes smaller."""
    variance = expression.axes.square().sum(0).clamp(min=1e-12)
    wider = (0.5 * (variance + (latent - expression.mean).square())).maximum(variance)
    return LatentStatistics(expression.mean, expression.axes * (wider / variance).sqrt())


def _conditions(field: HeadField, estimate: LatentEstimate, photo: int) -> LatentStatistics:
    """Return the Gaussian of what the shape network is conditioned on: axes of the shape, then of the expression."""
    if field.expression is None or not estimate.expressions:
        return estimate.shape
    shape, expression = estimate.shape, estimate.expressions[photo]
    with torch.no_grad():
        mean = field.shape_condition(shape.mean[None], expression.mean[None])[0]
        moved = expression.axes @ field.expression.weight.T
    return LatentStatistics(mean, torch.block_diag(shape.axes, moved))


def _corrected(
    statistics: LatentStatistics, found: Float[Tensor, "k"], covariance: Float[Tensor, "k k"], own: slice
) -> LatentStatistics:
    """Return the Gaussian of a latent whose coefficients are some of the unknowns."""
    spread = torch.linalg.cholesky(covariance[own, own]).T.float()
    return LatentStatistics(statistics.latent(found[own].float()), spread @ statistics.axes)


def _projected(
    photo: _Photo, points: Float[Tensor, "n 3"], pose: Float[Tensor, "7"], middle: Float[Tensor, "3"]
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2 3"], Float[Tensor, "n 2 7"]]:
    """Return pixels with their derivatives in the points and in the pose."""
    spots = points.clone().requires_grad_(True)
    with torch.enable_grad():
        value = photo.seen(spots, pose, middle)
        by_point = [torch.autograd.grad(value[:, axis].sum(), spots, retain_graph=True)[0] for axis in range(2)]
    by_pose = torch.func.jacfwd(lambda own: photo.seen(points, own, middle))(pose)
    return value.detach(), torch.stack(by_point, 1), by_pose


def _views_in_head_frame(estimate: LatentEstimate, scene: Scene) -> tuple[View, ...]:
    return estimate.placed(scene).to(torch.float64).in_head_frame().views
