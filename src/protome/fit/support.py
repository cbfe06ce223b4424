"""What several photos together allow to be the person: pixels of a mask that the other photos' masks contradict, and
bodies that each photo without a common frame shows in other clothes and another pose.

A point of the head lies inside the silhouettes of all photos (the visual hull; Laurentini, 1994). A pixel of a mask
along whose ray no point does is something else: floor that was taken for clothes, or a shoulder that has moved since.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protome.encoder.encoder import LatentEstimate
from protome.field.field import SdfFn
from protome.fit.rays import head_window
from protome.geometry.camera import Camera
from protome.render.trace import box_span, in_chunks
from protome.scene import Scene, View
from protome.units import UNIT_MM

LEAST_PHOTOS = 3
SIZE = 112
"""Pixels of the longer side of the windows whose rays are followed."""
STEPS = 40
"""Points along each ray through the modelled volume."""
WIDER_MM = 6.0
"""By how much masks are widened first: cameras, masks and the steps along the ray are not exact."""
MOST_OTHERS = 8
"""Other photos that are asked."""
BELOW_MM = 250.0
"""How far below the modelled volume a ray is followed."""
MOST_STRANGE = 0.3
"""Share of a mask that may be contradicted: of more, the cameras are wrong and not the mask."""
NECK_MM, AXIS_MM = -135.0, -60.0
"""Height below every chin, and how far behind the eyes the neck's middle is."""
NEAR_MM, WRONG, MOUTH_MM = 25.0, 1, -70.0
"""Distance from the mean head up to which so many masks may contradict a point above this height: they miss ears and
hair, too. Below it, walls and floor are taken for clothes, and chins would grow."""


def supported(scene: Scene, bounds: Float[Tensor, "2 3"], mean: SdfFn) -> Scene:
    """Return a posed scene in whose photos nothing is known of pixels that the other masks contradict.

    They count as if something stood in front of the person (`View.front`): neither outline nor colour is taken from
    them. Fewer than three photos, or photos without a common frame, are returned as they are. `bounds` are those of the
    modelled volume, and `mean` are the mean head's signed distances: head frame, inner units.
    """
    if not scene.posed or len(scene.views) < LEAST_PHOTOS:
        return scene
    placed = scene.in_head_frame().views
    masks = [_widened(view) for view in placed]
    views = []
    for number, view in enumerate(scene.views):
        others = _spread(placed, number)
        strange = _contradicted(placed[number], [(placed[k].camera, masks[k]) for k in others], bounds, mean)
        views.append(view if strange is None else _hidden(view, strange))
    return replace(scene, views=tuple(views))


def with_one_body(scene: Scene, estimate: LatentEstimate | None, shown: int) -> Scene:
    """Return photos without a common frame, in all of which but `shown` nothing is known of what is below the neck.

    Such photos are of several moments or days: heads are alike, but shoulders turn, and clothes are others. Other
    scenes are returned as they are.
    """
    if scene.posed or len(scene.views) < 2:
        return scene
    placed = (scene if estimate is None else estimate.placed(scene)).in_head_frame().views
    pairs = enumerate(zip(scene.views, placed, strict=True))
    views = [view if number == shown else _hidden(view, _below(posed)) for number, (view, posed) in pairs]
    return replace(scene, views=tuple(views))


def _hidden(view: View, part: Float[Tensor, "h w"]) -> View:
    """Return a view in which something in front hides a part, too."""
    return replace(view, front=part if view.front is None else torch.maximum(view.front, part))


def _below(view: View) -> Float[Tensor, "h w"]:
    """Return 1 on the side of the image of a line across the neck that shows the body; head frame, inner units."""
    camera = view.camera
    neck = torch.tensor([0.0, NECK_MM / UNIT_MM, AXIS_MM / UNIT_MM])
    across = camera.T_world_camera[:3, 0].cpu().float() * torch.tensor([1.0, 0.0, 1.0])
    places = torch.stack([neck - across, neck + across, neck - torch.tensor([0.0, 0.5, 0.0])])
    first, second, under = camera.project(places.to(camera.K)).tolist()
    height, width = view.mask.shape
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")

    def side(x: Tensor, y: Tensor) -> Tensor:
        return (second[0] - first[0]) * (y - first[1]) - (second[1] - first[1]) * (x - first[0])

    body = side(torch.tensor(under[0]), torch.tensor(under[1]))
    return (side(column, row) * body > 0).float()


