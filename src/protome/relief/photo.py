"""The relief that one photo shows of a face: its height on the photo's pixels, with the slopes in space."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.ndimage import distance_transform_edt, map_coordinates
from torch import Tensor

from protome.capture.skin import OVAL, disc, skin_mask
from protome.geometry.camera import Camera
from protome.geometry.mesh import Mesh, linear_from_srgb, srgb_from_linear
from protome.relief.bare import bare
from protome.relief.even import evened
from protome.relief.light import fitted_light, shade, slopes
from protome.relief.solve import HeightConfig, Shading, gradient, solve_height
from protome.relief.streaks import streaks
from protome.render.cast import MeshHits, cast, interpolate, sky_visibility
from protome.scene import View

PLAIN = 0.9
"""Share from which on a place is plain skin."""
FINEST_MM = 0.3
"""Millimetres that a pixel covers at least: finer pixels of a face hold grain, not relief."""
_LARGEST = 900
"""Pixels of the window's longer side at most."""
_MARGIN = 0.06
"""Margin around the face, as a share of its size in the photo."""
_WIDE_MM = 4.0
"""Standard deviation of what counts as wide in the brightness: it is albedo, or the coarse face's."""
_FADE_MM = 4.0
"""Width over which the relief fades to zero at lids, mouth, brows, hair and the face's rim."""
_FACING = (0.3, 0.6)
"""Cosines between normal and view direction up to which there is no relief, and from which on there is all of it."""
_OPEN = (0.6, 0.85)
"""The same of the share of the surroundings' light that the head lets through: at the foot of the nose and in the
corners of the eyes the coarse face's own occlusion is too uncertain."""
_DARK, _BRIGHT = 0.5, 2.2
"""Brightness, relative to skin in the same light, below which a place is hair, a nostril or a shadow, and above which
it shines."""
_HAIR_MM, _BESIDE_HAIR_MM = 2.0, 3.0
"""Half the width of what is hair rather than a hair, and how far beside it skin is left out."""
_CHROMA = 0.11
"""Deviation of the red and green shares from skin's from which on a place is no skin."""
_BETWEEN_EYES, _TOP = 168, 10
"""Landmarks between the eyes and at the top of the outline."""
_HIGHER, _ABOVE_BROWS = 0.45, 0.72
"""How far skin may go on above the outline, and where the brows end, in units of the distance of these two."""
_STRAY_MM = 1.2
_BEHIND_MM = 4.0
"""A point that is so much farther than what the photo shows there is hidden."""
_SKY_RAYS = 32
_FINE_MM = 0.3
_AROUND = 4.0
_CALM, _GRAIN = 0.35, 1.5
"""Share of the skin whose detail is less than grain, and how much more than there counts as grain."""
_LEAST_SKIN = 400
_MOST_DETAIL = 0.5
_STEEPEST = 1.2
_LUMA = np.array([0.25, 0.6, 0.15])
"""Red is scattered farthest under the skin, and blue has most noise."""


