"""Measurements of one photo, taken in the frame of the head as its landmarks place it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from protome.geometry.camera import Camera
from protome.geometry.transforms import Similarity
from protome.landmarks import load_face_landmarks
from protome.scene import View
from protome.units import UNIT_MM

EYE_RIMS = ((33, 133, 159, 145), (362, 263, 386, 374))
"""MediaPipe's landmarks around the right and the left eye."""
IRIS = 5
"""How many landmarks each iris has; the right one's come first, after the face's 468."""
CELLS = 48
"""Cells along each side of the picture that is measured."""
SPAN_MM = 440.0
"""Its width and height: room for tall hair and for shoulders."""
MIDDLE_MM = (0.0, -30.0, -85.0)
"""Its middle, head frame."""


@dataclass(frozen=True)
class PhotoFeatures:
    """Measurements of one photo, the encoder's input."""

    landmarks: Float[Tensor, "478 2"]
    """Offset of each detected landmark from the mean face's projection: to the right and downwards, millimetres."""
    outline: Float[Tensor, "c c"]
    """The share of each cell that the person covers."""
    colours: Float[Tensor, "c c 3"]
    """RGB in [0, 1] times that share, so that the background has no effect."""
    pose: Float[Tensor, "4"]
    """Azimuth, elevation and roll of the camera (radians), and one metre divided by its distance."""


def mean_pupils() -> Float[Tensor, "2 3"]:
    """Return the middles of the mean face's right and left eye, head frame, millimetres."""
    face = load_face_landmarks().positions.double()
    return torch.stack([face[list(rim)].mean(0) for rim in EYE_RIMS])


def measure_photo(view: View, head_from_world: Similarity) -> PhotoFeatures:
    """Measure a photo with a detected face; `head_from_world` says where its landmarks place the mean head.

    Raises:
        ValueError: the view has no landmarks.
    """
    if view.landmarks is None:
        raise ValueError(f"{view.name} has no landmarks")
    mm_from_world = Similarity.scaling(UNIT_MM, torch.float64).compose(head_from_world.to(torch.float64))
    camera = view.camera.to(torch.float64).transformed(mm_from_world)
    outline, colours = _picture(view, camera)
    offsets, pose = _offsets(view.landmarks.double(), camera), _camera_pose(camera)
    return PhotoFeatures(offsets.float(), outline, colours, pose.float())


def _offsets(pixels: Float[Tensor, "478 2"], camera: Camera) -> Float[Tensor, "478 2"]:
    """Return the landmarks' offsets from the mean face's, in planes parallel to the image at the latter's depth."""
    mean = camera.to_camera(
        torch.cat([load_face_landmarks().positions.double(), mean_pupils().repeat_interleave(IRIS, 0)])
    )
    return camera.unproject(pixels)[:, :2] * mean[:, 2:] - mean[:, :2]


def _picture(view: View, camera: Camera) -> tuple[Float[Tensor, "c c"], Float[Tensor, "c c 3"]]:
    """Return outline and colours in a square around the head that faces the camera; the photo's border is repeated."""
    middle = camera.to_camera(torch.tensor(MIDDLE_MM, dtype=torch.float64))
    pixels_a_cell = float(camera.focal / middle[2]) * SPAN_MM / CELLS
    small = view.resized(max(1, round(max(view.mask.shape) / max(pixels_a_cell, 1.0))))
    # The pose is in the head frame, the pixels are those of the small picture.
    K = small.camera.K.double()
    steps = ((torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS - 0.5) * SPAN_MM
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    points = torch.stack([right + middle[0], down + middle[1], torch.full_like(right, float(middle[2]))], -1)
    pixels = points @ K.T
    size = torch.tensor([*small.mask.shape[::-1]], dtype=torch.float64)
    grid = (2 * pixels[..., :2] / pixels[..., 2:] / size - 1).float()
    person = small.mask[..., None]
    stack = torch.cat([person * small.image, person], 2).permute(2, 0, 1)[None].float()
    found = torch.nn.functional.grid_sample(stack, grid[None], padding_mode="border", align_corners=False)[0]
    return found[3], found[:3].permute(1, 2, 0)


def _camera_pose(camera: Camera) -> Float[Tensor, "4"]:
    axes = camera.T_world_camera[:3, :3]
    right, ahead = axes[:, 0], axes[:, 2]
    return torch.stack(
        [
            torch.atan2(-ahead[0], -ahead[2]),
            torch.asin((-ahead[1]).clamp(-1, 1)),
            torch.atan2(right[1], right[0]),
            1000 / camera.centre.norm(),
        ]
    )
