"""Where the head stands in a scene of posed views, from the face landmarks seen in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from protome.errors import InputError
from protome.geometry.pose import WORST_FIT, check_pose, solve_pose, turned_degrees, weighted_median
from protome.geometry.transforms import Similarity, procrustes
from protome.landmarks import FaceLandmarks
from protome.scene import View
from protome.units import UNIT_MM

Units = Literal["mm", "cm", "m"]
UNIT_IN_MM: dict[str, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0}

AGREES = 0.08
"""Median reprojection error, in units of the face's size in the image, up to which a view agrees with others."""
LEAST_ANGLE = 2.0
"""Degrees between two views' rays below which depth is a guess."""
WORST_SHAPE_MM = 12.0
"""Largest weighted root mean square distance of a believable face from the mean face after alignment."""
SIZE_RANGE = (0.6, 1.7)
"""Sizes of faces relative to the mean face that can be real."""
ROUNDS = 8


@dataclass(frozen=True)
class HeadPlacement:
    """The head's place in a scene."""

    head_from_world: Similarity
    """Maps the world frame to the head frame in the fields' inner unit."""
    used: tuple[bool, ...]
    """For each view, whether its landmarks agree with that place."""
    off_mm: tuple[float | None, ...] = ()
    """For each view the weighted mean distance, at the face, of its landmarks from where its camera sees the landmarks
    that all views give together; None without landmarks. Empty where the head was placed from one view."""
    turned: tuple[float | None, ...] = ()
    """For each of these the degrees by which its camera looks past the face's front."""

    def metric(self, units: Units, face: FaceLandmarks) -> HeadPlacement:
        """Return the placement at the head's true size, which the unit of the world gives, about the face's middle."""
        factor = UNIT_IN_MM[units] / (UNIT_MM * float(self.head_from_world.scale))
        middle = (face.weights[:, None] * face.positions).sum(0).double() / face.weights.sum() / UNIT_MM
        sizing = Similarity(torch.eye(3).double(), (1 - factor) * middle, torch.tensor(factor).double())
        placed = sizing.compose(self.head_from_world.to(torch.float64)).to(torch.float32)
        return replace(self, head_from_world=placed)


@dataclass(frozen=True)
class _Seen:
    """The views with landmarks, as arrays."""

    P: Float[np.ndarray, "v 3 4"]
    centres: Float[np.ndarray, "v 3"]
    pixels: Float[np.ndarray, "v n 2"]
    sizes: Float[np.ndarray, "v"]
    """The face's size in each image, pixels."""


def head_from_landmarks(views: Sequence[View], units: Units | None, face: FaceLandmarks) -> HeadPlacement:
    """Return where the head stands, from the views that have landmarks.

    Several views: the landmarks are triangulated robustly and aligned with the mean face, rotation, translation and
    scale. One view, or several from nearly one place: the mean face's pose in that camera, at its size in `units`.

    Raises:
        InputError: no view has landmarks; the views contradict each other; the found points are no face, or one of an
            impossible size in `units`; or one view alone has to do and `units` is None.
    """
    which = [i for i, view in enumerate(views) if view.landmarks is not None]
    if not which:
        raise InputError(
            f"no face found in any of the {len(views)} views of the scene: add a view that shows the face from the "
            "front or a three-quarter view"
        )
    seen = _gather([views[i] for i in which], len(face.positions))
    if not _has_baseline(seen):
        return _from_one_view(views, which, units, face)
    inliers = _agreeing(seen, face)
    points = _triangulate(seen, inliers, np.ones(len(which)))
    found = _align(points, face)
    # Landmarks of a face seen from its side are far less exact: weigh each view by how it sees the face now located.
    centres = found.apply(torch.from_numpy(seen.centres)).numpy()
    trust = np.array([max(0.05, np.cos(np.radians(turned_degrees(centre)))) ** 2 for centre in centres])
    points = _triangulate(seen, inliers, trust)
    found = _align(points, face)
    _check(found, points, face, units)
    used = {which[i] for i in np.flatnonzero(inliers)}
    off = dict(zip(which, (_off(seen, points, face) * float(found.scale) * UNIT_MM).tolist(), strict=True))
    turned = dict(
        zip(which, (turned_degrees(c) for c in found.apply(torch.from_numpy(seen.centres)).numpy()), strict=True)
    )
    each = range(len(views))
    return HeadPlacement(
        found.to(torch.float32), tuple(i in used for i in each), tuple(off.get(i) for i in each),
        tuple(turned.get(i) for i in each),
    )  # fmt: skip