@dataclass(frozen=True)
class Relief:
    """Height over a face, on the pixels of a window of a photo."""

    window: View
    """The part of the photo that was used; its camera is in the head frame, millimetres."""
    height: Float32[np.ndarray, "h w"]
    """Millimetres along the face's normals, faded to 0 where the photo says nothing."""
    slope: Float32[np.ndarray, "h w 3"]
    """The height's gradient along the face, a vector in the head frame: millimetres per millimetre."""
    share: Float32[np.ndarray, "h w"]
    """1 on plain skin, 0 where there is no relief."""
    depth: Float32[np.ndarray, "h w"]
    """Of the face before the camera, millimetres; 0 beside it."""
    pixel_mm: float
    """Millimetres that a pixel covers on the face."""
    explained: Float32[np.ndarray, "h w 3"]
    """The photo as the relief explains it: smooth albedo in the fitted light; sRGB in [0, 1]."""

    def streaks(self, inside: Bool[np.ndarray, "h w"] | None = None) -> float | None:
        """Return the streaks of the height on plain skin, or the part of it that is inside; None where that is small.

        `protome.relief.streaks.streaks` says what they are.
        """
        plain = self.share > PLAIN
        found = streaks(self.height, plain if inside is None else plain & inside)
        return round(found, 3) if np.isfinite(found) else None

    @property
    def camera(self) -> Camera:
        """The window's camera."""
        return self.window.camera

    def at(self, image: Float32[np.ndarray, "h w *c"], points: Float[np.ndarray, "k 3"]) -> Float32[np.ndarray, "k *c"]:
        """Return one of the images at points of the head, by linear interpolation; 0 outside the window."""
        spot = self.camera.project(torch.from_numpy(np.ascontiguousarray(points)).to(self.camera.K)).float().numpy()
        inside = (spot > 0).all(1) & (spot[:, 0] < self.camera.width) & (spot[:, 1] < self.camera.height)
        rows, columns = np.where(inside, spot[:, 1] - 0.5, 0.0), np.where(inside, spot[:, 0] - 0.5, 0.0)
        planes = image.reshape(*image.shape[:2], -1)
        found = [map_coordinates(planes[..., k], [rows, columns], order=1, mode="nearest")
                 for k in range(planes.shape[2])]  # fmt: skip
        values = np.stack(found, 1).reshape(len(points), *image.shape[2:])
        return values * inside.reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)

    def shows(self, points: Float[np.ndarray, "k 3"]) -> Bool[np.ndarray, "k"]:
        """Return whether the photo shows the points themselves, not something before them."""
        depth = self.camera.to_camera(torch.from_numpy(np.ascontiguousarray(points)).to(self.camera.K))[:, 2]
        return depth.numpy() < self.at(self.depth, points) + _BEHIND_MM


def recover_relief(
    view: View, mesh: Mesh, face: Bool[np.ndarray, "f"] | None = None, config: HeightConfig | None = None
) -> Relief | None:
    """Return the relief that a photo shows of a face; None where it shows too little skin.

    The view's camera and the mesh, which has normals, are in the head frame in millimetres; `face` says which triangles
    can have relief, all by default.
    """
    config = config or HeightConfig()
    if view.landmarks is None:
        return None
    window = _window(view, mesh)
    seen = _Seen.of(window, mesh, face)
    plain = seen.hit & seen.skin & (seen.facing > _FACING[0])
    if int(plain.sum()) < _LEAST_SKIN:
        return None
    linear = linear_from_srgb(np.clip(window.image.double().numpy(), 0, 1))
    bright = linear @ _LUMA
    normals = seen.normals
    light = fitted_light(normals[plain], np.repeat(bright[plain][:, None], 3, 1))[:, 0]
    lit = np.ones(bright.shape)
    lit[seen.hit] = shade(light, normals[seen.hit])
    lit *= _occluded(bright / lit, seen.sky, plain)
    relative = bright / (lit * np.median(bright[plain] / lit[plain]))
    pixel = seen.pixel_mm
    skin = plain & _alike(linear, relative, plain, pixel) & bare(window, _HAIR_MM / pixel)
    if int(skin.sum()) < _LEAST_SKIN:
        return None
    share = _ramp(seen.facing, *_FACING) * _ramp(seen.sky, *_OPEN) * _faded(skin, pixel)
    # A pixel's own noise is not worth more than the shade of a quarter tone of eight bits in the dark.
    log = np.log(np.maximum(relative, 0.02))
    detail = np.clip(log - _wide(log, skin, _WIDE_MM / pixel), -_MOST_DETAIL, _MOST_DETAIL)
    detail = without_grain(np.where(skin, detail, 0), skin, pixel)
    along = np.zeros((*bright.shape, 3))
    along[seen.hit] = slopes(light, normals[seen.hit])
    size = np.linalg.norm(along, axis=2, keepdims=True)
    along *= np.minimum(1, _STEEPEST / np.maximum(size, 1e-9))
    # A height h turns the normal by minus its gradient along the surface.
    single = np.float32
    shading = Shading(
        np.where(skin, detail, 0).astype(single), -(along * seen.right).sum(2).astype(single),
        -(along * seen.down).sum(2).astype(single), (skin * np.minimum(1, 0.05 + share)).astype(single), pixel,
    )  # fmt: skip
    height = evened(solve_height(shading, config), share > PLAIN) * share.astype(single)
    x, y = gradient(height, pixel)
    slope = x[..., None] * seen.right + y[..., None] * seen.down
    bent = normals - slope
    bent[seen.hit] /= np.linalg.norm(bent[seen.hit], axis=1, keepdims=True)
    lit *= np.median(bright[plain] / lit[plain])
    albedo = np.stack([_wide(channel / lit, seen.hit, _WIDE_MM / pixel) for channel in np.moveaxis(linear, 2, 0)], 2)
    lit[seen.hit] *= shade(light, bent[seen.hit]) / shade(light, normals[seen.hit])
    explained = srgb_from_linear(np.clip(albedo * lit[..., None], 0, 1))
    return Relief(
        window, height, slope.astype(single), share.astype(single), seen.depth.astype(single), pixel,
        explained.astype(single),
    )  # fmt: skip


