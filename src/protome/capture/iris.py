"""Diameters of irises in photos: circles that are seen at an angle, fitted to the limbus with subpixel accuracy.

An iris is searched near MediaPipe's landmark, as the circle at whose sides the picture brightens most: lids cover what
is above and below. Along rays from its middle its limbus is then found with subpixel accuracy. The circle is seen from
the direction in which the eye is turned away from the camera, which follows from the iris's place on the eyeball: the
fit gives its radius as if it were not foreshortened, which is the longer half axis of the ellipse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter, gaussian_filter1d, map_coordinates
from torch import Tensor

from protome.capture.skin import LEFT_EYE, RIGHT_EYE, eyes_closed
from protome.geometry.camera import Camera
from protome.geometry.mesh import linear_from_srgb
from protome.geometry.pose import turned_degrees
from protome.landmarks import load_face_landmarks
from protome.scene import View

IRIS = 5
"""How many landmarks each iris has; the right one's come first, after the face's 468."""
CORNERS = ((33, 133), (362, 263))
"""Landmarks at the corners of the right and the left eye."""
EYEBALL_MM = ((-31.0, 2.0, -9.5), (31.0, 2.0, -9.5))
"""Centres of the right and the left eyeball of the mean head, head frame."""
IRIS_MM = 11.7
"""Mean diameter of human irises."""
LIMBUS_AHEAD_MM = 12.0
"""From an eyeball's centre to the plane of the limbus."""
LEAST_PX = 20.0
"""Diameter from which an iris is measured."""
MOST_TURNED_DEG = 32.0
"""Angle between an eye's gaze and its line of sight up to which its iris is measured."""
SIDEWAYS_DEG = 42.0
"""The limbus is sought within this angle of the line through the eye's corners: lids cover what is above and below."""
SEARCH = 1.0
"""How far from its landmark an iris is searched, in its expected radii."""
RADII = (0.76, 1.34, 0.04)
"""Least radius, greatest and step of the search, in those that the distance from the camera makes expect."""
ACROSS = 0.14
"""Half the distance over which the step of the brightness at the limbus is taken, as a share of the radius."""
NEAR = 0.14
"""How far from the circle that was found its limbus may lie, as a share of the radius."""
LEAST_SIDE = 0.5
"""Share of the rays that must lie between the lids on each side of the iris."""
RAYS_PER_SIDE = 33
LEAST_POINTS = 9
"""On each side of the iris; a circle that is seen on one side has no certain radius."""
ROUNDS = 4
PLACE_DEG = 6.0
"""Standard deviation of the angle between gaze and line of sight, from errors of the eyeball's place."""
POINT_STD = 0.02
"""Least standard deviation of a radius that was measured, as a share: blur and lids shift the limbus."""
BRIGHT = 95
"""Percentile of the brightness between the lids that counts as 1."""
LEAST_CONTRAST = 0.1
"""Step of the brightness at the limbus, as a share of the eye's brightest parts."""
PLAUSIBLE = 0.2
"""Logarithm of an iris's diameter over the mean up to which it is believed: people's irises and the scene's size."""
MOST_SPREAD = 0.045
"""An iris whose diameter is less certain is not an iris, or half covered."""
MOST_YAW_DEG = 36.0
"""Angle of the camera from the face's front up to which eyeballs are placed well enough to know foreshortening."""


@dataclass(frozen=True)
class Iris:
    """An iris that was measured in a photo."""

    centre: Float[np.ndarray, "2"]
    """Pixels."""
    diameter_px: float
    """As if it were not foreshortened."""
    diameter_mm: float
    """What that is at the eye's distance, by the camera in the head frame."""
    spread: float
    """Standard deviation of the logarithm of the diameter as it was measured."""
    turned_deg: float
    """Angle between the gaze and the line of sight."""


