"""Bundle adjustment: one person and the cameras of all photos, from landmarks and from matches between photos.

Source: Triggs et al. (2000), Bundle adjustment - a modern synthesis; the person is a linear head model with Gaussian
priors, in the spirit of Blanz and Vetter (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from protome.capture.lenses import LIKE_SPREAD, LensPrior, Shot
from protome.capture.network_points import NetworkPoints
from protome.geometry.blocks import Blocks, minimise_blocks
from protome.geometry.camera import Camera
from protome.geometry.pose import solve_pose
from protome.geometry.transforms import rotation_from_vector, skew
from protome.morphable.fit import landmark_doubt
from protome.morphable.model import MorphableModel

USUAL_DISTANCE_MM, DISTANCE_SPREAD = 850.0, 0.5
"""Median distance from which faces are photographed, and deviation of its logarithm."""
TRUST = 0.04
"""What a landmark counts against the priors: errors of neighbours are alike, so that 468 of them are worth as much as
some twenty independent ones."""
BESIDE = 0.5
"""What MediaPipe's landmarks count, as a factor of their inverse deviations, beside those of the perception network,
which says how sure it is and keeps to what a photo shows of a head that is turned away."""
WIDTH = 2.0
"""Deviations beyond which a landmark counts less and less."""
MATCH_MM = 0.8
"""Standard deviation of a match on the head. It was 0.3 to 0.5 mm between photos 40 degrees apart and 0.5 to 0.9 mm
between photos 65 degrees apart, errors of one region being alike."""
MATCH_TRUST = 0.7
"""What a match counts: errors of neighbours are alike, here too."""
SURFACE_MM = 30.0
"""How far spots lie from the roughly known surface, a standard deviation: it counts where matches leave depth open."""
DEPTH_UNIT = 0.01
"""Unit of the spots' depths: logarithm."""
POSE = 6
_AWAY = 5
"""Which of a photo's unknowns is its distance."""


@dataclass(frozen=True)
class Tracks:
    """Spots of one photo each, and where other photos show them, in pixels of the photos."""

    view: Int[Tensor, "t"]
    """The photo that a spot belongs to."""
    pixel: Float[Tensor, "t 2"]
    depth: Float[Tensor, "t"]
    """Of the roughly known surface along that camera's axis, mm."""
    other: Int[Tensor, "t m"]
    """Photos in which the spot was found, -1 for none."""
    there: Float[Tensor, "t m 2"]
    """Where."""

    @staticmethod
    def none() -> Tracks:
        """Return no tracks."""
        return Tracks(
            torch.zeros(0, dtype=torch.long), torch.zeros(0, 2).double(), torch.zeros(0).double(),
            torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 1, 2).double(),
        )  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """One person and the cameras of all photos."""

    cameras: tuple[Camera, ...]
    """Posed in the head frame, millimetres (double)."""
    vertices: Float[Tensor, "v 3"]
    """The person's head model without an expression, head frame."""
    focal_spread: Float[Tensor, "p"]
    """Standard deviations of the logarithms of the focal lengths."""
    rotation_spread: Float[Tensor, "p"]
    """Standard deviations of the cameras' directions from the head, relative to those of the other cameras, radians
    (one axis)."""
    error: Float[Tensor, "p"]
    """Median reprojection error of each photo's landmarks in units of the face's size in it."""
    residual_mm: Float[Tensor, "t m"]
    """How far each match lies from where its spot is seen, on the head; NaN where there is none."""