@dataclass(frozen=True)
class _Seen:
    """What the pixels of a window show of the coarse face."""

    hit: Bool[np.ndarray, "h w"]
    normals: Float[np.ndarray, "h w 3"]
    facing: Float[np.ndarray, "h w"]
    right: Float[np.ndarray, "h w 3"]
    """Gradient along the surface of a value that grows by 1 per pixel to the right, per millimetre."""
    down: Float[np.ndarray, "h w 3"]
    sky: Float[np.ndarray, "h w"]
    """Share of an even surrounding's light that the head lets through to the place; 1 off the head."""
    skin: Bool[np.ndarray, "h w"]
    """Inside the face's outline by the landmarks, without eyes, brows and lips."""
    depth: Float[np.ndarray, "h w"]
    pixel_mm: float

    @staticmethod
    def of(window: View, mesh: Mesh, face: Bool[np.ndarray, "f"] | None) -> _Seen:
        assert mesh.normals is not None
        assert window.landmarks is not None
        camera = window.camera
        hits = cast(mesh, camera)
        shape = (camera.height, camera.width)
        pixel = hits.pixel.numpy()
        on = np.ones(len(pixel), bool) if face is None else face[hits.faces.numpy()]
        hit = np.zeros(shape, bool)
        hit.reshape(-1)[pixel[on]] = True
        normals = np.zeros((*shape, 3))
        own = interpolate(mesh.normals, mesh, hits).double().numpy()[on]
        normals[hit] = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-9)
        depth = np.zeros(shape)
        depth.reshape(-1)[pixel[on]] = camera.to_camera(hits.points.to(camera.K))[:, 2].double().numpy()[on]
        pose = camera.T_world_camera.double().numpy()
        ahead = camera.unproject(camera.pixels()).double().numpy() @ pose[:3, :3].T
        ahead = ahead.reshape(*shape, 3)
        toward = (normals * ahead).sum(2)
        facing = np.where(hit, -toward / np.linalg.norm(ahead, axis=2), 0)
        right, down = _duals(normals, ahead, np.minimum(toward, -1e-3), depth, pose, camera)
        right[~hit], down[~hit] = 0, 0
        sky = np.ones(shape)
        sky[hit] = _sky(mesh, hits)[on]
        mask = skin_mask(window.landmarks, *shape).numpy() | forehead(window.landmarks, *shape)
        mask &= window.mask.numpy() > 0.5
        inside = hit & mask if (hit & mask).any() else hit
        pixel_mm = float(np.median(depth[inside])) / camera.focal if inside.any() else 1.0
        return _Seen(hit, normals, facing, right, down, sky, mask, depth, pixel_mm)


def _sky(mesh: Mesh, hits: MeshHits) -> Float[np.ndarray, "k"]:
    """Return the sky visibility at hits, from that of the vertices around them."""
    assert mesh.normals is not None
    used = np.unique(mesh.faces[np.unique(hits.faces.numpy())])
    values = np.ones((len(mesh.vertices), 1))
    points, normals = (torch.from_numpy(array[used]) for array in (mesh.vertices, mesh.normals))
    values[used, 0] = sky_visibility(mesh, points, normals, _SKY_RAYS).double().numpy()
    return interpolate(values, mesh, hits)[:, 0].double().numpy()


