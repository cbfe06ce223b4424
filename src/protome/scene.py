"""The input of a fit: photos with masks, cameras and landmarks in one world frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from protome.geometry.camera import Camera
from protome.geometry.pose import turned_degrees
from protome.geometry.transforms import Similarity

LARGEST_SIDE = 2048
"""Pixels of a photo's longer side that are kept; more only costs memory."""


@dataclass(frozen=True)
class VideoFrame:
    """Where in a video a photo comes from."""

    video: str
    """The video file's name."""
    index: int
    """Number of the frame, counted from 0."""
    seconds: float
    """Its time from the start of the video."""


LEAST_VISIBLE = 0.3
"""Probability below which a landmark is left out: hidden ones are where the network believes them to be."""


@dataclass(frozen=True)
class DenseLandmarks:
    """Landmarks all over a head, in the order of `protome.landmarks.load_template_points`."""

    pixels: Float[Tensor, "n 2"]
    sigma: Float[Tensor, "n"]
    """Standard deviation of each along any axis, pixels."""
    visible: Float[Tensor, "n"]
    """Probability that it can be seen."""

    @property
    def trust(self) -> Float[Tensor, "n"]:
        """How far each is believed: its probability, and 0 where it is hidden rather than seen."""
        return torch.where(self.visible > LEAST_VISIBLE, self.visible, 0.0)

    def moved(self, scale: Float[Tensor, "2"], shift: Float[Tensor, "2"]) -> DenseLandmarks:
        """Return the landmarks in a picture whose pixels are `scale` times the old ones, then shifted."""
        return DenseLandmarks(self.pixels * scale + shift, self.sigma * scale.prod().sqrt(), self.visible)


@dataclass(frozen=True)
class View:
    """One posed photo."""

    name: str
    """The file's name, for messages and results."""
    image: Float[Tensor, "h w 3"]
    """RGB in [0, 1]."""
    mask: Float[Tensor, "h w"]
    """1 on the person (hair and clothes included), 0 on the background."""
    camera: Camera
    """Posed in the scene's world frame."""
    landmarks: Float[Tensor, "478 2"] | None = None
    """MediaPipe face landmarks in pixels, where a face was detected."""
    mask_file: Path | None = None
    """Where the mask was read from, for messages; None for one that was made."""
    weight: float = 1.0
    """How much the photo counts in a fit beside the others: 1 for a good one, less for a blurred or tiny face."""
    focal_from: str = "given with the camera"
    """Where the focal length comes from, in words."""
    faces: int | None = None
    """How many faces were seen in the photo; None where they were not counted."""
    frame: VideoFrame | None = None
    """Where in a video the photo comes from; None for a photo of its own."""
    recorded_mm: float | None = None
    """Distance to the subject that the file records, millimetres; None where it records none."""
    dense: DenseLandmarks | None = None
    """Where a network saw them."""
    front: Float[Tensor, "h w"] | None = None
    """1 where something stands before the person and the picture shows nothing of the head; None: nowhere."""
    covered: float | None = None
    """Share of things in front over mouth and nose, as a network sees them; None where it did not look."""

    def transformed(self, b_from_a: Similarity) -> View:
        """Return the view with its camera, posed in frame a, in frame b; computed in the precision of `b_from_a`."""
        return replace(self, camera=self.camera.to(b_from_a.rotation.dtype).transformed(b_from_a))

    def cropped(self, left: int, top: int, width: int, height: int) -> View:
        """Return the window of the view that starts at pixel (left, top) and lies inside the image."""
        rows, columns = slice(top, top + height), slice(left, left + width)
        corner = torch.tensor([float(left), float(top)])
        return replace(
            self,
            image=self.image[rows, columns],
            mask=self.mask[rows, columns],
            camera=self.camera.cropped(left, top, width, height),
            landmarks=None if self.landmarks is None else self.landmarks - corner,
            dense=None if self.dense is None else self.dense.moved(torch.ones(2), -corner),
            front=None if self.front is None else self.front[rows, columns],
        )

    def resized(self, longest: int) -> View:
        """Return the view resampled (area averaging) so that its longer side has `longest` pixels."""
        height, width = self.mask.shape
        factor = longest / max(height, width)
        if factor >= 1:
            return self
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        front = torch.zeros_like(self.mask) if self.front is None else self.front
        stack = torch.cat([self.image, self.mask[..., None], front[..., None]], 2).permute(2, 0, 1)[None]
        small = torch.nn.functional.interpolate(stack, size=size, mode="area")[0].permute(1, 2, 0)
        scale = torch.tensor([size[1] / width, size[0] / height])
        return replace(
            self,
            image=small[..., :3].contiguous(),
            mask=small[..., 3].contiguous(),
            camera=self.camera.resized(size[1], size[0]),
            landmarks=None if self.landmarks is None else self.landmarks * scale,
            dense=None if self.dense is None else self.dense.moved(scale, torch.zeros(2)),
            front=None if self.front is None else small[..., 4].contiguous(),
        )


