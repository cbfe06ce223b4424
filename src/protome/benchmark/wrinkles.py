"""Photos of held-out heads with wrinkles that they do not have: their normals are known, and so is the light."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float

from protome.capture.skin import skin_mask
from protome.geometry.mesh import Mesh, linear_from_srgb, srgb_from_linear
from protome.geometry.neighbours import tree_of
from protome.relief.light import fitted_light, shade
from protome.render.cast import cast, interpolate
from protome.scene import View

LEAST_SLOPE = 0.05
"""Slope of the added height from which on a place is a wrinkle."""
_STEP_MM = 0.05
_AMBIENT, _LAMP = 0.45, 0.75
_BROWS = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300))
_TOP, _BETWEEN = 10, 168
_FOLDS = ((129, 203, 206, 216, 212), (358, 423, 426, 436, 432))
"""Landmarks from the wings of the nose past the corners of the mouth."""
_CROWS = (33, 263)
_UNDER = ((111, 117, 118, 119), (340, 346, 347, 348))


@dataclass(frozen=True)
class Curve:
    """A groove along points of the surface."""

    points: Float[np.ndarray, "n 3"]
    """Close together, head frame, millimetres."""
    depth: float
    width: float


@dataclass(frozen=True)
class Wrinkled:
    """A photo with wrinkles, and their truth on its pixels."""

    view: View
    normals: Float[np.ndarray, "h w 3"]
    """True unit normals, wrinkles included, in the frame of the camera; 0 beside the head."""
    smooth: Float[np.ndarray, "h w 3"]
    """The same without wrinkles."""
    skin: Bool[np.ndarray, "h w"]
    """Skin of the face."""

    @property
    def wrinkles(self) -> Bool[np.ndarray, "h w"]:
        """The skin that has wrinkles."""
        return self.skin & (np.linalg.norm(self.normals - self.smooth, axis=2) > LEAST_SLOPE)


def grooves(landmarks: Float[np.ndarray, "478 3"], seed: int) -> list[Curve]:
    """Return grooves of a face: forehead, crow's feet, under the eyes, beside the nose; landmarks in millimetres."""
    rng = np.random.default_rng(seed)
    curves = []
    left, right = landmarks[list(_BROWS[0])].mean(0), landmarks[list(_BROWS[1])].mean(0)
    rise = landmarks[_TOP] - landmarks[_BETWEEN]
    for height in (0.25, 0.42, 0.6):
        share = np.linspace(-0.15, 1.15, 60)[:, None]
        line = left + share * (right - left) + height * rise
        line = line + 1.2 * np.sin(6 * share + rng.uniform(0, 6)) * rise / np.linalg.norm(rise)
        curves.append(Curve(line, rng.uniform(0.3, 0.6), rng.uniform(1.2, 1.8)))
    for side in range(2):
        curves.append(Curve(_dense(landmarks[list(_FOLDS[side])]), rng.uniform(0.5, 0.9), rng.uniform(1.8, 2.4)))
        curves.append(Curve(_dense(landmarks[list(_UNDER[side])]), rng.uniform(0.25, 0.5), rng.uniform(1.2, 1.8)))
        corner, out = landmarks[_CROWS[side]], np.sign(landmarks[_CROWS[side], 0])
        for turn in (-0.5, 0.0, 0.5):
            way = np.array([out * np.cos(turn), np.sin(turn), -0.6])
            start = corner + np.array([5 * out, 0.0, -2.0])
            curves.append(Curve(start + way * np.linspace(0, 13, 30)[:, None], 0.3, 1.2))
    return curves