def _occluded(
    bright: Float[np.ndarray, "h w"], sky: Float[np.ndarray, "h w"], plain: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """Return what the head's own occlusion leaves of the light: a power of the sky visibility, fitted to the photo."""
    log = np.log(np.maximum(bright, 0.01))
    known = plain & (sky > 0.3)
    deep = np.log(np.maximum(sky, 0.3))
    away = log[known] - np.median(log[known])
    close = np.abs(away) < _MOST_DETAIL
    x, y = deep[known][close], away[close]
    power = float(np.clip(np.cov(x, y)[0, 1] / max(float(x.var()), 1e-6), 0, 1.5)) if close.sum() > 1 else 0.0
    return np.exp(power * deep)


def _duals(
    normals: Float[np.ndarray, "h w 3"],
    ahead: Float[np.ndarray, "h w 3"],
    toward: Float[np.ndarray, "h w"],
    depth: Float[np.ndarray, "h w"],
    pose: Float[np.ndarray, "4 4"],
    camera: Camera,
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]]:
    """Return the gradients along the surface of the pixel's column and row.

    A pixel to the right, the ray meets the tangent plane at X + depth / f (r - (n.r / n.v) v), v the ray; the gradients
    are the dual vectors of these two steps within the plane.
    """
    steps = []
    for axis, focal in ((0, float(camera.K[0, 0])), (1, float(camera.K[1, 1]))):
        side = pose[:3, axis]
        step = side - ((normals @ side) / toward)[..., None] * ahead
        steps.append(step * (depth / focal)[..., None])
    a, b = steps
    aa, ab, bb = (a * a).sum(2), (a * b).sum(2), (b * b).sum(2)
    area = np.maximum(aa * bb - ab**2, 1e-12)[..., None]
    return (bb[..., None] * a - ab[..., None] * b) / area, (aa[..., None] * b - ab[..., None] * a) / area