def adjust(
    model: MorphableModel,
    shots: Sequence[Shot],
    tracks: Tracks | None = None,
    start: Sequence[Camera] | None = None,
    *,
    match_width: float = 3.0,
) -> Bundle:
    """Return the most likely person, expressions, poses and focal lengths for the landmarks and matches of all photos.

    `start` are cameras to begin with, those that the mean face gives if they are left out. `match_width` is the error
    in millimetres beyond which matches count less and less.

    Raises:
        ValueError: the model does not know the places of MediaPipe's landmarks, or some landmarks admit no pose.
    """
    if model.dense is None:
        raise ValueError(f"{model.name} does not know the places of MediaPipe's landmarks")
    problem = _Problem.of(model.to(torch.float64), shots, tracks or Tracks.none(), start, match_width)
    photos, lenses = len(shots), len(problem.lenses.spread)
    pull = torch.ones(problem.size, dtype=torch.float64)
    pull[: photos * (POSE + 1)].reshape(photos, -1)[:, :POSE] = 1e-9  # poses have no prior to speak of
    expressions = 1 / model.expression_deviations.double() ** 2
    own = (torch.zeros(photos, len(expressions)).double(), torch.zeros(len(problem.tracks.view), 1).double())
    found = minimise_blocks(
        lambda shared, own: problem.blocks(shared, own), problem.start, own, pull,
        (expressions, torch.zeros(1).double()), max_steps=30,
    )  # fmt: skip
    identity = found.shared[problem.size - len(model.identity) :]
    variance = found.covariance.diagonal()[photos * (POSE + 1) :][:lenses] * problem.lenses.spread**2
    landmarks, matches = problem.blocks(found.shared, found.own)
    dense = slice(len(model.dense.deviations))
    away = (landmarks.value[:, dense] / problem.scale[:, dense, None].clamp(min=1e-12)).norm(dim=-1).median(1).values
    sizes = (problem.pixels[:, dense].amax(1) - problem.pixels[:, dense].amin(1)).amax(1)
    cameras = problem.cameras(found.shared)
    return Bundle(
        cameras,
        model.template.double() + torch.einsum("i,ivk->vk", identity, model.identity.double()),
        (variance[problem.lenses.of] + LIKE_SPREAD**2).sqrt(),
        _relative_spread(found.covariance[: photos * (POSE + 1), : photos * (POSE + 1)], cameras),
        away / sizes,
        torch.where(problem.tracks.other >= 0, matches.value[:, :-1].norm(dim=-1) * MATCH_MM, torch.nan),
    )


def _relative_spread(covariance: Float[Tensor, "k k"], cameras: Sequence[Camera]) -> Float[Tensor, "p"]:
    """Return the deviations of the cameras' rotations about the head, without what all of them have in common."""
    count = len(cameras)
    turns = covariance.reshape(count, POSE + 1, count, POSE + 1)[:, :3, :, :3]
    poses = torch.stack([camera.T_world_camera[:3, :3] for camera in cameras]).double()
    turns = torch.einsum("pij,pjqk,qlk->piql", poses, turns, poses)
    centred = torch.eye(count, dtype=torch.float64) - 1 / count
    turns = torch.einsum("ap,piqj,bq->aibj", centred, turns, centred)
    return (torch.einsum("pipi->p", turns) / 3).clamp(min=0).sqrt()