def _spread(views: tuple[View, ...], number: int) -> list[int]:
    """Return the numbers of some other photos, spread evenly over all."""
    others = [k for k in range(len(views)) if k != number and bool((views[k].mask > 0.5).any())]
    chosen = np.linspace(0, len(others) - 1, min(MOST_OTHERS, len(others))).round().astype(int)
    return [others[k] for k in chosen]


def _widened(view: View) -> Bool[Tensor, "h w"]:
    """Return what may be the person: the mask, wider, and all that something in front hides."""
    camera = view.camera
    middle = float(camera.to_camera(torch.zeros(1, 3).to(camera.K))[0, 2])
    radius = max(1, round(WIDER_MM / UNIT_MM * camera.focal / max(middle, 1e-6)))
    person = (view.mask > 0.5) if view.front is None else (view.mask > 0.5) | (view.front > 0.5)
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return torch.from_numpy(cv2.dilate(person.cpu().numpy().astype(np.uint8), around) > 0)


def _contradicted(
    view: View, others: list[tuple[Camera, Bool[Tensor, "_ _"]]], bounds: Float[Tensor, "2 3"], mean: SdfFn
) -> Float[Tensor, "h w"] | None:
    """Return 1 at pixels of the mask along whose rays no point lies in all other masks; None without any.

    Beyond the border of a photo anything may be.
    """
    window = head_window(view, bounds, SIZE)
    rays = window.camera.rays()
    # Below the modelled volume the body goes on.
    deeper = bounds.to(rays.origins) - rays.origins.new_tensor([[0.0, BELOW_MM / UNIT_MM, 0.0], [0.0, 0.0, 0.0]])
    span = box_span(rays, deeper)
    asked = torch.nonzero((window.mask.reshape(-1) > 0.5) & span.crosses)[:, 0]
    if not len(asked) or not others:
        return None
    share = torch.linspace(0, 1, STEPS).to(rays.origins)
    depths = span.near[asked, None] + share * (span.far - span.near)[asked, None]
    points = (rays.origins[asked, None] + depths[..., None] * rays.directions[asked, None]).reshape(-1, 3)
    missed = torch.zeros(len(points), dtype=torch.long)
    for camera, mask in others:
        height, width = mask.shape
        local = camera.to_camera(points.to(camera.K))
        spot = camera.project(points.to(camera.K)).floor().long()
        seen = (local[:, 2] > 0) & (spot >= 0).all(1) & (spot[:, 0] < width) & (spot[:, 1] < height)
        inside = mask[spot[:, 1].clamp(0, height - 1), spot[:, 0].clamp(0, width - 1)]
        missed += seen & ~inside
    missed, points = missed.reshape(len(asked), STEPS), points.reshape(len(asked), STEPS, 3)
    doubted = torch.nonzero((missed > 0).all(1))[:, 0]
    with torch.no_grad():
        away = in_chunks(mean, points[doubted].reshape(-1, 3).float()).reshape(-1, STEPS)
    high = points[doubted, :, 1] > MOUTH_MM / UNIT_MM
    near = ((away < NEAR_MM / UNIT_MM) & (missed[doubted] <= WRONG) & high.to(away.device)).any(1)
    strange = torch.zeros(window.mask.numel())
    strange[asked[doubted[~near]]] = 1.0
    if not strange.any() or float(strange.sum()) > MOST_STRANGE * len(asked):
        return None
    return _on_photo(strange.reshape(window.mask.shape), window.camera, view)


def _on_photo(part: Float[Tensor, "_ _"], camera: Camera, view: View) -> Float[Tensor, "h w"]:
    """Return a window's values on the pixels of the photo it is a part of; 0 beyond it."""
    to_window = (camera.K.double() @ torch.linalg.inv(view.camera.K.double())).cpu().numpy()
    # OpenCV's pixel centres are whole numbers, ours are halves.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    affine = (np.linalg.inv(half) @ to_window @ half)[:2]
    size = (view.mask.shape[1], view.mask.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(part.numpy().astype(np.float32), affine, size, flags=flags)
    return torch.from_numpy((found > 0.5).astype(np.float32))