def measure_irises(view: View, camera: Camera) -> tuple[Iris, ...]:
    """Return a face's irises that are large, open and seen well; the camera is in the head frame, millimetres."""
    camera = camera.to(torch.float64)
    if view.landmarks is None or eyes_closed(view.landmarks) or turned_degrees(camera.centre.numpy()) > MOST_YAW_DEG:
        return ()
    landmarks = view.landmarks.detach().cpu().double().numpy()
    eyes = (_measured(view.image, landmarks, eye, camera) for eye in (0, 1))
    return tuple(eye for eye in eyes if eye is not None)


def _measured(
    image: Float[Tensor, "h w 3"], landmarks: Float[np.ndarray, "478 2"], eye: int, camera: Camera
) -> Iris | None:
    seen = landmarks[len(landmarks) - 2 * IRIS + eye * IRIS]
    ball = _eyeball(landmarks, eye, camera)
    depth = float(camera.to_camera(torch.tensor(EYEBALL_MM[eye]).double()[None])[0, 2]) - LIMBUS_AHEAD_MM
    if depth <= 0 or camera.focal / depth * IRIS_MM < 0.8 * LEAST_PX:
        return None
    across = camera.focal / depth * LIMBUS_AHEAD_MM
    expected = camera.focal / depth * IRIS_MM / 2
    patch, corner = _patch(image, seen, 3.5 * expected)
    if patch is None:
        return None
    open_eye = _opening(landmarks[list((RIGHT_EYE, LEFT_EYE)[eye])] - corner, patch.shape)
    corners = landmarks[list(CORNERS[eye])]
    level = float(np.arctan2(*(corners[1] - corners[0])[::-1]))
    if not open_eye.any():
        return None
    patch = patch / max(float(np.percentile(patch[open_eye], BRIGHT)), 1e-6)
    eyes = _Eye(patch, open_eye, level, (ball - corner), across)
    start = eyes.search(seen - corner, expected)
    if start is None:
        return None
    circle, residual, count = start, 1.0, 0
    for _ in range(ROUNDS):
        points = eyes.limbus(circle)
        fitted = None if points is None else eyes.fitted(points, circle)
        if fitted is None:
            return None
        circle, residual, count = fitted
    away = float(np.linalg.norm(circle.middle - start.middle)) + abs(circle.radius - start.radius)
    angle = float(np.arcsin(np.clip(np.linalg.norm(eyes.tilt(circle.middle)), 0, 1)))
    if away > 0.35 * start.radius or np.degrees(angle) > MOST_TURNED_DEG or 2 * circle.radius < LEAST_PX:
        return None
    lean = np.tan(angle) * np.radians(PLACE_DEG)
    spread = float(np.sqrt(POINT_STD**2 + (residual / np.sqrt(count / 4) / circle.radius) ** 2 + lean**2))
    diameter = 2 * float(circle.radius)
    diameter_mm = diameter * depth / camera.focal
    if spread > MOST_SPREAD or abs(np.log(diameter_mm / IRIS_MM)) > PLAUSIBLE:
        return None
    return Iris(circle.middle + corner, diameter, diameter_mm, spread, float(np.degrees(angle)))


def _eyeball(landmarks: Float[np.ndarray, "478 2"], eye: int, camera: Camera) -> Float[np.ndarray, "2"]:
    """Return where an eyeball's centre is in the picture: as on the mean head, moved with the corners of the eye."""
    face = load_face_landmarks().positions.double()
    mean = camera.project(face[list(CORNERS[eye])]).numpy().mean(0)
    ball = camera.project(torch.tensor(EYEBALL_MM[eye]).double()[None]).numpy()[0]
    return ball + landmarks[list(CORNERS[eye])].mean(0) - mean


def _patch(
    image: Float[Tensor, "h w 3"], centre: Float[np.ndarray, "2"], reach: float
) -> tuple[Float[np.ndarray, "a b"] | None, Float[np.ndarray, "2"]]:
    """Return the red light around an eye, in which all irises are darker than the sclera, and the patch's corner."""
    low = np.floor(centre - reach).astype(int)
    high = np.ceil(centre + reach).astype(int)
    height, width = image.shape[:2]
    if (low < 0).any() or high[0] > width or high[1] > height:
        return None, low.astype(float)
    part = image[low[1] : high[1], low[0] : high[0]].detach().cpu().double().numpy()
    # Lenses and motion blur light, not sRGB values, in which a blurred limbus would move inwards.
    return linear_from_srgb(part)[..., 0], low.astype(float)