@dataclass(frozen=True)
class _Problem:
    """The problem in double precision.

    Unknowns that all share: turn, shift and focal length of each photo (7), focal lengths of the lenses, identity.
    Own unknowns: the expression of each photo, the depth of each spot.
    """

    mean: Float[Tensor, "n 3"]
    identity: Float[Tensor, "i n 3"]
    expression: Float[Tensor, "e n 3"]
    pixels: Float[Tensor, "p n 2"]
    scale: Float[Tensor, "p n"]
    """One over a landmark's deviation in pixels."""
    pixel_mm: Float[Tensor, "p"]
    """About the size of a pixel on the head."""
    rotation: Float[Tensor, "p 3 3"]
    """Of the start: camera from head."""
    translation: Float[Tensor, "p 3"]
    sides: Float[Tensor, "p 2"]
    """Widths and heights; the axes meet the middles."""
    lenses: LensPrior
    tracks: Tracks
    match_width: float
    start: Float[Tensor, "s"]
    """The shared unknowns of the start."""

    @property
    def size(self) -> int:
        """Number of shared unknowns."""
        return len(self.start)

    @staticmethod
    def of(
        model: MorphableModel, shots: Sequence[Shot], tracks: Tracks, given: Sequence[Camera] | None, match_width: float
    ) -> _Problem:
        points, lenses = model.dense, LensPrior.of_shots(shots)
        assert points is not None
        mean = points.on(model.template, model.faces)
        trust = (points.deviations.min() / points.deviations).numpy() ** 2
        pixels = torch.stack([shot.landmarks[: len(mean)].detach().cpu().double() for shot in shots])
        network = NetworkPoints.of(model)
        beside = network.anchors.on(model.template, model.faces)
        cameras = given or [
            _first_camera(*_surest(shot, (mean, seen, trust), (beside, network)), shot, float(focal.exp()))
            for seen, shot, focal in zip(pixels, shots, lenses.log_focal[lenses.of], strict=True)
        ]
        poses = torch.stack([camera.T_world_camera for camera in cameras]).double()
        rotation = poses[:, :3, :3].transpose(1, 2)
        translation = -(rotation @ poses[:, :3, 3:])[..., 0]
        log_focal = torch.tensor([camera.focal for camera in cameras]).double().log()
        means = torch.stack([log_focal[lenses.of == lens].mean() for lens in range(len(lenses.spread))])
        start = torch.zeros(len(shots) * (POSE + 1) + len(means) + len(model.identity), dtype=torch.float64)
        start[POSE : len(shots) * (POSE + 1) : POSE + 1] = (log_focal - means[lenses.of]) / LIKE_SPREAD
        start[len(shots) * (POSE + 1) :][: len(means)] = (means - lenses.log_focal) / lenses.spread
        pixel_mm = translation[:, 2] / log_focal.exp()
        doubts = torch.stack([landmark_doubt(model, points, mean, camera.centre.double()) for camera in cameras])
        scale = pixel_mm[:, None] / (points.deviations * doubts)
        every = (points, network.anchors)
        more = torch.zeros(len(shots), len(beside), 2, dtype=torch.float64)
        precision = torch.zeros(len(shots), len(beside), dtype=torch.float64)
        for number, shot in enumerate(shots):
            if shot.seen is not None:
                more[number] = shot.seen.pixels[network.which].double()
                precision[number] = network.precision(shot.seen, float(pixel_mm[number]))
                scale[number] *= BESIDE
        return _Problem(
            torch.cat([mean, beside]), torch.cat([own.on(model.identity, model.faces) for own in every], 1),
            torch.cat([own.on(model.expression, model.faces) for own in every], 1),
            torch.cat([pixels, more], 1), torch.cat([scale, precision], 1), pixel_mm, rotation, translation,
            torch.tensor([[shot.width, shot.height] for shot in shots]).double(), lenses, tracks, match_width, start,
        )  # fmt: skip

    def _placed(self, shared: Tensor) -> _Placed:
        photos = len(self.pixels)
        own = shared[: photos * (POSE + 1)].reshape(photos, -1)
        lens = self.lenses.log_focal + self.lenses.spread * shared[photos * (POSE + 1) :][: len(self.lenses.spread)]
        # The shift's unknowns are radians, too, as seen from the camera.
        shift = self.translation + self.translation[:, 2:].abs() * own[:, 3:POSE]
        focal = (lens[self.lenses.of] + LIKE_SPREAD * own[:, -1]).exp()
        return _Placed(rotation_from_vector(own[:, :3]) @ self.rotation, shift, focal, left_jacobian(own[:, :3]))

    def cameras(self, shared: Float[Tensor, "s"]) -> tuple[Camera, ...]:
        """Return the cameras of unknowns."""
        placed, cameras = self._placed(shared), []
        for rotation, shift, focal, (width, height) in zip(
            placed.rotation, placed.shift, placed.focal.tolist(), self.sides.tolist(), strict=True
        ):
            pose = torch.eye(4, dtype=torch.float64)
            pose[:3, :3], pose[:3, 3] = rotation.T, -rotation.T @ shift
            cameras.append(Camera(_intrinsics(focal, width, height), pose, round(width), round(height)))
        return tuple(cameras)

    def blocks(self, shared: Tensor, own: tuple[Tensor, ...]) -> tuple[Blocks, Blocks]:
        """Return errors of landmarks and of matches, in deviations."""
        placed = self._placed(shared)
        return self._landmarks(shared, own[0], placed), self._matches(own[1], placed)

    def _landmarks(self, shared: Tensor, expressions: Float[Tensor, "p e"], placed: _Placed) -> Blocks:
        """Return one block for each photo; its last error is that of the distance."""
        photos, count = len(self.pixels), len(self.identity)
        points = self.mean + torch.einsum("i,ink->nk", shared[self.size - count :], self.identity)
        points = points + torch.einsum("pe,enk->pnk", expressions, self.expression)
        view = torch.arange(photos)[:, None].expand(-1, points.shape[1])
        seen = self._seen(points, view, placed)
        scale = self.scale[..., None]
        slope = torch.cat([seen.by_camera, torch.einsum("pnrk,ink->pnri", seen.by_point, self.identity)], -1)
        own = torch.einsum("pnrk,enk->pnre", seen.by_point, self.expression)
        # One photographer's habits, not those of one for each photo.
        far = placed.shift[:, 2].abs().clamp(min=1.0)
        distance = torch.stack([(far / USUAL_DISTANCE_MM).log() / DISTANCE_SPREAD, torch.zeros_like(far)], 1)
        by_distance = slope.new_zeros(photos, 1, 2, slope.shape[-1])
        by_distance[:, 0, 0, _AWAY] = self.translation[:, 2].abs() / far / DISTANCE_SPREAD
        weight = slope.new_full((photos, points.shape[1] + 1), TRUST)
        weight[:, -1] = 1 / photos
        person = torch.arange(self.size - count, self.size).expand(photos, -1)
        return Blocks(
            torch.cat([(seen.pixels - self.pixels) * scale, distance[:, None]], 1),
            torch.cat([slope * scale[..., None], by_distance], 1),
            torch.cat([self._columns(torch.arange(photos)), person], 1),
            torch.cat([own * scale[..., None], own.new_zeros(photos, 1, 2, own.shape[-1])], 1),
            weight,
            WIDTH,
        )

    def _matches(self, depths: Float[Tensor, "t 1"], placed: _Placed) -> Blocks:
        """Return one block for each spot; its last error is that of the depth."""
        tracks, own = self.tracks, self.tracks.view
        depth = tracks.depth[:, None] * torch.exp(DEPTH_UNIT * depths)
        flat = (tracks.pixel - self.sides[own] / 2) / placed.focal[own][:, None]
        local = depth * torch.cat([flat, torch.ones_like(flat[:, :1])], 1)
        back, arm = placed.rotation[own].transpose(1, 2), local - placed.shift[own]
        points = (back @ arm[..., None])[..., 0]
        by_turn = back @ (skew(arm) @ placed.left[own])
        by_shift = -back * self.translation[:, 2].abs()[own][:, None, None]
        by_focal = (back @ torch.cat([-local[:, :2], torch.zeros_like(depth)], 1)[..., None])[..., 0]
        by_depth = DEPTH_UNIT * (back @ local[..., None])
        view = tracks.other.clamp(min=0)
        seen = self._seen(points[:, None].expand(-1, view.shape[1], -1), view, placed)
        by_pose = seen.by_point @ torch.cat([by_turn, by_shift], -1)[:, None]
        by_focal = (seen.by_point @ by_focal[:, None, :, None])[..., 0]
        through = self._by_camera(by_pose, by_focal, own[:, None].expand_as(view))
        # First come the unknowns of the spot's own camera, then those of each other one.
        spots, others, each = len(own), view.shape[1], through.shape[-1]
        slope = seen.pixels.new_zeros(spots, others, 2, 1 + others, each)
        slope[..., 0, :] = through
        number = torch.arange(others)
        slope[:, number, :, 1 + number] = seen.by_camera.transpose(0, 1)
        slope = slope.flatten(3)
        scale = (self.pixel_mm[view] / MATCH_MM)[..., None]
        # When the camera moves away, the surface does not.
        moved = (placed.shift - self.translation)[own, 2:]
        surface = torch.cat([depth - tracks.depth[:, None] - moved, torch.zeros_like(depths)], 1)
        by_distance = slope.new_zeros(spots, 1, 2, slope.shape[-1])
        by_distance[:, 0, 0, _AWAY] = -self.translation[:, 2].abs()[own] / SURFACE_MM
        by_surface = torch.cat([DEPTH_UNIT * depth, torch.zeros_like(depth)], 1)[:, None, :, None] / SURFACE_MM
        weight = torch.cat([(tracks.other >= 0).double(), torch.ones_like(depths)], 1)
        return Blocks(
            torch.cat([(seen.pixels - tracks.there) * scale, surface[:, None] / SURFACE_MM], 1),
            torch.cat([slope * scale[..., None], by_distance], 1),
            torch.cat([self._columns(own), self._columns(view).flatten(1)], 1),
            torch.cat([(seen.by_point @ by_depth[:, None]) * scale[..., None], by_surface], 1),
            MATCH_TRUST * weight,
            self.match_width / MATCH_MM,
        )

    def _seen(self, points: Float[Tensor, "*b 3"], view: Int[Tensor, "*b"], placed: _Placed) -> _Seen:
        turned = torch.einsum("...ij,...j->...i", placed.rotation[view], points)
        local = turned + placed.shift[view]
        depth, focal = local[..., 2:].clamp(min=1.0), placed.focal[view][..., None]
        flat = focal * local[..., :2] / depth
        slope = points.new_zeros(*points.shape[:-1], 2, 3)
        slope[..., 0, 0] = slope[..., 1, 1] = 1.0
        slope[..., 2] = -local[..., :2] / depth
        slope = slope * (focal / depth)[..., None]
        by_turn = slope @ (-skew(turned) @ placed.left[view])
        by_shift = slope * self.translation[:, 2].abs()[view][..., None, None]
        by_camera = self._by_camera(torch.cat([by_turn, by_shift], -1), flat, view)
        return _Seen(flat + self.sides[view] / 2, by_camera, slope @ placed.rotation[view])

    def _by_camera(
        self, by_pose: Float[Tensor, "*b 2 6"], by_focal: Float[Tensor, "*b 2"], view: Int[Tensor, "*b"]
    ) -> Float[Tensor, "*b 2 8"]:
        """Return derivatives in a photo's pose, in its own focal length and in its lens's, as `_columns` numbers them.

        `by_focal` are those in the logarithm of the focal length.
        """
        lens = (self.lenses.spread[self.lenses.of[view]][..., None] * by_focal)[..., None]
        return torch.cat([by_pose, LIKE_SPREAD * by_focal[..., None], lens], -1)

    def _columns(self, view: Int[Tensor, "*b"]) -> Int[Tensor, "*b 8"]:
        """Return the numbers of the shared unknowns that a photo's camera depends on."""
        own = view[..., None] * (POSE + 1) + torch.arange(POSE + 1)
        return torch.cat([own, len(self.pixels) * (POSE + 1) + self.lenses.of[view][..., None]], -1)


