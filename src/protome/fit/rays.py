"""The pixels from which a fit samples its rays, all views in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from skimage.measure import points_in_poly
from torch import Tensor

from protome.fit.mouth import INNER_LIPS
from protome.geometry.camera import Rays
from protome.render.trace import box_span
from protome.scene import Scene, View
from protome.units import UNIT_MM

_EDGE = 30.0 / UNIT_MM
"""Distance inside the modelled volume that a ray has to reach for its pixel of the person to count in the mask loss."""
_BOTTOM = 70.0 / UNIT_MM

_KEYS = ("view", "colour", "mask", "decided", "weight", "between_lips")


@dataclass(frozen=True)
class PixelTable:
    """Pixels whose rays cross the modelled volume; rays are in the head frame before refinement."""

    rays: Rays
    view: Int[Tensor, "p"]
    """Index of the pixel's view."""
    colour: Float[Tensor, "p 3"]
    mask: Float[Tensor, "p"]
    decided: Bool[Tensor, "p"]
    """Whether the mask loss applies: always for background, for the person only well inside the modelled volume."""
    weight: Float[Tensor, "p"]
    """Relative sampling probability."""
    between_lips: Bool[Tensor, "p"]
    """Whether it shows the inside of an open mouth, which is not for the shape to explain."""

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, index: Tensor) -> PixelTable:
        return PixelTable(self.rays[index], *(getattr(self, key)[index] for key in _KEYS))

    def draw(self, count: int, generator: torch.Generator, background: float = 1.0) -> PixelTable:
        """Draw `count` pixels by their weights, with replacement; only the given share of background pixels is kept."""
        index = torch.multinomial(self.weight.cpu(), count, replacement=True, generator=generator)
        drawn = self[index.to(self.view.device)]
        if background == 1.0:
            return drawn
        chance = torch.rand(count, generator=generator).to(drawn.mask)
        return drawn[(drawn.mask > 0.5) | (chance < background)]

    def to(self, device: torch.device) -> PixelTable:
        """Move to a device."""
        return PixelTable(self.rays.to(device), *(getattr(self, key).to(device) for key in _KEYS))


def head_window(view: View, bounds: Float[Tensor, "2 3"], size: int) -> View:
    """Return the part of a view, posed in the head frame, that shows the modelled volume.

    Its longer side has at most `size` pixels.
    """
    low, high = bounds
    corners = torch.cartesian_prod(*torch.stack([low, high], 1)) * 0.92
    in_front = view.camera.to_camera(corners)[:, 2] > 1e-3
    height, width = view.mask.shape
    if not bool(in_front.all()):
        return view.resized(size)
    spot = view.camera.project(corners)
    left, top = (spot.amin(0).floor().clamp(min=0)).long().tolist()
    right = int(min(width, float(spot[:, 0].amax().ceil())))
    bottom = int(min(height, float(spot[:, 1].amax().ceil())))
    if right - left < 16 or bottom - top < 16:
        return view.resized(size)
    return view.cropped(left, top, right - left, bottom - top).resized(size)


def _weights(view: View, mask: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Return weights: 1 for people and near background, 0.1 for far background; the face as much as all the rest."""
    reach = max(3, round(0.08 * max(mask.shape)) | 1)
    near = torch.nn.functional.max_pool2d(mask[None, None], reach, 1, reach // 2)[0, 0]
    weight = torch.where(near > 0.5, 1.0, 0.1)
    if view.landmarks is not None:
        (left, top), (right, bottom) = view.landmarks.amin(0).tolist(), view.landmarks.amax(0).tolist()
        y, x = torch.meshgrid(torch.arange(mask.shape[0]), torch.arange(mask.shape[1]), indexing="ij")
        face = (x >= left) & (x <= right) & (y >= top) & (y <= bottom) & (mask > 0.5)
        if bool(face.any()):
            weight = weight * torch.where(face, float(weight[~face].sum() / weight[face].sum()), 1.0).clamp(1, 8)
    return weight / weight.sum()


def pixel_table(scene: Scene, bounds: Float[Tensor, "2 3"], size: int, *, weighed: bool = True) -> PixelTable:
    """Return the table of all views of a scene in the head frame, each shrunk so that its window has `size` pixels.

    Views have the total weights that they state. Unless `weighed`, all views have the same total weight, all pixels of
    a view have the same weight, the mask loss applies to all of them, and open mouths are like all else. Where
    something stands before the person, a pixel is never drawn: nothing is known of the head there. Beyond a photo's
    border there are no pixels at all.
    """
    inner = bounds + torch.tensor([[_EDGE, _BOTTOM, _EDGE], [-_EDGE, -_EDGE, -_EDGE]])
    tables = []
    for number, view in enumerate(scene.views):
        window = head_window(view, bounds, size)
        rays = window.camera.rays()
        mask = window.mask.reshape(-1)
        decided = (mask < 0.5) | box_span(rays, inner).crosses
        weight = _weights(window, window.mask).reshape(-1)
        between, share = _between_lips(window), view.weight
        if not weighed:
            decided, weight, share = torch.ones_like(decided), torch.ones_like(weight), 1.0
            between = torch.zeros_like(between)
        if window.front is not None:
            weight = weight * (window.front.reshape(-1) < 0.5)
        crosses = box_span(rays, bounds).crosses
        index = torch.full_like(mask, number, dtype=torch.long)
        table = PixelTable(
            rays, index, window.image.reshape(-1, 3), mask, decided, share * weight / weight[crosses].sum(),
            between,
        )  # fmt: skip
        tables.append(table[crosses])
    return _joined(tables)


def _between_lips(view: View) -> Bool[Tensor, "p"]:
    pixels = view.camera.pixels()
    if view.landmarks is None:
        return torch.zeros(len(pixels), dtype=torch.bool)
    loop = view.landmarks[list(INNER_LIPS)].double().numpy()
    return torch.from_numpy(points_in_poly(pixels.double().numpy(), loop))


def _joined(tables: Sequence[PixelTable]) -> PixelTable:
    rays = Rays(
        torch.cat([table.rays.origins for table in tables]), torch.cat([table.rays.directions for table in tables])
    )
    return PixelTable(rays, *(torch.cat([getattr(table, key) for table in tables]) for key in _KEYS))
