"""Open lips: what is seen between them becomes one smooth surface.

Learned on closed and open mouths, a field jumps from lip to lip where they part: what is between them has no place in
the reference head. Its zero level is a lip that hangs over the teeth, with steps and tunnels. A photo's landmarks say
where the lips end; between them a membrane takes the place of the field's surface.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.sparse import coo_array, eye_array
from scipy.sparse.linalg import spsolve
from skimage.measure import points_in_poly
from torch import Tensor

from protome.field.field import SdfFn
from protome.geometry.camera import Camera
from protome.geometry.neighbours import tree_of
from protome.prior.membrane import Membrane
from protome.prior.prior import FittedHead
from protome.render.trace import box_span, sphere_tracer
from protome.scene import View
from protome.units import UNIT_MM

INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
"""MediaPipe's landmarks around the opening."""
LEAST_GAP_MM = 2.0
"""Mean height of the opening below which lips count as closed."""
_PIXEL_MM, _AROUND_MM = 0.5, 5.0
_RIM_MM = (0.5, 2.0)
"""From where to where, outside the opening, the lips' depth is taken."""
_SMOOTH_MM = 2.5
"""Radius within which the depth of the lips is the median: a step of the field may lie beside the opening."""
_INSET, _LARGEST_INSET_MM, _SLOPE_MM = 0.4, 8.0, 5.0
"""How deep the membrane lies behind the lips: a share of the opening's height, up to a limit, and how far from the
lips it has got there."""


_FACING = 0.5
"""Least cosine between a camera's axis and the face's: from farther beside, lips hide what is between them."""


def with_membrane(head: FittedHead, views: Sequence[View], cameras: Sequence[Camera]) -> FittedHead:
    """Return the head with what is between its lips as the photo from nearest to the front shows it.

    `cameras` are the photos', posed in the head frame, inner units.
    """
    found = [
        (-float(camera.T_world_camera[2, 2]), number)
        for number, (view, camera) in enumerate(zip(views, cameras, strict=True))
        if view.landmarks is not None
    ]
    facing, best = max(found, default=(0.0, 0))
    if facing < _FACING:
        return head
    landmarks = views[best].landmarks
    assert landmarks is not None
    return replace(head, membrane=between_lips(head.bind().sdf, head.bounds, cameras[best], landmarks))


def between_lips(
    sdf: SdfFn, bounds: Float[Tensor, "2 3"], camera: Camera, landmarks: Float[Tensor, "478 2"]
) -> Membrane | None:
    """Return the membrane between the lips that a photo shows open; None where they are closed.

    The camera is posed in the head frame, inner units, as are the distances; landmarks are its pixels.
    """
    device, camera = bounds.device, camera.to(torch.float32).to("cpu")
    loop = landmarks[list(INNER_LIPS)].detach().cpu().double().numpy()
    trace = sphere_tracer()

    def depths(view: Camera, pixels: Float[Tensor, "n 2"]) -> Float[Tensor, "n"]:
        rays = view.rays(pixels.float()).to(device)
        found = trace(sdf, rays, box_span(rays, bounds))
        along = view.to_camera(rays.at(found.depth).cpu())[:, 2]
        return torch.where(found.hit.cpu(), along, torch.nan)

    middle = float(depths(camera, torch.from_numpy(loop)).nanmedian())
    mm = middle * UNIT_MM / camera.focal
    width = float(np.linalg.norm(loop[0] - loop[10]))
    gap = mm * _area(loop) / max(width, 1e-6)
    if not gap >= LEAST_GAP_MM:
        return None
    left, top = np.floor(loop.min(0) - _AROUND_MM / mm).astype(int).tolist()
    right, bottom = np.ceil(loop.max(0) + _AROUND_MM / mm).astype(int).tolist()
    size = [max(8, round(mm * extent / _PIXEL_MM)) for extent in (right - left, bottom - top)]
    window = camera.cropped(left, top, right - left, bottom - top).resized(*size)
    scale = np.array(size) / [right - left, bottom - top]
    inside = _PIXEL_MM * _signed((loop - [left, top]) * scale, window)
    rim = (inside < -_RIM_MM[0]) & (inside > -_RIM_MM[1])
    lips = np.full(rim.shape, np.nan)
    lips[rim] = depths(window, window.pixels().reshape(*rim.shape, 2)[torch.from_numpy(rim)]).double().numpy()
    seen = np.isfinite(lips)
    if np.count_nonzero(seen) < 0.5 * np.count_nonzero(rim):
        return None
    spread = _spanned(_steadied(lips, seen), inside > -_RIM_MM[0])
    inset = min(_INSET * gap, _LARGEST_INSET_MM) / UNIT_MM
    depth = spread + inset * _smoothstep(inside / _SLOPE_MM)
    maps = (torch.from_numpy(value).float() for value in (depth, inside / UNIT_MM))
    return Membrane(window, *maps).to(device)


def _area(loop: Float[np.ndarray, "n 2"]) -> float:
    x, y = loop.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def _smoothstep(x: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    x = x.clip(0, 1)
    return x * x * (3 - 2 * x)


def _signed(loop: Float[np.ndarray, "n 2"], window: Camera) -> Float[np.ndarray, "h w"]:
    """Return the distance of each pixel to a loop, positive inside, in pixels."""
    pixels = window.pixels().double().numpy()
    start, along = loop, np.roll(loop, -1, axis=0) - loop
    length = np.maximum((along**2).sum(1), 1e-12)
    share = (((pixels[:, None] - start) * along).sum(2) / length).clip(0, 1)
    apart = np.linalg.norm(pixels[:, None] - (start + share[..., None] * along), axis=2).min(1)
    signed = np.where(points_in_poly(pixels, loop), apart, -apart)
    return signed.reshape(window.height, window.width)


def _steadied(values: Float[np.ndarray, "h w"], seen: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return medians of the values nearby where there are any, and the nearest of these elsewhere."""
    at = np.argwhere(seen)
    tree, own = tree_of(at.astype(float)), values[seen]
    medians = np.array([np.median(own[near]) for near in tree.query_ball_point(at, _SMOOTH_MM / _PIXEL_MM)])
    every = np.indices(values.shape).reshape(2, -1).T
    return medians[tree.query(every)[1]].reshape(values.shape)


def _spanned(values: Float[np.ndarray, "h w"], free: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the values with free ones, none of them at the border, as the mean of their neighbours: a soap film."""
    number = np.full(values.shape, -1)
    number[free] = np.arange(np.count_nonzero(free))
    rows, known = np.argwhere(free), np.zeros(np.count_nonzero(free))
    entries: list[tuple[np.ndarray, np.ndarray]] = []
    for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        there = tuple((rows + step).T)
        other, own = number[there], np.arange(len(rows))
        fixed = other < 0
        known[fixed] += values[there][fixed]
        entries.append((own[~fixed], other[~fixed]))
    first, second = (np.concatenate(part) for part in zip(*entries, strict=True))
    links = coo_array((np.ones(len(first)), (first, second)), (len(rows),) * 2)
    found = values.copy()
    found[free] = spsolve((4 * eye_array(len(rows)) - links).tocsc(), known)
    return found