def _gather(views: Sequence[View], count: int) -> _Seen:
    projections, centres, pixels = [], [], []
    for view in views:
        assert view.landmarks is not None
        pose = view.camera.T_world_camera.detach().cpu().double().numpy()
        rotation = pose[:3, :3].T
        K = view.camera.K.detach().cpu().double().numpy()
        projections.append(K @ np.concatenate([rotation, -rotation @ pose[:3, 3:]], 1))
        centres.append(pose[:3, 3])
        pixels.append(view.landmarks[:count].detach().cpu().double().numpy())
    stacked = np.stack(pixels)
    return _Seen(np.stack(projections), np.stack(centres), stacked, (stacked.max(1) - stacked.min(1)).max(1))


def _directions(seen: _Seen) -> Float[np.ndarray, "v 3"]:
    """Return the world direction from each camera to the middle of its face."""
    middle = np.concatenate([seen.pixels.mean(1), np.ones((len(seen.P), 1))], 1)
    rays = np.linalg.solve(seen.P[:, :, :3], middle[:, :, None])[:, :, 0]
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _has_baseline(seen: _Seen) -> bool:
    directions = _directions(seen)
    return bool((directions @ directions.T).min() < np.cos(np.radians(LEAST_ANGLE)))


def _agreeing(seen: _Seen, face: FaceLandmarks) -> np.ndarray:
    """Return which views agree with the pair of views that most others agree with.

    Raises:
        InputError: no two views agree.
    """
    firm = np.argsort(-face.weights.numpy(), kind="stable")[:60]
    few = _Seen(seen.P, seen.centres, seen.pixels[:, firm], seen.sizes)
    directions = _directions(seen)
    best, most = np.zeros(len(seen.P), bool), (1, 0.0)
    for a, b in combinations(range(len(seen.P)), 2):
        if directions[a] @ directions[b] > np.cos(np.radians(LEAST_ANGLE)):
            continue
        pair = np.zeros(len(seen.P))
        pair[[a, b]] = 1.0
        points = _solve(few, np.repeat(pair[:, None], len(firm), 1))
        errors = np.median(_errors(few, points), axis=1) / seen.sizes
        agrees = errors < AGREES
        score = (int(agrees.sum()), -float(np.median(errors[agrees])) if agrees.any() else 0.0)
        if agrees[a] and agrees[b] and score > most:
            best, most = agrees, score
    if not best.any():
        raise InputError(
            f"the faces found in {len(seen.P)} views of the scene contradict its cameras: check that cameras and "
            "images belong together"
        )
    return best


def _triangulate(seen: _Seen, inliers: np.ndarray, trust: Float[np.ndarray, "v"]) -> Float[np.ndarray, "n 3"]:
    """Return each landmark's world position over all agreeing views, single bad observations left out softly."""
    weights = np.repeat((inliers * trust)[:, None], seen.pixels.shape[1], 1)
    points = _solve(seen, weights / seen.sizes[:, None] ** 2)
    for _ in range(ROUNDS):
        errors = _errors(seen, points) / seen.sizes[:, None]
        scale = max(2.0 * float(np.median(errors[inliers])), 1e-6)
        robust = weights * ((scale**2 / (scale**2 + errors**2)) ** 2 + 1e-9)
        # A linear equation's error is the pixel error times the depth.
        depths = points @ seen.P[:, 2, :3].T + seen.P[:, 2, 3]
        points = _solve(seen, robust / (depths.T * seen.sizes[:, None]) ** 2)
    return points


def _solve(seen: _Seen, weights: Float[np.ndarray, "v n"]) -> Float[np.ndarray, "n 3"]:
    """Return the linear triangulation (Hartley and Zisserman, 2004, section 12.2) of all landmarks."""
    P = seen.P[:, None]
    rows = np.stack([seen.pixels[..., axis, None] * P[..., 2, :] - P[..., axis, :] for axis in (0, 1)], 2)
    A, b = rows[..., :3], -rows[..., 3]
    normal = np.einsum("vn,vnri,vnrj->nij", weights, A, A, optimize=True)
    right = np.einsum("vn,vnri,vnr->ni", weights, A, b, optimize=True)
    return np.linalg.solve(normal, right[..., None])[..., 0]