def forehead(landmarks: Float[Tensor, "478 2"], height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """Return the pixels above the brows up to some way above the outline, where skin may go on to the hair."""
    points = landmarks.detach().cpu().double().numpy()
    between, top = points[_BETWEEN_EYES], points[_TOP]
    up = (top - between) / max(float(((top - between) ** 2).sum()), 1e-9)
    oval = points[list(OVAL)]
    rise = np.clip((oval - between) @ up, 0, 1)
    raised = oval + rise[:, None] * _HIGHER * (top - between)
    face = np.zeros((height, width), np.uint8)
    cv2.fillPoly(face, [np.rint(raised - 0.5).astype(np.int32)], 1)
    y, x = np.mgrid[:height, :width] + 0.5
    above = (x - between[0]) * up[0] + (y - between[1]) * up[1] > _ABOVE_BROWS
    return (face > 0) & above


def _window(view: View, mesh: Mesh) -> View:
    """Return the part of a photo that shows the face, its pixels no finer than `FINEST_MM` on it."""
    assert view.landmarks is not None
    points = torch.cat(
        [
            view.landmarks,
            view.landmarks[_TOP] + _HIGHER * (view.landmarks[_TOP : _TOP + 1] - view.landmarks[_BETWEEN_EYES]),
        ]
    )
    low, high = points.amin(0), points.amax(0)
    margin = _MARGIN * float((high - low).max())
    limit = torch.tensor([view.image.shape[1], view.image.shape[0]])
    first = (low - margin).floor().long().clamp(min=0)
    first = torch.minimum(first, limit - 1)
    last = torch.maximum(torch.minimum((high + margin).ceil().long(), limit), first + 1)
    extent = last - first
    own = view.cropped(*first.tolist(), *extent.tolist())
    centre = torch.from_numpy(mesh.bounds.mean(0)).to(own.camera.K)
    centre[2] = float(mesh.bounds[1, 2])
    per_pixel = float(own.camera.to_camera(centre)[2]) / own.camera.focal
    longest = min(_LARGEST, round(max(extent.tolist()) * per_pixel / FINEST_MM))
    return own.resized(max(longest, 16))


def _alike(
    linear: Float[np.ndarray, "h w 3"], relative: Float[np.ndarray, "h w"], plain: Bool[np.ndarray, "h w"], pixel: float
) -> Bool[np.ndarray, "h w"]:
    """Return which places have skin's colour in the fitted light, over an area of some millimetres."""
    width = max(_STRAY_MM / pixel, 0.5)
    smooth = cv2.GaussianBlur(linear, (0, 0), width)
    shares = smooth / np.maximum(smooth.sum(2, keepdims=True), 1e-6)
    apart = np.abs(shares - np.median(shares[plain], axis=0))[..., :2].max(2)
    level = cv2.GaussianBlur(relative, (0, 0), width)
    other = plain & ~((apart < _CHROMA) & (level > _DARK) & (level < _BRIGHT))
    # Single hairs and shine leave a hole of their own size; where hair or a beard begins, skin is left out beside it.
    grown = cv2.dilate(cv2.morphologyEx(other.astype(np.uint8), cv2.MORPH_OPEN, _disc(_HAIR_MM / pixel)),
                       _disc(_BESIDE_HAIR_MM / pixel))  # fmt: skip
    return ~other & (grown == 0)


def _disc(radius: float) -> UInt8[np.ndarray, "d d"]:
    return disc(max(1, round(radius)))


def _faded(skin: Bool[np.ndarray, "h w"], pixel: float) -> Float[np.ndarray, "h w"]:
    """Return 0 on what is no skin and beside it, 1 farther inside than `_FADE_MM`, and a smooth step between."""
    # A hole of a millimetre or two is a mole or a highlight: the solution does without it, and needs no fade.
    around = _disc(_STRAY_MM / pixel)
    closed = np.asarray(cv2.morphologyEx(skin.astype(np.uint8), cv2.MORPH_CLOSE, around))
    closed = np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, around))
    padded = np.pad(closed > 0, 1)
    distance = np.asarray(distance_transform_edt(padded))[1:-1, 1:-1] * pixel
    rough = np.clip(distance / _FADE_MM, 0, 1)
    # The distance has creases where two borders are equally near.
    smooth = cv2.GaussianBlur(rough, (0, 0), 0.25 * _FADE_MM / pixel)
    return _ramp(np.minimum(smooth, rough * 2), 0.1, 1.0)


def _wide(values: Float[np.ndarray, "h w"], skin: Bool[np.ndarray, "h w"], width: float) -> Float[np.ndarray, "h w"]:
    """Return the values of skin blurred by a Gaussian of a width in pixels, without what is beside it."""
    mask = skin.astype(np.float64)
    share = cv2.GaussianBlur(mask, (0, 0), width)
    return cv2.GaussianBlur(values * mask, (0, 0), width) / np.maximum(share, 1e-3)


def without_grain(
    detail: Float[np.ndarray, "h w"], skin: Bool[np.ndarray, "h w"], pixel: float
) -> Float[np.ndarray, "h w"]:
    """Return the detail without what all of the skin has alike, such as noise: only what stands out of it is relief.

    Each band of wavelengths is multiplied by Wiener's factor from its local variance (Lee 1980); the variance of the
    calm part of the skin counts as noise. The factor has no direction.
    """
    rest, result = detail, np.zeros_like(detail)
    mask = skin.astype(np.float64)
    width = max(_FINE_MM, 0.6 * pixel) / pixel
    while width * pixel < _WIDE_MM:
        coarser = _wide(rest, skin, width) * mask
        band = rest - coarser
        around = max(_AROUND * width, 2.0)
        energy = _wide(band**2, skin, around)
        noise = _GRAIN * np.quantile(energy[skin], _CALM)
        result += band * np.clip(1 - noise / np.maximum(energy, 1e-12), 0, 1)
        rest, width = coarser, 2 * width
    return result + rest


def _ramp(values: Float[np.ndarray, "h w"], low: float, high: float) -> Float[np.ndarray, "h w"]:
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)
