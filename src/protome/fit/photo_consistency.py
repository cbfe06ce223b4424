"""Photo-consistency: the similarity of surface patches between the photos that show them.

The colour loss depends on the renderer, whose residual can hide a surface error of a millimetre in hair. Two photos of
the same patch need no renderer: their pixels correspond where the surface is right. Sources: normalised
cross-correlation across the plane-induced homography (Hartley and Zisserman, section 13.1), as a loss of neural
surfaces in Geo-Neus (Fu et al. 2022) and NeuralWarp (Darmon et al. 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from protome.fit.rays import head_window
from protome.fit.viewpoints import CameraRays, Viewpoints
from protome.scene import Scene

SIDE = 7
"""Pixels along a patch's side, in the photo that the ray belongs to."""
SOURCES = 4
"""Largest number of other photos with which one patch is compared."""
LEAST_FACING = 0.35
"""Smallest cosine between the normal and the direction to a camera whose photo is compared."""
LEAST_APART, MOST_APART = math.radians(5), math.radians(60)
"""Limits of the angle between two views: smaller ones do not constrain depth, in wider ones patches differ."""
FAINT = 0.01
"""Contrast (standard deviation of the brightness) that halves a correlation: flat patches contain only noise."""


@dataclass(frozen=True)
class PhotoStack:
    """The brightness of all photos around the head, with their cameras before any refinement."""

    brightness: Float[Tensor, "v h w"]
    """Smaller photos are padded with zeros on the right and below."""
    extent: Float[Tensor, "v 2"]
    """Width and height of each photo."""
    cameras: CameraRays
    """With the intrinsics of the shrunk photos."""

    @staticmethod
    def of(scene: Scene, bounds: Float[Tensor, "2 3"], size: int) -> PhotoStack:
        """Return the photos of a scene in the head frame, each shrunk so that its window has at most `size` pixels."""
        windows = [head_window(view, bounds, size) for view in scene.views]
        extent = torch.tensor([[float(window.camera.width), float(window.camera.height)] for window in windows])
        width, height = (int(side) for side in extent.amax(0))
        brightness = torch.zeros(len(windows), height, width)
        for own, window in zip(brightness, windows, strict=True):
            own[: window.camera.height, : window.camera.width] = window.image.mean(-1)
        return PhotoStack(brightness, extent, CameraRays.of([window.camera for window in windows]))

    def sample(self, view: Int[Tensor, "n"], spots: Float[Tensor, "n p 2"]) -> Float[Tensor, "n p"]:
        """Return each view's brightness at its own pixel positions, between pixels bilinearly."""
        height, width = self.brightness.shape[1:]
        x, y = ((spots[..., k] - 0.5).clamp(0, side - 1.001) for k, side in ((0, width), (1, height)))
        left, top = x.detach().floor().long(), y.detach().floor().long()
        right, down = x - left, y - top
        first = view[:, None] * (height * width) + top * width + left
        flat = self.brightness.reshape(-1)
        above = flat[first] + (flat[first + 1] - flat[first]) * right
        below = flat[first + width] + (flat[first + width + 1] - flat[first + width]) * right
        return above + (below - above) * down

    def inside(self, view: Int[Tensor, "n"], spots: Float[Tensor, "n p 2"]) -> Bool[Tensor, "n"]:
        """Return whether all of each view's pixel positions lie within its photo."""
        return ((spots > 0.5) & (spots < self.extent[view, None] - 0.5)).all(-1).all(-1)

    def to(self, device: torch.device) -> PhotoStack:
        """Move to a device."""
        return PhotoStack(self.brightness.to(device), self.extent.to(device), self.cameras.to(device))


@dataclass(frozen=True)
class Comparisons:
    """The other photos with which each patch is compared, and its correlation with them."""

    valid: Bool[Tensor, "n s"]
    """Whether the photo was selected and contains the whole patch."""
    correlation: Float[Tensor, "n s"]
    """Between -1 and 1; 0 where not valid."""


def compare_patches(
    photos: PhotoStack,
    cameras: Viewpoints,
    view: Int[Tensor, "n"],
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    generator: torch.Generator,
    alike: Bool[Tensor, "n v"] | None = None,
) -> Comparisons:
    """Correlate the patch around each point in its own view with the same patch in other photos.

    The patch lies in the tangent plane at the point. Each of its pixels in its own view is projected onto that plane
    and from there into the other photo. Derivatives reach points, normals and cameras. `alike` says in which photos
    the skin lies where it does in the point's own one; without it, in all.
    """
    sources, good = _choose(cameras, view, points.detach(), normals.detach(), generator, alike)
    row, column = good.nonzero(as_tuple=True)
    source = sources[row, column]
    spots = cameras.project(view, points.detach()[:, None]).detach() + _window(points)
    through = cameras.directions(view, spots)
    origin = cameras.centre[view]
    height = ((points - origin) * normals).sum(-1, keepdim=True)
    patch = origin[:, None] + through * (height / torch.einsum("ni,npi->np", normals, through))[..., None]
    there = cameras.project(source, patch[row])
    similar = _correlation(photos.sample(view, spots)[row], photos.sample(source, there))
    within = photos.inside(source, there)
    valid = torch.zeros_like(good).index_put((row, column), within)
    found = torch.zeros_like(good, dtype=points.dtype).index_put((row, column), torch.where(within, similar, 0.0))
    return Comparisons(valid, found)


def _choose(
    cameras: Viewpoints,
    view: Int[Tensor, "n"],
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    generator: torch.Generator,
    alike: Bool[Tensor, "n v"] | None,
) -> tuple[Int[Tensor, "n s"], Bool[Tensor, "n s"]]:
    """Draw other views for each point; also return which of them lie at usable angles."""
    towards = torch.nn.functional.normalize(cameras.centre.detach() - points[:, None], dim=-1)
    facing = torch.einsum("nvi,ni->nv", towards, normals)
    own = towards[torch.arange(len(view), device=view.device), view]
    apart = torch.arccos(torch.einsum("nvi,ni->nv", towards, own).clamp(-1, 1))
    good = (facing > LEAST_FACING) & (apart > LEAST_APART) & (apart < MOST_APART)
    good &= facing.gather(1, view[:, None]) > LEAST_FACING
    if alike is not None:
        good &= alike
    chance = torch.rand(good.shape, generator=generator).to(points)
    sources = torch.where(good, chance, -1.0).topk(min(SOURCES, good.shape[1] - 1), 1).indices
    return sources, good.gather(1, sources)


def _window(like: Tensor) -> Float[Tensor, "p 2"]:
    along = torch.arange(SIDE).to(like) - (SIDE - 1) / 2
    return torch.cartesian_prod(along, along)


def _correlation(first: Float[Tensor, "m p"], second: Float[Tensor, "m p"]) -> Float[Tensor, "m"]:
    """Return the normalised cross-correlation, attenuated towards 0 at a contrast below the noise."""

    def normed(values: Tensor) -> Tensor:
        values = values - values.mean(-1, keepdim=True)
        return values / (values.square().sum(-1, keepdim=True) + FAINT**2 * values.shape[-1]).sqrt()

    return (normed(first) * normed(second)).sum(-1)