def _errors(seen: _Seen, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "v n"]:
    """Return reprojection errors in pixels; points behind a camera count as very wrong."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], 1) @ seen.P.transpose(0, 2, 1)
    depth = homogeneous[..., 2:]
    away = np.linalg.norm(homogeneous[..., :2] / np.where(depth > 0, depth, 1.0) - seen.pixels, axis=2)
    return np.where(depth[..., 0] > 0, away, 1e6)


def _off(seen: _Seen, points: Float[np.ndarray, "n 3"], face: FaceLandmarks) -> Float[np.ndarray, "v"]:
    """Return each view's weighted mean distance between landmarks and points, at the points' depth, world units."""
    depths = (points @ seen.P[:, 2, :3].T + seen.P[:, 2, 3]).T
    focal = np.linalg.norm(np.cross(seen.P[:, 2, :3], seen.P[:, 0, :3]), axis=1)  # of P's rows, as P[2] has length 1
    weights = face.weights.double().numpy()
    return ((_errors(seen, points) * np.abs(depths) / focal[:, None]) @ weights) / weights.sum()


def _align(points: Float[np.ndarray, "n 3"], face: FaceLandmarks) -> Similarity:
    """Return the head's inner frame from the world's (double), by robustly weighted Procrustes alignment."""
    source, target = torch.from_numpy(points), face.positions.double() / UNIT_MM
    weights = robust = face.weights.double()
    found = procrustes(source, target, robust)
    for _ in range(ROUNDS):
        distance = (found.apply(source) - target).norm(dim=1)
        scale = max(2.0 * weighted_median(distance.numpy(), weights.numpy()), 1e-9)
        robust = weights * (scale**2 / (scale**2 + distance**2)) ** 2
        found = procrustes(source, target, robust)
    return found


def _check(found: Similarity, points: Float[np.ndarray, "n 3"], face: FaceLandmarks, units: Units | None) -> None:
    """Refuse a placement that no head has."""
    square = ((found.apply(torch.from_numpy(points)) * UNIT_MM - face.positions.double()) ** 2).sum(1)
    error = float((face.weights * square).sum() / face.weights.sum()) ** 0.5
    if not error < WORST_SHAPE_MM:
        raise InputError(
            f"the points that the views of the scene show are {error:.0f} mm from any face: check that cameras and "
            "images belong together"
        )
    if units is None:
        return
    size = UNIT_IN_MM[units] / (float(found.scale) * UNIT_MM)
    if not SIZE_RANGE[0] < size < SIZE_RANGE[1]:
        raise InputError(
            f"the face in the scene would be {size:.3g} times as large as a human one in {units}: give the unit of "
            "length of the scene's cameras"
        )


def _from_one_view(
    views: Sequence[View], which: Sequence[int], units: Units | None, face: FaceLandmarks
) -> HeadPlacement:
    """Return the placement from the one view whose landmarks fit the mean face best."""
    if units is None:
        raise InputError(
            f"one view ({views[which[0]].name}) does not tell the scene's scale: give the unit of length of its cameras"
        )
    points, weights = face.positions.double().numpy(), face.weights.double().numpy()
    pixels = {i: views[i].landmarks[: len(points)].detach().cpu().double().numpy() for i in which}  # type: ignore[index]
    poses = {
        i: solve_pose(points, pixels[i], weights, views[i].camera.K.detach().cpu().double().numpy()) for i in which
    }
    chosen = min(which, key=lambda i: poses[i].error / float(np.ptp(pixels[i], axis=0).max()))
    pose = poses[chosen]
    check_pose(pose, points, pixels[chosen], views[chosen].name)
    unit = UNIT_IN_MM[units]
    camera_from_head = Similarity(
        torch.from_numpy(pose.rotation), torch.from_numpy(pose.translation / unit), torch.tensor(1 / unit).double()
    )
    T_world_camera = views[chosen].camera.T_world_camera.detach().cpu().double()
    world_from_camera = Similarity(T_world_camera[:3, :3], T_world_camera[:3, 3], torch.ones(()).double())
    head_mm_from_world = world_from_camera.compose(camera_from_head).inverse()
    found = Similarity.scaling(1 / UNIT_MM, torch.float64).compose(head_mm_from_world)
    fits = {i for i in which if poses[i].error < WORST_FIT * float(np.ptp(pixels[i], axis=0).max())}
    return HeadPlacement(found.to(torch.float32), tuple(i in fits for i in range(len(views))))