@dataclass(frozen=True)
class Unmasked:
    """One posed photo without a mask of the person; with one it becomes a view."""

    name: str
    image: Float[Tensor, "h w 3"]
    camera: Camera

    def with_mask(self, mask: Float[Tensor, "h w"], mask_file: Path | None = None) -> View:
        """Return the view with this mask, perhaps from a file."""
        return View(self.name, self.image, mask, self.camera, mask_file=mask_file)

    def resized(self, longest: int) -> Unmasked:
        """Return the photo resampled as `View.resized` does."""
        small = self.with_mask(torch.zeros(self.image.shape[:2])).resized(longest)
        return Unmasked(self.name, small.image, small.camera)


@dataclass(frozen=True)
class CameraEstimate:
    """How sure cameras are that were found from the photos themselves."""

    focal_spread: tuple[float, ...]
    """For each view the standard deviation of the logarithm of its focal length."""
    rotation_spread: tuple[float, ...]
    """For each view the standard deviation of its direction from the head relative to those of the other views,
    radians."""


GOOD = 0.5
"""Least weight of a good photo relative to the best one's."""


@dataclass(frozen=True)
class Scene:
    """Views of one head, and where that head is."""

    views: tuple[View, ...]
    head_from_world: Similarity
    """Maps the world frame to the head frame in the fields' inner unit (`protome.units.UNIT_MM`)."""
    posed: bool = True
    """Whether the cameras are known in one frame; without, each photo places the head by its own landmarks."""
    estimate: CameraEstimate | None = None
    """Of a posed scene whose cameras were found from its photos, which then are posed in the head frame in
    millimetres; None where they were given."""
    metric: bool = False
    """Whether the unit of given cameras is known, so that the head has its true size."""

    @property
    def has_own_world(self) -> bool:
        """Whether the world frame is that of given cameras, in which results are wanted."""
        return self.posed and self.estimate is None

    @property
    def cameras_from(self) -> str:
        """Where the cameras come from, in words."""
        if self.has_own_world:
            return "given"
        return "all photos together" if self.posed else "the landmarks of each photo"

    def in_head_frame(self) -> Scene:
        """Return the scene with its cameras posed in the head frame, inner units, which then is its world frame."""
        views = tuple(view.transformed(self.head_from_world) for view in self.views)
        still = Similarity.identity().to(self.head_from_world.rotation.dtype)
        return replace(self, views=views, head_from_world=still)

    def front_most(self) -> list[int]:
        """Return the numbers of the views with landmarks: good ones before bad ones, and then the front-most first."""
        seen = [number for number, view in enumerate(self.views) if view.landmarks is not None]
        best = max((self.views[number].weight for number in seen), default=0.0)
        turned = [turned_degrees(view.camera.centre.double().numpy()) for view in self.in_head_frame().views]
        return sorted(seen, key=lambda number: (self.views[number].weight < GOOD * best, turned[number]))

    def to(self, dtype: torch.dtype) -> Scene:
        """Return the scene with the place of the head in a floating-point type, in which `in_head_frame` computes."""
        return replace(self, head_from_world=self.head_from_world.to(dtype))
