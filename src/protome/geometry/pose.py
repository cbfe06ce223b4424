"""The pose of a known rigid face in one camera, from points of it in the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int

from protome.errors import InputError

WORST_FIT = 0.08
"""Largest weighted error of a believable fit, in units of the face's size in the image; faces stay below 0.04."""
MOST_TURNED = 110.0
"""Degrees from the front at which no face is seen any more."""
GUESSES, GUESS_POINTS = 40, 8
LEAST_SPREAD = 0.03
"""Median distance of a face's normalised image points from their middle below which they are enlarged before the
closed-form solver sees them, because it takes points that vary too little for one point. 0.03 is a face at 1.6 m."""
STEPS = 30


@dataclass(frozen=True)
class FacePose:
    """The mean face's rigid pose in one camera: x_camera = rotation @ x_head + translation."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    """In the units of the points."""
    error: float
    """Weighted root mean square reprojection error in pixels."""

    @property
    def centre(self) -> Float[np.ndarray, "3"]:
        """The camera's optical centre in the head frame."""
        return -self.rotation.T @ self.translation


def turned_degrees(centre: Float[np.ndarray, "3"]) -> float:
    """Return how far a camera at `centre` (head frame) looks past the face's front, in degrees."""
    return float(np.degrees(np.arccos(np.clip(centre[2] / np.linalg.norm(centre), -1.0, 1.0))))


def check_pose(pose: FacePose, points: Float[np.ndarray, "n 3"], pixels: Float[np.ndarray, "n 2"], name: str) -> None:
    """Refuse a pose that no face has.

    Raises:
        InputError: the face is behind the camera, seen from behind, or does not fit the landmarks.
    """
    size = float((pixels.max(0) - pixels.min(0)).max())
    depths = points @ pose.rotation[2] + pose.translation[2]
    behind = bool(depths.min() <= 0) or turned_degrees(pose.centre) > MOST_TURNED
    if behind or not np.isfinite(pose.error) or pose.error > WORST_FIT * size:
        raise InputError(
            f"what was found in {name} does not fit a face seen by a camera: "
            "give a photo that shows the face larger and from the front or a three-quarter view"
        )


def solve_pose(
    points: Float[np.ndarray, "n 3"],
    pixels: Float[np.ndarray, "n 2"],
    weights: Float[np.ndarray, "n"],
    K: Float[np.ndarray, "3 3"],
) -> FacePose:
    """Return the pose that explains the pixels best, whatever a minority of them says.

    Start: SQPnP (Terzakis and Lourakis, 2020) on all points and on random few, taking the one with the least weighted
    median error; of a face that is small beside the focal length, in coordinates scaled to the face (`_FaceCamera`).
    Then Gauss-Newton with Geman-McClure weights, whose scale shrinks to the error of the bulk.

    Raises:
        ValueError: the points or the pixels admit no pose at all (all equal, or not finite).
    """
    focal = float(np.sqrt(abs(K[0, 0] * K[1, 1])))
    # Pixels of an ideal camera of the same scale: OpenCV's solver knows no skew.
    rays = np.concatenate([pixels, np.ones_like(pixels[:, :1])], 1) @ np.linalg.inv(K).T
    seen = focal * rays[:, :2] / rays[:, 2:]
    ideal = np.diag([focal, focal, 1.0])
    vector, shift, middle = _start(points, seen, weights, ideal)
    scale = max(4.0 * middle, 1e-9 * focal)
    for _ in range(STEPS):
        projected, jacobian = _project(points, vector, shift, ideal)
        residual = seen - projected
        square = (residual**2).sum(1)
        robust = weights * (scale**2 / (scale**2 + square)) ** 2
        normal = np.einsum("n,nia,nib->ab", robust, jacobian, jacobian)
        gradient = np.einsum("n,nia,ni->a", robust, jacobian, residual)
        # Rotation and translation have very different units.
        diagonal = np.sqrt(np.diag(normal)) + 1e-30
        step = (
            np.linalg.solve(normal / np.outer(diagonal, diagonal) + 1e-12 * np.eye(6), gradient / diagonal) / diagonal
        )
        vector, shift = vector + step[:3], shift + step[3:]
        scale = max(2.0 * weighted_median(np.sqrt(square), weights), 0.7 * scale, 1e-9 * focal)
    square = ((_project(points, vector, shift, ideal)[0] - seen) ** 2).sum(1)
    error = float(np.sqrt((weights * square).sum() / weights.sum()))
    return FacePose(cv2.Rodrigues(vector)[0], shift, error)