@dataclass(frozen=True)
class _Placed:
    """Where the cameras are."""

    rotation: Float[Tensor, "p 3 3"]
    """Camera from head."""
    shift: Float[Tensor, "p 3"]
    focal: Float[Tensor, "p"]
    left: Float[Tensor, "p 3 3"]
    """Left Jacobians of the turns since the start."""


@dataclass(frozen=True)
class _Seen:
    """Pixels of points and their derivatives."""

    pixels: Float[Tensor, "*b 2"]
    by_camera: Float[Tensor, "*b 2 8"]
    """In the unknowns of the photo's camera."""
    by_point: Float[Tensor, "*b 2 3"]
    """In the head frame."""


def left_jacobian(vectors: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Return J with exp(v + d) = exp(J d) exp(v) to first order in d, for rotation vectors v.

    Source: Sola, Deray and Atchuthan (2018), A micro Lie theory for state estimation in robotics, equation 145.
    """
    angle = vectors.norm(dim=-1)[..., None, None].clamp(min=1e-6)
    across = skew(vectors)
    still = torch.eye(3, dtype=vectors.dtype).expand(across.shape)
    # Below a hundredth of a radian the series keep the digits that the differences lose.
    first = torch.where(angle < 1e-2, 0.5 - angle**2 / 24, (1 - angle.cos()) / angle**2)
    second = torch.where(angle < 1e-2, 1 / 6 - angle**2 / 120, (angle - angle.sin()) / angle**3)
    return still + first * across + second * (across @ across)


def _intrinsics(focal: float, width: float, height: float) -> Float[Tensor, "3 3"]:
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]], dtype=torch.float64)


def _surest(
    shot: Shot,
    detected: tuple[Float[Tensor, "n 3"], Float[Tensor, "n 2"], Float[np.ndarray, "n"]],
    network: tuple[Float[Tensor, "k 3"], NetworkPoints],
) -> tuple[Float[Tensor, "m 3"], Float[Tensor, "m 2"], Float[np.ndarray, "m"]]:
    """Return places, pixels and weights of the network's landmarks if there are any, else those that were detected."""
    if shot.seen is None:
        return detected
    places, points = network
    return places, shot.seen.pixels[points.which].double(), points.precision(shot.seen, 1.0).numpy() ** 2


def _first_camera(
    mean: Float[Tensor, "n 3"], seen: Float[Tensor, "n 2"], trust: Float[np.ndarray, "n"], shot: Shot, focal: float
) -> Camera:
    """Return the camera that saw the mean face."""
    K = _intrinsics(focal, shot.width, shot.height)
    pose = solve_pose(mean.numpy(), seen.numpy(), trust, K.numpy())
    T_head_camera = torch.eye(4, dtype=torch.float64)
    T_head_camera[:3, :3], T_head_camera[:3, 3] = torch.from_numpy(pose.rotation.T), torch.from_numpy(pose.centre)
    return Camera(K, T_head_camera, shot.width, shot.height)