def _opening(rim: Float[np.ndarray, "n 2"], shape: tuple[int, ...]) -> Bool[np.ndarray, "a b"]:
    """Return the pixels between the lids."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(rim - 0.5).astype(np.int32)], 1)
    return mask.astype(bool)


@dataclass(frozen=True)
class _Circle:
    """A circle that is seen at an angle."""

    middle: Float[np.ndarray, "2"]
    """Pixels of the patch."""
    radius: float


@dataclass(frozen=True)
class _Eye:
    """One eye's pixels, and how its iris is foreshortened wherever it lies on the eyeball."""

    patch: Float[np.ndarray, "a b"]
    open_eye: Bool[np.ndarray, "a b"]
    """Between the lids."""
    level: float
    """Direction of the line through the eye's corners, radians."""
    ball: Float[np.ndarray, "2"]
    """The eyeball's centre, pixels of the patch."""
    across: float
    """Pixels from there at which an iris would be seen from its side."""

    def tilt(self, middle: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2"]:
        """Return the direction of the foreshortening of an iris there, as long as the sine of its angle."""
        return (middle - self.ball) / self.across

    def narrowing(self, middle: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n 2 2"]:
        """Return the map from offsets on a circle that faces the camera to those that are seen."""
        tilt = self.tilt(middle)
        sine = np.clip(np.linalg.norm(tilt, axis=-1), 1e-9, 0.95)[..., None, None]
        way = tilt / np.maximum(np.linalg.norm(tilt, axis=-1, keepdims=True), 1e-9)
        return np.eye(2) + (np.sqrt(1 - sine**2) - 1) * way[..., :, None] * way[..., None, :]

    def search(self, seen: Float[np.ndarray, "2"], expected: float) -> _Circle | None:
        """Return the circle at whose sides the picture brightens most (the operator of Daugman, 1993), or None."""
        smooth = gaussian_filter(self.patch, 0.06 * expected)
        steps = np.arange(-SEARCH, SEARCH + 1e-6, 0.08)
        x, y = np.meshgrid(steps, 0.7 * steps)
        turn = np.array([[np.cos(self.level), np.sin(self.level)], [-np.sin(self.level), np.cos(self.level)]])
        middles = seen + expected * np.stack([x.ravel(), y.ravel()], 1) @ turn
        ways = self._ways(np.arange(-36, 37, 6.0))
        offsets = np.einsum("mij,kj->mki", self.narrowing(middles), ways)
        best, found = LEAST_CONTRAST, None
        for factor in np.arange(*RADII):
            radius = factor * expected
            rim = middles[:, None] + radius * offsets
            outer, inner = rim + ACROSS * radius * offsets, rim - ACROSS * radius * offsets
            good = self._inside(outer) & self._inside(inner)
            rise = np.where(good, _at(smooth, outer) - _at(smooth, inner), 0.0)
            half = len(ways) // 2
            count = np.stack([good[:, :half].sum(1), good[:, half:].sum(1)])
            sides = np.stack([rise[:, :half].sum(1), rise[:, half:].sum(1)]) / np.maximum(count, 1)
            value = np.where((count >= LEAST_SIDE * half).all(0), sides.min(0) + 0.3 * sides.max(0), -1.0)
            # Irises far from the expected size need more evidence.
            value = value * np.exp(-0.5 * (np.log(factor) / 0.25) ** 2)
            if value.max() > best:
                best, found = float(value.max()), _Circle(middles[int(value.argmax())], radius)
        return found

    def limbus(self, circle: _Circle) -> Float[np.ndarray, "n 2"] | None:
        """Return places near a circle where the picture brightens most; None where one side shows too few."""
        steps = np.linspace(0.72, 1.28, 57)
        ways = self._ways(np.linspace(-SIDEWAYS_DEG, SIDEWAYS_DEG, RAYS_PER_SIDE))
        offsets = circle.radius * ways @ self.narrowing(circle.middle).T
        places = circle.middle + steps[None, :, None] * offsets[:, None]
        inside = self._inside(places)
        sigma = 0.05 / (steps[1] - steps[0])
        values = _at(self.patch, places)
        slope = gaussian_filter1d(values, sigma, axis=1, order=1)
        near = np.abs(steps - 1) < NEAR
        peak = np.where(inside & near, slope, -np.inf).argmax(1)
        row = np.arange(len(ways))
        before, at, after = slope[row, peak - 1], slope[row, peak], slope[row, peak + 1]
        bend = before - 2 * at + after
        offset = np.where(bend < -1e-12, 0.5 * (before - after) / np.where(bend < -1e-12, bend, -1.0), 0.0)
        far = steps[peak] + np.clip(offset, -1, 1) * (steps[1] - steps[0])
        margin, reach = round(1.5 * sigma), round(ACROSS / (steps[1] - steps[0]))
        rise = values[row, np.minimum(peak + reach, len(steps) - 1)] - values[row, np.maximum(peak - reach, 0)]
        good = (
            (rise > LEAST_CONTRAST) & (bend < 0) & inside[row, peak + margin]
            & inside[row, peak - margin]
        )  # fmt: skip
        half = len(ways) // 2
        if min(good[:half].sum(), good[half:].sum()) < LEAST_POINTS:
            return None
        return circle.middle + far[good, None] * offsets[good]

    def fitted(self, points: Float[np.ndarray, "n 2"], circle: _Circle) -> tuple[_Circle, float, int] | None:
        """Return the circle through places, their scatter and how many agree; Gauss-Newton with Tukey's weights."""
        narrowing = self.narrowing(circle.middle)
        flat = points @ np.linalg.inv(narrowing).T
        centre, radius = np.linalg.solve(narrowing, circle.middle), circle.radius
        scale, weights = radius, np.ones(len(flat))
        for _ in range(12):
            offset = flat - centre
            distance = np.linalg.norm(offset, axis=1)
            residual = distance - radius
            scale = max(float(1.4826 * np.median(np.abs(residual))), 0.006 * radius)
            weights = np.clip(1 - (residual / (4.0 * scale)) ** 2, 0, None) ** 2
            rows = np.concatenate([-offset / distance[:, None], -np.ones((len(flat), 1))], 1)
            share = np.sqrt(weights)
            move = np.linalg.lstsq(rows * share[:, None], -residual * share, rcond=None)[0]
            centre, radius = centre + move[:2], radius + float(move[2])
            if not np.isfinite(radius) or radius <= 1:
                return None
            if np.linalg.norm(move) < 1e-4 * radius:
                break
        return _Circle(narrowing @ centre, radius), scale, int((weights > 0.1).sum())

    def _ways(self, degrees: Float[np.ndarray, "k"]) -> Float[np.ndarray, "m 2"]:
        """Return unit vectors to both sides along the eye, one side after the other."""
        angles = self.level + np.radians(np.concatenate([degrees, 180 + degrees]))
        return np.stack([np.cos(angles), np.sin(angles)], 1)

    def _inside(self, places: Float[np.ndarray, "*n 2"]) -> Bool[np.ndarray, "*n"]:
        at = np.floor(places).astype(int)
        height, width = self.open_eye.shape
        known = (at >= 0).all(-1) & (at[..., 0] < width) & (at[..., 1] < height)
        return known & self.open_eye[np.clip(at[..., 1], 0, height - 1), np.clip(at[..., 0], 0, width - 1)]


def _at(picture: Float[np.ndarray, "a b"], places: Float[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
    """Return a picture between its pixels, whose centres lie at +0.5."""
    return map_coordinates(picture, [places[..., 1] - 0.5, places[..., 0] - 0.5], order=1, mode="nearest")


def implied_diameters(views: Sequence[View], cameras: Sequence[Camera]) -> tuple[Iris, ...]:
    """Return all irises that photos show; the cameras are in the head frame, millimetres."""
    return tuple(iris for view, camera in zip(views, cameras, strict=True) for iris in measure_irises(view, camera))