def _dense(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"]:
    place = np.linspace(0, len(points) - 1, 20 * (len(points) - 1) + 1)
    return np.stack([np.interp(place, np.arange(len(points)), points[:, axis]) for axis in range(3)], 1)


def slopes_of(
    curves: list[Curve], points: Float[np.ndarray, "k 3"], normals: Float[np.ndarray, "k 3"], mesh: Mesh
) -> Float[np.ndarray, "k 3"]:
    """Return the gradient along the surface of the height that grooves give at points of a mesh."""
    tree = tree_of(mesh.vertices)
    on = [replace(curve, points=mesh.vertices[tree.query(curve.points)[1]]) for curve in curves]
    trees = [(curve, tree_of(_smoothed(curve.points))) for curve in on]

    def height(at: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k"]:
        total = np.zeros(len(at))
        for curve, near in trees:
            away, which = near.query(at)
            ends = np.clip(np.minimum(which, len(curve.points) - 1 - which) / (0.2 * len(curve.points)), 0, 1)
            far = away / curve.width
            total -= curve.depth * ends * (np.exp(-(far**2)) - 0.3 * np.exp(-((far - 2) ** 2)))
        return total

    axis = np.where(np.abs(normals[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(normals, axis)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    slope = np.zeros_like(points)
    for way in (first, np.cross(normals, first)):
        rise = (height(points + _STEP_MM * way) - height(points - _STEP_MM * way)) / (2 * _STEP_MM)
        slope += rise[:, None] * way
    return slope


def _smoothed(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Return a curve without the corners of the vertices that it runs over."""
    padded, window = np.pad(points, ((6, 6), (0, 0)), "edge"), np.hanning(13) / np.hanning(13).sum()
    return np.stack([np.convolve(padded[:, axis], window, "valid") for axis in range(3)], 1)


def wrinkled(view: View, mesh: Mesh, curves: list[Curve], lamp: Float[np.ndarray, "3"]) -> Wrinkled | None:
    """Return a photo in new light with grooves; None where it has no landmarks.

    The camera and the mesh, which has normals, are in the head frame in millimetres. The photo's own light, fitted to
    its true normals, is divided out, and that of a lamp in a unit direction (head frame) and of even surroundings put
    in, on the normals with grooves.
    """
    if view.landmarks is None:
        return None
    assert mesh.normals is not None
    hits = cast(mesh, view.camera)
    shape = (view.camera.height, view.camera.width)
    skin = skin_mask(view.landmarks, *shape).numpy() & (view.mask.numpy() > 0.5)
    normals = interpolate(mesh.normals, mesh, hits).double().numpy()
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    pixel = hits.pixel.numpy()
    linear = linear_from_srgb(np.clip(view.image.double().numpy(), 0, 1)).reshape(-1, 3)
    on = skin.reshape(-1)[pixel]
    light = fitted_light(normals[on], linear[pixel[on]])
    # Beyond the face the light is that of the photo, without a border where it changes.
    soft = cv2.GaussianBlur(cv2.erode(_face(view, shape), np.ones((9, 9), np.uint8)).astype(np.float64), (0, 0), 4.0)
    share = soft.reshape(-1)[pixel, None]
    near = np.flatnonzero(share[:, 0] > 0)
    bent = normals.copy()
    slope = slopes_of(curves, hits.points.double().numpy()[near], normals[near], mesh)
    bent[near] -= slope * share[near]
    bent /= np.linalg.norm(bent, axis=1, keepdims=True)
    lit = _AMBIENT + _LAMP * np.clip(bent @ lamp, 0, None)
    lit /= np.median(lit[on])
    own = np.stack([shade(light[:, channel], normals) for channel in range(3)], 1)
    linear[pixel] *= share * (lit[:, None] / own) + 1 - share
    image = srgb_from_linear(np.clip(linear, 0, 1)).reshape(*shape, 3)
    turn = view.camera.T_world_camera[:3, :3].double().numpy()
    truth, smooth = np.zeros((2, shape[0] * shape[1], 3))
    truth[pixel], smooth[pixel] = bent @ turn, normals @ turn
    kept = skin & (soft > 0.99)
    return Wrinkled(
        replace(view, image=torch.from_numpy(image).float()), truth.reshape(*shape, 3), smooth.reshape(*shape, 3), kept
    )  # fmt: skip


def _face(view: View, shape: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    assert view.landmarks is not None
    filled = np.zeros(shape, np.uint8)
    hull = cv2.convexHull(np.rint(view.landmarks.numpy()).astype(np.int32))
    cv2.fillConvexPoly(filled, hull, [1])
    return filled