def weighted_median(values: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n"]) -> float:
    """Return the value up to which half of the weight lies."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


@dataclass(frozen=True)
class _FaceCamera:
    """A camera in the same place that looks at the face's middle, in which the face is not too small.

    To turn a camera is exact. Enlarging normalised image points is the same as moving a distant face nearer, up to the
    perspective within the face, which is what a long lens leaves almost nothing of: good enough for a start.
    """

    rotation: Float[np.ndarray, "3 3"]
    """x_face_camera = rotation @ x_camera."""
    zoom: float
    """What normalised image points are multiplied by: 1 for a face that is large enough."""
    seen: Float[np.ndarray, "n 2"]
    """Normalised image points of the face."""

    @staticmethod
    def of(rays: Float[np.ndarray, "n 2"], weights: Float[np.ndarray, "n"]) -> _FaceCamera:
        """Return the camera for normalised image points of the given one, whatever a minority of them says.

        Raises:
            ValueError: half of the points' weight lies in one place, or some are not finite.
        """
        axis = np.array([*(weighted_median(values, weights) for values in rays.T), 1.0])
        axis /= np.linalg.norm(axis)
        # The shortest turn that brings the axis to z (Rodrigues' formula for the vector axis x z).
        across = np.array([[0.0, 0.0, -axis[0]], [0.0, 0.0, -axis[1]], [axis[0], axis[1], 0.0]])
        rotation = np.eye(3) + across + across @ across / (1.0 + axis[2])
        turned = np.concatenate([rays, np.ones_like(rays[:, :1])], 1) @ rotation.T
        seen = turned[:, :2] / turned[:, 2:]
        spread = weighted_median(np.linalg.norm(seen, axis=1), weights)
        if not np.isfinite(seen).all() or not spread > 0:
            raise ValueError("no pose explains these points")
        zoom = max(1.0, LEAST_SPREAD / spread)
        return _FaceCamera(rotation, zoom, zoom * seen)

    def solve(
        self, points: Float[np.ndarray, "n 3"], few: Int[np.ndarray, "k"]
    ) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]] | None:
        """Return rotation vector and translation in the given camera that explain a few of the points, or None."""
        try:
            solved, vector, shift = cv2.solvePnP(points[few], self.seen[few], np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP)
        except cv2.error:  # the few may lie so close together that they count as one point
            return None
        if not solved or not np.isfinite(vector).all() or not np.isfinite(shift).all():
            return None
        rotation = self.rotation.T @ cv2.Rodrigues(vector)[0]
        place = self.rotation.T @ (shift[:, 0] * [1.0, 1.0, self.zoom])
        return cv2.Rodrigues(rotation)[0][:, 0], place


def _start(
    points: Float[np.ndarray, "n 3"],
    seen: Float[np.ndarray, "n 2"],
    weights: Float[np.ndarray, "n"],
    K: Float[np.ndarray, "3 3"],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"], float]:
    """Return rotation vector, translation and weighted median error of the best of many quick solutions."""
    rng = np.random.default_rng(0)
    chance = weights / weights.sum()
    camera = _FaceCamera.of(seen / K[0, 0], weights)
    best, least = None, np.inf
    for guess in range(1 + GUESSES):
        few = np.arange(len(points)) if guess == 0 else rng.choice(len(points), GUESS_POINTS, replace=False, p=chance)
        found = camera.solve(points, few)
        if found is None:
            continue
        errors = np.linalg.norm(_project(points, *found, K)[0] - seen, axis=1)
        middle = weighted_median(errors, weights)
        if middle < least:
            best, least = found, middle
    if best is None:
        raise ValueError("no pose explains these points")
    return *best, least


def _project(
    points: Float[np.ndarray, "n 3"],
    vector: Float[np.ndarray, "3"],
    shift: Float[np.ndarray, "3"],
    K: Float[np.ndarray, "3 3"],
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2 6"]]:
    """Return pixels and their derivatives by rotation vector and translation."""
    projected, jacobian = cv2.projectPoints(points, vector, shift, K, None)
    return projected[:, 0], jacobian[:, :6].reshape(-1, 2, 6)
